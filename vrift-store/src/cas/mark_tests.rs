//! Tests of the mark.

use super::*;
use crate::testing::Bench;

/// Writes a mark of another boot.
fn unclean(cas: &Cas, time_ns: i64) {
    fs::create_dir_all(cas.dir()).expect("mkdir");
    fs::write(cas.mark_path(), format!("{time_ns} some-earlier-boot\n")).expect("write");
}

/// Bounds that make everything that is changed from now on look as if it were from before the boot.
fn everything_after(mark: i64) -> Suspicion {
    Suspicion::Between { after: mark, before: i64::MAX }
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
    let before = boot + BOOT_SLACK_NS;
    assert_eq!(Suspicion::new(mark(5, "then"), now.clone(), boot), Suspicion::Between { after: 5, before });
    // No mark, a mark of a clock that was wrong, no /proc: in doubt, look.
    let all = Suspicion::Between { after: i64::MIN, before };
    assert_eq!(Suspicion::new(None, now.clone(), boot), all);
    assert_eq!(Suspicion::new(mark(i64::MAX, "then"), now, boot), all);
    assert_eq!(Suspicion::new(mark(5, ""), None, boot), Suspicion::Between { after: 5, before });
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

    let after = Cas::open(bench.cas.dir());
    after.mark.set(everything_after(0)).expect("fresh");
    assert!(matches!(after.check(&lost), Err(BlobFault::Changed { .. })));
    after.check(&good).expect("hashed and sound");
    let vouched = Cas::open(bench.cas.dir());
    vouched.mark.set(everything_after(i64::MAX)).expect("fresh");
    vouched.check(&lost).expect("the quick check alone cannot see it");
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
