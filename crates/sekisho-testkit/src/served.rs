use std::collections::HashMap;
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Value, json};

use crate::forge::base64url;
use crate::{Issuer, TokenBuilder, crypto};

mod fault;
pub(crate) mod server;

pub use fault::{Endpoint, Fault};
use server::{Delivery, Incoming, Reply, Server};

/// Is an [`Issuer`] behind HTTP on a free port of the loopback, which answers discovery and key set, counts, and
/// fails on demand.
///
/// Its name is its URL, `http://127.0.0.1:PORT` and the path it was given. A rotation shows at the next request.
/// It runs on the tokio runtime it was made on, and stops when dropped.
///
/// # Examples
/// ```
/// use sekisho_testkit::{Endpoint, Fault, Issuer};
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// let provider = Issuer::new().serve().await?;
/// let token = provider.token().audience("orders").sign(); // `iss` is `provider.url()`
/// provider.set_fault_on(Endpoint::KeySet, Fault::Status(500));
/// assert_eq!(provider.requests_to(Endpoint::KeySet), 0);
/// # assert_eq!(token.split('.').count(), 3);
/// # std::io::Result::Ok(()) }).unwrap();
/// ```
pub struct ServedIssuer {
    issuer: Issuer,
    server: Server,
    state: Arc<State>,
}

impl Issuer {
    /// Serves the same keys at `http://127.0.0.1:PORT`, which becomes the issuer's name there.
    ///
    /// # Errors
    /// When no port can be bound.
    pub async fn serve(&self) -> io::Result<ServedIssuer> {
        self.serve_under("").await
    }

    /// Like [`serve`](Self::serve), under a path such as `/realms/shop`, as multi-tenant providers do.
    ///
    /// # Errors
    /// When no port can be bound.
    pub async fn serve_under(&self, path: &str) -> io::Result<ServedIssuer> {
        let listener = Server::bind().await?;
        let base = format!("http://{}", listener.local_addr()?);
        let issuer = self.renamed(format!("{base}{path}"));
        // Made now, so that the first answer is not late.
        let _made = issuer.signing_key();
        let state = Arc::new(State { issuer: issuer.clone(), path: path.to_owned(), settings: Mutex::default() });
        let answering = Arc::clone(&state);
        let server = Server::start(listener, Arc::new(move |request| answering.answer(request)))?;
        Ok(ServedIssuer { issuer, server, state })
    }
}

impl ServedIssuer {
    /// Returns the issuer, named by this URL.
    #[must_use]
    pub const fn issuer(&self) -> &Issuer {
        &self.issuer
    }

    /// Returns the URL, which is the issuer identifier.
    #[must_use]
    pub fn url(&self) -> &str {
        self.issuer.url()
    }

    /// Returns the URL of the key set.
    #[must_use]
    pub fn key_set_url(&self) -> String {
        format!("{}/jwks", self.url())
    }

    /// Begins a token; shortens `issuer().token()`.
    #[must_use = "a token begins to exist with `sign`"]
    pub fn token(&self) -> TokenBuilder {
        self.issuer.token()
    }

    /// Signs with new keys from now on, and publishes both; shortens `issuer().rotate()`.
    pub fn rotate(&self) {
        self.issuer.rotate();
    }

    /// Spoils every endpoint that the fault makes sense for.
    pub fn set_fault(&self, fault: Fault) {
        let mut settings = self.state.lock();
        for endpoint in Endpoint::ALL {
            let fits = match fault {
                Fault::WrongIssuer => endpoint != Endpoint::KeySet,
                Fault::EmptySet => endpoint == Endpoint::KeySet,
                _ => true,
            };
            if fits {
                settings.faults.insert(endpoint, fault);
            }
        }
    }

    /// Spoils one endpoint.
    pub fn set_fault_on(&self, endpoint: Endpoint, fault: Fault) {
        self.state.lock().faults.insert(endpoint, fault);
    }

    /// Answers as it should again.
    pub fn clear_faults(&self) {
        self.state.lock().faults.clear();
    }

    /// Sends this `Cache-Control` with the key set; `None`, as at first, for none.
    pub fn set_cache_control(&self, value: Option<&str>) {
        self.state.lock().cache_control = value.map(str::to_owned);
    }

    /// Sends an `ETag` with the key set and answers 304 to who has it; off at first.
    pub fn set_etag(&self, on: bool) {
        self.state.lock().etag = on;
    }

    /// Lists the targets of all requests so far, path and query, in order; 100,000 at most.
    #[must_use]
    pub fn requests(&self) -> Vec<String> {
        self.state.lock().requests.iter().map(|(target, _)| target.clone()).collect()
    }

    /// Counts the requests so far to this path, query not counted.
    #[must_use]
    pub fn requests_to_path(&self, path: &str) -> usize {
        self.state.lock().requests.iter().filter(|(target, _)| target.split('?').next() == Some(path)).count()
    }

    /// Counts the requests so far to one endpoint.
    #[must_use]
    pub fn requests_to(&self, endpoint: Endpoint) -> usize {
        self.requests_to_path(&self.state.path_of(endpoint))
    }

    /// Counts the answers so far that were 304.
    #[must_use]
    pub fn not_modified(&self) -> usize {
        self.state.lock().requests.iter().filter(|(_, status)| *status == 304).count()
    }

    /// Forgets the requests so far.
    pub fn forget_requests(&self) {
        self.state.lock().requests.clear();
    }

    /// Closes the port and every connection. Callers are refused from now on.
    pub async fn stop(&self) {
        self.server.stop().await;
    }

    /// Listens again, on the same port.
    ///
    /// # Errors
    /// When another process has taken the port meanwhile.
    pub async fn restart(&self) -> io::Result<()> {
        self.server.restart().await
    }
}

impl fmt::Debug for ServedIssuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ServedIssuer({})", self.url())
    }
}

struct State {
    issuer: Issuer,
    path: String,
    settings: Mutex<Settings>,
}

#[derive(Default)]
struct Settings {
    faults: HashMap<Endpoint, Fault>,
    cache_control: Option<String>,
    etag: bool,
    requests: Vec<(String, u16)>,
}

impl State {
    fn lock(&self) -> std::sync::MutexGuard<'_, Settings> {
        self.settings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn path_of(&self, endpoint: Endpoint) -> String {
        match endpoint {
            Endpoint::OpenidConfiguration => format!("{}/.well-known/openid-configuration", self.path),
            Endpoint::OauthMetadata => format!("/.well-known/oauth-authorization-server{}", self.path),
            Endpoint::KeySet => format!("{}/jwks", self.path),
        }
    }

    fn answer(&self, request: &Incoming) -> Reply {
        let path = request.path();
        let elsewhere = path.strip_prefix("/elsewhere");
        let wanted = elsewhere.unwrap_or(path);
        let endpoint = Endpoint::ALL.into_iter().find(|e| self.path_of(*e) == wanted);
        let reply = match endpoint {
            None => Reply::new(404, "text/plain", "no such document"),
            Some(endpoint) => {
                let fault = self.lock().faults.get(&endpoint).copied().filter(|_| elsewhere.is_none());
                self.reply(request, endpoint, fault)
            }
        };
        let mut settings = self.lock();
        if settings.requests.len() < MAX_RECORDED {
            settings.requests.push((request.target.clone(), reply.status));
        }
        reply
    }

    fn reply(&self, request: &Incoming, endpoint: Endpoint, fault: Option<Fault>) -> Reply {
        let mut reply = match endpoint {
            Endpoint::KeySet => self.key_set(request, fault == Some(Fault::EmptySet)),
            _ => Reply::new(200, "application/json", self.metadata(fault == Some(Fault::WrongIssuer)).to_string()),
        };
        match fault {
            None | Some(Fault::WrongIssuer | Fault::EmptySet) => {}
            Some(Fault::Slow(wait)) => reply.delivery = Delivery::After(wait),
            Some(Fault::Status(status)) => return Reply::new(status, "text/plain", "told to fail"),
            Some(Fault::Html) => return Reply::new(200, "text/html", "<!doctype html><title>Sign in</title>"),
            Some(Fault::Huge) => reply.delivery = Delivery::Padded(HUGE),
            Some(Fault::Redirect) => {
                let target = format!("/elsewhere{}", self.path_of(endpoint));
                return Reply::new(302, "text/plain", "").with_header("Location", target);
            }
            Some(Fault::Truncated) => reply.delivery = Delivery::Half,
            Some(Fault::Garbage) => return Reply::new(200, "application/json", b"\xff\xfe{\"keys\":[{]}".to_vec()),
            Some(Fault::Hang) => reply.delivery = Delivery::Never,
        }
        reply
    }

    fn key_set(&self, request: &Incoming, empty: bool) -> Reply {
        let body = if empty { r#"{"keys":[]}"#.to_owned() } else { self.issuer.key_set() };
        let (cache_control, etag) = {
            let settings = self.lock();
            (settings.cache_control.clone(), settings.etag.then(|| entity_tag(&body)))
        };
        let known = etag.is_some() && request.header("if-none-match") == etag.as_deref();
        let mut reply = if known {
            Reply { status: 304, headers: Vec::new(), body: Vec::new(), delivery: Delivery::Whole }
        } else {
            Reply::new(200, "application/json", body)
        };
        if let Some(etag) = etag {
            reply = reply.with_header("ETag", etag);
        }
        if let Some(value) = cache_control {
            reply = reply.with_header("Cache-Control", value);
        }
        reply
    }

    fn metadata(&self, wrong_issuer: bool) -> Value {
        let url = self.issuer.url();
        let name = if wrong_issuer { format!("{url}/other") } else { url.to_owned() };
        json!({
            "issuer": name,
            "jwks_uri": format!("{url}/jwks"),
            "authorization_endpoint": format!("{url}/authorize"),
            "token_endpoint": format!("{url}/token"),
            "response_types_supported": ["code"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": [self.issuer.algorithm().name()],
        })
    }
}

fn entity_tag(body: &str) -> String {
    format!("\"{}\"", base64url(crypto::sha256(body.as_bytes())))
}

const HUGE: usize = 50_000_000;
const MAX_RECORDED: usize = 100_000;

#[cfg(test)]
mod tests;
