//! clang, and the linkers other than GNU's: what they read, leave and look for that gcc does not.

use anyhow::ensure;
use integration::Result;
use integration::env::TestEnv;

use super::native_case::{Case, HELLO, edit};

const WORD: (&str, &str) = ("word.h", "#define WORD \"one\"\n");

/// Objects, debug information in its own file, dependencies, a line for a compilation database, diagnostics. (That line has the prefix
/// map that vrift adds, so it is not compared with plain clang's.)
#[test]
fn what_clang_writes() -> Result {
    let case = Case {
        files: &[("hello.c", HELLO), WORD, ("args", "-g -gsplit-dwarf -Wall")],
        script: "clang @args -MD -MJ hello.json --serialize-diagnostics hello.dia -c hello.c -o hello.o; \
                 clang -g -fdebug-compilation-dir=. -c hello.c -o other.o; \
                 clang -g -fno-integrated-as -c hello.c -o third.o; clang hello.o -o hello; ./hello; cat hello.d; \
                 ls hello.* other.*",
    };
    case.notices(edit("word.h", "one", "two"))
}

/// Debug information names no checkout, whoever compiles and links.
#[test]
fn debug_information_of_clang() -> Result {
    let env = TestEnv::new()?;
    let checkout = env.checkout("a")?;
    checkout.write("Makefile", "all:\n")?.write("hello.c", HELLO)?.write(WORD.0, WORD.1)?;
    let script = "clang -g -gsplit-dwarf -c hello.c -o split.o; clang -g -fno-integrated-as -c hello.c -o hello.o; \
                  clang -cc1 -triple x86_64-linux-gnu -debug-info-kind=limited -emit-obj -DWORD -o direct.o -x c /dev/null; \
                  for linker in bfd gold lld mold; do clang -g -fuse-ld=$linker hello.o -o $linker; done; ls";
    let own = checkout.dir().display().to_string();
    for name in checkout.run(script).ok()?.stdout.lines().filter(|name| *name != "Makefile") {
        let bytes = std::fs::read(checkout.path(name))?;
        ensure!(!bytes.windows(own.len()).any(|part| part == own.as_bytes()), "{name} names the checkout");
    }
    Ok(())
}

/// A clang that asks for the local time by itself, in a process of its own, or without a driver.
#[test]
fn clang_and_the_time_of_day() -> Result {
    let env = TestEnv::new()?;
    let checkout = env.checkout("a")?;
    checkout.write("Makefile", "all:\n")?.write("when.c", "const char *when = __TIME__;\n")?.write("not.c", "int x;\n")?;
    env.start_daemon()?;
    for options in ["-c", "-fno-integrated-cc1 -c", "-cc1 -triple x86_64-linux-gnu -emit-obj"] {
        let ran = |source: &str| {
            Ok::<_, anyhow::Error>(checkout.run(&format!("clang {options} -o x.o {source}")).judged()?.count("clang"))
        };
        for _ in 0..2 {
            ensure!(ran("when.c")? > 0, "{options}: a time was stored");
        }
        ran("not.c")?;
        ensure!(ran("not.c")? == 0, "{options}: nothing was stored");
    }
    Ok(())
}

#[test]
fn configurations_of_clang() -> Result {
    let files = &[
        ("hello.c", "int puts(const char *); int main(void) { puts(WORD); return 0; }\n"),
        ("named.cfg", "-DWORD='\"one\"'\n"),
        ("bin/keep", ""),
    ];
    let named = Case { files, script: "clang --config $PWD/named.cfg hello.c -o hello; ./hello" };
    named.notices(edit("named.cfg", "one", "two"))?;
    // One that lies beside the compiler is read unasked; what it is called depends on clang's version.
    let beside = Case {
        files,
        script: "ln -sf \"$(command -v clang)\" bin/x86_64-linux-gnu-clang; \
                 bin/x86_64-linux-gnu-clang -no-canonical-prefixes -E -P hello.c",
    };
    beside.notices(|checkout| {
        for name in ["clang", "x86_64-linux-gnu", "x86_64-linux-gnu-clang"] {
            checkout.write(&format!("bin/{name}.cfg"), "-DWORD=\"two\"\n")?;
        }
        Ok(())
    })
}

/// A precompiled header names the folder that it was made in, so each checkout makes its own.
#[test]
fn precompiled_headers_of_clang() -> Result {
    let env = TestEnv::new()?;
    let case = Case {
        files: &[("hello.c", HELLO), WORD],
        script: "clang -Xclang -fno-pch-timestamp -x c-header word.h -o word.h.pch; clang -include-pch word.h.pch -c hello.c; \
                 clang hello.o -o hello; ./hello",
    };
    for name in ["first", "elsewhere/second"] {
        let checkout = case.checkout(&env, name)?;
        checkout.run(case.script).ok()?;
        let judged = checkout.run(case.script).judged()?;
        judged.nothing_ran()?;
        case.is_right(&checkout, &judged.done.stdout)?;
        checkout.edit("word.h", "one", "two")?;
        case.is_right(&checkout, &checkout.run(case.script).ok()?.stdout)?;
        ensure!(checkout.cmd("./hello").ok()?.stdout == "two\n");
    }
    Ok(())
}

/// Modules are made beside the build, with the dates of their headers: whether there is one already must not show.
#[test]
fn modules_of_clang() -> Result {
    let env = TestEnv::new()?;
    let script = "clang -fmodules -fmodules-cache-path=cache -c hello.c -o hello.o; clang hello.o -o hello; ./hello";
    for name in ["first", "second"] {
        let checkout = env.checkout(name)?;
        checkout.write("Makefile", "all:\n")?.write("module.modulemap", "module word { header \"word.h\" export * }\n")?;
        checkout.write("hello.c", HELLO)?.write(WORD.0, WORD.1)?;
        let said = || Ok::<_, anyhow::Error>(checkout.run(script).ok()?.stdout);
        ensure!(said()? == "one\n" && said()? == "one\n");
        checkout.edit("word.h", "one", "two")?;
        ensure!(said()? == "two\n" && said()? == "two\n");
        checkout.sh("rm -rf cache").ok()?;
        ensure!(said()? == "two\n");
        checkout.edit("word.h", "two", "one")?;
        ensure!(said()? == "one\n");
    }
    Ok(())
}

/// Each linker by itself and below a compiler: objects, archives, response files, debug information.
/// (gold lists the folder. What changed in it the moment before is not told from what changes while it runs.)
#[test]
fn linkers() -> Result {
    let case = Case {
        files: &[
            ("one.c", "const char *word(void) { return \"one\"; }\n"),
            ("hello.c", "int puts(const char *); const char *word(void); int main(void) { puts(word()); return 0; }\n"),
            ("args", "-shared one.o\n"),
        ],
        script: "clang -g -c one.c hello.c; rm -f libword.a; ar rc libword.a one.o; \
                 for linker in bfd gold lld mold; do sleep 0.1; \
                   clang -g -fuse-ld=$linker hello.o -L. -lword -o $linker-clang; ./$linker-clang; \
                   gcc -g -fuse-ld=$linker hello.o libword.a -o $linker-gcc; ./$linker-gcc; \
                   ld.$linker @args -o $linker.so; objcopy --only-keep-debug $linker.so $linker.debug; strip $linker.so; \
                 done; mold @args -o mold-itself.so",
    };
    case.notices(edit("one.c", "\"one\"", "\"two\""))
}

#[test]
fn libraries_that_come_earlier_for_other_linkers() -> Result {
    for linker in ["gold", "lld", "mold"] {
        let env = TestEnv::new()?;
        let checkout = env.checkout("a")?;
        checkout.write("Makefile", "all:\n")?.write("first/keep", "")?.write("second/keep", "")?;
        checkout.write("hello.c", "int word(void); int main(void) { return word(); }\n")?;
        checkout.write("one.c", "int word(void) { return 1; }\n")?.write("two.c", "int word(void) { return 2; }\n")?;
        checkout.sh("cc -c one.c two.c hello.c; ar rc second/libword.a one.o").ok()?;
        let script = format!("cc -fuse-ld={linker} hello.o -Lfirst -Lsecond -lword -o hello; ./hello || echo $?");
        for _ in 0..2 {
            ensure!(checkout.run(&script).ok()?.stdout == "1\n", "{linker}");
        }
        env.start_daemon()?;
        checkout.run(&script).judged()?.nothing_ran()?;
        checkout.sh("ar rc first/libword.a two.o").ok()?;
        ensure!(checkout.run(&script).ok()?.stdout == "2\n", "{linker}: a library that comes earlier");
    }
    Ok(())
}

/// mold gives its status as soon as the output is whole, and goes on in the background to give memory back.
#[test]
fn a_linker_that_goes_on_in_the_background() -> Result {
    let case = Case {
        files: &[("large.s", ".data\n.fill 40000000, 1, 1\n.section .note.GNU-stack,\"\"\n"), ("hello.c", HELLO), WORD],
        script: "cc -c large.s hello.c; for n in 1 2 3 4 5 6; do cc -fuse-ld=mold hello.o large.o -o hello$n; ./hello$n; done; \
                 for n in 1 2 3; do mold -shared large.o hello.o -o hello$n.so; done",
    };
    case.notices(edit("word.h", "one", "two"))
}

/// Link-time code and its cache: right in each checkout, whatever is left of the cache.
#[test]
fn caches_of_link_time_code() -> Result {
    let env = TestEnv::new()?;
    let case = Case {
        files: &[("hello.c", HELLO), WORD],
        script: "clang -flto=thin -c hello.c -o hello.o; \
                 clang -flto=thin -fuse-ld=lld -Wl,--thinlto-cache-dir=cache hello.o -o hello; ./hello",
    };
    for name in ["first", "elsewhere/second"] {
        let checkout = case.checkout(&env, name)?;
        let said = || Ok::<_, anyhow::Error>(checkout.run(case.script).ok()?.stdout);
        ensure!(said()? == "one\n" && said()? == "one\n");
        checkout.edit("word.h", "one", "two")?;
        ensure!(said()? == "two\n");
        checkout.sh("rm -rf cache hello").ok()?;
        ensure!(said()? == "two\n");
        checkout.sh("rm -f hello; for file in cache/llvmcache-*; do : > $file; done").ok()?;
        checkout.edit("word.h", "two", "one")?;
        ensure!(said()? == "one\n");
    }
    Ok(())
}
