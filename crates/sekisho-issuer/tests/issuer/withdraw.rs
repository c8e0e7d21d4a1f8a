//! What the issuer revokes, as services see it that verify JWTs by themselves.

use std::sync::Arc;

use sekisho_core::{Principal, RevocationCheck as _, UnixSeconds};
use sekisho_issuer::{Revocation, RevocationListener, WithdrawingListener};
use sekisho_revocation::{MemoryFeed, RevocationList};

use crate::setup::{Browser, ISSUER, World, claims_of, url_encode};

/// An issuer that withdraws in a list, and a service's question to that list.
async fn world() -> (World, RevocationList) {
    let list = RevocationList::new().unwrap();
    let listener = Arc::new(WithdrawingListener::to_list(ISSUER, list.clone()));
    (World::with(ISSUER, |builder| builder.with_revocation_listener(listener)).await, list)
}

async fn principal(world: &World, token: &str) -> Principal {
    world.verifier("orders").verify(token, world.now()).await.unwrap().into_inner()
}

fn is_revoked(list: &RevocationList, principal: &Principal, now: UnixSeconds) -> bool {
    list.local().is_revoked(principal, now).unwrap()
}

#[tokio::test]
async fn a_revoked_token_is_withdrawn_and_no_other() {
    let (world, list) = world().await;
    let (token, other) = (world.worker_token().await, world.worker_token().await);
    let (gone, stays) = (principal(&world, &token).await, principal(&world, &other).await);
    assert!(!is_revoked(&list, &gone, world.now()));
    world.post_as("worker", "/revoke", &[("token", &token)]).await.status_is(200);
    assert!(is_revoked(&list, &gone, world.now()) && !is_revoked(&list, &stays, world.now()));
    // Until its end, and the leeway of whoever asks.
    assert!(is_revoked(&list, &gone, gone.expires_at().unwrap()));
}

#[tokio::test]
async fn a_logout_withdraws_the_login_alone() {
    let (world, list) = world().await;
    let mut browser = Browser::new(&world);
    let code = browser.code("house", "https://house.example/cb", "openid orders:read").await;
    let tokens = world.redeem("house", &code).await.json(200);
    let (ended, other) = (tokens["access_token"].as_str().unwrap(), world.tokens("openid orders:read").await);
    let (ended, other) =
        (principal(&world, ended).await, principal(&world, other["access_token"].as_str().unwrap()).await);
    assert_eq!((ended.subject(), ended.session_id().is_some()), (other.subject(), true));
    assert_ne!(ended.session_id(), other.session_id());
    let query = url_encode(&[("id_token_hint", tokens["id_token"].as_str().unwrap())]);
    browser.get(&format!("/end_session?{query}")).await;
    assert!(is_revoked(&list, &ended, world.now()) && !is_revoked(&list, &other, world.now()));
    world.wait(86_399);
    assert!(is_revoked(&list, &ended, world.now()));
}

#[tokio::test]
async fn a_user_that_is_logged_out_everywhere_is_withdrawn_up_to_now() {
    let (world, list) = world().await;
    let before = world.tokens("openid orders:read").await;
    let before = principal(&world, before["access_token"].as_str().unwrap()).await;
    world.server.revoke_subject("alice", world.now()).await.unwrap();
    assert!(is_revoked(&list, &before, world.now()));
    world.wait(1);
    let after = world.tokens("openid orders:read").await;
    assert!(!is_revoked(&list, &principal(&world, after["access_token"].as_str().unwrap()).await, world.now()));
    assert!(!is_revoked(&list, &principal(&world, &world.worker_token().await).await, world.now()));
}

#[tokio::test]
async fn a_grant_is_withdrawn_with_all_tokens_that_came_of_it_and_no_other() {
    let (world, list) = world().await;
    let other = world.tokens("openid orders:read").await;
    let other = principal(&world, other["access_token"].as_str().unwrap()).await;
    let tokens = world.tokens("openid orders:read").await;
    let (access, refresh) = (tokens["access_token"].as_str().unwrap(), tokens["refresh_token"].as_str().unwrap());
    let caller = principal(&world, access).await;
    world.post("/revoke", &[("client_id", "house"), ("token", refresh)]).await.status_is(200);
    assert!(!world.is_active(access).await);
    assert!(is_revoked(&list, &caller, world.now()) && !is_revoked(&list, &other, world.now()));
    assert!(claims_of(access)["jti"].as_str().unwrap().contains('.'));
}

#[tokio::test]
async fn a_feed_carries_it_to_lists_elsewhere() {
    let feed = MemoryFeed::new();
    let listener = Arc::new(WithdrawingListener::to_feed(ISSUER, feed.clone()));
    let world = World::with(ISSUER, |builder| builder.with_revocation_listener(listener)).await;
    let token = world.worker_token().await;
    let caller = principal(&world, &token).await;
    world.post_as("worker", "/revoke", &[("token", &token)]).await.status_is(200);
    let list = RevocationList::new().unwrap();
    let clock = Arc::new(world.clock.clone());
    let mut following = list.follow(feed).with_clock(clock).start().unwrap();
    following.synchronized().await;
    assert!(list.check().is_revoked(&caller, world.now()).unwrap());
}

#[tokio::test]
async fn what_finds_no_room_fails_and_is_told_again() {
    let feed = MemoryFeed::with_max_entries(0);
    let listener = Arc::new(WithdrawingListener::to_feed(ISSUER, feed));
    let world = World::with(ISSUER, |builder| builder.with_revocation_listener(listener)).await;
    let token = world.worker_token().await;
    // RFC 7009 §2.2.1: after a 503 the client takes the token to exist still, and asks again.
    for _ in 0..2 {
        world.post_as("worker", "/revoke", &[("token", &token)]).await.status_is(503);
        assert!(world.is_active(&token).await);
    }
    let mut browser = Browser::new(&world);
    let code = browser.code("house", "https://house.example/cb", "openid").await;
    let id_token = world.redeem("house", &code).await.json(200)["id_token"].as_str().unwrap().to_owned();
    for _ in 0..2 {
        browser.get(&format!("/end_session?{}", url_encode(&[("id_token_hint", &id_token)]))).await.page(503);
    }
    let unnamed = WithdrawingListener::to_list("", RevocationList::new().unwrap());
    let failure = unnamed.revoked(&Revocation::Subject("alice".to_owned()), world.now()).await.unwrap_err();
    assert_eq!(failure.kind(), sekisho_core::FailureKind::Misconfigured);
}

#[test]
fn debug_shows_nobody() {
    let listener = WithdrawingListener::to_list(ISSUER, RevocationList::new().unwrap());
    let shown = format!("{listener:?}");
    assert!(shown.starts_with("WithdrawingListener") && shown.contains(ISSUER), "{shown}");
}
