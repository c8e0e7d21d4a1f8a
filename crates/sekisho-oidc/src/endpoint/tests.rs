#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::collections::{HashMap, VecDeque};
use std::error::Error;
use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;
use sekisho_http::{HttpError, HttpRequest};
use serde_json::Value;

use super::*;

const URL: &str = "https://id.example/token";
const NOW: UnixSeconds = UnixSeconds::new(1_800_000_000);
const GOOD: &str = r#"{"access_token":"at-1","token_type":"Bearer","expires_in":300}"#;

/// Answers as it was told, one after the other, and keeps what it was asked.
#[derive(Debug, Default)]
struct Script {
    answers: Mutex<VecDeque<Result<HttpResponse, HttpError>>>,
    asked: Mutex<Vec<HttpRequest>>,
    hangs: bool,
}

#[async_trait]
impl HttpClient for Script {
    async fn send(&self, request: HttpRequest, _: HttpLimits) -> Result<HttpResponse, HttpError> {
        self.asked.lock().unwrap().push(request);
        if self.hangs {
            std::future::pending::<()>().await;
        }
        self.answers.lock().unwrap().pop_front().expect("the script goes on")
    }
}

impl Script {
    fn new(answers: impl IntoIterator<Item = HttpResponse>) -> Arc<Self> {
        let answers = Mutex::new(answers.into_iter().map(Ok).collect());
        Arc::new(Self { answers, asked: Mutex::default(), hangs: false })
    }

    fn failing(error: HttpError) -> Arc<Self> {
        Arc::new(Self { answers: Mutex::new([Err(error)].into()), ..Self::default() })
    }

    fn count(&self) -> usize {
        self.asked.lock().unwrap().len()
    }

    fn header(&self, index: usize, name: &str) -> Option<String> {
        let asked = self.asked.lock().unwrap();
        asked[index].headers.iter().find(|(header, _)| *header == name).map(|(_, value)| value.clone())
    }

    /// The form, each parameter of which must stand once.
    fn form(&self, index: usize) -> HashMap<String, String> {
        let mut form = HashMap::new();
        for (name, value) in url::form_urlencoded::parse(&self.asked.lock().unwrap()[index].body).into_owned() {
            assert!(form.insert(name.clone(), value).is_none(), "{name} stands twice");
        }
        form
    }

    fn proof(&self, index: usize) -> Value {
        let proof = self.header(index, "dpop").expect("a proof");
        let bytes = base64_simd::URL_SAFE_NO_PAD.decode_to_vec(proof.split('.').nth(1).unwrap()).unwrap();
        serde_json::from_slice(&bytes).unwrap()
    }
}

fn answer(status: u16, headers: &[(&str, &str)], body: &str) -> HttpResponse {
    let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    HttpResponse { status, headers, body: body.into() }
}

fn json(status: u16, body: &str) -> HttpResponse {
    answer(status, &[("content-type", "application/json;charset=UTF-8")], body)
}

fn backend() -> Backend {
    #[cfg(feature = "aws-lc-rs")]
    return Backend::aws_lc();
    #[cfg(not(feature = "aws-lc-rs"))]
    return Backend::ring();
}

fn endpoint_as(credentials: ClientCredentials, script: &Arc<Script>, dpop: bool) -> TokenEndpoint {
    let signer = dpop.then(|| DpopSigner::generate(backend()).unwrap());
    TokenEndpoint::new(credentials, "https://id.example", backend(), Arc::clone(script) as _, signer).unwrap()
}

fn endpoint(script: &Arc<Script>) -> TokenEndpoint {
    endpoint_as(ClientCredentials::basic("orders", "hunter2"), script, false)
}

/// Asks in the three ways that read tokens, which must agree.
async fn every_way(response: &HttpResponse, dpop: bool) -> Vec<Result<TokenAnswer, TokenError>> {
    let ask = || {
        let script = Script::new([response.clone()]);
        endpoint_as(ClientCredentials::basic("orders", "hunter2"), &script, dpop)
    };
    let (code, verifier) = (Secret::from("code-1"), Secret::from("v".repeat(43)));
    vec![
        ask().code(URL, &code, &verifier, "https://app.example/cb", NOW).await,
        ask().refresh(URL, &Secret::from("rt-0"), None, NOW).await,
        ask().client_credentials(URL, None, &[], NOW).await,
        ask().tokens(URL, &[("grant_type", "x")], NOW).await,
    ]
}

fn kind(outcome: &Result<TokenAnswer, TokenError>) -> Option<FailureKind> {
    match outcome {
        Err(TokenError::Failure(failure)) => Some(failure.kind()),
        _ => None,
    }
}

#[tokio::test]
async fn refuses_an_answer_that_is_not_what_it_should_be() {
    let long = format!(r#"{{"access_token":"{}","token_type":"Bearer"}}"#, "a".repeat(16 * 1024 + 1));
    let deep = format!(r#"{{"access_token":"a","token_type":"Bearer","x":{}{}}}"#, "[".repeat(40), "]".repeat(40));
    for body in [
        "",
        "access_token=a&token_type=Bearer",
        "[]",
        "{}",
        r#"{"access_token":"a"}"#,
        r#"{"token_type":"Bearer"}"#,
        r#"{"access_token":"","token_type":"Bearer"}"#,
        r#"{"access_token":null,"token_type":"Bearer"}"#,
        r#"{"access_token":1,"token_type":"Bearer"}"#,
        r#"{"access_token":"a b","token_type":"Bearer"}"#,
        r#"{"access_token":"a\r\nX-Evil: 1","token_type":"Bearer"}"#,
        r#"{"access_token":"ä","token_type":"Bearer"}"#,
        r#"{"access_token":"a","token_type":"mac"}"#,
        r#"{"access_token":"a","token_type":"N_A"}"#,
        r#"{"access_token":"a","token_type":""}"#,
        r#"{"access_token":"a","token_type":["Bearer"]}"#,
        r#"{"access_token":"a","token_type":"DPoP"}"#,
        r#"{"access_token":"a","token_type":"Bearer","expires_in":"300"}"#,
        r#"{"access_token":"a","token_type":"Bearer","expires_in":-1}"#,
        r#"{"access_token":"a","token_type":"Bearer","expires_in":1.5}"#,
        r#"{"access_token":"a","token_type":"Bearer","expires_in":1e400}"#,
        r#"{"access_token":"a","token_type":"Bearer","scope":["a"]}"#,
        r#"{"access_token":"a","token_type":"Bearer","refresh_token":""}"#,
        r#"{"access_token":"a","token_type":"Bearer","refresh_token":"a\u0000"}"#,
        r#"{"access_token":"a","token_type":"Bearer","id_token":"a\nb"}"#,
        r#"{"access_token":"a","token_type":"Bearer","id_token":{}}"#,
        r#"{"access_token":"a","access_token":"b","token_type":"Bearer"}"#,
        r#"{"access_token":"a","token_type":"Bearer","x":{"y":1,"y":2}}"#,
        r#"{"access_token":"a","token_type":"Bearer"} {}"#,
        &long,
        &deep,
    ] {
        for outcome in every_way(&json(200, body), false).await {
            assert_eq!(kind(&outcome), Some(FailureKind::BadGateway), "{body}: {outcome:?}");
        }
    }
    for response in [
        answer(200, &[("content-type", "text/html")], GOOD),
        answer(201, &[], GOOD),
        answer(204, &[], ""),
        answer(302, &[("location", "https://evil.example/")], GOOD),
        json(200, &format!("{GOOD}{}", " ".repeat(150_001))),
    ] {
        for outcome in every_way(&response, false).await {
            assert_eq!(kind(&outcome), Some(FailureKind::BadGateway), "{response:?}: {outcome:?}");
        }
    }
}

#[tokio::test]
async fn takes_no_unbound_token_in_answer_to_a_proof() {
    for outcome in every_way(&json(200, GOOD), true).await {
        assert_eq!(kind(&outcome), Some(FailureKind::BadGateway), "{outcome:?}");
    }
    let bound = r#"{"access_token":"a","token_type":"dPoP"}"#;
    for outcome in every_way(&json(200, bound), true).await {
        assert!(outcome.unwrap().tokens.is_dpop);
    }
    let script = Script::new([json(200, GOOD)]);
    let lax = endpoint_as(ClientCredentials::basic("orders", "x"), &script, true).accepting_bearer();
    assert!(!lax.tokens(URL, &[], NOW).await.unwrap().tokens.is_dpop);
}

#[tokio::test]
async fn takes_a_good_answer_in_every_way_alike() {
    let body = r#"{"access_token":"at-1","token_type":"BEARER","expires_in":300,"refresh_token":"rt 1","id_token":"a.b.c",
        "scope":"openid  orders","issued_token_type":"t","not-before-policy":0,"session_state":null}"#;
    for outcome in every_way(&json(200, body), false).await {
        let TokenAnswer { tokens, issued_token_type } = outcome.unwrap();
        assert_eq!(tokens.access_token, Secret::from("at-1"));
        assert_eq!(tokens.expires_at, Some(UnixSeconds::new(1_800_000_300)));
        assert_eq!(tokens.refresh_token, Some(Secret::from("rt 1")));
        assert_eq!(tokens.id_token, Some(Secret::from("a.b.c")));
        assert_eq!((tokens.scope.as_deref(), issued_token_type.as_deref()), (Some("openid orders"), Some("t")));
        assert!(!tokens.is_dpop);
    }
    for outcome in every_way(&answer(200, &[], r#"{"access_token":"a=","token_type":"Bearer"}"#), false).await {
        let tokens = outcome.unwrap().tokens;
        assert!(tokens.expires_at.is_none() && tokens.scope.is_none() && tokens.refresh_token.is_none());
    }
    let endless = format!(r#"{{"access_token":"a","token_type":"Bearer","expires_in":{}}}"#, u64::MAX);
    let outcome = every_way(&json(200, &endless), false).await.pop().unwrap();
    assert_eq!(outcome.unwrap().tokens.expires_at, Some(UnixSeconds::MAX));
}

#[tokio::test]
async fn says_what_an_error_means_and_nothing_of_its_text() {
    use FailureKind::{BadGateway, Misconfigured, Unavailable};
    let said = |outcome: &Result<TokenAnswer, TokenError>| match outcome {
        Err(TokenError::Grant) => "grant".to_owned(),
        Err(TokenError::Refused(code)) => format!("refused: {code}"),
        Err(TokenError::Failure(failure)) => format!("{:?}", failure.kind()),
        other => panic!("{other:?}"),
    };
    let failure = |kind: FailureKind| format!("{kind:?}");
    for (status, error, expected) in [
        (400, "invalid_grant", "grant".to_owned()),
        (400, "invalid_scope", "refused: invalid_scope".to_owned()),
        (400, "invalid_target", "refused: invalid_target".to_owned()),
        (400, "unauthorized_client", "refused: unauthorized_client".to_owned()),
        (403, "access_denied", "refused: access_denied".to_owned()),
        (400, "invalid_dpop_proof", "refused: invalid_dpop_proof".to_owned()),
        (401, "invalid_client", failure(Misconfigured)),
        (401, "unauthorized_client", failure(Misconfigured)),
        (400, "invalid_client", failure(Misconfigured)),
        (400, "temporarily_unavailable", failure(Unavailable)),
        (400, "use_dpop_nonce", failure(BadGateway)),
        (400, "top-secret", failure(BadGateway)),
        (400, "INVALID_GRANT", failure(BadGateway)),
        (500, "invalid_grant", failure(Unavailable)),
        (503, "", failure(Unavailable)),
        (429, "invalid_grant", failure(Unavailable)),
        (200, "invalid_grant", failure(BadGateway)),
    ] {
        let body = format!(r#"{{"error":"{error}","error_description":"top-secret","access_token":"top-secret"}}"#);
        for outcome in every_way(&json(status, &body), false).await {
            assert_eq!(said(&outcome), expected, "{status} {error}");
            assert_tells_nothing(&outcome.unwrap_err());
        }
    }
    for body in ["top-secret", "", r#"{"error":["top-secret"]}"#, r#"{"error":"invalid_grant","error":"top-secret"}"#] {
        for outcome in every_way(&answer(400, &[], body), false).await {
            assert_eq!(kind(&outcome), Some(BadGateway), "{body}");
            assert_tells_nothing(&outcome.unwrap_err());
        }
    }
    for outcome in every_way(&json(200, r#"{"access_token":"top-secret","token_type":7}"#), false).await {
        assert_tells_nothing(&outcome.unwrap_err());
    }
}

fn assert_tells_nothing(error: &TokenError) {
    let mut shown = format!("{error:?} {error}");
    let mut source = error.source();
    while let Some(error) = source {
        shown += &format!(" {error:?} {error}");
        source = error.source();
    }
    for secret in ["top-secret", "hunter2", "code-1", "rt-0"] {
        assert!(!shown.contains(secret), "{shown}");
    }
}

#[tokio::test]
async fn a_pause_that_the_provider_asks_for_goes_on_within_bounds() {
    for (header, expected) in [("7", 7), ("0", 1), ("86400", 60), ("soon", 1)] {
        let response = answer(503, &[("retry-after", header)], "");
        for outcome in every_way(&response, false).await {
            let Err(TokenError::Failure(failure)) = outcome else { panic!("{outcome:?}") };
            assert_eq!(failure.retry_after(), Some(Duration::from_secs(expected)), "{header}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn no_answer_is_a_failure_to_be_tried_again() {
    let script = Arc::new(Script { hangs: true, ..Script::default() });
    let outcome = endpoint(&script).tokens(URL, &[], NOW).await;
    assert_eq!(kind(&outcome), Some(FailureKind::Unavailable));
    for (error, expected) in [
        (HttpError::Connect("refused".into()), FailureKind::Unavailable),
        (HttpError::Timeout, FailureKind::Unavailable),
        (HttpError::Broken("off".into()), FailureKind::Unavailable),
        (HttpError::TooLarge, FailureKind::BadGateway),
        (HttpError::Url, FailureKind::Misconfigured),
    ] {
        let script = Script::failing(error);
        let outcome = endpoint(&script).refresh(URL, &Secret::from("rt-0"), None, NOW).await;
        assert_eq!((kind(&outcome), script.count()), (Some(expected), 1), "a refresh token is sent once");
    }
}

#[tokio::test]
async fn asks_no_address_in_the_clear() {
    for url in ["http://id.example/token", "https://u:p@id.example/token", "file:///token", "/token", ""] {
        let script = Script::new([]);
        let outcomes = [
            endpoint(&script).tokens(url, &[], NOW).await,
            endpoint(&script).client_credentials(url, None, &[], NOW).await,
        ];
        for outcome in outcomes {
            assert_eq!(kind(&outcome), Some(FailureKind::Misconfigured), "{url}");
        }
        assert_eq!(script.count(), 0, "{url}");
    }
}

#[tokio::test]
async fn writes_the_forms_of_the_grants() {
    let script = Script::new(std::iter::repeat_with(|| json(200, GOOD)).take(4));
    let endpoint = endpoint(&script);
    let (code, verifier) = (Secret::from("c&d=e"), Secret::from("v".repeat(43)));
    endpoint.code(URL, &code, &verifier, "https://app.example/cb?a=b", NOW).await.unwrap();
    endpoint.refresh(URL, &Secret::from("rt-0"), Some("b a"), NOW).await.unwrap();
    endpoint.client_credentials(URL, Some("a b"), &[("audience", "x"), ("resource", "y")], NOW).await.unwrap();
    let form = |pairs: &[(&str, &str)]| -> HashMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    };
    assert_eq!(
        script.form(0),
        form(&[
            ("grant_type", "authorization_code"),
            ("code", "c&d=e"),
            ("code_verifier", &"v".repeat(43)),
            ("redirect_uri", "https://app.example/cb?a=b"),
        ])
    );
    assert_eq!(script.form(1), form(&[("grant_type", "refresh_token"), ("refresh_token", "rt-0"), ("scope", "b a")]));
    let expected = [("grant_type", "client_credentials"), ("scope", "a b"), ("audience", "x"), ("resource", "y")];
    assert_eq!(script.form(2), form(&expected));
    // "orders:hunter2"
    assert_eq!(script.header(2, "authorization").as_deref(), Some("Basic b3JkZXJzOmh1bnRlcjI="));
    assert_eq!(script.header(2, "dpop"), None);

    endpoint.revoke(URL, &Secret::from("rt-0"), "refresh_token", NOW).await.unwrap();
    assert_eq!(script.form(3), form(&[("token", "rt-0"), ("token_type_hint", "refresh_token")]));
}

#[tokio::test]
async fn says_who_we_are_once_and_where_it_belongs() {
    let script = Script::new(std::iter::repeat_with(|| json(200, GOOD)).take(4));
    let post = endpoint_as(ClientCredentials::post("orders", "hunter2"), &script, false);
    post.client_credentials(URL, None, &[], NOW).await.unwrap();
    post.tokens(URL, &[("client_id", "orders")], NOW).await.unwrap();
    for index in [0, 1] {
        let form = script.form(index);
        assert_eq!((&*form["client_id"], &*form["client_secret"]), ("orders", "hunter2"));
        assert_eq!(script.header(index, "authorization"), None);
    }
    let certificate = endpoint_as(ClientCredentials::certificate("orders"), &script, false);
    certificate.client_credentials(URL, None, &[], NOW).await.unwrap();
    assert_eq!(script.form(2)["client_id"], "orders");
    endpoint(&script).client_credentials(URL, None, &[], NOW).await.unwrap();
    assert!(!script.form(3).contains_key("client_id"), "never an empty one");
}

fn asks_for(nonce: Option<&str>) -> HttpResponse {
    let headers: Vec<_> = nonce.iter().map(|nonce| ("dpop-nonce", *nonce)).collect();
    answer(400, &headers, r#"{"error":"use_dpop_nonce"}"#)
}

#[tokio::test]
async fn sends_again_once_with_the_nonce_that_is_asked_for() {
    let key = sekisho_jwt::jwks::SigningKey::generate(backend(), sekisho_jwt::Algorithm::Ed25519).unwrap();
    let credentials = ClientCredentials::private_key_jwt("orders", sekisho_jwt::Signer::new(key));
    let bound = r#"{"access_token":"a","token_type":"DPoP"}"#;
    let next = answer(200, &[("dpop-nonce", "n-2")], bound);
    let script = Script::new([asks_for(Some("n-1")), next, json(200, bound)]);
    let endpoint = endpoint_as(credentials, &script, true);
    endpoint.refresh(URL, &Secret::from("rt-0"), None, NOW).await.unwrap();
    assert_eq!(script.count(), 2);
    let (first, second) = (script.proof(0), script.proof(1));
    assert_eq!((first.get("nonce"), &second["nonce"]), (None, &Value::from("n-1")));
    assert_ne!(first["jti"], second["jti"]);
    assert_eq!((&first["htm"], &first["htu"], first.get("ath")), (&"POST".into(), &URL.into(), None));
    assert_ne!(script.form(0)["client_assertion"], script.form(1)["client_assertion"]);
    assert_eq!(script.form(1)["refresh_token"], "rt-0");
    // The nonce of a good answer is for the next proof, of the same server alone.
    endpoint.client_credentials(URL, None, &[], NOW).await.unwrap();
    assert_eq!(script.proof(2)["nonce"], "n-2");
    let proof = endpoint.proof("GET", "https://api.example/a?b", Some(&Secret::from("a")), NOW).unwrap().unwrap();
    let claims = base64_simd::URL_SAFE_NO_PAD.decode_to_vec(proof.split('.').nth(1).unwrap()).unwrap();
    let claims: Value = serde_json::from_slice(&claims).unwrap();
    assert_eq!((claims.get("nonce"), &claims["htu"]), (None, &"https://api.example/a".into()));
    // SHA-256 of "a"
    assert_eq!(claims["ath"], "ypeBEsobvcr6wjGzmiPcTaeG7_gUfE5yuYB3ha_uSLs");
}

#[tokio::test]
async fn never_sends_a_third_time_nor_without_a_new_nonce() {
    for (answers, count) in [
        (vec![asks_for(Some("n-1")), asks_for(Some("n-2"))], 2),
        (vec![asks_for(Some("n-1")), asks_for(Some("n-1"))], 2),
        (vec![asks_for(None)], 1),
        (vec![asks_for(Some("not a nonce"))], 1),
        (vec![answer(403, &[("dpop-nonce", "n-1")], r#"{"error":"use_dpop_nonce"}"#)], 1),
        (vec![answer(400, &[("dpop-nonce", "n-1")], r#"{"error":"invalid_request"}"#)], 1),
    ] {
        let script = Script::new(answers);
        let endpoint = endpoint_as(ClientCredentials::basic("orders", "x"), &script, true);
        endpoint.tokens(URL, &[], NOW).await.unwrap_err();
        assert_eq!(script.count(), count);
    }
    // Without a key there is no proof to add a nonce to.
    let script = Script::new([asks_for(Some("n-1"))]);
    endpoint(&script).tokens(URL, &[], NOW).await.unwrap_err();
    assert_eq!(script.count(), 1);
}

#[tokio::test]
async fn debug_shows_no_secret() {
    let script =
        Script::new([json(200, r#"{"access_token":"top-secret","token_type":"Bearer","id_token":"top-secret"}"#)]);
    let endpoint = endpoint(&script);
    let answer = endpoint.tokens(URL, &[], NOW).await.unwrap();
    let shown = format!("{endpoint:?} {answer:?}");
    assert!(!shown.contains("hunter2") && !shown.contains("top-secret"), "{shown}");
}

#[test]
fn refuses_credentials_that_cannot_be_sent() {
    let made =
        TokenEndpoint::new(ClientCredentials::basic("", "x"), "https://id.example", backend(), Script::new([]), None);
    assert!(made.is_err());
}
