use sekisho_core::CertificateForm;
use sekisho_core::{Presentation, ProofHeader, Secret, ShownCertificate};

use crate::certificate::{ClientCertificate, ClientCertificateHeader};
use crate::extract::dpop_proof;
use crate::head::RequestHead;

/// Holds what is needed to have a bound token proved.
pub(super) struct Binding {
    /// Normalised, without a slash at the end.
    pub(super) bases: Box<[Box<str>]>,
    pub(super) takes_certificates: bool,
    pub(super) certificate_header: Option<ClientCertificateHeader>,
}

impl Binding {
    pub(super) fn bases(&self) -> &[Box<str>] {
        &self.bases
    }

    /// Returns the certificate that the TLS layer saw, if it is the client's own.
    pub(super) fn certificate_of_connection(&self, head: &impl RequestHead) -> Option<ClientCertificate> {
        let is_proxy = self.certificate_header.as_ref().is_some_and(|header| header.believes(head));
        if is_proxy || !self.takes_certificates {
            return None;
        }
        head.client_certificate()
    }

    /// Reads, copying nothing, what a request shows beside its credential.
    pub(super) fn presentation<'a>(
        &'a self,
        head: &'a impl RequestHead,
        connection: Option<&'a ClientCertificate>,
    ) -> Presentation<'a> {
        let proof = dpop_proof(head.header("dpop"));
        let shown = Presentation::new(head.method(), &self.bases, head.whole_path()).with_proof(proof);
        let certificate = match &self.certificate_header {
            Some(header) if header.believes(head) => header.read(head),
            _ => connection.map(|certificate| ShownCertificate::new(CertificateForm::Der, certificate.der())),
        };
        match certificate {
            Some(certificate) => shown.with_certificate(certificate),
            None => shown,
        }
    }
}

/// Is a copy of a presentation, for whoever has to wait. The proof is wiped when it is done.
pub(super) struct Shown {
    method: Box<str>,
    path: Box<str>,
    proof: Proof,
    certificate: Option<(CertificateForm, Box<[u8]>)>,
}

enum Proof {
    Absent,
    One(Secret),
    Malformed,
}

impl Shown {
    pub(super) fn copy(shown: &Presentation<'_>) -> Self {
        let proof = match shown.proof() {
            ProofHeader::Absent => Proof::Absent,
            ProofHeader::One(proof) => Proof::One(proof.into()),
            ProofHeader::Malformed => Proof::Malformed,
        };
        let certificate = shown.certificate().map(|shown| (shown.form(), shown.bytes().into()));
        Self { method: shown.method().into(), path: shown.path().into(), proof, certificate }
    }

    pub(super) fn read<'a>(&'a self, bases: &'a [Box<str>]) -> Presentation<'a> {
        let proof = match &self.proof {
            Proof::Absent => ProofHeader::Absent,
            Proof::One(proof) => proof.expose_str().map_or(ProofHeader::Malformed, ProofHeader::One),
            Proof::Malformed => ProofHeader::Malformed,
        };
        let shown = Presentation::new(&self.method, bases, &self.path).with_proof(proof);
        match &self.certificate {
            Some((form, bytes)) => shown.with_certificate(ShownCertificate::new(*form, bytes)),
            None => shown,
        }
    }
}
