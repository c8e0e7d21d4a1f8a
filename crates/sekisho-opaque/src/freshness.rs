//! For how long a provider lets its answer be kept ([RFC 9111 §4.2](https://www.rfc-editor.org/rfc/rfc9111#section-4.2)).

use std::time::Duration;

/// Is what an answer's headers say about keeping it. Whatever cannot be read means: do not keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Freshness {
    /// How long; `None` when nothing is said.
    pub(crate) lifetime: Option<Duration>,
    /// It may not be used once it is stale, even if the provider cannot be reached.
    pub(crate) must_revalidate: bool,
}

impl Freshness {
    /// Says nothing: the configuration alone decides.
    pub(crate) const UNSAID: Self = Self { lifetime: None, must_revalidate: false };
    const NEVER: Self = Self { lifetime: Some(Duration::ZERO), must_revalidate: true };

    /// Reads headers; names come in lower case.
    pub(crate) fn of(headers: &[(String, String)]) -> Self {
        let named =
            |name: &'static str| headers.iter().filter(move |(n, _)| n == name).map(|(_, value)| value.as_str());
        let mut this = Self::UNSAID;
        for directive in named("cache-control").flat_map(|value| value.split(',')).map(str::trim) {
            let (name, value) = directive.split_once('=').unwrap_or((directive, ""));
            match name.trim_end().to_ascii_lowercase().as_str() {
                "no-store" | "no-cache" => return Self::NEVER,
                "must-revalidate" => this.must_revalidate = true,
                "max-age" => {
                    // Two that differ are an error of the provider's: the shorter holds (RFC 9111 §4.2.1).
                    let stated = seconds(value.trim().trim_matches('"')).unwrap_or_default();
                    this.lifetime = Some(this.lifetime.map_or(stated, |other| other.min(stated)));
                }
                _ => {}
            }
        }
        // The older ways to say it. A date is not read: who writes `Expires` alone nearly always means "not at all".
        if this.lifetime.is_none() && (named("expires").next().is_some() || named("pragma").any(says_no_cache)) {
            return Self::NEVER;
        }
        if let Some(lifetime) = &mut this.lifetime {
            let age = named("age").map(|age| seconds(age.trim()).unwrap_or(Duration::MAX)).max().unwrap_or_default();
            *lifetime = lifetime.saturating_sub(age);
        }
        this
    }
}

fn says_no_cache(pragma: &str) -> bool {
    pragma.split(',').any(|directive| directive.trim().eq_ignore_ascii_case("no-cache"))
}

/// Reads digits; more than fit is for ever ([RFC 9111 §1.2.2](https://www.rfc-editor.org/rfc/rfc9111#section-1.2.2)).
fn seconds(digits: &str) -> Option<Duration> {
    let valid = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    valid.then(|| Duration::from_secs(digits.parse().unwrap_or(u64::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(headers: &[(&str, &str)]) -> Freshness {
        let owned: Vec<_> = headers.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        Freshness::of(&owned)
    }

    #[test]
    fn reads_the_shortest_max_age_and_takes_the_age_off() {
        for (headers, expected) in [
            (&[("cache-control", "max-age=30")][..], 30),
            (&[("cache-control", "private, MAX-AGE = \"30\"")], 30),
            (&[("cache-control", "max-age=30"), ("cache-control", "max-age=10")], 10),
            (&[("cache-control", "max-age=30"), ("age", "12")], 18),
            (&[("cache-control", "max-age=30"), ("age", "40")], 0),
            (&[("cache-control", "max-age=30"), ("age", "x")], 0),
            (&[("cache-control", "max-age=-1")], 0),
            (&[("cache-control", "max-age=1.5")], 0),
            (&[("cache-control", "max-age")], 0),
        ] {
            assert_eq!(of(headers).lifetime, Some(Duration::from_secs(expected)), "{headers:?}");
        }
        assert_eq!(
            of(&[("cache-control", "max-age=99999999999999999999")]).lifetime,
            Some(Duration::from_secs(u64::MAX))
        );
    }

    #[test]
    fn never_keeps_what_must_not_be_kept() {
        for headers in [
            &[("cache-control", "no-store")][..],
            &[("cache-control", "max-age=30, No-Store")],
            &[("cache-control", "no-cache")],
            &[("cache-control", "max-age=30"), ("cache-control", "private,no-cache=\"x\"")],
            &[("pragma", "no-cache")],
            &[("expires", "0")],
            &[("expires", "Thu, 01 Jan 2099 00:00:00 GMT")],
        ] {
            assert_eq!(of(headers), Freshness::NEVER, "{headers:?}");
        }
    }

    #[test]
    fn says_nothing_when_nothing_is_said() {
        assert_eq!(of(&[]), Freshness::UNSAID);
        assert_eq!(of(&[("cache-control", "private")]), Freshness::UNSAID);
        assert!(of(&[("cache-control", "max-age=9, must-revalidate")]).must_revalidate);
    }
}
