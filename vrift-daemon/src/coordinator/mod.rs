//! `vriftd`: one for each user.
//!
//! # Start
//! A front end runs `vriftd --home DIR`, which starts `vriftd --home DIR --serve` as a process that nobody waits for and
//! returns. The daemon leaves its starter's session, takes `run/vriftd.lock` and listens; where the lock is taken, another
//! one serves already and it ends in peace. The manifest is opened after that: nobody waits for it.
//!
//! systemd may start it instead, with the listening socket ([`systemd`]).
//!
//! # End
//! When asked, on SIGTERM, after an hour without workers and clients, or when its socket is gone or another one's. Workers go on
//! by themselves; the next coordinator finds them through `instances.json` and their sockets. One that systemd asks to end ends
//! its workers as well: whoever stops a service means all of it.

mod instances;
mod janitor;
mod leases;
mod projects;
mod service;
mod supervisor;
mod systemd;
mod vdirs;
mod writer;

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use vrift_core::home::Home;
use vrift_core::settings::Settings;
use vrift_core::wire;

use crate::args::{self, CoordinatorArgs};
use crate::presence;
use crate::process::{self, inode};
use crate::server::{Activity, Server};
use crate::stop::Stop;
use crate::worker::base::Base;
use crate::worker::vdir::{self, Shared};
use janitor::Janitor;
use leases::Leases;
use projects::Projects;
use service::Coordinator;
use vdirs::VDirs;
use writer::Writer;

/// Without workers and clients for so long, the coordinator ends.
const IDLE: Duration = Duration::from_secs(3600);

/// How long a coordinator that does not serve any more may take to end.
const HAND_OVER: Duration = Duration::from_secs(15);

/// Trees of the system that builds read, and that are rarely written. Where one is a link, it is what the link leads to that counts.
const SYSTEM_TREES: [&str; 5] = ["/usr", "/lib", "/lib64", "/bin", "/opt"];

/// How often the main thread looks around.
const TICK: Duration = Duration::from_secs(10);

/// Why the coordinator did not start.
#[derive(Debug, thiserror::Error)]
enum StartError {
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("systemd's socket: {0}")]
    Handed(io::Error),
    #[error("systemd listens elsewhere than at {}: run `vrift daemon install` again", .0.display())]
    Elsewhere(PathBuf),
    #[error("another vriftd holds {} and does not end", .0.display())]
    Taken(PathBuf),
}

fn at(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> StartError {
    let path = path.into();
    move |source| StartError::Io { path, source }
}

/// The program `vriftd`; `args` starts with its name.
///
/// Exit status 0: a coordinator serves. 1: none can, a line on stderr says why. 2: the arguments make no sense.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let args = match args::coordinator(args) {
        Ok(args) => args,
        Err(e) => {
            eprintln!("vriftd: {e}");
            return ExitCode::from(2);
        }
    };
    let done = if args.serve { serve(&args) } else { detach(&args) };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("vriftd: {e}");
            ExitCode::FAILURE
        }
    }
}

/// Starts the daemon as nobody's child. What can go wrong for good is tried here, where somebody reads the message.
fn detach(args: &CoordinatorArgs) -> Result<(), StartError> {
    for folder in [args.home.dir().to_owned(), args.home.run()] {
        process::private_folder(&folder).map_err(at(&folder))?;
    }
    let own = std::env::current_exe().map_err(at("/proc/self/exe"))?;
    let mut command = process::clean_command(&own);
    command.arg("--serve").arg("--home").arg(args.home.dir()).arg("--source").arg(args.home.the_source());
    if let Some(worker) = &args.worker {
        command.arg("--worker").arg(worker);
    }
    process::as_program(&mut command, "vriftd");
    command.stderr(Stdio::null()).spawn().map_err(at(own))?;
    Ok(())
}

fn serve(args: &CoordinatorArgs) -> Result<(), StartError> {
    let started = Instant::now();
    let handed = systemd::listener().map_err(StartError::Handed)?;
    process::leave_starter(handed.as_ref().map(AsRawFd::as_raw_fd));
    let manager = systemd::Manager::from_env();
    let home = args.home.clone();
    for folder in [home.dir().to_owned(), home.run()] {
        process::private_folder(&folder).map_err(at(&folder))?;
    }
    if !manager.is_there() {
        process::silence();
    }
    let Some(_lock) = lock(&home, handed.is_some())? else { return Ok(()) };
    let stop = Arc::new(Stop::default());
    stop.on_signals();
    let socket = home.coordinator_socket();
    let is_handed = handed.is_some();
    let listener = match handed {
        Some(handed) if systemd::is_at(&handed, &socket) => handed,
        Some(_) => return Err(StartError::Elsewhere(socket)),
        None => bind(&socket).map_err(at(&socket))?,
    };
    let own_socket = inode(&socket);
    presence::watch(&stop, &socket, None);
    let activity = Arc::new(Activity::default());
    let leases = Arc::new(Leases::default());
    let writer = Arc::new(Writer::start(home.clone(), Arc::clone(&leases)));
    let own = std::env::current_exe().map_err(at("/proc/self/exe"))?;
    let projects = Arc::new(Projects::new(home.clone(), worker_program(args, &own), own));
    let janitor = Janitor::new(home.clone(), Arc::clone(&writer));
    let trees = Arc::<Shared>::default();
    SYSTEM_TREES.iter().for_each(|tree| trees.add_top(tree.as_bytes()));
    let coordinator = Coordinator::new(
        home.clone(),
        started,
        Arc::clone(&trees),
        Arc::clone(&leases),
        Arc::clone(&writer),
        Arc::clone(&projects),
        Arc::clone(&stop),
    );
    Server::start(listener, Arc::new(coordinator), Arc::clone(&activity)).map_err(at(&socket))?;
    crate::log::start(&home.log(), "vriftd");
    tracing::info!("serving {}", socket.display());
    projects.adopt_survivors();
    // A settings file that is wrong is said elsewhere.
    let settings = Settings::load(&home, None).unwrap_or_default();
    supervisor::start_checks(&projects, settings.health_check);
    let vdirs = VDirs::new(&settings);
    let plan = vdir::Plan {
        activity: Arc::clone(&activity),
        shared: trees,
        known: Some(Arc::new(Base::new(home.clone()))),
        ..vdir::Plan::of_shared_trees(home.dir(), &settings)
    };
    let base = settings.vdir_base.then(|| vdir::VDir::start(plan).ok()).flatten();
    manager.ready();
    watch(&stop, &activity, &projects, (&janitor, &vdirs), &manager, &|| inode(&socket) == own_socket);
    manager.stopping();
    if manager.is_there() && stop.was_signalled() {
        projects.shut_down(false);
    }
    projects.await_end();
    // Whoever connects from here on must find no socket rather than a silent one; systemd's own waits for the next vriftd.
    if !is_handed && inode(&socket) == own_socket {
        let _ = std::fs::remove_file(&socket);
    }
    drop(base);
    writer.finish();
    janitor.finish();
    projects.seal();
    tracing::info!("ended");
    Ok(())
}

/// The lock of the one coordinator; `None` where another one has it and serves. One that is about to end is waited for, as is one
/// that nobody can reach any more because this one was handed the socket.
fn lock(home: &Home, is_handed: bool) -> Result<Option<File>, StartError> {
    let path = home.run().join("vriftd.lock");
    let deadline = Instant::now() + HAND_OVER;
    loop {
        if let Some(lock) = process::try_lock(&path).map_err(at(&path))? {
            return Ok(Some(lock));
        }
        if Instant::now() >= deadline {
            return if is_handed { Err(StartError::Taken(path)) } else { Ok(None) };
        }
        if !is_handed && wire::connect(&home.coordinator_socket(), TICK).is_ok() {
            return Ok(None);
        }
        thread::sleep(Duration::from_millis(2));
    }
}

fn bind(socket: &Path) -> io::Result<UnixListener> {
    match std::fs::remove_file(socket) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    wire::bind(socket)
}

/// Returns when it is time to end.
fn watch(
    stop: &Stop,
    activity: &Activity,
    projects: &Projects,
    (janitor, vdirs): (&Janitor, &VDirs),
    manager: &systemd::Manager,
    is_reachable: &dyn Fn() -> bool,
) {
    let mut busy = (Instant::now(), 0);
    while !stop.wait(manager.interval(TICK)) {
        janitor.tick();
        vdirs.tick(projects);
        manager.alive(projects.instances().len());
        let accepted = activity.accepted();
        if activity.connections() > 0 || accepted != busy.1 || projects.any_alive() {
            busy = (Instant::now(), accepted);
        }
        // A state folder that was removed takes its daemon along, and so does another one's socket in the place of its own.
        if busy.0.elapsed() >= IDLE || !is_reachable() {
            return;
        }
    }
}

/// The worker's program: as told, else beside this one, else this one under another name.
fn worker_program(args: &CoordinatorArgs, own: &Path) -> PathBuf {
    let beside = own.with_file_name("vdir_d");
    match &args.worker {
        Some(worker) => worker.clone(),
        None if beside.is_file() => beside,
        None => own.to_owned(),
    }
}
