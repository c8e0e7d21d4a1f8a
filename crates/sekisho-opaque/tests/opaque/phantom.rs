//! Opaque outside, JWT inside.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use sekisho_core::{Authenticate, Credential, Failure, FailureKind, Principal, Reject, RevocationCheck, UnixSeconds};
use sekisho_jwt::jwks::{Candidates, KeyHealth, KeyLife, KeyLookup, KeyQuery, KeySource, TrustedKey};
use sekisho_jwt::{Jwt, Verifier};
use sekisho_opaque::{Opaque, PhantomBuilder, PhantomSwap, TokenSwap};
use sekisho_testkit::{FixedClock, Issuer, TokenBuilder};
use serde_json::json;

use crate::server::{Reply, Server};
use crate::support::{AUDIENCE, ISSUER, NOW, Said, TOKEN, at, credentials, said};

fn issuer() -> Issuer {
    Issuer::new().with_clock(FixedClock::at(NOW))
}

fn verifier(issuer: &Issuer) -> Verifier {
    Jwt::issuer(ISSUER).audience(AUDIENCE).with_keys(issuer.static_keys()).build().unwrap()
}

fn builder(server: &Server, issuer: &Issuer) -> PhantomBuilder {
    Opaque::phantom(server.url(), credentials()).issuer(ISSUER).verifier(verifier(issuer))
}

fn swap(server: &Server, issuer: &Issuer) -> PhantomSwap {
    builder(server, issuer).cache_for(Duration::from_secs(30)).with_negative_cache(Duration::ZERO).build().unwrap()
}

fn token(issuer: &Issuer) -> TokenBuilder {
    issuer.token().audience(AUDIENCE)
}

async fn to_jwt(swap: &PhantomSwap, now: UnixSeconds) -> Result<String, Said> {
    let inner = swap.to_jwt(Credential::bearer(TOKEN), now).await;
    inner.map(|inner| inner.expose().to_owned()).map_err(|refusal| said(Err(refusal)))
}

#[tokio::test]
async fn gets_the_jwt_as_a_body_or_as_a_member() {
    let issuer = issuer();
    let jwt = token(&issuer).sign();
    for reply in [
        Reply::jwt("application/jwt", &jwt),
        Reply::jwt("Application/JWT; charset=utf-8", &format!("{jwt}\r\n")),
        Reply::json(json!({ "active": true, "jwt": jwt, "sub": "whatever" }).to_string()),
    ] {
        let server = Server::start(reply).await;
        let swap = swap(&server, &issuer);
        assert!(swap.to_jwt_now(Credential::bearer(TOKEN), NOW).is_none());
        assert_eq!(to_jwt(&swap, NOW).await, Ok(jwt.clone()));
        assert_eq!(server.requests()[0].header("accept"), Some("application/jwt"));
        let inner = swap.to_jwt_now(Credential::bearer(TOKEN), at(29)).unwrap().unwrap();
        assert_eq!((inner.expose(), inner.principal().subject()), (jwt.as_str(), "u1"));
        let principal = swap.authenticate_now(Credential::bearer(TOKEN), NOW).unwrap().unwrap();
        assert_eq!(principal.subject(), "u1");
        assert!(swap.to_jwt_now(Credential::bearer(TOKEN), at(30)).is_none());
        assert_eq!(server.count(), 1);
    }
}

#[tokio::test]
async fn inactive_is_the_callers_and_everything_else_the_providers() {
    let issuer = issuer();
    let jwt = token(&issuer).sign();
    let bad = || Said::Failed(FailureKind::BadGateway);
    for (reply, expected) in [
        (Reply::status(204), Said::No(Reject::Inactive)),
        (Reply::json(r#"{"active":false}"#), Said::No(Reject::Inactive)),
        (Reply::json(r#"{"active":"true","jwt":"x"}"#), bad()),
        (Reply::json(json!({ "jwt": jwt }).to_string()), bad()),
        (Reply::json(r#"{"active":true}"#), bad()),
        (Reply::json(r#"{"active":true,"jwt":7}"#), bad()),
        (Reply::json(r#"{"active":true,"jwt":""}"#), bad()),
        (Reply::jwt("application/jwt", ""), bad()),
        (Reply::jwt("application/jwt", "<html>"), bad()),
        (Reply::jwt("text/html", &jwt), bad()),
        (Reply::jwt("application/token-introspection+jwt", &jwt), bad()),
        (Reply::Whole(200, Vec::new(), jwt.clone().into_bytes()), bad()),
        (Reply::status(401), bad()),
        (Reply::status(404), bad()),
        (Reply::status(500), Said::Failed(FailureKind::Unavailable)),
        // What came is a JWT, and not one to pass on.
        (Reply::jwt("application/jwt", &token(&Issuer::new().with_clock(FixedClock::at(NOW))).sign()), bad()),
        (Reply::jwt("application/jwt", &token(&issuer).typ("token-introspection+jwt").sign()), bad()),
        (Reply::jwt("application/jwt", &token(&issuer).claim("exp", "soon").sign()), bad()),
        (Reply::jwt("application/jwt", &token(&issuer).audience("other").sign()), Said::No(Reject::Audience)),
        (Reply::jwt("application/jwt", &token(&issuer).claim("typ", "Refresh").sign()), Said::No(Reject::TokenUse)),
        (
            Reply::jwt(
                "application/jwt",
                &token(&issuer).expires_at(NOW.saturating_sub(Duration::from_secs(61))).sign(),
            ),
            Said::No(Reject::Expired { by_secs: 1 }),
        ),
    ] {
        let server = Server::start(reply.clone()).await;
        let shown = format!("{reply:?}").chars().take(90).collect::<String>();
        assert_eq!(to_jwt(&swap(&server, &issuer), NOW).await, Err(expected), "{shown}");
    }
}

#[tokio::test]
async fn nothing_is_kept_past_the_jwts_own_expiry() {
    let issuer = issuer();
    let server = Server::start(Reply::jwt("application/jwt", &token(&issuer).expires_at(at(10)).sign())).await;
    let swap = swap(&server, &issuer);
    assert!(to_jwt(&swap, NOW).await.is_ok());
    assert!(swap.to_jwt_now(Credential::bearer(TOKEN), at(9)).is_some());
    assert!(swap.to_jwt_now(Credential::bearer(TOKEN), at(10)).is_none());
    assert_eq!(swap.cached_tokens(), (0, 0), "what is dead goes when it is met");
}

/// Trusts one key until it is told not to.
#[derive(Debug)]
struct Withdrawable(TrustedKey);

#[async_trait::async_trait]
impl KeySource for Withdrawable {
    fn find(&self, _: KeyQuery<'_>, now: UnixSeconds) -> KeyLookup {
        if self.0.life().is_live(now) { KeyLookup::Found(Candidates::One(self.0.clone())) } else { KeyLookup::Unknown }
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

#[tokio::test]
async fn a_withdrawn_key_takes_the_jwts_in_memory_along() {
    let issuer = issuer();
    let server = Server::start(Reply::jwt("application/jwt", &token(&issuer).sign())).await;
    let life = Arc::new(KeyLife::forever());
    let keys = Withdrawable(TrustedKey::new(issuer.signing_key().verifying_key(), Arc::clone(&life)));
    let verifier = Jwt::issuer(ISSUER).audience(AUDIENCE).with_keys(keys).build().unwrap();
    let swap = Opaque::phantom(server.url(), credentials()).issuer(ISSUER).verifier(verifier);
    let swap = swap.cache_for(Duration::from_secs(30)).build().unwrap();
    assert!(to_jwt(&swap, NOW).await.is_ok());
    assert!(swap.to_jwt_now(Credential::bearer(TOKEN), NOW).is_some());
    life.end();
    assert!(swap.to_jwt_now(Credential::bearer(TOKEN), NOW).is_none());
    assert_eq!(to_jwt(&swap, NOW).await, Err(Said::Failed(FailureKind::BadGateway)));
}

/// Has one key, and another one under the same name once it was asked anew.
#[derive(Debug)]
struct Renamed {
    before: TrustedKey,
    after: TrustedKey,
    asked_anew: AtomicUsize,
}

#[async_trait::async_trait]
impl KeySource for Renamed {
    fn find(&self, _: KeyQuery<'_>, _: UnixSeconds) -> KeyLookup {
        let key = if self.asked_anew.load(Ordering::SeqCst) == 0 { &self.before } else { &self.after };
        KeyLookup::Found(Candidates::One(key.clone()))
    }

    async fn fetch(&self, query: KeyQuery<'_>, now: UnixSeconds) -> KeyLookup {
        self.find(query, now)
    }

    async fn fetch_anew(&self, query: KeyQuery<'_>, now: UnixSeconds) -> KeyLookup {
        self.asked_anew.fetch_add(1, Ordering::SeqCst);
        self.find(query, now)
    }

    fn health(&self, _: UnixSeconds) -> KeyHealth {
        KeyHealth::Fresh { keys: 1 }
    }
}

#[tokio::test]
async fn a_jwt_of_the_issuers_is_looked_at_again_when_its_kid_was_given_to_another_key() {
    let (old, issuer) = (self::issuer(), self::issuer());
    let key = |of: &Issuer| TrustedKey::forever(of.signing_key().verifying_key());
    let renamed = || Arc::new(Renamed { before: key(&old), after: key(&issuer), asked_anew: AtomicUsize::new(0) });
    let verifier = |keys: &Arc<Renamed>| {
        Jwt::issuer(ISSUER).audience(AUDIENCE).with_keys(Arc::clone(keys) as Arc<dyn KeySource>).build().unwrap()
    };
    let jwt = token(&issuer).sign();

    let (keys, server) = (renamed(), Server::start(Reply::jwt("application/jwt", &jwt)).await);
    let swap = Opaque::phantom(server.url(), credentials()).issuer(ISSUER).verifier(verifier(&keys)).build().unwrap();
    assert_eq!(to_jwt(&swap, NOW).await, Ok(jwt.clone()));
    assert_eq!(keys.asked_anew.load(Ordering::SeqCst), 1);

    // Still by none of the issuer's keys: asked anew once for one answer, and nobody gets in.
    let (keys, stranger) = (renamed(), self::issuer());
    let server = Server::start(Reply::jwt("application/jwt", &token(&stranger).sign())).await;
    let swap = Opaque::phantom(server.url(), credentials()).issuer(ISSUER).verifier(verifier(&keys)).build().unwrap();
    assert_eq!(to_jwt(&swap, NOW).await, Err(Said::Failed(FailureKind::BadGateway)));
    assert_eq!(keys.asked_anew.load(Ordering::SeqCst), 1);

    // What a caller brings has no keys fetched.
    let keys = renamed();
    let brought = verifier(&keys);
    assert!(brought.verify(&jwt, NOW).await.is_err());
    assert!(brought.candidate(&jwt, NOW).await.is_err());
    assert!(brought.explain(&jwt, NOW).await.result().is_err());
    assert_eq!(keys.asked_anew.load(Ordering::SeqCst), 0);
}

struct Never;

impl RevocationCheck for Never {
    fn is_revoked(&self, _: &Principal, _: UnixSeconds) -> Result<bool, Failure> {
        Ok(true)
    }
}

#[tokio::test]
async fn revocation_counts_here_and_in_the_verifier() {
    let issuer = issuer();
    let server = Server::start(Reply::jwt("application/jwt", &token(&issuer).sign())).await;
    let here = builder(&server, &issuer).with_revocation(Arc::new(Never)).build().unwrap();
    assert_eq!(to_jwt(&here, NOW).await, Err(Said::No(Reject::Revoked)));
    let verifier = Jwt::issuer(ISSUER).audience(AUDIENCE).with_keys(issuer.static_keys());
    let verifier = verifier.with_revocation(Arc::new(Never)).build().unwrap();
    let there = Opaque::phantom(server.url(), credentials()).issuer(ISSUER).verifier(verifier).build().unwrap();
    assert_eq!(to_jwt(&there, NOW).await, Err(Said::No(Reject::Revoked)));
}

#[tokio::test]
async fn a_gateway_holds_any_kind_of_swap_behind_one_trait() {
    let issuer = issuer();
    let jwt = token(&issuer).sign();
    let server = Server::start(Reply::jwt("application/jwt", &jwt)).await;
    let store = Arc::new(sekisho_opaque::MemoryReferenceStore::default());
    let reference = Opaque::reference(store).verifier(verifier(&issuer)).build().unwrap();
    let handle = reference.issue_for_jwt(&jwt, NOW).await.unwrap();
    let swaps: [(Arc<dyn TokenSwap>, &str); 2] =
        [(Arc::new(swap(&server, &issuer)), TOKEN), (Arc::new(reference), handle.expose())];
    for (swap, token) in swaps {
        let credential = Credential::bearer(token);
        assert!(swap.recognizes(credential));
        assert_eq!(swap.to_jwt(credential, NOW).await.unwrap().expose(), jwt);
    }
}

#[tokio::test]
async fn debug_shows_neither_token_nor_jwt_nor_secret() {
    let issuer = issuer();
    let jwt = token(&issuer).sign();
    let server = Server::start(Reply::jwt("application/jwt", &jwt)).await;
    let swap = swap(&server, &issuer);
    let inner = swap.to_jwt(Credential::bearer(TOKEN), NOW).await.unwrap();
    let shown = format!("{inner:?} {swap:?} {:?}", builder(&server, &issuer));
    for secret in [TOKEN, &jwt, "hunter2", jwt.rsplit('.').next().unwrap()] {
        assert!(!shown.contains(secret), "{shown}");
    }
    assert!(swap.authenticate(Credential::bearer(TOKEN), NOW).await.is_ok());
}
