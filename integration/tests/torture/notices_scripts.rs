//! The key must notice: what build scripts go by. Each step is done in a checkout under vrift and in one under plain Cargo,
//! and both must print the same.

use anyhow::ensure;
use integration::Result;
use integration::checkout::Checkout;
use integration::env::TestEnv;
use integration::right::Built;
use integration::small;

/// A package whose build script is `body`, and whose program prints `SAID`.
fn package(checkout: &Checkout<'_>, body: &str) -> Result {
    small::app(checkout, "fn main() { println!(\"{}\", env!(\"SAID\")); }\n", "")?;
    checkout
        .write("build.rs", format!("use std::{{env, fs, process::Command}};\n#[allow(unused)]\nfn main() {{\n{body}\n}}\n"))?;
    checkout.write("words/a.txt", "one")?;
    Ok(())
}

const READ_ALL: &str = "let mut all: Vec<_> = fs::read_dir(\"words\").unwrap().map(|e| e.unwrap().path()).collect();\nall.sort();\n\
                        let said: Vec<_> = all.iter().map(|p| fs::read_to_string(p).unwrap()).collect();\n\
                        println!(\"cargo::rustc-env=SAID={}\", said.join(\"+\"));\n";

/// Does the same in both checkouts; both must print the same after each step.
fn side_by_side(ours: &Checkout<'_>, steps: &[(&str, &str)]) -> Result {
    let plain = ours.copy("plain")?;
    for (at, (script, variable)) in steps.iter().enumerate() {
        // Cargo compares whole times; a step must not fall into the tick of the build before it.
        std::thread::sleep(std::time::Duration::from_millis(20));
        for checkout in [ours, &plain] {
            checkout.sh(script).ok()?;
        }
        ours.vrift("build").env("FLAVOUR", *variable).ok()?;
        plain.cargo("build").env("FLAVOUR", *variable).ok()?;
        let (here, there) = (ours.output_of("app")?, plain.output_of("app")?);
        ensure!(here == there, "step {at} ({script}): {here:?}, plain Cargo {there:?}");
        // Whatever is in the store by now: a new checkout in the same state must get what a plain build from scratch gives.
        let fresh = ours.copy(&format!("fresh/{at}"))?;
        fresh.vrift("build").env("FLAVOUR", *variable).ok()?;
        let scratch = ours.copy(&format!("scratch/{at}"))?;
        scratch.cargo("build").env("FLAVOUR", *variable).ok()?;
        let (here, there) = (fresh.output_of("app")?, scratch.output_of("app")?);
        ensure!(here == there, "step {at} ({script}), from scratch: {here:?}, plain Cargo {there:?}");
    }
    Ok(())
}

const STEPS: [(&str, &str); 6] = [
    (":", "x"),
    ("printf two > words/a.txt", "x"),
    ("printf three > words/b.txt", "x"),
    ("rm words/a.txt", "y"),
    ("touch unrelated.txt", "y"),
    ("printf one > words/a.txt; rm words/b.txt", "x"),
];

#[test]
fn rerun_if_a_file_changed() -> Result {
    let env = TestEnv::new()?;
    let ours = env.checkout("ours")?;
    package(&ours, &format!("println!(\"cargo::rerun-if-changed=words/a.txt\");\n{READ_ALL}"))?;
    side_by_side(&ours, &STEPS)?;
    Built::new(&ours, "build", &["app"]).check()
}

#[test]
fn rerun_if_a_folder_changed() -> Result {
    let env = TestEnv::new()?;
    let ours = env.checkout("ours")?;
    package(&ours, &format!("println!(\"cargo::rerun-if-changed=words\");\n{READ_ALL}"))?;
    side_by_side(&ours, &STEPS)
}

#[test]
fn rerun_if_anything_changed() -> Result {
    let env = TestEnv::new()?;
    let ours = env.checkout("ours")?;
    package(&ours, READ_ALL)?;
    side_by_side(&ours, &STEPS)
}

#[test]
fn rerun_if_a_variable_changed() -> Result {
    let env = TestEnv::new()?;
    let ours = env.checkout("ours")?;
    let body = "println!(\"cargo::rerun-if-env-changed=FLAVOUR\");\n\
                println!(\"cargo::rustc-env=SAID={}\", env::var(\"FLAVOUR\").unwrap_or_default());";
    package(&ours, body)?;
    side_by_side(&ours, &STEPS)
}

#[test]
fn each_worktree_keeps_its_commit() -> Result {
    let env = TestEnv::new()?;
    let main = env.checkout("main")?;
    let body = "let said = Command::new(\"git\").args([\"rev-parse\", \"HEAD\"]).output().unwrap();\n\
                println!(\"cargo::rustc-env=SAID={}\", String::from_utf8(said.stdout).unwrap().trim());";
    package(&main, body)?;
    main.write(".gitignore", "target\n.vrift\n")?;
    main.sh("git init -q -b main . && git add -A && git commit -qm one && git worktree add -q ../tree -b side").ok()?;
    let tree = env.checkout("tree")?;
    tree.sh("echo x > x && git add x && git commit -qm two").ok()?;
    for checkout in [&main, &tree, &main] {
        checkout.vrift("build").ok()?;
        assert_eq!(checkout.output_of("app")?, checkout.cmd("git").args(["rev-parse", "HEAD"]).ok()?.stdout);
    }
    // The same commit in a third: a checkout of its own, whose files are the same.
    let clone = env.checkout("clone")?;
    clone.sh("git clone -q ../main . && echo y > y && git add y && git commit -qm three").ok()?;
    clone.vrift("build").ok()?;
    assert_eq!(clone.output_of("app")?, clone.cmd("git").args(["rev-parse", "HEAD"]).ok()?.stdout);
    Ok(())
}

const SEEDS: [(&str, &str); 3] = [("printf one > seed.txt", "x"), ("printf two > seed.txt", "x"), (":", "x")];

#[test]
fn a_file_read_and_then_removed() -> Result {
    let env = TestEnv::new()?;
    let ours = env.checkout("ours")?;
    let body = "println!(\"cargo::rustc-env=SAID={}\", fs::read_to_string(\"seed.txt\").unwrap_or_default());\n\
                let _ = fs::remove_file(\"seed.txt\");";
    package(&ours, body)?;
    side_by_side(&ours, &SEEDS)
}

#[test]
fn a_file_moved_into_place() -> Result {
    let env = TestEnv::new()?;
    let ours = env.checkout("ours")?;
    let body = "let to = env::var(\"OUT_DIR\").unwrap() + \"/moved.txt\";\nfs::write(&to, \"\").unwrap();\n\
                let _ = fs::rename(\"seed.txt\", &to);\nprintln!(\"cargo::rustc-env=SAID=\");";
    package(&ours, body)?;
    ours.write("src/main.rs", "fn main() { println!(\"{}\", include_str!(concat!(env!(\"OUT_DIR\"), \"/moved.txt\"))); }\n")?;
    side_by_side(&ours, &SEEDS)
}

/// As the crate `rustix` does it.
#[cfg(target_arch = "x86_64")]
#[test]
fn a_file_read_by_a_bare_system_call() -> Result {
    let env = TestEnv::new()?;
    let ours = env.checkout("ours")?;
    let body = "unsafe fn call(n: usize, a: usize, b: usize, c: usize) -> usize { unsafe {\n\
                let r; std::arch::asm!(\"syscall\", inlateout(\"rax\") n => r, in(\"rdi\") a, in(\"rsi\") b, in(\"rdx\") c,\n\
                out(\"rcx\") _, out(\"r11\") _); r } }\n\
                let mut text = [0_u8; 9];\n\
                let len = unsafe { let fd = call(2, c\"seed.txt\".as_ptr() as usize, 0, 0);\n\
                call(0, fd, text.as_mut_ptr() as usize, 9) };\n\
                println!(\"cargo::rustc-env=SAID={}\", std::str::from_utf8(&text[..len]).unwrap());";
    package(&ours, body)?;
    side_by_side(&ours, &SEEDS[..2])
}

/// A library in C that the build script compiles and archives: in another checkout nothing of it runs, and its headers count.
#[test]
fn a_c_library_in_a_build_script() -> Result {
    let env = TestEnv::new()?;
    let ours = env.checkout("ours")?;
    let body = "let out = env::var(\"OUT_DIR\").unwrap();\n\
                let run = |program: &str, args: &[&str]| assert!(Command::new(program).args(args).status().unwrap().success());\n\
                let (object, archive) = (format!(\"{out}/word.o\"), format!(\"{out}/libword.a\"));\n\
                let source = format!(\"{}/c/word.c\", env::var(\"CARGO_MANIFEST_DIR\").unwrap());\n\
                run(\"cc\", &[\"-g\", \"-O1\", \"-Ic/first\", \"-Ic/second\", \"-c\", &source, \"-o\", &object]);\n\
                let _ = fs::remove_file(&archive);\n\
                run(\"ar\", &[\"crs\", &archive, &object]);\n\
                println!(\"cargo::rerun-if-changed=c\");\n\
                println!(\"cargo::rustc-link-search=native={out}\");\n\
                println!(\"cargo::rustc-link-lib=static=word\");";
    package(&ours, body)?;
    ours.write(
        "src/main.rs",
        "unsafe extern \"C\" {\n    safe fn word() -> *const std::ffi::c_char;\n}\n\n\
         fn main() {\n    println!(\"{}\", unsafe { std::ffi::CStr::from_ptr(word()) }.to_string_lossy());\n}\n",
    )?;
    ours.write("c/word.c", "#include <word.h>\nconst char *word(void) { return WORD; }\n")?;
    ours.write("c/second/word.h", "#define WORD \"one\"\n")?.write("c/first/keep", "")?;
    ours.vrift("build").ok()?;
    let second = ours.copy("elsewhere/second")?;
    second.vrift("build").judged()?.nothing_ran()?;
    ensure!(second.output_of("app")? == "one\n");
    let steps = [
        ("sed -i s/one/two/ c/second/word.h", "x"),
        ("echo '#define WORD \"three\"' > c/first/word.h", "x"),
        ("rm c/first/word.h", "x"),
    ];
    side_by_side(&ours, &steps)
}
