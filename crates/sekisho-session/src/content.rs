use std::sync::OnceLock;
use std::time::Duration;

use sekisho_core::dangerous::CheckedClaims;
use sekisho_core::json::JsonObject;
use sekisho_core::{Failure, FailureKind, Principal, SubjectId, UnixSeconds};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::crypto;
use crate::keys::{SessionKey, SessionKeys};
use crate::store::{NewSession, Sealed, SessionUpdate, StoredSession};
use crate::token::{SessionHash, SessionTag, SessionToken};

/// Is what a session's record says, sealed in the store with the service's key and the cookie's secret.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Content {
    /// The public id, which stays through rotations.
    #[serde(rename = "h")]
    pub(crate) handle: Box<str>,
    #[serde(rename = "c")]
    pub(crate) created_at: u64,
    /// The absolute end: what the store says of it can only be earlier.
    #[serde(rename = "e")]
    pub(crate) ends_at: u64,
    /// Another id has taken over; this one can be read for a moment, and not written to.
    #[serde(rename = "s", default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) superseded: bool,
    #[serde(rename = "p", default, skip_serializing_if = "Option::is_none")]
    pub(crate) identity: Option<Identity>,
    #[serde(rename = "d", default, skip_serializing_if = "Map::is_empty")]
    pub(crate) data: Map<String, Value>,
}

/// Is who is logged in: a principal, written down.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Identity {
    #[serde(rename = "i")]
    issuer: Box<str>,
    #[serde(rename = "c")]
    claims: Box<RawValue>,
    #[serde(rename = "r", default, skip_serializing_if = "Vec::is_empty")]
    roles: Vec<Box<str>>,
    #[serde(rename = "o", default, skip_serializing_if = "Option::is_none")]
    client: Option<Box<str>>,
    #[serde(rename = "t", default, skip_serializing_if = "Option::is_none")]
    tenant: Option<Box<str>>,
}

impl Identity {
    /// Writes a principal down as one of a session that ends at `ends_at`.
    ///
    /// Its own times and binding go: they were the token's, which was checked when it came. Where it does not tell its
    /// `auth_time`, that is `authenticated_at`.
    pub(crate) fn of(principal: &Principal, authenticated_at: UnixSeconds, ends_at: u64) -> Result<Self, Failure> {
        let mut claims: Map<String, Value> = serde_json::from_str(principal.claims().as_str()).map_err(unwritable)?;
        for name in ["iat", "nbf", "cnf", "nonce", "at_hash", "c_hash"] {
            claims.remove(name);
        }
        claims.insert("exp".to_owned(), ends_at.into());
        claims.entry("auth_time").or_insert_with(|| authenticated_at.as_secs().into());
        let identity = Self {
            issuer: principal.issuer().into(),
            claims: serde_json::value::to_raw_value(&claims).map_err(unwritable)?,
            roles: principal.roles().to_vec(),
            client: principal.client().map(Into::into),
            tenant: principal.tenant().map(Into::into),
        };
        // What could not be read again would log nobody in; better told now.
        let again = identity.checked()?.into_principal();
        if again.id() != principal.id() {
            return Err(Failure::new(FailureKind::Misconfigured, "a principal without a subject cannot log in"));
        }
        Ok(identity)
    }

    /// Returns the same subject as one that has not just authenticated: `amr` says how it came instead, and `acr` is gone.
    pub(crate) fn without_authentication(&self, how: &str) -> Result<Self, Failure> {
        let mut claims: Map<String, Value> = serde_json::from_str(self.claims.get()).map_err(unwritable)?;
        claims.remove("acr");
        claims.insert("amr".to_owned(), vec![how].into());
        let claims = serde_json::value::to_raw_value(&claims).map_err(unwritable)?;
        Ok(Self { claims, ..self.clone() })
    }

    /// Says in `iat` when the session began, for those who withdraw what began before some moment.
    pub(crate) fn issued_at(&self, began_at: u64) -> Result<Self, Failure> {
        let mut claims: Map<String, Value> = serde_json::from_str(self.claims.get()).map_err(unwritable)?;
        claims.insert("iat".to_owned(), began_at.into());
        let claims = serde_json::value::to_raw_value(&claims).map_err(unwritable)?;
        Ok(Self { claims, ..self.clone() })
    }

    /// Makes the principal again. The record was authenticated, so its claims are as proved as they were.
    pub(crate) fn checked(&self) -> Result<CheckedClaims, Failure> {
        let Self { issuer, claims, roles, client, tenant } = self;
        let claims = JsonObject::parse(claims.get().as_bytes().to_vec()).map_err(unwritable)?;
        let checked = CheckedClaims::new((**issuer).into(), claims).map_err(unwritable)?;
        let checked = checked.with_roles(roles.clone());
        let checked = if let Some(client) = client { checked.with_client(client) } else { checked };
        Ok(if let Some(tenant) = tenant { checked.with_tenant_text(tenant) } else { checked })
    }
}

fn unwritable(_: impl Sized) -> Failure {
    // The error could show claims.
    Failure::new(FailureKind::Misconfigured, "the principal cannot be kept in a session")
}

/// Keeps what is found by different cookies apart: in its name, in its seal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Session,
    /// A login that outlives its session.
    Remembered,
}

impl Kind {
    pub(crate) fn hash(self, token: &SessionToken) -> SessionHash {
        token.hash(match self {
            Self::Session => "sekisho session",
            Self::Remembered => "sekisho remembered login",
        })
    }

    const fn seal(self) -> &'static str {
        match self {
            Self::Session => "record",
            Self::Remembered => "remembered login",
        }
    }
}

/// Is a session that was found and opened.
pub(crate) struct Loaded {
    pub(crate) kind: Kind,
    pub(crate) token: SessionToken,
    pub(crate) id: SessionHash,
    pub(crate) version: u64,
    pub(crate) idle_until: UnixSeconds,
    pub(crate) content: Content,
    /// What the identity is read as, once somebody has asked.
    checked: OnceLock<CheckedClaims>,
}

impl Loaded {
    pub(crate) const fn new(
        kind: Kind,
        token: SessionToken,
        id: SessionHash,
        version: u64,
        idle_until: UnixSeconds,
        content: Content,
    ) -> Self {
        Self { kind, token, id, version, idle_until, content, checked: OnceLock::new() }
    }

    /// Opens what a store found; `None` when it is dead by its own words.
    pub(crate) fn open(
        keys: &SessionKeys,
        kind: Kind,
        token: SessionToken,
        stored: &StoredSession,
        now: UnixSeconds,
    ) -> Result<Option<Self>, Failure> {
        let id = kind.hash(&token);
        let StoredSession { version, idle_until, expires_at: _, body } = stored;
        let key = keys.named(token.key_name()).ok_or(UNREADABLE)?;
        let prk = key.with_secret(token.secret());
        // The cookie names the key, so whatever does not open was changed or cut: trouble of ours, not of the caller.
        let plain = crypto::open(&prk, kind.seal(), &context(&id, *version), body.as_bytes()).ok_or(UNREADABLE)?;
        let content: Content = serde_json::from_slice(&plain).map_err(|_| UNREADABLE)?;
        Ok((now < end(stored, &content)).then(|| Self::new(kind, token, id, *version, *idle_until, content)))
    }

    /// Takes over what a browser keeps itself; no store knows it by any name.
    pub(crate) fn in_browser(content: Content, idle_until: u64) -> Self {
        let (kind, token, id) = (Kind::Session, SessionToken::of_no_store(), SessionHash::from_bytes([0; 32]));
        Self::new(kind, token, id, 0, UnixSeconds::new(idle_until), content)
    }

    /// Tells whether it is alive, by its own words and the store's.
    pub(crate) fn lives(&self, stored: &StoredSession, now: UnixSeconds) -> bool {
        now < end(stored, &self.content)
    }

    /// Returns who is logged in.
    pub(crate) fn identity(&self) -> Result<Option<CheckedClaims>, Failure> {
        if let Some(checked) = self.checked.get() {
            return Ok(Some(checked.clone()));
        }
        let checked = self.content.identity.as_ref().map(Identity::checked).transpose()?;
        Ok(checked.map(|checked| self.checked.get_or_init(|| checked).clone()))
    }

    /// Makes the principal of whoever is logged in.
    pub(crate) fn principal(&self) -> Result<Option<Principal>, Failure> {
        Ok(self.identity()?.map(CheckedClaims::into_principal))
    }

    /// Seals the same content as one that nobody writes to or logs in by any more, and that nobody reads after `grace`.
    ///
    /// INVARIANT: for the store it lives on for a while whatever the grace is, so that whoever ends sessions by a tag still
    /// meets it, and looks again for what came of it.
    pub(crate) fn retire(
        &self,
        keys: &SessionKeys,
        now: UnixSeconds,
        grace: Duration,
    ) -> Result<SessionUpdate, Failure> {
        let ends_at = now.saturating_add(grace).as_secs().min(self.content.ends_at);
        let content = Content { superseded: true, ends_at, ..self.content.clone() };
        let until = now.saturating_add(grace.max(RETIRED));
        self.update(keys, &content, until, until)
    }

    /// Seals another content for the same id, as the version that follows.
    pub(crate) fn update(
        &self,
        keys: &SessionKeys,
        content: &Content,
        idle_until: UnixSeconds,
        expires_at: UnixSeconds,
    ) -> Result<SessionUpdate, Failure> {
        let key = keys.named(self.token.key_name()).ok_or(UNREADABLE)?;
        let body = seal(key, self.kind, &self.token, self.version.saturating_add(1), content)?;
        Ok(SessionUpdate { idle_until, expires_at, body })
    }
}

fn end(stored: &StoredSession, content: &Content) -> UnixSeconds {
    stored.idle_until.min(stored.expires_at).min(UnixSeconds::new(content.ends_at))
}

/// Seals a new session for a store.
pub(crate) fn new_session(
    keys: &SessionKeys,
    kind: Kind,
    token: &SessionToken,
    content: &Content,
    device: Option<&str>,
    idle_until: UnixSeconds,
) -> Result<NewSession, Failure> {
    let (key, id) = (keys.current(), kind.hash(token));
    let body = seal(key, kind, token, 1, content)?;
    let card = Card {
        handle: content.handle.clone(),
        created_at: content.created_at,
        device: device.map(Into::into),
        is_remembered: kind == Kind::Remembered,
    };
    let card = serde_json::to_vec(&card).map_err(|_| UNREADABLE)?;
    let card = Sealed::from_bytes(keys.seal(CARD, id.as_bytes(), &card)?);
    let mut tags = vec![handle_tag(key, &content.handle)];
    if let Some(identity) = &content.identity {
        let principal = identity.checked()?.into_principal();
        tags.push(subject_tag(key, &principal.id()));
        let issuer = principal.issuer();
        tags.extend(principal.session_id().map(|sid| provider_tag(key, issuer, &sid)));
        tags.extend(principal.client().map(|client| client_tag(key, issuer, client)));
    }
    Ok(NewSession { idle_until, expires_at: UnixSeconds::new(content.ends_at), tags, card, body })
}

fn seal(
    key: &SessionKey,
    kind: Kind,
    token: &SessionToken,
    version: u64,
    content: &Content,
) -> Result<Sealed, Failure> {
    let plain = zeroize::Zeroizing::new(serde_json::to_vec(content).map_err(|_| UNREADABLE)?);
    if plain.len() > NewSession::MAX_BODY - crypto::OVERHEAD {
        return Err(Failure::new(FailureKind::Misconfigured, "the data of a session are longer than 256 KiB"));
    }
    let prk = key.with_secret(token.secret());
    let context = context(&kind.hash(token), version);
    Ok(Sealed::from_bytes(crypto::seal(&prk, kind.seal(), &context, &plain)?))
}

/// Binds a record to its name and version: a store cannot pass one off for another.
fn context(id: &SessionHash, version: u64) -> [u8; 40] {
    let mut context = [0; 40];
    let (name, number) = context.split_at_mut(32);
    name.copy_from_slice(id.as_bytes());
    number.copy_from_slice(&version.to_be_bytes());
    context
}

/// Is what lists show of a session; the service can read it without the cookie.
#[derive(Serialize, Deserialize)]
pub(crate) struct Card {
    #[serde(rename = "h")]
    pub(crate) handle: Box<str>,
    #[serde(rename = "c")]
    pub(crate) created_at: u64,
    #[serde(rename = "d", default, skip_serializing_if = "Option::is_none")]
    pub(crate) device: Option<Box<str>>,
    #[serde(rename = "r", default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) is_remembered: bool,
}

impl Card {
    pub(crate) fn open(keys: &SessionKeys, id: &SessionHash, sealed: &Sealed) -> Option<Self> {
        serde_json::from_slice(&keys.open(CARD, id.as_bytes(), sealed.as_bytes())?).ok()
    }
}

pub(crate) fn handle_tag(key: &SessionKey, handle: &str) -> SessionTag {
    key.tag("handle", &[handle.as_bytes()])
}

pub(crate) fn subject_tag(key: &SessionKey, subject: &SubjectId) -> SessionTag {
    key.tag("subject", &[subject.issuer().as_bytes(), subject.subject().as_bytes()])
}

pub(crate) fn provider_tag(key: &SessionKey, issuer: &str, sid: &str) -> SessionTag {
    key.tag("provider session", &[issuer.as_bytes(), sid.as_bytes()])
}

pub(crate) fn client_tag(key: &SessionKey, issuer: &str, client: &str) -> SessionTag {
    key.tag("client", &[issuer.as_bytes(), client.as_bytes()])
}

/// No pass through a list of sessions should take longer.
pub(crate) const RETIRED: Duration = Duration::from_secs(10);

const CARD: &str = "card";

const UNREADABLE: Failure = Failure::unavailable("a session's record cannot be opened");

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use sekisho_core::dangerous::PrincipalBuilder;

    use super::*;
    use crate::SessionKey;

    const NOW: UnixSeconds = UnixSeconds::new(1_800_000_000);
    const END: UnixSeconds = UnixSeconds::new(1_800_003_600);

    fn content(identity: Option<Identity>) -> Content {
        Content {
            handle: "h".into(),
            created_at: NOW.as_secs(),
            ends_at: END.as_secs(),
            superseded: false,
            identity,
            data: Map::from_iter([("cart".to_owned(), Value::from("s3cret"))]),
        }
    }

    fn stored(new: &NewSession) -> StoredSession {
        let NewSession { idle_until, expires_at, body, .. } = new.clone();
        StoredSession { version: 1, idle_until, expires_at, body }
    }

    #[test]
    fn a_principal_survives_and_its_tokens_own_times_and_binding_do_not() {
        let principal = PrincipalBuilder::new("https://id.example", "alice")
            .with_scope("a b")
            .with_client("shop")
            .with_roles(["admin"])
            .with_tenant("acme")
            .with_claim("sid", "s1")
            .with_claim("nbf", 5)
            .with_claim("cnf", serde_json::json!({ "jkt": "x" }))
            .with_expiry(NOW)
            .build()
            .unwrap();
        let identity = Identity::of(&principal, NOW, END.as_secs()).unwrap();
        let again = identity.checked().unwrap().into_principal();
        assert_eq!(again.id(), principal.id());
        assert_eq!((again.scope(), again.client(), again.tenant()), ("a b", Some("shop"), Some("acme")));
        assert_eq!(again.roles(), principal.roles());
        assert_eq!((again.expires_at(), again.authenticated_at()), (Some(END), Some(NOW)));
        assert_eq!(again.session_id().as_deref(), Some("s1"));
        assert!(again.confirmation().is_none() && again.claims().get("cnf").is_none());
        assert!(again.claims().get("nbf").is_none());
    }

    #[test]
    fn a_record_opens_with_cookie_and_key_together_and_under_its_own_name_and_version() {
        let keys = SessionKeys::new(SessionKey::generate().unwrap());
        let token = SessionToken::generate(keys.current().name()).unwrap();
        let new = new_session(&keys, Kind::Session, &token, &content(None), Some("Firefox"), END).unwrap();
        let open = |keys: &SessionKeys, token: &SessionToken, stored: &StoredSession| {
            Loaded::open(keys, Kind::Session, token.clone(), stored, NOW).map(|loaded| loaded.is_some())
        };
        assert!(matches!(open(&keys, &token, &stored(&new)), Ok(true)));
        let remembered = Loaded::open(&keys, Kind::Remembered, token.clone(), &stored(&new), NOW);
        assert!(remembered.is_err(), "one kind is not taken for the other");
        let other_token = SessionToken::generate(keys.current().name()).unwrap();
        assert!(open(&keys, &other_token, &stored(&new)).is_err());
        assert!(open(&SessionKeys::new(SessionKey::generate().unwrap()), &token, &stored(&new)).is_err());
        assert!(open(&keys, &token, &StoredSession { version: 2, ..stored(&new) }).is_err());
        for garbage in [vec![], vec![0; 10], vec![1; 400]] {
            let changed = StoredSession { body: Sealed::from_bytes(garbage), ..stored(&new) };
            let failure = open(&keys, &token, &changed).unwrap_err();
            assert_eq!(failure.kind(), FailureKind::Unavailable);
        }
        let card = Card::open(&keys, &Kind::Session.hash(&token), &new.card).unwrap();
        assert_eq!((&*card.handle, card.device.as_deref()), ("h", Some("Firefox")));
        assert!(Card::open(&keys, &Kind::Session.hash(&other_token), &new.card).is_none());
    }

    #[test]
    fn whatever_the_store_says_the_record_knows_its_own_end() {
        let keys = SessionKeys::new(SessionKey::generate().unwrap());
        let token = SessionToken::generate(keys.current().name()).unwrap();
        let new = new_session(&keys, Kind::Session, &token, &content(None), None, END).unwrap();
        let forever = StoredSession { idle_until: UnixSeconds::MAX, expires_at: UnixSeconds::MAX, ..stored(&new) };
        let at = |now| Loaded::open(&keys, Kind::Session, token.clone(), &forever, now).unwrap().is_some();
        assert!(at(END.saturating_sub(Duration::from_secs(1))));
        assert!(!at(END));
        let idle = StoredSession { idle_until: NOW, ..stored(&new) };
        assert!(Loaded::open(&keys, Kind::Session, token, &idle, NOW).unwrap().is_none());
    }

    #[test]
    fn what_a_store_gets_shows_nothing_of_anybody() {
        let keys = SessionKeys::new(SessionKey::generate().unwrap());
        let token = SessionToken::generate(keys.current().name()).unwrap();
        let principal = PrincipalBuilder::new("https://id.example", "alice").with_client("shop").build().unwrap();
        let identity = Identity::of(&principal, NOW, END.as_secs()).unwrap();
        let new = new_session(&keys, Kind::Session, &token, &content(Some(identity)), Some("Firefox"), END).unwrap();
        let tags: Vec<u8> = new.tags.iter().flat_map(|tag| *tag.as_bytes()).collect();
        let all = [new.body.as_bytes(), new.card.as_bytes(), &tags].concat();
        for secret in ["s3cret", "alice", "id.example", "shop", "Firefox", &token.to_text()] {
            assert!(!all.windows(secret.len()).any(|window| window == secret.as_bytes()), "{secret}");
        }
        assert!(!all.windows(32).any(|window| window == token.secret()));
        assert_eq!(new.tags.len(), 3);
    }

    #[test]
    fn data_that_are_too_long_are_our_own_fault() {
        let keys = SessionKeys::new(SessionKey::generate().unwrap());
        let token = SessionToken::generate(keys.current().name()).unwrap();
        let mut long = content(None);
        long.data.insert("x".into(), "x".repeat(NewSession::MAX_BODY).into());
        let failure = new_session(&keys, Kind::Session, &token, &long, None, END).unwrap_err();
        assert_eq!(failure.kind(), FailureKind::Misconfigured);
    }
}
