//! What a checkpoint hands on of a request where bound tokens are taken, and how it refuses there.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::net::IpAddr;
use std::sync::Mutex;

use async_trait::async_trait;
use sekisho_core::dangerous::PrincipalBuilder;
use sekisho_core::{AcceptedProofs, ConfigError, ProofFault, ProofHeader, UnixSeconds, scope};

use super::*;
use crate::{ClientCertificate, ClientCertificateHeader, HeadParts, ProtectedResourceMetadata, TrustedProxies};

/// Says what it was shown, and answers as the credential asks it to; `slow` has to wait.
struct Witness {
    proofs: AcceptedProofs,
    nonce: Option<String>,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Witness {
    fn new(proofs: AcceptedProofs) -> Self {
        Self { proofs, nonce: Some("n-1".into()), seen: Arc::default() }
    }

    fn answer(&self, credential: Credential<'_>) -> Result<Principal, Refusal> {
        let shown = credential.presentation().map(|shown| {
            let proof = match shown.proof() {
                ProofHeader::One(proof) => proof.to_owned(),
                other => format!("{other:?}"),
            };
            let certificate =
                shown.certificate().map(|shown| format!("{:?} {}", shown.form(), shown.bytes().escape_ascii()));
            format!("{} {:?} {} {proof} {certificate:?}", shown.method(), shown.bases(), shown.path())
        });
        self.seen.lock().unwrap().push(format!("{:?} {}", credential.kind(), shown.as_deref().unwrap_or("nothing")));
        match credential.expose().trim_end_matches("-slow") {
            "proof" => Err(Reject::InvalidProof(ProofFault::Replayed).into()),
            "nonce" => Err(Reject::ProofNonce.into()),
            "mismatch" => Err(Reject::ProofMismatch.into()),
            "required" => Err(Reject::ProofRequired.into()),
            "down" => Err(Failure::unavailable("replay guard").into()),
            _ => {
                let bound = Confirmation::KeyThumbprint("x".into());
                let alice = PrincipalBuilder::new("https://id.example", "alice");
                let alice =
                    if credential.kind() == CredentialKind::Dpop { alice.with_confirmation(bound) } else { alice };
                Ok(alice.build().unwrap())
            }
        }
    }
}

#[async_trait]
impl Authenticate for Witness {
    fn recognizes(&self, _: Credential<'_>) -> bool {
        true
    }

    fn authenticate_now(&self, credential: Credential<'_>, _: UnixSeconds) -> Option<Result<Principal, Refusal>> {
        (!credential.expose().ends_with("-slow")).then(|| self.answer(credential))
    }

    async fn authenticate(&self, credential: Credential<'_>, _: UnixSeconds) -> Result<Principal, Refusal> {
        tokio::task::yield_now().await;
        self.answer(credential)
    }

    fn accepted_proofs(&self) -> AcceptedProofs {
        self.proofs.clone()
    }

    fn proof_nonce(&self, _: UnixSeconds) -> Option<String> {
        self.nonce.clone()
    }
}

/// Is a request with all that an adapter can know.
struct Full<'h> {
    parts: HeadParts<'h>,
    whole_path: &'h str,
    peer: Option<IpAddr>,
    certificate: Option<ClientCertificate>,
}

impl<'h> Full<'h> {
    fn new(headers: &'h [(&'h str, &'h [u8])]) -> Self {
        let parts = HeadParts { method: "GET", path: "/me", headers };
        Self { parts, whole_path: "/api/me", peer: None, certificate: None }
    }

    fn from(mut self, peer: &str) -> Self {
        self.peer = Some(peer.parse().unwrap());
        self
    }

    fn with_certificate(mut self) -> Self {
        self.certificate = Some(ClientCertificate::from_der(&b"tls"[..]));
        self
    }
}

impl RequestHead for Full<'_> {
    fn method(&self) -> &str {
        self.parts.method
    }

    fn path(&self) -> &str {
        self.parts.path
    }

    fn header<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.parts.header(name)
    }

    fn whole_path(&self) -> &str {
        self.whole_path
    }

    fn peer(&self) -> Option<IpAddr> {
        self.peer
    }

    fn client_certificate(&self) -> Option<ClientCertificate> {
        self.certificate.clone()
    }
}

fn dpop() -> AcceptedProofs {
    AcceptedProofs::none().with_dpop("ES256 EdDSA")
}

/// Builds a checkpoint, and returns with it what its authenticator sees.
fn checkpoint(proofs: AcceptedProofs) -> (Checkpoint, Arc<Mutex<Vec<String>>>) {
    let witness = Witness::new(proofs);
    let seen = Arc::clone(&witness.seen);
    (Checkpoint::builder().accept(witness).with_public_url("https://API.example/").build().unwrap(), seen)
}

fn refused(inspection: Inspection) -> Answer {
    let Inspection::Refuse(answer) = inspection else { panic!("{inspection:?}") };
    answer
}

fn header(answer: &Answer, name: &str) -> Option<String> {
    answer.headers().find(|(n, _)| *n == name).map(|(_, v)| String::from_utf8(v.to_vec()).unwrap())
}

/// Inspects, waiting where it must, and returns status, challenge and nonce.
async fn refusal(checkpoint: &Checkpoint, headers: &[(&str, &[u8])]) -> (u16, String, Option<String>) {
    let answer = match checkpoint.inspect(&Full::new(headers), Presence::Required) {
        Inspection::Wait(pending) => pending.resolve().await.unwrap_err(),
        other => refused(other),
    };
    let challenge = header(&answer, "www-authenticate").unwrap_or_default();
    (answer.status(), challenge, header(&answer, "dpop-nonce"))
}

#[tokio::test]
async fn hands_on_method_whole_path_and_proof_also_to_whoever_must_wait() {
    let (checkpoint, seen) = checkpoint(dpop());
    for token in ["good", "good-slow"] {
        let value = format!("DPoP {token}");
        let headers = [("authorization", value.as_bytes()), ("dpop", &b"a.b.c"[..])];
        let passage = match checkpoint.inspect(&Full::new(&headers), Presence::Required) {
            Inspection::Pass(passage) => passage,
            Inspection::Wait(pending) => {
                assert!(!format!("{pending:?}").contains("a.b.c"));
                pending.resolve().await.unwrap()
            }
            Inspection::Refuse(answer) => panic!("{answer:?}"),
        };
        assert_eq!(passage.principal().unwrap().subject(), "alice");
    }
    let due = r#"Dpop GET ["https://api.example"] /api/me a.b.c None"#;
    assert_eq!(*seen.lock().unwrap(), [due, due]);
}

#[tokio::test]
async fn shows_two_proofs_as_none_that_could_be_good() {
    let (checkpoint, seen) = checkpoint(dpop());
    let one = ("authorization", &b"DPoP good"[..]);
    for headers in [vec![one], vec![one, ("dpop", b"a.b.c"), ("dpop", b"d.e.f")], vec![one, ("dpop", b"a.b.c,d.e.f")]] {
        drop(checkpoint.inspect(&Full::new(&headers), Presence::Required));
    }
    let proofs: Vec<String> = seen.lock().unwrap().iter().map(|line| line.split(' ').nth(4).unwrap().into()).collect();
    assert_eq!(proofs, ["Absent", "Malformed", "Malformed"]);
}

#[tokio::test]
async fn refuses_in_the_words_of_rfc_9449() {
    let (checkpoint, _) = checkpoint(dpop());
    let dpop = |error: &str| format!(r#"DPoP error="{error}", error_description="#);
    for slow in ["", "-slow"] {
        for (token, error, nonce) in [
            ("proof", "invalid_dpop_proof", None),
            ("nonce", "use_dpop_nonce", Some("n-1")),
            ("mismatch", "invalid_token", None),
            ("required", "invalid_token", None),
        ] {
            let value = format!("DPoP {token}{slow}");
            let (status, challenge, found) = refusal(&checkpoint, &[("authorization", value.as_bytes())]).await;
            assert_eq!((status, found.as_deref()), (401, nonce), "{value}");
            assert!(challenge.starts_with(&dpop(error)), "{value}: {challenge}");
            assert!(challenge.ends_with(r#", algs="ES256 EdDSA""#) && !challenge.contains("Bearer"), "{challenge}");
        }
        let value = format!("Bearer required{slow}");
        let (status, challenge, _) = refusal(&checkpoint, &[("authorization", value.as_bytes())]).await;
        assert_eq!(status, 401);
        assert!(challenge.starts_with(r#"Bearer error="invalid_token""#), "{challenge}");
        assert!(challenge.ends_with(r#", DPoP algs="ES256 EdDSA""#), "{challenge}");
        let value = format!("DPoP down{slow}");
        let (status, challenge, _) = refusal(&checkpoint, &[("authorization", value.as_bytes())]).await;
        assert_eq!((status, &*challenge), (503, ""));
    }
    assert_eq!(
        refusal(&checkpoint, &[]).await,
        (401, r#"Bearer realm="protected", DPoP algs="ES256 EdDSA""#.into(), None)
    );
    assert_eq!(refusal(&checkpoint, &[("authorization", b"DPoP")]).await.0, 400);
}

#[tokio::test]
async fn a_nonce_that_cannot_stand_in_a_header_is_left_out() {
    for nonce in [None, Some(""), Some("a\r\nb: c"), Some("a\"b")] {
        let witness = Witness { nonce: nonce.map(str::to_owned), ..Witness::new(dpop()) };
        let checkpoint = Checkpoint::builder().accept(witness).with_public_url("https://a.example").build().unwrap();
        let (status, _, found) = refusal(&checkpoint, &[("authorization", b"DPoP nonce")]).await;
        assert_eq!((status, found), (401, None));
    }
}

#[tokio::test]
async fn whoever_passes_with_a_proof_learns_the_next_nonce_and_nobody_else() {
    let next = async |checkpoint: &Checkpoint, value: &str| {
        let headers = [("authorization", value.as_bytes())];
        let passage = match checkpoint.inspect(&Full::new(&headers), Presence::Required) {
            Inspection::Pass(passage) => passage,
            Inspection::Wait(pending) => pending.resolve().await.unwrap(),
            Inspection::Refuse(answer) => panic!("{value}: {}", answer.status()),
        };
        passage.next_nonce().map(|nonce| String::from_utf8(nonce.to_vec()).unwrap())
    };
    let (demanding, _) = checkpoint(dpop());
    for value in ["DPoP good", "DPoP good-slow"] {
        assert_eq!(next(&demanding, value).await.as_deref(), Some("n-1"), "{value}");
    }
    for value in ["Bearer good", "Bearer good-slow"] {
        assert_eq!(next(&demanding, value).await, None, "{value}");
    }
    for nonce in [None, Some(""), Some("a\r\nb: c")] {
        let witness = Witness { nonce: nonce.map(str::to_owned), ..Witness::new(dpop()) };
        let checkpoint = Checkpoint::builder().accept(witness).with_public_url("https://a.example").build().unwrap();
        assert_eq!(next(&checkpoint, "DPoP good").await, None, "{nonce:?}");
    }
}

#[tokio::test]
async fn asks_for_dpop_alone_where_bearer_tokens_are_refused() {
    let (checkpoint, _) = checkpoint(dpop().requiring_dpop());
    assert_eq!(refusal(&checkpoint, &[]).await.1, r#"DPoP algs="ES256 EdDSA""#);
    let bearer = refusal(&checkpoint, &[("authorization", b"Bearer required")]).await.1;
    assert!(bearer.starts_with(r#"DPoP error="invalid_token""#), "{bearer}");
}

#[test]
fn what_a_bound_caller_lacks_is_told_to_its_scheme() {
    let (checkpoint, _) = checkpoint(dpop());
    for (scheme, value) in [("Bearer", &b"Bearer good"[..]), ("DPoP", b"DPoP good")] {
        let headers = [("authorization", value)];
        let Inspection::Pass(passage) = checkpoint.inspect(&Full::new(&headers), Presence::Required) else { panic!() };
        let caller = Passage::caller(Some(&passage)).unwrap();
        let challenge = header(&caller.require(&scope("a")).unwrap_err(), "www-authenticate").unwrap();
        assert!(challenge.starts_with(&format!(r#"{scheme} error="insufficient_scope""#)), "{challenge}");
    }
}

#[test]
fn where_nobody_takes_bound_tokens_nothing_is_shown_and_dpop_is_another_scheme() {
    let (checkpoint, seen) = checkpoint(AcceptedProofs::none());
    let headers = [("authorization", &b"DPoP good"[..]), ("dpop", b"a.b.c")];
    let answer = refused(checkpoint.inspect(&Full::new(&headers), Presence::Required));
    assert_eq!(header(&answer, "www-authenticate").as_deref(), Some(r#"Bearer realm="protected""#));
    let bearer = [("authorization", &b"Bearer good"[..]), ("dpop", b"a.b.c"), ("client-cert", b":YWJj:")];
    drop(checkpoint.inspect(&Full::new(&bearer).from("10.0.0.1").with_certificate(), Presence::Required));
    assert_eq!(*seen.lock().unwrap(), ["Bearer nothing"]);
}

#[tokio::test]
async fn nobody_who_checks_no_proofs_is_asked_about_a_dpop_token() {
    let (careless, able) = (Witness::new(AcceptedProofs::none().with_certificates()), Witness::new(dpop()));
    let seen = (Arc::clone(&careless.seen), Arc::clone(&able.seen));
    let builder = Checkpoint::builder().accept(careless).accept(able).with_public_url("https://api.example");
    let checkpoint = builder.build().unwrap();
    for token in ["good", "good-slow"] {
        for scheme in ["DPoP", "Bearer"] {
            let value = format!("{scheme} {token}");
            let headers = [("authorization", value.as_bytes())];
            if let Inspection::Wait(pending) = checkpoint.inspect(&Full::new(&headers), Presence::Required) {
                pending.resolve().await.unwrap();
            }
        }
    }
    let kinds = |seen: &Mutex<Vec<String>>| -> Vec<String> {
        seen.lock().unwrap().iter().map(|line| line.split(' ').next().unwrap().to_owned()).collect()
    };
    assert_eq!((kinds(&seen.0), kinds(&seen.1)), (vec!["Bearer".into(); 2], vec!["Dpop".into(); 2]));
}

/// Returns which certificate the authenticator sees.
fn certificate_of(header: Option<ClientCertificateHeader>, head: &Full<'_>) -> String {
    let witness = Witness::new(AcceptedProofs::none().with_certificates());
    let seen = Arc::clone(&witness.seen);
    let builder = Checkpoint::builder().accept(witness);
    let builder = match header {
        Some(header) => builder.with_client_certificate_header(header),
        None => builder,
    };
    drop(builder.build().unwrap().inspect(head, Presence::Required));
    let line = seen.lock().unwrap().concat();
    line.split_once("Absent ").unwrap().1.to_owned()
}

#[test]
fn a_header_counts_from_listed_proxies_alone_and_there_it_alone_counts() {
    let proxies = || TrustedProxies::new(["10.0.0.0/8"]).unwrap();
    let header = || Some(ClientCertificateHeader::rfc9440(proxies()));
    let token = ("authorization", &b"Bearer good"[..]);
    let one = [token, ("Client-Cert", b":YWJj:")];
    let two = [token, ("client-cert", b":YWJj:"), ("client-cert", b":YWJj:")];
    let none = [token];
    let (from_header, tls) = ("Some(\"ByteSequence :YWJj:\")", "Some(\"Der tls\")");
    assert_eq!(certificate_of(header(), &Full::new(&one).from("10.1.2.3")), from_header);
    assert_eq!(certificate_of(header(), &Full::new(&one).from("::ffff:10.1.2.3")), from_header);
    // The proxy's own certificate is not the client's.
    assert_eq!(certificate_of(header(), &Full::new(&one).from("10.1.2.3").with_certificate()), from_header);
    assert_eq!(certificate_of(header(), &Full::new(&none).from("10.1.2.3").with_certificate()), "None");
    assert_eq!(certificate_of(header(), &Full::new(&two).from("10.1.2.3")), "None");
    // From anywhere else, the header is what the caller says of itself.
    assert_eq!(certificate_of(header(), &Full::new(&one).from("192.0.2.1")), "None");
    assert_eq!(certificate_of(header(), &Full::new(&one)), "None");
    assert_eq!(certificate_of(header(), &Full::new(&one).from("192.0.2.1").with_certificate()), tls);
    // Nobody said that there is a proxy.
    assert_eq!(certificate_of(None, &Full::new(&one).from("10.1.2.3")), "None");
    assert_eq!(certificate_of(None, &Full::new(&one).from("10.1.2.3").with_certificate()), tls);
}

#[test]
fn publishes_what_is_taken() {
    let metadata = ProtectedResourceMetadata::new("https://api.example");
    let proofs = dpop().requiring_dpop().with_certificates();
    let checkpoint = Checkpoint::builder()
        .accept(Witness::new(proofs))
        .with_public_url("https://api.example")
        .with_resource_metadata(metadata)
        .build()
        .unwrap();
    let document: serde_json::Value = serde_json::from_slice(checkpoint.metadata().unwrap().json()).unwrap();
    let member = |name: &str| document.get(name).cloned().unwrap_or_default();
    assert_eq!(member("dpop_signing_alg_values_supported"), serde_json::json!(["ES256", "EdDSA"]));
    assert_eq!(member("dpop_bound_access_tokens_required"), true);
    assert_eq!(member("tls_client_certificate_bound_access_tokens"), true);
}

#[test]
fn reports_what_cannot_work_when_built() {
    let builder = || Checkpoint::builder().accept(Witness::new(dpop()));
    let message = |result: Result<Checkpoint, ConfigError>| result.unwrap_err().to_string();
    assert!(message(builder().build()).contains("with_public_url"));
    for bad in ["api.example", "https://api.example/?x", "https://u@api.example"] {
        assert!(builder().with_public_url(bad).build().is_err(), "{bad}");
    }
    let header = ClientCertificateHeader::rfc9440(TrustedProxies::new(["::1"]).unwrap());
    let alone = builder().with_public_url("https://a.example").with_client_certificate_header(header);
    assert!(message(alone.build()).contains("certificates"));
}
