//! What a verifier takes and refuses, seen from outside.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use sekisho_core::{Authenticate, Credential, Failure, RevocationCheck};
use sekisho_jwt::jwks::{
    KeyHealth, KeyLife, KeyLookup, KeyQuery, KeyRing, KeySource, SigningKey, StaticKeys, TrustedKey, VerifyingKey,
};
use sekisho_jwt::{
    Algorithm, Backend, CacheLimits, Claim, Jwt, JwtBuilder, Principal, Profile, Refusal, Reject, Signer, Step,
    UnixSeconds, Verifier,
};
use serde_json::{Value, json};

const ISSUER: &str = "https://id.example";
const AUDIENCE: &str = "orders-api";
const NOW: UnixSeconds = UnixSeconds::new(1_800_000_000);

/// One key that can be withdrawn, and a count of the questions.
#[derive(Debug)]
struct OneKey {
    key: TrustedKey,
    asked: AtomicUsize,
}

#[async_trait::async_trait]
impl KeySource for OneKey {
    fn find(&self, query: KeyQuery<'_>, now: UnixSeconds) -> KeyLookup {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let fits =
            self.key.key().fits(query.algorithm) && query.kid.is_none_or(|kid| Some(kid) == self.key.key().kid());
        if fits && self.key.life().is_live(now) {
            KeyLookup::Found(sekisho_jwt::jwks::Candidates::One(self.key.clone()))
        } else {
            KeyLookup::Unknown
        }
    }

    async fn fetch(&self, query: KeyQuery<'_>, now: UnixSeconds) -> KeyLookup {
        self.find(query, now)
    }

    async fn fetch_anew(&self, query: KeyQuery<'_>, now: UnixSeconds) -> KeyLookup {
        self.fetch(query, now).await
    }

    fn health(&self, _: UnixSeconds) -> KeyHealth {
        KeyHealth::Fresh { keys: 1 }
    }
}

struct Fixture {
    signing: SigningKey,
    source: Arc<OneKey>,
    life: Arc<KeyLife>,
}

impl Fixture {
    fn new() -> Self {
        Self::with_algorithm(Algorithm::Es256)
    }

    fn with_algorithm(algorithm: Algorithm) -> Self {
        let signing = SigningKey::generate(Backend::default(), algorithm).unwrap();
        let life = Arc::new(KeyLife::forever());
        let key = TrustedKey::new(signing.verifying_key(), Arc::clone(&life));
        Self { signing, source: Arc::new(OneKey { key, asked: AtomicUsize::new(0) }), life }
    }

    fn builder(&self) -> JwtBuilder {
        Jwt::issuer(ISSUER).audience(AUDIENCE).with_keys(Arc::clone(&self.source))
    }

    fn verifier(&self) -> Verifier {
        self.builder().build().unwrap()
    }

    fn sign(&self, claims: &Value) -> String {
        Signer::new(self.signing.clone()).sign(claims).unwrap()
    }

    /// Signs good claims with `changes` laid over them; `null` takes a claim out.
    fn token(&self, changes: Value) -> String {
        self.sign(&claims(changes))
    }

    fn asked(&self) -> usize {
        self.source.asked.load(Ordering::SeqCst)
    }
}

fn claims(changes: Value) -> Value {
    let mut claims = json!({
        "iss": ISSUER, "aud": AUDIENCE, "sub": "alice", "exp": NOW.as_secs() + 300, "iat": NOW.as_secs(), "scope": "orders:read orders:write"
    });
    for (name, value) in changes.as_object().unwrap() {
        if value == &json!("REMOVE") {
            claims.as_object_mut().unwrap().remove(name);
        } else {
            claims.as_object_mut().unwrap().insert(name.clone(), value.clone());
        }
    }
    claims
}

fn answer(verifier: &Verifier, token: &str) -> Result<Principal, Reject> {
    answer_at(verifier, token, NOW)
}

fn answer_at(verifier: &Verifier, token: &str, now: UnixSeconds) -> Result<Principal, Reject> {
    match verifier.verify_now(token, now).expect("no fetch is needed") {
        Ok(principal) => Ok(principal.into_inner()),
        Err(Refusal::Reject(reject)) => Err(reject),
        Err(Refusal::Failure(failure)) => panic!("{failure}"),
    }
}

#[test]
fn accepts_a_good_token_and_says_who_it_is() {
    let fixture = Fixture::new();
    let principal = answer(&fixture.verifier(), &fixture.token(json!({"client_id": "shop"}))).unwrap();
    assert_eq!(principal.id().to_string(), "alice@https://id.example");
    assert_eq!(principal.client(), Some("shop"));
    assert!(principal.has_scope("orders:write") && !principal.has_scope("orders"));
    assert_eq!(principal.expires_at(), Some(NOW.saturating_add(Duration::from_secs(300))));
}

#[tokio::test]
async fn reads_the_callers_own_type() {
    #[derive(serde::Deserialize)]
    struct Mine {
        department: String,
    }
    let fixture = Fixture::new();
    let verifier = fixture.verifier();
    let token = fixture.token(json!({"department": "books"}));
    assert_eq!(verifier.verify_as::<Mine>(&token, NOW).await.unwrap().custom().department, "books");
    let other = fixture.token(json!({"department": 7}));
    let refusal = verifier.verify_as::<Mine>(&other, NOW).await.err().unwrap();
    assert!(matches!(refusal, Refusal::Reject(Reject::ClaimsType)));
}

#[test]
fn refuses_each_claim_that_is_absent_or_of_another_type() {
    let fixture = Fixture::new();
    let verifier = fixture.verifier();
    let remove = || json!("REMOVE");
    let wrong = [
        json!(42),
        json!({}),
        json!([1, 2]),
        json!(null),
        json!(true),
        json!(["orders-api", 1]),
        json!([["orders-api"]]),
    ];
    for value in &wrong {
        assert_eq!(
            answer(&verifier, &fixture.token(json!({"aud": value}))).err(),
            Some(Reject::Invalid(Claim::Audience)),
            "aud {value}"
        );
        assert_eq!(
            answer(&verifier, &fixture.token(json!({"iss": value}))).err(),
            Some(Reject::Invalid(Claim::Issuer)),
            "iss {value}"
        );
        assert_eq!(
            answer(&verifier, &fixture.token(json!({"sub": value}))).err(),
            Some(Reject::Invalid(Claim::Subject)),
            "sub {value}"
        );
    }
    for (name, claim) in
        [("iss", Claim::Issuer), ("aud", Claim::Audience), ("sub", Claim::Subject), ("exp", Claim::Expiry)]
    {
        let token = fixture.token(json!({ name: remove() }));
        assert_eq!(answer(&verifier, &token).err(), Some(Reject::Missing(claim)), "{name}");
    }
    for value in [
        json!("1800000300"),
        json!("never"),
        json!(null),
        json!(true),
        json!([1]),
        json!({}),
        json!(-1),
        json!(1e18),
        json!(u64::MAX),
    ] {
        for (name, claim) in [("exp", Claim::Expiry), ("nbf", Claim::NotBefore), ("iat", Claim::IssuedAt)] {
            let token = fixture.token(json!({ name: value }));
            assert_eq!(answer(&verifier, &token).err(), Some(Reject::Invalid(claim)), "{name} {value}");
        }
    }
}

#[test]
fn compares_issuer_and_audience_byte_for_byte() {
    let fixture = Fixture::new();
    let verifier = fixture.verifier();
    for aud in ["orders-api2", "my-orders-api", "ORDERS-API", "orders-api ", "", "orders"] {
        assert_eq!(answer(&verifier, &fixture.token(json!({"aud": aud}))).err(), Some(Reject::Audience), "{aud}");
        assert_eq!(answer(&verifier, &fixture.token(json!({"aud": [aud]}))).err(), Some(Reject::Audience), "[{aud}]");
    }
    assert_eq!(answer(&verifier, &fixture.token(json!({"aud": []}))).err(), Some(Reject::Audience));
    assert!(answer(&verifier, &fixture.token(json!({"aud": ["other", AUDIENCE]}))).is_ok());
    for iss in [
        "https://id.example/",
        "https://ID.example",
        "http://id.example",
        "https://id.example.evil.com",
        "https://id.example ",
    ] {
        assert_eq!(answer(&verifier, &fixture.token(json!({"iss": iss}))).err(), Some(Reject::Issuer), "{iss}");
    }
}

#[test]
fn lives_from_nbf_less_leeway_until_just_before_exp_plus_leeway() {
    let fixture = Fixture::new();
    let verifier = fixture.builder().without_cache().build().unwrap();
    let now = NOW.as_secs();
    let at = |changes: Value| answer(&verifier, &fixture.token(changes));
    assert!(at(json!({"exp": now - 59})).is_ok());
    assert_eq!(at(json!({"exp": now - 60})).err(), Some(Reject::Expired { by_secs: 0 }));
    assert_eq!(at(json!({"exp": now - 100})).err(), Some(Reject::Expired { by_secs: 40 }));
    assert!(at(json!({"nbf": now + 60})).is_ok());
    assert_eq!(at(json!({"nbf": now + 61})).err(), Some(Reject::NotYetValid { by_secs: 1 }));
    assert_eq!(at(json!({"iat": now + 86_400})).err(), Some(Reject::IssuedInFuture { by_secs: 86_340 }));
    assert!(at(json!({"exp": now as f64 + 1.5})).is_ok());
}

#[test]
fn refuses_sender_constrained_tokens() {
    let fixture = Fixture::new();
    let verifier = fixture.verifier();
    for (cnf, expected) in [
        (json!({"jkt": "x"}), Reject::ProofRequired),
        (json!({"x5t#S256": "x"}), Reject::ProofRequired),
        (json!({"jwk": {}}), Reject::Confirmation),
        (json!({}), Reject::Confirmation),
        (json!("jkt"), Reject::Invalid(Claim::Confirmation)),
        (json!(null), Reject::Invalid(Claim::Confirmation)),
    ] {
        assert_eq!(answer(&verifier, &fixture.token(json!({ "cnf": cnf }))).err(), Some(expected), "{cnf}");
    }
}

#[test]
fn roles_come_only_from_the_configured_places() {
    let fixture = Fixture::new();
    let verifier = fixture.builder().with_profile(Profile::keycloak()).with_client_roles("orders-api").build().unwrap();
    let token = fixture.token(json!({
        "realm_access": {"roles": ["clerk"]},
        "resource_access": {"orders-api": {"roles": ["writer"]}, "other": {"roles": ["admin"]}}
    }));
    let principal = answer(&verifier, &token).unwrap();
    assert!(principal.has_role("writer") && !principal.has_role("admin") && !principal.has_role("clerk"));
    let odd = fixture.token(json!({"resource_access": {"orders-api": {"roles": {"writer": true}}}}));
    assert_eq!(answer(&verifier, &odd).err(), Some(Reject::Invalid(Claim::Custom)));
}

#[test]
fn answers_a_token_seen_before_without_asking_for_its_key() {
    let fixture = Fixture::new();
    let verifier = fixture.verifier();
    let token = fixture.token(json!({}));
    answer(&verifier, &token).unwrap();
    assert_eq!((fixture.asked(), verifier.cached_tokens()), (1, 1));
    answer(&verifier, &token).unwrap();
    assert_eq!(fixture.asked(), 1);

    let without = fixture.builder().without_cache().build().unwrap();
    answer(&without, &token).unwrap();
    answer(&without, &token).unwrap();
    assert_eq!((fixture.asked(), without.cached_tokens()), (3, 0));
}

#[test]
fn a_cached_token_dies_at_its_expiry_and_with_its_key() {
    let fixture = Fixture::new();
    let verifier = fixture.verifier();
    let token = fixture.token(json!({"nbf": NOW.as_secs()}));
    answer(&verifier, &token).unwrap();
    let late = NOW.saturating_add(Duration::from_secs(360));
    assert_eq!(answer_at(&verifier, &token, late).err(), Some(Reject::Expired { by_secs: 0 }));
    answer(&verifier, &token).unwrap();
    let early = NOW.saturating_sub(Duration::from_secs(61));
    assert_eq!(answer_at(&verifier, &token, early).err(), Some(Reject::NotYetValid { by_secs: 1 }));
    answer(&verifier, &token).unwrap();
    fixture.life.end();
    assert_eq!(answer(&verifier, &token).err(), Some(Reject::UnknownKey));
    assert_eq!(verifier.cached_tokens(), 0);
}

#[test]
fn another_token_with_the_tail_of_a_cached_one_is_another_token() {
    let fixture = Fixture::new();
    let verifier = fixture.verifier();
    let token = fixture.token(json!({}));
    answer(&verifier, &token).unwrap();
    let mut parts = token.split('.');
    let (header, _, signature) = (parts.next().unwrap(), parts.next().unwrap(), parts.next().unwrap());
    let payload = fixture.token(json!({"sub": "mallory"}));
    let forged = format!("{header}.{}.{signature}", payload.split('.').nth(1).unwrap());
    assert_eq!(answer(&verifier, &forged).err(), Some(Reject::Signature));
}

#[test]
fn the_cache_holds_no_more_than_its_bounds() {
    let fixture = Fixture::with_algorithm(Algorithm::Ed25519);
    let verifier = fixture.builder().with_cache(CacheLimits::new(100, 1 << 20)).build().unwrap();
    let small = fixture.builder().with_cache(CacheLimits::new(100_000, 64 << 10)).build().unwrap();
    for number in 0..1_000 {
        let token = fixture.token(json!({"jti": number.to_string()}));
        answer(&verifier, &token).unwrap();
        answer(&small, &token).unwrap();
    }
    assert!((1..=100).contains(&verifier.cached_tokens()), "{}", verifier.cached_tokens());
    assert!((1..=120).contains(&small.cached_tokens()), "{}", small.cached_tokens());
}

#[test]
fn revocation_is_asked_for_a_cached_token_too() {
    #[derive(Default)]
    struct Switch {
        revoked: AtomicBool,
        broken: AtomicBool,
    }
    impl RevocationCheck for Switch {
        fn is_revoked(&self, _: &Principal, _: UnixSeconds) -> Result<bool, Failure> {
            if self.broken.load(Ordering::SeqCst) {
                return Err(Failure::unavailable("the revocation list is too old"));
            }
            Ok(self.revoked.load(Ordering::SeqCst))
        }
    }
    let fixture = Fixture::new();
    let switch = Arc::new(Switch::default());
    let verifier = fixture.builder().with_revocation(Arc::clone(&switch) as _).build().unwrap();
    let token = fixture.token(json!({}));
    answer(&verifier, &token).unwrap();
    switch.revoked.store(true, Ordering::SeqCst);
    assert_eq!(answer(&verifier, &token).err(), Some(Reject::Revoked));
    switch.broken.store(true, Ordering::SeqCst);
    assert!(matches!(verifier.verify_now(&token, NOW), Some(Err(Refusal::Failure(_)))));
}

#[test]
fn several_issuers_keep_to_their_own_keys_and_audiences() {
    let (one, two) = (Fixture::new(), Fixture::new());
    let other = Jwt::issuer("https://two.example").audience("two-api").with_keys(Arc::clone(&two.source));
    let verifier = one.builder().also(other).build().unwrap();
    assert!(answer(&verifier, &one.token(json!({}))).is_ok());
    let of_two = json!({"iss": "https://two.example", "aud": "two-api"});
    assert!(answer(&verifier, &two.token(of_two.clone())).is_ok());
    // Signed with the right key of the wrong issuer.
    let signature_of_one = one.token(of_two);
    assert!(matches!(answer(&verifier, &signature_of_one).err(), Some(Reject::UnknownKey | Reject::Signature)));
    let wrong_audience = two.token(json!({"iss": "https://two.example"}));
    assert_eq!(answer(&verifier, &wrong_audience).err(), Some(Reject::Audience));
    let (asked_one, asked_two) = (one.asked(), two.asked());
    let stranger = one.token(json!({"iss": "https://evil.example"}));
    assert_eq!(answer(&verifier, &stranger).err(), Some(Reject::Issuer));
    assert_eq!((one.asked(), two.asked()), (asked_one, asked_two), "no key is looked at for a stranger");
}

#[test]
fn refuses_a_configuration_that_cannot_be_meant() {
    let fixture = Fixture::new();
    let fails = |builder: JwtBuilder| builder.build().err().map(|error| error.to_string());
    for (wrong, expected) in [
        (fixture.builder().with_leeway(Duration::from_secs(301)), "leeway"),
        (fixture.builder().with_leeway(Duration::MAX), "leeway"),
        (fixture.builder().with_algorithms([]), "no algorithm"),
        (fixture.builder().with_algorithms([Algorithm::Hs256, Algorithm::Rs256]), "not with both"),
        (fixture.builder().with_max_token_bytes(0), "between 256"),
        (fixture.builder().with_max_token_bytes(1 << 20), "between 256"),
        (fixture.builder().with_audience(""), "audience"),
        (fixture.builder().with_roles_at("roles"), "JSON pointer"),
        (fixture.builder().with_roles_at("/a~2"), "JSON pointer"),
        (fixture.builder().with_cache(CacheLimits::new(0, 0)), "room"),
        (fixture.builder().also(fixture.builder()), "twice"),
        (Jwt::issuer("").audience("a").with_keys(Arc::clone(&fixture.source)), "issuer"),
        (Jwt::issuer("https://a\r\nb").audience("a").with_keys(Arc::clone(&fixture.source)), "issuer"),
    ] {
        let message = fails(wrong).unwrap_or_default();
        assert!(message.contains(expected), "{expected}: {message}");
    }
    assert!(fails(Jwt::issuer("no url").audience("a")).is_some());
}

#[test]
fn a_signer_follows_its_rings_rotation() {
    let first = SigningKey::generate(Backend::default(), Algorithm::Ed25519).unwrap();
    let second = SigningKey::generate(Backend::default(), Algorithm::Ed25519).unwrap();
    let keys = StaticKeys::new([first.verifying_key(), second.verifying_key()]);
    let verifier = Jwt::issuer(ISSUER).audience(AUDIENCE).with_keys(keys).build().unwrap();
    let ring = Arc::new(KeyRing::new(first.clone()).with_lead(Duration::ZERO));
    let signer = Signer::from_ring(Arc::clone(&ring)).with_type("at+jwt");
    let kid = |token: &str| {
        let header = base64_simd::URL_SAFE_NO_PAD.decode_to_vec(token.split('.').next().unwrap()).unwrap();
        serde_json::from_slice::<Value>(&header).unwrap()["kid"].as_str().unwrap().to_owned()
    };
    let before = signer.sign(&claims(json!({}))).unwrap();
    ring.announce(second.clone(), NOW).unwrap();
    ring.rotate(NOW).unwrap();
    let after = signer.sign(&claims(json!({}))).unwrap();
    assert_eq!((kid(&before), kid(&after)), (first.kid().to_owned(), second.kid().to_owned()));
    assert!(answer(&verifier, &before).is_ok() && answer(&verifier, &after).is_ok());
    assert!(signer.sign(&json!(["no", "object"])).is_err());
}

#[test]
fn users_without_a_subject_are_nobody() {
    let fixture = Fixture::new();
    let token = |name: &str| {
        fixture
            .token(json!({"sub": "REMOVE", "azp": "webshop", "sid": "s", "preferred_username": name, "typ": "Bearer"}))
    };
    let lenient = Profile::custom().with_type("at+jwt").with_client_as_subject().build();
    for profile in [Profile::keycloak(), Profile::compatible(), lenient.clone()] {
        let verifier = fixture.builder().with_profile(profile).build().unwrap();
        assert_eq!(answer(&verifier, &token("alice")).err(), Some(Reject::Missing(Claim::Subject)));
    }
    let machine = fixture.token(json!({"sub": "REMOVE", "client_id": "worker"}));
    let verifier = fixture.builder().with_profile(lenient).build().unwrap();
    assert_eq!(answer(&verifier, &machine).unwrap().subject(), "worker");
}

#[test]
fn the_client_is_found_under_other_names_when_told() {
    let fixture = Fixture::new();
    let token = fixture.token(json!({"cid": "okta-app"}));
    assert_eq!(answer(&fixture.verifier(), &token).unwrap().client(), None);
    let verifier = fixture.builder().with_client_claim("cid").build().unwrap();
    assert_eq!(answer(&verifier, &token).unwrap().client(), Some("okta-app"));
    assert_eq!(answer(&verifier, &fixture.token(json!({"cid": 1}))).err(), Some(Reject::Invalid(Claim::Client)));
}

#[test]
fn the_stricter_of_two_settings_wins_when_builders_are_put_together() {
    let (one, two) = (Fixture::new(), Fixture::new());
    let other = || Jwt::issuer("https://two.example").audience("two-api").with_keys(Arc::clone(&two.source));
    let limits = CacheLimits::default();
    for builder in [
        one.builder().with_cache(limits).also(other().without_cache()),
        one.builder().without_cache().also(other().with_cache(limits)),
    ] {
        let verifier = builder.build().unwrap();
        answer(&verifier, &one.token(json!({}))).unwrap();
        assert_eq!(verifier.cached_tokens(), 0);
    }
    let clock = || Arc::new(sekisho_core::SystemClock);
    let conflict = one.builder().with_clock(clock()).also(other().with_clock(clock()));
    assert!(conflict.build().unwrap_err().to_string().contains("clock"));
}

#[test]
fn a_token_of_many_roles_weighs_what_it_costs() {
    let fixture = Fixture::with_algorithm(Algorithm::Ed25519);
    let roles = vec!["a"; 1_000];
    let build = |limit| {
        fixture
            .builder()
            .with_max_token_bytes(65_536)
            .with_roles_at("/roles")
            .with_roles_at("/more")
            .with_cache(CacheLimits::new(1_000, limit))
            .build()
            .unwrap()
    };
    // Two thousand roles cost above 64 KiB in memory, however short the token is.
    let (small, large) = (build(64 << 10), build(4 << 20));
    let token = fixture.token(json!({"roles": roles, "more": roles}));
    answer(&small, &token).unwrap();
    answer(&large, &token).unwrap();
    assert_eq!((small.cached_tokens(), large.cached_tokens()), (0, 1));
}

#[test]
fn an_algorithm_outside_the_allow_list_is_refused_before_its_key_is_looked_at() {
    let fixture = Fixture::new();
    let verifier = fixture.builder().with_algorithms([Algorithm::Rs256]).build().unwrap();
    assert_eq!(answer(&verifier, &fixture.token(json!({}))).err(), Some(Reject::Algorithm));
    assert_eq!(fixture.asked(), 0);
}

#[test]
fn a_profile_can_insist_on_a_key_id_and_let_the_client_stand_in_for_the_audience() {
    let fixture = Fixture::new();
    let header = |json: Value| base64_simd::URL_SAFE_NO_PAD.encode_to_string(json.to_string());
    let nameless = {
        let input = format!("{}.{}", header(json!({ "alg": "ES256", "typ": "JWT" })), header(claims(json!({}))));
        let signature = fixture.signing.sign(input.as_bytes()).unwrap();
        format!("{input}.{}", base64_simd::URL_SAFE_NO_PAD.encode_to_string(signature))
    };
    assert!(answer(&fixture.verifier(), &nameless).is_ok());
    let profile = Profile::custom().with_any_type().with_required_key_id().with_client_as_audience();
    let strict = fixture.builder().with_profile(profile).build().unwrap();
    assert_eq!(answer(&strict, &nameless), Err(Reject::UnknownKey));
    let by_client = fixture.token(json!({ "aud": "REMOVE", "client_id": AUDIENCE }));
    assert_eq!(answer(&strict, &by_client).map(|caller| caller.subject().to_owned()), Ok("alice".to_owned()));
    let other = fixture.token(json!({ "aud": "elsewhere", "client_id": AUDIENCE }));
    assert_eq!(answer(&strict, &other), Err(Reject::Audience));
    let neither = fixture.token(json!({ "aud": "REMOVE", "client_id": "REMOVE" }));
    assert_eq!(answer(&strict, &neither), Err(Reject::Missing(Claim::Audience)));
}

#[test]
fn a_shared_secret_is_taken_only_when_asked_for() {
    let secret = [7_u8; 32];
    let key = VerifyingKey::hmac(Backend::default(), Algorithm::Hs256, &secret).unwrap();
    let source = Arc::new(OneKey { key: TrustedKey::forever(key), asked: AtomicUsize::new(0) });
    let signing = SigningKey::hmac(Backend::default(), Algorithm::Hs256, &secret).unwrap();
    let header = json!({"alg": "HS256"}).to_string();
    let encode = |text: &str| base64_simd::URL_SAFE_NO_PAD.encode_to_string(text);
    let input = format!("{}.{}", encode(&header), encode(&claims(json!({})).to_string()));
    let signature = signing.sign(input.as_bytes()).unwrap();
    let token = format!("{input}.{}", base64_simd::URL_SAFE_NO_PAD.encode_to_string(signature));
    let builder = || Jwt::issuer(ISSUER).audience(AUDIENCE).with_keys(Arc::clone(&source));
    assert_eq!(answer(&builder().build().unwrap(), &token).err(), Some(Reject::Algorithm));
    assert!(answer(&builder().with_algorithms([Algorithm::Hs256]).build().unwrap(), &token).is_ok());
}

#[tokio::test]
async fn explains_where_a_token_fails_without_telling_its_secrets() {
    let fixture = Fixture::new();
    let verifier = fixture.verifier();
    let good = fixture.token(json!({}));
    let trace = verifier.explain(&good, NOW).await;
    assert!(trace.result().is_ok() && trace.steps().iter().all(sekisho_jwt::StepOutcome::passed));
    assert_eq!(verifier.cached_tokens(), 0, "an explanation does not fill the cache");
    assert!(!format!("{trace:?}").contains("alice"));

    let late = verifier.explain(&good, NOW.saturating_add(Duration::from_secs(1000))).await;
    let last = late.steps().last().unwrap();
    assert_eq!((last.step(), last.passed(), last.detail()), (Step::Expiry, false, "expired 640 s ago"));
    let text = late.to_string();
    assert!(text.contains("NO expiry") && text.ends_with("refused: expired 640 s ago"), "{text}");
    assert!(!text.contains("alice") && !text.contains(good.split('.').nth(2).unwrap()), "{text}");
    for hostile in ["", "a.b.c", "\u{202e}.\r\n.x", &"x".repeat(100_000)] {
        let trace = verifier.explain(hostile, NOW).await;
        assert!(trace.result().is_err());
        assert!(!trace.to_string().contains("\u{202e}"));
    }
}

#[test]
fn recognizes_what_looks_like_a_token_and_nothing_else() {
    let verifier = Fixture::new().verifier();
    assert!(verifier.recognizes(Credential::bearer("eyJh.eyJh.c2ln")));
    assert!(verifier.recognizes(Credential::bearer("ewog.eyJh.c2ln")), "white space after the brace");
    for other in ["", "opaque", "a.b.c", "eyJh.eyJh", "eyJh.a.b.c.d", "eyJh....."] {
        assert!(!verifier.recognizes(Credential::bearer(other)), "{other}");
    }
}

#[test]
fn debug_of_everything_shows_no_claim_and_no_token() {
    let fixture = Fixture::new();
    let verifier = fixture.verifier();
    let token = fixture.token(json!({"email": "alice@shop.example"}));
    let principal = verifier.verify_now(&token, NOW).unwrap().unwrap();
    let text = format!("{verifier:?} {principal:?} {:?}", fixture.builder());
    assert!(!text.contains("alice@shop.example") && !text.contains(&token[..30]), "{text}");
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(2_000))]

    #[test]
    fn any_one_byte_change_of_a_good_token_is_refused(place in 0_usize..10_000, byte in 0_u8..128) {
        thread_local! {
            static GOOD: (Verifier, String) = {
                let fixture = Fixture::with_algorithm(Algorithm::Ed25519);
                (fixture.verifier(), fixture.token(json!({})))
            };
        }
        GOOD.with(|(verifier, token)| {
            let mut bytes = token.clone().into_bytes();
            let place = place % bytes.len();
            if bytes[place] == byte {
                return;
            }
            bytes[place] = byte;
            let changed = String::from_utf8(bytes).unwrap();
            assert!(answer(verifier, token).is_ok());
            assert!(answer(verifier, &changed).is_err(), "byte {place} to {byte}");
        });
    }
}
