//! A case in a process of its own.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use axum::serve::ListenerExt as _;

use crate::cases;

/// Is a running server; dropped, it stops.
pub(crate) struct Server {
    child: Child,
    pub(crate) port: u16,
}

impl Server {
    /// Starts this binary again as the server of one case.
    pub(crate) fn start(case: &str, key_set: &str) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--serve", case, key_set])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let port = line.trim().parse().unwrap_or_else(|_| panic!("the server of {case} did not start"));
        Self { child, port }
    }

    /// Returns the CPU time that the server has used so far.
    pub(crate) fn cpu(&self) -> Duration {
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

/// Serves one case until the standard input ends; prints the port.
pub(crate) fn serve(case: &str, key_set: &str) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(async {
        let router = cases::router(case, key_set).await;
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        println!("{}", listener.local_addr().unwrap().port());
        let listener = listener.tap_io(|stream| {
            let _ = stream.set_nodelay(true);
        });
        // So that no server outlives the bench, however that ends.
        std::thread::spawn(|| {
            let _ = std::io::stdin().read_line(&mut String::new());
            std::process::exit(0);
        });
        // On the worker thread, as in a service; the main thread only waits.
        tokio::spawn(async move { axum::serve(listener, router).await }).await.unwrap().unwrap();
    });
}
