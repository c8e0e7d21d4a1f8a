use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{
    ClientHello, NoClientAuth, NoServerSessionStorage, ParsedCertificate, ResolvesServerCert, WebPkiClientVerifier,
};
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};
use rustls::{RootCertStore, ServerConfig};
use sekisho_core::{ConfigError, Secret};
use sekisho_http::ClientCertificate;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// Ends TLS 1.2 and 1.3 on a gateway's listener, by rustls on aws-lc-rs.
///
/// HTTP/2 or HTTP/1.1 is agreed upon by ALPN; a client that names neither of the two is turned away, and one that says nothing speaks
/// HTTP/1.1. There is no early data (0-RTT), which could be replayed, and sessions are resumed from memory alone; where clients are asked for
/// certificates they are not, so that each connection's is verified. A clone costs a counter.
///
/// # Examples
/// ```no_run
/// # fn read() -> Result<(), Box<dyn std::error::Error>> {
/// use sekisho_core::Secret;
/// use sekisho_gateway::{ServerCertificate, ServerTls};
/// let key = Secret::new(std::fs::read("/etc/gateway/key.pem")?);
/// let certificate = ServerCertificate::from_pem(&std::fs::read("/etc/gateway/chain.pem")?, &key)?;
/// let tls = ServerTls::builder(certificate).build()?;
/// # let _ = tls; Ok(()) }
/// ```
#[derive(Clone)]
pub struct ServerTls(Arc<Inner>);

struct Inner {
    config: Arc<ServerConfig>,
    handshake_timeout: Duration,
}

impl ServerTls {
    /// Begins with the certificate for clients that name no host.
    pub fn builder(certificate: ServerCertificate) -> ServerTlsBuilder {
        ServerTlsBuilder {
            certificates: vec![certificate],
            clients: None,
            speaks_http2: true,
            handshake_timeout: Duration::from_secs(10),
        }
    }

    /// Makes the handshake, within its time.
    pub(crate) async fn accept<S: AsyncRead + AsyncWrite + Unpin>(&self, stream: S) -> std::io::Result<Accepted<S>> {
        let accepting = TlsAcceptor::from(Arc::clone(&self.0.config)).accept(stream);
        let Ok(accepted) = tokio::time::timeout(self.0.handshake_timeout, accepting).await else {
            return Err(std::io::Error::new(std::io::ErrorKind::TimedOut, "the TLS handshake takes too long"));
        };
        let stream = accepted?;
        let (_, connection) = stream.get_ref();
        let is_http2 = connection.alpn_protocol() == Some(HTTP2);
        let certificate = connection.peer_certificates().and_then(|chain| chain.first());
        let certificate = certificate.map(|certificate| ClientCertificate::from_der(certificate.as_ref().to_vec()));
        Ok(Accepted { stream, is_http2, certificate })
    }
}

impl fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { config, handshake_timeout } = &*self.0;
        f.debug_struct("ServerTls")
            .field("http2", &config.alpn_protocols.iter().any(|protocol| protocol == HTTP2))
            .field("handshake_timeout", handshake_timeout)
            .finish_non_exhaustive()
    }
}

/// Is a connection after its handshake.
pub(crate) struct Accepted<S> {
    pub(crate) stream: TlsStream<S>,
    pub(crate) is_http2: bool,
    /// What the client proved to own, verified by a listed authority.
    pub(crate) certificate: Option<ClientCertificate>,
}

/// Configures a [`ServerTls`].
#[derive(Debug)]
#[must_use]
pub struct ServerTlsBuilder {
    certificates: Vec<ServerCertificate>,
    clients: Option<ClientAuthorities>,
    speaks_http2: bool,
    handshake_timeout: Duration,
}

impl ServerTlsBuilder {
    /// Adds a certificate for clients that name one of its hosts (SNI); the first that fits is shown. A client that names a host of no
    /// certificate is turned away. At most 100.
    pub fn with_certificate(mut self, certificate: ServerCertificate) -> Self {
        self.certificates.push(certificate);
        self
    }

    /// Asks clients for a certificate, verified by these authorities. Default: clients are not asked.
    ///
    /// The certificate then counts as the caller's, for tokens that are bound to one
    /// ([RFC 8705 §3](https://www.rfc-editor.org/rfc/rfc8705#section-3)); it lets nobody pass by itself.
    pub fn with_client_certificates(mut self, authorities: ClientAuthorities) -> Self {
        self.clients = Some(authorities);
        self
    }

    /// Speaks HTTP/1.1 only.
    pub const fn without_http2(mut self) -> Self {
        self.speaks_http2 = false;
        self
    }

    /// Gives a client so long for the whole handshake, above zero and at most 60 s. Default 10 s.
    pub const fn with_handshake_timeout(mut self, timeout: Duration) -> Self {
        self.handshake_timeout = timeout;
        self
    }

    /// Builds it.
    ///
    /// # Errors
    /// More than 100 certificates; a timeout out of its range; what rustls finds wrong.
    pub fn build(self) -> Result<ServerTls, ConfigError> {
        let Self { certificates, clients, speaks_http2, handshake_timeout } = self;
        if certificates.len() > MOST_CERTIFICATES {
            return Err(ConfigError::new("more than 100 certificates"));
        }
        if handshake_timeout.is_zero() || handshake_timeout > LONGEST_HANDSHAKE {
            return Err(ConfigError::new("a handshake may take above zero and at most 60 s"));
        }
        let asks_clients = clients.is_some();
        let verifier = match clients {
            Some(ClientAuthorities(verifier)) => verifier,
            None => Arc::new(NoClientAuth) as Arc<dyn ClientCertVerifier>,
        };
        let versions =
            ServerConfig::builder_with_provider(Arc::new(provider())).with_protocol_versions(&[&TLS13, &TLS12]);
        let versions = versions.map_err(|error| ConfigError::new("TLS cannot be set up").with_source(error))?;
        let by_name = ByName(certificates.into_iter().map(|ServerCertificate(key)| key).collect());
        let mut config = versions.with_client_cert_verifier(verifier).with_cert_resolver(Arc::new(by_name));
        config.alpn_protocols = if speaks_http2 { vec![HTTP2.to_vec(), HTTP1.to_vec()] } else { vec![HTTP1.to_vec()] };
        if asks_clients {
            // A resumed session would have the certificate that was verified when it began, also when that has expired since.
            (config.session_storage, config.send_tls13_tickets) = (Arc::new(NoServerSessionStorage {}), 0);
        }
        Ok(ServerTls(Arc::new(Inner { config: Arc::new(config), handshake_timeout })))
    }
}

/// Is a certificate of the gateway's own, with the chain up to its authority and its private key. `Debug` shows nothing of it.
#[derive(Clone)]
pub struct ServerCertificate(Arc<CertifiedKey>);

impl ServerCertificate {
    /// Reads PEM.
    ///
    /// - `chain`: the certificate, then those of the authorities between, at most 10 and 1 MiB in all.
    /// - `key`: PKCS#8, PKCS#1 or SEC1, not encrypted.
    ///
    /// # Errors
    /// What is not PEM or not a certificate; a key that is none, or is of another certificate. No message shows any of the key.
    pub fn from_pem(chain: &[u8], key: &Secret) -> Result<Self, ConfigError> {
        let chain = certificates(chain, LONGEST_CHAIN)?;
        let key = PrivateKeyDer::from_pem_slice(key.expose())
            .map_err(|_| ConfigError::new("the key is no private key in PEM (PKCS#8, PKCS#1 or SEC1)"))?;
        let provider = provider();
        let key = provider.key_provider.load_private_key(key);
        let key = key.map_err(|_| ConfigError::new("the key is of a kind that TLS does not use"))?;
        let certified = CertifiedKey::new(chain, key);
        certified
            .keys_match()
            .map_err(|error| ConfigError::new("certificate and key do not fit").with_source(error))?;
        Ok(Self(Arc::new(certified)))
    }
}

impl fmt::Debug for ServerCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ServerCertificate({} in its chain)", self.0.cert.len())
    }
}

/// Says whose client certificates are taken.
#[derive(Clone)]
pub struct ClientAuthorities(Arc<dyn ClientCertVerifier>);

impl ClientAuthorities {
    /// Turns clients away that have no certificate of one of these authorities.
    ///
    /// `authorities`: PEM, at most 100 certificates and 1 MiB. Lists of what they withdrew are not asked for.
    ///
    /// # Errors
    /// What is not PEM or cannot be an authority.
    pub fn required(authorities: &[u8]) -> Result<Self, ConfigError> {
        Self::new(authorities, true)
    }

    /// Takes clients without a certificate too. One of somebody else is turned away.
    ///
    /// # Errors
    /// As for [`required`](Self::required).
    pub fn optional(authorities: &[u8]) -> Result<Self, ConfigError> {
        Self::new(authorities, false)
    }

    fn new(authorities: &[u8], is_required: bool) -> Result<Self, ConfigError> {
        let unfit = |error| ConfigError::new("a certificate cannot be an authority's").with_source(error);
        let mut roots = RootCertStore::empty();
        for authority in certificates(authorities, MOST_CERTIFICATES)? {
            roots.add(authority).map_err(unfit)?;
        }
        let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::new(provider()));
        let builder = if is_required { builder } else { builder.allow_unauthenticated() };
        let verifier = builder.build();
        let verifier =
            verifier.map_err(|error| ConfigError::new("the authorities cannot be used").with_source(error))?;
        Ok(Self(verifier))
    }
}

impl fmt::Debug for ClientAuthorities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_required = self.0.client_auth_mandatory();
        f.debug_struct("ClientAuthorities").field("required", &is_required).finish_non_exhaustive()
    }
}

/// Chooses the certificate by the name that the client asks for.
struct ByName(Box<[Arc<CertifiedKey>]>);

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let usable = |key: &&Arc<CertifiedKey>| key.key.choose_scheme(hello.signature_schemes()).is_some();
        let Some(name) = hello.server_name() else { return self.0.iter().find(usable).cloned() };
        let name = ServerName::try_from(name).ok()?;
        self.0.iter().filter(|key| is_for(key, &name)).find(usable).cloned()
    }
}

impl fmt::Debug for ByName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ByName({})", self.0.len())
    }
}

fn is_for(key: &CertifiedKey, name: &ServerName<'_>) -> bool {
    let parsed = key.end_entity_cert().and_then(ParsedCertificate::try_from);
    parsed.is_ok_and(|parsed| rustls::client::verify_server_name(&parsed, name).is_ok())
}

fn certificates(pem: &[u8], most: usize) -> Result<Vec<CertificateDer<'static>>, ConfigError> {
    if pem.len() > LONGEST_PEM {
        return Err(ConfigError::new("the certificates are longer than 1 MiB"));
    }
    let read = CertificateDer::pem_slice_iter(pem).take(most + 1).collect::<Result<Vec<_>, _>>();
    let read = read.map_err(|error| ConfigError::new("the certificates are not PEM").with_source(error))?;
    if read.is_empty() || read.len() > most {
        return Err(ConfigError::new(format!("there must be 1 to {most} certificates")));
    }
    for certificate in &read {
        ParsedCertificate::try_from(certificate)
            .map_err(|error| ConfigError::new("a certificate cannot be read").with_source(error))?;
    }
    Ok(read)
}

/// Never the process's default, which others could set.
fn provider() -> CryptoProvider {
    aws_lc_rs::default_provider()
}

const HTTP2: &[u8] = b"h2";
const HTTP1: &[u8] = b"http/1.1";
const LONGEST_PEM: usize = 1024 * 1024;
const LONGEST_CHAIN: usize = 10;
const MOST_CERTIFICATES: usize = 100;
const LONGEST_HANDSHAKE: Duration = Duration::from_secs(60);
