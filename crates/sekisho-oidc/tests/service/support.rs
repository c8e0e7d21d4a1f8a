//! A token endpoint that answers as it is told, and callers.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Waker};
use std::time::Duration;

use async_trait::async_trait;
use sekisho_core::{Authenticate as _, Credential, Principal, UnixSeconds};
use sekisho_http::{HttpClient, HttpError, HttpLimits, HttpRequest, HttpResponse};
use sekisho_jwt::Jwt;
use sekisho_oidc::{ClientCredentials, ServiceTokens, ServiceTokensBuilder};
use sekisho_testkit::{FixedClock, Issuer};
use serde_json::{Value, json};
use tokio::sync::Semaphore;

pub(crate) const URL: &str = "https://id.example/token";
pub(crate) const NOW: UnixSeconds = UnixSeconds::new(1_800_000_000);
pub(crate) const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";

pub(crate) fn at(seconds: u64) -> UnixSeconds {
    NOW.saturating_add(Duration::from_secs(seconds))
}

pub(crate) type Form = HashMap<String, Vec<String>>;
type Answer = Box<dyn Fn(usize, &Form) -> Option<(u16, Value)> + Send + Sync>;

/// Is a token endpoint. Its tokens are `at-1`, `at-2` and so on.
pub(crate) struct Endpoint {
    answer: Mutex<Answer>,
    asked: Mutex<Vec<Form>>,
    proofs: Mutex<Vec<Option<String>>>,
    gate: Semaphore,
}

impl std::fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Endpoint")
    }
}

impl Endpoint {
    /// Answers each question, by its number from 1 on; `None` breaks the connection.
    pub(crate) fn new(answer: impl Fn(usize, &Form) -> Option<(u16, Value)> + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self {
            answer: Mutex::new(Box::new(answer)),
            asked: Mutex::default(),
            proofs: Mutex::default(),
            gate: Semaphore::new(Semaphore::MAX_PERMITS),
        })
    }

    /// Gives tokens that live so many seconds.
    pub(crate) fn living(seconds: u64) -> Arc<Self> {
        Self::new(move |number, _| Some((200, good(number, seconds))))
    }

    pub(crate) fn then(&self, answer: impl Fn(usize, &Form) -> Option<(u16, Value)> + Send + Sync + 'static) {
        *self.answer.lock().unwrap() = Box::new(answer);
    }

    /// Lets no answer out until it is opened.
    pub(crate) fn close(&self) {
        self.gate.forget_permits(Semaphore::MAX_PERMITS);
    }

    pub(crate) fn open(&self) {
        self.gate.add_permits(1000);
    }

    pub(crate) fn count(&self) -> usize {
        self.asked.lock().unwrap().len()
    }

    pub(crate) fn form(&self, index: usize) -> Form {
        self.asked.lock().unwrap()[index].clone()
    }

    pub(crate) fn proof(&self, index: usize) -> Option<String> {
        self.proofs.lock().unwrap()[index].clone()
    }
}

#[async_trait]
impl HttpClient for Endpoint {
    async fn send(&self, request: HttpRequest, _: HttpLimits) -> Result<HttpResponse, HttpError> {
        let mut form = Form::new();
        for (name, value) in url::form_urlencoded::parse(&request.body).into_owned() {
            form.entry(name).or_default().push(value);
        }
        let proof = request.headers.iter().find(|(name, _)| *name == "dpop").map(|(_, value)| value.clone());
        self.proofs.lock().unwrap().push(proof);
        let number = {
            let mut asked = self.asked.lock().unwrap();
            asked.push(form.clone());
            asked.len()
        };
        self.gate.acquire().await.unwrap().forget();
        let answer = (*self.answer.lock().unwrap())(number, &form);
        let (status, body) = answer.ok_or_else(|| HttpError::Broken("by the script".into()))?;
        Ok(HttpResponse { status, headers: Vec::new(), body: body.to_string().into_bytes() })
    }
}

/// Polls once.
pub(crate) fn is_pending(future: &mut (impl Future + Unpin)) -> bool {
    Pin::new(future).poll(&mut Context::from_waker(Waker::noop())).is_pending()
}

pub(crate) fn good(number: usize, seconds: u64) -> Value {
    json!({
        "access_token": format!("at-{number}"),
        "token_type": "Bearer",
        "expires_in": seconds,
        "issued_token_type": ACCESS_TOKEN,
    })
}

pub(crate) fn refuse(code: &str) -> Option<(u16, Value)> {
    Some((400, json!({ "error": code, "error_description": "top-secret" })))
}

pub(crate) fn builder(endpoint: &Arc<Endpoint>) -> ServiceTokensBuilder {
    let credentials = ClientCredentials::basic("orders", "hunter2");
    ServiceTokens::at(URL, "https://id.example", credentials).with_http_client(Arc::clone(endpoint) as _)
}

pub(crate) fn tokens(endpoint: &Arc<Endpoint>) -> ServiceTokens {
    builder(endpoint).build().unwrap()
}

/// Makes a caller whose token lives so many seconds, in the session `sid`.
pub(crate) fn caller(subject: &str, seconds: u64) -> (Principal, String) {
    let issuer = Issuer::new().with_clock(FixedClock::at(NOW));
    let verifier = Jwt::issuer(issuer.url()).audience("orders").with_keys(issuer.static_keys()).build().unwrap();
    let token = issuer.token().subject(subject).audience("orders").claim("sid", format!("s-{subject}"));
    let token = token.expires_in(Duration::from_secs(seconds)).sign();
    let principal = verifier.authenticate_now(Credential::bearer(&token), NOW).unwrap().unwrap();
    (principal, token)
}
