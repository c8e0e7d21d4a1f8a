use std::fmt;

use sekisho_core::json::{JsonObject, JsonValue};
use sekisho_core::{Principal, UnixSeconds};
use serde_json::{Map, Value, json};

/// Bounds an issuer, in bytes.
const LONGEST_ISSUER: usize = 1024;
/// Bounds the id of a token, a session or a subject, in bytes.
const LONGEST_ID: usize = 4096;
/// The end of the year 9999, the last second that JSON dates here can hold; it stands for "never".
const LAST: UnixSeconds = UnixSeconds::new(253_402_300_799);

/// Is one thing that an issuer has withdrawn before its time: a token, a session, a grant, or all that a subject got
/// before an instant.
///
/// It names by issuer and id, never by a token or a token's hash: the same token can be written in several ways, and
/// would slip through under another one.
///
/// It holds until its end, which is when the last credential that it speaks of has expired. A list holds it [for five
/// minutes more](crate::RevocationList), because a verifier with leeway takes a token a while beyond its expiry.
/// Withdrawals can be repeated, and arrive in any order: of several for one id the latest end holds, and for a
/// subject the latest `not_before`.
///
/// `Debug` shows the issuer, the kind and the end; ids are personal data.
///
/// # Examples
/// ```
/// use sekisho_core::UnixSeconds;
/// use sekisho_revocation::Withdrawal;
/// let withdrawal = Withdrawal::session("https://id.example", "s-42", UnixSeconds::new(1_700_003_600))?;
/// let line = withdrawal.to_json();
/// assert_eq!(line, r#"{"iss":"https://id.example","sid":"s-42","until":1700003600}"#);
/// assert_eq!(Withdrawal::from_json(line.as_bytes())?, withdrawal);
/// # Ok::<(), sekisho_revocation::WithdrawalError>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Withdrawal {
    issuer: Box<str>,
    what: Withdrawn,
    until: UnixSeconds,
}

/// Says what is withdrawn. Ids are unique within their issuer only.
#[derive(Clone, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "a feed that could not pass a kind on would forget withdrawals")]
pub enum Withdrawn {
    /// One token, by its `jti`.
    Token(Box<str>),
    /// All credentials of one session at the issuer, by their `sid`.
    Session(Box<str>),
    /// All tokens of one grant, what a user allowed a client: those whose `jti` is the grant's id, a dot and whatever
    /// follows it.
    ///
    /// No standard names the grant of a token. That a `jti` begins so is a convention of `sekisho-issuer`
    /// (`GRANT.RANDOM`); withdraw by it only for issuers that keep it.
    Grant(Box<str>),
    /// All credentials of a subject that were issued before `not_before`.
    ///
    /// Refused is `iat < not_before`, in whole seconds, and whatever has no `iat`. A credential issued in the very
    /// second `not_before` passes, as with `nbf`.
    Subject {
        /// `sub`
        subject: Box<str>,
        /// The first second whose credentials are valid.
        not_before: UnixSeconds,
    },
}

/// Says why something is no withdrawal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WithdrawalError {
    /// The issuer is empty, or longer than 1,024 bytes.
    #[error("the issuer of a withdrawal must be 1 to 1,024 bytes")]
    Issuer,
    /// The id is empty, or longer than 4,096 bytes, or has a dot and is a grant's.
    #[error("the id of a withdrawal must be 1 to 4,096 bytes, without a dot for a grant")]
    Id,
    /// The principal's credential has no such id, so it cannot be withdrawn by it.
    #[error("the credential has no such id")]
    NoSuchId,
    /// The text is longer than [`Withdrawal::MAX_JSON_BYTES`].
    #[error("a withdrawal is longer than allowed")]
    TooLarge,
    /// Not a JSON object with `iss`, `until` and exactly one of `jti`, `sid`, `grant` or `sub` with `not_before`, or
    /// with more than that.
    #[error("not the JSON of a withdrawal")]
    Malformed,
}

impl Withdrawal {
    /// Bounds [`to_json`](Self::to_json), in bytes.
    pub const MAX_JSON_BYTES: usize = 32 * 1024;

    /// Withdraws one token.
    ///
    /// - `token_id`: its `jti`.
    /// - `expires_at`: its `exp`; [`UnixSeconds::MAX`] if it has none.
    ///
    /// # Errors
    /// [`WithdrawalError::Issuer`], [`WithdrawalError::Id`].
    pub fn token(issuer: &str, token_id: &str, expires_at: UnixSeconds) -> Result<Self, WithdrawalError> {
        Self::new(issuer, Withdrawn::Token(checked(token_id)?), expires_at)
    }

    /// Withdraws all credentials of one session at the issuer.
    ///
    /// - `session_id`: their `sid`.
    /// - `until`: when the last of them has expired; [`UnixSeconds::MAX`] if that is not known.
    ///
    /// # Errors
    /// [`WithdrawalError::Issuer`], [`WithdrawalError::Id`].
    pub fn session(issuer: &str, session_id: &str, until: UnixSeconds) -> Result<Self, WithdrawalError> {
        Self::new(issuer, Withdrawn::Session(checked(session_id)?), until)
    }

    /// Withdraws all tokens of one [grant](Withdrawn::Grant) of an issuer whose `jti` begins with it.
    ///
    /// - `grant_id`: what stands before the first dot of their `jti`.
    /// - `until`: when the last of them has expired; [`UnixSeconds::MAX`] if that is not known.
    ///
    /// # Errors
    /// [`WithdrawalError::Issuer`], [`WithdrawalError::Id`].
    pub fn grant(issuer: &str, grant_id: &str, until: UnixSeconds) -> Result<Self, WithdrawalError> {
        // It would never match, and look as if something had been withdrawn.
        if grant_id.contains('.') {
            return Err(WithdrawalError::Id);
        }
        Self::new(issuer, Withdrawn::Grant(checked(grant_id)?), until)
    }

    /// Withdraws all credentials of a subject that were issued before `not_before`, and those that do not say when
    /// they were.
    ///
    /// - `not_before`: the first second whose credentials are valid.
    /// - `until`: when the last of the others has expired; [`UnixSeconds::MAX`] if that is not known.
    ///
    /// # Errors
    /// [`WithdrawalError::Issuer`], [`WithdrawalError::Id`].
    pub fn subject(
        issuer: &str,
        subject: &str,
        not_before: UnixSeconds,
        until: UnixSeconds,
    ) -> Result<Self, WithdrawalError> {
        let not_before = not_before.min(LAST);
        Self::new(issuer, Withdrawn::Subject { subject: checked(subject)?, not_before }, until)
    }

    /// Withdraws all credentials that a subject got up to now, those of this very second included.
    ///
    /// `not_before` is the next second, since what was issued within this one before the withdrawal cannot be told from
    /// what was issued after it. Whoever logs in again within the same second has to do so once more.
    ///
    /// # Errors
    /// [`WithdrawalError::Issuer`], [`WithdrawalError::Id`].
    pub fn subject_up_to(
        issuer: &str,
        subject: &str,
        now: UnixSeconds,
        until: UnixSeconds,
    ) -> Result<Self, WithdrawalError> {
        Self::subject(issuer, subject, UnixSeconds::new(now.as_secs().saturating_add(1)), until)
    }

    /// Withdraws the token that this principal came with.
    ///
    /// # Errors
    /// [`WithdrawalError::NoSuchId`] when it has no `jti`; as for [`token`](Self::token).
    pub fn token_of(principal: &Principal) -> Result<Self, WithdrawalError> {
        let token_id = principal.token_id().ok_or(WithdrawalError::NoSuchId)?;
        Self::token(principal.issuer(), &token_id, principal.expires_at().unwrap_or(LAST))
    }

    /// Withdraws the session at the issuer that this principal's credential belongs to; see
    /// [`session`](Self::session) for `until`.
    ///
    /// # Errors
    /// [`WithdrawalError::NoSuchId`] when it has no `sid`; as for [`session`](Self::session).
    pub fn session_of(principal: &Principal, until: UnixSeconds) -> Result<Self, WithdrawalError> {
        let session_id = principal.session_id().ok_or(WithdrawalError::NoSuchId)?;
        Self::session(principal.issuer(), &session_id, until)
    }

    /// Reads what [`to_json`](Self::to_json) writes.
    ///
    /// Strict, so that no reader understands less than the writer meant: one object with `iss`, `until` and exactly
    /// one of `jti`, `sid`, `grant`, or `sub` with `not_before`; strings and whole numbers of seconds; nothing twice, nothing
    /// else.
    ///
    /// # Errors
    /// [`WithdrawalError::TooLarge`], [`WithdrawalError::Malformed`], [`WithdrawalError::Issuer`],
    /// [`WithdrawalError::Id`].
    pub fn from_json(text: &[u8]) -> Result<Self, WithdrawalError> {
        if text.len() > Self::MAX_JSON_BYTES {
            return Err(WithdrawalError::TooLarge);
        }
        let members = JsonObject::parse(text.to_vec()).map_err(|_| WithdrawalError::Malformed)?;
        let text_of = |value: JsonValue<'_>| value.as_str().map(String::from).ok_or(WithdrawalError::Malformed);
        let issuer = text_of(members.get("iss").ok_or(WithdrawalError::Malformed)?)?;
        let until = seconds(members.get("until"))?;
        let of = |name: &str| members.get(name);
        let (this, length) = match (of("jti"), of("sid"), of("grant"), of("sub")) {
            (Some(token), None, None, None) => (Self::token(&issuer, &text_of(token)?, until), 3),
            (None, Some(session), None, None) => (Self::session(&issuer, &text_of(session)?, until), 3),
            (None, None, Some(grant), None) => (Self::grant(&issuer, &text_of(grant)?, until), 3),
            (None, None, None, Some(subject)) => {
                (Self::subject(&issuer, &text_of(subject)?, seconds(members.get("not_before"))?, until), 4)
            }
            _ => return Err(WithdrawalError::Malformed),
        };
        // A member that is not known could have narrowed what is meant.
        if members.len() == length { this } else { Err(WithdrawalError::Malformed) }
    }

    /// Writes one line of JSON, without an end of line, at most [`MAX_JSON_BYTES`](Self::MAX_JSON_BYTES) long:
    ///
    /// ```json
    /// {"iss":"https://id.example","jti":"t-1","until":1700003600}
    /// {"iss":"https://id.example","sid":"s-1","until":1700003600}
    /// {"grant":"g-1","iss":"https://id.example","until":1700003600}
    /// {"iss":"https://id.example","not_before":1700000001,"sub":"u-1","until":1700003600}
    /// ```
    #[must_use]
    pub fn to_json(&self) -> String {
        write(&self.to_value())
    }

    pub(crate) fn to_value(&self) -> Value {
        let Self { issuer, what, until } = self;
        let mut members = Map::new();
        members.insert("iss".into(), json!(issuer));
        match what {
            Withdrawn::Token(id) => members.insert("jti".into(), json!(id)),
            Withdrawn::Session(id) => members.insert("sid".into(), json!(id)),
            Withdrawn::Grant(id) => members.insert("grant".into(), json!(id)),
            Withdrawn::Subject { subject, not_before } => {
                members.insert("not_before".into(), json!(not_before.as_secs()));
                members.insert("sub".into(), json!(subject))
            }
        };
        members.insert("until".into(), json!(until.as_secs()));
        Value::Object(members)
    }

    /// Returns the issuer, byte for byte the `iss` of its credentials.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// Returns what is withdrawn.
    #[must_use]
    pub const fn what(&self) -> &Withdrawn {
        &self.what
    }

    /// Returns the end, exclusive and without leeway; the year 9999 stands for "never".
    #[must_use]
    pub const fn until(&self) -> UnixSeconds {
        self.until
    }

    fn new(issuer: &str, what: Withdrawn, until: UnixSeconds) -> Result<Self, WithdrawalError> {
        if issuer.is_empty() || issuer.len() > LONGEST_ISSUER {
            return Err(WithdrawalError::Issuer);
        }
        Ok(Self { issuer: issuer.into(), what, until: until.min(LAST) })
    }
}

impl fmt::Debug for Withdrawal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { issuer, what, until } = self;
        f.debug_struct("Withdrawal").field("issuer", issuer).field("what", what).field("until", until).finish()
    }
}

impl fmt::Debug for Withdrawn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Token(_) => "Token(..)",
            Self::Session(_) => "Session(..)",
            Self::Grant(_) => "Grant(..)",
            Self::Subject { .. } => "Subject(..)",
        })
    }
}

/// Writes JSON in which no `$` stands plainly: a text with `$serde_json::private::` in it, which strict readers
/// refuse, must not make a whole feed unreadable because some user chose it for a name.
pub(crate) fn write(value: &Value) -> String {
    value.to_string().replace('$', "\\u0024")
}

fn checked(id: &str) -> Result<Box<str>, WithdrawalError> {
    if id.is_empty() || id.len() > LONGEST_ID { Err(WithdrawalError::Id) } else { Ok(id.into()) }
}

/// Reads whole seconds, at most those of [`LAST`].
fn seconds(value: Option<JsonValue<'_>>) -> Result<UnixSeconds, WithdrawalError> {
    let digits = value.map(JsonValue::as_json).unwrap_or_default();
    let seconds = digits.parse().map(UnixSeconds::new).map_err(|_| WithdrawalError::Malformed)?;
    if seconds <= LAST { Ok(seconds) } else { Err(WithdrawalError::Malformed) }
}

#[cfg(test)]
mod tests {
    use sekisho_core::dangerous::PrincipalBuilder;

    use super::*;

    const ISSUER: &str = "https://id.example";

    #[test]
    fn refuses_json_that_is_not_exactly_a_withdrawal() {
        for bad in [
            "",
            "[]",
            "{}",
            r#"{"iss":"i","jti":"t"}"#,
            r#"{"iss":"i","until":1}"#,
            r#"{"jti":"t","until":1}"#,
            r#"{"iss":"i","jti":"t","until":"1"}"#,
            r#"{"iss":"i","jti":"t","until":1.0}"#,
            r#"{"iss":"i","jti":"t","until":1e3}"#,
            r#"{"iss":"i","jti":"t","until":-1}"#,
            r#"{"iss":"i","jti":"t","until":null}"#,
            r#"{"iss":"i","jti":"t","until":253402300800}"#,
            r#"{"iss":"i","jti":"t","until":99999999999999999999999}"#,
            r#"{"iss":"i","jti":1,"until":1}"#,
            r#"{"iss":1,"jti":"t","until":1}"#,
            r#"{"iss":"i","jti":null,"sid":"s","until":1}"#,
            r#"{"iss":"i","jti":"t","sid":"s","until":1}"#,
            r#"{"iss":"i","jti":"t","grant":"g","until":1}"#,
            r#"{"iss":"i","grant":"g","sub":"u","not_before":1,"until":1}"#,
            r#"{"iss":"i","grant":"g","not_before":1,"until":1}"#,
            r#"{"iss":"i","grant":1,"until":1}"#,
            r#"{"iss":"i","jti":"t","jti":"u","until":1}"#,
            r#"{"iss":"i","jti":"t","until":1,"client_id":"c"}"#,
            r#"{"iss":"i","jti":"t","not_before":1,"until":1}"#,
            r#"{"iss":"i","sub":"u","until":1}"#,
            r#"{"iss":"i","sub":"u","not_before":"1","until":1}"#,
            r#"{"iss":"i","sub":"u","not_before":1,"nbf":1,"until":1}"#,
            r#"{"iss":"i","jti":"t","until":1}{}"#,
            "{\"iss\":\"i\",\"jti\":\"\u{0}\",\"until\":1}",
        ] {
            assert_eq!(Withdrawal::from_json(bad.as_bytes()), Err(WithdrawalError::Malformed), "{bad}");
        }
        assert_eq!(Withdrawal::from_json(b"{\"iss\":\"\xff\"}"), Err(WithdrawalError::Malformed));
        let id = |id: &str| format!(r#"{{"iss":"i","jti":"{id}","until":1}}"#);
        assert_eq!(Withdrawal::from_json(id("").as_bytes()), Err(WithdrawalError::Id));
        assert_eq!(Withdrawal::from_json(id(&"x".repeat(LONGEST_ID + 1)).as_bytes()), Err(WithdrawalError::Id));
        assert_eq!(Withdrawal::from_json(id(&"x".repeat(33_000)).as_bytes()), Err(WithdrawalError::TooLarge));
        assert_eq!(Withdrawal::from_json(br#"{"iss":"","jti":"t","until":1}"#), Err(WithdrawalError::Issuer));
    }

    #[test]
    fn refuses_empty_and_endless_names() {
        let at = UnixSeconds::new(1);
        assert_eq!(Withdrawal::token("", "t", at), Err(WithdrawalError::Issuer));
        assert_eq!(Withdrawal::token(&"i".repeat(1025), "t", at), Err(WithdrawalError::Issuer));
        assert_eq!(Withdrawal::token(ISSUER, "", at), Err(WithdrawalError::Id));
        assert_eq!(Withdrawal::session(ISSUER, &"s".repeat(4097), at), Err(WithdrawalError::Id));
        assert_eq!(Withdrawal::subject(ISSUER, "", at, at), Err(WithdrawalError::Id));
        for bad in ["", ".", "g.", ".g", "g.r"] {
            assert_eq!(Withdrawal::grant(ISSUER, bad, at), Err(WithdrawalError::Id), "{bad}");
        }
        assert_eq!(Withdrawal::from_json(br#"{"iss":"i","grant":"g.r","until":1}"#), Err(WithdrawalError::Id));
    }

    #[test]
    fn refuses_to_withdraw_by_an_id_that_a_credential_lacks() {
        let nameless = PrincipalBuilder::new(ISSUER, "u").build().expect("claims");
        assert_eq!(Withdrawal::token_of(&nameless), Err(WithdrawalError::NoSuchId));
        assert_eq!(Withdrawal::session_of(&nameless, UnixSeconds::MAX), Err(WithdrawalError::NoSuchId));
        let empty = PrincipalBuilder::new(ISSUER, "u").with_claim("jti", "").build().expect("claims");
        assert_eq!(Withdrawal::token_of(&empty), Err(WithdrawalError::Id));
    }

    #[test]
    fn the_longest_withdrawal_fits_the_bound_of_its_json() {
        let (issuer, id) = ("\u{1}".repeat(LONGEST_ISSUER), "\u{1}".repeat(LONGEST_ID));
        let longest = Withdrawal::subject(&issuer, &id, UnixSeconds::MAX, UnixSeconds::MAX).expect("in bounds");
        let line = longest.to_json();
        assert!(line.len() <= Withdrawal::MAX_JSON_BYTES, "{}", line.len());
        assert_eq!(Withdrawal::from_json(line.as_bytes()), Ok(longest));
    }

    #[test]
    fn no_id_makes_a_line_that_strict_readers_refuse() {
        for id in ["$serde_json::private::Number", "\u{2028}\"\\\n", "\u{0}", "}{"] {
            let withdrawal = Withdrawal::token(ISSUER, id, LAST).expect("in bounds");
            assert_eq!(Withdrawal::from_json(withdrawal.to_json().as_bytes()), Ok(withdrawal), "{id:?}");
        }
    }

    #[test]
    fn debug_shows_no_id() {
        let all = [
            Withdrawal::token(ISSUER, "hush", LAST),
            Withdrawal::session(ISSUER, "hush", LAST),
            Withdrawal::grant(ISSUER, "hush", LAST),
            Withdrawal::subject(ISSUER, "hush", LAST, LAST),
        ];
        let shown = format!("{all:?}");
        assert!(!shown.contains("hush") && shown.contains("Subject(..)"), "{shown}");
    }

    #[test]
    fn takes_the_token_of_a_principal_until_its_expiry() {
        let principal = PrincipalBuilder::new(ISSUER, "u").with_claim("jti", "t").with_claim("sid", "s");
        let principal = principal.with_expiry(UnixSeconds::new(7)).build().expect("claims");
        assert_eq!(Withdrawal::token_of(&principal), Withdrawal::token(ISSUER, "t", UnixSeconds::new(7)));
        let (session, until) = (Withdrawal::session(ISSUER, "s", LAST), UnixSeconds::MAX);
        assert_eq!(Withdrawal::session_of(&principal, until), session);
    }

    proptest::proptest! {
        #[test]
        fn what_is_written_is_one_line_and_read_back(
            issuer in "\\PC{1,40}",
            id in ".{1,40}",
            kind in 0..4,
            not_before: u64,
            until: u64,
        ) {
            let (until, not_before) = (UnixSeconds::new(until), UnixSeconds::new(not_before));
            let withdrawal = match kind {
                0 => Withdrawal::token(&issuer, &id, until),
                1 => Withdrawal::session(&issuer, &id, until),
                2 => Withdrawal::grant(&issuer, &id.replace('.', "-"), until),
                _ => Withdrawal::subject(&issuer, &id, not_before, until),
            }.expect("in bounds");
            let line = withdrawal.to_json();
            proptest::prop_assert!(!line.contains(['\n', '\r']));
            proptest::prop_assert_eq!(Withdrawal::from_json(line.as_bytes()), Ok(withdrawal));
        }
    }
}
