//! What happens to a program that is about to be executed.
//!
//! | program | becomes |
//! |---|---|
//! | worth an action, by [`vrift_core::rules::classify`] | `vrift-exec <kind> <program> <arguments>` |
//! | a configure script, or CMake where it makes build files ([`vrift_core::rules::configures`]) | the same, outside actions |
//! | named in the setting `exec.actions` | the same, outside actions |
//! | named in the setting `exec.never` | itself, without the preload; an enclosing action is not stored |
//! | a shell that no preload reaches ([`vrift_core::shells`]) | itself; an enclosing action is not stored |
//! | any other program that no preload reaches, inside an action | `vrift-exec trace <program> <arguments>`, which executes it where the kernel reports its calls |
//! | one that cannot be followed at all | itself, without the preload; the enclosing action is told |
//! | outside any action, from the target folder, and no script (a test, `cargo run`) | itself, without the preload: it is the user's own |
//! | a C compiler inside an action | itself, with an option that keeps the checkout's path out of debug information |
//! | any other | itself, with preload and context |

use core::ffi::{c_char, c_int};

use vrift_core::context::{Context, Field, SEPARATOR, mode};
use vrift_core::env;
use vrift_core::event::{EventKind, Untraced, flag};
use vrift_core::rules::{self, Enclosing};
use vrift_core::shells;
use vrift_core::tool::{Tool, WATCH};

use crate::elf::{self, Program};
use crate::path;
use crate::state;
use crate::sys;
use crate::trace::Trace;

/// The environment `envp` with preload and context, built in `room`.
///
/// # Safety
/// `envp` must be null or a NULL-terminated list of strings.
pub unsafe fn environment(context: &Context<'_>, envp: Strings, room: &mut [u8]) -> Option<Strings> {
    // SAFETY: the caller vouches for `envp`.
    unsafe { Builder { room, used: 0 }.environment(context, envp, true) }
}

/// How many bytes [`environment`] needs at most.
///
/// # Safety
/// As for [`environment`].
pub unsafe fn environment_size(context: &Context<'_>, envp: Strings) -> usize {
    // SAFETY: the caller vouches for `envp`.
    unsafe { size_of_plan(context, c"".as_ptr(), core::ptr::null(), envp) }
}

/// How a program is executed in the end.
pub struct Plan {
    pub path: *const c_char,
    pub argv: *const *const c_char,
    pub envp: *const *const c_char,
}

type Strings = *const *const c_char;

enum Verdict {
    Action(Tool),
    /// To be executed where the kernel reports its calls; the reason counts where that is not possible.
    Watch(Untraced),
    Follow,
    Leave,
}

/// Plans the execution of `path`, which is not searched for, and calls `then` with the plan. Also reports it.
///
/// `then` returns the error's number, or 0. Where vrift's own program or variables are what could not be executed, it is
/// called again with the program's own. `elsewhere`: the program is started from another folder, so that a relative path
/// cannot be told.
///
/// # Safety
/// `path` must be NUL-terminated, `argv` and `envp` null or NULL-terminated lists of such strings.
pub unsafe fn plan(
    path: *const c_char,
    argv: Strings,
    envp: Strings,
    elsewhere: bool,
    mut then: impl FnMut(&Plan) -> c_int,
) -> c_int {
    let plain = Plan { path, argv, envp };
    let Some(context) = state::context() else { return then(&plain) };
    let trace = state::trace();
    // SAFETY: the caller vouches for all three.
    unsafe {
        let lost = elsewhere && !path::bytes(path).starts_with(b"/");
        if let Some(trace) = trace {
            announce(trace, path, lost);
        }
        let verdict = if lost { Verdict::Follow } else { judge(context, trace, &plain) };
        if matches!(verdict, Verdict::Leave) {
            return then(&plain);
        }
        let size = size_of_plan(context, path, argv, envp);
        let error = with_room(size, |room| {
            let plan = room.and_then(|room| Builder { room, used: 0 }.build(context, &verdict, &plain))?;
            Some(then(&plan))
        });
        match (error, &verdict) {
            (Some(0), _) => 0,
            (Some(error), Verdict::Follow | Verdict::Leave) if error != libc::E2BIG => error,
            // Not signed in, the program makes the enclosing action one that is not stored.
            (_, verdict) => {
                if let (Verdict::Watch(reason), Some(trace)) = (verdict, trace) {
                    trace.untraced(*reason, path::bytes(path));
                }
                then(&plain)
            }
        }
    }
}

/// Reports that the program is about to be executed, which is a read of it.
unsafe fn announce(trace: &Trace, path: *const c_char, lost: bool) {
    // SAFETY: the caller vouches for the path.
    unsafe {
        if lost {
            trace.append(EventKind::Exec, flag::UNRESOLVED, 0, 0, &[path::bytes(path)]);
            return;
        }
        path::absolute(path::At::cwd(path), |pieces| match pieces {
            Some(pieces) => trace.append(EventKind::Exec, 0, 0, 0, pieces),
            None => trace.append(EventKind::Exec, flag::UNRESOLVED, 0, 0, &[path::bytes(path)]),
        });
    }
}

unsafe fn judge(context: &Context<'_>, trace: Option<&Trace>, plain: &Plan) -> Verdict {
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

/// The option of gcc and clang that replaces the beginning of paths in debug information.
const PREFIX_MAP: &[u8] = b"-fdebug-prefix-map=";

/// Whether the program is a C compiler that is to get prefix maps: inside an action, whose outputs are then the same in every
/// checkout.
unsafe fn wants_maps(context: &Context<'_>, plain: &Plan) -> bool {
    // SAFETY: the caller vouches for the plan's lists.
    unsafe {
        let name = path::bytes(plain.path);
        let name = name.rsplit(|c| *c == b'/').next().unwrap_or(name);
        if state::trace().is_none() || context.has(mode::NO_PREFIX_MAP) || !rules::is_c_driver(name) {
            return false;
        }
        let args = arguments(plain.argv);
        !args.clone().any(rules::maps_paths) && rules::makes_objects(args)
    }
}

/// The arguments behind the first, which is a name.
///
/// # Safety
/// `argv` must be null or a NULL-terminated list of strings that outlives what is returned.
unsafe fn arguments<'a>(argv: Strings) -> impl Iterator<Item = &'a [u8]> + Clone {
    // SAFETY: the caller vouches for the list; the walk ends at its NULL.
    let next = |at: Strings| unsafe { (!at.is_null() && !(*at).is_null()).then(|| at.add(1)) };
    let mut at = next(argv);
    core::iter::from_fn(move || {
        let here = at?;
        at = next(here);
        // SAFETY: as above; an entry that is followed by another place is not the NULL.
        at.map(|_| unsafe { path::bytes(*here) })
    })
}

/// Builds lists and strings in one piece of memory.
struct Builder<'a> {
    room: &'a mut [u8],
    used: usize,
}

impl Builder<'_> {
    unsafe fn build(mut self, context: &Context<'_>, verdict: &Verdict, plain: &Plan) -> Option<Plan> {
        // SAFETY: the caller vouches for the plain plan's lists.
        unsafe {
            match verdict {
                Verdict::Action(tool) => {
                    let exec = self.string(&[context.get(Field::Exec)])?;
                    let program = path::absolute(path::At::cwd(plain.path), |pieces| self.string(pieces?))?;
                    let name = self.string(&[b"vrift-exec"])?;
                    let tool = self.string(&[tool.name().as_bytes()])?;
                    let argv = self.list(plain.argv, &[], &[name, tool, program], &[])?;
                    let envp = self.environment(context, plain.envp, false)?;
                    Some(Plan { path: exec, argv, envp })
                }
                Verdict::Watch(_) => {
                    let exec = self.string(&[context.get(Field::Exec)])?;
                    let (name, mode) = (self.string(&[b"vrift-exec"])?, self.string(&[WATCH.as_bytes()])?);
                    // The path as it is: a script is told it.
                    let argv = self.list(plain.argv, &[], &[name, mode, plain.path], &[])?;
                    let envp = self.environment(context, plain.envp, false)?;
                    Some(Plan { path: exec, argv, envp })
                }
                Verdict::Follow | Verdict::Leave => {
                    let envp = self.environment(context, plain.envp, true)?;
                    let argv = if wants_maps(context, plain) { self.mapped(context, plain.argv)? } else { plain.argv };
                    Some(Plan { path: plain.path, argv, envp })
                }
            }
        }
    }

    /// The arguments of a C compiler with its prefix maps, in front of all others: of several that match, the last counts.
    unsafe fn mapped(&mut self, context: &Context<'_>, argv: Strings) -> Option<Strings> {
        let map = |builder: &mut Self, field, to: &[u8]| match context.get(field) {
            b"" => Some(None),
            from => builder.string(&[PREFIX_MAP, from, b"=", state::PORTABLE.to_bytes(), to]).map(Some),
        };
        let (project, target) = (map(self, Field::Project, b"")?, map(self, Field::Target, b"/target")?);
        // SAFETY: the caller vouches for `argv`, which has a first entry.
        unsafe {
            match (project, target) {
                (Some(project), Some(target)) => self.list(argv.add(1), &[], &[*argv, project, target], &[]),
                (Some(map), None) | (None, Some(map)) => self.list(argv.add(1), &[], &[*argv, map], &[]),
                (None, None) => Some(argv),
            }
        }
    }

    /// The program's environment with the context and, if asked, this library as the first preload.
    unsafe fn environment(&mut self, context: &Context<'_>, envp: Strings, preload: bool) -> Option<Strings> {
        // SAFETY: the caller vouches for `envp`.
        unsafe {
            let variable = self.context(context)?;
            if !preload {
                return self.list(envp, &[env::CONTEXT.as_bytes()], &[], &[variable]);
            }
            let users = find(envp, b"LD_PRELOAD").unwrap_or(b"");
            let users = match users.strip_prefix(context.get(Field::Shim)) {
                Some(rest @ ([] | [b':', ..])) => rest.strip_prefix(b":").unwrap_or(rest),
                _ => users,
            };
            let colon: &[u8] = if users.is_empty() { b"" } else { b":" };
            let preloads = self.string(&[b"LD_PRELOAD=", context.get(Field::Shim), colon, users])?;
            self.list(envp, &[env::CONTEXT.as_bytes(), b"LD_PRELOAD"], &[], &[variable, preloads])
        }
    }

    fn context(&mut self, context: &Context<'_>) -> Option<*const c_char> {
        let start = self.used;
        self.push(env::CONTEXT.as_bytes())?;
        self.push(b"=")?;
        for (index, field) in context.fields().iter().enumerate() {
            if index > 0 {
                self.push(&[SEPARATOR])?;
            }
            if index == Field::Mode as usize {
                // Meant for this very program.
                for letter in field.iter().filter(|letter| **letter != mode::PORTABLE_CWD) {
                    self.push(&[*letter])?;
                }
            } else {
                self.push(field)?;
            }
        }
        self.push(b"\0")?;
        Some(self.room[start..].as_ptr().cast())
    }

    fn string(&mut self, pieces: &[&[u8]]) -> Option<*const c_char> {
        let start = self.used;
        for piece in pieces {
            self.push(piece)?;
        }
        self.push(b"\0")?;
        Some(self.room[start..].as_ptr().cast())
    }

    /// A NULL-terminated list: `first`, then `old` without the variables `without`, then `last`. Where `first` is given,
    /// `old` is a list of arguments.
    unsafe fn list(
        &mut self,
        old: Strings,
        without: &[&[u8]],
        first: &[*const c_char],
        last: &[*const c_char],
    ) -> Option<Strings> {
        let pad = self.room[self.used..].as_ptr().align_offset(align_of::<*const c_char>());
        self.used = self.used.checked_add(pad)?;
        let start = self.used;
        let mut push = |entry: *const c_char| self.push(&(entry as usize).to_ne_bytes());
        for entry in first {
            push(*entry)?;
        }
        let mut at = old;
        // SAFETY: the caller vouches for `old`.
        unsafe {
            while !at.is_null() && !(*at).is_null() {
                if !without.iter().any(|name| is_variable(*at, name)) {
                    push(*at)?;
                }
                at = at.add(1);
            }
        }
        for entry in last {
            push(*entry)?;
        }
        push(core::ptr::null())?;
        Some(self.room[start..].as_ptr().cast())
    }

    fn push(&mut self, bytes: &[u8]) -> Option<()> {
        let end = self.used.checked_add(bytes.len())?;
        self.room.get_mut(self.used..end)?.copy_from_slice(bytes);
        self.used = end;
        Some(())
    }
}

/// An upper bound of what [`Builder`] needs.
unsafe fn size_of_plan(context: &Context<'_>, path: *const c_char, argv: Strings, envp: Strings) -> usize {
    const POINTER: usize = size_of::<*const c_char>();
    // SAFETY: the caller vouches for all three.
    let (args, vars, path, users) =
        unsafe { (count(argv), count(envp), path::bytes(path).len(), find(envp, b"LD_PRELOAD").map_or(0, <[u8]>::len)) };
    let fields: usize = context.fields().iter().map(|field| field.len() + 1).sum();
    let maps = context.get(Field::Project).len() + context.get(Field::Target).len() + 2 * (PREFIX_MAP.len() + 32);
    let strings =
        maps + fields + path::ROOM + 2 * path + users + context.get(Field::Exec).len() + context.get(Field::Shim).len() + 256;
    strings + (args + vars + 16) * POINTER
}

/// Calls `then` with `size` bytes of memory: on the stack, or mapped where that would be large. A `vfork` child's mapping
/// outlives it in its parent, which is why the stack comes first.
fn with_room<R>(size: usize, then: impl FnOnce(Option<&mut [u8]>) -> R) -> R {
    const TINY: usize = 8 << 10;
    const SMALL: usize = 24 << 10;
    const LARGE: usize = 192 << 10;
    if size <= TINY {
        return on_stack::<TINY, R>(then);
    }
    if size <= SMALL {
        return on_stack::<SMALL, R>(then);
    }
    if size <= LARGE {
        return on_stack::<LARGE, R>(then);
    }
    let Some(at) = sys::map_memory(size) else { return then(None) };
    // SAFETY: a fresh mapping of `size` zeroed bytes that nobody else knows.
    let result = then(Some(unsafe { core::slice::from_raw_parts_mut(at, size) }));
    // SAFETY: the slice is gone: `then` has returned, so nothing was executed in this process.
    unsafe { sys::unmap_memory(at, size) };
    result
}

/// A function of its own for each size: a thread's stack may be smaller than the largest.
#[inline(never)]
fn on_stack<const SIZE: usize, R>(then: impl FnOnce(Option<&mut [u8]>) -> R) -> R {
    then(Some(&mut [0; SIZE]))
}

/// The value of a variable in a list.
///
/// # Safety
/// `envp` must be null or a NULL-terminated list of strings.
pub unsafe fn find<'a>(envp: Strings, name: &[u8]) -> Option<&'a [u8]> {
    let mut at = envp;
    // SAFETY: the caller vouches for the list.
    unsafe {
        while !at.is_null() && !(*at).is_null() {
            if is_variable(*at, name) {
                return path::bytes(*at).get(name.len() + 1..);
            }
            at = at.add(1);
        }
    }
    None
}

unsafe fn is_variable(entry: *const c_char, name: &[u8]) -> bool {
    // SAFETY: the caller vouches for the entry.
    unsafe { path::bytes(entry) }.strip_prefix(name).is_some_and(|rest| rest.starts_with(b"="))
}

unsafe fn count(list: Strings) -> usize {
    let mut n = 0;
    // SAFETY: the caller vouches for the list.
    unsafe {
        while !list.is_null() && !(*list.add(n)).is_null() {
            n += 1;
        }
    }
    n
}

/// Reports that the announced execution failed.
pub fn failed(errno: u16) {
    if let Some(trace) = state::trace() {
        trace.append(EventKind::ExecFailed, 0, errno, 0, &[]);
    }
}

/// Reports a spawned child.
pub fn spawned(pid: c_int) {
    if let Some(trace) = state::trace() {
        trace.append(EventKind::Spawned, 0, 0, pid as u64, &[]);
    }
}
