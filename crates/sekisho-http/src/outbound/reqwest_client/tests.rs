#![allow(clippy::unwrap_used, reason = "tests")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;

/// Answers each connection with the same text, and counts them.
async fn serve(answer: String) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let count = Arc::<AtomicUsize>::default();
    let counter = Arc::clone(&count);
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            counter.fetch_add(1, Ordering::SeqCst);
            let mut head = [0; 4096];
            let _ = stream.read(&mut head).await;
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    (base, count)
}

fn ok(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len())
}

async fn get(client: &ReqwestClient, url: &str) -> Result<HttpResponse, HttpError> {
    client.send(HttpRequest::get(url), HttpLimits::default()).await
}

#[tokio::test]
async fn follows_no_redirect_whatever_the_builder_says() {
    let (elsewhere, count) = serve(ok("elsewhere")).await;
    let redirect =
        format!("HTTP/1.1 302 Found\r\nLocation: {elsewhere}/\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    let (base, _) = serve(redirect).await;
    let follow = || reqwest::Client::builder().redirect(reqwest::redirect::Policy::limited(5));
    for client in [
        ReqwestClient::from_builder(follow).unwrap(),
        ReqwestClient::from_builder(reqwest::Client::builder).unwrap(),
        ReqwestClient::new(Duration::from_secs(1)).unwrap(),
    ] {
        let response = get(&client, &base).await.unwrap();
        assert_eq!((response.status, response.header("location")), (302, Some(&*format!("{elsewhere}/"))));
    }
    // The same behind a proxy, where the other of the two clients sends.
    let (proxy, _) = serve(format!("HTTP/1.1 302 Found\r\nLocation: {elsewhere}/\r\nContent-Length: 0\r\n\r\n")).await;
    let client = ReqwestClient::from_builder(|| follow().proxy(reqwest::Proxy::all(&proxy).unwrap())).unwrap();
    assert_eq!(get(&client, "http://id.example/").await.unwrap().status, 302);
    assert_eq!(count.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn asks_no_proxy_for_servers_on_this_machine() {
    let (proxy, asked) = serve(ok("proxy")).await;
    let (base, _) = serve(ok("server")).await;
    let port = base.rsplit(':').next().unwrap();
    let builder = || reqwest::Client::builder().proxy(reqwest::Proxy::all(&proxy).unwrap());
    let client = ReqwestClient::from_builder(builder).unwrap();
    for host in ["127.0.0.1", "localhost", "LOCALHOST", "127.1", "2130706433"] {
        let response = get(&client, &format!("http://{host}:{port}/")).await.unwrap();
        assert_eq!(response.body, b"server", "{host}");
    }
    assert_eq!(asked.load(Ordering::SeqCst), 0);
    // The proxy is there for all others; it answers for names that nobody could resolve.
    assert_eq!(get(&client, "http://localhost.id.example/").await.unwrap().body, b"proxy");
    assert_eq!(asked.load(Ordering::SeqCst), 1);
}

#[test]
fn knows_this_machine_by_its_own_addresses_only() {
    let is_loopback = |url: &str| is_loopback(&url.parse().unwrap());
    for here in ["http://127.0.0.1/", "http://127.9.9.9:8080/a", "https://[::1]:8443/", "http://localhost:80/"] {
        assert!(is_loopback(here), "{here}");
    }
    for there in [
        "http://id.example/",
        "http://127.0.0.1.id.example/",
        "http://localhost.id.example/",
        "http://localhost@id.example/",
        "http://10.0.0.1/",
        "http://[::2]/",
        "data:,localhost",
    ] {
        assert!(!is_loopback(there), "{there}");
    }
}

#[test]
fn a_builder_that_cannot_build_is_an_error_of_configuration() {
    assert!(ReqwestClient::from_builder(|| reqwest::Client::builder().user_agent("a\nb")).is_err());
}
