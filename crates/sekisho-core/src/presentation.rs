use std::fmt;

/// Is what a request shows beside its credential, as far as a proof of possession needs it: method, target, the `DPoP`
/// header, and the client's certificate.
///
/// A checkpoint makes one for each request if somebody there takes bound tokens, and hands it on with
/// [`Credential::with_presentation`](crate::Credential::with_presentation). It borrows; nothing in it is believed yet.
/// `Debug` shows the method and which proofs came, nothing of them.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Presentation<'a> {
    method: &'a str,
    bases: &'a [Box<str>],
    path: &'a str,
    proof: ProofHeader<'a>,
    certificate: Option<ShownCertificate<'a>>,
}

impl<'a> Presentation<'a> {
    /// Starts from the method, the URLs under which the service is known outside, and the path without the query.
    ///
    /// - `bases`: normalised URLs without a slash at the end, such as `https://api.example`; the target of the request is
    ///   one of them with `path` behind it. They come from configuration: what the request says of its host proves nothing.
    #[must_use]
    pub const fn new(method: &'a str, bases: &'a [Box<str>], path: &'a str) -> Self {
        Self { method, bases, path, proof: ProofHeader::Absent, certificate: None }
    }

    /// Adds what stands in the header `DPoP`.
    #[must_use]
    pub const fn with_proof(mut self, proof: ProofHeader<'a>) -> Self {
        self.proof = proof;
        self
    }

    /// Adds the certificate of the client.
    #[must_use]
    pub const fn with_certificate(mut self, certificate: ShownCertificate<'a>) -> Self {
        self.certificate = Some(certificate);
        self
    }

    /// Returns the method, in the letter case of the wire.
    #[must_use]
    pub const fn method(&self) -> &'a str {
        self.method
    }

    /// Returns the URLs under which the service is known outside.
    #[must_use]
    pub const fn bases(&self) -> &'a [Box<str>] {
        self.bases
    }

    /// Returns the path, percent-encoding and all, without the query.
    #[must_use]
    pub const fn path(&self) -> &'a str {
        self.path
    }

    /// Returns what stands in the header `DPoP`.
    #[must_use]
    pub const fn proof(&self) -> ProofHeader<'a> {
        self.proof
    }

    /// Returns the certificate of the client, if one is known.
    #[must_use]
    pub const fn certificate(&self) -> Option<ShownCertificate<'a>> {
        self.certificate
    }
}

impl fmt::Debug for Presentation<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Presentation")
            .field("method", &self.method)
            .field("proof", &self.proof)
            .field("certificate", &self.certificate)
            .finish_non_exhaustive()
    }
}

/// Is what a request has under the name `DPoP` ([RFC 9449 §4.1](https://www.rfc-editor.org/rfc/rfc9449#section-4.1)).
///
/// `Debug` shows which of the three it is.
#[derive(Clone, Copy, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "whoever checks a proof must think of each")]
pub enum ProofHeader<'a> {
    /// No such header.
    Absent,
    /// One header, whose value could be a compact JWS.
    One(&'a str),
    /// Several headers, or a value that cannot be a proof, a list among them.
    Malformed,
}

impl fmt::Debug for ProofHeader<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent => f.write_str("Absent"),
            Self::One(proof) => write!(f, "One({} bytes)", proof.len()),
            Self::Malformed => f.write_str("Malformed"),
        }
    }
}

/// Is the certificate of a client, in the form in which the request shows it. `Debug` shows the form and the length.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ShownCertificate<'a> {
    form: CertificateForm,
    bytes: &'a [u8],
}

impl<'a> ShownCertificate<'a> {
    /// Puts a form and the bytes in that form together.
    #[must_use]
    pub const fn new(form: CertificateForm, bytes: &'a [u8]) -> Self {
        Self { form, bytes }
    }

    /// Returns the form.
    #[must_use]
    pub const fn form(&self) -> CertificateForm {
        self.form
    }

    /// Returns the bytes, still in their form.
    #[must_use]
    pub const fn bytes(&self) -> &'a [u8] {
        self.bytes
    }
}

impl fmt::Debug for ShownCertificate<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ShownCertificate({:?}, {} bytes)", self.form, self.bytes.len())
    }
}

/// Says how a certificate is written where the request shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CertificateForm {
    /// DER, as the TLS layer has it.
    Der,
    /// A byte sequence, `:base64:` ([RFC 9440 §2.1](https://www.rfc-editor.org/rfc/rfc9440#section-2.1)).
    ByteSequence,
    /// PEM with percent escapes, as nginx writes `$ssl_client_escaped_cert`.
    EscapedPem,
    /// Base64 of DER without anything around it; of a list with commas the first, as Traefik writes it.
    Base64,
}

/// Tells which proofs of possession an authenticator takes beside a credential, so that a checkpoint can ask for them.
///
/// # Examples
/// ```
/// use sekisho_core::AcceptedProofs;
/// let proofs = AcceptedProofs::none().with_dpop("ES256 EdDSA");
/// assert_eq!(proofs.dpop_algorithms(), Some("ES256 EdDSA"));
/// assert!(!proofs.requires_dpop() && !proofs.takes_certificates());
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AcceptedProofs {
    dpop: Option<Box<str>>,
    requires_dpop: bool,
    certificates: bool,
}

impl AcceptedProofs {
    /// Takes none: bearer tokens only.
    #[must_use]
    pub const fn none() -> Self {
        Self { dpop: None, requires_dpop: false, certificates: false }
    }

    /// Takes DPoP proofs signed by these algorithms, names separated by spaces, as they stand in `algs`.
    #[must_use]
    pub fn with_dpop(mut self, algorithms: impl Into<Box<str>>) -> Self {
        self.dpop = Some(algorithms.into());
        self
    }

    /// Takes nothing without a DPoP proof.
    #[must_use]
    pub const fn requiring_dpop(mut self) -> Self {
        self.requires_dpop = true;
        self
    }

    /// Takes tokens that are bound to the client's certificate.
    #[must_use]
    pub const fn with_certificates(mut self) -> Self {
        self.certificates = true;
        self
    }

    /// Returns the algorithms of DPoP proofs, or `None` when these are not taken.
    #[must_use]
    pub fn dpop_algorithms(&self) -> Option<&str> {
        self.dpop.as_deref()
    }

    /// Tells whether bearer tokens are refused.
    #[must_use]
    pub const fn requires_dpop(&self) -> bool {
        self.requires_dpop
    }

    /// Tells whether tokens bound to a certificate are taken.
    #[must_use]
    pub const fn takes_certificates(&self) -> bool {
        self.certificates
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Credential;

    #[test]
    fn debug_shows_neither_proof_nor_certificate() {
        let certificate = ShownCertificate::new(CertificateForm::ByteSequence, b":s3cret:");
        let shown = Presentation::new("GET", &[], "/s3cret")
            .with_proof(ProofHeader::One("s3cret"))
            .with_certificate(certificate);
        let credential = Credential::bearer("s3cret").with_presentation(&shown);
        for text in [format!("{shown:?}"), format!("{credential:?}"), format!("{:?}", credential.presentation())] {
            assert!(!text.contains("s3cret"), "{text}");
            assert!(!text.contains("115"), "{text}"); // the first byte in decimal
        }
    }
}
