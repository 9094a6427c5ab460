//! Settings: `~/.vrift/config.toml` for the user, `<project>/.vrift/config.toml` for one checkout of a project, and
//! `<project>/vrift.toml`, which is checked in, for all of them.
//!
//! The first of these that speaks wins: environment variable, checkout, project, user, default. Lists add up. Unknown keys are errors, so that a
//! misspelt one is not silently without effect. [`KEYS`] is the list for people; [`Settings`] is what programs use.

mod keys;

use std::fs;
use std::io;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytesize::ByteSize;
use serde::{Deserialize, Serialize};

use crate::env;
use crate::home::Home;
use crate::vdir::layout;
pub use keys::{KEYS, Key, ValueKind, key};

/// What [`ValueKind::Seconds`] may be.
pub const SECONDS: RangeInclusive<u64> = 1..=86_400;

/// The largest settings file that is read, bytes.
const MAX_FILE: u64 = 1 << 20;

/// A project's settings that are checked in.
pub const SHARED: &str = "vrift.toml";

/// What is wrong with a settings file.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// It is there and cannot be read.
    #[error("cannot read `{path}`: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is larger than anybody writes by hand.
    #[error("`{path}` is over the limit of {MAX_FILE} bytes for a settings file")]
    TooLong {
        /// The file.
        path: PathBuf,
    },
    /// It is no TOML, has a key that does not exist, or a value of the wrong type.
    #[error("`{path}`: {message}")]
    Invalid {
        /// The file.
        path: PathBuf,
        /// What and, where known, in which line.
        message: String,
    },
    /// A project's file sets what only the user may set.
    #[error("`{path}`: `{key}` is shared by all projects; set it in the user's config.toml")]
    UserOnly {
        /// The file.
        path: PathBuf,
        /// The key.
        key: &'static str,
    },
}

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
}

impl SettingsFile {
    /// This file's settings; where it says nothing, those of `other`. Lists of both add up.
    #[must_use]
    fn over(self, other: Self) -> Self {
        let both = |own: Option<Vec<String>>, other: Option<Vec<String>>| match (own, other) {
            (None, None) => None,
            (own, other) => Some(other.into_iter().chain(own).flatten().collect()),
        };
        Self {
            // Neither may set what the user alone sets.
            storage: self.storage,
            daemon: self.daemon,
            exec: Exec {
                prefix_map: self.exec.prefix_map.or(other.exec.prefix_map),
                whole_builds: self.exec.whole_builds.or(other.exec.whole_builds),
                actions: both(self.exec.actions, other.exec.actions),
                never: both(self.exec.never, other.exec.never),
            },
            vdir: VDir {
                enabled: self.vdir.enabled.or(other.vdir.enabled),
                max_size: self.vdir.max_size.or(other.vdir.max_size),
                max_files: self.vdir.max_files.or(other.vdir.max_files),
                base: None,
                max_maps: None,
                max_total: None,
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

/// The settings in force.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Settings {
    /// Where the store is, where it was moved.
    pub the_source: Option<PathBuf>,
    /// Bytes that the store may take, where the user says so.
    pub max_size: Option<u64>,
    /// Whether compilers get prefix maps.
    pub prefix_map: bool,
    /// Whether what is known of a whole build is put in place before Cargo starts.
    pub whole_builds: bool,
    /// Further programs whose runs are stored.
    pub actions: Vec<String>,
    /// Programs that are left alone.
    pub never: Vec<String>,
    /// Variables that are no inputs of scripts.
    pub ignore_env: Vec<String>,
    /// Variables that are, although a list says otherwise.
    pub watch_env: Vec<String>,
    /// Caches of scripts' tools.
    pub caches: Vec<String>,
    /// How often `vriftd` asks each worker whether it is well.
    pub health_check: Duration,
    /// Whether a VDir is kept.
    pub vdir: bool,
    /// Bytes that its file may have.
    pub vdir_size: u64,
    /// Files and folders that may be in it.
    pub vdir_files: u64,
    /// Whether a map of shared trees is kept.
    pub vdir_base: bool,
    /// VDirs of all projects together.
    pub vdirs: usize,
    /// Their bytes.
    pub vdirs_size: u64,
    /// Bytes that are put in place for a project's clients at a time.
    pub staging_size: u64,
    /// Whether a build ends with one line.
    pub summary: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            the_source: None,
            max_size: None,
            prefix_map: true,
            whole_builds: true,
            actions: Vec::new(),
            never: Vec::new(),
            ignore_env: Vec::new(),
            watch_env: Vec::new(),
            caches: Vec::new(),
            health_check: Duration::from_secs(10),
            vdir: true,
            vdir_size: layout::MAX_LEN,
            vdir_files: layout::MAX_ENTRIES,
            vdir_base: true,
            vdirs: 32,
            vdirs_size: 8 << 30,
            staging_size: 10 << 30,
            summary: true,
        }
    }
}

impl Settings {
    /// The settings for a project whose state folder is `project_state` (`<root>/.vrift`), or for no project.
    ///
    /// # Errors
    /// See [`SettingsError`].
    pub fn load(home: &Home, project_state: Option<&Path>) -> Result<Self, SettingsError> {
        let user = SettingsFile::read(&home.config())?;
        let project = match project_state {
            Some(dir) => {
                let shared = dir.parent().map(|root| read_project(&root.join(SHARED))).transpose()?.unwrap_or_default();
                read_project(&dir.join("config.toml"))?.over(shared)
            }
            None => SettingsFile::default(),
        };
        let default = Self::default();
        let mut settings = Self {
            the_source: user.storage.the_source.map(expand_home),
            max_size: user.storage.max_size.map(u64::from),
            prefix_map: project.exec.prefix_map.or(user.exec.prefix_map).unwrap_or(default.prefix_map),
            whole_builds: project.exec.whole_builds.or(user.exec.whole_builds).unwrap_or(default.whole_builds),
            // Both lists count: what the user has found out about a program holds in each project.
            actions: user.exec.actions.into_iter().chain(project.exec.actions).flatten().collect(),
            never: user.exec.never.into_iter().chain(project.exec.never).flatten().collect(),
            ignore_env: user.script.ignore_env.into_iter().chain(project.script.ignore_env).flatten().collect(),
            watch_env: user.script.watch_env.into_iter().chain(project.script.watch_env).flatten().collect(),
            caches: user.script.caches.into_iter().chain(project.script.caches).flatten().collect(),
            health_check: user.daemon.health_check.map_or(default.health_check, Duration::from_secs),
            vdir: project.vdir.enabled.or(user.vdir.enabled).unwrap_or(default.vdir),
            vdir_size: project.vdir.max_size.or(user.vdir.max_size).map_or(default.vdir_size, u64::from),
            vdir_files: project.vdir.max_files.or(user.vdir.max_files).unwrap_or(default.vdir_files),
            vdir_base: user.vdir.enabled.unwrap_or(true) && user.vdir.base.unwrap_or(default.vdir_base),
            vdirs: user.vdir.max_maps.map_or(default.vdirs, |most| usize::try_from(most).unwrap_or(usize::MAX)),
            vdirs_size: user.vdir.max_total.map_or(default.vdirs_size, u64::from),
            staging_size: project.staging.max_size.or(user.staging.max_size).map_or(default.staging_size, u64::from),
            summary: project.ui.summary.or(user.ui.summary).unwrap_or(default.summary),
        };
        if std::env::var_os(env::PREFIX_MAP).is_some_and(|v| v == "off") {
            settings.prefix_map = false;
        }
        if std::env::var_os(env::WHOLE_BUILDS).is_some_and(|v| v == "off") {
            settings.whole_builds = false;
        }
        Ok(settings)
    }

    /// `home` with its store where these settings put it. `VR_THE_SOURCE`, heeded by [`Home::from_env`], goes first.
    pub fn apply(&self, home: Home) -> Home {
        match &self.the_source {
            Some(source) if std::env::var_os(env::THE_SOURCE).is_none_or(|v| v.is_empty()) => home.with_source(source.clone()),
            _ => home,
        }
    }
}

/// Reads a project's file, which may not set what all projects share.
fn read_project(path: &Path) -> Result<SettingsFile, SettingsError> {
    let file = SettingsFile::read(path)?;
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

fn expand_home(path: PathBuf) -> PathBuf {
    match (path.strip_prefix("~"), std::env::var_os("HOME")) {
        (Ok(rest), Some(home)) => PathBuf::from(home).join(rest),
        _ => path,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<SettingsFile, String> {
        SettingsFile::parse(text, Path::new("c.toml")).map_err(|e| e.to_string())
    }

    #[test]
    fn files_are_typed_and_closed() {
        let file = parse("[storage]\nmax_size = '500MB'\n[exec]\nprefix_map = false").expect("parses");
        assert_eq!(file.storage.max_size, Some(Size(500_000_000)));
        assert_eq!(file.exec.prefix_map, Some(false));
        assert_eq!(parse("[storage]\nmax_size = 12").expect("parses").storage.max_size, Some(Size(12)));
        for (text, part) in [
            ("[storage]\nmax_sise = 1", "line 2: unknown field `max_sise`"),
            ("[exec]\nprefix_map = 'yes'", "invalid type"),
            ("[storage]\nmax_size = 'much'", "`much` is not a size"),
            ("[storage]\nthe_source = 'a/b'", "not an absolute path"),
            ("[daemon]\nhealth_check = 0", "between 1 and 86400 seconds"),
            ("[exec]\nactions = ['bin/protoc']", "`bin/protoc` is not the name of a program"),
            ("[storage", "line 1"),
        ] {
            let message = parse(text).expect_err(text);
            assert!(message.contains(part) && !message.contains('\n'), "{text}: {message}");
        }
    }

    #[test]
    fn a_project_cannot_move_the_store() {
        let tmp = tempfile::tempdir().expect("tempdir");
        let home = Home::at(tmp.path().join("home"));
        let state = tmp.path().join("p/.vrift");
        fs::create_dir_all(&state).expect("mkdir");
        assert_eq!(Settings::load(&home, Some(&state)).expect("nothing set"), Settings::default());
        fs::write(state.join("config.toml"), "[ui]\nsummary = false").expect("write");
        assert!(!Settings::load(&home, Some(&state)).expect("loads").summary);
        fs::write(state.join("config.toml"), "[script]\ncaches = ['.a']").expect("write");
        fs::write(tmp.path().join("p").join(SHARED), "[script]\ncaches = ['.b']\n[ui]\nsummary = false").expect("write");
        let both = Settings::load(&home, Some(&state)).expect("loads");
        assert_eq!((both.caches, both.summary), (vec![".b".to_owned(), ".a".to_owned()], false));
        fs::write(state.join("config.toml"), "[storage]\nthe_source = '/elsewhere'").expect("write");
        assert!(matches!(Settings::load(&home, Some(&state)), Err(SettingsError::UserOnly { .. })));
    }

    #[test]
    fn every_listed_key_exists() {
        for key in KEYS {
            let (table, name) = key.name.split_once('.').expect("table.key");
            let value = match key.kind {
                ValueKind::Bool | ValueKind::Seconds | ValueKind::Count | ValueKind::Names => key.default.to_owned(),
                ValueKind::Size | ValueKind::Path => format!("'{}'", key.default),
            };
            parse(&format!("[{table}]\n{name} = {value}")).expect(key.name);
        }
        assert_eq!("20GiB".parse::<Size>(), Ok(Size(20 << 30)));
    }
}
