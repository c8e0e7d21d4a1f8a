//! Finding JWTs in whatever is about to leave.

use sekisho_core::json::JsonObject;
use serde_json::Value;

use crate::base64;

/// Tells whether a JWT, signed, unsigned or encrypted, stands anywhere in these bytes.
///
/// That is: characters of base64url that decode to a JSON object with `alg`, a dot, and more of them or another dot, for a JWE may
/// have no encrypted key ([RFC 7516 §7.1](https://www.rfc-editor.org/rfc/rfc7516#section-7.1)). What stands before, as in
/// `access_token=ey…`, does not matter. A text that is too long to be told counts as one.
pub(super) fn holds_jwt(bytes: &[u8]) -> bool {
    let mut parts = bytes.split(|byte| *byte == b'.').peekable();
    while let Some(part) = parts.next() {
        let Some(next) = parts.peek() else { return false };
        let goes_on = match next.first() {
            Some(first) => is_base64url(first),
            // Nothing between two dots; at the end of the text, it is a full stop.
            None => !is_last(&parts),
        };
        if goes_on && ends_in_header(part) {
            return true;
        }
    }
    false
}

/// Tells whether only the part that was peeked at is left.
fn is_last<'a>(parts: &(impl Iterator<Item = &'a [u8]> + Clone)) -> bool {
    parts.clone().nth(1).is_none()
}

/// Searches a body: its bytes, and if it is JSON, its strings as they are meant; an escape must not hide anything.
pub(super) fn body_holds_jwt(body: &[u8]) -> bool {
    if holds_jwt(body) {
        return true;
    }
    if !body.contains(&b'\\') {
        return false;
    }
    serde_json::from_slice::<Value>(body).is_ok_and(|value| value_holds_jwt(&value))
}

fn value_holds_jwt(value: &Value) -> bool {
    match value {
        Value::String(text) => holds_jwt(text.as_bytes()),
        Value::Array(values) => values.iter().any(value_holds_jwt),
        Value::Object(members) => {
            members.iter().any(|(name, value)| holds_jwt(name.as_bytes()) || value_holds_jwt(value))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

/// Tells whether these bytes end in a JOSE header, or in what may be one and cannot be told within bounds.
fn ends_in_header(bytes: &[u8]) -> bool {
    let length = bytes.iter().rev().take_while(|byte| is_base64url(byte)).count();
    let run = bytes.get(bytes.len() - length..).unwrap_or_default();
    let starts = run.windows(3).enumerate().filter(|(_, three)| begins_object(three)).map(|(start, _)| start);
    let mut looks = 0;
    for start in starts {
        let Some(text) = run.get(start..).and_then(|text| std::str::from_utf8(text).ok()) else { continue };
        if !begins_header(text) {
            continue;
        }
        looks += 1;
        // INVARIANT: what is not looked at whole does not pass; otherwise a long header, or many beginnings before it, would hide it.
        if text.len() > LONGEST_HEADER || looks > MOST_LOOKS || is_header(text) {
            return true;
        }
    }
    false
}

/// Knows the first three characters of an object's base64url: `{"` and `{ `, and `{` before a tab or a line end.
const fn begins_object(three: &[u8]) -> bool {
    matches!(three, [b'e', b'y', b'A'..=b'D' | b'I'..=b'L'] | [b'e', b'w', b'k'..=b'r' | b'0'..=b'3'])
}

/// Tells from the first characters whether an object could begin here, so that most of what is none costs no more than these.
fn begins_header(text: &str) -> bool {
    let Some(json) = base64::decode(text.get(..GLANCE).unwrap_or(text)) else { return false };
    let rest = json.get(1..).unwrap_or_default().trim_ascii_start();
    // The glance may end within a character.
    let is_text = std::str::from_utf8(rest).map_or_else(|e| e.error_len().is_none(), |_| true);
    let is_plain = |byte: &u8| *byte >= b' ' || byte.is_ascii_whitespace();
    is_text && matches!(rest.first(), None | Some(b'"')) && rest.iter().all(is_plain)
}

fn is_header(text: &str) -> bool {
    base64::decode(text).and_then(|json| JsonObject::parse(json).ok()).is_some_and(|header| header.get("alg").is_some())
}

const fn is_base64url(byte: &u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')
}

/// Longer headers than our own verifier would ever be shown.
const LONGEST_HEADER: usize = 4096;
/// How many possible headers in one text are looked at whole.
const MOST_LOOKS: usize = 512;
/// How many characters are decoded first: a multiple of four, so that any of them decode.
const GLANCE: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn jwt(header: &str) -> String {
        format!("{}.{}.c2lnbmF0dXJl", base64::encode(header.as_bytes()), base64::encode(br#"{"sub":"a"}"#))
    }

    /// Writes a JWE without an encrypted key, as `dir` and `ECDH-ES` have none.
    fn encrypted(header: &str) -> String {
        format!("{}..aXY.Y2lwaGVydGV4dA.dGFn", base64::encode(header.as_bytes()))
    }

    #[test]
    fn finds_a_jwt_wherever_it_stands() {
        let plain = jwt(r#"{"alg":"RS256","kid":"k"}"#);
        for text in [
            plain.clone(),
            format!("Bearer {plain}"),
            format!("https://app.example/#access_token={plain}&token_type=Bearer"),
            format!("x_{plain}"),
            format!("a.b.c{plain}"),
            format!(r#"{{"a":["{plain}"]}}"#),
            format!("eyeyey{plain}"),
            jwt(r#"{"alg":"none"}"#),
            jwt("{ \"alg\" : \"ES256\"}"),
            jwt("{\n\"alg\":\"ES256\"}"),
            jwt("{\r\n\"alg\":\"ES256\"}"),
            jwt("{\t\"alg\":\"ES256\"}"),
            jwt(r#"{"alg":"RSA-OAEP","enc":"A256GCM"}"#) + ".x.y",
            encrypted(r#"{"alg":"dir","enc":"A256GCM"}"#),
            encrypted(r#"{"alg":"ECDH-ES","enc":"A256GCM","epk":{"kty":"OKP","crv":"X25519","x":"x"}}"#),
            format!("https://app.example/#id_token={}&state=s", encrypted(r#"{"alg":"dir","enc":"A256GCM"}"#)),
            jwt(&format!(r#"{{"alg":"RS256","x5c":["{}"]}}"#, "M".repeat(4096))),
            jwt(&format!(r#"{{"x5c":["{}"],"alg":"RS256"}}"#, "M".repeat(40_000))),
            jwt(&format!("{{{}\"alg\":\"RS256\"}}", " \n".repeat(3000))),
            encrypted(&format!(r#"{{"alg":"dir","enc":"A256GCM","x5c":["{}"]}}"#, "M".repeat(4096))),
            format!("{}{plain}", base64::encode(br#"{"a"#).repeat(600)),
        ] {
            assert!(holds_jwt(text.as_bytes()), "{text}");
            assert!(body_holds_jwt(text.as_bytes()), "{text}");
        }
        let unsigned = plain.rsplit_once('.').expect("dots").0.to_owned();
        assert!(holds_jwt(format!("{unsigned}.").as_bytes()), "without a signature it is still a secret's two thirds");
    }

    #[test]
    fn finds_one_behind_escapes() {
        let escaped: String = jwt(r#"{"alg":"RS256"}"#).chars().map(|c| format!("\\u{:04x}", c as u32)).collect();
        let body = format!(r#"{{"a":[{{"b":"{escaped}"}}]}}"#);
        assert!(!holds_jwt(body.as_bytes()));
        assert!(body_holds_jwt(body.as_bytes()));
    }

    #[test]
    fn lets_what_is_none_pass() {
        for text in [
            "",
            ".",
            "...",
            "eyes.on.you",
            "they.said.so",
            "shop_zQ5cB1v3x8t7h2Kq4m9n6p0r5s1u3w7y2A4C6E8G0I2",
            r#"{"token_type":"Bearer","expires_in":300}"#,
            "eyJ0eXAiOiJKV1QifQ.e30.x", // {"typ":"JWT"}: no `alg`, so no reader takes it
            "www.example.com/a.b.c",
            "eyJhbGciOiJSUzI1NiJ9. A header that ends a sentence is no JWT.",
            "eyJhbGciOiJSUzI1NiJ9.",
            "eyJ0eXAiOiJKV1QifQ..aXY.Y2lwaGVydGV4dA.dGFn",
        ] {
            assert!(!body_holds_jwt(text.as_bytes()), "{text}");
        }
        // A long text that cannot begin a header, whatever comes behind.
        for text in ["ey", "abc", "eyJ", "ewo"] {
            assert!(!holds_jwt(format!("{}.x", text.repeat(10_000)).as_bytes()), "{text}");
        }
    }

    #[test]
    fn a_mile_of_beginnings_costs_little() {
        let started = std::time::Instant::now();
        assert!(!holds_jwt("ey".repeat(500_000).as_bytes()));
        assert!(!holds_jwt(format!("{}.", "ey".repeat(2000)).repeat(100).as_bytes()));
        assert!(!holds_jwt(format!("{}.", "eyJ".repeat(1300)).repeat(250).as_bytes()));
        assert!(!holds_jwt(format!("{}.", base64::encode(br#"{"a"#).repeat(500)).repeat(500).as_bytes()));
        assert!(!holds_jwt("..a".repeat(300_000).as_bytes()));
        assert!(started.elapsed() < std::time::Duration::from_secs(5));
    }

    proptest::proptest! {
        #[test]
        fn no_text_before_or_behind_hides_one(before in ".{0,40}", behind in "[^A-Za-z0-9_-].{0,40}|") {
            let text = format!("{before}{}{behind}", jwt(r#"{"alg":"RS256"}"#));
            proptest::prop_assert!(holds_jwt(text.as_bytes()));
        }
    }
}
