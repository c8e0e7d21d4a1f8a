use std::fmt;
use std::net::IpAddr;

use http::request::Parts;
use http::{Extensions, HeaderMap, HeaderValue, Method, Request, Uri};
use sekisho_http::{ClientCertificate, RequestHead};

use crate::around::{Around, ReadAround, of_extensions};

/// Reads the head of a request of the `http` crate, for those who put the question of an
/// [`EnforceLayer`](crate::EnforceLayer).
///
/// # Examples
/// ```
/// use sekisho_http::{Answer, Question, RouteQuestion};
/// use sekisho_tower::PartsHead;
///
/// const LIST: RouteQuestion = RouteQuestion::by_method("order");
///
/// fn ask(parts: &mut http::request::Parts) -> Result<Question, Answer> {
///     LIST.ask(&PartsHead::new(parts), |_| None)
/// }
/// ```
#[derive(Clone, Copy)]
pub struct PartsHead<'r> {
    method: &'r Method,
    uri: &'r Uri,
    headers: &'r HeaderMap,
    extensions: &'r Extensions,
    around: ReadAround,
}

impl<'r> PartsHead<'r> {
    /// Reads this head, and what stands around it as [`Around::of_extensions`] does.
    #[must_use]
    pub fn new(parts: &'r Parts) -> Self {
        let Parts { method, uri, headers, extensions, .. } = parts;
        Self { method, uri, headers, extensions, around: of_extensions }
    }

    /// Reads that of a whole request.
    pub(crate) fn of<B>(request: &'r Request<B>) -> Self {
        let (method, uri, headers) = (request.method(), request.uri(), request.headers());
        Self { method, uri, headers, extensions: request.extensions(), around: of_extensions }
    }

    /// Reads what stands around it by `around`, for frameworks that keep it elsewhere.
    #[must_use]
    pub const fn reading(self, around: ReadAround) -> Self {
        Self { around, ..self }
    }

    fn around(&self) -> Around<'_> {
        (self.around)(self.extensions)
    }
}

impl RequestHead for PartsHead<'_> {
    fn method(&self) -> &str {
        self.method.as_str()
    }

    fn path(&self) -> &str {
        self.uri.path()
    }

    fn header<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.headers.get_all(name).iter().map(HeaderValue::as_bytes)
    }

    fn whole_path(&self) -> &str {
        self.around().whole_path().unwrap_or_else(|| self.path())
    }

    fn peer(&self) -> Option<IpAddr> {
        self.around().peer()
    }

    fn client_certificate(&self) -> Option<ClientCertificate> {
        self.around().certificate().cloned()
    }
}

impl fmt::Debug for PartsHead<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PartsHead").field("method", &self.method).finish_non_exhaustive()
    }
}
