use std::fmt;
use std::sync::Arc;

/// Names a step of a request through a gateway with a JWT authorizer, in the order in which they are taken.
///
/// A refused request ends at the step that refused it, and then at [`Client`](Self::Client).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum JourneyStep {
    /// The client's request reaches the gateway.
    Request,
    /// The gateway hands the token to the authorizer.
    Authorizer,
    /// The authorizer has the issuer's key set, from memory or fetched.
    KeySet,
    /// The key that the token's `kid` names is chosen.
    Key,
    /// Signature and claims are verified.
    Verify,
    /// The request goes to the backend.
    Backend,
    /// The backend's answer reaches the gateway.
    Gateway,
    /// The answer goes to the client.
    Client,
}

impl JourneyStep {
    /// Returns its number, 1 to 8.
    #[must_use]
    pub const fn number(self) -> u8 {
        self as u8 + 1
    }

    /// Returns a short name, such as `key set`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::Authorizer => "authorizer",
            Self::KeySet => "key set",
            Self::Key => "key",
            Self::Verify => "verify",
            Self::Backend => "backend",
            Self::Gateway => "gateway",
            Self::Client => "client",
        }
    }
}

/// Hears of each step as it happens; for demonstrations and for finding faults.
///
/// While somebody listens each token is verified anew, past the cache, so that there is something to tell.
pub trait JourneyListener: Send + Sync {
    /// Hears of one step.
    ///
    /// - `journey`: the number of the request, in the order of arrival.
    /// - `detail`: one line, without the token; what it shows of the request is escaped and cut.
    fn on_step(&self, journey: u64, step: JourneyStep, detail: &str);
}

/// Is one request's way, told to a listener or to nobody.
#[derive(Clone, Default)]
pub struct Journey(Option<(u64, Arc<dyn JourneyListener>)>);

impl Journey {
    /// Tells nobody, which costs nothing.
    #[must_use]
    pub const fn silent() -> Self {
        Self(None)
    }

    /// Tells a listener, under this number.
    #[must_use]
    pub fn told_to(listener: Arc<dyn JourneyListener>, number: u64) -> Self {
        Self(Some((number, listener)))
    }

    pub(crate) const fn is_told(&self) -> bool {
        self.0.is_some()
    }

    pub(crate) fn tell(&self, step: JourneyStep, detail: impl FnOnce() -> String) {
        if let Some((number, listener)) = &self.0 {
            listener.on_step(*number, step, &detail());
        }
    }
}

impl fmt::Debug for Journey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Journey({:?})", self.0.as_ref().map(|(number, _)| number))
    }
}

/// Makes a text from outside safe to show: one line, at most 120 characters of it.
pub(crate) fn shown(text: &str) -> String {
    text.chars().take(120).flat_map(char::escape_default).collect()
}
