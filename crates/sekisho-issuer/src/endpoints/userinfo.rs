//! The userinfo endpoint ([OpenID Connect Core §5.3](https://openid.net/specs/openid-connect-core-1_0.html#UserInfo)).

use axum::extract::{Request, State};
use axum::response::Response;
use http::header::{HeaderValue, WWW_AUTHENTICATE};
use serde_json::Value;

use crate::AuthorizationServer;
use crate::answer::{self, Refused};
use crate::incoming::Incoming;

/// Refuses by [RFC 6750 §3](https://www.rfc-editor.org/rfc/rfc6750#section-3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Denied {
    Missing,
    Malformed,
    Token,
    Scope,
}

pub(super) async fn endpoint(State(server): State<AuthorizationServer>, request: Request) -> Response {
    let (incoming, _) = server.receive(request).await;
    match answer(&server, &incoming).await {
        Ok(Ok(response)) => response,
        Ok(Err(denied)) => {
            let (status, challenge) = match denied {
                Denied::Missing => (401, "Bearer"),
                Denied::Malformed => (400, "Bearer error=\"invalid_request\""),
                Denied::Token => (401, "Bearer error=\"invalid_token\""),
                Denied::Scope => (403, "Bearer error=\"insufficient_scope\", scope=\"openid\""),
            };
            let mut response = answer::bare(status);
            response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
            response
        }
        Err(refused) => refused.into_response("userinfo"),
    }
}

/// Takes the token from the header only; a body is not looked at.
async fn answer(server: &AuthorizationServer, incoming: &Incoming) -> Result<Result<Response, Denied>, Refused> {
    let now = incoming.now;
    let Ok(header) = incoming.authorization() else { return Ok(Err(Denied::Malformed)) };
    let Some(header) = header else { return Ok(Err(Denied::Missing)) };
    let Some((scheme, token)) = header.split_once(' ') else { return Ok(Err(Denied::Malformed)) };
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Ok(Err(Denied::Missing));
    }
    let Some(active) = server.active(token.trim_start_matches(' '), now).await? else { return Ok(Err(Denied::Token)) };
    if !active.scope().contains("openid") {
        return Ok(Err(Denied::Scope));
    }
    // Bound to a key or certificate: it is no bearer token, and the proof is not checked here.
    if active.claims.contains_key("cnf") || !active.audience().any(|audience| audience == server.issuer()) {
        return Ok(Err(Denied::Token));
    }
    let Some(subject) = active.text("sub") else { return Ok(Err(Denied::Token)) };
    let Some(user) = server.user(subject, now).await? else { return Ok(Err(Denied::Token)) };
    let mut claims = user.visible(&active.scope());
    claims.insert("sub".to_owned(), subject.into());
    Ok(Ok(answer::json_response(200, &Value::Object(claims))))
}
