//! Requests, as far as the endpoints look at them.

use std::net::{IpAddr, SocketAddr};

use axum::body::Body;
use axum::extract::ConnectInfo;
use http::Request;
use http::header::{AUTHORIZATION, CONTENT_TYPE, COOKIE, HeaderMap, HeaderName, HeaderValue, ORIGIN};
use sekisho_core::UnixSeconds;
use sekisho_http::{ClientCertificate, ClientCertificateHeader, TrustedProxies};

use crate::answer::OAuthError;
use crate::form::{self, Form, FormError};

/// Is a request without its body.
#[derive(Debug)]
pub(crate) struct Incoming {
    pub(crate) headers: HeaderMap,
    pub(crate) query: String,
    /// Who holds the other end of the connection, if the server was told to know.
    pub(crate) peer: Option<IpAddr>,
    pub(crate) now: UnixSeconds,
}

impl Incoming {
    pub(crate) fn split(request: Request<Body>, now: UnixSeconds) -> (Self, Body) {
        let (parts, body) = request.into_parts();
        let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0.ip().to_canonical());
        let query = parts.uri.query().unwrap_or_default().to_owned();
        (Self { headers: parts.headers, query, peer, now }, body)
    }

    /// Returns the one value of a header; `Err` when there are several, or it is not visible ASCII.
    pub(crate) fn one(&self, name: &HeaderName) -> Result<Option<&str>, ()> {
        let mut values = self.headers.get_all(name).iter();
        let Some(value) = values.next() else { return Ok(None) };
        if values.next().is_some() {
            return Err(());
        }
        value.to_str().map(Some).map_err(|_| ())
    }

    pub(crate) fn authorization(&self) -> Result<Option<&str>, OAuthError> {
        self.one(&AUTHORIZATION)
            .map_err(|()| OAuthError::request("more than one Authorization header, or a malformed one"))
    }

    /// Returns a cookie that came exactly once.
    pub(crate) fn cookie(&self, name: &str) -> Option<&str> {
        let lines = self.headers.get_all(COOKIE).iter().filter_map(|line| line.to_str().ok());
        let pairs = lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
        let mut values = pairs.filter(|(own, _)| *own == name).map(|(_, value)| value);
        let value = values.next()?;
        (values.next().is_none() && value.len() <= 128).then_some(value)
    }

    /// Tells whether a form was sent from a page of ours, as far as the browser says.
    pub(crate) fn is_same_origin(&self, own: &str) -> bool {
        let origin = match self.one(&ORIGIN) {
            Ok(origin) => origin,
            Err(()) => return false,
        };
        let site = match self.one(&HeaderName::from_static("sec-fetch-site")) {
            Ok(site) => site,
            Err(()) => return false,
        };
        origin.is_none_or(|origin| origin == own) && site.is_none_or(|site| site == "same-origin")
    }

    /// Tells from where the client came: the peer, or if that is a trusted proxy the last address that no trusted proxy added.
    pub(crate) fn client_address(&self, proxies: &TrustedProxies) -> Option<IpAddr> {
        let peer = self.peer?;
        if !proxies.contains(peer) {
            return Some(peer);
        }
        let lines = self.headers.get_all(HeaderName::from_static("x-forwarded-for")).iter();
        let mut hops: Vec<&str> = Vec::new();
        for line in lines {
            hops.extend(line.to_str().ok()?.split(','));
        }
        for hop in hops.into_iter().rev() {
            // A hop that is no address was not written by a proxy of ours: behind it nothing is known.
            let address = hop.trim().parse::<IpAddr>().ok()?.to_canonical();
            if !proxies.contains(address) {
                return Some(address);
            }
        }
        Some(peer)
    }

    /// Returns the certificate that a trusted proxy has seen in a handshake: whoever sent the request has its key.
    pub(crate) fn client_certificate(&self, header: &ClientCertificateHeader) -> Option<ClientCertificate> {
        header.certificate(self.peer, self.headers.get_all(header.name()).iter().map(HeaderValue::as_bytes))
    }

    /// Reads the form in the body.
    ///
    /// A query is refused: parameters in a URL end up in logs ([RFC 6749 §2.3.1](https://www.rfc-editor.org/rfc/rfc6749#section-2.3.1)).
    pub(crate) async fn form(&self, body: Body) -> Result<Form, OAuthError> {
        if !self.query.is_empty() {
            return Err(OAuthError::request("parameters belong into the body"));
        }
        let bytes = self.form_bytes(body).await?;
        Ok(Form::parse(&bytes)?)
    }

    /// Reads the body of a form as it stands.
    pub(crate) async fn form_bytes(&self, body: Body) -> Result<zeroize::Zeroizing<Vec<u8>>, OAuthError> {
        let content_type = self.one(&CONTENT_TYPE).ok().flatten().unwrap_or_default();
        let essence = content_type.split(';').next().unwrap_or_default().trim();
        if !essence.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
            return Err(OAuthError { status: 415, ..OAuthError::request("the body must be a form") });
        }
        let bytes =
            axum::body::to_bytes(body, form::LONGEST).await.map_err(|_| OAuthError::from(FormError::TooLarge))?;
        Ok(zeroize::Zeroizing::new(bytes.to_vec()))
    }
}
