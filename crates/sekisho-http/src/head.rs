use std::net::IpAddr;

use crate::ClientCertificate;

/// Is the part of a request that a checkpoint looks at: method, path, headers.
///
/// A framework adapter implements it over its own request type, so that the rules of this crate need neither
/// version of the `http` crate. Implementers copy nothing.
pub trait RequestHead {
    /// Returns the method, in the letter case of the wire.
    fn method(&self) -> &str;

    /// Returns the path as it came, percent-encoding and all, without the query.
    fn path(&self) -> &str;

    /// Lists the values of the header `name` (given in lower case), one item per header line, as raw bytes.
    fn header<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]>;

    /// Tells whether any header of these `names` (given in lower case) is there. Default: [`header`](Self::header) of each; an
    /// adapter whose look-ups cost more than a look at all the names that are there goes through those once. It must say what
    /// `header` says: [`CsrfRules`](crate::CsrfRules) know a WebSocket by it.
    fn has_any(&self, names: &[&str]) -> bool {
        names.iter().any(|name| self.header(name).next().is_some())
    }

    /// Returns the path before any router took a part of it away, like [`path`](Self::path) in all else. Public routes are
    /// compared with it, and a DPoP proof names it. Default: `path`; where that is not the whole, proofs are refused.
    fn whole_path(&self) -> &str {
        self.path()
    }

    /// Returns the address of whoever made the connection; never one out of a header. Default: not known, so no header
    /// of a proxy is believed.
    fn peer(&self) -> Option<IpAddr> {
        None
    }

    /// Returns the certificate that the TLS layer saw, if the application has put it where the adapter looks. Default: none.
    fn client_certificate(&self) -> Option<ClientCertificate> {
        None
    }
}

/// Is the address of whoever made the connection, for applications that serve without a framework that knows it: they put
/// it into the extensions of each request. axum's `ConnectInfo` and actix-web's own are read without it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_structs, reason = "applications build it")]
pub struct PeerAddress(pub IpAddr);

/// Is a request head made of plain slices: for tests, fuzzing, and frameworks without an adapter.
///
/// # Examples
/// ```
/// use sekisho_http::{HeadParts, RequestHead};
/// let head = HeadParts { method: "GET", path: "/me", headers: &[("Accept", b"*/*")] };
/// assert_eq!(head.header("accept").next(), Some(&b"*/*"[..]));
/// ```
#[derive(Clone, Copy)]
#[expect(clippy::exhaustive_structs, reason = "callers build it by its fields")]
pub struct HeadParts<'h> {
    /// The method.
    pub method: &'h str,
    /// The path without the query.
    pub path: &'h str,
    /// Names in any letter case, and raw values.
    pub headers: &'h [(&'h str, &'h [u8])],
}

impl RequestHead for HeadParts<'_> {
    fn method(&self) -> &str {
        self.method
    }

    fn path(&self) -> &str {
        self.path
    }

    fn header<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.headers.iter().filter(move |(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| *value)
    }
}

/// Tells whether this is a CORS preflight, by the three marks that the Fetch standard gives it
/// ([§4.8](https://fetch.spec.whatwg.org/#cors-preflight-request)).
///
/// A browser sends it by itself, and never with credentials. Each header stands there once, as a browser writes it. It has no
/// body, so no content type of gRPC either: tonic would take it for a call.
pub(crate) fn is_preflight(head: &impl RequestHead) -> bool {
    let has_one = |name: &str| head.header(name).take(2).count() == 1;
    head.method() == "OPTIONS" && !has_grpc_type(head) && has_one("origin") && has_one("access-control-request-method")
}

/// Tells whether this has the form of a gRPC call: a `POST` with gRPC's content type. gRPC-Web is another protocol.
///
/// Any caller can give any request this form. Only a service that serves nothing but gRPC may refuse by it with HTTP 200,
/// as [`Answer::into_grpc`](crate::Answer::into_grpc) does: to everything else, a gateway that asks with the caller's own
/// headers among it, 200 means that the request passed.
pub fn is_grpc_call(head: &impl RequestHead) -> bool {
    head.method() == "POST" && has_grpc_type(head)
}

fn has_grpc_type(head: &impl RequestHead) -> bool {
    // gRPC over HTTP/2: "application/grpc" [("+proto" / "+json" / {custom})].
    head.header("content-type").next().is_some_and(|value| {
        let (kind, rest) = value.split_at_checked(GRPC.len()).unwrap_or((value, b""));
        kind.eq_ignore_ascii_case(GRPC) && matches!(rest.first(), None | Some(b'+' | b';' | b' '))
    })
}

const GRPC: &[u8] = b"application/grpc";

#[cfg(test)]
mod tests {
    use super::*;

    fn with<'h>(method: &'h str, headers: &'h [(&'h str, &'h [u8])]) -> HeadParts<'h> {
        HeadParts { method, path: "/", headers }
    }

    #[test]
    fn knows_a_preflight_by_all_three_marks() {
        let (origin, asks) = (("Origin", &b"https://a.example"[..]), ("Access-Control-Request-Method", &b"POST"[..]));
        assert!(is_preflight(&with("OPTIONS", &[origin, asks])));
        assert!(!is_preflight(&with("OPTIONS", &[origin])));
        assert!(!is_preflight(&with("OPTIONS", &[asks])));
        assert!(!is_preflight(&with("OPTIONS", &[])));
        assert!(!is_preflight(&with("POST", &[origin, asks])));
        assert!(!is_preflight(&with("options", &[origin, asks])), "methods are case-sensitive");
        assert!(!is_preflight(&with("OPTIONS", &[origin, origin, asks])));
        assert!(!is_preflight(&with("OPTIONS", &[origin, asks, ("access-control-request-method", b"GET")])));
        let grpc = ("Content-Type", &b"application/grpc+proto"[..]);
        assert!(!is_preflight(&with("OPTIONS", &[origin, asks, grpc])));
    }

    #[test]
    fn knows_a_grpc_call_by_method_and_content_type() {
        for yes in ["application/grpc", "application/grpc+proto", "Application/gRPC;charset=x"] {
            assert!(is_grpc_call(&with("POST", &[("content-type", yes.as_bytes())])), "{yes}");
        }
        for no in ["application/grpc-web", "application/grpc-web+proto", "application/json", "", "application/grp"] {
            assert!(!is_grpc_call(&with("POST", &[("content-type", no.as_bytes())])), "{no}");
        }
        assert!(!is_grpc_call(&with("POST", &[])));
        for method in ["GET", "OPTIONS", "post", "PUT"] {
            assert!(!is_grpc_call(&with(method, &[("content-type", GRPC)])), "{method}");
        }
    }
}
