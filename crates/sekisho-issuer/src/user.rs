use std::fmt;

use async_trait::async_trait;
use sekisho_core::{Failure, UnixSeconds};
use serde_json::{Map, Value};

use crate::ScopeSet;

/// Knows what is to be said about a user, and whether there still is such a user.
///
/// It is asked whenever a token is about to be made for a user, at each refresh too, and by the userinfo endpoint.
#[async_trait]
pub trait UserDirectory: Send + Sync + fmt::Debug {
    /// Returns the claims about `subject`; `None` when the user is gone or barred, who then gets no token any more.
    ///
    /// # Errors
    /// [`Failure`] when it cannot be told. No token is made then.
    async fn user(&self, subject: &str, now: UnixSeconds) -> Result<Option<UserClaims>, Failure>;
}

/// Holds claims about one user.
///
/// `Debug` shows the number of claims only, for they are personal data.
///
/// # Examples
/// ```
/// use sekisho_issuer::UserClaims;
/// let alice = UserClaims::new()
///     .with_claim("name", "Alice") // in ID tokens and userinfo, if the scope `profile` is granted
///     .with_access_claim("roles", vec!["clerk"]); // in access tokens
/// # let _ = alice;
/// ```
#[derive(Clone, Default)]
#[must_use]
pub struct UserClaims {
    claims: Map<String, Value>,
    access: Map<String, Value>,
    logins_ended_at: Option<UnixSeconds>,
}

impl UserClaims {
    /// Starts without any claim.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a claim for ID tokens and userinfo.
    ///
    /// The scopes of [OpenID Connect Core §5.4](https://openid.net/specs/openid-connect-core-1_0.html#ScopeClaims) say who sees the claims
    /// that stand there; any other claim is seen by every client with the scope `openid`.
    pub fn with_claim(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.claims.insert(name.to_owned(), value.into());
        self
    }

    /// Adds a claim for access tokens, such as `roles` or `groups` ([RFC 9068 §2.2.3.1](https://www.rfc-editor.org/rfc/rfc9068#section-2.2.3.1)).
    ///
    /// A claim that the issuer itself writes cannot be replaced.
    pub fn with_access_claim(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.access.insert(name.to_owned(), value.into());
        self
    }

    /// Says that a login from `instant` or before is worth nothing any more, such as one from before the password changed: sessions,
    /// grants and tokens of it are good for no new token. Default: all that the store has are good.
    pub const fn with_logins_ended_at(mut self, instant: UnixSeconds) -> Self {
        self.logins_ended_at = Some(instant);
        self
    }

    pub(crate) fn counts_login_at(&self, at: UnixSeconds) -> bool {
        self.logins_ended_at.is_none_or(|ended_at| at > ended_at)
    }

    /// Lists what a client with these scopes may see.
    pub(crate) fn visible(&self, scope: &ScopeSet) -> Map<String, Value> {
        let seen = |name: &str| scope_of(name).is_none_or(|wanted| scope.contains(wanted));
        self.claims.iter().filter(|(name, _)| seen(name)).map(|(name, value)| (name.clone(), value.clone())).collect()
    }

    pub(crate) const fn access(&self) -> &Map<String, Value> {
        &self.access
    }
}

impl fmt::Debug for UserClaims {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "UserClaims({} claims)", self.claims.len() + self.access.len())
    }
}

/// Tells which scope opens a claim (OpenID Connect Core §5.4).
fn scope_of(claim: &str) -> Option<&'static str> {
    Some(match claim {
        "name" | "family_name" | "given_name" | "middle_name" | "nickname" | "preferred_username" | "profile"
        | "picture" | "website" | "gender" | "birthdate" | "zoneinfo" | "locale" | "updated_at" => "profile",
        "email" | "email_verified" => "email",
        "address" => "address",
        "phone_number" | "phone_number_verified" => "phone",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_only_what_the_scopes_open() {
        let user = UserClaims::new().with_claim("name", "A").with_claim("email", "a@b").with_claim("tier", 1);
        let names = |scope: &str| {
            let scope = ScopeSet::parse(scope).unwrap();
            user.visible(&scope).keys().cloned().collect::<Vec<_>>().join(" ")
        };
        assert_eq!(names("openid"), "tier");
        assert_eq!(names("openid email"), "email tier");
        assert_eq!(names("openid profile"), "name tier");
        assert_eq!(format!("{user:?}"), "UserClaims(3 claims)");
    }
}
