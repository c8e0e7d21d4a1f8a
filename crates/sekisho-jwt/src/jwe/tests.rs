//! Published vectors. They say nothing of what is inside, so no public function takes them; what is below it does.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

use std::io::Write as _;
use std::path::{Path, PathBuf};

use josekit::jwk::Jwk;
use josekit::jwk::alg::ec::EcKeyPair;
use josekit::jwk::alg::rsa::RsaKeyPair;
use serde_json::Value;

use super::*;

/// Returns the file of Project Wycheproof, or says that the test was skipped. Where everything has to run, `CI=true`, only the
/// word `none` in place of a folder skips.
fn wycheproof() -> Option<Value> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let folder = std::env::var_os("SEKISHO_VECTORS").map_or_else(|| "../shared/vectors".into(), PathBuf::from);
    let folder = workspace.join(folder);
    if folder.is_dir() {
        let file = std::fs::read(folder.join("wycheproof/json_web_encryption_test.json")).unwrap();
        return Some(serde_json::from_slice(&file).unwrap());
    }
    let is_skipped_on_purpose = folder.file_name().is_some_and(|name| name == "none");
    let must_run = std::env::var_os("CI").is_some_and(|ci| ci == "true") && !is_skipped_on_purpose;
    assert!(!must_run, "no folder {}; set SEKISHO_VECTORS to the vectors, or to `none`", folder.display());
    let line = "skipped: sekisho-jwt wycheproof: no vectors; set SEKISHO_VECTORS\n";
    std::io::stderr().write_all(line.as_bytes()).unwrap();
    if let Some(list) = std::env::var_os("SEKISHO_SKIPPED") {
        let mut list = std::fs::File::options().create(true).append(true).open(list).unwrap();
        list.write_all(line.as_bytes()).unwrap();
    }
    None
}

/// Loads a key for its algorithm; `None` for algorithms that are absent on purpose.
fn key(jwk: &Value) -> Option<DecryptionKey> {
    use KeyManagement::{EcdhEs, EcdhEsA128Kw, EcdhEsA192Kw, EcdhEsA256Kw, RsaOaep, RsaOaep256};
    let management = [RsaOaep, RsaOaep256, EcdhEs, EcdhEsA128Kw, EcdhEsA192Kw, EcdhEsA256Kw]
        .into_iter()
        .find(|management| jwk["alg"] == management.name())?;
    let parsed = Jwk::from_bytes(jwk.to_string()).unwrap();
    let pem = match jwk["kty"].as_str().unwrap() {
        "RSA" => RsaKeyPair::from_jwk(&parsed).unwrap().to_pem_private_key(),
        _ => EcKeyPair::from_jwk(&parsed).unwrap().to_pem_private_key(),
    };
    Some(DecryptionKey::from_pem(management, &pem).unwrap())
}

/// Reads a header as [`Header::parse`] does, save for `cty`.
fn header(encoded: &str) -> Option<Header> {
    let bytes = base64::decode(encoded)?;
    let members: Value = serde_json::from_slice(&bytes).ok()?;
    Some(Header {
        of_josekit: JweHeader::from_bytes(&bytes).ok()?,
        algorithm: members["alg"].as_str()?.to_owned(),
        encryption: ContentEncryption::from_name(members["enc"].as_str()?)?,
        kid: None,
    })
}

fn plain_text(token: &str, keys: &[DecryptionKey]) -> Option<Vec<u8>> {
    let parts = parts(token)?;
    open(parts, &header(parts[0])?, keys).ok().map(|(_, content)| content)
}

#[test]
fn published_tokens_open_to_what_was_encrypted_or_do_not_open() {
    let Some(file) = wycheproof() else { return };
    let (mut opened, mut refused) = (0, 0);
    for group in file["testGroups"].as_array().unwrap() {
        let Some(key) = key(&group["private"]) else { continue };
        for case in group["tests"].as_array().unwrap() {
            let found = plain_text(case["jwe"].as_str().unwrap(), std::slice::from_ref(&key));
            if case["result"] == "valid" {
                let hex = case["pt"].as_str().unwrap();
                let digits = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
                let expected: Vec<u8> = (0..hex.len()).step_by(2).map(digits).collect();
                assert_eq!(found, Some(expected), "{}", case["tcId"]);
                opened += 1;
            } else {
                assert_eq!(found, None, "{}: {}", case["tcId"], case["comment"]);
                refused += 1;
            }
        }
    }
    assert_eq!((opened, refused), (OPENED, REFUSED));
}

/// Counted in the file, in the groups of the six algorithms.
const OPENED: u32 = 39;
const REFUSED: u32 = 33;
