//! Places that are none of a project.

/// Folders whose files the kernel makes up: what is in them describes this machine and process, and no time of theirs tells whether
/// it has changed.
const KERNEL: [&[u8]; 3] = [b"/proc", b"/sys", b"/dev"];

/// Folders in them with files like any others. Source: shm_overview(7), mq_overview(7).
const ORDINARY: [&[u8]; 3] = [b"/dev/shm", b"/dev/mqueue", b"/dev/hugepages"];

/// Whether `path`, which is absolute and plainly spelt, is one of the kernel's own.
pub fn is_of_the_kernel(path: &[u8]) -> bool {
    let in_any = |folders: &[&[u8]]| {
        folders.iter().any(|folder| path.strip_prefix(*folder).is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/")))
    };
    in_any(&KERNEL) && !in_any(&ORDINARY)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shared_memory_holds_ordinary_files() {
        for path in ["/proc/self/maps", "/proc", "/sys/fs", "/dev/null", "/dev", "/dev/shmem"] {
            assert!(is_of_the_kernel(path.as_bytes()), "{path}");
        }
        for path in ["/dev/shm", "/dev/shm/p/src/main.rs", "/process", "/w/dev/x"] {
            assert!(!is_of_the_kernel(path.as_bytes()), "{path}");
        }
    }
}
