//! What a hit of an npm script puts in place.

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use anyhow::ensure;
use integration::Result;
use integration::checkout::Checkout;
use integration::command::within;
use integration::env::as_root_and_user;
use integration::npm::{self, is_hit, is_miss};

#[test]
fn modes_links_empty_files_and_deletions() -> Result {
    as_root_and_user(|env| {
        let make = |name: &str| -> Result<_> {
            let checkout = env.checkout(name)?;
            checkout
                .write("package.json", r#"{"name":"p","version":"1.0.0","scripts":{"build":"sh build.sh"}}"#)?
                .write("stale/a", "a")?
                .write(
                    "build.sh",
                    "mkdir -p dist/empty dist/bin; : > dist/nothing; printf '#!/bin/sh\\necho hi\\n' > dist/bin/tool; chmod 755 dist/bin/tool\n\
                     ln -s bin/tool dist/link; pwd > dist/where; rm -r stale; echo out; echo err >&2; echo more\n",
                )?;
            Ok(checkout)
        };
        let (real, first, second) = (make("real")?, make("first")?, make("second/deep")?);
        npm::npm(&real, "build").ok()?;
        is_miss(&npm::vrift(&first, "build").ok()?)?;
        let done = npm::vrift(&second, "build").ok()?;
        is_hit(&done)?;
        ensure!(done.stdout.ends_with("out\nmore\n") && done.stderr.starts_with("err\n"), "{}", done.all());
        ensure!(second.read("dist/where")?.trim() == second.dir().to_string_lossy(), "another checkout's path");
        ensure!(!second.path("stale").exists() && second.path("dist/empty").is_dir());
        ensure!(second.cmd("dist/link").ok()?.stdout == "hi\n");
        // What is restored is the user's own: he may write to it.
        ensure!(std::fs::metadata(second.path("dist/nothing"))?.permissions().mode() & 0o200 != 0);
        second.sh("echo x >> dist/nothing; rm dist/nothing; : > dist/nothing").ok()?;
        for checkout in [&real, &second] {
            checkout.remove("dist/where")?;
        }
        npm::same(&second, &real)
    })
}

/// How many files are not under their names yet.
fn half(checkout: &Checkout<'_>) -> Result<usize> {
    let names = checkout.sh("ls -a dist 2>&1 || true").ok()?.stdout;
    Ok(names.lines().filter(|name| name.starts_with(".vrift-")).count())
}

/// Whoever looks sees no file or all of it, and a run that is killed leaves nothing that the next one takes for its own.
#[test]
fn a_restore_that_is_killed() -> Result {
    as_root_and_user(|env| {
        let checkout = env.checkout("a")?;
        checkout.write("package.json", r#"{"name":"p","version":"1.0.0","scripts":{"build":"node build.js"}}"#)?.write(
            "build.js",
            "const fs = require('fs'); fs.mkdirSync('dist');\n\
                 for (let n = 0; n < 150; n++) fs.writeFileSync(`dist/${n}`, `${n} `.repeat(1000));\n",
        )?;
        is_miss(&npm::vrift(&checkout, "build").ok()?)?;
        let whole = npm::left(&checkout)?;
        for wait in [5, 15, 30, 60] {
            checkout.sh("rm -rf dist").ok()?;
            let running = npm::vrift(&checkout, "build").start()?;
            std::thread::sleep(Duration::from_millis(wait));
            nix::sys::signal::killpg(running.pid(), nix::sys::signal::Signal::SIGKILL)?;
            running.wait()?;
            within(Duration::from_secs(10), || Ok(half(&checkout)? == 0))?;
            for (path, entry) in npm::left(&checkout)?.0 {
                ensure!(whole.0.get(&path) == Some(&entry), "`{}` is not whole", path.display());
            }
            is_hit(&npm::vrift(&checkout, "build").ok()?)?;
            ensure!(npm::left(&checkout)? == whole);
        }
        Ok(())
    })
}
