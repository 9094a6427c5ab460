//! Settings: `~/.vrift/config.toml` for the user, `<project>/.vrift/config.toml` for one checkout of a project, and
//! `<project>/vrift.toml`, which is checked in, for all of them.
//!
//! The first of these that speaks wins: environment variable, checkout, project, user, default. Lists add up. Unknown keys are errors,
//! so that a misspelt one is not silently without effect. [`KEYS`] is the list for people; [`Settings`] is what programs use.

mod file;
mod keys;

use std::io;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::env;
use crate::home::Home;
use crate::vdir::layout;
pub use file::{Daemon, Exec, Script, SettingsFile, Size, Staging, Storage, Ui, VDir};
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
        let mut said = SettingsFile::read(&home.config())?;
        if let Some(dir) = project_state {
            for path in dir.parent().map(|root| root.join(SHARED)).into_iter().chain([dir.join("config.toml")]) {
                said = SettingsFile::read_project(&path)?.over(said);
            }
        }
        let default = Self::default();
        let SettingsFile { storage, exec, daemon, vdir, staging, script, ui } = said;
        let mut settings = Self {
            the_source: storage.the_source.map(expand_home),
            max_size: storage.max_size.map(u64::from),
            prefix_map: exec.prefix_map.unwrap_or(default.prefix_map),
            whole_builds: exec.whole_builds.unwrap_or(default.whole_builds),
            actions: exec.actions.unwrap_or_default(),
            never: exec.never.unwrap_or_default(),
            ignore_env: script.ignore_env.unwrap_or_default(),
            watch_env: script.watch_env.unwrap_or_default(),
            caches: script.caches.unwrap_or_default(),
            health_check: daemon.health_check.map_or(default.health_check, Duration::from_secs),
            vdir: vdir.enabled.unwrap_or(default.vdir),
            vdir_size: vdir.max_size.map_or(default.vdir_size, u64::from),
            vdir_files: vdir.max_files.unwrap_or(default.vdir_files),
            vdir_base: vdir.enabled.unwrap_or(true) && vdir.base.unwrap_or(default.vdir_base),
            vdirs: vdir.max_maps.map_or(default.vdirs, |most| usize::try_from(most).unwrap_or(usize::MAX)),
            vdirs_size: vdir.max_total.map_or(default.vdirs_size, u64::from),
            staging_size: staging.max_size.map_or(default.staging_size, u64::from),
            summary: ui.summary.unwrap_or(default.summary),
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

fn expand_home(path: PathBuf) -> PathBuf {
    match (path.strip_prefix("~"), std::env::var_os("HOME")) {
        (Ok(rest), Some(home)) => PathBuf::from(home).join(rest),
        _ => path,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

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
