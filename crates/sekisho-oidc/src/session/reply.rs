use std::fmt;

use sekisho_http::{Answer, RequestHead};
use sekisho_session::{SetCookie, is_navigation};
use serde_json::Value;

/// Is a response in no framework's terms. No cache keeps it.
///
/// `Debug` shows the status only: a `Location` can hold an ID token, a cookie holds what nobody else may see.
#[derive(Clone)]
#[must_use]
pub struct Reply {
    status: u16,
    headers: Vec<(&'static str, String)>,
    cookies: Vec<SetCookie>,
    body: Vec<u8>,
}

impl Reply {
    /// Returns the HTTP status code.
    #[must_use]
    pub const fn status(&self) -> u16 {
        self.status
    }

    /// Lists the headers but for `Set-Cookie`: names in lower case, values of visible ASCII and spaces.
    pub fn headers(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.headers.iter().map(|(name, value)| (*name, value.as_str()))
    }

    /// Lists the values of `Set-Cookie`.
    #[must_use]
    pub fn cookies(&self) -> &[SetCookie] {
        &self.cookies
    }

    /// Returns the body.
    #[must_use]
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    pub(crate) fn redirect(location: impl Into<String>) -> Self {
        // The address that is left holds a code; it is used up, and nobody's business all the same.
        Self::new(303, Vec::new()).with("location", location).with("referrer-policy", "no-referrer")
    }

    pub(crate) fn json(status: u16, value: &Value) -> Self {
        Self::new(status, value.to_string().into_bytes()).with("content-type", "application/json")
    }

    pub(crate) fn empty(status: u16) -> Self {
        Self::new(status, Vec::new())
    }

    /// Goes on to a place of ours by a page instead of a redirect: a cookie that is `SameSite=Strict` goes along with what a page
    /// of ours leads to, and not with what another site's redirect ends at.
    pub(crate) fn page_to(place: &str) -> Self {
        let place = place.replace('&', "&amp;").replace('"', "&quot;").replace('\'', "&#39;");
        let html = format!(
            "<!doctype html><meta charset=\"utf-8\"><meta http-equiv=\"refresh\" content=\"0;url='{place}'\">\
             <title>Signed in</title><p><a href=\"{place}\">Go on</a></p>"
        );
        Self::html(200, html)
    }

    /// Refuses in fixed words, as a page to browsers and as problem details to everybody else. Nothing of the request is in it.
    pub(crate) fn refusal(head: &impl RequestHead, status: u16, title: &str, text: &str) -> Self {
        if is_navigation(head) {
            let html = format!(
                "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>{title}</title><h1>{title}</h1><p>{text}</p>\
                 <p><a href=\"/\">Home</a></p></html>"
            );
            return Self::html(status, html);
        }
        let body = serde_json::json!({ "type": "about:blank", "title": title, "status": status, "detail": text });
        Self::new(status, body.to_string().into_bytes()).with("content-type", "application/problem+json")
    }

    pub(crate) fn of(answer: &Answer) -> Self {
        let headers = answer.headers().filter(|(name, _)| *name != "cache-control");
        let headers = headers.map(|(name, value)| (name, String::from_utf8_lossy(&value).into_owned()));
        let mut reply = Self::new(answer.status(), answer.body().to_vec());
        reply.headers.extend(headers);
        reply
    }

    pub(crate) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub(crate) fn with_cookies(mut self, cookies: Vec<SetCookie>) -> Self {
        self.cookies.extend(cookies);
        self
    }

    fn html(status: u16, html: String) -> Self {
        Self::new(status, html.into_bytes())
            .with("content-type", "text/html; charset=utf-8")
            .with("content-security-policy", "default-src 'none'; frame-ancestors 'none'; base-uri 'none'")
            .with("referrer-policy", "no-referrer")
    }

    fn new(status: u16, body: Vec<u8>) -> Self {
        let headers = vec![("cache-control", "no-store".to_owned()), ("x-content-type-options", "nosniff".to_owned())];
        Self { status, headers, cookies: Vec::new(), body }
    }
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reply").field("status", &self.status).finish_non_exhaustive()
    }
}
