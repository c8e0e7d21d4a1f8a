//! oidc-provider: a certified OpenID provider with opaque tokens, introspection and JWTs.

use std::time::Duration;

use sekisho_opaque::ClientCredentials;
use serde_json::{Value, json};
use tokio::sync::RwLock;

use crate::setup::{self, altered, header, part};

/// Who uses the provider holds it for reading; who kills it, which makes it forget tokens and keys, for writing.
pub(crate) static TURN: RwLock<()> = RwLock::const_new(());

/// The running provider; `tests/servers/README.md` lists its clients and resources.
pub(crate) struct OidcProvider {
    url: String,
    http: reqwest::Client,
}

impl OidcProvider {
    /// Returns `None`, after a line that says so, when there is none.
    pub(crate) fn reach(test: &str) -> Option<Self> {
        Some(Self { url: setup::variable("SEKISHO_OIDC_PROVIDER_URL", test)?, http: setup::http() })
    }

    /// Returns the issuer identifier.
    pub(crate) fn issuer(&self) -> &str {
        &self.url
    }

    pub(crate) async fn discovery(&self) -> Value {
        let url = format!("{}/.well-known/openid-configuration", self.url);
        self.http.get(url).send().await.expect("an answer").json().await.expect("JSON")
    }

    /// Registers a client ([RFC 7591](https://www.rfc-editor.org/rfc/rfc7591)) and returns its credentials.
    pub(crate) async fn register(&self, metadata: &Value) -> ClientCredentials {
        let client = self.registered(metadata).await;
        let member = |name: &str| client[name].as_str().unwrap_or_else(|| panic!("no {name}: {client}")).to_owned();
        ClientCredentials::basic(member("client_id"), member("client_secret"))
    }

    /// Registers a client that has a key and no secret, and returns its id.
    pub(crate) async fn register_id(&self, metadata: &Value) -> String {
        let client = self.registered(metadata).await;
        assert!(client.get("client_secret").is_none(), "{client}");
        client["client_id"].as_str().unwrap_or_else(|| panic!("{client}")).to_owned()
    }

    async fn registered(&self, metadata: &Value) -> Value {
        let request = self.http.post(format!("{}/reg", self.url)).bearer_auth("registration-token").json(metadata);
        let answer = request.send().await.expect("an answer");
        let (status, client) = (answer.status(), answer.json::<Value>().await.expect("JSON"));
        assert_eq!(status, 201, "{client}");
        client
    }

    /// Gets an access token by client credentials; `resource` is empty for none.
    pub(crate) async fn token(&self, client: &str, resource: &str) -> String {
        let mut form = vec![("grant_type", "client_credentials"), ("scope", "orders:read")];
        if !resource.is_empty() {
            form.push(("resource", resource));
        }
        let (status, _, body) = self.post("/token", client, "application/json", &form).await;
        assert_eq!(status, 200, "{body}");
        let answer: Value = serde_json::from_str(&body).expect("JSON");
        answer["access_token"].as_str().expect("an access token").to_owned()
    }

    pub(crate) async fn revoke(&self, client: &str, token: &str) {
        let (status, _, body) = self.post("/token/revocation", client, "*/*", &[("token", token)]).await;
        assert_eq!(status, 200, "{body}");
    }

    /// Asks about a token in the name of `client` and returns status, media type and body.
    pub(crate) async fn introspect(&self, client: &str, token: &str, accept: &str) -> (u16, String, String) {
        self.post("/token/introspection", client, accept, &[("token", token)]).await
    }

    async fn post(&self, path: &str, client: &str, accept: &str, form: &[(&str, &str)]) -> (u16, String, String) {
        let request = self.http.post(format!("{}{path}", self.url)).header("accept", accept).form(form);
        let answer = request.basic_auth(client, Some(format!("{client}-secret"))).send().await.expect("an answer");
        let media = answer.headers().get("content-type").and_then(|media| media.to_str().ok()).unwrap_or_default();
        let media = media.split(';').next().unwrap_or_default().to_owned();
        (answer.status().as_u16(), media, answer.text().await.expect("a body"))
    }

    async fn introspect_json(&self, client: &str, token: &str) -> Value {
        let (status, media, body) = self.introspect(client, token, "application/json").await;
        assert_eq!((status, &*media), (200, "application/json"), "{body}");
        serde_json::from_str(&body).expect("JSON")
    }
}

#[tokio::test]
async fn an_opaque_token_is_active_until_it_is_revoked() {
    let Some(provider) = OidcProvider::reach("an opaque token of oidc-provider") else { return };
    let _turn = TURN.read().await;
    let token = provider.token("worker", "urn:orders-api").await;
    assert!(!token.contains('.'), "it is no JWT");
    let answer = provider.introspect_json("orders-api", &token).await;
    assert_eq!(answer["active"], true, "{answer}");
    assert_eq!(answer["iss"], provider.issuer());
    assert_eq!(answer["aud"], "orders-api");
    assert_eq!(answer["client_id"], "worker");
    assert_eq!(answer["scope"], "orders:read");
    let without_audience = provider.token("worker", "").await;
    assert!(provider.introspect_json("orders-api", &without_audience).await.get("aud").is_none());

    let inactive = json!({ "active": false });
    assert_eq!(provider.introspect_json("orders-api", "no-such-token").await, inactive);
    assert_eq!(provider.introspect_json("worker", &token).await, inactive, "a worker may not ask");
    provider.revoke("worker", &token).await;
    assert_eq!(provider.introspect_json("orders-api", &token).await, inactive);
}

#[tokio::test]
async fn a_brief_token_becomes_inactive_by_itself() {
    let Some(provider) = OidcProvider::reach("a brief token of oidc-provider") else { return };
    let _turn = TURN.read().await;
    let token = provider.token("brief-worker", "urn:orders-api").await;
    let answer = provider.introspect_json("orders-api", &token).await;
    assert_eq!(answer["exp"].as_u64().unwrap() - answer["iat"].as_u64().unwrap(), 5, "{answer}");
    for _ in 0..100 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        if provider.introspect_json("orders-api", &token).await == json!({ "active": false }) {
            return;
        }
    }
    panic!("still active");
}

#[tokio::test]
async fn an_answer_about_a_token_is_signed_on_request() {
    let Some(provider) = OidcProvider::reach("signed introspection by oidc-provider") else { return };
    let _turn = TURN.read().await;
    let token = provider.token("worker", "urn:orders-api").await;
    for (client, alg) in [("orders-api", "RS256"), ("orders-api-es256", "ES256")] {
        let (status, media, body) = provider.introspect(client, &token, "application/token-introspection+jwt").await;
        assert_eq!((status, &*media), (200, "application/token-introspection+jwt"), "{body}");
        assert_eq!(header(&body, "alg"), alg);
        assert_eq!(header(&body, "typ"), "token-introspection+jwt");
        let claims = part(&body, 1);
        assert_eq!(claims["aud"], client, "{claims}");
        assert_eq!(claims["token_introspection"]["active"], true, "{claims}");
        assert_eq!(claims["token_introspection"]["aud"], "orders-api", "{claims}");
    }
}

#[tokio::test]
async fn its_jwts_are_accepted_and_altered_ones_are_not() {
    let Some(provider) = OidcProvider::reach("JWTs of oidc-provider") else { return };
    let _turn = TURN.read().await;
    let verifier = sekisho_jwt::Jwt::issuer(provider.issuer()).audience("orders-api").build().expect("a verifier");
    for alg in ["rs256", "es256", "eddsa"] {
        let token = provider.token("worker", &format!("urn:orders-api:{alg}")).await;
        assert_eq!(header(&token, "alg").to_lowercase(), alg);
        assert_eq!(header(&token, "typ"), "at+jwt");
        let principal = verifier.verify(&token, setup::now()).await.expect("a good token").into_inner();
        assert_eq!((principal.subject(), principal.client()), ("worker", Some("worker")));
        assert!(principal.has_scope("orders:read"));
        for index in [1, 2] {
            assert!(verifier.verify(&altered(&token, index), setup::now()).await.is_err(), "{alg}, part {index}");
        }
    }
    let discovery = provider.discovery().await;
    assert_eq!(discovery["introspection_endpoint"], format!("{}/token/introspection", provider.issuer()));
}
