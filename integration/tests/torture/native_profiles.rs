//! Profiles and coverage: what a compiler writes for a later run, and what it reads of an earlier one.

use anyhow::{Context, ensure};
use integration::Result;
use integration::checkout::Checkout;
use integration::env::TestEnv;
use integration::judge::Judged;
use integration::small;

use super::native_case::Case;

/// Takes the one way or the other, as the number of arguments says.
const BRANCHES: &str = "int puts(const char *);\n\
                        static int twice(int x) { return x > 2 ? x * x : 3 * x + 1; }\n\
                        int main(int count, char **words) {\n\
                        int sum = 0;\n\
                        for (int n = 0; n < 1000; n++)\n\
                        sum += count > 2 ? twice(n) : puts(words[0]) + n;\n\
                        return sum == 7;\n\
                        }\n";

fn checkout<'e>(env: &'e TestEnv, name: &str) -> Result<Checkout<'e>> {
    let checkout = env.checkout(name)?;
    checkout.write("Makefile", "all:\n")?.write("a.c", BRANCHES)?;
    Ok(checkout)
}

/// A program that counts what of it is executed writes where its sources are, in each checkout.
#[test]
fn coverage_is_each_checkouts_own() -> Result {
    const BUILD: &str = "gcc --coverage -c a.c -o a.o; gcc --coverage a.o -o p";
    const RUN: &str = "./p a b c; gcov -t a.c | grep -v '0:Source\\|0:Graph\\|0:Data'";
    let env = TestEnv::new()?;
    let plain = checkout(&env, "plain")?;
    let expected = plain.sh(&format!("{BUILD}; {RUN}")).ok()?.stdout;
    ensure!(expected.contains("1000:    2:"), "{expected}");
    let first = checkout(&env, "first")?;
    first.run(BUILD).ok()?;
    let second = checkout(&env, "elsewhere/second")?;
    for _ in 0..2 {
        second.run(BUILD).ok()?;
    }
    let printed = second.run(RUN).ok()?.stdout;
    ensure!(printed == expected, "{printed}");
    ensure!(second.path("a.gcda").exists() && !first.path("a.gcda").exists(), "it counted for another checkout");
    // What an earlier program has left is added to.
    ensure!(second.run(RUN).ok()?.stdout.contains("2000:    2:"));
    ensure!(first.run(RUN).ok()?.stdout == expected);
    Ok(())
}

/// A compiler that is led by a profile notices another one, and none.
#[test]
fn profiles_that_lead_the_compiler() -> Result {
    const COMPILE: &str = "gcc -O2 -fprofile-use -Wno-missing-profile -S a.c -o a.s; cat a.s";
    let env = TestEnv::new()?;
    let checkout = checkout(&env, "a")?;
    env.start_daemon()?;
    let profile = |words: &str| {
        let script =
            format!("gcc -O2 -fprofile-generate a.c -c -o a.o; gcc -fprofile-generate a.o -o p; rm -f a.gcda; ./p {words}");
        checkout.sh(&script).ok().map(drop)
    };
    let compiled = || {
        let judged: Judged = checkout.run(COMPILE).judged()?;
        let plain = checkout.sh(COMPILE).ok()?.stdout;
        ensure!(judged.done.stdout == plain, "vrift's is not what the compiler makes");
        Ok::<_, anyhow::Error>((judged.count("cc1"), plain))
    };
    let (_, without) = compiled().context("no profile")?;
    profile("a b c")?;
    let (ran, one) = compiled().context("a profile")?;
    ensure!(ran == 1 && one != without, "the profile that appeared was not noticed");
    ensure!(compiled()?.0 == 0, "nothing was stored");
    profile("")?;
    let (ran, other) = compiled().context("another profile")?;
    ensure!(ran == 1 && other != one, "another profile was not noticed");
    checkout.remove("a.gcda")?;
    ensure!(compiled().context("no profile any more")? == (0, without));
    Ok(())
}

/// clang compresses the names of files and functions: no object may be another checkout's.
#[test]
fn names_that_are_compressed() -> Result {
    let env = TestEnv::new()?;
    let case = Case {
        files: &[("a.c", BRANCHES), ("sub/b.c", "static int b(int x) { return x + 1; }\nint c(int x) { return b(x); }\n")],
        script: "clang -fprofile-instr-generate -fcoverage-mapping -c a.c -o a.o; \
                 clang -fprofile-instr-generate -c $PWD/sub/b.c -o b.o; clang -c sub/b.c -o c.o",
    };
    for name in ["first", "elsewhere/second"] {
        let checkout = case.checkout(&env, name)?;
        for _ in 0..2 {
            let printed = checkout.run(case.script).ok()?.stdout;
            case.is_right(&checkout, &printed).with_context(|| format!("in {name}"))?;
        }
    }
    Ok(())
}

/// rustc compresses the names of files, too. Where nothing replaces the checkout's path in them, another checkout must not get them.
#[test]
fn names_that_rustc_compresses() -> Result {
    let env = TestEnv::new()?;
    let main = "fn twice(x: usize) -> usize {\n    if x > 2 { x * x } else { 2 * x }\n}\n\n\
                fn main() {\n    println!(\"{}\", twice(std::env::args().count()));\n}\n";
    for switch in ["on", "off"] {
        for name in ["first", "elsewhere/second"] {
            let checkout = env.checkout(&format!("{switch}/{name}"))?;
            small::app(&checkout, main, "")?;
            let build = || {
                let cmd = checkout.vrift("build").env("RUSTFLAGS", "-Cinstrument-coverage -Cstrip=none");
                cmd.env("VRIFT_PREFIX_MAP", switch)
            };
            build().ok()?;
            let ours = std::fs::read(checkout.path("target/debug/app"))?;
            checkout.sh("rm -rf target").ok()?;
            build().env("VRIFT_RECACHE", "1").ok()?;
            ensure!(ours == std::fs::read(checkout.path("target/debug/app"))?, "prefix maps {switch}, {name}: another program");
        }
    }
    Ok(())
}
