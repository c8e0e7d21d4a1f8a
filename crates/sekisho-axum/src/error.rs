use std::fmt;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use sekisho_http::Answer;

/// Refuses a request from within a handler or an extractor, in the words of its checkpoint.
///
/// The reason was logged when this was made; `Display` shows the status only.
#[derive(Clone, Debug)]
pub struct RefusalResponse(Answer);

impl RefusalResponse {
    /// Returns what will be answered.
    #[must_use]
    pub const fn answer(&self) -> &Answer {
        &self.0
    }
}

impl From<Answer> for RefusalResponse {
    fn from(answer: Answer) -> Self {
        Self(answer)
    }
}

impl IntoResponse for RefusalResponse {
    fn into_response(self) -> Response {
        sekisho_tower::response(&self.0, Body::from)
    }
}

impl fmt::Display for RefusalResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for RefusalResponse {}
