//! A realm of a test's own, made by Keycloak's admin API.

use reqwest::Method;
use serde_json::{Value, json};

use crate::keycloak::Keycloak;
use crate::logins::services::Place;

/// The audience of access tokens.
pub(crate) const AUDIENCE: &str = "orders-api";
/// The audience of tokens that are exchanged, and the scope that has it.
pub(crate) const BILLING: &str = "billing-api";
pub(crate) const INVOICES: &str = "invoices";

/// Without saying so Keycloak keeps no refreshes.
const KEPT: [&str; 4] = ["REFRESH_TOKEN", "REFRESH_TOKEN_ERROR", "REVOKE_GRANT", "REVOKE_GRANT_ERROR"];

/// A realm with two people, where what becomes of tokens is kept, and a refresh token is good once.
pub(crate) struct Realm {
    keycloak: Keycloak,
    name: &'static str,
}

impl Realm {
    /// Makes it anew. Access tokens live for `lifespan` seconds.
    pub(crate) async fn make(keycloak: Keycloak, name: &'static str, clients: Vec<Value>, lifespan: u32) -> Self {
        let _ = keycloak.try_admin(Method::DELETE, name, None).await;
        let user = |name: &str| {
            let password = json!({ "type": "password", "value": format!("{name}-password"), "temporary": false });
            json!({
                "username": name, "enabled": true, "email": format!("{name}@shop.example"), "emailVerified": true,
                "firstName": name, "lastName": "Arden", "credentials": [password],
            })
        };
        let realm = json!({
            "realm": name, "enabled": true, "sslRequired": "none", "accessTokenLifespan": lifespan,
            "eventsEnabled": true, "eventsExpiration": 3600, "enabledEventTypes": KEPT,
            "revokeRefreshToken": true, "refreshTokenMaxReuse": 0,
            "clients": clients, "users": [user("alice"), user("bob")],
        });
        keycloak.try_admin(Method::POST, "", Some(realm)).await.expect("a realm");
        Self { keycloak, name }
    }

    pub(crate) fn issuer(&self) -> String {
        format!("{}/realms/{}", self.keycloak.url(), self.name)
    }

    pub(crate) const fn keycloak(&self) -> &Keycloak {
        &self.keycloak
    }

    /// Gets an access token by the password grant, of a client that may.
    pub(crate) async fn password_grant(&self, client: &str, user: &str) -> String {
        let (secret, password) = (format!("{client}-secret"), format!("{user}-password"));
        let form = [
            ("grant_type", "password"),
            ("client_id", client),
            ("client_secret", &*secret),
            ("username", user),
            ("password", &*password),
            ("scope", "openid"),
        ];
        self.keycloak.access_token(self.name, &form).await
    }

    async fn admin(&self, method: Method, path: &str, body: Option<Value>) -> Value {
        let path = format!("{}/{path}", self.name);
        self.keycloak.try_admin(method, &path, body).await.unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    pub(crate) async fn user(&self, name: &str) -> String {
        let found = self.admin(Method::GET, &format!("users?exact=true&username={name}"), None).await;
        found[0]["id"].as_str().unwrap_or_else(|| panic!("no {name}: {found}")).to_owned()
    }

    /// Lists the ids of somebody's sessions there.
    pub(crate) async fn sessions(&self, user: &str) -> Vec<String> {
        let user = self.user(user).await;
        let sessions = self.admin(Method::GET, &format!("users/{user}/sessions"), None).await;
        let ids = sessions.as_array().expect("a list").iter().map(|session| session["id"].as_str().expect("an id"));
        ids.map(str::to_owned).collect()
    }

    /// Ends one session, as an administrator does.
    pub(crate) async fn end(&self, session: &str) {
        self.admin(Method::DELETE, &format!("sessions/{session}"), None).await;
    }

    /// Ends all of somebody's sessions, as an administrator does.
    pub(crate) async fn end_all(&self, user: &str) {
        let user = self.user(user).await;
        self.admin(Method::POST, &format!("users/{user}/logout"), None).await;
    }

    pub(crate) async fn disable(&self, user: &str) {
        let user = self.user(user).await;
        self.admin(Method::PUT, &format!("users/{user}"), Some(json!({ "enabled": false }))).await;
    }

    /// Has people log in by their password for the level `silver`, and by it once more for `gold`
    /// ([step-up](https://www.keycloak.org/docs/latest/server_admin/#_step-up-flow)).
    pub(crate) async fn add_levels(&self) {
        let flows = "authentication/flows";
        let top = json!({ "alias": "levels", "providerId": "basic-flow", "topLevel": true, "builtIn": false });
        self.admin(Method::POST, flows, Some(top)).await;
        let add = async |to: &str, kind: &str, body: Value| {
            self.admin(Method::POST, &format!("{flows}/{to}/executions/{kind}"), Some(body)).await;
        };
        let flow = |alias: &str| json!({ "alias": alias, "type": "basic-flow", "description": "" });
        add("levels", "execution", json!({ "provider": "auth-cookie" })).await;
        add("levels", "flow", flow("passwords")).await;
        for (level, form) in [("silver", "auth-username-password-form"), ("gold", "auth-password-form")] {
            add("passwords", "flow", flow(level)).await;
            add(level, "execution", json!({ "provider": "conditional-level-of-authentication" })).await;
            add(level, "execution", json!({ "provider": form })).await;
        }
        let mut level = 0;
        let steps = self.admin(Method::GET, &format!("{flows}/levels/executions"), None).await;
        for step in steps.as_array().expect("a list") {
            let (provider, name) = (step["providerId"].as_str(), step["displayName"].as_str().unwrap_or_default());
            let mut step = step.clone();
            step["requirement"] = json!(match (provider, name) {
                (Some("auth-cookie"), _) | (_, "passwords") => "ALTERNATIVE",
                (_, "silver" | "gold") => "CONDITIONAL",
                _ => "REQUIRED",
            });
            if provider == Some("conditional-level-of-authentication") {
                level += 1;
                let config = json!({ "loa-condition-level": level.to_string(), "loa-max-age": "36000" });
                let config = json!({ "alias": format!("level {level}"), "config": config });
                let id = step["id"].as_str().expect("an id");
                self.admin(Method::POST, &format!("authentication/executions/{id}/config"), Some(config)).await;
            }
            self.admin(Method::PUT, &format!("{flows}/levels/executions"), Some(step)).await;
        }
        let names = json!({ "silver": 1, "gold": 2 }).to_string();
        let realm = json!({ "browserFlow": "levels", "attributes": { "acr.loa.map": names } });
        self.admin(Method::PUT, "", Some(realm)).await;
    }

    /// Has a client exchange tokens of its own logins for the billing service
    /// ([standard token exchange](https://www.keycloak.org/securing-apps/token-exchange)).
    pub(crate) async fn add_exchange(&self, client: &str) {
        self.admin(Method::POST, "clients", Some(json!({ "clientId": BILLING, "bearerOnly": true }))).await;
        let audience = json!({
            "name": "billing", "protocol": "openid-connect", "protocolMapper": "oidc-audience-mapper",
            "config": { "included.client.audience": BILLING, "access.token.claim": "true", "id.token.claim": "false" },
        });
        let scope = json!({
            "name": INVOICES, "protocol": "openid-connect", "protocolMappers": [audience],
            "attributes": { "include.in.token.scope": "true" },
        });
        self.admin(Method::POST, "client-scopes", Some(scope)).await;
        let id = |found: &Value, member: &str, name: &str| {
            let found = found.as_array().expect("a list").iter().find(|one| one[member] == name);
            found.and_then(|one| one["id"].as_str()).unwrap_or_else(|| panic!("no {name}")).to_owned()
        };
        let scope = id(&self.admin(Method::GET, "client-scopes", None).await, "name", INVOICES);
        let clients = self.admin(Method::GET, &format!("clients?clientId={client}"), None).await;
        let client = format!("clients/{}", id(&clients, "clientId", client));
        let mut settings = clients[0].clone();
        settings["attributes"]["standard.token.exchange.enabled"] = json!("true");
        self.admin(Method::PUT, &client, Some(settings)).await;
        self.admin(Method::PUT, &format!("{client}/optional-client-scopes/{scope}"), None).await;
    }

    /// Counts what happened there, by kind and client.
    pub(crate) async fn count(&self, kind: &str, client: &str) -> usize {
        let events = self.admin(Method::GET, &format!("events?max=1000&type={kind}&client={client}"), None).await;
        events.as_array().expect("a list").len()
    }
}

/// Describes a client that is at these places; the first one hears of logouts.
pub(crate) fn client(name: &str, places: &[&Place]) -> Value {
    let audience = json!({
        "name": "orders", "protocol": "openid-connect", "protocolMapper": "oidc-audience-mapper",
        "config": { "included.custom.audience": AUDIENCE, "access.token.claim": "true", "id.token.claim": "false" },
    });
    let after: Vec<_> = places.iter().map(|place| format!("{}/", place.origin)).collect();
    json!({
        "clientId": name, "enabled": true, "publicClient": false, "secret": format!("{name}-secret"),
        "standardFlowEnabled": true, "directAccessGrantsEnabled": false,
        "redirectUris": places.iter().map(|place| place.callback()).collect::<Vec<_>>(),
        "attributes": {
            "pkce.code.challenge.method": "S256",
            "post.logout.redirect.uris": after.join("##"),
            "backchannel.logout.url": places[0].backchannel(),
            "backchannel.logout.session.required": "true",
        },
        "protocolMappers": [audience],
    })
}
