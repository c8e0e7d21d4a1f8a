use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use sekisho_core::ConfigError;

/// Is a range of addresses, written as `10.0.0.0/8`, `fd00::/8` or a single address.
///
/// # Examples
/// ```
/// let range: sekisho_issuer::AddressRange = "10.0.0.0/8".parse()?;
/// assert!(range.contains("10.200.3.4".parse()?));
/// assert!(!range.contains("11.0.0.1".parse()?));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct AddressRange {
    base: IpAddr,
    bits: u32,
}

impl AddressRange {
    /// Tells whether an address is in it. An IPv4 address that is written as an IPv6 one counts as the former.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.base, address.to_canonical()) {
            (IpAddr::V4(base), IpAddr::V4(address)) => {
                let differing = base.to_bits() ^ address.to_bits();
                differing.leading_zeros() >= self.bits
            }
            (IpAddr::V6(base), IpAddr::V6(address)) => {
                let differing = base.to_bits() ^ address.to_bits();
                differing.leading_zeros() >= self.bits
            }
            _ => false,
        }
    }
}

impl FromStr for AddressRange {
    type Err = ConfigError;

    /// # Errors
    /// [`ConfigError`] when it is no address, the length does not fit, or bits beyond the length are set.
    fn from_str(text: &str) -> Result<Self, ConfigError> {
        let refuse = || ConfigError::new(format!("{text:?} is no address and no range such as 10.0.0.0/8"));
        let (base, bits) = match text.split_once('/') {
            Some((base, bits)) => (base, Some(bits.parse::<u32>().map_err(|_| refuse())?)),
            None => (text, None),
        };
        let base: IpAddr = base.parse().map_err(|_| refuse())?;
        let longest = if base.is_ipv4() { 32 } else { 128 };
        let bits = bits.unwrap_or(longest);
        let trailing = match base {
            IpAddr::V4(address) => address.to_bits().trailing_zeros().min(32),
            IpAddr::V6(address) => address.to_bits().trailing_zeros().min(128),
        };
        if bits > longest || longest - bits > trailing || base != base.to_canonical() {
            return Err(refuse());
        }
        Ok(Self { base, bits })
    }
}

impl fmt::Debug for AddressRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.base, self.bits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_what_is_no_range() {
        for bad in [
            "",
            "10.0.0.0/33",
            "10.0.0.1/8",
            "::/129",
            "::1/64",
            "10.0.0.0/",
            "10.0.0.0/-1",
            "example",
            "::ffff:10.0.0.1",
        ] {
            assert!(bad.parse::<AddressRange>().is_err(), "{bad}");
        }
    }

    #[test]
    fn contains_by_leading_bits() {
        for (range, inside, outside) in [
            ("127.0.0.1", "127.0.0.1", "127.0.0.2"),
            ("10.0.0.0/8", "::ffff:10.1.2.3", "11.0.0.0"),
            ("0.0.0.0/0", "255.255.255.255", "::1"),
            ("fd00::/8", "fdff::1", "fe00::1"),
            ("::/0", "2001:db8::1", "1.2.3.4"),
        ] {
            let range: AddressRange = range.parse().unwrap();
            assert!(range.contains(inside.parse().unwrap()), "{range:?} {inside}");
            assert!(!range.contains(outside.parse().unwrap()), "{range:?} {outside}");
        }
    }
}
