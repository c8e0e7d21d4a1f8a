use axum::Router;
use axum::routing::get;
use sekisho_axum::CheckpointExt as _;
use sekisho_http::Checkpoint;
use sekisho_jwt::{Jwt, Profile};

use super::{Error, orders};

fn app() -> Result<Router, Error> {
    // begin
    let token = Jwt::issuer("https://id.example").audience("orders-api").with_profile(Profile::rfc9068());
    let checkpoint = Checkpoint::builder().accept(token).build()?;
    let app = Router::new().route("/orders", get(orders)).layer(checkpoint.layer());
    // end
    Ok(app)
}
