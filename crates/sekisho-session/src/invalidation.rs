use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use sekisho_core::Failure;
use tokio::sync::broadcast;

use crate::token::SessionHash;

/// Carries from process to process which sessions have changed, for the memories that each keeps of them.
///
/// Contract for implementers:
/// - **No gap.** What is [published](Self::publish) after [`subscribe`](Self::subscribe) has returned reaches the subscription, or the
///   subscription fails. A message that may have been lost, a subscriber that was too slow, a connection that broke, a channel that
///   moved: each ends the subscription with a [`Failure`]. Whoever listens then forgets all it remembers, and remembers nothing before it
///   has subscribed anew.
/// - **At least once.** A message may come several times and in any order, also to the process that published it.
/// - **A sign of life.** [`InvalidationSubscription::next`] returns within [`patience`](Self::patience), with nothing if nothing
///   happened, and only if the other side has answered since.
/// - **Bounded.** A batch holds a few thousand messages at most, and so does what waits to be read.
#[async_trait]
pub trait Invalidations: Send + Sync + fmt::Debug {
    /// Tells all subscriptions of all processes.
    ///
    /// # Errors
    /// [`Failure`] when that is not certain. What the others remember then holds until they forget it by age.
    async fn publish(&self, invalidation: Invalidation) -> Result<(), Failure>;

    /// Begins to listen.
    ///
    /// # Errors
    /// [`Failure`] when that cannot be had now. The listener pauses and tries again.
    async fn subscribe(&self) -> Result<Box<dyn InvalidationSubscription>, Failure>;

    /// Returns how long subscribing, and each [`InvalidationSubscription::next`], may take. Beyond that the subscription is given up for
    /// dead.
    fn patience(&self) -> Duration;
}

/// Is one subscription at [`Invalidations`]. Dropping it, and dropping the future of [`next`](Self::next), ends it.
#[async_trait]
pub trait InvalidationSubscription: Send {
    /// Returns what comes next, waiting for it. What the last call returned has been heeded when this is called.
    ///
    /// # Errors
    /// [`Failure`] when a message may have been lost, or cannot be read. The subscription is over then.
    async fn next(&mut self) -> Result<Vec<Invalidation>, Failure>;
}

/// Says what is no longer as it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "who does not heed one of them shows sessions that are over")]
pub enum Invalidation {
    /// The session has this version now, or a later one.
    Changed(SessionHash, u64),
    /// The session is over.
    Ended(SessionHash),
    /// Any sessions may have ended.
    All,
}

impl Invalidation {
    /// Writes it for the wire: a letter, the 32 bytes of the name, the version as 8 bytes, big end first; as far as it has them.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        match self {
            Self::Changed(id, version) => [&b"C"[..], id.as_bytes(), &version.to_be_bytes()].concat(),
            Self::Ended(id) => [&b"E"[..], id.as_bytes()].concat(),
            Self::All => b"A".to_vec(),
        }
    }

    /// Reads what [`to_bytes`](Self::to_bytes) writes; `None` for anything else, which then counts as a message that was lost.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (kind, rest) = bytes.split_first()?;
        match kind {
            b'C' => {
                let (id, version) = rest.split_first_chunk::<32>()?;
                Some(Self::Changed(SessionHash::from_bytes(*id), u64::from_be_bytes(version.try_into().ok()?)))
            }
            b'E' => Some(Self::Ended(SessionHash::from_bytes(rest.try_into().ok()?))),
            b'A' if rest.is_empty() => Some(Self::All),
            _ => None,
        }
    }
}

/// Carries invalidations within this process, to all stores that were given this one: for tests, and for processes that share a store
/// and no channel, each of which then learns of the others' changes by age alone.
#[derive(Debug)]
pub struct LocalInvalidations(broadcast::Sender<Invalidation>);

impl LocalInvalidations {
    /// Makes one without subscriptions.
    #[must_use]
    pub fn new() -> Self {
        Self(broadcast::Sender::new(MOST_WAITING))
    }
}

impl Default for LocalInvalidations {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl Invalidations for LocalInvalidations {
    async fn publish(&self, invalidation: Invalidation) -> Result<(), Failure> {
        // An error means that nobody listens.
        let _heard = self.0.send(invalidation);
        Ok(())
    }

    async fn subscribe(&self) -> Result<Box<dyn InvalidationSubscription>, Failure> {
        Ok(Box::new(LocalSubscription(self.0.subscribe())))
    }

    fn patience(&self) -> Duration {
        // Nothing can come in between, so silence says that nothing has changed.
        Duration::MAX
    }
}

struct LocalSubscription(broadcast::Receiver<Invalidation>);

#[async_trait]
impl InvalidationSubscription for LocalSubscription {
    async fn next(&mut self) -> Result<Vec<Invalidation>, Failure> {
        let lost = |_| Failure::unavailable("a subscription to changes of sessions was too slow");
        self.0.recv().await.map(|invalidation| vec![invalidation]).map_err(lost)
    }
}

const MOST_WAITING: usize = 1024;

#[cfg(test)]
mod tests {
    #![allow(clippy::indexing_slicing, reason = "tests")]

    use super::*;

    const ID: SessionHash = SessionHash::from_bytes([7; 32]);

    #[test]
    fn an_invalidation_survives_the_wire() {
        for said in [
            Invalidation::Changed(ID, 1),
            Invalidation::Changed(ID, u64::MAX),
            Invalidation::Ended(ID),
            Invalidation::All,
        ] {
            assert_eq!(Invalidation::from_bytes(&said.to_bytes()), Some(said));
        }
    }

    #[test]
    fn what_is_cut_or_longer_or_of_another_kind_is_no_invalidation() {
        for said in [Invalidation::Changed(ID, 1), Invalidation::Ended(ID), Invalidation::All] {
            let bytes = said.to_bytes();
            for length in 0..bytes.len() {
                assert_eq!(Invalidation::from_bytes(&bytes[..length]), None, "{length} of {said:?}");
            }
            assert_eq!(Invalidation::from_bytes(&[&bytes[..], b"x"].concat()), None);
        }
        for other in [&b""[..], b"X", b"a", &[b'X'; 33], &[0; 41]] {
            assert_eq!(Invalidation::from_bytes(other), None);
        }
    }

    #[test]
    fn debug_shows_no_name() {
        assert_eq!(format!("{:?}", Invalidation::Ended(ID)), "Ended(SessionHash(..))");
    }
}
