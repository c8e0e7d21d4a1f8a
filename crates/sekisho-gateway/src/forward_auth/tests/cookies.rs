//! Credentials in cookies: what another site may have caused, and what services are given of them.

use super::*;
use crate::token_swap::AsBearer;

const COOKIE: (&str, &str) = ("cookie", "a=b; token=good");
const KEY: (&str, &str) = ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");

fn guarded(dialect: Dialect) -> ForwardAuth {
    let rules = RuleTable::new([
        Rule::new("/callback", Access::Public),
        Rule::new("/orders/*", Access::Authenticated).on_host("api.example"),
    ]);
    let proxies = TrustedProxies::new(["10.0.0.0/24"]).unwrap();
    ForwardAuth::new(dialect, checkpoint(), rules.unwrap(), proxies).unwrap()
}

async fn status(endpoint: &ForwardAuth, method: &str, target: &str, headers: &[(&str, &str)]) -> StatusCode {
    let request = about(endpoint.0.dialect, method, "api.example", target, headers);
    endpoint.answer(&request, Some(PROXY), "/check").await.status()
}

#[tokio::test]
async fn what_another_site_may_have_caused_is_403_with_a_cookie_in_every_dialect() {
    let site = |site: &'static str| ("sec-fetch-site", site);
    let origin = |origin: &'static str| ("origin", origin);
    for dialect in DIALECTS {
        let endpoint = guarded(dialect);
        for (method, headers, expected) in [
            ("POST", &[COOKIE][..], 403),
            ("POST", &[COOKIE, site("cross-site")], 403),
            ("POST", &[COOKIE, site("same-site")], 403),
            ("POST", &[COOKIE, site("")], 403),
            ("POST", &[COOKIE, site("cross-site"), origin("https://api.example")], 403),
            ("POST", &[COOKIE, origin("https://evil.example")], 403),
            ("POST", &[COOKIE, origin("https://api.example:8443")], 403),
            ("POST", &[COOKIE, origin("https://api.example.evil.example")], 403),
            ("POST", &[COOKIE, origin("null")], 403),
            ("POST", &[COOKIE, site("same-origin"), site("cross-site")], 400),
            ("POST", &[COOKIE, origin("https://api.example"), origin("https://evil.example")], 400),
            ("PUT", &[COOKIE, site("cross-site")], 403),
            ("DELETE", &[COOKIE, site("cross-site")], 403),
            ("PROPFIND", &[COOKIE, site("cross-site")], 403),
            ("get", &[COOKIE, site("cross-site")], 403),
            ("GET", &[COOKIE, KEY, origin("https://evil.example")], 403),
            ("GET", &[COOKIE, ("upgrade", "websocket"), site("same-site")], 403),
            // Whether the cookie is good is not told to another site.
            ("POST", &[("cookie", "token=bad"), site("cross-site")], 403),
            ("POST", &[("cookie", "token=down"), site("cross-site")], 403),
            ("POST", &[COOKIE, site("same-origin")], 200),
            ("POST", &[COOKIE, site("none")], 200),
            ("POST", &[COOKIE, origin("https://api.example")], 200),
            ("POST", &[COOKIE, ("x-csrf", "1")], 200),
            ("GET", &[COOKIE, KEY, origin("https://api.example")], 200),
            ("GET", &[COOKIE, site("cross-site")], 200),
            ("HEAD", &[COOKIE, site("cross-site")], 200),
            // No page can make a browser send these by itself.
            ("POST", &[("authorization", "Bearer good"), site("cross-site"), origin("https://app.example")], 200),
            ("POST", &[("authorization", "Bearer good")], 200),
            ("POST", &[("cookie", "a=b"), site("cross-site")], 401),
        ] {
            assert_eq!(
                status(&endpoint, method, "/orders/7", headers).await,
                expected,
                "{dialect:?} {method} {headers:?}"
            );
        }
        // A provider may send the browser back by a form.
        let public = status(&endpoint, "POST", "/callback", &[COOKIE, site("cross-site")]).await;
        assert_eq!(public, 200, "{dialect:?}");
    }
}

/// Behind HAProxy and Envoy a socket over HTTP/2 ([RFC 8441 §5](https://www.rfc-editor.org/rfc/rfc8441#section-5)) is a `GET` without a key.
#[tokio::test]
async fn a_socket_over_http2_from_another_site_is_403_with_a_cookie_in_every_dialect() {
    for dialect in DIALECTS {
        let endpoint = guarded(dialect);
        for mark in [
            ("sec-websocket-version", "13"),
            ("sec-websocket-protocol", "chat"),
            ("sec-websocket-extensions", "permessage-deflate"),
        ] {
            for (origin, expected) in [("https://evil.example", 403), ("null", 403), ("https://api.example", 200)] {
                for method in ["GET", "CONNECT"] {
                    let headers = [COOKIE, mark, ("origin", origin)];
                    let found = status(&endpoint, method, "/orders/7", &headers).await;
                    assert_eq!(found, expected, "{dialect:?} {method} {headers:?}");
                }
            }
            for site in ["cross-site", "same-site"] {
                let found = status(&endpoint, "GET", "/orders/7", &[COOKIE, mark, ("sec-fetch-site", site)]).await;
                assert_eq!(found, 403, "{dialect:?} {mark:?} {site}");
            }
            assert_eq!(status(&endpoint, "GET", "/orders/7", &[COOKIE, mark]).await, 403, "{dialect:?} {mark:?}");
        }
        let connect = status(&endpoint, "CONNECT", "/orders/7", &[COOKIE, ("origin", "https://evil.example")]).await;
        assert_eq!(connect, 403, "{dialect:?}");
    }
}

#[tokio::test]
async fn two_credentials_and_oversized_ones_are_refused_wherever_they_come_from() {
    let long = |bytes: usize| format!("token=good{}", "x".repeat(bytes));
    for dialect in DIALECTS {
        let endpoint = guarded(dialect).with_token_swap(Arc::new(AsBearer::new())).unwrap();
        for headers in [
            &[("cookie", "token=good; token=good")][..],
            &[("cookie", "token=good; token=bad")],
            &[("cookie", "token=good"), ("cookie", "token=good")],
            &[COOKIE, ("authorization", "Bearer good")],
            &[COOKIE, ("authorization", "Bearer bad")],
            &[("cookie", &*long(16 * 1024))],
        ] {
            for method in ["GET", "POST"] {
                let headers: Vec<_> = headers.iter().copied().chain([("sec-fetch-site", "cross-site")]).collect();
                assert_eq!(status(&endpoint, method, "/orders/7", &headers).await, 400, "{dialect:?} {headers:?}");
            }
        }
        for cookie in ["token=", "token", "Token=good", "a=token=good", ""] {
            assert_eq!(status(&endpoint, "GET", "/orders/7", &[("cookie", cookie)]).await, 401, "{dialect:?} {cookie}");
        }
    }
}

#[tokio::test]
async fn origins_that_are_named_are_the_only_ones_and_need_not_be_the_host() {
    for dialect in DIALECTS {
        let endpoint = guarded(dialect).with_origins(["https://shop.example", "https://app.example"]).unwrap();
        for (headers, expected) in [
            (&[("origin", "https://shop.example")][..], 200),
            (&[("origin", "https://app.example"), ("sec-fetch-site", "cross-site")], 200),
            (&[("sec-fetch-site", "same-origin")], 200),
            (&[("origin", "https://api.example")], 403),
            (&[("origin", "http://shop.example")], 403),
            (&[("origin", "https://shop.example.evil.example"), ("sec-fetch-site", "cross-site")], 403),
            (&[("sec-fetch-site", "same-site")], 403),
            (&[], 403),
        ] {
            let headers: Vec<_> = headers.iter().copied().chain([COOKIE]).collect();
            assert_eq!(status(&endpoint, "POST", "/orders/7", &headers).await, expected, "{dialect:?} {headers:?}");
        }
    }
    for bad in ["", "*", "null", "shop.example", "https://shop.example/", "https://Shop.example", "https://a:443"] {
        assert!(guarded(Dialect::Nginx).with_origins([bad]).is_err(), "{bad}");
    }
    assert!(guarded(Dialect::Nginx).with_origins([""; 0]).is_err(), "not the host's instead of nobody's");
}

#[tokio::test]
async fn a_proxy_s_own_host_makes_no_origin_ours() {
    let proxies = TrustedProxies::new(["10.0.0.1"]).unwrap();
    let rules = RuleTable::new([Rule::new("/orders/*", Access::Authenticated)]).unwrap();
    let endpoint = ForwardAuth::new(Dialect::Nginx, checkpoint(), rules, proxies).unwrap();
    let headers = [COOKIE, ("host", "127.0.0.1:9191"), ("origin", "http://127.0.0.1:9191")];
    let mut asked = about(Dialect::Nginx, "POST", "api.example", "/orders/7", &headers);
    assert_eq!(endpoint.answer(&asked, Some(PROXY), "/check").await.status(), 403);
    asked.headers.remove("x-original-host");
    assert_eq!(endpoint.answer(&asked, Some(PROXY), "/check").await.status(), 403, "nor where it tells of none");
    asked.headers.append("x-original-host", HeaderValue::from_static("127.0.0.1:9191"));
    asked.headers.append("x-original-host", HeaderValue::from_static("api.example"));
    assert_eq!(endpoint.answer(&asked, Some(PROXY), "/check").await.status(), 403, "nor of two");
}

#[tokio::test]
async fn services_get_the_token_of_the_cookie_as_a_bearer_token_in_every_dialect() {
    for dialect in DIALECTS {
        let endpoint = guarded(dialect).with_token_swap(Arc::new(AsBearer::new())).unwrap();
        let ask = async |target: &str, headers: &[(&str, &str)]| {
            let request = about(dialect, "GET", "api.example", target, headers);
            endpoint.answer(&request, Some(PROXY), "/check").await
        };
        for (headers, told) in [
            (&[COOKIE][..], "Bearer good"),
            (&[("cookie", "token=good-slow")], "Bearer good-slow"),
            (&[COOKIE, ("authorization", "Basic cm9vdDpyb290")], "Bearer good"),
            (&[("authorization", "bearer good")], "Bearer good"),
        ] {
            let passed = ask("/orders/7", headers).await;
            assert_eq!(passed.status(), 200, "{dialect:?} {headers:?}");
            assert_eq!(passed.headers()["authorization"], told, "{dialect:?}");
            assert_eq!(passed.headers().get_all("authorization").iter().count(), 1);
            assert!(passed.headers()["authorization"].is_sensitive(), "{dialect:?}");
        }
        let odd = ask("/orders/7", &[("cookie", "token=good!")]).await;
        assert_eq!((odd.status(), odd.headers().get("authorization")), (StatusCode::BAD_GATEWAY, None), "{dialect:?}");
        let public = ask("/callback", &[COOKIE, ("authorization", "Bearer forged")]).await;
        assert_eq!(public.status(), 200, "{dialect:?}");
        let told = public.headers().get("authorization").map(HeaderValue::as_bytes).unwrap_or_default();
        assert!(told.is_empty(), "{dialect:?}");
    }
}
