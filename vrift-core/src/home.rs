//! Where vrift keeps what on disk.
//!
//! ```text
//! ~/.vrift/                    0700
//!   config.toml                user settings
//!   manifest.db                base manifest (SQLite), written by vriftd alone
//!   instances.json             live projects
//!   the_source/blake3/ab/cd/   blobs
//!   lib/<hash>/                the unpacked shim and vrift-exec
//!   run/                       sockets and locks
//!   log/                       daemon logs
//!   projects/<id>/             state of projects whose root is read-only
//! <project>/.vrift/            0700, with a .gitignore of its own
//!   manifest.db                delta manifest, written by the project's vdir_d alone
//!   session.json state.json staging/ config.toml
//! ```

use std::path::{Path, PathBuf};

use crate::env;
use crate::identity::ProjectId;

/// The state folder of one user.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Home {
    dir: PathBuf,
    source: PathBuf,
}

/// Neither `VRIFT_HOME` nor `HOME` is set.
#[derive(Debug, thiserror::Error)]
#[error("no state folder: neither VRIFT_HOME nor HOME is set")]
pub struct NoHome;

impl Home {
    /// The state folder that the environment names.
    ///
    /// # Errors
    /// [`NoHome`].
    pub fn from_env() -> Result<Self, NoHome> {
        let set = |name| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
        let dir = set(env::HOME).or_else(|| set("HOME").map(|home| home.join(".vrift"))).ok_or(NoHome)?;
        Ok(match set(env::THE_SOURCE) {
            Some(source) => Self { dir, source },
            None => Self::at(dir),
        })
    }

    /// The state folder at `dir`, with its store inside.
    pub fn at(dir: PathBuf) -> Self {
        let source = dir.join("the_source");
        Self { dir, source }
    }

    /// The same state folder with its store at `source` (setting `storage.the_source`).
    pub fn with_source(mut self, source: PathBuf) -> Self {
        self.source = source;
        self
    }

    /// The state folder itself.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The content-addressed store.
    pub fn the_source(&self) -> &Path {
        &self.source
    }

    /// The base manifest.
    pub fn manifest(&self) -> PathBuf {
        self.dir.join("manifest.db")
    }

    /// User settings.
    pub fn config(&self) -> PathBuf {
        self.dir.join("config.toml")
    }

    /// The registry of live projects.
    pub fn instances(&self) -> PathBuf {
        self.dir.join("instances.json")
    }

    /// Sockets and locks.
    pub fn run(&self) -> PathBuf {
        self.dir.join("run")
    }

    /// The coordinator's socket.
    pub fn coordinator_socket(&self) -> PathBuf {
        self.run().join("vriftd.sock")
    }

    /// The socket of a project's worker.
    pub fn worker_socket(&self, id: ProjectId) -> PathBuf {
        self.run().join(format!("{}.sock", &id.to_hex()[..16]))
    }

    /// Daemon logs.
    pub fn log(&self) -> PathBuf {
        self.dir.join("log")
    }

    /// The folder of unpacked parts whose content hashes to `hash`.
    pub fn lib(&self, hash: &str) -> PathBuf {
        self.dir.join("lib").join(hash)
    }

    /// State of a project whose root cannot be written.
    pub fn project_fallback(&self, id: ProjectId) -> PathBuf {
        self.dir.join("projects").join(id.to_hex())
    }
}
