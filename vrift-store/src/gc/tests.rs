//! Tests of garbage collection on real files.

use std::path::PathBuf;

use vrift_core::home::Home;

use super::*;
use crate::cas::Ingest;
use crate::testing::actions::{insert, record};
use crate::testing::{Bench, read};

/// Bytes on the disk of each blob here.
const SIZE: usize = 64 * 1024;

struct Store {
    bench: Bench,
    base: BaseWriter,
    at: i64,
}

impl Store {
    fn new() -> Self {
        let bench = Bench::new();
        let base = BaseWriter::open(&Home::at(bench.tmp.path().join("home"))).expect("opens");
        Self { bench, base, at: 0 }
    }

    fn blob(&self, fill: u8) -> Blob {
        self.bench.cas.insert_bytes(&vec![fill; SIZE]).expect("inserts")
    }

    /// Stores an action that is used later than all before it.
    fn action(&mut self, key: &str, blobs: &[Blob]) -> i64 {
        self.at += 1;
        self.base.insert_actions_at(&[insert(record(key, b"", blobs))], self.at).expect("inserts")[0]
    }

    /// Stores a file that a checkout keeps linked.
    fn linked(&self, fill: u8) -> (Blob, PathBuf) {
        let path = self.bench.file(&fill.to_string(), &vec![fill; SIZE], 0o644);
        let (content, stamp) = read(&path);
        (self.bench.cas.ingest_file(&path, Ingest::Link, Digest::of(&content), &stamp).expect("ingests"), path)
    }

    fn gc(&mut self, max_bytes: usize) -> GcResult {
        self.gc_with(GcOptions { grace: Duration::ZERO, ..GcOptions::with_cap(max_bytes as u64) })
    }

    fn gc_with(&mut self, options: GcOptions) -> GcResult {
        // Every number in the result is checked against the disk.
        let before = self.bench.cas.totals().expect("counts");
        let result = gc(&mut self.base, &self.bench.cas, &options).expect("collects");
        let after = self.bench.cas.totals().expect("counts");
        assert_eq!(result.bytes_before, before.disk);
        if options.dry_run {
            assert_eq!(after, before);
        } else {
            assert_eq!((result.bytes_after, result.blobs_removed), (after.disk, before.blobs - after.blobs));
            assert_eq!(self.base.counts().expect("counts").actions, self.base.audit().uses().expect("reads").len() as u64);
        }
        // No action refers to a blob that is gone.
        for action in self.base.audit().uses().expect("reads") {
            assert!(action.blobs.iter().all(|blob| self.has(blob)), "{}", action.label);
        }
        result
    }

    fn has(&self, blob: &Blob) -> bool {
        self.bench.cas.check(blob).is_ok()
    }

    fn actions(&self) -> Vec<i64> {
        self.base.audit().uses().expect("reads").iter().map(|action| action.id).collect()
    }
}

#[test]
fn an_empty_store_is_fine() {
    let mut store = Store::new();
    assert_eq!(store.gc(0), GcResult::default());
}

#[test]
fn the_least_recently_used_actions_go_until_the_cap_is_met() {
    let mut store = Store::new();
    let blobs: Vec<Blob> = (0..4).map(|n| store.blob(n)).collect();
    let ids: Vec<i64> = blobs.iter().enumerate().map(|(n, blob)| store.action(&n.to_string(), &[*blob])).collect();
    store.base.touch_at(&[ids[0]], &[], 100).expect("touches");
    assert_eq!(store.gc(4 * SIZE).blobs_removed, 0);
    let result = store.gc(2 * SIZE);
    assert_eq!((result.actions_removed, result.blobs_removed, result.blobs_in_use), (2, 2, 0));
    assert_eq!(result.bytes_after, 2 * SIZE as u64);
    assert_eq!(store.actions(), [ids[3], ids[0]]);
    assert_eq!(blobs.iter().map(|blob| store.has(blob)).collect::<Vec<_>>(), [true, false, false, true]);
    assert_eq!(store.base.counts().expect("counts").blobs, 2);
    let result = store.gc(0);
    assert_eq!((result.bytes_after, result.actions_removed), (0, 2));
}

#[test]
fn a_blob_goes_with_the_last_action_that_needs_it() {
    let mut store = Store::new();
    let (shared, own) = (store.blob(1), store.blob(2));
    store.action("old", &[shared, own]);
    let young = store.action("young", &[shared]);
    let result = store.gc(SIZE);
    assert_eq!((result.actions_removed, result.blobs_removed), (1, 1));
    assert_eq!(store.actions(), [young]);
    assert!(store.has(&shared) && !store.has(&own));
}

#[test]
fn a_blob_that_a_checkout_links_stays_and_costs_nothing() {
    let mut store = Store::new();
    let (linked, path) = store.linked(1);
    let keeps = store.action("linked", &[linked]);
    let mixed_blob = store.blob(2);
    store.action("mixed", &[linked, mixed_blob]);
    let loose = store.blob(3);
    store.action("loose", &[loose]);
    // The oldest action stays: evicting it would free nothing.
    let result = store.gc(0);
    assert_eq!((result.actions_removed, result.blobs_removed, result.blobs_in_use), (2, 2, 1));
    assert_eq!(store.actions(), [keeps]);
    assert!(store.has(&linked));
    assert_eq!(std::fs::read(&path).expect("untouched"), vec![1; SIZE]);
    // Once the checkout is gone, so is the reason.
    std::fs::remove_file(path).expect("unlink");
    let result = store.gc(0);
    assert_eq!((result.actions_removed, result.blobs_removed, result.bytes_after), (1, 1, 0));
}

#[test]
fn blobs_without_an_action_go_first_but_not_at_once() {
    let mut store = Store::new();
    let (needed, orphan) = (store.blob(1), store.blob(2));
    let id = store.action("a", &[needed]);
    let fresh = store.gc_with(GcOptions::with_cap(u64::MAX));
    assert_eq!(fresh.blobs_removed, 0, "it may be about to be recorded");
    assert!(store.has(&orphan));
    assert_eq!(store.gc(usize::MAX).blobs_removed, 1);
    assert!(store.has(&needed) && !store.has(&orphan));
    assert_eq!(store.actions(), [id]);
}

#[test]
fn what_something_else_needs_is_kept() {
    let mut store = Store::new();
    let (kept, other) = (store.blob(1), store.blob(2));
    let mut options = GcOptions { grace: Duration::ZERO, ..GcOptions::with_cap(0) };
    options.keep.insert(kept.digest);
    store.gc_with(options);
    assert!(store.has(&kept) && !store.has(&other));
}

#[test]
fn a_dry_run_tells_the_same_and_does_nothing() {
    let mut store = Store::new();
    for n in 0..5 {
        let blob = store.blob(n);
        store.action(&n.to_string(), &[blob]);
    }
    let ids = store.actions();
    let options = GcOptions { grace: Duration::ZERO, dry_run: true, ..GcOptions::with_cap(2 * SIZE as u64) };
    let told = store.gc_with(options);
    assert_eq!(store.actions(), ids);
    assert_eq!(store.gc(2 * SIZE), told);
}

#[test]
fn the_number_of_actions_has_a_limit_too() {
    let mut store = Store::new();
    let (linked, _path) = store.linked(1);
    let ids: Vec<i64> = (0..5).map(|n| store.action(&n.to_string(), &[linked])).collect();
    let result = store.gc_with(GcOptions { max_actions: 2, ..GcOptions::with_cap(u64::MAX) });
    assert_eq!((result.actions_removed, result.blobs_removed), (3, 0));
    assert_eq!(store.actions(), ids[3..]);
}

#[test]
fn leftovers_go_when_they_are_old() {
    let mut store = Store::new();
    store.blob(1);
    let temp = store.bench.cas.tmp_dir().join(".vrift-1-1.tmp");
    std::fs::write(&temp, b"half").expect("write");
    store.gc(usize::MAX);
    assert!(temp.exists(), "its process may be alive");
    std::thread::sleep(Duration::from_millis(1100));
    sweep(&store.bench.cas.tmp_dir(), Duration::from_secs(1));
    assert!(!temp.exists());
}

#[test]
fn the_default_cap_leaves_most_of_a_small_disk_alone() {
    let cap = default_cap(&Cas::open("/nowhere/at/all"));
    assert!(cap > 0 && cap <= DEFAULT_CAP);
    let Some(disk) = crate::testing::SmallDisk::new("10m") else { return };
    let cap = default_cap(&Cas::open(disk.path().join("not/yet")));
    assert_eq!(cap, 1 << 20);
}

#[test]
fn what_a_killed_process_left_goes_and_what_a_live_one_makes_stays() {
    let store = Store::new();
    store.blob(1);
    let mut child = std::process::Command::new("true").spawn().expect("starts");
    child.wait().expect("ends");
    let temp = |process: u32| store.bench.cas.tmp_dir().join(format!(".vrift-{process}-7.tmp"));
    let (dead, alive, strange) = (temp(child.id()), temp(std::process::id()), store.bench.cas.tmp_dir().join("notes"));
    for path in [&dead, &alive, &strange] {
        fs::write(path, b"half of it").expect("writes");
    }
    sweep_dead(&store.bench.cas, DEAD_TEMP);
    assert!(dead.exists(), "not at once");
    std::thread::sleep(Duration::from_millis(20));
    sweep_dead(&store.bench.cas, Duration::from_millis(1));
    assert!(!dead.exists() && alive.exists() && strange.exists());
}
