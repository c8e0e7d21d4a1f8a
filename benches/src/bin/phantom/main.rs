//! What does a gateway cost that turns an opaque token into a JWT on the way, beside what people run today: nginx with
//! `auth_request`, and Envoy with `jwt_authn`, which has the JWT given?
//!
//! One service, the same for all; each gateway with one worker; `wrk` asks them in turn over loopback, with the same thousand
//! tokens. Whoever is not installed is left out.

mod gateways;
mod serve;

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::ExitCode;

use sekisho_benches::keys::{Alg, BenchKey};
use sekisho_benches::load::{Asked, CONNECTIONS, Load, compare};
use sekisho_benches::process::{Program, Server};
use sekisho_benches::provider::Provider;
use sekisho_benches::report::write_lines;

use crate::gateways::{envoy, nginx};
use crate::serve::{FORWARD_AUTH, FORWARD_AUTH_TOKEN, PASSES, SERVICE, SWAPS, VERIFIES};

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    if let [flag, case, provider, key_set, service] = arguments.as_slice()
        && flag == "--serve"
    {
        serve::serve(case, provider, key_set, service);
        return ExitCode::SUCCESS;
    }
    let quick = arguments.iter().any(|argument| argument == "--quick");
    let (rounds, seconds, tokens) = if quick { (1, 1, 20) } else { (15, 2, 1_000) };
    let key = BenchKey::generate(Alg::Es256);
    let provider = Provider::start(&key, tokens);
    let (opaque, jwt) = (Load::new("phantom-opaque", &provider.tokens), Load::new("phantom-jwt", &provider.jwts));
    println!(
        "{tokens} opaque tokens of {} bytes, the JWTs behind them ES256 and {} bytes; {CONNECTIONS} keep-alive connections by \
         {opaque}, 1 worker each; {rounds} interleaved rounds of {seconds} s\n",
        provider.tokens[0].len(),
        provider.jwts[0].len(),
    );

    let key_set = key.key_set();
    let start = |case: &str, service: &str| Server::start(&["--serve", case, &provider.url, &key_set, service]);
    let service = start(SERVICE, "");
    let origin = format!("http://127.0.0.1:{}", service.port);
    let own = [PASSES, VERIFIES, SWAPS].map(|case| start(case, &origin));
    let endpoints = [FORWARD_AUTH, FORWARD_AUTH_TOKEN].map(|case| start(case, ""));
    let nginx = nginx(service.port, endpoints[0].port, endpoints[1].port);
    let envoy = envoy(service.port, &key_set);

    // Name, port, load, what the service gets, and which case has the same proxy without a check.
    let mut cases = vec![
        ("the service itself", service.port, &opaque, "opaque", 0),
        ("sekisho, no check", own[0].port, &opaque, "none", 1),
        ("sekisho, JWT given, from its cache", own[1].port, &jwt, "jwt", 1),
        ("sekisho, phantom swap, from its cache", own[2].port, &opaque, "jwt", 1),
    ];
    if let Some([plain, identity, token]) = &nginx {
        let first = cases.len();
        cases.push(("nginx, no check", plain.port, &opaque, "opaque", first));
        cases.push(("nginx, auth_request, identity headers", identity.port, &opaque, "none", first));
        cases.push(("nginx, auth_request, phantom swap, from the cache", token.port, &opaque, "jwt", first));
    }
    if let Some([plain, jwt_authn, cached]) = &envoy {
        let first = cases.len();
        cases.push(("Envoy, no check", plain.port, &jwt, "jwt", first));
        cases.push(("Envoy, jwt_authn, JWT given", jwt_authn.port, &jwt, "jwt", first));
        cases.push(("Envoy, jwt_authn with its cache, JWT given", cached.port, &jwt, "jwt", first));
    }
    for (name, port, load, gets, _) in &cases {
        let token = if std::ptr::eq(*load, &jwt) { &provider.jwts[0] } else { &provider.tokens[0] };
        assert_eq!(probe(*port, Some(token)), (200, (*gets).to_owned()), "{name}");
        let is_checked = !name.ends_with("no check") && *port != service.port;
        assert!(!is_checked || probe(*port, None).0 == 401, "{name} lets everybody pass");
    }
    let asked: Vec<_> = cases
        .iter()
        .map(|(name, port, load, _, unchecked)| Asked {
            name: (*name).to_owned(),
            port: *port,
            load,
            unchecked: *unchecked,
        })
        .collect();
    let lines = compare(&asked, rounds, seconds);
    println!("\nthe provider was asked {} times", provider.requests());
    write_lines("phantom", &lines);
    ExitCode::SUCCESS
}

/// Three instances of one program, each with a configuration of its own.
type Instances = [Program; 3];

/// Asks once; returns the status, and what the service says it got.
fn probe(port: u16, token: Option<&str>) -> (u16, String) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let header = token.map(|token| format!("Authorization: Bearer {token}\r\n")).unwrap_or_default();
    let request = format!("GET /orders?probe HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{header}\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut text = Vec::new();
    // Envoy may reset a connection once all is said.
    let _ = stream.read_to_end(&mut text);
    let text = String::from_utf8_lossy(&text).into_owned();
    let status = text.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_default();
    let words = ["opaque", "jwt", "none"];
    let word =
        words.into_iter().find(|word| text.trim_end().ends_with(word) || text.contains(&format!("\r\n{word}\r\n")));
    (status, word.unwrap_or_default().to_owned())
}
