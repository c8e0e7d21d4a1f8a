//! Devices without a browser ([RFC 8628](https://www.rfc-editor.org/rfc/rfc8628)).

use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use axum::extract::{Request, State};
use axum::response::Response;
use http::HeaderValue;
use http::header::RETRY_AFTER;
use sekisho_core::Failure;
use serde_json::json;

use super::authorize::{self, Unusable};
use super::{LONGEST_QUERY, login};
use crate::answer::{OAuthError, Refused, json_response};
use crate::browser::{Browser, Errand, LoginPage, Step, Target};
use crate::client_auth;
use crate::form::Form;
use crate::handle::{self, HandleHash, Purpose};
use crate::incoming::Incoming;
use crate::pages::{PageContent, Problem};
use crate::store::{DeviceRequest, SsoSession};
use crate::{AuthorizationServer, DeviceLimits, GrantKind, Message, ScopeSet};

/// Letters that make no words and are not mistaken for digits (RFC 8628 §6.1): 20^8 codes.
const LETTERS: &[u8; 20] = b"BCDFGHJKLMNPQRSTVWXZ";
const CODE_LETTERS: usize = 8;
/// How many codes a user may type in a quarter of an hour (RFC 8628 §5.1). With 1,000 requests waiting, one
/// user then finds a foreign code with a chance of one in two million.
const MOST_CODES: u32 = 20;
const CODES_WITHIN: Duration = Duration::from_secs(900);
/// How often a new code is drawn when the one before is taken.
const DRAWS: usize = 4;

/// Answers the device that begins (RFC 8628 §3.1).
pub(super) async fn authorize(
    server: &AuthorizationServer,
    incoming: &Incoming,
    form: &Form,
) -> Result<Response, Refused> {
    let now = incoming.now;
    let parts = server.parts();
    let client = client_auth::prove(server, incoming, form).await?;
    if !client.may(GrantKind::DeviceCode) {
        return Err(OAuthError::unauthorized().into());
    }
    let scope = form.get("scope").and_then(ScopeSet::parse).filter(|scope| client.scopes.contains_all(scope));
    let scope = scope.ok_or(OAuthError::scope())?;
    let audience = authorize::audience(form.all("resource"), &client)?;
    if !admits(server, incoming, client.id()).await? {
        tracing::info!(client = client.id(), "too many device requests");
        return Ok(too_many(parts.device_limits.within));
    }
    let device_code = handle::secret_text()?;
    for _ in 0..DRAWS {
        let user_code = draw_user_code()?;
        let request = DeviceRequest {
            device: HandleHash::of(Purpose::Device, handle::text(&device_code)),
            user_code: HandleHash::of(Purpose::UserCode, &user_code),
            client_id: client.id().to_owned(),
            scope: scope.clone(),
            audience: audience.clone(),
            interval: parts.lifetimes.device_interval,
            expires_at: now.saturating_add(parts.lifetimes.device_code),
        };
        if parts.store.begin_device(&request, now).await? {
            let user_code = shown(&user_code);
            let page = parts.issuer.endpoint("/device");
            let answer = json!({
                "device_code": handle::text(&device_code),
                "user_code": user_code,
                "verification_uri": page,
                "verification_uri_complete": format!("{page}?user_code={user_code}"),
                "expires_in": parts.lifetimes.device_code.as_secs(),
                "interval": parts.lifetimes.device_interval.as_secs(),
            });
            return Ok(json_response(200, &answer));
        }
    }
    Err(Failure::unavailable("no user code is free").into())
}

/// Counts a request, and tells whether it is one too many of its client or its address.
async fn admits(server: &AuthorizationServer, incoming: &Incoming, client_id: &str) -> Result<bool, Failure> {
    let (parts, now) = (server.parts(), incoming.now);
    let DeviceLimits { per_address, per_client, within } = parts.device_limits;
    let until = now.saturating_add(within);
    let client = HandleHash::of(Purpose::DeviceClient, client_id);
    // Looked at first, so that addresses are not counted without end; counted last, so that one address cannot use a client's
    // share up.
    if parts.store.counted(&client, now).await? >= per_client {
        return Ok(false);
    }
    if let Some(address) = incoming.client_address(&parts.proxies) {
        let address = HandleHash::of(Purpose::DeviceAddress, &network(address).to_string());
        if parts.store.count(&address, until, now).await? > per_address {
            return Ok(false);
        }
    }
    Ok(parts.store.count(&client, until, now).await? <= per_client)
}

/// Returns what one holder of an address has: with IPv6 a network of 64 bits.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64)).into(),
    }
}

fn too_many(within: Duration) -> Response {
    let error = json!({ "error": "slow_down", "error_description": "too many devices are being connected" });
    let mut response = json_response(429, &error);
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(within.as_secs().max(1)));
    response
}

fn draw_user_code() -> Result<String, Failure> {
    let mut code = String::with_capacity(CODE_LETTERS);
    while code.len() < CODE_LETTERS {
        let mut bytes = [0; 16];
        handle::fill(&mut bytes)?;
        // Bytes from 240 on would make the first letters likelier.
        let letters = bytes.iter().filter(|byte| **byte < 240).filter_map(|byte| LETTERS.get(usize::from(byte % 20)));
        code.extend(letters.take(CODE_LETTERS - code.len()).map(|letter| char::from(*letter)));
    }
    Ok(code)
}

/// Brings a typed code to the form in which it is looked up: letter case and everything between the letters do not count.
fn normal(typed: &str) -> Option<String> {
    let letters: String = typed.chars().filter(char::is_ascii_alphabetic).map(|c| c.to_ascii_uppercase()).collect();
    (typed.len() <= 32 && letters.len() == CODE_LETTERS).then_some(letters)
}

/// Writes a code as people read it.
fn shown(code: &str) -> String {
    let (first, second) = code.split_at_checked(CODE_LETTERS / 2).unwrap_or_default();
    format!("{first}-{second}")
}

/// The page at which the user begins.
pub(super) async fn begin(State(server): State<AuthorizationServer>, request: Request) -> Response {
    let (incoming, _) = server.receive(request).await;
    let answer = async {
        if incoming.query.len() > LONGEST_QUERY {
            return Err(Unusable::Page("The parameters are not well formed."));
        }
        let mut browser = Browser::of(&server, &incoming).await?;
        let before = browser.session.as_ref().map(|session| session.session);
        show(&server, &incoming, &mut browser, &incoming.query, before).await
    };
    answer.await.unwrap_or_else(|unusable| unusable.into_response(&server))
}

/// Shows what is due: the login, or the question for the code. `before` is the session in the browser.
pub(super) async fn show(
    server: &AuthorizationServer,
    incoming: &Incoming,
    browser: &mut Browser,
    query: &str,
    before: Option<HandleHash>,
) -> Result<Response, Unusable> {
    let form = Form::parse(query.as_bytes()).map_err(|_| Unusable::Page("The parameters are not well formed."))?;
    if browser.session.is_none() {
        let errand = Errand::new(Target::Device, query);
        let mut response = server.login_page(browser, &errand, &LoginPage::FIRST, incoming.now)?;
        browser.set_cookies(server, &mut response, before);
        return Ok(response);
    }
    // A code in a link is not looked up before the user sends it: following links must not use up their attempts.
    let user_code = form.get("user_code").and_then(normal).map(|code| shown(&code)).unwrap_or_default();
    let mut response = ask_code(server, incoming, browser, 200, &user_code, None)?;
    browser.set_cookies(server, &mut response, before);
    Ok(response)
}

/// Takes the code that the user typed.
pub(super) async fn user_code(State(server): State<AuthorizationServer>, request: Request) -> Response {
    let (incoming, body) = server.receive(request).await;
    let answer = async {
        let form = incoming.form(body).await.map_err(|error| Unusable::Page(error.description))?;
        let mut browser = Browser::of(&server, &incoming).await?;
        let before = browser.session.as_ref().map(|session| session.session);
        let session = check_ours(&server, &incoming, &browser, &form, Step::UserCode)?.1;
        let typed = form.get("user_code").unwrap_or_default();
        let mut response = ask_decision(&server, &incoming, &mut browser, &session, typed).await?;
        browser.set_cookies(&server, &mut response, before);
        Ok(response)
    };
    answer.await.unwrap_or_else(|unusable: Unusable| unusable.into_response(&server))
}

/// Takes the user's word.
pub(super) async fn decide(State(server): State<AuthorizationServer>, request: Request) -> Response {
    let (incoming, body) = server.receive(request).await;
    let answer = async {
        let now = incoming.now;
        let parts = server.parts();
        let form = incoming.form(body).await.map_err(|error| Unusable::Page(error.description))?;
        let browser = Browser::of(&server, &incoming).await?;
        let (errand, session) = check_ours(&server, &incoming, &browser, &form, Step::Decide)?;
        const GONE: Unusable = Unusable::Page("The device does not wait any more. Please begin again there.");
        let user_code = HandleHash::of(Purpose::UserCode, &errand.request);
        let request = parts.store.undecided_device(&user_code, now).await?.ok_or(GONE)?;
        let client = parts.clients.client(&request.client_id).await?.ok_or(GONE)?;
        let allows = form.get("decision") == Some("allow");
        let grant = authorize::make_grant(&server, &client, &request.scope, &request.audience, &session, now)?;
        if !parts.store.decide_device(&user_code, Some(&grant).filter(|_| allows), now).await? {
            return Err(GONE);
        }
        if allows && !authorize::keep_grant(&server, &grant, &session, now).await? {
            return Err(Unusable::Page(login::not_ours().description));
        }
        Ok(server.message(200, if allows { Message::DeviceAllowed } else { Message::DeviceDenied }))
    };
    answer.await.unwrap_or_else(|unusable: Unusable| unusable.into_response(&server))
}

/// Checks that a form came from a page of ours in this session.
fn check_ours(
    server: &AuthorizationServer,
    incoming: &Incoming,
    browser: &Browser,
    form: &Form,
    step: Step<'_>,
) -> Result<(Errand, SsoSession), Unusable> {
    let errand = Errand::from_form(form).filter(|errand| errand.target == Target::Device);
    let token = form.get("token").unwrap_or_default();
    match (errand, browser.session.clone()) {
        (Some(errand), Some(session))
            if incoming.is_same_origin(server.parts().issuer.origin())
                && browser.wrote(server, step, &errand, token, incoming.now) =>
        {
            Ok((errand, session))
        }
        _ => Err(Unusable::Page(login::not_ours().description)),
    }
}

fn ask_code(
    server: &AuthorizationServer,
    incoming: &Incoming,
    browser: &mut Browser,
    status: u16,
    user_code: &str,
    problem: Option<Problem>,
) -> Result<Response, Unusable> {
    let hidden = browser.hidden(server, Step::UserCode, &Errand::new(Target::Device, ""), incoming.now)?;
    let action = server.parts().issuer.route("/device");
    Ok(server.page(status, PageContent::Device { form: server.form(&action, &hidden), user_code, problem }, None))
}

/// Asks whether the device with a code may go on; typed codes are counted.
async fn ask_decision(
    server: &AuthorizationServer,
    incoming: &Incoming,
    browser: &mut Browser,
    session: &SsoSession,
    typed: &str,
) -> Result<Response, Unusable> {
    let now = incoming.now;
    let parts = server.parts();
    let attempts = HandleHash::of(Purpose::UserCodeAttempts, &session.subject);
    // Counted before it is looked up, so that many at the same time are no way around it.
    if parts.store.count(&attempts, now.saturating_add(CODES_WITHIN), now).await? > MOST_CODES {
        return ask_code(server, incoming, browser, 429, "", Some(Problem::TryLater(CODES_WITHIN.as_secs())));
    }
    let code = normal(typed);
    let request = match &code {
        Some(code) => parts.store.undecided_device(&HandleHash::of(Purpose::UserCode, code), now).await?,
        None => None,
    };
    let client = match &request {
        Some(request) => parts.clients.client(&request.client_id).await?,
        None => None,
    };
    let (Some(code), Some(request), Some(client)) = (code, request, client) else {
        return ask_code(server, incoming, browser, 403, "", Some(Problem::Wrong));
    };
    let hidden = browser.hidden(server, Step::Decide, &Errand::new(Target::Device, &code), now)?;
    let action = parts.issuer.route("/device/decision");
    let shown = shown(&code);
    let content = PageContent::Consent {
        form: server.form(&action, &hidden),
        client: client.name(),
        scopes: request.scope.iter().collect(),
        user_code: Some(&shown),
    };
    Ok(server.page(200, content, None))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_codes_are_read_as_people_type_them() {
        let code = draw_user_code().unwrap();
        assert!(code.len() == 8 && code.bytes().all(|byte| LETTERS.contains(&byte)), "{code}");
        for typed in ["bcdf-ghjk", " BCDF GHJK ", "bcdfghjk", "BCDF–GHJK"] {
            assert_eq!(normal(typed).as_deref(), Some("BCDFGHJK"), "{typed}");
        }
        for bad in ["", "BCDF", "BCDFGHJKL", &"-".repeat(40)] {
            assert_eq!(normal(bad), None, "{bad}");
        }
    }
}
