use async_trait::async_trait;
use sekisho_core::{Failure, UnixSeconds};
use sekisho_issuer::{
    CodeRecord, Grant, GrantId, GrantStore, HandleHash, ReferenceRecord, RefreshFamily, StoredRecord as _, TakenCode,
};

use super::{read, read_grant};
use crate::failure::{UNREADABLE, key_of, seconds, time};

/// Puts a grant in.
macro_rules! insert_grant {
    ($grant:expr, $to:expr) => {{
        let grant: &sekisho_issuer::Grant = $grant;
        sqlx::query(
            "INSERT INTO sekisho_issuer_grant (id, subject, sid, expires_at, record) VALUES ($1, $2, $3, $4, $5)",
        )
        .bind(grant.id.as_str())
        .bind(crate::failure::key_of(&[&grant.subject]))
        .bind(grant.sid.as_deref().map(|sid| crate::failure::key_of(&[sid])))
        .bind(crate::failure::seconds(grant.expires_at))
        .bind(sekisho_issuer::StoredRecord::to_bytes(grant)?)
        .execute($to)
        .await?
    }};
}
pub(super) use insert_grant;

/// Looks a grant up.
macro_rules! find_grant {
    ($id:expr, $now:expr, $from:expr) => {{
        let id: &sekisho_issuer::GrantId = $id;
        let row: Option<(Vec<u8>,)> =
            sqlx::query_as("SELECT record FROM sekisho_issuer_grant WHERE id = $1 AND expires_at > $2")
                .bind(id.as_str())
                .bind(crate::failure::seconds($now))
                .fetch_optional($from)
                .await?;
        row.map(|(record,)| crate::issuer::read_grant(&record, id)).transpose()?
    }};
}
pub(super) use find_grant;

/// Is what a rotation may have changed of a family, and its grant.
type FamilyRow = (Vec<u8>, Vec<u8>, i64, Vec<u8>);

macro_rules! implement {
    ($store:ident) => {
        #[async_trait]
        impl GrantStore for crate::$store {
            async fn begin_grant(
                &self,
                grant: &Grant,
                code: Option<&CodeRecord>,
                _now: UnixSeconds,
            ) -> Result<(), Failure> {
                self.settings
                    .within(async {
                        let Some(code) = code else {
                            insert_grant!(grant, &self.pool);
                            return Ok(());
                        };
                        let record = code.to_bytes()?;
                        let mut tx = self.pool.begin_with(Self::BEGIN).await?;
                        insert_grant!(grant, &mut *tx);
                        sqlx::query(
                            "INSERT INTO sekisho_issuer_code (code, grant_id, is_taken, expires_at, remembered_until, record) \
                             VALUES ($1, $2, 0, $3, $4, $5)",
                        )
                        .bind(&code.code.as_bytes()[..])
                        .bind(code.grant.as_str())
                        .bind(seconds(code.expires_at))
                        .bind(seconds(code.remembered_until))
                        .bind(record)
                        .execute(&mut *tx)
                        .await?;
                        Ok(tx.commit().await?)
                    })
                    .await
            }

            async fn take_code(&self, code: &HandleHash, now: UnixSeconds) -> Result<TakenCode, Failure> {
                self.settings
                    .within(async {
                        // All rows, for SQLite tells of a failure to write only at the end of a statement.
                        let taken: Vec<(Vec<u8>,)> = sqlx::query_as(
                            "UPDATE sekisho_issuer_code SET is_taken = 1 WHERE code = $1 AND is_taken = 0 AND expires_at > $2 \
                             AND remembered_until > $2 RETURNING record",
                        )
                        .bind(&code.as_bytes()[..])
                        .bind(seconds(now))
                        .fetch_all(&self.pool)
                        .await?;
                        if let Some((record,)) = taken.first() {
                            let record = read(record, |record: &CodeRecord| record.code == *code)?;
                            let grant = find_grant!(&record.grant, now, &self.pool);
                            return Ok(grant.map_or(TakenCode::Unknown, |grant| TakenCode::Fresh(Box::new((record, grant)))));
                        }
                        let before: Option<(String,)> = sqlx::query_as(
                            "SELECT grant_id FROM sekisho_issuer_code WHERE code = $1 AND is_taken <> 0 AND remembered_until > $2",
                        )
                        .bind(&code.as_bytes()[..])
                        .bind(seconds(now))
                        .fetch_optional(&self.pool)
                        .await?;
                        let Some((grant,)) = before else { return Ok(TakenCode::Unknown) };
                        Ok(TakenCode::Replayed(GrantId::parse(&grant).ok_or(UNREADABLE)?))
                    })
                    .await
            }

            async fn grant(&self, id: &GrantId, now: UnixSeconds) -> Result<Option<Grant>, Failure> {
                self.settings.within(async { Ok(find_grant!(id, now, &self.pool)) }).await
            }

            async fn revoke_grant(&self, id: &GrantId, _now: UnixSeconds) -> Result<(), Failure> {
                self.settings
                    .within(async {
                        sqlx::query("DELETE FROM sekisho_issuer_grant WHERE id = $1")
                            .bind(id.as_str())
                            .execute(&self.pool)
                            .await?;
                        Ok(())
                    })
                    .await
            }

            async fn revoke_session_grants(&self, sid: &str, _now: UnixSeconds) -> Result<(), Failure> {
                self.settings
                    .within(async {
                        sqlx::query("DELETE FROM sekisho_issuer_grant WHERE sid = $1")
                            .bind(key_of(&[sid]))
                            .execute(&self.pool)
                            .await?;
                        Ok(())
                    })
                    .await
            }

            async fn revoke_subject_grants(&self, subject: &str, _now: UnixSeconds) -> Result<(), Failure> {
                self.settings
                    .within(async {
                        sqlx::query("DELETE FROM sekisho_issuer_grant WHERE subject = $1")
                            .bind(key_of(&[subject]))
                            .execute(&self.pool)
                            .await?;
                        Ok(())
                    })
                    .await
            }

            async fn withdraw_subject(
                &self,
                subject: &str,
                up_to: UnixSeconds,
                until: UnixSeconds,
                _now: UnixSeconds,
            ) -> Result<(), Failure> {
                self.settings
                    .within(async {
                        sqlx::query(
                            "INSERT INTO sekisho_issuer_withdrawn (subject, up_to, ends_at) VALUES ($1, $2, $3) \
                             ON CONFLICT (subject) DO UPDATE SET \
                             up_to = CASE WHEN excluded.up_to > sekisho_issuer_withdrawn.up_to THEN excluded.up_to \
                             ELSE sekisho_issuer_withdrawn.up_to END, \
                             ends_at = CASE WHEN excluded.ends_at > sekisho_issuer_withdrawn.ends_at THEN excluded.ends_at \
                             ELSE sekisho_issuer_withdrawn.ends_at END",
                        )
                        .bind(key_of(&[subject]))
                        .bind(seconds(up_to))
                        .bind(seconds(until))
                        .execute(&self.pool)
                        .await?;
                        Ok(())
                    })
                    .await
            }

            async fn withdrawn_up_to(&self, subject: &str, now: UnixSeconds) -> Result<Option<UnixSeconds>, Failure> {
                self.settings
                    .within(async {
                        let row: Option<(i64,)> = sqlx::query_as(
                            "SELECT up_to FROM sekisho_issuer_withdrawn WHERE subject = $1 AND ends_at > $2",
                        )
                        .bind(key_of(&[subject]))
                        .bind(seconds(now))
                        .fetch_optional(&self.pool)
                        .await?;
                        row.map(|(up_to,)| time(up_to)).transpose()
                    })
                    .await
            }

            async fn begin_refresh(&self, family: &RefreshFamily, _now: UnixSeconds) -> Result<(), Failure> {
                self.settings
                    .within(async {
                        sqlx::query(
                            "INSERT INTO sekisho_issuer_refresh (family, current, grant_id, idle_until, expires_at, record) \
                             VALUES ($1, $2, $3, $4, $5, $6)",
                        )
                        .bind(&family.family.as_bytes()[..])
                        .bind(&family.current.as_bytes()[..])
                        .bind(family.grant.as_str())
                        .bind(seconds(family.idle_until.min(family.expires_at)))
                        .bind(seconds(family.expires_at))
                        .bind(family.to_bytes()?)
                        .execute(&self.pool)
                        .await?;
                        Ok(())
                    })
                    .await
            }

            async fn refresh_family(
                &self,
                family: &HandleHash,
                now: UnixSeconds,
            ) -> Result<Option<(RefreshFamily, Grant)>, Failure> {
                self.settings
                    .within(async {
                        let row: Option<FamilyRow> = sqlx::query_as(
                            "SELECT f.record, f.current, f.idle_until, g.record FROM sekisho_issuer_refresh f \
                             JOIN sekisho_issuer_grant g ON g.id = f.grant_id \
                             WHERE f.family = $1 AND f.idle_until > $2 AND f.expires_at > $2 AND g.expires_at > $2",
                        )
                        .bind(&family.as_bytes()[..])
                        .bind(seconds(now))
                        .fetch_optional(&self.pool)
                        .await?;
                        let Some((record, current, idle_until, grant)) = row else { return Ok(None) };
                        let mut record = read(&record, |record: &RefreshFamily| record.family == *family)?;
                        record.current = HandleHash::from_bytes(current.try_into().map_err(|_| UNREADABLE)?);
                        record.idle_until = time(idle_until)?;
                        let grant = read_grant(&grant, &record.grant)?;
                        Ok(Some((record, grant)))
                    })
                    .await
            }

            async fn rotate_refresh(
                &self,
                family: &HandleHash,
                from: &HandleHash,
                to: &HandleHash,
                idle_until: UnixSeconds,
                now: UnixSeconds,
            ) -> Result<bool, Failure> {
                self.settings
                    .within(async {
                        let done = sqlx::query(
                            "UPDATE sekisho_issuer_refresh SET current = $3, \
                             idle_until = CASE WHEN expires_at < $4 THEN expires_at ELSE $4 END \
                             WHERE family = $1 AND current = $2 AND idle_until > $5 AND expires_at > $5 AND EXISTS \
                             (SELECT 1 FROM sekisho_issuer_grant g WHERE g.id = grant_id AND g.expires_at > $5)",
                        )
                        .bind(&family.as_bytes()[..])
                        .bind(&from.as_bytes()[..])
                        .bind(&to.as_bytes()[..])
                        .bind(seconds(idle_until))
                        .bind(seconds(now))
                        .execute(&self.pool)
                        .await?;
                        Ok(done.rows_affected() == 1)
                    })
                    .await
            }

            async fn put_reference(&self, token: &ReferenceRecord, _now: UnixSeconds) -> Result<(), Failure> {
                self.settings
                    .within(async {
                        sqlx::query(
                            "INSERT INTO sekisho_issuer_reference (token, grant_id, expires_at, record) VALUES ($1, $2, $3, $4)",
                        )
                        .bind(&token.token.as_bytes()[..])
                        .bind(token.grant.as_ref().map(GrantId::as_str))
                        .bind(seconds(token.expires_at))
                        .bind(token.to_bytes()?)
                        .execute(&self.pool)
                        .await?;
                        Ok(())
                    })
                    .await
            }

            async fn reference(
                &self,
                token: &HandleHash,
                now: UnixSeconds,
            ) -> Result<Option<ReferenceRecord>, Failure> {
                self.settings
                    .within(async {
                        let row: Option<(Option<String>, Vec<u8>)> = sqlx::query_as(
                            "SELECT t.grant_id, t.record FROM sekisho_issuer_reference t WHERE t.token = $1 AND t.expires_at > $2 \
                             AND (t.grant_id IS NULL OR EXISTS \
                             (SELECT 1 FROM sekisho_issuer_grant g WHERE g.id = t.grant_id AND g.expires_at > $2))",
                        )
                        .bind(&token.as_bytes()[..])
                        .bind(seconds(now))
                        .fetch_optional(&self.pool)
                        .await?;
                        let Some((grant, record)) = row else { return Ok(None) };
                        // A column that lost the grant must not make the token outlive it.
                        let is_asked = |record: &ReferenceRecord| {
                            record.token == *token && record.grant.as_ref().map(GrantId::as_str) == grant.as_deref()
                        };
                        read(&record, is_asked).map(Some)
                    })
                    .await
            }

            async fn revoke_reference(&self, token: &HandleHash) -> Result<(), Failure> {
                self.settings
                    .within(async {
                        sqlx::query("DELETE FROM sekisho_issuer_reference WHERE token = $1")
                            .bind(&token.as_bytes()[..])
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
