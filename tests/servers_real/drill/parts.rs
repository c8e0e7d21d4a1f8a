//! The processes of a drill.

use std::fs;
use std::path::{Path, PathBuf};

use sekisho_core::Secret;
use sekisho_issuer::{ClientSecret, MasterKey};
use serde_json::{Value, json};

use crate::gateway_process::{Proxy, free_port};
use crate::setup;

const PROGRAM: &str = env!("CARGO_BIN_EXE_sekisho-drill-part");

/// By what gateways learn what was revoked, and how late that may be.
pub(super) enum Feed {
    /// The issuer is asked for what is new.
    Polling { interval_s: u64, timeout_s: u64 },
    /// Redis tells what is new.
    Redis { url: String, prefix: String },
}

impl Feed {
    pub(super) const fn name(&self) -> &'static str {
        match self {
            Self::Polling { .. } => "polling",
            Self::Redis { .. } => "Redis",
        }
    }

    /// What the issuer has to know.
    fn redis(&self) -> Value {
        match self {
            Self::Polling { .. } => Value::Null,
            Self::Redis { url, prefix } => json!({ "url": url, "prefix": prefix }),
        }
    }

    fn settings(&self, issuer: &Issuer) -> Value {
        match self {
            Self::Redis { url, prefix } => json!({ "kind": "redis", "url": url, "prefix": prefix }),
            Self::Polling { interval_s, timeout_s } => json!({
                "kind": "polling",
                "url": format!("{}/withdrawals", issuer.url),
                "interval_s": interval_s,
                "timeout_s": timeout_s,
            }),
        }
    }
}

/// Our issuer, which can be killed and comes back on the same port with the same database.
pub(super) struct Issuer {
    pub(super) url: String,
    pub(super) secret: String,
    name: String,
    settings: String,
    state: PathBuf,
    process: Option<Proxy>,
}

impl Issuer {
    /// `drill` names the logs.
    pub(super) async fn start(drill: &str, feed: &Feed, introspection_max_age_s: u64) -> Self {
        let port = free_port();
        let folder = format!("drill-{}-{drill}", std::process::id());
        let state = Path::new(env!("CARGO_TARGET_TMPDIR")).join(folder);
        fs::create_dir_all(&state).expect("a folder for what outlives the process");
        let (secret, _) = ClientSecret::generate().expect("a secret");
        let text = |secret: &Secret| secret.expose_str().expect("ASCII").to_owned();
        let secret = text(&secret);
        let settings = json!({
            "port": port,
            "state": state,
            "master_key": text(&MasterKey::generate().expect("a key").to_text()),
            "secret": secret,
            "introspection_max_age_s": introspection_max_age_s,
            "redis": feed.redis(),
        });
        let url = format!("http://127.0.0.1:{port}");
        let name = format!("issuer--{drill}");
        let mut issuer = Self { url, secret, name, settings: settings.to_string(), state, process: None };
        issuer.start_again().await;
        issuer
    }

    /// Kills it, as a power cut would.
    pub(super) fn kill(&mut self) {
        drop(self.process.take().expect("it runs"));
    }

    /// Starts it and waits until it answers.
    pub(super) async fn start_again(&mut self) {
        let files = [("part.json", &*self.settings)];
        let ready = format!("{}/ready", self.url);
        self.process = Some(Proxy::start(&self.name, PROGRAM, &files, &["issuer"], &ready).await);
    }

    /// Returns what a client gets for itself; `warehouse` gets reference tokens, `worker` gets JWTs.
    pub(super) async fn client_token(&self, client: &str) -> String {
        let form = [("grant_type", "client_credentials"), ("scope", "orders:read")];
        let answer = self.post("/token", Some(client), &form).await;
        answer["access_token"].as_str().expect("an access token").to_owned()
    }

    /// Revokes a token by the endpoint ([RFC 7009](https://www.rfc-editor.org/rfc/rfc7009)).
    pub(super) async fn revoke(&self, client: &str, token: &str) {
        self.post("/revoke", Some(client), &[("token", token)]).await;
    }

    /// Revokes a refresh token of the shop, which has no secret, and with it all that came of the login.
    pub(super) async fn revoke_of_shop(&self, token: &str) {
        self.post("/revoke", None, &[("client_id", "shop"), ("token", token)]).await;
    }

    /// Takes everything from a user, as an operator would.
    pub(super) async fn bar(&self, subject: &str) {
        self.post(&format!("/drill/bar?subject={subject}"), None, &[]).await;
    }

    /// Posts a form, as a client if one is named; returns what is in the answer, which must be a success.
    pub(super) async fn post(&self, path: &str, client: Option<&str>, form: &[(&str, &str)]) -> Value {
        let mut request = setup::http().post(format!("{}{path}", self.url)).form(form);
        if let Some(client) = client {
            request = request.basic_auth(client, Some(&self.secret));
        }
        let answer = request.send().await.expect("an answer");
        let (status, body) = (answer.status(), answer.text().await.expect("a body"));
        assert!(status.is_success(), "{path}: {status} {body}");
        serde_json::from_str(&body).unwrap_or_default()
    }
}

impl Drop for Issuer {
    fn drop(&mut self) {
        drop(self.process.take());
        let _ = fs::remove_dir_all(&self.state);
    }
}

/// Our gateway.
pub(super) struct Gateway {
    /// Where revocation is looked up.
    pub(super) url: String,
    /// Where it is not.
    pub(super) plain_url: String,
    _process: Proxy,
}

impl Gateway {
    pub(super) async fn start(name: &str, issuer: &Issuer, feed: &Feed, cache_s: u64, staleness_s: u64) -> Self {
        let (port, plain_port) = (free_port(), free_port());
        let settings = json!({
            "port": port,
            "plain_port": plain_port,
            "issuer": issuer.url,
            "secret": issuer.secret,
            "cache_s": cache_s,
            "feed": feed.settings(issuer),
            "staleness_s": staleness_s,
        })
        .to_string();
        let [url, plain_url] = [port, plain_port].map(|port| format!("http://127.0.0.1:{port}"));
        let files = [("part.json", &*settings)];
        let ready = format!("{plain_url}/ready");
        let process = Proxy::start(&format!("gateway--{name}"), PROGRAM, &files, &["gateway"], &ready).await;
        Self { url, plain_url, _process: process }
    }
}
