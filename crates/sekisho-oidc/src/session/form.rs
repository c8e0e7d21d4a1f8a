use std::borrow::Cow;

/// Is a query or a form in which no name that is asked for may stand twice.
pub(crate) struct Form<'f>(Vec<(Cow<'f, str>, Cow<'f, str>)>);

/// Says that a parameter stands twice.
#[derive(Debug)]
pub(crate) struct Repeated;

impl<'f> Form<'f> {
    /// Reads `application/x-www-form-urlencoded`; `None` when it is longer than 16 KiB or has more than 64 parameters.
    pub(crate) fn parse(bytes: &'f [u8]) -> Option<Self> {
        if bytes.len() > MAX_BYTES {
            return None;
        }
        let pairs: Vec<_> = url::form_urlencoded::parse(bytes).take(MAX_PAIRS + 1).collect();
        (pairs.len() <= MAX_PAIRS).then_some(Self(pairs))
    }

    /// Returns the value of a parameter; an empty one is none ([RFC 6749 §3.1](https://www.rfc-editor.org/rfc/rfc6749#section-3.1)).
    pub(crate) fn one(&self, name: &str) -> Result<Option<&str>, Repeated> {
        let mut values = self.0.iter().filter(|(other, _)| other == name).map(|(_, value)| &**value);
        let value = values.next();
        if values.next().is_some() {
            return Err(Repeated);
        }
        Ok(value.filter(|value| !value.is_empty()))
    }
}

const MAX_BYTES: usize = 16 * 1024;
const MAX_PAIRS: usize = 64;
