use base64_simd::URL_SAFE_NO_PAD;
use sekisho_core::json::JsonObject;
use sekisho_core::{Failure, Refusal, SubjectId};
use sekisho_session::{ProviderLogout, RequestSession};
use serde_json::json;

use crate::session::access::held;
use crate::session::form::Form;
use crate::session::party::RelyingParty;
use crate::session::protocol::Notice;
use crate::session::refresh::revoke;
use crate::session::reply::Reply;
use crate::session::to_the_end;

/// Says how far a logout goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LogoutScope {
    /// This session, and what else came of the same session at the provider (`sid`): of other tabs that logged in at the same moment, in
    /// other services that share the store.
    Here,
    /// All sessions of the subject, in all services that share the store.
    Everywhere,
}

/// Says by what the provider is told whose logout it is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hint {
    IdToken,
    /// By nothing: it may ask the user.
    Nothing,
}

impl RelyingParty {
    /// Ends the session, then withdraws its refresh token at the provider as far as that can be done in 3 s, and returns where to send
    /// the browser so that it ends the session there too ([RP-Initiated
    /// Logout](https://openid.net/specs/openid-connect-rpinitiated-1_0.html)): the provider's address, else the one to return to, else home.
    ///
    /// The request must have been checked for [forgery](sekisho_http::CsrfRules) before. Whatever becomes of the provider, the
    /// session has ended when this returns, and ends though the future is dropped before. The address tells the provider whose logout it
    /// is by the ID token: it is for the browser to be sent to, not for scripts to be told.
    ///
    /// # Errors
    /// [`Failure`] when the store broke: the session may be alive still.
    pub async fn logout(&self, session: &RequestSession, scope: LogoutScope) -> Result<String, Failure> {
        self.log_out(session, scope, Hint::IdToken).await
    }

    pub(crate) async fn log_out(
        &self,
        session: &RequestSession,
        scope: LogoutScope,
        hint: Hint,
    ) -> Result<String, Failure> {
        let (party, session) = (self.clone(), session.clone());
        to_the_end(async move { party.end_here_and_there(&session, scope, hint).await }).await?
    }

    async fn end_here_and_there(
        &self,
        session: &RequestSession,
        scope: LogoutScope,
        hint: Hint,
    ) -> Result<String, Failure> {
        // What cannot be read is no reason to stay logged in.
        let held = match held(session).await {
            Ok(held) => held,
            Err(failure) if failure.kind() == sekisho_core::FailureKind::Misconfigured => None,
            Err(failure) => return Err(failure),
        };
        let who = session.principal().ok().flatten();
        match (scope, &who) {
            (LogoutScope::Everywhere, Some(who)) => {
                self.sessions().end_all(&who.id()).await?;
            }
            // The provider is about to end its session, so all that came of that is over.
            (LogoutScope::Here, Some(who)) if held.is_some() => {
                if let Some(sid) = who.session_id() {
                    self.sessions().end_provider_session(who.issuer(), &sid).await?;
                }
            }
            (_, _) => {}
        }
        session.log_out();
        session.flush().await?;
        let after = || self.post_logout().unwrap_or_else(|| self.home().as_str()).to_owned();
        let Some(held) = held else { return Ok(after()) };
        let provider = who.as_ref().and_then(|who| self.provider_of(&held, who.issuer()));
        let Some(provider) = provider else { return Ok(after()) };
        if let Some(token) = held.refresh_token() {
            revoke(&**provider, &token, self.now()).await;
        }
        let id_token = held.id_token().filter(|_| hint == Hint::IdToken);
        match provider.logout_url(id_token.as_ref(), self.post_logout(), self.now()).await {
            Ok(Some(url)) => Ok(url),
            Ok(None) => Ok(after()),
            Err(failure) => {
                tracing::warn!(target: "sekisho", %failure, "a session was ended here, and not at the provider");
                Ok(after())
            }
        }
    }

    /// Ends all sessions of a subject, in all services that share the store. Returns how many ids were alive.
    ///
    /// # Errors
    /// [`Failure`] when the store broke: some may be alive still.
    pub async fn end_everywhere(&self, subject: &SubjectId) -> Result<u64, Failure> {
        self.sessions().end_all(subject).await
    }

    /// Takes a provider's word that a session has ended there ([Back-Channel
    /// Logout](https://openid.net/specs/openid-connect-backchannel-1_0.html)): `form` is the body of its `POST`.
    ///
    /// Ends what came of the session at the provider (`sid`), or all of the subject (`sub`), and what comes of a login that is being
    /// finished at this moment. Answers 200; 400 with the code
    /// `invalid_request` for a token that is not good; 500, 502 or 503 when our side broke, and then the provider may send the same
    /// token again.
    pub async fn backchannel_logout(&self, form: &[u8]) -> Reply {
        let (party, form) = (self.clone(), form.to_vec());
        // The token is used up at once. A provider that hangs up then, and sends it again, would be refused.
        let followed = to_the_end(async move { party.follow(&form).await }).await;
        followed.unwrap_or_else(|failure| Reply::of(&sekisho_http::Answer::of_failure(&failure)))
    }

    async fn follow(&self, form: &[u8]) -> Reply {
        let parsed = Form::parse(form);
        let token = parsed.as_ref().and_then(|form| form.one("logout_token").ok().flatten());
        let provider = token.and_then(|token| {
            let issuer = issuer_of(token)?;
            self.providers().find(|(_, provider)| provider.issuer() == issuer)
        });
        let (Some(token), Some((_, provider))) = (token, provider) else {
            tracing::info!(target: "sekisho", "a logout token is missing, or of no provider that is configured");
            return refused();
        };
        let notice = match provider.logout_notice(token, self.now()).await {
            Ok(notice) => notice,
            Err(Refusal::Reject(reject)) => {
                tracing::info!(target: "sekisho", reason = reject.code(), "a logout token is refused");
                return refused();
            }
            Err(Refusal::Failure(failure)) => return Reply::of(&sekisho_http::Answer::of_failure(&failure)),
        };
        match self.end(provider.issuer(), &notice).await {
            Ok(ended) => {
                tracing::info!(target: "sekisho", issuer = provider.issuer(), ended, "logged out by the provider");
                Reply::empty(200)
            }
            Err(failure) => {
                // INVARIANT: a token counts as used when what it asks for is done.
                provider.logout_undone(&notice, self.now());
                Reply::of(&sekisho_http::Answer::of_failure(&failure))
            }
        }
    }

    async fn end(&self, issuer: &str, notice: &Notice) -> Result<u64, Failure> {
        let subject = notice.subject.as_ref().map(|subject| SubjectId::new(issuer, &**subject));
        let what = match (&notice.sid, &subject) {
            (Some(sid), _) => ProviderLogout::Session { issuer, sid },
            (None, Some(subject)) => ProviderLogout::Subject(subject),
            (None, None) => return Ok(0),
        };
        self.sessions().end_by_provider(&what, notice.issued_at).await
    }
}

/// Reads who a token says it is of, to choose among the configured providers; nothing else is read before the signature holds.
fn issuer_of(token: &str) -> Option<String> {
    let payload = token.split('.').nth(1).filter(|_| token.len() <= MAX_TOKEN)?;
    let claims = JsonObject::parse(URL_SAFE_NO_PAD.decode_to_vec(payload).ok()?).ok()?;
    claims.get("iss")?.as_str().map(|issuer| issuer.into_owned())
}

fn refused() -> Reply {
    Reply::json(400, &json!({ "error": "invalid_request" }))
}

const MAX_TOKEN: usize = 8 * 1024;
