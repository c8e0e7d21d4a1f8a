//! The messages of `envoy.service.auth.v3` that are used, with the field numbers of the published definitions.
//!
//! Fields that are not listed are passed over when read and absent when written.

use std::collections::HashMap;

/// `envoy.service.auth.v3.CheckRequest`.
#[derive(Clone, PartialEq, prost::Message)]
#[non_exhaustive]
pub struct CheckRequest {
    /// What is asked about.
    #[prost(message, optional, tag = "1")]
    pub attributes: Option<AttributeContext>,
}

/// `envoy.service.auth.v3.AttributeContext`.
#[derive(Clone, PartialEq, prost::Message)]
#[non_exhaustive]
pub struct AttributeContext {
    /// Who sent the request.
    #[prost(message, optional, tag = "1")]
    pub source: Option<Peer>,
    /// The client's request.
    #[prost(message, optional, tag = "4")]
    pub request: Option<Request>,
}

/// `envoy.service.auth.v3.AttributeContext.Peer`.
#[derive(Clone, PartialEq, prost::Message)]
#[prost(skip_debug)]
#[non_exhaustive]
pub struct Peer {
    /// The certificate that the client showed, as PEM with percent escapes; empty if it showed none, or Envoy was not told to pass it on.
    #[prost(string, tag = "5")]
    pub certificate: String,
}

impl std::fmt::Debug for Peer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Peer({} bytes)", self.certificate.len())
    }
}

/// `envoy.service.auth.v3.AttributeContext.Request`.
#[derive(Clone, PartialEq, prost::Message)]
#[non_exhaustive]
pub struct Request {
    /// The request as HTTP.
    #[prost(message, optional, tag = "2")]
    pub http: Option<HttpRequest>,
}

/// `envoy.service.auth.v3.AttributeContext.HttpRequest`. `Debug` leaves the headers out.
#[derive(Clone, PartialEq, prost::Message)]
#[prost(skip_debug)]
#[non_exhaustive]
pub struct HttpRequest {
    /// The request's id.
    #[prost(string, tag = "1")]
    pub id: String,
    /// The method.
    #[prost(string, tag = "2")]
    pub method: String,
    /// Names in lower case; values of the same name joined by commas.
    #[prost(map = "string, string", tag = "3")]
    pub headers: HashMap<String, String>,
    /// The headers one by one, where Envoy is told `encode_raw_headers`; `headers` is then empty.
    #[prost(message, optional, tag = "13")]
    pub header_map: Option<HeaderEntries>,
    /// Path and query, as they came.
    #[prost(string, tag = "4")]
    pub path: String,
    /// `Host` or `:authority`.
    #[prost(string, tag = "5")]
    pub host: String,
    /// `http` or `https`.
    #[prost(string, tag = "6")]
    pub scheme: String,
}

impl std::fmt::Debug for HttpRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HttpRequest").field("method", &self.method).field("host", &self.host).finish_non_exhaustive()
    }
}

/// `envoy.config.core.v3.HeaderMap`.
#[derive(Clone, PartialEq, prost::Message)]
#[prost(skip_debug)]
#[non_exhaustive]
pub struct HeaderEntries {
    /// The headers.
    #[prost(message, repeated, tag = "1")]
    pub headers: Vec<HeaderEntry>,
}

impl std::fmt::Debug for HeaderEntries {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "HeaderEntries({})", self.headers.len())
    }
}

/// `envoy.config.core.v3.HeaderValue`. `Debug` leaves the value out.
#[derive(Clone, PartialEq, prost::Message)]
#[prost(skip_debug)]
#[non_exhaustive]
pub struct HeaderEntry {
    /// The name.
    #[prost(string, tag = "1")]
    pub key: String,
    /// The value as text.
    #[prost(string, tag = "2")]
    pub value: String,
    /// The value as bytes; one of the two is empty.
    #[prost(bytes = "vec", tag = "3")]
    pub raw_value: Vec<u8>,
}

impl std::fmt::Debug for HeaderEntry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "HeaderEntry({})", self.key.escape_debug())
    }
}

/// `envoy.config.core.v3.HeaderValueOption`.
#[derive(Clone, PartialEq, prost::Message)]
#[non_exhaustive]
pub struct HeaderValueOption {
    /// The header.
    #[prost(message, optional, tag = "1")]
    pub header: Option<HeaderEntry>,
    /// Whether it is added to what is there, or takes its place.
    #[prost(message, optional, tag = "2")]
    pub append: Option<BoolValue>,
}

/// `google.protobuf.BoolValue`.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
#[non_exhaustive]
pub struct BoolValue {
    /// The value.
    #[prost(bool, tag = "1")]
    pub value: bool,
}

/// `envoy.service.auth.v3.CheckResponse`.
#[derive(Clone, PartialEq, prost::Message)]
#[non_exhaustive]
pub struct CheckResponse {
    /// Whether the request passes: code 0 means yes.
    #[prost(message, optional, tag = "1")]
    pub status: Option<RpcStatus>,
    /// What is done with the request or answered to it.
    #[prost(oneof = "HttpResponse", tags = "2, 3")]
    pub http_response: Option<HttpResponse>,
}

/// The two answers of a [`CheckResponse`].
#[derive(Clone, PartialEq, prost::Oneof)]
#[non_exhaustive]
pub enum HttpResponse {
    /// What the client is answered.
    #[prost(message, tag = "2")]
    Denied(DeniedHttpResponse),
    /// What is changed in the request.
    #[prost(message, tag = "3")]
    Ok(OkHttpResponse),
}

/// `google.rpc.Status`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
#[non_exhaustive]
pub struct RpcStatus {
    /// A gRPC status code.
    #[prost(int32, tag = "1")]
    pub code: i32,
}

/// `envoy.service.auth.v3.DeniedHttpResponse`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct DeniedHttpResponse {
    /// The HTTP status.
    #[prost(message, optional, tag = "1")]
    pub status: Option<HttpStatus>,
    /// The response's headers.
    #[prost(message, repeated, tag = "2")]
    pub headers: Vec<HeaderValueOption>,
    /// The response's body.
    #[prost(string, tag = "3")]
    pub body: String,
}

/// `envoy.type.v3.HttpStatus`.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct HttpStatus {
    /// The HTTP status code; the published enumeration has the codes for numbers.
    #[prost(int32, tag = "1")]
    pub code: i32,
}

/// `envoy.service.auth.v3.OkHttpResponse`.
#[derive(Clone, PartialEq, prost::Message)]
#[non_exhaustive]
pub struct OkHttpResponse {
    /// Headers to set on the request.
    #[prost(message, repeated, tag = "2")]
    pub headers: Vec<HeaderValueOption>,
    /// Headers to take out of the request.
    #[prost(string, repeated, tag = "5")]
    pub headers_to_remove: Vec<String>,
}

impl HeaderValueOption {
    pub(super) fn overwriting(name: &str, value: String) -> Self {
        let header = HeaderEntry { key: name.to_owned(), value, raw_value: Vec::new() };
        Self { header: Some(header), append: Some(BoolValue { value: false }) }
    }
}

impl CheckResponse {
    pub(super) fn allow(ok: OkHttpResponse) -> Self {
        Self { status: Some(RpcStatus { code: 0 }), http_response: Some(HttpResponse::Ok(ok)) }
    }

    pub(super) fn deny(code: i32, denied: DeniedHttpResponse) -> Self {
        Self { status: Some(RpcStatus { code }), http_response: Some(HttpResponse::Denied(denied)) }
    }
}
