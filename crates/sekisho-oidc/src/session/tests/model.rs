//! An executable model of a session's life: login, refresh, step-up, new id, logout, back-channel logout, expiry, in two processes, with a
//! crash or another fault at each step.
//!
//! It has no second description of the code: what runs is [`Bff`](crate::session::Bff), the relying party and `Sessions`, twice over one
//! store. Each call of store and provider stops at a gate, and the search decides which one happens next, whether it fails, is answered or
//! happens too late, whether its process dies before or after it, and when time passes. `exhaust` goes through all of that, `walk` chooses
//! at random where it is too much. The properties are in `properties`; that each of them can fail is shown with something broken on purpose.
//!
//! Figures: `cargo test -p sekisho-oidc --lib model -- --nocapture`

mod explore;
mod gate;
mod lock;
mod properties;
mod provider;
mod system;

use std::time::{Duration, Instant};

use explore::{Explored, exhaust, walk};
use gate::Broken;
use system::{Request, Scenario, Sent};

use super::world::LIFE;
use crate::session::cycle::{self, Life, Mark, Rules};

const MOST: usize = 20_000;

const fn sent(request: Request, process: usize) -> Sent {
    Sent { request, process, browser: 0 }
}

/// Alice is logged in, and sends the first to one process and the second to the other.
fn two(first: Request, second: Request) -> Scenario {
    Scenario { browsers: &["alice-1/a"], requests: vec![sent(first, 0), sent(second, 1)], ..Scenario::default() }
}

fn two_refreshes() -> Scenario {
    Scenario { age: LIFE, moments: 2, ..two(Request::Token, Request::Token) }
}

fn report(what: &str, began: Instant, explored: Explored) {
    let Explored { states, runs, steps, deepest } = explored;
    println!("{what}: {states} states, {runs} runs, {steps} steps, {deepest} deep, {:.1?}", began.elapsed());
}

#[track_caller]
fn holds(what: &str, scenario: &Scenario) {
    let began = Instant::now();
    match exhaust(scenario, MOST) {
        Ok(explored) => report(what, began, explored),
        Err(found) => panic!("{what}: {found}"),
    }
}

/// Finds a counterexample to this property once something is broken, and none before.
#[track_caller]
fn needs(property: &str, broken: Broken, scenario: Scenario) {
    let began = Instant::now();
    if let Err(found) = exhaust(&scenario, MOST) {
        panic!("unbroken, {found}");
    }
    match exhaust(&Scenario { broken: Some(broken), ..scenario }, MOST) {
        Ok(_) => panic!("{property} holds with {broken:?}"),
        Err(found) => assert!(found.starts_with(property), "{property} with {broken:?}: {found}"),
    }
    println!("{property} fails with {broken:?}, {:.1?}", began.elapsed());
}

#[test]
fn model_two_processes_refresh_at_once() {
    holds("two refreshes", &two_refreshes());
}

#[test]
fn model_two_processes_refresh_and_one_dies_at_any_step() {
    holds("two refreshes, a crash", &Scenario { crashes: 1, moments: 1, ..two_refreshes() });
}

#[test]
fn model_a_process_refreshes_stands_still_or_dies_and_another_follows() {
    holds("two refreshes, a mark runs out", &Scenario { ticks: &[31], moments: 1, ..two_refreshes() });
}

#[test]
fn model_two_processes_refresh_and_a_call_fails_is_lost_or_comes_late() {
    holds("two refreshes, a fault", &Scenario { faults: 1, moments: 0, ..two_refreshes() });
}

#[test]
fn model_a_refresh_meets_a_logout_a_new_id_and_a_step_up() {
    for other in [Request::LogOut, Request::Rotate, Request::LogIn("alice-1/b"), Request::Backchannel("alice-1")] {
        let scenario = Scenario { age: LIFE, moments: 1, ..two(Request::Token, other) };
        let scenario = Scenario { crashes: usize::from(!matches!(other, Request::LogIn(_))), ..scenario };
        holds(&format!("a refresh and {other:?}"), &scenario);
    }
}

#[test]
fn model_a_write_meets_everything_else() {
    let others = [Request::Write(2), Request::Rotate, Request::LogIn("alice-1/b"), Request::LogOut, Request::Token];
    for other in others {
        let scenario = Scenario { age: LIFE, moments: 2, ..two(Request::Write(1), other) };
        holds(&format!("a write and {other:?}, a crash"), &Scenario { crashes: 1, ..scenario.clone() });
        holds(&format!("a write and {other:?}, a fault"), &Scenario { faults: 1, ..scenario });
    }
}

#[test]
fn model_a_logout_at_the_provider_meets_a_login_a_step_up_and_a_new_id() {
    let end = Request::Backchannel("alice-1");
    let login = Scenario { browsers: &[], crashes: 1, ..two(Request::LogIn("alice-1/a"), end) };
    holds("a login and a logout at the provider, a crash", &login);
    holds("a login and a logout at the provider, a fault", &Scenario { crashes: 0, faults: 1, ..login });
    let step_up = Scenario { crashes: 1, ..two(Request::LogIn("alice-1/b"), end) };
    holds("a step-up and a logout at the provider, a crash", &step_up);
    holds("a new id and a logout at the provider, a crash", &Scenario { crashes: 1, ..two(Request::Rotate, end) });
}

#[test]
fn model_a_logout_meets_a_new_id_and_a_step_up() {
    holds("a logout and a new id, a crash", &Scenario { crashes: 1, ..two(Request::LogOut, Request::Rotate) });
    let step_up = Scenario { crashes: 1, ..two(Request::LogOut, Request::LogIn("alice-1/b")) };
    holds("a logout and a step-up, a crash", &step_up);
    holds("a logout and a new id, a fault", &Scenario { faults: 1, ..two(Request::LogOut, Request::Rotate) });
}

#[test]
fn model_two_logouts_of_one_session_meet() {
    let scenario = two(Request::LogOut, Request::LogOut);
    holds("two logouts, a crash", &Scenario { crashes: 1, ..scenario.clone() });
    holds("two logouts, a fault", &Scenario { faults: 1, ..scenario });
}

#[test]
fn model_two_tabs_log_in_at_once() {
    let tabs = two(Request::LogIn("alice-1/b"), Request::LogIn("alice-1/c"));
    let nobody = Scenario { browsers: &[], ..tabs.clone() };
    holds("two logins of nobody, a crash", &Scenario { crashes: 1, ..nobody.clone() });
    holds("two logins of nobody, a fault", &Scenario { faults: 1, ..nobody });
    // With a fault, too, it is 9,715 states, which hold, and four times as long as this.
    holds("two logins of a session, a crash", &Scenario { crashes: 1, ..tabs });
}

#[test]
fn model_a_login_of_somebody_else_meets_a_logout() {
    let scenario = two(Request::LogIn("bob-1/a"), Request::LogOut);
    holds("another login and a logout, a crash", &Scenario { crashes: 1, ..scenario.clone() });
    holds("another login and a logout, a fault", &Scenario { faults: 1, ..scenario });
}

#[test]
fn model_a_refresh_meets_a_step_up_and_a_process_dies() {
    let scenario = Scenario { age: LIFE, moments: 1, ..two(Request::Token, Request::LogIn("alice-1/b")) };
    holds("a refresh and a step-up, a crash", &Scenario { crashes: 1, ..scenario });
}

#[test]
fn model_time_runs_out_and_a_process_dies() {
    for (what, ticks) in [("the idle time", &[30 * 60][..]), ("the absolute time", &[12 * 3600])] {
        let scenario = Scenario { ticks, crashes: 1, ..two(Request::Rotate, Request::Write(1)) };
        holds(&format!("{what} runs out at a new id, a crash"), &scenario);
        let scenario = Scenario { age: LIFE, ..Scenario { requests: vec![sent(Request::Token, 0)], ..scenario } };
        holds(&format!("{what} runs out at a refresh, a crash"), &scenario);
    }
}

#[test]
fn model_time_runs_out_under_whatever_is_under_way() {
    for (what, ticks) in [("the idle time", &[30 * 60][..]), ("the absolute time", &[12 * 3600])] {
        let scenario = Scenario { ticks, age: LIFE, ..two(Request::Token, Request::Write(1)) };
        holds(&format!("{what} runs out"), &scenario);
        holds(&format!("{what} runs out at a new id"), &Scenario { ticks, ..two(Request::Rotate, Request::Write(1)) });
    }
}

fn two_browsers() -> Scenario {
    let requests = vec![sent(Request::Token, 0), Sent { browser: 1, ..sent(Request::Token, 0) }];
    Scenario { browsers: &["alice-1/a", "bob-1/a"], requests, age: LIFE, ..Scenario::default() }
}

#[test]
fn model_two_browsers_refresh_in_one_process() {
    holds("two browsers", &two_browsers());
}

#[test]
fn model_no_session_after_logout_can_fail() {
    let property = "no session after logout";
    needs(property, Broken::SaveRevives, two(Request::LogOut, Request::Write(1)));
    needs(property, Broken::EndsNothingByTag, two(Request::Backchannel("alice-1"), Request::Write(1)));
    let login = two(Request::LogIn("alice-1/a"), Request::Backchannel("alice-1"));
    needs(property, Broken::ForgetsEnds, Scenario { browsers: &[], ..login });
}

#[test]
fn model_no_token_of_another_session_can_fail() {
    needs("no token of another session", Broken::ProviderMixesUp, two_browsers());
}

#[test]
fn model_no_refresh_token_used_twice_can_fail() {
    let property = "no refresh token used twice";
    needs(property, Broken::ClockAhead, two_refreshes());
    needs(property, Broken::SaveIsBlind, two_refreshes());
}

#[test]
fn model_no_lost_acknowledged_write_can_fail() {
    needs("no lost acknowledged write", Broken::SaveIsBlind, two(Request::Write(1), Request::Write(2)));
}

#[test]
fn model_no_session_outlives_its_end_can_fail() {
    let scenario = Scenario { ticks: &[12 * 3600], ..two(Request::Write(1), Request::Write(2)) };
    needs("no session outlives its end", Broken::TimeStandsStill, scenario);
}

#[test]
fn model_long_lives_at_random() {
    let began = Instant::now();
    let requests = vec![
        sent(Request::Write(1), 0),
        sent(Request::Token, 0),
        sent(Request::Token, 1),
        Sent { browser: 1, ..sent(Request::Token, 1) },
        sent(Request::LogIn("alice-1/b"), 1),
        sent(Request::Rotate, 0),
        sent(Request::Write(2), 1),
        sent(Request::Token, 0),
        Sent { browser: 1, ..sent(Request::LogOut, 0) },
        sent(Request::Backchannel("alice-1"), 1),
        sent(Request::Token, 1),
    ];
    let scenario = Scenario {
        browsers: &["alice-1/a", "bob-1/a"],
        requests,
        age: LIFE - 20,
        ticks: &[11, 31, LIFE, 11, 30 * 60, 12 * 3600],
        crashes: 2,
        faults: 3,
        moments: 20,
        broken: None,
    };
    match walk(&scenario, 0..300) {
        Ok(explored) => report("long lives at random", began, explored),
        Err(found) => panic!("{found}"),
    }
}

#[test]
fn model_the_mark_lets_one_of_two_send_and_keep() {
    for is_strict in [true, false] {
        let began = Instant::now();
        match lock::explore(&lock::REAL, is_strict) {
            Ok(states) => println!("the mark, strict {is_strict}: {states} states, {:.1?}", began.elapsed()),
            Err(found) => panic!("{found}"),
        }
    }
}

#[test]
fn model_the_mark_fails_with_any_of_its_functions_broken() {
    let twice = "no token used twice";
    let claim = |life: &mut Life, me: &str, seen, now, rules: &Rules| {
        life.mark = None;
        cycle::claim(life, me, seen, now, rules)
    };
    breaks(twice, true, lock::Functions { claim, ..lock::REAL });
    let fail = |life: &mut Life, me: &str, now, rules: &Rules| {
        life.mark = Some(Mark { by: me.into(), until: 0 });
        cycle::fail(life, me, now, &Rules { cool_off: Duration::ZERO, ..*rules })
    };
    breaks(twice, true, lock::Functions { fail, ..lock::REAL });
    breaks(twice, true, lock::Functions { is_in_time: |_, _, _| true, ..lock::REAL });
    let complete = |life: &mut Life, me: &str, now, expires_at, can_refresh| {
        life.mark = Some(Mark { by: me.into(), until: 0 });
        cycle::complete(life, me, now, expires_at, can_refresh)
    };
    breaks("no answer over another", false, lock::Functions { complete, ..lock::REAL });
}

#[track_caller]
fn breaks(property: &str, is_strict: bool, functions: lock::Functions) {
    let found = lock::explore(&functions, is_strict).expect_err(property);
    assert!(found.starts_with(property), "{property}: {found}");
}
