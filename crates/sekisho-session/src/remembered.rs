use std::time::Duration;

use base64_simd::URL_SAFE_NO_PAD;
use sekisho_core::{ConfigError, Failure, FailureKind, Principal, SessionEnd, UnixSeconds};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use crate::content::{self, Card, Content, Identity, Kind, Loaded};
use crate::cookie::{SessionCookie, SessionCookieBuilder, SetCookie};
use crate::crypto;
use crate::sessions::Sessions;
use crate::store::Saved;
use crate::token::{SessionHash, SessionToken};

/// Says how logins are remembered beyond their session ("keep me logged in"): by a token of its own, in a cookie of its own.
///
/// The token is good once: who comes by it gets another one, with the same end. Of two requests that bring it at once one is
/// logged in. One that comes a second time, later than 30 s after the first, is a copy in somebody's hands: nobody can tell whose,
/// so everything that came of that login ends, sessions too, and whoever is at the browser has to log in. So it does when a browser
/// is set back to an earlier state, or lost an answer.
///
/// A remembered login stands in the list of its user's sessions, as one with the sessions that come of it, which have its public id;
/// and it ends with them when they are ended there, by a logout, or by a login as somebody else.
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

    pub(crate) const fn lifetime(&self) -> Duration {
        self.lifetime
    }
}

const MAX_LIFETIME: Duration = Duration::from_secs(400 * 24 * 3600);

/// Is what the cookie holds: the name of a remembered login, which stays, and 128 random bits that are good once.
#[derive(Clone)]
pub(crate) struct RememberedToken {
    login: SessionToken,
    once: Zeroizing<String>,
}

impl RememberedToken {
    /// Reads a cookie; `None` when it is of another form.
    pub(crate) fn from_text(text: &str) -> Option<Self> {
        let (login, once) = text.split_once('.')?;
        let sound = once.len() == 22 && once.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
        let login = SessionToken::from_text(login)?;
        sound.then(|| Self { login, once: Zeroizing::new(once.to_owned()) })
    }

    /// Makes the next one of the same login.
    fn next(login: SessionToken) -> Result<Self, Failure> {
        let once = Zeroizing::new(crypto::random::<16>()?);
        Ok(Self { login, once: Zeroizing::new(URL_SAFE_NO_PAD.encode_to_string(*once)) })
    }

    fn to_text(&self) -> Zeroizing<String> {
        Zeroizing::new(format!("{}.{}", &*self.login.to_text(), &*self.once))
    }

    fn id(&self) -> SessionHash {
        Kind::Remembered.hash(&self.login)
    }

    fn digest(&self) -> Box<str> {
        URL_SAFE_NO_PAD.encode_to_string(crypto::digest("remembered login", &[self.once.as_bytes()])).into()
    }
}

/// Is what the record of a remembered login says beside who it is: of which token it waits, and which were used.
#[derive(Serialize, Deserialize)]
struct Uses {
    /// SHA-256 of the token that is good.
    current: Box<str>,
    /// Those that were used a moment ago, and when.
    used: Vec<(Box<str>, u64)>,
}

/// Says what a token is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Standing {
    Good,
    /// It was used a moment ago: by another request of the same browser.
    JustUsed,
    /// It was used longer ago, or never was one.
    Stolen,
}

impl Uses {
    fn of(loaded: &Loaded) -> Result<Self, Failure> {
        serde_json::from_value(Value::Object(loaded.content.data.clone())).map_err(|_| UNREADABLE)
    }

    fn into_data(self) -> Result<Map<String, Value>, Failure> {
        match serde_json::to_value(self) {
            Ok(Value::Object(data)) => Ok(data),
            _ => Err(UNREADABLE),
        }
    }

    fn standing(&self, token: &RememberedToken, now: UnixSeconds) -> Standing {
        let digest = token.digest();
        let is = |known: &str| bool::from(known.as_bytes().ct_eq(digest.as_bytes()));
        if is(&self.current) {
            return Standing::Good;
        }
        let is_late = |used_at: u64| now >= UnixSeconds::new(used_at).saturating_add(GRACE);
        match self.used.iter().any(|(known, used_at)| is(known) && !is_late(*used_at)) {
            true => Standing::JustUsed,
            false => Standing::Stolen,
        }
    }

    fn after(self, next: &RememberedToken, now: UnixSeconds) -> Self {
        let Self { current, mut used } = self;
        used.push((current, now.as_secs()));
        let first = used.len().saturating_sub(MOST_USED);
        used.drain(..first);
        used.retain(|(_, used_at)| now < UnixSeconds::new(*used_at).saturating_add(GRACE));
        Self { current: next.digest(), used }
    }
}

/// How long after its use a token can come again in a request that was under way.
const GRACE: Duration = Duration::from_secs(30);
const MOST_USED: usize = 16;
const UNREADABLE: Failure = Failure::unavailable("a remembered login cannot be read");

/// Keeps the login of a session until `until`; returns the cookie to set.
pub(crate) async fn keep(
    sessions: &Sessions,
    remembered: &RememberedLogins,
    session: &Content,
    device: Option<&str>,
) -> Result<SetCookie, Failure> {
    let (keys, now) = (sessions.keys(), sessions.now());
    let until = now.saturating_add(remembered.lifetime);
    let token = RememberedToken::next(SessionToken::generate(keys.current().name())?)?;
    let data = Uses { current: token.digest(), used: Vec::new() }.into_data()?;
    let content = Content { ends_at: until.as_secs(), superseded: false, data, ..session.clone() };
    let new = content::new_session(keys, Kind::Remembered, &token.login, &content, device, until)?;
    if !sessions.store().create(token.id(), &new, now).await? {
        return Err(Failure::new(FailureKind::Misconfigured, "a new token for a remembered login was taken already"));
    }
    Ok(remembered.cookie.set(&token.to_text(), Some(until.since(now))))
}

/// Says what came of looking a token up.
pub(crate) enum Found {
    Nothing,
    /// It was good once before; all that came of it is ended.
    Stolen,
    Login(Box<FoundLogin>),
}

/// Is what a good token says.
pub(crate) struct FoundLogin {
    pub(crate) principal: Principal,
    pub(crate) device: Option<Box<str>>,
    /// The public id that it has with all sessions that come of it.
    pub(crate) handle: Box<str>,
}

/// Looks a token up, and ends what came of one that is used again.
pub(crate) async fn find(sessions: &Sessions, token: &RememberedToken) -> Result<Found, Failure> {
    let Some(loaded) = load(sessions, token).await? else { return Ok(Found::Nothing) };
    match Uses::of(&loaded)?.standing(token, sessions.now()) {
        Standing::Good => {}
        Standing::JustUsed => return Ok(Found::Nothing),
        Standing::Stolen => {
            let handle = &loaded.content.handle;
            tracing::warn!(target: "sekisho", session = &**handle, "a remembered login was used twice: all that came of it is ended");
            let subject = sessions.subject_to_tell(&loaded);
            let _ending = subject.as_ref().map(|subject| sessions.ending(SessionEnd::Subject(subject)));
            sessions.end_tagged(|key| content::handle_tag(key, handle)).await?;
            return Ok(Found::Stolen);
        }
    }
    let device = device_of(sessions, &loaded).await?;
    let Some(identity) = &loaded.content.identity else { return Ok(Found::Nothing) };
    let principal = remembered_principal(identity)?;
    let handle = loaded.content.handle.clone();
    Ok(Found::Login(Box::new(FoundLogin { principal, device, handle })))
}

/// Uses a token up, and returns the cookie of the next one; `None` when it was not good any more: of all that try, one is told so.
pub(crate) async fn use_up(
    sessions: &Sessions,
    remembered: &RememberedLogins,
    token: &RememberedToken,
) -> Result<Option<SetCookie>, Failure> {
    let (keys, now) = (sessions.keys(), sessions.now());
    let Some(loaded) = load(sessions, token).await? else { return Ok(None) };
    let uses = Uses::of(&loaded)?;
    if uses.standing(token, now) != Standing::Good {
        return Ok(None);
    }
    let next = RememberedToken::next(token.login.clone())?;
    let content = Content { data: uses.after(&next, now).into_data()?, ..loaded.content.clone() };
    let until = UnixSeconds::new(content.ends_at);
    // The idle deadline is past the end, and tells lists when it was used.
    let update = loaded.update(keys, &content, now.saturating_add(remembered.lifetime), until)?;
    let saved = sessions.store().save(&loaded.id, loaded.version, &update, now).await?;
    Ok((saved == Saved::Done).then(|| remembered.cookie.set(&next.to_text(), Some(until.since(now)))))
}

/// Ends a remembered login with all that came of it, whether or not the token is good: whoever brings it is done with it.
pub(crate) async fn forget(sessions: &Sessions, token: &RememberedToken) -> Result<(), Failure> {
    if let Some(loaded) = load(sessions, token).await? {
        let subject = sessions.subject_to_tell(&loaded);
        let _ending = subject.as_ref().map(|subject| sessions.ending(SessionEnd::Subject(subject)));
        sessions.end_handle(&loaded.content.handle).await?;
    }
    Ok(())
}

async fn load(sessions: &Sessions, token: &RememberedToken) -> Result<Option<Loaded>, Failure> {
    let (keys, now) = (sessions.keys(), sessions.now());
    if keys.named(token.login.key_name()).is_none() {
        return Ok(None);
    }
    let Some(stored) = sessions.store().load_latest(&token.id(), now).await? else { return Ok(None) };
    Loaded::open(keys, Kind::Remembered, token.login.clone(), &stored, now)
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
