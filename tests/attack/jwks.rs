//! Group `jwks`: what a provider, or who sits in between, can answer in place of a key set.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use sekisho_http::{HttpClient, HttpError, HttpLimits, HttpRequest, HttpResponse};
use sekisho_jwks::{Discovery, KeyHealth, KeySet, RemoteKeys};
use sekisho_jwt::{Algorithm, Backend, Jwt, JwtBuilder, Refusal, Reject, Verifier};
use sekisho_testkit::{Endpoint, Fault, FixedClock, Issuer};
use sekisho_tests::{AUDIENCE, House, ISSUER, NOW, accepted, encode, trusting, wait};
use serde_json::{Value, json};

use crate::key::Remote;

/// Answers each URL with what was written down for it, 404 for others, and notes what was asked for.
#[derive(Debug, Default)]
struct Script {
    answers: Mutex<Vec<(String, HttpResponse)>>,
    asked: Mutex<Vec<String>>,
}

#[async_trait::async_trait]
impl HttpClient for Script {
    async fn send(&self, request: HttpRequest, _: HttpLimits) -> Result<HttpResponse, HttpError> {
        let answers = self.answers.lock().unwrap();
        let found = answers.iter().rev().find(|(url, _)| *url == request.url).map(|(_, answer)| answer.clone());
        self.asked.lock().unwrap().push(request.url);
        Ok(found.unwrap_or_else(|| answer(404, b"")))
    }
}

fn answer(status: u16, body: &[u8]) -> HttpResponse {
    HttpResponse { status, headers: vec![("content-type".into(), "application/json".into())], body: body.to_vec() }
}

impl Script {
    fn new() -> Arc<Self> {
        Arc::default()
    }

    fn on(&self, url: &str, reply: HttpResponse) {
        self.answers.lock().unwrap().push((url.to_owned(), reply));
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }

    fn build(self: &Arc<Self>, builder: JwtBuilder) -> Verifier {
        builder.with_http_client(Arc::clone(self) as _).with_clock(Arc::new(FixedClock::at(NOW))).build().unwrap()
    }
}

const SET_URL: &str = "https://id.example/keys";
const DOCUMENT_URL: &str = "https://id.example/.well-known/openid-configuration";

fn set_of(houses: &[&House]) -> String {
    let keys: Vec<Value> = houses.iter().map(|house| house.key.public_jwk().unwrap()).collect();
    json!({ "keys": keys }).to_string()
}

fn from_set() -> JwtBuilder {
    Jwt::issuer(ISSUER).audience(AUDIENCE).with_keys(RemoteKeys::new(SET_URL))
}

fn discovered() -> JwtBuilder {
    Jwt::issuer(ISSUER).audience(AUDIENCE).with_keys(Discovery::oidc(ISSUER))
}

async fn fails(verifier: &Verifier, token: &str) -> bool {
    matches!(verifier.verify(token, NOW).await, Err(Refusal::Failure(_)))
}

#[test]
fn a139_jwks_redirect() {
    wait(async {
        let house = House::es256();
        let token = house.token();
        for target in [
            "http://id.example/keys",
            "https://other.example/keys",
            "http://169.254.169.254/latest/meta-data/iam",
            "http://127.0.0.1:9/keys",
            "https://id.example/keys2",
            "file:///etc/passwd",
            "/keys2",
        ] {
            for status in [301, 302, 303, 307, 308, 300] {
                let script = Script::new();
                let mut redirect = answer(status, set_of(&[house]).as_bytes());
                redirect.headers.push(("location".into(), target.into()));
                script.on(SET_URL, redirect.clone());
                script.on(target, answer(200, set_of(&[house]).as_bytes()));
                assert!(fails(&script.build(from_set()), &token).await, "{status} {target}");
                assert!(script.asked().iter().all(|url| url == SET_URL), "{:?}", script.asked());
                // The discovery document redirected.
                let script = Script::new();
                script.on(DOCUMENT_URL, redirect);
                script.on(SET_URL, answer(200, set_of(&[house]).as_bytes()));
                assert!(fails(&script.build(discovered()), &token).await, "{status} {target}");
                assert!(script.asked().iter().all(|url| url == DOCUMENT_URL), "{:?}", script.asked());
            }
            // Not a redirect, but the same wish in the document itself.
            if target.starts_with("https://") {
                continue;
            }
            let script = Script::new();
            script
                .on(DOCUMENT_URL, answer(200, json!({ "issuer": ISSUER, "jwks_uri": target }).to_string().as_bytes()));
            script.on(target, answer(200, set_of(&[house]).as_bytes()));
            assert!(fails(&script.build(discovered()), &token).await, "{target}");
            assert!(script.asked().iter().all(|url| url == DOCUMENT_URL), "{:?}", script.asked());
        }
        // Over real sockets, with the client that is used by default.
        let provider = Issuer::new().serve().await.unwrap();
        for discovery in [false, true] {
            provider.clear_faults();
            provider.set_fault(Fault::Redirect);
            let builder = Jwt::issuer(provider.url()).audience(AUDIENCE);
            let builder = if discovery { builder } else { builder.with_keys(RemoteKeys::new(provider.key_set_url())) };
            let verifier = builder.build().unwrap();
            let token = provider.token().audience(AUDIENCE).sign();
            let result = verifier.verify(&token, sekisho_core::Clock::now(&sekisho_core::SystemClock)).await;
            assert!(matches!(result, Err(Refusal::Failure(_))), "{result:?}");
            assert!(!provider.requests().is_empty());
            assert!(provider.requests().iter().all(|url| !url.contains("elsewhere")), "{:?}", provider.requests());
        }
    });
}

#[test]
fn a140_issuer_mismatch() {
    wait(async {
        let house = House::es256();
        let document = |issuer: Value| {
            let script = Script::new();
            let document = json!({ "issuer": issuer, "jwks_uri": SET_URL });
            script.on(DOCUMENT_URL, answer(200, document.to_string().as_bytes()));
            script.on(SET_URL, answer(200, set_of(&[house]).as_bytes()));
            script
        };
        let right = document(json!(ISSUER));
        assert!(right.build(discovered()).verify(&house.token(), NOW).await.is_ok());
        for issuer in [
            json!("https://id.example/"),
            json!("https://ID.example"),
            json!("http://id.example"),
            json!("https://id.example:443"),
            json!("https://evil.example"),
            json!("https://id.example.evil.example"),
            json!(""),
            json!(null),
            json!([ISSUER]),
            json!({ "https://id.example": 1 }),
            json!("https://{tenantid}.example"),
        ] {
            let script = document(issuer.clone());
            assert!(fails(&script.build(discovered()), &house.token()).await, "{issuer}");
            assert!(!script.asked().contains(&SET_URL.to_owned()), "{issuer}: keys of a stranger are not asked for");
        }
        // Without the member, and with it twice.
        for text in [
            json!({ "jwks_uri": SET_URL }).to_string(),
            format!(r#"{{"issuer":"https://evil.example","issuer":"{ISSUER}","jwks_uri":"{SET_URL}"}}"#),
        ] {
            let script = document(json!(ISSUER));
            script.on(DOCUMENT_URL, answer(200, text.as_bytes()));
            assert!(fails(&script.build(discovered()), &house.token()).await, "{text}");
        }
        let provider = Issuer::new().serve().await.unwrap();
        provider.set_fault(Fault::WrongIssuer);
        let verifier = Jwt::issuer(provider.url()).audience(AUDIENCE).build().unwrap();
        let token = provider.token().audience(AUDIENCE).sign();
        let now = sekisho_core::Clock::now(&sekisho_core::SystemClock);
        assert!(matches!(verifier.verify(&token, now).await, Err(Refusal::Failure(_))));
        assert_eq!(provider.requests_to(Endpoint::KeySet), 0);
    });
}

#[test]
fn a141_jwks_junk() {
    let (good, other) = (House::es256(), House::rs256());
    // One broken key among good ones: it is left out, with a reason, and the others are used.
    for broken in [
        json!({ "kty": "RSA", "kid": "b", "n": "not base64!", "e": "AQAB" }),
        json!({ "kty": "XYZ", "kid": "b" }),
        json!({ "kty": "RSA", "kid": "b" }),
        json!({ "kty": 1 }),
        json!({}),
        json!(null),
        json!("key"),
        json!([]),
        json!(17),
        json!({ "kty": "EC", "crv": "P-256", "x": encode([1; 32]), "y": encode([1; 32]) }),
        json!({ "kty": "RSA", "kid": "k".repeat(300), "n": encode([0xff; 256]), "e": "AQAB" }),
        json!({ "kty": "RSA", "kid": 7, "n": encode([0xff; 256]), "e": "AQAB" }),
        json!({ "kty": "OKP", "crv": "X25519", "x": encode([9; 32]) }),
        json!({ "kty": "RSA", "x5c": ["AA"], "kid": "b" }),
    ] {
        let set =
            json!({ "keys": [good.key.public_jwk().unwrap(), broken, other.key.public_jwk().unwrap()] }).to_string();
        let set = KeySet::parse(Backend::default(), set.as_bytes()).unwrap();
        assert_eq!((set.keys().len(), set.skipped().len(), set.skipped()[0].index()), (2, 1, 1), "{broken}");
        let verifier = trusting(set.keys().to_vec()).build().unwrap();
        accepted(&verifier, &good.token());
        accepted(&verifier, &other.token());
    }
    let twice = set_of(&[good, other]).replace("\"kty\":\"RSA\"", "\"kty\":\"RSA\",\"kty\":\"RSA\"");
    let set = KeySet::parse(Backend::default(), twice.as_bytes()).unwrap();
    assert_eq!((set.keys().len(), set.skipped().len()), (1, 1));

    // Documents that are no set at all.
    let nested = format!("{{\"keys\":{}{}}}", "[".repeat(100_000 / 2), "]".repeat(100_000 / 2));
    let large = format!("{{\"keys\":[],\"x\":\"{}\"}}", "x".repeat(5_000_000));
    let many = json!({ "keys": vec![good.key.public_jwk().unwrap(); 101] }).to_string();
    for junk in [
        "",
        "null",
        "[]",
        "{}",
        "\"keys\"",
        "{\"keys\":{}}",
        "{\"keys\":null}",
        "{\"keys\":\"\"}",
        "{\"keys\":[],\"keys\":[]}",
        "{\"keys\":[]",
        "{\"keys\":[]}}",
        "<!doctype html><html><body>200 OK</body></html>",
        &large,
        &many,
    ] {
        let set = KeySet::parse(Backend::default(), junk.as_bytes());
        assert!(set.is_err(), "{}: {set:?}", &junk[..junk.len().min(60)]);
    }
    // Nested without end is one key that is none.
    assert!(KeySet::parse(Backend::default(), nested.as_bytes()).unwrap().keys().is_empty());
    assert!(KeySet::parse(Backend::default(), b"\xff\xfe{\"keys\":[]}").is_err());

    // Nothing loaded yet, and junk is all there is: nothing is said about the token. After a good set, it is kept.
    wait(async {
        let junk = [
            answer(200, b"{\"keys\":[]}"),
            answer(200, large.as_bytes()),
            answer(200, b"<html></html>"),
            answer(200, b"\x1f\x8b\x08\x00"),
            answer(200, br#"{"keys":[{"kty":"oct","k":"AAAA"}]}"#),
            answer(204, b""),
            answer(206, set_of(&[good]).as_bytes()),
            answer(304, b""),
            answer(404, set_of(&[good]).as_bytes()),
            answer(500, set_of(&[good]).as_bytes()),
        ];
        for reply in junk {
            let script = Script::new();
            script.on(SET_URL, reply.clone());
            let verifier = script.build(from_set());
            assert!(fails(&verifier, &good.token()).await, "{reply:?}");
            assert!(verifier.health(NOW).iter().all(|(_, health)| *health == KeyHealth::Unavailable));

            let script = Script::new();
            script.on(SET_URL, answer(200, set_of(&[good]).as_bytes()));
            let verifier = script.build(from_set().without_cache());
            assert!(verifier.verify(&good.token(), NOW).await.is_ok());
            script.on(SET_URL, reply.clone());
            // An unknown kid makes it look again, and meet the junk.
            let unknown = verifier.verify(&other.token(), NOW).await;
            assert!(unknown.is_err());
            assert_eq!(script.asked().len(), 2);
            assert!(verifier.verify(&good.token(), NOW).await.is_ok(), "the last good set is kept: {reply:?}");
        }
        // The same over sockets: slow, broken off, without end.
        let remote = Remote::new().await;
        let token = remote.good();
        assert!(remote.takes(&token).await);
        for fault in [Fault::Huge, Fault::Truncated, Fault::Garbage, Fault::Html, Fault::EmptySet, Fault::Status(503)] {
            remote.provider.set_fault_on(Endpoint::KeySet, fault);
            remote.clock.advance(Duration::from_secs(60));
            let token = remote.provider.token().audience(AUDIENCE).header("kid", "unknown").sign();
            assert!(!remote.takes(&token).await, "{fault:?}");
            assert!(remote.takes(&remote.good()).await, "{fault:?}");
        }
        assert!(remote.loads() >= 2);
    });
}

/// Answers every request with the same bytes, on a thread of its own.
fn serve_bytes(reply: Vec<u8>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/jwks", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            let mut head = [0; 4096];
            let _read = stream.read(&mut head);
            let _sent = stream.write_all(&reply);
        }
    });
    url
}

#[test]
fn a_key_set_that_unpacks_to_a_hundred_megabytes_is_not_unpacked() {
    let house = House::es256();
    let mut packer = GzEncoder::new(Vec::new(), Compression::best());
    packer.write_all(set_of(&[house]).as_bytes()).unwrap();
    for _ in 0..100 {
        packer.write_all(&vec![b' '; 1_000_000]).unwrap();
    }
    let body = packer.finish().unwrap();
    assert!(body.len() < 150_000, "it gets past a limit on what is sent");
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Encoding: gzip\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    let url = serve_bytes([head.as_bytes(), &body].concat());
    let verifier = Jwt::issuer(ISSUER).audience(AUDIENCE).with_keys(RemoteKeys::new(url)).build().unwrap();
    assert!(wait(fails(&verifier, &house.token())));
}

#[test]
fn a142_rotation() {
    wait(async {
        let remote = Remote::new().await;
        let old = remote.provider.token().audience(AUDIENCE).expires_in(Duration::from_secs(86_400)).sign();
        assert!(remote.takes(&old).await);
        let before = remote.loads();
        remote.provider.rotate();
        remote.clock.advance(Duration::from_secs(1));
        assert!(remote.takes(&remote.good()).await, "the new key, a second after the rotation");
        assert_eq!(remote.loads() - before, 1, "one refresh");
        assert!(remote.takes(&old).await, "both are published");
        // Withdrawn, and refreshed because a further key is asked for.
        remote.provider.issuer().withdraw_retired();
        remote.provider.rotate();
        remote.clock.advance(Duration::from_secs(31));
        assert!(remote.takes(&remote.good()).await);
        let result = remote.verifier.verify(&old, remote.now()).await;
        assert!(matches!(result, Err(Refusal::Reject(Reject::UnknownKey))), "{result:?}");
    });
}

#[test]
fn a_removed_key_dies_with_the_next_refresh_without_anybody_asking() {
    wait(async {
        let provider = Issuer::new().with_algorithm(Algorithm::Ed25519).serve().await.unwrap();
        let second = Duration::from_secs(1);
        let keys = RemoteKeys::new(provider.key_set_url())
            .with_freshness_bounds(second, Duration::from_secs(60))
            .with_default_freshness(second)
            .with_refresh_ahead(Duration::ZERO);
        let verifier = Jwt::issuer(provider.url()).audience(AUDIENCE).with_keys(keys).build().unwrap();
        let now = || sekisho_core::Clock::now(&sekisho_core::SystemClock);
        let token = provider.token().audience(AUDIENCE).sign();
        assert!(verifier.verify(&token, now()).await.is_ok());
        assert_eq!(verifier.cached_tokens(), 1);
        provider.rotate();
        provider.issuer().withdraw_retired();
        // Nothing but the token in the cache is asked for, and the cache asks nobody.
        for _ in 0..500 {
            if verifier.verify(&token, now()).await.is_err() {
                assert!(provider.requests_to(Endpoint::KeySet) >= 2);
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("still taken after {} loads", provider.requests_to(Endpoint::KeySet));
    });
}
