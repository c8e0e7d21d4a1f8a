//! Redis and PostgreSQL: they let nobody in without the password, and come back after a kill.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

use tokio::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::control::Control;
use crate::setup;

/// Who uses a store holds it for reading; who kills one, for writing.
static TURN: RwLock<()> = RwLock::const_new(());

/// Returns the URL that `variable` holds, of a store that lives as long as the guard; `None`, after a line that says so,
/// when there is none.
pub(crate) async fn store(variable: &str, test: &str) -> Option<(String, RwLockReadGuard<'static, ()>)> {
    Some((setup::variable(variable, test)?, TURN.read().await))
}

/// Like [`store`], and nobody else has one meanwhile, so this test may kill it.
pub(crate) async fn sole_store(variable: &str, test: &str) -> Option<(String, RwLockWriteGuard<'static, ()>)> {
    Some((setup::variable(variable, test)?, TURN.write().await))
}

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

/// Asks PostgreSQL.
pub(crate) fn psql(url: &str, question: &str) -> Result<String, String> {
    let output = Command::new("psql")
        .args(["--no-psqlrc", "--no-password", "--tuples-only", "--no-align", "--quiet", "--command", question, url])
        .env_remove("PGPASSWORD")
        .output()
        .expect("psql comes with PostgreSQL");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    if output.status.success() { Ok(text(output.stdout)) } else { Err(text(output.stderr)) }
}

#[tokio::test]
async fn redis_answers_those_with_the_password() {
    let Some((url, _turn)) = store("SEKISHO_REDIS_URL", "Redis answers").await else { return };
    let (password, address) = password_and_address(&url);
    assert_eq!(redis(address, &format!("AUTH default {password}\r\nPING\r\n")), "+OK\r\n+PONG\r\n+OK\r\n");
    let stranger = redis(address, "PING\r\n");
    assert!(stranger.starts_with("-NOAUTH"), "{stranger}");
    let guesser = redis(address, "AUTH default guess\r\nPING\r\n");
    assert!(guesser.starts_with("-WRONGPASS") && guesser.contains("-NOAUTH"), "{guesser}");
}

#[tokio::test]
async fn postgresql_answers_those_with_the_password() {
    let Some((url, _turn)) = store("SEKISHO_POSTGRES_URL", "PostgreSQL answers").await else { return };
    assert_eq!(psql(&url, "select 1").as_deref(), Ok("1\n"));
    let (password, _) = password_and_address(&url);
    let guesser = psql(&url.replace(password, "guess"), "select 1").expect_err("a wrong password");
    assert!(guesser.contains("password authentication failed"), "{guesser}");
    let stranger = psql(&url.replace(&format!(":{password}"), ""), "select 1").expect_err("no password");
    assert!(stranger.contains("no password supplied"), "{stranger}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_comes_back_empty_and_postgresql_with_what_was_committed() {
    let test = "Redis and PostgreSQL killed and started again";
    let Some(control) = Control::reach(test) else { return };
    let Some((redis_url, _turn)) = sole_store("SEKISHO_REDIS_URL", test).await else { return };
    let Some(postgres_url) = setup::variable("SEKISHO_POSTGRES_URL", test) else { return };
    let (password, address) = password_and_address(&redis_url);
    let login = format!("AUTH default {password}\r\n");
    assert_eq!(redis(address, &format!("{login}SET outage:key here\r\n")), "+OK\r\n+OK\r\n+OK\r\n");
    let outage = control.kill("redis");
    assert!(TcpStream::connect(address).is_err());
    outage.end();
    assert_eq!(redis(address, &format!("{login}GET outage:key\r\n")), "+OK\r\n$-1\r\n+OK\r\n");

    psql(&postgres_url, "create table outage (round int)").expect("a table");
    for round in 0..3 {
        // Helpers of the killed server, one of them at work, are in the way of the next.
        let sleeper = std::thread::spawn({
            let url = postgres_url.clone();
            move || psql(&url, "select pg_sleep(60)")
        });
        psql(&postgres_url, &format!("insert into outage values ({round})")).expect("a row");
        let outage = control.kill("postgresql");
        assert!(psql(&postgres_url, "select 1").is_err());
        outage.end();
        assert_eq!(psql(&postgres_url, "select max(round) from outage"), Ok(format!("{round}\n")));
        assert!(sleeper.join().expect("a thread").is_err());
    }
    psql(&postgres_url, "drop table outage").expect("no table");
}
