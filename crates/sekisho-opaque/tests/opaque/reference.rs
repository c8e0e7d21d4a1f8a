//! Handles of our own.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use sekisho_core::json::JsonObject;
use sekisho_core::{
    Authenticate, Claim, Credential, CredentialKind, Failure, FailureKind, Refusal, Reject, SubjectId, UnixSeconds,
};
use sekisho_http::{Checkpoint, HeadParts, Inspection, Presence};
use sekisho_jwt::{Jwt, Verifier};
use sekisho_opaque::{
    MemoryReferenceStore, Opaque, Reference, ReferenceDigest, ReferenceRecord, ReferenceStore, TokenSwap,
};
use sekisho_testkit::{FixedClock, Issuer, reference_store_suite};
use serde_json::{Value, json};

use crate::server::Server;
use crate::support::{AUDIENCE, ISSUER, NOW, Said, active, at, cached, credentials, said};

fn store() -> Arc<MemoryReferenceStore> {
    Arc::new(MemoryReferenceStore::default())
}

fn for_claims(store: &Arc<MemoryReferenceStore>) -> Reference {
    Opaque::reference(Arc::clone(store) as _).issuer(ISSUER).audience(AUDIENCE).with_prefix("shop_").build().unwrap()
}

fn issuer() -> Issuer {
    Issuer::new().with_clock(FixedClock::at(NOW))
}

fn verifier(issuer: &Issuer) -> Verifier {
    Jwt::issuer(ISSUER).audience(AUDIENCE).with_keys(issuer.static_keys()).build().unwrap()
}

fn claims(change: impl FnOnce(&mut Value)) -> JsonObject {
    let mut claims = json!({ "iss": ISSUER, "sub": "u1", "aud": AUDIENCE, "sid": "s1", "exp": at(300).as_secs() });
    change(&mut claims);
    JsonObject::from_serialize(&claims).unwrap()
}

async fn look_up(tokens: &Reference, token: &str, now: UnixSeconds) -> Said {
    said(tokens.look_up(token, now).await)
}

#[tokio::test]
async fn memory_keeps_the_contract_of_stores() {
    reference_store_suite(store(), NOW).await;
}

/// Keeps bytes as a database would, and cannot answer at once.
#[derive(Debug, Default)]
struct Bytes(MemoryReferenceStore);

fn through_bytes(record: &ReferenceRecord) -> ReferenceRecord {
    ReferenceRecord::decode(&record.encode()).unwrap()
}

#[async_trait]
impl ReferenceStore for Bytes {
    async fn insert(
        &self,
        digest: ReferenceDigest,
        record: &ReferenceRecord,
        now: UnixSeconds,
    ) -> Result<bool, Failure> {
        let digest = ReferenceDigest::from_bytes(*digest.as_bytes());
        self.0.insert(digest, &through_bytes(record), now).await
    }

    async fn find(&self, digest: &ReferenceDigest, now: UnixSeconds) -> Result<Option<ReferenceRecord>, Failure> {
        Ok(self.0.find(digest, now).await?.as_ref().map(through_bytes))
    }

    async fn revoke(&self, digest: &ReferenceDigest, now: UnixSeconds) -> Result<bool, Failure> {
        self.0.revoke(digest, now).await
    }

    async fn revoke_subject(&self, subject: &SubjectId, now: UnixSeconds) -> Result<u64, Failure> {
        self.0.revoke_subject(subject, now).await
    }

    async fn revoke_session(&self, issuer: &str, session: &str, now: UnixSeconds) -> Result<u64, Failure> {
        self.0.revoke_session(issuer, session, now).await
    }
}

#[tokio::test]
async fn a_store_of_bytes_keeps_the_contract_too() {
    reference_store_suite(Arc::new(Bytes::default()), NOW).await;
    let tokens = Opaque::reference(Arc::new(Bytes::default())).issuer(ISSUER).audience(AUDIENCE).build().unwrap();
    let token = tokens.issue(claims(|_| ()), NOW).await.unwrap();
    assert!(tokens.authenticate_now(Credential::bearer(token.expose()), NOW).is_none());
    assert_eq!(look_up(&tokens, token.expose(), NOW).await, Said::Yes("u1".to_owned()));
}

/// Finds everybody everywhere.
#[derive(Debug, Default)]
struct Careless(Bytes);

#[async_trait]
impl ReferenceStore for Careless {
    async fn insert(
        &self,
        digest: ReferenceDigest,
        record: &ReferenceRecord,
        now: UnixSeconds,
    ) -> Result<bool, Failure> {
        self.0.insert(digest, record, now).await
    }

    async fn find(&self, digest: &ReferenceDigest, _: UnixSeconds) -> Result<Option<ReferenceRecord>, Failure> {
        self.0.find(digest, UnixSeconds::new(0)).await
    }

    async fn revoke(&self, digest: &ReferenceDigest, now: UnixSeconds) -> Result<bool, Failure> {
        self.0.revoke(digest, now).await
    }

    async fn revoke_subject(&self, subject: &SubjectId, now: UnixSeconds) -> Result<u64, Failure> {
        self.0.revoke_subject(subject, now).await
    }

    async fn revoke_session(&self, issuer: &str, session: &str, now: UnixSeconds) -> Result<u64, Failure> {
        self.0.revoke_session(issuer, session, now).await
    }
}

#[tokio::test]
#[should_panic(expected = "dead in the second of its end")]
async fn a_store_that_forgets_the_time_is_caught() {
    reference_store_suite(Arc::new(Careless::default()), NOW).await;
}

#[tokio::test]
async fn a_careless_store_lets_nobody_in_who_is_dead() {
    let tokens = Opaque::reference(Arc::new(Careless::default())).issuer(ISSUER).audience(AUDIENCE).build().unwrap();
    let token = tokens.issue(claims(|_| ()), NOW).await.unwrap();
    assert_eq!(look_up(&tokens, token.expose(), at(299)).await, Said::Yes("u1".to_owned()));
    assert_eq!(look_up(&tokens, token.expose(), at(300)).await, Said::No(Reject::Inactive));
}

#[tokio::test]
async fn a_handle_is_256_random_bits_behind_its_prefix_and_nowhere_in_the_store() {
    let store = store();
    let tokens = for_claims(&store);
    let mut seen = std::collections::HashSet::new();
    for _ in 0..100 {
        let token = tokens.issue(claims(|_| ()), NOW).await.unwrap();
        let text = token.expose().to_owned();
        let random = text.strip_prefix("shop_").unwrap();
        assert_eq!(base64_simd::URL_SAFE_NO_PAD.decode_to_vec(random).unwrap().len(), 32);
        let answer = tokens.authenticate_now(Credential::bearer(&text), NOW).unwrap().unwrap();
        assert_eq!(answer.subject(), "u1");
        assert_eq!(format!("{token:?}"), "ReferenceToken(Secret(..))");
        assert!(seen.insert(text));
    }
    assert!(!format!("{store:?} {tokens:?}").contains("u1"));
}

#[tokio::test]
async fn whatever_is_not_the_very_handle_is_nothing() {
    let tokens = for_claims(&store());
    let token = tokens.issue(claims(|_| ()), NOW).await.unwrap();
    let good = token.expose();
    let random = good.strip_prefix("shop_").unwrap();
    let mut other = random.to_owned();
    let first = if other.starts_with('A') { "B" } else { "A" };
    other.replace_range(..1, first);
    // The last character of 43 carries two bits that must be zero.
    let lax = |text: &str| {
        let mut bytes = text.as_bytes().to_vec();
        *bytes.last_mut().unwrap() = b'_';
        String::from_utf8(bytes).unwrap()
    };
    for bad in [
        random.to_owned(),
        format!("shop_{random}A"),
        format!("shop_{random}="),
        format!("shop_ {random}"),
        format!("Shop_{random}"),
        format!("shop_shop_{random}"),
        good[..good.len() - 1].to_owned(),
        lax(good),
        String::new(),
        "shop_".to_owned(),
    ] {
        assert!(!tokens.recognizes(Credential::bearer(&bad)), "{bad}");
        assert_eq!(look_up(&tokens, &bad, NOW).await, Said::No(Reject::Malformed), "{bad}");
        assert!(!tokens.revoke(&bad, NOW).await.unwrap(), "{bad}");
    }
    let other = format!("shop_{other}");
    assert!(tokens.recognizes(Credential::bearer(&other)));
    assert_eq!(look_up(&tokens, &other, NOW).await, Said::No(Reject::Inactive));
    assert!(!tokens.recognizes(Credential::new(CredentialKind::Dpop, good)));
    assert!(tokens.recognizes(Credential::new(CredentialKind::Cookie, good)));
    assert_eq!(look_up(&tokens, good, NOW).await, Said::Yes("u1".to_owned()));
}

#[tokio::test]
async fn claims_are_held_to_the_rules_when_issued_and_when_used() {
    let store = store();
    let tokens = for_claims(&store);
    for (change, expected) in [
        (json!({ "aud": "other" }), Reject::Audience),
        (json!({ "iss": "https://other.example" }), Reject::Issuer),
        (json!({ "exp": 1 }), Reject::Expired { by_secs: NOW.as_secs() - 61 }),
        (json!({ "cnf": { "jkt": "x" } }), Reject::ProofRequired),
        (json!({ "sub": "" }), Reject::Invalid(Claim::Subject)),
        (json!({ "typ": "Refresh" }), Reject::TokenUse),
    ] {
        let claims = claims(|claims| claims.as_object_mut().unwrap().extend(change.as_object().unwrap().clone()));
        let refused = tokens.issue(claims, NOW).await;
        assert!(matches!(refused, Err(Refusal::Reject(reject)) if reject == expected), "{change}: {refused:?}");
    }
    let without = claims(|claims| drop(claims.as_object_mut().unwrap().remove("exp")));
    assert!(matches!(tokens.issue(without, NOW).await, Err(Refusal::Reject(Reject::Missing(Claim::Expiry)))));
    // Expired, but within the leeway for clocks: our own token must not be born dead.
    let dying = claims(|claims| claims["exp"] = json!(NOW.as_secs()));
    assert!(matches!(tokens.issue(dying, NOW).await, Err(Refusal::Failure(_))));
    // A store that two services share: the handle of the one is nothing to the other.
    let token = tokens.issue(claims(|_| ()), NOW).await.unwrap();
    let build = |issuer: &str, audience: &str| {
        let start = Opaque::reference(Arc::clone(&store) as _).issuer(issuer).audience(audience);
        start.with_prefix("shop_").build().unwrap()
    };
    assert_eq!(look_up(&build(ISSUER, "billing"), token.expose(), NOW).await, Said::No(Reject::Audience));
    assert_eq!(look_up(&build("https://other.example", AUDIENCE), token.expose(), NOW).await, Said::No(Reject::Issuer));
    assert_eq!(look_up(&tokens, token.expose(), NOW).await, Said::Yes("u1".to_owned()));
}

#[tokio::test]
async fn a_handle_dies_with_its_claims_without_leeway_and_by_each_revocation() {
    let tokens = for_claims(&store());
    let issue = || async { tokens.issue(claims(|_| ()), NOW).await.unwrap() };
    let token = issue().await;
    assert_eq!(look_up(&tokens, token.expose(), at(299)).await, Said::Yes("u1".to_owned()));
    assert_eq!(look_up(&tokens, token.expose(), at(300)).await, Said::No(Reject::Inactive));
    let (one, two, three) = (issue().await, issue().await, issue().await);
    assert!(tokens.revoke(one.expose(), NOW).await.unwrap());
    assert!(!tokens.revoke(one.expose(), NOW).await.unwrap());
    assert_eq!(look_up(&tokens, one.expose(), NOW).await, Said::No(Reject::Inactive));
    assert_eq!(look_up(&tokens, two.expose(), NOW).await, Said::Yes("u1".to_owned()));
    assert_eq!(tokens.revoke_session(ISSUER, "s2", NOW).await.unwrap(), 0);
    // `token`, `two` and `three` are left.
    assert_eq!(tokens.revoke_session(ISSUER, "s1", NOW).await.unwrap(), 3);
    assert_eq!(look_up(&tokens, three.expose(), NOW).await, Said::No(Reject::Inactive));
    let last = issue().await;
    assert_eq!(tokens.revoke_subject(&SubjectId::new(ISSUER, "u2"), NOW).await.unwrap(), 0);
    assert_eq!(tokens.revoke_subject(&SubjectId::new(ISSUER, "u1"), NOW).await.unwrap(), 1);
    assert_eq!(look_up(&tokens, last.expose(), NOW).await, Said::No(Reject::Inactive));
}

#[tokio::test]
async fn stands_in_a_checkpoint_beside_jwts() {
    let issuer = issuer();
    let tokens = for_claims(&store());
    let token = tokens.issue(claims(|_| ()), NOW).await.unwrap();
    let checkpoint = Checkpoint::builder()
        .accept(verifier(&issuer))
        .accept(tokens)
        .with_clock(Arc::new(FixedClock::at(NOW)))
        .build()
        .unwrap();
    for (token, passes) in [
        (token.expose().to_owned(), true),
        (issuer.token().audience(AUDIENCE).sign(), true),
        ("shop_unknown".to_owned(), false),
    ] {
        let authorization = format!("Bearer {token}");
        let headers = [("authorization", authorization.as_bytes())];
        let head = HeadParts { method: "GET", path: "/", headers: &headers };
        let passed = matches!(checkpoint.inspect(&head, Presence::Required), Inspection::Pass(_));
        assert_eq!(passed, passes);
    }
}

#[tokio::test]
async fn a_jwt_is_verified_when_it_goes_in_and_when_it_comes_out() {
    let issuer = issuer();
    let store = store();
    let tokens = Opaque::reference(Arc::clone(&store) as _).verifier(verifier(&issuer)).build().unwrap();
    let jwt = issuer.token().audience(AUDIENCE).claim("sid", "s1").sign();
    let token = tokens.issue_for_jwt(&jwt, NOW).await.unwrap();
    assert!(!token.expose().contains('.'));
    let credential = Credential::bearer(token.expose());
    assert_eq!(tokens.to_jwt(credential, NOW).await.unwrap().expose(), jwt);
    assert_eq!(tokens.to_jwt_now(credential, NOW).unwrap().unwrap().principal().subject(), "u1");
    assert_eq!(look_up(&tokens, token.expose(), NOW).await, Said::Yes("u1".to_owned()));
    for bad in [
        issuer.token().audience("other").sign(),
        Issuer::new().with_clock(FixedClock::at(NOW)).token().audience(AUDIENCE).sign(),
        "ey.ey.x".to_owned(),
        String::new(),
    ] {
        assert!(matches!(tokens.issue_for_jwt(&bad, NOW).await, Err(Refusal::Reject(_))), "{bad}");
    }
    assert_eq!(store.len(), 1);
    // The keys behind it were replaced meanwhile.
    let other = Opaque::reference(Arc::clone(&store) as _).verifier(verifier(&Issuer::new())).build().unwrap();
    assert!(matches!(other.to_jwt(credential, NOW).await, Err(Refusal::Reject(Reject::UnknownKey))));
    assert_eq!(tokens.revoke_session(ISSUER, "s1", NOW).await.unwrap(), 1);
    assert!(matches!(tokens.to_jwt(credential, NOW).await, Err(Refusal::Reject(Reject::Inactive))));
}

#[tokio::test]
async fn kinds_of_content_are_never_taken_for_each_other() {
    let issuer = issuer();
    let store = store();
    let jwts = Opaque::reference(Arc::clone(&store) as _).verifier(verifier(&issuer)).build().unwrap();
    let plain = Opaque::reference(Arc::clone(&store) as _).issuer(ISSUER).audience(AUDIENCE).build().unwrap();
    let for_jwt = jwts.issue_for_jwt(&issuer.token().audience(AUDIENCE).sign(), NOW).await.unwrap();
    let for_claims = plain.issue(claims(|_| ()), NOW).await.unwrap();
    let wrong = Said::Failed(FailureKind::Misconfigured);
    assert_eq!(look_up(&plain, for_jwt.expose(), NOW).await, wrong);
    assert_eq!(look_up(&jwts, for_claims.expose(), NOW).await, wrong);
    assert!(matches!(plain.to_jwt(Credential::bearer(for_claims.expose()), NOW).await, Err(Refusal::Failure(_))));
    assert!(matches!(jwts.issue(claims(|_| ()), NOW).await, Err(Refusal::Failure(_))));
    assert!(matches!(plain.issue_for_jwt("ey.ey.x", NOW).await, Err(Refusal::Failure(_))));
}

#[tokio::test]
async fn a_split_token_is_the_signature_and_the_store_lacks_it() {
    let issuer = issuer();
    let store = store();
    let start = Opaque::reference(Arc::clone(&store) as _).verifier(verifier(&issuer));
    let tokens = start.with_split_tokens().with_prefix("st-").build().unwrap();
    let jwt = issuer.token().audience(AUDIENCE).claim("sid", "s1").sign();
    let token = tokens.issue_for_jwt(&jwt, NOW).await.unwrap();
    let signature = jwt.rsplit('.').next().unwrap();
    assert_eq!(token.expose(), format!("st-{signature}"));
    let credential = Credential::bearer(token.expose());
    assert!(tokens.recognizes(credential));
    assert_eq!(tokens.to_jwt(credential, NOW).await.unwrap().expose(), jwt);
    assert_eq!(tokens.to_jwt_now(credential, NOW).unwrap().unwrap().expose(), jwt);
    // The same JWT, handed out twice.
    assert_eq!(tokens.issue_for_jwt(&jwt, NOW).await.unwrap(), token);
    assert_eq!(store.len(), 1);
    // One bit of the signature changed is another token.
    let mut forged = token.expose().to_owned().into_bytes();
    forged[10] = if forged[10] == b'A' { b'B' } else { b'A' };
    let forged = String::from_utf8(forged).unwrap();
    assert_eq!(look_up(&tokens, &forged, NOW).await, Said::No(Reject::Inactive));
    assert!(!tokens.recognizes(Credential::bearer("st-short")));
    assert_eq!(tokens.revoke_session(ISSUER, "s1", NOW).await.unwrap(), 1);
    assert_eq!(look_up(&tokens, token.expose(), NOW).await, Said::No(Reject::Inactive));
}

/// Cannot be asked.
#[derive(Debug)]
struct Down;

#[async_trait]
impl ReferenceStore for Down {
    async fn insert(&self, _: ReferenceDigest, _: &ReferenceRecord, _: UnixSeconds) -> Result<bool, Failure> {
        Err(Failure::unavailable("the store"))
    }

    async fn find(&self, _: &ReferenceDigest, _: UnixSeconds) -> Result<Option<ReferenceRecord>, Failure> {
        Err(Failure::unavailable("the store"))
    }

    async fn revoke(&self, _: &ReferenceDigest, _: UnixSeconds) -> Result<bool, Failure> {
        Err(Failure::unavailable("the store"))
    }

    async fn revoke_subject(&self, _: &SubjectId, _: UnixSeconds) -> Result<u64, Failure> {
        Err(Failure::unavailable("the store"))
    }

    async fn revoke_session(&self, _: &str, _: &str, _: UnixSeconds) -> Result<u64, Failure> {
        Err(Failure::unavailable("the store"))
    }
}

#[tokio::test]
async fn a_store_that_is_down_is_503_and_nobody_passes() {
    let tokens = Opaque::reference(Arc::new(Down)).issuer(ISSUER).audience(AUDIENCE).build().unwrap();
    let down = Said::Failed(FailureKind::Unavailable);
    assert_eq!(look_up(&tokens, &"A".repeat(43), NOW).await, down);
    assert!(matches!(tokens.issue(claims(|_| ()), NOW).await, Err(Refusal::Failure(_))));
    assert!(tokens.revoke(&"A".repeat(43), NOW).await.is_err());
}

#[test]
fn settings_that_cannot_work_are_refused() {
    let start = || Opaque::reference(store() as Arc<dyn ReferenceStore>);
    let plain = || start().issuer(ISSUER).audience(AUDIENCE);
    for prefix in ["a b", "a.b", "a\n", "ä", &"p".repeat(33), "a=b"] {
        assert!(plain().with_prefix(prefix).build().is_err(), "{prefix:?}");
    }
    assert!(plain().with_split_tokens().build().is_err());
    assert!(plain().with_leeway(Duration::from_secs(301)).build().is_err());
    assert!(start().issuer("").audience(AUDIENCE).build().is_err());
    assert!(start().issuer(ISSUER).audience("").build().is_err());
    assert!(plain().with_prefix("ok_-1").build().is_ok());
    // A rule that would silently not hold.
    let for_jwts = || start().verifier(verifier(&issuer()));
    assert!(for_jwts().build().is_ok());
    assert!(for_jwts().with_audience("other").build().is_err());
    assert!(for_jwts().with_leeway(Duration::ZERO).build().is_err());
}

#[tokio::test]
async fn dpop_is_refused_also_by_whoever_is_asked_without_being_asked_first() {
    let store = store();
    let tokens = for_claims(&store);
    let token = tokens.issue(claims(|_| ()), NOW).await.unwrap();
    let server = Server::start(active()).await;
    let introspection = cached(&server);
    let phantom = Opaque::phantom(server.url(), credentials()).issuer(ISSUER).verifier(verifier(&issuer()));
    let phantom = phantom.build().unwrap();
    let here: [&dyn Authenticate; 3] = [&tokens, &introspection, &phantom];
    let swaps: [&dyn TokenSwap; 2] = [&tokens, &phantom];
    assert!(introspection.authenticate(Credential::bearer(token.expose()), NOW).await.is_ok(), "it is in memory now");
    let credential = Credential::new(CredentialKind::Dpop, token.expose());
    let mut refusals = Vec::new();
    for one in here {
        refusals.push(one.authenticate_now(credential, NOW).unwrap().err());
        refusals.push(one.authenticate(credential, NOW).await.err());
    }
    for one in swaps {
        refusals.push(one.to_jwt_now(credential, NOW).unwrap().err());
        refusals.push(one.to_jwt(credential, NOW).await.err());
    }
    for refusal in refusals {
        assert!(matches!(refusal, Some(Refusal::Reject(Reject::Unrecognized))), "{refusal:?}");
    }
    assert_eq!(server.count(), 1);
}
