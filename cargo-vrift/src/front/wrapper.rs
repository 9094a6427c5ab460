//! A compiler with `vrift` in front: `make CC="vrift cc"`, `CMAKE_C_COMPILER_LAUNCHER=vrift`, and the links of `vrift shims`.
//!
//! It becomes the very action that the shim makes of the compiler where a whole build runs under vrift: the same program, the
//! same arguments, the same project. Nothing is said and nothing counted up at the end, since nobody waits for it.
//!
//! Inside a build that runs under vrift there is nothing to do: executing the compiler is enough, because the shim is there.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::Path;

use vrift_core::rules::{self, Enclosing};
use vrift_core::tool::Tool;
use vrift_core::wire;

use super::folder::{self, Folders};
use super::setup::Setup;
use super::{Job, is_disabled, replace};
use crate::daemon;
use crate::error::Error;

/// How long a worker that is there may take to accept.
const ACCEPT: std::time::Duration = std::time::Duration::from_secs(1);

/// Processes between a compiler and the build tool that a person has started.
const MOST_ANCESTORS: usize = 64;

/// Programs that start compilers. The outermost of them was started in the folder that tells which project is built.
const BUILD_TOOLS: [&str; 9] = ["make", "gmake", "ninja", "ninja-build", "samu", "cmake", "ctest", "meson", "bmake"];

/// The kind of action that the program is by itself.
pub fn tool(program: &Path) -> Option<Tool> {
    rules::classify(program.as_os_str().as_bytes(), false, Enclosing::Nothing).filter(|tool| tool.is_native())
}

/// Becomes the action; where vrift is off, or anything is missing, the program itself.
pub fn run(job: &Job, tool: Tool) -> Error {
    if is_disabled() || is_followed() {
        return replace(job);
    }
    let Ok(setup) = Setup::of(job, build_folders()) else { return replace(job) };
    if setup.static_program || !has_worker(&setup) {
        return replace(job);
    }
    // A build tool passes on a name without a folder.
    let _ = setup.action(tool, &setup.cwd.join(&job.program), job.called(), &job.words).exec();
    replace(job)
}

/// Whether the shim is in this process. It hides its variables, but not itself.
pub fn is_followed() -> bool {
    fs::read("/proc/self/maps").is_ok_and(|maps| maps.split(|c| *c == b'\n').any(|line| line.ends_with(b"/libvrift_preload.so")))
}

/// Whether the project's worker is there, or comes when it is called.
fn has_worker(setup: &Setup) -> bool {
    let socket = setup.home.worker_socket(setup.project.id());
    wire::connect(&socket, ACCEPT).is_ok() || daemon::open(&setup.home, &setup.vriftd, &setup.project).is_ok()
}

/// What the outermost build tool that this process comes from works with.
fn build_folders() -> Option<Folders> {
    let mut found = None;
    let mut process = parent("self")?;
    for _ in 0..MOST_ANCESTORS {
        if process <= 1 {
            break;
        }
        let name = process.to_string();
        found = build_tool(&Path::new("/proc").join(&name)).or(found);
        let Some(next) = parent(&name) else { break };
        process = next;
    }
    found
}

/// The same for one process; `None` where it is no build tool, or not ours to look at.
fn build_tool(process: &Path) -> Option<Folders> {
    let program = fs::read_link(process.join("exe")).ok()?;
    if !BUILD_TOOLS.contains(&program.file_name()?.to_str()?) {
        return None;
    }
    let line = fs::read(process.join("cmdline")).ok()?;
    let words: Vec<OsString> = line.split(|c| *c == 0).skip(1).map(|word| OsStr::from_bytes(word).to_owned()).collect();
    Some(folder::of(&program, &words, &fs::read_link(process.join("cwd")).ok()?))
}

/// The process's parent. Source: proc(5).
fn parent(process: &str) -> Option<u32> {
    let status = fs::read_to_string(Path::new("/proc").join(process).join("status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("PPid:"))?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compilers_are_told_from_other_programs() {
        assert_eq!(tool(Path::new("/usr/bin/x86_64-linux-gnu-gcc-12")), Some(Tool::Cc));
        assert_eq!(tool(Path::new("ar")), Some(Tool::Ar));
        for other in ["/usr/bin/make", "rustc", "./build.sh"] {
            assert_eq!(tool(Path::new(other)), None, "{other}");
        }
    }

    #[test]
    fn this_process_has_a_parent_and_no_shim() {
        assert_eq!(parent("self"), Some(std::os::unix::process::parent_id()));
        assert!(!is_followed());
    }
}
