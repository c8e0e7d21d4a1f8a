//! Tokens that were handed out, and refusals of late, by a hash of what was asked for.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use quick_cache::sync::{Cache, DefaultLifecycle};
use quick_cache::{DefaultHashBuilder, OptionsBuilder, Weighter};
use sekisho_core::{ConfigError, Principal, UnixSeconds};

use super::request::TokenRequest;
use super::token::ServiceToken;
use crate::tokens::TokenError;

/// Stands for a request: SHA-256 of all that decides about its token. No token can be read from it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct RequestKey([u8; 32]);

impl RequestKey {
    pub(super) const fn new(hash: [u8; 32]) -> Self {
        Self(hash)
    }
}

impl Hash for RequestKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

impl fmt::Debug for RequestKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RequestKey(..)")
    }
}

/// Is whose token was exchanged, so that a logout finds what came of it.
#[derive(Clone)]
pub(super) struct Owner(Arc<Whose>);

struct Whose {
    issuer: Box<str>,
    subject: Box<str>,
    session: Option<Box<str>>,
}

impl Owner {
    pub(super) fn of(caller: &Principal) -> Self {
        let session = caller.claims().get("sid").and_then(|sid| sid.as_str()).map(|sid| sid.into());
        Self(Arc::new(Whose { issuer: caller.issuer().into(), subject: caller.subject().into(), session }))
    }

    pub(super) fn is(&self, issuer: &str, subject: &str) -> bool {
        *self.0.issuer == *issuer && *self.0.subject == *subject
    }

    pub(super) fn is_in(&self, issuer: &str, session: &str) -> bool {
        *self.0.issuer == *issuer && self.0.session.as_deref() == Some(session)
    }

    pub(super) fn names(&self) -> (&str, &str) {
        (&self.0.issuer, &self.0.subject)
    }

    fn weight(&self) -> usize {
        self.0.issuer.len() + self.0.subject.len() + self.0.session.as_deref().map_or(0, str::len)
    }
}

/// Keeps tokens, and apart from them refusals, so that no number of refusals pushes a token out.
pub(super) struct TokenCache {
    good: Cache<RequestKey, Held, Weight>,
    refused: Cache<RequestKey, Refused>,
}

#[derive(Clone)]
struct Held {
    token: ServiceToken,
    /// When to ask for the next one.
    due: UnixSeconds,
    owner: Option<Owner>,
}

#[derive(Clone)]
struct Refused {
    error: TokenError,
    since: UnixSeconds,
}

impl TokenCache {
    pub(super) fn new(entries: usize, bytes: u64) -> Result<Self, ConfigError> {
        if entries == 0 || entries > 1_000_000 || bytes < 64 * 1024 {
            return Err(ConfigError::new("between 1 and 1,000,000 tokens may be kept, in at least 64 KiB"));
        }
        let options = OptionsBuilder::new()
            .estimated_items_capacity(entries)
            .weight_capacity(bytes)
            .build()
            .map_err(|e| ConfigError::new("the bounds of the tokens kept do not go together").with_source(e))?;
        let weight = Weight { at_least: bytes.div_ceil(entries as u64) };
        let good = Cache::with_options(options, weight, DefaultHashBuilder::default(), DefaultLifecycle::default());
        Ok(Self { good, refused: Cache::new(MOST_REFUSALS) })
    }

    /// Returns what needs no question.
    pub(super) fn get(&self, key: &RequestKey, now: UnixSeconds) -> Option<Result<ServiceToken, TokenError>> {
        if let Some(held) = self.good.get(key) {
            if is_after(now, held.token.asked_at()) && now < held.due {
                return Some(Ok(held.token));
            }
            if !held.token.is_alive(now) {
                self.good.remove(key);
            }
        }
        let refused = self.refused.get(key)?;
        let holds = is_after(now, refused.since) && now < refused.since.saturating_add(BACK_OFF);
        holds.then_some(Err(refused.error))
    }

    /// Returns a token that lives still, though it is time for the next.
    pub(super) fn get_due(&self, key: &RequestKey, now: UnixSeconds) -> Option<ServiceToken> {
        let token = self.good.get(key)?.token;
        (is_after(now, token.asked_at()) && token.is_alive(now)).then_some(token)
    }

    pub(super) fn insert(&self, key: RequestKey, request: &TokenRequest, token: &ServiceToken) {
        let asked_at = token.asked_at();
        let due = match token.expires_at() {
            Some(end) => {
                let life = end.since(asked_at);
                end.saturating_sub(LONGEST_AHEAD.min(life / 10))
            }
            // Nobody said how long; a token that has died is noticed by the one who is shown it.
            None => asked_at.saturating_add(UNSAID),
        };
        // Nobody said for how long the token is good that it was exchanged for.
        let is_unsure = request.is_exchange() && request.ends_at().is_none();
        let due = if is_unsure { due.min(asked_at.saturating_add(UNSAID)) } else { due };
        self.refused.remove(&key);
        if due > asked_at {
            self.good.insert(key, Held { token: token.clone(), due, owner: request.owner() });
        } else {
            self.good.remove(&key);
        }
    }

    /// Keeps a refusal for a moment, and what was there no longer.
    pub(super) fn refuse(&self, key: RequestKey, error: &TokenError, now: UnixSeconds) {
        self.good.remove(&key);
        self.refused.insert(key, Refused { error: error.clone(), since: now });
    }

    /// Lets a token that lives still be for a moment, because the provider has no other now.
    pub(super) fn postpone(&self, key: RequestKey, now: UnixSeconds) {
        if let Some(mut held) = self.good.get(&key) {
            held.due = now.saturating_add(BACK_OFF).min(held.token.expires_at().unwrap_or(UnixSeconds::MAX));
            self.good.insert(key, held);
        }
    }

    /// Forgets this token, not one that has taken its place. Tells whether it was there.
    pub(super) fn forget_token(&self, key: &RequestKey, token: &ServiceToken) -> bool {
        self.good.remove_if(key, |held| held.token.is(token)).is_some()
    }

    pub(super) fn forget(&self, key: &RequestKey) {
        self.good.remove(key);
        self.refused.remove(key);
    }

    pub(super) fn forget_owned(&self, is_gone: impl Fn(&Owner) -> bool) {
        self.good.retain(|_, held| !held.owner.as_ref().is_some_and(&is_gone));
    }

    pub(super) fn len(&self) -> usize {
        self.good.len()
    }
}

/// Tells whether the clock has not been set back since; two requests may have read it in another order than they got here.
fn is_after(now: UnixSeconds, then: UnixSeconds) -> bool {
    now.saturating_add(OUT_OF_ORDER) >= then
}

#[derive(Clone)]
struct Weight {
    /// An entry counts at least this much, which bounds their number.
    at_least: u64,
}

impl Weighter<RequestKey, Held> for Weight {
    fn weight(&self, _: &RequestKey, held: &Held) -> u64 {
        let owner = held.owner.as_ref().map_or(0, Owner::weight) as u64;
        (held.token.weight() + owner + OVERHEAD).max(self.at_least)
    }
}

/// What an entry costs beside what it points to.
const OVERHEAD: u64 = 256;
const MOST_REFUSALS: usize = 10_000;
/// For how long nothing is asked after a refusal, nor about a token that lives still after a failure.
pub(super) const BACK_OFF: Duration = Duration::from_secs(5);
/// How long before its end a token is replaced at the most; a tenth of its life if that is less.
const LONGEST_AHEAD: Duration = Duration::from_secs(60);
/// For how long a token is kept of which nobody said when it ends.
const UNSAID: Duration = Duration::from_secs(60);
const OUT_OF_ORDER: Duration = Duration::from_secs(5);
