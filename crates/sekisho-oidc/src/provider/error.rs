use sekisho_core::{Failure, FailureKind, Reject};

/// Says why a login did not succeed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoginError {
    /// The return is not of this login: `state` or `iss` differ, a parameter is missing or there twice, or it came too late.
    #[error("the return does not belong to this login")]
    Foreign,
    /// With `prompt=none`: the provider must ask the user (`login_required`, `interaction_required` and their like).
    #[error("the provider must ask the user")]
    InteractionRequired,
    /// The user, or the provider for her, said no (`access_denied`).
    #[error("the login was denied at the provider")]
    Denied,
    /// The provider refused otherwise; its error code, if that is a registered one.
    #[error("the provider refused: {0}")]
    Refused(&'static str),
    /// The code is used up or the provider does not know it.
    #[error("the code is not good any more")]
    Code,
    /// The ID token, or what came with it, is not good.
    #[error("the ID token is refused")]
    IdToken(#[source] Reject),
    /// The login is good, and does not prove what was asked for: `acr`, `max_age`.
    #[error("the login is weaker or older than what was asked for")]
    TooWeak,
    /// Our side or the provider's broke.
    #[error(transparent)]
    Failure(#[from] Failure),
}

impl LoginError {
    /// Reads the code of an error that came back by the browser. What is not registered is not shown.
    pub(super) fn from_code(code: &str) -> Self {
        match code {
            "login_required" | "interaction_required" | "consent_required" | "account_selection_required" => {
                Self::InteractionRequired
            }
            "access_denied" => Self::Denied,
            "unmet_authentication_requirements" => Self::TooWeak,
            "temporarily_unavailable" => Failure::unavailable("the provider is temporarily unavailable").into(),
            "server_error" => Failure::new(FailureKind::BadGateway, "the provider has an error of its own").into(),
            other => {
                Self::Refused(REGISTERED.into_iter().find(|known| *known == other).unwrap_or("unregistered error"))
            }
        }
    }
}

/// Says why there are no claims from the userinfo endpoint.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UserInfoError {
    /// Nobody is logged in, or the session has ended: from `RelyingParty::user_info` alone.
    #[error("nobody is logged in")]
    SignedOut,
    /// The provider no longer honours the access token: refresh it, or log in again.
    #[error("the provider no longer honours the access token")]
    AccessToken,
    /// The answer is of somebody else, or not signed as it must be.
    #[error("the provider's answer about the user is refused")]
    Refused(#[source] Reject),
    /// Our side or the provider's broke, or it has no such endpoint.
    #[error(transparent)]
    Failure(#[from] Failure),
}

/// The codes that an authorization endpoint may send, by the registry of RFC 6749 §11.4; those with a meaning of their own are above.
const REGISTERED: [&str; 12] = [
    "invalid_request",
    "unauthorized_client",
    "unsupported_response_type",
    "invalid_scope",
    "invalid_request_uri",
    "invalid_request_object",
    "request_not_supported",
    "request_uri_not_supported",
    "registration_not_supported",
    "invalid_target",
    "invalid_authorization_details",
    "invalid_dpop_proof",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_of_the_provider_becomes_one_of_ours() {
        for code in ["login_required", "interaction_required", "consent_required", "account_selection_required"] {
            assert!(matches!(LoginError::from_code(code), LoginError::InteractionRequired), "{code}");
        }
        assert!(matches!(LoginError::from_code("access_denied"), LoginError::Denied));
        assert!(matches!(LoginError::from_code("unmet_authentication_requirements"), LoginError::TooWeak));
        assert!(matches!(LoginError::from_code("invalid_scope"), LoginError::Refused("invalid_scope")));
        for (code, kind) in
            [("temporarily_unavailable", FailureKind::Unavailable), ("server_error", FailureKind::BadGateway)]
        {
            let LoginError::Failure(failure) = LoginError::from_code(code) else { panic!("{code}") };
            assert_eq!(failure.kind(), kind);
        }
    }

    #[test]
    fn nothing_of_a_code_that_is_not_registered_is_shown() {
        for code in ["", "ACCESS_DENIED", "<script>", "invalid_scope ", "hush"] {
            let error = LoginError::from_code(code);
            assert_eq!(error.to_string(), "the provider refused: unregistered error", "{code}");
        }
    }
}
