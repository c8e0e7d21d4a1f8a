use std::fmt;
use std::sync::Arc;

use sekisho_core::{ConfigError, Secret};
use unicode_normalization::UnicodeNormalization;
use zeroize::Zeroizing;

use crate::Username;

/// Says which passwords may be chosen, and in which form passwords are hashed.
///
/// What was typed is normalised by NFKC, as NIST SP 800-63B asks for, so that a password typed on another keyboard or
/// system is the same one. Length is counted afterwards, in characters. There are no rules of composition and no
/// expiry, as the same document asks. Spaces and all other characters count; nothing is cut off.
///
/// A list of common passwords is not in the box: give one to [`with_refused`](Self::with_refused).
#[derive(Clone)]
pub struct PasswordPolicy {
    shortest: usize,
    longest: usize,
    is_refused: Arc<dyn Fn(&str) -> bool + Send + Sync>,
}

impl PasswordPolicy {
    /// Sets the length in characters: `shortest` of a new password, default 8; `longest` of any, default 128.
    ///
    /// # Errors
    /// [`ConfigError`] unless 8 ≤ `shortest` ≤ 64 ≤ `longest` ≤ 256.
    pub fn with_length(mut self, shortest: usize, longest: usize) -> Result<Self, ConfigError> {
        if !(8..=64).contains(&shortest) || !(64..=LONGEST).contains(&longest) {
            return Err(ConfigError::new(
                "a password policy wants a shortest length of 8 to 64 and a longest of 64 to 256",
            ));
        }
        (self.shortest, self.longest) = (shortest, longest);
        Ok(self)
    }

    /// Refuses new passwords for which `is_refused` is true, such as those on a list of known ones; it gets the normal
    /// form, and runs on the thread of the caller: a look-up in memory. Default: none is refused.
    #[must_use]
    pub fn with_refused(mut self, is_refused: impl Fn(&str) -> bool + Send + Sync + 'static) -> Self {
        self.is_refused = Arc::new(is_refused);
        self
    }

    /// Checks a password that somebody chooses, for `username`, which the password must not be.
    ///
    /// # Errors
    /// In this order: [`PasswordError::TooLong`] (or not UTF-8), [`PasswordError::TooShort`],
    /// [`PasswordError::Common`].
    pub fn check_new(&self, typed: &Secret, username: &Username) -> Result<Password, PasswordError> {
        let password = self.prepare(typed).ok_or(PasswordError::TooLong)?;
        if password.0.chars().count() < self.shortest {
            return Err(PasswordError::TooShort);
        }
        if password.0.eq_ignore_ascii_case(username.as_str()) || (self.is_refused)(&password.0) {
            return Err(PasswordError::Common);
        }
        Ok(password)
    }

    /// Prepares a password that somebody logs in with. `None` when no account can have it; short ones are not refused,
    /// for the policy may have been another one when the password was chosen.
    pub(crate) fn prepare(&self, typed: &Secret) -> Option<Password> {
        if typed.len() > MOST_BYTES_TYPED {
            return None;
        }
        let text = typed.expose_str()?;
        // Room for all that may come, so that no copy is left behind by growing.
        let mut normal = Zeroizing::new(String::with_capacity(4 * (LONGEST + 1)));
        for (count, character) in text.nfkc().enumerate() {
            if count == self.longest {
                return None;
            }
            normal.push(character);
        }
        Some(Password(normal))
    }
}

const LONGEST: usize = 256;
const MOST_BYTES_TYPED: usize = 1024;

impl Default for PasswordPolicy {
    fn default() -> Self {
        Self { shortest: 8, longest: 128, is_refused: Arc::new(|_| false) }
    }
}

impl fmt::Debug for PasswordPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { shortest, longest, is_refused: _ } = self;
        f.debug_struct("PasswordPolicy").field("shortest", shortest).field("longest", longest).finish_non_exhaustive()
    }
}

/// Is a password in normal form and within bounds. Wiped on drop; `Debug` shows nothing.
#[derive(Clone)]
pub struct Password(Zeroizing<String>);

impl Password {
    pub(crate) fn expose(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(..)")
    }
}

/// Says why a new password is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum PasswordError {
    /// More characters than the policy allows, more than 1,024 bytes, or not UTF-8.
    #[error("the password is too long")]
    TooLong,
    /// Fewer characters than the policy asks for.
    #[error("the password is too short")]
    TooShort,
    /// On the list of refused ones, or the user name.
    #[error("the password is too easy to guess")]
    Common,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(policy: &PasswordPolicy, typed: &str) -> Result<String, PasswordError> {
        let password = policy.check_new(&Secret::from(typed), &Username::parse("alice.liddell").unwrap())?;
        Ok(String::from_utf8(password.expose().to_vec()).unwrap())
    }

    #[test]
    fn refuses_short_long_and_common_ones_and_the_user_name() {
        let policy = PasswordPolicy::default().with_refused(|password| password == "password1");
        assert_eq!(check(&policy, "seven77"), Err(PasswordError::TooShort));
        assert_eq!(check(&policy, "ééééééé"), Err(PasswordError::TooShort), "characters count, not bytes");
        assert_eq!(check(&policy, &"x".repeat(129)), Err(PasswordError::TooLong));
        assert_eq!(check(&policy, &"\u{fdfa}".repeat(100)), Err(PasswordError::TooLong), "after normalising");
        assert_eq!(check(&policy, &"\u{1f600}".repeat(300)), Err(PasswordError::TooLong), "bytes");
        assert_eq!(check(&policy, "password1"), Err(PasswordError::Common));
        assert_eq!(check(&policy, "ｐassword1"), Err(PasswordError::Common), "in normal form");
        assert_eq!(check(&policy, "Alice.Liddell"), Err(PasswordError::Common));
        let not_text = policy.check_new(&Secret::new(vec![0xff; 12]), &Username::parse("a").unwrap());
        assert_eq!(not_text.unwrap_err(), PasswordError::TooLong);
    }

    #[test]
    fn refuses_policies_that_ask_for_too_little_or_too_much() {
        for (shortest, longest) in [(7, 128), (65, 128), (8, 63), (8, 257), (0, 0)] {
            assert!(PasswordPolicy::default().with_length(shortest, longest).is_err(), "{shortest}..={longest}");
        }
    }

    #[test]
    fn composed_and_decomposed_passwords_are_one() {
        let policy = PasswordPolicy::default();
        assert_eq!(check(&policy, "caf\u{e9} au lait"), check(&policy, "cafe\u{301} au lait"));
        assert_eq!(check(&policy, &"x".repeat(128)).unwrap().len(), 128);
    }

    #[test]
    fn debug_shows_nothing_of_a_password() {
        let password = PasswordPolicy::default().prepare(&Secret::from("correct horse")).unwrap();
        assert_eq!(format!("{password:?}"), "Password(..)");
    }
}
