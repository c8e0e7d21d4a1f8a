use std::io::Write;
use std::path::{Path, PathBuf};

use cedar_policy::{Authorizer, PolicySet, Schema, ValidationMode, Validator};
use sekisho_core::dangerous::PrincipalBuilder;
use sekisho_core::json::JsonObject;
use sekisho_core::{Effect, Resource};
use serde_json::Value;

use super::equality::{named, said, wanted};
use super::*;

/// Finds the vectors, or says that the test was skipped. Where everything has to run, `CI=true`, only the word `none` in place
/// of a folder skips.
fn vectors() -> Option<PathBuf> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let folder = std::env::var_os("SEKISHO_VECTORS").map_or_else(|| "../shared/vectors".into(), PathBuf::from);
    let folder = workspace.join(folder);
    if folder.join("cedar").is_dir() {
        return Some(folder.join("cedar"));
    }
    let is_skipped_on_purpose = folder.file_name().is_some_and(|name| name == "none");
    let must_run = std::env::var_os("CI").is_some_and(|ci| ci == "true") && !is_skipped_on_purpose;
    assert!(!must_run, "no folder {}; set SEKISHO_VECTORS to the vectors, or to `none`", folder.display());
    let line = "skipped: sekisho-policy cedar: no vectors; set SEKISHO_VECTORS\n";
    std::io::stderr().write_all(line.as_bytes()).unwrap();
    if let Some(list) = std::env::var_os("SEKISHO_SKIPPED") {
        let mut list = std::fs::File::options().create(true).append(true).open(list).unwrap();
        list.write_all(line.as_bytes()).unwrap();
    }
    None
}

fn uid(value: &Value) -> EntityUid {
    let text = |name: &str| value[name].as_str().unwrap();
    EntityUid::from_type_name_and_id(text("type").parse().unwrap(), EntityId::new(text("id")))
}

fn sorted(value: &Value) -> Vec<&str> {
    let mut texts: Vec<_> = value.as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect();
    texts.sort_unstable();
    texts
}

/// Writes entities and values of extensions as requests do: by what tells them from others of the type that is declared.
fn plain(value: &Value) -> Value {
    let inner = ["__extn", "__entity"].iter().find_map(|name| value.get(name));
    match (value, inner) {
        (_, Some(inner)) => inner.get("arg").or_else(|| inner.get("id")).unwrap().clone(),
        (Value::Object(members), _) => members.iter().map(|(name, value)| (name.clone(), plain(value))).collect(),
        (Value::Array(elements), _) => elements.iter().map(plain).collect(),
        (other, _) => other.clone(),
    }
}

/// The policies have no names of their own, only those that the engine counts out.
fn with_names(set: &PolicySet) -> String {
    set.policies().map(|policy| format!("@id(\"{}\") {}\n", policy.id(), policy.to_cedar().unwrap())).collect()
}

#[tokio::test]
async fn all_requests_of_the_integration_tests_are_answered_as_expected() {
    let Some(folder) = vectors() else { return };
    let mut asked = 0;
    for group in std::fs::read_dir(folder.join("tests")).unwrap() {
        for file in std::fs::read_dir(group.unwrap().path()).unwrap() {
            let file = file.unwrap().path();
            if file.extension().is_none_or(|extension| extension != "json") {
                continue;
            }
            let case: Value = serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
            let read = |name: &str| std::fs::read_to_string(folder.join(case[name].as_str().unwrap())).unwrap();
            let (schema, _) = Schema::from_cedarschema_str(&read("schema")).unwrap();
            let set: PolicySet = read("policies").parse().unwrap();
            let is_valid = Validator::new(schema.clone()).validate(&set, ValidationMode::Strict).validation_passed();
            assert_eq!(is_valid, case["shouldValidate"].as_bool().unwrap(), "{}", file.display());
            let text = with_names(&set);
            let builder = CedarPolicies::builder(read("schema")).with_issuer("https://id.example");
            let policies = builder.with_entities(read("entities")).build(&text).unwrap();
            let entities = Entities::from_json_str(&read("entities"), Some(&schema)).unwrap();
            for case in case["requests"].as_array().unwrap() {
                let name = format!("{}: {}", file.display(), case["description"]);
                let [principal, action, resource] = ["principal", "action", "resource"].map(|part| uid(&case[part]));
                let context = Context::from_json_value(case["context"].clone(), Some((&schema, &action))).unwrap();
                let (kind, id) = (resource.type_name().to_string(), resource.id().unescaped().to_owned());
                let who = PrincipalBuilder::new("https://id.example", principal.id().unescaped()).build().unwrap();
                let (what, said_of_it) = (action.id().unescaped().to_owned(), plain(&case["context"]));
                let said_of_it = JsonObject::from_serialize(&said_of_it).unwrap();
                let who_kind = principal.type_name().to_string();
                let request = AccessRequest::new(&who, &what, Resource::new(&kind, &id), UnixSeconds::new(7))
                    .with_subject_kind(&who_kind)
                    .with_context(&said_of_it);
                let ours = said(&policies.decide(&request).await.unwrap(), &policies);
                assert_eq!(said(&policies.decide_now(&request).unwrap().unwrap(), &policies), ours, "{name}");

                let question = Request::new(principal, action, resource, context, None).unwrap();
                let response = Authorizer::new().is_authorized(&question, &named(&text), &entities);
                assert_eq!(ours, wanted(&response, &set), "{name}");
                assert_eq!(ours.0 == Effect::Permit, case["decision"] == "allow", "{name}");
                let failed = sorted(&case["errors"]).into_iter().map(|id| format!("cannot be evaluated: `{id}`"));
                let reasons = sorted(&case["reason"]).into_iter().map(ToOwned::to_owned);
                let mut reasons: Vec<String> = reasons.chain(failed).collect();
                reasons.sort();
                assert_eq!(ours.1, reasons, "{name}");
                asked += 1;
            }
        }
    }
    assert_eq!(asked, 74);
}
