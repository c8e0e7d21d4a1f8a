//! Withdrawals, told by a table.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use sekisho_core::{Clock, ConfigError, Failure, FailureKind};
use sekisho_revocation::{Cursor, FeedBatch, FeedConnection, RevocationFeed, Withdrawal};

use crate::failure::{Broken, UNREADABLE, seconds};

#[cfg(feature = "issuer")]
mod listener;

#[cfg(feature = "issuer")]
pub use listener::TableListener;

/// Tells what was withdrawn, out of a table of the database that is asked every second.
///
/// A withdrawal takes effect within the interval and the time of one call, by default 1 s and what the database needs.
///
/// Nothing is passed over. Numbers that a database hands out become visible in another order than they were handed out, so a
/// reader could pass one whose transaction is still under way. Here each transaction takes its numbers from one row, which it
/// has locked until it ends: whoever sees a number sees all before it. So withdrawals are written one after the other, a few
/// hundred times a second; `withdraw` takes many at once.
///
/// The place that a follower has reached is good in one database. One that was made anew has another name, and tells
/// everything again; one that was restored from a backup has the old name, so restart the followers then.
///
/// # Examples
/// ```
/// # #[cfg(feature = "sqlite")]
/// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
/// use sekisho_core::UnixSeconds;
/// use sekisho_revocation::{RevocationList, Withdrawal};
/// use sekisho_sqlx::{SqliteStore, TableFeed};
///
/// let store = SqliteStore::in_memory().await?; // or a file, or PostgreSQL
/// let list = RevocationList::new()?;
/// let mut following = list.follow(TableFeed::new(store.clone())).start()?; // kept for as long as the service runs
/// following.synchronized().await;
///
/// store.withdraw(&[Withdrawal::session("https://id.example", "s-42", UnixSeconds::MAX)?]).await?;
/// # Ok::<(), Box<dyn std::error::Error>>(()) })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct TableFeed<S> {
    store: S,
    interval: Duration,
}

impl<S> TableFeed<S> {
    /// Makes a feed of a store that asks every second.
    #[must_use]
    pub const fn new(store: S) -> Self {
        Self { store, interval: Duration::from_secs(1) }
    }

    /// Sets how long to wait between two questions, 50 ms to 60 s, and well below the staleness that the checks allow.
    ///
    /// # Errors
    /// [`ConfigError`] for an interval out of range.
    pub fn with_interval(self, interval: Duration) -> Result<Self, ConfigError> {
        if !(Duration::from_millis(50)..=Duration::from_secs(60)).contains(&interval) {
            return Err(ConfigError::new("the interval of a revocation table must be between 50 ms and 60 s"));
        }
        Ok(Self { interval, ..self })
    }
}

impl<S> fmt::Debug for TableFeed<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TableFeed").field("interval", &self.interval).finish_non_exhaustive()
    }
}

/// How many withdrawals come in one batch.
const BATCH: i64 = 1_000;
/// How many withdrawals are written in one transaction.
const MOST_AT_ONCE: usize = 1_000;

const REPLACED: Failure = Failure::new(FailureKind::BadGateway, "the revocation table was put in the place of another");

/// Is a place in the table, and its name.
struct Place {
    log: String,
    seen: i64,
}

impl Place {
    fn read(cursor: &Cursor) -> Option<Self> {
        let (log, seen) = cursor.as_str().rsplit_once('.')?;
        Some(Self { log: log.to_owned(), seen: seen.parse().ok().filter(|seen| *seen >= 0)? })
    }

    fn write(&self) -> Option<Cursor> {
        Cursor::new(&format!("{}.{}", self.log, self.seen))
    }
}

fn read(withdrawal: &[u8]) -> Result<Withdrawal, Broken> {
    Withdrawal::from_json(withdrawal).map_err(|_| UNREADABLE.into())
}

fn new_name() -> Result<String, Failure> {
    let failed = |_| Failure::unavailable("the system gives no randomness");
    Ok(format!("{:016x}", getrandom::u64().map_err(failed)?))
}

macro_rules! implement {
    ($store:ident) => {
        impl crate::$store {
            /// Withdraws, for all who follow the table and will. All or nothing; at most 1,000 at a time.
            ///
            /// To repeat what may have been done does no harm.
            ///
            /// # Errors
            /// [`Failure`]: too many at a time (misconfigured), or it is not certain that the withdrawals are kept.
            pub async fn withdraw(&self, withdrawals: &[Withdrawal]) -> Result<(), Failure> {
                if withdrawals.len() > MOST_AT_ONCE {
                    return Err(Failure::new(FailureKind::Misconfigured, "too many withdrawals at a time"));
                }
                self.settings
                    .within(async {
                        let mut tx = self.pool.begin_with(Self::BEGIN).await?;
                        let count = i64::try_from(withdrawals.len()).map_err(|_| UNREADABLE)?;
                        // Locks the row until the end: numbers become visible in their order.
                        let (last,): (i64,) = sqlx::query_as(
                            "INSERT INTO sekisho_revocation_log (id, name, last_place) VALUES (1, $1, $2) \
                             ON CONFLICT (id) DO UPDATE SET last_place = sekisho_revocation_log.last_place + excluded.last_place \
                             RETURNING last_place",
                        )
                        .bind(new_name()?)
                        .bind(count)
                        .fetch_one(&mut *tx)
                        .await?;
                        for (place, withdrawal) in (last - count + 1..).zip(withdrawals) {
                            sqlx::query("INSERT INTO sekisho_revocation (place, ends_at, withdrawal) VALUES ($1, $2, $3)")
                                .bind(place)
                                .bind(seconds(withdrawal.until()))
                                .bind(withdrawal.to_json().into_bytes())
                                .execute(&mut *tx)
                                .await?;
                        }
                        Ok(tx.commit().await?)
                    })
                    .await
            }

            /// Returns the name of the table and its last place; a table that nobody wrote to has none yet.
            async fn revocation_log(&self) -> Result<Option<(String, i64)>, Failure> {
                self.settings
                    .within(async {
                        let row = sqlx::query_as("SELECT name, last_place FROM sekisho_revocation_log WHERE id = 1");
                        Ok(row.fetch_optional(&self.pool).await?)
                    })
                    .await
            }

            async fn withdrawn_after(&self, place: i64) -> Result<Vec<(i64, Withdrawal)>, Failure> {
                self.settings
                    .within(async {
                        let rows: Vec<(i64, Vec<u8>)> = sqlx::query_as(
                            "SELECT place, withdrawal FROM sekisho_revocation WHERE place > $1 ORDER BY place LIMIT $2",
                        )
                        .bind(place)
                        .bind(BATCH)
                        .fetch_all(&self.pool)
                        .await?;
                        rows.into_iter().map(|(place, withdrawal)| Ok((place, read(&withdrawal)?))).collect()
                    })
                    .await
            }
        }

        #[async_trait]
        impl RevocationFeed for TableFeed<crate::$store> {
            async fn connect(&self, cursor: Option<&Cursor>) -> Result<Box<dyn FeedConnection>, Failure> {
                let log = self.store.revocation_log().await?;
                let is_known = |place: &Place| {
                    log.as_ref().is_some_and(|(name, last)| *name == place.log && place.seen <= *last)
                };
                let place = cursor.and_then(Place::read).filter(is_known);
                let feed = self.clone();
                Ok(Box::new(Connection { feed, place, is_current: false }))
            }

            fn patience(&self) -> Duration {
                // A question is one or two calls.
                self.interval + 2 * self.store.settings.limits.call_timeout + Duration::from_secs(1)
            }

            fn origin(&self) -> &str {
                "the revocation table"
            }
        }

        #[async_trait]
        impl FeedConnection for Connection<crate::$store> {
            async fn next(&mut self, clock: &dyn Clock) -> Result<FeedBatch, Failure> {
                if self.is_current {
                    tokio::time::sleep(self.feed.interval).await;
                }
                let as_of = clock.now();
                let store = &self.feed.store;
                let log = store.revocation_log().await?;
                let (name, seen) = match (log, self.place.take()) {
                    (Some((name, last)), Some(Place { log, seen })) if name == log && seen <= last => (name, seen),
                    (Some((name, _)), None) => (name, 0),
                    // Nobody has written yet: nothing is withdrawn.
                    (None, None) => {
                        self.is_current = true;
                        return Ok(FeedBatch::current(Vec::new(), as_of));
                    }
                    // Its new rows would stand before the place that was reached.
                    (_, Some(_)) => return Err(REPLACED),
                };
                let rows = store.withdrawn_after(seen).await?;
                let seen = rows.last().map_or(seen, |(place, _)| *place);
                let is_full = rows.len() as u64 >= BATCH.unsigned_abs();
                let withdrawals = rows.into_iter().map(|(_, withdrawal)| withdrawal).collect();
                let place = Place { log: name, seen };
                let cursor = place.write();
                self.place = Some(place);
                self.is_current = !is_full;
                if is_full {
                    return Ok(FeedBatch::partial(withdrawals).with_cursor(cursor));
                }
                Ok(FeedBatch::current(withdrawals, as_of).with_cursor(cursor))
            }
        }
    };
}

struct Connection<S> {
    feed: TableFeed<S>,
    place: Option<Place>,
    is_current: bool,
}

#[cfg(feature = "sqlite")]
implement!(SqliteStore);
#[cfg(feature = "postgres")]
implement!(PostgresStore);
