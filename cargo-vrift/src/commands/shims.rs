//! `vrift shims`: a folder of links that stand in for compilers.
//!
//! Each link leads to this program, which sees by its name what it stands in for ([`front::stand_in`]). Linkers and assemblers get
//! none: compilers search for theirs in `PATH`, and run them as a part of themselves.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use vrift_core::home::Home;
use vrift_core::tool::Tool;

use crate::args::Shims;
use crate::error::Error;
use crate::{front, program, say};

/// Makes the links, and prints their folder.
///
/// # Errors
/// The folder or a link cannot be made.
pub fn run(args: &Shims) -> Result<ExitCode, Error> {
    let Shims::Install { folder } = args;
    let fail = |action, path: &Path| {
        let path = path.to_owned();
        move |source| Error::File { action, path, source }
    };
    let cwd = std::env::current_dir().map_err(fail("find", Path::new(".")))?;
    let dir = match folder {
        Some(folder) => cwd.join(folder),
        None => cwd.join(Home::from_env()?.dir()).join("shims"),
    };
    let own = std::env::current_exe().map_err(fail("find", Path::new("/proc/self/exe")))?;
    let names = names(&own);
    if names.is_empty() {
        return Err(Error::Other("there is no compiler in PATH".into()));
    }
    fs::create_dir_all(&dir).map_err(fail("create", &dir))?;
    for name in &names {
        let link = dir.join(name);
        replace(&own, &link).map_err(fail("make the link", &link))?;
    }
    say::out(&format!("{}\n", dir.display()));
    say::line(format_args!("{} links; put their folder first: PATH=\"{}:$PATH\"", names.len(), dir.display()));
    Ok(ExitCode::SUCCESS)
}

/// Programs in `PATH` that get a link.
fn names(own: &Path) -> BTreeSet<OsString> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let listed = std::env::split_paths(&path).filter_map(|dir| fs::read_dir(dir).ok()).flat_map(|entries| entries.flatten());
    let wanted = |name: &OsString| matches!(front::wrapped(Path::new(name)), Some(Tool::Cc | Tool::Ar | Tool::Objcopy));
    let there = |name: &OsString| program::find_other(name, Some(&path), own).is_some();
    listed.map(|entry| entry.file_name()).filter(wanted).filter(there).collect()
}

/// A link that leads to `to`; one that was there before goes, anything else stays.
fn replace(to: &Path, link: &PathBuf) -> io::Result<()> {
    if fs::symlink_metadata(link).is_ok_and(|meta| meta.file_type().is_symlink()) {
        fs::remove_file(link)?;
    }
    symlink(to, link)
}
