//! Any bytes as values of `DPoP`, split at zero bytes; as the `htu` of a proof; as a certificate in each form.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use sekisho_core::{
    CertificateForm, Confirmation, Credential, CredentialKind, Presentation, Refusal, ShownCertificate,
};
use sekisho_fuzz::NOW;
use sekisho_http::{certificate_der, dpop_proof, is_target};
use sekisho_jwt::{Backend, Dpop, SenderConstraint};

static CONSTRAINT: LazyLock<SenderConstraint> =
    LazyLock::new(|| SenderConstraint::new(Backend::default()).with_dpop(Dpop::new()).expect("a good configuration"));

fuzz_target!(|bytes: &[u8]| {
    let bases = ["https://api.example".into()];
    let bound_to = Confirmation::KeyThumbprint("0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I".into());
    let values = bytes.split(|byte| *byte == 0);
    let shown = Presentation::new("GET", &bases, "/orders").with_proof(dpop_proof(values));
    let sent = Credential::new(CredentialKind::Dpop, "token").with_presentation(&shown);
    let answer = CONSTRAINT.check_now(Some(&bound_to), sent, NOW).expect("memory answers at once");
    assert!(matches!(answer, Err(Refusal::Reject(_))), "nobody here has the key");
    if let Ok(htu) = std::str::from_utf8(bytes)
        && is_target(htu, &bases, "/orders")
    {
        let htu = htu.to_ascii_lowercase();
        assert!(htu.starts_with("https://api.example") && htu.is_ascii());
    }
    for form in [CertificateForm::ByteSequence, CertificateForm::EscapedPem, CertificateForm::Base64] {
        let der = certificate_der(ShownCertificate::new(form, bytes));
        assert!(der.is_none_or(|der| !der.is_empty() && der.len() < bytes.len()));
    }
});
