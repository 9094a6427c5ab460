//! The key must not notice: what differs between checkouts, logins and terminals, and says nothing about a build.

use integration::Result;
use integration::env::TestEnv;
use integration::right::Built;
use integration::small;

const SAYS: &str = "base one, mid one, mac one, script one, app one\n";

#[test]
fn path_user_and_terminal() -> Result {
    let env = TestEnv::new()?;
    let first = env.checkout("first")?;
    small::workspace(&first)?;
    first.vrift("build").ok()?;
    let second = first.copy("some/other/and/longer/path")?;
    let build = second
        .vrift("build -j1")
        .env("USER", "somebody")
        .env("LOGNAME", "somebody")
        .env("TERM", "xterm-256color")
        .env("COLUMNS", "57")
        .env("LINES", "20")
        .env("PWD", "/")
        .env("OLDPWD", "/etc")
        .env("SHLVL", "7")
        .env("SSH_AUTH_SOCK", "/tmp/ssh-x/agent.1")
        .env("SSH_CONNECTION", "10.0.0.1 1 10.0.0.2 22")
        .env("DISPLAY", ":3")
        .env("XDG_SESSION_ID", "44")
        .env("_", "/usr/bin/cargo");
    build.judged()?.nothing_ran()?;
    assert_eq!(second.output_of("app")?, SAYS);
    Built::new(&second, "build", &["app"]).check()
}

#[test]
fn jobserver_descriptors() -> Result {
    let env = TestEnv::new()?;
    let first = env.checkout("first")?;
    small::workspace(&first)?;
    first.vrift("build").ok()?;
    let second = first.copy("second")?;
    second.write("Makefile", "all:\n\t+cargo vrift build\n")?;
    second.cmd("make").arg("-j3").judged()?.nothing_ran()?;
    assert_eq!(second.output_of("app")?, SAYS);
    Ok(())
}

#[test]
fn touched_but_not_changed() -> Result {
    let env = TestEnv::new()?;
    let first = env.checkout("first")?;
    small::workspace(&first)?;
    first.vrift("build").ok()?;
    first.sh("sleep 0.02; find . -name target -prune -o -name '*.rs' -exec touch {} +").ok()?;
    first.vrift("build").judged()?.nothing_ran()?;
    assert_eq!(first.output_of("app")?, SAYS);
    first.cargo("build").judged()?.nothing_ran()?;
    Built::new(&first, "build", &["app"]).check()
}

#[test]
fn there_and_back_again() -> Result {
    let env = TestEnv::new()?;
    let first = env.checkout("first")?;
    small::workspace(&first)?;
    first.write(".gitignore", "target\n.vrift\n")?;
    first.sh("git init -q -b main . && git add -A && git commit -qm one").ok()?;
    first.vrift("build").ok()?;
    first.edit("mid/src/lib.rs", "mid one", "mid two")?;
    first.sh("git checkout -q -b side && git commit -qam two").ok()?;
    first.vrift("build").judged()?.compiled_exactly(&["app", "mid"])?;
    assert_eq!(first.output_of("app")?, SAYS.replace("mid one", "mid two"));
    for (branch, says) in [("main", SAYS.to_owned()), ("side", SAYS.replace("mid one", "mid two")), ("main", SAYS.to_owned())] {
        first.sh(&format!("sleep 0.02; git checkout -q {branch}")).ok()?;
        let build = first.vrift("build").judged()?;
        match branch {
            // What was compiled on top of incremental state is not stored: rustc does not promise the bytes of a clean build.
            "side" => build.compiled_exactly(&["app", "mid"])?,
            _ => build.nothing_ran()?,
        };
        assert_eq!(first.output_of("app")?, says, "{branch}");
    }
    first.cargo("build").judged()?.nothing_ran()
}

#[test]
fn artifacts_of_other_crates() -> Result {
    let env = TestEnv::new()?;
    let first = env.checkout("first")?;
    small::workspace(&first)?;
    first.vrift("build -p mid").ok()?;
    let second = first.copy("second")?;
    second.vrift("build -p mac").judged()?.compiled_exactly(&["mac"])?;
    second.vrift("build -p mid").judged()?.nothing_ran()?;
    second.vrift("build").judged()?.compiled_exactly(&["app", "build_script_build"])?;
    assert_eq!(second.output_of("app")?, SAYS);
    Built::new(&second, "build", &["app"]).check()
}
