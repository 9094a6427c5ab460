//! Real projects in C and C++: the second checkout compiles nothing, and is right.

use std::path::Path;

use anyhow::{Context, ensure};
use integration::Result;
use integration::env::TestEnv;
use integration::native::{self, Native};
use integration::snapshot::{Entry, Exceptions, Snapshot};
use integration::steps::Steps;

/// `once`: a second checkout is not configured for real. One whose sources come with files that configuring writes over is: nobody knows
/// whose they are.
fn scenario(project: &Native, once: bool) -> Result {
    let env = TestEnv::new()?;
    let first = env.checkout_of(&project.sources, "one/first")?;
    for script in [project.configure, project.build] {
        Native::cmd(&first, script, true).ok()?;
    }
    let second = env.checkout_of(&project.sources, "another/place/second")?;
    let mut steps = Steps::default();
    steps.step("configuring the second checkout tries nothing out", || {
        let configured = Native::cmd(&second, project.configure, true).judged()?;
        if once { configured.nothing_ran() } else { Ok(()) }
    });
    steps.step("no compiler, assembler, linker or archiver runs in the second checkout", || {
        Native::cmd(&second, project.build, true).judged()?.nothing_ran()
    });
    steps.step("the build tool has nothing to do in either", || {
        [&first, &second].iter().try_for_each(|checkout| checkout.sh(project.is_done).ok().map(drop))
    });
    steps.step("the project's own tests pass", || second.sh(project.check).ok().map(drop));
    steps.step("every byte is that of an uncached build at the same place", || {
        let ours = binaries(second.dir())?;
        let held = env.path().join("out/held");
        std::fs::rename(second.dir(), &held)?;
        let again = env.checkout_of(&project.sources, "another/place/second")?;
        for script in [project.configure, project.build] {
            Native::cmd(&again, script, true).env("VRIFT_RECACHE", "1").ok().context("the uncached build failed")?;
        }
        if !project.check.is_empty() {
            // The tests of some build programs of their own.
            again.sh(project.check).ok()?;
        }
        ensure!(ours.0.len() >= 5, "only {} objects and programs", ours.0.len());
        ours.same_as(&binaries(again.dir())?, &Exceptions::load()?)
    });
    steps.finish()
}

/// Objects, archives, libraries and programs.
fn binaries(dir: &Path) -> Result<Snapshot> {
    let mut snapshot = Snapshot::of(dir)?;
    snapshot.0.retain(|path, entry| {
        let head = std::fs::read(dir.join(path)).unwrap_or_default();
        let binary = head.starts_with(b"\x7fELF") || head.starts_with(b"!<arch>");
        matches!(entry, Entry::File { .. }) && binary && !path.to_string_lossy().contains("CMakeFiles/3.")
    });
    Ok(snapshot)
}

#[test]
fn zlib() -> Result {
    scenario(&native::zlib()?, false)
}

#[test]
fn lua() -> Result {
    scenario(&native::lua()?, true)
}

#[test]
fn gawk() -> Result {
    scenario(&native::gawk()?, true)
}

#[test]
fn fribidi() -> Result {
    scenario(&native::fribidi()?, true)
}

#[test]
fn yaml_cpp() -> Result {
    scenario(&native::yaml_cpp()?, true)
}
