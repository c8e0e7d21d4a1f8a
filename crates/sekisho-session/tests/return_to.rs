//! Whatever is taken as a place to go on to, a browser finds on this host.

use proptest::prelude::*;
use sekisho_session::ReturnTo;
use url::Url;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(5_000))]

    #[test]
    fn no_place_that_is_taken_leads_a_browser_elsewhere(
        text in prop_oneof![
            "[/\\\\.%?#:@a-z0-9 \\t\\r\\n]{0,24}",
            "/{1,3}[/\\\\.%25cfe]{0,12}[a-z.:@/?#%0]{0,16}",
            "\\PC{0,20}",
        ],
    ) {
        let base = Url::parse("https://shop.example/account/login?a=b").unwrap();
        if let Some(place) = ReturnTo::parse(&text) {
            let found = base.join(place.as_str()).unwrap();
            prop_assert_eq!(found.origin(), base.origin());
            prop_assert_eq!(place.as_str(), &text);
            // What stands between decodes once more than it should.
            let decoded = text.replace("%2f", "/").replace("%2F", "/").replace("%5c", "\\").replace("%5C", "\\");
            let path = decoded.split(['?', '#']).next().unwrap();
            prop_assert!(!path.starts_with("//") && !path.contains('\\'));
        }
    }
}

#[test]
fn a_browser_does_find_such_places_elsewhere() {
    let base = Url::parse("https://shop.example/").unwrap();
    for elsewhere in ["//evil.example", "/\\evil.example", "/\t/evil.example"] {
        assert_eq!(base.join(elsewhere).unwrap().host_str(), Some("evil.example"), "{elsewhere:?}");
    }
}
