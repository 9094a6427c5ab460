//! Every key, for people.

/// What a key holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ValueKind {
    /// `true` or `false`.
    Bool,
    /// A size: bytes as a number, or text such as `"20GiB"` or `"500MB"`.
    Size,
    /// An absolute path; `~/` stands for `HOME`.
    Path,
    /// A whole number of seconds, 1 to 86,400.
    Seconds,
    /// A whole number.
    Count,
    /// A list of names of programs, without folders.
    Names,
}

/// A key, for `vrift config` and for messages.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Key {
    /// `table.key`.
    pub name: &'static str,
    /// What it holds.
    pub kind: ValueKind,
    /// Whether a project may set it. What all projects share, only the user sets.
    pub per_project: bool,
    /// The value when nobody sets it, as text.
    pub default: &'static str,
    /// One sentence.
    pub help: &'static str,
}

/// Every key.
pub const KEYS: &[Key] = &[
    Key {
        name: "storage.the_source",
        kind: ValueKind::Path,
        per_project: false,
        default: "~/.vrift/the_source",
        help: "Folder of the content-addressed store; VR_THE_SOURCE goes first.",
    },
    Key {
        name: "storage.max_size",
        kind: ValueKind::Size,
        per_project: false,
        default: "20GiB",
        help: "Size that garbage collection brings the store down to; by default at most a tenth of its disk.",
    },
    Key {
        name: "exec.prefix_map",
        kind: ValueKind::Bool,
        per_project: true,
        default: "true",
        help: "Give compilers prefix maps, so that debug info names no checkout; VRIFT_PREFIX_MAP=off goes first.",
    },
    Key {
        name: "exec.whole_builds",
        kind: ValueKind::Bool,
        per_project: true,
        default: "true",
        help: "Put what is known of a whole build in place before Cargo starts; VRIFT_WHOLE_BUILDS=off goes first.",
    },
    Key {
        name: "exec.actions",
        kind: ValueKind::Names,
        per_project: true,
        default: "[]",
        help: "Further programs whose runs are stored: generators of code that read files and write files, and ask nobody.",
    },
    Key {
        name: "exec.never",
        kind: ValueKind::Names,
        per_project: true,
        default: "[]",
        help: "Programs that vrift leaves alone; an action that one is part of is not stored.",
    },
    Key {
        name: "daemon.health_check",
        kind: ValueKind::Seconds,
        per_project: false,
        default: "10",
        help: "Seconds between two checks of whether each worker answers; vriftd reads it when it starts.",
    },
    Key {
        name: "vdir.enabled",
        kind: ValueKind::Bool,
        per_project: true,
        default: "true",
        help: "Keep a map of the project's files in /dev/shm, from which programs learn about them without a system call.",
    },
    Key {
        name: "vdir.max_size",
        kind: ValueKind::Size,
        per_project: true,
        default: "1GiB",
        help: "The largest that this map may get; the kernel answers for the rest.",
    },
    Key {
        name: "vdir.max_files",
        kind: ValueKind::Count,
        per_project: true,
        default: "10000000",
        help: "The most files and folders in this map; the kernel answers for the rest.",
    },
    Key {
        name: "vdir.base",
        kind: ValueKind::Bool,
        per_project: false,
        default: "true",
        help: "Keep a map of the trees that all projects share (toolchains, the registry, /usr); vriftd reads it when it starts.",
    },
    Key {
        name: "vdir.max_maps",
        kind: ValueKind::Count,
        per_project: false,
        default: "32",
        help: "Maps of all projects together; those without clients go first, the least recently used one before the others.",
    },
    Key {
        name: "vdir.max_total",
        kind: ValueKind::Size,
        per_project: false,
        default: "8GiB",
        help: "Size of the maps of all projects together.",
    },
    Key {
        name: "staging.max_size",
        kind: ValueKind::Size,
        per_project: true,
        default: "10GiB",
        help: "Size of the files that are copied for clients of a project at a time; what goes beyond is run, and not restored.",
    },
    Key {
        name: "script.ignore_env",
        kind: ValueKind::Names,
        per_project: true,
        default: "[]",
        help: "Variables that a script's result does not depend on; a star at the end or the start stands for anything.",
    },
    Key {
        name: "script.watch_env",
        kind: ValueKind::Names,
        per_project: true,
        default: "[]",
        help: "Variables that it does depend on, although they are taken for session noise.",
    },
    Key {
        name: "script.caches",
        kind: ValueKind::Names,
        per_project: true,
        default: "[]",
        help: "Folders and files of the project, by their last parts, that tools keep for speed alone.",
    },
    Key {
        name: "ui.summary",
        kind: ValueKind::Bool,
        per_project: true,
        default: "true",
        help: "Print one line after a build: hits, misses, compiler time saved.",
    },
];

/// The key of that name.
pub fn key(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.name == name)
}
