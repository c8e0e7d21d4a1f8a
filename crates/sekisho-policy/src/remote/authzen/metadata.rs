use sekisho_core::{ConfigError, Failure};
use sekisho_http::{HttpClient, HttpLimits, HttpRequest, HttpResponse, address};
use url::{Origin, Url};

use super::Endpoints;
use crate::remote::strict;

/// Is what a decision service says of itself (§9): where it is asked, and what it can be asked.
///
/// It was checked to speak of the service that was asked for it, and to send us nowhere else: each endpoint is `https`, or
/// `http` to this machine, and has the service's own origin or one that was allowed.
#[derive(Clone, Debug)]
pub struct AuthZenMetadata {
    policy_decision_point: String,
    endpoints: Endpoints,
}

impl AuthZenMetadata {
    /// Asks a service for its metadata: `/.well-known/authzen-configuration` is put between host and path (§9.2).
    ///
    /// # Errors
    /// [`ConfigError`] when the address is not `https` nor on this machine, or has a query.
    pub fn request(service: &str) -> Result<HttpRequest, ConfigError> {
        let mut url = checked(service)?;
        let path = url.path().trim_end_matches('/').to_owned();
        url.set_path(&format!("/.well-known/authzen-configuration{path}"));
        Ok(HttpRequest::get(url.as_str()).with_header("accept", "application/json"))
    }

    /// Reads the answer. `service` is the address that was asked, `allowed_origins` are others where endpoints may lie, as
    /// in `https://decisions.example`.
    ///
    /// Signed metadata is not looked at: the plain members count.
    ///
    /// # Errors
    /// [`Failure`] when it is not a JSON object that came with 200; `policy_decision_point` is not `service`, byte for byte;
    /// there is no `access_evaluation_endpoint`; an endpoint is not a string, not a usable address, or elsewhere.
    pub fn read(service: &str, response: &HttpResponse, allowed_origins: &[&str]) -> Result<Self, Failure> {
        let answer = strict::json_answer(response)?;
        let text = |name: &str| answer.get(name).map(|value| value.as_str().ok_or(MISSHAPEN)).transpose();
        if text("policy_decision_point")?.as_deref() != Some(service) {
            return Err(strict::malformed("the metadata is of another decision service"));
        }
        let unusable = |_| strict::unwritable("the address of the decision service cannot be used");
        let own = checked(service).map_err(unusable)?.origin();
        let allowed: Vec<Origin> = allowed_origins
            .iter()
            .filter_map(|origin| address::check_issuer(origin).ok())
            .map(|url| url.origin())
            .collect();
        let endpoint = |name: &str| -> Result<Option<String>, Failure> {
            let Some(url) = text(name)? else { return Ok(None) };
            let checked = address::check(&url).map_err(|error| MISSHAPEN.with_source(error))?;
            let origin = checked.origin();
            if origin != own && !allowed.contains(&origin) {
                return Err(strict::malformed("the metadata names an endpoint on another server"));
            }
            Ok(Some(url.into_owned()))
        };
        let endpoints = Endpoints {
            evaluation: endpoint("access_evaluation_endpoint")?.ok_or(MISSHAPEN)?,
            evaluations: endpoint("access_evaluations_endpoint")?,
            subjects: endpoint("search_subject_endpoint")?,
            resources: endpoint("search_resource_endpoint")?,
            actions: endpoint("search_action_endpoint")?,
        };
        Ok(Self { policy_decision_point: service.to_owned(), endpoints })
    }

    /// Asks a service for its metadata and reads them; endpoints must have its own origin.
    ///
    /// # Errors
    /// [`Failure`] as for [`request`](Self::request) and [`read`](Self::read), and when there is no answer in time.
    pub async fn fetch(service: &str, client: &dyn HttpClient, limits: HttpLimits) -> Result<Self, Failure> {
        let request = Self::request(service).map_err(|error| {
            strict::unwritable("the address of the decision service cannot be used").with_source(error)
        })?;
        let response = client.send(request, limits).await;
        let response =
            response.map_err(|error| Failure::unavailable("no metadata of the decision service").with_source(error))?;
        Self::read(service, &response, &[])
    }

    /// Returns the address of the service, which is its name.
    #[must_use]
    pub fn policy_decision_point(&self) -> &str {
        &self.policy_decision_point
    }

    pub(super) const fn endpoints(&self) -> &Endpoints {
        &self.endpoints
    }
}

const MISSHAPEN: Failure = strict::malformed("the metadata of the decision service cannot be used");

fn checked(service: &str) -> Result<Url, ConfigError> {
    address::check_issuer(service).map_err(|error| {
        ConfigError::new(format!("the decision service {}", address::shown(service))).with_source(error)
    })
}
