//! Sessions without a store: the record is in the browser's cookies.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use base64_simd::URL_SAFE_NO_PAD;
use sekisho_core::{
    Clock, ConfigError, Failure, FailureKind, Refusal, Reject, RevocationCheck, SessionEndListener, SystemClock,
    UnixSeconds,
};
use sekisho_http::RequestHead;
use serde::{Deserialize, Serialize};
use serde_json::Map;
use zeroize::Zeroizing;

use crate::content::{Content, Loaded};
use crate::cookie::pieces::{PIECE, Pieces, There};
use crate::cookie::{SessionCookie, SetCookie};
use crate::crypto;
use crate::ending::EndListeners;
use crate::keys::SessionKeys;
use crate::request::Presented;
use crate::sessions::{Sessions, Timeouts};

mod no_store;

pub(crate) use no_store::NoStore;

/// Builds [`Sessions`] that keep no store; see [`Sessions::client_side`].
#[derive(Debug)]
#[must_use]
pub struct ClientSideSessionsBuilder {
    keys: SessionKeys,
    cookie: Option<SessionCookie>,
    timeouts: Timeouts,
    revocation: Revocation,
    listeners: EndListeners,
    clock: Arc<dyn Clock>,
}

#[derive(Clone, Default)]
struct Revocation(Option<Arc<dyn RevocationCheck>>);

impl fmt::Debug for Revocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "RevocationCheck" } else { "none" })
    }
}

impl ClientSideSessionsBuilder {
    pub(crate) fn new(keys: SessionKeys) -> Self {
        let (timeouts, revocation) = (Timeouts::default(), Revocation::default());
        let listeners = EndListeners::default();
        Self { keys, cookie: None, timeouts, revocation, listeners, clock: Arc::new(SystemClock) }
    }

    /// Sets the cookie that holds who is logged in. Data are in others beside it, `NAME.0` to `NAME.2`. Default
    /// `__Host-session`, `SameSite=Lax`.
    pub fn with_cookie(self, cookie: SessionCookie) -> Self {
        Self { cookie: Some(cookie), ..self }
    }

    /// Sets how long a session lives without a request. Default 30 minutes. It is extended at most once a minute (or in a tenth of
    /// this time, if that is less), so it can end by that much early.
    pub fn with_idle_timeout(mut self, idle: Duration) -> Self {
        self.timeouts.idle = idle;
        self
    }

    /// Sets how long a session lives in any case, from the login on, and by that for how long a stolen copy counts. Default 12 hours,
    /// at most 400 days.
    pub fn with_absolute_timeout(mut self, absolute: Duration) -> Self {
        self.timeouts.absolute = absolute;
        self
    }

    /// Asks of whoever is logged in whether that was withdrawn, by provider session (`sid`) or by subject: so that a logout at the
    /// provider ends sessions here. `iat` of the principal is when the session began. Default: nobody is asked.
    pub fn with_revocation(self, revocation: Arc<dyn RevocationCheck>) -> Self {
        Self { revocation: Revocation(Some(revocation)), ..self }
    }

    /// Tells `listener` of every logout, so that it forgets what it remembers of whoever was logged in. A copy of the cookies counts
    /// on after a logout, as ever. Several calls add up. Default: nobody is told.
    pub fn with_end_listener(mut self, listener: impl SessionEndListener + 'static) -> Self {
        self.listeners.add(listener);
        self
    }

    /// Sets the clock. Default: the system's.
    pub fn with_clock(self, clock: Arc<dyn Clock>) -> Self {
        Self { clock, ..self }
    }

    /// Builds them.
    ///
    /// # Errors
    /// A key that stands in the ring twice; timeouts below a second, or an absolute one below the idle one or above 400 days.
    pub fn build(self) -> Result<Sessions, ConfigError> {
        let Self { keys, cookie, timeouts, revocation, listeners, clock } = self;
        keys.check()?;
        timeouts.check()?;
        let cookie = cookie.map_or_else(|| SessionCookie::builder().build(), Ok)?;
        let pieces = Pieces::new(&cookie, PIECES);
        let client_side = ClientSide { keys: keys.clone(), cookie: cookie.clone(), pieces, revocation };
        Ok(Sessions::without_store(client_side, keys, cookie, timeouts, listeners, clock))
    }
}

/// All cookies of a request may have 16 KiB here, and a part of that is for others.
const PIECES: usize = 3;

/// Reads and writes sessions in cookies: one with who is logged in and until when, which is all that a checkpoint sees, and the
/// data in others beside it.
#[derive(Clone, Debug)]
pub(crate) struct ClientSide {
    keys: SessionKeys,
    cookie: SessionCookie,
    pieces: Pieces,
    revocation: Revocation,
}

/// Is what a request brought of a session.
#[derive(Clone)]
pub(crate) struct Brought {
    head: Option<Zeroizing<String>>,
    data: Option<Zeroizing<String>>,
    there: There,
}

/// Is what the first cookie says, sealed.
#[derive(Serialize, Deserialize)]
struct Head {
    /// All but the data.
    #[serde(rename = "c")]
    content: Content,
    #[serde(rename = "i")]
    idle_until: u64,
    /// INVARIANT: which data belong to it, to the byte; none without. Whoever could leave them out, or bring those of another
    /// moment, would have a session that never was: logged in, and without the mark that a second factor is due.
    #[serde(rename = "d", default, skip_serializing_if = "Option::is_none")]
    data: Option<Box<str>>,
}

impl ClientSide {
    /// Takes the cookies out of a request, and opens nothing.
    pub(crate) fn read(&self, request: &impl RequestHead) -> Presented {
        let there = self.pieces.there(request);
        match (self.cookie.read(request), self.pieces.read(request)) {
            (Err(reject), _) | (_, Err(reject)) => Presented::Unreadable(reject),
            (Ok(None), Ok(_)) if !there.is_any() => Presented::Nothing,
            (Ok(head), Ok(data)) => {
                Presented::InBrowser(Brought { head: head.map(|head| Zeroizing::new(head.to_owned())), data, there })
            }
        }
    }

    /// Opens the first cookie alone: who is logged in, and no data. `None` when it is no session's, or over, or withdrawn.
    pub(crate) fn open_head(&self, text: &str, now: UnixSeconds) -> Result<Option<Loaded>, Failure> {
        self.head(text, now).map(|head| head.map(|head| Loaded::in_browser(head.content, head.idle_until)))
    }

    fn head(&self, text: &str, now: UnixSeconds) -> Result<Option<Head>, Failure> {
        let Some(head) = self.unseal(HEAD, b"", text) else { return Ok(None) };
        let Ok(head) = serde_json::from_slice::<Head>(&head) else { return Ok(None) };
        if now.as_secs() >= head.idle_until.min(head.content.ends_at) {
            return Ok(None);
        }
        if let (Some(check), Some(identity)) = (&self.revocation.0, &head.content.identity)
            && check.is_revoked(&identity.checked()?.into_principal(), now)?
        {
            return Ok(None);
        }
        Ok(Some(head))
    }

    /// Opens the session that a request brought; `None` when there is none.
    ///
    /// # Errors
    /// [`Reject::MalformedRequest`] when the data are not those that belong to it; [`Failure`] when it cannot be told whether it
    /// was withdrawn.
    pub(crate) fn open(&self, brought: &Brought, now: UnixSeconds) -> Result<Option<Loaded>, Refusal> {
        let Some(text) = &brought.head else { return Ok(None) };
        let Some(Head { mut content, idle_until, data }) = self.head(text, now)? else { return Ok(None) };
        if let Some(digest) = data {
            let sealed = brought.data.as_ref().filter(|sealed| digest == digest_of(sealed));
            let opened = sealed.and_then(|sealed| self.unseal(DATA, content.handle.as_bytes(), sealed));
            let read = opened.and_then(|plain| serde_json::from_slice(&plain).ok());
            content.data = read.ok_or(Reject::MalformedRequest)?;
        }
        Ok(Some(Loaded::in_browser(content, idle_until)))
    }

    /// Writes the cookies of a session, and takes away what is left over of an earlier one.
    pub(crate) fn set(
        &self,
        content: &Content,
        idle_until: UnixSeconds,
        there: There,
    ) -> Result<Vec<SetCookie>, Failure> {
        let sealed = match content.data.is_empty() {
            true => None,
            false => Some(self.seal(DATA, content.handle.as_bytes(), &content.data)?),
        };
        let data = sealed.as_ref().map(|sealed| digest_of(sealed));
        let content = Content { data: Map::new(), ..content.clone() };
        let head = self.seal(HEAD, b"", &Head { content, idle_until: idle_until.as_secs(), data })?;
        if head.len() > PIECE {
            return Err(misconfigured("who is logged in does not fit into one cookie"));
        }
        let mut set = vec![self.cookie.set(&head, None)];
        let pieces = self.pieces.set(sealed.as_ref().map_or("", |sealed| sealed), None, there);
        set.extend(pieces.ok_or_else(|| misconfigured("the data of a session do not fit into the browser's cookies"))?);
        Ok(set)
    }

    /// Takes all cookies away that are there.
    pub(crate) fn removal(&self, presented: &Presented) -> Vec<SetCookie> {
        let (has_head, there) = match presented {
            Presented::InBrowser(Brought { head, there, .. }) => (head.is_some(), *there),
            Presented::Unreadable(_) => (true, There::ALL),
            _ => (false, There::default()),
        };
        let head = has_head.then(|| self.cookie.removal());
        head.into_iter().chain(self.pieces.removal(there)).collect()
    }

    fn seal(&self, purpose: &str, context: &[u8], value: &impl Serialize) -> Result<Zeroizing<String>, Failure> {
        let plain = serde_json::to_vec(value).map_err(|_| misconfigured("a session cannot be written"))?;
        let sealed = self.keys.seal(purpose, &self.context(context), &Zeroizing::new(plain))?;
        Ok(Zeroizing::new(URL_SAFE_NO_PAD.encode_to_string(sealed)))
    }

    fn unseal(&self, purpose: &str, context: &[u8], text: &str) -> Option<Zeroizing<Vec<u8>>> {
        let sealed = URL_SAFE_NO_PAD.decode_to_vec(text).ok()?;
        self.keys.open(purpose, &self.context(context), &sealed)
    }

    /// Binds what is sealed to the cookie's name, so that those of two services are not taken for each other.
    fn context(&self, of: &[u8]) -> [u8; 32] {
        crypto::digest("client-side session", &[self.cookie.name().as_bytes(), of])
    }
}

impl Brought {
    pub(crate) const fn there(&self) -> There {
        self.there
    }
}

fn digest_of(sealed: &str) -> Box<str> {
    URL_SAFE_NO_PAD.encode_to_string(crypto::digest("client-side data", &[sealed.as_bytes()])).into()
}

const fn misconfigured(context: &'static str) -> Failure {
    Failure::new(FailureKind::Misconfigured, context)
}

const HEAD: &str = "client-side session";
const DATA: &str = "client-side session data";
