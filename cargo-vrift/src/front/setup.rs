//! Everything that must be known before a command starts under vrift.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use nix::unistd::{AccessFlags, access};
use vrift_core::context::{Context, Field, SEPARATOR, mode};
use vrift_core::env;
use vrift_core::home::Home;
use vrift_core::paths::{AbsPath, Roots};
use vrift_core::root::Project;
use vrift_core::rules::{self, ScriptRules};
use vrift_core::settings::Settings;
use vrift_core::tool::Tool;
use vrift_core::vdir;

use super::Job;
use super::folder::{self, Folders};
use crate::cargo::Places;
use crate::daemon;
use crate::error::Error;
use crate::parts::{self, Parts};
use crate::program::{self, Reach};

/// What a run needs.
#[derive(Debug)]
pub struct Setup {
    /// The state folder, its store where the settings put it.
    pub home: Home,
    /// The settings.
    pub settings: Settings,
    /// The project.
    pub project: Project,
    /// Names this run: 16 hex digits. The first 11 are the milliseconds since 1970 of its start, so that whoever meets an
    /// absent worker can tell a build that has just begun from one whose daemons are gone.
    pub session: String,
    /// The coordinator's program.
    pub vriftd: PathBuf,
    /// The shim cannot be loaded into the program itself.
    pub static_program: bool,
    /// Where the command works.
    pub cwd: PathBuf,
    /// Where its known roots are.
    pub places: Places,
    /// Everything is to be run for real and recorded.
    pub recache: bool,
    runner: PathBuf,
    preload: OsString,
    context: OsString,
}

impl Setup {
    /// Finds and checks everything.
    ///
    /// # Errors
    /// Whatever makes it impossible to run under vrift: the command should then run without.
    pub fn new(job: &Job) -> Result<Self, Error> {
        Self::of(job, None)
    }

    /// The same for a program that is part of a build with these folders.
    ///
    /// # Errors
    /// As for [`Setup::new`].
    pub fn of(job: &Job, folders: Option<Folders>) -> Result<Self, Error> {
        let cwd = std::env::current_dir().map_err(|source| Error::File { action: "find", path: ".".into(), source })?;
        let cwd = job.low.chdir.as_ref().map_or_else(|| cwd.clone(), |dir| cwd.join(dir));
        let folders = folders.or_else(|| (!job.cargo).then(|| folder::of(&job.program, &job.words, &cwd)));
        let project = find_project(job, folders.as_ref().map_or(&cwd, |folders| &folders.project))?;
        let (home, settings) = load(&cwd, Some(&project))?;
        let static_program = match program::reach(&job.program) {
            Reach::Foreign(loader) => {
                let (program, loader) = (job.program.display(), loader.display());
                return Err(Error::Other(format!("`{program}` is a program of another C library (`{loader}`)")));
            }
            reach => reach == Reach::Static,
        };
        let parts = parts::unpack(&home)?;
        make_run_folder(&home)?;
        let places = match &folders {
            None => Places::find(&project, &cwd, &job.low, Some(&job.program)),
            Some(folders) => Places::find(&project, &cwd, &job.low, None).built_in(&project, &folders.build),
        };
        let session = new_session();
        let vriftd = daemon::vriftd()?;
        let recache = std::env::var_os(env::RECACHE).is_some_and(|value| value == "1");
        let run = Run { places: &places, session: &session, cwd: &cwd, recache };
        let context = context(&home, &settings, &parts, &project, &run)?;
        let preload = preload(&parts.shim, std::env::var_os("LD_PRELOAD"));
        Ok(Self {
            home,
            settings,
            project,
            session,
            vriftd,
            static_program,
            cwd,
            places,
            recache,
            runner: parts.exec,
            preload,
            context,
        })
    }

    /// The known roots, as every program of the run is told them.
    pub fn roots(&self) -> Roots {
        Context::parse(self.context.as_bytes()).map(|context| context.roots()).unwrap_or_default()
    }

    /// The same, with further letters of [`vrift_core::context::mode`] for what is run.
    pub fn with_modes(mut self, modes: &[u8]) -> Self {
        if let Some(context) = Context::parse(self.context.as_bytes()) {
            let letters = [context.get(Field::Mode), modes].concat();
            self.context = OsString::from_vec(context.with(Field::Mode, &letters).encode());
        }
        self
    }

    /// The command, with what makes it run under vrift. One that is an action as a whole is looked up as such.
    pub fn command(&self, job: &Job) -> Command {
        if self.is_action(job) {
            return self.action(Tool::Script, &self.cwd.join(&job.program), job.called(), &job.words);
        }
        let mut command = Command::new(&job.program);
        if let Some(name) = &job.name {
            command.arg0(name);
        }
        command.args(&job.words).env("LD_PRELOAD", &self.preload).env(env::CONTEXT, &self.context);
        command
    }

    /// The command that looks up `program`, called `name`, as one action and runs it where that is needed.
    pub fn action(&self, tool: Tool, program: &Path, name: &OsStr, words: &[OsString]) -> Command {
        let mut command = Command::new(&self.runner);
        command.arg0("vrift-exec").arg(tool.name()).arg(program).arg(name).args(words).env(env::CONTEXT, &self.context);
        command
    }

    /// Whether the shim would make an action of the job's program, were it a part of a build.
    fn is_action(&self, job: &Job) -> bool {
        let name = job.program.as_os_str().as_bytes();
        let listed = |names: &[String]| names.iter().any(|listed| rules::is_listed(listed.as_bytes(), name));
        let words = job.words.iter().map(|word| word.as_bytes());
        !listed(&self.settings.never) && (listed(&self.settings.actions) || rules::configures(name, words))
    }
}

/// The state folder and the settings in force. A relative `VRIFT_HOME` counts from `cwd`.
///
/// # Errors
/// Where neither can be found, or a settings file is wrong.
pub fn load(cwd: &Path, project: Option<&Project>) -> Result<(Home, Settings), Error> {
    let home = Home::from_env()?;
    let home = Home::at(cwd.join(home.dir())).with_source(cwd.join(home.the_source()));
    let state = project.map(|project| project.root.as_path().join(".vrift"));
    let settings = Settings::load(&home, state.as_deref())?;
    Ok((settings.apply(home), settings))
}

/// The project of the manifest that was named, else of the folder `cwd`. Where a name leads nowhere, Cargo will say so.
fn find_project(job: &Job, cwd: &Path) -> Result<Project, Error> {
    let manifest = job.low.manifest_path.as_ref().map(|path| cwd.join(path));
    let named = match (&manifest, &job.low.install_path) {
        (Some(path), _) => path.parent().map(Path::to_owned),
        (None, Some(path)) => Some(cwd.join(path)),
        (None, None) => None,
    };
    let start = named.filter(|dir| dir.is_dir()).unwrap_or_else(|| cwd.to_owned());
    Ok(Project::find(&start)?)
}

/// Makes the folder of the sockets. It tells hooked programs that a worker is on its way, so it is there before the first of
/// them starts; and where the daemons could not write to it, each of them would wait for a worker that cannot come.
fn make_run_folder(home: &Home) -> Result<(), Error> {
    let fail = |action, path: &Path, source| Error::File { action, path: path.to_owned(), source };
    let run = home.run();
    fs::DirBuilder::new().recursive(true).mode(0o700).create(&run).map_err(|e| fail("create", &run, e))?;
    for dir in [home.dir(), &run] {
        access(dir, AccessFlags::W_OK | AccessFlags::X_OK).map_err(|e| fail("write to", dir, io::Error::from(e)))?;
    }
    Ok(())
}

/// Our shim first, then what was there. A shim of ours that is there already (a build inside a build) gives way.
fn preload(shim: &Path, existing: Option<OsString>) -> OsString {
    let mut value = shim.as_os_str().to_owned();
    let existing = existing.unwrap_or_default();
    let old = existing.as_bytes().split(|c| *c == b':' || c.is_ascii_whitespace());
    for entry in
        old.filter(|entry| !entry.is_empty() && Path::new(std::ffi::OsStr::from_bytes(entry)).file_name() != shim.file_name())
    {
        value.push(":");
        value.push(std::ffi::OsStr::from_bytes(entry));
    }
    value
}

/// What is this run's alone.
struct Run<'a> {
    places: &'a Places,
    session: &'a str,
    cwd: &'a Path,
    recache: bool,
}

fn context(home: &Home, settings: &Settings, parts: &Parts, project: &Project, run: &Run<'_>) -> Result<OsString, Error> {
    let Run { places, session, cwd, recache } = *run;
    let mut letters = vec![mode::NESTED];
    letters.push(if settings.prefix_map { mode::PORTABLE_CWD } else { mode::NO_PREFIX_MAP });
    if recache {
        letters.push(mode::RECACHE);
    }
    let trace_dir = trace_dir(cwd)?;
    let socket = home.worker_socket(project.id());
    let vdir = if settings.vdir {
        vdir::place(project.id(), nix::unistd::geteuid().as_raw()).into_os_string().into_vec()
    } else {
        Vec::new()
    };
    let base = if settings.vdir && settings.vdir_base {
        vdir::base_place(home.dir(), nix::unistd::geteuid().as_raw()).into_os_string().into_vec()
    } else {
        Vec::new()
    };
    let bytes = |place: &Option<AbsPath>| place.as_ref().map_or_else(Vec::new, |path| path.as_bytes().to_vec());
    let values = [
        (Field::Exec, parts.exec.as_os_str().as_bytes().to_vec()),
        (Field::Shim, parts.shim.as_os_str().as_bytes().to_vec()),
        (Field::Mode, letters),
        (Field::Session, session.as_bytes().to_vec()),
        (Field::Socket, socket.into_os_string().into_vec()),
        (Field::Project, project.root.as_bytes().to_vec()),
        (Field::Target, bytes(&places.target)),
        (Field::Cargo, bytes(&places.cargo)),
        (Field::Rustup, bytes(&places.rustup)),
        (Field::Home, bytes(&places.home)),
        (Field::Tmp, bytes(&places.tmp)),
        (Field::TraceDir, trace_dir.into_os_string().into_vec()),
        (Field::VDir, vdir),
        (Field::Base, base),
        (Field::Actions, settings.actions.join("/").into_bytes()),
        (Field::Never, settings.never.join("/").into_bytes()),
        (Field::Script, ScriptRules::lines(&settings.ignore_env, &settings.watch_env, &settings.caches).0),
        (Field::Source, home.the_source().as_os_str().as_bytes().to_vec()),
    ];
    let mut context = Context::empty();
    for (field, value) in &values {
        if value.contains(&SEPARATOR) {
            let path = String::from_utf8_lossy(value).replace(char::from(SEPARATOR), "\u{fffd}");
            return Err(Error::Other(format!("the path `{path}` holds the control character 0x1F")));
        }
        context = context.with(*field, value);
    }
    Ok(OsString::from_vec(context.encode()))
}

/// The folder for traces, made if need be; empty where none is wanted.
fn trace_dir(cwd: &Path) -> Result<PathBuf, Error> {
    let Some(dir) = std::env::var_os(env::TRACE_DIR).filter(|dir| !dir.is_empty()) else { return Ok(PathBuf::new()) };
    let dir = cwd.join(dir);
    match fs::create_dir_all(&dir) {
        Ok(()) => Ok(dir),
        Err(source) => Err(Error::File { action: "create", path: dir, source }),
    }
}

/// See [`Setup::session`]. The rest of the digits tells runs of one millisecond apart.
fn new_session() -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let mixed = blake3::hash(&[now.as_nanos().to_le_bytes().as_slice(), &std::process::id().to_le_bytes()].concat());
    format!("{:011x}{}", now.as_millis() & 0xfff_ffff_ffff, &mixed.to_hex()[..5])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn preloads_of_others_stay() {
        let value = |old: Option<&str>| preload(Path::new("/v/lib/libvrift_preload.so"), old.map(OsString::from));
        assert_eq!(value(None), "/v/lib/libvrift_preload.so");
        assert_eq!(value(Some("")), "/v/lib/libvrift_preload.so");
        assert_eq!(value(Some("/a.so  b.so:/old/libvrift_preload.so")), "/v/lib/libvrift_preload.so:/a.so:b.so");
    }

    #[test]
    fn sessions_differ_and_tell_their_start() {
        let (a, b) = (new_session(), new_session());
        assert_ne!(a, b);
        assert_eq!(a.len(), 16);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_millis();
        let start = u128::from_str_radix(&a[..11], 16).expect("hex");
        assert!(now - start < 10_000, "{start} {now}");
    }

    #[test]
    fn the_context_says_where_everything_is() {
        let tmp = tempfile::tempdir().expect("tempdir");
        let project = Project::at(tmp.path(), vrift_core::root::RootKind::Cwd, None).expect("canonical");
        let home = Home::at("/h".into());
        let parts = Parts { shim: "/l/s.so".into(), exec: "/l/vrift-exec".into() };
        let places = Places { target: AbsPath::new(b"/t").ok(), ..Places::default() };
        let run = Run { places: &places, session: "00", cwd: tmp.path(), recache: false };
        let make = |home: &Home| context(home, &Settings::default(), &parts, &project, &run);
        let value = make(&home).expect("builds");
        let parsed = Context::parse(value.as_bytes()).expect("parses");
        assert_eq!(parsed.get(Field::Target), b"/t");
        assert_eq!(parsed.get(Field::Project), project.root.as_bytes());
        assert_eq!(parsed.get(Field::Source), b"/h/the_source");
        assert_eq!(parsed.get(Field::Arena), b"");
        assert!(parsed.has(mode::PORTABLE_CWD) && parsed.has(mode::NESTED) && !parsed.has(mode::NO_PREFIX_MAP));
        assert!(make(&Home::at("/h\x1f".into())).is_err());
    }
}
