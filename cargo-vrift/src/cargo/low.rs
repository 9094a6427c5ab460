//! The arguments of a Cargo command, as far as vrift looks at them.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

/// What was typed behind `cargo vrift`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct LowArgs {
    /// `+nightly`: rustup's toolchain, which only rustup's own `cargo` understands.
    pub toolchain: bool,
    /// `build`, `test`, an alias, an external subcommand; `None` for `cargo --list` and the like.
    pub command: Option<String>,
    /// `-C`: where Cargo goes first.
    pub chdir: Option<PathBuf>,
    /// `--manifest-path`.
    pub manifest_path: Option<PathBuf>,
    /// `--path` of `cargo install`.
    pub install_path: Option<PathBuf>,
    /// `--target-dir`.
    pub target_dir: Option<PathBuf>,
    /// Every `--config`.
    pub config: Vec<OsString>,
    /// `-q` or `--quiet`.
    pub quiet: bool,
    /// `-h` or `--help`.
    pub help: bool,
}

/// What a command means for vrift.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Class {
    /// It compiles nothing: Cargo takes over at once, without daemons.
    Plain,
    /// It builds: one line tells what came of it, even where that is nothing.
    Build,
    /// An alias or an external subcommand: it may build.
    Other,
}

/// Commands of Cargo that compile nothing. None of them can be the name of an alias.
const PLAIN: &[&str] = &[
    "add",
    "clean",
    "config",
    "fetch",
    "fmt",
    "generate-lockfile",
    "help",
    "info",
    "init",
    "locate-project",
    "login",
    "logout",
    "metadata",
    "new",
    "owner",
    "pkgid",
    "read-manifest",
    "remove",
    "report",
    "rm",
    "search",
    "tree",
    "uninstall",
    "update",
    "vendor",
    "verify-project",
    "version",
    "yank",
];

/// Commands that compile.
const BUILD: &[&str] = &[
    "b", "bench", "build", "c", "check", "clippy", "d", "doc", "fix", "install", "nextest", "r", "run", "rustc", "rustdoc", "t",
    "test",
];

impl LowArgs {
    /// Reads the arguments up to `--`. What it does not know, it passes over: Cargo will complain.
    pub fn scan(words: &[OsString]) -> Self {
        let mut args = Self::default();
        let mut words = words.iter().peekable();
        args.toolchain = words.peek().is_some_and(|first| first.as_bytes().starts_with(b"+"));
        if args.toolchain {
            words.next();
        }
        while let Some(word) = words.next() {
            let bytes = word.as_bytes();
            let (name, attached) = match bytes.iter().position(|c| *c == b'=') {
                Some(at) if bytes.starts_with(b"--") => (&bytes[..at], Some(OsStr::from_bytes(&bytes[at + 1..]))),
                _ => (bytes, None),
            };
            // A value is taken from the next word only where the option needs one.
            let mut value = || attached.or_else(|| words.next().map(OsString::as_os_str)).map(OsStr::to_owned);
            match name {
                b"--" => break,
                b"--manifest-path" => args.manifest_path = value().map(PathBuf::from),
                b"--target-dir" => args.target_dir = value().map(PathBuf::from),
                b"--config" => args.config.extend(value()),
                b"--path" if args.command.as_deref() == Some("install") => args.install_path = value().map(PathBuf::from),
                b"--color" | b"-Z" | b"--explain" => drop(value()),
                b"--quiet" => args.quiet = true,
                b"--help" => args.help = true,
                b"-C" if args.command.is_none() => args.chdir = value().map(PathBuf::from),
                _ if args.command.is_none() && name.starts_with(b"-C") => {
                    args.chdir = Some(PathBuf::from(OsString::from_vec(bytes[2..].to_vec())));
                }
                _ if is_cluster(name) => {
                    args.quiet |= name.contains(&b'q');
                    args.help |= name.contains(&b'h');
                }
                _ if args.command.is_none() && !name.starts_with(b"-") => {
                    args.command = Some(word.to_string_lossy().into_owned());
                }
                _ => {}
            }
        }
        args
    }

    /// What the command means for vrift.
    pub fn class(&self) -> Class {
        match self.command.as_deref() {
            None => Class::Plain,
            Some(_) if self.help => Class::Plain,
            Some(name) if PLAIN.contains(&name) => Class::Plain,
            Some(name) if BUILD.contains(&name) => Class::Build,
            Some(_) => Class::Other,
        }
    }
}

/// One-letter flags without values, together: `-q`, `-vq`.
fn is_cluster(word: &[u8]) -> bool {
    word.len() > 1 && word.starts_with(b"-") && word[1..].iter().all(|c| matches!(c, b'q' | b'v' | b'r' | b'h'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scan(line: &str) -> LowArgs {
        LowArgs::scan(&line.split(' ').map(OsString::from).collect::<Vec<_>>())
    }

    #[test]
    fn options_are_found_in_all_their_forms() {
        let args =
            scan("+nightly -C sub --config build.jobs=1 build -rq --manifest-path=a/Cargo.toml --target-dir /t --config x.toml");
        assert!(args.toolchain && args.quiet);
        assert_eq!(args.command.as_deref(), Some("build"));
        assert_eq!(args.chdir, Some("sub".into()));
        assert_eq!(args.manifest_path, Some("a/Cargo.toml".into()));
        assert_eq!(args.target_dir, Some("/t".into()));
        assert_eq!(args.config, ["build.jobs=1", "x.toml"]);
        assert_eq!(scan("-Csub b").chdir, Some("sub".into()));
    }

    #[test]
    fn what_belongs_to_the_program_is_left_alone() {
        let args = scan("run -- -q --target-dir x");
        assert!(!args.quiet && args.target_dir.is_none());
        assert!(!scan("rustc -C opt-level=3").quiet);
        assert_eq!(scan("rustc -C opt-level=3").chdir, None);
        assert_eq!(scan("--color never test").command.as_deref(), Some("test"));
        assert_eq!(scan("build --path x").install_path, None);
        assert_eq!(scan("install --path x").install_path, Some("x".into()));
    }

    #[test]
    fn commands_have_classes() {
        for (line, class) in [
            ("--list", Class::Plain),
            ("-Vv", Class::Plain),
            ("new x", Class::Plain),
            ("build --help", Class::Plain),
            ("b", Class::Build),
            ("clippy --all-targets", Class::Build),
            ("nextest run", Class::Build),
            ("xtask dist", Class::Other),
            ("run -- --help", Class::Build),
        ] {
            assert_eq!(scan(line).class(), class, "{line}");
        }
    }
}
