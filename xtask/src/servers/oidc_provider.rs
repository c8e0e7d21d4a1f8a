//! oidc-provider, a certified OpenID provider on Node.js, in a small program of ours (tests/servers/oidc-provider).

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};

use crate::layout::Layout;
use crate::process::{self, Invocation};
use crate::progress::Line;
use crate::servers::running::{Place, Resident, Running, Server};
use crate::servers::{cached, program, ready};

/// The first version whose global `crypto` its packages can use.
const OLDEST: u32 = 20;
const DISCOVERY: &str = "/.well-known/openid-configuration";

/// Makes new keys at each start and forgets all tokens.
pub(crate) struct OidcProvider;

impl Server for OidcProvider {
    fn name(&self) -> &'static str {
        "oidc-provider"
    }

    /// Fills a folder of the cache with exactly the packages of the lock file.
    fn install(&self, layout: &Layout, line: &Line) -> Result<PathBuf> {
        let log = layout.log("oidc-provider-install");
        let source = layout.root.join("tests/servers/oidc-provider");
        let lock = source.join("package-lock.json");
        let sum = process::must(&Invocation::new("sha256sum").arg(&lock), &log, line, &|| None)?;
        let sum = sum.stdout.get(..16).context("sha256sum printed no sum")?;
        let folder = layout.cache.join(format!("servers/oidc-provider-{sum}"));
        cached::once(&folder, line, || {
            fs::create_dir_all(&folder)?;
            for name in ["package.json", "package-lock.json"] {
                fs::copy(source.join(name), folder.join(name))?;
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

    fn start(&self, place: &Place<'_>, line: &Line) -> Result<Running> {
        let Place { layout, scratch } = place;
        let installed = self.install(layout, line)?;
        // Node.js looks for packages beside the program.
        let folder = scratch.join("oidc-provider");
        fs::create_dir(&folder)?;
        let source = layout.root.join("tests/servers/oidc-provider");
        for name in ["package.json", "server.mjs"] {
            fs::copy(source.join(name), folder.join(name)).with_context(|| format!("cannot copy {name}"))?;
        }
        symlink(installed.join("node_modules"), folder.join("node_modules"))?;
        let log = layout.log("oidc-provider");
        let node = program::find("node", "nodejs")?;
        let version = process::must(&Invocation::new(&node).arg("--version"), &log, line, &|| None)?;
        let version = version.stdout.trim();
        ensure!(is_new_enough(version), "it needs Node.js {OLDEST}, and {} is {version}", node.display());
        let port = ready::free_port()?;
        let invocation = Invocation::new(node).arg("server.mjs").arg(port.to_string()).folder(&folder);
        let resident = Resident::start(invocation, log, port, move || ready::answers_ok(port, DISCOVERY), line)?;
        Ok(Running::new(resident).with("SEKISHO_OIDC_PROVIDER_URL", format!("http://127.0.0.1:{port}")))
    }
}

fn is_new_enough(version: &str) -> bool {
    let major = version.strip_prefix('v').and_then(|rest| rest.split('.').next()?.parse::<u32>().ok());
    major.is_some_and(|major| major >= OLDEST)
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::is_new_enough;

    const LOCK: &str = include_str!("../../../tests/servers/oidc-provider/package-lock.json");

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
    fn the_lock_file_pins_each_package_by_its_sum_and_names_no_registry() {
        let lock: Value = serde_json::from_str(LOCK).unwrap();
        let packages = lock.get("packages").and_then(Value::as_object).unwrap();
        assert_eq!(packages["node_modules/oidc-provider"]["version"], "9.13.3");
        for (name, package) in packages.iter().filter(|(name, _)| !name.is_empty()) {
            assert!(package["integrity"].as_str().is_some_and(|sum| sum.starts_with("sha512-")), "{name}");
            assert!(package.get("resolved").is_none(), "{name}");
            assert!(package.get("hasInstallScript").is_none(), "{name}");
        }
    }
}
