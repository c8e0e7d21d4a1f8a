//! Which headers go on, in both directions.

use std::net::IpAddr;

use axum::body::Body;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Request, Version};

use crate::header_names::{is_certificate, is_override, is_plain};

/// Is what an upstream is told of where a request came from.
pub(super) struct Forwarding<'a> {
    pub(super) peer: IpAddr,
    /// Whether the peer is a listed proxy, so that what it says of the request before it counts.
    pub(super) is_trusted: bool,
    /// Whether the peer came by TLS that ended here.
    pub(super) is_encrypted: bool,
    pub(super) host: &'a str,
}

/// Tells whether a request asks for a WebSocket ([RFC 6455 §4.1](https://www.rfc-editor.org/rfc/rfc6455#section-4.1)), and for nothing else.
pub(super) fn asks_for_websocket(request: &Request<Body>) -> bool {
    let headers = request.headers();
    let mut upgrade = headers.get_all(header::UPGRADE).iter();
    let is_websocket = upgrade.next().is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket"));
    request.method() == Method::GET
        && request.version() == Version::HTTP_11
        && is_websocket
        && upgrade.next().is_none()
        && connection_options(headers).any(|option| option.eq_ignore_ascii_case("upgrade"))
        && headers.contains_key(header::SEC_WEBSOCKET_KEY)
        // A body before the switch could be read as the first frames.
        && !headers.contains_key(header::CONTENT_LENGTH)
        && !headers.contains_key(header::TRANSFER_ENCODING)
}

/// Makes the headers of the request that goes on.
pub(super) fn for_upstream(incoming: &HeaderMap, forwarding: &Forwarding<'_>, is_websocket: bool) -> HeaderMap {
    let mut outgoing = incoming.clone();
    take_hop_by_hop(&mut outgoing);
    let taken: Vec<HeaderName> =
        outgoing.keys().filter(|name| is_taken(name.as_str(), forwarding.is_trusted)).cloned().collect();
    for name in taken {
        outgoing.remove(name);
    }
    join_cookies(&mut outgoing);
    set_forwarding(&mut outgoing, incoming, forwarding);
    if is_websocket {
        outgoing.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        outgoing.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    }
    outgoing
}

/// Makes one line of cookies that came in several, as HTTP/2 allows and HTTP/1.1 does not
/// ([RFC 9113 §8.2.3](https://www.rfc-editor.org/rfc/rfc9113#section-8.2.3)).
fn join_cookies(headers: &mut HeaderMap) {
    let lines: Vec<&[u8]> = headers.get_all(header::COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if lines.len() > 1
        && let Ok(line) = HeaderValue::from_bytes(&lines.join(&b"; "[..]))
    {
        headers.insert(header::COOKIE, line);
    }
}

/// Takes out of a response what was between the upstream and us only.
pub(super) fn for_client(headers: &mut HeaderMap) {
    take_hop_by_hop(headers);
}

/// [RFC 9110 §7.6.1](https://www.rfc-editor.org/rfc/rfc9110#section-7.6.1): what `Connection` names, and what was never meant to go further.
pub(super) fn take_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = connection_options(headers).filter_map(|option| option.parse().ok()).collect();
    for name in named {
        // What frames the message is not the sender's to take out.
        if name != header::CONTENT_LENGTH && name != header::HOST {
            headers.remove(name);
        }
    }
    for name in HOP_BY_HOP {
        headers.remove(name);
    }
}

fn connection_options(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let values = headers.get_all(header::CONNECTION).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim).filter(|option| !option.is_empty())
}

const HOP_BY_HOP: [HeaderName; 10] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    HeaderName::from_static("proxy-connection"),
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("http2-settings"),
];

/// Lists what clients must not say: where the request came from, and that its method or path is another than the one decided by.
fn is_taken(name: &str, is_trusted: bool) -> bool {
    // Servers read `_`, and some any other such byte, as `-`, so such a name is another header's in disguise.
    !is_plain(name)
        // Only whoever ended TLS knows the certificate.
        || is_certificate(name) && !is_trusted
        || is_override(name)
        || name.starts_with("x-forwarded-")
        || name.starts_with("x-original-")
        || matches!(
            name,
            // Set anew: the length by the body, the host by the upstream.
            "content-length"
                | "host"
                | "expect"
                | "forwarded"
                | "x-real-ip"
                | "x-client-ip"
                | "x-cluster-client-ip"
                | "true-client-ip"
        )
}

fn set_forwarding(outgoing: &mut HeaderMap, incoming: &HeaderMap, forwarding: &Forwarding<'_>) {
    let Forwarding { peer, is_trusted, is_encrypted, host } = forwarding;
    let said = |name: &str| {
        let values = incoming.get_all(name).iter().filter(|_| *is_trusted).filter_map(|value| value.to_str().ok());
        values.collect::<Vec<_>>().join(",")
    };
    let chain = said("x-forwarded-for");
    // From the last one that is no address on, it is worth nothing.
    let mut before: Vec<IpAddr> = chain.rsplit(',').map_while(|one| one.trim().parse().ok()).take(MAX_HOPS).collect();
    before.reverse();
    let for_ = before.iter().chain([peer]).map(ToString::to_string).collect::<Vec<_>>();
    let proto = match (said("x-forwarded-proto").as_str(), is_encrypted) {
        ("https", _) | ("", true) => "https",
        _ => "http",
    };
    let node = |address: &IpAddr| match address {
        IpAddr::V4(v4) => v4.to_string(),
        IpAddr::V6(v6) => format!("\"[{v6}]\""),
    };
    let earlier: String = before.iter().map(|address| format!("for={}, ", node(address))).collect();
    let forwarded = format!("{earlier}for={};host=\"{host}\";proto={proto}", node(peer));
    for (name, value) in [
        ("x-forwarded-for", for_.join(", ")),
        ("x-forwarded-host", (*host).to_owned()),
        ("x-forwarded-proto", proto.to_owned()),
        ("forwarded", forwarded),
    ] {
        if let Ok(value) = HeaderValue::try_from(value) {
            outgoing.insert(HeaderName::from_static(name), value);
        }
    }
}

/// How many addresses before the peer are passed on.
const MAX_HOPS: usize = 16;

/// Takes one cookie out, and leaves the others as they were.
pub(super) fn take_cookie(headers: &mut HeaderMap, name: &str) {
    let kept: Vec<Vec<u8>> = headers
        .get_all(header::COOKIE)
        .iter()
        .flat_map(|value| value.as_bytes().split(|b| *b == b';'))
        .map(<[u8]>::trim_ascii)
        .filter(|pair| {
            !pair.is_empty() && pair.split(|b| *b == b'=').next().map(<[u8]>::trim_ascii) != Some(name.as_bytes())
        })
        .map(<[u8]>::to_vec)
        .collect();
    headers.remove(header::COOKIE);
    if !kept.is_empty()
        && let Ok(value) = HeaderValue::from_bytes(&kept.join(&b"; "[..]))
    {
        headers.insert(header::COOKIE, value);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn map(pairs: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    fn forwarded(pairs: &[(&str, &str)], is_trusted: bool) -> HeaderMap {
        let forwarding = Forwarding {
            peer: "192.0.2.9".parse().unwrap(),
            is_trusted,
            is_encrypted: false,
            host: "api.example:8080",
        };
        for_upstream(&map(pairs), &forwarding, false)
    }

    #[test]
    fn hop_by_hop_headers_end_here() {
        let outgoing = forwarded(
            &[
                ("connection", "close, X-Private, content-length"),
                ("connection", "te"),
                ("x-private", "1"),
                ("keep-alive", "timeout=5"),
                ("te", "trailers"),
                ("trailer", "x"),
                ("transfer-encoding", "chunked"),
                ("upgrade", "h2c"),
                ("http2-settings", "AAMAAABk"),
                ("proxy-authorization", "Basic x"),
                ("proxy-connection", "keep-alive"),
                ("accept", "*/*"),
            ],
            false,
        );
        let mut names: Vec<&str> = outgoing.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["accept", "forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto"]);
    }

    #[test]
    fn what_a_client_says_of_its_origin_and_meaning_is_dropped() {
        let outgoing = forwarded(
            &[
                ("x-forwarded-for", "10.0.0.1"),
                ("x-forwarded-proto", "https"),
                ("x-forwarded-user", "root"),
                ("forwarded", "for=10.0.0.1"),
                ("x-real-ip", "10.0.0.1"),
                ("x-original-url", "/admin"),
                ("x-rewrite-url", "/admin"),
                ("x-http-method-override", "DELETE"),
                ("x_forwarded_for", "10.0.0.1"),
            ],
            false,
        );
        assert_eq!(outgoing.len(), 4);
        assert_eq!(outgoing["x-forwarded-for"], "192.0.2.9");
        assert_eq!(outgoing["x-forwarded-proto"], "http");
        assert_eq!(outgoing["forwarded"], "for=192.0.2.9;host=\"api.example:8080\";proto=http");
    }

    #[test]
    fn only_a_listed_proxy_tells_a_service_of_the_clients_certificate() {
        let names = [
            "client-cert",
            "client-cert-chain",
            "ssl-client-verify",
            "ssl-client-s-dn",
            "x-ssl-client-cert",
            "x-client-cert",
            "x-client-cert-hash",
            "x-forwarded-client-cert",
            "x-forwarded-tls-client-cert",
            "x-forwarded-tls-client-cert-info",
        ];
        let forged: Vec<(&str, &str)> = names.iter().map(|name| (*name, "CN=root")).collect();
        let from_anybody = forwarded(&forged, false);
        for name in names {
            assert!(!from_anybody.contains_key(name), "{name}");
        }
        let from_proxy = forwarded(&forged, true);
        for name in ["client-cert", "client-cert-chain", "ssl-client-verify", "x-client-cert"] {
            assert_eq!(from_proxy[name], "CN=root", "{name}");
        }
        // A name in disguise is nobody's.
        assert!(!forwarded(&[("client.cert", "CN=root")], true).contains_key("client.cert"));
    }

    #[test]
    fn a_name_with_a_second_reading_is_dropped() {
        for name in ["x_auth_subject", "x.auth.subject", "x~auth~subject", "x.forwarded.for", "authorization."] {
            assert!(!forwarded(&[(name, "root")], true).contains_key(name), "{name}");
        }
    }

    #[test]
    fn a_listed_proxy_is_believed_as_far_as_it_makes_sense() {
        let outgoing =
            forwarded(&[("x-forwarded-for", "evil, 198.51.100.1 , 2001:db8::1"), ("x-forwarded-proto", "https")], true);
        assert_eq!(outgoing["x-forwarded-for"], "198.51.100.1, 2001:db8::1, 192.0.2.9");
        assert_eq!(outgoing["x-forwarded-proto"], "https");
        assert_eq!(
            outgoing["forwarded"],
            "for=198.51.100.1, for=\"[2001:db8::1]\", for=192.0.2.9;host=\"api.example:8080\";proto=https"
        );
        let long = vec!["198.51.100.1"; 100].join(",");
        let outgoing = forwarded(&[("x-forwarded-for", &long), ("x-forwarded-proto", "gopher")], true);
        assert_eq!(outgoing["x-forwarded-for"].to_str().unwrap().split(',').count(), MAX_HOPS + 1);
        assert_eq!(outgoing["x-forwarded-proto"], "http");
    }

    #[test]
    fn one_cookie_is_taken_and_the_others_stay() {
        let mut headers = map(&[("cookie", "a=1; token=hush;b = 2"), ("cookie", " token = hush2; c=x=y")]);
        take_cookie(&mut headers, "token");
        assert_eq!(headers["cookie"], "a=1; b = 2; c=x=y");
        take_cookie(&mut headers, "A");
        assert_eq!(headers["cookie"], "a=1; b = 2; c=x=y");
        let mut only = map(&[("cookie", "token=hush")]);
        take_cookie(&mut only, "token");
        assert!(only.is_empty());
    }
}
