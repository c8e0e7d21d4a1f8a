//! The example that a newcomer runs, as a program of its own, in front of the real provider.

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use crate::keycloak::{AUDIENCE, Keycloak};
use crate::setup;

/// The program, ended when dropped.
struct Quickstart(Child);

impl Quickstart {
    fn command(issuer: &str) -> Command {
        // Cargo puts this test's program into `deps`, and the examples beside that folder.
        let deps = std::env::current_exe().expect("a path").parent().map(PathBuf::from).expect("a folder");
        let program = deps.with_file_name("examples").join("quickstart");
        assert!(program.exists(), "{} is not built: cargo build --examples", program.display());
        let mut command = Command::new(program);
        command.args(["--issuer", issuer, "--audience", AUDIENCE, "--profile", "keycloak"]);
        command
    }

    /// Starts it and returns the URL that it guards.
    fn start(issuer: &str) -> (Self, String) {
        let child = Self::command(issuer).stdout(Stdio::piped()).spawn().expect("it starts");
        let mut program = Self(child);
        let mut lines = BufReader::new(program.0.stdout.take().expect("a pipe")).lines().map_while(Result::ok);
        let line = lines.find(|line| line.starts_with("Guarding ")).expect("it says what it guards");
        let url = line.split(' ').nth(1).expect("a URL").to_owned();
        assert!(lines.any(|line| line.contains("Fresh")), "it has the provider's keys");
        // Whoever stops reading ends a program that prints.
        std::thread::spawn(move || lines.for_each(drop));
        (program, url)
    }
}

impl Drop for Quickstart {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn the_quickstart_guards_against_a_real_provider() {
    let Some(keycloak) = Keycloak::reach("the quickstart against a real provider").await else { return };
    let (_program, url) = Quickstart::start(&keycloak.issuer());
    let good = keycloak.client_token("worker", "orders:read").await;
    let grant = keycloak.password_grant("alice", "orders:read").await;
    for (what, token, status) in [
        ("a client's token", &good, 200),
        ("a user's token", &grant.access, 200),
        ("an ID token", &grant.id, 401),
        ("a refresh token", &grant.refresh, 401),
        ("a token whose claims were changed", &setup::altered(&good, 1), 401),
    ] {
        let answer = setup::http().get(&url).bearer_auth(token).send().await.expect("an answer");
        assert_eq!(answer.status().as_u16(), status, "{what}");
    }
    let anonymous = setup::http().get(&url).send().await.expect("an answer");
    assert_eq!(anonymous.status().as_u16(), 401);
}

#[test]
fn the_quickstart_fails_when_it_ends_without_keys() {
    if setup::variable("SEKISHO_KEYCLOAK_URL", "the quickstart without a provider").is_none() {
        return;
    }
    // Port 9 of this machine answers nobody.
    let ended = Quickstart::command("http://127.0.0.1:9/realms/none").arg("--once").output().expect("it runs");
    assert!(!ended.status.success());
    assert!(String::from_utf8_lossy(&ended.stdout).contains("No keys yet"));
}
