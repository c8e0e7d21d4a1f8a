//! One exchange with an endpoint: credentials, proof, nonce, bounds; and the way of `oauth2` to it.

use std::pin::Pin;

use oauth2::AsyncHttpClient;
use sekisho_core::json::JsonObject;
use sekisho_core::{Failure, FailureKind, UnixSeconds};
use sekisho_http::{HttpClient, HttpError, HttpLimits, HttpMethod, HttpRequest, HttpResponse, address};
use tokio::runtime::Handle;
use url::form_urlencoded::{Serializer, parse};

use super::{Inner, refusal};
use crate::tokens::TokenError;

impl Inner {
    /// Sends a form and returns the answer, whatever its status.
    ///
    /// A second time, once, when the server asks for a nonce ([RFC 9449 §8](https://www.rfc-editor.org/rfc/rfc9449#section-8)): it has
    /// then looked at nothing else. Assertion and proof are made anew for it.
    pub(super) async fn exchange(
        &self,
        url: &str,
        form: &[(&str, &str)],
        proves_key: bool,
        now: UnixSeconds,
    ) -> Result<HttpResponse, TokenError> {
        check(url)?;
        let signer = self.dpop.as_ref().filter(|_| proves_key);
        let mut is_first = true;
        loop {
            let mut request = self.request(url, form, now)?;
            if let Some(signer) = signer {
                let nonce = self.nonces.get(url);
                request = request.with_header("dpop", signer.prove("POST", url, None, nonce.as_deref(), now)?);
            }
            let response = send(&*self.http, request, self.limits).await.map_err(refusal::no_answer)?;
            let is_new = signer.is_some() && self.nonces.note(url, response.header("dpop-nonce"));
            if is_first && is_new && refusal::asks_for_nonce(&response) {
                is_first = false;
                continue;
            }
            return Ok(response);
        }
    }

    fn request(&self, url: &str, form: &[(&str, &str)], now: UnixSeconds) -> Result<HttpRequest, Failure> {
        let proof = self.credentials.prove(&self.issuer, self.backend, now)?;
        // RFC 9126 §2.1 wants it in the form, beside `Basic` too; nowhere may it stand twice, and `oauth2` does not know it.
        let writes_id = proof.parameters().any(|(name, _)| name == "client_id");
        let is_ours = |(name, value): &&(&str, &str)| *name != "client_id" || !writes_id && !value.is_empty();
        let body = Serializer::new(String::new())
            .extend_pairs(form.iter().filter(is_ours))
            .extend_pairs(proof.parameters())
            .finish();
        let mut headers = vec![
            ("accept", "application/json".to_owned()),
            ("content-type", "application/x-www-form-urlencoded".to_owned()),
        ];
        headers.extend(proof.authorization().map(|value| ("authorization", value.to_owned())));
        Ok(HttpRequest { method: HttpMethod::Post, url: url.to_owned(), headers, body: body.into_bytes() })
    }
}

/// Sends a request within its limits, also where a client of the user's own forgets them: it must not hold everybody who waits for the
/// same answer.
pub(crate) async fn send(
    http: &dyn HttpClient,
    request: HttpRequest,
    limits: HttpLimits,
) -> Result<HttpResponse, HttpError> {
    let exchange = http.send(request, limits);
    let response = match Handle::try_current() {
        Ok(_) => tokio::time::timeout(limits.total_timeout, exchange).await.unwrap_or(Err(HttpError::Timeout))?,
        Err(_) => exchange.await?,
    };
    if response.body.len() > limits.max_body_bytes { Err(HttpError::TooLarge) } else { Ok(response) }
}

/// Wherever an address came from, secrets go nowhere in the clear.
pub(super) fn check(url: &str) -> Result<(), Failure> {
    let refused = Failure::new(FailureKind::Misconfigured, "an endpoint's address may not be asked");
    address::check(url).map(drop).map_err(|e| refused.with_source(e))
}

/// Passes a 2xx answer whose body is strict JSON, and says what any other means.
pub(super) fn success(response: HttpResponse) -> Result<HttpResponse, TokenError> {
    if !matches!(response.status, 200 | 201) {
        return Err(refusal::of(&response));
    }
    let is_json = response.header("content-type").is_none_or(|kind| {
        let kind = kind.split(';').next().unwrap_or_default().trim();
        kind.eq_ignore_ascii_case("application/json")
    });
    // Members that stand twice, or deeper than anybody reads, are seen before `oauth2` takes one of them.
    if !is_json || JsonObject::parse(response.body.clone()).is_err() {
        return Err(refusal::misshapen().into());
    }
    Ok(response)
}

/// Is the HTTP client that `oauth2` sends its forms with.
pub(super) struct Wire<'e> {
    pub(super) endpoint: &'e Inner,
    pub(super) url: &'e str,
    pub(super) now: UnixSeconds,
}

impl<'c> AsyncHttpClient<'c> for Wire<'_> {
    type Error = TokenError;
    type Future = Pin<Box<dyn Future<Output = Result<oauth2::HttpResponse, TokenError>> + Send + 'c>>;

    fn call(&'c self, request: oauth2::HttpRequest) -> Self::Future {
        Box::pin(async move {
            let pairs: Vec<_> = parse(request.body()).collect();
            let form: Vec<(&str, &str)> = pairs.iter().map(|(name, value)| (&**name, &**value)).collect();
            let response = success(self.endpoint.exchange(self.url, &form, true, self.now).await?)?;
            let mut answer = oauth2::HttpResponse::new(response.body);
            *answer.status_mut() =
                oauth2::http::StatusCode::from_u16(response.status).map_err(|_| refusal::misshapen())?;
            Ok(answer)
        })
    }
}
