#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]
#![cfg_attr(not(any(feature = "sqlite", feature = "postgres")), expect(unused, reason = "there is no store to build"))]

mod failure;
#[cfg(feature = "issuer")]
mod issuer;
mod limits;
mod migrate;
#[cfg(feature = "opaque")]
mod opaque;
#[cfg(feature = "postgres")]
mod postgres;
mod replay;
#[cfg(feature = "revocation")]
mod revocation;
mod schema;
#[cfg(feature = "session")]
mod session;
#[cfg(feature = "sqlite")]
mod sqlite;
mod sweep;

pub use limits::StoreLimits;
#[cfg(feature = "postgres")]
pub use postgres::PostgresStore;
#[cfg(feature = "revocation")]
pub use revocation::TableFeed;
#[cfg(all(feature = "revocation", feature = "issuer"))]
pub use revocation::TableListener;
#[cfg(feature = "sqlite")]
pub use sqlite::SqliteStore;
