use std::collections::{BTreeSet, HashMap, HashSet};
use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use redis::Value;
use sekisho_core::{ConfigError, Failure, FailureKind, UnixSeconds};
use sekisho_session::{
    ListedSession, NewSession, Saved, SessionHash, SessionStore, SessionTag, SessionUpdate, StoredSession,
};
use tokio::time::Instant;

use crate::Redis;
use crate::error::{Fault, FaultKind};
use crate::link::{Answered, Wait};
use crate::names::base64url;
use crate::reply;
use crate::script::{Call, Script};

mod lua;
mod record;

use record::{Ended, Entry, Insertion, Shown, content};

/// Keeps sessions in Redis, for all services that share them.
///
/// - **A session is one key** under the hash that names it; what changes it is one script on that key. [`load`](SessionStore::load) is one
///   round trip, two where nothing is found; a touch writes eight bytes, and Redis clears away what is over by itself, a minute later for
///   clocks that differ.
/// - **Ended for good.** What was ended leaves its name and its end there until then, in 9 bytes, so that no late call finds the name
///   free. As a value and not as nothing: where a slot is moved, nothing would make a stale copy at its new place the truth.
/// - **Tags.** Each tag has an index of its own, under its own slot. A session stands in the indexes before it is there, so
///   [`delete_tagged`](SessionStore::delete_tagged), which goes through an index page by page, meets each one whose creation was
///   acknowledged. What an index names and is not there (any more) ends with the session's end at the latest; who lists or ends by the
///   tag clears it away when it is ten minutes old, and of an index that is half full each session that comes clears away some.
/// - **Bounds.** An index holds a million sessions ([`with_max_per_tag`](Self::with_max_per_tag)), about 150 bytes for each; beyond that
///   a creation is a [`Failure`]. A [`list`](SessionStore::list) of more than 10,000 live sessions is one too. All sessions of a client
///   have a tag in common. The bound of it all is `maxmemory`: a full Redis refuses to create and to save; touching and ending go on.
/// - **Replicas** are never read. With [`with_replicas_acknowledging`](Self::with_replicas_acknowledging) nothing is acknowledged before
///   they have it. Without it a failover loses the last moment: a login, or a save, or **the end of a session, which then lives on**;
///   in a cluster also its place in an index alone, and then no list shows it and nobody ends it by that tag. A
///   load can show a save that is not acknowledged yet; if a failover loses it, who saves on what it read can overwrite the one that has
///   taken its version since. Redis moves slots without waiting for replicas.
/// - Redis must not evict, which each connection checks: an index that was thrown away hides sessions from those who want to end them. A
///   session that was thrown away would just be over; of what was ended no more comes back than a creation that is late.
///
/// # Examples
/// ```
/// use std::sync::Arc;
/// use std::time::Duration;
/// use sekisho_redis::{Redis, RedisSessionStore};
/// use sekisho_session::{SessionKey, SessionKeys, Sessions};
/// let redis = Redis::cluster(["redis://:p4ssword@one.example", "redis://:p4ssword@two.example"]).build()?;
/// let store = RedisSessionStore::new(redis).with_replicas_acknowledging(1, Duration::from_millis(500))?;
/// let key = SessionKey::generate()?; // from a secret that all services share
/// let sessions = Sessions::builder(Arc::new(store), SessionKeys::new(key)).build()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct RedisSessionStore {
    redis: Redis,
    scripts: Scripts,
    wait: Option<Wait>,
    most_per_tag: u32,
}

struct Scripts {
    create: Script,
    load: Script,
    save: Script,
    touch: Script,
    end: Script,
    show: Script,
    enter: Script,
    page: Script,
    leave: Script,
}

impl RedisSessionStore {
    /// Makes a store that waits for no replica.
    #[must_use]
    pub fn new(redis: Redis) -> Self {
        let scripts = Scripts {
            create: Script::new(lua::CREATE),
            load: Script::new(lua::LOAD),
            save: Script::new(lua::SAVE),
            touch: Script::new(lua::TOUCH),
            end: Script::new(lua::END),
            show: Script::new(lua::SHOW),
            enter: Script::new(lua::ENTER),
            page: Script::new(lua::PAGE),
            leave: Script::new(lua::LEAVE),
        };
        Self { redis, scripts, wait: None, most_per_tag: 1_000_000 }
    }

    /// Acknowledges a creation, a save or an end only when so many replicas have it (`WAIT`). Default: none.
    ///
    /// - `replicas`: of each master. Take as many as it has: with fewer, one that has not may be the next master.
    /// - `within`: beyond that the call is a [`Failure`], and what was asked may have happened. As long as the replica of one master
    ///   is away, so is each of these calls that goes there; loads go on.
    ///
    /// Touches are not waited for: one that is lost ends a session early. Those that wait use eight connections to each server of their own.
    ///
    /// # Errors
    /// [`ConfigError`] for no replica or more than 16, and for less than a millisecond or no less than the
    /// [command timeout](crate::RedisBuilder::with_command_timeout).
    pub fn with_replicas_acknowledging(mut self, replicas: u8, within: Duration) -> Result<Self, ConfigError> {
        if !(1..=16).contains(&replicas) {
            return Err(ConfigError::new("a change can be acknowledged by 1 to 16 replicas"));
        }
        if within < Duration::from_millis(1) || within >= self.redis.config().limits.command {
            return Err(ConfigError::new("replicas have a millisecond at least, and less than the command timeout"));
        }
        self.wait = Some(Wait { replicas, within });
        Ok(self)
    }

    /// Sets how many sessions one tag may have. Default 1,000,000, as all sessions of a client share one.
    ///
    /// # Errors
    /// [`ConfigError`] for zero and for more than a hundred million.
    pub fn with_max_per_tag(mut self, sessions: u32) -> Result<Self, ConfigError> {
        if !(1..=100_000_000).contains(&sessions) {
            return Err(ConfigError::new("a tag may have 1 to 100,000,000 sessions"));
        }
        self.most_per_tag = sessions;
        Ok(self)
    }

    fn record_key(&self, id: &SessionHash) -> String {
        self.redis.key("session", &base64url(id.as_bytes()))
    }

    fn index_key(&self, tag: &SessionTag) -> String {
        self.redis.key("session-tag", &base64url(tag.as_bytes()))
    }

    /// Runs what changes a session or an index.
    async fn change(&self, call: Call<'_>) -> Result<Answered, Fault> {
        self.redis.run_and_wait(call, self.wait).await
    }

    /// Puts an entry into the indexes of all tags.
    async fn enter(&self, tags: &BTreeSet<SessionTag>, entry: Entry, now: UnixSeconds) -> Result<(), Failure> {
        let kept = entry.until.since(now).min(FOREVER).saturating_add(SKEW).as_secs() + 1;
        let enter = |tag: SessionTag| async move {
            let call = self.scripts.enter.on(self.index_key(&tag)).number(now.as_secs()).arg(entry.to_bytes());
            let Answered { value, is_acknowledged } =
                self.change(call.number(kept).number(self.most_per_tag.into())).await?;
            let [had_room, some] = <[Value; 2]>::try_from(reply::array(value)?).map_err(|_| content())?;
            self.tidy(&tag, read_entries(some)?, now).await;
            match reply::integer(&had_room)? {
                1 => Ok(acknowledged(is_acknowledged)?),
                0 => Err(Failure::unavailable("one tag has too many sessions").with_retry_after(FULL)),
                _ => Err(content().into()),
            }
        };
        stream::iter(tags.iter().copied().map(enter)).buffer_unordered(NewSession::MAX_TAGS).try_collect().await
    }

    /// Takes those of some entries out of an index that have been over for long. Nobody goes through the index of a client, and sessions
    /// that have idled out or got other ids would fill it; so those who come clear away more than they bring.
    async fn tidy(&self, tag: &SessionTag, some: Vec<Entry>, now: UnixSeconds) {
        let show = |entry| self.show(entry, now);
        let old = some.into_iter().filter(|entry| entry.insertion.is_over(now));
        let shown = stream::iter(old.map(show)).buffer_unordered(AT_ONCE);
        let is_gone = |shown| async move { if let Ok((entry, Place::Nothing)) = shown { Some(entry) } else { None } };
        let gone: Vec<Entry> = shown.filter_map(is_gone).collect().await;
        self.leave(tag, &gone).await;
    }

    /// Takes entries out of an index. They end by themselves otherwise, so nobody hears of a failure.
    async fn leave(&self, tag: &SessionTag, entries: &[Entry]) {
        for entries in entries.chunks(PAGE) {
            let call = self.scripts.leave.on(self.index_key(tag));
            let call = entries.iter().fold(call, |call, entry| call.arg(entry.to_bytes()));
            if let Err(fault) = self.redis.run(call).await {
                tracing::debug!(cause = %fault, "an index of sessions keeps what is over for a while");
                return;
            }
        }
    }

    /// Ends a session, if it is still that of the insertion that is meant.
    async fn end(
        &self,
        id: &SessionHash,
        meant: Option<Insertion>,
        now: UnixSeconds,
    ) -> Result<Option<Ended>, Failure> {
        let meant = meant.as_ref().map(|insertion| insertion.as_bytes().as_slice()).unwrap_or_default();
        let call = self.scripts.end.on(self.record_key(id)).number(now.as_secs()).arg(meant);
        let answered = self.change(call).await?;
        match &answered.value {
            Value::Nil => Ok(None),
            // Ended before, and whoever did that may not know whether replicas have it.
            Value::Int(0) => acknowledged(answered.is_acknowledged).map(|()| None).map_err(Failure::from),
            _ => {
                acknowledged(answered.is_acknowledged)?;
                Ok(Some(Ended::read(answered.value)?))
            }
        }
    }

    async fn show(&self, entry: Entry, now: UnixSeconds) -> Result<(Entry, Place), Fault> {
        let call = self.scripts.show.on(self.record_key(&entry.id)).number(now.as_secs());
        match self.redis.run(call.arg(entry.insertion.as_bytes().as_slice())).await? {
            Value::Nil => Ok((entry, Place::Nothing)),
            Value::Int(0) => Ok((entry, Place::Ended)),
            answer => Ok((entry, Place::Session(Shown::read(answer)?))),
        }
    }

    fn pages(&self, tag: &SessionTag) -> Pages<'_> {
        Pages { store: self, index: self.index_key(tag), from: b"-".to_vec(), last: Vec::new(), is_over: false }
    }
}

/// Is what stands under the name that an entry of an index has.
enum Place {
    Nothing,
    /// It was one.
    Ended,
    Session(Shown),
}

/// Goes through an index, up to what is its last entry at the beginning.
///
/// By what the entries are, not by where they stand: so others may come and go meanwhile, and the index may change its server.
struct Pages<'s> {
    store: &'s RedisSessionStore,
    index: String,
    from: Vec<u8>,
    last: Vec<u8>,
    is_over: bool,
}

impl Pages<'_> {
    async fn next(&mut self) -> Result<Option<Vec<Entry>>, Failure> {
        if self.is_over {
            return Ok(None);
        }
        let call = self.store.scripts.page.on(self.index.as_str());
        let call = call.arg(self.from.as_slice()).arg(self.last.as_slice()).number(PAGE as u64);
        let answer = reply::array(self.store.redis.run(call).await?)?;
        let [last, page] = <[Value; 2]>::try_from(answer).map_err(|_| content())?;
        self.last = reply::bytes(last)?;
        let page = read_entries(page)?;
        if page.len() > PAGE {
            return Err(content().into());
        }
        self.is_over = page.len() < PAGE;
        if let Some(entry) = page.last() {
            let from = [&b"("[..], &entry.to_bytes()].concat();
            if self.from != b"-" && from <= self.from {
                return Err(content().into());
            }
            self.from = from;
        }
        Ok(Some(page))
    }
}

#[async_trait]
impl SessionStore for RedisSessionStore {
    async fn create(&self, id: SessionHash, new: &NewSession, now: UnixSeconds) -> Result<bool, Failure> {
        let NewSession { idle_until, expires_at, tags, card, body } = new;
        if tags.len() > NewSession::MAX_TAGS
            || card.as_bytes().len() > NewSession::MAX_CARD
            || body.as_bytes().len() > NewSession::MAX_BODY
        {
            return Err(TOO_LONG);
        }
        let (begin, insertion) = (Instant::now(), Insertion::new(now)?);
        let (tags, entry) = (tags.iter().copied().collect(), Entry { until: *expires_at, id, insertion });
        self.enter(&tags, entry, now).await?;
        let kept = idle_until.min(expires_at).since(now).min(FOREVER).saturating_add(SKEW);
        let call = self.scripts.create.on(self.record_key(&id)).number(now.as_secs());
        let call = call.arg(record::encode(new, insertion)?).number(kept.as_secs());
        let answered = self.change(call).await?;
        match reply::integer(&answered.value)? {
            1 => acknowledged(answered.is_acknowledged)?,
            0 => {
                for tag in &tags {
                    self.leave(tag, &[entry]).await;
                }
                return Ok(false);
            }
            _ => return Err(content().into()),
        }
        // INVARIANT: what is acknowledged is in the indexes. Those forget what is not there after twice this time.
        if begin.elapsed() >= FORGOTTEN / 2 {
            return Err(Fault::new(FaultKind::Timeout).into());
        }
        Ok(true)
    }

    async fn load(&self, id: &SessionHash, now: UnixSeconds) -> Result<Option<StoredSession>, Failure> {
        let key = self.record_key(id);
        let mut record = self.redis.read(key.as_bytes(), record::LONGEST + 1).await?;
        if record.is_empty() {
            // Perhaps it is there and empty, which none of us wrote.
            let call = self.scripts.load.on(key).number(record::LONGEST as u64);
            let Some(found) = reply::optional(self.redis.run(call).await?)? else { return Ok(None) };
            record = found;
        }
        Ok(record::decode(&record)?.filter(|session| now < session.idle_until && now < session.expires_at))
    }

    async fn save(
        &self,
        id: &SessionHash,
        expected: u64,
        update: &SessionUpdate,
        now: UnixSeconds,
    ) -> Result<Saved, Failure> {
        let SessionUpdate { idle_until, expires_at, body } = update;
        if body.as_bytes().len() > NewSession::MAX_BODY {
            return Err(TOO_LONG);
        }
        // No session has the last version of all: what follows it could not be counted.
        let Some(next) = expected.checked_add(1) else { return Ok(Saved::Conflict) };
        let mut known = Vec::new();
        for _ in 0..2 {
            let call = self.scripts.save.on(self.record_key(id)).number(now.as_secs());
            let call = call.arg(expected.to_be_bytes()).arg(next.to_be_bytes());
            let call = call.arg(idle_until.as_secs().to_be_bytes()).arg(expires_at.as_secs().to_be_bytes());
            let answered = self.change(call.arg(body.as_bytes()).arg(known.as_slice())).await?;
            match &answered.value {
                Value::Int(1) => {
                    return acknowledged(answered.is_acknowledged).map(|()| Saved::Done).map_err(Failure::from);
                }
                Value::Int(0) => return Ok(Saved::Gone),
                Value::Int(2) => return Ok(Saved::Conflict),
                Value::Array(_) => {
                    // It shall live for longer than its indexes know, and they come first.
                    let (insertion, tags) = record::extension(answered.value)?;
                    let entry = Entry { until: *expires_at, id: *id, insertion };
                    self.enter(&tags.into_iter().collect(), entry, now).await?;
                    known = insertion.as_bytes().to_vec();
                }
                _ => return Err(content().into()),
            }
        }
        Err(Fault::new(FaultKind::NotNow).into())
    }

    async fn touch(&self, id: &SessionHash, idle_until: UnixSeconds, now: UnixSeconds) -> Result<bool, Failure> {
        let call = self.scripts.touch.on(self.record_key(id)).number(now.as_secs());
        let answer = self.redis.run(call.arg(idle_until.as_secs().to_be_bytes())).await?;
        match reply::integer(&answer)? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(content().into()),
        }
    }

    async fn delete(&self, id: &SessionHash, now: UnixSeconds) -> Result<bool, Failure> {
        let Some(Ended { was_alive, until, insertion, tags }) = self.end(id, None, now).await? else {
            return Ok(false);
        };
        let entry = Entry { until, id: *id, insertion };
        let leave = |tag: SessionTag| async move { self.leave(&tag, &[entry]).await };
        stream::iter(tags.into_iter().map(leave)).buffer_unordered(NewSession::MAX_TAGS).collect::<()>().await;
        Ok(was_alive)
    }

    async fn list(&self, tag: &SessionTag, now: UnixSeconds) -> Result<Vec<ListedSession>, Failure> {
        let (mut listed, mut seen) = (Vec::new(), HashSet::new());
        let mut pages = self.pages(tag);
        while let Some(page) = pages.next().await? {
            let mut over = Vec::new();
            let show = |entry| self.show(entry, now);
            let mut showing = stream::iter(page.into_iter().map(show)).buffer_unordered(AT_ONCE);
            while let Some((entry, shown)) = showing.try_next().await? {
                match shown {
                    // A session whose end was moved is in the index twice.
                    Place::Session(Shown { is_alive: true, idle_until, expires_at, card }) if seen.insert(entry.id) => {
                        listed.push(ListedSession { id: entry.id, idle_until, expires_at, card });
                    }
                    Place::Session(_) | Place::Ended => {}
                    // It may be about to be there, unless that would be long ago.
                    Place::Nothing if entry.insertion.is_over(now) => over.push(entry),
                    Place::Nothing => {}
                }
                if listed.len() > MOST_LISTED {
                    return Err(Failure::new(FailureKind::Unavailable, "too many sessions to list them"));
                }
            }
            drop(showing);
            self.leave(tag, &over).await;
        }
        Ok(listed)
    }

    async fn delete_tagged(&self, tag: &SessionTag, now: UnixSeconds) -> Result<u64, Failure> {
        let mut alive = 0;
        let mut pages = self.pages(tag);
        while let Some(page) = pages.next().await? {
            let mut over: HashMap<SessionTag, Vec<Entry>> = HashMap::new();
            let end = |entry: Entry| async move {
                Ok::<_, Failure>((entry, self.end(&entry.id, Some(entry.insertion), now).await?))
            };
            let mut ending = stream::iter(page.into_iter().map(end)).buffer_unordered(AT_ONCE);
            while let Some((entry, ended)) = ending.try_next().await? {
                match ended {
                    Some(Ended { was_alive, until, insertion, tags }) => {
                        alive += u64::from(was_alive);
                        let entry = Entry { until, id: entry.id, insertion };
                        for tag in tags {
                            over.entry(tag).or_default().push(entry);
                        }
                    }
                    None if entry.insertion.is_over(now) => over.entry(*tag).or_default().push(entry),
                    None => {}
                }
            }
            drop(ending);
            let leave = |(tag, entries): (SessionTag, Vec<Entry>)| async move { self.leave(&tag, &entries).await };
            stream::iter(over.into_iter().map(leave)).buffer_unordered(AT_ONCE).collect::<()>().await;
        }
        Ok(alive)
    }

    /// Redis clears away what is over by itself.
    async fn sweep(&self, _: UnixSeconds) -> Result<u64, Failure> {
        Ok(0)
    }
}

impl fmt::Debug for RedisSessionStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { redis, scripts: _, wait, most_per_tag } = self;
        f.debug_struct("RedisSessionStore")
            .field("redis", redis)
            .field("wait", wait)
            .field("most_per_tag", most_per_tag)
            .finish()
    }
}

fn read_entries(entries: Value) -> Result<Vec<Entry>, Fault> {
    reply::array(entries)?.into_iter().map(|entry| Entry::from_bytes(&reply::bytes(entry)?)).collect()
}

fn acknowledged(is_acknowledged: bool) -> Result<(), Fault> {
    if is_acknowledged { Ok(()) } else { Err(Fault::new(FaultKind::Unacknowledged)) }
}

const TOO_LONG: Failure = Failure::new(FailureKind::Misconfigured, "a session holds more than a store takes");
/// After that an index forgets an insertion that came to nothing.
const FORGOTTEN: Duration = Duration::from_secs(600);
const SKEW: Duration = Duration::from_secs(60);
/// Redis takes no later end.
const FOREVER: Duration = Duration::from_secs(100 * 366 * 86_400);
const FULL: Duration = Duration::from_secs(60);
const PAGE: usize = 500;
const AT_ONCE: usize = 32;
const MOST_LISTED: usize = 10_000;
