use std::fmt;
use std::sync::Arc;

use futures_util::stream::{FuturesUnordered, StreamExt as _};
use redis::{Cmd, RedisError, Value};
use tokio::time::{Instant, timeout};

use crate::config::{Endpoint, Limits, Login};
use crate::error::{Fault, FaultKind};
use crate::kept::Kept;
use crate::link::{Link, PushReceiver};
use crate::reply;

/// Is one server that keeps data, wherever it may be at the moment, and the connection to it.
pub(crate) struct Node {
    whereabouts: Whereabouts,
    link: Kept<Link>,
    limits: Limits,
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
        Self { whereabouts, link: Kept::new(), limits }
    }

    /// Returns the connection, making one if need be.
    pub(crate) async fn link(&self) -> Result<Link, Fault> {
        if let Some(link) = self.link.now() {
            if link.is_open() {
                return Ok(link);
            }
            self.link.discard(|kept| kept.is(&link));
        }
        let (whereabouts, limits) = (self.whereabouts.clone(), self.limits);
        self.link.get(self.limits.longest_pause, || async move { whereabouts.open(limits, None).await }).await
    }

    /// Makes a connection for one who wants it for itself.
    pub(crate) async fn open(&self, push: PushReceiver) -> Result<Link, Fault> {
        self.whereabouts.open(self.limits, Some(push)).await
    }

    /// Asks, in the course of an errand.
    pub(crate) async fn ask(
        self: &Arc<Self>,
        command: &Cmd,
        is_importing: bool,
        errand: &mut Errand,
    ) -> Result<Value, RedisOrFault> {
        let link = self.link().await?;
        errand.with = Some((Arc::clone(self), link.clone(), Instant::now()));
        let answer = if is_importing { link.ask_importing(command).await } else { link.ask(command).await };
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
        self.link.discard(|kept| kept.is(link));
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
    async fn open(&self, limits: Limits, push: Option<PushReceiver>) -> Result<Link, Fault> {
        match self {
            Self::Fixed { endpoint, login, database } => {
                open_data(endpoint, login, *database, push, limits, true).await
            }
            Self::Member { endpoint, login } => open_data(endpoint, login, 0, push, limits, false).await,
            Self::Watched { master, sentinels, login, database } => {
                let endpoint = find_master(master, sentinels, limits).await?;
                open_data(&endpoint, login, *database, push, limits, true).await
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

/// Asks all sentinels at once and believes the first that knows.
async fn find_master(master: &str, sentinels: &[(Endpoint, Login)], limits: Limits) -> Result<Endpoint, Fault> {
    let ask = |(endpoint, login): &(Endpoint, Login)| {
        let (endpoint, login) = (endpoint.clone(), login.clone());
        async move {
            let asking = async {
                let link = Link::open(&endpoint, &login, 0, None).await?;
                let mut question = redis::cmd("SENTINEL");
                let answer = link.ask(question.arg("GET-MASTER-ADDR-BY-NAME").arg(master)).await?;
                if answer == Value::Nil {
                    return Err(Fault::new(FaultKind::Unreachable));
                }
                let [host, port] =
                    <[Value; 2]>::try_from(reply::array(answer)?).map_err(|_| Fault::new(FaultKind::Content))?;
                let port = reply::text(port)?.parse().map_err(|_| Fault::new(FaultKind::Content))?;
                Ok(Endpoint { host: reply::text(host)?.into(), port })
            };
            timeout(limits.connect, asking).await.unwrap_or_else(|_| Err(Fault::new(FaultKind::Timeout)))
        }
    };
    let mut answers: FuturesUnordered<_> = sentinels.iter().map(ask).collect();
    let mut last = Fault::new(FaultKind::Unreachable);
    while let Some(answer) = answers.next().await {
        match answer {
            Ok(endpoint) => return Ok(endpoint),
            Err(fault) => last = fault,
        }
    }
    Err(last)
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { whereabouts, link, limits: _ } = self;
        match whereabouts {
            Whereabouts::Fixed { endpoint, .. } | Whereabouts::Member { endpoint, .. } => {
                write!(f, "Node({endpoint}, {link:?})")
            }
            Whereabouts::Watched { master, .. } => write!(f, "Node({master}, {link:?})"),
        }
    }
}
