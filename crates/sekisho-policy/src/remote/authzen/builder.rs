use std::fmt;

use sekisho_core::{ConfigError, Secret};
use sekisho_http::address;

use crate::remote::strict;

use super::{AuthZen, AuthZenMetadata, Endpoints, Subjects};

/// Configures [`AuthZen`].
#[must_use]
pub struct AuthZenBuilder {
    pub(super) url: String,
    pub(super) endpoints: Option<Endpoints>,
    pub(super) credentials: Vec<(&'static str, Secret)>,
    pub(super) subjects: Subjects,
    pub(super) max_batch: usize,
    pub(super) echoes_ids: bool,
}

impl AuthZenBuilder {
    /// Authenticates us with a token, as `Authorization: Bearer`. Default: not at all.
    pub fn with_bearer(self, token: Secret) -> Self {
        let mut value = b"Bearer ".to_vec();
        value.extend_from_slice(token.expose());
        self.with_header("authorization", Secret::new(value))
    }

    /// Sends a header with each question: a key of ours, or what the service wants to know. `name` is in lower case.
    pub fn with_header(mut self, name: &'static str, value: Secret) -> Self {
        self.credentials.push((name, value));
        self
    }

    /// Asks about subjects of this issuer only; another's are denied without asking. Default: about all,
    /// and the service must look at the property `iss`, for a subject is unique within its issuer only.
    pub fn with_issuer(mut self, issuer: &str) -> Self {
        self.subjects.issuer = Some(issuer.to_owned());
        self
    }

    /// Tells these claims, if a principal has them, as properties of the subject under their own names. Default: none.
    pub fn with_claims<I: IntoIterator<Item = S>, S: Into<String>>(mut self, names: I) -> Self {
        self.subjects.claims = names.into_iter().map(Into::into).collect();
        self
    }

    /// Puts at most this many questions at once; 1 for no batches. Default 100; with Cerbos 1, and never more.
    pub const fn with_max_batch(mut self, count: usize) -> Self {
        self.max_batch = count;
        self
    }

    /// Does not compare the request id of an answer with the one that was sent, for a service that has ids of its own, against
    /// §10.1.3. Default: an answer with another id is none.
    pub const fn with_foreign_request_ids(mut self) -> Self {
        self.echoes_ids = false;
        self
    }

    /// Takes the endpoints from the service's metadata. Default: the paths of the standard.
    pub fn with_metadata(mut self, metadata: &AuthZenMetadata) -> Self {
        self.endpoints = Some(metadata.endpoints().clone());
        self.url = metadata.policy_decision_point().to_owned();
        self
    }

    /// Builds it.
    ///
    /// # Errors
    /// [`ConfigError`] when the address is not `https` nor on this machine, or has a query; a header cannot be sent; a claim
    /// has the name of another property or of a part of the protocol; no question, or more than 1,000, may be put at once.
    pub fn build(self) -> Result<AuthZen, ConfigError> {
        let Self { url, endpoints, credentials, subjects, max_batch, echoes_ids } = self;
        let what =
            |error| ConfigError::new(format!("the decision service {}", address::shown(&url))).with_source(error);
        address::check_issuer(&url).map_err(what)?;
        for (name, value) in &credentials {
            let is_name =
                !name.is_empty() && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
            let is_ours = matches!(*name, "content-type" | "content-length" | "accept" | "host" | "x-request-id");
            let is_value = !value.is_empty() && value.expose().iter().all(|byte| matches!(byte, b' '..=b'~'));
            if !is_name || is_ours || !is_value {
                return Err(ConfigError::new(format!("the header {name:?} cannot be sent, or its value cannot")));
            }
        }
        let taken = |name: &&String| {
            matches!(name.as_str(), "" | "iss" | "scopes" | "tenant") || name.as_str() == subjects.roles_property
        };
        if let Some(name) = subjects.claims.iter().find(taken) {
            return Err(ConfigError::new(format!("a property named {name:?} says something else already")));
        }
        if !(1..=1000).contains(&max_batch) || (max_batch > 1 && subjects.roles_property == "cerbos.roles") {
            return Err(ConfigError::new("between 1 and 1,000 questions at once, with Cerbos 1"));
        }
        let endpoints = endpoints.unwrap_or_else(|| Endpoints::below(&url));
        Ok(AuthZen { endpoints, credentials, subjects, max_batch, echoes_ids, digest: strict::Digest::default() })
    }
}

impl fmt::Debug for AuthZenBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuthZenBuilder").field("url", &address::shown(&self.url)).finish_non_exhaustive()
    }
}
