//! The synchronisation of refreshes within a process; the interleaving tests swap it for `shuttle`'s.

#[cfg(not(sekisho_shuttle))]
pub(crate) use std::sync::{Mutex, MutexGuard};

#[cfg(sekisho_shuttle)]
pub(crate) use shuttle::sync::{Mutex, MutexGuard};

/// Begins a task that nobody waits for.
pub(crate) fn spawn(task: impl Future<Output = ()> + Send + 'static) {
    #[cfg(not(sekisho_shuttle))]
    tokio::spawn(task);
    #[cfg(sekisho_shuttle)]
    shuttle::future::spawn(task);
}
