//! Servers die, hang, and come back: everything fails in time, nothing passes, and it works again by itself.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sekisho_core::dangerous::PrincipalBuilder;
use sekisho_core::{
    Failure, FailureKind, Occurrence, OneTimeUse, ReplayGuard as _, RevocationCheck as _, Secret, SubjectId,
    UnixSeconds,
};
use sekisho_issuer::{GrantStore as _, HandleHash, SsoSession, SsoStore as _, StoredRecord as _};
use sekisho_opaque::{ReferenceContent, ReferenceDigest, ReferenceRecord, ReferenceStore as _};
use sekisho_redis::{
    Redis, RedisIssuerStore, RedisReferenceStore, RedisReplayGuard, RedisRevocationFeed, RedisSessionStore,
};
use sekisho_revocation::{RevocationFeed as _, RevocationList, Withdrawal};
use sekisho_session::{Saved, SessionHash, SessionStore as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::control::{Control, Direct, wait_until};
use crate::issuer::grant;
use crate::sessions::{new as new_session, update};
use crate::setup::{Shape, alone, now, password_and_address, prefix, shared, variable};

const ISSUER: &str = "https://id.example";
/// What is measured here: how long a call may take.
const COMMAND: Duration = Duration::from_millis(500);
/// A machine that builds beside is late; this is how late.
const LATE: Duration = Duration::from_millis(1500);

fn once(number: u8) -> OneTimeUse {
    OneTimeUse::new([7; 32], [number; 32], now().saturating_add(Duration::from_secs(3600)))
}

/// All three, over one client.
struct Everything {
    guard: RedisReplayGuard,
    feed: RedisRevocationFeed,
    references: RedisReferenceStore,
}

impl Everything {
    fn over(redis: &Redis) -> Self {
        Self {
            guard: RedisReplayGuard::new(redis.clone()),
            feed: RedisRevocationFeed::new(redis.clone()).with_heartbeat(Duration::from_millis(300)).unwrap(),
            references: RedisReferenceStore::new(redis.clone()),
        }
    }

    /// Asks for something of each kind, and demands a failure of each in time.
    async fn assert_down(&self, number: u8) {
        let begin = Instant::now();
        let failure = self.guard.insert(&once(number), now()).await.expect_err("no use passes");
        assert_eq!(failure.kind(), FailureKind::Unavailable, "{failure:?}");
        assert!(begin.elapsed() < COMMAND + LATE, "{:?}", begin.elapsed());
        let begin = Instant::now();
        let withdrawal = Withdrawal::token(ISSUER, "t", UnixSeconds::MAX).unwrap();
        self.feed.push(&withdrawal, now()).await.expect_err("nothing is withdrawn");
        assert!(begin.elapsed() < COMMAND + LATE, "{:?}", begin.elapsed());
        let begin = Instant::now();
        let digest = ReferenceDigest::from_bytes([number; 32]);
        self.references.find(&digest, now()).await.expect_err("nobody knows that there is none");
        assert!(begin.elapsed() < COMMAND + LATE, "{:?}", begin.elapsed());
    }

    async fn is_up(&self, number: u8) -> bool {
        let digest = ReferenceDigest::from_bytes([number; 32]);
        self.references.find(&digest, now()).await.is_ok() && self.guard.insert(&once(number), now()).await.is_ok()
    }
}

fn token(name: &str) -> sekisho_core::Principal {
    PrincipalBuilder::new(ISSUER, "u").with_claim("jti", name).with_claim("iat", 1).build().unwrap()
}

/// Follows a feed, as a service does.
struct Follower {
    list: RevocationList,
    _following: sekisho_revocation::Following,
}

impl Follower {
    async fn of(feed: &RedisRevocationFeed) -> Self {
        let list = RevocationList::new().unwrap();
        let follow = list.follow(feed.clone()).with_pauses(Duration::from_millis(50), Duration::from_millis(200));
        let mut following = follow.start().unwrap();
        tokio::time::timeout(Duration::from_secs(20), following.synchronized()).await.expect("it follows");
        Self { list, _following: following }
    }

    fn knows(&self, name: &str) -> bool {
        self.list.local().is_revoked(&token(name), now()).unwrap()
    }
}

fn withdrawal(name: &str) -> Withdrawal {
    Withdrawal::token(ISSUER, name, now().saturating_add(Duration::from_secs(3600))).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_server_that_is_killed_fails_all_in_time_and_works_again_when_it_is_back() {
    let test = "Redis killed";
    let (Some(control), Some(builder)) = (Control::reach(test), Shape::Standalone.builder(test)) else { return };
    let _turn = alone().await;
    let redis = builder.with_command_timeout(COMMAND).with_connect_timeout(COMMAND).build().unwrap();
    let all = Everything::over(&redis);
    assert_eq!(all.guard.insert(&once(1), now()).await.unwrap(), Occurrence::First);
    let follower = Follower::of(&all.feed).await;
    all.feed.push(&withdrawal("before"), now()).await.unwrap();
    wait_until("it arrives", Duration::from_secs(5), async || follower.knows("before")).await;

    let outage = control.kill("redis");
    for number in 1..20 {
        all.assert_down(number).await;
    }
    redis.check().await.expect_err("it is down");
    assert!(follower.knows("before"), "what is known stays known");
    outage.end();
    let took = wait_until("it works again", Duration::from_secs(10), async || all.is_up(100).await).await;
    println!("Redis back: works after {took:?}");
    all.feed.push(&withdrawal("after"), now()).await.unwrap();
    let took = wait_until("the feed works again", Duration::from_secs(10), async || follower.knows("after")).await;
    println!("Redis back: a withdrawal arrives after {took:?}");
    assert!(follower.knows("before"), "an empty Redis takes nothing back");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_failover_of_the_sentinels_is_followed() {
    let test = "failover by sentinels";
    let (Some(control), Some(builder)) = (Control::reach(test), Shape::Sentinel.builder(test)) else { return };
    let Some(data) = variable("SEKISHO_REDIS_SENTINEL_DATA_URLS", test) else { return };
    let _turn = alone().await;
    let redis = builder.with_command_timeout(COMMAND).with_connect_timeout(COMMAND).build().unwrap();
    let all = Everything::over(&redis);
    let follower = Follower::of(&all.feed).await;
    assert_eq!(all.guard.insert(&once(1), now()).await.unwrap(), Occurrence::First);
    all.feed.push(&withdrawal("before"), now()).await.unwrap();
    wait_until("it arrives", Duration::from_secs(5), async || follower.knows("before")).await;
    let sessions = RedisSessionStore::new(redis.clone());
    let (alive, ended) = (SessionHash::from_bytes([1; 32]), SessionHash::from_bytes([2; 32]));
    for id in [alive, ended] {
        assert!(sessions.create(id, &new_session(&[]), now()).await.unwrap());
    }
    assert_eq!(sessions.save(&alive, 1, &update(b"saved"), now()).await.unwrap(), Saved::Done);
    assert!(sessions.delete(&ended, now()).await.unwrap());
    let is_master = |url: &str| {
        let role: Vec<redis::Value> = Direct::to(url).must(&[b"ROLE"]);
        role[0] == redis::Value::BulkString(b"master".to_vec())
    };
    let names = ["redis-main-1", "redis-main-2"];
    let master = data.split(' ').position(is_master).expect("one is the master");
    // What was written must have reached the replica, or it is lost by right.
    let replicated: u32 = Direct::to(data.split(' ').nth(master).unwrap()).must(&[b"WAIT", b"1", b"5000"]);
    assert_eq!(replicated, 1, "the replica is there");

    let outage = control.kill(names[master]);
    all.assert_down(2).await;
    sessions.load(&alive, now()).await.expect_err("nobody knows that there is none");
    let took = wait_until("the other is master", Duration::from_secs(30), async || all.is_up(3).await).await;
    println!("sentinels: works {took:?} after the master died (down after 1 s)");
    let again = all.guard.insert(&once(1), now()).await.unwrap();
    assert_eq!(again, Occurrence::Repeated, "the new master knows what the old one told it");
    let found = sessions.load(&alive, now()).await.unwrap().expect("the session is there");
    assert_eq!((found.version, found.body.as_bytes()), (2, &b"saved"[..]));
    assert_eq!(sessions.save(&alive, 2, &update(b"again"), now()).await.unwrap(), Saved::Done);
    assert!(sessions.load(&ended, now()).await.unwrap().is_none());
    assert!(!sessions.create(ended, &new_session(&[]), now()).await.unwrap(), "what was ended stays ended");
    all.feed.push(&withdrawal("after"), now()).await.unwrap();
    wait_until("the feed follows", Duration::from_secs(15), async || follower.knows("after")).await;
    assert!(Follower::of(&all.feed).await.knows("before"), "the snapshot is the new master's");
    outage.end();
    // For the tests that come: the old one is a replica now, and in step.
    let old = data.split(' ').nth(master).unwrap();
    wait_until("the old one follows", Duration::from_secs(60), async || follows(old)).await;
    assert_eq!(all.guard.insert(&once(1), now()).await.unwrap(), Occurrence::Repeated);
}

/// Tells whether a server is a replica, and in step. One that changes its role hangs up on everybody.
pub(crate) fn follows(url: &str) -> bool {
    let Some(mut direct) = Direct::reach(url) else { return false };
    let info: Result<String, _> = direct.ask(&[b"INFO", b"replication"]);
    info.is_ok_and(|info| info.contains("role:slave") && info.contains("master_link_status:up"))
}

/// Answers whatever it is asked as a sentinel that names one server.
async fn sentinel_that_names(port: u16) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut question = [0; 1024];
                while let Ok(1..) = stream.read(&mut question).await {
                    let port = port.to_string();
                    let answer = if question.windows(5).any(|word| word == b"HELLO") {
                        "%1\r\n$6\r\nserver\r\n$5\r\nredis\r\n".to_owned()
                    } else {
                        format!("*2\r\n$9\r\n127.0.0.1\r\n${}\r\n{port}\r\n", port.len())
                    };
                    question.fill(0);
                    stream.write_all(answer.as_bytes()).await.unwrap();
                }
            });
        }
    });
    format!("redis://{address}")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_sentinel_that_has_not_heard_of_a_failover_is_not_believed() {
    let test = "a sentinel that is behind";
    let (Some(data), Some(sentinels), Some(master)) = (
        variable("SEKISHO_REDIS_SENTINEL_DATA_URLS", test),
        variable("SEKISHO_REDIS_SENTINEL_URLS", test),
        variable("SEKISHO_REDIS_SENTINEL_MASTER", test),
    ) else {
        return;
    };
    let _turn = shared().await;
    let (password, _) = password_and_address(&data);
    let is_replica = |url: &&str| {
        let role: Vec<redis::Value> = Direct::to(url).must(&[b"ROLE"]);
        role[0] == redis::Value::BulkString(b"slave".to_vec())
    };
    let replica = data.split(' ').find(is_replica).expect("one is a replica");
    let replica = password_and_address(replica).1.rsplit_once(':').unwrap().1.parse().unwrap();
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    for port in [replica, nobody] {
        let behind = sentinel_that_names(port).await;
        let client = |urls: Vec<&str>| {
            let builder = Redis::sentinel(master.as_str(), urls).with_login("", password).with_prefix(prefix());
            builder.with_connect_timeout(Duration::from_secs(10)).with_command_timeout(Duration::from_secs(10)).build()
        };
        let failure = client(vec![&behind]).unwrap().check().await.expect_err("no master is there");
        assert_eq!(failure.kind(), FailureKind::Unavailable, "{failure:?}");
        for _ in 0..5 {
            let urls = std::iter::once(&*behind).chain(sentinels.split(' ')).collect();
            client(urls).unwrap().check().await.expect("the others know");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_failover_in_a_cluster_is_followed() {
    let test = "failover in a cluster";
    let (Some(control), Some(builder)) = (Control::reach(test), Shape::Cluster.builder(test)) else { return };
    let Some(urls) = variable("SEKISHO_REDIS_CLUSTER_URLS", test) else { return };
    let urls: Vec<&str> = urls.split(' ').collect();
    let _turn = alone().await;
    let prefix = prefix();
    let redis = builder.with_prefix(&prefix).with_command_timeout(COMMAND).with_connect_timeout(COMMAND);
    let all = Everything::over(&redis.build().unwrap());
    let follower = Follower::of(&all.feed).await;
    all.feed.push(&withdrawal("before"), now()).await.unwrap();
    wait_until("it arrives", Duration::from_secs(5), async || follower.knows("before")).await;
    // The master that keeps the withdrawals.
    let set = format!("{prefix}:withdrawn:{{{prefix}}}");
    let keeper = urls.iter().position(|url| {
        let mut direct = Direct::to(url);
        let role: Vec<redis::Value> = direct.must(&[b"ROLE"]);
        let found: Result<u32, _> = direct.ask(&[b"ZCARD", set.as_bytes()]);
        role[0] == redis::Value::BulkString(b"master".to_vec()) && found.is_ok_and(|count| count == 1)
    });
    let keeper = keeper.expect("one keeps it");
    let replicated: u32 = Direct::to(urls[keeper]).must(&[b"WAIT", b"1", b"5000"]);
    assert_eq!(replicated, 1, "the replica is there");

    let outage = control.kill(&format!("redis-cluster-{}", keeper + 1));
    let begin = Instant::now();
    all.feed.push(&withdrawal("lost"), now()).await.expect_err("its keeper is dead");
    assert!(begin.elapsed() < COMMAND + LATE, "{:?}", begin.elapsed());
    let took = wait_until("another keeps it", Duration::from_secs(30), async || {
        all.feed.push(&withdrawal("after"), now()).await.is_ok()
    })
    .await;
    println!("cluster: works {took:?} after a master died (node timeout 5 s)");
    wait_until("the feed follows", Duration::from_secs(15), async || follower.knows("after")).await;
    assert!(Follower::of(&all.feed).await.knows("before"), "the snapshot is the new master's");
    outage.end();
    wait_until("the old one follows", Duration::from_secs(60), async || follows(urls[keeper])).await;
}

/// Asks until it is served: on a machine that is busy, members of a cluster lose sight of each other for a moment.
pub(crate) async fn soon<T>(mut ask: impl AsyncFnMut() -> Result<T, Failure>) -> T {
    let begin = Instant::now();
    loop {
        match ask().await {
            Ok(answer) => return answer,
            Err(failure) => assert!(begin.elapsed() < Duration::from_secs(10), "{failure:?}"),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn slots_that_move_are_followed_and_nothing_is_forgotten_or_missed() {
    let test = "slots move";
    let Some(builder) = Shape::Cluster.builder(test) else { return };
    let Some(urls) = variable("SEKISHO_REDIS_CLUSTER_URLS", test) else { return };
    let _turn = alone().await;
    let prefix = prefix();
    let all = Everything::over(&builder.with_prefix(&prefix).build().unwrap());
    let follower = Follower::of(&all.feed).await;
    all.feed.push(&withdrawal("before"), now()).await.unwrap();
    assert_eq!(all.guard.insert(&once(1), now()).await.unwrap(), Occurrence::First);
    let (digest, subject) = (ReferenceDigest::from_bytes([5; 32]), SubjectId::new(ISSUER, "u"));
    let content = ReferenceContent::Jwt(Secret::from("jwt"));
    let record = ReferenceRecord::new(subject, None, now().saturating_add(Duration::from_secs(600)), content);
    assert!(all.references.insert(digest, &record, now()).await.unwrap());

    let masters: Vec<(String, String)> = urls
        .split(' ')
        .filter_map(|url| {
            let mut direct = Direct::to(url);
            let role: Vec<redis::Value> = direct.must(&[b"ROLE"]);
            let id: String = direct.must(&[b"CLUSTER", b"MYID"]);
            (role[0] == redis::Value::BulkString(b"master".to_vec())).then(|| (url.to_owned(), id))
        })
        .collect();
    let keys: Vec<String> = masters.iter().flat_map(|(url, _)| Direct::to(url).keys(&prefix)).collect();
    assert!(keys.len() >= 5, "{keys:?}");
    let slot_of = |key: &str| -> u32 { Direct::to(&masters[0].0).must(&[b"CLUSTER", b"KEYSLOT", key.as_bytes()]) };
    let slots: std::collections::BTreeSet<u32> = keys.iter().map(|key| slot_of(key)).collect();
    for slot in slots {
        let slot = slot.to_string();
        let owner = |(url, _): &(String, String)| {
            let probe = keys.iter().find(|key| slot_of(key).to_string() == slot).unwrap();
            let found: Result<u32, _> = Direct::to(url).ask(&[b"EXISTS", probe.as_bytes()]);
            found.is_ok()
        };
        let from = masters.iter().position(owner).expect("one has it");
        let to = (from + 1) % masters.len();
        let (mut source, mut target) = (Direct::to(&masters[from].0), Direct::to(&masters[to].0));
        let () = target.must(&[b"CLUSTER", b"SETSLOT", slot.as_bytes(), b"IMPORTING", masters[from].1.as_bytes()]);
        let () = source.must(&[b"CLUSTER", b"SETSLOT", slot.as_bytes(), b"MIGRATING", masters[to].1.as_bytes()]);
        let (password, address) = password_and_address(&masters[to].0);
        let (host, port) = address.split_once(':').unwrap();
        // Those of other tests, too.
        let all_keys: Vec<String> = source.must(&[b"CLUSTER", b"GETKEYSINSLOT", slot.as_bytes(), b"1000"]);
        for key in all_keys {
            let words: [&[u8]; 9] = [
                b"MIGRATE",
                host.as_bytes(),
                port.as_bytes(),
                key.as_bytes(),
                b"0",
                b"5000",
                b"AUTH2",
                b"default",
                password.as_bytes(),
            ];
            let () = source.must(&words);
        }
        // Half moved: the old server has the slot, the new one the keys, and sends everybody who asks the old one there (ASK).
        let again = soon(async || all.guard.insert(&once(1), now()).await).await;
        assert_eq!(again, Occurrence::Repeated, "a use is known on its way");
        assert_eq!(
            soon(async || all.references.find(&digest, now()).await).await,
            Some(record.clone()),
            "so is a token"
        );
        let on_the_way = withdrawal(&format!("on the way {slot}"));
        soon(async || all.feed.push(&on_the_way, now()).await).await;
        for (url, _) in [&masters[to], &masters[from]] {
            let () =
                Direct::to(url).must(&[b"CLUSTER", b"SETSLOT", slot.as_bytes(), b"NODE", masters[to].1.as_bytes()]);
        }
        let again = soon(async || all.guard.insert(&once(1), now()).await).await;
        assert_eq!(again, Occurrence::Repeated, "a use is known where it went (MOVED)");
        assert_eq!(
            soon(async || all.references.find(&digest, now()).await).await,
            Some(record.clone()),
            "so is a token"
        );
        let moved = withdrawal(&format!("moved {slot}"));
        soon(async || all.feed.push(&moved, now()).await).await;
        for name in ["on the way", "moved"] {
            let name = format!("{name} {slot}");
            wait_until(&name, Duration::from_secs(10), async || follower.knows(&name)).await;
        }
    }
    let late = Follower::of(&all.feed).await;
    assert!(late.knows("before"), "a snapshot holds everything wherever it is");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_is_revoked_while_its_slot_moves_does_not_live_again() {
    let test = "revoking while slots move";
    let Some(builder) = Shape::Cluster.builder(test) else { return };
    let Some(urls) = variable("SEKISHO_REDIS_CLUSTER_URLS", test) else { return };
    let _turn = alone().await;
    let prefix = prefix();
    let store = RedisIssuerStore::new(builder.with_prefix(&prefix).build().unwrap());
    let (id, session) = ("AAAAAAAAAAAAAAAAAAAAAA", HandleHash::from_bytes([7; 32]));
    let grant = grant(id);
    let end = now().as_secs() + 600;
    let name = base64_simd::URL_SAFE_NO_PAD.encode_to_string([7; 32]);
    let login = format!(
        r#"{{"v":1,"kind":"session","record":{{"session":"{name}","sid":"s","subject":"u",
        "authentication":{{"time":1,"context":null,"methods":[]}},"idle_until":{end},"expires_at":{end}}}}}"#
    );
    let login = SsoSession::from_bytes(login.as_bytes()).unwrap();
    store.begin_grant(&grant, None, now()).await.unwrap();
    store.put_session(&login, None, now()).await.unwrap();

    let masters: Vec<(&str, String)> = urls
        .split(' ')
        .filter_map(|url| {
            let mut direct = Direct::to(url);
            let role: Vec<redis::Value> = direct.must(&[b"ROLE"]);
            let id: String = direct.must(&[b"CLUSTER", b"MYID"]);
            (role[0] == redis::Value::BulkString(b"master".to_vec())).then_some((url, id))
        })
        .collect();
    for part in ["grants", "logins"] {
        let tag = format!("{{{prefix}:{part}}}");
        let slot: u32 = Direct::to(masters[0].0).must(&[b"CLUSTER", b"KEYSLOT", tag.as_bytes()]);
        let slot = slot.to_string();
        let has_it = |(url, _): &(&str, String)| Direct::to(url).ask::<u32>(&[b"EXISTS", tag.as_bytes()]).is_ok();
        let from = masters.iter().position(has_it).expect("one has it");
        let to = (from + 1) % masters.len();
        let (mut source, mut target) = (Direct::to(masters[from].0), Direct::to(masters[to].0));
        let (password, address) = password_and_address(masters[to].0);
        let (host, port) = address.split_once(':').unwrap();
        let move_key = |source: &mut Direct, key: &str| {
            let (host, port, key) = (host.as_bytes(), port.as_bytes(), key.as_bytes());
            let () =
                source.must(&[b"MIGRATE", host, port, key, b"0", b"5000", b"AUTH2", b"default", password.as_bytes()]);
        };
        let () = target.must(&[b"CLUSTER", b"SETSLOT", slot.as_bytes(), b"IMPORTING", masters[from].1.as_bytes()]);
        let () = source.must(&[b"CLUSTER", b"SETSLOT", slot.as_bytes(), b"MIGRATING", masters[to].1.as_bytes()]);
        let keys: Vec<String> = source.must(&[b"CLUSTER", b"GETKEYSINSLOT", slot.as_bytes(), b"1000"]);
        // The indexes go first, and what they list is still where it was.
        let (indexes, rest): (Vec<_>, Vec<_>) = keys.into_iter().partition(|key| key.contains(":of-s"));
        assert!(!indexes.is_empty() && !rest.is_empty());
        for key in &indexes {
            move_key(&mut source, key);
        }
        let revoke = async || match part {
            "grants" => store.revoke_session_grants("s", now()).await,
            _ => store.end_subject_sessions("u").await,
        };
        let failure = revoke().await.expect_err("nobody knows whether all is revoked");
        assert_eq!(failure.kind(), FailureKind::Unavailable);
        for key in &rest {
            move_key(&mut source, key);
        }
        for (url, _) in [&masters[to], &masters[from]] {
            let () =
                Direct::to(url).must(&[b"CLUSTER", b"SETSLOT", slot.as_bytes(), b"NODE", masters[to].1.as_bytes()]);
        }
        soon(revoke).await;
    }
    assert_eq!(soon(async || store.grant(&grant.id, now()).await).await, None);
    let idle = Duration::from_secs(60);
    assert!(soon(async || store.use_session(&session, idle, now()).await).await.is_none());
}

/// Passes bytes on between a client and Redis until it is told to swallow them: what a broken cable looks like from here.
pub(crate) struct Cable {
    pub(crate) url: String,
    pub(crate) is_cut: watch::Sender<bool>,
}

impl Cable {
    pub(crate) async fn to(url: &str) -> Self {
        let (_, address) = password_and_address(url);
        let (address, listener) = (address.to_owned(), TcpListener::bind("127.0.0.1:0").await.unwrap());
        let url = url.replace(&address, &listener.local_addr().unwrap().to_string());
        let (is_cut, cut) = watch::channel(false);
        tokio::spawn(async move {
            while let Ok((mut here, _)) = listener.accept().await {
                let (address, mut cut) = (address.clone(), cut.clone());
                tokio::spawn(async move {
                    let _ = cut.wait_for(|is_cut| !is_cut).await.is_ok();
                    let Ok(mut there) = TcpStream::connect(address).await else { return };
                    tokio::select! {
                        _ = copy_bidirectional(&mut here, &mut there) => {}
                        () = async { let _ = cut.wait_for(|is_cut| *is_cut).await.is_ok(); } => {
                            // Both ends stay open, and nothing passes ever again.
                            std::future::pending::<()>().await;
                        }
                    }
                });
            }
        });
        Self { url, is_cut }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_connection_that_is_half_open_is_noticed_in_time() {
    let test = "half-open connections";
    let Some(url) = variable("SEKISHO_REDIS_URL", test) else { return };
    let _turn = shared().await;
    let cable = Cable::to(&url).await;
    let builder = Redis::standalone(cable.url.as_str()).with_prefix(prefix());
    let redis = builder.with_command_timeout(COMMAND).with_connect_timeout(COMMAND).build().unwrap();
    let all = Everything::over(&redis);
    assert!(all.is_up(1).await);
    let follower = Follower::of(&all.feed).await;
    let mut connection = all.feed.connect(None).await.unwrap();
    while connection.next(&sekisho_core::SystemClock).await.unwrap().as_of().is_none() {}

    cable.is_cut.send_replace(true);
    let begin = Instant::now();
    while connection.next(&sekisho_core::SystemClock).await.is_ok() {
        assert!(begin.elapsed() < Duration::from_secs(10), "the feed does not notice");
    }
    let noticed = begin.elapsed();
    assert!(noticed < Duration::from_millis(300) + COMMAND + LATE, "noticed after {noticed:?}");
    println!("half open: the feed notices after {noticed:?} (heartbeat 0.3 s, command timeout 0.5 s)");
    for number in 2..6 {
        all.assert_down(number).await;
    }
    // Nobody could tell the follower; another service withdraws meanwhile.
    let other = RedisRevocationFeed::new(Redis::standalone(url).with_prefix(&*prefix_of(&redis)).build().unwrap());
    other.push(&withdrawal("meanwhile"), now()).await.unwrap();
    assert!(!follower.knows("meanwhile"));
    cable.is_cut.send_replace(false);
    let took = wait_until("it works again", Duration::from_secs(10), async || all.is_up(9).await).await;
    println!("half open: works {took:?} after the cable is mended");
    wait_until("the snapshot tells", Duration::from_secs(10), async || follower.knows("meanwhile")).await;
}

/// Reads the prefix of a client, which it shows.
fn prefix_of(redis: &Redis) -> String {
    let shown = format!("{redis:?}");
    shown.split('"').nth(1).expect("a prefix").to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn calls_beyond_the_bound_fail_at_once_and_none_waits_in_a_queue() {
    let test = "too many calls";
    let Some(url) = variable("SEKISHO_REDIS_URL", test) else { return };
    let _turn = shared().await;
    let cable = Cable::to(&url).await;
    let builder = Redis::standalone(cable.url.as_str()).with_prefix(prefix()).with_max_commands(4);
    let redis = builder.with_command_timeout(Duration::from_secs(2)).build().unwrap();
    let guard = Arc::new(RedisReplayGuard::new(redis));
    guard.insert(&once(1), now()).await.unwrap();
    cable.is_cut.send_replace(true);
    let begin = Instant::now();
    let calls: Vec<_> = (0..50)
        .map(|number| {
            let guard = Arc::clone(&guard);
            tokio::spawn(async move { (guard.insert(&once(number), now()).await.unwrap_err(), begin.elapsed()) })
        })
        .collect();
    let mut at_once = 0;
    for call in calls {
        let (failure, after) = call.await.unwrap();
        at_once += usize::from(after < Duration::from_secs(1));
        assert_eq!(failure.kind(), FailureKind::Unavailable);
    }
    assert!(at_once >= 40, "{at_once} of 50 were told at once");
}
