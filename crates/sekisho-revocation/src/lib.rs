#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod address;
mod any;
mod check;
mod document;
mod feed;
mod follow;
mod list;
mod memory;
mod polling;
mod publisher;
mod shard;
#[cfg(feature = "status-list")]
mod status_list;
mod withdrawal;

pub use any::AnyRevocation;
pub use check::{ListCheck, StalePolicy};
pub use document::{DocumentError, RevocationDocument};
pub use feed::{Cursor, FeedBatch, FeedConnection, RevocationFeed};
pub use follow::{Follow, Following};
pub use list::{ListFull, ListHealth, RevocationList, RevocationListBuilder};
pub use memory::MemoryFeed;
pub use polling::{PollingFeed, PollingFeedBuilder};
pub use publisher::FeedPublisher;
#[cfg(feature = "status-list")]
pub use status_list::{StatusListBuilder, StatusListCheck, StatusListHealth};
pub use withdrawal::{Withdrawal, WithdrawalError, Withdrawn};
