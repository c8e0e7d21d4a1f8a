//! What the tests of this package share: where the published vectors lie, one honest issuer, and how an answer is read.
//!
//! The tests themselves stand in the folders beside this file.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::fs::OpenOptions;
use std::io::Write;
use std::path::PathBuf;
use std::sync::OnceLock;

use sekisho_jwks::{SigningKey, StaticKeys, VerifyingKey};
use sekisho_jwt::{
    Algorithm, Backend, Jwt, JwtBuilder, Principal, Profile, Refusal, Reject, Step, UnixSeconds, Verifier,
};
use serde_json::{Map, Value, json};

/// The issuer that the tests trust.
pub const ISSUER: &str = "https://id.example";
/// The audience that the tests' verifiers see themselves as.
pub const AUDIENCE: &str = "orders-api";
/// The time at which the tests' tokens are verified.
pub const NOW: UnixSeconds = UnixSeconds::new(1_800_000_000);

/// Returns the text of a file under `SEKISHO_VECTORS` (default `../shared/vectors` beside the workspace), or `None`,
/// after a line on stderr and in the file that `SEKISHO_SKIPPED` names, when there is no such folder.
///
/// # Panics
/// When the folder is there but the file is not.
#[must_use]
pub fn vector_file(path: &str) -> Option<String> {
    let root = vectors(path)?;
    let file = root.join(path);
    Some(std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display())))
}

/// Reads a JSON file like [`vector_file`].
///
/// # Panics
/// When the file is missing or is not JSON.
#[must_use]
pub fn vector_json(path: &str) -> Option<Value> {
    vector_file(path).map(|text| serde_json::from_str(&text).unwrap_or_else(|error| panic!("{path}: {error}")))
}

/// Returns the folder of the vectors, or says that `wanted` is skipped.
///
/// # Panics
/// When there is none where everything has to run, `CI=true`, unless `SEKISHO_VECTORS` is the word `none`; and when the file that `SEKISHO_SKIPPED` names cannot be written.
#[must_use]
pub fn vectors(wanted: &str) -> Option<PathBuf> {
    let root = std::env::var_os("SEKISHO_VECTORS")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/vectors"), PathBuf::from);
    if root.is_dir() {
        return Some(root);
    }
    let is_skipped_on_purpose = root.file_name().is_some_and(|name| name == "none");
    let must_run = std::env::var_os("CI").is_some_and(|ci| ci == "true") && !is_skipped_on_purpose;
    assert!(!must_run, "no folder {}; set SEKISHO_VECTORS to the vectors, or to `none`", root.display());
    let line = format!("skipped: vectors/{wanted}: no folder {}; set SEKISHO_VECTORS\n", root.display());
    // Written past the harness, which would swallow it for a test that passes.
    std::io::stderr().write_all(line.as_bytes()).expect("stderr is open");
    if let Some(list) = std::env::var_os("SEKISHO_SKIPPED") {
        let mut list = OpenOptions::new().create(true).append(true).open(list).expect("SEKISHO_SKIPPED can be written");
        list.write_all(line.as_bytes()).expect("SEKISHO_SKIPPED can be written");
    }
    None
}

/// Is one honest issuer with one key, whose verifier knows just that key.
#[derive(Clone, Debug)]
pub struct House {
    /// Signs the honest tokens.
    pub key: SigningKey,
}

impl House {
    /// Makes one with a new key.
    ///
    /// # Panics
    /// For an algorithm without a key pair.
    #[must_use]
    pub fn new(algorithm: Algorithm) -> Self {
        Self { key: SigningKey::generate(Backend::default(), algorithm).expect("a key") }
    }

    /// Makes one with a key that was made elsewhere.
    #[must_use]
    pub const fn with_key(key: SigningKey) -> Self {
        Self { key }
    }

    /// Returns the one that signs by RS256, made once for each process.
    pub fn rs256() -> &'static Self {
        static HOUSE: OnceLock<House> = OnceLock::new();
        HOUSE.get_or_init(|| Self::new(Algorithm::Rs256))
    }

    /// Returns the one that signs by ES256, made once for each process.
    pub fn es256() -> &'static Self {
        static HOUSE: OnceLock<House> = OnceLock::new();
        HOUSE.get_or_init(|| Self::new(Algorithm::Es256))
    }

    /// Returns the one that signs by Ed25519, made once for each process.
    pub fn ed25519() -> &'static Self {
        static HOUSE: OnceLock<House> = OnceLock::new();
        HOUSE.get_or_init(|| Self::new(Algorithm::Ed25519))
    }

    /// Lists the three with key pairs.
    #[must_use]
    pub fn all() -> [&'static Self; 3] {
        [Self::rs256(), Self::es256(), Self::ed25519()]
    }

    /// Begins the verifier of this issuer.
    pub fn builder(&self) -> JwtBuilder {
        trusting([self.key.verifying_key()])
    }

    /// Builds the verifier of this issuer, with everything as it is by default.
    ///
    /// # Panics
    /// When the configuration is refused.
    #[must_use]
    pub fn verifier(&self) -> Verifier {
        self.builder().build().expect("a verifier")
    }

    /// Returns the honest header.
    #[must_use]
    pub fn header(&self) -> Map<String, Value> {
        object(json!({ "alg": self.key.algorithm().name(), "kid": self.key.kid(), "typ": "at+jwt" }))
    }

    /// Signs an honest token.
    #[must_use]
    pub fn token(&self) -> String {
        self.saying(json!({}))
    }

    /// Signs honest claims with `changes` laid over them; `"REMOVE"` takes a claim out.
    #[must_use]
    pub fn saying(&self, changes: Value) -> String {
        self.sign(text(&self.header()), text(&changed(claims(), changes)))
    }

    /// Signs honest claims under the honest header with `changes` laid over it; `"REMOVE"` takes a member out.
    #[must_use]
    pub fn under(&self, changes: Value) -> String {
        self.sign(text(&changed(self.header(), changes)), text(&claims()))
    }

    /// Signs a header and a payload as they stand.
    #[must_use]
    pub fn sign(&self, header: impl AsRef<[u8]>, payload: impl AsRef<[u8]>) -> String {
        self.sign_input(&input(header, payload))
    }

    /// Signs what is to be signed, as it stands.
    ///
    /// # Panics
    /// When the key cannot sign.
    #[must_use]
    pub fn sign_input(&self, input: &str) -> String {
        format!("{input}.{}", encode(self.key.sign(input.as_bytes()).expect("a signature")))
    }
}

/// Begins a verifier of the honest issuer that trusts these keys.
pub fn trusting(keys: impl IntoIterator<Item = VerifyingKey>) -> JwtBuilder {
    Jwt::issuer(ISSUER).audience(AUDIENCE).with_keys(StaticKeys::new(keys.into_iter().collect::<Vec<_>>()))
}

/// Returns honest claims.
#[must_use]
pub fn claims() -> Map<String, Value> {
    let now = NOW.as_secs();
    object(json!({
        "iss": ISSUER, "aud": AUDIENCE, "sub": "alice", "client_id": "shop", "exp": now + 300, "iat": now,
        "jti": "6ab2", "scope": "orders:read orders:write"
    }))
}

/// Lays `changes` over `members`; `"REMOVE"` takes a member out.
#[must_use]
pub fn changed(mut members: Map<String, Value>, changes: Value) -> Map<String, Value> {
    for (name, value) in object(changes) {
        if value == "REMOVE" {
            members.remove(&name);
        } else {
            members.insert(name, value);
        }
    }
    members
}

/// Returns the members of an object.
///
/// # Panics
/// When it is none.
#[must_use]
pub fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(members) => members,
        other => panic!("not an object: {other}"),
    }
}

/// Writes an object as JSON.
#[must_use]
pub fn text(members: &Map<String, Value>) -> String {
    Value::Object(members.clone()).to_string()
}

/// Encodes by base64url without padding.
#[must_use]
pub fn encode(bytes: impl AsRef<[u8]>) -> String {
    base64_simd::URL_SAFE_NO_PAD.encode_to_string(bytes.as_ref())
}

/// Decodes canonical base64url without padding.
///
/// # Panics
/// When it is not that.
#[must_use]
pub fn decode(text: &str) -> Vec<u8> {
    base64_simd::URL_SAFE_NO_PAD.decode_to_vec(text).unwrap_or_else(|_| panic!("not base64url: {text}"))
}

/// Puts header and payload, both as they stand, before a signature.
#[must_use]
pub fn input(header: impl AsRef<[u8]>, payload: impl AsRef<[u8]>) -> String {
    format!("{}.{}", encode(header), encode(payload))
}

/// Runs a future to its end.
///
/// # Panics
/// When no runtime can be made.
pub fn wait<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(future)
}

/// Asks a verifier, in both of its ways, which must agree.
///
/// # Errors
/// The reason of the refusal.
///
/// # Panics
/// When the two ways differ, or keys could not be had.
pub fn answer(verifier: &Verifier, token: &str) -> Result<Principal, Reject> {
    answer_at(verifier, token, NOW)
}

/// Like [`answer`], at another time.
///
/// # Errors
/// The reason of the refusal.
///
/// # Panics
/// When the two ways differ, or keys could not be had.
pub fn answer_at(verifier: &Verifier, token: &str, now: UnixSeconds) -> Result<Principal, Reject> {
    let read = |result: Result<_, Refusal>| match result {
        Ok(principal) => Ok(principal),
        Err(Refusal::Reject(reject)) => Err(reject),
        Err(Refusal::Failure(failure)) => panic!("{failure}"),
    };
    let first =
        read(verifier.verify_now(token, now).expect("keys are in memory").map(|verified| verified.into_inner()));
    let second = read(wait(verifier.verify(token, now)).map(|verified| verified.into_inner()));
    assert_eq!(first, second, "`verify_now` and `verify` differ");
    first
}

/// Asserts that a verifier refuses a token, also when asked again and also without a cache, and returns the reason.
///
/// # Panics
/// When it does not.
#[track_caller]
pub fn refused(verifier: &Verifier, token: &str) -> Reject {
    let first = answer(verifier, token);
    let Err(reject) = first else { panic!("accepted: {}", shown(token)) };
    assert_eq!(answer(verifier, token), Err(reject), "another answer at the second time: {}", shown(token));
    reject
}

/// Asserts that a verifier accepts a token.
///
/// # Panics
/// When it does not.
#[track_caller]
pub fn accepted(verifier: &Verifier, token: &str) -> Principal {
    answer(verifier, token).unwrap_or_else(|reject| panic!("refused, {reject}: {}", shown(token)))
}

/// Cuts a token for a message.
#[must_use]
pub fn shown(token: &str) -> String {
    token.escape_debug().take(300).collect()
}

/// Tells what a verifier thinks of the signature of a token alone, whatever its claims are.
///
/// The token goes through a whole verifier, and the trace tells whether the step of the signature was passed; the
/// payload need not be claims. What the verifier refuses before it comes to the signature counts as refused.
#[derive(Debug)]
pub struct SignatureCheck(Verifier);

impl SignatureCheck {
    /// Trusts these keys: for HMAC, if all of them are shared secrets, else for all other algorithms. A verifier
    /// cannot be told to take both.
    ///
    /// # Panics
    /// When no verifier can be made of them.
    #[must_use]
    pub fn new(keys: Vec<VerifyingKey>) -> Self {
        let shared = |key: &VerifyingKey| key.algorithm().is_some_and(Algorithm::is_symmetric);
        let symmetric = !keys.is_empty() && keys.iter().all(shared);
        let profile = Profile::custom().with_absent_type().with_type("JWT").with_type("dpop+jwt");
        let allowed = Algorithm::ALL.into_iter().filter(|algorithm| algorithm.is_symmetric() == symmetric);
        let builder = trusting(keys).with_algorithms(allowed).with_profile(profile).without_cache();
        Self(builder.with_max_token_bytes(65_536).build().expect("a verifier"))
    }

    /// Returns the payload if the signature holds, or why the token was refused before.
    ///
    /// # Errors
    /// The reason, of the signature or of a step before it; [`Reject::Malformed`] when the payload is not base64url.
    ///
    /// # Panics
    /// When keys could not be had.
    pub fn check(&self, token: &str) -> Result<Vec<u8>, Reject> {
        let trace = wait(self.0.explain(token, NOW));
        if trace.steps().iter().any(|outcome| outcome.step() == Step::Signature && outcome.passed()) {
            // What the verifier says of the payload cannot be told apart: not base64url, or no claims.
            let payload = token.split('.').nth(1).unwrap_or_default();
            return base64_simd::URL_SAFE_NO_PAD.decode_to_vec(payload).map_err(|_| Reject::Malformed);
        }
        match trace.result() {
            Ok(()) => panic!("accepted without a signature: {}", shown(token)),
            Err(Refusal::Reject(reject)) => Err(*reject),
            Err(Refusal::Failure(failure)) => panic!("{failure}"),
        }
    }
}
