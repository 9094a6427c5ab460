//! Modification times that Cargo compares.
//!
//! Cargo takes a unit for stale when one of its dependencies has a newer artifact than the unit's newest one. Files that share
//! an inode with a blob all have the blobs' old time, so among themselves nothing is newer. Two kinds of file are not blobs'
//! and have the time at which they were made: artifacts that get an inode of their own, and the `output` file that Cargo
//! writes after running a build script. A unit that depends on such a one must not look older, so its smallest artifact gets
//! an inode and a time of its own, too.
//!
//! Nearly every crate depends on some build script, and then nearly nothing could be shared. But a build script of a crate from
//! the registry only watches files that are older than the blobs' time; its `output` is as fresh to Cargo at that time as it
//! is at the time of writing. So it gets that time.
//!
//! Source: `check_filesystem` in Cargo's `core/compiler/fingerprint`.

use std::ffi::OsStr;
use std::fs::{self, File, FileTimes};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use vrift_core::action::Tool;
use vrift_core::wire::BuildScriptRun;
use vrift_store::cas::BLOB_MTIME;

use crate::command::Command;

/// A build script's output larger than this is not searched for the files that it watches.
const LARGEST_OUTPUT: u64 = 4 << 20;

/// Whether what the command makes must have a time of its own; see the module. May date the `output` of its package's build
/// script back.
pub fn needs_own_time(command: &Command, run: Option<&BuildScriptRun>) -> bool {
    if !matches!(command.tool, Tool::Rustc | Tool::Clippy) {
        return false;
    }
    externs(command).any(|path| is_recent(&path) || is_recent(&sibling(&path))) || depends_on_recent_run(command, run)
}

/// The files given by `--extern name=path`.
fn externs(command: &Command) -> impl Iterator<Item = PathBuf> {
    let values = command.argv.windows(2).filter(|pair| *pair[0] == *b"--extern").map(|pair| &pair[1]);
    values.filter_map(|value| {
        let at = value.iter().position(|c| *c == b'=')?;
        Some(command.cwd.as_path().join(OsStr::from_bytes(&value[at + 1..])))
    })
}

/// The other artifact of a library: a unit's time is that of its newest.
fn sibling(path: &Path) -> PathBuf {
    let other = if path.extension().is_some_and(|ext| ext == "rmeta") { "rlib" } else { "rmeta" };
    path.with_extension(other)
}

fn is_recent(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|meta| (meta.mtime(), meta.mtime_nsec()) > (BLOB_MTIME, 0))
}

/// Whether the package's build script ran at a time that Cargo will hold against the unit.
fn depends_on_recent_run(command: &Command, run: Option<&BuildScriptRun>) -> bool {
    let Some(out_dir) = command.var("OUT_DIR") else { return false };
    let Some(folder) = Path::new(OsStr::from_bytes(out_dir)).parent() else { return true };
    let output = folder.join("output");
    if !is_recent(&output) {
        // Not there yet would be a Cargo of another layout: then nothing is known.
        return !output.exists();
    }
    let may_be_old = run.is_some_and(|run| !run.linked && !is_recent(run.program.as_path()));
    !(may_be_old && watches_old_files(command, &output) && date_back(&output))
}

/// Whether each file that the build script told Cargo to watch is older than the blobs.
fn watches_old_files(command: &Command, output: &Path) -> bool {
    if !fs::metadata(output).is_ok_and(|meta| meta.len() <= LARGEST_OUTPUT) {
        return false;
    }
    let Ok(text) = fs::read(output) else { return false };
    let package = Path::new(OsStr::from_bytes(command.var("CARGO_MANIFEST_DIR").unwrap_or_default()));
    let watched = text.split(|c| *c == b'\n').filter_map(|line| {
        let line = line.strip_prefix(b"cargo:")?;
        line.strip_prefix(b":").unwrap_or(line).strip_prefix(b"rerun-if-changed=")
    });
    // Cargo walks a folder for its newest file: that is not done here.
    let is_old = |path: &Path| fs::metadata(path).is_ok_and(|meta| meta.is_file()) && !is_recent(path);
    watched.map(|path| package.join(OsStr::from_bytes(path.trim_ascii()))).all(|path| is_old(&path))
}

fn date_back(output: &Path) -> bool {
    let time = UNIX_EPOCH + Duration::from_secs(BLOB_MTIME.unsigned_abs());
    File::options().append(true).open(output).and_then(|file| file.set_times(FileTimes::new().set_modified(time))).is_ok()
}

/// Whether a file of that name is a library's metadata.
pub fn is_metadata(name: &[u8]) -> bool {
    name.ends_with(b".rmeta")
}

/// Whether a unit's artifact of that name gets the time: of a library, its metadata, which is smaller than the library.
pub fn is_dated(name: &[u8], has_metadata: bool) -> bool {
    !has_metadata || is_metadata(name)
}
