//! OpenFGA: a test makes a store with a model and relations over HTTP.

use std::path::PathBuf;

use serde_json::{Value, json};

use crate::decision_process::{Process, Recipe};
use crate::gateway_process::free_port;
use crate::setup;

/// A running OpenFGA: the one that all tests share, or one of the test's own.
pub(crate) struct OpenFga {
    url: String,
    http: reqwest::Client,
    process: Option<Process>,
}

/// A store, which no other test knows, with its newest model.
pub(crate) struct Store {
    /// In the path of each request: `/stores/ID/check`.
    pub(crate) id: String,
    pub(crate) model_id: String,
}

impl OpenFga {
    /// Returns the shared server; `None`, after a line that says so, when there is none.
    pub(crate) fn reach(test: &str) -> Option<Self> {
        Some(Self { url: setup::variable("SEKISHO_OPENFGA_URL", test)?, http: setup::http(), process: None })
    }

    /// Starts a server without stores for this test alone, which ends with it; `None` likewise.
    pub(crate) async fn private(test: &str) -> Option<Self> {
        Self::private_with(test, &[]).await
    }

    /// As [`private`](Self::private), with more arguments for `openfga run`.
    pub(crate) async fn private_with(test: &str, arguments: &[&str]) -> Option<Self> {
        let program = PathBuf::from(setup::variable("SEKISHO_OPENFGA", test)?);
        let (address, grpc) = (format!("127.0.0.1:{}", free_port()), format!("127.0.0.1:{}", free_port()));
        let url = format!("http://{address}");
        let own = [
            "run",
            "--datastore-engine=memory",
            "--log-level=error",
            "--playground-enabled=false",
            "--metrics-enabled=false",
            "--experimentals=authzen",
        ];
        let mut arguments: Vec<String> = own.iter().chain(arguments).map(|&word| word.to_owned()).collect();
        arguments.push(format!("--authzen-base-url={url}"));
        arguments.push(format!("--http-addr={address}"));
        arguments.push(format!("--grpc-addr={grpc}"));
        let name = format!("openfga--{}", test.replace(' ', "-"));
        let recipe = Recipe { name, program, arguments, address, ready_path: "/healthz" };
        Some(Self { url, http: setup::http(), process: Some(Process::start(recipe).await) })
    }

    /// Returns `http://127.0.0.1:PORT`.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Takes hold of a private server's process. A killed OpenFGA forgets its stores.
    pub(crate) fn process(&mut self) -> &mut Process {
        self.process.as_mut().expect("a private server")
    }

    /// Makes a store with an authorization model, in its JSON form.
    pub(crate) async fn create_store(&self, name: &str, model: &Value) -> Store {
        let id = text(&self.post("stores", &json!({ "name": name })).await, "id");
        let mut store = Store { id, model_id: String::new() };
        self.write_model(&mut store, model).await;
        store
    }

    /// Gives the store a newer model.
    pub(crate) async fn write_model(&self, store: &mut Store, model: &Value) {
        let answer = self.post(&format!("stores/{}/authorization-models", store.id), model).await;
        store.model_id = text(&answer, "authorization_model_id");
    }

    /// Writes relations, each `(user, relation, object)`, as in `("user:alice", "reader", "document:plan")`.
    pub(crate) async fn write(&self, store: &Store, relations: &[(&str, &str, &str)]) {
        self.change(store, "writes", relations).await;
    }

    /// Deletes relations, which must be there.
    pub(crate) async fn delete(&self, store: &Store, relations: &[(&str, &str, &str)]) {
        self.change(store, "deletes", relations).await;
    }

    async fn change(&self, store: &Store, member: &str, relations: &[(&str, &str, &str)]) {
        let key = |(user, relation, object): &(&str, &str, &str)| json!({ "user": user, "relation": relation, "object": object });
        let keys: Vec<Value> = relations.iter().map(key).collect();
        let body = json!({ "authorization_model_id": store.model_id, member: { "tuple_keys": keys } });
        self.post(&format!("stores/{}/write", store.id), &body).await;
    }

    /// Posts to `path`, without a slash at its begin, and returns the answer, which must be a success.
    pub(crate) async fn post(&self, path: &str, body: &Value) -> Value {
        let answer = self.http.post(format!("{}/{path}", self.url)).json(body).send().await.expect("OpenFGA answers");
        let status = answer.status();
        let body = answer.text().await.expect("a body");
        assert!(status.is_success(), "{path}: {status} {body}");
        serde_json::from_str(&body).expect("JSON")
    }
}

fn text(object: &Value, member: &str) -> String {
    object[member].as_str().unwrap_or_else(|| panic!("no {member} in {object}")).to_owned()
}
