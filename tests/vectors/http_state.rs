//! The IETF httpstate working group's cases for user agents, read from the other end: what a browser sends after each of them
//! is what a service must find by name, or refuse for a stated reason.

use sekisho_core::Reject;
use sekisho_http::{CredentialSources, HeadParts};
use sekisho_tests::vector_json;
use serde_json::Value;

#[test]
fn finds_each_cookie_by_its_name_or_refuses_it_for_a_stated_reason() {
    let Some(file) = vector_json("http-state/tests/data/parser.json") else { return };
    let (mut found, mut empty, mut differ) = (0, 0, Vec::new());
    for case in file.as_array().unwrap() {
        let id = case["test"].as_str().unwrap();
        let sent: Vec<(&str, &str)> = case["sent"].as_array().unwrap().iter().map(pair).collect();
        let header = sent.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("; ");
        let headers: [(&str, &[u8]); 1] = [("cookie", header.as_bytes())];
        let head = HeadParts { method: "GET", path: "/", headers: &headers };
        for (name, value) in sent {
            let Ok(sources) = CredentialSources::new().with_cookie(name) else {
                differ.push((id.to_owned(), "no name of ours"));
                continue;
            };
            match sources.extract(&head) {
                Ok(Some(credential)) => {
                    assert_eq!(credential.expose(), value, "{id}");
                    found += 1;
                }
                Ok(None) => {
                    assert_eq!(value, "", "{id}");
                    empty += 1;
                }
                Err(Reject::SeveralCredentials) => differ.push((id.to_owned(), "twice")),
                Err(reject) => {
                    assert_eq!(reject, Reject::MalformedRequest, "{id}");
                    differ.push((id.to_owned(), "octets"));
                }
            }
        }
        // No other name is found in it, the prefixed ones of sessions least of all.
        for absent in ["__Host-session", "fo", "foob", "Set-Cookie", "Path", "secure"] {
            let sources = CredentialSources::new().with_cookie(absent).unwrap();
            assert!(matches!(sources.extract(&head), Ok(None)), "{id}: {absent}");
        }
    }
    let expected: Vec<(String, &str)> =
        TABLE.iter().flat_map(|(reason, ids)| ids.split_whitespace().map(|id| (id.to_owned(), *reason))).collect();
    differ.sort();
    let mut sorted = expected;
    sorted.sort();
    assert_eq!(differ, sorted);
    assert_eq!((found, empty), (118, 2));
}

fn pair(cookie: &Value) -> (&str, &str) {
    (cookie["name"].as_str().unwrap(), cookie["value"].as_str().unwrap())
}

/// What we refuse although browsers send it, each cookie of a case once.
const TABLE: [(&str, &str); 3] = [
    // RFC 6265 §4.1.1: quotes, commas, spaces, semicolons and what is not ASCII are no cookie octets.
    (
        "octets",
        "0017 CHARSET0001 CHARSET0004 CHROMIUM0002 CHROMIUM0003 CHROMIUM0004 CHROMIUM0005 CHROMIUM0006 CHROMIUM0007 \
         CHROMIUM0008 CHROMIUM0011 CHROMIUM0015 CHROMIUM0016 COMMA0001 COMMA0002 MOZILLA0012 VALUE0002 VALUE0003 \
         VALUE0004 VALUE0005",
    ),
    // RFC 6265 §5.4 orders them; a sibling domain can plant one, so neither counts.
    ("twice", "ORDERING0001 ORDERING0001 ORDERING0001 ORDERING0001 PATH0032 PATH0032"),
    // RFC 6265 §4.1.1: a name is a token.
    ("no name of ours", "CHARSET0002 CHARSET0003 NAME0005 NAME0012 NAME0013 NAME0019 NAME0020 NAME0021 NAME0030"),
];
