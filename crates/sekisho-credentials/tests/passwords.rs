//! Sign-up, change, reset, and the end of accounts.

use std::sync::Arc;
use std::time::Duration;

use sekisho_credentials::{
    AccountId, ChangeError, ClientContext, LoginOutcome, PasswordError, PasswordPolicy, ResetToken, SignUpError,
};

use crate::world::{NOW, RIGHT, World, at, authenticated, from, is_refused, name, on, secret, wait};

const NEW: &str = "a new horse battery";
const HOUR: Duration = Duration::from_secs(3600);

fn is_refusal<T>(result: Result<T, ChangeError>) -> bool {
    matches!(result, Err(ChangeError::Refused))
}

#[tokio::test]
async fn refuses_taken_names_and_passwords_that_the_policy_refuses() {
    let policy = PasswordPolicy::default().with_refused(|password| password == "iloveyou");
    let world = World::with(|builder| builder.with_password_policy(policy));
    let alice = world.sign_up("alice").await;
    let sign_up = async |typed: &str, password: &str| {
        world.credentials.sign_up(&name(typed), &secret(password), NOW).await.unwrap_err()
    };
    for (typed, password, reason) in [
        ("bob", "seven77", PasswordError::TooShort),
        ("bob", &"x".repeat(129), PasswordError::TooLong),
        ("bob", "iloveyou", PasswordError::Common),
        ("bob@example.com", "Bob@Example.com", PasswordError::Common),
    ] {
        let error = sign_up(typed, password).await;
        assert!(matches!(&error, SignUpError::Password(found) if *found == reason), "{error:?}");
    }
    for typed in ["alice", "ALICE", "ａｌｉｃｅ"] {
        assert!(matches!(sign_up(typed, NEW).await, SignUpError::NameTaken));
    }
    assert!(world.credentials.find(&name("bob")).await.unwrap().is_none());
    assert_eq!(world.credentials.find(&name("alice")).await.unwrap(), Some(alice));
    world.log_in("alice", ClientContext::default(), NOW).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_sign_ups_with_one_name_at_once_exactly_one_wins() {
    let world = Arc::new(World::new());
    let all: Vec<_> = (0..8)
        .map(|count| {
            let world = world.clone();
            tokio::spawn(async move {
                let password = secret(&format!("correct horse {count}"));
                world.credentials.sign_up(&name("alice"), &password, NOW).await.is_ok()
            })
        })
        .collect();
    let mut won = 0;
    for one in all {
        won += usize::from(one.await.unwrap());
    }
    assert_eq!(won, 1);
}

#[tokio::test]
async fn refuses_to_change_a_password_without_the_present_one() {
    let world = World::new();
    let alice = world.sign_up("alice").await;
    let change = async |account: &AccountId, present: &str, new: &str| {
        let (present, new) = (secret(present), secret(new));
        world.credentials.change_password(account, &present, &new, from("192.0.2.1"), NOW).await
    };
    for present in ["", "wrong horse battery", NEW] {
        assert!(is_refusal(change(&alice, present, NEW).await), "{present}");
    }
    assert!(is_refusal(change(&AccountId::generate().unwrap(), RIGHT, NEW).await));
    assert!(matches!(change(&alice, RIGHT, "short").await, Err(ChangeError::Password(PasswordError::TooShort))));
    world.credentials.set_disabled(&alice, true, NOW).await.unwrap();
    assert!(is_refusal(change(&alice, RIGHT, NEW).await), "disabled");
    world.credentials.set_disabled(&alice, false, NOW).await.unwrap();
    world.log_in("alice", ClientContext::default(), NOW).await;
}

#[tokio::test]
async fn after_a_change_the_old_password_and_the_known_devices_are_no_more() {
    let world = World::new();
    let alice = world.sign_up("alice").await;
    let device = world.device("alice", "192.0.2.1", NOW).await;
    world.credentials.change_password(&alice, &secret(RIGHT), &secret(NEW), from("192.0.2.1"), NOW).await.unwrap();
    assert!(is_refused(&world.try_at("alice", RIGHT, ClientContext::default(), NOW).await));
    let outcome = world.try_at("alice", NEW, ClientContext::default(), NOW).await;
    assert_eq!(authenticated(outcome).account, alice);
    for bot in 0..30 {
        world.fail("alice", &format!("198.18.0.{bot}"), NOW).await;
    }
    for client in [on(&device, "203.0.113.9"), from("192.0.2.1")] {
        assert!(wait(&world.try_at("alice", NEW, client, NOW).await) > 0);
    }
}

#[tokio::test]
async fn logins_of_before_a_change_count_no_more() {
    let world = World::new();
    let alice = world.sign_up("alice").await;
    let counts = async |later| world.credentials.account(&alice).await.unwrap().unwrap().counts_login_at(at(later));
    assert!(counts(0).await, "in the second in which the account was made");
    let (right, new) = (secret(RIGHT), secret(NEW));
    world.credentials.change_password(&alice, &right, &new, from("192.0.2.1"), at(10)).await.unwrap();
    assert!(!counts(0).await && !counts(10).await && counts(20).await);
    world.credentials.set_disabled(&alice, true, at(30)).await.unwrap();
    assert!(!counts(40).await, "disabled");
    world.credentials.set_disabled(&alice, false, at(50)).await.unwrap();
    assert!(!counts(30).await && counts(31).await);
    let app = world.credentials.begin_totp(&alice, at(60)).await.unwrap().unwrap();
    assert!(world.credentials.confirm_totp(&alice, &app.code(at(60)), at(60)).await.unwrap());
    assert!(counts(40).await, "an app takes nothing away");
    world.credentials.remove_second_factors(&alice, at(70)).await.unwrap();
    assert!(!counts(70).await && counts(71).await);
}

#[tokio::test]
async fn a_login_that_was_overtaken_by_a_change_makes_no_source_known() {
    let world = World::new();
    let alice = world.sign_up("alice").await;
    let login = world.log_in("alice", from("192.0.2.1"), NOW).await;
    world.credentials.change_password(&alice, &secret(RIGHT), &secret(NEW), from("192.0.2.9"), NOW).await.unwrap();
    let device = world.credentials.remember_device(&login, None, NOW).await.unwrap();
    for bot in 0..30 {
        world.fail("alice", &format!("198.18.0.{bot}"), NOW).await;
    }
    assert!(wait(&world.try_at("alice", NEW, on(&device, "203.0.113.9"), NOW).await) > 0, "the thief's device");
}

#[tokio::test]
async fn a_prepared_password_is_set_once_and_not_over_another() {
    let world = World::new();
    let alice = world.sign_up("alice").await;
    let login = world.log_in("alice", from("192.0.2.1"), NOW).await;
    let (new, other) = (secret(NEW), secret("yet another horse"));
    assert!(matches!(
        world.credentials.prepare_change(&login, &secret("short")).await,
        Err(ChangeError::Password(PasswordError::TooShort))
    ));
    let one = world.credentials.prepare_change(&login, &new).await.unwrap();
    let two = world.credentials.prepare_change(&login, &other).await.unwrap();
    let shown = format!("{one:?}");
    assert!(shown.contains(alice.as_str()) && !shown.contains("argon2"), "{shown}");
    authenticated(world.try_at("alice", RIGHT, ClientContext::default(), NOW).await);
    assert_eq!(world.credentials.replace_password(one, at(1)).await.unwrap(), alice);
    assert!(matches!(world.credentials.replace_password(two, at(1)).await, Err(ChangeError::Refused)));
    assert!(is_refusal(world.credentials.prepare_change(&login, &other).await.map(drop)), "the login is of before");
}

#[tokio::test]
async fn the_password_alone_prepares_nothing_for_who_has_an_app() {
    let world = World::new();
    let alice = world.sign_up("alice").await;
    let login = world.log_in("alice", from("192.0.2.1"), NOW).await;
    let app = world.credentials.begin_totp_after(&login, NOW).await.unwrap().unwrap();
    assert!(world.credentials.confirm_totp(&alice, &app.code(NOW), NOW).await.unwrap());
    assert!(is_refusal(world.credentials.prepare_change(&login, &secret(NEW)).await.map(drop)));
    assert!(world.credentials.begin_totp_after(&login, NOW).await.unwrap().is_none());
    assert!(world.store.totp(&alice).await.unwrap().pending.is_none(), "and no enrolment stays");
    let ticket = world.ticket("alice", at(30)).await;
    let login = authenticated(world.code(&ticket, &app.code(at(30)), at(30)).await);
    assert!(login.is_two_factors());
    assert!(world.credentials.begin_totp_after(&login, at(30)).await.unwrap().is_some());
    drop(world.credentials.prepare_change(&login, &secret(NEW)).await.unwrap());
}

#[tokio::test]
async fn a_reset_token_is_good_once_and_for_its_time() {
    let world = World::new();
    let alice = world.sign_up("alice").await;
    let token = world.credentials.begin_reset(&alice, HOUR, NOW).await.unwrap().unwrap();
    let reset = async |token: &ResetToken, new: &str, later| {
        world.credentials.finish_reset(token, &secret(new), at(later)).await
    };
    assert!(is_refusal(reset(&token, NEW, 3600).await), "too late");
    assert!(matches!(reset(&token, "short", 0).await, Err(ChangeError::Password(PasswordError::TooShort))));
    world.credentials.set_disabled(&alice, true, NOW).await.unwrap();
    assert!(is_refusal(reset(&token, NEW, 0).await), "disabled");
    assert!(world.credentials.begin_reset(&alice, HOUR, NOW).await.unwrap().is_none(), "disabled");
    world.credentials.set_disabled(&alice, false, NOW).await.unwrap();
    assert!(is_refusal(reset(&token, NEW, 0).await), "a token from before is not good again");
    let token = world.credentials.begin_reset(&alice, HOUR, NOW).await.unwrap().unwrap();
    let other = world.credentials.begin_reset(&alice, HOUR, NOW).await.unwrap().unwrap();
    assert_eq!(reset(&token, NEW, 3599).await.unwrap(), alice);
    assert!(is_refusal(reset(&token, "yet another horse", 0).await), "once");
    assert!(is_refusal(reset(&other, "yet another horse", 0).await), "and all of that account");
    assert!(is_refused(&world.try_at("alice", RIGHT, ClientContext::default(), NOW).await));
    authenticated(world.try_at("alice", NEW, ClientContext::default(), NOW).await);
    assert!(world.credentials.begin_reset(&AccountId::generate().unwrap(), HOUR, NOW).await.unwrap().is_none());
}

#[tokio::test]
async fn no_reset_token_lives_longer_than_a_week() {
    let world = World::new();
    let alice = world.sign_up("alice").await;
    let token = world.credentials.begin_reset(&alice, Duration::MAX, NOW).await.unwrap().unwrap();
    assert!(is_refusal(world.credentials.finish_reset(&token, &secret(NEW), at(7 * 24 * 3600)).await));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_resets_by_one_token_at_once_exactly_one_wins() {
    let world = World::in_a_file("reset").await;
    let alice = world.sign_up("alice").await;
    let token = world.credentials.begin_reset(&alice, HOUR, NOW).await.unwrap().unwrap();
    let all: Vec<_> = (0..8)
        .map(|count| {
            let (credentials, token) = (world.credentials.clone(), token.clone());
            tokio::spawn(async move {
                credentials.finish_reset(&token, &secret(&format!("correct horse {count}")), NOW).await.is_ok()
            })
        })
        .collect();
    let mut won = 0;
    for one in all {
        won += usize::from(one.await.unwrap());
    }
    assert_eq!(won, 1);
}

#[tokio::test]
async fn refuses_reset_tokens_that_are_changed_or_of_another_kind() {
    let world = World::new();
    let (alice, _) = world.with_totp("alice").await;
    let ticket = world.ticket("alice", NOW).await;
    let token = world.credentials.begin_reset(&alice, HOUR, NOW).await.unwrap().unwrap();
    let text = token.text().expose_str().unwrap().to_owned();
    let mut texts = vec![String::new(), "A".repeat(1 << 20), ticket.text().expose_str().unwrap().to_owned()];
    for at in 0..text.len() {
        let mut bytes = text.clone().into_bytes();
        bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
        texts.push(String::from_utf8(bytes).unwrap());
    }
    for text in texts {
        let result = world.credentials.finish_reset(&ResetToken::new(text.as_str()), &secret(NEW), NOW).await;
        assert!(is_refusal(result), "{text}");
    }
    assert_eq!(format!("{token:?} {ticket:?}"), "ResetToken(Secret(..)) LoginTicket(Secret(..))");
}

#[tokio::test]
async fn a_reset_does_not_get_past_the_second_factor() {
    let world = World::new();
    let (alice, _) = world.with_totp("alice").await;
    let token = world.credentials.begin_reset(&alice, HOUR, NOW).await.unwrap().unwrap();
    world.credentials.finish_reset(&token, &secret(NEW), NOW).await.unwrap();
    let outcome = world.try_at("alice", NEW, ClientContext::default(), NOW).await;
    assert!(matches!(outcome, LoginOutcome::SecondFactorNeeded(_)), "{outcome:?}");
}

#[tokio::test]
async fn a_deleted_account_opens_for_nobody_and_its_name_has_another_id_afterwards() {
    let world = World::new();
    let alice = world.sign_up("alice").await;
    let token = world.credentials.begin_reset(&alice, HOUR, NOW).await.unwrap().unwrap();
    assert!(world.credentials.delete_account(&alice).await.unwrap());
    assert!(!world.credentials.delete_account(&alice).await.unwrap());
    assert!(!world.credentials.set_disabled(&alice, true, NOW).await.unwrap());
    assert!(is_refused(&world.try_at("alice", RIGHT, ClientContext::default(), NOW).await));
    let another = world.sign_up("alice").await;
    assert_ne!(another, alice);
    assert!(is_refusal(world.credentials.finish_reset(&token, &secret(NEW), NOW).await), "the token was the other's");
}
