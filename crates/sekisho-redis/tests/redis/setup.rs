//! Where the servers are, and what is said when they are not.

use std::env;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::time::Duration;

use sekisho_core::{Clock as _, SystemClock, UnixSeconds};
use sekisho_redis::{Redis, RedisBuilder};
use tokio::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};

/// Who uses servers holds this for reading; who kills some, for writing.
static TURN: RwLock<()> = RwLock::const_new(());

pub(crate) async fn shared() -> RwLockReadGuard<'static, ()> {
    TURN.read().await
}

pub(crate) async fn alone() -> RwLockWriteGuard<'static, ()> {
    TURN.write().await
}

/// Returns what `variable` holds, or says on one line that `test` is skipped.
pub(crate) fn variable(variable: &str, test: &str) -> Option<String> {
    if let Ok(value) = env::var(variable) {
        return Some(value);
    }
    skip(&format!("{test}: no server; {variable} is not set (cargo xtask servers)"));
    None
}

/// Says on one line that something is left out.
pub(crate) fn skip(what: &str) {
    let line = format!("skipped: {what}\n");
    assert!(env::var("CI").as_deref() != Ok("true"), "{line}");
    // Written past the harness, which would swallow it for a test that passes.
    std::io::stderr().write_all(line.as_bytes()).expect("stderr is open");
    if let Some(list) = env::var_os("SEKISHO_SKIPPED") {
        let mut list = OpenOptions::new().create(true).append(true).open(list).expect("SEKISHO_SKIPPED can be written");
        list.write_all(line.as_bytes()).expect("SEKISHO_SKIPPED can be written");
    }
}

/// Is one of the shapes in which Redis comes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Shape {
    Standalone,
    Sentinel,
    Cluster,
}

impl Shape {
    /// Begins a client of that shape, or says on one line that `test` is skipped.
    pub(crate) fn builder(self, test: &str) -> Option<RedisBuilder> {
        let test = format!("{test}, {self:?}");
        let urls = |name| Some(variable(name, &test)?.split(' ').map(str::to_owned).collect::<Vec<_>>());
        let builder = match self {
            Self::Standalone => Redis::standalone(variable("SEKISHO_REDIS_URL", &test)?),
            Self::Cluster => Redis::cluster(urls("SEKISHO_REDIS_CLUSTER_URLS")?),
            Self::Sentinel => {
                let master = variable("SEKISHO_REDIS_SENTINEL_MASTER", &test)?;
                let data = urls("SEKISHO_REDIS_SENTINEL_DATA_URLS")?;
                let (password, _) = password_and_address(&data[0]);
                Redis::sentinel(master, urls("SEKISHO_REDIS_SENTINEL_URLS")?).with_login("", password)
            }
        };
        // The machine may be busy building; what is measured sets its own.
        let patient = Duration::from_secs(10);
        Some(builder.with_prefix(prefix()).with_connect_timeout(patient).with_command_timeout(patient))
    }
}

/// Returns a prefix that no other test and no earlier run has.
pub(crate) fn prefix() -> String {
    static COUNT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    let nanos = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_nanos();
    format!("t{nanos}.{}", COUNT.fetch_add(1, std::sync::atomic::Ordering::SeqCst))
}

/// Takes `redis://USER:PASSWORD@HOST:PORT` apart into password and address.
pub(crate) fn password_and_address(url: &str) -> (&str, &str) {
    let (login, place) = url.split_once("://").and_then(|(_, rest)| rest.split_once('@')).expect("a login");
    let (_, password) = login.split_once(':').expect("a password");
    (password, place.split('/').next().expect("an address"))
}

pub(crate) fn now() -> UnixSeconds {
    SystemClock.now()
}
