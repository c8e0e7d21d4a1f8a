//! The client's TLS certificate, as a proxy tells it ([RFC 9440](https://www.rfc-editor.org/rfc/rfc9440)).

use http::HeaderName;
use subtle::ConstantTimeEq;
use x509_cert::Certificate;
use x509_cert::der::Decode;

use crate::CertificateRule;
use crate::address::AddressRange;
use crate::handle;
use crate::incoming::{Incoming, is_trusted};

/// Bounds a certificate in bytes.
const LONGEST: usize = 16 * 1024;

/// Is a certificate that a trusted proxy has seen in a handshake: whoever sent the request has its key.
pub(crate) struct ClientCertificate {
    der: Vec<u8>,
}

impl ClientCertificate {
    /// Takes the header of a trusted proxy; of anybody else it is as if it were not there.
    pub(crate) fn from_request(incoming: &Incoming, proxies: &[AddressRange]) -> Option<Self> {
        if !incoming.peer.is_some_and(|peer| is_trusted(peer, proxies)) {
            return None;
        }
        let value = incoming.one(&HeaderName::from_static("client-cert")).ok()??;
        let encoded = value.trim().strip_prefix(':')?.strip_suffix(':')?;
        if encoded.len() > LONGEST / 3 * 4 {
            return None;
        }
        Some(Self { der: base64_simd::STANDARD.decode_to_vec(encoded).ok()? })
    }

    pub(crate) fn thumbprint(&self) -> [u8; 32] {
        handle::sha256(&self.der)
    }

    pub(crate) fn fits(&self, rule: &CertificateRule) -> bool {
        match rule {
            CertificateRule::Thumbprint(wanted) => self.thumbprint().ct_eq(wanted).into(),
            CertificateRule::SubjectName(wanted) => self.subject().is_some_and(|subject| subject == *wanted),
        }
    }

    /// Writes the subject as RFC 4514 says; an empty one is none.
    fn subject(&self) -> Option<String> {
        let certificate = Certificate::from_der(&self.der).ok()?;
        Some(certificate.tbs_certificate().subject().to_string()).filter(|subject| !subject.is_empty())
    }
}
