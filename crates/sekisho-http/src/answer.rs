use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use sekisho_core::{Failure, FailureKind};

/// Is the response that refuses a request, in no framework's terms.
///
/// It tells the caller the status and the challenge, never the reason; that went to `tracing`.
#[derive(Clone)]
pub struct Answer {
    status: Status,
    challenge: Option<Bytes>,
    retry_after: Option<u64>,
    /// Boxed, because hardly any answer has one.
    nonce: Option<Box<Bytes>>,
    content: RefusalContent,
    grpc: bool,
}

impl Answer {
    /// Answers with a challenge, for 400, 401 and 403.
    pub(crate) fn challenge(status: Status, challenge: Bytes, body: &RefusalBody, error: Option<&'static str>) -> Self {
        let content = body(&RefusalSummary { status: status.code(), title: status.title(), error });
        Self { status, challenge: Some(challenge), retry_after: None, nonce: None, content, grpc: false }
    }

    /// Answers that our side broke.
    pub(crate) fn failure(failure: &Failure, body: &RefusalBody) -> Self {
        let status = match failure.kind() {
            FailureKind::Unavailable => Status::Unavailable,
            FailureKind::BadGateway => Status::BadGateway,
            _ => Status::Misconfigured,
        };
        let retry = failure.retry_after().unwrap_or(DEFAULT_RETRY_AFTER);
        let retry = retry.as_secs().saturating_add(u64::from(retry.subsec_nanos() > 0)).max(1);
        let retry_after = matches!(status, Status::Unavailable).then_some(retry);
        let content = body(&RefusalSummary { status: status.code(), title: status.title(), error: None });
        Self { status, challenge: None, retry_after, nonce: None, content, grpc: false }
    }

    /// Answers, and logs, that our side broke, where no checkpoint answers: 500, 502 or 503 by the kind.
    #[must_use]
    pub fn of_failure(failure: &Failure) -> Self {
        crate::checkpoint::log_failure(failure);
        Self::failure(failure, &problem_json)
    }

    /// Answers 403 without a challenge, for requests that no credential would make better, such as a forged one.
    #[must_use]
    pub fn forbidden() -> Self {
        Self::plain(Status::Forbidden)
    }

    /// Answers 400 without a challenge, for requests that cannot be read in one way.
    #[must_use]
    pub fn bad_request() -> Self {
        Self::plain(Status::BadRequest)
    }

    fn plain(status: Status) -> Self {
        let content = problem_json(&RefusalSummary { status: status.code(), title: status.title(), error: None });
        Self { status, challenge: None, retry_after: None, nonce: None, content, grpc: false }
    }

    /// Adds the nonce for the client's next DPoP proof ([RFC 9449 §9](https://www.rfc-editor.org/rfc/rfc9449#section-9)).
    pub(crate) fn with_nonce(mut self, nonce: String) -> Self {
        self.nonce = is_nonce(&nonce).then(|| Box::new(nonce.into()));
        self
    }

    /// Turns it into the answer that a gRPC caller understands: HTTP 200, the status in the headers, no body
    /// ("Trailers-Only" in the gRPC protocol over HTTP/2).
    ///
    /// To anybody else, 200 means that the request passed: only for services that serve nothing but gRPC, and for requests
    /// that are [gRPC calls](crate::is_grpc_call).
    #[must_use]
    pub fn into_grpc(self) -> Self {
        Self { grpc: true, ..self }
    }

    /// Returns the HTTP status code to send.
    #[must_use]
    pub const fn status(&self) -> u16 {
        if self.grpc { 200 } else { self.status.code() }
    }

    /// Returns the status code of gRPC that says the same: 3, 7, 13, 14 or 16.
    #[must_use]
    pub const fn grpc_status(&self) -> u8 {
        self.status.grpc()
    }

    /// Returns the few fixed words that name the status.
    #[must_use]
    pub const fn title(&self) -> &'static str {
        self.status.title()
    }

    /// Lists the headers to send: names in lower case, and values that are safe to send as they are.
    pub fn headers(&self) -> impl Iterator<Item = (&'static str, Bytes)> {
        let Self { status, challenge, retry_after, nonce, content, grpc } = self;
        let kind = if *grpc { Bytes::from_static(b"application/grpc") } else { content.kind() };
        [
            Some(("content-type", kind)),
            Some(("cache-control", Bytes::from_static(b"no-store"))),
            challenge.clone().map(|value| ("www-authenticate", value)),
            nonce.as_ref().map(|value| ("dpop-nonce", Bytes::clone(value))),
            retry_after.map(|seconds| ("retry-after", seconds.to_string().into())),
            grpc.then(|| ("grpc-status", status.grpc().to_string().into())),
            // The titles are made of letters and spaces, so they are their own percent-encoding.
            grpc.then(|| ("grpc-message", Bytes::from_static(status.title().as_bytes()))),
        ]
        .into_iter()
        .flatten()
    }

    /// Returns the body to send.
    #[must_use]
    pub fn body(&self) -> Bytes {
        if self.grpc { Bytes::new() } else { self.content.body.clone() }
    }
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answer")
            .field("status", &self.status())
            .field("challenge", &self.challenge)
            .field("retry_after", &self.retry_after)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.title())
    }
}

impl std::error::Error for Answer {}

/// Is what a replacement body may tell the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RefusalSummary {
    /// The HTTP status code.
    pub status: u16,
    /// The phrase that goes with it.
    pub title: &'static str,
    /// The error code of the challenge, if it has one ([RFC 6750 §3.1](https://www.rfc-editor.org/rfc/rfc6750#section-3.1)).
    pub error: Option<&'static str>,
}

/// Is a body and its media type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusalContent {
    media_type: Cow<'static, str>,
    body: Bytes,
}

impl RefusalContent {
    /// Puts a media type, such as `text/html; charset=utf-8`, and a body together.
    ///
    /// A media type that cannot stand in a header is replaced by `application/octet-stream`.
    #[must_use]
    pub fn new(media_type: impl Into<Cow<'static, str>>, body: impl Into<Bytes>) -> Self {
        Self { media_type: media_type.into(), body: body.into() }
    }

    fn kind(&self) -> Bytes {
        if self.media_type.is_empty() || !self.media_type.bytes().all(|b| b == b' ' || b.is_ascii_graphic()) {
            return Bytes::from_static(b"application/octet-stream");
        }
        match &self.media_type {
            Cow::Borrowed(text) => Bytes::from_static(text.as_bytes()),
            Cow::Owned(text) => Bytes::copy_from_slice(text.as_bytes()),
        }
    }
}

pub(crate) type RefusalBody = dyn Fn(&RefusalSummary) -> RefusalContent + Send + Sync;

/// Writes problem details ([RFC 9457](https://www.rfc-editor.org/rfc/rfc9457)) that add nothing to the status.
pub(crate) fn problem_json(summary: &RefusalSummary) -> RefusalContent {
    let RefusalSummary { status, title, error: _ } = summary;
    let body = format!(r#"{{"type":"about:blank","title":"{title}","status":{status}}}"#);
    RefusalContent::new("application/problem+json", body)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    BadRequest,
    Unauthorized,
    Forbidden,
    Misconfigured,
    BadGateway,
    Unavailable,
}

impl Status {
    const fn code(self) -> u16 {
        match self {
            Self::BadRequest => 400,
            Self::Unauthorized => 401,
            Self::Forbidden => 403,
            Self::Misconfigured => 500,
            Self::BadGateway => 502,
            Self::Unavailable => 503,
        }
    }

    /// Returns the phrase of RFC 9110 §15, as RFC 9457 §4.2.1 asks for `about:blank`.
    const fn title(self) -> &'static str {
        match self {
            Self::BadRequest => "Bad Request",
            Self::Unauthorized => "Unauthorized",
            Self::Forbidden => "Forbidden",
            Self::Misconfigured => "Internal Server Error",
            Self::BadGateway => "Bad Gateway",
            Self::Unavailable => "Service Unavailable",
        }
    }

    const fn grpc(self) -> u8 {
        match self {
            Self::BadRequest => 3,                        // INVALID_ARGUMENT
            Self::Forbidden => 7,                         // PERMISSION_DENIED
            Self::Misconfigured | Self::BadGateway => 13, // INTERNAL
            Self::Unavailable => 14,                      // UNAVAILABLE
            Self::Unauthorized => 16,                     // UNAUTHENTICATED
        }
    }
}

/// When a failure does not say how long it will last.
const DEFAULT_RETRY_AFTER: Duration = Duration::from_secs(5);

/// Tells whether this is what [RFC 9449 §4.1](https://www.rfc-editor.org/rfc/rfc9449#section-4.1) lets a nonce be made of: printable ASCII
/// but quotes, backslashes and spaces.
pub(crate) fn is_nonce(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'"' | b'\\'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(answer: &Answer, name: &str) -> Option<Bytes> {
        answer.headers().find(|(n, _)| *n == name).map(|(_, value)| value)
    }

    fn unavailable(after: Duration) -> Answer {
        Answer::failure(&Failure::unavailable("keys").with_retry_after(after), &problem_json)
    }

    #[test]
    fn tells_when_to_retry_in_whole_seconds_and_never_zero() {
        for (after, seconds) in [(0, "1"), (1, "1"), (999, "1"), (1000, "1"), (1001, "2"), (30_000, "30")] {
            let answer = unavailable(Duration::from_millis(after));
            assert_eq!(answer.status(), 503);
            assert_eq!(header(&answer, "retry-after").as_deref(), Some(seconds.as_bytes()));
        }
        let silent = Answer::failure(&Failure::unavailable("keys"), &problem_json);
        assert_eq!(header(&silent, "retry-after").as_deref(), Some(&b"5"[..]));
    }

    #[test]
    fn answers_by_the_kind_of_failure() {
        for (kind, status, grpc) in [
            (FailureKind::Unavailable, 503, 14),
            (FailureKind::BadGateway, 502, 13),
            (FailureKind::Misconfigured, 500, 13),
        ] {
            let answer = Answer::failure(&Failure::new(kind, "x"), &problem_json);
            assert_eq!((answer.status(), answer.grpc_status()), (status, grpc));
            assert_eq!(header(&answer, "retry-after").is_some(), status == 503);
            assert_eq!(header(&answer, "www-authenticate"), None);
            assert_eq!(header(&answer, "cache-control").as_deref(), Some(&b"no-store"[..]));
        }
    }

    #[test]
    fn writes_problem_details_without_details() {
        let answer = unavailable(Duration::from_secs(1));
        assert_eq!(answer.body(), r#"{"type":"about:blank","title":"Service Unavailable","status":503}"#);
        assert_eq!(header(&answer, "content-type").as_deref(), Some(&b"application/problem+json"[..]));
    }

    #[test]
    fn answers_grpc_in_the_headers_alone() {
        let answer = unavailable(Duration::from_secs(1)).into_grpc();
        assert_eq!((answer.status(), answer.body().len()), (200, 0));
        assert_eq!(header(&answer, "content-type").as_deref(), Some(&b"application/grpc"[..]));
        assert_eq!(header(&answer, "grpc-status").as_deref(), Some(&b"14"[..]));
        assert_eq!(header(&answer, "grpc-message").as_deref(), Some(&b"Service Unavailable"[..]));
    }

    #[test]
    fn keeps_a_hostile_media_type_out_of_the_header() {
        for hostile in ["text/html\r\nx: y", "", "té"] {
            let body = move |_: &RefusalSummary| RefusalContent::new(hostile, "x");
            let answer = Answer::failure(&Failure::unavailable("keys"), &body);
            assert_eq!(header(&answer, "content-type").as_deref(), Some(&b"application/octet-stream"[..]));
        }
    }

    #[test]
    fn titles_are_their_own_percent_encoding() {
        use Status::{BadGateway, BadRequest, Forbidden, Misconfigured, Unauthorized, Unavailable};
        for status in [BadRequest, Unauthorized, Forbidden, Misconfigured, BadGateway, Unavailable] {
            assert!(status.title().bytes().all(|b| b == b' ' || b.is_ascii_alphabetic()));
        }
    }
}
