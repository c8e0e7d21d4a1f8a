use std::fmt;
use std::time::Duration;

use sekisho_core::UnixSeconds;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use crate::{GrantId, HandleHash, ScopeSet};

/// Is what a client may do for a user, and the root of every token made of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Grant {
    /// Names it.
    pub id: GrantId,
    /// To whom it was given.
    pub client_id: String,
    /// Who gave it.
    pub subject: String,
    /// The login session that it ends with; `None` when it outlives it (`offline_access`).
    #[serde(deserialize_with = "present")]
    pub sid: Option<String>,
    /// What is allowed.
    pub scope: ScopeSet,
    /// For which resource servers.
    pub audience: Vec<String>,
    /// How the user had logged in.
    pub authentication: Authentication,
    /// When it was given.
    #[serde(with = "seconds")]
    pub created_at: UnixSeconds,
    /// When it ends.
    #[serde(with = "seconds")]
    pub expires_at: UnixSeconds,
}

/// Says how and when a user logged in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Authentication {
    /// `auth_time`
    #[serde(with = "seconds")]
    pub time: UnixSeconds,
    /// `acr`
    #[serde(deserialize_with = "present")]
    pub context: Option<String>,
    /// `amr`
    pub methods: Vec<String>,
}

/// Is an authorization code, and what must come with it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct CodeRecord {
    /// Stands for the code.
    pub code: HandleHash,
    /// The grant that waits for it.
    pub grant: GrantId,
    /// The redirect URI that it was sent to.
    pub redirect_uri: String,
    /// The SHA-256 of the PKCE verifier, as the client sent it.
    pub code_challenge: String,
    /// The `nonce` for the ID token.
    #[serde(deserialize_with = "present")]
    pub nonce: Option<String>,
    /// When it ends.
    #[serde(with = "seconds")]
    pub expires_at: UnixSeconds,
    /// How long a replay must be recognized.
    #[serde(with = "seconds")]
    pub remembered_until: UnixSeconds,
}

/// Is one chain of refresh tokens, of which one at a time is good.
///
/// A refresh token is two secrets, one that stays and one that changes. Who shows the first with another second has an old token.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct RefreshFamily {
    /// Stands for the secret that stays.
    pub family: HandleHash,
    /// Stands for the secret that is good now.
    pub current: HandleHash,
    /// The grant that it renews.
    pub grant: GrantId,
    /// When it ends unless it is used.
    #[serde(with = "seconds")]
    pub idle_until: UnixSeconds,
    /// When it ends.
    #[serde(with = "seconds")]
    pub expires_at: UnixSeconds,
}

/// Is a reference token and what it stands for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct ReferenceRecord {
    /// Stands for the token.
    pub token: HandleHash,
    /// The grant that it ends with.
    #[serde(deserialize_with = "present")]
    pub grant: Option<GrantId>,
    /// Whose it is.
    pub client_id: String,
    /// What a JWT would say.
    pub claims: Claims,
    /// When it ends.
    #[serde(with = "seconds")]
    pub expires_at: UnixSeconds,
}

/// Holds the claims of an access token. `Debug` shows their number, for they are personal data.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Claims(pub(crate) Map<String, Value>);

impl fmt::Debug for Claims {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Claims({})", self.0.len())
    }
}

/// Is a login that the user's browser holds, for all clients.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct SsoSession {
    /// Stands for the cookie.
    pub session: HandleHash,
    /// The `sid` of tokens. It stays when the user logs in again and the cookie changes.
    pub sid: String,
    /// Who is logged in.
    pub subject: String,
    /// How and when.
    pub authentication: Authentication,
    /// When it ends unless it is used.
    #[serde(with = "seconds")]
    pub idle_until: UnixSeconds,
    /// When it ends.
    #[serde(with = "seconds")]
    pub expires_at: UnixSeconds,
}

/// Is a device that waits for a user's word.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct DeviceRequest {
    /// Stands for the device code.
    pub device: HandleHash,
    /// Stands for the user code.
    pub user_code: HandleHash,
    /// Which client it is.
    pub client_id: String,
    /// What it asks for.
    pub scope: ScopeSet,
    /// For which resource servers.
    pub audience: Vec<String>,
    /// How long to wait between two questions, at first.
    pub interval: Duration,
    /// When it ends.
    #[serde(with = "seconds")]
    pub expires_at: UnixSeconds,
}

impl DeviceRequest {
    /// How long a store remembers a request after its end.
    pub const REMEMBERED: Duration = Duration::from_secs(600);
    /// By how much longer a device has to wait that asked too soon.
    pub const SLOW_DOWN: Duration = Duration::from_secs(5);
}

/// Reads what may be `null` but not absent: a token whose grant got lost would outlive it.
fn present<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    Option::deserialize(deserializer)
}

/// Writes instants as numbers.
mod seconds {
    use sekisho_core::UnixSeconds;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(instant: &UnixSeconds, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(instant.as_secs())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<UnixSeconds, D::Error> {
        u64::deserialize(deserializer).map(UnixSeconds::new)
    }
}
