//! Our gateway before a service, twice: once with a revocation feed, once without.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use sekisho_core::RevocationCheck;
use sekisho_gateway::{ConfigContext, Gateway, GatewayConfig};
use sekisho_http::ReqwestClient;
use sekisho_redis::{Redis, RedisRevocationFeed};
use sekisho_revocation::{Following, PollingFeed, RevocationList, StalePolicy};
use serde::Deserialize;
use tokio::net::TcpListener;

#[derive(Deserialize)]
pub(crate) struct Settings {
    /// Where credentials are looked up in the list that follows the feed.
    port: u16,
    /// The same, and nobody asks whether they were withdrawn.
    plain_port: u16,
    issuer: String,
    /// Of our client at the issuer.
    secret: String,
    /// How long answers of introspection are kept.
    cache_s: u64,
    feed: Feed,
    /// For how long the list goes on without its feed.
    staleness_s: u64,
}

#[derive(Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Feed {
    Polling { url: String, interval_s: u64, timeout_s: u64 },
    Redis { url: String, prefix: String },
}

pub(crate) async fn serve(settings: Settings) {
    let service = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
    let upstream = format!("http://{}", service.local_addr().expect("an address"));
    tokio::spawn(async move {
        let app = Router::new().fallback(|| async { "ok" });
        axum::serve(service, app).await.expect("it serves")
    });

    let list = RevocationList::new().expect("a list");
    // Following goes on for as long as this is held.
    let _following = settings.feed.follow(&list);
    let policy = StalePolicy::fail_closed_after(Duration::from_secs(settings.staleness_s));
    let check: Arc<dyn RevocationCheck> = Arc::new(list.check().with_policy(policy));
    let (text, secret) = (configuration(&settings, &upstream), settings.secret.clone());
    let plain = ConfigContext::default().with_environment(move |_| Some(secret.clone()));
    let checked = plain.clone().with_revocation(check);
    let listen = async |port: u16, context: ConfigContext| {
        let config = GatewayConfig::parse(&text, &context).expect("a configuration");
        let listener = TcpListener::bind(("127.0.0.1", port)).await.expect("the port");
        Gateway::from_config(config).serve(listener, std::future::pending()).await.expect("it serves");
    };
    tokio::join!(listen(settings.port, checked), listen(settings.plain_port, plain));
}

impl Feed {
    fn follow(&self, list: &RevocationList) -> Following {
        match self {
            Self::Polling { url, interval_s, timeout_s } => {
                let client = Arc::new(ReqwestClient::new(Duration::from_secs(1)).expect("a client"));
                let feed = PollingFeed::builder(url, client)
                    .with_interval(Duration::from_secs(*interval_s))
                    .with_timeout(Duration::from_secs(*timeout_s));
                list.follow(feed.build().expect("a feed")).start().expect("a follower")
            }
            Self::Redis { url, prefix } => {
                let redis = Redis::standalone(url.as_str()).with_prefix(prefix.as_str()).build().expect("a client");
                list.follow(RedisRevocationFeed::new(redis)).start().expect("a follower")
            }
        }
    }
}

fn configuration(settings: &Settings, upstream: &str) -> String {
    let Settings { issuer, cache_s, .. } = settings;
    format!(
        r#"
[credentials.jwt]
kind = "jwt"
issuer = "{issuer}"
audiences = ["orders-api"]
profile = "rfc9068"

[credentials.opaque]
kind = "introspection"
endpoint = "{issuer}/introspect"
issuer = "{issuer}"
audiences = ["orders-api"]
client_id = "gateway"
client_secret = {{ env = "GATEWAY_SECRET" }}
cache_s = {cache_s}

[upstreams.service]
url = "{upstream}"

[[routes]]
path = "/ready"
upstream = "service"
access = "public"

[[routes]]
path = "/orders/*"
upstream = "service"
credentials = "jwt"
scopes = ["orders:read"]

[[routes]]
path = "/stock/*"
upstream = "service"
credentials = "opaque"
scopes = ["orders:read"]
token = "swap"
"#
    )
}
