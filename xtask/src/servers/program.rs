//! Programs that Debian packages bring, and files for them.

use std::env;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// Where Debian puts servers; not every user's `PATH` leads there.
const SYSTEM: [&str; 3] = ["/usr/local/sbin", "/usr/sbin", "/sbin"];

/// Finds the program `name`, which the Debian package `package` brings.
pub(crate) fn find(name: &str, package: &str) -> Result<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = env::split_paths(&path).chain(SYSTEM.iter().map(PathBuf::from));
    find_in(folders, name).with_context(|| format!("there is no {name} (Debian package {package})"))
}

fn find_in(mut folders: impl Iterator<Item = PathBuf>, name: &str) -> Option<PathBuf> {
    folders.find_map(|folder| Some(folder.join(name)).filter(|file| is_program(file)))
}

fn is_program(file: &Path) -> bool {
    fs::metadata(file).is_ok_and(|about| about.is_file() && about.permissions().mode() & 0o111 != 0)
}

/// Says whether this program runs as root, which some servers refuse.
pub(crate) fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|about| about.uid() == 0)
}

/// Writes a new file that only its owner can read.
pub(crate) fn write_private(file: &Path, content: &str) -> Result<()> {
    let mut opened = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(file)
        .with_context(|| format!("cannot write {}", file.display()))?;
    Ok(opened.write_all(content.as_bytes())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_a_program_and_names_the_package_of_a_missing_one() {
        assert!(is_program(&find("sh", "dash").unwrap()));
        let error = find("no-such-server", "no-such-package").unwrap_err();
        assert_eq!(error.to_string(), "there is no no-such-server (Debian package no-such-package)");
    }

    #[test]
    fn passes_over_folders_and_files_that_nobody_can_run() {
        let folder = env::temp_dir().join(format!("sekisho-xtask-find-{}", std::process::id()));
        fs::create_dir_all(folder.join("folder")).unwrap();
        write_private(&folder.join("text"), "not a program").unwrap();
        for name in ["folder", "text", "absent"] {
            assert_eq!(find_in([folder.clone()].into_iter(), name), None, "{name}");
        }
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_private_file_is_private_and_never_replaces_another() {
        let file = env::temp_dir().join(format!("sekisho-xtask-private-{}", std::process::id()));
        write_private(&file, "secret").unwrap();
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(write_private(&file, "other").is_err());
        assert_eq!(fs::read_to_string(&file).unwrap(), "secret");
        fs::remove_file(file).unwrap();
    }
}
