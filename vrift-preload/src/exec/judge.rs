//! What is to become of a program.

use core::ffi::{c_char, c_int};

use vrift_core::context::{Context, Field, mode};
use vrift_core::event::{EventKind, Untraced};
use vrift_core::rules::{self, Enclosing};
use vrift_core::shells;
use vrift_core::tool::Tool;

use super::Plan;
use super::lists::{arguments, find};
use crate::elf::{self, Program};
use crate::path;
use crate::sys;
use crate::trace::Trace;

/// What is to become of it; see the table in [`super`].
pub enum Verdict {
    Action(Tool),
    /// To be executed where the kernel reports its calls; the reason counts where that is not possible.
    Watch(Untraced),
    Follow,
    Leave,
}

/// Decides, and reports what the program's start tells of other files.
///
/// # Safety
/// The plan's path must be NUL-terminated, its lists null or NULL-terminated.
pub unsafe fn judge(context: &Context<'_>, trace: Option<&Trace>, plain: &Plan) -> Verdict {
    let path = plain.path;
    // SAFETY: the caller vouches for the plan's path and lists.
    let (name, out_dir) = unsafe { (path::bytes(path), find(plain.envp, b"OUT_DIR").is_some()) };
    let enclosing = match trace {
        None => Enclosing::Nothing,
        Some(_) if context.has(mode::NESTED) => Enclosing::Nesting,
        Some(_) => Enclosing::Whole,
    };
    if rules::is_listed(context.get(Field::Never), name) {
        return Verdict::Leave;
    }
    // SAFETY: as above.
    let script =
        || rules::is_listed(context.get(Field::Actions), name) || rules::configures(name, unsafe { arguments(plain.argv) });
    let script = || (enclosing == Enclosing::Nothing && script()).then_some(Tool::Script);
    if let Some(tool) = rules::classify(name, out_dir, enclosing).or_else(script) {
        // SAFETY: as above.
        if unsafe { program_error(path) } == 0 {
            return Verdict::Action(tool);
        }
    }
    let mut room = [0; 256];
    // SAFETY: as above.
    let mut program = unsafe { elf::inspect(path, &mut room) };
    // A script there is part of the build: `libtool`, `config.status`.
    if trace.is_none() && own_program(context, name) && !matches!(program, Program::Script { .. }) {
        return Verdict::Leave;
    }
    // SAFETY: as above.
    let mut shell = shells::is_shell(name, unsafe { arguments(plain.argv) }.next());
    if let Program::Script { interpreter } = program {
        if let (Some(trace), Some(name)) = (trace, room.get(..interpreter)) {
            trace.known_path(EventKind::OpenRead, 0, name);
        }
        shell = room.get(..interpreter).is_some_and(|name| shells::is_shell(name, None));
        let mut deeper = [0; 256];
        // SAFETY: `inspect` has put a NUL behind the interpreter's name.
        program = unsafe { elf::inspect(room.as_ptr().cast(), &mut deeper) };
        room = deeper;
    }
    match program {
        Program::Unhooked { reason, loader } => {
            let Some(trace) = trace else { return Verdict::Leave };
            // SAFETY: `inspect` has put a NUL behind the loader's path; the caller vouches for the program's.
            let runs = !shell && unsafe { program_error(path) == 0 && (loader == 0 || program_error(room.as_ptr().cast()) == 0) };
            if runs {
                return Verdict::Watch(reason);
            }
            // A shell must run unseen. Another program cannot be executed, and the caller is to hear why.
            trace.untraced(reason, name);
            Verdict::Leave
        }
        Program::Lost(reason) => {
            if let Some(trace) = trace {
                trace.untraced(reason, name);
            }
            Verdict::Leave
        }
        Program::Followed | Program::Script { .. } | Program::Unknown => Verdict::Follow,
    }
}

/// Why `path` cannot be executed, as far as its name tells: an error's number, or 0. Folders may be searched, and other
/// things may have the bit for executing, which the kernel's answer to `access` does not tell from executing.
///
/// # Safety
/// `path` must be NUL-terminated.
pub unsafe fn program_error(path: *const c_char) -> c_int {
    // SAFETY: the caller vouches for the path.
    unsafe {
        match sys::access(libc::AT_FDCWD, path, libc::X_OK) {
            0 if !sys::is_file(path) => libc::EACCES,
            result => (-result) as c_int,
        }
    }
}

/// Whether the program was built by this build: in the target folder.
fn own_program(context: &Context<'_>, name: &[u8]) -> bool {
    let below = |rest: &[u8]| rest.starts_with(b"/");
    let target = context.get(Field::Target);
    let inside = !target.is_empty() && name.strip_prefix(target).is_some_and(below);
    let project = context.get(Field::Project);
    inside
        || (!project.is_empty() && name.strip_prefix(project).and_then(|rest| rest.strip_prefix(b"/target")).is_some_and(below))
}
