//! Group `session`, the relying party's part: returns of other browsers and providers, and logout tokens.

use std::sync::Arc;

use scripted::{CLIENT, ISSUER, NOW, RSA, Scripted, broken, unsigned};
use sekisho_core::{Claim, Refusal, Reject};
use sekisho_jwt::jwks::SigningKey;
use sekisho_jwt::{Algorithm, Backend};
use sekisho_oidc::{Callback, LoginError, LoginRequest, PendingLogin, Provider};
use sekisho_testkit::TokenBuilder;
use sekisho_tests::wait;
use serde_json::json;

#[path = "../../crates/sekisho-oidc/tests/provider/scripted.rs"]
#[expect(dead_code, reason = "the crate's own tests use more of it")]
mod scripted;

async fn begin(provider: &Provider) -> (String, PendingLogin) {
    let start = provider.start(&LoginRequest::new(), NOW).await.unwrap();
    (start.url, start.pending)
}

async fn refused(provider: &Provider, pending: &PendingLogin, query: &str) -> LoginError {
    provider.finish(pending.clone(), &Callback::from_query(query), NOW).await.map(drop).unwrap_err()
}

#[test]
fn a136_state_csrf() {
    wait(async {
        let op = Scripted::new();
        let provider = op.provider();
        let (url, pending) = begin(&provider).await;
        // The attacker's own login, brought to the victim's browser: her state, no state, two states.
        let (attackers_url, attackers) = begin(&provider).await;
        let query = op.authorize(&attackers_url);
        let code = query.split('&').next().unwrap();
        for planted in [
            query.clone(),
            code.to_owned(),
            format!("{code}&state="),
            format!("{query}&state={}", pending.state()),
            format!("{code}&state={}&state={}", pending.state(), attackers.state()),
        ] {
            let error = refused(&provider, &pending, &planted).await;
            assert!(matches!(error, LoginError::Foreign), "{planted}: {error:?}");
        }
        assert!(op.asked("/token").is_empty(), "no code was sent anywhere");
        // Her code under the victim's state: the verifier is the victim's, and the provider notices.
        let injected = format!("{code}&state={}", pending.state());
        assert!(matches!(refused(&provider, &pending, &injected).await, LoginError::Code));

        // A code that was used.
        let query = op.authorize(&url);
        assert!(provider.finish(pending.clone(), &Callback::from_query(&query), NOW).await.is_ok());
        assert!(matches!(refused(&provider, &pending, &query).await, LoginError::Code));

        // An ID token of another login.
        let (url, pending) = begin(&provider).await;
        op.id_token(|token| token.claim("nonce", "of-another-login").sign());
        let error = refused(&provider, &pending, &op.authorize(&url)).await;
        assert!(matches!(error, LoginError::IdToken(Reject::Invalid(Claim::Nonce))), "{error:?}");

        mix_up().await;
    });
}

/// RFC 9207 §1: the honest provider's code, brought to the login at another one.
async fn mix_up() {
    let (honest, evil) = (Scripted::new(), Scripted::named("https://evil.example", RSA.clone()));
    let (at_honest, at_evil) = (honest.provider(), evil.provider());
    // The user thinks to be at the evil one, which sends her on to the honest one; the code comes back to the evil one's login.
    let (url, of_honest) = begin(&at_honest).await;
    let (_, of_evil) = begin(&at_evil).await;
    let code = honest.authorize(&url).split('&').next().unwrap().to_owned();
    for issuer in [ISSUER, "https://evil.example/", "https://EVIL.example", ""] {
        let query = format!("{code}&state={}&iss={issuer}", of_evil.state());
        let error = refused(&at_evil, &of_evil, &query).await;
        assert!(matches!(error, LoginError::Foreign), "{issuer}: {error:?}");
    }
    // And a login that was begun at one is not finished at the other, whatever the return says.
    let query = format!("{code}&state={}", of_honest.state());
    assert!(matches!(refused(&at_evil, &of_honest, &query).await, LoginError::Foreign));
    assert!(evil.asked("/token").is_empty(), "the honest provider's code went nowhere else");
}

fn logout_token(op: &Arc<Scripted>) -> TokenBuilder {
    let token = op.issuer.token().typ("logout+jwt").audience(CLIENT).without_claim("client_id");
    token.claim("sid", "s1").claim("events", json!({"http://schemas.openid.net/event/backchannel-logout": {}}))
}

#[test]
fn a138_logout_token() {
    wait(async {
        let op = Scripted::new();
        let provider = op.provider();
        let token = || logout_token(&op);
        let claims = json!({
            "iss": ISSUER, "aud": CLIENT, "sub": "u1", "jti": "j", "iat": NOW.as_secs(), "exp": NOW.as_secs() + 120,
            "events": {"http://schemas.openid.net/event/backchannel-logout": {}},
        });
        let none = unsigned(&json!({"alg": "none", "typ": "logout+jwt"}), &claims);
        let shared = SigningKey::hmac(Backend::aws_lc(), Algorithm::Hs256, &[7; 32]).unwrap();
        for (bad, why) in [
            (none.clone(), Reject::Malformed),
            (format!("{none}AA"), Reject::Algorithm),
            (token().signed_by(&shared).sign(), Reject::Algorithm),
            (token().algorithm(Algorithm::Es256).sign(), Reject::Algorithm),
            (broken(&token().sign()), Reject::Signature),
            (token().audience("other").sign(), Reject::Audience),
            (token().without_claim("aud").sign(), Reject::Missing(Claim::Audience)),
            (token().claim("iss", "https://evil.example").sign(), Reject::Issuer),
            (token().without_claim("events").sign(), Reject::Missing(Claim::Events)),
            (token().claim("events", json!({"other": {}})).sign(), Reject::Invalid(Claim::Events)),
            (token().claim("nonce", "n").sign(), Reject::TokenUse),
            (token().without_claim("sub").without_claim("sid").sign(), Reject::Missing(Claim::Subject)),
            (token().without_claim("jti").sign(), Reject::Missing(Claim::TokenId)),
            (token().expired().sign(), Reject::Expired { by_secs: 3540 }),
            (token().typ("JWT").sign(), Reject::Type),
        ] {
            match provider.logout_notice(&bad, NOW).await {
                Err(Refusal::Reject(reject)) => assert_eq!(reject, why),
                other => panic!("{why:?}: {other:?}"),
            }
        }
        let good = token().sign();
        assert!(provider.logout_notice(&good, NOW).await.is_ok());
        let replayed = provider.logout_notice(&good, NOW).await;
        assert!(matches!(replayed, Err(Refusal::Reject(Reject::Replayed))), "{replayed:?}");
    });
}
