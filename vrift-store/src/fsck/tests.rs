//! Tests of verifying and repairing.

use std::os::unix::fs::{MetadataExt, PermissionsExt};

use vrift_core::digest::Digest;

use super::*;
use crate::cas::Ingest;
use crate::manifest::DeltaWriter;
use crate::testing::actions::{insert, project, record};
use crate::testing::{Bench, names, read};

struct Place {
    bench: Bench,
    home: Home,
}

impl Place {
    fn new() -> Self {
        let bench = Bench::new();
        let home = Home::at(bench.tmp.path().join("home")).with_source(bench.cas.dir().to_owned());
        Self { bench, home }
    }

    fn blob(&self, content: &[u8]) -> Blob {
        self.bench.cas.insert_bytes(content).expect("inserts")
    }

    fn base(&self) -> BaseWriter {
        BaseWriter::open(&self.home).expect("opens")
    }

    /// Says what is found, without and with repair; afterwards nothing is left.
    fn check(&self, state_dirs: &[PathBuf]) -> Vec<Finding> {
        let look = |repair| fsck(&self.home, state_dirs, repair).expect("runs").findings;
        let seen = look(false);
        assert!(seen.iter().all(|finding| !finding.action.is_empty()));
        let again = look(false);
        assert_eq!(again, seen, "looking changes nothing");
        let repaired = look(true);
        let what = |list: &[Finding]| list.iter().map(|f| (f.path.clone(), f.problem.clone())).collect::<Vec<_>>();
        assert!(what(&seen).iter().all(|finding| what(&repaired).contains(finding)), "{seen:?} {repaired:?}");
        assert!(repaired.iter().all(|finding| !finding.action.contains("could not")), "{repaired:?}");
        assert_eq!(look(true), [], "one repair is enough");
        repaired
    }
}

/// Overwrites a file that may be read-only, and puts mode and time back as they were.
fn secretly_write(path: &Path, content: &[u8]) {
    let before = fs::metadata(path).expect("stat");
    fs::set_permissions(path, fs::Permissions::from_mode(0o644)).expect("chmod");
    fs::write(path, content).expect("write");
    fsio::utime_path(path, before.mtime()).expect("utimes");
    fs::set_permissions(path, before.permissions()).expect("chmod");
}

#[test]
fn nothing_there_is_nothing_wrong() {
    let place = Place::new();
    assert_eq!(fsck(&place.home, &[], true).expect("runs"), Report::default());
    assert!(!place.home.manifest().exists());
}

#[test]
fn a_sound_store_has_no_findings() {
    let place = Place::new();
    let blobs = [place.blob(b"one"), place.blob(b""), place.blob(b"three")];
    place.base().insert_actions(&[insert(record("a", b"", &blobs))]).expect("inserts");
    for repair in [false, true] {
        let report = fsck(&place.home, &[], repair).expect("runs");
        assert_eq!(report, Report { findings: Vec::new(), blobs: 3, bytes: 8, actions: 1 });
    }
}

#[test]
fn wrong_content_goes_to_the_quarantine_and_its_actions_are_forgotten() {
    let place = Place::new();
    let (good, bad) = (place.blob(b"good"), place.blob(b"bad!"));
    let actions = [insert(record("keeps", b"", &[good])), insert(record("loses", b"", &[bad, good]))];
    let ids = place.base().insert_actions(&actions).expect("inserts");
    secretly_write(&place.bench.cas.path(&bad), b"BAD!");
    place.bench.cas.check(&bad).expect("one stat does not tell");
    let findings = place.check(&[]);
    assert_eq!(findings[0].path, place.bench.cas.path(&bad));
    assert_eq!(findings[0].action, "moved to the quarantine");
    assert_eq!(names(&place.bench.cas.quarantine_dir()).len(), 1);
    let base = place.base();
    assert_eq!(base.audit().uses().expect("reads").iter().map(|a| a.id).collect::<Vec<_>>(), [ids[0]]);
    assert_eq!(base.counts().expect("counts").blobs, 1);
}

#[test]
fn a_blob_that_was_only_touched_gets_a_fresh_copy_and_the_checkout_keeps_its_file() {
    let place = Place::new();
    let path = place.bench.file("lib.rlib", b"archive", 0o644);
    let (content, stamp) = read(&path);
    let blob = place.bench.cas.ingest_file(&path, Ingest::Link, Digest::of(&content), &stamp).expect("ingests");
    place.base().insert_actions(&[insert(record("a", b"", &[blob]))]).expect("inserts");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("chmod");
    let before = fs::metadata(&path).expect("stat");
    let findings = place.check(&[]);
    assert_eq!((findings.len(), findings[0].action.as_str()), (1, "replaced by a fresh copy"));
    place.bench.cas.verify(&blob).expect("sound");
    let after = fs::metadata(&path).expect("stat");
    assert_eq!((after.mode(), after.mtime(), after.ino()), (before.mode(), before.mtime(), before.ino()));
    assert_eq!(place.base().counts().expect("counts").actions, 1);
}

#[test]
fn a_truncated_blob_and_a_stray_go_to_the_quarantine() {
    let place = Place::new();
    let blob = place.blob(b"whole");
    let path = place.bench.cas.path(&blob);
    secretly_write(&path, b"wh");
    let stray = path.with_file_name("core.1234");
    fs::write(&stray, b"x").expect("write");
    place.check(&[]);
    assert!(!path.exists() && !stray.exists());
    assert_eq!(names(&place.bench.cas.quarantine_dir()), [format!("{}.0", blob.file_name()), "stray-core.1234.0".to_owned()]);
}

#[test]
fn manifest_and_store_are_brought_together() {
    let place = Place::new();
    let gone = place.blob(b"gone");
    place.base().insert_actions(&[insert(record("a", b"", &[gone]))]).expect("inserts");
    place.bench.cas.remove(&gone).expect("removes");
    let unknown = place.blob(b"unknown");
    let findings = place.check(&[]);
    assert_eq!(findings.len(), 2, "{findings:?}");
    let base = place.base();
    assert_eq!(base.counts().expect("counts").actions, 0);
    assert_eq!(base.audit().blobs().expect("reads").into_iter().collect::<Vec<_>>(), [unknown]);
}

#[test]
fn a_blob_that_no_action_needs_is_nothing_wrong() {
    let place = Place::new();
    drop(place.base());
    place.blob(b"its action never came");
    assert_eq!(fsck(&place.home, &[], false).expect("runs").findings, []);
}

#[test]
fn a_record_that_cannot_be_read_is_forgotten() {
    let place = Place::new();
    place.base().insert_actions(&["a", "b"].map(|key| insert(record(key, b"", &[])))).expect("inserts");
    let raw = rusqlite::Connection::open(place.home.manifest()).expect("opens");
    raw.execute("UPDATE actions SET record = x'0102' WHERE label LIKE 'b %'", []).expect("writes");
    drop(raw);
    let findings = place.check(&[]);
    assert!(findings[0].problem.contains("b 1.0.0 lib"), "{findings:?}");
    assert_eq!(place.base().candidates(&Digest::of(b"a")).expect("reads").len(), 1);
}

#[test]
fn a_damaged_manifest_is_replaced() {
    let place = Place::new();
    let blob = place.blob(b"kept");
    drop(place.base());
    fs::write(place.home.manifest(), vec![9; 8192]).expect("write");
    for part in ["-wal", "-shm"] {
        let _ = fs::remove_file(place.home.dir().join(format!("manifest.db{part}")));
    }
    let findings = place.check(&[]);
    assert_eq!(findings[0].action, "moved aside and replaced by a new one");
    assert!(place.home.dir().join("manifest.db.damaged-1").exists());
    assert!(place.base().audit().blobs().expect("reads").contains(&blob));
}

#[test]
fn pages_that_were_overwritten_are_found() {
    let place = Place::new();
    let actions: Vec<_> = (0..200).map(|n: u32| insert(record(&n.to_string(), b"", &[]))).collect();
    let mut base = place.base();
    base.insert_actions(&actions).expect("inserts");
    base.shrink().expect("checkpoints");
    drop(base);
    let mut bytes = fs::read(place.home.manifest()).expect("read");
    assert!(bytes.len() > 12 * 4096, "{}", bytes.len());
    // Some page in the middle: opening does not meet it.
    let middle = bytes.len() / 2 / 4096 * 4096;
    bytes[middle..middle + 8192].fill(0xa5);
    fs::write(place.home.manifest(), bytes).expect("write");
    let findings = place.check(&[]);
    assert!(findings[0].problem.contains("damaged"), "{findings:?}");
}

#[test]
fn a_newer_manifest_is_left_alone() {
    let place = Place::new();
    drop(place.base());
    let raw = rusqlite::Connection::open(place.home.manifest()).expect("opens");
    raw.execute_batch("PRAGMA user_version = 99").expect("sql");
    drop(raw);
    let before = fs::read(place.home.manifest()).expect("read");
    for repair in [false, true] {
        let findings = fsck(&place.home, &[], repair).expect("runs").findings;
        assert_eq!((findings.len(), findings[0].action.as_str()), (1, "left alone"));
    }
    assert_eq!(fs::read(place.home.manifest()).expect("read"), before);
}

#[test]
fn a_damaged_delta_is_moved_aside() {
    let place = Place::new();
    let (good, bad) = (place.bench.path("good"), place.bench.path("bad"));
    for dir in [&good, &bad] {
        fs::create_dir(dir).expect("mkdir");
        DeltaWriter::open(dir, project()).expect("opens");
    }
    fs::write(DeltaWriter::file(&bad), vec![9; 8192]).expect("write");
    let none = place.bench.path("none");
    let findings = place.check(&[good.clone(), bad.clone(), none]);
    assert_eq!((findings.len(), &findings[0].path), (1, &bad));
    assert!(DeltaWriter::file(&good).exists() && !DeltaWriter::file(&bad).exists());
}
