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
        Scratch::make(&parent, "run")
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
    /// Makes the folder `NAME-ID` with the id of this process, and removes those of processes that are no more.
    pub(crate) fn make(parent: &Path, name: &str) -> Result<Self> {
        for entry in fs::read_dir(parent)?.flatten() {
            let file = entry.file_name();
            let owner = file.to_str().and_then(|file| file.strip_prefix(name)?.strip_prefix('-'));
            let owner = owner.and_then(|id| id.parse::<u32>().ok());
            // One with this process's own id is of an earlier process.
            if owner.is_some_and(|id| id == process::id() || !Path::new("/proc").join(id.to_string()).exists()) {
                // Another run may be clearing it at this very moment.
                let _ = fs::remove_dir_all(entry.path());
            }
        }
        let folder = parent.join(format!("{name}-{}", process::id()));
        // Fails where it exists: in a folder that is open to all, somebody else may have put it there.
        fs::create_dir(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        Ok(Self { folder })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.folder
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scratch_folder_is_new_and_clears_away_those_of_dead_processes_alone() {
        let parent = env::temp_dir().join(format!("sekisho-xtask-scratch-{}", process::id()));
        // No process has the highest number; process 1 always runs.
        let (dead, alive, other) =
            (parent.join("run-4294967295"), parent.join("run-1"), parent.join("runs-4294967295"));
        for folder in [&dead, &alive, &other] {
            fs::create_dir_all(folder).unwrap();
        }
        let left_behind = parent.join(format!("run-{}/file", process::id()));
        fs::create_dir_all(&left_behind).unwrap();
        let scratch = Scratch::make(&parent, "run").unwrap();
        assert!(!dead.exists() && !left_behind.exists());
        assert!(alive.exists() && other.exists());
        let folder = scratch.path().to_path_buf();
        drop(scratch);
        assert!(!folder.exists());
        fs::remove_dir_all(parent).unwrap();
    }
}
