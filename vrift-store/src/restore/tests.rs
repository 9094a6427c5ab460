//! Tests of restoring one file.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use rustix::io::Errno;
use vrift_core::action::Place;
use vrift_core::digest::Digest;
use vrift_core::paths::{AbsPath, Root, Roots};

use super::*;
use crate::cas::{BLOB_MTIME, Blob, BlobFault, Cas, Ingest};
use crate::faults;
use crate::testing::{Bench, NOBODY, dir_of, has_linked_mode, inner, inode, is_root, mode, names, passes_alone, patiently};

fn roots(project: &str) -> Roots {
    Roots::new([(Root::Project, AbsPath::new(project.as_bytes()).expect("absolute"))])
}

/// The blob of a template and the template.
fn template(cas: &Cas) -> Blob {
    let text = roots("/w/a").template_text(b"/w/a/target/x.d: /w/a/src/lib.rs\n");
    assert_eq!(text.placeholders, 2);
    cas.insert_bytes(&text.bytes).expect("inserts")
}

fn linked(bench: &Bench, content: &[u8], mode: u32) -> Blob {
    let made = bench.file("made here", content, mode);
    bench.ingest(&made, Ingest::Link)
}

fn is_now(path: &Path) -> bool {
    let age = SystemTime::now().duration_since(fs::metadata(path).expect("stat").modified().expect("mtime"));
    age.unwrap_or_default() < Duration::from_secs(60)
}

#[test]
fn a_link_shares_the_blobs_inode() {
    let bench = Bench::new();
    let blob = linked(&bench, b"archive", 0o644);
    let dest = bench.path("new/folder/lib.rlib");
    let restore = || bench.cas.restore_file(&blob, &dest, Place::Link, 0o644, None).expect("restores");
    assert_eq!(restore(), Restored::Linked);
    assert_eq!(inode(&dest), inode(&bench.cas.path(&blob)));
    assert!(has_linked_mode(&dest, 0o444));
    assert_eq!(restore(), Restored::Already);
    // Another file in its place is replaced, not written to: it may be another checkout's too.
    fs::remove_file(&dest).expect("unlink");
    fs::write(&dest, b"older").expect("write");
    let other = bench.path("other name");
    fs::hard_link(&dest, &other).expect("link");
    assert_eq!(restore(), Restored::Linked);
    assert_eq!(inode(&dest), inode(&bench.cas.path(&blob)));
    assert_eq!(fs::read(&other).expect("read"), b"older");
    assert!(bench.leftovers().is_empty());
}

#[test]
fn a_linked_program_can_be_executed() {
    let bench = Bench::new();
    let blob = linked(&bench, b"#!/bin/sh\nexit 7\n", 0o755);
    let dest = bench.path("build-script");
    bench.cas.restore_file(&blob, &dest, Place::Link, 0o755, None).expect("restores");
    assert!(has_linked_mode(&dest, 0o555));
    assert_eq!(patiently(|| std::process::Command::new(&dest).status()).code(), Some(7));
}

#[test]
fn a_copy_has_an_inode_a_mode_and_a_time_of_its_own() {
    let bench = Bench::new();
    let blob = bench.cas.insert_bytes(b"program").expect("inserts");
    for recorded in [0o755, 0o4711, 0o600, 0o444] {
        let dest = bench.path("bin");
        let done = bench.cas.restore_file(&blob, &dest, Place::Copy, 0o100_000 | recorded, None).expect("restores");
        assert!(matches!(done, Restored::Copied | Restored::Cloned));
        assert_eq!(fs::read(&dest).expect("read"), b"program");
        assert_eq!(mode(&dest), recorded);
        assert_ne!(inode(&dest), inode(&bench.cas.path(&blob)));
        assert!(is_now(&dest));
    }
    bench.cas.check(&blob).expect("untouched");
}

#[test]
fn text_gets_this_checkouts_paths() {
    let bench = Bench::new();
    let blob = template(&bench.cas);
    let dest = bench.path("x.d");
    let done = bench.cas.restore_file(&blob, &dest, Place::Render, 0o640, Some(&roots("/else/where")));
    assert_eq!(done.expect("restores"), Restored::Rendered);
    assert_eq!(fs::read(&dest).expect("read"), b"/else/where/target/x.d: /else/where/src/lib.rs\n");
    assert_eq!(mode(&dest), 0o640);
    assert!(is_now(&dest));

    let unknown = bench.cas.restore_file(&blob, &bench.path("y.d"), Place::Render, 0o640, Some(&Roots::default()));
    assert!(matches!(unknown, Err(RestoreError::UnknownRoot { .. })));
    let without = bench.cas.restore_file(&blob, &bench.path("y.d"), Place::Render, 0o640, None);
    assert!(matches!(without, Err(RestoreError::Invalid { .. })));
    let damaged = bench.cas.insert_bytes(b"ends in a nul\0").expect("inserts");
    let damaged = bench.cas.restore_file(&damaged, &bench.path("y.d"), Place::Render, 0o640, Some(&roots("/w/a")));
    assert!(matches!(damaged, Err(RestoreError::UnknownRoot { .. })));
    assert!(!bench.path("y.d").exists());
}

#[test]
fn empty_files_are_always_fresh() {
    let bench = Bench::new();
    let blob = Blob::of(b"");
    for place in [Place::Link, Place::Copy, Place::Render] {
        let (one, two) = (bench.path("one"), bench.path("two"));
        for path in [&one, &two] {
            let done = bench.cas.restore_file(&blob, path, place, 0o664, Some(&roots("/w/a"))).expect("restores");
            assert_eq!(done, Restored::Empty);
            assert_eq!((mode(path), fs::metadata(path).expect("stat").len()), (0o664, 0));
            let dated = fs::metadata(path).expect("stat").mtime() == BLOB_MTIME;
            assert_eq!(dated, place == Place::Link);
        }
        assert_ne!(inode(&one), inode(&two));
    }
}

#[test]
fn on_another_file_system_a_link_becomes_a_copy_of_the_same_date() {
    let Ok(far) = tempfile::tempdir_in("/dev/shm") else { return };
    let bench = Bench::new();
    if fs::metadata(far.path()).expect("stat").dev() == fs::metadata(bench.tmp.path()).expect("stat").dev() {
        return;
    }
    let blob = linked(&bench, b"archive", 0o644);
    let dest = far.path().join("lib.rlib");
    assert_eq!(bench.cas.restore_file(&blob, &dest, Place::Link, 0o644, None).expect("restores"), Restored::Copied);
    assert_eq!(fs::metadata(&dest).expect("stat").mtime(), BLOB_MTIME);
    assert_eq!(mode(&dest), 0o644);
    assert_eq!(fs::read(&dest).expect("read"), b"archive");
}

#[test]
fn a_changed_blob_is_put_aside_and_nothing_is_restored() {
    for place in [Place::Link, Place::Copy, Place::Render] {
        let bench = Bench::new();
        let blob = linked(&bench, b"archive", 0o644);
        // The program that does this may do it through the name in any checkout.
        let victim = bench.path("made here");
        fs::set_permissions(&victim, fs::Permissions::from_mode(0o644)).expect("chmod");
        fs::write(&victim, b"ARCHIVE").expect("write");
        let dest = bench.file("dest", b"what was there", 0o644);
        let error = bench.cas.restore_file(&blob, &dest, place, 0o644, Some(&roots("/w/a"))).expect_err("bad blob");
        assert!(matches!(error, RestoreError::Blob(BlobFault::Changed { .. })), "{error}");
        assert!(error.is_blob_fault());
        assert_eq!(fs::read(&dest).expect("read"), b"what was there");
        assert_eq!(fs::read(&victim).expect("read"), b"ARCHIVE");
        assert_eq!(names(&bench.cas.quarantine_dir()).len(), 1);
        let error = bench.cas.restore_file(&blob, &dest, place, 0o644, Some(&roots("/w/a"))).expect_err("no blob");
        assert!(matches!(error, RestoreError::Blob(BlobFault::Missing { .. })) && error.is_blob_fault());
    }
}

#[test]
fn a_folder_in_the_way_stays() {
    let bench = Bench::new();
    let blob = linked(&bench, b"archive", 0o644);
    fs::create_dir(bench.path("dest")).expect("mkdir");
    fs::write(bench.path("dest/inside"), b"").expect("write");
    for place in [Place::Link, Place::Copy] {
        let error = bench.cas.restore_file(&blob, &bench.path("dest"), place, 0o644, None).expect_err("in the way");
        assert!(!error.is_blob_fault(), "{error}");
        assert!(error.to_string().contains("dest"), "{error}");
        assert!(bench.path("dest/inside").exists());
    }
    assert!(bench.leftovers().is_empty());
}

#[test]
fn a_failure_at_any_step_leaves_the_old_file_whole() {
    for place in [Place::Link, Place::Copy, Place::Render] {
        for (there, empty) in [(true, false), (false, false), (true, true)] {
            let mut step = 0;
            loop {
                let bench = Bench::new();
                let blob = if empty { Blob::of(b"") } else { linked(&bench, b"new content", 0o644) };
                let dest = bench.path("deep/er/dest");
                if there {
                    fs::create_dir_all(dest.parent().expect("has one")).expect("mkdir");
                    fs::write(&dest, b"old content").expect("write");
                }
                faults::fail_nth(step, Errno::NOSPC.raw_os_error());
                let done = bench.cas.restore_file(&blob, &dest, place, 0o644, Some(&roots("/w/a")));
                let reached = faults::clear();
                let new: &[u8] = if empty { b"" } else { b"new content" };
                match &done {
                    Ok(_) => assert_eq!(fs::read(&dest).expect("read"), new),
                    Err(e) => {
                        assert!(e.is_full(), "{e}");
                        match fs::read(&dest) {
                            Ok(content) => assert_eq!(content, b"old content"),
                            Err(e) => assert!(!there && e.kind() == ErrorKind::NotFound),
                        }
                    }
                }
                bench.cas.insert_bytes(b"the store still works").expect("inserts");
                assert!(names(dest.parent().expect("has one")).iter().all(|name| name == "dest"));
                if !reached {
                    done.expect("nothing failed");
                    break;
                }
                step += 1;
            }
            assert!(step > 0, "no step was reached");
        }
    }
}

#[test]
fn a_reader_never_sees_half_a_file() {
    let bench = Bench::new();
    let contents = [vec![1; 300_000], vec![2; 300_000]];
    let blobs: Vec<_> = contents.iter().map(|c| bench.cas.insert_bytes(c).expect("inserts")).collect();
    let dest = bench.file("dest", &contents[0], 0o644);
    let end = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut reads = 0;
            while !end.load(Ordering::Relaxed) {
                let content = fs::read(&dest).expect("always there");
                assert!(contents.contains(&content), "{} bytes of something else", content.len());
                reads += 1;
            }
            reads
        });
        for round in 0..200 {
            let place = if round % 3 == 0 { Place::Link } else { Place::Copy };
            bench.cas.restore_file(&blobs[round % 2], &dest, place, 0o644, None).expect("restores");
        }
        end.store(true, Ordering::Relaxed);
        assert!(reader.join().expect("no panic") > 0);
    });
}

#[test]
fn two_builds_of_one_checkout_leave_nothing_behind() {
    let bench = Bench::new();
    let blob = linked(&bench, b"archive", 0o644);
    let dest = bench.path("dest");
    for _ in 0..100 {
        fs::write(bench.path("old"), b"old").expect("write");
        fs::rename(bench.path("old"), &dest).expect("rename");
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| bench.cas.restore_file(&blob, &dest, Place::Link, 0o644, None).expect("restores"));
            }
        });
        assert_eq!(inode(&dest), inode(&bench.cas.path(&blob)));
    }
    assert!(bench.leftovers().is_empty(), "{:?}", bench.leftovers());
}

#[test]
fn an_ordinary_user_replaces_read_only_files() {
    if let Some(dir) = inner() {
        assert!(!is_root());
        let cas = Cas::open(dir.join("store"));
        let blob = cas.insert_bytes(b"new").expect("inserts");
        let dest = dir.join("dest");
        for place in [Place::Link, Place::Copy] {
            let _ = fs::remove_file(&dest);
            fs::write(&dest, b"old").expect("write");
            fs::set_permissions(&dest, fs::Permissions::from_mode(0o444)).expect("chmod");
            cas.restore_file(&blob, &dest, place, 0o644, None).expect("restores");
            assert_eq!(fs::read(&dest).expect("read"), b"new");
        }
        let closed = dir.join("closed");
        fs::create_dir(&closed).expect("mkdir");
        fs::set_permissions(&closed, fs::Permissions::from_mode(0o555)).expect("chmod");
        for place in [Place::Link, Place::Copy] {
            let error = cas.restore_file(&blob, &closed.join("x"), place, 0o644, None).expect_err("closed");
            assert!(matches!(&error, RestoreError::Io { source, .. } if source.kind() == ErrorKind::PermissionDenied), "{error}");
        }
        return;
    }
    if is_root() {
        let tmp = dir_of(NOBODY);
        passes_alone("restore::tests::an_ordinary_user_replaces_read_only_files", tmp.path(), Some(NOBODY));
    }
}

#[test]
#[ignore = "a measurement: run it with --release --ignored --nocapture"]
fn speed() {
    const FILES: usize = 2000;
    let bench = Bench::new();
    let contents: Vec<Vec<u8>> = (0..FILES).map(|n| n.to_le_bytes().repeat(4096)).collect();
    let each = |what: &str, start: std::time::Instant| {
        println!("{what}: {:.1} us a file", start.elapsed().as_secs_f64() * 1e6 / FILES as f64);
    };
    let made: Vec<_> = contents.iter().enumerate().map(|(n, c)| bench.file(&n.to_string(), c, 0o644)).collect();
    let read: Vec<_> = made.iter().map(|path| crate::testing::read(path)).collect();
    let start = std::time::Instant::now();
    let adopt = |(path, (content, stamp)): (&std::path::PathBuf, &(Vec<u8>, _))| {
        bench.cas.ingest_file(path, Ingest::Link, Digest::of(content), stamp).expect("ingests")
    };
    let blobs: Vec<Blob> = made.iter().zip(&read).map(adopt).collect();
    each("adopt 32 KiB", start);
    let rounds = [
        (Place::Link, "link", "r"),
        (Place::Copy, "copy 32 KiB", "c"),
        (Place::Copy, "copy over", "r"),
        (Place::Link, "link over", "r"),
    ];
    for (place, what, name) in rounds {
        let start = std::time::Instant::now();
        for (n, blob) in blobs.iter().enumerate() {
            bench.cas.restore_file(blob, &bench.path(&format!("{name}{n}")), place, 0o644, None).expect("restores");
        }
        each(what, start);
    }
    for n in 0..FILES {
        fs::remove_file(bench.path(&format!("r{n}"))).expect("unlink");
    }
    let start = std::time::Instant::now();
    for (n, blob) in blobs.iter().enumerate() {
        let fresh = Cas::open(bench.cas.dir());
        fresh.restore_file(blob, &bench.path(&format!("r{n}")), Place::Link, 0o644, None).expect("restores");
    }
    each("link, store opened anew", start);
}
