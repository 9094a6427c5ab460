//! A whole build at once: what is known of it is put in place before Cargo starts.
//!
//! Only where nothing was built before in the target folder: everything else is a question of what is there, and Cargo and the
//! look-ups of single actions answer it. Whatever goes wrong here leaves Cargo with less to find, and nothing else.

use std::ffi::OsStr;
use std::fs::{self, File, FileTimes, TryLockError};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use vrift_core::PROTOCOL_VERSION;
use vrift_core::action::{OutputState, Place};
use vrift_core::bytes::ByteText;
use vrift_core::digest::{Digest, FieldHasher};
use vrift_core::env as own_env;
use vrift_core::paths::{AbsPath, Roots};
use vrift_core::wire::{BuildFile, BuildOpenParams, BuildOpenResult, BuildUnit, RestoreStep, SILENCE, SessionParams, method};
use vrift_daemon::client::Connection;
use vrift_store::cas::BLOB_MTIME;
use vrift_store::{Blob, Cas};

use super::Job;
use super::opening::Opening;
use super::setup::Setup;
use crate::cargo::Class;

/// How long the worker may take to look everything up, before Cargo starts without.
const PATIENCE: Duration = Duration::from_secs(5);

/// How far the clock of the target folder's file system may be from this machine's. Making a file and reading the clock takes
/// a part of it.
const CLOCKS_AGREE: Duration = Duration::from_millis(100);

/// Threads that restore.
const MAX_THREADS: usize = 4;

/// Digests of the commands of whole builds differ from any other.
const DOMAIN: &str = "vrift-build-1";

/// A build that the worker follows.
pub struct Followed {
    socket: PathBuf,
    session: String,
}

/// Puts in place what is known of the build. `None` where the worker does not follow it.
pub fn begin(job: &Job, setup: &Setup, opening: &mut Opening) -> Option<Followed> {
    let target = setup.places.target.clone().or_else(|| setup.project.root.join("target").ok())?;
    // A plan holds commands as they are with prefix maps.
    let wanted = setup.settings.whole_builds && setup.settings.prefix_map;
    if job.class != Class::Build || !wanted || setup.recache || was_built(target.as_path()) {
        return None;
    }
    let params = params(job, setup)?;
    let since = just_before_now()?;
    let socket = opening.wait(SILENCE)?.worker.socket.as_path().to_owned();
    let mut worker = Connection::connect(&socket, SILENCE).ok()?;
    let known: BuildOpenResult = worker.call_within(PATIENCE, || (), method::BUILD_OPEN, &params).ok()?;
    if !known.units.is_empty() {
        let restorer = Restorer { cas: Cas::open(setup.home.the_source()).vouched_for(), roots: params.roots, since };
        // Best effort: what is missing, Cargo builds.
        let _ = restorer.restore(target.as_path(), &known);
    }
    Some(Followed { socket, session: setup.session.clone() })
}

impl Followed {
    /// The build has ended well.
    pub fn keep(self) {
        if let Ok(mut worker) = Connection::connect(&self.socket, SILENCE) {
            let _ = worker.notify(method::BUILD_KEEP, &SessionParams { session: self.session });
        }
    }
}

fn params(job: &Job, setup: &Setup) -> Option<BuildOpenParams> {
    let roots = setup.roots();
    let cwd = AbsPath::try_from(setup.cwd.as_path()).ok()?;
    let lock = fs::read(setup.project.root.as_path().join("Cargo.lock")).ok()?;
    let mut key = FieldHasher::new(DOMAIN);
    key.field(roots.template_path(&cwd).as_bytes()).field(Digest::of(&lock).as_bytes());
    key.number(job.words.len() as u64);
    for word in &job.words {
        key.field(&roots.template_text(word.as_bytes()).bytes);
    }
    // What the units are; whoever has another answer to that would find them, and have no use for them.
    for path in configurations(setup) {
        let content = fs::read(&path).unwrap_or_default();
        key.field(Digest::of(&content).as_bytes());
    }
    let mut vars: Vec<_> = std::env::vars_os().filter(|(name, _)| steers_cargo(name.as_bytes())).collect();
    vars.sort();
    for (name, value) in &vars {
        key.field(name.as_bytes()).field(&roots.template_text(value.as_bytes()).bytes);
    }
    let entry = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
        let mut entry = name.as_bytes().to_vec();
        entry.push(b'=');
        entry.extend_from_slice(value.as_bytes());
        ByteText(entry)
    };
    Some(BuildOpenParams {
        protocol: PROTOCOL_VERSION,
        session: setup.session.clone(),
        key: key.finish(),
        env: std::env::vars_os().filter(|(name, _)| !own_env::is_own(name.as_bytes())).map(entry).collect(),
        umask: umask(),
        roots,
    })
}

/// Files that say how to build: the project's manifest, and Cargo's configuration where it may be.
fn configurations(setup: &Setup) -> Vec<PathBuf> {
    let mut files = vec![setup.project.root.as_path().join("Cargo.toml")];
    let folders = setup.cwd.ancestors().map(|dir| dir.join(".cargo"));
    for folder in folders.chain(setup.places.cargo.iter().map(|home| home.as_path().to_owned())) {
        files.extend(["config.toml", "config"].map(|name| folder.join(name)).into_iter().filter(|file| file.is_file()));
    }
    files
}

/// Whether Cargo may build something else for a variable of that name.
fn steers_cargo(name: &[u8]) -> bool {
    let noise = [&b"CARGO_TERM_"[..], b"CARGO_NET_", b"CARGO_HTTP_", b"RUST_BACKTRACE", b"RUST_LOG"];
    (name.starts_with(b"CARGO") || name.starts_with(b"RUST")) && !noise.iter().any(|prefix| name.starts_with(prefix))
}

/// A time that whatever changes from now on is newer than: file systems stamp with a clock that ticks every few milliseconds.
fn just_before_now() -> Option<SystemTime> {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::RealtimeCoarse);
    let ns = u32::try_from(now.tv_nsec).ok()?;
    (UNIX_EPOCH + Duration::new(u64::try_from(now.tv_sec).ok()?, ns)).checked_sub(Duration::from_nanos(1))
}

/// Whether the file system that a file was just made on has this machine's clock; that of a server may be another.
fn clocks_agree(made: &File) -> bool {
    let Ok(then) = made.metadata().and_then(|meta| meta.modified()) else { return false };
    let now = SystemTime::now();
    let apart = now.duration_since(then).unwrap_or_else(|e| e.duration());
    apart <= CLOCKS_AGREE
}

/// Whether Cargo built anything there: in `target/debug` or `target/x86_64-unknown-linux-gnu/debug`.
fn was_built(target: &Path) -> bool {
    let folders = |dir: &Path| {
        let entries = fs::read_dir(dir).into_iter().flatten().flatten();
        entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).map(|entry| entry.path()).collect::<Vec<_>>()
    };
    let is_profile = |dir: &PathBuf| dir.join(".fingerprint").exists();
    folders(target).iter().any(|dir| is_profile(dir) || folders(dir).iter().any(is_profile))
}

/// File creation mask, as the kernel tells it: asking by `umask` would change it for a moment, under other threads. Source:
/// proc(5).
fn umask() -> u32 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("Umask:"));
    mask.and_then(|mask| u32::from_str_radix(mask.trim(), 8).ok()).unwrap_or(0o22)
}

struct Restorer {
    cas: Cas,
    roots: Roots,
    /// The time of what is made.
    since: SystemTime,
}

impl Restorer {
    fn restore(&self, target: &Path, known: &BuildOpenResult) -> io::Result<()> {
        fs::create_dir_all(target)?;
        for file in &known.files {
            self.write(file)?;
        }
        let mut locks = Vec::new();
        for profile in &known.profiles {
            let profile = profile.as_path();
            fs::create_dir_all(profile)?;
            // Cargo's own lock. Whoever has it builds; then nothing may be put under its hands.
            let path = profile.join(".cargo-lock");
            let lock = match File::create_new(&path) {
                Ok(lock) if !clocks_agree(&lock) => return Ok(()),
                Ok(lock) => lock,
                // Somebody builds, or has built.
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
                Err(e) => return Err(e),
            };
            match lock.try_lock() {
                Ok(()) => locks.push(lock),
                Err(TryLockError::WouldBlock) => return Ok(()),
                Err(TryLockError::Error(e)) => return Err(e),
            }
            if profile.join(".fingerprint").exists() {
                return Ok(());
            }
        }
        self.units(&known.units);
        Ok(())
    }

    /// All units, on a few processors: each is done for itself, and one that fails is left to Cargo.
    fn units(&self, units: &[BuildUnit]) {
        let next = AtomicUsize::new(0);
        let work = || {
            while let Some(unit) = units.get(next.fetch_add(1, Ordering::Relaxed)) {
                let _ = self.unit(unit);
            }
        };
        let helpers = thread::available_parallelism().map_or(1, usize::from).min(MAX_THREADS) - 1;
        thread::scope(|scope| {
            for _ in 0..helpers {
                // Without a further thread this one does all.
                let _ = thread::Builder::new().name("restore".into()).spawn_scoped(scope, work);
            }
            work();
        });
    }

    fn unit(&self, unit: &BuildUnit) -> io::Result<()> {
        for dir in &unit.dirs {
            fs::create_dir_all(dir.as_path())?;
        }
        for step in &unit.steps {
            self.step(step, unit.dated.contains(&step.path))?;
        }
        for (name, of) in &unit.links {
            fs::hard_link(of.as_path(), name.as_path())?;
        }
        unit.files.iter().try_for_each(|file| self.write(file))
    }

    fn step(&self, step: &RestoreStep, dated: bool) -> io::Result<()> {
        let place = match &step.state {
            OutputState::File { place, .. } if !dated => *place,
            OutputState::File { .. } => Place::Copy,
            _ => return self.cas.restore_step(step, &self.roots).map(drop).map_err(io::Error::other),
        };
        if let (Some(blob), OutputState::File { mode, .. }) = (Blob::of_state(&step.state), &step.state) {
            let dest = step.path.as_path();
            self.cas.restore_file(&blob, dest, place, *mode, Some(&self.roots)).map_err(io::Error::other)?;
            if place != Place::Link && !step.optional {
                set_time(&File::open(dest)?, self.since)?;
            }
        }
        Ok(())
    }

    fn write(&self, file: &BuildFile) -> io::Result<()> {
        let path = Path::new(OsStr::from_bytes(file.path.as_bytes()));
        let create = || File::create_new(path);
        let mut made = match create() {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                fs::create_dir_all(path.parent().unwrap_or(path))?;
                create()?
            }
            // A file about the whole folder may be there.
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
            other => other?,
        };
        io::Write::write_all(&mut made, &file.content)?;
        let old = UNIX_EPOCH + Duration::from_secs(BLOB_MTIME.unsigned_abs());
        set_time(&made, if file.old { old } else { self.since })
    }
}

fn set_time(file: &File, time: SystemTime) -> io::Result<()> {
    file.set_times(FileTimes::new().set_modified(time))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_where_something_was_built() {
        let dir = tempfile::tempdir().expect("tempdir");
        let target = dir.path().join("target");
        assert!(!was_built(&target));
        fs::create_dir_all(target.join("debug/deps")).expect("creates");
        assert!(!was_built(&target));
        fs::create_dir_all(target.join("x86_64-unknown-linux-gnu/release/.fingerprint")).expect("creates");
        assert!(was_built(&target));
    }

    #[test]
    fn the_mask_is_told() {
        assert!(umask() <= 0o777);
    }
}
