//! Checks of the machine.

use std::fs;
use std::path::Path;

use nix::sys::statvfs::statvfs;
use nix::unistd::{AccessFlags, access};
use vrift_core::env;

use super::Check;
use crate::say;

/// The oldest kernel that vrift is tried on: Debian 11's.
const OLDEST: (u32, u32) = (5, 10);

/// The least `/dev/shm` that holds the tables of a large project; containers have 64 MiB by default.
const SHARED_MEMORY: u64 = 256 << 20;

/// The kernel's version.
pub fn kernel() -> Check {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let text = format!("Linux {}", release.trim());
    match version(&release) {
        Some(version) if version >= OLDEST => Check::ok("kernel", text),
        _ => Check::warn("kernel", text, format!("vrift is tried on Linux {}.{} and later", OLDEST.0, OLDEST.1)),
    }
}

/// `6.18` of `6.18.44-1-amd64`.
fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

/// `/proc`, through which traced programs find their arena.
pub fn proc() -> Check {
    match fs::read_link("/proc/self/exe") {
        Ok(_) => Check::ok("/proc", "mounted"),
        Err(e) => {
            Check::fail("/proc", format!("cannot read `/proc/self/exe`: {e}"), "mount /proc; without it, nothing is recorded")
        }
    }
}

/// `/dev/shm`.
pub fn shared_memory() -> Check {
    let dir = Path::new("/dev/shm");
    if let Err(e) = access(dir, AccessFlags::W_OK | AccessFlags::X_OK) {
        return Check::warn(
            "/dev/shm",
            format!("cannot write to it: {e}"),
            "mount a tmpfs there; shared tables are off without it",
        );
    }
    match statvfs(dir) {
        Ok(fs) => {
            let total = fs.blocks() * fs.fragment_size();
            let free = fs.blocks_available() * fs.fragment_size();
            let text = format!("{} of {} free", say::size(free), say::size(total));
            if free < SHARED_MEMORY {
                return Check::warn("/dev/shm", text, "a container gets more with --shm-size=1g");
            }
            Check::ok("/dev/shm", text)
        }
        Err(e) => Check::warn("/dev/shm", format!("statvfs fails: {e}"), "mount a tmpfs there"),
    }
}

/// `VRIFT_DISABLE`, and a preload of somebody else.
pub fn switched_off() -> Check {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    if set(env::DISABLE).is_some_and(|value| value != "0") {
        return Check::warn("environment", format!("{} is set: builds run without vrift", env::DISABLE), "unset it");
    }
    match set("LD_PRELOAD") {
        Some(other) => Check::ok("environment", format!("LD_PRELOAD is `{}`; vrift goes before it", other.to_string_lossy())),
        None => Check::ok("environment", "nothing in the way"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read() {
        assert_eq!(version("6.18.44-fc-v669"), Some((6, 18)));
        assert_eq!(version("5.10"), Some((5, 10)));
        assert_eq!(version("next"), None);
        assert!((6, 1) >= OLDEST && (5, 4) < OLDEST);
    }
}
