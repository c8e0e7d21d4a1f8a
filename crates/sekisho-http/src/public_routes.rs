use sekisho_core::ConfigError;

/// Knows which paths need no credential.
///
/// The path is compared as it came. A server behind may decode it, join slashes or resolve dots before it chooses the
/// handler, so a path with anything of that kind is never public.
#[derive(Debug, Default)]
pub(crate) struct PublicRoutes {
    exact: Vec<Box<str>>,
    /// With the slash at the end.
    prefixes: Vec<Box<str>>,
}

impl PublicRoutes {
    pub(crate) fn add(&mut self, pattern: &str) -> Result<(), ConfigError> {
        let refuse = |why: &str| Err(ConfigError::new(format!("public route {pattern:?}: {why}")));
        let (stem, is_prefix) = pattern.strip_suffix('*').map_or((pattern, false), |stem| (stem, true));
        if !stem.starts_with('/') {
            return refuse("must start with a slash");
        }
        if !is_sound(stem) || stem.contains(['*', '?', '#', '{', '}', '%']) {
            return refuse(
                "must be a plain path: no dots as segments, no double slash, no query, no pattern but a last `/*`",
            );
        }
        if !is_prefix {
            self.exact.push(stem.into());
        } else if stem == "/" {
            return refuse("would leave nothing guarded");
        } else if stem.ends_with('/') {
            self.prefixes.push(stem.into());
        } else {
            return refuse("the star must follow a slash");
        }
        Ok(())
    }

    /// Adds a path that is compared whole, and so can hold anything.
    pub(crate) fn add_exact(&mut self, path: &str) {
        self.exact.push(path.into());
    }

    pub(crate) fn contains(&self, path: &str) -> bool {
        let Self { exact, prefixes } = self;
        exact.iter().any(|route| **route == *path)
            || (prefixes.iter().any(|prefix| path.starts_with(&**prefix)) && is_sound(path))
    }
}

/// Tells whether every server reads this path in the same way.
fn is_sound(path: &str) -> bool {
    if path.bytes().any(|b| !b.is_ascii_graphic() || matches!(b, b'\\' | b';')) {
        return false;
    }
    if path.contains("//") || path.split('/').any(|segment| matches!(segment, "." | "..")) {
        return false;
    }
    path.split('%').skip(1).all(|after| {
        let digits = after.get(..2).filter(|two| two.bytes().all(|b| b.is_ascii_hexdigit()));
        let byte = digits.and_then(|two| u8::from_str_radix(two, 16).ok());
        byte.is_some_and(|b| !b.is_ascii_control() && !b".%/\\;?#".contains(&b))
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn routes(patterns: &[&str]) -> PublicRoutes {
        let mut routes = PublicRoutes::default();
        for pattern in patterns {
            routes.add(pattern).unwrap();
        }
        routes
    }

    #[test]
    fn matches_an_exact_path_and_nothing_near_it() {
        let routes = routes(&["/health"]);
        assert!(routes.contains("/health"));
        for other in [
            "/health/",
            "//health",
            "/Health",
            "/health/x",
            "/healthz",
            "/%68ealth",
            "/./health",
            "/x/../health",
            "",
            "*",
        ] {
            assert!(!routes.contains(other), "{other}");
        }
    }

    #[test]
    fn matches_below_a_prefix_and_not_the_prefix_without_its_slash() {
        let routes = routes(&["/assets/*"]);
        for public in
            ["/assets/", "/assets/a.css", "/assets/a/b/c", "/assets/caf%C3%A9.png", "/assets/..a", "/assets/%20"]
        {
            assert!(routes.contains(public), "{public}");
        }
        for guarded in ["/assets", "/assetsx/a", "/x/assets/a", "/", "assets/a"] {
            assert!(!routes.contains(guarded), "{guarded}");
        }
    }

    #[test]
    fn never_matches_a_path_that_a_server_may_read_in_another_way() {
        let routes = routes(&["/assets/*"]);
        for hostile in [
            "/assets/../admin",
            "/assets/./a",
            "/assets/..",
            "/assets//admin",
            "/assets/%2e%2e/admin",
            "/assets/%2E%2E/admin",
            "/assets/.%2e/admin",
            "/assets/%2f../admin",
            "/assets/..%2fadmin",
            "/assets/%5c..%5cadmin",
            "/assets/..\\admin",
            "/assets/%252e%252e/admin",
            "/assets/..;/admin",
            "/assets/a;x=y",
            "/assets/%3b",
            "/assets/%00",
            "/assets/%0d%0a",
            "/assets/%zz",
            "/assets/%",
            "/assets/%2",
            "/assets/%+1",
            "/assets/\u{202e}",
            "/assets/a b",
        ] {
            assert!(!routes.contains(hostile), "{hostile}");
        }
    }

    #[test]
    fn refuses_patterns_that_open_more_than_they_show() {
        for pattern in [
            "", "*", "/*", "health", "/a*", "/a/**", "/*/b", "/a/*/b", "/a//b", "/a/../b", "/a/.", "/a?b", "/a#b",
            "/%61", "/{x}", "/a b", "/ü",
        ] {
            assert!(PublicRoutes::default().add(pattern).is_err(), "{pattern:?}");
        }
    }
}
