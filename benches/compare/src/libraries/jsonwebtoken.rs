use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::jwk::{Jwk, JwkSet};
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use serde_json::Value;

use super::{Claims, Library, Setting, Verdict, algorithm_of};

pub(super) struct JsonWebToken;

impl Library for JsonWebToken {
    fn name(&self) -> &'static str {
        "jsonwebtoken"
    }

    fn settings(&self) -> &'static str {
        "key by `kid` out of its `JwkSet`; `Validation` with the one algorithm, `set_audience`, `set_issuer`, \
         `set_required_spec_claims` for all of `exp iss aud sub`, `validate_nbf`; typed claims; aws-lc-rs"
    }

    fn tokens(&self, setting: &Setting) -> Box<dyn Fn(&str) -> Verdict> {
        let set: JwkSet = serde_json::from_str(&setting.key_set()).expect("a key set");
        let algorithm: Algorithm = setting.algorithm.parse().expect("an algorithm");
        let mut validation = Validation::new(algorithm);
        validation.set_audience(&[setting.audience]);
        validation.set_issuer(&[setting.issuer.url()]);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        validation.validate_nbf = true;
        Box::new(move |token| {
            let judge = || {
                let header = decode_header(token).ok()?;
                let key = DecodingKey::from_jwk(set.find(&header.kid?)?).ok()?;
                decode::<Claims>(token, &key, &validation).ok()
            };
            Verdict::accepted_if(judge().is_some())
        })
    }

    fn signature(&self, jwk: &Value, token: &str) -> Verdict {
        let Some(algorithm) = algorithm_of(jwk, token) else { return Verdict::Refused };
        let Ok(algorithm) = algorithm.parse::<Algorithm>() else { return Verdict::NotOffered };
        let Ok(jwk) = serde_json::from_value::<Jwk>(jwk.clone()) else { return Verdict::NotOffered };
        let Ok(key) = DecodingKey::from_jwk(&jwk) else { return Verdict::Refused };
        let mut validation = Validation::new(algorithm);
        validation.required_spec_claims.clear();
        validation.validate_exp = false;
        validation.validate_aud = false;
        if decode_header(token).is_err() {
            return Verdict::Refused;
        }
        match decode::<Value>(token, &key, &validation) {
            Ok(_) => Verdict::Accepted,
            // The header was read before, so this is the payload, which is read after the signature held.
            Err(error) => Verdict::accepted_if(matches!(error.kind(), ErrorKind::Json(_))),
        }
    }
}
