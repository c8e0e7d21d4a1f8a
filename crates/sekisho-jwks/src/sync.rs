//! The synchronisation that this crate uses; the interleaving tests swap it for `shuttle`'s.

#[cfg(sekisho_shuttle)]
pub(crate) use shuttle::sync::atomic::{AtomicU64, Ordering};
#[cfg(not(sekisho_shuttle))]
pub(crate) use std::sync::atomic::{AtomicU64, Ordering};
