//! The service, our proxies and our endpoint for nginx, each in a process of its own with one worker thread.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::{HeaderMap, Uri, header};
use axum::routing::get;
use axum::serve::ListenerExt as _;
use sekisho_benches::claims::{AUDIENCE, ISSUER};
use sekisho_benches::process::end_with_the_bench;
use sekisho_benches::provider::{CLIENT, SECRET};
use sekisho_core::all_of;
use sekisho_gateway::{
    Access, Dialect, ForwardAuth, Gateway, Guard, IdentityHeaders, OpaqueSwap, ReverseProxy, Route, Rule, RuleTable,
    TokenForward, Upstream,
};
use sekisho_http::{Checkpoint, TrustedProxies};
use sekisho_jwt::jwks::{KeySet, StaticKeys};
use sekisho_jwt::{Backend, Jwt, Profile, Verifier};
use sekisho_opaque::{ClientCredentials, Opaque, PhantomSwap};
use tokio::net::TcpListener;

pub(crate) const SERVICE: &str = "service";
pub(crate) const PASSES: &str = "passes";
pub(crate) const VERIFIES: &str = "verifies";
pub(crate) const SWAPS: &str = "swaps";
pub(crate) const FORWARD_AUTH: &str = "forward-auth";
pub(crate) const FORWARD_AUTH_TOKEN: &str = "forward-auth-token";

/// Longer than the bench.
const CACHE: Duration = Duration::from_secs(3600);

/// Serves one case until the bench ends; prints the port.
pub(crate) fn serve(case: &str, provider: &str, key_set: &str, service: &str) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let served = match case {
            SERVICE => tokio::spawn(axum_serve(listener, Router::new().route("/orders", get(orders)))),
            FORWARD_AUTH | FORWARD_AUTH_TOKEN => {
                let endpoint = forward_auth(provider, key_set, case == FORWARD_AUTH_TOKEN);
                tokio::spawn(axum_serve(listener, endpoint.router("/check")))
            }
            _ => {
                let gateway = Gateway::new(proxy(case, provider, key_set, service));
                tokio::spawn(async move { gateway.serve(listener, std::future::pending()).await })
            }
        };
        println!("{port}");
        end_with_the_bench();
        served.await.unwrap().unwrap();
    });
}

async fn axum_serve(listener: TcpListener, router: Router) -> std::io::Result<()> {
    let listener = listener.tap_io(|stream| {
        let _ = stream.set_nodelay(true);
    });
    axum::serve(listener, router.into_make_service_with_connect_info::<SocketAddr>()).await
}

/// Answers two bytes; asked for `?probe`, which kind of token came.
async fn orders(uri: Uri, headers: HeaderMap) -> &'static str {
    if uri.query().is_none() {
        return "ok";
    }
    let value = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    match value.and_then(|value| value.strip_prefix("Bearer ")) {
        None => "none",
        Some(token) if token.split('.').count() == 3 => "jwt",
        Some(_) => "opaque",
    }
}

fn verifier(key_set: &str) -> Verifier {
    let set = KeySet::parse(Backend::default(), key_set.as_bytes()).unwrap();
    let jwt = Jwt::issuer(ISSUER).audience(AUDIENCE).with_profile(Profile::keycloak());
    jwt.with_keys(StaticKeys::from_set(&set)).build().unwrap()
}

fn proxy(case: &str, provider: &str, key_set: &str, service: &str) -> ReverseProxy {
    let upstream = Upstream::new("service", service).unwrap();
    let route = |guard| Route::new("/orders", &upstream, guard);
    let route = match case {
        PASSES => route(Guard::Public),
        VERIFIES => {
            let checkpoint = Checkpoint::builder().accept(verifier(key_set)).build().unwrap();
            route(Guard::checkpoint(checkpoint)).forwarding(TokenForward::AsIs)
        }
        SWAPS => {
            let phantom = phantom(provider, key_set);
            let checkpoint = Checkpoint::builder().accept(phantom.clone()).build().unwrap();
            route(Guard::checkpoint(checkpoint)).forwarding(TokenForward::Swap(Arc::new(OpaqueSwap::new(phantom))))
        }
        other => panic!("no case {other}"),
    };
    ReverseProxy::new([route]).unwrap()
}

/// Asks the provider for the JWT behind an opaque token.
fn phantom(provider: &str, key_set: &str) -> PhantomSwap {
    Opaque::phantom(provider, ClientCredentials::basic(CLIENT, SECRET))
        .issuer(ISSUER)
        .verifier(verifier(key_set))
        .cache_for(CACHE)
        .build()
        .unwrap()
}

fn forward_auth(provider: &str, key_set: &str, with_token: bool) -> ForwardAuth {
    let endpoint = |checkpoint| {
        let rules = RuleTable::new([Rule::new("/orders", Access::Require(all_of([])))]).unwrap();
        ForwardAuth::new(Dialect::Nginx, checkpoint, rules, TrustedProxies::new(["127.0.0.1"]).unwrap()).unwrap()
    };
    if with_token {
        let phantom = phantom(provider, key_set);
        let checkpoint = Checkpoint::builder().accept(phantom.clone()).build().unwrap();
        return endpoint(checkpoint).with_token_swap(Arc::new(OpaqueSwap::new(phantom))).unwrap();
    }
    let introspection = Opaque::introspect(provider, ClientCredentials::basic(CLIENT, SECRET))
        .issuer(ISSUER)
        .audience(AUDIENCE)
        .cache_for(CACHE)
        .build()
        .unwrap();
    let checkpoint = Checkpoint::builder().accept(introspection).build().unwrap();
    endpoint(checkpoint).with_identity(IdentityHeaders::standard())
}
