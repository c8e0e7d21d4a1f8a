use super::*;

/// Registers a [`Client`].
#[derive(Debug)]
#[must_use]
pub struct ClientBuilder {
    client: Client,
    scopes: String,
    loopback_paths: Vec<String>,
    redirect_uris: Vec<String>,
}

impl ClientBuilder {
    pub(super) fn new(id: String, authentication: ClientAuthentication) -> Self {
        let client = Client {
            name: id.clone(),
            id,
            authentication,
            grants: Vec::new(),
            redirect_uris: Vec::new(),
            post_logout_redirect_uris: Vec::new(),
            scopes: ScopeSet::default(),
            audiences: Vec::new(),
            access_token: AccessTokenFormat::Jwt,
            access_token_lifetime: None,
            algorithm: None,
            asks_consent: true,
            origins: Vec::new(),
            own_audiences: Vec::new(),
            exchange: None,
            certificate_bound: false,
        };
        Self { client, scopes: String::new(), loopback_paths: Vec::new(), redirect_uris: Vec::new() }
    }

    /// Sets the name that users see. Default: the id.
    pub fn with_name(mut self, name: impl Into<String>) -> Self {
        self.client.name = name.into();
        self
    }

    /// Allows the authorization code grant, with answers to this URI, compared character by character.
    ///
    /// `https`; `http` on this machine only; for public clients also a scheme of their own with a dot in it (`com.example.app:/callback`).
    pub fn with_redirect_uri(mut self, uri: impl Into<String>) -> Self {
        self.redirect_uris.push(uri.into());
        self.allow(GrantKind::AuthorizationCode)
    }

    /// Allows the authorization code grant to a native application, with answers to `http://127.0.0.1:PORT` or `http://[::1]:PORT` and this
    /// path, whatever the port ([RFC 8252 §7.3](https://www.rfc-editor.org/rfc/rfc8252#section-7.3)).
    pub fn with_loopback_redirect(mut self, path: impl Into<String>) -> Self {
        self.loopback_paths.push(path.into());
        self.allow(GrantKind::AuthorizationCode)
    }

    /// Adds a URI to which the browser may be sent after logging out.
    pub fn with_post_logout_redirect_uri(mut self, uri: impl Into<String>) -> Self {
        self.client.post_logout_redirect_uris.push(uri.into());
        self
    }

    /// Sets the scopes that it may ask for, separated by spaces. Default: none.
    pub fn with_scopes(mut self, scopes: &str) -> Self {
        scopes.clone_into(&mut self.scopes);
        self
    }

    /// Adds a resource server that it may have tokens for; the first is the default.
    pub fn with_audience(mut self, audience: impl Into<String>) -> Self {
        self.client.audiences.push(audience.into());
        self
    }

    /// Hands out refresh tokens with codes and device codes.
    pub fn with_refresh_tokens(self) -> Self {
        self.allow(GrantKind::RefreshToken)
    }

    /// Allows tokens for itself, without a user. Confidential clients only.
    pub fn with_client_credentials(self) -> Self {
        self.allow(GrantKind::ClientCredentials)
    }

    /// Allows the device flow ([RFC 8628](https://www.rfc-editor.org/rfc/rfc8628)).
    pub fn with_device_code(self) -> Self {
        self.allow(GrantKind::DeviceCode)
    }

    /// Allows to exchange tokens. Confidential clients only.
    pub fn with_token_exchange(mut self, rules: ExchangeRules) -> Self {
        self.client.exchange = Some(rules);
        self.allow(GrantKind::TokenExchange)
    }

    /// Says that it is the resource server of this name: it may introspect tokens for it, and exchange them.
    pub fn with_own_audience(mut self, audience: impl Into<String>) -> Self {
        self.client.own_audiences.push(audience.into());
        self
    }

    /// Hands out reference tokens instead of JWTs.
    pub fn with_reference_tokens(mut self) -> Self {
        self.client.access_token = AccessTokenFormat::Reference;
        self
    }

    /// Sets how long its access tokens live, 1 s to 24 h. Default: as the server's [`Lifetimes`](crate::Lifetimes) say.
    pub const fn with_access_token_lifetime(mut self, lifetime: Duration) -> Self {
        self.client.access_token_lifetime = Some(lifetime);
        self
    }

    /// Signs its tokens by this algorithm, of which the server must have a key. Default: the server's first.
    pub const fn with_algorithm(mut self, algorithm: Algorithm) -> Self {
        self.client.algorithm = Some(algorithm);
        self
    }

    /// Does not ask users whether they allow it: for clients of one's own house.
    ///
    /// A public client whose redirect URI is not `https` is asked about each time nevertheless: any program of the user's machine could pass
    /// for it ([RFC 8252 §8.6](https://www.rfc-editor.org/rfc/rfc8252#section-8.6)).
    pub const fn without_consent(mut self) -> Self {
        self.client.asks_consent = false;
        self
    }

    /// Lets scripts of this origin (`https://shop.example`) read the answers of the token and userinfo endpoints, and the metadata.
    pub fn with_origin(mut self, origin: impl Into<String>) -> Self {
        self.client.origins.push(origin.into());
        self
    }

    /// Binds its access tokens to its certificate (`cnf` with `x5t#S256`, [RFC 8705 §3](https://www.rfc-editor.org/rfc/rfc8705#section-3)).
    /// Only for clients that authenticate by one.
    pub const fn with_certificate_bound_tokens(mut self) -> Self {
        self.client.certificate_bound = true;
        self
    }

    fn allow(mut self, grant: GrantKind) -> Self {
        if !self.client.grants.contains(&grant) {
            self.client.grants.push(grant);
        }
        self
    }

    /// Checks what was said.
    ///
    /// # Errors
    /// [`ConfigError`] for: an id, name or audience that is empty, too long or has control characters; scopes that are none; a URI or origin that cannot be
    /// trusted; a public client with a grant that needs a secret; no secret; a lifetime out of range; certificate-bound tokens without a certificate.
    pub fn build(self) -> Result<Client, ConfigError> {
        let Self { mut client, scopes, loopback_paths, redirect_uris } = self;
        let problem = |what: String| Err(ConfigError::new(format!("client {:?}: {what}", client.id)));
        if client.id.is_empty() || client.id.len() > 255 || !client.id.bytes().all(|b| b.is_ascii_graphic()) {
            return problem("an id is 1 to 255 visible ASCII characters".to_owned());
        }
        let exchange_audiences = client.exchange.iter().flat_map(|rules| &rules.audiences);
        let names = [&client.name].into_iter().chain(&client.audiences).chain(&client.own_audiences);
        if let Some(bad) = names.chain(exchange_audiences).find(|name| !is_name(name)) {
            return problem(format!("{bad:?} is no name"));
        }
        if !scopes.is_empty() {
            match ScopeSet::parse(&scopes) {
                Some(scopes) => client.scopes = scopes,
                None => return problem(format!("{scopes:?} are no scopes")),
            }
        }
        let is_public = client.is_public();
        for uri in redirect_uris {
            if let Err(reason) = check_redirect_uri(&uri, is_public) {
                return problem(format!("redirect URI {uri:?}: {reason}"));
            }
            client.redirect_uris.push(RedirectUri::Exact(uri));
        }
        for path in loopback_paths {
            let checked = match path.starts_with('/') {
                true => check_redirect_uri(&format!("http://127.0.0.1{path}"), true),
                false => Err("a path begins with a slash"),
            };
            if let Err(reason) = checked {
                return problem(format!("loopback path {path:?}: {reason}"));
            }
            client.redirect_uris.push(RedirectUri::Loopback(path));
        }
        for uri in &client.post_logout_redirect_uris {
            if let Err(reason) = check_redirect_uri(uri, is_public) {
                return problem(format!("post-logout redirect URI {uri:?}: {reason}"));
            }
        }
        if let Some(bad) = client.origins.iter().find(|origin| !check_origin(origin)) {
            return problem(format!("{bad:?} is no origin of the form https://host[:port]"));
        }
        let needs_secret = [GrantKind::ClientCredentials, GrantKind::TokenExchange];
        if is_public && client.grants.iter().any(|grant| needs_secret.contains(grant)) {
            return problem("a public client gets no tokens for itself and exchanges none".to_owned());
        }
        if matches!(&client.authentication, ClientAuthentication::Secret(secrets) if secrets.is_empty()) {
            return problem("no secret".to_owned());
        }
        if client.certificate_bound && !matches!(client.authentication, ClientAuthentication::Certificate(_)) {
            return problem("tokens are bound to the certificate by which the client authenticates".to_owned());
        }
        let day = Duration::from_secs(86_400);
        if client.access_token_lifetime.is_some_and(|life| life < Duration::from_secs(1) || life > day) {
            return problem("access tokens live from 1 s to 24 h".to_owned());
        }
        if client.exchange.as_ref().is_some_and(|rules| rules.audiences.is_empty()) {
            return problem("an exchange needs an audience".to_owned());
        }
        Ok(client)
    }
}

fn is_name(text: &str) -> bool {
    !text.trim().is_empty() && text.len() <= 1024 && !text.chars().any(char::is_control)
}
