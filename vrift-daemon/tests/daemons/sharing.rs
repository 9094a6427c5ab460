//! Several checkouts, several clients.

use std::fs;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use vrift_core::wire::{BEAT, LookupResult, SILENCE, method};

use crate::bench::{Bench, Stopped, next_tick, wait_until};

#[test]
fn a_second_checkout_gets_the_result_with_its_own_paths() {
    let bench = Bench::new();
    let (a, b) = (bench.checkout("a"), bench.checkout("deeper/b"));
    let mut first = a.client();
    next_tick();
    first.build();
    let mut second = b.client();
    wait_until("the result is in the manifest", || matches!(second.lookup(), LookupResult::Hit(_)));
    let plan = second.hit();
    assert_eq!(plan.stdio[0].text.0, second.said());
    b.restore(&plan);
    let read = |root: &std::path::Path| fs::read(root.join("out/x.o")).expect("reads");
    assert_eq!(read(&b.root), read(&a.root));
    b.write("src/in.c", "int b;\n");
    let plan = second.miss();
    assert!(plan.reason.contains("{project}/src/in.c changed"), "{}", plan.reason);
}

#[test]
fn two_checkouts_that_need_the_same_at_once_compute_it_once() {
    let bench = Bench::new();
    let (a, b) = (bench.checkout("a"), bench.checkout("b"));
    let (mut first, mut second) = (a.client(), b.client());
    next_tick();
    let plan = first.miss();
    let (told, answer) = mpsc::channel();
    let waiting = thread::spawn(move || {
        let result = second.lookup();
        told.send(()).expect("told");
        result
    });
    assert!(answer.recv_timeout(Duration::from_millis(300)).is_err(), "the second waits for the first");
    let params = first.run(plan);
    assert!(first.record(&params).stored);
    assert!(matches!(waiting.join().expect("joins"), LookupResult::Hit(_)));
}

#[test]
fn one_that_waits_hears_that_the_daemons_are_there() {
    let bench = Bench::new();
    let (a, b) = (bench.checkout("a"), bench.checkout("b"));
    let (mut first, mut second) = (a.client(), b.client());
    next_tick();
    let plan = first.miss();
    let waiting = thread::spawn(move || {
        second.connection.set_timeout(2 * BEAT).expect("sets");
        second.lookup()
    });
    thread::sleep(5 * BEAT);
    let params = first.run(plan);
    assert!(first.record(&params).stored);
    assert!(matches!(waiting.join().expect("joins"), LookupResult::Hit(_)));
}

#[test]
fn a_coordinator_that_is_stopped_holds_nobody_up() {
    let bench = Bench::new();
    let (a, b) = (bench.checkout("a"), bench.checkout("b"));
    let (mut first, mut second, mut third) = (a.client(), b.client(), b.client());
    let stopped = Stopped::later(bench.coordinator().hello("test").expect("an answer").pid);
    next_tick();
    first.miss();
    let waiting = thread::spawn(move || {
        second.connection.set_timeout(SILENCE).expect("sets");
        second.lookup()
    });
    thread::sleep(2 * BEAT);
    stopped.now();
    assert!(matches!(waiting.join().expect("joins"), LookupResult::Miss(_)), "in the middle of its wait");
    third.connection.set_timeout(SILENCE).expect("sets");
    third.miss();
}

#[test]
fn other_sources_do_not_wait_for_each_other() {
    let bench = Bench::new();
    let (a, b) = (bench.checkout("a"), bench.checkout("b"));
    b.write("src/in.c", "int another;\n");
    let (mut first, mut second) = (a.client(), b.client());
    let _running = first.miss();
    second.connection.set_timeout(Duration::from_secs(3)).expect("sets");
    second.miss();
}

#[test]
fn a_client_that_dies_holds_nobody_up() {
    let bench = Bench::new();
    let (a, b) = (bench.checkout("a"), bench.checkout("b"));
    let (mut first, mut second) = (a.client(), b.client());
    first.miss();
    let waiting = thread::spawn(move || second.lookup());
    thread::sleep(Duration::from_millis(50));
    drop(first);
    assert!(matches!(waiting.join().expect("joins"), LookupResult::Miss(_)));
}

#[test]
fn an_abandoned_run_lets_the_next_one_go() {
    let bench = Bench::new();
    let (a, b) = (bench.checkout("a"), bench.checkout("b"));
    let (mut first, mut second) = (a.client(), b.client());
    let plan = first.miss();
    let waiting = thread::spawn(move || second.lookup());
    thread::sleep(Duration::from_millis(50));
    first.abandon(plan.key, None);
    assert!(matches!(waiting.join().expect("joins"), LookupResult::Miss(_)));
}

#[test]
fn a_slow_client_blocks_nobody() {
    let bench = Bench::new();
    let checkout = bench.checkout("a");
    let socket = checkout.open().socket;
    let slow: Vec<_> = (0..20)
        .map(|_| {
            let mut stream = vrift_core::wire::connect(socket.as_path(), Duration::from_secs(5)).expect("connects");
            std::io::Write::write_all(&mut stream, &[200, 0, 0, 0, b'{']).expect("writes");
            stream
        })
        .collect();
    let mut client = checkout.client();
    client.connection.set_timeout(Duration::from_secs(2)).expect("sets");
    client.miss();
    drop(slow);
}

#[test]
fn one_project_has_one_worker_however_many_ask() {
    let bench = Bench::new();
    let checkout = bench.checkout("a");
    let pids: Vec<u32> = thread::scope(|scope| {
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(|| checkout.open().pid)).collect();
        threads.into_iter().map(|t| t.join().expect("joins")).collect()
    });
    assert!(pids.iter().all(|pid| *pid == pids[0]), "{pids:?}");
    let other = bench.checkout("b").open();
    assert_ne!(other.pid, pids[0]);
    let status: vrift_core::wire::CoordinatorStatus =
        bench.coordinator().call(method::STATUS, &serde_json::json!({})).expect("an answer");
    assert_eq!(status.workers.len(), 2);
    assert!(status.notices.is_empty(), "{:?}", status.notices);
}
