//! Redis and PostgreSQL: they are there, and let nobody in without the password.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

use crate::setup;

/// Takes `scheme://USER:PASSWORD@HOST:PORT/NAME` apart into password and address.
fn password_and_address(url: &str) -> (&str, &str) {
    let (login, place) = url.split_once("://").and_then(|(_, rest)| rest.split_once('@')).expect("a login");
    let (_, password) = login.split_once(':').expect("a password");
    (password, place.split('/').next().expect("an address"))
}

fn redis(address: &str, commands: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("Redis listens");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a limit");
    stream.write_all(format!("{commands}QUIT\r\n").as_bytes()).expect("a question");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    answer
}

fn psql(url: &str) -> Result<String, String> {
    let output = Command::new("psql")
        .args(["--no-psqlrc", "--no-password", "--tuples-only", "--no-align", "--command", "select 1", url])
        .env_remove("PGPASSWORD")
        .output()
        .expect("psql comes with PostgreSQL");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    if output.status.success() { Ok(text(output.stdout)) } else { Err(text(output.stderr)) }
}

#[test]
fn redis_answers_those_with_the_password() {
    let Some(url) = setup::variable("SEKISHO_REDIS_URL", "Redis answers") else { return };
    let (password, address) = password_and_address(&url);
    assert_eq!(redis(address, &format!("AUTH default {password}\r\nPING\r\n")), "+OK\r\n+PONG\r\n+OK\r\n");
    let stranger = redis(address, "PING\r\n");
    assert!(stranger.starts_with("-NOAUTH"), "{stranger}");
    let guesser = redis(address, "AUTH default guess\r\nPING\r\n");
    assert!(guesser.starts_with("-WRONGPASS") && guesser.contains("-NOAUTH"), "{guesser}");
}

#[test]
fn postgresql_answers_those_with_the_password() {
    let Some(url) = setup::variable("SEKISHO_POSTGRES_URL", "PostgreSQL answers") else { return };
    assert_eq!(psql(&url).as_deref(), Ok("1\n"));
    let (password, _) = password_and_address(&url);
    let guesser = psql(&url.replace(password, "guess")).expect_err("a wrong password");
    assert!(guesser.contains("password authentication failed"), "{guesser}");
    let stranger = psql(&url.replace(&format!(":{password}"), "")).expect_err("no password");
    assert!(stranger.contains("no password supplied"), "{stranger}");
}
