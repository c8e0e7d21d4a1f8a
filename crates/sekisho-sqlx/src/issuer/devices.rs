use async_trait::async_trait;
use sekisho_core::{Failure, UnixSeconds};
use sekisho_issuer::{DevicePoll, DeviceRequest, DeviceStore, Grant, GrantId, HandleHash, StoredRecord as _};

use super::grants::{find_grant, insert_grant};
use super::read;
use crate::failure::{UNREADABLE, number, seconds, time};

/// Says what has become of a request, in the column `state`.
const UNDECIDED: i64 = 0;
const APPROVED: i64 = 1;
const DENIED: i64 = 2;
/// The device has been told of the approval.
const TOLD: i64 = 3;

/// Is the record, its state, the grant, how long to wait between two questions, the last question, and the end.
type DeviceRow = (Vec<u8>, i64, Option<String>, i64, Option<i64>, i64);

macro_rules! implement {
    (
        $store:ident,
        // Keeps a row that was read from being changed by others until the end of the transaction, where beginning does not.
        lock_row: $lock_row:literal
    ) => {
        #[async_trait]
        impl DeviceStore for crate::$store {
            async fn begin_device(&self, request: &DeviceRequest, now: UnixSeconds) -> Result<bool, Failure> {
                self.settings
                    .within(async {
                        let record = request.to_bytes()?;
                        let remembered_until = request.expires_at.saturating_add(DeviceRequest::REMEMBERED);
                        let mut tx = self.pool.begin_with(Self::BEGIN).await?;
                        sqlx::query("UPDATE sekisho_issuer_device SET user_code = NULL WHERE user_code = $1 AND expires_at <= $2")
                            .bind(&request.user_code.as_bytes()[..])
                            .bind(seconds(now))
                            .execute(&mut *tx)
                            .await?;
                        let done = sqlx::query(
                            "INSERT INTO sekisho_issuer_device (device, user_code, state, wait_seconds, expires_at, \
                             remembered_until, record) VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING",
                        )
                        .bind(&request.device.as_bytes()[..])
                        .bind(&request.user_code.as_bytes()[..])
                        .bind(UNDECIDED)
                        .bind(number(request.interval.as_secs()))
                        .bind(seconds(request.expires_at))
                        .bind(seconds(remembered_until))
                        .bind(record)
                        .execute(&mut *tx)
                        .await?;
                        tx.commit().await?;
                        Ok(done.rows_affected() == 1)
                    })
                    .await
            }

            async fn undecided_device(
                &self,
                user_code: &HandleHash,
                now: UnixSeconds,
            ) -> Result<Option<DeviceRequest>, Failure> {
                self.settings
                    .within(async {
                        let row: Option<(Vec<u8>,)> = sqlx::query_as(
                            "SELECT record FROM sekisho_issuer_device WHERE user_code = $1 AND state = $2 AND expires_at > $3",
                        )
                        .bind(&user_code.as_bytes()[..])
                        .bind(UNDECIDED)
                        .bind(seconds(now))
                        .fetch_optional(&self.pool)
                        .await?;
                        let is_asked = |request: &DeviceRequest| request.user_code == *user_code;
                        row.map(|(record,)| read(&record, is_asked)).transpose()
                    })
                    .await
            }

            async fn decide_device(
                &self,
                user_code: &HandleHash,
                grant: Option<&Grant>,
                now: UnixSeconds,
            ) -> Result<bool, Failure> {
                self.settings
                    .within(async {
                        let mut tx = self.pool.begin_with(Self::BEGIN).await?;
                        let done = sqlx::query(
                            "UPDATE sekisho_issuer_device SET state = $3, grant_id = $4 \
                             WHERE user_code = $1 AND state = $2 AND expires_at > $5",
                        )
                        .bind(&user_code.as_bytes()[..])
                        .bind(UNDECIDED)
                        .bind(if grant.is_some() { APPROVED } else { DENIED })
                        .bind(grant.map(|grant| grant.id.as_str()))
                        .bind(seconds(now))
                        .execute(&mut *tx)
                        .await?;
                        if done.rows_affected() != 1 {
                            return Ok(false);
                        }
                        if let Some(grant) = grant {
                            insert_grant!(grant, &mut *tx);
                        }
                        tx.commit().await?;
                        Ok(true)
                    })
                    .await
            }

            async fn poll_device(
                &self,
                device: &HandleHash,
                client_id: &str,
                now: UnixSeconds,
            ) -> Result<DevicePoll, Failure> {
                self.settings
                    .within(async {
                        let mut tx = self.pool.begin_with(Self::BEGIN).await?;
                        let row: Option<DeviceRow> = sqlx::query_as(concat!(
                            "SELECT record, state, grant_id, wait_seconds, asked_at, expires_at FROM sekisho_issuer_device \
                             WHERE device = $1 AND remembered_until > $2",
                            $lock_row
                        ))
                        .bind(&device.as_bytes()[..])
                        .bind(seconds(now))
                        .fetch_optional(&mut *tx)
                        .await?;
                        let Some((record, state, grant, wait, asked_at, expires_at)) = row else {
                            return Ok(DevicePoll::Unknown);
                        };
                        let request = read(&record, |request: &DeviceRequest| request.device == *device)?;
                        if request.client_id != client_id {
                            return Ok(DevicePoll::Unknown);
                        }
                        match state {
                            TOLD => return Ok(DevicePoll::Unknown),
                            DENIED => return Ok(DevicePoll::Denied),
                            UNDECIDED | APPROVED if time(expires_at)? <= now => return Ok(DevicePoll::Expired),
                            APPROVED => {
                                let grant = grant.as_deref().and_then(GrantId::parse).ok_or(UNREADABLE)?;
                                let grant = find_grant!(&grant, now, &mut *tx);
                                sqlx::query("UPDATE sekisho_issuer_device SET state = $2 WHERE device = $1")
                                    .bind(&device.as_bytes()[..])
                                    .bind(TOLD)
                                    .execute(&mut *tx)
                                    .await?;
                                tx.commit().await?;
                                return Ok(grant.map_or(DevicePoll::Unknown, |grant| DevicePoll::Approved(Box::new(grant))));
                            }
                            UNDECIDED => {}
                            _ => return Err(UNREADABLE.into()),
                        }
                        let since = asked_at.map(time).transpose()?.map(|asked_at| number(now.since(asked_at).as_secs()));
                        let is_early = since.is_some_and(|since| since < wait);
                        let longer = if is_early { number(DeviceRequest::SLOW_DOWN.as_secs()) } else { 0 };
                        sqlx::query("UPDATE sekisho_issuer_device SET asked_at = $2, wait_seconds = $3 WHERE device = $1")
                            .bind(&device.as_bytes()[..])
                            .bind(seconds(now))
                            .bind(wait.saturating_add(longer))
                            .execute(&mut *tx)
                            .await?;
                        tx.commit().await?;
                        Ok(if is_early { DevicePoll::SlowDown } else { DevicePoll::Pending })
                    })
                    .await
            }
        }
    };
}

#[cfg(feature = "sqlite")]
implement!(SqliteStore, lock_row: "");
#[cfg(feature = "postgres")]
implement!(PostgresStore, lock_row: " FOR UPDATE");
