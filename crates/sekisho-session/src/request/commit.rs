//! How a request's wishes become writes: which id lives, which dies, and what wins when two write at once.

use std::sync::Arc;
use std::time::Duration;

use sekisho_core::{Failure, FailureKind, Principal, SessionEnd, UnixSeconds};
use serde_json::Map;

use super::{Answer, Change, Login, Presented, Remembering, RequestSession, Turn, new_handle};
use crate::content::{self, Content, Identity, Kind, Loaded};
use crate::cookie::SetCookie;
use crate::crypto;
use crate::sessions::Sessions;
use crate::store::Saved;
use crate::token::SessionToken;

pub(super) async fn commit(
    request: &RequestSession,
    prior: Option<Arc<Loaded>>,
    turn: Option<Turn>,
    changes: &[Change],
) -> Result<(), Failure> {
    match (turn, prior) {
        (None | Some(Turn::Exist), Some(prior)) => save(request, prior, changes).await,
        (Some(Turn::Rotate), Some(prior)) => {
            let content = Content { superseded: false, ..prior.content.clone() };
            move_on(request, &prior, content, changes).await
        }
        (Some(Turn::Elevate(principal)), Some(prior)) => {
            let content = elevated(&prior, &principal)?;
            move_on(request, &prior, content, changes).await
        }
        (Some(Turn::Elevate(_)), None) => Err(NOBODY),
        (Some(Turn::LogOut), prior) => log_out(request, prior, changes).await,
        (Some(Turn::LogIn(login)), prior) => log_in(request, prior, login, changes).await,
        (None | Some(Turn::Exist | Turn::Rotate), None) => create(request, changes).await,
    }
}

/// Writes changes to a session that stays under its id.
async fn save(request: &RequestSession, prior: Arc<Loaded>, changes: &[Change]) -> Result<(), Failure> {
    let sessions = &request.0.sessions;
    let (mut prior, mut turn) = (prior, None);
    for attempt in 0..ATTEMPTS {
        let mut content = prior.content.clone();
        apply(changes, &mut content)?;
        if content.data == prior.content.data {
            return Ok(());
        }
        if prior.content.superseded {
            return Err(superseded());
        }
        let now = sessions.now();
        let ends_at = UnixSeconds::new(content.ends_at);
        let update = prior.update(sessions.keys(), &content, sessions.idle_until(now), ends_at)?;
        match sessions.store().save(&prior.id, prior.version, &update, now).await? {
            Saved::Done => {
                let (token, id, version) = (prior.token.clone(), prior.id, prior.version.saturating_add(1));
                let idle_until = prior.idle_until.max(update.idle_until);
                let loaded = Arc::new(Loaded::new(Kind::Session, token, id, version, idle_until, content));
                sessions.remember(&update.body, &loaded);
                request.state().loaded = Answer::Found(loaded);
                return Ok(());
            }
            Saved::Gone => {
                forget(request);
                return Ok(());
            }
            Saved::Conflict => {
                if turn.is_none() {
                    turn = sessions.turn(&prior.id).await;
                }
                back_off(attempt).await?;
                match sessions.load_latest(&prior.token).await? {
                    Some(again) => prior = again,
                    None => {
                        forget(request);
                        return Ok(());
                    }
                }
            }
        }
    }
    Err(crowded())
}

/// Notes that the session has ended while this request ran: what it wanted to keep goes the same way, by the word of
/// whoever ended it. The cookie stays, for a login may have replaced it already.
fn forget(request: &RequestSession) {
    tracing::info!(target: "sekisho", "a session ended while a request was about to change it");
    request.state().loaded = Answer::Nothing;
}

async fn create(request: &RequestSession, changes: &[Change]) -> Result<(), Failure> {
    let sessions = &request.0.sessions;
    let must_exist = request.state().new_handle.is_some();
    let mut content = begun(request)?;
    apply(changes, &mut content)?;
    if content.data.is_empty() && !must_exist {
        return Ok(());
    }
    let loaded = insert(sessions, content, None).await?;
    hand_over(request, loaded);
    Ok(())
}

/// Makes the content of a session that begins now, anonymous and empty, under the public id that forms may know already.
pub(super) fn begun(request: &RequestSession) -> Result<Content, Failure> {
    let (sessions, handle) = (&request.0.sessions, request.state().new_handle.take());
    let now = sessions.now();
    Ok(Content {
        handle: handle.map_or_else(new_handle, Ok)?,
        created_at: now.as_secs(),
        ends_at: sessions.ends_at(now).as_secs(),
        superseded: false,
        identity: None,
        data: Map::new(),
    })
}

/// Logs in under a new id. The old one is retired after the new one is there, so that nothing is lost in between.
async fn log_in(
    request: &RequestSession,
    prior: Option<Arc<Loaded>>,
    login: Login,
    changes: &[Change],
) -> Result<(), Failure> {
    let sessions = &request.0.sessions;
    let Login { principal, device, keeps_data, remembering } = login;
    let now = sessions.now();
    let before = match &prior {
        Some(prior) => prior.principal()?,
        None => None,
    };
    let is_same = before.as_ref().is_none_or(|before| before.id() == principal.id());
    if let (Remembering::Again { .. }, Some(prior)) = (&remembering, &prior)
        && prior.content.superseded
    {
        return Err(superseded());
    }
    let mut begun = begun(request)?;
    if let Remembering::Again { handle } = &remembering {
        begun.handle.clone_from(handle);
    }
    let mut content = Content {
        identity: Some(Identity::of(&principal, now, begun.ends_at)?),
        data: prior
            .as_ref()
            .filter(|_| keeps_data && is_same)
            .map(|prior| prior.content.data.clone())
            .unwrap_or_default(),
        ..begun
    };
    let loaded = match &prior {
        Some(prior) if is_same && !prior.content.superseded => {
            let kept = if keeps_data { changes } else { &[] };
            if !keeps_data {
                apply(changes, &mut content)?;
            }
            let orphan = match remembering {
                // Nobody was asked: what ends the session, or has moved it on, comes before.
                Remembering::Again { .. } => Orphan::Dies,
                Remembering::No | Remembering::Yes => Orphan::Stays,
            };
            let loaded = relocate(sessions, prior, content, kept, device.as_deref(), keeps_data, orphan).await?;
            loaded.ok_or_else(superseded)?
        }
        _ => {
            apply(changes, &mut content)?;
            insert(sessions, content, device.as_deref()).await?
        }
    };
    let ends = prior.filter(|_| before.is_some());
    match settle(request, &loaded, ends, &remembering, device.as_deref(), &principal).await {
        Ok(set) => {
            request.state().remembered_cookie = set;
            tracing::info!(target: "sekisho", subject = %principal.id(), session = &*loaded.content.handle, "logged in");
            hand_over(request, loaded);
            Ok(())
        }
        Err(failure) => {
            // Nobody gets its cookie; if the store takes this too, nobody sees it in a list either.
            let _ = match remembering {
                // The login that is remembered has the same public id, and can be tried again.
                Remembering::Again { .. } => sessions.store().delete(&loaded.id, sessions.now()).await.map(|_| ()),
                Remembering::No | Remembering::Yes => end(sessions, &loaded).await,
            };
            Err(failure)
        }
    }
}

/// Does what a login brings with it, and returns the cookie of the remembered one.
///
/// INVARIANT: the session is handed over afterwards, so of a login that failed in part no cookie goes out.
async fn settle(
    request: &RequestSession,
    loaded: &Loaded,
    prior: Option<Arc<Loaded>>,
    remembering: &Remembering,
    device: Option<&str>,
    principal: &Principal,
) -> Result<Option<SetCookie>, Failure> {
    let sessions = &request.0.sessions;
    let set = remember(request, loaded, remembering, device).await?;
    // Last, for a remembered login ends with its session. What was anonymous dies by itself.
    match &prior {
        // It was retired, and is over with the grace.
        Some(prior) if prior.content.handle == loaded.content.handle => {}
        Some(prior) => end(sessions, prior).await?,
        None => {}
    }
    enforce_limit(sessions, principal, &loaded.content.handle).await?;
    Ok(set)
}

async fn log_out(request: &RequestSession, prior: Option<Arc<Loaded>>, changes: &[Change]) -> Result<(), Failure> {
    let sessions = &request.0.sessions;
    let prior = match (prior, &request.0.presented) {
        // INVARIANT: a session that a memory in front of the store missed ends as any other, heard and under all its ids.
        (None, Presented::Token(token)) => sessions.load_latest(token).await?,
        (prior, _) => prior,
    };
    match (prior, &request.0.presented) {
        (Some(prior), _) => {
            if let Err(failure) = end(sessions, &prior).await {
                // INVARIANT: of a session that began in this very request, and may be alive still, no cookie goes out.
                request.state().cookie = None;
                return Err(failure);
            }
            tracing::info!(target: "sekisho", session = &*prior.content.handle, "logged out");
        }
        // Whoever ended it may have been told that it is not certain, and asks again: a store that waits for replicas waits anew.
        (None, Presented::Token(token)) if sessions.keys().named(token.key_name()).is_some() => {
            sessions.store().delete(&Kind::Session.hash(token), sessions.now()).await?;
        }
        (None, _) => {}
    }
    {
        let mut state = request.state();
        let has_one = !matches!(request.0.presented, Presented::Nothing);
        (state.loaded, state.cookie) = (Answer::Nothing, has_one.then(|| sessions.cookie().removal()));
    }
    if let Some(remembered) = sessions.remembered() {
        forget_remembered(request).await?;
        if !matches!(request.0.remembered, Presented::Nothing) {
            request.state().remembered_cookie = Some(remembered.cookie().removal());
        }
    }
    // What was changed, and what forms were written, after the logout belongs to whoever comes next.
    create(request, changes).await
}

/// Ends the remembered login that this browser brought: whoever logs in or out is done with it.
async fn forget_remembered(request: &RequestSession) -> Result<(), Failure> {
    let sessions = &request.0.sessions;
    if let Presented::Remembered(token) = &request.0.remembered {
        crate::remembered::forget(sessions, token).await?;
    }
    Ok(())
}

/// Remembers the login of a session that is about to be handed over, or takes an earlier one's cookie away.
///
/// INVARIANT: a token is good once. What came of it counts only if it was still alive when it was used up, after all else was
/// there: whoever ends all sessions of a subject ends the token too, and then nothing is left of what came of it.
async fn remember(
    request: &RequestSession,
    loaded: &Loaded,
    remembering: &Remembering,
    device: Option<&str>,
) -> Result<Option<SetCookie>, Failure> {
    let sessions = &request.0.sessions;
    let Some(remembered) = sessions.remembered() else {
        return if *remembering == Remembering::No { Ok(None) } else { Err(NOT_REMEMBERED) };
    };
    match (remembering, &request.0.remembered) {
        (Remembering::Again { .. }, Presented::Remembered(token)) => {
            crate::remembered::use_up(sessions, remembered, token).await?.map(Some).ok_or_else(used_up)
        }
        (Remembering::Again { .. }, _) => Err(used_up()),
        (Remembering::Yes, _) => {
            let set = crate::remembered::keep(sessions, remembered, &loaded.content, device).await?;
            forget_remembered(request).await?;
            Ok(Some(set))
        }
        (Remembering::No, Presented::Nothing) => Ok(None),
        (Remembering::No, _) => {
            forget_remembered(request).await?;
            Ok(Some(remembered.cookie().removal()))
        }
    }
}

pub(super) fn elevated(prior: &Arc<Loaded>, principal: &Principal) -> Result<Content, Failure> {
    let before = prior.principal()?.ok_or(NOBODY)?;
    if before.id() != principal.id() {
        return Err(Failure::new(FailureKind::Misconfigured, "a session cannot be elevated to another subject"));
    }
    let ends_at = prior.content.ends_at;
    // INVARIANT: other rights are no proof of who asks for them. Only a principal that says so has authenticated again.
    let authenticated_at = before.authenticated_at().unwrap_or(UnixSeconds::new(prior.content.created_at));
    let identity = Some(Identity::of(principal, authenticated_at, ends_at)?);
    Ok(Content { identity, superseded: false, ..prior.content.clone() })
}

/// Gives a session a new id, and hands it over.
async fn move_on(
    request: &RequestSession,
    prior: &Arc<Loaded>,
    content: Content,
    changes: &[Change],
) -> Result<(), Failure> {
    let sessions = &request.0.sessions;
    let device = device_of(sessions, prior).await?;
    match relocate(sessions, prior, content, changes, device.as_deref(), true, Orphan::Dies).await? {
        Some(loaded) => {
            hand_over(request, loaded);
            Ok(())
        }
        None => {
            forget(request);
            Ok(())
        }
    }
}

/// Says what becomes of the new id when the old session turns out to be over.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Orphan {
    /// Somebody has just logged in: they need no anonymous session for that.
    Stays,
    /// It was the same session, and that is over.
    Dies,
}

/// Creates `content` under a new id and retires the old one; `None` when the session was over before.
///
/// INVARIANT: the new id is created first, and counts only if the old session was still alive when it was retired. So
/// whoever ends all sessions of a subject comes before the retiring, and the new one dies here, or after it, and
/// [finds the new one](Sessions::end_tagged).
///
/// INVARIANT: the old id keeps showing what it showed. It never leads to the new one, or whoever planted it would be led
/// there too.
async fn relocate(
    sessions: &Sessions,
    prior: &Arc<Loaded>,
    content: Content,
    changes: &[Change],
    device: Option<&str>,
    takes_data: bool,
    orphan: Orphan,
) -> Result<Option<Arc<Loaded>>, Failure> {
    if prior.content.superseded {
        return Err(superseded());
    }
    let mut first = content;
    apply(changes, &mut first)?;
    let mut new = insert(sessions, first, device).await?;
    let (mut old, mut turn) = (Arc::clone(prior), None);
    for attempt in 0..ATTEMPTS {
        let now = sessions.now();
        let update = old.retire(sessions.keys(), now, sessions.grace())?;
        match sessions.store().save(&old.id, old.version, &update, now).await {
            Ok(Saved::Done) => return Ok(Some(new)),
            Ok(Saved::Gone) => return over(sessions, new, orphan).await,
            Ok(Saved::Conflict) => {}
            Err(failure) => {
                let _ = sessions.store().delete(&new.id, now).await;
                return Err(failure);
            }
        }
        // Somebody wrote to the old one meanwhile: that must not be lost, so it is taken over before the next attempt.
        if turn.is_none() {
            turn = sessions.turn(&old.id).await;
        }
        back_off(attempt).await?;
        match sessions.load_latest(&old.token).await? {
            None => return over(sessions, new, orphan).await,
            Some(again) if again.content.superseded && orphan == Orphan::Stays => return Ok(Some(new)),
            Some(again) if again.content.superseded => {
                sessions.store().delete(&new.id, now).await?;
                return Err(superseded());
            }
            Some(again) => old = again,
        }
        if takes_data {
            let mut content = Content { data: old.content.data.clone(), ..new.content.clone() };
            apply(changes, &mut content)?;
            let ends_at = UnixSeconds::new(content.ends_at);
            let update = new.update(sessions.keys(), &content, new.idle_until, ends_at)?;
            match sessions.store().save(&new.id, new.version, &update, now).await? {
                Saved::Done => {
                    let (token, id, version) = (new.token.clone(), new.id, new.version.saturating_add(1));
                    let idle_until = new.idle_until;
                    new = Arc::new(Loaded::new(Kind::Session, token, id, version, idle_until, content));
                }
                // Nobody knows it but us; so it was ended with all the others of its subject.
                Saved::Gone | Saved::Conflict => return Ok(None),
            }
        }
    }
    sessions.store().delete(&new.id, sessions.now()).await?;
    Err(crowded())
}

async fn over(sessions: &Sessions, new: Arc<Loaded>, orphan: Orphan) -> Result<Option<Arc<Loaded>>, Failure> {
    if orphan == Orphan::Stays {
        return Ok(Some(new));
    }
    sessions.store().delete(&new.id, sessions.now()).await?;
    Ok(None)
}

async fn insert(sessions: &Sessions, content: Content, device: Option<&str>) -> Result<Arc<Loaded>, Failure> {
    let keys = sessions.keys();
    let token = SessionToken::generate(keys.current().name())?;
    let (id, now) = (Kind::Session.hash(&token), sessions.now());
    let idle_until = sessions.idle_until(now);
    let new = content::new_session(keys, Kind::Session, &token, &content, device, idle_until)?;
    if !sessions.store().create(id, &new, now).await? {
        // 256 random bits do not come twice: the source of randomness is broken, and trying again would hide it.
        return Err(Failure::new(FailureKind::Misconfigured, "a new session id was taken already"));
    }
    let loaded = Arc::new(Loaded::new(Kind::Session, token, id, 1, idle_until, content));
    sessions.remember(&new.body, &loaded);
    Ok(loaded)
}

/// Ends a session under all ids that it has.
async fn end(sessions: &Sessions, prior: &Loaded) -> Result<(), Failure> {
    let subject = sessions.subject_to_tell(prior);
    let _ending = subject.as_ref().map(|subject| sessions.ending(SessionEnd::Subject(subject)));
    sessions.store().delete(&prior.id, sessions.now()).await?;
    sessions.end_handle(&prior.content.handle).await
}

/// Sets the cookie, and makes the new session the one of the rest of the request.
fn hand_over(request: &RequestSession, loaded: Arc<Loaded>) {
    let cookie = request.0.sessions.cookie().set(&loaded.token.to_text(), None);
    let mut state = request.state();
    state.cookie = Some(cookie);
    state.loaded = Answer::Found(loaded);
}

/// Finds what the session's card says, which a new id takes over.
async fn device_of(sessions: &Sessions, prior: &Loaded) -> Result<Option<Box<str>>, Failure> {
    for key in sessions.keys().iter() {
        let tag = content::handle_tag(key, &prior.content.handle);
        for listed in sessions.store().list(&tag, sessions.now()).await? {
            if listed.id == prior.id {
                return Ok(content::Card::open(sessions.keys(), &listed.id, &listed.card).and_then(|card| card.device));
            }
        }
    }
    Ok(None)
}

/// Ends the oldest sessions of a subject who has too many. Two logins at once both look after both are there.
async fn enforce_limit(sessions: &Sessions, principal: &Principal, own: &str) -> Result<(), Failure> {
    let Some(limit) = sessions.limit() else { return Ok(()) };
    let subject = principal.id();
    let listed = sessions.list(&subject).await?;
    let others = listed.iter().filter(|session| session.id().as_str() != own);
    for session in others.skip(limit.saturating_sub(1)) {
        let _ending = sessions.ending(SessionEnd::Subject(&subject));
        tracing::info!(target: "sekisho", session = %session.id(), "ended, for its subject has too many");
        sessions.end_handle(session.id().as_str()).await?;
    }
    Ok(())
}

pub(super) fn apply(changes: &[Change], content: &mut Content) -> Result<(), Failure> {
    changes.iter().try_for_each(|change| change(&mut content.data))
}

/// Waits a little, longer from time to time and never equally long.
async fn back_off(attempt: u32) -> Result<(), Failure> {
    let [dice] = crypto::random::<1>()?;
    let most = 1_u64 << attempt.min(5);
    if attempt > 0 {
        tokio::time::sleep(Duration::from_micros(most * 1000 * u64::from(dice) / 255)).await;
    }
    Ok(())
}

/// About a second with the waits between.
const ATTEMPTS: u32 = 64;

pub(super) const NOBODY: Failure =
    Failure::new(FailureKind::Misconfigured, "nobody is logged in whose session could be elevated");

pub(super) const NOT_REMEMBERED: Failure =
    Failure::new(FailureKind::Misconfigured, "a login was to be remembered, and the sessions were not built for that");

fn used_up() -> Failure {
    Failure::unavailable("a remembered login was used by another request at the same time")
        .with_retry_after(Duration::from_secs(1))
}

fn superseded() -> Failure {
    Failure::unavailable("the session got a new id while this request was about to change it")
        .with_retry_after(Duration::from_secs(1))
}

fn crowded() -> Failure {
    Failure::unavailable("too many requests write to one session at once").with_retry_after(Duration::from_secs(1))
}
