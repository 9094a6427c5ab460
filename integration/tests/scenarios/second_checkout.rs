//! A project built in one checkout costs nothing in the next one, and the next one is right.

use anyhow::ensure;
use integration::Result;
use integration::checkout::Checkout;
use integration::env::TestEnv;
use integration::projects::{self, Project};
use integration::snapshot::{Exceptions, Snapshot};
use integration::steps::Steps;

/// Builds `project` in two checkouts and checks the second one from all sides.
fn scenario(project: &Project, edited: &str, edit: (&str, &str), rebuilt: &[&str]) -> Result {
    let env = TestEnv::new()?;
    let first = env.checkout_of(&project.sources, "one/first")?;
    first.vrift("build").ok()?;
    let second = env.checkout_of(&project.sources, "another/place/second")?;
    let mut steps = Steps::default();
    steps.step("no compiler runs in the second checkout", || {
        let judged = second.vrift("build").judged()?;
        judged.nothing_ran()?;
        ensure!(judged.done.summary().is_some(), "no summary line: {}", judged.done.stderr);
        Ok(())
    });
    steps.step("plain cargo has nothing to do in either", || {
        for checkout in [&first, &second] {
            let judged = checkout.cargo("build").judged()?;
            judged.nothing_ran()?;
            ensure!(judged.done.compiling().is_empty(), "{}", judged.done.stderr);
        }
        Ok(())
    });
    steps.step("statistics can be read by programs", || {
        let stats: serde_json::Value = serde_json::from_str(&second.cmd("vrift").args(["stats", "--json"]).ok()?.stdout)?;
        let hits = stats.pointer("/project/hits").and_then(serde_json::Value::as_u64);
        ensure!(hits.is_some_and(|hits| hits >= 5), "{stats}");
        Ok(())
    });
    steps.step("every byte is that of an uncached build at the same place", || same_bytes(&second));
    steps.step("one edited line rebuilds what it should, with plain cargo and with vrift", || {
        second.edit(edited, edit.0, edit.1)?;
        let judged = second.cargo("build").judged()?;
        judged.compiled_exactly(rebuilt)?;
        first.edit(edited, edit.0, edit.1)?;
        first.vrift("build").judged()?.compiled_exactly(rebuilt)?;
        first.cargo("build").judged()?.nothing_ran()?;
        first.edit(edited, edit.1, edit.0)?;
        first.vrift("build").judged()?.nothing_ran()
    });
    steps.finish()
}

/// Moves the target folder aside, builds again without looking into the store, compares, and puts it back.
fn same_bytes(checkout: &Checkout<'_>) -> Result {
    let target = checkout.path("target");
    let restored = Snapshot::of(&target)?;
    let held = checkout.env().path().join("out/held");
    std::fs::rename(&target, &held)?;
    checkout.vrift("build").env("VRIFT_RECACHE", "1").ok()?;
    let uncached = Snapshot::of(&target)?;
    std::fs::remove_dir_all(&target)?;
    std::fs::rename(&held, &target)?;
    restored.same_as(&uncached, &Exceptions::load()?)
}

#[test]
fn ripgrep() -> Result {
    let edit = ("fn main() -> ExitCode {", "fn main() -> ExitCode {\n    let _one_more = 1;");
    scenario(&projects::ripgrep()?, "crates/core/main.rs", edit, &["rg"])
}

/// C code in build scripts, procedural macros, and a program that is built without incremental state.
#[test]
fn bat() -> Result {
    let edit = ("fn main() {", "fn main() {\n    let _one_more = 1;");
    scenario(&projects::bat()?, "src/bin/bat/main.rs", edit, &["bat"])
}

#[test]
fn workspace() -> Result {
    let edit = (
        "pub fn escape(pattern: &str) -> alloc::string::String {",
        "pub fn escape(pattern: &str) -> alloc::string::String {\n    let _one_more = 1;",
    );
    scenario(&projects::regex_workspace()?, "regex/src/lib.rs", edit, &["regex", "lines"])
}
