use std::net::IpAddr;

use ipnet::IpNet;
use sekisho_core::ConfigError;

/// Lists the addresses of the proxies that are believed what they forward.
///
/// # Examples
/// ```
/// use sekisho_gateway::TrustedProxies;
/// let proxies = TrustedProxies::new(["10.1.0.0/16", "::1"])?;
/// assert!(proxies.trust("10.1.2.3".parse()?) && !proxies.trust("10.2.0.1".parse()?));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct TrustedProxies(Vec<IpNet>);

impl TrustedProxies {
    /// Reads addresses and networks: `10.0.0.7`, `10.0.0.0/8`, `::1`, `fd00::/8`.
    ///
    /// # Errors
    /// What is no address; a network with bits set behind its prefix; a network of all addresses, which lists nobody.
    pub fn new<I: IntoIterator<Item = S>, S: AsRef<str>>(networks: I) -> Result<Self, ConfigError> {
        let mut listed = Vec::new();
        for text in networks {
            let text = text.as_ref();
            let network = text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
            let network =
                network.map_err(|_| ConfigError::new(format!("{text:?} is neither an address nor a network")))?;
            if network.trunc() != network {
                let meant = network.trunc();
                return Err(ConfigError::new(format!("{text:?} has bits behind its prefix; is {meant} meant?")));
            }
            if network.prefix_len() == 0 {
                return Err(ConfigError::new(format!(
                    "{text:?} is everybody: then anybody can forge what a proxy forwards"
                )));
            }
            listed.push(network);
        }
        Ok(Self(listed))
    }

    /// Believes nobody.
    #[must_use]
    pub const fn none() -> Self {
        Self(Vec::new())
    }

    /// Tells whether this peer is believed. An IPv4 address that came as IPv6 is the IPv4 address.
    #[must_use]
    pub fn trust(&self, peer: IpAddr) -> bool {
        let peer = peer.to_canonical();
        self.0.iter().any(|network| network.contains(&peer))
    }

    /// Tells whether nobody is believed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn believes_the_listed_and_nobody_else() {
        let proxies = TrustedProxies::new(["10.1.0.0/16", "192.0.2.7", "fd00::/8"]).unwrap();
        for listed in ["10.1.255.1", "192.0.2.7", "fd12::1", "::ffff:10.1.2.3"] {
            assert!(proxies.trust(listed.parse().unwrap()), "{listed}");
        }
        for other in ["10.2.0.0", "192.0.2.8", "127.0.0.1", "::1", "::ffff:10.2.0.1", "fe80::1"] {
            assert!(!proxies.trust(other.parse().unwrap()), "{other}");
        }
        assert!(!TrustedProxies::none().trust("127.0.0.1".parse().unwrap()));
    }

    #[test]
    fn refuses_what_lists_nobody_or_everybody() {
        for bad in ["", "localhost", "10.0.0.0/33", "10.0.0.1/8", "0.0.0.0/0", "::/0", "10.0.0", "10.0.0.0/8 "] {
            assert!(TrustedProxies::new([bad]).is_err(), "{bad:?}");
        }
    }
}
