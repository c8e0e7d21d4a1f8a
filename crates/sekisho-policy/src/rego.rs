//! Policies in Rego, evaluated in this process by `regorus`.
//!
//! ```
//! use sekisho_core::{AccessRequest, Authorize, Resource, UnixSeconds, dangerous::PrincipalBuilder};
//! use sekisho_policy::rego::RegoPolicies;
//!
//! let policies = RegoPolicies::builder("data.shop.decision")
//!     .with_module("shop.rego", r#"
//!         package shop
//!         decision if { input.action.name == "read"; "orders:read" in input.subject.scopes }
//!     "#)
//!     .build()?;
//! let alice = PrincipalBuilder::new("https://id.example", "alice").with_scope("orders:read").build()?;
//! let request = AccessRequest::new(&alice, "read", Resource::new("order", "42"), UnixSeconds::new(0));
//! assert!(matches!(policies.decide_now(&request), Some(Ok(decision)) if decision.is_permitted()));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What a policy sees and says
//! `input` is the question, the same as a remote OPA is asked:
//!
//! ```json
//! {
//!   "subject": {
//!     "type": "user", "id": "alice", "issuer": "https://id.example", "client": "shop", "tenant": "acme",
//!     "roles": ["clerk"], "scopes": ["orders:read"], "properties": {"department": "sales"}
//!   },
//!   "action": {"name": "read", "properties": {}},
//!   "resource": {"type": "order", "id": "42", "properties": {"owner": "alice"}},
//!   "context": {"ip": "192.0.2.1"},
//!   "now": 1700000000
//! }
//! ```
//!
//! What there is none of is absent; the subject's `properties` are the claims that [`RegoBuilder::with_claims`] lists. The entry
//! point comes to `true` (permit), `false` (deny), nothing (not applicable), or an object: `decision` or `allow`, one of them and a
//! boolean; `reasons`, at most 64 strings; `obligations`, at most 32 of `{"id": …, "parameters": {…}}`; `lifetime_s`, whole seconds,
//! at most a day. Whatever else it comes to, an unknown member, and every error while evaluating are failures, never a permit.
//!
//! # What it costs
//! An evaluation takes no lock: it copies a compiled engine, which is one allocation and some counters (0.1 µs), for the copy
//! shares policies and data. Threads that count references to the same ones would wait for one another, so each compiles an engine
//! of its own when it decides for the first time, where the policies are small: where the data and eight times the modules are
//! 256 KiB at most, and to compile them took less than 10 ms when they were built. That takes about 2 MiB at the most; 0.3 ms and 150 KiB
//! for 1 KiB of modules. Threads beyond four times as many as the machine has cores, and 64, share those of others; those with less
//! than 1 MiB of stack left, and all where the policies are larger or [`RegoBuilder::without_thread_copies`] is said, share one engine:
//! two then decide 1.4 times as much as one instead of twice as much. Measured with `regorus` 0.14.1, three conditions:
//!
//! | way to evaluate | 1 rule | 100 rules | allocations (1 rule) |
//! |---|---|---|---|
//! | a copy of the engine, as here | 4.3 µs | 72 µs | 118 |
//! | one engine that is kept (needs a lock) | 4.1 µs | 73 µs | 112 |
//! | `CompiledPolicy::eval_with_input` (has no time limit) | 4.3 µs | 72 µs | 119 |
//! | `regorus`' bytecode machine, a new one each time | 2.0 µs | 5.0 µs | 33 |
//!
//! The bytecode machine is faster and is not used: it knows no `with`, and its authors list parts of OPA's conformance
//! suite that it does not pass. Brackets may stand 12 deep in one another: beyond, the engine's parser takes for ever.
//! An expression may have 64 operators, `.` and `[` among them, and 8 signs, together with those around its brackets, and is
//! refused from about 50 on where they nest; numbers may have an exponent up to 400 and 1,024 digits, in data and input as well.
//!
//! # What a policy cannot do
//! There is no `http.send`, no `opa.runtime`, no file, environment or network. `rand.intn` is there; `time.now_ns` tells the time of
//! the machine; `input.now` is the one to use. `print` goes nowhere. A built-in that fails is an error, also where OPA would
//! go on with nothing. An evaluation ends in a failure after [`RegoBuilder::with_time_limit`]; one built-in on huge values is not
//! interrupted, so policies are to be trusted as far as memory and time go.

use std::fmt;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use regorus::utils::limits::ExecutionTimerConfig;
use regorus::{Engine, LimitError, Value};
use sekisho_core::json::JsonObject;
use sekisho_core::{AccessRequest, Authorize, Decision, Failure, FailureKind, Outline};

use self::build::Sources;
use crate::input::InputOptions;
use crate::outcome::{self, OutcomeError};
use crate::per_thread::{PerThread, has_stack};

mod build;
mod document;
mod paths;
mod recursion;
mod scan;
#[cfg(test)]
mod tests;

pub use build::RegoBuilder;

/// Decides by policies in Rego. A clone costs one counter.
#[derive(Clone)]
pub struct RegoPolicies(Arc<Inner>);

struct Inner {
    /// Is copied for each evaluation and never evaluated itself, as each thread's own.
    engine: Engine,
    /// What a thread makes an engine of its own from, if that is quickly done.
    sources: Option<Sources>,
    own: PerThread<Own>,
    entry_point: Box<str>,
    input: InputOptions,
    revision: Arc<str>,
}

/// What a thread copies for each evaluation, so that it counts no references together with others.
struct Own {
    engine: Option<Engine>,
    revision: Arc<str>,
}

impl Inner {
    /// Returns an engine to evaluate, and the revision.
    fn prepare(&self) -> (Engine, Arc<str>) {
        let Own { engine, revision } = self.own.own(|| Own {
            engine: self
                .sources
                .as_ref()
                .filter(|_| has_stack())
                .and_then(|sources| sources.engine().ok())
                .map(|(engine, _)| engine),
            revision: Arc::from(&*self.revision),
        });
        (engine.as_ref().unwrap_or(&self.engine).clone(), Arc::clone(revision))
    }
}

impl RegoPolicies {
    /// Names the rule that decides, such as `data.shop.decision`.
    pub fn builder(entry_point: impl Into<String>) -> RegoBuilder {
        RegoBuilder::new(entry_point.into())
    }

    /// Returns the revision that stands in each decision.
    #[must_use]
    pub fn revision(&self) -> &str {
        &self.0.revision
    }

    /// Returns the rule that decides.
    #[must_use]
    pub fn entry_point(&self) -> &str {
        &self.0.entry_point
    }

    fn evaluate(&self, request: &AccessRequest<'_>) -> Result<Decision, Failure> {
        let Inner { entry_point, input, .. } = &*self.0;
        let (mut engine, revision) = self.0.prepare();
        engine.set_input(document::input(input, request)?);
        let value = engine.eval_rule(String::from(&**entry_point)).map_err(|error| failed(&error))?;
        Ok(read(&value)?.with_revision(revision))
    }
}

#[async_trait]
impl Authorize for RegoPolicies {
    fn decide_now(&self, request: &AccessRequest<'_>) -> Option<Result<Decision, Failure>> {
        Some(self.evaluate(request))
    }

    async fn decide(&self, request: &AccessRequest<'_>) -> Result<Decision, Failure> {
        self.evaluate(request)
    }

    fn outline(&self) -> Outline {
        Outline::leaf(format!("Rego {}", self.0.entry_point))
    }
}

impl fmt::Debug for RegoPolicies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { engine: _, sources: _, own: _, entry_point, input, revision } = &*self.0;
        f.debug_struct("RegoPolicies")
            .field("entry_point", entry_point)
            .field("input", input)
            .field("revision", revision)
            .finish_non_exhaustive()
    }
}

/// Makes a decision of the value that the entry point came to.
fn read(value: &Value) -> Result<Decision, Failure> {
    match value {
        Value::Undefined => outcome::decision(None),
        Value::Bool(allowed) => Ok(outcome::of(*allowed)),
        Value::Object(_) => {
            // A set has become an array by then, which is how OPA writes `reasons contains …`.
            let kind = |_| outcome::failure(OutcomeError::Kind);
            let json = serde_json::to_string(value).map_err(|_| outcome::failure(OutcomeError::Kind))?;
            if json.len() > MAX_RESULT_BYTES {
                return Err(outcome::failure(OutcomeError::Kind));
            }
            let wrapped = JsonObject::parse(format!("{{\"result\":{json}}}").into_bytes()).map_err(kind)?;
            outcome::decision(wrapped.get("result"))
        }
        _ => Err(outcome::failure(OutcomeError::Kind)),
    }
}

const MAX_RESULT_BYTES: usize = 64 << 10;

fn failed(error: &anyhow::Error) -> Failure {
    if error.downcast_ref::<LimitError>().is_some() {
        return Failure::unavailable("the evaluation of a Rego policy took too long");
    }
    Failure::new(FailureKind::Misconfigured, "a Rego policy could not be evaluated")
        .with_source(EvaluationError::of(error))
}

/// Says where in the policies an evaluation failed.
///
/// What the engine says of it may quote the input, and stays out.
#[derive(Debug, thiserror::Error)]
#[error("{kind} at {place}")]
struct EvaluationError {
    kind: &'static str,
    place: String,
}

impl EvaluationError {
    fn of(error: &anyhow::Error) -> Self {
        let text = error.to_string();
        let place = text.lines().find_map(|line| line.strip_prefix("--> ")).unwrap_or("an unknown place");
        let kind = if text.contains("error: rule conflicts with") {
            "rules conflict"
        } else if text.contains("error: could not find function") {
            "unknown function"
        } else if text.contains("error: recursion detected") {
            "recursion"
        } else {
            "error"
        };
        Self { kind, place: place.chars().take(256).flat_map(char::escape_debug).collect() }
    }
}

const DEFAULT_TIME_LIMIT: Duration = Duration::from_millis(50);
/// Steps between two looks at the clock: below a millisecond of work.
const CHECK_INTERVAL: NonZeroU32 = NonZeroU32::new(256).unwrap();

const fn timer(limit: Duration) -> ExecutionTimerConfig {
    ExecutionTimerConfig { limit, check_interval: CHECK_INTERVAL }
}
