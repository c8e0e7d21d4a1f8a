//! The hash of one file as OPA's signatures have it.
//!
//! Files with structure, `data.json` and `.manifest`, are hashed by what they say: members sorted by name, no white space, numbers
//! as they are written, strings with the fewest escapes. All others are hashed by their bytes.

use std::ops::Range;

use sekisho_core::json::JsonObject;
use sekisho_jwt::{Algorithm, Backend};

use super::{BundleError, DATA, MANIFEST, is_named};

/// Is a hash that a signature may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HashAlgorithm {
    Sha256,
    Sha384,
    Sha512,
}

impl HashAlgorithm {
    pub(super) fn named(name: &str) -> Option<Self> {
        match name {
            "SHA-256" => Some(Self::Sha256),
            "SHA-384" => Some(Self::Sha384),
            "SHA-512" => Some(Self::Sha512),
            _ => None,
        }
    }

    /// Hashes a file, given by its name and content.
    pub(super) fn digest(self, backend: Backend, name: &str, content: &[u8]) -> Result<Vec<u8>, BundleError> {
        // The algorithm of a signature stands for the hash in it.
        let algorithm = match self {
            Self::Sha256 => Algorithm::Es256,
            Self::Sha384 => Algorithm::Es384,
            Self::Sha512 => Algorithm::Rs512,
        };
        if is_named(name, DATA) || is_named(name, MANIFEST) {
            let value = StrictJson::parse(content)?;
            return Ok(backend.digest_of(algorithm, &canonicalize(value.text())?));
        }
        Ok(backend.digest_of(algorithm, content))
    }
}

/// Bounds a file that is read for what it says.
pub(super) const MAX_STRUCTURED: usize = 16 << 20;

/// Is any JSON value, checked as [`JsonObject`] checks an object.
pub(super) struct StrictJson(JsonObject);

impl StrictJson {
    pub(super) fn parse(content: &[u8]) -> Result<Self, BundleError> {
        if content.len() > MAX_STRUCTURED {
            return Err(BundleError::TooLarge);
        }
        let mut text = Vec::with_capacity(content.len() + 6);
        text.extend_from_slice(b"{\"v\":");
        text.extend_from_slice(content);
        text.push(b'}');
        let object = JsonObject::parse(text).map_err(|_| BundleError::Json)?;
        // `1,"w":2` would be two members.
        if object.len() == 1 { Ok(Self(object)) } else { Err(BundleError::Json) }
    }

    pub(super) fn text(&self) -> &str {
        self.0.get("v").map_or("null", |value| value.as_json())
    }
}

/// Writes a checked value in the one form that is hashed.
fn canonicalize(text: &str) -> Result<Vec<u8>, BundleError> {
    let mut writer = Writer { text, at: 0, out: Vec::with_capacity(text.len()) };
    writer.value()?;
    Ok(writer.out)
}

/// Goes once through a checked text. Its depth was bounded when it was checked.
struct Writer<'a> {
    text: &'a str,
    at: usize,
    out: Vec<u8>,
}

/// Is a member that was written.
struct Member {
    /// Of its name in the text, quotes included.
    name: Range<usize>,
    /// The name, if it is written with escapes.
    unescaped: Option<Box<str>>,
    /// Of name and value in what was written.
    written: Range<usize>,
}

impl Member {
    fn name<'a>(&'a self, text: &'a str) -> &'a str {
        let quoted = || text.get(self.name.start + 1..self.name.end.saturating_sub(1)).unwrap_or_default();
        self.unescaped.as_deref().unwrap_or_else(quoted)
    }
}

impl Writer<'_> {
    fn value(&mut self) -> Result<(), BundleError> {
        match self.peek() {
            Some(b'{') => self.object(),
            Some(b'[') => self.array(),
            Some(b'"') => self.string().map(drop),
            _ => {
                let rest = self.text.as_bytes().get(self.at..).unwrap_or_default();
                let is_part = |byte: &&u8| !byte.is_ascii_whitespace() && !matches!(byte, b',' | b']' | b'}');
                let length = rest.iter().take_while(is_part).count();
                self.out
                    .extend_from_slice(rest.get(..length).filter(|part| !part.is_empty()).ok_or(BundleError::Json)?);
                self.at += length;
                Ok(())
            }
        }
    }

    fn array(&mut self) -> Result<(), BundleError> {
        self.take(b'[')?;
        self.out.push(b'[');
        let mut is_first = true;
        while self.peek() != Some(b']') {
            if !is_first {
                self.take(b',')?;
                self.out.push(b',');
            }
            is_first = false;
            self.value()?;
        }
        self.out.push(b']');
        self.take(b']')
    }

    /// Writes the members as they come, and puts them in order if they are in none.
    fn object(&mut self) -> Result<(), BundleError> {
        self.take(b'{')?;
        self.out.push(b'{');
        let start = self.out.len();
        let mut members: Vec<Member> = Vec::new();
        while self.peek() != Some(b'}') {
            if !members.is_empty() {
                self.take(b',')?;
                self.out.push(b',');
            }
            let begun = self.out.len();
            let (name, unescaped) = self.string()?;
            self.take(b':')?;
            self.out.push(b':');
            self.value()?;
            members.push(Member { name, unescaped, written: begun..self.out.len() });
        }
        self.take(b'}')?;
        let text = self.text;
        // By the bytes of the name.
        if !members.is_sorted_by(|one, other| one.name(text) <= other.name(text)) {
            members.sort_unstable_by(|one, other| one.name(text).cmp(other.name(text)));
            let mut sorted = Vec::with_capacity(self.out.len() - start);
            for member in &members {
                if !sorted.is_empty() {
                    sorted.push(b',');
                }
                sorted.extend_from_slice(self.out.get(member.written.clone()).unwrap_or_default());
            }
            self.out.truncate(start);
            self.out.append(&mut sorted);
        }
        self.out.push(b'}');
        Ok(())
    }

    /// Writes a string as Go's encoder does: like `serde_json`, but the two line separators that JavaScript minds are escaped.
    /// Returns where it stands, and what it says if that is not what stands there.
    fn string(&mut self) -> Result<(Range<usize>, Option<Box<str>>), BundleError> {
        self.peek();
        let (start, bytes) = (self.at, self.text.as_bytes());
        let (mut end, mut is_plain) = (start + 1, true);
        loop {
            match bytes.get(end).ok_or(BundleError::Json)? {
                b'"' => break,
                b'\\' => (end, is_plain) = (end + 2, false),
                _ => end += 1,
            }
        }
        self.at = end + 1;
        let place = start..self.at;
        let quoted = self.text.get(place.clone()).ok_or(BundleError::Json)?;
        let unescaped: Option<Box<str>> =
            if is_plain { None } else { Some(serde_json::from_str(quoted).map_err(|_| BundleError::Json)?) };
        let written = match &unescaped {
            None => quoted.to_owned(),
            Some(text) => serde_json::to_string(text).map_err(|_| BundleError::Json)?,
        };
        if written.contains(['\u{2028}', '\u{2029}']) {
            let escaped = written.replace('\u{2028}', "\\u2028").replace('\u{2029}', "\\u2029");
            self.out.extend_from_slice(escaped.as_bytes());
        } else {
            self.out.extend_from_slice(written.as_bytes());
        }
        Ok((place, unescaped))
    }

    /// Skips white space.
    fn peek(&mut self) -> Option<u8> {
        let rest = self.text.as_bytes().get(self.at..)?;
        let space = rest.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
        self.at += space;
        rest.get(space).copied()
    }

    fn take(&mut self, expected: u8) -> Result<(), BundleError> {
        if self.peek() == Some(expected) {
            self.at += 1;
            return Ok(());
        }
        Err(BundleError::Json)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn canonical(json: &str) -> String {
        let value = StrictJson::parse(json.as_bytes()).unwrap();
        String::from_utf8(canonicalize(value.text()).unwrap()).unwrap()
    }

    #[test]
    fn what_says_the_same_has_one_form() {
        for (json, expected) in [
            (r#" { "b" : 1 , "a" : [ true , null ] } "#, r#"{"a":[true,null],"b":1}"#),
            (r#"{"\u0062":{"d":1,"c":2}}"#, r#"{"b":{"c":2,"d":1}}"#),
            (r#"[1.50, 1e3, -0, 10000000000000000000001]"#, "[1.50,1e3,-0,10000000000000000000001]"),
            (r#""<a href=\"x\">&\/\u00e9\u0007""#, r#""<a href=\"x\">&/é\u0007""#),
            ("\"\u{2028}x\\u2029\u{7f}\"", "\"\\u2028x\\u2029\u{7f}\""),
            (r#"{"é":1,"z":2,"a":3,"B":4}"#, r#"{"B":4,"a":3,"z":2,"é":1}"#),
            (
                r#"{"b":{"z":[{"y":1,"x":2}],"a":" , : "},"a\"":{},"a":[]}"#,
                r#"{"a":[],"a\"":{},"b":{"a":" , : ","z":[{"x":2,"y":1}]}}"#,
            ),
            // By what the name says, not by how it is written.
            (r#"{"\u007a":1,"\n":2,"A":3,"\\":4,"a":5}"#, r#"{"\n":2,"A":3,"\\":4,"a":5,"z":1}"#),
            ("{\"\u{2028}\":1,\"a\":2}", "{\"a\":2,\"\\u2028\":1}"),
            ("{}", "{}"),
            ("[]", "[]"),
        ] {
            assert_eq!(canonical(json), expected);
        }
    }

    #[test]
    fn a_structured_file_is_bounded_and_put_in_order_down_to_the_deepest() {
        let over = format!("{}1", " ".repeat(MAX_STRUCTURED));
        assert!(matches!(StrictJson::parse(over.as_bytes()), Err(BundleError::TooLarge)));
        // As deep as can be, with all of the content at the bottom, and each level in the wrong order.
        let (open, close) = (r#"{"b":"#.repeat(29), r#","a":1}"#.repeat(29));
        let json = format!("{open}\"{}\"{close}", "x".repeat(4 << 20));
        let written = canonical(&json);
        assert!(written.starts_with(&r#"{"a":1,"b":"#.repeat(29)) && written.len() == json.len());
    }

    proptest::proptest! {
        #[test]
        fn the_one_form_is_that_of_sorted_members(
            names in proptest::collection::vec("[\\PC\"\\\\\u{0}-\u{1f}]{0,3}", 0..6), text in "[\\PC\"\\\\\u{0}-\u{1f}]{0,6}",
        ) {
            // `serde_json` sorts by name as well, unless it is told to keep the order.
            let sorted: std::collections::BTreeMap<_, _> = names.iter().map(|name| (name, [&text])).collect();
            let expected = serde_json::to_string(&sorted).unwrap().replace('\u{2028}', "\\u2028").replace('\u{2029}', "\\u2029");
            let reversed: Vec<String> =
                sorted.iter().rev().map(|(name, value)| format!("{} : {}", serde_json::json!(name), serde_json::json!(value))).collect();
            proptest::prop_assert_eq!(canonical(&format!("{{ {} }}", reversed.join(" , "))), expected);
        }
    }

    #[test]
    fn what_means_two_things_to_two_readers_is_refused() {
        let deep = format!("{}{}", "[".repeat(40), "]".repeat(40));
        for json in [
            "",
            "{",
            r#"{"a":1,"a":2}"#,
            r#"{"a":1,"\u0061":2}"#,
            "1,\"w\":2",
            "1}",
            "{}{}",
            "NaN",
            "\u{feff}{}",
            &deep,
        ] {
            assert!(StrictJson::parse(json.as_bytes()).is_err(), "{json}");
        }
    }
}
