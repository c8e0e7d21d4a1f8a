//! Logins that are under way, each in a cookie of its own, in the browser that began it and nowhere else.

use std::collections::BTreeMap;
use std::time::Duration;

use sekisho_core::{ConfigError, Failure, FailureKind, UnixSeconds};
use sekisho_http::RequestHead;
use sekisho_session::{ClientSideCookie, ReturnTo, SessionKeys, SetCookie};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

/// Keeps pending logins: `__Host-login-STATE`, Lax, sealed, ten minutes; seven of them at the most, and 8 KiB.
#[derive(Clone, Debug)]
pub(crate) struct PendingLogins {
    keys: SessionKeys,
    prefix: Box<str>,
}

/// Is a login that is under way.
pub(crate) struct Pending {
    pub(crate) note: Note,
    /// What the provider's side wrote.
    pub(crate) login: Zeroizing<Vec<u8>>,
}

/// Is what we add to it.
#[derive(Serialize, Deserialize)]
pub(crate) struct Note {
    #[serde(rename = "p")]
    pub(crate) provider: Box<str>,
    #[serde(rename = "r")]
    return_to: Box<str>,
    #[serde(rename = "s", default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) is_silent: bool,
    #[serde(rename = "c")]
    created_at: u64,
}

impl Note {
    pub(crate) fn new(provider: &str, return_to: &ReturnTo, is_silent: bool, now: UnixSeconds) -> Self {
        let (provider, return_to) = (provider.into(), return_to.as_str().into());
        Self { provider, return_to, is_silent, created_at: now.as_secs() }
    }

    /// Returns where to go on to. It was sealed by us, and is looked at all the same.
    pub(crate) fn return_to(&self) -> Option<ReturnTo> {
        ReturnTo::parse(&self.return_to)
    }
}

impl PendingLogins {
    pub(crate) fn new(keys: SessionKeys, prefix: &str) -> Result<Self, ConfigError> {
        if !prefix.starts_with("__Host-") {
            return Err(ConfigError::new(format!(
                "{prefix:?} must begin with `__Host-`, or another host could set such cookies"
            )));
        }
        let logins = Self { keys, prefix: prefix.into() };
        // Whatever is wrong with name or keys shows now.
        logins.cookie(&format!("{prefix}{}", "A".repeat(NAME_LENGTH)))?;
        Ok(logins)
    }

    /// Writes the cookies that keep a login, and that take the oldest ones away if there would be too many.
    pub(crate) fn keep(
        &self,
        head: &impl RequestHead,
        state: &str,
        pending: &Pending,
        now: UnixSeconds,
    ) -> Result<Vec<SetCookie>, Failure> {
        let name =
            self.name(state).ok_or(Failure::new(FailureKind::Misconfigured, "`state` is not made for a name"))?;
        let Pending { note, login } = pending;
        let mut value = Zeroizing::new(serde_json::to_vec(note).map_err(|_| UNWRITABLE)?);
        // JSON has no such byte.
        value.push(0);
        value.extend_from_slice(login);
        let mut set = self.cookie(&name).map_err(|_| UNWRITABLE)?.set(&value, now, head)?;
        let mut bytes: usize = set.iter().map(|set| set.expose().len()).sum();
        let mut others: Vec<(u64, String, usize)> = Vec::new();
        for (other, size) in self.names(head) {
            match self.read(head, &other, now) {
                Some(pending) if other != name => others.push((pending.note.created_at, other, size)),
                Some(_) => {}
                None => set.extend(self.take(head, &other)),
            }
        }
        others.sort_by(|a, b| b.cmp(a));
        for (number, (_, other, size)) in others.into_iter().enumerate() {
            bytes = bytes.saturating_add(size);
            if number + 1 >= MOST_LOGINS || bytes > MOST_BYTES {
                set.extend(self.take(head, &other));
            }
        }
        Ok(set)
    }

    /// Finds the login that this browser began with `state`.
    pub(crate) fn find(&self, head: &impl RequestHead, state: &str, now: UnixSeconds) -> Option<Pending> {
        self.read(head, &self.name(state)?, now)
    }

    /// Writes the cookies that take a login away.
    pub(crate) fn removal(&self, head: &impl RequestHead, state: &str) -> Vec<SetCookie> {
        self.name(state).map(|name| self.take(head, &name)).unwrap_or_default()
    }

    fn read(&self, head: &impl RequestHead, name: &str, now: UnixSeconds) -> Option<Pending> {
        let value = self.cookie(name).ok()?.read(head, now).ok()??;
        let end = value.iter().position(|byte| *byte == 0)?;
        let (note, login) = value.split_at_checked(end)?;
        let note = serde_json::from_slice(note).ok()?;
        Some(Pending { note, login: Zeroizing::new(login.get(1..)?.to_vec()) })
    }

    fn take(&self, head: &impl RequestHead, name: &str) -> Vec<SetCookie> {
        self.cookie(name).map(|cookie| cookie.removal(head)).unwrap_or_default()
    }

    /// Names the cookie of a login. Whatever else came as `state` names none.
    fn name(&self, state: &str) -> Option<String> {
        let is_ours = state.len() <= MAX_STATE && state.bytes().all(is_name_byte);
        let start = state.get(..NAME_LENGTH).filter(|_| is_ours)?;
        Some(format!("{}{start}", self.prefix))
    }

    fn cookie(&self, name: &str) -> Result<ClientSideCookie, ConfigError> {
        ClientSideCookie::builder(self.keys.clone()).with_name(name).with_lifetime(LIFETIME).build()
    }

    /// Lists the logins of which a request shows cookies, with what those weigh.
    fn names(&self, head: &impl RequestHead) -> BTreeMap<String, usize> {
        let mut names = BTreeMap::new();
        for pair in head.header("cookie").flat_map(|value| value.split(|b| *b == b';')) {
            let pair = pair.trim_ascii();
            let name = pair.split(|b| *b == b'=').next().and_then(|name| std::str::from_utf8(name).ok());
            let Some(rest) = name.and_then(|name| name.strip_prefix(&*self.prefix)) else { continue };
            let Some((start, _piece)) = rest.split_once('.') else { continue };
            if start.len() == NAME_LENGTH && start.bytes().all(is_name_byte) && names.len() < MOST_NAMES {
                *names.entry(format!("{}{start}", self.prefix)).or_default() += pair.len();
            }
        }
        names
    }
}

fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')
}

const LIFETIME: Duration = Duration::from_secs(600);
/// 96 bits of a random `state`; the rest is compared when the login is finished.
const NAME_LENGTH: usize = 16;
const MAX_STATE: usize = 256;
const MOST_LOGINS: usize = 7;
/// Half of what a request's cookies may weigh here, and less than what servers take.
const MOST_BYTES: usize = 8 * 1024;
const MOST_NAMES: usize = 64;

const UNWRITABLE: Failure = Failure::new(FailureKind::Misconfigured, "a pending login cannot be written");
