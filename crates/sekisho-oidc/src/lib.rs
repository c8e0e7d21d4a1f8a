#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod provider;
#[cfg(feature = "session")]
mod session;
mod tokens;

pub use provider::{
    Callback, Endpoints, LoggedIn, LoginError, LoginRequest, LoginStart, LogoutNotice, PendingLogin, Prompt, Provider,
    ProviderBuilder, ProviderIssuer, ProviderStart, PushedRequests, UserInfo, UserInfoError,
};
pub use sekisho_opaque::ClientCredentials;
#[cfg(feature = "session")]
pub use session::{AccessError, AccessToken, Bff, BffBuilder, LogoutScope, RelyingParty, RelyingPartyBuilder, Reply};
pub use tokens::{TokenError, TokenSet};
