use std::fmt::Write as _;

use bytes::Bytes;
use sekisho_core::{ConfigError, Denial};

/// Writes `WWW-Authenticate` values ([RFC 6750 §3](https://www.rfc-editor.org/rfc/rfc6750#section-3),
/// [RFC 9449 §7.1](https://www.rfc-editor.org/rfc/rfc9449#section-7.1)).
///
/// The ones that do not depend on the request are written once, here.
#[derive(Debug)]
pub(crate) struct Challenges {
    realm: Option<String>,
    resource_metadata: Option<String>,
    schemes: Schemes,
    /// No credential came: no error code.
    pub(crate) missing: Bytes,
    pub(crate) invalid_token: Bytes,
    pub(crate) invalid_request: Bytes,
    pub(crate) dpop: DpopChallenges,
}

/// Says under which schemes credentials are taken.
#[derive(Clone, Debug, Default)]
pub(crate) struct Schemes {
    /// The algorithms of proofs, if the scheme `DPoP` is taken.
    pub(crate) dpop: Option<String>,
    /// `Bearer` is not taken.
    pub(crate) only_dpop: bool,
}

/// Holds the challenges to whoever came under the scheme `DPoP`.
#[derive(Debug, Default)]
pub(crate) struct DpopChallenges {
    pub(crate) invalid_token: Bytes,
    pub(crate) invalid_proof: Bytes,
    pub(crate) use_nonce: Bytes,
}

/// Names the scheme that an error is told to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scheme {
    Bearer,
    Dpop,
}

impl Challenges {
    pub(crate) fn new(
        realm: Option<String>,
        resource_metadata: Option<String>,
        schemes: Schemes,
    ) -> Result<Self, ConfigError> {
        if realm.as_deref().is_some_and(|realm| !realm.bytes().all(is_text)) {
            return Err(ConfigError::new("the realm must be printable ASCII"));
        }
        if resource_metadata.as_deref().is_some_and(|url| !url.bytes().all(is_unquoted)) {
            return Err(ConfigError::new("the URL of the resource metadata must be ASCII without spaces and quotes"));
        }
        let mut this = Self {
            realm,
            resource_metadata,
            schemes,
            missing: Bytes::new(),
            invalid_token: Bytes::new(),
            invalid_request: Bytes::new(),
            dpop: DpopChallenges::default(),
        };
        let first = this.first_scheme();
        this.missing = this.write(first, &[]);
        this.invalid_token = this.write(first, &INVALID_TOKEN);
        this.invalid_request =
            this.write(first, &error("invalid_request", "the request must hold one well-formed credential"));
        if this.schemes.dpop.is_some() {
            let proof = error("invalid_dpop_proof", "the proof of possession is not accepted");
            let nonce = error("use_dpop_nonce", "the proof of possession needs the nonce of this answer");
            this.dpop = DpopChallenges {
                invalid_token: this.write(Scheme::Dpop, &INVALID_TOKEN),
                invalid_proof: this.write(Scheme::Dpop, &proof),
                use_nonce: this.write(Scheme::Dpop, &nonce),
            };
        }
        Ok(this)
    }

    const fn first_scheme(&self) -> Scheme {
        if self.schemes.only_dpop { Scheme::Dpop } else { Scheme::Bearer }
    }

    /// Writes the challenge for an authenticated caller who lacks something. `is_bound` tells that a DPoP proof came.
    pub(crate) fn denial(&self, denial: &Denial, is_bound: bool) -> Bytes {
        let scheme = if is_bound && self.schemes.dpop.is_some() { Scheme::Dpop } else { self.first_scheme() };
        match denial {
            Denial::InsufficientScope { scope } => {
                let [code, text] = error("insufficient_scope", "more scope is needed");
                // RFC 6749 §3.3 leaves quotes and backslashes out of scopes. Better no `scope` than a broken header.
                if scope.is_empty() || !scope.bytes().all(|b| b == b' ' || is_unquoted(b)) {
                    tracing::warn!(target: "sekisho", "a required scope is empty or cannot be written into a challenge");
                    return self.write(scheme, &[code, text]);
                }
                self.write(scheme, &[code, text, ("scope", scope)])
            }
            // RFC 9470 §3
            Denial::InsufficientAuthentication { acr_values, max_age } => {
                let age = max_age.map(|age| age.as_secs().to_string());
                let mut parameters = Vec::from(error("insufficient_user_authentication", "log in again"));
                if let Some(acr) = acr_values.as_deref().filter(|acr| !acr.is_empty() && acr.bytes().all(is_text)) {
                    parameters.push(("acr_values", acr));
                }
                if let Some(age) = age.as_deref() {
                    parameters.push(("max_age", age));
                }
                self.write(scheme, &parameters)
            }
            Denial::InvalidToken => self.write(scheme, &INVALID_TOKEN),
            _ => self.write(scheme, &error("insufficient_scope", "not allowed")),
        }
    }

    /// Writes a challenge that tells these parameters to one scheme. Whoever came as a bearer learns of DPoP too.
    fn write(&self, scheme: Scheme, parameters: &[(&str, &str)]) -> Bytes {
        let mut value = String::new();
        match (scheme, &self.schemes.dpop) {
            (Scheme::Bearer, None) => self.write_scheme(&mut value, "Bearer", parameters),
            (Scheme::Bearer, Some(algorithms)) => {
                self.write_scheme(&mut value, "Bearer", parameters);
                value.push_str(", ");
                self.write_scheme(&mut value, "DPoP", &[("algs", algorithms)]);
            }
            (Scheme::Dpop, algorithms) => {
                let algorithms = ("algs", algorithms.as_deref().unwrap_or_default());
                let parameters: Vec<_> = parameters.iter().copied().chain([algorithms]).collect();
                self.write_scheme(&mut value, "DPoP", &parameters);
            }
        }
        value.into()
    }

    fn write_scheme(&self, value: &mut String, scheme: &str, parameters: &[(&str, &str)]) {
        value.push_str(scheme);
        let mut separator = ' ';
        let fixed = [("realm", self.realm.as_deref()), ("resource_metadata", self.resource_metadata.as_deref())];
        let fixed = fixed.into_iter().filter_map(|(name, value)| Some((name, value?)));
        for (name, held) in fixed.chain(parameters.iter().copied()) {
            value.push(separator);
            separator = ',';
            if value.ends_with(',') {
                value.push(' ');
            }
            // Writing to a `String` does not fail.
            let _ = write!(value, "{name}=\"");
            for c in held.chars() {
                if matches!(c, '"' | '\\') {
                    value.push('\\');
                }
                value.push(c);
            }
            value.push('"');
        }
        if separator == ' ' {
            // RFC 6750 §3: the scheme MUST be followed by at least one parameter.
            value.push_str(" realm=\"protected\"");
        }
    }
}

const INVALID_TOKEN: [(&str, &str); 2] = error("invalid_token", "the credential is not accepted");

const fn error(code: &'static str, description: &'static str) -> [(&'static str, &'static str); 2] {
    [("error", code), ("error_description", description)]
}

const fn is_text(b: u8) -> bool {
    b == b' ' || b.is_ascii_graphic()
}

const fn is_unquoted(b: u8) -> bool {
    b.is_ascii_graphic() && !matches!(b, b'"' | b'\\')
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use std::time::Duration;

    use super::*;

    fn plain() -> Challenges {
        Challenges::new(None, None, Schemes::default()).unwrap()
    }

    #[test]
    fn names_no_error_when_no_credential_came() {
        assert_eq!(plain().missing, r#"Bearer realm="protected""#);
        let named = Challenges::new(Some("orders".into()), None, Schemes::default()).unwrap();
        assert_eq!(named.missing, r#"Bearer realm="orders""#);
        let url = "https://api.example/.well-known/oauth-protected-resource";
        let pointed = Challenges::new(None, Some(url.into()), Schemes::default()).unwrap();
        assert_eq!(pointed.missing, format!(r#"Bearer resource_metadata="{url}""#));
    }

    #[test]
    fn names_the_error_of_rfc_6750() {
        assert_eq!(
            plain().invalid_token,
            r#"Bearer error="invalid_token", error_description="the credential is not accepted""#
        );
        assert_eq!(
            Challenges::new(Some("a".into()), Some("https://b.example/c".into()), Schemes::default())
                .unwrap()
                .invalid_request,
            r#"Bearer realm="a", resource_metadata="https://b.example/c", error="invalid_request", error_description="the request must hold one well-formed credential""#
        );
    }

    #[test]
    fn names_all_the_scope_that_is_needed() {
        let denial = Denial::InsufficientScope { scope: "orders:read orders:write".into() };
        assert_eq!(
            plain().denial(&denial, false),
            r#"Bearer error="insufficient_scope", error_description="more scope is needed", scope="orders:read orders:write""#
        );
    }

    #[test]
    fn asks_to_step_up_as_rfc_9470_does() {
        let denial = Denial::InsufficientAuthentication {
            acr_values: Some("gold silver".into()),
            max_age: Some(Duration::from_secs(5)),
        };
        assert_eq!(
            plain().denial(&denial, false),
            r#"Bearer error="insufficient_user_authentication", error_description="log in again", acr_values="gold silver", max_age="5""#
        );
    }

    #[test]
    fn a_token_that_is_no_good_to_who_decides_is_refused_as_any_other() {
        assert_eq!(plain().denial(&Denial::InvalidToken, false), plain().invalid_token);
        assert_eq!(both().denial(&Denial::InvalidToken, false), both().invalid_token);
        assert_eq!(both().denial(&Denial::InvalidToken, true), both().dpop.invalid_token);
    }

    #[test]
    fn does_not_say_which_role_is_lacking() {
        let denial = Denial::Forbidden { reason: "the principal lacks a role" };
        assert_eq!(
            plain().denial(&denial, false),
            r#"Bearer error="insufficient_scope", error_description="not allowed""#
        );
    }

    #[test]
    fn escapes_quotes_and_backslashes_of_the_realm() {
        let challenges = Challenges::new(Some(r#"a "b" \c"#.into()), None, Schemes::default()).unwrap();
        assert_eq!(challenges.missing, r#"Bearer realm="a \"b\" \\c""#);
    }

    #[test]
    fn refuses_what_would_break_the_header() {
        for realm in ["a\r\nSet-Cookie: x=y", "a\nb", "tab\t", "ü", "\0", "\u{7f}"] {
            assert!(Challenges::new(Some(realm.into()), None, Schemes::default()).is_err(), "{realm:?}");
        }
        for url in ["https://a.example/\r\nx", "https://a.example/\" b=\"c", "https://a.example/ü", "a b"] {
            assert!(Challenges::new(None, Some(url.into()), Schemes::default()).is_err(), "{url:?}");
        }
    }

    #[test]
    fn leaves_out_scopes_and_contexts_that_would_break_the_header() {
        for hostile in ["a\r\nx: y", "a\"b", "a\\b", "ü", ""] {
            let scope = plain().denial(&Denial::InsufficientScope { scope: hostile.into() }, false);
            assert_eq!(scope, r#"Bearer error="insufficient_scope", error_description="more scope is needed""#);
        }
        let step_up = Denial::InsufficientAuthentication { acr_values: Some("a\r\nx: y".into()), max_age: None };
        assert_eq!(
            plain().denial(&step_up, false),
            r#"Bearer error="insufficient_user_authentication", error_description="log in again""#
        );
    }

    fn both() -> Challenges {
        let schemes = Schemes { dpop: Some("ES256 EdDSA".into()), only_dpop: false };
        Challenges::new(Some("orders".into()), None, schemes).unwrap()
    }

    #[test]
    fn names_both_schemes_where_both_are_taken() {
        assert_eq!(both().missing, r#"Bearer realm="orders", DPoP realm="orders", algs="ES256 EdDSA""#);
        let plain = Challenges::new(None, None, Schemes { dpop: Some("ES256".into()), only_dpop: false }).unwrap();
        assert_eq!(plain.missing, r#"Bearer realm="protected", DPoP algs="ES256""#);
        // A bound token that came as a bearer was refused as one, and its holder learns what to do.
        assert_eq!(
            plain.invalid_token,
            r#"Bearer error="invalid_token", error_description="the credential is not accepted", DPoP algs="ES256""#
        );
    }

    #[test]
    fn tells_an_error_to_the_scheme_under_which_the_token_came() {
        assert_eq!(
            both().dpop.invalid_proof,
            r#"DPoP realm="orders", error="invalid_dpop_proof", error_description="the proof of possession is not accepted", algs="ES256 EdDSA""#
        );
        let denial = Denial::InsufficientScope { scope: "a".into() };
        assert_eq!(
            both().denial(&denial, true),
            r#"DPoP realm="orders", error="insufficient_scope", error_description="more scope is needed", scope="a", algs="ES256 EdDSA""#
        );
    }

    #[test]
    fn names_dpop_alone_where_nothing_else_is_taken() {
        let only = Challenges::new(None, None, Schemes { dpop: Some("ES256".into()), only_dpop: true }).unwrap();
        assert_eq!(only.missing, r#"DPoP algs="ES256""#);
        let invalid = r#"DPoP error="invalid_token", error_description="the credential is not accepted", algs="ES256""#;
        assert_eq!(only.invalid_token, invalid);
        assert!(only.denial(&Denial::InsufficientScope { scope: "a".into() }, false).starts_with(b"DPoP "));
    }
}
