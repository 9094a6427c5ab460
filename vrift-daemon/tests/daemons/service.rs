//! `vriftd` as systemd starts it: these tests speak systemd's side of its two protocols, sd_listen_fds(3) and sd_notify(3).

use std::fs::DirBuilder;
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill as signal};
use nix::unistd::Pid;
use vrift_core::wire;
use vrift_daemon::client::{Connection, ensure_coordinator};
use vrift_daemon::processes;

use crate::bench::{Bench, SOON, Stopped, wait_until};

/// What systemd listens with before it starts the service, and what it hears from it.
struct Systemd<'a> {
    bench: &'a Bench,
    heard: UnixDatagram,
    notify: String,
}

impl<'a> Systemd<'a> {
    fn new(bench: &'a Bench, notify: &str) -> Self {
        let address = match notify.strip_prefix('@') {
            Some(name) => SocketAddr::from_abstract_name(name).expect("an address"),
            None => SocketAddr::from_pathname(notify).expect("an address"),
        };
        let heard = UnixDatagram::bind_addr(&address).expect("binds");
        heard.set_read_timeout(Some(SOON)).expect("sets");
        Self { bench, heard, notify: notify.to_owned() }
    }

    /// Listens where clients of the bench connect. What is there already gives way, as with systemd.
    fn listen(&self) -> UnixListener {
        DirBuilder::new().recursive(true).mode(0o700).create(self.bench.home.run()).expect("creates");
        let socket = self.bench.home.coordinator_socket();
        let _ = std::fs::remove_file(&socket);
        wire::bind(&socket).expect("binds")
    }

    /// The service, with the socket as descriptor 3. A shell puts it there, and knows the number of the process to come.
    fn start(&self, socket: &UnixListener, variables: &str) -> Child {
        let set = "LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=vriftd.socket";
        let script = format!("{set} {variables} exec \"$@\" 3<&0 </dev/null");
        let mut command = Command::new("sh");
        command.args(["-c", &script, "sh"]).arg(self.bench.path("bin/vriftd")).args(["--serve", "--home"]);
        command.arg(self.bench.home.dir()).env("NOTIFY_SOCKET", &self.notify);
        command.stdin(Stdio::from(OwnedFd::from(socket.try_clone().expect("another")))).spawn().expect("starts")
    }

    /// Waits until the service says `line`; everything that it said so far.
    fn hear(&self, line: &str) -> Vec<String> {
        let mut all = Vec::new();
        loop {
            let mut text = [0; 512];
            let len = self.heard.recv(&mut text).unwrap_or_else(|e| panic!("no {line} among {all:?}: {e}"));
            all.extend(String::from_utf8_lossy(&text[..len]).lines().map(str::to_owned));
            if all.iter().any(|heard| heard == line) {
                return all;
            }
        }
    }
}

fn end(mut service: Child, by: Signal) -> std::process::ExitStatus {
    signal(Pid::from_raw(service.id() as i32), by).expect("is there");
    service.wait().expect("ends")
}

#[test]
fn a_socket_that_is_handed_over_is_served_and_stays() {
    let bench = Bench::new();
    let notify = bench.path("notify").to_string_lossy().into_owned();
    let systemd = Systemd::new(&bench, &notify);
    let socket = systemd.listen();
    // A client that comes first makes systemd start the service, and is answered by it.
    let mut early = Connection::connect(&bench.home.coordinator_socket(), SOON).expect("connects");
    let service = systemd.start(&socket, "");
    assert_eq!(early.hello("test").expect("an answer").pid, service.id());
    systemd.hear("READY=1");
    let mut found = ensure_coordinator(&bench.home, &bench.path("bin/vriftd"), SOON).expect("a coordinator");
    assert_eq!(found.hello("test").expect("an answer").pid, service.id(), "no other one is started");
    let worker = bench.checkout("a").open();
    drop((early, found));
    assert!(end(service, Signal::SIGTERM).success());
    systemd.hear("STOPPING=1");
    assert!(bench.home.coordinator_socket().exists(), "it is systemd's");
    let by = Instant::now() + SOON;
    assert!(processes::is_gone_within(worker.pid, by), "whoever stops a service means all of it");
    // And the next client starts it again.
    let mut next = Connection::connect(&bench.home.coordinator_socket(), SOON).expect("connects");
    let service = systemd.start(&socket, "");
    assert_eq!(next.hello("test").expect("an answer").pid, service.id());
    end(service, Signal::SIGTERM);
    drop(socket);
}

#[test]
fn a_service_that_fails_leaves_its_workers_to_the_next() {
    let bench = Bench::new();
    let systemd = Systemd::new(&bench, &format!("@vrift-test-{}-fails", std::process::id()));
    let socket = systemd.listen();
    let service = systemd.start(&socket, "");
    systemd.hear("READY=1");
    let worker = bench.checkout("a").client().status().pid;
    end(service, Signal::SIGKILL);
    let service = systemd.start(&socket, "");
    systemd.hear("READY=1");
    wait_until("the worker is found", || bench.checkout("a").open().pid == worker);
    end(service, Signal::SIGTERM);
    drop(socket);
}

#[test]
fn the_watchdog_hears_from_one_that_is_well() {
    let bench = Bench::new();
    let systemd = Systemd::new(&bench, &format!("@vrift-test-{}-watchdog", std::process::id()));
    let socket = systemd.listen();
    let service = systemd.start(&socket, "WATCHDOG_USEC=400000 WATCHDOG_PID=$$");
    systemd.hear("READY=1");
    let began = Instant::now();
    for _ in 0..3 {
        systemd.hear("WATCHDOG=1");
    }
    assert!(began.elapsed() < Duration::from_secs(3));
    let stopped = Stopped::later(service.id());
    stopped.now();
    // What was on its way arrives.
    std::thread::sleep(Duration::from_millis(50));
    systemd.heard.set_nonblocking(true).expect("sets");
    while systemd.heard.recv(&mut [0; 512]).is_ok() {}
    std::thread::sleep(Duration::from_secs(1));
    assert!(systemd.heard.recv(&mut [0; 512]).is_err(), "one that is stopped is not well");
    drop(stopped);
    end(service, Signal::SIGTERM);
    drop(socket);
}

#[test]
fn one_that_was_started_by_hand_makes_room_for_the_service() {
    let bench = Bench::new();
    let mut by_hand = bench.coordinator();
    let first = by_hand.hello("test").expect("an answer").pid;
    drop(by_hand);
    let systemd = Systemd::new(&bench, &format!("@vrift-test-{}-room", std::process::id()));
    let socket = systemd.listen();
    let service = systemd.start(&socket, "");
    systemd.heard.set_read_timeout(Some(2 * SOON)).expect("sets");
    systemd.hear("READY=1");
    assert!(processes::is_gone_within(first, Instant::now()));
    let mut found = bench.coordinator();
    assert_eq!(found.hello("test").expect("an answer").pid, service.id());
    drop(found);
    end(service, Signal::SIGTERM);
    drop(socket);
}

#[test]
fn sockets_for_somebody_else_are_left_alone() {
    let bench = Bench::new();
    let elsewhere = UnixListener::bind(bench.path("other.sock")).expect("binds");
    let systemd = Systemd::new(&bench, &format!("@vrift-test-{}-else", std::process::id()));
    let service = systemd.start(&elsewhere, "LISTEN_PID=1");
    systemd.hear("READY=1");
    assert_eq!(bench.coordinator().hello("test").expect("an answer").pid, service.id(), "it listens by itself");
    end(service, Signal::SIGKILL);
    let mut service = systemd.start(&elsewhere, "");
    assert!(!service.wait().expect("ends").success(), "nobody would find it there");
}

#[test]
fn a_service_of_another_build_is_not_restarted_for_ever() {
    let bench = Bench::new();
    let systemd = Systemd::new(&bench, &format!("@vrift-test-{}-build", std::process::id()));
    let socket = systemd.listen();
    let service = systemd.start(&socket, "");
    systemd.hear("READY=1");
    // The program that clients would start is another one than systemd starts.
    let other = bench.path("other");
    std::fs::create_dir(&other).expect("creates");
    std::fs::copy(bench.path("bin/vriftd"), other.join("vriftd")).expect("copies");
    let restarted = std::thread::scope(|scope| {
        let again = scope.spawn(|| {
            let mut service = service;
            assert!(service.wait().expect("ends").success());
            systemd.start(&socket, "")
        });
        let mut found = ensure_coordinator(&bench.home, &other.join("vriftd"), SOON).expect("a coordinator");
        let service = again.join().expect("joins");
        // The one that made room may have taken the connection along.
        let pid =
            found.hello("test").map_or_else(|_| bench.coordinator().hello("test").expect("an answer").pid, |hello| hello.pid);
        assert_eq!(pid, service.id());
        service
    });
    end(restarted, Signal::SIGTERM);
    drop(socket);
}
