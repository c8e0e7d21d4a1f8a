use std::fmt;
use std::time::Duration;

use base64_simd::URL_SAFE_NO_PAD;
use sekisho_core::{Failure, FailureKind, UnixSeconds};
use sekisho_jwt::Backend;
use zeroize::Zeroizing;

/// Is the beginning of a login.
#[derive(Clone)]
#[non_exhaustive]
pub struct LoginStart {
    /// Where to send the browser.
    pub url: String,
    /// What to keep until it returns: in this browser, and nowhere that another could put it.
    pub pending: PendingLogin,
}

impl fmt::Debug for LoginStart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // `state` and `nonce` stand in the address.
        f.write_str("LoginStart(..)")
    }
}

/// Is a login that is under way: `state`, `nonce`, PKCE verifier and what was asked for. Secret; `Debug` shows none of it.
///
/// Good for one return, within ten minutes unless [set otherwise](crate::ProviderBuilder::with_max_login_time): whoever keeps it
/// forgets it when it is handed to [`Provider::finish`](crate::Provider::finish).
#[derive(Clone)]
pub struct PendingLogin {
    pub(super) created_at: UnixSeconds,
    /// Digest of the provider's name and of who we are to it.
    pub(super) provider: [u8; 32],
    state: Random,
    nonce: Random,
    verifier: Random,
    pub(super) max_age: Option<u32>,
    pub(super) acr_values: Vec<Box<str>>,
}

impl PendingLogin {
    pub(super) fn new(backend: Backend, provider: [u8; 32], now: UnixSeconds) -> Result<Self, Failure> {
        let random = || Random::new(backend);
        let (state, nonce, verifier) = (random()?, random()?, random()?);
        Ok(Self { created_at: now, provider, state, nonce, verifier, max_age: None, acr_values: Vec::new() })
    }

    pub(super) fn with_demands(mut self, max_age: Option<Duration>, acr_values: &[Box<str>]) -> Self {
        // A bound of a century is none, and what has none asks for nothing less.
        self.max_age = max_age.map(|age| u32::try_from(age.as_secs()).unwrap_or(u32::MAX));
        self.acr_values = acr_values.to_vec();
        self
    }

    /// Returns `state`, by which the return finds it: 43 characters of base64url.
    #[must_use]
    pub fn state(&self) -> &str {
        &self.state.text
    }

    pub(super) fn nonce(&self) -> &str {
        &self.nonce.text
    }

    pub(super) fn verifier(&self) -> &str {
        &self.verifier.text
    }

    /// Tells whether it is too late at `now`; a clock that was set back by more than `leeway` makes it late too.
    pub(super) fn is_over(&self, longest: Duration, leeway: Duration, now: UnixSeconds) -> bool {
        now >= self.created_at.saturating_add(longest) || now.saturating_add(leeway) < self.created_at
    }

    /// Writes it down, to be sealed; at most 600 bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        let Self { created_at, provider, state, nonce, verifier, max_age, acr_values } = self;
        // Room for all of it: a vector that grows leaves copies behind.
        let mut bytes = Zeroizing::new(Vec::with_capacity(LONGEST));
        bytes.push(VERSION);
        bytes.extend_from_slice(&created_at.as_secs().to_be_bytes());
        bytes.extend_from_slice(provider);
        for random in [state, nonce, verifier] {
            bytes.extend_from_slice(&*random.bytes);
        }
        bytes.push(u8::from(max_age.is_some()));
        bytes.extend_from_slice(&max_age.unwrap_or_default().to_be_bytes());
        for value in acr_values {
            bytes.push(u8::try_from(value.len()).unwrap_or(u8::MAX));
            bytes.extend_from_slice(value.as_bytes());
        }
        bytes
    }

    /// Reads what [`to_bytes`](Self::to_bytes) wrote; `None` for anything else. It says nothing about who wrote it: that is the seal's to prove.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        if bytes.len() > LONGEST {
            return None;
        }
        let mut rest = bytes;
        let [VERSION] = take::<1>(&mut rest)? else { return None };
        let created_at = UnixSeconds::new(u64::from_be_bytes(take(&mut rest)?));
        let provider = take(&mut rest)?;
        let mut random = || take(&mut rest).map(Random::from_bytes);
        let (state, nonce, verifier) = (random()?, random()?, random()?);
        let [has_max_age] = take(&mut rest)?;
        let max_age = u32::from_be_bytes(take(&mut rest)?);
        let max_age = match (has_max_age, max_age) {
            (0, 0) => None,
            (1, age) => Some(age),
            _ => return None,
        };
        let mut acr_values = Vec::new();
        while let Some((length, after)) = rest.split_first() {
            let (value, after) = after.split_at_checked(usize::from(*length))?;
            let value = std::str::from_utf8(value).ok()?;
            if value.is_empty() || !value.bytes().all(|byte| byte.is_ascii_graphic()) {
                return None;
            }
            acr_values.push(value.into());
            rest = after;
        }
        Some(Self { created_at, provider, state, nonce, verifier, max_age, acr_values })
    }
}

impl fmt::Debug for PendingLogin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PendingLogin(..)")
    }
}

/// Holds 256 random bits, and their text.
#[derive(Clone)]
struct Random {
    bytes: Zeroizing<[u8; 32]>,
    text: Zeroizing<String>,
}

impl Random {
    fn new(backend: Backend) -> Result<Self, Failure> {
        let mut bytes = [0; 32];
        backend
            .fill_random(&mut bytes)
            .map_err(|_| Failure::new(FailureKind::Misconfigured, "no random bytes for a login"))?;
        Ok(Self::from_bytes(bytes))
    }

    fn from_bytes(bytes: [u8; 32]) -> Self {
        Self { text: Zeroizing::new(URL_SAFE_NO_PAD.encode_to_string(bytes)), bytes: Zeroizing::new(bytes) }
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, after) = rest.split_first_chunk()?;
    *rest = after;
    Some(*taken)
}

const VERSION: u8 = 1;
/// Of the form, in bytes: 142, and `acr_values` of 400 with one byte for each of ten.
const LONGEST: usize = 600;

#[cfg(test)]
#[cfg(feature = "aws-lc-rs")]
mod tests {
    use super::*;

    fn pending() -> PendingLogin {
        let new = PendingLogin::new(Backend::aws_lc(), [7; 32], UnixSeconds::new(1_800_000_000)).expect("random");
        new.with_demands(Some(Duration::from_secs(300)), &["gold".into(), "silver".into()])
    }

    #[test]
    fn reads_what_it_wrote() {
        let pending = pending();
        let bytes = pending.to_bytes();
        let read = PendingLogin::from_bytes(&bytes).expect("read");
        assert_eq!(
            (read.state(), read.nonce(), read.verifier()),
            (pending.state(), pending.nonce(), pending.verifier())
        );
        assert_eq!((read.created_at, read.provider, read.max_age), (pending.created_at, [7; 32], Some(300)));
        assert_eq!(read.acr_values, pending.acr_values);
        assert_eq!(read.to_bytes(), bytes);
        assert_eq!((pending.state().len(), bytes.len()), (43, 154));
    }

    #[test]
    fn the_largest_one_fits_into_a_cookie() {
        let values = vec!["a".repeat(40).into(); 10];
        let largest = pending().with_demands(Some(Duration::MAX), &values);
        let bytes = largest.to_bytes();
        assert!(bytes.len() <= LONGEST && bytes.capacity() == LONGEST, "{}", bytes.len());
        assert_eq!(PendingLogin::from_bytes(&bytes).expect("read").max_age, Some(u32::MAX));
    }

    #[test]
    fn no_two_are_alike() {
        let (one, other) = (pending(), pending());
        assert_ne!(one.state(), other.state());
        assert_ne!(one.nonce(), other.nonce());
        assert_ne!(one.verifier(), other.verifier());
        assert_ne!(one.state(), one.nonce());
    }

    #[test]
    fn refuses_other_versions_and_every_cut() {
        let good = pending().to_bytes();
        let mut other = good.clone();
        other[0] = 2;
        assert!(PendingLogin::from_bytes(&other).is_none());
        // Between two `acr_values` a cut is a form of its own; what is sealed cannot be cut.
        for cut in (0..good.len()).filter(|cut| ![142, 147].contains(cut)) {
            assert!(PendingLogin::from_bytes(&good[..cut]).is_none(), "{cut}");
        }
        assert!(PendingLogin::from_bytes(&[1; 601]).is_none());
        let mut flag = good.clone();
        flag[137] = 2;
        assert!(PendingLogin::from_bytes(&flag).is_none());
    }

    #[test]
    fn is_over_after_its_time_and_before_it() {
        let pending = pending();
        let at = |secs| pending.is_over(Duration::from_secs(600), Duration::from_secs(60), UnixSeconds::new(secs));
        let (start, verdicts) = (1_800_000_000, [true, false, false, false, true]);
        assert_eq!([start - 61, start - 60, start, start + 599, start + 600].map(at), verdicts);
    }

    #[test]
    fn debug_shows_none_of_it() {
        let pending = pending();
        let start = LoginStart { url: format!("https://id.example/?state={}", pending.state()), pending };
        assert_eq!(format!("{:?} {start:?}", start.pending), "PendingLogin(..) LoginStart(..)");
    }

    proptest::proptest! {
        #[test]
        fn whatever_is_read_is_written_back(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..620)) {
            let mut bytes = bytes;
            if let Some(first) = bytes.first_mut() {
                *first = VERSION;
            }
            if let Some(read) = PendingLogin::from_bytes(&bytes) {
                proptest::prop_assert_eq!(&*read.to_bytes(), &bytes);
            }
        }
    }
}
