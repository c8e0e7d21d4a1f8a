//! Tokens that are bound to a key or a certificate, seen from outside.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::time::Duration;

use async_trait::async_trait;
use proptest::prelude::*;
use sekisho_core::{
    AcceptedProofs, Authenticate as _, CertificateForm, Confirmation, Credential, CredentialKind, Failure, Occurrence,
    OneTimeUse, Presentation, ProofFault, ProofHeader, ReplayGuard, RevocationCheck, Secret, ShownCertificate,
    json::JsonObject,
};
use sekisho_jwt::{
    Algorithm, Backend, Claim, Dpop, DpopSigner, Jwt, JwtBuilder, MemoryReplayGuard, NonceKeys, Principal, Profile,
    Refusal, Reject, SenderConstraint, Step, UnixSeconds, Verifier,
};
use sekisho_testkit::{DpopKey, FixedClock, Issuer, hostile_proofs};
use serde_json::json;

const NOW: UnixSeconds = UnixSeconds::new(1_800_000_000);
const URL: &str = "https://api.example/orders";

/// Is an issuer, a client with a key, and the service's name outside.
struct Fixture {
    issuer: Issuer,
    key: DpopKey,
    bases: Vec<Box<str>>,
}

impl Fixture {
    fn new() -> Self {
        let clock = FixedClock::at(NOW);
        let issuer = Issuer::new().with_clock(clock.clone());
        Self { issuer, key: DpopKey::generate().with_clock(clock), bases: vec!["https://api.example".into()] }
    }

    fn plain(&self) -> JwtBuilder {
        Jwt::issuer(self.issuer.url()).audience("orders").with_keys(self.issuer.static_keys())
    }

    fn verifier(&self, dpop: Dpop) -> Verifier {
        self.plain().with_dpop(dpop).build().unwrap()
    }

    fn token(&self) -> String {
        self.issuer.token().audience("orders").bound_to(&self.key).sign()
    }

    fn proof(&self, token: &str) -> sekisho_testkit::ProofBuilder {
        self.key.proof("GET", URL).for_token(token)
    }

    /// Asks as a checkpoint does, `GET /orders`.
    fn ask(&self, verifier: &Verifier, token: &str, proof: &str) -> Result<Principal, Refusal> {
        self.ask_at(verifier, token, proof, NOW)
    }

    fn ask_at(&self, verifier: &Verifier, token: &str, proof: &str, now: UnixSeconds) -> Result<Principal, Refusal> {
        let shown = Presentation::new("GET", &self.bases, "/orders").with_proof(ProofHeader::One(proof));
        let credential = Credential::new(CredentialKind::Dpop, token).with_presentation(&shown);
        verifier.authenticate_now(credential, now).expect("no fetch is needed")
    }
}

/// Returns why something was refused.
#[track_caller]
fn reject<T>(answer: Result<T, Refusal>) -> Reject {
    match answer {
        Err(Refusal::Reject(reject)) => reject,
        Err(Refusal::Failure(failure)) => panic!("{failure}"),
        Ok(_) => panic!("accepted"),
    }
}

const fn fault(fault: ProofFault) -> Reject {
    Reject::InvalidProof(fault)
}

#[test]
fn takes_the_proofs_that_we_make_ourselves() {
    let fixture = Fixture::new();
    for algorithm in [Algorithm::Es256, Algorithm::Es384, Algorithm::Ed25519] {
        let key = DpopKey::with_algorithm(algorithm);
        let signer = DpopSigner::new(Backend::aws_lc(), key.key().clone()).unwrap();
        assert_eq!(signer.thumbprint(), key.thumbprint());
        let token = fixture.issuer.token().audience("orders").bound_to(&key).sign();
        let nonces = NonceKeys::new(Secret::new(vec![7; 32]));
        let verifier = fixture.verifier(Dpop::new().with_nonces(nonces));
        let nonce = verifier.proof_nonce(NOW).unwrap();
        let secret = Secret::from(&*token);
        let proof = signer.prove("GET", &format!("{URL}?page=2"), Some(&secret), Some(&nonce), NOW).unwrap();
        assert!(fixture.ask(&verifier, &token, &proof).is_ok(), "{algorithm}");
        let without = signer.prove("GET", URL, Some(&secret), None, NOW).unwrap();
        assert!(matches!(fixture.ask(&verifier, &token, &without), Err(Refusal::Reject(Reject::ProofNonce))));
    }
}

#[test]
fn accepts_a_bound_token_with_a_fresh_proof_for_each_request() {
    let fixture = Fixture::new();
    let verifier = fixture.verifier(Dpop::new());
    let token = fixture.token();
    for cached in [0, 1, 1] {
        assert_eq!(verifier.cached_tokens(), cached);
        let principal = fixture.ask(&verifier, &token, &fixture.proof(&token).sign()).unwrap();
        let bound_to = Confirmation::KeyThumbprint(fixture.key.thumbprint().into());
        assert_eq!((principal.subject(), principal.confirmation()), ("u1", Some(&bound_to)));
    }
}

#[test]
fn a_cached_bound_token_without_its_proof_is_refused() {
    let fixture = Fixture::new();
    let verifier = fixture.verifier(Dpop::new());
    let token = fixture.token();
    let proof = fixture.proof(&token).sign();
    fixture.ask(&verifier, &token, &proof).unwrap();
    assert_eq!(verifier.cached_tokens(), 1);
    // The token alone, by every way in.
    assert_eq!(reject(verifier.verify_now(&token, NOW).unwrap()), Reject::ProofRequired);
    assert_eq!(reject(verifier.authenticate_now(Credential::bearer(&token), NOW).unwrap()), Reject::ProofRequired);
    for kind in [CredentialKind::Bearer, CredentialKind::Cookie, CredentialKind::Header] {
        let fresh = fixture.proof(&token).sign();
        let shown = Presentation::new("GET", &fixture.bases, "/orders").with_proof(ProofHeader::One(&fresh));
        let sent = Credential::new(kind, &token).with_presentation(&shown);
        assert_eq!(reject(verifier.authenticate_now(sent, NOW).unwrap()), Reject::ProofRequired, "{kind:?}");
    }
    for (header, expected) in [(ProofHeader::Absent, ProofFault::Absent), (ProofHeader::Malformed, ProofFault::Several)]
    {
        let shown = Presentation::new("GET", &fixture.bases, "/orders").with_proof(header);
        let sent = Credential::new(CredentialKind::Dpop, &token).with_presentation(&shown);
        assert_eq!(reject(verifier.authenticate_now(sent, NOW).unwrap()), fault(expected));
    }
    let alone = Credential::new(CredentialKind::Dpop, &token);
    assert_eq!(reject(verifier.authenticate_now(alone, NOW).unwrap()), fault(ProofFault::Absent));
    assert_eq!(reject(fixture.ask(&verifier, &token, &proof)), fault(ProofFault::Replayed));
    // And another client's key proves nothing for it.
    let thief = DpopKey::generate().with_clock(FixedClock::at(NOW));
    let stolen = thief.proof("GET", URL).for_token(&token).sign();
    assert_eq!(reject(fixture.ask(&verifier, &token, &stolen)), Reject::ProofMismatch);
}

#[tokio::test]
async fn both_ways_in_agree_and_a_refused_proof_is_not_used_up() {
    let fixture = Fixture::new();
    let verifier = fixture.verifier(Dpop::new());
    let token = fixture.token();
    let proof = fixture.proof(&token).sign();
    let shown = |path| Presentation::new("GET", &fixture.bases, path).with_proof(ProofHeader::One(&proof));
    let (wrong, right) = (shown("/other"), shown("/orders"));
    let sent = |shown| Credential::new(CredentialKind::Dpop, &token).with_presentation(shown);
    assert_eq!(reject(verifier.authenticate(sent(&wrong), NOW).await), fault(ProofFault::Target));
    assert!(verifier.authenticate(sent(&right), NOW).await.is_ok());
    assert_eq!(reject(verifier.authenticate(sent(&right), NOW).await), fault(ProofFault::Replayed));
    assert_eq!(reject(verifier.authenticate_now(sent(&right), NOW).unwrap()), fault(ProofFault::Replayed));
    assert_eq!(reject(verifier.verify(&token, NOW).await), Reject::ProofRequired);
}

#[test]
fn without_dpop_everything_is_as_it_was() {
    let fixture = Fixture::new();
    let verifier = fixture.plain().build().unwrap();
    let token = fixture.token();
    let proof = fixture.proof(&token).sign();
    assert_eq!(reject(verifier.verify_now(&token, NOW).unwrap()), Reject::ProofRequired);
    assert_eq!(reject(fixture.ask(&verifier, &token, &proof)), Reject::ProofRequired);
    assert_eq!(verifier.cached_tokens(), 0);
    assert_eq!(verifier.accepted_proofs(), AcceptedProofs::none());
    assert!(!verifier.recognizes(Credential::new(CredentialKind::Dpop, &token)));
    assert!(verifier.recognizes(Credential::bearer(&token)));
    let bearer = fixture.issuer.token().audience("orders").sign();
    assert!(verifier.verify_now(&bearer, NOW).unwrap().is_ok());
    // A checkpoint would not ask; whoever does is refused.
    assert_eq!(reject(fixture.ask(&verifier, &bearer, &fixture.proof(&bearer).sign())), Reject::Unbound);
}

#[test]
fn bearer_tokens_pass_beside_bound_ones_unless_proofs_are_required() {
    let fixture = Fixture::new();
    let bearer = fixture.issuer.token().audience("orders").sign();
    let (lax, strict) = (fixture.verifier(Dpop::new()), fixture.verifier(Dpop::new().requiring_proof()));
    assert!(lax.verify_now(&bearer, NOW).unwrap().unwrap().confirmation().is_none());
    assert_eq!(reject(strict.verify_now(&bearer, NOW).unwrap()), Reject::Unbound);
    let token = fixture.token();
    assert!(fixture.ask(&strict, &token, &fixture.proof(&token).sign()).is_ok());
    assert!(strict.accepted_proofs().requires_dpop() && !lax.accepted_proofs().requires_dpop());
    assert_eq!(lax.accepted_proofs().dpop_algorithms(), Some("PS256 ES256 ES384 EdDSA Ed25519"));
}

#[test]
fn refuses_every_hostile_proof_also_when_the_token_and_the_key_are_known() {
    let fixture = Fixture::new();
    let verifier = fixture.verifier(Dpop::new());
    let cases = hostile_proofs(&fixture.issuer, "orders", "GET", URL);
    assert!(cases.len() > 100, "{}", cases.len());
    for round in 0..2 {
        for case in &cases {
            let (scheme, token) = case.authorization.split_once(' ').unwrap();
            let kind = if scheme == "DPoP" { CredentialKind::Dpop } else { CredentialKind::Bearer };
            let values = case.proofs.iter().map(String::as_bytes);
            let shown =
                Presentation::new("GET", &fixture.bases, "/orders").with_proof(sekisho_http::dpop_proof(values));
            let sent = Credential::new(kind, token).with_presentation(&shown);
            let answer = verifier.authenticate_now(sent, NOW).unwrap();
            assert!(matches!(answer, Err(Refusal::Reject(_))), "{round} {case:?}: {answer:?}");
        }
    }
}

#[test]
fn says_which_check_a_proof_failed() {
    let fixture = Fixture::new();
    let verifier = fixture.verifier(Dpop::new());
    let token = fixture.token();
    let good = || fixture.proof(&token);
    let hour = 3600;
    for (proof, expected) in [
        (good().header("typ", "JWT"), ProofFault::Type),
        (good().header("alg", "RS256"), ProofFault::Algorithm),
        (good().header("alg", "none"), ProofFault::Algorithm),
        (good().header("alg", "ES384"), ProofFault::Algorithm),
        (good().without_header("jwk"), ProofFault::Key),
        (good().header("jwk", json!({"kty": "oct", "k": "AAAA"})), ProofFault::Key),
        (good().signed_by(DpopKey::generate().key()), ProofFault::Signature),
        (good().claim("htm", "POST"), ProofFault::Method),
        (good().claim("htu", "https://api.example/other"), ProofFault::Target),
        (good().for_token("other"), ProofFault::TokenHash),
        (good().at(UnixSeconds::new(NOW.as_secs() - hour)), ProofFault::Time),
        (good().without_claim("jti"), ProofFault::TokenId),
        (good().header("crit", json!(["x"])), ProofFault::Malformed),
    ] {
        assert_eq!(reject(fixture.ask(&verifier, &token, &proof.sign())), fault(expected), "{proof:?}");
    }
    assert!(fixture.ask(&verifier, &token, &good().sign()).is_ok());
}

#[test]
fn takes_a_proof_for_sixty_seconds_and_five_ahead() {
    let fixture = Fixture::new();
    let verifier = fixture.verifier(Dpop::new());
    let token = fixture.token();
    for (offset, taken) in [(-61_i64, false), (-60, true), (-1, true), (0, true), (5, true), (6, false)] {
        let made = UnixSeconds::new(NOW.as_secs().saturating_add_signed(offset));
        let answer = fixture.ask(&verifier, &token, &fixture.proof(&token).at(made).sign());
        assert_eq!(answer.is_ok(), taken, "{offset}");
    }
    // To the last second in which it is taken, it is known.
    let proof = fixture.proof(&token).at(UnixSeconds::new(NOW.as_secs() + 5)).sign();
    assert!(fixture.ask(&verifier, &token, &proof).is_ok());
    for later in [0, 1, 60, 64, 65] {
        let now = NOW.saturating_add(Duration::from_secs(later));
        assert_eq!(reject(fixture.ask_at(&verifier, &token, &proof, now)), fault(ProofFault::Replayed), "{later}");
    }
    let now = NOW.saturating_add(Duration::from_secs(66));
    assert_eq!(reject(fixture.ask_at(&verifier, &token, &proof, now)), fault(ProofFault::Time));
    let long = Dpop::new().with_lifetime(Duration::from_secs(5)).with_skew(Duration::ZERO);
    let verifier = fixture.verifier(long);
    let ahead = fixture.proof(&token).at(UnixSeconds::new(NOW.as_secs() + 1)).sign();
    assert_eq!(reject(fixture.ask(&verifier, &token, &ahead)), fault(ProofFault::Time));
    let old = fixture.proof(&token).at(UnixSeconds::new(NOW.as_secs() - 6)).sign();
    assert_eq!(reject(fixture.ask(&verifier, &token, &old)), fault(ProofFault::Time));
}

#[test]
fn takes_each_algorithm_on_the_list_and_no_other() {
    let fixture = Fixture::new();
    let keys =
        [Algorithm::Es256, Algorithm::Es384, Algorithm::Ed25519, Algorithm::Ps256, Algorithm::Rs256, Algorithm::Es512];
    let verifier = fixture.verifier(Dpop::new());
    let wide = fixture.verifier(Dpop::new().with_algorithms(Algorithm::ASYMMETRIC));
    for algorithm in keys {
        let key = DpopKey::with_algorithm(algorithm).with_clock(FixedClock::at(NOW));
        let token = fixture.issuer.token().audience("orders").bound_to(&key).sign();
        let proof = || key.proof("GET", URL).for_token(&token).sign();
        let by_default = !matches!(algorithm, Algorithm::Rs256 | Algorithm::Es512);
        assert_eq!(fixture.ask(&verifier, &token, &proof()).is_ok(), by_default, "{algorithm}");
        assert!(fixture.ask(&wide, &token, &proof()).is_ok(), "{algorithm}");
        if algorithm == Algorithm::Ed25519 {
            let renamed = key.proof("GET", URL).for_token(&token).header("alg", "Ed25519").sign();
            assert!(fixture.ask(&verifier, &token, &renamed).is_ok(), "RFC 9864");
        }
    }
}

#[cfg(feature = "ring")]
#[test]
fn ring_takes_and_refuses_the_same() {
    let fixture = Fixture::new();
    let start = || Jwt::with_backend(Backend::ring()).issuer(fixture.issuer.url()).audience("orders");
    let nonces = NonceKeys::new(Secret::new(vec![1; 32]));
    let builder = start().with_keys(fixture.issuer.static_keys()).with_dpop(Dpop::new().with_nonces(nonces));
    let verifier = builder.build().unwrap();
    let token = fixture.token();
    assert_eq!(reject(fixture.ask(&verifier, &token, &fixture.proof(&token).sign())), Reject::ProofNonce);
    let nonce = verifier.proof_nonce(NOW).unwrap();
    let good = || fixture.proof(&token).nonce(&nonce);
    assert!(fixture.ask(&verifier, &token, &good().sign()).is_ok());
    let forged = good().signed_by(DpopKey::generate().key()).sign();
    assert_eq!(reject(fixture.ask(&verifier, &token, &forged)), fault(ProofFault::Signature));
    assert!(start().with_dpop(Dpop::new().with_algorithms([Algorithm::Es512])).build().is_err(), "not in ring");
}

#[test]
fn a_key_may_say_more_of_itself_than_it_must() {
    let fixture = Fixture::new();
    let verifier = fixture.verifier(Dpop::new());
    let token = fixture.token();
    let mut jwk = fixture.key.jwk();
    for (name, value) in [("kid", json!("k")), ("use", json!("sig")), ("alg", json!("ES256")), ("ext", json!(true))] {
        jwk[name] = value;
    }
    jwk["key_ops"] = json!(["verify"]);
    assert!(fixture.ask(&verifier, &token, &fixture.proof(&token).header("jwk", jwk).sign()).is_ok());
}

#[test]
fn demands_a_nonce_of_its_own_when_told_to() {
    let fixture = Fixture::new();
    let secret = |byte| Secret::new(vec![byte; 32]);
    let [ours, twin, stranger] =
        [NonceKeys::new(secret(1)), NonceKeys::new(secret(2)).with_accepted(secret(1)), NonceKeys::new(secret(3))]
            .map(|nonces| fixture.verifier(Dpop::new().with_nonces(nonces)));
    let token = fixture.token();
    let with = |nonce: &str| fixture.proof(&token).nonce(nonce).sign();
    assert_eq!(reject(fixture.ask(&ours, &token, &fixture.proof(&token).sign())), Reject::ProofNonce);
    let nonce = ours.proof_nonce(NOW).unwrap();
    assert!(fixture.ask(&ours, &token, &with(&nonce)).is_ok());
    assert!(fixture.ask(&ours, &token, &with(&nonce)).is_ok(), "one nonce is for many proofs");
    assert!(fixture.ask(&twin, &token, &with(&nonce)).is_ok());
    assert_eq!(reject(fixture.ask(&stranger, &token, &with(&nonce))), Reject::ProofNonce);
    let old = ours.proof_nonce(UnixSeconds::new(NOW.as_secs() - 301)).unwrap();
    for bad in [&*old, "", "x", &format!("{nonce}=")] {
        assert_eq!(reject(fixture.ask(&ours, &token, &with(bad))), Reject::ProofNonce, "{bad}");
    }
    let number = fixture.proof(&token).claim("nonce", 7).sign();
    assert_eq!(reject(fixture.ask(&ours, &token, &number)), Reject::ProofNonce);
    // A good nonce does not make an old proof new.
    let late = fixture.proof(&token).nonce(&nonce).at(UnixSeconds::new(NOW.as_secs() - 3600)).sign();
    assert_eq!(reject(fixture.ask(&ours, &token, &late)), fault(ProofFault::Time));
    let none = fixture.verifier(Dpop::new());
    assert!(none.proof_nonce(NOW).is_none());
    assert!(fixture.ask(&none, &token, &with("whatever")).is_ok());
}

#[test]
fn of_two_at_once_with_the_same_proof_one_passes() {
    let fixture = Fixture::new();
    let verifier = fixture.verifier(Dpop::new());
    let token = fixture.token();
    for _ in 0..50 {
        let proof = fixture.proof(&token).sign();
        let barrier = Barrier::new(2);
        let passed = std::thread::scope(|scope| {
            let attempt = || {
                barrier.wait();
                fixture.ask(&verifier, &token, &proof)
            };
            let threads = [scope.spawn(attempt), scope.spawn(attempt)];
            threads.map(|thread| thread.join().unwrap()).into_iter().filter(Result::is_ok).count()
        });
        assert_eq!(passed, 1);
    }
}

#[test]
fn verifiers_with_one_dpop_share_what_was_used() {
    let fixture = Fixture::new();
    let dpop = Dpop::new();
    let [first, second] = [dpop.clone(), dpop].map(|dpop| fixture.verifier(dpop));
    let token = fixture.token();
    let proof = fixture.proof(&token).sign();
    assert!(fixture.ask(&first, &token, &proof).is_ok());
    assert_eq!(reject(fixture.ask(&second, &token, &proof)), fault(ProofFault::Replayed));
}

#[test]
fn what_was_used_is_known_also_to_who_takes_proofs_for_longer() {
    let fixture = Fixture::new();
    let dpop = Dpop::new();
    let short = fixture.verifier(dpop.clone());
    let long = fixture.verifier(dpop.with_lifetime(Duration::from_secs(300)));
    let token = fixture.token();
    let proof = fixture.proof(&token).sign();
    assert!(fixture.ask(&short, &token, &proof).is_ok());
    for later in [60, 61, 62, 150, 300] {
        let now = NOW.saturating_add(Duration::from_secs(later));
        // Somebody else's request, which makes the memory forget what it may.
        let other = fixture.proof(&token).at(now).sign();
        assert!(fixture.ask_at(&short, &token, &other, now).is_ok());
        assert_eq!(reject(fixture.ask_at(&long, &token, &proof, now)), fault(ProofFault::Replayed), "{later}");
    }
    let now = NOW.saturating_add(Duration::from_secs(301));
    assert_eq!(reject(fixture.ask_at(&long, &token, &proof, now)), fault(ProofFault::Time));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_memory_of_used_proofs_keeps_the_contract() {
    let guard = MemoryReplayGuard::with_limits(1_000, 10).unwrap();
    sekisho_testkit::replay_guard_suite(Arc::new(guard), 10, NOW).await;
}

#[test]
fn a_full_memory_or_a_used_up_share_is_our_failure_and_no_pass() {
    let fixture = Fixture::new();
    let guard = |uses, each| Arc::new(MemoryReplayGuard::with_limits(uses, each).unwrap());
    for guard in [guard(2, 2), guard(100, 2)] {
        let verifier = fixture.verifier(Dpop::new().with_replay_guard(guard));
        let token = fixture.token();
        for _ in 0..2 {
            assert!(fixture.ask(&verifier, &token, &fixture.proof(&token).sign()).is_ok());
        }
        let answer = fixture.ask(&verifier, &token, &fixture.proof(&token).sign());
        assert!(matches!(&answer, Err(Refusal::Failure(failure)) if failure.retry_after().is_some()), "{answer:?}");
    }
}

/// Keeps its memory elsewhere: asks must be waited for, and it may be down.
#[derive(Debug, Default)]
struct Remote {
    memory: MemoryReplayGuard,
    is_down: AtomicBool,
    asked: AtomicUsize,
}

#[async_trait]
impl ReplayGuard for Remote {
    fn is_immediate(&self) -> bool {
        false
    }

    fn insert_now(&self, _: &OneTimeUse, _: UnixSeconds) -> Option<Result<Occurrence, Failure>> {
        None
    }

    async fn insert(&self, once: &OneTimeUse, now: UnixSeconds) -> Result<Occurrence, Failure> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        tokio::task::yield_now().await;
        if self.is_down.load(Ordering::SeqCst) {
            return Err(Failure::unavailable("replay store"));
        }
        self.memory.insert(once, now).await
    }
}

#[tokio::test]
async fn a_memory_elsewhere_is_waited_for_and_fails_closed() {
    let fixture = Fixture::new();
    let remote = Arc::new(Remote::default());
    let guard: Arc<dyn ReplayGuard> = Arc::<Remote>::clone(&remote);
    let verifier = fixture.verifier(Dpop::new().with_replay_guard(guard));
    let token = fixture.token();
    let proof = fixture.proof(&token).sign();
    let shown = Presentation::new("GET", &fixture.bases, "/orders").with_proof(ProofHeader::One(&proof));
    let sent = Credential::new(CredentialKind::Dpop, &token).with_presentation(&shown);
    assert!(verifier.authenticate_now(sent, NOW).is_none());
    assert!(verifier.authenticate(sent, NOW).await.is_ok());
    assert_eq!(reject(verifier.authenticate(sent, NOW).await), fault(ProofFault::Replayed));
    let bearer = fixture.issuer.token().audience("orders").sign();
    assert!(verifier.authenticate_now(Credential::bearer(&bearer), NOW).unwrap().is_ok(), "bearers do not wait");
    assert_eq!(reject(verifier.authenticate_now(Credential::bearer(&token), NOW).unwrap()), Reject::ProofRequired);
    // What is refused for itself asks nobody.
    let asked = remote.asked.load(Ordering::SeqCst);
    let bad = fixture.proof("other").sign();
    let shown = Presentation::new("GET", &fixture.bases, "/orders").with_proof(ProofHeader::One(&bad));
    let sent = Credential::new(CredentialKind::Dpop, &token).with_presentation(&shown);
    assert_eq!(reject(verifier.authenticate(sent, NOW).await), fault(ProofFault::TokenHash));
    assert_eq!(remote.asked.load(Ordering::SeqCst), asked);
    remote.is_down.store(true, Ordering::SeqCst);
    let fresh = fixture.proof(&token).sign();
    let shown = Presentation::new("GET", &fixture.bases, "/orders").with_proof(ProofHeader::One(&fresh));
    let sent = Credential::new(CredentialKind::Dpop, &token).with_presentation(&shown);
    assert!(matches!(verifier.authenticate(sent, NOW).await, Err(Refusal::Failure(_))));
}

struct Revoked(AtomicBool);

impl RevocationCheck for Revoked {
    fn is_revoked(&self, principal: &Principal, _: UnixSeconds) -> Result<bool, Failure> {
        assert!(principal.confirmation().is_some());
        Ok(self.0.load(Ordering::SeqCst))
    }
}

#[test]
fn a_good_proof_does_not_save_a_withdrawn_token() {
    let fixture = Fixture::new();
    let revoked = Arc::new(Revoked(AtomicBool::new(false)));
    let revocation: Arc<dyn RevocationCheck> = Arc::<Revoked>::clone(&revoked);
    let verifier = fixture.plain().with_dpop(Dpop::new()).with_revocation(revocation).build().unwrap();
    let token = fixture.token();
    assert!(fixture.ask(&verifier, &token, &fixture.proof(&token).sign()).is_ok());
    revoked.0.store(true, Ordering::SeqCst);
    assert_eq!(reject(fixture.ask(&verifier, &token, &fixture.proof(&token).sign())), Reject::Revoked);
}

#[test]
fn an_expired_token_is_expired_whatever_its_proof() {
    let fixture = Fixture::new();
    let verifier = fixture.verifier(Dpop::new());
    let token = fixture.token();
    assert!(fixture.ask(&verifier, &token, &fixture.proof(&token).sign()).is_ok());
    let late = NOW.saturating_add(Duration::from_secs(360));
    let proof = fixture.proof(&token).at(late).sign();
    assert_eq!(reject(fixture.ask_at(&verifier, &token, &proof, late)), Reject::Expired { by_secs: 0 });
}

#[test]
fn refuses_what_a_token_is_bound_to_when_it_is_not_understood() {
    let fixture = Fixture::new();
    let (dpop, both) =
        (fixture.verifier(Dpop::new()), fixture.plain().with_dpop(Dpop::new()).with_certificate_binding());
    let both = both.build().unwrap();
    let (jkt, other) = (fixture.key.thumbprint(), "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I");
    let invalid = Reject::Invalid(Claim::Confirmation);
    for (cnf, expected) in [
        (json!({"jkt": jkt, "x5t#S256": other}), Reject::Confirmation),
        (json!({"jkt": jkt, "kid": "k"}), Reject::Confirmation),
        (json!({"jkt": jkt, "kc-jkt-type": "DPoP", "kid": "k"}), Reject::Confirmation),
        (json!({"jkt": jkt, "kc-jkt-type": "DPoP", "x5t#S256": other}), Reject::Confirmation),
        (json!({"jkt": jkt, "kc-jkt-type": "mTLS"}), Reject::Confirmation),
        (json!({"jkt": jkt, "kc-jkt-type": "dpop"}), Reject::Confirmation),
        (json!({"jkt": jkt, "kc-jkt-type": ["DPoP"]}), Reject::Confirmation),
        (json!({"jkt": jkt, "kc-jkt-type": null}), Reject::Confirmation),
        (json!({"jkt": jkt, "KC-JKT-TYPE": "DPoP"}), Reject::Confirmation),
        (json!({"x5t#S256": other, "kc-jkt-type": "DPoP"}), Reject::Confirmation),
        (json!({"kc-jkt-type": "DPoP"}), Reject::Confirmation),
        (json!({"x5t#S256": other, "jwk": {}}), Reject::Confirmation),
        (json!({"jwk": fixture.key.jwk()}), Reject::Confirmation),
        (json!({}), Reject::Confirmation),
        (json!({"jkt": 42}), invalid),
        (json!({"jkt": ""}), invalid),
        (json!({"jkt": format!("{jkt}=")}), invalid),
        (json!({"jkt": "AAAA"}), invalid),
        (json!(jkt), invalid),
        (json!(null), invalid),
    ] {
        let token = fixture.issuer.token().audience("orders").claim("cnf", cnf.clone()).sign();
        for sent in [
            fixture.ask(&both, &token, &fixture.proof(&token).sign()),
            both.verify_now(&token, NOW).unwrap().map(|p| p.into_inner()),
        ] {
            assert_eq!(reject(sent), expected, "{cnf}");
        }
    }
    let certificate = fixture.issuer.token().audience("orders").bound_to_certificate(b"certificate").sign();
    assert_eq!(reject(dpop.verify_now(&certificate, NOW).unwrap()), Reject::ProofRequired);
}

#[test]
fn what_keycloak_writes_beside_the_thumbprint_leaves_the_binding_as_it_is() {
    let fixture = Fixture::new();
    let verifier = fixture.verifier(Dpop::new());
    let cnf = json!({"jkt": fixture.key.thumbprint(), "kc-jkt-type": "DPoP"});
    let token = fixture.issuer.token().audience("orders").claim("cnf", cnf).sign();
    assert!(fixture.ask(&verifier, &token, &fixture.proof(&token).sign()).is_ok());
    assert_eq!(reject(verifier.verify_now(&token, NOW).unwrap().map(|p| p.into_inner())), Reject::ProofRequired);
    let thief = DpopKey::generate().with_clock(sekisho_testkit::FixedClock::at(NOW));
    let proof = thief.proof("GET", URL).for_token(&token).sign();
    assert_eq!(reject(fixture.ask(&verifier, &token, &proof)), Reject::ProofMismatch);
}

#[test]
fn keycloaks_mark_of_bound_tokens_counts_only_with_the_binding() {
    let fixture = Fixture::new();
    for profile in [Profile::keycloak(), Profile::compatible()] {
        let verifier = fixture.plain().with_profile(profile.clone()).with_dpop(Dpop::new()).build().unwrap();
        let plain = fixture.plain().with_profile(profile).build().unwrap();
        let marked = || fixture.issuer.token().audience("orders").claim("typ", "DPoP");
        let token = marked().bound_to(&fixture.key).sign();
        assert!(fixture.ask(&verifier, &token, &fixture.proof(&token).sign()).is_ok());
        assert_eq!(reject(plain.verify_now(&token, NOW).unwrap()), Reject::ProofRequired);
        let unbound = marked().sign();
        for kind in [CredentialKind::Bearer, CredentialKind::Dpop] {
            let proof = fixture.proof(&unbound).sign();
            let shown = Presentation::new("GET", &fixture.bases, "/orders").with_proof(ProofHeader::One(&proof));
            let sent = Credential::new(kind, &unbound).with_presentation(&shown);
            assert_eq!(reject(verifier.authenticate_now(sent, NOW).unwrap()), Reject::ProofRequired);
        }
        let marked = marked().bound_to_certificate(b"certificate").sign();
        assert_eq!(reject(verifier.verify_now(&marked, NOW).unwrap()), Reject::ProofRequired);
    }
}

/// Asks with a certificate in some form.
fn with_certificate(
    verifier: &Verifier,
    token: &str,
    form: CertificateForm,
    bytes: &[u8],
) -> Result<Principal, Refusal> {
    let shown = Presentation::new("GET", &[], "/orders").with_certificate(ShownCertificate::new(form, bytes));
    verifier.authenticate_now(Credential::bearer(token).with_presentation(&shown), NOW).unwrap()
}

#[test]
fn takes_a_token_bound_to_a_certificate_over_its_connection_alone() {
    let fixture = Fixture::new();
    let verifier = fixture.plain().with_certificate_binding().build().unwrap();
    let token = fixture.issuer.token().audience("orders").bound_to_certificate(b"certificate").sign();
    for _ in 0..2 {
        let principal = with_certificate(&verifier, &token, CertificateForm::Der, b"certificate").unwrap();
        assert!(matches!(principal.confirmation(), Some(Confirmation::CertificateThumbprint(_))));
        let header = with_certificate(&verifier, &token, CertificateForm::ByteSequence, b":Y2VydGlmaWNhdGU=:");
        assert!(header.is_ok(), "again and again, for it is no proof that is used up");
    }
    assert_eq!(reject(with_certificate(&verifier, &token, CertificateForm::Der, b"another")), Reject::ProofMismatch);
    assert_eq!(reject(with_certificate(&verifier, &token, CertificateForm::Der, b"")), Reject::ProofMismatch);
    let broken = with_certificate(&verifier, &token, CertificateForm::ByteSequence, b"Y2VydGlmaWNhdGU=");
    assert_eq!(reject(broken), Reject::ProofRequired);
    assert_eq!(reject(verifier.verify_now(&token, NOW).unwrap()), Reject::ProofRequired);
    // A certificate makes a bearer token no worse and no better.
    let bearer = fixture.issuer.token().audience("orders").sign();
    assert!(with_certificate(&verifier, &bearer, CertificateForm::Der, b"another").is_ok());
    let dpop = fixture.token();
    assert_eq!(reject(with_certificate(&verifier, &dpop, CertificateForm::Der, b"certificate")), Reject::ProofRequired);
}

#[test]
fn where_proofs_are_required_a_certificate_is_none() {
    let fixture = Fixture::new();
    let builder = fixture.plain().with_certificate_binding().with_dpop(Dpop::new().requiring_proof());
    let verifier = builder.build().unwrap();
    let token = fixture.issuer.token().audience("orders").bound_to_certificate(b"certificate").sign();
    assert_eq!(reject(with_certificate(&verifier, &token, CertificateForm::Der, b"certificate")), Reject::Unbound);
}

#[tokio::test]
async fn explains_the_proof_and_does_not_use_it_up() {
    let fixture = Fixture::new();
    let verifier = fixture.verifier(Dpop::new());
    let token = fixture.token();
    let proof = fixture.proof(&token).sign();
    let shown = Presentation::new("GET", &fixture.bases, "/orders").with_proof(ProofHeader::One(&proof));
    let sent = Credential::new(CredentialKind::Dpop, &token).with_presentation(&shown);
    for _ in 0..2 {
        let trace = verifier.explain_credential(sent, NOW).await;
        assert!(trace.result().is_ok(), "{trace}");
        assert!(trace.steps().iter().any(|outcome| outcome.step() == Step::Proof && outcome.passed()), "{trace}");
        assert!(!trace.to_string().contains(&proof));
    }
    assert!(fixture.ask(&verifier, &token, &proof).is_ok());
    let alone = verifier.explain(&token, NOW).await;
    let last = alone.steps().last().unwrap();
    assert!(last.step() == Step::Proof && !last.passed(), "{alone}");
    let bearer = verifier.explain(&fixture.issuer.token().audience("orders").sign(), NOW).await;
    assert!(bearer.result().is_ok() && bearer.to_string().contains("none is due"), "{bearer}");
    let plain = fixture.plain().build().unwrap().explain(&fixture.issuer.token().audience("orders").sign(), NOW).await;
    assert!(plain.steps().iter().all(|outcome| outcome.step() != Step::Proof), "as it was where nobody takes proofs");
}

#[test]
fn the_printed_proof_of_rfc_9449_is_good_for_its_request() {
    // RFC 9449 §7.1, its token, key and time.
    let token = "Kz~8mXK1EalYznwH-LC-1fBAo.4Ljp~zsPE_NeO.gxU";
    let proof = concat!(
        "eyJ0eXAiOiJkcG9wK2p3dCIsImFsZyI6IkVTMjU2IiwiandrIjp7Imt0eSI6IkVDIiwieCI6Imw4dEZyaHgtMzR0VjNoUklDUkRZOXpDa0RscEJo",
        "RjQyVVFVZldWQVdCRnMiLCJ5IjoiOVZFNGpmX09rX282NHpiVFRsY3VOSmFqSG10NnY5VERWclUwQ2R2R1JEQSIsImNydiI6IlAtMjU2In19.eyJq",
        "dGkiOiJlMWozVl9iS2ljOC1MQUVCIiwiaHRtIjoiR0VUIiwiaHR1IjoiaHR0cHM6Ly9yZXNvdXJjZS5leGFtcGxlLm9yZy9wcm90ZWN0ZWRyZXNv",
        "dXJjZSIsImlhdCI6MTU2MjI2MjYxOCwiYXRoIjoiZlVIeU8ycjJaM0RaNTNFc05yV0JiMHhXWG9hTnk1OUlpS0NBcWtzbVFFbyJ9.2oW9RP35yRq",
        "zhrtNP86L-Ey71EOptxRimPPToA1plemAgR6pxHF8y6-yqyVnmcw6Fy1dqd-jfxSYoMxhAJpLjA"
    );
    let constraint = SenderConstraint::new(Backend::default()).with_dpop(Dpop::new()).unwrap();
    let cnf = br#"{"cnf":{"jkt":"0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"}}"#;
    let confirmation = constraint.confirmation(&JsonObject::parse(cnf.to_vec()).unwrap()).unwrap();
    let bases = ["https://resource.example.org".into()];
    let shown = Presentation::new("GET", &bases, "/protectedresource").with_proof(ProofHeader::One(proof));
    let sent = Credential::new(CredentialKind::Dpop, token).with_presentation(&shown);
    let then = UnixSeconds::new(1_562_262_618);
    let ask = |now| constraint.check_now(confirmation.as_ref(), sent, now).unwrap();
    assert_eq!(reject(ask(NOW)), fault(ProofFault::Time));
    assert!(ask(then).is_ok());
    assert_eq!(reject(ask(then)), fault(ProofFault::Replayed));
}

#[test]
fn reports_settings_that_cannot_work_when_built() {
    let fixture = Fixture::new();
    let build = |dpop: Dpop| fixture.plain().with_dpop(dpop).build();
    for bad in [
        Dpop::new().with_lifetime(Duration::ZERO),
        Dpop::new().with_lifetime(Duration::from_secs(301)),
        Dpop::new().with_skew(Duration::from_secs(61)),
        Dpop::new().with_algorithms([]),
        Dpop::new().with_algorithms([Algorithm::Es256, Algorithm::Hs256]),
        Dpop::new().with_nonces(NonceKeys::new(Secret::from("short"))),
    ] {
        assert!(build(bad.clone()).is_err(), "{bad:?}");
    }
    let other = || Jwt::issuer("https://other.example").audience("orders").with_keys(fixture.issuer.static_keys());
    assert!(fixture.plain().with_dpop(Dpop::new()).also(other().with_dpop(Dpop::new())).build().is_err());
    let joined = fixture.plain().also(other().with_dpop(Dpop::new())).build().unwrap();
    assert!(joined.accepted_proofs().dpop_algorithms().is_some());
    let token = fixture.token();
    assert!(fixture.ask(&joined, &token, &fixture.proof(&token).sign()).is_ok());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn any_one_byte_change_of_a_good_proof_is_refused(place in any::<prop::sample::Index>(), byte in any::<u8>(), seen in any::<bool>()) {
        let fixture = Fixture::new();
        let verifier = fixture.verifier(Dpop::new());
        let token = fixture.token();
        if seen {
            fixture.ask(&verifier, &token, &fixture.proof(&token).sign()).unwrap();
        }
        let good = fixture.proof(&token).sign();
        let mut changed = good.clone().into_bytes();
        let at = place.index(changed.len());
        changed[at] = byte;
        let header = sekisho_http::dpop_proof([&changed[..]].into_iter());
        let shown = Presentation::new("GET", &fixture.bases, "/orders").with_proof(header);
        let sent = Credential::new(CredentialKind::Dpop, &token).with_presentation(&shown);
        let answer = verifier.authenticate_now(sent, NOW).unwrap();
        prop_assert_eq!(answer.is_ok(), changed == good.as_bytes());
        // And the good one was not used up by it.
        prop_assert_eq!(fixture.ask(&verifier, &token, &good).is_ok(), changed != good.as_bytes());
    }

    #[test]
    fn no_text_is_a_proof(text in "[A-Za-z0-9_.-]{0,200}") {
        let fixture = Fixture::new();
        let verifier = fixture.verifier(Dpop::new());
        let token = fixture.token();
        prop_assert!(fixture.ask(&verifier, &token, &text).is_err());
    }
}
