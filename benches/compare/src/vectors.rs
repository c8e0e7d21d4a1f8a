//! Published vectors of signatures, found by `SEKISHO_VECTORS`: wycheproof, RFC examples, Open Policy Agent's cases.

use std::fs;
use std::path::{Path, PathBuf};

use sekisho_jwks::{Backend, VerifyingKey};
use serde_json::{Value, json};

use crate::libraries::{Library, algorithm_of};
use crate::tally::{Tally, Wanted};

struct Vector {
    id: String,
    name: String,
    jwk: Value,
    token: String,
    wanted: Wanted,
}

/// Asks every library about every vector; `None` when there are none.
pub(crate) fn run(libraries: &[Box<dyn Library>]) -> Option<Vec<Tally>> {
    let folder = PathBuf::from(std::env::var_os("SEKISHO_VECTORS")?);
    let mut vectors = wycheproof(&folder)?;
    vectors.extend(rfc(&folder)?);
    vectors.extend(opa(&folder)?);
    let tallies = libraries.iter().map(|library| {
        let mut tally = Tally::default();
        for vector in &vectors {
            tally.ask((&vector.id, &vector.name), "", vector.wanted, || library.signature(&vector.jwk, &vector.token));
        }
        tally
    });
    Some(tallies.collect())
}

fn read(path: &Path) -> Option<Value> {
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}

fn text(value: &Value, member: &str) -> String {
    value.get(member).and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn wycheproof(folder: &Path) -> Option<Vec<Vector>> {
    // C2SP/wycheproof#236: byte for byte the same as valid ones.
    const LABELLED_INVALID_WRONGLY: [u64; 2] = [367, 370];
    // A question mark stands inside the base64url.
    const LABELLED_VALID_WRONGLY: [u64; 2] = [372, 373];
    // The key says another algorithm than the header, and is labelled valid all the same.
    const KEY_NAMES_ANOTHER: [u64; 4] = [346, 347, 350, 351];
    let document = read(&folder.join("wycheproof/json_web_signature_test.json"))?;
    let mut vectors = Vec::new();
    for group in document.get("testGroups")?.as_array()? {
        let jwk = group.get("public").or_else(|| group.get("private"))?;
        for test in group.get("tests")?.as_array()? {
            let id = test.get("tcId")?.as_u64()?;
            if KEY_NAMES_ANOTHER.contains(&id) {
                continue;
            }
            let is_valid = LABELLED_INVALID_WRONGLY.contains(&id)
                || (text(test, "result") == "valid" && !LABELLED_VALID_WRONGLY.contains(&id));
            vectors.push(Vector {
                id: format!("W{id:03}"),
                name: format!("{}: {}", text(group, "comment"), text(test, "comment")),
                jwk: jwk.clone(),
                token: text(test, "jws"),
                wanted: if is_valid { Wanted::Accept } else { Wanted::Refuse },
            });
        }
    }
    Some(vectors)
}

fn rfc(folder: &Path) -> Option<Vec<Vector>> {
    let document = read(&folder.join("rfc-vectors/vectors.json"))?;
    let signed = document.as_array()?.iter().filter(|vector| text(vector, "kind") == "jws");
    let vectors = signed.enumerate().map(|(index, vector)| {
        let token = text(vector, "jws");
        // The unsecured one has no key: any will do, since it must be refused under each.
        let mut jwk = vector.get("key").filter(|key| key.is_object()).cloned().unwrap_or_else(any_key);
        // Shared secrets do not say their algorithm there, which several libraries want to know.
        if text(&jwk, "kty") == "oct"
            && let (Some(algorithm), Some(members)) = (algorithm_of(&jwk, &token), jwk.as_object_mut())
        {
            members.insert("alg".to_owned(), algorithm.into());
        }
        let wanted = if text(vector, "result") == "valid" { Wanted::Accept } else { Wanted::Refuse };
        Vector { id: format!("R{:02}", index + 1), name: text(vector, "name"), jwk, token, wanted }
    });
    Some(vectors.collect())
}

fn any_key() -> Value {
    json!({ "kty": "oct", "alg": "HS256", "k": "c2l4dHkgZm91ciBieXRlcyBhcmUgbW9yZSB0aGFuIGVub3VnaCBmb3IgdGhpcw" })
}

fn opa(folder: &Path) -> Option<Vec<Vector>> {
    let document = read(&folder.join("opa-jwt/verify.json"))?;
    let mut vectors = Vec::new();
    for (index, case) in document.as_array()?.iter().enumerate() {
        let is_valid = case.get("want") == Some(&Value::Bool(true));
        let algorithm = text(case, "alg");
        let key = text(case, "key");
        let jwk = if algorithm.starts_with("HS") {
            // "secret" is shorter than RFC 7518 §3.2 allows, so refusing it is no fault.
            if is_valid {
                continue;
            }
            use base64::Engine as _;
            let secret = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(key);
            json!({ "kty": "oct", "k": secret, "alg": algorithm })
        } else {
            // Certificates and PEM become JWKs, which all libraries read; spoilt ones are about key files alone.
            let Ok(key) = VerifyingKey::from_pem(Backend::default(), key.as_bytes()) else { continue };
            let mut jwk = key.public_jwk()?;
            jwk.as_object_mut()?.insert("alg".to_owned(), algorithm.into());
            jwk
        };
        let wanted = if is_valid { Wanted::Accept } else { Wanted::Refuse };
        vectors.push(Vector {
            id: format!("O{:02}", index + 1),
            name: text(case, "name"),
            jwk,
            token: text(case, "token"),
            wanted,
        });
    }
    Some(vectors)
}
