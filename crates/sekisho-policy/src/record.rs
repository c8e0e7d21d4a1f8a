//! The record of decisions: a log of events, and metrics.
//!
//! [`Recorded`] stands around an authorizer and hands one [`DecisionRecord`] for each decision to sinks: [`TracingSink`]
//! writes events, [`DecisionLog`] a file in the format of OPA's decision log, and [`DecisionSink`] is what any other one
//! implements. What is recorded is an allow-list: who asked, by which token (its `jti`), for what, what was said, by whom and
//! why; of context, attributes and claims only what is named.
//!
//! A text in which a token shows is masked: a JWS or JWE by its form, and what is announced, such as `Bearer …`,
//! `access_token=…` or `"password": "…"`. Of the ids of subject, resource, client and token only the secret itself is. An opaque token that stands by itself looks like any other id, and a [`Principal`] does not know the
//! token that it was made of. So the allow-list is what keeps such tokens out: name no member of context, attributes or claims
//! that holds one, and let no resource have one for its id.
//!
//! [`Principal`]: sekisho_core::Principal
//!
//! What is too much for one record is left out of it and named there; the decision itself stands in it whatever came with the
//! question.
//!
//! Recording blocks nobody. By default a record that finds no room is dropped and [counted](Recorded::lost);
//! [with a required record](Recorded::with_required_record) there is no permit without one.
//!
//! Put it around the outermost authorizer: one inside of a combination may be asked twice for one decision.
//!
//! With the feature `metrics`, by the facade of that name:
//!
//! | metric | labels | is |
//! |---|---|---|
//! | `sekisho_decisions_total` | `outcome`: `permit`, `deny`, `not_applicable`, `error`; `source`: `local`, `remote`, `cache`, `fallback`, `none` | decisions, by `Measured` |
//! | `sekisho_decisions_total` | `outcome`: as above, of the candidate; `source`: `shadow-diff` | what a candidate said otherwise than the live one, never enforced, by [`Shadow`](crate::combine::Shadow) |
//! | `sekisho_decision_seconds` | `source` | how long they took, by `Measured` |
//! | `sekisho_decision_fallbacks_total` | `by`: `last_known`, `other`, `none` | what stood in for a decision service, by [`Fallback`](crate::combine::Fallback) |
//! | `sekisho_shadow_comparisons_total` | `outcome`: `equal`, `different`, `failed`, `dropped` | decisions of candidates, by [`Shadow`](crate::combine::Shadow) |
//! | `sekisho_decision_records_lost_total` | `reason`: `full`, `too_large`, `write`, `closed` | records that were not kept, by [`DecisionLog`] |
//! | `sekisho_decision_records_untaken_total` | | records that a sink of whatever kind did not take, by [`Recorded`] and [`Shadow`](crate::combine::Shadow) |
//!
//! No label says who asked or for what.
//!
//! # Examples
//! ```
//! use sekisho_core::{AccessRequest, Authorize, Resource, UnixSeconds, dangerous::PrincipalBuilder, scope};
//! use sekisho_policy::record::{Recorded, TracingSink};
//!
//! let orders = Recorded::new(scope("orders:read")).to(TracingSink).with_context(["ip"]);
//! let alice = PrincipalBuilder::new("https://id.example", "alice").with_scope("orders:read").build()?;
//! let question = AccessRequest::new(&alice, "read", Resource::new("order", "42"), UnixSeconds::new(0));
//! let decision = orders.decide_now(&question).expect("nobody waits").expect("nobody fails");
//! assert_eq!(decision.id().map(str::len), Some(32)); // stands in the event too
//! # Ok::<(), sekisho_core::json::JsonError>(())
//! ```

mod entry;
mod file;
mod log;
#[cfg(feature = "metrics")]
mod measured;
mod opa;
pub(crate) mod queue;
mod recorded;
mod secrets;
mod sink;

pub use entry::{DecisionRecord, RecordedOutcome};
pub use log::{DecisionLog, DecisionLogBuilder, DecisionLogCounts, DecisionLogWriter};
#[cfg(feature = "metrics")]
pub use measured::Measured;
pub use recorded::Recorded;
pub use sink::{DecisionSink, NotRecorded, TracingSink};

pub(crate) use entry::Allowed;
pub(crate) use recorded::{count_untaken, random_id};

#[cfg(test)]
mod tests;
