use std::fmt;

use sekisho_core::{ConfigError, Failure, FailureKind, Secret, UnixSeconds};
use sekisho_jwt::{Backend, Signer};
use url::form_urlencoded::{Serializer, byte_serialize};

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

    /// Returns who we are to the provider.
    pub(crate) fn client_id(&self) -> Option<&str> {
        self.client_id.as_deref()
    }

    pub(crate) fn needs_client_certificate(&self) -> bool {
        matches!(self.method, Method::Certificate)
    }

    pub(crate) fn check(&self) -> Result<(), ConfigError> {
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

    /// Adds the proof to a request: to its form, or as the value of `Authorization`.
    pub(crate) fn prove(
        &self,
        form: &mut Serializer<'_, String>,
        audience: &str,
        backend: Backend,
        now: UnixSeconds,
    ) -> Result<Option<String>, Failure> {
        let id = self.client_id.as_deref().unwrap_or_default();
        let text = |secret: &Secret| secret.expose_str().unwrap_or_default().to_owned();
        match &self.method {
            Method::Basic(secret) => {
                let pair = format!("{}:{}", encoded(id), encoded(&text(secret)));
                return Ok(Some(format!("Basic {}", base64::encode_standard(pair.as_bytes()))));
            }
            Method::Bearer(token) => return Ok(Some(format!("Bearer {}", text(token)))),
            Method::Post(secret) => {
                form.append_pair("client_id", id).append_pair("client_secret", &text(secret));
            }
            Method::PrivateKeyJwt { signer, audience: other } => {
                let assertion = assertion(signer, id, other.as_deref().unwrap_or(audience), backend, now)?;
                form.append_pair("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer");
                form.append_pair("client_assertion", &assertion);
            }
            Method::Certificate => {
                form.append_pair("client_id", id);
            }
        }
        Ok(None)
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
    use super::*;

    const NOW: UnixSeconds = UnixSeconds::new(1_800_000_000);

    fn prove(credentials: &ClientCredentials) -> (Option<String>, String) {
        let mut form = Serializer::new(String::new());
        let header = credentials.prove(&mut form, "https://id.example", backend(), NOW).expect("proves");
        (header, form.finish())
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
