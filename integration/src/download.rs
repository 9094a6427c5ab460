//! Files from public places, each pinned by its digest.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, ensure};

use crate::{Result, host};

/// Fetches the file whose SHA-256 is `digest` from the first of these places that has it.
///
/// # Errors
/// None has, or there is no network.
pub fn fetch(urls: &[String], digest: &str, to: &Path) -> Result {
    let mut tried = Vec::new();
    for url in urls {
        let fetched = run(Command::new("curl").args(["-sSfL", "--retry", "2", "--max-time", "120", "-o"]).arg(to).arg(url));
        match fetched.and_then(|()| host::line_of(Command::new("sha256sum").arg(to))) {
            Ok(line) if line.starts_with(digest) => return Ok(()),
            Ok(line) => tried.push(format!("{url} is another file: {line}")),
            Err(e) => tried.push(format!("{e:#}")),
        }
    }
    anyhow::bail!("cannot fetch {}\n{}", to.display(), tried.join("\n"))
}

/// Runs a command that has nothing to say.
///
/// # Errors
/// It cannot be started, or fails.
pub fn run(command: &mut Command) -> Result {
    let output = command.output().with_context(|| format!("cannot run {command:?}"))?;
    ensure!(output.status.success(), "{command:?} failed: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}
