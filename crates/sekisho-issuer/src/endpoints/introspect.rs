//! Introspection ([RFC 7662](https://www.rfc-editor.org/rfc/rfc7662)), signed ([RFC 9701](https://www.rfc-editor.org/rfc/rfc9701)), and phantom tokens.

use axum::extract::{Request, State};
use axum::response::Response;
use http::header::{ACCEPT, CACHE_CONTROL, VARY};
use sekisho_core::UnixSeconds;
use serde_json::{Map, Value, json};

use super::token;
use crate::AuthorizationServer;
use crate::answer::{self, OAuthError, Refused};
use crate::client_auth::{self, ProvedClient};
use crate::form::Form;
use crate::incoming::Incoming;
use crate::inspect::Active;
use crate::tokens::ACCESS_TYPE;

/// In which form the answer is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wanted {
    Json,
    /// A JWT that says what the JSON says.
    Signed,
    /// The access token itself as a JWT.
    Phantom,
}

pub(super) async fn endpoint(State(server): State<AuthorizationServer>, request: Request) -> Response {
    let (incoming, body) = server.receive(request).await;
    let answer = async {
        let form = incoming.form(body).await?;
        answer(&server, &incoming, &form).await
    };
    let mut response = answer.await.unwrap_or_else(|refused: Refused| refused.into_response("introspect"));
    answer::set(&mut response, VARY, "Accept");
    response
}

async fn answer(server: &AuthorizationServer, incoming: &Incoming, form: &Form) -> Result<Response, Refused> {
    let now = incoming.now;
    let client = client_auth::prove(server, incoming, form).await?;
    if client.is_public() {
        return Err(OAuthError::client().into());
    }
    let text = form.get("token").ok_or(OAuthError::request("token is missing"))?;
    let active = server.active(text, now).await?.filter(|active| may_see(&client, active));
    let wanted = wanted(incoming);
    let mut response = match (wanted, &active) {
        // To the client itself the token stays opaque, and no JWT of it can outlive what is revoked.
        (Wanted::Phantom, Some(active)) if made_for(&client, active) => {
            let jwt = if active.is_jwt { text.to_owned() } else { phantom(server, &client, active, now)? };
            answer::with_type(200, "application/jwt", jwt)
        }
        (Wanted::Phantom, _) => answer::bare(204),
        (Wanted::Json | Wanted::Signed, _) => {
            let members = match &active {
                Some(active) => members(active),
                None => refresh_members(server, &client, text, now).await?,
            };
            if wanted == Wanted::Signed {
                let claims = json!({
                    "iss": server.issuer(),
                    "aud": client.id(),
                    "iat": now.as_secs(),
                    "token_introspection": members,
                });
                let algorithm = server.algorithm(&client);
                let jwt = server.parts().keys.sign(algorithm, "token-introspection+jwt", &claims)?;
                answer::with_type(200, "application/token-introspection+jwt", jwt)
            } else {
                answer::json_response(200, &Value::Object(members))
            }
        }
    };
    if let (Some(age), Some(active)) = (server.parts().introspection_age, &active) {
        let seconds = age.min(active.expires_at.since(now)).as_secs();
        answer::set(&mut response, CACHE_CONTROL, &format!("private, max-age={seconds}"));
    }
    Ok(response)
}

/// Tells whether a client may know about a token: its own, or one that was made for it ([RFC 7662 §4](https://www.rfc-editor.org/rfc/rfc7662#section-4)).
fn may_see(client: &ProvedClient, active: &Active) -> bool {
    made_for(client, active) || active.text("client_id") == Some(client.id())
}

/// Tells whether a client is a resource server that a token was made for.
fn made_for(client: &ProvedClient, active: &Active) -> bool {
    active.audience().any(|audience| client.own_audiences.iter().any(|own| own == audience))
}

fn members(active: &Active) -> Map<String, Value> {
    let mut members = active.claims.clone();
    members.insert("active".to_owned(), true.into());
    members.insert("token_type".to_owned(), "Bearer".into());
    members
}

/// Says what a refresh token is worth, to the client whose it is; of anything else that it is not active.
async fn refresh_members(
    server: &AuthorizationServer,
    client: &ProvedClient,
    token: &str,
    now: UnixSeconds,
) -> Result<Map<String, Value>, Refused> {
    let inactive = || Map::from_iter([("active".to_owned(), Value::Bool(false))]);
    let Some((family, secret)) = token::split(token) else { return Ok(inactive()) };
    let Some((family, grant)) = server.parts().store.refresh_family(&family, now).await? else { return Ok(inactive()) };
    if !family.current.is(&secret) || grant.client_id != client.id() {
        return Ok(inactive());
    }
    let members = json!({
        "active": true,
        "iss": server.issuer(),
        "client_id": grant.client_id,
        "sub": grant.subject,
        "scope": grant.scope,
        "exp": family.idle_until.min(family.expires_at).as_secs(),
    });
    Ok(match members {
        Value::Object(members) => members,
        _ => inactive(),
    })
}

/// Writes the JWT that a reference token stands for. It lives no longer than a JWT would, because
/// whoever verifies it without asking here does not hear of its revocation.
fn phantom(
    server: &AuthorizationServer,
    client: &ProvedClient,
    active: &Active,
    now: UnixSeconds,
) -> Result<String, Refused> {
    let mut claims = active.claims.clone();
    let ends = active.expires_at.min(now.saturating_add(server.parts().lifetimes.access_token));
    claims.insert("iat".to_owned(), now.as_secs().into());
    claims.insert("exp".to_owned(), ends.as_secs().into());
    Ok(server.parts().keys.sign(server.algorithm(client), ACCESS_TYPE, &claims)?)
}

/// Reads `Accept`: the first form that we have, without regard to weights, which nobody uses here.
fn wanted(incoming: &Incoming) -> Wanted {
    let lines = incoming.headers.get_all(ACCEPT).iter().filter_map(|line| line.to_str().ok());
    let kinds = lines.flat_map(|line| line.split(',')).filter_map(|kind| kind.split(';').next());
    for kind in kinds {
        match kind.trim().to_ascii_lowercase().as_str() {
            "application/token-introspection+jwt" => return Wanted::Signed,
            "application/jwt" => return Wanted::Phantom,
            "application/json" | "application/*" | "*/*" => return Wanted::Json,
            _ => {}
        }
    }
    Wanted::Json
}
