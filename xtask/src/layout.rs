//! Where things lie: the checkout, its target folder, the user's cache.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process;

use anyhow::{Context, Result};

/// The folders that every recipe works with, all absolute.
pub(crate) struct Layout {
    /// The root of the checkout.
    pub(crate) root: PathBuf,
    /// Cargo's target folder.
    pub(crate) target: PathBuf,
    /// What is installed once and kept between runs.
    pub(crate) cache: PathBuf,
    /// Test vectors; they may be absent.
    pub(crate) vectors: PathBuf,
}

impl Layout {
    pub(crate) fn find() -> Result<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask lies inside the workspace")?;
        let cache = match env::var_os("SEKISHO_CACHE") {
            Some(folder) => PathBuf::from(folder),
            None => PathBuf::from(env::var_os("HOME").context("neither SEKISHO_CACHE nor HOME is set")?)
                .join(".cache/sekisho"),
        };
        let vectors = env::var_os("SEKISHO_VECTORS").map_or_else(|| PathBuf::from("../shared/vectors"), PathBuf::from);
        let vectors = root.join(vectors);
        Ok(Self {
            root: root.to_path_buf(),
            target: root.join("target"),
            cache: root.join(cache),
            vectors: vectors.canonicalize().unwrap_or(vectors),
        })
    }

    /// Makes a folder for this run alone, and removes those that earlier runs left behind.
    pub(crate) fn scratch(&self) -> Result<Scratch> {
        let parent = self.target.join("xtask");
        fs::create_dir_all(&parent)?;
        for entry in fs::read_dir(&parent)? {
            let entry = entry?;
            let name = entry.file_name();
            let owner = name.to_str().and_then(|name| name.strip_prefix("run-"));
            if owner.is_some_and(|id| !Path::new("/proc").join(id).exists()) {
                // Another run may be clearing it at this very moment.
                let _ = fs::remove_dir_all(entry.path());
            }
        }
        let folder = parent.join(format!("run-{}", process::id()));
        fs::create_dir_all(&folder)?;
        Ok(Scratch { folder })
    }

    /// Returns the file that takes the output of the step `name`; the newest run overwrites it.
    pub(crate) fn log(&self, name: &str) -> PathBuf {
        let plain: String = name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
        self.target.join("xtask/logs").join(format!("{plain}.log"))
    }
}

/// A folder that lives as long as this value.
pub(crate) struct Scratch {
    folder: PathBuf,
}

impl Scratch {
    pub(crate) fn path(&self) -> &Path {
        &self.folder
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}
