//! A part of the drills in a process of its own, so that it can be killed: `sekisho-drill-part issuer` or `gateway`, by what
//! stands in `part.json` of the working folder.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "it is a part of tests")]

mod gateway;
mod issuer;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let settings = std::fs::read("part.json").expect("the settings");
    match std::env::args().nth(1).as_deref() {
        Some("issuer") => issuer::serve(serde_json::from_slice(&settings).expect("an issuer's settings")).await,
        Some("gateway") => gateway::serve(serde_json::from_slice(&settings).expect("a gateway's settings")).await,
        other => panic!("{other:?} is no part"),
    }
}
