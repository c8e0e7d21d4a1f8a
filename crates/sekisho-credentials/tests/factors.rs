//! Authenticator apps, recovery codes, and the ticket between password and code.

use std::sync::Arc;
use std::time::Duration;

use sekisho_core::{FailureKind, Secret};
use sekisho_credentials::{
    AccountId, Credentials, LoginOutcome, LoginTicket, PasswordHasher, RecoveryCode, SealingKeys, TotpAlgorithm,
    TotpRecord, TotpSettings,
};

use crate::world::{CHEAP, NOW, RIGHT, World, at, authenticated, from, is_refused, key, on, secret, wait};

#[tokio::test]
async fn an_app_is_asked_only_after_its_first_code() {
    let world = World::new();
    let alice = world.sign_up("alice").await;
    let app = world.credentials.begin_totp(&alice, NOW).await.unwrap().unwrap();
    world.log_in("alice", from("192.0.2.1"), NOW).await;
    for wrong in ["000000", "", "12345678901234567890"] {
        if app.code(NOW) != secret(wrong) {
            assert!(!world.credentials.confirm_totp(&alice, &secret(wrong), NOW).await.unwrap());
        }
    }
    assert!(!world.credentials.confirm_totp(&alice, &app.code(at(900)), at(900)).await.unwrap(), "15 minutes later");
    world.log_in("alice", from("192.0.2.1"), NOW).await;
    assert!(world.credentials.confirm_totp(&alice, &app.code(at(899)), at(899)).await.unwrap());
    assert!(!world.credentials.confirm_totp(&alice, &app.code(at(899)), at(899)).await.unwrap(), "once");
    let outcome = world.try_at("alice", RIGHT, from("192.0.2.1"), at(900)).await;
    assert!(matches!(outcome, LoginOutcome::SecondFactorNeeded(_)), "{outcome:?}");
    assert!(is_refused(&world.fail("alice", "192.0.2.1", at(900)).await), "a wrong password does not get there");
    let nobody = AccountId::generate().unwrap();
    assert!(world.credentials.begin_totp(&nobody, NOW).await.unwrap().is_none());
    assert!(!world.credentials.confirm_totp(&nobody, &app.code(NOW), NOW).await.unwrap());
}

#[tokio::test]
async fn each_code_is_good_once_and_only_around_its_time() {
    let world = World::new();
    let (alice, app) = world.with_totp("alice").await;
    let ticket = world.ticket("alice", NOW).await;
    assert!(is_refused(&world.code(&ticket, &app.code(NOW), NOW).await), "it confirmed the app");
    assert!(is_refused(&world.code(&ticket, &app.code(at(60)), NOW).await), "two periods early");
    let login = authenticated(world.code(&ticket, &app.code(at(30)), NOW).await);
    assert_eq!((login.account, login.methods), (alice, &["pwd", "otp", "mfa"][..]));
    assert!(is_refused(&world.code(&ticket, &app.code(at(30)), at(30)).await), "used");
    let another = world.ticket("alice", at(30)).await;
    assert!(is_refused(&world.code(&another, &app.code(at(30)), at(30)).await), "used, whatever the ticket");
    authenticated(world.code(&another, &app.code(at(60)), at(60)).await);
}

async fn one_wins(world: World) {
    let (alice, app) = world.with_totp("alice").await;
    let codes = world.credentials.issue_recovery_codes(&alice).await.unwrap().unwrap();
    let ticket = world.ticket("alice", NOW).await;
    let world = Arc::new(world);
    for code in [app.code(at(30)), codes.first().unwrap().text().clone()] {
        let all: Vec<_> = (0..4)
            .map(|_| {
                let (world, ticket, code) = (world.clone(), ticket.clone(), code.clone());
                tokio::spawn(async move { world.code(&ticket, &code, NOW).await })
            })
            .collect();
        let mut won = 0;
        for one in all {
            won += usize::from(matches!(one.await.unwrap(), LoginOutcome::Authenticated(_)));
        }
        assert_eq!(won, 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_uses_of_one_code_at_once_exactly_one_wins() {
    one_wins(World::new()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_uses_of_one_code_at_once_exactly_one_wins_in_a_file() {
    one_wins(World::in_a_file("one-wins").await).await;
}

#[tokio::test]
async fn recovery_codes_are_good_once_each_and_until_there_are_new_ones() {
    let world = World::new();
    let (alice, _) = world.with_totp("alice").await;
    world.with_totp("bob").await;
    let codes = world.credentials.issue_recovery_codes(&alice).await.unwrap().unwrap();
    assert_eq!(codes.len(), 10);
    let (ticket, bobs) = (world.ticket("alice", NOW).await, world.ticket("bob", NOW).await);
    assert!(is_refused(&world.code(&bobs, codes[0].text(), NOW).await), "it is not his");
    let typed = codes[0].text().expose_str().unwrap().to_lowercase().replace('-', " ");
    let login = authenticated(world.code(&ticket, &secret(&typed), NOW).await);
    assert_eq!(login.recovery_codes_left, Some(9));
    assert!(is_refused(&world.code(&ticket, codes[0].text(), NOW).await), "once");
    assert_eq!(authenticated(world.code(&ticket, codes[1].text(), NOW).await).recovery_codes_left, Some(8));
    let new = world.credentials.issue_recovery_codes(&alice).await.unwrap().unwrap();
    assert!(is_refused(&world.code(&ticket, codes[2].text(), NOW).await), "there are new ones");
    assert_eq!(authenticated(world.code(&ticket, new[0].text(), NOW).await).recovery_codes_left, Some(9));
    assert!(world.credentials.issue_recovery_codes(&AccountId::generate().unwrap()).await.unwrap().is_none());
    let texts: Vec<_> = codes.iter().chain(&new).map(RecoveryCode::text).collect();
    assert!(texts.iter().all(|text| texts.iter().filter(|other| other == &text).count() == 1));
}

#[tokio::test]
async fn without_second_factors_the_password_is_enough_again() {
    let world = World::new();
    let (alice, _) = world.with_totp("alice").await;
    let codes = world.credentials.issue_recovery_codes(&alice).await.unwrap().unwrap();
    let ticket = world.ticket("alice", NOW).await;
    let has = world.credentials.second_factors(&alice).await.unwrap();
    assert_eq!((has.has_totp, has.recovery_codes), (true, 10));
    assert!(world.credentials.remove_second_factors(&alice).await.unwrap());
    assert!(!world.credentials.remove_second_factors(&alice).await.unwrap());
    let has = world.credentials.second_factors(&alice).await.unwrap();
    assert_eq!((has.has_totp, has.recovery_codes), (false, 0));
    assert!(is_refused(&world.code(&ticket, codes[0].text(), NOW).await));
    world.log_in("alice", from("192.0.2.1"), NOW).await;
}

#[tokio::test]
async fn refuses_tickets_that_are_not_ours_changed_or_of_another_kind() {
    let world = World::new();
    let (alice, app) = world.with_totp("alice").await;
    let ticket = world.ticket("alice", NOW).await;
    let text = ticket.text().expose_str().unwrap().to_owned();
    let reset = world.credentials.begin_reset(&alice, Duration::from_secs(300), NOW).await.unwrap().unwrap();
    let mut texts =
        vec![String::new(), "A".repeat(100), "A".repeat(1 << 20), alice.as_str().to_owned(), format!("{text}A")];
    texts.push(reset.text().expose_str().unwrap().to_owned());
    for at in 0..text.len() {
        let mut bytes = text.clone().into_bytes();
        bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
        texts.push(String::from_utf8(bytes).unwrap());
        texts.push(text[..at].to_owned());
    }
    for text in texts {
        let wrong = LoginTicket::new(text.as_str());
        assert!(is_refused(&world.code(&wrong, &app.code(at(30)), NOW).await), "{text}");
        assert!(!world.credentials.is_ticket_live(&wrong, NOW).await.unwrap(), "{text}");
    }
    assert!(is_refused(&world.code(&LoginTicket::new(vec![0xff; 100]), &app.code(at(30)), NOW).await));
    let hasher = PasswordHasher::new(CHEAP).unwrap();
    let others = Credentials::builder(world.store.clone(), SealingKeys::new(key('C'))).with_hasher(hasher);
    let outcome = others.build().unwrap().check_second_factor(&ticket, &app.code(at(30)), from("192.0.2.1"), NOW).await;
    assert!(is_refused(&outcome.unwrap()));
    authenticated(world.code(&ticket, &app.code(at(30)), NOW).await);
}

#[tokio::test]
async fn a_ticket_ends_by_time_and_with_the_password_and_when_the_account_is_disabled_or_gone() {
    let world = World::new();
    let (alice, app) = world.with_totp("alice").await;
    let ticket = world.ticket("alice", at(60)).await;
    let is_live = async |now| world.credentials.is_ticket_live(&ticket, now).await.unwrap();
    assert!(is_refused(&world.code(&ticket, &app.code(at(360)), at(360)).await), "5 minutes");
    assert!(!is_live(at(360)).await);
    assert!(is_refused(&world.code(&ticket, &secret("000000"), at(359)).await));
    assert!(is_live(at(359)).await, "a wrong code does not end it");
    world.credentials.set_disabled(&alice, true).await.unwrap();
    assert!(is_refused(&world.code(&ticket, &app.code(at(100)), at(100)).await), "disabled");
    assert!(!is_live(at(100)).await);
    let account = world.credentials.account(&alice).await.unwrap().unwrap();
    assert!(account.is_disabled && account.username == crate::world::name("alice"));
    world.credentials.set_disabled(&alice, false).await.unwrap();
    authenticated(world.code(&ticket, &app.code(at(100)), at(100)).await);
    let new = secret("a new horse battery");
    world.credentials.change_password(&alice, &secret(RIGHT), &new, from("192.0.2.1"), at(110)).await.unwrap();
    assert!(is_refused(&world.code(&ticket, &app.code(at(150)), at(150)).await), "another password");
    world.credentials.delete_account(&alice).await.unwrap();
    assert!(is_refused(&world.code(&ticket, &app.code(at(200)), at(200)).await), "gone");
    assert!(!is_live(at(200)).await && world.credentials.account(&alice).await.unwrap().is_none());
}

#[tokio::test]
async fn codes_are_throttled_for_the_account_whatever_the_address_and_ticket() {
    let world = World::new();
    let (_, app) = world.with_totp("alice").await;
    let code = |bot: usize| secret(&format!("{bot:08}"));
    for bot in 0..5 {
        let ticket = world.ticket("alice", NOW).await;
        let client = from(&format!("198.18.0.{bot}"));
        let outcome = world.credentials.check_second_factor(&ticket, &code(bot), client, NOW).await.unwrap();
        assert!(is_refused(&outcome), "{outcome:?}");
    }
    let ticket = world.ticket("alice", NOW).await;
    assert_eq!(wait(&world.code(&ticket, &app.code(at(30)), NOW).await), 1, "even the right one is not checked");
    authenticated(world.code(&ticket, &app.code(at(30)), at(1)).await);
}

#[tokio::test]
async fn the_owners_login_gives_whoever_has_the_password_no_new_guesses() {
    let world = World::new();
    let (_, app) = world.with_totp("alice").await;
    let ticket = world.ticket("alice", NOW).await;
    let guess = async |later| wait(&world.code(&ticket, &secret("12345678"), at(later)).await);
    for _ in 0..5 {
        assert_eq!(guess(0).await, 0);
    }
    let own = world.ticket("alice", at(30)).await;
    authenticated(world.code(&own, &app.code(at(30)), at(30)).await);
    assert_eq!(guess(31).await, 0, "the second of waiting is over");
    assert_eq!(guess(31).await, 2, "and the waiting goes on where it was");
}

#[tokio::test]
async fn guesses_at_codes_in_a_day_are_far_from_a_million() {
    let world = World::new();
    world.with_totp("alice").await;
    let (mut time, mut guesses) = (0, 0);
    while time < 24 * 3600 {
        let ticket = world.ticket("alice", at(time)).await;
        match wait(&world.code(&ticket, &secret("12345678"), at(time)).await) {
            0 => guesses += 1,
            waiting => time += waiting,
        }
    }
    assert!(guesses < 120, "{guesses}: three of a million each");
}

#[tokio::test]
async fn who_knows_the_password_cannot_keep_the_owner_out_on_a_known_device() {
    let world = World::new();
    let (_, app) = world.with_totp("alice").await;
    let ticket = world.ticket("alice", NOW).await;
    let login = authenticated(world.code(&ticket, &app.code(at(30)), NOW).await);
    let device = world.credentials.remember_device(&login, None, NOW).await.unwrap();
    for _ in 0..20 {
        world.code(&ticket, &secret("12345678"), at(60)).await;
    }
    assert!(wait(&world.code(&ticket, &app.code(at(60)), at(60)).await) > 0);
    let client = on(&device, "203.0.113.9");
    let outcome = world.credentials.check_second_factor(&ticket, &app.code(at(60)), client, at(60)).await.unwrap();
    authenticated(outcome);
}

#[tokio::test]
async fn secrets_are_encrypted_in_the_store_and_bound_to_their_account() {
    let world = World::new();
    let (alice, app) = world.with_totp("alice").await;
    let (bob, _) = world.with_totp("bob").await;
    let record = world.store.totp(&alice).await.unwrap().confirmed.unwrap();
    let bytes = secret_bytes(&app.to_base32());
    assert_eq!(bytes.len(), 20);
    assert!(!record.sealed.windows(8).any(|window| bytes.windows(8).any(|part| part == window)));
    // Whoever can write to the database gives bob the app of alice: it does not open there.
    let moved = TotpRecord { last_counter: None, ..record };
    assert!(world.store.begin_totp(&bob, &moved).await.unwrap());
    assert!(world.store.confirm_totp(&bob, &moved.enrolment, 0).await.unwrap());
    let ticket = world.ticket("bob", NOW).await;
    let outcome = world.credentials.check_second_factor(&ticket, &app.code(at(30)), from("192.0.2.1"), NOW).await;
    assert_eq!(outcome.unwrap_err().kind(), FailureKind::Misconfigured);
}

fn secret_bytes(base32: &Secret) -> Vec<u8> {
    let mut bits = (0_u64, 0);
    let mut bytes = Vec::new();
    for character in base32.expose() {
        let digit = if character.is_ascii_digit() { character - b'2' + 26 } else { character - b'A' };
        bits = (bits.0 << 5 | u64::from(digit), bits.1 + 5);
        if bits.1 >= 8 {
            bits.1 -= 8;
            bytes.push((bits.0 >> bits.1) as u8);
        }
    }
    bytes
}

#[tokio::test]
async fn a_used_secret_is_sealed_by_the_current_key_so_that_the_older_can_go() {
    let world = World::new();
    let (_, app) = world.with_totp("alice").await;
    let with = |keys| {
        let builder = Credentials::builder(world.store.clone(), keys).with_hasher(PasswordHasher::new(CHEAP).unwrap());
        World { credentials: builder.build().unwrap(), ..World::new() }
    };
    let without = with(SealingKeys::new(key('C')));
    let ticket = without.ticket("alice", NOW).await;
    let outcome = without.credentials.check_second_factor(&ticket, &app.code(at(30)), from("192.0.2.1"), NOW).await;
    assert_eq!(outcome.unwrap_err().kind(), FailureKind::Misconfigured, "the key is not there");
    let both = with(SealingKeys::new(key('C')).with_older(key('A')));
    authenticated(both.code(&ticket, &app.code(at(30)), NOW).await);
    authenticated(without.code(&ticket, &app.code(at(60)), at(60)).await);
}

#[tokio::test]
async fn an_app_keeps_the_settings_it_was_made_with() {
    let settings = TotpSettings::new(TotpAlgorithm::Sha256, 8, 60).unwrap();
    let world = World::with(|builder| builder.with_totp(settings));
    let (_, app) = world.with_totp("alice").await;
    assert!(app.to_uri("Shop", "alice").expose_str().unwrap().ends_with("&algorithm=SHA256&digits=8&period=60"));
    let hasher = PasswordHasher::new(CHEAP).unwrap();
    let default = Credentials::builder(world.store.clone(), crate::world::keys()).with_hasher(hasher).build().unwrap();
    let ticket = world.ticket("alice", NOW).await;
    authenticated(default.check_second_factor(&ticket, &app.code(at(60)), from("192.0.2.1"), NOW).await.unwrap());
}
