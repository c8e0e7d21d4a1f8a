//! What all servers have in common: a process that can be killed and comes back on its port, and variables that say so.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use anyhow::Result;

use crate::layout::{Layout, Scratch};
use crate::process::{Group, Invocation};
use crate::progress::{Line, Screen};
use crate::servers::ready;

/// One of the servers that a run has.
pub(crate) trait Server: Sync {
    /// One word, by which it is shown, logged and ordered to stop.
    fn name(&self) -> &'static str;

    /// Puts it into the cache, or finds it where the system has it, and says where.
    fn install(&self, layout: &Layout, line: &Line) -> Result<PathBuf>;

    /// Installs it if need be, starts it on a free port and waits until it is ready.
    fn start(&self, place: &Place<'_>, line: &Line) -> Result<Running>;
}

/// Where a server is started.
pub(crate) struct Place<'l> {
    pub(crate) layout: &'l Layout,
    /// A folder of this run alone.
    pub(crate) scratch: &'l Path,
}

/// A server that tests can use: its processes, if it needs some before the tests do, and the variables that lead to it.
pub(crate) struct Running {
    /// Each with the name by which it is ordered to stop; `None` stands for the server's own.
    pub(crate) residents: Vec<(Option<&'static str>, Arc<Mutex<Resident>>)>,
    pub(crate) variables: Vec<(&'static str, String)>,
    /// Removed after the process has ended.
    folder: Option<Scratch>,
}

impl Running {
    pub(crate) fn new(resident: Resident) -> Self {
        Self::of(vec![(None, Arc::new(Mutex::new(resident)))])
    }

    /// Makes one of several processes, each with a name of its own.
    pub(crate) fn several(residents: impl IntoIterator<Item = (&'static str, Resident)>) -> Self {
        let named = residents.into_iter().map(|(name, resident)| (Some(name), Arc::new(Mutex::new(resident))));
        Self::of(named.collect())
    }

    fn of(residents: Vec<(Option<&'static str>, Arc<Mutex<Resident>>)>) -> Self {
        Self { residents, variables: Vec::new(), folder: None }
    }

    /// Makes one of a program that each test starts for itself.
    pub(crate) fn on_demand(variable: &'static str, program: &Path) -> Self {
        Self::of(Vec::new()).with(variable, program.display().to_string())
    }

    pub(crate) fn with(mut self, variable: &'static str, value: impl Into<String>) -> Self {
        self.variables.push((variable, value.into()));
        self
    }

    pub(crate) fn with_folder(mut self, folder: Option<Scratch>) -> Self {
        self.folder = folder;
        self
    }
}

/// A server process that keeps its port and its files over a kill.
pub(crate) struct Resident {
    invocation: Invocation,
    log: PathBuf,
    port: u16,
    is_ready: Box<dyn Fn() -> bool + Send>,
    /// Clears away what a killed process left in the way of the next.
    clear: Box<dyn Fn() -> Result<()> + Send>,
    process: Option<Group>,
}

impl Resident {
    /// Starts the process and waits until it is ready.
    pub(crate) fn start(
        invocation: Invocation,
        log: PathBuf,
        port: u16,
        is_ready: impl Fn() -> bool + Send + 'static,
        line: &Line,
    ) -> Result<Self> {
        let (is_ready, clear) = (Box::new(is_ready), Box::new(|| Ok(())));
        let mut resident = Self { invocation, log, port, is_ready, clear, process: None };
        resident.launch(line)?;
        Ok(resident)
    }

    /// Sets what is done each time before the process is started again.
    pub(crate) fn with_clear(mut self, clear: impl Fn() -> Result<()> + Send + 'static) -> Self {
        self.clear = Box::new(clear);
        self
    }

    /// Kills the process hard; returns when the port is silent.
    pub(crate) fn stop(&mut self) -> Result<()> {
        drop(self.process.take());
        ready::wait_gone(self.port)
    }

    /// Starts the process again on the same port with the same files; returns when it is ready.
    pub(crate) fn resume(&mut self) -> Result<()> {
        if self.process.as_mut().is_some_and(Group::is_running) {
            return Ok(());
        }
        drop(self.process.take());
        (self.clear)()?;
        self.launch(&Screen::silent().line("server"))
    }

    fn launch(&mut self, line: &Line) -> Result<()> {
        let mut group = Group::serve(&self.invocation, &self.log)?;
        ready::wait(&mut group, &*self.is_ready, &self.log, line)?;
        self.process = Some(group);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::env;
    use std::fs;
    use std::process;

    use super::*;

    fn scratch(name: &str) -> PathBuf {
        let folder = env::temp_dir().join(format!("sekisho-xtask-{name}-{}", process::id()));
        fs::create_dir_all(&folder).unwrap();
        folder
    }

    #[test]
    fn comes_back_with_its_files_once_it_is_cleared_away() {
        let folder = scratch("resident");
        let (starts, port) = (folder.join("starts"), ready::free_port().unwrap());
        let count = move || fs::read_to_string(&starts).unwrap_or_default().lines().count();
        let is_up = count.clone();
        let invocation = Invocation::new("sh").args(["-c", "echo up >>starts; exec sleep 300"]).folder(&folder);
        let line = Screen::silent().line("server");
        let resident = Resident::start(invocation, folder.join("log"), port, move || is_up() > 0, &line).unwrap();
        let left = folder.join("lock");
        let in_the_way = left.clone();
        let mut resident = resident.with_clear(move || Ok(fs::remove_file(&in_the_way)?));
        resident.resume().unwrap();
        assert_eq!(count(), 1, "it ran already");
        fs::write(&left, "").unwrap();
        resident.stop().unwrap();
        assert!(resident.process.is_none());
        resident.resume().unwrap();
        assert!(resident.process.as_mut().unwrap().is_running());
        assert!(!left.exists());
        resident.stop().unwrap();
        assert!(resident.resume().is_err(), "there was nothing to clear away");
        drop(resident);
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_server_that_ends_while_starting_is_an_error_with_its_last_words() {
        let folder = scratch("ended");
        let invocation = Invocation::new("sh").args(["-c", "echo no such option; exit 1"]);
        let line = Screen::silent().line("server");
        let error = Resident::start(invocation, folder.join("log"), 1, || false, &line).err().unwrap();
        assert!(error.to_string().contains("no such option"), "{error}");
        fs::remove_dir_all(folder).unwrap();
    }
}
