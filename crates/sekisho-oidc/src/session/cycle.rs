//! The life of a session's tokens as functions of what the record says and what time it is. They touch no store, no clock and no
//! network, so that a model can call them in every order.

use std::time::Duration;

use sekisho_core::UnixSeconds;
use serde::{Deserialize, Serialize};

/// Is what a record says of its tokens, without the tokens.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Life {
    #[serde(rename = "o")]
    pub(crate) obtained_at: u64,
    /// When the access token ends; `None` when the provider did not say.
    #[serde(rename = "e", default, skip_serializing_if = "Option::is_none")]
    pub(crate) expires_at: Option<u64>,
    #[serde(rename = "f", default)]
    pub(crate) can_refresh: bool,
    /// Counts the access tokens that this login has had.
    #[serde(rename = "n", default)]
    pub(crate) serial: u64,
    #[serde(rename = "m", default, skip_serializing_if = "Option::is_none")]
    pub(crate) mark: Option<Mark>,
    /// Before this a refresh that failed is not tried again.
    #[serde(rename = "w", default, skip_serializing_if = "Option::is_none")]
    pub(crate) retry_at: Option<u64>,
}

/// Says who is refreshing, and until when that counts: a lock in the record itself.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Mark {
    #[serde(rename = "b")]
    pub(crate) by: Box<str>,
    #[serde(rename = "u")]
    pub(crate) until: u64,
}

/// Bounds the cycle.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    /// How long before its end an access token is refreshed; a tenth of its life, if that is less.
    pub(crate) ahead: Duration,
    /// For how long a mark counts. Longer than any refresh takes, or two would send the same refresh token.
    pub(crate) lease: Duration,
    /// How long after a refresh that failed the next one may begin, and after one that succeeded the next one for a service that refuses
    /// the token.
    pub(crate) cool_off: Duration,
}

/// Says what an access token needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// Nothing.
    Nothing,
    /// It is good, and should be refreshed beside.
    Ahead,
    /// It must be refreshed before it can be used.
    Now,
    /// It is over, and there is nothing to refresh it with.
    Over,
}

/// Says what came of the wish to refresh.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Claim {
    /// The mark is ours: send the refresh token.
    Won,
    /// Somebody else has refreshed since: use what is there.
    Renewed,
    /// Somebody else is at it.
    Taken,
    /// It failed a moment ago; the next try is at this time.
    CoolingOff(UnixSeconds),
    /// There is nothing to refresh with.
    Over,
}

impl Life {
    /// Begins with a login's tokens.
    pub(crate) fn begin(now: UnixSeconds, expires_at: Option<UnixSeconds>, can_refresh: bool) -> Self {
        Self {
            obtained_at: now.as_secs(),
            expires_at: expires_at.map(UnixSeconds::as_secs),
            can_refresh,
            serial: 0,
            mark: None,
            retry_at: None,
        }
    }
}

/// Says what the access token needs. `refused` is the serial of one that a service did not take: that one is no good, whatever
/// its times say.
pub(crate) fn need(life: &Life, refused: Option<u64>, now: UnixSeconds, rules: &Rules) -> Need {
    let (is_good, is_fresh) = match life.expires_at {
        _ if refused == Some(life.serial) => (false, false),
        None => (true, true),
        Some(end) => {
            let whole = Duration::from_secs(end.saturating_sub(life.obtained_at));
            let left = UnixSeconds::new(end).since(now);
            (left > IN_TRANSIT.min(whole / 20), left > rules.ahead.min(whole / 10))
        }
    };
    match (is_good, is_fresh, life.can_refresh) {
        (true, true, _) | (true, false, false) => Need::Nothing,
        (true, false, true) => Need::Ahead,
        (false, _, true) => Need::Now,
        (false, _, false) => Need::Over,
    }
}

/// Says for how long still an access token is too new to be replaced because a service refuses it.
pub(crate) fn is_new_for(life: &Life, now: UnixSeconds, rules: &Rules) -> Option<Duration> {
    let left = UnixSeconds::new(life.obtained_at).saturating_add(rules.cool_off).since(now);
    (!left.is_zero()).then(|| left.min(rules.cool_off))
}

/// Takes the mark, if the token of this serial still needs it and nobody else has it. To be written by compare-and-set.
///
/// INVARIANT: whoever has the mark, and nobody else, sends the refresh token of the record that the mark stands in.
pub(crate) fn claim(life: &mut Life, me: &str, seen: u64, now: UnixSeconds, rules: &Rules) -> Claim {
    if life.serial != seen {
        return Claim::Renewed;
    }
    if !life.can_refresh {
        return Claim::Over;
    }
    match &life.mark {
        // It is ours already when the same change is applied again.
        Some(mark) if now.as_secs() < mark.until && *mark.by != *me => return Claim::Taken,
        _ => {}
    }
    if let Some(retry_at) = life.retry_at.map(UnixSeconds::new)
        && now < retry_at
    {
        return Claim::CoolingOff(retry_at);
    }
    life.mark = Some(Mark { by: me.into(), until: now.saturating_add(rules.lease).as_secs() });
    life.retry_at = None;
    Claim::Won
}

/// Tells whether the mark in the record outlives what is about to be sent, which takes so long at the most, by 10 s for writing
/// down what comes of it.
pub(crate) fn is_in_time(life: &Life, now: UnixSeconds, takes: Duration) -> bool {
    let until = life.mark.as_ref().map_or(0, |mark| mark.until);
    now.saturating_add(takes + TO_WRITE).as_secs() <= until
}

/// Tells whether the mark is ours, whether or not its time is over: then nobody else has taken it.
pub(crate) fn is_marked(life: &Life, me: &str) -> bool {
    life.mark.as_ref().is_some_and(|mark| *mark.by == *me)
}

/// Puts new tokens' times in, and gives the mark back by the same write; false, and nothing changed, when it is not ours any more.
pub(crate) fn complete(
    life: &mut Life,
    me: &str,
    now: UnixSeconds,
    expires_at: Option<UnixSeconds>,
    can_refresh: bool,
) -> bool {
    if !is_marked(life, me) {
        return false;
    }
    let serial = life.serial.saturating_add(1);
    *life = Life { serial, ..Life::begin(now, expires_at, can_refresh) };
    true
}

/// Gives the mark back after a failure, and says when to try again; false when it is not ours any more.
pub(crate) fn fail(life: &mut Life, me: &str, now: UnixSeconds, rules: &Rules) -> bool {
    if !is_marked(life, me) {
        return false;
    }
    life.mark = None;
    life.retry_at = Some(now.saturating_add(rules.cool_off).as_secs());
    true
}

/// A token that ends while it is on its way is none.
const IN_TRANSIT: Duration = Duration::from_secs(5);
const TO_WRITE: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixSeconds = UnixSeconds::new(1_800_000_000);
    const RULES: Rules =
        Rules { ahead: Duration::from_secs(60), lease: Duration::from_secs(30), cool_off: Duration::from_secs(10) };

    fn after(seconds: u64) -> UnixSeconds {
        NOW.saturating_add(Duration::from_secs(seconds))
    }

    fn life(seconds: u64) -> Life {
        Life::begin(NOW, Some(after(seconds)), true)
    }

    fn needs(life: &Life, at: u64) -> Need {
        need(life, None, after(at), &RULES)
    }

    #[test]
    fn refreshes_a_minute_ahead_or_in_the_last_tenth_and_never_uses_what_ends_on_its_way() {
        for (seconds, ahead, now) in [(3600, 3540, 3595), (300, 270, 295), (60, 54, 57)] {
            let life = life(seconds);
            assert_eq!(needs(&life, ahead - 1), Need::Nothing, "{seconds}");
            assert_eq!(needs(&life, ahead), Need::Ahead, "{seconds}");
            assert_eq!(needs(&life, now - 1), Need::Ahead, "{seconds}");
            assert_eq!(needs(&life, now), Need::Now, "{seconds}");
            assert_eq!(needs(&life, seconds + 1000), Need::Now, "{seconds}");
        }
    }

    #[test]
    fn without_a_refresh_token_it_is_used_to_its_end_and_then_it_is_over() {
        let life = Life { can_refresh: false, ..life(300) };
        assert_eq!(needs(&life, 294), Need::Nothing);
        assert_eq!(needs(&life, 295), Need::Over);
        let endless = Life::begin(NOW, None, false);
        assert_eq!(needs(&endless, 1_000_000), Need::Nothing);
        assert_eq!(need(&endless, Some(0), NOW, &RULES), Need::Over, "a service refused it");
    }

    #[test]
    fn a_token_that_a_service_refused_is_refreshed_once_and_its_successor_is_used() {
        let mut life = life(300);
        assert_eq!(need(&life, Some(0), NOW, &RULES), Need::Now);
        assert_eq!(claim(&mut life, "a", 0, NOW, &RULES), Claim::Won);
        assert!(complete(&mut life, "a", NOW, Some(after(300)), true));
        assert_eq!(need(&life, Some(0), NOW, &RULES), Need::Nothing);
        assert_eq!(claim(&mut life, "b", 0, NOW, &RULES), Claim::Renewed);
    }

    #[test]
    fn one_of_two_gets_the_mark_and_the_other_waits_for_its_end() {
        let mut life = life(300);
        assert_eq!(claim(&mut life, "a", 0, after(280), &RULES), Claim::Won);
        assert_eq!(claim(&mut life, "a", 0, after(280), &RULES), Claim::Won, "applied again, it is still ours");
        assert_eq!(claim(&mut life, "b", 0, after(309), &RULES), Claim::Taken);
        assert_eq!(claim(&mut life, "b", 0, after(310), &RULES), Claim::Won, "whoever had it is gone");
        let before = life.clone();
        assert!(!complete(&mut life, "a", after(311), Some(after(600)), true), "and comes too late");
        assert!(!fail(&mut life, "a", after(311), &RULES));
        assert_eq!(life, before);
        assert!(complete(&mut life, "b", after(311), Some(after(611)), true));
        assert_eq!((life.serial, life.mark, life.obtained_at), (1, None, after(311).as_secs()));
    }

    #[test]
    fn a_mark_whose_time_is_over_and_that_nobody_took_still_completes() {
        let mut life = life(300);
        assert_eq!(claim(&mut life, "a", 0, NOW, &RULES), Claim::Won);
        assert!(complete(&mut life, "a", after(100), None, false));
        assert_eq!(life, Life { serial: 1, ..Life::begin(after(100), None, false) });
    }

    #[test]
    fn after_a_failure_nobody_tries_for_a_while() {
        let mut life = life(300);
        assert_eq!(claim(&mut life, "a", 0, NOW, &RULES), Claim::Won);
        assert!(fail(&mut life, "a", NOW, &RULES));
        assert_eq!(claim(&mut life, "b", 0, after(9), &RULES), Claim::CoolingOff(after(10)));
        assert_eq!(claim(&mut life, "b", 0, after(10), &RULES), Claim::Won);
        assert_eq!(life.retry_at, None);
    }

    #[test]
    fn a_mark_that_was_written_late_is_taken_anew_before_anything_is_sent() {
        let (mut life, takes) = (life(300), Duration::from_secs(10));
        assert!(!is_in_time(&life, NOW, takes), "there is none");
        assert_eq!(claim(&mut life, "a", 0, NOW, &RULES), Claim::Won);
        assert!(is_in_time(&life, after(10), takes));
        assert!(!is_in_time(&life, after(11), takes));
        assert_eq!(claim(&mut life, "a", 0, after(11), &RULES), Claim::Won);
        assert!(is_in_time(&life, after(11), takes));
    }

    #[test]
    fn nothing_is_claimed_without_a_refresh_token() {
        let mut life = Life { can_refresh: false, ..life(300) };
        assert_eq!(claim(&mut life, "a", 0, NOW, &RULES), Claim::Over);
        assert_eq!(life.mark, None);
    }
}
