use std::fmt;

use aws_lc_rs::hmac;
use sekisho_core::{ConfigError, Failure, Secret, UnixSeconds};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::random::random;

/// Names the hash of a TOTP. Authenticator apps that ignore the name use SHA-1, in which HMAC is not broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TotpAlgorithm {
    /// HMAC-SHA-1, which every app knows.
    Sha1,
    /// HMAC-SHA-256.
    Sha256,
    /// HMAC-SHA-512.
    Sha512,
}

/// Says which codes an authenticator shows ([RFC 6238](https://www.rfc-editor.org/rfc/rfc6238)): SHA-1, 6 digits, 30 s
/// by default.
///
/// Each enrolment keeps the settings that it was made with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TotpSettings {
    algorithm: TotpAlgorithm,
    digits: u8,
    period: u8,
}

impl TotpSettings {
    /// Chooses the hash, the digits of a code, and how many seconds one is shown.
    ///
    /// # Errors
    /// [`ConfigError`] unless 6 ≤ `digits` ≤ 8 and 15 ≤ `period` ≤ 120.
    pub fn new(algorithm: TotpAlgorithm, digits: u8, period: u8) -> Result<Self, ConfigError> {
        if !(6..=8).contains(&digits) || !(15..=120).contains(&period) {
            return Err(ConfigError::new("a TOTP wants 6 to 8 digits and a period of 15 to 120 seconds"));
        }
        Ok(Self { algorithm, digits, period })
    }

    fn counter(self, now: UnixSeconds) -> u64 {
        now.as_secs() / u64::from(self.period)
    }
}

impl Default for TotpSettings {
    fn default() -> Self {
        Self { algorithm: TotpAlgorithm::Sha1, digits: 6, period: 30 }
    }
}

/// Is the secret that an authenticator app and we share, with its settings. `Debug` shows the settings only.
#[derive(Clone)]
pub struct TotpSecret {
    settings: TotpSettings,
    key: Secret,
}

impl TotpSecret {
    /// Draws one of 160 bits ([RFC 4226 §4](https://www.rfc-editor.org/rfc/rfc4226#section-4), R6), or as many as the
    /// hash has.
    ///
    /// # Errors
    /// [`Failure`] when the system gives no randomness.
    pub fn generate(settings: TotpSettings) -> Result<Self, Failure> {
        let bytes = Zeroizing::new(random::<64>()?);
        let length = match settings.algorithm {
            TotpAlgorithm::Sha1 => 20,
            TotpAlgorithm::Sha256 => 32,
            TotpAlgorithm::Sha512 => 64,
        };
        Ok(Self { settings, key: Secret::new(bytes.iter().copied().take(length).collect::<Vec<u8>>()) })
    }

    /// Takes over a secret that exists already. `None` unless it has 16 to 128 bytes.
    #[must_use]
    pub fn from_bytes(settings: TotpSettings, key: Secret) -> Option<Self> {
        (16..=128).contains(&key.len()).then_some(Self { settings, key })
    }

    /// Writes the secret in base32 without padding, for apps into which it is typed.
    #[must_use]
    pub fn to_base32(&self) -> Secret {
        Secret::from(base32(self.key.expose()))
    }

    /// Writes the [key URI](https://github.com/google/google-authenticator/wiki/Key-Uri-Format) that apps read from a
    /// QR code.
    ///
    /// - `issuer` names the service, `account` the account, both for display; anything but unreserved characters is
    ///   percent-encoded.
    #[must_use]
    pub fn to_uri(&self, issuer: &str, account: &str) -> Secret {
        let TotpSettings { algorithm, digits, period } = self.settings;
        let algorithm = match algorithm {
            TotpAlgorithm::Sha1 => "SHA1",
            TotpAlgorithm::Sha256 => "SHA256",
            TotpAlgorithm::Sha512 => "SHA512",
        };
        let (issuer, account, secret) = (escaped(issuer), escaped(account), Zeroizing::new(base32(self.key.expose())));
        Secret::from(format!(
            "otpauth://totp/{issuer}:{account}?secret={}&issuer={issuer}&algorithm={algorithm}&digits={digits}&period={period}",
            *secret
        ))
    }

    /// Returns the code that an app shows at `now`.
    #[must_use]
    pub fn code(&self, now: UnixSeconds) -> Secret {
        self.code_of(self.settings.counter(now))
    }

    /// Finds the counter whose code `typed` is: one of the present period, of the one before and of the one after.
    /// Spaces do not count.
    ///
    /// Only counters above `last` are found, so that a code is good once if the counter is kept
    /// ([RFC 6238 §5.2](https://www.rfc-editor.org/rfc/rfc6238#section-5.2)). Takes the same time whichever it is.
    pub(crate) fn matching(&self, typed: &Secret, last: Option<u64>, now: UnixSeconds) -> Option<u64> {
        let digits: Zeroizing<Vec<u8>> =
            Zeroizing::new(typed.expose().iter().copied().filter(|byte| *byte != b' ').take(MOST_DIGITS + 1).collect());
        let present = self.settings.counter(now);
        let mut found = None;
        for counter in present.saturating_sub(1)..=present.saturating_add(1) {
            let is_same = bool::from(self.code_of(counter).expose().ct_eq(&digits));
            let is_unused = last.is_none_or(|last| counter > last);
            // No early way out; the first counter is kept, so that one code uses up as little as possible.
            if is_same & is_unused & found.is_none() {
                found = Some(counter);
            }
        }
        found
    }

    /// HOTP, [RFC 4226 §5.3](https://www.rfc-editor.org/rfc/rfc4226#section-5.3).
    fn code_of(&self, counter: u64) -> Secret {
        let algorithm = match self.settings.algorithm {
            TotpAlgorithm::Sha1 => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
            TotpAlgorithm::Sha256 => hmac::HMAC_SHA256,
            TotpAlgorithm::Sha512 => hmac::HMAC_SHA512,
        };
        let tag = hmac::sign(&hmac::Key::new(algorithm, self.key.expose()), &counter.to_be_bytes());
        let tag = tag.as_ref();
        let offset = usize::from(tag.last().copied().unwrap_or_default() & 0xf);
        let number = tag.iter().skip(offset).take(4).fold(0_u32, |number, byte| (number << 8) | u32::from(*byte));
        let digits = usize::from(self.settings.digits);
        let number = (number & 0x7fff_ffff) % 10_u32.pow(u32::from(self.settings.digits));
        Secret::from(format!("{number:0digits$}"))
    }

    /// Writes settings and secret for [`from_stored`](Self::from_stored).
    pub(crate) fn to_stored(&self) -> Zeroizing<Vec<u8>> {
        let TotpSettings { algorithm, digits, period } = self.settings;
        let algorithm = match algorithm {
            TotpAlgorithm::Sha1 => 1,
            TotpAlgorithm::Sha256 => 2,
            TotpAlgorithm::Sha512 => 3,
        };
        Zeroizing::new([&[algorithm, digits, period], self.key.expose()].concat())
    }

    pub(crate) fn from_stored(bytes: &[u8]) -> Option<Self> {
        let ([algorithm, digits, period], key) = bytes.split_first_chunk()?;
        let algorithm = match algorithm {
            1 => TotpAlgorithm::Sha1,
            2 => TotpAlgorithm::Sha256,
            3 => TotpAlgorithm::Sha512,
            _ => return None,
        };
        Self::from_bytes(TotpSettings::new(algorithm, *digits, *period).ok()?, Secret::new(key))
    }
}

const MOST_DIGITS: usize = 8;

impl fmt::Debug for TotpSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TotpSecret").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// Writes base32 without padding ([RFC 4648 §6](https://www.rfc-editor.org/rfc/rfc4648#section-6)).
fn base32(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 8 / 5 + 1);
    for chunk in bytes.chunks(5) {
        let word = (0..5).fold(0_u64, |word, at| (word << 8) | u64::from(chunk.get(at).copied().unwrap_or_default()));
        for at in 0..(chunk.len() * 8).div_ceil(5) {
            let digit = (word >> (35 - 5 * at) & 31) as u8;
            text.push(char::from(if digit < 26 { b'A' + digit } else { b'2' + digit - 26 }));
        }
    }
    text
}

/// Percent-encodes all but unreserved characters ([RFC 3986 §2.3](https://www.rfc-editor.org/rfc/rfc3986#section-2.3)).
fn escaped(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: UnixSeconds = UnixSeconds::new(1_764_072_000);

    fn settings(algorithm: TotpAlgorithm, digits: u8) -> TotpSettings {
        TotpSettings::new(algorithm, digits, 30).unwrap()
    }

    fn secret() -> TotpSecret {
        TotpSecret::from_bytes(TotpSettings::default(), Secret::from("12345678901234567890")).unwrap()
    }

    #[test]
    fn refuses_settings_and_secrets_that_are_too_weak() {
        for (digits, period) in [(5, 30), (9, 30), (6, 14), (6, 121), (0, 0)] {
            assert!(TotpSettings::new(TotpAlgorithm::Sha1, digits, period).is_err(), "{digits}, {period}");
        }
        for length in [0, 15, 129] {
            assert!(TotpSecret::from_bytes(TotpSettings::default(), Secret::new(vec![1; length])).is_none());
        }
    }

    #[test]
    fn refuses_codes_out_of_the_window_and_codes_that_were_used() {
        let secret = secret();
        let at = |later: u64| UnixSeconds::new(NOW.as_secs() + later);
        let (code, counter) = (secret.code(NOW), NOW.as_secs() / 30);
        assert_eq!(secret.matching(&code, None, NOW), Some(counter));
        assert_eq!(secret.matching(&code, None, at(59)), Some(counter), "one period late");
        assert_eq!(secret.matching(&code, None, at(60)), None);
        assert_eq!(secret.matching(&code, None, UnixSeconds::new(NOW.as_secs() - 30)), Some(counter), "and early");
        assert_eq!(secret.matching(&code, None, UnixSeconds::new(NOW.as_secs() - 31)), None);
        assert_eq!(secret.matching(&code, Some(counter), NOW), None, "used");
        assert_eq!(secret.matching(&code, Some(counter + 1), NOW), None, "a later one was used");
        assert_eq!(secret.matching(&code, Some(counter - 1), NOW), Some(counter));
    }

    #[test]
    fn refuses_codes_of_another_shape() {
        let secret = secret();
        let code = secret.code(NOW).expose_str().unwrap().to_owned();
        for typed in [String::new(), code[..5].into(), format!("{code}0"), format!("0{code}"), format!("-{code}")] {
            assert_eq!(secret.matching(&Secret::from(typed), None, NOW), None);
        }
        assert_eq!(secret.matching(&Secret::new(vec![b'0'; 1 << 20]), None, NOW), None);
        let spaced = format!(" {} {} ", &code[..3], &code[3..]);
        assert!(secret.matching(&Secret::from(spaced), None, NOW).is_some(), "as apps show it");
    }

    /// RFC 6238, appendix B: the published table. The secrets are those of the errata, as long as the hash.
    #[test]
    fn gives_the_codes_of_the_rfc() {
        let seed = "1234567890".repeat(7);
        for (algorithm, length, codes) in [
            (TotpAlgorithm::Sha1, 20, ["94287082", "07081804", "14050471", "89005924", "69279037", "65353130"]),
            (TotpAlgorithm::Sha256, 32, ["46119246", "68084774", "67062674", "91819424", "90698825", "77737706"]),
            (TotpAlgorithm::Sha512, 64, ["90693936", "25091201", "99943326", "93441116", "38618901", "47863826"]),
        ] {
            let secret = TotpSecret::from_bytes(settings(algorithm, 8), Secret::from(&seed[..length])).unwrap();
            let times = [59, 1_111_111_109, 1_111_111_111, 1_234_567_890, 2_000_000_000, 20_000_000_000];
            for (time, code) in times.into_iter().zip(codes) {
                assert_eq!(secret.code(UnixSeconds::new(time)).expose_str(), Some(code), "{algorithm:?} at {time}");
            }
        }
    }

    /// RFC 4226, appendix D.
    #[test]
    fn gives_the_hotp_codes_of_the_rfc() {
        let codes =
            ["755224", "287082", "359152", "969429", "338314", "254676", "287922", "162583", "399871", "520489"];
        for (counter, code) in (0..).zip(codes) {
            assert_eq!(secret().code_of(counter).expose_str(), Some(code), "{counter}");
        }
    }

    #[test]
    fn time_zero_and_the_end_of_time_do_not_panic() {
        for now in [UnixSeconds::new(0), UnixSeconds::MAX] {
            assert!(secret().matching(&secret().code(now), None, now).is_some());
        }
    }

    #[test]
    fn the_uri_holds_what_apps_read_and_escapes_the_rest() {
        let uri = secret().to_uri("Shop & Co:", "alice@example.com?x=1");
        assert_eq!(
            uri.expose_str().unwrap(),
            "otpauth://totp/Shop%20%26%20Co%3A:alice%40example.com%3Fx%3D1?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ\
             &issuer=Shop%20%26%20Co%3A&algorithm=SHA1&digits=6&period=30"
        );
    }

    /// RFC 4648 §10, without padding.
    #[test]
    fn base32_is_that_of_the_rfc() {
        for (plain, text) in [("", ""), ("f", "MY"), ("fo", "MZXQ"), ("foo", "MZXW6"), ("foob", "MZXW6YQ")] {
            assert_eq!(base32(plain.as_bytes()), text);
        }
        assert_eq!(base32(b"foobar"), "MZXW6YTBOI");
    }

    #[test]
    fn a_secret_survives_being_stored_and_nothing_else_does() {
        let secret = TotpSecret::generate(settings(TotpAlgorithm::Sha512, 7)).unwrap();
        let stored = secret.to_stored();
        let again = TotpSecret::from_stored(&stored).unwrap();
        assert_eq!((again.settings, &again.key), (secret.settings, &secret.key));
        for bytes in [&stored[..0], &stored[..2], &stored[..18], &[[9].as_slice(), &stored[1..]].concat()] {
            assert!(TotpSecret::from_stored(bytes).is_none());
        }
    }

    #[test]
    fn debug_shows_no_secret() {
        let shown = format!("{:?}", secret());
        assert!(!shown.contains("12345") && !shown.contains("49, 50"), "{shown}");
    }

    proptest! {
        #[test]
        fn another_code_of_digits_matches_only_if_it_is_in_the_window(number in 0_u32..1_000_000, time in 0_u64..1 << 40) {
            let (secret, now, typed) = (secret(), UnixSeconds::new(time), Secret::from(format!("{number:06}")));
            let window = [time.saturating_sub(30), time, time + 30].map(|time| secret.code(UnixSeconds::new(time)));
            prop_assert_eq!(secret.matching(&typed, None, now).is_some(), window.contains(&typed));
        }
    }
}
