use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use base64_simd::STANDARD;
use sekisho_core::{CertificateForm, ConfigError, ShownCertificate};

use crate::extract::is_token;
use crate::head::RequestHead;

/// Is the certificate that a client proved to own when its connection was made.
///
/// The application takes it from its TLS layer and puts it where the adapter looks: into the extensions of each request
/// for tower and axum, into the data of the connection (`HttpServer::on_connect`) for actix-web. A clone costs a counter.
///
/// Nothing of it is checked here but its thumbprint: whether the TLS layer trusts it is the TLS layer's to decide. With
/// [RFC 8705 §4](https://www.rfc-editor.org/rfc/rfc8705#section-4) it may be self-signed.
#[derive(Clone, PartialEq, Eq)]
pub struct ClientCertificate(Arc<[u8]>);

impl ClientCertificate {
    /// Takes the client's own certificate, the first of its chain, as DER.
    #[must_use]
    pub fn from_der(der: impl Into<Arc<[u8]>>) -> Self {
        Self(der.into())
    }

    /// Returns the DER.
    #[must_use]
    pub fn der(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for ClientCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ClientCertificate({} bytes)", self.0.len())
    }
}

/// Says in which header a proxy that ends TLS writes the client's certificate, and which proxies are believed.
///
/// The proxy must drop the header when a client sends it, also when there is no certificate.
///
/// # Examples
/// ```
/// use sekisho_http::{ClientCertificateHeader, TrustedProxies};
/// let proxies = TrustedProxies::new(["10.0.0.0/8", "::1"])?;
/// let header = ClientCertificateHeader::rfc9440(proxies.clone());
/// let nginx = ClientCertificateHeader::escaped_pem("ssl-client-cert", proxies)?; // $ssl_client_escaped_cert
/// # let _ = (header, nginx);
/// # Ok::<(), sekisho_core::ConfigError>(())
/// ```
#[derive(Clone, Debug)]
pub struct ClientCertificateHeader {
    name: Box<str>,
    form: CertificateForm,
    proxies: TrustedProxies,
}

impl ClientCertificateHeader {
    /// Reads `Client-Cert` ([RFC 9440 §2.2](https://www.rfc-editor.org/rfc/rfc9440#section-2.2)).
    #[must_use]
    pub fn rfc9440(proxies: TrustedProxies) -> Self {
        Self { name: "client-cert".into(), form: CertificateForm::ByteSequence, proxies }
    }

    /// Reads PEM with percent escapes from the header of this name, as nginx writes `$ssl_client_escaped_cert`.
    ///
    /// # Errors
    /// When the name cannot be one of a header.
    pub fn escaped_pem(name: &str, proxies: TrustedProxies) -> Result<Self, ConfigError> {
        Self::named(name, CertificateForm::EscapedPem, proxies)
    }

    /// Reads plain base64 of DER from `X-Forwarded-Tls-Client-Cert`, as Traefik writes it; of a chain the first.
    #[must_use]
    pub fn traefik(proxies: TrustedProxies) -> Self {
        Self { name: "x-forwarded-tls-client-cert".into(), form: CertificateForm::Base64, proxies }
    }

    fn named(name: &str, form: CertificateForm, proxies: TrustedProxies) -> Result<Self, ConfigError> {
        if !is_token(name.as_bytes()) {
            return Err(ConfigError::new(format!("{name:?} cannot be the name of a header")));
        }
        Ok(Self { name: name.to_ascii_lowercase().into(), form, proxies })
    }

    /// Tells whether the request comes from one of the proxies.
    pub(crate) fn believes(&self, head: &impl RequestHead) -> bool {
        head.peer().is_some_and(|peer| self.proxies.contains(peer))
    }

    /// Takes the certificate out of a request that comes from one of the proxies; several headers are none.
    pub(crate) fn read<'a>(&'a self, head: &'a impl RequestHead) -> Option<ShownCertificate<'a>> {
        let mut values = head.header(&self.name);
        let value = values.next().filter(|value| value.len() <= MAX_HEADER)?;
        values.next().is_none().then_some(ShownCertificate::new(self.form, value))
    }
}

/// Lists the proxies whose word is taken, by their addresses and networks.
#[derive(Clone, Debug)]
pub struct TrustedProxies(Box<[(IpAddr, u8)]>);

impl TrustedProxies {
    /// Reads addresses (`10.0.0.7`, `::1`) and networks (`10.0.0.0/8`, `fd00::/8`).
    ///
    /// # Errors
    /// When there is none, or one is neither, or has bits set behind its prefix.
    pub fn new<I: IntoIterator<Item = S>, S: AsRef<str>>(proxies: I) -> Result<Self, ConfigError> {
        let proxies: Box<[_]> = proxies.into_iter().map(|proxy| network(proxy.as_ref())).collect::<Result<_, _>>()?;
        if proxies.is_empty() {
            return Err(ConfigError::new("no proxy is trusted, so no header of one can be"));
        }
        Ok(Self(proxies))
    }

    /// Tells whether this is the address of one of them. An IPv4 address inside of IPv6 counts as what it is.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|(network, prefix)| covers(*network, *prefix, address))
    }
}

fn network(text: &str) -> Result<(IpAddr, u8), ConfigError> {
    let refuse = || ConfigError::new(format!("{text:?} is no address and no network, such as 10.0.0.0/8"));
    let (address, prefix) = match text.split_once('/') {
        Some((address, prefix)) => (address, Some(prefix.parse::<u8>().map_err(|_| refuse())?)),
        None => (text, None),
    };
    let address: IpAddr = address.parse().map_err(|_| refuse())?;
    let longest = if address.is_ipv4() { 32 } else { 128 };
    let prefix = prefix.unwrap_or(longest);
    let canonical = address.to_canonical();
    // ::ffff:0:0/96 and the like could be read in two ways.
    if prefix > longest || canonical.is_ipv4() != address.is_ipv4() || bits(address) != masked(address, prefix) {
        return Err(refuse());
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

fn masked(address: IpAddr, prefix: u8) -> u128 {
    let mask = u128::MAX.checked_shl(128 - u32::from(prefix.min(128))).unwrap_or(0);
    bits(address) & mask
}

/// Decodes a certificate to DER; `None` when it is not in its form, or longer than 16 KiB.
///
/// It is not looked into: who compares its hash with a good one learns all there is to know.
#[must_use]
pub fn certificate_der<'a>(shown: ShownCertificate<'a>) -> Option<Cow<'a, [u8]>> {
    let bytes = shown.bytes();
    if bytes.len() > MAX_HEADER {
        return None;
    }
    match shown.form() {
        CertificateForm::Der => Some(Cow::Borrowed(bytes)),
        CertificateForm::ByteSequence => base64(bytes.strip_prefix(b":")?.strip_suffix(b":")?),
        CertificateForm::Base64 => {
            let decoded: Cow<'_, [u8]> = percent_encoding::percent_decode(bytes).into();
            base64(decoded.split(|b| *b == b',').next()?).map(|der| Cow::Owned(der.into_owned()))
        }
        CertificateForm::EscapedPem => {
            let pem: Cow<'_, [u8]> = percent_encoding::percent_decode(bytes).into();
            let body = pem.trim_ascii().strip_prefix(PEM_BEGIN)?.strip_suffix(PEM_END)?;
            let body: Vec<u8> = body.iter().copied().filter(|b| !b.is_ascii_whitespace()).collect();
            base64(&body).map(|der| Cow::Owned(der.into_owned()))
        }
        _ => None,
    }
}

fn base64(text: &[u8]) -> Option<Cow<'_, [u8]>> {
    if text.is_empty() {
        return None;
    }
    STANDARD.decode_to_vec(text).ok().map(Cow::Owned)
}

const PEM_BEGIN: &[u8] = b"-----BEGIN CERTIFICATE-----";
const PEM_END: &[u8] = b"-----END CERTIFICATE-----";
/// Bytes of a certificate in whatever form.
const MAX_HEADER: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn der(form: CertificateForm, text: &str) -> Option<Vec<u8>> {
        certificate_der(ShownCertificate::new(form, text.as_bytes())).map(Cow::into_owned)
    }

    #[test]
    fn decodes_each_form() {
        assert_eq!(der(CertificateForm::Der, "abc"), Some(b"abc".to_vec()));
        assert_eq!(der(CertificateForm::ByteSequence, ":YWJjZA==:"), Some(b"abcd".to_vec()));
        assert_eq!(der(CertificateForm::Base64, "YWJjZA=="), Some(b"abcd".to_vec()));
        assert_eq!(der(CertificateForm::Base64, "YWJjZA%3D%3D,ZWZn"), Some(b"abcd".to_vec()));
        let pem = "-----BEGIN%20CERTIFICATE-----%0AYWJj%0AZA%3D%3D%0A-----END%20CERTIFICATE-----%0A";
        assert_eq!(der(CertificateForm::EscapedPem, pem), Some(b"abcd".to_vec()));
    }

    #[test]
    fn refuses_what_is_not_in_its_form() {
        for text in ["", ":", "::", "YWJj", ":YWJj", "YWJj:", ":YWJ:", ":YW-_:", ":YWJj:, :YWJj:", ": YWJj:", ":YQ=:"] {
            assert_eq!(der(CertificateForm::ByteSequence, text), None, "{text:?}");
        }
        for text in ["", ",", ",YWJj", ":YWJj:", "YW Jj"] {
            assert_eq!(der(CertificateForm::Base64, text), None, "{text:?}");
        }
        let twice = "-----BEGIN CERTIFICATE-----YWJj-----END CERTIFICATE-----".repeat(2);
        for text in
            ["", "YWJj", "-----BEGIN CERTIFICATE-----", "-----BEGIN CERTIFICATE----------END CERTIFICATE-----", &twice]
        {
            assert_eq!(der(CertificateForm::EscapedPem, text), None, "{text:?}");
        }
        assert_eq!(der(CertificateForm::Der, &"a".repeat(MAX_HEADER + 1)), None);
    }

    #[test]
    fn knows_the_listed_proxies_and_no_others() {
        let proxies = TrustedProxies::new(["10.1.0.0/16", "192.0.2.7", "fd00::/8", "::1"]).unwrap();
        for yes in ["10.1.0.0", "10.1.255.255", "192.0.2.7", "::ffff:10.1.2.3", "fd12::3", "::1"] {
            assert!(proxies.contains(yes.parse().unwrap()), "{yes}");
        }
        for no in ["10.2.0.0", "10.0.255.255", "192.0.2.8", "fe80::1", "::2", "::ffff:10.2.0.1", "127.0.0.1"] {
            assert!(!proxies.contains(no.parse().unwrap()), "{no}");
        }
        let all = TrustedProxies::new(["0.0.0.0/0"]).unwrap();
        assert!(all.contains("203.0.113.9".parse().unwrap()) && !all.contains("::2".parse().unwrap()));
    }

    #[test]
    fn refuses_lists_that_say_something_else_than_they_seem_to() {
        for bad in [
            "",
            "proxy.example",
            "10.0.0.1/8",
            "10.0.0.0/33",
            "::/129",
            "10.0.0.0/",
            "/8",
            "::ffff:10.0.0.0/104",
            "10.0/8",
        ] {
            assert!(TrustedProxies::new([bad]).is_err(), "{bad}");
        }
        assert!(TrustedProxies::new(Vec::<String>::new()).is_err());
        let proxies = TrustedProxies::new(["::1"]).unwrap();
        assert!(ClientCertificateHeader::escaped_pem("a b", proxies).is_err());
    }

    #[test]
    fn debug_shows_no_certificate() {
        assert_eq!(format!("{:?}", ClientCertificate::from_der(&b"abc"[..])), "ClientCertificate(3 bytes)");
    }
}
