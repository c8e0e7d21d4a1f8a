//! Which addresses may be asked.

use sekisho_core::ConfigError;
use sekisho_http::address;
use url::Url;

/// Checks an address of the configuration: `https`, or `http` to this machine; no user info, no fragment.
pub(crate) fn check(text: &str) -> Result<Url, ConfigError> {
    address::check(text).map_err(|why| ConfigError::new(format!("the address {} cannot be asked: {why}", shown(text))))
}

/// Writes an address without query, fragment, user name and password, cut and on one line.
pub(crate) fn shown(url: &str) -> String {
    address::shown(url).escape_debug().take(200).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_addresses_that_leak_or_mislead() {
        for bad in [
            "http://id.example/feed",
            "http://localhost.id.example/",
            "http://169.254.169.254/",
            "ftp://localhost/feed",
            "file:///etc/passwd",
            "https://user:word@id.example/",
            "https://@id.example/",
            "https://id.example/#a",
            "https://id.example\\@evil.example/",
            "https://id.exa\tmple/",
            "https://id.example/\r\nhost: a",
            "https:id.example",
            "https://",
            "/feed",
            "",
        ] {
            assert!(check(bad).is_err(), "{bad:?}");
        }
        assert!(check(&format!("https://id.example/{}", "a".repeat(2048))).is_err());
        for good in
            ["https://id.example/feed?tenant=1", "http://127.0.0.1:8080/feed", "http://[::1]/", "http://localhost/"]
        {
            assert!(check(good).is_ok(), "{good}");
        }
    }

    #[test]
    fn shows_nothing_that_may_be_secret() {
        assert_eq!(shown("https://user:hush@id.example/feed?key=hush#hush"), "https://id.example/feed");
        let error = check("http://user:hush@id.example/feed?key=hush").unwrap_err().to_string();
        assert!(!error.contains("hush"), "{error}");
    }
}
