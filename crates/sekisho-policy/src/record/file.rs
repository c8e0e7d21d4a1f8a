use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

/// Appends lines to a file, and begins another when it would grow too large: `name`, and before it `name.1`, `name.2`, the
/// oldest of which goes. Whoever is not its owner cannot read it.
pub(super) struct RotatingFile {
    path: PathBuf,
    most_bytes: u64,
    files: usize,
    file: Option<File>,
    size: u64,
    /// The last line may not be whole, because writing it failed.
    is_torn: bool,
}

impl RotatingFile {
    pub(super) fn open(path: PathBuf, most_bytes: u64, files: usize) -> io::Result<Self> {
        let mut file = Self { path, most_bytes, files, file: None, size: 0, is_torn: false };
        file.reopen()?;
        Ok(file)
    }

    /// Writes lines, each of which ends with a line feed; either all of one or none goes into a file.
    ///
    /// Returns how many were written before the first that was not.
    pub(super) fn write(&mut self, lines: &[Box<str>]) -> (usize, io::Result<()>) {
        let mut written = 0;
        let mut chunk = Vec::new();
        let mut in_chunk = 0;
        for line in lines {
            let length = chunk.len() as u64 + line.len() as u64;
            if in_chunk > 0 && self.size + length > self.most_bytes {
                if let Err(error) = self.append(&chunk) {
                    return (written, Err(error));
                }
                written += in_chunk;
                (in_chunk, chunk) = (0, Vec::new());
            }
            if in_chunk == 0
                && self.size > 0
                && self.size + line.len() as u64 > self.most_bytes
                && let Err(error) = self.rotate()
            {
                return (written, Err(error));
            }
            chunk.extend_from_slice(line.as_bytes());
            in_chunk += 1;
        }
        match self.append(&chunk) {
            Ok(()) => (written + in_chunk, Ok(())),
            Err(error) => (written, Err(error)),
        }
    }

    /// Has the system write down what it holds.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.as_ref().map_or(Ok(()), File::sync_data)
    }

    fn append(&mut self, chunk: &[u8]) -> io::Result<()> {
        if chunk.is_empty() {
            return Ok(());
        }
        if self.file.is_none() {
            self.reopen()?;
        }
        let Some(file) = &mut self.file else { return Err(io::ErrorKind::NotFound.into()) };
        if self.is_torn {
            file.write_all(b"\n")?;
            self.is_torn = false;
            self.size += 1;
        }
        match file.write_all(chunk) {
            Ok(()) => {
                self.size += chunk.len() as u64;
                Ok(())
            }
            Err(error) => {
                self.is_torn = true;
                // Whatever of it went in counts.
                self.size = file.metadata().map_or(self.size, |found| found.len());
                Err(error)
            }
        }
    }

    fn rotate(&mut self) -> io::Result<()> {
        self.file = None;
        for number in (1..self.files).rev() {
            let from = if number == 1 { self.path.clone() } else { numbered(&self.path, number - 1) };
            match fs::rename(from, numbered(&self.path, number)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        if self.files == 1 {
            fs::remove_file(&self.path)?;
        }
        self.reopen()
    }

    fn reopen(&mut self) -> io::Result<()> {
        // Somebody else's link would send the log elsewhere, and what is no file is not bounded by its size.
        if fs::symlink_metadata(&self.path).is_ok_and(|found| !found.is_file()) {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, "a decision log must be a plain file"));
        }
        let file = private(OpenOptions::new().append(true).create(true)).open(&self.path)?;
        make_private(&file)?;
        self.size = file.metadata()?.len();
        self.is_torn = false;
        self.file = Some(file);
        if self.size > 0 && !ends_with_line_feed(&self.path)? {
            self.is_torn = true;
        }
        Ok(())
    }
}

/// Tells whether the last line of a file is whole: a process may have died while it wrote.
fn ends_with_line_feed(path: &Path) -> io::Result<bool> {
    use std::io::{Read as _, Seek as _, SeekFrom};
    let mut file = File::open(path)?;
    let mut last = [0];
    file.seek(SeekFrom::End(-1))?;
    file.read_exact(&mut last)?;
    Ok(last == *b"\n")
}

fn numbered(path: &Path, number: usize) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    name.into()
}

/// Lets nobody but the owner open the new file.
#[cfg_attr(not(unix), expect(clippy::missing_const_for_fn, reason = "only Unix has modes"))]
fn private(options: &mut OpenOptions) -> &mut OpenOptions {
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(options, 0o600);
    options
}

/// Closes a file that was there already to others.
fn make_private(file: &File) -> io::Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let permissions = file.metadata()?.permissions();
        if permissions.mode() & 0o077 != 0 {
            file.set_permissions(fs::Permissions::from_mode(0o600))?;
        }
    }
    #[cfg(not(unix))]
    let _ = file;
    Ok(())
}
