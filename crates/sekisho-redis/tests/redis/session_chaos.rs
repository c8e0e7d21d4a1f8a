//! Sessions in a cluster of six, under load, while slots move and a master dies. With replicas that acknowledge, nothing that was
//! acknowledged is lost, what was ended stays ended, and nobody gets another's content.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use sekisho_core::UnixSeconds;
use sekisho_redis::RedisSessionStore;
use sekisho_session::{NewSession, Saved, Sealed, SessionHash, SessionStore as _, SessionTag, SessionUpdate};

use crate::cluster::{Deaf, Move, masters, slots};
use crate::control::{Control, Direct, wait_until};
use crate::outages::{follows, soon};
use crate::setup::{Shape, alone, now, prefix, variable};

const BROWSERS: u32 = 16;
const MOST_EACH: usize = 40;

#[derive(Default)]
struct Figures {
    logins: AtomicU64,
    saves: AtomicU64,
    loads: AtomicU64,
    ends: AtomicU64,
    failures: AtomicU64,
    unknown: AtomicU64,
    longest: AtomicU64,
}

impl Figures {
    fn count(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

/// Is what a browser knows of one of its sessions.
struct Known {
    id: SessionHash,
    /// The latest version that was acknowledged, and that of a save of which nobody knows whether it was kept.
    version: u64,
    perhaps: Option<u64>,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Alive,
    Ended,
    /// Nobody knows whether it was created, or ended.
    Unknown,
}

/// Says whose content it is, and which.
fn content(id: SessionHash, version: u64) -> Sealed {
    Sealed::from_bytes([id.as_bytes().as_slice(), &version.to_be_bytes(), &[b'.'; 400]].concat())
}

struct Browser {
    number: u32,
    store: Arc<RedisSessionStore>,
    figures: Arc<Figures>,
    end: UnixSeconds,
    sessions: Vec<Known>,
    last_failure: String,
}

impl Browser {
    fn tag(&self) -> SessionTag {
        let mut tag = [0x5e; 32];
        tag[..4].copy_from_slice(&self.number.to_be_bytes());
        SessionTag::from_bytes(tag)
    }

    async fn log_in(&mut self) {
        let mut id = [self.number.to_le_bytes()[0]; 32];
        id[8..16].copy_from_slice(&(self.sessions.len() as u64).to_be_bytes());
        let id = SessionHash::from_bytes(id);
        let new = NewSession {
            idle_until: self.end,
            expires_at: self.end,
            tags: vec![self.tag()],
            card: Sealed::from_bytes(*b"card"),
            body: content(id, 1),
        };
        let state = match self.store.create(id, &new, now()).await {
            Ok(was_free) => {
                assert!(was_free, "nobody else has this name");
                Figures::count(&self.figures.logins);
                State::Alive
            }
            Err(_) => State::Unknown,
        };
        self.failed_if(state == State::Unknown);
        self.sessions.push(Known { id, version: 1, perhaps: None, state });
    }

    fn failed_if(&self, failed: bool) {
        if failed {
            Figures::count(&self.figures.failures);
        }
    }

    /// Loads a session, demands that it is what it must be, and saves it or ends it.
    async fn use_one(&mut self, turn: usize) {
        let index = turn % self.sessions.len();
        if !self.check(index).await {
            return;
        }
        let known = &self.sessions[index];
        let (id, version, state) = (known.id, known.version, known.state);
        if state != State::Alive || known.perhaps.is_some() {
            return;
        }
        if turn % 13 == 12 {
            let ended = self.store.delete(&id, now()).await;
            self.failed_if(ended.is_err());
            if let Ok(was_alive) = ended {
                assert!(was_alive, "nobody else ends it");
                Figures::count(&self.figures.ends);
            }
            self.sessions[index].state = if ended.is_ok() { State::Ended } else { State::Unknown };
            return;
        }
        let update = SessionUpdate { idle_until: self.end, expires_at: self.end, body: content(id, version + 1) };
        match self.store.save(&id, version, &update, now()).await {
            Ok(saved) => {
                assert_eq!(saved, Saved::Done, "nobody else saves it");
                Figures::count(&self.figures.saves);
                self.sessions[index].version += 1;
            }
            Err(_) => {
                self.failed_if(true);
                Figures::count(&self.figures.unknown);
                self.sessions[index].perhaps = Some(version + 1);
            }
        }
    }

    /// Loads a session; tells whether there was an answer.
    async fn check(&mut self, index: usize) -> bool {
        let begin = Instant::now();
        let answer = self.store.load(&self.sessions[index].id, now()).await;
        let millis = u64::try_from(begin.elapsed().as_millis()).unwrap();
        self.figures.longest.fetch_max(millis, Ordering::Relaxed);
        let found = match answer {
            Ok(found) => found,
            Err(failure) => {
                self.failed_if(true);
                self.last_failure = failure.to_string();
                return false;
            }
        };
        Figures::count(&self.figures.loads);
        let Known { id, version, perhaps, state } = &mut self.sessions[index];
        let Some(found) = found else {
            assert_ne!(*state, State::Alive, "an acknowledged session is lost (version {version})");
            return true;
        };
        assert_ne!(*state, State::Ended, "an ended session lives again");
        assert!(found.body == content(*id, found.version), "the content of another session, or of another version");
        // Of one that is unknown several saves may have come to nothing or not; what was acknowledged before them stays.
        let may_be = match *state {
            State::Unknown => found.version >= *version,
            _ => found.version == *version || Some(found.version) == *perhaps,
        };
        assert!(may_be, "{}: {version} was acknowledged, {perhaps:?} perhaps, {state:?}", found.version);
        // What a save that failed has left could be lost still: it is not acknowledged by being seen.
        if perhaps.is_some() && *state == State::Alive {
            let update =
                SessionUpdate { idle_until: self.end, expires_at: self.end, body: content(*id, found.version + 1) };
            match self.store.save(id, found.version, &update, now()).await {
                Ok(Saved::Done) => (*version, *perhaps) = (found.version + 1, None),
                // The save that failed has come late.
                Ok(Saved::Conflict) => return true,
                Ok(Saved::Gone) => panic!("it was there, and nobody ends it"),
                // One of three versions from here on, which would prove little.
                Err(_) => *state = State::Unknown,
            }
        }
        true
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_acknowledged_session_is_lost_while_slots_move_and_a_master_dies() {
    let test = "sessions in a cluster under load";
    let (Some(control), Some(builder)) = (Control::reach(test), Shape::Cluster.builder(test)) else { return };
    let Some(urls) = variable("SEKISHO_REDIS_CLUSTER_URLS", test) else { return };
    let _turn = alone().await;
    let prefix = prefix();
    let limit = Duration::from_secs(1);
    let redis = builder.with_prefix(&prefix).with_command_timeout(limit).with_connect_timeout(limit).build().unwrap();
    redis.check().await.unwrap();
    let store = RedisSessionStore::new(redis).with_replicas_acknowledging(1, Duration::from_millis(500)).unwrap();
    let (store, figures, is_over) = (Arc::new(store), Arc::new(Figures::default()), Arc::new(AtomicBool::new(false)));
    let end = now().saturating_add(Duration::from_secs(3600));
    let begin = Instant::now();
    let load: Vec<_> = (0..BROWSERS)
        .map(|number| {
            let (store, figures, is_over) = (Arc::clone(&store), Arc::clone(&figures), Arc::clone(&is_over));
            let mut browser =
                Browser { number, store, figures, end, sessions: Vec::new(), last_failure: String::new() };
            tokio::spawn(async move {
                let mut turn = 0;
                while !is_over.load(Ordering::Relaxed) {
                    let alive = browser.sessions.iter().filter(|known| known.state == State::Alive).count();
                    if alive < MOST_EACH && turn % 9 == 0 {
                        browser.log_in().await;
                    }
                    browser.use_one(turn).await;
                    turn += 1;
                    tokio::time::sleep(Duration::from_millis(3)).await;
                }
                browser
            })
        })
        .collect();
    let at_work = async |logins: u64| {
        let is_so = async || figures.logins.load(Ordering::Relaxed) >= logins;
        wait_until("logins", Duration::from_secs(20), is_so).await;
    };
    at_work(200).await;
    let mut moved = move_some(&urls, &prefix, 60).await;

    // The master that keeps most dies, and comes back when another has its place: earlier it would come back empty and be believed.
    let before = masters(&urls);
    let kept: Vec<usize> = before.iter().map(|master| Direct::to(&master.url).keys(&prefix).len()).collect();
    let victim = &before[(0..before.len()).max_by_key(|index| kept[*index]).unwrap()];
    let probe = id_of(&Direct::to(&victim.url).keys(&format!("{prefix}:session")).pop().expect("a session"));
    // Names that nobody has, at the same server.
    let mut direct = Direct::to(&victim.url);
    let free = (0..100_u8).map(|number| SessionHash::from_bytes([number ^ 0xf0; 32])).find(|id| {
        let key = format!("{prefix}:session:{{{}}}", base64_simd::URL_SAFE_NO_PAD.encode_to_string(id.as_bytes()));
        direct.ask::<u32>(&[b"EXISTS", key.as_bytes()]).is_ok()
    });
    let free = free.expect("every third name or so");
    let nobody = NewSession {
        idle_until: end,
        expires_at: end,
        tags: Vec::new(),
        card: Sealed::from_bytes(*b""),
        body: Sealed::from_bytes(*b""),
    };
    // For its last second it has no replica that hears of what it is told: whatever it acknowledges then is lost with it.
    let deaf = Deaf::replica_of(&urls, victim).expect("it has one");
    tokio::time::sleep(Duration::from_secs(1)).await;
    let outage = control.kill(&victim.name);
    let killed = Instant::now();
    let served =
        wait_until("another serves", Duration::from_secs(40), async || store.load(&probe, now()).await.is_ok()).await;
    drop(deaf);
    outage.end();
    wait_until("changes are acknowledged", Duration::from_secs(60), async || {
        store.create(free, &nobody, now()).await.is_ok()
    })
    .await;
    let acknowledged = killed.elapsed();
    wait_until("the old one follows", Duration::from_secs(60), async || follows(&victim.url)).await;
    let logins = figures.logins.load(Ordering::Relaxed);
    let saves = figures.saves.load(Ordering::Relaxed);
    moved += move_some(&urls, &prefix, 60).await;
    let goes_on = async || figures.saves.load(Ordering::Relaxed) > saves + 500;
    wait_until("saves go on", Duration::from_secs(20), goes_on).await;
    is_over.store(true, Ordering::Relaxed);
    let took = begin.elapsed();

    let mut browsers = Vec::new();
    for browser in load {
        browsers.push(browser.await.expect("no browser met what must not be"));
    }
    let (mut alive, mut ended, mut unknown) = (0, 0, 0);
    for browser in &mut browsers {
        let listed = soon(async || browser.store.list(&browser.tag(), now()).await).await;
        for index in 0..browser.sessions.len() {
            let begin = Instant::now();
            while !browser.check(index).await {
                let of = base64_simd::URL_SAFE_NO_PAD.encode_to_string(browser.sessions[index].id.as_bytes());
                assert!(begin.elapsed() < Duration::from_secs(40), "no answer of {of}: {}", browser.last_failure);
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            let known = &browser.sessions[index];
            let is_listed = listed.iter().any(|listed| listed.id == known.id);
            match known.state {
                State::Alive => alive += 1,
                State::Ended => ended += 1,
                State::Unknown => unknown += 1,
            }
            assert!(is_listed || known.state != State::Alive, "what lives is listed");
            assert!(!is_listed || known.state != State::Ended, "what was ended is not");
        }
        soon(async || browser.store.delete_tagged(&browser.tag(), now()).await).await;
        for known in &browser.sessions {
            assert_eq!(soon(async || browser.store.load(&known.id, now()).await).await, None, "all are ended");
        }
    }
    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    println!(
        "cluster of six, {BROWSERS} browsers for {took:?}: {moved} slots moved, {} killed; acknowledged: {} logins, {} saves, {} ends; \
         {} loads answered, the longest after {} ms; {} failures, {} of them saves of which nobody knew; at the end {alive} alive, \
         {ended} ended, {unknown} unknown; in the dead master's slots loads are served again after {served:?} (node timeout \
         5 s) and, since it is back as a replica, changes acknowledged after {acknowledged:?}",
        victim.name,
        count(&figures.logins),
        count(&figures.saves),
        count(&figures.ends),
        count(&figures.loads),
        count(&figures.longest),
        count(&figures.failures),
        count(&figures.unknown),
    );
    assert!(logins > 200 && alive > 100 && ended > 100, "it was a load");
    assert!(count(&figures.failures) > 0, "it was an outage");
}

/// Reads the name of a session out of its key.
fn id_of(key: &str) -> SessionHash {
    let name = key.split(['{', '}']).nth(1).expect("a hash tag");
    let bytes = base64_simd::URL_SAFE_NO_PAD.decode_to_vec(name).expect("base64url");
    SessionHash::from_bytes(bytes.try_into().expect("32 bytes"))
}

/// Moves slots that are in use from one master to the next. Returns how many.
async fn move_some(urls: &str, prefix: &str, most: usize) -> usize {
    let urls = urls.to_owned();
    let prefix = prefix.to_owned();
    let moving = move || {
        let masters = masters(&urls);
        let chosen: Vec<_> = slots(&masters, &prefix).into_iter().take(most).collect();
        for (slot, (from, keys)) in &chosen {
            let moving = Move::begin(*slot, &masters[*from], &masters[(from + 1) % masters.len()]);
            for key in keys {
                moving.key(key, &["REPLACE"]);
                // Half moved for a moment, under load.
                std::thread::sleep(Duration::from_millis(10));
            }
            moving.end();
        }
        // Masters whose epochs were counted up at the same moment can each take the other for the owner, and never serve the slot
        // again: tools that mend clusters tell all of them once more.
        std::thread::sleep(Duration::from_secs(2));
        for (slot, (from, keys)) in &chosen {
            let (to, slot, begin) = (&masters[(from + 1) % masters.len()], slot.to_string(), Instant::now());
            while Direct::to(&to.url).ask::<u32>(&[b"EXISTS", keys[0].as_bytes()]).is_err() {
                assert!(begin.elapsed() < Duration::from_secs(20), "slot {slot} finds no owner");
                for master in &masters {
                    let words: [&[u8]; 5] = [b"CLUSTER", b"SETSLOT", slot.as_bytes(), b"NODE", to.id.as_bytes()];
                    drop(Direct::to(&master.url).ask::<()>(&words));
                }
                std::thread::sleep(Duration::from_millis(200));
            }
        }
        chosen.len()
    };
    tokio::task::spawn_blocking(moving).await.expect("slots move")
}
