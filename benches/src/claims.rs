//! The token that everything is measured with: fifteen claims, as Keycloak writes them.

use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

pub const ISSUER: &str = "https://id.example/realms/shop";
pub const AUDIENCE: &str = "orders-api";

/// Returns the seconds since 1970.
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// Writes the fifteen claims for this issuer; `number` makes tokens differ.
pub fn claims(issuer: &str, number: usize) -> Value {
    let now = now();
    json!({
        "exp": now + 86_400,
        "iat": now,
        "jti": format!("trrtcc:4e1d9b62-7a05-4c33-9d1e-{number:012x}"),
        "iss": issuer,
        "aud": [AUDIENCE, "account"],
        "sub": format!("0b7f4a1c-52d8-4c5e-8a57-{number:012x}"),
        "typ": "Bearer",
        "azp": "shop-web",
        "sid": "6a0cbd2f-93e4-4f6b-b6ad-29f2f2a1c0d7",
        "acr": "1",
        "allowed-origins": ["https://shop.example"],
        "realm_access": { "roles": ["offline_access", "uma_authorization", "default-roles-shop"] },
        "resource_access": { "account": { "roles": ["manage-account", "view-profile"] } },
        "scope": "openid profile email orders:write",
        "preferred_username": "alice",
    })
}

/// What a service of ours would read from the token: the registered claims, and the roles.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Claims {
    pub iss: String,
    pub sub: String,
    pub aud: Vec<String>,
    pub exp: u64,
    pub iat: u64,
    pub jti: String,
    pub azp: String,
    pub scope: String,
    pub realm_access: Roles,
}

/// The same claims, borrowed from the verified token wherever that is possible.
#[derive(Clone, Debug, Deserialize)]
pub struct BorrowedClaims<'a> {
    pub iss: &'a str,
    pub sub: &'a str,
    pub aud: Vec<&'a str>,
    pub exp: u64,
    pub iat: u64,
    pub jti: &'a str,
    pub azp: &'a str,
    pub scope: &'a str,
    #[serde(borrow)]
    pub realm_access: BorrowedRoles<'a>,
}

#[derive(Clone, Debug, Deserialize)]
pub struct BorrowedRoles<'a> {
    #[serde(borrow)]
    pub roles: Vec<&'a str>,
}

/// The same without the registered claims, for libraries that hand those over by themselves.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct OwnClaims {
    pub azp: String,
    pub scope: String,
    pub realm_access: Roles,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Roles {
    pub roles: Vec<String>,
}
