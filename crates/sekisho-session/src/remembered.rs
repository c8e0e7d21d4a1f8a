use std::time::Duration;

use sekisho_core::{ConfigError, Failure, FailureKind, Principal, UnixSeconds};

use crate::content::{self, Card, Content, Identity, Kind, Loaded};
use crate::cookie::{SessionCookie, SessionCookieBuilder, SetCookie};
use crate::sessions::Sessions;
use crate::store::Saved;
use crate::token::SessionToken;

/// Says how logins are remembered beyond their session ("keep me logged in"): by a token of its own, in a cookie of its own.
///
/// The token is good once: who comes by it gets another one, with the same end. It stands in the list of its user's sessions,
/// as one with the session that came of it, and ends with that when it is ended there, by a logout, or by a login as somebody else.
/// Of two requests that bring it at once one is logged in.
///
/// It says less than a login: see [`RequestSession::log_in_remembered`](crate::RequestSession::log_in_remembered).
#[derive(Clone, Debug)]
pub struct RememberedLogins {
    cookie: SessionCookie,
    lifetime: Duration,
}

impl RememberedLogins {
    /// Remembers for `lifetime` from the login on, at most 400 days, in the cookie `__Host-remembered`.
    ///
    /// # Errors
    /// As for [`with_cookie`](Self::with_cookie).
    pub fn for_lifetime(lifetime: Duration) -> Result<Self, ConfigError> {
        Self::with_cookie(SessionCookie::builder().with_name("__Host-remembered"), lifetime)
    }

    /// Remembers in another cookie.
    ///
    /// # Errors
    /// What [`SessionCookieBuilder::build`] refuses; a lifetime of no second, or above 400 days.
    pub fn with_cookie(cookie: SessionCookieBuilder, lifetime: Duration) -> Result<Self, ConfigError> {
        if lifetime.as_secs() == 0 || lifetime > MAX_LIFETIME {
            return Err(ConfigError::new("logins are remembered for a second at least and for 400 days at the most"));
        }
        Ok(Self { cookie: cookie.build()?, lifetime })
    }

    /// Returns the cookie.
    #[must_use]
    pub const fn cookie(&self) -> &SessionCookie {
        &self.cookie
    }

    pub(crate) fn ends_at(&self, now: UnixSeconds) -> UnixSeconds {
        now.saturating_add(self.lifetime)
    }
}

const MAX_LIFETIME: Duration = Duration::from_secs(400 * 24 * 3600);

/// Keeps the login of a session until `until`; returns the cookie to set.
pub(crate) async fn keep(
    sessions: &Sessions,
    remembered: &RememberedLogins,
    session: &Content,
    device: Option<&str>,
    until: UnixSeconds,
) -> Result<SetCookie, Failure> {
    let (keys, now) = (sessions.keys(), sessions.now());
    let token = SessionToken::generate(keys.current().name())?;
    let Content { handle, created_at, ends_at: _, superseded: _, identity, data: _ } = session;
    let (handle, created_at, ends_at) = (handle.clone(), *created_at, until.as_secs());
    let content = Content {
        handle,
        created_at,
        ends_at,
        superseded: false,
        identity: identity.clone(),
        data: Default::default(),
    };
    let new = content::new_session(keys, Kind::Remembered, &token, &content, device, until)?;
    if !sessions.store().create(Kind::Remembered.hash(&token), &new, now).await? {
        return Err(Failure::new(FailureKind::Misconfigured, "a new token for a remembered login was taken already"));
    }
    Ok(remembered.cookie.set(&token.to_text(), Some(until.since(now))))
}

/// Is what a good token says.
pub(crate) struct Found {
    pub(crate) principal: Principal,
    pub(crate) device: Option<Box<str>>,
    /// Until when the login is remembered.
    pub(crate) until: u64,
    /// The public id of the session that it belongs to.
    pub(crate) handle: Box<str>,
}

/// Looks a token up.
pub(crate) async fn find(sessions: &Sessions, token: &SessionToken) -> Result<Option<Found>, Failure> {
    let (keys, now, id) = (sessions.keys(), sessions.now(), Kind::Remembered.hash(token));
    if keys.named(token.key_name()).is_none() {
        return Ok(None);
    }
    let Some(stored) = sessions.store().load_latest(&id, now).await? else { return Ok(None) };
    let Some(loaded) = Loaded::open(keys, Kind::Remembered, token.clone(), &stored, now)? else { return Ok(None) };
    if loaded.content.superseded {
        return Ok(None);
    }
    let device = device_of(sessions, &loaded).await?;
    let Some(identity) = &loaded.content.identity else { return Ok(None) };
    let principal = remembered_principal(identity)?;
    Ok(Some(Found { principal, device, until: loaded.content.ends_at, handle: loaded.content.handle.clone() }))
}

/// Uses a token up. Returns whether it was good until now: of all that try, one is told so.
pub(crate) async fn use_up(sessions: &Sessions, token: &SessionToken) -> Result<bool, Failure> {
    let (keys, now, id) = (sessions.keys(), sessions.now(), Kind::Remembered.hash(token));
    let Some(stored) = sessions.store().load_latest(&id, now).await? else { return Ok(false) };
    let Some(loaded) = Loaded::open(keys, Kind::Remembered, token.clone(), &stored, now)? else { return Ok(false) };
    if loaded.content.superseded {
        return Ok(false);
    }
    let update = loaded.retire(keys, now, Duration::ZERO)?;
    Ok(sessions.store().save(&id, loaded.version, &update, now).await? == Saved::Done)
}

/// Takes from a principal what it proved about the moment of its login, but when that was.
fn remembered_principal(identity: &Identity) -> Result<Principal, Failure> {
    identity.without_authentication("remembered")?.checked().map(|checked| checked.into_principal())
}

async fn device_of(sessions: &Sessions, loaded: &Loaded) -> Result<Option<Box<str>>, Failure> {
    let Some(key) = sessions.keys().named(loaded.token.key_name()) else { return Ok(None) };
    let listed = sessions.store().list(&content::handle_tag(key, &loaded.content.handle), sessions.now()).await?;
    let own = listed.iter().find(|listed| listed.id == loaded.id);
    Ok(own.and_then(|own| Card::open(sessions.keys(), &own.id, &own.card)).and_then(|card| card.device))
}
