//! Group `claims`: claims of the wrong type, value or time, tokens of another kind, answers remembered too long.

use std::sync::Arc;
use std::time::Duration;

use sekisho_jwks::{KeyHealth, KeyLife, KeyLookup, KeyQuery, KeySource, TrustedKey};
use sekisho_jwt::{Algorithm, Claim, Jwt, Profile, Reject, UnixSeconds, Verifier};
use sekisho_tests::{AUDIENCE, House, ISSUER, NOW, accepted, answer, answer_at, changed, claims, refused, text, wait};
use serde_json::{Value, json};

use crate::forge::mac_token;
use crate::key::Remote;

const DATES: [(&str, Claim); 3] = [("exp", Claim::Expiry), ("nbf", Claim::NotBefore), ("iat", Claim::IssuedAt)];

/// Signs honest claims in which one is replaced by raw JSON text.
fn raw(house: &House, name: &str, value: &str) -> String {
    let others = text(&changed(claims(), json!({ name: "REMOVE" })));
    house.sign(text(&house.header()), format!("{{\"{name}\":{value},{}", &others[1..]))
}

fn now(offset: i64) -> u64 {
    NOW.as_secs().checked_add_signed(offset).unwrap()
}

#[test]
fn a087_exp_string() {
    for house in House::all() {
        for (name, claim) in DATES {
            for value in [
                json!("9999999999"),
                json!("99999999999"),
                json!("never"),
                json!("1800000300"),
                json!(""),
                json!("NaN"),
                json!("2099-01-01T00:00:00Z"),
                json!(null),
                json!(true),
                json!(false),
                json!([1_800_000_300]),
                json!({ "value": 1_800_000_300 }),
            ] {
                let token = house.saying(json!({ name: value }));
                assert_eq!(refused(&house.verifier(), &token), Reject::Invalid(claim), "{name} {value}");
            }
        }
    }
}

#[test]
fn a089_exp_float_nan() {
    let house = House::ed25519();
    for (name, claim) in DATES {
        for value in [
            "1e18",
            "-1",
            "-0.5",
            "9223372036854775807",
            "9223372036854775808",
            "18446744073709551615",
            "18446744073709551616",
            "-9223372036854775809",
            "1e308",
            "1e19",
        ] {
            assert_eq!(refused(&house.verifier(), &raw(house, name, value)), Reject::Invalid(claim), "{name} {value}");
        }
        // Beyond what a number can be, or no number at all: not even JSON to us.
        for value in ["1e400", "-1e400", "NaN", "Infinity", "-Infinity", "0x7fffffff", "01", "1.", ".5", "+1"] {
            let reject = refused(&house.verifier(), &raw(house, name, value));
            assert!(
                matches!(reject, Reject::Malformed) || reject == Reject::Invalid(claim),
                "{name} {value}: {reject}"
            );
        }
    }
    // A fraction is a NumericDate (RFC 7519 §2); what is left of the second does not count.
    accepted(&house.verifier(), &raw(house, "exp", &format!("{}.5", now(10))));
    accepted(&house.verifier(), &raw(house, "exp", &format!("{}.5", now(-59))));
    assert!(matches!(
        refused(&house.verifier(), &raw(house, "exp", &format!("{}.5", now(-61)))),
        Reject::Expired { .. }
    ));
    assert!(matches!(refused(&house.verifier(), &raw(house, "exp", "1.5")), Reject::Expired { .. }));
    accepted(&house.verifier(), &raw(house, "exp", "1.8e9"));
}

#[test]
fn a090_exp_missing() {
    for house in House::all() {
        let token = house.saying(json!({ "exp": "REMOVE" }));
        for profile in [Profile::compatible(), Profile::rfc9068(), Profile::keycloak()] {
            let verifier = house.builder().with_profile(profile).build().unwrap();
            assert_eq!(refused(&verifier, &token), Reject::Missing(Claim::Expiry));
        }
        // A name that only looks like it.
        for name in ["EXP", "exp ", "expires_in", "\u{435}xp"] {
            let token = house.saying(json!({ "exp": "REMOVE", name: now(300) }));
            assert_eq!(refused(&house.verifier(), &token), Reject::Missing(Claim::Expiry), "{name}");
        }
    }
}

#[test]
fn a091_exp_boundary() {
    let house = House::ed25519();
    for leeway in [0, 1, 60, 300] {
        let verifier = house.builder().with_leeway(Duration::from_secs(leeway)).build().unwrap();
        let exp = now(100);
        let token = house.saying(json!({ "exp": exp }));
        let at = |instant: u64| answer_at(&verifier, &token, UnixSeconds::new(instant));
        assert!(at(exp - 1).is_ok());
        assert_eq!(at(exp).is_ok(), leeway > 0, "leeway {leeway}");
        if leeway > 0 {
            assert!(at(exp + leeway - 1).is_ok());
        }
        assert_eq!(at(exp + leeway).err(), Some(Reject::Expired { by_secs: 0 }));
        assert_eq!(at(exp + leeway + 1).err(), Some(Reject::Expired { by_secs: 1 }));
        assert!(matches!(at(u64::MAX - 1).err(), Some(Reject::Expired { .. })));
    }
}

#[test]
fn a092_nbf_future() {
    for house in House::all() {
        let nbf = |offset| house.saying(json!({ "nbf": now(offset) }));
        accepted(&house.verifier(), &nbf(60));
        assert_eq!(refused(&house.verifier(), &nbf(61)), Reject::NotYetValid { by_secs: 1 });
        assert_eq!(refused(&house.verifier(), &nbf(600)), Reject::NotYetValid { by_secs: 540 });
        let exact = house.builder().with_leeway(Duration::ZERO).build().unwrap();
        accepted(&exact, &nbf(0));
        assert_eq!(refused(&exact, &nbf(1)), Reject::NotYetValid { by_secs: 1 });
    }
}

#[test]
fn a093_iat_future() {
    // Documented: refused beyond the leeway, and no switch turns that off.
    for house in House::all() {
        let iat = |offset| house.saying(json!({ "iat": now(offset), "exp": now(200_000) }));
        accepted(&house.verifier(), &iat(60));
        assert_eq!(refused(&house.verifier(), &iat(61)), Reject::IssuedInFuture { by_secs: 1 });
        assert_eq!(refused(&house.verifier(), &iat(86_400)), Reject::IssuedInFuture { by_secs: 86_340 });
    }
}

#[test]
fn a094_aud_missing() {
    for house in House::all() {
        let token = house.saying(json!({ "aud": "REMOVE" }));
        assert_eq!(refused(&house.verifier(), &token), Reject::Missing(Claim::Audience));
        let token = house.saying(json!({ "aud": "REMOVE", "client_id": AUDIENCE, "azp": AUDIENCE, "AUD": AUDIENCE }));
        assert_eq!(refused(&house.verifier(), &token), Reject::Missing(Claim::Audience));
    }
}

#[test]
fn a095_aud_empty_array() {
    for house in House::all() {
        for aud in [json!([]), json!([""]), json!("")] {
            assert_eq!(refused(&house.verifier(), &house.saying(json!({ "aud": aud }))), Reject::Audience, "{aud}");
        }
        assert!(house.builder().with_audience("").build().is_err(), "and no empty audience can be configured");
    }
}

#[test]
fn a096_aud_array() {
    for house in House::all() {
        for aud in [json!([AUDIENCE]), json!(["other", AUDIENCE]), json!([AUDIENCE, "other"]), json!(AUDIENCE)] {
            accepted(&house.verifier(), &house.saying(json!({ "aud": aud })));
        }
    }
}

#[test]
fn a097_aud_substring() {
    let house = House::ed25519();
    let keys = sekisho_jwks::StaticKeys::new([house.key.verifying_key()]);
    let verifier = Jwt::issuer(ISSUER).audience("api").with_keys(keys).build().unwrap();
    accepted(&verifier, &house.saying(json!({ "aud": "api" })));
    for aud in [
        "api2",
        "my-api",
        "API",
        "api ",
        " api",
        "ap",
        "api\0",
        "api,other",
        "api other",
        "\u{430}pi",
        "*",
        "https://api",
        "api/",
    ] {
        assert_eq!(refused(&verifier, &house.saying(json!({ "aud": aud }))), Reject::Audience, "{aud:?}");
        assert_eq!(refused(&verifier, &house.saying(json!({ "aud": [aud, "x"] }))), Reject::Audience, "{aud:?}");
    }
}

#[test]
fn a098_aud_number() {
    for house in House::all() {
        for aud in [
            json!(1),
            json!([1]),
            json!([{ "a": 1 }]),
            json!([AUDIENCE, 1]),
            json!([1, AUDIENCE]),
            json!([AUDIENCE, null]),
            json!([[AUDIENCE]]),
            json!({ "aud": AUDIENCE }),
            json!({ AUDIENCE: true }),
            json!(null),
            json!(true),
        ] {
            let reject = refused(&house.verifier(), &house.saying(json!({ "aud": aud })));
            assert_eq!(reject, Reject::Invalid(Claim::Audience), "{aud}");
        }
    }
}

/// Trusts the issuer of the house, and beside it a second one with a key of its own.
fn of_two(house: &House) -> (Verifier, House) {
    let second = House::new(house.key.algorithm());
    let keys = sekisho_jwks::StaticKeys::new([second.key.verifying_key()]);
    let other = Jwt::issuer("https://two.example").audience(AUDIENCE).with_keys(keys);
    (house.builder().also(other).build().unwrap(), second)
}

#[test]
fn a099_iss_array() {
    for house in House::all() {
        for verifier in [house.verifier(), of_two(house).0] {
            for iss in [
                json!(["https://attacker", ISSUER]),
                json!([ISSUER]),
                json!([ISSUER, "https://attacker"]),
                json!({ ISSUER: 1 }),
                json!(null),
                json!(42),
                json!(true),
            ] {
                let reject = refused(&verifier, &house.saying(json!({ "iss": iss })));
                assert_eq!(reject, Reject::Invalid(Claim::Issuer), "{iss}");
            }
            let reject = refused(&verifier, &house.saying(json!({ "iss": "REMOVE" })));
            assert_eq!(reject, Reject::Missing(Claim::Issuer));
        }
    }
}

#[test]
fn a100_iss_prefix() {
    for house in House::all() {
        for verifier in [house.verifier(), of_two(house).0] {
            for iss in [
                "https://id.example/",
                "https://ID.example",
                "HTTPS://id.example",
                "http://id.example",
                "https://id.example.evil.com",
                "https://id.example@evil.com",
                "https://id.example ",
                " https://id.example",
                "https://id.example\0",
                "https://id.example:443",
                "https://id.example/realms/x",
                "https://id.exampl",
                "id.example",
                "https://id.\u{435}xample",
                "",
            ] {
                assert_eq!(refused(&verifier, &house.saying(json!({ "iss": iss }))), Reject::Issuer, "{iss:?}");
            }
        }
    }
}

#[test]
fn a101_iss_cross() {
    for house in House::all() {
        let (verifier, second) = of_two(house);
        accepted(&verifier, &house.token());
        accepted(&verifier, &second.saying(json!({ "iss": "https://two.example" })));
        // Each key under the other's name, under its own `kid`, that of the other, and none.
        for (signer, other, iss) in [(&second, house, ISSUER), (house, &second, "https://two.example")] {
            let payload = text(&changed(claims(), json!({ "iss": iss })));
            for kid in [json!(signer.key.kid()), json!(other.key.kid()), json!("REMOVE")] {
                let header = changed(signer.header(), json!({ "kid": kid }));
                let reject = refused(&verifier, &signer.sign(text(&header), &payload));
                assert!(matches!(reject, Reject::UnknownKey | Reject::Signature), "{reject}");
            }
        }
        assert_eq!(refused(&verifier, &house.saying(json!({ "iss": "https://three.example" }))), Reject::Issuer);
    }
}

#[test]
fn a103_sub_missing() {
    for house in House::all() {
        for profile in [Profile::compatible(), Profile::rfc9068(), Profile::entra()] {
            let verifier = house.builder().with_profile(profile.clone()).build().unwrap();
            let typ = if profile_wants_jwt(&profile) { "JWT" } else { "at+jwt" };
            let with = |sub: Value| {
                let header = changed(house.header(), json!({ "typ": typ }));
                let claims = changed(claims(), json!({ "sub": sub, "azp": "shop", "tid": "t" }));
                house.sign(text(&header), text(&claims))
            };
            accepted(&verifier, &with(json!("alice")));
            assert_eq!(refused(&verifier, &with(json!("REMOVE"))), Reject::Missing(Claim::Subject));
            for sub in [json!(""), json!(null), json!(42), json!(["alice"]), json!({ "alice": 1 }), json!(true)] {
                assert_eq!(refused(&verifier, &with(sub.clone())), Reject::Invalid(Claim::Subject), "{sub}");
            }
        }
        // Keycloak leaves `sub` out of users' tokens when the scope `basic` is missing: with the client in its place,
        // all users of that client would be one.
        for profile in [Profile::keycloak(), Profile::cognito()] {
            let verifier = house.builder().with_profile(profile).build().unwrap();
            let user = json!({ "sub": "REMOVE", "azp": "shop", "preferred_username": "alice", "token_use": "access" });
            let header = changed(house.header(), json!({ "typ": "JWT" }));
            let token = house.sign(text(&header), text(&changed(claims(), user)));
            assert_eq!(refused(&verifier, &token), Reject::Missing(Claim::Subject));
        }
        // Where a profile of one's own lets the client stand in, there must be one, and a `sub` of another type is still wrong.
        let profile = Profile::custom().with_type("at+jwt").with_client_as_subject();
        let lenient = house.builder().with_profile(profile).build().unwrap();
        assert_eq!(accepted(&lenient, &house.saying(json!({ "sub": "REMOVE" }))).subject(), "shop");
        let nobody = house.saying(json!({ "sub": "REMOVE", "client_id": "REMOVE" }));
        assert_eq!(refused(&lenient, &nobody), Reject::Missing(Claim::Subject));
        assert_eq!(refused(&lenient, &house.saying(json!({ "sub": 42 }))), Reject::Invalid(Claim::Subject));
    }
}

fn profile_wants_jwt(profile: &Profile) -> bool {
    format!("{profile:?}").contains("\"entra\"")
}

#[test]
fn a104_scope_types() {
    let house = House::ed25519();
    let scopes = |changes: Value| {
        let base = changed(claims(), json!({ "scope": "REMOVE" }));
        let token = house.sign(text(&house.header()), text(&changed(base, changes)));
        answer(&house.verifier(), &token)
    };
    let granted = |changes: Value| scopes(changes).unwrap().scopes().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(granted(json!({ "scope": "a b" })), ["a", "b"]);
    assert_eq!(granted(json!({ "scope": ["a", "b"] })), ["a", "b"]);
    assert_eq!(granted(json!({ "scp": "a b" })), ["a", "b"]);
    assert_eq!(granted(json!({ "scp": ["a", "b"] })), ["a", "b"]);
    assert_eq!(granted(json!({ "scope": "  a   b " })), ["a", "b"]);
    assert_eq!(granted(json!({ "scope": "" })), Vec::<String>::new());
    assert_eq!(granted(json!({})), Vec::<String>::new());
    // No other white space separates, and nothing is found inside a scope.
    for scope in ["admin\u{a0}x", "admin\tx", "admin,x", "admin:read", "xadmin", "ADMIN", "admin\u{2003}x"] {
        assert!(!scopes(json!({ "scope": scope })).unwrap().has_scope("admin"), "{scope:?}");
    }
    for wrong in [json!(1), json!(null), json!({ "admin": true }), json!(["a", 1]), json!([["a"]]), json!(true)] {
        assert_eq!(scopes(json!({ "scope": wrong })).err(), Some(Reject::Invalid(Claim::Scope)), "{wrong}");
        assert_eq!(scopes(json!({ "scp": wrong })).err(), Some(Reject::Invalid(Claim::Scope)), "{wrong}");
    }
    // Two scopes written as one member of an array are neither.
    assert_eq!(scopes(json!({ "scope": ["a admin"] })).err(), Some(Reject::Invalid(Claim::Scope)));
}

#[test]
fn a105_role_confusion() {
    let house = House::ed25519();
    let own = house.builder().with_profile(Profile::keycloak()).with_client_roles(AUDIENCE).build().unwrap();
    let realm = house.builder().with_profile(Profile::keycloak()).build().unwrap();
    let token = house.saying(json!({
        "realm_access": { "roles": ["clerk"] },
        "resource_access": { AUDIENCE: { "roles": ["writer"] }, "other": { "roles": ["admin"] }, "realm-management": { "roles": ["manage-users"] } },
        "roles": ["root"], "groups": ["/root"]
    }));
    let roles =
        |verifier: &Verifier| accepted(verifier, &token).roles().iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(roles(&own), ["writer"]);
    assert_eq!(roles(&realm), ["clerk"]);
    assert_eq!(roles(&house.verifier()), Vec::<String>::new());
    // A client whose name holds the separator of pointers is another client.
    let slash = house.builder().with_profile(Profile::keycloak()).with_client_roles("other/roles").build().unwrap();
    assert_eq!(roles(&slash), Vec::<String>::new());
    let held = |of_client: Value| {
        let token = house.saying(json!({ "resource_access": { AUDIENCE: of_client } }));
        answer(&own, &token).map(|principal| principal.roles().iter().map(ToString::to_string).collect::<Vec<_>>())
    };
    assert_eq!(held(json!({ "roles": "admin" })), Ok(vec!["admin".to_owned()]), "one role, not in an array");
    assert_eq!(held(json!(["admin"])), Ok(Vec::new()), "no place of roles");
    for wrong in [json!({ "admin": 1 }), json!([1]), json!(["admin", 1]), json!(1), json!(null), json!(true)] {
        assert_eq!(held(json!({ "roles": wrong })), Err(Reject::Invalid(Claim::Custom)), "{wrong}");
    }
}

#[test]
fn a106_idtoken_as_access() {
    for house in House::all() {
        // As issued for the client; and, worse, where client and service share the name.
        let to_client = json!({ "aud": "shop", "nonce": "n", "auth_time": now(0), "scope": "REMOVE" });
        let sign = |changes: Value| {
            let header = changed(house.header(), json!({ "typ": "JWT" }));
            house.sign(text(&header), text(&changed(claims(), changes)))
        };
        assert_eq!(refused(&house.verifier(), &sign(to_client)), Reject::Audience);
        for mark in [
            json!({ "nonce": "n", "scope": "REMOVE" }),
            json!({ "at_hash": "x" }),
            json!({ "c_hash": "x" }),
            json!({ "s_hash": "x" }),
            json!({ "typ": "ID" }),
            json!({ "token_use": "id" }),
        ] {
            for profile in [Profile::compatible(), Profile::keycloak()] {
                let verifier = house.builder().with_profile(profile).build().unwrap();
                assert_eq!(refused(&verifier, &sign(mark.clone())), Reject::TokenUse, "{mark}");
            }
            // By RFC 9068 the header tells it already.
            let strict = house.builder().with_profile(Profile::rfc9068()).build().unwrap();
            assert_eq!(refused(&strict, &sign(mark)), Reject::Type);
        }
        let cognito = house.builder().with_profile(Profile::cognito()).build().unwrap();
        assert_eq!(refused(&cognito, &sign(json!({ "token_use": "id" }))), Reject::TokenUse);
        assert_eq!(refused(&cognito, &sign(json!({}))), Reject::TokenUse);
        let entra = house.builder().with_profile(Profile::entra()).build().unwrap();
        assert_eq!(refused(&entra, &sign(json!({ "tid": "t" }))), Reject::TokenUse);
    }
}

#[test]
fn a107_refresh_as_access() {
    let refresh = json!({ "typ": "Refresh", "aud": ISSUER, "azp": "shop" });
    for house in House::all() {
        let verifier = house.builder().with_profile(Profile::keycloak()).build().unwrap();
        // As Keycloak makes it: HS512 under a key of its own.
        let payload = text(&changed(claims(), refresh.clone()));
        let header = json!({ "alg": "HS512", "typ": "JWT", "kid": "a-secret-of-the-realm" });
        assert_eq!(refused(&verifier, &mac_token(Algorithm::Hs512, &header, &payload, &[5; 64])), Reject::Algorithm);
        // Signed by the key of access tokens, and even for our audience.
        assert_eq!(refused(&verifier, &house.saying(refresh.clone())), Reject::Audience);
        for typ in ["Refresh", "refresh", "Offline", "Serialized-ID", "Logout", "ID", "UserInfo", "x"] {
            for verifier in [&verifier, &house.verifier()] {
                assert_eq!(refused(verifier, &house.saying(json!({ "typ": typ }))), Reject::TokenUse, "{typ}");
            }
        }
        accepted(&verifier, &house.saying(json!({ "typ": "Bearer" })));
    }
}

#[test]
fn a108_jti_replay() {
    // Nobody checks proofs of possession yet, so there is no `jti` of a proof to replay. What must hold until then: a
    // token that is bound to a key is worth nothing as a bearer token, neither the first nor the second time.
    for house in House::all() {
        let bound = json!({ "jkt": "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I" });
        let certificate = json!({ "x5t#S256": "bwcK0esc3ACC3DB2Y5_lESsXE8o9ltc05O89jdN-dg2" });
        for cnf in [bound, certificate] {
            let token = house.saying(json!({ "cnf": cnf }));
            assert_eq!(refused(&house.verifier(), &token), Reject::ProofRequired, "{cnf}");
        }
        for cnf in [json!({}), json!({ "jwk": {} }), json!({ "kid": "k" }), json!({ "jku": "https://evil" })] {
            assert_eq!(refused(&house.verifier(), &house.saying(json!({ "cnf": cnf }))), Reject::Confirmation, "{cnf}");
        }
        assert_eq!(refused(&house.verifier(), &house.saying(json!({ "typ": "DPoP" }))), Reject::ProofRequired);
        // And a proof is no token.
        assert_eq!(refused(&house.verifier(), &house.under(json!({ "typ": "dpop+jwt" }))), Reject::Type);
    }
}

/// Holds one key until told otherwise.
#[derive(Clone, Debug)]
struct Revocable(TrustedKey);

#[async_trait::async_trait]
impl KeySource for Revocable {
    fn find(&self, query: KeyQuery<'_>, now: UnixSeconds) -> KeyLookup {
        if self.0.life().is_live(now) && self.0.key().fits(query.algorithm) {
            return KeyLookup::Found(sekisho_jwks::Candidates::One(self.0.clone()));
        }
        KeyLookup::Unknown
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

#[test]
fn a149_cache_expired() {
    // `exp` passes.
    let house = House::ed25519();
    let verifier = house.verifier();
    let token = house.saying(json!({ "exp": now(10) }));
    accepted(&verifier, &token);
    assert_eq!(verifier.cached_tokens(), 1);
    let late = UnixSeconds::new(now(70));
    assert_eq!(answer_at(&verifier, &token, late).err(), Some(Reject::Expired { by_secs: 0 }));
    assert_eq!(verifier.cached_tokens(), 0);

    // The key's life ends, at once and at its hour.
    let life = Arc::new(KeyLife::until(UnixSeconds::new(now(100))));
    let source = Revocable(TrustedKey::new(house.key.verifying_key(), Arc::clone(&life)));
    let builder = || Jwt::issuer(ISSUER).audience(AUDIENCE).with_keys(source.clone());
    let verifier = builder().build().unwrap();
    let token = house.token();
    accepted(&verifier, &token);
    assert_eq!(answer_at(&verifier, &token, UnixSeconds::new(now(100))).err(), Some(Reject::UnknownKey));
    accepted(&verifier, &token);
    assert_eq!(verifier.cached_tokens(), 1);
    life.end();
    assert_eq!(refused(&verifier, &token), Reject::UnknownKey);

    // The key is removed from the published set.
    wait(async {
        let remote = Remote::new().await;
        let token = remote.provider.token().audience(AUDIENCE).expires_in(Duration::from_secs(86_400)).sign();
        assert!(remote.takes(&token).await && remote.verifier.cached_tokens() == 1);
        remote.provider.rotate();
        remote.provider.issuer().withdraw_retired();
        assert!(remote.takes(&token).await, "nobody has told us yet");
        assert!(remote.takes(&remote.good()).await, "by the new key, after one load");
        assert!(!remote.takes(&token).await, "so the old key is dead, and what it has signed");
    });

    // The issuer is removed: a verifier cannot change, so that is another one, and it remembers nothing.
    let (both, second) = of_two(house);
    let token = second.saying(json!({ "iss": "https://two.example" }));
    accepted(&both, &token);
    assert_eq!(refused(&house.verifier(), &token), Reject::UnknownKey);
    let (others, _) = of_two(house);
    assert_eq!(refused(&others, &token), Reject::UnknownKey);
}
