//! Finding JWTs in whatever is about to leave.

use sekisho_core::json::JsonObject;
use serde_json::Value;

use crate::base64;

/// Tells whether a JWT, signed, unsigned or encrypted, stands anywhere in these bytes.
///
/// That is: characters of base64url that decode to a JSON object with `alg`, a dot, and more of them. What stands before, as in
/// `access_token=ey…`, does not matter.
pub(super) fn holds_jwt(bytes: &[u8]) -> bool {
    let mut parts = bytes.split(|byte| *byte == b'.').peekable();
    while let Some(part) = parts.next() {
        let Some(next) = parts.peek() else { return false };
        if next.first().is_some_and(is_base64url) && ends_in_header(part) {
            return true;
        }
    }
    false
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

/// Tells whether these bytes end in a JOSE header.
fn ends_in_header(bytes: &[u8]) -> bool {
    let length = bytes.iter().rev().take(LONGEST_HEADER).take_while(|byte| is_base64url(byte)).count();
    let run = bytes.get(bytes.len() - length..).unwrap_or_default();
    // `{"` or `{ `, and `{` before a line end or a tab.
    let starts = run.windows(2).enumerate().filter(|(_, pair)| matches!(*pair, b"ey" | b"ew"));
    starts.take(MOST_STARTS).any(|(start, _)| {
        let text = run.get(start..).and_then(|text| std::str::from_utf8(text).ok()).unwrap_or_default();
        base64::decode(text)
            .and_then(|json| JsonObject::parse(json).ok())
            .is_some_and(|header| header.get("alg").is_some())
    })
}

const fn is_base64url(byte: &u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')
}

/// Longer headers than our own verifier would ever be shown.
const LONGEST_HEADER: usize = 4096;
/// Random text begins like a header once in some hundred places; each costs a look.
const MOST_STARTS: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;

    fn jwt(header: &str) -> String {
        format!("{}.{}.c2lnbmF0dXJl", base64::encode(header.as_bytes()), base64::encode(br#"{"sub":"a"}"#))
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
        ] {
            assert!(!body_holds_jwt(text.as_bytes()), "{text}");
        }
    }

    #[test]
    fn a_mile_of_beginnings_costs_little() {
        let started = std::time::Instant::now();
        assert!(!holds_jwt("ey".repeat(500_000).as_bytes()));
        assert!(!holds_jwt(format!("{}.", "ey".repeat(2000)).repeat(100).as_bytes()));
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
