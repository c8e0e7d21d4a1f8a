use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

use sekisho_core::{Failure, Secret};
use zeroize::Zeroizing;

use crate::random::{digest, from_base64, random, to_base64};

/// Says where an attempt comes from. Throttling goes by it.
#[derive(Clone, Copy, Debug, Default)]
#[expect(clippy::exhaustive_structs, reason = "callers build it")]
pub struct ClientContext<'a> {
    /// The peer, or what a trusted proxy says; never a header that anybody may send. `None` when it is not known.
    pub address: Option<IpAddr>,
    /// What an earlier login left at this client, if anything: see [`DeviceToken`].
    pub device: Option<&'a DeviceToken>,
}

/// Marks a device on which somebody has logged in, so that nobody else's failures keep them out there.
///
/// To be kept by the device for as long as you remember it, in a cookie with `__Host-`, `Secure`, `HttpOnly`,
/// `SameSite=Lax`. It opens nothing. 256 random bits; `Debug` shows nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceToken(Secret);

impl DeviceToken {
    pub(crate) fn generate() -> Result<Self, Failure> {
        Ok(Self(Secret::new(Zeroizing::new(random::<32>()?).to_vec())))
    }

    /// Reads what a cookie holds. `None` unless it is 43 characters of base64url.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = (text.len() == 43).then(|| from_base64(text)).flatten()?;
        Some(Self(Secret::new(bytes)))
    }

    /// Writes it for a cookie.
    #[must_use]
    pub fn to_text(&self) -> Secret {
        Secret::from(to_base64(self.0.expose()))
    }

    pub(crate) fn source(&self) -> SourceHash {
        SourceHash(digest("sekisho device", &[self.0.expose()]))
    }
}

/// Is what a store keeps of a device or of an address from which an account was used. `Debug` shows nothing.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SourceHash([u8; 32]);

impl SourceHash {
    /// Takes over the bytes of a hash that a store kept.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Returns the bytes, to be kept.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for SourceHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SourceHash(..)")
    }
}

/// Returns the part of an address that one customer of a provider has: all of IPv4, `v6_bits` of IPv6. Mapped addresses
/// are IPv4.
pub(crate) fn prefix(address: IpAddr, v6_bits: u32) -> Vec<u8> {
    match address.to_canonical() {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => {
            let mask = u128::MAX.checked_shl(128 - v6_bits.min(128)).unwrap_or(0);
            Ipv6Addr::from_bits(v6.to_bits() & mask).octets().to_vec()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_texts_that_are_no_token() {
        for text in ["", &"A".repeat(42), &"A".repeat(44), &"*".repeat(43), &"é".repeat(22)] {
            assert_eq!(DeviceToken::parse(text), None, "{text}");
        }
        let token = DeviceToken::generate().unwrap();
        assert_eq!(DeviceToken::parse(token.to_text().expose_str().unwrap()), Some(token));
    }

    #[test]
    fn neighbours_of_one_customer_are_one_and_others_are_not() {
        let prefix = |text: &str, bits| prefix(text.parse().unwrap(), bits);
        assert_eq!(prefix("2001:db8:1:2::1", 64), prefix("2001:db8:1:2:ffff::9", 64));
        assert_ne!(prefix("2001:db8:1:2::1", 64), prefix("2001:db8:1:3::1", 64));
        assert_eq!(prefix("2001:db8:1:2::1", 48), prefix("2001:db8:1:3::1", 48));
        assert_ne!(prefix("192.0.2.1", 64), prefix("192.0.2.2", 64));
        assert_eq!(prefix("::ffff:192.0.2.1", 64), prefix("192.0.2.1", 64));
        assert_eq!(prefix("2001:db8::1", 0), prefix("fe80::1", 0));
    }

    #[test]
    fn debug_shows_no_token() {
        let token = DeviceToken::generate().unwrap();
        let context = ClientContext { address: None, device: Some(&token) };
        let shown = format!("{context:?} {:?}", token.source());
        assert!(!shown.contains(token.to_text().expose_str().unwrap()), "{shown}");
        assert!(shown.contains("DeviceToken(Secret(..))") && shown.contains("SourceHash(..)"));
    }
}
