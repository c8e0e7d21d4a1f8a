//! What does a decision cost, by whom, beside the engine by itself and beside other libraries? In one thread; two threads are the
//! bench `policy_threads`.
//!
//! Who asks is a clerk with the token that everything is measured with, about an order of her tenant; each case permits it. What is
//! remote is asked of a real OPA on loopback, and is left out where there is none.

mod engines;
mod opa;
mod peers;

use std::process::ExitCode;

use sekisho_benches::decisions::{
    Asked, CEDAR_THAT_MATTER, cached, cedar, cedar_policies, cedar_policies_without_scope, owner_or_clerk, rego,
    remote, role_after_scope, scope_or_role,
};
use sekisho_benches::measure::{Case, Row, measure};
use sekisho_benches::report::{report, thousands};
use sekisho_benches::{ALLOCATOR, ready};
use sekisho_core::{AccessRequest, Authorize, EvaluationsSemantic};
use stats_alloc::StatsAlloc;
use tokio::runtime::Runtime;

#[global_allocator]
static GLOBAL: &StatsAlloc<std::alloc::System> = ALLOCATOR;

/// How many questions are kept, and asked in turn.
const KEPT: usize = 1_000;
const BATCH: usize = 100;

fn main() -> ExitCode {
    let quick = std::env::args().any(|argument| argument == "--quick");
    let (rounds, largest) = if quick { (3, 1_000) } else { (200, 10_000) };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let questions = || (0..KEPT).map(Asked::new).collect::<Vec<_>>();
    // A principal keeps the hash of itself for one decider, so the second has its own.
    let (asked, asked_by_names) = (questions(), questions());
    let sizes: Vec<usize> = [10, 1_000, 10_000].into_iter().filter(|size| *size <= largest).collect();

    let opa = opa::Opa::start();
    if opa.is_none() {
        println!(
            "opa: what is remote and not remembered is left out, it is not there (`cargo xtask servers --only opa`)\n"
        );
    }
    println!(
        "a token of {} bytes of claims, {KEPT} questions in memory, batches of {BATCH}; {rounds} interleaved rounds\n",
        asked[0].principal.claims().as_str().len()
    );
    let measured = Measured::new(&asked, &asked_by_names, &sizes, opa.as_ref());
    // Interleaved are only those that are compared: ten thousand policies, or another process, leave nothing of anybody's in
    // the processor's caches.
    let mut rows = measure(rules(&measured, &asked), rounds);
    rows.extend(measure(kept_cases(&measured, &asked, &asked_by_names, &runtime), rounds));
    if let Some(opa) = &measured.opa {
        rows.extend(measure(opa_cases(opa, &asked, &runtime), rounds));
    }
    for set in &measured.cedar {
        rows.extend(measure(cedar_cases(set, &asked), rounds));
    }
    rows.extend(measure(rego_cases(&measured, &asked), rounds));
    report("policy", &rows);
    goals(&rows, &sizes);
    ExitCode::SUCCESS
}

/// Holds what is measured.
struct Measured {
    rules: [(&'static str, sekisho_core::Requirement); 3],
    gatehouse: peers::Gatehouse,
    casbin: peers::Casbin,
    cedar: Vec<CedarSet>,
    rego: sekisho_policy::rego::RegoPolicies,
    bare_rego: engines::Rego,
    kept: sekisho_policy::remote::Remote,
    kept_by_names: sekisho_policy::remote::Remote,
    opa: Option<(opa::Bare, sekisho_policy::remote::Remote)>,
}

/// Is a set of policies: through us, by the engine, and by the engine with those alone that matter.
struct CedarSet {
    name: String,
    ours: sekisho_policy::cedar::CedarPolicies,
    bare: engines::Cedar,
    bare_that_matter: Option<engines::Cedar>,
}

impl Measured {
    fn new(asked: &[Asked], asked_by_names: &[Asked], sizes: &[usize], opa: Option<&opa::Opa>) -> Self {
        let set = |name: String, text: String, matter: bool| CedarSet {
            name,
            ours: cedar(&text),
            bare: engines::Cedar::new(&text),
            bare_that_matter: matter.then(|| engines::Cedar::new(CEDAR_THAT_MATTER)),
        };
        let mut cedar: Vec<_> =
            sizes.iter().map(|size| set(thousands(*size as f64), cedar_policies(*size), true)).collect();
        let most = *sizes.last().unwrap();
        cedar.push(set(format!("{}, no scope", thousands(most as f64)), cedar_policies_without_scope(most), false));
        let unasked = "http://127.0.0.1:1";
        let by_names = remote(unasked).depends_on_attributes(["owner", "tenant"]);
        Self {
            rules: [
                ("sekisho, scope or role", scope_or_role()),
                ("sekisho, role after a scope that lacks", role_after_scope()),
                ("sekisho, owner or clerk of the tenant", owner_or_clerk()),
            ],
            gatehouse: peers::Gatehouse::new(),
            casbin: peers::Casbin::new(&asked[0].facts),
            cedar,
            rego: rego(),
            bare_rego: engines::Rego::new(),
            kept: cached(remote(unasked), asked),
            kept_by_names: cached(by_names, asked_by_names),
            opa: opa.map(|opa| {
                let ours = remote(&opa.url()).without_cache().without_hedge();
                // Not of speed alone: a busy machine must not make it fail.
                let ours = ours.with_deadline(std::time::Duration::from_secs(10)).build().unwrap();
                (opa::Bare::new(opa), ours)
            }),
        }
    }
}

fn permits(decider: &dyn Authorize, request: &AccessRequest<'_>) -> bool {
    decider.decide_now(request).unwrap().unwrap().is_permitted()
}

/// Is a case that must permit, or what it measures is something else.
fn case<'a>(name: impl Into<String>, baseline: &str, mut run: impl FnMut() -> bool + 'a) -> Case<'a> {
    let name = name.into();
    assert!(run(), "{name} does not permit");
    Case::new(name, baseline, run)
}

fn batch<'a>(name: &str, baseline: &str, decider: &'a dyn Authorize, asked: &'a [Asked]) -> Case<'a> {
    case(name, baseline, move || all(&ready(ask_all(decider, asked))))
}

async fn ask_all(decider: &dyn Authorize, asked: &[Asked]) -> Vec<bool> {
    let requests: Vec<_> = asked.iter().take(BATCH).map(Asked::request).collect();
    let decisions = decider.decide_all(&requests, EvaluationsSemantic::ExecuteAll).await;
    decisions.into_iter().map(|decision| decision.unwrap().is_permitted()).collect()
}

fn all(permitted: &[bool]) -> bool {
    permitted.len() == BATCH && permitted.iter().all(|one| *one)
}

fn rules<'a>(measured: &'a Measured, asked: &'a [Asked]) -> Vec<Case<'a>> {
    let first = &asked[0];
    let facts = &first.facts;
    let baseline = measured.rules[0].0;
    let mut cases: Vec<_> =
        measured.rules.iter().map(|(name, rule)| case(*name, baseline, || permits(rule, &first.request()))).collect();
    let Measured { gatehouse, casbin, .. } = measured;
    cases.extend([
        case("gatehouse, scope or role", baseline, || gatehouse.scope_or_role(facts)),
        case("casbin, role", baseline, || casbin.scope_or_role(facts)),
        case("gatehouse, owner or clerk of the tenant", "sekisho, owner or clerk of the tenant", || {
            gatehouse.owner_or_clerk(facts)
        }),
        case("casbin, owner or clerk of the tenant", "sekisho, owner or clerk of the tenant", || {
            casbin.owner_or_clerk(facts)
        }),
        batch(
            "sekisho, owner or clerk: batch of 100",
            "sekisho, owner or clerk of the tenant",
            &measured.rules[2].1,
            asked,
        ),
    ]);
    cases
}

fn cedar_cases<'a>(set: &'a CedarSet, asked: &'a [Asked]) -> Vec<Case<'a>> {
    let (first, CedarSet { name, ours, bare, bare_that_matter }) = (&asked[0], set);
    let (baseline, own) = (format!("cedar-policy, {name}"), format!("sekisho, Cedar, {name}"));
    let prepared = bare.question(&first.facts);
    let mut cases = vec![
        case(&baseline, &baseline, || bare.decide(&first.facts)),
        case(format!("cedar-policy, {name}: question made before"), &baseline, move || bare.evaluate(&prepared)),
        case(&own, &baseline, || permits(ours, &first.request())),
    ];
    if let Some(bare) = bare_that_matter {
        let that_matter = format!("cedar-policy, {name}: those alone that matter");
        cases.push(case(that_matter, &baseline, || bare.decide(&first.facts)));
        cases.push(batch(&format!("{own}: batch of 100"), &own, ours, asked));
    }
    cases
}

fn rego_cases<'a>(measured: &'a Measured, asked: &'a [Asked]) -> Vec<Case<'a>> {
    let (first, bare, baseline) = (&asked[0], &measured.bare_rego, "regorus, a copied engine");
    let prepared = engines::Rego::input(&first.facts);
    let also = prepared.clone();
    vec![
        case(baseline, baseline, || bare.copied(engines::Rego::input(&first.facts))),
        case("regorus, compiled", baseline, || bare.compiled(engines::Rego::input(&first.facts))),
        case("regorus, a copied engine: input made before", baseline, move || bare.copied(prepared.clone())),
        case("regorus, compiled: input made before", baseline, move || bare.compiled(also.clone())),
        case("sekisho, Rego", baseline, || permits(&measured.rego, &first.request())),
        batch("sekisho, Rego: batch of 100", "sekisho, Rego", &measured.rego, asked),
    ]
}

fn kept_cases<'a>(
    measured: &'a Measured,
    asked: &'a [Asked],
    asked_by_names: &'a [Asked],
    runtime: &'a Runtime,
) -> Vec<Case<'a>> {
    let kept = |remote: &'a sekisho_policy::remote::Remote, asked: &'a [Asked]| {
        let mut next = 0;
        move || {
            next = (next + 7) % asked.len();
            let request = asked[next].request();
            // Nothing is kept for longer than a minute; then it is asked for once more.
            let outcome = remote.decide_now(&request).unwrap_or_else(|| runtime.block_on(remote.decide(&request)));
            outcome.unwrap().is_permitted()
        }
    };
    vec![
        case(KEPT_WHOLE, KEPT_WHOLE, kept(&measured.kept, asked)),
        case(KEPT_BY_NAMES, KEPT_WHOLE, kept(&measured.kept_by_names, asked_by_names)),
        case(
            "sekisho, remembered: batch of 100",
            KEPT_WHOLE,
            || all(&runtime.block_on(ask_all(&measured.kept, asked))),
        ),
    ]
}

fn opa_cases<'a>(
    (client, ours): &'a (opa::Bare, sekisho_policy::remote::Remote),
    asked: &'a [Asked],
    runtime: &'a Runtime,
) -> Vec<Case<'a>> {
    let (first, bare) = (&asked[0], "reqwest to OPA");
    vec![
        case(bare, bare, || runtime.block_on(client.decide(&first.facts))),
        case("sekisho to OPA", bare, || runtime.block_on(ours.decide(&first.request())).unwrap().is_permitted()),
        case("sekisho to OPA: batch of 100", bare, || all(&runtime.block_on(ask_all(ours, asked)))),
    ]
}

const KEPT_WHOLE: &str = "sekisho, remembered";
const KEPT_BY_NAMES: &str = "sekisho, remembered, by named attributes";

/// Says what was to be reached, and what was.
fn goals(rows: &[Row], sizes: &[usize]) {
    let median = |name: &str| rows.iter().find(|row| row.case == name).map(|row| row.median_ns);
    let ours = |size: &usize| median(&format!("sekisho, Cedar, {}", thousands(*size as f64)));
    println!("\n| to reach | reached |");
    println!("|---|--:|");
    let line = |what: &str, value: Option<f64>, unit: &str| {
        let value = value.map_or("left out".to_owned(), |value| {
            if unit.is_empty() { format!("{value:.2}") } else { format!("{} {unit}", thousands(value)) }
        });
        println!("| {what} | {value} |");
    };
    line("a rule in Rust, principal alone: at most 200 ns", median("sekisho, scope or role"), "ns");
    line("a rule in Rust, with the order: at most 200 ns", median("sekisho, owner or clerk of the tenant"), "ns");
    for size in sizes {
        let matter = median(&format!("cedar-policy, {}: those alone that matter", thousands(*size as f64)));
        let wrapping = ours(size).zip(matter).map(|(ours, bare)| ours - bare);
        line(
            &format!("Cedar, {size} policies, beside the engine with those that matter: at most 1,000 ns"),
            wrapping,
            "ns",
        );
    }
    let growth = sizes.last().and_then(ours).zip(sizes.first().and_then(ours)).map(|(most, least)| most / least);
    line("Cedar, the most policies beside the fewest: at most 3 times", growth, "");
    let rego = median("sekisho, Rego").zip(median("regorus, a copied engine")).map(|(ours, bare)| ours - bare);
    line("Rego beside the engine: at most 1,000 ns", rego, "ns");
    line("a remembered decision: at most 500 ns", median(KEPT_WHOLE), "ns");
    line("a remembered decision, by named attributes: at most 500 ns", median(KEPT_BY_NAMES), "ns");
    let remote = median("sekisho to OPA").zip(median("reqwest to OPA")).map(|(ours, bare)| ours / bare);
    line("OPA through us beside reqwest alone", remote, "");
}
