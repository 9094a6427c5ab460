//! C compilers that an npm script starts are actions of their own, and the script's result is right all the same.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use integration::checkout::Checkout;
use integration::command::{Done, within};
use integration::env::TestEnv;
use integration::npm::{self, is_miss};
use integration::{Result, traces};
use vrift_core::event::EventKind;

/// Compiles, links and reports on what it has made.
const BUILD: &str = r#"set -e
mkdir -p out
for name in main one two; do
    cc -Iearly -Ilate -MMD -Wall -c src/$name.c -o out/$name.o
    if [ "$name" = "$STOP_BEHIND" ]; then
        touch "$REACHED"
        while [ -e "$REACHED" ]; do sleep 0.02; done
    fi
done
cc out/main.o out/one.o out/two.o -o out/app
node report.js
"#;

const REPORT: &str = r#"const fs = require("fs");
const said = require("child_process").execFileSync("out/app").toString();
fs.writeFileSync("out/report.txt", `${said}${fs.statSync("out/app").size > 0}\n`);
console.log("reported");
"#;

/// The same, in a folder of its own.
const CLEAN_BUILD: &str = "rm -rf out && sh build.sh";

/// What [`BUILD`] needs. `one.h` is read for `one.c` alone, `two.h` for `two.c` alone, which warns.
fn project<'e>(env: &'e TestEnv, name: &str, script: &str) -> Result<Checkout<'e>> {
    let checkout = env.checkout(name)?;
    let manifest = serde_json::json!({ "name": "p", "version": "1.0.0", "scripts": { "build": script } });
    checkout
        .write("package.json", manifest.to_string())?
        .write("build.sh", BUILD)?
        .write("report.js", REPORT)?
        .write("early/README", "nothing yet\n")?
        .write("late/one.h", "#define ONE 1\n")?
        .write("late/two.h", "#define TWO 2\n")?
        .write("src/one.c", "#include \"one.h\"\nint one(void) { return ONE; }\n")?
        .write("src/two.c", "#include \"two.h\"\nint two(void) { int unused; return TWO; }\n")?
        .write(
            "src/main.c",
            "#include <stdio.h>\nint one(void); int two(void);\nint main(void) { printf(\"%d\\n\", one() + two()); return 0; }\n",
        )?;
    Ok(checkout)
}

/// Two of them: one for vrift, one for npm.
fn pair<'e>(env: &'e TestEnv, script: &str) -> Result<(Checkout<'e>, Checkout<'e>)> {
    Ok((project(env, "ours", script)?, project(env, "plain/real", script)?))
}

/// Builds both, and compares what they leave and say.
fn both(ours: &Checkout<'_>, real: &Checkout<'_>) -> Result<Done> {
    let npms = npm::npm(real, "build").ok()?;
    let vrifts = npm::vrift(ours, "build").ok()?;
    npm::same(ours, real)?;
    ensure!(npms.stdout == vrifts.stdout, "{}\n{}", npms.stdout, vrifts.stdout);
    ensure!(messages(&npms) == messages(&vrifts), "{}\n{}", npms.stderr, vrifts.stderr);
    Ok(vrifts)
}

/// Without what npm says of itself.
fn messages(done: &Done) -> String {
    let all = done.messages();
    all.lines().filter(|line| !line.is_empty() && !line.starts_with("npm notice")).map(|line| format!("{line}\n")).collect()
}

/// So many of them were restored, so many ran and were stored.
fn count(checkout: &Checkout<'_>, done: &Done, hits: usize, misses: usize) -> Result {
    let words = |n: usize, one: &str, more: &str| format!("{n} {}", if n == 1 { one } else { more });
    let expected = format!("vrift: {}, {}", words(hits, "hit", "hits"), words(misses, "miss", "misses"));
    let summary = done.summary().unwrap_or_default();
    if !summary.starts_with(&expected) || summary.contains("uncached") {
        let why = checkout.cmd("vrift").args(["why", "", "-n", "6"]).run()?;
        bail!("not `{expected}`: {}{}", done.all(), why.all());
    }
    Ok(())
}

/// The script's own result, wherever it runs, and not those of its compilers.
fn whole(checkout: &Checkout<'_>, done: &Done) -> Result {
    count(checkout, done, 1, 0)
}

#[test]
fn an_edited_file_is_compiled_and_the_others_restored() -> Result {
    let env = TestEnv::new()?;
    let (ours, real) = pair(&env, CLEAN_BUILD)?;
    count(&ours, &both(&ours, &real)?, 0, 5)?;
    whole(&ours, &both(&ours, &real)?)?;
    for checkout in [&ours, &real] {
        checkout.edit("src/one.c", "return ONE", "return 10 * ONE")?;
    }
    count(&ours, &both(&ours, &real).context("one file is edited")?, 2, 3)?;
    ensure!(ours.read("out/report.txt")?.starts_with("12\n"));
    whole(&ours, &both(&ours, &real).context("again")?)?;
    // Nothing that is compiled has changed.
    for checkout in [&ours, &real] {
        checkout.edit("report.js", "reported", "written down")?;
    }
    count(&ours, &both(&ours, &real).context("another step is edited")?, 4, 1)?;
    let clone = project(&env, "another/place/clone", CLEAN_BUILD)?;
    for (path, old, new) in [("src/one.c", "return ONE", "return 10 * ONE"), ("report.js", "reported", "written down")] {
        clone.edit(path, old, new)?;
    }
    // Recorded in a run in which all compilers were hits.
    whole(&clone, &npm::vrift(&clone, "build").ok()?).context("a clone")?;
    npm::same(&clone, &real)?;
    let app = clone.path("out/app").display().to_string();
    ensure!(clone.cmd(&app).ok()?.stdout == "12\n");
    Ok(())
}

/// A result that was recorded while the compilers were hits depends on all that they depend on.
#[test]
fn what_only_a_restored_compiler_saw_counts() -> Result {
    let env = TestEnv::new()?;
    let (ours, real) = pair(&env, "sh build.sh")?;
    both(&ours, &real)?;
    let mut number = 0;
    let mut with_hits = |hits: usize| -> Result {
        number += 1;
        for checkout in [&ours, &real] {
            checkout.write("report.js", format!("{REPORT}// {number}\n"))?;
        }
        count(&ours, &both(&ours, &real)?, hits, 5 - hits)?;
        whole(&ours, &both(&ours, &real)?)
    };
    let changes = [
        ("a header", "late/two.h", "#define TWO 20\n", "21\n"),
        ("a header that comes earlier", "early/two.h", "#define TWO 200\n", "201\n"),
        ("one beside the source", "src/two.h", "#define TWO 2000\n", "2001\n"),
        ("the source", "src/two.c", "#include \"two.h\"\nint two(void) { return 3 * TWO; }\n", "6001\n"),
    ];
    for (what, path, text, said) in changes {
        with_hits(4).with_context(|| format!("before {what}"))?;
        for checkout in [&ours, &real] {
            checkout.write(path, text)?;
        }
        let done = both(&ours, &real).with_context(|| what.to_owned())?;
        count(&ours, &done, 2, 3).with_context(|| what.to_owned())?;
        ensure!(ours.read("out/report.txt")?.starts_with(said), "{what}: {}", ours.read("out/report.txt")?);
    }
    with_hits(4)?;
    for checkout in [&ours, &real] {
        checkout.sh("rm -r out").ok()?;
    }
    both(&ours, &real).context("nothing is built")?;
    // A foreign file where compilers put theirs, and a program that another one built.
    for step in ["echo x > out/one.o", "echo x > out/foreign", "cc -c src/one.c -Ilate -O2 -o out/one.o", "rm out/one.d"] {
        for checkout in [&ours, &real] {
            checkout.sh(step).ok()?;
        }
        both(&ours, &real).with_context(|| step.to_owned())?;
    }
    // Another compiler, or another library.
    for step in ["CPATH", "CFLAGS_UNUSED"] {
        let done = npm::vrift(&ours, "build").env(step, ours.path("early")).ok()?;
        is_miss(&done).with_context(|| step.to_owned())?;
        npm::same(&ours, &real)?;
    }
    Ok(())
}

/// Headers that the script makes before it compiles, and files that two steps share.
#[test]
fn what_the_script_made_itself_is_no_input() -> Result {
    const SCRIPT: &str = r##"set -e
rm -rf gen; mkdir gen
echo "#define V $(cat version)" > gen/v.h
cc -Igen -c v.c -o gen/v.o
cp gen/v.o gen/first.o
echo "#define V 9" > gen/v.h
cc -Igen -c v.c -o gen/v.o
cat common.h > gen/listed; ls gen >> gen/listed
"##;
    let env = TestEnv::new()?;
    let make = |name: &str| -> Result<Checkout<'_>> {
        let checkout = env.checkout(name)?;
        checkout
            .write("package.json", r#"{"name": "p", "version": "1.0.0", "scripts": {"build": "sh build.sh"}}"#)?
            .write("build.sh", SCRIPT)?
            .write("version", "1\n")?
            .write("common.h", "#define C 1\n")?
            .write("v.c", "#include \"v.h\"\n#include \"common.h\"\nint v(void) { return V + C; }\n")?;
        Ok(checkout)
    };
    let (ours, real) = (make("ours")?, make("real")?);
    both(&ours, &real)?;
    for (path, text) in
        [("version", "2\n"), ("build.sh", &format!("{SCRIPT}# other\n")), ("common.h", "#define C 3\n"), ("version", "1\n")]
    {
        for checkout in [&ours, &real] {
            checkout.write(path, text)?;
        }
        is_miss(&both(&ours, &real)?).with_context(|| path.to_owned())?;
        both(&ours, &real)?;
        whole(&ours, &both(&ours, &real)?).with_context(|| path.to_owned())?;
    }
    Ok(())
}

/// Under Make, several at once: what is restored was looked at, and Make's looks at times do not keep the script from being stored.
#[test]
fn under_make() -> Result {
    const MAKEFILE: &str = "out/app: out/main.o out/one.o out/two.o\n\tcc $^ -o $@\nout/%.o: src/%.c\n\tcc -Iearly -Ilate -MMD -c $< -o $@\n-include out/*.d\n";
    let env = TestEnv::new()?;
    let (ours, real) = pair(&env, "rm -rf out && mkdir out && make -s -j2 && node report.js")?;
    for checkout in [&ours, &real] {
        checkout.write("Makefile", MAKEFILE)?;
    }
    count(&ours, &both(&ours, &real)?, 0, 5)?;
    for (path, old, new) in [("src/one.c", "return ONE", "return 3 * ONE"), ("late/two.h", "TWO 2", "TWO 7")] {
        for checkout in [&ours, &real] {
            checkout.edit(path, old, new)?;
        }
        count(&ours, &both(&ours, &real)?, 2, 3).with_context(|| path.to_owned())?;
        whole(&ours, &both(&ours, &real)?)?;
    }
    for checkout in [&ours, &real] {
        checkout.edit("report.js", "reported", "said")?;
    }
    count(&ours, &both(&ours, &real)?, 4, 1)?;
    whole(&ours, &both(&ours, &real)?)?;
    for checkout in [&ours, &real] {
        checkout.edit("late/two.h", "TWO 7", "TWO 8")?;
    }
    count(&ours, &both(&ours, &real)?, 2, 3)?;
    ensure!(ours.read("out/report.txt")?.starts_with("11\n"));
    Ok(())
}

/// Compilers that fail, that read what is piped into them, that write somewhere else than into ordinary files.
#[test]
fn odd_compilers() -> Result {
    const SCRIPT: &str = r#"mkdir -p out
cc -c broken.c -o out/broken.o; echo "status $?"
cc -c good.c -o none/good.o; echo "status $?"
cc -c good.c -o /dev/null; echo "status $?"
echo 'int piped;' | cc -x c -c - -o out/piped.o; echo "status $?"
cc -E good.c | grep -v '^#' > out/good.i
rm -f out/link.o out/real.o; touch out/real.o; ln -s real.o out/link.o
cc -MMD -MF out/link.o -c good.c -o out/good.o; ls -l out/link.o | wc -l
cc --version > /dev/null && cc -dumpmachine
CC=cc sh -c '$CC -c good.c -o out/again.o'
exec cc -c good.c -o out/last.o
"#;
    let env = TestEnv::new()?;
    let make = |name: &str| -> Result<Checkout<'_>> {
        let checkout = env.checkout(name)?;
        checkout
            .write("package.json", r#"{"name": "p", "version": "1.0.0", "scripts": {"build": "sh build.sh"}}"#)?
            .write("build.sh", SCRIPT)?
            .write("broken.c", "int broken(void) { return missing; }\n")?
            .write("good.c", "int good(void) { int unused; return 0; }\n")?;
        Ok(checkout)
    };
    let (ours, real) = (make("ours")?, make("real")?);
    both(&ours, &real)?;
    for path in ["README", "build.sh", "good.c", "broken.c"] {
        for checkout in [&ours, &real] {
            let text = checkout.read(path).unwrap_or_default();
            checkout.write(path, format!("{text}{}\n", if path == "build.sh" { "# x" } else { "// x" }))?;
        }
        both(&ours, &real).with_context(|| path.to_owned())?;
        both(&ours, &real).with_context(|| path.to_owned())?;
    }
    Ok(())
}

/// Without daemons in the middle of it, the script goes on, and nothing wrong comes of it.
#[test]
fn daemons_that_end_in_between() -> Result {
    let env = TestEnv::new()?;
    let (ours, real) = pair(&env, "sh build.sh")?;
    both(&ours, &real)?;
    for checkout in [&ours, &real] {
        checkout.edit("report.js", "reported", "said")?;
        checkout.edit("late/two.h", "TWO 2", "TWO 4")?;
    }
    let reached = ours.path("reached");
    let running = npm::vrift(&ours, "build").env("STOP_BEHIND", "one").env("REACHED", &reached).start()?;
    within(Duration::from_secs(60), || Ok(reached.exists()))?;
    env.kill_daemons()?;
    std::fs::remove_file(&reached)?;
    let done = running.wait()?;
    ensure!(done.status.success(), "{}", done.all());
    npm::npm(&real, "build").ok()?;
    npm::same(&ours, &real)?;
    both(&ours, &real)?;
    for checkout in [&ours, &real] {
        checkout.edit("late/two.h", "TWO 4", "TWO 5")?;
    }
    is_miss(&both(&ours, &real)?)?;
    ensure!(ours.read("out/report.txt")?.starts_with("6\n"));
    Ok(())
}

/// What the script's trace tells of compilers that were restored is what it tells of those that ran.
#[test]
fn the_trace_of_a_script_is_the_same() -> Result {
    let env = TestEnv::new()?;
    let ours = project(&env, "a", "sh build.sh")?;
    npm::vrift(&ours, "build").ok()?;
    let trace = |name: &str, words: &str| -> Result<traces::Trace> {
        let dir = env.path().join(name);
        std::fs::create_dir_all(&dir)?;
        npm::vrift(&ours, words).env("VRIFT_TRACE_DIR", &dir).ok()?;
        // The script's is the one that begins with its shell.
        let is_scripts = |trace: &traces::Trace| trace.events.iter().any(|event| event.path.ends_with("/report.js"));
        traces::read_all(&dir)?.into_iter().find(is_scripts).context("no trace of the script")
    };
    let real = trace("real", "--force build")?;
    ours.edit("report.js", "reported", "said")?;
    let restored = trace("restored", "build")?;
    let signed_in = |trace: &traces::Trace| {
        let all = trace.events.iter().filter(|event| event.kind == EventKind::SignIn);
        all.map(|event| event.path.clone()).collect::<Vec<_>>()
    };
    // The compilers themselves, and nothing of what they start.
    ensure!(signed_in(&real).iter().any(|path| path.ends_with("/cc1")), "{:?}", signed_in(&real));
    ensure!(!signed_in(&restored).iter().any(|path| path.ends_with("/cc1")), "{:?}", signed_in(&restored));
    let (real, restored) = (looks(&real), looks(&restored));
    let left_out = |path: &Path| {
        // Outputs, temporary files and what no claim is made of.
        let own = path.starts_with(ours.path("out")) || path.starts_with(env.path().join("tmp")) || path.starts_with("/proc");
        own || ours.dir().starts_with(path)
    };
    let missing: Vec<_> = real.difference(&restored).filter(|(_, path)| !left_out(path)).collect();
    ensure!(missing.is_empty(), "{} looks are missing: {:#?}", missing.len(), &missing[..missing.len().min(40)]);
    Ok(())
}

/// Whether something was found, and where.
fn looks(trace: &traces::Trace) -> BTreeSet<(bool, PathBuf)> {
    use EventKind::{Access, Exec, Library, List, Lstat, OpenRead, Readlink, SignIn, Stat};
    let kinds = [OpenRead, Access, Lstat, Stat, Readlink, List, Library, SignIn, Exec];
    let looks = trace.events.iter().filter(|event| kinds.contains(&event.kind));
    looks.map(|event| (event.errno == 0, clean(Path::new(&event.path)))).collect()
}

/// Without `.` and `..`, which the compiler's own paths are full of. A folder that is missing before a `..` is what a call fails for.
fn clean(path: &Path) -> PathBuf {
    let mut clean = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => {
                let Ok(real) = clean.canonicalize() else { return clean };
                clean = real;
                clean.pop();
            }
            Component::CurDir => {}
            part => clean.push(part),
        }
    }
    clean
}
