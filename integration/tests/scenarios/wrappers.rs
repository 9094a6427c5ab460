//! `vrift` in front of any program: of a build tool, or of the compilers that it runs.

use anyhow::ensure;
use integration::Result;
use integration::checkout::Checkout;
use integration::env::TestEnv;

/// A project whose compiler can be chosen, with a folder that has a Makefile of its own.
fn project<'e>(env: &'e TestEnv, name: &str) -> Result<Checkout<'e>> {
    let checkout = env.checkout(name)?;
    checkout
        .write("Makefile", "hello: main.o\n\t$(MAKE) -C lib\n\t$(CC) -o $@ main.o lib/libword.a\n")?
        .write("main.c", "int puts(const char *); const char *word(void); int main(void) { puts(word()); return 0; }\n")?
        .write("lib/Makefile", "libword.a: word.o\n\t$(AR) rc $@ word.o\n")?
        .write("lib/word.c", "const char *word(void) { return \"one\"; }\n")?;
    Ok(checkout)
}

#[test]
fn build_tools_and_compilers_give_the_same_actions() -> Result {
    let env = TestEnv::new()?;
    let ways: [&[&str]; 3] =
        [&["vrift", "make"], &["make", "CC=vrift cc", "AR=vrift ar"], &["vrift", "make", "CC=vrift cc", "AR=vrift ar"]];
    for (number, way) in ways.iter().enumerate() {
        // Each way first, then the others.
        let word = format!("number {number}");
        let checkout = |name: &str| -> Result<Checkout<'_>> {
            let checkout = project(&env, &format!("{number}/{name}"))?;
            checkout.edit("lib/word.c", "one", &word)?;
            Ok(checkout)
        };
        let run = |checkout: &Checkout<'_>, way: &[&str]| checkout.cmd(way[0]).args(way[1..].iter().copied());
        let first = checkout("first")?;
        run(&first, way).ok()?;
        for (other, way) in ways.iter().enumerate() {
            let second = checkout(&format!("second-{other}"))?;
            // Its worker is to run already: the judge waits for whoever starts it.
            second.cmd("vrift").args(["run", "--", "true"]).ok()?;
            run(&second, way).judged()?.nothing_ran()?;
            ensure!(second.cmd("./hello").ok()?.stdout == format!("{word}\n"));
            second.cmd("make").arg("-q").ok()?;
        }
    }
    Ok(())
}

/// Links named like compilers, for builds that drop every variable but `PATH`; and CMake's way to put a program in front.
#[test]
fn links_and_launchers_give_the_same_actions() -> Result {
    let env = TestEnv::new()?;
    let first = project(&env, "first")?;
    first.cmd("vrift").arg("make").ok()?;
    let done = first.cmd("vrift").args(["shims", "install"]).ok()?;
    let links = std::path::PathBuf::from(done.stdout.trim());
    ensure!(links.join("cc").is_symlink() && links.join("ar").is_symlink() && !links.join("ld").exists(), "{}", done.all());
    first.cmd("vrift").args(["shims", "install"]).ok()?;
    let second = project(&env, "second")?;
    second.cmd("vrift").args(["run", "--", "true"]).ok()?;
    // The links are called like compilers, and are none.
    let judged = second.cmd("make").path_first(&links).judged()?;
    let ran: Vec<_> = judged.work().into_iter().filter(|exec| !exec.program.starts_with(&*links.to_string_lossy())).collect();
    ensure!(ran.is_empty(), "{ran:?}");
    ensure!(second.cmd("./hello").ok()?.stdout == "one\n");

    let lists = "cmake_minimum_required(VERSION 3.10)\nproject(p C)\nadd_executable(hello main.c lib/word.c)\n";
    let configure = "cmake -S . -B build -DCMAKE_C_COMPILER_LAUNCHER=vrift -DCMAKE_C_FLAGS=-g";
    for (name, build) in
        [("third", "cmake --build build"), ("fourth", "cmake --build build"), ("fifth", "vrift cmake --build build")]
    {
        let checkout = project(&env, name)?;
        checkout.write("CMakeLists.txt", lists)?.remove("Makefile")?.sh(configure).ok()?;
        checkout.cmd("vrift").args(["run", "--", "true"]).ok()?;
        let judged = checkout.sh(build).judged()?;
        // CMake puts nothing in front of a link.
        let compiled = judged.count("cc1");
        ensure!(compiled == if name == "third" { 2 } else { 0 }, "{name}: {compiled} compilers ran");
        ensure!(checkout.cmd("build/hello").ok()?.stdout == "one\n");
    }
    Ok(())
}

/// A generator of code is an action where a setting says so, a script too; another setting keeps vrift away.
#[test]
fn settings_name_further_programs() -> Result {
    let env = TestEnv::new()?;
    let make = "words.c: words.txt gen.sh\n\t./gen.sh words.txt words.c\n";
    let script = "#!/bin/sh\nsed 's/.*/const char word[] = \"&\";/' < \"$1\" > \"$2\"\n";
    let prepared = |name: &str, setting: &str| -> Result<Checkout<'_>> {
        let checkout = env.checkout(name)?;
        checkout.write("Makefile", make)?.write("words.txt", "one\n")?.write("gen.sh", script)?;
        checkout.write(".vrift/config.toml", setting)?.sh("chmod +x gen.sh; chmod 700 .vrift").ok()?;
        checkout.cmd("vrift").args(["run", "--", "true"]).ok()?;
        Ok(checkout)
    };
    let actions = "[exec]\nactions = ['gen.sh']\n";
    prepared("first", actions)?.cmd("vrift").args(["make", "-j2"]).ok()?;
    let second = prepared("second", actions)?;
    let ran =
        |checkout: &Checkout<'_>| Ok::<_, anyhow::Error>(checkout.cmd("vrift").args(["make", "-j2"]).judged()?.count("sed"));
    ensure!(ran(&second)? == 0, "{}", second.cmd("vrift").args(["why", "gen.sh"]).run()?.all());
    ensure!(second.read("words.c")? == "const char word[] = \"one\";\n");
    second.cmd("make").arg("-q").ok()?;
    second.edit("words.txt", "one", "two")?;
    ensure!(ran(&second)? == 1 && second.read("words.c")?.contains("two"));
    let third = prepared("third", "")?;
    ensure!(ran(&third)? == 1, "without the setting it is no action");

    let never = prepared("never", "[exec]\nnever = ['cc']\n")?;
    never.write("Makefile", "x.o: x.c\n\tcc -c x.c -o x.o\n")?.write("x.c", "int x;\n")?;
    for _ in 0..2 {
        never.sh("rm -f x.o").ok()?;
        ensure!(never.cmd("vrift").arg("make").judged()?.count("cc1") == 1);
    }
    Ok(())
}

#[test]
fn a_compiler_by_itself_behaves_as_ever() -> Result {
    let env = TestEnv::new()?;
    let checkout = project(&env, "a")?;
    let said = |script: &str| checkout.sh(script).run();
    for (with, without) in [
        ("vrift cc -c main.c -o m.o", "cc -c main.c -o p.o"),
        ("vrift cc -c none.c", "cc -c none.c"),
        ("vrift cc --version", "cc --version"),
        ("VRIFT_DISABLE=1 vrift cc -c main.c -o m.o", "cc -c main.c -o p.o"),
        ("echo 'int x;' | vrift cc -E -P -", "echo 'int x;' | cc -E -P -"),
    ] {
        let (with_done, without_done) = (said(with)?, said(without)?);
        ensure!(with_done.status == without_done.status, "{with}: {}", with_done.all());
        ensure!(with_done.all() == without_done.all(), "{with}: {:?} and {:?}", with_done.all(), without_done.all());
    }
    ensure!(said("cmp m.o p.o")?.status.success());
    Ok(())
}

#[test]
fn what_is_neither_a_command_nor_a_program() -> Result {
    let env = TestEnv::new()?;
    let checkout = project(&env, "a")?;
    let done = checkout.cmd("vrift").args(["no-such-program", "-x"]).fails()?;
    ensure!(done.shell_status() == 2, "{}", done.all());
    ensure!(done.stderr.contains("`no-such-program` is neither a command of vrift nor a program in PATH"), "{}", done.stderr);
    // Own commands go first.
    checkout.write("bin/status", "#!/bin/sh\necho mine\n")?.sh("chmod +x bin/status").ok()?;
    ensure!(!checkout.cmd("vrift").arg("status").path_first(&checkout.path("bin")).ok()?.stdout.contains("mine"));
    ensure!(checkout.cmd("vrift").arg("./bin/status").ok()?.stdout == "mine\n");
    ensure!(checkout.cmd("vrift").args(["sh", "-c", "exit 7"]).fails()?.shell_status() == 7);
    Ok(())
}
