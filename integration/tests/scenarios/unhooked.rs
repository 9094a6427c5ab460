//! Programs that no preload reaches, traced through the kernel: static ones of C and Go, and those of another C library. All of
//! them inside of scripts that a setting makes actions.

use std::path::PathBuf;

use anyhow::ensure;
use integration::access::{self, Ignores};
use integration::checkout::Checkout;
use integration::command::Done;
use integration::env::{TestEnv, as_root_and_user};
use integration::{Result, host, npm_registry, small, traces};

/// A bundler, a static program of Go.
fn esbuild() -> Result<PathBuf> {
    let digest = "95a928d8187c6f7ad632a3f3bbf01f66dfd5b5adb724b8bfeec5fff73ff2d91a";
    Ok(npm_registry::package("@esbuild/linux-x64", "0.25.5", digest)?.join("bin/esbuild"))
}

/// TypeScript's compiler in Go, static too.
fn tsgo() -> Result<PathBuf> {
    let digest = "5e6ee1052190526ae0ac277b2fb52ba0c7e880619201493bd5342976a0b33eb6";
    Ok(npm_registry::package("@typescript/native-preview-linux-x64", "7.0.0-dev.20260707.2", digest)?.join("lib/tsgo"))
}

/// What every project here has: the script `gen` is an action, and nothing else.
pub fn project<'e>(env: &'e TestEnv, name: &str, script: &str) -> Result<Checkout<'e>> {
    let checkout = env.checkout(name)?;
    checkout
        .write("Makefile", "all:\n\t./gen\n")?
        .write(".vrift/config.toml", "[exec]\nactions = ['gen']\n")?
        .write("gen", script)?
        .sh("chmod +x gen; chmod 700 .vrift; mkdir -p out")
        .ok()?;
    Ok(checkout)
}

/// With sources for both compilers.
fn sources(checkout: &Checkout<'_>) -> Result {
    checkout
        .write("src/a.ts", "import { word } from './b.js';\nexport function say(): string { return word; }\n")?
        .write("src/b.ts", "export const word: string = 'one';\n")?
        .write(
            "tsconfig.json",
            "{ \"compilerOptions\": { \"rootDir\": \"src\", \"outDir\": \"out\", \"module\": \"nodenext\" }, \"include\": [\"src\"] }\n",
        )?;
    Ok(())
}

/// Everything that the script's processes look at is in the trace, as `strace` sees it.
fn complete(checkout: &Checkout<'_>) -> Result {
    let env = checkout.env();
    env.start_daemon()?;
    let dir = env.path().join("traces");
    std::fs::create_dir_all(&dir)?;
    let make = checkout.cmd("vrift").arg("make").env("VRIFT_TRACE_DIR", &dir).env("VRIFT_RECACHE", "1");
    let (_, actions) = access::watch_slowly(&make)?;
    let traces = traces::read_all(&dir)?;
    ensure!(actions.len() == 1 && traces.len() == 1, "{} actions, {} traces", actions.len(), traces.len());
    let events = &traces[0].events;
    let untraced: Vec<_> = events.iter().filter(|e| e.kind == vrift_core::event::EventKind::Untraced).collect();
    ensure!(untraced.is_empty(), "{untraced:?}");
    let places = [("vrift", env.vrift_home()), ("tmp", env.path().join("tmp")), ("target", checkout.path("target"))];
    let sysroot = ("sysroot", host::sysroot()?.to_owned());
    let places: Vec<_> = places.iter().chain([&sysroot]).map(|(name, path)| (*name, path.as_path())).collect();
    let missing = access::missing(&actions, &traces, &Ignores::load(&places)?)?;
    ensure!(missing.is_empty(), "{} looks are in no trace:\n{}", missing.len(), missing.join("\n"));
    Ok(())
}

/// The script is run once; in another checkout its result is restored, and is what a real run leaves; and `edit` makes it run
/// again.
pub fn cached(
    env: &TestEnv,
    script: &str,
    fill: impl Fn(&Checkout<'_>) -> Result,
    edit: impl Fn(&Checkout<'_>) -> Result,
) -> Result {
    let prepared = |name: &str| -> Result<Checkout<'_>> {
        let checkout = project(env, name, script)?;
        fill(&checkout)?;
        env.own(checkout.dir())?;
        Ok(checkout)
    };
    let left = |checkout: &Checkout<'_>| {
        Ok::<_, anyhow::Error>(checkout.sh("cd out; find . -type f | sort | xargs md5sum").ok()?.stdout)
    };
    let first = prepared("first")?;
    let done = first.cmd("vrift").arg("make").ok()?;
    let stored = done.summary() == Some("vrift: 0 hits, 1 miss");
    ensure!(stored, "not stored: {}", first.cmd("vrift").args(["why", "gen"]).run()?.all());
    let second = prepared("second")?;
    second.cmd("vrift").args(["run", "--", "true"]).ok()?;
    let judged = second.cmd("vrift").arg("make").judged_slowly()?;
    ensure!(judged.count("gen") == 0, "it ran again: {}", second.cmd("vrift").args(["why", "gen"]).run()?.all());
    let real = prepared("real")?;
    real.cmd("make").ok()?;
    ensure!(!left(&real)?.is_empty() && left(&second)? == left(&real)?, "{} instead of {}", left(&second)?, left(&real)?);

    edit(&second)?;
    edit(&real)?;
    second.sh("rm -r out; mkdir out").ok()?;
    real.sh("rm -r out; mkdir out; make").ok()?;
    let judged = second.cmd("vrift").arg("make").judged_slowly()?;
    ensure!(judged.count("gen") == 1, "it did not run again");
    ensure!(left(&second)? == left(&real)?, "{} instead of {}", left(&second)?, left(&real)?);
    Ok(())
}

/// Every kind of look and change, by static tools.
const BUSYBOX: &str = "#!/bin/sh
busybox cat in.txt > out/cat
busybox cp in.txt out/cp; busybox mkdir -p out/d/e; busybox mv out/cp out/d/moved; busybox ln -s moved out/d/link; busybox ln out/d/moved out/d/hard
busybox ls data > out/ls; busybox find data -type f | busybox sort > out/find
busybox test -e missing && echo there > out/there; busybox test -f data/one && echo one > out/one
busybox touch out/t; busybox rm out/t; busybox chmod 600 out/cat; busybox readlink -f data/up > out/readlink.txt; busybox rm out/readlink.txt
( cd data; busybox cat one ) >> out/cat; busybox stat -c %s in.txt > out/size
busybox sed s/o/0/ in.txt > out/sed
for i in 1 2 3 4; do busybox cat data/one & done > /dev/null; wait
";

pub fn busybox_files(checkout: &Checkout<'_>) -> Result {
    checkout.write("in.txt", "one\n")?.write("data/one", "1\n")?.write("data/sub/two", "2\n")?;
    std::os::unix::fs::symlink("../in.txt", checkout.path("data/up"))?;
    Ok(())
}

#[test]
fn the_trace_of_static_tools_is_complete() -> Result {
    let env = TestEnv::new()?;
    let checkout = project(&env, "a", BUSYBOX)?;
    busybox_files(&checkout)?;
    complete(&checkout)
}

#[test]
fn the_trace_of_compilers_in_go_is_complete() -> Result {
    let env = TestEnv::new()?;
    let (esbuild, tsgo) = (esbuild()?, tsgo()?);
    let script = format!(
        "#!/bin/sh\nset -e\n{} src/a.ts --bundle --format=esm --outfile=out/bundle.js --log-level=error\n{} -p .\n",
        esbuild.display(),
        tsgo.display()
    );
    let checkout = project(&env, "a", &script)?;
    sources(&checkout)?;
    complete(&checkout)
}

/// Static programs between dynamic ones: below the first of them the kernel reports on all.
#[test]
fn the_trace_of_a_mixed_tree_is_complete() -> Result {
    let env = TestEnv::new()?;
    let script = "#!/bin/sh\nbusybox env -i /bin/sh -c 'cat in.txt; ls data; env -i busybox cat data/one; /bin/cat ./data/sub/two' > out/all\ncat in.txt >> out/all\n";
    let checkout = project(&env, "a", script)?;
    busybox_files(&checkout)?;
    complete(&checkout)
}

#[test]
fn static_tools_are_cached() -> Result {
    as_root_and_user(|env| {
        cached(env, BUSYBOX, busybox_files, |checkout| checkout.edit("data/one", "1", "one").map(drop))?;
        Ok(())
    })
}

#[test]
fn a_new_file_in_a_listed_folder_is_noticed() -> Result {
    let env = TestEnv::new()?;
    cached(&env, BUSYBOX, busybox_files, |checkout| checkout.write("data/sub/three", "3\n").map(drop))
}

#[test]
fn what_was_missing_is_noticed() -> Result {
    let env = TestEnv::new()?;
    cached(&env, BUSYBOX, busybox_files, |checkout| checkout.write("missing", "").map(drop))
}

/// Nobody hears a static program ask for variables.
#[test]
fn variables_are_noticed() -> Result {
    let env = TestEnv::new()?;
    let checkout = project(&env, "a", "#!/bin/sh\nbusybox env | sed -n 's/^WORD=//p' > out/word\n")?;
    let printed = |word: &str| -> Result<String> {
        checkout.sh("rm -f out/word").ok()?;
        checkout.cmd("vrift").arg("make").env("WORD", word).ok()?;
        checkout.read("out/word")
    };
    for word in ["one", "two", "one"] {
        let read = printed(word)?;
        ensure!(read.trim_end() == word, "{read} instead of {word}");
    }
    Ok(())
}

/// The program sees nothing of vrift, and nothing of how it is traced.
#[test]
fn the_environment_is_its_own() -> Result {
    let env = TestEnv::new()?;
    let checkout =
        project(&env, "a", "#!/bin/sh\nbusybox env > out/env; busybox sh -c 'echo $0 $1' x y > out/args; ./own z >> out/args\n")?;
    checkout.write("own", "#!/bin/busybox sh\necho $0 $1\n")?.sh("chmod +x own").ok()?;
    let lines = |make: &str| -> Result<Vec<String>> {
        checkout.sh(make).ok()?;
        let mut lines: Vec<_> = (checkout.read("out/env")? + &checkout.read("out/args")?).lines().map(str::to_owned).collect();
        lines.retain(|line| !line.starts_with("MAKE") && !line.starts_with("MFLAGS"));
        Ok(lines)
    };
    let (with, without) = (lines("vrift make")?, lines("make")?);
    ensure!(with == without, "{with:#?} instead of {without:#?}");
    Ok(())
}

#[test]
fn a_bundler_in_go_is_cached() -> Result {
    as_root_and_user(|env| {
        let at = env.checkout("tools")?;
        small_copy(&at, &esbuild()?)?;
        // It lists every folder on its way; the one that it writes into is not among them.
        let script = format!(
            "#!/bin/sh\n{}/esbuild src/a.ts --bundle --format=esm --outfile=out/bundle.js --log-level=error\n",
            at.dir().display()
        );
        cached(env, &script, sources, |checkout| checkout.edit("src/b.ts", "one", "two").map(drop))
    })
}

/// It lists the folders above the project and asks for nothing by name that is not there.
#[test]
fn a_file_that_comes_above_the_project_is_noticed() -> Result {
    let env = TestEnv::new()?;
    let script = format!("#!/bin/sh\n{} src/a.ts --format=esm --outdir=out --log-level=error\n", esbuild()?.display());
    let fill = |checkout: &Checkout<'_>| checkout.write("src/a.ts", "export class A { field; }\n").map(drop);
    let setting = "{ \"compilerOptions\": { \"useDefineForClassFields\": false } }\n";
    cached(&env, &script, fill, |checkout| checkout.write("../tsconfig.json", setting).map(drop))
}

#[test]
fn typescripts_compiler_in_go_is_cached() -> Result {
    let env = TestEnv::new()?;
    let script = format!("#!/bin/sh\n{} -p .\n", tsgo()?.display());
    cached(&env, &script, sources, |checkout| checkout.edit("src/b.ts", "one", "two").map(drop))
}

fn small_copy(checkout: &Checkout<'_>, program: &std::path::Path) -> Result {
    integration::user::copy_tree(program, &checkout.path("esbuild"))?;
    checkout.env().own(checkout.dir())
}

/// A dynamic program of another C library, which the kernel gives to another loader.
#[test]
fn another_c_library_is_traced() -> Result {
    let env = TestEnv::new()?;
    if !host::has_program("musl-gcc") {
        return Ok(());
    }
    let tools = env.checkout("tools")?;
    tools
        .write("tool.c", "#include <stdio.h>\nint main(void) { char b[99]; FILE *f = fopen(\"in.txt\", \"r\"); return !f || !fgets(b, 99, f) || fputs(b, stdout) < 0; }\n")?
        .sh("musl-gcc tool.c -o tool")
        .ok()?;
    let script = format!("#!/bin/sh\n{}/tool > out/copy\n", tools.dir().display());
    cached(&env, &script, busybox_files, |checkout| checkout.edit("in.txt", "one", "two").map(drop))?;
    let checkout = project(&env, "a", &script)?;
    busybox_files(&checkout)?;
    complete(&checkout)
}

/// An action that is such a program itself.
#[test]
fn a_static_program_by_itself_is_cached() -> Result {
    let env = TestEnv::new()?;
    let source = "#include <stdio.h>\nint main(void) { char b[99]; FILE *f = fopen(\"in.txt\", \"r\"), *o = fopen(\"out/copy\", \"w\"); return !f || !o || !fgets(b, 99, f) || fputs(b, o) < 0; }\n";
    let fill = |checkout: &Checkout<'_>| -> Result {
        busybox_files(checkout)?;
        checkout.sh("rm gen").ok()?;
        small::c_program(checkout, "gen", source, "-static").map(drop)
    };
    cached(&env, "", fill, |checkout| checkout.edit("in.txt", "one", "two").map(drop))
}

/// What a program tries to change is reported before it is known whether it can. Here it cannot, for a reason that nobody
/// foresees, and reads what is still there.
#[test]
fn changes_in_vain_are_no_changes() -> Result {
    let env = TestEnv::new()?;
    let tools = env.checkout("tools")?;
    let source = "#include <fcntl.h>\n#include <stdio.h>\n#include <sys/resource.h>\n#include <unistd.h>\nint main(void) {\n\
                  struct rlimit old, none; getrlimit(RLIMIT_NOFILE, &old); none = old; none.rlim_cur = 3; setrlimit(RLIMIT_NOFILE, &none);\n\
                  if (open(\"word.txt\", O_WRONLY | O_TRUNC) >= 0) return 1;\n setrlimit(RLIMIT_NOFILE, &old);\n\
                  if (!rmdir(\"data\") || !rename(\"word.txt\", \"data\") || !unlink(\"data\") || !rename(\"missing\", \"out\")) return 2;\n\
                  char b[99]; FILE *f = fopen(\"word.txt\", \"r\"), *o = fopen(\"out/copy\", \"w\");\n\
                  return !f || !o || !fgets(b, 99, f) || fputs(b, o) < 0; }\n";
    let tool = small::c_program(&tools, "tool", source, "-static")?;
    for (at, word) in ["one", "two", "one", "three"].into_iter().enumerate() {
        let checkout = project(&env, &format!("{at}"), &format!("#!/bin/sh\n{tool}\n"))?;
        checkout.write("word.txt", word)?.write("data/mine", format!("{at}"))?;
        checkout.cmd("vrift").arg("make").ok()?;
        ensure!(checkout.read("out/copy")? == word && checkout.read("word.txt")? == word, "instead of {word}");
        ensure!(checkout.read("data/mine")? == format!("{at}"), "somebody else's file was restored");
    }
    Ok(())
}

/// Nothing was stored or restored. A refusal may reach the worker behind the question for the summary, which is then left out.
pub fn is_uncached(done: &Done) -> bool {
    done.summary().is_none_or(|line| line == "vrift: 0 hits, 0 misses, 1 uncached")
}

/// A process that outlives the action goes on undisturbed.
#[test]
fn survivors_go_on() -> Result {
    let env = TestEnv::new()?;
    let script = "#!/bin/sh\nbusybox setsid busybox sh -c 'sleep 1; cat in.txt > out/late; ls data > out/ls; mv out/ls out/listed' </dev/null >/dev/null 2>&1 &\necho > out/now\n";
    let checkout = project(&env, "a", script)?;
    busybox_files(&checkout)?;
    let done = checkout.cmd("vrift").arg("make").ok()?;
    ensure!(done.wall.as_millis() < 900, "the build waited for {:?}", done.wall);
    ensure!(is_uncached(&done), "{}", done.all());
    let began = std::time::Instant::now();
    while !checkout.path("out/listed").exists() {
        ensure!(began.elapsed().as_secs() < 10, "it did not come to its end");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    ensure!(checkout.read("out/late")? == "one\n" && checkout.read("out/listed")? == "one\nsub\nup\n");
    Ok(())
}

/// Where the kernel or a sandbox has no listener to give, programs run as they would without vrift, and nothing is stored.
#[test]
fn sandboxes_without_listeners() -> Result {
    as_root_and_user(|env| {
        let tools = env.checkout("tools")?;
        // `taken`: there is a listener above already. `denied`: installing filters is forbidden.
        let source = "#include <errno.h>\n#include <linux/filter.h>\n#include <linux/seccomp.h>\n#include <stddef.h>\n#include <string.h>\n\
                      #include <sys/prctl.h>\n#include <sys/syscall.h>\n#include <unistd.h>\nint main(int n, char **v) {\n\
                      int taken = !strcmp(v[1], \"taken\");\n\
                      struct sock_filter all[] = { { BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ALLOW } };\n\
                      struct sock_filter none[] = { { BPF_LD | BPF_W | BPF_ABS, 0, 0, offsetof(struct seccomp_data, nr) },\n\
                      { BPF_JMP | BPF_JEQ | BPF_K, 0, 1, SYS_seccomp }, { BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ERRNO | EPERM },\n\
                      { BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ALLOW } };\n\
                      struct sock_fprog p = { taken ? 1 : 4, taken ? all : none };\n prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);\n\
                      long fd = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, taken ? SECCOMP_FILTER_FLAG_NEW_LISTENER : 0, &p);\n\
                      if (fd < 0 || (taken && dup2(fd, 99) < 0)) return 77;\n execvp(v[2], v + 2); return 78; }\n";
        let sandbox = small::c_program(&tools, "sandbox", source, "")?;
        for (at, kind) in ["taken", "denied"].into_iter().enumerate() {
            let checkout = project(env, &format!("{at}"), BUSYBOX)?;
            busybox_files(&checkout)?;
            env.own(checkout.dir())?;
            checkout.cmd("vrift").args(["run", "--", "true"]).ok()?;
            for _ in 0..2 {
                checkout.sh("rm -rf out; mkdir out").ok()?;
                let done = checkout.cmd(&sandbox).args([kind, "vrift", "make"]).ok()?;
                ensure!(is_uncached(&done), "{kind}: {}", done.all());
                ensure!(checkout.read("out/cat")? == "one\n1\n", "{kind}");
            }
        }
        Ok(())
    })
}

/// Signals interrupt nothing, threads and children of all kinds are followed, and odd ways to name a file are understood.
#[test]
fn the_trace_of_an_odd_program_is_complete() -> Result {
    let env = TestEnv::new()?;
    let tools = env.checkout("tools")?;
    let source = "#define _GNU_SOURCE\n#include <fcntl.h>\n#include <pthread.h>\n#include <signal.h>\n#include <spawn.h>\n#include <stdio.h>\n\
                  #include <stdlib.h>\n#include <string.h>\n#include <sys/stat.h>\n#include <sys/time.h>\n#include <sys/wait.h>\n#include <unistd.h>\n\
                  extern char **environ;\nstatic void tick(int s) { (void)s; }\n\
                  static void *work(void *n) { char p[99]; struct stat s; for (int i = 0; i < 200; i++) {\n\
                  sprintf(p, \"none-%ld-%d\", (long)n, i); stat(p, &s); if (i % 20 == 0) { int f = open(\"in.txt\", O_RDONLY); if (f < 0) abort(); close(f); } } return 0; }\n\
                  int main(int n, char **v) {\n if (n > 1) { int f = open(v[1], O_RDONLY); return f < 0; }\n\
                  struct sigaction a = { .sa_handler = tick, .sa_flags = SA_RESTART }; sigaction(SIGALRM, &a, 0);\n\
                  struct itimerval t = { { 0, 300 }, { 0, 300 } }; setitimer(ITIMER_REAL, &t, 0);\n\
                  pthread_t th[4]; for (long i = 0; i < 4; i++) pthread_create(&th[i], 0, work, (void *)i);\n\
                  for (int i = 0; i < 4; i++) pthread_join(th[i], 0);\n\
                  memset(&t, 0, sizeof t); setitimer(ITIMER_REAL, &t, 0);\n\
                  int d = open(\"data\", O_PATH | O_DIRECTORY); char p[99]; sprintf(p, \"/proc/self/fd/%d/one\", d);\n\
                  if (d < 0 || open(p, O_RDONLY) < 0 || openat(d, \"sub/two\", O_RDONLY) < 0 || chdir(\"data\") || open(\"./../in.txt\", O_RDONLY) < 0) return 3;\n\
                  if (open(\"/proc/self/cwd/up\", O_RDONLY) < 0) return 4;\n\
                  pid_t c = fork(); if (!c) { chdir(\"sub\"); _exit(open(\"two\", O_RDONLY) < 0); }\n int st; waitpid(c, &st, 0); if (st) return 5;\n\
                  char *args[] = { v[0], \"one\", 0 }; if (posix_spawn(&c, v[0], 0, 0, args, environ)) return 6; waitpid(c, &st, 0); if (st) return 7;\n\
                  if (!(c = vfork())) { execl(v[0], v[0], \"sub/two\", (char *)0); _exit(9); } waitpid(c, &st, 0); if (st) return 8;\n\
                  execl(\"/bin/ls\", \"ls\", \"sub\", (char *)0); return 10; }\n";
    let tool = small::c_program(&tools, "tool", source, "-static -pthread")?;
    let checkout = project(&env, "a", &format!("#!/bin/sh\n{tool} > out/ls\n"))?;
    busybox_files(&checkout)?;
    complete(&checkout)
}
