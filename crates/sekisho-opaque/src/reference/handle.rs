use std::fmt;

use sekisho_core::Secret;
use sekisho_jwt::Backend;

/// Is what a client holds in place of claims or a JWT. Possession is proof, so it is a secret: `Debug` shows none of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReferenceToken(Secret);

impl ReferenceToken {
    pub(super) fn new(prefix: &str, text: &str) -> Self {
        Self(Secret::from(format!("{prefix}{text}")))
    }

    /// Reads the text, prefix and all, to be given to the client once. It is letters, digits, `_` and `-`.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.0.expose_str().unwrap_or_default()
    }
}

/// Names a reference token in a store: SHA-256 of its text without the prefix. The token cannot be computed from it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReferenceDigest([u8; 32]);

impl ReferenceDigest {
    pub(super) fn of(backend: Backend, text: &str) -> Self {
        Self(backend.sha256(text.as_bytes()))
    }

    /// Takes the bytes, as a store kept them.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Returns the bytes, to be kept.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for ReferenceDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ReferenceDigest(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_nothing_of_a_token_or_its_digest() {
        let token = ReferenceToken::new("shop_", "abc");
        assert_eq!(format!("{token:?}"), "ReferenceToken(Secret(..))");
        assert_eq!(token.expose(), "shop_abc");
        assert_eq!(format!("{:?}", ReferenceDigest::from_bytes([7; 32])), "ReferenceDigest(..)");
    }
}
