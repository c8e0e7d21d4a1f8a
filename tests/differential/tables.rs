//! Where we differ from others, and why.

use std::collections::BTreeMap;

use crate::peers::Outcome;

/// Is a group of cases with one reason.
pub(crate) struct Difference {
    /// The cases, in the order of the alphabet.
    pub(crate) ids: &'static [&'static str],
    /// What we do.
    pub(crate) ours: Outcome,
    /// What they do.
    pub(crate) theirs: Outcome,
    /// Why.
    pub(crate) reason: &'static str,
}

/// Compares what came out with the table: nothing more, nothing less.
pub(crate) fn compare(found: &BTreeMap<String, (Outcome, Outcome)>, table: &[Difference]) {
    let mut listed = BTreeMap::new();
    for Difference { ids, ours, theirs, reason } in table {
        assert!(!reason.is_empty() && ours != theirs);
        for id in *ids {
            assert!(listed.insert((*id).to_owned(), (*ours, *theirs)).is_none(), "{id} stands twice");
        }
    }
    let unlisted: Vec<_> = found.iter().filter(|(id, pair)| listed.get(*id) != Some(pair)).collect();
    let gone: Vec<_> = listed.iter().filter(|(id, _)| !found.contains_key(*id)).collect();
    assert!(unlisted.is_empty() && gone.is_empty(), "not listed: {unlisted:#?}\nlisted, and no longer so: {gone:#?}");
}

/// Hostile and honest tokens, by `jsonwebtoken` 11.1.
pub(crate) const HOSTILE_JSONWEBTOKEN: &[Difference] = &[
    Difference {
        ids: &[
            "A082/a", "A082/b", "A082/c", "A082/d", "A082/e", "A082/g", "A082/j", "A082/k", "A083", "A083/b", "A083/d",
        ],
        ours: Outcome::Refused,
        theirs: Outcome::Accepted,
        reason: "it knows neither `crit` nor `b64`, and passes over both (RFC 7515 §4.1.11 and RFC 7797 §6 ask for a refusal)",
    },
    Difference {
        ids: &["A049/b", "T070/b"],
        ours: Outcome::Refused,
        theirs: Outcome::Accepted,
        reason: "it takes `null` for absent",
    },
    Difference {
        ids: &["A075/c"],
        ours: Outcome::Refused,
        theirs: Outcome::Accepted,
        reason: "it follows `serde_json` to a depth of 128; we stop at 32",
    },
    Difference {
        ids: &["A078/a", "A078/b", "A078/c"],
        ours: Outcome::Refused,
        theirs: Outcome::Accepted,
        reason: "it has no bound on the length; that is left to the HTTP server",
    },
    Difference {
        ids: &[
            "A084/a", "A084/b", "A084/c", "A084/d", "A084/e", "A084/f", "A084/g", "A084/h", "A084/i", "A084/j",
            "A084/k", "A084/l", "A084/m", "A084/n", "A084/o", "A084/p", "A084/q", "A084/r", "A084/s", "A084/t",
            "A106/b", "A106/c", "A106/d", "A107/a", "A107/b", "T072/a", "T072/b",
        ],
        ours: Outcome::Refused,
        theirs: Outcome::Accepted,
        reason: "it does not look at what kind of token it is; the service has to",
    },
    Difference {
        ids: &["A089/b", "A089/d"],
        ours: Outcome::Refused,
        theirs: Outcome::Accepted,
        reason: "it has no bound on dates",
    },
    Difference {
        ids: &["A093/a", "A093/b", "A093/c", "A093/d", "A093/e", "A093/f", "A093/g", "A093/h", "A093/i"],
        ours: Outcome::Refused,
        theirs: Outcome::Accepted,
        reason: "it does not look at `iat`",
    },
    Difference {
        ids: &["A099", "A099/b"],
        ours: Outcome::Refused,
        theirs: Outcome::Accepted,
        reason: "it takes an array of issuers that holds ours (RFC 7519 §4.1.1 has a string)",
    },
    Difference {
        ids: &[
            "A103/i", "A104/a", "A104/b", "A104/c", "A104/d", "A104/e", "A104/f", "A104/g", "T061/a", "T061/b",
            "T061/c", "T061/d",
        ],
        ours: Outcome::Refused,
        theirs: Outcome::Accepted,
        reason: "the types of `scope` and `client_id`, and an empty `sub`, are left to the claims type of the service",
    },
    Difference {
        ids: &["T040/e", "T040/g"],
        ours: Outcome::Refused,
        theirs: Outcome::Accepted,
        reason: "duplicates are refused for the claims that it validates, and pass for others",
    },
    Difference {
        ids: &["T041"],
        ours: Outcome::Refused,
        theirs: Outcome::Accepted,
        reason: "it passes over `zip` in a signed token",
    },
    Difference {
        ids: &[
            "T080/a", "T080/b", "T080/c", "T081/a", "T081/b", "T081/c", "T081/d", "T081/e", "T081/f", "T081/g",
            "T081/h",
        ],
        ours: Outcome::Refused,
        theirs: Outcome::Accepted,
        reason: "it does not look at `cnf`, so that a bound token is as good as any",
    },
    Difference {
        ids: &["A016/b ES256", "A055 ES256", "A055/b ES256"],
        ours: Outcome::Refused,
        theirs: Outcome::Accepted,
        reason: "`DecodingKey::from_jwk` looks neither at `use` and `key_ops` nor at `alg`",
    },
    Difference {
        ids: &["H006 EdDSA"],
        ours: Outcome::Accepted,
        theirs: Outcome::Refused,
        reason: "it does not know the name `Ed25519` (RFC 9864)",
    },
];

/// Hostile and honest tokens, by `josekit` 0.10.3.
pub(crate) const HOSTILE_JOSEKIT: &[Difference] = &[
    Difference {
        ids: &[
            "A068/a", "A068/c", "A068/d", "A068/e", "A068/f", "A068/g", "T040/a", "T040/b", "T040/c", "T040/d",
            "T040/e", "T040/f", "T040/g",
        ],
        ours: Outcome::Refused,
        theirs: Outcome::Accepted,
        reason: "of duplicate members it takes the last",
    },
    Difference {
        ids: &["A075/c"],
        ours: Outcome::Refused,
        theirs: Outcome::Accepted,
        reason: "it follows `serde_json` to a depth of 128; we stop at 32",
    },
    Difference {
        ids: &["A078/a", "A078/b", "A078/c"],
        ours: Outcome::Refused,
        theirs: Outcome::Accepted,
        reason: "it has no bound on the length; that is left to the HTTP server",
    },
    Difference {
        ids: &["A082/c"],
        ours: Outcome::Refused,
        theirs: Outcome::Accepted,
        reason: "it takes an empty `crit`",
    },
    Difference {
        ids: &["A083", "A083/d"],
        ours: Outcome::Refused,
        theirs: Outcome::Accepted,
        reason: "it does `b64`; what it does not find in `crit` it passes over",
    },
    Difference {
        ids: &[
            "A084/a", "A084/b", "A084/c", "A084/d", "A084/e", "A084/f", "A084/g", "A084/h", "A084/i", "A084/j",
            "A084/k", "A084/l", "A084/m", "A084/n", "A084/o", "A084/p", "A084/q", "A084/r", "A084/s", "A084/t",
            "A106/b", "A106/c", "A106/d", "A107/a", "A107/b", "T072/a", "T072/b",
        ],
        ours: Outcome::Refused,
        theirs: Outcome::Accepted,
        reason: "it does not look at what kind of token it is; the service has to",
    },
    Difference {
        ids: &["A089/b"],
        ours: Outcome::Refused,
        theirs: Outcome::Accepted,
        reason: "it has no bound on dates",
    },
    Difference {
        ids: &["A089/d", "A089/e", "A089/g", "A092/i", "A093/i"],
        ours: Outcome::Refused,
        theirs: Outcome::Panicked,
        reason: "a date beyond what `SystemTime` can hold",
    },
    Difference {
        ids: &["A090", "A094", "A103"],
        ours: Outcome::Refused,
        theirs: Outcome::Accepted,
        reason: "`exp`, `aud` and `sub` cannot be required",
    },
    Difference {
        ids: &[
            "A103/i", "A104/a", "A104/b", "A104/c", "A104/d", "A104/e", "A104/f", "A104/g", "T061/a", "T061/b",
            "T061/c", "T061/d",
        ],
        ours: Outcome::Refused,
        theirs: Outcome::Accepted,
        reason: "the types of `scope` and `client_id`, and an empty `sub`, are left to the service",
    },
    Difference {
        ids: &["T041"],
        ours: Outcome::Refused,
        theirs: Outcome::Accepted,
        reason: "it passes over `zip` in a signed token",
    },
    Difference {
        ids: &[
            "T080/a", "T080/b", "T080/c", "T081/a", "T081/b", "T081/c", "T081/d", "T081/e", "T081/f", "T081/g",
            "T081/h",
        ],
        ours: Outcome::Refused,
        theirs: Outcome::Accepted,
        reason: "it does not look at `cnf`, so that a bound token is as good as any",
    },
    Difference {
        ids: &["A052"],
        ours: Outcome::Accepted,
        theirs: Outcome::Refused,
        reason: "a verifier with a key id wants every token to name it",
    },
    Difference {
        ids: &["A091/z", "A092/z"],
        ours: Outcome::Accepted,
        theirs: Outcome::Refused,
        reason: "it has no leeway",
    },
    Difference {
        ids: &["H006 EdDSA"],
        ours: Outcome::Accepted,
        theirs: Outcome::Refused,
        reason: "it does not know the name `Ed25519` (RFC 9864)",
    },
];

/// Published vectors, by `jsonwebtoken` 11.1.
pub(crate) const VECTORS_JSONWEBTOKEN: &[Difference] = &[
    Difference {
        ids: &["RFC7515 A.4 (ES512)", "cookbook jws/4_3.ecdsa_signature", "josekit ES512", "opa 29", "opa 30"],
        ours: Outcome::Accepted,
        theirs: Outcome::Refused,
        reason: "it has no ES512",
    },
    Difference {
        ids: &["josekit ES256K"],
        ours: Outcome::Accepted,
        theirs: Outcome::Refused,
        reason: "it has no ES256K",
    },
    Difference {
        ids: &["signature/259", "signature/264", "signature/268", "signature/272", "signature/320", "signature/325"],
        ours: Outcome::Refused,
        theirs: Outcome::Accepted,
        reason: "the payload is empty, which claims never are",
    },
    Difference {
        ids: &["crypto/46", "key/7"],
        ours: Outcome::Refused,
        theirs: Outcome::Accepted,
        reason: "it does not look for moduli of the ROCA kind",
    },
    Difference {
        ids: &[
            "key/6",
            "key/19",
            "key/20",
            "key/21",
            "key/25",
            "key/26",
            "signature/353",
            "signature/354",
            "signature/355",
            "signature/356",
        ],
        ours: Outcome::Refused,
        theirs: Outcome::Accepted,
        reason: "`DecodingKey::from_jwk` looks neither at `use` and `key_ops` nor at `alg`",
    },
    Difference {
        ids: &["key/10", "key/11", "key/12", "key/16", "key/17", "key/18", "opa 2", "opa 5", "opa 8"],
        ours: Outcome::Refused,
        theirs: Outcome::Accepted,
        reason: "it takes secrets shorter than the hash, and empty ones",
    },
    Difference {
        ids: &["key/23"],
        ours: Outcome::Refused,
        theirs: Outcome::Accepted,
        reason: "it reads the coordinates without looking at `crv`",
    },
];

/// Published vectors, by `josekit` 0.10.3.
pub(crate) const VECTORS_JOSEKIT: &[Difference] = &[
    Difference {
        ids: &["signature/259", "signature/264", "signature/268", "signature/272", "signature/320", "signature/325"],
        ours: Outcome::Refused,
        theirs: Outcome::Accepted,
        reason: "the payload is empty, which claims never are",
    },
    Difference {
        ids: &["crypto/46", "key/7"],
        ours: Outcome::Refused,
        theirs: Outcome::Accepted,
        reason: "it does not look for moduli of the ROCA kind",
    },
    Difference {
        ids: &["key/9"],
        ours: Outcome::Refused,
        theirs: Outcome::Accepted,
        reason: "it takes the public exponent one",
    },
];
