//! Checks that a store keeps the contract of its traits. For authors of stores; the suites panic where the contract is broken.
#![expect(clippy::expect_used, clippy::missing_panics_doc, reason = "a suite says by panics what is wrong")]

use std::sync::Arc;
use std::time::Duration;

use sekisho_core::UnixSeconds;
use serde_json::{Map, json};

use crate::handle::{HandleHash, Purpose, secret_text, text};
use crate::store::Claims;
use crate::{
    Authentication, CodeRecord, DevicePoll, DeviceRequest, Grant, GrantId, IssuerStore, KeyStore, ReferenceRecord,
    RefreshFamily, ScopeSet, SealedKeys, SsoSession, TakenCode,
};

const WORKS: &str = "the store answers";

/// Checks an [`IssuerStore`], which may hold records of others. Needs a tokio runtime, best one of several threads.
pub async fn store_suite(store: Arc<dyn IssuerStore>) {
    let now = UnixSeconds::new(1_764_072_000);
    codes(&*store, now).await;
    grants(&*store, now).await;
    refresh(&store, now).await;
    references(&*store, now).await;
    sessions(&*store, now).await;
    devices(&*store, now).await;
    counts(&store, now).await;
    races(&store, now).await;
}

/// Checks a [`KeyStore`], which must be empty.
pub async fn key_store_suite(store: &dyn KeyStore) {
    let keys = |revision| SealedKeys { revision, bytes: format!("document {revision}").into_bytes() };
    assert!(store.load().await.expect(WORKS).is_none(), "begins empty");
    assert!(!store.replace(&keys(2)).await.expect(WORKS), "the first revision is 1");
    assert!(store.replace(&keys(1)).await.expect(WORKS));
    assert!(!store.replace(&keys(1)).await.expect(WORKS), "a revision is kept once");
    assert!(!store.replace(&keys(3)).await.expect(WORKS), "no revision is left out");
    assert_eq!(store.load().await.expect(WORKS), Some(keys(1)));
    assert!(store.replace(&keys(2)).await.expect(WORKS));
    assert_eq!(store.load().await.expect(WORKS), Some(keys(2)));
}

fn hash() -> HandleHash {
    HandleHash::of(Purpose::Code, text(&secret_text().expect("randomness")))
}

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

fn login(now: UnixSeconds) -> Authentication {
    Authentication {
        time: now,
        context: Some("urn:high".to_owned()),
        methods: vec!["pwd".to_owned(), "otp".to_owned()],
    }
}

fn grant(now: UnixSeconds) -> Grant {
    let id = GrantId::generate().expect("randomness");
    Grant {
        subject: format!("user {}", id.as_str()),
        sid: Some(format!("session {}", id.as_str())),
        id,
        client_id: "client 'quoted\" ü".to_owned(),
        scope: ScopeSet::parse("openid orders:read").expect("scopes"),
        audience: vec!["orders".to_owned()],
        authentication: login(now),
        created_at: now,
        expires_at: now.saturating_add(seconds(1000)),
    }
}

fn code(grant: &Grant, now: UnixSeconds) -> CodeRecord {
    CodeRecord {
        code: hash(),
        grant: grant.id.clone(),
        redirect_uri: "https://client.example/cb".to_owned(),
        code_challenge: "c".repeat(43),
        nonce: Some("n".to_owned()),
        expires_at: now.saturating_add(seconds(60)),
        remembered_until: now.saturating_add(seconds(600)),
    }
}

async fn codes(store: &dyn IssuerStore, now: UnixSeconds) {
    let at = |later| now.saturating_add(seconds(later));
    assert_eq!(store.take_code(&hash(), now).await.expect(WORKS), TakenCode::Unknown, "a code that never was");
    let (grant_a, grant_b) = (grant(now), grant(now));
    let (code_a, code_b) = (code(&grant_a, now), code(&grant_b, now));
    store.begin_grant(&grant_a, Some(&code_a), now).await.expect(WORKS);
    store.begin_grant(&grant_b, Some(&code_b), now).await.expect(WORKS);
    let taken = store.take_code(&code_a.code, at(59)).await.expect(WORKS);
    assert_eq!(taken, TakenCode::Fresh(Box::new((code_a.clone(), grant_a.clone()))), "records come back as they were");
    for later in [59, 60, 599] {
        let again = store.take_code(&code_a.code, at(later)).await.expect(WORKS);
        assert_eq!(again, TakenCode::Replayed(grant_a.id.clone()), "a taken code is remembered, at {later}");
    }
    assert_eq!(store.take_code(&code_a.code, at(600)).await.expect(WORKS), TakenCode::Unknown, "then it is forgotten");
    assert_eq!(store.take_code(&code_b.code, at(60)).await.expect(WORKS), TakenCode::Unknown, "a code ends");
    let grant_c = grant(now);
    let code_c = code(&grant_c, now);
    store.begin_grant(&grant_c, Some(&code_c), now).await.expect(WORKS);
    store.revoke_grant(&grant_c.id, now).await.expect(WORKS);
    let taken = store.take_code(&code_c.code, now).await.expect(WORKS);
    assert!(!matches!(taken, TakenCode::Fresh(_)), "the code of a revoked grant is no more");
}

async fn grants(store: &dyn IssuerStore, now: UnixSeconds) {
    let at = |later| now.saturating_add(seconds(later));
    let kept = grant(now);
    assert_eq!(store.grant(&kept.id, now).await.expect(WORKS), None);
    store.begin_grant(&kept, None, now).await.expect(WORKS);
    assert_eq!(store.grant(&kept.id, at(999)).await.expect(WORKS), Some(kept.clone()));
    assert_eq!(store.grant(&kept.id, at(1000)).await.expect(WORKS), None, "a grant ends");
    store.revoke_grant(&kept.id, now).await.expect(WORKS);
    assert_eq!(store.grant(&kept.id, now).await.expect(WORKS), None, "a grant is revoked");
    store.revoke_grant(&kept.id, now).await.expect("to revoke twice is no error");

    let (by_session, by_subject, other) = (grant(now), grant(now), grant(now));
    let lasting = Grant { sid: None, subject: by_session.subject.clone(), ..grant(now) };
    for grant in [&by_session, &by_subject, &other, &lasting] {
        store.begin_grant(grant, None, now).await.expect(WORKS);
    }
    store.revoke_session_grants(by_session.sid.as_deref().unwrap_or_default(), now).await.expect(WORKS);
    store.revoke_subject_grants(&by_subject.subject, now).await.expect(WORKS);
    let lives = async |grant: &Grant| store.grant(&grant.id, now).await.expect(WORKS).is_some();
    assert!(!lives(&by_session).await && !lives(&by_subject).await);
    assert!(lives(&other).await, "other grants live on");
    assert!(lives(&lasting).await, "a grant without session outlives the login");

    let (subject, other) = (grant(now).subject, grant(now).subject);
    let up_to = async |subject: &str, later| store.withdrawn_up_to(subject, at(later)).await.expect(WORKS);
    assert_eq!(up_to(&subject, 0).await, None);
    store.withdraw_subject(&subject, at(5), at(100), at(5)).await.expect(WORKS);
    assert_eq!(up_to(&subject, 99).await, Some(at(5)));
    assert_eq!(up_to(&subject, 100).await, None, "it is forgotten");
    store.withdraw_subject(&subject, at(7), at(90), at(7)).await.expect(WORKS);
    store.withdraw_subject(&subject, at(6), at(80), at(7)).await.expect(WORKS);
    assert_eq!(up_to(&subject, 99).await, Some(at(7)), "the latest instant stands, until the latest end");
    assert_eq!(up_to(&other, 10).await, None, "each user has an instant of their own");
}

fn family(grant: &Grant, now: UnixSeconds) -> RefreshFamily {
    RefreshFamily {
        family: hash(),
        current: hash(),
        grant: grant.id.clone(),
        idle_until: now.saturating_add(seconds(100)),
        expires_at: now.saturating_add(seconds(300)),
    }
}

async fn refresh(store: &Arc<dyn IssuerStore>, now: UnixSeconds) {
    let at = |later| now.saturating_add(seconds(later));
    let kept = grant(now);
    store.begin_grant(&kept, None, now).await.expect(WORKS);
    let first = family(&kept, now);
    assert_eq!(store.refresh_family(&first.family, now).await.expect(WORKS), None);
    store.begin_refresh(&first, now).await.expect(WORKS);
    assert_eq!(store.refresh_family(&first.family, at(99)).await.expect(WORKS), Some((first.clone(), kept.clone())));
    assert_eq!(store.refresh_family(&first.family, at(100)).await.expect(WORKS), None, "an unused family ends");
    let rotate = async |from: HandleHash, to: HandleHash, idle: u64, now: u64| {
        store.rotate_refresh(&first.family, &from, &to, at(idle), at(now)).await.expect(WORKS)
    };
    let (second, third) = (hash(), hash());
    assert!(!rotate(second, third, 150, 10).await, "only the current token rotates");
    assert!(!rotate(first.current, second, 150, 100).await, "an ended family does not rotate");
    assert!(rotate(first.current, second, 150, 50).await);
    assert!(!rotate(first.current, third, 150, 50).await, "an old token does not rotate");
    let (now_kept, _) = store.refresh_family(&first.family, at(149)).await.expect(WORKS).expect("use prolongs it");
    assert_eq!(now_kept.current, second);
    assert!(rotate(second, third, 10_000, 149).await);
    assert!(store.refresh_family(&first.family, at(299)).await.expect(WORKS).is_some());
    assert!(
        store.refresh_family(&first.family, at(300)).await.expect(WORKS).is_none(),
        "use does not prolong it for ever"
    );
    assert!(!rotate(third, hash(), 10_000, 300).await);
    assert!(!store.rotate_refresh(&hash(), &third, &hash(), at(150), now).await.expect(WORKS), "no such family");
    store.revoke_grant(&kept.id, at(150)).await.expect(WORKS);
    assert!(store.refresh_family(&first.family, at(150)).await.expect(WORKS).is_none(), "a family ends with its grant");
    assert!(!rotate(third, hash(), 200, 150).await);
    let orphan = family(&kept, now);
    store.begin_refresh(&orphan, now).await.expect("a family of a revoked grant is no error");
    assert!(store.refresh_family(&orphan.family, now).await.expect(WORKS).is_none(), "and is never found");
}

async fn references(store: &dyn IssuerStore, now: UnixSeconds) {
    let at = |later| now.saturating_add(seconds(later));
    let kept = grant(now);
    store.begin_grant(&kept, None, now).await.expect(WORKS);
    let claims =
        Claims(Map::from_iter([("sub".to_owned(), json!("ü\"")), ("nested".to_owned(), json!({ "a": [1, null] }))]));
    let token = |grant| ReferenceRecord {
        token: hash(),
        grant,
        client_id: "c".to_owned(),
        claims: claims.clone(),
        expires_at: now.saturating_add(seconds(100)),
    };
    let (alone, under) = (token(None), token(Some(kept.id.clone())));
    for token in [&alone, &under] {
        assert_eq!(store.reference(&token.token, now).await.expect(WORKS), None);
        store.put_reference(token, now).await.expect(WORKS);
        assert_eq!(store.reference(&token.token, at(99)).await.expect(WORKS).as_ref(), Some(token));
        assert_eq!(store.reference(&token.token, at(100)).await.expect(WORKS), None, "a token ends");
    }
    store.revoke_grant(&kept.id, now).await.expect(WORKS);
    assert_eq!(store.reference(&under.token, now).await.expect(WORKS), None, "a token ends with its grant");
    assert!(store.reference(&alone.token, now).await.expect(WORKS).is_some());
    store.revoke_reference(&alone.token).await.expect(WORKS);
    assert_eq!(store.reference(&alone.token, now).await.expect(WORKS), None, "a token is revoked");
    store.revoke_reference(&alone.token).await.expect("to revoke twice is no error");
}

async fn sessions(store: &dyn IssuerStore, now: UnixSeconds) {
    let at = |later| now.saturating_add(seconds(later));
    let subject = grant(now).subject;
    let session = || SsoSession {
        session: hash(),
        sid: "sid".to_owned(),
        subject: subject.clone(),
        authentication: login(now),
        idle_until: at(100),
        expires_at: at(300),
    };
    let first = session();
    let used = async |session: &SsoSession, now: u64| {
        store.use_session(&session.session, seconds(100), at(now)).await.expect(WORKS)
    };
    assert_eq!(used(&first, 0).await, None);
    store.put_session(&first, None, now).await.expect(WORKS);
    assert_eq!(used(&first, 90).await, Some(SsoSession { idle_until: at(190), ..first.clone() }), "use prolongs it");
    assert!(used(&first, 189).await.is_some());
    assert_eq!(used(&first, 289).await, None, "an unused session ends");
    let second = session();
    store.put_session(&second, Some(&first.session), at(100)).await.expect(WORKS);
    assert_eq!(used(&first, 100).await, None, "the session before is no more");
    assert!(used(&second, 99).await.is_some());
    assert!(used(&second, 198).await.is_some());
    assert!(used(&second, 297).await.is_some_and(|session| session.idle_until == at(300)));
    assert_eq!(used(&second, 300).await, None, "use does not prolong it for ever");
    store.end_session(&second.session).await.expect(WORKS);
    assert_eq!(used(&second, 200).await, None, "a session is ended");
    store.end_session(&second.session).await.expect("to end twice is no error");
    let (third, fourth) = (session(), session());
    store.put_session(&third, None, now).await.expect(WORKS);
    store.put_session(&fourth, None, now).await.expect(WORKS);
    store.end_subject_sessions(&subject).await.expect(WORKS);
    assert_eq!((used(&third, 1).await, used(&fourth, 1).await), (None, None), "all sessions of a user end");

    let scopes = |text: &str| ScopeSet::parse(text).expect("scopes");
    assert!(store.consent(&subject, "c").await.expect(WORKS).is_empty());
    store.put_consent(&subject, "c", &scopes("a b")).await.expect(WORKS);
    store.put_consent(&subject, "c", &scopes("c")).await.expect(WORKS);
    assert_eq!(store.consent(&subject, "c").await.expect(WORKS), scopes("c"), "the later one stands");
    assert!(store.consent(&subject, "d").await.expect(WORKS).is_empty(), "each client has its own");
    store.put_consent(&subject, "c", &ScopeSet::default()).await.expect(WORKS);
    assert!(store.consent(&subject, "c").await.expect(WORKS).is_empty(), "no scopes forget it");
}

async fn devices(store: &dyn IssuerStore, now: UnixSeconds) {
    let at = |later| now.saturating_add(seconds(later));
    let request = || DeviceRequest {
        device: hash(),
        user_code: hash(),
        client_id: "tv".to_owned(),
        scope: ScopeSet::parse("openid").expect("scopes"),
        audience: vec!["orders".to_owned()],
        interval: seconds(5),
        expires_at: now.saturating_add(seconds(600)),
    };
    let poll = async |request: &DeviceRequest, client: &str, now: u64| {
        store.poll_device(&request.device, client, at(now)).await.expect(WORKS)
    };
    let asked = request();
    assert_eq!(poll(&asked, "tv", 0).await, DevicePoll::Unknown);
    assert!(store.begin_device(&asked, now).await.expect(WORKS));
    let same_code = DeviceRequest { user_code: asked.user_code, ..request() };
    assert!(!store.begin_device(&same_code, now).await.expect(WORKS), "a user code is one request's");
    assert_eq!(poll(&same_code, "tv", 0).await, DevicePoll::Unknown, "nothing of the other was kept");
    assert_eq!(poll(&asked, "other", 0).await, DevicePoll::Unknown, "another client learns nothing");
    assert_eq!(poll(&asked, "tv", 0).await, DevicePoll::Pending);
    assert_eq!(poll(&asked, "tv", 4).await, DevicePoll::SlowDown);
    assert_eq!(poll(&asked, "tv", 13).await, DevicePoll::SlowDown, "the interval grew to 10 s");
    assert_eq!(poll(&asked, "tv", 28).await, DevicePoll::Pending, "after 15 s");
    let undecided = store.undecided_device(&asked.user_code, now).await.expect(WORKS).expect("waits for a word");
    assert_eq!(
        (undecided.device, &undecided.client_id, &undecided.scope),
        (asked.device, &asked.client_id, &asked.scope)
    );
    let allowed = grant(now);
    assert!(!store.decide_device(&hash(), Some(&allowed), now).await.expect(WORKS), "no such request");
    assert!(store.decide_device(&asked.user_code, Some(&allowed), at(30)).await.expect(WORKS));
    assert!(!store.decide_device(&asked.user_code, None, at(30)).await.expect(WORKS), "it is decided once");
    assert_eq!(store.undecided_device(&asked.user_code, at(30)).await.expect(WORKS), None);
    assert_eq!(
        store.grant(&allowed.id, at(30)).await.expect(WORKS),
        Some(allowed.clone()),
        "the grant began with the word"
    );
    assert_eq!(poll(&asked, "other", 31).await, DevicePoll::Unknown);
    assert_eq!(poll(&asked, "tv", 31).await, DevicePoll::Approved(Box::new(allowed)));
    assert_eq!(poll(&asked, "tv", 60).await, DevicePoll::Unknown, "it is told once");

    let denied = request();
    assert!(store.begin_device(&denied, now).await.expect(WORKS));
    assert!(store.decide_device(&denied.user_code, None, now).await.expect(WORKS));
    assert_eq!(poll(&denied, "tv", 10).await, DevicePoll::Denied);

    let late = request();
    assert!(store.begin_device(&late, now).await.expect(WORKS));
    assert_eq!(store.undecided_device(&late.user_code, at(600)).await.expect(WORKS), None);
    assert!(
        !store.decide_device(&late.user_code, Some(&grant(now)), at(600)).await.expect(WORKS),
        "too late for a word"
    );
    assert_eq!(poll(&late, "tv", 600).await, DevicePoll::Expired);
    assert_eq!(poll(&late, "tv", 1199).await, DevicePoll::Expired);
    assert_eq!(poll(&late, "tv", 1200).await, DevicePoll::Unknown);
    let again = DeviceRequest { user_code: late.user_code, expires_at: at(1200), ..request() };
    assert!(store.begin_device(&again, at(600)).await.expect(WORKS), "the user code of an ended request is free");
}

async fn counts(store: &Arc<dyn IssuerStore>, now: UnixSeconds) {
    let at = |later| now.saturating_add(seconds(later));
    let key = hash();
    assert_eq!(store.counted(&key, now).await.expect(WORKS), 0);
    assert_eq!(store.count(&key, at(10), now).await.expect(WORKS), 1);
    assert_eq!(store.count(&key, at(1000), at(9)).await.expect(WORKS), 2);
    assert_eq!(store.counted(&key, at(9)).await.expect(WORKS), 2);
    assert_eq!(store.counted(&key, at(10)).await.expect(WORKS), 0, "the first call says when it is forgotten");
    assert_eq!(store.count(&key, at(20), at(10)).await.expect(WORKS), 1);
    assert_eq!(store.counted(&hash(), now).await.expect(WORKS), 0);
}

/// Of many at the same time exactly one wins.
async fn races(store: &Arc<dyn IssuerStore>, now: UnixSeconds) {
    const MANY: usize = 16;
    let kept = grant(now);
    let code = code(&kept, now);
    store.begin_grant(&kept, Some(&code), now).await.expect(WORKS);
    let family = family(&kept, now);
    store.begin_refresh(&family, now).await.expect(WORKS);
    let (key, mut tasks) = (hash(), Vec::new());
    for _ in 0..MANY {
        let store = Arc::clone(store);
        let (code, family) = (code.code, family.clone());
        tasks.push(async move {
            let to = hash();
            let taken = store.take_code(&code, now).await.expect(WORKS);
            let rotated =
                store.rotate_refresh(&family.family, &family.current, &to, now.saturating_add(seconds(50)), now);
            let rotated = rotated.await.expect(WORKS);
            let first = store.count(&key, now.saturating_add(seconds(50)), now).await.expect(WORKS) == 1;
            (matches!(taken, TakenCode::Fresh(_)), rotated, first)
        });
    }
    let results = spread(tasks).await;
    let winners = |won: fn(&(bool, bool, bool)) -> bool| results.iter().filter(|result| won(result)).count();
    assert_eq!(winners(|(taken, _, _)| *taken), 1, "one gets the code");
    assert_eq!(winners(|(_, rotated, _)| *rotated), 1, "one rotates the refresh token");
    assert_eq!(winners(|(_, _, first)| *first), 1, "one is the first to count");
    assert_eq!(store.counted(&key, now).await.expect(WORKS) as usize, MANY, "and none is lost");
}

/// Runs futures on threads of their own, all at the same time.
async fn spread<F>(tasks: Vec<F>) -> Vec<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    let handles: Vec<_> = tasks.into_iter().map(tokio::spawn).collect();
    let mut results = Vec::new();
    for handle in handles {
        results.push(handle.await.expect("a task ends"));
    }
    results
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{MemoryKeyStore, MemoryLimits, MemoryStore};

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn memory_keeps_the_contract() {
        store_suite(Arc::new(MemoryStore::new())).await;
        key_store_suite(&MemoryKeyStore::new()).await;
    }

    #[tokio::test]
    async fn a_full_memory_fails_and_forgets_nobody() {
        use crate::store::{CountStore as _, GrantStore as _};
        let now = UnixSeconds::new(1_764_072_000);
        let store = MemoryStore::with_limits(MemoryLimits { entries: 2 });
        let (a, b) = (grant(now), grant(now));
        store.begin_grant(&a, None, now).await.unwrap();
        store.begin_grant(&b, None, now).await.unwrap();
        let full = store.begin_grant(&grant(now), None, now).await.unwrap_err();
        assert_eq!(full.kind(), sekisho_core::FailureKind::Unavailable);
        assert!(store.grant(&a.id, now).await.unwrap().is_some());
        let later = now.saturating_add(seconds(1000));
        store.begin_grant(&Grant { expires_at: UnixSeconds::MAX, ..grant(later) }, None, later).await.unwrap();
        // A replay must not become possible by filling the memory.
        let ends = now.saturating_add(seconds(10));
        let key = hash();
        assert_eq!(store.count(&key, ends, now).await.unwrap(), 1);
        store.count(&hash(), ends, now).await.unwrap();
        assert!(store.count(&hash(), ends, now).await.is_err());
        assert_eq!(store.count(&key, ends, now).await.unwrap(), 2);
    }
}
