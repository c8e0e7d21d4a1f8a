//! Prints what one password hash costs on this machine, by memory and passes: one thread, the fastest and the median of
//! 15.
//!
//! Run it with optimization: `cargo run --release -p sekisho-credentials --example hash_cost`.
#![allow(clippy::print_stdout, reason = "it prints")]

use std::time::Instant;

use sekisho_core::Secret;
use sekisho_credentials::{HashPolicy, PasswordHasher, PasswordPolicy, Username};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let password =
        PasswordPolicy::default().check_new(&Secret::from("correct horse battery"), &Username::parse("alice")?)?;
    println!("memory KiB  passes  lanes  fastest ms  median ms");
    for (memory_kib, passes, lanes) in
        [(7_168, 5, 1), (9_216, 4, 1), (12_288, 3, 1), (19_456, 2, 1), (47_104, 1, 1), (65_536, 3, 1), (65_536, 3, 4)]
    {
        let hasher = PasswordHasher::new(HashPolicy::new(memory_kib, passes, lanes)?)?;
        let mut times = Vec::new();
        for _ in 0..15 {
            let start = Instant::now();
            std::hint::black_box(hasher.hash(&password).await?);
            times.push(start.elapsed());
        }
        times.sort_unstable();
        let ms = |at: usize| times.get(at).map_or(0.0, |time| time.as_secs_f64() * 1000.0);
        println!("{memory_kib:>10}  {passes:>6}  {lanes:>5}  {:>10.1}  {:>9.1}", ms(0), ms(7));
    }
    Ok(())
}
