//! What the benches share: the measured token, its keys, interleaved rounds, a counting allocator, tables.

use std::alloc::System;
use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

pub mod claims;
pub mod decisions;
pub mod keys;
pub mod load;
pub mod measure;
pub mod process;
pub mod provider;
pub mod report;

/// Counts the allocations of binaries that make it their global allocator.
pub static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Encodes as JOSE wants it.
pub fn base64url(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Decodes what [`base64url`] wrote.
pub fn from_base64url(text: &str) -> Vec<u8> {
    URL_SAFE_NO_PAD.decode(text).unwrap()
}

/// Runs a future that never waits.
///
/// # Panics
/// When it does.
pub fn ready<F: Future>(future: F) -> F::Output {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("the future wanted to wait"),
    }
}
