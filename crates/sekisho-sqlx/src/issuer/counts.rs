use async_trait::async_trait;
use sekisho_core::{Failure, UnixSeconds};
use sekisho_issuer::{CountStore, HandleHash};

use crate::failure::{UNREADABLE, count, seconds};

macro_rules! implement {
    ($store:ident) => {
        #[async_trait]
        impl CountStore for crate::$store {
            async fn count(&self, key: &HandleHash, until: UnixSeconds, now: UnixSeconds) -> Result<u32, Failure> {
                self.settings
                    .within(async {
                        // All rows, for SQLite tells of a failure to write only at the end of a statement.
                        let rows: Vec<(i64,)> = sqlx::query_as(
                            "INSERT INTO sekisho_issuer_count (counted, times, ends_at) VALUES ($1, 1, $2) \
                             ON CONFLICT (counted) DO UPDATE SET \
                             times = CASE WHEN sekisho_issuer_count.ends_at > $3 THEN sekisho_issuer_count.times + 1 ELSE 1 END, \
                             ends_at = CASE WHEN sekisho_issuer_count.ends_at > $3 THEN sekisho_issuer_count.ends_at \
                             ELSE excluded.ends_at END RETURNING times",
                        )
                        .bind(&key.as_bytes()[..])
                        .bind(seconds(until))
                        .bind(seconds(now))
                        .fetch_all(&self.pool)
                        .await?;
                        let (times,) = rows.first().ok_or(UNREADABLE)?;
                        count(*times)
                    })
                    .await
            }

            async fn counted(&self, key: &HandleHash, now: UnixSeconds) -> Result<u32, Failure> {
                self.settings
                    .within(async {
                        let row: Option<(i64,)> =
                            sqlx::query_as("SELECT times FROM sekisho_issuer_count WHERE counted = $1 AND ends_at > $2")
                                .bind(&key.as_bytes()[..])
                                .bind(seconds(now))
                                .fetch_optional(&self.pool)
                                .await?;
                        row.map_or(Ok(0), |(times,)| count(times))
                    })
                    .await
            }
        }
    };
}

#[cfg(feature = "sqlite")]
implement!(SqliteStore);
#[cfg(feature = "postgres")]
implement!(PostgresStore);
