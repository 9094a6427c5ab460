//! Whatever happens to a folder, or on the way to it, is seen by the next look.

use std::fs;
use std::path::Path;

use super::*;

const ONCE: Need = Need { several: true, lasting: false };
const OFTEN: Need = Need { several: true, lasting: true };

fn find(folders: &Folders, grain: &Grain, folder: &Path, need: Need) -> Place {
    folders.settle();
    folders.find(folder.as_os_str().as_encoded_bytes(), need, grain)
}

fn lacks(folders: &Folders, grain: &Grain, folder: &Path, name: &str, need: Need) -> bool {
    match find(folders, grain, folder, need) {
        Place::Gone => true,
        Place::Open { folder, stamp, sure } => folder.lacks(name.as_bytes(), &stamp, sure).is_ok(),
        Place::Unknown => panic!("it can be opened"),
    }
}

#[test]
fn what_comes_is_seen_however_soon() {
    [ONCE, OFTEN].into_iter().for_each(what_comes_is_seen);
}

fn what_comes_is_seen(need: Need) {
    let dir = tempfile::tempdir().expect("tempdir");
    let (folders, grain) = (Folders::default(), Grain::new());
    let path = dir.path().join("d");
    assert!(lacks(&folders, &grain, &path, "x", need));
    fs::create_dir(&path).expect("creates");
    for i in 0..200 {
        assert!(lacks(&folders, &grain, &path, "x", need), "{i}");
        assert!(lacks(&folders, &grain, &path, "x", need), "{i}");
        fs::write(path.join("x"), "").expect("writes");
        assert!(!lacks(&folders, &grain, &path, "x", need), "{i}");
        fs::remove_file(path.join("x")).expect("removes");
    }
}

#[test]
fn another_folder_in_its_place_is_another_folder() {
    [ONCE, OFTEN].into_iter().for_each(another_folder_in_its_place);
}

fn another_folder_in_its_place(need: Need) {
    let dir = tempfile::tempdir().expect("tempdir");
    let (folders, grain) = (Folders::default(), Grain::new());
    let path = dir.path().join("d");
    fs::create_dir(&path).expect("creates");
    assert!(lacks(&folders, &grain, &path, "x", need));
    fs::create_dir(dir.path().join("e")).expect("creates");
    fs::write(dir.path().join("e/x"), "").expect("writes");
    fs::rename(&path, dir.path().join("old")).expect("renames");
    fs::rename(dir.path().join("e"), &path).expect("renames");
    assert!(!lacks(&folders, &grain, &path, "x", need));
    fs::remove_dir_all(&path).expect("removes");
    fs::write(&path, "").expect("writes");
    assert!(lacks(&folders, &grain, &path, "x", need), "nothing is below a file");
}

#[test]
fn a_link_that_leads_nowhere_is_looked_at_again() {
    [ONCE, OFTEN].into_iter().for_each(a_link_that_leads_nowhere);
}

fn a_link_that_leads_nowhere(need: Need) {
    let dir = tempfile::tempdir().expect("tempdir");
    let (folders, grain) = (Folders::default(), Grain::new());
    fs::create_dir(dir.path().join("d")).expect("creates");
    std::os::unix::fs::symlink("../target", dir.path().join("d/x")).expect("links");
    assert!(lacks(&folders, &grain, &dir.path().join("d"), "x", need));
    fs::write(dir.path().join("target"), "").expect("writes");
    assert!(!lacks(&folders, &grain, &dir.path().join("d"), "x", need));
}

/// A watched folder two levels down, with a file that was looked at, and one that was not there.
struct Tree {
    dir: tempfile::TempDir,
    folders: Folders,
    grain: Grain,
}

impl Tree {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("tempdir");
        let tree = Self { dir, folders: Folders::default(), grain: Grain::new() };
        fs::create_dir_all(tree.at("up/down")).expect("creates");
        fs::write(tree.at("up/down/file"), "old").expect("writes");
        for _ in 0..WATCHED_FROM {
            tree.size();
        }
        let Place::Open { folder, .. } = tree.find() else { panic!("it is there") };
        assert!(folder.is_watched(), "asked for often enough");
        tree
    }

    fn at(&self, path: &str) -> std::path::PathBuf {
        self.dir.path().join(path)
    }

    fn find(&self) -> Place {
        find(&self.folders, &self.grain, &self.at("up/down"), OFTEN)
    }

    /// The file's size, where it is there.
    fn size(&self) -> Option<u64> {
        match self.find() {
            Place::Open { folder, .. } => folder.look(b"file", true).ok().map(|sight| sight.stamp.size),
            Place::Gone => None,
            Place::Unknown => panic!("it can be opened"),
        }
    }

    /// The same, asked of the kernel.
    fn real_size(&self) -> Option<u64> {
        fs::metadata(self.at("up/down/file")).ok().map(|meta| meta.len())
    }
}

#[test]
fn nothing_that_happens_on_the_way_goes_unseen() {
    use std::os::unix::fs::symlink;
    let tree = Tree::new();
    let at = |path: &str| tree.at(path);
    let rename = |from: &str, to: &str| fs::rename(tree.at(from), tree.at(to)).expect("renames");
    let steps: [(&str, &dyn Fn()); 19] = [
        ("written to", &|| fs::write(at("up/down/file"), "longer").expect("writes")),
        ("removed", &|| fs::remove_file(at("up/down/file")).expect("removes")),
        ("made again", &|| fs::write(at("up/down/file"), "x").expect("writes")),
        ("another in its place", &|| {
            fs::write(at("other"), "another").expect("writes");
            rename("other", "up/down/file");
        }),
        ("a second name", &|| fs::hard_link(at("up/down/file"), at("second")).expect("links")),
        ("through the second name", &|| fs::write(at("second"), "through the other name").expect("writes")),
        ("folder away", &|| rename("up/down", "down")),
        ("folder back, elsewhere changed", &|| {
            fs::write(at("down/file"), "1234567890").expect("writes");
            rename("down", "up/down");
        }),
        ("way away", &|| rename("up", "away")),
        ("a link in its place", &|| symlink("away", at("up")).expect("links")),
        ("behind the link", &|| fs::write(at("away/down/file"), "behind").expect("writes")),
        ("folder behind the link away", &|| rename("away/down", "away/gone")),
        ("folder behind the link back", &|| rename("away/gone", "away/down")),
        ("link elsewhere", &|| {
            fs::create_dir_all(at("third/down")).expect("creates");
            fs::write(at("third/down/file"), "third place").expect("writes");
            fs::remove_file(at("up")).expect("removes");
            symlink(at("third"), at("up")).expect("links");
        }),
        ("link away", &|| fs::remove_file(at("up")).expect("removes")),
        ("folder again", &|| fs::create_dir_all(at("up/down")).expect("creates")),
        ("file again", &|| fs::write(at("up/down/file"), "once more").expect("writes")),
        ("a file in the way", &|| {
            fs::remove_dir_all(at("up")).expect("removes");
            fs::write(at("up"), "").expect("writes");
        }),
        ("all again", &|| {
            fs::remove_file(at("up")).expect("removes");
            fs::create_dir_all(at("up/down")).expect("creates");
            fs::write(at("up/down/file"), "the end").expect("writes");
        }),
    ];
    for (name, step) in steps {
        step();
        for _ in 0..WATCHED_FROM + 1 {
            assert_eq!(tree.size(), tree.real_size(), "{name}");
        }
    }
}

#[test]
fn kinds_and_links_are_seen_as_they_are() {
    let tree = Tree::new();
    let kind = |follow| match tree.find() {
        Place::Open { folder, .. } => folder.kind(b"file", follow).ok(),
        _ => None,
    };
    assert_eq!((kind(true), kind(false)), (Some(FileKind::File), Some(FileKind::File)));
    fs::rename(tree.at("up/down/file"), tree.at("up/down/real")).expect("renames");
    std::os::unix::fs::symlink("real", tree.at("up/down/file")).expect("links");
    assert_eq!((kind(false), kind(true)), (Some(FileKind::Symlink), Some(FileKind::File)));
    fs::remove_file(tree.at("up/down/real")).expect("removes");
    fs::create_dir(tree.at("up/down/real")).expect("creates");
    assert_eq!((kind(false), kind(true)), (Some(FileKind::Symlink), Some(FileKind::Dir)));
}

#[test]
fn a_mount_is_seen() {
    let tree = Tree::new();
    let run = |args: &[&str]| {
        let at = tree.at("up");
        let done = std::process::Command::new(args[0]).args(&args[1..]).arg(at).output();
        done.is_ok_and(|done| done.status.success())
    };
    if !run(&["mount", "-t", "tmpfs", "none"]) {
        // An ordinary user cannot mount.
        return;
    }
    let below = tree.size();
    assert!(run(&["umount", "-l"]), "it was mounted");
    assert_eq!((below, tree.size()), (None, Some(3)));
}

#[test]
fn writers_and_readers_at_once_never_disagree_for_long() {
    let tree = Tree::new();
    let done = std::sync::atomic::AtomicBool::new(false);
    let (tree, done) = (&tree, &done);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            // Readers that fill the memory while it is being emptied.
            scope.spawn(move || {
                while !done.load(std::sync::atomic::Ordering::Relaxed) {
                    tree.size();
                }
            });
        }
        for i in 0..2000_usize {
            fs::write(tree.at("up/down/file"), "x".repeat(i % 97)).expect("writes");
            assert_eq!(tree.size(), Some((i % 97) as u64), "{i}");
        }
        done.store(true, std::sync::atomic::Ordering::Relaxed);
    });
}

#[test]
fn links_lead_to_plain_paths() {
    let of = |link: &str, target: &str| {
        target_of(link.as_bytes(), target.as_bytes()).map(|path| String::from_utf8_lossy(&path).into_owned())
    };
    assert_eq!(of("/lib", "usr/lib").as_deref(), Some("/usr/lib"));
    assert_eq!(of("/a/b/c", "../d/./e/").as_deref(), Some("/a/d/e"));
    assert_eq!(of("/a/b", "../../..").as_deref(), Some("/"));
    assert_eq!(of("/a/b", "/c").as_deref(), Some("/c"));
    assert_eq!(of("/a/b", "c/../d"), None);
}
