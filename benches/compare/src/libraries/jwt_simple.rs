use std::collections::HashSet;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jwt_simple::prelude::*;
use serde_json::Value;

use super::{Library, Setting, Verdict, algorithm_of};

pub(super) struct JwtSimple;

/// What `verify_token` says, whatever the kind of key.
type Verify = Box<dyn Fn(&str, VerificationOptions) -> Result<(), jwt_simple::Error>>;

impl Library for JwtSimple {
    fn name(&self) -> &'static str {
        "jwt-simple"
    }

    fn settings(&self) -> &'static str {
        "the issuer's one key, since it knows no key sets; `VerificationOptions` with `allowed_issuers`, `allowed_audiences`, \
         `required_signature_type: at+jwt`, `required_key_id`, `time_tolerance` 60 s, `max_token_length` 8,192; typed custom claims"
    }

    fn tokens(&self, setting: &Setting) -> Box<dyn Fn(&str) -> Verdict> {
        let verify = verifier::<Custom>(setting.algorithm, &setting.jwk()).expect("an algorithm").expect("a key");
        let options = VerificationOptions {
            allowed_issuers: Some(HashSet::from_strings(&[setting.issuer.url()])),
            allowed_audiences: Some(HashSet::from_strings(&[setting.audience])),
            required_signature_type: Some("at+jwt".to_owned()),
            required_key_id: Some(setting.issuer.issuer().signing_key().kid().to_owned()),
            time_tolerance: Some(Duration::from_secs(60)),
            max_token_length: Some(8_192),
            ..VerificationOptions::default()
        };
        Box::new(move |token| Verdict::accepted_if(verify(token, options.clone()).is_ok()))
    }

    fn signature(&self, jwk: &Value, token: &str) -> Verdict {
        let Some(algorithm) = algorithm_of(jwk, token) else { return Verdict::Refused };
        let Some(verify) = verifier::<NoCustomClaims>(&algorithm, jwk) else { return Verdict::NotOffered };
        let Ok(verify) = verify else { return Verdict::Refused };
        if Token::decode_metadata(token).is_err() {
            return Verdict::Refused;
        }
        // Of what it checks beside the signature, what can be switched off is.
        let options = VerificationOptions {
            accept_future: true,
            artificial_time: Some(Duration::from_secs(0)),
            time_tolerance: None,
            ..VerificationOptions::default()
        };
        match verify(token, options) {
            Ok(()) => Verdict::Accepted,
            // The header was read before, so this is the payload, which is read after the signature held.
            Err(error) => Verdict::accepted_if(error.downcast_ref::<serde_json::Error>().is_some()),
        }
    }
}

#[derive(serde::Serialize, serde::Deserialize)]
struct Custom {
    client_id: Option<String>,
    scope: Option<super::OneOrMore>,
}

/// Makes a key of the type that belongs to an algorithm; `None` when there is no such type.
fn verifier<C: serde::Serialize + serde::de::DeserializeOwned + 'static>(
    algorithm: &str,
    jwk: &Value,
) -> Option<Result<Verify, jwt_simple::Error>> {
    let text = jwk.to_string();
    macro_rules! with {
        ($key:expr) => {
            $key.map(|key| {
                Box::new(move |token: &str, options| key.verify_token::<C>(token, Some(options)).map(drop)) as Verify
            })
        };
    }
    let secret = || -> Result<Vec<u8>, jwt_simple::Error> {
        Ok(URL_SAFE_NO_PAD.decode(jwk.get("k").and_then(Value::as_str).unwrap_or_default())?)
    };
    Some(match algorithm {
        "HS256" => with!(secret().map(|secret| HS256Key::from_bytes(&secret))),
        "HS384" => with!(secret().map(|secret| HS384Key::from_bytes(&secret))),
        "HS512" => with!(secret().map(|secret| HS512Key::from_bytes(&secret))),
        "RS256" => with!(RS256PublicKey::from_jwk(&text)),
        "RS384" => with!(RS384PublicKey::from_jwk(&text)),
        "RS512" => with!(RS512PublicKey::from_jwk(&text)),
        "PS256" => with!(PS256PublicKey::from_jwk(&text)),
        "PS384" => with!(PS384PublicKey::from_jwk(&text)),
        "PS512" => with!(PS512PublicKey::from_jwk(&text)),
        "ES256" => with!(ES256PublicKey::from_jwk(&text)),
        "ES384" => with!(ES384PublicKey::from_jwk(&text)),
        "EdDSA" => with!(Ed25519PublicKey::from_jwk(&text)),
        _ => return None,
    })
}
