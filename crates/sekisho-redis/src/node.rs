use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use futures_util::stream::{FuturesUnordered, StreamExt as _};
use redis::{RedisError, Value};
use tokio::time::{Instant, timeout};

use crate::config::{Endpoint, Limits, Login};
use crate::error::{Fault, FaultKind};
use crate::kept::Kept;
use crate::link::{Answered, Link, PushReceiver, Question};
use crate::reply;

/// Is one server that keeps data, wherever it may be at the moment, and the connection to it.
pub(crate) struct Node {
    whereabouts: Whereabouts,
    link: Kept<Link>,
    /// For what waits for replicas: meanwhile Redis answers nothing else on the same wire.
    waiting: [Kept<Link>; WAITING_LINKS],
    turn: AtomicUsize,
    limits: Limits,
    /// Whether the log says that it is away.
    is_away: Arc<AtomicBool>,
}

/// Says how to find a server.
#[derive(Clone)]
pub(crate) enum Whereabouts {
    /// At one address.
    Fixed { endpoint: Endpoint, login: Login, database: u8 },
    /// At one address, as a member of a cluster, in whatever role.
    Member { endpoint: Endpoint, login: Login },
    /// Where the sentinels say.
    Watched { master: Box<str>, sentinels: Arc<[(Endpoint, Login)]>, login: Login, database: u8 },
}

impl Node {
    pub(crate) fn new(whereabouts: Whereabouts, limits: Limits) -> Self {
        let waiting = std::array::from_fn(|_| Kept::new());
        Self { whereabouts, link: Kept::new(), waiting, turn: AtomicUsize::new(0), limits, is_away: Arc::default() }
    }

    /// Returns the connection for those who wait for replicas, or for the others, making one if need be.
    async fn link(&self, waits: bool) -> Result<Link, Fault> {
        let turn = self.turn.fetch_add(usize::from(waits), Ordering::Relaxed);
        let kept_link = self.waiting.get(turn % WAITING_LINKS).filter(|_| waits).unwrap_or(&self.link);
        if let Some(link) = kept_link.now() {
            if link.is_open() {
                return Ok(link);
            }
            kept_link.discard(self.limits.longest_pause, |kept| kept.is(&link));
        }
        let (whereabouts, limits, is_away) = (self.whereabouts.clone(), self.limits, Arc::clone(&self.is_away));
        let open = || async move {
            let opened = whereabouts.open(limits, None).await;
            whereabouts.report(opened.as_ref().err(), &is_away);
            opened
        };
        kept_link.get(self.limits.longest_pause, open).await
    }

    /// Makes a connection for one who wants it for itself.
    pub(crate) async fn open(&self, push: PushReceiver) -> Result<Link, Fault> {
        self.whereabouts.open(self.limits, Some(push)).await
    }

    /// Asks, in the course of an errand.
    pub(crate) async fn ask(
        self: &Arc<Self>,
        question: Question<'_>,
        is_importing: bool,
        errand: &mut Errand,
    ) -> Result<Answered, RedisOrFault> {
        let link = self.link(matches!(question, Question::Change(..))).await?;
        errand.with = Some((Arc::clone(self), link.clone(), Instant::now()));
        let whole = |value| Answered { value, is_acknowledged: true };
        let answer = match question {
            Question::Command(command) if is_importing => link.ask_importing(command).await.map(whole),
            Question::Command(command) => link.ask(command).await.map(whole),
            Question::Change(command, wait) => link.ask_and_wait(command, is_importing, wait).await,
            #[cfg(feature = "session")]
            Question::Text(key, most) => link.read(key, most, is_importing).await.map(whole),
        };
        errand.with = None;
        answer.map_err(|error| {
            if Fault::from(error.clone()).ends_connection() {
                self.give_up(&link);
            }
            RedisOrFault::Redis(error)
        })
    }

    fn give_up(&self, link: &Link) {
        link.close();
        for kept_link in std::iter::once(&self.link).chain(&self.waiting) {
            kept_link.discard(self.limits.longest_pause, |kept| kept.is(link));
        }
    }
}

/// Is one call on its way; it knows what it waits for.
#[derive(Default)]
pub(crate) struct Errand {
    with: Option<(Arc<Node>, Link, Instant)>,
}

impl Errand {
    /// Ends the connection that did not answer, unless it had hardly time to.
    pub(crate) fn timed_out(self, limits: Limits) {
        if let Some((node, link, since)) = self.with
            && since.elapsed() >= limits.command / 2
        {
            node.give_up(&link);
        }
    }
}

/// Keeps an error whole for as long as it can say where to go instead.
pub(crate) enum RedisOrFault {
    Redis(RedisError),
    Fault(Fault),
}

impl From<Fault> for RedisOrFault {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl From<RedisOrFault> for Fault {
    fn from(error: RedisOrFault) -> Self {
        match error {
            RedisOrFault::Redis(error) => error.into(),
            RedisOrFault::Fault(fault) => fault,
        }
    }
}

impl Whereabouts {
    /// Tells the log once for each outage, not with each attempt.
    fn report(&self, fault: Option<&Fault>, is_away: &AtomicBool) {
        let was_away = is_away.swap(fault.is_some(), Ordering::SeqCst);
        match fault {
            Some(fault) if !was_away => {
                tracing::warn!(redis = %self, cause = %fault, "redis cannot be used; what needs it is refused");
            }
            Some(fault) => tracing::debug!(redis = %self, cause = %fault, "redis still cannot be used"),
            None if was_away => tracing::info!(redis = %self, "redis can be used again"),
            None => tracing::debug!(redis = %self, "connected to redis"),
        }
    }

    async fn open(&self, limits: Limits, push: Option<PushReceiver>) -> Result<Link, Fault> {
        match self {
            Self::Fixed { endpoint, login, database } => {
                open_data(endpoint, login, *database, push, limits, false).await
            }
            Self::Member { endpoint, login } => open_data(endpoint, login, 0, push, limits, false).await,
            Self::Watched { master, sentinels, login, database } => {
                // Asks all sentinels at once, and takes the first master that is there and is one: some may not have heard yet.
                let ask = |(endpoint, login): &(Endpoint, Login)| {
                    let (endpoint, login) = (endpoint.clone(), login.clone());
                    async move { ask_sentinel(&endpoint, &login, master, limits).await }
                };
                let mut answers: FuturesUnordered<_> = sentinels.iter().map(ask).collect();
                let mut tried: Vec<Endpoint> = Vec::new();
                let mut last = Fault::new(FaultKind::Unreachable);
                while let Some(answer) = answers.next().await {
                    let opened = match answer {
                        Ok(endpoint) if tried.contains(&endpoint) => continue,
                        Ok(endpoint) => {
                            tried.push(endpoint.clone());
                            open_data(&endpoint, login, *database, push.clone(), limits, true).await
                        }
                        Err(fault) => Err(fault),
                    };
                    match opened {
                        Ok(link) => return Ok(link),
                        Err(fault) => last = fault,
                    }
                }
                Err(last)
            }
        }
    }
}

async fn open_data(
    endpoint: &Endpoint,
    login: &Login,
    database: u8,
    push: Option<PushReceiver>,
    limits: Limits,
    is_master: bool,
) -> Result<Link, Fault> {
    let opening = async {
        let link = Link::open(endpoint, login, database, push).await?;
        if is_master {
            link.require_master().await?;
        }
        if !limits.allows_eviction {
            link.refuse_eviction().await?;
        }
        Ok(link)
    };
    timeout(limits.connect, opening).await.unwrap_or_else(|_| Err(Fault::new(FaultKind::Timeout)))
}

async fn ask_sentinel(endpoint: &Endpoint, login: &Login, master: &str, limits: Limits) -> Result<Endpoint, Fault> {
    let content = || Fault::new(FaultKind::Content);
    let asking = async {
        let link = Link::open(endpoint, login, 0, None).await?;
        let answer = link.ask(redis::cmd("SENTINEL").arg("GET-MASTER-ADDR-BY-NAME").arg(master)).await?;
        if answer == Value::Nil {
            return Err(Fault::new(FaultKind::Unreachable));
        }
        let [host, port] = <[Value; 2]>::try_from(reply::array(answer)?).map_err(|_| content())?;
        let port = reply::text(port)?.parse().map_err(|_| content())?;
        Ok(Endpoint { host: reply::text(host)?.into(), port })
    };
    timeout(limits.connect, asking).await.unwrap_or_else(|_| Err(Fault::new(FaultKind::Timeout)))
}

impl fmt::Display for Whereabouts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed { endpoint, .. } | Self::Member { endpoint, .. } => fmt::Display::fmt(endpoint, f),
            Self::Watched { master, .. } => f.write_str(master),
        }
    }
}

/// How many can wait for replicas at one server without waiting for each other.
const WAITING_LINKS: usize = 8;

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Node({}, {:?})", self.whereabouts, self.link)
    }
}
