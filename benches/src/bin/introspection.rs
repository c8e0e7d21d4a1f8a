//! What does introspection cost a request: when the provider is asked each time, when the answer is in memory, and beside no
//! check at all?
//!
//! First the call alone, with allocations; then an axum service under `wrk`, each case a process of its own with one worker
//! thread. The provider is another thread on loopback, so asking it costs what the two HTTP stacks cost, and no network.

use std::alloc::System;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use sekisho_axum::CheckpointExt as _;
use sekisho_benches::claims::{AUDIENCE, ISSUER, now};
use sekisho_benches::keys::{Alg, BenchKey};
use sekisho_benches::load::{Asked, CONNECTIONS, Load, compare};
use sekisho_benches::measure::{Case, measure};
use sekisho_benches::process::{Server, end_with_the_bench};
use sekisho_benches::provider::{CLIENT, Provider, SECRET};
use sekisho_benches::report::{line, print_table, write_lines};
use sekisho_core::UnixSeconds;
use sekisho_http::Checkpoint;
use sekisho_jwt::jwks::{KeySet, StaticKeys};
use sekisho_jwt::{Backend, Jwt, Profile};
use sekisho_opaque::{ClientCredentials, Introspection, Opaque};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

#[global_allocator]
static GLOBAL: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Names the services; the first is the baseline.
const SERVICES: [&str; 3] = ["bare axum", "introspection, answer in the cache", "introspection, asked each time"];

fn main() {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    if let [serve, service, provider] = arguments.as_slice()
        && serve == "--serve"
    {
        self::serve(service, provider);
        return;
    }
    let quick = arguments.iter().any(|argument| argument == "--quick");
    let key = BenchKey::generate(Alg::Es256);
    let provider = Provider::start(&key, if quick { 20 } else { 1_000 });
    println!(
        "{} opaque tokens of {} bytes, answers of 15 claims; the JWTs beside them have {} bytes, ES256\n",
        provider.tokens.len(),
        provider.tokens[0].len(),
        provider.jwts[0].len(),
    );
    let mut lines = calls(&key, &provider, if quick { 5 } else { 200 });
    lines.extend(services(&provider, quick));
    write_lines("introspection", &lines);
}

fn introspection(provider: &str, cache: Option<Duration>) -> Introspection {
    let builder =
        Opaque::introspect(provider, ClientCredentials::basic(CLIENT, SECRET)).issuer(ISSUER).audience(AUDIENCE);
    match cache {
        Some(time) => builder.cache_for(time).build().unwrap(),
        None => builder.build().unwrap(),
    }
}

/// Measures the call alone.
fn calls(key: &BenchKey, provider: &Provider, rounds: usize) -> Vec<serde_json::Value> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let at = UnixSeconds::new(now());
    let asking = introspection(&provider.url, None);
    let cached = introspection(&provider.url, Some(Duration::from_secs(3600)));
    let set = KeySet::parse(Backend::default(), key.key_set().as_bytes()).unwrap();
    let jwt = Jwt::issuer(ISSUER).audience(AUDIENCE).with_profile(Profile::keycloak());
    let jwt = jwt.with_keys(StaticKeys::from_set(&set)).build().unwrap();
    for (token, inner) in provider.tokens.iter().zip(&provider.jwts) {
        runtime.block_on(cached.introspect(token, at)).unwrap();
        jwt.verify_now(inner, at).unwrap().unwrap();
    }
    let asked = provider.requests();
    let mut places = [(); 3].map(|()| (0..provider.tokens.len()).cycle());
    let [one, two, three] = &mut places;
    let baseline = "the provider is asked, over loopback";
    let rows = measure(
        vec![
            Case::new(baseline, baseline, || {
                runtime.block_on(asking.introspect(&provider.tokens[one.next().unwrap()], at)).unwrap()
            }),
            Case::new("the answer is in the cache", baseline, || {
                cached.introspect_now(&provider.tokens[two.next().unwrap()], at).unwrap().unwrap()
            }),
            Case::new("a JWT from the cache of verified tokens", baseline, || {
                jwt.verify_now(&provider.jwts[three.next().unwrap()], at).unwrap().unwrap()
            }),
        ],
        rounds,
    );
    assert!(provider.requests() > asked, "the provider was asked");
    print_table(&rows);
    rows.iter().map(line).collect()
}

/// Measures services.
fn services(provider: &Provider, quick: bool) -> Vec<serde_json::Value> {
    let (rounds, seconds) = if quick { (1, 1) } else { (15, 2) };
    let load = Load::new("introspection", &provider.tokens);
    let servers = SERVICES.map(|service| Server::start(&["--serve", service, &provider.url]));
    println!(
        "\n{CONNECTIONS} keep-alive connections by {load}, 1 server worker thread; {rounds} interleaved rounds of {seconds} s\n"
    );
    let asked: Vec<_> = SERVICES
        .iter()
        .zip(&servers)
        .map(|(name, server)| Asked { name: (*name).to_owned(), port: server.port, load: &load, unchecked: 0 })
        .collect();
    compare(&asked, rounds, seconds)
}

/// Serves one case until the bench ends; prints the port.
fn serve(service: &str, provider: &str) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(async {
        let guarded = |cache| {
            let checkpoint = Checkpoint::builder().accept(introspection(provider, cache)).build().unwrap();
            Router::new().route("/orders", get(async |_: sekisho_axum::Principal| "ok")).layer(checkpoint.layer())
        };
        let router = match service {
            "bare axum" => Router::new().route("/orders", get(async || "ok")),
            "introspection, answer in the cache" => guarded(Some(Duration::from_secs(3600))),
            "introspection, asked each time" => guarded(None),
            other => panic!("no service {other}"),
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        println!("{}", listener.local_addr().unwrap().port());
        end_with_the_bench();
        let listener = axum::serve::ListenerExt::tap_io(listener, |stream| {
            let _ = stream.set_nodelay(true);
        });
        tokio::spawn(async move { axum::serve(listener, router).await }).await.unwrap().unwrap();
    });
}
