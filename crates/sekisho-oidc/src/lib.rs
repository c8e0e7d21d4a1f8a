#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod endpoint;
mod provider;
mod tokens;

pub use provider::{
    Callback, Endpoints, LoggedIn, LoginError, LoginRequest, LoginStart, LogoutNotice, PendingLogin, Prompt, Provider,
    ProviderBuilder, ProviderIssuer, ProviderStart, PushedRequests, UserInfo, UserInfoError,
};
pub use sekisho_opaque::ClientCredentials;
pub use tokens::{TokenError, TokenSet};
