//! Many requests on one session in many orders: each call of the store may be overtaken by any other.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use sekisho_core::{Failure, UnixSeconds};
use sekisho_http::HeadParts;
use sekisho_session::{
    ListedSession, Login, MemorySessionStore, NewSession, RememberedLogins, RequestSession, Saved, SessionHash,
    SessionKey, SessionKeys, SessionStore, SessionTag, SessionUpdate, Sessions, StoredSession,
};
use sekisho_testkit::FixedClock;

use crate::world::{Browser, START, somebody};

/// Lets others go first, for a number of turns that the seed decides, before and after each call.
#[derive(Debug)]
struct Shuffled {
    inner: MemorySessionStore,
    dice: AtomicU64,
}

impl Shuffled {
    async fn turn(&self) {
        // A linear congruential step; the high bits are good enough to shuffle by.
        let step =
            |seed: u64| Some(seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407));
        let seed = self.dice.fetch_update(Ordering::SeqCst, Ordering::SeqCst, step).unwrap();
        for _ in 0..(seed >> 33) % 5 {
            tokio::task::yield_now().await;
        }
    }

    async fn around<R>(&self, call: impl Future<Output = R>) -> R {
        self.turn().await;
        let answer = call.await;
        self.turn().await;
        answer
    }
}

#[async_trait]
impl SessionStore for Shuffled {
    async fn create(&self, id: SessionHash, new: &NewSession, now: UnixSeconds) -> Result<bool, Failure> {
        self.around(self.inner.create(id, new, now)).await
    }

    async fn load(&self, id: &SessionHash, now: UnixSeconds) -> Result<Option<StoredSession>, Failure> {
        self.around(self.inner.load(id, now)).await
    }

    async fn save(&self, id: &SessionHash, v: u64, to: &SessionUpdate, now: UnixSeconds) -> Result<Saved, Failure> {
        self.around(self.inner.save(id, v, to, now)).await
    }

    async fn touch(&self, id: &SessionHash, until: UnixSeconds, now: UnixSeconds) -> Result<bool, Failure> {
        self.around(self.inner.touch(id, until, now)).await
    }

    async fn delete(&self, id: &SessionHash, now: UnixSeconds) -> Result<bool, Failure> {
        self.around(self.inner.delete(id, now)).await
    }

    async fn list(&self, tag: &SessionTag, now: UnixSeconds) -> Result<Vec<ListedSession>, Failure> {
        self.around(self.inner.list(tag, now)).await
    }

    async fn delete_tagged(&self, tag: &SessionTag, now: UnixSeconds) -> Result<u64, Failure> {
        // Not one step, as in a store that is spread over machines: first who it is, then each by itself.
        self.turn().await;
        let mut ended = 0;
        for listed in self.inner.list(tag, now).await? {
            for _ in 0..4 {
                self.turn().await;
            }
            ended += u64::from(self.inner.delete(&listed.id, now).await?);
        }
        Ok(ended)
    }

    async fn sweep(&self, now: UnixSeconds) -> Result<u64, Failure> {
        self.inner.sweep(now).await
    }
}

/// Is what all tasks of one run share.
struct Run {
    sessions: Sessions,
    /// The browser's cookie, as the last answer set it.
    jar: Mutex<Browser>,
    cookies: Mutex<Vec<Browser>>,
    acknowledged: Mutex<Vec<u32>>,
}

impl Run {
    async fn start(seed: u64, grace: u64) -> Arc<Self> {
        let store = Shuffled { inner: MemorySessionStore::new(), dice: AtomicU64::new(seed) };
        let keys = SessionKeys::new(SessionKey::generate().unwrap());
        let builder = Sessions::builder(Arc::new(store), keys).with_clock(Arc::new(FixedClock::at(START)));
        let remembered = RememberedLogins::for_lifetime(Duration::from_secs(86_400)).unwrap();
        let builder = builder.with_remembered_logins(remembered);
        let sessions = builder.with_rotation_grace(Duration::from_secs(grace)).build().unwrap();
        let (jar, cookies, acknowledged) = Default::default();
        let run = Arc::new(Self { sessions, jar, cookies, acknowledged });
        run.request(|session| session.log_in(Login::new(&somebody("alice")))).await.unwrap();
        run
    }

    fn browser(&self) -> Browser {
        self.jar.lock().unwrap().clone()
    }

    /// Sends a request with the cookie of the moment, and keeps the one that is set.
    async fn request(
        &self,
        then: impl FnOnce(&mut sekisho_session::Session<crate::world::Cart>),
    ) -> Result<(), Failure> {
        let mut session = self.browser().session(&self.sessions).await;
        then(&mut session);
        let set = session.finish().await?;
        let mut jar = self.jar.lock().unwrap();
        jar.take(set);
        self.cookies.lock().unwrap().push(jar.clone());
        Ok(())
    }

    async fn add(&self, item: u32) {
        if self.request(move |session| session.update(move |cart| cart.items.push(item))).await.is_ok() {
            self.acknowledged.lock().unwrap().push(item);
        }
    }
}

async fn adds_and(run: &Arc<Run>, others: Vec<tokio::task::JoinHandle<()>>) {
    let adders: Vec<_> = (0..4)
        .map(|adder| {
            let run = Arc::clone(run);
            tokio::spawn(async move {
                for item in 0..4 {
                    run.add(adder * 10 + item).await;
                }
            })
        })
        .collect();
    for task in adders.into_iter().chain(others) {
        task.await.unwrap();
    }
}

#[tokio::test]
async fn no_acknowledged_write_is_lost_while_the_id_changes() {
    let (mut acknowledged, mut changed) = (0, 0);
    for seed in 0..150 {
        let run = Run::start(seed, 10).await;
        let first = run.browser();
        let rotator = Arc::clone(&run);
        let rotations = tokio::spawn(async move {
            for turn in 0..3 {
                let _ = rotator
                    .request(|session| if turn == 1 { session.elevate(&somebody("alice")) } else { session.rotate() })
                    .await;
            }
        });
        adds_and(&run, vec![rotations]).await;
        let kept = run.browser().items(&run.sessions).await;
        for item in run.acknowledged.lock().unwrap().iter() {
            assert_eq!(kept.iter().filter(|kept| *kept == item).count(), 1, "seed {seed}: {item} in {kept:?}");
        }
        assert_eq!(run.sessions.list(&somebody("alice").id()).await.unwrap().len(), 1, "seed {seed}: no orphan");
        acknowledged += run.acknowledged.lock().unwrap().len();
        changed += usize::from(run.browser() != first);
    }
    assert!(acknowledged > 150 * 8 && changed == 150, "{acknowledged} writes, {changed} new ids: it proves something");
}

#[tokio::test]
async fn nothing_lives_after_the_end_of_all_sessions_whatever_was_under_way() {
    for seed in 0..150 {
        let run = Run::start(seed, seed % 2 * 10).await;
        let (rotator, ender) = (Arc::clone(&run), Arc::clone(&run));
        let rotations = tokio::spawn(async move {
            for _ in 0..3 {
                let _ = rotator.request(|session| session.rotate()).await;
            }
        });
        let end = tokio::spawn(async move {
            for _ in 0..seed % 20 {
                tokio::task::yield_now().await;
            }
            assert!(ender.sessions.end_all(&somebody("alice").id()).await.is_ok());
        });
        adds_and(&run, vec![rotations, end]).await;
        assert!(run.sessions.list(&somebody("alice").id()).await.unwrap().is_empty(), "seed {seed}");
        let browsers = run.cookies.lock().unwrap().clone();
        for browser in browsers {
            assert_eq!(browser.who(&run.sessions).await, None, "seed {seed}: nobody is logged in by any cookie");
        }
    }
}

/// Sends a request with any cookies; returns those that were set.
async fn send(sessions: &Sessions, cookies: &str, then: impl AsyncFnOnce(&RequestSession)) -> Option<String> {
    let headers: [(&str, &[u8]); 1] = [("cookie", cookies.as_bytes())];
    let request = sessions.begin(&HeadParts { method: "GET", path: "/login", headers: &headers });
    then(&request).await;
    let set = request.finish().await.ok()?;
    let pairs: Vec<_> = set.iter().map(|set| set.expose().split(';').next().unwrap()).collect();
    Some(pairs.join("; "))
}

#[tokio::test]
async fn nothing_comes_of_a_remembered_login_after_the_end_of_all_sessions() {
    let mut used = 0;
    for seed in 0..150 {
        let run = Run::start(seed, 10).await;
        let log_in = async |request: &RequestSession| {
            request.log_in(Login::new(&somebody("alice")).with_remembering());
        };
        let cookies = send(&run.sessions, "", log_in).await.unwrap();
        let remembered = cookies.split("; ").nth(1).unwrap().to_owned();
        let tasks: Vec<_> = (0..3)
            .map(|_| {
                let (run, mut cookie) = (Arc::clone(&run), remembered.clone());
                tokio::spawn(async move {
                    let mut seen = Vec::new();
                    let mut is_first = false;
                    for attempt in 0..3 {
                        let log_in = async |request: &RequestSession| {
                            let _ = request.log_in_remembered().await.unwrap();
                        };
                        let Some(set) = send(&run.sessions, &cookie, log_in).await else { continue };
                        if let Some(next) = set.split("; ").nth(1) {
                            cookie = next.to_owned();
                            is_first |= attempt == 0;
                        }
                        seen.push(set);
                    }
                    (seen, is_first)
                })
            })
            .collect();
        for _ in 0..seed % 40 {
            tokio::task::yield_now().await;
        }
        run.sessions.end_all(&somebody("alice").id()).await.unwrap();
        let mut seen = vec![cookies];
        let mut first = 0;
        for task in tasks {
            let (by_it, is_first) = task.await.unwrap();
            seen.extend(by_it);
            first += usize::from(is_first);
        }
        assert!(first <= 1, "seed {seed}: one token logs in once");
        used += seen.len() - 1;
        assert!(run.sessions.list(&somebody("alice").id()).await.unwrap().is_empty(), "seed {seed}");
        for cookies in seen {
            let nobody = async |request: &RequestSession| {
                request.load(None).await.unwrap();
                assert!(request.principal().unwrap().is_none(), "seed {seed}");
                assert!(request.log_in_remembered().await.unwrap().is_none(), "seed {seed}");
            };
            send(&run.sessions, &cookies, nobody).await;
        }
    }
    assert!(used > 100, "{used} logins by a token: it proves something");
}

#[tokio::test]
async fn nothing_comes_of_a_remembered_login_after_all_sessions_or_all_but_one_were_ended() {
    let (alice, mut used) = (somebody("alice").id(), 0);
    for seed in 0..600 {
        let run = Run::start(seed, 10).await;
        let keep = run.browser().session(&run.sessions).await.id().unwrap();
        let log_in = async |request: &RequestSession| {
            request.log_in(Login::new(&somebody("alice")).with_remembering());
        };
        let mut cookies = send(&run.sessions, "", log_in).await.unwrap();
        let (holds_session, spares_one) = (seed % 2 == 0, seed % 4 < 2);
        let thief = Arc::clone(&run);
        let task = tokio::spawn(async move {
            let mut logins = 0;
            for _ in 0..3 {
                let cookie = if holds_session { &*cookies } else { cookies.split("; ").nth(1).unwrap() };
                let log_in = async |request: &RequestSession| {
                    let _ = request.log_in_remembered().await;
                };
                match send(&thief.sessions, cookie, log_in).await {
                    Some(set) if set.contains("; ") => (cookies, logins) = (set, logins + 1),
                    _ => {}
                }
            }
            logins
        });
        for _ in 0..seed % 60 {
            tokio::task::yield_now().await;
        }
        if spares_one {
            run.sessions.end_others(&alice, &keep).await.unwrap();
        } else {
            run.sessions.end_all(&alice).await.unwrap();
        }
        used += task.await.unwrap();
        let left: Vec<_> =
            run.sessions.list(&alice).await.unwrap().iter().map(|session| session.id().clone()).collect();
        assert_eq!(left, if spares_one { vec![keep] } else { vec![] }, "seed {seed}");
    }
    assert!(used > 100, "{used} logins by a token: it proves something");
}
