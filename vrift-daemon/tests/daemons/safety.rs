//! What keeps others out, and one bad client from the rest.

use std::fs::{self, Permissions};
use std::io::{Read, Write};
use std::os::unix::fs::{PermissionsExt, chown, lchown, symlink};
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use vrift_core::wire::{self, FrameError, Reply, code, method};
use vrift_daemon::client::{ClientError, Connection, ensure_coordinator};

use crate::bench::{Bench, SOON, wait_until};

/// A user who is nobody here.
const STRANGER: u32 = 65_534;

/// Set in processes that [`as_stranger`] starts: the socket that they are about.
const SOCKET: &str = "DAEMONS_TEST_SOCKET";

fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("exists").permissions().mode() & 0o7777
}

/// Runs the test `name` as another user, in a process of its own. `dir` becomes a folder that everybody can use.
fn as_stranger(name: &str, dir: &Path, socket: &Path) -> Child {
    let copy = dir.join("test-binary");
    fs::copy(std::env::current_exe().expect("own path"), &copy).expect("copies");
    for path in [dir, &copy] {
        fs::set_permissions(path, Permissions::from_mode(0o755)).expect("chmod");
    }
    let mut command = Command::new(copy);
    command.args(["--exact", name, "--nocapture"]).env(SOCKET, socket).current_dir("/").uid(STRANGER).gid(STRANGER);
    command.stdout(Stdio::null());
    command.spawn().expect("starts")
}

/// In a process that [`as_stranger`] started: the socket.
fn inner() -> Option<PathBuf> {
    std::env::var_os(SOCKET).map(PathBuf::from)
}

#[test]
fn daemons_have_a_session_and_a_mask_of_their_own() {
    let bench = Bench::new();
    // One that answers has left its starter.
    let worker = bench.checkout("a").client().status().pid;
    let coordinator = bench.coordinator().hello("test").expect("an answer").pid;
    let of = |pid: u32| nix::unistd::getsid(Some(nix::unistd::Pid::from_raw(pid as i32))).expect("a session").as_raw() as u32;
    for pid in [worker, coordinator] {
        assert_eq!(of(pid), pid);
        let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("reads");
        assert!(status.contains("Umask:\t0077"), "{status}");
    }
}

#[test]
fn folders_become_private_before_they_are_used() {
    let bench = Bench::new();
    fs::create_dir_all(bench.home.run()).expect("creates");
    for dir in [bench.home.dir(), &bench.home.run()] {
        fs::set_permissions(dir, Permissions::from_mode(0o777)).expect("chmod");
    }
    let checkout = bench.checkout("a");
    fs::create_dir(checkout.root.join(".vrift")).expect("creates");
    checkout.open();
    wait_until("the project's folder is there", || checkout.root.join(".vrift/.gitignore").exists());
    for dir in [bench.home.dir(), &bench.home.run(), &bench.home.log(), &checkout.root.join(".vrift")] {
        assert_eq!(mode(dir), 0o700, "{}", dir.display());
    }
}

#[test]
fn a_folder_that_is_not_ours_is_not_used() {
    if !is_root() {
        return;
    }
    let refused = |bench: &Bench, what: &str| match ensure_coordinator(&bench.home, &bench.path("bin/vriftd"), SOON) {
        Err(ClientError::Start { what: said, .. }) => assert!(said.contains(what), "{said}"),
        other => panic!("{other:?}"),
    };
    let bench = Bench::new();
    fs::create_dir(bench.home.dir()).expect("creates");
    chown(bench.home.dir(), Some(STRANGER), None).expect("chown");
    refused(&bench, "belongs to another user");

    let bench = Bench::new();
    fs::create_dir(bench.path("real")).expect("creates");
    symlink(bench.path("real"), bench.home.dir()).expect("links");
    lchown(bench.home.dir(), Some(STRANGER), None).expect("lchown");
    refused(&bench, "a link that another user made");
    lchown(bench.home.dir(), Some(0), None).expect("lchown");
    bench.coordinator();
    assert_eq!(mode(&bench.path("real")), 0o700);
}

#[test]
fn another_user_is_turned_away() {
    if let Some(socket) = inner() {
        let mut stream = UnixStream::connect(socket).expect("the folder is open");
        let hello = wire::encode(&json!({"jsonrpc": "2.0", "method": "hello", "params": {}, "id": 1})).expect("encodes");
        // The daemon may have hung up by now.
        let _ = stream.write_all(&hello);
        stream.set_read_timeout(Some(SOON)).expect("sets");
        assert!(matches!(stream.read(&mut [0; 1]), Ok(0) | Err(_)), "not a word");
        return;
    }
    if !is_root() {
        return;
    }
    let bench = Bench::new();
    let worker = bench.checkout("a").open().socket;
    for socket in [worker.as_path(), &bench.home.coordinator_socket()] {
        // As if somebody had opened everything.
        for dir in [bench.home.dir(), &bench.home.run()] {
            fs::set_permissions(dir, Permissions::from_mode(0o755)).expect("chmod");
        }
        fs::set_permissions(socket, Permissions::from_mode(0o666)).expect("chmod");
        let mut stranger = as_stranger("safety::another_user_is_turned_away", &bench.path(""), socket);
        assert!(stranger.wait().expect("ends").success());
        assert!(Connection::connect(socket, SOON).expect("connects").hello("test").is_ok());
    }
}

#[test]
fn a_daemon_of_another_user_is_not_believed() {
    if let Some(socket) = inner() {
        let listener = UnixListener::bind(socket).expect("binds");
        let _held = listener.accept();
        return;
    }
    if !is_root() {
        return;
    }
    let bench = Bench::new();
    let open = bench.path("open");
    fs::create_dir(&open).expect("creates");
    fs::set_permissions(&open, Permissions::from_mode(0o777)).expect("chmod");
    let socket = open.join("s.sock");
    let mut stranger = as_stranger("safety::a_daemon_of_another_user_is_not_believed", &bench.path(""), &socket);
    wait_until("it listens", || socket.exists());
    let refused = |e: std::io::Error| e.kind() == std::io::ErrorKind::PermissionDenied;
    wait_until("it is refused", || wire::connect(&socket, SOON).is_err_and(refused));
    stranger.wait().expect("ends");
}

#[test]
fn a_flood_is_slowed_down_and_nobody_else_notices() {
    let bench = Bench::new();
    let worker = bench.checkout("a").open().socket;
    for socket in [worker.as_path(), &bench.home.coordinator_socket()] {
        let hello = wire::encode(&json!({"jsonrpc": "2.0", "method": "hello", "params": {"protocol": 1, "build": "t"}, "id": 1}));
        let hello = hello.expect("encodes");
        std::thread::scope(|scope| {
            let flood = scope.spawn(|| {
                let mut stream = wire::connect(socket, SOON).expect("connects");
                let began = Instant::now();
                for _ in 0..35 {
                    stream.write_all(&hello.repeat(100)).expect("writes");
                    for _ in 0..100 {
                        let json = wire::read_frame(&mut stream).expect("an answer");
                        assert!(serde_json::from_slice::<Reply<Value>>(&json).expect("json").error.is_none());
                    }
                }
                began.elapsed()
            });
            let mut slowest = Duration::ZERO;
            while !flood.is_finished() {
                let began = Instant::now();
                Connection::connect(socket, SOON).expect("connects").hello("test").expect("an answer");
                slowest = slowest.max(began.elapsed());
                std::thread::sleep(Duration::from_millis(20));
            }
            let took = flood.join().expect("joins");
            assert!(took > Duration::from_millis(1400), "3500 requests took {took:?}");
            assert!(slowest < Duration::from_secs(1), "another client waited {slowest:?}");
        });
    }
}

#[test]
fn one_that_never_reads_blocks_nobody() {
    let bench = Bench::new();
    let checkout = bench.checkout("a");
    let socket = checkout.open().socket;
    let ask = wire::encode(&json!({"jsonrpc": "2.0", "method": "status", "params": {}, "id": 1})).expect("encodes");
    let deaf: Vec<_> = (0..20)
        .map(|_| {
            let mut stream = wire::connect(socket.as_path(), Duration::from_millis(50)).expect("connects");
            // Until neither side has room.
            while stream.write_all(&ask).is_ok() {}
            stream
        })
        .collect();
    let mut client = checkout.client();
    client.connection.set_timeout(Duration::from_secs(2)).expect("sets");
    client.miss();
    drop(deaf);
}

#[test]
fn the_silent_make_room_where_there_are_many() {
    let bench = Bench::new();
    let checkout = bench.checkout("a");
    let socket = checkout.open().socket;
    let silent: Vec<_> = (0..600).map(|_| wire::connect(socket.as_path(), SOON).expect("connects")).collect();
    let deadline = Instant::now() + 3 * SOON;
    while checkout.client().status().clients > 520 {
        assert!(Instant::now() < deadline, "they stay");
        std::thread::sleep(Duration::from_millis(100));
    }
    let left = |stream: &&UnixStream| stream.set_nonblocking(true).is_ok() && (&**stream).read(&mut [0]).is_err();
    assert!((400..600).contains(&silent.iter().filter(left).count()), "no more than necessary");
}

#[test]
fn deep_nesting_is_an_error_and_no_crash() {
    let bench = Bench::new();
    let socket = bench.checkout("a").open().socket;
    for socket in [socket.as_path(), &bench.home.coordinator_socket()] {
        let mut stream = wire::connect(socket, SOON).expect("connects");
        let deep = "[".repeat(1_000_000);
        let params =
            format!(r#"{{"jsonrpc":"2.0","method":"{}","params":{}{},"id":1}}"#, method::HELLO, deep, "]".repeat(1_000_000));
        for (request, codes) in
            [(&deep, [code::PARSE_ERROR, code::INVALID_REQUEST]), (&params, [code::PARSE_ERROR, code::INVALID_PARAMS])]
        {
            stream.write_all(&(request.len() as u32).to_le_bytes()).expect("writes");
            stream.write_all(request.as_bytes()).expect("writes");
            let answer: Value = serde_json::from_slice(&wire::read_frame(&mut stream).expect("an answer")).expect("json");
            assert!(codes.iter().any(|code| answer["error"]["code"] == json!(code)), "{answer}");
        }
        let again = wire::read_frame(&mut stream);
        assert!(matches!(again, Err(FrameError::Io(_))), "and nothing more: {again:?}");
    }
}
