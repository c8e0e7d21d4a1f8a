use std::fmt;

use sekisho_core::{ConfigError, Failure, FailureKind, Secret, UnixSeconds};
use sekisho_jwt::{Backend, Signer};
use url::form_urlencoded::byte_serialize;

use crate::base64;

/// Says how we prove to a provider who asks ([RFC 7662 §2.1](https://www.rfc-editor.org/rfc/rfc7662#section-2.1)).
///
/// `Debug` shows the method and the client id, nothing secret.
///
/// # Examples
/// ```
/// use sekisho_opaque::ClientCredentials;
/// let credentials = ClientCredentials::basic("gateway", "correct horse");
/// assert_eq!(format!("{credentials:?}"), r#"ClientCredentials(client_secret_basic, "gateway")"#);
/// ```
#[derive(Clone)]
pub struct ClientCredentials {
    client_id: Option<Box<str>>,
    method: Method,
}

#[derive(Clone)]
enum Method {
    Basic(Secret),
    Post(Secret),
    PrivateKeyJwt { signer: Box<Signer>, audience: Option<Box<str>> },
    Bearer(Secret),
    Certificate,
}

impl ClientCredentials {
    /// Sends id and secret by HTTP `Basic`, each form-encoded first (`client_secret_basic`,
    /// [RFC 6749 §2.3.1](https://www.rfc-editor.org/rfc/rfc6749#section-2.3.1)).
    #[must_use]
    pub fn basic(client_id: impl Into<Box<str>>, secret: impl Into<Secret>) -> Self {
        Self { client_id: Some(client_id.into()), method: Method::Basic(secret.into()) }
    }

    /// Sends id and secret in the body (`client_secret_post`).
    #[must_use]
    pub fn post(client_id: impl Into<Box<str>>, secret: impl Into<Secret>) -> Self {
        Self { client_id: Some(client_id.into()), method: Method::Post(secret.into()) }
    }

    /// Sends a JWT that lives 60 s, signed for each request with an id of its own (`private_key_jwt`,
    /// [RFC 7523 §2.2](https://www.rfc-editor.org/rfc/rfc7523#section-2.2)).
    ///
    /// Its audience is the issuer, and nothing else: a provider that was made to accept its own token endpoint as an
    /// audience could be given an assertion that was made for another. `typ` is `JWT`, whatever the signer says.
    #[must_use]
    pub fn private_key_jwt(client_id: impl Into<Box<str>>, signer: Signer) -> Self {
        let signer = Box::new(signer.with_type("JWT"));
        Self { client_id: Some(client_id.into()), method: Method::PrivateKeyJwt { signer, audience: None } }
    }

    /// Sends a token of our own as `Authorization: Bearer`; letters, digits and `-._~+/=` only.
    #[must_use]
    pub fn bearer(token: impl Into<Secret>) -> Self {
        Self { client_id: None, method: Method::Bearer(token.into()) }
    }

    /// Sends the client id in the body; the proof is the certificate of the connection
    /// ([RFC 8705 §2](https://www.rfc-editor.org/rfc/rfc8705#section-2)). Give an HTTP client that has it.
    #[must_use]
    pub fn certificate(client_id: impl Into<Box<str>>) -> Self {
        Self { client_id: Some(client_id.into()), method: Method::Certificate }
    }

    /// Sets another audience for the assertion of [`private_key_jwt`](Self::private_key_jwt), such as the endpoint's URL,
    /// for providers that do not take their issuer. No effect on other methods.
    #[must_use]
    pub fn with_assertion_audience(mut self, value: impl Into<Box<str>>) -> Self {
        if let Method::PrivateKeyJwt { audience, .. } = &mut self.method {
            *audience = Some(value.into());
        }
        self
    }

    /// Tells whether a [proof](Self::prove) may be sent a second time: an assertion names itself (`jti`), and a server takes it
    /// once ([RFC 7523 §3](https://www.rfc-editor.org/rfc/rfc7523#section-3)).
    #[must_use]
    pub const fn may_be_sent_twice(&self) -> bool {
        !matches!(self.method, Method::PrivateKeyJwt { .. })
    }

    /// Returns who we are to the provider; `None` with a [`bearer`](Self::bearer) token.
    #[must_use]
    pub fn client_id(&self) -> Option<&str> {
        self.client_id.as_deref()
    }

    /// Tells whether the proof is the connection's certificate, so that a default HTTP client will not do.
    #[must_use]
    pub const fn needs_client_certificate(&self) -> bool {
        matches!(self.method, Method::Certificate)
    }

    /// Checks that all of it can be sent; for the `build()` of whatever will send it.
    ///
    /// # Errors
    /// [`ConfigError`]: a client id or secret that is empty, longer than 1,024 bytes (a token: 16 KiB), or not text that can be sent.
    pub fn check(&self) -> Result<(), ConfigError> {
        if let Some(id) = &self.client_id
            && (id.is_empty() || id.len() > LONGEST || id.chars().any(char::is_control))
        {
            return Err(ConfigError::new("the client id must be 1 to 1,024 bytes without control characters"));
        }
        let sound = match &self.method {
            Method::Basic(secret) | Method::Post(secret) => {
                secret.expose_str().is_some_and(|text| !text.is_empty() && text.len() <= LONGEST)
            }
            // It goes into a header as it stands.
            Method::Bearer(token) => {
                let bytes = token.expose();
                !bytes.is_empty() && bytes.len() <= 16 * 1024 && bytes.iter().all(is_b64token)
            }
            Method::PrivateKeyJwt { .. } | Method::Certificate => true,
        };
        if sound {
            Ok(())
        } else {
            Err(ConfigError::new("the client's secret is empty, too long, or not text that can be sent"))
        }
    }

    /// Proves who we are, for one request: an assertion has an id that is good once.
    ///
    /// - `audience`: the issuer, for whom an assertion is made unless [told otherwise](Self::with_assertion_audience).
    /// - `now`: whole seconds since 1970-01-01T00:00:00Z.
    ///
    /// # Errors
    /// [`Failure`] when an assertion cannot be signed or there is no randomness for its id.
    pub fn prove(&self, audience: &str, backend: Backend, now: UnixSeconds) -> Result<ClientProof, Failure> {
        let id = self.client_id.as_deref().unwrap_or_default();
        let text = |secret: &Secret| secret.expose_str().unwrap_or_default().to_owned();
        let (mut parameters, mut authorization) = (Vec::new(), None);
        match &self.method {
            Method::Basic(secret) => {
                let pair = Secret::from(format!("{}:{}", encoded(id), encoded(&text(secret))));
                authorization = Some(format!("Basic {}", base64::encode_standard(pair.expose())).into());
            }
            Method::Bearer(token) => authorization = Some(format!("Bearer {}", text(token)).into()),
            Method::Post(secret) => {
                parameters.extend([("client_id", Secret::from(id)), ("client_secret", secret.clone())]);
            }
            Method::PrivateKeyJwt { signer, audience: other } => {
                let assertion = assertion(signer, id, other.as_deref().unwrap_or(audience), backend, now)?;
                let kind = Secret::from("urn:ietf:params:oauth:client-assertion-type:jwt-bearer");
                parameters.extend([("client_assertion_type", kind), ("client_assertion", assertion.into())]);
            }
            Method::Certificate => parameters.push(("client_id", Secret::from(id))),
        }
        Ok(ClientProof { parameters, authorization })
    }

    const fn name(&self) -> &'static str {
        match self.method {
            Method::Basic(_) => "client_secret_basic",
            Method::Post(_) => "client_secret_post",
            Method::PrivateKeyJwt { .. } => "private_key_jwt",
            Method::Bearer(_) => "bearer",
            Method::Certificate => "tls_client_auth",
        }
    }
}

/// Is what proves us to a provider in one request. Secret; `Debug` shows none of it.
pub struct ClientProof {
    parameters: Vec<(&'static str, Secret)>,
    authorization: Option<Secret>,
}

impl ClientProof {
    /// Lists the parameters to add to the form, not yet encoded.
    pub fn parameters(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.parameters.iter().map(|(name, value)| (*name, value.expose_str().unwrap_or_default()))
    }

    /// Returns the value of the header `Authorization`.
    #[must_use]
    pub fn authorization(&self) -> Option<&str> {
        self.authorization.as_ref()?.expose_str()
    }
}

impl fmt::Debug for ClientProof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientProof(..)")
    }
}

/// Signs one assertion ([RFC 7523 §3](https://www.rfc-editor.org/rfc/rfc7523#section-3)).
fn assertion(
    signer: &Signer,
    client_id: &str,
    audience: &str,
    backend: Backend,
    now: UnixSeconds,
) -> Result<String, Failure> {
    let broken = |context| move |_| Failure::new(FailureKind::Misconfigured, context);
    let mut id = [0; 16];
    backend.fill_random(&mut id).map_err(broken("no random bytes for a client assertion"))?;
    let claims = serde_json::json!({
        "iss": client_id,
        "sub": client_id,
        "aud": audience,
        "iat": now.as_secs(),
        "exp": now.as_secs().saturating_add(ASSERTION_LIFE),
        "jti": base64::encode(&id),
    });
    signer
        .sign(&claims)
        .map_err(|e| Failure::new(FailureKind::Misconfigured, "the client assertion cannot be signed").with_source(e))
}

fn encoded(text: &str) -> String {
    byte_serialize(text.as_bytes()).collect()
}

fn is_b64token(byte: &u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~+/=".contains(byte)
}

impl fmt::Debug for ClientCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.client_id {
            Some(id) => write!(f, "ClientCredentials({}, {id:?})", self.name()),
            None => write!(f, "ClientCredentials({})", self.name()),
        }
    }
}

const LONGEST: usize = 1024;
const ASSERTION_LIFE: u64 = 60;

#[cfg(test)]
mod tests {
    use url::form_urlencoded::Serializer;

    use super::*;

    const NOW: UnixSeconds = UnixSeconds::new(1_800_000_000);

    fn prove(credentials: &ClientCredentials) -> (Option<String>, String) {
        let proof = credentials.prove("https://id.example", backend(), NOW).expect("proves");
        assert_eq!(format!("{proof:?}"), "ClientProof(..)");
        let form = Serializer::new(String::new()).extend_pairs(proof.parameters()).finish();
        (proof.authorization().map(str::to_owned), form)
    }

    fn backend() -> Backend {
        #[cfg(feature = "aws-lc-rs")]
        return Backend::aws_lc();
        #[cfg(not(feature = "aws-lc-rs"))]
        return Backend::ring();
    }

    #[test]
    fn basic_encodes_id_and_secret_so_that_a_colon_stays_what_it_is() {
        let (header, form) = prove(&ClientCredentials::basic("a:b c", "p%+ö"));
        let encoded = base64::encode_standard(b"a%3Ab+c:p%25%2B%C3%B6");
        assert_eq!(header, Some(format!("Basic {encoded}")));
        assert_eq!(form, "");
    }

    #[test]
    fn post_and_certificate_speak_in_the_body() {
        let (header, form) = prove(&ClientCredentials::post("a&b", "x=y&token=z"));
        assert_eq!((header, form.as_str()), (None, "client_id=a%26b&client_secret=x%3Dy%26token%3Dz"));
        let (header, form) = prove(&ClientCredentials::certificate("gateway"));
        assert_eq!((header, form.as_str()), (None, "client_id=gateway"));
    }

    #[test]
    fn an_assertion_is_short_lived_and_never_the_same_twice() {
        let key = sekisho_jwt::jwks::SigningKey::generate(backend(), sekisho_jwt::Algorithm::Ed25519).expect("a key");
        let credentials = ClientCredentials::private_key_jwt("gateway", Signer::new(key));
        let claims = |credentials: &ClientCredentials| -> serde_json::Value {
            let (header, form) = prove(credentials);
            assert_eq!(header, None);
            let jwt =
                url::form_urlencoded::parse(form.as_bytes()).find(|(n, _)| n == "client_assertion").expect("one").1;
            let mut parts = jwt.split('.').map(|part| base64::decode(part).expect("base64url"));
            let header: serde_json::Value = serde_json::from_slice(&parts.next().expect("a header")).expect("JSON");
            assert_eq!(header["typ"], "JWT");
            serde_json::from_slice(&parts.next().expect("claims")).expect("JSON")
        };
        let (one, other) = (claims(&credentials), claims(&credentials));
        assert_eq!((&one["iss"], &one["sub"]), (&"gateway".into(), &"gateway".into()));
        assert_eq!(one["aud"], "https://id.example");
        assert_eq!(one["exp"].as_u64().expect("a number") - NOW.as_secs(), 60);
        assert_ne!(one["jti"], other["jti"]);
        assert_eq!(one["jti"].as_str().expect("text").len(), 22);
        let elsewhere = claims(&credentials.with_assertion_audience("https://id.example/introspect"));
        assert_eq!(elsewhere["aud"], "https://id.example/introspect");
    }

    #[test]
    fn debug_shows_no_secret() {
        for credentials in [
            ClientCredentials::basic("gateway", "hunter2"),
            ClientCredentials::post("gateway", "hunter2"),
            ClientCredentials::bearer("hunter2"),
        ] {
            let shown = format!("{credentials:?}");
            assert!(!shown.contains("hunter2") && shown.starts_with("ClientCredentials("), "{shown}");
        }
    }

    #[test]
    fn refuses_what_cannot_be_sent() {
        for bad in [
            ClientCredentials::basic("", "x"),
            ClientCredentials::basic("a\nb", "x"),
            ClientCredentials::basic("a", ""),
            ClientCredentials::post("a", vec![0xff]),
            ClientCredentials::bearer("a b"),
            ClientCredentials::bearer("a\r\nHost: x"),
            ClientCredentials::bearer(""),
            ClientCredentials::certificate("c".repeat(1025)),
        ] {
            assert!(bad.check().is_err(), "{bad:?}");
        }
        assert!(ClientCredentials::bearer("abc.def~ghi==").check().is_ok());
    }
}
