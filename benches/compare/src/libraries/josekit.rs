use josekit::jwk::{Jwk, JwkSet};
use josekit::jws::{self, JwsVerifier};
use josekit::jwt::{self, JwtPayloadValidator};
use serde_json::Value;

use super::{Library, Setting, Verdict, algorithm_of};

pub(super) struct Josekit;

impl Library for Josekit {
    fn name(&self) -> &'static str {
        "josekit"
    }

    fn settings(&self) -> &'static str {
        "`decode_with_verifier_selector`, by `kid` among the keys of the set whose JWK `verifier_from_jwk` of the one algorithm \
         takes; `JwtPayloadValidator` with `set_issuer` and `set_audience`; it has no leeway"
    }

    fn leeway(&self) -> u64 {
        0
    }

    fn tokens(&self, setting: &Setting) -> Box<dyn Fn(&str) -> Verdict> {
        let set = JwkSet::from_bytes(setting.key_set()).expect("a key set");
        let usable: Vec<(String, Box<dyn JwsVerifier>)> = set
            .keys()
            .into_iter()
            .filter_map(|jwk| Some((jwk.key_id()?.to_owned(), verifier(setting.algorithm, jwk)?.ok()?)))
            .collect();
        let mut validator = JwtPayloadValidator::new();
        validator.set_issuer(setting.issuer.url());
        validator.set_audience(setting.audience);
        Box::new(move |token| {
            let decoded = jwt::decode_with_verifier_selector(token, |header| {
                let known = usable.iter().find(|(kid, _)| Some(kid.as_str()) == header.key_id());
                Ok(known.map(|(_, verifier)| &**verifier))
            });
            Verdict::accepted_if(decoded.is_ok_and(|(payload, _)| validator.validate(&payload).is_ok()))
        })
    }

    fn signature(&self, jwk: &Value, token: &str) -> Verdict {
        let Some(algorithm) = algorithm_of(jwk, token) else { return Verdict::Refused };
        let Ok(jwk) = Jwk::from_bytes(jwk.to_string()) else { return Verdict::Refused };
        let Some(verifier) = verifier(&algorithm, &jwk) else { return Verdict::NotOffered };
        let Ok(verifier) = verifier else { return Verdict::Refused };
        Verdict::accepted_if(jws::deserialize_compact(token, &*verifier).is_ok())
    }
}

/// Makes a verifier of an algorithm and a key; `None` when there is no such algorithm.
fn verifier(algorithm: &str, jwk: &Jwk) -> Option<Result<Box<dyn JwsVerifier>, josekit::JoseError>> {
    macro_rules! of {
        ($algorithm:expr) => {
            $algorithm.verifier_from_jwk(jwk).map(|verifier| Box::new(verifier) as Box<dyn JwsVerifier>)
        };
    }
    Some(match algorithm {
        "HS256" => of!(jws::HS256),
        "HS384" => of!(jws::HS384),
        "HS512" => of!(jws::HS512),
        "RS256" => of!(jws::RS256),
        "RS384" => of!(jws::RS384),
        "RS512" => of!(jws::RS512),
        "PS256" => of!(jws::PS256),
        "PS384" => of!(jws::PS384),
        "PS512" => of!(jws::PS512),
        "ES256" => of!(jws::ES256),
        "ES384" => of!(jws::ES384),
        "ES512" => of!(jws::ES512),
        "ES256K" => of!(jws::ES256K),
        "EdDSA" => of!(jws::EdDSA),
        _ => return None,
    })
}
