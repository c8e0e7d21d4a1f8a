//! Our authorization server before client libraries that others wrote: `openid-client` and `oauth4webapi`, both certified.
//!
//! `flows.mjs` is what they do, by the same calls. They check whatever they get, signatures too: a flow that ends
//! without an error has passed their checks, and what is asserted here is what they cannot know.

use serde_json::{Value, json};

use crate::own_issuer::{OwnIssuer, SUBJECT};
use crate::scripts::{self, Report};

/// What one library found out.
struct Findings {
    library: &'static str,
    issuer: String,
    report: Report,
}

impl Findings {
    #[track_caller]
    fn step(&self, name: &str) -> &Value {
        self.report.step(name)
    }

    /// The server refused with this status and error, and the library told its user.
    #[track_caller]
    fn refused(&self, step: &str, status: u16, error: &str) {
        refused(&format!("{}, {step}", self.library), self.step(step), status, error);
    }

    /// The library refused what the server sent.
    #[track_caller]
    fn library_refused(&self, step: &str, reason: &str) {
        let told = self.step(step);
        let is_it = told["reason"].as_str().is_some_and(|told| told.contains(reason));
        assert!(is_it && told["error"].is_null(), "{}, {step}: {told}", self.library);
    }
}

#[track_caller]
fn refused(what: &str, told: &Value, status: u16, error: &str) {
    assert_eq!((&told["status"], &told["error"]), (&json!(status), &json!(error)), "{what}: {told}");
    if status == 401 {
        assert_eq!(told["challenge"], "Basic realm=\"client\"", "{what}: {told}");
    }
}

/// Runs a flow with each library; nothing is returned when there is nothing to run them with.
async fn flow(name: &str) -> Vec<Findings> {
    let mut all = Vec::new();
    for library in ["openid-client", "oauth4webapi"] {
        let issuer = OwnIssuer::start().await;
        let mut input = issuer.input();
        input["library"] = json!(library);
        input["flow"] = json!(name);
        let Some(report) = scripts::run(&format!("{library}: {name}"), "flows.mjs", input).await else { break };
        all.push(Findings { library, issuer: issuer.url.clone(), report });
    }
    all
}

#[tokio::test]
async fn discovery_by_either_standard_finds_the_server_under_its_own_name_alone() {
    for found in flow("discovery").await {
        for algorithm in ["oidc", "oauth2"] {
            let metadata = &found.step(algorithm)["metadata"];
            assert_eq!(metadata["issuer"], *found.issuer, "{}", found.library);
            assert_eq!(metadata["token_endpoint"], format!("{}/token", found.issuer));
            assert_eq!(metadata["authorization_response_iss_parameter_supported"], true);
            assert_eq!(metadata["code_challenge_methods_supported"], json!(["S256"]));
        }
        assert_eq!(found.step("another name")["code"], "OAUTH_JSON_ATTRIBUTE_COMPARISON_FAILED");
    }
}

#[tokio::test]
async fn a_code_with_pkce_brings_tokens_whatever_the_client_proves_itself_by() {
    for found in flow("code").await {
        for (client, proof, alg) in [
            ("shop", "basic", "RS256"),
            ("shop", "post", "RS256"),
            ("web", "none", "RS256"),
            ("signer", "key", "ES256"),
        ] {
            let step = found.step(&format!("{client} {proof}"));
            let issuer = json!(found.issuer);
            assert_eq!(step["callbackIss"], issuer, "RFC 9207");
            let id = &step["idToken"];
            assert_eq!((&id["iss"], &id["sub"], &id["aud"]), (&issuer, &json!(SUBJECT), &json!(client)), "{id}");
            assert!(id["hash"].is_string(), "{id}");
            let (header, claims) = (&step["access"]["header"], &step["access"]["claims"]);
            assert_eq!((&header["typ"], &header["alg"]), (&json!("at+jwt"), &json!(alg)), "{header}");
            assert_eq!((&claims["sub"], &claims["client_id"]), (&json!(SUBJECT), &json!(client)), "{claims}");
            assert_eq!(claims["aud"], json!(["orders-api", found.issuer]), "userinfo is one of its places");
            assert_eq!(claims["scope"], "openid orders:read");
            assert_eq!((&step["type"], &step["lives"]), (&json!("bearer"), &json!(300)), "{step}");
        }
    }
}

#[tokio::test]
async fn a_code_is_good_once_and_only_with_what_it_was_asked_for_with() {
    for found in flow("code refused").await {
        found.refused("wrong verifier", 400, "invalid_grant");
        found.refused("other redirect_uri", 400, "invalid_grant");
        for step in ["wrong verifier", "other redirect_uri"] {
            refused("the right one after it", &found.step(step)["again"], 400, "invalid_grant");
        }
        found.refused("guessed code", 400, "invalid_grant");
        found.refused("another client's code", 400, "invalid_grant");
        found.refused("replayed", 400, "invalid_grant");
        let after = found.step("after the replay");
        assert_eq!(after["access"], json!({ "active": false }));
        refused("the refresh token after the replay", &after["refresh"], 400, "invalid_grant");

        found.library_refused("other iss", "iss");
        found.library_refused("no iss", "iss");
        found.library_refused("other state", "state");
        found.library_refused("other nonce", "nonce");
    }
}

#[tokio::test]
async fn a_request_that_cannot_be_answered_is_told_to_the_client_or_else_to_the_user() {
    for found in flow("authorization refused").await {
        for (step, error) in [
            ("denied", "access_denied"),
            ("no challenge", "invalid_request"),
            ("plain challenge", "invalid_request"),
            ("scope", "invalid_scope"),
            ("response type", "unsupported_response_type"),
            ("nobody is logged in", "login_required"),
        ] {
            let told = found.step(step);
            assert_eq!(told["code"], "OAUTH_AUTHORIZATION_RESPONSE_ERROR", "{step}: {told}");
            assert_eq!(told["error"], error, "{step}");
        }
        for step in ["redirect_uri", "client"] {
            let page = found.step(step);
            assert_eq!(page["status"], 400, "{step}: {page}");
            assert!(page.get("url").is_none(), "{step}: {page}");
        }
    }
}

#[tokio::test]
async fn a_refresh_token_changes_with_each_use_and_an_old_one_takes_its_family_along() {
    for found in flow("refresh").await {
        let rotated = found.step("rotated");
        assert_eq!((&rotated["different"], &rotated["active"]), (&json!(3), &json!(true)), "{rotated}");
        assert_eq!(rotated["subject"], SUBJECT);
        found.refused("reused", 400, "invalid_grant");
        found.refused("the newest after it", 400, "invalid_grant");
        assert_eq!(found.step("access tokens after it")["active"], json!([false, false, false]));
        found.refused("another client's", 400, "invalid_grant");
        assert_eq!(found.step("still good")["active"], true);
    }
}

#[tokio::test]
async fn clients_get_tokens_of_their_own_by_secret_and_by_signature() {
    for found in flow("client credentials").await {
        for (client, proof) in [("worker", "basic"), ("worker", "post"), ("signer", "key")] {
            let token = found.step(&format!("{client} {proof}"));
            assert_eq!((&token["sub"], &token["client"]), (&json!(client), &json!(client)), "{token}");
            assert_eq!((&token["aud"], &token["scope"]), (&json!("orders-api"), &json!("orders:read")), "{token}");
            assert_eq!(token["refresh"], Value::Null);
        }
        for step in [
            "replayed assertion",
            "assertion for another server",
            "assertion for two servers",
            "expired assertion",
            "forged assertion",
            "wrong secret basic",
            "wrong secret post",
        ] {
            found.refused(step, 401, "invalid_client");
        }
        found.refused("foreign scope", 400, "invalid_scope");
        found.refused("foreign resource", 400, "invalid_target");
        found.refused("public client", 400, "unauthorized_client");
    }
}

#[tokio::test]
async fn a_service_exchanges_a_token_for_the_next_service_and_is_named_as_the_actor() {
    for found in flow("exchange").await {
        let token = found.step("exchanged");
        assert_eq!((&token["sub"], &token["aud"]), (&json!(SUBJECT), &json!("billing-api")), "{token}");
        assert_eq!((&token["act"], &token["client"]), (&json!({ "sub": "orders-api" }), &json!("orders-api")));
        assert_eq!(token["issuedType"], "urn:ietf:params:oauth:token-type:access_token");
        assert_eq!(token["refresh"], Value::Null);
        let next = found.step("exchanged again");
        assert_eq!(next["sub"], SUBJECT);
        assert_eq!(next["act"], json!({ "sub": "billing-api", "act": { "sub": "orders-api" } }));
        found.refused("foreign audience", 400, "invalid_target");
        found.refused("not for this client", 400, "invalid_request");
        found.refused("no token", 400, "invalid_request");
        found.refused("client without exchange", 400, "unauthorized_client");
    }
}

#[tokio::test]
async fn a_device_waits_for_its_user() {
    for found in flow("device").await {
        let token = found.step("allowed");
        assert_eq!((&token["sub"], &token["refresh"]), (&json!(SUBJECT), &json!("string")), "{token}");
        assert!(token["page"].as_str().unwrap().contains("Your device is connected"), "{token}");
        found.refused("code again", 400, "invalid_grant");
        found.refused("denied", 400, "access_denied");
        found.refused("guessed", 400, "invalid_grant");
        found.refused("foreign scope", 400, "invalid_scope");
    }
}

#[tokio::test]
async fn introspection_answers_those_whom_a_token_was_made_for_in_json_and_signed() {
    for found in flow("introspection").await {
        for (kind, client) in [("JWT", "shop"), ("reference", "reference-shop")] {
            for form in ["JSON", "signed"] {
                let told = found.step(&format!("{kind} {form}"));
                let active = (&told["active"], &told["sub"], &told["client"]);
                assert_eq!(active, (&json!(true), &json!(SUBJECT), &json!(client)), "{told}");
                assert_eq!((&told["iss"], &told["aud"][0]), (&json!(found.issuer), &json!("orders-api")), "{told}");
                assert_eq!((&told["scope"], &told["isJwt"]), (&json!("openid orders:read"), &json!(kind == "JWT")));
            }
            for other in ["for another", "refresh"] {
                let told = found.step(&format!("{kind} {other}"));
                assert_eq!((&told["active"], &told["sub"]), (&json!(false), &Value::Null), "{told}");
            }
        }
        for step in ["unknown", "unknown signed"] {
            assert_eq!(found.step(step)["active"], false);
        }
        found.refused("wrong secret", 401, "invalid_client");
        found.refused("public client", 401, "invalid_client");
    }
}

#[tokio::test]
async fn what_a_client_revokes_is_dead_and_nothing_else() {
    for found in flow("revocation").await {
        let access = found.step("access token");
        assert_eq!((&access["active"], &access["next"]), (&json!(false), &json!(true)), "its grant lives on");
        let refresh = found.step("refresh token");
        assert_eq!(refresh["active"], false, "the whole grant is dead");
        refused("a revoked refresh token", &refresh["refresh"], 400, "invalid_grant");
        found.refused("another client's", 400, "invalid_grant");
        assert_eq!(found.step("another client's")["active"], true);
        assert_eq!(found.step("JWT")["active"], false);
        assert_eq!(found.step("none at all")["done"], true, "RFC 7009 section 2.2");
    }
}

#[tokio::test]
async fn userinfo_says_what_the_scopes_open() {
    for found in flow("userinfo").await {
        assert_eq!(found.step("claims")["claims"], json!({ "sub": SUBJECT, "name": "Alice" }), "and no e-mail address");
        found.library_refused("another subject", "sub");
        for (step, status, challenge) in [
            ("no token", 401, r#"Bearer error="invalid_token""#),
            ("revoked", 401, r#"Bearer error="invalid_token""#),
            ("without openid", 403, r#"Bearer error="insufficient_scope", scope="openid""#),
        ] {
            let told = found.step(step);
            assert_eq!((&told["status"], &told["challenge"]), (&json!(status), &json!(challenge)), "{step}");
        }
    }
}

#[tokio::test]
async fn a_client_ends_the_session_and_sends_the_user_nowhere_else() {
    for found in flow("end session").await {
        assert_eq!(found.step("second visit")["code"], true, "without a second login");
        let page = found.step("foreign address");
        assert_eq!((&page["status"], page.get("url")), (&json!(400), None), "{page}");
        assert_eq!(found.step("still logged in")["code"], true);
        let went = found.step("logged out")["url"].as_str().expect("an address").to_owned();
        assert!(went.ends_with("/bye?state=s1"), "{went}");
        assert_eq!(found.step("third visit")["error"], "login_required");
        found.refused("refresh token after it", 400, "invalid_grant");
    }
}

#[tokio::test]
async fn a_service_by_another_library_takes_our_access_tokens_and_nothing_else_of_ours() {
    for found in flow("access token").await {
        let token = found.step("accepted");
        assert_eq!((&token["sub"], &token["client"]), (&json!(SUBJECT), &json!("shop")), "{token}");
        found.library_refused("other audience", "aud");
        found.library_refused("ID token", "typ");
        found.library_refused("forged", "signature");
    }
}
