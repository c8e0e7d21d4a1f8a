use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use async_trait::async_trait;
use sekisho_core::{Failure, Secret, UnixSeconds};

/// Checks who sits at the login page.
///
/// Contract for implementers:
/// - Throttling is yours: [`LoginOutcome::TryLater`] is shown to the user with the time to wait.
/// - An unknown user, a wrong password and a locked account are one answer, [`LoginOutcome::Refused`], after the same time.
/// - Input is hostile and bounded: a user name has at most 256 bytes, a password 1,024, a code 64.
/// - The subject never changes for one user, is never given to another, and is never the id of a client
///   ([RFC 9068 §5](https://www.rfc-editor.org/rfc/rfc9068#section-5)).
#[async_trait]
pub trait LoginCheck: Send + Sync + fmt::Debug {
    /// Checks a user name and a password.
    ///
    /// # Errors
    /// [`Failure`] when it cannot be told, because a database does not answer for example. The user sees "try again", never "wrong".
    async fn password(&self, attempt: PasswordAttempt<'_>, now: UnixSeconds) -> Result<LoginOutcome, Failure>;

    /// Checks the second factor of a login that [`password`](Self::password) began.
    ///
    /// # Errors
    /// As for [`password`](Self::password).
    async fn second_factor(&self, attempt: SecondFactorAttempt<'_>, now: UnixSeconds) -> Result<LoginOutcome, Failure>;

    /// Begins a login by a passkey for a login page that is about to be shown. Default: `None`, and pages do not offer it.
    ///
    /// `browser` is a secret that this browser alone sends; a prompt must be good with that one only. Everything that the login needs
    /// later goes into the [`ticket`](PasskeyPrompt::ticket), for pages are shown to everybody who asks.
    ///
    /// # Errors
    /// As for [`password`](Self::password).
    fn begin_passkey(&self, browser: &Secret, now: UnixSeconds) -> Result<Option<PasskeyPrompt>, Failure> {
        let _ = (browser, now);
        Ok(None)
    }

    /// Checks what a browser answered to [`begin_passkey`](Self::begin_passkey). Default: refused.
    ///
    /// # Errors
    /// As for [`password`](Self::password).
    async fn passkey(&self, attempt: PasskeyAttempt<'_>, now: UnixSeconds) -> Result<LoginOutcome, Failure> {
        let _ = (attempt, now);
        Ok(LoginOutcome::Refused)
    }

    /// Tells whether a login still counts whose user came with this [`revision`](AuthenticatedUser::revision). It is asked after the session
    /// is kept and before anybody has it, so that a password that changes at the same time ends the login of whoever gave the old one.
    /// Default: no; only those who give revisions are asked.
    ///
    /// # Errors
    /// As for [`password`](Self::password).
    async fn still_counts(&self, subject: &str, revision: u64, now: UnixSeconds) -> Result<bool, Failure> {
        let _ = (subject, revision, now);
        Ok(false)
    }

    /// Tells whether it marks devices, by [`LoginOutcome::AuthenticatedOnDevice`]. Then the login page asks whether the device is the
    /// user's own. Default: `false`, and browsers keep no mark.
    fn marks_devices(&self) -> bool {
        false
    }
}

/// Is what came in by the login form.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct PasswordAttempt<'a> {
    /// The name as typed, at most 256 bytes without control characters.
    pub username: &'a str,
    /// The password as typed, at most 1,024 bytes.
    pub password: &'a Secret,
    /// Where the request came from: the peer, or what a trusted proxy says. `None` when the server does not know its peers.
    pub client_address: Option<IpAddr>,
    /// The authentication contexts that the client asked for, the preferred one first. If one of them takes a second
    /// factor, ask for it now: a login that reaches none of them is refused afterwards.
    pub wanted_contexts: &'a [String],
    /// The mark that an earlier login left in this browser, whoever's login that was. It came from the browser: it may be anybody's, or
    /// made up.
    pub device: Option<&'a DeviceMark>,
    /// Whether the user says that the device is theirs: only then is it to be marked.
    pub is_own_device: bool,
}

impl<'a> PasswordAttempt<'a> {
    /// Begins an attempt of which nothing more is known; set the other fields afterwards.
    #[must_use]
    pub const fn new(username: &'a str, password: &'a Secret) -> Self {
        Self { username, password, client_address: None, wanted_contexts: &[], device: None, is_own_device: false }
    }
}

/// Is what came in by the form for the second factor.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct SecondFactorAttempt<'a> {
    /// What [`LoginOutcome::SecondFactorNeeded`] handed out, to this browser; the server lets through nothing else, each at most five
    /// times, and none after it has become a login.
    pub pending: &'a PendingLogin,
    /// The code as typed, at most 64 bytes.
    pub code: &'a Secret,
    /// As in [`PasswordAttempt`].
    pub client_address: Option<IpAddr>,
    /// As in [`PasswordAttempt`].
    pub wanted_contexts: &'a [String],
    /// As in [`PasswordAttempt`].
    pub device: Option<&'a DeviceMark>,
    /// As in [`PasswordAttempt`], as it was said with the password.
    pub is_own_device: bool,
}

impl<'a> SecondFactorAttempt<'a> {
    /// Begins an attempt of which nothing more is known; set the other fields afterwards.
    #[must_use]
    pub const fn new(pending: &'a PendingLogin, code: &'a Secret) -> Self {
        Self { pending, code, client_address: None, wanted_contexts: &[], device: None, is_own_device: false }
    }
}

/// Is what a page has to know to ask for a passkey. `Debug` shows nothing of it.
#[derive(Clone)]
pub struct PasskeyPrompt {
    /// JSON for `PublicKeyCredential.parseRequestOptionsFromJSON`
    /// ([WebAuthn §5.1.9](https://www.w3.org/TR/webauthn-3/#sctn-parseRequestOptionsFromJSON)).
    pub options: String,
    /// Comes back with the answer: at most 1,024 visible ASCII characters.
    pub ticket: Secret,
}

impl fmt::Debug for PasskeyPrompt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasskeyPrompt(..)")
    }
}

/// Is what a browser answered with a passkey.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct PasskeyAttempt<'a> {
    /// What [`LoginCheck::begin_passkey`] was given.
    pub browser: &'a Secret,
    /// What it made. It went through the browser: anything may stand in it, up to 1,024 bytes.
    pub ticket: &'a Secret,
    /// The JSON of `PublicKeyCredential.toJSON()`, as sent: anything, up to 32 KiB.
    pub response: &'a Secret,
    /// As in [`PasswordAttempt`].
    pub client_address: Option<IpAddr>,
    /// As in [`PasswordAttempt`].
    pub wanted_contexts: &'a [String],
    /// As in [`PasswordAttempt`].
    pub device: Option<&'a DeviceMark>,
}

impl<'a> PasskeyAttempt<'a> {
    /// Begins an attempt of which nothing more is known; set the other fields afterwards.
    #[must_use]
    pub const fn new(browser: &'a Secret, ticket: &'a Secret, response: &'a Secret) -> Self {
        Self { browser, ticket, response, client_address: None, wanted_contexts: &[], device: None }
    }
}

/// Says how an attempt to log in ended.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum LoginOutcome {
    /// Everything that was due is proved.
    Authenticated(AuthenticatedUser),
    /// The same, and the browser is to keep this mark, in the place of one that it has. Allowed after a login that came with
    /// [`is_own_device`](PasswordAttempt::is_own_device).
    AuthenticatedOnDevice(AuthenticatedUser, DeviceMark),
    /// The password was right, or the passkey is one factor only; a second factor is due.
    SecondFactorNeeded(PendingLogin),
    /// Wrong, unknown, or locked: nothing more is said.
    Refused,
    /// Too many attempts; nothing was checked. How long to wait.
    TryLater(Duration),
}

/// Names a user who proved to be who they are.
///
/// `Debug` shows the subject and how they logged in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthenticatedUser {
    /// The `sub` of tokens: at most 255 visible ASCII characters ([OpenID Connect Core §2](https://openid.net/specs/openid-connect-core-1_0.html#IDToken)).
    pub subject: String,
    /// The `amr` of tokens, such as `pwd`, `otp`, `hwk` ([RFC 8176](https://www.rfc-editor.org/rfc/rfc8176)).
    pub methods: Vec<String>,
    /// The `acr` of tokens, if this login reaches a context that has a name.
    pub context: Option<String>,
    /// The `auth_time` of tokens: when it was proved.
    pub authenticated_at: UnixSeconds,
    /// Of which password or state of the account this was, for [`LoginCheck::still_counts`]; `None` when that is not to be asked.
    pub revision: Option<u64>,
}

/// Stands for a login that waits for its second factor, between two requests of one browser.
///
/// It is shown to the browser in a hidden field, at most 1,024 bytes. It must not be guessable, name exactly one user and live a few
/// minutes; whoever holds it has given the right password. `Debug` shows nothing of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PendingLogin(Secret);

impl PendingLogin {
    /// Takes over a text of visible ASCII characters.
    #[must_use]
    pub fn new(handle: impl Into<Secret>) -> Self {
        Self(handle.into())
    }

    /// Reads the text.
    #[must_use]
    pub const fn handle(&self) -> &Secret {
        &self.0
    }
}

/// Marks a browser on which somebody has logged in, so that a [`LoginCheck`] does not let strangers' failures keep them out there.
///
/// It stands in a cookie of its own (`__Host-`, `Secure`, `HttpOnly`, `SameSite=Lax`, for
/// [`Lifetimes::device`](crate::Lifetimes::device)) and opens nothing. It stays when the user logs out. `Debug` shows nothing of it.
#[derive(Clone, PartialEq, Eq)]
pub struct DeviceMark(Secret);

impl DeviceMark {
    /// Takes over a text: 1 to 128 letters, digits, `-`, `_`. `None` for anything else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let fits = (1..=128).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
        fits.then(|| Self(Secret::from(text)))
    }

    /// Reads the text.
    #[must_use]
    pub const fn text(&self) -> &Secret {
        &self.0
    }
}

impl fmt::Debug for DeviceMark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DeviceMark(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_short_and_has_nothing_that_a_cookie_could_not_hold() {
        for bad in ["", "a b", "a;b", "a=b", "a,b", "a\"b", "a\n", "é", "a\0", &"a".repeat(129)] {
            assert_eq!(DeviceMark::parse(bad), None, "{bad:?}");
        }
        assert!(DeviceMark::parse(&"aZ0-_".repeat(25)).is_some());
    }

    #[test]
    fn debug_shows_no_password_code_or_handle() {
        let secret = Secret::from("hunter2");
        let pending = PendingLogin::new("hunter2");
        let mark = DeviceMark::parse("hunter2").unwrap();
        let password = PasswordAttempt { device: Some(&mark), ..PasswordAttempt::new("alice", &secret) };
        let second = SecondFactorAttempt { device: Some(&mark), ..SecondFactorAttempt::new(&pending, &secret) };
        let user = AuthenticatedUser {
            subject: "alice".to_owned(),
            methods: Vec::new(),
            context: None,
            authenticated_at: UnixSeconds::new(0),
            revision: None,
        };
        let passkey = PasskeyAttempt { device: Some(&mark), ..PasskeyAttempt::new(&secret, &secret, &secret) };
        let options = r#"{"challenge":"hunter2"}"#.to_owned();
        let prompt = PasskeyPrompt { options, ticket: secret.clone() };
        let outcome = [
            LoginOutcome::SecondFactorNeeded(pending.clone()),
            LoginOutcome::AuthenticatedOnDevice(user, mark.clone()),
        ];
        let shown = format!("{password:?} {second:?} {passkey:?} {prompt:?} {outcome:?}");
        assert!(!shown.contains("hunter2"), "{shown}");
    }
}
