use std::io::Write;
use std::path::{Path, PathBuf};

use cedar_policy::{
    Authorizer, Context, Entities, EntityId, EntityUid, PolicySet, Request, Schema, ValidationMode, Validator,
};
use serde_json::Value;

use super::super::index::Index;
use super::equality::{by_index, shown};

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

#[test]
fn all_requests_of_the_integration_tests_are_answered_as_expected() {
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
            let entities = Entities::from_json_str(&read("entities"), Some(&schema)).unwrap();
            let index = Index::new(set.policies().cloned().collect());
            for wanted in case["requests"].as_array().unwrap() {
                let action = uid(&wanted["action"]);
                let context = Context::from_json_value(wanted["context"].clone(), Some((&schema, &action))).unwrap();
                let request = Request::new(uid(&wanted["principal"]), action, uid(&wanted["resource"]), context, None);
                let request = request.unwrap();
                let ours = by_index(&index, &request, &entities);
                assert_eq!(shown(&Authorizer::new().is_authorized(&request, &set, &entities)), shown(&ours));
                let name = format!("{}: {}", file.display(), wanted["description"]);
                assert_eq!(
                    format!("{:?}", ours.decision()).to_lowercase(),
                    wanted["decision"].as_str().unwrap(),
                    "{name}"
                );
                let (_, reasons, _) = shown(&ours);
                assert_eq!(reasons, sorted(&wanted["reason"]), "{name}");
                let mut failed: Vec<String> = ours
                    .diagnostics()
                    .errors()
                    .map(|error| {
                        let cedar_policy::AuthorizationError::PolicyEvaluationError(error) = error;
                        error.policy_id().to_string()
                    })
                    .collect();
                failed.sort();
                assert_eq!(failed, sorted(&wanted["errors"]), "{name}");
                asked += 1;
            }
        }
    }
    assert_eq!(asked, 74);
}
