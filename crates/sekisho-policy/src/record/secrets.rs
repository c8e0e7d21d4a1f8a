//! Where secrets show in a text: by their form, or by what announces them.

use std::ops::Range;

/// Finds the secrets in a text, in order and none within another. All of it is looked at, whatever will be cut.
///
/// It may take more for one than is: what is announced without quotation marks goes on to the next `&`, or to the end.
pub(super) fn spans(text: &str) -> Vec<Range<usize>> {
    let bytes = text.as_bytes();
    let mut found = Vec::new();
    tokens(bytes, &mut found);
    announced(bytes, &mut found);
    found.sort_by_key(|span| span.start);
    let mut spans: Vec<Range<usize>> = Vec::with_capacity(found.len());
    for span in found {
        match spans.last_mut() {
            Some(last) if span.start <= last.end => last.end = last.end.max(span.end),
            _ => spans.push(span),
        }
    }
    spans
}

/// Finds JSON objects in base64url with two more parts behind them: a JWS or JWE.
fn tokens(bytes: &[u8], found: &mut Vec<Range<usize>>) {
    let is_token = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.".contains(byte);
    let mut start = 0;
    while start < bytes.len() {
        let word = run(bytes, start, is_token);
        if let Some(begin) = token_in(bytes.get(word.clone()).unwrap_or_default()) {
            // What hangs on it belongs to it.
            let end = run(bytes, word.end, is_token68).end;
            found.push(word.start + begin..end);
            start = end;
        }
        start = start.max(word.end) + 1;
    }
}

/// Tells where a token begins in a word of its characters.
fn token_in(word: &[u8]) -> Option<usize> {
    /// Of a header: `{"alg":""}` has more.
    const SHORTEST: usize = 12;
    // `{` and a quotation mark, a space, a line feed, a tab or a carriage return.
    let is_begin = |bytes: &[u8]| matches!(bytes, [b'e', b'y', b'A'..=b'D' | b'I'..=b'L'] | [b'e', b'w', b'k'..=b'r' | b'0'..=b'3']);
    let parts: Vec<&[u8]> = word.split(|byte| *byte == b'.').collect();
    let mut at = 0;
    for (nth, header) in parts.iter().enumerate() {
        let begin = header.windows(3).position(is_begin).filter(|begin| header.len() - begin >= SHORTEST);
        let [second, third] = [1, 2].map(|next| parts.get(nth + next).map(|part| part.len()));
        // The second part of a JWE is empty where the key is agreed on, and so is a payload that goes elsewhere.
        if let (Some(begin), Some(second), Some(third)) = (begin, second, third)
            && (second >= 4 || second == 0 && third >= 4)
        {
            return Some(at + begin);
        }
        at += header.len() + 1;
    }
    None
}

const SCHEMES: [&str; 3] = ["bearer", "dpop", "basic"];
/// Announce a secret wherever a name ends with them.
const NAMES: [&str; 10] = [
    "access_token",
    "refresh_token",
    "id_token",
    "subject_token",
    "actor_token",
    "client_assertion",
    "client_secret",
    "password",
    "api_key",
    "apikey",
];

/// Finds credentials that are announced, whatever they look like themselves: `Bearer …`, `access_token=…`, `"password": "…"`.
fn announced(bytes: &[u8], found: &mut Vec<Range<usize>>) {
    /// A word after a scheme that is shorter is no token: "bearer of bad news".
    const SHORTEST: usize = 8;
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let before = bytes.get(..at).unwrap_or_default();
        at += 1;
        let span = match byte {
            b' ' if SCHEMES.iter().any(|scheme| ends_with(before, scheme)) => {
                let spaces = run(bytes, at, |byte| *byte == b' ');
                Some(run(bytes, spaces.end, is_token68)).filter(|token| token.len() >= SHORTEST)
            }
            b'=' | b':' if is_named(before, byte) => Some(value(bytes, at)).filter(|value| !value.is_empty()),
            _ => None,
        };
        if let Some(span) = span {
            at = span.end;
            found.push(span);
        }
    }
}

/// Tells whether what stands before `=` or `:` names a secret.
fn is_named(before: &[u8], separator: u8) -> bool {
    let is_mark = |byte: &u8| b"\\\"'".contains(byte);
    let end = before.iter().rposition(|byte| *byte != b' ' && !is_mark(byte)).map_or(0, |last| last + 1);
    let (name, between) = before.split_at(end);
    if NAMES.iter().any(|secret| ends_with(name, secret)) || ends_with(name, "api-key") {
        return true;
    }
    // Before a colon these two stand in sentences as well, unless it is JSON.
    if separator == b':' && !between.iter().any(is_mark) {
        return false;
    }
    let is_in_name = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_".contains(byte);
    let is_code = name.len().checked_sub(4).is_some_and(|at| {
        // A `postal_code` is none.
        ends_with(name, "code") && !name.get(..at).and_then(<[u8]>::last).is_some_and(is_in_name)
    });
    is_code || ends_with(name, "token")
}

/// Returns where the value is that begins here: within its quotation marks, or up to the next `&`.
fn value(bytes: &[u8], at: usize) -> Range<usize> {
    let start = run(bytes, at, |byte| *byte == b' ').end;
    let rest = bytes.get(start..).unwrap_or_default();
    let (start, length) = match rest {
        [quote @ (b'"' | b'\''), inside @ ..] => (start + 1, quoted(inside, *quote)),
        // JSON within JSON: its end is not looked for.
        [b'\\', b'"', inside @ ..] => (start + 2, inside.len()),
        _ => (start, rest.iter().position(|byte| *byte == b'&').unwrap_or(rest.len())),
    };
    start..start + length
}

/// Returns how many bytes stand before the quotation mark that ends a text.
fn quoted(inside: &[u8], quote: u8) -> usize {
    let mut is_escaped = false;
    let is_end = |byte: &u8| {
        let is_end = *byte == quote && !is_escaped;
        is_escaped = *byte == b'\\' && !is_escaped;
        is_end
    };
    inside.iter().position(is_end).unwrap_or(inside.len())
}

/// Returns where the bytes end, from `at` on, that are of one kind.
fn run(bytes: &[u8], at: usize, is_of: impl Fn(&u8) -> bool) -> Range<usize> {
    at..at + bytes.get(at..).unwrap_or_default().iter().take_while(|byte| is_of(byte)).count()
}

fn is_token68(byte: &u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~+/=".contains(byte)
}

fn ends_with(before: &[u8], name: &str) -> bool {
    let at = before.len().checked_sub(name.len());
    at.and_then(|at| before.get(at..)).is_some_and(|end| end.eq_ignore_ascii_case(name.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const JWT: &str = "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhbGljZSJ9.c2lnbmF0dXJl";
    const JWE: &str = "eyJhbGciOiJkaXIiLCJlbmMiOiJBMTI4R0NNIn0..aXZpdml2aXZp.Y2lwaGVydGV4dA.dGFndGFn";

    /// Writes `#` in the place of each secret.
    fn without(text: &str) -> String {
        let mut shown = String::new();
        let mut from = 0;
        for span in spans(text) {
            shown.push_str(&text[from..span.start]);
            shown.push('#');
            from = span.end;
        }
        shown + &text[from..]
    }

    #[test]
    fn secrets_are_found_and_nothing_beside_them() {
        for (text, shown) in [
            (JWT, "#"),
            (JWE, "#"),
            ("eyJhbGciOiJFUzI1NiJ9..c2lnbmF0dXJl", "#"),
            ("é/eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhbGljZSJ9.?y", "é/#?y"),
            ("Basic YTpiY2Q=", "Basic #"),
            ("Bearer  abcd1234 ü", "Bearer  # ü"),
            ("dpop abcdefgh", "dpop #"),
            ("/x?a=b&Access_Token=s3cret&c=d", "/x?a=b&Access_Token=#&c=d"),
            ("/cb?code=abc&state=1", "/cb?code=#&state=1"),
            ("token=x", "token=#"),
            ("csrf_token=x", "csrf_token=#"),
            ("x-api-key: k", "x-api-key: #"),
            ("api_key=k&apikey=é", "api_key=#&apikey=#"),
            ("password: correct horse", "password: #"),
            ("password = x", "password = #"),
            ("password=1@x.org", "password=#"),
            (r#"{"access_token":"a\"b","n":1}"#, r##"{"access_token":"#","n":1}"##),
            (r#"{"code" : "a", "token": 7}"#, r##"{"code" : "#", "token": #"##),
            (r#"{\"token\":\"abc\"}"#, r##"{\"token\":\"#"##),
            (&format!("token=abc Bearer {JWT}"), "token=#"),
            (&format!("id_token={JWT}&x {JWT} y"), "id_token=#&x # y"),
        ] {
            assert_eq!(without(text), shown, "{text}");
        }
    }

    #[test]
    fn what_only_sounds_like_a_secret_is_none() {
        for text in [
            "",
            "basic plan for the bearer of bad news, password reset",
            "password=",
            "access_token=&x",
            "postal_code=12345&zipcode=1&country-code=DE",
            "status code: 503, invalid token: expired",
            "https://keycloak-production.internal.example.com/realms/shop",
            "monkeybusinesses.Inc.2024",
            "urn:order:42",
            "eyJhbGciOiJFUzI1NiJ9",
        ] {
            assert_eq!(without(text), text);
        }
    }

    #[test]
    fn long_texts_are_looked_at_in_no_time() {
        for piece in ["token=", "password ", "bearer ", "= ", "\"", "eyJhbGciOiJFUzI1NiJ9.", "a.", "Bearer abcdefgh "] {
            let text = piece.repeat(1_000_000 / piece.len());
            assert!(spans(&text).len() <= text.len() / 8 + 1);
        }
    }
}
