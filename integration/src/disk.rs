//! What folders cost on disk: blocks, each inode counted once.

use std::collections::HashSet;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Bytes on disk of everything below `dirs`, hard links counted once over all of them, and what `skip` says left out.
pub fn usage<P: AsRef<Path>>(dirs: impl IntoIterator<Item = P>, skip: impl Fn(&Path) -> bool) -> u64 {
    let mut seen = HashSet::new();
    let mut bytes = 0;
    for dir in dirs {
        for entry in walkdir::WalkDir::new(dir).into_iter().flatten() {
            let Ok(meta) = entry.metadata() else { continue };
            if !skip(entry.path()) && seen.insert((meta.dev(), meta.ino())) {
                // st_blocks is in units of 512 bytes, whatever the file system's own are.
                bytes += meta.blocks() * 512;
            }
        }
    }
    bytes
}

/// Whether a path below a target folder is a final program: an executable or a shared library that Cargo puts right into
/// the profile's folder for people, or its twin of the same inode in `deps`.
pub fn is_final_program(path: &Path) -> bool {
    let Ok(meta) = path.symlink_metadata() else { return false };
    if !meta.is_file() || meta.mode() & 0o111 == 0 {
        return false;
    }
    let parent = path.parent().and_then(|dir| dir.file_name()).and_then(|name| name.to_str()).unwrap_or_default();
    match parent {
        "debug" | "release" => true,
        // Cargo hard-links the program in `deps` to the one outside: one inode, counted nowhere.
        "deps" => meta.nlink() > 1 && twin(path).is_some_and(|ino| ino == meta.ino()),
        _ => false,
    }
}

/// The inode of `debug/<name>` for `debug/deps/<name>-<hash>`.
fn twin(path: &Path) -> Option<u64> {
    let name = path.file_name()?.to_str()?;
    let (stem, _) = name.rsplit_once('-')?;
    let outside = path.parent()?.parent()?;
    let plain = outside.join(stem);
    let dashed = outside.join(stem.replace('_', "-"));
    plain.metadata().or_else(|_| dashed.metadata()).ok().map(|meta| meta.ino())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_count_once() -> crate::Result {
        let tmp = tempfile::tempdir()?;
        let dirs = [tmp.path().join("a"), tmp.path().join("b")];
        for dir in &dirs {
            std::fs::create_dir(dir)?;
        }
        std::fs::write(dirs[0].join("x"), vec![1; 100_000])?;
        let one = usage([&dirs[0]], |_| false);
        std::fs::hard_link(dirs[0].join("x"), dirs[1].join("x"))?;
        let both = usage(&dirs, |_| false);
        assert!(both < one + 10_000, "{both} {one}");
        std::fs::write(dirs[1].join("y"), vec![2; 100_000])?;
        assert!(usage(&dirs, |_| false) > one + 90_000);
        assert!(usage(&dirs, |path| path.ends_with("y")) == both);
        Ok(())
    }
}
