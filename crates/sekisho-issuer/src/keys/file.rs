use std::fmt;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use sekisho_core::Failure;

use super::{KeyStore, SealedKeys, misconfigured};

/// Keeps the document in a file, which the processes of one machine may share.
///
/// The file is replaced as a whole: written beside, brought to the disk, and renamed. A lock on a file of the same name with
/// `.lock` behind it, which stays, lets one process at a time replace it. On Unix only their owner can read these files. The folder must be there,
/// and nobody else may write to it. Needs a tokio runtime.
///
/// # Examples
/// ```
/// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
/// use std::sync::Arc;
/// use sekisho_core::{Clock, SystemClock};
/// use sekisho_issuer::{FileKeyStore, IssuerKeys, KeyRotation, MasterKey};
/// use sekisho_jwks::Algorithm;
/// # let folder = std::env::temp_dir().join(format!("sekisho-keys-doc-{}", std::process::id()));
/// # std::fs::create_dir_all(&folder)?;
///
/// let store = Arc::new(FileKeyStore::new(folder.join("keys.sealed")));
/// let master = MasterKey::generate()?; // at the next start, the same one
/// let keys = IssuerKeys::open(store, master, &[Algorithm::Es256], KeyRotation::default(), SystemClock.now()).await?;
/// # std::fs::remove_dir_all(&folder)?;
/// # Ok::<(), Box<dyn std::error::Error>>(()) })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct FileKeyStore {
    path: PathBuf,
}

impl FileKeyStore {
    /// Names the file. It is looked at when it is needed.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }
}

#[async_trait]
impl KeyStore for FileKeyStore {
    async fn load(&self) -> Result<Option<SealedKeys>, Failure> {
        let path = self.path.clone();
        aside(move || load(&path)).await
    }

    async fn replace(&self, keys: &SealedKeys) -> Result<bool, Failure> {
        let (path, keys) = (self.path.clone(), keys.clone());
        aside(move || replace(&path, &keys)).await
    }
}

impl fmt::Debug for FileKeyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileKeyStore").field("path", &self.path).finish()
    }
}

/// Stands before the revision, eight bytes with the highest first, and the document.
const MARK: &[u8; 8] = b"sekisho1";
const HEADER: usize = 16;
/// As [`SealedKeys::bytes`] says.
const LONGEST: usize = 150_000;
/// How long to wait while another process replaces the file.
const LOCK_TIMEOUT: Duration = Duration::from_secs(2);

/// Runs what waits for the disk where nobody else has to wait for it.
async fn aside<T: Send + 'static>(work: impl FnOnce() -> Result<T, Failure> + Send + 'static) -> Result<T, Failure> {
    let stopped = |_| Failure::unavailable("the file of the issuer's keys was not asked to the end");
    tokio::task::spawn_blocking(work).await.map_err(stopped)?
}

fn failed(error: std::io::Error) -> Failure {
    Failure::unavailable("the file of the issuer's keys cannot be read or written").with_source(error)
}

fn load(path: &Path) -> Result<Option<SealedKeys>, Failure> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let mut bytes = Vec::new();
    file.take((HEADER + LONGEST + 1) as u64).read_to_end(&mut bytes).map_err(failed)?;
    let parts = bytes.strip_prefix(MARK).and_then(|rest| rest.split_first_chunk::<8>());
    let strange = || misconfigured("the file of the issuer's keys holds something else");
    let (revision, document) = parts.filter(|(_, document)| document.len() <= LONGEST).ok_or_else(strange)?;
    Ok(Some(SealedKeys { revision: u64::from_be_bytes(*revision), bytes: document.to_vec() }))
}

fn replace(path: &Path, keys: &SealedKeys) -> Result<bool, Failure> {
    if keys.bytes.len() > LONGEST {
        return Err(misconfigured("the issuer's keys are too long"));
    }
    let lock = private(OpenOptions::new().write(true).create(true).truncate(false)).open(beside(path, ".lock"));
    let lock = lock.map_err(failed)?;
    // Held until the file is closed, and by nobody who has died.
    let _lock = locked(lock)?;
    let present = load(path)?.map_or(0, |present| present.revision);
    if present.checked_add(1) != Some(keys.revision) {
        return Ok(false);
    }
    let next = beside(path, ".next");
    // What a process that died has left.
    match fs::remove_file(&next) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    let mut file = private(OpenOptions::new().write(true).create_new(true)).open(&next).map_err(failed)?;
    for part in [&MARK[..], &keys.revision.to_be_bytes(), &keys.bytes] {
        file.write_all(part).map_err(failed)?;
    }
    file.sync_all().map_err(failed)?;
    fs::rename(&next, path).map_err(failed)?;
    sync_folder(path).map_err(failed)?;
    Ok(true)
}

fn locked(file: File) -> Result<File, Failure> {
    let deadline = Instant::now() + LOCK_TIMEOUT;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(10)),
            Err(TryLockError::WouldBlock) => {
                return Err(Failure::unavailable("another process holds the file of the issuer's keys"));
            }
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
    }
}

/// Brings the new name to the disk; without it a power cut would bring the former keys back.
fn sync_folder(path: &Path) -> std::io::Result<()> {
    if cfg!(unix) {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(folder)?.sync_all()?;
    }
    Ok(())
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

fn private(options: &mut OpenOptions) -> &mut OpenOptions {
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(options, 0o600);
    options
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::key_store_suite;
    use std::sync::atomic::{AtomicU32, Ordering};

    struct Folder(PathBuf);

    impl Folder {
        fn new() -> Self {
            static COUNT: AtomicU32 = AtomicU32::new(0);
            let name = format!("sekisho-keys-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::SeqCst));
            let path = std::env::temp_dir().join(name);
            fs::create_dir_all(&path).unwrap();
            Self(path)
        }

        fn store(&self) -> FileKeyStore {
            FileKeyStore::new(self.0.join("keys"))
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            drop(fs::remove_dir_all(&self.0));
        }
    }

    fn keys(revision: u64) -> SealedKeys {
        SealedKeys { revision, bytes: vec![7; 1_000] }
    }

    #[tokio::test]
    async fn a_file_keeps_the_contract() {
        let folder = Folder::new();
        key_store_suite(&folder.store()).await;
        assert!(!folder.0.join("keys.next").exists());
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn of_many_that_replace_at_once_one_does() {
        let folder = Folder::new();
        for revision in 1..=5 {
            let tasks: Vec<_> = (0..16)
                .map(|_| {
                    let store = folder.store();
                    tokio::spawn(async move { store.replace(&keys(revision)).await.unwrap() })
                })
                .collect();
            let mut won = 0;
            for task in tasks {
                won += u32::from(task.await.unwrap());
            }
            assert_eq!(won, 1);
        }
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn its_files_are_for_their_owner_only() {
        use std::os::unix::fs::PermissionsExt as _;

        let folder = Folder::new();
        assert!(folder.store().replace(&keys(1)).await.unwrap());
        // What a process that died has left is neither read nor in the way, and its mode is not taken over.
        fs::write(folder.0.join("keys.next"), "half").unwrap();
        fs::set_permissions(folder.0.join("keys.next"), fs::Permissions::from_mode(0o666)).unwrap();
        assert!(folder.store().replace(&keys(2)).await.unwrap());
        let mut count = 0;
        for entry in fs::read_dir(&folder.0).unwrap() {
            let entry = entry.unwrap();
            assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o077, 0, "{}", entry.path().display());
            count += 1;
        }
        assert_eq!(count, 2, "the keys and the lock");
    }

    #[tokio::test]
    async fn what_is_no_document_is_a_failure_and_never_none() {
        let folder = Folder::new();
        let path = folder.0.join("keys");
        let too_long = [&MARK[..], &[0; 8], &[1; LONGEST + 1]].concat();
        for bad in [&b""[..], b"sekisho1", b"sekisho1\0\0\0\0\0\0\0", b"sekisho2\0\0\0\0\0\0\0\x01x", &too_long] {
            fs::write(&path, bad).unwrap();
            assert!(folder.store().load().await.is_err(), "{} bytes", bad.len());
            assert!(folder.store().replace(&keys(1)).await.is_err(), "{} bytes", bad.len());
            assert_eq!(fs::read(&path).unwrap(), bad, "nothing is written over");
        }
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert!(folder.store().load().await.is_err(), "a folder");
        let nowhere = FileKeyStore::new(folder.0.join("nowhere").join("keys"));
        assert!(nowhere.replace(&keys(1)).await.is_err(), "no folder");
        assert!(folder.store().replace(&SealedKeys { revision: 1, bytes: vec![0; LONGEST + 1] }).await.is_err());
    }

    #[tokio::test]
    async fn whoever_holds_the_lock_is_not_waited_for_for_ever() {
        let folder = Folder::new();
        assert!(folder.store().replace(&keys(1)).await.unwrap());
        let holder = OpenOptions::new().write(true).open(folder.0.join("keys.lock")).unwrap();
        holder.lock().unwrap();
        let begun = Instant::now();
        assert!(folder.store().replace(&keys(2)).await.is_err());
        assert!(begun.elapsed() < 3 * LOCK_TIMEOUT);
        assert_eq!(folder.store().load().await.unwrap(), Some(keys(1)), "reading needs no lock");
        drop(holder);
        assert!(folder.store().replace(&keys(2)).await.unwrap());
    }
}
