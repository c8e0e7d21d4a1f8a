//! The synchronisation of running questions; the interleaving tests of whoever asks them swap it for `shuttle`'s.

#[cfg(not(sekisho_shuttle))]
pub(crate) use std::sync::{Mutex, MutexGuard};

#[cfg(sekisho_shuttle)]
pub(crate) use shuttle::sync::{Mutex, MutexGuard};
