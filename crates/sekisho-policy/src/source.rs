//! Where policies come from, and how they are swapped while requests are decided.
//!
//! [`Live`] holds the current set; reading it takes no lock. A new set replaces it as a whole, and only if all of it could be loaded:
//! after a bad download, signature or policy the last good set stays, and [`Live::status`] says so. A set is compiled on the
//! runtime's threads for blocking work, so that requests are decided meanwhile, however large it is. Nothing is started behind
//! your back: spawn [`Live::run`].
//!
//! ```no_run
//! # #[cfg(feature = "rego")] {
//! use sekisho_policy::rego::RegoPolicies;
//! use sekisho_policy::source::{FolderSource, Live};
//!
//! # async fn start() -> Result<(), sekisho_core::ConfigError> {
//! let live = Live::builder(FolderSource::new("/etc/shop/policies"), |files| {
//!     RegoPolicies::builder("data.shop.decision").with_files(files).build()
//! })
//! .build()
//! .await?;
//! tokio::spawn(live.run());
//! # Ok(()) }
//! # }
//! ```

mod download;
mod files;
mod folder;
mod live;
mod policy_url;
#[cfg(test)]
mod tests;
#[cfg(feature = "bundle")]
mod url;

use std::fmt;

use async_trait::async_trait;
use sekisho_core::{ConfigError, UnixSeconds};

pub use self::files::PolicyFiles;
#[cfg(feature = "rego")]
pub(crate) use self::files::digest;
#[cfg(feature = "bundle")]
pub(crate) use self::files::is_name;
#[cfg(any(feature = "bundle", feature = "rego"))]
pub(crate) use self::files::is_within;
pub use self::folder::FolderSource;
pub use self::live::{Live, LiveBuilder, SourceStatus};
pub use self::policy_url::PolicyUrl;
#[cfg(feature = "bundle")]
pub use self::url::{BundleFile, BundleUrl};

/// Brings policies: from a folder ([`FolderSource`]), a URL ([`PolicyUrl`]), a bundle (`BundleUrl`, `BundleFile`), or by your
/// own code.
///
/// Contract for implementers: what is brought is whole, or it is an error; it is bounded in size and time. Dropping the future is
/// safe.
#[async_trait]
pub trait PolicySource: Send + Sync + fmt::Debug {
    /// Brings the files, or says that nothing has changed since `tag` was given out.
    ///
    /// # Errors
    /// [`ConfigError`] when there is no whole set.
    async fn load(&self, tag: Option<&str>, now: UnixSeconds) -> Result<Loaded, ConfigError>;
}

/// Is what a source brings.
#[derive(Clone, Debug)]
#[expect(clippy::exhaustive_enums, reason = "there is no third answer")]
pub enum Loaded {
    /// What it brought last is current.
    Unchanged,
    /// These are current.
    Files {
        /// The files.
        files: PolicyFiles,
        /// What the source will know them by, if it can tell changes.
        tag: Option<String>,
    },
}
