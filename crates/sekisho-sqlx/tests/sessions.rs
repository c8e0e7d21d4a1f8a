//! What becomes of sessions in the tables, their bounds, and rows that nobody of ours has written.

use std::sync::Arc;

use sekisho_core::{Failure, FailureKind};
use sekisho_session::{NewSession, Saved, Sealed, SessionHash, SessionStore, SessionTag, SessionUpdate};
use sekisho_sqlx::{PostgresStore, SqliteStore, StoreLimits};

use crate::migrations::{CHILD, in_four_processes};
use crate::world::{Database, Folder, NOW, at};

pub(crate) fn id(number: u8) -> SessionHash {
    SessionHash::from_bytes([number; 32])
}

pub(crate) fn tag(number: u8) -> SessionTag {
    SessionTag::from_bytes([number; 32])
}

pub(crate) fn sealed(bytes: &[u8]) -> Sealed {
    Sealed::from_bytes(bytes)
}

/// Is a session that lives for some seconds.
pub(crate) fn kept(seconds: u64, tags: &[u8]) -> NewSession {
    let tags = tags.iter().map(|number| tag(*number)).collect();
    let (card, body) = (sealed(b"s3cret card"), sealed(b"s3cret body"));
    NewSession { idle_until: at(seconds), expires_at: at(seconds), tags, card, body }
}

pub(crate) fn update(seconds: u64, body: &[u8]) -> SessionUpdate {
    SessionUpdate { idle_until: at(seconds), expires_at: at(seconds), body: sealed(body) }
}

macro_rules! what_is_left {
    ($store:expr, $world:expr) => {{
        let (store, world): (&dyn SessionStore, _) = (&$store, &$world);
        for number in 1..=3 {
            assert!(store.create(id(number), &kept(1000, &[7, number, number]), NOW).await.unwrap());
        }
        // Each of these changes as many rows as there are.
        let tags = "UPDATE sekisho_session_tag SET tag = tag";
        let contents = "UPDATE sekisho_session SET version = version WHERE body IS NOT NULL OR card IS NOT NULL";
        assert_eq!((world.run(tags).await, world.run(contents).await), (6, 3), "a tag that is given twice is one");
        assert!(store.delete(&id(1), NOW).await.unwrap());
        assert_eq!((world.run(tags).await, world.run(contents).await), (4, 2));
        assert_eq!(store.delete_tagged(&tag(2), NOW).await.unwrap(), 1);
        assert_eq!((world.run(tags).await, world.run(contents).await), (2, 1));
        assert_eq!(store.list(&tag(7), NOW).await.unwrap().len(), 1);

        // Who is dead is ended too, for a process whose clock is behind; and it does not count as alive.
        assert!(store.create(id(4), &kept(10, &[7]), NOW).await.unwrap());
        assert!(!store.delete(&id(4), at(10)).await.unwrap());
        assert_eq!(store.load(&id(4), NOW).await.unwrap(), None);
        assert!(store.create(id(5), &kept(10, &[8]), NOW).await.unwrap());
        assert_eq!(store.delete_tagged(&tag(8), at(10)).await.unwrap(), 0);
        assert_eq!(store.load(&id(5), NOW).await.unwrap(), None);

        // The tags of who was dead are not those of who gets the name then.
        assert!(store.create(id(6), &kept(10, &[9]), NOW).await.unwrap());
        assert!(store.create(id(6), &kept(1000, &[10]), at(10)).await.unwrap());
        assert!(store.list(&tag(9), at(10)).await.unwrap().is_empty());
        assert_eq!(store.list(&tag(10), at(10)).await.unwrap().len(), 1);
        assert_eq!(store.delete_tagged(&tag(9), at(10)).await.unwrap(), 0);
        assert!(store.load(&id(6), at(10)).await.unwrap().is_some());
    }};
}

#[tokio::test]
async fn what_is_ended_in_a_file_leaves_its_name_and_nothing_else() {
    let folder = Folder::new();
    what_is_left!(folder.open().await, folder);
}

#[tokio::test]
async fn what_is_ended_in_postgresql_leaves_its_name_and_nothing_else() {
    let Some(database) = Database::new("ended sessions in PostgreSQL").await else { return };
    what_is_left!(database.open().await, database);
    database.end().await;
}

macro_rules! bounds {
    ($store:expr) => {{
        let store: &dyn SessionStore = &$store;
        for number in 1..=3 {
            assert!(store.create(id(number), &kept(1000, &[1]), NOW).await.unwrap());
        }
        for number in [1, 4] {
            let full = store.create(id(number), &kept(1000, &[1]), at(1)).await.unwrap_err();
            assert_eq!(full.kind(), FailureKind::Unavailable);
            assert!(full.retry_after().is_some());
        }
        for number in 1..=3 {
            assert!(store.load(&id(number), at(1)).await.unwrap().is_some(), "nobody is thrown out");
        }
        assert_eq!(store.save(&id(1), 1, &update(1000, b"more"), at(1)).await.unwrap(), Saved::Done);
        assert!(store.delete(&id(1), at(1)).await.unwrap());
        assert!(store.create(id(4), &kept(1000, &[1]), at(11)).await.unwrap(), "who has ended makes room");
        assert!(store.create(id(5), &kept(1000, &[1]), at(21)).await.is_err());
        assert!(!store.create(id(1), &kept(2000, &[1]), at(999)).await.is_ok_and(|created| created));
        assert!(store.create(id(1), &kept(2000, &[1]), at(1009)).await.unwrap(), "and so does who is dead");

        let most = NewSession { tags: (1..=8).map(tag).collect(), ..kept(2000, &[]) };
        let long = vec![0; NewSession::MAX_BODY + 1];
        for bad in [
            NewSession { tags: (1..=9).map(tag).collect(), ..most.clone() },
            NewSession { card: sealed(&long[..=NewSession::MAX_CARD]), ..most.clone() },
            NewSession { body: sealed(&long), ..most.clone() },
        ] {
            let failure = store.create(id(9), &bad, at(1020)).await.unwrap_err();
            assert_eq!(failure.kind(), FailureKind::Misconfigured);
        }
        assert!(store.save(&id(1), 1, &update(2000, &long), at(1020)).await.is_err());
        assert!(store.create(id(9), &most, at(1020)).await.unwrap());
    }};
}

fn few() -> StoreLimits {
    let mut limits = StoreLimits::default();
    limits.sessions = 3;
    limits
}

#[tokio::test]
async fn a_full_file_refuses_sessions_and_throws_nobody_out() {
    let folder = Folder::new();
    bounds!(SqliteStore::open_with(folder.file(), few()).await.unwrap());
}

#[tokio::test]
async fn a_full_postgresql_refuses_sessions_and_throws_nobody_out() {
    let Some(database) = Database::new("a PostgreSQL full of sessions").await else { return };
    bounds!(PostgresStore::connect_with(&database.url(), few()).await.unwrap());
    database.end().await;
}

macro_rules! reserve {
    ($store:expr) => {{
        let store: &dyn SessionStore = &$store;
        for number in 1..=3 {
            assert!(store.create(id(number), &kept(1000, &[number]), NOW).await.unwrap());
        }
        let full = store.create(id(4), &kept(1000, &[4]), NOW).await.unwrap_err();
        assert_eq!(full.kind(), FailureKind::Unavailable, "a visitor whom nobody knows");
        assert!(store.create(id(5), &kept(1000, &[5, 50]), NOW).await.unwrap(), "a login");
        assert!(store.create(id(6), &kept(1000, &[6, 50]), NOW).await.is_err());
        assert_eq!(store.save(&id(1), 1, &update(1000, b"more"), NOW).await.unwrap(), Saved::Done);
    }};
}

fn four() -> StoreLimits {
    let mut limits = StoreLimits::default();
    limits.sessions = 4;
    limits
}

#[tokio::test]
async fn visitors_cannot_take_the_last_quarter_of_a_file_from_those_who_log_in() {
    let folder = Folder::new();
    reserve!(SqliteStore::open_with(folder.file(), four()).await.unwrap());
}

#[tokio::test]
async fn visitors_cannot_take_the_last_quarter_of_a_postgresql_from_those_who_log_in() {
    let Some(database) = Database::new("a PostgreSQL with room for logins").await else { return };
    reserve!(PostgresStore::connect_with(&database.url(), four()).await.unwrap());
    database.end().await;
}

/// A tag of 32 times the byte 7, and so many sessions that have it, alive until an hour from `NOW`.
macro_rules! many {
    ($world:expr, $sessions:literal, $tags:literal) => {{
        $world.run($sessions).await;
        assert_eq!($world.run($tags).await, 20_001);
    }};
}

macro_rules! long_lists {
    ($store:expr, $world:expr) => {{
        let (store, world): (&dyn SessionStore, _) = (&$store, &$world);
        let failure = store.list(&tag(7), NOW).await.unwrap_err();
        assert_eq!(failure.kind(), FailureKind::Unavailable, "never a part");
        world.run("DELETE FROM sekisho_session WHERE id = (SELECT s.id FROM sekisho_session s LIMIT 1)").await;
        assert_eq!(store.list(&tag(7), NOW).await.unwrap().len(), 20_000);
        assert_eq!(store.list(&tag(7), at(3600)).await.unwrap().len(), 0, "who is dead counts for nothing");
        assert_eq!(store.delete_tagged(&tag(7), NOW).await.unwrap(), 20_000, "in batches, and all");
        assert_eq!(store.delete_tagged(&tag(7), NOW).await.unwrap(), 0);
        assert!(store.list(&tag(7), NOW).await.unwrap().is_empty());
        assert_eq!(store.sweep(at(3600)).await.unwrap(), 0, "for five minutes nothing goes");
        assert_eq!(store.sweep(at(3900)).await.unwrap(), 20_000, "nor stays for ever");
    }};
}

#[tokio::test]
async fn in_a_file_a_long_list_fails_and_is_ended_all_the_same() {
    let folder = Folder::new();
    let store = folder.open().await;
    many!(
        folder,
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20001) INSERT INTO sekisho_session \
         SELECT CAST(printf('%032d', i) AS BLOB), 1, 1764075600, 1764075600, X'00', X'00' FROM n",
        "INSERT INTO sekisho_session_tag SELECT CAST(printf('%.32c', char(7)) AS BLOB), id FROM sekisho_session"
    );
    long_lists!(store, folder);
}

#[tokio::test]
async fn in_postgresql_a_long_list_fails_and_is_ended_all_the_same() {
    let Some(database) = Database::new("a long list in PostgreSQL").await else { return };
    let store = database.open().await;
    many!(
        database,
        "INSERT INTO sekisho_session SELECT sha256(int4send(i)), 1, 1764075600, 1764075600, '\\x00', '\\x00' \
         FROM generate_series(1, 20001) i",
        "INSERT INTO sekisho_session_tag SELECT decode(repeat('07', 32), 'hex'), id FROM sekisho_session"
    );
    long_lists!(store, database);
    database.end().await;
}

macro_rules! sweeping {
    ($store:expr, $world:expr) => {{
        let (store, world) = (&$store, &$world);
        let dead = NewSession { expires_at: at(9000), ..kept(100, &[1]) };
        let past_its_end = NewSession { idle_until: at(9000), ..kept(100, &[1]) };
        for (number, session) in (1..).zip([dead.clone(), past_its_end.clone(), kept(9000, &[1]), dead, past_its_end]) {
            assert!(store.create(id(number), &session, NOW).await.unwrap());
        }
        for number in 4..=5 {
            assert!(store.delete(&id(number), NOW).await.unwrap());
        }
        assert_eq!(SessionStore::sweep(store, at(399)).await.unwrap(), 0, "for five minutes nothing goes");
        assert_eq!(SessionStore::sweep(store, at(400)).await.unwrap(), 3, "idle, past its end, and a name at its end");
        assert_eq!(world.run("DELETE FROM sekisho_session_tag").await, 1, "tags go with their sessions");
        assert!(store.load(&id(3), at(400)).await.unwrap().is_some());
        assert!(!store.create(id(4), &kept(500, &[]), at(400)).await.unwrap(), "a name is kept until its end");
        assert_eq!(store.sweep(at(9300)).await.unwrap(), 2, "the sweep of everything is one of sessions too");
    }};
}

#[tokio::test]
async fn a_sweep_of_a_file_takes_the_dead_and_their_tags() {
    let folder = Folder::new();
    sweeping!(folder.open().await, folder);
}

#[tokio::test]
async fn a_sweep_of_postgresql_takes_the_dead_and_their_tags() {
    let Some(database) = Database::new("sweeping sessions in PostgreSQL").await else { return };
    sweeping!(database.open().await, database);
    database.end().await;
}

/// Asserts that a call fails because of what it found, and shows nothing of it.
#[track_caller]
fn fails<T: std::fmt::Debug>(answer: Result<T, Failure>, what: &str) {
    let failure = answer.expect_err(what);
    assert_eq!(failure.kind(), FailureKind::Misconfigured, "{what}: {failure:?}");
    assert!(!format!("{failure:?} {failure}").contains("s3cret"), "{what}: {failure:?}");
}

macro_rules! hostile_rows {
    ($store:expr, $world:expr, huge: $huge:literal, short: [$($short:literal),*]) => {{
        let (store, world): (&dyn SessionStore, _) = (&$store, &$world);
        assert!(store.create(id(1), &kept(1000, &[1]), NOW).await.unwrap());
        for statement in ["UPDATE sekisho_session SET version = 0", "UPDATE sekisho_session SET version = -1"] {
            world.run(statement).await;
            fails(store.load(&id(1), NOW).await, statement);
            fails(store.save(&id(1), 1, &update(1000, b"x"), NOW).await, statement);
        }
        world.run("UPDATE sekisho_session SET version = 9223372036854775807").await;
        let last = store.load(&id(1), NOW).await.unwrap().unwrap().version;
        assert!(store.save(&id(1), last, &update(1000, b"x"), NOW).await.is_err(), "nobody counts further");
        assert!(store.save(&id(1), u64::MAX, &update(1000, b"x"), NOW).await.is_err());
        assert_eq!(store.load(&id(1), NOW).await.unwrap().unwrap().body, sealed(b"s3cret body"));
        world.run("UPDATE sekisho_session SET version = 1").await;
        for statement in ["UPDATE sekisho_session SET idle_until = -1", "UPDATE sekisho_session SET expires_at = -1"] {
            world.run(statement).await;
            fails(store.load(&id(1), NOW).await, statement);
            fails(store.save(&id(1), 1, &update(1000, b"x"), NOW).await, statement);
            fails(store.touch(&id(1), at(2000), NOW).await, statement);
            fails(store.list(&tag(1), NOW).await, statement);
            world.run("UPDATE sekisho_session SET idle_until = 9223372036854775807, expires_at = 9223372036854775807").await;
            assert!(store.load(&id(1), at(1_000_000_000)).await.unwrap().is_some(), "the latest is never");
        }
        world.run($huge).await;
        fails(store.load(&id(1), NOW).await, "a body that nobody has written");
        fails(store.list(&tag(1), NOW).await, "a card that nobody has written");
        world.run("UPDATE sekisho_session SET card = NULL, body = substr(body, 1, 0)").await;
        fails(store.list(&tag(1), NOW).await, "no card");
        assert_eq!(store.load(&id(1), NOW).await.unwrap().unwrap().body, sealed(b""));
        // A name that is none.
        $(world.run($short).await;)*
        fails(store.list(&tag(1), NOW).await, "31 bytes of a name");
        assert_eq!(store.delete_tagged(&tag(1), NOW).await.unwrap(), 1, "what cannot be read can be ended");
        assert!(store.list(&tag(1), NOW).await.unwrap().is_empty());
    }};
}

#[tokio::test]
async fn hostile_sessions_in_a_file_are_failures() {
    let folder = Folder::new();
    hostile_rows!(
        folder.open().await, folder,
        huge: "UPDATE sekisho_session SET body = zeroblob(50000000), card = zeroblob(4097)",
        short: [
            "UPDATE sekisho_session SET id = substr(id, 2)",
            "UPDATE sekisho_session_tag SET session = substr(session, 2)"
        ]
    );
    // Tags of nobody hide nobody, and end with those that have somebody.
    let store = folder.open().await;
    folder
        .run(
            "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2500) INSERT INTO sekisho_session_tag \
             SELECT CAST(printf('%.32c', char(7)) AS BLOB), CAST(printf('%d', 1000 + i) AS BLOB) FROM n",
        )
        .await;
    assert!(store.create(id(0xff), &kept(1000, &[7]), NOW).await.unwrap());
    assert_eq!(store.list(&tag(7), NOW).await.unwrap().len(), 1);
    assert_eq!(store.delete_tagged(&tag(7), NOW).await.unwrap(), 1);
    assert_eq!(store.load(&id(0xff), NOW).await.unwrap(), None);
}

#[tokio::test]
async fn hostile_sessions_in_postgresql_are_failures() {
    let Some(database) = Database::new("hostile sessions in PostgreSQL").await else { return };
    let store = database.open().await;
    hostile_rows!(
        store, database,
        huge: "UPDATE sekisho_session SET body = convert_to(repeat('x', 50000000), 'UTF8'), \
               card = convert_to(repeat('x', 4097), 'UTF8')",
        short: [
            "ALTER TABLE sekisho_session_tag DROP CONSTRAINT sekisho_session_tag_session_fkey",
            "UPDATE sekisho_session SET id = substr(id, 2)",
            "UPDATE sekisho_session_tag SET session = substr(session, 2)"
        ]
    );
    store.close().await;
    let store = database.open().await;
    assert!(store.create(id(2), &kept(1000, &[2]), NOW).await.unwrap());
    database.run("ALTER TABLE sekisho_session ALTER COLUMN body TYPE TEXT USING 's3cret'").await;
    store.close().await;
    fails(database.open().await.load(&id(2), NOW).await, "text for bytes");
    database.run("DROP TABLE sekisho_session_tag, sekisho_session").await;
    assert!(database.open().await.load(&id(2), NOW).await.is_err(), "no table is not nobody");
    database.end().await;
}

/// Counts in one session, by load and save until it fits, and keeps a session of its own.
async fn counts(store: Arc<dyn SessionStore>) {
    let own = SessionHash::from_bytes(std::array::from_fn(|at| (std::process::id() >> (8 * (at % 4))) as u8));
    assert!(store.create(own, &kept(1000, &[1]), NOW).await.unwrap());
    for _ in 0..25 {
        loop {
            let found = store.load(&id(1), NOW).await.unwrap().unwrap();
            let count = u32::from_be_bytes(found.body.as_bytes().try_into().unwrap());
            let next = update(1000, &(count + 1).to_be_bytes());
            match store.save(&id(1), found.version, &next, NOW).await.unwrap() {
                Saved::Done => break,
                Saved::Conflict => {}
                Saved::Gone => panic!("it is gone"),
            }
        }
    }
}

macro_rules! four_processes {
    ($store:expr, $test:expr, $place:expr) => {{
        let store: &dyn SessionStore = &$store;
        let new = NewSession { body: sealed(&0_u32.to_be_bytes()), ..kept(1000, &[]) };
        assert!(store.create(id(1), &new, NOW).await.unwrap());
        in_four_processes($test, $place).await;
        let found = store.load(&id(1), NOW).await.unwrap().unwrap();
        assert_eq!((found.version, found.body), (101, sealed(&100_u32.to_be_bytes())), "no update is lost");
        assert_eq!(store.list(&tag(1), NOW).await.unwrap().len(), 4, "what each has kept, all see");
        assert_eq!(store.delete_tagged(&tag(1), NOW).await.unwrap(), 4);
    }};
}

#[tokio::test]
async fn four_processes_keep_sessions_in_one_file() {
    if let Ok(place) = std::env::var(CHILD) {
        return counts(Arc::new(SqliteStore::open(place).await.unwrap())).await;
    }
    let folder = Folder::new();
    let file = folder.file();
    let test = "sessions::four_processes_keep_sessions_in_one_file";
    four_processes!(folder.open().await, test, file.to_str().unwrap());
}

#[tokio::test]
async fn four_processes_keep_sessions_in_one_postgresql() {
    if let Ok(place) = std::env::var(CHILD) {
        return counts(Arc::new(PostgresStore::connect(&place).await.unwrap())).await;
    }
    let Some(database) = Database::new("sessions of four processes in PostgreSQL").await else { return };
    let test = "sessions::four_processes_keep_sessions_in_one_postgresql";
    four_processes!(database.open().await, test, &database.url());
    database.end().await;
}
