//! Giving what the VDir says as the kernel would.

use vrift_core::vdir::Found;

const SECOND: i64 = 1_000_000_000;

/// Fills in a `struct stat`, see stat(3type). On 64-bit Linux all its versions have one layout.
///
/// # Safety
/// `to` must be valid for one.
pub unsafe fn stat(found: &Found, to: *mut libc::stat) {
    // SAFETY: all-zero is a valid `struct stat`.
    let mut stat: libc::stat = unsafe { core::mem::zeroed() };
    stat.st_dev = found.dev;
    stat.st_ino = found.ino;
    stat.st_mode = found.mode;
    stat.st_nlink = found.nlink.into();
    stat.st_uid = found.uid;
    stat.st_gid = found.gid;
    stat.st_size = found.size as i64;
    stat.st_blksize = found.blksize.into();
    stat.st_blocks = found.blocks.into();
    let [access, modified, changed, _] = found.times;
    (stat.st_atime, stat.st_atime_nsec) = (access.div_euclid(SECOND), access.rem_euclid(SECOND));
    (stat.st_mtime, stat.st_mtime_nsec) = (modified.div_euclid(SECOND), modified.rem_euclid(SECOND));
    (stat.st_ctime, stat.st_ctime_nsec) = (changed.div_euclid(SECOND), changed.rem_euclid(SECOND));
    // SAFETY: the caller vouches for the buffer.
    unsafe { to.write(stat) };
}

/// Fills in a `struct statx`, see statx(2).
///
/// # Safety
/// `to` must be valid for one.
pub unsafe fn statx(found: &Found, to: *mut libc::statx) {
    // SAFETY: all-zero is a valid `struct statx`, and what the kernel leaves in its spare fields.
    let mut statx: libc::statx = unsafe { core::mem::zeroed() };
    let [attributes, attributes_mask, mount, mask] = found.statx;
    statx.stx_mask = mask as u32;
    statx.stx_blksize = found.blksize;
    statx.stx_attributes = attributes;
    statx.stx_attributes_mask = attributes_mask;
    statx.stx_nlink = found.nlink.into();
    statx.stx_uid = found.uid;
    statx.stx_gid = found.gid;
    statx.stx_mode = found.mode as u16;
    statx.stx_ino = found.ino;
    statx.stx_size = found.size;
    statx.stx_blocks = found.blocks.into();
    statx.stx_mnt_id = mount;
    (statx.stx_dev_major, statx.stx_dev_minor) = (libc::major(found.dev), libc::minor(found.dev));
    let time = |to: &mut libc::statx_timestamp, ns: i64| {
        to.tv_sec = ns.div_euclid(SECOND);
        to.tv_nsec = ns.rem_euclid(SECOND) as u32;
    };
    let [access, modified, changed, birth] = found.times;
    time(&mut statx.stx_atime, access);
    time(&mut statx.stx_mtime, modified);
    time(&mut statx.stx_ctime, changed);
    time(&mut statx.stx_btime, birth);
    // SAFETY: the caller vouches for the buffer.
    unsafe { to.write(statx) };
}
