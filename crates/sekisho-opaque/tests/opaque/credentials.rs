//! What goes over the wire.

use std::sync::Arc;

use sekisho_jwt::jwks::{SigningKey, StaticKeys};
use sekisho_jwt::{Algorithm, Backend, Signer, StatementVerifier};
use sekisho_opaque::{ClientCredentials, Opaque};

use crate::server::{Request, Server};
use crate::support::{AUDIENCE, ISSUER, NOW, TOKEN, active, ask, yes};

async fn sent(credentials: ClientCredentials, token: &str) -> Request {
    let server = Server::start(active()).await;
    let client = sekisho_http::ReqwestClient::new(std::time::Duration::from_secs(1)).unwrap();
    let introspection = Opaque::introspect(server.url(), credentials)
        .issuer(ISSUER)
        .audience(AUDIENCE)
        .with_http_client(Arc::new(client))
        .build()
        .unwrap();
    assert_eq!(ask(&introspection, token, NOW).await, yes());
    let mut requests = server.requests();
    assert_eq!(requests.len(), 1);
    requests.remove(0)
}

fn pairs(form: &[(String, String)]) -> Vec<(&str, &str)> {
    form.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
}

#[tokio::test]
async fn asks_as_the_standard_says() {
    let request = sent(ClientCredentials::basic("gate:way", "a b"), TOKEN).await;
    assert!(request.head.starts_with("POST /introspect HTTP/1.1"), "{}", request.head);
    assert_eq!(request.header("content-type"), Some("application/x-www-form-urlencoded"));
    assert_eq!(request.header("accept"), Some("application/json"));
    let basic = base64_simd::STANDARD.encode_to_string("gate%3Away:a+b");
    assert_eq!(request.header("authorization"), Some(format!("Basic {basic}").as_str()));
    assert_eq!(pairs(&request.form()), [("token", TOKEN), ("token_type_hint", "access_token")]);
    assert!(!request.head.contains(TOKEN), "a token never stands in a URL or a header");
}

#[tokio::test]
async fn each_method_sends_its_own_proof_and_no_other() {
    let request = sent(ClientCredentials::post("gateway", "a&b=c"), TOKEN).await;
    assert_eq!(request.header("authorization"), None);
    assert_eq!(pairs(&request.form())[2..], [("client_id", "gateway"), ("client_secret", "a&b=c")]);
    let request = sent(ClientCredentials::bearer("our.own~token"), TOKEN).await;
    assert_eq!(request.header("authorization"), Some("Bearer our.own~token"));
    assert_eq!(request.form().len(), 2);
    let request = sent(ClientCredentials::certificate("gateway"), TOKEN).await;
    assert_eq!(request.header("authorization"), None);
    assert_eq!(pairs(&request.form())[2..], [("client_id", "gateway")]);
}

#[tokio::test]
async fn an_assertion_is_one_that_a_provider_takes() {
    let key = SigningKey::generate(Backend::default(), Algorithm::Es256).unwrap();
    let request = sent(ClientCredentials::private_key_jwt("gateway", Signer::new(key.clone())), TOKEN).await;
    let form = request.form();
    assert_eq!(form[2].1, "urn:ietf:params:oauth:client-assertion-type:jwt-bearer");
    assert_eq!(form[3].0, "client_assertion");
    // What the provider does: RFC 7523 §3.
    let keys = Arc::new(StaticKeys::new([key.verifying_key()]));
    let verifier = StatementVerifier::new("gateway", ISSUER, keys).unwrap().with_type("JWT");
    let claims = verifier.verify(&form[3].1, NOW).await.unwrap();
    assert_eq!(claims.get().get("sub").unwrap().as_str().unwrap(), "gateway");
    assert_eq!(claims.get().get("exp").unwrap().as_numeric_date(), Some(NOW.as_secs() + 60));
}

#[tokio::test]
async fn no_byte_of_a_token_becomes_another_parameter() {
    for token in [
        "a&token_type_hint=b",
        "a&client_id=evil&token=b",
        "a\r\nHost: evil",
        "a\0b",
        "a%26token=b",
        "a+b c",
        "a=b;c",
        "ä€😀",
        "a#b?c",
    ] {
        let request = sent(ClientCredentials::post("gateway", "s"), token).await;
        let form = request.form();
        let names: Vec<_> = form.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["token", "token_type_hint", "client_id", "client_secret"], "{token:?}");
        assert_eq!(form[0].1, token, "encoded once");
        assert!(request.body.bytes().all(|byte| byte.is_ascii_graphic()), "{}", request.body);
        assert_eq!(request.header("host").map(|host| host.starts_with("127.0.0.1")), Some(true));
    }
}
