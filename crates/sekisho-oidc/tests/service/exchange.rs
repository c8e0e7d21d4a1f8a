//! Tokens in the name of the caller.

use sekisho_core::FailureKind;
use sekisho_jwt::{Backend, DpopSigner};
use sekisho_oidc::{TokenError, TokenRequest};
use serde_json::json;

use crate::support::{ACCESS_TOKEN, Endpoint, NOW, at, builder, caller, good, refuse, tokens};

#[tokio::test]
async fn refuses_an_answer_of_another_type_than_was_asked_for() {
    let cases = [
        (json!(null), "Bearer"),
        (json!(""), "Bearer"),
        (json!("urn:ietf:params:oauth:token-type:id_token"), "Bearer"),
        (json!("urn:ietf:params:oauth:token-type:refresh_token"), "Bearer"),
        (json!("urn:ietf:params:oauth:token-type:saml2"), "N_A"),
        (json!(ACCESS_TOKEN), "N_A"),
        (json!([ACCESS_TOKEN]), "Bearer"),
    ];
    for (issued, kind) in cases {
        let said = issued.clone();
        let endpoint = Endpoint::new(move |_, _| {
            Some((200, json!({ "access_token": "a", "token_type": kind, "issued_token_type": said })))
        });
        let error = tokens(&endpoint).token(&TokenRequest::exchange("t"), NOW).await.unwrap_err();
        assert!(matches!(&error, TokenError::Failure(f) if f.kind() == FailureKind::BadGateway), "{issued}: {error:?}");
    }
    let endpoint = Endpoint::new(|_, _| Some((200, json!({ "access_token": "a", "token_type": "Bearer" }))));
    assert!(tokens(&endpoint).token(&TokenRequest::exchange("t"), NOW).await.is_err(), "no type at all");
    for good_type in [ACCESS_TOKEN, "urn:ietf:params:oauth:token-type:jwt"] {
        let endpoint = Endpoint::new(move |number, _| {
            let mut answer = good(number, 300);
            answer["issued_token_type"] = good_type.into();
            Some((200, answer))
        });
        assert!(tokens(&endpoint).token(&TokenRequest::exchange("t"), NOW).await.is_ok());
    }
}

#[tokio::test]
async fn refuses_to_exchange_a_token_that_has_ended() {
    let endpoint = Endpoint::living(300);
    let tokens = tokens(&endpoint);
    let (caller, bearer) = caller("alice", 100);
    let request = TokenRequest::on_behalf_of(&caller, bearer);
    assert!(tokens.token(&request, at(99)).await.is_ok());
    let error = tokens.token(&request, at(100)).await.unwrap_err();
    assert!(matches!(error, TokenError::Grant), "{error:?}");
    assert_eq!(endpoint.count(), 1);
}

#[tokio::test]
async fn what_was_exchanged_lives_no_longer_than_what_it_was_exchanged_for() {
    let endpoint = Endpoint::living(3600);
    let tokens = tokens(&endpoint);
    let (caller, bearer) = caller("alice", 100);
    let request = TokenRequest::on_behalf_of(&caller, bearer);
    let token = tokens.token(&request, NOW).await.unwrap();
    assert_eq!(token.expires_at(), Some(at(100)));
    endpoint.then(|_, _| None);
    assert!(tokens.token(&request, at(95)).await.is_ok());
    assert!(matches!(tokens.token(&request, at(100)).await, Err(TokenError::Grant)));
}

#[tokio::test]
async fn what_was_exchanged_for_a_token_of_unknown_end_is_kept_for_a_minute() {
    let endpoint = Endpoint::living(3600);
    let tokens = tokens(&endpoint);
    let request = TokenRequest::exchange("opaque");
    tokens.token(&request, NOW).await.unwrap();
    tokens.token(&request, at(59)).await.unwrap();
    assert_eq!(endpoint.count(), 1);
    tokens.token(&request, at(60)).await.unwrap();
    assert_eq!(endpoint.count(), 2);
}

#[tokio::test]
async fn a_provider_that_no_longer_honours_the_callers_token_is_heard() {
    let endpoint = Endpoint::living(100);
    let tokens = tokens(&endpoint);
    let (caller, bearer) = caller("alice", 3600);
    let request = TokenRequest::on_behalf_of(&caller, bearer);
    tokens.token(&request, NOW).await.unwrap();
    endpoint.then(|_, _| refuse("invalid_grant"));
    assert!(matches!(tokens.token(&request, at(90)).await, Err(TokenError::Grant)));
    assert_eq!(tokens.kept(), 0);
}

#[tokio::test]
async fn says_in_whose_name_for_whom_and_for_what() {
    let endpoint = Endpoint::living(300);
    let request = TokenRequest::exchange("subject-1").with_actor_token("actor-1").with_audience("stock");
    tokens(&endpoint).token(&request.with_resource("https://stock.example").with_scope("read"), NOW).await.unwrap();
    let form = endpoint.form(0);
    for (name, value) in [
        ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
        ("requested_token_type", ACCESS_TOKEN),
        ("subject_token", "subject-1"),
        ("subject_token_type", ACCESS_TOKEN),
        ("actor_token", "actor-1"),
        ("actor_token_type", ACCESS_TOKEN),
        ("audience", "stock"),
        ("resource", "https://stock.example"),
        ("scope", "read"),
    ] {
        assert_eq!(form[name], [value], "{name}");
    }
    assert_eq!(form.len(), 9);
}

#[tokio::test]
async fn a_logout_ends_what_was_exchanged_for_that_one_alone() {
    let endpoint = Endpoint::living(300);
    let tokens = tokens(&endpoint);
    let people = [caller("alice", 300), caller("bob", 300), caller("carol", 300)];
    for (caller, bearer) in &people {
        let request = || TokenRequest::on_behalf_of(caller, &**bearer);
        tokens.token(&request().with_audience("stock"), NOW).await.unwrap();
        tokens.token(&request().with_audience("billing"), NOW).await.unwrap();
    }
    tokens.token(&TokenRequest::client_credentials(), NOW).await.unwrap();
    assert_eq!(tokens.kept(), 7);
    let (alice, bob) = (&people[0].0, &people[1].0);
    tokens.purge_session("https://other.example", "s-bob");
    tokens.purge_session(bob.issuer(), "s-nobody");
    assert_eq!(tokens.kept(), 7);
    tokens.purge_subject(&alice.id());
    assert_eq!(tokens.kept(), 5);
    tokens.purge_session(bob.issuer(), "s-bob");
    assert_eq!(tokens.kept(), 3);
}

#[tokio::test]
async fn asks_for_tokens_bound_to_its_key_and_takes_no_others() {
    let signer = || DpopSigner::generate(Backend::aws_lc()).unwrap();
    let bearer = Endpoint::living(300);
    let tokens = builder(&bearer).with_dpop(signer()).build().unwrap();
    assert!(tokens.token(&TokenRequest::client_credentials(), NOW).await.is_err());
    assert!(tokens.token(&TokenRequest::exchange("t"), NOW).await.is_err());
    assert!(bearer.proof(0).is_some() && bearer.proof(1).is_some());

    let lax = builder(&bearer).with_dpop(signer()).dangerous_accept_bearer().build().unwrap();
    let token = lax.token(&TokenRequest::exchange("t"), NOW).await.unwrap();
    assert_eq!(lax.proof("GET", "https://stock.example/", &token, NOW).unwrap(), None);

    let bound = Endpoint::new(|number, _| {
        let mut answer = good(number, 300);
        answer["token_type"] = "DPoP".into();
        Some((200, answer))
    });
    let tokens = builder(&bound).with_dpop(signer()).build().unwrap();
    let token = tokens.token(&TokenRequest::exchange("t"), NOW).await.unwrap();
    assert_eq!(token.authorization().expose_str(), Some("DPoP at-1"));
    assert!(tokens.proof("GET", "https://stock.example/", &token, NOW).unwrap().is_some());
    let plain = crate::support::tokens(&bound);
    assert!(plain.token(&TokenRequest::exchange("t"), NOW).await.is_err(), "bound unasked: nobody can use it");
}
