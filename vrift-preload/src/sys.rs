//! Raw system calls. Results are the kernel's: a negative number is `-errno`. `errno` itself is never touched.

use core::ffi::{CStr, c_char, c_int, c_long, c_void};

/// A system call with up to six arguments.
///
/// # Safety
/// The arguments must be valid for the call, as its man page says.
#[cfg(target_arch = "x86_64")]
pub unsafe fn call(number: c_long, args: [usize; 6]) -> isize {
    let result;
    // SAFETY: the x86_64 convention: number in rax, arguments in rdi, rsi, rdx, r10, r8, r9; rcx and r11 are lost.
    unsafe {
        core::arch::asm!("syscall", inlateout("rax") number as isize => result, in("rdi") args[0], in("rsi") args[1],
            in("rdx") args[2], in("r10") args[3], in("r8") args[4], in("r9") args[5],
            lateout("rcx") _, lateout("r11") _, options(nostack));
    }
    result
}

/// A system call with up to six arguments.
///
/// # Safety
/// The arguments must be valid for the call, as its man page says.
#[cfg(target_arch = "aarch64")]
pub unsafe fn call(number: c_long, args: [usize; 6]) -> isize {
    let result;
    // SAFETY: the aarch64 convention: number in x8, arguments in x0 to x5.
    unsafe {
        core::arch::asm!("svc 0", in("x8") number, inlateout("x0") args[0] => result, in("x1") args[1], in("x2") args[2],
            in("x3") args[3], in("x4") args[4], in("x5") args[5], options(nostack));
    }
    result
}

/// The process. Asked anew each time: a `vfork` child shares its parent's memory.
pub fn getpid() -> u32 {
    // SAFETY: takes no arguments.
    unsafe { call(libc::SYS_getpid, [0; 6]) as u32 }
}

/// Opens relative to `dir`; `path` is NUL-terminated.
///
/// # Safety
/// `path` must point to a NUL-terminated string.
pub unsafe fn openat(dir: c_int, path: *const c_char, flags: c_int) -> isize {
    // SAFETY: the caller vouches for `path`; without O_CREAT no mode is read.
    unsafe { call(libc::SYS_openat, [dir as usize, path as usize, (flags | libc::O_CLOEXEC) as usize, 0, 0, 0]) }
}

pub fn close(fd: isize) {
    // SAFETY: closes a descriptor that this crate opened.
    unsafe { call(libc::SYS_close, [fd as usize, 0, 0, 0, 0, 0]) };
}

/// Reads at an offset; returns how many bytes came.
pub fn pread(fd: isize, buffer: &mut [u8], offset: u64) -> usize {
    // SAFETY: the buffer is valid for its length.
    let read =
        unsafe { call(libc::SYS_pread64, [fd as usize, buffer.as_mut_ptr() as usize, buffer.len(), offset as usize, 0, 0]) };
    usize::try_from(read).unwrap_or(0)
}

/// Folder entries, raw; 0 at the end.
pub fn getdents(fd: isize, buffer: &mut [u8]) -> usize {
    // SAFETY: the buffer is valid for its length.
    let read = unsafe { call(libc::SYS_getdents64, [fd as usize, buffer.as_mut_ptr() as usize, buffer.len(), 0, 0, 0]) };
    usize::try_from(read).unwrap_or(0)
}

/// The current folder without its NUL; `None` where it is unreachable or too long.
pub fn getcwd(buffer: &mut [u8]) -> Option<&[u8]> {
    // SAFETY: the buffer is valid for its length.
    let len = unsafe { call(libc::SYS_getcwd, [buffer.as_mut_ptr() as usize, buffer.len(), 0, 0, 0, 0]) };
    let len = usize::try_from(len).ok()?.checked_sub(1)?;
    // The kernel writes "(unreachable)/…" for a folder outside the root.
    buffer.get(..len).filter(|path| path.first() == Some(&b'/'))
}

/// A link's target; `None` where it is none or fills the buffer.
pub fn readlink<'a>(path: &CStr, buffer: &'a mut [u8]) -> Option<&'a [u8]> {
    let at = libc::AT_FDCWD as usize;
    // SAFETY: both buffers are valid for their lengths.
    let len =
        unsafe { call(libc::SYS_readlinkat, [at, path.as_ptr() as usize, buffer.as_mut_ptr() as usize, buffer.len(), 0, 0]) };
    let len = usize::try_from(len).ok().filter(|len| *len < buffer.len())?;
    buffer.get(..len)
}

/// `access` with `mode`: 0 or `-errno`.
///
/// # Safety
/// `path` must point to a NUL-terminated string.
pub unsafe fn access(dir: c_int, path: *const c_char, mode: c_int) -> isize {
    // SAFETY: the caller vouches for `path`.
    unsafe { call(libc::SYS_faccessat, [dir as usize, path as usize, mode as usize, 0, 0, 0]) }
}

/// Whether the path leads to a file with content: no folder, pipe or device.
///
/// # Safety
/// `path` must point to a NUL-terminated string.
pub unsafe fn is_file(path: *const c_char) -> bool {
    // SAFETY: the caller vouches for `path`.
    unsafe { stat(path) }.is_some_and(|stat| stat.st_mode & libc::S_IFMT == libc::S_IFREG)
}

/// `stat`.
///
/// # Safety
/// `path` must point to a NUL-terminated string.
pub unsafe fn stat(path: *const c_char) -> Option<libc::stat> {
    // SAFETY: the caller vouches for `path`.
    unsafe { stat_at(libc::AT_FDCWD, path, 0) }
}

/// `fstatat`.
///
/// # Safety
/// `path` must point to a NUL-terminated string.
pub unsafe fn stat_at(dir: c_int, path: *const c_char, flags: c_int) -> Option<libc::stat> {
    // SAFETY: the caller vouches for `path`.
    unsafe { look_at(dir, path, flags) }.ok()
}

/// `fstatat`; or the error's number, EFAULT where `path` cannot be read.
///
/// # Safety
/// `path` must not point into memory that is being changed.
pub unsafe fn look_at(dir: c_int, path: *const c_char, flags: c_int) -> Result<libc::stat, c_int> {
    let mut stat = core::mem::MaybeUninit::<libc::stat>::zeroed();
    let args = [dir as usize, path as usize, stat.as_mut_ptr() as usize, flags as usize, 0, 0];
    // SAFETY: the kernel checks `path`; the buffer as for `fstat`.
    let result = unsafe { call(libc::SYS_newfstatat, args) };
    // SAFETY: as for `fstat`.
    if result == 0 { Ok(unsafe { stat.assume_init() }) } else { Err((-result) as c_int) }
}

/// Eight bytes of this process's memory; `None` where there are none.
///
/// # Safety
/// Nobody may be changing them.
pub unsafe fn word(address: usize) -> Option<u64> {
    let mut word = 0_u64;
    let local = libc::iovec { iov_base: (&raw mut word).cast(), iov_len: 8 };
    let remote = libc::iovec { iov_base: address as *mut c_void, iov_len: 8 };
    let args = [getpid() as usize, (&raw const local) as usize, 1, (&raw const remote) as usize, 1, 0];
    // SAFETY: the local buffer is valid for its length; the kernel checks the other one.
    (unsafe { call(libc::SYS_process_vm_readv, args) } == 8).then_some(word)
}

/// `fstat`.
pub fn fstat(fd: isize) -> Option<libc::stat> {
    let mut stat = core::mem::MaybeUninit::<libc::stat>::zeroed();
    // SAFETY: the buffer is a `struct stat`, whose layout is the kernel's on 64-bit Linux.
    let result = unsafe { call(libc::SYS_fstat, [fd as usize, stat.as_mut_ptr() as usize, 0, 0, 0, 0]) };
    // SAFETY: all-zero is a valid `struct stat`, and the kernel has filled it in on success.
    (result == 0).then(|| unsafe { stat.assume_init() })
}

/// Real and effective user.
pub fn users() -> (u32, u32) {
    // SAFETY: neither takes arguments.
    unsafe { (call(libc::SYS_getuid, [0; 6]) as u32, call(libc::SYS_geteuid, [0; 6]) as u32) }
}

/// Effective user and group.
pub fn effective_ids() -> (u32, u32) {
    // SAFETY: neither takes arguments.
    unsafe { (call(libc::SYS_geteuid, [0; 6]) as u32, call(libc::SYS_getegid, [0; 6]) as u32) }
}

/// Whether the file has capabilities attached.
pub fn has_capabilities(fd: isize) -> bool {
    let name = c"security.capability".as_ptr() as usize;
    // SAFETY: a size of 0 asks for the attribute's length alone; the name is NUL-terminated.
    unsafe { call(libc::SYS_fgetxattr, [fd as usize, name, 0, 0, 0, 0]) > 0 }
}

/// Anonymous memory; `None` where there is none.
pub fn map_memory(len: usize) -> Option<*mut u8> {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: a fresh private mapping at an address of the kernel's choice touches no existing memory.
    let at = unsafe { call(libc::SYS_mmap, [0, len, protection as usize, flags as usize, usize::MAX, 0]) };
    (at > 0).then_some(at as *mut u8)
}

/// Gives back what [`map_memory`] gave.
///
/// # Safety
/// `at` and `len` must be such a mapping, no longer used.
pub unsafe fn unmap_memory(at: *mut u8, len: usize) {
    // SAFETY: the caller vouches for the range.
    unsafe { call(libc::SYS_munmap, [at as usize, len, 0, 0, 0, 0]) };
}
