//! The key must notice: files, whoever reads them, and however little their stat tells.

use std::fs::File;
use std::path::Path;

use anyhow::ensure;
use integration::Result;
use integration::checkout::Checkout;
use integration::env::TestEnv;
use integration::right::Built;
use integration::small;

fn builds_to(checkout: &Checkout<'_>, expected: &str) -> Result {
    checkout.vrift("build").ok()?;
    let printed = checkout.output_of("app")?;
    ensure!(printed == expected, "it prints {printed:?} instead of {expected:?}");
    Ok(())
}

#[test]
fn included_files_outside_src() -> Result {
    let env = TestEnv::new()?;
    let first = env.checkout("first")?;
    let main = "fn main() { println!(\"{} {:?}\", include_str!(\"../notes.txt\"), include_bytes!(\"../data/d.bin\")); }\n";
    small::app(&first, main, "")?;
    first.write("notes.txt", "one")?.write("data/d.bin", [1_u8, 2])?;
    builds_to(&first, "one [1, 2]\n")?;
    first.edit("notes.txt", "one", "two")?;
    builds_to(&first, "two [1, 2]\n")?;
    first.write("data/d.bin", [3_u8, 4])?;
    builds_to(&first, "two [3, 4]\n")?;
    let second = first.copy("second")?;
    second.write("notes.txt", "one")?;
    builds_to(&second, "one [3, 4]\n")?;
    let third = first.copy("third")?;
    builds_to(&third, "two [3, 4]\n")?;
    Built::new(&third, "build", &["app"]).check()
}

#[test]
fn files_that_a_macro_reads() -> Result {
    let env = TestEnv::new()?;
    let first = env.checkout("first")?;
    let body = "let dir = std::path::PathBuf::from(std::env::var(\"CARGO_MANIFEST_DIR\").unwrap()).join(\"migrations\");\n\
                let mut names: Vec<_> = std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()).collect();\n\
                names.sort();\n\
                names.iter().map(|path| std::fs::read_to_string(path).unwrap()).collect::<Vec<_>>().join(\" \")";
    small::app_with_macro(&first, body)?;
    first.write("migrations/1.sql", "create")?;
    builds_to(&first, "create\n")?;
    // Cargo knows nothing of these files, so each change gets a checkout that was never built.
    let changed = first.copy("changed")?;
    changed.write("migrations/1.sql", "drop")?;
    builds_to(&changed, "drop\n")?;
    let added = first.copy("added")?;
    added.write("migrations/2.sql", "alter")?;
    builds_to(&added, "create alter\n")?;
    let removed = added.copy("removed")?;
    removed.remove("migrations/1.sql")?;
    builds_to(&removed, "alter\n")?;
    builds_to(&first.copy("same")?, "create\n")
}

#[test]
fn a_file_that_was_not_there() -> Result {
    let env = TestEnv::new()?;
    let first = env.checkout("first")?;
    let body = "std::fs::read_to_string(format!(\"{}/override.txt\", std::env::var(\"CARGO_MANIFEST_DIR\").unwrap()))\
                .unwrap_or_else(|_| \"default\".into())";
    small::app_with_macro(&first, body)?;
    builds_to(&first, "default\n")?;
    let second = first.copy("second")?;
    second.write("override.txt", "mine")?;
    builds_to(&second, "mine\n")?;
    builds_to(&first.copy("third")?, "default\n")
}

/// Rewrites a file with as many bytes, and puts its time back.
fn rewrite(path: &Path, content: &str) -> Result {
    let before = path.metadata()?;
    ensure!(before.len() == content.len() as u64, "the size must stay");
    std::fs::write(path, content)?;
    Ok(File::options().write(true).open(path)?.set_modified(before.modified()?)?)
}

#[test]
fn size_and_time_kept() -> Result {
    let env = TestEnv::new()?;
    let first = env.checkout("first")?;
    small::app(&first, "fn main() { println!(\"{}\", include_str!(\"word.txt\")); }\n", "")?;
    first.write("src/word.txt", "aaaa")?;
    builds_to(&first, "aaaa\n")?;
    for word in ["bbbb", "cccc", "aaaa"] {
        rewrite(&first.path("src/word.txt"), word)?;
        // Cargo goes by time alone, and would not ask: a new target folder.
        std::fs::remove_dir_all(first.path("target"))?;
        builds_to(&first, &format!("{word}\n"))?;
    }
    Ok(())
}

#[test]
fn changed_within_a_clock_tick() -> Result {
    let env = TestEnv::new()?;
    let first = env.checkout("first")?;
    small::app(&first, "fn main() { println!(\"{}\", include_str!(\"word.txt\")); }\n", "")?;
    let word = first.path("src/word.txt");
    std::fs::write(&word, "0000")?;
    env.own(first.dir())?;
    builds_to(&first, "0000\n")?;
    for round in 1..6 {
        // Written the moment that a build which reads it has ended, and again at once.
        let text = format!("{round:04}");
        std::fs::write(&word, "xxxx")?;
        first.vrift("build").ok()?;
        rewrite(&word, &text)?;
        let _ = std::fs::remove_dir_all(first.path("target"));
        builds_to(&first, &format!("{text}\n"))?;
    }
    Ok(())
}

#[test]
fn changed_while_the_compiler_ran() -> Result {
    let env = TestEnv::new()?;
    let first = env.checkout("first")?;
    // The macro reads the word, and takes its time.
    let body = "let path = format!(\"{}/word.txt\", std::env::var(\"CARGO_MANIFEST_DIR\").unwrap());\n\
                let word = std::fs::read_to_string(&path).unwrap();\n\
                std::fs::write(std::env::var(\"READY\").unwrap_or_default(), \"\").ok();\n\
                std::thread::sleep(std::time::Duration::from_millis(700));\n\
                word";
    small::app_with_macro(&first, body)?;
    first.write("word.txt", "early")?;
    let ready = env.path().join("tmp/ready");
    let running = first.vrift("build").env("READY", &ready).start()?;
    let began = std::time::Instant::now();
    while !ready.exists() {
        ensure!(began.elapsed().as_secs() < 120, "the macro does not run");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    std::fs::write(first.path("word.txt"), "later")?;
    let done = running.wait()?;
    ensure!(done.status.success(), "{}", done.stderr);
    assert_eq!(first.output_of("app")?, "early\n");
    let second = first.copy("second")?;
    second.vrift("build").env("READY", &ready).ok()?;
    assert_eq!(second.output_of("app")?, "later\n", "the word that the first build read is gone");
    Ok(())
}
