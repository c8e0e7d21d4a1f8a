//! What the fuzz targets share: one verifier with a known secret, so that hostile headers and claims get past the signature.

use std::sync::LazyLock;

use base64_simd::URL_SAFE_NO_PAD as BASE64;
use sekisho_jwks::{SigningKey, StaticKeys, VerifyingKey};
use sekisho_jwt::{Algorithm, Backend, Jwt, UnixSeconds, Verifier};

/// The issuer that the verifier trusts.
pub const ISSUER: &str = "https://id.example";
/// The audience that it wants.
pub const AUDIENCE: &str = "orders";
/// When everything happens.
pub const NOW: UnixSeconds = UnixSeconds::new(1_800_000_000);

const SECRET: [u8; 32] = *b"thirty-two bytes, only to fuzz !";

/// Is the fixture of one target.
pub struct Fixture {
    /// Takes HS256 by the known secret.
    pub verifier: Verifier,
    key: VerifyingKey,
    signing: SigningKey,
}

/// Is made once a process.
pub static FIXTURE: LazyLock<Fixture> = LazyLock::new(|| {
    let key = VerifyingKey::hmac(Backend::default(), Algorithm::Hs256, &SECRET).expect("a good secret");
    let verifier = Jwt::issuer(ISSUER)
        .audience(AUDIENCE)
        .with_keys(StaticKeys::new([key.clone()]))
        .with_algorithms([Algorithm::Hs256])
        .with_max_token_bytes(65_536)
        .build()
        .expect("a good configuration");
    let signing = SigningKey::hmac(Backend::default(), Algorithm::Hs256, &SECRET).expect("a good secret");
    Fixture { verifier, key, signing }
});

impl Fixture {
    /// Returns the key that checks what it signs.
    pub fn keys(&self) -> StaticKeys {
        StaticKeys::new([self.key.clone()])
    }

    /// Signs any bytes as header and claims.
    pub fn sign(&self, header: &[u8], claims: &[u8]) -> String {
        let input = format!("{}.{}", BASE64.encode_to_string(header), BASE64.encode_to_string(claims));
        let signature = self.signing.sign(input.as_bytes()).expect("signs");
        format!("{input}.{}", BASE64.encode_to_string(signature))
    }
}
