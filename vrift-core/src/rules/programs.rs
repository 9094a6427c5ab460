//! Which programs become actions. Called by the shim between `fork` and `exec`: nothing here allocates.

use crate::tool::Tool;

/// Where a program is about to be executed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Enclosing {
    /// Outside any action: by Cargo, make or a shell.
    Nothing,
    /// Inside an action that lets C compilers become actions of their own.
    Nesting,
    /// Inside an action that takes whatever it runs as a part of itself.
    Whole,
}

/// The kind of action that executing `program` makes, if any. `out_dir` tells whether `OUT_DIR` is set for it: Cargo sets
/// it for build scripts.
pub fn classify(program: &[u8], out_dir: bool, enclosing: Enclosing) -> Option<Tool> {
    if enclosing == Enclosing::Whole {
        return None;
    }
    let name = match program.iter().rposition(|c| *c == b'/') {
        Some(at) => &program[at + 1..],
        None => program,
    };
    if is_c_driver(name) {
        return Some(Tool::Cc);
    }
    if enclosing == Enclosing::Nesting {
        // What rustc leaves is linked from the store, and Cargo goes by its times: an enclosing action could not tell what is whose.
        return None;
    }
    match name {
        b"rustc" => Some(Tool::Rustc),
        b"rustdoc" => Some(Tool::Rustdoc),
        b"clippy-driver" => Some(Tool::Clippy),
        _ if out_dir && name.starts_with(b"build-script-") => Some(Tool::BuildScript),
        b"cc1" | b"cc1plus" => Some(Tool::Cc),
        _ => OTHERS.iter().find(|(names, _)| is_one_of(name, names)).map(|(_, tool)| *tool),
    }
}

/// Whether executing `program` with these arguments, its name left out, looks the machine over and writes down how to build: the run
/// of a configure script, or of CMake where it makes build files. Outside actions such a run is one as a whole: it starts hundreds of
/// programs, and half of its time is the shell's.
///
/// Source: cmake(1) for the options that make it do something else.
pub fn configures<'a>(program: &[u8], mut args: impl Iterator<Item = &'a [u8]>) -> bool {
    const OTHER_WORK: [&[u8]; 12] = [
        b"--build",
        b"--install",
        b"--open",
        b"--workflow",
        b"--find-package",
        b"--version",
        b"--help",
        b"-E",
        b"-P",
        b"-h",
        b"-N",
        b"/V",
    ];
    match program.rsplit(|c| *c == b'/').next() {
        Some(b"configure") => true,
        // Without an argument it says how it is used.
        Some(b"cmake") => {
            args.next().is_some_and(|first| !core::iter::once(first).chain(args).any(|arg| OTHER_WORK.contains(&arg)))
        }
        _ => false,
    }
}

/// Whether executing `program` with these arguments, its name left out, makes a part of the enclosing action in which no program becomes an
/// action of its own. rustc runs a compiler to link, with arguments that name random files; what a configure script tries out
/// costs less than a look-up each.
pub fn takes_all<'a>(program: &[u8], args: impl Iterator<Item = &'a [u8]>) -> bool {
    const RUST: [&[u8]; 3] = [b"rustc", b"rustdoc", b"clippy-driver"];
    let name = program.rsplit(|c| *c == b'/').next().unwrap_or(program);
    RUST.contains(&name) || configures(program, args)
}

/// Whether setting an extended attribute of this name to so many bytes sets a mode and nothing else: an access control list with the
/// three entries that every file has. Source: acl(5), linux/posix_acl_xattr.h.
pub fn is_mode_attribute(name: &[u8], size: usize) -> bool {
    const HEADER: usize = 4;
    const ENTRY: usize = 8;
    name == b"system.posix_acl_access" && size == HEADER + 3 * ENTRY
}

/// Whether a program's name is in a list of names that are joined by slashes; see [`crate::context::Field::Actions`].
pub fn is_listed(names: &[u8], program: &[u8]) -> bool {
    let name = program.rsplit(|c| *c == b'/').next().unwrap_or(program);
    !name.is_empty() && names.split(|c| *c == b'/').any(|listed| listed == name)
}

/// Drivers of the C family.
const C_DRIVERS: [&[u8]; 8] = [b"cc", b"c++", b"gcc", b"g++", b"clang", b"clang++", b"c89", b"c99"];

/// Archivers and their indexers.
const ARCHIVERS: [&[u8]; 2] = [b"ar", b"ranlib"];

/// What is an action outside actions alone: inside one it is a part of that.
const OTHERS: [(&[&[u8]], Tool); 4] = [
    (&ARCHIVERS, Tool::Ar),
    (&[b"ld", b"ld.bfd", b"ld.gold", b"ld.lld", b"ld.mold", b"gold", b"lld", b"mold"], Tool::Ld),
    (&[b"as"], Tool::As),
    (&[b"strip", b"objcopy"], Tool::Objcopy),
];

/// Whether `name` is a driver of the C family: `cc`, `gcc-12`, `x86_64-linux-gnu-g++`, `clang++-16`, …
pub fn is_c_driver(name: &[u8]) -> bool {
    is_one_of(name, &C_DRIVERS)
}

/// Whether `name` is a program that reads C itself: what a driver starts, or clang, which is its own.
pub fn is_c_compiler(name: &[u8]) -> bool {
    is_one_of(name, &[b"cc1", b"cc1plus", b"cc1obj", b"cc1objplus", b"clang", b"clang++"])
}

/// Whether arguments of a C driver make it compile and not just preprocess or link. A linking clang warns of options that only a
/// compilation has a use for.
pub fn makes_objects<'a>(args: impl Iterator<Item = &'a [u8]>) -> bool {
    let mut source = false;
    for arg in args {
        match arg {
            b"-c" | b"-S" => return true,
            b"-E" | b"-M" | b"-MM" => return false,
            _ => source |= !arg.starts_with(b"-") && is_source(arg),
        }
    }
    source
}

/// Whether the name is that of a source in C or a language like it. Source: gcc's manual, "Options Controlling the Kind of Output".
fn is_source(name: &[u8]) -> bool {
    const ENDS: [&[u8]; 13] = [b"c", b"cc", b"cp", b"cxx", b"cpp", b"c++", b"C", b"CPP", b"i", b"ii", b"m", b"mm", b"M"];
    name.iter().rposition(|c| *c == b'.').is_some_and(|at| ENDS.contains(&&name[at + 1..]))
}

/// Whether an argument of a C driver says by itself how paths are to be written.
pub fn maps_paths(arg: &[u8]) -> bool {
    [&b"-fdebug-prefix-map="[..], b"-ffile-prefix-map=", b"-fdebug-compilation-dir"].iter().any(|option| arg.starts_with(option))
}

/// Whether `name` is an archiver or its indexer, prefixed or not.
pub fn is_archiver(name: &[u8]) -> bool {
    is_one_of(name, &ARCHIVERS)
}

/// Whether `name` is one of `names`, with or without a target in front and a version behind: `x86_64-linux-gnu-gcc-12`.
pub(super) fn is_one_of(name: &[u8], names: &[&[u8]]) -> bool {
    let name = strip_version(name);
    names.iter().any(|known| name.strip_suffix(*known).is_some_and(|prefix| prefix.is_empty() || prefix.ends_with(b"-")))
}

/// `gcc-12` and `clang-16.0` without what follows the last dash.
fn strip_version(name: &[u8]) -> &[u8] {
    match name.iter().rposition(|c| *c == b'-') {
        Some(at) if at + 1 < name.len() && name[at + 1..].iter().all(|c| c.is_ascii_digit() || *c == b'.') => &name[..at],
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_configures_is_told_by_its_arguments() {
        let is = |line: &str| {
            let mut words = line.split(' ').map(str::as_bytes);
            configures(words.next().expect("a program"), words)
        };
        for line in ["./configure", "../src/configure --prefix=/usr", "cmake -S . -B build", "/usr/bin/cmake .. -G Ninja -DX=1"] {
            assert!(is(line), "{line}");
        }
        for line in ["cmake", "cmake --build build", "cmake -E touch x", "cmake -DX=1 -P x.cmake", "ccmake .", "make configure"] {
            assert!(!is(line), "{line}");
        }
    }

    #[test]
    fn programs_are_recognised() {
        let top = |path: &str, out_dir| classify(path.as_bytes(), out_dir, Enclosing::Nothing);
        assert_eq!(top("/r/bin/rustc", false), Some(Tool::Rustc));
        assert_eq!(top("/t/debug/build/x-1/build-script-build", true), Some(Tool::BuildScript));
        assert_eq!(top("/t/debug/build/x-1/build-script-build", false), None);
        for cc in ["cc", "gcc-12", "x86_64-linux-gnu-g++", "clang++-16", "c++"] {
            assert_eq!(top(cc, false), Some(Tool::Cc), "{cc}");
        }
        for other in ["/usr/bin/ccache", "sccache", "rustc-wrapper", "distcc", "git", "cargo", "nm", "atlas"] {
            assert_eq!(top(other, false), None, "{other}");
        }
        assert_eq!(top("/usr/bin/gcc-ar-12", false), Some(Tool::Ar));
        for (name, tool) in [
            ("/usr/libexec/gcc/x86_64-linux-gnu/12/cc1", Tool::Cc),
            ("x86_64-linux-gnu-as", Tool::As),
            ("arm-none-eabi-ld.gold", Tool::Ld),
            ("llvm-strip-16", Tool::Objcopy),
            ("objcopy", Tool::Objcopy),
        ] {
            assert_eq!(top(name, false), Some(tool), "{name}");
            assert_eq!(classify(name.as_bytes(), false, Enclosing::Nesting), None, "{name}");
        }
        assert_eq!(classify(b"rustc", false, Enclosing::Whole), None);
        assert!(is_listed(b"protoc/bison", b"/usr/bin/bison") && is_listed(b"protoc", b"protoc"));
        assert!(!is_listed(b"protoc/bison", b"bin/proto") && !is_listed(b"", b"x") && !is_listed(b"a", b"a/"));
        assert_eq!(classify(b"cc", false, Enclosing::Nesting), Some(Tool::Cc));
        assert_eq!(classify(b"rustc", false, Enclosing::Nesting), None);
        let args = || [&b"-S"[..], b"."].into_iter();
        assert!(takes_all(b"/r/bin/rustc", args()) && takes_all(b"./configure", args()) && takes_all(b"cmake", args()));
        assert!(!takes_all(b"/bin/sh", args()) && !takes_all(b"cargo", args()) && !takes_all(b"cc", args()));
        assert_eq!(classify(b"ar", false, Enclosing::Nesting), None);
        let compiles = |line: &'static str| makes_objects(line.split(' ').map(str::as_bytes));
        for line in ["-c x.o", "-o p x.c", "-S -E x.c", "x.o y.c++ -lz"] {
            assert!(compiles(line), "{line}");
        }
        for line in ["-E x.c", "x.c -MM", "x.o -o p.x", "-cx", "-lx.c", "--version"] {
            assert!(!compiles(line), "{line}");
        }
        assert!(maps_paths(b"-ffile-prefix-map=/a=/b") && !maps_paths(b"-fdebug"));
    }
}
