//! A session as what a checkpoint authenticates: the same principal, the same rules, one call of the store.

use std::sync::atomic::Ordering;

use sekisho_core::dangerous::PrincipalBuilder;
use sekisho_core::{Principal, role, scope};
use sekisho_http::{Answer, Checkpoint, HeadParts, Inspection, Passage, Presence};
use sekisho_session::{Login, Session};

use crate::world::{Browser, Cart, ISSUER, World};

struct Guarded {
    world: World,
    checkpoint: Checkpoint,
}

impl Guarded {
    fn new() -> Self {
        let world = World::new();
        let checkpoint = Checkpoint::builder()
            .with_cookie(world.sessions.cookie().name())
            .accept(world.sessions.authenticator())
            .build()
            .unwrap();
        Self { world, checkpoint }
    }

    async fn inspect(&self, browser: &Browser, presence: Presence) -> Result<Passage, Answer> {
        let value = browser.cookie.clone().unwrap_or_default();
        let headers: [(&str, &[u8]); 1] = [("cookie", value.as_bytes())];
        let head = HeadParts { method: "GET", path: "/", headers: &headers };
        match self.checkpoint.inspect(&head, presence) {
            Inspection::Pass(passage) => Ok(passage),
            Inspection::Refuse(answer) => Err(answer),
            Inspection::Wait(pending) => pending.resolve().await,
        }
    }

    async fn log_in(&self, principal: &Principal) -> Browser {
        let mut browser = Browser::default();
        let request = browser.request(&self.world.sessions);
        request.log_in(Login::new(principal));
        browser.take(request.finish().await.unwrap());
        browser
    }
}

fn admin() -> Principal {
    PrincipalBuilder::new(ISSUER, "alice")
        .with_scope("orders:read")
        .with_roles(["admin"])
        .with_tenant("acme")
        .build()
        .unwrap()
}

#[tokio::test]
async fn the_same_principal_and_the_same_rules_as_with_a_token() {
    let guarded = Guarded::new();
    let browser = guarded.log_in(&admin()).await;
    let passage = guarded.inspect(&browser, Presence::Required).await.unwrap();
    let principal = passage.principal().unwrap();
    assert_eq!((principal, principal.tenant()), (&admin(), Some("acme")));
    let head = HeadParts { method: "GET", path: "/", headers: &[] };
    for rule in [scope("orders:read"), role("admin")] {
        assert!(guarded.checkpoint.check_passage(Some(&passage), &rule, &head).is_ok());
    }
    let answer = guarded.checkpoint.check_passage(Some(&passage), &scope("orders:write"), &head).unwrap_err();
    assert_eq!(answer.status(), 403);
}

#[tokio::test]
async fn checkpoint_and_handler_together_ask_the_store_once() {
    let guarded = Guarded::new();
    let browser = guarded.log_in(&admin()).await;
    guarded.world.store.counted();
    let request = browser.request(&guarded.world.sessions);
    let passage = guarded.inspect(&browser, Presence::Required).await.unwrap();
    let mut session: Session<Cart> = request.session(passage.principal()).await.unwrap();
    assert_eq!(guarded.world.store.counted(), (1, 0));
    session.update(|cart| cart.items.push(1));
    session.finish().await.unwrap();
    assert_eq!(guarded.world.store.counted(), (1, 1));
}

#[tokio::test]
async fn a_principal_of_another_session_is_not_taken_for_this_requests_own() {
    let guarded = Guarded::new();
    let (alice, bob) = (guarded.log_in(&admin()).await, guarded.world.logged_in("bob").await);
    let passage = guarded.inspect(&bob, Presence::Required).await.unwrap();
    let request = alice.request(&guarded.world.sessions);
    let session: Session<Cart> = request.session(passage.principal()).await.unwrap();
    assert_eq!(session.principal().unwrap().unwrap().subject(), "alice");
}

#[tokio::test]
async fn what_other_sessions_hold_under_the_same_name_is_not_taken_for_this_ones() {
    let (guarded, other) = (Guarded::new(), World::new());
    let browser = guarded.log_in(&admin()).await;
    let passage = guarded.inspect(&browser, Presence::Required).await.unwrap();
    let session: Session<Cart> = browser.request(&other.sessions).session(passage.principal()).await.unwrap();
    assert_eq!((session.principal().unwrap(), session.id()), (None, None));
}

#[tokio::test]
async fn a_cookie_of_nobody_is_no_credential() {
    let guarded = Guarded::new();
    let mut visitor = Browser::default();
    visitor.add(&guarded.world.sessions, 1).await.unwrap();
    let over = guarded.log_in(&admin()).await;
    guarded.world.sessions.end_all(&admin().id()).await.unwrap();
    let foreign = Browser { cookie: Some("__Host-session=whatever".into()) };
    let unknown = Browser { cookie: Some(format!("__Host-session={}", "A".repeat(48))) };
    for browser in [visitor, over, foreign, unknown, Browser::default()] {
        let passage = guarded.inspect(&browser, Presence::Optional).await.unwrap();
        assert!(passage.principal().is_none());
        let answer = guarded.inspect(&browser, Presence::Required).await.unwrap_err();
        let challenge = answer.headers().find(|(name, _)| *name == "www-authenticate").unwrap().1;
        assert_eq!((answer.status(), &*challenge), (401, &br#"Bearer realm="protected""#[..]));
    }
}

#[tokio::test]
async fn the_store_down_or_its_record_changed_is_503_and_no_401() {
    let guarded = Guarded::new();
    let browser = guarded.log_in(&admin()).await;
    for flag in [&guarded.world.store.is_down, &guarded.world.store.is_corrupt] {
        flag.store(true, Ordering::SeqCst);
        for presence in [Presence::Required, Presence::Optional] {
            assert_eq!(guarded.inspect(&browser, presence).await.unwrap_err().status(), 503);
        }
        flag.store(false, Ordering::SeqCst);
    }
}

#[tokio::test]
async fn requests_that_only_pass_the_checkpoint_keep_the_session_alive() {
    let guarded = Guarded::new();
    let browser = guarded.log_in(&admin()).await;
    for _ in 0..5 {
        guarded.world.wait(1799);
        assert!(guarded.inspect(&browser, Presence::Required).await.is_ok());
    }
    guarded.world.wait(1800);
    assert_eq!(guarded.inspect(&browser, Presence::Required).await.unwrap_err().status(), 401);
}
