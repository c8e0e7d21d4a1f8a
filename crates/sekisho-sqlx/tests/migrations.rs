//! How databases are opened, made, and refused.

use std::process::Stdio;

use sekisho_core::FailureKind;
use sekisho_issuer::GrantStore as _;
use sekisho_session::SessionStore as _;
use sekisho_sqlx::{PostgresStore, SqliteStore, StoreLimits};

use crate::records::grant;
use crate::sessions::{id, kept};
use crate::world::{Database, Folder, NOW, at};

/// Tells a process that this test has started what it is to open.
pub(crate) const CHILD: &str = "SEKISHO_SQLX_OPENS";

/// Runs this test in four more processes, which all open the same database.
pub(crate) async fn in_four_processes(test: &str, place: &str) {
    let start = || {
        tokio::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", test])
            .env(CHILD, place)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap()
    };
    let processes = [start(), start(), start(), start()];
    for process in processes {
        let output = process.wait_with_output().await.unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success() && said.contains("1 passed"), "{said}");
    }
}

#[tokio::test]
async fn processes_that_open_a_new_file_at_once_make_its_tables_once() {
    if let Ok(place) = std::env::var(CHILD) {
        SqliteStore::open(place).await.unwrap();
        return;
    }
    let folder = Folder::new();
    let test = "migrations::processes_that_open_a_new_file_at_once_make_its_tables_once";
    in_four_processes(test, folder.file().to_str().unwrap()).await;
    assert_eq!(folder.run("DELETE FROM sekisho_schema").await, 5, "one step of each part");
}

#[tokio::test]
async fn processes_that_open_a_new_postgresql_at_once_make_its_tables_once() {
    if let Ok(place) = std::env::var(CHILD) {
        PostgresStore::connect(&place).await.unwrap();
        return;
    }
    let Some(database) = Database::new("processes that open PostgreSQL at once").await else { return };
    let test = "migrations::processes_that_open_a_new_postgresql_at_once_make_its_tables_once";
    in_four_processes(test, &database.url()).await;
    assert_eq!(database.run("DELETE FROM sekisho_schema").await, 5, "one step of each part");
    database.end().await;
}

#[tokio::test]
async fn tables_of_a_later_version_are_refused() {
    let folder = Folder::new();
    let store = folder.open().await;
    store.begin_grant(&grant(1, "u", at(9)), None, NOW).await.unwrap();
    store.close().await;
    assert!(store.grant(&grant(1, "u", NOW).id, NOW).await.is_err(), "a closed store answers nothing");
    assert!(folder.open().await.grant(&grant(1, "u", NOW).id, NOW).await.unwrap().is_some(), "opened again as it was");
    folder.run("INSERT INTO sekisho_schema (part, version) VALUES ('issuer', 2)").await;
    assert_eq!(SqliteStore::open(folder.file()).await.unwrap_err().kind(), FailureKind::Misconfigured);

    let Some(database) = Database::new("tables of a later version in PostgreSQL").await else { return };
    database.open().await.close().await;
    database.run("INSERT INTO sekisho_schema (part, version) VALUES ('replay', 2)").await;
    assert_eq!(PostgresStore::connect(&database.url()).await.unwrap_err().kind(), FailureKind::Misconfigured);
    database.end().await;
}

#[tokio::test]
async fn what_is_no_database_is_refused_and_left_as_it_is() {
    let folder = Folder::new();
    assert_eq!(SqliteStore::open(&folder.0).await.unwrap_err().kind(), FailureKind::Unavailable);
    let text = "this is a text file, and a long one at that. ".repeat(100);
    std::fs::write(folder.file(), &text).unwrap();
    assert!(SqliteStore::open(folder.file()).await.is_err());
    assert_eq!(std::fs::read_to_string(folder.file()).unwrap(), text);
    let limits = StoreLimits::default();
    let mut none = limits;
    none.connections = 0;
    assert!(SqliteStore::open_with(folder.0.join("other.db"), none).await.is_err());
    assert!(!folder.0.join("other.db").exists(), "limits are checked first");
}

#[cfg(unix)]
#[tokio::test]
async fn a_new_file_is_for_its_owner_only() {
    use std::os::unix::fs::PermissionsExt as _;

    let folder = Folder::new();
    let store = folder.open().await;
    store.begin_grant(&grant(1, "u", at(9)), None, NOW).await.unwrap();
    let mut files = 0;
    for entry in std::fs::read_dir(&folder.0).unwrap() {
        let entry = entry.unwrap();
        let mode = entry.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{} has {mode:o}", entry.path().display());
        files += 1;
    }
    assert!(files > 1, "the write-ahead log is a file too");
}

#[tokio::test]
async fn a_user_who_may_make_no_tables_can_use_those_that_are_there() {
    let Some(database) = Database::new("a user who may make no tables").await else { return };
    database.open().await.close().await;
    database.run("REVOKE CREATE ON SCHEMA public FROM PUBLIC").await;
    database.run("DROP ROLE IF EXISTS sekisho_sqlx_modest").await;
    database.run("CREATE ROLE sekisho_sqlx_modest LOGIN PASSWORD 'modest'").await;
    database.run("GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO sekisho_sqlx_modest").await;
    let url = database.url();
    let (_, place) = url.split_once('@').unwrap();
    let store = PostgresStore::connect(&format!("postgres://sekisho_sqlx_modest:modest@{place}")).await.unwrap();
    store.begin_grant(&grant(1, "u", at(9)), None, NOW).await.unwrap();
    assert!(store.create(id(1), &kept(9, &[1]), NOW).await.unwrap());
    assert_eq!(store.sweep(at(1000)).await.unwrap(), 2);
    store.close().await;
    database.run("DROP OWNED BY sekisho_sqlx_modest").await;
    database.run("DROP ROLE sekisho_sqlx_modest").await;
    database.end().await;
}

#[tokio::test]
async fn no_failure_to_connect_shows_the_password() {
    let shows = |failure: &sekisho_core::Failure| {
        let mut shown = format!("{failure:?} {failure}");
        let mut source = std::error::Error::source(failure);
        while let Some(error) = source {
            shown += &format!("{error:?} {error}");
            source = error.source();
        }
        shown.contains("hunter2")
    };
    for url in ["", "hunter2", "mysql://app:hunter2@localhost/app", "postgres://app:hunter2@localhost:port/app"] {
        let failure = PostgresStore::connect(url).await.unwrap_err();
        assert_eq!(failure.kind(), FailureKind::Misconfigured, "{url}");
        assert!(!shows(&failure), "{failure:?}");
    }
    let mut limits = StoreLimits::default();
    limits.acquire_timeout = std::time::Duration::from_millis(300);
    let begun = std::time::Instant::now();
    let failure = PostgresStore::connect_with("postgres://app:hunter2@127.0.0.1:1/app", limits).await.unwrap_err();
    assert_eq!(failure.kind(), FailureKind::Unavailable);
    assert!(!shows(&failure) && begun.elapsed() < std::time::Duration::from_secs(3), "{failure:?}");

    let Some(database) = Database::new("a wrong password for PostgreSQL").await else { return };
    let url = database.url();
    let (_, place) = url.split_once('@').unwrap();
    let failure = PostgresStore::connect(&format!("postgres://sekisho:hunter2@{place}")).await.unwrap_err();
    assert!(!shows(&failure), "{failure:?}");
    let (login, _) = url.split_once('@').unwrap();
    let password = login.rsplit_once(':').unwrap().1.to_owned();
    let store = database.open().await;
    assert!(!format!("{store:?}").contains(&password));
    store.close().await;
    database.end().await;
}
