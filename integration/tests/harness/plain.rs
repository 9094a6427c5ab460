//! The measures of the other tests, tried on plain Cargo.

use integration::env::TestEnv;
use integration::snapshot::{Exceptions, Snapshot};
use integration::{Result, small, user};

#[test]
fn the_judge_sees_compilers() -> Result {
    let env = TestEnv::plain()?;
    let checkout = env.checkout("a")?;
    small::workspace(&checkout)?;
    let judged = checkout.cargo("build").judged()?;
    judged.compiled_exactly(&small::WORKSPACE_CRATES)?;
    assert!(judged.nothing_ran().is_err());
    assert_eq!(judged.count("build-script-build"), 1);
    assert!(judged.count("collect2") >= 3, "two programs and a macro are linked");
    assert_eq!(checkout.output_of("app")?, "base one, mid one, mac one, script one, app one\n");
    checkout.cargo("build").judged()?.compiled_exactly(&[])?;
    checkout.edit("mid/src/lib.rs", "mid one", "mid two")?;
    checkout.cargo("build").judged()?.compiled_exactly(&["app", "mid"])?;
    assert_eq!(checkout.output_of("app")?, "base one, mid two, mac one, script one, app one\n");
    Ok(())
}

#[test]
fn two_plain_builds_differ_in_listed_paths_alone() -> Result {
    let env = TestEnv::plain()?;
    let checkout = env.checkout("a")?;
    small::workspace(&checkout)?;
    let mut snapshots = Vec::new();
    for _ in 0..2 {
        checkout.cargo("build").ok()?;
        snapshots.push(Snapshot::of(&checkout.path("target"))?);
        std::fs::remove_dir_all(checkout.path("target"))?;
    }
    snapshots[0].same_as(&snapshots[1], &Exceptions::load()?)?;
    checkout.edit("mid/src/lib.rs", "mid one", "mid two")?;
    checkout.cargo("build").ok()?;
    let edited = Snapshot::of(&checkout.path("target"))?;
    assert!(snapshots[0].same_as(&edited, &Exceptions::load()?).is_err(), "an edit shows");
    Ok(())
}

#[test]
fn an_ordinary_user_can_build() -> Result {
    if !user::is_possible() {
        return Ok(());
    }
    let Some(env) = TestEnv::as_user()? else { return Ok(()) };
    let checkout = env.checkout("a")?;
    small::workspace(&checkout)?;
    assert_eq!(checkout.cmd("id").arg("-u").ok()?.stdout, format!("{}\n", user::ID));
    checkout.cargo("build").ok()?;
    assert_eq!(checkout.output_of("app")?, "base one, mid one, mac one, script one, app one\n");
    Ok(())
}

#[test]
fn a_command_that_hangs_is_killed() -> Result {
    let env = TestEnv::plain()?;
    let hung = env.cmd_in("sleep", env.path()).arg("60").limit(std::time::Duration::from_millis(200)).run();
    assert!(hung.is_err_and(|e| e.to_string().contains("was killed")));
    Ok(())
}
