//! The digest cache on real files.

use std::fs::{self, File, FileTimes, Permissions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use tempfile::TempDir;
use vrift_store::cas::BLOB_MTIME;

use super::*;

struct Nothing;

impl SharedFiles for Nothing {
    fn under(&self, _: &Path) -> Vec<KnownFile> {
        Vec::new()
    }
}

struct Bench {
    dir: TempDir,
    digests: Digests,
}

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("tempdir");
        let root = AbsPath::try_from(dir.path()).expect("absolute");
        let cas = Arc::new(Cas::open(dir.path().join("store")));
        Self { digests: Digests::new(cas, root, Arc::new(Nothing)), dir }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn of(&self, name: &str) -> Known {
        let path = self.path(name);
        let sight = Sight::from(&fs::metadata(&path).expect("exists"));
        self.digests.content(path.as_os_str().as_bytes(), &sight, None).expect("reads").1
    }
}

/// Writes other content of the same length and puts the modification time back.
fn change_unseen(path: &Path, content: &[u8]) {
    let meta = fs::metadata(path).expect("exists");
    assert_eq!(meta.len(), content.len() as u64);
    let mode = meta.permissions();
    fs::set_permissions(path, Permissions::from_mode(0o644)).expect("chmod");
    fs::write(path, content).expect("writes");
    let file = File::options().write(true).open(path).expect("opens");
    file.set_times(FileTimes::new().set_modified(meta.modified().expect("mtime"))).expect("utimes");
    fs::set_permissions(path, mode).expect("chmod");
}

#[test]
fn a_change_that_keeps_size_and_time_is_seen_however_soon_it_comes() {
    let bench = Bench::new();
    fs::write(bench.path("f"), "0000").expect("writes");
    for i in 0..500 {
        let content = format!("{i:04}");
        change_unseen(&bench.path("f"), content.as_bytes());
        assert_eq!(bench.of("f").digest, Digest::of(content.as_bytes()), "change {i}");
    }
}

#[test]
fn what_does_not_change_is_read_once_and_known_since_then() {
    let bench = Bench::new();
    fs::write(bench.path("f"), "content").expect("writes");
    std::thread::sleep(Duration::from_millis(40));
    let first = bench.of("f");
    assert!(matches!(first.by, By::Stamp { since } if since <= now_ns()));
    assert_eq!(bench.of("f"), first);
    assert_eq!(bench.digests.take_unsaved().project.len(), 1);
}

#[test]
fn a_link_of_a_blob_is_known_without_being_read() {
    let bench = Bench::new();
    let cas = Cas::open(bench.path("store"));
    let blob = cas.insert_bytes(b"artifact").expect("inserts");
    let meta = cas.check(&blob).expect("sound");
    bench.digests.learn_blob(&Sight::from(&meta), blob.digest);
    fs::hard_link(cas.path(&blob), bench.path("lib.rmeta")).expect("links");
    assert_eq!(bench.of("lib.rmeta"), Known { digest: blob.digest, by: By::Blob });
    assert_eq!(bench.digests.len(), 0, "nothing was hashed");
    // A writer that the blob's attributes give away.
    fs::set_permissions(bench.path("lib.rmeta"), Permissions::from_mode(0o644)).expect("chmod");
    fs::write(bench.path("lib.rmeta"), "ARTIFACT").expect("writes");
    fs::set_permissions(bench.path("lib.rmeta"), Permissions::from_mode(0o444)).expect("chmod");
    assert_eq!(bench.of("lib.rmeta").digest, Digest::of(b"ARTIFACT"));
}

#[test]
fn a_blob_is_recognised_by_the_expected_content_after_a_restart() {
    let bench = Bench::new();
    let cas = Cas::open(bench.path("store"));
    let blob = cas.insert_bytes(b"artifact").expect("inserts");
    let path = bench.path("lib.rmeta");
    fs::hard_link(cas.path(&blob), &path).expect("links");
    let meta = Sight::from(&fs::metadata(&path).expect("exists"));
    let bytes = path.as_os_str().as_bytes();
    assert_eq!(bench.digests.peek(bytes, &meta, Some(Digest::of(b"other"))), None);
    let known = bench.digests.peek(bytes, &meta, Some(blob.digest)).expect("recognised");
    assert_eq!(known, Known { digest: blob.digest, by: By::Blob });
    assert_eq!(bench.digests.peek(bytes, &meta, None), Some(known), "and remembered");
}

#[test]
fn looking_like_a_blob_is_not_enough() {
    let bench = Bench::new();
    let path = bench.path("fake");
    fs::write(&path, "fake").expect("writes");
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(BLOB_MTIME as u64);
    File::options().write(true).open(&path).expect("opens").set_times(FileTimes::new().set_modified(time)).expect("utimes");
    fs::set_permissions(&path, Permissions::from_mode(0o444)).expect("chmod");
    assert!(is_blob_like(&Sight::from(&fs::metadata(&path).expect("exists"))));
    assert_eq!(bench.of("fake").digest, Digest::of(b"fake"));
    change_unseen(&path, b"FAKE");
    assert_eq!(bench.of("fake").digest, Digest::of(b"FAKE"));
}

#[test]
fn names_come_and_go_in_listings() {
    let bench = Bench::new();
    fs::create_dir(bench.path("d")).expect("creates");
    let of = || {
        let path = bench.path("d");
        let meta = Sight::from(&fs::metadata(&path).expect("exists"));
        bench.digests.listing(path.as_os_str().as_bytes(), &meta).expect("lists").1.digest
    };
    let mut seen = vec![of()];
    for i in 0..100 {
        fs::write(bench.path(&format!("d/{i}")), "").expect("writes");
        let digest = of();
        assert!(!seen.contains(&digest), "entry {i}");
        seen.push(digest);
    }
}

#[test]
fn packages_are_asked_for_as_a_whole() {
    let of = |path: &str| String::from_utf8_lossy(neighbourhood(path.as_bytes())).into_owned();
    assert_eq!(of("/c/registry/src/index-1/serde-1.0/src/de/mod.rs"), "/c/registry/src/index-1/serde-1.0");
    assert_eq!(of("/usr/lib/gcc/x.o"), "/usr/lib/gcc");
    assert_eq!(of("/etc/passwd"), "");
}
