use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use regorus::{CompiledPolicy, Engine, Value};
use sekisho_core::ConfigError;
use sekisho_core::json::JsonObject;

use super::recursion::Calls;
use super::{DEFAULT_TIME_LIMIT, Inner, RegoPolicies, paths, scan, timer};
use crate::input::InputOptions;
use crate::per_thread::{PerThread, timed};
use crate::source::{PolicyFiles, digest, is_within};

/// Puts policies and data together.
#[derive(Clone)]
#[must_use]
pub struct RegoBuilder {
    entry_point: String,
    modules: Vec<Module>,
    data: Vec<Data>,
    claims: Vec<Box<str>>,
    revision: Option<Arc<str>>,
    time_limit: Duration,
    has_copies: bool,
    problem: Option<String>,
}

#[derive(Clone)]
struct Module {
    name: String,
    text: String,
    is_v0: bool,
    /// The parts of the document that its bundle claims, if it is of one. None of them: its package lies outside of all.
    roots: Option<Arc<[Box<str>]>>,
}

#[derive(Clone)]
struct Data {
    /// The part of the document that it is.
    path: Vec<String>,
    json: Vec<u8>,
}

impl RegoBuilder {
    pub(super) fn new(entry_point: String) -> Self {
        Self {
            entry_point,
            modules: Vec::new(),
            data: Vec::new(),
            claims: Vec::new(),
            revision: None,
            time_limit: DEFAULT_TIME_LIMIT,
            has_copies: true,
            problem: None,
        }
    }

    /// Adds a module of Rego v1, with a name for messages. At most 1,000 modules of 256 KiB, 4 MiB in all; brackets at most 12 deep,
    /// at most 64 operators and 8 signs in one expression and those around it, no number with an exponent beyond 400.
    pub fn with_module(mut self, name: impl Into<String>, text: impl Into<String>) -> Self {
        self.modules.push(Module { name: name.into(), text: text.into(), is_v0: false, roots: None });
        self
    }

    /// Adds data, a JSON object that is merged into `data`: at most 16 MiB in all, nested at most 32 deep, no
    /// number with an exponent beyond 400.
    pub fn with_data(mut self, json: impl Into<Vec<u8>>) -> Self {
        self.data.push(Data { path: Vec::new(), json: json.into() });
        self
    }

    /// Adds what a bundle or folder holds: each `*.rego`, each `data.json` at the place of its folder, and the revision.
    ///
    /// A bundle's packages must lie within its own roots, and its version of Rego is the manifest's, else 1. `data.yaml` is refused;
    /// other files are left out.
    pub fn with_files(mut self, files: &PolicyFiles) -> Self {
        let is_v0 = files.rego_version() == Some(0);
        let roots: Option<Arc<[Box<str>]>> = files.roots().map(Into::into);
        for (name, content) in files.iter() {
            let (folder, last) = name.rsplit_once('/').unwrap_or(("", name));
            match last {
                "data.json" => {
                    let path = folder.split('/').filter(|part| !part.is_empty()).map(ToOwned::to_owned).collect();
                    self.data.push(Data { path, json: content.to_vec() });
                }
                "data.yaml" | "data.yml" => self.problem = Some(format!("{name}: data must be JSON, not YAML")),
                _ if last.ends_with(".rego") => match std::str::from_utf8(content) {
                    Ok(text) => {
                        let (name, text, roots) = (name.to_owned(), text.to_owned(), roots.clone());
                        self.modules.push(Module { name, text, is_v0, roots });
                    }
                    Err(_) => self.problem = Some(format!("{name} is not UTF-8")),
                },
                _ => {}
            }
        }
        self.revision = Some(files.revision_or_digest());
        self
    }

    /// Lets policies see these claims of the principal, by name, as `input.subject.properties`. By default none.
    pub fn with_claims<I: IntoIterator<Item = S>, S: Into<Box<str>>>(mut self, names: I) -> Self {
        self.claims.extend(names.into_iter().map(Into::into));
        self
    }

    /// Sets the revision that every decision carries. Default: that of the [files](Self::with_files), else a hash of the entry
    /// point, the modules and the data.
    pub fn with_revision(mut self, revision: impl Into<Arc<str>>) -> Self {
        self.revision = Some(revision.into());
        self
    }

    /// Sets how long an evaluation may take, default 50 ms; from 1 ms to 10 s. What takes longer is a failure.
    pub const fn with_time_limit(mut self, limit: Duration) -> Self {
        self.time_limit = limit;
        self
    }

    /// Makes no engines for threads, which saves memory where there are many sets of policies, one for each tenant perhaps. Threads
    /// that decide at once then wait for one another: two decide about 1.4 times as much as one.
    pub const fn without_thread_copies(mut self) -> Self {
        self.has_copies = false;
        self
    }

    /// Parses and compiles everything.
    ///
    /// # Errors
    /// [`ConfigError`]: a bound is passed; a module does not compile, or its package lies outside of the bundle's roots; data is no
    /// strict JSON object, contradicts other data, or stands where a rule does; a function calls itself; there is no rule at
    /// the entry point.
    pub fn build(self) -> Result<RegoPolicies, ConfigError> {
        let Self { entry_point, modules, data, claims, revision, time_limit, has_copies, problem } = self;
        if let Some(problem) = problem {
            return Err(ConfigError::new(problem));
        }
        if !(Duration::from_millis(1)..=Duration::from_secs(10)).contains(&time_limit) {
            return Err(ConfigError::new("the time limit of an evaluation is not between 1 ms and 10 s"));
        }
        let path =
            paths::split(&entry_point).filter(|path| path.len() > 1 && path.first().is_some_and(|p| p == "data"));
        if path.is_none() {
            return Err(ConfigError::new(format!(
                "the entry point {entry_point:?} is no path such as data.shop.decision"
            )));
        }
        check_sizes(&modules, &data)?;
        let revision = revision.unwrap_or_else(|| revision_of(&entry_point, &modules, &data));

        let mut calls = Calls::default();
        for module in &modules {
            check_module(module, &mut calls)?;
        }
        if let Some(function) = calls.recursive() {
            return Err(ConfigError::new(format!("the function {function} calls itself")));
        }
        let data = data.into_iter().map(check_data).collect::<Result<_, _>>()?;
        let sources = Sources { entry_point: entry_point.as_str().into(), modules, data, time_limit };
        let ((engine, compiled), is_quick) = timed(|| sources.engine())?;
        let document = engine.get_data();
        for rule in compiled.get_rules().keys() {
            let path = paths::split(rule)
                .ok_or_else(|| ConfigError::new(format!("the path of the rule {rule} is not understood")))?;
            if is_taken(&document, path.iter().skip(1)) {
                return Err(ConfigError::new(format!("there is data at {rule}, which is a rule")));
            }
        }
        let (entry_point, input) = (entry_point.into(), InputOptions::with_claims(claims));
        let sources = Some(sources).filter(|sources| is_quick && has_copies && sources.are_small());
        Ok(RegoPolicies(Arc::new(Inner { engine, sources, own: PerThread::new(), entry_point, input, revision })))
    }
}

impl fmt::Debug for RegoBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let modules: Vec<_> = self.modules.iter().map(|module| &module.name).collect();
        f.debug_struct("RegoBuilder")
            .field("entry_point", &self.entry_point)
            .field("modules", &modules)
            .finish_non_exhaustive()
    }
}

const MAX_MODULES: usize = 1000;
/// The syntax tree of a module, written out, is a hundred times as long as the module.
const MAX_MODULE_BYTES: usize = 256 << 10;
const MAX_MODULES_BYTES: usize = 4 << 20;
const MAX_DATA_BYTES: usize = 16 << 20;
pub(super) const MAX_SMALL_BYTES: usize = 256 << 10;
/// How much more time and memory a module takes than data of the same length.
pub(super) const MODULES_WEIGH: usize = 8;

/// Names what decides by what stands in it.
fn revision_of(entry_point: &str, modules: &[Module], data: &[Data]) -> Arc<str> {
    let modules = modules.iter().flat_map(|Module { name, text, is_v0, roots: _ }| {
        let version: &[u8] = if *is_v0 { b"v0" } else { b"v1" };
        [version, name.as_bytes(), text.as_bytes()]
    });
    let data = data.iter().flat_map(|Data { path, json }| {
        let path = path.iter().map(String::as_bytes);
        [b"data".as_slice()].into_iter().chain(path).chain([json.as_slice()])
    });
    digest([entry_point.as_bytes()].into_iter().chain(modules).chain(data))
}

fn check_sizes(modules: &[Module], data: &[Data]) -> Result<(), ConfigError> {
    let module_bytes: usize = modules.iter().map(|module| module.text.len()).sum();
    let data_bytes: usize = data.iter().map(|data| data.json.len()).sum();
    if modules.len() > MAX_MODULES || module_bytes > MAX_MODULES_BYTES {
        return Err(ConfigError::new("more than 1,000 Rego modules, or more than 4 MiB of them"));
    }
    if let Some(large) = modules.iter().find(|module| module.text.len() > MAX_MODULE_BYTES) {
        return Err(ConfigError::new(format!("the Rego module {} is longer than 256 KiB", large.name)));
    }
    if data_bytes > MAX_DATA_BYTES {
        return Err(ConfigError::new("more than 16 MiB of data for the Rego policies"));
    }
    Ok(())
}

/// Checks a module alone, for its tree is large.
fn check_module(module: &Module, calls: &mut Calls) -> Result<(), ConfigError> {
    let Module { name, text, is_v0: _, roots } = module;
    if let Some(problem) = scan::problem(text) {
        return Err(ConfigError::new(format!("the Rego module {name} {problem}")));
    }
    let mut alone = Engine::new();
    let package = module.add_to(&mut alone)?;
    let tree =
        alone.get_ast_as_json().map_err(|error| bad(&format!("the Rego module {name} cannot be read"), &error))?;
    calls.add(&tree).ok_or_else(|| ConfigError::new(format!("the Rego module {name} is nested too deep")))?;
    let path =
        paths::split(&package).ok_or_else(|| ConfigError::new(format!("the package of {name} is not understood")))?;
    let path = path.get(1..).unwrap_or_default().join("/");
    if roots.as_ref().is_some_and(|roots| !roots.iter().any(|root| is_within(&path, root))) {
        return Err(ConfigError::new(format!("the package of {name} lies outside of the bundle's roots")));
    }
    Ok(())
}

/// Checks data before the engine sees it: duplicates, depth, numbers.
fn check_data(data: Data) -> Result<Checked, ConfigError> {
    let Data { path, json } = data;
    let shown = if path.is_empty() { "data".to_owned() } else { format!("data/{}", path.join("/")) };
    let not_strict = || ConfigError::new(format!("{shown} is not strict JSON"));
    let mut wrapped = Vec::with_capacity(json.len() + 6);
    wrapped.extend_from_slice(b"{\"v\":");
    wrapped.extend_from_slice(&json);
    wrapped.push(b'}');
    let checked = JsonObject::parse(wrapped).map_err(|error| not_strict().with_source(error))?;
    let value = checked.get("v").filter(|_| checked.len() == 1).ok_or_else(not_strict)?.as_json();
    if path.is_empty() && !value.starts_with('{') {
        return Err(ConfigError::new("data for Rego policies must be a JSON object"));
    }
    if scan::has_large_number(value) {
        return Err(ConfigError::new(format!("{shown} has a number that is too large")));
    }
    let json = String::from_utf8(json).map_err(|_| not_strict())?;
    Ok(Checked { path, json, shown })
}

/// What has passed all checks, to make engines of.
pub(super) struct Sources {
    entry_point: Box<str>,
    modules: Vec<Module>,
    data: Vec<Checked>,
    time_limit: Duration,
}

struct Checked {
    path: Vec<String>,
    json: String,
    /// Says which data it is, for messages.
    shown: String,
}

impl Sources {
    /// Makes an engine that has no reference in common with any other, and tells its rules.
    pub(super) fn engine(&self) -> Result<(Engine, CompiledPolicy), ConfigError> {
        let Self { entry_point, modules, data, time_limit } = self;
        let mut engine = Engine::new();
        // Without this a policy's `print` would write to the standard error output.
        engine.set_gather_prints(true);
        engine.set_strict_builtin_errors(true);
        engine.set_execution_timer_config(timer(*time_limit));
        for module in modules {
            module.add_to(&mut engine)?;
        }
        for Checked { path, json, shown } in data {
            let value = Value::from_json_str(json).map_err(|_| ConfigError::new(format!("{shown} cannot be read")))?;
            let value = path.iter().rev().fold(value, |inner, name| {
                Value::from(std::collections::BTreeMap::from([(Value::from(name.as_str()), inner)]))
            });
            // INVARIANT: what the engine says of data is not passed on, for it quotes values, and the error is logged.
            engine.add_data(value).map_err(|_| ConfigError::new(format!("{shown} contradicts other data")))?;
        }
        let compiled = engine
            .compile_with_entrypoint(&Arc::from(&**entry_point))
            .map_err(|error| bad(&format!("the Rego policies do not compile to {entry_point}"), &error))?;
        Ok((engine, compiled))
    }

    #[cfg(test)]
    pub(super) fn broken() -> Self {
        let module = Module { name: "a.rego".to_owned(), text: "package".to_owned(), is_v0: false, roots: None };
        Self { entry_point: "data.a.x".into(), modules: vec![module], data: Vec::new(), time_limit: DEFAULT_TIME_LIMIT }
    }

    /// Tells whether each thread may have an engine of its own: making one takes below 5 ms then, and about 2 MiB.
    fn are_small(&self) -> bool {
        let module_bytes: usize = self.modules.iter().map(|module| module.text.len()).sum();
        let data_bytes: usize = self.data.iter().map(|data| data.json.len()).sum();
        MODULES_WEIGH * module_bytes + data_bytes <= MAX_SMALL_BYTES
    }
}

impl Module {
    /// Returns the package.
    fn add_to(&self, engine: &mut Engine) -> Result<String, ConfigError> {
        let Self { name, text, is_v0, roots: _ } = self;
        engine.set_rego_v0(*is_v0);
        engine
            .add_policy(name.clone(), text.clone())
            .map_err(|error| bad(&format!("the Rego module {name} does not parse"), &error))
    }
}

/// Tells whether data stands at a path, or something on the way to it that has no members. The engine would let data win over
/// the rule.
fn is_taken<'a>(data: &Value, path: impl Iterator<Item = &'a String>) -> bool {
    let mut at = data;
    for name in path {
        let Ok(members) = at.as_object() else { return true };
        match members.get(&Value::from(name.as_str())) {
            Some(below) => at = below,
            None => return false,
        }
    }
    true
}

/// What the engine says quotes policies, which their author is to see.
fn bad(message: &str, error: &anyhow::Error) -> ConfigError {
    ConfigError::new(message).with_source(error.to_string())
}
