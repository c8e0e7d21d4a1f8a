//! Who is the client? ([RFC 6749 §2.3](https://www.rfc-editor.org/rfc/rfc6749#section-2.3), [RFC 7523](https://www.rfc-editor.org/rfc/rfc7523), [RFC 8705 §2](https://www.rfc-editor.org/rfc/rfc8705#section-2))

use std::sync::Arc;
use std::time::Duration;

use sekisho_core::json::{JsonKind, JsonObject};
use sekisho_core::{Refusal, Secret};
use sekisho_jwks::{Backend, KeySource};
use sekisho_jwt::{Jwt, Profile};

use crate::answer::{OAuthError, Refused};
use crate::certificate;
use crate::form::{self, Form};
use crate::handle::{self, HandleHash, Purpose};
use crate::incoming::Incoming;
use crate::{AuthorizationServer, Client, ClientAuthentication};

const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
/// By how much a client's clock may differ.
const LEEWAY: Duration = Duration::from_secs(30);
/// How far ahead an assertion may end.
const LONGEST_ASSERTION_LIFE: Duration = Duration::from_secs(300);
const LONGEST_ID: usize = 255;

/// Is a client that proved to be itself, or is public and said who it is.
pub(crate) struct ProvedClient {
    pub(crate) client: Arc<Client>,
    /// SHA-256 of the certificate, for tokens that are bound to it.
    pub(crate) thumbprint: Option<[u8; 32]>,
}

impl std::ops::Deref for ProvedClient {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

/// Is what a request brings to prove its client.
enum Proof {
    Nothing,
    Secret(Secret),
    Assertion(String),
}

/// Is who a request says it is, and its proof.
struct Claimed {
    id: String,
    proof: Proof,
}

/// Finds out who the client is. Every way of failing gives [`OAuthError::client`], except requests that no client would send.
pub(crate) async fn prove(
    server: &AuthorizationServer,
    incoming: &Incoming,
    form: &Form,
) -> Result<ProvedClient, Refused> {
    let Claimed { id, proof } = claimed(incoming, form)?;
    let known = if id.len() <= LONGEST_ID { server.parts().clients.client(&id).await? } else { None };
    let Some(client) = known else {
        // As much work as for a known one with a wrong secret.
        if let Proof::Secret(secret) = &proof {
            let _hash = HandleHash::of(Purpose::ClientSecret, handle::text(secret));
        }
        return Err(OAuthError::client().into());
    };
    let mut thumbprint = None;
    let proved = match (&client.authentication, &proof) {
        (ClientAuthentication::None, Proof::Nothing) => true,
        (ClientAuthentication::Secret(hashes), Proof::Secret(secret)) => {
            hashes.iter().fold(false, |proved, hash| proved | hash.is(handle::text(secret)))
        }
        (ClientAuthentication::PrivateKeyJwt(keys), Proof::Assertion(assertion)) => {
            check_assertion(server, incoming, &client, Arc::clone(keys), assertion).await?
        }
        (ClientAuthentication::Certificate(rule), Proof::Nothing) => {
            let certificate = incoming.client_certificate(&server.parts().certificate_header);
            let certificate = certificate.filter(|certificate| certificate::fits(certificate, rule));
            thumbprint = certificate.as_ref().map(certificate::thumbprint);
            certificate.is_some()
        }
        _ => false,
    };
    if !proved {
        tracing::info!(client = client.id(), "client authentication failed");
        return Err(OAuthError::client().into());
    }
    Ok(ProvedClient { client, thumbprint })
}

/// Reads who a request says it is. More than one way to prove it is refused ([RFC 6749 §2.3](https://www.rfc-editor.org/rfc/rfc6749#section-2.3)).
fn claimed(incoming: &Incoming, form: &Form) -> Result<Claimed, OAuthError> {
    const SEVERAL: OAuthError = OAuthError::request("more than one client, or more than one proof of it");
    let basic = match incoming.authorization()? {
        Some(value) => Some(basic(value).ok_or(OAuthError::client())?),
        None => None,
    };
    let secret = form.get("client_secret");
    let assertion = match (form.get("client_assertion_type"), form.get("client_assertion")) {
        (None, None) => None,
        (Some(ASSERTION_TYPE), Some(assertion)) => Some(assertion),
        _ => return Err(OAuthError::request("a client assertion comes with its type, which must be jwt-bearer")),
    };
    let stated = form.get("client_id");
    let (id, proof) = match (basic, secret, assertion) {
        (Some((id, secret)), None, None) => (Some(id), Proof::Secret(secret)),
        (None, Some(secret), None) => (None, Proof::Secret(Secret::from(secret))),
        (None, None, Some(assertion)) => (Some(issuer_of(assertion)?), Proof::Assertion(assertion.to_owned())),
        (None, None, None) => (None, Proof::Nothing),
        _ => return Err(SEVERAL),
    };
    match (id, stated) {
        (Some(id), Some(stated)) if id != stated => Err(SEVERAL),
        (Some(id), _) => Ok(Claimed { id, proof }),
        (None, Some(stated)) => Ok(Claimed { id: stated.to_owned(), proof }),
        (None, None) => Err(OAuthError::client()),
    }
}

/// Reads `Basic` with the form encoding of [RFC 6749 §2.3.1](https://www.rfc-editor.org/rfc/rfc6749#section-2.3.1).
fn basic(value: &str) -> Option<(String, Secret)> {
    let (scheme, encoded) = value.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let bytes = zeroize::Zeroizing::new(base64_simd::STANDARD.decode_to_vec(encoded.trim_start_matches(' ')).ok()?);
    let mut halves = bytes.splitn(2, |byte| *byte == b':');
    let id = form::decode(halves.next()?).ok()?;
    let secret = form::decode(halves.next()?).ok()?;
    Some((id.to_string(), Secret::from(secret.as_str())))
}

/// Reads whom an assertion names, to find the keys by which it is then checked. Nothing else of it is believed before.
fn issuer_of(assertion: &str) -> Result<String, OAuthError> {
    let payload = assertion.split('.').nth(1).and_then(handle::decode);
    let claims = payload.and_then(|payload| JsonObject::parse(payload).ok()).ok_or(OAuthError::client())?;
    let issuer = claims.get("iss").and_then(|issuer| issuer.as_str().map(std::borrow::Cow::into_owned));
    issuer.ok_or(OAuthError::client())
}

/// Checks an assertion by [RFC 7523 §3](https://www.rfc-editor.org/rfc/rfc7523#section-3), and that it is used for the first time.
async fn check_assertion(
    server: &AuthorizationServer,
    incoming: &Incoming,
    client: &Client,
    keys: Arc<dyn KeySource>,
    assertion: &str,
) -> Result<bool, Refused> {
    let now = incoming.now;
    let parts = server.parts();
    let profile = Profile::custom()
        .with_absent_type()
        .with_type("JWT")
        .with_type("client-authentication+jwt")
        .with_required("jti")
        .with_claim("sub", client.id());
    let verifier = Jwt::with_backend(Backend::default())
        .issuer(client.id())
        .audience(parts.issuer.as_str())
        .with_audience(parts.issuer.endpoint("/token"))
        .with_keys(keys)
        .with_profile(profile)
        .with_leeway(LEEWAY)
        .without_cache()
        .build();
    let verifier = verifier.map_err(|error| {
        sekisho_core::Failure::new(sekisho_core::FailureKind::Misconfigured, "a client's keys cannot be used")
            .with_source(error)
    })?;
    let principal = match verifier.verify(assertion, now).await {
        Ok(principal) => principal,
        Err(Refusal::Failure(failure)) => return Err(failure.into()),
        Err(Refusal::Reject(reject)) => {
            tracing::info!(client = client.id(), reason = reject.code(), "client assertion refused");
            return Ok(false);
        }
    };
    let claims = principal.claims();
    // One audience only: an assertion that another server could use here too, or ours there, proves nothing.
    let single = match claims.get("aud") {
        Some(audience) => audience.kind() == JsonKind::String || audience.elements().len() == 1,
        None => false,
    };
    let (Some(ends), Some(id)) = (principal.expires_at(), principal.token_id()) else { return Ok(false) };
    let latest = now.saturating_add(LONGEST_ASSERTION_LIFE).saturating_add(LEEWAY);
    if !single || ends > latest || id.len() > 256 {
        return Ok(false);
    }
    let key = HandleHash::of(Purpose::Assertion, &format!("{}\n{id}", client.id()));
    let until = ends.saturating_add(LEEWAY).saturating_add(Duration::from_secs(1));
    Ok(parts.store.count(&key, until, now).await? == 1)
}
