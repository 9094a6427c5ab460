//! The steps of a script, worked out by npm's own code and remembered.
//!
//! npm takes a third of a second to find out what to do. Its answer depends on its configuration files, the packages around, and
//! the environment; while these are as they were, it is not asked again. Differences of the environment are kept and not the
//! environment itself, which may hold secrets.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{IsTerminal, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use vrift_core::digest::FieldHasher;
use vrift_core::home::Home;
use vrift_core::rules;

use crate::error::Error;
use crate::program;

/// What asks npm.
const PROGRAM: &str = include_str!("plan.js");

/// Remembered answers; when there are more, the older half goes.
const MOST_KEPT: usize = 256;

/// What is to be done.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Plan {
    /// The package's folder.
    pub package: PathBuf,
    /// Its name and version.
    pub id: String,
    /// One after the other, while they succeed.
    pub steps: Vec<Step>,
    /// The configuration files that npm read, or would.
    files: Vec<PathBuf>,
}

/// One step.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Step {
    /// `prebuild`, `build`, `postbuild`.
    pub event: String,
    /// The shell's name or path.
    pub shell: String,
    /// What the shell is given.
    pub script: String,
    /// What npm prints before it.
    pub banner: String,
    /// Where it runs.
    pub cwd: PathBuf,
    /// Variables that npm sets.
    pub set: BTreeMap<String, String>,
    /// Variables that npm takes away.
    pub unset: Vec<String>,
}

/// A remembered plan.
#[derive(Serialize, Deserialize)]
struct Kept {
    /// What tells [`Plan::files`] from other contents.
    stamps: Vec<String>,
    plan: Plan,
}

/// What npm is asked for.
pub struct Question<'a> {
    /// The folder that it is asked in.
    pub cwd: &'a Path,
    /// The package, where it is not npm that finds it.
    pub package: Option<&'a Path>,
    /// Arguments of `npm run`.
    pub words: &'a [OsString],
}

impl Question<'_> {
    /// Asks.
    ///
    /// # Errors
    /// There is no npm, or it gives no answer.
    pub fn ask(&self, home: &Home) -> Result<Plan, Error> {
        let tools = Tools::find()?;
        let folder = home.dir().join("npm");
        let kept = folder.join(self.fingerprint(&tools));
        if let Some(plan) = remembered(&kept) {
            return Ok(plan);
        }
        let asked = SystemTime::now();
        let plan = self.answer(&tools)?;
        // What was changed while npm read it may be newer than the answer.
        if plan.files.iter().all(|file| is_older(file, asked)) {
            remember(&folder, &kept, &plan);
        }
        Ok(plan)
    }

    fn answer(&self, tools: &Tools) -> Result<Plan, Error> {
        let words: Vec<_> = self.words.iter().map(|word| word.to_string_lossy()).collect();
        let given = serde_json::json!({
            "out": std::io::stdout().is_terminal(),
            "err": std::io::stderr().is_terminal(),
            "pkgDir": self.package,
            "words": words,
        });
        let mut command = Command::new(&tools.node);
        command.arg("-e").arg(PROGRAM).arg(&tools.npm).arg(given.to_string());
        command.current_dir(self.cwd).stdin(Stdio::null());
        let output = command.output().map_err(|source| Error::Start { path: tools.node.clone(), source })?;
        let said = String::from_utf8_lossy(&output.stderr);
        let fail = |why: &str| Error::Other(format!("npm does not say what it would run: {why}"));
        if !output.status.success() {
            return Err(fail(said.lines().last().unwrap_or("it failed")));
        }
        serde_json::from_slice(&output.stdout).map_err(|e| fail(&e.to_string()))
    }

    /// Stands for everything that the answer depends on, but for the files that npm names in it.
    fn fingerprint(&self, tools: &Tools) -> String {
        let mut hasher = FieldHasher::new("vrift-npm-plan-1");
        hasher.field(PROGRAM.as_bytes()).field(env!("CARGO_PKG_VERSION").as_bytes());
        for file in [&tools.node, &tools.npm.join("package.json")] {
            hasher.field(file.as_os_str().as_bytes()).field(stamp(file).as_bytes());
        }
        hasher.field(self.cwd.as_os_str().as_bytes());
        hasher.field(self.package.map_or(b"", |package| package.as_os_str().as_bytes()));
        hasher.number(u64::from(std::io::stdout().is_terminal())).number(u64::from(std::io::stderr().is_terminal()));
        for word in self.words {
            hasher.field(word.as_bytes());
        }
        hasher.field(b"environment");
        let mut env: Vec<(OsString, OsString)> = std::env::vars_os().collect();
        env.sort();
        // npm looks for its prefix and for node in PATH, and passes it on.
        let counts = |name: &OsStr| name == "PATH" || !rules::is_session_noise(name.as_bytes());
        for (name, value) in env.iter().filter(|(name, _)| counts(name)) {
            hasher.field(name.as_bytes()).field(value.as_bytes());
        }
        for dir in self.package.into_iter().chain([self.cwd]).flat_map(Path::ancestors) {
            hasher.field(stamp(&dir.join("package.json")).as_bytes());
            hasher.number(u64::from(dir.join("node_modules").is_dir()));
        }
        hasher.finish().to_hex()
    }
}

/// node, and npm's folder.
struct Tools {
    node: PathBuf,
    npm: PathBuf,
}

impl Tools {
    /// Those that started us (`npx`, or a script of `npm run`), else those in `PATH`.
    fn find() -> Result<Self, Error> {
        let path = std::env::var_os("PATH");
        let in_path = |name: &'static str| {
            let missing = || Error::NoProgram { program: name.into(), origin: " in PATH" };
            program::find(OsStr::new(name), path.as_deref()).ok_or_else(missing)
        };
        let named = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute() && path.is_file());
        let node = named("npm_node_execpath").map_or_else(|| in_path("node"), Ok)?;
        let is_npm = |path: &PathBuf| path.file_name().is_some_and(|name| name == "npm-cli.js" || name == "npx-cli.js");
        let cli = named("npm_execpath").filter(is_npm).map_or_else(|| in_path("npm"), Ok)?;
        let npm = fs::canonicalize(&cli).ok().and_then(|cli| Some(cli.parent()?.parent()?.to_owned()));
        let npm = npm.filter(|npm| npm.join("package.json").is_file());
        npm.map(|npm| Self { node, npm }).ok_or_else(|| Error::Other(format!("`{}` is no npm that is known", cli.display())))
    }
}

/// What tells one content of a file from another.
fn stamp(path: &Path) -> String {
    fs::metadata(path).map_or_else(
        |_| "none".to_owned(),
        |meta| {
            let (dev, ino, size) = (meta.dev(), meta.ino(), meta.size());
            format!("{dev} {ino} {size} {}.{} {}.{}", meta.mtime(), meta.mtime_nsec(), meta.ctime(), meta.ctime_nsec())
        },
    )
}

/// Whether the file was last changed well before `when`, in any clock that file systems stamp with, or is not there.
fn is_older(file: &Path, when: SystemTime) -> bool {
    const GRAIN: Duration = Duration::from_millis(20);
    let Ok(meta) = fs::metadata(file) else { return true };
    let since = Duration::new(meta.ctime().try_into().unwrap_or(0), meta.ctime_nsec().try_into().unwrap_or(0));
    UNIX_EPOCH + since + GRAIN < when
}

fn remembered(file: &Path) -> Option<Plan> {
    let kept: Kept = serde_json::from_slice(&fs::read(file).ok()?).ok()?;
    let same = kept.plan.files.len() == kept.stamps.len();
    (same && kept.plan.files.iter().zip(&kept.stamps).all(|(file, old)| stamp(file) == *old)).then_some(kept.plan)
}

/// Failing is no fault of the script.
fn remember(folder: &Path, file: &Path, plan: &Plan) {
    let kept = Kept { stamps: plan.files.iter().map(|file| stamp(file)).collect(), plan: plan.clone() };
    let write = || -> std::io::Result<()> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        let temp = file.with_extension(format!("{}.tmp", std::process::id()));
        let mut to = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temp)?;
        to.write_all(&serde_json::to_vec(&kept)?)?;
        fs::rename(&temp, file)
    };
    if write().is_ok() {
        forget_old(folder);
    }
}

fn forget_old(folder: &Path) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    let age = |entry: &fs::DirEntry| entry.metadata().and_then(|meta| meta.modified()).unwrap_or(SystemTime::UNIX_EPOCH);
    let mut files: Vec<_> = entries.flatten().map(|entry| (age(&entry), entry.path())).collect();
    if files.len() > MOST_KEPT {
        files.sort();
        for (_, path) in &files[..files.len() / 2] {
            let _ = fs::remove_file(path);
        }
    }
}
