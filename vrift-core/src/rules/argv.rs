//! Which arguments matter.

use crate::action::Tool;
use crate::bytes::ByteText;
use crate::paths::{Roots, TemplateText};

/// The arguments that go into the key, known roots replaced. The program's name loses its folder: where the program lies is
/// told by its content.
pub fn request_argv(tool: Tool, argv: &[ByteText], roots: &Roots) -> Vec<TemplateText> {
    let mut out = Vec::with_capacity(argv.len());
    let mut rest = argv.iter();
    if let Some(name) = rest.next() {
        let base = name.rsplit(|c| *c == b'/').next().unwrap_or_default();
        out.push(TemplateText { bytes: ByteText::from(base), ..TemplateText::default() });
    }
    while let Some(arg) = rest.next() {
        if rust(tool) && is_width(arg) {
            if !arg.contains(&b'=') {
                rest.next();
            }
            continue;
        }
        out.push(roots.template_text(arg));
    }
    out
}

/// Whether a command asks a Rust compiler about itself and names nothing in its working folder: its answer is the same in
/// every folder. Cargo asks so once a build, in the folder where the user stands.
pub fn is_probe(tool: Tool, argv: &[ByteText]) -> bool {
    let args = argv.get(1..).unwrap_or_default();
    let asks = |arg: &ByteText| arg.starts_with(b"--print") || matches!(&arg[..], b"-vV" | b"-V" | b"-Vv" | b"--version");
    // Any of these may name something relative to the folder. (`-` is an empty source: data on stdin makes no action.)
    let names_a_file = |arg: &ByteText| {
        arg.iter().any(|c| matches!(c, b'/' | b'@' | b'.'))
            || [&b"-L"[..], b"-o", b"--out-dir", b"--sysroot", b"--extern"].iter().any(|option| arg.starts_with(option))
            || arg.windows(9).any(|part| part == b"profile-u" || part == b"profile-s")
    };
    rust(tool) && args.iter().any(asks) && !args.iter().any(names_a_file)
}

/// Whether a file that is named in a command's arguments is one of a configure script's, or of Meson's: hundreds of commands have the
/// same arguments and another source each. Source: Autoconf's manual, "Writing Test Programs".
pub fn is_of_configure(path: &[u8]) -> bool {
    scratch_folder(path).is_some() || path.rsplit(|c| *c == b'/').next().unwrap_or(path).starts_with(b"conftest")
}

/// The folder in which Meson tries something out, where `path` is that or something in it: its name is a random one, so a command in
/// it would never be the same again. Source: Meson's `compilers/compilers.py` (`TemporaryDirectory` in `get_scratch_dir`), Python's
/// `tempfile.py` (`_RandomNameSequence`).
pub fn scratch_folder(path: &[u8]) -> Option<&[u8]> {
    const START: &[u8] = b"/meson-private/tmp";
    const RANDOM: usize = 8;
    let end = memchr::memmem::find(path, START)? + START.len() + RANDOM;
    let is_random = |c: &u8| c.is_ascii_lowercase() || c.is_ascii_digit() || *c == b'_';
    let folder = path.get(..end).filter(|folder| folder.starts_with(b"/") && folder[end - RANDOM..].iter().all(is_random))?;
    path.get(end).is_none_or(|next| *next == b'/').then_some(folder)
}

/// Whether an argument asks for code for the processor that the compiler runs on.
pub fn is_for_this_processor(arg: &[u8]) -> bool {
    let native = |option: &[u8]| arg.strip_prefix(option).is_some_and(|rest| rest == b"native");
    native(b"-march=") || native(b"-mtune=") || native(b"-mcpu=") || arg.ends_with(b"target-cpu=native")
}

/// The terminal's width, which wraps rendered warnings and nothing else. Cargo itself replays warnings at their old width.
fn is_width(arg: &[u8]) -> bool {
    arg == b"--diagnostic-width" || arg.starts_with(b"--diagnostic-width=")
}

fn rust(tool: Tool) -> bool {
    matches!(tool, Tool::Rustc | Tool::Clippy | Tool::Rustdoc)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::paths::{AbsPath, Root};

    #[test]
    fn probes_are_recognised() {
        let probe = |args: &str| {
            let argv: Vec<ByteText> = args.split(' ').map(ByteText::from).collect();
            is_probe(Tool::Rustc, &argv)
        };
        assert!(probe("/r/bin/rustc -vV"));
        assert!(probe("rustc - --crate-name ___ --print=file-names --crate-type bin --print cfg -Wwarnings"));
        assert!(!probe("rustc - --print=cfg --target my.json"));
        assert!(!probe("rustc - --print=cfg -L native"));
        assert!(!probe("rustc - --crate-name ___ --emit=metadata"));
        assert!(!probe("rustc --crate-name a --print=link-args src/lib.rs"));
    }

    #[test]
    fn folders_with_random_names_are_told() {
        let folder = |path: &str| scratch_folder(path.as_bytes()).map(|folder| String::from_utf8_lossy(folder).into_owned());
        let found = Some("/w/b/meson-private/tmp01ge5_bl".to_owned());
        assert_eq!(folder("/w/b/meson-private/tmp01ge5_bl"), found);
        assert_eq!(folder("/w/b/meson-private/tmp01ge5_bl/testfile.c"), found);
        for path in ["/w/b/meson-private/tmp01ge5_blx/a.c", "/w/b/meson-private/tmp01ge/a.c", "/w/b/meson-private/sanitycheckc.c"]
        {
            assert_eq!(folder(path), None, "{path}");
        }
        assert!(is_of_configure(b"/w/b/meson-private/tmp01ge5_bl/testfile.c") && !is_of_configure(b"/w/b/testfile.c"));
    }

    #[test]
    fn checkout_and_width_vanish() {
        let argv = |root: &str, width: &str| {
            let roots = Roots::new([(Root::Project, AbsPath::new(root.as_bytes()).expect("absolute"))]);
            let out_dir = format!("{root}/target/debug/deps");
            let argv = ["/r/bin/rustc", "--crate-name", "x", width, "--out-dir", &out_dir].map(ByteText::from);
            request_argv(Tool::Rustc, &argv, &roots)
        };
        assert_eq!(argv("/w/a", "--diagnostic-width=80"), argv("/elsewhere/b", "--diagnostic-width=132"));
        assert_ne!(argv("/w/a", "-O"), argv("/w/a", "-g"));
    }
}
