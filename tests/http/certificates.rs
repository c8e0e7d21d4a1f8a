//! Where the adapters find a client's certificate and its address: over real sockets, on both frameworks.

use std::net::SocketAddr;
use std::sync::Arc;

use actix_web::rt::System;
use actix_web::{App, HttpServer, web};
use axum::routing::get;
use axum::{Extension, Router};
use sekisho_core::Clock;
use sekisho_http::{Checkpoint, ClientCertificate, ClientCertificateHeader, PeerAddress, TrustedProxies};
use sekisho_jwt::Jwt;
use sekisho_testkit::{HttpSuite, Issuer};
use tokio::net::TcpListener;

const DER: &[u8] = b"the DER of a certificate";
const HEADER: &str = ":dGhlIERFUiBvZiBhIGNlcnRpZmljYXRl:";

/// Says who calls through a checkpoint that takes bound tokens, with a header from these proxies.
fn checkpoint(issuer: &Issuer, proxies: &[&str]) -> Checkpoint {
    let clock: Arc<dyn Clock> = issuer.clock();
    let jwt = Jwt::issuer(issuer.url()).audience(HttpSuite::AUDIENCE).with_keys(issuer.static_keys());
    let header = ClientCertificateHeader::rfc9440(TrustedProxies::new(proxies).unwrap());
    let builder = Checkpoint::builder().accept(jwt.with_certificate_binding()).with_clock(clock);
    builder.with_client_certificate_header(header).build().unwrap()
}

async fn status(url: &str, issuer: &Issuer, header: Option<&str>) -> u16 {
    let token = issuer.token().audience(HttpSuite::AUDIENCE).bound_to_certificate(DER).sign();
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let mut request = http.get(format!("{url}/me")).bearer_auth(token);
    if let Some(header) = header {
        request = request.header("client-cert", header);
    }
    request.send().await.expect("an answer").status().as_u16()
}

/// Serves an axum router, telling it the peers' addresses or not.
async fn axum(checkpoint: &Checkpoint, tells_peer: bool, around: impl FnOnce(Router) -> Router) -> String {
    use sekisho_axum::{CheckpointExt as _, Principal};
    let me = |caller: Principal| async move { caller.subject().to_owned() };
    let app = around(Router::new().route("/me", get(me)).layer(checkpoint.layer()));
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    if tells_peer {
        let app = app.into_make_service_with_connect_info::<SocketAddr>();
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    } else {
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    }
    url
}

/// Serves an actix-web app; `certificate` is what its TLS layer would have seen.
fn actix(checkpoint: &Checkpoint, certificate: Option<&'static [u8]>) -> String {
    use sekisho_actix::{CheckpointExt as _, Principal};
    let checkpoint = checkpoint.clone();
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        System::new().block_on(async move {
            let app = move || {
                let me = |caller: Principal| async move { caller.subject().to_owned() };
                App::new().route("/me", web::get().to(me)).wrap(checkpoint.middleware())
            };
            let server = HttpServer::new(app).workers(1).disable_signals().on_connect(move |_, data| {
                if let Some(der) = certificate {
                    data.insert(ClientCertificate::from_der(der));
                }
            });
            let server = server.bind(("127.0.0.1", 0)).unwrap();
            sender.send(format!("http://{}", server.addrs().first().unwrap())).unwrap();
            server.run().await.unwrap();
        });
    });
    receiver.recv().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn axum_believes_a_header_of_a_listed_peer_alone() {
    let issuer = Issuer::new();
    let (near, far) = (checkpoint(&issuer, &["127.0.0.0/8"]), checkpoint(&issuer, &["10.0.0.0/8"]));
    let trusted = axum(&near, true, |app| app).await;
    assert_eq!(status(&trusted, &issuer, Some(HEADER)).await, 200);
    assert_eq!(status(&trusted, &issuer, Some(":AAAA:")).await, 401);
    assert_eq!(status(&trusted, &issuer, None).await, 401);
    let untrusted = axum(&far, true, |app| app).await;
    assert_eq!(status(&untrusted, &issuer, Some(HEADER)).await, 401);
    let unknown = axum(&near, false, |app| app).await;
    assert_eq!(status(&unknown, &issuer, Some(HEADER)).await, 401, "without connect info, nobody knows the peer");
    // An application that serves by itself tells the peer's address.
    let told = axum(&near, false, |app| app.layer(Extension(PeerAddress("127.0.0.1".parse().unwrap())))).await;
    assert_eq!(status(&told, &issuer, Some(HEADER)).await, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn axum_takes_the_certificate_that_the_application_saw() {
    let issuer = Issuer::new();
    let far = checkpoint(&issuer, &["10.0.0.0/8"]);
    let seen = axum(&far, true, |app| app.layer(Extension(ClientCertificate::from_der(DER)))).await;
    assert_eq!(status(&seen, &issuer, None).await, 200);
    let other = axum(&far, true, |app| app.layer(Extension(ClientCertificate::from_der(&b"other"[..])))).await;
    assert_eq!(status(&other, &issuer, None).await, 401);
    assert_eq!(status(&other, &issuer, Some(HEADER)).await, 401);
    // On a connection of a proxy, the certificate there is the proxy's own.
    let near = checkpoint(&issuer, &["127.0.0.0/8"]);
    let of_proxy = axum(&near, true, |app| app.layer(Extension(ClientCertificate::from_der(DER)))).await;
    assert_eq!(status(&of_proxy, &issuer, None).await, 401);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn actix_keeps_the_same_rules() {
    let issuer = Issuer::new();
    let (near, far) = (checkpoint(&issuer, &["127.0.0.0/8"]), checkpoint(&issuer, &["10.0.0.0/8"]));
    let trusted = actix(&near, None);
    assert_eq!(status(&trusted, &issuer, Some(HEADER)).await, 200);
    assert_eq!(status(&trusted, &issuer, Some(":AAAA:")).await, 401);
    assert_eq!(status(&trusted, &issuer, None).await, 401);
    let untrusted = actix(&far, None);
    assert_eq!(status(&untrusted, &issuer, Some(HEADER)).await, 401);
    let seen = actix(&far, Some(DER));
    assert_eq!(status(&seen, &issuer, None).await, 200);
    let other = actix(&far, Some(b"other"));
    assert_eq!(status(&other, &issuer, None).await, 401);
    assert_eq!(status(&other, &issuer, Some(HEADER)).await, 401);
    let of_proxy = actix(&near, Some(DER));
    assert_eq!(status(&of_proxy, &issuer, None).await, 401);
}
