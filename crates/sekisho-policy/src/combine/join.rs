use sekisho_core::{Decision, DecisionSource, Denial};

/// Puts a decision beside another of the same effect.
pub(super) fn into(place: &mut Option<Decision>, decision: Decision) {
    *place = Some(match place.take() {
        Some(known) => both(known, decision),
        None => decision,
    });
}

/// Joins two decisions of the same effect: reasons and obligations of both, the shorter lifetime, the less certain source,
/// and the denial that the caller can do more about. Costs no memory where neither has any of these.
pub(super) fn both(first: Decision, second: Decision) -> Decision {
    let can_be_mended =
        |decision: &Decision| decision.denial().is_some_and(|denial| !matches!(denial, Denial::Forbidden { .. }));
    let (base, other) =
        if can_be_mended(&second) && !can_be_mended(&first) || first.denial().is_none() && second.denial().is_some() {
            (second, first)
        } else {
            (first, second)
        };
    let source = if rank(other.source()) > rank(base.source()) { other.source() } else { base.source() };
    with_details_of(base.with_source(source), &other, true)
}

/// Adds the details of `other`; its obligations only if they are asked for.
pub(super) fn with_details_of(mut decision: Decision, other: &Decision, with_obligations: bool) -> Decision {
    if let (None, Some(id)) = (decision.id(), other.id()) {
        decision = decision.with_id(id);
    }
    match (decision.revision(), other.revision()) {
        (None, Some(revision)) => decision = decision.with_revision(revision),
        (Some(ours), Some(theirs)) if !names(ours, theirs) => {
            let revisions = format!("{ours},{theirs}");
            decision = decision.with_revision(revisions);
        }
        _ => {}
    }
    match (decision.lifetime(), other.lifetime()) {
        (None, Some(lifetime)) => decision = decision.with_lifetime(lifetime),
        (Some(ours), Some(theirs)) if theirs < ours => decision = decision.with_lifetime(theirs),
        _ => {}
    }
    for reason in other.reasons() {
        decision = decision.with_reason(reason.clone());
    }
    if with_obligations {
        for obligation in other.obligations() {
            decision = decision.with_obligation(obligation.clone());
        }
    }
    decision
}

/// Tells whether joined revisions name this one already.
fn names(revisions: &str, one: &str) -> bool {
    revisions == one || revisions.split(',').any(|known| known == one)
}

/// Ranks where decisions come from, the most certain first.
const fn rank(source: DecisionSource) -> u8 {
    match source {
        DecisionSource::Local => 0,
        DecisionSource::Remote => 1,
        DecisionSource::Cache => 2,
        // What is not known here is taken for the least certain.
        _ => 3,
    }
}
