//! Workers that die or hang, and are replaced without anybody asking.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill as signal};
use nix::unistd::Pid;
use vrift_daemon::client::Connection;
use vrift_daemon::processes;

use crate::bench::{Bench, kill, next_tick, wait_until};

/// A second is the shortest interval.
fn checked_every_second() -> Bench {
    let bench = Bench::new();
    fs::create_dir_all(bench.home.dir()).expect("creates");
    fs::write(bench.home.config(), "[daemon]\nhealth_check = 1\n").expect("writes");
    bench
}

/// The worker that answers at `socket`.
fn who(socket: &Path) -> Option<u32> {
    let mut worker = Connection::connect(socket, Duration::from_millis(500)).ok()?;
    worker.hello("test").ok().map(|hello| hello.pid)
}

#[test]
fn a_killed_worker_comes_back_by_itself() {
    let bench = Bench::new();
    let checkout = bench.checkout("a");
    let neighbour = bench.checkout("b").open();
    let first = checkout.open();
    let mut client = checkout.client();
    next_tick();
    client.build();
    kill(first.pid);
    wait_until("another one serves", || who(first.socket.as_path()).is_some_and(|pid| pid != first.pid));
    let second = checkout.open();
    assert_eq!(who(first.socket.as_path()), Some(second.pid), "nobody starts a third one");
    wait_until("the registry knows it", || {
        fs::read_to_string(bench.home.instances()).is_ok_and(|text| text.contains(&format!(": {}", second.pid)))
    });
    assert_eq!(who(neighbour.socket.as_path()), Some(neighbour.pid), "the other project's worker is as it was");
}

#[test]
fn a_stuck_worker_is_killed_and_replaced() {
    let bench = checked_every_second();
    let checkout = bench.checkout("a");
    let first = checkout.open();
    signal(Pid::from_raw(first.pid as i32), Signal::SIGSTOP).expect("stops");
    wait_until("another one serves", || who(first.socket.as_path()).is_some_and(|pid| pid != first.pid));
}

#[test]
fn a_stuck_worker_is_killed_where_all_are_to_end() {
    let bench = Bench::new();
    let (stuck, well) = (bench.checkout("a").open(), bench.checkout("b").open());
    signal(Pid::from_raw(stuck.pid as i32), Signal::SIGSTOP).expect("stops");
    assert!(bench.coordinator().shutdown(false).expect("an answer").stopping);
    wait_until("they are gone", || [stuck.pid, well.pid].iter().all(|pid| processes::is_gone_within(*pid, Instant::now())));
}

#[test]
fn one_that_is_killed_without_its_socket_stays_away() {
    let bench = checked_every_second();
    let opened = bench.checkout("a").open();
    fs::remove_file(opened.socket.as_path()).expect("removes");
    kill(opened.pid);
    std::thread::sleep(Duration::from_millis(2500));
    assert!(!opened.socket.as_path().exists());
}

#[test]
fn who_cannot_be_reached_makes_room_at_once() {
    let bench = Bench::new();
    let checkout = bench.checkout("a");
    let (coordinator, worker) = (bench.coordinator().hello("test").expect("an answer").pid, checkout.open());
    let began = Instant::now();
    fs::remove_file(bench.home.coordinator_socket()).expect("removes");
    assert_ne!(bench.coordinator().hello("test").expect("an answer").pid, coordinator);
    assert_eq!(checkout.open().pid, worker.pid, "the worker goes on");
    fs::remove_file(worker.socket.as_path()).expect("removes");
    assert_ne!(checkout.open().pid, worker.pid);
    // They look around every ten seconds without being told to.
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
}

#[test]
fn a_checkout_that_is_made_again_gets_another_worker() {
    let bench = Bench::new();
    let checkout = bench.checkout("a");
    let first = checkout.open();
    fs::rename(bench.path("a"), bench.path("away")).expect("renames");
    fs::remove_dir_all(bench.path("away")).expect("removes");
    fs::create_dir_all(bench.path("a")).expect("creates");
    let second = checkout.open();
    assert_ne!(second.pid, first.pid);
    assert_eq!(checkout.open().pid, second.pid, "it stays");
    assert_eq!(who(second.socket.as_path()), Some(second.pid));
}

#[test]
fn an_adopted_worker_is_looked_after_too() {
    let bench = checked_every_second();
    let checkout = bench.checkout("a");
    let first = checkout.open();
    kill(bench.coordinator().hello("test").expect("an answer").pid);
    let coordinator = bench.coordinator().hello("test").expect("an answer").pid;
    wait_until("it is found", || checkout.open().pid == first.pid);
    kill(first.pid);
    wait_until("another one serves", || who(first.socket.as_path()).is_some_and(|pid| pid != first.pid));
    assert_eq!(bench.coordinator().hello("test").expect("an answer").pid, coordinator);
}

#[test]
fn a_worker_that_was_asked_to_end_stays_away() {
    let bench = checked_every_second();
    let checkout = bench.checkout("a");
    let first = checkout.open();
    let mut worker = Connection::connect(first.socket.as_path(), Duration::from_secs(1)).expect("connects");
    assert!(worker.shutdown(false).expect("an answer").stopping);
    drop(worker);
    wait_until("it is gone", || !first.socket.as_path().exists());
    std::thread::sleep(Duration::from_millis(2500));
    assert!(!first.socket.as_path().exists());
}

#[test]
fn one_that_fails_again_and_again_is_tried_ever_more_rarely() {
    let bench = Bench::new();
    let checkout = bench.checkout("a");
    let first = checkout.open();
    let (program, tries) = (bench.path("bin/vdir_d"), bench.path("tries"));
    fs::remove_file(&program).expect("removes");
    fs::write(&program, format!("#!/bin/sh\necho x >> {}\nexit 1\n", tries.display())).expect("writes");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("chmod");
    kill(first.pid);
    let count = || fs::read_to_string(&tries).map_or(0, |text| text.lines().count());
    wait_until("it is tried again", || count() >= 3);
    std::thread::sleep(Duration::from_secs(1));
    // Pauses of 0, 100, 200, 400, 800 ms: no more than that in a second and a bit.
    assert!(count() <= 6, "{}", count());
}
