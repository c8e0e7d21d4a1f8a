//! Names and passwords.

use std::sync::Arc;
use std::time::Duration;

use sekisho_core::{FailureKind, Secret};
use sekisho_credentials::{
    Account, AccountId, AccountStore as _, ClientContext, Credentials, HashPolicy, LoginOutcome, MemoryStore,
    PasswordHasher, SqliteStore,
};
use sqlx::Connection as _;

use crate::world::{CHEAP, Folder, NOW, RIGHT, World, at, from, is_refused, keys, name, secret, wait};

/// One of each whom a password does not open, and nobody.
async fn closed_world() -> (World, [&'static str; 7]) {
    let world = World::new();
    world.sign_up("alice").await;
    let disabled = world.sign_up("disabled").await;
    assert!(world.credentials.set_disabled(&disabled, true, NOW).await.unwrap());
    let without = Account {
        id: AccountId::generate().unwrap(),
        username: name("without"),
        password: None,
        revision: 1,
        is_disabled: false,
        created_at: NOW,
        logins_ended_at: None,
    };
    assert!(world.store.create_account(&without).await.unwrap());
    (world, ["alice", "disabled", "without", "nobody", "", "аlice", "' OR 1=1 --"])
}

#[tokio::test]
async fn wrong_unknown_disabled_and_malformed_are_one_answer_and_the_same_hashing() {
    let (world, names) = closed_world().await;
    for (name, count) in names.into_iter().zip(1_u8..) {
        for password in ["wrong horse battery", "", &"x".repeat(5000)] {
            let before = world.hasher.work();
            let outcome = world.try_at(name, password, from(&format!("192.0.2.{count}")), NOW).await;
            assert!(is_refused(&outcome), "{name:?}: {outcome:?}");
            let after = world.hasher.work();
            assert_eq!(after.hashes - before.hashes, 1, "{name:?}");
            assert_eq!(after.kib_passes - before.kib_passes, 128, "{name:?}: 64 KiB, 2 passes");
        }
    }
}

#[tokio::test]
async fn the_right_password_opens_neither_a_disabled_account_nor_one_without_nor_another() {
    let (world, names) = closed_world().await;
    for name in &names[1..] {
        assert!(is_refused(&world.try_at(name, RIGHT, ClientContext::default(), NOW).await), "{name:?}");
    }
    world.log_in("alice", ClientContext::default(), NOW).await;
}

#[tokio::test]
async fn throttling_does_not_tell_who_has_an_account() {
    let (world, names) = closed_world().await;
    let mut all = Vec::new();
    for (name, count) in names.into_iter().zip(1_u8..) {
        let mut waits = Vec::new();
        for time in [0, 0, 0, 0, 0, 0, 1, 1, 3, 3, 7] {
            waits.push(wait(&world.fail(name, &format!("192.0.2.{count}"), at(time)).await));
        }
        all.push(waits);
    }
    assert!(all[0].iter().any(|wait| *wait > 0));
    assert!(all.iter().all(|waits| *waits == all[0]), "{all:?}");
}

#[tokio::test]
async fn any_case_and_width_of_a_name_is_the_same_account_and_the_same_counter() {
    let world = World::new();
    let alice = world.sign_up("Alice@Example.com").await;
    assert_eq!(world.log_in("ＡＬＩＣＥ@example.COM", ClientContext::default(), NOW).await.account, alice);
    for typed in
        ["alice@example.com", "ALICE@example.com", "Alice@example.com", "aLice@example.com", "alicE@example.com"]
    {
        assert!(is_refused(&world.fail(typed, "192.0.2.1", NOW).await));
    }
    assert_eq!(wait(&world.fail("ａlice@example.com", "192.0.2.1", NOW).await), 1);
}

#[tokio::test]
async fn a_login_says_who_how_and_when() {
    let world = World::new();
    let alice = world.sign_up("alice").await;
    let login = world.log_in("alice", ClientContext::default(), at(7)).await;
    assert_eq!((login.account, login.methods, login.at), (alice, &["pwd"][..], at(7)));
    assert_eq!(login.recovery_codes_left, None);
}

#[tokio::test]
async fn a_weaker_hash_is_replaced_at_login_and_only_by_the_right_password() {
    let world = World::new();
    let weak = PasswordHasher::new(HashPolicy::dangerous_new(32, 1, 1)).unwrap();
    let old = Credentials::builder(world.store.clone(), keys()).with_hasher(weak).build().unwrap();
    let alice = old.sign_up(&name("alice"), &secret(RIGHT), NOW).await.unwrap();
    let kept = async || world.store.account(&alice).await.unwrap().unwrap();
    let before = kept().await;
    assert!(is_refused(&world.fail("alice", "192.0.2.1", NOW).await));
    assert_eq!(kept().await, before);
    world.log_in("alice", ClientContext::default(), NOW).await;
    let after = kept().await;
    assert!(after.password.as_ref().unwrap().as_str().contains("m=64,t=2,p=1"));
    assert_eq!(after.revision, before.revision, "it is the same password");
    world.log_in("alice", ClientContext::default(), NOW).await;
    assert_eq!(kept().await, after);
}

#[tokio::test]
async fn a_broken_database_is_our_trouble_and_never_a_wrong_password() {
    for table in ["sekisho_account", "sekisho_counter", "sekisho_source", "sekisho_totp"] {
        let folder = Folder::new(table);
        let store = Arc::new(SqliteStore::open(folder.file()).await.unwrap());
        let credentials = Credentials::builder(store, keys()).with_hasher(PasswordHasher::new(CHEAP).unwrap());
        let credentials = credentials.build().unwrap();
        credentials.sign_up(&name("alice"), &secret(RIGHT), NOW).await.unwrap();
        let url = format!("sqlite://{}", folder.file().display());
        let mut connection = sqlx::SqliteConnection::connect(&url).await.unwrap();
        sqlx::raw_sql(sqlx::AssertSqlSafe(format!("DROP TABLE {table}"))).execute(&mut connection).await.unwrap();
        let outcome = credentials.check_password("alice", &secret(RIGHT), from("192.0.2.1"), NOW).await;
        let failure = outcome.expect_err(table);
        assert_eq!(failure.kind(), FailureKind::Unavailable, "{table}");
        assert!(!format!("{failure:?}").contains("alice"), "{failure:?}");
    }
}

#[tokio::test]
async fn a_record_that_cannot_be_read_is_our_trouble() {
    let folder = Folder::new("record");
    let store = Arc::new(SqliteStore::open(folder.file()).await.unwrap());
    let hasher = PasswordHasher::new(CHEAP).unwrap();
    let credentials = Credentials::builder(store, keys()).with_hasher(hasher).build().unwrap();
    credentials.sign_up(&name("alice"), &secret(RIGHT), NOW).await.unwrap();
    let url = format!("sqlite://{}", folder.file().display());
    let mut connection = sqlx::SqliteConnection::connect(&url).await.unwrap();
    sqlx::raw_sql("UPDATE sekisho_account SET password = 'hunter2'").execute(&mut connection).await.unwrap();
    let outcome = credentials.check_password("alice", &secret("hunter2"), from("192.0.2.1"), NOW).await;
    assert_eq!(outcome.unwrap_err().kind(), FailureKind::Misconfigured);
    sqlx::raw_sql("INSERT INTO sekisho_credentials_schema (version) VALUES (99)")
        .execute(&mut connection)
        .await
        .unwrap();
    let failure = SqliteStore::open(folder.file()).await.unwrap_err();
    assert_eq!(failure.kind(), FailureKind::Misconfigured, "tables of a later version");
}

#[tokio::test]
async fn tables_of_an_earlier_version_are_brought_up_to_date_with_what_is_in_them() {
    let folder = Folder::new("earlier");
    let store = SqliteStore::open(folder.file()).await.unwrap();
    let account = Account {
        id: AccountId::generate().unwrap(),
        username: name("alice"),
        password: None,
        revision: 3,
        is_disabled: false,
        created_at: NOW,
        logins_ended_at: None,
    };
    assert!(store.create_account(&account).await.unwrap());
    drop(store);
    let url = format!("sqlite://{}", folder.file().display());
    let mut connection = sqlx::SqliteConnection::connect(&url).await.unwrap();
    let earlier = "ALTER TABLE sekisho_account DROP COLUMN logins_ended_at; \
                   DROP INDEX sekisho_challenge_account_id; \
                   ALTER TABLE sekisho_challenge DROP COLUMN account_id; \
                   DELETE FROM sekisho_credentials_schema WHERE version >= 3";
    sqlx::raw_sql(earlier).execute(&mut connection).await.unwrap();
    drop(connection);
    let store = SqliteStore::open(folder.file()).await.unwrap();
    assert_eq!(store.account(&account.id).await.unwrap(), Some(account.clone()));
    assert!(store.set_disabled(&account.id, true, at(5)).await.unwrap());
    assert_eq!(store.account(&account.id).await.unwrap().unwrap().logins_ended_at, Some(at(5)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn attempts_that_found_no_place_to_hash_are_failures_and_do_not_count() {
    let hasher = PasswordHasher::new(HashPolicy::dangerous_new(8192, 8, 1)).unwrap().with_limits(1, 0);
    let credentials = Credentials::builder(Arc::new(MemoryStore::new()), keys()).with_hasher(hasher.clone());
    let credentials = credentials.build().unwrap();
    credentials.sign_up(&name("alice"), &secret(RIGHT), NOW).await.unwrap();
    let busy = {
        let credentials = credentials.clone();
        let before = hasher.work().hashes;
        let busy =
            tokio::spawn(async move { credentials.check_password("bob", &secret("x"), from("192.0.2.9"), NOW).await });
        while hasher.work().hashes == before {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        busy
    };
    for _ in 0..30 {
        let outcome = credentials.check_password("alice", &secret(RIGHT), from("192.0.2.1"), NOW).await;
        let Err(failure) = outcome else { break };
        assert_eq!((failure.kind(), failure.retry_after()), (FailureKind::Unavailable, Some(Duration::from_secs(1))));
    }
    busy.await.unwrap().unwrap();
    let outcome = credentials.check_password("alice", &secret(RIGHT), from("192.0.2.1"), NOW).await.unwrap();
    assert!(matches!(outcome, LoginOutcome::Authenticated(_)), "{outcome:?}");
}

#[tokio::test]
async fn refuses_lifetimes_out_of_bounds() {
    let builder = || Credentials::builder(Arc::new(MemoryStore::new()), keys());
    let hour = Duration::from_secs(3600);
    for lifetime in [Duration::ZERO, Duration::from_secs(29), hour + Duration::from_secs(1)] {
        assert!(builder().with_ticket_lifetime(lifetime).build().is_err(), "{lifetime:?}");
    }
    for (device, address) in [(Duration::ZERO, hour), (hour, Duration::ZERO), (hour * 9601, hour), (hour, hour * 9601)]
    {
        assert!(builder().with_memory(device, address).build().is_err());
    }
}

#[tokio::test]
async fn debug_shows_no_secret() {
    let world = World::new();
    world.with_totp("alice").await;
    let ticket = world.ticket("alice", NOW).await;
    let text = ticket.text().expose_str().unwrap().to_owned();
    let shown = format!("{:?} {:?}", world.credentials, LoginOutcome::SecondFactorNeeded(ticket));
    assert!(!shown.contains(&text) && !shown.contains("AAAAAA"), "{shown}");
    assert!(Secret::from(text).len() <= 256);
}
