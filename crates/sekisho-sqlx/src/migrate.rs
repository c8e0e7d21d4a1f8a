//! Brings tables up to date. Each part of the schema counts its own steps, so that processes with other features may share a
//! database.

use sekisho_core::{Failure, FailureKind};

use crate::failure::{Broken, UNREADABLE};
use crate::limits::opening;
use crate::schema;

/// Is one part of the schema: its name, and its steps in order.
pub(crate) struct Part {
    pub(crate) name: &'static str,
    pub(crate) steps: &'static [&'static str],
}

const LATER: Failure = Failure::new(FailureKind::Misconfigured, "the database has tables of a later version");

macro_rules! implement {
    (
        $store:ident, parts: $parts:expr,
        // Tells whether there is the table of versions, as a number.
        has_versions: $has_versions:literal,
        // Keeps two processes from making tables at once, where beginning does not, for as long as the transaction lasts.
        lock: $lock:expr
    ) => {
        impl crate::$store {
            pub(crate) async fn migrate(&self) -> Result<(), Failure> {
                let parts: &[Part] = $parts;
                let known = self
                    .settings
                    .within(async {
                        let (has_versions,): (i64,) = sqlx::query_as($has_versions).fetch_one(&self.pool).await?;
                        if has_versions == 0 {
                            return Ok(false);
                        }
                        let mut is_done = true;
                        for part in parts {
                            let (version,): (i64,) =
                                sqlx::query_as(VERSION).bind(part.name).fetch_one(&self.pool).await?;
                            is_done &= missing(part, version)?.is_empty();
                        }
                        Ok(is_done)
                    })
                    .await?;
                if known {
                    return Ok(());
                }
                // Not within the time of a call: it may have to wait for another process that makes tables.
                opening(self.make_tables(parts)).await
            }

            async fn make_tables(&self, parts: &[Part]) -> Result<(), Broken> {
                let mut tx = self.pool.begin_with(Self::BEGIN).await?;
                let lock: &[&'static str] = &$lock;
                for statement in lock {
                    sqlx::raw_sql(*statement).execute(&mut *tx).await?;
                }
                sqlx::raw_sql(VERSIONS).execute(&mut *tx).await?;
                for part in parts {
                    let (version,): (i64,) = sqlx::query_as(VERSION).bind(part.name).fetch_one(&mut *tx).await?;
                    for (number, step) in (version + 1..).zip(missing(part, version)?) {
                        sqlx::raw_sql(*step).execute(&mut *tx).await?;
                        sqlx::query("INSERT INTO sekisho_schema (part, version) VALUES ($1, $2)")
                            .bind(part.name)
                            .bind(number)
                            .execute(&mut *tx)
                            .await?;
                    }
                }
                Ok(tx.commit().await?)
            }
        }
    };
}

#[cfg(feature = "sqlite")]
implement!(
    SqliteStore, parts: schema::SQLITE,
    has_versions: "SELECT COUNT(*) FROM sqlite_master WHERE type = 'table' AND name = 'sekisho_schema'",
    lock: []
);

#[cfg(feature = "postgres")]
implement!(
    PostgresStore, parts: schema::POSTGRES,
    has_versions: "SELECT (CASE WHEN to_regclass('sekisho_schema') IS NULL THEN 0 ELSE 1 END)::BIGINT",
    lock: ["SET LOCAL statement_timeout = '60s'", "SELECT pg_advisory_xact_lock(4871093355120649817)"]
);

/// Returns the steps that are still to be done.
fn missing(part: &Part, version: i64) -> Result<&'static [&'static str], Broken> {
    let done = usize::try_from(version).map_err(|_| UNREADABLE)?;
    Ok(part.steps.get(done..).ok_or(LATER)?)
}

const VERSIONS: &str = "CREATE TABLE IF NOT EXISTS sekisho_schema (part TEXT NOT NULL, version BIGINT NOT NULL, PRIMARY KEY (part, version))";
const VERSION: &str = "SELECT COALESCE(MAX(version), 0) FROM sekisho_schema WHERE part = $1";
