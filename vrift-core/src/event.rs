//! What a traced process says of itself, one event a call.

/// The kind of an event. Part of the arena's layout: never renumber.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
#[repr(u8)]
pub enum EventKind {
    /// Opened for reading alone.
    OpenRead = 1,
    /// Opened for writing; see [`flag`].
    OpenWrite = 2,
    /// `stat`, links followed.
    Stat = 3,
    /// `lstat`.
    Lstat = 4,
    /// `access`.
    Access = 5,
    /// `readlink`.
    Readlink = 6,
    /// A folder's entries were listed.
    List = 7,
    /// A folder was made.
    Mkdir = 8,
    /// A name was removed: `unlink`, `rmdir`.
    Remove = 9,
    /// The old name of a rename; the event right behind it from the same process is [`EventKind::RenameTo`].
    RenameFrom = 10,
    /// The new name of a rename.
    RenameTo = 11,
    /// The existing name of a new hard link.
    LinkFrom = 12,
    /// The new name of a hard link, a symbolic link or a special file.
    LinkTo = 13,
    /// Mode, owner, times or length were changed by path.
    Modify = 14,
    /// An environment variable was read; `aux` is the [`value_hash`], 0 for absent.
    Env = 20,
    /// The process runs under the shim; the path is its program.
    SignIn = 30,
    /// About to execute the path. The process must sign in again, unless [`EventKind::ExecFailed`] follows.
    Exec = 31,
    /// The execution that the process announced last did not happen.
    ExecFailed = 32,
    /// A child was spawned, its pid is `aux`; it must sign in.
    Spawned = 33,
    /// A library that the loader mapped.
    Library = 34,
    /// Something happened that the shim cannot follow; `aux` is a [`Untraced`].
    Untraced = 40,
}

impl EventKind {
    /// Every kind.
    pub const ALL: [Self; 21] = [
        Self::OpenRead,
        Self::OpenWrite,
        Self::Stat,
        Self::Lstat,
        Self::Access,
        Self::Readlink,
        Self::List,
        Self::Mkdir,
        Self::Remove,
        Self::RenameFrom,
        Self::RenameTo,
        Self::LinkFrom,
        Self::LinkTo,
        Self::Modify,
        Self::Env,
        Self::SignIn,
        Self::Exec,
        Self::ExecFailed,
        Self::Spawned,
        Self::Library,
        Self::Untraced,
    ];

    /// The kind of a stored number.
    pub fn from_u8(value: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| *kind as u8 == value)
    }
}

/// Bits of an event's `flags`.
pub mod flag {
    /// The old content was thrown away on opening (`O_TRUNC`, or `O_CREAT | O_EXCL`).
    pub const TRUNCATED: u8 = 1;
    /// The name existed before the call, which opens to write or renames to it.
    pub const EXISTED: u8 = 2;
    /// The path could not be resolved or was cut: the event stands for an unknown path.
    pub const UNRESOLVED: u8 = 4;
    /// Of [`super::EventKind::SignIn`]: the process runs without the shim; the kernel reports what it and its children do. Which
    /// variables they read is not seen.
    pub const BY_KERNEL: u8 = 8;
    /// The event was written before the call: `errno` is foretold. A failure is certain, a success is not.
    pub const AHEAD: u8 = 16;
}

/// Why a process cannot be followed. The number is the `aux` of [`EventKind::Untraced`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Untraced {
    /// It executed a statically linked program.
    StaticProgram = 1,
    /// It executed a program that gains privileges, for which the loader drops preloads.
    Privileged = 2,
    /// It executed a program of another libc or architecture.
    ForeignProgram = 3,
    /// It executed a program whose runtime must be loaded before any preload (ASan).
    Sanitizer = 4,
    /// It made a system call that the shim does not know.
    UnknownSyscall = 5,
    /// It used the network.
    Network = 6,
    /// It loaded a library in a way that hides which file was mapped.
    HiddenLibrary = 7,
    /// It set up an asynchronous queue (`io_uring`) whose operations are invisible.
    AsyncQueue = 8,
    /// A path was too long or could not be resolved.
    LostPath = 9,
    /// It changed its root or namespaces.
    OtherRoot = 10,
    /// It executed a program that calls the kernel past libc (Go's).
    DirectCalls = 11,
}

impl Untraced {
    /// The reason of a stored number, in words.
    pub fn describe(value: u64) -> &'static str {
        match value {
            1 => "ran a statically linked program",
            2 => "ran a privileged program",
            3 => "ran a program of another libc or architecture",
            4 => "ran a program built with a sanitizer",
            5 => "made an unknown system call",
            6 => "used the network",
            7 => "loaded a library whose file is unknown",
            8 => "used io_uring",
            9 => "used a path that could not be resolved",
            10 => "changed its root or namespace",
            11 => "ran a program that calls the kernel without libc",
            _ => "did something that cannot be traced",
        }
    }
}

/// A 64-bit hash (FNV-1a with a final mix) that the shim and its readers agree on: for environment values and for leaving
/// out repeated events. Never 0, which means "absent".
pub fn value_hash(bytes: &[u8]) -> u64 {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for byte in bytes {
        hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    hash ^= hash >> 32;
    hash = hash.wrapping_mul(0xd6e8_feb8_6659_fd93);
    hash ^= hash >> 32;
    if hash == 0 { 1 } else { hash }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_round_trip() {
        for kind in EventKind::ALL {
            assert_eq!(EventKind::from_u8(kind as u8), Some(kind));
        }
        assert_eq!(EventKind::from_u8(0), None);
    }

    #[test]
    fn hash_separates_absent_from_empty() {
        assert_ne!(value_hash(b""), 0);
        assert_ne!(value_hash(b"a"), value_hash(b"b"));
    }
}
