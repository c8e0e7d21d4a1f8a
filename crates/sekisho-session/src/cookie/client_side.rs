use std::time::Duration;

use base64_simd::URL_SAFE_NO_PAD;
use sekisho_core::{ConfigError, Failure, FailureKind, Reject, UnixSeconds};
use sekisho_http::RequestHead;
use zeroize::Zeroizing;

use crate::cookie::pieces::Pieces;
use crate::cookie::{SameSite, SessionCookie, SessionCookieBuilder, SetCookie};
use crate::keys::SessionKeys;

/// Keeps a value in the browser itself, encrypted, in as many cookies as it needs: for set-ups without a store.
///
/// What it cannot do: nothing ends such a value before its time but the browser's own obedience, a copy works as long as the
/// original, and of two requests at once the later answer wins. A [`SessionStore`](crate::SessionStore) has none of that.
///
/// The value stands in `NAME.0`, `NAME.1` and so on, sealed as a whole: pieces of two values, or fewer pieces, open nothing.
///
/// # Examples
/// ```
/// use std::time::Duration;
/// use sekisho_core::UnixSeconds;
/// use sekisho_http::HeadParts;
/// use sekisho_session::{ClientSideCookie, SessionKey, SessionKeys};
///
/// let cookie = ClientSideCookie::builder(SessionKeys::new(SessionKey::generate()?)).build()?;
/// let now = UnixSeconds::new(1_800_000_000);
/// let set = cookie.set(b"a refresh token", now, &HeadParts { method: "GET", path: "/", headers: &[] })?;
/// let sent = set[0].expose().split(';').next().unwrap().to_owned();
/// let head = HeadParts { method: "GET", path: "/", headers: &[("cookie", sent.as_bytes())] };
/// assert_eq!(cookie.read(&head, now)?.unwrap().as_slice(), b"a refresh token");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct ClientSideCookie {
    /// Binds the value to it, so that two such cookies are not taken for each other.
    name: Box<str>,
    pieces: Pieces,
    keys: SessionKeys,
    lifetime: Duration,
}

impl ClientSideCookie {
    /// The longest value, in bytes: what fits into four cookies of 3,800 characters.
    pub const MAX_VALUE: usize = 11_300;

    /// Starts from the defaults.
    pub fn builder(keys: SessionKeys) -> ClientSideCookieBuilder {
        ClientSideCookieBuilder {
            keys,
            cookie: SessionCookie::builder().with_name("__Host-data"),
            lifetime: DEFAULT_LIFETIME,
        }
    }

    /// Writes the `Set-Cookie` values that keep `value`, and take away pieces of an earlier one that `head` still shows.
    ///
    /// # Errors
    /// [`Failure`], `Misconfigured`: longer than [`MAX_VALUE`](Self::MAX_VALUE), or nothing could be encrypted.
    pub fn set(&self, value: &[u8], now: UnixSeconds, head: &impl RequestHead) -> Result<Vec<SetCookie>, Failure> {
        if value.len() > Self::MAX_VALUE {
            return Err(TOO_LONG);
        }
        let ends_at = now.saturating_add(self.lifetime).as_secs().to_be_bytes();
        let plain = Zeroizing::new([&ends_at[..], value].concat());
        let text = URL_SAFE_NO_PAD.encode_to_string(self.keys.seal(PURPOSE, self.name.as_bytes(), &plain)?);
        self.pieces.set(&text, Some(self.lifetime), self.pieces.there(head)).ok_or(TOO_LONG)
    }

    /// Reads the value; `None` when there is none, or it is not one of ours, or its time is over.
    ///
    /// # Errors
    /// What [`SessionCookie::read`] refuses.
    pub fn read(&self, head: &impl RequestHead, now: UnixSeconds) -> Result<Option<Zeroizing<Vec<u8>>>, Reject> {
        Ok(self.pieces.read(head)?.and_then(|text| self.open(&text, now)))
    }

    fn open(&self, text: &str, now: UnixSeconds) -> Option<Zeroizing<Vec<u8>>> {
        let sealed = URL_SAFE_NO_PAD.decode_to_vec(text).ok()?;
        let plain = self.keys.open(PURPOSE, self.name.as_bytes(), &sealed)?;
        let (ends_at, value) = plain.split_first_chunk::<8>()?;
        // Browsers forget in time by themselves; thieves do not.
        (now < UnixSeconds::new(u64::from_be_bytes(*ends_at))).then(|| Zeroizing::new(value.to_vec()))
    }

    /// Writes the `Set-Cookie` values that take away all pieces that `head` shows.
    pub fn removal(&self, head: &impl RequestHead) -> Vec<SetCookie> {
        self.pieces.removal(self.pieces.there(head))
    }
}

/// Builds a [`ClientSideCookie`].
#[derive(Clone, Debug)]
#[must_use]
pub struct ClientSideCookieBuilder {
    keys: SessionKeys,
    cookie: SessionCookieBuilder,
    lifetime: Duration,
}

impl ClientSideCookieBuilder {
    /// Sets the name, the pieces' names without their number. Default `__Host-data`.
    pub fn with_name(self, name: impl Into<String>) -> Self {
        Self { cookie: self.cookie.with_name(name), ..self }
    }

    /// Says when it goes along with requests that other sites cause. Default [`SameSite::Lax`].
    pub fn with_same_site(self, same_site: SameSite) -> Self {
        Self { cookie: self.cookie.with_same_site(same_site), ..self }
    }

    /// Sets for how long a value counts from when it is set. Default 1 hour.
    pub fn with_lifetime(self, lifetime: Duration) -> Self {
        Self { lifetime, ..self }
    }

    /// Builds it.
    ///
    /// # Errors
    /// What [`SessionCookieBuilder::build`] refuses; a lifetime of no second; a key that stands in the ring twice.
    pub fn build(self) -> Result<ClientSideCookie, ConfigError> {
        let Self { keys, cookie, lifetime } = self;
        keys.check()?;
        if lifetime.as_secs() == 0 {
            return Err(ConfigError::new("a value in cookies must live for a second at least"));
        }
        let cookie = cookie.build()?;
        let (name, pieces) = (cookie.name().into(), Pieces::new(&cookie, PIECES));
        Ok(ClientSideCookie { name, pieces, keys, lifetime })
    }
}

const PURPOSE: &str = "client-side cookie";
const DEFAULT_LIFETIME: Duration = Duration::from_secs(3600);
/// All cookies of a request may have 16 KiB here, one cookie 4 KiB in browsers.
const PIECES: usize = 4;
const TOO_LONG: Failure = Failure::new(FailureKind::Misconfigured, "the value is too long to be kept in cookies");

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

    use sekisho_http::HeadParts;

    use super::*;
    use crate::SessionKey;

    const NOW: UnixSeconds = UnixSeconds::new(1_800_000_000);

    fn cookie() -> ClientSideCookie {
        ClientSideCookie::builder(SessionKeys::new(SessionKey::generate().unwrap())).build().unwrap()
    }

    /// Is what a browser sends after these were set.
    fn sent(set: &[SetCookie]) -> Vec<String> {
        set.iter().map(|set| set.expose().split(';').next().unwrap().to_owned()).collect()
    }

    fn set(cookie: &ClientSideCookie, value: &[u8], before: &[String]) -> Vec<SetCookie> {
        with_head(before, |head| cookie.set(value, NOW, head).unwrap())
    }

    fn read(cookie: &ClientSideCookie, sent: &[String], now: UnixSeconds) -> Result<Option<Vec<u8>>, Reject> {
        with_head(sent, |head| cookie.read(head, now).map(|value| value.map(|value| value.to_vec())))
    }

    fn with_head<R>(sent: &[String], then: impl FnOnce(&HeadParts<'_>) -> R) -> R {
        let header = sent.join("; ");
        then(&HeadParts { method: "GET", path: "/", headers: &[("cookie", header.as_bytes())] })
    }

    #[test]
    fn keeps_values_of_every_length_up_to_the_longest() {
        let cookie = cookie();
        for length in [0, 1, 2700, 2900, 5600, 8500, ClientSideCookie::MAX_VALUE] {
            let value = vec![b'x'; length];
            let set = set(&cookie, &value, &[]);
            assert!(set.iter().all(|set| set.expose().len() < 4096));
            assert!(sent(&set).join("; ").len() < 16 * 1024);
            assert_eq!(read(&cookie, &sent(&set), NOW), Ok(Some(value)), "{length}");
        }
        let too_long = vec![0; ClientSideCookie::MAX_VALUE + 1];
        assert!(with_head(&[], |head| cookie.set(&too_long, NOW, head)).is_err());
    }

    #[test]
    fn a_shorter_value_takes_the_pieces_of_a_longer_one_away() {
        let cookie = cookie();
        let long = sent(&set(&cookie, &[1; 9000], &[]));
        assert_eq!(long.len(), 4);
        let short = set(&cookie, &[2; 10], &long);
        assert_eq!(short.len(), 4);
        assert!(short[1..].iter().all(|set| set.expose().contains("Max-Age=0")));
        // A browser that keeps them for whatever reason does no harm.
        let mixed = [&sent(&short)[..1], &long[1..]].concat();
        assert_eq!(read(&cookie, &mixed, NOW), Ok(Some(vec![2; 10])));
        assert_eq!(with_head(&long, |head| cookie.removal(head)).len(), 4);
        assert_eq!(with_head(&[], |head| cookie.removal(head)).len(), 0);
    }

    #[test]
    fn pieces_of_two_values_and_fewer_pieces_open_nothing() {
        let cookie = cookie();
        let (one, other) = (sent(&set(&cookie, &[1; 6000], &[])), sent(&set(&cookie, &[1; 6000], &[])));
        assert_eq!(one.len(), 3);
        for wrong in [
            vec![one[0].clone(), other[1].clone(), one[2].clone()],
            vec![one[0].clone(), one[1].clone()],
            vec![one[1].clone(), one[2].clone()],
            vec![one[0].clone(), one[2].clone()],
        ] {
            assert_eq!(read(&cookie, &wrong, NOW), Ok(None));
        }
    }

    #[test]
    fn any_changed_character_opens_nothing() {
        let cookie = cookie();
        let honest = sent(&set(&cookie, b"secret", &[]))[0].clone();
        let start = honest.find('=').unwrap() + 1;
        for at in start..honest.len() {
            let mut changed = honest.clone().into_bytes();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            assert_eq!(read(&cookie, &[String::from_utf8(changed).unwrap()], NOW), Ok(None), "{at}");
        }
    }

    #[test]
    fn ends_in_its_second_whatever_the_browser_does() {
        let cookie = cookie();
        let sent = sent(&set(&cookie, b"v", &[]));
        assert!(read(&cookie, &sent, NOW.saturating_add(Duration::from_secs(3599))).unwrap().is_some());
        assert!(read(&cookie, &sent, NOW.saturating_add(Duration::from_secs(3600))).unwrap().is_none());
    }

    #[test]
    fn a_value_under_another_name_or_key_is_not_ours() {
        let key = SessionKey::generate().unwrap();
        let named = |name: &str, key: &SessionKey| {
            ClientSideCookie::builder(SessionKeys::new(key.clone())).with_name(name).build().unwrap()
        };
        let written = sent(&set(&named("a", &key), b"v", &[]));
        let renamed: Vec<String> = written.iter().map(|cookie| cookie.replacen("a.", "b.", 1)).collect();
        assert_eq!(read(&named("b", &key), &renamed, NOW), Ok(None));
        assert_eq!(read(&named("a", &SessionKey::generate().unwrap()), &written, NOW), Ok(None));
        let rotated = ClientSideCookie::builder(SessionKeys::new(SessionKey::generate().unwrap()).with_older(key));
        assert_eq!(read(&rotated.with_name("a").build().unwrap(), &written, NOW), Ok(Some(b"v".to_vec())));
    }

    #[test]
    fn the_name_in_two_values_is_refused() {
        let cookie = cookie();
        let mut twice = sent(&set(&cookie, b"v", &[]));
        twice.push(twice[0].clone());
        assert_eq!(read(&cookie, &twice, NOW), Err(Reject::SeveralCredentials));
    }
}
