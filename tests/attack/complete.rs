//! No case is forgotten.

use std::collections::BTreeSet;

use sekisho_tests::vector_json;

const SOURCES: [&str; 13] = [
    include_str!("alg.rs"),
    include_str!("claims.rs"),
    include_str!("dpop.rs"),
    include_str!("jwe.rs"),
    include_str!("jwks.rs"),
    include_str!("key.rs"),
    include_str!("mtls.rs"),
    include_str!("oidc.rs"),
    include_str!("opaque.rs"),
    include_str!("parse.rs"),
    include_str!("policy.rs"),
    include_str!("session.rs"),
    include_str!("sig.rs"),
];

/// Lists the tests that are named by a case.
fn tests() -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for source in SOURCES {
        let lines: Vec<&str> = source.lines().collect();
        for pair in lines.windows(2) {
            let name = pair[1].strip_prefix("fn ").and_then(|rest| rest.strip_suffix("() {"));
            if let Some(name) = name.filter(|_| pair[0] == "#[test]")
                && name.as_bytes()[1..4].iter().all(u8::is_ascii_digit)
            {
                assert!(names.insert(name.to_owned()), "{name} stands twice");
            }
        }
    }
    names
}

#[test]
fn each_case_of_our_groups_has_its_test_and_each_test_its_case() {
    let Some(cases) = vector_json("attack-cases/cases.json") else { return };
    let groups = ["alg", "sig", "key", "parse", "claims", "jwe", "jwks", "dpop", "mtls", "opaque", "policy", "session"];
    let text = |case: &serde_json::Value, name: &str| case[name].as_str().unwrap().to_owned();
    let expected: BTreeSet<String> = cases
        .as_array()
        .unwrap()
        .iter()
        .filter(|case| groups.contains(&case["group"].as_str().unwrap()))
        .map(|case| {
            format!("{}_{}", text(case, "id"), text(case, "name")).to_ascii_lowercase().replace(['-', '.'], "_")
        })
        .collect();
    assert_eq!(tests(), expected);
    assert_eq!(expected.len(), 131);
}
