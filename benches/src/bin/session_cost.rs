//! Where does the time of a request with a session go? Nanoseconds and allocations in one thread, without HTTP.
//!
//! What is asked for is what a layer and an extractor ask for: begin, read the typed data, finish. The cases of axum are a request through
//! a router, from its head to its answer.

use std::process::ExitCode;
use std::sync::Arc;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::{digest, hkdf};
use axum::Router;
use axum::body::Body;
use axum::http::Request;
use axum::routing::get;
use sekisho_axum::{CheckpointExt as _, Principal, Session, SessionLayer};
use sekisho_benches::measure::{Case, measure};
use sekisho_benches::report::report;
use sekisho_benches::{ALLOCATOR, ready};
use sekisho_core::dangerous::PrincipalBuilder;
use sekisho_core::{Authenticate as _, Credential, CredentialKind};
use sekisho_http::{Checkpoint, HeadParts};
use sekisho_session::{
    LocalInvalidations, Login, MemorySessionStore, SessionKey, SessionKeys, SessionStore, Sessions,
    TwoLevelSessionStore,
};
use stats_alloc::StatsAlloc;
use tower::Service as _;
use tower::layer::util::Identity;

#[global_allocator]
static GLOBAL: &StatsAlloc<std::alloc::System> = ALLOCATOR;

#[derive(Default, serde::Serialize, serde::Deserialize)]
struct Cart {
    items: u32,
}

fn main() -> ExitCode {
    let quick = std::env::args().any(|argument| argument == "--quick");
    // The memory in front of another store listens in a task of its own.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let _inside = runtime.enter();
    let memory = Service::new(Arc::new(MemorySessionStore::new()));
    let near = TwoLevelSessionStore::builder(Arc::new(MemorySessionStore::new()), Arc::new(LocalInvalidations::new()));
    let near = near.with_max_age(std::time::Duration::from_secs(60)).start().unwrap();
    runtime.block_on(near.listening());
    let near = Service::new(Arc::new(near));
    let peer = Peer::new();
    let routers = [
        ("axum", Router::new().route("/orders", get(async || BODY))),
        ("axum, a layer that does nothing", Router::new().route("/orders", get(async || BODY)).layer(Identity::new())),
        ("axum, sekisho: untouched", memory.router("untouched")),
        ("axum, sekisho, memory: read", memory.router("read")),
        ("axum, sekisho, memory: principal", memory.router("principal")),
        ("axum, tower-sessions 0.15: untouched", peer.router("untouched")),
        ("axum, tower-sessions 0.15, memory: read", peer.router("read")),
    ];
    let cookies = format!("{}; id={}", memory.cookie, peer.id);
    let routed = routers.iter().map(|(name, router)| Case::new(*name, "axum", || ask(router, &cookies)));
    let (secret, body) = ([7_u8; 36], [7_u8; 600]);
    let mut cases = vec![
        Case::new("SHA-256 of a cookie", "tower-sessions 0.15, memory: read", || {
            digest::digest(&digest::SHA256, &secret)
        }),
        Case::new("HKDF of a key", "tower-sessions 0.15, memory: read", || {
            let prk = hkdf::Salt::new(hkdf::HKDF_SHA256, &secret[..32]).extract(&secret[..32]);
            let mut key = [0; 44];
            prk.expand(&[&secret[..16], b"record"], Length).unwrap().fill(&mut key).unwrap();
            key
        }),
        Case::new("AES-256-GCM of 600 bytes", "tower-sessions 0.15, memory: read", || {
            let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &secret[..32]).unwrap());
            let mut body = body;
            let nonce = Nonce::try_assume_unique_for_key(&secret[..12]).unwrap();
            key.seal_in_place_separate_tag(nonce, Aad::from(&secret), &mut body).unwrap()
        }),
        Case::new("sekisho: untouched", "tower-sessions 0.15, memory: read", || memory.untouched()),
        Case::new("sekisho, memory: read", "tower-sessions 0.15, memory: read", || memory.read()),
        Case::new("sekisho, memory: authenticate", "tower-sessions 0.15, memory: read", || memory.authenticate()),
        Case::new("sekisho, two levels: read", "tower-sessions 0.15, memory: read", || near.read()),
        Case::new("sekisho, memory: change", "tower-sessions 0.15, memory: read", || memory.change()),
        Case::new("tower-sessions 0.15, memory: read", "tower-sessions 0.15, memory: read", || peer.read()),
    ];
    cases.extend(routed);
    report("session_cost", &measure(cases, if quick { 5 } else { 300 }));
    ExitCode::SUCCESS
}

const BODY: &str = "ok";

/// Sends a request through a router.
fn ask(router: &Router, cookies: &str) -> u16 {
    let request = Request::get("/orders").header("host", "localhost").header("cookie", cookies);
    let response = ready(router.clone().call(request.body(Body::empty()).unwrap())).unwrap();
    let status = response.status().as_u16();
    assert_eq!(status, 200);
    status
}

struct Length;

impl hkdf::KeyType for Length {
    fn len(&self) -> usize {
        44
    }
}

/// Is a service with one session.
struct Service {
    sessions: Sessions,
    cookie: String,
}

impl Service {
    fn new(store: Arc<dyn SessionStore>) -> Self {
        let keys = SessionKeys::new(SessionKey::generate().unwrap());
        let sessions = Sessions::builder(store, keys).build().unwrap();
        let request = sessions.begin(&HeadParts { method: "POST", path: "/login", headers: &[] });
        let alice = PrincipalBuilder::new("https://id.example", "alice").with_claim("name", "Alice").build().unwrap();
        request.log_in(Login::new(&alice).with_device("Firefox on Linux"));
        let runtime = tokio::runtime::Handle::current();
        let cookies = std::thread::scope(|scope| {
            scope
                .spawn(|| {
                    runtime.block_on(async {
                        request.session::<Cart>(None).await.unwrap().update(|cart| cart.items = 1);
                        request.finish().await.unwrap()
                    })
                })
                .join()
                .unwrap()
        });
        let cookie = cookies[0].expose().split(';').next().unwrap().to_owned();
        Self { sessions, cookie }
    }

    fn begin(&self) -> sekisho_session::RequestSession {
        let headers = [("cookie", self.cookie.as_bytes())];
        self.sessions.begin(&HeadParts { method: "GET", path: "/orders", headers: &headers })
    }

    fn untouched(&self) -> usize {
        ready(self.begin().finish()).unwrap().len()
    }

    fn read(&self) -> u32 {
        let request = self.begin();
        let items = ready(request.session::<Cart>(None)).unwrap().data().items;
        ready(request.finish()).unwrap();
        items
    }

    fn change(&self) -> usize {
        let request = self.begin();
        ready(request.session::<Cart>(None)).unwrap().update(|cart| cart.items = cart.items.wrapping_add(1));
        ready(request.finish()).unwrap().len()
    }

    fn router(&self, operation: &str) -> Router {
        let name = self.sessions.cookie().name();
        let checkpoint = Checkpoint::builder().with_cookie(name).accept(self.sessions.authenticator()).build().unwrap();
        let handler = match operation {
            "read" => get(async |session: Session<Cart>| {
                assert!(session.data().items > 0);
                BODY
            }),
            "principal" => get(async |_: Principal| BODY).layer(checkpoint.layer()),
            _ => get(async || BODY),
        };
        Router::new().route("/orders", handler).layer(SessionLayer::new(self.sessions.clone()))
    }

    fn authenticate(&self) -> sekisho_core::Principal {
        let (_, value) = self.cookie.split_once('=').unwrap();
        let credential = Credential::new(CredentialKind::Cookie, value);
        let now = sekisho_core::Clock::now(&sekisho_core::SystemClock);
        self.sessions.authenticator().authenticate_now(credential, now).unwrap().unwrap()
    }
}

struct Peer {
    store: Arc<tower_sessions::MemoryStore>,
    id: String,
}

impl Peer {
    fn new() -> Self {
        let store = Arc::new(tower_sessions::MemoryStore::default());
        let session = tower_sessions::Session::new(None, store.clone(), None);
        ready(session.insert("user", "alice")).unwrap();
        ready(session.insert("items", 1_u32)).unwrap();
        ready(session.save()).unwrap();
        Self { store, id: session.id().unwrap().to_string() }
    }

    fn read(&self) -> u32 {
        let id = self.id.parse().unwrap();
        let session = tower_sessions::Session::new(Some(id), self.store.clone(), None);
        ready(session.get("items")).unwrap().unwrap()
    }

    fn router(&self, operation: &str) -> Router {
        let handler = match operation {
            "read" => get(async |session: tower_sessions::Session| {
                assert!(session.get::<u32>("items").await.unwrap().is_some());
                BODY
            }),
            _ => get(async || BODY),
        };
        let expiry = tower_sessions::Expiry::OnInactivity(tower_sessions::cookie::time::Duration::minutes(30));
        let layer = tower_sessions::SessionManagerLayer::new((*self.store).clone()).with_expiry(expiry);
        Router::new().route("/orders", handler).layer(layer)
    }
}
