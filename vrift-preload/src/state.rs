//! What this process knows of vrift: read once, then constant.
//!
//! The context and the preload are taken out of the environment as soon as they are read, so that the program sees the
//! environment that it would have without vrift; [`crate::exec`] adds them again for each program that it executes.

use core::cell::UnsafeCell;
use core::ffi::{CStr, c_char};
use core::mem::MaybeUninit;
use core::sync::atomic::{AtomicBool, AtomicU8, Ordering};

use vrift_core::arena::{SharedMap, Writer};
use vrift_core::context::{Context, Field, mode};
use vrift_core::env;

use crate::path;
use crate::sys;
use crate::trace::Trace;

/// Room for the context's value and for the rest of a shared `LD_PRELOAD`.
const CONTEXT_ROOM: usize = 16 << 10;
const PRELOAD_ROOM: usize = 4 << 10;

/// Written by one thread in [`initialise`], constant afterwards.
pub struct State {
    context: Option<Context<'static>>,
    trace: Option<Trace>,
}

struct Slot {
    phase: AtomicU8,
    state: UnsafeCell<MaybeUninit<State>>,
    context: UnsafeCell<[u8; CONTEXT_ROOM]>,
    preload: UnsafeCell<[u8; PRELOAD_ROOM]>,
}

// SAFETY: the cells are written by the one thread that moves `phase` from EMPTY to BUSY, and read only once it is READY.
unsafe impl Sync for Slot {}

const EMPTY: u8 = 0;
const BUSY: u8 = 1;
const READY: u8 = 2;

static SLOT: Slot = Slot {
    phase: AtomicU8::new(EMPTY),
    state: UnsafeCell::new(MaybeUninit::uninit()),
    context: UnsafeCell::new([0; CONTEXT_ROOM]),
    preload: UnsafeCell::new([0; PRELOAD_ROOM]),
};

/// Cleared once a library from outside the toolchain was loaded: from then on `getcwd` tells the truth to whoever asks.
static PORTABLE_CWD: AtomicBool = AtomicBool::new(true);

#[used]
#[unsafe(link_section = ".init_array")]
static CONSTRUCTOR: extern "C" fn() = {
    extern "C" fn constructor() {
        get();
    }
    constructor
};

/// The process's state. A hook that runs before the constructor initialises it; one that runs while another thread does
/// gets nothing and goes on untraced.
fn get() -> Option<&'static State> {
    if SLOT.phase.load(Ordering::Acquire) != READY {
        if SLOT.phase.compare_exchange(EMPTY, BUSY, Ordering::Acquire, Ordering::Relaxed).is_err() {
            return None;
        }
        // SAFETY: the exchange made this thread the only one here, ever.
        let state = unsafe { initialise() };
        // SAFETY: as above.
        unsafe { (*SLOT.state.get()).write(state) };
        SLOT.phase.store(READY, Ordering::Release);
        if let Some(trace) = trace() {
            trace.sign_in();
        }
    }
    // SAFETY: READY is stored behind the write, and nothing is written any more.
    Some(unsafe { (*SLOT.state.get()).assume_init_ref() })
}

/// The trace to append to, if this process is part of an action.
pub fn trace() -> Option<&'static Trace> {
    get()?.trace.as_ref()
}

/// The context, if this process runs under vrift at all.
pub fn context() -> Option<&'static Context<'static>> {
    get()?.context.as_ref()
}

/// The folder that stands for the current one wherever that is.
pub const PORTABLE: &CStr = c"/proc/self/cwd";

/// Whether paths below [`PORTABLE`] were given to this program on purpose.
pub fn has_portable_paths() -> bool {
    context().is_some_and(|context| context.has(mode::PORTABLE_CWD))
}

/// Whether `getcwd` answers [`PORTABLE`].
pub fn portable_cwd() -> bool {
    PORTABLE_CWD.load(Ordering::Relaxed) && has_portable_paths()
}

/// A library was loaded from `file`. One from outside the toolchain may ask for the current folder for reasons of its own.
pub fn library_loaded(file: &[u8]) {
    let toolchain = context().map(|c| c.get(Field::Rustup)).filter(|root| !root.is_empty());
    let trusted = toolchain.is_some_and(|root| file.starts_with(root)) || file.starts_with(b"/usr/") || file.starts_with(b"/lib");
    if !trusted && file.contains(&b'/') {
        PORTABLE_CWD.store(false, Ordering::Relaxed);
    }
}

/// # Safety
/// To be called once.
unsafe fn initialise() -> State {
    let mut state = State { context: None, trace: None };
    // SAFETY: `environ` is null or the NULL-terminated list of this process's variables; this early in the process's life
    // no other thread changes it.
    let Some(found) = (unsafe { take_context() }) else { return state };
    let Some(context) = Context::parse(found) else { return state };
    // SAFETY: as above.
    unsafe { take_preload(context.get(Field::Shim)) };
    crate::cwd::begin();
    state.trace = Trace::new(attach(context.get(Field::Arena)), attach(context.get(Field::Outer)));
    state.context = Some(context);
    state
}

/// Takes the context's variable out of the environment; its value is copied to a place of our own.
unsafe fn take_context() -> Option<&'static [u8]> {
    // SAFETY: the caller vouches for `environ`.
    let entry = unsafe { find_entry(env::CONTEXT.as_bytes()) }?;
    // SAFETY: entries are NUL-terminated strings.
    let value = unsafe { path::bytes(*entry) }.get(env::CONTEXT.len() + 1..)?;
    // SAFETY: this thread alone is in `initialise`.
    let room = unsafe { &mut *SLOT.context.get() };
    let room = room.get_mut(..value.len())?;
    room.copy_from_slice(value);
    // SAFETY: `entry` is inside `environ`.
    unsafe { remove_entry(entry) };
    Some(room)
}

/// Takes this library out of `LD_PRELOAD`; what else the variable names stays.
unsafe fn take_preload(shim: &[u8]) {
    const NAME: &[u8] = b"LD_PRELOAD";
    // SAFETY: the caller vouches for `environ`.
    let Some(entry) = (unsafe { find_entry(NAME) }) else { return };
    // SAFETY: entries are NUL-terminated strings.
    let value = unsafe { path::bytes(*entry) }.get(NAME.len() + 1..).unwrap_or(b"");
    // SAFETY: this thread alone is in `initialise`.
    let room = unsafe { &mut *SLOT.preload.get() };
    let mut len = 0;
    let mut push = |bytes: &[u8]| {
        if let Some(to) = room.get_mut(len..len + bytes.len()) {
            to.copy_from_slice(bytes);
            len += bytes.len();
        }
    };
    push(NAME);
    push(b"=");
    let mut any = false;
    for part in value.split(|c| matches!(c, b':' | b' ')).filter(|part| !part.is_empty() && *part != shim) {
        if any {
            push(b":");
        }
        push(part);
        any = true;
    }
    push(b"\0");
    if !any {
        // SAFETY: `entry` is inside `environ`.
        unsafe { remove_entry(entry) };
        return;
    }
    // SAFETY: `entry` is inside `environ`; the room is static and NUL-terminated.
    unsafe { *entry = room.as_mut_ptr().cast::<c_char>() };
}

/// The place in `environ` of the variable `name`.
unsafe fn find_entry(name: &[u8]) -> Option<*mut *mut c_char> {
    // SAFETY: the caller vouches for `environ`: a NULL-terminated list, or null.
    unsafe {
        let mut at = libc_environ();
        if at.is_null() {
            return None;
        }
        while !(*at).is_null() {
            if path::bytes(*at).strip_prefix(name).is_some_and(|rest| rest.starts_with(b"=")) {
                return Some(at);
            }
            at = at.add(1);
        }
        None
    }
}

/// Closes the gap over `entry`.
unsafe fn remove_entry(mut entry: *mut *mut c_char) {
    // SAFETY: `entry` is inside a NULL-terminated list; the loop stops once NULL has moved.
    unsafe {
        while !(*entry).is_null() {
            *entry = *entry.add(1);
            entry = entry.add(1);
        }
    }
}

/// `environ`: libc's list of variables.
pub fn libc_environ() -> *mut *mut c_char {
    // SAFETY: reads a pointer-sized global that libc defines.
    unsafe { *environ_place() }
}

/// Where libc keeps `environ`.
pub fn environ_place() -> *mut *mut *mut c_char {
    unsafe extern "C" {
        static mut environ: *mut *mut c_char;
    }
    &raw mut environ
}

fn attach(arena: &[u8]) -> Option<Writer> {
    let mut name = [0_u8; 256];
    name.get_mut(..arena.len())?.copy_from_slice(arena);
    if arena.is_empty() || arena.len() >= name.len() {
        return None;
    }
    // SAFETY: the name is NUL-terminated by the zeroes behind it.
    let fd = unsafe { sys::openat(libc::AT_FDCWD, name.as_ptr().cast(), libc::O_RDWR) };
    if fd < 0 {
        return None;
    }
    let len = sys::fstat(fd).map_or(0, |stat| stat.st_size as usize);
    let map = if len == 0 { None } else { SharedMap::new(fd as i32, len) };
    sys::close(fd);
    Writer::new(map?).ok()
}
