//! Daemons that die, databases that are damaged, folders that cannot be written.

use std::fs;
use std::time::{Duration, Instant};

use vrift_core::action::{OutputState, Place};
use vrift_core::wire::{CoordinatorStatus, HelloResult, LookupResult, method};
use vrift_daemon::client::{ClientError, Connection, ensure_coordinator, running_coordinator};

use crate::bench::{Bench, SOON, kill, next_tick, wait_until};

fn status(bench: &Bench) -> CoordinatorStatus {
    bench.coordinator().call(method::STATUS, &serde_json::json!({})).expect("an answer")
}

#[test]
fn a_killed_worker_gets_a_successor_that_knows_as_much() {
    let bench = Bench::new();
    let checkout = bench.checkout("a");
    let first = checkout.open();
    let mut client = checkout.client();
    next_tick();
    client.build();
    wait_until("the result is in the manifest", || status(&bench).actions == 1);
    kill(first.pid);
    assert!(client.connection.hello("test").is_err());
    let second = checkout.open();
    assert_ne!(first.pid, second.pid);
    checkout.client().hit();
}

#[test]
fn a_client_that_dies_while_it_restores_leaves_nothing() {
    let bench = Bench::new();
    let checkout = bench.checkout("a");
    let mut client = checkout.client();
    next_tick();
    client.build();
    let mut sibling = checkout.client();
    client.hit();
    sibling.hit();
    // As it is in the middle of a copy. Others' files are none of its business.
    let (half, other) = (format!(".vrift-{}-0.tmp", std::process::id()), ".vrift-1-0.tmp");
    checkout.write(&format!("out/{half}"), "hal");
    checkout.write(&format!("out/{other}"), "hal");
    drop(client);
    wait_until("it is rolled back", || !checkout.root.join("out").join(&half).exists());
    assert!(checkout.root.join("out").join(other).exists());
    // One that says something else has finished what it was given.
    checkout.write(&format!("out/{half}"), "hal");
    sibling.status();
    drop(sibling);
    checkout.client().status();
    assert!(checkout.root.join("out").join(&half).exists());
}

#[test]
fn more_than_may_be_staged_is_run_and_said() {
    let bench = Bench::new();
    let checkout = bench.checkout("a");
    fs::create_dir_all(checkout.root.join(".vrift")).expect("creates");
    fs::write(checkout.root.join(".vrift/config.toml"), "[staging]\nmax_size = 3\n").expect("writes");
    let mut client = checkout.client();
    next_tick();
    let plan = client.miss();
    let mut params = client.run(plan);
    for output in &mut params.outputs {
        if let OutputState::File { place, .. } = &mut output.state {
            *place = Place::Copy;
        }
    }
    assert!(client.record(&params).stored);
    let LookupResult::Uncached { reason } = client.lookup() else { panic!("there is no room for it") };
    assert!(reason.contains("staging.max_size"), "{reason}");
    assert!(client.why("x.o").iter().any(|entry| entry.reason.contains("staging.max_size")));
}

#[test]
fn a_killed_coordinator_leaves_builds_alone_and_is_replaced() {
    let bench = Bench::new();
    let checkout = bench.checkout("a");
    let worker = checkout.open();
    let hello: HelloResult = bench.coordinator().hello("test").expect("an answer");
    let mut client = checkout.client();
    next_tick();
    client.build();
    wait_until("the result is in the manifest", || status(&bench).actions == 1);
    kill(hello.pid);
    client.hit();
    // What is recorded while nobody takes it says so, and serves this worker all the same.
    checkout.write("src/in.c", "int y;\n");
    next_tick();
    let plan = client.miss();
    let params = client.run(plan);
    client.record(&params);
    client.hit();
    // The worker has a coordinator started; that one finds the worker again, and gets the record.
    wait_until("a coordinator is back", || running_coordinator(&bench.home, SOON).is_ok());
    assert_eq!(checkout.open().pid, worker.pid);
    wait_until("the record arrives", || status(&bench).actions == 2);
}

#[test]
fn both_killed_and_everything_is_still_there() {
    let bench = Bench::new();
    let checkout = bench.checkout("a");
    let worker = checkout.open();
    let mut client = checkout.client();
    next_tick();
    client.build();
    wait_until("the result is in the manifest", || status(&bench).actions == 1);
    kill(bench.coordinator().hello("test").expect("an answer").pid);
    kill(worker.pid);
    checkout.client().hit();
}

#[test]
fn a_damaged_manifest_is_moved_aside_with_a_notice() {
    let bench = Bench::new();
    let checkout = bench.checkout("a");
    fs::create_dir_all(bench.home.dir()).expect("creates");
    fs::write(bench.home.manifest(), [0x5a; 20_000]).expect("writes");
    let mut client = checkout.client();
    wait_until("the notice is there", || status(&bench).notices.iter().any(|n| n.contains("damaged")));
    next_tick();
    client.build();
    client.hit();
    wait_until("the result is in the manifest", || status(&bench).actions == 1);
    let aside = fs::read_dir(bench.home.dir()).expect("lists").flatten();
    assert!(aside.map(|e| e.file_name()).any(|n| n.to_string_lossy().contains(".damaged-")));
}

#[test]
fn a_manifest_that_is_removed_in_use_is_begun_anew() {
    for part in ["manifest.db", "manifest.db-wal"] {
        let bench = Bench::new();
        let checkout = bench.checkout("a");
        let mut client = checkout.client();
        next_tick();
        client.build();
        wait_until("the result is in the manifest", || status(&bench).actions == 1);
        fs::remove_file(bench.home.dir().join(part)).expect("removes");
        checkout.write("src/in.c", "int y;\n");
        next_tick();
        client.build();
        wait_until("the notice is there", || status(&bench).notices.iter().any(|n| n.contains("while it was in use")));
        wait_until("the result is in the manifest", || status(&bench).actions == 1);
        // It reaches others.
        kill(checkout.open().pid);
        checkout.client().hit();
    }
}

#[test]
fn a_damaged_delta_is_moved_aside() {
    let bench = Bench::new();
    let checkout = bench.checkout("a");
    fs::create_dir(checkout.root.join(".vrift")).expect("creates");
    fs::write(checkout.root.join(".vrift/manifest.db"), [0x5a; 20_000]).expect("writes");
    let mut client = checkout.client();
    wait_until("the notice is there", || client.status().notices.iter().any(|n| n.contains("damaged")));
    next_tick();
    client.build();
    client.hit();
}

#[test]
fn a_manifest_of_a_newer_vrift_is_left_alone() {
    let bench = Bench::new();
    let checkout = bench.checkout("a");
    checkout.open();
    wait_until("the manifest is there", || bench.home.manifest().exists());
    wait_until("it is whole", || status(&bench).notices.is_empty());
    let (coordinator, worker) = (bench.coordinator().hello("test").expect("an answer").pid, checkout.open().pid);
    // In this order: a coordinator replaces its worker.
    kill(coordinator);
    kill(worker);
    let db = rusqlite::Connection::open(bench.home.manifest()).expect("opens");
    db.pragma_update(None, "user_version", 9999).expect("sets");
    drop(db);
    let mut client = checkout.client();
    match client.lookup() {
        LookupResult::Uncached { reason } => assert!(reason.contains("newer vrift"), "{reason}"),
        LookupResult::Miss(_) | LookupResult::Hit(_) => {
            // Before the reader has looked, a miss is an honest answer; nothing is stored all the same.
            wait_until("it is off", || matches!(client.lookup(), LookupResult::Uncached { .. }));
        }
    }
    assert!(client.summary().notice.expect("a notice").contains("newer"));
    let db = rusqlite::Connection::open(bench.home.manifest()).expect("opens");
    let version: i64 = db.pragma_query_value(None, "user_version", |row| row.get(0)).expect("reads");
    assert_eq!(version, 9999);
    let aside = fs::read_dir(bench.home.dir()).expect("lists").flatten();
    assert!(aside.map(|e| e.file_name()).all(|n| !n.to_string_lossy().contains("damaged")));
}

#[test]
fn a_project_that_cannot_be_written_has_its_state_elsewhere() {
    let bench = Bench::new();
    let checkout = bench.checkout("a");
    // A file in the folder's place refuses root, too.
    checkout.write(".vrift", "");
    let mut client = checkout.client();
    next_tick();
    client.build();
    client.hit();
    let opened = checkout.open();
    wait_until("its delta is there", || bench.home.project_fallback(opened.id).join("manifest.db").exists());
}

#[test]
fn a_state_folder_that_cannot_be_made_is_said_in_one_line() {
    let bench = Bench::new();
    fs::write(bench.home.dir(), "a file").expect("writes");
    match ensure_coordinator(&bench.home, &bench.path("bin/vriftd"), SOON) {
        Err(ClientError::Start { what, .. }) => assert!(what.contains("home"), "{what}"),
        other => panic!("{other:?}"),
    }
    match ensure_coordinator(&bench.home, &bench.path("bin/missing"), SOON) {
        Err(ClientError::Start { .. }) => {}
        other => panic!("{other:?}"),
    }
}

#[test]
fn stale_sockets_and_locks_are_no_obstacle() {
    let bench = Bench::new();
    let checkout = bench.checkout("a");
    let worker = checkout.open();
    kill(bench.coordinator().hello("test").expect("an answer").pid);
    kill(worker.pid);
    assert!(bench.home.coordinator_socket().exists() && worker.socket.as_path().exists());
    assert_ne!(checkout.open().pid, worker.pid);
}

#[test]
fn of_two_coordinators_the_one_that_can_be_reached_stays() {
    let bench = Bench::new();
    let old = bench.coordinator().hello("test").expect("an answer").pid;
    // The lock goes, too: nothing keeps another one from serving.
    fs::remove_dir_all(bench.home.run()).expect("removes");
    let new = bench.coordinator().hello("test").expect("an answer").pid;
    assert_ne!(old, new);
    let gone = || fs::read_to_string(format!("/proc/{old}/stat")).map_or(true, |stat| stat.contains(") Z"));
    // It looks around every ten seconds.
    let deadline = Instant::now() + 2 * SOON;
    while !gone() {
        assert!(Instant::now() < deadline, "the old one stays");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(bench.coordinator().hello("test").expect("an answer").pid, new);
}

#[test]
fn workers_that_are_not_listed_are_found_by_their_sockets() {
    let bench = Bench::new();
    let (first, second) = (bench.checkout("a").open(), bench.checkout("b").open());
    kill(bench.coordinator().hello("test").expect("an answer").pid);
    // As where a coordinator is killed before it has taken note of a worker, or in the middle of that on a full disk.
    fs::write(bench.home.instances(), "[{").expect("writes");
    bench.coordinator();
    let pids = || status(&bench).workers.iter().map(|worker| worker.pid).collect::<std::collections::BTreeSet<_>>();
    wait_until("both are found", || pids() == [first.pid, second.pid].into());
    let listed = fs::read_to_string(bench.home.instances()).expect("reads");
    assert!(listed.contains(&first.slug) && listed.contains(&second.slug), "{listed}");
}

#[test]
fn only_one_coordinator_serves() {
    let bench = Bench::new();
    let pids: Vec<u32> = std::thread::scope(|scope| {
        let start = || bench.coordinator().hello("test").expect("an answer").pid;
        let threads: Vec<_> = (0..6).map(|_| scope.spawn(start)).collect();
        threads.into_iter().map(|t| t.join().expect("joins")).collect()
    });
    assert!(pids.iter().all(|pid| *pid == pids[0]), "{pids:?}");
}

#[test]
fn another_build_takes_over_when_the_old_one_is_idle() {
    let bench = Bench::new();
    let checkout = bench.checkout("a");
    let old = checkout.open();
    let old_coordinator = bench.coordinator().hello("test").expect("an answer").pid;
    for name in ["bin/vriftd", "bin/vdir_d"] {
        fs::remove_file(bench.path(name)).expect("removes");
        fs::copy(env!("CARGO_BIN_EXE_vrift-daemons"), bench.path(name)).expect("copies");
    }
    wait_until("the new one serves", || bench.coordinator().hello("test").is_ok_and(|h| h.pid != old_coordinator));
    wait_until("the new worker serves", || checkout.open().pid != old.pid);
    checkout.client().miss();
}

#[test]
fn asked_to_end_they_leave_nothing_behind() {
    let bench = Bench::new();
    let checkout = bench.checkout("a");
    let worker = checkout.open();
    let mut client = checkout.client();
    next_tick();
    client.build();
    drop(client);
    assert!(bench.coordinator().shutdown(false).expect("an answer").stopping);
    wait_until("they are gone", || !bench.home.coordinator_socket().exists() && !worker.socket.as_path().exists());
    assert!(matches!(Connection::connect(worker.socket.as_path(), Duration::from_secs(1)), Err(ClientError::Unreachable { .. })));
    checkout.client().hit();
    let mut client = checkout.client();
    wait_until("totals go on", || client.status().lifetime.misses == 1);
}

#[test]
fn a_state_folder_that_is_cleaned_away_comes_back() {
    let bench = Bench::new();
    let checkout = bench.checkout("a");
    let mut client = checkout.client();
    next_tick();
    client.build();
    let delta = checkout.root.join(".vrift/manifest.db");
    wait_until("the delta is there", || delta.exists());
    fs::remove_dir_all(checkout.root.join(".vrift")).expect("removes");
    client.hit();
    checkout.write("src/in.c", "int y;\n");
    next_tick();
    client.build();
    wait_until("it is back", || delta.exists() && checkout.root.join(".vrift/.gitignore").exists());
}
