//! Tickets, challenges, accounts: what surrounds the steps.

use std::time::Duration;

use sekisho_core::{FailureKind, Secret};
use sekisho_credentials::testing::authenticator::{SoftAuthenticator, UV};
use sekisho_credentials::{
    AccountId, CeremonyTicket, ClientContext, LoginOutcome, PasskeyReject, RelyingParty, UserVerification,
};

use crate::site::{ORIGIN, Site, browser, party, unless_broken};
use crate::world::{NOW, RIGHT, World, at, authenticated, from, is_refused, on, secret, wait};

fn another_browser() -> Secret {
    Secret::from("the cookie of another browser")
}

#[tokio::test]
async fn a_passkey_logs_in_without_a_name_and_is_two_factors() {
    for world in [World::new(), World::in_a_file("passkeys").await] {
        let site = Site::with(world, party());
        let (alice, key) = site.sign_up("alice").await;
        let (bob, bobs) = site.sign_up("bob").await;
        let login = authenticated(site.log_in(&alice, &key).await);
        assert_eq!((login.account, login.methods, login.at), (alice.clone(), &["pop", "user", "mfa"][..], NOW));
        assert_eq!(authenticated(site.log_in(&bob, &bobs).await).account, bob);
        let kept = site.world.credentials.list_passkeys(&alice).await.unwrap();
        assert_eq!((kept[0].sign_count, kept[0].last_used_at, &*kept[0].label), (2, Some(NOW), "blue key"));
    }
}

#[tokio::test]
async fn options_ask_for_what_is_checked_and_list_nobodys_passkeys() {
    let site = Site::new();
    let (alice, key) = site.sign_up("alice").await;
    let options = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
    let creation = options(&site.begin(&alice, NOW).await.options);
    assert_eq!(creation["rp"]["id"], "example.com");
    assert_eq!(creation["authenticatorSelection"]["residentKey"], "required");
    assert_eq!(creation["authenticatorSelection"]["userVerification"], "required");
    assert_eq!(creation["attestation"], "none");
    let excluded = base64_simd::URL_SAFE_NO_PAD.encode_to_string(&key.credential_id);
    assert_eq!(creation["excludeCredentials"][0]["id"], excluded);
    let mut seen = Vec::new();
    for name in [None, Some("alice"), Some("nobody"), Some("no name at all!")] {
        let mut request = options(&site.begin_login(name, NOW).options);
        seen.push(request["challenge"].take());
        assert_eq!(request["allowCredentials"], serde_json::json!([]));
        assert_eq!((&request["userVerification"], &request["timeout"]), (&"required".into(), &300_000.into()));
    }
    seen.dedup();
    assert_eq!(seen.len(), 4, "a challenge each");
    let preferred = site.under(party().with_user_verification(UserVerification::Preferred));
    let request = options(&preferred.begin_login(None, &browser(), NOW).unwrap().options);
    assert_eq!(request["userVerification"], "preferred");
}

#[tokio::test]
async fn debug_of_a_ceremony_shows_no_name_no_passkey_and_no_challenge() {
    let site = Site::new();
    let (alice, key) = site.sign_up("alice").await;
    let ceremony = site.begin(&alice, NOW).await;
    let options: serde_json::Value = serde_json::from_str(&ceremony.options).unwrap();
    let id = base64_simd::URL_SAFE_NO_PAD.encode_to_string(&key.credential_id);
    let challenge = options["challenge"].as_str().unwrap();
    assert!(ceremony.options.contains("alice") && ceremony.options.contains(&id));
    let shown = format!("{ceremony:?} {:?}", Some(&ceremony));
    for hidden in ["alice", &id, challenge, ceremony.ticket.text().expose_str().unwrap()] {
        assert!(!shown.contains(hidden), "{shown}");
    }
}

#[tokio::test]
async fn a_challenge_is_good_once() {
    let site = Site::new();
    let alice = site.world.sign_up("alice").await;
    let key = SoftAuthenticator::new();
    let ceremony = site.begin(&alice, NOW).await;
    let answer = key.register(&ceremony.options, ORIGIN);
    site.finish(&alice, &ceremony.ticket, &answer.to_json(), NOW).await.unwrap();
    let other = SoftAuthenticator::new().register(&ceremony.options, ORIGIN).to_json();
    assert_eq!(site.finish(&alice, &ceremony.ticket, &other, NOW).await, Err(PasskeyReject::ChallengeUsed));

    let ceremony = site.begin_login(None, NOW);
    let json = key.log_in(&ceremony.options, ORIGIN, alice.as_str()).to_json(&key);
    authenticated(site.finish_login(&ceremony.ticket, &json, NOW).await);
    assert!(is_refused(&site.finish_login(&ceremony.ticket, &json, NOW).await), "the same answer");
    let again = key.log_in(&ceremony.options, ORIGIN, alice.as_str()).to_json(&key);
    assert!(is_refused(&site.finish_login(&ceremony.ticket, &again, at(299)).await), "another answer to it");
}

#[tokio::test]
async fn a_challenge_is_good_once_among_processes_with_other_lifetimes() {
    let site = Site::new();
    let alice = site.world.sign_up("alice").await;
    let key = SoftAuthenticator::new();
    site.try_register(&alice, &key, |answer| answer.said.sign_count = 0).await.unwrap();
    let [brief, long] = [60, 900].map(|secs| site.under(party().with_lifetime(Duration::from_secs(secs))));
    let ceremony = long.begin_login(None, &browser(), NOW).unwrap();
    let mut answer = key.log_in(&ceremony.options, ORIGIN, alice.as_str());
    answer.said.sign_count = 0;
    let json = answer.to_json(&key);
    let client = from("192.0.2.1");
    authenticated(brief.finish_login(&browser(), &ceremony.ticket, &json, client, at(10)).await.unwrap());
    for later in [11, 200, 899] {
        let again = long.finish_login(&browser(), &ceremony.ticket, &json, client, at(later)).await.unwrap();
        assert!(is_refused(&again), "after {later} s");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_uses_of_one_challenge_at_once_exactly_one_wins_even_without_a_counter() {
    let site = std::sync::Arc::new(Site::with(World::in_a_file("passkey-race").await, party()));
    let alice = site.world.sign_up("alice").await;
    let key = SoftAuthenticator::new();
    site.try_register(&alice, &key, |answer| answer.said.sign_count = 0).await.unwrap();
    let ceremony = site.begin_login(None, NOW);
    let mut answer = key.log_in(&ceremony.options, ORIGIN, alice.as_str());
    answer.said.sign_count = 0;
    let json = answer.to_json(&key);
    let all: Vec<_> = (0..8)
        .map(|_| {
            let (site, ticket, json) = (site.clone(), ceremony.ticket.clone(), json.clone());
            tokio::spawn(async move { site.finish_login(&ticket, &json, NOW).await })
        })
        .collect();
    let mut won = 0;
    for one in all {
        won += usize::from(matches!(one.await.unwrap(), LoginOutcome::Authenticated(_)));
    }
    assert_eq!(won, 1);
}

#[tokio::test]
async fn an_answer_that_was_refused_does_not_use_up_the_challenge() {
    let site = Site::new();
    let (alice, key) = site.sign_up("alice").await;
    let ceremony = site.begin_login(None, NOW);
    let mut answer = key.log_in(&ceremony.options, ORIGIN, alice.as_str());
    answer.said.flags &= !UV;
    assert!(is_refused(&site.finish_login(&ceremony.ticket, &answer.to_json(&key), NOW).await));
    answer.said.flags |= UV;
    authenticated(site.finish_login(&ceremony.ticket, &answer.to_json(&key), NOW).await);
}

#[tokio::test]
async fn a_ceremony_ends_after_minutes() {
    let site = Site::new();
    let (alice, key) = site.sign_up("alice").await;
    let ceremony = site.begin(&alice, NOW).await;
    let json = SoftAuthenticator::new().register(&ceremony.options, ORIGIN).to_json();
    assert_eq!(site.finish(&alice, &ceremony.ticket, &json, at(300)).await, Err(PasskeyReject::Ceremony));
    site.finish(&alice, &ceremony.ticket, &json, at(299)).await.unwrap();
    let ceremony = site.begin_login(None, NOW);
    let json = key.log_in(&ceremony.options, ORIGIN, alice.as_str()).to_json(&key);
    assert!(is_refused(&site.finish_login(&ceremony.ticket, &json, at(300)).await));
    authenticated(site.finish_login(&ceremony.ticket, &json, at(299)).await);
    let longest = site.under(party().with_lifetime(Duration::from_secs(86_400)));
    let ceremony = longest.begin_login(None, &browser(), NOW).unwrap();
    let json = key.log_in(&ceremony.options, ORIGIN, alice.as_str()).to_json(&key);
    let outcome = longest.finish_login(&browser(), &ceremony.ticket, &json, from("192.0.2.1"), at(900)).await;
    assert!(is_refused(&outcome.unwrap()), "no more than a quarter of an hour");
}

#[tokio::test]
async fn a_ceremony_is_of_one_browser_one_kind_one_site_and_one_account() {
    let site = Site::new();
    let (alice, key) = site.sign_up("alice").await;
    let bob = site.world.sign_up("bob").await;
    let (registration, login) = (site.begin(&alice, NOW).await, site.begin_login(None, NOW));
    let new = SoftAuthenticator::new().register(&registration.options, ORIGIN).to_json();
    let json = key.log_in(&login.options, ORIGIN, alice.as_str()).to_json(&key);
    let (ticket, login) = (registration.ticket, login.ticket);

    let label = "key";
    let stolen = site.passkeys.finish_registration(&alice, &another_browser(), &ticket, &new, label, NOW).await;
    assert_eq!(unless_broken(stolen), Err(PasskeyReject::Ceremony), "another browser");
    assert_eq!(site.finish(&bob, &ticket, &new, NOW).await, Err(PasskeyReject::Ceremony), "another account");
    assert_eq!(site.finish(&alice, &login, &new, NOW).await, Err(PasskeyReject::Ceremony), "the ticket of a login");
    let elsewhere = site.under(RelyingParty::new("example.org", "Other", ["https://example.org"]).unwrap());
    let moved = elsewhere.finish_registration(&alice, &browser(), &ticket, &new, label, NOW).await;
    assert_eq!(unless_broken(moved), Err(PasskeyReject::Ceremony), "another site");
    let outcome = site.passkeys.finish_login(&another_browser(), &login, &json, from("192.0.2.1"), NOW).await;
    assert!(is_refused(&outcome.unwrap()), "another browser");
    assert!(is_refused(&site.finish_login(&ticket, &json, NOW).await), "the ticket of a registration");
    let other = site.begin_login(None, NOW);
    assert!(is_refused(&site.finish_login(&other.ticket, &json, NOW).await), "the challenge of another ceremony");

    site.finish(&alice, &ticket, &new, NOW).await.unwrap();
    authenticated(site.finish_login(&login, &json, NOW).await);
}

#[tokio::test]
async fn refuses_tickets_that_are_not_ours_or_changed() {
    let site = Site::new();
    let (alice, key) = site.sign_up("alice").await;
    let ceremony = site.begin_login(None, NOW);
    let json = key.log_in(&ceremony.options, ORIGIN, alice.as_str()).to_json(&key);
    let text = ceremony.ticket.text().expose_str().unwrap().to_owned();
    assert!(text.len() <= 512 && !format!("{ceremony:?}").contains(&text));
    let mut texts = vec![String::new(), "A".repeat(100), "A".repeat(1 << 20), format!("{text}A")];
    for at in 0..text.len() {
        let mut bytes = text.clone().into_bytes();
        bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
        texts.push(String::from_utf8(bytes).unwrap());
        texts.push(text[..at].to_owned());
    }
    for text in texts {
        let ticket = CeremonyTicket::new(text.as_str());
        assert!(is_refused(&site.finish_login(&ticket, &json, NOW).await), "{text}");
    }
    assert!(is_refused(&site.finish_login(&CeremonyTicket::new(vec![0xff; 100]), &json, NOW).await));
    authenticated(site.finish_login(&ceremony.ticket, &json, NOW).await);
}

#[tokio::test]
async fn without_a_secret_of_the_browser_nothing_begins() {
    let site = Site::new();
    let alice = site.world.sign_up("alice").await;
    for short in ["", "fifteen letters"] {
        let short = Secret::from(short);
        let failure = site.passkeys.begin_login(None, &short, NOW).unwrap_err();
        assert_eq!(failure.kind(), FailureKind::Misconfigured);
        assert!(site.passkeys.begin_registration(&alice, &short, NOW).await.is_err());
    }
}

#[tokio::test]
async fn a_name_lets_only_its_own_passkeys_in() {
    let site = Site::new();
    let (alice, key) = site.sign_up("alice").await;
    for (name, is_hers) in [("alice", true), ("ALICE", true), ("bob", false), ("", false), ("аlice", false)] {
        let ceremony = site.begin_login(Some(name), NOW);
        let json = key.log_in(&ceremony.options, ORIGIN, alice.as_str()).to_json(&key);
        let outcome = site.finish_login(&ceremony.ticket, &json, NOW).await;
        assert_eq!(matches!(outcome, LoginOutcome::Authenticated(_)), is_hers, "{name}");
    }
}

#[tokio::test]
async fn refuses_a_passkey_that_nobody_has_is_anothers_or_was_removed() {
    let site = Site::new();
    let (alice, key) = site.sign_up("alice").await;
    let (bob, _) = site.sign_up("bob").await;
    assert!(is_refused(&site.log_in(&alice, &SoftAuthenticator::new()).await), "nobody's");
    assert!(is_refused(&site.log_in(&bob, &key).await), "not bob's");
    assert!(!site.world.credentials.remove_passkey(&bob, &key.credential_id, NOW).await.unwrap());
    authenticated(site.log_in(&alice, &key).await);
    assert!(site.world.credentials.remove_passkey(&alice, &key.credential_id, NOW).await.unwrap());
    assert!(is_refused(&site.log_in(&alice, &key).await), "removed");
    assert!(site.world.credentials.list_passkeys(&alice).await.unwrap().is_empty());
}

#[tokio::test]
async fn accounts_that_are_disabled_or_gone_have_no_passkeys() {
    let site = Site::new();
    let (alice, key) = site.sign_up("alice").await;
    let ceremony = site.begin(&alice, NOW).await;
    let new = SoftAuthenticator::new().register(&ceremony.options, ORIGIN).to_json();
    site.world.credentials.set_disabled(&alice, true, NOW).await.unwrap();
    assert!(is_refused(&site.log_in(&alice, &key).await), "disabled");
    assert!(site.passkeys.begin_registration(&alice, &browser(), NOW).await.unwrap().is_none());
    assert_eq!(site.finish(&alice, &ceremony.ticket, &new, NOW).await, Err(PasskeyReject::Account));
    site.world.credentials.set_disabled(&alice, false, NOW).await.unwrap();
    assert_eq!(site.finish(&alice, &ceremony.ticket, &new, NOW).await, Err(PasskeyReject::Ceremony), "of before");
    authenticated(site.log_in(&alice, &key).await);
    site.world.credentials.delete_account(&alice).await.unwrap();
    assert!(is_refused(&site.log_in(&alice, &key).await), "gone");
    let nobody = AccountId::generate().unwrap();
    assert!(site.passkeys.begin_registration(&nobody, &browser(), NOW).await.unwrap().is_none());
    assert_eq!(site.finish(&nobody, &ceremony.ticket, &new, NOW).await, Err(PasskeyReject::Account));
}

#[tokio::test]
async fn a_registration_ends_when_the_password_changes_and_passkeys_stay() {
    let site = Site::new();
    let (alice, key) = site.sign_up("alice").await;
    let ceremony = site.begin(&alice, NOW).await;
    let new = SoftAuthenticator::new().register(&ceremony.options, ORIGIN).to_json();
    let (old, password) = (secret(RIGHT), secret("a new horse battery"));
    site.world.credentials.change_password(&alice, &old, &password, ClientContext::default(), NOW).await.unwrap();
    assert_eq!(site.finish(&alice, &ceremony.ticket, &new, NOW).await, Err(PasskeyReject::Ceremony));
    authenticated(site.log_in(&alice, &key).await);
}

#[tokio::test]
async fn a_registration_ends_when_an_app_is_added() {
    let site = Site::new();
    let (alice, _) = site.sign_up("alice").await;
    let ceremony = site.begin(&alice, NOW).await;
    let new = SoftAuthenticator::new().register(&ceremony.options, ORIGIN).to_json();
    let app = site.world.credentials.begin_totp(&alice, NOW).await.unwrap().unwrap();
    assert!(site.world.credentials.confirm_totp(&alice, &app.code(NOW), NOW).await.unwrap());
    assert_eq!(site.finish(&alice, &ceremony.ticket, &new, NOW).await, Err(PasskeyReject::Ceremony));
    site.register(&alice, &SoftAuthenticator::new()).await;
}

#[tokio::test]
async fn a_credential_id_is_one_accounts_and_once() {
    let site = Site::new();
    let (alice, key) = site.sign_up("alice").await;
    let bob = site.world.sign_up("bob").await;
    for account in [&alice, &bob] {
        let again = site.try_register(account, &key, |_| {}).await;
        assert_eq!(again, Err(PasskeyReject::Taken));
    }
    authenticated(site.log_in(&alice, &key).await);
    assert!(site.world.credentials.list_passkeys(&bob).await.unwrap().is_empty());
}

#[tokio::test]
async fn an_account_has_no_more_passkeys_than_it_may() {
    let site = Site::with(World::new(), party().with_most_passkeys(2));
    let (alice, _) = site.sign_up("alice").await;
    site.register(&alice, &SoftAuthenticator::new()).await;
    let third = site.try_register(&alice, &SoftAuthenticator::new(), |_| {}).await;
    assert_eq!(third, Err(PasskeyReject::TooMany));
    assert_eq!(site.world.credentials.list_passkeys(&alice).await.unwrap().len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_registrations_at_once_no_more_are_kept_than_may_be() {
    let world = World::in_a_file("passkey-limit-race").await;
    let site = std::sync::Arc::new(Site::with(world, party().with_most_passkeys(1)));
    let alice = site.world.sign_up("alice").await;
    let mut all = Vec::new();
    for _ in 0..12 {
        let ceremony = site.begin(&alice, NOW).await;
        let json = SoftAuthenticator::new().register(&ceremony.options, ORIGIN).to_json();
        let (site, alice) = (site.clone(), alice.clone());
        all.push(tokio::spawn(async move { site.finish(&alice, &ceremony.ticket, &json, NOW).await }));
    }
    let mut kept = 0;
    for one in all {
        match one.await.unwrap() {
            Ok(_) => kept += 1,
            Err(reason) => assert_eq!(reason, PasskeyReject::TooMany),
        }
    }
    assert_eq!((kept, site.world.credentials.list_passkeys(&alice).await.unwrap().len()), (1, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_registration_that_a_reset_overtakes_is_none() {
    let site = Site::with(World::in_a_file("passkey-reset-race").await, party());
    let (alice, store) = (site.world.sign_up("alice").await, &site.world.store);
    for revision in 1..=20 {
        let ceremony = site.begin(&alice, NOW).await;
        let json = SoftAuthenticator::new().register(&ceremony.options, ORIGIN).to_json();
        let hash = store.account(&alice).await.unwrap().unwrap().password.unwrap();
        let change = async {
            let is_changed = store.replace_password(&alice, revision, &hash, NOW).await.unwrap();
            (is_changed, store.passkeys(&alice).await.unwrap())
        };
        let (_, (is_changed, before)) = tokio::join!(site.finish(&alice, &ceremony.ticket, &json, NOW), change);
        assert!(is_changed);
        assert_eq!(store.passkeys(&alice).await.unwrap(), before, "none came after the password was changed");
        for passkey in before {
            store.remove_passkey(&alice, &passkey.credential_id, NOW).await.unwrap();
        }
    }
}

#[tokio::test]
async fn answers_that_are_refused_slow_their_address_down_and_no_known_device() {
    let site = Site::new();
    let (alice, key) = site.sign_up("alice").await;
    site.world.sign_up("bob").await;
    let device = site.world.device("alice", "192.0.2.1", NOW).await;
    let bobs = site.world.device("bob", "203.0.113.1", NOW).await;
    let try_from = async |client: ClientContext<'_>, key: &SoftAuthenticator| {
        let ceremony = site.begin_login(None, NOW);
        let json = key.log_in(&ceremony.options, ORIGIN, alice.as_str()).to_json(key);
        site.passkeys.finish_login(&browser(), &ceremony.ticket, &json, client, NOW).await.unwrap()
    };
    for _ in 0..60 {
        authenticated(try_from(from("192.0.2.1"), &key).await);
    }
    let junk = CeremonyTicket::new("junk");
    for round in 0..51 {
        let outcome = site.passkeys.finish_login(&browser(), &junk, b"{}", from("192.0.2.1"), NOW).await.unwrap();
        assert!(is_refused(&outcome), "round {round}: {outcome:?}");
    }
    let outcome = site.passkeys.finish_login(&browser(), &junk, b"{}", from("192.0.2.1"), NOW).await.unwrap();
    assert_eq!(wait(&outcome), 1);
    assert_eq!(wait(&try_from(from("192.0.2.1"), &key).await), 1, "a good one waits too, and is not looked at");
    assert_eq!(wait(&site.world.fail("bob", "192.0.2.1", NOW).await), 1, "passwords count there as well");
    authenticated(try_from(on(&device, "192.0.2.1"), &key).await);
    authenticated(try_from(from("198.51.100.1"), &key).await);
    assert_eq!(wait(&try_from(on(&bobs, "192.0.2.1"), &key).await), 1, "a device that is known to another");
}

#[tokio::test]
async fn an_account_uses_so_many_challenges_at_once_and_others_go_on() {
    let site = Site::new();
    let (alice, key) = site.sign_up("alice").await;
    let (bob, bobs) = site.sign_up("bob").await;
    for _ in 1..256 {
        authenticated(site.log_in(&alice, &key).await);
    }
    assert!(is_refused(&site.log_in(&alice, &key).await));
    authenticated(site.log_in(&bob, &bobs).await);
    let ceremony = site.begin_login(None, at(1020));
    let json = key.log_in(&ceremony.options, ORIGIN, alice.as_str()).to_json(&key);
    authenticated(site.finish_login(&ceremony.ticket, &json, at(1020)).await);
}

#[tokio::test]
async fn labels_are_short_and_printable() {
    let site = Site::new();
    let alice = site.world.sign_up("alice").await;
    let ceremony = site.begin(&alice, NOW).await;
    let json = SoftAuthenticator::new().register(&ceremony.options, ORIGIN).to_json();
    for label in ["", "a\nb", &"x".repeat(65)] {
        let done = site.passkeys.finish_registration(&alice, &browser(), &ceremony.ticket, &json, label, NOW).await;
        assert_eq!(unless_broken(done), Err(PasskeyReject::Label), "{label:?}");
    }
}

#[tokio::test]
async fn a_counter_that_goes_back_is_refused_and_another_authenticator_goes_on() {
    let site = Site::new();
    let (alice, key) = site.sign_up("alice").await;
    for _ in 0..3 {
        authenticated(site.log_in(&alice, &key).await);
    }
    let ceremony = site.begin_login(None, NOW);
    let mut answer = key.log_in(&ceremony.options, ORIGIN, alice.as_str());
    answer.said.sign_count = 4;
    assert!(is_refused(&site.finish_login(&ceremony.ticket, &answer.to_json(&key), NOW).await), "a copy has 4 too");
    authenticated(site.log_in(&alice, &key).await);
}

#[tokio::test]
async fn without_user_verification_it_is_one_factor_and_a_code_is_due() {
    let site = Site::with(World::new(), party().with_user_verification(UserVerification::Preferred));
    let (alice, key) = site.sign_up("alice").await;
    let log_in = async |flags: u8| {
        let ceremony = site.begin_login(None, NOW);
        let mut answer = key.log_in(&ceremony.options, ORIGIN, alice.as_str());
        answer.said.flags &= flags;
        site.finish_login(&ceremony.ticket, &answer.to_json(&key), NOW).await
    };
    assert_eq!(authenticated(log_in(!UV).await).methods, ["pop", "user"]);
    assert_eq!(authenticated(log_in(0xff).await).methods, ["pop", "user", "mfa"]);

    let app = site.world.credentials.begin_totp(&alice, NOW).await.unwrap().unwrap();
    assert!(site.world.credentials.confirm_totp(&alice, &app.code(NOW), NOW).await.unwrap());
    assert_eq!(authenticated(log_in(0xff).await).methods, ["pop", "user", "mfa"], "verified, it is two already");
    let LoginOutcome::SecondFactorNeeded(ticket) = log_in(!UV).await else { panic!("a code is due") };
    assert!(is_refused(&site.world.code(&ticket, &secret("00000000"), NOW).await));
    let login = authenticated(site.world.code(&ticket, &app.code(at(30)), NOW).await);
    assert_eq!((login.account, login.methods), (alice.clone(), &["pop", "user", "otp", "mfa"][..]));
}

#[tokio::test]
async fn a_code_after_a_passkey_that_was_removed_meanwhile_is_too_late() {
    let site = Site::with(World::new(), party().with_user_verification(UserVerification::Preferred));
    let (alice, key) = site.sign_up("alice").await;
    let app = site.world.credentials.begin_totp(&alice, NOW).await.unwrap().unwrap();
    assert!(site.world.credentials.confirm_totp(&alice, &app.code(NOW), NOW).await.unwrap());
    let begin = async |now| {
        let ceremony = site.begin_login(None, now);
        let mut answer = key.log_in(&ceremony.options, ORIGIN, alice.as_str());
        answer.said.flags &= !UV;
        match site.finish_login(&ceremony.ticket, &answer.to_json(&key), now).await {
            LoginOutcome::SecondFactorNeeded(ticket) => ticket,
            other => panic!("{other:?}"),
        }
    };
    let in_time = begin(at(30)).await;
    authenticated(site.world.code(&in_time, &app.code(at(30)), at(30)).await);
    let ticket = begin(at(60)).await;
    assert_eq!(site.world.credentials.remove_passkeys(&alice, at(60)).await.unwrap(), 1);
    assert!(!site.world.credentials.is_ticket_live(&ticket, at(60)).await.unwrap());
    assert!(is_refused(&site.world.code(&ticket, &app.code(at(60)), at(60)).await));
    let password = site.world.ticket("alice", at(60)).await;
    authenticated(site.world.code(&password, &app.code(at(60)), at(60)).await);
}

#[tokio::test]
async fn a_user_who_was_not_verified_at_registration_does_not_become_two_factors_later() {
    let site = Site::with(World::new(), party().with_user_verification(UserVerification::Preferred));
    let alice = site.world.sign_up("alice").await;
    let key = SoftAuthenticator::new();
    site.try_register(&alice, &key, |answer| answer.said.flags &= !UV).await.unwrap();
    assert_eq!(authenticated(site.log_in(&alice, &key).await).methods, ["pop", "user"]);
}

#[test]
fn a_site_is_a_domain_with_pages_on_it() {
    let is_good = |id: &str, origin: &str| RelyingParty::new(id, "Example", [origin]).is_ok();
    for (id, origin) in [
        ("example.com", "https://example.com"),
        ("example.com", "https://a.b.example.com:8443"),
        ("localhost", "http://localhost:3000"),
        ("localhost", "https://localhost"),
        ("xn--bcher-kva.example", "https://xn--bcher-kva.example"),
    ] {
        assert!(is_good(id, origin), "{id} {origin}");
    }
    for (id, origin) in [
        ("example.com", "http://example.com"),
        ("example.com", "https://example.com/"),
        ("example.com", "https://example.com:443"),
        ("example.com", "https://example.com:0443"),
        ("example.com", "https://example.com:99999"),
        ("example.com", "https://example.com:"),
        ("example.com", "https://Example.com"),
        ("example.com", "https://evilexample.com"),
        ("example.com", "https://example.com.evil.example"),
        ("example.com", "https://user@example.com"),
        ("example.com", "wss://example.com"),
        ("example.com", "example.com"),
        ("login.example.com", "https://example.com"),
        ("localhost", "http://127.0.0.1:3000"),
        ("127.0.0.1", "https://127.0.0.1"),
        ("com", "https://com"),
        ("Example.com", "https://example.com"),
        ("bücher.example", "https://bücher.example"),
        ("-a.example", "https://-a.example"),
        ("example.com.", "https://example.com."),
        ("", "https://"),
    ] {
        assert!(!is_good(id, origin), "{id} {origin}");
    }
    assert!(RelyingParty::new("example.com", "Example", []).is_err(), "no page");
    for name in ["", "a\nb", &"x".repeat(65)] {
        assert!(RelyingParty::new("example.com", name, ["https://example.com"]).is_err(), "{name}");
    }
}
