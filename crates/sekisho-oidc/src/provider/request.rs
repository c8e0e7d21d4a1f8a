use std::fmt;
use std::time::Duration;

use sekisho_core::{Failure, FailureKind};
use serde_json::Value;

/// Says how to log in. The default asks for nothing beyond what the provider does by itself.
///
/// # Examples
/// ```
/// use std::time::Duration;
/// use sekisho_oidc::LoginRequest;
/// let step_up = LoginRequest::new().with_acr_values(["gold"]).with_max_age(Duration::from_secs(300));
/// # let _ = step_up;
/// ```
#[derive(Clone, Default)]
#[must_use]
pub struct LoginRequest {
    pub(super) prompt: Option<Prompt>,
    pub(super) max_age: Option<Duration>,
    pub(super) acr_values: Vec<Box<str>>,
    pub(super) login_hint: Option<Box<str>>,
    pub(super) ui_locales: Option<Box<str>>,
    pub(super) claims: Option<Value>,
    pub(super) parameters: Vec<(Box<str>, Box<str>)>,
}

/// Says what the provider is to ask the user, whatever it knows already (`prompt`,
/// [OIDC Core §3.1.2.1](https://openid.net/specs/openid-connect-core-1_0.html#AuthRequest)).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Prompt {
    /// Nothing at all: it answers from its own session, or with [`LoginError::InteractionRequired`](crate::LoginError::InteractionRequired).
    None,
    /// To log in again. What proves that she did is [`max_age`](LoginRequest::with_max_age) of zero, not this.
    Login,
    /// To consent again.
    Consent,
    /// Which account it is to be.
    SelectAccount,
    /// To make an account ([Initiating User Registration](https://openid.net/specs/openid-connect-prompt-create-1_0.html)).
    Create,
}

impl LoginRequest {
    /// Asks for nothing in particular.
    pub fn new() -> Self {
        Self::default()
    }

    /// Answers from the session at the provider, or not at all (`prompt=none`).
    pub fn silent() -> Self {
        Self::default().with_prompt(Prompt::None)
    }

    /// Sets what the user is asked whatever the provider knows.
    pub fn with_prompt(mut self, prompt: Prompt) -> Self {
        self.prompt = Some(prompt);
        self
    }

    /// Wants a login at the provider that is no older than this, in whole seconds, when the request is made; zero for a new one.
    ///
    /// The ID token must say so (`auth_time`), or the login is [`LoginError::TooWeak`](crate::LoginError::TooWeak).
    pub fn with_max_age(mut self, max_age: Duration) -> Self {
        self.max_age = Some(max_age);
        self
    }

    /// Wants one of these ways to log in, the best first (`acr_values`): 1 to 10 names of 1 to 128 visible ASCII characters.
    ///
    /// The ID token's `acr` must be one of them, or the login is [`LoginError::TooWeak`](crate::LoginError::TooWeak).
    pub fn with_acr_values<S: Into<Box<str>>>(mut self, values: impl IntoIterator<Item = S>) -> Self {
        self.acr_values = values.into_iter().map(Into::into).collect();
        self
    }

    /// Tells the provider who is probably going to log in (`login_hint`); at most 256 bytes. It stands in the browser's address.
    pub fn with_login_hint(mut self, hint: impl Into<Box<str>>) -> Self {
        self.login_hint = Some(hint.into());
        self
    }

    /// Tells the provider in which languages to speak, BCP 47 tags separated by spaces, the best first (`ui_locales`); at most 256 bytes.
    pub fn with_ui_locales(mut self, locales: impl Into<Box<str>>) -> Self {
        self.ui_locales = Some(locales.into());
        self
    }

    /// Asks for single claims ([OIDC Core §5.5](https://openid.net/specs/openid-connect-core-1_0.html#ClaimsParameter)); at most 2,048 bytes
    /// as text. What is essential there is not checked by itself.
    pub fn with_claims(mut self, claims: Value) -> Self {
        self.claims = Some(claims);
        self
    }

    /// Sends one parameter more, such as `kc_idp_hint`; at most 256 bytes. Its name must be one that
    /// [`ProviderBuilder::with_parameters`](crate::ProviderBuilder::with_parameters) allows, so a value out of a request can be handed on.
    pub fn with_parameter(mut self, name: impl Into<Box<str>>, value: impl Into<Box<str>>) -> Self {
        self.parameters.push((name.into(), value.into()));
        self
    }

    /// Tells whether the user must not be asked anything.
    #[cfg(feature = "session")]
    pub(crate) fn is_silent(&self) -> bool {
        self.prompt == Some(Prompt::None)
    }

    /// Lists what it adds to the authorization request.
    ///
    /// # Errors
    /// [`Failure`] of our own making: a value that is too long or misshapen, a parameter that is not allowed.
    pub(super) fn pairs(&self, allowed: &[Box<str>]) -> Result<Vec<(String, String)>, Failure> {
        let Self { prompt, max_age, acr_values, login_hint, ui_locales, claims, parameters } = self;
        let mut pairs = Vec::new();
        let mut add = |name: &str, value: String, longest: usize| {
            if value.is_empty() || value.len() > longest || value.chars().any(char::is_control) {
                return Err(misused("a value of a login request is empty, too long or holds control characters"));
            }
            pairs.push((name.to_owned(), value));
            Ok(())
        };
        if let Some(prompt) = prompt {
            add("prompt", prompt.name().to_owned(), LONGEST_VALUE)?;
        }
        if let Some(max_age) = max_age {
            add("max_age", max_age.as_secs().to_string(), LONGEST_VALUE)?;
        }
        if !acr_values.is_empty() {
            let is_name =
                |value: &str| (1..=LONGEST_ACR).contains(&value.len()) && value.bytes().all(|b| b.is_ascii_graphic());
            if acr_values.len() > MOST_ACR || !acr_values.iter().all(|value| is_name(value)) {
                return Err(misused("`acr_values` are 1 to 10 names of 1 to 128 visible ASCII characters"));
            }
            let total: usize = acr_values.iter().map(|value| value.len()).sum();
            if total > LONGEST_ACRS {
                return Err(misused("`acr_values` have more than 400 characters together"));
            }
            add("acr_values", acr_values.join(" "), LONGEST_ACRS + MOST_ACR)?;
        }
        if let Some(hint) = login_hint {
            add("login_hint", hint.to_string(), LONGEST_VALUE)?;
        }
        if let Some(locales) = ui_locales {
            add("ui_locales", locales.to_string(), LONGEST_VALUE)?;
        }
        if let Some(claims) = claims {
            if !claims.is_object() {
                return Err(misused("the claims of a login request are no JSON object"));
            }
            add("claims", claims.to_string(), LONGEST_CLAIMS)?;
        }
        for (place, (name, value)) in parameters.iter().enumerate() {
            let is_repeated = parameters.iter().take(place).any(|(earlier, _)| earlier == name);
            if is_repeated || !allowed.contains(name) {
                return Err(misused(
                    "a parameter of a login request is there twice, or not one that the provider allows",
                ));
            }
            add(name, value.to_string(), LONGEST_VALUE)?;
        }
        Ok(pairs)
    }
}

impl fmt::Debug for LoginRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Hints and further parameters may name people.
        let Self { prompt, max_age, acr_values, login_hint: _, ui_locales: _, claims: _, parameters: _ } = self;
        f.debug_struct("LoginRequest")
            .field("prompt", prompt)
            .field("max_age", max_age)
            .field("acr_values", acr_values)
            .finish_non_exhaustive()
    }
}

impl Prompt {
    const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Login => "login",
            Self::Consent => "consent",
            Self::SelectAccount => "select_account",
            Self::Create => "create",
        }
    }
}

const fn misused(context: &'static str) -> Failure {
    Failure::new(FailureKind::Misconfigured, context)
}

const LONGEST_VALUE: usize = 256;
const LONGEST_CLAIMS: usize = 2048;
const MOST_ACR: usize = 10;
const LONGEST_ACR: usize = 128;
/// So that a pending login fits into a cookie.
const LONGEST_ACRS: usize = 400;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pairs(request: &LoginRequest) -> Option<Vec<(String, String)>> {
        request.pairs(&["kc_idp_hint".into()]).ok()
    }

    #[test]
    fn a_request_says_what_it_was_told() {
        let request = LoginRequest::new()
            .with_prompt(Prompt::SelectAccount)
            .with_max_age(Duration::from_secs(300))
            .with_acr_values(["gold", "silver"])
            .with_login_hint("alice@shop.example")
            .with_ui_locales("ja en")
            .with_claims(json!({"id_token": {"email": null}}))
            .with_parameter("kc_idp_hint", "partner");
        let expected = [
            ("prompt", "select_account"),
            ("max_age", "300"),
            ("acr_values", "gold silver"),
            ("login_hint", "alice@shop.example"),
            ("ui_locales", "ja en"),
            ("claims", r#"{"id_token":{"email":null}}"#),
            ("kc_idp_hint", "partner"),
        ];
        let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(pairs(&request).as_deref(), Some(&expected[..]));
        let shown = format!("{request:?}");
        assert!(!shown.contains("alice") && !shown.contains("partner"), "{shown}");
    }

    #[test]
    fn refuses_what_must_not_be_sent() {
        let new = LoginRequest::new;
        for bad in [
            new().with_acr_values(["a b"]),
            new().with_acr_values([""]),
            new().with_acr_values(["a".repeat(129)]),
            new().with_acr_values(vec!["a"; 11]),
            new().with_acr_values(vec!["a".repeat(100); 5]),
            new().with_login_hint(""),
            new().with_login_hint("a\nb"),
            new().with_ui_locales("a".repeat(257)),
            new().with_claims(json!([])),
            new().with_claims(json!({"id_token": "a".repeat(2048)})),
            new().with_parameter("redirect_uri", "https://evil.example"),
            new().with_parameter("request_uri", "https://evil.example"),
            new().with_parameter("KC_IDP_HINT", "a"),
            new().with_parameter("kc_idp_hint", "a").with_parameter("kc_idp_hint", "b"),
        ] {
            assert_eq!(pairs(&bad), None, "{bad:?}");
        }
        assert_eq!(pairs(&new()), Some(Vec::new()));
    }
}
