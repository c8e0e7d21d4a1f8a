//! Rows that nobody of ours has written, and names that nobody would choose.

use sekisho_core::{Failure, FailureKind, OneTimeUse, ReplayGuard as _, SubjectId};
use sekisho_issuer::{CountStore as _, DeviceStore as _, GrantStore as _, HandleHash, KeyStore as _, SsoStore as _};
use sekisho_opaque::{ReferenceContent, ReferenceDigest, ReferenceRecord, ReferenceStore as _};
use sekisho_revocation::{RevocationFeed as _, Withdrawal};
use sekisho_sqlx::TableFeed;

use crate::records::{code, device, family, grant, hash, reference, session};
use crate::world::{Database, Folder, NOW, at};

/// Asserts that a call fails because of what it found, and shows nothing of it.
#[track_caller]
fn fails<T: std::fmt::Debug>(answer: Result<T, Failure>, statement: &str) {
    let failure = answer.expect_err(statement);
    assert_eq!(failure.kind(), FailureKind::Misconfigured, "{statement}: {failure:?}");
    let shown = format!("{failure:?} {failure}");
    assert!(!shown.contains("s3cret") && !shown.contains("alice"), "{statement}: {shown}");
}

macro_rules! hostile_rows {
    ($store:expr, $world:expr) => {{
        let (store, world) = (&$store, &$world);
        let until = at(1000);
        for number in 1..=2 {
            store.begin_grant(&grant(number, "alice", until), Some(&code(number, until)), NOW).await.unwrap();
            store.begin_refresh(&family(number, until), NOW).await.unwrap();
            store.put_reference(&reference(number, true, until), NOW).await.unwrap();
            store.put_session(&session(number, "alice", until), None, NOW).await.unwrap();
            assert!(store.begin_device(&device(number, until), NOW).await.unwrap());
        }
        let ids = [grant(1, "", until).id, grant(2, "", until).id];
        let subject = SubjectId::new("https://id.example", "alice");
        let record = ReferenceRecord::new(subject, None, until, ReferenceContent::Jwt("s3cret".into()));
        let digest = ReferenceDigest::from_bytes([1; 32]);
        assert!(sekisho_opaque::ReferenceStore::insert(store, digest, &record, NOW).await.unwrap());
        assert!(store.replace(&sekisho_issuer::SealedKeys { revision: 1, bytes: vec![1] }).await.unwrap());
        store.count(&hash(1), until, NOW).await.unwrap();
        store.withdraw_subject("alice", NOW, until, NOW).await.unwrap();
        store.withdraw(&[Withdrawal::subject("https://id.example", "alice", NOW, until).unwrap()]).await.unwrap();

        // Moved to another key: one user would get what is another's.
        world.run("UPDATE sekisho_issuer_grant SET record = (SELECT g.record FROM sekisho_issuer_grant g ORDER BY id DESC LIMIT 1)").await;
        fails(store.grant(&ids[0], NOW).await, "a grant of another id");
        assert!(store.grant(&ids[1], NOW).await.unwrap().is_some(), "the other is as it was");

        // Each statement changes both rows, each in another way.
        for statement in [
            "UPDATE sekisho_issuer_grant SET record = substr(record, 1, 40)",
            "UPDATE sekisho_issuer_code SET record = substr(record, 2)",
            "UPDATE sekisho_issuer_refresh SET record = (SELECT s.record FROM sekisho_issuer_session s LIMIT 1)",
            "UPDATE sekisho_issuer_reference SET record = (SELECT s.record FROM sekisho_issuer_session s LIMIT 1)",
            "UPDATE sekisho_issuer_session SET record = substr(record, 1, 1)",
            "UPDATE sekisho_issuer_device SET record = substr(record, 1, 0)",
            "UPDATE sekisho_opaque_reference SET record = substr(record, 1, 20)",
            "UPDATE sekisho_issuer_keys SET revision = -1",
            "UPDATE sekisho_issuer_count SET times = -1",
            "UPDATE sekisho_issuer_withdrawn SET up_to = -1",
            "UPDATE sekisho_revocation SET withdrawal = substr(withdrawal, 1, 20)",
        ] {
            assert!(world.run(statement).await > 0, "{statement}");
        }
        fails(store.grant(&ids[1], NOW).await, "a grant cut off");
        fails(store.take_code(&hash(1), NOW).await, "a code cut off");
        fails(store.refresh_family(&hash(1), NOW).await, "a session for a family");
        fails(store.reference(&hash(1), NOW).await, "a session for a token");
        fails(store.use_session(&hash(1), std::time::Duration::from_secs(9), NOW).await, "a session cut off");
        fails(store.undecided_device(&hash(1), NOW).await, "an empty record");
        fails(store.poll_device(&hash(1), "tv", NOW).await, "an empty record");
        fails(store.find(&digest, NOW).await, "a reference token cut off");
        fails(store.load().await, "a revision below zero");
        fails(store.counted(&hash(1), NOW).await, "a count below zero");
        fails(store.withdrawn_up_to("alice", NOW).await, "a time before 1970");
        let mut connection = TableFeed::new(store.clone()).connect(None).await.unwrap();
        fails(connection.next(&sekisho_core::SystemClock).await, "a withdrawal cut off");

        // A taken code whose grant has no name.
        world.run("UPDATE sekisho_issuer_code SET grant_id = 'x'").await;
        fails(store.take_code(&hash(1), NOW).await, "a grant without a name");
        fails(
            store.put_consent("alice", "shop", &sekisho_issuer::ScopeSet::parse("a").unwrap()).await.and(
                {
                    world.run("UPDATE sekisho_issuer_consent SET record = substr(record, 1, 9)").await;
                    store.consent("alice", "shop").await
                },
            ),
            "a consent cut off",
        );
    }};
}

/// Rows that fit a record but not the row.
macro_rules! bent_rows {
    ($store:expr, $world:expr) => {{
        let (store, world) = (&$store, &$world);
        let until = at(1000);
        store.begin_grant(&grant(1, "alice", until), None, NOW).await.unwrap();
        store.put_reference(&reference(1, true, until), NOW).await.unwrap();
        world.run("UPDATE sekisho_issuer_reference SET grant_id = NULL").await;
        fails(store.reference(&hash(1), NOW).await, "a token that lost its grant would outlive it");
        assert!(store.begin_device(&device(1, until), NOW).await.unwrap());
        world.run("UPDATE sekisho_issuer_device SET state = 9").await;
        fails(store.poll_device(&hash(1), "tv", NOW).await, "a state that there is not");
        world.run("UPDATE sekisho_issuer_device SET state = 1, grant_id = NULL").await;
        fails(store.poll_device(&hash(1), "tv", NOW).await, "allowed, without a grant");
        store.begin_refresh(&family(1, until), NOW).await.unwrap();
        world.run("UPDATE sekisho_issuer_refresh SET current = substr(current, 1, 31)").await;
        fails(store.refresh_family(&hash(1), NOW).await, "31 bytes of a hash");
    }};
}

#[tokio::test]
async fn hostile_rows_of_a_file_are_failures() {
    let folder = Folder::new();
    hostile_rows!(folder.open().await, folder);
    folder.run("UPDATE sekisho_issuer_grant SET record = zeroblob(100000)").await;
    fails(folder.open().await.grant(&grant(1, "", NOW).id, NOW).await, "too long");
    folder.run(r#"UPDATE sekisho_issuer_grant SET record = CAST('{"v":2,"alice":"s3cret"}' AS BLOB)"#).await;
    fails(folder.open().await.grant(&grant(1, "", NOW).id, NOW).await, "another version");
    let other = Folder::new();
    bent_rows!(other.open().await, other);
}

#[tokio::test]
async fn hostile_rows_of_postgresql_are_failures() {
    let Some(database) = Database::new("hostile rows in PostgreSQL").await else { return };
    hostile_rows!(database.open().await, database);
    database.run("UPDATE sekisho_issuer_grant SET record = convert_to(repeat('x', 100000), 'UTF8')").await;
    fails(database.open().await.grant(&grant(1, "", NOW).id, NOW).await, "too long");
    database.run(r#"UPDATE sekisho_issuer_grant SET record = convert_to('{"v":2,"alice":"s3cret"}', 'UTF8')"#).await;
    fails(database.open().await.grant(&grant(1, "", NOW).id, NOW).await, "another version");
    database.run("ALTER TABLE sekisho_issuer_grant ALTER COLUMN record TYPE TEXT USING 's3cret'").await;
    fails(database.open().await.grant(&grant(1, "", NOW).id, NOW).await, "text for bytes");
    database.end().await;
    let Some(other) = Database::new("hostile rows in PostgreSQL").await else { return };
    bent_rows!(other.open().await, other);
    other.end().await;
}

macro_rules! odd_names {
    ($store:expr) => {{
        let store = &$store;
        let long = "é".repeat(5_000);
        let names = [
            "nul \0 in it",
            "' OR '1'='1",
            "\"; DROP TABLE sekisho_issuer_grant; --",
            "𝄞 \u{202e}\\",
            " ",
            "",
            "%",
            &long,
        ];
        for (number, name) in (1..).zip(names) {
            store.begin_grant(&grant(number, name, at(1000)), None, NOW).await.unwrap();
            store.put_session(&session(number, name, at(1000)), None, NOW).await.unwrap();
            store
                .put_consent(name, name, &sekisho_issuer::ScopeSet::parse(&format!("s{number}")).unwrap())
                .await
                .unwrap();
        }
        let lives = async |number| store.grant(&grant(number, "", NOW).id, NOW).await.unwrap();
        for (number, name) in (1..).zip(names) {
            assert_eq!(lives(number).await.unwrap().subject, name);
            assert_eq!(store.consent(name, name).await.unwrap().to_string(), format!("s{number}"));
            store.revoke_subject_grants(name, NOW).await.unwrap();
            store.end_subject_sessions(name).await.unwrap();
            store.withdraw_subject(name, at(u64::from(number)), at(1000), NOW).await.unwrap();
            assert!(lives(number).await.is_none(), "{name:?} is revoked");
            for later in number + 1..=names.len() as u16 {
                assert!(lives(later).await.is_some(), "{name:?} is nobody else");
                let used = store.use_session(&hash(later), std::time::Duration::from_secs(900), NOW).await;
                assert!(used.unwrap().is_some(), "{name:?} is nobody else");
            }
        }
        for (number, name) in (1..).zip(names) {
            assert_eq!(store.withdrawn_up_to(name, NOW).await.unwrap(), Some(at(number)));
        }
        let once = OneTimeUse::new([0; 32], [0xff; 32], at(10));
        assert!(store.insert_now(&once, NOW).is_none() && !store.is_immediate());
        let nobody = HandleHash::from_bytes([0; 32]);
        assert_eq!(store.counted(&nobody, NOW).await.unwrap(), 0);
    }};
}

#[tokio::test]
async fn odd_names_are_names_in_a_file() {
    let folder = Folder::new();
    odd_names!(folder.open().await);
}

#[tokio::test]
async fn odd_names_are_names_in_postgresql() {
    let Some(database) = Database::new("odd names in PostgreSQL").await else { return };
    odd_names!(database.open().await);
    database.end().await;
}
