//! Parameters of requests, read strictly: `application/x-www-form-urlencoded`, each name once.

use std::fmt;

use zeroize::Zeroizing;

/// Bounds a form or a query in bytes.
pub(crate) const LONGEST: usize = 32 * 1024;
/// Bounds the number of parameters.
const MOST: usize = 64;
/// May stand several times ([RFC 8707 §2](https://www.rfc-editor.org/rfc/rfc8707#section-2), [RFC 8693 §2.1](https://www.rfc-editor.org/rfc/rfc8693#section-2.1)).
const REPEATABLE: [&str; 2] = ["resource", "audience"];

/// Holds the parameters of one request. Values are wiped on drop; `Debug` shows names only.
pub(crate) struct Form(Vec<(String, Zeroizing<String>)>);

/// Says why a text is no form. Flat, for it is told to the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FormError {
    Malformed,
    TooLarge,
    Repeated,
}

impl FormError {
    pub(crate) const fn description(self) -> &'static str {
        match self {
            Self::Malformed => "the parameters are not well formed",
            Self::TooLarge => "the request is too large",
            Self::Repeated => "a parameter stands more than once",
        }
    }
}

impl Form {
    /// Reads a body or a query string. An empty text is an empty form.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, FormError> {
        if bytes.len() > LONGEST {
            return Err(FormError::TooLarge);
        }
        let mut pairs: Vec<(String, Zeroizing<String>)> = Vec::new();
        for pair in bytes.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty()) {
            if pairs.len() == MOST {
                return Err(FormError::TooLarge);
            }
            let mut halves = pair.splitn(2, |byte| *byte == b'=');
            let name = decode(halves.next().unwrap_or_default())?;
            let value = decode(halves.next().unwrap_or_default())?;
            if !REPEATABLE.contains(&name.as_str()) && pairs.iter().any(|(known, _)| *known == *name) {
                return Err(FormError::Repeated);
            }
            pairs.push((name.to_string(), value));
        }
        Ok(Self(pairs))
    }

    /// Returns a value; a parameter without one counts as left out ([RFC 6749 §3.1](https://www.rfc-editor.org/rfc/rfc6749#section-3.1)).
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.all(name).next()
    }

    /// Lists the values of a parameter that may stand several times.
    pub(crate) fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        let named = self.0.iter().filter(move |(own, value)| *own == name && !value.is_empty());
        named.map(|(_, value)| value.as_str())
    }
}

impl fmt::Debug for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(name, _)| name)).finish()
    }
}

/// Undoes form encoding; the result is UTF-8 without NUL.
pub(crate) fn decode(encoded: &[u8]) -> Result<Zeroizing<String>, FormError> {
    let digit = |byte: Option<u8>| byte.and_then(|b| char::from(b).to_digit(16)).and_then(|d| u8::try_from(d).ok());
    let mut bytes = Zeroizing::new(Vec::with_capacity(encoded.len()));
    let mut rest = encoded.iter().copied();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let high = digit(rest.next()).ok_or(FormError::Malformed)?;
                let low = digit(rest.next()).ok_or(FormError::Malformed)?;
                high << 4 | low
            }
            byte if byte.is_ascii_graphic() => byte,
            _ => return Err(FormError::Malformed),
        });
    }
    let text = std::str::from_utf8(&bytes).map_err(|_| FormError::Malformed)?;
    if text.contains('\0') {
        return Err(FormError::Malformed);
    }
    Ok(Zeroizing::new(text.to_owned()))
}

/// Encodes a text for a form or a query.
pub(crate) fn encode(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_what_is_not_well_formed() {
        for (bad, error) in [
            (&b"a=1&a=2"[..], FormError::Repeated),
            (b"a=1&%61=2", FormError::Repeated),
            (b"a&a", FormError::Repeated),
            (b"a=&a=1", FormError::Repeated),
            (b"a=%", FormError::Malformed),
            (b"a=%4", FormError::Malformed),
            (b"a=%zz", FormError::Malformed),
            (b"a=%ff", FormError::Malformed),
            (b"a=%00", FormError::Malformed),
            (b"a=\xc3\xbc", FormError::Malformed),
            (b"a=b c", FormError::Malformed),
            (b"a=b\n", FormError::Malformed),
        ] {
            assert_eq!(Form::parse(bad).err(), Some(error), "{:?}", String::from_utf8_lossy(bad));
        }
        assert_eq!(Form::parse(&vec![b'a'; LONGEST + 1]).err(), Some(FormError::TooLarge));
        let many = (0..65).map(|n| format!("p{n}=1")).collect::<Vec<_>>().join("&");
        assert_eq!(Form::parse(many.as_bytes()).err(), Some(FormError::TooLarge));
    }

    #[test]
    fn reads_values_and_counts_empty_ones_as_left_out() {
        let form = Form::parse(b"a=1+2%2B3&b=&c&resource=x&resource=y&d=e=f").unwrap();
        assert_eq!(form.get("a"), Some("1 2+3"));
        assert_eq!((form.get("b"), form.get("c"), form.get("z")), (None, None, None));
        assert_eq!(form.all("resource").collect::<Vec<_>>(), ["x", "y"]);
        assert_eq!(form.get("d"), Some("e=f"));
        assert_eq!(format!("{:?}", Form::parse(b"password=hunter2").unwrap()), "[\"password\"]");
    }

    #[test]
    fn encoding_is_undone_by_decoding() {
        for text in ["", "a b+c", "https://x.example/?a=b&c", "ü\n\"'<>"] {
            assert_eq!(decode(encode(text).as_bytes()).unwrap().as_str(), text);
        }
    }
}
