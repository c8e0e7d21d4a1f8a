use sekisho_core::dangerous::PrincipalBuilder;
use sekisho_core::json::JsonObject;
use sekisho_core::{Effect, Obligation, Principal, Resource};

use super::*;
use crate::filter::{SqlColumns, SqlDialect, SqlFilter};

mod agreement;
mod copies;
mod equality;
mod filters;
mod gathering;
mod hierarchies;
mod merging;
mod principals;
mod sqlite;
mod vectors;

const SCHEMA: &str = r#"
    entity Role;
    entity Team;
    entity User in [Role, Team] { department?: String, scopes: Set<String> };
    entity Order { owner: User, total: Long, locked?: Bool, price?: decimal };
    action read, write appliesTo { principal: User, resource: Order, context: { now: Long, ip?: ipaddr } };
    action ping appliesTo { principal: User, resource: Team };
"#;

const POLICIES: &str = r#"
    @id("own") permit(principal, action, resource is Order) when { resource.owner == principal };
    @id("support") @redact("iban") @advice("for support") permit(principal in Role::"support", action == Action::"read", resource is Order);
    @id("locked") forbid(principal, action == Action::"write", resource is Order) when { resource has locked && resource.locked };
    @id("huge") @step_up("gold") forbid(principal, action == Action::"write", resource is Order) when { resource.total * 2 > 1000 };
"#;

fn builder() -> CedarBuilder {
    CedarPolicies::builder(SCHEMA).with_issuer("https://id.example")
}

fn refused(builder: &CedarBuilder, policies: &str) -> String {
    builder.build(policies).expect_err(policies).to_string()
}

fn alice() -> Principal {
    PrincipalBuilder::new("https://id.example", "alice").build().unwrap()
}

fn ask(policies: &CedarPolicies, who: &Principal, action: &str, order: &str) -> Result<Decision, Failure> {
    let order = JsonObject::parse(order.as_bytes().to_vec()).unwrap();
    let resource = Resource::new("order", "1").with_attributes(&order);
    policies.decide_now(&AccessRequest::new(who, action, resource, UnixSeconds::new(1000))).unwrap()
}

#[test]
fn policies_that_are_wrong_are_refused_with_id_and_line() {
    let cases = [
        ("permit(principal, action, resource);", "(line 1) has no `@id`"),
        ("@id(\"\") permit(principal, action, resource);", "has no `@id`"),
        (
            "@id(\"a\") permit(principal, action, resource);\n@id(\"a\") forbid(principal, action, resource);",
            "policy `a` (line 2): another one",
        ),
        (
            "\n@id(\"a\") permit(principal, action, resource) when { resource.nothing };",
            "policy `a` (line 2) does not fit",
        ),
        ("@id(\"a\") permit(principal, action == Action::\"fly\", resource);", "policy `a` (line 1) does not fit"),
        (
            "@id(\"a\") @redacted(\"x\") permit(principal, action, resource);",
            "policy `a` (line 1): the annotation `@redacted` is",
        ),
        ("@id(\"a\") permit(principal == ?principal, action, resource);", "templates"),
        ("\n\npermit(principal, action", "(line 3)"),
    ];
    for (policies, why) in cases {
        let error = refused(&builder(), policies);
        assert!(error.contains(why), "{error}");
    }
    let limits = CedarLimits { policies: 1, ..CedarLimits::default() };
    assert!(refused(&builder().with_limits(limits), POLICIES).contains("more than 1 policies"));
    let limits = CedarLimits { policy_bytes: 10, ..CedarLimits::default() };
    assert!(refused(&builder().with_limits(limits), POLICIES).contains("longer than 10 bytes"));
    assert!(builder().build([0xff]).is_err());
    // By themselves these end the process.
    let deep = |open: &str, close: &str| {
        let (open, close) = (open.repeat(20_000), close.repeat(20_000));
        format!("@id(\"a\") permit(principal, action, resource) when {{\n{open}true{close} }};")
    };
    for (open, close) in [("(", ")"), ("[", "]"), ("{a:", "}"), ("if true then ", " else false")] {
        assert!(refused(&builder(), &deep(open, close)).contains("the policies (line 2): too many"), "{open}");
    }
    let chain = format!("@id(\"a\") permit(principal, action, resource) when {{ resource{} }};", ".owner".repeat(257));
    assert!(refused(&builder(), &chain).contains("too many"));
    let chain = chain.replace(".owner", "[\"owner\"]");
    assert!(refused(&builder(), &chain).contains("too many"));
    // What is just within the bounds is decided.
    let (open, close, chain) = ("(if true then ".repeat(60), " else false)".repeat(60), "true && ".repeat(250));
    let widest = format!(
        "@id(\"a\") permit(principal, action == Action::\"read\", resource) when {{ {open}{chain}resource.total + 1 > 0{close} }};"
    );
    let policies = builder().build(widest).unwrap();
    assert!(ask(&policies, &alice(), "read", r#"{"owner":"alice","total":1}"#).unwrap().is_permitted());
    let schema = format!("entity User {{ a: {}Long{} }};", "Set<".repeat(20_000), ">".repeat(20_000));
    assert!(refused(&CedarPolicies::builder(schema).with_issuer("x"), "").contains("the schema (line 1)"));
}

#[test]
fn a_setup_that_cannot_work_is_refused() {
    assert!(refused(&CedarPolicies::builder(SCHEMA), POLICIES).contains("issuer"));
    for wrong in [
        builder().with_claim("nothing", "x"),
        builder().with_claim("department", "a").with_claim("department", "b"),
        builder().with_kind("x", "Nothing"),
        builder().with_role_type("Nothing"),
        builder().with_parents_from("Order", "total"),
        builder().with_parents_from("Order", "nothing"),
        builder().with_entities("{"),
        builder().with_entities(r#"[{"uid":{"type":"Order","id":"1"},"attrs":{"total":"x"},"parents":[]}]"#),
        CedarPolicies::builder("entity User in [").with_issuer("x"),
        CedarPolicies::builder("entity U; action a appliesTo { principal: U, resource: U, context: { now: String } };")
            .with_issuer("x"),
    ] {
        assert!(wrong.build("").is_err());
    }
}

#[test]
fn four_outcomes_are_kept_apart() {
    let policies = builder().build(POLICIES).unwrap();
    let alice = alice();
    let own = ask(&policies, &alice, "write", r#"{"owner":"alice","total":1}"#).unwrap();
    assert_eq!((own.effect(), own.reasons().len()), (Effect::Permit, 1));
    assert_eq!((own.reasons()[0].policy(), own.reasons()[0].revision()), ("own", Some(policies.revision())));

    let other = ask(&policies, &alice, "write", r#"{"owner":"bob","total":1}"#).unwrap();
    assert_eq!((other.effect(), other.reasons().len()), (Effect::NotApplicable, 0));
    assert_eq!(other.revision(), Some(policies.revision()));

    let locked = ask(&policies, &alice, "write", r#"{"owner":"alice","total":1,"locked":true}"#).unwrap();
    assert_eq!((locked.effect(), locked.reasons()[0].policy()), (Effect::Deny, "locked"));

    // Of the wrong type: no decision, so no comparison that is quietly false.
    for order in [
        r#"{"owner":"alice","total":"1"}"#,
        r#"{"owner":"alice","locked":"true"}"#,
        r#"{"owner":7}"#,
        r#"{"price":"x"}"#,
    ] {
        assert!(ask(&policies, &alice, "write", order).is_err(), "{order}");
    }
}

#[test]
fn a_forbid_that_cannot_be_evaluated_denies_and_a_permit_does_not_count() {
    let policies = builder().build(POLICIES).unwrap();
    // `total` is missing, and overflows: Cedar by itself would permit.
    for order in [r#"{"owner":"alice"}"#, r#"{"owner":"alice","total":9223372036854775807}"#] {
        let decision = ask(&policies, &alice(), "write", order).unwrap();
        assert_eq!(decision.effect(), Effect::Deny, "{order}");
        assert_eq!(decision.reasons(), ["cannot be evaluated: `huge`"]);
    }
    let decision = ask(&policies, &alice(), "read", r#"{"total":1}"#).unwrap();
    assert_eq!(decision.effect(), Effect::NotApplicable);
    assert_eq!(decision.reasons(), ["cannot be evaluated: `own`"]);
    // The scope of the forbid does not match, so it is not asked.
    assert!(ask(&policies, &alice(), "read", r#"{"owner":"alice"}"#).unwrap().is_permitted());
}

#[test]
fn nobody_is_taken_for_somebody_of_another_issuer() {
    let policies = builder().build(POLICIES).unwrap();
    let stranger = PrincipalBuilder::new("https://evil.example", "alice").build().unwrap();
    let order = r#"{"owner":"alice","total":1}"#;
    assert_eq!(ask(&policies, &stranger, "read", order).unwrap().effect(), Effect::Deny);
    let policies = CedarPolicies::builder(SCHEMA).with_issuer_in_ids().build(POLICIES).unwrap();
    assert!(!ask(&policies, &stranger, "read", order).unwrap().is_permitted());
    let order = r#"{"owner":"https://evil.example|alice","total":1}"#;
    assert!(ask(&policies, &stranger, "read", order).unwrap().is_permitted());
    let forged = PrincipalBuilder::new("https://id.example", "https://evil.example|alice").build().unwrap();
    assert!(!ask(&policies, &forged, "read", order).unwrap().is_permitted());
}

#[test]
fn what_the_schema_does_not_know_is_not_applicable() {
    let policies = builder().build("@id(\"all\") permit(principal, action, resource);").unwrap();
    let alice = alice();
    for (action, kind) in
        [("fly", "order"), ("read", "planet"), ("read", "team"), ("ping", "order"), ("Action::read", "order")]
    {
        let request = AccessRequest::new(&alice, action, Resource::new(kind, "1"), UnixSeconds::new(1));
        assert_eq!(policies.decide_now(&request).unwrap().unwrap().effect(), Effect::NotApplicable, "{action} {kind}");
    }
    let request = AccessRequest::new(&alice, "ping", Resource::new("team", "1"), UnixSeconds::new(1));
    assert!(policies.decide_now(&request).unwrap().unwrap().is_permitted());
    assert!(!policies.decide_now(&request.with_subject_kind("role")).unwrap().unwrap().is_permitted());
}

#[test]
fn annotations_become_obligations_advice_and_a_denial_that_helps() {
    let policies = builder().build(POLICIES).unwrap();
    let support = PrincipalBuilder::new("https://id.example", "sue").with_roles(["support"]).build().unwrap();
    let decision = ask(&policies, &support, "read", r#"{"owner":"bob","total":1}"#).unwrap();
    assert_eq!(decision.obligations().iter().map(Obligation::id).collect::<Vec<_>>(), [Obligation::REDACT]);
    assert_eq!(decision.reasons(), ["support", "for support"]);
    let order = r#"{"owner":"alice","total":501}"#;
    let step_up = Denial::InsufficientAuthentication { acr_values: Some("gold".into()), max_age: None };
    assert_eq!(ask(&policies, &alice(), "write", order).unwrap().denial(), Some(&step_up));
    // One that forbids for good makes stepping up pointless, and so does having stepped up.
    let locked = r#"{"owner":"alice","total":501,"locked":true}"#;
    let gold = PrincipalBuilder::new("https://id.example", "alice").with_claim("acr", "gold").build().unwrap();
    for (who, order) in [(&alice(), locked), (&gold, order)] {
        let decision = ask(&policies, who, "write", order).unwrap();
        assert!(matches!(decision.denial(), Some(Denial::Forbidden { .. })), "{decision:?}");
    }
}

#[test]
fn only_listed_claims_reach_a_policy_and_the_time_is_ours() {
    let sales = "@id(\"sales\") permit(principal, action, resource) when { principal has department && principal.department == \"sales\" };";
    let caller = PrincipalBuilder::new("https://id.example", "alice")
        .with_claim("dept", "sales")
        .with_claim("department", "sales");
    let caller = caller.build().unwrap();
    let order = r#"{"total":1}"#;
    assert!(!ask(&builder().build(sales).unwrap(), &caller, "read", order).unwrap().is_permitted());
    let policies = builder().with_claim("department", "dept").build(sales).unwrap();
    assert!(ask(&policies, &caller, "read", order).unwrap().is_permitted());

    let policies = builder()
        .build("@id(\"late\") permit(principal, action == Action::\"read\", resource) when { context.now >= 2000 };")
        .unwrap();
    let context = JsonObject::parse(br#"{"now":5000,"ip":"192.0.2.1","unknown":{}}"#.to_vec()).unwrap();
    let request = AccessRequest::new(&caller, "read", Resource::new("order", "1"), UnixSeconds::new(1999));
    assert!(!policies.decide_now(&request.with_context(&context)).unwrap().unwrap().is_permitted());
    let request = AccessRequest::new(&caller, "read", Resource::new("order", "1"), UnixSeconds::new(2000));
    assert!(policies.decide_now(&request.clone().with_context(&context)).unwrap().unwrap().is_permitted());
    let wrong = JsonObject::parse(br#"{"ip":"not an address"}"#.to_vec()).unwrap();
    assert!(policies.decide_now(&request.with_context(&wrong)).unwrap().is_err());
}

#[test]
fn a_time_is_written_as_cedar_reads_it() {
    for (seconds, written) in [
        (0, "1970-01-01T00:00:00Z"),
        (951_782_399, "2000-02-28T23:59:59Z"),
        (951_782_400, "2000-02-29T00:00:00Z"),
        (1_709_251_200, "2024-03-01T00:00:00Z"),
        (4_107_542_400, "2100-03-01T00:00:00Z"),
    ] {
        assert_eq!(shape::datetime(UnixSeconds::new(seconds)).as_deref(), Some(written));
    }
    assert_eq!(shape::datetime(UnixSeconds::new(u64::MAX)), None);
}

/// Has groups in groups; counts what it is asked for.
struct Groups {
    asked: std::sync::Mutex<Vec<String>>,
    mode: u8,
}

#[async_trait]
impl EntityProvider for Groups {
    fn provides(&self, kind: &EntityTypeName) -> bool {
        kind.basename() == "User"
    }

    async fn load(&self, uids: &[EntityUid]) -> Result<Vec<Entity>, Failure> {
        self.asked.lock().unwrap().extend(uids.iter().map(ToString::to_string));
        let user = |uid: &EntityUid, team: &str| {
            let scopes = ("scopes".to_owned(), RestrictedExpression::new_set([]));
            let team: EntityUid = format!("Team::\"{team}\"").parse().unwrap();
            Entity::new(uid.clone(), [scopes].into(), [team].into()).unwrap()
        };
        match self.mode {
            0 => Ok(uids.iter().map(|uid| user(uid, "a")).collect()),
            1 => Err(Failure::unavailable("directory down")),
            2 => std::future::pending().await,
            3 => Ok(uids.iter().flat_map(|uid| [user(uid, "a"), user(uid, "b")]).collect()),
            // Not what was asked for.
            _ => Ok(vec![user(&"User::\"mallory\"".parse().unwrap(), "a")]),
        }
    }
}

#[tokio::test]
async fn a_provider_is_waited_for_once_and_its_failure_is_no_decision() {
    let team = "@id(\"team\") permit(principal in Team::\"a\", action == Action::\"read\", resource);";
    let limits = ProviderLimits { time: std::time::Duration::from_millis(50), ..ProviderLimits::default() };
    let with = |mode| {
        builder().with_provider(Groups { asked: std::sync::Mutex::default(), mode }, limits).build(team).unwrap()
    };
    let alice = alice();
    let request = AccessRequest::new(&alice, "read", Resource::new("order", "1"), UnixSeconds::new(1));
    assert!(with(0).decide_now(&request).is_none());
    assert!(with(0).decide(&request).await.unwrap().is_permitted());
    for mode in [1, 2, 3] {
        assert!(with(mode).decide(&request).await.is_err(), "{mode}");
    }
    assert!(!with(4).decide(&request).await.unwrap().is_permitted());
    let none = ProviderLimits { entities: 0, ..limits };
    let policies =
        builder().with_provider(Groups { asked: std::sync::Mutex::default(), mode: 0 }, none).build(team).unwrap();
    assert!(policies.decide(&request).await.is_err());

    let provider = Arc::new(Groups { asked: std::sync::Mutex::default(), mode: 0 });
    struct Shared(Arc<Groups>);
    #[async_trait]
    impl EntityProvider for Shared {
        fn provides(&self, kind: &EntityTypeName) -> bool {
            self.0.provides(kind)
        }
        async fn load(&self, uids: &[EntityUid]) -> Result<Vec<Entity>, Failure> {
            self.0.load(uids).await
        }
    }
    let policies = builder().with_provider(Shared(Arc::clone(&provider)), limits).build(team).unwrap();
    let answers =
        policies.decide_all(&[request.clone(), request.clone(), request], EvaluationsSemantic::ExecuteAll).await;
    assert!(answers.iter().all(|answer| answer.as_ref().unwrap().is_permitted()));
    assert_eq!(*provider.asked.lock().unwrap(), ["User::\"alice\""]);
}

#[test]
fn fixed_entities_carry_roles_to_roles() {
    let staff = "@id(\"staff\") permit(principal in Role::\"staff\", action, resource);";
    let schema = SCHEMA.replace("entity Role;", "entity Role in [Role];");
    let entities = r#"[{"uid":{"type":"Role","id":"support"},"attrs":{},"parents":[{"type":"Role","id":"staff"}]}]"#;
    let builder = CedarPolicies::builder(schema).with_issuer("https://id.example");
    let who = |role: &str| PrincipalBuilder::new("https://id.example", "sue").with_roles([role]).build().unwrap();
    let policies = builder.clone().with_entities(entities).build(staff).unwrap();
    assert!(ask(&policies, &who("support"), "read", "{}").unwrap().is_permitted());
    assert!(!ask(&policies, &who("intern"), "read", "{}").unwrap().is_permitted());
    assert!(!ask(&builder.build(staff).unwrap(), &who("support"), "read", "{}").unwrap().is_permitted());
}
