//! What goes to the log.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

#[path = "log/recorder.rs"]
mod recorder;
#[expect(dead_code, reason = "the other tests need more of it")]
mod world;

use recorder::Recorder;
use world::{NOW, RIGHT, World, at, from, secret};

#[tokio::test]
async fn events_name_accounts_by_id_and_hold_no_name_address_password_or_code() {
    let recorder = Recorder::default();
    let guard = tracing::subscriber::set_default(recorder.clone());
    let world = World::new();
    let (alice, app) = world.with_totp("alice.liddell@example.com").await;
    let codes = world.credentials.issue_recovery_codes(&alice).await.unwrap().unwrap();
    for _ in 0..7 {
        world.fail("alice.liddell@example.com", "192.0.2.77", NOW).await;
        world.fail("mallory.nobody", "192.0.2.77", NOW).await;
    }
    let ticket = world.ticket("alice.liddell@example.com", NOW).await;
    world.code(&ticket, &secret("87654321"), NOW).await;
    world.code(&ticket, &app.code(at(30)), NOW).await;
    world.code(&ticket, codes[0].text(), NOW).await;
    let new = secret("a new horse battery");
    world.credentials.change_password(&alice, &secret(RIGHT), &new, from("192.0.2.9"), NOW).await.unwrap();
    world.credentials.set_disabled(&alice, true, NOW).await.unwrap();
    world.credentials.delete_account(&alice).await.unwrap();
    drop(guard);
    let log = recorder.text();
    for expected in [
        "a password was wrong",
        "refused for too many",
        "nobody has",
        "a second factor was wrong",
        "logged in",
        "a recovery code was used",
        "a password was changed",
        "an account was deleted",
        alice.as_str(),
    ] {
        assert!(log.contains(expected), "{expected} is not in {log}");
    }
    let code = app.code(at(30));
    for secret in [
        "liddell",
        "mallory",
        "192.0.2",
        "horse",
        "87654321",
        code.expose_str().unwrap(),
        codes[0].text().expose_str().unwrap(),
        ticket.text().expose_str().unwrap(),
        app.to_base32().expose_str().unwrap(),
        "$argon2",
    ] {
        assert!(!log.contains(secret), "{secret} is in {log}");
    }
}
