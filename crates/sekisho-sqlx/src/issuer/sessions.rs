use std::time::Duration;

use async_trait::async_trait;
use sekisho_core::{Failure, UnixSeconds};
use sekisho_issuer::{HandleHash, ScopeSet, SsoSession, SsoStore, StoredRecord as _};

use super::read;
use crate::failure::{key_of, seconds, time};

macro_rules! implement {
    ($store:ident) => {
        #[async_trait]
        impl SsoStore for crate::$store {
            async fn put_session(
                &self,
                session: &SsoSession,
                instead_of: Option<&HandleHash>,
                _now: UnixSeconds,
            ) -> Result<(), Failure> {
                self.settings
                    .within(async {
                        let record = session.to_bytes()?;
                        let mut tx = self.pool.begin_with(Self::BEGIN).await?;
                        if let Some(former) = instead_of {
                            sqlx::query("DELETE FROM sekisho_issuer_session WHERE session = $1")
                                .bind(&former.as_bytes()[..])
                                .execute(&mut *tx)
                                .await?;
                        }
                        sqlx::query(
                            "INSERT INTO sekisho_issuer_session (session, subject, idle_until, expires_at, record) \
                             VALUES ($1, $2, $3, $4, $5)",
                        )
                        .bind(&session.session.as_bytes()[..])
                        .bind(key_of(&[&session.subject]))
                        .bind(seconds(session.idle_until.min(session.expires_at)))
                        .bind(seconds(session.expires_at))
                        .bind(record)
                        .execute(&mut *tx)
                        .await?;
                        Ok(tx.commit().await?)
                    })
                    .await
            }

            async fn use_session(
                &self,
                session: &HandleHash,
                idle: Duration,
                now: UnixSeconds,
            ) -> Result<Option<SsoSession>, Failure> {
                self.settings
                    .within(async {
                        // All rows, for SQLite tells of a failure to write only at the end of a statement.
                        let rows: Vec<(Vec<u8>, i64)> = sqlx::query_as(
                            "UPDATE sekisho_issuer_session \
                             SET idle_until = CASE WHEN expires_at < $3 THEN expires_at ELSE $3 END \
                             WHERE session = $1 AND idle_until > $2 AND expires_at > $2 RETURNING record, idle_until",
                        )
                        .bind(&session.as_bytes()[..])
                        .bind(seconds(now))
                        .bind(seconds(now.saturating_add(idle)))
                        .fetch_all(&self.pool)
                        .await?;
                        let Some((record, idle_until)) = rows.first() else { return Ok(None) };
                        let mut record = read(record, |record: &SsoSession| record.session == *session)?;
                        record.idle_until = time(*idle_until)?;
                        Ok(Some(record))
                    })
                    .await
            }

            async fn end_session(&self, session: &HandleHash) -> Result<(), Failure> {
                self.settings
                    .within(async {
                        sqlx::query("DELETE FROM sekisho_issuer_session WHERE session = $1")
                            .bind(&session.as_bytes()[..])
                            .execute(&self.pool)
                            .await?;
                        Ok(())
                    })
                    .await
            }

            async fn end_subject_sessions(&self, subject: &str) -> Result<(), Failure> {
                self.settings
                    .within(async {
                        sqlx::query("DELETE FROM sekisho_issuer_session WHERE subject = $1")
                            .bind(key_of(&[subject]))
                            .execute(&self.pool)
                            .await?;
                        Ok(())
                    })
                    .await
            }

            async fn consent(&self, subject: &str, client_id: &str) -> Result<ScopeSet, Failure> {
                self.settings
                    .within(async {
                        let row: Option<(Vec<u8>,)> = sqlx::query_as(
                            "SELECT record FROM sekisho_issuer_consent WHERE subject = $1 AND client = $2",
                        )
                        .bind(key_of(&[subject]))
                        .bind(key_of(&[client_id]))
                        .fetch_optional(&self.pool)
                        .await?;
                        Ok(match row {
                            Some((record,)) => ScopeSet::from_bytes(&record)?,
                            None => ScopeSet::default(),
                        })
                    })
                    .await
            }

            async fn put_consent(&self, subject: &str, client_id: &str, scope: &ScopeSet) -> Result<(), Failure> {
                self.settings
                    .within(async {
                        let (subject, client) = (key_of(&[subject]), key_of(&[client_id]));
                        if scope.is_empty() {
                            sqlx::query("DELETE FROM sekisho_issuer_consent WHERE subject = $1 AND client = $2")
                                .bind(subject)
                                .bind(client)
                                .execute(&self.pool)
                                .await?;
                            return Ok(());
                        }
                        sqlx::query(
                            "INSERT INTO sekisho_issuer_consent (subject, client, record) VALUES ($1, $2, $3) \
                             ON CONFLICT (subject, client) DO UPDATE SET record = excluded.record",
                        )
                        .bind(subject)
                        .bind(client)
                        .bind(scope.to_bytes()?)
                        .execute(&self.pool)
                        .await?;
                        Ok(())
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
