use authkestra_resource::Guard;
use authkestra_resource::jwt::{JwtStrategy, ValidationConfig};
use http::{Request, header};
use jsonwebtoken::Algorithm;
use serde_json::Value;

use super::{Claims, Library, Setting, Verdict, authorization};
use crate::block_on;

pub(super) struct Authkestra;

impl Library for Authkestra {
    fn name(&self) -> &'static str {
        "authkestra-resource"
    }

    fn settings(&self) -> &'static str {
        "`ValidationConfig` with `issuer`, `audience`, `jwks_url` (served on loopback), `algorithms`, default leeway of 60 s; \
         `Guard` with `JwtStrategy`; typed claims"
    }

    /// Its `Jwk` is RSA or Ed25519.
    fn offers(&self, algorithm: &str) -> bool {
        !algorithm.starts_with("ES")
    }

    fn tokens(&self, setting: &Setting) -> Box<dyn Fn(&str) -> Verdict> {
        let algorithm: Algorithm = setting.algorithm.parse().expect("an algorithm");
        let config = ValidationConfig::builder()
            .issuer(setting.issuer.url())
            .audience(setting.audience)
            .jwks_url(setting.issuer.key_set_url())
            .algorithms(vec![algorithm])
            .build();
        let guard = Guard::<Claims>::builder().strategy(JwtStrategy::new(config)).build();
        Box::new(move |token| {
            let Some(value) = authorization(token) else { return Verdict::NotOffered };
            let (parts, ()) =
                Request::builder().header(header::AUTHORIZATION, value).body(()).expect("a request").into_parts();
            Verdict::accepted_if(matches!(block_on(guard.authenticate(&parts)), Ok(Some(_))))
        })
    }

    fn signature(&self, _: &Value, _: &str) -> Verdict {
        Verdict::NotOffered
    }
}
