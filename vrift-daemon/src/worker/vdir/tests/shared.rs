//! The map of shared trees: told of on demand, kept for all projects.

use std::fs::{self, Permissions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use nix::unistd::geteuid;
use vrift_core::digest::Digest;
use vrift_core::home::Home;
use vrift_core::paths::AbsPath;
use vrift_core::settings::Settings;
use vrift_core::vdir::Answer;
use vrift_core::vdir::layout::flag;
use vrift_core::wire::KnownFile;
use vrift_store::manifest::BaseWriter;

use super::super::{Plan, Trees, VDir};
use super::{Kept, now, start, wait_for};
use crate::worker::base::Base;
use crate::worker::sight::look;

/// Keeps a map with the tree as one of those that all projects share.
pub(super) fn keep_shared(base: &Path, fill: impl FnOnce(&Path)) -> Kept {
    start(base, fill, |root| {
        let plan = Plan::of_shared_trees(root.as_path(), &Settings::default());
        plan.shared.add_top(root.as_bytes());
        plan
    })
}

#[test]
fn shared_trees_are_told_of_folder_by_folder() {
    let kept = keep_shared(&std::env::temp_dir(), |root| {
        fs::create_dir_all(root.join("crate-1.0/src")).expect("creates");
        fs::write(root.join("crate-1.0/src/lib.rs"), "").expect("writes");
        fs::write(root.join("CACHEDIR.TAG"), "").expect("writes");
        fs::create_dir_all(root.join("closed/in")).expect("creates");
        fs::set_permissions(root.join("closed"), Permissions::from_mode(0o300)).expect("chmod");
    });
    // Above a tree the map knows what leads to it, and nothing else.
    let root = kept.below("");
    let above = &root[..root.iter().rposition(|c| *c == b'/').expect("deep")];
    assert!(matches!(kept.reader.look(above, now()), Answer::Found(_)));
    assert_eq!(kept.reader.look(&[above, b"/none"].concat(), now()), Answer::Unknown);
    assert_eq!(kept.reader.look(b"none", now()), Answer::Unknown);
    assert!(matches!(kept.look(""), Answer::Found(_)));
    assert_eq!(kept.look("none"), Answer::Unknown, "nobody has asked yet");
    wait_for(|| kept.compare("crate-1.0/src/lib.rs").then_some(()));
    for path in ["none", "crate-1.0/none/at/all", "crate-1.0/src/none"] {
        wait_for(|| (kept.look(path) == Answer::Fails(2)).then_some(()));
    }
    wait_for(|| kept.compare("crate-1.0/src").then_some(()));
    if !geteuid().is_root() {
        std::thread::sleep(Duration::from_millis(200));
        assert_eq!(kept.look("closed/none"), Answer::Unknown);
    }
    fs::set_permissions(kept.path("closed"), Permissions::from_mode(0o700)).expect("chmod");
    fs::rename(kept.path("crate-1.0"), kept.path("crate-2.0")).expect("renames");
    assert!(!matches!(kept.look("crate-1.0/src/lib.rs"), Answer::Found(_)), "as soon as the rename has returned");
    wait_for(|| (kept.look("crate-1.0/src/lib.rs") == Answer::Fails(2)).then_some(()));
    wait_for(|| kept.compare("crate-2.0/src/lib.rs").then_some(()));
}

#[test]
fn a_shared_tree_that_is_moved_or_comes_later_is_known_where_it_is() {
    let above = tempfile::tempdir().expect("tempdir");
    let kept = keep_shared(above.path(), |root| fs::write(root.join("x"), "").expect("writes"));
    wait_for(|| kept.compare("x").then_some(()));
    let (root, elsewhere) = (kept.path(""), above.path().canonicalize().expect("there").join("elsewhere"));
    fs::rename(&root, &elsewhere).expect("renames");
    assert!(!matches!(kept.look("x"), Answer::Found(_)), "as soon as the rename has returned");
    fs::rename(&elsewhere, &root).expect("renames");
    let reader = kept.next_reader();
    let path = kept.below("x");
    wait_for(|| matches!(reader.look(&path, now()), Answer::Found(_)).then_some(()));
    let later = tempfile::tempdir().expect("tempdir");
    let folder = later.path().canonicalize().expect("there");
    fs::write(folder.join("y"), "").expect("writes");
    kept.shared.add_top(folder.as_os_str().as_bytes());
    // One inside another, or what is no folder, changes nothing.
    kept.shared.add_top(folder.join("y").as_os_str().as_bytes());
    kept.shared.add_top(b"/");
    let path = folder.join("y").into_os_string().into_encoded_bytes()[1..].to_vec();
    wait_for(|| matches!(reader.look(&path, now()), Answer::Found(_)).then_some(()));
}

#[test]
fn a_map_of_shared_trees_grows_and_keeps_what_it_knew() {
    let kept = keep_shared(&std::env::temp_dir(), |root| {
        fs::write(root.join("first"), "").expect("writes");
        fs::create_dir(root.join("many")).expect("creates");
        for n in 0..9000 {
            fs::write(root.join(format!("many/{n}")), "").expect("writes");
        }
    });
    wait_for(|| kept.compare("first").then_some(()));
    let asked = kept.look("many/none");
    assert_eq!(asked, Answer::Unknown);
    wait_for(|| kept.reader.has_ended().then_some(()));
    let reader = kept.next_reader();
    let first = reader.look(&kept.below("first"), now());
    assert!(matches!(first, Answer::Found(found) if found.flags & flag::STAT != 0), "{first:?}");
    let (many, none) = (kept.below("many/8999"), kept.below("many/none"));
    wait_for(|| matches!(reader.look(&many, now()), Answer::Found(_)).then_some(()));
    assert_eq!(reader.look(&none, now()), Answer::Fails(2));
}

#[test]
fn digests_of_shared_files_are_found_in_the_manifest_and_in_the_map() {
    let state = tempfile::tempdir().expect("tempdir");
    let home = Home::at(state.path().to_owned());
    let tree = tempfile::tempdir().expect("tempdir");
    let root = tree.path().canonicalize().expect("there");
    let file = |name: &str| {
        let path = root.join(name);
        fs::write(&path, name).expect("writes");
        let path = AbsPath::try_from(path.as_path()).expect("absolute");
        let stamp = look(path.as_bytes()).expect("there").stamp;
        KnownFile { path, stamp, digest: Digest::of(name.as_bytes()) }
    };
    let (known, told) = (file("known"), file("told"));
    BaseWriter::open(&home).and_then(|mut writer| writer.insert_files(std::slice::from_ref(&known))).expect("inserts");
    let plan = Plan {
        delay: Duration::ZERO,
        known: Some(Arc::new(Base::new(home.clone()))),
        ..Plan::of_shared_trees(home.dir(), &Settings::default())
    };
    let shared = Arc::clone(&plan.shared);
    shared.add_top(root.as_os_str().as_bytes());
    let trees = Trees::of(home.dir());
    assert!(trees.view().is_none());
    let kept = VDir::start(plan).expect("starts");
    let view = || wait_for(|| trees.view());
    for file in [&known, &told] {
        let seen = wait_for(|| view().look(file.path.as_bytes(), true)).expect("there");
        assert_eq!(seen, look(file.path.as_bytes()).expect("there"));
    }
    assert_eq!(wait_for(|| view().digest(known.path.as_bytes())), known.digest, "an earlier build hashed it");
    assert_eq!(view().digest(told.path.as_bytes()), None);
    shared.learn_all(std::slice::from_ref(&told));
    assert_eq!(wait_for(|| view().digest(told.path.as_bytes())), told.digest, "a worker hashed it");
    fs::write(told.path.as_path(), "else").expect("writes");
    assert!(trees.view().is_none_or(|view| view.digest(told.path.as_bytes()).is_none()), "as soon as the write has returned");
    drop(kept);
    assert!(trees.view().is_none());
}
