//! How a request's wishes become cookies, where the browser keeps the session itself.

use std::sync::Arc;

use sekisho_core::{Failure, FailureKind, Refusal, SessionEnd};

use super::commit::{NOBODY, NOT_REMEMBERED, apply, begun, elevated};
use super::{Answer, Change, Idle, Login, Presented, Remembering, RequestSession, Turn};
use crate::client_side::{Brought, ClientSide};
use crate::content::{Content, Identity, Loaded};

/// Opens what came; what does not belong together is taken away with the answer, or the browser would bring it for ever.
pub(super) fn open(request: &RequestSession, brought: &Brought) -> Result<Option<Loaded>, Refusal> {
    let sessions = &request.0.sessions;
    let Some(client_side) = sessions.in_browser() else { return Ok(None) };
    let opened = client_side.open(brought, sessions.now());
    if matches!(opened, Err(Refusal::Reject(_))) {
        request.state().browser_cookies = client_side.removal(&request.0.presented);
    }
    opened
}

pub(super) fn commit(
    request: &RequestSession,
    client_side: &ClientSide,
    prior: Option<Arc<Loaded>>,
    turn: Option<Turn>,
    changes: &[Change],
) -> Result<(), Failure> {
    let began = |content: Content| keep(request, client_side, content, changes);
    match (turn, prior) {
        (None | Some(Turn::Exist), Some(prior)) => {
            let mut content = prior.content.clone();
            apply(changes, &mut content)?;
            if content.data == prior.content.data {
                return Ok(());
            }
            keep(request, client_side, content, &[])
        }
        (Some(Turn::Rotate), Some(prior)) => began(prior.content.clone()),
        (Some(Turn::Elevate(principal)), Some(prior)) => began(dated(elevated(&prior, &principal)?)?),
        (Some(Turn::Elevate(_)), None) => Err(NOBODY),
        (Some(Turn::LogIn(login)), prior) => {
            let content = logged_in(request, prior.as_deref(), &login)?;
            let id = login.principal.id();
            let before = prior.as_deref().and_then(|prior| request.0.sessions.subject_to_tell(prior));
            let other = before.as_ref().filter(|before| **before != id);
            let _ending = other.map(|before| request.0.sessions.ending(SessionEnd::Subject(before)));
            tracing::info!(target: "sekisho", subject = %id, session = &*content.handle, "logged in");
            began(content)
        }
        (Some(Turn::LogOut), _) if matches!(request.0.presented, Presented::Token(_)) => Err(ELSEWHERE),
        (Some(Turn::LogOut), prior) => {
            let subject = prior.as_deref().and_then(|prior| request.0.sessions.subject_to_tell(prior));
            let _ending = subject.as_ref().map(|subject| request.0.sessions.ending(SessionEnd::Subject(subject)));
            if let Some(prior) = prior {
                tracing::info!(target: "sekisho", session = &*prior.content.handle, "logged out");
            }
            {
                let mut state = request.state();
                state.loaded = Answer::Nothing;
                state.browser_cookies = client_side.removal(&request.0.presented);
            }
            create(request, client_side, changes)
        }
        (None | Some(Turn::Exist | Turn::Rotate), None) => create(request, client_side, changes),
    }
}

fn create(request: &RequestSession, client_side: &ClientSide, changes: &[Change]) -> Result<(), Failure> {
    let must_exist = request.state().new_handle.is_some();
    let mut content = begun(request)?;
    apply(changes, &mut content)?;
    if content.data.is_empty() && !must_exist {
        return Ok(());
    }
    keep(request, client_side, content, &[])
}

fn logged_in(request: &RequestSession, prior: Option<&Loaded>, login: &Login) -> Result<Content, Failure> {
    if login.remembering != Remembering::No {
        return Err(NOT_REMEMBERED);
    }
    let before = prior.map(Loaded::principal).transpose()?.flatten();
    let is_same = before.is_none_or(|before| before.id() == login.principal.id());
    let data = prior.filter(|_| login.keeps_data && is_same).map(|prior| prior.content.data.clone());
    let content = begun(request)?;
    let identity = Identity::of(&login.principal, request.0.sessions.now(), content.ends_at)?;
    dated(Content { identity: Some(identity), data: data.unwrap_or_default(), ..content })
}

/// Notes in the principal when its session began, so that it can be withdrawn by that.
fn dated(content: Content) -> Result<Content, Failure> {
    let identity = content.identity.as_ref().map(|identity| identity.issued_at(content.created_at)).transpose()?;
    Ok(Content { identity, ..content })
}

/// Writes the cookies, and makes the session the one of the rest of the request.
fn keep(
    request: &RequestSession,
    client_side: &ClientSide,
    mut content: Content,
    changes: &[Change],
) -> Result<(), Failure> {
    apply(changes, &mut content)?;
    let sessions = &request.0.sessions;
    let idle_until = sessions.idle_until(sessions.now());
    let there = match &request.0.presented {
        Presented::InBrowser(brought) => brought.there(),
        Presented::Unreadable(_) => crate::cookie::pieces::There::ALL,
        Presented::Nothing | Presented::Foreign | Presented::Remembered(_) => Default::default(),
        // Made of another request's session: there is no answer to put a cookie into.
        Presented::Token(_) => return Err(ELSEWHERE),
    };
    let set = client_side.set(&content, idle_until, there)?;
    let mut state = request.state();
    state.browser_cookies = set;
    state.loaded = Answer::Found(Arc::new(Loaded::in_browser(content, idle_until.as_secs())));
    Ok(())
}

/// Extends the idle time with the answer, if that is due and nobody looked on quietly.
pub(super) async fn extend(request: &RequestSession) {
    let sessions = &request.0.sessions;
    let Some(client_side) = sessions.in_browser() else { return };
    let is_over = {
        let state = request.state();
        state.is_quiet || !state.browser_cookies.is_empty()
    };
    // Trouble is nobody's who has not asked.
    if is_over || request.ask(None, Idle::Extended).await.is_err() {
        return;
    }
    let Some(loaded) = request.loaded().filter(|loaded| sessions.is_touch_due(loaded, sessions.now())) else { return };
    if let Err(failure) = keep(request, client_side, loaded.content.clone(), &[]) {
        tracing::warn!(target: "sekisho", %failure, "the idle time of a session was not extended");
    }
}

const ELSEWHERE: Failure = Failure::new(
    FailureKind::Misconfigured,
    "a session in the browser's cookies can be changed only by the request that brought it",
);
