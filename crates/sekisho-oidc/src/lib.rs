#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod endpoint;
mod provider;
mod tokens;

pub use provider::{
    Callback, LoggedIn, LoginError, LoginRequest, LoginStart, LogoutNotice, PendingLogin, Provider, ProviderBuilder,
};
pub use sekisho_opaque::ClientCredentials;
pub use tokens::{TokenError, TokenSet};
