//! Quotas, and what is removed when.

use sekisho_core::{Failure, Occurrence, OneTimeUse, ReplayGuard, SubjectId};
use sekisho_issuer::{CountStore as _, DeviceStore as _, GrantStore as _, SsoStore as _};
use sekisho_opaque::{ReferenceContent, ReferenceDigest, ReferenceRecord, ReferenceStore as _};
use sekisho_revocation::Withdrawal;
use sekisho_sqlx::{PostgresStore, SqliteStore, StoreLimits};

use crate::records::{code, device, family, grant, hash, reference, session};
use crate::world::{Database, Folder, NOW, at};

fn limits() -> StoreLimits {
    let mut limits = StoreLimits::default();
    limits.references_per_subject = 2;
    limits.uses = 8;
    limits.uses_per_holder = 3;
    limits
}

async fn used(guard: &impl ReplayGuard, holder: u8, id: u8, until: u64, now: u64) -> Result<Occurrence, Failure> {
    guard.insert(&OneTimeUse::new([holder; 32], [id; 32], at(until)), at(now)).await
}

macro_rules! replay {
    ($store:expr) => {{
        let store = &$store;
        let first = |answer: Result<Occurrence, Failure>| answer.unwrap() == Occurrence::First;
        assert!(first(used(store, 1, 1, 61, 0).await));
        for now in [0, 1, 30, 60] {
            assert!(!first(used(store, 1, 1, 61, now).await), "{now}");
            assert!(!first(used(store, 1, 1, 61 + now, now).await), "a later end does not make it another use");
        }
        assert!(first(used(store, 2, 1, 61, 0).await), "another holder");
        assert!(first(used(store, 1, 2, 61, 0).await) && first(used(store, 1, 3, 61, 0).await), "another id");
        let full = used(store, 1, 4, 61, 0).await.unwrap_err();
        assert!(full.retry_after().is_some(), "a holder has used up its share");
        assert!(!first(used(store, 1, 1, 61, 60).await), "and nothing of it is forgotten");
        assert!(first(used(store, 1, 1, 122, 61).await), "nobody would take the first any more");
        assert!(!first(used(store, 1, 1, 122, 61).await));
        for holder in 10..17 {
            assert!(first(used(store, holder, 1, 122, 62).await), "{holder}");
        }
        let full = used(store, 20, 1, 122, 62).await.unwrap_err();
        assert!(full.retry_after().is_some(), "the table is full");
        assert!(!first(used(store, 1, 1, 122, 62).await), "and forgets nothing");
        assert!(first(used(store, 20, 1, 183, 122).await), "what has ended makes room");

        // The clock jumps ahead by an hour, all is swept, and it jumps back.
        assert!(store.sweep(at(3_700)).await.unwrap() > 0);
        assert!(used(store, 20, 1, 183, 123).await.is_err(), "nobody knows any more");
        assert!(first(used(store, 20, 1, 4_000, 3_700).await));
    }};
}

macro_rules! quota {
    ($store:expr) => {{
        let store = &$store;
        let record = |subject: &str, until| {
            let subject = SubjectId::new("https://id.example", subject);
            ReferenceRecord::new(subject, None, at(until), ReferenceContent::Jwt("j".into()))
        };
        let digest = |number| ReferenceDigest::from_bytes([number; 32]);
        let put = async |number, subject, until, now| {
            sekisho_opaque::ReferenceStore::insert(store, digest(number), &record(subject, until), at(now)).await
        };
        assert!(put(1, "a", 10, 0).await.unwrap() && put(2, "a", 100, 0).await.unwrap());
        assert!(put(3, "a", 100, 0).await.unwrap_err().retry_after().is_some(), "one subject has its share");
        assert!(!put(2, "a", 100, 0).await.unwrap(), "what lives is no matter of shares");
        assert!(put(4, "b", 100, 0).await.unwrap(), "another has room");
        assert!(put(3, "a", 100, 10).await.unwrap(), "what has died makes room");
        assert!(store.find(&digest(2), at(10)).await.unwrap().is_some());
        // A process whose clock is behind must not find what another took for dead when it revoked all.
        let subject = SubjectId::new("https://id.example", "a");
        assert_eq!(store.revoke_subject(&subject, at(100)).await.unwrap(), 0);
        assert!(store.find(&digest(2), at(10)).await.unwrap().is_none());
        let huge = ReferenceRecord::new(subject, None, at(100), ReferenceContent::Jwt("j".repeat(300_000).into()));
        assert!(sekisho_opaque::ReferenceStore::insert(store, digest(9), &huge, NOW).await.is_err());
    }};
}

macro_rules! sweeping {
    ($store:expr) => {{
        let store = &$store;
        for (number, until) in [(1, at(100)), (2, at(10_000))] {
            store.begin_grant(&grant(number, "u", until), Some(&code(number, until)), NOW).await.unwrap();
            store.begin_refresh(&family(number, until), NOW).await.unwrap();
            store.put_reference(&reference(number, false, until), NOW).await.unwrap();
            store.put_session(&session(number, "u", until), None, NOW).await.unwrap();
            assert!(store.begin_device(&device(number, until), NOW).await.unwrap());
            store.withdraw_subject(&number.to_string(), NOW, until, NOW).await.unwrap();
            store.count(&hash(number), until, NOW).await.unwrap();
            let subject = SubjectId::new("https://id.example", "u");
            let record = ReferenceRecord::new(subject, None, until, ReferenceContent::Jwt("j".into()));
            let digest = ReferenceDigest::from_bytes([number as u8; 32]);
            assert!(sekisho_opaque::ReferenceStore::insert(store, digest, &record, NOW).await.unwrap());
            let once = OneTimeUse::new([1; 32], [number as u8; 32], until);
            assert_eq!(ReplayGuard::insert(store, &once, NOW).await.unwrap(), Occurrence::First);
            let withdrawal = Withdrawal::token("https://id.example", &number.to_string(), until).unwrap();
            store.withdraw(&[withdrawal]).await.unwrap();
        }
        assert_eq!(store.sweep(at(399)).await.unwrap(), 0, "for five minutes nothing goes");
        // A device request is remembered ten minutes longer.
        assert_eq!(store.sweep(at(400)).await.unwrap(), 10);
        assert_eq!(store.sweep(at(1_000)).await.unwrap(), 1);
        assert_eq!(store.sweep(at(9_000)).await.unwrap(), 0, "what lives stays");
        assert!(store.grant(&grant(2, "u", NOW).id, NOW).await.unwrap().is_some());
        assert!(store.refresh_family(&hash(2), NOW).await.unwrap().is_some());
        assert_eq!(store.counted(&hash(2), NOW).await.unwrap(), 1);
        let many: Vec<_> =
            (0..1_000).map(|id| Withdrawal::token("https://id.example", &id.to_string(), at(100)).unwrap()).collect();
        for _ in 0..3 {
            store.withdraw(&many).await.unwrap();
        }
        assert!(store.withdraw(&[&many[..], &many[..1]].concat()).await.is_err(), "too many at a time");
        assert_eq!(store.sweep(at(9_000)).await.unwrap(), 3_000, "in several batches");
    }};
}

#[tokio::test]
async fn a_file_keeps_to_its_bounds() {
    let folder = Folder::new();
    let store = SqliteStore::open_with(folder.file(), limits()).await.unwrap();
    quota!(store);
    replay!(store);
}

#[tokio::test]
async fn postgresql_keeps_to_its_bounds() {
    let Some(database) = Database::new("bounds in PostgreSQL").await else { return };
    let store = PostgresStore::connect_with(&database.url(), limits()).await.unwrap();
    quota!(store);
    replay!(store);
    store.close().await;
    database.end().await;
}

#[tokio::test]
async fn sweeping_a_file_removes_what_has_ended_and_nothing_else() {
    let folder = Folder::new();
    sweeping!(folder.open().await);
}

#[tokio::test]
async fn sweeping_postgresql_removes_what_has_ended_and_nothing_else() {
    let Some(database) = Database::new("sweeping PostgreSQL").await else { return };
    sweeping!(database.open().await);
    database.end().await;
}
