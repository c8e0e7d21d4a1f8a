//! Asks a running Keycloak for tokens and changes its keys.

use sekisho_jwt::{Jwt, JwtBuilder, Profile};
use sekisho_testkit::DpopKey;
use serde_json::{Value, json};
use tokio::sync::{Mutex, MutexGuard};

use crate::setup;

/// The audience that `orders-api` has in the realm.
pub(crate) const AUDIENCE: &str = "orders-api";

/// One test at a time: some change the realm's keys, and one kills the server.
static TURN: Mutex<()> = Mutex::const_new(());

/// The realm, for as long as it is this test's turn.
pub(crate) struct Keycloak {
    url: String,
    admin_user: String,
    admin_password: String,
    http: reqwest::Client,
    _turn: MutexGuard<'static, ()>,
}

/// What a password grant brings.
pub(crate) struct Grant {
    pub(crate) access: String,
    pub(crate) id: String,
    pub(crate) refresh: String,
}

impl Keycloak {
    /// Waits for its turn; `None`, after a line that says so, when there is no Keycloak.
    pub(crate) async fn reach(test: &str) -> Option<Self> {
        let url = setup::variable("SEKISHO_KEYCLOAK_URL", test)?;
        let admin_user = setup::variable("SEKISHO_KEYCLOAK_ADMIN_USER", test)?;
        let admin_password = setup::variable("SEKISHO_KEYCLOAK_ADMIN_PASSWORD", test)?;
        let turn = TURN.lock().await;
        Some(Self { url, admin_user, admin_password, http: setup::http(), _turn: turn })
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    pub(crate) fn issuer(&self) -> String {
        format!("{}/realms/sekisho", self.url)
    }

    /// Begins a verifier of the realm's tokens for `orders-api`, roles of the realm and of the client.
    pub(crate) fn jwt(&self) -> JwtBuilder {
        Jwt::issuer(self.issuer())
            .audience(AUDIENCE)
            .with_profile(Profile::keycloak())
            .with_roles_at("/realm_access/roles")
            .with_client_roles(AUDIENCE)
    }

    /// Gets a token by client credentials. `scope` holds the optional scopes to ask for, or nothing.
    pub(crate) async fn client_token(&self, client: &str, scope: &str) -> String {
        let secret = format!("{client}-secret");
        let mut form = vec![("grant_type", "client_credentials"), ("client_id", client), ("client_secret", &*secret)];
        if !scope.is_empty() {
            form.push(("scope", scope));
        }
        text(&self.token("sekisho", &form).await, "access_token")
    }

    /// Gets a token of the client `worker-dpop`, bound to the key of a proof; or the error.
    pub(crate) async fn bound_token(&self, key: &DpopKey) -> Result<String, Value> {
        let url = self.token_endpoint("sekisho");
        let proof = key.proof("POST", &url).sign();
        self.token_with_proof(&proof).await
    }

    /// As [`bound_token`](Self::bound_token), with a proof as it stands; an empty one is left out.
    pub(crate) async fn token_with_proof(&self, proof: &str) -> Result<String, Value> {
        let form = [
            ("grant_type", "client_credentials"),
            ("client_id", "worker-dpop"),
            ("client_secret", "worker-dpop-secret"),
            ("scope", "orders:read"),
        ];
        let mut request = self.http.post(self.token_endpoint("sekisho")).form(&form);
        if !proof.is_empty() {
            request = request.header("dpop", proof);
        }
        let answer = request.send().await.expect("Keycloak answers");
        let is_success = answer.status().is_success();
        let answer: Value = answer.json().await.expect("JSON");
        if !is_success {
            return Err(answer);
        }
        assert_eq!(answer["token_type"], "DPoP", "{answer}");
        Ok(text(&answer, "access_token"))
    }

    pub(crate) fn token_endpoint(&self, realm: &str) -> String {
        format!("{}/realms/{realm}/protocol/openid-connect/token", self.url)
    }

    /// Gets tokens by the password grant of the client `shop`, always with the scope `openid`.
    pub(crate) async fn password_grant(&self, user: &str, scope: &str) -> Grant {
        let (password, scope) = (format!("{user}-password"), format!("openid {scope}"));
        let form = [
            ("grant_type", "password"),
            ("client_id", "shop"),
            ("username", user),
            ("password", &password),
            ("scope", &scope),
        ];
        let answer = self.token("sekisho", &form).await;
        Grant {
            access: text(&answer, "access_token"),
            id: text(&answer, "id_token"),
            refresh: text(&answer, "refresh_token"),
        }
    }

    /// Gets an access token of another realm of the same server.
    pub(crate) async fn admin_token(&self) -> String {
        let form = [
            ("grant_type", "password"),
            ("client_id", "admin-cli"),
            ("username", &*self.admin_user),
            ("password", &*self.admin_password),
        ];
        text(&self.token("master", &form).await, "access_token")
    }

    /// Gets an access token of any realm.
    pub(crate) async fn access_token(&self, realm: &str, form: &[(&str, &str)]) -> String {
        text(&self.token(realm, form).await, "access_token")
    }

    /// Asks the Authorization Services of `orders-api` in the name of the token's owner, for one `permission` in the form
    /// `RESOURCE#SCOPE`, and returns status and answer.
    pub(crate) async fn may(&self, token: &str, permission: &str) -> (u16, Value) {
        self.uma(token, &[("response_mode", "decision"), ("permission", permission)]).await
    }

    /// As [`may`](Self::may), with the members of the form that follow grant type and audience.
    pub(crate) async fn uma(&self, token: &str, form: &[(&str, &str)]) -> (u16, Value) {
        let grant = [("grant_type", "urn:ietf:params:oauth:grant-type:uma-ticket"), ("audience", AUDIENCE)];
        let request = self.http.post(self.token_endpoint("sekisho")).bearer_auth(token);
        let answer = request.form(&[&grant, form].concat()).send().await.expect("Keycloak answers");
        (answer.status().as_u16(), answer.json().await.expect("JSON"))
    }

    async fn token(&self, realm: &str, form: &[(&str, &str)]) -> Value {
        let answer = self.http.post(self.token_endpoint(realm)).form(form).send().await.expect("Keycloak answers");
        let status = answer.status();
        let body = answer.text().await.expect("a body");
        assert!(status.is_success(), "no token: {status} {body}");
        serde_json::from_str(&body).expect("JSON")
    }

    /// Lists `kid` and `alg` of the published keys that verify signatures.
    pub(crate) async fn published(&self) -> Vec<(String, String)> {
        let url = format!("{}/protocol/openid-connect/certs", self.issuer());
        let set: Value = self.http.get(url).send().await.expect("Keycloak answers").json().await.expect("JSON");
        let keys = set.get("keys").and_then(Value::as_array).expect("keys");
        let signing = keys.iter().filter(|key| key.get("use").and_then(Value::as_str) == Some("sig"));
        signing.map(|key| (text(key, "kid"), text(key, "alg"))).collect()
    }
}

/// The realm's keys, by the admin API.
impl Keycloak {
    /// Makes the realm sign by a new RSA key, and returns the provider of the one before, which stays published.
    pub(crate) async fn rotate(&self) -> String {
        let keys = self.admin(reqwest::Method::GET, "keys", None).await;
        let active = keys.pointer("/active/RS256").and_then(Value::as_str).expect("an active RS256 key");
        let listed = keys.get("keys").and_then(Value::as_array).expect("keys");
        let old =
            listed.iter().find(|key| key.get("kid").and_then(Value::as_str) == Some(active)).expect("it is listed");
        let priority = old.get("providerPriority").and_then(Value::as_i64).expect("a priority") + 1;
        let component = json!({
            "name": format!("rsa-{priority}"),
            "providerId": "rsa-generated",
            "providerType": "org.keycloak.keys.KeyProvider",
            "config": { "priority": [priority.to_string()], "keySize": ["2048"], "algorithm": ["RS256"] },
        });
        self.admin(reqwest::Method::POST, "components", Some(component)).await;
        text(old, "providerId")
    }

    /// Makes a key sign nothing more; it stays published.
    pub(crate) async fn retire(&self, provider: &str) {
        let path = format!("components/{provider}");
        let mut component = self.admin(reqwest::Method::GET, &path, None).await;
        component
            .pointer_mut("/config")
            .and_then(Value::as_object_mut)
            .expect("config")
            .insert("active".to_owned(), json!(["false"]));
        self.admin(reqwest::Method::PUT, &path, Some(component)).await;
    }

    /// Removes a key from the realm.
    pub(crate) async fn remove(&self, provider: &str) {
        self.admin(reqwest::Method::DELETE, &format!("components/{provider}"), None).await;
    }

    /// Removes every ES256 key, so that the next token by ES256 makes Keycloak add one.
    pub(crate) async fn forget_es256(&self) {
        let path = "components?type=org.keycloak.keys.KeyProvider";
        let components = self.admin(reqwest::Method::GET, path, None).await;
        for component in components.as_array().expect("a list") {
            if component.get("providerId").and_then(Value::as_str) == Some("ecdsa-generated") {
                self.remove(&text(component, "id")).await;
            }
        }
        let published = self.published().await;
        assert!(published.iter().all(|(_, alg)| alg != "ES256"), "still published: {published:?}");
    }

    async fn admin(&self, method: reqwest::Method, path: &str, body: Option<Value>) -> Value {
        let answer = self.try_admin(method, &format!("sekisho/{path}"), body).await;
        answer.unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    /// Asks the admin API. `path` begins with a realm; for a new one it is empty. An error is status and body.
    pub(crate) async fn try_admin(
        &self,
        method: reqwest::Method,
        path: &str,
        body: Option<Value>,
    ) -> Result<Value, String> {
        let url = format!("{}/admin/realms/{path}", self.url);
        // The token lives for a minute only.
        let mut request = self.http.request(method, url.trim_end_matches('/')).bearer_auth(self.admin_token().await);
        if let Some(body) = body {
            request = request.json(&body);
        }
        let answer = request.send().await.expect("Keycloak answers");
        let status = answer.status();
        let body = answer.text().await.expect("a body");
        if !status.is_success() {
            return Err(format!("{status} {body}"));
        }
        Ok(serde_json::from_str(&body).unwrap_or_default())
    }
}

fn text(object: &Value, member: &str) -> String {
    object.get(member).and_then(Value::as_str).unwrap_or_else(|| panic!("no {member} in {object}")).to_owned()
}
