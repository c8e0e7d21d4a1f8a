//! What a proxy can spoil: the client's address, its certificate, and requests that can be read in two ways.

use std::net::IpAddr;

use serde_json::{Value, json};

use super::flows::{Browser, introspect, json_of};
use super::{Behind, CLIENT, HOST, secret};
use crate::certificates::{Pki, Shown, told};
use crate::gateways::{Gateway, RawAnswer, send_raw};
use crate::setup::part;

/// The address that counts is the one that the proxy saw, whatever the client says.
pub(super) async fn assert_addresses(behind: &Behind) {
    let mut browser = Browser::new(behind);
    let many = "203.0.113.9, ".repeat(400);
    let seen = || std::mem::take(&mut *behind.people.addresses.lock().expect("a lock"));
    seen();
    let mut reached = 0;
    for headers in [
        &[][..],
        &[("X-Forwarded-For", &b"203.0.113.9"[..])],
        &[("X-Forwarded-For", b"127.0.0.1")],
        &[("X-Forwarded-For", b"203.0.113.9, 127.0.0.1")],
        &[("X-Forwarded-For", b"203.0.113.9"), ("X-Forwarded-For", b"203.0.113.8, 127.0.0.1")],
        &[("X-Forwarded-For", b"unknown")],
        &[("X-Forwarded-For", b"203.0.113.9,")],
        &[("X-Forwarded-For", b"\xff\xfe")],
        &[("X-Forwarded-For", b"203.0.113.9, \x80")],
        &[("X-Forwarded-For", b"\xff"), ("X-Forwarded-For", b"203.0.113.9")],
        &[("X-Forwarded-For", many.as_bytes())],
        &[("X_Forwarded_For", b"203.0.113.9")],
        &[("Forwarded", b"for=203.0.113.9"), ("X-Real-IP", b"203.0.113.9"), ("True-Client-IP", b"203.0.113.9")],
        &[("Connection", b"close, X-Forwarded-For"), ("X-Forwarded-For", b"203.0.113.9")],
    ] {
        let page = browser.login_page().await;
        let status = browser.log_in(&page, "mallory", headers).await.status().as_u16();
        let seen = seen();
        // Not every proxy lets bytes through that are no text, or so much of one header.
        if seen.is_empty() {
            assert!((400..500).contains(&status) && !headers.is_empty(), "{status} {headers:?}");
            continue;
        }
        reached += 1;
        assert_eq!(status, 403, "{headers:?}");
        assert_eq!(seen, [Some(IpAddr::from(CLIENT))], "{headers:?}");
    }
    assert!(reached >= 10, "{reached} attempts reached the server");
}

fn grant(client: &str) -> [(&str, &str); 3] {
    [("grant_type", "client_credentials"), ("scope", "orders:read"), ("client_id", client)]
}

/// Asks for a token and returns status and body; `None` when there is no connection.
async fn token(
    behind: &Behind,
    shown: Option<&Shown>,
    client: &str,
    headers: &[(&str, String)],
) -> Option<(u16, Value)> {
    let url = format!("{}/token", behind.url);
    let mut request = behind.client(shown).post(url).form(&grant(client));
    for (name, value) in headers {
        request = request.header(*name, value);
    }
    let answer = request.send().await.ok()?;
    let status = answer.status().as_u16();
    Some((status, serde_json::from_slice(&answer.bytes().await.ok()?).unwrap_or_default()))
}

/// The certificate of the handshake is taken, and nothing that the client says about one.
pub(super) async fn assert_certificates(behind: &Behind, gateway: &Gateway) {
    let own = &behind.own;
    let other = behind.pki.issue("other");
    // The same subject by an authority that the proxy does not know.
    let stranger = Pki::new(HOST).issue("worker");
    let bound = json!({ "x5t#S256": base64_simd::URL_SAFE_NO_PAD.encode_to_string(own.thumbprint()) });
    let assert_bound = |answer: &Value, what: &str| {
        let token = answer["access_token"].as_str().unwrap_or_else(|| panic!("no token: {what}"));
        assert_eq!(part(token, 1)["cnf"], bound, "{what}");
    };
    let refused = |answer: Option<(u16, Value)>, what: &str| {
        // Refused by us, by the proxy's page, or by its TLS.
        let Some((status, body)) = answer else { panic!("no answer: {what}") };
        assert!(status == 400 || status == 401, "{status} {body}: {what}");
        assert!(body.get("access_token").is_none(), "{what}");
    };
    for client in ["tls-worker", "named-worker"] {
        let (status, answer) = token(behind, Some(own), client, &[]).await.expect("an answer");
        assert_eq!(status, 200, "{client} {answer}");
        assert_bound(&answer, client);
        let told_of = introspect(behind, answer["access_token"].as_str().expect("a token")).await;
        assert_eq!((&told_of["active"], &told_of["cnf"]), (&json!(true), &bound), "{client}");

        let (status, answer) = token(behind, None, client, &[]).await.expect("an answer");
        assert_eq!((status, &answer["error"]), (401, &json!("invalid_client")), "{client} without certificate");
        let (status, answer) = token(behind, Some(&other), client, &[]).await.expect("an answer");
        assert_eq!((status, &answer["error"]), (401, &json!("invalid_client")), "{client} with another's");
        let strange = token(behind, Some(&stranger), client, &[]).await;
        assert!(strange.is_none_or(|(status, _)| status == 400 || status == 401), "{client} of a stranger");

        let all = told(own);
        let mut lies: Vec<Vec<(&str, String)>> = all.iter().map(|header| vec![header.clone()]).collect();
        lies.extend(all.iter().map(|header| vec![header.clone(), header.clone()]));
        // A proxy that takes out what `Connection` names must do so before it writes its own.
        lies.extend(all.iter().map(|header| vec![("Connection", header.0.to_owned()), header.clone()]));
        lies.push(all.clone());
        for lie in &lies {
            let names: Vec<_> = lie.iter().map(|(name, _)| *name).collect();
            refused(token(behind, None, client, lie).await, &format!("{client} without certificate, {names:?}"));
            refused(token(behind, Some(&other), client, lie).await, &format!("{client} with another's, {names:?}"));
            let through_plain = plain_token(gateway, client, lie).await;
            assert!([400, 401].contains(&through_plain.status), "{client} without TLS, {names:?}: {through_plain:?}");
        }
        // Another's word beside the certificate changes nothing; the proxy may refuse such a thing.
        for lie in told(&other) {
            let name = lie.0;
            let (status, answer) = token(behind, Some(own), client, &[lie]).await.expect("an answer");
            if status == 200 {
                assert_bound(&answer, name);
            }
            assert!([200, 400, 401].contains(&status), "{client}, {name}: {status} {answer}");
        }
    }
    // A certificate makes nobody a client who has a secret.
    let (status, _) = token(behind, Some(own), "worker", &[]).await.expect("an answer");
    assert_eq!(status, 401);
}

/// Asks for a token where the proxy does not end TLS.
async fn plain_token(gateway: &Gateway, client: &str, headers: &[(&str, String)]) -> RawAnswer {
    let mut lines = String::new();
    for (name, value) in headers {
        let close = if *name == "Connection" { "close, " } else { "" };
        lines.push_str(&format!("{name}: {close}{value}\r\n"));
    }
    let body = form(client);
    let request = format!(
        "POST /token HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n{lines}\
         Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{body}",
        gateway.address(),
        body.len()
    );
    send_raw(gateway.address(), request.as_bytes()).await
}

fn form(client: &str) -> String {
    format!("grant_type=client_credentials&scope=orders%3Aread&client_id={client}")
}

fn basic(id: &str, secret: &str) -> String {
    format!("Basic {}", base64_simd::STANDARD.encode_to_string(format!("{id}:{secret}")))
}

/// What is odd has the same answer as without the proxy, or is refused.
pub(super) async fn assert_odd_requests(behind: &Behind, gateway: &Gateway) {
    let good = basic("worker", &secret("worker"));
    let wrong = basic("worker", "wrong");
    let body = form("worker");
    let host = gateway.address();
    let post = |target: &str, lines: &str| {
        format!(
            "POST {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{lines}\
             Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    let get = |target: &str, lines: &str| {
        format!("GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{lines}\r\n")
    };
    let line = |name: &str, value: &str| format!("{name}: {value}\r\n");
    let authorization = |value: &str| line("Authorization", value);
    let direct = format!("127.0.0.1:{}", behind.port);

    // The plain cases, or the rest would say nothing.
    for request in [post("/token", &authorization(&good)), get("/jwks", "")] {
        let through = send_raw(gateway.address(), request.as_bytes()).await;
        assert_eq!(through.status, 200, "{request}: {through:?}");
    }
    let long = "x".repeat(24 * 1024);
    let mut requests = vec![
        post("/token", &(authorization(&good) + &authorization(&good))),
        post("/token", &(authorization(&good) + &authorization(&wrong))),
        post("/token", &(authorization(&wrong) + &authorization(&good))),
        post("/token", &(authorization(&good) + &authorization("Bearer x"))),
        post("/token", &authorization("")),
        post("/token", &authorization(&format!("{good}, {good}"))),
        post("/token", &authorization(&format!("Basic {long}"))),
        post("/token", &(authorization(&good) + &line("X-Padding", &long))),
        post(&format!("/token?{long}"), &authorization(&good)),
        post("/token?client_id=worker", &authorization(&good)),
        post("/token", &(authorization(&good) + "Transfer-Encoding: chunked\r\n")),
        post("/token", &(authorization(&good) + "Content-Length: 3\r\n")),
        post("/token", &(authorization(&good) + "Content-Type: text/plain\r\n")),
        post("/token", &(line("Authorization ", &good))),
        post("/token", &(line("Proxy-Authorization", &good))),
    ];
    for target in [
        "http://id.example/jwks",
        "http://evil.example/jwks",
        "https://id.example/jwks",
        "http://id.example:80/.well-known/openid-configuration",
        "http://evil.example/.well-known/openid-configuration",
        "//jwks",
        "//evil.example/jwks",
        "/jwks/",
        "/jwks//",
        "/JWKS",
        "/jwks;x=1",
        "/jwks%00",
        "/%6awks",
        "/jwks?x=/../token",
        "/.well-known%2fopenid-configuration",
        "/.well-known%2Fopenid-configuration",
        "/.well-known%252fopenid-configuration",
        "/.well-known\\openid-configuration",
        "/.well-known%5copenid-configuration",
        "/x/../jwks",
        "/x/%2e%2e/jwks",
        "/x/..%2fjwks",
        "/./jwks",
        "*",
        "jwks",
    ] {
        requests.push(get(target, ""));
    }
    for request in &requests {
        let shown = request.get(..request.len().min(160)).unwrap_or_default();
        let through = send_raw(gateway.address(), request.as_bytes()).await;
        // Caddy has an empty answer for a site that it does not have.
        let is_nothing = through.status == 200 && through.head.contains("content-length: 0");
        if (400..500).contains(&through.status) || is_nothing {
            continue;
        }
        let expected = send_raw(&direct, request.as_bytes()).await;
        let is_same = through.status == expected.status;
        let target = request.split(' ').nth(1).unwrap_or_default();
        // Some proxies write a path in its one form first. What it names then is open to anyone.
        let is_tidied = through.status == 200 && target.ends_with("wks") && target != "jwks";
        let is_redirect = (300..400).contains(&through.status) && !through.head.contains("evil.example");
        assert!(is_same || is_tidied || is_redirect, "{shown}\n{through:?}\nwithout: {expected:?}");
    }
    // Nobody but the configuration says who the server is.
    let said =
        [("X-Forwarded-Host", "evil.example"), ("X-Forwarded-Proto", "http"), ("Forwarded", "host=evil.example")];
    let lines: String = said.iter().map(|(name, value)| line(name, value)).collect();
    let request = get("/.well-known/openid-configuration", &lines);
    let answer = send_raw(gateway.address(), request.as_bytes()).await;
    assert_eq!((answer.status, &answer.body["issuer"]), (200, &json!(behind.url)), "{answer:?}");
    assert!(!answer.body.to_string().contains("evil"), "{answer:?}");
    let other = send_raw(gateway.address(), request.replace(host, "evil.example").as_bytes()).await;
    // Where the proxy has no such site, it says nothing.
    assert!(other.body.is_null() || other.body == answer.body, "{other:?}");
    // The connection is still in step: nothing of the odd ones is left for the next.
    let url = format!("{}/jwks", behind.url);
    json_of(behind.client(None).get(url).send().await.expect("an answer"), 200).await;
}
