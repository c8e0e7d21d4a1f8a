use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use sekisho_core::{ConfigError, UnixSeconds};

use super::{Loaded, PolicyFiles, PolicySource};

/// Reads a folder, with the folders in it: at most 1,000 files, 16 MiB in all, 16 folders deep.
///
/// Names that begin with a dot are passed over. A link to a file is followed, as Kubernetes mounts its ConfigMaps; a link to a
/// folder is not. The folder is read twice and taken when both readings agree, for somebody may be writing.
#[derive(Clone, Debug)]
pub struct FolderSource {
    path: PathBuf,
}

impl FolderSource {
    /// Names the folder.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }
}

#[async_trait]
impl PolicySource for FolderSource {
    async fn load(&self, _tag: Option<&str>, _now: UnixSeconds) -> Result<Loaded, ConfigError> {
        let path = self.path.clone();
        let read = move || {
            let files = read_all(&path)?;
            if read_all(&path)? == files {
                Ok(files)
            } else {
                Err(ConfigError::new("the folder of policies is being written"))
            }
        };
        let files = match tokio::runtime::Handle::try_current() {
            Ok(runtime) => runtime
                .spawn_blocking(read)
                .await
                .map_err(|error| ConfigError::new("reading the folder of policies broke off").with_source(error))?,
            Err(_) => read(),
        }?;
        Ok(Loaded::Files { files, tag: None })
    }
}

const MAX_FILES: usize = 1000;
const MAX_BYTES: usize = 16 << 20;
const MAX_DEPTH: usize = 16;

fn read_all(root: &Path) -> Result<PolicyFiles, ConfigError> {
    let mut room = MAX_BYTES;
    let files = read_folder(root, "", 0, &mut room, PolicyFiles::new())?;
    if files.is_empty() { Err(ConfigError::new("the folder of policies is empty")) } else { Ok(files) }
}

fn read_folder(
    folder: &Path,
    prefix: &str,
    depth: usize,
    room: &mut usize,
    mut files: PolicyFiles,
) -> Result<PolicyFiles, ConfigError> {
    let unreadable =
        |error: std::io::Error| ConfigError::new("the folder of policies cannot be read").with_source(error);
    if depth >= MAX_DEPTH {
        return Err(ConfigError::new("the folder of policies is more than 16 folders deep"));
    }
    for entry in fs::read_dir(folder).map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        let name = entry.file_name();
        let name = name.to_str().ok_or_else(|| ConfigError::new("a name in the folder of policies is not UTF-8"))?;
        if name.starts_with('.') {
            continue;
        }
        let shown = format!("{prefix}{name}");
        if entry.file_type().map_err(unreadable)?.is_dir() {
            files = read_folder(&entry.path(), &format!("{shown}/"), depth + 1, room, files)?;
        } else if fs::metadata(entry.path()).map_err(unreadable)?.is_file() {
            let content = read_bounded(&entry.path(), *room).map_err(unreadable)?;
            *room = room
                .checked_sub(content.len())
                .ok_or_else(|| ConfigError::new("the folder of policies has more than 16 MiB"))?;
            files = files.with_file(&shown, content)?;
            if files.len() > MAX_FILES {
                return Err(ConfigError::new("the folder of policies has more than 1,000 files"));
            }
        }
    }
    Ok(files)
}

/// Reads no more than one byte beyond the bound.
pub(super) fn read_bounded(path: &Path, bound: usize) -> std::io::Result<Vec<u8>> {
    let mut content = Vec::new();
    fs::File::open(path)?.take((bound as u64).saturating_add(1)).read_to_end(&mut content)?;
    Ok(content)
}
