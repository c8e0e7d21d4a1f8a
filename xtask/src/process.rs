//! Child processes that never outlive this program.
//!
//! Each command runs in a process group of its own under a shell that holds one end of a pipe. When the other end closes,
//! because the [`Group`] is dropped or because this program ended in whatever way (return, panic, Ctrl-C, SIGKILL), the
//! shell kills the whole group. No signal handler is needed, and no step can be forgotten.

use std::env;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::progress::Line;

const LIFELINE: &str = r#"exec 3<&0
"$@" </dev/null 3<&- &
child=$!
(read -r _ <&3; kill -KILL 0) >/dev/null 2>&1 &
exec 3<&-
wait "$child""#;

/// A command to be run: program, arguments, environment, folder.
#[derive(Clone)]
pub(crate) struct Invocation {
    words: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
    folder: Option<OsString>,
}

impl Invocation {
    pub(crate) fn new(program: impl Into<OsString>) -> Self {
        Self { words: vec![program.into()], environment: Vec::new(), folder: None }
    }

    /// Splits `line` at white space; for commands without paths.
    pub(crate) fn parse(line: &str) -> Self {
        Self { words: line.split_whitespace().map(OsString::from).collect(), environment: Vec::new(), folder: None }
    }

    pub(crate) fn arg(mut self, word: impl Into<OsString>) -> Self {
        self.words.push(word.into());
        self
    }

    pub(crate) fn args<T: Into<OsString>>(mut self, words: impl IntoIterator<Item = T>) -> Self {
        self.words.extend(words.into_iter().map(Into::into));
        self
    }

    pub(crate) fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    pub(crate) fn envs(mut self, pairs: &[(String, String)]) -> Self {
        self.environment.extend(pairs.iter().map(|(name, value)| (name.into(), value.into())));
        self
    }

    pub(crate) fn folder(mut self, folder: &Path) -> Self {
        self.folder = Some(folder.into());
        self
    }

    fn command(&self) -> Command {
        let mut command = Command::new("sh");
        command.arg("-c").arg(LIFELINE).arg("sh").args(&self.words).process_group(0).stdin(Stdio::piped());
        // `cargo run` describes this package and its toolchain to us; a child cargo must find its own.
        for (name, _) in env::vars_os() {
            let text = name.to_string_lossy();
            let ours = ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_"];
            if ours.iter().any(|prefix| text.starts_with(prefix))
                || matches!(&*text, "CARGO" | "RUSTUP_TOOLCHAIN" | "RUST_RECURSION_COUNT" | "LD_LIBRARY_PATH")
            {
                command.env_remove(&name);
            }
        }
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        if let Some(folder) = &self.folder {
            command.current_dir(folder);
        }
        command
    }
}

/// A running command and all its descendants; dropping it kills them.
pub(crate) struct Group {
    child: Child,
    lifeline: Option<ChildStdin>,
}

impl Group {
    /// Starts a server whose output goes to the file `log`.
    pub(crate) fn serve(invocation: &Invocation, log: &Path) -> Result<Self> {
        let file = create(log)?;
        let mut command = invocation.command();
        command.stdout(file.try_clone()?).stderr(file);
        Self::spawn(command)
    }

    fn spawn(mut command: Command) -> Result<Self> {
        let mut child = command.spawn().context("cannot start sh")?;
        let lifeline = child.stdin.take();
        Ok(Self { child, lifeline })
    }

    /// Says whether the command still runs.
    pub(crate) fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        drop(self.lifeline.take());
        // The shell is in the group that it kills, so this returns at once.
        let _ = self.child.wait();
    }
}

/// What a finished command left behind.
pub(crate) struct Finished {
    /// `None` when the command was stopped because its time was over.
    pub(crate) status: Option<ExitStatus>,
    pub(crate) stdout: String,
    /// Standard output and error as they came.
    pub(crate) output: String,
}

impl Finished {
    pub(crate) fn success(&self) -> bool {
        self.status.is_some_and(|status| status.success())
    }

    /// Returns the last `lines` lines of everything that was printed.
    pub(crate) fn tail(&self, lines: usize) -> String {
        let all: Vec<&str> = self.output.lines().collect();
        all.get(all.len().saturating_sub(lines)..).unwrap_or_default().join("\n")
    }
}

/// Runs a command to its end, at most for `limit`; its output goes to `log` and its last line to `line`.
///
/// `watch` is asked now and then for something better to show than the command's last line.
pub(crate) fn run(
    invocation: &Invocation,
    log: &Path,
    line: &Line,
    limit: Duration,
    watch: &dyn Fn() -> Option<String>,
) -> Result<Finished> {
    let sink = Arc::new(Mutex::new(Sink { file: create(log)?, output: String::new(), stdout: String::new() }));
    let mut command = invocation.command();
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut group = Group::spawn(command)?;
    let readers = [
        group.child.stdout.take().map(|pipe| read(pipe, true, Arc::clone(&sink), line.clone())),
        group.child.stderr.take().map(|pipe| read(pipe, false, Arc::clone(&sink), line.clone())),
    ];
    let deadline = Instant::now() + limit;
    let status = loop {
        if let Some(status) = group.child.try_wait()? {
            break Some(status);
        }
        if Instant::now() >= deadline {
            break None;
        }
        if let Some(text) = watch() {
            line.say(&text);
        }
        thread::sleep(Duration::from_millis(50));
    };
    // Kills what the command left running, so that the pipes end.
    drop(group);
    for reader in readers.into_iter().flatten() {
        let _ = reader.join();
    }
    let mut sink = sink.lock().unwrap_or_else(PoisonError::into_inner);
    if status.is_none() {
        sink.output.push_str(&format!("stopped after {} s\n", limit.as_secs()));
    }
    Ok(Finished { status, stdout: std::mem::take(&mut sink.stdout), output: std::mem::take(&mut sink.output) })
}

/// Runs a command that prints for itself, to its end.
pub(crate) fn show(invocation: &Invocation) -> Result<ExitStatus> {
    let mut group = Group::spawn(invocation.command())?;
    Ok(group.child.wait()?)
}

/// Runs a command that has to succeed; its last lines are the error when it does not.
pub(crate) fn must(
    invocation: &Invocation,
    log: &Path,
    line: &Line,
    watch: &dyn Fn() -> Option<String>,
) -> Result<Finished> {
    let finished = run(invocation, log, line, Duration::from_secs(40 * 60), watch)?;
    if !finished.success() {
        let words: Vec<_> = invocation.words.iter().map(|word| word.to_string_lossy()).collect();
        bail!("`{}` failed:\n{}", words.join(" "), finished.tail(60));
    }
    Ok(finished)
}

struct Sink {
    file: File,
    output: String,
    stdout: String,
}

fn create(log: &Path) -> Result<File> {
    if let Some(folder) = log.parent() {
        fs::create_dir_all(folder)?;
    }
    File::create(log).with_context(|| format!("cannot write {}", log.display()))
}

fn read(
    pipe: impl Read + Send + 'static,
    is_stdout: bool,
    sink: Arc<Mutex<Sink>>,
    line: Line,
) -> thread::JoinHandle<()> {
    thread::spawn(move || {
        let mut pipe = BufReader::new(pipe);
        let mut bytes = Vec::new();
        while matches!(pipe.read_until(b'\n', &mut bytes), Ok(1..)) {
            let text = String::from_utf8_lossy(&bytes);
            let mut sink = sink.lock().unwrap_or_else(PoisonError::into_inner);
            let _ = sink.file.write_all(&bytes);
            sink.output.push_str(&text);
            if is_stdout {
                sink.stdout.push_str(&text);
            }
            drop(sink);
            line.say(text.trim());
            bytes.clear();
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::progress::Screen;

    fn log(name: &str) -> std::path::PathBuf {
        env::temp_dir().join(format!("sekisho-xtask-{}-{name}", std::process::id()))
    }

    fn shell(script: &str, name: &str, limit: Duration) -> Finished {
        let invocation = Invocation::new("sh").arg("-c").arg(script);
        let file = log(name);
        let finished = run(&invocation, &file, &Screen::silent().line("test"), limit, &|| None).unwrap();
        fs::remove_file(file).unwrap();
        finished
    }

    fn is_alive(pid: &str) -> bool {
        let state = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        !state.is_empty() && !state.contains(") Z ")
    }

    fn dies(pid: &str) -> bool {
        (0..100).any(|_| {
            thread::sleep(Duration::from_millis(20));
            !is_alive(pid)
        })
    }

    #[test]
    fn passes_the_exit_code_and_keeps_the_streams_apart() {
        let finished = shell("echo out; echo err >&2; exit 3", "streams", Duration::from_secs(20));
        assert_eq!(finished.status.and_then(|status| status.code()), Some(3));
        assert_eq!(finished.stdout, "out\n");
        assert!(finished.output.contains("err\n"));
        assert!(!finished.success());
    }

    #[test]
    fn kills_what_a_finished_command_left_running() {
        let finished = shell("sleep 300 & echo $!", "leftover", Duration::from_secs(20));
        assert!(dies(finished.stdout.trim()));
    }

    #[test]
    fn stops_a_command_whose_time_is_over() {
        let finished = shell("echo $$; sleep 300", "limit", Duration::from_millis(400));
        assert!(finished.status.is_none());
        assert!(finished.tail(1).contains("stopped after"));
        assert!(dies(finished.stdout.trim()));
    }

    #[test]
    fn kills_a_server_with_its_children_when_dropped() {
        let file = log("server");
        let invocation = Invocation::new("sh").arg("-c").arg("sleep 300 & echo $!; wait");
        let mut group = Group::serve(&invocation, &file).unwrap();
        let pid = loop {
            let text = fs::read_to_string(&file).unwrap();
            if text.ends_with('\n') {
                break text.trim().to_owned();
            }
            thread::sleep(Duration::from_millis(10));
        };
        assert!(group.is_running());
        assert!(is_alive(&pid));
        drop(group);
        assert!(dies(&pid));
        fs::remove_file(file).unwrap();
    }
}
