use sekisho_core::json::JsonObject;
use serde_json::{Map, Value, json};

use crate::withdrawal::write;
use crate::{Cursor, Withdrawal, WithdrawalError};

const VERSION: &str = "1";

/// Is the JSON document that a [`PollingFeed`](crate::PollingFeed) reads, and that whoever publishes withdrawals
/// writes.
///
/// ```json
/// {"cursor":"1042","more":false,"version":1,
///  "withdrawals":[{"iss":"https://id.example","jti":"t-1","until":1700003600}]}
/// ```
///
/// - `version`: 1. Required.
/// - `withdrawals`: an array of [`Withdrawal::to_json`]. Required. Without a cursor in the request, all that are not
///   over; with one, at least all that came after it.
/// - `cursor`: 1 to 256 visible ASCII characters, to be sent back as the query parameter `cursor`. Optional: without
///   it, each answer must hold everything, and an `ETag` saves the repetition.
/// - `more`: true when there is more after `cursor` right now; then `cursor` must have moved and `withdrawals` must
///   not be empty. Optional, default false.
///
/// Nothing else is allowed in it. A publisher that does not know a cursor any more answers with everything, or with
/// 410.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct RevocationDocument {
    withdrawals: Vec<Withdrawal>,
    cursor: Option<Cursor>,
    has_more: bool,
}

/// Says why a text is no document of withdrawals.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DocumentError {
    /// Not JSON of the documented form.
    #[error("not a document of withdrawals")]
    Malformed,
    /// Of a version that is not known here.
    #[error("a document of withdrawals of another version than 1")]
    Version,
    /// One of the withdrawals cannot be read. None is then taken: the rest would look complete and not be.
    #[error("a withdrawal in the document cannot be read")]
    Withdrawal(#[source] WithdrawalError),
}

impl RevocationDocument {
    /// Puts a document together.
    pub const fn new(withdrawals: Vec<Withdrawal>) -> Self {
        Self { withdrawals, cursor: None, has_more: false }
    }

    /// Sets from where to go on.
    pub fn with_cursor(mut self, cursor: Cursor) -> Self {
        self.cursor = Some(cursor);
        self
    }

    /// Says that there is more after the cursor.
    pub const fn with_more(mut self) -> Self {
        self.has_more = true;
        self
    }

    /// Reads a document. The caller bounds its length.
    ///
    /// # Errors
    /// [`DocumentError::Malformed`], [`DocumentError::Version`], [`DocumentError::Withdrawal`].
    pub fn parse(body: Vec<u8>) -> Result<Self, DocumentError> {
        let members = JsonObject::parse(body).map_err(|_| DocumentError::Malformed)?;
        if members.get("version").ok_or(DocumentError::Malformed)?.as_json() != VERSION {
            return Err(DocumentError::Version);
        }
        if members.iter().any(|(name, _)| !matches!(name, "version" | "withdrawals" | "cursor" | "more")) {
            return Err(DocumentError::Malformed);
        }
        let has_more = match members.get("more") {
            None => false,
            Some(more) => more.as_bool().ok_or(DocumentError::Malformed)?,
        };
        let cursor = match members.get("cursor") {
            None => None,
            Some(cursor) => {
                let text = cursor.as_str().ok_or(DocumentError::Malformed)?;
                Some(Cursor::new(&text).ok_or(DocumentError::Malformed)?)
            }
        };
        let array = members.get("withdrawals").ok_or(DocumentError::Malformed)?;
        if array.kind() != sekisho_core::json::JsonKind::Array {
            return Err(DocumentError::Malformed);
        }
        let read = |json: &str| Withdrawal::from_json(json.as_bytes()).map_err(DocumentError::Withdrawal);
        let withdrawals: Vec<_> =
            array.elements().into_iter().map(|element| read(element.as_json())).collect::<Result<_, _>>()?;
        if has_more && (cursor.is_none() || withdrawals.is_empty()) {
            return Err(DocumentError::Malformed);
        }
        Ok(Self { withdrawals, cursor, has_more })
    }

    /// Writes the document as JSON on one line.
    #[must_use]
    pub fn to_json(&self) -> String {
        let Self { withdrawals, cursor, has_more } = self;
        let mut members = Map::new();
        if let Some(cursor) = cursor {
            members.insert("cursor".into(), json!(cursor.as_str()));
        }
        members.insert("more".into(), json!(has_more));
        members.insert("version".into(), json!(1));
        members.insert("withdrawals".into(), withdrawals.iter().map(Withdrawal::to_value).collect());
        write(&Value::Object(members))
    }

    /// Returns the withdrawals.
    #[must_use]
    pub fn withdrawals(&self) -> &[Withdrawal] {
        &self.withdrawals
    }

    /// Returns from where to go on.
    #[must_use]
    pub const fn cursor(&self) -> Option<&Cursor> {
        self.cursor.as_ref()
    }

    /// Tells whether there is more after the cursor.
    #[must_use]
    pub const fn has_more(&self) -> bool {
        self.has_more
    }

    pub(crate) fn into_parts(self) -> (Vec<Withdrawal>, Option<Cursor>, bool) {
        (self.withdrawals, self.cursor, self.has_more)
    }
}

#[cfg(test)]
mod tests {
    use sekisho_core::UnixSeconds;

    use super::*;

    fn parse(json: &str) -> Result<RevocationDocument, DocumentError> {
        RevocationDocument::parse(json.as_bytes().to_vec())
    }

    #[test]
    fn refuses_what_is_not_exactly_a_document() {
        for bad in [
            "",
            "[]",
            "{}",
            r#"{"withdrawals":[]}"#,
            r#"{"version":1}"#,
            r#"{"version":1,"withdrawals":{}}"#,
            r#"{"version":1,"withdrawals":null}"#,
            r#"{"version":1,"withdrawals":[],"removed":[]}"#,
            r#"{"version":1,"withdrawals":[],"more":"false"}"#,
            r#"{"version":1,"withdrawals":[],"more":true}"#,
            r#"{"version":1,"withdrawals":[],"more":true,"cursor":"1"}"#,
            r#"{"version":1,"withdrawals":[{"iss":"i","jti":"t","until":1}],"more":true}"#,
            r#"{"version":1,"withdrawals":[],"cursor":""}"#,
            r#"{"version":1,"withdrawals":[],"cursor":"a b"}"#,
            r#"{"version":1,"withdrawals":[],"cursor":7}"#,
            r#"{"version":1,"withdrawals":[],"withdrawals":[]}"#,
        ] {
            assert_eq!(parse(bad), Err(DocumentError::Malformed), "{bad}");
        }
        let long = format!(r#"{{"version":1,"withdrawals":[],"cursor":"{}"}}"#, "c".repeat(257));
        assert_eq!(parse(&long), Err(DocumentError::Malformed));
        for version in ["2", "\"1\"", "1.0", "null", "true"] {
            let other = format!(r#"{{"version":{version},"withdrawals":[]}}"#);
            assert_eq!(parse(&other), Err(DocumentError::Version), "{version}");
        }
    }

    #[test]
    fn one_withdrawal_that_cannot_be_read_spoils_the_document() {
        let bad = r#"{"version":1,"withdrawals":[{"iss":"i","jti":"t","until":1},{"iss":"i","until":1}]}"#;
        assert_eq!(parse(bad), Err(DocumentError::Withdrawal(WithdrawalError::Malformed)));
        assert!(parse(r#"{"version":1,"withdrawals":[1]}"#).is_err());
        assert!(parse(r#"{"version":1,"withdrawals":[[]]}"#).is_err());
    }

    #[test]
    fn what_is_written_is_read_back() {
        let token =
            Withdrawal::token("https://id.example", "$serde_json::private::x", UnixSeconds::new(7)).expect("a token");
        let subject = Withdrawal::subject("https://id.example", "u", UnixSeconds::new(7), UnixSeconds::MAX);
        let full = RevocationDocument::new(vec![token, subject.expect("a subject")]);
        let full = full.with_cursor(Cursor::new("$c").expect("a cursor")).with_more();
        for document in [RevocationDocument::new(Vec::new()), full] {
            assert_eq!(parse(&document.to_json()), Ok(document));
        }
    }
}
