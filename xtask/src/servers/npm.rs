//! Packages of npm, exactly those of a lock file, for programs of ours that run on Node.js.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};

use crate::layout::Layout;
use crate::process::{self, Invocation};
use crate::progress::Line;
use crate::servers::{cached, program};

/// The first version whose global `crypto` the packages can use.
const OLDEST: u32 = 20;

/// Fills a folder of the cache with exactly the packages of `tests/servers/NAME/package-lock.json`, and returns it.
pub(crate) fn install(name: &str, layout: &Layout, line: &Line) -> Result<PathBuf> {
    let log = layout.log(&format!("{name}-install"));
    let source = layout.root.join("tests/servers").join(name);
    let lock = source.join("package-lock.json");
    let sum = process::must(&Invocation::new("sha256sum").arg(&lock), &log, line, &|| None)?;
    let sum = sum.stdout.get(..16).context("sha256sum printed no sum")?;
    let folder = layout.cache.join(format!("servers/{name}-{sum}"));
    cached::once(&folder, line, || {
        fs::create_dir_all(&folder)?;
        for file in ["package.json", "package-lock.json"] {
            fs::copy(source.join(file), folder.join(file))?;
        }
        // npm checks every package against the sum in the lock file; none of them has a script to run.
        let npm = Invocation::new(program::find("npm", "npm")?)
            .args(["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=http"])
            .folder(&folder);
        process::must(&npm, &log, line, &|| None)?;
        Ok(())
    })?;
    Ok(folder)
}

/// Finds a Node.js that is new enough.
pub(crate) fn node(layout: &Layout, line: &Line) -> Result<PathBuf> {
    let node = program::find("node", "nodejs")?;
    let log = layout.log("node-version");
    let version = process::must(&Invocation::new(&node).arg("--version"), &log, line, &|| None)?;
    let version = version.stdout.trim();
    ensure!(is_new_enough(version), "it needs Node.js {OLDEST}, and {} is {version}", node.display());
    Ok(node)
}

fn is_new_enough(version: &str) -> bool {
    let major = version.strip_prefix('v').and_then(|rest| rest.split('.').next()?.parse::<u32>().ok());
    major.is_some_and(|major| major >= OLDEST)
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::is_new_enough;

    const OIDC_PROVIDER: &str = include_str!("../../../tests/servers/oidc-provider/package-lock.json");
    const CERBOS: &str = include_str!("../../../tests/servers/cerbos/package-lock.json");
    const NODE_CLIENTS: &str = include_str!("../../../tests/servers/node-clients/package-lock.json");

    #[test]
    fn tells_an_old_runtime_from_a_new_one() {
        for version in ["v20.0.0", "v22.11.0", "v100.0.0"] {
            assert!(is_new_enough(version), "{version}");
        }
        for version in ["v18.20.4", "v2.0.0", "20.0.0", "v", ""] {
            assert!(!is_new_enough(version), "{version}");
        }
    }

    #[test]
    fn each_lock_file_pins_each_package_by_its_sum_and_names_no_registry() {
        for (lock, package, version) in [
            (OIDC_PROVIDER, "oidc-provider", "9.13.3"),
            (CERBOS, "@cerbos/cerbos-linux-x64", "0.51.0"),
            (NODE_CLIENTS, "oauth4webapi", "3.8.8"),
            (NODE_CLIENTS, "openid-client", "6.9.0"),
            (NODE_CLIENTS, "playwright-core", "1.65.1"),
        ] {
            let lock: Value = serde_json::from_str(lock).unwrap();
            let packages = lock.get("packages").and_then(Value::as_object).unwrap();
            assert_eq!(packages[&format!("node_modules/{package}")]["version"], version);
            for (name, package) in packages.iter().filter(|(name, _)| !name.is_empty()) {
                assert!(package["integrity"].as_str().is_some_and(|sum| sum.starts_with("sha512-")), "{name}");
                assert!(package.get("resolved").is_none(), "{name}");
                assert!(package.get("hasInstallScript").is_none(), "{name}");
            }
        }
    }
}
