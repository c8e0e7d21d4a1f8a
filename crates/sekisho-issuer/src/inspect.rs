//! What is a token worth now?

use std::fmt;
use std::time::Duration;

use sekisho_core::{Failure, UnixSeconds};
use serde_json::{Map, Value};

use crate::handle::{HandleHash, Purpose};
use crate::tokens::ACCESS_TYPE;
use crate::{AccessTokenFormat, AuthorizationServer, GrantId, Revocation, ScopeSet};

/// How long an access token can live at most.
pub(crate) const LONGEST_LIFE: Duration = Duration::from_secs(86_400);

/// Is an access token that is good now.
pub(crate) struct Active {
    pub(crate) claims: Map<String, Value>,
    pub(crate) grant: Option<GrantId>,
    pub(crate) expires_at: UnixSeconds,
    /// Whether the token is the JWT itself.
    pub(crate) is_jwt: bool,
}

impl Active {
    /// When the user logged in; of tokens that know of no login, when they were issued.
    pub(crate) fn login_at(&self) -> UnixSeconds {
        let claims = ["auth_time", "iat"].into_iter().filter_map(|name| self.claims.get(name)?.as_u64());
        UnixSeconds::new(claims.into_iter().next().unwrap_or_default())
    }

    fn new(claims: Map<String, Value>, is_jwt: bool) -> Option<Self> {
        let expires_at = UnixSeconds::new(claims.get("exp")?.as_u64()?);
        let grant = match claims.get("jti")?.as_str()?.split_once('.') {
            Some((grant, _)) => Some(GrantId::parse(grant)?),
            None => None,
        };
        Some(Self { claims, grant, expires_at, is_jwt })
    }

    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.claims.get(name)?.as_str()
    }

    pub(crate) fn audience(&self) -> impl Iterator<Item = &str> {
        let audience = self.claims.get("aud");
        let one = audience.and_then(Value::as_str);
        let many = audience.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
        one.into_iter().chain(many)
    }

    pub(crate) fn scope(&self) -> ScopeSet {
        self.text("scope").and_then(ScopeSet::parse).unwrap_or_default()
    }
}

/// Is what [`AuthorizationServer::inspect`] says about a good access token. `Debug` shows the number of claims.
pub struct ActiveToken(Map<String, Value>);

impl ActiveToken {
    /// Returns the claims, as they stand in a JWT.
    #[must_use]
    pub const fn claims(&self) -> &Map<String, Value> {
        &self.0
    }
}

impl fmt::Debug for ActiveToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ActiveToken({} claims)", self.0.len())
    }
}

impl AuthorizationServer {
    /// Tells what an access token of this issuer is worth: its claims, or `None` when it is not ours, ended, or revoked.
    ///
    /// # Errors
    /// [`Failure`] when it cannot be told.
    pub async fn inspect(&self, token: &str, now: UnixSeconds) -> Result<Option<ActiveToken>, Failure> {
        Ok(self.active(token, now).await?.map(|active| ActiveToken(active.claims)))
    }

    /// Revokes an access token of this issuer, JWT or reference. What is none any more is no error.
    ///
    /// # Errors
    /// [`Failure`] when it is not certain.
    pub async fn revoke(&self, token: &str, now: UnixSeconds) -> Result<(), Failure> {
        match self.active(token, now).await? {
            Some(active) => self.revoke_active(token, &active, now).await,
            None => Ok(()),
        }
    }

    /// Logs a user out everywhere and revokes all that clients may do for them: after a password was changed or an account barred.
    ///
    /// JWT access tokens that are out stay good until they end, except where introspection or a [`RevocationListener`](crate::RevocationListener)
    /// is asked. Logins, and tokens that are [issued](Self::issue) by hand, are revoked if they began in this second or before: who logs in
    /// again within the same second has to do so once more.
    ///
    /// # Errors
    /// [`Failure`] when it is not certain; call again.
    pub async fn revoke_subject(&self, subject: &str, now: UnixSeconds) -> Result<(), Failure> {
        let store = &self.parts().store;
        let lifetimes = &self.parts().lifetimes;
        let until =
            now.saturating_add(lifetimes.session).saturating_add(lifetimes.refresh).saturating_add(LONGEST_LIFE);
        // First: a login that is under way at the same time looks for it after it has kept its session.
        store.withdraw_subject(subject, now, until, now).await?;
        store.end_subject_sessions(subject).await?;
        // After the sessions: a grant that begins at the same time looks for its session afterwards.
        store.revoke_subject_grants(subject, now).await?;
        self.tell(Revocation::Subject(subject.to_owned()), now).await
    }

    pub(crate) async fn active(&self, token: &str, now: UnixSeconds) -> Result<Option<Active>, Failure> {
        let parts = self.parts();
        let is_jwt = token.contains('.');
        let claims = if is_jwt {
            let claims = parts.keys.read_own(token, ACCESS_TYPE, now);
            claims.and_then(|claims| serde_json::from_str(claims.as_str()).ok())
        } else {
            let record = parts.store.reference(&HandleHash::of(Purpose::Reference, token), now).await?;
            record.map(|record| record.claims.0)
        };
        let Some(active) = claims.and_then(|claims| Active::new(claims, is_jwt)) else { return Ok(None) };
        if active.text("iss") != Some(self.issuer()) || now >= active.expires_at {
            return Ok(None);
        }
        let id = active.text("jti").unwrap_or_default();
        if parts.store.counted(&HandleHash::of(Purpose::RevokedToken, id), now).await? > 0 {
            return Ok(None);
        }
        let stands = match &active.grant {
            Some(grant) => parts.store.grant(grant, now).await?.is_some(),
            None => {
                let issued_at = active.claims.get("iat").and_then(Value::as_u64).unwrap_or_default();
                self.stands(active.text("sub").unwrap_or_default(), UnixSeconds::new(issued_at), now).await?
            }
        };
        Ok(Some(active).filter(|_| stands))
    }

    /// Tells whether what a user got at `since` has not been revoked with all else.
    pub(crate) async fn stands(&self, subject: &str, since: UnixSeconds, now: UnixSeconds) -> Result<bool, Failure> {
        let up_to = self.parts().store.withdrawn_up_to(subject, now).await?;
        Ok(up_to.is_none_or(|up_to| since > up_to))
    }

    pub(crate) async fn revoke_active(&self, token: &str, active: &Active, now: UnixSeconds) -> Result<(), Failure> {
        let store = &self.parts().store;
        let id = active.text("jti").unwrap_or_default();
        // A reference token and the JWTs that were handed out for it have one `jti`: whichever is revoked, all are.
        let expires_at = if active.is_jwt && self.stands_for_reference(active).await? {
            active.expires_at.max(now.saturating_add(LONGEST_LIFE))
        } else {
            active.expires_at
        };
        // First: once the store has it the token is not active, and a second request would tell nobody.
        self.tell(Revocation::Token { id: id.to_owned(), expires_at }, now).await?;
        store.count(&HandleHash::of(Purpose::RevokedToken, id), expires_at, now).await?;
        if active.is_jwt {
            return Ok(());
        }
        store.revoke_reference(&HandleHash::of(Purpose::Reference, token)).await
    }

    /// Tells whether a JWT was, or may have been, handed out for a reference token, which may live longer.
    async fn stands_for_reference(&self, jwt: &Active) -> Result<bool, Failure> {
        let client = self.parts().clients.client(jwt.text("client_id").unwrap_or_default()).await?;
        Ok(client.is_none_or(|client| client.access_token == AccessTokenFormat::Reference))
    }

    pub(crate) async fn revoke_grant(&self, grant: &GrantId, now: UnixSeconds) -> Result<(), Failure> {
        self.parts().store.revoke_grant(grant, now).await?;
        self.tell(Revocation::Grant(grant.clone()), now).await
    }

    pub(crate) async fn tell(&self, revocation: Revocation, now: UnixSeconds) -> Result<(), Failure> {
        match &self.parts().listener {
            Some(listener) => listener.revoked(&revocation, now).await,
            None => Ok(()),
        }
    }
}
