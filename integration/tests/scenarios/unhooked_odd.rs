//! Programs that do odd things, with and without the shim: whoever traces them must not be wrong about them, nor get in their way.

use std::path::Path;
use std::time::Duration;

use anyhow::ensure;
use integration::checkout::Checkout;
use integration::command::within;
use integration::env::TestEnv;
use integration::{Result, host, small};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::unhooked::{busybox_files, cached, is_uncached, project};

/// The script's only command, by a tool with this `main`, once with the shim and once without.
fn both_ways(main: &str, args: &str, edit: impl Fn(&Checkout<'_>) -> Result) -> Result {
    for flags in ["", "-static"] {
        let env = TestEnv::new()?;
        let tools = env.checkout("tools")?;
        let source = format!(
            "#define _GNU_SOURCE\n#include <fcntl.h>\n#include <stdio.h>\n#include <sys/stat.h>\n#include <sys/syscall.h>\n#include <unistd.h>\n\
             static int say(const char *t, long n) {{ int o = open(\"out/said\", O_CREAT | O_WRONLY | O_TRUNC, 0644); return o < 0 || write(o, t, n) != n; }}\n\
             static int copy(int f) {{ char b[99]; long n = read(f, b, 99); return f < 0 || n < 0 || say(b, n); }}\n\
             int main(int n, char **v) {{ {main} }}\n"
        );
        let tool = small::c_program(&tools, "tool", &source, flags)?;
        cached(&env, &format!("#!/bin/sh\n{tool} {args}\n"), busybox_files, &edit)?;
    }
    Ok(())
}

#[test]
fn a_folder_that_comes_is_noticed() -> Result {
    let main = "return open(v[1], O_CREAT | O_WRONLY, 0644) < 0 ? say(\"no\", 2) : say(\"yes\", 3);";
    both_ways(main, "log/x", |checkout| checkout.sh("mkdir log").ok().map(drop))
}

#[test]
fn files_behind_descriptors_of_folders_are_noticed() -> Result {
    let main = "char p[99]; sprintf(p, v[1], open(\"data\", O_PATH | O_DIRECTORY)); return copy(open(p, O_RDONLY));";
    for path in ["/proc/self/fd/%d/one", "/dev/fd/%d/one"] {
        both_ways(main, path, |checkout| checkout.edit("data/one", "1", "one").map(drop))?;
    }
    Ok(())
}

/// A pipe that may be executed, as far as its mode goes.
#[test]
fn a_pipe_is_no_program() -> Result {
    let main = "char *a[] = { \"./pipe\", 0 }; execv(a[0], a); return access(\"in.txt\", R_OK) || say(\"no\", 2);";
    for flags in ["", "-static"] {
        let env = TestEnv::new()?;
        let tools = env.checkout("tools")?;
        let source = format!(
            "#include <fcntl.h>\n#include <unistd.h>\nstatic int say(const char *t, long n) {{ int o = open(\"out/said\", O_CREAT | O_WRONLY, 0644); return write(o, t, n) != n; }}\n\
             int main(void) {{ {main} }}\n"
        );
        let tool = small::c_program(&tools, "tool", &source, flags)?;
        let checkout = project(&env, "a", &format!("#!/bin/sh\n{tool}\n"))?;
        busybox_files(&checkout)?;
        checkout.sh("mkfifo -m 755 pipe").ok()?;
        checkout.cmd("vrift").arg("make").limit(Duration::from_secs(60)).ok()?;
        ensure!(checkout.read("out/said")? == "no");
    }
    Ok(())
}

/// On an overlay a file may have another device than its folder. It can be renamed there all the same.
#[test]
fn renames_on_an_overlay_are_seen() -> Result {
    let env = TestEnv::new()?;
    let layers = "mount -t tmpfs none /mnt; mkdir /mnt/upper /mnt/work; mount -t tmpfs none lower; \
                  printf one > lower/word.txt; cp -a base/. lower; mount -t overlay -o lowerdir=lower,upperdir=/mnt/upper,workdir=/mnt/work,xino=off none a";
    let checkout = project(&env, "a", "#!/bin/sh\nbusybox cp word.txt part\nbusybox mv part out/word\n")?;
    checkout.sh("mkdir ../base ../lower; cp -a . ../base").ok()?;
    let under = |script: &str| {
        let script = format!("cd ..; {layers}; cd a; {script}");
        checkout.cmd("unshare").args(["-m", "sh", "-ec", &script]).limit(Duration::from_secs(60)).ok()
    };
    if !host::is_root() || under("test -e word.txt").is_err() {
        return Ok(());
    }
    let done = under("vrift make; test -e out/word; rm -r out; mkdir out; vrift make; test -e out/word; vrift stop --all")?;
    // What was foretold wrongly looks like somebody else's doing, or like nothing at all.
    ensure!(done.all().contains("vrift: 1 hit"), "{}", done.all());
    Ok(())
}

/// Processes with this name that are in the folder.
fn processes(dir: &Path, name: &str) -> Vec<Pid> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let here = |entry: &std::fs::DirEntry| {
        let is_there = std::fs::read_link(entry.path().join("cwd")).is_ok_and(|cwd| cwd == dir);
        is_there && std::fs::read_to_string(entry.path().join("comm")).is_ok_and(|comm| comm.trim_end() == name)
    };
    entries.filter(here).filter_map(|entry| entry.file_name().to_str()?.parse().ok()).map(Pid::from_raw).collect()
}

/// What stays for processes that outlive the program can be ended like any other process.
#[test]
fn who_stays_for_survivors_can_be_ended() -> Result {
    // One only answers calls, the other passes on what is said as well.
    for (streams, copies) in [(">/dev/null 2>&1", 1), ("2>/dev/null", 2)] {
        let env = TestEnv::new()?;
        let checkout = project(
            &env,
            "a",
            &format!(
                "#!/bin/sh\nbusybox setsid busybox sh -c 'echo > out/now; exec busybox sleep 30' </dev/null {streams} &\nwhile ! test -e out/now; do sleep 0.02; done\n"
            ),
        )?;
        let done = checkout.cmd("vrift").arg("make").ok()?;
        ensure!(is_uncached(&done), "{}", done.all());
        let stay = processes(checkout.dir(), "vrift-exec");
        ensure!(stay.len() == copies, "{} instead of {copies} stay", stay.len());
        for pid in &stay {
            kill(*pid, Signal::SIGTERM)?;
        }
        let ended = within(Duration::from_secs(10), || Ok(processes(checkout.dir(), "vrift-exec").is_empty()));
        for pid in stay.into_iter().chain(processes(checkout.dir(), "busybox")) {
            let _ = kill(pid, Signal::SIGKILL);
        }
        ended?;
    }
    Ok(())
}

/// Where no descriptors are left to watch it with, a program runs all the same.
#[test]
fn no_descriptors_to_watch_with() -> Result {
    let env = TestEnv::new()?;
    let script =
        "#!/bin/sh\nbusybox true; echo > out/ready\nwhile ! test -e out/go; do sleep 0.02; done\nbusybox cat in.txt > out/copy\n";
    let checkout = project(&env, "a", script)?;
    busybox_files(&checkout)?;
    let running = checkout.cmd("vrift").arg("make").limit(Duration::from_secs(60)).start()?;
    within(Duration::from_secs(30), || Ok(checkout.path("out/ready").exists()))?;
    for pid in processes(checkout.dir(), "vrift-exec") {
        checkout.sh(&format!("prlimit --pid {pid} --nofile=4:4")).ok()?;
    }
    checkout.write("out/go", "")?;
    let done = running.wait()?;
    ensure!(is_uncached(&done) && checkout.read("out/copy")? == "one\n", "{}", done.all());
    Ok(())
}

/// A shell that hears of its children's ends fails to open files where the kernel's reports come in between.
#[test]
fn static_shells_run_unseen() -> Result {
    let script = "i=0; while [ $i -lt 300 ]; do (exit 0) & : < in.txt || echo bad; : < in.txt || echo bad; i=$((i + 1)); done; wait\necho x > out/done\n";
    let own = format!("#!/bin/busybox sh\n{script}");
    for text in [&own, "#!/bin/sh\nbusybox sh ./jobs\n", "#!/bin/sh\n./jobs\n"] {
        let env = TestEnv::new()?;
        let checkout = project(&env, "a", text)?;
        busybox_files(&checkout)?;
        checkout.write("jobs", &own)?.sh("chmod +x jobs").ok()?;
        let done = checkout.cmd("vrift").arg("make").ok()?;
        ensure!(is_uncached(&done) && checkout.read("out/done")? == "x\n", "{}", done.all());
        ensure!(!done.all().contains("bad") && !done.all().contains("Interrupted"), "{}", done.all());
    }
    Ok(())
}
