use std::fmt;

use async_trait::async_trait;
use sekisho_core::{Failure, FailureKind, Refusal, Secret, UnixSeconds};
use zeroize::Zeroizing;

use crate::provider::{
    Callback, LoggedIn, LoginError, LoginRequest, LoginStart, LogoutNotice, PendingLogin, Provider, UserInfo,
    UserInfoError,
};
use crate::tokens::{TokenError, TokenSet};

/// Is what the session's side needs of a [`Provider`], so that its rules can be tested without one.
#[async_trait]
pub(crate) trait Protocol: Send + Sync + fmt::Debug {
    fn issuer(&self) -> &str;

    /// Returns the address of ours to which it sends the browser back.
    fn redirect_uri(&self) -> String;

    async fn start(&self, request: &LoginRequest, now: UnixSeconds) -> Result<Started, Failure>;

    async fn finish(&self, pending: &[u8], query: &str, now: UnixSeconds) -> Result<LoggedIn, LoginError>;

    async fn refresh(&self, tokens: &TokenSet, subject: &str, now: UnixSeconds) -> Result<TokenSet, TokenError>;

    async fn user_info(&self, tokens: &TokenSet, subject: &str, now: UnixSeconds) -> Result<UserInfo, UserInfoError>;

    async fn revoke(&self, refresh_token: &Secret, now: UnixSeconds) -> Result<(), TokenError>;

    async fn logout_url(
        &self,
        id_token: Option<&Secret>,
        return_to: Option<&str>,
        now: UnixSeconds,
    ) -> Result<Option<String>, Failure>;

    async fn logout_notice(&self, logout_token: &str, now: UnixSeconds) -> Result<Notice, Refusal>;

    /// Takes the same logout token once more, for what it asks for could not be done.
    fn logout_undone(&self, notice: &Notice, now: UnixSeconds);
}

/// Is the beginning of a login.
pub(crate) struct Started {
    pub(crate) url: String,
    pub(crate) state: String,
    pub(crate) pending: Zeroizing<Vec<u8>>,
}

/// Is what a logout token says: of this one session at the provider, or of all of this subject's.
pub(crate) struct Notice {
    pub(crate) sid: Option<Box<str>>,
    pub(crate) subject: Option<Box<str>>,
    /// When the provider said so, by its clock.
    pub(crate) issued_at: UnixSeconds,
    /// What the provider's side made of it.
    pub(crate) proved: Option<LogoutNotice>,
}

#[async_trait]
impl Protocol for Provider {
    fn issuer(&self) -> &str {
        Self::issuer(self)
    }

    fn redirect_uri(&self) -> String {
        Self::redirect_uri(self).to_owned()
    }

    async fn start(&self, request: &LoginRequest, now: UnixSeconds) -> Result<Started, Failure> {
        let LoginStart { url, pending } = Self::start(self, request, now).await?;
        Ok(Started { url, state: pending.state().to_owned(), pending: pending.to_bytes() })
    }

    async fn finish(&self, pending: &[u8], query: &str, now: UnixSeconds) -> Result<LoggedIn, LoginError> {
        // It was sealed by us; so it is of another version of this program.
        let unreadable = Failure::new(FailureKind::Misconfigured, "a pending login cannot be read");
        let pending = PendingLogin::from_bytes(pending).ok_or(unreadable)?;
        Self::finish(self, pending, &Callback::from_query(query), now).await
    }

    async fn refresh(&self, tokens: &TokenSet, subject: &str, now: UnixSeconds) -> Result<TokenSet, TokenError> {
        Self::refresh(self, tokens, subject, now).await
    }

    async fn user_info(&self, tokens: &TokenSet, subject: &str, now: UnixSeconds) -> Result<UserInfo, UserInfoError> {
        Self::user_info(self, tokens, subject, now).await
    }

    async fn revoke(&self, refresh_token: &Secret, now: UnixSeconds) -> Result<(), TokenError> {
        Self::revoke(self, refresh_token, now).await
    }

    async fn logout_url(
        &self,
        id_token: Option<&Secret>,
        return_to: Option<&str>,
        now: UnixSeconds,
    ) -> Result<Option<String>, Failure> {
        Self::logout_url(self, id_token, return_to, None, now).await
    }

    async fn logout_notice(&self, logout_token: &str, now: UnixSeconds) -> Result<Notice, Refusal> {
        let notice = Self::logout_notice(self, logout_token, now).await?;
        let (sid, subject) = (notice.sid.clone(), notice.subject.clone());
        Ok(Notice { sid, subject, issued_at: notice.issued_at, proved: Some(notice) })
    }

    fn logout_undone(&self, notice: &Notice, now: UnixSeconds) {
        if let Some(proved) = &notice.proved {
            Self::logout_undone(self, proved, now);
        }
    }
}
