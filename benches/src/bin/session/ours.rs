//! Ours, with the defaults.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use actix_web::web;
use axum::Router;
use axum::routing::get;
use sekisho_axum::{CheckpointExt as _, Principal, Session, SessionLayer};
use sekisho_core::dangerous::PrincipalBuilder;
use sekisho_core::{Clock, SystemClock, UnixSeconds};
use sekisho_http::Checkpoint;
use sekisho_redis::{Redis, RedisInvalidations, RedisSessionStore};
use sekisho_session::{
    Login, MemorySessionStore, SessionKey, SessionKeys, SessionLimits, SessionStore, Sessions, TwoLevelSessionStore,
};
use sekisho_sqlx::{PostgresStore, SqliteStore};

use crate::serve::BODY;

static USERS: AtomicUsize = AtomicUsize::new(0);

#[derive(Default, serde::Serialize, serde::Deserialize)]
struct Cart {
    items: u32,
}

/// Opens the store of a case.
pub(crate) async fn sessions(store: &str, place: &str) -> Sessions {
    let keys = SessionKeys::new(SessionKey::generate().unwrap());
    if store == "in the cookie" {
        return Sessions::client_side(keys).build().unwrap();
    }
    Sessions::builder(open(store, place).await, keys).build().unwrap()
}

/// Opens the same, for whose clock so much time goes by that the idle time is extended whenever a thousand sessions have been asked for in
/// turn, and none of them is ever over.
pub(crate) async fn sessions_to_touch(store: &str, place: &str) -> Sessions {
    let keys = SessionKeys::new(SessionKey::generate().unwrap());
    let builder = Sessions::builder(open(store, place).await, keys).with_clock(Arc::new(Hurried::new()));
    let (idle, absolute) = (Duration::from_secs(3_600), Duration::from_secs(400 * 24 * 3_600));
    builder.with_idle_timeout(idle).with_absolute_timeout(absolute).build().unwrap()
}

/// Goes a tenth of a second forward whenever it is looked at. Of an idle time of an hour a session is extended once a minute.
#[derive(Debug)]
struct Hurried(u64, AtomicU64);

impl Hurried {
    fn new() -> Self {
        Self(SystemClock.now().as_secs(), AtomicU64::new(0))
    }
}

impl Clock for Hurried {
    fn now(&self) -> UnixSeconds {
        UnixSeconds::new(self.0 + self.1.fetch_add(1, Ordering::Relaxed) / 10)
    }
}

async fn open(store: &str, place: &str) -> Arc<dyn SessionStore> {
    match store {
        // Room for those that log in as fast as they can.
        "memory" => {
            let mut limits = SessionLimits::default();
            (limits.records, limits.bytes) = (4_000_000, 8 << 30);
            Arc::new(MemorySessionStore::with_limits(limits))
        }
        "Redis" => Arc::new(RedisSessionStore::new(redis(place))),
        "near cache over Redis" => {
            let redis = redis(place);
            let invalidations = Arc::new(RedisInvalidations::new(redis.clone()));
            let inner = Arc::new(RedisSessionStore::new(redis));
            let store = TwoLevelSessionStore::builder(inner, invalidations).start().unwrap();
            store.listening().await;
            Arc::new(store)
        }
        "SQLite" => Arc::new(SqliteStore::open(place).await.unwrap()),
        "PostgreSQL" => Arc::new(PostgresStore::connect(place).await.unwrap()),
        other => panic!("no store {other}"),
    }
}

fn redis(url: &str) -> Redis {
    Redis::standalone(url).build().unwrap()
}

/// Builds the router of one operation.
pub(crate) fn router(sessions: Sessions, operation: &str) -> Router {
    let checkpoint =
        Checkpoint::builder().with_cookie(sessions.cookie().name()).accept(sessions.authenticator()).build().unwrap();
    let handler = match operation {
        "untouched" => get(async || BODY),
        "read" | "read and touch" => get(async |session: Session<Cart>| {
            assert_eq!(session.data().items, 1);
            BODY
        }),
        "principal" => get(async |_: Principal| BODY).layer(checkpoint.layer()),
        "change" => get(async |mut session: Session<Cart>| {
            session.update(|cart| cart.items += 1);
            BODY
        }),
        "log in" => get(log_in),
        other => panic!("no operation {other}"),
    };
    Router::new().route("/login", get(log_in)).route("/orders", handler).layer(SessionLayer::new(sessions))
}

async fn log_in(mut session: Session<Cart>) -> &'static str {
    session.log_in(login());
    session.update(|cart| cart.items = 1);
    BODY
}

fn login() -> Login {
    let user = format!("user-{}", USERS.fetch_add(1, Ordering::Relaxed));
    Login::new(&PrincipalBuilder::new("https://shop.example", user).build().unwrap())
}

/// Adds the routes of the actix adapter.
pub(crate) fn configure(routes: &mut web::ServiceConfig) {
    async fn log_in(session: sekisho_actix::Session<Cart>) -> &'static str {
        let mut session = session.into_inner();
        session.log_in(login());
        session.update(|cart| cart.items = 1);
        BODY
    }
    async fn read(session: sekisho_actix::Session<Cart>) -> &'static str {
        assert_eq!(session.into_inner().data().items, 1);
        BODY
    }
    routes.route("/login", web::get().to(log_in)).route("/orders", web::get().to(read));
}
