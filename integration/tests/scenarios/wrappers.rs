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
