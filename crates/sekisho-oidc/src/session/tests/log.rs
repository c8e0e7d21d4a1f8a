use std::sync::atomic::Ordering;

use sekisho_core::Failure;
use sekisho_testkit::LogRecorder;

use super::world::{Browser, FORM, ISSUER, LIFE, World, logout_token};
use crate::tokens::TokenError;

/// Does what leaves lines behind, and returns the `state` of a login.
async fn live() -> String {
    let world = World::new();
    let mut browser = Browser::default();
    let state = browser.begin(&world.bff, "return_to=/hush").await;
    browser.open(&world.bff, &format!("/bff/callback?error=hush&state={state}")).await;
    browser.open(&world.bff, &format!("/bff/callback?code=hush&state={state}")).await;
    browser.log_in(&world.bff, "alice", "/").await;
    world.wait(LIFE);
    world.provider.next_answer(Failure::unavailable("down").into());
    assert!(browser.token(&world.bff).await.is_err());
    world.wait(10);
    assert!(browser.token(&world.bff).await.is_ok());
    world.wait(LIFE);
    world.provider.next_answer(TokenError::Grant);
    assert!(browser.token(&world.bff).await.is_err());
    browser.log_in(&world.bff, "alice", "/").await;
    browser.send(&world.bff, "POST", "/bff/backchannel", &[], "logout_token=hush.hush.hush").await;
    let form = format!("logout_token={}", logout_token(ISSUER, Some("sid-alice"), None));
    browser.send(&world.bff, "POST", "/bff/backchannel", &[], &form).await;
    browser.log_in(&world.bff, "alice", "/").await;
    world.provider.is_down.store(false, Ordering::SeqCst);
    browser.send(&world.bff, "POST", "/bff/logout", FORM, "").await;
    state
}

#[tokio::test]
async fn no_line_of_the_log_shows_a_token_a_state_or_what_a_stranger_sent() {
    let recorder = LogRecorder::default();
    let _guard = tracing::subscriber::set_default(recorder.clone());
    // Another test may have met a line for the first time just now, and then nobody listened.
    let first = live().await;
    tracing::callsite::rebuild_interest_cache();
    let states = [first, live().await];

    let log = recorder.text();
    for part in [
        "logged in",
        "did not succeed",
        "no login of this browser",
        "not refreshed",
        "no longer honours",
        "by the provider",
        "logged out",
    ] {
        assert!(log.contains(part), "{part}: {log}");
    }
    assert!(!log.contains("hush") && !states.iter().any(|state| log.contains(state)), "{log}");
}
