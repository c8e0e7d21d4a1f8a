//! A passkey in software, for tests that log in by one.

use std::sync::atomic::{AtomicU32, Ordering};

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair,
};
use ciborium::Value;
use serde_json::json;

use super::bytes;
use crate::random::to_base64;

/// Says which kind of key a [`SoftAuthenticator`] has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "tests go through all of them")]
pub enum SoftAlgorithm {
    /// ECDSA on P-256.
    Es256,
    /// Ed25519.
    EdDsa,
    /// RSA of 2,048 bits with PKCS #1 v1.5.
    Rs256,
}

enum Key {
    Es256(EcdsaKeyPair),
    EdDsa(Ed25519KeyPair),
    Rs256(RsaKeyPair),
}

/// Is a browser and an authenticator with one passkey, in software. For tests: it has no user, and says what it is told to.
#[expect(missing_debug_implementations, reason = "holds a private key")]
pub struct SoftAuthenticator {
    key: Key,
    /// What it calls its passkey.
    pub credential_id: Vec<u8>,
    /// Its model.
    pub aaguid: [u8; 16],
    counter: AtomicU32,
}

impl SoftAuthenticator {
    /// Makes one with a key on P-256 and a counter.
    #[must_use]
    pub fn new() -> Self {
        Self::with_algorithm(SoftAlgorithm::Es256)
    }

    /// Makes one with a key of some kind.
    #[must_use]
    pub fn with_algorithm(algorithm: SoftAlgorithm) -> Self {
        let key = match algorithm {
            SoftAlgorithm::Es256 => Key::Es256(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).expect("a key")),
            SoftAlgorithm::EdDsa => Key::EdDsa(Ed25519KeyPair::generate().expect("a key")),
            SoftAlgorithm::Rs256 => Key::Rs256(RsaKeyPair::generate(KeySize::Rsa2048).expect("a key")),
        };
        Self { key, credential_id: bytes::<32>().to_vec(), aaguid: bytes(), counter: AtomicU32::new(0) }
    }

    /// Answers creation options, on a page of `origin`; what it says can be changed before it is written.
    ///
    /// # Panics
    /// When the options are not ours.
    #[must_use]
    pub fn register(&self, options: &str, origin: &str) -> SoftRegistration {
        let options: serde_json::Value = serde_json::from_str(options).expect("options are JSON");
        let rp_id = options.pointer("/rp/id").and_then(serde_json::Value::as_str).expect("an id");
        let mut said = self.say("webauthn.create", &options, rp_id, origin);
        said.flags = UP | UV | AT;
        SoftRegistration {
            said,
            credential_id: self.credential_id.clone(),
            attested_id: self.credential_id.clone(),
            public_key: self.public_key(),
            format: "none".to_owned(),
            statement: Value::Map(Vec::new()),
            transports: vec!["internal".to_owned(), "hybrid".to_owned()],
            aaguid: self.aaguid,
        }
    }

    /// Answers request options, on a page of `origin`.
    ///
    /// # Panics
    /// When the options are not ours.
    #[must_use]
    pub fn log_in(&self, options: &str, origin: &str, user: &str) -> SoftAssertion {
        let options: serde_json::Value = serde_json::from_str(options).expect("options are JSON");
        let rp_id = options.get("rpId").and_then(serde_json::Value::as_str).expect("an id");
        let said = self.say("webauthn.get", &options, rp_id, origin);
        let user_handle = Some(user.as_bytes().to_vec());
        SoftAssertion { said, credential_id: self.credential_id.clone(), user_handle, signed: None }
    }

    fn say(&self, kind: &str, options: &serde_json::Value, rp_id: &str, origin: &str) -> SoftSaying {
        let challenge = options.get("challenge").and_then(serde_json::Value::as_str).expect("a challenge");
        SoftSaying {
            client_data: json!({ "type": kind, "challenge": challenge, "origin": origin, "crossOrigin": false }),
            rp_id: rp_id.to_owned(),
            flags: UP | UV,
            sign_count: self.counter.fetch_add(1, Ordering::Relaxed) + 1,
            behind: Vec::new(),
        }
    }

    /// Returns the public key as a COSE key.
    #[must_use]
    pub fn public_key(&self) -> Vec<(Value, Value)> {
        let number = |number: i64| Value::from(number);
        match &self.key {
            Key::Es256(key) => {
                let (x, y) =
                    key.public_key().as_ref().get(1..).and_then(|xy| xy.split_at_checked(32)).expect("a point");
                vec![
                    (number(1), number(2)),
                    (number(3), number(-7)),
                    (number(-1), number(1)),
                    (number(-2), x.to_vec().into()),
                    (number(-3), y.to_vec().into()),
                ]
            }
            Key::EdDsa(key) => vec![
                (number(1), number(1)),
                (number(3), number(-8)),
                (number(-1), number(6)),
                (number(-2), key.public_key().as_ref().to_vec().into()),
            ],
            Key::Rs256(key) => {
                // A sequence of two integers, the first with a leading zero: see RFC 8017 A.1.1.
                let modulus = key.public_key().as_ref().get(9..265).expect("a key of 2,048 bits").to_vec();
                vec![
                    (number(1), number(3)),
                    (number(3), number(-257)),
                    (number(-1), modulus.into()),
                    (number(-2), vec![1, 0, 1].into()),
                ]
            }
        }
    }

    /// Signs.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match &self.key {
            Key::Es256(key) => key.sign(&random, message).expect("signs").as_ref().to_vec(),
            Key::EdDsa(key) => key.sign(message).as_ref().to_vec(),
            Key::Rs256(key) => {
                let mut signature = vec![0; key.public_modulus_len()];
                key.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature).expect("signs");
                signature
            }
        }
    }
}

impl Default for SoftAuthenticator {
    fn default() -> Self {
        Self::new()
    }
}

/// Is what browser and authenticator say in both kinds of ceremony, before it is signed.
#[derive(Clone, Debug)]
#[expect(clippy::exhaustive_structs, reason = "tests change each field")]
pub struct SoftSaying {
    /// The members of `clientDataJSON`.
    pub client_data: serde_json::Value,
    /// For which relying party.
    pub rp_id: String,
    /// Of the authenticator data: [`UP`], [`UV`], [`BE`], [`BS`], [`AT`], [`ED`].
    pub flags: u8,
    /// The signature counter.
    pub sign_count: u32,
    /// What stands behind everything else in the authenticator data.
    pub behind: Vec<u8>,
}

impl SoftSaying {
    fn authenticator_data(&self, credential: &[u8]) -> Vec<u8> {
        let hash = digest(&SHA256, self.rp_id.as_bytes());
        [hash.as_ref(), &[self.flags], &self.sign_count.to_be_bytes(), credential, &self.behind].concat()
    }
}

/// Is an answer to creation options.
#[derive(Clone, Debug)]
#[expect(clippy::exhaustive_structs, reason = "tests change each field")]
pub struct SoftRegistration {
    /// What both kinds say.
    pub said: SoftSaying,
    /// The id that the browser says.
    pub credential_id: Vec<u8>,
    /// The id that the authenticator says.
    pub attested_id: Vec<u8>,
    /// The COSE key, whose entries are written in this order.
    pub public_key: Vec<(Value, Value)>,
    /// `fmt`.
    pub format: String,
    /// `attStmt`.
    pub statement: Value,
    /// How the authenticator is reached.
    pub transports: Vec<String>,
    /// The model.
    pub aaguid: [u8; 16],
}

impl SoftRegistration {
    /// Writes the attestation object.
    #[must_use]
    pub fn attestation_object(&self) -> Vec<u8> {
        let length = u16::try_from(self.attested_id.len()).expect("an id that can be written");
        let key = cbor(&Value::Map(self.public_key.clone()));
        let credential = [&self.aaguid[..], &length.to_be_bytes(), &self.attested_id, &key].concat();
        let has_credential = self.said.flags & AT != 0;
        let data = self.said.authenticator_data(if has_credential { &credential } else { &[] });
        cbor(&Value::Map(vec![
            ("fmt".into(), self.format.as_str().into()),
            ("attStmt".into(), self.statement.clone()),
            ("authData".into(), data.into()),
        ]))
    }

    /// Writes the JSON of `PublicKeyCredential.toJSON()`.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        self.to_json_with(&self.attestation_object())
    }

    /// Writes it with another attestation object.
    #[must_use]
    pub fn to_json_with(&self, attestation_object: &[u8]) -> Vec<u8> {
        let id = to_base64(&self.credential_id);
        let response = json!({
            "clientDataJSON": to_base64(self.said.client_data.to_string().as_bytes()),
            "attestationObject": to_base64(attestation_object),
            "transports": self.transports,
        });
        json!({ "id": id, "rawId": id, "type": "public-key", "response": response, "clientExtensionResults": {} })
            .to_string()
            .into_bytes()
    }
}

/// Is an answer to request options.
#[derive(Clone, Debug)]
#[expect(clippy::exhaustive_structs, reason = "tests change each field")]
pub struct SoftAssertion {
    /// What both kinds say.
    pub said: SoftSaying,
    /// The id that the browser says.
    pub credential_id: Vec<u8>,
    /// Whose it is.
    pub user_handle: Option<Vec<u8>>,
    /// What is signed in the place of authenticator data and client data, if anything.
    pub signed: Option<Vec<u8>>,
}

impl SoftAssertion {
    /// Signs with the key of an authenticator, and writes the JSON of `PublicKeyCredential.toJSON()`.
    #[must_use]
    pub fn to_json(&self, authenticator: &SoftAuthenticator) -> Vec<u8> {
        let client_data = self.said.client_data.to_string();
        let data = self.said.authenticator_data(&[]);
        let hash = digest(&SHA256, client_data.as_bytes());
        let signed = self.signed.clone().unwrap_or_else(|| [&data, hash.as_ref()].concat());
        let id = to_base64(&self.credential_id);
        let response = json!({
            "clientDataJSON": to_base64(client_data.as_bytes()),
            "authenticatorData": to_base64(&data),
            "signature": to_base64(&authenticator.sign(&signed)),
            "userHandle": self.user_handle.as_deref().map(to_base64),
        });
        json!({ "id": id, "rawId": id, "type": "public-key", "response": response, "clientExtensionResults": {} })
            .to_string()
            .into_bytes()
    }
}

/// Writes CBOR, the entries of maps in the order in which they stand.
///
/// # Panics
/// Never, for values that can be written.
#[must_use]
pub fn cbor(value: &Value) -> Vec<u8> {
    let mut bytes = Vec::new();
    ciborium::into_writer(value, &mut bytes).expect("writes to memory");
    bytes
}

/// The user is present.
pub const UP: u8 = 0x01;
/// The user was verified.
pub const UV: u8 = 0x04;
/// It may be on several devices.
pub const BE: u8 = 0x08;
/// It is on several devices.
pub const BS: u8 = 0x10;
/// The new credential is told.
pub const AT: u8 = 0x40;
/// There are extensions.
pub const ED: u8 = 0x80;
