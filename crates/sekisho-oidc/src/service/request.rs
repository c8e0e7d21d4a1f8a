use std::fmt;

use sekisho_core::{Failure, FailureKind, Principal, Secret, UnixSeconds};
use sekisho_jwt::Backend;

use super::cache::{Owner, RequestKey};
use crate::tokens::TokenError;

/// Says which token is wanted: in whose name, for whom, for what.
///
/// `Debug` shows audience, resource and scope, no token.
///
/// # Examples
/// ```
/// use sekisho_oidc::TokenRequest;
/// let own = TokenRequest::client_credentials().with_audience("stock").with_scope("stock:read");
/// let callers = TokenRequest::exchange("the token that came with the request").with_audience("stock");
/// # let _ = (own, callers);
/// ```
#[derive(Clone)]
#[must_use]
pub struct TokenRequest {
    grant: Grant,
    audiences: Vec<Box<str>>,
    resources: Vec<Box<str>>,
    /// Sorted, each once, so that the order in which they were named makes no other token.
    scopes: Vec<Box<str>>,
}

#[derive(Clone)]
enum Grant {
    ClientCredentials,
    Exchange(Box<Subject>),
}

#[derive(Clone)]
struct Subject {
    token: Secret,
    kind: Box<str>,
    actor: Option<(Secret, Box<str>)>,
    ends_at: Option<UnixSeconds>,
    owner: Option<Owner>,
}

impl TokenRequest {
    /// Asks in our own name ([RFC 6749 §4.4](https://www.rfc-editor.org/rfc/rfc6749#section-4.4)).
    pub const fn client_credentials() -> Self {
        Self::of(Grant::ClientCredentials)
    }

    /// Asks in the name of whoever this access token speaks of ([RFC 8693](https://www.rfc-editor.org/rfc/rfc8693)).
    ///
    /// Prefer [`on_behalf_of`](Self::on_behalf_of), which knows when the token ends and whose it is: without, what was exchanged is kept
    /// for 60 s at most, and is not found by [`purge_subject`](super::ServiceTokens::purge_subject).
    pub fn exchange(subject_token: impl Into<Secret>) -> Self {
        Self::of(Grant::Exchange(Box::new(Subject {
            token: subject_token.into(),
            kind: ACCESS_TOKEN.into(),
            actor: None,
            ends_at: None,
            owner: None,
        })))
    }

    /// Asks in the name of the caller, by the access token that came with the request and that `caller` was made of.
    ///
    /// What is exchanged lives no longer than the caller's token.
    pub fn on_behalf_of(caller: &Principal, access_token: impl Into<Secret>) -> Self {
        let mut request = Self::exchange(access_token);
        if let Grant::Exchange(subject) = &mut request.grant {
            subject.ends_at = caller.expires_at();
            subject.owner = Some(Owner::of(caller));
        }
        request
    }

    /// Sets when the token ends that is exchanged, where the caller's session says otherwise; `None` when nobody said.
    #[cfg(feature = "proxy")]
    pub(crate) fn ending_at(mut self, end: Option<UnixSeconds>) -> Self {
        if let Grant::Exchange(subject) = &mut self.grant {
            subject.ends_at = end;
        }
        self
    }

    /// Sets of which type the token is that is exchanged, such as `urn:ietf:params:oauth:token-type:jwt`
    /// ([RFC 8693 §3](https://www.rfc-editor.org/rfc/rfc8693#section-3)). Default: an access token. No effect on client credentials.
    pub fn with_subject_token_type(mut self, kind: impl Into<Box<str>>) -> Self {
        if let Grant::Exchange(subject) = &mut self.grant {
            subject.kind = kind.into();
        }
        self
    }

    /// Names who acts for the subject, by an access token of its own, so that the new token says so in `act`
    /// ([RFC 8693 §4.1](https://www.rfc-editor.org/rfc/rfc8693#section-4.1)). Default: us, if the provider writes `act` at all. No
    /// effect on client credentials.
    pub fn with_actor_token(mut self, token: impl Into<Secret>) -> Self {
        if let Grant::Exchange(subject) = &mut self.grant {
            subject.actor = Some((token.into(), ACCESS_TOKEN.into()));
        }
        self
    }

    /// Names a service for which the token is to be, by its name at the provider (`audience`).
    pub fn with_audience(mut self, audience: impl Into<Box<str>>) -> Self {
        self.audiences.push(audience.into());
        self
    }

    /// Names a service by its address (`resource`, [RFC 8707](https://www.rfc-editor.org/rfc/rfc8707)).
    pub fn with_resource(mut self, resource: impl Into<Box<str>>) -> Self {
        self.resources.push(resource.into());
        self
    }

    /// Adds scopes to ask for, separated by spaces.
    pub fn with_scope(mut self, scope: &str) -> Self {
        self.scopes.extend(scope.split(' ').filter(|name| !name.is_empty()).map(Into::into));
        self.scopes.sort_unstable();
        self.scopes.dedup();
        self
    }

    const fn of(grant: Grant) -> Self {
        Self { grant, audiences: Vec::new(), resources: Vec::new(), scopes: Vec::new() }
    }

    /// Refuses what cannot be sent or cannot be granted any more.
    pub(super) fn check(&self, now: UnixSeconds) -> Result<(), TokenError> {
        let names = self.audiences.iter().chain(&self.resources).chain(&self.scopes);
        let mut count = 0;
        for name in names {
            count += 1;
            if name.is_empty() || name.len() > LONGEST_NAME || name.chars().any(char::is_control) {
                return Err(UNUSABLE.into());
            }
        }
        if count > MOST_NAMES {
            return Err(UNUSABLE.into());
        }
        let Grant::Exchange(subject) = &self.grant else { return Ok(()) };
        let tokens = std::iter::once(&subject.token).chain(subject.actor.as_ref().map(|(token, _)| token));
        for token in tokens {
            if token.is_empty() || token.len() > LONGEST_TOKEN || !token.expose().iter().all(u8::is_ascii_graphic) {
                return Err(TokenError::Refused("invalid_request"));
            }
        }
        if subject.ends_at.is_some_and(|end| now >= end) { Err(TokenError::Grant) } else { Ok(()) }
    }

    /// Stands for the request: SHA-256 of all that decides about the token, each part with its length, so that no two mean the same.
    pub(super) fn key(&self, backend: Backend) -> RequestKey {
        let mut text = Vec::new();
        let mut part = |kind: u8, bytes: &[u8]| {
            text.push(kind);
            text.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
            text.extend_from_slice(bytes);
        };
        let Self { grant, audiences, resources, scopes } = self;
        if let Grant::Exchange(subject) = grant {
            let Subject { token, kind, actor, ends_at, owner } = &**subject;
            part(b's', token.expose());
            part(b't', kind.as_bytes());
            if let Some((token, kind)) = actor {
                part(b'a', token.expose());
                part(b'b', kind.as_bytes());
            }
            // Whose it is too: what is kept for nobody would not be found at a logout.
            if let Some((issuer, subject)) = owner.as_ref().map(Owner::names) {
                part(b'i', issuer.as_bytes());
                part(b'j', subject.as_bytes());
            }
            part(b'e', &ends_at.map_or(u64::MAX, UnixSeconds::as_secs).to_le_bytes());
        }
        audiences.iter().for_each(|audience| part(b'u', audience.as_bytes()));
        resources.iter().for_each(|resource| part(b'r', resource.as_bytes()));
        scopes.iter().for_each(|scope| part(b'c', scope.as_bytes()));
        let key = RequestKey::new(backend.sha256(&text));
        zeroize::Zeroize::zeroize(&mut text);
        key
    }

    pub(super) const fn is_exchange(&self) -> bool {
        matches!(self.grant, Grant::Exchange(_))
    }

    /// Returns when the token ends that is exchanged, if we know.
    pub(super) fn ends_at(&self) -> Option<UnixSeconds> {
        match &self.grant {
            Grant::Exchange(subject) => subject.ends_at,
            Grant::ClientCredentials => None,
        }
    }

    pub(super) fn owner(&self) -> Option<Owner> {
        match &self.grant {
            Grant::Exchange(subject) => subject.owner.clone(),
            Grant::ClientCredentials => None,
        }
    }

    pub(super) fn scope(&self) -> Option<String> {
        (!self.scopes.is_empty()).then(|| self.scopes.join(" "))
    }

    /// Lists for whom the token is to be, as parameters.
    pub(super) fn targets(&self) -> Vec<(&str, &str)> {
        let audiences = self.audiences.iter().map(|audience| ("audience", &**audience));
        audiences.chain(self.resources.iter().map(|resource| ("resource", &**resource))).collect()
    }

    /// Writes the form of an exchange ([RFC 8693 §2.1](https://www.rfc-editor.org/rfc/rfc8693#section-2.1)), but for the scope.
    pub(super) fn exchange_form(&self) -> Vec<(&str, &str)> {
        let mut form = vec![
            ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
            ("requested_token_type", ACCESS_TOKEN),
        ];
        if let Grant::Exchange(subject) = &self.grant {
            let Subject { token, kind, actor, ends_at: _, owner: _ } = &**subject;
            form.push(("subject_token", token.expose_str().unwrap_or_default()));
            form.push(("subject_token_type", kind));
            if let Some((token, kind)) = actor {
                form.push(("actor_token", token.expose_str().unwrap_or_default()));
                form.push(("actor_token_type", kind));
            }
        }
        form.extend(self.targets());
        form
    }
}

impl fmt::Debug for TokenRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { grant, audiences, resources, scopes } = self;
        let grant = match grant {
            Grant::ClientCredentials => "client_credentials",
            Grant::Exchange(_) => "token-exchange",
        };
        f.debug_struct("TokenRequest")
            .field("grant", &grant)
            .field("audiences", audiences)
            .field("resources", resources)
            .field("scopes", scopes)
            .finish_non_exhaustive()
    }
}

pub(super) const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
pub(super) const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";

const UNUSABLE: Failure = Failure::new(
    FailureKind::Misconfigured,
    "an audience, resource or scope is empty, too long, or there are too many",
);
const LONGEST_NAME: usize = 2048;
const MOST_NAMES: usize = 64;
const LONGEST_TOKEN: usize = 16 * 1024;
