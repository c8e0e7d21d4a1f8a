//! A decision server of a test's own, to be killed, paused and started again.

use std::fs::{self, File};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::leash::{self, Folder, Leash};
use crate::setup;

/// On a busy machine a server takes seconds.
const LIMIT: Duration = Duration::from_secs(60);

/// What is run, and how it is known to be ready.
pub(crate) struct Recipe {
    /// Names the log, `target/xtask/logs/NAME.log`, so each test has one of its own.
    pub(crate) name: String,
    pub(crate) program: PathBuf,
    pub(crate) arguments: Vec<String>,
    /// `127.0.0.1:PORT`, where it listens.
    pub(crate) address: String,
    /// Where it answers 200 once it is ready.
    pub(crate) ready_path: &'static str,
}

/// A server process on ports of its own; dropping it kills it.
///
/// It keeps its ports and its command line over a kill, and nothing else.
pub(crate) struct Process {
    recipe: Recipe,
    leash: Option<Leash>,
}

impl Process {
    /// Starts the server and returns when it is ready.
    pub(crate) async fn start(recipe: Recipe) -> Self {
        let mut process = Self { recipe, leash: None };
        process.restart().await;
        process
    }

    /// Names the file of what it writes, which begins anew with each start.
    pub(crate) fn log(&self) -> PathBuf {
        leash::artefact("logs", &format!("{}.log", self.recipe.name))
    }

    /// Kills the server, as a power cut would; returns when it is dead.
    pub(crate) fn kill(&mut self) {
        let Some(leash) = self.leash.take() else { return };
        drop(leash);
        // Threads of a killed process can still accept a connection.
        let begun = Instant::now();
        while TcpStream::connect(&self.recipe.address).is_ok() {
            assert!(begun.elapsed() < LIMIT, "{} answers after the kill", self.recipe.address);
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Stops the server where it is: it accepts connections and answers nothing until [`resume`](Self::resume).
    pub(crate) fn pause(&self) {
        let id = self.signal("-STOP");
        let threads = Path::new("/proc").join(id).join("task");
        // The signal is delivered when a thread next enters the kernel.
        let is_stopped = |thread: &Path| {
            let state = fs::read_to_string(thread.join("stat")).unwrap_or_default();
            state.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with('T'))
        };
        let begun = Instant::now();
        while !fs::read_dir(&threads).expect("threads").flatten().all(|thread| is_stopped(&thread.path())) {
            assert!(begun.elapsed() < LIMIT, "it does not stop");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Lets a paused server go on.
    pub(crate) fn resume(&self) {
        self.signal("-CONT");
    }

    /// Starts the server again on the same ports, after a kill if it still runs, and returns when it is ready.
    pub(crate) async fn restart(&mut self) {
        self.kill();
        let Recipe { name: _, program, arguments, address, ready_path } = &self.recipe;
        let ready_url = format!("http://{address}{ready_path}");
        let log = self.log();
        let output = File::create(&log).expect("a log");
        let errors = output.try_clone().expect("a log");
        // The shell names its process and then becomes the server, so that the server alone can be paused.
        let words = ["-c", r#"echo $$ >pid && exec "$@""#, "sh", program.to_str().expect("a path")];
        let words: Vec<&str> = words.into_iter().chain(arguments.iter().map(String::as_str)).collect();
        let leash = Leash::start(Path::new("sh"), &words, Folder::new(), output, errors);
        let (http, begun) = (setup::http(), Instant::now());
        let leash = self.leash.insert(leash);
        loop {
            let answer = http.get(&ready_url).timeout(Duration::from_secs(2)).send().await;
            if answer.is_ok_and(|answer| answer.status() == 200) {
                return;
            }
            assert!(leash.ended().is_none(), "it ended while starting: {}", leash::last_words(&log));
            assert!(begun.elapsed() < LIMIT, "no 200 from {ready_url}: {}", leash::last_words(&log));
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Sends a signal to the server and returns its process.
    fn signal(&self, signal: &str) -> String {
        let folder = self.leash.as_ref().expect("it runs").folder();
        let id = fs::read_to_string(folder.join("pid")).expect("its process").trim().to_owned();
        let status = Command::new("sh").args(["-c", r#"kill "$1" "$2""#, "sh", signal, &id]).status();
        assert!(status.expect("sh starts").success(), "kill {signal} {id}");
        id
    }
}
