//! Restore must: be atomic, for readers and for whoever comes after a kill.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{bail, ensure};
use integration::Result;
use integration::checkout::Checkout;
use integration::command::within;
use integration::env::TestEnv;
use integration::right::Built;
use integration::small;
use nix::sys::signal::Signal;

/// A package whose build script leaves a file large enough to be seen half-written, and a few small ones.
fn package(checkout: &Checkout<'_>) -> Result {
    small::app(checkout, "fn main() { println!(\"{}\", include_bytes!(concat!(env!(\"OUT_DIR\"), \"/big\")).len()); }\n", "")?;
    checkout.write(
        "build.rs",
        "fn main() {\n let out = std::env::var(\"OUT_DIR\").unwrap();\n \
         std::fs::write(format!(\"{out}/big\"), vec![7; 24 << 20]).unwrap();\n \
         for n in 0..40 { std::fs::write(format!(\"{out}/f{n}\"), format!(\"{n} {out}\")).unwrap(); }\n \
         println!(\"cargo::rerun-if-changed=build.rs\");\n}\n",
    )?;
    Ok(())
}

const PRINTS: &str = "25165824\n";

#[test]
fn readers_never_see_half_a_file() -> Result {
    let env = TestEnv::new()?;
    let first = env.checkout("first")?;
    package(&first)?;
    first.vrift("build").ok()?;
    let name = first.sh("ls -d target/debug/build/app-*/out").ok()?.stdout.trim().to_owned();
    for round in 0..3 {
        let second = first.copy(&format!("second/{round}"))?;
        let (big, program) = (second.path(&name).join("big"), second.path("target/debug/app"));
        let size = first.path("target/debug/app").metadata()?.len();
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let watch = scope.spawn(|| {
                let mut seen = 0_u64;
                while !stop.load(Ordering::Relaxed) {
                    for (path, whole) in [(&big, 24 << 20), (&program, size)] {
                        if let Ok(content) = std::fs::read(path) {
                            seen += 1;
                            // Cargo itself links or copies the program to its place; a link is whole, and so must a copy be.
                            ensure!(content.len() as u64 == whole, "{} has {} bytes", path.display(), content.len());
                        }
                    }
                }
                Ok(seen)
            });
            let built = second.vrift("build").ok();
            std::thread::sleep(Duration::from_millis(20));
            stop.store(true, Ordering::Relaxed);
            let Ok(watched) = watch.join() else { bail!("the reader panicked") };
            built?;
            ensure!(watched? > 0, "nothing was read");
            Ok(())
        })?;
        ensure!(second.output_of("app")? == PRINTS);
    }
    Ok(())
}

#[test]
fn killed_in_the_middle() -> Result {
    let env = TestEnv::new()?;
    let first = env.checkout("first")?;
    package(&first)?;
    first.vrift("build").ok()?;
    for (round, delay) in [5_u64, 12, 20, 28, 36, 45, 60, 80].into_iter().enumerate() {
        let second = first.copy(&format!("second/{round}"))?;
        let running = second.vrift("build").start()?;
        std::thread::sleep(Duration::from_millis(delay));
        // The whole group at once: Cargo, and whoever restores. It may be through already.
        let _ = running.signal(Signal::SIGKILL);
        running.wait()?;
        // Half a file under another name is no harm, and does not stay: the worker sees who hung up.
        within(Duration::from_secs(10), || Ok(second.sh("find target -name '.vrift-*.tmp'").run()?.stdout.is_empty()))?;
        let next = if round % 2 == 0 { second.cargo("build") } else { second.vrift("build") };
        next.ok()?;
        ensure!(second.output_of("app")? == PRINTS, "killed after {delay} ms");
        second.cargo("build").judged()?.nothing_ran()?;
        // What plain Cargo made carries the checkout's path in its debug information.
        if round % 4 == 1 {
            Built::new(&second, "build", &["app"]).check()?;
        }
    }
    Ok(())
}

#[test]
fn killed_while_recording() -> Result {
    let env = TestEnv::new()?;
    let first = env.checkout("first")?;
    package(&first)?;
    for (round, delay) in [60_u64, 150, 250, 350, 450].into_iter().enumerate() {
        let second = first.copy(&format!("second/{round}"))?;
        let running = second.vrift("build").start()?;
        std::thread::sleep(Duration::from_millis(delay));
        let _ = running.signal(Signal::SIGKILL);
        running.wait()?;
        if round % 2 == 0 {
            env.kill_daemons()?;
        }
        // Whatever got into the store must be whole.
        let third = first.copy(&format!("third/{round}"))?;
        third.vrift("build").ok()?;
        ensure!(third.output_of("app")? == PRINTS, "killed after {delay} ms");
        second.vrift("build").ok()?;
        ensure!(second.output_of("app")? == PRINTS, "killed after {delay} ms, same checkout");
    }
    let report = env.vrift().arg("fsck").run()?;
    ensure!(report.status.success(), "{}", report.all());
    Ok(())
}

/// rustc complains of incremental state in which something is missing, and what it complains of must not be stored.
#[test]
fn incremental_state_comes_whole_or_not_at_all() -> Result {
    let env = TestEnv::new()?;
    let first = env.checkout("first")?;
    small::workspace(&first)?;
    first.vrift("build").ok()?;
    for (round, lost) in ["*.o", "dep-graph.bin"].into_iter().enumerate() {
        // One file of each program's state is lost from the store: it is found by its inode.
        let found = format!(
            "for f in $(find target/debug/incremental -name '{lost}'); do find '{}' -samefile $f; done",
            env.the_source().join("blake3").display()
        );
        let blobs = first.sh(&found).ok()?.stdout;
        ensure!(blobs.lines().count() > 2, "no state is in the store: {blobs}");
        blobs.lines().try_for_each(std::fs::remove_file)?;
        for whole in ["off", "on"] {
            let second = first.copy(&format!("second/{round}/{whole}"))?;
            second.vrift("build").env("VRIFT_WHOLE_BUILDS", whole).ok()?;
            let left = second.sh("find target/debug/incremental -name '*.o' | wc -l").ok()?.stdout;
            let lists = second.sh("find target/debug/incremental -name '*.bin' | wc -l").ok()?.stdout;
            ensure!(lists.trim() == "0", "{lists} lists of {left} objects came back without {lost}");
            second.edit("app/src/main.rs", "app one", "app two")?;
            let done = second.vrift("build").ok()?;
            ensure!(!done.stderr.contains("warning"), "{}", done.stderr);
        }
    }
    // State that is not whole for another reason: rustc says so, and nobody else hears of it.
    let third = first.copy("third")?;
    third.vrift("build").ok()?;
    third.cargo("clean").ok()?;
    third.edit("app/src/main.rs", "app one", "app three")?;
    third.cargo("build").ok()?;
    third.edit("app/src/main.rs", "app three", "app four")?;
    third.sh("find target/debug/incremental '(' -name '*.o' -o -name dep-graph.bin ')' -delete").ok()?;
    let complains = third.vrift("build").ok()?.stderr.contains("warning");
    let fourth = third.copy("fourth")?;
    let done = fourth.vrift("build").ok()?;
    ensure!(complains && !done.stderr.contains("warning"), "{complains}: {}", done.stderr);
    Ok(())
}
