//! Packages from npm's registry, pinned by their digests.

use std::path::PathBuf;
use std::process::Command;
use std::sync::Mutex;

use crate::{Result, crates_io, download, host};

/// One fetch at a time in this process.
static FETCH: Mutex<()> = Mutex::new(());

/// What the package `name` of this version holds, whose archive's SHA-256 is `digest`, in a folder that nobody may change; copy it.
///
/// # Errors
/// It is not there, it is another one, or there is no network.
pub fn package(name: &str, version: &str, digest: &str) -> Result<PathBuf> {
    let _one = FETCH.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    // A scope is a part of the path, and not of the archive's name.
    let file = format!("{}-{version}.tgz", name.rsplit('/').next().unwrap_or(name));
    let dir = host::cache()?.join("npm").join(format!("{}-{version}", name.replace('/', "+")));
    if !dir.is_dir() {
        crates_io::publish(&dir, |temp| {
            let archive = temp.join(&file);
            download::fetch(&[format!("https://registry.npmjs.org/{name}/-/{file}")], digest, &archive)?;
            download::run(
                Command::new("tar").arg("-xf").arg(&archive).args(["--strip-components=1", "--no-same-owner"]).current_dir(temp),
            )?;
            std::fs::remove_file(&archive)?;
            Ok(())
        })?;
    }
    Ok(dir)
}
