//! What installations have in common: one at a time, and complete or absent.

use std::fs::{self, File};
use std::path::Path;

use anyhow::{Context, Result};

use crate::progress::Line;

const MARKER: &str = ".complete";

/// Fills the folder `destination` by `work`, unless that has been done before.
///
/// A marker file is written last, so that an interrupted installation is begun anew. Other runs that want the same
/// folder wait for this one.
pub(crate) fn once(destination: &Path, line: &Line, work: impl FnOnce() -> Result<()>) -> Result<()> {
    let marker = destination.join(MARKER);
    if marker.exists() {
        return Ok(());
    }
    let parent = destination.parent().context("the cache is not the root of the file system")?;
    fs::create_dir_all(parent).with_context(|| format!("cannot make {}", parent.display()))?;
    let name = destination.file_name().unwrap_or_default().to_string_lossy();
    let lock = File::create(parent.join(format!("{name}.lock")))?;
    if lock.try_lock().is_err() {
        line.say("another run is installing this");
        lock.lock()?;
    }
    if marker.exists() {
        return Ok(());
    }
    if destination.exists() {
        fs::remove_dir_all(destination)?;
    }
    work()?;
    File::create(marker)?;
    Ok(())
}

/// Says whether an installation was brought to its end.
pub(crate) fn is_complete(destination: &Path) -> bool {
    destination.join(MARKER).exists()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::progress::Screen;

    #[test]
    fn begins_anew_after_a_failure_and_installs_once() {
        let parent = std::env::temp_dir().join(format!("sekisho-xtask-once-{}", std::process::id()));
        let destination = parent.join("server-1.0");
        let line = Screen::silent().line("server");
        let half_done = || {
            fs::create_dir_all(&destination)?;
            fs::write(destination.join("half"), "")?;
            anyhow::bail!("network gone")
        };
        assert!(once(&destination, &line, half_done).is_err());
        assert!(!is_complete(&destination));
        once(&destination, &line, || Ok(fs::create_dir_all(&destination)?)).unwrap();
        assert!(is_complete(&destination) && !destination.join("half").exists());
        once(&destination, &line, || panic!("installed twice")).unwrap();
        fs::remove_dir_all(parent).unwrap();
    }
}
