//! The same over real connections, with the default HTTP client.
#![cfg(feature = "reqwest")]

use std::sync::Arc;

use sekisho_http::{HttpMethod, HttpRequest};
use sekisho_jwt::Backend;
use sekisho_oidc::{ClientCredentials, Provider};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::scripted::{CLIENT, NOW, RETURN, RSA, SECRET, Scripted};

/// Serves the scripted provider: one request on a connection.
async fn serve(listener: TcpListener, op: Arc<Scripted>) {
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(answer(stream, Arc::clone(&op)));
    }
}

async fn answer(mut stream: TcpStream, op: Arc<Scripted>) -> Option<()> {
    let mut bytes = Vec::new();
    let head = loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break end;
        }
        stream.read_buf(&mut bytes).await.ok().filter(|read| *read > 0)?;
    };
    let text = String::from_utf8(bytes[..head].to_vec()).ok()?;
    let mut lines = text.split("\r\n");
    let mut line = lines.next()?.split(' ');
    let method = if line.next()? == "POST" { HttpMethod::Post } else { HttpMethod::Get };
    let url = format!("{}{}", op.issuer.url(), line.next()?);
    let length = lines
        .filter_map(|line| line.split_once(": "))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .map_or(0, |(_, length)| length.parse().unwrap());
    while bytes.len() < head + 4 + length {
        stream.read_buf(&mut bytes).await.ok().filter(|read| *read > 0)?;
    }
    let request = HttpRequest { method, url, headers: Vec::new(), body: bytes[head + 4..].to_vec() };
    let response = op.answer_to(&request);
    let mut out =
        format!("HTTP/1.1 {} OK\r\nconnection: close\r\ncontent-length: {}\r\n", response.status, response.body.len());
    for (name, value) in &response.headers {
        out.push_str(&format!("{name}: {value}\r\n"));
    }
    out.push_str("\r\n");
    stream.write_all(&[out.as_bytes(), &response.body].concat()).await.ok()
}

#[tokio::test]
async fn logs_in_refreshes_asks_and_withdraws_over_real_connections() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let op = Scripted::named(&format!("http://{}", listener.local_addr().unwrap()), RSA.clone());
    let server = tokio::spawn(serve(listener, Arc::clone(&op)));
    let provider = Provider::with_backend(Backend::aws_lc())
        .discover(op.issuer.url(), ClientCredentials::post(CLIENT, SECRET))
        .redirect_uri(RETURN)
        .with_clock(Arc::new(op.clock.clone()))
        .build()
        .unwrap();
    let login = op.login(&provider).await.expect("logged in");
    let tokens = provider.refresh(&login.tokens, login.principal.subject(), NOW).await.expect("refreshed");
    provider.user_info(&tokens, login.principal.subject(), NOW).await.expect("claims");
    provider.revoke(tokens.refresh_token.as_ref().unwrap(), NOW).await.expect("withdrawn");
    server.abort();
    // And nobody is there any more.
    assert!(provider.refresh(&tokens, "u1", NOW).await.is_err());
}
