//! Any text as a token: it is refused, the explanation agrees and is one line a step.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sekisho_core::{Authenticate, Credential};
use sekisho_fuzz::{FIXTURE, NOW};

fuzz_target!(|text: &str| {
    let verifier = &FIXTURE.verifier;
    let _looks_like_one = verifier.recognizes(Credential::bearer(text));
    let Some(answer) = verifier.verify_now(text, NOW) else { panic!("static keys need no fetch") };
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let trace = runtime.block_on(verifier.explain(text, NOW));
    assert_eq!(answer.is_ok(), trace.result().is_ok());
    assert_eq!(trace.to_string().lines().count(), trace.steps().len() + 1);
    assert!(trace.to_string().chars().all(|c| c == '\n' || c == '…' || c == '`' || (!c.is_control() && c.is_ascii())));
});
