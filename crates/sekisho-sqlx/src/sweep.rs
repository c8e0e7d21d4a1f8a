//! Removes what has ended.

use std::time::Duration;

use sekisho_core::{Failure, UnixSeconds};

use crate::failure::{Broken, seconds};

/// For so long rows are kept after their end, for processes whose clock is behind, and for lists of withdrawals, which allow
/// verifiers that leeway.
const GRACE: Duration = Duration::from_secs(300);
/// How many rows go in one statement, so that others get their turn.
const BATCH: i64 = 1_000;
/// How many statements one call makes for each table.
const MOST_BATCHES: usize = 100;

/// Writes the statement that removes one batch of a table: its key, and the column of the end.
macro_rules! remove {
    ($skip_locked:literal, $table:literal, $key:literal, $end:literal) => {
        concat!(
            "DELETE FROM ",
            $table,
            " WHERE (",
            $key,
            ") IN (SELECT ",
            $key,
            " FROM ",
            $table,
            " WHERE ",
            $end,
            " <= $1 LIMIT $2",
            $skip_locked,
            ")"
        )
    };
}

macro_rules! implement {
    (
        $store:ident,
        // Passes rows that others have locked, where rows are locked.
        skip_locked: $skip_locked:literal
    ) => {
        impl crate::$store {
            /// Removes rows that ended more than five minutes ago, so the clocks of the processes that share the database may
            /// differ by that. Returns how many.
            ///
            /// In each table at most 100,000 rows are removed by one call (of sessions as many that were idle for too long, and as
            /// many past their end), 1,000 at a time; whatever else waits for the database gets its turn in between. Nothing depends on it but the room: what has ended is never found.
            ///
            /// Call it every few minutes in one of the processes; in several at a time does no harm.
            ///
            /// # Errors
            /// [`Failure`] when the database fails; what was removed until then is gone.
            pub async fn sweep(&self, now: UnixSeconds) -> Result<u64, Failure> {
                let ended = seconds(now.saturating_sub(GRACE));
                self.settings
                    .within(async {
                        // Told before anything goes, so that nobody takes what is gone for what never was.
                        sqlx::query(
                            "INSERT INTO sekisho_replay_swept (id, up_to) VALUES (1, $1) ON CONFLICT (id) DO UPDATE SET \
                             up_to = excluded.up_to WHERE sekisho_replay_swept.up_to < excluded.up_to",
                        )
                        .bind(ended)
                        .execute(&self.pool)
                        .await?;
                        Ok(())
                    })
                    .await?;
                let removed = self.remove(Self::SWEPT, ended).await?;
                #[cfg(feature = "session")]
                let removed = removed + self.remove(Self::SWEPT_SESSIONS, ended).await?;
                Ok(removed)
            }

            /// As [`sweep`](Self::sweep), of sessions alone.
            #[cfg(feature = "session")]
            pub(crate) async fn sweep_sessions(&self, now: UnixSeconds) -> Result<u64, Failure> {
                self.remove(Self::SWEPT_SESSIONS, seconds(now.saturating_sub(GRACE))).await
            }

            async fn remove(&self, statements: &[&'static str], ended: i64) -> Result<u64, Failure> {
                let mut removed = 0;
                for statement in statements {
                    for _ in 0..MOST_BATCHES {
                        let batch = self
                            .settings
                            .within(async {
                                let done =
                                    sqlx::query(*statement).bind(ended).bind(BATCH).execute(&self.pool).await;
                                done.map(|done| done.rows_affected()).map_err(Broken::from)
                            })
                            .await?;
                        removed += batch;
                        if batch < BATCH.unsigned_abs() {
                            break;
                        }
                    }
                }
                Ok(removed)
            }

            const SWEPT: &[&str] = &[
                #[cfg(feature = "issuer")]
                remove!($skip_locked, "sekisho_issuer_code", "code", "remembered_until"),
                #[cfg(feature = "issuer")]
                remove!($skip_locked, "sekisho_issuer_refresh", "family", "idle_until"),
                #[cfg(feature = "issuer")]
                remove!($skip_locked, "sekisho_issuer_reference", "token", "expires_at"),
                #[cfg(feature = "issuer")]
                remove!($skip_locked, "sekisho_issuer_grant", "id", "expires_at"),
                #[cfg(feature = "issuer")]
                remove!($skip_locked, "sekisho_issuer_withdrawn", "subject", "ends_at"),
                #[cfg(feature = "issuer")]
                remove!($skip_locked, "sekisho_issuer_session", "session", "idle_until"),
                #[cfg(feature = "issuer")]
                remove!($skip_locked, "sekisho_issuer_device", "device", "remembered_until"),
                #[cfg(feature = "issuer")]
                remove!($skip_locked, "sekisho_issuer_count", "counted", "ends_at"),
                #[cfg(feature = "opaque")]
                remove!($skip_locked, "sekisho_opaque_reference", "digest", "expires_at"),
                #[cfg(feature = "revocation")]
                remove!($skip_locked, "sekisho_revocation", "place", "ends_at"),
                remove!($skip_locked, "sekisho_replay", "holder, use_id", "ends_at"),
            ];

            #[cfg(feature = "session")]
            const SWEPT_SESSIONS: &[&str] = &[
                remove!($skip_locked, "sekisho_session", "id", "body IS NOT NULL AND idle_until"),
                remove!($skip_locked, "sekisho_session", "id", "expires_at"),
            ];
        }
    };
}

#[cfg(feature = "sqlite")]
implement!(SqliteStore, skip_locked: "");
#[cfg(feature = "postgres")]
implement!(PostgresStore, skip_locked: " FOR UPDATE SKIP LOCKED");
