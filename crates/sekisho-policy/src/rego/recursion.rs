//! Functions that call themselves. The engine recurses with them until the stack overflows, which ends the process; OPA refuses
//! them, and so do we, before anything is evaluated.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// Collects which function calls which, module by module.
#[derive(Default)]
pub(super) struct Calls {
    functions: BTreeSet<String>,
    /// What each function refers to, whether that is a function or not.
    refers: BTreeMap<String, BTreeSet<String>>,
}

impl Calls {
    /// Adds the modules of the engine's syntax tree; `None` if it has not the form that is known.
    pub(super) fn add(&mut self, tree: &str) -> Option<()> {
        let modules: Vec<Value> = serde_json::from_str(tree).ok()?;
        for module in &modules {
            let text = module.get("source")?.get("contents")?.as_str()?;
            let module = module.get("ast")?;
            let mut package = vec!["data".to_owned()];
            package.extend(reference(module.get("package")?.get("refr")?)?);
            let imports = imports(module, text);
            for rule in module.get("rules").or_else(|| module.get("policy"))?.as_array()? {
                let (head, parts) = if let Some(default) = rule.get("Default") {
                    let is_function = default.get("args")?.as_array().is_some_and(|arguments| !arguments.is_empty());
                    (is_function.then_some(default), [default.get("value"), None])
                } else {
                    let spec = rule.get("Spec")?;
                    let head = spec.get("head")?.get("Func");
                    (head, [head.and_then(|head| head.get("assign")), Some(spec.get("bodies")?)])
                };
                let Some(head) = head else { continue };
                let mut name = package.clone();
                name.extend(reference(head.get("refr")?)?);
                let name = name.join("\0");
                let scope = Scope { package: &package, imports: &imports };
                let found = self.refers.entry(name.clone()).or_default();
                for part in parts.into_iter().flatten() {
                    scope.collect(part, found);
                }
                self.functions.insert(name);
            }
        }
        Some(())
    }

    /// Finds a function that calls itself, by whatever way.
    pub(super) fn recursive(&self) -> Option<String> {
        let mut done = BTreeSet::new();
        for start in &self.functions {
            let mut open: Vec<(&str, bool)> = vec![(start, false)];
            let mut way: BTreeSet<&str> = BTreeSet::new();
            while let Some((name, is_left)) = open.pop() {
                if is_left {
                    way.remove(name);
                    done.insert(name.to_owned());
                    continue;
                }
                if way.contains(name) {
                    return Some(name.replace('\0', "."));
                }
                if done.contains(name) {
                    continue;
                }
                way.insert(name);
                open.push((name, true));
                let called = self.refers.get(name).into_iter().flatten();
                open.extend(called.filter(|called| self.functions.contains(*called)).map(|called| (&**called, false)));
            }
        }
        None
    }
}

struct Scope<'a> {
    package: &'a [String],
    imports: &'a BTreeMap<String, Vec<String>>,
}

impl Scope<'_> {
    /// Collects everything that could name a function: also what a `with` puts in the place of one.
    fn collect(&self, node: &Value, found: &mut BTreeSet<String>) {
        match node {
            Value::Object(members) => {
                let is_reference = |name: &str| matches!(name, "Var" | "RefDot" | "RefBrack");
                for (name, child) in members {
                    if is_reference(name)
                        && let Some(path) = reference(node)
                    {
                        self.resolve(&path, found);
                    }
                    self.collect(child, found);
                }
            }
            Value::Array(elements) => elements.iter().for_each(|element| self.collect(element, found)),
            _ => {}
        }
    }

    /// Adds what a path may name. An imported name stands for what it was imported from, and in the engine also for a function of the
    /// package when there is nothing at that place.
    fn resolve(&self, path: &[String], found: &mut BTreeSet<String>) {
        let Some((first, rest)) = path.split_first() else { return };
        if first == "data" {
            found.insert(path.join("\0"));
        }
        found.insert([self.package, path].concat().join("\0"));
        if let Some(import) = self.imports.get(first) {
            found.insert([import, rest].concat().join("\0"));
        }
    }
}

fn imports(module: &Value, text: &str) -> BTreeMap<String, Vec<String>> {
    let mut all = BTreeMap::new();
    for import in module.get("imports").and_then(Value::as_array).into_iter().flatten() {
        let Some(path) = import.get("refr").and_then(reference) else { continue };
        // An alias stands there as its place in the text.
        let alias = import.get("as").and_then(|span| {
            let at = |name| usize::try_from(span.get(name)?.as_u64()?).ok();
            text.get(at("start")?..at("end")?).map(ToOwned::to_owned)
        });
        if let Some(name) = alias.or_else(|| path.last().cloned()) {
            all.insert(name, path);
        }
    }
    all
}

/// Reads a reference as a path of names, up to the first part that is none.
fn reference(node: &Value) -> Option<Vec<String>> {
    if let Some(variable) = node.get("Var") {
        return Some(vec![variable.get("value")?.as_str()?.to_owned()]);
    }
    let (inner, last) = if let Some(dot) = node.get("RefDot") {
        (dot.get("refr")?, dot.get("field")?.get(1)?.as_str())
    } else {
        let bracket = node.get("RefBrack")?;
        let index = bracket.get("index")?;
        (
            bracket.get("refr")?,
            index.get("String").or_else(|| index.get("RawString")).and_then(|s| s.get("value")?.as_str()),
        )
    };
    let mut path = reference(inner)?;
    path.push(last?.to_owned());
    Some(path)
}
