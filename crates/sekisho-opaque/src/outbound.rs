use std::fmt;

use sekisho_core::json::{JsonKind, JsonObject, JsonValue};
use sekisho_core::{Claim, ConfigError, Failure, FailureKind, Refusal, Reject, SubjectId, UnixSeconds};
use sekisho_jwt::{StatementVerifier, Verifier};

use crate::reference::{Kept, Reference};

mod leak;

/// Replaces the JWTs of a response by reference tokens, so that none leaves the gateway (the phantom token pattern, outwards).
///
/// For the responses that issue tokens: of a login, of a token endpoint. Each JWT at a named place (a member of the JSON body, a header,
/// a cookie) is verified, kept in the store of a [`Reference`], and replaced by its handle; on the next request,
/// [`TokenSwap`](crate::TokenSwap) of that `Reference` turns it back. Then the whole response is searched: one that still holds a JWT
/// anywhere is refused, as is one that cannot be searched because it is compressed.
///
/// It works on header lists and bytes, for gateways on any framework. The body must be whole.
///
/// # Examples
/// ```
/// # use std::sync::Arc;
/// # use sekisho_opaque::{MemoryReferenceStore, Opaque, OutboundResponse, OutboundSwap};
/// # use sekisho_core::UnixSeconds;
/// # let issuer = sekisho_testkit::Issuer::new();
/// # let access_token = issuer.token().audience("orders").sign();
/// # let now = issuer.clock().now();
/// # let verifier = sekisho_jwt::Jwt::issuer(issuer.url()).audience("orders").with_keys(issuer.static_keys()).build()?;
/// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
/// let tokens = Opaque::reference(Arc::new(MemoryReferenceStore::default())).verifier(verifier.clone()).build()?;
/// let outbound = OutboundSwap::builder(tokens.clone()).json_member("access_token", verifier).build()?;
///
/// let body = format!(r#"{{"access_token":"{access_token}","token_type":"Bearer"}}"#).into_bytes();
/// let headers = vec![("content-type".to_owned(), b"application/json".to_vec())];
/// let response = outbound.swap(OutboundResponse { headers, body }, now).await?;
/// assert!(!String::from_utf8_lossy(&response.body).contains("ey"));
/// # Ok::<(), Box<dyn std::error::Error>>(()) })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct OutboundSwap {
    reference: Reference,
    places: Vec<(Place, OutboundVerifier)>,
    dropped: Vec<Box<str>>,
    longest_body: usize,
}

/// Is a response on its way to a client. `Debug` shows the names of headers and lengths.
#[derive(Clone, Default)]
#[expect(clippy::exhaustive_structs, reason = "callers build it by its fields")]
pub struct OutboundResponse {
    /// Names in any letter case, and raw values, one item per header line.
    pub headers: Vec<(String, Vec<u8>)>,
    /// The whole body.
    pub body: Vec<u8>,
}

/// Says what the JWT at one place must be.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum OutboundVerifier {
    /// An access token.
    Access(Verifier),
    /// Another signed JWT with `sub` and `exp`, such as an ID token. Its handle is never accepted as an access token.
    Statement(StatementVerifier),
}

impl From<Verifier> for OutboundVerifier {
    fn from(verifier: Verifier) -> Self {
        Self::Access(verifier)
    }
}

impl From<StatementVerifier> for OutboundVerifier {
    fn from(verifier: StatementVerifier) -> Self {
        Self::Statement(verifier)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    Member(Box<str>),
    Header(Box<str>),
    Cookie(Box<str>),
}

impl OutboundSwap {
    /// Starts from where handles are kept. It must stand for JWTs, whole or split.
    pub fn builder(reference: Reference) -> OutboundBuilder {
        OutboundBuilder { reference, places: Vec::new(), dropped: Vec::new(), longest_body: 1 << 20 }
    }

    /// Replaces every JWT at the named places, and makes sure that there is no other.
    ///
    /// What stands at a place and does not look like a JWT stays as it is. When the body changes, `Content-Length` follows, and
    /// validators and digests of it are taken away.
    ///
    /// # Errors
    /// The response must not be sent then:
    /// - [`FailureKind::BadGateway`]: it is too large, compressed, in another charset than UTF-8, not the JSON that it says it is, or
    ///   holds a member twice; a JWT at a named place does not verify, or stands there in a form that cannot be replaced; a JWT stands anywhere else.
    /// - Whatever the store or the source of keys fails with.
    pub async fn swap(&self, response: OutboundResponse, now: UnixSeconds) -> Result<OutboundResponse, Failure> {
        let OutboundResponse { mut headers, mut body } = response;
        if body.len() > self.longest_body {
            return Err(refused("a response that issues tokens is too large"));
        }
        for (name, value) in &mut headers {
            if let Some(changed) = self.swap_header(name, value, now).await? {
                *value = changed;
            }
        }
        if !body.is_empty() {
            check_readable(&headers)?;
            if let Some(changed) = self.swap_body(&headers, &body, now).await? {
                body = changed;
                follow_body(&mut headers, body.len());
            }
        }
        // INVARIANT: nothing goes out that was not searched.
        if headers.iter().any(|(_, value)| leak::holds_jwt(value)) || leak::body_holds_jwt(&body) {
            return Err(refused("a response would carry a JWT to the client"));
        }
        Ok(OutboundResponse { headers, body })
    }

    async fn swap_header(&self, name: &str, value: &[u8], now: UnixSeconds) -> Result<Option<Vec<u8>>, Failure> {
        if name.eq_ignore_ascii_case("set-cookie") {
            return self.swap_cookie(value, now).await;
        }
        let Some(verifier) =
            self.verifier_at(|place| matches!(place, Place::Header(own) if name.eq_ignore_ascii_case(own)))
        else {
            return Ok(None);
        };
        let Ok(text) = std::str::from_utf8(value) else { return Ok(None) };
        let start = match text.split_at_checked("bearer ".len()) {
            Some((scheme, _)) if scheme.eq_ignore_ascii_case("bearer ") => scheme.len(),
            _ => 0,
        };
        let (scheme, token) = text.split_at(start);
        Ok(self
            .replacement(token.trim_ascii(), verifier, now)
            .await?
            .map(|handle| format!("{scheme}{handle}").into_bytes()))
    }

    /// Replaces the value of a cookie, its attributes untouched ([RFC 6265 §4.1](https://www.rfc-editor.org/rfc/rfc6265#section-4.1)).
    async fn swap_cookie(&self, value: &[u8], now: UnixSeconds) -> Result<Option<Vec<u8>>, Failure> {
        let Ok(text) = std::str::from_utf8(value) else { return Ok(None) };
        let (pair, attributes) = text.split_at(text.find(';').unwrap_or(text.len()));
        let Some((name, held)) = pair.split_once('=') else { return Ok(None) };
        let name = name.trim_ascii();
        let Some(verifier) = self.verifier_at(|place| matches!(place, Place::Cookie(own) if **own == *name)) else {
            return Ok(None);
        };
        let held = held.trim_ascii();
        let held = held.strip_prefix('"').and_then(|inner| inner.strip_suffix('"')).unwrap_or(held);
        Ok(self
            .replacement(held, verifier, now)
            .await?
            .map(|handle| format!("{name}={handle}{attributes}").into_bytes()))
    }

    async fn swap_body(
        &self,
        headers: &[(String, Vec<u8>)],
        body: &[u8],
        now: UnixSeconds,
    ) -> Result<Option<Vec<u8>>, Failure> {
        let concerns = |member: &str| {
            self.dropped.iter().any(|name| **name == *member)
                || self.places.iter().any(|(place, _)| matches!(place, Place::Member(own) if **own == *member))
        };
        let object = match JsonObject::parse(body.to_vec()) {
            Ok(object) => object,
            // Two readers could see two different members.
            Err(error) if says_json(headers) => {
                return Err(refused("a response that issues tokens is not a JSON object").with_source(error));
            }
            Err(_) => return Ok(None),
        };
        if !object.iter().any(|(name, _)| concerns(name)) {
            return Ok(None);
        }
        let mut written = String::from("{");
        for (name, value) in object.iter() {
            if self.dropped.iter().any(|dropped| **dropped == *name) {
                continue;
            }
            let verifier = self.verifier_at(|place| matches!(place, Place::Member(own) if **own == *name));
            let replaced = match (verifier, value.kind()) {
                (Some(verifier), JsonKind::String) => {
                    let text = value.as_str().unwrap_or_default();
                    self.replacement(&text, verifier, now).await?
                }
                _ => None,
            };
            if written.len() > 1 {
                written.push(',');
            }
            written.push_str(&quoted(name));
            written.push(':');
            match replaced {
                Some(handle) => written.push_str(&quoted(&handle)),
                None => written.push_str(JsonValue::as_json(value)),
            }
        }
        written.push('}');
        Ok(Some(written.into_bytes()))
    }

    /// Verifies a JWT and returns its handle; `None` for what is no JWT by its look.
    async fn replacement(
        &self,
        token: &str,
        verifier: &OutboundVerifier,
        now: UnixSeconds,
    ) -> Result<Option<String>, Failure> {
        if !leak::holds_jwt(token.as_bytes()) {
            return Ok(None);
        }
        let (subject, session, expires_at) = match verifier.read(token, now).await {
            Ok(read) => read,
            Err(Refusal::Failure(failure)) => return Err(failure),
            Err(Refusal::Reject(reject)) => {
                return Err(refused("a JWT in a response does not verify").with_source(reject));
            }
        };
        let handle = self.reference.keep((verifier.kind(), token), subject, session, expires_at, now).await?;
        Ok(Some(handle.expose().to_owned()))
    }

    fn verifier_at(&self, is_meant: impl Fn(&Place) -> bool) -> Option<&OutboundVerifier> {
        self.places.iter().find(|(place, _)| is_meant(place)).map(|(_, verifier)| verifier)
    }
}

impl OutboundVerifier {
    const fn kind(&self) -> Kept {
        match self {
            Self::Access(_) => Kept::Access,
            Self::Statement(_) => Kept::Statement,
        }
    }

    /// Verifies, and says whose it is, of which session, and when it dies.
    async fn read(&self, token: &str, now: UnixSeconds) -> Result<(SubjectId, Option<Box<str>>, UnixSeconds), Refusal> {
        match self {
            Self::Access(verifier) => {
                // Who may send it is asked of whoever uses the handle.
                let candidate = verifier.candidate(token, now).await?;
                let expires_at = candidate.expires_at().ok_or(Reject::Missing(Claim::Expiry))?;
                Ok((candidate.id(), candidate.session_id().map(Into::into), expires_at))
            }
            Self::Statement(verifier) => {
                let claims = verifier.verify(token, now).await?.into_inner();
                let text = |name| claims.get(name).and_then(JsonValue::as_str).filter(|text| !text.is_empty());
                let subject = text("sub").ok_or(Reject::Missing(Claim::Subject))?;
                let issuer = text("iss").ok_or(Reject::Missing(Claim::Issuer))?;
                let expires_at = claims.get("exp").and_then(JsonValue::as_numeric_date);
                let expires_at = UnixSeconds::new(expires_at.ok_or(Reject::Missing(Claim::Expiry))?);
                Ok((SubjectId::new(&*issuer, &*subject), text("sid").map(Into::into), expires_at))
            }
        }
    }
}

/// Configures an [`OutboundSwap`].
#[derive(Debug)]
#[must_use]
pub struct OutboundBuilder {
    reference: Reference,
    places: Vec<(Place, OutboundVerifier)>,
    dropped: Vec<Box<str>>,
    longest_body: usize,
}

impl OutboundBuilder {
    /// Replaces the JWT in this member of a JSON object, at its top level.
    pub fn json_member(mut self, name: &str, verifier: impl Into<OutboundVerifier>) -> Self {
        self.places.push((Place::Member(name.into()), verifier.into()));
        self
    }

    /// Replaces the JWT in the header of this name, with or without `Bearer ` before it.
    pub fn header(mut self, name: &str, verifier: impl Into<OutboundVerifier>) -> Self {
        self.places.push((Place::Header(name.into()), verifier.into()));
        self
    }

    /// Replaces the JWT in a `Set-Cookie` of this name; letter case counts.
    pub fn cookie(mut self, name: &str, verifier: impl Into<OutboundVerifier>) -> Self {
        self.places.push((Place::Cookie(name.into()), verifier.into()));
        self
    }

    /// Takes this member out of a JSON object, such as a refresh token that is a JWT nobody here can verify.
    pub fn drop_json_member(mut self, name: &str) -> Self {
        self.dropped.push(name.into());
        self
    }

    /// Sets how long the body may be, in bytes. Default 1 MiB.
    pub const fn with_max_body_bytes(mut self, bytes: usize) -> Self {
        self.longest_body = bytes;
        self
    }

    /// Builds it.
    ///
    /// # Errors
    /// [`ConfigError`] for: no place at all; an empty name, or the same place twice; reference tokens that do not stand for JWTs.
    pub fn build(self) -> Result<OutboundSwap, ConfigError> {
        let Self { reference, places, dropped, longest_body } = self;
        if !reference.stands_for_jwts() {
            return Err(ConfigError::new("JWTs can be replaced only by reference tokens that stand for JWTs"));
        }
        if places.is_empty() {
            return Err(ConfigError::new("say where JWTs stand in the response: `json_member`, `header` or `cookie`"));
        }
        let mut names = std::collections::HashSet::new();
        for (place, _) in &places {
            let (kind, name) = match place {
                Place::Member(name) => ("member", name.to_string()),
                Place::Header(name) => ("header", name.to_ascii_lowercase()),
                Place::Cookie(name) => ("cookie", name.to_string()),
            };
            if name.is_empty() || kind == "header" && name == "set-cookie" || !names.insert((kind, name.clone())) {
                return Err(ConfigError::new(format!(
                    "the {kind} `{name}` is named twice, or cannot be a place of JWTs"
                )));
            }
        }
        Ok(OutboundSwap { reference, places, dropped, longest_body })
    }
}

impl fmt::Debug for OutboundResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.headers.iter().map(|(name, value)| (name, value.len())).collect();
        write!(f, "OutboundResponse({names:?}, {} bytes)", self.body.len())
    }
}

/// Refuses a body that cannot be searched as it is.
fn check_readable(headers: &[(String, Vec<u8>)]) -> Result<(), Failure> {
    for (name, value) in headers {
        let value = value.to_ascii_lowercase();
        if name.eq_ignore_ascii_case("content-encoding") && !matches!(value.trim_ascii(), b"identity" | b"") {
            return Err(refused(
                "a response that issues tokens is compressed; ask for it with `Accept-Encoding: identity`",
            ));
        }
        if name.eq_ignore_ascii_case("content-type") {
            let text = String::from_utf8_lossy(&value);
            let charset =
                text.split(';').skip(1).find_map(|part| part.trim().strip_prefix("charset=").map(str::to_owned));
            let charset = charset.map(|charset| charset.trim_matches('"').to_owned());
            if !matches!(charset.as_deref(), None | Some("utf-8" | "us-ascii" | "iso-8859-1")) {
                return Err(refused("a response that issues tokens is in a charset that cannot be searched"));
            }
        }
    }
    Ok(())
}

fn says_json(headers: &[(String, Vec<u8>)]) -> bool {
    headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case("content-type")).any(|(_, value)| {
        let value = value.to_ascii_lowercase();
        let kind = value.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
        kind == b"application/json" || kind.ends_with(b"+json")
    })
}

/// Makes the headers fit a body that has changed.
fn follow_body(headers: &mut Vec<(String, Vec<u8>)>, length: usize) {
    const OF_THE_BODY: [&str; 6] = ["etag", "content-md5", "digest", "content-digest", "repr-digest", "last-modified"];
    headers.retain(|(name, _)| !OF_THE_BODY.iter().any(|gone| name.eq_ignore_ascii_case(gone)));
    for (name, value) in headers {
        if name.eq_ignore_ascii_case("content-length") {
            *value = length.to_string().into_bytes();
        }
    }
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn refused(context: &'static str) -> Failure {
    Failure::new(FailureKind::BadGateway, context)
}
