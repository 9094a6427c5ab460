//! Never break: signals, terminals, many builds at once, and other people's wrappers and preloads.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use integration::Result;
use integration::checkout::Checkout;
use integration::env::{TestEnv, as_root_and_user};
use integration::{host, small};
use nix::sys::signal::Signal;

const SAYS: &str = "base one, mid one, mac one, script one, app one\n";

/// Processes, daemons left out, whose command line names the environment's folder.
fn strays(env: &TestEnv) -> Result<Vec<String>> {
    let place = env.path().to_string_lossy().into_owned();
    let mut all = Vec::new();
    for entry in std::fs::read_dir("/proc")?.flatten() {
        let Ok(line) = std::fs::read(entry.path().join("cmdline")) else { continue };
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        if line.contains(&place) && !line.contains("vriftd") && !line.contains("vdir_d") {
            all.push(line);
        }
    }
    Ok(all)
}

#[test]
fn interrupted() -> Result {
    let env = TestEnv::new()?;
    let first = env.checkout("first")?;
    small::app(&first, "fn main() {}\n", "")?;
    first.write(
        "build.rs",
        "fn main() { std::fs::write(std::env::var(\"READY\").unwrap(), \"\").unwrap(); \
         std::process::Command::new(\"sleep\").arg(\"300\").status().unwrap(); }\n",
    )?;
    let plain = first.copy("plain")?;
    let interrupt = |checkout: &Checkout<'_>, vrift: bool, signal: Signal| -> Result<i32> {
        let ready = checkout.path("ready");
        let _ = std::fs::remove_file(&ready);
        let cmd = if vrift { checkout.vrift("build") } else { checkout.cargo("build") };
        let running = cmd.env("READY", &ready).limit(Duration::from_secs(60)).start()?;
        let began = Instant::now();
        while !ready.exists() {
            ensure!(began.elapsed() < Duration::from_secs(50), "the build script does not start");
            std::thread::sleep(Duration::from_millis(5));
        }
        // What is being forked at that moment gets no signal, with plain Cargo too.
        std::thread::sleep(Duration::from_millis(300));
        running.signal(signal)?;
        let done = running.wait()?;
        ensure!(done.wall < Duration::from_secs(55), "it took {:?} to die", done.wall);
        Ok(done.shell_status())
    };
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        let expected = interrupt(&plain, false, signal)?;
        let status = interrupt(&first, true, signal)?;
        ensure!(status == expected, "after {signal}: status {status}, plain Cargo {expected}");
        // What was killed takes a moment to be gone, a longer one on a busy machine; what was not goes on for five minutes.
        let began = Instant::now();
        loop {
            std::thread::sleep(Duration::from_millis(100));
            let strays = strays(&env)?;
            if strays.is_empty() {
                break;
            }
            ensure!(began.elapsed() < Duration::from_secs(20), "after {signal} these go on: {strays:?}");
        }
    }
    Ok(())
}

#[test]
fn terminals() -> Result {
    if !host::has_program("script") {
        return Ok(());
    }
    let env = TestEnv::new()?;
    let first = env.checkout("first")?;
    small::workspace(&first)?;
    first.edit("mid/src/lib.rs", "    format!", "    let unused = 1;\n    format!")?;
    for name in ["one", "two"] {
        let checkout = first.copy(name)?;
        let script = "stty -a > before; cargo vrift build; stty -a > after";
        let done = checkout.cmd("script").args(["-qec", script, "/dev/null"]).env("TERM", "xterm").ok()?;
        ensure!(checkout.read("before")? == checkout.read("after")?, "the terminal is not as it was");
        // Colours, since this is a terminal; in a restored warning too.
        ensure!(done.stdout.contains("\u{1b}[") && done.stdout.contains("unused variable"), "{}", done.stdout);
        ensure!(checkout.output_of("app")? == SAYS);
    }
    Ok(())
}

#[test]
fn two_builds_of_one_checkout() -> Result {
    let env = TestEnv::new()?;
    let first = env.checkout("first")?;
    small::workspace(&first)?;
    let running: Vec<_> = (0..3).map(|_| first.vrift("build").start()).collect::<Result<_>>()?;
    for build in running {
        let done = build.wait()?;
        ensure!(done.status.success(), "{}", done.stderr);
    }
    ensure!(first.output_of("app")? == SAYS);
    first.cargo("build").judged()?.nothing_ran()
}

#[test]
fn ten_checkouts_at_once() -> Result {
    let env = TestEnv::new()?;
    let first = env.checkout("first")?;
    small::workspace(&first)?;
    let all: Vec<_> = (0..10).map(|n| first.copy(&format!("n/{n}"))).collect::<Result<_>>()?;
    let running: Vec<_> = all.iter().map(|checkout| checkout.vrift("build").start()).collect::<Result<_>>()?;
    for build in running {
        let done = build.wait()?;
        ensure!(done.status.success(), "{}", done.stderr);
    }
    for checkout in &all {
        ensure!(checkout.output_of("app")? == SAYS);
        checkout.cargo("build").judged()?.nothing_ran()?;
    }
    // Somebody waited for somebody else's result instead of computing it ten times.
    let (_, blobs) = env.store_size();
    ensure!(blobs > 0 && blobs < 300, "{blobs} blobs for ten equal checkouts");
    Ok(())
}

#[test]
fn parallel_make() -> Result {
    let env = TestEnv::new()?;
    let first = env.checkout("first")?;
    let names: Vec<_> = (0..24).map(|n| format!("f{n}")).collect();
    let objects: Vec<_> = names.iter().map(|name| format!("{name}.o")).collect();
    for (n, name) in names.iter().enumerate() {
        first.write(&format!("{name}.c"), format!("int {name}(void) {{ return {n}; }}\n"))?;
    }
    let makefile = format!("all: lib.a\nlib.a: {0}\n\trm -f $@; ar rcs $@ {0}\n%.o: %.c\n\tcc -c -o $@ $<\n", objects.join(" "));
    first.write("Makefile", makefile)?;
    env.start_daemon()?;
    for name in ["one", "two"] {
        let checkout = first.copy(name)?;
        let judged = checkout.cmd("vrift").args(["run", "--", "make", "-j4"]).limit(Duration::from_secs(120)).judged()?;
        if name == "two" {
            judged.nothing_ran()?;
        }
        ensure!(checkout.sh("ar t lib.a | wc -l").ok()?.stdout.trim() == "24");
        checkout.cmd("make").arg("-q").ok()?;
    }
    Ok(())
}

#[test]
fn jobservers() -> Result {
    let env = TestEnv::new()?;
    let first = env.checkout("first")?;
    small::workspace(&first)?;
    first.write("Makefile", "all:\n\t+cargo vrift build\n")?;
    let modern = first.cmd("make").args(["--jobserver-style=fifo", "--version"]).run()?.status.success();
    let styles: &[&str] = if modern { &["--jobserver-style=pipe", "--jobserver-style=fifo"] } else { &["-s"] };
    for (at, style) in styles.iter().enumerate() {
        for (round, jobs) in ["-j1", "-j2", "-j8"].iter().enumerate() {
            let checkout = first.copy(&format!("{at}/{round}"))?;
            // Other sources each time, so that compilers that want tokens do run.
            checkout.edit("base/src/lib.rs", "//! Base.", &format!("//! Base {at} {round}."))?;
            checkout.cmd("make").args([style, *jobs]).limit(Duration::from_secs(120)).ok()?;
            ensure!(checkout.output_of("app")? == SAYS);
        }
    }
    Ok(())
}

#[test]
fn other_wrappers() -> Result {
    let env = TestEnv::new()?;
    let first = env.checkout("first")?;
    small::workspace(&first)?;
    let wrapper = env.path().join("wrapper");
    std::fs::write(&wrapper, "#!/bin/sh\necho \"$2 $3\" >> \"$WRAPPER_LOG\"\nexec \"$@\"\n")?;
    std::fs::set_permissions(&wrapper, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    let config = format!("[build]\nrustc-wrapper = {:?}\n", wrapper.display().to_string());
    for (at, way) in ["RUSTC_WRAPPER", "RUSTC_WORKSPACE_WRAPPER", "config"].into_iter().enumerate() {
        let log = env.path().join(format!("log-{at}"));
        for round in 0..2 {
            let checkout = first.copy(&format!("{at}/{round}"))?;
            let mut cmd = checkout.vrift("build").env("WRAPPER_LOG", &log);
            if way == "config" {
                checkout.write(".cargo/config.toml", &config)?;
            } else {
                cmd = cmd.env(way, &wrapper);
            }
            cmd.ok()?;
            ensure!(checkout.output_of("app")? == SAYS, "{way}");
        }
        let log = std::fs::read_to_string(&log).with_context(|| format!("{way} was never run"))?;
        ensure!(log.lines().filter(|line| line.contains("--crate-name")).count() >= 4, "{way}: {log}");
    }
    Ok(())
}

#[test]
fn other_preloads() -> Result {
    as_root_and_user(|env| {
        let first = env.checkout("first")?;
        small::workspace(&first)?;
        let source = "#include <fcntl.h>\n#include <stdlib.h>\n#include <unistd.h>\n__attribute__((constructor)) static void c(void) {\n\
                      const char *p = getenv(\"PRELOAD_LOG\");\n if (!p) return;\n\
                      int f = open(p, O_WRONLY | O_CREAT | O_APPEND, 0644);\n if (f >= 0) { if (write(f, \"x\", 1)) {} close(f); }\n}\n";
        let library = small::c_program(&env.checkout("library")?, "other.so", source, "-shared -fPIC")?;
        for name in ["one", "two"] {
            let checkout = first.copy(name)?;
            // Made before: root's own helpers, which change the user, load the library too.
            let log = checkout.write("preload.log", "")?.path("preload.log");
            checkout.vrift("build").env("LD_PRELOAD", &library).env("PRELOAD_LOG", &log).ok()?;
            ensure!(checkout.output_of("app")? == SAYS);
            // Cargo, its subcommand and the compilers; of those none runs in the second checkout.
            let least = if name == "one" { 5 } else { 2 };
            ensure!(log.metadata()?.len() >= least, "the other library was dropped, in {name}");
        }
        Ok(())
    })
}

#[test]
fn a_second_checkout_after_an_ordinary_preload() -> Result {
    // A preload changes what programs do: what was made under it is not for those without.
    let env = TestEnv::new()?;
    let first = env.checkout("first")?;
    first.write("word.c", "#include \"word.h\"\nconst char *word = WORD;\n")?.write("word.h", "#define WORD \"plain\"\n")?;
    first.write("other.h", "#define WORD \"other\"\n")?;
    let source = "#define _GNU_SOURCE\n#include <dlfcn.h>\n#include <fcntl.h>\n#include <string.h>\n#include <stdarg.h>\n\
                  int open(const char *p, int f, ...) { va_list a; va_start(a, f); int m = va_arg(a, int); va_end(a);\n\
                  static int (*next)(const char *, int, ...); if (!next) next = dlsym(RTLD_NEXT, \"open\");\n\
                  const char *s = strrchr(p, '/'); s = s ? s + 1 : p;\n\
                  return next(strcmp(s, \"word.h\") ? p : \"other.h\", f, m); }\n";
    let library = small::c_program(&env.checkout("library")?, "other.so", source, "-shared -fPIC")?;
    let compile = |name: &str, preload: bool| -> Result<bool> {
        let checkout = first.copy(name)?;
        let cmd = checkout.run("cc -c -o word.o word.c");
        let cmd = if preload { cmd.env("LD_PRELOAD", &library) } else { cmd };
        cmd.ok()?;
        Ok(checkout.sh("strings -a word.o 2>/dev/null || cat word.o").ok()?.stdout.contains("plain"))
    };
    let under = compile("a", true)?;
    ensure!(compile("b", false)?, "what was compiled under a preload is served without");
    ensure!(compile("c", true)? == under);
    Ok(())
}
