use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use axum::body::Body;
use axum::extract::ConnectInfo;
use base64_simd::{STANDARD, URL_SAFE_NO_PAD};
use http::{HeaderMap, Method, Request};
use http_body_util::BodyExt as _;
use sekisho_core::{Clock as _, Failure, Secret, UnixSeconds};
use sekisho_http::{HttpClient, HttpError, HttpLimits, HttpMethod, HttpRequest, HttpResponse};
use sekisho_issuer::{
    AuthenticatedUser, AuthorizationServer, AuthorizationServerBuilder, CertificateRule, Client, ClientAuthentication,
    ClientSecret, ClientStore, DeviceMark, Essentials, ExchangeRules, IssuerKeys, IssuerStore, KeyRotation, LoginCheck,
    LoginOutcome, MasterKey, MemoryKeyStore, PasswordAttempt, PendingLogin, Revocation, RevocationListener, ScopeSet,
    SecondFactorAttempt, StaticClients, UserClaims, UserDirectory,
};
use sekisho_jwks::{Algorithm, Backend, Discovery, SigningKey, StaticKeys};
use sekisho_jwt::{Jwt, Profile, Verifier};
use sekisho_testkit::FixedClock;
use serde_json::Value;
use tower::ServiceExt as _;

pub(crate) const ISSUER: &str = "https://id.example";
pub(crate) const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
/// RFC 7636 appendix B.
pub(crate) const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
pub(crate) const PASSWORD: &str = "correct horse battery staple";

/// Is a whole issuer and what the tests look at beside it.
pub(crate) struct World {
    pub(crate) server: AuthorizationServer,
    pub(crate) clock: FixedClock,
    pub(crate) login: Arc<Logins>,
    pub(crate) users: Arc<Users>,
    pub(crate) heard: Arc<Heard>,
    pub(crate) secret: String,
    pub(crate) signing_key: SigningKey,
    pub(crate) certificate: Vec<u8>,
    clients: Arc<Clients>,
}

/// Whom to revoke everything of, in the middle of the next exchange: when a client is looked up.
type Meanwhile = Mutex<Option<(AuthorizationServer, &'static str, UnixSeconds)>>;

/// Knows clients, and lets something happen while it is asked.
#[derive(Debug)]
struct Clients {
    clients: StaticClients,
    meanwhile: Meanwhile,
    replaced: Mutex<Option<Arc<Client>>>,
}

#[async_trait]
impl ClientStore for Clients {
    async fn client(&self, id: &str) -> Result<Option<Arc<Client>>, Failure> {
        let meanwhile = self.meanwhile.lock().unwrap().take();
        if let Some((server, subject, now)) = meanwhile {
            server.revoke_subject(subject, now).await?;
        }
        let replaced = self.replaced.lock().unwrap().clone();
        match replaced.filter(|client| client.id() == id) {
            Some(client) => Ok(Some(client)),
            None => self.clients.client(id).await,
        }
    }

    async fn has_origin(&self, origin: &str) -> Result<bool, Failure> {
        self.clients.has_origin(origin).await
    }
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::with(ISSUER, |builder| builder).await
    }

    pub(crate) async fn with(
        issuer: &str,
        configure: impl FnOnce(AuthorizationServerBuilder) -> AuthorizationServerBuilder,
    ) -> Self {
        Self::with_store(issuer, crate::backing::store().await, configure).await
    }

    pub(crate) async fn with_store(
        issuer: &str,
        store: impl IssuerStore + 'static,
        configure: impl FnOnce(AuthorizationServerBuilder) -> AuthorizationServerBuilder,
    ) -> Self {
        Self::with_login(issuer, store, None, configure).await
    }

    /// `login` takes the place of the one that knows alice, bob and the others.
    pub(crate) async fn with_login(
        issuer: &str,
        store: impl IssuerStore + 'static,
        login_check: Option<Arc<dyn LoginCheck>>,
        configure: impl FnOnce(AuthorizationServerBuilder) -> AuthorizationServerBuilder,
    ) -> Self {
        let clock = FixedClock::at(UnixSeconds::new(1_764_072_000));
        let (secret, hash) = ClientSecret::generate().unwrap();
        let signing_key = SigningKey::generate(Backend::default(), Algorithm::Es256).unwrap();
        let certificate = certificate("worker", "Example");
        let clients = clients(hash, &signing_key, &certificate);
        let keys = IssuerKeys::open(
            Arc::new(MemoryKeyStore::new()),
            MasterKey::generate().unwrap(),
            &[Algorithm::Es256, Algorithm::Ed25519],
            KeyRotation::default(),
            clock.now(),
        );
        let clients = StaticClients::new(clients).unwrap();
        let clients = Arc::new(Clients { clients, meanwhile: Mutex::default(), replaced: Mutex::default() });
        let (login, users, heard) = (Arc::<Logins>::default(), Arc::<Users>::default(), Arc::<Heard>::default());
        let essentials = Essentials {
            clients: Arc::clone(&clients) as Arc<dyn ClientStore>,
            login: login_check.unwrap_or_else(|| Arc::clone(&login) as Arc<dyn LoginCheck>),
            store: Arc::new(store),
            keys: Arc::new(keys.await.unwrap()),
        };
        let builder = AuthorizationServer::builder(issuer, essentials)
            .with_clock(Arc::new(clock.clone()))
            .with_users(Arc::clone(&users) as Arc<dyn UserDirectory>)
            .with_revocation_listener(Arc::clone(&heard) as Arc<dyn RevocationListener>)
            .with_trusted_proxies(sekisho_http::TrustedProxies::new(["10.0.0.0/8"]).unwrap());
        let server = configure(builder).build().unwrap();
        let secret = secret.expose_str().unwrap().to_owned();
        Self { server, clock, login, users, heard, secret, signing_key, certificate, clients }
    }

    pub(crate) fn now(&self) -> UnixSeconds {
        self.clock.now()
    }

    /// Revokes all that a user has in the middle of the next exchange.
    pub(crate) fn revoke_meanwhile(&self, subject: &'static str) {
        *self.clients.meanwhile.lock().unwrap() = Some((self.server.clone(), subject, self.now()));
    }

    /// Changes what a client may.
    pub(crate) fn replace_client(&self, client: Client) {
        *self.clients.replaced.lock().unwrap() = Some(Arc::new(client));
    }

    pub(crate) fn wait(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }

    pub(crate) async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.server.router().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap();
        Answer { status: parts.status.as_u16(), headers: parts.headers, body }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(Request::get(path).body(Body::empty()).unwrap()).await
    }

    /// Posts a form.
    pub(crate) async fn post(&self, path: &str, form: &[(&str, &str)]) -> Answer {
        self.send(post(path, form)).await
    }

    /// Posts a form as a client with a secret.
    pub(crate) async fn post_as(&self, client: &str, path: &str, form: &[(&str, &str)]) -> Answer {
        let mut request = post(path, form);
        request.headers_mut().insert("authorization", basic(client, &self.secret).parse().unwrap());
        self.send(request).await
    }

    /// Asks the token endpoint as a public client.
    pub(crate) async fn token(&self, form: &[(&str, &str)]) -> Answer {
        self.post("/token", form).await
    }

    pub(crate) async fn redeem(&self, client: &str, code: &str) -> Answer {
        self.token(&[
            ("grant_type", "authorization_code"),
            ("client_id", client),
            ("code", code),
            ("code_verifier", VERIFIER),
        ])
        .await
    }

    pub(crate) async fn refresh(&self, client: &str, token: &str) -> Answer {
        self.token(&[("grant_type", "refresh_token"), ("client_id", client), ("refresh_token", token)]).await
    }

    /// Logs alice in with a client of the house, and returns the token endpoint's answer.
    pub(crate) async fn tokens(&self, scope: &str) -> Value {
        let code = Browser::new(self).code("house", "https://house.example/cb", scope).await;
        self.redeem("house", &code).await.json(200)
    }

    pub(crate) async fn worker_token(&self) -> String {
        let answer = self.post_as("worker", "/token", &[("grant_type", "client_credentials")]).await;
        answer.json(200)["access_token"].as_str().unwrap().to_owned()
    }

    /// Introspects as the resource server `orders`.
    pub(crate) async fn introspect(&self, token: &str) -> Value {
        self.post_as("orders", "/introspect", &[("token", token)]).await.json(200)
    }

    pub(crate) async fn is_active(&self, token: &str) -> bool {
        self.introspect(token).await["active"] == true
    }

    /// Returns a verifier that finds the keys by the issuer's own metadata.
    pub(crate) fn verifier(&self, audience: &str) -> Verifier {
        Jwt::issuer(self.server.issuer())
            .audience(audience)
            .with_keys(Discovery::oidc(self.server.issuer()))
            .with_http_client(Arc::new(RouterClient(self.server.clone())))
            .with_profile(Profile::rfc9068())
            .with_clock(Arc::new(self.clock.clone()))
            .build()
            .unwrap()
    }
}

fn clients(hash: ClientSecret, signing_key: &SigningKey, certificate: &[u8]) -> Vec<Client> {
    let secret = || ClientAuthentication::Secret(vec![hash]);
    let scopes = "openid profile email offline_access orders:read orders:write";
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, certificate);
    let thumbprint = CertificateRule::Thumbprint(digest.as_ref().try_into().unwrap());
    let web = Client::public("web")
        .with_name("The <Web> Shop")
        .with_redirect_uri("https://web.example/cb")
        .with_redirect_uri("https://web.example/cb?fixed=1")
        .with_post_logout_redirect_uri("https://web.example/bye")
        .with_scopes(scopes)
        .with_audience("orders")
        .with_audience("billing")
        .with_origin("https://web.example")
        .with_refresh_tokens();
    let house = Client::public("house")
        .with_redirect_uri("https://house.example/cb")
        .with_loopback_redirect("/cb")
        .with_scopes(scopes)
        .with_audience("orders")
        .with_refresh_tokens()
        .without_consent();
    let opaque = Client::public("opaque")
        .with_redirect_uri("https://opaque.example/cb")
        .with_scopes(scopes)
        .with_audience("orders")
        .with_reference_tokens()
        .with_refresh_tokens()
        .without_consent();
    let confidential = Client::confidential("confidential", secret())
        .with_redirect_uri("https://confidential.example/cb")
        .with_scopes(scopes)
        .with_audience("orders")
        .without_consent();
    let veiled = Client::confidential("veiled", secret())
        .with_client_credentials()
        .with_scopes("orders:read")
        .with_audience("orders")
        .with_reference_tokens();
    let worker = Client::confidential("worker", secret())
        .with_client_credentials()
        .with_scopes("openid orders:read orders:write")
        .with_audience("orders")
        .with_audience("billing");
    let rules = ExchangeRules::new(["billing"], ScopeSet::parse("orders:read").unwrap());
    let orders = Client::confidential("orders", secret()).with_own_audience("orders").with_token_exchange(rules);
    let back = ExchangeRules::new(["orders"], ScopeSet::parse("orders:read").unwrap());
    let billing = Client::confidential("billing", secret()).with_own_audience("billing").with_token_exchange(back);
    let keys = StaticKeys::new([signing_key.verifying_key()]);
    let signer = Client::confidential("signer", ClientAuthentication::PrivateKeyJwt(Arc::new(keys)))
        .with_client_credentials()
        .with_scopes("orders:read")
        .with_audience("orders")
        .with_algorithm(Algorithm::Ed25519);
    let cert = Client::confidential("cert", ClientAuthentication::Certificate(thumbprint))
        .with_client_credentials()
        .with_scopes("orders:read")
        .with_audience("orders")
        .with_certificate_bound_tokens();
    let name = CertificateRule::SubjectName("CN=worker,O=Example".to_owned());
    let named = Client::confidential("named", ClientAuthentication::Certificate(name))
        .with_client_credentials()
        .with_scopes("orders:read");
    let tv = Client::public("tv")
        .with_name("TV")
        .with_device_code()
        .with_scopes("openid orders:read")
        .with_audience("orders")
        .with_refresh_tokens();
    [web, house, opaque, confidential, veiled, worker, orders, billing, signer, cert, named, tv]
        .into_iter()
        .map(|client| client.build().unwrap())
        .collect()
}

/// Is an answer, read whole.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub(crate) fn json(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{self:?}");
        assert_eq!(self.header("content-type"), "application/json");
        serde_json::from_str(&self.body).unwrap()
    }

    /// Asserts an OAuth error, and that nobody keeps it.
    pub(crate) fn error(&self, status: u16, code: &str) {
        let body = self.json(status);
        assert_eq!(body["error"], code, "{body}");
        assert_eq!(self.header("cache-control"), "no-store");
        let members = body.as_object().unwrap().keys().map(String::as_str).collect::<Vec<_>>();
        assert_eq!(members, ["error", "error_description"]);
    }

    /// Returns where a redirect leads, and its parameters.
    pub(crate) fn redirect(&self) -> (String, BTreeMap<String, String>) {
        assert_eq!(self.status, 303, "{self:?}");
        let (to, query) = self.header("location").split_once('?').unwrap_or((self.header("location"), ""));
        (to.to_owned(), url_decode(query))
    }

    /// Asserts a page, and that no script runs in it and no frame holds it.
    pub(crate) fn page(&self, status: u16) -> &str {
        assert_eq!(self.status, status, "{self:?}");
        assert_eq!(self.header("content-type"), "text/html; charset=utf-8");
        let policy = self.header("content-security-policy");
        assert!(policy.starts_with("default-src 'none'; style-src 'self'; "), "{policy}");
        assert!(policy.contains("frame-ancestors 'none'; base-uri 'none'"), "{policy}");
        assert_eq!(self.header("x-frame-options"), "DENY");
        assert_eq!(self.header("cache-control"), "no-store");
        assert_eq!(self.header("x-content-type-options"), "nosniff");
        &self.body
    }
}

/// Is a browser: it keeps cookies, fills forms in and sends them.
pub(crate) struct Browser<'a> {
    world: &'a World,
    pub(crate) cookies: BTreeMap<String, String>,
    pub(crate) address: [u8; 4],
    base: String,
}

impl<'a> Browser<'a> {
    pub(crate) fn new(world: &'a World) -> Self {
        let base = url::Url::parse(world.server.issuer()).unwrap().origin().ascii_serialization();
        Self { world, cookies: BTreeMap::new(), address: [192, 0, 2, 7], base }
    }

    pub(crate) async fn get(&mut self, path: &str) -> Answer {
        self.send(Method::GET, path, &[]).await
    }

    pub(crate) async fn send(&mut self, method: Method, path: &str, form: &[(String, String)]) -> Answer {
        let is_post = method == Method::POST;
        let mut request = Request::builder().method(method).uri(path);
        if !self.cookies.is_empty() {
            let cookies: Vec<String> = self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
            request = request.header("cookie", cookies.join("; "));
        }
        if is_post {
            request = request.header("origin", &self.base).header("sec-fetch-site", "same-origin");
            request = request.header("content-type", "application/x-www-form-urlencoded");
        }
        let pairs: Vec<(&str, &str)> = form.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let body = if is_post { Body::from(url_encode(&pairs)) } else { Body::empty() };
        let mut request = request.body(body).unwrap();
        request.extensions_mut().insert(ConnectInfo(SocketAddr::from((self.address, 4000))));
        let answer = self.world.send(request).await;
        for line in answer.headers.get_all("set-cookie") {
            let line = line.to_str().unwrap();
            assert!(line.contains("; Path=/") && line.contains("; HttpOnly; SameSite=Lax"), "{line}");
            let (name, value) = line.split(';').next().unwrap().split_once('=').unwrap();
            match line.contains("Max-Age=0") {
                true => self.cookies.remove(name),
                false => self.cookies.insert(name.to_owned(), value.to_owned()),
            };
        }
        answer
    }

    /// Fills in the form of a page and sends it.
    pub(crate) async fn submit(&mut self, page: &Answer, fields: &[(&str, &str)]) -> Answer {
        let (action, mut form) = read_form(&page.body);
        form.extend(fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        self.send(Method::POST, &action, &form).await
    }

    /// Logs in at whatever page asks for it.
    pub(crate) async fn log_in(&mut self, page: &Answer, username: &str) -> Answer {
        self.submit(page, &[("username", username), ("password", PASSWORD)]).await
    }

    /// Goes through login and, if asked, consent as alice, and returns the code.
    pub(crate) async fn code(&mut self, client: &str, redirect_uri: &str, scope: &str) -> String {
        let query = authorize_query(client, redirect_uri, &[("scope", scope)]);
        let mut answer = self.get(&format!("/authorize?{query}")).await;
        if answer.status == 200 && answer.body.contains("name=\"password\"") {
            answer = self.log_in(&answer, "alice").await;
        }
        if answer.status == 200 {
            answer = self.submit(&answer, &[("decision", "allow")]).await;
        }
        let (to, parameters) = answer.redirect();
        assert_eq!(to, redirect_uri);
        parameters["code"].clone()
    }
}

/// Writes an authorization request that is good, but for `changes`; an empty value leaves a parameter out.
pub(crate) fn authorize_query(client: &str, redirect_uri: &str, changes: &[(&str, &str)]) -> String {
    let mut pairs = vec![
        ("response_type", "code"),
        ("client_id", client),
        ("redirect_uri", redirect_uri),
        ("scope", "openid orders:read"),
        ("state", "s t&a=te"),
        ("nonce", "n-1"),
        ("code_challenge", CHALLENGE),
        ("code_challenge_method", "S256"),
    ];
    pairs.retain(|(name, _)| !changes.iter().any(|(changed, _)| changed == name));
    pairs.extend(changes.iter().filter(|(_, value)| !value.is_empty()));
    url_encode(&pairs)
}

/// Reads the action and the hidden fields of the first form of a page.
pub(crate) fn read_form(html: &str) -> (String, Vec<(String, String)>) {
    let attribute = |tag: &str, name: &str| {
        let rest = tag.split_once(&format!(" {name}=\""))?.1;
        Some(unescape(rest.split('"').next().unwrap()))
    };
    let form = html.split_once("<form").unwrap_or_else(|| panic!("no form: {html}")).1;
    let form = form.split("</form>").next().unwrap();
    let action = attribute(form, "action").unwrap();
    let hidden = form.split("<input").skip(1).filter(|tag| tag.contains("type=\"hidden\""));
    let fields = hidden.map(|tag| (attribute(tag, "name").unwrap(), attribute(tag, "value").unwrap()));
    (action, fields.collect())
}

fn unescape(text: &str) -> String {
    text.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&#39;", "'").replace("&amp;", "&")
}

pub(crate) fn post(path: &str, form: &[(&str, &str)]) -> Request<Body> {
    let request = Request::post(path).header("content-type", "application/x-www-form-urlencoded");
    request.body(Body::from(url_encode(form))).unwrap()
}

pub(crate) fn basic(id: &str, secret: &str) -> String {
    format!("Basic {}", STANDARD.encode_to_string(format!("{id}:{secret}")))
}

pub(crate) fn url_encode(pairs: &[(&str, &str)]) -> String {
    url::form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish()
}

pub(crate) fn url_decode(query: &str) -> BTreeMap<String, String> {
    let pairs: Vec<(String, String)> = url::form_urlencoded::parse(query.as_bytes()).into_owned().collect();
    let count = pairs.len();
    let map: BTreeMap<String, String> = pairs.into_iter().collect();
    assert_eq!(map.len(), count, "a parameter stands twice: {query}");
    map
}

/// Reads the claims of a JWT without checking it.
pub(crate) fn claims_of(token: &str) -> Value {
    let payload = URL_SAFE_NO_PAD.decode_to_vec(token.split('.').nth(1).unwrap()).unwrap();
    serde_json::from_slice(&payload).unwrap()
}

pub(crate) fn header_of(token: &str) -> Value {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode_to_vec(token.split('.').next().unwrap()).unwrap()).unwrap()
}

/// Knows alice, who needs a password; bob, who needs a second factor; and some who make trouble.
#[derive(Debug, Default)]
pub(crate) struct Logins {
    pub(crate) seen: Mutex<Vec<String>>,
}

#[async_trait]
impl LoginCheck for Logins {
    async fn password(&self, attempt: PasswordAttempt<'_>, now: UnixSeconds) -> Result<LoginOutcome, Failure> {
        let PasswordAttempt { username, password, client_address, wanted_contexts, .. } = attempt;
        self.seen.lock().unwrap().push(format!("{username} {client_address:?} {wanted_contexts:?}"));
        if *password != Secret::from(PASSWORD) {
            return Ok(LoginOutcome::Refused);
        }
        let user = |subject: &str| user(subject, &["pwd"], None, now);
        Ok(match username {
            "alice" if wanted_contexts.iter().any(|context| context == "urn:mfa") => {
                LoginOutcome::SecondFactorNeeded(PendingLogin::new("pending-alice"))
            }
            "alice" => LoginOutcome::Authenticated(user("alice")),
            "marked" => LoginOutcome::AuthenticatedOnDevice(user("marked"), DeviceMark::parse("mark").unwrap()),
            "carol" => LoginOutcome::Authenticated(user("carol")),
            "bob" => LoginOutcome::SecondFactorNeeded(PendingLogin::new("pending-bob")),
            "worker" => LoginOutcome::Authenticated(user("worker")),
            "nonsense" => LoginOutcome::Authenticated(user("\u{fc}\n")),
            "hasty" => LoginOutcome::TryLater(Duration::from_secs(30)),
            "broken" => return Err(Failure::unavailable("the user database is down")),
            _ => LoginOutcome::Refused,
        })
    }

    async fn second_factor(&self, attempt: SecondFactorAttempt<'_>, now: UnixSeconds) -> Result<LoginOutcome, Failure> {
        let pending = attempt.pending.handle().expose_str().unwrap();
        let Some(subject) = pending.strip_prefix("pending-") else { return Ok(LoginOutcome::Refused) };
        Ok(match attempt.code.expose_str() {
            Some("123456") => LoginOutcome::Authenticated(user(subject, &["pwd", "otp", "mfa"], Some("urn:mfa"), now)),
            Some("later") => LoginOutcome::TryLater(Duration::from_secs(5)),
            Some("gone") => LoginOutcome::Refused,
            _ => LoginOutcome::SecondFactorNeeded(attempt.pending.clone()),
        })
    }
}

fn user(subject: &str, methods: &[&str], context: Option<&str>, now: UnixSeconds) -> AuthenticatedUser {
    AuthenticatedUser {
        subject: subject.to_owned(),
        methods: methods.iter().map(|method| (*method).to_owned()).collect(),
        context: context.map(str::to_owned),
        authenticated_at: now,
        revision: None,
    }
}

/// Knows what is to be said about users, and who is barred.
#[derive(Debug, Default)]
pub(crate) struct Users {
    pub(crate) barred: Mutex<Vec<String>>,
    pub(crate) is_down: Mutex<bool>,
}

#[async_trait]
impl UserDirectory for Users {
    async fn user(&self, subject: &str, _now: UnixSeconds) -> Result<Option<UserClaims>, Failure> {
        if *self.is_down.lock().unwrap() {
            return Err(Failure::unavailable("the user database is down"));
        }
        if self.barred.lock().unwrap().iter().any(|barred| barred == subject) {
            return Ok(None);
        }
        Ok(Some(
            UserClaims::new()
                .with_claim("name", format!("{subject} example"))
                .with_claim("email", format!("{subject}@users.example"))
                .with_claim("sub", "evil")
                .with_access_claim("roles", vec!["clerk"])
                .with_access_claim("sub", "evil")
                .with_access_claim("cnf", "evil")
                .with_access_claim("scope", "evil"),
        ))
    }
}

/// Remembers what it is told.
#[derive(Debug, Default)]
pub(crate) struct Heard(pub(crate) Mutex<Vec<Revocation>>);

#[async_trait]
impl RevocationListener for Heard {
    async fn revoked(&self, revocation: &Revocation, _now: UnixSeconds) -> Result<(), Failure> {
        self.0.lock().unwrap().push(revocation.clone());
        Ok(())
    }
}

/// Asks the router instead of the network.
#[derive(Debug)]
struct RouterClient(AuthorizationServer);

#[async_trait]
impl HttpClient for RouterClient {
    async fn send(&self, request: HttpRequest, _limits: HttpLimits) -> Result<HttpResponse, HttpError> {
        assert_eq!(request.method, HttpMethod::Get);
        let path = request.url.strip_prefix(ISSUER).ok_or(HttpError::Url)?;
        let response = self.0.router().oneshot(Request::get(path).body(Body::empty()).unwrap()).await.unwrap();
        let (parts, body) = response.into_parts();
        let header = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
            (name.as_str().to_owned(), value.to_str().unwrap().to_owned())
        };
        Ok(HttpResponse {
            status: parts.status.as_u16(),
            headers: parts.headers.iter().map(header).collect(),
            body: body.collect().await.unwrap().to_bytes().to_vec(),
        })
    }
}

/// Writes an X.509 certificate whose signature is nonsense: only a proxy would look at that.
pub(crate) fn certificate(common_name: &str, organization: &str) -> Vec<u8> {
    let tlv = |tag: u8, parts: &[&[u8]]| {
        let content = parts.concat();
        let mut encoded = vec![tag];
        match content.len() {
            length @ 0..=127 => encoded.push(u8::try_from(length).unwrap()),
            length @ 128..=255 => encoded.extend([0x81, u8::try_from(length).unwrap()]),
            length => {
                encoded.push(0x82);
                encoded.extend(u16::try_from(length).unwrap().to_be_bytes());
            }
        }
        encoded.extend(content);
        encoded
    };
    let attribute = |kind: u8, value: &str| {
        let pair = tlv(0x30, &[&[0x06, 3, 0x55, 4, kind], &tlv(0x0c, &[value.as_bytes()])]);
        tlv(0x31, &[&pair])
    };
    let ed25519 = tlv(0x30, &[&[0x06, 3, 0x2b, 0x65, 0x70]]);
    let name = tlv(0x30, &[&attribute(10, organization), &attribute(3, common_name)]);
    let date = |date: &str| tlv(0x17, &[date.as_bytes()]);
    let validity = tlv(0x30, &[&date("250101000000Z"), &date("350101000000Z")]);
    let key = tlv(0x30, &[&ed25519, &tlv(0x03, &[&[0], &[7; 32]])]);
    let version = [0xa0, 3, 2, 1, 2];
    let body = tlv(0x30, &[&version, &[2, 1, 1], &ed25519, &name, &validity, &name, &key]);
    tlv(0x30, &[&body, &ed25519, &tlv(0x03, &[&[0], &[9; 64]])])
}
