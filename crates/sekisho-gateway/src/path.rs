use std::fmt;

use percent_encoding::percent_decode_str;
use sekisho_core::ConfigError;
use sekisho_http::is_unambiguous_path;

/// Is a request's path in the one form that is decided by and routed by.
///
/// A path that servers read in different ways (`//`, dots as segments, `\`, `;`, encoded slashes and dots, NUL, text that is not UTF-8,
/// what Unicode turns into one of these) has no such form. Of what is left, percent-encoded letters, digits, `-`, `_` and `~` are
/// decoded, and other percent-encodings are written in upper case ([RFC 3986 §6.2.2](https://www.rfc-editor.org/rfc/rfc3986#section-6.2.2)).
///
/// # Examples
/// ```
/// use sekisho_gateway::NormalPath;
/// assert_eq!(NormalPath::parse("/%6frders/caf%c3%a9")?.as_str(), "/orders/caf%C3%A9");
/// assert!(NormalPath::parse("/public/..%2fadmin").is_err());
/// # Ok::<(), sekisho_gateway::AmbiguousPath>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct NormalPath(Box<str>);

/// Says that a path has no form that all servers agree on. HTTP 400.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AmbiguousPath;

impl fmt::Display for AmbiguousPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the path can be read in more than one way")
    }
}

impl std::error::Error for AmbiguousPath {}

impl NormalPath {
    /// How many bytes a path may have.
    pub const MAX_BYTES: usize = 8 * 1024;

    /// Normalises a path, given without its query.
    ///
    /// # Errors
    /// [`AmbiguousPath`], also for what is longer than 8 KiB or does not begin with a slash.
    pub fn parse(path: &str) -> Result<Self, AmbiguousPath> {
        let is_taken = path.len() <= Self::MAX_BYTES
            && path.starts_with('/')
            && !path.contains(['#', '?'])
            && is_unambiguous_path(path);
        if !is_taken {
            return Err(AmbiguousPath);
        }
        let mut parts = path.split('%');
        let mut normal = String::with_capacity(path.len());
        normal.push_str(parts.next().unwrap_or_default());
        for part in parts {
            // Two hexadecimal digits follow, or the path would be ambiguous.
            let (digits, rest) = part.split_at_checked(2).ok_or(AmbiguousPath)?;
            match u8::from_str_radix(digits, 16).map_err(|_| AmbiguousPath)? {
                byte if byte.is_ascii_alphanumeric() || b"-_~".contains(&byte) => normal.push(char::from(byte)),
                _ => {
                    normal.push('%');
                    normal.push_str(&digits.to_ascii_uppercase());
                }
            }
            normal.push_str(rest);
        }
        Ok(Self(normal.into()))
    }

    /// Normalises a request target, splitting its query off, which stays as it is.
    ///
    /// # Errors
    /// As [`parse`](Self::parse).
    pub fn parse_target(target: &str) -> Result<(Self, Option<&str>), AmbiguousPath> {
        let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
        Ok((Self::parse(path)?, query))
    }

    /// Returns it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn segments(&self) -> impl Iterator<Item = &str> {
        self.0.split('/').skip(1)
    }
}

impl fmt::Display for NormalPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Is a pattern of paths: `/orders`, `/orders/{id}`, `/orders/*`.
///
/// `{name}` stands for one segment that is not empty. A last `/*` stands for all below; whether for the path itself too, with and
/// without its slash, the caller says: rules that restrict cover it, rules that open do not. So it is with a final slash: most servers
/// take `/orders/7/` for `/orders/7`, so rules that restrict stand for both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PathPattern {
    /// Without the empty one after a final slash.
    segments: Vec<Segment>,
    end: End,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// `/orders`
    Bare,
    /// `/orders/`
    Slash,
    /// `/orders/*`
    Below,
}

/// Says how a path may go on after a pattern's segments.
#[derive(Clone, Copy)]
struct Tails {
    /// Not at all.
    bare: bool,
    /// By a slash alone.
    slash: bool,
    /// By further segments.
    below: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Segment {
    Literal(Box<str>),
    Any,
}

impl PathPattern {
    pub(crate) fn parse(pattern: &str) -> Result<Self, ConfigError> {
        let refuse = |why: &str| Err(ConfigError::new(format!("path {pattern:?}: {why}")));
        let Some(rest) = pattern.strip_prefix('/') else { return refuse("must start with a slash") };
        let (rest, is_prefix) = match rest.strip_suffix('*') {
            Some("") => (None, true),
            Some(stem) => match stem.strip_suffix('/') {
                Some(stem) => (Some(stem), true),
                None => return refuse("a star stands alone after the last slash"),
            },
            None => (Some(rest), false),
        };
        let mut segments = Vec::new();
        for segment in rest.into_iter().flat_map(|rest| rest.split('/')) {
            if let Some(name) = segment.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) {
                if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
                    return refuse("a name in braces is made of letters, digits and `_`");
                }
                segments.push(Segment::Any);
                continue;
            }
            if segment.contains(['*', '{', '}', '?', '#']) {
                return refuse("a star or braces stand for whole segments, and a query has no place here");
            }
            let slashed = format!("/{segment}");
            let is_normal = NormalPath::parse(&slashed).is_ok_and(|normal| normal.as_str() == slashed);
            if !is_normal {
                return refuse("is not in its normal form, so no request could match it");
            }
            segments.push(Segment::Literal(segment.into()));
        }
        let is_empty = |segment: &Segment| matches!(segment, Segment::Literal(text) if text.is_empty());
        // An empty segment is a final slash; in the middle it would be a double one.
        let end = if is_prefix {
            End::Below
        } else if segments.pop_if(|last| is_empty(last)).is_some() {
            End::Slash
        } else {
            End::Bare
        };
        if segments.iter().any(is_empty) {
            return refuse("has a double slash");
        }
        Ok(Self { segments, end })
    }

    fn tails(&self, covers_itself: bool) -> Tails {
        Tails {
            // There is no path without a slash.
            bare: !self.segments.is_empty() && (self.end == End::Bare || covers_itself),
            slash: self.end == End::Slash || covers_itself,
            below: self.end == End::Below,
        }
    }

    /// Tells whether a path fits. `covers_itself`: `/a/*` stands for `/a` and `/a/` too, and each of those for the other.
    pub(crate) fn matches(&self, path: &NormalPath, covers_itself: bool) -> bool {
        let mut rest = path.segments();
        for segment in &self.segments {
            let fits = match (segment, rest.next()) {
                (Segment::Literal(literal), Some(found)) => **literal == *found,
                (Segment::Any, Some(found)) => !found.is_empty(),
                (_, None) => false,
            };
            if !fits {
                return false;
            }
        }
        let Tails { bare, slash, below } = self.tails(covers_itself);
        match rest.next() {
            None => bare,
            // In its normal form a path has no empty segment but the last.
            Some("") => slash,
            Some(_) => below,
        }
    }

    /// Tells whether whatever `other` names fits this: what it stands for with or without a final slash beside that does not count.
    pub(crate) fn covers(&self, covers_itself: bool, other: &Self, other_covers_itself: bool) -> bool {
        let (mine, theirs) = (&self.segments, &other.segments);
        if mine.len() > theirs.len() {
            return false;
        }
        let fits = mine.iter().zip(theirs).all(|(own, their)| match (own, their) {
            (Segment::Any, _) => true,
            (Segment::Literal(own), Segment::Literal(their)) => own == their,
            (Segment::Literal(_), Segment::Any) => false,
        });
        let tails = self.tails(covers_itself);
        if !fits || mine.len() < theirs.len() {
            return fits && tails.below;
        }
        let wanted = other.tails(other_covers_itself && other.end == End::Below);
        (tails.bare || !wanted.bare) && (tails.slash || !wanted.slash) && (tails.below || !wanted.below)
    }
}

/// Brings the host of a request into the form that is compared: lower case, no port, no final dot.
pub(crate) fn normal_host(host: &str) -> Option<String> {
    let host = match host.strip_prefix('[') {
        Some(rest) => {
            let (address, port) = rest.split_once(']')?;
            let is_port = port.is_empty() || port.strip_prefix(':').is_some_and(is_port);
            let address: std::net::Ipv6Addr = address.parse().ok()?;
            return is_port.then(|| format!("[{address}]"));
        }
        None => match host.split_once(':') {
            Some((host, port)) if is_port(port) => host,
            Some(_) => return None,
            None => host,
        },
    };
    let host = host.strip_suffix('.').unwrap_or(host);
    let is_name = !host.is_empty()
        && host.len() <= 253
        && host.bytes().all(|b| b.is_ascii_alphanumeric() || b".-_".contains(&b))
        && !host.split('.').any(str::is_empty);
    is_name.then(|| host.to_ascii_lowercase())
}

fn is_port(text: &str) -> bool {
    !text.is_empty() && text.len() <= 5 && text.bytes().all(|b| b.is_ascii_digit())
}

/// Decodes a normal path for a log.
pub(crate) fn shown_path(path: &NormalPath) -> String {
    crate::journey::shown(&percent_decode_str(path.as_str()).decode_utf8_lossy())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn fits(pattern: &str, path: &str, covers_itself: bool) -> bool {
        PathPattern::parse(pattern).unwrap().matches(&NormalPath::parse(path).unwrap(), covers_itself)
    }

    #[test]
    fn refuses_each_path_that_could_be_read_in_two_ways() {
        for path in [
            "",
            "*",
            "orders",
            "//orders",
            "/orders//x",
            "/a/../b",
            "/a/./b",
            "/..",
            "/a/..",
            "/%2e%2e/a",
            "/.%2e/a",
            "/a%2fb",
            "/a%2Fb",
            "/a%5cb",
            "/a\\b",
            "/a;b",
            "/a%3bb",
            "/a%00",
            "/a%0a",
            "/a%7f",
            "/a%25b",
            "/a%2",
            "/a%",
            "/a%zz",
            "/a%+1",
            "/a%ff",
            "/a%c0%ae",
            "/a%e0%80%af",
            "/a%23",
            "/a%3f",
            "/a#b",
            "/a?b",
            "/a b",
            "/a\tb",
            "/ü",
            "/a%ef%bc%8fb",
            "/a%c2%85",
            "/a%u002f",
            "http://x/a",
        ] {
            assert_eq!(NormalPath::parse(path), Err(AmbiguousPath), "{path:?}");
        }
        assert!(NormalPath::parse(&format!("/{}", "a".repeat(NormalPath::MAX_BYTES))).is_err());
    }

    #[test]
    fn one_path_has_one_form() {
        for (path, normal) in [
            ("/", "/"),
            ("/orders/", "/orders/"),
            ("/%6F%72ders", "/orders"),
            ("/%7euser", "/~user"),
            ("/caf%c3%a9", "/caf%C3%A9"),
            ("/a%20b", "/a%20b"),
            ("/a..b/...", "/a..b/..."),
        ] {
            let parsed = NormalPath::parse(path).unwrap();
            assert_eq!(parsed.as_str(), normal);
            assert_eq!(NormalPath::parse(normal).unwrap(), parsed);
        }
        let (path, query) = NormalPath::parse_target("/a?b=/../c?d#e").unwrap();
        assert_eq!((path.as_str(), query), ("/a", Some("b=/../c?d#e")));
    }

    proptest::proptest! {
        #[test]
        fn what_is_taken_means_the_same_to_whoever_decodes_joins_and_resolves(
            path in "(/|\\.|%2[eEfF]|%5c|%25|%00|;|\\\\|a|%61|%C3%A9|%c3|x){0,12}"
        ) {
            let Ok(normal) = NormalPath::parse(&format!("/{path}")) else { return Ok(()) };
            proptest::prop_assert_eq!(&NormalPath::parse(normal.as_str()).unwrap(), &normal);
            // Decoded twice, as two careless servers in a row would.
            let once = percent_decode_str(normal.as_str()).decode_utf8().unwrap().into_owned();
            let twice = percent_decode_str(&once).decode_utf8().unwrap().into_owned();
            proptest::prop_assert_eq!(&once, &twice);
            proptest::prop_assert_eq!(once.matches('/').count(), normal.as_str().matches('/').count());
            proptest::prop_assert!(!once.contains("//") && !once.contains(['\\', ';', '\0']));
            proptest::prop_assert!(once.split('/').all(|segment| segment != "." && segment != ".."));
        }
    }

    #[test]
    fn patterns_fit_whole_segments() {
        assert!(fits("/orders", "/orders", false) && fits("/", "/", false));
        assert!(fits("/orders/{id}", "/orders/7", false) && fits("/orders/{id}/items", "/orders/7/items", false));
        assert!(fits("/orders/*", "/orders/7", false) && fits("/orders/*", "/orders/7/items/", false));
        for (pattern, path) in [
            ("/orders", "/orders/"),
            ("/orders/", "/orders"),
            ("/orders", "/Orders"),
            ("/orders", "/ordersx"),
            ("/orders/{id}", "/orders/"),
            ("/orders/{id}", "/orders"),
            ("/orders/{id}", "/orders/7/"),
            ("/orders/*", "/ordersx/7"),
            ("/orders/*", "/orders"),
            ("/orders/*", "/orders/"),
            ("/*", "/"),
            ("/", "/a"),
        ] {
            assert!(!fits(pattern, path, false), "{pattern} {path}");
        }
        assert!(fits("/orders/*", "/orders", true) && fits("/orders/*", "/orders/", true) && fits("/*", "/", true));
    }

    #[test]
    fn what_restricts_a_path_restricts_it_with_and_without_a_final_slash() {
        for (pattern, path) in [
            ("/orders", "/orders/"),
            ("/orders/", "/orders"),
            ("/orders/{id}", "/orders/7/"),
            ("/orders/{id}/", "/orders/7"),
            ("/", "/"),
        ] {
            assert!(fits(pattern, path, true), "{pattern} {path}");
        }
        for (pattern, path) in [
            ("/orders", "/orders/7"),
            ("/orders/", "/orders/7"),
            ("/orders/{id}", "/orders/"),
            ("/orders/{id}", "/orders"),
            ("/orders/{id}/", "/orders/"),
            ("/", "/a"),
        ] {
            assert!(!fits(pattern, path, true), "{pattern} {path}");
        }
    }

    #[test]
    fn refuses_patterns_that_no_path_could_fit_or_that_show_less_than_they_open() {
        for pattern in [
            "", "orders", "*", "/a*", "/*/a", "/a/**", "/a//b", "//", "/a//*", "/../a", "/a/.", "/%61", "/%c3%a9",
            "/ü", "/a?b", "/a#b", "/{}", "/{a-b}", "/a{b}", "/{a", "/a;b", "/a\\b",
        ] {
            assert!(PathPattern::parse(pattern).is_err(), "{pattern:?}");
        }
        assert!(PathPattern::parse("/caf%C3%A9").is_ok());
    }

    #[test]
    fn knows_which_pattern_covers_which() {
        let covers = |a: &str, a_itself, b: &str, b_itself| {
            PathPattern::parse(a).unwrap().covers(a_itself, &PathPattern::parse(b).unwrap(), b_itself)
        };
        assert!(
            covers("/*", false, "/a", false) && covers("/a/*", true, "/a", false) && covers("/a/*", true, "/a/", false)
        );
        assert!(covers("/a/{x}", false, "/a/b", false) && covers("/a/*", false, "/a/*", false));
        assert!(!covers("/a/*", false, "/a", false) && !covers("/a/*", false, "/a/*", true));
        assert!(!covers("/a/b", false, "/a/{x}", false) && !covers("/a", false, "/a/*", true));
        assert!(!covers("/a/{x}", false, "/a/", false) && !covers("/b/*", true, "/a", false));
        assert!(!covers("/*", false, "/", false) && covers("/*", true, "/", false));
        // With and without a final slash.
        assert!(covers("/a", true, "/a/", true) && covers("/a/", true, "/a", true) && covers("/a", true, "/a/", false));
        assert!(
            covers("/a/*", true, "/a/", true) && covers("/a/{x}", true, "/a/b/", true) && covers("/", true, "/", true)
        );
        assert!(
            covers("/a", false, "/a", true) && !covers("/a/", false, "/a", false) && !covers("/a/*", false, "/a", true)
        );
        assert!(
            covers("/*", false, "/a", true)
                && !covers("/a", true, "/a/*", false)
                && !covers("/a/{x}", true, "/a", true)
        );
    }

    #[test]
    fn a_pattern_covers_only_what_fits_it() {
        let patterns =
            ["/", "/*", "/a", "/a/", "/a/*", "/{x}", "/{x}/", "/{x}/*", "/a/b", "/a/b/", "/a/{x}", "/a/{x}/"];
        let longer = |paths: &[String]| -> Vec<String> {
            paths.iter().flat_map(|path| ["a", "b", "c"].map(|segment| format!("{path}/{segment}"))).collect()
        };
        let one = longer(&[String::new()]);
        let (two, three) = (longer(&one), longer(&longer(&one)));
        let bare: Vec<String> = [one, two, three].concat();
        let slashed = bare.iter().map(|path| format!("{path}/"));
        let paths: Vec<String> = slashed.chain(bare.iter().cloned()).chain(["/".to_owned()]).collect();
        let mut covered = 0;
        for (a, b) in patterns.iter().flat_map(|a| patterns.iter().map(move |b| (*a, *b))) {
            for (own, other) in [(false, false), (false, true), (true, false), (true, true)] {
                let (one, two) = (PathPattern::parse(a).unwrap(), PathPattern::parse(b).unwrap());
                let named = other && b.ends_with('*');
                let implied = paths.iter().all(|path| !fits(b, path, named) || fits(a, path, own));
                // That any first segment is the same as all below the root is not seen, which only misses a mistake.
                let is_missed = a == "/{x}/*" && b == "/*";
                assert_eq!(one.covers(own, &two, other), implied && !is_missed, "{a} {own} {b} {other}");
                covered += usize::from(implied);
            }
        }
        assert!(covered > 100, "{covered}");
    }

    #[test]
    fn hosts_are_compared_in_one_form() {
        for (host, normal) in [
            ("API.Example", "api.example"),
            ("api.example:8443", "api.example"),
            ("api.example.", "api.example"),
            ("[::1]:80", "[::1]"),
            ("[0:0::1]", "[::1]"),
            ("127.0.0.1:1", "127.0.0.1"),
        ] {
            assert_eq!(normal_host(host).as_deref(), Some(normal));
        }
        for host in [
            "", ":80", "a b", "a/b", "a@b", "a:b", "a:", "a:123456", "a..b", ".", "[::1", "[x]", "ü", "a\\b", "a,b",
            "a%2e",
        ] {
            assert_eq!(normal_host(host), None, "{host:?}");
        }
    }
}
