//! `vdir_d`: one for each project.
//!
//! # Start
//! The coordinator starts it with the listening socket as standard input, so clients connect from the first moment on.
//! Serving begins at once; databases are opened beside it, and whoever comes sooner finds caches empty, which costs time
//! and nothing else.
//!
//! # A look-up
//! Key ([`key`]), candidates ([`candidates`], then [`base`]), check of every input against the digest cache ([`check`],
//! [`world`], [`digests`]); the outputs' blobs are checked by one `stat` each. On a miss, the coordinator says whether
//! another client computes the same ([`upstream`]).
//!
//! # A record
//! The worker finds out in which state each input was when the command began ([`record`], [`evidence`]), and passes the
//! action on ([`courier`]). It keeps it for its own look-ups at once.
//!
//! # End
//! When asked, on SIGTERM, after an hour without clients, or when its project or its socket is gone.

mod ahead;
pub mod base;
mod builds;
mod candidates;
mod check;
mod courier;
mod digests;
mod evidence;
mod fresh;
mod key;
mod ledger;
mod lookup;
mod memo;
mod nearest;
mod nested;
mod notices;
mod past_libc;
mod processor;
mod record;
mod scripts;
mod service;
mod session;
mod sight;
mod spares;
mod staging;
mod unknown;
mod upstream;
pub mod vdir;
mod world;

use std::ffi::OsString;
use std::io;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use vrift_core::identity::ProjectId;
use vrift_core::paths::AbsPath;
use vrift_core::settings::Settings;
use vrift_core::wire;
use vrift_store::{Cas, state_dir};

use crate::args::{self, WorkerArgs};
use crate::build;
use crate::presence;
use crate::process::{self, Inode, inode};
use crate::server::{Activity, Server};
use crate::stop::Stop;
use base::Base;
use candidates::Candidates;
use courier::{Courier, Parts};
use digests::Digests;
use evidence::Bindings;
use ledger::Ledger;
use notices::Notices;
use service::Front;
use upstream::Upstream;

/// Without clients for so long, the worker ends.
const IDLE: Duration = Duration::from_secs(3600);

/// How often the main thread looks around.
const TICK: Duration = Duration::from_secs(10);

/// Everything that a look-up or a record needs.
struct Worker {
    id: ProjectId,
    root: AbsPath,
    build: String,
    cas: Arc<Cas>,
    base: Arc<Base>,
    digests: Arc<Digests>,
    candidates: Candidates,
    ahead: ahead::Ahead,
    bindings: Bindings,
    scripts: scripts::Scripts,
    builds: builds::Builds,
    spares: Arc<spares::Spares>,
    staging: staging::Staging,
    past_libc: past_libc::PastLibc,
    unknown: unknown::Unknown,
    ledger: Arc<Ledger>,
    notices: Arc<Notices>,
    upstream: Arc<Upstream>,
    courier: Courier,
    activity: Arc<Activity>,
    stop: Arc<Stop>,
}

/// Why the worker did not start.
#[derive(Debug, thiserror::Error)]
enum StartError {
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Root(#[from] vrift_core::paths::PathError),
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> StartError {
    let path = path.to_owned();
    move |source| StartError::Io { path, source }
}

/// The program `vdir_d`; `args` starts with its name.
///
/// Exit status 0: it served, or another one does. 1: it could not. 2: the arguments make no sense.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let args = match args::worker(args) {
        Ok(args) => args,
        Err(e) => {
            eprintln!("vdir_d: {e}");
            return ExitCode::from(2);
        }
    };
    match serve(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("vdir_d: {e}");
            ExitCode::FAILURE
        }
    }
}

fn serve(args: WorkerArgs) -> Result<(), StartError> {
    process::leave_starter(None);
    let WorkerArgs { home, root, branch, socket, listening, coordinator } = args;
    let root = AbsPath::try_from(root.as_path())?;
    let id = ProjectId::new(&root, branch.as_deref());
    // Before the first answer, behind which programs run that list the root.
    state_dir::make_early(&root);
    let listener = listen(&socket, listening).map_err(at(&socket))?;
    let (own_socket, own_root) = (inode(&socket), inode(root.as_path()));
    process::silence();
    let stop = Arc::new(Stop::default());
    stop.on_signals();

    let notices = Arc::new(Notices::default());
    let base = Arc::new(Base::new(home.clone()));
    let cas = Arc::new(Cas::open(home.the_source()));
    // A settings file that is wrong is said elsewhere.
    let settings = Settings::load(&home, Some(&root.as_path().join(".vrift"))).unwrap_or_default();
    let digests = Digests::new(Arc::clone(&cas), root.clone(), Arc::clone(&base) as Arc<dyn digests::SharedFiles>);
    let trees = settings.vdir_base.then(|| vdir::Trees::of(home.dir()));
    let digests = Arc::new(digests.with_trees(trees));
    let ledger = Arc::new(Ledger::new());
    let upstream = Upstream::new(home.clone(), coordinator);
    let parts = Parts {
        home: home.clone(),
        id,
        root: root.clone(),
        upstream: Arc::clone(&upstream),
        digests: Arc::clone(&digests),
        ledger: Arc::clone(&ledger),
        notices: Arc::clone(&notices),
    };
    let (courier, courier_thread) = Courier::start(parts).map_err(at(&socket))?;
    let activity = Arc::new(Activity::default());
    let spares = spares::Spares::start(Arc::clone(&cas), Arc::clone(&activity));
    let worker = Arc::new(Worker {
        id,
        root: root.clone(),
        build: build::own(),
        cas,
        base: Arc::clone(&base),
        digests: Arc::clone(&digests),
        candidates: Candidates::default(),
        ahead: ahead::Ahead::default(),
        bindings: Bindings::default(),
        scripts: scripts::Scripts::default(),
        builds: builds::Builds::default(),
        spares,
        staging: staging::Staging::new(settings.staging_size),
        past_libc: past_libc::PastLibc::default(),
        unknown: unknown::Unknown::default(),
        ledger,
        notices,
        upstream: Arc::clone(&upstream),
        courier: courier.clone(),
        activity: Arc::clone(&activity),
        stop: Arc::clone(&stop),
    });
    Server::start(listener, Arc::new(Front(Arc::clone(&worker))), Arc::clone(&activity)).map_err(at(&socket))?;
    let vdir = start_vdir(&worker, &settings);
    base.warm_up();
    let rest = || {
        digests.rest();
        base.rest();
        upstream.rest();
    };
    crate::log::start(&home.log(), &format!("vdir_d-{}", &id.to_hex()[..16]));
    tracing::info!("serving {} for {root}", socket.display());
    presence::watch(&stop, &socket, Some(root.as_path()));
    watch(&stop, &activity, &rest, &[(socket.as_path(), own_socket), (root.as_path(), own_root)]);
    // Whoever connects from here on must find no socket rather than a silent one.
    if inode(&socket) == own_socket {
        let _ = std::fs::remove_file(&socket);
    }
    drop(vdir);
    upstream.retire();
    courier.end();
    let _ = courier_thread.join();
    tracing::info!("ended");
    Ok(())
}

/// Starts to keep the project's VDir, where the settings want one. Without it everything works, through the kernel.
fn start_vdir(worker: &Worker, settings: &Settings) -> Option<vdir::VDir> {
    let plan = vdir::Plan {
        activity: Arc::clone(&worker.activity),
        notices: Arc::clone(&worker.notices),
        shared: Arc::clone(worker.digests.map()),
        ..vdir::Plan::of_project(worker.id, &worker.root, settings)
    };
    settings.vdir.then(|| vdir::VDir::start(plan).ok()).flatten()
}

fn listen(socket: &Path, listening: bool) -> io::Result<UnixListener> {
    if listening {
        return process::listener_from_stdin();
    }
    if wire::connect(socket, Duration::from_secs(1)).is_ok() {
        return Err(io::ErrorKind::AddrInUse.into());
    }
    match std::fs::remove_file(socket) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    wire::bind(socket)
}

/// Returns when it is time to end, and lets the worker `rest` where nobody came for a while; `own` are things without which
/// there is nothing to serve, and what they were at first.
fn watch(stop: &Stop, activity: &Activity, rest: &dyn Fn(), own: &[(&Path, Option<Inode>)]) {
    let mut busy = (Instant::now(), 0);
    while !stop.wait(TICK) {
        let accepted = activity.accepted();
        if activity.connections() > 0 || accepted != busy.1 {
            busy = (Instant::now(), accepted);
        } else {
            rest();
        }
        if busy.0.elapsed() >= IDLE || own.iter().any(|(path, was)| inode(path) != *was) {
            return;
        }
    }
}
