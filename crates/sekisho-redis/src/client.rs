use std::fmt;
use std::sync::Arc;

use redis::{Cmd, ErrorKind, ServerErrorKind, Value};
use sekisho_core::{Failure, Secret};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::RedisBuilder;
use crate::cluster::Cluster;
use crate::config::{Config, Places};
use crate::error::{Fault, FaultKind};
use crate::link::{Answered, Link, PushReceiver, Question, Wait};
use crate::node::{Errand, Node, RedisOrFault, Whereabouts};
use crate::script::Call;

/// Talks to one Redis, to a master that sentinels watch, or to a cluster. Clones are the same client.
///
/// - Connections are made when they are needed, shared by all, and made anew after a pause when they were lost. A server that is gone
///   without a word is noticed by the first call that it owes an answer for the whole
///   [command timeout](RedisBuilder::with_command_timeout).
/// - Calls end in time: each within the command timeout, whatever happens. Calls under way are bounded; there is no queue.
/// - Nothing is asked twice that may have been carried out: a lost answer is a [`Failure`].
/// - What changes something is one script on keys of one slot, so the same calls work in a cluster. Reads go to masters only.
/// - A Redis that evicts is refused, see [`dangerous_allow_eviction`](RedisBuilder::dangerous_allow_eviction).
///
/// Whoever can write into Redis decides who comes in: give it a password, TLS and a network of its own. `Debug` and errors show addresses,
/// never a password or what is stored.
///
/// # Examples
/// ```
/// use sekisho_redis::Redis;
/// let alone = Redis::standalone("rediss://shop:p4ssword@redis.example:6379/0").build()?;
/// let watched = Redis::sentinel("main", ["redis://:s3ntinel@one.example", "redis://:s3ntinel@two.example"])
///     .with_login("shop", "p4ssword")
///     .build()?;
/// let cluster = Redis::cluster(["redis://:p4ssword@one.example", "redis://:p4ssword@two.example"]).build()?;
/// # let _ = (alone, watched, cluster);
/// # Ok::<(), sekisho_core::ConfigError>(())
/// ```
#[derive(Clone)]
pub struct Redis(Arc<Inner>);

struct Inner {
    config: Config,
    topology: Topology,
    permits: Semaphore,
}

#[derive(Debug)]
enum Topology {
    Single(Arc<Node>),
    Cluster(Cluster),
}

impl Redis {
    /// Begins with one server.
    ///
    /// - `url`: `redis[s]://[USER:PASSWORD@]HOST[:PORT][/DATABASE]`, `rediss` for TLS; port 6379 and database 0 unless said.
    pub fn standalone(url: impl Into<Secret>) -> RedisBuilder {
        RedisBuilder::standalone(url)
    }

    /// Begins with the sentinels of a master, all of which are asked.
    ///
    /// - `master`: its name there.
    /// - `urls`: of the sentinels, port 26379 unless said, with the login at the sentinels; the login at the master is set by
    ///   [`with_login`](RedisBuilder::with_login). `rediss` counts for sentinels and master.
    pub fn sentinel<U: Into<Secret>>(master: impl Into<String>, urls: impl IntoIterator<Item = U>) -> RedisBuilder {
        RedisBuilder::sentinel(master.into(), urls.into_iter().map(Into::into).collect())
    }

    /// Begins with some servers of a cluster, which name the others. One login counts for all, the first URL's unless set.
    pub fn cluster<U: Into<Secret>>(urls: impl IntoIterator<Item = U>) -> RedisBuilder {
        RedisBuilder::cluster(urls.into_iter().map(Into::into).collect())
    }

    /// Connects, and says whether it could work: a start that should not wait for the first request calls it.
    ///
    /// In a cluster each slot must have a master and each master must answer.
    ///
    /// # Errors
    /// [`Failure`]: `Unavailable` when it does not answer, `BadGateway` when it refuses the login or is somebody else, `Misconfigured` when
    /// it may evict.
    pub async fn check(&self) -> Result<(), Failure> {
        let nodes = match &self.0.topology {
            Topology::Single(node) => vec![Arc::clone(node)],
            Topology::Cluster(cluster) => cluster.masters().await?,
        };
        let ping = redis::cmd("PING");
        for node in nodes {
            let mut errand = Errand::default();
            let limits = self.0.config.limits;
            match timeout(limits.connect + limits.command, node.ask(Question::Command(&ping), false, &mut errand)).await
            {
                Ok(answer) => drop(answer.map_err(Fault::from)?),
                Err(_) => {
                    errand.timed_out(limits);
                    return Err(Fault::new(FaultKind::Timeout).into());
                }
            }
        }
        Ok(())
    }

    pub(crate) fn new(config: Config) -> Self {
        let (login, limits) = (config.login.clone(), config.limits);
        let single = |whereabouts| Topology::Single(Arc::new(Node::new(whereabouts, limits)));
        let topology = match config.places.clone() {
            Places::Standalone { endpoint, database } => single(Whereabouts::Fixed { endpoint, login, database }),
            Places::Sentinel { master, sentinels, database } => {
                single(Whereabouts::Watched { master, sentinels: sentinels.into(), login, database })
            }
            Places::Cluster { seeds } => Topology::Cluster(Cluster::new(seeds, login, limits)),
        };
        Self(Arc::new(Inner { config, topology, permits: Semaphore::new(limits.commands) }))
    }

    pub(crate) fn config(&self) -> &Config {
        &self.0.config
    }

    /// Names a key: the prefix, what it is, and a tag that alone decides its slot.
    pub(crate) fn key(&self, kind: &str, tag: &str) -> String {
        [&*self.0.config.prefix, ":", kind, ":{", tag, "}"].concat()
    }

    /// Runs a script where its keys are.
    pub(crate) async fn run(&self, call: Call<'_>) -> Result<Value, Fault> {
        self.run_and_wait(call, None).await.map(|answered| answered.value)
    }

    /// Runs a script where its keys are, and waits until replicas have what it changed, if that is wanted.
    pub(crate) async fn run_and_wait(&self, call: Call<'_>, wait: Option<Wait>) -> Result<Answered, Fault> {
        let key = call.first_key();
        self.bounded(async |errand: &mut Errand| match self.send(key, asked(&call.by_hash(), wait), errand).await {
            Err(RedisOrFault::Redis(error)) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
                self.send(key, asked(&call.by_text(), wait), errand).await
            }
            answer => answer,
        })
        .await
    }

    /// Reads the beginning of a text, `most` bytes; nothing where there is none, and of a text without anything in it.
    ///
    /// No replica answers it, nor a master that was cut off, as with a script; but it costs Redis half of that.
    #[cfg(feature = "session")]
    pub(crate) async fn read(&self, key: &[u8], most: usize) -> Result<Vec<u8>, Fault> {
        let read = async |errand: &mut Errand| self.send(key, Question::Text(key, most), errand).await;
        crate::reply::bytes(self.bounded(read).await?.value)
    }

    /// Opens a connection for oneself, to where a key is.
    pub(crate) async fn open(&self, key: &str, push: PushReceiver) -> Result<Link, Fault> {
        match &self.0.topology {
            Topology::Single(node) => node.open(push).await,
            Topology::Cluster(cluster) => {
                let node = cluster.node_of(key.as_bytes()).await?;
                node.open(push).await.inspect_err(|_| cluster.look_again())
            }
        }
    }

    /// Says that a server seems not to be what it was.
    pub(crate) fn look_again(&self) {
        if let Topology::Cluster(cluster) = &self.0.topology {
            cluster.look_again();
        }
    }

    async fn send(&self, key: &[u8], question: Question<'_>, errand: &mut Errand) -> Result<Answered, RedisOrFault> {
        match &self.0.topology {
            Topology::Single(node) => node.ask(question, false, errand).await,
            Topology::Cluster(cluster) => cluster.ask(key, question, errand).await,
        }
    }

    async fn bounded<T>(&self, ask: impl AsyncFnOnce(&mut Errand) -> Result<T, RedisOrFault>) -> Result<T, Fault> {
        let limits = self.0.config.limits;
        let _permit = self.0.permits.try_acquire().map_err(|_| Fault::new(FaultKind::Busy))?;
        let mut errand = Errand::default();
        if let Ok(answer) = timeout(limits.command, ask(&mut errand)).await {
            return answer.map_err(Fault::from);
        }
        errand.timed_out(limits);
        self.look_again();
        Err(Fault::new(FaultKind::Timeout))
    }
}

const fn asked(command: &Cmd, wait: Option<Wait>) -> Question<'_> {
    match wait {
        Some(wait) => Question::Change(command, wait),
        None => Question::Command(command),
    }
}

impl fmt::Debug for Redis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { config, topology, permits: _ } = &*self.0;
        f.debug_struct("Redis").field("prefix", &config.prefix).field("topology", topology).finish_non_exhaustive()
    }
}
