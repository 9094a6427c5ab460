//! Never break: daemons that die, that were never there, and that are of another version.

use std::io::{Read, Write};
use std::os::unix::net::UnixListener;
use std::time::Duration;

use anyhow::ensure;
use integration::Result;
use integration::checkout::Checkout;
use integration::env::TestEnv;
use integration::right::Built;
use integration::small;

const SAYS: &str = "base one, mid one, mac one, script one, app one\n";

fn right(checkout: &Checkout<'_>) -> Result {
    ensure!(checkout.output_of("app")? == SAYS, "{}", checkout.dir().display());
    Ok(())
}

#[test]
fn killed_at_any_moment() -> Result {
    let env = TestEnv::new()?;
    let first = env.checkout("first")?;
    small::workspace(&first)?;
    for (round, delay) in [2_u64, 10, 30, 60, 120, 200, 300, 450].into_iter().enumerate() {
        // New work each time, so that runs and records are hit as well as look-ups.
        let checkout = first.copy(&format!("round/{round}"))?;
        checkout.edit("base/src/lib.rs", "//! Base.", &format!("//! Base {}.", round / 2))?;
        let running = checkout.vrift("build").start()?;
        std::thread::sleep(Duration::from_millis(delay));
        for daemon in env.daemons() {
            if round % 3 != 0 || daemon.name == "vdir_d" {
                daemon.kill()?;
            }
        }
        let done = running.wait()?;
        ensure!(done.status.success(), "killed after {delay} ms: {}", done.stderr);
        right(&checkout)?;
        checkout.vrift("build").ok()?;
        right(&checkout)?;
        checkout.cargo("build").judged()?.nothing_ran()?;
    }
    let last = first.copy("last")?;
    last.vrift("build").ok()?;
    Built::new(&last, "build", &["app"]).check()
}

#[test]
fn stale_files() -> Result {
    let env = TestEnv::new()?;
    let first = env.checkout("first")?;
    small::workspace(&first)?;
    first.vrift("build").ok()?;
    env.kill_daemons()?;
    // Sockets, locks and registries of the dead are left; they must not keep the living off.
    let second = first.copy("second")?;
    second.vrift("build").ok()?;
    right(&second)?;
    ensure!(!env.daemons().is_empty(), "the daemons run again");
    env.start_daemon()?;
    let third = first.copy("third")?;
    third.vrift("build").judged()?.nothing_ran()?;
    right(&third)
}

#[test]
fn somebody_else_on_the_socket() -> Result {
    // Silent, talking nonsense, hanging up, or an older daemon that refuses: the build must not wait long, and be right.
    let answers: [Option<&[u8]>; 4] = [
        None,
        Some(b"\xff\xff\xff\xffgarbage"),
        Some(b""),
        Some(b"\x53\0\0\0{\"jsonrpc\":\"2.0\",\"id\":1,\"error\":{\"code\":-32601,\"message\":\"unknown method, I am old\"}}"),
    ];
    for answer in answers {
        let env = TestEnv::new()?;
        let run = env.vrift_home().join("run");
        std::fs::create_dir_all(&run)?;
        let listener = UnixListener::bind(run.join("vriftd.sock"))?;
        std::thread::spawn(move || {
            let mut held = Vec::new();
            for connection in listener.incoming().flatten() {
                let mut connection = connection;
                if let Some(answer) = answer {
                    let _ = connection.set_read_timeout(Some(Duration::from_millis(100)));
                    let _ = connection.read(&mut [0; 1024]);
                    let _ = connection.write_all(answer);
                } else {
                    held.push(connection);
                }
            }
        });
        let first = env.checkout("first")?;
        small::workspace(&first)?;
        let done = first.vrift("build").limit(Duration::from_secs(60)).ok()?;
        ensure!(done.wall < Duration::from_secs(30), "with {answer:?} it took {:?}", done.wall);
        right(&first)?;
    }
    Ok(())
}

#[test]
fn no_descriptors_in_daemons() -> Result {
    // A pipe that a daemon holds open keeps `cargo vrift build | tee` waiting for ever.
    let env = TestEnv::new()?;
    let first = env.checkout("first")?;
    small::workspace(&first)?;
    first.sh("cargo vrift build 2>&1 | cat").limit(Duration::from_secs(60)).ok()?;
    for daemon in env.daemons() {
        for entry in std::fs::read_dir(format!("/proc/{}/fd", daemon.pid))?.flatten() {
            let Ok(to) = std::fs::read_link(entry.path()) else { continue };
            let to = to.to_string_lossy().into_owned();
            ensure!(!to.starts_with("pipe:") || !is_ours(&to), "{} holds {to}", daemon.command);
        }
        ensure!(
            std::fs::read_link(format!("/proc/{}/cwd", daemon.pid))?.as_os_str() == "/",
            "{} stays in a folder",
            daemon.command
        );
    }
    Ok(())
}

/// Whether this process has the other end.
fn is_ours(pipe: &str) -> bool {
    let Ok(entries) = std::fs::read_dir("/proc/self/fd") else { return false };
    entries.flatten().any(|entry| std::fs::read_link(entry.path()).is_ok_and(|to| to.to_string_lossy() == pipe))
}

#[test]
fn a_damaged_runner() -> Result {
    // What Cargo remembers of rustc's probes must be rustc's answers, whatever happened to vrift's own parts meanwhile.
    let env = TestEnv::new()?;
    let first = env.checkout("first")?;
    small::workspace(&first)?;
    first.vrift("build").ok()?;
    for damage in ["truncate -s 0", "rm -f", "chmod 000", "cp /etc/passwd"] {
        let second = first.copy(&format!("second/{}", damage.len()))?;
        second.sh(&format!("for f in '{}'/lib/*/*; do {damage} \"$f\"; done", env.vrift_home().display())).ok()?;
        second.vrift("build").ok()?;
        right(&second)?;
        let info = second.read("target/.rustc_info.json")?;
        ensure!(info.contains("\"success\":true") && !info.contains("\"success\":false"), "{damage}: {info}");
    }
    Ok(())
}

#[test]
fn probes_say_what_they_say() -> Result {
    let env = TestEnv::new()?;
    let first = env.checkout("first")?;
    for probe in
        ["rustc -vV", "rustc --print cfg", "rustc --print sysroot", "rustc --print target-list", "cc --version", "rustdoc -V"]
    {
        let plain = first.sh(probe).ok()?;
        for _ in 0..2 {
            let ours = first.run(probe).ok()?;
            ensure!(ours.stdout == plain.stdout && ours.messages() == plain.messages(), "{probe}: {}", ours.all());
        }
    }
    for probe in ["rustc --print nonsense", "cc -c missing.c", "rustc missing.rs"] {
        let plain = first.sh(probe).fails()?;
        for _ in 0..2 {
            let ours = first.run(probe).fails()?;
            let same = ours.shell_status() == plain.shell_status() && ours.messages() == plain.messages();
            ensure!(same, "{probe}: {}", ours.all());
        }
    }
    Ok(())
}

#[test]
fn a_failing_build_fails_and_recovers() -> Result {
    let env = TestEnv::new()?;
    let first = env.checkout("first")?;
    small::workspace(&first)?;
    first.edit("mid/src/lib.rs", "format!", "formt!")?;
    let plain = first.copy("plain")?;
    let there = plain.cargo("build").fails()?;
    for _ in 0..2 {
        let here = first.vrift("build").fails()?;
        ensure!(here.shell_status() == there.shell_status(), "{}", here.stderr);
        ensure!(here.stderr.contains("cannot find macro `formt`"), "{}", here.stderr);
    }
    first.edit("mid/src/lib.rs", "formt!", "format!")?;
    first.vrift("build").ok()?;
    right(&first)
}
