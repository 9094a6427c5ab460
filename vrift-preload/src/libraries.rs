//! Libraries that the loader mapped: those of the program before the constructor ran, and those loaded later.

use core::ffi::{c_int, c_void};
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use vrift_core::event::EventKind;

use crate::path;
use crate::trace::Trace;

/// `dlpi_adds` at the last report: how many objects the loader had ever mapped.
static REPORTED: AtomicU64 = AtomicU64::new(0);

/// Reports every mapped object.
pub fn report(trace: &Trace) {
    loads();
    walk(trace, true);
}

/// Reports again if the loader has mapped anything since: `dlopen` by name, name service and character set modules.
pub fn report_new(trace: &Trace) {
    walk(trace, false);
}

struct Walk<'a> {
    trace: &'a Trace,
    first: bool,
    adds: u64,
}

fn walk(trace: &Trace, first: bool) {
    let mut walk = Walk { trace, first, adds: 0 };
    // SAFETY: `visit` has the callback's signature, and the data outlives the call.
    unsafe { libc::dl_iterate_phdr(Some(visit), (&raw mut walk).cast()) };
    REPORTED.store(walk.adds, Ordering::Relaxed);
}

unsafe extern "C" fn visit(info: *mut libc::dl_phdr_info, size: usize, data: *mut c_void) -> c_int {
    // SAFETY: the loader passes a valid record, and `walk` passed the data.
    let (info, walk) = unsafe { (&*info, &mut *data.cast::<Walk<'_>>()) };
    if size >= core::mem::offset_of!(libc::dl_phdr_info, dlpi_adds) + size_of_val(&info.dlpi_adds) {
        walk.adds = info.dlpi_adds;
        if !walk.first && walk.adds == REPORTED.load(Ordering::Relaxed) {
            return 1;
        }
    }
    // SAFETY: the name is NUL-terminated, or null.
    let name = unsafe { path::bytes(info.dlpi_name) };
    // The program itself has no name, the vDSO no slash.
    if name.starts_with(b"/") {
        walk.trace.known_path(EventKind::Library, 0, name);
    } else if name.contains(&b'/') {
        // SAFETY: as above.
        unsafe { walk.trace.path(EventKind::Library, 0, 0, path::At::cwd(info.dlpi_name)) };
    }
    0
}

#[used]
#[unsafe(link_section = ".fini_array")]
static DESTRUCTOR: extern "C" fn() = {
    extern "C" fn destructor() {
        at_exit();
    }
    destructor
};

/// To be called before the process ends or becomes another program.
pub fn at_exit() {
    let Some(trace) = crate::state::trace() else { return };
    // Walking takes the loader's lock, which stays locked for ever in a child that was forked while another thread held it.
    // One that has loaded a library since has had the lock; any other has nothing to report.
    if OWNER.load(Ordering::Relaxed) == crate::sys::getpid() {
        report_new(trace);
    }
}

/// The process that signed in, or a child of it that is loading libraries of its own.
static OWNER: AtomicU32 = AtomicU32::new(0);

/// This process uses the loader.
pub fn loads() {
    OWNER.store(crate::sys::getpid(), Ordering::Relaxed);
}
