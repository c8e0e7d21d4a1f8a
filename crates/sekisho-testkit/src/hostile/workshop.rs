//! Where tokens are forged: honest parts to start from, and the means to spoil one of them.

use sekisho_core::UnixSeconds;
use sekisho_jwks::{Algorithm, SigningKey};
use serde_json::Value;

use super::{HostileContext, HostileGroup, HostileToken};
use crate::forge::{base64url, compact};
use crate::issuer::{generate, public_jwk};
use crate::{Issuer, crypto};

/// Holds members as raw JSON text, in order, so that they can stand twice or be no JSON at all.
#[derive(Clone)]
pub(super) struct Members(Vec<(String, String)>);

impl Members {
    pub(super) const fn empty() -> Self {
        Self(Vec::new())
    }

    /// Replaces a member, or adds it at the end. `raw` is JSON text, or what is to look like it.
    pub(super) fn with(mut self, name: &str, raw: impl Into<String>) -> Self {
        match self.0.iter_mut().find(|(n, _)| n == name) {
            Some((_, value)) => *value = raw.into(),
            None => self.0.push((name.to_owned(), raw.into())),
        }
        self
    }

    pub(super) fn without(mut self, name: &str) -> Self {
        self.0.retain(|(n, _)| n != name);
        self
    }

    /// Adds a member at the end, also if it is there already. `name` may hold JSON escapes.
    pub(super) fn and(mut self, name: &str, raw: impl Into<String>) -> Self {
        self.0.push((name.to_owned(), raw.into()));
        self
    }

    /// Adds a member at the front, also if it is there already.
    pub(super) fn after(mut self, name: &str, raw: impl Into<String>) -> Self {
        self.0.insert(0, (name.to_owned(), raw.into()));
        self
    }

    pub(super) fn text(&self) -> String {
        let members: Vec<String> = self.0.iter().map(|(name, raw)| format!("\"{name}\":{raw}")).collect();
        format!("{{{}}}", members.join(","))
    }
}

/// Writes a string as JSON.
pub(super) fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

pub(super) struct Workshop {
    pub(super) issuer: Issuer,
    pub(super) second_issuer: Option<Issuer>,
    pub(super) key: SigningKey,
    /// A key of nobody who is trusted, always ES256.
    pub(super) attacker: SigningKey,
    pub(super) audience: String,
    pub(super) now: u64,
    pub(super) leeway: u64,
}

impl Workshop {
    pub(super) fn new(context: &HostileContext) -> Self {
        let issuer = context.issuer().clone();
        Self {
            key: issuer.signing_key(),
            attacker: generate(issuer.backend(), Algorithm::Es256),
            audience: context.audience().to_owned(),
            now: UnixSeconds::as_secs(context.now()),
            leeway: context.leeway.as_secs(),
            second_issuer: context.second_issuer.clone(),
            issuer,
        }
    }

    /// Returns the honest header.
    pub(super) fn header(&self) -> Members {
        Members::empty()
            .with("alg", quoted(self.key.algorithm().name()))
            .with("kid", quoted(self.key.kid()))
            .with("typ", quoted("at+jwt"))
    }

    /// Returns honest claims.
    pub(super) fn claims(&self) -> Members {
        Members::empty()
            .with("iss", quoted(self.issuer.url()))
            .with("sub", quoted("u1"))
            .with("aud", quoted(&self.audience))
            .with("client_id", quoted("client"))
            .with("scope", quoted("orders:read"))
            .with("iat", self.now.to_string())
            .with("exp", (self.now + 300).to_string())
            .with("jti", quoted(&base64url(crypto::random::<12>())))
    }

    /// Signs, with the issuer's key, a header and a payload as they stand.
    pub(super) fn sign(&self, header: impl AsRef<[u8]>, payload: impl AsRef<[u8]>) -> String {
        compact(header, payload, &self.key)
    }

    pub(super) fn honest(&self) -> String {
        self.sign(self.header().text(), self.claims().text())
    }

    /// Returns the three parts of an honest token.
    pub(super) fn parts(&self) -> (String, String, String) {
        let token = self.honest();
        let mut parts = token.split('.').map(str::to_owned);
        let mut next = || parts.next().unwrap_or_default();
        (next(), next(), next())
    }

    /// Signs honest claims, with the issuer's key, under this header.
    pub(super) fn under(&self, header: &Members) -> String {
        self.sign(header.text(), self.claims().text())
    }

    /// Signs honest claims, with the issuer's key, with one header member replaced.
    pub(super) fn with_header(&self, name: &str, raw: &str) -> String {
        self.under(&self.header().with(name, raw))
    }

    /// Signs these claims, with the issuer's key, under an honest header.
    pub(super) fn saying(&self, claims: &Members) -> String {
        self.sign(self.header().text(), claims.text())
    }

    /// Signs honest claims, with the issuer's key, with one claim replaced.
    pub(super) fn with_claim(&self, name: &str, raw: &str) -> String {
        self.saying(&self.claims().with(name, raw))
    }

    /// Signs this payload, with the issuer's key, under an honest header.
    pub(super) fn with_payload(&self, payload: impl AsRef<[u8]>) -> String {
        self.sign(self.header().text(), payload)
    }

    /// Signs honest claims with the attacker's key, under this header.
    pub(super) fn by_attacker(&self, header: &Members) -> String {
        compact(header.text(), self.claims().text(), &self.attacker)
    }

    /// Returns an honest header, but with the attacker's algorithm.
    pub(super) fn attacker_header(&self) -> Members {
        self.header().with("alg", quoted(self.attacker.algorithm().name()))
    }

    pub(super) fn attacker_jwk(&self) -> Value {
        public_jwk(&self.attacker)
    }

    /// Signs honest claims by HS256 with any bytes.
    pub(super) fn by_hmac(&self, header: &Members, secret: &[u8]) -> String {
        let input = crate::forge::signing_input(header.text(), self.claims().text());
        let mac = crypto::hmac_sha256(secret, input.as_bytes());
        format!("{input}.{}", base64url(mac))
    }
}

/// Collects the tokens of one group.
pub(super) struct Bench {
    group: HostileGroup,
    tokens: Vec<HostileToken>,
}

impl Bench {
    pub(super) const fn new(group: HostileGroup) -> Self {
        Self { group, tokens: Vec::new() }
    }

    /// Lays down a token that breaks a standard, or that no verifier could sensibly take.
    pub(super) fn add(&mut self, id: &'static str, name: impl Into<String>, why: &'static str, token: String) {
        self.lay(id, name.into(), why, token, false);
    }

    /// Lays down a token that the strict default refuses.
    pub(super) fn add_strict(&mut self, id: &'static str, name: impl Into<String>, why: &'static str, token: String) {
        self.lay(id, name.into(), why, token, true);
    }

    fn lay(&mut self, id: &'static str, name: String, why: &'static str, token: String, strict: bool) {
        self.tokens.push(HostileToken { id, name, why, group: self.group, strict, token });
    }

    pub(super) fn done(self) -> Vec<HostileToken> {
        self.tokens
    }
}
