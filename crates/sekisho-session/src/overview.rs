use std::fmt;

use sekisho_core::UnixSeconds;

use crate::content::Card;

/// Names a session in public: 128 random bits that stay through rotations. Nothing can be done by knowing it, so it can
/// stand in a page, a URL or a log.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId(Box<str>);

impl SessionId {
    pub(crate) fn new(text: &str) -> Self {
        Self(text.into())
    }

    /// Reads what a page sent back; `None` when it is not of the form: 22 characters of base64url.
    #[must_use]
    pub fn from_text(text: &str) -> Option<Self> {
        let sound = text.len() == 22 && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
        sound.then(|| Self(text.into()))
    }

    /// Returns the text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SessionId({})", self.0)
    }
}

/// Is what a user is shown of one of their sessions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionOverview {
    id: SessionId,
    created_at: UnixSeconds,
    last_used_at: UnixSeconds,
    expires_at: UnixSeconds,
    device: Option<Box<str>>,
    is_remembered: bool,
}

impl SessionOverview {
    pub(crate) fn new(card: Card, last_used_at: UnixSeconds, expires_at: UnixSeconds) -> Self {
        let Card { handle, created_at, device, is_remembered } = card;
        let created_at = UnixSeconds::new(created_at);
        Self { id: SessionId::new(&handle), created_at, last_used_at, expires_at, device, is_remembered }
    }

    /// Takes over what another record of the same session says.
    pub(crate) fn merge(&mut self, other: &Self) {
        self.created_at = self.created_at.min(other.created_at);
        self.last_used_at = self.last_used_at.max(other.last_used_at);
        self.expires_at = self.expires_at.max(other.expires_at);
        self.is_remembered |= other.is_remembered;
    }

    /// Returns the public id, to [end](crate::Sessions::end) it by.
    #[must_use]
    pub const fn id(&self) -> &SessionId {
        &self.id
    }

    /// Returns when it began; one that came of a remembered login, when that was.
    #[must_use]
    pub const fn created_at(&self) -> UnixSeconds {
        self.created_at
    }

    /// Returns when it was last used, exact to a minute, as long as the idle timeout is the same as it was then.
    #[must_use]
    pub const fn last_used_at(&self) -> UnixSeconds {
        self.last_used_at
    }

    /// Returns when it ends in any case.
    #[must_use]
    pub const fn expires_at(&self) -> UnixSeconds {
        self.expires_at
    }

    /// Tells whether the login is remembered beyond the session; it is listed until that ends as well.
    #[must_use]
    pub const fn is_remembered(&self) -> bool {
        self.is_remembered
    }

    /// Returns what the login said of the device; text of a stranger, to be escaped where it is shown.
    #[must_use]
    pub fn device(&self) -> Option<&str> {
        self.device.as_deref()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn refuses_what_is_no_public_id() {
        assert_eq!(SessionId::from_text(&"a".repeat(22)).unwrap().to_string(), "a".repeat(22));
        for bad in ["", &"a".repeat(21), &"a".repeat(23), &"é".repeat(11), &"/".repeat(22), &"\n".repeat(22)] {
            assert!(SessionId::from_text(bad).is_none(), "{bad}");
        }
    }
}
