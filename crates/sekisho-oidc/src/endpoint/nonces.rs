use std::fmt;
use std::sync::Arc;

use quick_cache::sync::Cache;
use url::Url;

/// Remembers each server's last `DPoP-Nonce` ([RFC 9449 §8.2](https://www.rfc-editor.org/rfc/rfc9449#section-8.2)), by origin.
#[derive(Clone)]
pub(crate) struct Nonces(Arc<Cache<Box<str>, Arc<str>>>);

impl Nonces {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Cache::new(MOST_SERVERS)))
    }

    pub(crate) fn get(&self, url: &str) -> Option<Arc<str>> {
        self.0.get(&*origin(url)?)
    }

    /// Keeps a nonce, and tells whether it is one, and another than before.
    pub(crate) fn note(&self, url: &str, nonce: Option<&str>) -> bool {
        let (Some(nonce), Some(origin)) = (nonce.filter(|nonce| is_nonce(nonce)), origin(url)) else { return false };
        if self.0.get(&*origin).is_some_and(|known| &*known == nonce) {
            return false;
        }
        self.0.insert(origin, nonce.into());
        true
    }
}

impl fmt::Debug for Nonces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Nonces({} servers)", self.0.len())
    }
}

fn origin(url: &str) -> Option<Box<str>> {
    let origin = Url::parse(url).ok()?.origin();
    origin.is_tuple().then(|| origin.ascii_serialization().into())
}

/// RFC 9449 §8.1: visible ASCII without `"` and `\`.
fn is_nonce(text: &str) -> bool {
    (1..=LONGEST).contains(&text.len()) && text.bytes().all(|byte| matches!(byte, b'!' | b'#'..=b'[' | b']'..=b'~'))
}

const MOST_SERVERS: usize = 256;
const LONGEST: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_what_is_a_nonce_for_its_server_alone() {
        let nonces = Nonces::new();
        assert!(nonces.note("https://id.example/token", Some("n-1")));
        assert!(!nonces.note("https://id.example/par", Some("n-1")), "not new");
        assert_eq!(nonces.get("https://id.example/userinfo?a").as_deref(), Some("n-1"));
        for elsewhere in ["https://id.example:8443/", "http://id.example/", "https://api.example/", "nonsense"] {
            assert_eq!(nonces.get(elsewhere), None, "{elsewhere}");
        }
        let long = "n".repeat(LONGEST + 1);
        for bad in [None, Some(""), Some("a b"), Some("a\"b"), Some("a\\b"), Some("ö"), Some(&*long)] {
            assert!(!nonces.note("https://id.example/token", bad), "{bad:?}");
        }
        assert_eq!(nonces.get("https://id.example/").as_deref(), Some("n-1"));
    }

    #[test]
    fn keeps_no_more_than_so_many() {
        let nonces = Nonces::new();
        for number in 0..1000 {
            nonces.note(&format!("https://{number}.example/"), Some("n"));
        }
        assert!(nonces.0.len() <= MOST_SERVERS);
    }
}
