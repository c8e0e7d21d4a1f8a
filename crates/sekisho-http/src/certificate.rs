use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use base64_simd::STANDARD;
use sekisho_core::{CertificateForm, ConfigError, ShownCertificate};

use crate::extract::is_token;
use crate::head::RequestHead;
use crate::proxies::TrustedProxies;

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
    /// Whether the certificate is the member `Cert` of Envoy's header.
    is_member: bool,
    proxies: TrustedProxies,
}

impl ClientCertificateHeader {
    /// Reads `Client-Cert` ([RFC 9440 §2.2](https://www.rfc-editor.org/rfc/rfc9440#section-2.2)).
    #[must_use]
    pub fn rfc9440(proxies: TrustedProxies) -> Self {
        Self::new("client-cert", CertificateForm::ByteSequence, proxies)
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
        Self::new("x-forwarded-tls-client-cert", CertificateForm::Base64, proxies)
    }

    /// Reads plain base64 of DER from the header of this name, as Caddy writes
    /// `{http.request.tls.client.certificate_der_base64}`.
    ///
    /// # Errors
    /// When the name cannot be one of a header.
    pub fn base64(name: &str, proxies: TrustedProxies) -> Result<Self, ConfigError> {
        Self::named(name, CertificateForm::Base64, proxies)
    }

    /// Reads the member `Cert` of `X-Forwarded-Client-Cert`, as Envoy writes it with `forward_client_cert_details: SANITIZE_SET` and
    /// `set_current_client_cert_details: { cert: true }`.
    ///
    /// A header that speaks of several proxies (`APPEND_FORWARD`) has no certificate: its first part came from outside. Nor has one with
    /// `Cert` behind `Subject`, `URI` or `DNS`, where Envoy does not write it and a name in a client's certificate could.
    #[must_use]
    pub fn envoy(proxies: TrustedProxies) -> Self {
        Self { is_member: true, ..Self::new("x-forwarded-client-cert", CertificateForm::EscapedPem, proxies) }
    }

    fn new(name: &str, form: CertificateForm, proxies: TrustedProxies) -> Self {
        Self { name: name.into(), form, is_member: false, proxies }
    }

    fn named(name: &str, form: CertificateForm, proxies: TrustedProxies) -> Result<Self, ConfigError> {
        if !is_token(name.as_bytes()) {
            return Err(ConfigError::new(format!("{name:?} cannot be the name of a header")));
        }
        Ok(Self::new(&name.to_ascii_lowercase(), form, proxies))
    }

    /// Returns the name of the header, in lower case.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Takes the certificate out of a request that a checkpoint does not see.
    ///
    /// - `peer`: who sent it; if that is not known, nobody is believed.
    /// - `values`: of all headers of this [name](Self::name). Several are none.
    #[must_use]
    pub fn certificate<'a>(
        &self,
        peer: Option<IpAddr>,
        values: impl IntoIterator<Item = &'a [u8]>,
    ) -> Option<ClientCertificate> {
        peer.filter(|peer| self.proxies.contains(*peer))?;
        let shown = self.one(values.into_iter())?;
        certificate_der(shown).map(|der| ClientCertificate::from_der(der.into_owned()))
    }

    pub(crate) fn believes_nobody(&self) -> bool {
        self.proxies.is_empty()
    }

    /// Tells whether the request comes from one of the proxies.
    pub(crate) fn believes(&self, head: &impl RequestHead) -> bool {
        head.peer().is_some_and(|peer| self.proxies.contains(peer))
    }

    /// Takes the certificate out of a request that comes from one of the proxies; several headers are none.
    pub(crate) fn read<'a>(&'a self, head: &'a impl RequestHead) -> Option<ShownCertificate<'a>> {
        self.one(head.header(&self.name))
    }

    fn one<'a>(&self, mut values: impl Iterator<Item = &'a [u8]>) -> Option<ShownCertificate<'a>> {
        let value = values.next().filter(|value| value.len() <= MAX_HEADER)?;
        let value = if self.is_member { member(value)? } else { value };
        values.next().is_none().then_some(ShownCertificate::new(self.form, value))
    }
}

/// Takes the one `Cert` out of `X-Forwarded-Client-Cert`: pairs of one element, `;` between them, values quoted where they must be.
fn member(mut text: &[u8]) -> Option<&[u8]> {
    let (mut found, mut is_clients_word) = (None, false);
    while !text.is_empty() {
        let (key, rest) = text.split_at_checked(text.iter().position(|b| *b == b'=')?)?;
        let rest = rest.get(1..)?;
        let (value, rest) = match rest.strip_prefix(b"\"") {
            // A quote inside would be escaped; no certificate has one.
            Some(quoted) => {
                let mut end = 0;
                while *quoted.get(end)? != b'"' {
                    end += if quoted.get(end) == Some(&b'\\') { 2 } else { 1 };
                }
                (quoted.get(..end)?, quoted.get(end + 1..)?)
            }
            None => rest.split_at_checked(rest.iter().position(|b| matches!(b, b';' | b',')).unwrap_or(rest.len()))?,
        };
        // Envoy writes the certificate before what a client chose for it, and escapes nothing of the names: there, another `Cert` could stand.
        is_clients_word |= [&b"subject"[..], b"uri", b"dns"].iter().any(|name| key.eq_ignore_ascii_case(name));
        if key.eq_ignore_ascii_case(b"cert") && (is_clients_word || found.replace(value).is_some()) {
            return None;
        }
        text = match rest {
            [] => rest,
            // A comma begins what another proxy says.
            [b';', rest @ ..] if !rest.is_empty() => rest,
            _ => return None,
        };
    }
    found
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
    fn refuses_a_name_that_no_header_has() {
        assert!(ClientCertificateHeader::escaped_pem("a b", TrustedProxies::new(["::1"]).unwrap()).is_err());
    }

    #[test]
    fn takes_envoys_certificate_out_of_one_element_and_no_other() {
        for (text, expected) in [
            (r#"Cert="good";Subject="Cert=evil;Cert=\"evil\"";URI=a;URI=b;DNS=c"#, Some("good")),
            (r#"Cert="good";URI=a;Cert=evil"#, None),
            ("Hash=ab;URI=a;Cert=evil", None),
            ("Hash=ab;uri=a;Cert=evil", None),
            ("Hash=ab;DNS=a;Cert=evil", None),
            (r#"Hash=ab;Subject="CN=a";Cert="evil""#, None),
            (r#"By=spiffe://a;Hash=ab;Cert="-----BEGIN%20";Subject="CN=a,O=\"x;y\"";URI="#, Some("-----BEGIN%20")),
            ("Cert=abc", Some("abc")),
            (r#"cert="abc""#, Some("abc")),
            ("Hash=ab", None),
            ("", None),
            ("Cert", None),
            (r#"Cert="abc"#, None),
            (r#"Cert="abc\"#, None),
            (r#"Cert="abc"x"#, None),
            ("Cert=a;", None),
            ("Cert=a;Cert=b", None),
            ("Cert=evil,Cert=good", None),
            ("Cert=evil,Hash=ab", None),
            ("Hash=ab,Cert=good", None),
        ] {
            assert_eq!(member(text.as_bytes()), expected.map(str::as_bytes), "{text}");
        }
    }

    #[test]
    fn debug_shows_no_certificate() {
        assert_eq!(format!("{:?}", ClientCertificate::from_der(&b"abc"[..])), "ClientCertificate(3 bytes)");
    }
}
