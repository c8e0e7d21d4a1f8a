//! What is in a token, and making one.

use std::time::Duration;

use sekisho_core::{Failure, FailureKind, Secret, UnixSeconds};
use sekisho_jwks::Algorithm;
use serde_json::{Map, Value, json};

use crate::handle::{self, HandleHash, Purpose};
use crate::store::{Authentication, Claims, Grant, ReferenceRecord};
use crate::{AccessTokenFormat, AuthorizationServer, Client, GrantId, ScopeSet, UserClaims};

/// The `typ` of access tokens ([RFC 9068 §2.1](https://www.rfc-editor.org/rfc/rfc9068#section-2.1)).
pub(crate) const ACCESS_TYPE: &str = "at+jwt";
/// The `typ` of ID tokens.
pub(crate) const ID_TYPE: &str = "JWT";

/// Says what an access token is to be.
pub(crate) struct AccessToken<'a> {
    pub(crate) client: &'a Client,
    pub(crate) subject: &'a str,
    pub(crate) audience: &'a [String],
    pub(crate) scope: &'a ScopeSet,
    pub(crate) grant: Option<&'a GrantId>,
    pub(crate) sid: Option<&'a str>,
    pub(crate) authentication: Option<&'a Authentication>,
    /// `act`
    pub(crate) actor: Option<Value>,
    /// SHA-256 of the certificate that it is bound to.
    pub(crate) thumbprint: Option<[u8; 32]>,
    /// Claims of the caller's; those of the issuer win.
    pub(crate) extra: Option<&'a Map<String, Value>>,
    /// It ends no later.
    pub(crate) not_after: UnixSeconds,
    /// Instead of the client's.
    pub(crate) lifetime: Option<Duration>,
}

/// Is an access token that was made.
pub(crate) struct MadeToken {
    pub(crate) token: Secret,
    pub(crate) id: String,
    pub(crate) expires_at: UnixSeconds,
}

impl<'a> AccessToken<'a> {
    /// Begins the token of a grant.
    pub(crate) fn of_grant(grant: &'a Grant, client: &'a Client) -> Self {
        Self {
            client,
            subject: &grant.subject,
            audience: &grant.audience,
            scope: &grant.scope,
            grant: Some(&grant.id),
            sid: grant.sid.as_deref(),
            authentication: Some(&grant.authentication),
            actor: None,
            thumbprint: None,
            extra: None,
            not_after: grant.expires_at,
            lifetime: None,
        }
    }

    /// Writes the claims ([RFC 9068 §2.2](https://www.rfc-editor.org/rfc/rfc9068#section-2.2)).
    fn claims(
        &self,
        server: &AuthorizationServer,
        id: &str,
        now: UnixSeconds,
        ends: UnixSeconds,
    ) -> Map<String, Value> {
        let issuer = server.issuer();
        let mut claims = self.extra.cloned().unwrap_or_default();
        // Marks of other kinds of tokens, and what binds a token: not for others to write.
        for name in ["nonce", "at_hash", "c_hash", "s_hash", "events", "azp", "nbf", "typ", "may_act"] {
            claims.remove(name);
        }
        let mut audience = self.audience.to_vec();
        // The userinfo endpoint is a resource of ours, for whoever has `openid`.
        if audience.is_empty() || (self.scope.contains("openid") && !audience.iter().any(|own| own == issuer)) {
            audience.push(issuer.to_owned());
        }
        let mut set = |name: &str, value: Option<Value>| match value {
            Some(value) => drop(claims.insert(name.to_owned(), value)),
            None => drop(claims.remove(name)),
        };
        set("iss", Some(issuer.into()));
        set("sub", Some(self.subject.into()));
        set("aud", Some(one_or_many(audience)));
        set("client_id", Some(self.client.id().into()));
        set("iat", Some(now.as_secs().into()));
        set("exp", Some(ends.as_secs().into()));
        set("jti", Some(id.into()));
        set("scope", (!self.scope.is_empty()).then(|| self.scope.to_string().into()));
        set("sid", self.sid.map(Into::into));
        set("auth_time", self.authentication.map(|login| login.time.as_secs().into()));
        set("acr", self.authentication.and_then(|login| login.context.clone()).map(Into::into));
        set(
            "amr",
            self.authentication.filter(|login| !login.methods.is_empty()).map(|login| login.methods.clone().into()),
        );
        set("act", self.actor.clone());
        set("cnf", self.thumbprint.map(|thumbprint| json!({ "x5t#S256": handle::encode(&thumbprint) })));
        claims
    }
}

impl AuthorizationServer {
    /// Makes an access token in the client's format, and keeps it if it is a reference token.
    pub(crate) async fn make_access_token(
        &self,
        token: AccessToken<'_>,
        now: UnixSeconds,
    ) -> Result<MadeToken, Failure> {
        let parts = self.parts();
        let lifetime = token.lifetime.or(token.client.access_token_lifetime).unwrap_or(parts.lifetimes.access_token);
        let ends = now.saturating_add(lifetime).min(token.not_after);
        let random = handle::public_id()?;
        let id = token.grant.map_or_else(|| random.clone(), |grant| format!("{}.{random}", grant.as_str()));
        let claims = token.claims(self, &id, now, ends);
        let text = match token.client.access_token {
            AccessTokenFormat::Jwt => {
                Secret::from(parts.keys.sign(self.algorithm(token.client), ACCESS_TYPE, &claims)?)
            }
            AccessTokenFormat::Reference => {
                let text = handle::secret_text()?;
                let record = ReferenceRecord {
                    token: HandleHash::of(Purpose::Reference, handle::text(&text)),
                    grant: token.grant.cloned(),
                    client_id: token.client.id().to_owned(),
                    claims: Claims(claims),
                    expires_at: ends,
                };
                parts.store.put_reference(&record, now).await?;
                text
            }
        };
        Ok(MadeToken { token: text, id, expires_at: ends })
    }

    /// Makes an ID token ([OpenID Connect Core §2](https://openid.net/specs/openid-connect-core-1_0.html#IDToken)).
    pub(crate) fn make_id_token(
        &self,
        client: &Client,
        grant: &Grant,
        nonce: Option<&str>,
        access_token: &str,
        user: Option<&UserClaims>,
        now: UnixSeconds,
    ) -> Result<String, Failure> {
        let algorithm = self.algorithm(client);
        let lifetime = self.parts().lifetimes.id_token;
        let Authentication { time, context, methods } = &grant.authentication;
        let mut claims = user.map(|user| user.visible(&grant.scope)).unwrap_or_default();
        let mut set = |name: &str, value: Option<Value>| match value {
            Some(value) => drop(claims.insert(name.to_owned(), value)),
            None => drop(claims.remove(name)),
        };
        set("iss", Some(self.issuer().into()));
        set("sub", Some(grant.subject.clone().into()));
        set("aud", Some(client.id().into()));
        set("azp", Some(client.id().into()));
        set("iat", Some(now.as_secs().into()));
        set("exp", Some(now.saturating_add(lifetime).as_secs().into()));
        set("auth_time", Some(time.as_secs().into()));
        set("nonce", nonce.map(Into::into));
        set("acr", context.clone().map(Into::into));
        set("amr", (!methods.is_empty()).then(|| methods.clone().into()));
        set("sid", grant.sid.clone().map(Into::into));
        set("at_hash", Some(left_half(algorithm, access_token).into()));
        self.parts().keys.sign(algorithm, ID_TYPE, &claims)
    }

    /// Asks whether a user may still have tokens of a login at `authenticated_at`. `None`: no.
    pub(crate) async fn user(
        &self,
        subject: &str,
        authenticated_at: UnixSeconds,
        now: UnixSeconds,
    ) -> Result<Option<UserClaims>, Failure> {
        let user = match &self.parts().users {
            Some(users) => users.user(subject, now).await?,
            None => Some(UserClaims::new()),
        };
        Ok(user.filter(|user| user.counts_login_at(authenticated_at)))
    }
}

/// Hashes an access token for its ID token: the left half of the hash of the algorithm (OpenID Connect Core §3.1.3.6).
fn left_half(algorithm: Algorithm, token: &str) -> String {
    let name = algorithm.name();
    let digest = match algorithm {
        // RFC 8032 §5.1: Ed25519 hashes with SHA-512.
        Algorithm::Ed25519 => &aws_lc_rs::digest::SHA512,
        _ if name.ends_with("384") => &aws_lc_rs::digest::SHA384,
        _ if name.ends_with("512") => &aws_lc_rs::digest::SHA512,
        _ => &aws_lc_rs::digest::SHA256,
    };
    let hash = aws_lc_rs::digest::digest(digest, token.as_bytes());
    let half = hash.as_ref().len() / 2;
    handle::encode(hash.as_ref().get(..half).unwrap_or_default())
}

fn one_or_many(mut audience: Vec<String>) -> Value {
    match audience.len() {
        1 => audience.pop().unwrap_or_default().into(),
        _ => audience.into(),
    }
}

/// Says that a setting of ours is wrong.
pub(crate) const fn misconfigured(context: &'static str) -> Failure {
    Failure::new(FailureKind::Misconfigured, context)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn at_hash_is_the_example_of_the_standard() {
        // OpenID Connect Core, appendix A.3.
        let token = "jHkWEdUXMU1BwAsC4vtUsZwnNvTIxEl0z9K3vx5KF0Y";
        assert_eq!(left_half(Algorithm::Rs256, token), "77QmUPtjPfzWtF2AnpK9RQ");
        assert_eq!(left_half(Algorithm::Ed25519, token).len(), 43);
        assert_eq!(left_half(Algorithm::Es384, token).len(), 32);
    }
}
