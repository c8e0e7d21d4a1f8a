//! Every hostile and every honest token, as a bearer, over the wire.

use sekisho_core::Clock;

use super::client::{Request, send};
use super::{Expected, LATER, Trial, instant};
use crate::{FixedClock, honest_tokens, hostile_tokens};

pub(super) async fn check(trial: &mut Trial<'_>) {
    let context = trial.context();
    let accepted = Expected::OneOf(&[200]);
    for honest in honest_tokens(&context) {
        let rule = format!("honest token {} ({}) passes", honest.id, honest.name);
        trial.expect(&rule, Request::get("/orders").bearer(&honest.token), &accepted).await;
    }
    let (refused, malformed) = (Expected::invalid_token(), Expected::invalid_request());
    for hostile in hostile_tokens(&context) {
        let rule = format!("hostile token {} ({}) is refused", hostile.id, hostile.name);
        let Some(value) = hostile.authorization() else { continue };
        let request = Request::get("/orders").header("Authorization", value);
        match shape(&hostile.token) {
            Shape::Bearer => drop(trial.expect(&rule, request, &refused).await),
            Shape::NotBearer => drop(trial.expect(&rule, request, &malformed).await),
            Shape::TooLong => {
                // The server may refuse such a head before the checkpoint sees it, or just close.
                let status = send(&trial.suite.base_url, &request).await.map_or(431, |answer| answer.status);
                trial.check(&format!("{rule}: status {status}"), matches!(status, 400 | 401 | 413 | 431));
            }
        }
    }
}

/// What was good goes bad with time, whatever was remembered of it.
pub(super) async fn check_time(trial: &mut Trial<'_>, clock: &FixedClock) {
    let (good, caller) = (trial.good(), trial.caller("u1"));
    let request = || Request::get("/orders").bearer(&good);
    for _ in 0..3 {
        trial.expect("a good token passes, again and again", request(), &caller).await;
    }
    clock.advance(LATER);
    let rule = format!("the same token is refused once it has expired, {}", instant(clock));
    trial.expect(&rule, request(), &Expected::invalid_token()).await;
    let early = trial.token().not_before(clock.now().saturating_add(LATER)).expires_in(2 * LATER).sign();
    let request = || Request::get("/orders").bearer(&early);
    trial.expect("a token before its time is refused", request(), &Expected::invalid_token()).await;
}

enum Shape {
    /// `b64token` (RFC 6750 §2.1): it reaches the verifier.
    Bearer,
    /// Other bytes that a header can carry.
    NotBearer,
    /// Longer than many servers take.
    TooLong,
}

fn shape(token: &str) -> Shape {
    let body = token.trim_end_matches('=');
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~+/".contains(&b);
    if token.len() > 8_000 {
        Shape::TooLong
    } else if !body.is_empty() && body.bytes().all(plain) {
        Shape::Bearer
    } else {
        Shape::NotBearer
    }
}
