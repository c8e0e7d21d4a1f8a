#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod client;
mod cluster;
mod config;
mod error;
mod kept;
mod link;
mod names;
mod node;
#[cfg(feature = "opaque")]
mod reference;
mod replay;
mod reply;
#[cfg(feature = "revocation")]
mod revocation;
mod script;
mod slots;
mod tls;

pub use client::Redis;
pub use config::RedisBuilder;
#[cfg(feature = "opaque")]
pub use reference::RedisReferenceStore;
pub use replay::RedisReplayGuard;
#[cfg(feature = "revocation")]
pub use revocation::RedisRevocationFeed;
