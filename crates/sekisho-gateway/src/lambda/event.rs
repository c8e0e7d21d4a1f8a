use std::collections::BTreeMap;

use sekisho_core::json::JsonObject;
use sekisho_core::{Credential, Reject};
use sekisho_http::{CredentialSources, RequestHead};
use serde::Deserialize;

use super::{LambdaAuthorizer, LambdaError, bare_or_bearer};

/// Names the format of an event, and so of the API that sent it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum EventFormat {
    /// `TOKEN` of a REST API: nothing but the token and the method's ARN.
    RestToken,
    /// `REQUEST` of a REST or WebSocket API.
    RestRequest,
    /// Payload format 1.0 of an HTTP API.
    Http1,
    /// Payload format 2.0 of an HTTP API.
    Http2,
}

/// Is an event of an API Gateway authorizer: only the parts that are decided by are read, whatever else comes is passed over.
///
/// `Debug` shows the format and the ARN; headers hold secrets.
pub struct AuthorizerEvent {
    format: EventFormat,
    arn: String,
    method: String,
    path: String,
    /// Only of `TOKEN` events.
    token: Option<String>,
    /// Names in lower case. In format 2.0, cookies have been put among them.
    headers: Vec<(String, String)>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Raw {
    version: Option<String>,
    #[serde(rename = "type")]
    kind: Option<String>,
    method_arn: Option<String>,
    route_arn: Option<String>,
    authorization_token: Option<String>,
    http_method: Option<String>,
    path: Option<String>,
    raw_path: Option<String>,
    headers: Option<BTreeMap<String, String>>,
    multi_value_headers: Option<BTreeMap<String, Vec<String>>>,
    cookies: Option<Vec<String>>,
    request_context: Option<RawContext>,
}

#[derive(Deserialize)]
struct RawContext {
    http: Option<RawHttp>,
}

#[derive(Deserialize)]
struct RawHttp {
    method: Option<String>,
}

impl AuthorizerEvent {
    /// Reads an event: strict JSON, at most 256 KiB, 32 levels deep.
    ///
    /// # Errors
    /// [`LambdaError`] when it is not the event of an authorizer.
    pub fn parse(bytes: &[u8]) -> Result<Self, LambdaError> {
        if bytes.len() > LambdaAuthorizer::MAX_EVENT_BYTES {
            return Err(LambdaError::event("longer than 256 KiB"));
        }
        let object = JsonObject::parse(bytes.to_vec()).map_err(|_| LambdaError::event("not a strict JSON object"))?;
        let raw: Raw = object.deserialize().map_err(|_| LambdaError::event("a member has the wrong type"))?;
        Self::from_raw(raw)
    }

    fn from_raw(raw: Raw) -> Result<Self, LambdaError> {
        let format = match (raw.kind.as_deref(), raw.version.as_deref()) {
            (Some("TOKEN"), None) => EventFormat::RestToken,
            (Some("REQUEST"), None) => EventFormat::RestRequest,
            (Some("REQUEST"), Some("1.0")) => EventFormat::Http1,
            (Some("REQUEST"), Some("2.0")) => EventFormat::Http2,
            _ => return Err(LambdaError::event("`type` and `version` are of no known format")),
        };
        let is_2 = format == EventFormat::Http2;
        let arn = if is_2 { raw.route_arn } else { raw.method_arn };
        let arn = arn.filter(|arn| is_execute_api_arn(arn)).ok_or_else(|| LambdaError::event("no usable ARN"))?;
        let mut headers: Vec<(String, String)> = Vec::new();
        let multi = raw.multi_value_headers.unwrap_or_default();
        for (name, value) in raw.headers.unwrap_or_default() {
            // The same headers stand in both members; the one with all values is the one to look at.
            if !multi.keys().any(|other| other.eq_ignore_ascii_case(&name)) {
                headers.push((name.to_ascii_lowercase(), value));
            }
        }
        for (name, values) in multi {
            headers.extend(values.into_iter().map(|value| (name.to_ascii_lowercase(), value)));
        }
        headers.extend(raw.cookies.unwrap_or_default().into_iter().map(|cookie| ("cookie".to_owned(), cookie)));
        let context_method = raw.request_context.and_then(|context| context.http).and_then(|http| http.method);
        Ok(Self {
            format,
            arn,
            method: if is_2 { context_method } else { raw.http_method }.unwrap_or_default(),
            path: if is_2 { raw.raw_path } else { raw.path }.unwrap_or_default(),
            token: raw.authorization_token.filter(|_| format == EventFormat::RestToken),
            headers,
        })
    }

    /// Returns the format.
    #[must_use]
    pub const fn format(&self) -> EventFormat {
        self.format
    }

    /// Returns the ARN of what is asked for, `methodArn` or `routeArn`.
    #[must_use]
    pub fn arn(&self) -> &str {
        &self.arn
    }

    /// Returns the request's method, empty for `TOKEN` events.
    #[must_use]
    pub fn method(&self) -> &str {
        &self.method
    }

    /// Returns the request's path, empty for `TOKEN` events.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Takes the one credential out.
    pub(super) fn credential<'a>(&'a self, sources: &'a CredentialSources) -> Result<Option<Credential<'a>>, Reject> {
        match self.format {
            EventFormat::RestToken => bare_or_bearer(self.token.as_deref().unwrap_or_default()),
            _ => sources.extract(self),
        }
    }

    /// Tells whether a policy would read the method and path of the ARN as a pattern.
    pub(super) fn is_path_a_pattern(&self) -> bool {
        self.arn.splitn(3, '/').nth(2).is_some_and(|path| path.contains(['*', '?', '$']))
    }

    /// Returns the ARN of everything in this stage.
    pub(super) fn stage_arn(&self) -> String {
        let mut parts = self.arn.splitn(3, '/');
        let (api, stage) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        format!("{api}/{stage}/*")
    }
}

impl RequestHead for AuthorizerEvent {
    fn method(&self) -> &str {
        &self.method
    }

    fn path(&self) -> &str {
        &self.path
    }

    fn header<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.headers.iter().filter(move |(n, _)| n == name).map(|(_, value)| value.as_bytes())
    }
}

impl std::fmt::Debug for AuthorizerEvent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AuthorizerEvent").field("format", &self.format).field("arn", &self.arn).finish_non_exhaustive()
    }
}

/// Checks `arn:PARTITION:execute-api:REGION:ACCOUNT:API/STAGE/…`, without what a policy would read as a pattern before the path.
fn is_execute_api_arn(arn: &str) -> bool {
    let mut parts = arn.splitn(6, ':');
    let (Some("arn"), Some(partition), Some("execute-api"), Some(region), Some(account), Some(resource)) =
        (parts.next(), parts.next(), parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return false;
    };
    let is_word =
        |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_$".contains(&b));
    let mut resource = resource.splitn(3, '/');
    let (api, stage, rest) = (resource.next(), resource.next(), resource.next());
    arn.len() <= 2048
        && arn.bytes().all(|b| b.is_ascii_graphic() || b >= 0x80 || b == b' ')
        && is_word(partition)
        && is_word(region)
        && account.bytes().all(|b| b.is_ascii_digit())
        && api.is_some_and(is_word)
        && stage.is_some_and(is_word)
        && rest.is_some()
}
