//! One status list: read out of verified claims, and asked by index.

use std::time::Duration;

use miniz_oxide::inflate::{TINFLStatus, decompress_to_vec_zlib_with_limit};
use sekisho_core::UnixSeconds;
use sekisho_core::json::JsonObject;

/// By how much the publisher's clock may differ from ours.
pub(super) const LEEWAY: Duration = Duration::from_secs(60);
/// The shortest time for which a list is used, unless it expires earlier: what a `ttl` of one second would do to its
/// server.
const LEAST_LIFETIME: Duration = Duration::from_secs(10);

/// Says what a list must be like.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    pub(super) max_bytes: usize,
    pub(super) default_lifetime: Duration,
    pub(super) max_lifetime: Duration,
    /// How old a list without `exp` may be.
    pub(super) max_age: Duration,
}

/// Says why signed claims are no list that can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum ListError {
    #[error("`sub` is not the address of the list")]
    Subject,
    #[error("`iss` is another issuer")]
    Issuer,
    #[error("`iat` is missing, not a date, or in the future")]
    IssuedAt,
    #[error("older than the list at hand")]
    Older,
    #[error("`nbf` is not a date, or in the future")]
    NotBefore,
    #[error("`exp` is not a date, or in the past")]
    Expired,
    #[error("without `exp`, and `iat` lies further back than allowed")]
    TooOld,
    #[error("`ttl` is not a positive number of seconds")]
    TimeToLive,
    #[error("`status_list` has no `bits` of 1, 2, 4 or 8, or no `lst` in base64url")]
    Form,
    #[error("`lst` is not ZLIB")]
    Compression,
    #[error("longer than allowed once decompressed")]
    TooLarge,
}

pub(super) struct StatusList {
    bits: u8,
    bytes: Vec<u8>,
    issued_at: UnixSeconds,
    fetched_at: UnixSeconds,
    until: UnixSeconds,
}

impl StatusList {
    /// Reads the claims of a verified Status List Token, in the order of [`ListError`].
    pub(super) fn read(
        claims: &JsonObject,
        issuer: &str,
        uri: &str,
        held: Option<&Self>,
        rules: Rules,
        now: UnixSeconds,
    ) -> Result<Self, ListError> {
        let text = |name: &str| claims.get(name).and_then(|value| value.as_str());
        let date = |name: &str| claims.get(name).map(|value| value.as_numeric_date().map(UnixSeconds::new));
        if text("sub").as_deref() != Some(uri) {
            return Err(ListError::Subject);
        }
        // The draft does not ask for it; the keys are the issuer's in any case.
        if claims.get("iss").is_some() && text("iss").as_deref() != Some(issuer) {
            return Err(ListError::Issuer);
        }
        let soon = now.saturating_add(LEEWAY);
        let issued_at = date("iat").flatten().filter(|at| *at <= soon).ok_or(ListError::IssuedAt)?;
        // Whoever sits between could bring back the list from before a withdrawal, still signed and not expired.
        if held.is_some_and(|held| issued_at < held.issued_at) {
            return Err(ListError::Older);
        }
        if date("nbf").is_some_and(|at| at.is_none_or(|at| at > soon)) {
            return Err(ListError::NotBefore);
        }
        let expires_at = match date("exp") {
            // Or whoever sits between could keep the list from before a withdrawal in use for ever.
            None => {
                let end = issued_at.saturating_add(rules.max_age);
                if end <= now {
                    return Err(ListError::TooOld);
                }
                end
            }
            Some(at) => at.filter(|at| *at > now).ok_or(ListError::Expired)?,
        };
        let lifetime = match claims.get("ttl") {
            None => rules.default_lifetime,
            Some(ttl) => {
                let seconds = ttl.as_numeric_date().filter(|seconds| *seconds > 0).ok_or(ListError::TimeToLive)?;
                Duration::from_secs(seconds)
            }
        };
        let lifetime = lifetime.min(rules.max_lifetime).max(LEAST_LIFETIME);
        let (bits, bytes) = read_bytes(claims, rules.max_bytes)?;
        Ok(Self { bits, bytes, issued_at, fetched_at: now, until: now.saturating_add(lifetime).min(expires_at) })
    }

    /// Tells whether the list may be used. One from the future was fetched by a clock that has been set back.
    pub(super) fn is_current(&self, now: UnixSeconds) -> bool {
        now < self.until && self.fetched_at <= now.saturating_add(LEEWAY)
    }

    /// Returns when to fetch it anew: after three quarters of its time, less up to an eighth by `spread`.
    pub(super) fn refresh_at(&self, spread: u64) -> UnixSeconds {
        let lifetime = self.until.since(self.fetched_at).as_secs();
        let early = spread % (lifetime / 8 + 1);
        let after = (lifetime / 4 * 3).saturating_sub(early).max(1);
        self.fetched_at.saturating_add(Duration::from_secs(after))
    }

    /// Returns the status at an index, or `None` beyond the end of the list.
    pub(super) fn status(&self, index: u64) -> Option<u8> {
        let per_byte = u64::from(8 / self.bits);
        let byte = *self.bytes.get(usize::try_from(index / per_byte).ok()?)?;
        // The lowest bits are the first status (§4.1 of the draft).
        let shift = u32::try_from(index % per_byte).ok()? * u32::from(self.bits);
        Some(byte.checked_shr(shift)? & (u8::MAX >> (8 - self.bits)))
    }

    pub(super) fn heap_bytes(&self) -> usize {
        self.bytes.capacity()
    }
}

fn read_bytes(claims: &JsonObject, max_bytes: usize) -> Result<(u8, Vec<u8>), ListError> {
    let list = claims.get("status_list").ok_or(ListError::Form)?;
    let bits = match list.member("bits").map(|bits| bits.as_json()) {
        Some("1") => 1,
        Some("2") => 2,
        Some("4") => 4,
        Some("8") => 8,
        _ => return Err(ListError::Form),
    };
    let encoded = list.member("lst").and_then(|lst| lst.as_str()).ok_or(ListError::Form)?;
    let compressed = base64_simd::URL_SAFE_NO_PAD.decode_to_vec(encoded.as_bytes()).map_err(|_| ListError::Form)?;
    let bytes = decompress_to_vec_zlib_with_limit(&compressed, max_bytes).map_err(|error| match error.status {
        TINFLStatus::HasMoreOutput => ListError::TooLarge,
        _ => ListError::Compression,
    })?;
    Ok((bits, bytes))
}

#[cfg(test)]
mod tests {
    use miniz_oxide::deflate::compress_to_vec_zlib;
    use serde_json::{Value, json};

    use super::*;

    const URI: &str = "https://id.example/status/1";
    const ISSUER: &str = "https://id.example";
    const NOW: UnixSeconds = UnixSeconds::new(1_800_000_000);
    const RULES: Rules = Rules {
        max_bytes: 1_000,
        default_lifetime: Duration::from_secs(300),
        max_lifetime: Duration::from_secs(3600),
        max_age: Duration::from_secs(86_400),
    };

    fn lst(bytes: &[u8]) -> String {
        base64_simd::URL_SAFE_NO_PAD.encode_to_string(compress_to_vec_zlib(bytes, 9))
    }

    fn claims(bits: u8, bytes: &[u8]) -> Value {
        json!({"sub": URI, "iat": NOW.as_secs(), "status_list": {"bits": bits, "lst": lst(bytes)}})
    }

    fn read(claims: &Value, held: Option<&StatusList>) -> Result<StatusList, ListError> {
        let claims = JsonObject::from_serialize(claims).expect("JSON");
        StatusList::read(&claims, ISSUER, URI, held, RULES, NOW)
    }

    fn with(name: &str, value: impl Into<Value>) -> Value {
        let mut changed = claims(1, &[0]);
        changed[name] = value.into();
        changed
    }

    #[test]
    fn refuses_lists_that_are_not_the_one_asked_for() {
        let (now, error) = (NOW.as_secs(), |changed: Value| read(&changed, None).err());
        for sub in [json!(null), json!(1), json!(""), json!("https://id.example/status/2"), json!([URI])] {
            assert_eq!(error(with("sub", sub)), Some(ListError::Subject));
        }
        for iss in [json!(null), json!("https://id.example/"), json!([ISSUER])] {
            assert_eq!(error(with("iss", iss)), Some(ListError::Issuer));
        }
        for iat in [json!(null), json!("1"), json!(-1), json!(now + 61)] {
            assert_eq!(error(with("iat", iat)), Some(ListError::IssuedAt));
        }
        for nbf in [json!(null), json!(now + 61)] {
            assert_eq!(error(with("nbf", nbf)), Some(ListError::NotBefore));
        }
        for exp in [json!(null), json!("9"), json!(now), json!(now - 1), json!(1e300)] {
            assert_eq!(error(with("exp", exp)), Some(ListError::Expired));
        }
        for ttl in [json!(null), json!(0), json!(-1), json!("60")] {
            assert_eq!(error(with("ttl", ttl)), Some(ListError::TimeToLive));
        }
        assert!(read(&with("iss", ISSUER), None).is_ok());
    }

    #[test]
    fn refuses_old_lists_that_do_not_say_when_they_end() {
        let now = NOW.as_secs();
        let old = |age: u64| with("iat", now - age);
        assert_eq!(read(&old(86_400), None).err(), Some(ListError::TooOld));
        assert_eq!(read(&old(1_000_000), None).err(), Some(ListError::TooOld));
        let list = read(&old(86_399), None).expect("a list");
        assert_eq!(list.until.since(NOW).as_secs(), 1, "it is used no longer than it may be old");
        let mut stated = old(1_000_000);
        stated["exp"] = (now + 100).into();
        assert!(read(&stated, None).is_ok(), "the issuer says how long it is good");
    }

    #[test]
    fn refuses_lists_of_another_form() {
        let good = lst(&[0]);
        for list in [
            json!(null),
            json!([]),
            json!({"lst": good}),
            json!({"bits": 1}),
            json!({"bits": 0, "lst": good}),
            json!({"bits": 3, "lst": good}),
            json!({"bits": 16, "lst": good}),
            json!({"bits": "1", "lst": good}),
            json!({"bits": 1.0, "lst": good}),
            json!({"bits": 1, "lst": 1}),
            json!({"bits": 1, "lst": format!("{good}=")}),
            json!({"bits": 1, "lst": "+/+/"}),
        ] {
            assert_eq!(read(&with("status_list", list.clone()), None).err(), Some(ListError::Form), "{list}");
        }
    }

    #[test]
    fn refuses_lists_that_do_not_decompress_within_the_bound() {
        let list = |bytes: &[u8]| json!({"bits": 1, "lst": base64_simd::URL_SAFE_NO_PAD.encode_to_string(bytes)});
        let error = |bytes: &[u8]| read(&with("status_list", list(bytes)), None).err();
        let good = compress_to_vec_zlib(&[0x5a; 100], 9);
        let cut = good.get(..good.len() - 1).expect("shorter");
        let mut other_sum = good.clone();
        *other_sum.last_mut().expect("a byte") ^= 1;
        let raw = miniz_oxide::deflate::compress_to_vec(&[0x5a; 100], 9);
        for bad in [&[][..], &[0], b"plain text", cut, &other_sum, &raw] {
            assert_eq!(error(bad), Some(ListError::Compression), "{bad:?}");
        }
        assert_eq!(error(&compress_to_vec_zlib(&[0; 1_001], 9)), Some(ListError::TooLarge));
        // A hundred kilobytes that would become a hundred megabytes.
        assert_eq!(error(&compress_to_vec_zlib(&vec![0; 100_000_000], 9)), Some(ListError::TooLarge));
        assert_eq!(error(&compress_to_vec_zlib(&[0; 1_000], 9)), None);
    }

    #[test]
    fn refuses_to_go_back_to_an_older_list() {
        let held = read(&claims(1, &[1]), None).expect("a list");
        let older = with("iat", NOW.as_secs() - 1);
        assert_eq!(read(&older, Some(&held)).err(), Some(ListError::Older));
        assert!(read(&claims(1, &[0]), Some(&held)).is_ok());
    }

    #[test]
    fn statuses_lie_from_the_lowest_bits_on() {
        // The example of §4.1 with one bit, and what its bytes mean with more.
        let bytes = [0xb9, 0xa3];
        let of = |bits: u8, count: u64| -> Vec<u8> {
            let list = read(&claims(bits, &bytes), None).expect("a list");
            assert_eq!(list.status(count), None);
            assert_eq!(list.status(u64::MAX), None);
            (0..count).map(|index| list.status(index).expect("in range")).collect()
        };
        assert_eq!(of(1, 16), [1, 0, 0, 1, 1, 1, 0, 1, 1, 1, 0, 0, 0, 1, 0, 1]);
        assert_eq!(of(2, 8), [1, 2, 3, 2, 3, 0, 2, 2]);
        assert_eq!(of(4, 4), [9, 0xb, 3, 0xa]);
        assert_eq!(of(8, 2), [0xb9, 0xa3]);
    }

    #[test]
    fn the_list_of_the_draft_is_read() {
        let list = with("status_list", json!({"bits": 1, "lst": "eNrbuRgAAhcBXQ"}));
        let list = read(&list, None).expect("a list");
        let statuses: Vec<u8> = (0..16).map(|index| list.status(index).expect("in range")).collect();
        assert_eq!(statuses, [1, 0, 0, 1, 1, 1, 0, 1, 1, 1, 0, 0, 0, 1, 0, 1]);
    }

    #[test]
    fn a_list_lives_for_the_least_of_ttl_expiry_and_bound() {
        let life = |changed: Value| {
            let list = read(&changed, None).expect("a list");
            list.until.since(NOW).as_secs()
        };
        assert_eq!(life(claims(1, &[0])), 300);
        assert_eq!(life(with("ttl", 60)), 60);
        assert_eq!(life(with("ttl", 1)), 10);
        assert_eq!(life(with("ttl", 1_000_000)), 3600);
        assert_eq!(life(with("exp", NOW.as_secs() + 100)), 100);
        assert_eq!(life(with("exp", NOW.as_secs() + 1)), 1);
    }

    #[test]
    fn a_list_is_used_until_its_end_and_refreshed_before() {
        let list = read(&with("ttl", 400), None).expect("a list");
        assert!(list.is_current(UnixSeconds::new(NOW.as_secs() + 399)));
        assert!(!list.is_current(UnixSeconds::new(NOW.as_secs() + 400)));
        assert!(list.is_current(NOW.saturating_sub(LEEWAY)));
        assert!(!list.is_current(NOW.saturating_sub(Duration::from_secs(61))));
        let due: Vec<u64> = (0..1_000).map(|spread| list.refresh_at(spread).since(NOW).as_secs()).collect();
        assert_eq!((due.iter().min(), due.iter().max()), (Some(&250), Some(&300)));
    }

    proptest::proptest! {
        #[test]
        fn whatever_stands_in_the_list_is_read_or_refused(bytes: Vec<u8>, bits in 0_u8..10, index: u64) {
            if let Ok(list) = read(&claims(bits, &bytes), None) {
                let statuses = bytes.len() as u64 * u64::from(8 / bits);
                proptest::prop_assert_eq!(list.status(index).is_some(), index < statuses);
            }
            let raw = json!({"bits": 1, "lst": base64_simd::URL_SAFE_NO_PAD.encode_to_string(&bytes)});
            let _read_or_refused = read(&with("status_list", raw), None);
        }
    }
}
