use std::net::IpAddr;

use sekisho_core::ConfigError;

/// Lists the proxies whose word is taken, by their addresses and networks.
///
/// # Examples
/// ```
/// use sekisho_http::TrustedProxies;
/// let proxies = TrustedProxies::new(["10.1.0.0/16", "::1"])?;
/// assert!(proxies.contains("10.1.2.3".parse()?) && !proxies.contains("10.2.0.1".parse()?));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustedProxies(Box<[(IpAddr, u8)]>);

impl TrustedProxies {
    /// Reads addresses (`10.0.0.7`, `::1`) and networks (`10.0.0.0/8`, `fd00::/8`).
    ///
    /// # Errors
    /// When there is none; what is neither an address nor a network, or is an IPv4 address written as an IPv6 one; a network with
    /// bits set behind its prefix; a network of all addresses, which lists nobody.
    pub fn new<I: IntoIterator<Item = S>, S: AsRef<str>>(proxies: I) -> Result<Self, ConfigError> {
        let proxies: Box<[_]> = proxies.into_iter().map(|proxy| network(proxy.as_ref())).collect::<Result<_, _>>()?;
        if proxies.is_empty() {
            return Err(ConfigError::new("no proxy is listed; nobody is `TrustedProxies::none`"));
        }
        Ok(Self(proxies))
    }

    /// Believes nobody.
    #[must_use]
    pub fn none() -> Self {
        Self(Box::default())
    }

    /// Tells whether this is the address of one of them. An IPv4 address inside of IPv6 counts as what it is.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|(network, prefix)| covers(*network, *prefix, address))
    }

    /// Tells whether nobody is believed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

fn network(text: &str) -> Result<(IpAddr, u8), ConfigError> {
    let refuse = || ConfigError::new(format!("{text:?} is neither an address nor a network such as 10.0.0.0/8"));
    let (address, prefix) = match text.split_once('/') {
        Some((address, prefix)) if prefix.bytes().all(|byte| byte.is_ascii_digit()) => {
            (address, Some(prefix.parse::<u8>().map_err(|_| refuse())?))
        }
        Some(_) => return Err(refuse()),
        None => (text, None),
    };
    let address: IpAddr = address.parse().map_err(|_| refuse())?;
    let longest = if address.is_ipv4() { 32 } else { 128 };
    let prefix = prefix.unwrap_or(longest);
    // ::ffff:0:0/96 and the like could be read in two ways.
    if prefix > longest || address.to_canonical() != address {
        return Err(refuse());
    }
    if prefix == 0 {
        return Err(ConfigError::new(format!("{text:?} is everybody: then anybody can forge what a proxy says")));
    }
    let masked = masked(address, prefix);
    if bits(address) != masked {
        let meant = from_bits(address, masked);
        return Err(ConfigError::new(format!("{text:?} has bits behind its prefix; is {meant}/{prefix} meant?")));
    }
    Ok((address, prefix))
}

fn covers(network: IpAddr, prefix: u8, address: IpAddr) -> bool {
    network.is_ipv4() == address.is_ipv4() && bits(network) == masked(address, prefix)
}

/// An address as a number of 128 bits; IPv4 stands at the top.
fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(u32::from(address)) << 96,
        IpAddr::V6(address) => u128::from(address),
    }
}

/// Undoes [`bits`], for an address of the same kind as `like`.
fn from_bits(like: IpAddr, bits: u128) -> IpAddr {
    match like {
        IpAddr::V4(_) => IpAddr::V4(u32::try_from(bits >> 96).unwrap_or_default().into()),
        IpAddr::V6(_) => IpAddr::V6(bits.into()),
    }
}

fn masked(address: IpAddr, prefix: u8) -> u128 {
    let mask = u128::MAX.checked_shl(128 - u32::from(prefix.min(128))).unwrap_or(0);
    bits(address) & mask
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn knows_the_listed_proxies_and_no_others() {
        let proxies = TrustedProxies::new(["10.1.0.0/16", "192.0.2.7", "fd00::/8", "::1"]).unwrap();
        for yes in ["10.1.0.0", "10.1.255.255", "192.0.2.7", "::ffff:10.1.2.3", "fd12::3", "::1"] {
            assert!(proxies.contains(yes.parse().unwrap()), "{yes}");
        }
        for no in ["10.2.0.0", "10.0.255.255", "192.0.2.8", "fe80::1", "::2", "::ffff:10.2.0.1", "127.0.0.1"] {
            assert!(!proxies.contains(no.parse().unwrap()), "{no}");
        }
        assert!(!TrustedProxies::none().contains("127.0.0.1".parse().unwrap()));
        assert!(TrustedProxies::none().is_empty() && !proxies.is_empty());
        let halves = TrustedProxies::new(["128.0.0.0/1", "8000::/1"]).unwrap();
        assert!(halves.contains("255.255.255.255".parse().unwrap()) && halves.contains("fe80::1".parse().unwrap()));
        assert!(
            !halves.contains("127.255.255.255".parse().unwrap()) && !halves.contains("2001:db8::1".parse().unwrap())
        );
    }

    #[test]
    fn refuses_lists_that_say_something_else_than_they_seem_to() {
        for bad in [
            "",
            "localhost",
            "proxy.example",
            "10.0.0.1/8",
            "::1/64",
            "10.0.0.0/33",
            "::/129",
            "10.0.0.0/",
            "10.0.0.0/+8",
            "10.0.0.0/-1",
            "/8",
            "::ffff:10.0.0.0/104",
            "::ffff:10.0.0.1",
            "10.0/8",
            "10.0.0.0/8 ",
            "0.0.0.0/0",
            "::/0",
        ] {
            assert!(TrustedProxies::new([bad]).is_err(), "{bad}");
        }
        assert!(TrustedProxies::new(Vec::<String>::new()).is_err());
    }

    #[test]
    fn says_which_network_may_be_meant() {
        for (bad, meant) in [("10.1.2.3/8", "10.0.0.0/8"), ("fd00:1::5/16", "fd00::/16")] {
            let error = TrustedProxies::new([bad]).unwrap_err().to_string();
            assert!(error.contains(meant), "{error}");
        }
    }
}
