//! Whose certificate is it? ([RFC 8705 §2](https://www.rfc-editor.org/rfc/rfc8705#section-2))

use sekisho_http::ClientCertificate;
use subtle::ConstantTimeEq;
use x509_cert::Certificate;
use x509_cert::der::Decode;

use crate::CertificateRule;
use crate::handle;

pub(crate) fn thumbprint(certificate: &ClientCertificate) -> [u8; 32] {
    handle::sha256(certificate.der())
}

pub(crate) fn fits(certificate: &ClientCertificate, rule: &CertificateRule) -> bool {
    match rule {
        CertificateRule::Thumbprint(wanted) => thumbprint(certificate).ct_eq(wanted).into(),
        CertificateRule::SubjectName(wanted) => subject(certificate).is_some_and(|subject| subject == *wanted),
    }
}

/// Writes the subject as RFC 4514 says; an empty one is none.
fn subject(certificate: &ClientCertificate) -> Option<String> {
    let certificate = Certificate::from_der(certificate.der()).ok()?;
    Some(certificate.tbs_certificate().subject().to_string()).filter(|subject| !subject.is_empty())
}
