//! What the issuer is and does ([RFC 8414](https://www.rfc-editor.org/rfc/rfc8414), [OpenID Connect Discovery](https://openid.net/specs/openid-connect-discovery-1_0.html)).

use axum::extract::State;
use axum::response::Response;
use sekisho_jwks::Algorithm;
use serde_json::json;

use crate::issuer::IssuerName;
use crate::{AuthorizationServer, GrantKind, answer};

/// For so long everybody may keep metadata and keys.
const KEPT_SECONDS: u64 = 600;

pub(super) async fn jwks(State(server): State<AuthorizationServer>) -> Response {
    let keys = server.parts().keys.publish(server.parts().clock.now());
    answer::kept("application/jwk-set+json", KEPT_SECONDS, keys)
}

pub(super) async fn document(State(server): State<AuthorizationServer>) -> Response {
    answer::kept("application/json", KEPT_SECONDS, metadata(&server))
}

/// Lists where the document is looked for: below the issuer, and between host and path of it.
pub(super) fn paths(issuer: &IssuerName) -> Vec<String> {
    let path = issuer.path();
    let mut paths = vec![
        format!("{path}/.well-known/openid-configuration"),
        format!("/.well-known/openid-configuration{path}"),
        format!("/.well-known/oauth-authorization-server{path}"),
    ];
    paths.dedup();
    paths
}

fn metadata(server: &AuthorizationServer) -> String {
    let issuer = &server.parts().issuer;
    let endpoint = |path: &str| issuer.endpoint(path);
    let signing: Vec<&str> = server.parts().keys.algorithms().iter().map(|algorithm| algorithm.name()).collect();
    let assertion: Vec<&str> = Algorithm::ASYMMETRIC.iter().map(|algorithm| algorithm.name()).collect();
    let grants: Vec<&str> = GrantKind::ALL.iter().map(|kind| kind.name()).collect();
    let proofs = [
        "client_secret_basic",
        "client_secret_post",
        "private_key_jwt",
        "tls_client_auth",
        "self_signed_tls_client_auth",
    ];
    let with_none = ["none"].into_iter().chain(proofs).collect::<Vec<_>>();
    json!({
        "issuer": issuer.as_str(),
        "authorization_endpoint": endpoint("/authorize"),
        "token_endpoint": endpoint("/token"),
        "introspection_endpoint": endpoint("/introspect"),
        "revocation_endpoint": endpoint("/revoke"),
        "device_authorization_endpoint": endpoint("/device_authorization"),
        "userinfo_endpoint": endpoint("/userinfo"),
        "end_session_endpoint": endpoint("/end_session"),
        "jwks_uri": endpoint("/jwks"),
        "response_types_supported": ["code"],
        "response_modes_supported": ["query"],
        "grant_types_supported": grants,
        "code_challenge_methods_supported": ["S256"],
        "authorization_response_iss_parameter_supported": true,
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": signing,
        "introspection_signing_alg_values_supported": signing,
        "token_endpoint_auth_methods_supported": with_none,
        "token_endpoint_auth_signing_alg_values_supported": assertion,
        "introspection_endpoint_auth_methods_supported": proofs,
        "introspection_endpoint_auth_signing_alg_values_supported": assertion,
        "revocation_endpoint_auth_methods_supported": with_none,
        "revocation_endpoint_auth_signing_alg_values_supported": assertion,
        "tls_client_certificate_bound_access_tokens": true,
        "scopes_supported": ["openid", "profile", "email", "address", "phone", "offline_access"],
        "claims_supported": ["iss", "sub", "aud", "exp", "iat", "auth_time", "nonce", "acr", "amr", "azp", "sid", "at_hash"],
        "prompt_values_supported": ["none", "login", "consent", "select_account"],
        "claims_parameter_supported": false,
        "request_parameter_supported": false,
        "request_uri_parameter_supported": false,
    })
    .to_string()
}
