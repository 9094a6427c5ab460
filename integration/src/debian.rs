//! Upstream sources as Debian keeps them: one archive each, pinned by its digest.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use crate::download::{self, run};
use crate::{Result, crates_io, host};

/// Where Debian's pool is; the next one is asked where a file has left the one before.
const MIRRORS: [&str; 3] = [
    "http://deb.debian.org/debian/pool/main",
    "http://snapshot.debian.org/archive/debian/20250520T000000Z/pool/main",
    "http://archive.debian.org/debian/pool/main",
];

/// One fetch at a time in this process.
static FETCH: Mutex<()> = Mutex::new(());

/// The sources in the archive `file` of the pool, whose SHA-256 is `digest`, in a folder that nobody may change; copy them.
///
/// # Errors
/// It is not there, it is another one, or there is no network.
pub fn sources(file: &str, digest: &str) -> Result<PathBuf> {
    let _one = FETCH.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let name = file.rsplit('/').next().unwrap_or(file);
    let stem = name.split(".orig.tar").next().unwrap_or(name);
    let dir = host::cache()?.join("debian").join(format!("{stem}-{}", &digest[..8.min(digest.len())]));
    if !dir.is_dir() {
        crates_io::publish(&dir, |temp| {
            let archive = temp.join(name);
            fetch(file, digest, &archive)?;
            // The one folder that is in the archive is the checkout.
            run(Command::new("tar")
                .arg("-xf")
                .arg(&archive)
                .args(["--strip-components=1", "--no-same-owner"])
                .current_dir(temp))?;
            std::fs::remove_file(&archive)?;
            Ok(())
        })?;
    }
    Ok(dir)
}

fn fetch(file: &str, digest: &str, to: &Path) -> Result {
    let urls: Vec<String> = MIRRORS.iter().map(|mirror| format!("{mirror}/{file}")).collect();
    download::fetch(&urls, digest, to)
}
