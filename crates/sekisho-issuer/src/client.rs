use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use sekisho_core::{ConfigError, Failure, Secret};
use sekisho_jwks::{Algorithm, KeySource};
use serde::{Deserialize, Serialize};

use crate::ScopeSet;
use crate::handle::{self, HandleHash, Purpose};
use crate::redirect::{RedirectUri, check_origin, check_redirect_uri};

mod builder;
mod store;

pub use builder::ClientBuilder;
pub use store::{ClientStore, StaticClients};

/// Is a registered client: what it is called, how it proves itself, and what it may have.
///
/// `Debug` shows the id.
///
/// # Examples
/// ```
/// use sekisho_issuer::{Client, ClientAuthentication, ClientSecret};
///
/// let shop = Client::public("shop-web")
///     .with_name("The Shop")
///     .with_redirect_uri("https://shop.example/callback")
///     .with_scopes("openid profile orders:read")
///     .with_audience("orders-api")
///     .with_refresh_tokens()
///     .build()?;
///
/// let (secret, hash) = ClientSecret::generate()?; // give the one to the client, keep the other
/// let worker = Client::confidential("worker", ClientAuthentication::Secret(vec![hash]))
///     .with_client_credentials()
///     .with_scopes("orders:read")
///     .with_audience("orders-api")
///     .build()?;
/// # let _ = (shop, worker, secret);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Client {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) authentication: ClientAuthentication,
    pub(crate) grants: Vec<GrantKind>,
    pub(crate) redirect_uris: Vec<RedirectUri>,
    pub(crate) post_logout_redirect_uris: Vec<String>,
    pub(crate) scopes: ScopeSet,
    pub(crate) audiences: Vec<String>,
    pub(crate) access_token: AccessTokenFormat,
    pub(crate) access_token_lifetime: Option<Duration>,
    pub(crate) algorithm: Option<Algorithm>,
    pub(crate) asks_consent: bool,
    pub(crate) origins: Vec<String>,
    pub(crate) own_audiences: Vec<String>,
    pub(crate) exchange: Option<ExchangeRules>,
    pub(crate) certificate_bound: bool,
}

impl Client {
    /// Begins a client that can keep a secret: something that runs on a server.
    pub fn confidential(id: impl Into<String>, authentication: ClientAuthentication) -> ClientBuilder {
        ClientBuilder::new(id.into(), authentication)
    }

    /// Begins a client that can keep no secret: in a browser, on a phone or a desk. Its name proves nothing; the redirect URI and PKCE do.
    pub fn public(id: impl Into<String>) -> ClientBuilder {
        ClientBuilder::new(id.into(), ClientAuthentication::None)
    }

    /// Returns the id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Returns the name that users see.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn may(&self, grant: GrantKind) -> bool {
        self.grants.contains(&grant)
    }

    pub(crate) const fn is_public(&self) -> bool {
        matches!(self.authentication, ClientAuthentication::None)
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Client({})", self.id)
    }
}

/// Says how a client proves to be itself. There is one way for each client, and any other is refused.
#[derive(Clone)]
#[non_exhaustive]
pub enum ClientAuthentication {
    /// Not at all: `none`, for public clients.
    None,
    /// By a secret, in the header (`client_secret_basic`) or in the form (`client_secret_post`). Several while the secret changes.
    Secret(Vec<ClientSecret>),
    /// By a JWT that it signs (`private_key_jwt`, [RFC 7523 §2.2](https://www.rfc-editor.org/rfc/rfc7523#section-2.2)), with one of these keys:
    /// a `StaticKeys`, or `RemoteKeys` of the client's `jwks_uri`.
    PrivateKeyJwt(Arc<dyn KeySource>),
    /// By its TLS certificate, as a listed proxy tells it in the header `Client-Cert` ([RFC 8705](https://www.rfc-editor.org/rfc/rfc8705),
    /// [RFC 9440](https://www.rfc-editor.org/rfc/rfc9440)).
    Certificate(CertificateRule),
}

/// Says which certificate is a client's.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CertificateRule {
    /// The one with this SHA-256, 32 bytes (`x5t#S256`; `self_signed_tls_client_auth`). Nothing else of it is looked at.
    Thumbprint([u8; 32]),
    /// One with this subject, as RFC 4514 writes it (`tls_client_auth`): **the proxy must check chain and dates**.
    SubjectName(String),
}

impl fmt::Debug for ClientAuthentication {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "None",
            Self::Secret(_) => "Secret(..)",
            Self::PrivateKeyJwt(_) => "PrivateKeyJwt(..)",
            Self::Certificate(_) => "Certificate(..)",
        })
    }
}

/// Is what is kept of a client's secret: its hash. As JSON it is 43 characters.
///
/// A plain hash is enough because the secret has 256 random bits; one that people make up is refused by its length, no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ClientSecret(HandleHash);

impl ClientSecret {
    /// The fewest characters of a secret that is brought along.
    pub const SHORTEST: usize = 32;

    /// Draws a secret; it is shown this once.
    ///
    /// # Errors
    /// [`Failure`] when the system gives no randomness.
    pub fn generate() -> Result<(Secret, Self), Failure> {
        let secret = handle::secret_text()?;
        let hash = Self(HandleHash::of(Purpose::ClientSecret, handle::text(&secret)));
        Ok((secret, hash))
    }

    /// Takes over a secret from elsewhere: random, of at least [`SHORTEST`](Self::SHORTEST) visible ASCII characters.
    ///
    /// # Errors
    /// [`ConfigError`] when it is shorter, longer than 512, or has other characters.
    pub fn from_secret(secret: &Secret) -> Result<Self, ConfigError> {
        let fits = |text: &&str| {
            (Self::SHORTEST..=512).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
        };
        let text = secret.expose_str().filter(fits);
        let text = text
            .ok_or_else(|| ConfigError::new("a client secret must be random, of 32 to 512 visible ASCII characters"))?;
        Ok(Self(HandleHash::of(Purpose::ClientSecret, text)))
    }

    pub(crate) fn is(&self, presented: &str) -> bool {
        self.0.is(&HandleHash::of(Purpose::ClientSecret, presented))
    }
}

/// Names a way to get tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum GrantKind {
    /// `authorization_code`
    AuthorizationCode,
    /// `refresh_token`
    RefreshToken,
    /// `client_credentials`
    ClientCredentials,
    /// `urn:ietf:params:oauth:grant-type:device_code`
    DeviceCode,
    /// `urn:ietf:params:oauth:grant-type:token-exchange`
    TokenExchange,
}

impl GrantKind {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::AuthorizationCode, Self::RefreshToken, Self::ClientCredentials, Self::DeviceCode, Self::TokenExchange];

    /// Returns the value of `grant_type`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::AuthorizationCode => "authorization_code",
            Self::RefreshToken => "refresh_token",
            Self::ClientCredentials => "client_credentials",
            Self::DeviceCode => "urn:ietf:params:oauth:grant-type:device_code",
            Self::TokenExchange => "urn:ietf:params:oauth:grant-type:token-exchange",
        }
    }

    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// Says what a client's access tokens are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum AccessTokenFormat {
    /// JWTs by [RFC 9068](https://www.rfc-editor.org/rfc/rfc9068): services check them by themselves. A revoked one is good until it ends, except where
    /// introspection is asked.
    Jwt,
    /// Reference tokens: 256 random bits that only introspection can read, and that are no more when revoked.
    Reference,
}

/// Says what a client may exchange tokens for ([RFC 8693](https://www.rfc-editor.org/rfc/rfc8693)).
///
/// The token that it brings must have been made for it: for one of its [own audiences](ClientBuilder::with_own_audience). What it gets has
/// no more scopes and no longer life than that one, and names the client as the one who acts (`act`).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ExchangeRules {
    /// For which audiences; the first is the default.
    pub audiences: Vec<String>,
    /// With which scopes at most.
    pub scopes: ScopeSet,
}

impl ExchangeRules {
    /// Allows tokens for these audiences, with these scopes at most.
    #[must_use]
    pub fn new<I: IntoIterator<Item = S>, S: Into<String>>(audiences: I, scopes: ScopeSet) -> Self {
        Self { audiences: audiences.into_iter().map(Into::into).collect(), scopes }
    }
}

#[cfg(test)]
mod tests;
