//! What happens while everything of a user is being revoked.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use sekisho_core::{Failure, UnixSeconds};
use sekisho_issuer::{
    CodeRecord, CountStore, DevicePoll, DeviceRequest, DeviceStore, Grant, GrantId, GrantStore, HandleHash,
    IssueRequest, MemoryStore, ReferenceRecord, RefreshFamily, ScopeSet, SsoSession, SsoStore, TakenCode,
};

use crate::setup::{Browser, ISSUER, World, authorize_query};

const HOUSE: &str = "https://house.example/cb";

async fn is_good(world: &World, token: &str) -> bool {
    world.server.inspect(token, world.now()).await.unwrap().is_some()
}

#[tokio::test]
async fn a_token_that_was_issued_by_hand_ends_with_all_of_its_user() {
    let world = World::new().await;
    let issue = async |client: &str, subject: &str| {
        let request = IssueRequest::new(client, subject).with_audience("orders");
        let issued = world.server.issue(request, world.now()).await.unwrap();
        issued.token.expose_str().unwrap().to_owned()
    };
    let (jwt, reference) = (issue("house", "alice").await, issue("opaque", "alice").await);
    let others = [issue("house", "carol").await, issue("opaque", "carol").await, world.worker_token().await];
    assert!(is_good(&world, &jwt).await && is_good(&world, &reference).await);
    world.wait(10);
    let late = issue("house", "alice").await;
    world.server.revoke_subject("alice", world.now()).await.unwrap();
    for gone in [&jwt, &reference, &late] {
        assert!(!is_good(&world, gone).await);
        assert!(!world.is_active(gone).await);
    }
    for other in &others {
        assert!(is_good(&world, other).await);
    }
    world.wait(1);
    let anew = issue("house", "alice").await;
    assert!(is_good(&world, &anew).await, "what is issued afterwards is good");
}

#[tokio::test]
async fn a_login_that_was_under_way_when_everything_was_revoked_is_none() {
    let world = World::new().await;
    let mut browser = Browser::new(&world);
    let query = authorize_query("house", HOUSE, &[]);
    let page = browser.get(&format!("/authorize?{query}")).await;
    world.revoke_meanwhile("alice");
    let again = browser.log_in(&page, "alice").await;
    assert!(again.page(403).contains("name=\"password\""));
    assert!(!browser.cookies.keys().any(|name| name.ends_with("sso")));
    world.wait(1);
    let (to, answer) = browser.log_in(&again, "alice").await.redirect();
    assert!(to == HOUSE && answer.contains_key("code"), "with the next second she is let in");
}

#[tokio::test]
async fn a_login_began_with_its_password_not_with_its_second_factor() {
    let world = World::new().await;
    let mut browser = Browser::new(&world);
    let query = authorize_query("house", HOUSE, &[]);
    let page = browser.get(&format!("/authorize?{query}")).await;
    let ask = browser.log_in(&page, "bob").await;
    world.wait(5);
    world.server.revoke_subject("bob", world.now()).await.unwrap();
    world.wait(5);
    let ask = browser.submit(&ask, &[("code", "wrong")]).await;
    ask.page(403);
    let refused = browser.submit(&ask, &[("code", "123456")]).await;
    assert!(refused.page(403).contains("name=\"password\""));
    let ask = browser.log_in(&refused, "bob").await;
    let (to, answer) = browser.submit(&ask, &[("code", "123456")]).await.redirect();
    assert!(to == HOUSE && answer.contains_key("code"));
}

#[tokio::test]
async fn no_code_comes_of_a_login_that_ended_meanwhile() {
    let world = World::new().await;
    for scope in ["openid", "openid offline_access"] {
        let mut browser = Browser::new(&world);
        browser.code("house", HOUSE, "openid").await;
        world.wait(5);
        world.revoke_meanwhile("alice");
        let query = authorize_query("house", HOUSE, &[("scope", scope), ("prompt", "none")]);
        let (_, answer) = browser.get(&format!("/authorize?{query}")).await.redirect();
        assert_eq!(answer["error"], "login_required");
        world.wait(1);
    }
}

#[tokio::test]
async fn no_device_is_allowed_by_a_login_that_ended_meanwhile() {
    let world = World::new().await;
    let form = [("client_id", "tv"), ("scope", "openid")];
    let begun = world.post("/device_authorization", &form).await.json(200);
    let mut browser = Browser::new(&world);
    let login = browser.get("/device").await;
    let ask = browser.log_in(&login, "alice").await;
    let consent = browser.submit(&ask, &[("user_code", begun["user_code"].as_str().unwrap())]).await;
    world.wait(5);
    world.revoke_meanwhile("alice");
    browser.submit(&consent, &[("decision", "allow")]).await.page(400);
    let device = ("grant_type", "urn:ietf:params:oauth:grant-type:device_code");
    let code = ("device_code", begun["device_code"].as_str().unwrap());
    world.token(&[device, ("client_id", "tv"), code]).await.error(400, "invalid_grant");
}

/// Finds no grants the first time that those of a login are revoked, as if they all began just afterwards.
#[derive(Debug, Default)]
struct Belated {
    store: MemoryStore,
    revocations: AtomicUsize,
}

/// Passes the methods of a store on, but for some of its own.
macro_rules! pass_on {
    ($store:ident { $($own:tt)* } $($name:ident($($argument:ident: $kind:ty),*) -> $answer:ty;)*) => {
        #[async_trait]
        impl $store for Belated {
            $($own)*

            $(async fn $name(&self, $($argument: $kind),*) -> Result<$answer, Failure> {
                self.store.$name($($argument),*).await
            })*
        }
    };
}

pass_on! { GrantStore {
    async fn revoke_session_grants(&self, sid: &str, now: UnixSeconds) -> Result<(), Failure> {
        match self.revocations.fetch_add(1, Ordering::SeqCst) {
            0 => Ok(()),
            _ => self.store.revoke_session_grants(sid, now).await,
        }
    }
}
    begin_grant(grant: &Grant, code: Option<&CodeRecord>, now: UnixSeconds) -> ();
    take_code(code: &HandleHash, now: UnixSeconds) -> TakenCode;
    grant(id: &GrantId, now: UnixSeconds) -> Option<Grant>;
    revoke_grant(id: &GrantId, now: UnixSeconds) -> ();
    revoke_subject_grants(subject: &str, now: UnixSeconds) -> ();
    withdraw_subject(subject: &str, up_to: UnixSeconds, until: UnixSeconds, now: UnixSeconds) -> ();
    withdrawn_up_to(subject: &str, now: UnixSeconds) -> Option<UnixSeconds>;
    begin_refresh(family: &RefreshFamily, now: UnixSeconds) -> ();
    refresh_family(family: &HandleHash, now: UnixSeconds) -> Option<(RefreshFamily, Grant)>;
    rotate_refresh(family: &HandleHash, from: &HandleHash, to: &HandleHash, idle: UnixSeconds, now: UnixSeconds) -> bool;
    put_reference(token: &ReferenceRecord, now: UnixSeconds) -> ();
    reference(token: &HandleHash, now: UnixSeconds) -> Option<ReferenceRecord>;
    revoke_reference(token: &HandleHash) -> ();
}

pass_on! { SsoStore {}
    put_session(session: &SsoSession, instead_of: Option<&HandleHash>, now: UnixSeconds) -> ();
    use_session(session: &HandleHash, idle: Duration, now: UnixSeconds) -> Option<SsoSession>;
    end_session(session: &HandleHash) -> ();
    end_subject_sessions(subject: &str) -> ();
    consent(subject: &str, client_id: &str) -> ScopeSet;
    put_consent(subject: &str, client_id: &str, scope: &ScopeSet) -> ();
}

pass_on! { DeviceStore {}
    begin_device(request: &DeviceRequest, now: UnixSeconds) -> bool;
    undecided_device(user_code: &HandleHash, now: UnixSeconds) -> Option<DeviceRequest>;
    decide_device(user_code: &HandleHash, grant: Option<&Grant>, now: UnixSeconds) -> bool;
    poll_device(device: &HandleHash, client_id: &str, now: UnixSeconds) -> DevicePoll;
}

pass_on! { CountStore {}
    count(key: &HandleHash, until: UnixSeconds, now: UnixSeconds) -> u32;
    counted(key: &HandleHash, now: UnixSeconds) -> u32;
}

#[tokio::test]
async fn a_grant_that_began_while_its_login_was_being_ended_ends_too() {
    let world = World::with_store(ISSUER, Belated::default(), |builder| builder).await;
    let mut browser = Browser::new(&world);
    let code = browser.code("house", HOUSE, "openid").await;
    let tokens = world.redeem("house", &code).await.json(200);
    let page = browser.get("/end_session").await;
    browser.submit(&page, &[("decision", "allow")]).await.page(200);
    world.refresh("house", tokens["refresh_token"].as_str().unwrap()).await.error(400, "invalid_grant");
}
