//! Checks that a store keeps the contract of its traits. For authors of stores; the suite panics where the contract is
//! broken.
#![expect(clippy::expect_used, clippy::missing_panics_doc, reason = "a suite says by panics what is wrong")]

use std::sync::Arc;
use std::time::Duration;

use sekisho_core::UnixSeconds;

use crate::random::{random, to_base64};
use crate::{
    Account, AccountId, Admission, ChallengeUse, Counter, CounterKey, CredentialStore, DelayCurve, Passkey,
    PasskeyAddition, PasskeyUse, PasswordHash, RecoveryHash, SourceHash, TotpRecord, TotpRecords, Username,
};

#[cfg(feature = "passkeys")]
pub mod authenticator;

const WORKS: &str = "the store answers";
const NOW: UnixSeconds = UnixSeconds::new(1_764_072_000);

/// Checks a [`CredentialStore`], which may hold accounts of others, but whose counters nobody else uses meanwhile.
/// Needs a tokio runtime, best one of several threads.
pub async fn store_suite(store: Arc<dyn CredentialStore>) {
    accounts(&*store).await;
    passwords(&*store).await;
    totp(&*store).await;
    recovery_codes(&*store).await;
    counters(&*store).await;
    pruning(&*store).await;
    sources(&*store).await;
    passkeys(&*store).await;
    challenges(&store).await;
    deletion(&*store).await;
    races(&store).await;
}

/// Checks two stores on one database, or one and itself: what one has done the other sees, and races between them have
/// one winner.
pub async fn sharing_suite(one: Arc<dyn CredentialStore>, other: Arc<dyn CredentialStore>) {
    let account = kept(&*one).await;
    assert_eq!(other.account(&account.id).await.expect(WORKS), Some(account.clone()));
    let codes: Vec<RecoveryHash> = (0..20).map(|_| RecoveryHash::from_bytes(bytes())).collect();
    assert!(other.replace_recovery_codes(&account.id, &codes).await.expect(WORKS));
    for code in codes {
        let (id, id_b, first, second) = (account.id.clone(), account.id.clone(), one.clone(), other.clone());
        let a = tokio::spawn(async move { first.take_recovery_code(&id, &code).await.expect(WORKS) });
        let b = tokio::spawn(async move { second.take_recovery_code(&id_b, &code).await.expect(WORKS) });
        assert_ne!(a.await.expect("no panic"), b.await.expect("no panic"), "exactly one takes a code");
    }
    let counter = counter(2);
    for store in [&one, &other] {
        assert_eq!(store.begin_attempt(&[counter], NOW).await.expect(WORKS), Admission::Admitted);
    }
    assert_eq!(
        one.begin_attempt(&[counter], NOW).await.expect(WORKS),
        Admission::Admitted,
        "the third begins the delay"
    );
    assert!(matches!(other.begin_attempt(&[counter], NOW).await.expect(WORKS), Admission::Wait(_)));
    let (id, challenge) = (&account.id, bytes());
    let used = one.use_challenge(id, &challenge, at(100), 9, NOW).await.expect(WORKS);
    assert_eq!(used, ChallengeUse::First);
    let used = other.use_challenge(id, &challenge, at(100), 9, NOW).await.expect(WORKS);
    assert_eq!(used, ChallengeUse::Again, "used at the one is used at the other");
}

fn bytes<const N: usize>() -> [u8; N] {
    random().expect("randomness")
}

fn at(later: u64) -> UnixSeconds {
    NOW.saturating_add(seconds(later))
}

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

fn hash() -> PasswordHash {
    let text =
        format!("$argon2id$v=19$m=64,t=1,p=1$c2FsdHNhbHQ${}", to_base64(&bytes::<24>()).replace(['-', '_'], "a"));
    PasswordHash::parse(&text).expect("a PHC string")
}

fn account() -> Account {
    let id = AccountId::generate().expect("randomness");
    let name = format!("u{}@example.com", to_base64(&bytes::<15>()).replace(['-', '_'], "x"));
    Account {
        id,
        username: Username::parse(&name).expect("a name"),
        password: Some(hash()),
        revision: 1,
        is_disabled: false,
        created_at: NOW,
        logins_ended_at: None,
    }
}

async fn ended_at(store: &dyn CredentialStore, id: &AccountId) -> Option<UnixSeconds> {
    store.account(id).await.expect(WORKS).expect("is there").logins_ended_at
}

async fn kept(store: &dyn CredentialStore) -> Account {
    let account = account();
    assert!(store.create_account(&account).await.expect(WORKS));
    account
}

fn counter(free: u32) -> Counter {
    let curve = DelayCurve::new(free, seconds(10), seconds(100), seconds(1000)).expect("a curve");
    Counter { key: CounterKey::from_bytes(bytes()), curve }
}

async fn accounts(store: &dyn CredentialStore) {
    let (alice, bob) = (account(), Account { password: None, is_disabled: true, ..account() });
    assert_eq!(store.account(&alice.id).await.expect(WORKS), None);
    assert_eq!(store.account_by_name(&alice.username).await.expect(WORKS), None);
    assert!(!store.set_disabled(&alice.id, true, at(7)).await.expect(WORKS), "nobody to disable");
    assert!(!store.delete_account(&alice.id).await.expect(WORKS), "nobody to delete");
    for account in [&alice, &bob] {
        assert!(store.create_account(account).await.expect(WORKS));
        assert_eq!(
            store.account(&account.id).await.expect(WORKS).as_ref(),
            Some(account),
            "records come back as they were"
        );
        assert_eq!(store.account_by_name(&account.username).await.expect(WORKS).as_ref(), Some(account));
    }
    let same_name = Account { username: alice.username.clone(), ..account() };
    assert!(!store.create_account(&same_name).await.expect(WORKS), "a name is given once");
    let same_id = Account { id: alice.id.clone(), ..account() };
    assert!(!store.create_account(&same_id).await.expect(WORKS), "an id is given once");
    assert_eq!(store.account(&alice.id).await.expect(WORKS).as_ref(), Some(&alice), "and nothing has changed");
    assert_eq!(store.account(&same_name.id).await.expect(WORKS), None);
    assert!(store.set_disabled(&alice.id, true, at(7)).await.expect(WORKS));
    assert_eq!(store.account(&alice.id).await.expect(WORKS).map(|account| account.is_disabled), Some(true));
    assert!(store.set_disabled(&alice.id, false, at(8)).await.expect(WORKS));
    let since = Account { revision: 2, logins_ended_at: Some(at(7)), ..alice };
    assert_eq!(
        store.account(&since.id).await.expect(WORKS).as_ref(),
        Some(&since),
        "what was before is not good again"
    );
    assert!(store.set_disabled(&since.id, true, at(3)).await.expect(WORKS));
    let since = Account { revision: 3, is_disabled: true, ..since };
    assert_eq!(store.account(&since.id).await.expect(WORKS), Some(since), "the end of logins does not go back");
}

async fn passwords(store: &dyn CredentialStore) {
    let alice = kept(store).await;
    let (second, third) = (hash(), hash());
    let nobody = AccountId::generate().expect("randomness");
    assert!(!store.replace_password(&nobody, 1, &second, at(7)).await.expect(WORKS));
    assert!(!store.upgrade_password(&nobody, 1, &second).await.expect(WORKS));
    for revision in [0, 2, u64::MAX] {
        assert!(
            !store.replace_password(&alice.id, revision, &second, at(7)).await.expect(WORKS),
            "revision {revision}"
        );
        assert!(!store.upgrade_password(&alice.id, revision, &second).await.expect(WORKS), "revision {revision}");
    }
    let source = SourceHash::from_bytes(bytes());
    assert!(store.remember_source(&alice.id, 1, &source, at(100), 5).await.expect(WORKS));
    assert!(store.upgrade_password(&alice.id, 1, &second).await.expect(WORKS));
    let now = store.account(&alice.id).await.expect(WORKS).expect("is there");
    assert_eq!((now.revision, now.password), (1, Some(second.clone())), "an upgrade is the same password");
    assert_eq!(store.known_sources(&alice.id, &[source], NOW).await.expect(WORKS), [source], "and sources stay");
    assert!(store.replace_password(&alice.id, 1, &third, at(7)).await.expect(WORKS));
    assert!(!store.replace_password(&alice.id, 1, &second, at(7)).await.expect(WORKS), "a revision is replaced once");
    let now = store.account(&alice.id).await.expect(WORKS).expect("is there");
    assert_eq!((now.revision, now.password, now.logins_ended_at), (2, Some(third), Some(at(7))));
    assert!(!store.remember_source(&alice.id, 1, &source, at(100), 5).await.expect(WORKS), "a login of before");
    assert!(store.known_sources(&alice.id, &[source], NOW).await.expect(WORKS).is_empty(), "sources are forgotten");
}

fn enrolment() -> TotpRecord {
    TotpRecord { enrolment: bytes(), sealed: bytes::<60>().to_vec(), last_counter: None, created_at: NOW }
}

async fn totp(store: &dyn CredentialStore) {
    let (alice, bob) = (kept(store).await, kept(store).await);
    let (first, second, third) = (enrolment(), enrolment(), enrolment());
    let nobody = AccountId::generate().expect("randomness");
    assert!(!store.begin_totp(&nobody, &first).await.expect(WORKS), "nobody to keep it for");
    assert_eq!(store.totp(&nobody).await.expect(WORKS), TotpRecords::default());
    assert!(!store.confirm_totp(&alice.id, &first.enrolment, 5).await.expect(WORKS), "nothing to confirm");
    assert!(store.begin_totp(&alice.id, &first).await.expect(WORKS));
    assert!(store.begin_totp(&alice.id, &second).await.expect(WORKS));
    assert_eq!(
        store.totp(&alice.id).await.expect(WORKS),
        TotpRecords { confirmed: None, pending: Some(second.clone()) }
    );
    assert!(!store.confirm_totp(&alice.id, &first.enrolment, 5).await.expect(WORKS), "it was replaced");
    assert!(!store.confirm_totp(&bob.id, &second.enrolment, 5).await.expect(WORKS), "it is not theirs");
    assert!(!store.use_totp(&alice.id, &second.enrolment, 5).await.expect(WORKS), "it is not confirmed");
    assert!(!store.reseal_totp(&alice.id, &second.enrolment, b"new").await.expect(WORKS), "it is not confirmed");
    assert!(store.confirm_totp(&alice.id, &second.enrolment, 5).await.expect(WORKS));
    assert!(!store.confirm_totp(&alice.id, &second.enrolment, 6).await.expect(WORKS), "once");
    let mut confirmed = TotpRecord { last_counter: Some(5), ..second };
    assert_eq!(
        store.totp(&alice.id).await.expect(WORKS),
        TotpRecords { confirmed: Some(confirmed.clone()), pending: None }
    );
    for (counter, is_good) in [(5, false), (4, false), (7, true), (7, false), (6, false), (8, true)] {
        let used = store.use_totp(&alice.id, &confirmed.enrolment, counter).await.expect(WORKS);
        assert_eq!(used, is_good, "counter {counter}");
    }
    assert!(!store.use_totp(&alice.id, &first.enrolment, 9).await.expect(WORKS), "another enrolment");
    assert!(!store.use_totp(&bob.id, &confirmed.enrolment, 9).await.expect(WORKS), "another account");
    assert!(store.reseal_totp(&alice.id, &confirmed.enrolment, b"sealed anew").await.expect(WORKS));
    (confirmed.sealed, confirmed.last_counter) = (b"sealed anew".to_vec(), Some(8));
    assert!(store.begin_totp(&alice.id, &third).await.expect(WORKS));
    let both = TotpRecords { confirmed: Some(confirmed.clone()), pending: Some(third.clone()) };
    assert_eq!(store.totp(&alice.id).await.expect(WORKS), both, "the confirmed one stays meanwhile");
    assert!(store.confirm_totp(&alice.id, &third.enrolment, 1).await.expect(WORKS));
    assert!(!store.use_totp(&alice.id, &confirmed.enrolment, 100).await.expect(WORKS), "it was replaced");
    assert!(store.use_totp(&alice.id, &third.enrolment, 2).await.expect(WORKS));
    let fourth = enrolment();
    assert!(store.begin_totp(&alice.id, &fourth).await.expect(WORKS));
    assert!(!store.drop_pending_totp(&alice.id, &third.enrolment).await.expect(WORKS), "it waits for nothing");
    assert!(!store.drop_pending_totp(&bob.id, &fourth.enrolment).await.expect(WORKS), "it is not theirs");
    assert!(store.drop_pending_totp(&alice.id, &fourth.enrolment).await.expect(WORKS));
    assert!(!store.drop_pending_totp(&alice.id, &fourth.enrolment).await.expect(WORKS), "once");
    assert_eq!(ended_at(store, &alice.id).await, None);
    assert!(store.remove_factors(&alice.id, at(9)).await.expect(WORKS));
    assert_eq!(ended_at(store, &alice.id).await, Some(at(9)));
    assert!(!store.remove_factors(&alice.id, at(10)).await.expect(WORKS));
    assert_eq!(ended_at(store, &alice.id).await, Some(at(9)), "nothing was removed");
    assert_eq!(store.totp(&alice.id).await.expect(WORKS), TotpRecords::default());
}

async fn recovery_codes(store: &dyn CredentialStore) {
    let (alice, bob) = (kept(store).await, kept(store).await);
    let old: Vec<RecoveryHash> = (0..3).map(|_| RecoveryHash::from_bytes(bytes())).collect();
    let new: Vec<RecoveryHash> = (0..10).map(|_| RecoveryHash::from_bytes(bytes())).collect();
    let nobody = AccountId::generate().expect("randomness");
    assert!(!store.replace_recovery_codes(&nobody, &old).await.expect(WORKS));
    assert_eq!(store.recovery_codes_left(&nobody).await.expect(WORKS), 0);
    for codes in [&old, &new] {
        assert!(store.replace_recovery_codes(&alice.id, codes).await.expect(WORKS));
    }
    for code in &old {
        assert!(!store.take_recovery_code(&alice.id, code).await.expect(WORKS), "it was replaced");
    }
    assert_eq!(store.recovery_codes_left(&alice.id).await.expect(WORKS), 10);
    for (code, left) in new.iter().zip((0..10).rev()) {
        assert!(!store.take_recovery_code(&bob.id, code).await.expect(WORKS), "it is not theirs");
        assert!(store.take_recovery_code(&alice.id, code).await.expect(WORKS));
        assert!(!store.take_recovery_code(&alice.id, code).await.expect(WORKS), "once");
        assert_eq!(store.recovery_codes_left(&alice.id).await.expect(WORKS), left);
    }
    assert!(store.replace_recovery_codes(&alice.id, &new).await.expect(WORKS));
    assert!(store.remove_factors(&alice.id, at(9)).await.expect(WORKS), "codes are factors");
    assert_eq!(store.recovery_codes_left(&alice.id).await.expect(WORKS), 0);
}

async fn counters(store: &dyn CredentialStore) {
    let (one, other) = (counter(2), counter(100));
    let both = [other, one];
    for _ in 0..3 {
        assert_eq!(store.begin_attempt(&both, NOW).await.expect(WORKS), Admission::Admitted);
    }
    for (later, wait) in [(0, 10), (9, 1)] {
        assert_eq!(store.begin_attempt(&both, at(later)).await.expect(WORKS), Admission::Wait(seconds(wait)));
    }
    assert_eq!(store.begin_attempt(&both, at(10)).await.expect(WORKS), Admission::Admitted, "waiting ends");
    assert_eq!(
        store.begin_attempt(&[one], at(10)).await.expect(WORKS),
        Admission::Wait(seconds(20)),
        "refused attempts were not counted"
    );
    store.forgive(&[one.key], &[]).await.expect(WORKS);
    assert_eq!(
        store.begin_attempt(&[one], at(19)).await.expect(WORKS),
        Admission::Wait(seconds(1)),
        "as with one less"
    );
    assert_eq!(store.begin_attempt(&[one], at(20)).await.expect(WORKS), Admission::Admitted);
    assert_eq!(store.begin_attempt(&[one], at(1019)).await.expect(WORKS), Admission::Admitted);
    assert_eq!(
        store.begin_attempt(&[one], at(1019)).await.expect(WORKS),
        Admission::Wait(seconds(40)),
        "not forgotten before its time"
    );
    for _ in 0..3 {
        let admission = store.begin_attempt(&[one], at(2019)).await.expect(WORKS);
        assert_eq!(admission, Admission::Admitted, "forgotten");
    }
    assert_eq!(
        store.begin_attempt(&[one], at(1900)).await.expect(WORKS),
        Admission::Wait(seconds(10)),
        "a clock behind"
    );
    store.forgive(&[], &[one.key, CounterKey::from_bytes(bytes())]).await.expect("an unknown one is no error");
    for _ in 0..3 {
        assert_eq!(store.begin_attempt(&[one], at(2019)).await.expect(WORKS), Admission::Admitted);
    }
    // A failure less than none is none.
    let fresh = counter(1);
    for _ in 0..3 {
        store.forgive(&[fresh.key], &[]).await.expect(WORKS);
    }
    assert_eq!(store.begin_attempt(&[fresh], NOW).await.expect(WORKS), Admission::Admitted);
    store.forgive(&[fresh.key; 1], &[]).await.expect(WORKS);
    store.forgive(&[fresh.key; 1], &[]).await.expect(WORKS);
    for _ in 0..2 {
        assert_eq!(store.begin_attempt(&[fresh], NOW).await.expect(WORKS), Admission::Admitted);
    }
    assert!(matches!(store.begin_attempt(&[fresh], NOW).await.expect(WORKS), Admission::Wait(_)));
    assert_eq!(store.begin_attempt(&[], NOW).await.expect(WORKS), Admission::Admitted, "nothing to count in");
}

async fn pruning(store: &dyn CredentialStore) {
    store.prune_counters(0, NOW).await.expect(WORKS);
    // One with four failures among many with one; one that is forgotten early.
    let heavy = counter(3);
    for _ in 0..4 {
        assert_eq!(store.begin_attempt(&[heavy], NOW).await.expect(WORKS), Admission::Admitted);
    }
    let light: Vec<Counter> = (0..20).map(|_| counter(1)).collect();
    for (counter, later) in light.iter().zip(1..) {
        assert_eq!(store.begin_attempt(&[*counter], at(later)).await.expect(WORKS), Admission::Admitted);
    }
    let forgiven = counter(1);
    assert_eq!(store.begin_attempt(&[forgiven], NOW).await.expect(WORKS), Admission::Admitted);
    store.forgive(&[forgiven.key], &[]).await.expect(WORKS);
    assert_eq!(store.prune_counters(100, NOW).await.expect(WORKS), 1, "only the one without failures");
    assert_eq!(store.prune_counters(6, at(5)).await.expect(WORKS), 15);
    assert!(
        matches!(store.begin_attempt(&[heavy], at(5)).await.expect(WORKS), Admission::Wait(_)),
        "a flood of counters with one failure does not wash away one with four"
    );
    assert_eq!(store.prune_counters(100, at(999)).await.expect(WORKS), 0);
    assert_eq!(store.prune_counters(100, at(1000)).await.expect(WORKS), 1, "the heavy one is forgotten");
    assert_eq!(store.prune_counters(100, at(5000)).await.expect(WORKS), 5, "and the last of the others");
    assert_eq!(store.prune_counters(0, at(5000)).await.expect(WORKS), 0);
}

async fn sources(store: &dyn CredentialStore) {
    let (alice, bob) = (kept(store).await, kept(store).await);
    let all: Vec<SourceHash> = (0..6).map(|_| SourceHash::from_bytes(bytes())).collect();
    let (Some(one), Some(last)) = (all.first().copied(), all.last().copied()) else { return };
    let nobody = AccountId::generate().expect("randomness");
    assert!(!store.remember_source(&nobody, 1, &one, at(100), 4).await.expect(WORKS));
    assert!(store.known_sources(&nobody, &all, NOW).await.expect(WORKS).is_empty());
    assert!(store.remember_source(&alice.id, 1, &one, at(100), 4).await.expect(WORKS));
    assert!(store.known_sources(&bob.id, &[one], NOW).await.expect(WORKS).is_empty(), "it is not theirs");
    assert_eq!(store.known_sources(&alice.id, &[last, one], at(99)).await.expect(WORKS), [one]);
    assert!(store.known_sources(&alice.id, &[one], at(100)).await.expect(WORKS).is_empty(), "it has ended");
    assert!(store.remember_source(&alice.id, 1, &one, at(50), 4).await.expect(WORKS));
    assert_eq!(
        store.known_sources(&alice.id, &[one], at(99)).await.expect(WORKS),
        [one],
        "an end does not come earlier"
    );
    assert!(store.remember_source(&alice.id, 1, &one, at(150), 4).await.expect(WORKS));
    assert_eq!(store.known_sources(&alice.id, &[one], at(149)).await.expect(WORKS), [one], "but later");
    for (source, end) in all.iter().zip(300..) {
        assert!(store.remember_source(&alice.id, 1, source, at(end), 4).await.expect(WORKS));
    }
    let known = store.known_sources(&alice.id, &all, NOW).await.expect(WORKS);
    assert_eq!(Some(&known[..]), all.get(2..), "those that end first went");
    store.forget_source(&alice.id, &last).await.expect(WORKS);
    store.forget_source(&nobody, &last).await.expect("no error");
    assert!(store.known_sources(&alice.id, &[last], NOW).await.expect(WORKS).is_empty(), "one is forgotten");
    assert_eq!(store.known_sources(&alice.id, &all, NOW).await.expect(WORKS).len(), 3, "and the others are not");
    store.forget_sources(&alice.id).await.expect(WORKS);
    store.forget_sources(&nobody).await.expect("no error");
    assert!(store.known_sources(&alice.id, &all, NOW).await.expect(WORKS).is_empty());
}

fn passkey(account: &AccountId) -> Passkey {
    Passkey {
        credential_id: bytes::<32>().to_vec(),
        account: account.clone(),
        public_key: bytes::<77>().to_vec(),
        sign_count: u32::MAX,
        aaguid: bytes(),
        transports: "hybrid,internal".to_owned(),
        is_user_verified: true,
        is_backup_eligible: true,
        is_backed_up: false,
        label: "the blue key 'ü'".to_owned(),
        created_at: NOW,
        last_used_at: None,
    }
}

async fn passkeys(store: &dyn CredentialStore) {
    let (alice, bob) = (kept(store).await, kept(store).await);
    let mut first = passkey(&alice.id);
    let second = Passkey { created_at: at(1), sign_count: 0, last_used_at: Some(at(2)), ..passkey(&alice.id) };
    let nobody = AccountId::generate().expect("randomness");
    let add = async |passkey: &Passkey, revision, most| store.add_passkey(passkey, revision, most).await.expect(WORKS);
    assert_eq!(add(&passkey(&nobody), 1, 9).await, PasskeyAddition::Overtaken, "nobody to keep it for");
    for revision in [0, 2, u64::MAX] {
        assert_eq!(add(&first, revision, 9).await, PasskeyAddition::Overtaken, "revision {revision}");
    }
    let disabled = kept(store).await;
    assert!(store.set_disabled(&disabled.id, true, NOW).await.expect(WORKS));
    for revision in [1, 2] {
        assert_eq!(add(&passkey(&disabled.id), revision, 9).await, PasskeyAddition::Overtaken, "disabled");
    }
    assert_eq!(add(&first, 1, 0).await, PasskeyAddition::TooMany);
    assert_eq!(store.passkey(&first.credential_id).await.expect(WORKS), None);
    for passkey in [&second, &first] {
        assert_eq!(add(passkey, 1, 2).await, PasskeyAddition::Added);
        assert_eq!(store.passkey(&passkey.credential_id).await.expect(WORKS).as_ref(), Some(passkey));
    }
    let stolen = Passkey { account: bob.id.clone(), ..first.clone() };
    assert_eq!(add(&stolen, 1, 2).await, PasskeyAddition::Taken, "a credential id is one account's");
    assert_eq!(add(&passkey(&alice.id), 1, 2).await, PasskeyAddition::TooMany, "no more than may be");
    assert_eq!(store.passkeys(&alice.id).await.expect(WORKS), [first.clone(), second.clone()], "the oldest first");
    assert!(store.passkeys(&bob.id).await.expect(WORKS).is_empty());
    let used = PasskeyUse { sign_count: 7, is_backed_up: true, at: at(9) };
    assert!(!store.use_passkey(&first.credential_id, 6, used).await.expect(WORKS), "another counter");
    assert!(store.use_passkey(&first.credential_id, u32::MAX, used).await.expect(WORKS));
    assert!(!store.use_passkey(&first.credential_id, u32::MAX, used).await.expect(WORKS), "once");
    (first.sign_count, first.is_backed_up, first.last_used_at) = (7, true, Some(at(9)));
    assert_eq!(store.passkey(&first.credential_id).await.expect(WORKS), Some(first.clone()));
    assert!(!store.remove_passkey(&bob.id, &first.credential_id, at(9)).await.expect(WORKS), "it is not theirs");
    assert_eq!(ended_at(store, &alice.id).await, None);
    assert!(store.remove_passkey(&alice.id, &first.credential_id, at(9)).await.expect(WORKS));
    assert_eq!(ended_at(store, &alice.id).await, Some(at(9)));
    assert!(!store.remove_passkey(&alice.id, &first.credential_id, at(9)).await.expect(WORKS));
    assert_eq!(store.passkeys(&alice.id).await.expect(WORKS), [second]);
    assert_eq!(add(&passkey(&alice.id), 1, 9).await, PasskeyAddition::Added);
    let bobs = passkey(&bob.id);
    assert_eq!(add(&bobs, 1, 9).await, PasskeyAddition::Added);
    assert_eq!(store.remove_passkeys(&nobody, at(10)).await.expect(WORKS), 0);
    assert_eq!(store.remove_passkeys(&alice.id, at(10)).await.expect(WORKS), 2);
    assert_eq!(ended_at(store, &alice.id).await, Some(at(10)));
    assert_eq!(store.remove_passkeys(&alice.id, at(11)).await.expect(WORKS), 0);
    assert_eq!(ended_at(store, &alice.id).await, Some(at(10)), "nothing was removed");
    assert!(store.passkeys(&alice.id).await.expect(WORKS).is_empty());
    assert_eq!(store.passkeys(&bob.id).await.expect(WORKS), [bobs], "others' stay");
}

async fn challenges(store: &Arc<dyn CredentialStore>) {
    use ChallengeUse::{Again, First, TooMany};

    let (alice, bob) = (kept(&**store).await.id, kept(&**store).await.id);
    let (one, other) = (bytes(), bytes());
    let mark = async |id: &AccountId, challenge: &[u8; 32], ends_at, most, now| {
        store.use_challenge(id, challenge, ends_at, most, now).await.expect(WORKS)
    };
    assert_eq!(mark(&alice, &one, at(100), 2, NOW).await, First);
    assert_eq!(mark(&alice, &one, at(100), 2, NOW).await, Again, "once");
    assert_eq!(mark(&bob, &one, at(100), 2, NOW).await, Again, "whoever's it was");
    assert_eq!(mark(&alice, &one, at(200), 2, at(99)).await, Again, "until it ends");
    assert_eq!(mark(&alice, &other, at(300), 2, at(100)).await, First, "another is another");
    assert_eq!(mark(&alice, &one, at(300), 2, at(100)).await, First, "it has ended, and its mark is gone");
    assert_eq!(mark(&alice, &other, at(300), 2, at(299)).await, Again, "what has not ended stays");
    let third = bytes();
    assert_eq!(mark(&alice, &third, at(400), 2, at(299)).await, TooMany, "no more than may be");
    assert_eq!(
        mark(&bob, &third, at(400), 2, at(299)).await,
        First,
        "what was too many is not marked, and others go on"
    );
    assert_eq!(mark(&alice, &bytes(), at(400), 2, at(300)).await, First, "those that have ended do not count");
    let raced = bytes();
    let winners = race(store, move |store| {
        let id = alice.clone();
        async move { store.use_challenge(&id, &raced, at(400), 99, at(300)).await.expect(WORKS) == First }
    });
    assert_eq!(winners.await, 1, "of uses at once exactly one wins");
}

async fn deletion(store: &dyn CredentialStore) {
    let (alice, bob) = (kept(store).await, kept(store).await);
    let (record, code, source) = (enrolment(), RecoveryHash::from_bytes(bytes()), SourceHash::from_bytes(bytes()));
    let key = passkey(&alice.id);
    assert!(store.begin_totp(&alice.id, &record).await.expect(WORKS));
    assert!(store.replace_recovery_codes(&alice.id, &[code]).await.expect(WORKS));
    assert!(store.remember_source(&alice.id, 1, &source, at(100), 4).await.expect(WORKS));
    assert_eq!(store.add_passkey(&key, 1, 1).await.expect(WORKS), PasskeyAddition::Added);
    assert!(store.delete_account(&alice.id).await.expect(WORKS));
    assert_eq!(store.passkey(&key.credential_id).await.expect(WORKS), None);
    assert!(!store.take_recovery_code(&alice.id, &code).await.expect(WORKS));
    assert!(store.create_account(&alice).await.expect(WORKS), "id and name are free");
    assert_eq!(store.totp(&alice.id).await.expect(WORKS), TotpRecords::default());
    assert_eq!(store.recovery_codes_left(&alice.id).await.expect(WORKS), 0);
    assert!(store.known_sources(&alice.id, &[source], NOW).await.expect(WORKS).is_empty());
    assert_eq!(store.account(&bob.id).await.expect(WORKS), Some(bob), "others stay");
}

/// Of many at once as many win as may.
async fn races(store: &Arc<dyn CredentialStore>) {
    let alice = kept(&**store).await;
    let code = RecoveryHash::from_bytes(bytes());
    assert!(store.replace_recovery_codes(&alice.id, &[code]).await.expect(WORKS));
    let record = enrolment();
    assert!(store.begin_totp(&alice.id, &record).await.expect(WORKS));
    let (id, enrolment) = (alice.id.clone(), record.enrolment);
    let winners = race(store, move |store| {
        let id = id.clone();
        async move { store.confirm_totp(&id, &enrolment, 5).await.expect(WORKS) }
    });
    assert_eq!(winners.await, 1, "one confirms");
    let id = alice.id.clone();
    let winners = race(store, move |store| {
        let id = id.clone();
        async move { store.use_totp(&id, &enrolment, 6).await.expect(WORKS) }
    });
    assert_eq!(winners.await, 1, "one uses a TOTP code");
    let id = alice.id.clone();
    let winners = race(store, move |store| {
        let id = id.clone();
        async move { store.take_recovery_code(&id, &code).await.expect(WORKS) }
    });
    assert_eq!(winners.await, 1, "one takes a recovery code");
    let id = alice.id.clone();
    let winners = race(store, move |store| {
        let id = id.clone();
        async move { store.replace_password(&id, 1, &hash(), NOW).await.expect(WORKS) }
    });
    assert_eq!(winners.await, 1, "one replaces a password");
    let bob = kept(&**store).await.id;
    let id = bob.clone();
    let winners = race(store, move |store| {
        let key = passkey(&id);
        async move { store.add_passkey(&key, 1, 3).await.expect(WORKS) == PasskeyAddition::Added }
    });
    assert_eq!(winners.await, 3, "no more passkeys than may be");
    // Whoever adds one while the password changes is before it, or none.
    let id = bob.clone();
    let winners = race(store, move |store| {
        let (id, key) = (id.clone(), passkey(&id));
        let is_change = bytes::<1>() < [64];
        async move {
            if is_change {
                store.replace_password(&id, 1, &hash(), NOW).await.expect(WORKS);
                return store.add_passkey(&key, 1, 1000).await.expect(WORKS) != PasskeyAddition::Overtaken;
            }
            store.add_passkey(&key, 1, 1000).await.expect(WORKS);
            store.add_passkey(&passkey(&id), 3, 1000).await.expect(WORKS) != PasskeyAddition::Overtaken
        }
    });
    assert_eq!(winners.await, 0, "none after a change");
    let username = account().username;
    let winners = race(store, move |store| {
        let account = Account { username: username.clone(), ..account() };
        async move { store.create_account(&account).await.expect(WORKS) }
    });
    assert_eq!(winners.await, 1, "one gets a name");
    // Two counters that attempts name in either order: no deadlock, and the first failures and the one after them.
    let (one, other) = (counter(3), counter(3));
    let winners = race(store, move |store| async move {
        let is_even = bytes::<1>() < [128];
        let counters = if is_even { [one, other] } else { [other, one] };
        store.begin_attempt(&counters, NOW).await.expect(WORKS) == Admission::Admitted
    });
    assert_eq!(winners.await, 4, "no more attempts at once than one after the other");
    let busy = counter(10_000);
    let winners = race(store, move |store| async move {
        store.begin_attempt(&[busy], NOW).await.expect(WORKS);
        store.forgive(&[busy.key], &[]).await.expect(WORKS);
        store.prune_counters(1_000_000, NOW).await.expect(WORKS);
        true
    });
    assert_eq!(winners.await, 16, "counting, forgiving and pruning at once do not fail");
}

async fn race<F>(store: &Arc<dyn CredentialStore>, attempt: impl Fn(Arc<dyn CredentialStore>) -> F) -> usize
where
    F: Future<Output = bool> + Send + 'static,
{
    let all: Vec<_> = (0..16).map(|_| tokio::spawn(attempt(store.clone()))).collect();
    let mut winners = 0;
    for one in all {
        winners += usize::from(one.await.expect("no panic"));
    }
    winners
}
