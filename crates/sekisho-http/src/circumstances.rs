use std::fmt;
use std::net::IpAddr;

use sekisho_core::json::JsonObject;

use crate::answer::Answer;
use crate::head::RequestHead;

/// Is what a request says of its circumstances, for the context of a question: its head, but for the path, of which the
/// router knows more.
///
/// Whatever a client can write, it can write as it likes: a policy that permits by a header trusts everybody who can reach
/// this service.
#[derive(Clone, Copy)]
pub struct Circumstances<'r>(&'r dyn Head);

/// Makes a JSON object of what a request says, for the context of a question or the properties of its action, or returns the
/// answer to refuse the request with.
pub type ReadCircumstances = fn(&Circumstances<'_>) -> Result<JsonObject, Answer>;

impl<'r> Circumstances<'r> {
    pub(crate) const fn new(head: &'r dyn Head) -> Self {
        Self(head)
    }

    /// Returns the method, in the letter case of the wire.
    #[must_use]
    pub fn method(&self) -> &'r str {
        self.0.method()
    }

    /// Returns the address of whoever made the connection, if it is known: of a proxy, where one stands before.
    #[must_use]
    pub fn peer(&self) -> Option<IpAddr> {
        self.0.peer()
    }

    /// Returns the value of the header `name`, given in lower case; `None` if there is none.
    ///
    /// # Errors
    /// 400 for several headers of this name, more than 4,096 bytes, or anything but visible ASCII and spaces: of what can be
    /// read in two ways, no policy must decide.
    pub fn header<'a>(&'a self, name: &'a str) -> Result<Option<&'a str>, Answer> {
        let mut values = self.0.header(name);
        let Some(value) = values.next() else { return Ok(None) };
        let is_plain = value.len() <= MAX_VALUE && value.iter().all(|byte| matches!(byte, b' '..=b'~'));
        match std::str::from_utf8(value) {
            Ok(text) if is_plain && values.next().is_none() => Ok(Some(text)),
            _ => Err(Answer::bad_request()),
        }
    }

    /// Reads by `read`, and refuses with 400 what grows too large.
    pub(crate) fn read(&self, read: ReadCircumstances) -> Result<JsonObject, Answer> {
        let object = read(self)?;
        if object.as_str().len() > MAX_OBJECT { Err(Answer::bad_request()) } else { Ok(object) }
    }
}

/// Bounds the value of a header, in bytes.
const MAX_VALUE: usize = 4096;
/// Bounds what is made of a request, in bytes.
const MAX_OBJECT: usize = 16 << 10;

impl fmt::Debug for Circumstances<'_> {
    /// Leaves out the headers, among which is the credential.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Circumstances")
            .field("method", &self.method())
            .field("peer", &self.peer())
            .finish_non_exhaustive()
    }
}

/// Is [`RequestHead`] as an object.
pub(crate) trait Head {
    fn method(&self) -> &str;
    fn peer(&self) -> Option<IpAddr>;
    fn header<'a>(&'a self, name: &'a str) -> Box<dyn Iterator<Item = &'a [u8]> + 'a>;
}

impl<H: RequestHead> Head for H {
    fn method(&self) -> &str {
        RequestHead::method(self)
    }

    fn peer(&self) -> Option<IpAddr> {
        RequestHead::peer(self)
    }

    fn header<'a>(&'a self, name: &'a str) -> Box<dyn Iterator<Item = &'a [u8]> + 'a> {
        Box::new(RequestHead::header(self, name))
    }
}
