use sekisho_core::SubjectId;

use super::Remote;
use crate::combine::LastKnown;

/// Purges several memories of decisions by one call, in the order in which it must be done.
///
/// A [`LastKnown`] remembers what a [`Remote`] answers. Purged before it, it could be told again what was decided before: by a
/// question that comes between the two purges and takes part in an equal one that is on its way. So each `Remote` is purged before
/// each `LastKnown` here, whichever was added first; the other way round, a permit from before a logout could stand in for as
/// long as last known decisions do.
///
/// # Examples
/// ```
/// use sekisho_core::SubjectId;
/// use sekisho_policy::combine::fallback;
/// use sekisho_policy::remote::{Purger, Remote, opa::Opa};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # #[cfg(feature = "reqwest")] {
/// let opa = Remote::builder(Opa::at("http://127.0.0.1:8181", "shop/authz")?).build()?;
/// let orders = fallback(opa.clone()).reads(["read"]).build()?;
/// let purger = Purger::new().with_remote(&opa).with_last_known(orders.last_known());
/// // Whoever hears of a logout:
/// purger.purge_subject(&SubjectId::new("https://id.example", "alice"));
/// # }
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct Purger {
    remotes: Vec<Remote>,
    last_known: Vec<LastKnown>,
}

impl Purger {
    /// Starts without any.
    pub fn new() -> Self {
        Self::default()
    }

    /// Purges what this decider has kept, and what its protocol has.
    pub fn with_remote(mut self, remote: &Remote) -> Self {
        self.remotes.push(remote.clone());
        self
    }

    /// Purges these last known decisions.
    pub fn with_last_known(mut self, last_known: &LastKnown) -> Self {
        self.last_known.push(last_known.clone());
        self
    }

    /// Forgets what was decided about a subject.
    pub fn purge_subject(&self, subject: &SubjectId) {
        self.each(|remote| remote.purge_subject(subject), |known| known.purge_subject(subject));
    }

    /// Forgets what was decided in a session at the issuer (`sid`).
    pub fn purge_session(&self, issuer: &str, session_id: &str) {
        self.each(|remote| remote.purge_session(issuer, session_id), |known| known.purge_session(issuer, session_id));
    }

    /// Forgets what was decided about the bearer of one token (`jti`).
    pub fn purge_token(&self, issuer: &str, token_id: &str) {
        self.each(|remote| remote.purge_token(issuer, token_id), |known| known.purge_token(issuer, token_id));
    }

    /// Forgets what was decided about the bearers of the tokens of one grant, whose `jti` begins with it and a dot.
    pub fn purge_grant(&self, issuer: &str, grant_id: &str) {
        self.each(|remote| remote.purge_grant(issuer, grant_id), |known| known.purge_grant(issuer, grant_id));
    }

    /// Forgets everything, as when the policies have changed.
    pub fn purge_all(&self) {
        self.each(Remote::purge_all, LastKnown::purge_all);
    }

    /// Forgets what was decided about the bearers of what is withdrawn.
    #[cfg(feature = "revocation")]
    pub fn purge_withdrawn(&self, withdrawal: &sekisho_revocation::Withdrawal) {
        self.each(|remote| remote.purge_withdrawn(withdrawal), |known| known.purge_withdrawn(withdrawal));
    }

    /// INVARIANT: nothing is purged that another one fills, before that one is.
    fn each(&self, purge_remote: impl Fn(&Remote), purge_last_known: impl Fn(&LastKnown)) {
        self.remotes.iter().for_each(purge_remote);
        self.last_known.iter().for_each(purge_last_known);
    }
}
