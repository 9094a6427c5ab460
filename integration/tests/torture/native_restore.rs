//! Restore must: leave Make and Ninja content, and keep the objects and programs of different checkouts apart.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::{Context, ensure};
use integration::Result;
use integration::checkout::Checkout;
use integration::env::{TestEnv, as_root_and_user};
use integration::snapshot::{Exceptions, Snapshot};
use integration::{host, small};

const MAKEFILE: &str = "CC = cc\nall: hello\nhello: main.o libword.a\n\t$(CC) -o $@ main.o libword.a\n\
                        libword.a: word.o\n\trm -f $@\n\tar rc $@ word.o\n\tranlib $@\n\
                        %.o: %.c | made\n\t$(CC) -g -MD -c -o $@ $<\nmade:\n\tmkdir made\n-include *.d\n.PHONY: all\n";

const NINJA: &str = "rule cc\n  command = cc -MD -MF $out.d -c -o $out $in\n  depfile = $out.d\n  deps = gcc\n\
                     rule link\n  command = cc -o $out $in\nbuild main.o: cc main.c\nbuild word.o: cc word.c\n\
                     build hello: link main.o word.o\n";

/// A program with a library, and with build files for Make and Ninja.
fn project<'e>(env: &'e TestEnv, name: &str) -> Result<Checkout<'e>> {
    let checkout = env.checkout(name)?;
    small::make(&checkout)?;
    checkout.write("Makefile", MAKEFILE)?.write("build.ninja", NINJA)?;
    Ok(checkout)
}

/// Two of them, the second one built from the store by `vrift` with these words.
fn two<'e>(env: &'e TestEnv, tool: &[&str]) -> Result<(Checkout<'e>, Checkout<'e>)> {
    let first = project(env, "first")?;
    vrift(&first, tool).ok()?;
    let second = project(env, "second")?;
    env.start_daemon()?;
    second.cmd("vrift").args(["run", "--", "true"]).ok()?;
    vrift(&second, tool).judged()?.nothing_ran()?;
    ensure!(second.cmd("./hello").ok()?.stdout == "hello one\n");
    Ok((first, second))
}

fn vrift(checkout: &Checkout<'_>, tool: &[&str]) -> integration::command::Cmd {
    checkout.cmd("vrift").args(tool.iter().copied())
}

/// Inode and modification time of all that was built.
fn stats(checkout: &Checkout<'_>) -> Result<BTreeMap<String, (u64, i64, i64)>> {
    let mut all = BTreeMap::new();
    for name in ["main.o", "word.o", "main.d", "libword.a", "hello"] {
        let meta = checkout.path(name).metadata().with_context(|| format!("{name} is not there"))?;
        all.insert(name.to_owned(), (meta.ino(), meta.mtime(), meta.mtime_nsec()));
    }
    Ok(all)
}

#[test]
fn make_finds_nothing_to_do_and_rebuilds_what_it_should() -> Result {
    as_root_and_user(|env| {
        let (first, second) = two(env, &["make", "-j4"])?;
        for checkout in [&first, &second] {
            checkout.cmd("make").arg("-q").ok()?;
            ensure!(!checkout.cmd("make").arg("-n").ok()?.stdout.contains("cc "));
            let stats = stats(checkout)?;
            let time = |name: &str| stats.get(name).map(|(_, s, ns)| (*s, *ns));
            ensure!(time("hello") >= time("libword.a") && time("libword.a") >= time("word.o"), "{stats:?}");
        }
        second.edit("word.c", "return WORD;", "return WORD \"!\";")?;
        ensure!(second.cmd("make").arg("-q").run()?.shell_status() == 1);
        let judged = second.cmd("make").judged()?;
        ensure!(judged.count("cc1") == 1, "{}", judged.done.all());
        ensure!(second.cmd("./hello").ok()?.stdout == "hello one!\n");
        second.edit("word.h", "one", "two")?;
        vrift(&second, &["make"]).ok()?;
        ensure!(second.cmd("./hello").ok()?.stdout == "hello two!\n");
        second.cmd("make").arg("-q").ok()?;
        // Touched, and taken for done without being made.
        second.sh("sleep 0.02; touch word.h; make -q && exit 1; make -t; make -q").ok()?;
        first.cmd("make").arg("-q").ok()?;
        ensure!(first.cmd("./hello").ok()?.stdout == "hello one\n");
        Ok(())
    })
}

#[test]
fn ninja_finds_nothing_to_do_and_rebuilds_what_it_should() -> Result {
    let env = TestEnv::new()?;
    let (first, second) = two(&env, &["ninja"])?;
    for checkout in [&first, &second] {
        ensure!(checkout.cmd("ninja").ok()?.stdout.contains("no work to do"));
    }
    second.edit("word.h", "one", "two")?;
    let judged = second.cmd("ninja").judged()?;
    ensure!(judged.count("cc1") == 2, "{}", judged.done.all());
    ensure!(second.cmd("./hello").ok()?.stdout == "hello two\n");
    second.edit("word.h", "two", "one")?;
    vrift(&second, &["ninja"]).judged()?.nothing_ran()?;
    ensure!(second.cmd("./hello").ok()?.stdout == "hello one\n");
    ensure!(second.cmd("ninja").ok()?.stdout.contains("no work to do"));
    Ok(())
}

#[test]
fn other_checkouts_keep_their_dates() -> Result {
    as_root_and_user(|env| {
        let (first, second) = two(env, &["make"])?;
        let (before, inodes) = (stats(&first)?, |all: &BTreeMap<String, (u64, i64, i64)>| -> Vec<u64> {
            all.values().map(|(inode, ..)| *inode).collect()
        });
        ensure!(inodes(&before).iter().all(|inode| !inodes(&stats(&second).unwrap_or_default()).contains(inode)));
        second.sh("sleep 0.02; touch word.c").ok()?;
        vrift(&second, &["make"]).ok()?;
        second.sh("touch -d 2001-01-01 hello; chmod 700 hello; rm -f main.o; make").ok()?;
        ensure!(stats(&first)? == before);
        first.cmd("make").arg("-q").ok()?;
        Ok(())
    })
}

#[test]
fn writers_on_objects_and_programs() -> Result {
    const WRITERS: [&str; 6] = [
        "strip hello main.o",
        "objcopy --strip-debug main.o",
        "truncate -s 100 word.o",
        "sed -i s/one/six/ hello",
        "cp main.o word.o; cat word.o >> libword.a",
        "printf xyz | dd of=hello conv=notrunc status=none",
    ];
    as_root_and_user(|env| {
        let (first, second) = two(env, &["make"])?;
        let before = built(&first)?;
        for (number, writer) in WRITERS.iter().enumerate() {
            second.sh(writer).ok()?;
            vrift(&second, &["sh", "-ec", writer]).run()?;
            ensure!(built(&first)?.differences(&before).is_empty(), "`{writer}` reached another checkout");
            let third = project(env, &format!("third-{number}"))?;
            vrift(&third, &["make"]).ok()?;
            ensure!(third.cmd("./hello").ok()?.stdout == "hello one\n", "`{writer}` reached the store");
            second.sh("rm -f hello *.o *.a").ok()?;
            vrift(&second, &["make"]).ok()?;
            let (ours, theirs) = (built(&second)?, built(&third)?);
            ours.same_as(&theirs, &Exceptions::load()?)?;
        }
        env.vrift().arg("fsck").ok()?;
        Ok(())
    })
}

/// What is built, and nothing of Make's.
fn built(checkout: &Checkout<'_>) -> Result<Snapshot> {
    let mut snapshot = Snapshot::of(checkout.dir())?;
    let keep = |path: &Path| path.extension().is_none_or(|ext| ext == "o" || ext == "a");
    snapshot.0.retain(|path, _| keep(path));
    Ok(snapshot)
}

#[test]
fn many_parallel_builds_at_once() -> Result {
    let env = TestEnv::new()?;
    let checkouts = (0..4).map(|n| project(&env, &format!("c{n}"))).collect::<Result<Vec<_>>>()?;
    let running = checkouts.iter().map(|checkout| vrift(checkout, &["make", "-j8"]).start()).collect::<Result<Vec<_>>>()?;
    for run in running {
        let done = run.wait()?;
        ensure!(done.status.success(), "{}", done.all());
    }
    for checkout in &checkouts {
        ensure!(checkout.cmd("./hello").ok()?.stdout == "hello one\n");
        checkout.cmd("make").arg("-q").ok()?;
    }
    Ok(())
}

#[test]
fn preloads_and_scrubbed_environments() -> Result {
    let env = TestEnv::new()?;
    let source = "__attribute__((constructor)) static void c(void) {}\n";
    let library = small::c_program(&env.checkout("library")?, "other.so", source, "-shared -fPIC")?;
    let scrubbed = format!("CC=env -i PATH={} cc", host::search_path().to_string_lossy());
    for (number, preload) in [false, true].into_iter().enumerate() {
        for name in ["first", "second"] {
            let checkout = project(&env, &format!("{number}/{name}"))?;
            checkout.cmd("vrift").args(["run", "--", "true"]).ok()?;
            let cmd = vrift(&checkout, &["make", &scrubbed]);
            let cmd = if preload { cmd.env("LD_PRELOAD", &library) } else { cmd };
            let judged = cmd.judged()?;
            if name == "second" {
                judged.nothing_ran()?;
            }
            ensure!(checkout.cmd("./hello").ok()?.stdout == "hello one\n");
        }
    }
    Ok(())
}

/// An output that is a symbolic link: what is behind the link is written, and the link stays.
#[test]
fn outputs_behind_symbolic_links() -> Result {
    let env = TestEnv::new()?;
    for name in ["first", "second"] {
        let checkout = project(&env, name)?;
        for _ in 0..2 {
            // gcc writes assembly through a link, and replaces one that is to be an object.
            checkout.sh("rm -rf real word.s; mkdir real; : > real/word.s; ln -s real/word.s word.s").ok()?;
            vrift(&checkout, &["sh", "-c", "cc -S -o word.s word.c"]).ok()?;
            ensure!(checkout.path("word.s").is_symlink(), "the link was replaced");
            ensure!(checkout.path("real/word.s").metadata()?.len() > 100, "nothing was written behind the link");
        }
    }
    Ok(())
}
