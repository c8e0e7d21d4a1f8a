//! The token endpoint ([RFC 6749 §3.2](https://www.rfc-editor.org/rfc/rfc6749#section-3.2)).

use axum::response::Response;
use sekisho_core::{Secret, UnixSeconds};
use serde_json::{Map, Value};
use subtle::ConstantTimeEq;

use super::{authorize, exchange};
use crate::answer::{OAuthError, Refused, json_response};
use crate::client_auth::{self, ProvedClient};
use crate::form::Form;
use crate::handle::{self, HandleHash, Purpose};
use crate::incoming::Incoming;
use crate::store::{CodeRecord, DevicePoll, Grant, RefreshFamily, TakenCode};
use crate::tokens::{AccessToken, MadeToken};
use crate::{AuthorizationServer, GrantKind, ScopeSet};

pub(super) async fn answer(
    server: &AuthorizationServer,
    incoming: &Incoming,
    form: &Form,
) -> Result<Response, Refused> {
    let client = client_auth::prove(server, incoming, form).await?;
    let kind = form.get("grant_type").ok_or(OAuthError::request("grant_type is missing"))?;
    let kind = GrantKind::from_name(kind);
    let kind = kind.ok_or(OAuthError::new("unsupported_grant_type", "grants of this type are not given"))?;
    if !client.may(kind) {
        return Err(OAuthError::unauthorized().into());
    }
    let now = incoming.now;
    let answer = match kind {
        GrantKind::AuthorizationCode => authorization_code(server, &client, form, now).await?,
        GrantKind::RefreshToken => refresh(server, &client, form, now).await?,
        GrantKind::ClientCredentials => client_credentials(server, &client, form, now).await?,
        GrantKind::DeviceCode => device_code(server, &client, form, now).await?,
        GrantKind::TokenExchange => exchange::exchange(server, &client, form, now).await?,
    };
    Ok(json_response(200, &Value::Object(answer.into_members(now))))
}

/// Is what the endpoint hands out ([RFC 6749 §5.1](https://www.rfc-editor.org/rfc/rfc6749#section-5.1)).
pub(super) struct TokenAnswer {
    pub(super) access_token: MadeToken,
    pub(super) scope: ScopeSet,
    pub(super) refresh_token: Option<String>,
    pub(super) id_token: Option<String>,
    pub(super) issued_token_type: Option<&'static str>,
}

impl TokenAnswer {
    fn into_members(self, now: UnixSeconds) -> Map<String, Value> {
        let Self { access_token, scope, refresh_token, id_token, issued_token_type } = self;
        let mut members = Map::new();
        let mut add = |name: &str, value: Option<Value>| {
            members.extend(value.map(|value| (name.to_owned(), value)));
        };
        add("access_token", Some(handle::text(&access_token.token).into()));
        add("token_type", Some("Bearer".into()));
        add("expires_in", Some(access_token.expires_at.since(now).as_secs().into()));
        add("scope", (!scope.is_empty()).then(|| scope.to_string().into()));
        add("refresh_token", refresh_token.map(Into::into));
        add("id_token", id_token.map(Into::into));
        add("issued_token_type", issued_token_type.map(Into::into));
        members
    }
}

/// [RFC 6749 §4.1.3](https://www.rfc-editor.org/rfc/rfc6749#section-4.1.3), [RFC 7636 §4.6](https://www.rfc-editor.org/rfc/rfc7636#section-4.6)
async fn authorization_code(
    server: &AuthorizationServer,
    client: &ProvedClient,
    form: &Form,
    now: UnixSeconds,
) -> Result<TokenAnswer, Refused> {
    const REFUSED: OAuthError = OAuthError::grant("the code is not known, used, ended, or another client's");
    let code = form.get("code").ok_or(OAuthError::request("code is missing"))?;
    let verifier = form.get("code_verifier").ok_or(OAuthError::request("code_verifier is missing"))?;
    let store = &server.parts().store;
    // From here on the code is used up, whatever is wrong with the rest.
    let (record, grant) = match store.take_code(&HandleHash::of(Purpose::Code, code), now).await? {
        TakenCode::Fresh(taken) => *taken,
        TakenCode::Replayed(grant) => {
            // RFC 6749 §4.1.2: two have the code. What it brought the first one is taken back.
            tracing::warn!(client = client.id(), "an authorization code was used twice; its grant is revoked");
            server.revoke_grant(&grant, now).await?;
            return Err(REFUSED.into());
        }
        TakenCode::Unknown => return Err(REFUSED.into()),
    };
    let refusal = check_code(client, form, &record, &grant, verifier);
    if let Some(refusal) = refusal {
        server.revoke_grant(&grant.id, now).await?;
        return Err(refusal.into());
    }
    grant_tokens(server, client, &grant, record.nonce.as_deref(), form, now).await
}

/// Says what is wrong with the use of a code, if anything is.
fn check_code(
    client: &ProvedClient,
    form: &Form,
    record: &CodeRecord,
    grant: &Grant,
    verifier: &str,
) -> Option<OAuthError> {
    if grant.client_id != client.id() {
        return Some(OAuthError::grant("the code is not known, used, ended, or another client's"));
    }
    // With PKCE it may be left out (OAuth 2.1 §10.2); if it is there it must be the same.
    if form.get("redirect_uri").is_some_and(|uri| uri != record.redirect_uri) {
        return Some(OAuthError::grant("redirect_uri is not the one of the code"));
    }
    let fits = (43..=128).contains(&verifier.len())
        && verifier.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte));
    let challenge = handle::encode(&handle::sha256(verifier.as_bytes()));
    if !fits || !bool::from(challenge.as_bytes().ct_eq(record.code_challenge.as_bytes())) {
        return Some(OAuthError::grant("code_verifier does not fit"));
    }
    None
}

/// Hands out the first tokens of a grant.
async fn grant_tokens(
    server: &AuthorizationServer,
    client: &ProvedClient,
    grant: &Grant,
    nonce: Option<&str>,
    form: &Form,
    now: UnixSeconds,
) -> Result<TokenAnswer, Refused> {
    let part = match narrowed(client, grant, form, None) {
        Ok(part) => part,
        Err(error) => {
            // The code is used up, so nobody could come back for the grant.
            server.revoke_grant(&grant.id, now).await?;
            return Err(error.into());
        }
    };
    let mut answer = user_tokens(server, client, &part, nonce, now).await?;
    if client.may(GrantKind::RefreshToken) {
        let (family, secret) = (handle::secret_text()?, handle::secret_text()?);
        let idle = now.saturating_add(server.parts().lifetimes.refresh_idle).min(grant.expires_at);
        let record = RefreshFamily {
            family: HandleHash::of(Purpose::RefreshFamily, handle::text(&family)),
            current: HandleHash::of(Purpose::RefreshToken, handle::text(&secret)),
            grant: grant.id.clone(),
            idle_until: idle,
            expires_at: grant.expires_at,
        };
        server.parts().store.begin_refresh(&record, now).await?;
        answer.refresh_token = Some(join(&family, &secret));
    }
    Ok(answer)
}

/// Cuts a grant to the part that tokens are asked of: what the client may still have, the scopes that are asked, and the resource servers
/// that `resource` names ([RFC 8707 §2.2](https://www.rfc-editor.org/rfc/rfc8707#section-2.2)).
fn narrowed(client: &ProvedClient, grant: &Grant, form: &Form, scope: Option<&str>) -> Result<Grant, OAuthError> {
    let allowed = grant.scope.common(&client.scopes);
    if allowed.is_empty() && !grant.scope.is_empty() {
        return Err(OAuthError::scope());
    }
    let scope = match scope {
        None => allowed,
        Some(text) => ScopeSet::parse(text).filter(|scope| allowed.contains_all(scope)).ok_or(OAuthError::scope())?,
    };
    let mut audience = grant.audience.clone();
    audience.retain(|granted| client.audiences.contains(granted));
    if audience.is_empty() && !grant.audience.is_empty() {
        return Err(OAuthError::target());
    }
    let asked: Vec<&str> = form.all("resource").collect();
    if asked.iter().any(|asked| !audience.iter().any(|granted| granted == asked)) {
        return Err(OAuthError::target());
    }
    if !asked.is_empty() {
        audience.retain(|granted| asked.contains(&granted.as_str()));
    }
    Ok(Grant { scope, audience, ..grant.clone() })
}

/// Makes the access token and, for `openid`, the ID token of a grant.
async fn user_tokens(
    server: &AuthorizationServer,
    client: &ProvedClient,
    grant: &Grant,
    nonce: Option<&str>,
    now: UnixSeconds,
) -> Result<TokenAnswer, Refused> {
    let user = server.user(&grant.subject, grant.authentication.time, now).await?;
    let Some(user) = user else {
        server.revoke_grant(&grant.id, now).await?;
        return Err(OAuthError::grant("the user is gone or barred").into());
    };
    let token = AccessToken {
        thumbprint: client.thumbprint.filter(|_| client.certificate_bound),
        extra: Some(user.access()),
        ..AccessToken::of_grant(grant, client)
    };
    let access_token = server.make_access_token(token, now).await?;
    let id_token = match grant.scope.contains("openid") {
        true => {
            let text = handle::text(&access_token.token);
            Some(server.make_id_token(client, grant, nonce, text, Some(&user), now)?)
        }
        false => None,
    };
    let scope = grant.scope.clone();
    Ok(TokenAnswer { access_token, scope, refresh_token: None, id_token, issued_token_type: None })
}

/// [RFC 6749 §6](https://www.rfc-editor.org/rfc/rfc6749#section-6), with rotation and reuse detection ([RFC 9700 §4.14.2](https://www.rfc-editor.org/rfc/rfc9700#section-4.14.2))
async fn refresh(
    server: &AuthorizationServer,
    client: &ProvedClient,
    form: &Form,
    now: UnixSeconds,
) -> Result<TokenAnswer, Refused> {
    const REFUSED: OAuthError =
        OAuthError::grant("the refresh token is not known, used, ended, revoked, or another client's");
    let token = form.get("refresh_token").ok_or(OAuthError::request("refresh_token is missing"))?;
    let (family, secret) = split(token).ok_or(REFUSED)?;
    let store = &server.parts().store;
    let (record, grant) = store.refresh_family(&family, now).await?.ok_or(REFUSED)?;
    if grant.client_id != client.id() {
        return Err(REFUSED.into());
    }
    let part = narrowed(client, &grant, form, form.get("scope"))?;
    let next = handle::secret_text()?;
    let idle = now.saturating_add(server.parts().lifetimes.refresh_idle);
    let to = HandleHash::of(Purpose::RefreshToken, handle::text(&next));
    // INVARIANT: nothing is handed out before this compare-and-set, and whoever loses it has an old token.
    if !record.current.is(&secret) || !store.rotate_refresh(&family, &secret, &to, idle, now).await? {
        tracing::warn!(client = client.id(), "a refresh token was used twice; its grant is revoked");
        server.revoke_grant(&grant.id, now).await?;
        return Err(REFUSED.into());
    }
    let mut answer = user_tokens(server, client, &part, None, now).await?;
    let family = token.split('.').next().unwrap_or_default();
    answer.refresh_token = Some(join(&Secret::from(family), &next));
    Ok(answer)
}

/// Writes a refresh token: the secret that stays, and the one that changes.
fn join(family: &Secret, secret: &Secret) -> String {
    format!("{}.{}", handle::text(family), handle::text(secret))
}

/// Hashes both parts of a refresh token.
pub(super) fn split(token: &str) -> Option<(HandleHash, HandleHash)> {
    let (family, secret) = token.split_once('.')?;
    if family.len() != 43 || secret.len() != 43 {
        return None;
    }
    Some((HandleHash::of(Purpose::RefreshFamily, family), HandleHash::of(Purpose::RefreshToken, secret)))
}

/// [RFC 6749 §4.4](https://www.rfc-editor.org/rfc/rfc6749#section-4.4)
async fn client_credentials(
    server: &AuthorizationServer,
    client: &ProvedClient,
    form: &Form,
    now: UnixSeconds,
) -> Result<TokenAnswer, Refused> {
    // There is no user whose they would be.
    let own = client.scopes.without("openid").without("offline_access");
    let scope = match form.get("scope") {
        None => own,
        Some(text) => ScopeSet::parse(text).filter(|scope| own.contains_all(scope)).ok_or(OAuthError::scope())?,
    };
    let audience = authorize::audience(form.all("resource").chain(form.all("audience")), client)?;
    let token = AccessToken {
        client,
        subject: client.id(),
        audience: &audience,
        scope: &scope,
        grant: None,
        sid: None,
        authentication: None,
        actor: None,
        thumbprint: client.thumbprint.filter(|_| client.certificate_bound),
        extra: None,
        not_after: UnixSeconds::MAX,
        lifetime: None,
    };
    let access_token = server.make_access_token(token, now).await?;
    Ok(TokenAnswer { access_token, scope, refresh_token: None, id_token: None, issued_token_type: None })
}

/// [RFC 8628 §3.4](https://www.rfc-editor.org/rfc/rfc8628#section-3.4)
async fn device_code(
    server: &AuthorizationServer,
    client: &ProvedClient,
    form: &Form,
    now: UnixSeconds,
) -> Result<TokenAnswer, Refused> {
    let code = form.get("device_code").ok_or(OAuthError::request("device_code is missing"))?;
    let code = HandleHash::of(Purpose::Device, code);
    let error = match server.parts().store.poll_device(&code, client.id(), now).await? {
        DevicePoll::Approved(grant) => return grant_tokens(server, client, &grant, None, form, now).await,
        DevicePoll::Pending => OAuthError::new("authorization_pending", "the user has not decided yet"),
        DevicePoll::SlowDown => OAuthError::new("slow_down", "asked too soon; the interval is 5 s longer now"),
        DevicePoll::Denied => OAuthError::new("access_denied", "the user does not allow it"),
        DevicePoll::Expired => OAuthError::new("expired_token", "nobody decided in time"),
        DevicePoll::Unknown => OAuthError::grant("the device code is not known, used, or another client's"),
    };
    Err(error.into())
}
