//! Logging out ([OpenID Connect RP-Initiated Logout 1.0](https://openid.net/specs/openid-connect-rpinitiated-1_0.html)).

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use sekisho_core::{Failure, UnixSeconds};

use super::authorize::Unusable;
use super::{LONGEST_QUERY, login};
use crate::browser::{Browser, Errand, Step, Target};
use crate::form::Form;
use crate::incoming::Incoming;
use crate::pages::PageContent;
use crate::redirect;
use crate::tokens::ID_TYPE;
use crate::{AuthorizationServer, Client, Message, answer};

/// Is what an ID token says about a login, even an expired one: a hint, no proof of who asks.
pub(super) struct Hint {
    pub(super) subject: String,
    pub(super) client_id: String,
    sid: Option<String>,
}

/// Reads an ID token of ours, without regard to its times.
pub(super) fn read_hint(server: &AuthorizationServer, token: &str, now: UnixSeconds) -> Option<Hint> {
    let claims = server.parts().keys.read_own(token, ID_TYPE, now)?;
    let text = |name: &str| Some(claims.get(name)?.as_str()?.into_owned());
    // `azp` stands in all our ID tokens and in nothing else that we sign.
    let client_id = text("azp")?;
    if text("iss")? != server.issuer() || text("aud")? != client_id {
        return None;
    }
    Some(Hint { subject: text("sub")?, client_id, sid: text("sid") })
}

/// Is a request to log out that makes sense.
struct LogoutRequest {
    hint: Option<Hint>,
    client: Option<Arc<Client>>,
    /// Where to go afterwards, `state` included.
    goes_to: Option<String>,
    /// The same without parameters.
    leads_to: Option<String>,
}

impl LogoutRequest {
    async fn read(server: &AuthorizationServer, query: &str, now: UnixSeconds) -> Result<Self, Unusable> {
        const MALFORMED: Unusable = Unusable::Page("The parameters are not well formed.");
        let form = Form::parse(query.as_bytes()).map_err(|_| MALFORMED)?;
        let hint = match form.get("id_token_hint") {
            Some(token) => {
                Some(read_hint(server, token, now).ok_or(Unusable::Page("The hint is no ID token of ours."))?)
            }
            None => None,
        };
        let id = match (&hint, form.get("client_id")) {
            (Some(hint), Some(id)) if hint.client_id != id => {
                return Err(Unusable::Page("The hint is another client's."));
            }
            (Some(hint), _) => Some(hint.client_id.as_str()),
            (None, id) => id.filter(|id| id.len() <= 255),
        };
        let client = match id {
            Some(id) => server.parts().clients.client(id).await?,
            None => None,
        };
        const UNKNOWN: Unusable = Unusable::Page("The application wants to go on in a place that is not its own.");
        let leads_to = match (form.get("post_logout_redirect_uri"), &client) {
            (None, _) => None,
            (Some(uri), Some(client)) if client.post_logout_redirect_uris.iter().any(|own| own == uri) => {
                Some(uri.to_owned())
            }
            _ => return Err(UNKNOWN),
        };
        let goes_to = leads_to.as_deref().map(|uri| match form.get("state") {
            Some(state) => redirect::with_parameters(uri, &[("state", state)]),
            None => uri.to_owned(),
        });
        Ok(Self { hint, client, goes_to, leads_to })
    }
}

pub(super) async fn begin(State(server): State<AuthorizationServer>, request: Request) -> Response {
    let (incoming, _) = server.receive(request).await;
    let answer = async {
        let now = incoming.now;
        if incoming.query.len() > LONGEST_QUERY {
            return Err(Unusable::Page("The parameters are not well formed."));
        }
        let request = LogoutRequest::read(&server, &incoming.query, now).await?;
        let mut browser = Browser::of(&server, &incoming).await?;
        let Some(session) = browser.session.clone() else {
            return Ok(finished(&server, &request, Message::LoggedOut));
        };
        // Nobody but a client of this very login has its ID token, so nobody else can log the user out by a link.
        let is_known = |hint: &Hint| hint.sid.as_ref() == Some(&session.sid) && hint.subject == session.subject;
        if request.hint.as_ref().is_some_and(is_known) {
            return log_out(&server, &mut browser, &request, now).await;
        }
        let errand = Errand::new(Target::Logout, &incoming.query);
        let hidden = browser.hidden(&server, Step::Decide, &errand, now)?;
        let action = server.parts().issuer.route("/end_session/decision");
        let form = server.form(&action, &hidden);
        let content = PageContent::Logout { form, client: request.client.as_ref().map(|client| client.name()) };
        let mut response = server.page(200, content, request.leads_to.as_deref());
        browser.set_cookies(&server, &mut response, Some(session.session));
        Ok(response)
    };
    answer.await.unwrap_or_else(|unusable| unusable.into_response(&server))
}

pub(super) async fn decide(State(server): State<AuthorizationServer>, request: Request) -> Response {
    let (incoming, body) = server.receive(request).await;
    let answer = async {
        let now = incoming.now;
        let form = incoming.form(body).await.map_err(|error| Unusable::Page(error.description))?;
        let mut browser = Browser::of(&server, &incoming).await?;
        let request = decided(&server, &incoming, &browser, &form).await?;
        if form.get("decision") != Some("allow") {
            return Ok(server.message(200, Message::StillLoggedIn));
        }
        log_out(&server, &mut browser, &request, now).await
    };
    answer.await.unwrap_or_else(|unusable: Unusable| unusable.into_response(&server))
}

async fn decided(
    server: &AuthorizationServer,
    incoming: &Incoming,
    browser: &Browser,
    form: &Form,
) -> Result<LogoutRequest, Unusable> {
    let errand = Errand::from_form(form).filter(|errand| errand.target == Target::Logout);
    let errand = errand.ok_or(Unusable::Page("The form is not one of ours."))?;
    let token = form.get("token").unwrap_or_default();
    let is_ours = incoming.is_same_origin(server.parts().issuer.origin())
        && browser.wrote(server, Step::Decide, &errand, token, incoming.now);
    if !is_ours {
        return Err(Unusable::Page(login::not_ours().description));
    }
    LogoutRequest::read(server, &errand.request, incoming.now).await
}

async fn log_out(
    server: &AuthorizationServer,
    browser: &mut Browser,
    request: &LogoutRequest,
    now: UnixSeconds,
) -> Result<Response, Unusable> {
    let before = browser.session.as_ref().map(|session| session.session);
    if let Some(session) = browser.session.clone() {
        server.end_session(&session, now).await?;
    }
    browser.log_out();
    let mut response = finished(server, request, Message::LoggedOut);
    browser.set_cookies(server, &mut response, before);
    Ok(response)
}

fn finished(server: &AuthorizationServer, request: &LogoutRequest, message: Message) -> Response {
    match &request.goes_to {
        Some(uri) => answer::redirect(uri),
        None => server.message(200, message),
    }
}

impl AuthorizationServer {
    /// Ends a login and the grants that end with it.
    pub(crate) async fn end_session(
        &self,
        session: &crate::store::SsoSession,
        now: UnixSeconds,
    ) -> Result<(), Failure> {
        let store = &self.parts().store;
        // The session last: if another step fails, the user is still logged in and can try again, and services are told again.
        store.revoke_session_grants(&session.sid, now).await?;
        self.tell(crate::Revocation::Session(session.sid.clone()), now).await?;
        store.end_session(&session.session).await?;
        // Again: one that began meanwhile looks for its session afterwards, and one of the two sees the other.
        store.revoke_session_grants(&session.sid, now).await.map(drop)
    }
}
