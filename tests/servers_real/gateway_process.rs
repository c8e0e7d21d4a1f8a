//! A gateway that a test starts with a configuration of its own, and that ends with the test.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::leash::{self, Folder, Leash};
use crate::setup;

/// On a busy machine a gateway takes seconds.
const LIMIT: Duration = Duration::from_secs(60);

/// A running gateway; dropping it kills it and removes its files. Its output stays in `target/xtask/logs`.
pub(crate) struct Proxy {
    leash: Leash,
    log: PathBuf,
}

impl Proxy {
    /// Starts `program` in a new folder that holds `files`, and waits until `ready_url` answers 200.
    ///
    /// - `name`: names the log, so each test has one of its own.
    /// - `files`: names, which may not have folders, with what is in them. The folder is the program's working folder
    ///   and its `HOME`, so a configuration refers to files by their names alone.
    pub(crate) async fn start(
        name: &str,
        program: impl AsRef<Path>,
        files: &[(&str, &str)],
        arguments: &[&str],
        ready_url: &str,
    ) -> Self {
        let folder = Folder::new();
        for (file, content) in files {
            fs::write(folder.path().join(file), content).expect("a configuration is written");
        }
        let log = leash::artefact("logs", &format!("{name}.log"));
        let output = File::create(&log).expect("a log");
        let errors = output.try_clone().expect("a log");
        let leash = Leash::start(program.as_ref(), arguments, folder, output, errors);
        // From here on a panic kills it.
        let mut proxy = Self { leash, log };
        proxy.wait_for(ready_url).await;
        proxy
    }

    async fn wait_for(&mut self, url: &str) {
        let (http, begun) = (setup::http(), Instant::now());
        loop {
            let answer = http.get(url).timeout(Duration::from_secs(2)).send().await;
            if answer.is_ok_and(|answer| answer.status() == 200) {
                return;
            }
            assert!(self.leash.ended().is_none(), "it ended while starting: {}", leash::last_words(&self.log));
            assert!(begun.elapsed() < LIMIT, "no 200 from {url}: {}", leash::last_words(&self.log));
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Returns what it printed so far.
    pub(crate) fn output(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).expect("a log")).into_owned()
    }
}

/// Returns a loopback port that was free a moment ago.
pub(crate) fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    listener.local_addr().expect("an address").port()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateways::Upstream;
    use crate::leash::is_alive;

    #[tokio::test]
    async fn a_dropped_gateway_takes_its_children_and_its_files_along() {
        let upstream = Upstream::start().await;
        let url = format!("http://127.0.0.1:{}", upstream.port);
        let script = "cat greeting; sleep 300 & echo $!; echo done; wait";
        let files = [("greeting", "hello\n")];
        let proxy = Proxy::start("gateway-process-drop", "sh", &files, &["-c", script], &url).await;
        let output = loop {
            let output = proxy.output();
            if output.ends_with("done\n") {
                break output;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        };
        let words: Vec<_> = output.lines().collect();
        let (folder, child) = (proxy.leash.folder().to_path_buf(), words[1]);
        assert_eq!(words[0], "hello");
        assert!(is_alive(child) && folder.exists());
        drop(proxy);
        assert!(!folder.exists());
        for _ in 0..100 {
            if !is_alive(child) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("{child} is still alive");
    }

    #[tokio::test]
    #[should_panic(expected = "no such option")]
    async fn a_gateway_that_ends_while_starting_fails_with_its_last_words() {
        let url = format!("http://127.0.0.1:{}", free_port());
        Proxy::start("gateway-process-end", "sh", &[], &["-c", "echo no such option; exit 1"], &url).await;
    }
}
