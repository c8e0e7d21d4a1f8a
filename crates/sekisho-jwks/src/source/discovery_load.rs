//! Loading a key set by way of a discovery document.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use sekisho_core::json::JsonObject;
use sekisho_http::{HttpRequest, address};

use super::cache::{Loaded, Tag};
use super::http_load::Http;
use super::load::{Load, LoadError};

/// Loads the document and then the set it names.
#[derive(Debug)]
pub(super) struct DiscoveryLoad {
    http: Http,
    issuer: String,
    /// Where the document may be.
    places: Vec<String>,
    is_local: bool,
    takes_tenant_template: bool,
    document_lifetime: Duration,
    found: Mutex<Option<Found>>,
}

#[derive(Clone)]
struct Found {
    jwks_uri: Arc<str>,
    /// Which of the places had the document.
    place: usize,
    since: Instant,
    /// Set while the last load of the set has not ended well.
    is_stale: bool,
}

impl DiscoveryLoad {
    pub(super) fn new(
        http: Http,
        issuer: String,
        places: Vec<String>,
        is_local: bool,
        takes_tenant_template: bool,
        document_lifetime: Duration,
    ) -> Self {
        let found = Mutex::new(None);
        Self { http, issuer, places, is_local, takes_tenant_template, document_lifetime, found }
    }

    async fn jwks_uri(&self) -> Result<Arc<str>, LoadError> {
        let known = self.found.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(known) = known.as_ref().filter(|k| !k.is_stale && k.since.elapsed() < self.document_lifetime) {
            return Ok(Arc::clone(&known.jwks_uri));
        }
        // The place that had it last comes first, then the others in their order.
        let last = known.map_or(0, |known| known.place);
        let order = std::iter::once(last).chain((0..self.places.len()).filter(|place| *place != last));
        let mut first_error = None;
        for place in order {
            match self.document(place).await {
                Ok(jwks_uri) => {
                    let found =
                        Found { jwks_uri: Arc::clone(&jwks_uri), place, since: Instant::now(), is_stale: false };
                    *self.found.lock().unwrap_or_else(PoisonError::into_inner) = Some(found);
                    return Ok(jwks_uri);
                }
                // A provider that is away is away at the other places too.
                Err(error) if error.is_transient() => return Err(error),
                Err(error) => _ = first_error.get_or_insert(error),
            }
        }
        Err(first_error.unwrap_or(LoadError::Document))
    }

    async fn document(&self, place: usize) -> Result<Arc<str>, LoadError> {
        let url = self.places.get(place).ok_or(LoadError::Document)?;
        let request = HttpRequest::get(url).with_header("accept", "application/json");
        let response = self.http.client.send(request, self.http.limits).await?;
        self.read_document(self.http.accepted(&response)?)
    }

    fn read_document(&self, body: &[u8]) -> Result<Arc<str>, LoadError> {
        // RFC 8259 §8.1: a byte order mark may be passed over, as in key sets.
        let body = body.strip_prefix("\u{feff}".as_bytes()).unwrap_or(body);
        let document = JsonObject::parse(body.to_vec()).map_err(|_| LoadError::Document)?;
        let member = |name| document.get(name).and_then(|value| value.as_str()).ok_or(LoadError::Document);
        let issuer = member("issuer")?;
        // A document for another issuer would make that issuer's keys ours.
        if *issuer != *self.issuer && !(self.takes_tenant_template && fits_template(&issuer, &self.issuer)) {
            let shown: String = issuer.chars().take(200).flat_map(char::escape_debug).collect();
            return Err(LoadError::OtherIssuer(shown));
        }
        let jwks_uri = member("jwks_uri")?;
        let parsed = address::check(&jwks_uri).map_err(LoadError::JwksUri)?;
        if address::points_here(&parsed) && !self.is_local {
            return Err(LoadError::JwksUri(address::UrlError::Loopback));
        }
        Ok(Arc::from(&*jwks_uri))
    }

    fn set_stale(&self, is_stale: bool) {
        if let Some(found) = self.found.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
            found.is_stale = is_stale;
        }
    }
}

impl fmt::Debug for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { jwks_uri, place, since: _, is_stale } = self;
        f.debug_struct("Found")
            .field("jwks_uri", &address::shown(jwks_uri))
            .field("place", place)
            .field("is_stale", is_stale)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl Load for DiscoveryLoad {
    async fn load(&self, tag: Option<Arc<Tag>>) -> Result<Loaded, LoadError> {
        let jwks_uri = self.jwks_uri().await?;
        let takes_issuer = |issuer: &str| issuer == self.issuer || fits_template(issuer, &self.issuer);
        // Before and not after: when the time of the attempt is over, this future just ends, wherever it waits.
        self.set_stale(true);
        let loaded = self.http.load_set(&jwks_uri, tag.as_deref(), Some(&takes_issuer)).await?;
        self.set_stale(false);
        Ok(loaded)
    }

    fn origin(&self) -> &str {
        &self.issuer
    }
}

/// Tells whether the configured issuer is `template` with one path segment for its one `{tenantid}`.
fn fits_template(template: &str, configured: &str) -> bool {
    let Some((before, after)) = template.split_once("{tenantid}") else { return false };
    let tenant = configured.strip_prefix(before).and_then(|rest| rest.strip_suffix(after));
    let is_segment = before.ends_with('/') && (after.is_empty() || after.starts_with('/'));
    is_segment && tenant.is_some_and(|tenant| !tenant.is_empty() && !tenant.contains('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_no_query() {
        let jwks_uri = Arc::from("https://id.example/keys?hush");
        let debug = format!("{:?}", Found { jwks_uri, place: 0, since: Instant::now(), is_stale: false });
        assert!(debug.contains("https://id.example/keys") && !debug.contains("hush"), "{debug}");
    }

    #[test]
    fn a_template_stands_for_one_path_segment_and_nothing_else() {
        let configured = "https://login.example/organizations/v2.0";
        assert!(fits_template("https://login.example/{tenantid}/v2.0", configured));
        for other in [
            "https://login.example/{tenantid}/v2.0/",
            "https://login.example/{tenantid}",
            "https://login.example/organizations{tenantid}/v2.0",
            "https://{tenantid}/v2.0",
            "https://login.example/{tenantid}/{tenantid}",
            "https://evil.example/{tenantid}/v2.0",
            "{tenantid}",
            "https://login.example/{tenantId}/v2.0",
            "https://login.example/common/v2.0",
        ] {
            assert!(!fits_template(other, configured), "{other}");
        }
        assert!(!fits_template("https://login.example/{tenantid}/v2.0", "https://login.example/a/b/v2.0"));
        assert!(!fits_template("https://login.example/{tenantid}/v2.0", "https://login.example//v2.0"));
    }
}
