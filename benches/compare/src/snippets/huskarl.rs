use axum::Router;
use axum::routing::get;
use huskarl_axum::layers::ValidatorLayer;
use huskarl_core::server_metadata::AuthorizationServerMetadata;
use huskarl_reqwest::ReqwestClient;
use huskarl_resource_server::validator::rfc9068::Rfc9068Validator;

use super::{Error, orders};

async fn app() -> Result<Router, Error> {
    // begin
    let http = ReqwestClient::builder().build().await?;
    let metadata =
        AuthorizationServerMetadata::oidc_fetch().http_client(&http).issuer("https://id.example").call().await?;
    let validator =
        Rfc9068Validator::builder_from_metadata(&metadata).audience("orders-api").jwks_source(http).build().await?;
    let layer = ValidatorLayer::builder().validator(validator).build();
    let app = Router::new().route("/orders", get(orders)).layer(layer.authenticated());
    // end
    Ok(app)
}
