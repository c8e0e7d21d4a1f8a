//! Counting how far we agree with the labels of a file.

use std::collections::BTreeMap;

use sekisho_core::json::JsonObject;
use sekisho_jwks::{KeyError, KeySet, VerifyingKey};
use sekisho_jwt::{Algorithm, Backend};
use serde_json::Value;

/// Is a case on which we do not agree with its label, on purpose.
pub(crate) struct Differs {
    /// The case.
    pub(crate) id: &'static str,
    /// What we do with it.
    pub(crate) accepted: bool,
    /// Why.
    pub(crate) reason: &'static str,
}

/// Counts what came out of one file.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Labelled good, accepted.
    pub(crate) accepted: usize,
    /// Labelled bad, refused.
    pub(crate) refused: usize,
    /// Stands in the table of differences.
    pub(crate) differs: usize,
}

#[derive(Default)]
pub(crate) struct Tally {
    counts: Counts,
    seen: BTreeMap<String, bool>,
    wrong: Vec<String>,
}

impl Tally {
    /// Notes a case: what its label says, and what we do.
    pub(crate) fn note(&mut self, id: impl Into<String>, good: bool, accepted: bool, table: &[Differs]) {
        let id = id.into();
        match table.iter().find(|entry| entry.id == id) {
            Some(Differs { accepted: expected, reason, .. }) => {
                assert!(!reason.is_empty());
                self.counts.differs += 1;
                if *expected != accepted || good == accepted {
                    self.wrong.push(format!("{id}: is in the table as {expected}, label {good}, ours {accepted}"));
                }
            }
            None if good == accepted && good => self.counts.accepted += 1,
            None if good == accepted => self.counts.refused += 1,
            None => self.wrong.push(format!("{id}: label {good}, ours {accepted}")),
        }
        self.seen.insert(id, accepted);
    }

    /// Compares with what is expected of the file.
    #[track_caller]
    pub(crate) fn end(self, expected: &Counts, table: &[Differs]) {
        let Self { counts, seen, wrong } = self;
        assert!(wrong.is_empty(), "not as listed:\n{}", wrong.join("\n"));
        for Differs { id, .. } in table {
            assert!(seen.contains_key(*id), "{id} is in the table and not in the file");
        }
        assert_eq!(counts, *expected);
    }
}

/// Reads a JWK as the configuration of a verifier would, for the algorithm that the test wants.
///
/// Private members are taken out first: vectors come with the whole key pair. A shared secret without `alg` is taken
/// for `algorithm`.
pub(crate) fn key(jwk: &Value, algorithm: Option<Algorithm>) -> Result<VerifyingKey, KeyError> {
    key_by(Backend::default(), jwk, algorithm)
}

fn key_by(backend: Backend, jwk: &Value, algorithm: Option<Algorithm>) -> Result<VerifyingKey, KeyError> {
    let mut members = jwk.as_object().expect("an object").clone();
    for private in ["d", "p", "q", "dp", "dq", "qi"] {
        members.remove(private);
    }
    if members["kty"] == "oct" && !members.contains_key("alg") {
        let algorithm = algorithm.expect("an algorithm for the secret");
        return VerifyingKey::hmac(backend, algorithm, &sekisho_tests::decode(members["k"].as_str().unwrap()));
    }
    VerifyingKey::from_jwk(backend, &JsonObject::from_serialize(&members).expect("a JSON object"))
}

/// Reads a JWK or a set of them, public or shared, as one issuer's keys; unusable ones are left out.
pub(crate) fn keys(backend: Backend, value: &Value) -> Vec<VerifyingKey> {
    let one = std::slice::from_ref(value);
    let jwks = value.get("keys").map_or(one, |keys| keys.as_array().expect("an array"));
    let found: Vec<VerifyingKey> = jwks.iter().filter_map(|jwk| key_by(backend, jwk, None).ok()).collect();
    // The same through the door by which a provider's set comes, where shared secrets stay outside.
    let published: Vec<Value> = jwks.iter().filter(|jwk| jwk.get("d").is_none()).cloned().collect();
    let document = serde_json::json!({ "keys": published }).to_string();
    let set = KeySet::parse(backend, document.as_bytes()).expect("a set");
    let public = found.iter().filter(|key| key.thumbprint().is_some());
    assert_eq!(
        set.keys().iter().map(VerifyingKey::thumbprint).collect::<Vec<_>>(),
        public.map(VerifyingKey::thumbprint).collect::<Vec<_>>(),
        "both doors take the same keys"
    );
    found
}

/// Reads `alg` of a token's header.
pub(crate) fn algorithm_of(token: &str) -> Algorithm {
    let header = sekisho_tests::decode(token.split('.').next().unwrap());
    let header: Value = serde_json::from_slice(&header).expect("a header");
    Algorithm::from_name(header["alg"].as_str().expect("alg")).expect("a known algorithm")
}
