//! How finely a file system stamps its files.
//!
//! Linux stamps with the time of the last clock tick, 1 to 10 ms ago: two writes in one tick leave the same stamp, and a
//! digest taken between them would be believed for ever. From 6.13 on, some file systems give a file that was looked at a
//! fine stamp at its next change ("multigrain timestamps", Documentation/filesystems/multigrain-ts.rst), so that no change
//! after a look goes unseen. Everywhere else a fresh file's digest is not kept.

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::sync::Mutex;

use nix::sys::statfs::{BTRFS_SUPER_MAGIC, EXT4_SUPER_MAGIC, FsType, TMPFS_MAGIC, XFS_SUPER_MAGIC, statfs};

use crate::sync::lock;

/// A stamp at least this old will not be given out again, nanoseconds: two ticks of the slowest clock in use (100 Hz).
pub const RACY_NS: i64 = 20_000_000;

/// The file systems that got multigrain timestamps with Linux 6.13.
const MULTIGRAIN: [FsType; 4] = [EXT4_SUPER_MAGIC, XFS_SUPER_MAGIC, BTRFS_SUPER_MAGIC, TMPFS_MAGIC];

/// Knows which devices stamp finely.
pub struct Grain {
    kernel: bool,
    devices: Mutex<HashMap<u64, bool>>,
}

impl Grain {
    /// Asks the kernel for its version.
    pub fn new() -> Self {
        let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        Self { kernel: at_least(&release, (6, 13)), devices: Mutex::default() }
    }

    /// Whether any change after a look at the file `path` on device `dev` gives it another stamp.
    pub fn is_fine(&self, path: &Path, dev: u64) -> bool {
        if !self.kernel {
            return false;
        }
        if let Some(fine) = lock(&self.devices).get(&dev) {
            return *fine;
        }
        let fine = statfs(path).is_ok_and(|fs| MULTIGRAIN.contains(&fs.filesystem_type()));
        lock(&self.devices).insert(dev, fine);
        fine
    }
}

fn at_least(release: &str, wanted: (u32, u32)) -> bool {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse::<u32>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => (major, minor) >= wanted,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_compare_as_numbers() {
        for (release, fine) in
            [("6.13.0-rc1", true), ("6.8.0-45-generic", false), ("7.0", true), ("5.15.167", false), ("", false)]
        {
            assert_eq!(at_least(release, (6, 13)), fine, "{release}");
        }
    }
}
