//! Tokens that the provider says are bound to a key or a certificate.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use sekisho_core::{
    AcceptedProofs, Authenticate, CertificateForm, Confirmation, Credential, CredentialKind, Failure, Occurrence,
    OneTimeUse, Presentation, ProofFault, ProofHeader, Reject, ReplayGuard, Secret, ShownCertificate, UnixSeconds,
};
use sekisho_http::Checkpoint;
use sekisho_jwt::{Dpop, Jwt, MemoryReplayGuard, NonceKeys, Verifier};
use sekisho_opaque::{Introspection, IntrospectionBuilder, MemoryReferenceStore, Opaque, TokenSwap};
use sekisho_testkit::{DpopKey, FixedClock, Issuer};
use serde_json::json;

use crate::server::{Reply, Server};
use crate::support::{
    AUDIENCE, ISSUER, NOW, Said, TOKEN, active, active_with, ask, ask_now, at, credentials, introspect, said, yes,
};

const URL: &str = "https://api.example/orders";

/// Is a provider that knows one bound token, a client with its key, and the service's name outside.
struct Fixture {
    server: Server,
    key: DpopKey,
    bases: Vec<Box<str>>,
}

impl Fixture {
    async fn new() -> Self {
        let key = DpopKey::generate().with_clock(FixedClock::at(NOW));
        let server = Server::start(bound_to(&key)).await;
        Self { server, key, bases: vec!["https://api.example".into()] }
    }

    fn cached(&self) -> IntrospectionBuilder {
        introspect(&self.server).cache_for(Duration::from_secs(30))
    }

    fn dpop(&self) -> Introspection {
        self.cached().with_dpop(Dpop::new()).build().unwrap()
    }

    fn proof(&self) -> String {
        self.key.proof("GET", URL).for_token(TOKEN).sign()
    }

    /// Asks as a checkpoint does for `GET /orders`: from memory if that is possible.
    async fn send(&self, service: &Introspection, kind: CredentialKind, proof: ProofHeader<'_>) -> Said {
        let shown = Presentation::new("GET", &self.bases, "/orders").with_proof(proof);
        let credential = Credential::new(kind, TOKEN).with_presentation(&shown);
        said(match service.authenticate_now(credential, NOW) {
            Some(answer) => answer,
            None => service.authenticate(credential, NOW).await,
        })
    }

    async fn prove(&self, service: &Introspection, proof: &str) -> Said {
        self.send(service, CredentialKind::Dpop, ProofHeader::One(proof)).await
    }
}

fn bound_to(key: &DpopKey) -> Reply {
    active_with("cnf", json!({ "jkt": key.thumbprint() }))
}

const fn fault(fault: ProofFault) -> Said {
    Said::No(Reject::InvalidProof(fault))
}

#[tokio::test]
async fn a_bound_token_passes_with_a_fresh_proof_for_each_request() {
    let fixture = Fixture::new().await;
    let service = fixture.dpop();
    for _ in 0..3 {
        assert_eq!(fixture.prove(&service, &fixture.proof()).await, yes());
    }
    assert_eq!((fixture.server.count(), service.cached_tokens()), (1, (1, 0)));
    let proof = fixture.proof();
    let shown = Presentation::new("GET", &fixture.bases, "/orders").with_proof(ProofHeader::One(&proof));
    let credential = Credential::new(CredentialKind::Dpop, TOKEN).with_presentation(&shown);
    let principal = service.authenticate_now(credential, NOW).unwrap().unwrap();
    assert_eq!(principal.confirmation(), Some(&Confirmation::KeyThumbprint(fixture.key.thumbprint().into())));
}

#[tokio::test]
async fn a_bound_token_without_its_proof_is_refused_asked_about_or_remembered() {
    let fixture = Fixture::new().await;
    let service = fixture.dpop();
    for round in 0..2 {
        assert_eq!(service.cached_tokens().0, round);
        // The token alone, by every way in.
        assert_eq!(ask(&service, TOKEN, NOW).await, Said::No(Reject::ProofRequired));
        assert_eq!(ask_now(&service, TOKEN, NOW), Some(Said::No(Reject::ProofRequired)));
        for kind in [CredentialKind::Bearer, CredentialKind::Cookie, CredentialKind::Header] {
            for header in [ProofHeader::Absent, ProofHeader::One(&fixture.proof())] {
                assert_eq!(fixture.send(&service, kind, header).await, Said::No(Reject::ProofRequired), "{kind:?}");
            }
        }
        let absent = fixture.send(&service, CredentialKind::Dpop, ProofHeader::Absent).await;
        assert_eq!(absent, fault(ProofFault::Absent));
        let several = fixture.send(&service, CredentialKind::Dpop, ProofHeader::Malformed).await;
        assert_eq!(several, fault(ProofFault::Several));
        let alone = service.authenticate_now(Credential::new(CredentialKind::Dpop, TOKEN), NOW);
        assert_eq!(alone.map(said), Some(fault(ProofFault::Absent)));
        // Another client's key proves nothing for it, nor does a proof for another request or token.
        let thief = DpopKey::generate().with_clock(FixedClock::at(NOW));
        let stolen = thief.proof("GET", URL).for_token(TOKEN).sign();
        assert_eq!(fixture.prove(&service, &stolen).await, Said::No(Reject::ProofMismatch));
        let elsewhere = fixture.key.proof("POST", URL).for_token(TOKEN).sign();
        assert!(matches!(fixture.prove(&service, &elsewhere).await, Said::No(Reject::InvalidProof(_))));
        let other = fixture.key.proof("GET", URL).for_token("another").sign();
        assert!(matches!(fixture.prove(&service, &other).await, Said::No(_)));
    }
    assert_eq!(fixture.server.count(), 1);
    assert_eq!(fixture.prove(&service, &fixture.proof()).await, yes());
}

#[tokio::test]
async fn a_proof_is_good_once_also_past_the_cache() {
    let fixture = Fixture::new().await;
    let (cached, uncached) = (fixture.dpop(), introspect(&fixture.server).with_dpop(Dpop::new()).build().unwrap());
    for service in [cached, uncached] {
        let proof = fixture.proof();
        assert_eq!(fixture.prove(&service, &proof).await, yes());
        assert_eq!(fixture.prove(&service, &proof).await, fault(ProofFault::Replayed));
        service.purge(TOKEN);
        assert_eq!(fixture.prove(&service, &proof).await, fault(ProofFault::Replayed));
        // Requests at one time, with one proof between them: they share the question and not the answer.
        let proof = fixture.proof();
        service.purge(TOKEN);
        let answers = futures_util::future::join_all((0..8).map(|_| fixture.prove(&service, &proof))).await;
        assert_eq!(answers.iter().filter(|said| **said == yes()).count(), 1, "{answers:?}");
    }
}

#[tokio::test]
async fn what_was_not_switched_on_is_refused_as_before() {
    let fixture = Fixture::new().await;
    let plain = fixture.cached().build().unwrap();
    let certificates = fixture.cached().with_certificate_binding().build().unwrap();
    for service in [&plain, &certificates] {
        assert_eq!(ask(service, TOKEN, NOW).await, Said::No(Reject::ProofRequired));
        // The scheme itself is not taken here, whatever comes with it.
        assert_eq!(fixture.prove(service, &fixture.proof()).await, Said::No(Reject::Unrecognized));
        assert!(!service.recognizes(Credential::new(CredentialKind::Dpop, TOKEN)));
        assert_eq!(service.proof_nonce(NOW), None);
    }
    assert_eq!(plain.accepted_proofs(), AcceptedProofs::none());
    assert_eq!(certificates.accepted_proofs(), AcceptedProofs::none().with_certificates());
    assert!(fixture.dpop().recognizes(Credential::new(CredentialKind::Dpop, TOKEN)));
    // A JWT is another's, however it is sent.
    let jwt = Credential::new(CredentialKind::Dpop, "eyJhbGciOiJSUzI1NiJ9.e30.c2ln");
    assert!(!fixture.dpop().recognizes(jwt));
}

#[tokio::test]
async fn a_token_that_is_not_bound_is_not_taken_for_one() {
    let fixture = Fixture::new().await;
    fixture.server.set(active());
    let (lax, strict) = (fixture.dpop(), fixture.cached().with_dpop(Dpop::new().requiring_proof()).build().unwrap());
    assert_eq!(ask(&lax, TOKEN, NOW).await, yes());
    assert_eq!(fixture.prove(&lax, &fixture.proof()).await, Said::No(Reject::Unbound));
    assert_eq!(ask(&strict, TOKEN, NOW).await, Said::No(Reject::Unbound));
    assert_eq!(ask_now(&strict, TOKEN, NOW), Some(Said::No(Reject::Unbound)));
    assert!(strict.accepted_proofs().requires_dpop() && !lax.accepted_proofs().requires_dpop());
    // The provider's mark alone binds nothing.
    fixture.server.set(active_with("token_type", "DPoP"));
    lax.purge(TOKEN);
    assert_eq!(fixture.prove(&lax, &fixture.proof()).await, Said::No(Reject::ProofRequired));
}

#[tokio::test]
async fn a_binding_that_changes_at_the_provider_counts_from_the_next_question() {
    let fixture = Fixture::new().await;
    let service = fixture.dpop();
    assert_eq!(fixture.prove(&service, &fixture.proof()).await, yes());
    let other = DpopKey::generate().with_clock(FixedClock::at(NOW));
    fixture.server.set(bound_to(&other));
    service.purge(TOKEN);
    assert_eq!(fixture.prove(&service, &fixture.proof()).await, Said::No(Reject::ProofMismatch));
    assert_eq!(fixture.prove(&service, &other.proof("GET", URL).for_token(TOKEN).sign()).await, yes());
}

#[tokio::test]
async fn a_certificate_must_be_the_one_for_each_request() {
    let fixture = Fixture::new().await;
    // SHA-256 of `certificate`: nothing of it is read.
    let thumbprint = "A9Zt0Ig1wco_EozOrNHzGslBYwlrIPRFroQoW8CDLXI";
    let der = |bytes| ShownCertificate::new(CertificateForm::Der, bytes);
    let (right, wrong) = (der(b"certificate".as_slice()), der(b"x"));
    fixture.server.set(active_with("cnf", json!({ "x5t#S256": thumbprint })));
    let service = fixture.cached().with_certificate_binding().build().unwrap();
    let sent = async |kind, certificate: Option<ShownCertificate<'_>>| {
        let shown = Presentation::new("GET", &fixture.bases, "/orders");
        let shown = match certificate {
            Some(certificate) => shown.with_certificate(certificate),
            None => shown,
        };
        let credential = Credential::new(kind, TOKEN).with_presentation(&shown);
        said(service.authenticate(credential, NOW).await)
    };
    for _ in 0..2 {
        assert_eq!(sent(CredentialKind::Bearer, Some(right)).await, yes());
        assert_eq!(sent(CredentialKind::Bearer, Some(wrong)).await, Said::No(Reject::ProofMismatch));
        assert_eq!(sent(CredentialKind::Bearer, None).await, Said::No(Reject::ProofRequired));
        assert_eq!(sent(CredentialKind::Dpop, Some(right)).await, Said::No(Reject::Unrecognized));
        assert_eq!(ask(&service, TOKEN, NOW).await, Said::No(Reject::ProofRequired));
    }
    assert_eq!(fixture.server.count(), 1);
}

/// A memory of used proofs that is elsewhere.
#[derive(Debug, Default)]
struct Remote(MemoryReplayGuard);

#[async_trait]
impl ReplayGuard for Remote {
    fn is_immediate(&self) -> bool {
        false
    }

    fn insert_now(&self, _: &OneTimeUse, _: UnixSeconds) -> Option<Result<Occurrence, Failure>> {
        None
    }

    async fn insert(&self, once: &OneTimeUse, now: UnixSeconds) -> Result<Occurrence, Failure> {
        tokio::task::yield_now().await;
        self.0.insert(once, now).await
    }
}

#[tokio::test]
async fn a_memory_elsewhere_is_waited_for() {
    let fixture = Fixture::new().await;
    let dpop = Dpop::new().with_replay_guard(Arc::new(Remote::default()));
    let service = fixture.cached().with_dpop(dpop).build().unwrap();
    let proof = fixture.proof();
    assert_eq!(fixture.prove(&service, &proof).await, yes());
    let shown = Presentation::new("GET", &fixture.bases, "/orders").with_proof(ProofHeader::One(&proof));
    let credential = Credential::new(CredentialKind::Dpop, TOKEN).with_presentation(&shown);
    assert!(service.authenticate_now(credential, NOW).is_none());
    assert_eq!(fixture.prove(&service, &proof).await, fault(ProofFault::Replayed));
    assert_eq!(fixture.server.count(), 1);
}

#[tokio::test]
async fn nonces_and_the_public_url_are_the_checkpoints_affair_as_for_jwts() {
    let fixture = Fixture::new().await;
    let nonces = NonceKeys::new(Secret::from("thirty-two bytes, for this test only"));
    let service = fixture.cached().with_dpop(Dpop::new().with_nonces(nonces)).build().unwrap();
    assert_eq!(fixture.prove(&service, &fixture.proof()).await, Said::No(Reject::ProofNonce));
    let nonce = service.proof_nonce(NOW).unwrap();
    let proof = fixture.key.proof("GET", URL).for_token(TOKEN).nonce(&nonce).sign();
    assert_eq!(fixture.prove(&service, &proof).await, yes());
    assert!(service.proof_nonce(at(1)).is_some());
    let message = Checkpoint::builder().accept(service.clone()).build().unwrap_err().to_string();
    assert!(message.contains("with_public_url"), "{message}");
    assert!(Checkpoint::builder().accept(service).with_public_url("https://api.example").build().is_ok());
    // What cannot work is told when it is built.
    assert!(fixture.cached().with_dpop(Dpop::new().with_lifetime(Duration::ZERO)).build().is_err());
}

/// Is an issuer of JWTs that are bound to a key, and what verifies them.
fn bound_jwts() -> (Issuer, DpopKey, Verifier) {
    let (issuer, key) =
        (Issuer::new().with_clock(FixedClock::at(NOW)), DpopKey::generate().with_clock(FixedClock::at(NOW)));
    let jwt = Jwt::issuer(ISSUER).audience(AUDIENCE).with_keys(issuer.static_keys()).with_dpop(Dpop::new());
    let verifier = jwt.with_certificate_binding().build().unwrap();
    (issuer, key, verifier)
}

/// Asks for the JWT of an opaque token for `GET /orders`, and says which it is.
async fn swapped(
    swap: &dyn TokenSwap,
    kind: CredentialKind,
    token: &str,
    proof: ProofHeader<'_>,
) -> Result<String, Said> {
    let bases: [Box<str>; 1] = ["https://api.example".into()];
    let shown = Presentation::new("GET", &bases, "/orders").with_proof(proof);
    let credential = Credential::new(kind, token).with_presentation(&shown);
    let inner = match swap.to_jwt_now(credential, NOW) {
        Some(inner) => inner,
        None => swap.to_jwt(credential, NOW).await,
    };
    inner.map(|inner| inner.expose().to_owned()).map_err(|refusal| said(Err(refusal)))
}

/// What holds for whatever has a bound JWT behind an opaque token.
async fn assert_bound(swap: &dyn TokenSwap, token: &str, jwt: &str, key: &DpopKey) {
    let proof = || key.proof("GET", URL).for_token(token).sign();
    let dpop = CredentialKind::Dpop;
    let required = Err(Said::No(Reject::ProofRequired));
    for round in 0..2 {
        assert_eq!(swapped(swap, CredentialKind::Bearer, token, ProofHeader::Absent).await, required, "{round}");
        assert_eq!(swapped(swap, CredentialKind::Bearer, token, ProofHeader::One(&proof())).await, required);
        assert_eq!(said(swap.authenticate(Credential::bearer(token), NOW).await), Said::No(Reject::ProofRequired));
        let once = proof();
        assert_eq!(swapped(swap, dpop, token, ProofHeader::One(&once)).await, Ok(jwt.to_owned()));
        assert_eq!(swapped(swap, dpop, token, ProofHeader::One(&once)).await, Err(fault(ProofFault::Replayed)));
    }
    let of_the_jwt = key.proof("GET", URL).for_token(jwt).sign();
    assert_eq!(swapped(swap, dpop, token, ProofHeader::One(&of_the_jwt)).await, Err(fault(ProofFault::TokenHash)));
    let stranger = DpopKey::generate().with_clock(FixedClock::at(NOW));
    let strangers = stranger.proof("GET", URL).for_token(token).sign();
    assert_eq!(swapped(swap, dpop, token, ProofHeader::One(&strangers)).await, Err(Said::No(Reject::ProofMismatch)));

    // For a request that was authenticated already.
    let bases: [Box<str>; 1] = ["https://api.example".into()];
    let one = proof();
    let shown = Presentation::new("GET", &bases, "/orders").with_proof(ProofHeader::One(&one));
    let credential = Credential::new(dpop, token).with_presentation(&shown);
    let proven = swap.authenticate(credential, NOW).await.unwrap();
    let inner = swap.to_jwt_for(token, &proven, NOW).await.unwrap();
    assert!(inner.is_bound() && inner.expose() == jwt);
    let named = |subject: &str| sekisho_core::dangerous::PrincipalBuilder::new(ISSUER, subject);
    let refuse = async |proven| said(swap.to_jwt_for(token, &proven, NOW).await.map(|_| panic!("it is let out")));
    let thumbprint = Confirmation::KeyThumbprint(stranger.thumbprint().into());
    let certificate = Confirmation::CertificateThumbprint(key.thumbprint().into());
    let broken = Said::Failed(sekisho_core::FailureKind::BadGateway);
    assert_eq!(refuse(named("u1").build().unwrap()).await, Said::No(Reject::ProofRequired));
    assert_eq!(refuse(named("u1").with_confirmation(thumbprint).build().unwrap()).await, broken);
    assert_eq!(refuse(named("u1").with_confirmation(certificate).build().unwrap()).await, broken);
    let confirmation = proven.confirmation().cloned().unwrap();
    assert_eq!(refuse(named("u2").with_confirmation(confirmation).build().unwrap()).await, broken);
}

#[tokio::test]
async fn a_bound_phantom_token_needs_its_proof_and_the_jwt_goes_on() {
    let (issuer, key, verifier) = bound_jwts();
    let jwt = issuer.token().audience(AUDIENCE).bound_to(&key).sign();
    let server = Server::start(Reply::jwt("application/jwt", &jwt)).await;
    let phantom = || Opaque::phantom(server.url(), credentials()).issuer(ISSUER);
    let swap = phantom().verifier(verifier).cache_for(Duration::from_secs(30)).build().unwrap();
    assert_bound(&swap, TOKEN, &jwt, &key).await;
    assert_eq!(server.count(), 1, "the answer is remembered, the proof is not");
    // Where the verifier takes none, a bound one is refused as before.
    let plain = Jwt::issuer(ISSUER).audience(AUDIENCE).with_keys(issuer.static_keys()).build().unwrap();
    let swap = phantom().verifier(plain).build().unwrap();
    let proof = key.proof("GET", URL).for_token(TOKEN).sign();
    let refused = swapped(&swap, CredentialKind::Bearer, TOKEN, ProofHeader::One(&proof)).await;
    assert_eq!(refused, Err(Said::No(Reject::ProofRequired)));
    let refused = swapped(&swap, CredentialKind::Dpop, TOKEN, ProofHeader::One(&proof)).await;
    assert_eq!(refused, Err(Said::No(Reject::Unrecognized)));
}

#[tokio::test]
async fn a_bound_reference_token_needs_its_proof_whatever_it_stands_for() {
    let (issuer, key, verifier) = bound_jwts();
    let jwt = issuer.token().audience(AUDIENCE).bound_to(&key).sign();
    let store = || Opaque::reference(Arc::new(MemoryReferenceStore::default()));
    for builder in [store().verifier(verifier.clone()), store().verifier(verifier.clone()).with_split_tokens()] {
        let tokens = builder.build().unwrap();
        let token = tokens.issue_for_jwt(&jwt, NOW).await.unwrap();
        assert_bound(&tokens, token.expose(), &jwt, &key).await;
    }
    let plain = Jwt::issuer(ISSUER).audience(AUDIENCE).with_keys(issuer.static_keys()).build().unwrap();
    let tokens = store().verifier(plain).build().unwrap();
    assert_eq!(said(tokens.issue_for_jwt(&jwt, NOW).await.map(|_| panic!("issued"))), Said::No(Reject::ProofRequired));

    let claims = || {
        let claims =
            json!({ "sub": "u1", "aud": AUDIENCE, "exp": NOW.as_secs() + 600, "cnf": { "jkt": key.thumbprint() } });
        sekisho_core::json::JsonObject::parse(claims.to_string().into_bytes()).unwrap()
    };
    let tokens = store().issuer(ISSUER).audience(AUDIENCE).with_dpop(Dpop::new()).build().unwrap();
    let token = tokens.issue(claims(), NOW).await.unwrap();
    assert_eq!(said(tokens.look_up(token.expose(), NOW).await), Said::No(Reject::ProofRequired));
    let bases: [Box<str>; 1] = ["https://api.example".into()];
    for (proof, expected) in [
        (key.proof("GET", URL).for_token(token.expose()).sign(), yes()),
        (key.proof("GET", URL).for_token("another").sign(), fault(ProofFault::TokenHash)),
        (key.proof("POST", URL).for_token(token.expose()).sign(), fault(ProofFault::Method)),
    ] {
        let shown = Presentation::new("GET", &bases, "/orders").with_proof(ProofHeader::One(&proof));
        let credential = Credential::new(CredentialKind::Dpop, token.expose()).with_presentation(&shown);
        assert!(tokens.recognizes(credential));
        assert_eq!(said(tokens.authenticate_now(credential, NOW).unwrap()), expected);
    }
    let tokens = store().issuer(ISSUER).audience(AUDIENCE).build().unwrap();
    assert_eq!(said(tokens.issue(claims(), NOW).await.map(|_| panic!("issued"))), Said::No(Reject::ProofRequired));
    assert!(store().verifier(verifier).with_dpop(Dpop::new()).build().is_err());
}
