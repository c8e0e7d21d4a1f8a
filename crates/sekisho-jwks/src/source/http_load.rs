//! Loading a published key set over HTTP: the request, and what is made of the answer.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use sekisho_http::{HttpClient, HttpLimits, HttpRequest, HttpResponse, address};

use super::cache::{Loaded, Tag};
use super::load::{Load, LoadError};
use super::told::Skips;
use crate::{Backend, KeySet};

/// Bounds a validator that is sent back.
const MAX_ETAG: usize = 256;

/// Sends requests for documents and keys.
#[derive(Debug)]
pub(super) struct Http {
    pub(super) client: Arc<dyn HttpClient>,
    pub(super) limits: HttpLimits,
    pub(super) backend: Backend,
    pub(super) freshness: Freshness,
    pub(super) skips: Skips,
}

/// Tells whether the keys of an issuer named in a key set are asked for; `None` when it is not known whose are.
pub(super) type TakesIssuer<'a> = Option<&'a (dyn Fn(&str) -> bool + Sync)>;

/// Bounds how long an answer is fresh.
#[derive(Clone, Copy, Debug)]
pub(super) struct Freshness {
    pub(super) default: Duration,
    pub(super) least: Duration,
    pub(super) most: Duration,
}

impl Http {
    /// Loads the set at `url`, unless `tag` says that it is at hand already.
    pub(super) async fn load_set(
        &self,
        url: &str,
        tag: Option<&Tag>,
        takes_issuer: TakesIssuer<'_>,
    ) -> Result<Loaded, LoadError> {
        let tag = tag.filter(|tag| tag.origin == url);
        let response = self.client.send(set_request(url, tag), self.limits).await?;
        self.read_set(&response, url, tag, takes_issuer)
    }

    /// Returns the body of an answer that is whole, direct and not too long.
    pub(super) fn accepted<'a>(&self, response: &'a HttpResponse) -> Result<&'a [u8], LoadError> {
        match response.status {
            200 if response.body.len() > self.limits.max_body_bytes => {
                Err(LoadError::TooLarge(self.limits.max_body_bytes))
            }
            200 => Ok(&response.body),
            status @ 300..=399 => Err(LoadError::Redirect(status)),
            status => Err(LoadError::Status { status, retry_after: retry_after(response) }),
        }
    }

    fn read_set(
        &self,
        response: &HttpResponse,
        url: &str,
        tag: Option<&Tag>,
        takes_issuer: TakesIssuer<'_>,
    ) -> Result<Loaded, LoadError> {
        let ttl = self.freshness.of(&response.headers);
        if response.status == 304 {
            return if tag.is_some() { Ok(Loaded::Unchanged { ttl }) } else { Err(LoadError::UnaskedUnchanged) };
        }
        let set = KeySet::parse_where(self.backend, self.accepted(response)?, takes_issuer.map(|takes| takes as _))?;
        self.skips.tell(address::without_query(url), set.skipped());
        // A provider without any key is broken rather than without keys: what is at hand stays, within its bound.
        if set.keys().is_empty() {
            return Err(LoadError::no_usable_key(&set));
        }
        let etag = response.header("etag").filter(|etag| is_etag(etag));
        let tag = etag.map(|etag| Tag { origin: url.to_owned(), value: etag.as_bytes().to_vec() });
        Ok(Loaded::Keys { keys: set.keys().to_vec(), leaked: set.leaked().to_vec(), tag, ttl })
    }
}

fn set_request(url: &str, tag: Option<&Tag>) -> HttpRequest {
    let request = HttpRequest::get(url).with_header("accept", "application/jwk-set+json, application/json");
    match tag.and_then(|tag| std::str::from_utf8(&tag.value).ok()) {
        Some(etag) => request.with_header("if-none-match", etag),
        None => request,
    }
}

fn is_etag(text: &str) -> bool {
    let opaque = text.strip_prefix("W/").unwrap_or(text);
    text.len() <= MAX_ETAG
        && opaque.len() >= 2
        && opaque.starts_with('"')
        && opaque.ends_with('"')
        && opaque.bytes().all(|byte| matches!(byte, b'!'..=b'~'))
}

impl Freshness {
    /// Reads for how long an answer is fresh ([RFC 9111 §4.2](https://www.rfc-editor.org/rfc/rfc9111#section-4.2)), within the bounds.
    fn of(self, headers: &[(String, String)]) -> Duration {
        let named =
            |name: &'static str| headers.iter().filter(move |(n, _)| n == name).map(|(_, value)| value.as_str());
        let stated = named("cache-control").flat_map(|value| value.split(',')).filter_map(directive).min();
        let age = named("age").filter_map(|age| seconds(age.trim())).max().unwrap_or_default();
        let fresh = stated.map_or(self.default, |max_age| Duration::from_secs(max_age.saturating_sub(age)));
        fresh.max(self.least).min(self.most)
    }
}

/// Returns how many seconds a directive of `Cache-Control` grants.
fn directive(text: &str) -> Option<u64> {
    let (name, value) = text.trim().split_once('=').unwrap_or((text.trim(), ""));
    match name.to_ascii_lowercase().as_str() {
        "no-store" | "no-cache" => Some(0),
        "max-age" => seconds(value.trim_matches('"')),
        _ => None,
    }
}

/// Reads `Retry-After` in seconds ([RFC 9110 §10.2.3](https://www.rfc-editor.org/rfc/rfc9110#section-10.2.3)) where it asks for patience.
/// The form of a date is passed over: the clock of the provider is not ours.
fn retry_after(response: &HttpResponse) -> Option<Duration> {
    let value = matches!(response.status, 429 | 503).then(|| response.header("retry-after"))??;
    seconds(value.trim()).map(Duration::from_secs)
}

/// Reads digits; more than fit is for ever ([RFC 9111 §1.2.2](https://www.rfc-editor.org/rfc/rfc9111#section-1.2.2)).
fn seconds(digits: &str) -> Option<u64> {
    let valid = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    valid.then(|| digits.parse().unwrap_or(u64::MAX))
}

/// Loads the set of one fixed address.
pub(super) struct SetLoad {
    pub(super) http: Http,
    pub(super) url: String,
}

#[async_trait]
impl Load for SetLoad {
    async fn load(&self, tag: Option<Arc<Tag>>) -> Result<Loaded, LoadError> {
        self.http.load_set(&self.url, tag.as_deref(), None).await
    }

    fn origin(&self) -> &str {
        address::without_query(&self.url)
    }
}

impl fmt::Debug for SetLoad {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { http, url } = self;
        f.debug_struct("SetLoad").field("http", http).field("url", &address::shown(url)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fresh(headers: &[(&str, &str)]) -> u64 {
        let freshness = Freshness {
            default: Duration::from_secs(600),
            least: Duration::from_secs(60),
            most: Duration::from_secs(86_400),
        };
        let headers: Vec<_> = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        freshness.of(&headers).as_secs()
    }

    #[test]
    fn the_provider_says_how_long_an_answer_is_fresh_within_the_bounds() {
        for (value, expected) in [
            ("max-age=900", 900),
            ("public, MAX-AGE=900, must-revalidate", 900),
            ("max-age=\"900\"", 900),
            ("max-age=900, max-age=700", 700),
            ("max-age=900, no-cache", 60),
            ("no-store", 60),
            ("max-age=0", 60),
            ("max-age=59", 60),
            ("max-age=86401", 86_400),
            ("max-age=99999999999999999999999", 86_400),
            ("max-age=-1", 600),
            ("max-age=", 600),
            ("max-age", 600),
            ("max-age=1e9", 600),
            ("s-maxage=900", 600),
            ("private", 600),
            ("", 600),
        ] {
            assert_eq!(fresh(&[("cache-control", value)]), expected, "{value}");
        }
        assert_eq!(fresh(&[]), 600);
        assert_eq!(fresh(&[("cache-control", "public"), ("cache-control", "max-age=120")]), 120);
    }

    #[test]
    fn debug_shows_no_query() {
        let tag = Tag { origin: "https://id.example/?hush".to_owned(), value: b"hush".to_vec() };
        let loaded = Loaded::Keys { keys: Vec::new(), leaked: Vec::new(), tag: Some(tag), ttl: Duration::ZERO };
        assert!(!format!("{loaded:?}").contains("hush"));
    }

    #[test]
    fn the_age_in_a_shared_cache_counts() {
        assert_eq!(fresh(&[("cache-control", "max-age=900"), ("age", "300")]), 600);
        assert_eq!(fresh(&[("cache-control", "max-age=900"), ("age", "5000")]), 60);
        assert_eq!(fresh(&[("cache-control", "max-age=900"), ("age", "-5000")]), 900);
        assert_eq!(fresh(&[("age", "300")]), 600);
    }

    #[test]
    fn a_provider_that_is_busy_may_say_for_how_long() {
        let asked = |status, value: &str| {
            let headers = vec![("retry-after".to_owned(), value.to_owned())];
            retry_after(&HttpResponse { status, headers, body: Vec::new() }).map(|wait| wait.as_secs())
        };
        for status in [429, 503] {
            assert_eq!(asked(status, " 17 "), Some(17));
            assert_eq!(asked(status, "99999999999999999999999"), Some(u64::MAX));
            for bad in ["", "-1", "1.5", "+1", "soon", "Wed, 21 Oct 2015 07:28:00 GMT"] {
                assert_eq!(asked(status, bad), None, "{bad}");
            }
        }
        for status in [200, 301, 404, 500, 502, 504] {
            assert_eq!(asked(status, "17"), None, "{status}");
        }
    }

    #[test]
    fn only_a_well_formed_validator_is_sent_back() {
        for good in ["\"a\"", "W/\"a-b\"", "\"\""] {
            assert!(is_etag(good), "{good}");
        }
        for bad in ["a", "\"", "", "W/a", "\"a b\"", "\"a\u{e9}\""] {
            assert!(!is_etag(bad), "{bad}");
        }
        assert!(!is_etag(&format!("\"{}\"", "a".repeat(MAX_ETAG))));
    }
}
