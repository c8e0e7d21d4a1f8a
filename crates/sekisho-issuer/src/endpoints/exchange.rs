//! Token exchange ([RFC 8693](https://www.rfc-editor.org/rfc/rfc8693)).

use sekisho_core::UnixSeconds;
use serde_json::{Value, json};

use super::token::TokenAnswer;
use crate::answer::{OAuthError, Refused};
use crate::client_auth::ProvedClient;
use crate::form::Form;
use crate::inspect::Active;
use crate::store::Authentication;
use crate::tokens::AccessToken;
use crate::{AuthorizationServer, ScopeSet};

const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";
/// How many services may stand in a chain of `act`.
const MOST_ACTORS: usize = 8;

/// Gives a client that was called a token for the next service, in the name of the same user. The client is the actor.
pub(super) async fn exchange(
    server: &AuthorizationServer,
    client: &ProvedClient,
    form: &Form,
    now: UnixSeconds,
) -> Result<TokenAnswer, Refused> {
    const REFUSED: OAuthError = OAuthError::request("the subject token is not good, or not for this client");
    let rules = client.exchange.as_ref().ok_or(OAuthError::unauthorized())?;
    if form.get("actor_token").is_some() || form.get("actor_token_type").is_some() {
        return Err(OAuthError::request("the client is the actor; another actor_token is not taken").into());
    }
    match form.get("subject_token_type") {
        Some(ACCESS_TOKEN | JWT) => {}
        _ => return Err(OAuthError::request("subject_token_type must be access_token or jwt").into()),
    }
    let issued = match form.get("requested_token_type") {
        None | Some(ACCESS_TOKEN) => ACCESS_TOKEN,
        Some(JWT) if client.access_token == crate::AccessTokenFormat::Jwt => JWT,
        Some(_) => return Err(OAuthError::request("requested_token_type must be access_token").into()),
    };
    let audience = audience(form, &rules.audiences)?;
    let token = form.get("subject_token").ok_or(OAuthError::request("subject_token is missing"))?;
    let subject = server.active(token, now).await?.ok_or(REFUSED)?;
    // The confused deputy: a token that was made for somebody else is no word of the user to this client.
    if !subject.audience().any(|audience| client.own_audiences.contains(&audience.to_owned())) {
        return Err(REFUSED.into());
    }
    // A token that is bound to a key or certificate is its holder's alone.
    if subject.claims.contains_key("cnf") || subject.claims.get("may_act").is_some_and(|may| !names(may, client.id())) {
        return Err(REFUSED.into());
    }
    let had = subject.scope();
    let most = had.common(&rules.scopes);
    let scope = match form.get("scope") {
        None => most,
        Some(text) => ScopeSet::parse(text).filter(|scope| most.contains_all(scope)).ok_or(OAuthError::scope())?,
    };
    let former = subject.claims.get("act");
    if chain(former) >= MOST_ACTORS {
        return Err(OAuthError::request("too many services have passed this token on").into());
    }
    let mut actor = json!({ "sub": client.id() });
    if let (Some(former), Some(members)) = (former, actor.as_object_mut()) {
        members.insert("act".to_owned(), former.clone());
    }
    let Some(name) = subject.text("sub") else { return Err(REFUSED.into()) };
    // A machine's token names another client than its own once it was passed on.
    let is_user = server.parts().clients.client(name).await?.is_none();
    let user = if is_user { server.user(name, subject.login_at(), now).await? } else { None };
    if is_user && user.is_none() {
        return Err(REFUSED.into());
    }
    let authentication = authentication(&subject);
    let token = AccessToken {
        client,
        subject: name,
        audience: &audience,
        scope: &scope,
        grant: subject.grant.as_ref(),
        sid: subject.text("sid"),
        authentication: authentication.as_ref(),
        actor: Some(actor),
        thumbprint: client.thumbprint.filter(|_| client.certificate_bound),
        extra: user.as_ref().map(crate::UserClaims::access),
        not_after: subject.expires_at,
        lifetime: None,
    };
    let access_token = server.make_access_token(token, now).await?;
    Ok(TokenAnswer { access_token, scope, refresh_token: None, id_token: None, issued_token_type: Some(issued) })
}

/// Reads for whom the new token is to be; the first audience of the rules if nothing is said.
fn audience(form: &Form, allowed: &[String]) -> Result<Vec<String>, OAuthError> {
    let mut audience: Vec<String> = Vec::new();
    for asked in form.all("audience").chain(form.all("resource")) {
        if !allowed.iter().any(|own| own == asked) {
            return Err(OAuthError::target());
        }
        if !audience.iter().any(|known| known == asked) {
            audience.push(asked.to_owned());
        }
    }
    if audience.is_empty() {
        audience.extend(allowed.first().cloned());
    }
    Ok(audience)
}

/// Tells whether `may_act` names the client ([RFC 8693 §4.4](https://www.rfc-editor.org/rfc/rfc8693#section-4.4)).
fn names(may_act: &Value, client: &str) -> bool {
    may_act.get("sub").and_then(Value::as_str) == Some(client)
}

fn chain(actor: Option<&Value>) -> usize {
    std::iter::successors(actor, |actor| actor.get("act")).count()
}

fn authentication(subject: &Active) -> Option<Authentication> {
    let time = UnixSeconds::new(subject.claims.get("auth_time")?.as_u64()?);
    let methods = subject.claims.get("amr").and_then(Value::as_array);
    let methods = methods.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect();
    Some(Authentication { time, context: subject.text("acr").map(str::to_owned), methods })
}
