#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use super::*;

/// Every backend that this build has.
fn backends() -> Vec<Backend> {
    vec![
        #[cfg(feature = "aws-lc-rs")]
        Backend::aws_lc(),
        #[cfg(feature = "ring")]
        Backend::ring(),
    ]
}

#[test]
fn what_a_key_signs_its_other_half_verifies_and_nothing_else() {
    for backend in backends() {
        for algorithm in Algorithm::ALL {
            let key = if algorithm.is_symmetric() {
                SigningKey::hmac(backend, algorithm, &[7; 64]).unwrap()
            } else {
                match SigningKey::generate(backend, algorithm) {
                    Ok(key) => key,
                    Err(error) => {
                        assert_ne!(backend.name(), "aws-lc-rs", "{algorithm}: {error}");
                        continue;
                    }
                }
            };
            let signature = key.sign(b"message").unwrap();
            let public = key.verifying_key();
            assert!(public.verify(algorithm, b"message", &signature), "{backend:?} {algorithm}");
            assert!(!public.verify(algorithm, b"massage", &signature), "{backend:?} {algorithm}");
            for other in Algorithm::ALL.into_iter().filter(|other| *other != algorithm) {
                assert!(!public.verify(other, b"message", &signature), "{backend:?} {algorithm} as {other}");
            }
            for cut in [&signature[1..], &signature[..signature.len() - 1], &[]] {
                assert!(!public.verify(algorithm, b"message", cut), "{backend:?} {algorithm} cut");
            }
            let longer = [signature.as_slice(), &[0]].concat();
            assert!(!public.verify(algorithm, b"message", &longer), "{backend:?} {algorithm} longer");
        }
    }
}
