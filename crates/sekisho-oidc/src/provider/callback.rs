use std::borrow::Cow;
use std::fmt;

use url::form_urlencoded;

/// Is the query of the browser's return, as it came. Parameters that come twice are refused, unknown ones passed over
/// ([RFC 6749 §4.1.2](https://www.rfc-editor.org/rfc/rfc6749#section-4.1.2)).
///
/// `Debug` shows nothing of it.
#[derive(Clone, Copy)]
pub struct Callback<'q> {
    query: &'q str,
}

impl<'q> Callback<'q> {
    /// Takes the query, without its `?`; more than 8,192 bytes are no return of ours.
    #[must_use]
    pub const fn from_query(query: &'q str) -> Self {
        Self { query }
    }

    /// Returns `state`, to find the login that was under way; `None` when there is none, or something is wrong with the whole.
    #[must_use]
    pub fn state(&self) -> Option<String> {
        self.parameters()?.state.map(Cow::into_owned)
    }

    /// Reads it; `None` when it is too long, or a parameter that we know is there twice.
    pub(super) fn parameters(&self) -> Option<Parameters<'q>> {
        if self.query.len() > LONGEST {
            return None;
        }
        let mut found = Parameters::default();
        for (name, value) in form_urlencoded::parse(self.query.as_bytes()) {
            let place = match &*name {
                "state" => &mut found.state,
                "code" => &mut found.code,
                "iss" => &mut found.issuer,
                "error" => &mut found.error,
                "response" => {
                    // The whole answer as a JWT, which was not asked for.
                    return None;
                }
                _ => continue,
            };
            if place.replace(value).is_some() {
                return None;
            }
        }
        Some(found)
    }
}

impl fmt::Debug for Callback<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Callback(..)")
    }
}

/// Holds the parameters that are looked at. `error_description` is not among them: it is whatever anybody wrote into a link.
#[derive(Default)]
pub(super) struct Parameters<'q> {
    pub(super) state: Option<Cow<'q, str>>,
    pub(super) code: Option<Cow<'q, str>>,
    pub(super) issuer: Option<Cow<'q, str>>,
    pub(super) error: Option<Cow<'q, str>>,
}

/// Bounds the query, in bytes.
const LONGEST: usize = 8192;

#[cfg(test)]
mod tests {
    use super::*;

    fn state(query: &str) -> Option<String> {
        Callback::from_query(query).state()
    }

    #[test]
    fn finds_the_state_of_a_return() {
        assert_eq!(state("code=a&state=xyz&session_state=1").as_deref(), Some("xyz"));
        assert_eq!(state("state=a%2Bb+c").as_deref(), Some("a+b c"));
        assert_eq!(state("error=access_denied&state=xyz").as_deref(), Some("xyz"));
    }

    #[test]
    fn refuses_parameters_that_come_twice_in_any_spelling() {
        for twice in [
            "state=a&state=a",
            "state=a&st%61te=b",
            "state=a&code=1&code=2",
            "state=a&iss=1&iss=1",
            "state=a&error=1&error=2",
            "state=a&response=eyJ",
        ] {
            assert_eq!(state(twice), None, "{twice}");
        }
        assert_eq!(state("state=a&x=1&x=2").as_deref(), Some("a"));
    }

    #[test]
    fn refuses_a_query_that_is_too_long_or_has_no_state() {
        assert_eq!(state(&format!("state=a&x={}", "x".repeat(8192))), None);
        for none in ["", "code=a", "STATE=a", "=a", "&&&", "state[]=a"] {
            assert_eq!(state(none), None, "{none}");
        }
    }

    #[test]
    fn debug_shows_nothing() {
        assert_eq!(format!("{:?}", Callback::from_query("code=hush")), "Callback(..)");
    }

    proptest::proptest! {
        #[test]
        fn reads_what_was_written_whatever_stands_in_it(state in "\\PC{0,40}", code in "\\PC{0,40}", other in "\\PC{0,40}") {
            let mut query = form_urlencoded::Serializer::new(String::new());
            let pairs = [("state", &*state), ("x", &*other), ("code", &*code), ("x", &*other)];
            let query = query.extend_pairs(pairs).finish();
            let found = Callback::from_query(&query).parameters().expect("nothing twice that counts");
            proptest::prop_assert_eq!((found.state.as_deref(), found.code.as_deref()), (Some(&*state), Some(&*code)));
            proptest::prop_assert!(found.issuer.is_none() && found.error.is_none());
        }

        #[test]
        fn no_query_is_too_strange_to_be_read(query in ".{0,200}") {
            let _ = Callback::from_query(&query).state();
        }
    }
}
