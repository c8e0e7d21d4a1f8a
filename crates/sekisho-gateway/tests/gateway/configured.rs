//! A gateway as a configuration file describes it, before a real issuer.

use std::sync::{LazyLock, Mutex};

use sekisho_gateway::{ConfigContext, JourneyListener, JourneyStep};
use sekisho_jwks::{Algorithm, Backend, SigningKey};
use sekisho_testkit::{Endpoint, Issuer, ServedIssuer};

use super::*;

/// RSA keys take a second to find, so all tests share one.
static KEY: LazyLock<SigningKey> =
    LazyLock::new(|| SigningKey::generate(Backend::default(), Algorithm::Rs256).unwrap());

fn config(issuer: &ServedIssuer, service: &TestUpstream, more: &str) -> String {
    format!(
        r#"
        [identity]
        subject = "X-Auth-Subject"

        [credentials.api]
        kind = "aws_http_api"
        issuer = "{}"
        audiences = ["orders"]

        [upstreams.test]
        url = "{}"

        [[routes]]
        path = "/orders/*"
        methods = ["GET"]
        upstream = "test"
        credentials = "api"
        any_scope = ["orders:read", "orders:admin"]
        {more}
        "#,
        issuer.url(),
        service.origin()
    )
}

const PUBLIC: &str = "[[routes]]\npath = \"/public/*\"\nupstream = \"test\"\naccess = \"public\"\n";

#[derive(Default)]
struct Heard(Mutex<Vec<(u64, JourneyStep, String)>>);

impl JourneyListener for Heard {
    fn on_step(&self, journey: u64, step: JourneyStep, detail: &str) {
        self.0.lock().unwrap().push((journey, step, detail.to_owned()));
    }
}

#[tokio::test]
async fn the_eight_steps_are_told_as_they_happen() {
    let issuer = Issuer::new().with_signing_key(KEY.clone()).serve().await.unwrap();
    let service = TestUpstream::start().await;
    let heard = Arc::new(Heard::default());
    let context = ConfigContext::default().with_listener(Arc::clone(&heard) as Arc<dyn JourneyListener>);
    let config = sekisho_gateway::GatewayConfig::parse(&config(&issuer, &service, ""), &context).unwrap();
    let served = Served::of(Gateway::from_config(config)).await;
    let token = issuer.token().audience("orders").scope("orders:read").sign();
    let bearer = format!("Bearer {token}");

    let reply = served.send("GET", "/orders/7", &[("authorization", &bearer)]).await;
    assert_eq!((reply.status, &*reply.body), (200, "got 0"));
    let seen = service.only();
    assert_eq!((seen.header("x-auth-subject"), seen.header("authorization")), (Some("u1"), None));
    let steps = std::mem::take(&mut *heard.0.lock().unwrap());
    assert_eq!(steps.iter().map(|(_, step, _)| step.number()).collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6, 7, 8]);
    for (_, step, detail) in &steps {
        println!("{} {:<10} {detail}", step.number(), step.name());
        assert!(!detail.contains(token.rsplit('.').next().unwrap()));
    }

    let refused = served.send("GET", "/orders/7", &[("authorization", &format!("{bearer}x"))]).await;
    assert_eq!((refused.status, &*refused.body), (401, r#"{"message":"Unauthorized"}"#));
    assert!(refused.head.contains(r#"bearer scope="" error="invalid_token""#), "{refused:?}");
    let steps = std::mem::take(&mut *heard.0.lock().unwrap());
    assert_eq!(steps.last().map(|(number, step, _)| (*number, step.number())), Some((2, 8)));
    assert!(steps.iter().all(|(_, step, _)| !matches!(step.number(), 6 | 7)), "{steps:?}");

    let narrow = issuer.token().audience("orders").scope("stock:read").sign();
    let lacking = served.send("GET", "/orders/7", &[("authorization", &format!("Bearer {narrow}"))]).await;
    assert_eq!((lacking.status, &*lacking.body), (403, r#"{"message":"Forbidden"}"#));
    assert!(service.seen().is_empty());
}

#[tokio::test]
async fn a_bad_file_changes_nothing_and_a_good_one_takes_over() {
    let issuer = Issuer::new().with_signing_key(KEY.clone()).serve().await.unwrap();
    let service = TestUpstream::start().await;
    let path = std::env::temp_dir().join(format!("sekisho-gateway-{}-reload.toml", std::process::id()));
    let context = ConfigContext::default();
    std::fs::write(&path, config(&issuer, &service, "")).unwrap();
    let gateway = Gateway::from_file(&path, &context).await.unwrap();
    let served = Served::of(gateway.clone()).await;
    let bearer = format!("Bearer {}", issuer.token().audience("orders").scope("orders:read").sign());
    let bearer = [("authorization", &*bearer)];
    assert_eq!(served.send("GET", "/orders/7", &bearer).await.status, 200);
    assert_eq!(served.send("GET", "/public/x", &[]).await.status, 404);

    for bad in [
        config(&issuer, &service, "acess = \"public\""),
        config(&issuer, &service, PUBLIC).replace("audiences = [\"orders\"]", ""),
        "no toml at all".to_owned(),
        String::new(),
    ] {
        std::fs::write(&path, bad).unwrap();
        let mistakes = gateway.reload_file(&path, &context).await.unwrap_err();
        assert!(!mistakes.as_slice().is_empty());
        assert_eq!(served.send("GET", "/orders/7", &bearer).await.status, 200);
        assert_eq!(served.send("GET", "/public/x", &[]).await.status, 404);
    }
    std::fs::write(&path, [0xff, 0xfe]).unwrap();
    assert!(gateway.reload_file(&path, &context).await.is_err());
    std::fs::write(&path, config(&issuer, &service, PUBLIC)).unwrap();
    // The issuer may be away: its keys are at hand, and its settings are the same.
    issuer.stop().await;
    gateway.reload_file(&path, &context).await.unwrap();
    std::fs::remove_file(&path).unwrap();
    assert!(gateway.reload_file(&path, &context).await.is_err());
    assert_eq!(served.send("GET", "/orders/7", &bearer).await.status, 200);
    assert_eq!(served.send("GET", "/public/x", &[]).await.status, 200);
    assert_eq!(issuer.requests_to(Endpoint::KeySet), 1);
}

#[tokio::test]
async fn other_proxies_are_answered_on_the_same_listener() {
    let issuer = Issuer::new().serve().await.unwrap();
    let text = format!(
        r#"
        trusted_proxies = ["127.0.0.1"]
        [identity]
        subject = "X-Auth-Subject"
        [credentials.shop]
        kind = "jwt"
        issuer = "{}"
        audiences = ["orders"]
        [forward_auth]
        path = "/check"
        dialect = "traefik"
        credentials = "shop"
        [[forward_auth.rules]]
        path = "/orders/*"
        scopes = ["orders:read"]
        "#,
        issuer.url()
    );
    let config = sekisho_gateway::GatewayConfig::parse(&text, &ConfigContext::default()).unwrap();
    let served = Served::of(Gateway::from_config(config)).await;
    let bearer = format!("Bearer {}", issuer.token().audience("orders").scope("orders:read").sign());
    let about =
        |target: &'static str| [("x-forwarded-method", "GET"), ("x-forwarded-host", "a"), ("x-forwarded-uri", target)];
    let mut good = about("/orders/7").to_vec();
    good.push(("authorization", &bearer));
    let reply = served.send("GET", "/check", &good).await;
    assert_eq!((reply.status, reply.head.contains("x-auth-subject: u1")), (200, true), "{reply:?}");
    assert_eq!(served.send("GET", "/check", &about("/orders/7")).await.status, 401);
    assert_eq!(served.send("GET", "/check", &about("/orders/../x")).await.status, 400);
    assert_eq!(served.send("GET", "/check", &[]).await.status, 500);
    for elsewhere in ["/check/", "/check/x", "/orders/7", "/"] {
        assert_eq!(served.send("GET", elsewhere, &good).await.status, 404, "{elsewhere}");
    }
}

#[tokio::test]
async fn a_gateway_starts_without_its_issuer_and_says_503_until_it_is_there() {
    let issuer = Issuer::new().with_signing_key(KEY.clone()).serve().await.unwrap();
    let service = TestUpstream::start().await;
    issuer.stop().await;
    let config =
        sekisho_gateway::GatewayConfig::parse(&config(&issuer, &service, ""), &ConfigContext::default()).unwrap();
    let served = Served::of(Gateway::from_config(config)).await;
    let bearer = format!("Bearer {}", issuer.token().audience("orders").scope("orders:read").sign());
    let bearer = [("authorization", &*bearer)];
    let reply = served.send("GET", "/orders/7", &bearer).await;
    assert_eq!((reply.status, reply.head.contains("retry-after")), (503, true), "{reply:?}");
    issuer.restart().await.unwrap();
    for _ in 0..100 {
        if served.send("GET", "/orders/7", &bearer).await.status == 200 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("it does not come back");
}
