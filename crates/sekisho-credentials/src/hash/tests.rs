use sekisho_core::Secret;

use super::*;
use crate::PasswordPolicy;

const SMALL: HashPolicy = HashPolicy::dangerous_new(64, 2, 1);

fn password(typed: &str) -> Password {
    PasswordPolicy::default().prepare(&Secret::from(typed)).unwrap()
}

fn pepper(id: &str) -> Pepper {
    Pepper::new(id, Secret::new(id.repeat(32))).unwrap()
}

fn peppered_hasher(current: &str, older: &[&str]) -> PasswordHasher {
    PasswordHasher::with_peppers(SMALL, Some(pepper(current)), older.iter().map(|id| pepper(id)).collect()).unwrap()
}

#[test]
fn refuses_policies_below_and_beyond_reason() {
    for (memory, passes, lanes) in [(19_455, 2, 1), (47_103, 1, 1), (7_167, 9, 1), (19_456, 0, 1), (19_456, 2, 0)] {
        assert!(HashPolicy::new(memory, passes, lanes).is_err(), "{memory} KiB × {passes}, {lanes}");
    }
    for (memory, passes, lanes) in [(1 << 21, 2, 1), (19_456, 65, 1), (19_456, 2, 17)] {
        assert!(HashPolicy::new(memory, passes, lanes).is_err(), "{memory} KiB × {passes}, {lanes}");
        assert!(PasswordHasher::new(HashPolicy::dangerous_new(memory, passes, lanes)).is_err());
    }
    assert_eq!(HashPolicy::new(19_456, 2, 1).unwrap(), HashPolicy::default());
    assert!(PasswordHasher::new(HashPolicy::dangerous_new(7, 1, 1)).is_err(), "argon2 wants 8 KiB for a lane");
}

#[test]
fn refuses_peppers_that_are_short_or_share_an_id() {
    for (id, length) in [("", 32), ("ninebytes", 32), ("a", 31), ("a", 129)] {
        assert!(Pepper::new(id, Secret::new(vec![7; length])).is_err(), "{id:?}, {length}");
    }
    assert!(PasswordHasher::with_peppers(SMALL, Some(pepper("a")), vec![pepper("a")]).is_err());
}

#[test]
fn refuses_texts_that_are_no_argon2_hash() {
    for text in [
        "",
        "hunter2",
        "$2b$12$R9h/cIPz0gi.URNNX3kh2OPST9/PgBkqquzi.Ss7KIUgO2t0jWMUW",
        "$argon2id$v=19$m=64,t=2,p=1$c2FsdHNhbHQ",
        "$argon2id$v=19$m=64,t=2,p=1,x=1$c2FsdHNhbHQ$aGFzaGhhc2hoYXNo",
        "$argon2id$v=19$m=4,t=2,p=1$c2FsdHNhbHQ$aGFzaGhhc2hoYXNo",
    ] {
        assert_eq!(PasswordHash::parse(text), None, "{text}");
    }
    assert_eq!(PasswordHash::parse(&format!("$argon2id$v=19$m=64,t=2,p=1$c2FsdHNhbHQ${}", "a".repeat(500))), None);
}

#[tokio::test]
async fn refuses_a_wrong_password_and_every_password_of_nobody() {
    let hasher = PasswordHasher::new(SMALL).unwrap();
    let hash = hasher.hash(&password("correct horse")).await.unwrap();
    assert_eq!(hasher.verify(Some(&password("correct horsf")), Some(&hash)).await.unwrap(), PasswordVerdict::Wrong);
    assert_eq!(hasher.verify(Some(&password("")), Some(&hash)).await.unwrap(), PasswordVerdict::Wrong);
    assert_eq!(hasher.verify(None, Some(&hash)).await.unwrap(), PasswordVerdict::Wrong);
    assert_eq!(hasher.verify(Some(&password("correct horse")), None).await.unwrap(), PasswordVerdict::Wrong);
    assert_eq!(hasher.verify(Some(&password("correct horse")), Some(&hash)).await.unwrap(), PasswordVerdict::Right);
    assert_ne!(hash, hasher.hash(&password("correct horse")).await.unwrap(), "salted");
}

/// Counts work, not time: memory in KiB times passes, over all calls of argon2.
#[tokio::test]
async fn wrong_passwords_are_the_same_work_for_nobody_and_for_new_and_old_hashes() {
    let policy = HashPolicy::dangerous_new(512, 2, 1);
    let hasher = PasswordHasher::new(policy).unwrap();
    let mut hashes = vec![None, Some(hasher.hash(&password("correct horse")).await.unwrap())];
    for old in [(64, 1, 1), (64, 2, 1), (128, 3, 2), (256, 2, 1), (1024, 1, 1)] {
        let old = PasswordHasher::new(HashPolicy::dangerous_new(old.0, old.1, old.2)).unwrap();
        hashes.push(Some(old.hash(&password("correct horse")).await.unwrap()));
    }
    for hash in hashes {
        for typed in [Some(password("wrong horse")), None] {
            let before = hasher.work().kib_passes;
            let verdict = hasher.verify(typed.as_ref(), hash.as_ref()).await.unwrap();
            assert_eq!(verdict, PasswordVerdict::Wrong);
            assert_eq!(hasher.work().kib_passes - before, policy.work(), "{:?}", hash.map(|hash| hash.0));
        }
    }
}

#[tokio::test]
async fn a_right_password_with_a_weaker_hash_brings_a_stronger_one() {
    let hasher = PasswordHasher::new(SMALL).unwrap();
    for (weak, algorithm, version) in [
        (HashPolicy::dangerous_new(64, 1, 1), Algorithm::Argon2id, Version::V0x13),
        (SMALL, Algorithm::Argon2i, Version::V0x13),
        (SMALL, Algorithm::Argon2d, Version::V0x13),
        (SMALL, Algorithm::Argon2id, Version::V0x10),
        (HashPolicy::dangerous_new(32, 64, 1), Algorithm::Argon2id, Version::V0x13),
    ] {
        let params = Params::new(weak.memory_kib, weak.passes, weak.lanes, None).unwrap();
        let old = Argon2::new(algorithm, version, params);
        let old = old.hash_password_with_salt(b"correct horse", &[7; 16]).unwrap().to_string();
        let old = PasswordHash::parse(&old).unwrap();
        let verdict = hasher.verify(Some(&password("correct horse")), Some(&old)).await.unwrap();
        let PasswordVerdict::RightAndStale(new) = verdict else { panic!("{verdict:?} for {}", old.0) };
        assert_eq!(hasher.verify(Some(&password("correct horse")), Some(&new)).await.unwrap(), PasswordVerdict::Right);
        assert_eq!(hasher.verify(Some(&password("wrong horse")), Some(&old)).await.unwrap(), PasswordVerdict::Wrong);
    }
    let strong = PasswordHasher::new(HashPolicy::dangerous_new(128, 2, 1)).unwrap();
    let strong = strong.hash(&password("correct horse")).await.unwrap();
    assert_eq!(
        hasher.verify(Some(&password("correct horse")), Some(&strong)).await.unwrap(),
        PasswordVerdict::Right,
        "a stronger hash stays"
    );
}

#[tokio::test]
async fn without_its_pepper_a_hash_is_our_trouble_and_never_a_wrong_password() {
    let hash = peppered_hasher("2025", &[]).hash(&password("correct horse")).await.unwrap();
    for other in [PasswordHasher::new(SMALL).unwrap(), peppered_hasher("2026", &[])] {
        let failure = other.verify(Some(&password("correct horse")), Some(&hash)).await.unwrap_err();
        assert_eq!(failure.kind(), FailureKind::Misconfigured);
    }
    // The id alone does not do.
    let liar = Pepper::new("2025", Secret::new(vec![9; 32])).unwrap();
    let liar = PasswordHasher::with_peppers(SMALL, Some(liar), Vec::new()).unwrap();
    assert_eq!(liar.verify(Some(&password("correct horse")), Some(&hash)).await.unwrap(), PasswordVerdict::Wrong);
}

#[tokio::test]
async fn hashes_move_to_the_current_pepper() {
    let plain = PasswordHasher::new(SMALL).unwrap().hash(&password("correct horse")).await.unwrap();
    let older = peppered_hasher("2025", &[]).hash(&password("correct horse")).await.unwrap();
    let hasher = peppered_hasher("2026", &["2025"]);
    for old in [plain, older] {
        let verdict = hasher.verify(Some(&password("correct horse")), Some(&old)).await.unwrap();
        let PasswordVerdict::RightAndStale(new) = verdict else { panic!("{verdict:?}") };
        let current = peppered_hasher("2026", &[]);
        assert_eq!(current.verify(Some(&password("correct horse")), Some(&new)).await.unwrap(), PasswordVerdict::Right);
        assert_eq!(PasswordHash::parse(new.as_str()), Some(new));
    }
}

#[tokio::test]
async fn a_stored_hash_that_asks_for_too_much_is_not_computed() {
    let hasher = PasswordHasher::new(SMALL).unwrap();
    let greedy = PasswordHash::parse("$argon2id$v=19$m=4294967295,t=2,p=1$c2FsdHNhbHQ$aGFzaGhhc2hoYXNo").unwrap();
    let before = hasher.work();
    let failure = hasher.verify(Some(&password("correct horse")), Some(&greedy)).await.unwrap_err();
    assert_eq!(failure.kind(), FailureKind::Misconfigured);
    assert_eq!(hasher.work(), before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_comes_when_all_places_are_taken_is_told_to_come_again() {
    let hasher = PasswordHasher::new(HashPolicy::dangerous_new(4096, 8, 1)).unwrap().with_limits(1, 2);
    let (typed, stored) = (password("correct horse"), hasher.hash(&password("correct horse")).await.unwrap());
    let all: Vec<_> = (0..12)
        .map(|_| {
            let (hasher, typed, stored) = (hasher.clone(), typed.clone(), stored.clone());
            tokio::spawn(async move { hasher.verify(Some(&typed), Some(&stored)).await })
        })
        .collect();
    let mut refused = 0;
    for one in all {
        match one.await.unwrap() {
            Ok(verdict) => assert_eq!(verdict, PasswordVerdict::Right),
            Err(failure) => {
                assert_eq!(failure.kind(), FailureKind::Unavailable);
                assert_eq!(failure.retry_after(), Some(Duration::from_secs(1)));
                refused += 1;
            }
        }
    }
    assert!((1..=9).contains(&refused), "{refused} of 12 refused, with 3 places");
    assert!(hasher.verify(Some(&typed), Some(&stored)).await.is_ok(), "places come back");
}

#[tokio::test]
async fn a_caller_that_goes_away_keeps_its_place_until_the_hash_is_done() {
    let hasher = PasswordHasher::new(HashPolicy::dangerous_new(16_384, 4, 1)).unwrap().with_limits(1, 0);
    let typed = password("correct horse");
    let gone = tokio::time::timeout(Duration::from_millis(1), hasher.hash(&typed)).await;
    assert!(gone.is_err(), "the hash takes longer than that");
    assert!(hasher.hash(&typed).await.is_err(), "the thread still works");
    while hasher.queue.available_permits() == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(hasher.hash(&typed).await.is_ok());
}

#[tokio::test]
async fn debug_shows_no_pepper_and_no_hash() {
    let hasher = PasswordHasher::with_peppers(SMALL, Some(pepper("p1")), vec![pepper("p0")]).unwrap();
    let verdict = PasswordVerdict::RightAndStale(hasher.hash(&password("correct horse")).await.unwrap());
    let shown = format!("{hasher:?} {verdict:?}");
    assert!(shown.contains("p1") && !shown.contains("p1p1") && !shown.contains("p0p0"), "{shown}");
    assert!(!shown.contains("$argon2id"), "{shown}");
}
