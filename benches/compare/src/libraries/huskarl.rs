use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, Method, Uri, header};
use huskarl_core::EndpointUrl;
use huskarl_core::crypto::verifier::{JwsVerifier, JwsVerifierPlatform, MultiKeyVerifier};
use huskarl_core::jwk::{Jwk, Jwks, PrivateJwk, PublicJwks};
use huskarl_core::jwt::validator::ClaimCheck;
use huskarl_core::platform::MaybeSendBoxFuture;
use huskarl_crypto_native::NativeVerifierPlatform;
use huskarl_crypto_native::symmetric::SymmetricKey;
use huskarl_resource_server::validator::custom::CustomValidator;
use huskarl_resource_server::validator::rfc9068::Rfc9068Validator;
use serde_json::Value;

use super::{Library, Setting, Verdict, algorithm_of, authorization, has_claims};
use crate::ready;

pub(super) struct Huskarl;

impl Library for Huskarl {
    fn name(&self) -> &'static str {
        "huskarl-resource-server"
    }

    fn settings(&self) -> &'static str {
        "`Rfc9068Validator` with `issuer`, `audience`, `allowed_signing_algorithms`, `clock_leeway` 60 s (default 10 s); \
         keys by `MultiKeyVerifier::from_jwks`, the inner part of its own `JwksSource`"
    }

    fn tokens(&self, setting: &Setting) -> Box<dyn Fn(&str) -> Verdict> {
        let set: Jwks = serde_json::from_str(&setting.key_set()).expect("a key set");
        let public = PublicJwks::new(set.keys.iter().filter_map(Jwk::public_jwk).collect());
        let keys = ready(MultiKeyVerifier::from_jwks(&public, &NativeVerifierPlatform)).expect("usable keys");
        let built = Rfc9068Validator::builder()
            .issuer(setting.issuer.url())
            .audience(setting.audience)
            .allowed_signing_algorithms(vec![setting.algorithm.to_owned()])
            .clock_leeway(Duration::from_secs(60))
            .jws_verifier_factory(always(Arc::new(keys)))
            .build();
        let validator = ready(built).expect("a validator");
        Box::new(move |token| {
            let Some(headers) = bearer(token) else { return Verdict::NotOffered };
            let result = ready(validator.validate_request(&headers, &Method::GET, &resource(), None));
            Verdict::accepted_if(matches!(result.outcome, Ok(Some(_))))
        })
    }

    fn signature(&self, jwk: &Value, token: &str) -> Verdict {
        // It reads the claims before it looks at the signature.
        if !has_claims(token) {
            return Verdict::NotOffered;
        }
        let Some(algorithm) = algorithm_of(jwk, token) else { return Verdict::Refused };
        if !NativeVerifierPlatform.supported_signature_algorithms().contains(&algorithm.as_str())
            && !algorithm.starts_with("HS")
        {
            return Verdict::NotOffered;
        }
        let Ok(jwk) = serde_json::from_value::<Jwk>(jwk.clone()) else { return Verdict::Refused };
        let verifier: Arc<dyn JwsVerifier> = match jwk.private_jwk() {
            Some(PrivateJwk::Symmetric(shared)) => match SymmetricKey::from_jwk(shared) {
                Ok(key) => Arc::new(key),
                Err(_) => return Verdict::Refused,
            },
            _ => {
                let public = PublicJwks::new(jwk.public_jwk().into_iter().collect());
                match ready(MultiKeyVerifier::from_jwks(&public, &NativeVerifierPlatform)) {
                    Ok(keys) => Arc::new(keys),
                    Err(_) => return Verdict::Refused,
                }
            }
        };
        let built = CustomValidator::builder()
            .iss(ClaimCheck::NoCheck)
            .sub(ClaimCheck::NoCheck)
            .require_exp(false)
            .require_iat(false)
            .require_jti(false)
            .clock_leeway(Duration::from_secs(3_000_000_000))
            .allowed_signing_algorithms(vec![algorithm])
            .jws_verifier_factory(always(verifier))
            .build();
        let (Ok(validator), Some(headers)) = (ready(built), bearer(token)) else { return Verdict::Refused };
        let result = ready(validator.validate_request(&headers, &Method::GET, &resource(), None));
        Verdict::accepted_if(matches!(result.outcome, Ok(Some(_))))
    }
}

fn bearer(token: &str) -> Option<HeaderMap> {
    Some(HeaderMap::from_iter([(header::AUTHORIZATION, authorization(token)?)]))
}

fn resource() -> Uri {
    Uri::from_static("https://api.example/orders")
}

/// Hands out a verifier that is there already.
fn always(
    verifier: Arc<dyn JwsVerifier>,
) -> impl Fn(
    Option<&EndpointUrl>,
    Arc<dyn JwsVerifierPlatform>,
) -> MaybeSendBoxFuture<'static, Result<Arc<dyn JwsVerifier>, huskarl_core::Error>>
+ Send
+ Sync
+ 'static {
    move |_, _| {
        let verifier = Arc::clone(&verifier);
        Box::pin(async move { Ok(verifier) })
    }
}
