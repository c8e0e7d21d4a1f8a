//! OPA: policies and data are put into it over HTTP.

use std::path::PathBuf;

use serde_json::Value;

use crate::decision_process::{Process, Recipe};
use crate::gateway_process::free_port;
use crate::setup;

/// A running OPA: the one that all tests share, or one of the test's own.
pub(crate) struct Opa {
    url: String,
    http: reqwest::Client,
    process: Option<Process>,
}

impl Opa {
    /// Returns the shared server, whose policies and data other tests put there too: use identifiers and packages of your
    /// own. `None`, after a line that says so, when there is none.
    pub(crate) fn reach(test: &str) -> Option<Self> {
        Some(Self { url: setup::variable("SEKISHO_OPA_URL", test)?, http: setup::http(), process: None })
    }

    /// Starts an empty server for this test alone, which ends with it; `None` likewise.
    pub(crate) async fn private(test: &str) -> Option<Self> {
        Self::private_with(test, &[]).await
    }

    /// As [`private`](Self::private), with more arguments for `opa run`.
    pub(crate) async fn private_with(test: &str, arguments: &[&str]) -> Option<Self> {
        let program = PathBuf::from(setup::variable("SEKISHO_OPA", test)?);
        let address = format!("127.0.0.1:{}", free_port());
        let own = ["run", "--server", "--log-level=error", "--skip-version-check"];
        let mut arguments: Vec<String> = own.iter().chain(arguments).map(|&word| word.to_owned()).collect();
        arguments.push(format!("--addr={address}"));
        let (name, url) = (format!("opa--{}", test.replace(' ', "-")), format!("http://{address}"));
        let recipe = Recipe { name, program, arguments, address, ready_path: "/health" };
        Some(Self { url, http: setup::http(), process: Some(Process::start(recipe).await) })
    }

    /// Returns `http://127.0.0.1:PORT`.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Takes hold of a private server's process. A killed OPA forgets policies and data.
    pub(crate) fn process(&mut self) -> &mut Process {
        self.process.as_mut().expect("a private server")
    }

    /// Puts a module of Rego there, in place of one with the same `id`.
    pub(crate) async fn put_policy(&self, id: &str, rego: &str) {
        let request = self.http.put(format!("{}/v1/policies/{id}", self.url)).body(rego.to_owned());
        self.must(request).await;
    }

    pub(crate) async fn delete_policy(&self, id: &str) {
        self.must(self.http.delete(format!("{}/v1/policies/{id}", self.url))).await;
    }

    /// Puts a document at `path`, with slashes and without one at its begin.
    pub(crate) async fn put_data(&self, path: &str, document: &Value) {
        self.must(self.http.put(format!("{}/v1/data/{path}", self.url)).json(document)).await;
    }

    /// Asks for the document at `path` and returns the whole answer.
    pub(crate) async fn ask(&self, path: &str, input: &Value) -> Value {
        let question = serde_json::json!({ "input": input });
        let request = self.http.post(format!("{}/v1/data/{path}", self.url)).json(&question);
        serde_json::from_str(&self.must(request).await).expect("JSON")
    }

    async fn must(&self, request: reqwest::RequestBuilder) -> String {
        let answer = request.send().await.expect("OPA answers");
        let status = answer.status();
        let body = answer.text().await.expect("a body");
        assert!(status.is_success(), "{status} {body}");
        body
    }
}
