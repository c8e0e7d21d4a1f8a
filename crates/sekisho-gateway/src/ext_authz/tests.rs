#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::collections::HashMap;
use std::net::IpAddr;

use sekisho_core::{Authenticate, scope};
use sekisho_testkit::FakeAuthenticator;

use super::proto::{AttributeContext, HeaderEntries, HttpRequest, HttpResponse, Request};
use super::*;
use crate::rules::{Access, Rule};

const PROXY: Option<IpAddr> = Some(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST));

fn service() -> ExtAuthz {
    let checkpoint = Checkpoint::builder().accept(FakeAuthenticator).build().unwrap();
    let rules = RuleTable::new([
        Rule::new("/health", Access::Public),
        Rule::new("/orders/*", Access::Require(scope("a"))).on_host("api.example").for_methods(["GET"]),
        Rule::new("/orders/*", Access::Require(scope("b"))).on_host("api.example").for_methods(["POST"]),
    ])
    .unwrap();
    let proxies = TrustedProxies::new(["127.0.0.1"]).unwrap();
    ExtAuthz::new(checkpoint, rules, proxies).unwrap().with_identity(IdentityHeaders::standard())
}

fn described(method: &str, path: &str, headers: &[(&str, &str)]) -> HttpRequest {
    let headers: HashMap<String, String> =
        headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    HttpRequest {
        method: method.to_owned(),
        path: path.to_owned(),
        host: "api.example:443".to_owned(),
        headers,
        ..HttpRequest::default()
    }
}

fn about(http: HttpRequest) -> CheckRequest {
    CheckRequest { attributes: Some(AttributeContext { source: None, request: Some(Request { http: Some(http) }) }) }
}

/// Returns the gRPC code, the HTTP status and the headers of a denial; `None` when it passes.
async fn denial(request: CheckRequest, peer: Option<IpAddr>) -> Option<(i32, i32, Vec<String>)> {
    let response = service().check(request, peer).await;
    let code = response.status.unwrap().code;
    match response.http_response.unwrap() {
        HttpResponse::Ok(_) => {
            assert_eq!(code, 0);
            None
        }
        HttpResponse::Denied(denied) => {
            assert_ne!(code, 0);
            let headers = denied.headers.iter().map(|one| one.header.as_ref().unwrap());
            let headers = headers.map(|one| format!("{}: {}", one.key, one.value)).collect();
            Some((code, denied.status.unwrap().code, headers))
        }
    }
}

#[tokio::test]
async fn refuses_with_status_headers_and_body() {
    let bearer = |token: &'static str| [("authorization", token)];
    for (method, path, headers, code, status) in [
        ("GET", "/orders/7", vec![], 16, 401),
        ("GET", "/orders/7", bearer("Bearer bad").to_vec(), 16, 401),
        ("GET", "/orders/7", bearer("Bearer good,Bearer good").to_vec(), 3, 400),
        ("GET", "/orders/7", bearer("Bearer down").to_vec(), 14, 503),
        ("POST", "/orders/7", bearer("Bearer good").to_vec(), 7, 403),
        ("GET", "/", bearer("Bearer good").to_vec(), 7, 403),
        ("GET", "/health/../orders", bearer("Bearer good").to_vec(), 3, 400),
        ("GET", "/health/%2e%2e/orders", vec![], 3, 400),
        ("GET", "", vec![], 3, 400),
        ("", "/health", vec![], 3, 400),
        ("GET", "/health", vec![("a b", "c")], 3, 400),
        ("GET", "/health", vec![("a", "b\r\nc: d")], 3, 400),
    ] {
        let (found_code, found_status, headers) =
            denial(about(described(method, path, &headers)), PROXY).await.unwrap();
        assert_eq!((found_code, found_status), (code, status), "{method} {path}");
        assert!(headers.iter().any(|header| header == "cache-control: no-store"));
    }
}

#[tokio::test]
async fn challenges_reach_the_client() {
    let (_, status, headers) = denial(about(described("GET", "/orders/7", &[])), PROXY).await.unwrap();
    assert_eq!(status, 401);
    assert!(headers.iter().any(|header| header.starts_with("www-authenticate: Bearer ")), "{headers:?}");
    let bearer = [("authorization", "Bearer good")];
    let (_, _, headers) = denial(about(described("POST", "/orders/7", &bearer)), PROXY).await.unwrap();
    assert!(headers.iter().any(|header| header.contains(r#"scope="b""#)), "{headers:?}");
}

#[tokio::test]
async fn refuses_strangers_and_requests_that_describe_nothing() {
    let health = || about(described("GET", "/health", &[]));
    assert_eq!(denial(health(), PROXY).await, None);
    assert_eq!(denial(health(), Some("127.0.0.2".parse().unwrap())).await.unwrap().1, 403);
    assert_eq!(denial(health(), None).await.unwrap().1, 500);
    assert_eq!(denial(CheckRequest::default(), PROXY).await.unwrap().1, 500);
    let mut elsewhere = described("GET", "/orders/7", &[("authorization", "Bearer good")]);
    elsewhere.host = "other.example".to_owned();
    assert_eq!(denial(about(elsewhere), PROXY).await.unwrap().1, 403);
}

#[tokio::test]
async fn forged_identity_is_overwritten_or_taken_out() {
    let forged =
        [("x-auth-subject", "root"), ("x_auth_subject", "root"), ("x-auth-client", "root"), ("x-other", "kept")];
    let mut with_token = forged.to_vec();
    with_token.push(("authorization", "Bearer good"));
    let ok = service().check(about(described("GET", "/orders/7", &with_token)), PROXY).await;
    let Some(HttpResponse::Ok(ok)) = ok.http_response else { panic!("refused") };
    let set: Vec<_> = ok
        .headers
        .iter()
        .map(|one| (&*one.header.as_ref().unwrap().key, &*one.header.as_ref().unwrap().value))
        .collect();
    assert_eq!(set, [("x-auth-subject", "alice"), ("x-auth-issuer", "https://id.example"), ("x-auth-scope", "a")]);
    assert!(ok.headers.iter().all(|one| one.append == Some(proto::BoolValue { value: false })));
    assert_eq!(ok.headers_to_remove, ["x-auth-client", "x_auth_subject"]);

    let ok = service().check(about(described("GET", "/health", &forged)), PROXY).await;
    let Some(HttpResponse::Ok(ok)) = ok.http_response else { panic!("refused") };
    assert!(ok.headers.is_empty());
    for name in ["x-auth-subject", "x-auth-issuer", "x-auth-client", "x-auth-scope", "x_auth_subject"] {
        assert!(ok.headers_to_remove.iter().any(|one| one == name), "{name}");
    }
}

#[tokio::test]
async fn another_method_or_path_than_the_one_decided_by_is_taken_out() {
    let overrides = [
        "x-http-method-override",
        "x-http-method",
        "x-method-override",
        "x-original-url",
        "x-rewrite-url",
        "x_http_method_override",
        "x.auth.subject",
    ];
    let mut headers: Vec<(&str, &str)> = overrides.iter().map(|name| (*name, "DELETE")).collect();
    headers.extend([("authorization", "Bearer good"), ("x-other", "kept")]);
    for path in ["/orders/7", "/health"] {
        let ok = service().check(about(described("GET", path, &headers)), PROXY).await;
        let Some(HttpResponse::Ok(ok)) = ok.http_response else { panic!("refused") };
        for name in overrides {
            assert!(ok.headers_to_remove.iter().any(|one| one == name), "{name}");
        }
        assert!(!ok.headers_to_remove.iter().any(|one| one == "x-other" || one == "authorization"));
    }
}

#[tokio::test]
async fn reads_raw_headers_too_and_sees_both_of_two() {
    let entry = |value: &[u8]| HeaderEntry {
        key: "authorization".to_owned(),
        raw_value: value.to_vec(),
        ..HeaderEntry::default()
    };
    let mut raw = described("GET", "/orders/7", &[]);
    raw.header_map = Some(HeaderEntries { headers: vec![entry(b"Bearer good")] });
    assert_eq!(denial(about(raw.clone()), PROXY).await, None);
    raw.header_map = Some(HeaderEntries { headers: vec![entry(b"Bearer good"), entry(b"Bearer good")] });
    assert_eq!(denial(about(raw.clone()), PROXY).await.unwrap().1, 400);
    raw.header_map = Some(HeaderEntries { headers: vec![entry(b"Bearer g\xffod")] });
    assert_eq!(denial(about(raw), PROXY).await.unwrap().1, 400);
}

#[tokio::test]
async fn a_grpc_client_is_answered_over_the_wire() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let incoming = tonic::transport::server::TcpIncoming::from(listener);
    let server = tokio::spawn(tonic::transport::Server::builder().add_service(service()).serve_with_incoming(incoming));
    let channel = tonic::transport::Endpoint::new(format!("http://{address}")).unwrap().connect().await.unwrap();
    let mut client = tonic::client::Grpc::new(channel);
    let path = http::uri::PathAndQuery::from_static("/envoy.service.auth.v3.Authorization/Check");
    for (headers, code) in [(vec![("authorization", "Bearer good-slow")], 0), (vec![], 16)] {
        client.ready().await.unwrap();
        let request = tonic::Request::new(about(described("GET", "/orders/7?x=y", &headers)));
        let codec = tonic_prost::ProstCodec::<CheckRequest, CheckResponse>::default();
        let response = client.unary(request, path.clone(), codec).await.unwrap().into_inner();
        assert_eq!(response.status.unwrap().code, code);
    }
    client.ready().await.unwrap();
    let huge = about(described("GET", "/health", &[("x", &"x".repeat(ExtAuthz::MAX_MESSAGE_BYTES))]));
    let codec = tonic_prost::ProstCodec::<CheckRequest, CheckResponse>::default();
    let refused = client.unary(tonic::Request::new(huge), path, codec).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::OutOfRange);
    client.ready().await.unwrap();
    let other = http::uri::PathAndQuery::from_static("/envoy.service.auth.v3.Authorization/Other");
    let codec = tonic_prost::ProstCodec::<CheckRequest, CheckResponse>::default();
    let request = tonic::Request::new(about(described("GET", "/health", &[])));
    assert_eq!(client.unary(request, other, codec).await.unwrap_err().code(), tonic::Code::Unimplemented);
    server.abort();
}

#[test]
fn debug_shows_no_header() {
    let request = about(described("GET", "/", &[("authorization", "Bearer hush")]));
    assert!(!format!("{request:?} {:?}", service()).contains("hush"));
}

/// Takes whoever shows a certificate, by its length.
struct ByCertificate;

#[async_trait::async_trait]
impl Authenticate for ByCertificate {
    fn recognizes(&self, _: sekisho_core::Credential<'_>) -> bool {
        true
    }

    fn authenticate_now(
        &self,
        credential: sekisho_core::Credential<'_>,
        _: sekisho_core::UnixSeconds,
    ) -> Option<Result<sekisho_core::Principal, sekisho_core::Refusal>> {
        let shown = credential.presentation().and_then(|shown| shown.certificate());
        Some(match shown.and_then(certificate_der) {
            Some(der) if *der == *b"abc" => {
                Ok(sekisho_core::dangerous::PrincipalBuilder::new("https://id.example", "abc").build().unwrap())
            }
            _ => Err(sekisho_core::Reject::ProofRequired.into()),
        })
    }

    async fn authenticate(
        &self,
        credential: sekisho_core::Credential<'_>,
        now: sekisho_core::UnixSeconds,
    ) -> Result<sekisho_core::Principal, sekisho_core::Refusal> {
        self.authenticate_now(credential, now).unwrap()
    }

    fn accepted_proofs(&self) -> sekisho_core::AcceptedProofs {
        sekisho_core::AcceptedProofs::none().with_certificates()
    }
}

#[tokio::test]
async fn what_envoy_says_of_the_connection_counts_more_than_any_header() {
    let proxies = || TrustedProxies::new(["127.0.0.1"]).unwrap();
    let header = sekisho_http::ClientCertificateHeader::envoy(proxies());
    let checkpoint =
        Checkpoint::builder().accept(ByCertificate).with_client_certificate_header(header).build().unwrap();
    let rules = RuleTable::new([Rule::new("/orders/*", Access::Authenticated)]).unwrap();
    let service = ExtAuthz::new(checkpoint, rules, proxies()).unwrap();
    let pem = |body: &str| format!("-----BEGIN%20CERTIFICATE-----%0A{body}%0A-----END%20CERTIFICATE-----%0A");
    let (own, other) = (pem("YWJj"), pem("eHl6"));
    let header = |pem: &str| format!("Cert=\"{pem}\"");
    for (certificate, header, status) in [
        (&*own, None, 0),
        (&*own, Some(header(&other)), 0),
        ("", Some(header(&own)), 0),
        (&*other, Some(header(&own)), 401),
        ("", None, 401),
        ("", Some(header(&other)), 401),
        ("nonsense", Some(header(&own)), 400),
    ] {
        let mut headers = vec![("authorization", "Bearer x")];
        headers.extend(header.as_deref().map(|value| ("x-forwarded-client-cert", value)));
        let mut request = about(described("GET", "/orders/7", &headers));
        let source = proto::Peer { certificate: certificate.to_owned() };
        assert!(!format!("{source:?}").contains("YWJj"));
        request.attributes.as_mut().unwrap().source = Some(source);
        let answer = service.check(request, PROXY).await.http_response.unwrap();
        let found = match answer {
            HttpResponse::Ok(_) => 0,
            HttpResponse::Denied(denied) => denied.status.unwrap().code,
        };
        assert_eq!(found, status, "{certificate} {header:?}");
    }
}

/// Takes no notice of proofs, and makes nonces all the same.
struct Nonced;

#[async_trait::async_trait]
impl Authenticate for Nonced {
    fn recognizes(&self, _: sekisho_core::Credential<'_>) -> bool {
        true
    }

    fn authenticate_now(
        &self,
        credential: sekisho_core::Credential<'_>,
        now: sekisho_core::UnixSeconds,
    ) -> Option<Result<sekisho_core::Principal, sekisho_core::Refusal>> {
        FakeAuthenticator.authenticate_now(credential, now)
    }

    async fn authenticate(
        &self,
        credential: sekisho_core::Credential<'_>,
        now: sekisho_core::UnixSeconds,
    ) -> Result<sekisho_core::Principal, sekisho_core::Refusal> {
        FakeAuthenticator.authenticate(credential, now).await
    }

    fn accepted_proofs(&self) -> sekisho_core::AcceptedProofs {
        sekisho_core::AcceptedProofs::none().with_dpop("ES256")
    }

    fn proof_nonce(&self, _: sekisho_core::UnixSeconds) -> Option<String> {
        Some("n-1".to_owned())
    }
}

#[tokio::test]
async fn the_next_nonce_goes_to_the_client_and_not_to_the_service() {
    let checkpoint = Checkpoint::builder().accept(Nonced).with_public_url("https://api.example").build().unwrap();
    let rules = RuleTable::new([Rule::new("/orders/*", Access::Authenticated)]).unwrap();
    let service = ExtAuthz::new(checkpoint, rules, TrustedProxies::new(["127.0.0.1"]).unwrap()).unwrap();
    for (authorization, told) in [("DPoP good", Some("n-1")), ("DPoP good-slow", Some("n-1")), ("Bearer good", None)] {
        let answer =
            service.check(about(described("GET", "/orders/7", &[("authorization", authorization)])), PROXY).await;
        let Some(HttpResponse::Ok(ok)) = answer.http_response else { panic!("refused: {authorization}") };
        let nonces = |headers: &[proto::HeaderValueOption]| -> Vec<String> {
            let headers = headers.iter().filter_map(|one| one.header.as_ref());
            headers.filter(|one| one.key == "dpop-nonce").map(|one| one.value.clone()).collect()
        };
        assert_eq!(nonces(&ok.response_headers_to_add), told.into_iter().collect::<Vec<_>>(), "{authorization}");
        assert!(nonces(&ok.headers).is_empty(), "{authorization}");
    }
    let refused = service.check(about(described("GET", "/orders/7", &[("authorization", "DPoP bad")])), PROXY).await;
    let Some(HttpResponse::Denied(denied)) = refused.http_response else { panic!("passes") };
    assert!(denied.headers.iter().all(|one| one.header.as_ref().unwrap().key != "dpop-nonce"));
}

#[tokio::test]
async fn a_cookie_is_403_where_another_site_may_have_caused_the_request() {
    let checkpoint = Checkpoint::builder().accept(FakeAuthenticator).with_cookie("token").build().unwrap();
    let rules = RuleTable::new([Rule::new("/orders/*", Access::Authenticated)]).unwrap();
    let proxies = TrustedProxies::new(["127.0.0.1"]).unwrap();
    let service = ExtAuthz::new(checkpoint, rules, proxies).unwrap();
    let named = service.clone().with_origins(["https://shop.example"]).unwrap();
    const COOKIE: (&str, &str) = ("cookie", "token=good");
    for (headers, by_host, by_name) in [
        (&[COOKIE][..], 7, 7),
        (&[COOKIE, ("sec-fetch-site", "cross-site")], 7, 7),
        (&[COOKIE, ("origin", "https://evil.example")], 7, 7),
        (&[COOKIE, ("origin", "https://api.example:443")], 0, 7),
        (&[COOKIE, ("origin", "https://shop.example"), ("sec-fetch-site", "same-site")], 7, 0),
        (&[COOKIE, ("sec-fetch-site", "same-origin")], 0, 0),
        (&[("authorization", "Bearer good"), ("sec-fetch-site", "cross-site")], 0, 0),
    ] {
        for (service, code) in [(&service, by_host), (&named, by_name)] {
            let answer = service.check(about(described("POST", "/orders/7", headers)), PROXY).await;
            assert_eq!(answer.status.unwrap().code, code, "{headers:?}");
        }
    }
    for (method, mark) in
        [("GET", ("sec-websocket-version", "13")), ("GET", ("upgrade", "websocket")), ("CONNECT", ("x-any", "1"))]
    {
        for (origin, code) in [("https://evil.example", 7), ("https://shop.example", 0)] {
            let headers = [COOKIE, mark, ("origin", origin)];
            let answer = named.check(about(described(method, "/orders/7", &headers)), PROXY).await;
            assert_eq!(answer.status.unwrap().code, code, "a socket over HTTP/2: {method} {headers:?}");
        }
    }
    assert!(service.clone().with_origins(["https://shop.example/"]).is_err());
    assert!(service.with_origins([""; 0]).is_err(), "not the host's instead of nobody's");
}
