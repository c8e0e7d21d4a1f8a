//! What must hold in every state that can be reached.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash};
use std::time::Duration;

use super::system::{Outcome, Request, Seen, System};

/// For how long a mark counts by default.
pub(super) const LEASE: Duration = Duration::from_secs(30);
/// For how long after it sent the refresh token a process has it to itself.
const ALONE: u64 = 20;
const IDLE: u64 = 30 * 60;
const ABSOLUTE: u64 = 12 * 3600;

/// Is what happened, as far as a property speaks of it.
#[derive(Default)]
pub(super) struct Log {
    /// The `state` of each login that is among the requests.
    pub(super) states: Vec<String>,
    /// All cookies of sessions that were ever handed out, and by which request.
    pub(super) cookies: BTreeMap<String, usize>,
    /// What the cookie of a request led to when it was sent.
    pub(super) begun: BTreeMap<usize, Seen>,
    pub(super) outcomes: Vec<Option<Outcome>>,
    /// When last something could extend an idle time.
    pub(super) active_at: u64,
    ended_handles: BTreeSet<String>,
    ended_sids: BTreeSet<String>,
    sends: Vec<Send>,
    twice: Option<String>,
}

/// Is a refresh token on its way.
#[derive(Clone, Debug, Hash)]
pub(super) struct Send {
    pub(super) token: String,
    /// Process, its life, and the call.
    pub(super) by: (usize, usize, usize),
    pub(super) at: u64,
    /// Whoever sent it has crashed, or has not got or not kept an answer.
    pub(super) is_lost: bool,
}

impl Log {
    pub(super) fn send(&mut self, send: Send) {
        if self.sends.iter().any(|known| known.by == send.by) {
            return;
        }
        let holds = |first: &&Send| first.token == send.token && !first.is_lost && send.at < first.at + ALONE;
        if let Some(first) = self.sends.iter().find(holds) {
            self.twice = Some(format!("{} was sent by {:?}, and by {:?} again", send.token, first.by, send.by));
        }
        self.sends.push(send);
    }

    pub(super) fn lost(&mut self, process: usize) {
        for send in self.sends.iter_mut().filter(|send| send.by.0 == process) {
            send.is_lost = true;
        }
    }

    /// Notes that an end was acknowledged.
    pub(super) fn ended(&mut self, place: usize, request: Request) {
        let status = self.outcomes.get(place).and_then(Option::as_ref).map(|outcome| outcome.status);
        match (request, status) {
            (Request::LogOut, Some(200 | 303)) => {
                self.ended_handles.extend(self.begun.get(&place).map(|seen| seen.handle.clone()));
            }
            (Request::Backchannel(sid), Some(200)) => {
                self.ended_sids.insert(sid.to_owned());
            }
            _ => {}
        }
    }

    fn is_ended(&self, seen: &Seen) -> bool {
        let is_of_sid = seen.sid.as_ref().is_some_and(|sid| self.ended_sids.contains(sid));
        is_of_sid || self.ended_handles.contains(&seen.handle)
    }

    pub(super) fn digest(&self, into: &mut DefaultHasher) {
        let outcomes = self.outcomes.iter().map(|outcome| outcome.as_ref().map(|o| (o.status, &o.token, o.kept)));
        outcomes.collect::<Vec<_>>().hash(into);
        (self.ended_handles.len(), &self.ended_sids, &self.sends, self.active_at).hash(into);
    }
}

pub(super) fn check(system: &System) -> Result<(), String> {
    no_session_after_logout(system)?;
    no_token_of_another_session(system)?;
    no_refresh_token_is_sent_while_its_sender_may_still_get_and_keep_an_answer(system)?;
    no_lost_acknowledged_write(system)?;
    no_session_outlives_its_end(system)
}

/// Once a logout was answered with success, no cookie that was ever handed out leads to its session under any id; once a back-channel logout was, to no session of
/// that `sid`, also of a login that was under way. A login that the user finishes beside their own logout is another session.
pub(super) fn no_session_after_logout(system: &System) -> Result<(), String> {
    let log = &system.log;
    if log.ended_handles.is_empty() && log.ended_sids.is_empty() {
        return Ok(());
    }
    for cookie in log.cookies.keys() {
        if let Some(seen) = system.look_by(cookie)
            && log.is_ended(&seen)
        {
            return Err(format!("no session after logout: {:?} lives", seen.sid));
        }
    }
    Ok(())
}

/// An access token goes to requests of the session whose login, at the provider, it came of; the provider's `sid` tells.
pub(super) fn no_token_of_another_session(system: &System) -> Result<(), String> {
    for (place, outcome) in system.log.outcomes.iter().enumerate() {
        let Some(token) = outcome.as_ref().and_then(|outcome| outcome.token.as_ref()) else { continue };
        let sid = token.split([' ', '/']).nth(1).map(str::to_owned);
        let expected = system.log.begun.get(&place).and_then(|seen| seen.sid.clone());
        if sid != expected {
            return Err(format!("no token of another session: {expected:?} got {token}"));
        }
    }
    Ok(())
}

/// A refresh token is sent a second time only if whoever sent it before has crashed, got no answer, could not write to the store, or
/// has had it for 20 s, of which it waits 10 for the answer.
pub(super) fn no_refresh_token_is_sent_while_its_sender_may_still_get_and_keep_an_answer(
    system: &System,
) -> Result<(), String> {
    system.log.twice.as_ref().map_or(Ok(()), |twice| Err(format!("no refresh token used twice: {twice}")))
}

/// What a request wrote to a session, and was told was written, is there for the browser as long as that session lives: through new ids and step-up.
pub(super) fn no_lost_acknowledged_write(system: &System) -> Result<(), String> {
    for (place, outcome) in system.log.outcomes.iter().enumerate() {
        let sent = system.scenario.requests[place];
        let (Request::Write(item), true) = (sent.request, outcome.as_ref().is_some_and(|outcome| outcome.kept)) else {
            continue;
        };
        let (Some(seen), Some(begun)) = (system.jar(sent.browser), system.log.begun.get(&place)) else { continue };
        let count = seen.items.iter().filter(|kept| **kept == item).count();
        if seen.sid == begun.sid && count != 1 {
            return Err(format!("no lost acknowledged write: {item} is there {count} times"));
        }
    }
    Ok(())
}

/// No session is there 30 minutes after anything was under way, or 12 hours after its login.
pub(super) fn no_session_outlives_its_end(system: &System) -> Result<(), String> {
    let now = system.now();
    // It could only be looked at in vain, and each look costs.
    if now < crate::session::tests::world::START.as_secs() + IDLE {
        return Ok(());
    }
    for cookie in system.log.cookies.keys() {
        let Some(seen) = system.look_by(cookie) else { continue };
        if now >= system.log.active_at + IDLE || now >= seen.logged_in_at + ABSOLUTE + LEASE.as_secs() {
            return Err(format!("no session outlives its end: {:?} lives at {now}", seen.sid));
        }
    }
    Ok(())
}
