//! Bundles that OPA itself builds and signs.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use sekisho_core::dangerous::PrincipalBuilder;
use sekisho_core::{AccessRequest, Authorize as _, Resource, UnixSeconds};
use sekisho_jwt::Backend;
use sekisho_jwt::jwks::{Algorithm, SigningKey, StaticKeys, VerifyingKey};
use sekisho_policy::bundle::{BundleError, BundleReader};
use sekisho_policy::rego::RegoPolicies;

use crate::setup;

const NOW: UnixSeconds = UnixSeconds::new(1_800_000_000);
const REGO: &str = "package shop\n\ndecision if input.action.name == data.shop.action\n";

/// Is a folder that is removed in the end.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let path = std::env::temp_dir().join(format!("sekisho-bundle-{}", std::process::id()));
        fs::create_dir_all(path.join("source/shop")).expect("a folder");
        Self(path)
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        let path = self.0.join(name);
        fs::write(&path, content).expect("written");
        path.to_str().expect("UTF-8").to_owned()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn build(opa: &Path, folder: &Folder, arguments: &[&str]) -> Vec<u8> {
    let output = folder.0.join("bundle.tar.gz");
    let status = Command::new(opa)
        .current_dir(&folder.0)
        .args(["build", "--bundle", "source", "--output", "bundle.tar.gz"])
        .args(arguments)
        .status()
        .expect("OPA runs");
    assert!(status.success(), "{status}");
    fs::read(output).expect("a bundle")
}

#[tokio::test]
async fn a_bundle_that_opa_signed_is_loaded_and_refused_after_a_change() {
    let Some(opa) = setup::variable("SEKISHO_OPA", "bundle of OPA").map(PathBuf::from) else { return };
    let folder = Folder::new();
    folder.write("source/shop/policy.rego", REGO);
    folder.write("source/shop/data.json", "{\"action\": \"read\", \"n\": 1.50, \"t\": \"<&\u{2028}é\"}");
    folder.write("source/.manifest", r#"{"revision": "7", "roots": ["shop"]}"#);
    let secret = "a secret of more than thirty-two bytes";
    let signing = SigningKey::generate(Backend::aws_lc(), Algorithm::Es256).expect("a key");
    let pem = folder.write("key.pem", to_pem(&signing));
    let public = signing.verifying_key().with_kid("default");
    let shared = VerifyingKey::hmac(Backend::aws_lc(), Algorithm::Hs256, secret.as_bytes()).expect("a key");
    let reader = |key: VerifyingKey| BundleReader::signed(Backend::aws_lc(), Arc::new(StaticKeys::new([key])));
    let claims = folder.write("claims.json", r#"{"scope": "write"}"#);

    let by_key = build(&opa, &folder, &["--signing-key", &pem, "--signing-alg", "ES256"]);
    let by_secret = build(&opa, &folder, &["--signing-key", secret, "--signing-alg", "HS256"]);
    let scoped = build(&opa, &folder, &["--signing-key", &pem, "--signing-alg", "ES256", "--claims-file", &claims]);
    let unsigned = build(&opa, &folder, &[]);

    let files = reader(public.clone()).with_key_id("default").read(&by_key, NOW).await.expect("loaded");
    let policies = RegoPolicies::builder("data.shop.decision").with_files(&files).build().expect("policies");
    let alice = PrincipalBuilder::new("https://id.example", "alice").build().expect("a principal");
    for (action, permitted) in [("read", true), ("write", false)] {
        let request = AccessRequest::new(&alice, action, Resource::new("order", "42"), NOW);
        let decision = policies.decide(&request).await.expect("a decision");
        assert_eq!((decision.is_permitted(), decision.revision()), (permitted, Some("7")), "{action}");
    }
    let shared_reader = reader(shared.with_kid("default")).with_shared_secret_algorithms([Algorithm::Hs256]);
    shared_reader.read(&by_secret, NOW).await.expect("loaded");
    reader(public.clone()).with_scope("write").read(&scoped, NOW).await.expect("loaded");

    assert!(matches!(reader(public.clone()).read(&scoped, NOW).await, Err(BundleError::Scope)));
    assert!(matches!(reader(public.clone()).read(&unsigned, NOW).await, Err(BundleError::Unsigned)));
    assert!(matches!(reader(public.clone()).read(&by_secret, NOW).await, Err(BundleError::Signature(_))));
    assert!(matches!(shared_reader.read(&by_key, NOW).await, Err(BundleError::Signature(_))));
    let other = SigningKey::generate(Backend::aws_lc(), Algorithm::Es256).expect("a key");
    let other = reader(other.verifying_key().with_kid("default"));
    assert!(matches!(other.read(&by_key, NOW).await, Err(BundleError::Signature(_))));

    // One byte of what was packed; a flipped bit of the gzip header changes nothing that is read.
    let mut refused = 0;
    for at in (10..by_key.len()).step_by(7) {
        let mut changed = by_key.clone();
        changed[at] ^= 1;
        match reader(public.clone()).read(&changed, NOW).await {
            Err(_) => refused += 1,
            Ok(same) => assert!(same.iter().eq(files.iter()), "byte {at}"),
        }
    }
    assert!(refused > 0);
}

fn to_pem(key: &SigningKey) -> String {
    let der = key.to_pkcs8_der().expect("a key");
    let text = base64_simd::STANDARD.encode_to_string(&der[..]);
    let lines: Vec<&str> = (0..text.len()).step_by(64).map(|at| &text[at..text.len().min(at + 64)]).collect();
    format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", lines.join("\n"))
}
