//! What was used once.

use std::sync::atomic::Ordering;
use std::time::Duration;

use async_trait::async_trait;
use sekisho_core::{Failure, Occurrence, OneTimeUse, ReplayGuard, UnixSeconds};

use crate::failure::{number, seconds};

/// How long the number of uses in all is taken as it was counted; what comes from here meanwhile is added.
const COUNTED_FOR: u64 = 10;
const RETRY_AFTER: Duration = Duration::from_secs(5);

macro_rules! implement {
    ($store:ident) => {
        /// Remembers uses in a table that all processes share. The bounds are those of [`StoreLimits`](crate::StoreLimits).
        ///
        /// A use whose end is before what [`sweep`](Self::sweep) has removed is refused: nobody can say whether it
        /// was known.
        #[async_trait]
        impl ReplayGuard for crate::$store {
            fn is_immediate(&self) -> bool {
                false
            }

            fn insert_now(&self, _: &OneTimeUse, _: UnixSeconds) -> Option<Result<Occurrence, Failure>> {
                None
            }

            async fn insert(&self, once: &OneTimeUse, now: UnixSeconds) -> Result<Occurrence, Failure> {
                self.settings
                    .within(async {
                        let has_room = self.has_room(now).await?;
                        let most = if has_room { i64::from(self.settings.limits.uses_per_holder) } else { 0 };
                        // One statement: of many at the same time one puts the row in, or writes over one that has ended.
                        let done = sqlx::query(
                            "INSERT INTO sekisho_replay (holder, use_id, ends_at) SELECT $1, $2, $3 \
                             WHERE $3 > COALESCE((SELECT MAX(up_to) FROM sekisho_replay_swept), 0) AND \
                             (SELECT COUNT(*) FROM (SELECT 1 FROM sekisho_replay r WHERE r.holder = $1 AND r.ends_at > $4 LIMIT $5) \
                             held) < $5 ON CONFLICT (holder, use_id) DO UPDATE SET ends_at = excluded.ends_at \
                             WHERE sekisho_replay.ends_at <= $4",
                        )
                        .bind(&once.holder()[..])
                        .bind(&once.id()[..])
                        .bind(seconds(once.until()))
                        .bind(seconds(now))
                        .bind(most)
                        .execute(&self.pool)
                        .await?;
                        if done.rows_affected() == 1 {
                            self.settings.uses.held.fetch_add(1, Ordering::SeqCst);
                            return Ok(Occurrence::First);
                        }
                        let (known,): (i64,) = sqlx::query_as(
                            "SELECT COUNT(*) FROM sekisho_replay WHERE holder = $1 AND use_id = $2 AND ends_at > $3",
                        )
                        .bind(&once.holder()[..])
                        .bind(&once.id()[..])
                        .bind(seconds(now))
                        .fetch_one(&self.pool)
                        .await?;
                        if known > 0 {
                            return Ok(Occurrence::Repeated);
                        }
                        Err(Failure::unavailable(if has_room {
                            "one key has used too many proofs, or the table of used proofs does not reach back to this one"
                        } else {
                            "the table of used proofs is full"
                        })
                        .with_retry_after(RETRY_AFTER)
                        .into())
                    })
                    .await
            }
        }

        impl crate::$store {
            /// Tells whether there is room for one more use, as of the last count and what came from here since.
            async fn has_room(&self, now: UnixSeconds) -> Result<bool, crate::failure::Broken> {
                let (uses, most) = (&self.settings.uses, u64::from(self.settings.limits.uses));
                let age = now.as_secs().abs_diff(uses.counted_at.load(Ordering::SeqCst));
                let held = uses.held.load(Ordering::SeqCst);
                // A full table is counted each second, for what has ended makes room.
                if age >= COUNTED_FOR || (held >= most && age > 0) {
                    let (held,): (i64,) = sqlx::query_as(
                        "SELECT COUNT(*) FROM (SELECT 1 FROM sekisho_replay WHERE ends_at > $1 LIMIT $2) held",
                    )
                    .bind(seconds(now))
                    .bind(number(most))
                    .fetch_one(&self.pool)
                    .await?;
                    uses.held.store(u64::try_from(held).unwrap_or(0), Ordering::SeqCst);
                    uses.counted_at.store(now.as_secs(), Ordering::SeqCst);
                }
                Ok(uses.held.load(Ordering::SeqCst) < most)
            }
        }
    };
}

#[cfg(feature = "sqlite")]
implement!(SqliteStore);
#[cfg(feature = "postgres")]
implement!(PostgresStore);
