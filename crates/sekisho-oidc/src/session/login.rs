use sekisho_core::{Failure, FailureKind, UnixSeconds};
use sekisho_http::{Answer, RequestHead};
use sekisho_session::{Login, RequestSession, ReturnTo};

use crate::provider::{Callback, LoggedIn, LoginError, LoginRequest};
use crate::session::party::RelyingParty;
use crate::session::pending::{Note, Pending};
use crate::session::protocol::Started;
use crate::session::record::{Held, Member};
use crate::session::reply::Reply;

impl RelyingParty {
    /// Sends the browser to a provider to log in, and keeps what must be known when it comes back in a cookie of this login:
    /// `__Host-login-…`, sealed, `SameSite=Lax`, for ten minutes; seven of them at the most, and 8 KiB, the oldest go.
    ///
    /// - `provider`: its name; `None` for the first.
    /// - `return_to`: where to go on to, read by [`ReturnTo`]; `None` for home.
    /// - `request`: what to ask the provider for; [`LoginRequest::silent`] to ask the user nothing, `acr_values` and `max_age` to
    ///   step up.
    ///
    /// Answers 303; 400 for a provider that is not configured and for a place that leads elsewhere; 502 or 503 when the
    /// provider's metadata cannot be had.
    pub async fn login(
        &self,
        head: &impl RequestHead,
        provider: Option<&str>,
        return_to: Option<&str>,
        request: &LoginRequest,
    ) -> Reply {
        let Some((name, provider)) = self.chosen(provider) else {
            return refuse(head, 400, "Bad Request", "There is no such identity provider.");
        };
        let return_to = match return_to {
            None => Some(self.home().clone()),
            Some(place) => ReturnTo::parse(place),
        };
        let Some(return_to) = return_to else {
            return refuse(head, 400, "Bad Request", "The place to go on to is not of this service.");
        };
        let now = self.now();
        let Started { url, state, pending } = match provider.start(request, now).await {
            Ok(started) => started,
            Err(failure) => return broken(head, &failure),
        };
        let note = Note::new(name, &return_to, request.is_silent(), now);
        match self.pending().keep(head, &state, &Pending { note, login: pending }, now) {
            Ok(cookies) => Reply::redirect(url).with_cookies(cookies),
            Err(failure) => broken(head, &failure),
        }
    }

    /// Takes the browser's return from a provider: finishes the login that this browser began, logs in under a new session id, keeps
    /// the tokens in the session, and goes on to where the login wanted to. `query` is the request's, without its `?`.
    ///
    /// The last part of the request's path must be that of the redirect URI that the provider was told. So of several providers none can
    /// pass another one's code off as its own ([RFC 9700 §4.4.2](https://www.rfc-editor.org/rfc/rfc9700#section-4.4.2)), if each has an
    /// address whose last part is its own; `iss` in the return does as much where providers send it.
    ///
    /// The session is written before the answer is made. Whoever was logged in as somebody else is logged out by it, data and all.
    /// What a silent login cannot do leaves everything as it was and goes on as well.
    ///
    /// Answers 303, or 200 with a page that goes on where the session's cookie is `SameSite=Strict`; 400 for a return that does not
    /// belong to a login of this browser, or comes a second time; 403 when user or provider said no, or the login is weaker than
    /// what was asked for; 500, 502 or 503 when our side, the provider or the store broke. The login's cookie is taken away in any case.
    pub async fn callback(&self, head: &impl RequestHead, query: &str, session: &RequestSession) -> Reply {
        let state = Callback::from_query(query).state();
        let found = state.and_then(|state| {
            let pending = self.pending().find(head, &state, self.now())?;
            Some((state, pending))
        });
        // INVARIANT: what this browser did not begin is never finished in it, or somebody could log it in as themselves.
        let Some((state, Pending { note, login })) = found else {
            tracing::info!(target: "sekisho", "a return from a provider belongs to no login of this browser");
            return foreign(head);
        };
        let reply = self.finish(head, query, session, &note, &login).await;
        reply.with_cookies(self.pending().removal(head, &state))
    }

    async fn finish(
        &self,
        head: &impl RequestHead,
        query: &str,
        session: &RequestSession,
        note: &Note,
        login: &[u8],
    ) -> Reply {
        let (Some(provider), Some(return_to)) = (self.provider(&note.provider), note.return_to()) else {
            return foreign(head);
        };
        // RFC 9700 §4.4.2: a provider that had another one send its code here is noticed, if it does not come to its own address.
        // Proxies in front may change how the path begins.
        if last_part(url::Url::parse(&provider.redirect_uri()).as_ref().map_or("", url::Url::path))
            != last_part(head.whole_path())
        {
            tracing::warn!(target: "sekisho", provider = &*note.provider, "a return came to another provider's address");
            return foreign(head);
        }
        let began = self.now();
        match provider.finish(login, query, began).await {
            Ok(logged_in) => match self.establish(head, session, note, logged_in, began).await {
                Ok(()) => self.go_on(&return_to),
                Err(reply) => reply,
            },
            Err(LoginError::InteractionRequired) if note.is_silent => self.go_on(&return_to),
            Err(error) => refused(head, &error),
        }
    }

    /// Writes the session of a login.
    async fn establish(
        &self,
        head: &impl RequestHead,
        session: &RequestSession,
        note: &Note,
        logged_in: LoggedIn,
        began: UnixSeconds,
    ) -> Result<(), Reply> {
        let LoggedIn { principal, tokens } = logged_in;
        let held = Held::of(&note.provider, &tokens, self.now()).map_err(|failure| broken(head, &failure))?;
        let member = session.session::<Member>(None).await;
        let mut member = member.map_err(|refusal| Reply::of(&RequestSession::answer(&refusal)))?;
        let device = head.header("user-agent").next().map(String::from_utf8_lossy);
        let login = Login::new(&principal);
        session.log_in(device.iter().fold(login, |login, device| login.with_device(device)));
        member.update(move |member| member.held = Some(held.clone()));
        session.flush().await.map_err(|failure| broken(head, &failure))?;
        // INVARIANT: looked at once the session is there. A logout at the provider that came before it found nobody to end.
        let issued_at =
            principal.claims().get("iat").and_then(|iat| iat.as_numeric_date()).map_or(began, UnixSeconds::new);
        let reply = match self.sessions().was_ended_by_provider(&principal, issued_at).await {
            Ok(false) => return Ok(()),
            Ok(true) => {
                tracing::info!(target: "sekisho", "the provider has ended a login before it was finished");
                foreign(head)
            }
            Err(failure) => broken(head, &failure),
        };
        session.log_out();
        session.flush().await.map_err(|failure| broken(head, &failure))?;
        Err(reply)
    }

    fn go_on(&self, place: &ReturnTo) -> Reply {
        if self.sessions().cookie().is_strict() {
            return Reply::page_to(place.as_str());
        }
        Reply::redirect(place.as_str())
    }

    /// Begins a login that somebody else asked for ([OIDC Core §4](https://openid.net/specs/openid-connect-core-1_0.html#ThirdPartyInitiatedLogin)):
    /// `iss` must be a configured issuer, character by character, and `target_link_uri` a place of ours.
    ///
    /// Answers as [`login`](Self::login) does.
    pub async fn login_by_third_party(
        &self,
        head: &impl RequestHead,
        issuer: &str,
        target_link_uri: Option<&str>,
        login_hint: Option<&str>,
    ) -> Reply {
        let Some((name, _)) = self.providers().find(|(_, provider)| provider.issuer() == issuer) else {
            return refuse(head, 400, "Bad Request", "There is no such identity provider.");
        };
        let place = target_link_uri.map(|target| match self.origin() {
            Some(origin) => match target.strip_prefix(origin) {
                Some("") => "/",
                Some(place) => place,
                None => target,
            },
            None => target,
        });
        let request = login_hint.into_iter().fold(LoginRequest::new(), LoginRequest::with_login_hint);
        self.login(head, Some(name), place, &request).await
    }
}

fn last_part(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or_default()
}

fn refused(head: &impl RequestHead, error: &LoginError) -> Reply {
    tracing::info!(target: "sekisho", %error, "a login did not succeed");
    match error {
        LoginError::Foreign | LoginError::Code => foreign(head),
        LoginError::Denied => refuse(head, 403, "Forbidden", "The login was denied at the identity provider."),
        LoginError::TooWeak => refuse(head, 403, "Forbidden", "The login is weaker or older than what this needs."),
        LoginError::Failure(failure) => broken(head, failure),
        LoginError::InteractionRequired | LoginError::Refused(_) | LoginError::IdToken(_) => {
            broken(head, &Failure::new(FailureKind::BadGateway, "the provider gave no login"))
        }
    }
}

fn foreign(head: &impl RequestHead) -> Reply {
    refuse(
        head,
        400,
        "Bad Request",
        "This login was not begun here, has taken too long, or is finished already. Please start again.",
    )
}

/// Answers that our side or the provider's broke, to a browser as a page.
pub(crate) fn broken(head: &impl RequestHead, failure: &Failure) -> Reply {
    let answer = Answer::of_failure(failure);
    let reply = refuse(
        head,
        answer.status(),
        answer.title(),
        "That did not work, and not for what you did. Please try again later.",
    );
    let retry = answer.headers().find(|(name, _)| *name == "retry-after");
    retry.into_iter().fold(reply, |reply, (name, value)| reply.with(name, String::from_utf8_lossy(&value)))
}

pub(crate) fn refuse(head: &impl RequestHead, status: u16, title: &str, text: &str) -> Reply {
    Reply::refusal(head, status, title, text)
}
