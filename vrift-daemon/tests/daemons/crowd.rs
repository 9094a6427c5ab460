//! Many projects and many clients at once.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use vrift_core::wire::{CoordinatorStatus, method};

use crate::bench::{Bench, Checkout, next_tick, wait_until};

const PROJECTS: usize = 32;
const CLIENTS: usize = 64;
const ROUNDS: u64 = 20;

fn status(bench: &Bench) -> CoordinatorStatus {
    bench.coordinator().call(method::STATUS, &serde_json::json!({})).expect("an answer")
}

/// Waits for all clients, for the `nth` time. No barrier: where one fails, the others are to fail as well.
fn meet(come: &AtomicUsize, nth: usize) {
    come.fetch_add(1, Ordering::SeqCst);
    let deadline = Instant::now() + Duration::from_secs(60);
    while come.load(Ordering::SeqCst) < nth * CLIENTS {
        assert!(Instant::now() < deadline, "one is missing");
        thread::sleep(Duration::from_millis(1));
    }
}

/// What one client does: the first of a project builds, while the other one asks about other things; then both look up.
fn use_it(checkout: &Checkout<'_>, builds: bool, session: String, come: &AtomicUsize) {
    meet(come, 1);
    // Each project is opened by two at once, too.
    let mut client = checkout.client();
    client.params.session = session;
    if builds {
        client.build();
    } else {
        for _ in 0..ROUNDS {
            assert_eq!(client.status().root.as_path(), checkout.root);
            client.why("x");
        }
    }
    meet(come, 2);
    for _ in 0..ROUNDS {
        assert_eq!(client.hit().stdio[0].text.0, client.said());
    }
    let summary = client.summary();
    let misses = u64::from(builds);
    assert_eq!((summary.lookups, summary.hits, summary.misses, summary.uncached), (ROUNDS + misses, ROUNDS, misses, 0));
}

#[test]
fn of_many_at_once_nobody_is_forgotten() {
    let bench = Bench::new();
    let checkouts: Vec<_> = (0..PROJECTS).map(|n| bench.checkout(&format!("p{n}"))).collect();
    for (n, checkout) in checkouts.iter().enumerate() {
        checkout.write("src/in.c", &format!("int x{n};\n"));
    }
    next_tick();
    let come = AtomicUsize::new(0);
    thread::scope(|scope| {
        for n in 0..CLIENTS {
            let (checkout, come) = (&checkouts[n % PROJECTS], &come);
            scope.spawn(move || use_it(checkout, n < PROJECTS, format!("{n:016x}"), come));
        }
    });
    wait_until("every record is in the manifest", || status(&bench).actions == PROJECTS as u64);
    let status = status(&bench);
    assert_eq!(status.workers.len(), PROJECTS);
    assert!(status.notices.is_empty(), "{:?}", status.notices);
}

#[test]
fn threads_that_nobody_needs_end() {
    let bench = Bench::new();
    let checkout = bench.checkout("a");
    let mut clients: Vec<_> = (0..6).map(|_| checkout.client()).collect();
    // Each has its thread once it has its answer.
    let pids: Vec<u32> = clients.iter_mut().map(|client| client.status().pid).collect();
    let pid = pids[0];
    let threads = || {
        let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).expect("lists").flatten();
        tasks.filter(|task| std::fs::read_to_string(task.path().join("comm")).is_ok_and(|name| name == "client\n")).count()
    };
    assert!(threads() >= 6, "one for each");
    drop(clients);
    let deadline = Instant::now() + Duration::from_secs(40);
    while threads() > 1 {
        assert!(Instant::now() < deadline, "{} are left", threads());
        thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(checkout.client().status().pid, pid, "one is enough");
}
