use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use argon2::password_hash::phc;
use argon2::{Algorithm, Argon2, KeyId, Params, ParamsBuilder, PasswordHasher as _, PasswordVerifier as _, Version};
use aws_lc_rs::hmac;
use sekisho_core::{ConfigError, Failure, FailureKind, Secret};
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

use crate::Password;
use crate::random::random;

/// Says how much work a password hash is: argon2id ([RFC 9106](https://www.rfc-editor.org/rfc/rfc9106)) version 0x13.
///
/// Default: 19,456 KiB, 2 passes, 1 lane, the least that OWASP's cheat sheet recommends. Passwords that were hashed
/// with less are hashed anew when their owner logs in. See the README for what that costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HashPolicy {
    memory_kib: u32,
    passes: u32,
    lanes: u32,
}

impl HashPolicy {
    /// Chooses the memory in KiB, the passes over it, and the lanes.
    ///
    /// # Errors
    /// [`ConfigError`] for less than one of the equal settings of the cheat sheet (46 MiB × 1, 19 MiB × 2, 12 MiB × 3,
    /// 9 MiB × 4, 7 MiB × 5), for more than 1 GiB, 64 passes or 16 lanes.
    pub fn new(memory_kib: u32, passes: u32, lanes: u32) -> Result<Self, ConfigError> {
        let least = match passes {
            0 => u32::MAX,
            1 => 47_104,
            2 => 19_456,
            3 => 12_288,
            4 => 9_216,
            _ => 7_168,
        };
        let policy = Self::dangerous_new(memory_kib, passes, lanes);
        if memory_kib < least || !policy.is_bounded() {
            return Err(ConfigError::new(
                "a password hash wants at least 47104 KiB and 1 pass, 19456 and 2, 12288 and 3, 9216 and 4, or 7168 and 5; \
                 at most 1048576 KiB, 64 passes and 16 lanes",
            ));
        }
        Ok(policy)
    }

    /// Chooses as [`new`](Self::new), with no least amount: for tests, in which the default would take most of the
    /// time.
    ///
    /// What argon2 itself refuses, such as less than 8 KiB for each lane, is an error when the hasher is built.
    #[must_use]
    pub const fn dangerous_new(memory_kib: u32, passes: u32, lanes: u32) -> Self {
        Self { memory_kib, passes, lanes }
    }

    const fn is_bounded(self) -> bool {
        self.memory_kib <= MOST_MEMORY_KIB && self.passes <= 64 && self.lanes <= 16 && self.lanes > 0
    }

    /// The work in KiB times passes, by which two policies are compared.
    const fn work(self) -> u64 {
        self.memory_kib as u64 * self.passes as u64
    }

    fn of(params: &Params) -> Self {
        Self { memory_kib: params.m_cost(), passes: params.t_cost(), lanes: params.p_cost() }
    }
}

/// A hash in the database that asks for more would be a way to exhaust memory.
const MOST_MEMORY_KIB: u32 = 1 << 20;

impl Default for HashPolicy {
    fn default() -> Self {
        Self { memory_kib: 19_456, passes: 2, lanes: 1 }
    }
}

/// Is a second ingredient of password hashes that is not in the database: whoever steals only that cannot guess at all.
///
/// A password goes through HMAC-SHA-256 under this key before it is hashed. The hash names the pepper by its id
/// (`keyid` of the PHC string), so peppers can be changed: hashes move to the current one as their owners log in. A
/// pepper that is lost locks everybody out whose hash has it. `Debug` shows the id only.
#[derive(Clone)]
pub struct Pepper {
    id: KeyId,
    key: Secret,
}

impl Pepper {
    /// Takes an id, which stands in the database, and a key of at least 32 random bytes.
    ///
    /// # Errors
    /// [`ConfigError`] unless the id has 1 to 8 bytes and the key 32 to 128.
    pub fn new(id: &str, key: Secret) -> Result<Self, ConfigError> {
        match KeyId::new(id.as_bytes()) {
            Ok(id) if !id.is_empty() && (32..=128).contains(&key.len()) => Ok(Self { id, key }),
            _ => Err(ConfigError::new("a pepper wants an id of 1 to 8 bytes and a key of 32 to 128 bytes")),
        }
    }
}

impl fmt::Debug for Pepper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pepper({})", String::from_utf8_lossy(self.id.as_bytes()).escape_debug())
    }
}

/// Is a hashed password as a [PHC string](https://github.com/P-H-C/phc-string-format/blob/master/phc-sf-spec.md).
/// `Debug` shows nothing.
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordHash(String);

impl PasswordHash {
    /// Takes over a hash that is kept already: argon2id, argon2i or argon2d as a PHC string of at most 512 bytes, with
    /// salt and output. `None` for anything else.
    ///
    /// One that is not argon2id, or less work than the policy, is replaced at the next login.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let hash = (text.len() <= 512).then(|| phc::PasswordHash::new(text).ok()).flatten()?;
        let is_known = Algorithm::try_from(hash.algorithm.as_str()).is_ok() && Params::try_from(&hash).is_ok();
        (is_known && hash.salt.is_some() && hash.hash.is_some()).then(|| Self(text.to_owned()))
    }

    /// Reads the PHC string, to be kept. It is not for logs.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordHash(..)")
    }
}

/// Hashes passwords, some at a time, on threads for blocking work.
///
/// At most `concurrent` hashes run at once (default: as many as there are processors), each with the memory of its
/// policy; `waiting` more wait (default 64); what comes then is a [`Failure`] that says when to come again, HTTP 503.
/// Clones share all of that. A hash whose caller has gone away runs to its end, and counts until then.
#[derive(Clone)]
pub struct PasswordHasher {
    shared: Arc<Shared>,
    running: Arc<Semaphore>,
    queue: Arc<Semaphore>,
}

struct Shared {
    policy: HashPolicy,
    params: Params,
    pepper: Option<Pepper>,
    older_peppers: Vec<Pepper>,
    dummy: PasswordHash,
    hashes: AtomicU64,
    work: AtomicU64,
}

impl PasswordHasher {
    /// Builds a hasher without pepper. Hashes once, on this thread, a password that nobody has.
    ///
    /// # Errors
    /// [`ConfigError`] when argon2 refuses the policy.
    pub fn new(policy: HashPolicy) -> Result<Self, ConfigError> {
        Self::with_peppers(policy, None, Vec::new())
    }

    /// Builds a hasher with a pepper for new hashes, and others that older hashes have.
    ///
    /// # Errors
    /// [`ConfigError`] when argon2 refuses the policy, and when two peppers have one id.
    pub fn with_peppers(
        policy: HashPolicy,
        pepper: Option<Pepper>,
        older_peppers: Vec<Pepper>,
    ) -> Result<Self, ConfigError> {
        let mut ids: Vec<KeyId> = pepper.iter().chain(&older_peppers).map(|pepper| pepper.id).collect();
        let count = ids.len();
        ids.sort_unstable();
        ids.dedup();
        if ids.len() < count {
            return Err(ConfigError::new("two peppers have one id"));
        }
        let refused = || ConfigError::new("argon2 refuses the policy for password hashes");
        if !policy.is_bounded() {
            return Err(refused());
        }
        let mut builder = ParamsBuilder::new();
        builder.m_cost(policy.memory_kib).t_cost(policy.passes).p_cost(policy.lanes);
        if let Some(pepper) = &pepper {
            builder.keyid(pepper.id);
        }
        let params = builder.build().map_err(|error| refused().with_source(error))?;
        let mut shared = Shared {
            policy,
            params,
            pepper,
            older_peppers,
            dummy: PasswordHash(String::new()),
            hashes: AtomicU64::new(0),
            work: AtomicU64::new(0),
        };
        let nobodys = random::<32>().map_err(|error| refused().with_source(error))?;
        shared.dummy = shared.hash(&nobodys).map_err(|error| refused().with_source(error))?;
        let concurrent = std::thread::available_parallelism().map_or(2, usize::from);
        let (running, queue) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
        Ok(Self { shared: Arc::new(shared), running, queue }.with_limits(concurrent, 64))
    }

    /// Sets how many hashes run at once and how many more wait. At least one runs; both are cut to 4,096.
    #[must_use]
    pub fn with_limits(mut self, concurrent: usize, waiting: usize) -> Self {
        let concurrent = concurrent.clamp(1, 4096);
        self.running = Arc::new(Semaphore::new(concurrent));
        self.queue = Arc::new(Semaphore::new(concurrent + waiting.min(4096)));
        self
    }

    /// Hashes a new password.
    ///
    /// # Errors
    /// [`Failure`]: too many wait already (unavailable), or argon2 or the system broke.
    pub async fn hash(&self, password: &Password) -> Result<PasswordHash, Failure> {
        let password = Zeroizing::new(password.expose().to_vec());
        self.run(move |shared| shared.hash(&password)).await
    }

    /// Checks a password against a hash, or against nobody's when there is none: that is as much work, and is never
    /// right.
    ///
    /// A wrong password is as much work as the policy says also when the hash is of less, so that time does not tell
    /// which accounts are old. `None` for `password` is one that no account can have.
    ///
    /// # Errors
    /// As for [`hash`](Self::hash); and misconfigured, when the hash has a pepper that is not known here or asks for
    /// more than 1 GiB.
    pub async fn verify(
        &self,
        password: Option<&Password>,
        hash: Option<&PasswordHash>,
    ) -> Result<PasswordVerdict, Failure> {
        // No text of UTF-8 has this byte.
        let typed = Zeroizing::new(password.map_or(&[0xff][..], Password::expose).to_vec());
        let hash = password.and(hash).cloned();
        self.run(move |shared| shared.verify(&typed, hash.as_ref())).await
    }

    /// Returns what has been done so far, for metrics.
    #[must_use]
    pub fn work(&self) -> HashWork {
        HashWork {
            hashes: self.shared.hashes.load(Ordering::Relaxed),
            kib_passes: self.shared.work.load(Ordering::Relaxed),
        }
    }

    async fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce(&Shared) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        let place = Arc::clone(&self.queue).try_acquire_owned().map_err(|_| {
            Failure::unavailable("too many passwords are being checked").with_retry_after(Duration::from_secs(1))
        })?;
        let stopped = || Failure::unavailable("password hashing has stopped");
        let running = Arc::clone(&self.running).acquire_owned().await.map_err(|_| stopped())?;
        let shared = Arc::clone(&self.shared);
        // The permits go along: when this future is dropped, the thread still works, and still counts.
        let job = tokio::task::spawn_blocking(move || {
            let _permits = (place, running);
            job(&shared)
        });
        job.await.map_err(|_| stopped())?
    }
}

impl fmt::Debug for PasswordHasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Shared { policy, pepper, older_peppers, .. } = &*self.shared;
        f.debug_struct("PasswordHasher")
            .field("policy", policy)
            .field("pepper", pepper)
            .field("older_peppers", older_peppers)
            .finish_non_exhaustive()
    }
}

/// Says whether a password fits a hash.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "a further verdict must break every caller's match")]
pub enum PasswordVerdict {
    /// It does not, or there is no hash.
    Wrong,
    /// It does.
    Right,
    /// It does, and the hash falls short of the policy or has another pepper: what to keep in its place.
    RightAndStale(PasswordHash),
}

/// Counts what a [`PasswordHasher`] has done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct HashWork {
    /// Calls of argon2.
    pub hashes: u64,
    /// Memory in KiB times passes, over all calls: what the time goes with.
    pub kib_passes: u64,
}

impl Shared {
    fn hash(&self, password: &[u8]) -> Result<PasswordHash, Failure> {
        let salt = random::<16>()?;
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, self.params.clone());
        self.count(self.policy);
        let hash = argon2.hash_password_with_salt(&peppered(self.pepper.as_ref(), password), &salt).map_err(broken)?;
        Ok(PasswordHash(hash.to_string()))
    }

    fn verify(&self, password: &[u8], hash: Option<&PasswordHash>) -> Result<PasswordVerdict, Failure> {
        let parsed = phc::PasswordHash::new(&hash.unwrap_or(&self.dummy).0).map_err(|_| UNUSABLE)?;
        let params = Params::try_from(&parsed).map_err(|_| UNUSABLE)?;
        let policy = HashPolicy::of(&params);
        if !policy.is_bounded() {
            return Err(UNUSABLE);
        }
        let pepper = self.pepper_for(params.keyid())?;
        self.count(policy);
        match Argon2::default().verify_password(&peppered(pepper, password), &parsed) {
            Ok(()) if hash.is_none() => Ok(PasswordVerdict::Wrong),
            Ok(()) if self.is_stale(&parsed, &params) => self.hash(password).map(PasswordVerdict::RightAndStale),
            Ok(()) => Ok(PasswordVerdict::Right),
            Err(argon2::password_hash::Error::PasswordInvalid) => {
                self.make_up(policy)?;
                Ok(PasswordVerdict::Wrong)
            }
            Err(error) => Err(broken(error)),
        }
    }

    fn is_stale(&self, hash: &phc::PasswordHash, params: &Params) -> bool {
        let policy = HashPolicy::of(params);
        let is_argon2id = Algorithm::try_from(hash.algorithm.as_str()) == Ok(Algorithm::Argon2id);
        let is_current = hash.version == Some(Version::V0x13.into()) && params.keyid() == self.params.keyid();
        !is_argon2id
            || !is_current
            || policy.work() < self.policy.work()
            || policy.memory_kib < self.policy.memory_kib.min(SMALL_MEMORY_KIB)
    }

    /// Works as much as the policy asks for beyond `done`.
    fn make_up(&self, done: HashPolicy) -> Result<(), Failure> {
        let passes = self.policy.passes;
        let memory_kib = u32::try_from(self.policy.work().saturating_sub(done.work()) / u64::from(passes)).unwrap_or(0);
        let Ok(params) = Params::new(memory_kib, passes, 1, None) else {
            return Ok(()); // Less than the least that argon2 can do.
        };
        self.count(HashPolicy::of(&params));
        let mut out = [0; 32];
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        argon2.hash_password_into(b"nobody", b"no salt at all", &mut out).map_err(|error| broken(error.into()))?;
        std::hint::black_box(out);
        Ok(())
    }

    fn pepper_for(&self, id: &[u8]) -> Result<Option<&Pepper>, Failure> {
        if id.is_empty() {
            return Ok(None);
        }
        let mut peppers = self.pepper.iter().chain(&self.older_peppers);
        peppers.find(|pepper| pepper.id.as_bytes() == id).map(Some).ok_or(UNUSABLE)
    }

    fn count(&self, policy: HashPolicy) {
        self.hashes.fetch_add(1, Ordering::Relaxed);
        self.work.fetch_add(policy.work(), Ordering::Relaxed);
    }
}

/// With more passes less memory is as much work, down to this: then memory is what makes guessing in hardware dear.
const SMALL_MEMORY_KIB: u32 = 7_168;

const UNUSABLE: Failure = Failure::new(FailureKind::Misconfigured, "a stored password hash cannot be used");

fn broken(error: argon2::password_hash::Error) -> Failure {
    Failure::unavailable("password hashing failed").with_source(error)
}

fn peppered(pepper: Option<&Pepper>, password: &[u8]) -> Zeroizing<Vec<u8>> {
    Zeroizing::new(match pepper {
        None => password.to_vec(),
        Some(pepper) => {
            let key = hmac::Key::new(hmac::HMAC_SHA256, pepper.key.expose());
            hmac::sign(&key, password).as_ref().to_vec()
        }
    })
}

#[cfg(test)]
mod tests;
