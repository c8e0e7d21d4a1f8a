use std::future::poll_fn;
use std::task::Poll;

use super::{NO_CONDITION, Requirement, Rule, Tally, deny_all, holds_or, inverse};
use crate::{AccessRequest, Authorize as _, Decision, Effect, Explanation, Failure, FailureKind};

type Outcome = Result<Decision, Failure>;

/// Asks every part once, and decides of what they said.
pub(super) async fn explain(requirement: &Requirement, request: &AccessRequest<'_>) -> Explanation {
    let name = || requirement.outline().name().to_owned();
    match &*requirement.0 {
        Rule::DecidedBy(authorizer) => authorizer.explain(request).await,
        Rule::WhenAsync(_, condition) => {
            Explanation::leaf(name(), condition(request).await.map(|holds| holds_or(holds, NO_CONDITION)))
        }
        Rule::Not(inner) => {
            let part = inner.explain(request).await;
            Explanation::branch(name(), inverse(said(&part)), vec![part])
        }
        Rule::Any(requirements) => {
            let (parts, order) = ask(requirements, request).await;
            let outcome = of_any(&parts, &order);
            branch(name(), outcome, parts)
        }
        Rule::All(requirements) => {
            let (parts, order) = ask(requirements, request).await;
            let outcome = of_all(requirements, &parts, &order);
            branch(name(), outcome, parts)
        }
        _ => Explanation::leaf(name(), requirement.decide_here(request).unwrap_or(Err(UNDECIDED))),
    }
}

const UNDECIDED: Failure = Failure::new(FailureKind::Misconfigured, "a rule that is decided at once was not");

/// Tells where the parts stand that answered at once, and where the others do.
struct Order {
    at_once: Vec<usize>,
    waited: Vec<usize>,
}

/// Asks each part once. What can be told at once counts before what has to wait, as when it is decided.
async fn ask(requirements: &[Requirement], request: &AccessRequest<'_>) -> (Vec<Explanation>, Order) {
    let mut asked: Vec<_> = requirements.iter().map(|requirement| requirement.explain(request)).collect();
    let mut parts: Vec<Option<Explanation>> = Vec::with_capacity(asked.len());
    for one in &mut asked {
        parts.push(match poll_fn(|cx| Poll::Ready(one.as_mut().poll(cx))).await {
            Poll::Ready(part) => Some(part),
            Poll::Pending => None,
        });
    }
    let (at_once, waited) = (0..parts.len()).partition(|&index| parts.get(index).is_some_and(Option::is_some));
    for (one, part) in asked.iter_mut().zip(&mut parts) {
        if part.is_none() {
            *part = Some(one.await);
        }
    }
    (parts.into_iter().flatten().collect(), Order { at_once, waited })
}

fn of_any(parts: &[Explanation], order: &Order) -> Outcome {
    let mut tally = Tally::default();
    for part in [&order.at_once, &order.waited].into_iter().flatten().filter_map(|&index| parts.get(index)) {
        match said(part) {
            Ok(decision) if decision.is_permitted() => return Ok(decision),
            _ => {}
        }
    }
    parts.iter().for_each(|part| tally.count(said(part)));
    tally.into_none()
}

fn of_all(requirements: &[Requirement], parts: &[Explanation], order: &Order) -> Outcome {
    let denials = |places: &[usize]| -> Vec<Decision> {
        let outcomes = places.iter().filter_map(|&index| said(parts.get(index)?).ok());
        outcomes.filter(|decision| !decision.is_permitted()).collect()
    };
    let mut of_waiting = denials(&order.waited);
    of_waiting.truncate(1);
    for denials in [denials(&order.at_once), of_waiting] {
        if let Some(denied) = deny_all(requirements, denials) {
            return Ok(denied);
        }
    }
    let mut tally = Tally::default();
    parts.iter().for_each(|part| tally.count(said(part)));
    tally.into_all()
}

fn said(part: &Explanation) -> Outcome {
    part.outcome().cloned().unwrap_or(Err(UNDECIDED))
}

/// Marks the parts that came to what came of all.
fn branch(name: String, outcome: Outcome, parts: Vec<Explanation>) -> Explanation {
    let effect = |outcome: &Outcome| outcome.as_ref().ok().map(Decision::effect);
    // That one of several has nothing to say settles as much as its denial does.
    let is_same = |one: Option<Effect>, other: Option<Effect>| {
        one == other || (one == Some(Effect::NotApplicable) && other == Some(Effect::Deny))
    };
    let mark = |part: Explanation| {
        let settles = is_same(effect(&said(&part)), effect(&outcome));
        if settles { part } else { part.without_weight() }
    };
    Explanation::branch(name, outcome.clone(), parts.into_iter().map(mark).collect())
}
