//! What comparable libraries of sessions got wrong, by their own reports (`peers.rs`) or by probing (`found.rs`): one test for each row,
//! named by it.

use sekisho_core::{FailureKind, Refusal, UnixSeconds};
use sekisho_http::HeadParts;
use sekisho_session::{MemorySessionStore, NewSession, Sealed, SessionHash, SessionStore as _};
use sekisho_tests::wait;

use crate::session::{log_in, visit, who, world};

type Data = std::collections::BTreeMap<String, u32>;

#[test]
fn tower_sessions_015_a_logged_out_session_does_not_come_back() {
    wait(async {
        let (_, sessions) = world();
        let alice = log_in(&sessions, b"", "alice").await;
        let begin =
            || sessions.begin(&HeadParts { method: "GET", path: "/", headers: &[("cookie", alice.as_bytes())] });
        // Two requests have read the session; the one that saves ends after the one that logs out.
        let (out, slow) = (begin(), begin());
        let mut data = slow.session::<Data>(None).await.unwrap();
        out.load(None).await.unwrap();
        data.update(|data| {
            data.insert("a".into(), 1);
        });
        out.log_out();
        out.finish().await.unwrap();
        let late = slow.finish().await.unwrap_or_default();
        for cookie in [alice.as_str()].into_iter().chain(late.iter().filter_map(|set| set.expose().split(';').next())) {
            assert_eq!(who(&sessions, cookie.as_bytes()).await.unwrap(), None, "{cookie}");
        }
    });
}

#[test]
fn tower_sessions_015_no_update_is_lost() {
    wait(async {
        let (_, sessions) = world();
        let alice = log_in(&sessions, b"", "alice").await;
        let mut waiting = Vec::new();
        for number in 0..20 {
            let request =
                sessions.begin(&HeadParts { method: "GET", path: "/", headers: &[("cookie", alice.as_bytes())] });
            let mut session = request.session::<Data>(None).await.unwrap();
            session.update(move |data| {
                data.insert(format!("item {number}"), number);
                *data.entry("all".into()).or_default() += 1;
            });
            waiting.push(request);
        }
        for request in waiting {
            request.finish().await.unwrap();
        }
        let mut kept = Data::new();
        visit(&sessions, alice.as_bytes(), |session| kept.clone_from(session.data())).await.unwrap();
        assert_eq!((kept.len(), kept["all"]), (21, 20));
    });
}

#[test]
fn tower_sessions_012_a_collision_of_ids_overwrites_nothing() {
    wait(async {
        let store = MemorySessionStore::new();
        let (now, until) = (UnixSeconds::new(1_800_000_000), UnixSeconds::new(1_800_001_000));
        let session = |content: u8| {
            let sealed = Sealed::from_bytes([content; 40]);
            NewSession { idle_until: until, expires_at: until, tags: Vec::new(), card: sealed.clone(), body: sealed }
        };
        let id = SessionHash::from_bytes([7; 32]);
        assert!(store.create(id, &session(1), now).await.unwrap());
        assert!(!store.create(id, &session(2), now).await.unwrap());
        assert_eq!(store.load(&id, now).await.unwrap().unwrap().body, Sealed::from_bytes([1; 40]));
        // Nor is a name free because its session has ended.
        assert!(store.delete(&id, now).await.unwrap());
        assert!(!store.create(id, &session(3), now).await.unwrap());
    });
}

#[test]
fn tower_sessions_the_removal_cookie_has_the_attributes_of_the_cookie() {
    wait(async {
        let (_, sessions) = world();
        let request = sessions.begin(&HeadParts { method: "GET", path: "/", headers: &[] });
        let alice = sekisho_core::dangerous::PrincipalBuilder::new("https://shop.example", "alice").build().unwrap();
        request.log_in(sekisho_session::Login::new(&alice));
        let set = request.finish().await.unwrap().remove(0);
        let (pair, attributes) = set.expose().split_once("; ").unwrap();
        let request = sessions.begin(&HeadParts { method: "GET", path: "/", headers: &[("cookie", pair.as_bytes())] });
        request.load(None).await.unwrap();
        request.log_out();
        let removal = request.finish().await.unwrap().remove(0);
        let sorted = |text: &str| {
            let mut parts: Vec<String> = text.split("; ").map(str::to_owned).collect();
            parts.retain(|part| part != "Max-Age=0" && !part.starts_with("Expires="));
            parts.sort();
            parts
        };
        let (emptied, of_removal) = removal.expose().split_once("; ").unwrap();
        assert_eq!(emptied, "__Host-session=");
        assert!(of_removal.contains("Max-Age=0"), "{of_removal}");
        assert_eq!(sorted(of_removal), sorted(attributes));
        for needed in ["Secure", "HttpOnly", "Path=/"] {
            assert!(sorted(of_removal).iter().any(|part| part == needed), "a browser ignores it without {needed}");
        }
    });
}

#[test]
fn axum_login_217_and_018_each_login_has_a_new_id_also_of_another_user_or_the_same() {
    wait(async {
        let (_, sessions) = world();
        let mut before = log_in(&sessions, b"", "alice").await;
        for subject in ["bob", "bob", "alice"] {
            let after = log_in(&sessions, before.as_bytes(), subject).await;
            assert_ne!(after, before);
            assert_eq!(who(&sessions, after.as_bytes()).await.unwrap().as_deref(), Some(subject));
            assert_eq!(who(&sessions, before.as_bytes()).await.unwrap(), None, "the old one is dead");
            before = after;
        }
    });
}

#[test]
fn axum_login_018_a_backend_that_breaks_is_no_denial() {
    let (store, sessions) = world();
    let alice = wait(log_in(&sessions, b"", "alice"));
    *store.trouble.lock().unwrap() = Some("refuses");
    let refusal = wait(who(&sessions, alice.as_bytes())).unwrap_err();
    assert!(matches!(&refusal, Refusal::Failure(failure) if failure.kind() == FailureKind::Unavailable), "{refusal:?}");
}
