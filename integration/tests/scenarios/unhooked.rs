//! Programs that no preload reaches, traced through the kernel: static ones of C and Go, and those of another C library. All of
//! them inside of scripts that a setting makes actions.

use std::path::PathBuf;

use anyhow::ensure;
use integration::access::{self, Ignores};
use integration::checkout::Checkout;
use integration::env::{TestEnv, as_root_and_user};
use integration::{Result, host, npm, small, traces};

/// A bundler, a static program of Go.
fn esbuild() -> Result<PathBuf> {
    let digest = "95a928d8187c6f7ad632a3f3bbf01f66dfd5b5adb724b8bfeec5fff73ff2d91a";
    Ok(npm::package("@esbuild/linux-x64", "0.25.5", digest)?.join("bin/esbuild"))
}

/// TypeScript's compiler in Go, static too.
fn tsgo() -> Result<PathBuf> {
    let digest = "5e6ee1052190526ae0ac277b2fb52ba0c7e880619201493bd5342976a0b33eb6";
    Ok(npm::package("@typescript/native-preview-linux-x64", "7.0.0-dev.20260707.2", digest)?.join("lib/tsgo"))
}

/// What every project here has: the script `gen` is an action, and nothing else.
fn project<'e>(env: &'e TestEnv, name: &str, script: &str) -> Result<Checkout<'e>> {
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
fn cached(env: &TestEnv, script: &str, fill: impl Fn(&Checkout<'_>) -> Result, edit: impl Fn(&Checkout<'_>) -> Result) -> Result {
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

/// Every kind of look and change, by a shell with its own tools.
const BUSYBOX: &str = "#!/bin/busybox sh
busybox cat in.txt > out/cat
cp in.txt out/cp; mkdir -p out/d/e; mv out/cp out/d/moved; ln -s moved out/d/link; ln out/d/moved out/d/hard
busybox ls data > out/ls; busybox find data -type f | busybox sort > out/find
test -e missing && echo there > out/there; test -f data/one && echo one > out/one
busybox touch out/t; busybox rm out/t; busybox chmod 600 out/cat; busybox readlink -f data/up > out/readlink.txt; busybox rm out/readlink.txt
( cd data; busybox cat one ) >> out/cat; busybox stat -c %s in.txt > out/size
sed s/o/0/ in.txt > out/sed
for i in 1 2 3 4; do busybox cat data/one & done > /dev/null; wait
";

fn busybox_files(checkout: &Checkout<'_>) -> Result {
    checkout.write("in.txt", "one\n")?.write("data/one", "1\n")?.write("data/sub/two", "2\n")?;
    std::os::unix::fs::symlink("../in.txt", checkout.path("data/up"))?;
    Ok(())
}

#[test]
fn the_trace_of_a_static_shell_is_complete() -> Result {
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

/// A static program between dynamic ones: a dynamic shell, the static shell, a dynamic program of its, and its child again.
#[test]
fn the_trace_of_a_mixed_tree_is_complete() -> Result {
    let env = TestEnv::new()?;
    let script = "#!/bin/sh\nbusybox sh -c 'env -i /bin/sh -c \"cat in.txt; ls data; env -i busybox cat data/one; /bin/cat ./data/sub/two\"' > out/all\ncat in.txt >> out/all\n";
    let checkout = project(&env, "a", script)?;
    busybox_files(&checkout)?;
    complete(&checkout)
}

#[test]
fn a_static_shell_is_cached() -> Result {
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
    let checkout = project(&env, "a", "#!/bin/sh\nbusybox sh -c 'echo $WORD' > out/word\n")?;
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
