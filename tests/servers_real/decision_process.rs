//! A decision server of a test's own, to be killed, paused and started again.

use std::fs::{self, File};
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
    /// Answers 200 once the server is ready.
    pub(crate) ready_url: String,
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

    /// Kills the server, as a power cut would.
    pub(crate) fn kill(&mut self) {
        drop(self.leash.take());
    }

    /// Stops the server where it is: it accepts connections and answers nothing until [`resume`](Self::resume).
    pub(crate) fn pause(&self) {
        self.signal("-STOP");
    }

    /// Lets a paused server go on.
    pub(crate) fn resume(&self) {
        self.signal("-CONT");
    }

    /// Starts the server again on the same ports, after a kill if it still runs, and returns when it is ready.
    pub(crate) async fn restart(&mut self) {
        self.kill();
        let Recipe { name, program, arguments, ready_url } = &self.recipe;
        let log = leash::artefact("logs", &format!("{name}.log"));
        let output = File::create(&log).expect("a log");
        let errors = output.try_clone().expect("a log");
        // The shell names its process and then becomes the server, so that the server alone can be paused.
        let words = ["-c", r#"echo $$ >pid && exec "$@""#, "sh", program.to_str().expect("a path")];
        let words: Vec<&str> = words.into_iter().chain(arguments.iter().map(String::as_str)).collect();
        let leash = Leash::start(Path::new("sh"), &words, Folder::new(), output, errors);
        let (http, begun) = (setup::http(), Instant::now());
        let leash = self.leash.insert(leash);
        loop {
            let answer = http.get(ready_url).timeout(Duration::from_secs(2)).send().await;
            if answer.is_ok_and(|answer| answer.status() == 200) {
                return;
            }
            assert!(leash.ended().is_none(), "it ended while starting: {}", leash::last_words(&log));
            assert!(begun.elapsed() < LIMIT, "no 200 from {ready_url}: {}", leash::last_words(&log));
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn signal(&self, signal: &str) {
        let folder = self.leash.as_ref().expect("it runs").folder();
        let id = fs::read_to_string(folder.join("pid")).expect("its process");
        let status = Command::new("sh").args(["-c", r#"kill "$1" "$2""#, "sh", signal, id.trim()]).status();
        assert!(status.expect("sh starts").success(), "kill {signal} {id}");
    }
}
