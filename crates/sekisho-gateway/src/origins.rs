//! Which pages may cause requests.

use http::StatusCode;
use http::header::{self, HeaderMap, HeaderValue};
use sekisho_core::{ConfigError, CredentialKind};
use sekisho_http::{Checkpoint, CsrfRules, RequestHead};

use crate::decision::Original;
use crate::refusal::{Refused, of_answer, problem};

/// Lists the origins of pages that may cause requests, or none, and then each host's own pages may.
#[derive(Clone, Debug, Default)]
pub(crate) struct Origins {
    listed: Option<Vec<String>>,
    rules: CsrfRules,
}

impl Origins {
    pub(crate) fn listed<S: Into<String>>(origins: impl IntoIterator<Item = S>) -> Result<Self, ConfigError> {
        let listed: Vec<String> = origins.into_iter().map(Into::into).collect();
        if listed.is_empty() {
            // Not a way to say "nobody": cookies would be compared with the host, as without a list.
            return Err(ConfigError::new(
                "a list of origins without one lets no page in: name them, or leave the list out",
            ));
        }
        let rules = listed.iter().try_fold(CsrfRules::new(), |rules, origin| {
            // Its own as well, or an origin that is not listed would be compared with the host.
            rules.with_own_origin(origin)?.with_trusted_origin(origin)
        })?;
        Ok(Self { listed: Some(listed), rules })
    }

    /// Refuses requests from pages of other origins than the listed, whatever credential they have.
    pub(crate) fn check_page(&self, headers: &HeaderMap) -> Result<(), Refused> {
        let Some(listed) = &self.listed else { return Ok(()) };
        let is_listed = |value: &HeaderValue| listed.iter().any(|origin| value.as_bytes() == origin.as_bytes());
        if headers.get_all(header::ORIGIN).iter().all(is_listed) {
            return Ok(());
        }
        tracing::info!(target: "sekisho", "request refused: it comes from a page of another origin");
        Err(problem(StatusCode::FORBIDDEN))
    }

    /// Refuses what another site may have caused, where the credential is a cookie: it goes along whoever causes the request.
    pub(crate) fn check_cookie(&self, checkpoint: &Checkpoint, original: &Original<'_>) -> Result<(), Refused> {
        let sources = checkpoint.sources();
        if sources.cookie().is_none() {
            return Ok(());
        }
        let Err(forgery) = self.rules.check(&Asked(original), true) else { return Ok(()) };
        // Several credentials, or none that can be read, are for the checkpoint to refuse.
        match sources.extract(original) {
            Ok(Some(credential)) if credential.kind() == CredentialKind::Cookie => Err(of_answer(&forgery.answer())),
            _ => Ok(()),
        }
    }
}

/// Is a request with the host that the client named, which a proxy that asks does not name in its own `Host`.
struct Asked<'o>(&'o Original<'o>);

impl RequestHead for Asked<'_> {
    fn method(&self) -> &str {
        self.0.method
    }

    fn path(&self) -> &str {
        self.0.path.as_str()
    }

    fn header<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        let is_host = name.eq_ignore_ascii_case("host");
        let told = self.0.authority.filter(|_| is_host).map(str::as_bytes);
        told.into_iter().chain(self.0.header(name).filter(move |_| !is_host))
    }
}
