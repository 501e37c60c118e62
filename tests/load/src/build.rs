//! Building the servers.

use std::collections::HashMap;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::children::Children;
use crate::plan::Plan;
use crate::servers::Source;
use crate::{cache, root};

/// Builds what the plan needs and is not up to date.
pub(crate) fn all(plan: &mut Plan, children: &Children) -> Result<(), Box<dyn Error>> {
    plan.loadgen = build(
        children,
        &Source::Binary {
            package: "loadgen",
            name: "loadgen",
        },
    )?;
    let mut built: HashMap<String, PathBuf> = HashMap::new();
    for server in &mut plan.servers {
        if server.source != Source::Given {
            let key = format!("{:?}", server.source);
            server.program = match built.get(&key) {
                Some(program) => program.clone(),
                None => build(children, &server.source)?,
            };
            built.insert(key, server.program.clone());
        }
    }
    Ok(())
}

fn build(children: &Children, source: &Source) -> Result<PathBuf, Box<dyn Error>> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command
        .args(["build", "--quiet", "--release", "--locked"])
        .args(["--message-format", "json-render-diagnostics"]);
    let (name, package) = match *source {
        Source::Example {
            package,
            example,
            features,
        } => {
            command
                .arg("--manifest-path")
                .arg(root().join("Cargo.toml"))
                .args(["-p", package, "--example", example, "--features", features]);
            (format!("{package}-{example}-{features}"), package)
        }
        Source::Binary { package, name } => {
            command
                .arg("--manifest-path")
                .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml"))
                .args(["-p", package, "--bin", name]);
            (name.to_owned(), package)
        }
        Source::Program => {
            command
                .arg("--manifest-path")
                .arg(root().join("Cargo.toml"))
                .args(["-p", "smartsocket", "--bin", "smartsocket"]);
            ("smartsocket".to_owned(), "smartsocket")
        }
        Source::Node => return install(children),
        Source::Given => return Err("nothing to build".into()),
    };
    eprintln!("building {name}");
    let (status, output) = children.output(command.stderr(Stdio::inherit()))?;
    if !status.success() {
        return Err(format!("cannot build {name} of {package}").into());
    }
    let executable = output
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter_map(|message| Some(PathBuf::from(message.get("executable")?.as_str()?)))
        .next_back()
        .ok_or_else(|| format!("cargo names no executable for {name}"))?;
    // Two examples share a name, and one is built with several features: each
    // has a copy of its own. By rename, because an older copy may be running.
    let place = cache().join("bin");
    fs::create_dir_all(&place)?;
    let (copy, new) = (place.join(&name), place.join(format!("{name}.new")));
    fs::copy(executable, &new)?;
    fs::rename(&new, &copy)?;
    Ok(copy.canonicalize()?)
}

/// Installs the packages of the peers on Node.
fn install(children: &Children) -> Result<PathBuf, Box<dyn Error>> {
    let peers = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers");
    // The lock file of a finished installation, to notice changed versions.
    let lock = fs::read(peers.join("package-lock.json"))?;
    let installed = peers.join("node_modules/.installed");
    if fs::read(&installed).ok().as_ref() != Some(&lock) {
        eprintln!("installing the peers on Node");
        let mut command = Command::new("npm");
        command
            .args(["ci", "--silent", "--no-audit", "--no-fund"])
            .current_dir(&peers)
            .stderr(Stdio::inherit());
        if !children.output(&mut command)?.0.success() {
            return Err("npm cannot install the peers".into());
        }
        fs::write(installed, lock)?;
    }
    Ok("node".into())
}
