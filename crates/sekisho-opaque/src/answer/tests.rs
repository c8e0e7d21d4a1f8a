use sekisho_core::Claim;

use super::*;
use sekisho_jwt::Backend;

const NOW: UnixSeconds = UnixSeconds::new(1_800_000_000);

fn response(status: u16, kind: &str, body: impl Into<Vec<u8>>) -> HttpResponse {
    HttpResponse { status, headers: vec![("content-type".to_owned(), kind.to_owned())], body: body.into() }
}

fn backend() -> Backend {
    #[cfg(feature = "aws-lc-rs")]
    return Backend::aws_lc();
    #[cfg(not(feature = "aws-lc-rs"))]
    return Backend::ring();
}

fn form() -> Form {
    Form::Json(Rules::new(backend(), "https://id.example".to_owned(), Some("orders".to_owned())).build().expect("good"))
}

async fn read(status: u16, kind: &str, body: &[u8]) -> Result<Result<Active, Reject>, Failure> {
    form().read(&response(status, kind, body), NOW).await.map_err(|unanswered| unanswered.failure)
}

async fn kind_of(status: u16, kind: &str, body: &[u8]) -> Option<FailureKind> {
    read(status, kind, body).await.err().map(|failure| failure.kind())
}

#[tokio::test]
async fn only_a_json_true_is_a_yes_and_only_a_json_false_is_a_no() {
    let good = br#"{"active":true,"sub":"u","aud":"orders"}"#;
    assert!(read(200, "application/json", good).await.expect("an answer").is_ok());
    assert_eq!(
        read(200, "application/json", br#"{"active":false}"#).await.expect("an answer").err(),
        Some(Reject::Inactive)
    );
    for active in [r#""true""#, r#""false""#, "1", "0", "null", "[]", "[true]", "{}", r#"{"true":true}"#, r#""""#] {
        let body = format!(r#"{{"active":{active},"sub":"u","aud":"orders"}}"#);
        assert_eq!(kind_of(200, "application/json", body.as_bytes()).await, Some(FailureKind::BadGateway), "{active}");
    }
    for body in [
        &b""[..],
        b"{}",
        b"[]",
        b"true",
        b"null",
        b"\"active\"",
        b"<html>",
        b"{\"active\":true",
        b"{\"active\":true}x",
        b"\xef\xbb\xbf{\"active\":true}",
        b"\xff\xfe",
        br#"{"active":true,"active":true,"sub":"u","aud":"orders"}"#,
        br#"{"active":false,"\u0061ctive":true,"sub":"u","aud":"orders"}"#,
        br#"{"Active":true,"sub":"u","aud":"orders"}"#,
        br#"{"active":true,"sub":"u","aud":"orders","x":{"a":1,"a":2}}"#,
    ] {
        assert_eq!(kind_of(200, "application/json", body).await, Some(FailureKind::BadGateway), "{body:?}");
    }
}

#[tokio::test]
async fn no_status_is_the_callers_fault() {
    for status in [201, 202, 204, 206, 301, 302, 304, 307, 308, 400, 401, 403, 404, 405, 410, 418, 422] {
        let failure = read(status, "application/json", br#"{"active":true}"#).await.expect_err("no answer");
        assert_eq!(failure.kind(), FailureKind::BadGateway, "{status}");
    }
    for status in [408, 425, 429, 500, 501, 502, 503, 504, 599] {
        let failure = read(status, "text/html", b"").await.expect_err("no answer");
        assert_eq!(failure.kind(), FailureKind::Unavailable, "{status}");
        assert_eq!(failure.retry_after(), Some(Duration::from_secs(1)), "{status}");
    }
}

#[tokio::test]
async fn passes_a_pause_on_within_bounds() {
    for (stated, seconds) in [("7", 7), ("0", 1), ("86400", 60), ("-1", 1), ("tomorrow", 1)] {
        let mut response = response(503, "text/plain", "");
        response.headers.push(("retry-after".to_owned(), stated.to_owned()));
        let failure = form().read(&response, NOW).await.expect_err("no answer");
        assert_eq!(failure.failure.retry_after(), Some(Duration::from_secs(seconds)), "{stated}");
    }
}

#[tokio::test]
async fn a_claim_of_the_wrong_type_is_the_providers_fault_and_a_claim_that_does_not_fit_the_callers() {
    for (member, kind) in [
        (r#""exp":"soon""#, Some(FailureKind::BadGateway)),
        (r#""iss":1"#, Some(FailureKind::BadGateway)),
        (r#""cnf":1"#, Some(FailureKind::BadGateway)),
        (r#""exp":1"#, None),
        (r#""iss":"https://other.example""#, None),
        (r#""cnf":{"jkt":"x"}"#, None),
        (r#""typ":"Refresh""#, None),
    ] {
        let body = format!(r#"{{"active":true,"sub":"u","aud":"orders",{member}}}"#);
        let answer = read(200, "application/json", body.as_bytes()).await;
        assert_eq!(answer.as_ref().err().map(Failure::kind), kind, "{member}");
        assert!(!matches!(answer, Ok(Ok(_))), "{member}");
    }
    assert_eq!(
        read(200, "application/json", br#"{"active":true,"sub":"u"}"#).await.expect("an answer").err(),
        Some(Reject::Missing(Claim::Audience))
    );
}

#[test]
fn who_is_to_blame_when_nothing_came() {
    let broken = || Box::<dyn std::error::Error + Send + Sync>::from("x");
    for (error, kind) in [
        (HttpError::Connect(broken()), FailureKind::Unavailable),
        (HttpError::Timeout, FailureKind::Unavailable),
        (HttpError::Broken(broken()), FailureKind::Unavailable),
        (HttpError::TooLarge, FailureKind::BadGateway),
        (HttpError::Url, FailureKind::Misconfigured),
    ] {
        assert_eq!(no_answer(error).failure.kind(), kind);
    }
}
