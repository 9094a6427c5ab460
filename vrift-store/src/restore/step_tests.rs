//! Tests of restoring all kinds of output.

use std::os::unix::fs::PermissionsExt;

use vrift_core::action::Place;
use vrift_core::paths::{AbsPath, Root};

use super::*;
use crate::testing::{Bench, mode};

fn step(bench: &Bench, name: &str, state: OutputState) -> RestoreStep {
    RestoreStep { path: AbsPath::try_from(bench.path(name).as_path()).expect("absolute"), state, optional: false }
}

fn file(blob: &Blob, place: Place, mode: u32) -> OutputState {
    OutputState::File { blob: blob.digest, size: blob.size, mode, place }
}

fn here(bench: &Bench) -> Roots {
    Roots::new([(Root::Project, AbsPath::try_from(bench.path("").as_path()).expect("absolute"))])
}

#[test]
fn all_kinds_of_output_come_back() {
    let bench = Bench::new();
    let blob = bench.cas.insert_bytes(b"content").expect("inserts");
    let elsewhere = Roots::new([(Root::Project, AbsPath::new(b"/w/a").expect("absolute"))]);
    let target = |text: &str| OutputState::Symlink { target: elsewhere.template_text(text.as_bytes()) };
    fs::write(bench.path("gone"), b"").expect("write");
    let steps = [
        step(&bench, "out", OutputState::Dir { mode: 0o750 }),
        step(&bench, "out/empty", OutputState::Dir { mode: 0o1777 }),
        step(&bench, "out/file", file(&blob, Place::Copy, 0o640)),
        step(&bench, "out/link", target("/w/a/out/file")),
        step(&bench, "deep/relative", target("../out/file")),
        step(&bench, "gone", OutputState::Removed),
        step(&bench, "never/was/there", OutputState::Removed),
    ];
    // Twice: what is there already is no obstacle.
    for _ in 0..2 {
        bench.cas.restore_all(&steps, &here(&bench)).expect("restores");
        assert_eq!((mode(&bench.path("out")), mode(&bench.path("out/empty"))), (0o750, 0o1777));
        assert_eq!(fs::read(bench.path("out/file")).expect("read"), b"content");
        assert_eq!(fs::read_link(bench.path("out/link")).expect("link"), bench.path("out/file"));
        assert_eq!(fs::read(bench.path("deep/relative")).expect("read"), b"content");
        assert!(!bench.path("gone").exists() && !bench.path("never").exists());
    }
    // A link to somewhere else is replaced, what it points to is not.
    fs::remove_file(bench.path("out/link")).expect("unlink");
    std::os::unix::fs::symlink("file", bench.path("out/link")).expect("symlink");
    bench.cas.restore_all(&steps, &here(&bench)).expect("restores");
    assert_eq!(fs::read_link(bench.path("out/link")).expect("link"), bench.path("out/file"));
    assert!(bench.leftovers().is_empty());
}

#[test]
fn a_removed_tree_goes_from_the_inside_out() {
    let bench = Bench::new();
    fs::create_dir_all(bench.path("tree/sub")).expect("mkdir");
    fs::write(bench.path("tree/sub/file"), b"").expect("write");
    let removed = |name| step(&bench, name, OutputState::Removed);
    let steps = [removed("tree"), removed("tree/sub"), removed("tree/sub/file")];
    // Something that the recorded run did not know of keeps its folder.
    fs::write(bench.path("tree/sub/mine"), b"").expect("write");
    let failure = bench.cas.restore_all(&steps, &here(&bench)).expect_err("not empty");
    assert_eq!(failure.step, 1);
    assert!(bench.path("tree/sub/mine").exists());
    fs::remove_file(bench.path("tree/sub/mine")).expect("unlink");
    bench.cas.restore_all(&steps, &here(&bench)).expect("restores");
    assert!(!bench.path("tree").exists());
}

#[test]
fn a_tree_may_turn_into_a_file_and_back() {
    let bench = Bench::new();
    let blob = bench.cas.insert_bytes(b"content").expect("inserts");
    fs::create_dir(bench.path("x")).expect("mkdir");
    fs::write(bench.path("x/y"), b"").expect("write");
    let steps = [step(&bench, "x/y", OutputState::Removed), step(&bench, "x", OutputState::Removed)];
    bench.cas.restore_all(&[steps[1].clone(), steps[0].clone()], &here(&bench)).expect("restores");
    bench.cas.restore_all(&[step(&bench, "x", file(&blob, Place::Copy, 0o644))], &here(&bench)).expect("restores");
    // What is below a file is gone by definition.
    bench.cas.restore_all(&[steps[0].clone()], &here(&bench)).expect("nothing to do");
    let failure = bench.cas.restore_all(&[step(&bench, "x", OutputState::Dir { mode: 0o755 })], &here(&bench));
    assert!(matches!(failure.expect_err("a file").error, RestoreError::Invalid { .. }));
}

#[test]
fn optional_outputs_keep_out_of_the_way() {
    let bench = Bench::new();
    let blob = bench.cas.insert_bytes(b"stored").expect("inserts");
    let optional = RestoreStep { optional: true, ..step(&bench, "inc/x", file(&blob, Place::Copy, 0o644)) };
    assert_eq!(bench.cas.restore_step(&optional, &here(&bench)).expect("restores"), Restored::Copied);
    fs::write(bench.path("inc/x"), b"newer").expect("write");
    assert_eq!(bench.cas.restore_step(&optional, &here(&bench)).expect("skips"), Restored::Skipped);
    assert_eq!(fs::read(bench.path("inc/x")).expect("read"), b"newer");
    // A link to nowhere is something too.
    fs::remove_file(bench.path("inc/x")).expect("unlink");
    std::os::unix::fs::symlink("nowhere", bench.path("inc/x")).expect("symlink");
    assert_eq!(bench.cas.restore_step(&optional, &here(&bench)).expect("skips"), Restored::Skipped);
}

#[test]
fn a_folder_keeps_what_is_in_it() {
    let bench = Bench::new();
    fs::create_dir(bench.path("d")).expect("mkdir");
    fs::set_permissions(bench.path("d"), fs::Permissions::from_mode(0o700)).expect("chmod");
    fs::write(bench.path("d/mine"), b"").expect("write");
    bench.cas.restore_all(&[step(&bench, "d", OutputState::Dir { mode: 0o755 })], &here(&bench)).expect("restores");
    assert_eq!(mode(&bench.path("d")), 0o755);
    assert!(bench.path("d/mine").exists());
}
