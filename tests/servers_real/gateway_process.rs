//! A gateway that a test starts with a configuration of its own, and that ends with the test.

use std::fs::{self, File};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use crate::setup;

/// Runs a command and kills its process group when standard input ends, which it does at the latest with this process.
const LIFELINE: &str = r#"exec 3<&0
"$@" </dev/null 3<&- &
child=$!
(read -r _ <&3; kill -KILL 0) >/dev/null 2>&1 &
exec 3<&-
wait "$child""#;

/// On a busy machine a gateway takes seconds.
const LIMIT: Duration = Duration::from_secs(60);

/// A running gateway; dropping it kills it and removes its files. Its output stays in `target/xtask/logs`.
pub(crate) struct Proxy {
    shell: Child,
    folder: PathBuf,
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
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let parent = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        if number == 0 {
            remove_abandoned(parent);
        }
        let folder = parent.join(format!("gateway-{}-{number}", std::process::id()));
        fs::create_dir_all(&folder).expect("a new folder");
        for (file, content) in files {
            fs::write(folder.join(file), content).expect("a configuration is written");
        }
        let logs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/xtask/logs");
        fs::create_dir_all(&logs).expect("a folder for logs");
        let log = logs.join(format!("{name}.log"));
        let output = File::create(&log).expect("a log");
        let shell = Command::new("sh")
            .arg("-c")
            .arg(LIFELINE)
            .arg("sh")
            .arg(program.as_ref())
            .args(arguments)
            .current_dir(&folder)
            .env("HOME", &folder)
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(output.try_clone().expect("a log"))
            .stderr(output)
            .spawn()
            .expect("sh starts");
        // From here on a panic kills it.
        let mut proxy = Self { shell, folder, log };
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
            let ended = self.shell.try_wait().expect("it is our child");
            assert!(ended.is_none(), "it ended while starting: {}", self.last_words());
            assert!(begun.elapsed() < LIMIT, "no 200 from {url}: {}", self.last_words());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Returns what it printed so far.
    pub(crate) fn output(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).expect("a log")).into_owned()
    }

    fn last_words(&self) -> String {
        let output = self.output();
        let from = output.char_indices().rev().nth(4000).map_or(0, |(index, _)| index);
        format!("{}\n{}", self.log.display(), &output[from..])
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        drop(self.shell.stdin.take());
        // The shell is in the group that it kills, so this returns at once.
        let _ = self.shell.wait();
        // A process that dies just now may still be writing; then the folder stays.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Removes the folders that killed test processes left behind.
fn remove_abandoned(parent: &Path) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let owner = name.to_str().and_then(|name| name.strip_prefix("gateway-")?.split('-').next());
        if owner.is_some_and(|id| !Path::new("/proc").join(id).exists()) {
            // Another test process may be doing the same.
            let _ = fs::remove_dir_all(entry.path());
        }
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

    fn is_alive(pid: &str) -> bool {
        let state = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        !state.is_empty() && !state.contains(") Z ")
    }

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
        let (folder, child) = (proxy.folder.clone(), words[1]);
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
