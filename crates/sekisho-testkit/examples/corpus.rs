//! Writes the hostile and the honest tokens below a folder, whole and taken apart, a file each: seeds for fuzz targets.
//!
//! ```sh
//! cargo run -p sekisho-testkit --example corpus -- target/seeds
//! ```
//!
//! When the folder of published vectors is there, which `SEKISHO_VECTORS` names (default `../shared/vectors` beside the workspace), the
//! providers' key sets and discovery documents and the corpora of jwt_verify_lib and mod_auth_openidc are put beside them.
//!
//! The folders are `token`, `authorization`, `cookie`, `header` and `claims` (decoded), `jwk_set`, `discovery`, `dpop` and `bundle`.
//! Issuer `https://id.example`, audience `orders`, all at 1,800,000,000 s.
#![expect(clippy::print_stdout, reason = "a program that people run")]

use std::error::Error;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use base64_simd::URL_SAFE_NO_PAD as BASE64;
use sekisho_core::UnixSeconds;
use sekisho_testkit::{HostileContext, Issuer, honest_tokens, hostile_proofs, hostile_tokens};

/// Longer tokens only slow a fuzzer down.
const LONGEST: usize = 16_384;
/// Published key sets with their certificates are longer.
const LONGEST_PUBLISHED: usize = 65_536;

fn main() -> Result<(), Box<dyn Error>> {
    let folder = std::env::args().nth(1).ok_or("give the folder to write to")?;
    let folder = Path::new(&folder);
    let issuer = Issuer::with_url("https://id.example");
    let context = HostileContext::new(&issuer, "orders").with_now(UnixSeconds::new(1_800_000_000));
    let hostile = hostile_tokens(&context).map(|hostile| hostile.token);
    let honest = honest_tokens(&context).map(|honest| honest.token);
    let mut written = 0;
    let mut put = |target: &str, name: &str, bytes: &[u8]| {
        written += 1;
        let target = folder.join(target);
        fs::create_dir_all(&target)?;
        fs::write(target.join(name), bytes)
    };
    for (number, token) in hostile.chain(honest).enumerate().filter(|(_, token)| token.len() <= LONGEST) {
        let name = format!("seed-{number:03}");
        put("token", &name, token.as_bytes())?;
        put("authorization", &name, format!("Bearer {token}").as_bytes())?;
        put("cookie", &name, format!("a=b; __Host-token={token}; c=d").as_bytes())?;
        let mut parts = token.split('.').map(|part| BASE64.decode_to_vec(part).ok());
        if let Some(Some(header)) = parts.next() {
            put("header", &name, &header)?;
        }
        if let Some(Some(claims)) = parts.next() {
            put("claims", &name, &claims)?;
        }
    }
    let proofs = hostile_proofs(&issuer, "orders", "GET", "https://api.example/orders");
    for (number, hostile) in proofs.iter().enumerate() {
        put("dpop", &format!("seed-{number:03}"), hostile.proofs.join("\0").as_bytes())?;
    }
    for (name, certificate) in [
        ("rfc9440", ":YWJjZA==:"),
        ("pem", "-----BEGIN%20CERTIFICATE-----%0AYWJjZA%3D%3D%0A-----END%20CERTIFICATE-----%0A"),
        ("url", "https://api.example:443/x/../%6frders?x#y"),
    ] {
        put("dpop", &format!("seed-{name}"), certificate.as_bytes())?;
    }
    for (name, bytes) in bundles()? {
        put("bundle", &format!("seed-{name}"), &bytes)?;
    }
    let keys = issuer.key_set();
    put("jwk_set", "seed-keys", keys.as_bytes())?;
    put("discovery", "seed-keys", keys.as_bytes())?;
    let document = r#"{"issuer":"https://id.example/a","jwks_uri":"https://id.example/keys","keys":[]}"#;
    put("discovery", "seed-document", document.as_bytes())?;
    let vectors = std::env::var_os("SEKISHO_VECTORS").map_or_else(|| "../shared/vectors".into(), PathBuf::from);
    let vectors = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(vectors);
    for (source, targets) in PUBLISHED {
        for (name, bytes) in files(&vectors.join(source))?.iter().filter(|(_, bytes)| bytes.len() <= LONGEST_PUBLISHED)
        {
            let name = format!("{}-{name}", source.replace('/', "-"));
            for target in *targets {
                put(target, &name, key_set(bytes))?;
            }
        }
    }
    println!("{written} files below {}", folder.display());
    Ok(())
}

/// Files of a bundle of policies, or of what passes itself off for one: by a tar kind, a name and a content.
type Entries = &'static [(u8, &'static str, &'static [u8])];

const BUNDLES: &[(&str, Entries)] = &[
    (
        "plain",
        &[
            (b'0', "/.manifest", br#"{"revision":"7","roots":["shop"],"rego_version":1}"#),
            (b'5', "/shop", b""),
            (b'0', "/shop/data.json", br#"{ "b": 1, "a": [1.50, "x"] }"#),
            (b'0', "/shop/policy.rego", b"package shop\ndecision := true\n"),
        ],
    ),
    (
        "only-policies",
        &[(b'0', "./a.rego", b"package a\n"), (b'0', "b/c.cedar", b"permit(principal, action, resource);")],
    ),
    ("outside", &[(b'0', ".manifest", br#"{"roots":["a/b"]}"#), (b'0', "data.json", br#"{"a":{"b":1,"c":2}}"#)]),
    ("on-the-way", &[(b'0', ".manifest", br#"{"roots":["a/b","a/c"]}"#), (b'0', "data.json", br#"{"a":{"b":1}}"#)]),
    ("overlapping", &[(b'0', ".manifest", br#"{"roots":["a","a/b"]}"#)]),
    ("twice", &[(b'0', "a.rego", b"package a"), (b'0', "/a.rego", b"package b")]),
    ("leads-up", &[(b'0', "a/../../b.rego", b"package a")]),
    ("link", &[(b'2', "a.rego", b""), (b'1', "b.rego", b"")]),
    ("longer-names", &[(b'L', "././@LongLink", b"a/b.rego\0"), (b'0', "short", b"package a")]),
    ("pax", &[(b'x', "pax", b"17 path=../a.rego\n"), (b'0', "short", b"package a")]),
    ("sparse", &[(b'S', "a.rego", b"package a"), (b'7', "b.rego", b"package a")]),
    ("delta", &[(b'0', "patch.json", br#"{"data":[]}"#)]),
    ("doubled-member", &[(b'0', "data.json", br#"{"a":1,"\u0061":2}"#)]),
    ("signature", &[(b'0', ".signatures.json", br#"{"signatures":["a.b.c"],"plugin":"_default"}"#)]),
    // To be repeated.
    ("many", &[(b'0' | 0x80, "a", &[b'a'; 2000]), (b'0' | 0x80, "b", &[b'b'; 2000])]),
];

/// Makes the seeds of bundles. The first byte says what follows: the whole bundle, the archive in it, a list of files, or such a list with
/// the number of a right or wrong way to sign them.
fn bundles() -> Result<Vec<(String, Vec<u8>)>, Box<dyn Error>> {
    let mut seeds = Vec::new();
    for (name, entries) in BUNDLES {
        let (mut list, mut tar) = (Vec::new(), Vec::new());
        for (kind, path, content) in *entries {
            list.extend([*kind, u8::try_from(path.len())?]);
            list.extend_from_slice(path.as_bytes());
            list.extend(u16::try_from(content.len())?.to_le_bytes());
            list.extend_from_slice(content);
            let mut header = tar::Header::new_ustar();
            // The crate would not write some of these names.
            header.as_mut_bytes().get_mut(..path.len()).ok_or("a long name")?.copy_from_slice(path.as_bytes());
            header.set_size(content.len() as u64);
            header.set_entry_type(tar::EntryType::new(*kind & 0x7f));
            header.set_cksum();
            tar.extend_from_slice(header.as_bytes());
            tar.extend_from_slice(content);
            tar.resize(tar.len().next_multiple_of(512), 0);
        }
        tar.extend_from_slice(&[0; 1024]);
        let mut encoder = flate2::write::GzEncoder::new(vec![0], flate2::Compression::best());
        encoder.write_all(&tar)?;
        seeds.push((format!("{name}-whole"), encoder.finish()?));
        seeds.push((format!("{name}-archive"), [&[1], &*tar].concat()));
        seeds.push((format!("{name}-files"), [&[2], &*list].concat()));
        for way in 0..=9 {
            seeds.push((format!("{name}-signed-{way}"), [&[3, way], &*list].concat()));
        }
    }
    Ok(seeds)
}

/// Published files, and the targets that they are seeds of. A discovery document and a key set may stand for one another.
const PUBLISHED: &[(&str, &[&str])] = &[
    ("providers", &["jwk_set", "discovery"]),
    ("providers-azure-identitymodel", &["jwk_set", "discovery"]),
    ("jwt_verify_lib/fuzz_corpus", &["jwk_set"]),
    ("mod_auth_openidc-corpus/jwks", &["jwk_set", "discovery"]),
    ("mod_auth_openidc-corpus/metadata", &["discovery"]),
    ("mod_auth_openidc-corpus/pem_key", &["jwk_set"]),
    ("mod_auth_openidc-corpus/jwt", &["token"]),
    ("mod_auth_openidc-corpus/cookie", &["cookie"]),
];

/// Returns the key set of a file that holds a token too, as those of jwt_verify_lib do, or all of another file.
fn key_set(file: &[u8]) -> &[u8] {
    let Some(text) = std::str::from_utf8(file).ok().filter(|text| text.starts_with("jwt: ")) else { return file };
    text.split_once("jwks: '").and_then(|(_, rest)| rest.rsplit_once('\'')).map_or(file, |(keys, _)| keys.as_bytes())
}

/// Reads every file below a folder, named by its path; none if there is no such folder.
fn files(folder: &Path) -> std::io::Result<Vec<(String, Vec<u8>)>> {
    let mut found = Vec::new();
    let mut open = vec![(String::new(), folder.to_path_buf())];
    while let Some((prefix, folder)) = open.pop().filter(|(_, folder)| folder.is_dir()) {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
            match entry.path() {
                path if path.is_dir() => open.push((format!("{name}-"), path)),
                _ if name.ends_with("SOURCE.txt") || name.contains("LICENSE") => {}
                path => found.push((name, fs::read(path)?)),
            }
        }
    }
    Ok(found)
}
