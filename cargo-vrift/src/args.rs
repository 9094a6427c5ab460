//! The command line of `vrift`, as typed.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use vrift_core::settings::Size;

/// What `cargo vrift --help` says.
pub const CARGO_HELP: &str = "\
Builds with Cargo, and takes from the store what was built before with the same inputs

Usage: cargo vrift [+toolchain] <cargo command> [arguments]

  cargo vrift build --release
  cargo vrift test
  cargo vrift clippy --all-targets -- -D warnings

Everything behind `vrift` is Cargo's, and so is the exit status. VRIFT_DISABLE=1 switches vrift off.
`vrift --help` lists the commands that look into the store.
";

/// The version, and the hash of the parts that come with it.
const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), " (parts ", env!("VRIFT_PARTS_HASH"), ")");

/// A build cache that sits under Cargo, npm and Make.
#[derive(Parser, Debug)]
#[command(name = "vrift", version = VERSION, arg_required_else_help = true, max_term_width = 100)]
#[command(after_help = "VRIFT_DISABLE=1 switches everything off. Builds: `cargo vrift build`, `vrift make -j8`, `vrift ninja`.")]
pub struct LowArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Run Cargo under vrift; the same as `cargo vrift`.
    Cargo(Words),
    /// Run any command under vrift.
    Run(Words),
    /// Show the project, its worker and what is off.
    Status(Output),
    /// Show what the store holds and what it has saved.
    Stats(Output),
    /// Show this project's worker, or with --all those of every project.
    Ps(Ps),
    /// Tell why something was compiled: which input differs, its old and new value.
    Why(Why),
    /// Test every part of vrift on this machine and say what to do.
    Doctor(Output),
    /// Bring the store down to its size, least recently used first.
    Gc(Gc),
    /// Verify the store against its names and its manifest.
    Fsck(Fsck),
    /// Read and change settings.
    #[command(subcommand)]
    Config(Config),
    /// Have systemd start vriftd, which builds do themselves otherwise.
    #[command(subcommand)]
    Daemon(Daemon),
    /// Stop this project's worker, or with --all every daemon; the next build starts them again.
    Stop(Stop),
    /// Links named like compilers, for the PATH of builds that scrub their environment.
    #[command(subcommand)]
    Shims(Shims),
    /// Forget what is kept for this project: its worker, its digests, its history. The store and the settings stay.
    Delete,
    /// Any other program: `vrift make -j8` is `vrift run -- make -j8`.
    #[command(external_subcommand)]
    Program(Vec<OsString>),
}

/// A command to run.
#[derive(Args, Debug)]
pub struct Words {
    /// The program and its arguments.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true, value_name = "COMMAND")]
    pub words: Vec<OsString>,
}

/// How to print.
#[derive(Args, Debug, Clone, Copy)]
pub struct Output {
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// `vrift ps`.
#[derive(Args, Debug)]
pub struct Ps {
    /// Those of every project.
    #[arg(long)]
    pub all: bool,
    /// How to print.
    #[command(flatten)]
    pub output: Output,
}

/// `vrift stop`.
#[derive(Args, Debug)]
pub struct Stop {
    /// Every worker, and the coordinator.
    #[arg(long)]
    pub all: bool,
}

/// `vrift why`.
#[derive(Args, Debug)]
pub struct Why {
    /// A crate, a part of an action's label, or a path.
    #[arg(value_name = "CRATE OR PATH")]
    pub query: String,
    /// How many actions to show, newest first.
    #[arg(long, short = 'n', default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub limit: u16,
    /// How to print.
    #[command(flatten)]
    pub output: Output,
}

/// `vrift gc`.
#[derive(Args, Debug)]
pub struct Gc {
    /// Bring the store down to this size, such as 10GiB, instead of the setting storage.max_size.
    #[arg(long, value_name = "SIZE")]
    pub max_size: Option<Size>,
    /// Say what would go, remove nothing.
    #[arg(long)]
    pub dry_run: bool,
    /// How to print.
    #[command(flatten)]
    pub output: Output,
}

/// `vrift fsck`.
#[derive(Args, Debug)]
pub struct Fsck {
    /// Repair what can be repaired.
    #[arg(long)]
    pub repair: bool,
    /// How to print.
    #[command(flatten)]
    pub output: Output,
}

/// `vrift daemon`.
#[derive(Subcommand, Debug)]
pub enum Daemon {
    /// Write units for this user's systemd, and have it listen for builds.
    Install,
    /// Take the units back.
    Uninstall,
    /// Show whether the units are installed, what systemd says of them, and who started vriftd.
    Status(Output),
    /// Print the last lines of what the daemons wrote down.
    Log(DaemonLog),
}

/// `vrift daemon log`.
#[derive(Args, Debug)]
pub struct DaemonLog {
    /// How many lines.
    #[arg(long, short = 'n', default_value_t = 50)]
    pub lines: u16,
}

/// `vrift config`.
#[derive(Subcommand, Debug)]
pub enum Config {
    /// Print the value in force of one key.
    Get {
        /// Such as storage.max_size.
        key: String,
    },
    /// Set a key in the user's settings.
    Set {
        /// Such as storage.max_size.
        key: String,
        /// Its new value.
        value: String,
        /// Set it for this project alone.
        #[arg(long)]
        project: bool,
    },
    /// List every key with its value and meaning.
    List(Output),
    /// Print where the settings files are.
    Path,
}

/// `vrift shims`.
#[derive(Subcommand, Debug)]
pub enum Shims {
    /// Make a link for each compiler, archiver and stripper in PATH, and print the folder.
    Install {
        /// The folder, instead of `shims` in vrift's state folder.
        folder: Option<PathBuf>,
    },
}

/// What `--version` prints.
pub fn version_line() -> String {
    format!("vrift {VERSION}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_parser_is_consistent() {
        LowArgs::command().debug_assert();
    }

    #[test]
    fn everything_behind_run_belongs_to_the_command() {
        for line in [&["vrift", "run", "--", "make", "-j8", "--help"][..], &["vrift", "run", "make", "-j8", "--help"]] {
            let Command::Run(Words { words }) = LowArgs::try_parse_from(line).expect("parses").command else { panic!("not run") };
            assert_eq!(words, ["make", "-j8", "--help"]);
        }
        assert_eq!(LowArgs::try_parse_from(["vrift", "run"]).expect_err("nothing to run").exit_code(), 2);
    }

    #[test]
    fn what_is_no_command_is_a_program_and_commands_win() {
        let parse = |line: &[&str]| LowArgs::try_parse_from(line).expect("parses").command;
        let Command::Program(words) = parse(&["vrift", "make", "-j8", "--help", "status"]) else { panic!("no program") };
        assert_eq!(words, ["make", "-j8", "--help", "status"]);
        assert!(matches!(parse(&["vrift", "ps"]), Command::Ps(_)));
        assert!(matches!(parse(&["vrift", "./build.sh"]), Command::Program(_)));
    }

    #[test]
    fn sizes_are_checked() {
        let args = LowArgs::try_parse_from(["vrift", "gc", "--max-size", "10GiB", "--dry-run"]).expect("parses");
        assert!(matches!(args.command, Command::Gc(Gc { max_size: Some(Size(n)), dry_run: true, .. }) if n == 10 << 30));
        let error = LowArgs::try_parse_from(["vrift", "gc", "--max-size", "lots"]).expect_err("no size");
        assert!(error.to_string().contains("is not a size"), "{error}");
    }
}
