//! Who hears that sessions have ended, when, and of whom.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sekisho_core::dangerous::PrincipalBuilder;
use sekisho_core::{SessionEnd, SessionEndListener, SubjectId};
use sekisho_http::HeadParts;
use sekisho_session::{
    Login, ProviderLogout, RememberedLogins, RequestSession, SessionKey, SessionKeys, Sessions, SessionsBuilder,
};

use crate::world::{Browser, ISSUER, START, Watched, World, somebody};

/// Writes down what it hears, and how many calls the store had had by then.
#[derive(Clone, Default)]
struct Ear {
    heard: Arc<Mutex<Vec<(String, usize)>>>,
    store: Arc<Mutex<Option<Arc<Watched>>>>,
    panics: Arc<AtomicBool>,
}

impl Ear {
    fn heard(&self) -> Vec<String> {
        std::mem::take(&mut *self.heard.lock().unwrap()).into_iter().map(|(heard, _)| heard).collect()
    }
}

impl SessionEndListener for Ear {
    fn session_ended(&self, end: &SessionEnd<'_>) {
        let text = match end {
            SessionEnd::Subject(subject) => format!("subject {}", subject.subject()),
            SessionEnd::ProviderSession { issuer, id } => format!("session {issuer} {id}"),
            SessionEnd::Client { issuer, client } => format!("client {issuer} {client}"),
        };
        let writes = self.store.lock().unwrap().as_ref().map(|store| store.writes.load(Ordering::SeqCst));
        self.heard.lock().unwrap().push((text, writes.unwrap_or_default()));
        assert!(!self.panics.load(Ordering::SeqCst), "a listener that breaks");
    }
}

fn world_with(set: impl FnOnce(SessionsBuilder) -> SessionsBuilder) -> (World, Ear) {
    let ear = Ear::default();
    let world = World::with(|builder| set(builder.with_end_listener(ear.clone())));
    *ear.store.lock().unwrap() = Some(Arc::clone(&world.store));
    (world, ear)
}

fn world() -> (World, Ear) {
    world_with(|builder| builder)
}

async fn log_out(browser: &Browser, sessions: &Sessions) -> bool {
    let request = browser.request(sessions);
    request.log_out();
    request.finish().await.is_ok()
}

#[tokio::test]
async fn a_logout_is_heard_after_the_store_was_told_and_before_it_is_answered() {
    let (world, ear) = world();
    let alice = world.logged_in("alice").await;
    assert!(ear.heard().is_empty(), "a login ends nothing");
    world.store.counted();
    assert!(log_out(&alice, &world.sessions).await);
    let heard = std::mem::take(&mut *ear.heard.lock().unwrap());
    let (_, writes) = world.store.counted();
    assert_eq!(heard, [("subject alice".to_owned(), writes)], "nothing is written after that");
    // Nobody is left whom a second one could end.
    assert!(log_out(&alice, &world.sessions).await);
    assert!(ear.heard().is_empty());
}

#[tokio::test]
async fn every_other_way_to_end_sessions_is_heard_too() {
    let (world, ear) = world();
    let (sessions, subject) = (&world.sessions, somebody("alice").id());
    world.logged_in("alice").await;
    let id = sessions.list(&subject).await.unwrap()[0].id().clone();
    sessions.end(&somebody("bob").id(), &id).await.unwrap();
    assert!(ear.heard().is_empty(), "it is not bob's");
    sessions.end_others(&subject, &id).await.unwrap();
    assert_eq!(ear.heard(), ["subject alice"]);
    sessions.end(&subject, &id).await.unwrap();
    assert_eq!(ear.heard(), ["subject alice"]);
    sessions.end_all(&subject).await.unwrap();
    assert_eq!(ear.heard(), ["subject alice"]);
    sessions.end_provider_session(ISSUER, "s-1").await.unwrap();
    assert_eq!(ear.heard(), ["session https://id.example s-1"]);
    sessions.end_client(ISSUER, "shop").await.unwrap();
    assert_eq!(ear.heard(), ["client https://id.example shop"]);
    sessions.end_by_provider(&ProviderLogout::Session { issuer: ISSUER, sid: "s-1" }, START).await.unwrap();
    assert_eq!(ear.heard(), ["session https://id.example s-1"]);
    sessions.end_by_provider(&ProviderLogout::Subject(&subject), START).await.unwrap();
    assert_eq!(ear.heard(), ["subject alice"]);
}

#[tokio::test]
async fn a_login_ends_who_was_there_before_and_the_oldest_beyond_the_limit() {
    let (world, ear) = world_with(|builder| builder.with_session_limit(1));
    let mut browser = world.logged_in("alice").await;
    let request = browser.request(&world.sessions);
    request.log_in(Login::new(&somebody("bob")));
    browser.take(request.finish().await.unwrap());
    assert_eq!(ear.heard(), ["subject alice"]);
    world.logged_in("bob").await;
    assert_eq!(ear.heard(), ["subject bob"]);
    assert_eq!(browser.who(&world.sessions).await, None);
}

#[tokio::test]
async fn what_goes_on_under_another_id_has_not_ended() {
    let (world, ear) = world();
    let mut browser = world.logged_in("alice").await;
    let turns: [fn(&RequestSession); 2] = [RequestSession::rotate, |request| request.elevate(&somebody("alice"))];
    for turn in turns {
        let request = browser.request(&world.sessions);
        turn(&request);
        browser.take(request.finish().await.unwrap());
        assert!(ear.heard().is_empty());
    }
    // Nor was anybody there whose anonymous session ends.
    let mut anonymous = Browser::default();
    anonymous.add(&world.sessions, 1).await.unwrap();
    assert!(log_out(&anonymous, &world.sessions).await);
    assert!(log_out(&Browser::default(), &world.sessions).await);
    assert!(ear.heard().is_empty());
}

#[tokio::test]
async fn the_end_of_a_session_that_a_late_memory_missed_is_heard() {
    let (world, ear) = world();
    let mut alice = world.logged_in("alice").await;
    let old = alice.clone();
    let request = alice.request(&world.sessions);
    request.rotate();
    alice.take(request.finish().await.unwrap());
    world.store.is_late.store(true, Ordering::SeqCst);
    assert_eq!(alice.who(&world.sessions).await, None, "it is missed");
    assert!(log_out(&alice, &world.sessions).await);
    assert_eq!(ear.heard(), ["subject alice"]);
    world.store.is_late.store(false, Ordering::SeqCst);
    for browser in [&alice, &old] {
        assert_eq!(browser.who(&world.sessions).await, None, "it is over under all its ids");
    }
}

#[tokio::test]
async fn no_session_ends_unheard_where_the_store_cannot_tell_whose_it_is() {
    let (world, ear) = world();
    let alice = world.logged_in("alice").await;
    let request = alice.request(&world.sessions);
    world.store.is_late.store(true, Ordering::SeqCst);
    request.load(None).await.unwrap();
    world.store.is_corrupt.store(true, Ordering::SeqCst);
    request.log_out();
    assert!(request.finish().await.is_err());
    assert!(ear.heard().is_empty());
    world.store.is_late.store(false, Ordering::SeqCst);
    world.store.is_corrupt.store(false, Ordering::SeqCst);
    assert_eq!(alice.who(&world.sessions).await.as_deref(), Some("alice"), "the logout failed, and can be tried again");
    assert!(log_out(&alice, &world.sessions).await);
    assert_eq!(ear.heard(), ["subject alice"]);
}

#[tokio::test]
async fn an_end_that_is_not_certain_is_heard_as_one() {
    let (world, ear) = world();
    let alice = world.logged_in("alice").await;
    // The session is remembered neither here nor by the request: it is loaded before the store breaks.
    let request = alice.request(&world.sessions);
    request.load(None).await.unwrap();
    request.log_out();
    world.store.fails_to_write.store(true, Ordering::SeqCst);
    assert!(request.finish().await.is_err());
    assert_eq!(ear.heard(), ["subject alice"]);
    assert!(world.sessions.end_all(&somebody("alice").id()).await.is_err());
    assert_eq!(ear.heard(), ["subject alice"]);
}

#[tokio::test(start_paused = true)]
async fn an_end_that_nobody_waits_for_any_more_is_heard() {
    let (world, ear) = world();
    let alice = world.logged_in("alice").await;
    let request = alice.request(&world.sessions);
    request.load(None).await.unwrap();
    request.log_out();
    world.store.is_silent.store(true, Ordering::SeqCst);
    let waited = tokio::time::timeout(Duration::from_millis(50), request.flush()).await;
    assert!(waited.is_err());
    drop(request);
    assert_eq!(ear.heard(), ["subject alice"], "the store had done it");
}

#[tokio::test]
async fn a_listener_that_panics_ends_no_logout_and_silences_nobody() {
    let (first, second) = (Ear::default(), Ear::default());
    let world = World::with(|builder| builder.with_end_listener(first.clone()).with_end_listener(second.clone()));
    first.panics.store(true, Ordering::SeqCst);
    let alice = world.logged_in("alice").await;
    assert!(log_out(&alice, &world.sessions).await);
    assert_eq!((first.heard(), second.heard()), (vec!["subject alice".into()], vec!["subject alice".into()]));
    assert_eq!(alice.who(&world.sessions).await, None);
}

#[tokio::test]
async fn a_remembered_login_that_is_given_up_or_was_copied_is_heard() {
    let remembered = RememberedLogins::for_lifetime(Duration::from_secs(86_400)).unwrap();
    let (world, ear) = world_with(|builder| builder.with_remembered_logins(remembered));
    let request = |cookie: &str| {
        let headers: &[(&str, &[u8])] = &[("cookie", cookie.as_bytes())];
        world.sessions.begin(&HeadParts { method: "POST", path: "/", headers })
    };
    let kept = async || {
        let login = Browser::default().request(&world.sessions);
        login.log_in(Login::new(&somebody("alice")).with_remembering());
        let set = login.finish().await.unwrap();
        let found = set.iter().find(|cookie| cookie.expose().starts_with("__Host-remembered=")).unwrap();
        found.expose().split(';').next().unwrap().to_owned()
    };
    let cookie = kept().await;
    let leaving = request(&cookie);
    leaving.log_out();
    leaving.finish().await.unwrap();
    assert_eq!(ear.heard(), ["subject alice"], "though no session came with it");

    let copied = kept().await;
    let first = request(&copied);
    assert!(first.log_in_remembered().await.unwrap().is_some());
    first.finish().await.unwrap();
    assert!(ear.heard().is_empty());
    world.wait(60);
    let second = request(&copied);
    assert!(second.log_in_remembered().await.unwrap().is_none());
    assert_eq!(ear.heard(), ["subject alice"]);
}

#[tokio::test]
async fn a_logout_of_a_session_in_the_browser_is_heard() {
    let (ear, keys) = (Ear::default(), SessionKeys::new(SessionKey::generate().unwrap()));
    let sessions = Sessions::client_side(keys).with_end_listener(ear.clone()).build().unwrap();
    let mut browser = Browser::default();
    for name in ["alice", "alice", "bob"] {
        let request = browser.request(&sessions);
        request.log_in(Login::new(&somebody(name)));
        browser.take(request.finish().await.unwrap());
    }
    assert_eq!(ear.heard(), ["subject alice"], "bob came in her place");
    assert!(log_out(&browser, &sessions).await);
    assert_eq!(ear.heard(), ["subject bob"]);
}

#[tokio::test]
async fn the_issuer_is_that_of_who_was_logged_in() {
    struct Issuers(Arc<Mutex<Vec<SubjectId>>>);

    impl SessionEndListener for Issuers {
        fn session_ended(&self, end: &SessionEnd<'_>) {
            let SessionEnd::Subject(subject) = end else { panic!("{end:?}") };
            self.0.lock().unwrap().push((*subject).clone());
        }
    }

    let heard = Arc::new(Mutex::new(Vec::new()));
    let world = World::with(|builder| builder.with_end_listener(Issuers(Arc::clone(&heard))));
    let alice = PrincipalBuilder::new("https://other.example", "alice").with_claim("sid", "s-1").build().unwrap();
    let mut browser = Browser::default();
    let request = browser.request(&world.sessions);
    request.log_in(Login::new(&alice));
    browser.take(request.finish().await.unwrap());
    assert!(log_out(&browser, &world.sessions).await);
    assert_eq!(*heard.lock().unwrap(), [alice.id()]);
}
