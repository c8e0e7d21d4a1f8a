#![allow(clippy::unwrap_used, reason = "tests")]

use async_trait::async_trait;
use http::Request;
use sekisho_core::{
    Authenticate, Credential, Failure, FailureKind, Principal, Refusal, Reject, Secret, UnixSeconds, scope,
};
use sekisho_testkit::FakeAuthenticator;

use super::*;
use crate::rules::{Access, Rule};

mod cookies;

const PROXY: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));
const DIALECTS: [Dialect; 4] = [Dialect::Nginx, Dialect::Traefik, Dialect::Caddy, Dialect::Envoy];

fn checkpoint() -> Checkpoint {
    Checkpoint::builder().accept(FakeAuthenticator).with_cookie("token").build().unwrap()
}

fn rules() -> RuleTable {
    RuleTable::new([
        Rule::new("/health", Access::Public),
        Rule::new("/public/*", Access::Public),
        Rule::new("/orders/*", Access::Require(scope("a"))).for_methods(["GET"]),
        Rule::new("/orders/*", Access::Require(scope("b"))).for_methods(["POST"]),
        Rule::new("/inner/*", Access::Authenticated).on_host("inner.example"),
    ])
    .unwrap()
}

fn forward_auth(dialect: Dialect) -> ForwardAuth {
    let proxies = TrustedProxies::new(["10.0.0.0/24"]).unwrap();
    ForwardAuth::new(dialect, checkpoint(), rules(), proxies).unwrap().with_identity(IdentityHeaders::standard())
}

/// What a proxy of this dialect sends about a client's request.
fn about(dialect: Dialect, method: &str, host: &str, target: &str, headers: &[(&str, &str)]) -> Parts {
    let mut request = match dialect {
        Dialect::Nginx => Request::get("/check")
            .header("x-original-method", method)
            .header("x-original-host", host)
            .header("x-original-uri", target),
        Dialect::Traefik | Dialect::Caddy => Request::get("/check")
            .header("x-forwarded-method", method)
            .header("x-forwarded-host", host)
            .header("x-forwarded-uri", target),
        Dialect::Envoy => Request::builder().method(method).uri(format!("/check{target}")).header("host", host),
    };
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(()).unwrap().into_parts().0
}

async fn ask(dialect: Dialect, method: &str, target: &str, headers: &[(&str, &str)]) -> Response<Bytes> {
    let request = about(dialect, method, "api.example", target, headers);
    forward_auth(dialect).answer(&request, Some(PROXY), "/check").await
}

#[tokio::test]
async fn refuses_by_the_rules_in_every_dialect() {
    const GOOD: (&str, &str) = ("authorization", "Bearer good");
    for dialect in DIALECTS {
        for (method, target, headers, status) in [
            ("GET", "/orders/7?x=y", &[][..], 401),
            ("GET", "/orders/7", &[("authorization", "Bearer bad")][..], 401),
            ("GET", "/orders/7", &[GOOD, ("cookie", "token=good")][..], 400),
            ("GET", "/orders/7", &[("authorization", "Bearer down")][..], 503),
            ("GET", "/orders/7", &[("authorization", "Bearer down-slow")][..], 503),
            ("GET", "/orders/7", &[("authorization", "Bearer bad-slow")][..], 401),
            ("POST", "/orders", &[GOOD][..], 403),
            ("PUT", "/orders/7", &[GOOD][..], 403),
            ("GET", "/", &[GOOD][..], 403),
            ("GET", "/inner/x", &[GOOD][..], 403),
            ("GET", "/public/", &[GOOD][..], 403),
        ] {
            let answer = ask(dialect, method, target, headers).await;
            assert_eq!(answer.status(), status, "{dialect:?} {method} {target}");
            assert!(answer.headers().get("x-auth-subject").is_none());
            assert_eq!(answer.headers()["cache-control"], "no-store");
        }
        let asked = ask(dialect, "GET", "/orders/7", &[]).await;
        assert!(asked.headers()["www-authenticate"].to_str().unwrap().starts_with("Bearer"));
        let lacking = ask(dialect, "POST", "/orders", &[GOOD]).await;
        assert!(lacking.headers()["www-authenticate"].to_str().unwrap().contains(r#"scope="b""#));
    }
}

#[tokio::test]
async fn passes_and_says_who_calls_in_every_dialect() {
    for dialect in DIALECTS {
        for token in ["Bearer good", "Bearer good-slow"] {
            let answer = ask(dialect, "GET", "/orders/7?page=2", &[("authorization", token)]).await;
            assert_eq!(answer.status(), 200, "{dialect:?}");
            assert_eq!(answer.headers()["x-auth-subject"], "alice");
            assert_eq!(answer.headers()["x-auth-issuer"], "https://id.example");
            assert_eq!(answer.headers()["x-auth-scope"], "a");
        }
        let by_cookie = ask(dialect, "GET", "/orders", &[("cookie", "a=b; token=good")]).await;
        assert_eq!(by_cookie.status(), 200);
    }
}

#[tokio::test]
async fn what_a_client_claims_to_be_is_overwritten_in_every_dialect() {
    let forged = [("x-auth-subject", "root"), ("x-auth-scope", "admin")];
    for dialect in DIALECTS {
        // Nobody, on a public route: each header is still spoken of.
        let public = ask(dialect, "GET", "/health", &forged).await;
        assert_eq!(public.status(), 200);
        for name in ["x-auth-subject", "x-auth-issuer", "x-auth-client", "x-auth-scope"] {
            match public.headers().get(name) {
                Some(value) => assert!(value.is_empty() && dialect != Dialect::Envoy, "{dialect:?} {name}"),
                None => {
                    let removed = public.headers()["x-envoy-auth-headers-to-remove"].to_str().unwrap();
                    assert!(removed.split(',').any(|one| one == name), "{dialect:?} {name}");
                }
            }
        }
        let mut with_token = forged.to_vec();
        with_token.push(("authorization", "Bearer good"));
        let passed = ask(dialect, "GET", "/orders", &with_token).await;
        assert_eq!(passed.headers()["x-auth-subject"], "alice");
        assert_eq!(passed.headers().get_all("x-auth-subject").iter().count(), 1);
        let refused = ask(dialect, "GET", "/orders", &forged).await;
        assert_eq!(refused.status(), 401);
    }
}

#[tokio::test]
async fn a_header_that_only_looks_like_an_identity_header_is_400_in_every_dialect() {
    for dialect in DIALECTS {
        for name in ["X_Auth_Subject", "x-auth_scope", "X.Auth.Subject", "x~auth~client"] {
            for (target, more) in [("/health", None), ("/orders", Some(("authorization", "Bearer good")))] {
                let headers: Vec<_> = [(name, "root")].into_iter().chain(more).collect();
                assert_eq!(ask(dialect, "GET", target, &headers).await.status(), 400, "{dialect:?} {name}");
            }
        }
        let other = ask(dialect, "GET", "/health", &[("x_auth_subjects", "kept"), ("x_trace", "1")]).await;
        assert_eq!(other.status(), 200, "{dialect:?}");
    }
}

#[tokio::test]
async fn another_method_or_path_than_the_one_decided_by_is_400_in_every_dialect() {
    for dialect in DIALECTS {
        for name in [
            "X-HTTP-Method-Override",
            "X-Method-Override",
            "X-HTTP-Method",
            "X-Original-URL",
            "X-Rewrite-URL",
            "X_HTTP_Method_Override",
            "x.original.url",
            "x_original_uri",
        ] {
            let headers = [(name, "DELETE"), ("authorization", "Bearer good")];
            assert_eq!(ask(dialect, "GET", "/orders/7", &headers).await.status(), 400, "{dialect:?} {name}");
            assert_eq!(ask(dialect, "GET", "/health", &headers).await.status(), 400, "{dialect:?} {name}");
        }
        if dialect != Dialect::Nginx {
            // Here it is the client's own.
            assert_eq!(ask(dialect, "GET", "/health", &[("x-original-uri", "/")]).await.status(), 400, "{dialect:?}");
        }
    }
}

#[tokio::test]
async fn ambiguous_paths_are_400_in_every_dialect() {
    for dialect in DIALECTS {
        for target in [
            "/public/../orders",
            "/public/%2e%2e/orders",
            "/public//x",
            "/public/..;/orders",
            "/public/%2forders",
            "/public/%5corders",
            "/public/%00",
            "/public/%c0%ae",
            "/public/%",
            "//health",
            "/health;x",
            "/public/..%252f",
        ] {
            // What http's own type does not take is refused before us.
            let answer = ask(dialect, "GET", target, &[("authorization", "Bearer good")]).await;
            assert_eq!(answer.status(), 400, "{dialect:?} {target}");
        }
        assert_eq!(ask(dialect, "GET", "/%68ealth", &[]).await.status(), 200);
    }
    for target in ["", "health", "http://evil/health", "*", "/public/\\..\\orders", "/a b", "/public/x#y"] {
        for dialect in [Dialect::Nginx, Dialect::Traefik, Dialect::Caddy] {
            assert_eq!(ask(dialect, "GET", target, &[]).await.status(), 400, "{dialect:?} {target}");
        }
    }
}

#[tokio::test]
async fn only_listed_proxies_are_answered() {
    for dialect in DIALECTS {
        let request = about(dialect, "GET", "api.example", "/health", &[("x-forwarded-for", "10.0.0.1")]);
        let this = forward_auth(dialect);
        assert_eq!(this.answer(&request, Some(PROXY), "/check").await.status(), 200);
        for stranger in ["10.0.1.1", "127.0.0.1", "::1", "::ffff:10.0.1.1"] {
            let answer = this.answer(&request, Some(stranger.parse().unwrap()), "/check").await;
            assert_eq!(answer.status(), 403, "{stranger}");
        }
        assert_eq!(this.answer(&request, None, "/check").await.status(), 500);
    }
    let nobody = ForwardAuth::new(Dialect::Nginx, checkpoint(), rules(), TrustedProxies::none());
    assert!(nobody.is_err());
}

#[tokio::test]
async fn a_proxy_that_does_not_say_what_was_asked_for_is_500() {
    for (dialect, names) in [
        (Dialect::Nginx, ["x-original-method", "x-original-uri", "x-original-host"]),
        (Dialect::Traefik, ["x-forwarded-method", "x-forwarded-uri", "x-forwarded-host"]),
        (Dialect::Caddy, ["x-forwarded-method", "x-forwarded-uri", "x-forwarded-host"]),
    ] {
        for name in names {
            let mut request = about(dialect, "GET", "api.example", "/health", &[]);
            request.headers.remove(name);
            assert_eq!(forward_auth(dialect).answer(&request, Some(PROXY), "").await.status(), 500, "{name}");
            let mut twice = about(dialect, "GET", "api.example", "/health", &[]);
            twice.headers.append(name, HeaderValue::from_static("GET"));
            assert_eq!(forward_auth(dialect).answer(&twice, Some(PROXY), "").await.status(), 400, "{name}");
        }
    }
    // Headers of another dialect say nothing.
    let other = about(Dialect::Traefik, "GET", "api.example", "/health", &[]);
    assert_eq!(forward_auth(Dialect::Nginx).answer(&other, Some(PROXY), "").await.status(), 500);
    let envoy = about(
        Dialect::Envoy,
        "GET",
        "api.example",
        "/orders",
        &[("x-original-host", "inner.example"), ("x-forwarded-uri", "/health")],
    );
    assert_eq!(forward_auth(Dialect::Envoy).answer(&envoy, Some(PROXY), "/check").await.status(), 401);
}

#[tokio::test]
async fn hosts_are_compared_without_case_and_port() {
    for dialect in DIALECTS {
        for (host, status) in [
            ("inner.example", 200),
            ("INNER.example:8443", 200),
            ("inner.example.", 200),
            ("api.example", 403),
            ("inner.example.evil", 403),
            ("inner.example@evil", 400),
            ("inner.example:x", 400),
            ("inner.example,api.example", 400),
            ("", 400),
        ] {
            let request = about(dialect, "GET", host, "/inner/x", &[("authorization", "Bearer good")]);
            let answer = forward_auth(dialect).answer(&request, Some(PROXY), "/check").await;
            assert_eq!(answer.status(), status, "{dialect:?} {host}");
        }
    }
}

#[tokio::test]
async fn odd_methods_are_400() {
    for method in ["", "G ET", "GET,POST", "GET\u{e9}", &"A".repeat(33)] {
        let Ok(value) = HeaderValue::from_bytes(method.as_bytes()) else { continue };
        let mut request = about(Dialect::Nginx, "GET", "api.example", "/health", &[]);
        request.headers.insert("x-original-method", value);
        assert_eq!(forward_auth(Dialect::Nginx).answer(&request, Some(PROXY), "").await.status(), 400, "{method}");
    }
}

#[tokio::test]
async fn the_router_serves_over_real_connections() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    for dialect in DIALECTS {
        let proxies = TrustedProxies::new(["127.0.0.1"]).unwrap();
        let app = ForwardAuth::new(dialect, checkpoint(), rules(), proxies).unwrap().router("/check/");
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(async move {
            axum::serve(listener, app.into_make_service_with_connect_info::<SocketAddr>()).await.unwrap();
        });
        for (target, status) in
            [("/health", "200"), ("/", "403"), ("/orders/7?a=b", "401"), ("/public/../x", "400"), ("//health", "400")]
        {
            let request = about(dialect, "GET", "api.example", target, &[]);
            let mut text = format!("GET {} HTTP/1.1\r\nconnection: close\r\n", request.uri);
            for (name, value) in &request.headers {
                text.push_str(&format!("{name}: {}\r\n", value.to_str().unwrap()));
            }
            if dialect != Dialect::Envoy {
                text.push_str("host: auth\r\n");
            }
            text.push_str("\r\n");
            let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
            stream.write_all(text.as_bytes()).await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{dialect:?} {target}: {answer}");
        }
        server.abort();
    }
}

/// Gives a token for what passed the checkpoint, or what it was told to.
#[derive(Debug)]
struct FakeSwap(Result<&'static str, Refusal>);

#[async_trait]
impl TokenSwap for FakeSwap {
    fn swap_now(&self, _: Credential<'_>, _: &Principal, _: UnixSeconds) -> Option<Result<Secret, Refusal>> {
        None
    }

    async fn swap(&self, credential: Credential<'_>, principal: &Principal, _: UnixSeconds) -> Result<Secret, Refusal> {
        assert_eq!((credential.expose(), principal.subject()), ("good", "alice"));
        self.0.clone().map(Secret::from)
    }
}

#[tokio::test]
async fn services_get_the_token_that_the_callers_was_swapped_for_in_every_dialect() {
    const GOOD: (&str, &str) = ("authorization", "Bearer good");
    for dialect in DIALECTS {
        let swapping = |answer| forward_auth(dialect).with_token_swap(Arc::new(FakeSwap(answer))).unwrap();
        let ask = async |endpoint: &ForwardAuth, target: &str, headers: &[(&str, &str)]| {
            let request = about(dialect, "GET", "api.example", target, headers);
            endpoint.answer(&request, Some(PROXY), "/check").await
        };
        let endpoint = swapping(Ok("inner.jwt.token"));
        for headers in [[GOOD], [("cookie", "token=good")]] {
            let passed = ask(&endpoint, "/orders/7", &headers).await;
            assert_eq!(passed.status(), 200, "{dialect:?}");
            assert_eq!(passed.headers()["authorization"], "Bearer inner.jwt.token", "{dialect:?}");
            assert!(passed.headers()["authorization"].is_sensitive(), "{dialect:?}");
            assert_eq!(passed.headers()["x-auth-subject"], "alice", "{dialect:?}");
        }
        // What a client brings to a public route is nobody's word.
        let public = ask(&endpoint, "/health", &[GOOD]).await;
        assert_eq!(public.status(), 200, "{dialect:?}");
        match public.headers().get("authorization") {
            Some(value) => assert!(value.is_empty() && dialect != Dialect::Envoy, "{dialect:?}"),
            None => {
                let removed = public.headers()["x-envoy-auth-headers-to-remove"].to_str().unwrap();
                assert!(removed.split(',').any(|one| one == "authorization"), "{dialect:?} {removed}");
            }
        }
        for (answer, status) in [
            (Err(Reject::Inactive.into()), 401),
            (Err(Failure::unavailable("down").into()), 503),
            (Err(Failure::new(FailureKind::BadGateway, "odd").into()), 502),
            (Ok(""), 502),
            (Ok("two words"), 502),
            (Ok("a\r\nX-Auth-Subject: root"), 502),
        ] {
            let refused = ask(&swapping(answer), "/orders/7", &[GOOD]).await;
            assert_eq!(refused.status(), status, "{dialect:?}");
            for name in ["authorization", "x-auth-subject"] {
                assert!(refused.headers().get(name).is_none(), "{dialect:?} {name}");
            }
            assert_eq!(refused.headers().contains_key("www-authenticate"), status == 401, "{dialect:?}");
        }
        // Without a swap nothing is said of it: the proxy's own configuration decides.
        let plain = ask(&forward_auth(dialect), "/orders/7", &[GOOD]).await;
        assert!(plain.status() == 200 && plain.headers().get("authorization").is_none(), "{dialect:?}");
    }
}

/// Takes whoever shows a certificate, by its length.
struct ByCertificate;

#[async_trait::async_trait]
impl sekisho_core::Authenticate for ByCertificate {
    fn recognizes(&self, _: sekisho_core::Credential<'_>) -> bool {
        true
    }

    fn authenticate_now(
        &self,
        credential: sekisho_core::Credential<'_>,
        _: sekisho_core::UnixSeconds,
    ) -> Option<Result<sekisho_core::Principal, sekisho_core::Refusal>> {
        let shown = credential.presentation().and_then(|shown| shown.certificate());
        Some(match shown.and_then(sekisho_http::certificate_der) {
            Some(der) => {
                let subject = format!("{} bytes", der.len());
                Ok(sekisho_core::dangerous::PrincipalBuilder::new("https://id.example", subject).build().unwrap())
            }
            None => Err(sekisho_core::Reject::ProofRequired.into()),
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
async fn a_certificate_counts_from_the_asking_proxy_alone_if_the_checkpoint_believes_it() {
    use sekisho_http::ClientCertificateHeader;
    let listed = || TrustedProxies::new(["10.0.0.0/24"]).unwrap();
    let believed = || TrustedProxies::new(["10.0.0.1"]).unwrap();
    let pem = "-----BEGIN%20CERTIFICATE-----%0AYWJj%0A-----END%20CERTIFICATE-----%0A";
    let envoy = format!("Hash=ab;Cert=\"{pem}\"");
    let cases = [
        (
            Dialect::Nginx,
            ClientCertificateHeader::escaped_pem("ssl-client-cert", believed()).unwrap(),
            "ssl-client-cert",
            pem,
        ),
        (Dialect::Traefik, ClientCertificateHeader::traefik(believed()), "x-forwarded-tls-client-cert", "YWJj"),
        (
            Dialect::Caddy,
            ClientCertificateHeader::base64("x-client-cert", believed()).unwrap(),
            "x-client-cert",
            "YWJj",
        ),
        (Dialect::Envoy, ClientCertificateHeader::envoy(believed()), "x-forwarded-client-cert", &*envoy),
    ];
    for (dialect, header, name, value) in cases {
        let checkpoint =
            Checkpoint::builder().accept(ByCertificate).with_client_certificate_header(header).build().unwrap();
        let rules = RuleTable::new([Rule::new("/orders/*", Access::Authenticated)]).unwrap();
        let auth =
            ForwardAuth::new(dialect, checkpoint, rules, listed()).unwrap().with_identity(IdentityHeaders::standard());
        let status = async |peer: &str, headers: &[(&str, &str)]| {
            let headers = [&[("authorization", "Bearer x")], headers].concat();
            let request = about(dialect, "GET", "api.example", "/orders/7", &headers);
            auth.answer(&request, Some(peer.parse().unwrap()), "/check").await
        };
        let good = status("10.0.0.1", &[(name, value)]).await;
        assert_eq!(good.status(), StatusCode::OK, "{dialect:?}");
        assert_eq!(good.headers()["x-auth-subject"], "3 bytes", "{dialect:?}");
        // From another proxy that may ask, twice, not in its form, and not at all.
        assert_eq!(status("10.0.0.2", &[(name, value)]).await.status(), 401, "{dialect:?}");
        assert_eq!(status("10.0.0.1", &[(name, value), (name, value)]).await.status(), 401, "{dialect:?}");
        assert_eq!(status("10.0.0.1", &[(name, "-")]).await.status(), 401, "{dialect:?}");
        assert_eq!(status("10.0.0.1", &[("client-cert", ":YWJj:")]).await.status(), 401, "{dialect:?}");
        assert_eq!(status("10.0.0.1", &[]).await.status(), 401, "{dialect:?}");
        assert_eq!(status("192.0.2.1", &[(name, value)]).await.status(), 403, "{dialect:?}");
    }
}

/// Takes no notice of proofs, and makes nonces all the same.
struct Nonced;

#[async_trait]
impl Authenticate for Nonced {
    fn recognizes(&self, _: Credential<'_>) -> bool {
        true
    }

    fn authenticate_now(&self, credential: Credential<'_>, now: UnixSeconds) -> Option<Result<Principal, Refusal>> {
        FakeAuthenticator.authenticate_now(credential, now)
    }

    async fn authenticate(&self, credential: Credential<'_>, now: UnixSeconds) -> Result<Principal, Refusal> {
        FakeAuthenticator.authenticate(credential, now).await
    }

    fn accepted_proofs(&self) -> sekisho_core::AcceptedProofs {
        sekisho_core::AcceptedProofs::none().with_dpop("ES256")
    }

    fn proof_nonce(&self, _: UnixSeconds) -> Option<String> {
        Some("n-1".to_owned())
    }
}

fn nonced(dialect: Dialect) -> ForwardAuth {
    let checkpoint = Checkpoint::builder().accept(Nonced).with_public_url("https://api.example").build().unwrap();
    ForwardAuth::new(dialect, checkpoint, rules(), TrustedProxies::new(["10.0.0.0/24"]).unwrap()).unwrap()
}

#[tokio::test]
async fn an_answer_to_a_proof_has_the_next_nonce_in_every_dialect() {
    for dialect in DIALECTS {
        for (target, authorization, status, has_nonce) in [
            ("/orders/7", "DPoP good", 200, true),
            ("/orders/7", "DPoP good-slow", 200, true),
            ("/orders/7", "Bearer good", 200, false),
            ("/orders/7", "DPoP bad", 401, false),
            ("/nowhere", "DPoP good", 403, false),
            ("/health", "DPoP good", 200, false),
        ] {
            let request = about(dialect, "GET", "api.example", target, &[("authorization", authorization)]);
            let answer = nonced(dialect).answer(&request, Some(PROXY), "/check").await;
            let found = answer.headers().get("dpop-nonce").map(|value| value.to_str().unwrap());
            assert_eq!(answer.status(), status, "{dialect:?} {authorization} {target}");
            assert_eq!(found, has_nonce.then_some("n-1"), "{dialect:?} {authorization} {target}");
        }
    }
}

#[test]
fn a_bound_token_is_swapped_only_where_somebody_says_that_its_proof_ends_here() {
    let swap = || Arc::new(FakeSwap(Ok("inner.jwt.token")));
    for dialect in DIALECTS {
        assert!(nonced(dialect).with_token_swap(swap()).is_err(), "{dialect:?}");
        assert!(nonced(dialect).with_proofs_checked_here().with_token_swap(swap()).is_ok(), "{dialect:?}");
        // Said where there is nothing to say, it would hide what comes later.
        let plain = forward_auth(dialect).with_proofs_checked_here().with_token_swap(swap());
        assert!(plain.is_err(), "{dialect:?}");
    }
}
