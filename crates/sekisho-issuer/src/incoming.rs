//! Requests, as far as the endpoints look at them.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use axum::body::Body;
use axum::extract::ConnectInfo;
use http::header::{AUTHORIZATION, CONTENT_TYPE, COOKIE, HeaderMap, HeaderName, HeaderValue, ORIGIN};
use http::{Method, Request};
use sekisho_core::{Clock, UnixSeconds};
use sekisho_http::{ClientCertificate, ClientCertificateHeader, TrustedProxies};

use crate::answer::OAuthError;
use crate::form::{self, Form, FormError};

/// How long a form may take to arrive.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// Is a request without its body.
#[derive(Debug)]
pub(crate) struct Incoming {
    pub(crate) headers: HeaderMap,
    pub(crate) query: String,
    /// Who holds the other end of the connection, if the server was told to know.
    pub(crate) peer: Option<IpAddr>,
    pub(crate) now: UnixSeconds,
    /// Why the body could not be read, if it could not.
    body_problem: Option<OAuthError>,
}

impl Incoming {
    /// Takes a request apart. The body of a POST is read to its end, so that the clock can be read after it: what came slowly is judged by
    /// the time at which it was complete.
    pub(crate) async fn receive(request: Request<Body>, clock: &dyn Clock) -> (Self, Body) {
        Self::receive_within(LONGEST_WAIT, request, clock).await
    }

    async fn receive_within(wait: Duration, request: Request<Body>, clock: &dyn Clock) -> (Self, Body) {
        let (parts, mut body) = request.into_parts();
        let mut body_problem = None;
        if parts.method == Method::POST {
            let whole = tokio::time::timeout(wait, axum::body::to_bytes(body, form::LONGEST)).await;
            body = match whole {
                Ok(Ok(bytes)) => Body::from(bytes),
                Ok(Err(_)) => {
                    body_problem = Some(OAuthError::from(FormError::TooLarge));
                    Body::empty()
                }
                Err(_) => {
                    body_problem = Some(OAuthError { status: 408, ..OAuthError::request("the body came too slowly") });
                    Body::empty()
                }
            };
        }
        let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0.ip().to_canonical());
        let query = parts.uri.query().unwrap_or_default().to_owned();
        (Self { headers: parts.headers, query, peer, now: clock.now(), body_problem }, body)
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
    ///
    /// Only what proxies of ours have added is looked at, from the last to the first. What is no address was written by nobody whom we
    /// trust: then it is the peer, so that all who send such things share one address. `None` only when the server does not know its peers.
    pub(crate) fn client_address(&self, proxies: &TrustedProxies) -> Option<IpAddr> {
        let peer = self.peer?;
        if !proxies.contains(peer) {
            return Some(peer);
        }
        let lines = self.headers.get_all(HeaderName::from_static("x-forwarded-for")).iter().rev();
        let hops = lines.flat_map(|line| line.as_bytes().rsplit(|byte| *byte == b','));
        let first_other = hops.map(address).find(|hop| hop.is_none_or(|address| !proxies.contains(address)));
        first_other.flatten().or(Some(peer))
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
        if let Some(problem) = self.body_problem {
            return Err(problem);
        }
        let bytes =
            axum::body::to_bytes(body, form::LONGEST).await.map_err(|_| OAuthError::from(FormError::TooLarge))?;
        Ok(zeroize::Zeroizing::new(bytes.to_vec()))
    }
}

/// Reads an address as proxies write it: alone, with a port, or in brackets.
fn address(hop: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(hop.trim_ascii()).ok()?;
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let with_port = || text.parse::<SocketAddr>().map(|address| address.ip());
    bare.parse::<IpAddr>().or_else(|_| with_port()).ok().map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(peer: Option<&str>, lines: &[&[u8]]) -> Option<String> {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append("x-forwarded-for", HeaderValue::from_bytes(line).unwrap());
        }
        let peer = peer.map(|peer| peer.parse().unwrap());
        let incoming = Incoming { headers, query: String::new(), peer, now: UnixSeconds::new(0), body_problem: None };
        let proxies = TrustedProxies::new(["10.0.0.0/8"]).unwrap();
        incoming.client_address(&proxies).map(|address| address.to_string())
    }

    #[test]
    fn the_client_is_the_last_address_that_no_trusted_proxy_added_whatever_stands_before_it() {
        for (lines, expected) in [
            (&[][..], "10.0.0.1"),
            (&[&b"192.0.2.1"[..]], "192.0.2.1"),
            (&[b"\xff, 192.0.2.1"], "192.0.2.1"),
            (&[b"\xff\xfe", b"192.0.2.1"], "192.0.2.1"),
            (&[b"203.0.113.9, 192.0.2.1, 10.0.0.2"], "192.0.2.1"),
            (&[b"203.0.113.9", b"192.0.2.1,10.0.0.2", b" 10.0.0.3 "], "192.0.2.1"),
            (&[b"192.0.2.1:4711"], "192.0.2.1"),
            (&[b"[2001:db8::1]:4711"], "2001:db8::1"),
            (&[b"[2001:db8::1]"], "2001:db8::1"),
            (&[b"::ffff:192.0.2.1"], "192.0.2.1"),
            (&[b"10.0.0.9, 10.0.0.2"], "10.0.0.1"),
        ] {
            assert_eq!(client(Some("10.0.0.1"), lines).as_deref(), Some(expected), "{lines:?}");
        }
        assert_eq!(client(None, &[b"192.0.2.1"]), None);
        assert_eq!(client(Some("192.0.2.7"), &[b"203.0.113.9"]).as_deref(), Some("192.0.2.7"), "no proxy of ours");
    }

    #[test]
    fn what_is_no_address_counts_for_the_peer_and_is_never_nobody() {
        for hop in [&b""[..], b"unknown", b"_hidden", b"\xff", b"192.0.2.1 x", b"192.0.2.256", b"[192.0.2.1", b"1,"] {
            assert_eq!(client(Some("10.0.0.1"), &[hop]).as_deref(), Some("10.0.0.1"), "{hop:?}");
            let before = [b"192.0.2.1, ", hop, b", 10.0.0.2"].concat();
            assert_eq!(client(Some("10.0.0.1"), &[&before]).as_deref(), Some("10.0.0.1"), "{hop:?}");
        }
    }
    #[tokio::test]
    async fn a_body_that_does_not_end_in_time_or_is_too_long_is_refused() {
        use http_body_util::{BodyExt as _, Full};

        let clock = sekisho_testkit::FixedClock::at(UnixSeconds::new(7));
        let form = || Request::post("/login").header(CONTENT_TYPE, "application/x-www-form-urlencoded");
        let endless = Full::new(axum::body::Bytes::from("a=b")).with_trailers(std::future::pending());
        let long = "x".repeat(form::LONGEST + 1);
        for (body, status) in [(Body::new(endless), 408), (Body::from(long), 413)] {
            let request = form().body(body).unwrap();
            let (incoming, body) = Incoming::receive_within(Duration::from_millis(20), request, &clock).await;
            assert_eq!(incoming.form(body).await.unwrap_err().status, status);
        }
        let request = form().body(Body::from("a=b")).unwrap();
        let (incoming, body) = Incoming::receive(request, &clock).await;
        assert_eq!((incoming.form(body).await.unwrap().get("a"), incoming.now), (Some("b"), UnixSeconds::new(7)));
    }
}
