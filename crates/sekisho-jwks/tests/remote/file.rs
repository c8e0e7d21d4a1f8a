//! Keys in a file that changes.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sekisho_core::{Clock, UnixSeconds};
use sekisho_jwks::{Algorithm, Backend, FileKeys, IntoKeySource, KeyHealth, KeyLookup, KeySet, SigningKey};
use serde_json::json;

use crate::support::{TestClock, ask, build, context, eventually, found, jwk, kid, set, told, unavailable};

const PEM: &str = "-----BEGIN PUBLIC KEY-----\n\
    MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n-----END PUBLIC KEY-----\n";

fn path(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    folder.join("keys.json")
}

#[tokio::test]
async fn a_changed_file_is_followed_and_a_removed_key_dies() {
    let (path, clock) = (path("changed"), TestClock::new());
    fs::write(&path, set(&["a"])).unwrap();
    let source = build(FileKeys::new(&path), &clock);
    let life = Arc::clone(found(source.find(kid("a"), clock.now())).life());
    assert!(life.is_live(UnixSeconds::new(u64::MAX - 1)));
    assert!(matches!(ask(&source, "b", clock.now()).await, KeyLookup::Unknown));
    fs::write(&path, set(&["b"])).unwrap();
    // Not read again before the interval is over.
    assert!(matches!(ask(&source, "b", clock.now()).await, KeyLookup::Unknown));
    clock.advance(5);
    found(ask(&source, "b", clock.now()).await);
    assert!(!life.is_live(clock.now()));
    assert_eq!(source.health(clock.now()), KeyHealth::Fresh { keys: 1 });
}

#[tokio::test]
async fn a_change_is_seen_though_no_unknown_kid_comes() {
    let (path, clock) = (path("quiet"), TestClock::new());
    fs::write(&path, set(&["a"])).unwrap();
    let source = build(FileKeys::new(&path), &clock);
    fs::write(&path, set(&["b"])).unwrap();
    clock.advance(5);
    eventually(|| !matches!(source.find(kid("a"), clock.now()), KeyLookup::Found(_))).await;
}

#[cfg(unix)]
#[tokio::test]
async fn a_swapped_link_is_followed() {
    let (path, clock) = (path("link"), TestClock::new());
    let folder = path.parent().unwrap();
    for (name, keys) in [("one", set(&["a"])), ("two", set(&["b"]))] {
        fs::write(folder.join(name), keys).unwrap();
    }
    drop(fs::remove_file(&path));
    std::os::unix::fs::symlink(folder.join("one"), &path).unwrap();
    let source = build(FileKeys::new(&path), &clock);
    found(source.find(kid("a"), clock.now()));
    let next = folder.join("next");
    drop(fs::remove_file(&next));
    std::os::unix::fs::symlink(folder.join("two"), &next).unwrap();
    fs::rename(&next, &path).unwrap();
    clock.advance(5);
    found(ask(&source, "b", clock.now()).await);
}

#[tokio::test]
async fn a_broken_or_missing_file_leaves_the_keys_at_hand() {
    for (name, content) in [
        ("empty", Some(String::new())),
        ("half", Some(set(&["a", "b"])[..40].to_owned())),
        ("none", Some(r#"{"keys":[]}"#.to_owned())),
        ("long", Some(" ".repeat(KeySet::MAX_BYTES + 1))),
        ("pem", Some(PEM[..60].to_owned())),
        ("gone", None),
    ] {
        let (path, clock) = (path(&format!("broken-{name}")), TestClock::new());
        fs::write(&path, set(&["a"])).unwrap();
        let source = build(FileKeys::new(&path), &clock);
        match content {
            Some(content) => fs::write(&path, content).unwrap(),
            None => fs::remove_file(&path).unwrap(),
        }
        clock.advance(5);
        unavailable(ask(&source, "b", clock.now()).await);
        clock.advance(1_000_000);
        found(source.find(kid("a"), clock.now()));
        assert!(matches!(source.health(clock.now()), KeyHealth::Stale { keys: 1, .. }), "{name}");
        fs::write(&path, set(&["b"])).unwrap();
        clock.advance(5);
        eventually(|| {
            clock.advance(1);
            matches!(source.find(kid("b"), clock.now()), KeyLookup::Found(_))
        })
        .await;
    }
}

#[tokio::test]
async fn the_only_key_dies_when_its_private_half_is_in_the_file() {
    let (path, clock) = (path("leaked"), TestClock::new());
    let good = jwk("a");
    let mut private = good.clone();
    private["d"] = "A".repeat(43).into();
    fs::write(&path, json!({ "keys": [good] }).to_string()).unwrap();
    let source = build(FileKeys::new(&path), &clock);
    let life = Arc::clone(found(source.find(kid("a"), clock.now())).life());
    fs::write(&path, json!({ "keys": [good, private] }).to_string()).unwrap();
    clock.advance(5);
    unavailable(ask(&source, "b", clock.now()).await);
    unavailable(ask(&source, "a", clock.now()).await);
    assert!(!life.is_live(clock.now()) && !source.health(clock.now()).is_ready());
    // That the private half is gone from the file makes it no secret again.
    fs::write(&path, json!({ "keys": [good] }).to_string()).unwrap();
    clock.advance(5);
    unavailable(ask(&source, "a", clock.now()).await);
    fs::write(&path, json!({ "keys": [good, jwk("b")] }).to_string()).unwrap();
    clock.advance(5);
    found(ask(&source, "b", clock.now()).await);
    assert!(matches!(ask(&source, "a", clock.now()).await, KeyLookup::Unknown));
}

#[tokio::test]
async fn the_key_of_a_pem_file_dies_when_a_private_key_is_in_the_file() {
    let key = SigningKey::generate(Backend::aws_lc(), Algorithm::Ed25519).unwrap();
    let der = base64_simd::STANDARD.encode_to_string(&*key.to_pkcs8_der().unwrap());
    let private = format!("-----BEGIN PRIVATE KEY-----\n{der}\n-----END PRIVATE KEY-----\n");
    for content in [private.clone(), format!("{PEM}{private}"), format!("{private}{PEM}")] {
        let (path, clock) = (path("pem-leaked"), TestClock::new());
        fs::write(&path, PEM).unwrap();
        let source = build(FileKeys::new(&path), &clock);
        let life = Arc::clone(found(source.find(kid("a"), clock.now())).life());
        fs::write(&path, content).unwrap();
        clock.advance(5);
        eventually(|| !matches!(source.find(kid("a"), clock.now()), KeyLookup::Found(_))).await;
        unavailable(ask(&source, "a", clock.now()).await);
        assert!(!life.is_live(clock.now()) && !source.health(clock.now()).is_ready());
        fs::write(&path, PEM).unwrap();
        clock.advance(5);
        found(ask(&source, "a", clock.now()).await);
    }
}

#[test]
fn a_file_that_cannot_be_used_is_refused_when_the_source_is_built() {
    let (path, clock) = (path("refused"), TestClock::new());
    let refused = |path: &Path| told(&FileKeys::new(path).into_key_source(&context(&clock)).unwrap_err());
    drop(fs::remove_file(&path));
    assert!(refused(&path).contains("keys.json cannot be used: the key file cannot be read"));
    assert!(refused(path.parent().unwrap()).contains("not a regular file"));
    for (content, reason) in [("", "not a JSON object"), (r#"{"keys":[]}"#, "no usable key"), (&PEM[..60], "no key")] {
        fs::write(&path, content).unwrap();
        assert!(refused(&path).contains(reason), "{}", refused(&path));
    }
    #[cfg(unix)]
    assert!(refused(Path::new("/dev/zero")).contains("not a regular file"));
}

#[test]
fn a_pem_file_serves_tokens_with_any_kid_and_needs_no_runtime() {
    let (path, clock) = (path("pem"), TestClock::new());
    fs::write(&path, PEM).unwrap();
    let source = build(FileKeys::new(&path), &clock);
    found(source.find(kid("whatever"), clock.now()));
    clock.advance(1_000_000);
    found(source.find(kid("whatever"), clock.now()));
}
