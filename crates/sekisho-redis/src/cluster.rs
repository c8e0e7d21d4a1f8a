use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use redis::{ErrorKind, RedisError, ServerErrorKind};
use tokio::time::{sleep, timeout};

use crate::config::{Endpoint, Limits, Login};
use crate::error::{Fault, FaultKind};
use crate::kept::Kept;
use crate::link::{Answered, Question};
use crate::node::{Errand, Node, RedisOrFault, Whereabouts};
use crate::slots::{self, SlotMap};

/// Finds the server for a key, and follows when keys move.
#[derive(Clone)]
pub(crate) struct Cluster(Arc<Inner>);

struct Inner {
    seeds: Vec<Endpoint>,
    login: Login,
    limits: Limits,
    map: Kept<Arc<SlotMap>>,
    nodes: Mutex<HashMap<Endpoint, Arc<Node>>>,
    is_looking: AtomicBool,
}

impl Cluster {
    pub(crate) fn new(seeds: Vec<Endpoint>, login: Login, limits: Limits) -> Self {
        let (map, nodes, is_looking) = (Kept::new(), Mutex::default(), AtomicBool::new(false));
        Self(Arc::new(Inner { seeds, login, limits, map, nodes, is_looking }))
    }

    /// Asks the master of the key's slot, wherever that is by now.
    ///
    /// What may have been carried out is never sent again; a redirection says that it was not.
    pub(crate) async fn ask(
        &self,
        key: &[u8],
        question: Question<'_>,
        errand: &mut Errand,
    ) -> Result<Answered, RedisOrFault> {
        let slot = slots::slot(key);
        let mut place = self.master(slot).await?;
        let mut is_importing = false;
        for _ in 0..=MOST_REDIRECTIONS {
            let node = self.0.node(&place);
            let error = match node.ask(question, is_importing, errand).await {
                Ok(answer) => return Ok(answer),
                Err(RedisOrFault::Fault(fault)) => {
                    self.look_again();
                    return Err(fault.into());
                }
                Err(RedisOrFault::Redis(error)) => error,
            };
            let Some((next, is_for_good)) = redirection(&error, &place) else {
                if Fault::from(error.clone()).ends_connection()
                    || Fault::from(error.clone()).kind() == FaultKind::NotNow
                {
                    self.look_again();
                }
                return Err(RedisOrFault::Redis(error));
            };
            if is_for_good {
                if let Some(map) = self.0.map.now() {
                    self.0.map.put(Arc::new(map.with_moved(slot, next.clone())));
                }
                self.look_again();
            }
            is_importing = !is_for_good;
            place = next;
        }
        Err(Fault::new(FaultKind::NotNow).into())
    }

    /// Returns the server that has the key now.
    pub(crate) async fn node_of(&self, key: &[u8]) -> Result<Arc<Node>, Fault> {
        Ok(self.0.node(&self.master(slots::slot(key)).await?))
    }

    /// Returns all masters, and fails when a slot has none.
    pub(crate) async fn masters(&self) -> Result<Vec<Arc<Node>>, Fault> {
        let map = self.0.look().await?;
        self.0.map.put(Arc::clone(&map));
        if !map.is_whole() {
            return Err(Fault::new(FaultKind::NotNow));
        }
        Ok(map.masters().iter().map(|master| self.0.node(master)).collect())
    }

    async fn master(&self, slot: u16) -> Result<Endpoint, Fault> {
        let inner = Arc::clone(&self.0);
        let map = self.0.map.get(self.0.limits.longest_pause, || async move { inner.look().await }).await?;
        if let Some(master) = map.master(slot) {
            return Ok(Endpoint::clone(master));
        }
        self.look_again();
        // Who does not have it says who does, or that nobody does.
        map.any_master().cloned().ok_or_else(|| Fault::new(FaultKind::NotNow))
    }

    /// Looks for changes beside, at most one at a time, and not without a pause between.
    pub(crate) fn look_again(&self) {
        if self.0.map.now().is_none() || self.0.is_looking.swap(true, Ordering::SeqCst) {
            return;
        }
        let looking = Looking(Arc::clone(&self.0));
        tokio::spawn(async move {
            let Looking(inner) = &looking;
            if let Ok(map) = inner.look().await {
                inner.map.put(map);
            }
            sleep(BETWEEN_LOOKS).await;
        });
    }
}

/// Ends a look also when its runtime does.
struct Looking(Arc<Inner>);

impl Drop for Looking {
    fn drop(&mut self) {
        self.0.is_looking.store(false, Ordering::SeqCst);
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, HashMap<Endpoint, Arc<Node>>> {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn node(&self, endpoint: &Endpoint) -> Arc<Node> {
        let make = || {
            let whereabouts = Whereabouts::Member { endpoint: endpoint.clone(), login: self.login.clone() };
            Arc::new(Node::new(whereabouts, self.limits))
        };
        Arc::clone(self.lock().entry(endpoint.clone()).or_insert_with(make))
    }

    /// Asks one server after the other, those first that were masters a moment ago.
    async fn look(&self) -> Result<Arc<SlotMap>, Fault> {
        let mut places: Vec<Endpoint> = self
            .map
            .now()
            .map_or_else(Vec::new, |map| map.masters().iter().map(|master| Endpoint::clone(master)).collect());
        places.extend(self.seeds.iter().cloned());
        let mut last = Fault::new(FaultKind::Unreachable);
        for place in places {
            match self.ask_for_map(&place).await {
                Ok(map) => {
                    let masters = map.masters();
                    self.lock().retain(|place, _| masters.contains(place) || self.seeds.contains(place));
                    return Ok(Arc::new(map));
                }
                Err(fault) => last = fault,
            }
        }
        Err(last)
    }

    async fn ask_for_map(&self, place: &Endpoint) -> Result<SlotMap, Fault> {
        let node = self.node(place);
        let mut errand = Errand::default();
        let mut slots = redis::cmd("CLUSTER");
        slots.arg("SLOTS");
        match timeout(
            self.limits.connect + self.limits.command,
            node.ask(Question::Command(&slots), false, &mut errand),
        )
        .await
        {
            Ok(answer) => SlotMap::parse(answer.map_err(Fault::from)?.value, place),
            Err(_) => {
                errand.timed_out(self.limits);
                Err(Fault::new(FaultKind::Timeout))
            }
        }
    }
}

/// Returns where to go, and whether for good.
fn redirection(error: &RedisError, asked: &Endpoint) -> Option<(Endpoint, bool)> {
    let is_for_good = match error.kind() {
        ErrorKind::Server(ServerErrorKind::Moved) => true,
        ErrorKind::Server(ServerErrorKind::Ask) => false,
        _ => return None,
    };
    let (_, place) = slots::parse_redirect(error.detail()?, asked)?;
    Some((place, is_for_good))
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cluster").field("seeds", &self.0.seeds).field("map", &self.0.map).finish_non_exhaustive()
    }
}

const MOST_REDIRECTIONS: usize = 4;
const BETWEEN_LOOKS: Duration = Duration::from_millis(200);
