//! What runs in a process of its own, and ends with the bench, however that ends.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::TcpStream;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Runs a command and kills its process group when standard input ends, which it does at the latest with this process.
const LIFELINE: &str = r#"exec 3<&0
"$@" </dev/null 3<&- &
child=$!
(read -r _ <&3; kill -KILL 0) >/dev/null 2>&1 &
exec 3<&-
wait "$child""#;

/// Is this very program once more, as a server; dropped, it stops.
#[derive(Debug)]
pub struct Server {
    child: Child,
    pub port: u16,
}

impl Server {
    /// Starts this binary again with these arguments; it prints the port and then calls [`end_with_the_bench`].
    pub fn start(arguments: &[&str]) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let port = line.trim().parse().unwrap_or_else(|_| panic!("{arguments:?} did not start"));
        Self { child, port }
    }

    /// Returns the CPU time that the server has used so far.
    pub fn cpu(&self) -> Duration {
        // Fields 14 and 15 of proc_pid_stat(5), in ticks of 10 ms; the name before them may hold spaces.
        let Ok(stat) = fs::read_to_string(format!("/proc/{}/stat", self.child.id())) else { return Duration::ZERO };
        let fields: Vec<_> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let ticks: u64 = [11, 12].iter().filter_map(|at| fields.get(*at)?.parse::<u64>().ok()).sum();
        Duration::from_millis(ticks * 10)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Ends this process when the bench that started it is gone.
pub fn end_with_the_bench() {
    std::thread::spawn(|| {
        let _ = std::io::stdin().read_line(&mut String::new());
        std::process::exit(0);
    });
}

/// Is a program of others; dropped, it and its children are killed, and its files removed.
#[derive(Debug)]
pub struct Program {
    shell: Child,
    folder: PathBuf,
    pub port: u16,
}

impl Program {
    /// Starts `program` in a new folder that holds `files`, its working folder and its `HOME`, and waits until it listens.
    pub fn start(program: &Path, files: &[(&str, &str)], arguments: &[&str], port: u16) -> Self {
        let folder = std::env::temp_dir().join(format!("sekisho-bench-{}-{port}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        for (name, content) in files {
            fs::write(folder.join(name), content).unwrap();
        }
        let log = fs::File::create(folder.join("log")).unwrap();
        let shell = Command::new("sh")
            .args(["-c", LIFELINE, "sh"])
            .arg(program)
            .args(arguments)
            .current_dir(&folder)
            .env("HOME", &folder)
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut program = Self { shell, folder, port };
        let begun = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            let has_ended = program.shell.try_wait().unwrap().is_some();
            let log = || fs::read_to_string(program.folder.join("log")).unwrap_or_default();
            assert!(!has_ended && begun.elapsed() < Duration::from_secs(60), "it does not start: {}", log());
            std::thread::sleep(Duration::from_millis(20));
        }
        program
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        drop(self.shell.stdin.take());
        let _ = self.shell.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Finds a gateway: by the variable that `cargo xtask servers` prints, in the folders of programs, or, below `cached`, where
/// `cargo xtask servers install` puts it.
pub fn find(variable: &str, name: &str, cached: &[&str]) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/local/sbin".into(), "/usr/sbin".into()]);
    let home = std::env::var_os("SEKISHO_CACHE").map(PathBuf::from);
    let cache = home.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache/sekisho")));
    let installed = cache.iter().flat_map(|cache| cached.iter().map(move |place| cache.join("servers").join(place)));
    let named = std::env::var_os(variable).map(PathBuf::from);
    named.into_iter().chain(folders.map(|folder| folder.join(name))).chain(installed).find(|file| file.is_file())
}

/// Returns a loopback port that was free a moment ago.
pub fn free_port() -> u16 {
    std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}
