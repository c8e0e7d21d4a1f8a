use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use sekisho_core::{ConfigError, Principal};
use sekisho_http::RequestHead;
use sekisho_session::{CsrfRules, Forgery, RequestSession, ReturnTo};
use serde_json::{Map, Value, json};

use crate::provider::{LoginRequest, Prompt};
use crate::session::form::{Form, Repeated};
use crate::session::login::{broken, refuse};
use crate::session::logout::{Hint, LogoutScope};
use crate::session::party::RelyingParty;
use crate::session::reply::Reply;

/// Is a backend for a frontend that runs in browsers ([RFC 10017](https://www.rfc-editor.org/rfc/rfc10017)): the frontend never
/// sees a token, it has a cookie.
///
/// | address | method | does |
/// |---|---|---|
/// | `/bff/login` | `GET` | begins a login; `return_to`, `provider`, `prompt` (`none`, `login`, `consent`, `select_account`), `acr_values`, `max_age` |
/// | `/bff/callback` | `GET` | the redirect URI to register; `/bff/callback/NAME` for the provider of this name, where there are several |
/// | `/bff/initiate` | `GET`, `POST` | begins a login that a third party asked for: `iss`, `target_link_uri`, `login_hint` |
/// | `/bff/user` | `GET` | tells who is logged in, as JSON; with `poll=1` without keeping the session alive; 401 for nobody |
/// | `/bff/logout` | `POST` | ends the session here and at the provider; `scope=everywhere` in the form for all of the user's |
/// | `/bff/backchannel` | `POST` | the back-channel logout URI to register |
///
/// `/bff/user` and whatever else scripts call need the header `X-CSRF`, with any value, whatever the method; the logout is
/// checked by [`CsrfRules`], so a plain form can send it. No call is answered with a redirect: a script that calls the logout gets
/// `{"location": …}` to go to. That address has no `id_token_hint`, for the ID token is none of a script's business, so the provider may
/// ask the user whether she wants to log out; after a form's logout it need not.
///
/// It needs no layer of sessions around it: it begins and finishes each request's session by itself. A clone costs a counter.
///
/// # Examples
/// ```
/// # use std::sync::Arc;
/// # use sekisho_oidc::{Bff, ClientCredentials, Provider, RelyingParty};
/// # use sekisho_session::{MemorySessionStore, SessionKey, SessionKeys, Sessions};
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// # let provider = Provider::discover("https://id.example", ClientCredentials::basic("shop", "secret"))
/// #     .redirect_uri("https://shop.example/bff/callback").build()?;
/// # let keys = SessionKeys::new(SessionKey::generate()?);
/// # let sessions = Sessions::builder(Arc::new(MemorySessionStore::new()), keys.clone()).build()?;
/// # let party = RelyingParty::builder(sessions, keys).with_provider("shop", provider).build()?;
/// use sekisho_http::HeadParts;
/// let bff = Bff::builder(party).with_user_claims(["sub", "name"]).build()?;
/// let head = HeadParts { method: "GET", path: "/bff/user", headers: &[("x-csrf", b"1")] };
/// assert_eq!(bff.handle(&head, None, b"").await.status(), 401);
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
#[derive(Clone)]
pub struct Bff(Arc<Inner>);

struct Inner {
    party: RelyingParty,
    base: Box<str>,
    csrf: CsrfRules,
    claims: Vec<Box<str>>,
}

impl Bff {
    /// The longest body of a request that any of the addresses reads, in bytes; adapters refuse longer ones with 413.
    pub const MAX_BODY: usize = 16 * 1024;

    /// Starts from a relying party.
    pub fn builder(party: RelyingParty) -> BffBuilder {
        let claims = ["sub", "name", "preferred_username", "email", "picture"];
        BffBuilder {
            party,
            base: "/bff".to_owned(),
            csrf: CsrfRules::new(),
            claims: claims.map(str::to_owned).to_vec(),
        }
    }

    /// Returns the relying party.
    #[must_use]
    pub fn party(&self) -> &RelyingParty {
        &self.0.party
    }

    /// Returns the path that all addresses are below, such as `/bff`.
    #[must_use]
    pub fn base(&self) -> &str {
        &self.0.base
    }

    /// Returns the rules by which requests are refused as forged.
    #[must_use]
    pub fn csrf(&self) -> &CsrfRules {
        &self.0.csrf
    }

    /// Answers a request; 404 and 405 for what is not in the table. `query` stands without its `?`, `body` is whole.
    pub async fn handle(&self, head: &impl RequestHead, query: Option<&str>, body: &[u8]) -> Reply {
        let Inner { party, base, .. } = &*self.0;
        let name = head.whole_path().strip_prefix(&**base).and_then(|rest| rest.strip_prefix('/'));
        let query = query.unwrap_or_default();
        if body.len() > Self::MAX_BODY {
            return refuse(head, 413, "Content Too Large", "The request is too long.");
        }
        let name = match name.unwrap_or_default().split_once('/') {
            Some(("callback", provider)) if party.provider(provider).is_some() => "callback",
            _ => name.unwrap_or_default(),
        };
        match (name, head.method()) {
            ("login", "GET") => self.login(head, query).await,
            ("callback", "GET") => {
                let session = party.sessions().begin(head);
                let reply = party.callback(head, query, &session).await;
                written(head, &session, reply).await
            }
            ("initiate", "GET") => self.initiate(head, query.as_bytes()).await,
            ("initiate", "POST") => self.initiate(head, body).await,
            ("user", "GET") => self.user(head, query).await,
            ("logout", "POST") => self.logout(head, body).await,
            ("backchannel", "POST") => party.backchannel_logout(body).await,
            ("login" | "callback" | "user", _) => not_allowed(head, "GET"),
            ("logout" | "backchannel", _) => not_allowed(head, "POST"),
            ("initiate", _) => not_allowed(head, "GET, POST"),
            _ => refuse(head, 404, "Not Found", "There is nothing here."),
        }
    }

    async fn login(&self, head: &impl RequestHead, query: &str) -> Reply {
        let Some(asked) = Form::parse(query.as_bytes()).and_then(|form| Asked::read(&form).ok().flatten()) else {
            return refuse(head, 400, "Bad Request", "The login cannot be begun like this.");
        };
        let Asked { provider, return_to, request } = asked;
        self.0.party.login(head, provider.as_deref(), return_to.as_deref(), &request).await
    }

    async fn initiate(&self, head: &impl RequestHead, form: &[u8]) -> Reply {
        let read = |form: &Form<'_>| {
            let (target, hint) = (form.one("target_link_uri")?, form.one("login_hint")?);
            Ok::<_, Repeated>(form.one("iss")?.map(|iss| (iss.to_owned(), owned(target), owned(hint))))
        };
        let found = Form::parse(form).and_then(|form| read(&form).ok().flatten());
        match found {
            Some((issuer, target, hint)) if hint.as_deref().is_none_or(is_hint) => {
                self.0.party.login_by_third_party(head, &issuer, target.as_deref(), hint.as_deref()).await
            }
            _ => refuse(head, 400, "Bad Request", "The login cannot be begun like this."),
        }
    }

    async fn user(&self, head: &impl RequestHead, query: &str) -> Reply {
        let Inner { party, base, csrf, claims } = &*self.0;
        let session = party.sessions().begin(head);
        if let Err(forgery) = csrf.check_call(head, session.has_cookie()) {
            return Reply::of(&forgery.answer());
        }
        let form = Form::parse(query.as_bytes());
        let is_poll = form.is_some_and(|form| matches!(form.one("poll"), Ok(Some("1"))));
        let loaded = if is_poll { session.load_quietly(None).await } else { session.load(None).await };
        if let Err(refusal) = loaded {
            return Reply::of(&RequestSession::answer(&refusal));
        }
        let principal = match session.principal() {
            Ok(Some(principal)) => principal,
            Ok(None) => return refuse(head, 401, "Unauthorized", "Please sign in."),
            Err(failure) => return broken(head, &failure),
        };
        let expires_in = principal.expires_in(party.now()).map(|left| left.as_secs());
        let body = json!({
            "claims": shown(&principal, claims),
            "logout_url": format!("{base}/logout"),
            "expires_in": expires_in,
        });
        Reply::json(200, &body)
    }

    async fn logout(&self, head: &impl RequestHead, body: &[u8]) -> Reply {
        let Inner { party, csrf, .. } = &*self.0;
        let session = party.sessions().begin(head);
        if let Err(forgery) = csrf.check(head, session.has_cookie()) {
            return Reply::of(&forgery.answer());
        }
        let scope = match Form::parse(body).map(|form| form.one("scope").map(owned)) {
            Some(Ok(None)) => LogoutScope::Here,
            Some(Ok(Some(scope))) if scope == "everywhere" => LogoutScope::Everywhere,
            _ => return refuse(head, 400, "Bad Request", "The logout cannot be done like this."),
        };
        let is_call = csrf.check_call(head, session.has_cookie()) != Err(Forgery::NoHeader);
        let hint = if is_call { Hint::Nothing } else { Hint::IdToken };
        let reply = match party.log_out(&session, scope, hint).await {
            Ok(location) if is_call => Reply::json(200, &json!({ "location": location })),
            Ok(location) => Reply::redirect(location),
            Err(failure) => return broken(head, &failure),
        };
        written(head, &session, reply).await
    }
}

/// Finishes a request's session, and adds its cookies to the answer.
async fn written(head: &impl RequestHead, session: &RequestSession, reply: Reply) -> Reply {
    match session.finish().await {
        Ok(cookies) => reply.with_cookies(cookies),
        // Whatever the answer said was done is not.
        Err(failure) => broken(head, &failure),
    }
}

fn not_allowed(head: &impl RequestHead, allowed: &'static str) -> Reply {
    refuse(head, 405, "Method Not Allowed", "This is not done with that method.").with("allow", allowed)
}

fn shown(principal: &Principal, allowed: &[Box<str>]) -> Map<String, Value> {
    let read = |name: &str| {
        let value = principal.claims().get(name)?.deserialize().ok()?;
        Some((name.to_owned(), value))
    };
    allowed.iter().filter_map(|name| read(name)).collect()
}

/// Is what a query of `/bff/login` asks for.
struct Asked {
    provider: Option<String>,
    return_to: Option<String>,
    request: LoginRequest,
}

impl Asked {
    /// Reads a query; `Ok(None)` for values that no login is asked for with.
    fn read(form: &Form<'_>) -> Result<Option<Self>, Repeated> {
        let mut request = LoginRequest::new();
        if let Some(prompt) = form.one("prompt")? {
            let prompt = match prompt {
                "none" => Prompt::None,
                "login" => Prompt::Login,
                "consent" => Prompt::Consent,
                "select_account" => Prompt::SelectAccount,
                _ => return Ok(None),
            };
            request = request.with_prompt(prompt);
        }
        if let Some(values) = form.one("acr_values")? {
            let values: Vec<&str> = values.split_ascii_whitespace().collect();
            let is_name = |value: &&str| value.len() <= MAX_ACR && value.bytes().all(|b| b.is_ascii_graphic());
            let length: usize = values.iter().map(|value| value.len()).sum();
            if values.is_empty() || values.len() > MOST_ACR || length > MAX_ACRS || !values.iter().all(is_name) {
                return Ok(None);
            }
            request = request.with_acr_values(values);
        }
        if let Some(max_age) = form.one("max_age")? {
            let is_number = max_age.len() <= 9 && max_age.bytes().all(|b| b.is_ascii_digit());
            let Some(max_age) = max_age.parse().ok().filter(|_| is_number) else { return Ok(None) };
            request = request.with_max_age(Duration::from_secs(max_age));
        }
        let (provider, return_to) = (owned(form.one("provider")?), owned(form.one("return_to")?));
        Ok(Some(Self { provider, return_to, request }))
    }
}

fn owned(text: Option<&str>) -> Option<String> {
    text.map(str::to_owned)
}

fn is_hint(hint: &str) -> bool {
    hint.len() <= MAX_HINT && !hint.chars().any(char::is_control)
}

impl fmt::Debug for Bff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { party, base, csrf, claims } = &*self.0;
        f.debug_struct("Bff")
            .field("party", party)
            .field("base", base)
            .field("csrf", csrf)
            .field("claims", claims)
            .finish()
    }
}

/// Builds a [`Bff`].
#[derive(Debug)]
#[must_use]
pub struct BffBuilder {
    party: RelyingParty,
    base: String,
    csrf: CsrfRules,
    claims: Vec<String>,
}

impl BffBuilder {
    /// Sets the path that all addresses are below. Default `/bff`.
    pub fn with_base(self, base: impl Into<String>) -> Self {
        Self { base: base.into(), ..self }
    }

    /// Says which requests other sites may have caused. Default [`CsrfRules::new`]; a service that knows its origin names it. Whether the
    /// header is demanded depends on the address and not on these rules: do not set
    /// [`with_required_header`](CsrfRules::with_required_header), or no form can log out.
    pub fn with_csrf(self, csrf: CsrfRules) -> Self {
        Self { csrf, ..self }
    }

    /// Sets which claims `/bff/user` shows of the ID token; what is not there is left out. Default `sub`, `name`,
    /// `preferred_username`, `email`, `picture`.
    pub fn with_user_claims<S: Into<String>>(self, claims: impl IntoIterator<Item = S>) -> Self {
        Self { claims: claims.into_iter().map(Into::into).collect(), ..self }
    }

    /// Builds it.
    ///
    /// # Errors
    /// A base that is no path, ends in a slash, or has a query.
    pub fn build(self) -> Result<Bff, ConfigError> {
        let Self { party, base, csrf, claims } = self;
        if ReturnTo::parse(&base).is_none() || base.ends_with('/') || base.contains(['?', '#', '%']) {
            return Err(ConfigError::new(format!("{base:?} is no path such as `/bff`")));
        }
        let claims = claims.into_iter().map(Into::into).collect();
        Ok(Bff(Arc::new(Inner { party, base: base.into(), csrf, claims })))
    }
}

const MOST_ACR: usize = 10;
const MAX_ACR: usize = 128;
const MAX_ACRS: usize = 400;
const MAX_HINT: usize = 256;
