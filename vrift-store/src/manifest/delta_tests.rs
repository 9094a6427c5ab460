//! Tests of the delta.

use rusqlite::Connection;
use vrift_core::home::Home;
use vrift_core::wire::KnownFile;

use super::*;
use crate::manifest::{BaseReader, BaseWriter, known_file};
use crate::state_dir;
use crate::testing::actions::project;

fn root() -> AbsPath {
    AbsPath::new(b"/w/a").expect("absolute")
}

fn at(path: &str) -> ProjectPath {
    ProjectPath::new(&root(), &root().join(path).expect("joins")).expect("inside")
}

fn file(n: u64, tier: Tier) -> DeltaEntry {
    let stamp = Stamp { dev: 1, ino: u64::MAX - n, size: n, mtime_ns: -5, ctime_ns: i64::MAX, mode: 0o100_644 };
    DeltaEntry::File(DeltaFile { digest: Digest::of(&n.to_le_bytes()), stamp, tier })
}

#[test]
fn entries_survive_and_the_last_word_counts() {
    let tmp = tempfile::tempdir().expect("tempdir");
    let mut delta = DeltaWriter::open(tmp.path(), project()).expect("opens");
    let entries =
        [(at("src/a.rs"), file(1, Tier::Plain)), (at(""), file(2, Tier::Immutable)), (at("gone"), DeltaEntry::Tombstone)];
    delta.put(&entries).expect("puts");
    delta.put(&[(at("src/a.rs"), file(3, Tier::Mutable)), (at("b"), DeltaEntry::Tombstone)]).expect("puts");
    delta.put(&[(at("b"), file(4, Tier::Plain))]).expect("a tombstone can be replaced");
    delta.remove(&[at(""), at("never there")]).expect("removes");
    drop(delta);
    let delta = DeltaWriter::open(tmp.path(), project()).expect("opens");
    let want = [(at("b"), file(4, Tier::Plain)), (at("gone"), DeltaEntry::Tombstone), (at("src/a.rs"), file(3, Tier::Mutable))];
    assert_eq!(delta.load_all().expect("loads"), want);
    assert_eq!(delta.get(&at("src/a.rs")).expect("reads"), Some(want[2].1));
    assert_eq!(delta.get(&at("src")).expect("reads"), None);
}

#[test]
fn a_copied_checkout_does_not_believe_the_other_ones_inodes() {
    let tmp = tempfile::tempdir().expect("tempdir");
    let mut delta = DeltaWriter::open(tmp.path(), project()).expect("opens");
    delta.put(&[(at("a"), file(1, Tier::Plain))]).expect("puts");
    drop(delta);
    let other = ProjectId::new(&AbsPath::new(b"/w/copy").expect("absolute"), None);
    assert_eq!(DeltaWriter::open(tmp.path(), other).expect("opens").load_all().expect("loads"), []);
}

#[test]
fn a_damaged_delta_is_moved_aside() {
    let tmp = tempfile::tempdir().expect("tempdir");
    std::fs::write(DeltaWriter::file(tmp.path()), [7; 4096]).expect("write");
    assert!(DeltaWriter::open(tmp.path(), project()).expect_err("damaged").is_corrupt());
    let (delta, notice) = DeltaWriter::open_or_rebuild(tmp.path(), project()).expect("opens");
    assert!(notice.expect("says so").contains("manifest.db.damaged-1"));
    assert_eq!(delta.load_all().expect("loads"), []);
}

#[test]
fn damage_that_shows_only_on_reading_is_found_on_loading() {
    let damages: [fn(&std::path::Path); 3] = [
        // A page in the middle.
        |file| {
            let mut bytes = std::fs::read(file).expect("reads");
            let middle = bytes.len() / 2 / 4096 * 4096;
            bytes[middle..middle + 4096].fill(0xa5);
            std::fs::write(file, bytes).expect("writes");
        },
        // A value that is none of ours.
        |file| {
            sql(file, "PRAGMA ignore_check_constraints = ON; UPDATE files SET digest = x'00' WHERE path = CAST('300' AS BLOB)")
        },
        // Another table in the place of ours.
        |file| sql(file, "DROP TABLE files; CREATE TABLE files (other INTEGER)"),
    ];
    for damage in damages {
        let tmp = tempfile::tempdir().expect("tempdir");
        let rows: Vec<_> = (0..2000).map(|n: u64| (at(&n.to_string()), file(n, Tier::Plain))).collect();
        let mut delta = DeltaWriter::open(tmp.path(), project()).expect("opens");
        delta.put(&rows).expect("puts");
        drop(delta);
        damage(&DeltaWriter::file(tmp.path()));
        let (delta, loaded, notice) = DeltaWriter::open_and_load(tmp.path(), project()).expect("opens");
        assert!(loaded.is_empty() && notice.expect("says so").contains("manifest.db.damaged-1"));
        assert_eq!(delta.load_all().expect("loads"), []);
    }
}

fn sql(file: &std::path::Path, text: &str) {
    Connection::open(file).expect("opens").execute_batch(text).expect("runs");
}

#[test]
fn paths_that_leave_the_project_are_passed_over() {
    let tmp = tempfile::tempdir().expect("tempdir");
    let delta = DeltaWriter::open(tmp.path(), project()).expect("opens");
    let raw = Connection::open(DeltaWriter::file(tmp.path())).expect("opens");
    for path in ["../../etc/passwd", "/etc/passwd", "a//b", "a/./b", "a\0b"] {
        raw.execute("INSERT INTO files (path) VALUES (?)", [path.as_bytes()]).expect("inserts");
    }
    assert_eq!(delta.load_all().expect("loads"), []);
}

#[test]
fn the_delta_speaks_before_the_base() {
    let tmp = tempfile::tempdir().expect("tempdir");
    let home = Home::at(tmp.path().join("home"));
    let mut delta = DeltaWriter::open(tmp.path(), project()).expect("opens");
    let mut writer = BaseWriter::open(&home).expect("opens");
    let base = BaseReader::open(&home).expect("opens");
    let path = |name: &str| root().join(name).expect("joins");
    let known = |name: &str| KnownFile { path: path(name), stamp: Stamp::default(), digest: Digest::of(b"base") };
    let outside = KnownFile { path: AbsPath::new(b"/usr/x").expect("absolute"), ..known("x") };
    writer.insert_files(&[known("both"), known("base"), known("deleted"), outside.clone()]).expect("inserts");
    delta.put(&[(at("both"), file(1, Tier::Plain)), (at("deleted"), DeltaEntry::Tombstone)]).expect("puts");
    let ask = |path: &AbsPath| known_file(&delta, &base, &root(), path).expect("reads").map(|(digest, _)| digest);
    assert_eq!(ask(&path("both")), Some(Digest::of(&1_u64.to_le_bytes())));
    assert_eq!(ask(&path("base")), Some(Digest::of(b"base")));
    assert_eq!(ask(&path("deleted")), None);
    assert_eq!(ask(&path("unknown")), None);
    assert_eq!(ask(&outside.path), Some(Digest::of(b"base")));
}

#[test]
fn the_delta_lives_in_the_projects_state_folder() {
    let tmp = tempfile::tempdir().expect("tempdir");
    let root = AbsPath::try_from(tmp.path()).expect("absolute");
    let dir = state_dir::prepare(&Home::at(tmp.path().join("home")), project(), &root).expect("prepares");
    DeltaWriter::open(&dir, project()).expect("opens");
    assert!(tmp.path().join(".vrift/manifest.db").is_file());
}
