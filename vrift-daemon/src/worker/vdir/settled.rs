//! Whether what `stat` tells of a file stays as it is until there is a notice.
//!
//! Two things change without one. `atime`, when somebody reads: with `relatime`, only while it is not later than the other
//! times, or older than a day. And `st_blocks`, when blocks are given to what was written a while ago.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use nix::sys::statfs::{BTRFS_SUPER_MAGIC, EXT4_SUPER_MAGIC, TMPFS_MAGIC, XFS_SUPER_MAGIC, fstatfs};
use rustix::fs::{
    AtFlags, Mode, OFlags, StatVfsMountFlags, Statx, StatxAttributes, StatxFlags, fstatvfs, makedev, open, readlinkat, statx,
};
use vrift_core::vdir::Stat;

use super::watch::through;
use crate::clock::now_ns;

const SECOND: i64 = 1_000_000_000;

/// With `relatime`, the next read sets an `atime` that is older.
const DAY: i64 = 24 * 3600 * SECOND;

/// So much less is counted on: for clocks, and for answers that are taken a while after they were given.
const ACCESS_HOLDS: i64 = DAY - 2 * 3600 * SECOND;

/// What the kernel tells without being asked for it in particular.
const ALWAYS: StatxFlags = StatxFlags::BASIC_STATS.union(StatxFlags::BTIME).union(StatxFlags::MNT_ID);

/// What there is to know of the root's file system.
#[derive(Clone, Copy, Debug)]
pub struct FileSystem {
    /// Its device.
    pub dev: u64,
    access: Access,
    blocks: Blocks,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Access {
    /// It never changes.
    Never,
    /// By the rules of `relatime`.
    Relative,
    /// With each read.
    Always,
}

/// From which age on a file's blocks stay as they are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Blocks {
    /// Of a file that fits into its inode's own extents.
    small: i64,
    /// Of any.
    any: i64,
}

/// What keeps a `stat` from being put into the map.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unsettled {
    /// Try again after so many nanoseconds.
    For(i64),
    /// It never will be.
    Never,
}

impl FileSystem {
    /// Of an open folder; `None` where changes make no notices, or not all.
    pub fn of(folder: impl AsFd) -> Option<Self> {
        // Delayed allocation: an extent tree may get a block of its own when what was written gets its blocks, half a minute
        // later by default; XFS trims what it gave in advance.
        let blocks = match fstatfs(&folder).ok()?.filesystem_type() {
            EXT4_SUPER_MAGIC => Blocks { small: 0, any: 120 * SECOND },
            TMPFS_MAGIC => Blocks { small: 0, any: 0 },
            XFS_SUPER_MAGIC | BTRFS_SUPER_MAGIC => Blocks { small: 900 * SECOND, any: 900 * SECOND },
            _ => return None,
        };
        let flags = fstatvfs(&folder).ok()?.f_flag;
        let access = if flags.contains(StatVfsMountFlags::NOATIME) {
            Access::Never
        } else if flags.contains(StatVfsMountFlags::RELATIME) {
            Access::Relative
        } else {
            Access::Always
        };
        let seen = look(folder.as_fd()).ok()?;
        Some(Self { dev: makedev(seen.stx_dev_major, seen.stx_dev_minor), access, blocks })
    }

    /// What `stat` tells of an open file, once that is settled; where it is not and a read would settle it, one byte is read.
    pub fn settled(&self, file: &OwnedFd) -> Result<(u64, Stat, i64), Unsettled> {
        /// Bytes of four blocks: as many extents fit into an inode.
        const SMALL: u64 = 16 << 10;
        let mut seen = look(file.as_fd()).map_err(|_| Unsettled::Never)?;
        let is_file = kind(&seen) == 0o100_000;
        if is_file {
            let age = now_ns() - ns(seen.stx_ctime.tv_sec, seen.stx_ctime.tv_nsec);
            let needed = if seen.stx_size <= SMALL { self.blocks.small } else { self.blocks.any };
            if age < needed {
                return Err(Unsettled::For((needed - age).clamp(SECOND, needed)));
            }
        }
        if self.access_left(&seen)? <= 0 {
            match kind(&seen) {
                // Who may not read it cannot settle it, and nobody else may ever.
                0o100_000 => read_one(file).map_err(|_| Unsettled::Never)?,
                // Who asks for a link's `stat` does not read the link: without this it would stay unsettled for ever.
                0o120_000 => drop(readlinkat(file, c"", Vec::new())),
                // A folder has just been listed.
                _ => {}
            }
            seen = look(file.as_fd()).map_err(|_| Unsettled::Never)?;
        }
        let left = self.access_left(&seen)?;
        if left <= 0 {
            // Within the same tick of the clock.
            return Err(Unsettled::For(SECOND / 50));
        }
        stat(&seen).map(|(ino, stat)| (ino, stat, now_ns().saturating_add(left))).ok_or(Unsettled::Never)
    }

    /// For how long a read will not change the time of the last one.
    fn access_left(&self, seen: &Statx) -> Result<i64, Unsettled> {
        match self.access {
            Access::Never => Ok(i64::MAX),
            Access::Always => Err(Unsettled::Never),
            Access::Relative => {
                let times = [&seen.stx_atime, &seen.stx_mtime, &seen.stx_ctime];
                relative(times.map(|time| ns(time.tv_sec, time.tv_nsec)), now_ns())
            }
        }
    }
}

/// By the rules of `relatime`; nothing is left where the next read sets the time.
fn relative([access, modified, changed]: [i64; 3], now: i64) -> Result<i64, Unsettled> {
    // A time in the future would not be older than a day when it should be.
    if access <= modified || access <= changed || access > now {
        return Ok(0);
    }
    let age = now - access;
    // Too old to be counted on, and not old enough for a read to set it: the kernel compares whole seconds.
    let waits = (ACCESS_HOLDS..DAY + SECOND).contains(&age);
    if waits { Err(Unsettled::For(DAY + 2 * SECOND - age)) } else { Ok((ACCESS_HOLDS - age).max(0)) }
}

/// Looks at what a descriptor is open on.
///
/// # Errors
/// What the kernel gives.
pub fn look(file: impl AsFd) -> io::Result<Statx> {
    Ok(statx(file, c"", AtFlags::EMPTY_PATH | AtFlags::SYMLINK_NOFOLLOW, StatxFlags::BASIC_STATS | StatxFlags::BTIME)?)
}

/// Inode and `stat`; `None` where there is something in it that the map has no place for.
pub fn stat(seen: &Statx) -> Option<(u64, Stat)> {
    let told = StatxFlags::from_bits_retain(seen.stx_mask);
    let has_birth = told.contains(StatxFlags::BTIME);
    let usual = told.contains(StatxFlags::BASIC_STATS) && has_birth && ALWAYS.contains(told);
    let mount_root = seen.stx_attributes.contains(StatxAttributes::MOUNT_ROOT);
    if !usual || mount_root || (seen.stx_rdev_major, seen.stx_rdev_minor) != (0, 0) {
        return None;
    }
    let times = [&seen.stx_atime, &seen.stx_mtime, &seen.stx_ctime, &seen.stx_btime];
    let in_range = |seconds: i64| (i64::MIN / SECOND + 1..i64::MAX / SECOND).contains(&seconds);
    if !times.iter().all(|time| in_range(time.tv_sec)) {
        return None;
    }
    let stat = Stat {
        dev: makedev(seen.stx_dev_major, seen.stx_dev_minor),
        mode: seen.stx_mode.into(),
        nlink: u16::try_from(seen.stx_nlink).ok()?,
        uid: seen.stx_uid,
        gid: seen.stx_gid,
        size: seen.stx_size,
        times: times.map(|time| ns(time.tv_sec, time.tv_nsec)),
        blocks: u32::try_from(seen.stx_blocks).ok()?,
        blksize: seen.stx_blksize,
        statx: [seen.stx_attributes.bits(), seen.stx_attributes_mask.bits(), seen.stx_mnt_id, seen.stx_mask.into()],
    };
    Some((seen.stx_ino, stat))
}

/// The bits of the mode that tell the kind, see inode(7).
pub fn kind(seen: &Statx) -> u32 {
    u32::from(seen.stx_mode) & 0o170_000
}

fn ns(seconds: i64, part: u32) -> i64 {
    seconds.saturating_mul(SECOND).saturating_add(part.into())
}

/// Reads a byte, which sets `atime` as any reader would.
fn read_one(file: &OwnedFd) -> io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
    let file = open(through(file.as_fd()), flags, Mode::empty())?;
    rustix::io::pread(&file, &mut [0], 0)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_the_last_read_holds_for_most_of_a_day() {
        const HOUR: i64 = 3600 * SECOND;
        let (now, read) = (1000 * DAY, |age: i64| relative([1000 * DAY - age, 1, 1], 1000 * DAY));
        assert_eq!(read(0), Ok(22 * HOUR));
        assert_eq!(read(21 * HOUR), Ok(HOUR));
        // Nothing that the keeper does would change it: it waits until something does, once.
        assert_eq!(read(22 * HOUR), Err(Unsettled::For(2 * HOUR + 2 * SECOND)));
        assert_eq!(read(DAY), Err(Unsettled::For(2 * SECOND)));
        assert_eq!(read(DAY + SECOND), Ok(0), "the next read sets it");
        assert_eq!(relative([5, 5, 1], now), Ok(0));
        assert_eq!(relative([5, 1, 5], now), Ok(0));
        assert_eq!(relative([now + 1, 1, 1], now), Ok(0));
    }
}
