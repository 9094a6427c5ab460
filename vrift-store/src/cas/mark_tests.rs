//! Tests of the mark.

use std::cell::Cell;

use super::*;
use crate::testing::Bench;

/// Writes a mark of another boot.
fn unclean(cas: &Cas, time_ns: i64) {
    fs::create_dir_all(cas.dir()).expect("mkdir");
    fs::write(cas.mark_path(), format!("{time_ns} some-earlier-boot\n")).expect("write");
}

thread_local! {
    /// What this thread's stores are to suspect, instead of what mark and boot say.
    pub(super) static PRETENDED: Cell<Option<Suspicion>> = const { Cell::new(None) };
}

/// As if everything that is there now were from before the boot.
fn pretend_changed_after(changed_after: i64) {
    PRETENDED.set(Some(Suspicion::Those { changed_after, born_before: i64::MAX }));
}

#[test]
fn within_one_boot_nothing_is_suspect() {
    let bench = Bench::new();
    let blob = bench.cas.insert_bytes(b"x").expect("inserts");
    assert_eq!(bench.cas.sync_mark().expect("syncs"), Recovery::default());
    let mark = bench.cas.mark().expect("written");
    assert_eq!(Some(mark.boot), boot_id());
    assert!(mark.time_ns < now_ns() && mark.time_ns > now_ns() - 60_000_000_000);
    assert!(!Cas::open(bench.cas.dir()).suspects(&blob));
}

#[test]
fn what_came_between_mark_and_boot_is_suspect() {
    let boot = 1_000 * 1_000_000_000;
    let mark = |time_ns: i64, boot: &str| Some(Mark { time_ns, boot: boot.to_owned() });
    let now = Some("now".to_owned());
    assert_eq!(Suspicion::new(mark(5, "now"), now.clone(), boot), Suspicion::None);
    let born_before = boot + BOOT_SLACK_NS;
    assert_eq!(Suspicion::new(mark(5, "then"), now.clone(), boot), Suspicion::Those { changed_after: 5, born_before });
    // No mark, a mark of a clock that was wrong, no /proc: in doubt, look.
    let all = Suspicion::Those { changed_after: i64::MIN, born_before };
    assert_eq!(Suspicion::new(None, now.clone(), boot), all);
    assert_eq!(Suspicion::new(mark(i64::MAX, "then"), now, boot), all);
    assert_eq!(Suspicion::new(mark(5, ""), None, boot), Suspicion::Those { changed_after: 5, born_before });
}

#[test]
fn a_suspect_is_hashed_before_its_first_use() {
    let bench = Bench::new();
    let good = bench.cas.insert_bytes(b"good").expect("inserts");
    let lost = bench.cas.insert_bytes(b"lost").expect("inserts");
    // What a power cut leaves: the size is there, the bytes are not.
    let path = bench.cas.path(&lost);
    fs::remove_file(&path).expect("unlink");
    fs::write(&path, b"\0\0\0\0").expect("write");
    fsio::utime_path(&path, crate::cas::BLOB_MTIME).expect("utimes");
    fsio::chmod_path(&path, 0o444).expect("chmod");

    pretend_changed_after(0);
    let after = Cas::open(bench.cas.dir());
    assert!(matches!(after.check(&lost), Err(BlobFault::Changed { .. })));
    after.check(&good).expect("hashed and sound");
    // Another name comes and goes, as when a checkout is cleaned: it is suspect still.
    fs::hard_link(&path, bench.path("name")).expect("link");
    fs::remove_file(bench.path("name")).expect("unlink");
    assert!(after.check(&lost).is_err());
    pretend_changed_after(i64::MAX - 1);
    Cas::open(bench.cas.dir()).check(&lost).expect("a mark that vouches for it");
    PRETENDED.set(Some(Suspicion::Those { changed_after: 0, born_before: 1 }));
    Cas::open(bench.cas.dir()).check(&lost).expect("born after the boot");

    // Setting a mark looks at all of them first.
    pretend_changed_after(0);
    let recovery = bench.cas.sync_mark().expect("syncs");
    PRETENDED.set(None);
    assert_eq!(recovery, Recovery { hashed: 2, quarantined: 1 });
    assert!(matches!(after.check(&lost), Err(BlobFault::Missing { .. })));
    // A process that was suspicious notices the mark.
    assert!(!after.suspects(&good) && after.all_durable.load(Ordering::Relaxed));
}

#[test]
fn a_mark_of_another_boot_is_replaced_only_after_a_look_at_the_suspects() {
    let bench = Bench::new();
    bench.cas.insert_bytes(b"x").expect("inserts");
    unclean(&bench.cas, 0);
    // This machine booted more than the slack ago, or else the blob counts as a suspect: both are fine here.
    bench.cas.sync_mark().expect("syncs");
    assert_eq!(bench.cas.mark().map(|mark| Some(mark.boot)), Some(boot_id()));
    assert_eq!(bench.cas.recover().expect("nothing left"), Recovery::default());
}

#[test]
fn garbage_in_the_mark_is_no_mark() {
    let bench = Bench::new();
    fs::create_dir_all(bench.cas.dir()).expect("mkdir");
    for text in ["", "x", "x y", "99999999999999999999999 b", "\u{0}\u{0}\u{0}"] {
        fs::write(bench.cas.mark_path(), text).expect("write");
        assert_eq!(bench.cas.mark(), None, "{text:?}");
        assert_ne!(bench.cas.read_suspicion(), Suspicion::None);
    }
}
