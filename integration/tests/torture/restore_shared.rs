//! Restore must: keep checkouts apart although they share inodes, and survive writers that nobody expects.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use integration::Result;
use integration::checkout::Checkout;
use integration::env::{TestEnv, as_root_and_user};
use integration::right::Built;
use integration::snapshot::Snapshot;
use integration::{host, small};

const SAYS: &str = "base one, mid one, mac one, script one, app one\n";

/// Mode, modification time and number of every file below a folder.
fn stats(dir: &Path) -> Result<BTreeMap<PathBuf, (u32, i64, i64, u64)>> {
    let mut all = BTreeMap::new();
    for entry in walkdir::WalkDir::new(dir) {
        let entry = entry?;
        let meta = entry.metadata()?;
        if meta.is_file() {
            all.insert(entry.path().to_owned(), (meta.mode(), meta.mtime(), meta.mtime_nsec(), meta.ino()));
        }
    }
    Ok(all)
}

/// Builds two checkouts; the second one from the store.
fn two<'e>(env: &'e TestEnv) -> Result<(Checkout<'e>, Checkout<'e>)> {
    let first = env.checkout("first")?;
    small::workspace(&first)?;
    first.vrift("build").ok()?;
    let second = first.copy("second")?;
    env.start_daemon()?;
    second.vrift("build").judged()?.nothing_ran()?;
    Ok((first, second))
}

#[test]
fn other_checkouts_keep_their_files() -> Result {
    as_root_and_user(|env| {
        let (first, second) = two(env)?;
        let (stats_before, before) = (stats(&first.path("target"))?, Snapshot::of(&first.path("target"))?);
        second.edit("base/src/lib.rs", "base one", "base two")?;
        second.vrift("build").ok()?;
        second.edit("base/src/lib.rs", "base two", "base three")?;
        second.cargo("build").ok()?;
        second.vrift("test --no-run").ok()?;
        second.sh("touch target/debug/app; chmod 700 target/debug/app").ok()?;
        second.cargo("clean").ok()?;
        second.vrift("build").ok()?;
        let third = first.copy("third")?;
        third.vrift("build").ok()?;
        let after = stats(&first.path("target"))?;
        let changed: Vec<_> = stats_before.iter().filter(|(path, stat)| after.get(*path) != Some(stat)).collect();
        ensure!(changed.is_empty(), "other checkouts changed {changed:?}");
        ensure!(Snapshot::of(&first.path("target"))?.differences(&before).is_empty(), "content of the first checkout changed");
        first.cargo("build").judged()?.nothing_ran()?;
        ensure!(first.output_of("app")? == SAYS && third.output_of("app")? == SAYS);
        Ok(())
    })
}

#[test]
fn outputs_truncated_in_place() -> Result {
    as_root_and_user(|env| {
        let (first, second) = two(env)?;
        let before = Snapshot::of(&first.path("target"))?;
        // rustc truncates its old dependency files, and the plain build knows nothing of vrift.
        second.edit("mid/src/lib.rs", "mid one", "mid two")?;
        second.cargo("build").ok()?;
        second.edit("base/src/lib.rs", "base one", "base two")?;
        second.vrift("build").ok()?;
        ensure!(second.output_of("app")? == "base two, mid two, mac one, script one, app one\n");
        ensure!(Snapshot::of(&first.path("target"))?.differences(&before).is_empty(), "the first checkout changed");
        let third = first.copy("third")?;
        third.vrift("build").ok()?;
        ensure!(third.output_of("app")? == SAYS);
        Built::new(&third, "build", &["app"]).check()
    })
}

/// What may be done to a file in place, and whether it must always succeed.
const WRITERS: [&str; 7] = [
    "truncate -s 10 \"$1\"",
    "printf garbage | dd of=\"$1\" conv=notrunc status=none",
    "cat /bin/true > \"$1\"",
    "cp /bin/true \"$1\"",
    "sed -i s/o/0/ \"$1\"",
    "chmod 644 \"$1\" && echo more >> \"$1\"",
    "rm -f \"$1\" && echo other > \"$1\"",
];

/// A file of the second checkout, by the shape of its name.
fn file_of(checkout: &Checkout<'_>, shape: &str) -> Result<PathBuf> {
    let found = checkout.sh(&format!("ls -d {shape}")).ok()?.stdout;
    Ok(checkout.path(found.lines().next().context("no such file")?))
}

#[test]
fn writers_on_a_final_program() -> Result {
    as_root_and_user(|env| {
        let (first, second) = two(env)?;
        let mut writers: Vec<&str> = WRITERS.to_vec();
        if host::has_program("strip") {
            writers.extend([
                "strip -o \"$1\" \"$1\"",
                "objcopy --strip-debug \"$1\"",
                "strip -o /dev/null \"$1\" && strip \"$1\"",
            ]);
        }
        for writer in writers {
            second.sh("rm -rf target").ok()?;
            second.vrift("build").judged()?.nothing_ran()?;
            let before = Snapshot::of(&first.path("target"))?;
            let done = second.cmd("sh").args(["-ec", writer, "writer", "target/debug/app"]).run()?;
            ensure!(done.status.success(), "{writer}: {}", done.stderr);
            ensure!(Snapshot::of(&first.path("target"))?.differences(&before).is_empty(), "{writer} changed the first checkout");
            second.sh("rm -rf target").ok()?;
            second.vrift("build").ok()?;
            ensure!(second.output_of("app")? == SAYS, "{writer} changed what is restored");
        }
        Built::new(&second, "build", &["app"]).check()
    })
}

#[test]
fn writers_on_shared_files() -> Result {
    as_root_and_user(|env| {
        let (first, second) = two(env)?;
        let shapes = ["target/debug/deps/libmid-*.rlib", "target/debug/deps/libbase-*.rmeta", "target/debug/deps/libmac-*.so"];
        for (at, (shape, writer)) in shapes.iter().flat_map(|shape| WRITERS.iter().map(move |w| (shape, w))).enumerate() {
            second.sh("rm -rf target").ok()?;
            second.vrift("build").ok()?;
            let victim = file_of(&second, shape)?;
            let before = Snapshot::of(&first.path("target"))?;
            let done = second.cmd("sh").args(["-ec", writer, "writer"]).arg(&victim).run()?;
            // An ordinary user is refused where the file is shared, which keeps it whole. Root is not, and neither is who
            // gives himself the right first; then the blob must never be served again.
            let forced = done.status.success() && (host::is_root() && !env.is_user() || writer.contains("chmod"));
            let intact = Snapshot::of(&first.path("target"))?.differences(&before).is_empty();
            ensure!(intact || forced, "`{writer}` on {shape} changed the first checkout");
            let fresh = first.copy(&format!("fresh/{at}"))?;
            fresh.vrift("build").ok().with_context(|| format!("after `{writer}` on {shape}"))?;
            ensure!(fresh.output_of("app")? == SAYS, "after `{writer}` on {shape} the wrong file is restored");
            if !intact {
                first.sh("rm -rf target").ok()?;
                first.vrift("build").ok()?;
            }
        }
        let last = first.copy("last")?;
        last.vrift("build").ok()?;
        Built::new(&last, "build", &["app"]).check()
    })
}

const MAPPED_WRITER: &str = "#include <fcntl.h>\n#include <string.h>\n#include <sys/mman.h>\nint main(int n, char **v) {\n\
    int f = open(v[n - 1], O_RDWR);\n if (f < 0) return 1;\n\
    char *m = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, f, 0);\n if (m == MAP_FAILED) return 1;\n\
    memset(m + 64, 'X', 8);\n return munmap(m, 4096);\n}\n";

#[test]
fn a_mapped_writer() -> Result {
    as_root_and_user(|env| {
        let (first, second) = two(env)?;
        let writer = small::c_program(&env.checkout("writer")?, "writer", MAPPED_WRITER, "")?;
        for (at, shape) in ["target/debug/app", "target/debug/deps/libmid-*.rlib"].into_iter().enumerate() {
            let done = second.cmd(&writer).arg(file_of(&second, shape)?).run()?;
            ensure!(at > 0 || done.status.success(), "a final program can be mapped for writing");
            let fresh = first.copy(&format!("fresh/{at}"))?;
            fresh.vrift("build").ok()?;
            ensure!(fresh.output_of("app")? == SAYS, "{shape}");
            Built::new(&fresh, "build", &["app"]).check()?;
        }
        Ok(())
    })
}
