//! A real OPA of our own on loopback, and `reqwest` before it as a service would use it.

use std::time::Duration;

use reqwest::header::CONTENT_TYPE;
use sekisho_benches::decisions::{Facts, REGO, input};
use sekisho_benches::process::{Program, find, free_port};
use serde::Deserialize;

/// Ends with the bench.
pub(crate) struct Opa {
    program: Program,
}

impl Opa {
    /// Starts the OPA that `SEKISHO_OPA` names, that is installed, or that `cargo xtask servers` has built.
    pub(crate) fn start() -> Option<Self> {
        let program = find("SEKISHO_OPA", "opa", &["opa-1.22.3/opa"])?;
        let port = free_port();
        let address = format!("127.0.0.1:{port}");
        let arguments =
            ["run", "--server", "--log-level=error", "--skip-version-check", "--addr", &address, "shop.rego"];
        Some(Self { program: Program::start(&program, &[("shop.rego", REGO)], &arguments, port) })
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.program.port)
    }
}

/// Asks by `reqwest` alone, on one connection that is kept.
pub(crate) struct Bare {
    client: reqwest::Client,
    url: String,
}

#[derive(Deserialize)]
struct Answer {
    result: bool,
}

impl Bare {
    pub(crate) fn new(opa: &Opa) -> Self {
        let client = reqwest::Client::builder().timeout(Duration::from_secs(1)).build().unwrap();
        Self { client, url: format!("{}/v1/data/shop/decision", opa.url()) }
    }

    pub(crate) async fn decide(&self, facts: &Facts) -> bool {
        let body = serde_json::json!({ "input": input(facts) }).to_string();
        let request = self.client.post(&self.url).header(CONTENT_TYPE, "application/json").body(body);
        let answer = request.send().await.unwrap().error_for_status().unwrap().bytes().await.unwrap();
        serde_json::from_slice::<Answer>(&answer).unwrap().result
    }
}
