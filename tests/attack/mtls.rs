//! Attacks on tokens that are bound to a client certificate (RFC 8705).

use std::net::IpAddr;
use std::sync::Arc;

use sekisho_http::{
    Checkpoint, ClientCertificate, ClientCertificateHeader, HeadParts, Inspection, Presence, RequestHead,
    TrustedProxies,
};
use sekisho_jwt::Backend;
use sekisho_testkit::FixedClock;
use sekisho_tests::{House, NOW, encode};
use serde_json::json;

const MINE: &[u8] = b"the DER of the holder's certificate";
const OTHER: &[u8] = b"the DER of another certificate";

/// Is a request as an adapter shows it.
struct Request<'h> {
    parts: HeadParts<'h>,
    peer: Option<IpAddr>,
    certificate: Option<ClientCertificate>,
}

impl RequestHead for Request<'_> {
    fn method(&self) -> &str {
        self.parts.method
    }

    fn path(&self) -> &str {
        self.parts.path
    }

    fn header<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.parts.header(name)
    }

    fn peer(&self) -> Option<IpAddr> {
        self.peer
    }

    fn client_certificate(&self) -> Option<ClientCertificate> {
        self.certificate.clone()
    }
}

fn checkpoint(house: &House, header: Option<ClientCertificateHeader>) -> Checkpoint {
    let builder = Checkpoint::builder()
        .accept(house.builder().with_certificate_binding())
        .with_clock(Arc::new(FixedClock::at(NOW)));
    match header {
        Some(header) => builder.with_client_certificate_header(header).build().unwrap(),
        None => builder.build().unwrap(),
    }
}

/// Sends a token; `header` is a certificate header, `tls` what the TLS layer saw, `peer` who made the connection.
fn status(
    checkpoint: &Checkpoint,
    token: &str,
    header: Option<(&str, &str)>,
    tls: Option<&[u8]>,
    peer: Option<&str>,
) -> u16 {
    let authorization = format!("Bearer {token}");
    let mut headers = vec![("authorization", authorization.as_bytes())];
    headers.extend(header.map(|(name, value)| (name, value.as_bytes())));
    let parts = HeadParts { method: "GET", path: "/orders", headers: &headers };
    let peer = peer.map(|peer| peer.parse().unwrap());
    let request = Request { parts, peer, certificate: tls.map(ClientCertificate::from_der) };
    match checkpoint.inspect(&request, Presence::Required) {
        Inspection::Pass(_) => 200,
        Inspection::Refuse(answer) => answer.status(),
        Inspection::Wait(_) => panic!("keys are in memory"),
    }
}

fn thumbprint(der: &[u8]) -> String {
    encode(Backend::default().sha256(der))
}

#[test]
fn a125_x5t_mismatch() {
    let house = House::es256();
    let bound = |der: &[u8]| house.saying(json!({ "cnf": { "x5t#S256": thumbprint(der) } }));
    let token = bound(MINE);
    let plain = checkpoint(house, None);
    for _ in 0..2 {
        assert_eq!(status(&plain, &token, None, Some(MINE), None), 200);
        // Of another certificate, none, and one that is the same up to its end.
        assert_eq!(status(&plain, &token, None, Some(OTHER), None), 401);
        assert_eq!(status(&plain, &token, None, None, None), 401);
        assert_eq!(status(&plain, &token, None, Some(&MINE[..MINE.len() - 1]), None), 401);
        assert_eq!(status(&plain, &bound(OTHER), None, Some(MINE), None), 401);
    }

    // A header from wherever, where nobody said that there is a proxy.
    let base64 = base64_simd::STANDARD.encode_to_string(MINE);
    let header = format!(":{base64}:");
    let rfc9440 = Some(("Client-Cert", &*header));
    for peer in [None, Some("127.0.0.1"), Some("10.0.0.1")] {
        assert_eq!(status(&plain, &token, rfc9440, None, peer), 401, "{peer:?}");
    }

    // From a listed proxy it counts; from an untrusted hop it is what the caller says of itself.
    let proxies = || TrustedProxies::new(["10.0.0.0/8", "fd00::1"]).unwrap();
    let behind = checkpoint(house, Some(ClientCertificateHeader::rfc9440(proxies())));
    for peer in ["10.0.0.1", "10.255.0.9", "fd00::1", "::ffff:10.0.0.1"] {
        assert_eq!(status(&behind, &token, rfc9440, None, Some(peer)), 200, "{peer}");
    }
    for peer in ["192.0.2.1", "11.0.0.1", "127.0.0.1", "::1", "fd00::2"] {
        assert_eq!(status(&behind, &token, rfc9440, None, Some(peer)), 401, "{peer}");
        assert_eq!(status(&behind, &token, rfc9440, Some(OTHER), Some(peer)), 401, "{peer}");
    }
    assert_eq!(status(&behind, &token, rfc9440, None, None), 401, "a peer that nobody knows is not a proxy");
    let other = format!(":{}:", base64_simd::STANDARD.encode_to_string(OTHER));
    let list = format!("{header}, {header}");
    for bad in [&*other, "", "::", &*base64, &*list, &format!("\"{base64}\""), &format!("{header};a=1")] {
        assert_eq!(status(&behind, &token, Some(("client-cert", bad)), None, Some("10.0.0.1")), 401, "{bad}");
    }
    // The proxy's own certificate, on its connection to us, is not the client's.
    let of_proxy = bound(b"the proxy's own");
    assert_eq!(status(&behind, &of_proxy, None, Some(b"the proxy's own"), Some("10.0.0.1")), 401);
    // Another name for the header does not count, and neither do headers of other proxies.
    for name in ["x-client-cert", "x-forwarded-tls-client-cert", "ssl-client-cert", "x-forwarded-client-cert"] {
        assert_eq!(status(&behind, &token, Some((name, &header)), None, Some("10.0.0.1")), 401, "{name}");
    }
    for (config, name, value) in [
        (ClientCertificateHeader::traefik(proxies()), "X-Forwarded-Tls-Client-Cert", base64.clone()),
        (
            ClientCertificateHeader::escaped_pem("ssl-client-cert", proxies()).unwrap(),
            "ssl-client-cert",
            format!("-----BEGIN%20CERTIFICATE-----%0A{}%0A-----END%20CERTIFICATE-----%0A", base64.replace('+', "%2B")),
        ),
    ] {
        let behind = checkpoint(house, Some(config));
        assert_eq!(status(&behind, &token, Some((name, &value)), None, Some("10.0.0.1")), 200, "{name}");
        assert_eq!(status(&behind, &bound(OTHER), Some((name, &value)), None, Some("10.0.0.1")), 401, "{name}");
        assert_eq!(status(&behind, &token, Some((name, &value)), None, Some("192.0.2.1")), 401, "{name}");
    }

    // What else may stand in `cnf` is not taken for a certificate.
    for cnf in [
        json!({ "x5t#S256": thumbprint(MINE), "jkt": thumbprint(MINE) }),
        json!({ "x5t#S256": thumbprint(MINE), "x5t": "x" }),
        json!({ "x5t": thumbprint(MINE) }),
        json!({ "x5t#s256": thumbprint(MINE) }),
        json!({ "x5t#S256": format!("{}=", thumbprint(MINE)) }),
        json!({ "x5t#S256": "" }),
        json!({ "jkt": thumbprint(MINE) }),
    ] {
        let token = house.saying(json!({ "cnf": cnf }));
        assert_eq!(status(&plain, &token, None, Some(MINE), None), 401, "{cnf}");
    }
    // And where certificates are not taken, the right one does not help.
    let without =
        Checkpoint::builder().accept(house.builder()).with_clock(Arc::new(FixedClock::at(NOW))).build().unwrap();
    assert_eq!(status(&without, &token, None, Some(MINE), None), 401);
}
