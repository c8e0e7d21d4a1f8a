use std::time::Duration;

/// Spoils the answers of a [`ServedIssuer`](crate::ServedIssuer).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// Answers as it should, but only after this long.
    Slow(Duration),
    /// Answers with this status and a short text.
    Status(u16),
    /// Answers 200 with a page for people, as a captive portal or a wrong route does.
    Html,
    /// Answers with what is due, followed by 50 MB of white space, in chunks and without a length.
    Huge,
    /// Answers 302 to `/elsewhere` on this server, where good documents lie: whoever follows shows in the count.
    Redirect,
    /// Announces the whole document, sends half of it and closes.
    Truncated,
    /// Discovery answers with a document of another issuer; key sets are as they should be.
    WrongIssuer,
    /// Key sets are `{"keys":[]}`; discovery is as it should be.
    EmptySet,
    /// Answers 200, `application/json`, with bytes that are not JSON.
    Garbage,
    /// Takes the request and never answers.
    Hang,
}

/// Names a document of a [`ServedIssuer`](crate::ServedIssuer).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Endpoint {
    /// OpenID Connect Discovery: the path of the issuer, then `/.well-known/openid-configuration`.
    OpenidConfiguration,
    /// [RFC 8414 §3](https://www.rfc-editor.org/rfc/rfc8414#section-3): `/.well-known/oauth-authorization-server`,
    /// then the path of the issuer.
    OauthMetadata,
    /// The key set, at `/jwks` under the path of the issuer.
    KeySet,
}

impl Endpoint {
    /// Every endpoint.
    pub const ALL: [Self; 3] = [Self::OpenidConfiguration, Self::OauthMetadata, Self::KeySet];
}
