//! Bad input: the build runs where Cargo could, and one clear line says what is off.

use anyhow::ensure;
use integration::Result;
use integration::checkout::Checkout;
use integration::command::Done;
use integration::env::TestEnv;
use integration::small;

const SAYS: &str = "base one, mid one, mac one, script one, app one\n";

/// The lines that vrift itself wrote, the summary left out.
fn own_lines(done: &Done) -> Vec<&str> {
    done.stderr.lines().filter(|line| line.starts_with("vrift:") && !line.contains(" hits") && !line.contains(" hit,")).collect()
}

fn builds_with_one_line(checkout: &Checkout<'_>, words: &[&str]) -> Result {
    let done = checkout.vrift("build").ok()?;
    ensure!(checkout.output_of("app")? == SAYS);
    let lines = own_lines(&done);
    ensure!(lines.len() == 1, "not one line: {}", done.stderr);
    ensure!(words.iter().any(|word| lines[0].contains(word)), "`{}` says nothing of {words:?}", lines[0]);
    ensure!(!done.stderr.contains("panicked") && !done.stderr.contains("backtrace"), "{}", done.stderr);
    Ok(())
}

#[test]
fn a_broken_manifest() -> Result {
    let env = TestEnv::new()?;
    let checkout = env.checkout("a")?;
    checkout.write("Cargo.toml", "[package\nname =")?.write("src/main.rs", "fn main() {}\n")?;
    let (plain, ours) = (checkout.cargo("build").fails()?, checkout.vrift("build").fails()?);
    ensure!(ours.shell_status() == plain.shell_status());
    let cargos = |done: &Done| done.stderr.lines().filter(|line| line.contains("error")).map(str::to_owned).collect::<Vec<_>>();
    ensure!(cargos(&ours) == cargos(&plain), "{}\nplain:\n{}", ours.stderr, plain.stderr);
    Ok(())
}

#[test]
fn no_manifest() -> Result {
    let env = TestEnv::new()?;
    let checkout = env.checkout("a")?;
    let (plain, ours) = (checkout.cargo("build").fails()?, checkout.vrift("build").fails()?);
    ensure!(
        ours.shell_status() == plain.shell_status() && ours.stderr.contains("could not find `Cargo.toml`"),
        "{}",
        ours.stderr
    );
    Ok(())
}

#[test]
fn no_cargo() -> Result {
    let env = TestEnv::new()?;
    let checkout = env.checkout("a")?;
    small::app(&checkout, "fn main() {}\n", "")?;
    let program = env.product().join("cargo-vrift").to_string_lossy().into_owned();
    for cmd in [
        checkout.cmd(&program).args(["vrift", "build"]).env("PATH", "/nonexistent"),
        checkout.cmd(&program).args(["vrift", "build"]).env("CARGO", "/nonexistent/cargo"),
        checkout.cmd("vrift").args(["run", "--", "no-such-program"]),
    ] {
        let done = cmd.run()?;
        ensure!(done.shell_status() == 127, "status {}: {}", done.shell_status(), done.stderr);
        ensure!(!done.stderr.is_empty() && !done.stderr.contains("panicked"), "{}", done.stderr);
    }
    Ok(())
}

#[test]
fn an_unwritable_home() -> Result {
    let Some(env) = TestEnv::as_user()? else { return Ok(()) };
    let checkout = env.checkout("a")?;
    small::workspace(&checkout)?;
    // Owned by root: the user may not write.
    let closed = env.path().join("closed");
    std::fs::create_dir(&closed)?;
    let done = checkout.vrift("build").env("VRIFT_HOME", &closed).ok()?;
    let lines = own_lines(&done);
    ensure!(lines.len() == 1 && lines[0].contains("closed"), "{}", done.stderr);
    ensure!(checkout.output_of("app")? == SAYS);
    Ok(())
}

#[test]
fn a_corrupt_database() -> Result {
    for (at, garbage) in ["not a database at all", ""].into_iter().enumerate() {
        let env = TestEnv::new()?;
        let first = env.checkout("first")?;
        small::workspace(&first)?;
        first.vrift("build").ok()?;
        env.vrift().args(["stop", "--all"]).ok()?;
        env.kill_daemons()?;
        let database = env.vrift_home().join("manifest.db");
        if at == 0 {
            std::fs::write(&database, garbage.repeat(300))?;
            for side in ["manifest.db-wal", "manifest.db-shm"] {
                let _ = std::fs::remove_file(env.vrift_home().join(side));
            }
            builds_with_one_line(&first.copy("second")?, &["manifest.db", "database"])?;
        } else {
            // Cut in the middle.
            let half = database.metadata()?.len() / 2;
            std::fs::File::options().write(true).open(&database)?.set_len(half)?;
            let second = first.copy("second")?;
            second.vrift("build").ok()?;
            ensure!(second.output_of("app")? == SAYS);
        }
        // And then it works again.
        let third = first.copy("third")?;
        third.vrift("build").ok()?;
        let fourth = first.copy("fourth")?;
        fourth.vrift("build").judged()?.nothing_ran()?;
        ensure!(third.output_of("app")? == SAYS && fourth.output_of("app")? == SAYS);
    }
    Ok(())
}

#[test]
fn a_corrupt_project_database() -> Result {
    let env = TestEnv::new()?;
    let first = env.checkout("first")?;
    small::workspace(&first)?;
    first.vrift("build").ok()?;
    env.kill_daemons()?;
    first.sh("for f in .vrift/*; do printf garbage%.0s 1 2 3 4 5 6 7 8 9 > \"$f\" || true; done; rm -rf target").ok()?;
    first.vrift("build").ok()?;
    ensure!(first.output_of("app")? == SAYS);
    Ok(())
}

#[test]
fn a_newer_store() -> Result {
    let env = TestEnv::new()?;
    let first = env.checkout("first")?;
    small::workspace(&first)?;
    first.vrift("build").ok()?;
    env.vrift().args(["stop", "--all"]).ok()?;
    env.kill_daemons()?;
    // SQLite keeps `user_version` at offset 60 of the header, most significant byte first.
    let database = env.vrift_home().join("manifest.db");
    let mut bytes = std::fs::read(&database)?;
    ensure!(bytes.len() > 100 && bytes.starts_with(b"SQLite format 3\0"), "the database is elsewhere");
    bytes[60..64].copy_from_slice(&9999_u32.to_be_bytes());
    std::fs::write(&database, &bytes)?;
    for side in ["manifest.db-wal", "manifest.db-shm"] {
        let _ = std::fs::remove_file(env.vrift_home().join(side));
    }
    builds_with_one_line(&first.copy("second")?, &["newer"])?;
    let after = std::fs::read(&database)?;
    ensure!(after[60..64] == 9999_u32.to_be_bytes(), "a newer store must be left alone");
    Ok(())
}

#[test]
fn broken_settings() -> Result {
    let env = TestEnv::new()?;
    let first = env.checkout("first")?;
    small::workspace(&first)?;
    std::fs::create_dir_all(env.vrift_home())?;
    std::fs::write(env.vrift_home().join("config.toml"), "[storage]\nmax_sise = 1\n")?;
    builds_with_one_line(&first, &["max_sise", "config.toml"])
}

#[test]
fn bad_usage() -> Result {
    let env = TestEnv::new()?;
    for args in [&["no-such-command"][..], &["gc", "--max-size", "much"], &["config", "set", "no.such.key", "1"], &["run"]] {
        let done = env.vrift().args(args.iter().copied()).fails()?;
        ensure!(!done.stderr.trim().is_empty() && !done.stderr.contains("panicked"), "{args:?}: {}", done.all());
        ensure!(done.stdout.is_empty(), "{args:?} writes errors to standard output: {}", done.stdout);
    }
    Ok(())
}
