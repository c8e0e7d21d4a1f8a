//! Sessions under PostgreSQL's isolation, where each statement sees what was committed before it: what happens while another
//! transaction is under way.

use std::sync::Arc;
use std::time::Duration;

use sekisho_session::{Saved, SessionStore as _};
use sekisho_sqlx::PostgresStore;
use sekisho_testkit::session_store_suite;
use sqlx::{Connection as _, PgConnection};

use crate::sessions::{id, kept, tag, update};
use crate::world::{Database, NOW, at};

/// Is a transaction past the store, which stays open for as long as the test wants.
struct Slow(PgConnection);

impl Slow {
    async fn begin(database: &Database, statement: &'static str) -> Self {
        let mut slow = Self(PgConnection::connect(&database.url()).await.unwrap());
        slow.run("BEGIN").await;
        slow.run(statement).await;
        slow
    }

    async fn run(&mut self, statement: &'static str) {
        sqlx::raw_sql(statement).execute(&mut self.0).await.unwrap();
    }
}

/// Starts a call that must wait for somebody else.
async fn waits<T: Send + 'static>(call: impl Future<Output = T> + Send + 'static) -> tokio::task::JoinHandle<T> {
    let call = tokio::spawn(call);
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!call.is_finished(), "it waits");
    call
}

async fn begun(test: &str) -> Option<(Database, Arc<PostgresStore>)> {
    let database = Database::new(test).await?;
    let store = Arc::new(database.open().await);
    for number in 1..=2 {
        assert!(store.create(id(number), &kept(1000, &[7]), NOW).await.unwrap());
    }
    Some((database, store))
}

const ENDS_ONE: &str = "UPDATE sekisho_session SET card = NULL, body = NULL WHERE id = decode(repeat('01', 32), 'hex')";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_for_the_end_of_a_session_finds_it_ended() {
    let Some((database, store)) = begun("calls that wait for the end of a session").await else { return };
    let mut slow = Slow::begin(&database, ENDS_ONE).await;
    let by = || Arc::clone(&store);
    let (one, other, third, fourth, fifth) = (by(), by(), by(), by(), by());
    let save = waits(async move { one.save(&id(1), 1, &update(1000, b"late"), NOW).await }).await;
    let touch = waits(async move { other.touch(&id(1), at(2000), NOW).await }).await;
    let create = waits(async move { third.create(id(1), &kept(1000, &[7]), NOW).await }).await;
    let delete = waits(async move { fourth.delete(&id(1), NOW).await }).await;
    let tagged = waits(async move { fifth.delete_tagged(&tag(7), NOW).await }).await;
    assert!(store.load(&id(1), NOW).await.unwrap().is_some(), "who reads does not wait: it has not ended yet");
    slow.run("COMMIT").await;
    assert_eq!(save.await.unwrap().unwrap(), Saved::Gone);
    assert!(!touch.await.unwrap().unwrap() && !create.await.unwrap().unwrap() && !delete.await.unwrap().unwrap());
    assert_eq!(tagged.await.unwrap().unwrap(), 1, "the other one");
    assert_eq!(store.load(&id(1), NOW).await.unwrap(), None);
    database.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_ends_a_session_that_is_being_saved_ends_it_after_that() {
    let Some((database, store)) = begun("the end of a session that is being saved").await else { return };
    for by_tag in [false, true] {
        let number = 1 + u8::from(by_tag);
        let mut slow = Slow::begin(&database, "UPDATE sekisho_session SET version = version + 1, body = '\\x00'").await;
        let ending = Arc::clone(&store);
        let end = waits(async move {
            if by_tag {
                ending.delete_tagged(&tag(7), NOW).await.map(|ended| ended == 1)
            } else {
                ending.delete(&id(number), NOW).await
            }
        });
        let end = end.await;
        slow.run("COMMIT").await;
        assert!(end.await.unwrap().unwrap(), "it was alive");
        assert_eq!(store.load(&id(number), NOW).await.unwrap(), None);
        assert_eq!(store.save(&id(number), 2, &update(1000, b"late"), NOW).await.unwrap(), Saved::Gone);
    }
    database.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_saves_one_waits_and_is_told() {
    let Some((database, store)) = begun("two saves").await else { return };
    for (number, ending, expected) in [(1, "COMMIT", Saved::Conflict), (2, "ROLLBACK", Saved::Done)] {
        let mut slow = Slow::begin(&database, "UPDATE sekisho_session SET version = version + 1, body = '\\x00'").await;
        let saving = Arc::clone(&store);
        let version = store.load(&id(number), NOW).await.unwrap().unwrap().version;
        let save = waits(async move { saving.save(&id(number), version, &update(1000, b"second"), NOW).await }).await;
        slow.run(ending).await;
        assert_eq!(save.await.unwrap().unwrap(), expected, "{ending}");
    }
    database.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_comes_while_a_tag_is_ended_lives_and_keeps_the_tag() {
    let Some((database, store)) = begun("sessions that come while their tag is ended").await else { return };
    let slow = Slow::begin(&database, "UPDATE sekisho_session SET version = version").await;
    let ending = Arc::clone(&store);
    let end = waits(async move { ending.delete_tagged(&tag(7), NOW).await }).await;
    // Before, between and behind those that it has on its list.
    for number in [0, 3] {
        assert!(store.create(id(number), &kept(1000, &[7]), NOW).await.unwrap());
    }
    let Slow(mut connection) = slow;
    sqlx::raw_sql("COMMIT").execute(&mut connection).await.unwrap();
    assert_eq!(end.await.unwrap().unwrap(), 2, "those that were there");
    for number in [0, 3] {
        assert!(store.load(&id(number), NOW).await.unwrap().is_some());
    }
    assert_eq!(store.list(&tag(7), NOW).await.unwrap().len(), 2, "who lives can be found");
    assert_eq!(store.delete_tagged(&tag(7), NOW).await.unwrap(), 2, "and ended");
    database.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_being_created_cannot_be_ended_in_half() {
    let Some((database, store)) = begun("the end of a session that is being created").await else { return };
    let mut slow = Slow::begin(
        &database,
        "INSERT INTO sekisho_session VALUES (decode(repeat('03', 32), 'hex'), 1, 1764073000, 1764073000, '\\x00', '\\x00'); \
         INSERT INTO sekisho_session_tag VALUES (decode(repeat('07', 32), 'hex'), decode(repeat('03', 32), 'hex'))",
    )
    .await;
    assert!(!store.delete(&id(3), NOW).await.unwrap(), "nobody is there yet");
    assert_eq!(store.delete_tagged(&tag(7), NOW).await.unwrap(), 2);
    let creating = Arc::clone(&store);
    let create = waits(async move { creating.create(id(3), &kept(1000, &[8]), NOW).await }).await;
    slow.run("COMMIT").await;
    assert!(!create.await.unwrap().unwrap(), "the name is taken");
    assert_eq!(store.list(&tag(7), NOW).await.unwrap().len(), 1);
    assert!(store.list(&tag(8), NOW).await.unwrap().is_empty());
    assert_eq!(store.delete_tagged(&tag(7), NOW).await.unwrap(), 1);
    database.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn calls_that_end_overlapping_lists_do_not_wait_in_a_circle() {
    let Some(database) = Database::new("overlapping lists").await else { return };
    let stores = [Arc::new(database.open().await), Arc::new(database.open().await)];
    for round in 0..20_u64 {
        let now = at(round);
        for number in 0..100_u8 {
            // Each tag has the sessions in another order.
            let mut name = [number; 32];
            name[0] = number.wrapping_mul(37);
            name[31] = round as u8;
            let name = sekisho_session::SessionHash::from_bytes(name);
            assert!(stores[0].create(name, &kept(1000, &[1, 2, 3, 4]), now).await.unwrap());
        }
        let calls: Vec<_> = (0..8_usize)
            .map(|call| {
                let store = Arc::clone(&stores[call % 2]);
                tokio::spawn(async move {
                    if call == 7 {
                        return store.sweep(at(9000)).await.map(|_| 0);
                    }
                    store.delete_tagged(&tag(1 + (call % 4) as u8), now).await
                })
            })
            .collect();
        let mut ended = 0;
        for call in calls {
            ended += call.await.unwrap().expect("nobody waits for who waits for him");
        }
        assert!(ended <= 100, "nobody is ended twice: {ended}");
        assert!(stores[1].list(&tag(1), now).await.unwrap().is_empty());
    }
    database.end().await;
}

#[tokio::test]
async fn no_call_reads_a_whole_table() {
    let Some(database) = Database::new("indexes of sessions").await else { return };
    let store = database.open().await;
    database
        .run(
            "INSERT INTO sekisho_session SELECT sha256(int4send(i)), 1, 1764075600 + i, 1764075600 + i, '\\x00', '\\x00' \
             FROM generate_series(1, 20000) i",
        )
        .await;
    database.run("INSERT INTO sekisho_session_tag SELECT sha256(id), id FROM sekisho_session").await;
    assert!(store.create(id(1), &kept(1000, &[7]), NOW).await.unwrap());
    for table in ["ANALYZE sekisho_session", "ANALYZE sekisho_session_tag"] {
        database.run(table).await;
    }
    store.close().await;
    let scans = async || -> (i64, i64) {
        // What a connection has counted is told when it ends.
        tokio::time::sleep(Duration::from_millis(500)).await;
        let mut connection = PgConnection::connect(&database.url()).await.unwrap();
        sqlx::query_as(
            "SELECT SUM(seq_scan)::BIGINT, SUM(idx_scan)::BIGINT FROM pg_stat_user_tables WHERE relname LIKE 'sekisho_session%'",
        )
        .fetch_one(&mut connection)
        .await
        .unwrap()
    };
    let (whole, by_index) = scans().await;
    let store = database.open().await;
    for _ in 0..10 {
        assert!(store.load(&id(1), NOW).await.unwrap().is_some());
        assert!(store.touch(&id(1), at(900), NOW).await.unwrap());
    }
    assert_eq!(store.save(&id(1), 1, &update(1000, b"x"), NOW).await.unwrap(), Saved::Done);
    assert_eq!(store.list(&tag(7), NOW).await.unwrap().len(), 1);
    assert!(store.create(id(2), &kept(1000, &[7]), NOW).await.unwrap());
    assert!(store.delete(&id(2), NOW).await.unwrap());
    assert_eq!(store.delete_tagged(&tag(7), NOW).await.unwrap(), 1);
    assert_eq!(sekisho_session::SessionStore::sweep(&store, NOW).await.unwrap(), 0);
    store.close().await;
    let (whole_after, by_index_after) = scans().await;
    assert!(by_index_after > by_index + 20, "{by_index_after}");
    // But for the count of all sessions, once a minute.
    assert!(whole_after <= whole + 1, "{whole} and then {whole_after}");
    database.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_database_with_another_isolation_is_used_with_ours() {
    let Some(database) = Database::new("a PostgreSQL of another isolation").await else { return };
    database
        .run(
            "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET default_transaction_isolation TO serializable', \
             current_database()); END $$",
        )
        .await;
    let stores = [Arc::new(database.open().await), Arc::new(database.open().await)];
    let [one, other] = stores.clone();
    session_store_suite([one, other], NOW).await;
    database.end().await;
}
