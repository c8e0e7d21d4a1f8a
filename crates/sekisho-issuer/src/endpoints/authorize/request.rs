use std::sync::Arc;
use std::time::Duration;

use sekisho_core::UnixSeconds;

use super::Unusable;
use crate::answer::OAuthError;
use crate::endpoints::end_session;
use crate::form::Form;
use crate::handle;
use crate::redirect;
use crate::store::SsoSession;
use crate::{AuthorizationServer, Client, GrantKind, ScopeSet};

/// Bounds `state`, `nonce` and `login_hint`, in bytes.
const LONGEST_STATE: usize = 2048;
const LONGEST_NONCE: usize = 512;
const LONGEST_HINT: usize = 256;
/// Bounds `acr_values`.
const MOST_CONTEXTS: usize = 8;

/// Is an authorization request that may be answered to its redirect URI.
pub(in crate::endpoints) struct AuthorizationRequest {
    pub(super) client: Arc<Client>,
    pub(super) redirect_uri: String,
    pub(super) state: Option<String>,
    pub(super) scope: ScopeSet,
    pub(super) audience: Vec<String>,
    pub(super) code_challenge: String,
    pub(super) nonce: Option<String>,
    pub(super) prompt: Prompt,
    pub(super) max_age: Option<Duration>,
    pub(in crate::endpoints) wanted_contexts: Vec<String>,
    pub(super) login_hint: Option<String>,
    /// Who must be logged in, by `id_token_hint`.
    pub(super) wanted_subject: Option<String>,
}

/// Says what `prompt` asks for (OpenID Connect Core §3.1.2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::endpoints) enum Prompt {
    Whatever,
    /// Show no page at all.
    None,
    /// Log in anew.
    Login,
    /// Ask for consent anew.
    Consent,
    /// Both.
    LoginAndConsent,
}

impl AuthorizationRequest {
    /// Checks a request: first whom it may be answered to, then all the rest.
    pub(in crate::endpoints) async fn read(
        server: &AuthorizationServer,
        form: &Form,
        now: UnixSeconds,
    ) -> Result<Self, Unusable> {
        const UNKNOWN: Unusable =
            Unusable::Page("The application is not known here, or asks for the answer in a place that is not its own.");
        let (Some(id), Some(redirect_uri)) = (form.get("client_id"), form.get("redirect_uri")) else {
            return Err(UNKNOWN);
        };
        if id.len() > 255 || redirect_uri.len() > redirect::LONGEST {
            return Err(UNKNOWN);
        }
        let client = server.parts().clients.client(id).await?.ok_or(UNKNOWN)?;
        if !client.redirect_uris.iter().any(|registered| registered.matches(redirect_uri)) {
            return Err(UNKNOWN);
        }
        // From here on the client is told. A state that cannot be echoed is left out.
        let state = form.get("state").filter(|state| state.len() <= LONGEST_STATE && is_visible(state));
        let refuse =
            |error| Unusable::Client { redirect_uri: redirect_uri.to_owned(), state: state.map(str::to_owned), error };
        if form.get("state").is_some() && state.is_none() {
            return Err(refuse(OAuthError::request("state is too long or has other than visible ASCII characters")));
        }
        let checked = Self::check(server, form, &client, now).map_err(refuse)?;
        Ok(Self { redirect_uri: redirect_uri.to_owned(), state: state.map(str::to_owned), ..checked })
    }

    fn check(
        server: &AuthorizationServer,
        form: &Form,
        client: &Arc<Client>,
        now: UnixSeconds,
    ) -> Result<Self, OAuthError> {
        if !client.may(GrantKind::AuthorizationCode) {
            return Err(OAuthError::unauthorized());
        }
        if form.get("request").is_some() {
            return Err(OAuthError::new("request_not_supported", "signed requests are not taken"));
        }
        if form.get("request_uri").is_some() {
            return Err(OAuthError::new("request_uri_not_supported", "requests by reference are not taken"));
        }
        match form.get("response_type") {
            Some("code") => {}
            None => return Err(OAuthError::request("response_type is missing")),
            Some(_) => return Err(OAuthError::new("unsupported_response_type", "only code")),
        }
        if form.get("response_mode").is_some_and(|mode| mode != "query") {
            return Err(OAuthError::request("response_mode must be query"));
        }
        // RFC 7636 §4.3: without a method it would be `plain`, which is no protection.
        if form.get("code_challenge_method") != Some("S256") {
            return Err(OAuthError::request("code_challenge_method must be S256"));
        }
        let code_challenge = form.get("code_challenge").filter(|challenge| {
            challenge.len() == 43 && handle::decode(challenge).is_some_and(|hash| hash.len() == 32)
        });
        let code_challenge =
            code_challenge.ok_or(OAuthError::request("code_challenge must be a SHA-256 in base64url"))?;
        let scope = form.get("scope").and_then(ScopeSet::parse).filter(|scope| client.scopes.contains_all(scope));
        let scope = scope.ok_or(OAuthError::scope())?;
        let audience = audience(form.all("resource"), client)?;
        let nonce = form.get("nonce");
        if nonce.is_some_and(|nonce| nonce.len() > LONGEST_NONCE || !is_visible(nonce)) {
            return Err(OAuthError::request("nonce is too long or has other than visible ASCII characters"));
        }
        let max_age = match form.get("max_age").map(str::parse::<u32>) {
            None => None,
            Some(Ok(seconds)) => Some(Duration::from_secs(seconds.into())),
            Some(Err(_)) => return Err(OAuthError::request("max_age must be a number of seconds")),
        };
        let contexts = form.get("acr_values").unwrap_or_default().split(' ').filter(|value| !value.is_empty());
        let wanted_contexts: Vec<String> = contexts.map(str::to_owned).collect();
        if wanted_contexts.len() > MOST_CONTEXTS {
            return Err(OAuthError::request("acr_values are too many"));
        }
        let wanted_subject = match form.get("id_token_hint") {
            None => None,
            Some(hint) => {
                let hint = end_session::read_hint(server, hint, now).filter(|hint| hint.client_id == client.id());
                Some(hint.ok_or(OAuthError::request("id_token_hint is no ID token of this client"))?.subject)
            }
        };
        let login_hint =
            form.get("login_hint").filter(|hint| hint.len() <= LONGEST_HINT && !hint.chars().any(char::is_control));
        Ok(Self {
            client: Arc::clone(client),
            redirect_uri: String::new(),
            state: None,
            scope,
            audience,
            code_challenge: code_challenge.to_owned(),
            nonce: nonce.map(str::to_owned),
            prompt: prompt(form.get("prompt"))?,
            max_age,
            wanted_contexts,
            login_hint: login_hint.map(str::to_owned),
            wanted_subject,
        })
    }

    /// Tells whether the user must log in for this request, although there is a session.
    pub(super) fn needs_login(&self, session: &SsoSession, now: UnixSeconds) -> bool {
        let too_long_ago = self.max_age.is_some_and(|age| now.since(session.authentication.time) > age);
        matches!(self.prompt, Prompt::Login | Prompt::LoginAndConsent)
            || too_long_ago
            || !self.user_fits(session)
            || !self.context_fits(session)
    }

    /// Tells whether the user is the one whom the client expects, if it does.
    pub(super) fn user_fits(&self, session: &SsoSession) -> bool {
        self.wanted_subject.as_ref().is_none_or(|wanted| *wanted == session.subject)
    }

    /// Tells whether the login reaches one of the contexts that are asked for, if any are.
    pub(super) fn context_fits(&self, session: &SsoSession) -> bool {
        let reached = session.authentication.context.as_ref();
        self.wanted_contexts.is_empty() || reached.is_some_and(|context| self.wanted_contexts.contains(context))
    }

    /// Tells whether consent must be asked for anew.
    pub(super) const fn wants_consent(&self) -> bool {
        matches!(self.prompt, Prompt::Consent | Prompt::LoginAndConsent)
    }

    /// Tells whether nobody but the client gets the answer: it proves itself, or it has a web address. Any program on a machine can listen on
    /// its ports and claim its schemes ([RFC 8252 §8.6](https://www.rfc-editor.org/rfc/rfc8252#section-8.6)), and must not get a code unseen.
    pub(super) fn client_is_assured(&self) -> bool {
        !self.client.is_public() || self.redirect_uri.starts_with("https://")
    }

    pub(in crate::endpoints) fn client_name(&self) -> &str {
        self.client.name()
    }

    pub(in crate::endpoints) fn redirect_uri(&self) -> &str {
        &self.redirect_uri
    }

    pub(super) fn refuse(&self, error: OAuthError) -> Unusable {
        Unusable::Client { redirect_uri: self.redirect_uri.clone(), state: self.state.clone(), error }
    }
}

/// Reads `prompt`; `none` stands alone.
fn prompt(value: Option<&str>) -> Result<Prompt, OAuthError> {
    let (mut none, mut login, mut consent) = (false, false, false);
    for word in value.unwrap_or_default().split(' ').filter(|word| !word.is_empty()) {
        match word {
            "none" => none = true,
            // There is one account in a browser here: to choose another is to log in.
            "login" | "select_account" => login = true,
            "consent" => consent = true,
            _ => return Err(OAuthError::request("prompt has an unknown value")),
        }
    }
    match (none, login, consent) {
        (false, false, false) => Ok(Prompt::Whatever),
        (true, false, false) => Ok(Prompt::None),
        (false, true, false) => Ok(Prompt::Login),
        (false, false, true) => Ok(Prompt::Consent),
        (false, true, true) => Ok(Prompt::LoginAndConsent),
        _ => Err(OAuthError::request("prompt none stands alone")),
    }
}

/// Reads for which resource servers tokens are asked ([RFC 8707](https://www.rfc-editor.org/rfc/rfc8707)); the client's first one if for none.
pub(in crate::endpoints) fn audience<'a>(
    asked: impl Iterator<Item = &'a str>,
    client: &Client,
) -> Result<Vec<String>, OAuthError> {
    let mut audience: Vec<String> = Vec::new();
    for asked in asked {
        if !client.audiences.iter().any(|own| own == asked) {
            return Err(OAuthError::target());
        }
        if !audience.iter().any(|known| known == asked) {
            audience.push(asked.to_owned());
        }
    }
    if audience.is_empty() {
        audience.extend(client.audiences.first().cloned());
    }
    Ok(audience)
}

fn is_visible(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b' '..=b'~'))
}
