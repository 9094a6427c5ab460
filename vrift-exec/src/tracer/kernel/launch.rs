//! `vrift-exec trace <program> <name> <arguments>`: what the shim executes in place of a program that no preload reaches.
//!
//! It becomes the program, behind a filter whose listener the process that runs the action has. Where that is not possible
//! (a sandbox, a listener above, an old kernel) it says so in the arena and becomes the program all the same.

use std::ffi::{CString, OsString};
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use vrift_core::arena::open_arena;
use vrift_core::context::{Context, Field};
use vrift_core::env;
use vrift_core::event::{EventKind, Untraced};

use super::{notify, supervisor};

/// How long the process that runs the action may take to answer at first.
const PATIENCE: Duration = Duration::from_secs(10);

/// Becomes the program. Returns only if it cannot be executed, with the status that a shell gives then.
pub fn run(args: impl Iterator<Item = OsString>) -> u8 {
    let mut args = args.filter_map(|arg| CString::new(arg.into_vec()).ok());
    let Some(program) = args.next() else { return 2 };
    let argv: Vec<CString> = args.collect();
    let context = std::env::var_os(env::CONTEXT).map(OsString::into_vec).unwrap_or_default();
    let context = Context::parse(&context).unwrap_or(Context::empty());
    if enter(context.get(Field::Arena)).is_none() {
        confess(&context, program.as_bytes());
    }
    let error = execute(&program, &argv);
    eprintln!("vrift-exec: cannot execute `{}`: {error}", program.to_string_lossy());
    if error.kind() == std::io::ErrorKind::NotFound { 127 } else { 126 }
}

/// Puts this process behind the filter of the action with this arena.
pub fn enter(arena: &[u8]) -> Option<()> {
    let mut stream = UnixStream::connect_addr(&supervisor::name(arena)?).ok()?;
    // The name is free for anybody to take: whoever answers could give this user's programs other files.
    let peer = rustix::net::sockopt::socket_peercred(&stream).ok()?;
    let runs_action = |pid: i32| arena.strip_prefix(b"/proc/").is_some_and(|rest| rest.starts_with(format!("{pid}/").as_bytes()));
    if peer.uid != rustix::process::geteuid() || !runs_action(peer.pid.as_raw_nonzero().get()) {
        return None;
    }
    // Who does not answer at all must not keep the program waiting. Behind the filter there is no way back.
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    let own = stream.as_raw_fd();
    tell(&mut stream, own)?;
    stream.set_read_timeout(None).ok()?;
    // From here on: calls that the filter lets go, and no others.
    let Ok(listener) = notify::install() else {
        // Closing this end alone would not be heard: the other side has a copy of it.
        let _ = stream.shutdown(Shutdown::Both);
        return None;
    };
    tell(&mut stream, listener.as_raw_fd())
}

fn tell(stream: &mut UnixStream, number: i32) -> Option<()> {
    let mut answer = [0];
    stream.write_all(&number.to_ne_bytes()).ok()?;
    stream.read_exact(&mut answer).ok()?;
    (answer[0] == supervisor::WELCOME).then_some(())
}

/// Says to all actions around that the program runs unseen.
fn confess(context: &Context<'_>, program: &[u8]) {
    let arenas = [context.get(Field::Arena), context.get(Field::Outer)];
    for writer in arenas.into_iter().filter_map(open_arena) {
        let reason = Untraced::StaticProgram as u64;
        writer.append(std::process::id(), EventKind::Untraced, 0, 0, reason, &[program]);
    }
}

/// Executes the program with its arguments and this process's variables, in their order, without vrift's own.
fn execute(program: &CString, argv: &[CString]) -> std::io::Error {
    unsafe extern "C" {
        static environ: *const *const libc::c_char;
    }
    let prefix = [env::CONTEXT.as_bytes(), b"="].concat();
    let mut variables = Vec::new();
    // SAFETY: `environ` is the NULL-terminated list of this process's variables, which nobody has changed.
    unsafe {
        let mut at = environ;
        while !at.is_null() && !(*at).is_null() {
            if !std::ffi::CStr::from_ptr(*at).to_bytes().starts_with(&prefix) {
                variables.push(*at);
            }
            at = at.add(1);
        }
    }
    variables.push(std::ptr::null());
    let mut args: Vec<*const libc::c_char> = argv.iter().map(|arg| arg.as_ptr()).collect();
    args.push(std::ptr::null());
    // SAFETY: both lists are NULL-terminated lists of NUL-terminated strings.
    unsafe { libc::execve(program.as_ptr(), args.as_ptr(), variables.as_ptr()) };
    std::io::Error::last_os_error()
}
