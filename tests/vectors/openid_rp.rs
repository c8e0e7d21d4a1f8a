//! The relying-party modules of the OpenID Foundation's conformance suite, by their names: each is a test of `sekisho-oidc`, or
//! stands here with the reason why it does not apply.

use std::collections::BTreeSet;

use sekisho_tests::vector_json;

const TESTS: &str = include_str!("../../crates/sekisho-oidc/tests/provider/conformance.rs");

#[test]
fn each_module_is_a_test_or_does_not_apply_for_a_reason() {
    let Some(modules) = vector_json("openid-rp/oidcc-client.json") else { return };
    let modules: BTreeSet<String> =
        modules.as_array().unwrap().iter().map(|module| module["name"].as_str().unwrap().to_owned()).collect();
    let lines: Vec<&str> = TESTS.lines().collect();
    let tested: BTreeSet<String> = lines
        .windows(2)
        .filter(|pair| pair[0] == "#[tokio::test]")
        .map(|pair| pair[1].strip_prefix("async fn ").and_then(|rest| rest.strip_suffix("() {")).expect(pair[1]))
        .map(|name| name.replace('_', "-"))
        .collect();
    let inapplicable: BTreeSet<String> = INAPPLICABLE.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(inapplicable.len(), INAPPLICABLE.len());
    assert!(tested.is_disjoint(&inapplicable));
    assert_eq!(tested.union(&inapplicable).cloned().collect::<BTreeSet<_>>(), modules);
    assert_eq!((modules.len(), tested.len(), inapplicable.len()), (57, 42, 15));
}

const ISSUER_FROM_CONFIGURATION: &str = "the issuer comes from the configuration, never from what a user types";
const CODE_FLOW_ONLY: &str =
    "of the implicit and hybrid flows; with the code flow the hash may be absent, and is checked where it is there";
const PUSHED_INSTEAD: &str = "no request objects; a request that must not be seen or changed is pushed";
const NO_FRONT_CHANNEL: &str = "browsers keep third-party cookies from frames; the back channel is offered";
const ORDINARY_PAGE: &str = "the return after a logout is an ordinary page, of whose parameters nothing is believed";

/// Which modules do not apply, and why.
const INAPPLICABLE: [(&str, &str); 15] = [
    ("oidcc-client-test-discovery-webfinger-acct", ISSUER_FROM_CONFIGURATION),
    ("oidcc-client-test-discovery-webfinger-url", ISSUER_FROM_CONFIGURATION),
    ("oidcc-client-test-distributed-claims", "no address is asked because an answer about a user names it"),
    ("oidcc-client-test-dynamic-registration", "clients are registered by whoever runs them"),
    (
        "oidcc-client-test-form-post-error",
        "answers come as a query: a form from another site would come without the cookie of the login",
    ),
    ("oidcc-client-test-missing-athash", CODE_FLOW_ONLY),
    ("oidcc-client-test-missing-chash", CODE_FLOW_ONLY),
    ("oidcc-client-test-request-uri-signed-none", PUSHED_INSTEAD),
    ("oidcc-client-test-request-uri-signed-rs256", PUSHED_INSTEAD),
    ("oidcc-client-test-rp-frontchannel-opinitlogout", NO_FRONT_CHANNEL),
    ("oidcc-client-test-rp-frontchannel-rpinitlogout", NO_FRONT_CHANNEL),
    ("oidcc-client-test-rp-init-logout-no-state", ORDINARY_PAGE),
    ("oidcc-client-test-rp-init-logout-other-state", ORDINARY_PAGE),
    ("oidcc-client-test-session-management", "needs third-party cookies in a frame, as the front channel does"),
    ("oidcc-client-test-userinfo-bearer-body", "an access token is sent in the header alone (RFC 6750 §2.2)"),
];
