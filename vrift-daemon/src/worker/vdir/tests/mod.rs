//! What the map says, compared with the kernel, while files change in every way.

mod shared;

use std::fs::{self, File, Permissions};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use nix::unistd::geteuid;
use vrift_core::digest::Digest;
use vrift_core::identity::ProjectId;
use vrift_core::paths::AbsPath;
use vrift_core::settings::Settings;
use vrift_core::vdir::layout::flag;
use vrift_core::vdir::{Answer, Found, Reader};

use super::super::sight::{look, look_itself};
use super::{Limits, Plan, Shared, VDir};
use shared::keep_shared;

struct Kept {
    dir: tempfile::TempDir,
    _vdir: VDir,
    reader: Reader,
    place: PathBuf,
    root: AbsPath,
    shared: Arc<Shared>,
}

fn keep(base: &Path, fill: impl FnOnce(&Path)) -> Kept {
    start(base, fill, |root| Plan::of_project(ProjectId::new(root, None), root, &Settings::default()))
}

fn start(base: &Path, fill: impl FnOnce(&Path), plan: impl FnOnce(&AbsPath) -> Plan) -> Kept {
    let dir = tempfile::tempdir_in(base).expect("tempdir");
    fill(dir.path());
    let root = AbsPath::try_from(fs::canonicalize(dir.path()).expect("canonical").as_path()).expect("absolute");
    let plan = Plan { limits: Limits { size: 1 << 30, files: 1 << 20 }, delay: Duration::ZERO, ..plan(&root) };
    let (place, shared) = (plan.place.clone(), Arc::clone(&plan.shared));
    let vdir = VDir::start(plan).expect("starts");
    let reader = wait_for(|| vrift_core::vdir::open(&place, geteuid().as_raw()).ok());
    Kept { dir, _vdir: vdir, reader, place, root, shared }
}

fn wait_for<T>(mut what: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = what() {
            return found;
        }
        assert!(began.elapsed() < Duration::from_secs(20), "nothing came");
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs()
}

impl Kept {
    fn path(&self, path: &str) -> PathBuf {
        if path.is_empty() { self.dir.path().to_owned() } else { self.dir.path().join(path) }
    }

    /// The map that takes this one's place.
    fn next_reader(&self) -> Reader {
        let open = || vrift_core::vdir::open(&self.place, geteuid().as_raw()).ok();
        wait_for(|| open().filter(|reader| reader.generation != self.reader.generation))
    }

    fn look(&self, path: &str) -> Answer<Found> {
        self.reader.look(&self.below(path), now())
    }

    /// The path as the map has it.
    fn below(&self, path: &str) -> Vec<u8> {
        if !self.reader.is_on_demand() {
            return path.into();
        }
        let whole = self.root.as_path().join(path).into_os_string().into_encoded_bytes();
        whole.trim_ascii_end().strip_prefix(b"/").map(|path| path.strip_suffix(b"/").unwrap_or(path).to_vec()).expect("absolute")
    }

    /// Compares what the map says of a path with what the kernel says; whether the map said anything.
    fn compare(&self, path: &str) -> bool {
        let answer = self.look(path);
        let kernel = fs::symlink_metadata(self.path(path));
        match (answer, kernel) {
            (Answer::Unknown, _) => false,
            (Answer::Fails(number), Err(e)) => {
                assert_eq!(e.raw_os_error(), Some(number), "{path}");
                true
            }
            (Answer::Found(found), Ok(meta)) => {
                let kind = match meta.file_type() {
                    kind if kind.is_file() => flag::FILE,
                    kind if kind.is_dir() => flag::DIR,
                    kind if kind.is_symlink() => flag::LINK,
                    kind => {
                        assert!(kind.is_fifo() || kind.is_socket(), "{path}");
                        flag::OTHER
                    }
                };
                assert_eq!((found.kind(), found.ino), (kind, meta.ino()), "{path}");
                if found.flags & flag::STAT == 0 {
                    self.reader.ask(found.number);
                } else {
                    let ns = |s: i64, ns: i64| s * 1_000_000_000 + ns;
                    let times = [
                        ns(meta.atime(), meta.atime_nsec()),
                        ns(meta.mtime(), meta.mtime_nsec()),
                        ns(meta.ctime(), meta.ctime_nsec()),
                        found.times[3],
                    ];
                    assert_eq!(found.times, times, "{path}");
                    assert_eq!((found.size, u64::from(found.blocks)), (meta.size(), meta.blocks()), "{path}");
                    assert_eq!(
                        (found.mode, u64::from(found.nlink), found.dev),
                        (meta.mode(), meta.nlink(), meta.dev()),
                        "{path}"
                    );
                    assert_eq!(
                        (found.uid, found.gid, u64::from(found.blksize)),
                        (meta.uid(), meta.gid(), meta.blksize()),
                        "{path}"
                    );
                }
                let mut room = [0; 4096];
                if let Some(target) = self.reader.target(&found, &mut room, now()) {
                    assert_eq!(fs::read_link(self.path(path)).expect("a link").as_os_str().as_bytes(), target);
                }
                if let Some(mut names) = self.reader.names(&found, now()) {
                    let mut all = Vec::new();
                    while let Ok(Some(name)) = names.next(&mut room) {
                        all.push(room[..name.len].to_vec());
                    }
                    if names.hold() {
                        let kernel = fs::read_dir(self.path(path))
                            .expect("lists")
                            .map(|e| e.expect("entry").file_name().into_encoded_bytes());
                        assert_eq!(all, kernel.collect::<Vec<_>>(), "{path}");
                    }
                }
                found.flags & flag::STAT != 0
            }
            (answer, kernel) => panic!("{path}: {answer:?}, and the kernel {kernel:?}"),
        }
    }
}

/// A small generator of numbers; the seed is printed by whoever fails.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) % sides as u64) as usize
    }

    fn path(&mut self) -> String {
        let depth = 1 + self.roll(3);
        (0..depth).map(|_| ["a", "b", "c", "dd", "e.rs"][self.roll(5)]).collect::<Vec<_>>().join("/")
    }
}

/// One change, by whatever works.
fn change(root: &Path, outside: &Path, dice: &mut Dice) {
    let (one, two) = (root.join(dice.path()), root.join(dice.path()));
    let spare = outside.join("spare");
    let _ = match dice.roll(16) {
        0 | 1 => fs::create_dir(&one),
        2 | 3 => fs::write(&one, "x".repeat(dice.roll(9000))),
        4 => fs::rename(&one, &two),
        5 => fs::remove_file(&one),
        6 => fs::remove_dir_all(&one),
        7 => symlink("no-folder/nothing", &one),
        8 => fs::hard_link(&one, &two),
        9 => fs::hard_link(&one, &spare)
            .and_then(|()| fs::write(&spare, "through another name"))
            .and_then(|()| fs::remove_file(&spare)),
        10 => fs::set_permissions(&one, Permissions::from_mode([0o644, 0o600, 0o755, 0o444][dice.roll(4)])),
        11 => File::options().write(true).open(&one).and_then(|file| file.set_len(dice.roll(5000) as u64)),
        12 => File::options().append(true).open(&one).and_then(|mut file| file.write_all(b"more")),
        13 => File::options()
            .write(true)
            .open(&one)
            .and_then(|file| file.set_modified(UNIX_EPOCH + Duration::from_secs(dice.roll(1 << 30) as u64))),
        14 => fs::rename(&one, &spare).and_then(|()| fs::rename(&spare, &two)),
        _ => fs::read(&one).map(drop),
    };
}

#[test]
fn the_map_says_what_the_kernel_says() {
    for base in [Path::new("/dev/shm"), &std::env::temp_dir()] {
        random_changes(base, |base, fill| keep(base, fill));
        random_changes(base, |base, fill| keep_shared(base, fill));
    }
}

fn random_changes(base: &Path, keep: fn(&Path, fn(&Path)) -> Kept) {
    let outside = tempfile::tempdir_in(base).expect("tempdir");
    let kept = keep(base, |root| fs::write(root.join("a"), "first").expect("writes"));
    let mut dice = Dice(17);
    let (mut answers, mut whole) = (0, 0);
    for round in 0..3_000 {
        change(kept.dir.path(), outside.path(), &mut dice);
        if round % 8 == 0 {
            std::thread::sleep(Duration::from_millis(4));
        }
        for _ in 0..12 {
            let path = dice.path();
            let said = kept.compare(&path);
            answers += usize::from(!matches!(kept.look(&path), Answer::Unknown));
            whole += usize::from(said);
        }
        kept.compare("");
    }
    let place = kept.place.display();
    assert!(answers > 500 && whole > 50, "{place}, {}: {answers} answers, {whole} of them whole", base.display());
}

#[test]
fn what_is_asked_for_is_told_until_it_changes() {
    let kept = keep(&std::env::temp_dir(), |root| {
        fs::create_dir_all(root.join("src/deep")).expect("creates");
        fs::write(root.join("src/deep/x.rs"), "fn x() {}").expect("writes");
        fs::create_dir_all(root.join("target/debug")).expect("creates");
        fs::write(root.join("target/CACHEDIR.TAG"), "").expect("writes");
        fs::create_dir_all(root.join(".git/objects")).expect("creates");
    });
    assert_eq!(kept.look("target/debug"), Answer::Unknown, "left out");
    assert_eq!(kept.look(".git/none"), Answer::Unknown, "left out");
    assert_eq!(kept.look("src/none"), Answer::Fails(2));
    for path in ["src/deep/x.rs", "src/deep", "src", ""] {
        wait_for(|| kept.compare(path).then_some(()));
    }
    fs::write(kept.path("src/deep/x.rs"), "fn y() {}").expect("writes");
    assert_eq!(kept.look("src/deep/x.rs"), Answer::Unknown, "as soon as the write has returned");
    wait_for(|| kept.compare("src/deep/x.rs").then_some(()));
    fs::rename(kept.path("src"), kept.path("lib")).expect("renames");
    wait_for(|| (kept.look("src/deep/x.rs") == Answer::Fails(2) && kept.compare("lib/deep/x.rs")).then_some(()));
}

#[test]
fn damage_is_noticed_and_the_map_is_made_anew() {
    let kept = keep(&std::env::temp_dir(), |root| fs::write(root.join("x"), "x").expect("writes"));
    let file = File::options().write(true).open(&kept.place).expect("opens");
    let len = file.metadata().expect("there").len();
    let page = vrift_core::vdir::layout::REGIONS as u64;
    for at in (page..len).step_by(8) {
        std::os::unix::fs::FileExt::write_all_at(&file, &[0xff], at).expect("writes");
    }
    assert_eq!(kept.look("x"), Answer::Unknown);
    wait_for(|| kept.reader.has_ended().then_some(()));
    let reader = kept.next_reader();
    wait_for(|| matches!(reader.look(b"x", now()), Answer::Found(_)).then_some(()));
}

#[test]
fn a_map_that_somebody_removed_is_made_anew() {
    let kept = keep(&std::env::temp_dir(), |root| fs::write(root.join("x"), "x").expect("writes"));
    fs::remove_file(&kept.place).expect("removes");
    let reader = kept.next_reader();
    assert!(kept.reader.has_ended());
    wait_for(|| matches!(reader.look(b"x", now()), Answer::Found(_)).then_some(()));
}

#[test]
fn a_map_that_is_too_small_is_replaced_and_its_end_leaves_nothing() {
    let kept = keep(&std::env::temp_dir(), |_| {});
    fs::create_dir(kept.path("many")).expect("creates");
    for n in 0..5000 {
        fs::write(kept.path(&format!("many/{n}")), "").expect("writes");
    }
    wait_for(|| kept.reader.has_ended().then_some(()));
    let reader = kept.next_reader();
    wait_for(|| matches!(reader.look(b"many/4999", now()), Answer::Found(_)).then_some(()));
    let place = kept.place.clone();
    drop(kept);
    assert!(!place.exists() && reader.has_ended());
    assert_eq!(reader.look(b"many", now()), Answer::Unknown);
}

#[test]
fn look_ups_see_in_the_map_what_they_would_see_in_the_tree() {
    let kept = keep(&std::env::temp_dir(), |root| {
        fs::write(root.join("x.rs"), "fn x() {}").expect("writes");
        symlink("x.rs", root.join("link")).expect("links");
    });
    let view = wait_for(|| kept.shared.view(&kept.root));
    let path = |name: &str| kept.root.as_path().join(name).into_os_string().into_encoded_bytes();
    let seen = wait_for(|| view.look(&path("x.rs"), true)).expect("there");
    assert_eq!(seen, look(&path("x.rs")).expect("there"));
    assert_eq!(wait_for(|| view.look(&path("link"), false)).expect("there"), look_itself(&path("link")).expect("there"));
    assert!(view.look(&path("link"), true).is_none(), "where it leads is the kernel's affair");
    assert!(view.lacks(&path("none")) && !view.lacks(&path("x.rs")) && !view.lacks(&path("none/../x.rs")));
    let digest = Digest::of(b"fn x() {}");
    view.learn(&path("x.rs"), &seen, digest);
    assert_eq!(wait_for(|| view.digest(&path("x.rs"))), digest);
    fs::write(kept.path("x.rs"), "fn y() {}").expect("writes");
    assert_eq!(view.digest(&path("x.rs")), None, "as soon as the write has returned");
    assert!(wait_for(|| view.look(&path("x.rs"), true)).is_ok());
    view.learn(&path("x.rs"), &seen, digest);
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(view.digest(&path("x.rs")), None, "that was of another stamp");
}

#[test]
fn a_link_that_nobody_reads_is_told_as_well() {
    let kept = keep(&std::env::temp_dir(), |_| {});
    for name in ["one", "two", "three"] {
        symlink("nowhere", kept.path(name)).expect("links");
        wait_for(|| kept.compare(name).then_some(()));
    }
}

#[test]
fn a_root_that_is_made_anew_is_another_one() {
    for held in [false, true] {
        let above = tempfile::tempdir().expect("tempdir");
        let kept = keep(above.path(), |root| fs::write(root.join("old"), "").expect("write"));
        let root = kept.path("");
        assert!(matches!(kept.look("new"), Answer::Fails(_)));
        // As a shell in it does: such a folder does not tell that it was removed. Without, its number is free for the next one.
        let shell = held.then(|| File::open(&root).expect("opens"));
        fs::remove_dir_all(&root).expect("remove");
        fs::create_dir(&root).expect("mkdir");
        fs::write(root.join("new"), "").expect("write");
        for _ in 0..50 {
            assert!(!matches!(kept.look("new"), Answer::Fails(_)), "held: {held}");
            std::thread::sleep(Duration::from_millis(2));
        }
        drop(shell);
    }
}
