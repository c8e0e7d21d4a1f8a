//! Messages to all who listen, of which none is lost unnoticed.
//!
//! A counter and a channel under one slot: who publishes counts up and publishes by one script, so messages come numbered. Who listens
//! does so at the server that keeps the counter and asks it for the last number on the same wire.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use redis::{Cmd, PushInfo, PushKind, Value};
use sekisho_core::Failure;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};

use crate::Redis;
use crate::error::{Fault, FaultKind};
use crate::link::Link;
use crate::reply;
use crate::script::Script;

pub(crate) struct Channel {
    pub(crate) redis: Redis,
    number: String,
    channel: String,
    publish: Script,
    last: Script,
    pub(crate) heartbeat: Duration,
}

impl Channel {
    /// `kind`: sets this one apart from others under the same prefix.
    pub(crate) fn new(redis: Redis, kind: &str, heartbeat: Duration) -> Self {
        let tag = redis.config().prefix.clone();
        let (number, channel) = (redis.key(&format!("{kind}-number"), &tag), redis.key(&format!("{kind}-told"), &tag));
        Self { redis, number, channel, publish: Script::new(PUBLISH), last: Script::new(LAST), heartbeat }
    }

    pub(crate) async fn publish(&self, message: &[u8]) -> Result<(), Failure> {
        let call = self.publish.on(self.number.as_str()).key(self.channel.as_str()).arg(message);
        match reply::integer(&self.redis.run(call).await?)? {
            1 => Ok(()),
            _ => Err(Fault::new(FaultKind::Content).into()),
        }
    }

    /// Listens from now on: what is published after this has returned is heard, or the subscription fails.
    ///
    /// - `longest`: of a message, in bytes. A longer one is none of ours.
    pub(crate) async fn subscribe(self: &Arc<Self>, longest: usize) -> Result<Subscription, Fault> {
        let (outbox, inbox) = mpsc::channel(MOST_WAITING);
        let is_lost = Arc::new(AtomicBool::new(false));
        let receiver = {
            let (is_lost, channel, longest) = (Arc::clone(&is_lost), self.channel.clone(), longest + DIGITS + 1);
            move |info: PushInfo| {
                if !take(info, channel.as_bytes(), longest, &outbox) {
                    is_lost.store(true, Ordering::SeqCst);
                }
            }
        };
        let opening = self.redis.open(&self.number, Arc::new(receiver));
        let link = opening.await?;
        let heartbeat = Instant::now() + self.heartbeat;
        let mut subscription = Subscription { channel: Arc::clone(self), link, inbox, is_lost, seen: 0, heartbeat };
        subscription.ask(redis::cmd("SSUBSCRIBE").arg(&self.channel)).await?;
        subscription.seen = subscription.last_number().await?;
        Ok(subscription)
    }

    /// Returns how long subscribing and waiting for a message may take.
    pub(crate) fn patience(&self) -> Duration {
        let limits = &self.redis.config().limits;
        self.heartbeat + (limits.connect + limits.command) * 2
    }
}

/// Is one who listens. It is of no more use after a failure.
pub(crate) struct Subscription {
    channel: Arc<Channel>,
    link: Link,
    inbox: mpsc::Receiver<Vec<u8>>,
    /// Whether something was left out, came from elsewhere, or is not what was subscribed to.
    is_lost: Arc<AtomicBool>,
    /// The number of the last message that was handed on, or was published before.
    seen: u64,
    heartbeat: Instant,
}

impl Subscription {
    /// Waits for messages, or for a sign of life, which is none of them.
    pub(crate) async fn next(&mut self) -> Result<Vec<Vec<u8>>, Failure> {
        let until = self.heartbeat;
        let message = tokio::select! {
            biased;
            // What waits must not keep the heartbeat waiting for ever.
            () = sleep_until(until) => None,
            message = self.inbox.recv() => Some(message.ok_or_else(|| Fault::new(FaultKind::Lost))?),
        };
        if message.is_some() {
            return self.take_waiting(message);
        }
        let handed_on = self.seen;
        let last = self.last_number().await?;
        // Redis answers in order on one wire: whatever it gave a number before has arrived, and waits here.
        let waiting = self.take_waiting(None)?;
        if last < handed_on {
            return Err(gap());
        }
        if waiting.len() < BATCH {
            if self.seen < last {
                return Err(gap());
            }
            self.heartbeat = Instant::now() + self.channel.heartbeat;
        }
        Ok(waiting)
    }

    fn take_waiting(&mut self, first: Option<Vec<u8>>) -> Result<Vec<Vec<u8>>, Failure> {
        let mut taken = Vec::new();
        let mut next = first;
        while let Some(message) = next.take().or_else(|| self.inbox.try_recv().ok()) {
            taken.push(self.unpack(message)?);
            if taken.len() >= BATCH {
                break;
            }
        }
        // After what was taken: the flag rises when something was left out behind it.
        if self.is_lost.load(Ordering::SeqCst) {
            return Err(gap());
        }
        Ok(taken)
    }

    /// Takes the number off, and makes sure that none was left out.
    fn unpack(&mut self, mut message: Vec<u8>) -> Result<Vec<u8>, Failure> {
        let content = || Failure::from(Fault::new(FaultKind::Content));
        let colon = message.iter().take(DIGITS + 1).position(|byte| *byte == b':').ok_or_else(content)?;
        let text = message.split_off(colon).split_off(1);
        let number: u64 =
            std::str::from_utf8(&message).ok().and_then(|digits| digits.parse().ok()).ok_or_else(content)?;
        // One that was published before the number was asked for comes late, and is told all the same.
        if number > self.seen {
            if number != self.seen + 1 {
                return Err(gap());
            }
            self.seen = number;
        }
        Ok(text)
    }

    async fn last_number(&self) -> Result<u64, Fault> {
        let question = self.channel.last.on(self.channel.number.as_str()).by_text();
        let text = reply::text(self.ask(&question).await?)?;
        if text.is_empty() { Ok(0) } else { text.parse().map_err(|_| Fault::new(FaultKind::Content)) }
    }

    async fn ask(&self, command: &Cmd) -> Result<Value, Fault> {
        let limit = self.channel.redis.config().limits.command;
        let fault = match timeout(limit, self.link.ask(command)).await {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(error)) => Fault::from(error),
            Err(_) => Fault::new(FaultKind::Timeout),
        };
        // The counter may be elsewhere now; the next subscription looks.
        self.channel.redis.look_again();
        Err(fault)
    }
}

/// Puts a message into the inbox. Tells whether all is as it should be.
fn take(info: PushInfo, channel: &[u8], longest: usize, outbox: &mpsc::Sender<Vec<u8>>) -> bool {
    match (info.kind, <[Value; 2]>::try_from(info.data)) {
        (PushKind::SMessage, Ok([Value::BulkString(from), Value::BulkString(message)])) => {
            from == channel && message.len() <= longest && outbox.try_send(message).is_ok()
        }
        (PushKind::SSubscribe, _) => true,
        // Disconnected, unsubscribed because the slot has moved, or something that nobody asked for.
        _ => false,
    }
}

fn gap() -> Failure {
    Failure::unavailable("a message was not told by redis, or its reader too slow")
}

/// Bounds what waits to be read.
const MOST_WAITING: usize = 10_000;
const BATCH: usize = 1_000;
/// A number has no more.
const DIGITS: usize = 20;

/// KEYS: the counter, the channel. ARGV: the message.
///
/// It is for ends of sessions, too, so a memory that is full does not stop it.
const PUBLISH: &str = "\
#!lua flags=allow-oom
local number = redis.call('INCR', KEYS[1])
redis.call('SPUBLISH', KEYS[2], string.format('%d', number) .. ':' .. ARGV[1])
return 1";

/// KEYS: the counter.
///
/// As it might write, no replica and no master that was cut off answers it.
const LAST: &str = "\
#!lua flags=allow-oom
return redis.call('GETRANGE', KEYS[1], 0, 20)";
