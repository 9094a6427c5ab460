//! The key must notice: everything that a C compiler, an archiver or a linker is told, reads or misses.

use anyhow::ensure;
use integration::Result;
use integration::env::TestEnv;
use integration::host;

use super::native_case::{Case, HELLO, edit};

#[test]
fn headers_and_what_the_command_line_says() -> Result {
    let header = Case {
        files: &[("hello.c", HELLO), ("word.h", "#define WORD \"one\"\n")],
        script: "cc -c hello.c -o hello.o; cc hello.o -o hello; ./hello",
    };
    header.notices(edit("word.h", "one", "two"))?;
    let included = Case {
        files: &[
            ("hello.c", "int puts(const char *); int main(void) { puts(WORD); return 0; }\n"),
            ("w.h", "#define WORD \"one\"\n"),
        ],
        script: "cc -include w.h hello.c -o hello; ./hello",
    };
    included.notices(edit("w.h", "one", "two"))?;
    let list = Case {
        files: &[
            ("hello.c", "int puts(const char *); int main(void) { puts(WORD); return 0; }\n"),
            ("args", "-DWORD='\"one\"' -O1\n"),
        ],
        script: "cc @args hello.c -o hello; ./hello",
    };
    list.notices(edit("args", "one", "two"))
}

/// A macro on the command line, several sources in one command, and the same words in another order.
#[test]
fn arguments_of_compilers() -> Result {
    let env = TestEnv::new()?;
    let checkout = env.checkout("a")?;
    checkout.write("Makefile", "all:\n")?;
    checkout.write("a.c", "const char *word(void) { return WORD; }\n")?;
    checkout.write("b.c", "int puts(const char *); const char *word(void); int main(void) { puts(word()); return 0; }\n")?;
    let said = |word: &str| {
        let script = format!("rm -f p *.o; cc '-DWORD=\"{word}\"' a.c b.c -o p; ./p; cc '-DWORD=\"{word}\"' -c a.c b.c; ls *.o");
        Ok::<_, anyhow::Error>(checkout.run(&script).ok()?.stdout)
    };
    for word in ["one", "two", "one"] {
        ensure!(said(word)? == format!("{word}\na.o\nb.o\n"));
    }
    Ok(())
}

#[test]
fn a_header_that_comes_earlier() -> Result {
    let case = Case {
        files: &[
            ("hello.c", "#include <stdio.h>\n#include <word.h>\nint main(void) { puts(WORD); return 0; }\n"),
            ("second/word.h", "#define WORD \"one\"\n"),
            ("first/keep", ""),
        ],
        script: "cc -Ifirst -Isecond -c hello.c -o hello.o; cc hello.o -o hello; ./hello",
    };
    case.notices(|checkout| checkout.write("first/word.h", "#define WORD \"two\"\n").map(drop))
}

#[test]
fn a_library_that_comes_earlier() -> Result {
    let case = Case {
        files: &[
            ("hello.c", "int puts(const char *); const char *word(void); int main(void) { puts(word()); return 0; }\n"),
            ("one.c", "const char *word(void) { return \"one\"; }\n"),
            ("two.c", "const char *word(void) { return \"two\"; }\n"),
            ("first/keep", ""),
            ("second/keep", ""),
        ],
        script: "cc -c one.c two.c hello.c; rm -f second/libword.a; ar rc second/libword.a one.o; ranlib second/libword.a; \
                 cc hello.o -Lfirst -Lsecond -lword -o hello; ./hello",
    };
    case.notices(|checkout| checkout.sh("ar rc first/libword.a two.o").ok().map(drop))
}

/// An archive that is updated where it lies keeps the members that it has.
#[test]
fn archives_that_grow() -> Result {
    let case = Case {
        files: &[("one.c", "int one(void) { return 1; }\n"), ("two.c", "int two(void) { return 2; }\n")],
        script: "cc -c one.c -o one.o; cc -c two.c -o two.o; ar rc lib.a one.o; ar r lib.a two.o; ranlib lib.a; ar t lib.a",
    };
    case.notices(|checkout| {
        checkout.sh("printf 'old' > old.o; ar q more.a old.o; mv more.a lib.a; rm one.o two.o").ok().map(drop)
    })
}

/// A thin archive names its members and holds none of them.
#[test]
fn thin_archives_and_linker_scripts() -> Result {
    let case = Case {
        files: &[
            ("one.c", "const char *word(void) { return \"one\"; }\n"),
            ("hello.c", "int puts(const char *); const char *word(void); int main(void) { puts(word()); return 0; }\n"),
            ("libs.ld", "INPUT(libthin.a)\n"),
        ],
        script: "cc -c one.c -o one.o; cc -c hello.c -o hello.o; rm -f libthin.a; ar rcT libthin.a one.o; \
                 cc hello.o libs.ld -o hello; ./hello",
    };
    case.notices(edit("one.c", "\"one\"", "\"two\""))
}

#[test]
fn programs_stripped_where_they_lie() -> Result {
    let case = Case {
        files: &[("hello.c", HELLO), ("word.h", "#define WORD \"one\"\n")],
        script: "cc -g -c hello.c -o hello.o; cc -g hello.o -o hello; strip hello; objcopy --strip-debug hello.o small.o; \
                 ./hello; file=$(nm hello 2>&1 || :); echo \"$file\"",
    };
    case.notices(edit("word.h", "one", "two"))
}

/// What a compiler writes beside the object.
#[test]
fn dependencies_temporaries_and_split_debug_information() -> Result {
    let case = Case {
        files: &[("hello.c", HELLO), ("word.h", "#define WORD \"one\"\n")],
        script: "cc -g -gsplit-dwarf -MD -MP -MF hello.d -MT here -save-temps -c hello.c -o hello.o; cc hello.o -o hello; ./hello; \
                 cat hello.d; ls hello.*",
    };
    case.notices(|checkout| {
        checkout.edit("word.h", "one", "two")?;
        checkout.write("more.h", "")?;
        checkout.edit("hello.c", "#include \"word.h\"", "#include \"word.h\"\n#include \"more.h\"").map(drop)
    })
}

#[test]
fn precompiled_headers_and_data_in_assembly() -> Result {
    let precompiled = Case {
        files: &[("hello.c", HELLO), ("word.h", "#include <stdlib.h>\n#define WORD \"one\"\n")],
        script: "cc -x c-header word.h -o word.h.gch; cc -Winvalid-pch -c hello.c -o hello.o; cc hello.o -o hello; ./hello; \
                 rm word.h.gch",
    };
    // No two of gcc's precompiled headers are the same, so it is not kept for the comparison.
    precompiled.notices(edit("word.h", "one", "two"))?;
    let data = Case {
        files: &[
            ("hello.c", "int puts(const char *); extern const char word[]; int main(void) { puts(word); return 0; }\n"),
            ("word.S", ".globl word\nword: .incbin \"word.txt\"\n.byte 0\n.section .note.GNU-stack,\"\"\n"),
            ("word.txt", "one"),
        ],
        script: "cc -c word.S -o word.o; as -o other.o word.S; cc hello.c word.o -o hello; ./hello",
    };
    data.notices(edit("word.txt", "one", "two"))
}

/// A source that comes through a pipe is as good as one in a file.
#[test]
fn sources_on_standard_input() -> Result {
    let case = Case {
        files: &[("word.txt", "one\n")],
        script: "sed 's/.*/int puts(const char *); int main(void) { puts(\"&\"); return 0; }/' word.txt | cc -x c - -o hello; \
                 ./hello; printf 'word is %s' \"$(cat word.txt)\" | cc -E -P -",
    };
    case.notices(edit("word.txt", "one", "two"))
}

/// Time macros: what expands one is never stored, but where a variable fixes the time.
#[test]
fn times_of_day() -> Result {
    let env = TestEnv::new()?;
    let checkout = env.checkout("a")?;
    checkout.write("Makefile", "all:\n")?;
    checkout.write("when.c", "int puts(const char *); int main(void) { puts(__DATE__ \" \" __TIME__); return 0; }\n")?;
    checkout.write("stamp.c", "int puts(const char *); int main(void) { puts(__TIMESTAMP__); return 0; }\n")?;
    checkout.write("not.c", "/* __TIME__ */ int puts(const char *); int main(void) { puts(\"x\"); return 0; }\n")?;
    env.start_daemon()?;
    let ran = |script: &str, vars: &[(&str, &str)]| {
        let cmd = vars.iter().fold(checkout.run(script), |cmd, (name, value)| cmd.env(*name, *value));
        Ok::<_, anyhow::Error>(cmd.judged()?.count("cc1"))
    };
    for source in ["when.c", "stamp.c"] {
        let script = format!("cc -c {source} -o x.o");
        ensure!(ran(&script, &[])? == 1 && ran(&script, &[])? == 1, "{source} was stored");
    }
    let why = checkout.cmd("vrift").args(["why", "when.c"]).ok()?.stdout;
    ensure!(why.contains("__DATE__"), "{why}");
    ensure!(ran("cc -c not.c -o x.o", &[])? == 1 && ran("cc -c not.c -o x.o", &[])? == 0, "no macro is expanded");
    let fixed = [("SOURCE_DATE_EPOCH", "1000000000")];
    ensure!(ran("cc -c when.c -o x.o", &fixed)? == 1 && ran("cc -c when.c -o x.o", &fixed)? == 0, "the time is fixed");
    ensure!(ran("cc -c when.c -o x.o", &[("SOURCE_DATE_EPOCH", "1000000001")])? == 1, "at another time");
    ensure!(ran("cc -c stamp.c -o x.o", &fixed)? == 1 && ran("cc -c stamp.c -o x.o", &fixed)? == 1, "of a file it is not fixed");
    Ok(())
}

/// An archiver that writes dates is run each time.
#[test]
fn dates_in_archives() -> Result {
    let env = TestEnv::new()?;
    let checkout = env.checkout("a")?;
    checkout.write("Makefile", "all:\n")?.write("one.c", "int one;\n")?;
    checkout.sh("cc -c one.c -o one.o").ok()?;
    env.start_daemon()?;
    for _ in 0..2 {
        let judged = checkout.run("rm -f dated.a; ar rcU dated.a one.o").judged()?;
        ensure!(judged.count("ar") == 1);
    }
    let why = checkout.cmd("vrift").args(["why", "dated.a"]).ok()?.stdout;
    ensure!(why.contains("dates of files"), "{why}");
    Ok(())
}

/// Names of source files in programs, and what is compressed, hold this checkout's path alone.
#[test]
fn own_path_in_c_programs() -> Result {
    let env = TestEnv::new()?;
    let mut printed = Vec::new();
    for name in ["first", "elsewhere/second"] {
        let checkout = env.checkout(name)?;
        checkout.write("Makefile", "all:\n")?;
        checkout.write("where.c", "int puts(const char *); int main(void) { puts(__FILE__); return 0; }\n")?;
        for flags in ["-O1", "-O1 -flto", "-g -gz"] {
            let source = checkout.path("where.c").display().to_string();
            let script = format!("cc {flags} -c {source} -o where.o; cc {flags} where.o -o where; ./where");
            for _ in 0..2 {
                let said = checkout.run(&script).ok()?.stdout;
                ensure!(said == format!("{source}\n"), "{flags}: {said}");
                printed.push(said);
            }
        }
    }
    ensure!(printed.len() == 12);
    Ok(())
}

/// Who switches prefix maps off gets this checkout's path, whatever is stored by then, and who does not gets none.
#[test]
fn prefix_maps_switched_off() -> Result {
    let env = TestEnv::new()?;
    for name in ["first", "elsewhere/second"] {
        let checkout = env.checkout(name)?;
        checkout.write("Makefile", "all:\n")?.write("x.c", "int x(int a) { return a + 1; }\n")?;
        let own = checkout.dir().display().to_string();
        for (switch, named) in [("on", false), ("off", true), ("on", false), ("off", true)] {
            checkout.run("cc -g -c x.c -o x.o").env("VRIFT_PREFIX_MAP", switch).ok()?;
            let object = std::fs::read(checkout.path("x.o"))?;
            let names = object.windows(own.len()).any(|part| part == own.as_bytes());
            ensure!(names == named, "{name}, prefix maps {switch}");
        }
    }
    Ok(())
}

/// `-march=native` stays on this kind of processor, and is a hit there.
#[test]
fn code_for_this_processor() -> Result {
    let case = Case {
        files: &[("x.c", "int x(int a) { return a + 1; }\n"), ("word.txt", "one\n")],
        script: "cc -O2 -march=native -c x.c -o x.o; cat x.c",
    };
    case.notices(edit("x.c", "+ 1", "+ 2"))
}

/// Size and time of a header stay what they were; its content does not.
#[test]
fn a_header_of_the_same_size_and_time() -> Result {
    let case = Case {
        files: &[("hello.c", HELLO), ("word.h", "#define WORD \"one\"\n")],
        script: "cc -c hello.c -o hello.o; cc hello.o -o hello; ./hello",
    };
    case.notices(|checkout| {
        checkout
            .sh("touch -r word.h mark; printf '#define WORD \"two\"\\n' > word.h; touch -r mark word.h; rm mark")
            .ok()
            .map(drop)
    })
}

/// Another compiler in the place of the old one.
#[test]
fn a_compiler_upgraded_in_place() -> Result {
    let env = TestEnv::new()?;
    let checkout = env.checkout("a")?;
    checkout.write("Makefile", "all:\n")?.write("x.c", "int puts(const char *); int main(void) { puts(WORD); return 0; }\n")?;
    let compiler = |word: &str| {
        let text = format!("#!/bin/sh\nexec cc '-DWORD=\"{word}\"' \"$@\"\n");
        checkout.write("bin/my-gcc", text)?;
        checkout.sh("chmod +x bin/my-gcc").ok()
    };
    let said = || Ok::<_, anyhow::Error>(checkout.run("bin/my-gcc x.c -o x; ./x").ok()?.stdout);
    compiler("one")?;
    ensure!(said()? == "one\n" && said()? == "one\n");
    compiler("two")?;
    ensure!(said()? == "two\n");
    ensure!(host::has_program("cc"));
    Ok(())
}

/// What was said in a terminal's colours comes back nowhere else.
#[test]
fn messages_for_a_terminal() -> Result {
    if !host::has_program("script") {
        return Ok(());
    }
    let env = TestEnv::new()?;
    let checkout = env.checkout("a")?;
    checkout.write("Makefile", "all:\n\tcc -Wall -c odd.c -o odd.o\n")?;
    checkout.write("odd.c", "int f(void) { int unused; return 0; }\n")?;
    env.start_daemon()?;
    let on_terminal = || checkout.cmd("script").args(["-qec", "vrift make -B", "/dev/null"]).env("TERM", "xterm").ok();
    let first = on_terminal()?.all();
    ensure!(first.contains("\x1b[") && on_terminal()?.all().contains("\x1b["), "{first}");
    let plain = checkout.cmd("make").arg("-B").ok()?;
    for misses in [1, 0] {
        let done = checkout.run("make -B").judged()?;
        ensure!(done.count("cc1") == misses, "{} instead of {misses} compilers", done.count("cc1"));
        let said = checkout.cmd("vrift").args(["make", "-B"]).ok()?.stderr;
        ensure!(plain.stderr.contains("unused") && said.starts_with(&plain.stderr), "{said}");
    }
    Ok(())
}
