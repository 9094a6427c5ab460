//! The npm package `vrift`: packed from this repository, and installed into projects.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use anyhow::ensure;

use crate::checkout::Checkout;
use crate::command::Cmd;
use crate::env::TestEnv;
use crate::{Result, crates_io, host, product, user};

/// One at a time in this process.
static PACK: Mutex<()> = Mutex::new(());

fn sources() -> PathBuf {
    host::repository().join("npm-vrift")
}

/// A project with nothing in it but the installed package, in a folder that nobody may change, with the tarballs beside it.
fn made() -> Result<PathBuf> {
    let _one = PACK.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let programs = product::programs()?;
    let mut hasher = blake3::Hasher::new();
    for entry in walkdir::WalkDir::new(sources()).sort_by_file_name() {
        let entry = entry?;
        if entry.file_type().is_file() {
            hasher.update(entry.path().as_os_str().as_encoded_bytes()).update(&std::fs::read(entry.path())?);
        }
    }
    for name in product::PROGRAMS {
        hasher.update(&std::fs::read(programs.join(name))?);
    }
    let parent = host::cache()?.join("npm-package");
    let dir = parent.join(&hasher.finalize().to_hex()[..16]);
    if !dir.is_dir() {
        // Of other builds: each is some ten megabytes.
        let _ = std::fs::remove_dir_all(&parent);
        crates_io::publish(&dir, |temp| {
            let out = temp.join("tarballs");
            said(Command::new(sources().join("pack")).arg("--bin-dir").arg(&programs).arg("--out").arg(&out))?;
            let project = temp.join("project");
            std::fs::create_dir(&project)?;
            std::fs::write(project.join("package.json"), "{}")?;
            let mut npm = Command::new("npm");
            npm.args(INSTALL).args(paths_in(&out)?).current_dir(&project);
            said(&mut npm)
        })?;
    }
    Ok(dir)
}

const INSTALL: [&str; 5] = ["install", "--offline", "--no-audit", "--no-fund", "--loglevel=error"];

fn said(command: &mut Command) -> Result {
    let output = command.output()?;
    ensure!(output.status.success(), "{command:?} failed: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

fn paths_in(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut paths = std::fs::read_dir(dir)?.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    paths.sort();
    Ok(paths)
}

/// A project at `w/<name>` with this `package.json`, into which npm installs the tarballs.
///
/// # Errors
/// They cannot be made or installed.
pub fn install<'e>(env: &'e TestEnv, name: &str, manifest: &str) -> Result<Checkout<'e>> {
    let tarballs = env.path().join("tarballs");
    user::copy_tree(&made()?.join("tarballs"), &tarballs)?;
    env.own(&tarballs)?;
    let checkout = env.checkout(name)?;
    checkout.write("package.json", manifest)?;
    cmd(&checkout, "npm").args(INSTALL).args(paths_in(&tarballs)?).ok()?;
    Ok(checkout)
}

/// A project at `w/<name>` with this `package.json` and a copy of an installed package.
///
/// # Errors
/// It cannot be made or copied.
pub fn checkout<'e>(env: &'e TestEnv, name: &str, manifest: &str) -> Result<Checkout<'e>> {
    let checkout = env.checkout_of(&made()?.join("project"), name)?;
    checkout.write("package.json", manifest)?;
    Ok(checkout)
}

/// A command in a project, on a machine where nothing of vrift is in `PATH`.
pub fn cmd(checkout: &Checkout<'_>, program: &str) -> Cmd {
    checkout.cmd(program).env("PATH", "/usr/local/bin:/usr/bin:/bin")
}

/// The launcher, with these words.
pub fn vrift(checkout: &Checkout<'_>, words: &str) -> Cmd {
    cmd(checkout, "node_modules/.bin/vrift").args(words.split_whitespace())
}

/// Puts a copy of the installed package into a project that has a `node_modules` already.
///
/// # Errors
/// It cannot be made or copied.
pub fn add(checkout: &Checkout<'_>) -> Result {
    let (from, to) = (made()?.join("project/node_modules"), checkout.path("node_modules"));
    for name in ["vrift", "@vrift"] {
        user::copy_tree(&from.join(name), &to.join(name))?;
    }
    std::fs::create_dir_all(to.join(".bin"))?;
    for link in std::fs::read_dir(from.join(".bin"))? {
        let link = link?;
        std::os::unix::fs::symlink(std::fs::read_link(link.path())?, to.join(".bin").join(link.file_name()))?;
    }
    Ok(())
}
