use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use sekisho_core::{Failure, Principal, RevocationCheck, UnixSeconds};

use crate::RevocationList;

const DEFAULT_STALENESS: Duration = Duration::from_secs(60);
/// When to come back: by then a feed that is alive again has been found.
const RETRY_AFTER: Duration = Duration::from_secs(5);
/// How often it is logged that principals pass unchecked.
const LOG_EVERY: u64 = 60;

/// Says what to answer when the list may lack withdrawals: its feed was not known to be complete for too long, or
/// something found no room in it.
///
/// What the list does name is refused in any case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StalePolicy {
    staleness: Duration,
    passes: bool,
}

impl StalePolicy {
    /// Fails (503) when the list was not known to be complete for longer than `staleness`, in whole seconds.
    ///
    /// `staleness` is how late a withdrawal can take effect while the feed is broken. A feed that is well shows it
    /// every ten seconds or so; below that, checks would fail now and then for nothing.
    #[must_use]
    pub const fn fail_closed_after(staleness: Duration) -> Self {
        Self { staleness, passes: false }
    }

    /// Lets those pass who are not on the list, however old it is, even if its feed was never reached.
    ///
    /// For routes where a withdrawn credential does less harm than an outage, and for nothing else. Each that passes
    /// so is counted, in [`ListHealth::passed_stale`](crate::ListHealth::passed_stale), and a warning is logged at
    /// most once a minute.
    #[must_use]
    pub const fn dangerous_pass_after(staleness: Duration) -> Self {
        Self { staleness, passes: true }
    }
}

impl Default for StalePolicy {
    /// Fails closed after 60 s.
    fn default() -> Self {
        Self::fail_closed_after(DEFAULT_STALENESS)
    }
}

/// Asks a [`RevocationList`] for each principal, by token, session, grant and subject. Made by [`RevocationList::check`] and
/// [`RevocationList::local`].
///
/// A principal without `jti` is not named by any withdrawn token, one without `sid` by no session, one without a dot in
/// its `jti` by no grant. Every principal has a subject.
///
/// The list is one, the policy is each check's own: a checkpoint for reading may pass where one for payments fails.
#[derive(Clone)]
pub struct ListCheck {
    list: RevocationList,
    policy: StalePolicy,
    is_local: bool,
    logged_at: Arc<AtomicU64>,
}

impl ListCheck {
    pub(crate) fn new(list: RevocationList) -> Self {
        Self { list, policy: StalePolicy::default(), is_local: false, logged_at: Arc::default() }
    }

    pub(crate) fn local(list: RevocationList) -> Self {
        Self { is_local: true, ..Self::new(list) }
    }

    /// Sets what to answer when the list may lack withdrawals. Default [`StalePolicy::default`].
    #[must_use]
    pub fn with_policy(mut self, policy: StalePolicy) -> Self {
        self.policy = policy;
        self
    }

    /// Tells whether the list is known to be complete, for a readiness probe: if not, principals get 503, or pass
    /// unchecked if the policy says so.
    ///
    /// # Errors
    /// The [`Failure`] that requests get, or would get.
    pub fn readiness(&self, now: UnixSeconds) -> Result<(), Failure> {
        if !self.list.is_complete(now) {
            return Err(lacking("the revocation list was full and lacks withdrawals"));
        }
        if self.is_local && !self.list.was_followed() {
            return Ok(());
        }
        let Some(at) = self.list.synchronized_at() else {
            return Err(lacking("the revocation list was never loaded"));
        };
        // A mark from the future is of a clock that has been set back: nobody knows how old it is.
        let age = now.as_secs().abs_diff(at.as_secs());
        if age > self.policy.staleness.as_secs() {
            return Err(lacking("the revocation list is older than allowed"));
        }
        Ok(())
    }

    fn pass_unchecked(&self, why: &Failure, now: UnixSeconds) {
        self.list.0.passed_stale.fetch_add(1, Ordering::Relaxed);
        let last = self.logged_at.load(Ordering::Relaxed);
        let is_due = now.as_secs().abs_diff(last) >= LOG_EVERY;
        let is_mine = || self.logged_at.compare_exchange(last, now.as_secs(), Ordering::Relaxed, Ordering::Relaxed);
        if is_due && is_mine().is_ok() {
            tracing::warn!("principals pass although revocation cannot be told: {why}");
        }
    }
}

impl RevocationCheck for ListCheck {
    fn is_revoked(&self, principal: &Principal, now: UnixSeconds) -> Result<bool, Failure> {
        // INVARIANT: readiness first. A list that becomes complete between the two steps has then been looked through
        // too early, and that must not count as a look-up in a complete list.
        let readiness = self.readiness(now);
        if self.list.names(principal, now) {
            return Ok(true);
        }
        match readiness {
            Ok(()) => Ok(false),
            Err(why) if self.policy.passes => {
                self.pass_unchecked(&why, now);
                Ok(false)
            }
            Err(why) => Err(why),
        }
    }
}

impl fmt::Debug for ListCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { list, policy, is_local, logged_at: _ } = self;
        f.debug_struct("ListCheck").field("list", list).field("policy", policy).field("is_local", is_local).finish()
    }
}

const fn lacking(what: &'static str) -> Failure {
    Failure::unavailable(what).with_retry_after(RETRY_AFTER)
}
