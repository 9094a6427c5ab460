//! Tests of the store on real files.

use std::fs::{self, File, FileTimes, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::time::{Duration, UNIX_EPOCH};

use rustix::io::Errno;
use vrift_core::digest::Digest;

use super::*;
use crate::faults;
use crate::testing::{
    Bench, NOBODY, SmallDisk, dir_of, has_linked_mode, inner, inode, is_root, mode, names, passes_alone, read, rerun,
};

#[test]
fn a_blob_is_read_only_dated_and_named_by_content_and_size() {
    let bench = Bench::new();
    let blob = bench.cas.insert_bytes(b"hello").expect("inserts");
    let path = bench.cas.path(&blob);
    let name = path.file_name().expect("named").to_string_lossy().into_owned();
    assert_eq!(name, format!("{}_5", blake3::hash(b"hello").to_hex()));
    assert!(path.ends_with(format!("blake3/{}/{}/{name}", &name[..2], &name[2..4])));
    let meta = fs::metadata(&path).expect("stat");
    assert_eq!((meta.mode() & 0o7777, meta.mtime(), meta.mtime_nsec()), (0o444, BLOB_MTIME, 0));
    assert_eq!(mode(bench.cas.dir()), 0o700);
    assert_eq!(bench.cas.read(&blob).expect("reads"), b"hello");
    assert!(bench.leftovers().is_empty());
}

#[test]
fn what_is_there_is_not_written_again() {
    let bench = Bench::new();
    let blob = bench.cas.insert_bytes(b"same").expect("inserts");
    let before = inode(&bench.cas.path(&blob));
    // The first write of the second insert would fail.
    faults::fail_nth(0, Errno::NOSPC.raw_os_error());
    let again = bench.cas.insert_bytes(b"same");
    assert!(!faults::clear() || again.is_ok());
    assert_eq!(again.expect("needs no write"), blob);
    assert_eq!(inode(&bench.cas.path(&blob)), before);
}

#[test]
fn an_umask_does_not_change_a_blobs_mode() {
    // The umask belongs to the process, so this runs in one of its own.
    if inner().is_none() {
        let tmp = tempfile::tempdir().expect("tempdir");
        passes_alone("cas::tests::an_umask_does_not_change_a_blobs_mode", tmp.path(), None);
        return;
    }
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    let bench = Bench::new();
    let blob = bench.cas.insert_bytes(b"x").expect("inserts");
    bench.cas.check(&blob).expect("sound");
    let program = bench.file("prog", b"#!", 0o700);
    let blob = bench.ingest(&program, Ingest::Link);
    bench.cas.check(&blob).expect("sound");
}

#[test]
fn every_kind_of_damage_is_seen_by_one_stat() {
    type Damage = fn(&Path);
    let cases: [(&str, Damage, What); 6] = [
        ("longer", |p| writer(p).write_all(b"longer than before").expect("write"), What::Size),
        ("truncated", |p| writer(p).set_len(1).expect("truncate"), What::Size),
        ("overwritten", |p| writer(p).write_all(b"HELLO").expect("write"), What::Time),
        ("touched", |p| writer(p).set_modified(UNIX_EPOCH + Duration::new(1_000_000_000, 1)).expect("touch"), What::Time),
        ("writable", |p| fs::set_permissions(p, fs::Permissions::from_mode(0o666)).expect("chmod"), What::Mode),
        (
            "replaced by a link",
            |p| {
                fs::remove_file(p).expect("unlink");
                std::os::unix::fs::symlink("/etc/passwd", p).expect("symlink");
            },
            What::Kind,
        ),
    ];
    for (name, damage, want) in cases {
        let bench = Bench::new();
        let blob = bench.cas.insert_bytes(b"hello").expect("inserts");
        if !is_root() && want != What::Mode && want != What::Kind {
            // A user cannot open the blob for writing at all.
            fs::set_permissions(bench.cas.path(&blob), fs::Permissions::from_mode(0o644)).expect("chmod");
        }
        damage(&bench.cas.path(&blob));
        if want != What::Mode && want != What::Kind {
            fs::set_permissions(bench.cas.path(&blob), fs::Permissions::from_mode(0o444)).expect("chmod");
        }
        match bench.cas.check(&blob) {
            Err(BlobFault::Changed { what, .. }) => assert_eq!(what, want, "{name}"),
            other => panic!("{name}: {other:?}"),
        }
        // The next insert notices, puts it aside and stores the content anew.
        assert_eq!(bench.cas.insert_bytes(b"hello").expect("inserts"), blob, "{name}");
        assert_eq!(bench.cas.read(&blob).expect("reads"), b"hello", "{name}");
        assert_eq!(names(&bench.cas.quarantine_dir()), [format!("{}.0", blob.file_name())], "{name}");
    }
}

fn writer(path: &Path) -> File {
    OpenOptions::new().write(true).open(path).expect("opens")
}

#[test]
fn a_writer_that_hides_is_found_by_content() {
    let bench = Bench::new();
    let blob = bench.cas.insert_bytes(b"hello").expect("inserts");
    let path = bench.cas.path(&blob);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("chmod");
    let mut file = writer(&path);
    file.write_all(b"HELLO").expect("write");
    file.set_times(FileTimes::new().set_modified(UNIX_EPOCH + Duration::from_secs(BLOB_MTIME as u64))).expect("utimes");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o444)).expect("chmod");
    bench.cas.check(&blob).expect("the quick check cannot see it");
    assert!(matches!(bench.cas.verify(&blob), Err(BlobFault::Changed { what: What::Content, .. })));
    assert!(matches!(bench.cas.read(&blob), Err(BlobFault::Changed { what: What::Content, .. })));
}

#[test]
fn a_missing_blob_is_missing() {
    let bench = Bench::new();
    let blob = Blob::of(b"nowhere");
    assert!(matches!(bench.cas.check(&blob), Err(BlobFault::Missing { .. })));
    assert!(matches!(bench.cas.read(&blob), Err(BlobFault::Missing { .. })));
    bench.cas.quarantine(&blob).expect("nothing to do");
    bench.cas.remove(&blob).expect("nothing to do");
}

#[test]
fn adopting_shares_the_inode() {
    let bench = Bench::new();
    let path = bench.file("lib.rlib", b"archive", 0o644);
    let before = inode(&path);
    let blob = bench.ingest(&path, Ingest::Link);
    assert_eq!((inode(&path), inode(&bench.cas.path(&blob))), (before, before));
    assert!(has_linked_mode(&path, 0o444));
    bench.cas.verify(&blob).expect("sound");
    // The same content elsewhere becomes a link to the blob.
    let other = bench.file("other.rlib", b"archive", 0o644);
    assert_eq!(bench.ingest(&other, Ingest::Link), blob);
    assert_eq!(inode(&other), before);
    // And once more: it is the blob already.
    assert_eq!(bench.ingest(&other, Ingest::Link), blob);
    assert!(bench.leftovers().is_empty());
}

#[test]
fn programs_and_plain_files_of_one_content_are_two_blobs() {
    let bench = Bench::new();
    let program = bench.file("prog", b"same", 0o755);
    let plain = bench.file("data", b"same", 0o644);
    let (one, two) = (bench.ingest(&program, Ingest::Link), bench.ingest(&plain, Ingest::Link));
    assert!(one.exec && !two.exec);
    assert!(has_linked_mode(&program, 0o555) && has_linked_mode(&plain, 0o444));
    // A program that is copied needs no blob that can be executed.
    let copied = bench.file("prog2", b"same", 0o755);
    assert_eq!(bench.ingest(&copied, Ingest::Copy), two);
    assert_eq!(mode(&copied), 0o755);
}

#[test]
fn a_linked_blob_has_a_write_bit_that_helps_nobody() {
    let bench = Bench::new();
    let private = bench.file("private", b"one", 0o644);
    bench.ingest(&private, Ingest::Link);
    assert_ne!(mode(&private) & 0o222, 0, "rustc refuses to replace a file without any");
    if !is_root() {
        return;
    }
    assert_eq!(mode(&private), 0o464);
    // In a folder that passes its group on, the group is no private one, and its members must not write.
    let shared = bench.file("shared", b"two", 0o644);
    std::os::unix::fs::chown(&shared, None, Some(12345)).expect("chown");
    let blob = bench.ingest(&shared, Ingest::Link);
    assert_eq!(mode(&shared), 0o644);
    assert_eq!(inode(&shared), inode(&bench.cas.path(&blob)));
    bench.cas.check(&blob).expect("sound");
    // Neither has one's own group any say in what a blob must look like.
    let inserted = bench.cas.insert_bytes(b"one").expect("known");
    assert_eq!(inode(&bench.cas.path(&inserted)), inode(&private));
}

#[test]
fn copying_leaves_the_file_alone() {
    let bench = Bench::new();
    let path = bench.file("a.d", b"a: b", 0o644);
    let before = read(&path).1;
    let blob = bench.ingest(&path, Ingest::Copy);
    assert_eq!(read(&path).1, before);
    assert_ne!(inode(&bench.cas.path(&blob)), before.ino);
}

#[test]
fn a_file_that_others_rely_on_is_copied() {
    let bench = Bench::new();
    let path = bench.file("a", b"shared with a package store", 0o644);
    fs::hard_link(&path, bench.path("elsewhere")).expect("link");
    let before = read(&path).1;
    let blob = bench.ingest(&path, Ingest::Link);
    bench.cas.verify(&blob).expect("sound");
    let after = read(&path).1;
    assert_eq!((after.mode, after.mtime_ns, after.ino), (before.mode, before.mtime_ns, before.ino));
    assert_ne!(inode(&bench.cas.path(&blob)), before.ino);
}

#[test]
fn a_file_that_changed_since_it_was_read_is_refused() {
    for how in [Ingest::Link, Ingest::Copy] {
        let bench = Bench::new();
        let path = bench.file("a", b"one", 0o644);
        let (content, stamp) = read(&path);
        fs::write(&path, b"two, longer").expect("write");
        let refused = bench.cas.ingest_file(&path, how, Digest::of(&content), &stamp);
        assert!(matches!(refused, Err(CasError::ChangedUnderneath { .. })), "{how:?}: {refused:?}");
        assert_eq!(fs::read(&path).expect("read"), b"two, longer");
        assert_eq!(mode(&path), 0o644);
        assert!(bench.leftovers().is_empty());
        // Replaced by another file of the same size.
        let (content, stamp) = read(&path);
        bench.file("b", b"TWO, LONGER", 0o644);
        fs::rename(bench.path("b"), &path).expect("rename");
        assert!(matches!(
            bench.cas.ingest_file(&path, how, Digest::of(&content), &stamp),
            Err(CasError::ChangedUnderneath { .. })
        ));
        // With a blob of what was read in place already, the newer file must survive too.
        bench.cas.insert_bytes(&content).expect("inserts");
        assert!(bench.cas.ingest_file(&path, how, Digest::of(&content), &stamp).is_err());
        assert_eq!(fs::read(&path).expect("read"), b"TWO, LONGER");
    }
}

#[test]
fn another_file_system_means_a_copy() {
    let shm = Path::new("/dev/shm");
    let Ok(far) = tempfile::tempdir_in(shm) else { return };
    let bench = Bench::new();
    if fs::metadata(far.path()).expect("stat").dev() == fs::metadata(bench.tmp.path()).expect("stat").dev() {
        return;
    }
    let path = far.path().join("lib.rlib");
    fs::write(&path, b"far away").expect("write");
    let before = read(&path).1;
    let blob = bench.ingest(&path, Ingest::Link);
    bench.cas.verify(&blob).expect("sound");
    assert_eq!(read(&path).1, before);
    // Known content: nothing to link, nothing to complain about.
    assert_eq!(bench.ingest(&path, Ingest::Link), blob);
    assert_eq!(read(&path).1, before);
}

#[test]
fn threads_that_insert_the_same_all_succeed() {
    let bench = Bench::new();
    let contents: Vec<Vec<u8>> = (0..40_u8).map(|n| vec![n; 5000]).collect();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for content in &contents {
                    let blob = bench.cas.insert_bytes(content).expect("inserts");
                    assert_eq!(&bench.cas.read(&blob).expect("reads"), content);
                }
            });
        }
    });
    assert_eq!(bench.cas.totals().expect("counts").blobs, 40);
    assert!(bench.leftovers().is_empty());
}

#[test]
fn processes_that_insert_the_same_all_succeed() {
    if let Some(dir) = inner() {
        let cas = Cas::open(dir.join("store"));
        for n in 0..100_u8 {
            let blob = cas.insert_bytes(&[n; 3000]).expect("inserts");
            cas.verify(&blob).expect("sound");
            let mine = dir.join(format!("{}-{n}", std::process::id()));
            fs::write(&mine, [n.wrapping_add(100); 3000]).expect("write");
            let (content, stamp) = read(&mine);
            cas.ingest_file(&mine, Ingest::Link, Digest::of(&content), &stamp).expect("ingests");
        }
        return;
    }
    let tmp = tempfile::tempdir().expect("tempdir");
    let run = || rerun("cas::tests::processes_that_insert_the_same_all_succeed", tmp.path(), None).spawn().expect("starts");
    let children: Vec<_> = (0..4).map(|_| run()).collect();
    for mut child in children {
        assert!(child.wait().expect("ends").success());
    }
    let cas = Cas::open(tmp.path().join("store"));
    assert_eq!(cas.totals().expect("counts").blobs, 200);
    for found in cas.blobs().expect("lists") {
        let Found::Blob(found) = found.expect("readable") else { panic!("a stray") };
        cas.verify(&found.blob).expect("sound");
    }
    assert!(names(&cas.tmp_dir()).is_empty());
}

#[test]
fn a_failure_at_any_step_leaves_neither_a_bad_blob_nor_a_harmed_file() {
    for how in [Ingest::Link, Ingest::Copy] {
        for known in [false, true] {
            let mut step = 0;
            loop {
                let bench = Bench::new();
                if known {
                    bench.cas.insert_bytes(b"content").expect("inserts");
                }
                let path = bench.file("f", b"content", 0o640);
                let (content, stamp) = read(&path);
                faults::fail_nth(step, Errno::NOSPC.raw_os_error());
                let done = bench.cas.ingest_file(&path, how, Digest::of(&content), &stamp);
                let reached = faults::clear();
                assert_eq!(fs::read(&path).expect("still there"), b"content");
                if let Err(e) = &done {
                    assert!(e.is_full(), "{e}");
                    let now = read(&path).1;
                    assert_eq!((now.mode, now.mtime_ns, now.ino), (stamp.mode, stamp.mtime_ns, stamp.ino), "{how:?} {step}");
                }
                for found in bench.cas.blobs().expect("lists") {
                    let Found::Blob(found) = found.expect("readable") else { panic!("a stray") };
                    bench.cas.verify(&found.blob).expect("sound");
                }
                assert!(bench.leftovers().is_empty(), "{how:?} {step}: {:?}", bench.leftovers());
                if !reached {
                    done.expect("nothing failed");
                    break;
                }
                step += 1;
            }
            assert!(step > 0 || (known && how == Ingest::Copy), "{how:?} {known}: no step was reached");
        }
    }
}

#[test]
fn a_full_disk_is_told_apart() {
    let Some(disk) = SmallDisk::new("1m") else { return };
    let cas = Cas::open(disk.path().join("store"));
    let small = cas.insert_bytes(b"fits").expect("inserts");
    let full = cas.insert_bytes(&vec![7; 4 << 20]).expect_err("does not fit");
    assert!(full.is_full(), "{full}");
    assert!(full.to_string().contains(disk.path().to_str().expect("UTF-8")), "{full}");
    assert!(names(&cas.tmp_dir()).is_empty());
    // What was cut off gave its space back.
    cas.insert_bytes(&vec![8; 500 << 10]).expect("fits");
    cas.verify(&small).expect("sound");
}

#[test]
fn too_many_links_are_answered_with_a_fresh_copy() {
    let bench = Bench::new();
    let first = bench.file("first", b"popular", 0o644);
    let blob = bench.ingest(&first, Ingest::Link);
    let source = bench.cas.path(&blob);
    let full = (0..70_000).find_map(|n| fs::hard_link(&source, bench.path(&n.to_string())).err());
    // Some file systems have no limit that could be reached here.
    let Some(full) = full else { return };
    assert_eq!(full.kind(), std::io::ErrorKind::TooManyLinks);
    let path = bench.file("one more", b"popular", 0o644);
    assert_eq!(bench.ingest(&path, Ingest::Link), blob);
    bench.cas.verify(&blob).expect("sound");
    assert_eq!(inode(&path), inode(&source));
    assert_ne!(inode(&first), inode(&source));
    assert_eq!(fs::read(&first).expect("read"), b"popular");
}

#[test]
fn an_ordinary_user_can_do_all_of_it() {
    if let Some(dir) = inner() {
        assert!(!is_root());
        let cas = Cas::open(dir.join("store"));
        let path = dir.join("lib.rlib");
        fs::write(&path, b"archive").expect("write");
        let (content, stamp) = read(&path);
        let blob = cas.ingest_file(&path, Ingest::Link, Digest::of(&content), &stamp).expect("ingests");
        assert_eq!(inode(&path), inode(&cas.path(&blob)));
        cas.verify(&blob).expect("sound");
        // 0444 holds for a user.
        assert!(OpenOptions::new().write(true).open(&path).is_err());
        // A file of somebody else is not adopted: its owner could write to the blob.
        let theirs = dir.join("theirs");
        let (content, stamp) = read(&theirs);
        let blob = cas.ingest_file(&theirs, Ingest::Link, Digest::of(&content), &stamp).expect("ingests");
        assert_ne!(inode(&theirs), inode(&cas.path(&blob)));
        assert_eq!(mode(&theirs), 0o666);
        return;
    }
    if !is_root() {
        return;
    }
    let tmp = dir_of(NOBODY);
    fs::write(tmp.path().join("theirs"), b"of root").expect("write");
    fs::set_permissions(tmp.path().join("theirs"), fs::Permissions::from_mode(0o666)).expect("chmod");
    passes_alone("cas::tests::an_ordinary_user_can_do_all_of_it", tmp.path(), Some(NOBODY));
}

#[test]
fn strays_are_told_from_blobs() {
    let bench = Bench::new();
    let blob = bench.cas.insert_bytes(b"x").expect("inserts");
    let path = bench.cas.path(&blob);
    let shard = path.parent().expect("has one");
    fs::write(shard.join("notes.txt"), b"").expect("write");
    fs::write(bench.cas.dir().join("blake3/README"), b"").expect("write");
    fs::create_dir_all(bench.cas.dir().join("blake3/zz/00")).expect("mkdir");
    // A blob's name in another blob's folder is never looked up.
    let other = bench.cas.dir().join("blake3/00/00");
    fs::create_dir_all(&other).expect("mkdir");
    fs::copy(&path, other.join(blob.file_name())).expect("copies");
    let (mut blobs, mut strays) = (0, 0);
    for found in bench.cas.blobs().expect("lists") {
        match found.expect("readable") {
            Found::Blob(found) => {
                assert_eq!(found.path, path);
                blobs += 1;
            }
            Found::Stray(_) => strays += 1,
        }
    }
    assert_eq!((blobs, strays), (1, 4));
}
