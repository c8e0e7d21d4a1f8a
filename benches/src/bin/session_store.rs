//! What do a million sessions in Redis weigh, and how long does one of them take to load?
//!
//! `redis-server` is one of our own, without files. What is kept is what a login keeps: a principal with a name and an address, a
//! small cart, the device; nothing is left out by a shorter form for the bench.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sekisho_benches::process::{Program, find, free_port};
use sekisho_benches::report::{thousands, write_lines};
use sekisho_core::dangerous::PrincipalBuilder;
use sekisho_http::HeadParts;
use sekisho_redis::{Redis, RedisSessionStore};
use sekisho_session::{Login, SessionKey, SessionKeys, Sessions};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::JoinSet;

fn main() -> ExitCode {
    let quick = std::env::args().any(|argument| argument == "--quick");
    let (sessions, loads) = if quick { (2_000, 2_000) } else { (1_000_000, 200_000) };
    let Some(program) = find("SEKISHO_REDIS", "redis-server", &[]) else {
        println!("redis-server is not installed (`apt-get install redis-server`); nothing was measured");
        write_lines(
            "session_store",
            &[json!({
                "case": "left out: no redis-server", "median_ns": null, "baseline": null, "ratio": null, "allocations": null,
            })],
        );
        return ExitCode::SUCCESS;
    };
    let port = free_port();
    let redis = Program::start(&program, &[], &["--port", &port.to_string(), "--save", "", "--appendonly", "no"], port);
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(measure(redis.port, sessions, loads));
    ExitCode::SUCCESS
}

async fn measure(port: u16, count: usize, loads: usize) {
    let redis = Redis::standalone(format!("redis://127.0.0.1:{port}/")).build().unwrap();
    let keys = SessionKeys::new(SessionKey::generate().unwrap());
    // All of them are of one client, whose index would be full else.
    let store = RedisSessionStore::new(redis).with_max_per_tag(4_000_000).unwrap();
    let sessions = Sessions::builder(Arc::new(store), keys).build().unwrap();
    // So that what belongs to connections and scripts is there before.
    log_in(&sessions, "nobody".to_owned()).await;
    let before = used_memory(port).await;
    let begun = Instant::now();
    let mut cookies = Vec::with_capacity(count);
    let mut tasks = JoinSet::new();
    for number in 0..count {
        if tasks.len() >= AT_ONCE {
            cookies.push(tasks.join_next().await.unwrap().unwrap());
        }
        let sessions = sessions.clone();
        tasks.spawn(async move { log_in(&sessions, format!("user-{number}")).await });
        if (number + 1) % 100_000 == 0 {
            println!("{} sessions after {} s", thousands((number + 1) as f64), begun.elapsed().as_secs());
        }
    }
    cookies.extend(tasks.join_all().await);
    let logins = count as f64 / begun.elapsed().as_secs_f64();
    let bytes = (used_memory(port).await - before) / count as f64;
    let cookies: Arc<[String]> = cookies.into();
    println!(
        "\n{} sessions: {bytes:.0} bytes each in Redis; {} logins a second, {AT_ONCE} at once\n",
        thousands(count as f64),
        thousands(logins)
    );
    println!("| loads at once | p50 µs | p99 µs | loads a second |");
    println!("|--:|--:|--:|--:|");
    let mut lines = vec![json!({
        "case": "log in", "median_ns": (1e9 / logins).round(), "baseline": "log in", "ratio": 1.0, "allocations": null,
        "sessions": count, "bytes_each": bytes.round(),
    })];
    for at_once in [1, 16] {
        let (p50, p99, rate) = load(&sessions, &cookies, loads, at_once).await;
        println!("| {at_once} | {p50:.0} | {p99:.0} | {} |", thousands(rate));
        lines.push(json!({
            "case": format!("load, {at_once} at once"), "median_ns": p50 * 1e3, "baseline": "log in", "ratio": 1e3 * p50 * logins / 1e9,
            "allocations": null, "p99_us": p99,
        }));
    }
    write_lines("session_store", &lines);
}

async fn log_in(sessions: &Sessions, user: String) -> String {
    let alice = PrincipalBuilder::new("https://id.example", user)
        .with_claim("name", "Alice Example")
        .with_claim("email", "alice@example.com")
        .with_claim("sid", "0b7c2d6e-2f0c-4f6f-8b57-5a0c3a3f6f11")
        .with_client("shop")
        .build()
        .unwrap();
    let request = sessions.begin(&HeadParts { method: "POST", path: "/login", headers: &[] });
    request.log_in(Login::new(&alice).with_device("Firefox on Linux"));
    let mut session = request.session::<Cart>(None).await.unwrap();
    session.update(|cart| cart.items = vec![4711, 4712]);
    let cookies = request.finish().await.unwrap();
    cookies[0].expose().split(';').next().unwrap().to_owned()
}

#[derive(Default, serde::Serialize, serde::Deserialize)]
struct Cart {
    items: Vec<u32>,
}

/// Loads sessions chosen by a fixed walk; returns p50 and p99 in microseconds, and loads a second.
async fn load(sessions: &Sessions, cookies: &Arc<[String]>, loads: usize, at_once: usize) -> (f64, f64, f64) {
    let begun = Instant::now();
    let mut tasks = JoinSet::new();
    for lane in 0..at_once {
        let (sessions, cookies) = (sessions.clone(), Arc::clone(cookies));
        tasks.spawn(async move {
            let mut times = Vec::with_capacity(loads / at_once);
            for step in 0..loads / at_once {
                let cookie = &cookies[(lane + step * at_once).wrapping_mul(7_919) % cookies.len()];
                let headers = [("cookie", cookie.as_bytes())];
                let begun = Instant::now();
                let request = sessions.begin(&HeadParts { method: "GET", path: "/", headers: &headers });
                let session = request.session::<Cart>(None).await.unwrap();
                assert_eq!(session.data().items.len(), 2);
                times.push(begun.elapsed());
            }
            times
        });
    }
    let mut times: Vec<Duration> = tasks.join_all().await.into_iter().flatten().collect();
    let rate = times.len() as f64 / begun.elapsed().as_secs_f64();
    times.sort_unstable();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e6;
    (at(0.50), at(0.99), rate)
}

async fn used_memory(port: u16) -> f64 {
    let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    stream.write_all(b"INFO memory\r\n").await.unwrap();
    let mut answer = String::new();
    while !answer.contains("used_memory_human") {
        let mut piece = [0; 4096];
        let read = stream.read(&mut piece).await.unwrap();
        assert!(read > 0, "Redis said {answer}");
        answer.push_str(std::str::from_utf8(&piece[..read]).unwrap());
    }
    let line = answer.lines().find_map(|line| line.strip_prefix("used_memory:")).unwrap();
    line.trim().parse().unwrap()
}

const AT_ONCE: usize = 64;
