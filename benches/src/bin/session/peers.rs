//! The others, set up as their documentation shows, with cookies that a browser would take over https.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use actix_session::storage::{CookieSessionStore, RedisSessionStore};
use actix_web::web;
use axum::Router;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::IntoResponse;
use axum::routing::get;
use huskarl_core::Error;
use huskarl_core::crypto::seal::AeadV1Sealer;
use huskarl_core::jwk::OctBytes;
use huskarl_core::platform::MaybeSendBoxFuture;
use huskarl_core::secrets::{Secret, SecretBytes, SecretOutput};
use huskarl_crypto_native::aead::AesGcmKey;
use huskarl_login::session::{DriverLoad, SessionDriver as _};
use huskarl_login::{CookieSession, SessionState};
use tower_sessions_redis_store::fred::prelude::*;

use crate::serve::BODY;

static USERS: AtomicUsize = AtomicUsize::new(0);

fn user() -> String {
    format!("user-{}", USERS.fetch_add(1, Ordering::Relaxed))
}

macro_rules! tower_sessions {
    ($name:ident, $library:ident) => {
        /// Builds the router of one operation over a store of this version.
        fn $name<S: $library::SessionStore + Clone>(store: S, operation: &str) -> Router {
            async fn log_in(session: $library::Session) -> &'static str {
                session.cycle_id().await.unwrap();
                session.insert("user", user()).await.unwrap();
                session.insert("items", 1_u32).await.unwrap();
                BODY
            }
            let handler = match operation {
                "untouched" => get(async || BODY),
                "read" => get(async |session: $library::Session| {
                    assert!(session.get::<String>("user").await.unwrap().is_some());
                    BODY
                }),
                "change" => get(async |session: $library::Session| {
                    let items: u32 = session.get("items").await.unwrap().unwrap();
                    session.insert("items", items + 1).await.unwrap();
                    BODY
                }),
                "log in" => get(log_in),
                other => panic!("no operation {other}"),
            };
            let layer = $library::SessionManagerLayer::new(store)
                .with_expiry($library::Expiry::OnInactivity($library::cookie::time::Duration::minutes(30)));
            Router::new().route("/login", get(log_in)).route("/orders", handler).layer(layer)
        }
    };
}

tower_sessions!(fifteen, tower_sessions);
tower_sessions!(fourteen, tower_sessions_14);

/// Builds the router of a case of `tower-sessions` or `huskarl-login`.
pub(crate) async fn router(library: &str, store: &str, operation: &str, place: &str) -> Router {
    let moka = || tower_sessions_moka_store::MokaStore::new(Some(1_000_000));
    match (library, store) {
        ("tower-sessions 0.15", "memory") => fifteen(tower_sessions::MemoryStore::default(), operation),
        ("tower-sessions 0.14", "moka") => fourteen(moka(), operation),
        ("tower-sessions 0.14", "Redis") => fourteen(redis(place).await, operation),
        ("tower-sessions 0.14", "moka over Redis") => {
            fourteen(tower_sessions_14::CachingSessionStore::new(moka(), redis(place).await), operation)
        }
        ("huskarl-login", "in the cookie") => huskarl().await,
        other => panic!("no case {other:?}"),
    }
}

async fn redis(url: &str) -> tower_sessions_redis_store::RedisStore<Pool> {
    let pool = Pool::new(Config::from_url(url).unwrap(), None, None, None, 6).unwrap();
    pool.connect();
    pool.wait_for_connect().await.unwrap();
    tower_sessions_redis_store::RedisStore::new(pool)
}

/// The login of `huskarl-login` needs a provider; its cookie is the same without, so the driver is asked directly.
async fn huskarl() -> Router {
    type Store = Arc<huskarl_login::CookieSessionStore>;
    async fn log_in(State(store): State<Store>) -> impl IntoResponse {
        let now = SystemTime::now();
        let state = SessionState::builder().token_expiry(now + Duration::from_secs(3600)).created_at(now).build();
        let session = CookieSession::from(state);
        let cookies = store.save(&session, &HeaderMap::new()).await.unwrap();
        let headers: HeaderMap = cookies.into_iter().map(|cookie| (axum::http::header::SET_COOKIE, cookie)).collect();
        (headers, BODY)
    }
    async fn read(State(store): State<Store>, headers: HeaderMap) -> &'static str {
        assert!(matches!(store.load(&headers).await.unwrap(), DriverLoad::Valid(_)));
        BODY
    }
    let key = AesGcmKey::from_secret(OnlyKey.mapped(OctBytes::new("A256GCM"))).await.unwrap();
    let store = huskarl_login::CookieSessionStore::builder()
        .sealer(AeadV1Sealer::new(key))
        .cookie_name("session".parse().unwrap())
        .build();
    Router::new().route("/login", get(log_in)).route("/orders", get(read)).with_state(Arc::new(store))
}

#[derive(Clone, Debug)]
struct OnlyKey;

impl Secret for OnlyKey {
    type Output = SecretBytes;

    fn get_secret_value(&self) -> MaybeSendBoxFuture<'_, Result<SecretOutput<SecretBytes>, Error>> {
        Box::pin(async { Ok(SecretOutput { value: SecretBytes::new(vec![7; 32]), identity: None }) })
    }
}

/// Adds the routes of `actix-session`.
pub(crate) fn configure(routes: &mut web::ServiceConfig) {
    async fn log_in(session: actix_session::Session) -> &'static str {
        session.renew();
        session.insert("user", user()).unwrap();
        session.insert("items", 1_u32).unwrap();
        BODY
    }
    async fn read(session: actix_session::Session) -> &'static str {
        assert!(session.get::<String>("user").unwrap().is_some());
        BODY
    }
    routes.route("/login", web::get().to(log_in)).route("/orders", web::get().to(read));
}

pub(crate) fn cookie_store() -> CookieSessionStore {
    CookieSessionStore::default()
}

pub(crate) async fn redis_store(url: &str) -> RedisSessionStore {
    RedisSessionStore::new(url).await.unwrap()
}
