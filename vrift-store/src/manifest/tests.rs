//! Tests of both manifests on real databases.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use rusqlite::Connection;
use vrift_core::home::Home;
use vrift_core::wire::InsertParams;

use super::*;
use crate::cas::{Blob, Cas};
use crate::testing::actions::{full, insert, record};
use crate::testing::{NOBODY, SmallDisk, dir_of, inner, is_root, mode, names, passes_alone, rerun};

fn home() -> (tempfile::TempDir, Home) {
    let tmp = tempfile::tempdir().expect("tempdir");
    let home = Home::at(tmp.path().join("home"));
    (tmp, home)
}

fn blob(n: u64) -> Blob {
    Blob { digest: Digest::of(&n.to_le_bytes()), size: n, exec: n % 2 == 1 }
}

fn known(path: &str, n: u64) -> KnownFile {
    KnownFile {
        path: AbsPath::new(path.as_bytes()).expect("absolute"),
        stamp: Stamp { dev: u64::MAX, ino: n, size: n, mtime_ns: -1, ctime_ns: 5, mode: 0o100_644 },
        digest: Digest::of(path.as_bytes()),
    }
}

#[test]
fn actions_are_found_newest_first_by_another_connection() {
    let (_tmp, home) = home();
    assert!(matches!(BaseReader::open(&home), Err(ManifestError::Missing { .. })));
    let mut writer = BaseWriter::open(&home).expect("opens");
    let reader = BaseReader::open(&home).expect("opens");
    let version = reader.data_version().expect("reads");
    let records = [record("a", b"one", &[blob(1)]), record("a", b"two", &[blob(2), blob(1)]), record("b", b"one", &[])];
    let ids = writer.insert_actions(&records.clone().map(insert)).expect("inserts");
    assert_ne!(reader.data_version().expect("reads"), version);
    let found = reader.candidates(&records[0].key).expect("reads");
    let want: Vec<_> = [1, 0].map(|n| StoredAction { id: ids[n], record: records[n].clone() }).into();
    assert_eq!(found, want);
    assert_eq!(reader.candidate_ids(&records[0].key).expect("reads"), [ids[1], ids[0]]);
    assert_eq!(reader.action(ids[0]).expect("reads").as_ref(), Some(&want[1]));
    assert_eq!(reader.action(12345).expect("reads"), None);
    assert_eq!(reader.nearest("a 1.0.0 lib").expect("reads"), Some(want[0].clone()));
    assert_eq!(reader.nearest("nothing").expect("reads"), None);
    assert_eq!(reader.candidates(&Digest::of(b"unknown")).expect("reads"), []);
    let counts = Counts { actions: 3, blobs: 2, blob_bytes: 3, files: 0 };
    assert_eq!(reader.counts().expect("counts"), counts);
    let everything = full(300);
    writer.insert_actions(&[insert(everything.clone())]).expect("inserts");
    assert_eq!(reader.candidates(&everything.key).expect("reads")[0].record, everything);
}

#[test]
fn the_same_action_again_is_a_use_and_another_result_replaces_it() {
    let (_tmp, home) = home();
    let mut base = BaseWriter::open(&home).expect("opens");
    let first = insert(record("a", b"one", &[blob(1)]));
    let id = base.insert_actions_at(std::slice::from_ref(&first), 100).expect("inserts")[0];
    let again = InsertParams { record: vrift_core::action::ActionRecord { wall_us: 7, ..first.record.clone() }, ..first.clone() };
    assert_eq!(base.insert_actions_at(&[again], 200).expect("inserts"), [id]);
    assert_eq!(base.counts().expect("counts").actions, 1);

    let other = insert(record("a", b"one", &[blob(2)]));
    let new = base.insert_actions_at(std::slice::from_ref(&other), 300).expect("inserts")[0];
    assert!(new > id);
    let found = base.candidates(&first.record.key).expect("reads");
    assert_eq!(found, [StoredAction { id: new, record: other.record }]);
    let uses = base.audit().uses().expect("reads");
    assert_eq!((uses.len(), &uses[0].blobs[..]), (1, &[blob(2)][..]));
}

#[test]
fn a_key_has_at_most_so_many_candidates_and_the_least_used_go() {
    let (_tmp, home) = home();
    let mut base = BaseWriter::open(&home).expect("opens");
    let action = |n: usize| insert(record("a", &n.to_le_bytes(), &[blob(n as u64)]));
    let ids: Vec<i64> =
        (0..MAX_CANDIDATES).map(|n| base.insert_actions_at(&[action(n)], n as i64).expect("inserts")[0]).collect();
    base.touch_at(&[ids[0]], &[], 1000).expect("touches");
    base.insert_actions_at(&[action(1000), action(1001)], 500).expect("inserts");
    let left = BaseReader::open(&home).expect("opens").candidate_ids(&action(0).record.key).expect("reads");
    assert_eq!(left.len(), MAX_CANDIDATES);
    assert!(left.contains(&ids[0]), "it was used last");
    assert!(!left.contains(&ids[1]) && !left.contains(&ids[2]) && left.contains(&ids[3]));
}

#[test]
fn touching_orders_and_forgetting_forgets() {
    let (_tmp, home) = home();
    let mut base = BaseWriter::open(&home).expect("opens");
    let actions = ["a", "b", "c"].map(|key| insert(record(key, b"", &[blob(7)])));
    let ids = base.insert_actions_at(&actions, 10).expect("inserts");
    base.touch_at(&[ids[0], 999], &[ids[1], 998], 20).expect("touches");
    let order: Vec<i64> = base.audit().uses().expect("reads").iter().map(|action| action.id).collect();
    assert_eq!(order, [ids[2], ids[0]]);
    // An id is never given out twice: whoever still holds a forgotten one finds nothing.
    let new = base.insert_actions_at(&actions[1..2], 30).expect("inserts");
    assert!(new[0] > ids[2]);
    let only = Connection::open(home.manifest()).expect("opens");
    let rows: i64 = only.query_row("SELECT count(*) FROM action_blobs", [], |row| row.get(0)).expect("counts");
    assert_eq!(rows, 3);
}

#[test]
fn one_bad_action_in_a_batch_leaves_all_out() {
    let (_tmp, home) = home();
    let mut base = BaseWriter::open(&home).expect("opens");
    let mut large = record("large", b"", &[]);
    large.label = "x".repeat(MAX_RECORD);
    let error = base.insert_actions(&[insert(record("a", b"", &[])), insert(large)]).expect_err("too large");
    assert!(matches!(error, ManifestError::TooLarge { .. }), "{error}");
    assert_eq!(base.counts().expect("counts").actions, 0);
}

#[test]
fn files_are_found_by_path_and_by_folder() {
    let (_tmp, home) = home();
    let mut base = BaseWriter::open(&home).expect("opens");
    let files = ["/usr/lib/a.so", "/usr/lib/sub/b.so", "/usr/lib-x/c", "/usr/lib", "/usr/lib0"].map(|path| known(path, 3));
    base.insert_files(&files).expect("inserts");
    base.insert_files(&[known("/usr/lib/a.so", 4)]).expect("replaces");
    let reader = BaseReader::open(&home).expect("opens");
    let at = |path: &str| AbsPath::new(path.as_bytes()).expect("absolute");
    assert_eq!(reader.known_file(&at("/usr/lib/a.so")).expect("reads"), Some(known("/usr/lib/a.so", 4)));
    assert_eq!(reader.known_file(&at("/nowhere")).expect("reads"), None);
    let under = |path: &str| reader.known_files_under(&at(path)).expect("reads").len();
    assert_eq!((under("/usr/lib"), under("/usr"), under("/"), under("/usr/lib/sub/b.so")), (2, 5, 5, 0));
}

#[test]
fn processes_that_insert_at_once_all_succeed() {
    if let Some(dir) = inner() {
        let mut base = BaseWriter::open(&Home::at(dir)).expect("opens");
        for n in 0..50_u64 {
            let mine = format!("{}-{n}", std::process::id());
            base.insert_actions(&[insert(record(&mine, b"", &[blob(n)]))]).expect("inserts");
        }
        return;
    }
    let (_tmp, home) = home();
    let name = "manifest::tests::processes_that_insert_at_once_all_succeed";
    let children: Vec<_> = (0..4).map(|_| rerun(name, home.dir(), None).spawn().expect("starts")).collect();
    for mut child in children {
        assert!(child.wait().expect("ends").success());
    }
    let counts = BaseReader::open(&home).expect("opens").counts().expect("counts");
    assert_eq!((counts.actions, counts.blobs), (200, 50));
}

#[test]
fn a_writer_that_is_killed_leaves_whole_transactions() {
    if let Some(dir) = inner() {
        let mut base = BaseWriter::open(&Home::at(dir)).expect("opens");
        for n in 0_u64.. {
            let pair = ["x", "y"].map(|part| insert(record(&format!("{n}{part}"), b"", &[blob(n)])));
            base.insert_actions(&pair).expect("inserts");
        }
    }
    let (_tmp, home) = home();
    for round in 0..5 {
        let mut child = rerun("manifest::tests::a_writer_that_is_killed_leaves_whole_transactions", home.dir(), None)
            .spawn()
            .expect("starts");
        let before = BaseReader::open(&home).and_then(|base| base.counts()).map_or(0, |counts| counts.actions);
        let started = std::time::Instant::now();
        while started.elapsed() < std::time::Duration::from_secs(20)
            && BaseReader::open(&home).and_then(|base| base.counts()).map_or(0, |counts| counts.actions) <= before + 20 * round
        {
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
        child.kill().expect("kills");
        child.wait().expect("ends");
        let (base, notice) = BaseWriter::open_or_rebuild(&home).expect("opens");
        assert_eq!(notice, None);
        assert_eq!(base.audit().integrity().expect("checks"), [""; 0]);
        let actions = base.counts().expect("counts").actions;
        assert!(actions % 2 == 0 && actions > 0, "{actions}");
    }
}

#[test]
fn the_database_is_private() {
    let (_tmp, home) = home();
    let mut base = BaseWriter::open(&home).expect("opens");
    base.insert_actions(&[insert(record("a", b"", &[]))]).expect("inserts");
    assert_eq!(mode(home.dir()), 0o700);
    for name in names(home.dir()) {
        assert_eq!(mode(&home.dir().join(&name)), 0o600, "{name}");
    }
}

#[test]
fn a_damaged_manifest_is_moved_aside_and_the_blobs_stay() {
    type Damage = fn(&Path);
    let cases: [(&str, Damage); 4] = [
        ("garbage", |path| fs::write(path, vec![b'x'; 10_000]).expect("write")),
        ("cut", |path| {
            let file = fs::OpenOptions::new().write(true).open(path).expect("opens");
            file.set_len(5000).expect("truncates");
        }),
        ("another program's", |path| {
            fs::remove_file(path).expect("unlink");
            Connection::open(path).expect("opens").execute_batch("CREATE TABLE t (x); PRAGMA user_version = 1").expect("sql");
        }),
        ("an older table of the same name", |path| {
            fs::remove_file(path).expect("unlink");
            Connection::open(path).expect("opens").execute_batch("CREATE TABLE actions (x)").expect("sql");
        }),
    ];
    for (name, damage) in cases {
        let (_tmp, home) = home();
        Cas::open(home.the_source()).insert_bytes(b"kept").expect("inserts");
        let mut base = BaseWriter::open(&home).expect("opens");
        base.insert_actions(&[insert(record("a", b"", &[blob(1)]))]).expect("inserts");
        drop(base);
        for part in ["-wal", "-shm"] {
            let _ = fs::remove_file(home.dir().join(format!("manifest.db{part}")));
        }
        damage(&home.manifest());
        let damaged = fs::read(home.manifest()).expect("read");
        match BaseWriter::open(&home) {
            Err(error) => assert!(error.is_corrupt(), "{name}: {error}"),
            Ok(base) => assert!(base.counts().expect_err("damaged").is_corrupt(), "{name}"),
        }
        let (mut base, notice) = match BaseWriter::open_or_rebuild(&home).expect("opens") {
            // Damage that opening does not meet is met later.
            (base, None) => {
                let error = base.counts().expect_err("damaged");
                drop(base);
                let (base, notice) = BaseWriter::rebuild(&home, &error).expect("rebuilds");
                (base, Some(notice))
            }
            rebuilt => rebuilt,
        };
        let notice = notice.expect("says so");
        assert!(notice.contains("manifest.db.damaged-1") && notice.contains("1 blobs kept"), "{name}: {notice}");
        assert_eq!(fs::read(home.dir().join("manifest.db.damaged-1")).expect("moved"), damaged, "{name}");
        assert_eq!(base.counts().expect("counts"), Counts { blobs: 1, blob_bytes: 4, ..Counts::default() }, "{name}");
        base.insert_actions(&[insert(record("a", b"", &[blob(1)]))]).expect("works again");
        let (_, notice) = BaseWriter::open_or_rebuild(&home).expect("opens");
        assert_eq!(notice, None, "{name}");
    }
}

#[test]
fn a_header_that_makes_it_read_only_is_damage() {
    let (_tmp, home) = home();
    drop(BaseWriter::open(&home).expect("opens"));
    let mut bytes = fs::read(home.manifest()).expect("reads");
    // The version that is needed to write it.
    bytes[18] = 9;
    fs::write(home.manifest(), bytes).expect("writes");
    let (mut fresh, notice) = BaseWriter::open_or_rebuild(&home).expect("opens");
    assert!(notice.expect("says so").contains("damaged"));
    fresh.insert_actions(&[insert(record("a", b"", &[]))]).expect("inserts");
}

#[test]
fn a_writer_notices_that_its_database_or_its_log_is_gone() {
    for part in ["manifest.db", "manifest.db-wal"] {
        let (_tmp, home) = home();
        let mut writer = BaseWriter::open(&home).expect("opens");
        writer.insert_actions(&[insert(record("a", b"", &[blob(1)]))]).expect("inserts");
        let reader = BaseReader::open(&home).expect("opens");
        assert!(writer.loss().is_none() && !reader.is_replaced());
        fs::remove_file(home.dir().join(part)).expect("removes");
        assert!(reader.is_replaced());
        let loss = writer.loss().expect("it notices");
        drop(writer);
        let (mut fresh, notice) = BaseWriter::rebuild(&home, &loss).expect("rebuilds");
        assert!(notice.contains("while it was in use") && fresh.loss().is_none(), "{notice}");
        fresh.insert_actions(&[insert(record("b", b"", &[]))]).expect("inserts");
        // With a reader of the old one still open.
        let found = BaseReader::open(&home).expect("opens").counts().expect("counts");
        assert_eq!(found.actions, 1);
        drop(reader);
    }
}

#[test]
fn a_reader_notices_that_the_database_was_replaced() {
    let (_tmp, home) = home();
    let base = BaseWriter::open(&home).expect("opens");
    let reader = BaseReader::open(&home).expect("opens");
    assert!(!reader.is_replaced());
    let damage = ManifestError::Corrupt { path: home.manifest(), detail: "a test".to_owned() };
    drop(base);
    BaseWriter::rebuild(&home, &damage).expect("rebuilds");
    assert!(reader.is_replaced());
}

#[test]
fn a_newer_manifest_is_left_alone() {
    let (_tmp, home) = home();
    drop(BaseWriter::open(&home).expect("opens"));
    Connection::open(home.manifest()).expect("opens").execute_batch("PRAGMA user_version = 99").expect("sql");
    let error = BaseWriter::open_or_rebuild(&home).expect_err("newer");
    assert!(matches!(error, ManifestError::Newer { found: 99, known: 1, .. }), "{error}");
    assert!(error.to_string().contains("newer vrift"), "{error}");
    assert!(matches!(BaseReader::open(&home), Err(ManifestError::Newer { .. })));
    assert!(names(home.dir()).iter().all(|name| !name.contains("damaged")));
}

#[test]
fn a_flipped_bit_in_a_record_is_a_miss() {
    let (_tmp, home) = home();
    let mut base = BaseWriter::open(&home).expect("opens");
    let stored = record("a", b"", &[blob(1)]);
    let id = base.insert_actions(&[insert(stored.clone())]).expect("inserts")[0];
    let raw = Connection::open(home.manifest()).expect("opens");
    let mut bytes: Vec<u8> = raw.query_row("SELECT record FROM actions", [], |row| row.get(0)).expect("reads");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    raw.execute("UPDATE actions SET record = ?", [bytes]).expect("writes");
    let reader = BaseReader::open(&home).expect("opens");
    assert_eq!(reader.candidates(&stored.key).expect("reads"), []);
    assert_eq!(reader.action(id).expect("reads"), None);
    assert_eq!(reader.nearest(&stored.label).expect("reads"), None);
    assert_eq!(base.audit().bad_records().expect("reads").keys().collect::<Vec<_>>(), [&id]);
}

#[test]
fn a_record_under_a_foreign_key_is_a_miss() {
    let (_tmp, home) = home();
    let mut base = BaseWriter::open(&home).expect("opens");
    base.insert_actions(&[insert(record("a", b"", &[]))]).expect("inserts");
    let wrong = Digest::of(b"b");
    let raw = Connection::open(home.manifest()).expect("opens");
    raw.execute("UPDATE actions SET key = ?", [wrong.as_bytes()]).expect("writes");
    assert_eq!(base.candidates(&wrong).expect("reads"), []);
}

#[test]
fn a_full_disk_is_told_apart() {
    let Some(disk) = SmallDisk::new("1m") else { return };
    let home = Home::at(disk.path().join("home"));
    let mut base = BaseWriter::open(&home).expect("opens");
    let mut large = record("a", b"", &[]);
    large.label = "x".repeat(2 << 20);
    let error = base.insert_actions(&[insert(large)]).expect_err("does not fit");
    assert!(matches!(error, ManifestError::Full { .. }), "{error}");
    base.insert_actions(&[insert(record("b", b"", &[]))]).expect("fits");
    assert_eq!(base.audit().integrity().expect("checks"), [""; 0]);
}

#[test]
fn a_home_that_cannot_be_written_is_told_apart() {
    if let Some(dir) = inner() {
        let home = Home::at(dir.join("home"));
        drop(BaseWriter::open(&home).expect("opens"));
        fs::set_permissions(home.manifest(), fs::Permissions::from_mode(0o400)).expect("chmod");
        let error = BaseWriter::open_or_rebuild(&home).expect_err("read-only file");
        assert!(matches!(error, ManifestError::Unwritable { .. }), "{error}");
        fs::create_dir(dir.join("closed")).expect("mkdir");
        fs::set_permissions(dir.join("closed"), fs::Permissions::from_mode(0o500)).expect("chmod");
        for closed in ["closed", "closed/deeper"] {
            let error = BaseWriter::open(&Home::at(dir.join(closed))).expect_err("read-only folder");
            assert!(matches!(error, ManifestError::Unwritable { .. }), "{error}");
        }
        return;
    }
    if is_root() {
        let tmp = dir_of(NOBODY);
        passes_alone("manifest::tests::a_home_that_cannot_be_written_is_told_apart", tmp.path(), Some(NOBODY));
    }
}
