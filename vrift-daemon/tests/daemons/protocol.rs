//! Bad input gets an error and does no harm.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use serde_json::{Value, json};
use vrift_core::PROTOCOL_VERSION;
use vrift_core::wire::{self, FrameError, LookupResult, code, method};
use vrift_daemon::client::{ClientError, Connection};

use crate::bench::{Bench, SOON};

fn say(stream: &mut UnixStream, bytes: &[u8]) -> Value {
    stream.write_all(&(bytes.len() as u32).to_le_bytes()).expect("writes");
    stream.write_all(bytes).expect("writes");
    serde_json::from_slice(&wire::read_frame(stream).expect("reads")).expect("json")
}

#[test]
fn nonsense_is_answered_and_the_connection_lives() {
    let bench = Bench::new();
    let socket = bench.checkout("a").open().socket;
    for socket in [socket.as_path(), &bench.home.coordinator_socket()] {
        let mut stream = wire::connect(socket, SOON).expect("connects");
        for (request, code) in [
            (&b"{"[..], code::PARSE_ERROR),
            (b"\xff\xfe", code::PARSE_ERROR),
            (b"[1,2]", code::INVALID_REQUEST),
            (br#"{"jsonrpc":"2.0","method":"no.such","id":1}"#, code::METHOD_NOT_FOUND),
            (br#"{"jsonrpc":"2.0","method":"hello","params":{"protocol":"x"},"id":1}"#, code::INVALID_PARAMS),
        ] {
            assert_eq!(say(&mut stream, request)["error"]["code"], json!(code), "{}", String::from_utf8_lossy(request));
        }
        let hello = json!({"jsonrpc":"2.0","method":"hello","params":{"protocol":PROTOCOL_VERSION,"build":"t"},"id":2});
        let hello = say(&mut stream, hello.to_string().as_bytes());
        assert_eq!(hello["result"]["protocol"], json!(PROTOCOL_VERSION));
    }
}

#[test]
fn frames_beyond_the_limit_end_the_connection() {
    let bench = Bench::new();
    let socket = bench.checkout("a").open().socket;
    let mut stream = wire::connect(socket.as_path(), SOON).expect("connects");
    stream.write_all(&u32::MAX.to_le_bytes()).expect("writes");
    let answer: Value = serde_json::from_slice(&wire::read_frame(&mut stream).expect("reads")).expect("json");
    assert_eq!(answer["error"]["code"], json!(code::LIMIT));
    assert!(matches!(wire::read_frame(&mut stream), Err(FrameError::Closed | FrameError::Io(_))));
}

#[test]
fn another_protocol_is_refused_by_name() {
    let bench = Bench::new();
    let checkout = bench.checkout("a");
    let mut client = checkout.client();
    client.params.protocol += 1;
    match client.connection.call::<_, LookupResult>(method::ACTION_LOOKUP, &client.params) {
        Err(ClientError::Rpc(e)) => assert_eq!(e.code, code::VERSION_MISMATCH),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_root_that_is_no_folder_is_refused() {
    let bench = Bench::new();
    let params = json!({"protocol": PROTOCOL_VERSION, "root": "/no/such/folder", "branch": null, "name": "x"});
    match bench.coordinator().call::<_, Value>(method::PROJECT_OPEN, &params) {
        Err(ClientError::Rpc(e)) => assert_eq!(e.code, code::INVALID_PARAMS),
        other => panic!("{other:?}"),
    }
}

#[test]
fn sockets_are_private_and_daemons_keep_nothing_of_their_starter() {
    let bench = Bench::new();
    let checkout = bench.checkout("a");
    // A descriptor without close-on-exec, as a jobserver's.
    let (pipe, _writer) = UnixStream::pair().expect("pair");
    let fd = nix::fcntl::fcntl(&pipe, nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::empty())).expect("fcntl");
    assert_eq!(fd, 0);
    let opened = checkout.open();
    let coordinator = bench.coordinator().hello("test").expect("an answer").pid;
    let mode = |path: &std::path::Path| fs::metadata(path).expect("exists").permissions().mode() & 0o777;
    assert_eq!(mode(&bench.home.run()), 0o700);
    assert_eq!(mode(opened.socket.as_path()), 0o600);
    assert_eq!(mode(&bench.home.coordinator_socket()), 0o600);
    let mine = fs::read_link(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&pipe))).expect("reads");
    for pid in [opened.pid, coordinator] {
        let fds = fs::read_dir(format!("/proc/{pid}/fd")).expect("lists").flatten();
        assert!(fds.filter_map(|e| fs::read_link(e.path()).ok()).all(|target| target != mine), "{pid}");
        assert_eq!(fs::read_link(format!("/proc/{pid}/cwd")).expect("reads"), std::path::Path::new("/"));
        let environ = fs::read(format!("/proc/{pid}/environ")).expect("reads");
        assert!(!environ.windows(14).any(|w| w == b"CARGO_MANIFEST"), "{pid}");
    }
}

#[test]
fn a_socket_path_may_be_long() {
    let bench = Bench::new();
    let home = vrift_core::home::Home::at(bench.path(&"deep/".repeat(30)));
    let mut coordinator =
        vrift_daemon::client::ensure_coordinator(&home, &bench.path("bin/vriftd"), SOON).expect("a coordinator");
    let checkout = bench.checkout("a");
    let project = vrift_core::root::Project::at(&checkout.root, vrift_core::root::RootKind::Explicit, None).expect("a project");
    let opened = vrift_daemon::client::open_project(&mut coordinator, &project).expect("a worker");
    assert!(opened.socket.len() > 108);
    let mut worker = Connection::connect(opened.socket.as_path(), SOON).expect("connects");
    assert_eq!(worker.hello("test").expect("an answer").pid, opened.pid);
    coordinator.shutdown(false).expect("an answer");
}

#[test]
fn a_client_that_says_nothing_gets_nothing() {
    let bench = Bench::new();
    let socket = bench.checkout("a").open().socket;
    let mut stream = wire::connect(socket.as_path(), Duration::from_millis(100)).expect("connects");
    assert!(stream.read(&mut [0; 1]).is_err());
}
