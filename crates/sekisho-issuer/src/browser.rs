//! What a browser holds between two pages: its cookies, and forms that only we can have written.

use std::time::Duration;

use axum::response::Response;
use sekisho_core::{Failure, Secret, UnixSeconds};
use subtle::ConstantTimeEq;

use crate::answer;
use crate::form::Form;
use crate::handle::{self, HandleHash, Purpose};
use crate::incoming::Incoming;
use crate::login::{DeviceMark, PendingLogin};
use crate::pages::{Page, PageContent, PageForm, PasskeyForm, Problem, escape};
use crate::store::SsoSession;
use crate::{AuthorizationServer, Message};

/// Is what the login is for: where the user goes on after it. It is carried through the pages in hidden fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Errand {
    pub(crate) target: Target,
    /// The query with which the errand began; read anew, and checked anew, at each step.
    pub(crate) request: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    Authorize,
    Device,
    Logout,
    /// The pages about one's own account.
    #[cfg(feature = "credentials")]
    Account,
}

impl Target {
    const ALL: &[Self] = &[
        Self::Authorize,
        Self::Device,
        Self::Logout,
        #[cfg(feature = "credentials")]
        Self::Account,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::Authorize => "authorize",
            Self::Device => "device",
            Self::Logout => "logout",
            #[cfg(feature = "credentials")]
            Self::Account => "account",
        }
    }
}

impl Errand {
    pub(crate) fn new(target: Target, request: &str) -> Self {
        Self { target, request: request.to_owned() }
    }

    /// Reads the errand out of a form of ours.
    pub(crate) fn from_form(form: &Form) -> Option<Self> {
        let name = form.get("target")?;
        let target = Target::ALL.iter().copied().find(|target| target.name() == name)?;
        Some(Self::new(target, form.get("request").unwrap_or_default()))
    }
}

/// Tells apart what a form does, so that one is never taken for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step<'a> {
    /// User name and password.
    Login,
    /// The second factor of this login, and of no other.
    SecondFactor(&'a PendingLogin),
    /// The user's word on an errand, after every login that it needs.
    Decide,
    /// A user code.
    UserCode,
    /// A change of one's own account: which one.
    #[cfg(feature = "credentials")]
    Change(&'static str),
}

impl Step<'_> {
    const fn name(self) -> &'static str {
        match self {
            Self::Login => "login",
            Self::SecondFactor(_) => "second factor",
            Self::Decide => "decide",
            Self::UserCode => "user code",
            #[cfg(feature = "credentials")]
            Self::Change(what) => what,
        }
    }
}

/// Is one browser, as its cookies show it.
#[derive(Debug)]
pub(crate) struct Browser {
    /// Ties forms to this browser: 256 random bits in a cookie.
    id: Option<String>,
    id_is_new: bool,
    /// The login of this browser, if it is live.
    pub(crate) session: Option<SsoSession>,
    session_cookie: Option<String>,
    /// What an earlier login left here.
    pub(crate) device: Option<DeviceMark>,
    device_is_new: bool,
}

impl Browser {
    pub(crate) async fn of(server: &AuthorizationServer, incoming: &Incoming) -> Result<Self, Failure> {
        let parts = server.parts();
        let own = |text: &&str| text.len() == 43 && handle::decode(text).is_some();
        let id = incoming.cookie(&server.cookie_name("form")).filter(own).map(str::to_owned);
        let cookie = incoming.cookie(&server.cookie_name("sso")).filter(own).map(str::to_owned);
        let session = match &cookie {
            Some(cookie) => {
                let hash = HandleHash::of(Purpose::Session, cookie);
                parts.store.use_session(&hash, parts.lifetimes.session_idle, incoming.now).await?
            }
            None => None,
        };
        let marks = parts.login.marks_devices();
        let device = incoming.cookie(&server.cookie_name("device")).filter(|_| marks).and_then(DeviceMark::parse);
        Ok(Self { id, id_is_new: false, session, session_cookie: cookie, device, device_is_new: false })
    }

    /// Writes the hidden fields of a form, and remembers to set the cookie that they are tied to.
    pub(crate) fn hidden(
        &mut self,
        server: &AuthorizationServer,
        step: Step<'_>,
        errand: &Errand,
        now: UnixSeconds,
    ) -> Result<String, Failure> {
        if self.id.is_none() {
            self.id = Some(handle::text(&handle::secret_text()?).to_owned());
            self.id_is_new = true;
        }
        let token = self.token(server, step, errand, now);
        let field = |name, value: &str| format!(r#"<input type="hidden" name="{name}" value="{}">"#, escape(value));
        Ok([field("target", errand.target.name()), field("request", &errand.request), field("token", &token)].concat())
    }

    /// Returns what this browser alone sends. Empty before the first form.
    pub(crate) fn secret(&self) -> Secret {
        Secret::from(self.id.as_deref().unwrap_or_default())
    }

    /// Tells whether a form was written for this browser, this step, this errand and, beyond the login, this session, and not too long ago.
    pub(crate) fn wrote(
        &self,
        server: &AuthorizationServer,
        step: Step<'_>,
        errand: &Errand,
        token: &str,
        now: UnixSeconds,
    ) -> bool {
        let Some((written_at, tag)) = token.split_once('.') else { return false };
        let Some(tag) = handle::decode(tag) else { return false };
        let Ok(written_at) = written_at.parse().map(UnixSeconds::new) else { return false };
        let expected = self.tag(server, step, errand, written_at);
        let lasts: Duration = server.parts().lifetimes.form;
        self.id.is_some() && bool::from(expected.ct_eq(&tag)) && now < written_at.saturating_add(lasts)
    }

    /// Writes the token of a form: the one text that it has, whatever other texts [`wrote`](Self::wrote) reads as the same.
    pub(crate) fn token(
        &self,
        server: &AuthorizationServer,
        step: Step<'_>,
        errand: &Errand,
        written_at: UnixSeconds,
    ) -> String {
        format!("{}.{}", written_at.as_secs(), handle::encode(&self.tag(server, step, errand, written_at)))
    }

    fn tag(&self, server: &AuthorizationServer, step: Step<'_>, errand: &Errand, written_at: UnixSeconds) -> [u8; 32] {
        let bound_to = match step {
            Step::Login => String::new(),
            Step::SecondFactor(pending) => handle::encode(&handle::sha256(pending.handle().expose())),
            _ => self.session_cookie.clone().unwrap_or_default(),
        };
        // Each part but the last has no line end in it: cookies are base64url, the others are ours.
        let id = self.id.as_deref().unwrap_or_default();
        let written_at = written_at.as_secs();
        let (step, target) = (step.name(), errand.target.name());
        let message = format!("{step}\n{target}\n{written_at}\n{id}\n{bound_to}\n{}", errand.request);
        server.parts().keys.master().tag("sekisho issuer forms", message.as_bytes())
    }

    /// Puts a new session into the browser; the form's cookie changes with it.
    pub(crate) fn log_in(&mut self, cookie: &str, session: SsoSession) {
        self.session_cookie = Some(cookie.to_owned());
        self.session = Some(session);
        self.id = None;
    }

    /// Forgets a login that its account has ended, at the credential database for example: see
    /// [`with_logins_ended_at`](crate::UserClaims::with_logins_ended_at). Users who are gone stay until a token is asked for.
    pub(crate) async fn drop_ended(&mut self, server: &AuthorizationServer, now: UnixSeconds) -> Result<(), Failure> {
        let (Some(users), Some(session)) = (&server.parts().users, &self.session) else { return Ok(()) };
        let user = users.user(&session.subject, now).await?;
        if user.is_some_and(|user| !user.counts_login_at(session.authentication.time)) {
            server.end_session(session, now).await?;
            self.session = None;
        }
        Ok(())
    }

    /// Leaves a mark in the browser.
    pub(crate) fn mark(&mut self, device: DeviceMark) {
        self.device = Some(device);
        self.device_is_new = true;
    }

    pub(crate) fn log_out(&mut self) {
        self.session = None;
        self.session_cookie = None;
    }

    /// Adds the cookies that changed to an answer.
    pub(crate) fn set_cookies(
        &self,
        server: &AuthorizationServer,
        response: &mut Response,
        before: Option<HandleHash>,
    ) {
        let is_secure = server.parts().issuer.is_secure();
        let secure = if is_secure { "; Secure" } else { "" };
        if let (true, Some(id)) = (self.id_is_new, &self.id) {
            let name = server.cookie_name("form");
            answer::add_cookie(response, &format!("{name}={id}; Path=/{secure}; HttpOnly; SameSite=Lax"));
        }
        if let (true, Some(device)) = (self.device_is_new, &self.device) {
            let (name, mark) = (server.cookie_name("device"), handle::text(device.text()));
            let age = server.parts().lifetimes.device.as_secs();
            let cookie = format!("{name}={mark}; Path=/{secure}; HttpOnly; SameSite=Lax; Max-Age={age}");
            answer::add_cookie(response, &cookie);
        }
        let name = server.cookie_name("sso");
        match (&self.session, &self.session_cookie) {
            (Some(session), Some(cookie)) if Some(session.session) != before => {
                answer::add_cookie(response, &format!("{name}={cookie}; Path=/{secure}; HttpOnly; SameSite=Lax"));
            }
            (None, None) if before.is_some() => {
                answer::add_cookie(response, &format!("{name}=; Path=/{secure}; HttpOnly; SameSite=Lax; Max-Age=0"));
            }
            _ => {}
        }
    }
}

/// Where the script of passkeys is, below the issuer.
pub(crate) const SCRIPT: &str = "/passkey.js";

/// Is what a login page needs besides what stands in its fields.
pub(crate) struct LoginPage<'a> {
    pub(crate) status: u16,
    pub(crate) client: Option<&'a str>,
    pub(crate) username: &'a str,
    /// Whether the user has said that the device is theirs.
    pub(crate) is_own_device: bool,
    pub(crate) problem: Option<Problem>,
    /// The registered address at which the form may end.
    pub(crate) leads_to: Option<&'a str>,
}

impl LoginPage<'_> {
    pub(crate) const FIRST: Self =
        Self { status: 200, client: None, username: "", is_own_device: false, problem: None, leads_to: None };
}

impl AuthorizationServer {
    /// Writes the page that asks for user name and password, or for a passkey.
    pub(crate) fn login_page(
        &self,
        browser: &mut Browser,
        errand: &Errand,
        page: &LoginPage<'_>,
        now: UnixSeconds,
    ) -> Result<Response, Failure> {
        let LoginPage { status, client, username, is_own_device, problem, leads_to } = *page;
        let issuer = &self.parts().issuer;
        let (action, passkey_action) = (issuer.route("/login"), issuer.route("/login/passkey"));
        let hidden = browser.hidden(self, Step::Login, errand, now)?;
        let prompt = self.parts().login.begin_passkey(&browser.secret(), now)?;
        let script = issuer.route(SCRIPT);
        let passkey_hidden = prompt.as_ref().map(|prompt| passkey_fields(&hidden, &prompt.ticket));
        let passkey = prompt.as_ref().zip(passkey_hidden.as_deref()).map(|(prompt, hidden)| PasskeyForm {
            form: self.form(&passkey_action, hidden),
            options: &prompt.options,
            script: &script,
        });
        // Never ticked by a mark in the browser: that may be anybody's.
        let own_device = self.parts().login.marks_devices().then_some(is_own_device);
        let form = self.form(&action, &hidden);
        let content = PageContent::Login { form, client, username, own_device, passkey, problem };
        Ok(self.page(status, content, leads_to))
    }

    /// Names a cookie. Issuers under different paths of one host have different ones.
    pub(crate) fn cookie_name(&self, what: &str) -> String {
        let issuer = &self.parts().issuer;
        let prefix = if issuer.is_secure() { "__Host-" } else { "" };
        if issuer.path().is_empty() {
            return format!("{prefix}sekisho-{what}");
        }
        let hash = handle::sha256(issuer.path().as_bytes());
        let suffix = handle::encode(hash.get(..6).unwrap_or_default());
        format!("{prefix}sekisho-{what}-{suffix}")
    }

    /// Writes a page. `leads_to` is the registered address at which its form may end.
    pub(crate) fn page(&self, status: u16, content: PageContent<'_>, leads_to: Option<&str>) -> Response {
        let parts = self.parts();
        let style_sheet = parts.issuer.route("/style.css");
        let script = content.script().map(|_| parts.issuer.endpoint(SCRIPT));
        let html = parts.pages.render(&Page { style_sheet: &style_sheet, content });
        let leads_to = leads_to.and_then(crate::redirect::form_action);
        answer::page(status, html, leads_to.as_deref(), script.as_deref())
    }

    pub(crate) fn message(&self, status: u16, message: Message) -> Response {
        self.page(status, PageContent::Message(message), None)
    }

    /// Tells the user that our side broke.
    pub(crate) fn broken(&self, failure: &Failure) -> Response {
        tracing::error!(error = %failure, source = ?std::error::Error::source(failure), "failed");
        let mut response = self.message(answer::failure_status(failure).0, Message::Unavailable);
        answer::add_retry_after(&mut response, failure);
        response
    }

    pub(crate) fn form<'a>(&self, action: &'a str, hidden: &'a str) -> PageForm<'a> {
        PageForm { action, hidden }
    }
}

/// Writes the hidden fields of a form that a passkey answers.
pub(crate) fn passkey_fields(hidden: &str, ticket: &Secret) -> String {
    let ticket = escape(handle::text(ticket));
    format!(
        r#"{hidden}<input type="hidden" name="ticket" value="{ticket}"><input type="hidden" name="response" value="">"#
    )
}
