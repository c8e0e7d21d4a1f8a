use std::fmt;

use actix_web::body::BoxBody;
use actix_web::http::StatusCode;
use actix_web::http::header::{HeaderName, HeaderValue};
use actix_web::{HttpResponse, ResponseError};
use sekisho_http::Answer;

/// Refuses a request from within a handler or an extractor, in the words of its checkpoint.
///
/// The reason was logged when this was made; `Display` shows the status only.
#[derive(Clone, Debug)]
pub struct RefusalError(Answer);

impl RefusalError {
    /// Returns what will be answered.
    #[must_use]
    pub const fn answer(&self) -> &Answer {
        &self.0
    }
}

impl From<Answer> for RefusalError {
    fn from(answer: Answer) -> Self {
        Self(answer)
    }
}

impl ResponseError for RefusalError {
    fn status_code(&self) -> StatusCode {
        StatusCode::from_u16(self.0.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    fn error_response(&self) -> HttpResponse<BoxBody> {
        let mut response = HttpResponse::build(self.status_code());
        for (name, value) in self.0.headers() {
            if let Ok(value) = HeaderValue::from_maybe_shared(value) {
                response.insert_header((HeaderName::from_static(name), value));
            }
        }
        response.body(self.0.body())
    }
}

impl fmt::Display for RefusalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for RefusalError {}
