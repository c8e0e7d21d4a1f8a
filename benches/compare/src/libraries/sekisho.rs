use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sekisho_core::UnixSeconds;
use sekisho_core::json::JsonObject;
use sekisho_jwt::jwks::{KeySet, StaticKeys, VerifyingKey};
use sekisho_jwt::{Algorithm, Backend, Jwt, Profile, Step};
use serde_json::Value;

use super::{Library, Setting, Verdict};
use crate::ready;

pub(super) struct Sekisho;

impl Library for Sekisho {
    fn name(&self) -> &'static str {
        "sekisho-jwt"
    }

    fn settings(&self) -> &'static str {
        "`Jwt::issuer(…).audience(…).with_profile(Profile::rfc9068()).with_algorithms([alg])`, no token cache"
    }

    fn tokens(&self, setting: &Setting) -> Box<dyn Fn(&str) -> Verdict> {
        let set = KeySet::parse(Backend::default(), setting.key_set().as_bytes()).expect("a key set");
        let algorithm = Algorithm::from_name(setting.algorithm).expect("an algorithm");
        let verifier = Jwt::issuer(setting.issuer.url())
            .audience(setting.audience)
            .with_profile(Profile::rfc9068())
            .with_algorithms([algorithm])
            .with_keys(StaticKeys::from_set(&set))
            .without_cache()
            .build()
            .expect("a verifier");
        let now = setting.issuer.issuer().clock();
        Box::new(move |token| {
            let answer = verifier.verify_now(token, now.now()).expect("keys at hand");
            Verdict::accepted_if(answer.is_ok())
        })
    }

    fn signature(&self, jwk: &Value, token: &str) -> Verdict {
        let Ok(object) = JsonObject::from_serialize(jwk) else { return Verdict::Refused };
        // A key that is refused when it is loaded refuses all its tokens.
        let Ok(key) = VerifyingKey::from_jwk(Backend::default(), &object) else { return Verdict::Refused };
        let builder = Jwt::issuer("https://id.example").audience("a").with_keys(StaticKeys::new([key.clone()]));
        let builder = match key.algorithm() {
            Some(algorithm) => builder.with_algorithms([algorithm]),
            None => builder,
        };
        let types = Profile::custom().with_absent_type().with_type("jwt").with_type("dpop+jwt").build();
        let Ok(verifier) = builder.with_profile(types).without_cache().build() else { return Verdict::Refused };
        let trace = ready(verifier.explain(token, UnixSeconds::new(0)));
        let holds = trace.steps().iter().any(|step| step.step() == Step::Signature && step.passed());
        // Afterwards it decodes the payload, strictly, and then reads it as claims; only the latter is not asked about.
        let payload = token.split('.').nth(1).map(|part| URL_SAFE_NO_PAD.decode(part));
        Verdict::accepted_if(holds && matches!(payload, Some(Ok(_))))
    }
}
