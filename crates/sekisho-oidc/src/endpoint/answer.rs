//! What a token endpoint hands out.

use std::fmt;
use std::time::Duration;

use oauth2::basic::BasicTokenType;
use oauth2::{ExtraTokenFields, StandardTokenResponse, TokenResponse as _};
use sekisho_core::{Failure, FailureKind, Secret, UnixSeconds};
use serde::{Deserialize, Serialize};

use super::refusal;
use crate::tokens::{TokenError, TokenSet};

/// Is what was handed out, and of which type it is if the server said so (RFC 8693 alone does).
#[derive(Debug)]
pub(crate) struct TokenAnswer {
    pub(crate) tokens: TokenSet,
    pub(crate) issued_token_type: Option<Box<str>>,
}

/// Is what `oauth2` has no fields for. `Debug` shows none of it.
#[derive(Clone, Default, Deserialize, Serialize)]
pub(super) struct Extra {
    id_token: Option<String>,
    issued_token_type: Option<String>,
}

impl ExtraTokenFields for Extra {}

impl fmt::Debug for Extra {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Extra(..)")
    }
}

/// Says what kind of tokens we asked for.
#[derive(Clone, Copy)]
pub(super) struct Rules {
    pub(super) wants_dpop: bool,
    pub(super) takes_bearer: bool,
}

impl Rules {
    /// Checks an answer ([RFC 6749 §5.1](https://www.rfc-editor.org/rfc/rfc6749#section-5.1)). The time that counts began when the
    /// question went out.
    pub(super) fn read(
        self,
        answer: StandardTokenResponse<Extra, BasicTokenType>,
        now: UnixSeconds,
    ) -> Result<TokenAnswer, TokenError> {
        let is_dpop = match answer.token_type() {
            BasicTokenType::Bearer => false,
            BasicTokenType::Extension(kind) if kind == "dpop" => true,
            _ => return Err(refusal::misshapen().into()),
        };
        // RFC 9449 §5: an unbound token is no answer to a proof; somebody between could have taken the proof away.
        if is_dpop != self.wants_dpop && (is_dpop || !self.takes_bearer) {
            return Err(DOWNGRADE.into());
        }
        let Extra { id_token, issued_token_type } = answer.extra_fields();
        let one = |text: &str, is_allowed: fn(u8) -> bool| {
            let is_sound = (1..=LONGEST_TOKEN).contains(&text.len()) && text.bytes().all(is_allowed);
            if is_sound { Ok(Secret::from(text)) } else { Err(refusal::misshapen()) }
        };
        let scope = answer.scopes().map(|scopes| {
            let names: Vec<&str> = scopes.iter().map(|scope| scope.as_str()).filter(|name| !name.is_empty()).collect();
            names.join(" ").into_boxed_str()
        });
        let tokens = TokenSet {
            access_token: one(answer.access_token().secret(), is_b64token)?,
            is_dpop,
            expires_at: answer.expires_in().map(|life: Duration| now.saturating_add(life)),
            refresh_token: answer.refresh_token().map(|token| one(token.secret(), is_visible)).transpose()?,
            id_token: id_token.as_deref().map(|token| one(token, is_b64token)).transpose()?,
            scope,
        };
        Ok(TokenAnswer { tokens, issued_token_type: issued_token_type.as_deref().map(Into::into) })
    }
}

/// RFC 6750 §2.1: what can be sent behind `Bearer`.
fn is_b64token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte)
}

/// RFC 6749 appendix A.17.
const fn is_visible(byte: u8) -> bool {
    matches!(byte, b' '..=b'~')
}

const DOWNGRADE: Failure =
    Failure::new(FailureKind::BadGateway, "the provider's access token is not bound to our key, or bound unasked");
const LONGEST_TOKEN: usize = 16 * 1024;
