//! One adapter for each library: its documented settings for an RFC 9068 access token, strictest where there is a choice.

use std::sync::Arc;

use http::HeaderValue;
use sekisho_testkit::ServedIssuer;
use serde::{Deserialize, Serialize};
use serde_json::Value;

mod authkestra;
mod huskarl;
mod josekit;
mod jsonwebtoken;
mod jwt_simple;
mod sekisho;

/// Is what a library said of one token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Accepted,
    Refused,
    /// The library has no operation for this question, or does not offer the algorithm.
    NotOffered,
}

impl Verdict {
    pub(crate) const fn accepted_if(accepted: bool) -> Self {
        if accepted { Self::Accepted } else { Self::Refused }
    }
}

/// Is what a service knows: whom it trusts, who it is, and by which algorithm the issuer signs.
#[derive(Clone)]
pub(crate) struct Setting {
    pub(crate) issuer: Arc<ServedIssuer>,
    pub(crate) audience: &'static str,
    pub(crate) algorithm: &'static str,
}

impl Setting {
    /// Returns the JWK by which the issuer signs, as it is published.
    pub(crate) fn jwk(&self) -> Value {
        self.issuer.issuer().signing_key().public_jwk().expect("a public key")
    }

    /// Returns the published key set.
    pub(crate) fn key_set(&self) -> String {
        self.issuer.issuer().key_set()
    }
}

/// Is a library under comparison.
pub(crate) trait Library {
    /// Returns the crate's name.
    fn name(&self) -> &'static str;

    /// Says in a few words how it is set.
    fn settings(&self) -> &'static str;

    /// Returns the leeway it is set to, in seconds; zero when it has none.
    fn leeway(&self) -> u64 {
        60
    }

    /// Tells whether it takes keys of an algorithm.
    fn offers(&self, _algorithm: &str) -> bool {
        true
    }

    /// Makes a judge of access tokens.
    fn tokens(&self, setting: &Setting) -> Box<dyn Fn(&str) -> Verdict>;

    /// Says whether the signature of a compact JWS holds under this key, whatever its payload says.
    fn signature(&self, jwk: &Value, token: &str) -> Verdict;
}

/// Lists the libraries, ours first.
pub(crate) fn all() -> Vec<Box<dyn Library>> {
    vec![
        Box::new(sekisho::Sekisho),
        Box::new(jsonwebtoken::JsonWebToken),
        Box::new(jwt_simple::JwtSimple),
        Box::new(josekit::Josekit),
        Box::new(huskarl::Huskarl),
        Box::new(authkestra::Authkestra),
    ]
}

/// Is the claims type that a service would write for the libraries that want one; wrong types fail in it.
#[derive(Clone, Debug, Deserialize)]
#[expect(dead_code, reason = "what matters is that it deserializes")]
pub(crate) struct Claims {
    iss: String,
    sub: String,
    aud: OneOrMore,
    client_id: Option<String>,
    scope: Option<OneOrMore>,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(untagged)]
pub(crate) enum OneOrMore {
    One(String),
    Several(Vec<String>),
}

/// Says by which algorithm a vector is to be read: the key's own, else the one its header names.
pub(crate) fn algorithm_of(jwk: &Value, token: &str) -> Option<String> {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    if let Some(alg) = jwk.get("alg").and_then(Value::as_str) {
        return Some(alg.to_owned());
    }
    let header = URL_SAFE_NO_PAD.decode(token.split('.').next()?).ok()?;
    let header: Value = serde_json::from_slice(&header).ok()?;
    Some(header.get("alg")?.as_str()?.to_owned())
}

/// Writes the header's value, or `None` if none can carry this token as it stands: HTTP drops white space at the ends.
pub(crate) fn authorization(token: &str) -> Option<HeaderValue> {
    if token.trim_matches([' ', '\t']) != token {
        return None;
    }
    HeaderValue::from_bytes(format!("Bearer {token}").as_bytes()).ok()
}

/// Tells whether the middle part is a JSON object, which libraries for claims alone ask for before anything else.
pub(crate) fn has_claims(token: &str) -> bool {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    let payload = token.split('.').nth(1).and_then(|part| URL_SAFE_NO_PAD.decode(part).ok());
    payload.is_some_and(|bytes| serde_json::from_slice::<serde_json::Map<String, Value>>(&bytes).is_ok())
}
