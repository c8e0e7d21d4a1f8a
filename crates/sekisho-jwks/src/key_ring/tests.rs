#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use super::*;
use crate::{Algorithm, Backend};

#[cfg(feature = "aws-lc-rs")]
const BACKEND: Backend = Backend::aws_lc();
#[cfg(not(feature = "aws-lc-rs"))]
const BACKEND: Backend = Backend::ring();

const START: UnixSeconds = UnixSeconds::new(1_000_000);
const LEAD: Duration = Duration::from_secs(100);
const RETENTION: Duration = Duration::from_secs(1000);

fn key(kid: &str) -> SigningKey {
    SigningKey::generate(BACKEND, Algorithm::Ed25519).unwrap().with_kid(kid)
}

fn ring() -> KeyRing {
    KeyRing::new(key("a")).with_lead(LEAD).with_retention(RETENTION)
}

fn at(seconds: u64) -> UnixSeconds {
    START.saturating_add(Duration::from_secs(seconds))
}

/// Reads the published document as a consumer does.
fn published(ring: &KeyRing, now: UnixSeconds) -> Vec<String> {
    let set = KeySet::parse(BACKEND, ring.publish(now).as_bytes()).unwrap();
    assert!(set.skipped().is_empty());
    set.keys().iter().map(|key| key.kid().unwrap().to_owned()).collect()
}

/// Tells whether a consumer that read `document` verifies what `key` signs.
fn verifies(document: &str, key: &SigningKey) -> bool {
    let set = KeySet::parse(BACKEND, document.as_bytes()).unwrap();
    let signature = key.sign(b"m").unwrap();
    set.keys().iter().any(|k| k.kid() == Some(key.kid()) && k.verify(key.algorithm(), b"m", &signature))
}

#[test]
fn a_key_is_published_before_it_signs_and_after_it_signed() {
    let ring = ring();
    assert_eq!(published(&ring, START), ["a"]);
    ring.announce(key("b"), START).unwrap();
    assert_eq!(published(&ring, START), ["a", "b"]);
    assert_eq!(ring.current().kid(), "a");
    assert_eq!(ring.rotate(at(100)).unwrap().kid(), "b");
    assert_eq!(ring.current().kid(), "b");
    assert_eq!(published(&ring, at(100)), ["b", "a"]);
    assert_eq!(published(&ring, at(1099)), ["b", "a"]);
    assert_eq!(published(&ring, at(1100)), ["b"]);
}

#[test]
fn no_rotation_before_the_lead_has_passed_and_none_without_a_next_key() {
    let ring = ring();
    assert_eq!(ring.rotate(START).unwrap_err(), KeyRingError::NothingAnnounced);
    ring.announce(key("b"), START).unwrap();
    assert_eq!(ring.rotate(at(99)).unwrap_err(), KeyRingError::TooEarly { ready_at: at(100) });
    assert_eq!(ring.current().kid(), "a");
    assert_eq!(published(&ring, at(99)), ["a", "b"]);
}

#[test]
fn announcing_again_starts_the_lead_again() {
    let ring = ring();
    ring.announce(key("b"), START).unwrap();
    ring.announce(key("c"), at(50)).unwrap();
    assert_eq!(published(&ring, at(50)), ["a", "c"]);
    assert_eq!(ring.rotate(at(100)).unwrap_err(), KeyRingError::TooEarly { ready_at: at(150) });
    assert_eq!(ring.rotate(at(150)).unwrap().kid(), "c");
}

#[test]
fn an_id_of_the_ring_is_refused_until_it_is_published_no_more() {
    let ring = ring();
    assert_eq!(ring.announce(key("a"), START).unwrap_err(), KeyRingError::KeyIdTaken);
    ring.announce(key("b"), START).unwrap();
    assert_eq!(ring.announce(key("b"), START).unwrap_err(), KeyRingError::KeyIdTaken);
    ring.rotate(at(100)).unwrap();
    assert_eq!(ring.announce(key("a"), at(1099)).unwrap_err(), KeyRingError::KeyIdTaken);
    assert_eq!(ring.replace_stolen(key("a"), at(1099)).unwrap_err(), KeyRingError::KeyIdTaken);
    ring.announce(key("a"), at(1100)).unwrap();
}

#[test]
fn a_stolen_key_is_published_no_more_and_signs_no_more() {
    let ring = ring();
    ring.announce(key("b"), START).unwrap();
    ring.replace_stolen(key("c"), at(10)).unwrap();
    assert_eq!(published(&ring, at(10)), ["c", "b"]);
    assert_eq!(ring.current().kid(), "c");
}

#[test]
fn a_stolen_key_that_does_not_sign_is_withdrawn_alone() {
    let ring = ring();
    for (next, time) in [("b", 0), ("c", 100), ("d", 200)] {
        ring.announce(key(next), at(time)).unwrap();
        if next != "d" {
            ring.rotate(at(time + 100)).unwrap();
        }
    }
    assert_eq!(published(&ring, at(200)), ["c", "d", "a", "b"]);
    ring.withdraw("a", at(200)).unwrap();
    assert_eq!(published(&ring, at(200)), ["c", "d", "b"]);
    ring.withdraw("d", at(200)).unwrap();
    assert_eq!(published(&ring, at(200)), ["c", "b"]);
    assert_eq!(ring.rotate(at(10_000)).unwrap_err(), KeyRingError::NothingAnnounced);
    assert_eq!(ring.current().kid(), "c");
}

#[test]
fn neither_the_current_key_nor_an_unknown_one_is_withdrawn() {
    let ring = ring();
    ring.announce(key("b"), START).unwrap();
    assert_eq!(ring.withdraw("a", START).unwrap_err(), KeyRingError::Current);
    for unknown in ["c", "", "A"] {
        assert_eq!(ring.withdraw(unknown, START).unwrap_err(), KeyRingError::UnknownKeyId);
    }
    ring.rotate(at(100)).unwrap();
    assert_eq!(ring.withdraw("a", at(1100)).unwrap_err(), KeyRingError::UnknownKeyId, "published no more");
    assert_eq!(published(&ring, at(1100)), ["b"]);
}

#[test]
fn no_time_is_too_long_to_be_counted() {
    let ring = KeyRing::new(key("a")).with_lead(Duration::ZERO).with_retention(Duration::MAX);
    ring.announce(key("b"), START).unwrap();
    ring.rotate(START).unwrap();
    assert_eq!(published(&ring, UnixSeconds::MAX.saturating_sub(Duration::from_secs(1))), ["b", "a"]);
    let ring = KeyRing::new(key("a")).with_lead(Duration::MAX);
    ring.announce(key("b"), START).unwrap();
    assert!(matches!(ring.rotate(at(1_000_000)), Err(KeyRingError::TooEarly { ready_at: UnixSeconds::MAX })));
}

#[test]
fn never_publishes_more_keys_than_a_consumer_reads() {
    let ring = KeyRing::new(key("first")).with_lead(Duration::ZERO).with_retention(RETENTION);
    let full = (0..200).find(|round| match ring.announce(key(&format!("{round}")), START) {
        Ok(()) => {
            ring.rotate(START).unwrap();
            false
        }
        Err(error) => error == KeyRingError::Full,
    });
    assert!(full.is_some());
    assert!(published(&ring, START).len() <= KeySet::MAX_KEYS);
    ring.announce(key("later"), at(1000)).unwrap();
}

#[test]
fn a_shared_secret_is_never_published() {
    let secret = b"0123456789abcdef0123456789abcdef";
    let ring = KeyRing::new(SigningKey::hmac(BACKEND, Algorithm::Hs256, secret).unwrap());
    assert_eq!(ring.publish(START), r#"{"keys":[]}"#);
}

#[test]
fn neither_debug_nor_the_document_shows_a_private_member() {
    let ring = ring();
    ring.announce(key("b"), START).unwrap();
    let pkcs8 = ring.current().to_pkcs8_der().unwrap();
    // The seed is the last 32 bytes of RFC 8410's version 1 form, and follows `04 20` in version 2.
    let start = pkcs8.windows(4).position(|w| w == [4, 34, 4, 32]).unwrap() + 4;
    let seed = base64_simd::URL_SAFE_NO_PAD.encode_to_string(&pkcs8[start..start + 32]);
    let document = ring.publish(START);
    assert!(!document.contains(&seed) && !document.contains("\"d\""));
    let debug = format!("{ring:?}");
    assert!(!debug.contains(&seed) && debug.contains("SigningKey"));
    assert!(!debug.contains(&format!("{:?}", &pkcs8[start..start + 32])[1..20]));
}

#[test]
fn a_document_up_to_one_lead_old_verifies_whatever_is_signed() {
    let ring = ring();
    let before = ring.publish(START);
    ring.announce(key("b"), START).unwrap();
    let announced = ring.publish(START);
    ring.rotate(at(100)).unwrap();
    assert!(!verifies(&before, &ring.current()), "older than the lead: the test would see a broken rule");
    assert!(verifies(&announced, &ring.current()));
}

/// Every interleaving of one issuer that rotates twice with one that signs and consumers that hold documents of different ages.
#[cfg(sekisho_shuttle)]
#[test]
fn shuttle_every_signature_is_verifiable_by_every_document_of_its_time() {
    use std::sync::Arc;

    use crate::sync::{AtomicU64, Ordering};

    let keys = [key("a"), key("b"), key("c")];
    shuttle::check_random(
        move || {
            let [a, b, c] = keys.clone();
            let ring = Arc::new(KeyRing::new(a).with_lead(LEAD).with_retention(RETENTION));
            let clock = Arc::new(AtomicU64::new(0));
            let now = |clock: &AtomicU64| at(clock.load(Ordering::SeqCst));

            let rotator = {
                let (ring, clock) = (Arc::clone(&ring), Arc::clone(&clock));
                shuttle::thread::spawn(move || {
                    for next in [b, c] {
                        ring.announce(next, now(&clock)).unwrap();
                        // Fails while the clock says that consumers may not know the key yet.
                        while ring.rotate(now(&clock)).is_err() {
                            clock.fetch_add(50, Ordering::SeqCst);
                        }
                    }
                })
            };
            let workers: Vec<_> = (0..2)
                .map(|_| {
                    let (ring, clock) = (Arc::clone(&ring), Arc::clone(&clock));
                    shuttle::thread::spawn(move || {
                        for _ in 0..2 {
                            let fetched_at = now(&clock);
                            let earlier = ring.publish(fetched_at);
                            let key = ring.current();
                            let signed_at = now(&clock);
                            if signed_at < fetched_at.saturating_add(LEAD) {
                                assert!(verifies(&earlier, &key), "a cached document lacks {}", key.kid());
                            }
                            // All rotations here end within the retention.
                            let later = ring.publish(now(&clock));
                            assert!(verifies(&later, &key), "a later document lacks {}", key.kid());
                        }
                    })
                })
                .collect();
            rotator.join().unwrap();
            workers.into_iter().for_each(|worker| worker.join().unwrap());
            assert_eq!(ring.current().kid(), "c");
        },
        1000,
    );
}

#[test]
fn a_restored_ring_publishes_and_rotates_as_the_one_before() {
    let ring = ring();
    ring.announce(key("b"), START).unwrap();
    ring.rotate(at(100)).unwrap();
    ring.announce(key("c"), at(100)).unwrap();
    let restored = KeyRing::restore(ring.keys()).unwrap().with_lead(LEAD).with_retention(RETENTION);
    assert_eq!(restored.publish(at(150)), ring.publish(at(150)));
    assert_eq!(published(&restored, at(1100)), ["b", "c"]);
    assert_eq!(restored.rotate(at(199)).unwrap_err(), KeyRingError::TooEarly { ready_at: at(200) });
    assert_eq!(restored.rotate(at(200)).unwrap().kid(), "c");
}

#[test]
fn two_keys_of_one_id_make_no_ring() {
    let with = |next: &str, retired: &str| {
        let retired = vec![(key(retired).verifying_key(), at(10))];
        KeyRing::restore(RingKeys { current: key("a"), next: Some((key(next), at(5))), retired })
    };
    assert_eq!(with("a", "b").unwrap_err(), KeyRingError::KeyIdTaken);
    assert_eq!(with("b", "a").unwrap_err(), KeyRingError::KeyIdTaken);
    assert_eq!(with("b", "b").unwrap_err(), KeyRingError::KeyIdTaken);
    assert!(with("b", "c").is_ok());
}
