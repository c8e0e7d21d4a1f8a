use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use sekisho_core::ConfigError;
use serde_json::json;

use super::PasskeyChallenge;
use super::key::OFFERED;
use crate::random::to_base64;
use crate::{AccountId, Passkey, Username};

/// Says whether authenticators must verify the user, by a PIN or a fingerprint for example.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum UserVerification {
    /// They must: a passkey is then two factors, what the user has and what the user knows or is.
    #[default]
    Required,
    /// They may. Without it a passkey is one factor, and a second is asked of accounts that have one.
    Preferred,
}

/// Says what happens when a signature counter has not grown
/// ([WebAuthn §6.1.1](https://www.w3.org/TR/webauthn-3/#sctn-sign-counter)). Passkeys that are on several devices do not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum CounterPolicy {
    /// The login is refused: there may be a copy of the authenticator.
    #[default]
    Refuse,
    /// It is logged as a warning, and the higher counter stays.
    Warn,
}

/// Says for which site passkeys are made, and what is asked of them.
///
/// Attestation is not asked for, and what comes of it all the same is not looked at: which model an authenticator is, and whether
/// its keys are in hardware, is not known. Algorithms are ES256, EdDSA with Ed25519, and RS256, in this order. Passkeys are
/// discoverable, so that nobody has to be named to log in, and no answer lists the passkeys of anybody who is not logged in.
#[derive(Clone, Debug)]
pub struct RelyingParty {
    id: String,
    id_hash: [u8; 32],
    name: String,
    origins: Vec<String>,
    pub(super) user_verification: UserVerification,
    pub(super) counter_policy: CounterPolicy,
    pub(crate) lifetime: Duration,
    pub(crate) most_passkeys: u32,
}

impl RelyingParty {
    /// Takes what identifies the site.
    ///
    /// - `id`: the domain that passkeys are bound to for good, such as `example.com`: that of the login page or one above it, in
    ///   lower case. Every page below it can ask for them, so take the narrowest that will do.
    /// - `name`: what authenticators show, 1 to 64 characters.
    /// - `origins`: where the pages are, such as `https://login.example.com`, compared character by character. For trying out,
    ///   `http://localhost:8080` with the id `localhost`.
    ///
    /// # Errors
    /// [`ConfigError`] when the id is no domain, the name is too long or empty, there is no origin, or one is not `https://`,
    /// not below the id, or written other than browsers write it (lower case, no default port, no slash at the end).
    pub fn new<'a>(id: &str, name: &str, origins: impl IntoIterator<Item = &'a str>) -> Result<Self, ConfigError> {
        if !is_domain(id) {
            return Err(ConfigError::new("the id of a relying party is a domain in lower case"));
        }
        if name.is_empty() || name.chars().count() > 64 || name.chars().any(char::is_control) {
            return Err(ConfigError::new("the name of a relying party has 1 to 64 characters"));
        }
        let origins: Vec<String> = origins.into_iter().map(str::to_owned).collect();
        if origins.is_empty() || !origins.iter().all(|origin| is_origin_below(origin, id)) {
            return Err(ConfigError::new(
                "origins of passkeys are https://host or https://host:port with a host that is the relying party's id or below it, \
                 or http://localhost:port",
            ));
        }
        let mut id_hash = [0; 32];
        id_hash.copy_from_slice(digest(&SHA256, id.as_bytes()).as_ref());
        Ok(Self {
            id: id.to_owned(),
            id_hash,
            name: name.to_owned(),
            origins,
            user_verification: UserVerification::default(),
            counter_policy: CounterPolicy::default(),
            lifetime: Duration::from_secs(300),
            most_passkeys: 20,
        })
    }

    /// Sets whether authenticators must verify the user. Default: they must.
    #[must_use]
    pub const fn with_user_verification(mut self, policy: UserVerification) -> Self {
        self.user_verification = policy;
        self
    }

    /// Sets what happens when a counter has not grown. Default: the login is refused.
    #[must_use]
    pub const fn with_counter_policy(mut self, policy: CounterPolicy) -> Self {
        self.counter_policy = policy;
        self
    }

    /// Sets how long a ceremony may take. Default: 5 minutes; cut to 1 to 15 minutes.
    #[must_use]
    pub fn with_lifetime(mut self, lifetime: Duration) -> Self {
        self.lifetime = lifetime.clamp(Duration::from_secs(60), LONGEST_LIFETIME);
        self
    }

    /// Sets how many passkeys an account may have. Default: 20; cut to 1 to 100.
    #[must_use]
    pub fn with_most_passkeys(mut self, most: u32) -> Self {
        self.most_passkeys = most.clamp(1, 100);
        self
    }

    /// Returns the domain.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    pub(super) fn is_id_hash(&self, hash: &[u8; 32]) -> bool {
        self.id_hash == *hash
    }

    pub(super) fn has_origin(&self, origin: &str) -> bool {
        self.origins.iter().any(|ours| ours == origin)
    }

    /// Writes what `PublicKeyCredential.parseCreationOptionsFromJSON` reads (WebAuthn §5.1.8).
    pub(crate) fn creation_options(
        &self,
        challenge: &PasskeyChallenge,
        account: &AccountId,
        username: &Username,
        has: &[Passkey],
    ) -> String {
        let excluded: Vec<_> =
            has.iter().map(|has| json!({ "type": "public-key", "id": to_base64(&has.credential_id) })).collect();
        let offered = OFFERED.map(|alg| json!({ "type": "public-key", "alg": alg }));
        json!({
            "rp": { "id": self.id, "name": self.name },
            "user": {
                "id": to_base64(account.as_str().as_bytes()),
                "name": username.as_str(),
                "displayName": username.as_str(),
            },
            "challenge": challenge.to_text(),
            "pubKeyCredParams": offered,
            "timeout": self.timeout(),
            "excludeCredentials": excluded,
            "authenticatorSelection": {
                "residentKey": "required",
                "requireResidentKey": true,
                "userVerification": self.wanted_verification(),
            },
            "attestation": "none",
        })
        .to_string()
    }

    /// Writes what `PublicKeyCredential.parseRequestOptionsFromJSON` reads (WebAuthn §5.1.9). Nobody's passkeys are listed.
    pub(crate) fn request_options(&self, challenge: &PasskeyChallenge) -> String {
        json!({
            "rpId": self.id,
            "challenge": challenge.to_text(),
            "timeout": self.timeout(),
            "userVerification": self.wanted_verification(),
            "allowCredentials": [],
        })
        .to_string()
    }

    fn timeout(&self) -> u64 {
        self.lifetime.as_secs() * 1000
    }

    const fn wanted_verification(&self) -> &'static str {
        match self.user_verification {
            UserVerification::Required => "required",
            UserVerification::Preferred => "preferred",
        }
    }
}

fn is_domain(text: &str) -> bool {
    let is_label = |label: &str| {
        let is_inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        (1..=63).contains(&label.len())
            && label.bytes().all(is_inner)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let last = text.rsplit('.').next().unwrap_or_default();
    // The last label of an address is a number.
    let is_name = last.starts_with(|first: char| first.is_ascii_lowercase());
    text.len() <= 253 && text.split('.').all(is_label) && is_name && (text.contains('.') || text == "localhost")
}

fn is_origin_below(origin: &str, id: &str) -> bool {
    let Some((scheme, authority)) = origin.split_once("://") else { return false };
    let (host, port) = authority.split_once(':').map_or((authority, None), |(host, port)| (host, Some(port)));
    let default_port = match scheme {
        "https" => "443",
        "http" if host == "localhost" => "80",
        _ => return false,
    };
    let is_port = |port: &str| port != default_port && port.parse().is_ok_and(|number: u16| number.to_string() == port);
    let is_below = host == id || host.strip_suffix(id).is_some_and(|above| above.ends_with('.'));
    is_domain(host) && is_below && port.is_none_or(is_port)
}

/// The longest that any process may let a ceremony take.
pub(crate) const LONGEST_LIFETIME: Duration = Duration::from_secs(900);
