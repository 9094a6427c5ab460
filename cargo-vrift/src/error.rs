//! What ends a command, and with which status.
//!
//! | status | meaning |
//! |---|---|
//! | 0 | done |
//! | 1 | it failed, or `doctor` or `fsck` found something |
//! | 2 | the command line is wrong |
//! | 126 | the wrapped program cannot be executed |
//! | 127 | the wrapped program does not exist |
//! | any other | that of the wrapped program; 128 + n where signal n ended it |

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

/// Why a command could not do what it was asked to do. Each is one line; [`Error::hint`] says what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The arguments contradict each other or name something that does not exist.
    #[error("{0}")]
    Usage(String),
    /// There is no such program.
    #[error("`{program}` not found{origin}")]
    NoProgram {
        /// What was asked for.
        program: String,
        /// Where the name comes from, with a leading blank, or nothing.
        origin: &'static str,
    },
    /// The program is there and cannot be started.
    #[error("cannot run `{path}`: {source}")]
    Start {
        /// The program.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file or folder gives trouble.
    #[error("cannot {action} `{path}`: {source}")]
    File {
        /// `read`, `write`, …
        action: &'static str,
        /// The path.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// No project can be named.
    #[error(transparent)]
    Root(#[from] vrift_core::root::RootError),
    /// No state folder can be named.
    #[error(transparent)]
    Home(#[from] vrift_core::home::NoHome),
    /// A settings file is wrong.
    #[error(transparent)]
    Settings(#[from] vrift_core::settings::SettingsError),
    /// A daemon does not answer, or answers with an error.
    #[error("{0}")]
    Daemon(String),
    /// Anything else, already a sentence.
    #[error("{0}")]
    Other(String),
}

impl Error {
    /// The status to exit with.
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self {
            Self::Usage(_) => 2,
            Self::NoProgram { .. } => 127,
            Self::Start { source, .. } if source.kind() == io::ErrorKind::NotFound => 127,
            Self::Start { .. } => 126,
            _ => 1,
        })
    }

    /// What to do about it, where that is known.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Usage(_) => Some("`vrift --help` lists the commands"),
            Self::NoProgram { program, .. } if program == "cargo" => {
                Some("install Rust (https://rustup.rs) or put cargo in PATH")
            }
            Self::Home(_) => Some("set HOME, or VRIFT_HOME to a folder that you own"),
            Self::Settings(_) => Some("`vrift config list` shows every key; `vrift config path` the files"),
            Self::Daemon(_) => Some("`vrift doctor` tests every part"),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_decide_the_status() {
        let start = |kind| Error::Start { path: "x".into(), source: io::Error::from(kind) };
        for (error, status) in [
            (Error::Usage("x".into()), 2),
            (Error::NoProgram { program: "cargo".into(), origin: "" }, 127),
            (start(io::ErrorKind::PermissionDenied), 126),
            (start(io::ErrorKind::NotFound), 127),
            (Error::Daemon("x".into()), 1),
        ] {
            assert_eq!(format!("{:?}", error.exit_code()), format!("{:?}", ExitCode::from(status)), "{error}");
        }
    }
}
