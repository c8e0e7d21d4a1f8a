//! A program that a test starts, in a folder of its own, and that ends with the test, however that ends.

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

/// Runs a command and kills its process group when standard input ends, which it does at the latest with this process.
const LIFELINE: &str = r#"exec 3<&0
"$@" </dev/null 3<&- &
child=$!
(read -r _ <&3; kill -KILL 0) >/dev/null 2>&1 &
exec 3<&-
wait "$child""#;

/// A folder that no other test has; dropping it removes it.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let parent = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        if number == 0 {
            remove_abandoned(parent);
        }
        let folder = parent.join(format!("leash-{}-{number}", std::process::id()));
        fs::create_dir_all(&folder).expect("a new folder");
        Self(folder)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // A process that dies just now may still be writing; then the folder stays.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A running program; dropping it kills its process group and removes its folder.
pub(crate) struct Leash {
    shell: Child,
    folder: Folder,
}

impl Leash {
    /// Starts `program`. `folder` is its working folder, its `HOME` and where its temporary files go.
    pub(crate) fn start(
        program: &Path,
        arguments: &[&str],
        folder: Folder,
        output: impl Into<Stdio>,
        errors: impl Into<Stdio>,
    ) -> Self {
        let shell = Command::new("sh")
            .arg("-c")
            .arg(LIFELINE)
            .arg("sh")
            .arg(program)
            .args(arguments)
            .current_dir(folder.path())
            .env("HOME", folder.path())
            .env("TMPDIR", folder.path())
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(output)
            .stderr(errors)
            .spawn()
            .expect("sh starts");
        Self { shell, folder }
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Says how the program ended, if it did.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.shell.try_wait().expect("it is our child")
    }
}

impl Drop for Leash {
    fn drop(&mut self) {
        drop(self.shell.stdin.take());
        // The shell is in the group that it kills, so this returns at once.
        let _ = self.shell.wait();
    }
}

/// Removes the folders that killed test processes left behind.
fn remove_abandoned(parent: &Path) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let owner = name.to_str().and_then(|name| name.strip_prefix("leash-")?.split('-').next());
        if owner.is_some_and(|id| !Path::new("/proc").join(id).exists()) {
            // Another test process may be doing the same.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// Names the file `target/xtask/FOLDER/NAME`, and makes its folder.
pub(crate) fn artefact(folder: &str, name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/xtask").join(folder);
    fs::create_dir_all(&folder).expect("a folder for what tests leave behind");
    folder.join(name)
}

/// Returns the end of a file, after its name.
pub(crate) fn last_words(file: &Path) -> String {
    let output = fs::read(file).unwrap_or_default();
    let output = String::from_utf8_lossy(&output);
    let from = output.char_indices().rev().nth(4000).map_or(0, |(index, _)| index);
    format!("{}\n{}", file.display(), &output[from..])
}

/// Says whether a process is there and no zombie.
pub(crate) fn is_alive(pid: &str) -> bool {
    let state = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    !state.is_empty() && !state.contains(") Z ")
}
