//! What a logout token must be ([OIDC Back-Channel Logout §2.4, §2.6](https://openid.net/specs/openid-connect-backchannel-1_0.html#Validation)).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sekisho_core::json::JsonKind;
use sekisho_core::{Claim, Failure, Occurrence, OneTimeUse, Refusal, Reject, ReplayGuard, UnixSeconds};
use sekisho_jwt::{Backend, StatementVerifier};

use super::id_token::{check_subject, date, text};

/// Is what a verified logout token says: end these sessions. Nothing but its verification makes one.
///
/// Sessions that began after `issued_at` are not meant.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct LogoutNotice {
    /// The issuer.
    pub issuer: Arc<str>,
    /// The one session at the provider; `None` means all of the subject's.
    pub sid: Option<Box<str>>,
    /// The subject; there is at least one of both.
    pub subject: Option<Box<str>>,
    /// When the provider said so, by its clock.
    pub issued_at: UnixSeconds,
    once: OneTimeUse,
}

/// Verifies the logout tokens of one provider.
#[derive(Debug)]
pub(super) struct LogoutTokens {
    pub(super) backend: Backend,
    pub(super) issuer: Arc<str>,
    pub(super) leeway: Duration,
    pub(super) statements: StatementVerifier,
    pub(super) guard: Arc<dyn ReplayGuard>,
    pub(super) undone: Undone,
}

impl LogoutTokens {
    pub(super) async fn notice(&self, logout_token: &str, now: UnixSeconds) -> Result<LogoutNotice, Refusal> {
        let claims = self.statements.verify(logout_token, now).await?.into_inner();
        date(&claims, "exp", Claim::Expiry)?;
        let issued_at = date(&claims, "iat", Claim::IssuedAt)?;
        // Whatever `exp` says: how long its `jti` is remembered must not be the sender's to choose.
        let until = issued_at.saturating_add(LONGEST_LIFE).saturating_add(self.leeway);
        if now >= until {
            return Err(Reject::Expired { by_secs: now.since(until).as_secs() }.into());
        }
        let event = claims.get("events").ok_or(Reject::Missing(Claim::Events))?;
        if event.member(EVENT).is_none_or(|event| event.kind() != JsonKind::Object) {
            return Err(Reject::Invalid(Claim::Events).into());
        }
        // What has one could be an ID token.
        if claims.get("nonce").is_some() {
            return Err(Reject::TokenUse.into());
        }
        let optional = |name, claim| match claims.get(name) {
            None => Ok(None),
            Some(_) => text(&claims, name, claim).map(|text| Some(Box::from(&*text))),
        };
        let sid = optional("sid", Claim::Session)?;
        let subject = optional("sub", Claim::Subject)?;
        if subject.is_some() {
            check_subject(&claims)?;
        }
        if sid.is_none() && subject.is_none() {
            return Err(Reject::Missing(Claim::Subject).into());
        }
        let id = text(&claims, "jti", Claim::TokenId)?;
        if id.len() > LONGEST_ID {
            return Err(Reject::Invalid(Claim::TokenId).into());
        }
        // By whom is meant, so that one user's logouts cannot use up the share of all.
        let holder = [&*self.issuer, subject.as_deref().unwrap_or_default(), sid.as_deref().unwrap_or_default()];
        let holder = self.backend.sha256(holder.join("\n").as_bytes());
        let once = OneTimeUse::new(holder, self.backend.sha256(id.as_bytes()), until);
        if self.occurrence(&once, now).await? == Occurrence::Repeated && !self.undone.take(&once) {
            return Err(Reject::Replayed.into());
        }
        Ok(LogoutNotice { issuer: Arc::clone(&self.issuer), sid, subject, issued_at, once })
    }

    async fn occurrence(&self, once: &OneTimeUse, now: UnixSeconds) -> Result<Occurrence, Failure> {
        match self.guard.insert_now(once, now) {
            Some(answer) => answer,
            None => self.guard.insert(once, now).await,
        }
    }

    pub(super) fn undo(&self, notice: &LogoutNotice, now: UnixSeconds) {
        self.undone.put(&notice.once, now);
    }
}

/// Remembers notices that could not be followed, so that the provider may send them once more. What does not fit is not taken again.
#[derive(Debug, Default)]
pub(super) struct Undone(Mutex<BTreeMap<Use, UnixSeconds>>);

/// Is by whom and what.
type Use = ([u8; 32], [u8; 32]);

impl Undone {
    fn put(&self, once: &OneTimeUse, now: UnixSeconds) {
        let mut undone = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        undone.retain(|_, until| now < *until);
        if undone.len() < MOST_UNDONE {
            undone.insert((*once.holder(), *once.id()), once.until());
        }
    }

    fn take(&self, once: &OneTimeUse) -> bool {
        let mut undone = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        undone.remove(&(*once.holder(), *once.id())).is_some()
    }
}

const EVENT: &str = "http://schemas.openid.net/event/backchannel-logout";
/// How long after `iat` a logout token is taken; the standard recommends two minutes at most for `exp`.
const LONGEST_LIFE: Duration = Duration::from_secs(300);
const LONGEST_ID: usize = 256;
const MOST_UNDONE: usize = 1000;
