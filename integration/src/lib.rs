//! The harness of vrift's end-to-end tests and benchmarks: black-box, through the command line alone.
//!
//! | module | subject |
//! |---|---|
//! | [`env`] | one hermetic home with its own store and daemons |
//! | [`checkout`] | one working copy of a project in it |
//! | [`command`] | running commands, with a time limit |
//! | [`product`] | vrift's own programs, built once |
//! | [`host`] | the machine's toolchain, and what results are stamped with |
//! | [`crates_io`], [`projects`] | real projects from crates.io |
//! | [`npm`], [`npm_registry`], [`npm_package`] | JavaScript projects; packages from npm; the package that goes there |
//! | [`debian`], [`native`] | real projects in C and C++ from Debian |
//! | [`judge`] | which programs really ran, as `strace` saw it |
//! | [`strace`], [`access`], [`traces`] | which paths really were looked at, and what vrift's traces say |
//! | [`snapshot`], [`archive`] | whole folders, compared byte for byte |
//! | [`right`] | whether what vrift made is what a build from scratch makes |
//! | [`small`] | small projects, made up on the spot |
//! | [`differential`] | what libc answers under the shim, against the kernel, while files change |
//! | [`lives`] | how long processes live, as the kernel tells it |
//! | [`disk`] | what folders cost on disk |
//! | [`user`] | commands as an ordinary user |
//! | [`daemons`] | the daemons of one home |
//! | [`steps`] | long scenarios whose steps all report |
//! | [`bench`] | timings, tables and result files |
//! | [`chaos`] | builds under faults |
#![forbid(unsafe_code)]

pub mod access;
pub mod archive;
pub mod bench;
pub mod chaos;
pub mod checkout;
pub mod command;
pub mod crates_io;
pub mod daemons;
pub mod debian;
pub mod differential;
pub mod disk;
pub mod download;
pub mod env;
pub mod host;
pub mod judge;
pub mod lives;
pub mod maps;
pub mod native;
pub mod npm;
pub mod npm_package;
pub mod npm_registry;
pub mod product;
pub mod projects;
pub mod right;
pub mod small;
pub mod snapshot;
pub mod steps;
pub mod strace;
pub mod traces;
pub mod user;

/// The result of everything here: failures are for people to read.
pub type Result<T = ()> = anyhow::Result<T>;
