//! Reference tokens of `sekisho-opaque`.

use std::time::Duration;

use async_trait::async_trait;
use sekisho_core::{Failure, SubjectId, UnixSeconds};
use sekisho_opaque::{ReferenceDigest, ReferenceRecord, ReferenceStore};

use crate::failure::{Broken, UNREADABLE, key_of, seconds};

macro_rules! implement {
    ($store:ident) => {
        #[async_trait]
        impl ReferenceStore for crate::$store {
            async fn insert(
                &self,
                digest: ReferenceDigest,
                record: &ReferenceRecord,
                now: UnixSeconds,
            ) -> Result<bool, Failure> {
                self.settings
                    .within(async {
                        let encoded = record.encode();
                        if encoded.len() > LONGEST_RECORD {
                            return Err(Failure::unavailable("a reference token stands for more than the database takes").into());
                        }
                        // One statement: what is dead is written over, what lives stays.
                        let done = sqlx::query(
                            "INSERT INTO sekisho_opaque_reference (digest, subject, session, expires_at, record) \
                             SELECT $1, $2, $3, $4, $5 WHERE (SELECT COUNT(*) FROM (SELECT 1 FROM sekisho_opaque_reference o \
                             WHERE o.subject = $2 AND o.expires_at > $6 LIMIT $7) held) < $7 \
                             ON CONFLICT (digest) DO UPDATE SET subject = excluded.subject, session = excluded.session, \
                             expires_at = excluded.expires_at, record = excluded.record \
                             WHERE sekisho_opaque_reference.expires_at <= $6",
                        )
                        .bind(&digest.as_bytes()[..])
                        .bind(subject_key(record.subject()))
                        .bind(record.session().map(|session| session_key(record.subject().issuer(), session)))
                        .bind(seconds(record.expires_at()))
                        .bind(encoded)
                        .bind(seconds(now))
                        .bind(i64::from(self.settings.limits.references_per_subject))
                        .execute(&self.pool)
                        .await?;
                        if done.rows_affected() == 1 {
                            return Ok(true);
                        }
                        let (alive,): (i64,) = sqlx::query_as(
                            "SELECT COUNT(*) FROM sekisho_opaque_reference WHERE digest = $1 AND expires_at > $2",
                        )
                        .bind(&digest.as_bytes()[..])
                        .bind(seconds(now))
                        .fetch_one(&self.pool)
                        .await?;
                        if alive > 0 { Ok(false) } else { Err(FULL.into()) }
                    })
                    .await
            }

            async fn find(&self, digest: &ReferenceDigest, now: UnixSeconds) -> Result<Option<ReferenceRecord>, Failure> {
                self.settings
                    .within(async {
                        let row: Option<(Vec<u8>, Option<Vec<u8>>, Vec<u8>)> = sqlx::query_as(
                            "SELECT subject, session, record FROM sekisho_opaque_reference WHERE digest = $1 AND expires_at > $2",
                        )
                        .bind(&digest.as_bytes()[..])
                        .bind(seconds(now))
                        .fetch_optional(&self.pool)
                        .await?;
                        row.map(|(subject, session, record)| read(&subject, session.as_deref(), &record)).transpose()
                    })
                    .await
            }

            async fn revoke(&self, digest: &ReferenceDigest, now: UnixSeconds) -> Result<bool, Failure> {
                self.settings
                    .within(async {
                        let gone: Vec<(i64,)> =
                            sqlx::query_as("DELETE FROM sekisho_opaque_reference WHERE digest = $1 RETURNING expires_at")
                                .bind(&digest.as_bytes()[..])
                                .fetch_all(&self.pool)
                                .await?;
                        Ok(alive(&gone, now) == 1)
                    })
                    .await
            }

            async fn revoke_subject(&self, subject: &SubjectId, now: UnixSeconds) -> Result<u64, Failure> {
                self.settings
                    .within(async {
                        let gone: Vec<(i64,)> =
                            sqlx::query_as("DELETE FROM sekisho_opaque_reference WHERE subject = $1 RETURNING expires_at")
                                .bind(subject_key(subject))
                                .fetch_all(&self.pool)
                                .await?;
                        Ok(alive(&gone, now))
                    })
                    .await
            }

            async fn revoke_session(&self, issuer: &str, session: &str, now: UnixSeconds) -> Result<u64, Failure> {
                self.settings
                    .within(async {
                        let gone: Vec<(i64,)> =
                            sqlx::query_as("DELETE FROM sekisho_opaque_reference WHERE session = $1 RETURNING expires_at")
                                .bind(session_key(issuer, session))
                                .fetch_all(&self.pool)
                                .await?;
                        Ok(alive(&gone, now))
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

/// Bounds a record that is kept, in bytes.
const LONGEST_RECORD: usize = 256 * 1024;
const FULL: Failure =
    Failure::unavailable("one subject has too many reference tokens").with_retry_after(Duration::from_secs(60));

/// Counts those that were alive. The others are removed too: for a process whose clock is behind they may live.
fn alive(ends: &[(i64,)], now: UnixSeconds) -> u64 {
    ends.iter().filter(|(end,)| *end > seconds(now)).count() as u64
}

fn subject_key(subject: &SubjectId) -> Vec<u8> {
    key_of(&[subject.issuer(), subject.subject()])
}

fn session_key(issuer: &str, session: &str) -> Vec<u8> {
    key_of(&[issuer, session])
}

/// Reads a record, and checks that it is of the subject and session by which it would be revoked.
fn read(subject: &[u8], session: Option<&[u8]>, record: &[u8]) -> Result<ReferenceRecord, Broken> {
    if record.len() > LONGEST_RECORD {
        return Err(UNREADABLE.into());
    }
    let record = ReferenceRecord::decode(record).map_err(|_| UNREADABLE)?;
    let own_session = record.session().map(|session| session_key(record.subject().issuer(), session));
    let is_theirs = subject_key(record.subject()) == subject && own_session.as_deref() == session;
    if is_theirs { Ok(record) } else { Err(UNREADABLE.into()) }
}
