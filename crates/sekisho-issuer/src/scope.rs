use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Bounds a list of scopes in bytes.
const LONGEST: usize = 2048;
/// Bounds the number of scopes.
const MOST: usize = 64;

/// Is a set of scopes, each once, in the order in which they were named ([RFC 6749 §3.3](https://www.rfc-editor.org/rfc/rfc6749#section-3.3)).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScopeSet(Vec<Box<str>>);

impl ScopeSet {
    /// Reads scopes separated by single spaces, at most 64 in 2,048 bytes. `None` when it is not such a list; an empty text is no list.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() > LONGEST {
            return None;
        }
        let mut scopes: Vec<Box<str>> = Vec::new();
        for scope in text.split(' ') {
            let fits = !scope.is_empty() && scope.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'"' | b'\\'));
            if !fits || scopes.len() == MOST {
                return None;
            }
            if !scopes.iter().any(|known| **known == *scope) {
                scopes.push(scope.into());
            }
        }
        Some(Self(scopes))
    }

    /// Tells whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Tells whether `scope` is one of them.
    #[must_use]
    pub fn contains(&self, scope: &str) -> bool {
        self.0.iter().any(|own| **own == *scope)
    }

    /// Tells whether all of `other` are in here.
    #[must_use]
    pub fn contains_all(&self, other: &Self) -> bool {
        other.iter().all(|scope| self.contains(scope))
    }

    /// Lists them.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|scope| &**scope)
    }

    /// Returns those that are in both.
    #[must_use]
    pub fn common(&self, other: &Self) -> Self {
        Self(self.0.iter().filter(|scope| other.contains(scope)).cloned().collect())
    }

    /// Returns those that are in either.
    #[must_use]
    pub fn joined(&self, other: &Self) -> Self {
        let more = other.0.iter().filter(|scope| !self.contains(scope));
        Self(self.0.iter().chain(more).cloned().collect())
    }

    /// Returns all but one.
    pub(crate) fn without(&self, scope: &str) -> Self {
        Self(self.0.iter().filter(|own| ***own != *scope).cloned().collect())
    }
}

impl fmt::Display for ScopeSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, scope) in self.0.iter().enumerate() {
            if place > 0 {
                f.write_str(" ")?;
            }
            f.write_str(scope)?;
        }
        Ok(())
    }
}

impl Serialize for ScopeSet {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ScopeSet {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        if text.is_empty() {
            return Ok(Self::default());
        }
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom("not a list of scopes"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_what_is_no_list_of_scopes() {
        assert_eq!(ScopeSet::parse("a a b a").unwrap().to_string(), "a b");
        let too_many = (0..65).map(|n| format!("s{n}")).collect::<Vec<_>>().join(" ");
        for bad in ["", " ", "a  b", " a", "a ", "a\tb", "a\"b", "a\\b", "ü", "a\nb", &too_many, &"x".repeat(2049)] {
            assert_eq!(ScopeSet::parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn sets_are_compared_and_cut() {
        let set = |text: &str| ScopeSet::parse(text).unwrap();
        assert!(set("a b").contains_all(&set("b")));
        assert!(!set("a").contains_all(&set("a b")));
        assert_eq!(set("a b c").common(&set("c a")).to_string(), "a c");
        assert_eq!(set("a").joined(&set("b a")).to_string(), "a b");
        let json = serde_json::to_string(&set("a b")).unwrap();
        assert_eq!(json, "\"a b\"");
        assert_eq!(serde_json::from_str::<ScopeSet>(&json).unwrap(), set("a b"));
        assert!(serde_json::from_str::<ScopeSet>("\"a  b\"").is_err());
    }
}
