//! vrift's own programs: built once, and copied, so that a build of the repository cannot change them under a test.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::time::Duration;

use anyhow::{Context, ensure};

use crate::{Result, host};

/// Everything that `cargo install --path cargo-vrift` puts in place.
pub const PROGRAMS: [&str; 4] = ["vrift", "cargo-vrift", "vriftd", "vdir_d"];

/// A folder with programs that were built elsewhere, instead of building them here.
pub const BIN_DIR: &str = "VRIFT_BIN_DIR";

/// Copies of other builds go away after this.
const KEEP: Duration = Duration::from_secs(24 * 3600);

/// The folder with vrift's programs.
///
/// # Errors
/// They do not build.
pub fn programs() -> Result<PathBuf> {
    // A failure is remembered too: a hundred tests need not try a hundred times.
    static FOUND: Mutex<Option<std::result::Result<PathBuf, String>>> = Mutex::new(None);
    let mut found = FOUND.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    found.get_or_insert_with(|| find().map_err(|e| format!("{e:#}"))).clone().map_err(anyhow::Error::msg)
}

fn find() -> Result<PathBuf> {
    let dir = match std::env::var_os(BIN_DIR) {
        Some(dir) => std::path::absolute(dir)?,
        None => build()?,
    };
    for name in PROGRAMS {
        ensure!(dir.join(name).is_file(), "`{}` is missing", dir.join(name).display());
    }
    Ok(dir)
}

fn build() -> Result<PathBuf> {
    let mut cargo = Command::new("cargo");
    cargo.args(["build", "--release", "--locked", "--package", "cargo-vrift"]).current_dir(host::repository());
    for (name, _) in std::env::vars_os() {
        let name_text = name.to_string_lossy();
        if name_text.starts_with("CARGO_PKG_") || name_text.starts_with("CARGO_MANIFEST_") || name_text == "LD_LIBRARY_PATH" {
            cargo.env_remove(&name);
        }
    }
    let output = cargo.output().context("cannot run cargo")?;
    ensure!(output.status.success(), "vrift does not build:\n{}", String::from_utf8_lossy(&output.stderr));
    let cache = host::cache()?;
    let built = cache.parent().unwrap_or(&cache).join("release");
    copy(&built, &cache.join("product"))
}

/// Copies the programs into a folder named by their content.
fn copy(built: &Path, into: &Path) -> Result<PathBuf> {
    let mut hasher = blake3::Hasher::new();
    for name in PROGRAMS {
        let path = built.join(name);
        hasher.update(&std::fs::read(&path).with_context(|| format!("cannot read `{}`", path.display()))?);
    }
    let dir = into.join(&hasher.finalize().to_hex()[..16]);
    if !dir.is_dir() {
        std::fs::create_dir_all(into)?;
        remove_old(into);
        let temp = tempfile::tempdir_in(into)?;
        for name in PROGRAMS {
            std::fs::copy(built.join(name), temp.path().join(name))?;
        }
        make_readable(temp.path())?;
        let temp = temp.keep();
        if std::fs::rename(&temp, &dir).is_err() {
            // Another test process was faster.
            std::fs::remove_dir_all(&temp)?;
        }
    }
    Ok(dir)
}

fn make_readable(dir: &Path) -> Result {
    use std::os::unix::fs::PermissionsExt;
    Ok(std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o755))?)
}

fn remove_old(into: &Path) {
    let Ok(entries) = std::fs::read_dir(into) else { return };
    for entry in entries.flatten() {
        let age = entry.metadata().and_then(|meta| meta.modified()).ok().and_then(|at| at.elapsed().ok());
        if age.is_some_and(|age| age > KEEP) {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}
