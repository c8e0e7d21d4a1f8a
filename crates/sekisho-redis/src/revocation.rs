use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use redis::{Cmd, PushInfo, PushKind, Value};
use sekisho_core::{Clock, ConfigError, Failure, FailureKind, UnixSeconds};
use sekisho_revocation::{Cursor, FeedBatch, FeedConnection, RevocationFeed, Withdrawal};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};

use crate::Redis;
use crate::error::{Fault, FaultKind};
use crate::link::Link;
use crate::reply;
use crate::script::Script;

/// Carries withdrawals through Redis to the lists of all services: kept in a sorted set, and told at once by a channel.
///
/// Clones are the same feed. Whoever withdraws calls [`push`](Self::push); whoever checks gives it to
/// [`RevocationList::follow`](sekisho_revocation::RevocationList::follow).
///
/// **Nothing falls in between.** A connection subscribes, then reads the snapshot, then hands on what the channel brought meanwhile. Each
/// withdrawal has a number; a number that is missing, a subscriber that is too slow, a connection that breaks, and a keeper of the set
/// that changes, in a failover or when slots move, end the connection, and the next one begins with a whole snapshot.
///
/// **How late.** A withdrawal arrives when the network brings it. Every 2 s ([`with_heartbeat`](Self::with_heartbeat)) the connection asks
/// Redis, on the same wire, for the last number that it gave out; only an answer to that counts as a sign of life. So a connection that is
/// half open, or a message that was lost, is noticed within the heartbeat and the command timeout, 3 s unless set otherwise.
///
/// **What Redis loses.** Lists that are up keep what they know. One that starts later knows only what Redis still has: give it
/// `appendonly yes`, and expect a failover to lose the last moment before it.
///
/// In a cluster set and number live in one slot: one master carries all withdrawals, which is some 10,000 a second, and some 150 bytes
/// of memory for each that is not over.
///
/// # Examples
/// ```no_run
/// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
/// use sekisho_core::{Clock, SystemClock};
/// use sekisho_redis::{Redis, RedisRevocationFeed};
/// use sekisho_revocation::{RevocationList, Withdrawal};
/// let feed = RedisRevocationFeed::new(Redis::standalone("redis://127.0.0.1").build()?);
/// let list = RevocationList::new()?;
/// let mut following = list.follow(feed.clone()).start()?; // kept for as long as the service runs
/// following.synchronized().await;
///
/// let now = SystemClock.now(); // in another service, perhaps
/// feed.push(&Withdrawal::session("https://id.example", "s-42", now)?, now).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct RedisRevocationFeed(Arc<Inner>);

#[derive(Clone)]
struct Inner {
    redis: Redis,
    /// The set, the last number and the channel. The prefix is the tag of all, so that a cluster puts them into one slot.
    set: String,
    number: String,
    channel: String,
    push: Script,
    page: Script,
    origin: String,
    most: u32,
    heartbeat: Duration,
}

impl RedisRevocationFeed {
    /// Makes a feed that keeps a million withdrawals.
    #[must_use]
    pub fn new(redis: Redis) -> Self {
        let tag = redis.config().prefix.clone();
        let (set, number, channel) = (redis.key("withdrawn", &tag), redis.key("number", &tag), redis.key("told", &tag));
        let origin = format!("redis {set}");
        let (push, page) = (Script::new(PUSH), Script::new(PAGE));
        let (most, heartbeat) = (DEFAULT_MOST, DEFAULT_HEARTBEAT);
        Self(Arc::new(Inner { redis, set, number, channel, push, page, origin, most, heartbeat }))
    }

    /// Sets how many withdrawals that are not over Redis keeps; one more is a failure. As many as the lists that follow should hold.
    #[must_use]
    pub fn with_max_entries(self, most: u32) -> Self {
        self.with(|inner| inner.most = most)
    }

    /// Sets how often a connection makes sure that it misses nothing. Default 2 s.
    ///
    /// # Errors
    /// [`ConfigError`] for less than a tenth of a second and more than a minute.
    pub fn with_heartbeat(self, heartbeat: Duration) -> Result<Self, ConfigError> {
        if !(Duration::from_millis(100)..=Duration::from_secs(60)).contains(&heartbeat) {
            return Err(ConfigError::new("the heartbeat of a feed must be 0.1 s to 60 s"));
        }
        Ok(self.with(|inner| inner.heartbeat = heartbeat))
    }

    fn with(self, change: impl FnOnce(&mut Inner)) -> Self {
        let mut inner = Arc::unwrap_or_clone(self.0);
        change(&mut inner);
        Self(Arc::new(inner))
    }

    /// Withdraws, for all who follow and will. To withdraw twice does no harm.
    ///
    /// Redis keeps it until five minutes after its end, as lists do.
    ///
    /// # Errors
    /// [`Failure`] when that is not certain; repeat it then. `Unavailable` also when Redis holds as many as it may that are not over: it is
    /// then known to nobody.
    pub async fn push(&self, withdrawal: &Withdrawal, now: UnixSeconds) -> Result<(), Failure> {
        let inner = &*self.0;
        let kept = withdrawal.until().since(now).saturating_add(GRACE);
        let call = inner.push.on(inner.set.as_str()).key(inner.number.as_str());
        let call = call.arg(withdrawal.to_json()).number(kept.as_secs()).number(inner.most.into());
        match reply::integer(&inner.redis.run(call.arg(inner.channel.as_str())).await?)? {
            1 => Ok(()),
            _ => Err(Failure::unavailable("the revocation feed in redis is full")),
        }
    }
}

#[async_trait]
impl RevocationFeed for RedisRevocationFeed {
    async fn connect(&self, _: Option<&Cursor>) -> Result<Box<dyn FeedConnection>, Failure> {
        Ok(Box::new(Connection::open(Arc::clone(&self.0)).await?))
    }

    fn patience(&self) -> Duration {
        let limits = &self.0.redis.config().limits;
        // Finding a master, connecting to it, subscribing, or a heartbeat that comes late.
        self.0.heartbeat + (limits.connect + limits.command) * 2
    }

    fn origin(&self) -> &str {
        &self.0.origin
    }
}

impl fmt::Debug for RedisRevocationFeed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { redis, most, heartbeat, .. } = &*self.0;
        f.debug_struct("RedisRevocationFeed")
            .field("redis", redis)
            .field("most", most)
            .field("heartbeat", heartbeat)
            .finish_non_exhaustive()
    }
}

struct Connection {
    feed: Arc<Inner>,
    link: Link,
    inbox: mpsc::Receiver<Vec<u8>>,
    shared: Arc<Shared>,
    /// The number of the last withdrawal that was handed on, or is in the snapshot.
    seen: u64,
    /// Where the snapshot goes on; `None` when it is read.
    page: Option<Vec<u8>>,
    heartbeat: Instant,
}

/// Is what the wire's task and the connection both know.
#[derive(Default)]
struct Shared {
    is_lost: AtomicBool,
    bytes: AtomicUsize,
}

impl Connection {
    async fn open(feed: Arc<Inner>) -> Result<Self, Fault> {
        let (outbox, inbox) = mpsc::channel(MOST_WAITING);
        let shared = Arc::new(Shared::default());
        let receiver = {
            let (shared, channel) = (Arc::clone(&shared), feed.channel.clone());
            move |info: PushInfo| shared.take(info, channel.as_bytes(), &outbox)
        };
        let link = feed.redis.open(&feed.set, Box::new(receiver)).await?;
        let mut connection =
            Self { feed, link, inbox, shared, seen: 0, page: Some(b"0".to_vec()), heartbeat: Instant::now() };
        let channel = connection.feed.channel.clone();
        connection.ask(redis::cmd("SUBSCRIBE").arg(channel)).await?;
        // What was withdrawn before this number is in the snapshot, what comes after comes by the channel.
        connection.seen = connection.last_number().await?;
        Ok(connection)
    }

    async fn ask(&self, command: &Cmd) -> Result<Value, Fault> {
        let answer = timeout(self.feed.redis.config().limits.command, self.link.ask(command)).await;
        match answer {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(self.elsewhere(Fault::from(error))),
            Err(_) => Err(self.elsewhere(Fault::new(FaultKind::Timeout))),
        }
    }

    fn is_lost(&self) -> bool {
        self.shared.is_lost.load(Ordering::SeqCst)
    }

    /// Says that the set may be elsewhere now; the next connection looks.
    fn elsewhere(&self, fault: Fault) -> Fault {
        self.feed.redis.look_again();
        fault
    }

    async fn last_number(&self) -> Result<u64, Fault> {
        // No counter can be longer.
        let text = reply::text(self.ask(redis::cmd("GETRANGE").arg(&self.feed.number).arg(0).arg(20)).await?)?;
        if text.is_empty() { Ok(0) } else { text.parse().map_err(|_| Fault::new(FaultKind::Content)) }
    }

    /// Reads a part of the snapshot.
    async fn next_page(&mut self, cursor: &[u8]) -> Result<Vec<Withdrawal>, Failure> {
        let call = self.feed.page.on(self.feed.set.as_str()).arg(cursor).number(PAGE_ENTRIES);
        let call = call.number(Withdrawal::MAX_JSON_BYTES as u64);
        let answer = reply::array(self.ask(&call.by_text()).await?)?;
        let [next, entries] = <[Value; 2]>::try_from(answer).map_err(|_| Fault::new(FaultKind::Content))?;
        let next = reply::bytes(next)?;
        let read = |entry| parse(&reply::bytes(entry)?);
        let mut withdrawals = reply::array(entries)?.into_iter().map(read).collect::<Result<Vec<_>, Failure>>()?;
        // A long snapshot must not let the inbox run over.
        withdrawals.extend(self.take_waiting(None)?);
        self.page = Some(next).filter(|next| next != b"0");
        Ok(withdrawals)
    }

    /// Reads what the channel brought, and makes sure that nothing was left out.
    fn unpack(&mut self, message: &[u8]) -> Result<Withdrawal, Failure> {
        self.shared.bytes.fetch_sub(message.len(), Ordering::SeqCst);
        let content = || Failure::from(Fault::new(FaultKind::Content));
        let colon = message.iter().take(21).position(|byte| *byte == b':').ok_or_else(content)?;
        let (digits, json) = message.split_at_checked(colon).ok_or_else(content)?;
        let number = std::str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok()).ok_or_else(content)?;
        let withdrawal = parse(json.get(1..).unwrap_or_default())?;
        if number > self.seen {
            if number != self.seen + 1 {
                return Err(gap());
            }
            self.seen = number;
        }
        Ok(withdrawal)
    }

    /// Empties the inbox, up to a batch.
    fn take_waiting(&mut self, first: Option<Vec<u8>>) -> Result<Vec<Withdrawal>, Failure> {
        let mut taken = Vec::new();
        let mut next = first;
        while let Some(message) = next.take().or_else(|| self.inbox.try_recv().ok()) {
            taken.push(self.unpack(&message)?);
            if taken.len() >= BATCH {
                break;
            }
        }
        Ok(taken)
    }
}

#[async_trait]
impl FeedConnection for Connection {
    async fn next(&mut self, clock: &dyn Clock) -> Result<FeedBatch, Failure> {
        if let Some(cursor) = self.page.clone() {
            let page = self.next_page(&cursor).await?;
            return if self.is_lost() { Err(lost()) } else { Ok(FeedBatch::partial(page)) };
        }
        let until = self.heartbeat;
        let message = tokio::select! {
            biased;
            // What waits must not keep the heartbeat waiting for ever.
            () = sleep_until(until) => None,
            message = self.inbox.recv() => Some(message.ok_or_else(|| Fault::new(FaultKind::Lost))?),
        };
        if self.is_lost() {
            return Err(lost());
        }
        if message.is_some() {
            return Ok(FeedBatch::partial(self.take_waiting(message)?));
        }
        let as_of = clock.now();
        let last = self.last_number().await?;
        // Redis answers in order on one wire: whatever it gave a number before has arrived, and waits here.
        let waiting = self.take_waiting(None)?;
        if self.is_lost() {
            return Err(lost());
        }
        if waiting.len() >= BATCH {
            return Ok(FeedBatch::partial(waiting));
        }
        if self.seen < last || (self.seen > last && waiting.is_empty()) {
            return Err(gap());
        }
        self.heartbeat = Instant::now() + self.feed.heartbeat;
        Ok(FeedBatch::current(waiting, as_of))
    }
}

impl Shared {
    fn take(&self, info: PushInfo, channel: &[u8], outbox: &mpsc::Sender<Vec<u8>>) {
        let message = match (info.kind, <[Value; 2]>::try_from(info.data)) {
            (PushKind::Message, Ok([Value::BulkString(from), Value::BulkString(message)])) if from == channel => {
                message
            }
            (PushKind::Subscribe, _) => return,
            // Disconnected, unsubscribed, or something that nobody asked for.
            _ => return self.is_lost.store(true, Ordering::SeqCst),
        };
        let waiting = self.bytes.fetch_add(message.len(), Ordering::SeqCst);
        if waiting + message.len() > MOST_BYTES || outbox.try_send(message).is_err() {
            self.is_lost.store(true, Ordering::SeqCst);
        }
    }
}

fn parse(json: &[u8]) -> Result<Withdrawal, Failure> {
    let unreadable = "a withdrawal in redis cannot be read";
    Withdrawal::from_json(json).map_err(|error| Failure::new(FailureKind::BadGateway, unreadable).with_source(error))
}

fn gap() -> Failure {
    Failure::unavailable("a withdrawal was not told by redis")
}

fn lost() -> Failure {
    Failure::unavailable("the subscription in redis was lost, or its reader too slow")
}

const DEFAULT_MOST: u32 = 1_000_000;
const DEFAULT_HEARTBEAT: Duration = Duration::from_secs(2);
/// As lists keep what is over, for verifiers with leeway.
const GRACE: Duration = Duration::from_secs(300);
const PAGE_ENTRIES: u64 = 500;
const BATCH: usize = 1_000;
/// Bounds what a connection brings before it is read.
const MOST_WAITING: usize = 10_000;
const MOST_BYTES: usize = 8 << 20;

/// KEYS: the set, the last number. ARGV: the withdrawal, for how many seconds, how many at most, the channel.
///
/// A withdrawal that is known already is told again: who repeats it does not know whether it was. What needs memory comes first: after
/// the first change a script is not stopped any more by a memory that is full.
const PUSH: &str = "\
local now = tonumber(redis.call('TIME')[1])
local live = redis.call('ZCOUNT', KEYS[1], '(' .. now, '+inf')
if live >= tonumber(ARGV[3]) and not redis.call('ZSCORE', KEYS[1], ARGV[1]) then return 0 end
redis.call('ZADD', KEYS[1], 'GT', now + tonumber(ARGV[2]), ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
local number = redis.call('INCR', KEYS[2])
redis.call('PUBLISH', ARGV[4], number .. ':' .. ARGV[1])
return 1";

/// KEYS: the set. ARGV: where to go on, how many, how long an entry may be.
const PAGE: &str = "\
local found = redis.call('ZSCAN', KEYS[1], ARGV[1], 'COUNT', ARGV[2])
local entries = {}
for index = 1, #found[2], 2 do
  if #found[2][index] > tonumber(ARGV[3]) then return redis.error_reply('TOOLARGE an entry') end
  entries[#entries + 1] = found[2][index]
end
return {found[1], entries}";
