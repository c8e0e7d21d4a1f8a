//! Sessions: what stands in Redis, what nobody wrote, what is refused, and what outages leave.

use std::collections::BTreeSet;
use std::error::Error as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sekisho_core::{Failure, FailureKind, UnixSeconds};
use sekisho_redis::{Redis, RedisSessionStore};
use sekisho_session::{NewSession, Saved, Sealed, SessionHash, SessionStore, SessionTag, SessionUpdate};

use crate::cluster::{Move, masters, slots};
use crate::control::{Control, Direct, wait_until};
use crate::monitor::Monitor;
use crate::outages::{Cable, soon};
use crate::setup::{Shape, alone, now, prefix, shared, variable};

fn id(number: u8) -> SessionHash {
    SessionHash::from_bytes([number; 32])
}

fn tag(number: u8) -> SessionTag {
    SessionTag::from_bytes([number; 32])
}

fn later(seconds: u64) -> UnixSeconds {
    now().saturating_add(Duration::from_secs(seconds))
}

fn sealed(bytes: &[u8]) -> Sealed {
    Sealed::from_bytes(bytes.to_vec())
}

pub(crate) fn new(tags: &[SessionTag]) -> NewSession {
    NewSession {
        idle_until: later(600),
        expires_at: later(3600),
        tags: tags.to_vec(),
        card: sealed(b"card"),
        body: sealed(&[b'b'; 1000]),
    }
}

pub(crate) fn update(body: &[u8]) -> SessionUpdate {
    SessionUpdate { idle_until: later(600), expires_at: later(3600), body: sealed(body) }
}

fn key(prefix: &str, kind: &str, name: &[u8; 32]) -> String {
    format!("{prefix}:{kind}:{{{}}}", base64_simd::URL_SAFE_NO_PAD.encode_to_string(name))
}

/// Is a store alone, with a way past it.
struct Place {
    url: String,
    prefix: String,
    store: RedisSessionStore,
    direct: Direct,
}

impl Place {
    fn reach(test: &str) -> Option<Self> {
        let url = variable("SEKISHO_REDIS_URL", test)?;
        let prefix = prefix();
        let redis = Redis::standalone(url.as_str()).with_prefix(&prefix).with_command_timeout(Duration::from_secs(10));
        let store = RedisSessionStore::new(redis.build().unwrap());
        Some(Self { direct: Direct::to(&url), store, url, prefix })
    }

    fn record(&self, id: &SessionHash) -> String {
        key(&self.prefix, "session", id.as_bytes())
    }

    fn index(&self, tag: &SessionTag) -> String {
        key(&self.prefix, "session-tag", tag.as_bytes())
    }

    fn entries(&mut self, tag: &SessionTag) -> Vec<Vec<u8>> {
        let index = self.index(tag);
        self.direct.must(&[b"ZRANGE", index.as_bytes(), b"0", b"-1"])
    }

    fn ttl(&mut self, key: &str) -> u64 {
        self.direct.must(&[b"TTL", key.as_bytes()])
    }
}

fn assert_content<T: std::fmt::Debug>(answer: Result<T, Failure>, what: &str) {
    let failure = answer.expect_err("what nobody wrote is no answer");
    assert_eq!(failure.kind(), FailureKind::BadGateway, "{what}: {failure:?}");
    assert!(!format!("{failure:?} {:?}", failure.source()).contains("s3cret"), "{failure:?}");
}

/// Calls all that names one session, or tags.
async fn all(
    store: &RedisSessionStore,
    id: SessionHash,
    tag: &SessionTag,
) -> Vec<(&'static str, Result<String, Failure>)> {
    fn shown<T: std::fmt::Debug>(answer: Result<T, Failure>) -> Result<String, Failure> {
        answer.map(|answer| format!("{answer:?}"))
    }
    vec![
        ("load", shown(store.load(&id, now()).await)),
        ("touch", shown(store.touch(&id, later(700), now()).await)),
        ("list", shown(store.list(tag, now()).await)),
        ("save", shown(store.save(&id, 1, &update(b"x"), now()).await)),
        ("create", shown(store.create(id, &new(&[*tag]), now()).await)),
        ("delete_tagged", shown(store.delete_tagged(tag, now()).await)),
        ("delete", shown(store.delete(&id, now()).await)),
    ]
}

#[tokio::test]
async fn bounds_that_make_no_sense_are_refused() {
    let store = || RedisSessionStore::new(Redis::standalone("redis://127.0.0.1:1").build().unwrap());
    for (replicas, millis) in [(0, 500), (17, 500), (1, 0), (1, 1000), (1, 60_000)] {
        let refused = store().with_replicas_acknowledging(replicas, Duration::from_millis(millis));
        assert!(refused.is_err(), "{replicas} {millis}");
    }
    assert!(store().with_replicas_acknowledging(1, Duration::from_micros(999)).is_err(), "Redis would wait for ever");
    assert!(store().with_replicas_acknowledging(16, Duration::from_millis(999)).is_ok());
    for sessions in [0, 100_000_001] {
        assert!(store().with_max_per_tag(sessions).is_err(), "{sessions}");
    }
    assert!(store().with_max_per_tag(1).is_ok());
    // Before anybody is asked: nobody is there.
    for long in [
        NewSession { body: sealed(&vec![0; NewSession::MAX_BODY + 1]), ..new(&[]) },
        NewSession { card: sealed(&vec![0; NewSession::MAX_CARD + 1]), ..new(&[]) },
        new(&[tag(1); NewSession::MAX_TAGS + 1]),
    ] {
        let failure = store().create(id(1), &long, now()).await.expect_err("too long");
        assert_eq!(failure.kind(), FailureKind::Misconfigured);
    }
    let long = update(&vec![0; NewSession::MAX_BODY + 1]);
    let failure = store().save(&id(1), 1, &long, now()).await.expect_err("too long");
    assert_eq!(failure.kind(), FailureKind::Misconfigured);
    for (call, answer) in all(&store(), id(1), &tag(1)).await {
        assert_eq!(answer.expect_err("nobody is there").kind(), FailureKind::Unavailable, "{call}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_load_is_one_round_trip_without_a_script_and_a_touch_writes_eight_bytes() {
    let _turn = shared().await;
    let Some(mut place) = Place::reach("commands of a load and a touch") else { return };
    let (id, long) = (id(1), NewSession { body: sealed(&[b'b'; 100_000]), ..new(&[tag(1)]) });
    assert!(place.store.create(id, &long, now()).await.unwrap());
    assert!(place.store.load(&id, now()).await.unwrap().is_some());
    assert!(place.store.touch(&id, later(601), now()).await.unwrap());
    let name = place.record(&id);

    let monitor = Monitor::of(&place.url);
    assert!(place.store.load(&id, now()).await.unwrap().is_some());
    let seen = monitor.stop_at(&mut place.direct);
    let (asked, inside) = Monitor::about(&seen, &name);
    assert!(
        matches!(&asked[..], [one, two] if one.contains("\"EXPIREAT\"") && one.ends_with("\"XX\" \"LT\"") && two.contains("\"GETRANGE\"")),
        "{asked:?}"
    );
    assert_eq!(inside, Vec::<&str>::new());

    let monitor = Monitor::of(&place.url);
    assert!(place.store.touch(&id, later(900), now()).await.unwrap());
    let seen = monitor.stop_at(&mut place.direct);
    let (asked, inside) = Monitor::about(&seen, &name);
    assert_eq!(asked.len(), 1, "{asked:?}");
    let wrote: Vec<_> = inside.iter().filter(|line| !line.contains("\"GETRANGE\"")).collect();
    assert!(
        matches!(&wrote[..], [one, two] if one.contains("\"SETRANGE\"") && two.contains("\"EXPIRE\"")),
        "nothing else is written: {wrote:?}"
    );
    assert!(seen.len() < 2_000, "the body of 100,000 bytes does not travel: {}", seen.len());
    assert_eq!(place.store.load(&id, now()).await.unwrap().unwrap().body, long.body);
}

#[tokio::test]
async fn redis_clears_away_by_itself_what_is_over() {
    let _turn = shared().await;
    let Some(mut place) = Place::reach("what Redis clears away") else { return };
    let (id, by) = (id(1), tag(1));
    assert!(place.store.create(id, &new(&[by]), now()).await.unwrap());
    let (name, index) = (place.record(&id), place.index(&by));
    let about = |seconds: u64, expected: u64| (expected - 5..=expected + 1).contains(&seconds);
    // The idle end and a minute; the index until the end.
    assert!(about(place.ttl(&name), 660) && about(place.ttl(&index), 3660));
    assert!(place.store.load(&id, now()).await.unwrap().is_some());
    assert!(about(place.ttl(&name), 660), "to load changes no end");
    assert!(place.store.touch(&id, later(1200), now()).await.unwrap());
    assert!(about(place.ttl(&name), 1260));
    assert!(place.store.touch(&id, later(9000), now()).await.unwrap(), "beyond the end");
    assert!(about(place.ttl(&name), 3660));
    let shorter = SessionUpdate { expires_at: later(10), ..update(b"x") };
    assert_eq!(place.store.save(&id, 1, &shorter, now()).await.unwrap(), Saved::Done);
    assert!(about(place.ttl(&name), 70));
    let end = SessionUpdate { expires_at: later(1800), ..update(b"y") };
    assert_eq!(place.store.save(&id, 2, &end, now()).await.unwrap(), Saved::Done);
    assert!(place.store.delete(&id, now()).await.unwrap());
    // Its name until its end, and nothing else of it.
    let left: u64 = place.direct.must(&[b"STRLEN", name.as_bytes()]);
    assert_eq!((left, about(place.ttl(&name), 1860)), (9, true));
    assert!(place.store.load(&id, now()).await.unwrap().is_none());
    assert!(about(place.ttl(&name), 1860), "to look for it changes no end either");
    // Of what has no end, which none of us wrote, none is made.
    let _: u32 = place.direct.must(&[b"PERSIST", name.as_bytes()]);
    assert!(place.store.load(&id, now()).await.unwrap().is_none());
    let ttl: i64 = place.direct.must(&[b"TTL", name.as_bytes()]);
    assert_eq!(ttl, -1);
    assert_eq!(place.direct.keys(&place.prefix), [name], "the index has gone with its last session");
}

#[tokio::test]
async fn what_nobody_wrote_is_a_failure_and_is_not_read_to_its_end() {
    let _turn = shared().await;
    let Some(mut place) = Place::reach("hostile values of sessions") else { return };
    let (id, by) = (id(1), tag(1));
    assert!(place.store.create(id, &new(&[by]), now()).await.unwrap());
    let name = place.record(&id);
    let whole: Vec<u8> = place.direct.must(&[b"GET", name.as_bytes()]);
    let head = 52 + 32 + 4;
    let mut bad: Vec<Vec<u8>> = (1..52).map(|length| whole[..length].to_vec()).collect();
    bad.extend([b"s3cret".to_vec(), vec![b'x'; 8 << 20], vec![0; 9], [b"E", &whole[1..]].concat()]);
    bad.extend([(49, 9), (50, 0x10)].map(|(place, byte)| {
        let mut other = whole.clone();
        other[place] = byte;
        other
    }));
    for value in &bad {
        // Of nine bytes it could be what was ended.
        if value.first() == Some(&b'E') && value.len() == 9 {
            continue;
        }
        let () = place.direct.must(&[b"SET", name.as_bytes(), value]);
        for (call, answer) in all(&place.store, id, &by).await {
            assert_content(answer, &format!("{call} of {} bytes", value.len()));
        }
    }
    let () = place.direct.must(&[b"SET", name.as_bytes(), b""]);
    for (call, answer) in all(&place.store, id, &by).await {
        assert_content(answer, &format!("{call} of nothing that is there"));
    }
    // Too long, and right otherwise.
    let () = place.direct.must(&[b"SET", name.as_bytes(), &[&whole[..], &vec![0; 8 << 20]].concat()]);
    assert_content(place.store.load(&id, now()).await, "too long");
    // Cut after its head.
    for length in [52, head - 1] {
        let () = place.direct.must(&[b"SET", name.as_bytes(), &whole[..length]]);
        assert_content(place.store.load(&id, now()).await, "cut");
    }
    let _: u32 = place.direct.must(&[b"DEL", name.as_bytes()]);
    let _: u32 = place.direct.must(&[b"LPUSH", name.as_bytes(), b"s3cret"]);
    for (call, answer) in all(&place.store, id, &by).await {
        assert_content(answer, &format!("{call} of a list"));
    }
    let _: u32 = place.direct.must(&[b"DEL", name.as_bytes()]);

    let index = place.index(&by);
    for entry in [&b"s3cret"[..], &[0; 55], &[0xff; 57], &vec![b'x'; 1 << 20]] {
        let _: u32 = place.direct.must(&[b"ZADD", index.as_bytes(), b"0", entry]);
        assert_content(place.store.list(&by, now()).await, "no entry of ours");
        assert_content(place.store.delete_tagged(&by, now()).await, "no entry of ours");
        let _: u32 = place.direct.must(&[b"ZREM", index.as_bytes(), entry]);
    }
    let () = place.direct.must(&[b"SET", index.as_bytes(), b"s3cret"]);
    for answer in [
        place.store.list(&by, now()).await.map(drop),
        place.store.delete_tagged(&by, now()).await.map(drop),
        place.store.create(id, &new(&[by]), now()).await.map(drop),
    ] {
        assert_content(answer, "no index");
    }
    assert_eq!(place.store.load(&id, now()).await.unwrap(), None, "what cannot be in its index is not created");
}

#[tokio::test]
async fn a_tag_has_its_bound_and_those_that_have_gone_make_room() {
    let _turn = shared().await;
    let Some(place) = Place::reach("the bound of a tag") else { return };
    let (by, Place { store, mut direct, prefix, .. }) = (tag(1), place);
    let store = store.with_max_per_tag(3).unwrap();
    for number in 0..3 {
        assert!(store.create(id(number), &new(&[by]), now()).await.unwrap());
    }
    let failure = store.create(id(3), &new(&[by, tag(2)]), now()).await.expect_err("no room");
    assert_eq!((failure.kind(), failure.retry_after().is_some()), (FailureKind::Unavailable, true));
    assert_eq!(store.load(&id(3), now()).await.unwrap(), None, "and nobody is thrown out for it");
    assert_eq!(store.list(&by, now()).await.unwrap().len(), 3);
    assert!(store.create(id(4), &new(&[tag(2)]), now()).await.unwrap(), "others have room");
    assert!(store.delete(&id(0), now()).await.unwrap());
    assert!(store.create(id(5), &new(&[by]), now()).await.unwrap(), "there is room again");
    // So do those that were over a minute ago.
    let index = key(&prefix, "session-tag", tag(9).as_bytes());
    for number in 0..250_u64 {
        let entry = [&(now().as_secs() - 100).to_be_bytes()[..], &[7; 40], &number.to_be_bytes()].concat();
        let _: u32 = direct.must(&[b"ZADD", index.as_bytes(), b"0", &entry]);
    }
    for (number, left) in [(10, 151), (11, 52), (12, 3)] {
        assert!(store.create(id(number), &new(&[tag(9)]), now()).await.unwrap());
        let entries: u32 = direct.must(&[b"ZCARD", index.as_bytes()]);
        assert_eq!(entries, left, "they go a hundred at a time");
    }
}

#[tokio::test]
async fn an_index_forgets_what_came_to_nothing_and_never_what_may_be_under_way() {
    let _turn = shared().await;
    let Some(mut place) = Place::reach("what an index forgets") else { return };
    let by = tag(1);
    assert!(place.store.create(id(1), &new(&[by]), now()).await.unwrap());
    let [entry] = place.entries(&by).try_into().unwrap();
    let index = place.index(&by);
    // Of another attempt at the same name, and of names that are not there; old and young.
    let of = |id: u8, age: u64| {
        let begun = (now().as_secs() - age).to_be_bytes();
        [&entry[..8], &[id; 32], &begun, &[9; 8]].concat()
    };
    for other in [of(1, 5), of(1, 700), of(2, 5), of(2, 500), of(2, 700)] {
        let _: u32 = place.direct.must(&[b"ZADD", index.as_bytes(), b"0", &other]);
    }
    assert_eq!(place.store.list(&by, now()).await.unwrap().len(), 1);
    let young: BTreeSet<_> = [entry.clone(), of(1, 5), of(2, 5), of(2, 500)].into();
    // A second may have passed.
    assert_eq!(place.entries(&by).len(), young.len());
    // The other attempt at its name does not name this session.
    let _: u32 = place.direct.must(&[b"ZREM", index.as_bytes(), &entry]);
    assert_eq!(place.store.list(&by, now()).await.unwrap(), []);
    assert_eq!(place.store.delete_tagged(&by, now()).await.unwrap(), 0);
    assert!(place.store.load(&id(1), now()).await.unwrap().is_some());
    let _: u32 = place.direct.must(&[b"ZADD", index.as_bytes(), b"0", &entry]);
    assert_eq!(place.store.delete_tagged(&by, now()).await.unwrap(), 1);
}

#[tokio::test]
async fn an_index_that_fills_up_with_what_is_over_makes_room() {
    let _turn = shared().await;
    let Some(place) = Place::reach("what fills an index") else { return };
    let (by, Place { store, mut direct, prefix, .. }) = (tag(1), place);
    let store = store.with_max_per_tag(8).unwrap();
    // Long ago, and half of them have idled out or got another id since.
    let before = now().saturating_sub(Duration::from_secs(700));
    for number in 0..8 {
        assert!(store.create(id(number), &new(&[by]), before).await.unwrap());
        if number % 2 == 1 {
            let name = key(&prefix, "session", id(number).as_bytes());
            let _: u32 = direct.must(&[b"DEL", name.as_bytes()]);
        }
    }
    let mut created = 0;
    for number in 100..120 {
        match store.create(id(number), &new(&[by]), now()).await {
            Ok(is_new) => created += u32::from(is_new),
            Err(failure) => assert_eq!(failure.kind(), FailureKind::Unavailable),
        }
    }
    assert_eq!(created, 4, "there is room for those that are gone");
    let listed: BTreeSet<_> = store.list(&by, now()).await.unwrap().into_iter().map(|listed| listed.id).collect();
    assert!(listed.is_superset(&[0, 2, 4, 6].map(id).into()), "and nobody makes room who is there");
    assert_eq!(store.delete_tagged(&by, now()).await.unwrap(), 8);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_stands_in_an_index_already_is_written_anew() {
    let _turn = shared().await;
    let Some(mut place) = Place::reach("an index that is written anew") else { return };
    let by = tag(1);
    assert!(place.store.create(id(1), &new(&[by]), now()).await.unwrap());
    let longer = SessionUpdate { idle_until: later(90_000), expires_at: later(90_000), body: sealed(b"x") };
    let redis = Redis::standalone(place.url.as_str()).with_prefix(&place.prefix);
    let waiting = RedisSessionStore::new(redis.with_command_timeout(Duration::from_secs(10)).build().unwrap());
    let waiting = waiting.with_replicas_acknowledging(16, Duration::from_millis(10)).unwrap();
    waiting.save(&id(1), 1, &longer, now()).await.expect_err("nobody has what came to the index");
    let monitor = Monitor::of(&place.url);
    waiting.save(&id(1), 1, &longer, now()).await.expect_err("nor has anybody now");
    let seen = monitor.stop_at(&mut place.direct);
    let index = place.index(&by);
    let (_, inside) = Monitor::about(&seen, &index);
    // What changes nothing waits for nobody.
    assert!(inside.iter().any(|line| line.contains("\"EXPIRE\"")), "{inside:?}");
    assert!((90_000..90_100).contains(&place.ttl(&index)), "and its end stays");
}

#[tokio::test]
async fn an_end_that_nobody_acknowledged_is_asked_for_again_whoever_made_a_list_meanwhile() {
    let _turn = shared().await;
    let Some(place) = Place::reach("an end and a list") else { return };
    let (by, Place { url, prefix, store, .. }) = (tag(1), place);
    let redis = Redis::standalone(url.as_str()).with_prefix(&prefix).with_command_timeout(Duration::from_secs(10));
    let waiting = RedisSessionStore::new(redis.build().unwrap());
    let waiting = waiting.with_replicas_acknowledging(16, Duration::from_millis(50)).unwrap();
    let before = now().saturating_sub(Duration::from_secs(700));
    assert!(store.create(id(1), &new(&[by]), before).await.unwrap());
    waiting.delete_tagged(&by, now()).await.expect_err("nobody has it");
    assert_eq!(store.list(&by, now()).await.unwrap(), []);
    waiting.delete_tagged(&by, now()).await.expect_err("nobody has it yet");
    assert_eq!(store.delete_tagged(&by, now()).await.unwrap(), 0);
}

#[tokio::test]
async fn a_refused_creation_takes_nobody_out_of_an_index() {
    let _turn = shared().await;
    let Some(mut place) = Place::reach("refused creations") else { return };
    let by = tag(1);
    assert!(place.store.create(id(1), &new(&[by]), now()).await.unwrap());
    for _ in 0..3 {
        assert!(!place.store.create(id(1), &new(&[by, tag(2)]), now()).await.unwrap());
    }
    assert_eq!((place.entries(&by).len(), place.entries(&tag(2)).len()), (1, 0));
    assert_eq!(place.store.delete_tagged(&tag(2), now()).await.unwrap(), 0);
    assert_eq!(place.store.delete_tagged(&by, now()).await.unwrap(), 1);
}

#[tokio::test]
async fn a_session_whose_end_is_moved_stays_in_its_indexes() {
    let _turn = shared().await;
    let Some(mut place) = Place::reach("ends that move") else { return };
    let tags = [tag(1), tag(2)];
    assert!(place.store.create(id(1), &new(&tags), now()).await.unwrap());
    let longer = SessionUpdate { idle_until: later(90_000), expires_at: later(90_000), body: sealed(b"x") };
    assert_eq!(place.store.save(&id(1), 7, &longer, now()).await.unwrap(), Saved::Conflict);
    assert_eq!(place.entries(&tags[0]).len(), 1, "a conflict moves nothing");
    assert_eq!(place.store.save(&id(1), 1, &longer, now()).await.unwrap(), Saved::Done);
    for by in &tags {
        let index = place.index(by);
        assert_eq!(place.store.list(by, now()).await.unwrap().len(), 1, "once");
        assert!(place.ttl(&index) > 90_000, "for as long as it lives");
        // What was its end before goes, as it does by itself then.
        let first = place.entries(by).remove(0);
        let _: u32 = place.direct.must(&[b"ZREM", index.as_bytes(), &first]);
        assert_eq!(place.store.list(by, later(80_000)).await.unwrap().len(), 1);
    }
    let end = later(90_000);
    assert_eq!(
        place.store.save(&id(1), 2, &SessionUpdate { expires_at: end, ..longer }, now()).await.unwrap(),
        Saved::Done
    );
    assert_eq!(place.store.delete_tagged(&tags[0], later(80_000)).await.unwrap(), 1);
    assert_eq!(place.entries(&tags[1]).len(), 0, "and leaves all of them");
}

#[tokio::test]
async fn more_sessions_than_a_page_are_listed_and_ended_whole() {
    let _turn = shared().await;
    let Some(place) = Place::reach("pages of an index") else { return };
    let by = tag(1);
    let name = |number: u16| {
        let mut bytes = [1; 32];
        bytes[7..9].copy_from_slice(&number.to_be_bytes());
        SessionHash::from_bytes(bytes)
    };
    let template = new(&[by]);
    let create = async |number: u16| place.store.create(name(number), &template, now()).await.unwrap();
    for begin in (0..1_600).step_by(100) {
        futures_util::future::join_all((begin..begin + 100).map(create)).await;
    }
    let listed = place.store.list(&by, now()).await.unwrap();
    let listed: BTreeSet<_> = listed.into_iter().map(|listed| listed.id).collect();
    assert!(listed == (0..1_600).map(name).collect());
    assert_eq!(place.store.delete_tagged(&by, now()).await.unwrap(), 1_600);
    assert_eq!(place.store.delete_tagged(&by, now()).await.unwrap(), 0);
    assert_eq!(place.store.list(&by, now()).await.unwrap(), []);
}

#[tokio::test]
async fn without_replicas_nothing_is_acknowledged_and_what_is_asked_is_answered() {
    let _turn = shared().await;
    let Some(place) = Place::reach("nobody acknowledges") else { return };
    let (by, Place { url, prefix, store, .. }) = (tag(1), place);
    let redis = Redis::standalone(url.as_str()).with_prefix(&prefix).with_command_timeout(Duration::from_secs(10));
    let waiting = RedisSessionStore::new(redis.build().unwrap());
    let waiting = waiting.with_replicas_acknowledging(1, Duration::from_millis(50)).unwrap();
    assert!(store.create(id(1), &new(&[by]), now()).await.unwrap());
    let refused = |answer: Result<String, Failure>| {
        let failure = answer.expect_err("nobody has it");
        assert_eq!(failure.kind(), FailureKind::Unavailable);
        assert_eq!(failure.to_string(), "too few replicas of redis have what was changed");
    };
    for (call, answer) in all(&waiting, id(2), &by).await {
        match call {
            // The second session is not there; a creation that comes to its index is not acknowledged there already.
            "load" | "touch" | "list" | "save" | "delete" => assert!(answer.is_ok(), "{call}: {answer:?}"),
            _ => refused(answer),
        }
    }
    assert_eq!(store.load(&id(2), now()).await.unwrap(), None);
    assert_eq!(store.load(&id(1), now()).await.unwrap(), None, "it was ended, which nobody was told");
    // Who repeats it is not told that it was ended before, for no replica knows it.
    refused(waiting.delete(&id(1), now()).await.map(|_| String::new()));
    assert!(store.create(id(3), &new(&[]), now()).await.unwrap());
    refused(waiting.save(&id(3), 1, &update(b"y"), now()).await.map(|_| String::new()));
    assert_eq!(waiting.save(&id(3), 1, &update(b"z"), now()).await.unwrap(), Saved::Conflict);
    assert!(waiting.touch(&id(3), later(700), now()).await.unwrap(), "a touch is not waited for");
    refused(waiting.create(id(4), &new(&[]), now()).await.map(|_| String::new()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waits_for_replicas_keeps_no_load_waiting() {
    let _turn = shared().await;
    let Some(Place { store, url, prefix, .. }) = Place::reach("loads beside those that wait") else { return };
    let redis = Redis::standalone(url.as_str()).with_prefix(&prefix).with_command_timeout(Duration::from_secs(10));
    let waiting = RedisSessionStore::new(redis.build().unwrap());
    let waiting = waiting.with_replicas_acknowledging(1, Duration::from_secs(3)).unwrap();
    assert!(store.create(id(1), &new(&[]), now()).await.unwrap());
    assert!(waiting.load(&id(1), now()).await.unwrap().is_some());
    let (waiting, begin) = (Arc::new(waiting), Instant::now());
    let saving = {
        let waiting = Arc::clone(&waiting);
        tokio::spawn(async move { waiting.save(&id(1), 1, &update(b"x"), now()).await })
    };
    wait_until("it is saved", Duration::from_secs(3), async || {
        waiting.load(&id(1), now()).await.unwrap().unwrap().version == 2
    })
    .await;
    assert!(begin.elapsed() < Duration::from_millis(2_500), "{:?}", begin.elapsed());
    saving.await.unwrap().expect_err("nobody acknowledges it");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_redis_refuses_what_is_new_and_ends_what_is_ended() {
    let _turn = alone().await;
    let Some(mut place) = Place::reach("sessions in a full Redis") else { return };
    let by = tag(1);
    for number in 0..3 {
        assert!(place.store.create(id(number), &new(&[by]), now()).await.unwrap());
    }
    let () = place.direct.must(&[b"CONFIG", b"SET", b"maxmemory", b"1"]);
    let refused = [
        place.store.create(id(9), &new(&[by]), now()).await.map(drop),
        place.store.create(id(9), &new(&[]), now()).await.map(drop),
        place.store.save(&id(0), 1, &update(b"x"), now()).await.map(drop),
    ];
    let loaded = place.store.load(&id(0), now()).await;
    let touched = place.store.touch(&id(0), later(1200), now()).await;
    let listed = place.store.list(&by, now()).await;
    let ended = place.store.delete(&id(0), now()).await;
    let rest = place.store.delete_tagged(&by, now()).await;
    let () = place.direct.must(&[b"CONFIG", b"SET", b"maxmemory", b"0"]);
    for answer in refused {
        assert_eq!(answer.expect_err("there is no room").to_string(), "the memory of redis is full");
    }
    assert!(loaded.unwrap().is_some() && touched.unwrap());
    assert_eq!((listed.unwrap().len(), ended.unwrap(), rest.unwrap()), (3, true, 2));
    for number in 0..3 {
        assert_eq!(place.store.load(&id(number), now()).await.unwrap(), None);
        assert!(!place.store.create(id(number), &new(&[]), now()).await.unwrap(), "its name is remembered");
    }
    assert!(place.store.create(id(9), &new(&[by]), now()).await.unwrap(), "it was not created");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_master_that_lost_its_replicas_says_nothing_of_sessions() {
    let _turn = alone().await;
    let Some(mut place) = Place::reach("sessions at a master without replicas") else { return };
    let by = tag(1);
    assert!(place.store.create(id(1), &new(&[by]), now()).await.unwrap());
    let () = place.direct.must(&[b"CONFIG", b"SET", b"min-replicas-to-write", b"1"]);
    let mut answers = all(&place.store, id(1), &by).await;
    answers.extend(all(&place.store, id(2), &tag(2)).await);
    let () = place.direct.must(&[b"CONFIG", b"SET", b"min-replicas-to-write", b"0"]);
    for (call, answer) in answers {
        assert_eq!(answer.expect_err("it cannot know").kind(), FailureKind::Unavailable, "{call}");
    }
    assert_eq!(place.store.load(&id(1), now()).await.unwrap().map(|found| found.version), Some(1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_hangs_or_is_dead_fails_every_call_in_time() {
    let test = "sessions and a server that hangs";
    let (Some(url), Some(control)) = (variable("SEKISHO_REDIS_URL", test), Control::reach(test)) else { return };
    let _turn = alone().await;
    let cable = Cable::to(&url).await;
    let limit = Duration::from_millis(500);
    let redis = Redis::standalone(cable.url.as_str()).with_prefix(prefix());
    let store = RedisSessionStore::new(redis.with_command_timeout(limit).with_connect_timeout(limit).build().unwrap());
    let by = tag(1);
    assert!(store.create(id(1), &new(&[by]), now()).await.unwrap());
    let fails = async |what: &str| {
        let begin = Instant::now();
        for (call, answer) in all(&store, id(1), &by).await {
            let failure = answer.expect_err("nobody knows");
            assert_eq!(failure.kind(), FailureKind::Unavailable, "{what}, {call}: {failure:?}");
        }
        // Seven calls, and a machine that is busy.
        assert!(begin.elapsed() < 7 * limit + Duration::from_secs(2), "{what}: {:?}", begin.elapsed());
    };
    cable.is_cut.send_replace(true);
    fails("half open").await;
    cable.is_cut.send_replace(false);
    assert!(soon(async || store.load(&id(1), now()).await).await.is_some(), "nothing of it came to Redis");
    let outage = control.kill("redis");
    fails("dead").await;
    outage.end();
    assert_eq!(soon(async || store.load(&id(1), now()).await).await, None, "it came back empty");
    assert!(soon(async || store.create(id(1), &new(&[by]), now()).await).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_ended_while_its_slot_moves_stays_ended() {
    let test = "ending sessions while slots move";
    let Some(builder) = Shape::Cluster.builder(test) else { return };
    let Some(urls) = variable("SEKISHO_REDIS_CLUSTER_URLS", test) else { return };
    let _turn = alone().await;
    let prefix = prefix();
    let store = RedisSessionStore::new(builder.with_prefix(&prefix).build().unwrap());
    let masters = masters(&urls);
    // Moved and then ended; ended and then moved; ended at its old place with a stale copy at the new one.
    for (number, way) in [(1, "moved"), (2, "ended"), (3, "copied"), (4, "index")] {
        let (id, by) = (id(number), tag(number));
        assert!(store.create(id, &new(&[by]), now()).await.unwrap());
        let name = key(&prefix, if way == "index" { "session-tag" } else { "session" }, &[number; 32]);
        let (slot, (from, _)) =
            slots(&masters, &prefix).into_iter().find(|(_, (_, keys))| keys.contains(&name)).expect("it is somewhere");
        let moving = Move::begin(slot, &masters[from], &masters[(from + 1) % masters.len()]);
        match way {
            "moved" | "index" => moving.key(&name, &[]),
            "copied" => moving.key(&name, &["COPY"]),
            _ => {}
        }
        assert!(soon(async || store.load(&id, now()).await).await.is_some(), "{way}: it is found on its way");
        assert_eq!(soon(async || store.list(&by, now()).await).await.len(), 1, "{way}");
        assert!(soon(async || store.touch(&id, later(700), now()).await).await, "{way}");
        assert_eq!(soon(async || store.save(&id, 1, &update(b"x"), now()).await).await, Saved::Done, "{way}");
        if way == "index" {
            assert_eq!(soon(async || store.delete_tagged(&by, now()).await).await, 1);
        } else {
            assert!(soon(async || store.delete(&id, now()).await).await, "{way}");
        }
        let is_over = async || {
            assert_eq!(soon(async || store.load(&id, now()).await).await, None, "{way}");
            assert_eq!(soon(async || store.save(&id, 2, &update(b"y"), now()).await).await, Saved::Gone, "{way}");
            assert!(!soon(async || store.touch(&id, later(800), now()).await).await, "{way}");
            assert!(!soon(async || store.create(id, &new(&[by]), now()).await).await, "{way}");
        };
        is_over().await;
        moving.end();
        is_over().await;
    }
}
