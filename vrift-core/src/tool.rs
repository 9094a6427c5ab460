//! The kinds of program that become actions.

/// What `vrift-exec` gets as its first argument in place of a kind: it is to execute the program that follows where the kernel
/// reports its calls to whoever runs the enclosing action.
pub const WATCH: &str = "trace";

/// The kinds of program that are worth an action of their own. The number travels in `vrift-exec`'s first argument.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
#[cfg_attr(feature = "std", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "kebab-case"))]
#[repr(u8)]
pub enum Tool {
    /// `rustc`, in any mode, Cargo's probes included.
    Rustc = 1,
    /// `rustdoc`.
    Rustdoc = 2,
    /// `clippy-driver`.
    Clippy = 3,
    /// The run of a Cargo build script.
    BuildScript = 4,
    /// A C-family compiler driver, whatever it is asked to do.
    Cc = 5,
    /// An archiver, or its indexer.
    Ar = 6,
    /// A linker that is run by itself.
    Ld = 7,
    /// A whole command, such as an npm script.
    Script = 8,
    /// A whole run of Cargo: what is left when all its actions are done. Never executed as such.
    Build = 9,
    /// An assembler that is run by itself.
    As = 10,
    /// A program that rewrites objects and programs: `strip`, `objcopy`.
    Objcopy = 11,
}

impl Tool {
    /// Every kind.
    pub const ALL: [Self; 11] = [
        Self::Rustc,
        Self::Rustdoc,
        Self::Clippy,
        Self::BuildScript,
        Self::Cc,
        Self::Ar,
        Self::Ld,
        Self::Script,
        Self::Build,
        Self::As,
        Self::Objcopy,
    ];

    /// The name in messages and tables; the same as in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rustc => "rustc",
            Self::Rustdoc => "rustdoc",
            Self::Clippy => "clippy",
            Self::BuildScript => "build-script",
            Self::Cc => "cc",
            Self::Ar => "ar",
            Self::Ld => "ld",
            Self::Script => "script",
            Self::Build => "build",
            Self::As => "as",
            Self::Objcopy => "objcopy",
        }
    }

    /// Whether the program is Rust's, or a Rust program that Cargo has built.
    pub const fn is_rust(self) -> bool {
        matches!(self, Self::Rustc | Self::Rustdoc | Self::Clippy | Self::BuildScript)
    }

    /// Whether the program makes objects, archives and programs from C and the like.
    pub const fn is_native(self) -> bool {
        matches!(self, Self::Cc | Self::Ar | Self::Ld | Self::As | Self::Objcopy)
    }

    /// Whether what the program leaves depends on what its output was before: an archive gets more members, a program is stripped
    /// where it lies.
    pub const fn updates(self) -> bool {
        matches!(self, Self::Ar | Self::Objcopy)
    }

    /// The kind of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|tool| tool.name() == name)
    }
}
