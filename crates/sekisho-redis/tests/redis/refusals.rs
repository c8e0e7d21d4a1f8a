//! Logins that are wrong, a Redis that forgets or is full, and what none of us wrote.

use std::time::Duration;

use sekisho_core::{Failure, FailureKind, Occurrence, OneTimeUse, ReplayGuard as _, SystemClock, UnixSeconds};
use sekisho_issuer::GrantStore as _;
use sekisho_opaque::{ReferenceContent, ReferenceDigest, ReferenceRecord, ReferenceStore as _};
use sekisho_redis::{
    Redis, RedisIssuerStore, RedisReferenceStore, RedisReplayGuard, RedisRevocationFeed, RedisSessionStore,
};
use sekisho_revocation::{RevocationFeed as _, Withdrawal};
use sekisho_session::{SessionHash, SessionStore as _};

use crate::control::Direct;
use crate::setup::{alone, now, password_and_address, prefix, shared, variable};

fn once(number: u8) -> OneTimeUse {
    OneTimeUse::new([7; 32], [number; 32], now().saturating_add(Duration::from_secs(3600)))
}

fn withdrawal(name: &str) -> Withdrawal {
    Withdrawal::token("https://id.example", name, UnixSeconds::MAX).unwrap()
}

#[tokio::test]
async fn a_wrong_login_is_an_error_that_does_not_show_it() {
    let test = "wrong logins";
    let (Some(url), Some(urls)) = (variable("SEKISHO_REDIS_URL", test), variable("SEKISHO_REDIS_CLUSTER_URLS", test))
    else {
        return;
    };
    let (Some(sentinels), Some(master)) =
        (variable("SEKISHO_REDIS_SENTINEL_URLS", test), variable("SEKISHO_REDIS_SENTINEL_MASTER", test))
    else {
        return;
    };
    let _turn = shared().await;
    let patient = |builder: sekisho_redis::RedisBuilder| {
        builder.with_connect_timeout(Duration::from_secs(10)).with_command_timeout(Duration::from_secs(10)).build()
    };
    let (password, address) = password_and_address(&url);
    let guessed = url.replace(password, "s3cret-guess");
    let cluster = urls.split(' ').map(|url| url.replace(password_and_address(url).0, "s3cret-guess"));
    let watchers = sentinels.split(' ').map(|url| url.replace(password_and_address(url).0, "s3cret-guess"));
    for redis in [
        Redis::standalone(guessed.as_str()),
        Redis::standalone(format!("redis://{address}")),
        Redis::standalone(url.as_str()).with_login("nobody", "s3cret-guess"),
        Redis::cluster(cluster),
        Redis::sentinel(master.as_str(), watchers),
        Redis::sentinel(master.as_str(), sentinels.split(' ')).with_login("", "s3cret-guess"),
        Redis::sentinel(master.as_str(), sentinels.split(' ')),
    ] {
        let redis = patient(redis).unwrap();
        let failure = redis.check().await.expect_err("nobody gets in");
        assert_eq!(failure.kind(), FailureKind::BadGateway, "{redis:?}: {failure:?}");
        let guard = RedisReplayGuard::new(redis);
        let failure = guard.insert(&once(1), now()).await.expect_err("nobody gets in");
        let shown = format!("{failure:?} {failure} {guard:?}");
        assert!(!shown.contains("s3cret") && !shown.contains(password), "{shown}");
    }
    let unknown = patient(Redis::sentinel("nobody", sentinels.split(' '))).unwrap();
    let failure = unknown.check().await.expect_err("the sentinels know no such master");
    assert_eq!(failure.kind(), FailureKind::Unavailable, "{failure:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_evicts_is_refused_and_a_full_one_forgets_nothing() {
    let test = "eviction and a full memory";
    let Some(url) = variable("SEKISHO_REDIS_URL", test) else { return };
    let _turn = alone().await;
    let mut direct = Direct::to(&url);
    let prefix = prefix();
    let redis = || Redis::standalone(url.as_str()).with_prefix(&prefix).with_command_timeout(Duration::from_secs(10));
    let () = direct.must(&[b"CONFIG", b"SET", b"maxmemory-policy", b"allkeys-lru"]);
    let failure = redis().build().unwrap().check().await.expect_err("it may forget");
    assert_eq!(failure.kind(), FailureKind::Misconfigured, "{failure:?}");
    redis().dangerous_allow_eviction().build().unwrap().check().await.expect("somebody answers for it");
    let () = direct.must(&[b"CONFIG", b"SET", b"maxmemory-policy", b"noeviction"]);

    let guard = RedisReplayGuard::new(redis().build().unwrap());
    assert_eq!(guard.insert(&once(1), now()).await.unwrap(), Occurrence::First);
    let () = direct.must(&[b"CONFIG", b"SET", b"maxmemory", b"1"]);
    let failure = guard.insert(&once(2), now()).await.expect_err("there is no room");
    let () = direct.must(&[b"CONFIG", b"SET", b"maxmemory", b"0"]);
    assert_eq!(
        (failure.kind(), failure.to_string().as_str()),
        (FailureKind::Unavailable, "the memory of redis is full")
    );
    assert_eq!(guard.insert(&once(1), now()).await.unwrap(), Occurrence::Repeated, "nobody was forgotten");
    assert_eq!(guard.insert(&once(2), now()).await.unwrap(), Occurrence::First, "it was not remembered");

    // Without leave to read INFO nobody can tell.
    let rules: [&[u8]; 9] = [b"ACL", b"SETUSER", b"blind", b"reset", b"on", b">blind", b"~*", b"+@all", b"-info"];
    let () = direct.must(&rules);
    let blind = || redis().with_login("blind", "blind");
    let failure = blind().build().unwrap().check().await.expect_err("nobody can tell");
    blind().dangerous_allow_eviction().build().unwrap().check().await.expect("somebody answers for it");
    let _: u32 = direct.must(&[b"ACL", b"DELUSER", b"blind"]);
    assert_eq!(failure.kind(), FailureKind::Misconfigured, "{failure:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_master_that_lost_its_replicas_says_nothing_about_what_lives() {
    let test = "a master without its replicas";
    let Some(url) = variable("SEKISHO_REDIS_URL", test) else { return };
    let _turn = alone().await;
    let mut direct = Direct::to(&url);
    let redis = Redis::standalone(url.as_str()).with_prefix(prefix()).with_command_timeout(Duration::from_secs(10));
    let redis = redis.build().unwrap();
    let (guard, references) = (RedisReplayGuard::new(redis.clone()), RedisReferenceStore::new(redis.clone()));
    let (store, feed) = (RedisIssuerStore::new(redis.clone()), RedisRevocationFeed::new(redis));
    let grant = crate::issuer::grant("AAAAAAAAAAAAAAAAAAAAAA");
    store.begin_grant(&grant, None, now()).await.unwrap();
    let mut connection = feed.connect(None).await.unwrap();
    while connection.next(&SystemClock).await.unwrap().as_of().is_none() {}
    let () = direct.must(&[b"CONFIG", b"SET", b"min-replicas-to-write", b"1"]);
    let digest = ReferenceDigest::from_bytes([1; 32]);
    let failures = [
        store.grant(&grant.id, now()).await.map(drop),
        references.find(&digest, now()).await.map(drop),
        guard.insert(&once(1), now()).await.map(drop),
        feed.push(&withdrawal("t"), now()).await,
        store.withdrawn_up_to("u", now()).await.map(drop),
        feed.connect(None).await.map(drop),
        connection.next(&SystemClock).await.map(drop),
    ];
    let () = direct.must(&[b"CONFIG", b"SET", b"min-replicas-to-write", b"0"]);
    for (index, answer) in failures.into_iter().enumerate() {
        let failure = answer.expect_err("it cannot know");
        assert_eq!(failure.kind(), FailureKind::Unavailable, "{index}: {failure:?}");
    }
    assert_eq!(store.grant(&grant.id, now()).await.unwrap(), Some(grant));
}

#[tokio::test]
async fn a_replica_says_nothing_about_what_lives() {
    let Some(data) = variable("SEKISHO_REDIS_SENTINEL_DATA_URLS", "a replica") else { return };
    let _turn = shared().await;
    let role = |url: &str| {
        let role: Vec<redis::Value> = Direct::to(url).must(&[b"ROLE"]);
        role.into_iter().next()
    };
    let with = |wanted: &[u8]| {
        let wanted = Some(redis::Value::BulkString(wanted.to_vec()));
        data.split(' ').find(|url| role(url) == wanted).expect("one has this role")
    };
    let (master, replica, prefix) = (with(b"master"), with(b"slave"), prefix());
    let store = |url: &str| {
        let redis = Redis::standalone(url).with_prefix(&prefix).with_command_timeout(Duration::from_secs(10));
        RedisSessionStore::new(redis.build().unwrap())
    };
    let id = SessionHash::from_bytes([1; 32]);
    assert!(store(master).create(id, &crate::sessions::new(&[]), now()).await.unwrap());
    let mut at_replica = Direct::to(replica);
    let start = std::time::Instant::now();
    while at_replica.keys(&prefix).is_empty() {
        assert!(start.elapsed() < Duration::from_secs(10), "the replica has it soon");
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(store(master).load(&id, now()).await.unwrap().is_some());
    let failure = store(replica).load(&id, now()).await.expect_err("it may be behind");
    assert_eq!(failure.kind(), FailureKind::Unavailable, "{failure:?}");
    assert!(format!("{failure:?}").contains("kind: Moved"), "{failure:?}");
}

fn assert_content(failure: &Failure) {
    assert_eq!(failure.kind(), FailureKind::BadGateway, "{failure:?}");
    assert!(!format!("{failure:?}").contains("s3cret"), "{failure:?}");
}

#[tokio::test]
async fn what_nobody_wrote_is_a_failure_and_is_not_read_to_its_end() {
    let test = "hostile values";
    let Some(url) = variable("SEKISHO_REDIS_URL", test) else { return };
    let _turn = shared().await;
    let prefix = prefix();
    let builder = Redis::standalone(url.as_str()).with_prefix(&prefix).with_command_timeout(Duration::from_secs(10));
    let redis = builder.build().unwrap();
    let mut direct = Direct::to(&url);
    let huge = vec![b'x'; 8 << 20];
    let only_key = |direct: &mut Direct, kind: &str| {
        let keys = direct.keys(&format!("{prefix}:{kind}"));
        let [key] = &keys[..] else { panic!("{keys:?}") };
        key.clone()
    };

    let references = RedisReferenceStore::new(redis.clone());
    let digest = ReferenceDigest::from_bytes([1; 32]);
    let subject = sekisho_core::SubjectId::new("https://id.example", "u");
    let record = ReferenceRecord::new(
        subject.clone(),
        Some("s".into()),
        now().saturating_add(Duration::from_secs(600)),
        ReferenceContent::Jwt(sekisho_core::Secret::from("s3cret")),
    );
    assert!(references.insert(digest, &record, now()).await.unwrap());
    let key = only_key(&mut direct, "reference");
    let whole: Vec<u8> = direct.must(&[b"GET", key.as_bytes()]);
    let mut bad: Vec<Vec<u8>> = (0..whole.len()).step_by(7).map(|length| whole[..length].to_vec()).collect();
    bad.extend([huge.clone(), b"9999999999:".to_vec(), b":".to_vec(), vec![0xff; 64], [&whole[..], b"x"].concat()]);
    for value in bad.iter().filter(|value| !value.is_empty()) {
        let () = direct.must(&[b"SET", key.as_bytes(), value]);
        assert_content(&references.find(&digest, now()).await.expect_err("no record"));
    }
    for value in [&huge[..], b"s3cret"] {
        let () = direct.must(&[b"SET", key.as_bytes(), value]);
        assert_content(&references.revoke(&digest, now()).await.expect_err("nobody knows what ended"));
        assert_content(&references.insert(digest, &record, now()).await.expect_err("something stands there"));
    }
    let _: u32 = direct.must(&[b"DEL", key.as_bytes()]);
    let _: u32 = direct.must(&[b"LPUSH", key.as_bytes(), b"s3cret"]);
    assert_content(&references.find(&digest, now()).await.expect_err("a list is no record"));
    assert_content(&references.insert(digest, &record, now()).await.expect_err("a list stands there"));
    let index = only_key(&mut direct, "reference-subject");
    let _: u32 = direct.must(&[b"ZADD", index.as_bytes(), b"99999999999", b"s3cret"]);
    assert_content(&references.revoke_subject(&subject, now()).await.expect_err("no entry of ours"));
    let () = direct.must(&[b"SET", index.as_bytes(), b"s3cret"]);
    assert_content(&references.revoke_subject(&subject, now()).await.expect_err("no index"));

    let guard = RedisReplayGuard::new(redis.clone());
    guard.insert(&once(1), now()).await.unwrap();
    let used = only_key(&mut direct, "used");
    let () = direct.must(&[b"SET", used.as_bytes(), b"s3cret"]);
    assert_content(&guard.insert(&once(1), now()).await.expect_err("no set"));

    let feed = RedisRevocationFeed::new(redis);
    feed.push(&withdrawal("t"), now()).await.unwrap();
    let set = only_key(&mut direct, "withdrawn");
    let read = async || -> Result<(), Failure> {
        let mut connection = feed.connect(None).await?;
        while connection.next(&SystemClock).await?.as_of().is_none() {}
        Ok(())
    };
    read().await.unwrap();
    for entry in [&b"s3cret"[..], b"{}", br#"{"iss":"i","jti":"t","until":1,"s3cret":1}"#, &huge] {
        let _: u32 = direct.must(&[b"ZADD", set.as_bytes(), b"99999999999", entry]);
        assert_content(&read().await.expect_err("a snapshot that cannot be read is none"));
        let _: u32 = direct.must(&[b"ZREM", set.as_bytes(), entry]);
    }
    read().await.unwrap();
    let channel = format!("{prefix}:told:{{{prefix}}}");
    for message in [&b"s3cret"[..], b"1:s3cret", b":{}", b"99999999999999999999999:{}", b"", b"1"] {
        let mut connection = feed.connect(None).await.unwrap();
        while connection.next(&SystemClock).await.unwrap().as_of().is_none() {}
        let _: u32 = direct.must(&[b"PUBLISH", channel.as_bytes(), message]);
        assert_content(&connection.next(&SystemClock).await.expect_err("no withdrawal"));
    }
    // A number that was left out: a message was lost.
    let mut connection = feed.connect(None).await.unwrap();
    while connection.next(&SystemClock).await.unwrap().as_of().is_none() {}
    let number = format!("{prefix}:number:{{{prefix}}}");
    let _: u64 = direct.must(&[b"INCR", number.as_bytes()]);
    feed.push(&withdrawal("next"), now()).await.unwrap();
    let failure = connection.next(&SystemClock).await.expect_err("something was not told");
    assert_eq!(failure.kind(), FailureKind::Unavailable);
    // And one that only the heartbeat can notice.
    let mut connection = feed.connect(None).await.unwrap();
    while connection.next(&SystemClock).await.unwrap().as_of().is_none() {}
    let _: u64 = direct.must(&[b"INCR", number.as_bytes()]);
    assert_eq!(connection.next(&SystemClock).await.expect_err("noticed").kind(), FailureKind::Unavailable);
    for bad in ["x", "-1", "99999999999999999999999"] {
        let () = direct.must(&[b"SET", number.as_bytes(), bad.as_bytes()]);
        assert_content(&read().await.expect_err("no number"));
        // One that can be counted up from is told, and heard by nobody who has heard more.
        let pushed = feed.push(&withdrawal("never"), now()).await;
        assert_eq!(pushed.is_ok(), bad == "-1", "{bad}: {pushed:?}");
    }
}

#[tokio::test]
async fn a_full_feed_refuses_what_is_new_and_tells_what_it_knows_again() {
    let test = "a full feed";
    let Some(url) = variable("SEKISHO_REDIS_URL", test) else { return };
    let _turn = shared().await;
    let redis = Redis::standalone(url).with_prefix(prefix()).with_command_timeout(Duration::from_secs(10));
    let feed = RedisRevocationFeed::new(redis.build().unwrap()).with_max_entries(2);
    for name in ["a", "b", "a"] {
        feed.push(&withdrawal(name), now()).await.unwrap();
    }
    let failure = feed.push(&withdrawal("c"), now()).await.expect_err("no room");
    assert_eq!(failure.kind(), FailureKind::Unavailable);
    feed.push(&withdrawal("b"), now()).await.unwrap();
}

#[tokio::test]
async fn two_prefixes_share_nothing() {
    let test = "prefixes";
    let Some(url) = variable("SEKISHO_REDIS_URL", test) else { return };
    let _turn = shared().await;
    for _ in 0..2 {
        let redis = Redis::standalone(url.as_str()).with_prefix(prefix()).with_command_timeout(Duration::from_secs(10));
        let guard = RedisReplayGuard::new(redis.build().unwrap());
        assert_eq!(guard.insert(&once(1), now()).await.unwrap(), Occurrence::First);
    }
}
