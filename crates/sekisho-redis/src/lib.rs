#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]
#![cfg_attr(
    not(all(feature = "issuer", feature = "opaque", feature = "revocation", feature = "session")),
    allow(dead_code, reason = "some of the client serves some of the features")
)]

#[cfg(feature = "session")]
mod channel;
mod client;
mod cluster;
mod config;
mod error;
mod gather;
#[cfg(feature = "session")]
mod invalidations;
#[cfg(feature = "issuer")]
mod issuer;
mod kept;
#[cfg(feature = "issuer")]
mod keys;
mod link;
#[cfg(all(feature = "issuer", feature = "revocation"))]
mod listener;
mod names;
mod node;
#[cfg(feature = "opaque")]
mod reference;
mod replay;
mod reply;
#[cfg(feature = "revocation")]
mod revocation;
mod script;
#[cfg(feature = "session")]
mod session;
mod slots;
mod tls;

pub use client::Redis;
pub use config::RedisBuilder;
#[cfg(feature = "session")]
pub use invalidations::RedisInvalidations;
#[cfg(feature = "issuer")]
pub use issuer::RedisIssuerStore;
#[cfg(feature = "issuer")]
pub use keys::RedisKeyStore;
#[cfg(all(feature = "issuer", feature = "revocation"))]
pub use listener::RedisWithdrawingListener;
#[cfg(feature = "opaque")]
pub use reference::RedisReferenceStore;
pub use replay::RedisReplayGuard;
#[cfg(feature = "revocation")]
pub use revocation::RedisRevocationFeed;
#[cfg(feature = "session")]
pub use session::RedisSessionStore;
