//! One route, guarded by one library each, set up as its documentation shows. Every handler takes the claims the way its
//! library hands them out, and answers the same bytes.

use std::collections::HashMap;
use std::sync::{Arc, RwLock};

use axum::extract::{FromRef, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use axum::routing::get;
use axum::{Extension, Router};
use axum_jwt_auth::{Decoder, LocalDecoder};
use huskarl_axum::extractors::ValidatedToken;
use huskarl_axum::layers::ValidatorLayer;
use huskarl_core::crypto::verifier::{JwsVerifier, JwsVerifierPlatform, MultiKeyVerifier};
use huskarl_core::jwk::{Jwks, PublicJwks};
use huskarl_crypto_native::NativeVerifierPlatform;
use huskarl_resource_server::validator::custom::CustomValidator;
use sekisho_axum::CheckpointExt as _;
use sekisho_benches::claims::{AUDIENCE, Claims, ISSUER, OwnClaims, now};
use sekisho_benches::ready;
use sekisho_core::UnixSeconds;
use sekisho_http::Checkpoint;
use sekisho_jwt::jwks::{KeySet, StaticKeys};
use sekisho_jwt::{Backend, Jwt, JwtBuilder, Profile, Verifier};
use tower_oauth2_resource_server::server::OAuth2ResourceServer;
use tower_oauth2_resource_server::tenant::TenantConfiguration;
use tower_oauth2_resource_server::validation::ClaimsValidationSpec;

/// Names the cases; the first is the baseline.
pub(crate) const CASES: [&str; 8] = [
    "bare axum",
    "from_fn and a HashMap by token, by hand",
    "sekisho-axum",
    "sekisho-axum, typed claims",
    "sekisho-axum, without cache",
    "tower-oauth2-resource-server",
    "axum-jwt-auth",
    "huskarl-axum",
];

const BODY: &str = "ok";

/// Builds the router of a case.
///
/// # Panics
/// For an unknown case.
pub(crate) async fn router(case: &str, key_set: &str) -> Router {
    match case {
        "bare axum" => Router::new().route("/orders", get(async || BODY)),
        "from_fn and a HashMap by token, by hand" => by_hand(key_set),
        "sekisho-axum" => {
            let checkpoint = checkpoint(jwt(key_set));
            Router::new().route("/orders", get(async |_: sekisho_axum::Principal| BODY)).layer(checkpoint.layer())
        }
        "sekisho-axum, typed claims" => {
            let checkpoint = checkpoint(jwt(key_set));
            Router::new().route("/orders", get(async |_: sekisho_axum::Claims<Claims>| BODY)).layer(checkpoint.layer())
        }
        "sekisho-axum, without cache" => {
            let checkpoint = checkpoint(jwt(key_set).without_cache());
            Router::new().route("/orders", get(async |_: sekisho_axum::Principal| BODY)).layer(checkpoint.layer())
        }
        "tower-oauth2-resource-server" => tower_oauth2(key_set).await,
        "axum-jwt-auth" => axum_jwt(key_set),
        "huskarl-axum" => huskarl(key_set).await,
        other => panic!("no case {other}"),
    }
}

/// Keeps every token for ever, whatever becomes of it: what a cache could cost at the least.
fn by_hand(key_set: &str) -> Router {
    type Known = RwLock<HashMap<String, Arc<Claims>>>;
    async fn guard(
        State((known, verifier)): State<(Arc<Known>, Verifier)>,
        mut request: Request,
        next: Next,
    ) -> Result<Response, StatusCode> {
        let value = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let token = value.and_then(|value| value.strip_prefix("Bearer ")).ok_or(StatusCode::UNAUTHORIZED)?;
        let cached = known.read().unwrap().get(token).cloned();
        let claims = match cached {
            Some(claims) => claims,
            None => {
                let verified = verifier.verify_as::<Claims>(token, UnixSeconds::new(now())).await;
                let claims = Arc::new(verified.map_err(|_| StatusCode::UNAUTHORIZED)?.get().custom().clone());
                known.write().unwrap().insert(token.to_owned(), Arc::clone(&claims));
                claims
            }
        };
        request.extensions_mut().insert(claims);
        Ok(next.run(request).await)
    }
    let state = (Arc::new(Known::default()), jwt(key_set).without_cache().build().unwrap());
    Router::new().route("/orders", get(async |_: Extension<Arc<Claims>>| BODY)).layer(from_fn_with_state(state, guard))
}

fn jwt(key_set: &str) -> JwtBuilder {
    let set = KeySet::parse(Backend::default(), key_set.as_bytes()).unwrap();
    Jwt::issuer(ISSUER).audience(AUDIENCE).with_profile(Profile::keycloak()).with_keys(StaticKeys::from_set(&set))
}

fn checkpoint(jwt: JwtBuilder) -> Checkpoint {
    Checkpoint::builder().accept(jwt).build().unwrap()
}

async fn tower_oauth2(key_set: &str) -> Router {
    let audiences = vec![AUDIENCE.to_owned()];
    let tenant = TenantConfiguration::static_builder(key_set)
        .audiences(&audiences)
        .claims_validation(ClaimsValidationSpec::new().exp(true).iss(ISSUER).aud(&audiences))
        .build()
        .unwrap();
    let server = OAuth2ResourceServer::<Claims>::builder().add_tenant(tenant).build().await.unwrap();
    Router::new().route("/orders", get(async |_: Extension<Claims>| BODY)).layer(server.into_layer())
}

#[derive(Clone)]
struct JwtState {
    decoder: Decoder<Claims>,
}

impl FromRef<JwtState> for Decoder<Claims> {
    fn from_ref(state: &JwtState) -> Self {
        Arc::clone(&state.decoder)
    }
}

fn axum_jwt(key_set: &str) -> Router {
    let set: jsonwebtoken_10::jwk::JwkSet = serde_json::from_str(key_set).unwrap();
    let keys = set.keys.iter().map(|jwk| jsonwebtoken_10::DecodingKey::from_jwk(jwk).unwrap()).collect();
    let mut validation = jsonwebtoken_10::Validation::new(jsonwebtoken_10::Algorithm::RS256);
    validation.set_audience(&[AUDIENCE]);
    validation.set_issuer(&[ISSUER]);
    let decoder = LocalDecoder::builder().keys(keys).validation(validation).build().unwrap();
    Router::new()
        .route("/orders", get(async |_: axum_jwt_auth::Claims<Claims>| BODY))
        .with_state(JwtState { decoder: Arc::new(decoder) })
}

async fn huskarl(key_set: &str) -> Router {
    let set: Jwks = serde_json::from_str(key_set).unwrap();
    let public = PublicJwks::new(set.keys.iter().filter_map(|jwk| jwk.public_jwk()).collect());
    let verifier: Arc<dyn JwsVerifier> =
        Arc::new(ready(MultiKeyVerifier::from_jwks(&public, &NativeVerifierPlatform)).unwrap());
    let factory = move |_: Option<&huskarl_core::EndpointUrl>, _: Arc<dyn JwsVerifierPlatform>| {
        let verifier = Arc::clone(&verifier);
        Box::pin(async move { Ok(verifier) }) as huskarl_core::platform::MaybeSendBoxFuture<'static, _>
    };
    let validator = CustomValidator::builder()
        .with_claims::<OwnClaims>()
        .iss(ISSUER)
        .aud(AUDIENCE)
        .jws_verifier_factory(factory)
        .build()
        .await
        .unwrap();
    let layer = ValidatorLayer::builder().validator(validator).build();
    Router::new().route("/orders", get(async |_: ValidatedToken<OwnClaims>| BODY)).layer(layer.authenticated())
}
