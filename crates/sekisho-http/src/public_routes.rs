use percent_encoding::percent_decode_str;
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
            || (prefixes.iter().any(|prefix| is_below(path, prefix)) && is_sound(path))
    }
}

/// Tells whether the path goes on after the prefix. The prefix alone is the guarded path itself to whoever trims slashes.
fn is_below(path: &str, prefix: &str) -> bool {
    path.strip_prefix(prefix).is_some_and(|rest| !rest.is_empty())
}

/// Tells whether every server reads this path (without its query) in the same way.
///
/// It does not if there is anything that one server decodes, joins, resolves or normalises and another does not: `//`, dots
/// as segments, `\`, `;`, control characters, text that is not UTF-8, broken percent-encoding, what hides one of these behind
/// percent-encoding, and what Unicode normalisation turns into one.
#[must_use]
pub fn is_unambiguous_path(path: &str) -> bool {
    is_sound(path)
}

fn is_sound(path: &str) -> bool {
    if path.bytes().any(|b| !b.is_ascii_graphic() || matches!(b, b'\\' | b';')) {
        return false;
    }
    if path.contains("//") || path.split('/').any(is_dots) {
        return false;
    }
    let is_encoding_sound = path.split('%').skip(1).all(|after| {
        let digits = after.get(..2).filter(|two| two.bytes().all(|b| b.is_ascii_hexdigit()));
        let byte = digits.and_then(|two| u8::from_str_radix(two, 16).ok());
        byte.is_some_and(|b| !b.is_ascii_control() && !b".%/\\;?#".contains(&b))
    });
    // Not UTF-8: an overlong `%c0%ae` is a dot to a careless decoder.
    let Ok(decoded) = percent_decode_str(path).decode_utf8() else { return false };
    is_encoding_sound
        && !decoded.contains(|c: char| c.is_control() || LOOK_ALIKES.contains(c))
        && !decoded.split('/').any(is_dots)
}

/// Tells whether a segment is one or two dots, to somebody who drops white space and what nobody sees: Windows and
/// some normalisers do.
fn is_dots(segment: &str) -> bool {
    let mut seen = segment.chars().filter(|c| !c.is_whitespace() && !UNSEEN.contains(*c));
    seen.next() == Some('.') && matches!((seen.next(), seen.next()), (None, _) | (Some('.'), None))
}

/// Characters without width: soft hyphen, joiners, direction marks, variation selectors and the byte order mark.
const UNSEEN: &str = concat!(
    "\u{ad}\u{34f}\u{61c}\u{180e}\u{200b}\u{200c}\u{200d}\u{200e}\u{200f}\u{202a}\u{202b}\u{202c}\u{202d}\u{202e}",
    "\u{2060}\u{2061}\u{2062}\u{2063}\u{2064}\u{2066}\u{2067}\u{2068}\u{2069}\u{fe00}\u{fe0e}\u{fe0f}\u{feff}",
);

/// Characters beyond ASCII whose compatibility form (NFKC) holds one of `/ \ ; % ? #` or is made of dots, and slashes that
/// only look like one: a server may normalise before it routes.
const LOOK_ALIKES: &str = concat!(
    "\u{2100}\u{2101}\u{2105}\u{2106}\u{ff0f}\u{2044}\u{2215}\u{29f8}\u{fe68}\u{ff3c}\u{29f5}\u{2216}",
    "\u{37e}\u{fe14}\u{fe54}\u{ff1b}\u{fe6a}\u{ff05}\u{2047}\u{2048}\u{2049}\u{fe16}\u{fe56}\u{ff1f}\u{fe5f}\u{ff03}",
    "\u{2024}\u{2025}\u{2026}\u{fe19}\u{fe30}\u{fe52}\u{ff0e}",
);

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
        for public in [
            "/assets/a/",
            "/assets/a.css",
            "/assets/a/b/c",
            "/assets/caf%C3%A9.png",
            "/assets/..a",
            "/assets/...",
            "/assets/%20",
            "/assets/a%20b",
        ] {
            assert!(routes.contains(public), "{public}");
        }
        for guarded in ["/assets", "/assetsx/a", "/x/assets/a", "/", "assets/a"] {
            assert!(!routes.contains(guarded), "{guarded}");
        }
    }

    #[test]
    fn a_prefix_alone_is_public_only_when_it_is_named() {
        // Behind a middleware that trims slashes, `/docs/` is `/docs`.
        assert!(!routes(&["/docs/*"]).contains("/docs/"));
        let both = routes(&["/docs/", "/docs/*"]);
        assert!(both.contains("/docs/") && both.contains("/docs/a") && !both.contains("/docs"));
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
            // Not UTF-8, overlong dots and slashes among it.
            "/assets/%c0%ae%c0%ae/admin",
            "/assets/..%c0%afadmin",
            "/assets/%e0%80%af",
            "/assets/%ff",
            "/assets/%c3",
            // Unicode that becomes dots, slashes and the like when it is normalised, and what only looks like them.
            "/assets/%ef%bc%8e%ef%bc%8e/admin",
            "/assets/..%ef%bc%8fadmin",
            "/assets/%e2%80%a5/admin",
            "/assets/%e2%84%80",
            "/assets/..%e2%88%95admin",
            "/assets/..%e2%81%84admin",
            "/assets/..%ef%bc%bcadmin",
            "/assets/%ef%bc%852e",
            "/assets/a%ef%bc%9bx",
            "/assets/%c2%85",
            "/assets/%zz",
            "/assets/%",
            "/assets/%2",
            "/assets/%+1",
            "/assets/\u{202e}",
            "/assets/a b",
            // Dots for whoever drops white space and what has no width.
            "/assets/..%20/admin",
            "/assets/%20../admin",
            "/assets/.%20./admin",
            "/assets/..%c2%a0/admin",
            "/assets/..%c2%ad/admin",
            "/assets/%e2%80%8b../admin",
            "/assets/..%ef%bb%bf",
        ] {
            assert!(!routes.contains(hostile), "{hostile}");
        }
    }

    #[test]
    fn tells_an_ambiguous_path_whatever_the_routes() {
        assert!(is_unambiguous_path("/orders/caf%C3%A9/"));
        for path in ["/a//b", "/a/../b", "/a;b", "/a%2fb", "/a\\b", "/%00"] {
            assert!(!is_unambiguous_path(path), "{path}");
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
