//! Any bytes as a bundle of policies: whole, as the archive in it, and as files that are put into one, signed and not.
#![no_main]

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::sync::LazyLock;

use flate2::Compression;
use flate2::write::GzEncoder;
use libfuzzer_sys::fuzz_target;
use sekisho_fuzz::{FIXTURE, NOW};
use sekisho_jwt::{Algorithm, Backend};
use sekisho_policy::bundle::{BundleError, BundleLimits, BundleReader};
use sekisho_policy::source::PolicyFiles;
use serde_json::{Value, json};
use tokio::runtime::{Builder, Runtime};

const LIMITS: BundleLimits =
    BundleLimits { max_packed_bytes: 64 * 1024, max_unpacked_bytes: 512 * 1024, max_entries: 40 };

/// Wants the signature that only the fixture can make.
static SIGNED: LazyLock<BundleReader> = LazyLock::new(|| {
    let keys = std::sync::Arc::new(FIXTURE.keys());
    let reader = BundleReader::signed(Backend::default(), keys).with_shared_secret_algorithms([Algorithm::Hs256]);
    reader.with_limits(LIMITS)
});
static UNSIGNED: LazyLock<BundleReader> = LazyLock::new(|| BundleReader::dangerous_unsigned().with_limits(LIMITS));
static RUNTIME: LazyLock<Runtime> =
    LazyLock::new(|| Builder::new_current_thread().enable_time().build().expect("a runtime"));

/// Is an entry as it is put into an archive.
struct Entry {
    kind: u8,
    name: Vec<u8>,
    content: Vec<u8>,
}

fuzz_target!(|bytes: &[u8]| {
    let Some((mode, rest)) = bytes.split_first() else { return };
    match mode % 4 {
        0 => foreign(rest),
        1 => foreign(&gzip(rest)),
        2 => {
            let entries = entries(rest);
            let archive = archive(&entries);
            foreign(&archive);
            as_put_in(&entries, &archive);
        }
        _ => {
            let Some((tweak, rest)) = rest.split_first() else { return };
            signed(*tweak, &entries(rest));
        }
    }
});

/// Reads what nobody has signed.
fn foreign(archive: &[u8]) {
    assert!(read(&SIGNED, archive).is_err(), "nobody has signed it");
    if let Ok(files) = read(&UNSIGNED, archive) {
        assert!(archive.len() <= LIMITS.max_packed_bytes && !files.is_signed());
        within_bounds(&files);
    }
}

fn within_bounds(files: &PolicyFiles) {
    assert!(files.len() <= LIMITS.max_entries);
    let bytes: usize = files.iter().map(|(_, content)| content.len()).sum();
    assert!(bytes <= LIMITS.max_unpacked_bytes, "{bytes}");
    assert!(files.get(".signatures.json").is_none() && files.get("patch.json").is_none());
    assert!(files.revision().is_none_or(|revision| revision.len() <= 256 && !revision.contains(char::is_control)));
    let roots = files.roots().expect("a bundle has roots");
    assert!(roots.len() <= 100);
    for (index, root) in roots.iter().enumerate() {
        assert!(
            roots.iter().skip(index + 1).all(|other| !is_within(root, other) && !is_within(other, root)),
            "overlap"
        );
    }
    for (name, content) in files.iter() {
        let parts: Vec<&str> = name.split('/').collect();
        assert!(parts.iter().all(|part| !matches!(*part, "" | "." | "..")), "{name:?} leads elsewhere");
        assert!(!name.contains(['\\', '\0']) && !name.contains(char::is_control) && name.len() <= 512);
        if let Some(("data.json", folders)) = parts.split_last().map(|(last, folders)| (*last, folders)) {
            let value: Value = match serde_json::from_slice(content) {
                Ok(value) => value,
                // The reader here keeps numbers as they are written.
                Err(error) if error.to_string().starts_with("number out of range") => continue,
                Err(error) => panic!("to another reader it is no JSON: {error}"),
            };
            let mut path: Vec<String> = folders.iter().map(|part| (*part).to_owned()).collect();
            only_in_roots(&mut path, &value, roots);
        }
    }
}

/// Goes through all data: whatever is not merely on the way to a root lies in one.
fn only_in_roots(path: &mut Vec<String>, value: &Value, roots: &[Box<str>]) {
    let written = path.join("/");
    if roots.iter().any(|root| is_within(&written, root)) {
        return;
    }
    let members = value.as_object().expect("no value outside of all roots");
    for (name, value) in members {
        path.push(name.clone());
        only_in_roots(path, value, roots);
        path.pop();
    }
}

fn is_within(path: &str, root: &str) -> bool {
    root.is_empty() || path == root || path.strip_prefix(root).is_some_and(|rest| rest.starts_with('/'))
}

/// What comes out is what was put in: every file once, under its own name.
fn as_put_in(entries: &[Entry], archive: &[u8]) {
    let Ok(files) = read(&UNSIGNED, archive) else { return };
    if entries.iter().any(|entry| !matches!(entry.kind, b'0' | b'5')) {
        // Some kinds say what the next one is called, or how long it is.
        return;
    }
    let put: Vec<&Entry> = entries.iter().filter(|entry| entry.kind == b'0').collect();
    let names: BTreeSet<&str> = put.iter().map(|entry| plain(&entry.name)).collect();
    assert_eq!(names.len(), put.len(), "a name twice");
    for entry in put.iter().filter(|entry| plain(&entry.name) != ".signatures.json") {
        assert_eq!(files.get(plain(&entry.name)), Some(&*entry.content), "another content");
    }
    assert_eq!(files.len(), names.iter().filter(|name| **name != ".signatures.json").count());
}

/// Signs the files, or does it wrong.
fn signed(tweak: u8, entries: &[Entry]) {
    let mut files: Vec<(&str, &[u8])> = entries
        .iter()
        .filter(|entry| entry.kind == b'0')
        // What is left has no such beginning any more, so that the list and the archive call it the same.
        .map(|entry| (plain(&entry.name).trim_start_matches("./").trim_start_matches('/'), &*entry.content))
        .filter(|(name, _)| !name.starts_with("./"))
        .collect();
    let is_plain = files.iter().all(|(name, _)| !name.ends_with("data.json") && !name.ends_with(".manifest"));
    let mut listed: Vec<Value> = files.iter().map(|(name, content)| line(name, content)).collect();
    let is_wrong = match tweak {
        1 => !listed.is_empty() && !listed.remove(0).is_null(),
        2 => listed.first_mut().is_some_and(|line| {
            let flipped = if line["hash"].as_str().is_some_and(|hash| hash.starts_with('0')) { "1" } else { "0" };
            let hash = line["hash"].as_str().map(|hash| format!("{flipped}{}", &hash[1..]));
            line["hash"] = json!(hash);
            true
        }),
        3 => {
            listed.push(line("nowhere/at.all", b""));
            true
        }
        4 => listed.first().cloned().is_some_and(|line| {
            listed.push(line);
            true
        }),
        5 => listed.first_mut().is_some_and(|line| {
            line["algorithm"] = json!("MD5");
            true
        }),
        6..=9 => true,
        _ => false,
    };
    let scope = if tweak == 6 { "another" } else { "" };
    let claims = json!({"files": listed, "scope": scope}).to_string();
    let header: &[u8] = if tweak == 7 { br#"{"alg":"none"}"# } else { br#"{"alg":"HS256"}"# };
    let token = FIXTURE.sign(header, claims.as_bytes());
    let tokens = match tweak {
        8 => json!([token, token]),
        9 => json!([token.rsplit_once('.').map(|(signed, _)| format!("{signed}.{}", "A".repeat(43)))]),
        _ => json!([token]),
    };
    let signatures = json!({"signatures": tokens}).to_string();
    files.push((".signatures.json", signatures.as_bytes()));
    let all: Vec<Entry> = files
        .iter()
        .map(|(name, content)| Entry { kind: b'0', name: name.as_bytes().to_vec(), content: content.to_vec() })
        .collect();
    let archive = archive(&all);
    let (read_signed, read_unsigned) = (read(&SIGNED, &archive), read(&UNSIGNED, &archive));
    match (read_signed, read_unsigned) {
        (Ok(files), Ok(_)) => {
            assert!(!is_wrong && files.is_signed(), "{tweak}: accepted");
            within_bounds(&files);
        }
        (Ok(_), Err(error)) => panic!("a signature makes nothing good: {error:?}"),
        (Err(error), Ok(_)) => assert!(is_wrong || !is_plain, "an honest bundle is refused: {error:?}"),
        (Err(_), Err(_)) => {}
    }
}

fn line(name: &str, content: &[u8]) -> Value {
    // What says the same has one hash, whatever it is written like; others are hashed by their bytes.
    let said: Option<BTreeMap<String, Value>> = serde_json::from_slice(content).ok();
    let is_structured = name.ends_with("data.json") || name.ends_with(".manifest");
    let written = said.filter(|_| is_structured).map(|said| json!(said).to_string().into_bytes());
    let digest = Backend::default().sha256(written.as_deref().unwrap_or(content));
    let hash: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    json!({"name": name, "hash": hash, "algorithm": "SHA-256"})
}

fn read(reader: &BundleReader, archive: &[u8]) -> Result<PolicyFiles, BundleError> {
    RUNTIME.block_on(reader.read(archive, NOW))
}

/// Reads entries: a kind, the length of a name, the name, the length of a content, and the content, repeated where the kind says so.
fn entries(mut bytes: &[u8]) -> Vec<Entry> {
    let mut entries = Vec::new();
    while let [kind, length, rest @ ..] = bytes {
        // A tar header has room for so much.
        let (name, rest) = rest.split_at(usize::from(*length).min(100).min(rest.len()));
        let Some((length, rest)) = rest.split_first_chunk::<2>() else { break };
        let (content, rest) = rest.split_at(usize::from(u16::from_le_bytes(*length)).min(rest.len()));
        let times = if kind & 0x80 == 0 { 1 } else { 300 };
        entries.push(Entry { kind: kind & 0x7f, name: name.to_vec(), content: content.repeat(times) });
        bytes = rest;
    }
    entries
}

/// Returns the name that a file has: up to the first zero, without what `opa` and `tar` put before it.
fn plain(name: &[u8]) -> &str {
    let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
    let name = std::str::from_utf8(name).unwrap_or("\u{fffd}");
    name.strip_prefix('/').or_else(|| name.strip_prefix("./")).unwrap_or(name)
}

fn archive(entries: &[Entry]) -> Vec<u8> {
    let mut tar = Vec::new();
    for Entry { kind, name, content } in entries {
        let mut header = tar::Header::new_ustar();
        header.as_mut_bytes()[..name.len()].copy_from_slice(name);
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        header.set_entry_type(tar::EntryType::new(*kind));
        header.set_cksum();
        tar.extend_from_slice(header.as_bytes());
        tar.extend_from_slice(content);
        tar.resize(tar.len().next_multiple_of(512), 0);
    }
    tar.extend_from_slice(&[0; 1024]);
    gzip(&tar)
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).expect("into memory");
    encoder.finish().expect("into memory")
}
