//! What does not pass, and what passes without what it must not carry.

use async_trait::async_trait;
use sekisho_core::{
    AcceptedProofs, Authenticate, Credential, Failure, Principal, Refusal, Reject, Secret, UnixSeconds,
};
use sekisho_gateway::{AsBearer, ReverseProxy, TokenForward, TokenSwap};
use sekisho_http::TrustedProxies;

use super::*;

const GOOD: (&str, &str) = ("authorization", "Bearer good");

#[tokio::test]
async fn refuses_by_route_and_credential_before_anything_reaches_a_service() {
    let (service, upstream) = echo().await;
    let served = Served::start(proxy(routes(&upstream))).await;
    for (method, target, headers, status) in [
        ("GET", "/", &[GOOD][..], 404),
        ("GET", "/orders", &[][..], 401),
        ("GET", "/orders/7", &[("authorization", "Bearer bad")][..], 401),
        ("GET", "/orders/7", &[("authorization", "Bearer bad-slow")][..], 401),
        ("GET", "/orders/7", &[("authorization", "Basic good")][..], 401),
        ("GET", "/orders/7", &[GOOD, GOOD][..], 400),
        ("GET", "/orders/7", &[GOOD, ("cookie", "token=good")][..], 400),
        ("GET", "/orders/7", &[("authorization", "Bearer down")][..], 503),
        ("DELETE", "/orders/7", &[GOOD][..], 403),
        ("PUT", "/orders/7", &[GOOD][..], 404),
        ("get", "/orders/7", &[GOOD][..], 404),
        ("GET", "/admin", &[GOOD][..], 403),
        ("GET", "/admin/x", &[GOOD][..], 403),
        ("GET", "/public/", &[][..], 404),
        ("GET", "/inner/x", &[][..], 404),
        ("TRACE", "/public", &[][..], 405),
        ("CONNECT", "api.example:80", &[][..], 405),
        ("OPTIONS", "*", &[][..], 400),
    ] {
        let reply = served.send(method, target, headers).await;
        assert_eq!(reply.status, status, "{method} {target} {headers:?}: {reply:?}");
        if status != 405 && status != 404 {
            assert!(reply.head.contains("cache-control: no-store"), "{reply:?}");
        }
    }
    assert!(service.seen().is_empty());
    assert!(served.send("GET", "/orders", &[]).await.head.contains("www-authenticate: bearer "));
    assert!(served.send("DELETE", "/orders", &[GOOD]).await.head.contains(r#"scope="nobody""#));
}

#[tokio::test]
async fn a_path_that_can_be_read_in_two_ways_is_400_and_reaches_no_service() {
    let (service, upstream) = echo().await;
    let served = Served::start(proxy(routes(&upstream))).await;
    for target in [
        "/public/../admin",
        "/public/./x",
        "/public/%2e%2e/admin",
        "/public/.%2E/admin",
        "/public//admin",
        "//admin",
        "/public/..;/admin",
        "/public;/admin",
        "/public/%2fadmin",
        "/public/%5cadmin",
        "/public/\\admin",
        "/public/%00",
        "/public/%0d%0a",
        "/public/%c0%ae%c0%ae",
        "/public/%252e%252e/admin",
        "/public/%",
        "/public/%zz",
        "/public/%ff",
        "/public/%e2%80%a5/admin",
        "/public/x%23y",
        "/public/..%3fx",
    ] {
        let reply = served.send("GET", target, &[]).await;
        assert_eq!(reply.status, 400, "{target}: {reply:?}");
    }
    assert!(service.seen().is_empty());
}

#[tokio::test]
async fn the_path_that_was_decided_by_is_the_one_that_is_passed_on() {
    let (service, upstream) = echo().await;
    let served = Served::start(proxy(routes(&upstream))).await;
    assert_eq!(served.send("GET", "/%61dmin/x", &[GOOD]).await.status, 403);
    assert_eq!(served.send("GET", "/%6frders/caf%c3%a9?a=/../b&c=%2e%2e//", &[GOOD]).await.status, 200);
    let seen = service.only();
    assert_eq!((&*seen.method, &*seen.target), ("GET", "/orders/caf%C3%A9?a=/../b&c=%2e%2e//"));
}

#[tokio::test]
async fn exactly_one_host_and_it_never_chooses_the_service() {
    let (service, upstream) = echo().await;
    let served = Served::start(proxy(routes(&upstream))).await;
    for head in [
        "GET /public HTTP/1.1\r\n",
        "GET /public HTTP/1.0\r\n",
        "GET /public HTTP/1.1\r\nhost: a.example\r\nhost: a.example\r\n",
        "GET /public HTTP/1.1\r\nhost:\r\n",
        "GET /public HTTP/1.1\r\nhost: a.example/evil\r\n",
        "GET /public HTTP/1.1\r\nhost: user@a.example\r\n",
        "GET /public HTTP/1.1\r\nhost: a.example, b.example\r\n",
        "GET /public HTTP/1.1\r\nhost: a.example:x\r\n",
        "GET http://b.example/public HTTP/1.1\r\nhost: a.example\r\n",
        "GET http://user@a.example/public HTTP/1.1\r\nhost: a.example\r\n",
    ] {
        let reply = Reply::read(&served.raw(format!("{head}connection: close\r\n\r\n")).await);
        assert_eq!(reply.status, 400, "{head}");
    }
    assert!(service.seen().is_empty());
    for head in [
        format!("GET /public HTTP/1.1\r\nhost: {}\r\n", service.address),
        "GET http://elsewhere.example:81/public HTTP/1.1\r\nhost: elsewhere.example:81\r\n".to_owned(),
        "GET /inner/x HTTP/1.1\r\nhost: INNER.example:8443\r\n".to_owned(),
    ] {
        let reply = Reply::read(&served.raw(format!("{head}connection: close\r\n\r\n")).await);
        assert_eq!(reply.status, 200, "{head}");
        assert_eq!(service.only().header("host"), Some(&*service.address.to_string()));
    }
}

#[tokio::test]
async fn who_calls_is_said_by_the_gateway_alone() {
    let (service, upstream) = echo().await;
    let served = Served::start(proxy(routes(&upstream))).await;
    let forged = [
        ("X-Auth-Subject", "root"),
        ("x-auth-subject", "root2"),
        ("X_Auth_Subject", "root"),
        ("X.Auth.Subject", "root"),
        ("x~auth~scope", "admin"),
        ("ssl-client-verify", "SUCCESS"),
        ("client-cert", ":Zm9v:"),
        ("x-auth-scope", "admin"),
        ("X-Auth-Client", "c"),
        ("x-forwarded-for", "10.0.0.1"),
        ("x-forwarded-user", "root"),
        ("forwarded", "for=10.0.0.1"),
        ("x-real-ip", "10.0.0.1"),
        ("x-http-method-override", "DELETE"),
        ("x-original-url", "/admin"),
    ];
    let mut headers = forged.to_vec();
    headers.push(GOOD);
    // Asking the gateway to take its own headers out again.
    headers.push(("connection", "x-auth-subject, x-auth-scope, x-forwarded-for"));
    assert_eq!(served.send("GET", "/orders/7", &headers).await.status, 200);
    let seen = service.only();
    assert_eq!(seen.header("x-auth-subject"), Some("alice"));
    assert_eq!(seen.header("x-auth-issuer"), Some("https://id.example"));
    assert_eq!(seen.header("x-auth-scope"), Some("a"));
    assert_eq!(seen.header("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(seen.header("x-forwarded-host"), Some("api.example"));
    for name in [
        "x-auth-client",
        "x_auth_subject",
        "x.auth.subject",
        "x~auth~scope",
        "ssl-client-verify",
        "client-cert",
        "x-forwarded-user",
        "x-real-ip",
        "x-http-method-override",
        "x-original-url",
        "authorization",
        "connection",
    ] {
        assert_eq!(seen.header(name), None, "{name}");
    }
    assert_eq!(served.send("GET", "/public", &forged).await.status, 200);
    let seen = service.only();
    assert!(seen.headers.iter().all(|(name, _)| !name.starts_with("x-auth") && !name.contains('_')), "{seen:?}");
}

#[tokio::test]
async fn only_a_listed_proxy_is_believed_where_a_request_came_from() {
    let (service, upstream) = echo().await;
    let headers = [("x-forwarded-for", "198.51.100.7"), ("x-forwarded-proto", "https")];
    let listed = proxy(routes(&upstream)).with_trusted_proxies(TrustedProxies::new(["127.0.0.1"]).unwrap());
    let served = Served::start(listed).await;
    assert_eq!(served.send("GET", "/public", &headers).await.status, 200);
    let seen = service.only();
    assert_eq!(seen.header("x-forwarded-for"), Some("198.51.100.7, 127.0.0.1"));
    assert_eq!(seen.header("x-forwarded-proto"), Some("https"));
    let served = Served::start(proxy(routes(&upstream))).await;
    assert_eq!(served.send("GET", "/public", &headers).await.status, 200);
    assert_eq!(service.only().header("x-forwarded-for"), Some("127.0.0.1"));
}

#[derive(Debug)]
struct Exchange;

#[async_trait]
impl TokenSwap for Exchange {
    fn swap_now(&self, credential: Credential<'_>, _: &Principal, _: UnixSeconds) -> Option<Result<Secret, Refusal>> {
        match credential.expose() {
            "good-odd" => Some(Ok(Secret::from("two words"))),
            "good-none" => Some(Err(Reject::Inactive.into())),
            "good-down" => Some(Err(Failure::unavailable("the exchange").into())),
            "good-later" => None,
            other => Some(Ok(Secret::from(format!("inner-of-{other}")))),
        }
    }

    async fn swap(&self, _: Credential<'_>, principal: &Principal, _: UnixSeconds) -> Result<Secret, Refusal> {
        Ok(Secret::from(format!("later-for-{}", principal.subject())))
    }
}

#[tokio::test]
async fn a_service_gets_no_token_its_own_or_another_as_the_route_says() {
    let (service, upstream) = echo().await;
    let mut all = routes(&upstream);
    let checkpoint =
        Checkpoint::builder().accept(FakeAuthenticator).with_cookie("token").with_header("x-key").build().unwrap();
    let guard = || Guard::checkpoint(checkpoint.clone());
    all.push(Route::new("/as-is", &upstream, guard()).forwarding(TokenForward::AsIs));
    all.push(Route::new("/drop", &upstream, guard()));
    all.push(Route::new("/swap", &upstream, guard()).forwarding(TokenForward::Swap(Arc::new(Exchange))));
    let served = Served::start(proxy(all)).await;
    let bearer = |value: &'static str| [("authorization", value)];

    for (target, kept) in [("/as-is", Some("proof")), ("/drop", None), ("/swap", None)] {
        let headers = [("authorization", "Bearer good"), ("DPoP", "proof")];
        assert_eq!(served.send("GET", target, &headers).await.status, 200);
        assert_eq!(service.only().header("dpop"), kept, "{target}");
    }
    assert_eq!(served.send("GET", "/public", &[("DPoP", "proof")]).await.status, 200);
    assert_eq!(service.only().header("dpop"), None);
    assert_eq!(served.send("GET", "/as-is", &bearer("Bearer good")).await.status, 200);
    assert_eq!(service.only().header("authorization"), Some("Bearer good"));
    assert_eq!(served.send("GET", "/drop", &bearer("Bearer good")).await.status, 200);
    assert_eq!(service.only().header("authorization"), None);
    assert_eq!(served.send("GET", "/drop", &[("cookie", "a=b; token=good; c=d")]).await.status, 200);
    assert_eq!(service.only().header("cookie"), Some("a=b; c=d"));
    assert_eq!(served.send("GET", "/drop", &[("x-key", "good"), ("authorization", "Basic secret")]).await.status, 200);
    let seen = service.only();
    assert_eq!((seen.header("x-key"), seen.header("authorization")), (None, None));
    assert_eq!(served.send("GET", "/public", &bearer("Bearer anything")).await.status, 200);
    assert_eq!(service.only().header("authorization"), None);

    assert_eq!(served.send("GET", "/swap", &bearer("Bearer good")).await.status, 200);
    assert_eq!(service.only().header("authorization"), Some("Bearer inner-of-good"));
    assert_eq!(served.send("GET", "/swap", &[("cookie", "token=good-later")]).await.status, 200);
    let seen = service.only();
    assert_eq!((seen.header("authorization"), seen.header("cookie")), (Some("Bearer later-for-alice"), None));
    for (value, status) in
        [("Bearer good-odd", 502), ("Bearer good-none", 401), ("Bearer good-down", 503), ("Bearer bad", 401)]
    {
        assert_eq!(served.send("GET", "/swap", &bearer(value)).await.status, status, "{value}");
    }
    assert!(service.seen().is_empty());
}

#[tokio::test]
async fn a_cookie_proves_nothing_where_another_site_may_have_caused_the_request() {
    let (service, upstream) = echo().await;
    let guard = || Guard::checkpoint(checkpoint());
    let as_bearer = || TokenForward::Swap(Arc::new(AsBearer::new()));
    let served = Served::start(proxy(vec![
        Route::new("/orders", &upstream, guard()).forwarding(as_bearer()),
        Route::new("/listed", &upstream, guard()).with_origins(["https://app.example"]),
        Route::new("/login", &upstream, Guard::Public),
    ]))
    .await;
    const COOKIE: (&str, &str) = ("cookie", "a=b; token=good");
    const BEARER: (&str, &str) = ("authorization", "Bearer good");
    let site = |site: &'static str| ("sec-fetch-site", site);
    let origin = |origin: &'static str| ("origin", origin);
    for (method, target, headers, status) in [
        ("POST", "/orders", &[COOKIE][..], 403),
        ("POST", "/orders", &[COOKIE, site("cross-site")], 403),
        ("POST", "/orders", &[COOKIE, site("same-site")], 403),
        ("DELETE", "/orders", &[COOKIE, origin("https://app.example")], 403),
        ("POST", "/orders", &[COOKIE, origin("null")], 403),
        ("GET", "/orders", &[COOKIE, ("sec-websocket-key", "x"), origin("https://evil.example")], 403),
        ("GET", "/orders", &[COOKIE, ("sec-websocket-version", "13"), origin("https://evil.example")], 403),
        ("POST", "/orders", &[("cookie", "token=bad"), site("cross-site")], 403),
        ("POST", "/orders", &[COOKIE, BEARER, site("cross-site")], 400),
        ("GET", "/orders", &[("cookie", "token=good; token=good")], 400),
        ("POST", "/listed", &[COOKIE, site("cross-site")], 403),
        ("POST", "/listed", &[COOKIE, origin("https://api.example")], 403),
        ("POST", "/listed", &[BEARER, origin("https://api.example")], 403),
    ] {
        assert_eq!(served.send(method, target, headers).await.status, status, "{method} {target} {headers:?}");
    }
    assert!(service.seen().is_empty(), "nothing that was refused reached the service");
    for (method, target, headers, told) in [
        ("POST", "/orders", &[COOKIE, site("same-origin")][..], Some("Bearer good")),
        ("POST", "/orders", &[COOKIE, origin("http://api.example")], Some("Bearer good")),
        ("GET", "/orders", &[COOKIE, site("cross-site")], Some("Bearer good")),
        ("POST", "/orders", &[BEARER, site("cross-site"), origin("https://app.example")], Some("Bearer good")),
        ("POST", "/listed", &[COOKIE, site("cross-site"), origin("https://app.example")], None),
        ("POST", "/login", &[COOKIE, site("cross-site")], None),
    ] {
        assert_eq!(served.send(method, target, headers).await.status, 200, "{method} {target} {headers:?}");
        let seen = service.only();
        assert_eq!(seen.header("authorization"), told, "{target} {headers:?}");
        let kept = seen.header("cookie").is_some_and(|cookie| cookie.contains("token"));
        assert_eq!(kept, target == "/login", "{target} {headers:?}");
    }
}

#[tokio::test]
async fn an_answer_keeps_to_itself_what_was_between_service_and_gateway() {
    let (_service, upstream) = echo().await;
    let served = Served::start(proxy(routes(&upstream))).await;
    let reply = served.send("GET", "/public/hops", &[]).await;
    assert_eq!((reply.status, &*reply.body), (200, "hops"));
    assert!(!reply.head.contains("x-private") && !reply.head.contains("keep-alive"), "{reply:?}");
    assert!(reply.head.contains("x-kept: 1") && reply.head.contains("server: test"), "{reply:?}");
    let head = served.send("HEAD", "/public/hops", &[]).await;
    assert!(head.status == 200 && head.body.is_empty() && head.head.contains("content-length: 4"), "{head:?}");
}

#[tokio::test]
async fn a_service_that_is_not_there_is_502_and_a_silent_one_504() {
    let (_service, upstream) = echo().await;
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let nowhere = Upstream::new("nowhere", &format!("http://{}", gone.local_addr().unwrap())).unwrap();
    drop(gone);
    let (nonsense, _, _task) = upstream::raw_upstream("SMTP ready\r\n\r\n").await;
    let nonsense = Upstream::new("nonsense", &format!("http://{nonsense}")).unwrap();
    let (switcher, _, _task) =
        upstream::raw_upstream("HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n")
            .await;
    let switcher = Upstream::new("switcher", &format!("http://{switcher}")).unwrap();
    let mut all = routes(&upstream);
    all.push(Route::new("/nowhere", &nowhere, Guard::Public));
    all.push(Route::new("/nonsense", &nonsense, Guard::Public));
    all.push(Route::new("/switcher", &switcher, Guard::Public));
    let served = Served::start(proxy(all)).await;
    for (target, status) in [("/nowhere", 502), ("/nonsense", 502), ("/switcher", 502), ("/public/hang", 504)] {
        let before = std::time::Instant::now();
        let reply = served.send("GET", target, &[]).await;
        assert_eq!(reply.status, status, "{target}");
        assert!(
            reply.body.contains(&format!(r#""status":{status}"#)) && reply.head.contains("application/problem+json"),
            "{reply:?}"
        );
        assert!(before.elapsed() < Duration::from_secs(3));
    }
    let total = ProxyTimeouts { total: Some(Duration::from_millis(100)), ..timeouts() };
    let served = Served::start(proxy(routes(&upstream)).with_timeouts(total)).await;
    assert_eq!(served.send("GET", "/public/slow", &[]).await.status, 504);
}

#[test]
fn refuses_routes_that_cannot_be_meant() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let _inside = runtime.enter();
    for origin in [
        "",
        "orders",
        "ftp://a",
        "http://",
        "http://a/path",
        "http://a?x",
        "http://u@a",
        "http://u:p@a:80",
        "http://a#x",
        "//a",
    ] {
        assert!(Upstream::new("x", origin).is_err(), "{origin:?}");
    }
    let upstream = Upstream::new("x", "http://127.0.0.1:1").unwrap();
    let options = sekisho_gateway::UpstreamOptions { http2: true, ..Default::default() };
    let http2 = Upstream::with_options("y", "http://127.0.0.1:1", options).unwrap();
    let cookie = || Guard::checkpoint(checkpoint());
    for all in [
        vec![],
        vec![Route::new("a", &upstream, Guard::Public)],
        vec![Route::new("/a", &upstream, Guard::Public), Route::new("/a", &upstream, Guard::Deny)],
        vec![Route::new("/*", &upstream, cookie()), Route::new("/admin/*", &upstream, Guard::Deny)],
        vec![Route::new("/a", &upstream, Guard::Public).on_host("A.example")],
        vec![Route::new("/a", &upstream, Guard::Public).for_methods(["get"])],
        vec![Route::new("/a", &http2, Guard::Public).with_websockets()],
        vec![Route::new("/a", &upstream, cookie()).with_websockets()],
        vec![Route::new("/a", &upstream, cookie()).with_websockets().with_origins(["*"])],
        vec![Route::new("/a", &upstream, cookie()).with_origins(["https://a.example/"])],
        vec![Route::new("/a", &upstream, cookie()).with_origins([""; 0])],
        vec![Route::new("/a", &upstream, Guard::Public).forwarding(TokenForward::Swap(Arc::new(Exchange)))],
    ] {
        assert!(ReverseProxy::new(all).is_err());
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

    fn accepted_proofs(&self) -> AcceptedProofs {
        AcceptedProofs::none().with_dpop("ES256")
    }

    fn proof_nonce(&self, _: UnixSeconds) -> Option<String> {
        Some("n-1".to_owned())
    }
}

#[tokio::test]
async fn an_answer_to_a_proof_has_the_next_nonce() {
    let (_service, upstream) = echo().await;
    let checkpoint = Checkpoint::builder().accept(Nonced).with_public_url("https://api.example").build().unwrap();
    let route = Route::new("/orders/*", &upstream, Guard::checkpoint(checkpoint));
    let served = Served::start(proxy(vec![route])).await;
    for (authorization, status, has_nonce) in
        [("DPoP good", 200, true), ("DPoP good-slow", 200, true), ("Bearer good", 200, false), ("DPoP bad", 401, false)]
    {
        let reply = served.send("GET", "/orders/7", &[("authorization", authorization)]).await;
        let found = reply.head.contains("dpop-nonce: n-1");
        assert_eq!((reply.status, found), (status, has_nonce), "{authorization}: {reply:?}");
    }
}
