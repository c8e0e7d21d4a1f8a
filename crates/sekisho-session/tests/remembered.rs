//! Logins that outlive their session, each by a token that is good once.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use sekisho_core::dangerous::PrincipalBuilder;
use sekisho_core::{Principal, max_age};
use sekisho_http::HeadParts;
use sekisho_session::{Login, RememberedLogins, RequestSession, SessionCookie, Sessions, SetCookie};

use crate::world::{Cart, ISSUER, START, World, somebody};

const MONTH: u64 = 30 * 86_400;

fn world() -> World {
    let remembered = RememberedLogins::for_lifetime(Duration::from_secs(MONTH)).unwrap();
    World::with(|builder| builder.with_remembered_logins(remembered))
}

/// Is a browser with any number of cookies.
#[derive(Clone, Debug, Default)]
struct Jar(HashMap<String, String>);

impl Jar {
    async fn request(&self, sessions: &Sessions) -> RequestSession {
        let header = self.0.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("; ");
        let headers: [(&str, &[u8]); 1] = [("cookie", header.as_bytes())];
        let request = sessions.begin(&HeadParts { method: "GET", path: "/", headers: &headers });
        request.load(None).await.unwrap();
        request
    }

    fn take(&mut self, set: Vec<SetCookie>) {
        let names: Vec<_> = set.iter().map(|set| set.expose().split('=').next().unwrap().to_owned()).collect();
        assert!(names.len() < 2 || names[0] != names[1], "one name stands once in an answer");
        for set in set {
            let (name, value) = set.expose().split(';').next().unwrap().split_once('=').unwrap();
            if set.expose().contains("Max-Age=0") {
                self.0.remove(name);
            } else {
                self.0.insert(name.to_owned(), value.to_owned());
            }
        }
    }

    async fn log_in(&mut self, sessions: &Sessions, principal: &Principal) {
        let request = self.request(sessions).await;
        request.log_in(Login::new(principal).with_device("Firefox").with_remembering());
        self.take(request.finish().await.unwrap());
    }

    /// Opens the login page; tells who was logged in by it.
    async fn log_in_page(&mut self, sessions: &Sessions) -> Option<Principal> {
        let request = self.request(sessions).await;
        let found = request.log_in_remembered().await.unwrap();
        self.take(request.finish().await.ok()?);
        found
    }

    async fn who(&self, sessions: &Sessions) -> Option<String> {
        let principal = self.request(sessions).await.principal().unwrap();
        principal.map(|principal| principal.subject().to_owned())
    }

    fn remembered(&self) -> Option<&String> {
        self.0.get("__Host-remembered")
    }
}

#[tokio::test]
async fn a_remembered_login_outlives_the_session_and_says_that_nobody_was_asked() {
    let world = world();
    let mut jar = Jar::default();
    let alice = PrincipalBuilder::new(ISSUER, "alice")
        .with_claim("acr", "gold")
        .with_claim("amr", vec!["pwd", "otp"])
        .build()
        .unwrap();
    jar.log_in(&world.sessions, &alice).await;
    let first = jar.remembered().unwrap().clone();
    world.wait(86_400);
    assert_eq!(jar.who(&world.sessions).await, None, "the session is over");
    let found = jar.log_in_page(&world.sessions).await.unwrap();
    assert_eq!(found, alice);
    assert_ne!(jar.remembered().unwrap(), &first, "the token is another one");
    assert_eq!(jar.who(&world.sessions).await.as_deref(), Some("alice"));
    let principal = jar.request(&world.sessions).await.principal().unwrap().unwrap();
    assert_eq!(principal.authenticated_at(), Some(START), "the login was yesterday");
    assert_eq!(
        (principal.authentication_methods(), principal.authentication_context()),
        (vec!["remembered".into()], None)
    );
    let now = START.saturating_add(Duration::from_secs(86_400));
    assert!(
        max_age(Duration::from_secs(3600)).check(&principal, now).is_err(),
        "where it matters, a login is asked for"
    );
    let listed = world.sessions.list(&alice.id()).await.unwrap();
    assert_eq!((listed.len(), listed[0].device(), listed[0].is_remembered()), (1, Some("Firefox"), true));
}

#[tokio::test]
async fn the_token_is_good_once_also_for_two_at_once() {
    let world = Arc::new(world());
    let mut jar = Jar::default();
    jar.log_in(&world.sessions, &somebody("alice")).await;
    world.wait(86_400);
    let mut stolen = jar.clone();
    assert!(jar.log_in_page(&world.sessions).await.is_some());
    assert!(stolen.log_in_page(&world.sessions).await.is_none());
    assert_eq!(stolen.who(&world.sessions).await, None);
    let tasks: Vec<_> = (0..16)
        .map(|_| {
            let (world, mut jar) = (Arc::clone(&world), jar.clone());
            tokio::spawn(async move { jar.log_in_page(&world.sessions).await.is_some() })
        })
        .collect();
    let mut winners = 0;
    for task in tasks {
        winners += usize::from(task.await.unwrap());
    }
    assert_eq!(winners, 1);
}

#[tokio::test]
async fn a_token_that_comes_a_second_time_ends_all_that_came_of_its_login() {
    for steps in [1, 2] {
        let world = world();
        let mut jar = Jar::default();
        jar.log_in(&world.sessions, &somebody("alice")).await;
        let mut stolen = jar.clone();
        for _ in 0..steps {
            world.wait(7200);
            assert!(jar.log_in_page(&world.sessions).await.is_some());
        }
        world.wait(30);
        assert!(stolen.log_in_page(&world.sessions).await.is_none(), "{steps}");
        assert_eq!(stolen.remembered(), None, "the cookie is taken away");
        assert_eq!(jar.who(&world.sessions).await, None, "nobody can tell who is the thief");
        assert!(jar.log_in_page(&world.sessions).await.is_none());
        assert!(world.sessions.list(&somebody("alice").id()).await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn when_the_thief_was_first_the_owner_ends_what_they_have() {
    let world = world();
    let mut jar = Jar::default();
    jar.log_in(&world.sessions, &somebody("alice")).await;
    world.wait(7200);
    let mut thief = Jar(HashMap::from([("__Host-remembered".to_owned(), jar.remembered().unwrap().clone())]));
    assert!(thief.log_in_page(&world.sessions).await.is_some());
    world.wait(600);
    let again = world.logged_in("alice").await;
    assert_eq!(thief.who(&world.sessions).await.as_deref(), Some("alice"));
    assert!(jar.log_in_page(&world.sessions).await.is_none());
    assert_eq!(thief.who(&world.sessions).await, None);
    assert!(thief.log_in_page(&world.sessions).await.is_none());
    assert!(again.who(&world.sessions).await.is_some(), "a login of its own stays");

    // Also by a logout, or by a login that is none of its business.
    for how in 0..2 {
        let mut jar = Jar::default();
        jar.log_in(&world.sessions, &somebody("alice")).await;
        let mut thief = Jar(HashMap::from([("__Host-remembered".to_owned(), jar.remembered().unwrap().clone())]));
        assert!(thief.log_in_page(&world.sessions).await.is_some());
        jar.0.remove("__Host-session");
        let request = jar.request(&world.sessions).await;
        if how == 0 {
            request.log_out()
        } else {
            request.log_in(Login::new(&somebody("bob")))
        }
        jar.take(request.finish().await.unwrap());
        assert_eq!(thief.who(&world.sessions).await, None, "{how}");
        assert!(thief.log_in_page(&world.sessions).await.is_none(), "{how}");
    }
}

#[tokio::test]
async fn requests_that_were_under_way_are_no_theft() {
    let world = world();
    let mut jar = Jar::default();
    jar.log_in(&world.sessions, &somebody("alice")).await;
    let first = jar.clone();
    assert!(jar.log_in_page(&world.sessions).await.is_some());
    world.wait(10);
    let second = jar.clone();
    assert!(jar.log_in_page(&world.sessions).await.is_some());
    world.wait(19);
    for mut slow in [first.clone(), second.clone()] {
        let cookie = slow.remembered().cloned();
        assert!(slow.log_in_page(&world.sessions).await.is_none());
        assert_eq!(slow.remembered().cloned(), cookie, "what it has may be of an answer that came meanwhile");
    }
    assert!(jar.who(&world.sessions).await.is_some());
    world.wait(1);
    assert!(second.clone().log_in_page(&world.sessions).await.is_none());
    assert!(jar.who(&world.sessions).await.is_some());
    assert!(first.clone().log_in_page(&world.sessions).await.is_none());
    assert_eq!(jar.who(&world.sessions).await, None, "that one is half a minute old");
}

#[tokio::test]
async fn whoever_knows_half_of_a_token_logs_nobody_in() {
    let world = world();
    let mut jar = Jar::default();
    jar.log_in(&world.sessions, &somebody("alice")).await;
    let token = jar.remembered().unwrap().clone();
    let (login, once) = token.split_once('.').unwrap();
    assert_eq!((login.len(), once.len()), (48, 22));
    let with = |value: String| Jar(HashMap::from([("__Host-remembered".to_owned(), value)]));
    for bad in
        [login.to_owned(), format!("{login}."), format!(".{once}"), format!("{login}.{once}A"), format!("{login}.é")]
    {
        assert!(with(bad).log_in_page(&world.sessions).await.is_none());
    }
    let other = format!("{}.{once}", "A".repeat(48));
    assert!(with(other).log_in_page(&world.sessions).await.is_none());
    assert!(jar.clone().who(&world.sessions).await.is_some(), "none of it ends anything");
    assert!(with(format!("{login}.{}", "A".repeat(22))).log_in_page(&world.sessions).await.is_none());
    assert_eq!(jar.who(&world.sessions).await, None, "a token that never was one is no better than one that was");
}

#[tokio::test]
async fn what_comes_of_it_is_one_in_lists_and_in_forms() {
    let world = world();
    let mut jar = Jar::default();
    jar.log_in(&world.sessions, &somebody("alice")).await;
    let id = jar.request(&world.sessions).await.id();
    world.wait(86_400);
    let request = jar.request(&world.sessions).await;
    assert!(request.log_in_remembered().await.unwrap().is_some());
    let form = request.form_token().unwrap();
    jar.take(request.finish().await.unwrap());
    assert_eq!(jar.request(&world.sessions).await.id(), id);
    assert!(jar.request(&world.sessions).await.check_form_token(&form).is_ok());
    for idles in [0, 3600] {
        world.wait(idles);
        let listed = world.sessions.list(&somebody("alice").id()).await.unwrap();
        assert_eq!((listed.len(), Some(listed[0].id())), (1, id.as_ref()));
        assert_eq!((listed[0].created_at(), listed[0].is_remembered()), (START, true));
        assert_eq!(listed[0].last_used_at(), START.saturating_add(Duration::from_secs(86_400)));
        assert_eq!(listed[0].expires_at(), START.saturating_add(Duration::from_secs(MONTH)));
    }
}

#[tokio::test]
async fn ending_all_sessions_ends_a_remembered_login_that_is_just_being_used() {
    let world = world();
    let mut jar = Jar::default();
    jar.log_in(&world.sessions, &somebody("alice")).await;
    world.wait(86_400);
    let slow = jar.request(&world.sessions).await;
    assert!(slow.log_in_remembered().await.unwrap().is_some());
    assert_eq!(world.sessions.end_all(&somebody("alice").id()).await.unwrap(), 1);
    assert!(slow.finish().await.is_err());
    assert!(slow.finish().await.unwrap().is_empty(), "no cookie of it is left behind");
    assert!(world.sessions.list(&somebody("alice").id()).await.unwrap().is_empty());
}

#[tokio::test]
async fn of_a_login_that_failed_in_part_no_cookie_goes_out_and_nothing_is_left() {
    let world = world();
    let mut jar = Jar::default();
    jar.log_in(&world.sessions, &somebody("alice")).await;
    world.wait(86_400);
    let request = jar.request(&world.sessions).await;
    assert!(request.log_in_remembered().await.unwrap().is_some());
    world.store.fails_to_save.store(true, Ordering::SeqCst);
    assert!(request.flush().await.is_err(), "the token could not be used up");
    world.store.fails_to_save.store(false, Ordering::SeqCst);
    assert!(request.principal().unwrap().is_none());
    assert!(request.finish().await.unwrap().is_empty(), "a handler that goes on all the same hands out nothing");
    let listed = world.sessions.list(&somebody("alice").id()).await.unwrap();
    assert_eq!(listed.len(), 1, "the remembered login is there, and no session beside it: {listed:?}");
    assert!(jar.log_in_page(&world.sessions).await.is_some(), "it can be tried again");
}

#[tokio::test]
async fn a_session_that_has_moved_on_meanwhile_is_not_left_beside_the_one_of_a_remembered_login() {
    let world = world();
    let mut jar = Jar::default();
    jar.log_in(&world.sessions, &somebody("alice")).await;
    let slow = jar.request(&world.sessions).await;
    assert!(slow.log_in_remembered().await.unwrap().is_some());
    let rotating = jar.request(&world.sessions).await;
    rotating.rotate();
    jar.take(rotating.finish().await.unwrap());
    assert!(slow.finish().await.is_err());
    assert!(slow.finish().await.unwrap().is_empty());
    assert_eq!(world.sessions.list(&somebody("alice").id()).await.unwrap().len(), 1);
    assert_eq!(jar.who(&world.sessions).await.as_deref(), Some("alice"));
    assert!(jar.log_in_page(&world.sessions).await.is_some(), "the token is good still");
    world.wait(10);
    assert_eq!(world.sessions.list(&somebody("alice").id()).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_session_that_is_replaced_by_its_remembered_login_counts_once_for_the_limit() {
    let remembered = RememberedLogins::for_lifetime(Duration::from_secs(MONTH)).unwrap();
    let world = World::with(|builder| builder.with_remembered_logins(remembered).with_session_limit(2));
    let (mut phone, mut laptop) = (Jar::default(), Jar::default());
    phone.log_in(&world.sessions, &somebody("alice")).await;
    world.wait(60);
    laptop.log_in(&world.sessions, &somebody("alice")).await;
    assert!(laptop.log_in_page(&world.sessions).await.is_some());
    assert_eq!(phone.who(&world.sessions).await.as_deref(), Some("alice"));
}

#[tokio::test]
async fn being_used_does_not_make_it_live_longer() {
    let world = world();
    let mut jar = Jar::default();
    jar.log_in(&world.sessions, &somebody("alice")).await;
    for _ in 0..29 {
        world.wait(86_400);
        assert!(jar.log_in_page(&world.sessions).await.is_some());
    }
    world.wait(86_399);
    let last = jar.clone();
    world.wait(1);
    assert!(jar.log_in_page(&world.sessions).await.is_none(), "a month after the login it is over");
    assert!(last.clone().log_in_page(&world.sessions).await.is_none());
}

#[tokio::test]
async fn ends_with_the_logout_and_with_whatever_ends_its_session() {
    let world = world();
    let alice = somebody("alice").id();
    for how in 0..4 {
        let mut jar = Jar::default();
        jar.log_in(&world.sessions, &somebody("alice")).await;
        let before = jar.clone();
        match how {
            0 => {
                let request = jar.request(&world.sessions).await;
                request.log_out();
                jar.take(request.finish().await.unwrap());
                assert!(jar.0.is_empty(), "both cookies are taken away");
            }
            1 => assert!(world.sessions.end_all(&alice).await.unwrap() > 0),
            2 => {
                let id = world.sessions.list(&alice).await.unwrap()[0].id().clone();
                assert!(world.sessions.end(&alice, &id).await.unwrap());
            }
            // From the list, when the session itself has idled out: a device that was lost.
            _ => {
                world.wait(86_400);
                let id = world.sessions.list(&alice).await.unwrap()[0].id().clone();
                assert!(world.sessions.end(&alice, &id).await.unwrap());
            }
        }
        for mut jar in [jar, before] {
            assert!(jar.log_in_page(&world.sessions).await.is_none(), "{how}");
            assert_eq!(jar.who(&world.sessions).await, None, "{how}");
        }
        assert!(world.sessions.list(&alice).await.unwrap().is_empty(), "{how}");
    }
}

#[tokio::test]
async fn somebody_else_in_the_same_browser_takes_over_no_remembered_login() {
    let world = world();
    let mut jar = Jar::default();
    jar.log_in(&world.sessions, &somebody("alice")).await;
    let before = jar.clone();
    let request = jar.request(&world.sessions).await;
    request.log_in(Login::new(&somebody("bob")));
    jar.take(request.finish().await.unwrap());
    assert_eq!(jar.remembered(), None);
    assert!(before.clone().log_in_page(&world.sessions).await.is_none());
    assert_eq!(jar.who(&world.sessions).await.as_deref(), Some("bob"));
}

#[tokio::test]
async fn neither_token_is_taken_for_the_other() {
    let world = world();
    let mut jar = Jar::default();
    jar.log_in(&world.sessions, &somebody("alice")).await;
    let (session, remembered) = (jar.0["__Host-session"].clone(), jar.0["__Host-remembered"].clone());
    let mut swapped =
        Jar(HashMap::from([("__Host-session".to_owned(), remembered), ("__Host-remembered".to_owned(), session)]));
    assert_eq!(swapped.who(&world.sessions).await, None);
    assert!(swapped.log_in_page(&world.sessions).await.is_none());
    assert!(jar.who(&world.sessions).await.is_some());
}

#[tokio::test]
async fn nothing_is_remembered_where_that_was_not_set_up() {
    let world = World::new();
    let request = Jar::default().request(&world.sessions).await;
    request.log_in(Login::new(&somebody("alice")).with_remembering());
    assert!(request.finish().await.is_err());
    let request = Jar::default().request(&world.sessions).await;
    assert!(request.session::<Cart>(None).await.unwrap().log_in_remembered().await.unwrap().is_none());
}

#[test]
fn refuses_settings_that_cannot_work() {
    let cookie = || SessionCookie::builder().with_name("__Host-r");
    let seconds = Duration::from_secs;
    assert!(RememberedLogins::with_cookie(cookie(), seconds(1)).is_ok());
    assert!(RememberedLogins::with_cookie(cookie(), seconds(0)).is_err());
    assert!(RememberedLogins::with_cookie(cookie(), seconds(401 * 86_400)).is_err());
    assert!(RememberedLogins::with_cookie(cookie().with_domain("a.example"), seconds(1)).is_err());
}
