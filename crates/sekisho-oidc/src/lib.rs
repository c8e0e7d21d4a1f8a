#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod endpoint;
mod provider;
mod service;
#[cfg(feature = "session")]
mod session;
mod tokens;

pub use provider::{
    Callback, Endpoints, LoggedIn, LoginError, LoginRequest, LoginStart, LogoutNotice, PendingLogin, Prompt, Provider,
    ProviderBuilder, ProviderIssuer, ProviderStart, PushedRequests, UserInfo, UserInfoError,
};
pub use sekisho_jwt::DpopSigner;
pub use sekisho_opaque::ClientCredentials;
#[cfg(feature = "reqwest-middleware")]
pub use service::ServiceTokenMiddleware;
pub use service::{
    AllowedOrigins, ServiceToken, ServiceTokens, ServiceTokensBuilder, ServiceTokensStart, TokenRequest,
};
#[cfg(feature = "tower")]
pub use service::{ClonedBody, EmptyBody, RepeatBody, ServiceTokenLayer, ServiceTokenService};
#[cfg(feature = "session")]
pub use session::{AccessError, AccessToken, Bff, BffBuilder, LogoutScope, RelyingParty, RelyingPartyBuilder, Reply};
#[cfg(feature = "proxy")]
pub use session::{ApiProxy, ApiProxyBuilder, ApiRoute};
pub use tokens::{TokenError, TokenSet};
