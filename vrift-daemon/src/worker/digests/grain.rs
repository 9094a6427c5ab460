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

use vrift_core::wire::Stamp;

use crate::sync::lock;

/// A stamp at least this old will not be given out again, nanoseconds: two ticks of the slowest clock in use (100 Hz).
const RACY_NS: i64 = 20_000_000;

/// The same where a file system keeps less of a stamp than the clock gives: whole seconds (ext4 with small inodes), even
/// ones (FAT).
const COARSE_RACY_NS: i64 = 5_000_000_000;

/// A stamp that is a multiple of this was cut off. A whole one is, once in a million files, and then merely is not trusted
/// for some seconds.
const CUT_OFF_NS: i64 = 1_000_000;

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

    /// Whether any change gives another stamp to the file `path`, which had `stamp` at the time `seen` or later.
    pub fn will_show_change(&self, path: &Path, stamp: &Stamp, seen: i64) -> bool {
        if stamp.ctime_ns % CUT_OFF_NS == 0 {
            return stamp.ctime_ns.saturating_add(COARSE_RACY_NS) < seen;
        }
        stamp.ctime_ns.saturating_add(RACY_NS) < seen || self.is_fine(path, stamp.dev)
    }

    /// Whether the file system gives a file that was looked at a new stamp with its next change.
    fn is_fine(&self, path: &Path, dev: u64) -> bool {
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
    fn old_stamps_are_sure_and_cut_off_ones_only_after_seconds() {
        let grain = Grain { kernel: false, devices: Mutex::default() };
        let sure = |ctime_ns: i64, age: i64| {
            grain.will_show_change(Path::new("/"), &Stamp { ctime_ns, ..Stamp::default() }, ctime_ns + age)
        };
        assert!(!sure(1_234_567_891, RACY_NS) && sure(1_234_567_891, RACY_NS + 1));
        assert!(!sure(2_000_000_000, RACY_NS + 1) && sure(2_000_000_000, COARSE_RACY_NS + 1));
        let fine = Grain { kernel: true, devices: Mutex::new([(0, true)].into()) };
        assert!(fine.will_show_change(Path::new("/"), &Stamp { ctime_ns: 5, ..Stamp::default() }, 0));
        assert!(!fine.will_show_change(Path::new("/"), &Stamp::default(), 0));
    }

    #[test]
    fn releases_compare_as_numbers() {
        for (release, fine) in
            [("6.13.0-rc1", true), ("6.8.0-45-generic", false), ("7.0", true), ("5.15.167", false), ("", false)]
        {
            assert_eq!(at_least(release, (6, 13)), fine, "{release}");
        }
    }
}
