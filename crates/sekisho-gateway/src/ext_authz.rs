use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::{Response, StatusCode};
use http_body::Body;
use sekisho_core::{CertificateForm, Clock, ConfigError, ShownCertificate, SystemClock};
use sekisho_http::{Checkpoint, ClientCertificate, TrustedProxies, certificate_der};
use tonic::server::{NamedService, UnaryService};
use tower_service::Service;

use crate::decision::{DPOP_NONCE, Original, Passed, decide};
use crate::forward_auth::{Told, check_peer, told};
use crate::header_names::is_override;
use crate::identity::IdentityHeaders;
use crate::origins::Origins;
use crate::refusal::{Refused, failed, misconfigured, problem};
use crate::rules::RuleTable;

pub mod proto;
#[cfg(test)]
mod tests;

use proto::{
    CheckRequest, CheckResponse, DeniedHttpResponse, HeaderEntry, HeaderValueOption, HttpStatus, OkHttpResponse,
};

/// Answers Envoy's `ext_authz` over gRPC: `envoy.service.auth.v3.Authorization/Check`.
///
/// A tonic service, to be added to a tonic server or mounted into an axum router. It decides as [`ForwardAuth`](crate::ForwardAuth) does. Identity headers
/// that say nothing are taken out of the request (`headers_to_remove`), the others overwrite what the client sent. Look-alikes of them, and what
/// stands for another method or path (`X-HTTP-Method-Override`, `X-Original-URL`, …), are taken out too.
///
/// The client's certificate, for tokens that are bound to it, is what Envoy says of the connection (`include_peer_certificate`), otherwise
/// the [header](sekisho_http::CheckpointBuilder::with_client_certificate_header) that the checkpoint believes.
///
/// Trouble on our side is a denial with 503, 502 or 500, so that Envoy passes that status on, and so that its `failure_mode_allow`, which
/// is about calls that fail, cannot open anything.
#[derive(Clone)]
pub struct ExtAuthz(Arc<Inner>);

#[derive(Clone)]
struct Inner {
    checkpoint: Checkpoint,
    rules: RuleTable,
    proxies: TrustedProxies,
    identity: IdentityHeaders,
    origins: Origins,
    clock: Arc<dyn Clock>,
}

impl ExtAuthz {
    /// How many bytes a check request may have. Envoy's own bound of request headers is 60 KiB; do not let it send bodies along.
    pub const MAX_MESSAGE_BYTES: usize = 256 * 1024;

    /// Puts the parts together.
    ///
    /// # Errors
    /// No listed proxy: then nobody could ask.
    pub fn new(checkpoint: Checkpoint, rules: RuleTable, proxies: TrustedProxies) -> Result<Self, ConfigError> {
        if proxies.is_empty() {
            return Err(ConfigError::new("ext_authz without a listed proxy answers nobody"));
        }
        let (identity, origins, clock) = (IdentityHeaders::new(), Origins::default(), Arc::new(SystemClock));
        Ok(Self(Arc::new(Inner { checkpoint, rules, proxies, identity, origins, clock })))
    }

    /// Tells the services behind Envoy who calls. Default: nothing.
    #[must_use]
    pub fn with_identity(self, identity: IdentityHeaders) -> Self {
        Self(Arc::new(Inner { identity, ..(*self.0).clone() }))
    }

    /// Names the origins whose pages may change something with a credential in a cookie; see
    /// [`ForwardAuth::with_origins`](crate::ForwardAuth::with_origins). Default: those of the host that the client named.
    ///
    /// # Errors
    /// What is no origin in the form that browsers send; an empty list.
    pub fn with_origins<S: Into<String>>(self, origins: impl IntoIterator<Item = S>) -> Result<Self, ConfigError> {
        Ok(Self(Arc::new(Inner { origins: Origins::listed(origins)?, ..(*self.0).clone() })))
    }

    /// Takes the time from this clock. Default: the operating system's.
    #[must_use]
    pub fn with_clock(self, clock: Arc<dyn Clock>) -> Self {
        Self(Arc::new(Inner { clock, ..(*self.0).clone() }))
    }

    /// Decides about one request that Envoy describes.
    pub async fn check(&self, request: CheckRequest, peer: Option<std::net::IpAddr>) -> CheckResponse {
        match self.pass(request, peer).await {
            Ok(ok) => CheckResponse::allow(ok),
            Err(refusal) => deny(&refusal),
        }
    }

    async fn pass(&self, request: CheckRequest, peer: Option<std::net::IpAddr>) -> Result<OkHttpResponse, Refused> {
        let Inner { checkpoint, rules, proxies, identity, origins, clock } = &*self.0;
        check_peer(proxies, peer)?;
        let attributes = request.attributes.unwrap_or_default();
        let certificate = certificate_of(attributes.source)?;
        let http = attributes.request.and_then(|request| request.http);
        let http = http.ok_or_else(|| misconfigured("a check request does not describe an HTTP request"))?;
        let headers = headers_of(&http)?;
        let Told { method, host, authority, path } = told(&http.method, Some(&http.host), &http.path)?;
        // What Envoy itself says of the connection leaves no room for a header.
        let peer = peer.filter(|_| certificate.is_none());
        let (method, host, authority, path) = (&*method, host.as_deref(), authority.as_deref(), &path);
        let original = Original { method, host, authority, path, headers: &headers, peer, certificate };
        let Passed { principal, nonce } = decide(checkpoint, rules, origins, &original).await?;
        let values = identity.values(principal.as_ref(), clock.now()).map_err(|failure| failed(&failure))?;
        let mut ok = OkHttpResponse::default();
        ok.response_headers_to_add.extend(nonce.map(|nonce| overwrite(&DPOP_NONCE, &nonce)));
        for (name, value) in values {
            match value {
                Some(value) => ok.headers.push(overwrite(&name, &value)),
                None => ok.headers_to_remove.push(name.as_str().to_owned()),
            }
        }
        // What only looks like one of our headers must not reach a service that reads `_` as `-`, and nothing may say that the method or
        // the path is another than the one decided by.
        let taken = headers.keys().filter(|name| identity.is_look_alike(name) || is_override(name.as_str()));
        ok.headers_to_remove.extend(taken.map(|name| name.as_str().to_owned()));
        Ok(ok)
    }
}

impl fmt::Debug for ExtAuthz {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { checkpoint, proxies, identity, .. } = &*self.0;
        f.debug_struct("ExtAuthz")
            .field("checkpoint", checkpoint)
            .field("proxies", proxies)
            .field("identity", identity)
            .finish_non_exhaustive()
    }
}

/// Reads the certificate that the client showed Envoy, if Envoy was told `include_peer_certificate` and there was one.
fn certificate_of(source: Option<proto::Peer>) -> Result<Option<ClientCertificate>, Refused> {
    let Some(text) = source.map(|source| source.certificate).filter(|text| !text.is_empty()) else { return Ok(None) };
    let shown = ShownCertificate::new(CertificateForm::EscapedPem, text.as_bytes());
    let der = certificate_der(shown).ok_or_else(|| problem(StatusCode::BAD_REQUEST))?;
    Ok(Some(ClientCertificate::from_der(der.into_owned())))
}

/// Reads the client's headers, in either of the two forms.
fn headers_of(http: &proto::HttpRequest) -> Result<HeaderMap, Refused> {
    let bad = || problem(StatusCode::BAD_REQUEST);
    let mut headers = HeaderMap::new();
    let mut add = |name: &str, value: &[u8]| {
        // `:method` and the like are no headers.
        if name.starts_with(':') {
            return Ok(());
        }
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| bad())?;
        let value = HeaderValue::from_bytes(value).map_err(|_| bad())?;
        headers.try_append(name, value).map(|_| ()).map_err(|_| bad())
    };
    for (name, value) in &http.headers {
        add(name, value.as_bytes())?;
    }
    for HeaderEntry { key, value, raw_value } in http.header_map.iter().flat_map(|map| &map.headers) {
        add(key, if raw_value.is_empty() { value.as_bytes() } else { raw_value })?;
    }
    Ok(headers)
}

fn overwrite(name: &HeaderName, value: &HeaderValue) -> HeaderValueOption {
    let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
    HeaderValueOption::overwriting(name.as_str(), value)
}

fn deny(refusal: &Response<Bytes>) -> CheckResponse {
    let status = refusal.status();
    let headers = refusal.headers().iter().map(|(name, value)| overwrite(name, value)).collect();
    let code = match status.as_u16() {
        400 => tonic::Code::InvalidArgument,
        401 => tonic::Code::Unauthenticated,
        403 => tonic::Code::PermissionDenied,
        503 => tonic::Code::Unavailable,
        _ => tonic::Code::Internal,
    };
    let body = String::from_utf8_lossy(refusal.body()).into_owned();
    let status = Some(HttpStatus { code: i32::from(status.as_u16()) });
    CheckResponse::deny(code as i32, DeniedHttpResponse { status, headers, body })
}

impl NamedService for ExtAuthz {
    const NAME: &'static str = "envoy.service.auth.v3.Authorization";
}

impl<B> Service<http::Request<B>> for ExtAuthz
where
    B: Body + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>> + Send + 'static,
{
    type Response = Response<tonic::body::Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        let this = self.clone();
        Box::pin(async move {
            if request.uri().path() != "/envoy.service.auth.v3.Authorization/Check" {
                return Ok(tonic::Status::unimplemented("no such method").into_http());
            }
            // An axum server tells the peer in its own way.
            let axum_peer = request.extensions().get::<axum::extract::ConnectInfo<std::net::SocketAddr>>();
            let check = Check { service: this, axum_peer: axum_peer.map(|peer| peer.0.ip()) };
            let codec = tonic_prost::ProstCodec::default();
            let mut grpc = tonic::server::Grpc::new(codec).max_decoding_message_size(Self::MAX_MESSAGE_BYTES);
            Ok(grpc.unary(check, request).await)
        })
    }
}

struct Check {
    service: ExtAuthz,
    axum_peer: Option<std::net::IpAddr>,
}

impl UnaryService<CheckRequest> for Check {
    type Response = CheckResponse;
    type Future = Pin<Box<dyn Future<Output = Result<tonic::Response<CheckResponse>, tonic::Status>> + Send>>;

    fn call(&mut self, request: tonic::Request<CheckRequest>) -> Self::Future {
        let tonic_peer = request.extensions().get::<tonic::transport::server::TcpConnectInfo>();
        let tonic_peer = tonic_peer.and_then(|info| info.remote_addr()).map(|peer| peer.ip());
        let (service, peer) = (self.service.clone(), tonic_peer.or(self.axum_peer));
        Box::pin(async move { Ok(tonic::Response::new(service.check(request.into_inner(), peer).await)) })
    }
}
