//! A provider that plays by the rules until its script says otherwise. It keeps what it was asked.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex};

use async_trait::async_trait;
use base64_simd::URL_SAFE_NO_PAD;
use sekisho_core::UnixSeconds;
use sekisho_http::{HttpClient, HttpError, HttpLimits, HttpRequest, HttpResponse};
use sekisho_jwt::jwks::SigningKey;
use sekisho_jwt::{Algorithm, Backend};
use sekisho_oidc::{Callback, ClientCredentials, LoggedIn, LoginError, LoginRequest, Provider, ProviderBuilder};
use sekisho_testkit::{FixedClock, Issuer, TokenBuilder};
use serde_json::{Value, json};
use url::{Url, form_urlencoded};

pub(crate) const ISSUER: &str = "https://id.example/realms/shop";
pub(crate) const CLIENT: &str = "shop";
pub(crate) const SECRET: &str = "a client secret of forty-one characters..";
pub(crate) const RETURN: &str = "https://shop.example/callback";
pub(crate) const NOW: UnixSeconds = UnixSeconds::new(1_800_000_000);
pub(crate) const ACCESS_TOKEN: &str = "access-token-that-nobody-sees";
pub(crate) const REFRESH_TOKEN: &str = "refresh-token-that-nobody-sees";

/// An RSA key takes a while to find.
pub(crate) static RSA: LazyLock<SigningKey> =
    LazyLock::new(|| SigningKey::generate(Backend::aws_lc(), Algorithm::Rs256).expect("a key"));

type Change<T> = Box<dyn Fn(T) -> T + Send>;
type Write = Box<dyn Fn(TokenBuilder) -> String + Send>;

pub(crate) struct Scripted {
    pub(crate) issuer: Issuer,
    pub(crate) clock: FixedClock,
    script: Mutex<Script>,
}

struct Script {
    metadata: Change<Value>,
    /// What becomes of an honest ID token.
    id_token: Write,
    /// What becomes of an honest token answer.
    answer: Change<Value>,
    user_info: (&'static str, Vec<u8>),
    /// Answers this instead, at this path.
    instead: HashMap<&'static str, HttpResponse>,
    /// Never answers at this path.
    silent_at: Option<&'static str>,
    /// Says 401 to this access token.
    dead: Option<&'static str>,
    sends_issuer: bool,
    logins: HashMap<String, HashMap<String, String>>,
    pushed: HashMap<String, String>,
    asked: Vec<HttpRequest>,
}

impl std::fmt::Debug for Scripted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Scripted")
    }
}

impl Scripted {
    /// Makes one that signs by RS256.
    pub(crate) fn new() -> Arc<Self> {
        Self::signing_with(RSA.clone())
    }

    pub(crate) fn signing_with(key: SigningKey) -> Arc<Self> {
        Self::named(ISSUER, key)
    }

    pub(crate) fn named(issuer: &str, key: SigningKey) -> Arc<Self> {
        let clock = FixedClock::at(NOW);
        let issuer = Issuer::with_url(issuer).with_signing_key(key).with_clock(clock.clone());
        let script = Script {
            metadata: Box::new(|metadata| metadata),
            id_token: Box::new(TokenBuilder::sign),
            answer: Box::new(|answer| answer),
            user_info: ("application/json", json!({"sub": "u1", "email": "u1@shop.example"}).to_string().into()),
            instead: HashMap::new(),
            silent_at: None,
            dead: None,
            sends_issuer: false,
            logins: HashMap::new(),
            pushed: HashMap::new(),
            asked: Vec::new(),
        };
        Arc::new(Self { issuer, clock, script: Mutex::new(script) })
    }

    /// Begins the configuration of a relying party that asks it, by `client_secret_basic`.
    pub(crate) fn builder(self: &Arc<Self>) -> ProviderBuilder {
        self.builder_with(ClientCredentials::basic(CLIENT, SECRET))
    }

    pub(crate) fn builder_with(self: &Arc<Self>, credentials: ClientCredentials) -> ProviderBuilder {
        Provider::with_backend(Backend::aws_lc())
            .discover(self.issuer.url(), credentials)
            .redirect_uri(RETURN)
            .with_http_client(Arc::clone(self) as Arc<dyn HttpClient>)
            .with_clock(Arc::new(self.clock.clone()))
    }

    pub(crate) fn provider(self: &Arc<Self>) -> Provider {
        self.builder().build().expect("a provider")
    }

    pub(crate) fn metadata(&self, change: impl Fn(Value) -> Value + Send + 'static) {
        self.script.lock().unwrap().metadata = Box::new(change);
    }

    pub(crate) fn id_token(&self, write: impl Fn(TokenBuilder) -> String + Send + 'static) {
        self.script.lock().unwrap().id_token = Box::new(write);
    }

    pub(crate) fn answer(&self, change: impl Fn(Value) -> Value + Send + 'static) {
        self.script.lock().unwrap().answer = Box::new(change);
    }

    pub(crate) fn user_info(&self, kind: &'static str, body: impl Into<Vec<u8>>) {
        self.script.lock().unwrap().user_info = (kind, body.into());
    }

    /// Answers so at this path, until told `None`.
    pub(crate) fn instead(&self, path: &'static str, answer: Option<(u16, &str)>) {
        let mut script = self.script.lock().unwrap();
        match answer {
            Some((status, body)) => script.instead.insert(path, response(status, "application/json", body)),
            None => script.instead.remove(path),
        };
    }

    /// Never answers at this path, whatever limits it was told.
    pub(crate) fn silent_at(&self, path: &'static str) {
        self.script.lock().unwrap().silent_at = Some(path);
    }

    /// Takes this access token no longer.
    pub(crate) fn kill(&self, access_token: &'static str) {
        self.script.lock().unwrap().dead = Some(access_token);
    }

    /// Has each return bear `iss`, and says so in the metadata.
    pub(crate) fn sends_issuer(&self) {
        self.script.lock().unwrap().sends_issuer = true;
    }

    /// Returns what was asked at this path, the last at the end.
    pub(crate) fn asked(&self, path: &str) -> Vec<HttpRequest> {
        let script = self.script.lock().unwrap();
        script.asked.iter().filter(|request| Self::path(self.issuer.url(), &request.url) == path).cloned().collect()
    }

    /// Plays the browser and the user, who logs in: reads the address, and returns the query of the return.
    pub(crate) fn authorize(&self, url: &str) -> String {
        assert_eq!(Self::path(self.issuer.url(), url), "/authorize");
        let url = Url::parse(url).expect("a URL");
        let mut asked: HashMap<String, String> = pairs(url.query().unwrap_or_default());
        let mut script = self.script.lock().unwrap();
        if let Some(pushed) = asked.get("request_uri") {
            assert_eq!(asked.len(), 2, "a pushed request is a reference and a client");
            asked = pairs(&script.pushed.remove(pushed).expect("pushed"));
        }
        for (name, expected) in [
            ("response_type", "code"),
            ("client_id", CLIENT),
            ("redirect_uri", RETURN),
            ("code_challenge_method", "S256"),
        ] {
            assert_eq!(asked.get(name).map(String::as_str), Some(expected), "{name}");
        }
        assert!(asked["scope"].split(' ').any(|scope| scope == "openid"));
        assert!(asked["state"].len() == 43 && asked["nonce"].len() == 43 && asked["code_challenge"].len() == 43);
        let code = format!("code-{}", script.logins.len());
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.append_pair("code", &code).append_pair("state", &asked["state"]);
        if script.sends_issuer {
            query.append_pair("iss", self.issuer.url());
        }
        script.logins.insert(code, asked);
        query.finish()
    }

    /// Logs in from start to end.
    pub(crate) async fn login(&self, provider: &Provider) -> Result<LoggedIn, LoginError> {
        self.login_with(provider, &LoginRequest::new()).await
    }

    pub(crate) async fn login_with(&self, provider: &Provider, request: &LoginRequest) -> Result<LoggedIn, LoginError> {
        let start = provider.start(request, NOW).await?;
        let query = self.authorize(&start.url);
        provider.finish(start.pending, &Callback::from_query(&query), NOW).await
    }

    fn path<'u>(issuer: &str, url: &'u str) -> &'u str {
        let path = url.strip_prefix(issuer).unwrap_or(url);
        path.split('?').next().unwrap_or_default()
    }

    pub(crate) fn answer_to(&self, request: &HttpRequest) -> HttpResponse {
        let mut script = self.script.lock().unwrap();
        script.asked.push(request.clone());
        let path = Self::path(self.issuer.url(), &request.url);
        if let Some(instead) = script.instead.get(path) {
            return instead.clone();
        }
        if script.dead.is_some_and(|dead| header(request, "authorization") == Some(format!("Bearer {dead}"))) {
            return response(401, "text/plain", "");
        }
        let form = pairs(std::str::from_utf8(&request.body).unwrap());
        match path {
            "/.well-known/openid-configuration" => json_response(200, &(script.metadata)(self.own_metadata(&script))),
            "/jwks" | "/other-jwks" => response(200, "application/json", &self.issuer.key_set()),
            "/par" => {
                let uri = format!("urn:ietf:params:oauth:request_uri:{}", script.pushed.len());
                script.pushed.insert(uri.clone(), String::from_utf8(request.body.clone()).unwrap());
                json_response(201, &json!({"request_uri": uri, "expires_in": 60}))
            }
            "/token" | "/mtls/token" => self.token(&mut script, &form),
            "/userinfo" | "/mtls/userinfo" => HttpResponse {
                status: 200,
                headers: vec![("content-type".into(), script.user_info.0.into())],
                body: script.user_info.1.clone(),
            },
            "/revoke" => response(200, "text/plain", ""),
            other => panic!("nobody asks for {other}"),
        }
    }

    fn own_metadata(&self, script: &Script) -> Value {
        let at = |path: &str| format!("{}{path}", self.issuer.url());
        json!({
            "issuer": self.issuer.url(),
            "authorization_endpoint": at("/authorize"),
            "token_endpoint": at("/token"),
            "userinfo_endpoint": at("/userinfo"),
            "revocation_endpoint": at("/revoke"),
            "end_session_endpoint": at("/logout"),
            "jwks_uri": at("/jwks"),
            "authorization_response_iss_parameter_supported": script.sends_issuer,
        })
    }

    fn token(&self, script: &mut Script, form: &HashMap<String, String>) -> HttpResponse {
        let nonce = match form["grant_type"].as_str() {
            "authorization_code" => {
                // A code is good once, with its verifier, for its redirect address.
                let Some(login) = script.logins.remove(&form["code"]) else { return refused("invalid_grant") };
                let challenge =
                    URL_SAFE_NO_PAD.encode_to_string(Backend::aws_lc().sha256(form["code_verifier"].as_bytes()));
                if challenge != login["code_challenge"] || form["redirect_uri"] != login["redirect_uri"] {
                    return refused("invalid_grant");
                }
                Some(login["nonce"].clone())
            }
            "refresh_token" if form["refresh_token"] == REFRESH_TOKEN => None,
            _ => return refused("invalid_grant"),
        };
        let token = self.issuer.token().typ("JWT").audience(CLIENT).without_claim("client_id").without_claim("jti");
        let token = token.claim("auth_time", NOW.as_secs() - 100).claim("sid", "s1");
        let token = if let Some(nonce) = nonce { token.claim("nonce", nonce) } else { token };
        let answer = json!({
            "access_token": ACCESS_TOKEN,
            "token_type": "Bearer",
            "expires_in": 300,
            "refresh_token": REFRESH_TOKEN,
            "id_token": (script.id_token)(token),
        });
        json_response(200, &(script.answer)(answer))
    }
}

#[async_trait]
impl HttpClient for Scripted {
    async fn send(&self, request: HttpRequest, _: HttpLimits) -> Result<HttpResponse, HttpError> {
        let silent_at = self.script.lock().unwrap().silent_at;
        if silent_at == Some(Self::path(self.issuer.url(), &request.url)) {
            std::future::pending::<()>().await;
        }
        Ok(self.answer_to(&request))
    }
}

pub(crate) fn pairs(form: &str) -> HashMap<String, String> {
    let mut pairs = HashMap::new();
    for (name, value) in form_urlencoded::parse(form.as_bytes()) {
        assert!(pairs.insert(name.to_string(), value.into_owned()).is_none(), "{name} stands twice");
    }
    pairs
}

pub(crate) fn form(request: &HttpRequest) -> HashMap<String, String> {
    pairs(std::str::from_utf8(&request.body).unwrap())
}

pub(crate) fn header(request: &HttpRequest, name: &str) -> Option<String> {
    request.headers.iter().find(|(n, _)| *n == name).map(|(_, value)| value.clone())
}

/// Writes a token by hand, signed by nobody.
pub(crate) fn unsigned(header: &Value, claims: &Value) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode_to_string(value.to_string());
    format!("{}.{}.", part(header), part(claims))
}

/// Breaks the signature of a token: another one of the same length.
pub(crate) fn broken(token: &str) -> String {
    let (input, signature) = token.rsplit_once('.').expect("a token");
    let mut bytes = URL_SAFE_NO_PAD.decode_to_vec(signature).expect("base64url");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    format!("{input}.{}", URL_SAFE_NO_PAD.encode_to_string(bytes))
}

fn json_response(status: u16, body: &Value) -> HttpResponse {
    response(status, "application/json", &body.to_string())
}

fn refused(code: &str) -> HttpResponse {
    json_response(400, &json!({"error": code, "error_description": "a description that nobody sees"}))
}

fn response(status: u16, kind: &str, body: &str) -> HttpResponse {
    HttpResponse { status, headers: vec![("content-type".into(), kind.into())], body: body.as_bytes().to_vec() }
}
