//! One policy, written four times: rules in Rust, Cedar and Rego in this process, Rego in a real OPA. They agree.

use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use sekisho_core::dangerous::PrincipalBuilder;
use sekisho_core::json::JsonObject;
use sekisho_core::{
    AccessRequest, Authorize, Decision, EvaluationsSemantic, Failure, Principal, Requirement, Resource, UnixSeconds,
    all_of, any_of, claim, not, owner, role, same_tenant, scope, when,
};
use sekisho_policy::cedar::CedarPolicies;
use sekisho_policy::combine::{deny_if, deny_overrides, permit_if};
use sekisho_policy::rego::RegoPolicies;
use sekisho_policy::remote::Remote;
use sekisho_policy::remote::opa::Opa as OpaProtocol;

use crate::opa::Opa;

const ISSUER: &str = "https://id.example";
const REQUESTS: usize = 10_000;

/// The owner reads his order, clerks of the tenant read all orders of it, auditors of the department read all; clerks of the
/// tenant refund up to 100, managers of it any sum. Nobody who is suspended does anything, and a locked order is only read.
fn in_rust() -> impl Authorize {
    let total = |request: &AccessRequest<'_>| request.resource().attributes()?.attribute("total")?.as_integer();
    let action = |name: &'static str| {
        when(name, move |request| request.action() == name && request.resource().kind() == "order")
    };
    let is_locked = when("locked", |request| {
        let order = request.resource().attributes();
        order.and_then(|order| order.attribute("locked")?.as_bool()).unwrap_or(false)
    });
    let colleague = |name: &str| -> Requirement { all_of([role(name), same_tenant("tenant")]) };
    deny_overrides([
        deny_if(all_of([any_of([action("read"), action("refund")]), role("suspended")])),
        deny_if(all_of([action("refund"), is_locked])),
        permit_if(all_of([
            action("read"),
            any_of([owner("owner"), colleague("clerk"), all_of([scope("orders:audit"), claim("department", "audit")])]),
        ])),
        permit_if(all_of([
            action("refund"),
            any_of([
                colleague("manager"),
                all_of([
                    colleague("clerk"),
                    not(when("more than 100", move |request| total(request).is_none_or(|sum| sum > 100))),
                ]),
            ]),
        ])),
    ])
}

const SCHEMA: &str = r#"
    entity Role;
    entity User in [Role] { tenant?: String, scopes: Set<String>, department?: String };
    entity Order { owner: User, tenant?: String, total: Long, locked: Bool };
    action read, refund appliesTo { principal: User, resource: Order, context: { now: Long } };
"#;

const CEDAR: &[u8] = br#"
    @id("suspended") forbid(principal in Role::"suspended", action in [Action::"read", Action::"refund"], resource);
    @id("locked") forbid(principal, action == Action::"refund", resource) when { resource.locked };
    @id("own") permit(principal, action == Action::"read", resource) when { resource.owner == principal };
    @id("clerk reads") permit(principal in Role::"clerk", action == Action::"read", resource)
        when { principal has tenant && resource has tenant && principal.tenant == resource.tenant };
    @id("audit") permit(principal, action == Action::"read", resource)
        when { principal.scopes.contains("orders:audit") && principal has department && principal.department == "audit" };
    @id("clerk refunds") permit(principal in Role::"clerk", action == Action::"refund", resource)
        when { principal has tenant && resource has tenant && principal.tenant == resource.tenant && resource.total <= 100 };
    @id("manager refunds") permit(principal in Role::"manager", action == Action::"refund", resource)
        when { principal has tenant && resource has tenant && principal.tenant == resource.tenant };
"#;

const REGO: &str = r#"
package agree

order := input.resource.properties if input.resource.type == "order"

colleague(name) if {
    name in input.subject.roles
    input.subject.tenant == order.tenant
}

forbidden if { input.action.name in ["read", "refund"]; order; "suspended" in input.subject.roles }
forbidden if { input.action.name == "refund"; order.locked }

permitted if { input.action.name == "read"; order.owner == input.subject.id }
permitted if { input.action.name == "read"; colleague("clerk") }
permitted if {
    input.action.name == "read"
    order
    "orders:audit" in input.subject.scopes
    input.subject.properties.department == "audit"
}
permitted if { input.action.name == "refund"; colleague("clerk"); order.total <= 100 }
permitted if { input.action.name == "refund"; colleague("manager") }

decision := false if forbidden
decision := true if { not forbidden; permitted }
"#;

#[derive(Clone, Debug)]
struct Case {
    subject: Principal,
    action: &'static str,
    kind: &'static str,
    order: JsonObject,
}

impl Case {
    fn request(&self) -> AccessRequest<'_> {
        let resource = Resource::new(self.kind, "42").with_attributes(&self.order);
        AccessRequest::new(&self.subject, self.action, resource, UnixSeconds::new(1_800_000_000))
    }
}

fn cases() -> impl Strategy<Value = Case> {
    let names = || prop::sample::select(vec!["alice", "bob", "Alice", "alice ", "ålice"]);
    let tenants = || prop::sample::select(vec![None, Some("acme"), Some("umbrella"), Some("ACME")]);
    let roles = prop::sample::subsequence(vec!["clerk", "manager", "Clerk", "suspended"], 0..=3);
    let scopes = prop::sample::select(vec!["", "orders:audit", "orders:audit2", "x orders:audit"]);
    let department = prop::sample::select(vec![None, Some("audit"), Some("sales")]);
    let subject = (names(), tenants(), roles, scopes, department);
    let action = prop::sample::select(vec!["read", "refund", "delete", "Read"]);
    let kind = prop::sample::select(vec!["order", "order", "order", "invoice"]);
    let order = (names(), tenants(), prop::sample::select(vec![0_i64, 99, 100, 101, -5]), any::<bool>());
    (subject, action, kind, order).prop_map(|((name, tenant, roles, scopes, department), action, kind, order)| {
        let mut subject = PrincipalBuilder::new(ISSUER, name).with_scope(scopes).with_roles(roles);
        if let Some(tenant) = tenant {
            subject = subject.with_tenant(tenant);
        }
        if let Some(department) = department {
            subject = subject.with_claim("department", department);
        }
        let (owner, tenant, total, locked) = order;
        let mut order = serde_json::json!({ "owner": owner, "total": total, "locked": locked });
        if let Some(tenant) = tenant {
            order["tenant"] = tenant.into();
        }
        let order = JsonObject::parse(order.to_string().into_bytes()).expect("an object");
        Case { subject: subject.build().expect("a principal"), action, kind, order }
    })
}

fn words(decisions: &[Result<Decision, Failure>]) -> Vec<&'static str> {
    decisions.iter().map(|decision| decision.as_ref().map_or("error", |decision| decision.effect().as_str())).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_policy_in_rust_cedar_rego_and_opa_decides_ten_thousand_requests_alike() {
    let cedar = CedarPolicies::builder(SCHEMA).with_issuer(ISSUER).with_claim("department", "department").build(CEDAR);
    let cedar = cedar.expect("the Cedar policies");
    let rego = RegoPolicies::builder("data.agree.decision").with_module("agree.rego", REGO).with_claims(["department"]);
    let rego = rego.build().expect("the Rego policies");
    let rust = in_rust();

    let seed = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut runner = TestRunner::new_with_rng(Config::default(), seed);
    let strategy = cases();
    let cases: Vec<Case> = (0..REQUESTS).map(|_| strategy.new_tree(&mut runner).expect("a case").current()).collect();
    let requests: Vec<AccessRequest<'_>> = cases.iter().map(Case::request).collect();

    let expected = words(&rust.decide_all(&requests, EvaluationsSemantic::ExecuteAll).await);
    for effect in ["permit", "deny", "not_applicable"] {
        let count = expected.iter().filter(|word| **word == effect).count();
        assert!(count > REQUESTS / 20, "{effect}: {count}");
    }
    let compare = |who: &str, decisions: &[Result<Decision, Failure>]| {
        for ((case, expected), found) in cases.iter().zip(&expected).zip(words(decisions)) {
            assert_eq!(*expected, found, "{who}: {case:?}");
        }
        assert_eq!(decisions.len(), cases.len(), "{who}");
    };
    compare("Cedar", &cedar.decide_all(&requests, EvaluationsSemantic::ExecuteAll).await);
    compare("Rego", &rego.decide_all(&requests, EvaluationsSemantic::ExecuteAll).await);

    let Some(opa) = Opa::reach("one policy written four times, with OPA") else { return };
    opa.put_policy("agree", REGO).await;
    let protocol = OpaProtocol::at(opa.url(), "agree/decision").expect("an address").with_claims(["department"]);
    // Not of speed: a busy machine must not make it fail.
    let remote =
        Remote::builder(protocol).without_cache().without_hedge().with_deadline(std::time::Duration::from_secs(10));
    let remote = remote.with_max_concurrent(16, REQUESTS).build().expect("a remote decider");
    for (cases, requests) in cases.chunks(500).zip(requests.chunks(500)) {
        let first = cases.first().map(|case| format!("{case:?}"));
        let decided = words(&remote.decide_all(requests, EvaluationsSemantic::ExecuteAll).await);
        let rust = words(&rust.decide_all(requests, EvaluationsSemantic::ExecuteAll).await);
        assert_eq!(decided, rust, "OPA, of the 500 from {first:?}");
    }
    opa.delete_policy("agree").await;
}
