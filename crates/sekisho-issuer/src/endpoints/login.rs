//! The forms of the login page.

use axum::extract::{Request, State};
use axum::response::Response;
use http::header::{HeaderValue, RETRY_AFTER};
use sekisho_core::{Failure, Secret, UnixSeconds};

#[cfg(feature = "credentials")]
use super::account;
use super::{authorize, device};
use crate::answer::OAuthError;
use crate::browser::{Browser, Errand, LoginPage, Step, Target};
use crate::form::Form;
use crate::handle::{self, HandleHash, Purpose};
use crate::incoming::Incoming;
use crate::login::{
    AuthenticatedUser, DeviceMark, LoginOutcome, PasskeyAttempt, PasswordAttempt, PendingLogin, SecondFactorAttempt,
};
use crate::pages::{PageContent, Problem, escape};
use crate::store::{Authentication, SsoSession};
use crate::tokens::misconfigured;
use crate::{AuthorizationServer, Message};

use authorize::{AuthorizationRequest, Progress, Unusable};

const LONGEST_USERNAME: usize = 256;
pub(super) const LONGEST_PASSWORD: usize = 1024;
pub(super) const LONGEST_CODE: usize = 64;
const LONGEST_PENDING: usize = 1024;
const LONGEST_TICKET: usize = 1024;
/// How many codes may be typed for one pending login; then the password is asked for again.
const MOST_CODES: u32 = 5;

pub(super) async fn password(State(server): State<AuthorizationServer>, request: Request) -> Response {
    let (incoming, body) = server.receive(request).await;
    let answer = async {
        let form = read(&incoming, body).await?;
        let mut visit = Visit::of(&server, &incoming, &form, Step::Login).await?;
        if !visit.is_ours {
            return visit.ask_password(403, "", Some(Problem::Outdated));
        }
        let username = form.get("username").unwrap_or_default();
        let password = Secret::from(form.get("password").unwrap_or_default());
        let fits =
            !username.is_empty() && username.len() <= LONGEST_USERNAME && !username.chars().any(char::is_control);
        if !fits || password.is_empty() || password.len() > LONGEST_PASSWORD {
            return visit.ask_password(403, "", Some(Problem::Wrong));
        }
        let device = visit.browser.device.clone();
        let attempt = PasswordAttempt {
            username,
            password: &password,
            client_address: incoming.client_address(&server.parts().proxies),
            wanted_contexts: &visit.wanted_contexts,
            device: device.as_ref(),
            is_own_device: visit.is_own_device,
        };
        match server.parts().login.password(attempt, incoming.now).await? {
            LoginOutcome::Authenticated(user) => visit.go_on(user, None).await,
            LoginOutcome::AuthenticatedOnDevice(user, mark) => visit.go_on(user, Some(mark)).await,
            LoginOutcome::SecondFactorNeeded(pending) => visit.ask_code(200, &pending, None),
            LoginOutcome::Refused => visit.ask_password(403, username, Some(Problem::Wrong)),
            LoginOutcome::TryLater(wait) => {
                let seconds = wait.as_secs().max(1);
                Ok(later(visit.ask_password(429, username, Some(Problem::TryLater(seconds)))?, seconds))
            }
        }
    };
    answer.await.unwrap_or_else(|unusable: Unusable| unusable.into_response(&server))
}

/// Takes what a passkey answered. The form is the login's, and the passkey's answer is for this browser.
pub(super) async fn passkey(State(server): State<AuthorizationServer>, request: Request) -> Response {
    let (incoming, body) = server.receive(request).await;
    let answer = async {
        let form = read(&incoming, body).await?;
        let mut visit = Visit::of(&server, &incoming, &form, Step::Login).await?;
        let ticket = form.get("ticket").unwrap_or_default();
        if !visit.is_ours || ticket.len() > LONGEST_TICKET {
            return visit.ask_password(403, "", Some(Problem::Outdated));
        }
        let (secret, device) = (visit.browser.secret(), visit.browser.device.clone());
        let (ticket, response) = (Secret::from(ticket), Secret::from(form.get("response").unwrap_or_default()));
        let attempt = PasskeyAttempt {
            browser: &secret,
            ticket: &ticket,
            response: &response,
            client_address: incoming.client_address(&server.parts().proxies),
            wanted_contexts: &visit.wanted_contexts,
            device: device.as_ref(),
        };
        match server.parts().login.passkey(attempt, incoming.now).await? {
            LoginOutcome::Authenticated(user) | LoginOutcome::AuthenticatedOnDevice(user, _) => {
                visit.go_on(user, None).await
            }
            LoginOutcome::SecondFactorNeeded(pending) => visit.ask_code(200, &pending, None),
            LoginOutcome::Refused => visit.ask_password(403, "", Some(Problem::Passkey)),
            LoginOutcome::TryLater(wait) => {
                let seconds = wait.as_secs().max(1);
                Ok(later(visit.ask_password(429, "", Some(Problem::TryLater(seconds)))?, seconds))
            }
        }
    };
    answer.await.unwrap_or_else(|unusable: Unusable| unusable.into_response(&server))
}

pub(super) async fn second_factor(State(server): State<AuthorizationServer>, request: Request) -> Response {
    let (incoming, body) = server.receive(request).await;
    let answer = async {
        let form = read(&incoming, body).await?;
        let pending = form.get("pending").unwrap_or_default();
        let fits =
            (1..=LONGEST_PENDING).contains(&pending.len()) && pending.bytes().all(|byte| byte.is_ascii_graphic());
        let pending = PendingLogin::new(if fits { pending } else { "" });
        let mut visit = Visit::of(&server, &incoming, &form, Step::SecondFactor(&pending)).await?;
        visit.since = visit.form_from;
        if !visit.is_ours || !fits {
            return visit.ask_password(403, "", Some(Problem::Outdated));
        }
        let code = Secret::from(form.get("code").unwrap_or_default());
        if code.is_empty() || code.len() > LONGEST_CODE {
            return visit.ask_code(403, &pending, Some(Problem::Wrong));
        }
        if !visit.may_try().await? {
            return visit.ask_password(403, "", Some(Problem::Wrong));
        }
        let device = visit.browser.device.clone();
        let attempt = SecondFactorAttempt {
            pending: &pending,
            code: &code,
            client_address: incoming.client_address(&server.parts().proxies),
            wanted_contexts: &visit.wanted_contexts,
            device: device.as_ref(),
            is_own_device: visit.is_own_device,
        };
        let (user, mark) = match server.parts().login.second_factor(attempt, incoming.now).await? {
            LoginOutcome::Authenticated(user) => (user, None),
            LoginOutcome::AuthenticatedOnDevice(user, mark) => (user, Some(mark)),
            LoginOutcome::SecondFactorNeeded(pending) => {
                return visit.ask_code(403, &pending, Some(Problem::Wrong));
            }
            // Whoever holds a pending login that is no more begins again.
            LoginOutcome::Refused => return visit.ask_password(403, "", Some(Problem::Wrong)),
            LoginOutcome::TryLater(wait) => {
                let seconds = wait.as_secs().max(1);
                return Ok(later(visit.ask_code(429, &pending, Some(Problem::TryLater(seconds)))?, seconds));
            }
        };
        if !visit.use_up().await? {
            return visit.ask_password(403, "", Some(Problem::Outdated));
        }
        visit.go_on(user, mark).await
    };
    answer.await.unwrap_or_else(|unusable: Unusable| unusable.into_response(&server))
}

pub(super) async fn read(incoming: &Incoming, body: axum::body::Body) -> Result<Form, Unusable> {
    incoming.form(body).await.map_err(|_| Unusable::Page("The form is not well formed."))
}

pub(super) fn later(mut response: Response, seconds: u64) -> Response {
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    response
}

/// Is one post of a login form.
struct Visit<'a> {
    server: &'a AuthorizationServer,
    incoming: &'a Incoming,
    browser: Browser,
    errand: Errand,
    /// The token of the form, as we would write it.
    token: String,
    is_ours: bool,
    client: Option<String>,
    leads_to: Option<String>,
    wanted_contexts: Vec<String>,
    is_own_device: bool,
    /// When the form was written.
    form_from: UnixSeconds,
    /// When the login began, of which the form is a part.
    since: UnixSeconds,
}

impl<'a> Visit<'a> {
    async fn of(
        server: &'a AuthorizationServer,
        incoming: &'a Incoming,
        form: &Form,
        step: Step<'_>,
    ) -> Result<Self, Unusable> {
        let errand = Errand::from_form(form).filter(|errand| errand.target != Target::Logout);
        let errand = errand.ok_or(Unusable::Page("The form is not one of ours."))?;
        let browser = Browser::of(server, incoming).await?;
        let token = form.get("token").unwrap_or_default();
        let is_ours = incoming.is_same_origin(server.parts().issuer.origin())
            && browser.wrote(server, step, &errand, token, incoming.now);
        let form_from =
            token.split('.').next().and_then(|from| from.parse().ok()).map_or(incoming.now, UnixSeconds::new);
        let own_token = browser.token(server, step, &errand, form_from);
        let (mut client, mut leads_to, mut wanted_contexts) = (None, None, Vec::new());
        if errand.target == Target::Authorize {
            let query = Form::parse(errand.request.as_bytes());
            let query = query.map_err(|_| Unusable::Page("The parameters are not well formed."))?;
            let request = AuthorizationRequest::read(server, &query, incoming.now).await?;
            client = Some(request.client_name().to_owned());
            leads_to = Some(request.redirect_uri().to_owned());
            wanted_contexts = request.wanted_contexts;
        }
        Ok(Self {
            server,
            incoming,
            browser,
            errand,
            token: own_token,
            is_ours,
            client,
            leads_to,
            wanted_contexts,
            is_own_device: server.parts().login.marks_devices() && form.get("own_device") == Some("yes"),
            form_from,
            since: incoming.now,
        })
    }

    /// Counts a code that was typed for a pending login; false when there were too many, or it is used up.
    ///
    /// Only what stands in a form of ours comes here, so nobody fills the store without a right password.
    async fn may_try(&self) -> Result<bool, Failure> {
        let store = &self.server.parts().store;
        if store.counted(&self.key(Purpose::PendingUsed), self.incoming.now).await? > 0 {
            return Ok(false);
        }
        // Counted before the code is checked, so that many at the same time are no way around it.
        let attempts = self.key(Purpose::PendingAttempts);
        Ok(store.count(&attempts, self.remembered_until(), self.incoming.now).await? <= MOST_CODES)
    }

    /// Makes a pending login worth nothing; false when it was so before, because another code was right at the same time.
    async fn use_up(&self) -> Result<bool, Failure> {
        let used = self.key(Purpose::PendingUsed);
        Ok(self.server.parts().store.count(&used, self.remembered_until(), self.incoming.now).await? == 1)
    }

    /// Names a pending login: the token of its forms is the same in each of them, and in no others.
    fn key(&self, purpose: Purpose) -> HandleHash {
        HandleHash::of(purpose, &self.token)
    }

    /// When every form with this pending login has ended.
    fn remembered_until(&self) -> UnixSeconds {
        self.form_from.saturating_add(self.server.parts().lifetimes.form)
    }

    fn ask_password(&mut self, status: u16, username: &str, problem: Option<Problem>) -> Result<Response, Unusable> {
        let page = LoginPage {
            status,
            client: self.client.as_deref(),
            username,
            is_own_device: self.is_own_device,
            problem,
            leads_to: self.leads_to.as_deref(),
        };
        let response = self.server.login_page(&mut self.browser, &self.errand, &page, self.incoming.now)?;
        Ok(self.with_cookies(response))
    }

    fn ask_code(
        &mut self,
        status: u16,
        pending: &PendingLogin,
        problem: Option<Problem>,
    ) -> Result<Response, Unusable> {
        // As of the password, however often the code is typed.
        let step = Step::SecondFactor(pending);
        let mut hidden = self.browser.hidden(self.server, step, &self.errand, self.since)?;
        let pending = escape(handle::text(pending.handle()));
        hidden.push_str(&format!(r#"<input type="hidden" name="pending" value="{pending}">"#));
        if self.is_own_device {
            hidden.push_str(r#"<input type="hidden" name="own_device" value="yes">"#);
        }
        let action = self.server.parts().issuer.route("/login/code");
        let content = PageContent::SecondFactor { form: self.server.form(&action, &hidden), problem };
        Ok(self.show(status, content))
    }

    fn show(&self, status: u16, content: PageContent<'_>) -> Response {
        self.with_cookies(self.server.page(status, content, self.leads_to.as_deref()))
    }

    fn with_cookies(&self, mut response: Response) -> Response {
        let before = self.browser.session.as_ref().map(|session| session.session);
        self.browser.set_cookies(self.server, &mut response, before);
        response
    }

    /// Begins a session and goes on with the errand.
    async fn go_on(mut self, user: AuthenticatedUser, mark: Option<DeviceMark>) -> Result<Response, Unusable> {
        if !begin_session(self.server, &mut self.browser, user, self.since, self.incoming).await? {
            return self.ask_password(403, "", Some(Problem::Outdated));
        }
        let Self { server, incoming, mut browser, errand, is_own_device, .. } = self;
        if let Some(mark) = mark.filter(|_| is_own_device) {
            browser.mark(mark);
        }
        let result = match errand.target {
            Target::Authorize => {
                authorize::proceed(server, incoming, &mut browser, &errand.request, Progress::LoggedIn).await
            }
            Target::Device => device::show(server, incoming, &mut browser, &errand.request, None).await,
            Target::Logout => Ok(server.message(200, Message::StillLoggedIn)),
            #[cfg(feature = "credentials")]
            Target::Account => account::show(server, incoming, &mut browser, &errand.request, None).await,
        };
        // The user is logged in, whatever became of the errand.
        Ok(result.unwrap_or_else(|unusable| {
            let mut response = unusable.into_response(server);
            browser.set_cookies(server, &mut response, None);
            response
        }))
    }
}

/// Keeps a new session under a new cookie, so that nobody who knew the old one is logged in too. False when all that the user had was
/// revoked meanwhile.
async fn begin_session(
    server: &AuthorizationServer,
    browser: &mut Browser,
    user: AuthenticatedUser,
    since: UnixSeconds,
    incoming: &Incoming,
) -> Result<bool, Failure> {
    let now = incoming.now;
    let parts = server.parts();
    let AuthenticatedUser { subject, methods, context, authenticated_at } = user;
    let fits = (1..=255).contains(&subject.len()) && subject.bytes().all(|byte| matches!(byte, b' '..=b'~'));
    if !fits || authenticated_at > now {
        return Err(misconfigured("a login gave a subject or a time that cannot stand in a token"));
    }
    // RFC 9068 §5: a resource server could not tell the user from the client.
    if parts.clients.client(&subject).await?.is_some() {
        return Err(misconfigured("a user has the id of a client"));
    }
    let former = browser.session.take();
    let is_same = former.as_ref().is_some_and(|former| former.subject == subject);
    let sid = match &former {
        Some(former) if is_same => former.sid.clone(),
        _ => handle::public_id()?,
    };
    let cookie = handle::secret_text()?;
    let session = SsoSession {
        session: HandleHash::of(Purpose::Session, handle::text(&cookie)),
        sid,
        subject,
        authentication: Authentication { time: authenticated_at, context, methods },
        idle_until: now.saturating_add(parts.lifetimes.session_idle.min(parts.lifetimes.session)),
        expires_at: now.saturating_add(parts.lifetimes.session),
    };
    if let Some(former) = former.as_ref().filter(|_| !is_same) {
        server.end_session(former, now).await?;
    }
    parts.store.put_session(&session, former.as_ref().map(|former| &former.session), now).await?;
    // INVARIANT: asked after the session is kept, as it is ended after this is set: one of two at the same time sees the other.
    if !server.stands(&session.subject, authenticated_at.min(since), now).await? {
        parts.store.end_session(&session.session).await?;
        return Ok(false);
    }
    browser.log_in(handle::text(&cookie), session);
    Ok(true)
}

/// Says that a form did not come from a page of ours.
pub(super) const fn not_ours() -> OAuthError {
    OAuthError {
        code: "invalid_request",
        description: "The page was open for too long. Please try again.",
        status: 403,
    }
}
