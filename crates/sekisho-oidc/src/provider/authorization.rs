//! The way to the provider: the authorization request, and where the browser takes it.

use oauth2::basic::BasicClient;
use oauth2::{AuthUrl, ClientId, CsrfToken, PkceCodeChallenge, PkceCodeVerifier, RedirectUrl, Scope};
use sekisho_core::{Failure, FailureKind, UnixSeconds};
use url::Url;

use super::Inner;
use super::builder::PushedRequests;
use super::metadata::Metadata;
use super::pending::{LoginStart, PendingLogin};
use super::request::LoginRequest;
use crate::tokens::TokenError;

impl Inner {
    pub(super) async fn start(&self, request: &LoginRequest, now: UnixSeconds) -> Result<LoginStart, Failure> {
        let pairs = request.pairs(&self.parameters)?;
        let metadata = self.metadata.get(now).await?;
        let pending =
            PendingLogin::new(self.backend, self.name, now)?.with_demands(request.max_age, &request.acr_values);
        let url = match self.pushed_to(&metadata)? {
            None => self.request(metadata.authorization.clone(), &pending, pairs)?,
            Some(endpoint) => self.push(endpoint, &metadata.authorization, &pending, pairs, now).await?,
        };
        Ok(LoginStart { url: url.into(), pending })
    }

    /// Returns where the request is pushed to, if it is.
    fn pushed_to<'m>(&self, metadata: &'m Metadata) -> Result<Option<&'m str>, Failure> {
        let endpoint = metadata.pushed.as_deref();
        match self.pushed_requests {
            PushedRequests::Never => Ok(None),
            PushedRequests::Auto if endpoint.is_none() && !metadata.requires_pushed => Ok(None),
            PushedRequests::Auto | PushedRequests::Always => endpoint.map(Some).ok_or_else(|| {
                Failure::new(FailureKind::BadGateway, "the provider names no endpoint for pushed requests")
            }),
        }
    }

    /// Writes the whole request behind an address
    /// ([OIDC Core §3.1.2.1](https://openid.net/specs/openid-connect-core-1_0.html#AuthRequest)).
    fn request(&self, base: Url, pending: &PendingLogin, pairs: Vec<(String, String)>) -> Result<Url, Failure> {
        let redirect_uri = RedirectUrl::new(self.redirect_uri.to_string())
            .map_err(|_| Failure::new(FailureKind::Misconfigured, "the redirect address is no usable URL"))?;
        let client = BasicClient::new(ClientId::new(self.client_id.to_string()))
            .set_auth_uri(AuthUrl::from_url(base))
            .set_redirect_uri(redirect_uri);
        let verifier = PkceCodeVerifier::new(pending.verifier().to_owned());
        let mut request = client
            .authorize_url(|| CsrfToken::new(pending.state().to_owned()))
            .set_pkce_challenge(PkceCodeChallenge::from_code_verifier_sha256(&verifier))
            .add_scopes(self.scope.split(' ').map(|name| Scope::new(name.to_owned())))
            .add_extra_param("nonce", pending.nonce().to_owned());
        if let Some(signer) = self.endpoint.dpop() {
            // RFC 9449 §10: whoever steals the code cannot use it with a key of her own.
            request = request.add_extra_param("dpop_jkt", signer.thumbprint().to_owned());
        }
        for (name, value) in pairs {
            request = request.add_extra_param(name, value);
        }
        Ok(request.url().0)
    }

    /// Sends the request ourselves, and has the browser carry what stands for it
    /// ([RFC 9126 §2](https://www.rfc-editor.org/rfc/rfc9126#section-2), §4).
    async fn push(
        &self,
        endpoint: &str,
        authorization: &Url,
        pending: &PendingLogin,
        pairs: Vec<(String, String)>,
        now: UnixSeconds,
    ) -> Result<Url, Failure> {
        let mut bare = authorization.clone();
        bare.set_query(None);
        let request = self.request(bare, pending, pairs)?;
        let pairs: Vec<_> = request.query_pairs().collect();
        let form: Vec<(&str, &str)> = pairs.iter().map(|(name, value)| (&**name, &**value)).collect();
        let answer = match self.endpoint.post_json(endpoint, &form, now).await {
            Ok(answer) => answer,
            Err(TokenError::Failure(failure)) => return Err(failure),
            Err(error) => {
                let refused = Failure::new(FailureKind::BadGateway, "the provider refuses the pushed request");
                return Err(refused.with_source(error));
            }
        };
        let request_uri = answer
            .get("request_uri")
            .and_then(|uri| uri.as_str())
            .filter(|uri| (1..=LONGEST_URI).contains(&uri.len()) && uri.bytes().all(|byte| byte.is_ascii_graphic()))
            .ok_or_else(|| {
                Failure::new(FailureKind::BadGateway, "the provider's answer to a pushed request is none")
            })?;
        let mut url = authorization.clone();
        url.query_pairs_mut().append_pair("client_id", &self.client_id).append_pair("request_uri", &request_uri);
        Ok(url)
    }
}

const LONGEST_URI: usize = 1024;
