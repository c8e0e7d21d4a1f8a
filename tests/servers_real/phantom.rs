//! A real nginx before services that get a JWT for the caller's opaque token, by our forward-auth endpoint.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use sekisho_core::scope;
use sekisho_gateway::{Access, Dialect, ForwardAuth, IdentityHeaders, InternalToken, OpaqueSwap, Rule, RuleTable};
use sekisho_http::{Checkpoint, TrustedProxies};
use sekisho_jwks::{Backend, SigningKey, StaticKeys};
use sekisho_jwt::{Algorithm, Jwt, Signer, Verifier};
use sekisho_opaque::{ClientCredentials, Opaque};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::control::Control;
use crate::gateway_process::free_port;
use crate::gateways::{Gateway, RawAnswer, Upstream};
use crate::own_issuer::{OwnIssuer, secret};
use crate::provider::{OidcProvider, TURN};
use crate::setup::{self, altered, header};

/// Our endpoint on a loopback port; dropping it ends it.
struct Endpoint {
    port: u16,
    task: JoinHandle<()>,
}

impl Endpoint {
    async fn serve(checkpoint: Checkpoint, configure: impl FnOnce(ForwardAuth) -> ForwardAuth) -> Self {
        let rules = RuleTable::new([
            Rule::new("/health", Access::Public),
            Rule::new("/orders/*", Access::Require(scope("orders:read"))),
        ])
        .expect("rules");
        let proxies = TrustedProxies::new(["127.0.0.1"]).expect("an address");
        let endpoint = configure(ForwardAuth::new(Dialect::Nginx, checkpoint, rules, proxies).expect("an endpoint"));
        let service = endpoint.router("/check").into_make_service_with_connect_info::<SocketAddr>();
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let task = tokio::spawn(async move { axum::serve(listener, service).await.expect("it serves") });
        Self { port, task }
    }

    /// Swaps tokens of our own issuer by asking it at `endpoint` with `credentials`.
    async fn phantom(issuer: &OwnIssuer, endpoint: &str, credentials: ClientCredentials) -> Self {
        let jwts = Jwt::issuer(&issuer.url).audience("orders-api").build().expect("a verifier");
        let phantom = Opaque::phantom(endpoint, credentials)
            .issuer(&issuer.url)
            .verifier(jwts)
            .with_negative_cache(Duration::ZERO)
            .build()
            .expect("a swap");
        let checkpoint = Checkpoint::builder().accept(phantom.clone()).build().expect("a checkpoint");
        let swap = Arc::new(OpaqueSwap::new(phantom));
        Self::serve(checkpoint, |endpoint| {
            endpoint.with_identity(IdentityHeaders::standard()).with_token_swap(swap).expect("unbound tokens")
        })
        .await
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Starts nginx before the endpoint; services get the token in `token_header`.
async fn nginx(test: &str, endpoint: &Endpoint, upstream: &Upstream, token_header: &str) -> Option<Gateway> {
    let variable = token_header.to_lowercase().replace('-', "_");
    let drop = if token_header == "Authorization" { "" } else { "proxy_set_header Authorization \"\";" };
    let own = format!(
        "auth_request_set $token $upstream_http_{variable};
        auth_request_set $subject $upstream_http_x_auth_subject;
        proxy_set_header {token_header} $token;
        proxy_set_header X-Auth-Subject $subject;
        {drop}"
    );
    Gateway::asking_nginx(test, endpoint.port, upstream.port, &own).await
}

async fn ask(gateway: &Gateway, token: &str) -> RawAnswer {
    gateway.get_raw("/orders/7", &[("Authorization", &format!("Bearer {token}"))]).await
}

/// Returns what the service saw under a name, all of it.
fn seen(answer: &RawAnswer, name: &str) -> Vec<String> {
    let pairs = answer.body["pairs"].as_array().unwrap_or_else(|| panic!("not from the service: {answer:?}"));
    let of_name = pairs.iter().filter(|pair| pair[0] == name);
    of_name.map(|pair| pair[1].as_str().unwrap_or_default().to_owned()).collect()
}

/// The request passed. Returns the JWT that the service saw, and it alone.
fn passed(answer: &RawAnswer, opaque: &str, name: &str) -> String {
    assert_eq!((answer.status, &answer.body["path"]), (200, &json!("/orders/7")), "{answer:?}");
    let told = seen(answer, name);
    assert_eq!(told.len(), 1, "{answer:?}");
    let jwt = told[0].strip_prefix("Bearer ").unwrap_or(&told[0]).to_owned();
    assert!(!answer.body.to_string().contains(opaque), "the service saw the opaque token: {answer:?}");
    assert!(!answer.head.contains(&jwt.to_lowercase()), "the client saw the JWT: {answer:?}");
    jwt
}

/// Nothing passed, and the client was told so by this status and nothing of any token.
fn refused(what: &str, answer: &RawAnswer, status: u16) {
    assert_eq!(answer.status, status, "{what}: {answer:?}");
    assert_eq!(answer.body, Value::Null, "{what}: {answer:?}");
    assert_eq!(answer.head.contains("\r\nwww-authenticate: bearer"), status == 401, "{what}: {answer:?}");
    assert!(!answer.head.contains("eyj") && !answer.head.contains("x-auth-"), "{what}: {answer:?}");
}

#[tokio::test]
async fn nginx_gives_services_the_jwt_of_our_issuer_for_a_reference_token() {
    let test = "phantom tokens through nginx";
    let (issuer, upstream) = (OwnIssuer::start().await, Upstream::start().await);
    let (asked, orders) = (format!("{}/introspect", issuer.url), secret("orders-api"));
    let endpoint = Endpoint::phantom(&issuer, &asked, ClientCredentials::basic("orders-api", &*orders)).await;
    let Some(gateway) = nginx(test, &endpoint, &upstream, "Authorization").await else { return };

    let token = issuer.reference_token("orders-api", "orders:read").await;
    assert!(!token.contains('.'), "it is no JWT");
    let jwt = passed(&ask(&gateway, &token).await, &token, "authorization");
    assert_eq!((&*header(&jwt, "typ"), &*header(&jwt, "alg")), ("at+jwt", "ES256"));
    // A service that knows nothing but the issuer's name.
    let service = Jwt::issuer(&issuer.url).audience("orders-api").build().expect("a verifier");
    let principal = service.verify(&jwt, setup::now()).await.expect("a good token").into_inner();
    assert_eq!((principal.subject(), principal.scope()), ("reference-worker", "orders:read"));
    let forged = [("Authorization", &*format!("Bearer {token}")), ("X-Auth-Subject", "root")];
    let answer = gateway.get_raw("/orders/7", &forged).await;
    assert_eq!(seen(&answer, "x-auth-subject"), ["reference-worker"], "{answer:?}");
    // On a public route nobody calls, whatever came.
    let public = gateway.get_raw("/health", &[("Authorization", &format!("Bearer {token}"))]).await;
    assert!(public.status == 200 && seen(&public, "authorization").is_empty(), "{public:?}");
    let count = upstream.requests();

    refused("no token", &gateway.get_raw("/orders/7", &[]).await, 401);
    refused("an unknown token", &ask(&gateway, "word").await, 401);
    refused("an altered token", &ask(&gateway, &altered(&token, 0)).await, 401);
    refused("its own JWT", &ask(&gateway, &jwt).await, 401);
    refused("our question", &gateway.get_raw("/_authz", &[("Authorization", &format!("Bearer {token}"))]).await, 404);
    let billing = issuer.reference_token("billing-api", "orders:read").await;
    refused("for another audience", &ask(&gateway, &billing).await, 401);
    let poor = issuer.reference_token("orders-api", "orders:write").await;
    assert_eq!(ask(&gateway, &poor).await.status, 403, "without the scope");
    issuer.revoke(&token).await;
    refused("revoked", &ask(&gateway, &token).await, 401);
    assert_eq!(upstream.requests(), count, "a refused request reached the service");
}

#[tokio::test]
async fn trouble_with_our_issuer_is_nobody_elses_fault_and_lets_nobody_pass() {
    let (issuer, upstream) = (OwnIssuer::start().await, Upstream::start().await);
    let token = issuer.reference_token("orders-api", "orders:read").await;
    let (asked, right) = (format!("{}/introspect", issuer.url), secret("orders-api"));
    let nobody = format!("http://127.0.0.1:{}/introspect", free_port());
    // It answers, but not with what was asked for.
    let other = format!("{}/jwks", issuer.url);
    for (what, endpoint, secret, status) in [
        ("down", &nobody, &*right, 503),
        ("wrong credentials", &asked, "wrong", 502),
        ("another endpoint", &other, &*right, 502),
    ] {
        let test = format!("phantom tokens through nginx, {what}");
        let endpoint = Endpoint::phantom(&issuer, endpoint, ClientCredentials::basic("orders-api", secret)).await;
        let Some(gateway) = nginx(&test, &endpoint, &upstream, "Authorization").await else { return };
        for token in [&*token, "word"] {
            refused(what, &ask(&gateway, token).await, status);
        }
        refused("no token", &gateway.get_raw("/orders/7", &[]).await, 401);
        assert_eq!(gateway.get_raw("/health", &[]).await.status, 200, "{what}");
    }
    assert_eq!(upstream.requests(), 3, "only public requests pass");
}

/// Tokens of the gateway itself, and who verifies them.
fn internal() -> (InternalToken, Verifier) {
    let key = SigningKey::generate(Backend::default(), Algorithm::Es256).expect("a key");
    let keys = StaticKeys::new(vec![key.verifying_key()]);
    let service = Jwt::issuer("https://gateway.example").audience("services").with_keys(keys).build();
    let token = InternalToken::new(Signer::new(key), "https://gateway.example", "services");
    (token, service.expect("a verifier"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nginx_gives_services_a_jwt_of_the_gateway_for_an_opaque_token_of_oidc_provider() {
    let test = "opaque tokens of oidc-provider through nginx";
    let Some(control) = Control::reach(test) else { return };
    let Some(provider) = OidcProvider::reach(test) else { return };
    let _turn = TURN.write().await;
    let upstream = Upstream::start().await;
    let (internal, service) = internal();
    let identity = IdentityHeaders::standard().with_token("X-Internal-Token", internal).expect("a name");
    let start = async |secret: &str| {
        let credentials = ClientCredentials::basic("orders-api", secret);
        let introspection = Opaque::introspect(format!("{}/token/introspection", provider.issuer()), credentials)
            .issuer(provider.issuer())
            .audience("orders-api")
            // Its clients have no `sub`.
            .with_client_as_subject()
            .with_negative_cache(Duration::ZERO);
        let checkpoint = Checkpoint::builder().accept(introspection).build().expect("a checkpoint");
        let identity = identity.clone();
        Endpoint::serve(checkpoint, |endpoint| endpoint.with_identity(identity)).await
    };
    let endpoint = start("orders-api-secret").await;
    let Some(gateway) = nginx(test, &endpoint, &upstream, "X-Internal-Token").await else { return };
    let token = provider.token("worker", "urn:orders-api").await;
    let answer = ask(&gateway, &token).await;
    let jwt = passed(&answer, &token, "x-internal-token");
    let principal = service.verify(&jwt, setup::now()).await.expect("a good token").into_inner();
    assert_eq!((principal.subject(), principal.scope()), ("worker", "orders:read"));
    let mine = [("Authorization", &*format!("Bearer {token}")), ("X-Internal-Token", &jwt)];
    let again = passed(&gateway.get_raw("/orders/7", &mine).await, &token, "x-internal-token");
    service.verify(&again, setup::now()).await.expect("the gateway's, whatever the client sent");
    let count = upstream.requests();

    refused("no token", &gateway.get_raw("/orders/7", &[("X-Internal-Token", &jwt)]).await, 401);
    refused("an unknown token", &ask(&gateway, "word").await, 401);
    let billing = provider.token("worker", "urn:billing-api").await;
    refused("for another audience", &ask(&gateway, &billing).await, 401);
    let (wrong, name) = (start("wrong").await, "opaque tokens through nginx, wrong credentials");
    let Some(misled) = nginx(name, &wrong, &upstream, "X-Internal-Token").await else { return };
    refused("wrong credentials", &ask(&misled, &token).await, 502);
    let outage = control.kill("oidc-provider");
    refused("down", &ask(&gateway, &token).await, 503);
    outage.end();
    refused("forgotten by the provider", &ask(&gateway, &token).await, 401);
    assert_eq!(upstream.requests(), count, "a refused request reached the service");
    let token = provider.token("worker", "urn:orders-api").await;
    passed(&ask(&gateway, &token).await, &token, "x-internal-token");
    provider.revoke("worker", &token).await;
    refused("revoked", &ask(&gateway, &token).await, 401);
}
