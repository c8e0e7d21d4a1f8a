//! The endpoints, one file each.

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use axum::routing::{get, post};

use crate::AuthorizationServer;
use crate::answer::Refused;
use crate::browser::SCRIPT;
use crate::form::Form;
use crate::incoming::Incoming;

#[cfg(feature = "credentials")]
mod account;
mod authorize;
mod cors;
mod device;
mod end_session;
mod exchange;
mod introspect;
mod login;
mod metadata;
mod revoke;
mod token;
mod userinfo;

impl AuthorizationServer {
    /// Returns all endpoints under the paths of the issuer's URL: serve it at the root of that host.
    ///
    /// [`Router::into_make_service_with_connect_info`] with `SocketAddr` lets login throttling and proxies know the peer.
    pub fn router(&self) -> Router {
        self.protocol_router().merge(self.pages_router())
    }

    /// Returns the endpoints for programs: token, introspection, revocation, device authorization, userinfo, keys, metadata.
    ///
    /// | path below the issuer | |
    /// |---|---|
    /// | `/token` | [RFC 6749 §3.2](https://www.rfc-editor.org/rfc/rfc6749#section-3.2) |
    /// | `/introspect` | [RFC 7662](https://www.rfc-editor.org/rfc/rfc7662), [RFC 9701](https://www.rfc-editor.org/rfc/rfc9701) |
    /// | `/revoke` | [RFC 7009](https://www.rfc-editor.org/rfc/rfc7009) |
    /// | `/device_authorization` | [RFC 8628 §3.1](https://www.rfc-editor.org/rfc/rfc8628#section-3.1) |
    /// | `/userinfo` | [OpenID Connect Core §5.3](https://openid.net/specs/openid-connect-core-1_0.html#UserInfo) |
    /// | `/jwks` | [RFC 7517 §5](https://www.rfc-editor.org/rfc/rfc7517#section-5) |
    /// | `/.well-known/openid-configuration` | [OpenID Connect Discovery §4](https://openid.net/specs/openid-connect-discovery-1_0.html#ProviderConfig) |
    ///
    /// And `/.well-known/oauth-authorization-server` and `/.well-known/openid-configuration` with the issuer's path behind
    /// ([RFC 8414 §3](https://www.rfc-editor.org/rfc/rfc8414#section-3)).
    pub fn protocol_router(&self) -> Router {
        let route = |path: &str| self.parts().issuer.route(path);
        let scripts = Router::new()
            .route(&route("/token"), post(token_endpoint))
            .route(&route("/userinfo"), get(userinfo::endpoint).post(userinfo::endpoint))
            .route(&route("/jwks"), get(metadata::jwks));
        let scripts = metadata::paths(&self.parts().issuer)
            .into_iter()
            .fold(scripts, |router, path| router.route(&path, get(metadata::document)));
        let scripts = scripts.layer(axum::middleware::from_fn_with_state(self.clone(), cors::layer));
        Router::new()
            .route(&route("/introspect"), post(introspect::endpoint))
            .route(&route("/revoke"), post(revoke_endpoint))
            .route(&route("/device_authorization"), post(device_authorization_endpoint))
            .merge(scripts)
            .with_state(self.clone())
    }

    /// Returns the endpoints for browsers: `/authorize`, `/device`, `/end_session`, and the forms, style sheet and script of their pages;
    /// `/account` if it was asked for.
    pub fn pages_router(&self) -> Router {
        let route = |path: &str| self.parts().issuer.route(path);
        let router = Router::new()
            .route(&route("/authorize"), get(authorize::begin).post(by_get))
            .route(&route("/login"), post(login::password))
            .route(&route("/login/code"), post(login::second_factor))
            .route(&route("/login/passkey"), post(login::passkey))
            .route(&route("/consent"), post(authorize::decide))
            .route(&route("/device"), get(device::begin).post(device::user_code))
            .route(&route("/device/decision"), post(device::decide))
            .route(&route("/end_session"), get(end_session::begin).post(by_get))
            .route(&route("/end_session/decision"), post(end_session::decide))
            .route(&route(SCRIPT), get(passkey_script))
            .route(&route("/style.css"), get(style_sheet));
        #[cfg(feature = "credentials")]
        let router = router.merge(account::routes(self));
        router.with_state(self.clone())
    }

    /// Takes a request apart, and reads the clock once for all of it.
    async fn receive(&self, request: Request) -> (Incoming, Body) {
        Incoming::receive(request, &*self.parts().clock).await
    }
}

async fn token_endpoint(State(server): State<AuthorizationServer>, request: Request) -> Response {
    let (incoming, body) = server.receive(request).await;
    let answer = async {
        let form = incoming.form(body).await?;
        token::answer(&server, &incoming, &form).await
    };
    answer.await.unwrap_or_else(|refused: Refused| refused.into_response("token"))
}

async fn revoke_endpoint(State(server): State<AuthorizationServer>, request: Request) -> Response {
    let (incoming, body) = server.receive(request).await;
    let answer = async {
        let form = incoming.form(body).await?;
        revoke::answer(&server, &incoming, &form).await
    };
    answer.await.unwrap_or_else(|refused: Refused| refused.into_response("revoke"))
}

async fn device_authorization_endpoint(State(server): State<AuthorizationServer>, request: Request) -> Response {
    let (incoming, body) = server.receive(request).await;
    let answer = async {
        let form = incoming.form(body).await?;
        device::authorize(&server, &incoming, &form).await
    };
    answer.await.unwrap_or_else(|refused: Refused| refused.into_response("device_authorization"))
}

/// Answers a POST from elsewhere by asking the browser to come again by GET: only then does it send its cookies.
async fn by_get(State(server): State<AuthorizationServer>, request: Request) -> Response {
    let path = request.uri().path().to_owned();
    let (incoming, body) = server.receive(request).await;
    if !incoming.query.is_empty() {
        return server.message(400, crate::Message::BadRequest("Parameters came in two places."));
    }
    let bytes = match incoming.form_bytes(body).await {
        Ok(bytes) if bytes.len() <= LONGEST_QUERY && Form::parse(&bytes).is_ok() => bytes,
        _ => return server.message(400, crate::Message::BadRequest("The parameters are not well formed.")),
    };
    crate::answer::redirect(&format!("{path}?{}", String::from_utf8_lossy(&bytes)))
}

async fn style_sheet(State(server): State<AuthorizationServer>) -> Response {
    crate::answer::kept("text/css; charset=utf-8", 600, server.parts().pages.style_sheet().to_owned())
}

async fn passkey_script() -> Response {
    crate::answer::kept("text/javascript; charset=utf-8", 600, include_str!("pages/passkey.js"))
}

/// Bounds a query in bytes: it travels through hidden fields, and with the headers of a request.
const LONGEST_QUERY: usize = 8 * 1024;
