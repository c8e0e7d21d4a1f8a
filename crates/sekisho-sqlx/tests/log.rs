//! What the cookie of a session holds stands in no table and in no log, and neither does what the session says.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

#[expect(dead_code, reason = "the other tests need more of it")]
mod world;

use sekisho_core::dangerous::PrincipalBuilder;
use sekisho_core::{Principal, UnixSeconds};
use sekisho_http::HeadParts;
use sekisho_session::{
    Login, NewSession, RememberedLogins, RequestSession, Sealed, Session, SessionHash, SessionKey, SessionKeys,
    SessionStore, Sessions,
};
use sekisho_testkit::LogRecorder;
use sqlx::Connection as _;

use world::{Database, Folder};

/// Keeps cookies by name, and every value that it has seen.
#[derive(Default)]
struct Browser {
    jar: BTreeMap<String, String>,
    seen: Vec<String>,
}

impl Browser {
    fn request(&self, sessions: &Sessions) -> RequestSession {
        let pairs: Vec<_> = self.jar.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let value = pairs.join("; ");
        let headers: &[(&str, &[u8])] = &[("cookie", value.as_bytes())];
        let headers = if pairs.is_empty() { &[] } else { headers };
        sessions.begin(&HeadParts { method: "POST", path: "/", headers })
    }

    /// Makes a request that does one thing.
    async fn asks(&mut self, sessions: &Sessions, act: impl AsyncFnOnce(&RequestSession)) -> String {
        let request = self.request(sessions);
        act(&request).await;
        let set = request.finish().await.unwrap();
        for cookie in &set {
            let (name, value) = cookie.expose().split(';').next().unwrap().split_once('=').unwrap();
            if cookie.expose().contains("Max-Age=0") {
                self.jar.remove(name);
            } else {
                self.jar.insert(name.to_owned(), value.to_owned());
                self.seen.push(value.to_owned());
            }
        }
        format!("{request:?} {set:?} {:?}", request.principal())
    }
}

fn somebody() -> Principal {
    PrincipalBuilder::new("https://id.example", "alice").with_claim("sid", "s-4711").build().unwrap()
}

/// Is everything that a text or its bytes could be recognized by.
fn traces(value: &str) -> Vec<String> {
    let hexadecimal = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let of_one = |value: &str| {
        let bytes = base64_simd::URL_SAFE_NO_PAD.decode_to_vec(value).unwrap();
        let middle = &value[value.len() / 6..value.len() * 5 / 6];
        let secret = &bytes[bytes.len().saturating_sub(32)..];
        let list = format!("{:?}", &secret[..8]);
        let list = list.trim_matches(['[', ']']).to_owned();
        [value.to_owned(), middle.to_owned(), hexadecimal(secret), hexadecimal(middle.as_bytes()), list]
    };
    // A remembered login's has two parts, each a secret.
    value.split('.').flat_map(of_one).collect()
}

/// Turns bytes to text, a character for each, so that any can be looked for in any; case does not matter.
fn searchable(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| char::from(byte.to_ascii_lowercase())).collect()
}

/// Goes through the life of sessions over a store. Returns what the browsers held, and what `Debug` showed.
async fn live(store: Arc<dyn SessionStore>) -> (Vec<String>, String) {
    let keys = SessionKeys::new(SessionKey::generate().unwrap());
    let remembered = RememberedLogins::for_lifetime(Duration::from_secs(9_000_000)).unwrap();
    let sessions = Sessions::builder(Arc::clone(&store), keys).with_remembered_logins(remembered).build().unwrap();
    let (mut browser, mut shown) = (Browser::default(), format!("{store:?} {sessions:?}"));
    shown += &browser
        .asks(&sessions, async |request| {
            let mut session: Session<BTreeMap<String, String>> = request.session(None).await.unwrap();
            session.update(|cart| drop(cart.insert("note".into(), "s3cret note".into())));
        })
        .await;
    let login = || Login::new(&somebody()).with_device("Netscape on Plan 9").with_remembering();
    shown += &browser.asks(&sessions, async |request| request.log_in(login())).await;
    shown += &browser.asks(&sessions, async |request| request.elevate(&somebody())).await;
    shown += &browser.asks(&sessions, async |request| request.rotate()).await;
    browser.jar.remove("__Host-session").unwrap();
    shown +=
        &browser.asks(&sessions, async |request| assert!(request.log_in_remembered().await.unwrap().is_some())).await;
    let mut other = Browser::default();
    shown += &other.asks(&sessions, async |request| request.log_in(login())).await;
    shown += &other.asks(&sessions, async |request| request.log_out()).await;
    shown += &format!("{:?}", sessions.list(&somebody().id()).await.unwrap());
    browser.seen.append(&mut other.seen);
    (browser.seen, shown)
}

fn is_nowhere(seen: &[String], tables: &[u8], others: &[(&str, &str)]) {
    assert!(seen.len() >= 8, "{}", seen.len());
    let tables = searchable(tables);
    for word in ["alice", "id.example", "s-4711", "netscape", "s3cret"] {
        let hexadecimal: String = word.bytes().map(|byte| format!("{byte:02x}")).collect();
        assert!(!tables.contains(word) && !tables.contains(&hexadecimal), "{word} in the tables");
    }
    let others: Vec<_> = others.iter().map(|(place, text)| (place, searchable(text.as_bytes()))).collect();
    for value in seen {
        for trace in traces(value) {
            let trace = searchable(trace.as_bytes());
            assert!(!tables.contains(&trace), "a cookie in the tables");
            for (place, text) in &others {
                assert!(!text.contains(&trace), "a cookie in {place}");
            }
        }
        for part in value.split('.') {
            let bytes = base64_simd::URL_SAFE_NO_PAD.decode_to_vec(part).unwrap();
            let secret = &bytes[bytes.len().saturating_sub(32)..];
            assert!(!tables.contains(&searchable(secret)), "the bytes of a cookie in the tables");
        }
    }
}

/// Puts a cookie where none may be, so that whoever looks for one is seen to find it.
async fn betray(store: &dyn SessionStore, value: &str) {
    let sealed = Sealed::from_bytes(value.as_bytes());
    let until = UnixSeconds::new(9_000_000_000);
    let new = NewSession { idle_until: until, expires_at: until, tags: vec![], card: sealed.clone(), body: sealed };
    assert!(store.create(SessionHash::from_bytes([9; 32]), &new, UnixSeconds::new(1)).await.unwrap());
}

fn bytes_of(folder: &Folder) -> Vec<u8> {
    let files = std::fs::read_dir(&folder.0).unwrap();
    files.flat_map(|file| std::fs::read(file.unwrap().path()).unwrap()).collect()
}

/// Reads every row of every table as text, where bytes are hexadecimal.
async fn rows_of(database: &Database) -> Vec<u8> {
    let mut connection = sqlx::PgConnection::connect(&database.url()).await.unwrap();
    let tables: Vec<(String,)> = sqlx::query_as("SELECT tablename::TEXT FROM pg_tables WHERE schemaname = 'public'")
        .fetch_all(&mut connection)
        .await
        .unwrap();
    let mut all = String::new();
    for (table,) in tables {
        let question = sqlx::AssertSqlSafe(format!("SELECT t::TEXT FROM {table} t"));
        let rows: Vec<(String,)> = sqlx::query_as(question).fetch_all(&mut connection).await.unwrap();
        rows.iter().for_each(|(row,)| writeln!(all, "{row}").unwrap());
    }
    all.into_bytes()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_cookie_holds_is_in_no_table_and_no_log() {
    let recorder = LogRecorder::default();
    tracing::subscriber::set_global_default(recorder.clone()).unwrap();
    let log = || recorder.text();

    let folder = Folder::new();
    let store = Arc::new(folder.open().await);
    let (seen, shown) = live(Arc::clone(&store) as _).await;
    assert!(log().contains("logged in"), "it listens");
    is_nowhere(&seen, &bytes_of(&folder), &[("the log", &log()), ("Debug", &shown)]);
    betray(&*store, &seen[0]).await;
    assert!(searchable(&bytes_of(&folder)).contains(&searchable(seen[0].as_bytes())), "who looks finds");

    let Some(database) = Database::new("what PostgreSQL knows of cookies").await else { return };
    let store = Arc::new(database.open().await);
    let (seen, shown) = live(Arc::clone(&store) as _).await;
    is_nowhere(&seen, &rows_of(&database).await, &[("the log", &log()), ("Debug", &shown)]);
    betray(&*store, &seen[0]).await;
    assert!(searchable(&rows_of(&database).await).contains(&traces(&seen[0])[3]), "who looks finds");

    // Neither in what is said when it fails.
    database.run("DROP TABLE sekisho_session CASCADE").await;
    let failure = store.load(&SessionHash::from_bytes([9; 32]), UnixSeconds::new(1)).await.unwrap_err();
    let said = format!("{failure:?} {failure} {:?}", std::error::Error::source(&failure).map(ToString::to_string));
    is_nowhere(&seen, &[0; 40], &[("a failure", &said), ("the log", &log())]);
    database.end().await;
}
