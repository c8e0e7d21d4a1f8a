//! A provider, three services and a script that runs before them.

use std::sync::Arc;

use sekisho_core::SubjectId;
use sekisho_jwt::jwks::SigningKey;
use sekisho_jwt::{Algorithm, Backend, Signer};
use sekisho_oidc::{ClientCredentials, ServiceTokens};
use serde_json::{Value, json};
use tokio::sync::{Mutex, RwLockReadGuard};

use crate::control::{Control, Outage};
use crate::keycloak::Keycloak;
use crate::logins::hand::Hand;
use crate::logins::realm::{AUDIENCE, BILLING, INVOICES, Realm, client};
use crate::logins::services::{Api, Billing, Client, FRESH, Group, Place, Service};
use crate::provider::{self, OidcProvider};
use crate::scripts::{self, Report};
use crate::setup;
use crate::stores;

/// Whoever the services are clients of.
pub(crate) enum At {
    Keycloak { realm: Box<Realm>, outage: Mutex<Option<Outage>>, control: Option<Control> },
    OidcProvider { issuer: String, _turn: RwLockReadGuard<'static, ()> },
}

/// A provider and the three services, for as long as a script runs.
pub(crate) struct Scene {
    pub(crate) at: At,
    shops: Group,
    accounts: Group,
    pub(crate) shop: Service,
    pub(crate) orders: Service,
    pub(crate) account: Service,
    _apis: [Api; 2],
    _redis: RwLockReadGuard<'static, ()>,
}

/// Where the services will be.
struct Places {
    shop: Place,
    orders: Place,
    accounts: Place,
}

impl Places {
    async fn find() -> Self {
        let (shop, orders) = (Place::at("localhost").await, Place::at("localhost").await);
        Self { shop, orders, accounts: Place::at("127.0.0.1").await }
    }
}

/// Credentials of both clients, and what they ask for beside `openid`.
struct Clients<'a> {
    shop: ClientCredentials,
    accounts: ClientCredentials,
    scopes: &'a [&'a str],
}

impl Scene {
    async fn set(at: At, redis: (String, RwLockReadGuard<'static, ()>), places: Places, clients: Clients<'_>) -> Self {
        let issuer = at.issuer();
        let (url, turn) = redis;
        let (api, billing) = (Api::start(&issuer, AUDIENCE).await, Api::start(&issuer, BILLING).await);
        let name: String = issuer.chars().filter(char::is_ascii_alphanumeric).collect();
        let (shops, accounts) =
            (Group::new(&url, &format!("{name}-shop")), Group::new(&url, &format!("{name}-accounts")));
        let scopes = clients.scopes;
        let exchange = at.token_endpoint().map(|endpoint| Billing {
            api: &billing,
            tokens: ServiceTokens::at(endpoint, &*issuer, clients.shop.clone()).build().expect("an exchange"),
            audience: BILLING,
            scope: INVOICES,
        });
        let shop = Client { issuer: &issuer, credentials: clients.shop, scopes };
        let account = Client { issuer: &issuer, credentials: clients.accounts, scopes };
        Self {
            shop: Service::start("The Shop", places.shop, &shops, &shop, &api, exchange.as_ref()),
            orders: Service::start("Orders of the Shop", places.orders, &shops, &shop, &api, None),
            account: Service::start("Accounts", places.accounts, &accounts, &account, &api, None),
            at,
            shops,
            accounts,
            _apis: [api, billing],
            _redis: turn,
        }
    }

    /// Does what the script asks for.
    async fn act(&self, order: &str, with: &Value) -> Value {
        match (order, &self.at) {
            ("sessions", at) => {
                let mut told = json!({ "here": self.sessions(&self.shops).await, "accounts": self.sessions(&self.accounts).await });
                if let At::Keycloak { realm, .. } = at {
                    told["there"] = json!(realm.sessions("alice").await);
                }
                told
            }
            ("refreshes", At::Keycloak { realm, .. }) => json!({
                "refreshes": realm.count("REFRESH_TOKEN", "shop").await,
                "errors": realm.count("REFRESH_TOKEN_ERROR", "shop").await,
            }),
            ("revoked", At::Keycloak { realm, .. }) => json!({
                "revoked": realm.count("REVOKE_GRANT", "shop").await,
                "errors": realm.count("REVOKE_GRANT_ERROR", "shop").await,
            }),
            ("end", At::Keycloak { realm, .. }) => {
                realm.end(with["session"].as_str().expect("a session")).await;
                Value::Null
            }
            ("end-all", At::Keycloak { realm, .. }) => {
                realm.end_all("alice").await;
                Value::Null
            }
            ("disable", At::Keycloak { realm, .. }) => {
                realm.disable(with["user"].as_str().expect("a user")).await;
                Value::Null
            }
            ("stop", At::Keycloak { outage, control: Some(control), .. }) => {
                let control = control.clone();
                let stopped = tokio::task::spawn_blocking(move || control.kill("keycloak")).await;
                *outage.lock().await = Some(stopped.expect("it is stopped"));
                Value::Null
            }
            ("start", At::Keycloak { outage, .. }) => {
                let stopped = outage.lock().await.take().expect("it is down");
                tokio::task::spawn_blocking(move || stopped.end()).await.expect("it is started");
                Value::Null
            }
            (_, At::OidcProvider { .. }) => Value::Null,
            (other, At::Keycloak { .. }) => panic!("no such order: {other}"),
        }
    }

    /// Counts alice's sessions in a group.
    async fn sessions(&self, group: &Group) -> usize {
        let subject = match &self.at {
            At::Keycloak { realm, .. } => realm.user("alice").await,
            At::OidcProvider { .. } => "alice".to_owned(),
        };
        let subject = SubjectId::new(self.at.issuer(), subject);
        group.sessions.list(&subject).await.expect("Redis answers").len()
    }

    /// Runs a journey of the script.
    async fn run(self, test: &str, journey: &str, lifespan: u32) -> Option<Stage> {
        let scene = Arc::new(self);
        let acting = Arc::clone(&scene);
        let hand = Hand::start(move |order, with| {
            let scene = Arc::clone(&acting);
            async move { scene.act(&order, &with).await }
        })
        .await;
        let input = json!({
            "journey": journey, "hand": hand.url, "issuer": scene.at.issuer(), "provider": scene.at.name(),
            "shop": scene.shop.origin, "orders": scene.orders.origin, "accounts": scene.account.origin,
            "lifespan": lifespan, "fresh": FRESH.as_secs(),
        });
        let report = scripts::browse(test, "logins.mjs", input).await?;
        Some(Stage { scene, report })
    }
}

impl At {
    fn issuer(&self) -> String {
        match self {
            Self::Keycloak { realm, .. } => realm.issuer(),
            Self::OidcProvider { issuer, .. } => issuer.clone(),
        }
    }

    /// Where tokens are exchanged, if they are.
    fn token_endpoint(&self) -> Option<String> {
        match self {
            Self::Keycloak { realm, .. } => Some(format!("{}/protocol/openid-connect/token", realm.issuer())),
            Self::OidcProvider { .. } => None,
        }
    }

    const fn name(&self) -> &'static str {
        match self {
            Self::Keycloak { .. } => "keycloak",
            Self::OidcProvider { .. } => "oidc-provider",
        }
    }
}

/// What is there when a script has ended.
pub(crate) struct Stage {
    pub(crate) scene: Arc<Scene>,
    report: Report,
}

impl Stage {
    #[track_caller]
    pub(crate) fn step(&self, name: &str) -> &Value {
        self.report.step(name)
    }

    pub(crate) fn shop(&self, path: &str) -> Value {
        json!(format!("{}{path}", self.scene.shop.origin))
    }

    /// Somebody is on this page.
    #[track_caller]
    pub(crate) fn assert_seen(&self, step: &str, service: &Service, path: &str, heading: &str, who: &str) {
        let told = self.step(step);
        let wanted = json!([format!("{}{path}", service.origin), heading, who]);
        assert_eq!(json!([told["url"], told["heading"], told["who"]]), wanted, "{step}: {told}");
    }

    #[track_caller]
    pub(crate) fn assert_asked(&self, step: &str) {
        assert_eq!(self.step(step)["asked"], true, "{step}");
    }
}

/// Goes on a journey with a realm of Keycloak's; `None`, after a line that says so, when something is not there.
pub(crate) async fn at_keycloak(test: &str, journey: &str, realm: &'static str, lifespan: u32) -> Option<Stage> {
    let control = if journey == "outage" { Some(Control::reach(test)?) } else { None };
    let redis = redis(test).await?;
    let keycloak = Keycloak::reach(test).await?;
    let places = Places::find().await;
    let clients = vec![client("shop", &[&places.shop, &places.orders]), client("accounts", &[&places.accounts])];
    let realm = Realm::make(keycloak, realm, clients, lifespan).await;
    match journey {
        "levels" => realm.add_levels().await,
        "login" => realm.add_exchange("shop").await,
        _ => {}
    }
    let at = At::Keycloak { realm: Box::new(realm), outage: Mutex::default(), control };
    let clients = Clients {
        shop: ClientCredentials::basic("shop", "shop-secret"),
        accounts: ClientCredentials::post("accounts", "accounts-secret"),
        scopes: &["profile", "email"],
    };
    Scene::set(at, redis, places, clients).await.run(test, journey, lifespan).await
}

/// Goes on a journey with oidc-provider, where the services are registered anew.
pub(crate) async fn at_oidc_provider(test: &str, journey: &str, name: &str) -> Option<Stage> {
    let redis = redis(test).await?;
    let provider = OidcProvider::reach(test)?;
    let turn = provider::TURN.read().await;
    let places = Places::find().await;
    let shop = provider.register(&registration(name, &[&places.shop, &places.orders])).await;
    // The accounts have no secret: they prove themselves by what they sign, at each login, refresh and revocation.
    let key = SigningKey::generate(Backend::aws_lc(), Algorithm::Es256).expect("a key").with_kid("accounts-1");
    let mut by_key = registration(name, &[&places.accounts]);
    by_key["token_endpoint_auth_method"] = json!("private_key_jwt");
    by_key["jwks"] = json!({ "keys": [key.public_jwk().expect("a public key")] });
    let accounts = ClientCredentials::private_key_jwt(provider.register_id(&by_key).await, Signer::new(key));
    let at = At::OidcProvider { issuer: provider.issuer().to_owned(), _turn: turn };
    let clients = Clients { shop, accounts, scopes: &["orders:read"] };
    Scene::set(at, redis, places, clients).await.run(test, journey, 5).await
}

fn registration(name: &str, places: &[&Place]) -> Value {
    json!({
        "client_name": name,
        "redirect_uris": places.iter().map(|place| place.callback()).collect::<Vec<_>>(),
        "post_logout_redirect_uris": places.iter().map(|place| format!("{}/", place.origin)).collect::<Vec<_>>(),
        "grant_types": ["authorization_code", "refresh_token"],
        "response_types": ["code"],
        "backchannel_logout_uri": places[0].backchannel(),
        "backchannel_logout_session_required": true,
    })
}

async fn redis(test: &str) -> Option<(String, RwLockReadGuard<'static, ()>)> {
    setup::variable("SEKISHO_CHROMIUM", test)?;
    stores::store("SEKISHO_REDIS_URL", test).await
}
