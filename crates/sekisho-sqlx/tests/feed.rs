//! No withdrawal is passed over.

use std::collections::BTreeSet;
use std::time::Duration;

use sekisho_core::{FailureKind, SystemClock, UnixSeconds};
use sekisho_revocation::{Cursor, FeedConnection, RevocationFeed, Withdrawal, Withdrawn};
use sekisho_sqlx::TableFeed;
use sqlx::Connection as _;
use tokio::time::timeout;

use crate::world::{Database, Folder};

fn token(id: &str) -> Withdrawal {
    Withdrawal::token("https://id.example", id, UnixSeconds::MAX).unwrap()
}

/// Reads until a batch is current, and returns the ids.
async fn heard(connection: &mut Box<dyn FeedConnection>) -> (Vec<String>, Option<Cursor>) {
    let mut ids = Vec::new();
    loop {
        let batch = connection.next(&SystemClock).await.unwrap();
        ids.extend(batch.withdrawals().iter().map(|withdrawal| match withdrawal.what() {
            Withdrawn::Token(id) => id.to_string(),
            other => format!("{other:?}"),
        }));
        if batch.as_of().is_some() {
            return (ids, batch.cursor().cloned());
        }
    }
}

macro_rules! fast {
    ($store:expr) => {
        TableFeed::new($store.clone()).with_interval(Duration::from_millis(50)).unwrap()
    };
}

macro_rules! listens {
    ($one:expr, $other:expr, $world:expr) => {{
        let (one, other, world) = (&$one, &$other, &$world);
        let feed = fast!(other);
        assert!(feed.patience() > Duration::from_secs(1));
        let mut early = feed.connect(None).await.unwrap();
        assert_eq!(heard(&mut early).await.0, Vec::<String>::new(), "an empty table is current");
        // More than a batch, by many at a time, while others listen.
        let writers: Vec<_> = (0..16)
            .map(|writer| {
                let store = if writer % 2 == 0 { one.clone() } else { other.clone() };
                tokio::spawn(async move {
                    for round in 0..10 {
                        let some: Vec<_> = (0..10).map(|id| token(&format!("{writer}-{round}-{id}"))).collect();
                        store.withdraw(&some).await.unwrap();
                    }
                })
            })
            .collect();
        let mut all = BTreeSet::new();
        for _ in 0..400 {
            all.extend(heard(&mut early).await.0);
            if all.len() == 1_600 {
                break;
            }
        }
        assert_eq!(all.len(), 1_600, "none is passed over");
        for writer in writers {
            writer.await.unwrap();
        }
        let mut late = feed.connect(None).await.unwrap();
        let (snapshot, cursor) = heard(&mut late).await;
        assert_eq!(snapshot.len(), 1_600, "each once, in several batches");
        one.withdraw(&[token("new")]).await.unwrap();
        let mut resumed = feed.connect(cursor.as_ref()).await.unwrap();
        assert_eq!(heard(&mut resumed).await.0, ["new"], "a cursor is followed by what is new");
        for strange in ["x", "0", "x.1", "x.-1", "x.99999999999999999999"] {
            let mut connection = feed.connect(Cursor::new(strange).as_ref()).await.unwrap();
            assert_eq!(heard(&mut connection).await.0.len(), 1_601, "{strange}: everything again");
        }
        // A table that was put in the place of another begins anew; a follower that went on would hear nothing.
        world.run("DELETE FROM sekisho_revocation").await;
        world.run("DELETE FROM sekisho_revocation_log").await;
        assert_eq!(late.next(&SystemClock).await.unwrap_err().kind(), FailureKind::BadGateway);
        one.withdraw(&[token("after")]).await.unwrap();
        assert_eq!(resumed.next(&SystemClock).await.unwrap_err().kind(), FailureKind::BadGateway);
        let mut anew = feed.connect(cursor.as_ref()).await.unwrap();
        assert_eq!(heard(&mut anew).await.0, ["after"]);
        // Also when it is longer by now: its name tells.
        world.run("DELETE FROM sekisho_revocation").await;
        world.run("DELETE FROM sekisho_revocation_log").await;
        one.withdraw(&[token("passed"), token("over")]).await.unwrap();
        assert_eq!(anew.next(&SystemClock).await.unwrap_err().kind(), FailureKind::BadGateway);
        for interval in [Duration::ZERO, Duration::from_secs(61)] {
            assert!(TableFeed::new(one.clone()).with_interval(interval).is_err());
        }
    }};
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn followers_of_a_file_miss_nothing() {
    let folder = Folder::new();
    listens!(folder.open().await, folder.open().await, folder);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn followers_of_postgresql_miss_nothing() {
    let Some(database) = Database::new("withdrawals in PostgreSQL").await else { return };
    listens!(database.open().await, database.open().await, database);
    database.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_withdrawal_that_is_being_written_is_not_passed() {
    let Some(database) = Database::new("a withdrawal that is being written").await else { return };
    let store = database.open().await;
    store.withdraw(&[token("first")]).await.unwrap();
    let feed = fast!(store);
    let mut follower = feed.connect(None).await.unwrap();
    assert_eq!(heard(&mut follower).await.0, ["first"]);

    // As the store writes, but slowly.
    let mut slow = sqlx::PgConnection::connect(&database.url()).await.unwrap();
    let statements = [
        "BEGIN",
        "UPDATE sekisho_revocation_log SET last_place = last_place + 1",
        "INSERT INTO sekisho_revocation (place, ends_at, withdrawal) SELECT last_place, 9223372036854775807, \
         convert_to('{\"iss\":\"https://id.example\",\"jti\":\"slow\",\"until\":253402300799}', 'UTF8') \
         FROM sekisho_revocation_log",
    ];
    for statement in statements {
        sqlx::raw_sql(statement).execute(&mut slow).await.unwrap();
    }
    let mut quick = tokio::spawn({
        let store = store.clone();
        async move { store.withdraw(&[token("quick")]).await }
    });
    assert!(timeout(Duration::from_millis(500), &mut quick).await.is_err(), "the second waits for the first");
    assert_eq!(heard(&mut follower).await.0, Vec::<String>::new(), "and is not heard before it");
    sqlx::raw_sql("COMMIT").execute(&mut slow).await.unwrap();
    quick.await.unwrap().unwrap();
    let mut ids = Vec::new();
    while ids.len() < 2 {
        ids.extend(heard(&mut follower).await.0);
    }
    assert_eq!(ids, ["slow", "quick"]);
    slow.close().await.unwrap();
    store.close().await;
    database.end().await;
}
