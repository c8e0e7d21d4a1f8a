//! Sessions of `sekisho-session`.
//!
//! INVARIANT: what has ended is a row without a body, until the session would have ended by itself; nothing gives it a body again
//! before. It has no tags. Whoever changes a session and its tags locks the session first, so nobody waits in a circle.

use std::sync::atomic::Ordering;
use std::time::Duration;

use async_trait::async_trait;
use sekisho_core::{Failure, FailureKind, UnixSeconds};
use sekisho_session::{
    ListedSession, NewSession, Saved, Sealed, SessionHash, SessionStore, SessionTag, SessionUpdate, StoredSession,
};

use crate::failure::{Broken, UNREADABLE, number, seconds, time};

/// Writes the condition under which a session is alive at a time.
macro_rules! alive {
    ($now:literal) => {
        concat!("body IS NOT NULL AND idle_until > ", $now, " AND expires_at > ", $now)
    };
}

macro_rules! implement {
    ($store:ident) => {
        /// Keeps sessions in a table that all processes share; the bound of their number is one of
        /// [`StoreLimits`](crate::StoreLimits).
        ///
        /// - `list` fails when more than 20,000 live sessions have the tag.
        /// - `delete_tagged` ends 1,000 sessions at a time, each time within the bound of a call.
        /// - `sweep` clears away as the store's own [`sweep`](Self::sweep) does, but of sessions only.
        #[async_trait]
        impl SessionStore for crate::$store {
            async fn create(&self, id: SessionHash, session: &NewSession, now: UnixSeconds) -> Result<bool, Failure> {
                let NewSession { idle_until, expires_at, tags, card, body } = session;
                check_lengths(tags.len(), card.as_bytes().len(), body.as_bytes().len())?;
                self.settings
                    .within(async {
                        if !self.has_room_for_session(now).await? {
                            return Err(FULL.into());
                        }
                        let mut tx = self.pool.begin_with(Self::BEGIN).await?;
                        // Of many at the same time one puts the row in, or writes over one whose time is over.
                        let done = sqlx::query(
                            "INSERT INTO sekisho_session (id, version, idle_until, expires_at, card, body) \
                             VALUES ($1, 1, $2, $3, $4, $5) ON CONFLICT (id) DO UPDATE SET version = 1, \
                             idle_until = excluded.idle_until, expires_at = excluded.expires_at, card = excluded.card, \
                             body = excluded.body WHERE sekisho_session.expires_at <= $6 \
                             OR (sekisho_session.body IS NOT NULL AND sekisho_session.idle_until <= $6)",
                        )
                        .bind(&id.as_bytes()[..])
                        .bind(seconds(*idle_until))
                        .bind(seconds(*expires_at))
                        .bind(card.as_bytes())
                        .bind(body.as_bytes())
                        .bind(seconds(now))
                        .execute(&mut *tx)
                        .await?;
                        if done.rows_affected() != 1 {
                            tx.rollback().await?;
                            return Ok(false);
                        }
                        // The tags of one whose time is over are not those of the new one.
                        sqlx::query("DELETE FROM sekisho_session_tag WHERE session = $1")
                            .bind(&id.as_bytes()[..])
                            .execute(&mut *tx)
                            .await?;
                        if !tags.is_empty() {
                            let mut insert = sqlx::query(INSERT_TAGS).bind(&id.as_bytes()[..]);
                            for place in 0..NewSession::MAX_TAGS {
                                insert = insert.bind(tags.get(place).map(|tag| &tag.as_bytes()[..]));
                            }
                            insert.execute(&mut *tx).await?;
                        }
                        tx.commit().await?;
                        self.settings.sessions.held.fetch_add(1, Ordering::SeqCst);
                        Ok(true)
                    })
                    .await
            }

            async fn load(&self, id: &SessionHash, now: UnixSeconds) -> Result<Option<StoredSession>, Failure> {
                self.settings
                    .within(async {
                        let row: Option<(i64, i64, i64, Option<Vec<u8>>)> = sqlx::query_as(
                            "SELECT version, idle_until, expires_at, CASE WHEN length(body) <= $2 THEN body END \
                             FROM sekisho_session WHERE id = $1 AND body IS NOT NULL",
                        )
                        .bind(&id.as_bytes()[..])
                        .bind(number(NewSession::MAX_BODY as u64))
                        .fetch_optional(&self.pool)
                        .await?;
                        let Some((version, idle_until, expires_at, body)) = row else { return Ok(None) };
                        let version = read_version(version)?;
                        let (idle_until, expires_at) = (time(idle_until)?, time(expires_at)?);
                        let body = Sealed::from_bytes(body.ok_or(UNREADABLE)?);
                        let is_alive = now < idle_until.min(expires_at);
                        Ok(is_alive.then_some(StoredSession { version, idle_until, expires_at, body }))
                    })
                    .await
            }

            async fn save(
                &self,
                id: &SessionHash,
                expected: u64,
                update: &SessionUpdate,
                now: UnixSeconds,
            ) -> Result<Saved, Failure> {
                let SessionUpdate { idle_until, expires_at, body } = update;
                check_lengths(0, 0, body.as_bytes().len())?;
                self.settings
                    .within(async {
                        let done = sqlx::query(concat!(
                            "UPDATE sekisho_session SET version = version + 1, \
                             idle_until = CASE WHEN idle_until < $3 THEN $3 ELSE idle_until END, \
                             expires_at = $4, body = $5 WHERE id = $1 AND version = $2 AND ",
                            alive!("$6")
                        ))
                        .bind(&id.as_bytes()[..])
                        .bind(number(expected))
                        .bind(seconds(*idle_until))
                        .bind(seconds(*expires_at))
                        .bind(body.as_bytes())
                        .bind(seconds(now))
                        .execute(&self.pool)
                        .await?;
                        if done.rows_affected() == 1 {
                            return Ok(Saved::Done);
                        }
                        Ok(if self.is_session_alive(id, now).await? { Saved::Conflict } else { Saved::Gone })
                    })
                    .await
            }

            async fn touch(
                &self,
                id: &SessionHash,
                idle_until: UnixSeconds,
                now: UnixSeconds,
            ) -> Result<bool, Failure> {
                self.settings
                    .within(async {
                        let done = sqlx::query(concat!(
                            "UPDATE sekisho_session SET idle_until = $2 WHERE id = $1 AND idle_until < $2 AND ",
                            alive!("$3")
                        ))
                        .bind(&id.as_bytes()[..])
                        .bind(seconds(idle_until))
                        .bind(seconds(now))
                        .execute(&self.pool)
                        .await?;
                        // One that lives for longer already is alive too, and not written.
                        Ok(done.rows_affected() == 1 || self.is_session_alive(id, now).await?)
                    })
                    .await
            }

            async fn delete(&self, id: &SessionHash, now: UnixSeconds) -> Result<bool, Failure> {
                self.settings
                    .within(async {
                        let mut tx = self.pool.begin_with(Self::BEGIN).await?;
                        // Also one that is dead: for a process whose clock is behind it may live.
                        let ended: Vec<(i64, i64)> = sqlx::query_as(
                            "UPDATE sekisho_session SET card = NULL, body = NULL WHERE id = $1 AND body IS NOT NULL \
                             RETURNING idle_until, expires_at",
                        )
                        .bind(&id.as_bytes()[..])
                        .fetch_all(&mut *tx)
                        .await?;
                        if ended.is_empty() {
                            // Not locked: the tags are those of a session that somebody may be creating.
                            tx.rollback().await?;
                            return Ok(false);
                        }
                        sqlx::query("DELETE FROM sekisho_session_tag WHERE session = $1")
                            .bind(&id.as_bytes()[..])
                            .execute(&mut *tx)
                            .await?;
                        tx.commit().await?;
                        Ok(count_alive(&ended, now) == 1)
                    })
                    .await
            }

            async fn list(&self, tag: &SessionTag, now: UnixSeconds) -> Result<Vec<ListedSession>, Failure> {
                self.settings
                    .within(async {
                        // A time below zero is none, and told as what cannot be read.
                        let rows: Vec<(Vec<u8>, i64, i64, Option<Vec<u8>>)> = sqlx::query_as(
                            "SELECT s.id, s.idle_until, s.expires_at, CASE WHEN length(s.card) <= $3 THEN s.card END \
                             FROM sekisho_session_tag t JOIN sekisho_session s ON s.id = t.session \
                             WHERE t.tag = $1 AND s.body IS NOT NULL AND (s.idle_until > $2 OR s.idle_until < 0) \
                             AND (s.expires_at > $2 OR s.expires_at < 0) LIMIT $4",
                        )
                        .bind(&tag.as_bytes()[..])
                        .bind(seconds(now))
                        .bind(number(NewSession::MAX_CARD as u64))
                        .bind(MOST_LISTED + 1)
                        .fetch_all(&self.pool)
                        .await?;
                        if rows.len() as u64 > MOST_LISTED.unsigned_abs() {
                            return Err(LONG_LIST.into());
                        }
                        rows.into_iter().map(read_listed).collect()
                    })
                    .await
            }

            async fn delete_tagged(&self, tag: &SessionTag, now: UnixSeconds) -> Result<u64, Failure> {
                let mut ended = 0;
                loop {
                    let batch = self.settings.within(self.end_tagged(tag, now)).await?;
                    ended += batch.were_alive;
                    if !batch.is_full {
                        return Ok(ended);
                    }
                }
            }

            async fn sweep(&self, now: UnixSeconds) -> Result<u64, Failure> {
                self.sweep_sessions(now).await
            }
        }

        impl crate::$store {
            /// Tells whether a session is alive, as it is now.
            async fn is_session_alive(&self, id: &SessionHash, now: UnixSeconds) -> Result<bool, Broken> {
                let row: Option<(i64, i64, i64)> = sqlx::query_as(
                    "SELECT version, idle_until, expires_at FROM sekisho_session WHERE id = $1 AND body IS NOT NULL",
                )
                .bind(&id.as_bytes()[..])
                .fetch_optional(&self.pool)
                .await?;
                let Some((version, idle_until, expires_at)) = row else { return Ok(false) };
                read_version(version)?;
                Ok(now < time(idle_until)?.min(time(expires_at)?))
            }

            /// Tells whether there is room for one more session, as of the last count and what came from here since.
            async fn has_room_for_session(&self, now: UnixSeconds) -> Result<bool, Broken> {
                let (sessions, most) = (&self.settings.sessions, u64::from(self.settings.limits.sessions));
                let counted_at = sessions.counted_at.load(Ordering::SeqCst);
                let age = now.as_secs().abs_diff(counted_at);
                let is_due = age >= COUNTED_FOR
                    || (age >= RETRY_AFTER.as_secs() && sessions.held.load(Ordering::SeqCst) >= most);
                // One of those who come at the same time counts for all.
                let exchange = |from, to| {
                    sessions.counted_at.compare_exchange(from, to, Ordering::SeqCst, Ordering::SeqCst).is_ok()
                };
                if is_due && exchange(counted_at, now.as_secs()) {
                    let (held,): (i64,) = sqlx::query_as(
                        "SELECT COUNT(*) FROM (SELECT 1 FROM sekisho_session WHERE body IS NOT NULL AND idle_until > $1 \
                         LIMIT $2) held",
                    )
                    .bind(seconds(now))
                    .bind(number(most))
                    .fetch_one(&self.pool)
                    .await?;
                    sessions.held.store(u64::try_from(held).unwrap_or(0), Ordering::SeqCst);
                }
                Ok(sessions.held.load(Ordering::SeqCst) < most)
            }
        }
    };
}

#[cfg(feature = "sqlite")]
implement!(SqliteStore);
#[cfg(feature = "postgres")]
implement!(PostgresStore);

/// Is what one batch of [`SessionStore::delete_tagged`] found.
struct Batch {
    were_alive: u64,
    /// There may be more.
    is_full: bool,
}

#[cfg(feature = "sqlite")]
impl crate::SqliteStore {
    async fn end_tagged(&self, tag: &SessionTag, now: UnixSeconds) -> Result<Batch, Broken> {
        // Nobody else writes while this transaction lasts, so both statements speak of the same sessions.
        let mut tx = self.pool.begin_with(Self::BEGIN).await?;
        let ended: Vec<(i64, i64)> = sqlx::query_as(
            "UPDATE sekisho_session SET card = NULL, body = NULL WHERE body IS NOT NULL AND id IN \
             (SELECT session FROM sekisho_session_tag WHERE tag = $1 ORDER BY session LIMIT $2) \
             RETURNING idle_until, expires_at",
        )
        .bind(&tag.as_bytes()[..])
        .bind(BATCH)
        .fetch_all(&mut *tx)
        .await?;
        let tags = sqlx::query(
            "DELETE FROM sekisho_session_tag WHERE session IN \
             (SELECT session FROM sekisho_session_tag WHERE tag = $1 ORDER BY session LIMIT $2)",
        )
        .bind(&tag.as_bytes()[..])
        .bind(BATCH)
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        // Each session had this tag at least.
        Ok(Batch { were_alive: count_alive(&ended, now), is_full: tags.rows_affected() >= BATCH.unsigned_abs() })
    }
}

#[cfg(feature = "postgres")]
impl crate::PostgresStore {
    async fn end_tagged(&self, tag: &SessionTag, now: UnixSeconds) -> Result<Batch, Broken> {
        // One statement, for a second one would see sessions that came in between: it would take the tags of some that the first
        // has not ended, and nobody would find those any more. Locked in order, or two calls that meet could wait for each other.
        let (found, were_alive): (i64, i64) = sqlx::query_as(
            "WITH found AS MATERIALIZED (SELECT s.id FROM sekisho_session_tag t JOIN sekisho_session s ON s.id = t.session \
             WHERE t.tag = $1 ORDER BY s.id LIMIT $2 FOR UPDATE OF s), \
             untagged AS (DELETE FROM sekisho_session_tag t USING found WHERE t.session = found.id), \
             ended AS (UPDATE sekisho_session s SET card = NULL, body = NULL FROM found \
             WHERE s.id = found.id AND s.body IS NOT NULL RETURNING s.idle_until, s.expires_at) \
             SELECT (SELECT COUNT(*) FROM found), (SELECT COUNT(*) FROM ended WHERE idle_until > $3 AND expires_at > $3)",
        )
        .bind(&tag.as_bytes()[..])
        .bind(BATCH)
        .bind(seconds(now))
        .fetch_one(&self.pool)
        .await?;
        Ok(Batch { were_alive: u64::try_from(were_alive).unwrap_or(0), is_full: found >= BATCH })
    }
}

/// Puts the tags of a session in, each once; what is bound to nothing is none.
const INSERT_TAGS: &str = "INSERT INTO sekisho_session_tag (tag, session) SELECT given.tag, $1 FROM (SELECT $2 AS tag \
    UNION SELECT $3 UNION SELECT $4 UNION SELECT $5 UNION SELECT $6 UNION SELECT $7 UNION SELECT $8 UNION SELECT $9) given \
    WHERE given.tag IS NOT NULL";
const _: () = assert!(NewSession::MAX_TAGS == 8, "a place for each tag");

/// How many sessions are ended in one transaction, so that others get their turn.
const BATCH: i64 = 1_000;
/// How many sessions a list may have: 80 MiB of cards at the most.
const MOST_LISTED: i64 = 20_000;
/// How long the number of sessions in all is taken as it was counted; what comes from here meanwhile is added.
const COUNTED_FOR: u64 = 60;
const RETRY_AFTER: Duration = Duration::from_secs(10);

const FULL: Failure = Failure::unavailable("the table of sessions is full").with_retry_after(RETRY_AFTER);
const LONG_LIST: Failure = Failure::unavailable("more sessions have one tag than can be listed");

fn check_lengths(tags: usize, card: usize, body: usize) -> Result<(), Failure> {
    let fit = tags <= NewSession::MAX_TAGS && card <= NewSession::MAX_CARD && body <= NewSession::MAX_BODY;
    if fit { Ok(()) } else { Err(Failure::new(FailureKind::Misconfigured, "a session is longer than a store takes")) }
}

fn read_version(version: i64) -> Result<u64, Broken> {
    u64::try_from(version).ok().filter(|version| *version > 0).ok_or_else(|| UNREADABLE.into())
}

fn read_listed(
    (id, idle_until, expires_at, card): (Vec<u8>, i64, i64, Option<Vec<u8>>),
) -> Result<ListedSession, Broken> {
    let id = SessionHash::from_bytes(id.try_into().map_err(|_| UNREADABLE)?);
    let (idle_until, expires_at) = (time(idle_until)?, time(expires_at)?);
    Ok(ListedSession { id, idle_until, expires_at, card: Sealed::from_bytes(card.ok_or(UNREADABLE)?) })
}

/// Counts those that were alive. The others were ended too: for a process whose clock is behind they may live.
fn count_alive(ends: &[(i64, i64)], now: UnixSeconds) -> u64 {
    ends.iter().filter(|(idle_until, expires_at)| *idle_until.min(expires_at) > seconds(now)).count() as u64
}
