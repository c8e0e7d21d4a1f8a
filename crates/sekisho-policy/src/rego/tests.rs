use proptest::prelude::*;
use sekisho_core::dangerous::PrincipalBuilder;
use sekisho_core::{Effect, Principal, Resource, UnixSeconds};

use super::build::{MAX_SMALL_BYTES, MODULES_WEIGH};
use super::*;
use crate::source::{FolderSource, Live, PolicyFiles};

const SHOP: &str = r#"
package shop
default decision := false
decision if {
    input.action.name == "read"
    "orders:read" in input.subject.scopes
    input.resource.properties.owner == input.subject.id
}
decision if "support" in input.subject.roles
"#;

fn alice() -> Principal {
    PrincipalBuilder::new("https://id.example", "alice").with_scope("orders:read").build().unwrap()
}

fn object(json: &str) -> JsonObject {
    JsonObject::parse(json.as_bytes().to_vec()).unwrap()
}

fn build(body: &str) -> Result<RegoPolicies, sekisho_core::ConfigError> {
    RegoPolicies::builder("data.a.x").with_module("a.rego", format!("package a\n{body}")).build()
}

fn decide(policies: &RegoPolicies) -> Result<Decision, Failure> {
    let (alice, order) = (alice(), object(r#"{"owner":"alice","secret":"hidden-value"}"#));
    let resource = Resource::new("order", "42").with_attributes(&order);
    policies.decide_now(&AccessRequest::new(&alice, "read", resource, UnixSeconds::new(7))).unwrap()
}

fn effect(body: &str) -> Result<Effect, Failure> {
    decide(&build(body).unwrap()).map(|decision| decision.effect())
}

#[test]
fn decides_by_the_rule_at_the_entry_point_and_names_the_revision() {
    let policies =
        RegoPolicies::builder("data.shop.decision").with_module("shop.rego", SHOP).with_revision("7").build().unwrap();
    let decision = decide(&policies).unwrap();
    assert_eq!((decision.effect(), decision.revision()), (Effect::Permit, Some("7")));
    let (bob, order) =
        (PrincipalBuilder::new("https://id.example", "bob").build().unwrap(), object(r#"{"owner":"bob"}"#));
    let resource = Resource::new("order", "42").with_attributes(&order);
    let denied =
        policies.decide_now(&AccessRequest::new(&bob, "read", resource, UnixSeconds::new(7))).unwrap().unwrap();
    assert_eq!(denied.effect(), Effect::Deny);
}

#[test]
fn without_a_revision_the_texts_name_it() {
    let with = |module: &str, data: &str| {
        let builder = RegoPolicies::builder("data.shop.decision").with_module("shop.rego", module);
        builder.with_data(data.as_bytes()).build().unwrap()
    };
    let policies = with(SHOP, r#"{"open":true}"#);
    let revision = decide(&policies).unwrap().revision().unwrap().to_owned();
    assert_eq!((revision.as_str(), revision.len()), (policies.revision(), 16));
    assert_eq!(with(SHOP, r#"{"open":true}"#).revision(), revision, "the same in every process");
    assert_ne!(with(SHOP, r#"{"open":false}"#).revision(), revision);
    assert_ne!(with(&format!("{SHOP}\n"), r#"{"open":true}"#).revision(), revision);
    let of = |name: &str| RegoPolicies::builder("data.shop.decision").with_module(name, SHOP).build().unwrap();
    assert_ne!(of("a").revision(), of("b").revision());
}

#[test]
fn what_is_undefined_is_not_applicable() {
    assert_eq!(effect("x if input.nothing.here == 1").unwrap(), Effect::NotApplicable);
    assert_eq!(effect("x if { not input.subject.id }").unwrap(), Effect::NotApplicable);
}

#[test]
fn reasons_and_obligations_come_along_also_as_sets() {
    let decision = decide(&build(
        "x := {\"allow\": true, \"reasons\": reasons, \"obligations\": {{\"id\": \"redact\", \"parameters\": {\"fields\": [\"iban\"]}}}, \"lifetime_s\": 5}\nreasons contains \"owner\"\nreasons contains \"a\"",
    ).unwrap()).unwrap();
    assert_eq!((decision.reasons().len(), decision.lifetime()), (2, Some(Duration::from_secs(5))));
    assert_eq!(decision.obligations().first().unwrap().id(), "redact");
}

#[test]
fn what_is_no_decision_is_a_failure() {
    for value in [
        "\"true\"",
        "1",
        "null",
        "[true]",
        "{true}",
        "[]",
        "{}",
        "{\"allow\": \"true\"}",
        "{\"allow\": true, \"decision\": false}",
        "{\"allow\": true, \"obligation\": []}",
        "{\"decision\": {true}}",
        "{1: true}",
        "{\"allow\": true, \"reasons\": {1}}",
        "{\"allow\": true, \"lifetime_s\": 0.5}",
    ] {
        let failure = effect(&format!("x := {value}")).expect_err(value);
        assert_eq!(failure.kind(), FailureKind::BadGateway, "{value}");
    }
    assert!(effect("x contains true").is_err());
}

#[test]
fn an_error_while_evaluating_is_a_failure_that_does_not_quote_the_input() {
    for body in [
        "x := to_number(input.resource.properties.secret)",
        "x := true if input.action.name == \"read\"\nx := false",
        "x if y\ny if x",
        "x if { 1 / 0 == 1 }",
        "x := http.send({\"method\": \"get\", \"url\": \"http://127.0.0.1\"})",
        "x := opa.runtime()",
        "x := net.lookup_ip_addr(\"localhost\")",
    ] {
        let Ok(policies) = build(body) else { continue };
        let failure = decide(&policies).expect_err(body);
        assert_eq!(failure.kind(), FailureKind::Misconfigured, "{body}");
        let text = format!("{failure:?} {}", std::error::Error::source(&failure).unwrap());
        assert!(text.contains("a.rego:") && !text.contains("hidden"), "{text}");
    }
}

#[test]
fn what_takes_too_long_is_a_failure() {
    let policies = RegoPolicies::builder("data.a.x")
        .with_module("a", "package a\nx if count([1 | some i in numbers.range(1, 3000); some j in numbers.range(1, 3000); i > j]) > 0")
        .with_time_limit(Duration::from_millis(5))
        .build()
        .unwrap();
    let begun = std::time::Instant::now();
    assert_eq!(decide(&policies).unwrap_err().kind(), FailureKind::Unavailable);
    assert!(begun.elapsed() < Duration::from_secs(5));
}

#[test]
fn print_changes_nothing() {
    assert_eq!(effect("x if { print(input); true }").unwrap(), Effect::Permit);
}

#[test]
fn refuses_what_cannot_work_when_it_is_built() {
    let builder = || RegoPolicies::builder("data.a.x");
    for (what, builder) in [
        ("no module", builder()),
        ("does not parse", builder().with_module("a", "package a\nx if {")),
        ("no such rule", builder().with_module("a", "package a\ny := 1")),
        ("a package only", RegoPolicies::builder("data.a").with_module("a", "package a\nx := true")),
        ("no path", RegoPolicies::builder("a.x").with_module("a", "package a\nx := true")),
        ("a query", RegoPolicies::builder("data.a.x; true").with_module("a", "package a\nx := true")),
        ("unsafe variable", builder().with_module("a", "package a\nx if y")),
        ("a line too long", builder().with_module("a", format!("package a\nx := \"{}\"", "a".repeat(2000)))),
        ("a module too long", builder().with_module("a", format!("package a\nx := true\n{}", "# c\n".repeat(70_000)))),
        (
            "nested too deep",
            builder().with_module("a", format!("package a\nx := {}1{}", "[".repeat(60), "]".repeat(60))),
        ),
        ("time limit", builder().with_module("a", "package a\nx := true").with_time_limit(Duration::ZERO)),
    ] {
        assert!(builder.build().is_err(), "{what}");
    }
}

#[test]
fn refuses_data_that_is_no_strict_object_or_contradicts() {
    let with = |data: &[&str]| {
        let builder = RegoPolicies::builder("data.a.x").with_module("a", "package a\nx := data.k == 1");
        data.iter().fold(builder, |builder, data| builder.with_data(*data)).build().is_ok()
    };
    assert!(with(&[r#"{"k":1}"#, r#"{"l":{"m":2}}"#, r#"{"l":{"n":2}}"#]));
    let deep = format!("{{\"k\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
    for bad in [
        &["[]"][..],
        &["1"],
        &["{"],
        &[r#"{"k":1,"k":2}"#],
        &[r#"{"k":1},"w":{}"#],
        &[&deep],
        &[r#"{"k":1}"#, r#"{"k":2}"#],
    ] {
        assert!(!with(bad), "{bad:?}");
    }
}

#[test]
fn refuses_data_where_a_rule_stands() {
    // The engine would answer with the data.
    let with = |data: &str| {
        RegoPolicies::builder("data.a.x")
            .with_module("a", "package a\nx := false\nq.r.s := 1")
            .with_data(data)
            .build()
            .is_ok()
    };
    assert!(with(r#"{"a":{"other":true},"b":1}"#));
    for bad in [
        r#"{"a":{"x":true}}"#,
        r#"{"a":1}"#,
        r#"{"a":{"x":null}}"#,
        r#"{"a":{"q":{"r":{"s":2}}}}"#,
        r#"{"a":{"q":[]}}"#,
    ] {
        assert!(!with(bad), "{bad}");
    }
}

#[test]
fn refuses_functions_that_call_themselves() {
    for body in [
        "f(n) := f(n + 1)\nx := f(1)",
        "f(n) := g(n)\ng(n) := h(n) if n > 1\nh(n) := f(n)\nx := f(1)",
        "f(n) := y if { y := [z | z := f(n)] }\nx := f(1)",
        "f(n) := data.a.f(n)\nx := f(1)",
        "f(n) := data[\"a\"].f(n)\nx := f(1)",
        "f(n) := 1 if n > 3 else := f(n + 1)\nx := f(1)",
        "g(n) := n\nf(n) := y if { y := g(n) with g as f }\nx := f(1)",
        "f(n) := 1 if { every k in [1] { f(k) } }\nx := f(1)",
        "default f(n) := [y | y := f(1)]\nf(n) := 1 if n > 1\nx := f(1)",
        "default f(_) := [y | y := g(1)]\ng(n) := f(n)\nx := g(1)",
    ] {
        let error = build(body).unwrap_err().to_string();
        assert!(error.contains("calls itself"), "{body}: {error}");
    }
    let two = |a: &str, b: &str| {
        RegoPolicies::builder("data.a.x")
            .with_module("a", format!("package a\n{a}\nx := f(1)"))
            .with_module("b", b)
            .build()
    };
    assert!(two("import data.b as lib\nf(n) := lib.f(n)", "package b\nf(n) := n > 0").is_ok());
    assert!(two("import data.b as lib\nf(n) := lib.f(n)", "package b\nimport data.a.f as g\nf(n) := g(n)").is_err());
    // What is imported but is not there is what stands in the package.
    for missing in ["import data.b.f", "import data.c as f"] {
        let error = two(&format!("{missing}\nf(n) := f(n + 1)"), "package b\ng(n) := n").unwrap_err().to_string();
        assert!(error.contains("calls itself"), "{missing}: {error}");
    }
    assert!(two("import data.b.g\nf(n) := g(n)", "package b\ng(n) := n").is_ok());
    assert!(two("import data.b\nf(n) := b.f(n)", "package b\nimport data.a\nf(n) := a.f(n)").is_err());
}

#[test]
fn files_bring_modules_data_and_revision() {
    let files = PolicyFiles::new()
        .with_file("shop/policy.rego", "package shop\ndecision if data.limits.orders.most > 3")
        .unwrap()
        .with_file("limits/data.json", r#"{"orders":{"most":5}}"#)
        .unwrap()
        .with_file("README.md", "nothing")
        .unwrap();
    let policies = RegoPolicies::builder("data.shop.decision").with_files(&files).build().unwrap();
    let decision = decide(&policies).unwrap();
    assert_eq!(decision.effect(), Effect::Permit);
    assert_eq!(decision.revision(), Some(&*files.revision_or_digest()));
    let yaml = files.clone().with_file("data.yaml", "a: 1").unwrap();
    assert!(RegoPolicies::builder("data.shop.decision").with_files(&yaml).build().is_err());
    let binary = files.with_file("b.rego", &b"\xff"[..]).unwrap();
    assert!(RegoPolicies::builder("data.shop.decision").with_files(&binary).build().is_err());
}

#[test]
fn what_would_use_up_stack_or_memory_is_refused() {
    for (start, repeated, end) in [
        ("x := ", "-", "1"),
        ("x := ", "- 1 * ", "1"),
        ("x := ", "1 +\n", "1"),
        ("x := input", ".a", ""),
        ("x := input", "[0]", ""),
        ("x := ", "{1} |\n", "{1}"),
        ("x if ", "1 in\n", "[]"),
    ] {
        let chain = |count: usize| build(&format!("{start}{}{end}", repeated.repeat(count)));
        for count in [100, 500, 40_000] {
            assert!(chain(count).is_err(), "{count} times {repeated}");
        }
        assert!(chain(4).is_ok(), "{repeated}");
    }
    for body in ["x := 1e2147483647", "x := -1e-2147483647 == 1", "x := 0e999999999"] {
        assert!(build(body).is_err(), "{body}");
    }
    // What is within the bounds is also evaluated, on the stack of a thread. The engine negates nothing but numbers.
    assert!(decide(&build(&format!("x if {}1 > 0", "1 + ".repeat(50))).unwrap()).is_ok());
    assert!(build(&format!("x := {}1", "- ".repeat(8))).is_ok());
}

#[test]
fn numbers_of_data_and_input_are_bounded() {
    for (number, is_taken) in [("1e400", false), ("1e300", true), ("0e2147483647", false), ("0e400", true)] {
        let json = format!(r#"{{"n":{number}}}"#);
        let builder = RegoPolicies::builder("data.a.x").with_module("a", "package a\nx := true");
        assert_eq!(builder.clone().with_data(json.clone()).build().is_ok(), is_taken, "{number}");
        let Ok(context) = JsonObject::parse(json.into_bytes()) else { continue };
        let (alice, policies) = (alice(), builder.build().unwrap());
        let request = AccessRequest::new(&alice, "read", Resource::new("order", "42"), UnixSeconds::new(7));
        let decided = policies.decide_now(&request.with_context(&context)).unwrap();
        assert_eq!(decided.is_ok(), is_taken, "{number}");
    }
}

#[test]
fn errors_of_data_name_the_place_and_quote_nothing() {
    let secret = "hidden-value";
    let files = PolicyFiles::new()
        .with_file("a/p.rego", "package a\nx := true")
        .unwrap()
        .with_file("b/data.json", format!(r#"{{"c":"{secret}"}}"#))
        .unwrap();
    for data in [r#"{"b":{"c":"hidden-value-2"}}"#, r#"{"b":"hidden-value"}"#, r#"{"b":{"c":{"hidden-value":1}}}"#] {
        let error = RegoPolicies::builder("data.a.x").with_data(data).with_files(&files).build().unwrap_err();
        let mut text = format!("{error:?} {error}");
        let mut next = std::error::Error::source(&error);
        while let Some(cause) = next {
            text.push_str(&format!("{cause:?} {cause}"));
            next = cause.source();
        }
        assert!(text.contains("data/b") && !text.contains("hidden"), "{text}");
    }
}

#[cfg(feature = "bundle")]
#[test]
fn a_package_lies_within_the_roots_of_its_own_bundle() {
    let bundle = |roots: &[&str], package: &str| {
        let files = PolicyFiles::new().with_file(&format!("{package}.rego"), format!("package {package}\nx := true"));
        files.unwrap().with_manifest(roots.iter().map(|root| (*root).into()).collect(), None, true)
    };
    let with = |all: &[PolicyFiles]| {
        let builder = RegoPolicies::builder("data.a.x").with_module("a", "package a\nx := true");
        all.iter().fold(builder, RegoBuilder::with_files).build().is_ok()
    };
    assert!(with(&[bundle(&["shop"], "shop"), bundle(&["other"], "other")]));
    assert!(with(&[bundle(&[""], "shop"), bundle(&["other"], "other.more")]));
    for bad in [
        &[bundle(&["shop"], "shop"), bundle(&["other"], "shop.more")][..],
        &[bundle(&["shop"], "other"), bundle(&["other"], "shop")],
        &[bundle(&[""], "shop"), bundle(&["other"], "more")],
        &[bundle(&[], "shop")],
        &[bundle(&["shop"], "shop"), bundle(&[], "shop.more")],
        &[PolicyFiles::new(), bundle(&["shop"], "shopping")],
    ] {
        assert!(!with(bad), "{bad:?}");
    }
}

/// Runs something in so many threads that each engine there is room for is one of them's.
fn everywhere(run: impl Fn() + Sync) {
    for _ in 0..16 {
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(&run);
            }
        });
    }
}

#[test]
fn each_thread_has_an_engine_of_its_own_and_all_decide_alike() {
    let policies = RegoPolicies::builder("data.shop.decision")
        .with_module("shop.rego", SHOP)
        .with_module("more.rego", "package shop\ndecision := 1 if input.subject.id in data.odd.ones")
        .with_files(&PolicyFiles::new().with_file("odd/data.json", r#"{"ones":["mallory"]}"#).unwrap())
        .with_revision("7")
        .build()
        .unwrap();
    let others = ["bob", "mallory"].map(|name| PrincipalBuilder::new("https://id.example", name).build().unwrap());
    everywhere(|| {
        let decision = decide(&policies).unwrap();
        assert_eq!((decision.effect(), decision.revision()), (Effect::Permit, Some("7")));
        let outcomes = others.each_ref().map(|who| {
            let request = AccessRequest::new(who, "read", Resource::new("order", "42"), UnixSeconds::new(7));
            policies.decide_now(&request).unwrap()
        });
        let [denied, failed] = outcomes;
        assert_eq!(denied.unwrap().effect(), Effect::Deny);
        assert_eq!(failed.unwrap_err().kind(), FailureKind::BadGateway);
    });
    let own: Vec<_> = policies.0.own.made().collect();
    assert!(own.len() > 1 && own.iter().all(|own| own.engine.is_some()), "{}", own.len());
    let places: std::collections::HashSet<_> = own.iter().map(|own| own.revision.as_ptr()).collect();
    assert_eq!(places.len(), own.len());
}

#[test]
fn the_time_limit_counts_in_every_thread() {
    let policies = RegoPolicies::builder("data.a.x")
        .with_module(
            "a.rego",
            "package a\nx if { some i in numbers.range(1, 100000); some j in numbers.range(1, 100000); i * j == -1 }",
        )
        .with_time_limit(Duration::from_millis(1))
        .build()
        .unwrap();
    everywhere(|| assert_eq!(decide(&policies).unwrap_err().kind(), FailureKind::Unavailable));
    assert!(policies.0.own.made().all(|own| own.engine.is_some()));
}

#[test]
fn large_policies_are_shared_and_decide_likewise() {
    let with = |module: usize, data: usize| {
        RegoPolicies::builder("data.shop.decision")
            .with_module("shop.rego", format!("{SHOP}# {}", "c".repeat(module)))
            .with_data(format!("{{\"text\":\"{}\"}}", "d".repeat(data)))
            .build()
            .unwrap()
    };
    let half = MAX_SMALL_BYTES / 2;
    for (module, data, is_shared) in [
        (1_000, 1_000, false),
        (1_000, half, false),
        (half / MODULES_WEIGH, 1_000, false),
        (half / MODULES_WEIGH, half, true),
        (MAX_SMALL_BYTES / MODULES_WEIGH, 0, true),
        (0, MAX_SMALL_BYTES, true),
    ] {
        let policies = with(module, data);
        everywhere(|| assert!(decide(&policies).unwrap().is_permitted()));
        assert!(policies.0.own.made().all(|own| own.engine.is_none() == is_shared), "{module} {data}");
    }
}

#[test]
fn a_thread_whose_engine_cannot_be_made_uses_the_one_of_all() {
    let mut policies = RegoPolicies::builder("data.shop.decision").with_module("shop.rego", SHOP).build().unwrap();
    Arc::get_mut(&mut policies.0).unwrap().sources = Some(Sources::broken());
    everywhere(|| assert!(decide(&policies).unwrap().is_permitted()));
    assert!(policies.0.own.made().all(|own| own.engine.is_none()));
}

#[tokio::test]
async fn threads_that_have_decided_by_the_old_policies_decide_by_the_new_ones_once_they_are_live() {
    let folder = std::env::temp_dir().join(format!("sekisho-rego-{}", std::process::id()));
    let write = |body: &str| {
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("a.rego"), format!("package a\n{body}")).unwrap();
    };
    write("x := true");
    let make = |files: &_| RegoPolicies::builder("data.a.x").with_files(files).build();
    let live = Live::new(FolderSource::new(&folder), make).await.unwrap();
    let effects = || {
        let (alice, found) = (alice(), std::sync::Mutex::new(std::collections::HashSet::new()));
        everywhere(|| {
            let request = AccessRequest::new(&alice, "read", Resource::new("order", "42"), UnixSeconds::new(7));
            found.lock().unwrap().insert(live.decide_now(&request).unwrap().unwrap().effect());
        });
        found.into_inner().unwrap()
    };
    assert_eq!(effects(), [Effect::Permit].into());
    write("x := false");
    live.reload().await.unwrap();
    assert_eq!(effects(), [Effect::Deny].into());
    std::fs::remove_dir_all(&folder).unwrap();
}

proptest! {
    #[test]
    fn the_engine_sees_the_document_that_a_remote_opa_is_sent(
        subject in "\\PC{1,8}", scope in "[a-z:]{0,6}( [a-z]{1,3}){0,2}", action in "\\PC{0,8}", text in "\\PC{0,12}",
        number in any::<i64>(), now in any::<u32>(),
    ) {
        let principal = PrincipalBuilder::new("https://id.example", subject).with_scope(&scope).with_client("c")
            .with_roles(["r"]).with_claim("department", text.clone()).build().unwrap();
        let properties = JsonObject::from_serialize(&serde_json::json!({"t": text, "n": number, "l": [1.5, null]})).unwrap();
        let request = AccessRequest::new(
            &principal, &action, Resource::new("k", &text).with_attributes(&properties), UnixSeconds::new(now.into()),
        ).with_context(&properties);
        let options = InputOptions::with_claims(["department"]);
        let written = String::from_utf8(options.write(&request).unwrap()).unwrap();
        prop_assert_eq!(Value::from_json_str(&written).unwrap(), document::input(&options, &request).unwrap());
    }
}
