//! Attacks on tokens that are bound to a key (RFC 9449), through a checkpoint. Each hostile request stands between good ones,
//! so that it is refused for itself and spoils nothing.

use std::sync::Arc;
use std::time::Duration;

use sekisho_core::Secret;
use sekisho_http::{Checkpoint, HeadParts, Inspection, Presence};
use sekisho_jwt::{Dpop, NonceKeys};
use sekisho_testkit::{DpopKey, FixedClock, Issuer, ProofBuilder, hostile_proofs};
use sekisho_tests::{AUDIENCE, House, ISSUER, NOW};
use serde_json::json;

const URL: &str = "https://api.example/orders";

/// Is a house, a client of it with a key, and a service behind a checkpoint.
struct Scene {
    house: &'static House,
    key: DpopKey,
    checkpoint: Checkpoint,
}

/// Is what an answer says: status, challenge, nonce.
#[derive(Debug, PartialEq)]
struct Said {
    status: u16,
    challenge: String,
    nonce: Option<String>,
}

impl Said {
    fn passed(&self) -> bool {
        self.status == 200
    }

    /// Tells whether it is a 401 of this scheme with this error.
    fn refused(&self, scheme: &str, error: &str) -> bool {
        let told = self.challenge.starts_with(&format!("{scheme} error=\"{error}\""));
        self.status == 401 && told && self.challenge.contains("algs=\"PS256 ES256 ES384 EdDSA Ed25519\"")
    }
}

impl Scene {
    fn new() -> Self {
        Self::with(Dpop::new())
    }

    fn with(dpop: Dpop) -> Self {
        Self::below("https://api.example", dpop)
    }

    fn below(url: &str, dpop: Dpop) -> Self {
        let (house, clock) = (House::ed25519(), FixedClock::at(NOW));
        let checkpoint = Checkpoint::builder()
            .accept(house.builder().with_dpop(dpop))
            .with_public_url(url)
            .with_clock(Arc::new(clock.clone()))
            .build()
            .unwrap();
        Self { house, key: DpopKey::generate().with_clock(clock), checkpoint }
    }

    fn token(&self) -> String {
        self.house.saying(json!({ "cnf": { "jkt": self.key.thumbprint() } }))
    }

    fn proof(&self, token: &str) -> ProofBuilder {
        self.key.proof("GET", URL).for_token(token)
    }

    fn send(&self, method: &str, path: &str, authorization: &str, proofs: &[&str]) -> Said {
        let mut headers = vec![("Authorization", authorization.as_bytes())];
        headers.extend(proofs.iter().map(|proof| ("DPoP", proof.as_bytes())));
        let head = HeadParts { method, path, headers: &headers };
        match self.checkpoint.inspect(&head, Presence::Required) {
            Inspection::Pass(passage) => {
                assert!(passage.principal().is_some());
                Said { status: 200, challenge: String::new(), nonce: None }
            }
            Inspection::Refuse(answer) => {
                let text = |name: &str| {
                    let found = answer.headers().find(|(header, _)| *header == name);
                    found.map(|(_, value)| String::from_utf8(value.to_vec()).unwrap())
                };
                assert_eq!(text("cache-control").as_deref(), Some("no-store"));
                let challenge = text("www-authenticate").unwrap_or_default();
                Said { status: answer.status(), challenge, nonce: text("dpop-nonce") }
            }
            Inspection::Wait(_) => panic!("keys and proofs are in memory"),
        }
    }

    /// Sends a token under `DPoP`, with one proof.
    fn ask(&self, token: &str, proof: &ProofBuilder) -> Said {
        self.send("GET", "/orders", &format!("DPoP {token}"), &[&proof.sign()])
    }

    /// A good request passes, whatever came before.
    fn assert_open(&self) {
        let token = self.token();
        let said = self.ask(&token, &self.proof(&token));
        assert!(said.passed(), "{said:?}");
    }

    /// Asserts that a proof is refused as a bad one, for a token that has passed and for one that has not.
    fn assert_bad(&self, name: &str, spoil: impl Fn(ProofBuilder) -> ProofBuilder) {
        let token = self.token();
        for seen in [false, true] {
            if seen {
                assert!(self.ask(&token, &self.proof(&token)).passed());
            }
            let said = self.ask(&token, &spoil(self.proof(&token)));
            assert!(said.refused("DPoP", "invalid_dpop_proof"), "{name}: {said:?}");
        }
        self.assert_open();
    }
}

/// Sends the hostile requests of the testkit whose id begins so, and returns how many there are.
fn corpus(prefix: &str) -> usize {
    let scene = Scene::new();
    let issuer = Issuer::with_url(ISSUER).with_signing_key(scene.house.key.clone()).with_clock(FixedClock::at(NOW));
    let cases = hostile_proofs(&issuer, AUDIENCE, "GET", URL);
    let mut count = 0;
    for case in cases.iter().filter(|case| case.id.starts_with(prefix)) {
        let proofs: Vec<&str> = case.proofs.iter().map(String::as_str).collect();
        let said = scene.send("GET", "/orders", &case.authorization, &proofs);
        assert_eq!(said.status, 401, "{case:?}: {said:?}");
        count += 1;
    }
    scene.assert_open();
    count
}

#[test]
fn a117_no_proof() {
    let scene = Scene::new();
    let token = scene.token();
    let bearer = format!("Bearer {token}");
    let proof = scene.proof(&token).sign();
    for seen in [false, true] {
        if seen {
            scene.assert_open();
            assert!(scene.ask(&token, &scene.proof(&token)).passed());
        }
        for proofs in [&[][..], &[&*proof]] {
            let said = scene.send("GET", "/orders", &bearer, proofs);
            assert!(said.refused("Bearer", "invalid_token"), "{said:?}");
        }
        let said = scene.send("GET", "/orders", &format!("DPoP {token}"), &[]);
        assert!(said.refused("DPoP", "invalid_dpop_proof"), "{said:?}");
    }
    // The proof that came with the bearer token is still good.
    assert!(scene.send("GET", "/orders", &format!("DPoP {token}"), &[&proof]).passed());
    assert_eq!(corpus("A117"), 3);
}

#[test]
fn a118_htm_htu() {
    let scene = Scene::new();
    for htm in ["POST", "get", "GET ", ""] {
        scene.assert_bad(htm, |proof| proof.claim("htm", htm));
    }
    for htu in [
        "https://api.example/order",
        "https://api.example/orders/",
        "https://api.example/Orders",
        "https://api.example//orders",
        "https://api.example/orders/../admin",
        "https://evil.example/orders",
        "https://api.example:8443/orders",
        "http://api.example/orders",
        "https://api.example%2eevil.example/orders",
        "https://api.example@evil.example/orders",
        "//api.example/orders",
        "/orders",
        "",
    ] {
        scene.assert_bad(htu, |proof| proof.claim("htu", htu));
    }
    let token = scene.token();
    for htu in [
        "https://api.example/orders?page=1",
        "https://api.example/orders#part",
        "https://api.example/orders?x=https://evil.example/#y",
        "https://api.example:443/orders",
        "HTTPS://API.EXAMPLE/orders",
        "https://api.example/%6f%72ders",
        "https://api.example/%6F%72ders",
        "https://api.example/./orders",
        "https://api.example/x/../orders",
    ] {
        let said = scene.ask(&token, &scene.proof(&token).claim("htu", htu));
        assert!(said.passed(), "{htu}: {said:?}");
    }
    // The path of the request is normalised in the same way, and the configured URL may have one of its own.
    let shop = Scene::below("https://API.example:443/shop/", Dpop::new());
    let token = shop.token();
    for (path, htu, passes) in [
        ("/a%7eb", "https://api.example/shop/a~b", true),
        ("/x/../a", "https://api.example/shop/a", true),
        ("/a%2fb", "https://api.example/shop/a%2Fb", true),
        ("/a%2fb", "https://api.example/shop/a/b", false),
        ("/a", "https://api.example/a", false),
        ("/../a", "https://api.example/a", false),
    ] {
        let proof = shop.key.proof("GET", htu).for_token(&token).sign();
        let said = shop.send("GET", path, &format!("DPoP {token}"), &[&proof]);
        assert_eq!(said.passed(), passes, "{path} {htu}: {said:?}");
    }
    assert_eq!(corpus("A118"), 23);
}

#[test]
fn a119_ath() {
    let scene = Scene::new();
    scene.assert_bad("absent", |proof| proof.without_claim("ath"));
    scene.assert_bad("another token's", |proof| proof.for_token("another"));
    let token = scene.token();
    let unsigned = token.rsplit_once('.').unwrap().0.to_owned();
    scene.assert_bad("without the signature", |proof| proof.for_token(&unsigned));
    assert_eq!(corpus("A119"), 9);
}

#[test]
fn a120_two_proofs() {
    let scene = Scene::new();
    let token = scene.token();
    let [first, second] = [scene.proof(&token).sign(), scene.proof(&token).sign()];
    let list = format!("{first}, {second}");
    for proofs in [&[&*first, &*first][..], &[&*first, &*second], &[&*first, ""], &[&*list], &[&*first, &*list]] {
        let said = scene.send("GET", "/orders", &format!("DPoP {token}"), proofs);
        assert!(said.refused("DPoP", "invalid_dpop_proof"), "{said:?}");
    }
    // Neither was used up.
    for proof in [&first, &second] {
        assert!(scene.send("GET", "/orders", &format!("DPoP {token}"), &[proof]).passed());
    }
    assert_eq!(corpus("A120"), 6);
}

#[test]
fn a121_private_jwk() {
    let scene = Scene::new();
    for name in ["d", "p", "q", "dp", "dq", "qi", "oth", "k", "priv"] {
        let mut jwk = scene.key.jwk();
        jwk[name] = json!("AAAA");
        scene.assert_bad(name, |proof| proof.header("jwk", jwk.clone()));
    }
    let oct = json!({ "kty": "oct", "k": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", "alg": "HS256" });
    scene.assert_bad("oct", |proof| proof.header("jwk", oct.clone()).header("alg", "HS256"));
    scene.assert_bad("oct, honest alg", |proof| proof.header("jwk", oct.clone()));
    assert_eq!(corpus("A121"), 22);
}

#[test]
fn a122_iat_window() {
    let scene = Scene::new();
    let hour = Duration::from_secs(3600);
    for (name, iat) in [("an hour ago", NOW.saturating_sub(hour)), ("an hour ahead", NOW.saturating_add(hour))] {
        scene.assert_bad(name, |proof| proof.at(iat));
    }
    // Nonces: missing, stale, of another server; each answer brings one that is good.
    let secret = |byte| NonceKeys::new(Secret::new(vec![byte; 32]));
    let strict = Scene::with(Dpop::new().with_nonces(secret(1)));
    let token = strict.token();
    let first = strict.ask(&token, &strict.proof(&token));
    assert!(first.refused("DPoP", "use_dpop_nonce"), "{first:?}");
    let nonce = first.nonce.unwrap();
    let foreign = {
        let other = Scene::with(Dpop::new().with_nonces(secret(2)));
        let token = other.token();
        other.ask(&token, &other.proof(&token)).nonce.unwrap()
    };
    let mut stale = nonce.clone();
    stale.replace_range(..1, if stale.starts_with('A') { "B" } else { "A" });
    for bad in [&*foreign, &*stale, "", "x", &nonce[1..]] {
        let said = strict.ask(&token, &strict.proof(&token).nonce(bad));
        assert!(said.refused("DPoP", "use_dpop_nonce"), "{bad}: {said:?}");
        assert_eq!(said.nonce.as_ref(), Some(&nonce), "the clock stands still, so it is the same one");
    }
    assert!(strict.ask(&token, &strict.proof(&token).nonce(&nonce)).passed());
    let late = strict.ask(&token, &strict.proof(&token).nonce(&nonce).at(NOW.saturating_sub(hour)));
    assert!(late.refused("DPoP", "invalid_dpop_proof") && late.nonce.is_none(), "{late:?}");
    assert_eq!(corpus("A122"), 9);
}

#[test]
fn a123_typ() {
    let scene = Scene::new();
    for typ in ["JWT", "at+jwt", "dpop", "DPoP+jwt", "application/dpop+jwt", "dpop+jwt\0", ""] {
        scene.assert_bad(typ, |proof| proof.header("typ", typ));
    }
    scene.assert_bad("absent", |proof| proof.without_header("typ"));
    assert_eq!(corpus("A123"), 9);
}

#[test]
fn a124_downgrade() {
    let scene = Scene::new();
    let bearer = scene.house.token();
    for seen in [false, true] {
        if seen {
            assert!(scene.send("GET", "/orders", &format!("Bearer {bearer}"), &[]).passed());
        }
        let said = scene.ask(&bearer, &scene.proof(&bearer));
        assert!(said.refused("DPoP", "invalid_token"), "{said:?}");
        let said = scene.send("GET", "/orders", &format!("DPoP {bearer}"), &[]);
        assert!(said.refused("DPoP", "invalid_token"), "{said:?}");
    }
    // Where proofs are required, a token that is not bound is no way around them.
    let strict = Scene::with(Dpop::new().requiring_proof());
    let said = strict.send("GET", "/orders", &format!("Bearer {bearer}"), &[]);
    assert!(said.refused("DPoP", "invalid_token"), "{said:?}");
    strict.assert_open();
    assert_eq!(corpus("A124"), 2);
    assert!(corpus("D") > 20);
}
