//! JavaScript projects: sources in `fixtures/npm`, and the tools that they need, installed once.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use anyhow::ensure;

use crate::checkout::Checkout;
use crate::command::{Cmd, Done};
use crate::env::TestEnv;
use crate::snapshot::Snapshot;
use crate::{Result, crates_io, host, user};

/// One installation at a time in this process.
static INSTALL: Mutex<()> = Mutex::new(());

fn fixtures() -> PathBuf {
    host::repository().join("integration/fixtures/npm")
}

/// A `node_modules` with every tool that a fixture uses, which nobody may change; copy it. Those that have no list of tools of their own,
/// `toolbox-<name>`, share one.
///
/// # Errors
/// npm cannot install it.
pub fn node_modules(fixture: &str) -> Result<PathBuf> {
    let _one = INSTALL.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let own = fixtures().join(format!("toolbox-{fixture}"));
    let toolbox = if own.is_dir() { own } else { fixtures().join("toolbox") };
    let lock = std::fs::read(toolbox.join("package-lock.json"))?;
    let dir = host::cache()?.join("npm").join(&blake3::hash(&lock).to_hex()[..16]);
    if !dir.is_dir() {
        crates_io::publish(&dir, |temp| {
            user::copy_tree(&toolbox, temp)?;
            let mut npm = Command::new("npm");
            npm.args(["ci", "--no-audit", "--no-fund", "--loglevel=error"]).current_dir(temp);
            let output = npm.output()?;
            ensure!(output.status.success(), "npm ci failed: {}", String::from_utf8_lossy(&output.stderr));
            Ok(())
        })?;
    }
    Ok(dir.join("node_modules"))
}

/// A checkout at `w/<name>` of a fixture, with its tools.
///
/// # Errors
/// They cannot be installed or copied.
pub fn checkout<'e>(env: &'e TestEnv, fixture: &str, name: &str) -> Result<Checkout<'e>> {
    let checkout = env.checkout_of(&fixtures().join(fixture), name)?;
    let modules = checkout.path("node_modules");
    user::copy_tree(&node_modules(fixture)?, &modules)?;
    // Packages of a workspace are linked into it, as npm does.
    if let Ok(packages) = std::fs::read_dir(checkout.path("packages")) {
        std::fs::create_dir_all(modules.join("@fixture"))?;
        for package in packages {
            let package = package?.file_name();
            let target = Path::new("../../packages").join(&package);
            std::os::unix::fs::symlink(target, modules.join("@fixture").join(&package))?;
        }
    }
    env.own(checkout.dir())?;
    Ok(checkout)
}

/// `vrift run` with these words, split at blanks.
pub fn vrift(checkout: &Checkout<'_>, words: &str) -> Cmd {
    checkout.cmd("vrift").arg("run").args(words.split_whitespace())
}

/// `npm run` with these words.
pub fn npm(checkout: &Checkout<'_>, words: &str) -> Cmd {
    checkout.cmd("npm").arg("run").args(words.split_whitespace())
}

/// Fails unless all steps were hits.
///
/// # Errors
/// What the summary says.
pub fn is_hit(done: &Done) -> Result {
    ensure!(done.stderr.contains(" 0 misses") && !done.stderr.contains("uncached"), "no hit:\n{}", done.all());
    Ok(())
}

/// Fails where nothing ran and was stored.
///
/// # Errors
/// What the summary says.
pub fn is_miss(done: &Done) -> Result {
    let summary = done.stderr.lines().find(|line| line.starts_with("vrift: ")).unwrap_or_default();
    ensure!(
        summary.contains(" miss") && !summary.contains(" 0 misses") && !summary.contains("uncached"),
        "no miss:\n{}",
        done.all()
    );
    Ok(())
}

/// Everything in a checkout but its tools and caches.
///
/// # Errors
/// A file cannot be read.
pub fn left(checkout: &Checkout<'_>) -> Result<Snapshot> {
    let mut all = Snapshot::of(checkout.dir())?;
    all.0.retain(|path, _| {
        let first = path.components().next().map(|part| part.as_os_str().to_owned()).unwrap_or_default();
        first != "node_modules" && first != ".eslintcache"
    });
    Ok(all)
}

/// Compares what two checkouts hold; see [`left`].
///
/// # Errors
/// Where they differ.
pub fn same(ours: &Checkout<'_>, real: &Checkout<'_>) -> Result {
    let differences = left(ours)?.differences(&left(real)?);
    let shown: Vec<_> = differences.iter().take(20).map(ToString::to_string).collect();
    ensure!(differences.is_empty(), "with vrift / without:\n{}", shown.join("\n"));
    Ok(())
}
