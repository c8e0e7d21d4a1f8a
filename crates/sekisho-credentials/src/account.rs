use std::fmt;

use sekisho_core::{Failure, UnixSeconds};

use crate::random::{random, to_base64};
use crate::{PasswordHash, Username};

/// Names an account for good: the `sub` of tokens, and the user handle of passkeys.
///
/// It says nothing of the person and is never given to another account. `Debug` and `Display` show it: it is what logs
/// may hold.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AccountId(String);

impl AccountId {
    /// Draws one: 128 random bits as 22 characters of base64url.
    ///
    /// # Errors
    /// [`Failure`] when the system gives no randomness.
    pub fn generate() -> Result<Self, Failure> {
        Ok(Self(to_base64(&random::<16>()?)))
    }

    /// Takes over an id that exists already: 1 to 64 visible ASCII characters
    /// ([WebAuthn §5.4.3](https://www.w3.org/TR/webauthn-2/#dictdef-publickeycredentialuserentity) allows 64 bytes).
    /// `None` for anything else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let is_id = (1..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
        is_id.then(|| Self(text.to_owned()))
    }

    /// Reads the id.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for AccountId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for AccountId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AccountId({})", self.0)
    }
}

/// Is what a store keeps of an account.
///
/// `Debug` shows neither the name nor the hash.
#[derive(Clone, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "a new field must break every store")]
pub struct Account {
    /// Never changes.
    pub id: AccountId,
    /// Unique among accounts.
    pub username: Username,
    /// The password, or `None` for an account that has none, and that no password opens.
    pub password: Option<PasswordHash>,
    /// Counts the passwords that the account has had, and how often it was disabled. What was handed out under an older one is worth
    /// nothing.
    pub revision: u64,
    /// A disabled account is kept, and nothing opens it.
    pub is_disabled: bool,
    /// When the account was made.
    pub created_at: UnixSeconds,
    /// When the account last lost what opened it: its password, a second factor, a passkey, or all by being disabled. A login from then
    /// or before is worth nothing. `None` when it never did.
    pub logins_ended_at: Option<UnixSeconds>,
}

impl Account {
    /// Tells whether a login at `at` still counts: the account is not disabled, and it was after whatever ended earlier logins.
    #[must_use]
    pub fn counts_login_at(&self, at: UnixSeconds) -> bool {
        !self.is_disabled && self.logins_ended_at.is_none_or(|ended_at| at > ended_at)
    }
}

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Account")
            .field("id", &self.id)
            .field("revision", &self.revision)
            .field("is_disabled", &self.is_disabled)
            .field("created_at", &self.created_at)
            .field("logins_ended_at", &self.logins_ended_at)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_ids_that_are_empty_long_or_not_visible_ascii() {
        for text in ["", &"a".repeat(65), "a b", "a\n", "é", "a\0"] {
            assert_eq!(AccountId::parse(text), None, "{text:?}");
        }
        assert!(AccountId::parse(&"a".repeat(64)).is_some());
    }

    #[test]
    fn ids_are_drawn_apart_and_can_be_parsed() {
        let (one, other) = (AccountId::generate().unwrap(), AccountId::generate().unwrap());
        assert_ne!(one, other);
        assert_eq!(AccountId::parse(one.as_str()), Some(one));
    }

    #[test]
    fn debug_of_an_account_shows_neither_name_nor_hash() {
        let account = Account {
            id: AccountId::generate().unwrap(),
            username: Username::parse("alice").unwrap(),
            password: PasswordHash::parse("$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$aGFzaGhhc2hoYXNo"),
            revision: 1,
            is_disabled: false,
            created_at: UnixSeconds::new(0),
            logins_ended_at: None,
        };
        assert!(account.password.is_some());
        let shown = format!("{account:?} {:?} {:?}", account.username, account.password);
        assert!(!shown.contains("alice") && !shown.contains("argon2"), "{shown}");
    }
}
