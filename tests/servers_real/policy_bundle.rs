//! Bundles that OPA itself builds and signs.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::http::header::{ETAG, HeaderName, IF_NONE_MATCH};
use axum::http::{HeaderMap, StatusCode};
use sekisho_core::dangerous::PrincipalBuilder;
use sekisho_core::{AccessRequest, Authorize as _, Resource, UnixSeconds};
use sekisho_http::ReqwestClient;
use sekisho_jwt::Backend;
use sekisho_jwt::jwks::{Algorithm, SigningKey, StaticKeys, VerifyingKey};
use sekisho_policy::bundle::{BundleError, BundleReader};
use sekisho_policy::rego::RegoPolicies;
use sekisho_policy::source::{BundleUrl, Live, PolicyFiles};
use tokio::net::TcpListener;

use crate::setup;

const NOW: UnixSeconds = UnixSeconds::new(1_800_000_000);
const REGO: &str = "package shop\n\ndecision if input.action.name == data.shop.action\n";

/// Is a folder that is removed in the end.
pub(crate) struct Folder(PathBuf);

impl Folder {
    /// Makes the folder of a test, with a `name` that no other one has.
    pub(crate) fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("sekisho-bundle-{name}-{}", std::process::id()));
        fs::create_dir_all(path.join("source/shop")).expect("a folder");
        Self(path)
    }

    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) -> String {
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

/// Lets OPA make a bundle of the folder `source`.
pub(crate) fn build(opa: &Path, folder: &Folder, arguments: &[&str]) -> Vec<u8> {
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
    let folder = Folder::new("signed");
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

/// A server that serves one bundle and knows its `ETag`.
#[derive(Clone, Default)]
struct Bundles(Arc<Mutex<Served>>);

#[derive(Default)]
struct Served {
    etag: &'static str,
    bundle: Vec<u8>,
    /// With which status each question was answered, and for which tag it asked.
    asked: Vec<(u16, Option<String>)>,
}

impl Bundles {
    async fn start(&self) -> String {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let url = format!("http://{}/shop.tar.gz", listener.local_addr().expect("an address"));
        let own = self.clone();
        let app = Router::new().fallback(move |headers: HeaderMap| async move { own.answer(&headers) });
        tokio::spawn(async move { axum::serve(listener, app).await });
        url
    }

    fn answer(&self, headers: &HeaderMap) -> (StatusCode, [(HeaderName, &'static str); 1], Vec<u8>) {
        let mut served = self.0.lock().expect("no panic");
        let Served { etag, bundle, asked } = &mut *served;
        let known = headers.get(IF_NONE_MATCH).map(|tag| tag.to_str().expect("text").to_owned());
        let is_known = known.as_deref() == Some(*etag);
        let (status, body) =
            if is_known { (StatusCode::NOT_MODIFIED, Vec::new()) } else { (StatusCode::OK, bundle.clone()) };
        asked.push((status.as_u16(), known));
        (status, [(ETAG, *etag)], body)
    }

    fn serve(&self, etag: &'static str, bundle: &[u8]) {
        let mut served = self.0.lock().expect("no panic");
        (served.etag, served.bundle) = (etag, bundle.to_vec());
    }
}

#[tokio::test]
async fn policies_follow_bundles_that_opa_signed_over_http_by_their_etag() {
    let Some(opa) = setup::variable("SEKISHO_OPA", "bundles of OPA over HTTP").map(PathBuf::from) else { return };
    let folder = Folder::new("followed");
    let signing = SigningKey::generate(Backend::aws_lc(), Algorithm::Es256).expect("a key");
    let pem = folder.write("key.pem", to_pem(&signing));
    let other = SigningKey::generate(Backend::aws_lc(), Algorithm::Es256).expect("a key");
    let other = folder.write("other.pem", to_pem(&other));
    folder.write("source/shop/policy.rego", REGO);
    let bundle = |revision: &str, action: &str, key: &str| {
        folder.write("source/shop/data.json", format!(r#"{{"action": "{action}"}}"#));
        folder.write("source/.manifest", format!(r#"{{"revision": "{revision}", "roots": ["shop"]}}"#));
        build(&opa, &folder, &["--signing-key", key, "--signing-alg", "ES256"])
    };
    let bundles = Bundles::default();
    bundles.serve("\"1\"", &bundle("r1", "read", &pem));
    let keys = StaticKeys::new([signing.verifying_key().with_kid("default")]);
    let reader = BundleReader::signed(Backend::aws_lc(), Arc::new(keys)).with_key_id("default");
    let client = Arc::new(ReqwestClient::new(Duration::from_secs(1)).expect("a client"));
    let source = BundleUrl::new(bundles.start().await, reader, client).expect("a source");
    let make = |files: &PolicyFiles| RegoPolicies::builder("data.shop.decision").with_files(files).build();
    let live = Live::builder(source, make).build().await.expect("policies");
    let decides = async |action: &str, revision: &str| {
        let alice = PrincipalBuilder::new("https://id.example", "alice").build().expect("a principal");
        for asked in ["read", "write"] {
            let request = AccessRequest::new(&alice, asked, Resource::new("order", "42"), NOW);
            let decision = live.decide(&request).await.expect("a decision");
            assert_eq!((decision.is_permitted(), decision.revision()), (asked == action, Some(revision)), "{asked}");
        }
    };
    decides("read", "r1").await;
    assert!(!live.reload().await.expect("not modified"));
    // Signed by somebody else.
    bundles.serve("\"2\"", &bundle("r2", "write", &other));
    assert!(live.reload().await.is_err());
    decides("read", "r1").await;
    bundles.serve("\"3\"", &bundle("r3", "write", &pem));
    assert!(live.reload().await.expect("a new set"));
    decides("write", "r3").await;
    assert!(!live.reload().await.expect("not modified"));
    let asked = std::mem::take(&mut bundles.0.lock().expect("no panic").asked);
    let asked: Vec<_> = asked.iter().map(|(status, tag)| (*status, tag.as_deref())).collect();
    let (one, three) = (Some("\"1\""), Some("\"3\""));
    assert_eq!(asked, [(200, None), (304, one), (200, one), (200, one), (304, three)]);
}

fn to_pem(key: &SigningKey) -> String {
    let der = key.to_pkcs8_der().expect("a key");
    let text = base64_simd::STANDARD.encode_to_string(&der[..]);
    let lines: Vec<&str> = (0..text.len()).step_by(64).map(|at| &text[at..text.len().min(at + 64)]).collect();
    format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", lines.join("\n"))
}
