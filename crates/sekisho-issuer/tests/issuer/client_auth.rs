use std::net::SocketAddr;
use std::slice;

use axum::extract::ConnectInfo;
use base64_simd::{STANDARD, URL_SAFE_NO_PAD};
use sekisho_jwks::{Algorithm, Backend, SigningKey};
use sekisho_jwt::Signer;
use serde_json::{Value, json};

use crate::setup::{Answer, ISSUER, World, basic, certificate, claims_of, post};

const ASSERTION: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
const CREDENTIALS: (&str, &str) = ("grant_type", "client_credentials");

async fn with_header(world: &World, authorization: &str, form: &[(&str, &str)]) -> Answer {
    let mut request = post("/token", form);
    request.headers_mut().insert("authorization", authorization.parse().unwrap());
    world.send(request).await
}

#[tokio::test]
async fn an_unknown_client_and_a_wrong_secret_are_the_same_answer() {
    let world = World::new().await;
    let mut answers = Vec::new();
    for (id, secret) in [("worker", "wrong"), ("nobody", &world.secret), ("worker", ""), ("WORKER", &world.secret)] {
        let answer = with_header(&world, &basic(id, secret), &[CREDENTIALS]).await;
        answer.error(401, "invalid_client");
        assert_eq!(answer.header("www-authenticate"), "Basic realm=\"client\"");
        answers.push(answer.body);
        let answer = world.token(&[CREDENTIALS, ("client_id", id), ("client_secret", secret)]).await;
        answer.error(401, "invalid_client");
        answers.push(answer.body);
    }
    assert!(answers.windows(2).all(|pair| pair[0] == pair[1]));
}

#[tokio::test]
async fn a_secret_comes_by_header_or_by_form() {
    let world = World::new().await;
    let secret = world.secret.clone();
    with_header(&world, &basic("worker", &secret), &[CREDENTIALS]).await.json(200);
    with_header(&world, &basic("%77orker", &secret), &[CREDENTIALS]).await.json(200);
    with_header(&world, &basic("worker", &secret), &[CREDENTIALS, ("client_id", "worker")]).await.json(200);
    world.token(&[CREDENTIALS, ("client_id", "worker"), ("client_secret", &secret)]).await.json(200);
}

#[tokio::test]
async fn more_than_one_proof_or_a_malformed_one_is_refused() {
    let world = World::new().await;
    let secret = world.secret.clone();
    let good = basic("worker", &secret);
    with_header(&world, &good, &[CREDENTIALS, ("client_id", "worker"), ("client_secret", &secret)])
        .await
        .error(400, "invalid_request");
    with_header(&world, &good, &[CREDENTIALS, ("client_id", "orders")]).await.error(400, "invalid_request");
    let assertion = [CREDENTIALS, ("client_assertion_type", ASSERTION), ("client_assertion", "x.y.z")];
    with_header(&world, &good, &assertion).await.error(400, "invalid_request");
    world.token(&assertion[..2]).await.error(400, "invalid_request");
    world.token(&[CREDENTIALS, assertion[2]]).await.error(400, "invalid_request");
    let other_type = [CREDENTIALS, ("client_assertion_type", "saml"), ("client_assertion", "x")];
    world.token(&other_type).await.error(400, "invalid_request");
    for bad in
        ["Basic", "Basic !", "Basic d29ya2Vy", "Bearer x", "Basic d29ya2VyOiU=", &good.replace("Basic ", "Digest ")]
    {
        with_header(&world, bad, &[CREDENTIALS]).await.error(401, "invalid_client");
    }
    let mut twice = post("/token", &[CREDENTIALS]);
    twice.headers_mut().append("authorization", good.parse().unwrap());
    twice.headers_mut().append("authorization", good.parse().unwrap());
    world.send(twice).await.error(400, "invalid_request");
}

#[tokio::test]
async fn each_client_has_one_way_to_prove_itself() {
    let world = World::new().await;
    let secret = world.secret.clone();
    // A confidential client that says nothing but its name; a public one with a secret; a key holder with a secret.
    world.token(&[CREDENTIALS, ("client_id", "worker")]).await.error(401, "invalid_client");
    for id in ["house", "signer", "cert"] {
        with_header(&world, &basic(id, &secret), &[CREDENTIALS]).await.error(401, "invalid_client");
    }
    world.token(&[CREDENTIALS, ("client_id", "signer")]).await.error(401, "invalid_client");
    world.token(&[CREDENTIALS, ("client_id", "cert")]).await.error(401, "invalid_client");
    for path in ["/introspect", "/revoke", "/device_authorization"] {
        world.post(path, &[("token", "x"), ("client_id", "worker")]).await.error(401, "invalid_client");
        world.post(path, &[("token", "x")]).await.error(401, "invalid_client");
    }
    world.post("/introspect", &[("token", "x"), ("client_id", "house")]).await.error(401, "invalid_client");
}

fn assertion(world: &World, change: impl FnOnce(&mut Value)) -> String {
    let mut claims = json!({
        "iss": "signer",
        "sub": "signer",
        "aud": ISSUER,
        "exp": world.now().as_secs() + 60,
        "iat": world.now().as_secs(),
        "jti": URL_SAFE_NO_PAD.encode_to_string(aws_lc_rs::digest::digest(
            &aws_lc_rs::digest::SHA256,
            format!("{:?}", std::time::Instant::now()).as_bytes(),
        )),
    });
    change(&mut claims);
    Signer::new(world.signing_key.clone()).with_type("JWT").sign(&claims).unwrap()
}

async fn prove(world: &World, assertion: &str) -> Answer {
    world.token(&[CREDENTIALS, ("client_assertion_type", ASSERTION), ("client_assertion", assertion)]).await
}

#[tokio::test]
async fn an_assertion_is_good_once() {
    let world = World::new().await;
    for audience in [json!(ISSUER), json!([ISSUER]), json!(format!("{ISSUER}/token"))] {
        let good = assertion(&world, |claims| claims["aud"] = audience);
        let token = prove(&world, &good).await.json(200);
        assert_eq!(claims_of(token["access_token"].as_str().unwrap())["sub"], "signer");
        prove(&world, &good).await.error(401, "invalid_client");
        world.wait(89);
        prove(&world, &good).await.error(401, "invalid_client");
    }
}

#[tokio::test]
async fn refuses_assertions_that_prove_nothing_here() {
    let world = World::new().await;
    let now = world.now().as_secs();
    type Change = Box<dyn FnOnce(&mut Value)>;
    let set = |name: &'static str, value: Value| -> Change { Box::new(move |claims| claims[name] = value) };
    let remove = |name: &'static str| -> Change {
        Box::new(move |claims| {
            claims.as_object_mut().unwrap().remove(name);
        })
    };
    let changes: Vec<(&str, Change)> = vec![
        ("another audience", set("aud", json!("https://other.example"))),
        ("two audiences", set("aud", json!([ISSUER, "https://other.example"]))),
        ("this audience twice", set("aud", json!([ISSUER, ISSUER]))),
        ("another endpoint", set("aud", json!(format!("{ISSUER}/introspect")))),
        ("no audience", remove("aud")),
        ("an empty audience", set("aud", json!([]))),
        ("another subject", set("sub", json!("worker"))),
        ("no subject", remove("sub")),
        ("another issuer", set("iss", json!("worker"))),
        ("no issuer", remove("iss")),
        ("no id", remove("jti")),
        ("an empty id", set("jti", json!(""))),
        ("an id that is a number", set("jti", json!(7))),
        ("a long id", set("jti", json!("x".repeat(257)))),
        ("no end", remove("exp")),
        ("ended", set("exp", json!(now - 31))),
        ("ends next year", set("exp", json!(now + 31_000_000))),
        ("not begun", set("nbf", json!(now + 60))),
        ("from the future", set("iat", json!(now + 60))),
        ("bound to a key", set("cnf", json!({ "jkt": "x" }))),
    ];
    for (what, change) in changes {
        let answer = prove(&world, &assertion(&world, change)).await;
        assert_eq!(answer.status, 401, "{what}: {answer:?}");
        answer.error(401, "invalid_client");
    }
    let claims = json!({ "iss": "signer", "sub": "signer", "aud": ISSUER, "exp": now + 60, "jti": "z" });
    let other_key = SigningKey::generate(Backend::default(), Algorithm::Es256).unwrap();
    let by_secret = SigningKey::hmac(Backend::default(), Algorithm::Hs256, world.secret.as_bytes()).unwrap();
    let wrong_type = Signer::new(world.signing_key.clone()).with_type("at+jwt").sign(&claims).unwrap();
    let none = format!("{}.{}.", encode(&json!({ "alg": "none" })), encode(&claims));
    for (what, bad) in [
        ("another key", Signer::new(other_key).with_type("JWT").sign(&claims).unwrap()),
        ("a shared secret", Signer::new(by_secret).with_type("JWT").sign(&claims).unwrap()),
        ("an access token", wrong_type),
        ("no algorithm", none),
        ("nonsense", "x.y.z".to_owned()),
        ("too long", "x".repeat(20_000)),
    ] {
        let answer = prove(&world, &bad).await;
        assert_eq!(answer.status, 401, "{what}");
    }
    let good = assertion(&world, |_| ());
    let form =
        [CREDENTIALS, ("client_assertion_type", ASSERTION), ("client_assertion", &good), ("client_id", "worker")];
    world.token(&form).await.error(400, "invalid_request");
}

fn encode(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode_to_string(value.to_string())
}

async fn by_certificate(world: &World, client: &str, peer: Option<[u8; 4]>, headers: &[&str]) -> Answer {
    let mut request = post("/token", &[CREDENTIALS, ("client_id", client)]);
    for header in headers {
        request.headers_mut().append("client-cert", header.parse().unwrap());
    }
    if let Some(peer) = peer {
        request.extensions_mut().insert(ConnectInfo(SocketAddr::from((peer, 443))));
    }
    world.send(request).await
}

fn field(der: &[u8]) -> String {
    format!(":{}:", STANDARD.encode_to_string(der))
}

#[tokio::test]
async fn a_certificate_counts_only_when_a_listed_proxy_tells_it() {
    let world = World::new().await;
    let good = field(&world.certificate);
    let proxy = Some([10, 1, 2, 3]);
    let token = by_certificate(&world, "cert", proxy, &[&good]).await.json(200);
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &world.certificate);
    let thumbprint = URL_SAFE_NO_PAD.encode_to_string(digest.as_ref());
    assert_eq!(claims_of(token["access_token"].as_str().unwrap())["cnf"], json!({ "x5t#S256": thumbprint }));
    by_certificate(&world, "cert", Some([192, 0, 2, 1]), &[&good]).await.error(401, "invalid_client");
    by_certificate(&world, "cert", None, &[&good]).await.error(401, "invalid_client");
    by_certificate(&world, "cert", proxy, &[]).await.error(401, "invalid_client");
    by_certificate(&world, "cert", proxy, &[&good, &good]).await.error(401, "invalid_client");
    let other = field(&certificate("worker", "Evil"));
    for bad in [other.as_str(), "", ":", "::", good.trim_matches(':'), &format!("{good};x"), &format!("{good}, {good}")]
    {
        by_certificate(&world, "cert", proxy, &[bad]).await.error(401, "invalid_client");
        by_certificate(&world, "named", proxy, &[bad]).await.error(401, "invalid_client");
    }
}

#[tokio::test]
async fn a_certificate_counts_from_the_header_that_was_named_and_from_no_other() {
    use sekisho_http::{ClientCertificateHeader, TrustedProxies};
    let proxies = || TrustedProxies::new(["10.0.0.0/8"]).unwrap();
    let base64 = |der: &[u8]| STANDARD.encode_to_string(der);
    let pem = |der: &[u8]| {
        let body = base64(der).replace('+', "%2B").replace('/', "%2F").replace('=', "%3D");
        format!("-----BEGIN%20CERTIFICATE-----%0A{body}%0A-----END%20CERTIFICATE-----%0A")
    };
    type Write<'a> = &'a dyn Fn(&[u8]) -> String;
    let envoy = |der: &[u8]| format!("Hash=ab;Cert=\"{}\"", pem(der));
    let cases: [(ClientCertificateHeader, &'static str, Write<'_>); 4] = [
        (ClientCertificateHeader::escaped_pem("SSL-Client-Cert", proxies()).unwrap(), "ssl-client-cert", &pem),
        (ClientCertificateHeader::traefik(proxies()), "x-forwarded-tls-client-cert", &base64),
        (ClientCertificateHeader::base64("x-client-cert", proxies()).unwrap(), "x-client-cert", &base64),
        (ClientCertificateHeader::envoy(proxies()), "x-forwarded-client-cert", &envoy),
    ];
    for (header, name, write) in cases {
        let world = World::with(ISSUER, |builder| builder.with_client_certificate_header(header)).await;
        let ask = async |peer: Option<[u8; 4]>, headers: &[(&'static str, String)]| {
            let mut request = post("/token", &[CREDENTIALS, ("client_id", "cert")]);
            for (name, value) in headers {
                request.headers_mut().append(*name, value.parse().unwrap());
            }
            if let Some(peer) = peer {
                request.extensions_mut().insert(ConnectInfo(SocketAddr::from((peer, 443))));
            }
            world.send(request).await
        };
        let (good, proxy) = ((name, write(&world.certificate)), Some([10, 1, 2, 3]));
        ask(proxy, slice::from_ref(&good)).await.json(200);
        // What the standard one says counts no more, and takes nothing away.
        let standard = ("client-cert", field(&world.certificate));
        ask(proxy, slice::from_ref(&standard)).await.error(401, "invalid_client");
        ask(proxy, &[good.clone(), ("client-cert", field(&certificate("worker", "Evil")))]).await.json(200);
        let other = (good.0, write(&certificate("worker", "Evil")));
        ask(proxy, &[other.clone(), standard]).await.error(401, "invalid_client");
        for bad in [vec![other], vec![good.clone(), good.clone()], vec![(good.0, String::new())], vec![]] {
            ask(proxy, &bad).await.error(401, "invalid_client");
        }
        ask(Some([192, 0, 2, 1]), slice::from_ref(&good)).await.error(401, "invalid_client");
        ask(None, &[good]).await.error(401, "invalid_client");
    }
}

#[tokio::test]
async fn a_certificate_is_known_by_its_subject() {
    let world = World::new().await;
    let proxy = Some([10, 1, 2, 3]);
    by_certificate(&world, "named", proxy, &[&field(&world.certificate)]).await.json(200);
    for (name, organization) in [("worker2", "Example"), ("worker", "Example,CN=x"), ("worker,O=Example", ""), ("", "")]
    {
        let other = field(&certificate(name, organization));
        by_certificate(&world, "named", proxy, &[&other]).await.error(401, "invalid_client");
    }
}

#[tokio::test]
async fn a_bound_token_is_no_bearer_token() {
    let world = World::new().await;
    let proxy = Some([10, 1, 2, 3]);
    let token = by_certificate(&world, "cert", proxy, &[&field(&world.certificate)]).await.json(200);
    let token = token["access_token"].as_str().unwrap();
    assert!(world.verifier("orders").verify(token, world.now()).await.is_err());
    let form = [
        ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
        ("subject_token", token),
        ("subject_token_type", "urn:ietf:params:oauth:token-type:access_token"),
    ];
    world.post_as("orders", "/token", &form).await.error(400, "invalid_request");
}
