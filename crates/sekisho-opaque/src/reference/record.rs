use std::fmt;
use std::sync::Arc;

use sekisho_core::json::{JsonObject, JsonValue};
use sekisho_core::{Secret, SubjectId, UnixSeconds};

/// Is what one reference token stands for. A clone costs a counter.
///
/// `Debug` shows subject, expiry and the kind of content.
#[derive(Clone)]
pub struct ReferenceRecord(Arc<Inner>);

struct Inner {
    subject: SubjectId,
    session: Option<Box<str>>,
    expires_at: UnixSeconds,
    content: ReferenceContent,
}

/// Says what a reference token stands for.
#[derive(Clone)]
#[non_exhaustive]
pub enum ReferenceContent {
    /// Claims, checked when the token was issued.
    Claims(JsonObject),
    /// A whole JWT, verified when the token was issued.
    Jwt(Secret),
    /// Header and payload of such a JWT; the client holds the signature.
    SplitJwt(Secret),
    /// Another JWT than an access token, such as an ID token; header and payload of it where tokens are split. Its handle is
    /// accepted nowhere.
    Statement(Secret),
}

impl ReferenceRecord {
    /// Puts a record together. Stores get theirs whole; this is for tests of stores.
    #[must_use]
    pub fn new(
        subject: SubjectId,
        session: Option<Box<str>>,
        expires_at: UnixSeconds,
        content: ReferenceContent,
    ) -> Self {
        Self(Arc::new(Inner { subject, session, expires_at, content }))
    }

    /// Returns the issuer and the subject within it.
    #[must_use]
    pub fn subject(&self) -> &SubjectId {
        &self.0.subject
    }

    /// Returns the session at the issuer (`sid`).
    #[must_use]
    pub fn session(&self) -> Option<&str> {
        self.0.session.as_deref()
    }

    /// Returns when it dies: it is dead at this second.
    #[must_use]
    pub fn expires_at(&self) -> UnixSeconds {
        self.0.expires_at
    }

    /// Returns what it stands for.
    #[must_use]
    pub fn content(&self) -> &ReferenceContent {
        &self.0.content
    }

    /// Estimates the bytes of memory behind it.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        let Inner { subject, session, expires_at: _, content } = &*self.0;
        let names = subject.issuer().len() + subject.subject().len() + session.as_ref().map_or(0, |text| text.len());
        let content = match content {
            ReferenceContent::Claims(claims) => claims.heap_bytes(),
            ReferenceContent::Jwt(text) | ReferenceContent::SplitJwt(text) | ReferenceContent::Statement(text) => {
                text.len()
            }
        };
        size_of::<Inner>() + names + content + 64
    }

    /// Writes it for a store that keeps bytes. They hold claims or a JWT: keep them as secret as a session.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let Inner { subject, session, expires_at, content } = &*self.0;
        let text = |secret: &Secret| secret.expose_str().unwrap_or_default().to_owned();
        let (kind, content) = match content {
            ReferenceContent::Claims(claims) => ("claims", claims.as_str().to_owned()),
            ReferenceContent::Jwt(jwt) => ("jwt", text(jwt)),
            ReferenceContent::SplitJwt(head) => ("split", text(head)),
            ReferenceContent::Statement(jwt) => ("statement", text(jwt)),
        };
        let object = serde_json::json!({
            "v": "1",
            "iss": subject.issuer(),
            "sub": subject.subject(),
            "sid": session,
            "exp": expires_at.as_secs(),
            kind: content,
        });
        object.to_string().into_bytes()
    }

    /// Reads what [`encode`](Self::encode) wrote.
    ///
    /// # Errors
    /// [`RecordError`] for anything else, a later version's form among it.
    pub fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        let object = JsonObject::parse(bytes.to_vec()).map_err(|_| RecordError(()))?;
        let text = |name: &str| object.get(name).and_then(JsonValue::as_str).ok_or(RecordError(()));
        if object.get("v").map(JsonValue::as_json) != Some(VERSION) {
            return Err(RecordError(()));
        }
        let session = match object.get("sid").ok_or(RecordError(()))? {
            value if value.as_json() == "null" => None,
            value => Some(value.as_str().ok_or(RecordError(()))?.into()),
        };
        // A number of any size, for "never" is one that no date is.
        let expires_at: u64 =
            object.get("exp").and_then(|value| value.as_json().parse().ok()).ok_or(RecordError(()))?;
        let content = ["claims", "jwt", "split", "statement"].map(|kind| object.get(kind));
        let content = match content {
            [Some(claims), None, None, None] => {
                let claims = claims.as_str().ok_or(RecordError(()))?;
                ReferenceContent::Claims(
                    JsonObject::parse(claims.into_owned().into_bytes()).map_err(|_| RecordError(()))?,
                )
            }
            [None, Some(_), None, None] => ReferenceContent::Jwt(Secret::from(text("jwt")?.into_owned())),
            [None, None, Some(_), None] => ReferenceContent::SplitJwt(Secret::from(text("split")?.into_owned())),
            [None, None, None, Some(_)] => ReferenceContent::Statement(Secret::from(text("statement")?.into_owned())),
            _ => return Err(RecordError(())),
        };
        let subject = SubjectId::new(&*text("iss")?, &*text("sub")?);
        Ok(Self::new(subject, session, UnixSeconds::new(expires_at), content))
    }
}

impl PartialEq for ReferenceRecord {
    fn eq(&self, other: &Self) -> bool {
        let Inner { subject, session, expires_at, content } = &*self.0;
        let same = match (content, other.content()) {
            (ReferenceContent::Claims(one), ReferenceContent::Claims(other)) => one.as_str() == other.as_str(),
            (ReferenceContent::Jwt(one), ReferenceContent::Jwt(other))
            | (ReferenceContent::SplitJwt(one), ReferenceContent::SplitJwt(other))
            | (ReferenceContent::Statement(one), ReferenceContent::Statement(other)) => one == other,
            _ => false,
        };
        same && subject == other.subject() && session.as_deref() == other.session() && *expires_at == other.expires_at()
    }
}

impl Eq for ReferenceRecord {}

impl fmt::Debug for ReferenceRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReferenceRecord")
            .field("subject", &self.0.subject)
            .field("expires_at", &self.0.expires_at)
            .field("content", &self.0.content)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for ReferenceContent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Claims(_) => "Claims(..)",
            Self::Jwt(_) => "Jwt(..)",
            Self::SplitJwt(_) => "SplitJwt(..)",
            Self::Statement(_) => "Statement(..)",
        })
    }
}

/// Says that bytes are no record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a record of a reference token")]
pub struct RecordError(());

const VERSION: &str = "\"1\"";

#[cfg(test)]
mod tests {
    use super::*;

    fn records() -> Vec<ReferenceRecord> {
        let claims = JsonObject::parse(br#"{"sub":"a\"b","deep":{"x":[1,{"y":"\u00e9"}]}}"#.to_vec()).expect("JSON");
        let subject = || SubjectId::new("https://id.example", "a\"b\n");
        vec![
            ReferenceRecord::new(subject(), Some("s 1".into()), UnixSeconds::new(7), ReferenceContent::Claims(claims)),
            ReferenceRecord::new(
                subject(),
                None,
                UnixSeconds::MAX,
                ReferenceContent::Jwt(Secret::from("ey.ey.s3cret")),
            ),
            ReferenceRecord::new(
                subject(),
                None,
                UnixSeconds::new(0),
                ReferenceContent::SplitJwt(Secret::from("ey.s3cret")),
            ),
            ReferenceRecord::new(
                subject(),
                None,
                UnixSeconds::new(0),
                ReferenceContent::Statement(Secret::from("ey.s3cret")),
            ),
        ]
    }

    #[test]
    fn every_record_is_read_as_it_was_written() {
        for record in records() {
            assert_eq!(ReferenceRecord::decode(&record.encode()), Ok(record.clone()));
        }
        assert_ne!(records().first(), records().last());
        let [.., split, statement] = &records()[..] else { panic!("records") };
        assert_ne!(split, statement, "they differ in nothing but the kind");
    }

    #[test]
    fn refuses_bytes_that_no_record_has() {
        let good = String::from_utf8(records().remove(1).encode()).expect("text");
        assert!(ReferenceRecord::decode(good.as_bytes()).is_ok());
        for (from, to) in [
            (r#""v":"1""#, r#""v":"2""#),
            (r#""v":"1""#, r#""v":1"#),
            (r#""sid":null"#, r#""sid":1"#),
            (r#""sid":null,"#, ""),
            (r#""jwt":"#, r#""other":"#),
            (r#""jwt":"#, r#""split":"x","jwt":"#),
            (r#""jwt":"#, r#""statement":"x","jwt":"#),
            (r#""jwt":"#, r#""iss":"x","jwt":"#),
            ("18446744073709551615", "-1"),
            ("18446744073709551615", "18446744073709551616"),
        ] {
            let bad = good.replacen(from, to, 1);
            assert_ne!(bad, good, "{from}");
            assert_eq!(ReferenceRecord::decode(bad.as_bytes()), Err(RecordError(())), "{bad}");
        }
        for bad in [&b""[..], b"{}", b"[]", b"\xff"] {
            assert_eq!(ReferenceRecord::decode(bad), Err(RecordError(())));
        }
    }

    #[test]
    fn debug_shows_no_content() {
        for record in records() {
            let shown = format!("{record:?}");
            assert!(!shown.contains("s3cret") && !shown.contains("deep") && !shown.contains("s 1"), "{shown}");
        }
    }
}
