//! Executing programs, and ending.

use core::ffi::{c_char, c_int, c_long, c_void};

use libc::{FILE, pid_t};
use vrift_core::event::Untraced;

use crate::exec;
use crate::libraries;
use crate::next::{Next, errno, missing, register};
use crate::path;
use crate::search::search;
use crate::shell;
use crate::state;
use crate::sys;

type Strings = *const *const c_char;
type ExecFn = unsafe extern "C" fn(*const c_char, Strings, Strings) -> c_int;
type SpawnFn = unsafe extern "C" fn(*mut pid_t, *const c_char, *const c_void, *const c_void, Strings, Strings) -> c_int;

static EXECVE: Next = Next::new(c"execve");
static EXECVPE: Next = Next::new(c"execvpe");
register!(EXECVE);
register!(EXECVPE);

fn exec_fn(next: &Next) -> Option<ExecFn> {
    let found = next.get();
    if found.is_null() {
        missing();
        return None;
    }
    // SAFETY: `execve` and `execvpe` have this signature.
    Some(unsafe { core::mem::transmute::<*mut c_void, ExecFn>(found) })
}

/// Executes `path`, which is not searched for, by libc's `next`. Returns the error's number.
unsafe fn execute_by(next: ExecFn, path: *const c_char, argv: Strings, envp: Strings) -> c_int {
    // SAFETY: the program's own lists, by the function's contract.
    let error = unsafe {
        exec::plan(path, argv, envp, false, |plan| {
            next(plan.path, plan.argv, plan.envp);
            errno().into()
        })
    };
    exec::failed(errno());
    error
}

/// Executes `path`, which is not searched for.
unsafe fn execute(next: &Next, path: *const c_char, argv: Strings, envp: Strings) -> c_int {
    let Some(next) = exec_fn(next) else { return -1 };
    libraries::at_exit();
    // SAFETY: the program's own arguments, by the function's contract.
    unsafe { execute_by(next, path, argv, envp) };
    -1
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn execve(path: *const c_char, argv: Strings, envp: Strings) -> c_int {
    // SAFETY: the program's own arguments, passed on.
    unsafe { execute(&EXECVE, path, argv, envp) }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn execv(path: *const c_char, argv: Strings) -> c_int {
    // SAFETY: the program's own arguments, passed on.
    unsafe { execute(&EXECVE, path, argv, state::libc_environ().cast_const().cast()) }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn execvp(file: *const c_char, argv: Strings) -> c_int {
    // SAFETY: the program's own arguments, passed on.
    unsafe { execvpe(file, argv, state::libc_environ().cast_const().cast()) }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn execvpe(file: *const c_char, argv: Strings, envp: Strings) -> c_int {
    // libc's own `execvpe` still does the running: it gives scripts without a first line to the shell.
    let Some(next) = exec_fn(&EXECVPE) else { return -1 };
    libraries::at_exit();
    let unfound = || {
        // SAFETY: the program's own arguments, passed on.
        unsafe { next(file, argv, envp) };
        errno().into()
    };
    // SAFETY: as above.
    unsafe { search(file, false, |path| execute_by(next, path, argv, envp), unfound) };
    -1
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn fexecve(fd: c_int, argv: Strings, envp: Strings) -> c_int {
    let mut room = [0; path::ROOM];
    if let Some(path) = path::of_descriptor(fd, &mut room).map(<[u8]>::len).and_then(|len| room.get(..=len)) {
        let path = path.as_ptr().cast();
        // A program without a name, or whose name is another file's by now, is executed by its descriptor.
        // SAFETY: the room is zeroed behind the path.
        let same = sys::fstat(fd as isize)
            .zip(unsafe { sys::stat(path) })
            .is_some_and(|(a, b)| (a.st_dev, a.st_ino) == (b.st_dev, b.st_ino));
        if same {
            // SAFETY: as above; the program's own lists.
            return unsafe { execute(&EXECVE, path, argv, envp) };
        }
    }
    static NEXT: Next = Next::new(c"fexecve");
    let found = NEXT.get();
    if found.is_null() {
        missing();
        return -1;
    }
    // SAFETY: the signature by the man page.
    let next = unsafe { core::mem::transmute::<*mut c_void, unsafe extern "C" fn(c_int, Strings, Strings) -> c_int>(found) };
    if let Some(trace) = state::trace() {
        trace.untraced(Untraced::ForeignProgram, b"fexecve");
    }
    // SAFETY: the program's own arguments.
    unsafe { next(fd, argv, envp) }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn execveat(dir: c_int, path: *const c_char, argv: Strings, envp: Strings, flags: c_int) -> c_int {
    // SAFETY: the program's own arguments.
    let absolute = dir == libc::AT_FDCWD || unsafe { path::bytes(path) }.starts_with(b"/");
    if absolute && flags == 0 {
        // SAFETY: as above.
        return unsafe { execute(&EXECVE, path, argv, envp) };
    }
    // SAFETY: as above.
    if flags & libc::AT_EMPTY_PATH != 0 && unsafe { path::bytes(path) }.is_empty() {
        // SAFETY: as above.
        return unsafe { fexecve(dir, argv, envp) };
    }
    if let Some(trace) = state::trace() {
        trace.untraced(Untraced::UnknownSyscall, b"execveat");
    }
    // SAFETY: as above; `syscall` is libc's here or this library's, which passes it on.
    unsafe { libc::syscall(libc::SYS_execveat, dir, path, argv, envp, flags) as c_int }
}

unsafe extern "C" {
    fn vrift_execl();
    fn vrift_execlp();
    fn vrift_execle();
}

/// Defines a variadic entry that jumps to its C form with all arguments as they are.
macro_rules! jump {
    ($($name:ident => $to:ident),*) => {
        $(
            #[unsafe(no_mangle)]
            #[unsafe(naked)]
            pub unsafe extern "C" fn $name() {
                #[cfg(target_arch = "x86_64")]
                core::arch::naked_asm!("jmp {}", sym $to);
                #[cfg(target_arch = "aarch64")]
                core::arch::naked_asm!("b {}", sym $to);
            }
        )*
    };
}
jump!(execl => vrift_execl, execlp => vrift_execlp, execle => vrift_execle);

/// Spawns by libc's `next`; `path` is not searched for.
unsafe fn spawn(
    next: &Next,
    pid: *mut pid_t,
    path: *const c_char,
    actions: *const c_void,
    attributes: *const c_void,
    argv: Strings,
    envp: Strings,
) -> c_int {
    let found = next.get();
    if found.is_null() {
        return libc::ENOSYS;
    }
    // SAFETY: `posix_spawn` and its relatives have this signature.
    let next: SpawnFn = unsafe { core::mem::transmute(found) };
    // SAFETY: the program's own arguments, by the function's contract.
    unsafe {
        let mut child = 0;
        let result = exec::plan(path, argv, envp, super::actions::elsewhere(actions), |plan| {
            next(&raw mut child, plan.path, actions, attributes, plan.argv, plan.envp)
        });
        if result != 0 {
            exec::failed(result as u16);
            return result;
        }
        if !pid.is_null() {
            *pid = child;
        }
        exec::spawned(child);
        0
    }
}

/// Spawns what is found nowhere.
unsafe fn unfound(
    next: &Next,
    pid: *mut pid_t,
    file: *const c_char,
    actions: *const c_void,
    attributes: *const c_void,
    argv: Strings,
    envp: Strings,
) -> c_int {
    let found = next.get();
    if found.is_null() {
        return libc::ENOSYS;
    }
    // SAFETY: `posix_spawnp` and its relatives have this signature; the program's own arguments.
    unsafe { core::mem::transmute::<*mut c_void, SpawnFn>(found)(pid, file, actions, attributes, argv, envp) }
}

macro_rules! spawns {
    ($($name:ident, $text:literal, $searched:expr;)*) => {
        $(
            #[unsafe(no_mangle)]
            pub unsafe extern "C" fn $name(pid: *mut pid_t, file: *const c_char, actions: *const c_void, attributes: *const c_void, argv: Strings, envp: Strings) -> c_int {
                static NEXT: Next = Next::new($text);
                // SAFETY: the program's own arguments, passed on.
                unsafe {
                    if $searched {
                        search(
                            file,
                            super::actions::elsewhere(actions),
                            |path| spawn(&NEXT, pid, path, actions, attributes, argv, envp),
                            || unfound(&NEXT, pid, file, actions, attributes, argv, envp),
                        )
                    } else {
                        spawn(&NEXT, pid, file, actions, attributes, argv, envp)
                    }
                }
            }
        )*
    };
}
spawns! {
    posix_spawn, c"posix_spawn", false;
    posix_spawnp, c"posix_spawnp", true;
}

/// The forms that give a descriptor instead of a pid (glibc 2.39): the child's pid stays unknown, its sign-in is enough.
unsafe fn spawn_descriptor(
    next: &Next,
    fd: *mut c_int,
    path: *const c_char,
    actions: *const c_void,
    attributes: *const c_void,
    argv: Strings,
    envp: Strings,
) -> c_int {
    let found = next.get();
    if found.is_null() {
        return libc::ENOSYS;
    }
    // SAFETY: `pidfd_spawn` and `pidfd_spawnp` have this signature.
    let next: SpawnFn = unsafe { core::mem::transmute(found) };
    // SAFETY: the program's own arguments, by the function's contract.
    unsafe {
        let result = exec::plan(path, argv, envp, super::actions::elsewhere(actions), |plan| {
            next(fd, plan.path, actions, attributes, plan.argv, plan.envp)
        });
        if result == 0 {
            exec::spawned(0)
        } else {
            exec::failed(result as u16)
        }
        result
    }
}

macro_rules! weak_spawns {
    ($($name:ident, $text:literal, $searched:expr;)*) => {
        $(
            #[unsafe(no_mangle)]
            pub unsafe extern "C" fn $name(fd: *mut c_int, file: *const c_char, actions: *const c_void, attributes: *const c_void, argv: Strings, envp: Strings) -> c_int {
                static NEXT: Next = Next::new($text);
                // SAFETY: the program's own arguments, passed on.
                unsafe {
                    if $searched {
                        search(
                            file,
                            super::actions::elsewhere(actions),
                            |path| spawn_descriptor(&NEXT, fd, path, actions, attributes, argv, envp),
                            || unfound(&NEXT, fd, file, actions, attributes, argv, envp),
                        )
                    } else {
                        spawn_descriptor(&NEXT, fd, file, actions, attributes, argv, envp)
                    }
                }
            }
        )*
    };
}
weak_spawns! {
    pidfd_spawn, c"pidfd_spawn", false;
    pidfd_spawnp, c"pidfd_spawnp", true;
}

/// Announces the shell that libc is about to start by itself.
fn announce_shell() {
    if let Some(trace) = state::trace() {
        trace.append(vrift_core::event::EventKind::Exec, 0, 0, 0, &[b"/bin/sh"]);
        trace.append(vrift_core::event::EventKind::Spawned, 0, 0, 0, &[]);
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn system(command: *const c_char) -> c_int {
    static NEXT: Next = Next::new(c"system");
    let found = NEXT.get();
    if found.is_null() {
        missing();
        return -1;
    }
    // SAFETY: the signature by the man page.
    let next: unsafe extern "C" fn(*const c_char) -> c_int = unsafe { core::mem::transmute(found) };
    if !command.is_null() {
        announce_shell();
    }
    // SAFETY: the program's own argument.
    shell::with_environment(|| unsafe { next(command) })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn popen(command: *const c_char, kind: *const c_char) -> *mut FILE {
    static NEXT: Next = Next::new(c"popen");
    let found = NEXT.get();
    if found.is_null() {
        missing();
        return core::ptr::null_mut();
    }
    // SAFETY: the signature by the man page.
    let next: unsafe extern "C" fn(*const c_char, *const c_char) -> *mut FILE = unsafe { core::mem::transmute(found) };
    announce_shell();
    // SAFETY: the program's own arguments.
    shell::with_environment(|| unsafe { next(command, kind) })
}

/// A forked child may only do what needs no lock, which finding functions does.
macro_rules! forks {
    ($($name:ident, $text:literal;)*) => {
        $(
            #[unsafe(no_mangle)]
            pub unsafe extern "C" fn $name() -> pid_t {
                static NEXT: Next = Next::new($text);
                crate::next::find_all();
                let found = NEXT.get();
                if found.is_null() {
                    missing();
                    return -1;
                }
                // SAFETY: the signature by the man page.
                let pid = unsafe { core::mem::transmute::<*mut c_void, unsafe extern "C" fn() -> pid_t>(found)() };
                if pid == 0 {
                    crate::cwd::begin();
                }
                pid
            }
        )*
    };
}
forks! {
    fork, c"fork";
    _Fork, c"_Fork";
}

macro_rules! ends {
    ($($name:ident),*) => {
        $(
            #[unsafe(no_mangle)]
            pub unsafe extern "C" fn $name(status: c_int) -> ! {
                libraries::at_exit();
                // SAFETY: `exit_group` takes a number and does not return.
                unsafe { crate::sys::call(libc::SYS_exit_group, [status as usize, 0, 0, 0, 0, 0]) };
                // SAFETY: the process has ended.
                unsafe { core::hint::unreachable_unchecked() }
            }
        )*
    };
}
// `_exit` is nothing but this system call, so that the next definition need not be asked.
ends!(_exit, _Exit);

crate::next::hooks! {
    fn wordexp(words: *const c_char, found: *mut c_void, flags: c_int) -> c_int { |next, trace| { trace.untraced(Untraced::ForeignProgram, b"wordexp"); next(words, found, flags) } }
    // What another process does by this one's hand nobody reports.
    fn ptrace(request: c_long, pid: c_long, address: *mut c_void, data: *mut c_void) -> c_long { |next, trace| { trace.untraced(Untraced::UnknownSyscall, b"ptrace"); next(request, pid, address, data) } }
}
