//! The issuer's stores: what nobody wrote, what a failure leaves, and what they are told to tell.

use std::sync::Arc;
use std::time::Duration;

use sekisho_core::dangerous::PrincipalBuilder;
use sekisho_core::{Failure, FailureKind, RevocationCheck as _, UnixSeconds};
use sekisho_issuer::{
    CodeRecord, CountStore as _, DeviceStore as _, Grant, GrantStore as _, HandleHash, KeyStore as _, Revocation,
    RevocationListener as _, SealedKeys, SsoStore as _, StoredRecord as _, TakenCode,
};
use sekisho_redis::{
    Redis, RedisInvalidations, RedisIssuerStore, RedisKeyStore, RedisRevocationFeed, RedisSessionStore,
    RedisWithdrawingListener,
};
use sekisho_revocation::RevocationList;
use sekisho_session::{Invalidation, Invalidations as _, SessionStore as _};

use crate::control::{Direct, wait_until};
use crate::setup::{Shape, now, prefix, shared, variable};

const ID: &str = "AAAAAAAAAAAAAAAAAAAAAA";

pub(crate) fn grant(id: &str) -> Grant {
    let text = format!(
        r#"{{"v":1,"kind":"grant","record":{{"id":"{id}","client_id":"c","subject":"u","sid":"s","scope":"openid","audience":[],
        "authentication":{{"time":1,"context":null,"methods":[]}},"created_at":1,"expires_at":{}}}}}"#,
        now().as_secs() + 600
    );
    Grant::from_bytes(text.as_bytes()).unwrap()
}

pub(crate) fn code(id: &str, hash: HandleHash) -> CodeRecord {
    let hash = base64_simd::URL_SAFE_NO_PAD.encode_to_string(hash.as_bytes());
    let end = now().as_secs() + 300;
    let text = format!(
        r#"{{"v":1,"kind":"code","record":{{"code":"{hash}","grant":"{id}","redirect_uri":"https://c.example/cb",
        "code_challenge":"x","nonce":null,"expires_at":{end},"remembered_until":{end}}}}}"#
    );
    CodeRecord::from_bytes(text.as_bytes()).unwrap()
}

fn assert_content<T: std::fmt::Debug>(answer: Result<T, Failure>) {
    let failure = answer.expect_err("what nobody wrote is no answer");
    assert_eq!(failure.kind(), FailureKind::BadGateway, "{failure:?}");
    assert!(!format!("{failure:?}").contains("s3cret"), "{failure:?}");
}

#[tokio::test]
async fn what_nobody_wrote_is_a_failure() {
    let test = "hostile values of the issuer";
    let Some(url) = variable("SEKISHO_REDIS_URL", test) else { return };
    let _turn = shared().await;
    let prefix = prefix();
    let builder = Redis::standalone(url.as_str()).with_prefix(&prefix).with_command_timeout(Duration::from_secs(10));
    let redis = builder.build().unwrap();
    let (store, mut direct) = (RedisIssuerStore::new(redis.clone()), Direct::to(&url));
    let hash = HandleHash::from_bytes([9; 32]);
    let name = base64_simd::URL_SAFE_NO_PAD.encode_to_string([9; 32]);
    let (grant, code) = (grant(ID), code(ID, hash));
    store.begin_grant(&grant, Some(&code), now()).await.unwrap();
    let grant_key = format!("{{{prefix}:grants}}:grant:{ID}");
    let whole: Vec<u8> = direct.must(&[b"HGET", grant_key.as_bytes(), b"record"]);
    let huge = vec![b'x'; 1 << 20];
    let mut bad: Vec<Vec<u8>> = (0..whole.len()).step_by(5).map(|length| whole[..length].to_vec()).collect();
    bad.extend([huge.clone(), b"s3cret".to_vec(), code.to_bytes().unwrap(), vec![0xff; 9]]);
    for value in &bad {
        let _: u32 = direct.must(&[b"HSET", grant_key.as_bytes(), b"record", value]);
        assert_content(store.grant(&grant.id, now()).await);
    }
    let _: u32 = direct.must(&[b"HSET", grant_key.as_bytes(), b"record", &whole]);
    for end in [&b"s3cret"[..], b"", &huge] {
        let _: u32 = direct.must(&[b"HSET", grant_key.as_bytes(), b"end", end]);
        assert_content(store.grant(&grant.id, now()).await);
    }
    let _: u32 = direct.must(&[b"HDEL", grant_key.as_bytes(), b"end"]);
    assert_eq!(store.grant(&grant.id, now()).await.unwrap(), None, "what has no end is not alive");
    let () = direct.must(&[b"SET", grant_key.as_bytes(), b"s3cret"]);
    assert_content(store.grant(&grant.id, now()).await);

    let code_key = format!("{{{prefix}:grants}}:code:{name}");
    for (field, value) in [("grant", "s3cret"), ("remembered", "s3cret"), ("end", "s3cret")] {
        store.revoke_grant(&grant.id, now()).await.unwrap();
        store.begin_grant(&grant, Some(&code), now()).await.unwrap();
        let _: u32 = direct.must(&[b"HSET", code_key.as_bytes(), field.as_bytes(), value.as_bytes()]);
        match store.take_code(&hash, now()).await {
            Err(failure) => assert_eq!(failure.kind(), FailureKind::BadGateway, "{field}: {failure:?}"),
            Ok(taken) => assert_eq!((taken, field), (TakenCode::Unknown, "grant"), "no such grant lives"),
        }
        let _: u32 = direct.must(&[b"DEL", code_key.as_bytes()]);
    }
    // A code that names another's grant was not put there by us.
    let other = crate::issuer::grant("BBBBBBBBBBBBBBBBBBBBBB");
    store.begin_grant(&grant, Some(&code), now()).await.unwrap();
    store.begin_grant(&other, None, now()).await.unwrap();
    let _: u32 = direct.must(&[b"HSET", code_key.as_bytes(), b"grant", other.id.as_str().as_bytes()]);
    assert_content(store.take_code(&hash, now()).await);

    for (kind, slot) in [("refresh", "grants"), ("handle", "grants"), ("device", "grants"), ("session", "logins")] {
        let key = format!("{{{prefix}:{slot}}}:{kind}:{name}");
        for kept in ["idle", "end", "client"] {
            let _: u32 = direct.must(&[b"HSET", key.as_bytes(), kept.as_bytes(), b"99999999999"]);
        }
        let _: u32 =
            direct.must(&[b"HSET", key.as_bytes(), b"record", b"s3cret", b"grant", b"", b"interval", b"s3cret"]);
        let _: u32 = direct.must(&[b"HSET", key.as_bytes(), b"state", b"s3cret"]);
        match kind {
            "handle" => assert_content(store.reference(&hash, now()).await),
            "device" => assert_content(store.poll_device(&hash, "99999999999", now()).await),
            "session" => assert_content(store.use_session(&hash, Duration::from_secs(9), now()).await),
            _ => assert_eq!(store.refresh_family(&hash, now()).await.unwrap(), None, "its grant does not live"),
        }
        let _: u32 = direct.must(&[b"DEL", key.as_bytes()]);
        let _: u32 = direct.must(&[b"SADD", key.as_bytes(), b"s3cret"]);
        match kind {
            "refresh" => assert_content(store.rotate_refresh(&hash, &hash, &hash, now(), now()).await),
            "handle" => assert_content(store.reference(&hash, now()).await),
            "device" => assert_content(store.poll_device(&hash, "c", now()).await),
            _ => assert_content(store.use_session(&hash, Duration::from_secs(9), now()).await),
        }
    }
    let user_code = format!("{{{prefix}:grants}}:user-code:{name}");
    for value in [&b"s3cret"[..], &huge] {
        let () = direct.must(&[b"SET", user_code.as_bytes(), value]);
        match store.undecided_device(&hash, now()).await {
            Err(failure) => assert_eq!(failure.kind(), FailureKind::BadGateway, "{failure:?}"),
            Ok(found) => assert_eq!(found, None),
        }
    }
    let until = now().saturating_add(Duration::from_secs(60));
    store.count(&hash, until, now()).await.unwrap();
    let _: u32 = direct.must(&[b"HSET", format!("{prefix}:count:{{{name}}}").as_bytes(), b"count", b"s3cret"]);
    assert_content(store.count(&hash, until, now()).await);
    assert_content(store.counted(&hash, now()).await);

    let keys = RedisKeyStore::new(redis);
    let document = format!("{prefix}:keys:{{{prefix}}}");
    assert!(keys.replace(&SealedKeys { revision: 1, bytes: b"sealed".to_vec() }).await.unwrap());
    for (field, value) in [("revision", &b"s3cret"[..]), ("revision", &huge), ("bytes", &huge)] {
        let before: Vec<u8> = direct.must(&[b"HGET", document.as_bytes(), field.as_bytes()]);
        let _: u32 = direct.must(&[b"HSET", document.as_bytes(), field.as_bytes(), value]);
        assert_content(keys.load().await);
        let _: u32 = direct.must(&[b"HSET", document.as_bytes(), field.as_bytes(), &before]);
    }
    let _: u32 = direct.must(&[b"HDEL", document.as_bytes(), b"revision"]);
    assert_content(keys.load().await);
    assert_content(keys.replace(&SealedKeys { revision: 1, bytes: b"other".to_vec() }).await);
    let () = direct.must(&[b"SET", document.as_bytes(), b"s3cret"]);
    assert_content(keys.load().await);
}

#[tokio::test]
async fn one_user_cannot_fill_the_store_and_what_has_ended_makes_room() {
    let test = "a user with too many grants";
    let Some(url) = variable("SEKISHO_REDIS_URL", test) else { return };
    let _turn = shared().await;
    let (prefix, mut direct) = (prefix(), Direct::to(&url));
    let redis = Redis::standalone(url.as_str()).with_prefix(&prefix).with_command_timeout(Duration::from_secs(10));
    let store = RedisIssuerStore::new(redis.build().unwrap());
    store.begin_grant(&grant(ID), None, now()).await.unwrap();
    let fill = |end: u64, direct: &mut Direct| {
        let script = "for i = 1, 10000 do redis.call('ZADD', KEYS[1], ARGV[1], 'filler ' .. i) end return 1";
        for kind in ["of-subject", "of-session"] {
            for key in direct.keys(&format!("{{{prefix}:grants}}:{kind}")) {
                let _: u32 =
                    direct.must(&[b"EVAL", script.as_bytes(), b"1", key.as_bytes(), end.to_string().as_bytes()]);
            }
        }
    };
    fill(now().as_secs() + 600, &mut direct);
    let more = grant("BBBBBBBBBBBBBBBBBBBBBB");
    let failure = store.begin_grant(&more, None, now()).await.expect_err("one user has too many");
    assert_eq!(failure.kind(), FailureKind::Unavailable);
    assert_eq!(store.grant(&more.id, now()).await.unwrap(), None, "nothing was kept");
    assert_eq!(store.grant(&grant(ID).id, now()).await.unwrap().unwrap().id, grant(ID).id, "nobody was thrown out");
    fill(now().as_secs() - 1, &mut direct);
    store.begin_grant(&more, None, now()).await.unwrap();
    store.revoke_subject_grants("u", now()).await.unwrap();
    for id in [&more.id, &grant(ID).id] {
        assert_eq!(store.grant(id, now()).await.unwrap(), None);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_issuer_revokes_reaches_the_lists_of_services() {
    let test = "the issuer's listener";
    for shape in [Shape::Standalone, Shape::Sentinel, Shape::Cluster] {
        let Some(builder) = shape.builder(test) else { return };
        let _turn = shared().await;
        let feed = RedisRevocationFeed::new(builder.build().unwrap());
        let list = RevocationList::new().unwrap();
        let mut following = list.follow(feed.clone()).start().unwrap();
        following.synchronized().await;
        let listener = RedisWithdrawingListener::new("https://id.example", feed);
        listener.revoked(&Revocation::Grant(grant(ID).id), now()).await.unwrap();
        listener.revoked(&Revocation::Session("s".to_owned()), now()).await.unwrap();
        let is_revoked = |claim: &str, value: &str| {
            let principal = PrincipalBuilder::new("https://id.example", "u").with_claim(claim, value);
            list.local().is_revoked(&principal.with_claim("iat", 1).build().unwrap(), now()).unwrap()
        };
        wait_until("they are told", Duration::from_secs(5), async || {
            is_revoked("jti", &format!("{ID}.x")) && is_revoked("sid", "s")
        })
        .await;
        assert!(!is_revoked("sid", "t") && !is_revoked("jti", "x"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_login_with_the_documented_rights_can_do_all_and_forgotten_scripts_are_sent_again() {
    let test = "an account with few rights";
    for (shape, variable_name) in
        [(Shape::Standalone, "SEKISHO_REDIS_URL"), (Shape::Cluster, "SEKISHO_REDIS_CLUSTER_URLS")]
    {
        let (Some(urls), Some(builder)) = (variable(variable_name, test), shape.builder(test)) else { return };
        let _turn = shared().await;
        let prefix = prefix();
        let rights = format!(
            "ACL SETUSER {prefix} reset on >s3cret +@read +@write -@dangerous +eval +evalsha +@pubsub +@connection +info +time \
             +cluster|slots ~{prefix}:* ~{{{prefix}:* &{prefix}:*"
        );
        let words: Vec<&[u8]> = rights.split_whitespace().map(str::as_bytes).collect();
        for url in urls.split(' ') {
            let () = Direct::to(url).must(&words);
        }
        let redis = builder.with_login(&prefix, "s3cret").with_prefix(&prefix).build().unwrap();
        redis.check().await.unwrap();
        for url in urls.split(' ') {
            let () = Direct::to(url).must(&[b"SCRIPT", b"FLUSH"]);
        }
        everything_works(&redis).await;
        let elsewhere = shape.builder(test).unwrap().with_login(&prefix, "s3cret").with_prefix(format!("{prefix}x"));
        let store = RedisIssuerStore::new(elsewhere.build().unwrap());
        let failure = store.counted(&HandleHash::from_bytes([1; 32]), UnixSeconds::new(0)).await;
        assert_eq!(failure.expect_err("not its keys").kind(), FailureKind::BadGateway);
        for url in urls.split(' ') {
            let _: u32 = Direct::to(url).must(&[b"ACL", b"DELUSER", prefix.as_bytes()]);
        }
    }
}

async fn everything_works(redis: &Redis) {
    sekisho_issuer::testing::store_suite(Arc::new(RedisIssuerStore::new(redis.clone()))).await;
    sekisho_issuer::testing::key_store_suite(&RedisKeyStore::new(redis.clone())).await;
    let guard = sekisho_redis::RedisReplayGuard::new(redis.clone()).with_max_per_holder(10).unwrap();
    sekisho_testkit::replay_guard_suite(Arc::new(guard), 10, now()).await;
    let references = Arc::new(sekisho_redis::RedisReferenceStore::new(redis.clone()));
    sekisho_testkit::reference_store_suite(references, now()).await;
    let feed = RedisRevocationFeed::new(redis.clone()).with_heartbeat(Duration::from_millis(200)).unwrap();
    let push = async |withdrawal| feed.push(&withdrawal, now()).await.unwrap();
    sekisho_testkit::revocation_feed_suite(&feed, push).await;
    let sessions: Arc<dyn sekisho_session::SessionStore> = Arc::new(RedisSessionStore::new(redis.clone()));
    sekisho_testkit::session_store_suite([Arc::clone(&sessions), sessions], now()).await;
    let waiting =
        RedisSessionStore::new(redis.clone()).with_replicas_acknowledging(1, Duration::from_millis(20)).unwrap();
    let id = sekisho_session::SessionHash::from_bytes([1; 32]);
    assert!(!waiting.delete(&id, now()).await.unwrap(), "it may wait");
    let invalidations = RedisInvalidations::new(redis.clone());
    let mut listening = invalidations.subscribe().await.unwrap();
    invalidations.publish(Invalidation::Ended(id)).await.unwrap();
    assert!(listening.next().await.unwrap() == [Invalidation::Ended(id)]);
}
