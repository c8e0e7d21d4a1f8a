//! Revocation ([RFC 7009](https://www.rfc-editor.org/rfc/rfc7009)).

use axum::response::Response;

use super::token;
use crate::AuthorizationServer;
use crate::answer::{self, OAuthError, Refused};
use crate::client_auth;
use crate::form::Form;
use crate::incoming::Incoming;

/// Revokes a token of the client that asks: a refresh token with its whole grant, an access token alone. `token_type_hint` is not needed.
pub(super) async fn answer(
    server: &AuthorizationServer,
    incoming: &Incoming,
    form: &Form,
) -> Result<Response, Refused> {
    const ANOTHERS: OAuthError = OAuthError::grant("the token is another client's");
    let now = incoming.now;
    let client = client_auth::prove(server, incoming, form).await?;
    let text = form.get("token").ok_or(OAuthError::request("token is missing"))?;
    if let Some(active) = server.active(text, now).await? {
        if active.text("client_id") != Some(client.id()) {
            return Err(ANOTHERS.into());
        }
        server.revoke_active(text, &active, now).await?;
    } else if let Some((family, _)) = token::split(text) {
        // An old refresh token of the family does as well: whoever wants it gone has reason.
        if let Some((_, grant)) = server.parts().store.refresh_family(&family, now).await? {
            if grant.client_id != client.id() {
                return Err(ANOTHERS.into());
            }
            server.revoke_grant(&grant.id, now).await?;
        }
    }
    // RFC 7009 §2.2: what is none any more, or never was, is revoked.
    Ok(answer::bare(200))
}
