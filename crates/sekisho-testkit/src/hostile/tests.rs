#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use std::collections::HashSet;

use sekisho_jwks::Algorithm;

use super::*;
use crate::FixedClock;

fn context(algorithm: Algorithm) -> HostileContext {
    let clock = FixedClock::at(UnixSeconds::new(1_700_000_000));
    let issuer = Issuer::new().with_algorithm(algorithm).with_clock(clock).with_decoys();
    HostileContext::new(&issuer, "orders").with_second_issuer(&Issuer::with_url("https://second.example"))
}

/// One of each family of keys; `ring` cannot make RSA keys.
const ALGORITHMS: &[Algorithm] = if cfg!(feature = "aws-lc-rs") {
    &[Algorithm::Es256, Algorithm::Rs256, Algorithm::Ed25519]
} else {
    &[Algorithm::Es256, Algorithm::Ed25519]
};

fn published_key_holds(issuer: &Issuer, token: &str) -> bool {
    let Some((input, signature)) = token.rsplit_once('.') else { return false };
    let Ok(signature) = base64_simd::URL_SAFE_NO_PAD.decode_to_vec(signature) else { return false };
    issuer.keys().keys().iter().any(|key| key.verify(issuer.algorithm(), input.as_bytes(), &signature))
}

#[test]
fn ids_are_unique_and_stay_in_their_shape() {
    for algorithm in ALGORITHMS.iter().copied() {
        let context = context(algorithm);
        let mut seen = HashSet::new();
        let ids = hostile_tokens(&context).map(|t| t.id).chain(honest_tokens(&context).map(|t| t.id));
        for id in ids {
            assert!(seen.insert(id), "{id} stands twice for {algorithm}");
            let number = id.split('/').next().unwrap();
            assert!(matches!(number.as_bytes(), [b'A' | b'T' | b'H', n @ ..] if n.len() == 3), "{id}");
        }
    }
}

#[test]
fn no_hostile_token_is_an_honest_one() {
    for algorithm in ALGORITHMS.iter().copied() {
        let context = context(algorithm);
        let honest: HashSet<String> = honest_tokens(&context).map(|t| t.token).collect();
        let mut seen = HashSet::new();
        for hostile in hostile_tokens(&context) {
            assert!(!honest.contains(&hostile.token), "{hostile:?}");
            assert!(seen.insert(hostile.token.clone()), "{hostile:?} repeats another");
            assert!(!hostile.why.is_empty() && !hostile.name.is_empty());
        }
    }
}

#[test]
fn nearly_every_token_fits_into_a_header_and_none_breaks_out_of_it() {
    let context = context(Algorithm::Es256);
    let (with, without): (Vec<_>, Vec<_>) = hostile_tokens(&context).partition(|t| t.authorization().is_some());
    assert!(with.iter().all(|t| !t.authorization().unwrap().contains(['\r', '\n', '\0'])));
    assert!(without.len() < 12, "{without:?}");
}

#[test]
fn there_are_enough_of_both_for_every_family_of_keys() {
    for algorithm in ALGORITHMS.iter().copied() {
        let context = context(algorithm);
        let (hostile, honest) = (hostile_tokens(&context).count(), honest_tokens(&context).count());
        assert!(hostile >= 300, "{algorithm}: {hostile}");
        assert!(honest >= 20, "{algorithm}: {honest}");
    }
}

#[test]
fn honest_tokens_are_signed_by_the_issuer() {
    for algorithm in ALGORITHMS.iter().copied() {
        let context = context(algorithm);
        for honest in honest_tokens(&context) {
            assert!(published_key_holds(context.issuer(), &honest.token), "{honest:?}");
            assert!(honest.token.len() <= 8192, "{honest:?}");
        }
    }
}

#[test]
fn claims_and_kinds_are_signed_well_so_that_the_signature_hides_nothing() {
    for algorithm in ALGORITHMS.iter().copied() {
        let context = context(algorithm);
        let wrong: Vec<_> = hostile_tokens(&context)
            .filter(|t| matches!(t.group, HostileGroup::Claims | HostileGroup::Kind))
            .filter(|t| !published_key_holds(context.issuer(), &t.token))
            .map(|t| t.id)
            .collect();
        assert_eq!(wrong, ["A107/c", "T073"]);
    }
}

#[test]
fn no_forged_signature_holds() {
    for algorithm in ALGORITHMS.iter().copied() {
        let context = context(algorithm);
        for hostile in hostile_tokens(&context).filter(|t| t.group == HostileGroup::Signature) {
            assert!(!published_key_holds(context.issuer(), &hostile.token), "{hostile:?}");
        }
    }
}

#[cfg(feature = "aws-lc-rs")]
#[test]
fn every_attack_case_that_fits_into_a_compact_token_is_here() {
    let ids: HashSet<String> = ALGORITHMS
        .iter()
        .copied()
        .flat_map(|algorithm| hostile_tokens(&context(algorithm)).map(|t| t.id.split('/').next().unwrap().to_owned()))
        .collect();
    let honest: HashSet<String> =
        honest_tokens(&context(Algorithm::Es256)).map(|t| t.id.split('/').next().unwrap().to_owned()).collect();
    let mut missing = Vec::new();
    for number in 1..=115 {
        let id = format!("A{number:03}");
        if !ids.contains(&id) && !honest.contains(&id) && !ELSEWHERE.contains(&number) {
            missing.push(id);
        }
    }
    assert!(missing.is_empty(), "{missing:?}");
}

/// Numbers that the list of attack cases does not have in these groups, and cases that are about keys, key sets,
/// secrets, roles or state rather than about one token.
#[cfg(feature = "aws-lc-rs")]
const ELSEWHERE: [u32; 26] =
    [4, 8, 12, 17, 29, 30, 35, 37, 43, 51, 53, 54, 56, 57, 58, 59, 60, 61, 62, 69, 70, 86, 88, 102, 105, 108];
