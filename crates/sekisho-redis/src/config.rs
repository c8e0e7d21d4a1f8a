use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use percent_encoding::percent_decode_str;
use rustls::ClientConfig;
use sekisho_core::{ConfigError, Secret};
use url::Url;

use crate::Redis;
use crate::tls;

/// Collects what a [`Redis`] needs. Made by [`Redis::standalone`], [`Redis::sentinel`] and [`Redis::cluster`].
#[must_use = "nothing is made before `build`"]
pub struct RedisBuilder {
    kind: Kind,
    urls: Vec<Secret>,
    login: Option<Login>,
    prefix: String,
    roots: Option<Vec<u8>>,
    client_certificate: Option<(Vec<u8>, Secret)>,
    limits: Limits,
}

#[derive(Clone, Debug)]
enum Kind {
    Standalone,
    Sentinel { master: String },
    Cluster,
}

/// Is where Redis is found, checked.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) places: Places,
    /// For the servers that keep the data.
    pub(crate) login: Login,
    pub(crate) prefix: Box<str>,
    pub(crate) limits: Limits,
}

#[derive(Clone, Debug)]
pub(crate) enum Places {
    Standalone { endpoint: Endpoint, database: u8 },
    Sentinel { master: Box<str>, sentinels: Vec<(Endpoint, Login)>, database: u8 },
    Cluster { seeds: Vec<Endpoint> },
}

/// Is a server, and how to reach it.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct Endpoint {
    pub(crate) host: Box<str>,
    pub(crate) port: u16,
}

/// Is who we say that we are, and over what.
#[derive(Clone, Default)]
pub(crate) struct Login {
    pub(crate) username: Option<Box<str>>,
    pub(crate) password: Option<Secret>,
    pub(crate) tls: Option<Arc<ClientConfig>>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) connect: Duration,
    pub(crate) command: Duration,
    pub(crate) commands: usize,
    pub(crate) longest_pause: Duration,
    pub(crate) allows_eviction: bool,
}

impl RedisBuilder {
    pub(crate) fn standalone(url: impl Into<Secret>) -> Self {
        Self::new(Kind::Standalone, vec![url.into()])
    }

    pub(crate) fn sentinel(master: String, urls: Vec<Secret>) -> Self {
        Self::new(Kind::Sentinel { master }, urls)
    }

    pub(crate) fn cluster(urls: Vec<Secret>) -> Self {
        Self::new(Kind::Cluster, urls)
    }

    fn new(kind: Kind, urls: Vec<Secret>) -> Self {
        let limits = Limits {
            connect: Duration::from_secs(1),
            command: Duration::from_secs(1),
            commands: 1024,
            longest_pause: Duration::from_secs(2),
            allows_eviction: false,
        };
        let (login, roots, client_certificate) = (None, None, None);
        Self { kind, urls, login, prefix: "sekisho".to_owned(), roots, client_certificate, limits }
    }

    /// Sets how to log in at the servers that keep the data, in the place of what their URL says. With sentinels the URLs hold the login
    /// at the sentinels, so this is the only way.
    ///
    /// - `username`: of an ACL; empty for Redis' default user.
    pub fn with_login(mut self, username: &str, password: impl Into<Secret>) -> Self {
        let username = Some(username).filter(|name| !name.is_empty()).map(Into::into);
        self.login = Some(Login { username, password: Some(password.into()), tls: None });
        self
    }

    /// Sets what all keys begin with: 1 to 64 letters, digits, `-`, `_`, `.` and `:`. Default `sekisho`. Services with the same prefix
    /// share everything, so two issuers need two.
    pub fn with_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// Trusts these certificates, PEM, and no others. Default: those that the platform trusts. Counts for `rediss:` only.
    pub fn with_roots(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.roots = Some(pem.into());
        self
    }

    /// Shows a certificate, PEM with its chain, and its key, PEM. Default: none. Counts for `rediss:` only.
    pub fn with_client_certificate(mut self, chain: impl Into<Vec<u8>>, key: impl Into<Secret>) -> Self {
        self.client_certificate = Some((chain.into(), key.into()));
        self
    }

    /// Sets how long one server may take to be connected to, TLS and login included. Default 1 s.
    pub const fn with_connect_timeout(mut self, timeout: Duration) -> Self {
        self.limits.connect = timeout;
        self
    }

    /// Sets how long a call may take, waiting for a connection and being sent elsewhere included. Default 1 s.
    ///
    /// A connection that owes an answer for so long is given up: a server that is gone without a word is noticed by it.
    pub const fn with_command_timeout(mut self, timeout: Duration) -> Self {
        self.limits.command = timeout;
        self
    }

    /// Sets how many calls may be under way at once; one more is a failure at once. Default 1,024. There is no queue beyond it.
    pub const fn with_max_commands(mut self, commands: usize) -> Self {
        self.limits.commands = commands;
        self
    }

    /// Sets the longest pause between two attempts to connect to a server that is away. The first is a tenth of a second, and each doubles.
    /// Default 2 s.
    pub const fn with_longest_pause(mut self, pause: Duration) -> Self {
        self.limits.longest_pause = pause;
        self
    }

    /// Accepts a Redis that throws keys away when its memory is full, or that does not let us ask (`INFO`; behind sentinels it must let us
    /// ask whether it is a master).
    ///
    /// By default no connection is used whose `maxmemory-policy` is not `noeviction`: a Redis that forgets lets a used proof pass again
    /// and a withdrawn token live on. This is for services where an operator promises what `INFO memory` cannot show.
    pub const fn dangerous_allow_eviction(mut self) -> Self {
        self.limits.allows_eviction = true;
        self
    }

    /// Checks it all and makes the client. It connects with the first call.
    ///
    /// # Errors
    /// [`ConfigError`] for no URL or more than 64, a URL that is none of `redis://` and `rediss://` or has what those do not have, a
    /// database in a cluster, a prefix or the name of a master that is out of bounds, certificates that cannot be read, and for a limit of
    /// zero.
    pub fn build(self) -> Result<Redis, ConfigError> {
        let Self { kind, urls, login: explicit, prefix, roots, client_certificate, limits } = self;
        if limits.connect.is_zero()
            || limits.command.is_zero()
            || limits.longest_pause.is_zero()
            || limits.commands == 0
        {
            return Err(ConfigError::new("timeouts, pauses and the number of commands must be above zero"));
        }
        if limits.commands > tokio::sync::Semaphore::MAX_PERMITS {
            return Err(ConfigError::new("so many commands at once cannot be counted"));
        }
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte);
        if !(1..=64).contains(&prefix.len()) || !prefix.bytes().all(is_plain) {
            return Err(ConfigError::new("a key prefix must be 1 to 64 letters, digits, `-`, `_`, `.` or `:`"));
        }
        if urls.is_empty() || urls.len() > 64 {
            return Err(ConfigError::new("redis needs 1 to 64 URLs"));
        }
        let port = if matches!(kind, Kind::Sentinel { .. }) { 26379 } else { 6379 };
        let mut addresses = urls.iter().map(|url| Address::parse(url, port)).collect::<Result<Vec<_>, _>>()?;
        let is_secured = addresses.iter().any(|address| address.is_secured);
        if is_secured != addresses.iter().all(|address| address.is_secured) {
            return Err(ConfigError::new("either all URLs of redis are `rediss:` or none"));
        }
        let tls = if is_secured { Some(tls::config(roots.as_deref(), client_certificate.as_ref())?) } else { None };
        for address in &mut addresses {
            address.login.tls.clone_from(&tls);
        }
        let database = addresses.iter().map(|address| address.database).max().unwrap_or(0);
        if addresses.iter().any(|address| address.database != database) {
            return Err(ConfigError::new("all URLs of redis must name the same database"));
        }
        let first = addresses.first().map(|address| address.login.clone()).unwrap_or_default();
        let from_url = |login: Option<Login>| login.map_or(first, |login| Login { tls: tls.clone(), ..login });
        let (places, login) = match kind {
            Kind::Standalone => {
                let [address] = <[Address; 1]>::try_from(addresses)
                    .map_err(|_| ConfigError::new("a standalone redis has one URL"))?;
                (Places::Standalone { endpoint: address.endpoint, database }, from_url(explicit))
            }
            Kind::Sentinel { master } => {
                if !(1..=256).contains(&master.len()) || master.bytes().any(|byte| !byte.is_ascii_graphic()) {
                    return Err(ConfigError::new("the name of a master must be 1 to 256 visible ASCII characters"));
                }
                let sentinels = addresses.into_iter().map(|address| (address.endpoint, address.login)).collect();
                let login = explicit.unwrap_or_default();
                (Places::Sentinel { master: master.into(), sentinels, database }, Login { tls, ..login })
            }
            Kind::Cluster => {
                if database != 0 {
                    return Err(ConfigError::new("a redis cluster has no other database than 0"));
                }
                let seeds = addresses.into_iter().map(|address| address.endpoint).collect();
                (Places::Cluster { seeds }, from_url(explicit))
            }
        };
        Ok(Redis::new(Config { places, login, prefix: prefix.into(), limits }))
    }
}

struct Address {
    endpoint: Endpoint,
    login: Login,
    database: u8,
    is_secured: bool,
}

impl Address {
    /// Reads `redis[s]://[USER[:PASSWORD]@]HOST[:PORT][/DATABASE]`. No error shows any of it.
    fn parse(url: &Secret, default_port: u16) -> Result<Self, ConfigError> {
        const WANTED: &str = "a URL of redis must be redis[s]://[USER:PASSWORD@]HOST[:PORT][/DATABASE]";
        let wrong = || ConfigError::new(WANTED);
        let url = url.expose_str().and_then(|text| Url::parse(text).ok()).ok_or_else(wrong)?;
        let is_secured = match url.scheme() {
            "redis" => false,
            "rediss" => true,
            _ => return Err(wrong()),
        };
        if url.query().is_some() || url.fragment().is_some() {
            return Err(wrong());
        }
        let host = url.host_str().filter(|host| !host.is_empty()).ok_or_else(wrong)?;
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let database = match url.path() {
            "" | "/" => 0,
            path => path.get(1..).and_then(|number| number.parse().ok()).ok_or_else(wrong)?,
        };
        let decoded = |text: &str| percent_decode_str(text).decode_utf8().map(String::from).map_err(|_| wrong());
        let username = Some(decoded(url.username())?).filter(|name| !name.is_empty()).map(Into::into);
        let password = url.password().map(decoded).transpose()?.map(Secret::from);
        if username.is_some() && password.is_none() {
            return Err(ConfigError::new("a URL of redis with a user needs a password, too"));
        }
        let endpoint = Endpoint { host: host.into(), port: url.port().unwrap_or(default_port) };
        Ok(Self { endpoint, login: Login { username, password, tls: None }, database, is_secured })
    }
}

impl fmt::Debug for RedisBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, prefix, limits, .. } = self;
        f.debug_struct("RedisBuilder")
            .field("kind", kind)
            .field("prefix", prefix)
            .field("limits", limits)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Login(..)")
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        if host.contains(':') { write!(f, "[{host}]:{port}") } else { write!(f, "{host}:{port}") }
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests;
