//! Restore must: leave the build tools content, bring back every kind of file, and say what the compiler said.

use anyhow::ensure;
use integration::Result;
use integration::checkout::Checkout;
use integration::env::{TestEnv, as_root_and_user};
use integration::right::Built;
use integration::small;
use integration::snapshot::Snapshot;

const SAYS: &str = "base one, mid one, mac one, script one, app one\n";

#[test]
fn cargo_has_nothing_to_do() -> Result {
    as_root_and_user(|env| {
        let first = env.checkout("first")?;
        small::workspace(&first)?;
        first.vrift("build").ok()?;
        first.vrift("test --no-run").ok()?;
        let second = first.copy("second")?;
        second.vrift("build").judged()?.nothing_ran()?;
        second.vrift("test --no-run").judged()?.nothing_ran()?;
        for checkout in [&first, &second] {
            for command in ["build", "test --no-run"] {
                let judged = checkout.cargo(command).judged()?;
                judged.nothing_ran()?;
                ensure!(judged.done.compiling().is_empty(), "{}", judged.done.stderr);
            }
        }
        // Edits: by plain Cargo, then through vrift, then by plain Cargo again.
        second.edit("mid/src/lib.rs", "mid one", "mid two")?;
        second.cargo("build").judged()?.compiled_exactly(&["app", "mid"])?;
        second.edit("base/src/lib.rs", "base one", "base two")?;
        second.vrift("build").judged()?.compiled_exactly(&["app", "base", "mid"])?;
        second.cargo("build").judged()?.nothing_ran()?;
        ensure!(second.output_of("app")? == "base two, mid two, mac one, script one, app one\n");
        second.edit("app/build.rs", "script one", "script two")?;
        second.cargo("build").judged()?.compiled_exactly(&["app", "build_script_build"])?;
        ensure!(second.output_of("app")? == "base two, mid two, mac one, script two, app one\n");
        ensure!(first.output_of("app")? == SAYS);
        let third = second.copy("third")?;
        third.vrift("build").ok()?;
        Built::new(&third, "build", &["app"]).check()
    })
}

#[test]
fn make_has_nothing_to_do() -> Result {
    as_root_and_user(|env| {
        let first = env.checkout("first")?;
        small::make(&first)?;
        let make = |checkout: &Checkout<'_>| checkout.cmd("vrift").args(["run", "--", "make"]);
        make(&first).ok()?;
        let second = first.copy("second")?;
        second.sh("rm -f *.o hello").ok()?;
        env.start_daemon()?;
        make(&second).judged()?.nothing_ran()?;
        for checkout in [&first, &second] {
            ensure!(checkout.cmd("./hello").ok()?.stdout == "hello one\n");
            checkout.cmd("make").arg("-q").ok()?;
        }
        second.edit("word.c", "return WORD;", "return WORD \"!\";")?;
        make(&second).ok()?;
        ensure!(second.cmd("./hello").ok()?.stdout == "hello one!\n");
        second.cmd("make").arg("-q").ok()?;
        second.edit("word.h", "\"one\"", "\"two\"")?;
        second.cmd("make").ok()?;
        ensure!(second.cmd("./hello").ok()?.stdout == "hello two!\n");
        make(&second).ok()?;
        let third = second.copy("third")?;
        third.sh("rm -f *.o hello").ok()?;
        make(&third).ok()?;
        ensure!(third.cmd("./hello").ok()?.stdout == "hello two!\n");
        ensure!(first.cmd("./hello").ok()?.stdout == "hello one\n");
        Ok(())
    })
}

#[test]
fn every_kind_of_file() -> Result {
    as_root_and_user(|env| {
        let first = env.checkout("first")?;
        small::app(&first, "fn main() { println!(\"{}\", include_str!(concat!(env!(\"OUT_DIR\"), \"/tool\")).len()); }\n", "")?;
        first.write(
            "build.rs",
            "use std::{env, fs, os::unix::fs::{symlink, PermissionsExt}, path::PathBuf};\nfn main() {\n\
             let out = PathBuf::from(env::var(\"OUT_DIR\").unwrap());\n\
             fs::write(out.join(\"tool\"), \"#!/bin/sh\\necho tool\\n\").unwrap();\n\
             fs::set_permissions(out.join(\"tool\"), fs::Permissions::from_mode(0o755)).unwrap();\n\
             let _ = fs::remove_file(out.join(\"link\"));\n symlink(\"tool\", out.join(\"link\")).unwrap();\n\
             let _ = fs::remove_file(out.join(\"dangling\"));\n symlink(\"nowhere\", out.join(\"dangling\")).unwrap();\n\
             fs::write(out.join(\"empty\"), \"\").unwrap();\n fs::create_dir_all(out.join(\"dir/empty\")).unwrap();\n\
             fs::write(out.join(\"dir/\\u{e4} b\"), \"name\").unwrap();\n\
             println!(\"cargo::rerun-if-changed=build.rs\");\n}\n",
        )?;
        first.vrift("build").ok()?;
        let second = first.copy("second")?;
        env.start_daemon()?;
        second.vrift("build").judged()?.nothing_ran()?;
        let out = second.cmd("sh").args(["-ec", "cd target/debug/build/app-*/out; ls -AR; ./link; readlink dangling"]).ok()?;
        let listed: Vec<_> = out.stdout.lines().collect();
        for expected in ["dangling", "dir", "empty", "link", "tool", "ä b", "nowhere", "./dir/empty:"] {
            ensure!(listed.contains(&expected), "no {expected} in {listed:?}");
        }
        Built::new(&second, "build", &["app"]).check()
    })
}

#[test]
fn warnings_are_said_again() -> Result {
    let env = TestEnv::new()?;
    let first = env.checkout("first")?;
    small::workspace(&first)?;
    first.edit("mid/src/lib.rs", "    format!", "    let unused = 1;\n    format!")?;
    first.edit("app/src/main.rs", "fn main() {", "fn never() {}\n\nfn main() {")?;
    first.vrift("build").ok()?;
    let second = first.copy("elsewhere/second")?;
    let plain = second.copy("plain/second")?;
    let here = second.vrift("build").judged()?;
    here.nothing_ran()?;
    let there = plain.cargo("build").ok()?;
    ensure!(here.done.messages().contains("unused variable"), "{}", here.done.stderr);
    ensure!(here.done.messages() == there.messages(), "{}\nplain:\n{}", here.done.messages(), there.messages());
    // Cargo itself replays what it cached.
    ensure!(second.cargo("build").ok()?.messages() == there.messages());
    Ok(())
}

#[test]
fn json_messages_name_this_checkout() -> Result {
    let env = TestEnv::new()?;
    let first = env.checkout("first")?;
    small::workspace(&first)?;
    first.edit("mid/src/lib.rs", "    format!", "    let unused = 1;\n    format!")?;
    first.vrift("build --message-format=json").ok()?;
    let second = first.copy("elsewhere/second")?;
    // What was put in place before Cargo started is fresh to Cargo.
    let lines = |text: &str| -> Vec<String> {
        let mut all: Vec<_> = text.lines().map(|line| line.replace("\"fresh\":true", "\"fresh\":false")).collect();
        all.sort();
        all
    };
    let ours = lines(&second.vrift("build --message-format=json").ok()?.stdout);
    std::fs::remove_dir_all(second.path("target"))?;
    let plain = lines(&second.cargo("build --message-format=json").ok()?.stdout);
    ensure!(ours == plain, "{ours:#?}\nplain:\n{plain:#?}");
    let first_path = first.dir().display().to_string();
    ensure!(ours.iter().any(|line| line.contains("compiler-message")) && !ours.iter().any(|line| line.contains(&first_path)));
    Ok(())
}

#[test]
fn deletions_are_done_again() -> Result {
    as_root_and_user(|env| {
        let first = env.checkout("first")?;
        small::app(&first, "fn main() { println!(\"x\"); }\n", "")?;
        first.write(
            "build.rs",
            "fn main() {\n let out = std::env::var(\"OUT_DIR\").unwrap();\n \
             let _ = std::fs::remove_file(\"generated/old.txt\");\n let _ = std::fs::remove_dir_all(\"generated/dir\");\n \
             std::fs::write(format!(\"{out}/new.txt\"), \"new\").unwrap();\n \
             println!(\"cargo::rerun-if-changed=build.rs\");\n}\n",
        )?;
        let second = first.copy("second")?;
        let third = first.copy("third")?;
        for checkout in [&first, &second] {
            checkout.write("generated/old.txt", "old")?.write("generated/dir/x", "x")?;
            checkout.vrift("build").ok()?;
            ensure!(!checkout.path("generated/old.txt").exists() && !checkout.path("generated/dir").exists());
        }
        // Nothing to delete: another start, and no fault.
        third.vrift("build").ok()?;
        ensure!(third.output_of("app")? == "x\n");
        Ok(())
    })
}

#[test]
fn a_program_that_shrank() -> Result {
    // Objects that the linker would have overwritten, and that another state of the sources no longer makes.
    let env = TestEnv::new()?;
    let first = env.checkout("first")?;
    small::workspace(&first)?;
    first.vrift("build").ok()?;
    let before = Snapshot::of(&first.path("target/debug/deps"))?;
    first.edit("app/src/main.rs", "app one", "app a much longer text than before")?;
    first.vrift("build").ok()?;
    first.edit("app/src/main.rs", "app a much longer text than before", "app one")?;
    first.vrift("build").ok()?;
    ensure!(first.output_of("app")? == SAYS);
    let after = Snapshot::of(&first.path("target/debug/deps"))?;
    let names = |snapshot: &Snapshot| snapshot.0.keys().cloned().collect::<Vec<_>>();
    ensure!(names(&before) == names(&after), "{:?}\n{:?}", names(&before), names(&after));
    Built::new(&first, "build", &["app"]).check()
}
