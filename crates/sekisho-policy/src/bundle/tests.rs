use std::io::Write as _;

use proptest::prelude::*;
use sekisho_core::json::JsonObject;
use sekisho_jwt::Signer;
use sekisho_jwt::jwks::{SigningKey, StaticKeys};
use serde_json::{Value, json};

use super::hash::HashAlgorithm;
use super::*;

const NOW: UnixSeconds = UnixSeconds::new(1_800_000_000);
const FILES: &[(&str, &str)] = &[
    (".manifest", r#"{"revision":"7","roots":["shop"],"rego_version":1}"#),
    ("shop/data.json", r#"{ "b": 1, "a": [1.0, "x"] }"#),
    ("shop/policy.rego", "package shop\ndecision := true\n"),
];

pub(crate) fn key() -> SigningKey {
    SigningKey::generate(Backend::default(), Algorithm::Es256).unwrap()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Writes names as they are, which the `tar` crate would not.
fn entry(name: &str, kind: tar::EntryType, content: &[u8]) -> Vec<u8> {
    let mut header = tar::Header::new_ustar();
    header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
    header.set_size(content.len() as u64);
    header.set_mode(0o644);
    header.set_entry_type(kind);
    header.set_cksum();
    let mut bytes = header.as_bytes().to_vec();
    bytes.extend_from_slice(content);
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes
}

fn archive(files: &[(&str, &str)]) -> Vec<u8> {
    let mut tar: Vec<u8> =
        files.iter().flat_map(|(name, text)| entry(name, tar::EntryType::Regular, text.as_bytes())).collect();
    tar.extend_from_slice(&[0; 1024]);
    gzip(&tar)
}

fn claims(files: &[(&str, &str)], hash: &str) -> Value {
    let algorithm = HashAlgorithm::named(hash).unwrap();
    let list: Vec<Value> = files
        .iter()
        .map(|(name, text)| {
            let digest = algorithm.digest(Backend::default(), name, text.as_bytes()).unwrap();
            let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
            json!({"name": name, "hash": hex, "algorithm": hash})
        })
        .collect();
    json!({"files": list})
}

fn with_claims(key: &SigningKey, files: &[(&str, &str)], claims: &Value) -> Vec<u8> {
    let token = Signer::new(key.clone()).with_type("JWT").sign(claims).unwrap();
    let signatures = json!({"signatures": [token], "plugin": "_default"}).to_string();
    let mut all = files.to_vec();
    all.push((SIGNATURES, &signatures));
    archive(&all)
}

pub(crate) fn signed(key: &SigningKey, files: &[(&str, &str)]) -> Vec<u8> {
    with_claims(key, files, &claims(files, "SHA-256"))
}

pub(crate) fn reader(key: &SigningKey) -> BundleReader {
    BundleReader::signed(Backend::default(), Arc::new(StaticKeys::new([key.verifying_key()])))
}

async fn refusal(reader: &BundleReader, archive: &[u8]) -> String {
    format!("{:?}", reader.read(archive, NOW).await.unwrap_err()).split('(').next().unwrap().to_owned()
}

/// Written and hashed by `opa build` 1.22.3.
#[test]
fn hashes_are_those_of_opa() {
    for (name, text, expected) in [
        (
            "data.json",
            r#"{"shop":{"action":"read","n":1.50,"t":"\u003c\u0026\u2028é\u003e"}}"#,
            "2538a7e5f01650668a9723100e68eb0e567067976b63281655fb8fee6a23dd46",
        ),
        (
            ".manifest",
            r#"{"revision":"7","roots":["shop"],"rego_version":1}"#,
            "3405969c2c2ce66acca25d560a3b32b7cd3ce6e1df8c7f9c9f007c071da1dce3",
        ),
        (
            "src/shop/policy.rego",
            "package shop\n\ndecision if input.action.name == data.shop.action\n",
            "e4b6d1d23e45484f45d5b137e5b08323479a36f0aa988ed0611dcd561dd00e0a",
        ),
    ] {
        let digest = HashAlgorithm::Sha256.digest(Backend::default(), name, text.as_bytes()).unwrap();
        let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, expected, "{name}");
    }
}

#[tokio::test]
async fn reads_a_signed_bundle_with_each_hash() {
    let key = key();
    for hash in ["SHA-256", "SHA-384", "SHA-512"] {
        let files = reader(&key).read(&with_claims(&key, FILES, &claims(FILES, hash)), NOW).await.unwrap();
        assert_eq!((files.len(), files.revision(), files.rego_version()), (3, Some("7"), Some(1)));
        assert!(files.is_signed() && files.get(SIGNATURES).is_none());
    }
}

#[tokio::test]
async fn names_may_begin_with_a_slash_and_json_may_be_written_otherwise() {
    let key = key();
    let list = claims(FILES, "SHA-256");
    let other: Vec<(String, &str)> = FILES.iter().map(|(name, text)| (format!("/{name}"), *text)).collect();
    let mut other: Vec<(&str, &str)> = other.iter().map(|(name, text)| (name.as_str(), *text)).collect();
    other[1].1 = r#"{"a":[1.0,"\u0078"],"b":1}"#;
    assert!(reader(&key).read(&with_claims(&key, &other, &list), NOW).await.is_ok());
}

#[tokio::test]
async fn refuses_what_is_not_wholly_signed() {
    let (key, other) = (key(), key());
    let reader = reader(&key);
    assert_eq!(refusal(&reader, &archive(FILES)).await, "Unsigned");
    assert_eq!(refusal(&reader, &signed(&other, FILES)).await, "Signature");
    assert_eq!(refusal(&reader, &signed(&other.clone().with_kid(key.kid()), FILES)).await, "Signature");
    let list = claims(FILES, "SHA-256");
    assert_eq!(refusal(&reader, &with_claims(&key, &FILES[..2], &list)).await, "Missing");
    for (name, text, expected) in [
        ("shop/policy.rego", "package shop\ndecision := false\n", "Digest"),
        ("shop/data.json", r#"{ "b": 2, "a": [1.0, "x"] }"#, "Digest"),
        ("shop/data.json", r#"{ "b": 1, "a": [1, "x"] }"#, "Digest"),
        (".manifest", r#"{"revision":"8","roots":["shop"],"rego_version":1}"#, "Digest"),
        ("shop/data.json", r#"{ "b": 1, "b": 1, "a": [1.0, "x"] }"#, "Json"),
    ] {
        let changed: Vec<_> = FILES.iter().map(|file| if file.0 == name { (name, text) } else { *file }).collect();
        assert_eq!(refusal(&reader, &with_claims(&key, &changed, &list)).await, expected, "{name} {text}");
    }
    let mut more = FILES.to_vec();
    more.push(("shop/more.rego", "package shop"));
    assert_eq!(refusal(&reader, &with_claims(&key, &more, &list)).await, "NotListed");
    let unsigned = BundleReader::dangerous_unsigned().read(&archive(FILES), NOW).await.unwrap();
    assert!(!unsigned.is_signed());
}

#[tokio::test]
async fn refuses_other_forms_of_signature_and_list() {
    let key = key();
    let reader = reader(&key);
    let token = Signer::new(key.clone()).with_type("JWT").sign(&claims(FILES, "SHA-256")).unwrap();
    for signatures in [
        json!({}),
        json!({"signatures": []}),
        json!({"signatures": [token, token]}),
        json!({"signatures": token}),
        json!({"signatures": [token], "plugin": "custom"}),
        json!({"signatures": [1]}),
        json!([token]),
    ] {
        let text = signatures.to_string();
        let mut all = FILES.to_vec();
        all.push((SIGNATURES, &text));
        assert_eq!(refusal(&reader, &archive(&all)).await, "SignatureForm", "{text}");
    }
    let good = claims(FILES, "SHA-256");
    let hash = good["files"][0]["hash"].clone();
    let with = |member: &str, value: Value| {
        let mut list = good.clone();
        list["files"][0][member] = value;
        list
    };
    for (list, expected) in [
        (json!({}), "SignedList"),
        (json!({"files": {}}), "SignedList"),
        (with("hash", json!("zz")), "SignedList"),
        (with("hash", json!("abc")), "SignedList"),
        (with("hash", json!("")), "Digest"),
        (with("name", json!("shop/data.json")), "SignedList"),
        (with("name", json!("other")), "NotListed"),
        (with("algorithm", json!("MD5")), "HashAlgorithm"),
        (with("algorithm", json!("SHA-1")), "HashAlgorithm"),
        (with("algorithm", Value::Null), "SignedList"),
        (json!({"files": [{"name": ".manifest", "hash": hash}]}), "SignedList"),
    ] {
        assert_eq!(refusal(&reader, &with_claims(&key, FILES, &list)).await, expected, "{list}");
    }
}

#[tokio::test]
async fn checks_scope_key_and_algorithm() {
    let key = key().with_kid("prod");
    let with = |scope: Value, key_id: Value| {
        let mut list = claims(FILES, "SHA-256");
        (list["scope"], list["keyid"]) = (scope, key_id);
        with_claims(&key, FILES, &list)
    };
    let plain = reader(&key);
    assert_eq!(refusal(&plain, &with(json!("write"), json!("prod"))).await, "Scope");
    assert_eq!(refusal(&plain, &with(json!(1), json!("prod"))).await, "Scope");
    assert_eq!(refusal(&plain.clone().with_scope("write"), &signed(&key, FILES)).await, "Scope");
    assert_eq!(refusal(&plain.clone().with_scope("write"), &with(json!("Write"), json!("prod"))).await, "Scope");
    let demanding = plain.clone().with_scope("write").with_key_id("prod");
    assert!(demanding.read(&with(json!("write"), json!("prod")), NOW).await.is_ok());
    assert_eq!(refusal(&demanding, &with(json!("write"), json!("test"))).await, "KeyId");
    assert_eq!(refusal(&plain.clone().with_key_id("test"), &signed(&key, FILES)).await, "Signature");
    assert_eq!(refusal(&plain.with_algorithms([Algorithm::Rs256]), &signed(&key, FILES)).await, "Signature");
}

#[tokio::test]
async fn dates_in_a_signature_must_hold_where_they_are_there() {
    let key = key();
    let reader = reader(&key);
    let now = NOW.as_secs();
    let with = |dates: Value| {
        let mut list = claims(FILES, "SHA-256");
        list.as_object_mut().unwrap().extend(dates.as_object().unwrap().clone());
        with_claims(&key, FILES, &list)
    };
    for good in [
        json!({}),
        json!({ "exp": now + 1 }),
        json!({ "exp": now - 59 }),
        json!({ "nbf": now + 60, "iat": now + 60 }),
        json!({ "iat": 0, "exp": 4_000_000_000_u64 }),
    ] {
        assert!(reader.read(&with(good.clone()), NOW).await.is_ok(), "{good}");
    }
    for bad in [
        json!({ "exp": now - 60 }),
        json!({ "exp": 0 }),
        json!({ "nbf": now + 61 }),
        json!({ "iat": now + 61 }),
        json!({ "exp": "2099-01-01" }),
        json!({ "exp": -1 }),
        json!({ "exp": null }),
        json!({ "iat": 1e300 }),
        json!({ "nbf": [now] }),
    ] {
        assert_eq!(refusal(&reader, &with(bad.clone())).await, "NotInForce", "{bad}");
    }
}

#[tokio::test]
async fn takes_a_shared_secret_only_where_that_was_asked_for() {
    let secret = SigningKey::hmac(Backend::default(), Algorithm::Hs256, &[7; 32]).unwrap();
    let bundle = signed(&secret, FILES);
    assert_eq!(refusal(&reader(&secret), &bundle).await, "Signature");
    let asked = reader(&secret).with_shared_secret_algorithms([Algorithm::Hs256]);
    assert!(asked.read(&bundle, NOW).await.is_ok());
    assert_eq!(refusal(&asked, &signed(&key(), FILES)).await, "Signature");
}

#[tokio::test]
async fn refuses_names_that_lead_elsewhere_and_special_entries() {
    let open = BundleReader::dangerous_unsigned();
    for name in ["../a", "a/../../b", "//a", "/../a", "a//b", "a\\b", "./../a", "a/.", "..", "a\nb"] {
        assert_eq!(refusal(&open, &archive(&[(name, "x")])).await, "Name", "{name}");
    }
    use tar::EntryType;
    for kind in [
        EntryType::Symlink,
        EntryType::Link,
        EntryType::Char,
        EntryType::Block,
        EntryType::Fifo,
        EntryType::XGlobalHeader,
    ] {
        assert_eq!(refusal(&open, &gzip(&entry("a", kind, b""))).await, "EntryKind", "{kind:?}");
    }
    assert_eq!(refusal(&open, &archive(&[("a", "1"), ("/a", "2")])).await, "Duplicate");
    assert_eq!(refusal(&open, &archive(&[("a", "1"), ("./a", "1")])).await, "Duplicate");
    assert_eq!(refusal(&open, &archive(&[("patch.json", "{}")])).await, "Delta");
}

#[tokio::test]
async fn refuses_what_is_no_archive_or_too_large() {
    let open = BundleReader::dangerous_unsigned();
    let good = archive(FILES);
    let doubled = [good.clone(), good.clone()].concat();
    for bad in [
        &b""[..],
        b"{}",
        &good[..good.len() / 2],
        &good[1..],
        &doubled,
        &gzip(b"no tar archive"),
        &[good.as_slice(), b"x"].concat(),
    ] {
        assert_eq!(refusal(&open, bad).await, "Archive", "{} bytes", bad.len());
    }
    let limited = |limits| BundleReader::dangerous_unsigned().with_limits(limits);
    let limits = BundleLimits::default();
    let small = limited(BundleLimits { max_packed_bytes: good.len() - 1, ..limits });
    assert_eq!(refusal(&small, &good).await, "TooLarge");
    let bomb = gzip(&vec![0; limits.max_unpacked_bytes + 1]);
    assert!(bomb.len() < limits.max_packed_bytes);
    assert_eq!(refusal(&open, &bomb).await, "TooLarge");
    // A megabyte of nothing packs to a kilobyte.
    let long = format!("{{}}{}", " ".repeat(super::hash::MAX_STRUCTURED));
    for name in [".manifest", "data.json", "shop/data.json"] {
        assert_eq!(refusal(&open, &archive(&[(name, &long)])).await, "TooLarge", "{name}");
    }
    assert!(open.read(&archive(&[("data.json", &long[..long.len() - 2])]), NOW).await.is_ok());
    let few = limited(BundleLimits { max_entries: 2, ..limits });
    assert_eq!(refusal(&few, &good).await, "TooManyEntries");
}

#[tokio::test]
async fn refuses_manifests_and_data_that_do_not_fit() {
    let open = BundleReader::dangerous_unsigned();
    for manifest in [
        r#"{"roots":"shop"}"#,
        r#"{"roots":["a","a/b"]}"#,
        r#"{"roots":["","a"]}"#,
        r#"{"roots":["a","a"]}"#,
        r#"{"roots":[1]}"#,
        r#"{"revision":7}"#,
        r#"{"revision":"a\nb"}"#,
        r#"{"rego_version":2}"#,
        r#"{"rego_version":"1"}"#,
        r#"{"file_rego_versions":{"a.rego":0}}"#,
    ] {
        assert_eq!(refusal(&open, &archive(&[(".manifest", manifest)])).await, "Manifest", "{manifest}");
    }
    for manifest in ["", "[]", "{", r#"{"revision":"a","revision":"b"}"#] {
        assert_eq!(refusal(&open, &archive(&[(".manifest", manifest)])).await, "Json", "{manifest}");
    }
    let manifest = (".manifest", r#"{"roots":["shop/orders"]}"#);
    for (name, data) in [
        ("data.json", r#"{"other":1}"#),
        ("data.json", r#"{"shop":{"other":1}}"#),
        ("data.json", r#"{"shop":1}"#),
        ("shop/data.json", "1"),
        ("shop/data.json", r#"{"ordersX":1}"#),
        ("other/data.json", "{}"),
        ("data.json", r#"{"shop/orders":1}"#),
        ("data.json", r#"{"":{"shop":{"orders":1}}}"#),
        ("data.json", r#"{"shop":{"":{"orders":1}}}"#),
        ("data.json", r#"{"shop":{"orders":{}},"other":{}}"#),
        ("data.json", r#"{"shop":[{"orders":1}]}"#),
        ("data.json", r#"{"shop":{"orders":1,"\u006frders2":1}}"#),
        ("other/data.json", "1"),
    ] {
        assert_eq!(refusal(&open, &archive(&[manifest, (name, data)])).await, "Roots", "{name} {data}");
    }
    for (name, data) in [
        ("data.json", r#"{"shop":{"orders":{"a":1}}}"#),
        ("data.json", r#"{"\u0073hop":{"\u006frders":{"/":{"":1}}}}"#),
        ("data.json", r#"{"shop":{}}"#),
        ("data.json", "{}"),
        ("shop/orders/data.json", "[1]"),
        ("shop/orders/x/data.json", "1"),
    ] {
        assert!(open.read(&archive(&[manifest, (name, data)]), NOW).await.is_ok(), "{name}");
    }
}

#[tokio::test]
async fn roots_are_bounded_before_they_are_compared() {
    let open = BundleReader::dangerous_unsigned();
    let manifest = |roots: &[String]| json!({ "roots": roots }).to_string();
    let numbered = |count: usize| (0..count).map(|number| format!("r{number}")).collect::<Vec<_>>();
    for (what, roots) in [
        ("one too many", numbered(101)),
        ("so many that comparing them would not end", numbered(100_000)),
        ("too long", vec!["x".repeat(513)]),
        ("too deep", vec!["a/".repeat(32) + "a"]),
        ("up", vec!["a/../b".to_owned()]),
        ("a part that is empty", vec!["a//b".to_owned()]),
    ] {
        assert_eq!(refusal(&open, &archive(&[(".manifest", &manifest(&roots))])).await, "Manifest", "{what}");
    }
    let deep: Vec<String> = (0..100).map(|number| "a/".repeat(29) + &format!("r{number}")).collect();
    let (start, end) = (r#"{"a":"#.repeat(29), "}".repeat(29));
    let data = |inner: &str| format!("{start}{inner}{end}");
    for (inner, passes) in [(r#"{"r0":[1],"r99":{}}"#, true), (r#"{"r0":1,"r100":1}"#, false), ("[]", false)] {
        let bundle = archive(&[(".manifest", &manifest(&deep)), ("data.json", &data(inner))]);
        assert_eq!(open.read(&bundle, NOW).await.is_ok(), passes, "{inner}");
    }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn whatever_comes_is_no_panic(bytes in proptest::collection::vec(any::<u8>(), 0..2048)) {
        let open = BundleReader::dangerous_unsigned();
        let _ = block_on(open.read(&bytes, NOW));
        let _ = block_on(open.read(&gzip(&bytes), NOW));
    }

    #[test]
    fn a_changed_byte_of_what_was_packed_is_refused_or_changes_nothing(at in any::<prop::sample::Index>(), flip in 1_u8..) {
        let key = SigningKey::hmac(Backend::default(), Algorithm::Hs256, &[7; 32]).unwrap();
        let reader = reader(&key).with_shared_secret_algorithms([Algorithm::Hs256]);
        let mut bundle = signed(&key, FILES);
        let at = at.index(bundle.len());
        bundle[at] ^= flip;
        if let Ok(files) = block_on(reader.read(&bundle, NOW)) {
            for (name, text) in FILES {
                prop_assert_eq!(files.get(name), Some(text.as_bytes()));
            }
        }
    }
}

#[test]
fn the_list_in_these_tests_is_strict_json() {
    assert!(JsonObject::from_serialize(&claims(FILES, "SHA-256")).is_ok());
}
