//! The checks of registered claims that every kind of token shares ([RFC 7519 §4.1], [RFC 7662 §2.2]).
//!
//! For authors of authenticators: each function looks at claims whose origin has been proved, and holds one claim to the
//! same shape and the same limits wherever it came from.
//!
//! [RFC 7519 §4.1]: https://www.rfc-editor.org/rfc/rfc7519#section-4.1
//! [RFC 7662 §2.2]: https://www.rfc-editor.org/rfc/rfc7662#section-2.2

use std::time::Duration;

use crate::json::{JsonKind, JsonObject, JsonValue};
use crate::{Claim, Reject, UnixSeconds};

/// Checks that one of the audiences in `value`, the member `aud`, is one of `ours`, byte for byte.
///
/// # Errors
/// - [`Reject::Invalid`]: neither a string nor an array of strings.
/// - [`Reject::Audience`]: none of them is ours.
pub fn check_audience(value: JsonValue<'_>, ours: &[Box<str>]) -> Result<(), Reject> {
    let is_ours = |audience: &str| ours.iter().any(|own| **own == *audience);
    if value.kind() == JsonKind::String {
        let audience = value.as_str().ok_or(Reject::Invalid(Claim::Audience))?;
        return if is_ours(&audience) { Ok(()) } else { Err(Reject::Audience) };
    }
    let audiences = value.as_strings().ok_or(Reject::Invalid(Claim::Audience))?;
    if audiences.iter().any(|audience| is_ours(audience)) { Ok(()) } else { Err(Reject::Audience) }
}

/// Checks `exp` and returns the instant from which the token is dead, leeway included; `None` when there is no `exp`.
///
/// # Errors
/// - [`Reject::Invalid`]: not a date.
/// - [`Reject::Expired`]: `exp + leeway <= now`.
pub fn check_expiry(claims: &JsonObject, leeway: Duration, now: UnixSeconds) -> Result<Option<UnixSeconds>, Reject> {
    let Some(expiry) = date(claims, "exp", Claim::Expiry)? else { return Ok(None) };
    let until = expiry.saturating_add(leeway);
    if now >= until {
        return Err(Reject::Expired { by_secs: now.since(until).as_secs() });
    }
    Ok(Some(until))
}

/// Checks `nbf` and `iat`, and returns the instant from which the token is alive, leeway included.
///
/// # Errors
/// - [`Reject::Invalid`]: one of them is not a date.
/// - [`Reject::NotYetValid`]: `now < nbf - leeway`.
/// - [`Reject::IssuedInFuture`]: `now < iat - leeway`.
pub fn check_beginning(claims: &JsonObject, leeway: Duration, now: UnixSeconds) -> Result<UnixSeconds, Reject> {
    let begins = |name, claim| date(claims, name, claim).map(|at| at.unwrap_or_default().saturating_sub(leeway));
    let not_before = begins("nbf", Claim::NotBefore)?;
    if now < not_before {
        return Err(Reject::NotYetValid { by_secs: not_before.since(now).as_secs() });
    }
    let issued_at = begins("iat", Claim::IssuedAt)?;
    if now < issued_at {
        return Err(Reject::IssuedInFuture { by_secs: issued_at.since(now).as_secs() });
    }
    Ok(not_before.max(issued_at))
}

/// Reads the roles at each of `places`, JSON pointers ([RFC 6901](https://www.rfc-editor.org/rfc/rfc6901)); a place that is
/// absent holds none.
///
/// # Errors
/// [`Reject::Invalid`] for [`Claim::Custom`]: what stands there is neither a string nor an array of strings.
pub fn roles(claims: &JsonObject, places: &[Box<str>]) -> Result<Vec<Box<str>>, Reject> {
    let mut roles: Vec<Box<str>> = Vec::new();
    for pointer in places {
        let Some(value) = claims.pointer(pointer) else { continue };
        let found = value.as_strings().ok_or(Reject::Invalid(Claim::Custom))?;
        roles.extend(found.into_iter().filter(|role| !role.is_empty()).map(Into::into));
    }
    Ok(roles)
}

/// Tells whether a text has the form of a JSON pointer to a member ([RFC 6901 §3](https://www.rfc-editor.org/rfc/rfc6901#section-3)).
#[must_use]
pub fn is_pointer(text: &str) -> bool {
    text.starts_with('/') && text.split('~').skip(1).all(|after| after.starts_with(['0', '1']))
}

fn date(claims: &JsonObject, name: &str, claim: Claim) -> Result<Option<UnixSeconds>, Reject> {
    let Some(value) = claims.get(name) else { return Ok(None) };
    value.as_numeric_date().map(|seconds| Some(UnixSeconds::new(seconds))).ok_or(Reject::Invalid(claim))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn claims(json: &str) -> JsonObject {
        JsonObject::parse(json.as_bytes().to_vec()).expect("JSON")
    }

    fn at(seconds: u64) -> UnixSeconds {
        UnixSeconds::new(seconds)
    }

    #[test]
    fn an_audience_is_compared_as_a_whole_and_never_coerced() {
        let ours: [Box<str>; 2] = ["orders".into(), "42".into()];
        let check = |json: &str| check_audience(claims(json).get("aud").expect("there"), &ours);
        assert_eq!(check(r#"{"aud":"orders"}"#), Ok(()));
        assert_eq!(check(r#"{"aud":["x","orders"]}"#), Ok(()));
        for other in [r#""order""#, r#""orders ""#, r#""Orders""#, r#""""#, "[]", r#"["x"]"#] {
            assert_eq!(check(&format!(r#"{{"aud":{other}}}"#)), Err(Reject::Audience), "{other}");
        }
        for misshapen in ["42", "null", "true", "{}", r#"["orders",42]"#, r#"[["orders"]]"#, r#"{"orders":1}"#] {
            let expected = Err(Reject::Invalid(Claim::Audience));
            assert_eq!(check(&format!(r#"{{"aud":{misshapen}}}"#)), expected, "{misshapen}");
        }
    }

    #[test]
    fn a_token_dies_at_its_expiry_and_the_leeway_to_the_second() {
        let token = claims(r#"{"exp":1000}"#);
        assert_eq!(check_expiry(&token, MINUTE, at(1059)), Ok(Some(at(1060))));
        assert_eq!(check_expiry(&token, MINUTE, at(1060)), Err(Reject::Expired { by_secs: 0 }));
        assert_eq!(check_expiry(&token, Duration::ZERO, at(1002)), Err(Reject::Expired { by_secs: 2 }));
        assert_eq!(check_expiry(&claims("{}"), MINUTE, at(1)), Ok(None));
        for bad in [r#""1000""#, "-1", "1e300", "null", "[1000]"] {
            let token = claims(&format!(r#"{{"exp":{bad}}}"#));
            assert_eq!(check_expiry(&token, MINUTE, at(1)), Err(Reject::Invalid(Claim::Expiry)), "{bad}");
        }
    }

    #[test]
    fn a_token_begins_at_the_later_of_its_two_dates() {
        assert_eq!(check_beginning(&claims(r#"{"nbf":1000,"iat":900}"#), MINUTE, at(940)), Ok(at(940)));
        let ahead = Err(Reject::NotYetValid { by_secs: 1 });
        assert_eq!(check_beginning(&claims(r#"{"nbf":1000}"#), MINUTE, at(939)), ahead);
        let ahead = Err(Reject::IssuedInFuture { by_secs: 1 });
        assert_eq!(check_beginning(&claims(r#"{"iat":1000}"#), MINUTE, at(939)), ahead);
        assert_eq!(check_beginning(&claims("{}"), MINUTE, at(0)), Ok(at(0)));
        let bad = Err(Reject::Invalid(Claim::NotBefore));
        assert_eq!(check_beginning(&claims(r#"{"nbf":"1"}"#), MINUTE, at(939)), bad);
    }

    #[test]
    fn roles_come_from_every_place_and_only_as_strings() {
        let token = claims(r#"{"a":{"roles":["x",""]},"b":"y"}"#);
        let places: [Box<str>; 3] = ["/a/roles".into(), "/b".into(), "/c".into()];
        assert_eq!(roles(&token, &places), Ok(vec!["x".into(), "y".into()]));
        let misshapen = claims(r#"{"b":[1]}"#);
        assert_eq!(roles(&misshapen, &places), Err(Reject::Invalid(Claim::Custom)));
        assert!(is_pointer("/a/b~0~1"));
        for bad in ["", "a", "/a~", "/a~2"] {
            assert!(!is_pointer(bad), "{bad}");
        }
    }
}
