//! What a settings file says, and how several are read as one.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use bytesize::ByteSize;
use serde::{Deserialize, Serialize};

use super::{MAX_FILE, SECONDS, SettingsError};

/// One settings file as written: what it leaves out is `None`.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SettingsFile {
    /// `[storage]`.
    pub storage: Storage,
    /// `[exec]`.
    pub exec: Exec,
    /// `[daemon]`.
    pub daemon: Daemon,
    /// `[vdir]`.
    pub vdir: VDir,
    /// `[staging]`.
    pub staging: Staging,
    /// `[script]`.
    pub script: Script,
    /// `[ui]`.
    pub ui: Ui,
}

/// `[script]`.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Script {
    /// See [`KEYS`].
    pub ignore_env: Option<Vec<String>>,
    /// See [`KEYS`].
    pub watch_env: Option<Vec<String>>,
    /// See [`KEYS`].
    pub caches: Option<Vec<String>>,
}

/// `[storage]`.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Storage {
    /// See [`KEYS`].
    pub the_source: Option<PathBuf>,
    /// See [`KEYS`].
    pub max_size: Option<Size>,
}

/// `[exec]`.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Exec {
    /// See [`KEYS`].
    pub prefix_map: Option<bool>,
    /// See [`KEYS`].
    pub whole_builds: Option<bool>,
    /// See [`KEYS`].
    pub actions: Option<Vec<String>>,
    /// See [`KEYS`].
    pub never: Option<Vec<String>>,
}

/// `[daemon]`.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Daemon {
    /// See [`KEYS`].
    pub health_check: Option<u64>,
}

/// `[vdir]`.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct VDir {
    /// See [`KEYS`].
    pub enabled: Option<bool>,
    /// See [`KEYS`].
    pub max_size: Option<Size>,
    /// See [`KEYS`].
    pub max_files: Option<u64>,
    /// See [`KEYS`].
    pub base: Option<bool>,
    /// See [`KEYS`].
    pub max_maps: Option<u64>,
    /// See [`KEYS`].
    pub max_total: Option<Size>,
}

/// `[staging]`.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Staging {
    /// See [`KEYS`].
    pub max_size: Option<Size>,
}

/// `[ui]`.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Ui {
    /// See [`KEYS`].
    pub summary: Option<bool>,
}

/// A number of bytes that may be written as `20GiB`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(try_from = "SizeText", into = "u64")]
pub struct Size(pub u64);

#[derive(Deserialize)]
#[serde(untagged)]
enum SizeText {
    Number(u64),
    Text(String),
}

impl TryFrom<SizeText> for Size {
    type Error = String;

    fn try_from(text: SizeText) -> Result<Self, String> {
        match text {
            SizeText::Number(bytes) => Ok(Self(bytes)),
            SizeText::Text(text) => text.parse(),
        }
    }
}

impl From<Size> for u64 {
    fn from(size: Size) -> Self {
        size.0
    }
}

impl std::str::FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let size: Result<ByteSize, _> = text.trim().parse();
        size.map(|size| Self(size.as_u64())).map_err(|_| format!("`{text}` is not a size; write bytes, `500MB` or `20GiB`"))
    }
}

impl SettingsFile {
    /// Reads one file; a missing one says nothing.
    ///
    /// # Errors
    /// See [`SettingsError`].
    pub fn read(path: &Path) -> Result<Self, SettingsError> {
        let fail = |source| SettingsError::Read { path: path.to_owned(), source };
        match fs::metadata(path) {
            Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => return Ok(Self::default()),
            Err(e) => return Err(fail(e)),
            Ok(meta) if meta.len() > MAX_FILE => return Err(SettingsError::TooLong { path: path.to_owned() }),
            Ok(_) => {}
        }
        Self::parse(&fs::read_to_string(path).map_err(fail)?, path)
    }

    /// Parses the text of the file at `path` (for messages alone).
    ///
    /// # Errors
    /// [`SettingsError::Invalid`].
    pub fn parse(text: &str, path: &Path) -> Result<Self, SettingsError> {
        let invalid = |message: String| SettingsError::Invalid { path: path.to_owned(), message };
        let file: Self = toml::from_str(text).map_err(|e| {
            let line = e.span().map(|span| text[..span.start.min(text.len())].matches('\n').count() + 1);
            let message = e.message().replace('\n', " ");
            invalid(line.map_or_else(|| message.clone(), |line| format!("line {line}: {message}")))
        })?;
        let mut names = file.exec.actions.iter().chain(&file.exec.never).flatten();
        if let Some(wrong) = names.find(|name| name.is_empty() || name.contains(['/', '\u{1f}', '\0'])) {
            return Err(invalid(format!("exec: `{wrong}` is not the name of a program, which has no folder")));
        }
        let script = &file.script;
        let mut patterns = script.ignore_env.iter().chain(&script.watch_env).chain(&script.caches).flatten();
        if let Some(wrong) = patterns.find(|text| text.is_empty() || text.contains(['\n', '\u{1f}', '\0'])) {
            return Err(invalid(format!("script: `{wrong}` is neither a name nor a path")));
        }
        match &file.storage.the_source {
            Some(source) if !source.is_absolute() && !source.starts_with("~") => {
                Err(invalid(format!("storage.the_source: `{}` is not an absolute path", source.display())))
            }
            _ if file.daemon.health_check.is_some_and(|seconds| !SECONDS.contains(&seconds)) => {
                Err(invalid(format!("daemon.health_check: between {} and {} seconds", SECONDS.start(), SECONDS.end())))
            }
            _ => Ok(file),
        }
    }

    /// Reads a project's file, which may not set what all projects share.
    ///
    /// # Errors
    /// See [`SettingsError`].
    pub fn read_project(path: &Path) -> Result<Self, SettingsError> {
        let file = Self::read(path)?;
        let user_only = |key| SettingsError::UserOnly { path: path.to_owned(), key };
        if file.storage.the_source.is_some() {
            return Err(user_only("storage.the_source"));
        }
        if file.storage.max_size.is_some() {
            return Err(user_only("storage.max_size"));
        }
        if file.daemon.health_check.is_some() {
            return Err(user_only("daemon.health_check"));
        }
        if file.vdir.base.is_some() {
            return Err(user_only("vdir.base"));
        }
        if file.vdir.max_maps.is_some() {
            return Err(user_only("vdir.max_maps"));
        }
        if file.vdir.max_total.is_some() {
            return Err(user_only("vdir.max_total"));
        }
        Ok(file)
    }

    /// This file's settings; where it says nothing, those of `other`. Lists of both add up.
    #[must_use]
    pub fn over(self, other: Self) -> Self {
        let both = |own: Option<Vec<String>>, other: Option<Vec<String>>| match (own, other) {
            (None, None) => None,
            (own, other) => Some(other.into_iter().chain(own).flatten().collect()),
        };
        Self {
            storage: Storage {
                the_source: self.storage.the_source.or(other.storage.the_source),
                max_size: self.storage.max_size.or(other.storage.max_size),
            },
            exec: Exec {
                prefix_map: self.exec.prefix_map.or(other.exec.prefix_map),
                whole_builds: self.exec.whole_builds.or(other.exec.whole_builds),
                actions: both(self.exec.actions, other.exec.actions),
                never: both(self.exec.never, other.exec.never),
            },
            daemon: Daemon { health_check: self.daemon.health_check.or(other.daemon.health_check) },
            vdir: VDir {
                enabled: self.vdir.enabled.or(other.vdir.enabled),
                max_size: self.vdir.max_size.or(other.vdir.max_size),
                max_files: self.vdir.max_files.or(other.vdir.max_files),
                base: self.vdir.base.or(other.vdir.base),
                max_maps: self.vdir.max_maps.or(other.vdir.max_maps),
                max_total: self.vdir.max_total.or(other.vdir.max_total),
            },
            staging: Staging { max_size: self.staging.max_size.or(other.staging.max_size) },
            script: Script {
                ignore_env: both(self.script.ignore_env, other.script.ignore_env),
                watch_env: both(self.script.watch_env, other.script.watch_env),
                caches: both(self.script.caches, other.script.caches),
            },
            ui: Ui { summary: self.ui.summary.or(other.ui.summary) },
        }
    }
}
