//! Where policies come from.

mod files;

pub use files::PolicyFiles;
pub(crate) use files::is_name;
