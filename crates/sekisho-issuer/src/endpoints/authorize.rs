//! The authorization endpoint ([RFC 6749 §3.1](https://www.rfc-editor.org/rfc/rfc6749#section-3.1), [OpenID Connect Core §3.1.2](https://openid.net/specs/openid-connect-core-1_0.html#AuthorizationEndpoint)).

use std::time::Duration;

use axum::extract::{Request, State};
use axum::response::Response;
use sekisho_core::{Failure, UnixSeconds};

use super::LONGEST_QUERY;
use crate::answer::{self, OAuthError};
use crate::browser::{Browser, Errand, LoginPage, Step, Target};
use crate::form::Form;
use crate::handle::{self, GrantId, HandleHash, Purpose};
use crate::incoming::Incoming;
use crate::pages::PageContent;
use crate::redirect;
use crate::store::{CodeRecord, Grant, SsoSession};
use crate::{AuthorizationServer, GrantKind, Message, ScopeSet};

mod request;

use request::Prompt;
pub(super) use request::{AuthorizationRequest, audience};

/// How long a taken code is remembered beyond its end, to tell a replay from a guess.
const CODE_MEMORY: Duration = Duration::from_secs(600);

/// Ends an authorization without a code.
pub(super) enum Unusable {
    /// Nobody can be told but the user: client or redirect URI are not trusted.
    Page(&'static str),
    /// The client is told, through the browser.
    Client {
        redirect_uri: String,
        state: Option<String>,
        error: OAuthError,
    },
    Failure(Failure),
}

impl From<Failure> for Unusable {
    fn from(failure: Failure) -> Self {
        Self::Failure(failure)
    }
}

impl Unusable {
    pub(super) fn into_response(self, server: &AuthorizationServer) -> Response {
        match self {
            Self::Page(reason) => {
                tracing::debug!(endpoint = "authorize", reason, "refused");
                server.message(400, Message::BadRequest(reason))
            }
            Self::Client { redirect_uri, state, error } => {
                tracing::debug!(endpoint = "authorize", error = error.code, reason = error.description, "refused");
                let answer = [("error", error.code), ("error_description", error.description)];
                back_to_client(server, &redirect_uri, &answer, state.as_deref())
            }
            Self::Failure(failure) => server.broken(&failure),
        }
    }
}

pub(super) async fn begin(State(server): State<AuthorizationServer>, request: Request) -> Response {
    let (incoming, _) = server.receive(request).await;
    let answer = async {
        if incoming.query.len() > LONGEST_QUERY {
            return Err(Unusable::Page("The parameters are not well formed."));
        }
        let mut browser = Browser::of(&server, &incoming).await?;
        proceed(&server, &incoming, &mut browser, &incoming.query, Progress::Begun).await
    };
    answer.await.unwrap_or_else(|unusable| unusable.into_response(&server))
}

/// Takes the user's word on what the client asks for.
pub(super) async fn decide(State(server): State<AuthorizationServer>, request: Request) -> Response {
    let (incoming, body) = server.receive(request).await;
    let answer = async {
        let form = incoming.form(body).await.map_err(|error| Unusable::Page(error.description))?;
        let mut browser = Browser::of(&server, &incoming).await?;
        let errand = Errand::from_form(&form).filter(|errand| errand.target == Target::Authorize);
        let errand = errand.ok_or(Unusable::Page("The form is not one of ours."))?;
        let is_ours = incoming.is_same_origin(server.parts().issuer.origin())
            && browser.wrote(&server, Step::Decide, &errand, form.get("token").unwrap_or_default(), incoming.now);
        if !is_ours {
            // Begins anew, so that an old page still leads somewhere; nothing was allowed.
            return proceed(&server, &incoming, &mut browser, &errand.request, Progress::Begun).await;
        }
        let progress = match form.get("decision") {
            Some("allow") => Progress::Allowed,
            _ => Progress::Denied,
        };
        proceed(&server, &incoming, &mut browser, &errand.request, progress).await
    };
    answer.await.unwrap_or_else(|unusable| unusable.into_response(&server))
}

/// Says how far the user has come with this very request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    Begun,
    /// Logged in for this request, in the exchange that is being answered.
    LoggedIn,
    /// Logged in as the request needs it, and said yes.
    Allowed,
    /// Said no.
    Denied,
}

/// Reads the request anew and goes on as far as possible: to the login page, the consent page, or back to the client.
pub(super) async fn proceed(
    server: &AuthorizationServer,
    incoming: &Incoming,
    browser: &mut Browser,
    query: &str,
    progress: Progress,
) -> Result<Response, Unusable> {
    let now = incoming.now;
    let form = Form::parse(query.as_bytes()).map_err(|_| Unusable::Page("The parameters are not well formed."))?;
    let request = AuthorizationRequest::read(server, &form, now).await?;
    let errand = Errand::new(Target::Authorize, query);
    // A session that began in this very exchange is not in the browser yet.
    let before = browser.session.as_ref().filter(|_| progress != Progress::LoggedIn).map(|session| session.session);
    let session = match browser.session.clone() {
        Some(session) if progress != Progress::Begun || !request.needs_login(&session, now) => session,
        _ if progress == Progress::Denied => return Err(request.refuse(denied())),
        _ if request.prompt == Prompt::None => {
            return Err(request.refuse(OAuthError::new("login_required", "nobody is logged in")));
        }
        _ => return login_page(server, incoming, browser, &request, &errand),
    };
    if progress == Progress::Denied {
        return Err(request.refuse(denied()));
    }
    // After a login that was asked for because of its context, without reaching one: to ask again would be a circle.
    if progress != Progress::Begun && !request.context_fits(&session) {
        const UNMET: OAuthError =
            OAuthError::new("unmet_authentication_requirements", "the login reaches none of the contexts");
        return Err(request.refuse(UNMET));
    }
    if progress != Progress::Begun && !request.user_fits(&session) {
        return Err(
            request.refuse(OAuthError::new("login_required", "another user is logged in than the one who is due"))
        );
    }
    let parts = server.parts();
    let known = parts.store.consent(&session.subject, request.client.id()).await?;
    let is_new = request.client.asks_consent && !known.contains_all(&request.scope);
    let must_ask = is_new || request.wants_consent() || !request.client_is_assured();
    if must_ask && progress != Progress::Allowed {
        if request.prompt == Prompt::None {
            return Err(request.refuse(OAuthError::new("consent_required", "the user has not allowed this yet")));
        }
        let hidden = browser.hidden(server, Step::Decide, &errand, now)?;
        let action = parts.issuer.route("/consent");
        let content = PageContent::Consent {
            form: server.form(&action, &hidden),
            client: request.client.name(),
            scopes: request.scope.iter().collect(),
            user_code: None,
        };
        let mut response = server.page(200, content, Some(&request.redirect_uri));
        browser.set_cookies(server, &mut response, before);
        return Ok(response);
    }
    if is_new {
        let allowed = known.joined(&request.scope);
        parts.store.put_consent(&session.subject, request.client.id(), &allowed).await?;
    }
    let Some(code) = make_code(server, &request, &session, now).await? else {
        return Err(request.refuse(OAuthError::new("login_required", "the login has ended meanwhile")));
    };
    let answer = [("code", handle::text(&code))];
    let mut response = back_to_client(server, &request.redirect_uri, &answer, request.state.as_deref());
    browser.set_cookies(server, &mut response, before);
    Ok(response)
}

fn login_page(
    server: &AuthorizationServer,
    incoming: &Incoming,
    browser: &mut Browser,
    request: &AuthorizationRequest,
    errand: &Errand,
) -> Result<Response, Unusable> {
    let before = browser.session.as_ref().map(|session| session.session);
    let page = LoginPage {
        client: Some(request.client.name()),
        username: request.login_hint.as_deref().unwrap_or_default(),
        leads_to: Some(&request.redirect_uri),
        ..LoginPage::FIRST
    };
    let mut response = server.login_page(browser, errand, &page, incoming.now)?;
    browser.set_cookies(server, &mut response, before);
    Ok(response)
}

/// Keeps a grant and a code for it. `None` when the login has ended meanwhile.
async fn make_code(
    server: &AuthorizationServer,
    request: &AuthorizationRequest,
    session: &SsoSession,
    now: UnixSeconds,
) -> Result<Option<sekisho_core::Secret>, Failure> {
    let parts = server.parts();
    let grant = make_grant(server, &request.client, &request.scope, &request.audience, session, now)?;
    let code = handle::secret_text()?;
    let ends = now.saturating_add(parts.lifetimes.code);
    let record = CodeRecord {
        code: HandleHash::of(Purpose::Code, handle::text(&code)),
        grant: grant.id.clone(),
        redirect_uri: request.redirect_uri.clone(),
        code_challenge: request.code_challenge.clone(),
        nonce: request.nonce.clone(),
        expires_at: ends,
        remembered_until: ends.saturating_add(CODE_MEMORY),
    };
    parts.store.begin_grant(&grant, Some(&record), now).await?;
    Ok(keep_grant(server, &grant, session, now).await?.then_some(code))
}

/// Takes a grant back whose login ended while it began; false then.
///
/// INVARIANT: asked after the grant is kept. Whoever ends a login revokes its grants afterwards, so one of two at the same time sees the
/// other.
pub(super) async fn keep_grant(
    server: &AuthorizationServer,
    grant: &Grant,
    session: &SsoSession,
    now: UnixSeconds,
) -> Result<bool, Failure> {
    let parts = server.parts();
    if parts.store.use_session(&session.session, parts.lifetimes.session_idle, now).await?.is_some() {
        return Ok(true);
    }
    server.revoke_grant(&grant.id, now).await?;
    Ok(false)
}

/// Begins what a user allows a client.
pub(super) fn make_grant(
    server: &AuthorizationServer,
    client: &crate::Client,
    scope: &ScopeSet,
    audience: &[String],
    session: &SsoSession,
    now: UnixSeconds,
) -> Result<Grant, Failure> {
    let lifetimes = &server.parts().lifetimes;
    let longest = if client.may(GrantKind::RefreshToken) {
        lifetimes.refresh
    } else {
        // The code or device code must be redeemed, then the access token must live to its end.
        lifetimes.device_code.max(lifetimes.code) + client.access_token_lifetime.unwrap_or(lifetimes.access_token)
    };
    let ends = now.saturating_add(longest);
    let outlives = scope.contains("offline_access");
    Ok(Grant {
        id: GrantId::generate()?,
        client_id: client.id().to_owned(),
        subject: session.subject.clone(),
        sid: (!outlives).then(|| session.sid.clone()),
        scope: scope.clone(),
        audience: audience.to_vec(),
        authentication: session.authentication.clone(),
        created_at: now,
        expires_at: if outlives { ends } else { ends.min(session.expires_at) },
    })
}

/// Sends the browser back, with `state` as it came and `iss` ([RFC 9207](https://www.rfc-editor.org/rfc/rfc9207)).
fn back_to_client(
    server: &AuthorizationServer,
    redirect_uri: &str,
    answer: &[(&str, &str)],
    state: Option<&str>,
) -> Response {
    let mut parameters = answer.to_vec();
    parameters.extend(state.map(|state| ("state", state)));
    parameters.push(("iss", server.issuer()));
    answer::redirect(&redirect::with_parameters(redirect_uri, &parameters))
}

const fn denied() -> OAuthError {
    OAuthError::new("access_denied", "the user does not allow it")
}
