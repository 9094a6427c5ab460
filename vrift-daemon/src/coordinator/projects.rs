//! The workers: one for each project that is being built.
//!
//! The coordinator binds the worker's socket itself and hands it over as standard input, so clients may connect from the
//! very moment that the worker's process exists. A worker that is alive already, under an earlier coordinator, is found by
//! its socket.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use vrift_core::PROTOCOL_VERSION;
use vrift_core::home::Home;
use vrift_core::identity::ProjectId;
use vrift_core::paths::AbsPath;
use vrift_core::root::Project;
use vrift_core::wire::{self, ProjectOpenParams, ProjectOpenResult, ProjectStatus, RpcError, WorkerStatus, code, method};

use super::instances::{self, Instance};
use super::supervisor;
use crate::build;
use crate::client::Connection;
use crate::clock::now_s;
use crate::process::{self, Inode, inode};
use crate::processes;
use crate::server::error;
use crate::sync::lock;

/// How long a live worker may take to say who it is.
const HELLO_TIME: Duration = Duration::from_secs(2);

/// How long a worker of another build may take to leave.
const LEAVE_TIME: Duration = Duration::from_secs(2);

/// Workers at a time.
const MAX_WORKERS: usize = 256;

/// The live workers.
pub struct Projects {
    home: Home,
    /// The worker's program.
    program: PathBuf,
    /// This program. Asked for at the start: once the file is replaced, the kernel's answer names no file.
    own: PathBuf,
    build: String,
    live: Mutex<HashMap<ProjectId, Known>>,
    /// Held while a worker is looked for and started, so that a project gets one.
    starting: Mutex<()>,
    /// Workers were asked to end.
    leaving: AtomicBool,
    /// Nothing is to be written any more.
    sealed: AtomicBool,
}

struct Known {
    instance: Instance,
    /// This process started it.
    child: bool,
    /// When a build last asked for it.
    opened: Instant,
    /// The folder that it serves: another one may have taken its place.
    folder: Option<Inode>,
}

impl Projects {
    /// No workers yet; `program` is what to start, and starts `own` when no coordinator is there.
    pub fn new(home: Home, program: PathBuf, own: PathBuf) -> Self {
        let build = build::of_program(&own);
        Self {
            home,
            program,
            own,
            build,
            live: Mutex::default(),
            starting: Mutex::default(),
            leaving: AtomicBool::new(false),
            sealed: AtomicBool::new(false),
        }
    }

    /// Finds the workers that an earlier coordinator left.
    pub fn adopt_survivors(&self) {
        let listed = instances::read(&self.home.instances());
        let before = listed.len();
        for instance in listed {
            let _starting = lock(&self.starting);
            if lock(&self.live).contains_key(&instance.id) {
                continue;
            }
            if let Some(pid) = alive(instance.socket.as_path()) {
                self.note(&Instance { pid, ..instance }, false);
            }
        }
        // One that was started in the last moment is not listed, nor is any where the registry is damaged.
        let unlisted = self.adopt_by_sockets();
        if before > 0 || unlisted > 0 {
            self.write_registry();
        }
    }

    /// Finds workers by their sockets; returns how many more there are.
    fn adopt_by_sockets(&self) -> usize {
        let Ok(entries) = fs::read_dir(self.home.run()) else { return 0 };
        let own = self.home.coordinator_socket();
        let sockets = entries.flatten().map(|entry| entry.path());
        let mut found = 0;
        for socket in sockets.filter(|path| path.extension().is_some_and(|ext| ext == "sock") && *path != own) {
            let _starting = lock(&self.starting);
            if self.instances().iter().any(|known| known.socket.as_path() == socket) {
                continue;
            }
            if let Some(instance) = presents_itself(&socket) {
                self.note(&instance, false);
                found += 1;
            }
        }
        found
    }

    /// Whether any worker lives.
    pub fn any_alive(&self) -> bool {
        self.drop_dead();
        !lock(&self.live).is_empty()
    }

    /// The live workers, those that ended meanwhile left out.
    pub fn list(&self) -> Vec<WorkerStatus> {
        self.drop_dead();
        let now = now_s();
        let row = |i: &Instance| WorkerStatus {
            id: i.id,
            slug: i.slug.clone(),
            root: i.root.clone(),
            branch: i.branch.clone(),
            pid: i.pid,
            socket: i.socket.clone(),
            uptime_s: now.saturating_sub(i.started_s),
        };
        let mut rows: Vec<_> = self.instances().iter().map(row).collect();
        rows.sort_by(|a, b| a.slug.cmp(&b.slug));
        rows
    }

    /// Asks all workers to end, all at once: one that hangs keeps the others waiting no longer than itself.
    pub fn shut_down(&self, only_if_idle: bool) {
        self.leaving.store(true, Ordering::SeqCst);
        let ask = |socket: &Path| Connection::connect(socket, HELLO_TIME)?.shutdown(only_if_idle);
        let instances = self.instances();
        thread::scope(|scope| {
            for instance in &instances {
                // Without a thread it is not asked, and goes on by itself.
                let _ =
                    thread::Builder::new().stack_size(128 << 10).spawn_scoped(scope, || match ask(instance.socket.as_path()) {
                        Err(e) if e.is_silence() && !only_if_idle => drop(supervisor::end(instance)),
                        _ => {}
                    });
            }
        });
    }

    /// Waits, for a while, until workers that were asked to end have passed on what they know.
    pub fn await_end(&self) {
        if !self.are_leaving() {
            return;
        }
        // Their sockets go before they do.
        let pids: Vec<u32> = self.instances().iter().map(|i| i.pid).collect();
        let deadline = Instant::now() + LEAVE_TIME;
        while pids.iter().any(|pid| is_running(*pid)) && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// Finds or starts the worker of a project.
    ///
    /// # Errors
    /// [`code::INVALID_PARAMS`] where the root is no folder, [`code::UNAVAILABLE`] where no worker can be started.
    pub fn open(self: &Arc<Self>, params: ProjectOpenParams) -> Result<ProjectOpenResult, RpcError> {
        if params.protocol != PROTOCOL_VERSION {
            let message = format!("vriftd speaks protocol {PROTOCOL_VERSION}, the caller {}", params.protocol);
            return Err(error(code::VERSION_MISMATCH, message));
        }
        if !params.root.as_path().is_dir() {
            return Err(error(code::INVALID_PARAMS, format!("the root {} is no folder", params.root)));
        }
        let id = ProjectId::new(&params.root, params.branch.as_deref());
        let slug = id.slug(&params.name);
        let socket = self.home.worker_socket(id);
        let _starting = lock(&self.starting);
        let instance = |pid| Instance {
            id,
            slug: slug.clone(),
            root: params.root.clone(),
            branch: params.branch.clone(),
            pid,
            socket: socket.as_path().into(),
            started_s: now_s(),
        };
        let pid = match self.live_worker(id, params.root.as_path(), &socket) {
            Some(pid) => {
                if self.known(id).map(|known| known.0) != Some(pid) {
                    self.note(&instance(pid), false);
                    self.write_registry();
                }
                if let Some(known) = lock(&self.live).get_mut(&id) {
                    known.opened = Instant::now();
                }
                pid
            }
            None => {
                let child = self.start(&params.root, params.branch.as_deref(), &socket).map_err(|e| {
                    let program = self.program.display();
                    error(code::UNAVAILABLE, format!("cannot start the worker {program} at {}: {e}", socket.display()))
                })?;
                let pid = child.id();
                self.note(&instance(pid), true);
                // It takes note of the worker on disk, too: off the path of the client that waits here.
                supervisor::look_after(self, instance(pid), child)
                    .map_err(|e| error(code::UNAVAILABLE, format!("no thread for the worker: {e}")))?;
                pid
            }
        };
        let uid = nix::unistd::geteuid().as_raw();
        let vdir = vrift_core::vdir::place(id, uid);
        let generation = vrift_core::vdir::open(&vdir, uid).map_or(0, |reader| reader.generation);
        Ok(ProjectOpenResult { id, slug, socket: socket.into(), pid, vdir: vdir.into(), generation, ready: true })
    }

    /// The process of the worker that serves `socket`, if one does and is of this build or cannot leave now.
    fn live_worker(&self, id: ProjectId, root: &Path, socket: &Path) -> Option<u32> {
        if let Some((pid, folder)) = self.known(id)
            && wire::connect(socket, HELLO_TIME).is_ok()
        {
            if folder == inode(root) {
                return Some(pid);
            }
            // A checkout that was removed and made again: its worker has not looked around yet.
            let answer = Connection::connect(socket, HELLO_TIME).and_then(|mut worker| worker.shutdown(false));
            if answer.is_ok_and(|answer| answer.stopping) {
                await_close(socket);
            }
            return None;
        }
        let mut worker = Connection::connect(socket, HELLO_TIME).ok()?;
        let hello = match worker.hello(&self.build) {
            Ok(hello) => hello,
            Err(e) => {
                tracing::warn!("the worker at {} does not answer and gets a successor: {e}", socket.display());
                if e.is_silence()
                    && let Some(pid) = processes::worker_at(socket)
                {
                    let _ = processes::end(pid, LEAVE_TIME);
                }
                return None;
            }
        };
        let same = hello.protocol == PROTOCOL_VERSION;
        if same && hello.build == build::of_program(&self.program) {
            return Some(hello.pid);
        }
        match worker.shutdown(same) {
            Ok(answer) if answer.stopping => {
                await_close(socket);
                None
            }
            _ if same => Some(hello.pid),
            _ => None,
        }
    }

    fn start(&self, root: &AbsPath, branch: Option<&str>, socket: &Path) -> io::Result<Child> {
        if lock(&self.live).len() >= MAX_WORKERS {
            self.drop_dead();
            if lock(&self.live).len() >= MAX_WORKERS {
                return Err(io::Error::other(format!("{MAX_WORKERS} workers run already")));
            }
        }
        match fs::remove_file(socket) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
        let listener = wire::bind(socket)?;
        let mut command = process::clean_command(&self.program);
        command.arg("--home").arg(self.home.dir()).arg("--source").arg(self.home.the_source());
        command.arg("--root").arg(root.as_path()).arg("--socket").arg(socket).arg("--listening");
        if let Some(branch) = branch {
            command.arg("--branch").arg(branch);
        }
        command.arg("--coordinator").arg(&self.own);
        process::as_program(&mut command, "vdir_d");
        command.stdin(Stdio::from(OwnedFd::from(listener))).spawn()
    }

    /// Starts another worker for the project of `earlier`, unless it has one, or its folder is gone.
    ///
    /// # Errors
    /// Where the worker cannot be started.
    pub fn restart(&self, earlier: &Instance) -> io::Result<Option<(Instance, Child)>> {
        let _starting = lock(&self.starting);
        if self.are_leaving() || lock(&self.live).contains_key(&earlier.id) || !earlier.root.as_path().is_dir() {
            return Ok(None);
        }
        let child = self.start(&earlier.root, earlier.branch.as_deref(), earlier.socket.as_path())?;
        let instance = Instance { pid: child.id(), started_s: now_s(), ..earlier.clone() };
        self.note(&instance, true);
        self.write_registry();
        Ok(Some((instance, child)))
    }

    /// The live workers as they are known, without asking them.
    pub fn instances(&self) -> Vec<Instance> {
        lock(&self.live).values().map(|known| known.instance.clone()).collect()
    }

    /// The live workers, and when a build last asked for each.
    pub fn by_use(&self) -> Vec<(Instance, Instant)> {
        lock(&self.live).values().map(|known| (known.instance.clone(), known.opened)).collect()
    }

    /// Whether this process started that worker, and will be told of its end.
    pub fn is_child(&self, worker: &Instance) -> bool {
        lock(&self.live).get(&worker.id).is_some_and(|known| known.child && known.instance.pid == worker.pid)
    }

    /// Whether all workers were asked to end.
    pub fn are_leaving(&self) -> bool {
        self.leaving.load(Ordering::SeqCst)
    }

    fn note(&self, instance: &Instance, child: bool) {
        let folder = inode(instance.root.as_path());
        lock(&self.live).insert(instance.id, Known { instance: instance.clone(), child, opened: Instant::now(), folder });
    }

    /// The process of a project's worker, and the folder that it serves.
    fn known(&self, id: ProjectId) -> Option<(u32, Option<Inode>)> {
        lock(&self.live).get(&id).map(|known| (known.instance.pid, known.folder))
    }

    /// The worker `pid` is there no more.
    pub fn forget(&self, id: ProjectId, pid: u32) {
        let removed = {
            let mut live = lock(&self.live);
            live.get(&id).is_some_and(|known| known.instance.pid == pid) && live.remove(&id).is_some()
        };
        if removed {
            self.write_registry();
        }
    }

    /// Adopted workers are nobody's children: their sockets tell whether they live.
    fn drop_dead(&self) {
        for instance in self.instances() {
            if wire::connect(instance.socket.as_path(), HELLO_TIME).is_err() {
                self.forget(instance.id, instance.pid);
            }
        }
    }

    /// Says on disk for the last time which workers live: the process is about to end, and must not do so in the middle of
    /// writing.
    pub fn seal(&self) {
        self.write_registry();
        let _live = lock(&self.live);
        self.sealed.store(true, Ordering::SeqCst);
    }

    /// Says on disk which workers live.
    pub fn write_registry(&self) {
        // The lock is held until it is written: of two writers the later one knows more.
        let live = lock(&self.live);
        if self.sealed.load(Ordering::SeqCst) {
            return;
        }
        let mut all: Vec<Instance> = live.values().map(|known| known.instance.clone()).collect();
        all.sort_by(|a, b| a.slug.cmp(&b.slug));
        instances::write(&self.home.instances(), all);
    }
}

/// Waits until nobody answers there any more, for a while.
fn await_close(socket: &Path) {
    let deadline = Instant::now() + LEAVE_TIME;
    while wire::connect(socket, HELLO_TIME).is_ok() && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(1));
    }
}

fn is_running(pid: u32) -> bool {
    i32::try_from(pid).is_ok_and(|pid| nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), None).is_ok())
}

/// The process of the worker at `socket`, if one answers.
fn alive(socket: &Path) -> Option<u32> {
    let mut worker = Connection::connect(socket, HELLO_TIME).ok()?;
    worker.hello(env!("CARGO_PKG_VERSION")).ok().map(|hello| hello.pid)
}

/// The worker at `socket`, as it says itself who it is. One for a branch does not say which: its next build finds it.
fn presents_itself(socket: &Path) -> Option<Instance> {
    let mut worker = Connection::connect(socket, HELLO_TIME).ok()?;
    let ProjectStatus { id, root, pid, .. } = worker.call(method::STATUS, &serde_json::json!({})).ok()?;
    if ProjectId::new(&root, None) != id {
        return None;
    }
    let name = Project::find(root.as_path()).map_or_else(|_| String::from_utf8_lossy(root.file_name()).into_owned(), |p| p.name);
    Some(Instance { id, slug: id.slug(&name), root, branch: None, pid, socket: socket.into(), started_s: now_s() })
}
