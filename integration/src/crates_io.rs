//! Sources from crates.io, through the ordinary client: a throw-away package that depends on the crate is fetched, and the
//! sources are copied from Cargo's own cache.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use anyhow::{Context, ensure};

use crate::{Result, host, user};

/// One fetch at a time in this process; Cargo itself sees to other processes.
static FETCH: Mutex<()> = Mutex::new(());

/// The sources of a crate as published, in a folder that nobody may change; copy them.
///
/// # Errors
/// It is not there, or the network is not.
pub fn sources(name: &str, version: &str) -> Result<PathBuf> {
    let _one = FETCH.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let dir = host::cache()?.join("crates").join(format!("{name}-{version}"));
    if dir.join("Cargo.toml").is_file() {
        return Ok(dir);
    }
    let from = match in_registry(name, version) {
        Some(found) => found,
        None => {
            fetch(name, version)?;
            in_registry(name, version).with_context(|| format!("cargo fetched no {name} {version}"))?
        }
    };
    publish(&dir, |temp| {
        user::copy_tree(&from, temp)?;
        // Cargo's own marks are no part of the sources.
        for mark in [".cargo-ok", ".cargo_vcs_info.json", "Cargo.toml.orig"] {
            let _ = std::fs::remove_file(temp.join(mark));
        }
        Ok(())
    })?;
    Ok(dir)
}

/// Downloads what the lock file in `dir` names, so that builds need no network.
///
/// # Errors
/// There is no network.
pub fn fetch_locked(dir: &Path) -> Result {
    let _one = FETCH.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    // Beside the sources: these stay as they were published.
    let mark = with_suffix(dir, ".fetched");
    if !mark.exists() {
        // Elsewhere: below this repository's own folder Cargo would take the sources for a lost member of its workspace.
        let temp = tempfile::tempdir()?;
        user::copy_tree(dir, temp.path())?;
        host::line_of(cargo(temp.path()).args(["fetch", "--locked"]))?;
        std::fs::write(&mark, "").with_context(|| format!("cannot write `{}`", mark.display()))?;
    }
    Ok(())
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut path = path.as_os_str().to_owned();
    path.push(suffix);
    path.into()
}

/// Makes the folder `dir` whole or not at all.
pub(crate) fn publish(dir: &Path, fill: impl FnOnce(&Path) -> Result) -> Result {
    let parent = dir.parent().with_context(|| format!("`{}` has no parent", dir.display()))?;
    std::fs::create_dir_all(parent)?;
    let temp = tempfile::tempdir_in(parent)?;
    fill(temp.path())?;
    let temp = temp.keep();
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(&temp, std::fs::Permissions::from_mode(0o755))?;
    if std::fs::rename(&temp, dir).is_err() {
        // Another test process was faster.
        std::fs::remove_dir_all(&temp)?;
        ensure!(dir.is_dir(), "cannot make `{}`", dir.display());
    }
    Ok(())
}

fn in_registry(name: &str, version: &str) -> Option<PathBuf> {
    let registries = std::fs::read_dir(host::cargo_home().join("registry/src")).ok()?;
    let crates_io = registries.flatten().filter(|e| e.file_name().to_string_lossy().starts_with("index.crates.io-"));
    crates_io.map(|e| e.path().join(format!("{name}-{version}"))).find(|dir| dir.join(".cargo-ok").is_file())
}

fn fetch(name: &str, version: &str) -> Result {
    let temp = tempfile::tempdir()?;
    std::fs::create_dir(temp.path().join("src"))?;
    std::fs::write(temp.path().join("src/lib.rs"), "")?;
    // Cargo warns that a crate without a library is of no use here, and fetches it all the same.
    let manifest = format!(
        "[package]\nname = \"fetch\"\nversion = \"0.0.0\"\nedition = \"2024\"\n[workspace]\n[dependencies]\n{name} = \"={version}\"\n"
    );
    std::fs::write(temp.path().join("Cargo.toml"), manifest)?;
    host::line_of(cargo(temp.path()).arg("fetch")).map(|_| ())
}

pub(crate) fn cargo(dir: &Path) -> Command {
    let mut command = Command::new("cargo");
    command.current_dir(dir).env_remove("CARGO_TARGET_DIR").env_remove("LD_LIBRARY_PATH");
    command
}
