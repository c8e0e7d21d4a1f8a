#![allow(clippy::unwrap_used, reason = "tests")]

use proptest::prelude::*;

use super::*;
use crate::HeadParts;

type Outcome = Result<Option<(CredentialKind, String)>, Reject>;

fn everywhere() -> CredentialSources {
    CredentialSources::new().with_cookie("sid").unwrap().with_header("X-Api-Key").unwrap()
}

fn run(sources: &CredentialSources, headers: &[(&str, &[u8])]) -> Outcome {
    let head = HeadParts { method: "GET", path: "/", headers };
    sources.extract(&head).map(|found| found.map(|c| (c.kind(), c.expose().to_owned())))
}

fn auth(value: &[u8]) -> Outcome {
    run(&CredentialSources::new(), &[("Authorization", value)])
}

fn bearer(token: &str) -> Outcome {
    Ok(Some((CredentialKind::Bearer, token.to_owned())))
}

#[test]
fn takes_a_bearer_token_whatever_the_case_of_the_scheme() {
    for scheme in ["Bearer", "bearer", "BEARER", "bEaReR"] {
        assert_eq!(auth(format!("{scheme} abc.DEF-123_~+/==").as_bytes()), bearer("abc.DEF-123_~+/=="));
    }
    assert_eq!(auth(b"Bearer    abc"), bearer("abc"), "RFC 6750 §2.1 says 1*SP");
}

#[test]
fn refuses_every_other_form_of_a_bearer_token() {
    let cases: &[&[u8]] = &[
        b"Bearer",
        b"Bearer ",
        b"Bearer    ",
        b"Bearer =",
        b"Bearer ==",
        b"Bearer a=b",
        b"Bearer a ",
        b"Bearer a b",
        b"Bearer a,b",
        b"Bearer a, Bearer b",
        b"Bearer \ta",
        b"Bearer\ta",
        b"Bearer a\t",
        b"Bearer a\0",
        b"Bearer \"a\"",
        b"Bearer token=a",
        b"Bearer a:b",
        b"Bearer a%2eb",
        b"Bearer \xc3\xa9",
        b"Bearer \xff\xfe",
        b"Bearer a\r\nX: y",
        b" Bearer a",
        b"",
        b" ",
        b"\tBearer a",
        b"Bear\xc3\xa9r a",
        b"\"Bearer\" a",
    ];
    for case in cases {
        assert_eq!(auth(case), Err(Reject::MalformedRequest), "{}", case.escape_ascii());
    }
}

#[test]
fn knows_the_bytes_of_a_bearer_token() {
    let listed = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~+/";
    for byte in 0..=u8::MAX {
        assert_eq!(is_b64token_byte(byte), listed.contains(&byte), "{byte}");
    }
}

#[test]
fn takes_other_schemes_for_no_credential() {
    for other in [
        "Basic dXNlcjpwYXNz",
        "DPoP abc",
        "Digest username=\"a\"",
        "Bearerx abc",
        "Bear abc",
        "abc.def.ghi",
        "Negotiate",
    ] {
        assert_eq!(auth(other.as_bytes()), Ok(None), "{other}");
    }
}

#[test]
fn refuses_two_authorization_headers_whatever_their_schemes() {
    for second in ["Bearer b", "Basic b", "", "Bearer a"] {
        let headers = [("Authorization", &b"Bearer a"[..]), ("authorization", second.as_bytes())];
        assert_eq!(run(&CredentialSources::new(), &headers), Err(Reject::SeveralCredentials));
    }
}

#[test]
fn refuses_an_overlong_authorization() {
    let long = format!("Bearer {}", "a".repeat(MAX_BYTES));
    assert_eq!(auth(long.as_bytes()), Err(Reject::MalformedRequest));
    let longest = "a".repeat(MAX_BYTES - 7);
    assert_eq!(auth(format!("Bearer {longest}").as_bytes()), bearer(&longest));
}

#[test]
fn finds_one_bad_byte_wherever_it_stands_in_a_long_token() {
    for at in 0..300 {
        let mut value = b"Bearer ".to_vec();
        value.extend(std::iter::repeat_n(b'a', 300));
        *value.get_mut(7 + at).unwrap() = b':';
        assert_eq!(auth(&value), Err(Reject::MalformedRequest), "at {at}");
    }
}

#[test]
fn takes_the_named_cookie_from_among_others() {
    let held = Ok(Some((CredentialKind::Cookie, "abc.def".to_owned())));
    for cookie in [
        "sid=abc.def",
        "a=b; sid=abc.def",
        "a=b;sid=abc.def;c",
        " sid = abc.def ",
        "sid2=x; sid=abc.def; xsid=y",
        ";;=;sid=abc.def",
    ] {
        assert_eq!(run(&everywhere(), &[("Cookie", cookie.as_bytes())]), held, "{cookie}");
    }
    let crumbs: [(&str, &[u8]); 3] = [("cookie", b"a=b"), ("cookie", b"sid=abc.def"), ("cookie", b"\xff=\xff")];
    assert_eq!(run(&everywhere(), &crumbs), held);
}

#[test]
fn sees_no_credential_in_an_empty_or_a_foreign_cookie() {
    for cookie in ["", "sid", "sid=", "SID=a", "xsid=a", "a=sid=b", "a=\"; b=c", "sid%3Da"] {
        assert_eq!(run(&everywhere(), &[("Cookie", cookie.as_bytes())]), Ok(None), "{cookie}");
    }
    assert_eq!(run(&CredentialSources::new(), &[("Cookie", b"sid=a")]), Ok(None), "not configured");
}

#[test]
fn refuses_a_cookie_that_stands_twice() {
    for cookie in ["sid=a; sid=b", "sid=a; sid=a", "sid=; sid=a", "sid=a; x=y; sid="] {
        assert_eq!(run(&everywhere(), &[("Cookie", cookie.as_bytes())]), Err(Reject::SeveralCredentials), "{cookie}");
    }
    let spread: [(&str, &[u8]); 2] = [("cookie", b"sid=a"), ("cookie", b"sid=b")];
    assert_eq!(run(&everywhere(), &spread), Err(Reject::SeveralCredentials));
}

#[test]
fn refuses_a_cookie_value_that_is_not_made_of_cookie_octets() {
    let cases: &[&[u8]] =
        &[b"sid=\"a\"", b"sid=a b", b"sid=a,b", b"sid=a\\b", b"sid=\xc3\xa9", b"sid=a\0", b"sid=a\tb"];
    for case in cases {
        assert_eq!(run(&everywhere(), &[("Cookie", case)]), Err(Reject::MalformedRequest), "{}", case.escape_ascii());
    }
}

#[test]
fn refuses_floods_of_cookies() {
    let many = "a=b;".repeat(MAX_COOKIES) + "sid=a";
    assert_eq!(run(&everywhere(), &[("Cookie", many.as_bytes())]), Err(Reject::MalformedRequest));
    let long = format!("a={}", "b".repeat(MAX_BYTES));
    assert_eq!(run(&everywhere(), &[("Cookie", long.as_bytes())]), Err(Reject::MalformedRequest));
    let half = format!("a={}", "b".repeat(MAX_BYTES / 2));
    let spread = [("cookie", half.as_bytes()), ("cookie", half.as_bytes())];
    assert_eq!(run(&everywhere(), &spread), Err(Reject::MalformedRequest));
}

#[test]
fn takes_the_named_header_whole() {
    let held = Ok(Some((CredentialKind::Header, "key-1:%&=".to_owned())));
    assert_eq!(run(&everywhere(), &[("x-api-key", b"key-1:%&=")]), held);
    for bad in [&b""[..], b" ", b"a b", b"a,b", b"a, b", b"a\tb", b"\xff", b"Bearer a"] {
        assert_eq!(run(&everywhere(), &[("x-api-key", bad)]), Err(Reject::MalformedRequest), "{}", bad.escape_ascii());
    }
    let twice: [(&str, &[u8]); 2] = [("x-api-key", b"a"), ("X-API-KEY", b"a")];
    assert_eq!(run(&everywhere(), &twice), Err(Reject::SeveralCredentials));
    assert_eq!(run(&CredentialSources::new(), &[("x-api-key", b"a")]), Ok(None), "not configured");
}

#[test]
fn refuses_credentials_from_two_places_at_once() {
    let all: [(&str, &[u8]); 3] = [("authorization", b"Bearer a"), ("cookie", b"sid=a"), ("x-api-key", b"a")];
    for left_out in all {
        let two: Vec<_> = all.into_iter().filter(|h| *h != left_out).collect();
        assert_eq!(run(&everywhere(), &two), Err(Reject::SeveralCredentials));
    }
    assert_eq!(run(&everywhere(), &all), Err(Reject::SeveralCredentials));
}

#[test]
fn counts_a_cookie_beside_a_foreign_scheme_as_the_only_credential() {
    let headers: [(&str, &[u8]); 2] = [("authorization", b"Basic dTpw"), ("cookie", b"sid=a")];
    assert_eq!(run(&everywhere(), &headers), Ok(Some((CredentialKind::Cookie, "a".to_owned()))));
}

#[test]
fn refuses_names_that_cannot_be_used() {
    for name in ["", "a b", "a=b", "a;b", "é", "a\r\n"] {
        assert!(CredentialSources::new().with_cookie(name).is_err(), "{name:?}");
        assert!(CredentialSources::new().with_header(name).is_err(), "{name:?}");
    }
    assert!(CredentialSources::new().with_header("Authorization").is_err());
    assert!(CredentialSources::new().with_header("Cookie").is_err());
}

proptest! {
    #[test]
    fn never_panics_and_never_lets_a_foreign_byte_through(
        headers in prop::collection::vec(
            (prop::sample::select(vec!["authorization", "cookie", "x-api-key", "accept"]), prop::collection::vec(any::<u8>(), 0..200)),
            0..6,
        ),
    ) {
        let headers: Vec<(&str, &[u8])> = headers.iter().map(|(n, v)| (*n, v.as_slice())).collect();
        if let Ok(Some((_, value))) = run(&everywhere(), &headers) {
            prop_assert!(!value.is_empty() && value.bytes().all(|b| b.is_ascii_graphic() && b != b'"' && b != b','));
        }
    }

    #[test]
    fn reads_back_every_well_formed_bearer_token(token in "[A-Za-z0-9._~+/-]{1,300}={0,3}", spaces in 1_usize..4) {
        prop_assert_eq!(auth(format!("Bearer{}{token}", " ".repeat(spaces)).as_bytes()), bearer(&token));
    }

    #[test]
    fn refuses_a_bearer_token_with_one_byte_changed_to_a_foreign_one(
        token in "[A-Za-z0-9._~+/-]{2,80}", at in any::<prop::sample::Index>(), byte in any::<u8>(),
    ) {
        prop_assume!(!is_b64token_byte(byte) && byte != b'=' && byte != b' ');
        let mut value = format!("Bearer {token}").into_bytes();
        let at = 7 + at.index(token.len());
        if let Some(place) = value.get_mut(at) { *place = byte; }
        prop_assert_eq!(auth(&value), Err(Reject::MalformedRequest));
    }
}

#[test]
fn a_line_feed_or_form_feed_does_not_belong_to_the_space_around_a_cookies_name() {
    for cookie in ["token\n=x", "\x0ctoken=x", "token\r=x"] {
        assert_eq!(
            named_cookie([cookie.as_bytes()].into_iter(), "token").map(|found| found.is_some()),
            Ok(false),
            "{cookie:?}"
        );
    }
    let found = named_cookie([b" \ttoken \t= x\t".as_slice()].into_iter(), "token").unwrap().unwrap();
    assert_eq!(found.expose(), "x");
}

#[test]
fn refuses_a_second_name_of_a_cookie_or_header_rather_than_forget_the_first() {
    let sources = everywhere();
    assert!(sources.clone().with_cookie("other").is_err());
    assert!(sources.clone().with_header("x-other").is_err());
    assert!(sources.with_cookie("sid").and_then(|same| same.with_header("x-api-key")).is_ok());
}

#[test]
fn takes_the_scheme_dpop_only_when_told_to() {
    let sources = CredentialSources::new().with_dpop();
    for scheme in ["DPoP", "dpop", "DPOP"] {
        let value = format!("{scheme} abc");
        let headers = [("Authorization", value.as_bytes())];
        assert_eq!(run(&CredentialSources::new(), &headers), Ok(None));
        assert_eq!(run(&sources, &headers), Ok(Some((CredentialKind::Dpop, "abc".to_owned()))));
    }
    for bad in ["DPoP", "DPoP ", "DPoP a,b", "DPoP a b", "DPoP\ta"] {
        assert_eq!(run(&sources, &[("Authorization", bad.as_bytes())]), Err(Reject::MalformedRequest), "{bad:?}");
    }
    let both = [("Authorization", &b"DPoP a"[..]), ("Authorization", &b"Bearer a"[..])];
    assert_eq!(run(&sources, &both), Err(Reject::SeveralCredentials));
}

#[test]
fn takes_one_proof_and_nothing_like_a_list() {
    let read = |values: &[&'static [u8]]| dpop_proof(values.iter().copied());
    assert_eq!(read(&[]), ProofHeader::Absent);
    assert_eq!(read(&[b"a-_.b.c"]), ProofHeader::One("a-_.b.c"));
    for bad in [&b""[..], b" ", b"a.b.c,d.e.f", b"a.b.c, d.e.f", b"a.b.c ", b"a b", b"a.b.c=", b"\"a\"", b"a.b.\xff"] {
        assert_eq!(read(&[bad]), ProofHeader::Malformed, "{}", bad.escape_ascii());
    }
    assert_eq!(read(&[b"a.b.c", b"a.b.c"]), ProofHeader::Malformed);
    assert_eq!(read(&[b"a.b.c", b""]), ProofHeader::Malformed);
    assert_eq!(dpop_proof([&b"a".repeat(MAX_BYTES + 1)[..]].into_iter()), ProofHeader::Malformed);
}
