use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use redis::Value;
use sekisho_core::{Failure, FailureKind, UnixSeconds};
use sekisho_issuer::{Grant, GrantId, HandleHash, StoredRecord};

use crate::Redis;
use crate::error::{Fault, FaultKind};
use crate::names::{base64url, digest_of};
use crate::reply;
use crate::script::Script;

#[macro_use]
mod lua;

mod counts;
mod devices;
mod grants;
mod index;
mod sessions;

/// Keeps everything of an issuer but its users and keys in Redis, for all its instances.
///
/// It implements [`GrantStore`](sekisho_issuer::GrantStore), [`SsoStore`](sekisho_issuer::SsoStore),
/// [`DeviceStore`](sekisho_issuer::DeviceStore) and [`CountStore`](sekisho_issuer::CountStore). Each method is one script, and so atomic.
///
/// **In a cluster** a script sees one slot. What hangs together stands together: grants with their codes, refresh tokens, reference tokens
/// and device requests in one slot, logins in another, each on one server, so an issuer grows no further than one Redis does; the others
/// carry counts, consents and withdrawals, which are spread. While one of these two slots is moved to another
/// server, calls fail with 503; a failover does not need that. Two issuers have two prefixes, and so other slots.
///
/// **Durable** is what Redis makes so: with `appendonly yes` and `appendfsync always` a call that returned is on disk, and with
/// `min-replicas-to-write 1` a master without replica refuses. A failover loses the last moment all the same: a code that was taken then,
/// or a grant that was revoked, could live again. Who cannot live with that takes the stores in SQL.
///
/// Names of users do not stand in keys, but records are readable in Redis. Nothing is dropped to make room: a full Redis, or a user with
/// 10,000 grants or logins, is a failure.
///
/// # Examples
/// ```
/// use std::sync::Arc;
/// use sekisho_issuer::IssuerStore;
/// use sekisho_redis::{Redis, RedisIssuerStore, RedisKeyStore};
/// let redis = Redis::standalone("rediss://issuer:p4ssword@redis.example").with_prefix("id").build()?;
/// let store: Arc<dyn IssuerStore> = Arc::new(RedisIssuerStore::new(redis.clone()));
/// let keys = RedisKeyStore::new(redis);
/// # let _ = (store, keys);
/// # Ok::<(), sekisho_core::ConfigError>(())
/// ```
#[derive(Clone)]
pub struct RedisIssuerStore(Arc<Inner>);

struct Inner {
    redis: Redis,
    grants: grants::Scripts,
    sessions: sessions::Scripts,
    devices: devices::Scripts,
    counts: counts::Scripts,
}

impl RedisIssuerStore {
    /// Makes a store; issuers that share a Redis need [prefixes](crate::RedisBuilder::with_prefix) of their own.
    #[must_use]
    pub fn new(redis: Redis) -> Self {
        let (grants, sessions) = (grants::Scripts::new(), sessions::Scripts::new());
        let (devices, counts) = (devices::Scripts::new(), counts::Scripts::new());
        Self(Arc::new(Inner { redis, grants, sessions, devices, counts }))
    }
}

impl Inner {
    /// Names a key of the slot where grants are.
    fn grant_slot(&self, kind: &str, name: &str) -> String {
        format!("{{{}:grants}}:{kind}:{name}", self.redis.config().prefix)
    }

    /// Names a key of the slot where logins are.
    fn session_slot(&self, kind: &str, name: &str) -> String {
        format!("{{{}:logins}}:{kind}:{name}", self.redis.config().prefix)
    }

    fn grant_key(&self, id: &GrantId) -> String {
        self.grant_slot("grant", id.as_str())
    }

    fn hash_key(&self, kind: &str, hash: &HandleHash) -> String {
        self.grant_slot(kind, &base64url(hash.as_bytes()))
    }

    fn grants_of_subject(&self, subject: &str) -> String {
        self.grant_slot("of-subject", &base64url(&digest_of(&[subject.as_bytes()])))
    }

    fn grants_of_session(&self, sid: &str) -> String {
        self.grant_slot("of-session", &base64url(&digest_of(&[sid.as_bytes()])))
    }

    /// Names a key that stands alone, in whatever slot.
    fn lone_key(&self, kind: &str, names: &[&[u8]]) -> String {
        self.redis.key(kind, &base64url(&digest_of(names)))
    }
}

impl fmt::Debug for RedisIssuerStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisIssuerStore").field("redis", &self.0.redis).finish_non_exhaustive()
    }
}

/// Lua counts in floating point: beyond this nobody's clock goes.
fn seconds(instant: UnixSeconds) -> u64 {
    instant.as_secs().min(1 << 50)
}

/// Returns for how many seconds Redis keeps what ends at `until`: a minute more, for clocks that differ.
fn kept(until: UnixSeconds, now: UnixSeconds) -> u64 {
    until.since(now).min(FOREVER).as_secs() + SKEW
}

fn bytes_of(record: &impl StoredRecord) -> Result<Vec<u8>, Failure> {
    Ok(record.to_bytes()?)
}

fn record<R: StoredRecord>(value: Value) -> Result<R, Failure> {
    let bytes = reply::bytes(value)?;
    // What was read is not what we wrote: no fault of the configuration.
    R::from_bytes(&bytes).map_err(|error| {
        Failure::new(FailureKind::BadGateway, "redis holds what is no record of the issuer").with_source(error)
    })
}

fn content() -> Failure {
    Fault::new(FaultKind::Content).into()
}

/// Takes an answer of so many parts apart; `None` stands for "nothing alive".
fn parts<const N: usize>(answer: Value) -> Result<Option<[Value; N]>, Failure> {
    match answer {
        Value::Nil => Ok(None),
        answer => <[Value; N]>::try_from(reply::array(answer)?).map(Some).map_err(|_| content()),
    }
}

/// Reads an instant that a script kept.
fn instant(value: Value) -> Result<UnixSeconds, Failure> {
    let text = reply::text(value)?;
    text.parse().map(UnixSeconds::new).map_err(|_| content())
}

/// Adds what a grant needs to be kept, for the function `keep_grant` of the scripts: four arguments and three keys.
struct KeptGrant {
    keys: [String; 3],
    arguments: [Vec<u8>; 4],
}

impl KeptGrant {
    fn new(inner: &Inner, grant: &Grant, now: UnixSeconds) -> Result<Self, Failure> {
        let subject = inner.grants_of_subject(&grant.subject);
        // Without a session the index of the subject stands for both.
        let session = grant.sid.as_deref().map_or_else(|| subject.clone(), |sid| inner.grants_of_session(sid));
        let end = seconds(grant.expires_at).to_string();
        let kept = kept(grant.expires_at, now).to_string();
        Ok(Self {
            keys: [inner.grant_key(&grant.id), subject, session],
            arguments: [grant.id.as_str().into(), bytes_of(grant)?, end.into(), kept.into()],
        })
    }
}

fn too_many() -> Failure {
    Failure::unavailable("one user has too many grants or logins").with_retry_after(Duration::from_secs(60))
}

const SKEW: u64 = 60;
/// Redis takes no later end.
const FOREVER: Duration = Duration::from_secs(100 * 366 * 86_400);
