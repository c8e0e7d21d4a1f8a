//! Who is slowed down by whose failures: the attackers of the table at `ThrottlePolicy`.

use std::sync::Arc;

use sekisho_credentials::{ChangeError, ClientContext, DeviceToken, ThrottlePolicy};

use crate::world::{NOW, RIGHT, World, at, from, is_refused, on, secret, wait};

const DAY: u64 = 24 * 3600;

/// Fails once from each of `count` addresses, whose owners have nothing to do with the account.
async fn botnet(world: &World, name: &str, count: u32, now: u64) -> u64 {
    let mut longest = 0;
    for bot in 0..count {
        let address = format!("198.{}.{}.{}", 18 + (bot >> 16), (bot >> 8) & 255, bot & 255);
        longest = longest.max(wait(&world.fail(name, &address, at(now)).await));
    }
    longest
}

#[tokio::test]
async fn one_address_at_one_account_waits_longer_from_the_fifth_failure_on() {
    let world = World::new();
    world.sign_up("alice").await;
    let (mut time, mut waits) = (0, Vec::new());
    for _ in 0..30 {
        let waiting = wait(&world.fail("alice", "192.0.2.1", at(time)).await);
        waits.push(waiting);
        time += waiting;
    }
    assert_eq!(waits[..5], [0; 5]);
    let (refused, made): (Vec<u64>, Vec<u64>) = waits[5..].iter().partition(|wait| **wait > 0);
    assert_eq!(refused, [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900, 900]);
    assert_eq!(made.len(), 12, "one after each wait");
}

#[tokio::test]
async fn the_right_password_is_not_checked_while_waiting_and_refused_attempts_do_not_lengthen_it() {
    let world = World::new();
    world.sign_up("alice").await;
    for _ in 0..8 {
        world.fail("alice", "192.0.2.1", NOW).await;
    }
    let before = world.hasher.work();
    for _ in 0..100 {
        assert_eq!(wait(&world.try_at("alice", RIGHT, from("192.0.2.1"), NOW).await), 1);
    }
    assert_eq!(world.hasher.work(), before, "nothing was hashed");
    world.log_in("alice", from("192.0.2.1"), at(1)).await;
}

#[tokio::test]
async fn one_address_cannot_keep_the_owner_out_anywhere_else() {
    let world = World::new();
    world.sign_up("alice").await;
    let mut time = 0;
    for _ in 0..29 {
        time += wait(&world.fail("alice", "192.0.2.1", at(time)).await);
    }
    assert!(wait(&world.fail("alice", "192.0.2.1", at(time)).await) > 0, "the attacker waits");
    world.log_in("alice", from("203.0.113.5"), at(time)).await;
    world.log_in("alice", from("2001:db8::5"), at(time)).await;
}

#[tokio::test]
async fn one_address_at_many_accounts_is_stopped() {
    let world = World::new();
    for count in 0..51 {
        assert!(is_refused(&world.fail(&format!("user{count}"), "192.0.2.1", NOW).await), "{count}");
    }
    assert_eq!(wait(&world.fail("somebody", "192.0.2.1", NOW).await), 1);
    assert!(is_refused(&world.fail("somebody", "192.0.2.2", NOW).await), "others go on");
}

#[tokio::test]
async fn logging_in_between_buys_no_guesses_at_others() {
    let world = World::new();
    world.sign_up("mallory").await;
    let mut refused = false;
    for count in 0..60 {
        refused |= wait(&world.fail(&format!("user{count}"), "192.0.2.1", NOW).await) > 0;
        world.try_at("mallory", RIGHT, from("192.0.2.1"), NOW).await;
    }
    assert!(refused, "own logins do not forgive the failures of the address");
}

#[tokio::test]
async fn the_addresses_of_one_ipv6_customer_are_one() {
    let world = World::new();
    world.sign_up("alice").await;
    for host in 0..5 {
        assert!(is_refused(&world.fail("alice", &format!("2001:db8:1:2::{host}"), NOW).await));
    }
    assert_eq!(wait(&world.fail("alice", "2001:db8:1:2:ffff::1", NOW).await), 1, "a /64 at one account");
    for net in 0..46 {
        world.fail(&format!("user{net}"), &format!("2001:db8:1:{net:x}::1"), NOW).await;
    }
    assert!(wait(&world.fail("whoever", "2001:db8:1:ffff::1", NOW).await) > 0, "a /48 at many");
    assert!(is_refused(&world.fail("whoever", "2001:db8:2::1", NOW).await));
}

#[tokio::test]
async fn many_addresses_at_one_account_are_stopped() {
    let world = World::new();
    world.sign_up("alice").await;
    assert_eq!(botnet(&world, "alice", 21, 0).await, 0);
    assert_eq!(botnet(&world, "alice", 1, 0).await, 1);
    // In a day such a botnet has fewer than 320 guesses, whatever its size.
    let (mut time, mut guesses) = (0, 0);
    while time < DAY {
        let outcome =
            world.fail("alice", &format!("198.18.{}.{}", (guesses >> 8) & 255, guesses & 255), at(time)).await;
        match wait(&outcome) {
            0 => guesses += 1,
            wait => time += wait,
        }
    }
    assert!(guesses < 320, "{guesses}");
}

#[tokio::test]
async fn a_botnet_cannot_keep_the_owner_out_on_a_known_device_or_at_a_known_address() {
    let world = World::new();
    world.sign_up("alice").await;
    let device = world.device("alice", "192.0.2.1", NOW).await;
    for time in [10, 11, 600, 3000] {
        botnet(&world, "alice", 300, time).await;
        assert!(wait(&world.try_at("alice", RIGHT, from("203.0.113.9"), at(time)).await) > 0, "a new device waits");
        world.log_in("alice", on(&device, "203.0.113.10"), at(time)).await;
        world.log_in("alice", from("192.0.2.1"), at(time)).await;
    }
}

#[tokio::test]
async fn when_the_attack_ends_a_new_device_comes_in() {
    let world = World::new();
    world.sign_up("alice").await;
    let mut time = 0;
    for _ in 0..40 {
        time += botnet(&world, "alice", 30, time).await;
    }
    botnet(&world, "alice", 30, time).await;
    let waiting = wait(&world.try_at("alice", RIGHT, from("203.0.113.9"), at(time)).await);
    assert!((1..=300).contains(&waiting), "{waiting}");
    world.log_in("alice", from("203.0.113.9"), at(time + waiting)).await;
}

#[tokio::test]
async fn a_neighbour_behind_the_owners_address_does_not_reach_a_known_device() {
    let world = World::new();
    world.sign_up("alice").await;
    let device = world.device("alice", "192.0.2.1", NOW).await;
    for count in 0..60 {
        world.fail("alice", "192.0.2.1", NOW).await;
        world.fail(&format!("user{count}"), "192.0.2.1", NOW).await;
    }
    assert!(wait(&world.try_at("alice", RIGHT, from("192.0.2.1"), NOW).await) > 0);
    world.log_in("alice", on(&device, "192.0.2.1"), NOW).await;
}

#[tokio::test]
async fn whoever_has_a_known_device_is_slowed_down_too() {
    let world = World::new();
    world.sign_up("alice").await;
    let device = world.device("alice", "192.0.2.1", NOW).await;
    for bot in 0..5 {
        let client = on(&device, &format!("198.18.0.{bot}"));
        assert!(is_refused(&world.try_at("alice", "wrong horse battery", client, NOW).await));
    }
    assert_eq!(wait(&world.try_at("alice", RIGHT, on(&device, "198.18.0.9"), NOW).await), 1);
    world.log_in("alice", from("192.0.2.1"), NOW).await;
}

#[tokio::test]
async fn the_device_of_another_account_a_made_up_one_and_a_forgotten_one_are_unknown() {
    let world = World::new();
    let alice = world.sign_up("alice").await;
    world.sign_up("mallory").await;
    let mallorys = world.device("mallory", "198.51.100.1", NOW).await;
    let made_up = DeviceToken::parse(&"A".repeat(43)).unwrap();
    let forgotten = world.device("alice", "192.0.2.1", NOW).await;
    world.credentials.forget_devices(&alice).await.unwrap();
    botnet(&world, "alice", 60, 0).await;
    for device in [&mallorys, &made_up, &forgotten] {
        let outcome = world.try_at("alice", RIGHT, on(device, "203.0.113.9"), NOW).await;
        assert!(wait(&outcome) > 0, "{outcome:?}");
    }
    assert!(wait(&world.try_at("alice", RIGHT, from("192.0.2.1"), NOW).await) > 0, "the address is forgotten as well");
}

#[tokio::test]
async fn devices_and_addresses_are_known_for_a_time() {
    let world = World::new();
    world.sign_up("alice").await;
    let device = world.device("alice", "192.0.2.1", NOW).await;
    for (days, by_device, by_address) in [(29, true, true), (31, true, false), (91, false, false)] {
        let time = days * DAY;
        botnet(&world, "alice", 60, time).await;
        let outcome = world.fail("alice", "192.0.2.1", at(time)).await;
        assert_eq!(is_refused(&outcome), by_address, "{days} days: {outcome:?}");
        let outcome = world.try_at("alice", "wrong horse battery", on(&device, "203.0.113.9"), at(time)).await;
        assert_eq!(is_refused(&outcome), by_device, "{days} days: {outcome:?}");
    }
}

#[tokio::test]
async fn a_token_that_a_device_shows_is_kept_only_if_it_is_known_for_the_account() {
    let world = World::new();
    let alice = world.sign_up("alice").await;
    world.sign_up("mallory").await;
    // Mallory has logged in at a kiosk, and knows what she left there.
    let planted = world.device("mallory", "192.0.2.1", NOW).await;
    let login = world.log_in("alice", on(&planted, "192.0.2.1"), NOW).await;
    let own = world.credentials.remember_device(&login, Some(&planted), NOW).await.unwrap();
    assert_ne!(own, planted);
    assert_eq!(world.credentials.remember_device(&login, Some(&own), NOW).await.unwrap(), own);
    botnet(&world, "alice", 60, 0).await;
    assert!(wait(&world.try_at("alice", RIGHT, on(&planted, "203.0.113.9"), NOW).await) > 0);
    world.log_in("alice", on(&own, "203.0.113.9"), NOW).await;
    world.credentials.forget_device(&alice, &own).await.unwrap();
    assert!(wait(&world.try_at("alice", RIGHT, on(&own, "203.0.113.77"), NOW).await) > 0, "it is forgotten");
}

#[tokio::test]
async fn a_success_forgives_the_owners_own_failures_only() {
    let world = World::new();
    world.sign_up("alice").await;
    for _ in 0..3 {
        for _ in 0..4 {
            assert!(is_refused(&world.fail("alice", "192.0.2.1", NOW).await));
        }
        world.log_in("alice", from("192.0.2.1"), NOW).await;
    }
    // The owner's address is known by now: those failures were not counted against the account, these are.
    assert_eq!(botnet(&world, "alice", 17, 0).await, 0, "21 with the four before the first login");
    world.log_in("alice", from("192.0.2.1"), NOW).await;
    assert_eq!(botnet(&world, "alice", 1, 0).await, 1, "the botnet's failures stay");
}

#[tokio::test]
async fn without_an_address_the_account_alone_counts() {
    let world = World::new();
    world.sign_up("alice").await;
    for count in 0..21 {
        let outcome = world.try_at("alice", "wrong horse battery", ClientContext::default(), NOW).await;
        assert!(is_refused(&outcome), "{count}");
    }
    assert_eq!(wait(&world.try_at("alice", RIGHT, ClientContext::default(), NOW).await), 1);
    assert!(
        is_refused(&world.try_at("bob", RIGHT, ClientContext::default(), NOW).await),
        "strangers do not share a counter"
    );
}

async fn at_once(world: World) {
    world.sign_up("alice").await;
    let before = world.hasher.work().hashes;
    let world = Arc::new(world);
    let all: Vec<_> = (0..40)
        .map(|_| {
            let world = world.clone();
            tokio::spawn(async move { world.fail("alice", "192.0.2.1", NOW).await })
        })
        .collect();
    let mut made = 0;
    for one in all {
        made += usize::from(is_refused(&one.await.unwrap()));
    }
    assert_eq!(made, 5, "as many as one after the other");
    assert_eq!(world.hasher.work().hashes - before, 5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn forty_guesses_at_once_are_five() {
    at_once(World::new()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn forty_guesses_at_once_are_five_in_a_file() {
    at_once(World::in_a_file("at-once").await).await;
}

#[tokio::test]
async fn a_flood_of_counters_is_bounded_and_does_not_wash_away_the_attackers_own() {
    let world = World::with(|builder| builder.with_throttle(ThrottlePolicy::default().with_most_counters(100)));
    world.sign_up("alice").await;
    for _ in 0..8 {
        world.fail("alice", "192.0.2.1", NOW).await;
    }
    // 1,024 attempts from as many networks: the last of them prunes.
    for bot in 0..1_100_u32 {
        world.fail(&format!("user{bot}"), &format!("2001:db8:{bot:x}::1"), at(0)).await;
    }
    assert!(wait(&world.fail("alice", "192.0.2.1", NOW).await) > 0);
    assert!(world.credentials.prune(NOW).await.unwrap() < 1_000, "it was pruned on the way");
    assert!(wait(&world.fail("alice", "192.0.2.1", NOW).await) > 0);
    assert_eq!(world.credentials.prune(at(2 * DAY)).await.unwrap(), 100, "then all is forgotten");
}

#[tokio::test]
async fn changing_the_password_is_throttled_like_logging_in() {
    let world = World::new();
    let alice = world.sign_up("alice").await;
    let change = async |present: &str| {
        let new = secret("a new horse battery");
        world.credentials.change_password(&alice, &secret(present), &new, from("192.0.2.1"), NOW).await
    };
    for _ in 0..3 {
        assert!(change("wrong horse battery").await.is_err());
        world.fail("alice", "192.0.2.1", NOW).await;
    }
    let error = change(RIGHT).await.unwrap_err();
    assert!(matches!(error, ChangeError::TryLater(_)), "{error:?}");
    world.log_in("alice", from("203.0.113.9"), NOW).await;
}
