//! Carriers of invalidations: one that waits until it was heeded, ones that break the contract, one that is lost on demand.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use sekisho_core::Failure;
use sekisho_session::{Invalidation, InvalidationSubscription, Invalidations, LocalInvalidations};
use tokio::sync::{mpsc, oneshot, watch};

/// Goes to a subscription, with what is dropped once it was heeded.
type Message = (Invalidation, oneshot::Sender<()>);

/// Returns from `publish` when all have heeded what was published.
#[derive(Debug, Default)]
pub(crate) struct Heeded(Mutex<Vec<mpsc::UnboundedSender<Message>>>);

struct HeededSubscription {
    inbox: mpsc::UnboundedReceiver<Message>,
    last: Option<oneshot::Sender<()>>,
}

#[async_trait]
impl Invalidations for Heeded {
    async fn publish(&self, invalidation: Invalidation) -> Result<(), Failure> {
        let mut heeded = Vec::new();
        self.0.lock().unwrap().retain(|subscription| {
            let (told, by) = oneshot::channel();
            heeded.push(by);
            subscription.send((invalidation, told)).is_ok()
        });
        for heeded in heeded {
            // Dropped or sent: there is nobody left who has not heard of it.
            let _ = heeded.await;
        }
        Ok(())
    }

    async fn subscribe(&self) -> Result<Box<dyn InvalidationSubscription>, Failure> {
        let (outbox, inbox) = mpsc::unbounded_channel();
        self.0.lock().unwrap().push(outbox);
        Ok(Box::new(HeededSubscription { inbox, last: None }))
    }

    fn patience(&self) -> Duration {
        Duration::MAX
    }
}

#[async_trait]
impl InvalidationSubscription for HeededSubscription {
    async fn next(&mut self) -> Result<Vec<Invalidation>, Failure> {
        self.last = None;
        let (invalidation, told) = self.inbox.recv().await.ok_or(Failure::unavailable("nobody is there"))?;
        self.last = Some(told);
        Ok(vec![invalidation])
    }
}

/// Carries within the process until it is switched off: then subscriptions end, and there are no new ones.
#[derive(Debug)]
pub(crate) struct Switched {
    inner: LocalInvalidations,
    pub(crate) is_on: watch::Sender<bool>,
    /// Publishing does not return.
    pub(crate) hangs: std::sync::atomic::AtomicBool,
    pub(crate) published: AtomicUsize,
}

impl Default for Switched {
    fn default() -> Self {
        let (hangs, published) = Default::default();
        Self { inner: LocalInvalidations::new(), is_on: watch::Sender::new(true), hangs, published }
    }
}

const OFF: Failure = Failure::unavailable("it is switched off");

#[async_trait]
impl Invalidations for Switched {
    async fn publish(&self, invalidation: Invalidation) -> Result<(), Failure> {
        if self.hangs.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
        if !*self.is_on.borrow() {
            return Err(OFF);
        }
        self.published.fetch_add(1, Ordering::SeqCst);
        self.inner.publish(invalidation).await
    }

    async fn subscribe(&self) -> Result<Box<dyn InvalidationSubscription>, Failure> {
        let inner = self.inner.subscribe().await?;
        let is_on = self.is_on.subscribe();
        if *is_on.borrow() { Ok(Box::new(SwitchedSubscription { inner, is_on })) } else { Err(OFF) }
    }

    fn patience(&self) -> Duration {
        Duration::from_secs(3600)
    }
}

struct SwitchedSubscription {
    inner: Box<dyn InvalidationSubscription>,
    is_on: watch::Receiver<bool>,
}

#[async_trait]
impl InvalidationSubscription for SwitchedSubscription {
    async fn next(&mut self) -> Result<Vec<Invalidation>, Failure> {
        tokio::select! {
            biased;
            _ = self.is_on.wait_for(|is_on| !is_on) => Err(OFF),
            next = self.inner.next() => next,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Loss {
    Nothing,
    /// One of a hundred, in silence.
    One,
    /// What a slow reader missed, in silence.
    OfTheSlow,
    /// Versions.
    Versions,
    /// A message without a name.
    All,
    /// It says nothing for longer than its patience.
    SignOfLife,
}

impl Loss {
    pub(crate) const ALL: [Self; 6] =
        [Self::Nothing, Self::One, Self::OfTheSlow, Self::Versions, Self::All, Self::SignOfLife];
}

/// Carries, but for a fault.
#[derive(Debug)]
pub(crate) struct Broken {
    inner: LocalInvalidations,
    loss: Loss,
    count: AtomicUsize,
}

impl Broken {
    pub(crate) fn new(loss: Loss) -> Self {
        Self { inner: LocalInvalidations::new(), loss, count: AtomicUsize::new(0) }
    }
}

#[async_trait]
impl Invalidations for Broken {
    async fn publish(&self, invalidation: Invalidation) -> Result<(), Failure> {
        let count = self.count.fetch_add(1, Ordering::SeqCst);
        match (self.loss, invalidation) {
            (Loss::One, _) if count % 100 == 99 => Ok(()),
            (Loss::All, Invalidation::All) => Ok(()),
            (Loss::Versions, Invalidation::Changed(id, _)) => self.inner.publish(Invalidation::Changed(id, 1)).await,
            _ => self.inner.publish(invalidation).await,
        }
    }

    async fn subscribe(&self) -> Result<Box<dyn InvalidationSubscription>, Failure> {
        Ok(Box::new(BrokenSubscription(self.inner.subscribe().await?, self.loss)))
    }

    fn patience(&self) -> Duration {
        Duration::from_millis(200)
    }
}

struct BrokenSubscription(Box<dyn InvalidationSubscription>, Loss);

#[async_trait]
impl InvalidationSubscription for BrokenSubscription {
    async fn next(&mut self) -> Result<Vec<Invalidation>, Failure> {
        let patience = if self.1 == Loss::SignOfLife { Duration::MAX } else { Duration::from_millis(100) };
        match tokio::time::timeout(patience, self.0.next()).await {
            Err(_) => Ok(Vec::new()),
            Ok(Err(_)) if self.1 == Loss::OfTheSlow => Ok(Vec::new()),
            Ok(next) => next,
        }
    }
}
