//! `syscall(2)`, libc's way around its own wrappers.
//!
//! The hook takes note and jumps on: calls such as `clone` and `vfork` must return to their caller's very frame. What a call
//! with a path will give is found out beforehand.

use core::ffi::{c_char, c_int, c_long, c_void};
use core::sync::atomic::{AtomicPtr, Ordering};

use vrift_core::event::{EventKind, Untraced};

use super::ahead;
use crate::cwd;
use crate::next::Next;
use crate::path::At;
use crate::state;
use crate::sys;
use crate::trace::Trace;
use crate::vdir;

static SYSCALL: Next = Next::new(c"syscall");
static TARGET_SYSCALL: AtomicPtr<c_void> = AtomicPtr::new(core::ptr::null_mut());

unsafe extern "C" fn note_syscall(number: c_long, a: usize, b: usize, c: usize, d: usize, e: usize) {
    if forks(number) {
        crate::next::find_all();
    }
    if TARGET_SYSCALL.load(Ordering::Relaxed).is_null() {
        TARGET_SYSCALL.store(SYSCALL.get(), Ordering::Relaxed);
    }
    leave_map(number);
    // SAFETY: the program's own arguments, read as the call would read them.
    unsafe {
        if number == libc::SYS_clone && super::identity::leaves(a) || number == libc::SYS_clone3 && clones_elsewhere(a) {
            super::identity::elsewhere(state::trace(), b"clone", || ());
        }
        if let Some(trace) = state::trace().filter(|_| !is_harmless(number)) {
            note(trace, number, [a, b, c, d, e]);
        }
    }
}

/// Whether `clone3` is asked for a child that sees other files, users or processes; `flags` come first in its arguments.
unsafe fn clones_elsewhere(args: usize) -> bool {
    /// A child in another time namespace; `clone` takes no such flag.
    const NEWTIME: u64 = 0x80;
    // SAFETY: the caller vouches for nothing: the kernel looks.
    unsafe { sys::word(args) }.is_some_and(|flags| flags & NEWTIME != 0 || super::identity::leaves(flags as usize))
}

/// Calls behind which this process's current folder is not known any more, or other files are seen.
fn leave_map(number: c_long) {
    match number {
        libc::SYS_chdir | libc::SYS_fchdir => cwd::lose(),
        libc::SYS_chroot
        | libc::SYS_pivot_root
        | libc::SYS_unshare
        | libc::SYS_setns
        | libc::SYS_setuid
        | libc::SYS_setreuid
        | libc::SYS_setresuid
        | libc::SYS_setfsuid
        | libc::SYS_capset
        | libc::SYS_seccomp
        | libc::SYS_landlock_restrict_self => vdir::turn_off(),
        _ => {}
    }
}

/// Calls that touch no file by name: memory, threads, time, signals, open descriptors.
fn is_harmless(number: c_long) -> bool {
    matches!(
        number,
        libc::SYS_futex
            | libc::SYS_gettid
            | libc::SYS_getpid
            | libc::SYS_getppid
            | libc::SYS_tgkill
            | libc::SYS_tkill
            | libc::SYS_getrandom
            | libc::SYS_read
            | libc::SYS_write
            | libc::SYS_readv
            | libc::SYS_writev
            | libc::SYS_pread64
            | libc::SYS_pwrite64
            | libc::SYS_preadv
            | libc::SYS_pwritev
            | libc::SYS_preadv2
            | libc::SYS_pwritev2
            | libc::SYS_lseek
            | libc::SYS_close
            | libc::SYS_close_range
            | libc::SYS_dup
            | libc::SYS_dup3
            | libc::SYS_fcntl
            | libc::SYS_ioctl
            | libc::SYS_fstat
            | libc::SYS_ftruncate
            | libc::SYS_fallocate
            | libc::SYS_fsync
            | libc::SYS_fdatasync
            | libc::SYS_syncfs
            | libc::SYS_copy_file_range
            | libc::SYS_sendfile
            | libc::SYS_splice
            | libc::SYS_tee
            | libc::SYS_vmsplice
            | libc::SYS_fadvise64
            | libc::SYS_readahead
            | libc::SYS_mmap
            | libc::SYS_munmap
            | libc::SYS_mremap
            | libc::SYS_mprotect
            | libc::SYS_madvise
            | libc::SYS_mlock
            | libc::SYS_mlock2
            | libc::SYS_munlock
            | libc::SYS_brk
            | libc::SYS_memfd_create
            | libc::SYS_membarrier
            | libc::SYS_rseq
            | libc::SYS_set_robust_list
            | libc::SYS_get_robust_list
            | libc::SYS_set_mempolicy
            | libc::SYS_get_mempolicy
            | libc::SYS_mbind
            | libc::SYS_getcpu
            | libc::SYS_sched_yield
            | libc::SYS_sched_getaffinity
            | libc::SYS_sched_setaffinity
            | libc::SYS_sched_setattr
            | libc::SYS_sched_getattr
            | libc::SYS_prctl
            | libc::SYS_prlimit64
            | libc::SYS_getrusage
            | libc::SYS_ioprio_set
            | libc::SYS_ioprio_get
            | libc::SYS_clock_gettime
            | libc::SYS_clock_nanosleep
            | libc::SYS_nanosleep
            | libc::SYS_timerfd_create
            | libc::SYS_timer_create
            | libc::SYS_eventfd2
            | libc::SYS_signalfd4
            | libc::SYS_pipe2
            | libc::SYS_epoll_create1
            | libc::SYS_epoll_ctl
            | libc::SYS_epoll_pwait
            | libc::SYS_epoll_pwait2
            | libc::SYS_ppoll
            | libc::SYS_pselect6
            | libc::SYS_rt_sigaction
            | libc::SYS_rt_sigprocmask
            | libc::SYS_rt_sigpending
            | libc::SYS_rt_sigtimedwait
            | libc::SYS_rt_sigqueueinfo
            | libc::SYS_rt_tgsigqueueinfo
            | libc::SYS_sigaltstack
            | libc::SYS_pidfd_open
            | libc::SYS_pidfd_send_signal
            | libc::SYS_waitid
            | libc::SYS_wait4
            | libc::SYS_kill
            | libc::SYS_exit
            | libc::SYS_exit_group
            | libc::SYS_clone
            | libc::SYS_clone3
            | libc::SYS_setpriority
            | libc::SYS_getpriority
            | libc::SYS_landlock_create_ruleset
            | libc::SYS_seccomp
            | libc::SYS_capget
            | libc::SYS_capset
            | libc::SYS_getuid
            | libc::SYS_geteuid
            | libc::SYS_getgid
            | libc::SYS_getegid
            | libc::SYS_getresuid
            | libc::SYS_getresgid
            | libc::SYS_setresuid
            | libc::SYS_setresgid
            | libc::SYS_setgroups
            | libc::SYS_getgroups
            | libc::SYS_uname
            | libc::SYS_sysinfo
            | libc::SYS_kcmp
            | libc::SYS_perf_event_open
            | libc::SYS_socketpair
            | libc::SYS_shmget
            | libc::SYS_shmat
            | libc::SYS_shmdt
            | libc::SYS_shmctl
    ) || is_harmless_here(number)
}

fn forks(number: c_long) -> bool {
    #[cfg(target_arch = "x86_64")]
    if number == libc::SYS_fork {
        return true;
    }
    number == libc::SYS_clone || number == libc::SYS_clone3
}

#[cfg(target_arch = "x86_64")]
fn is_harmless_here(number: c_long) -> bool {
    matches!(
        number,
        libc::SYS_arch_prctl
            | libc::SYS_fork
            | libc::SYS_vfork
            | libc::SYS_poll
            | libc::SYS_select
            | libc::SYS_epoll_wait
            | libc::SYS_pipe
            | libc::SYS_dup2
            | libc::SYS_getpgrp
            | libc::SYS_time
            | libc::SYS_gettimeofday
    )
}

#[cfg(not(target_arch = "x86_64"))]
fn is_harmless_here(_number: c_long) -> bool {
    false
}

unsafe fn note(trace: &Trace, number: c_long, args: [usize; 5]) {
    let text = |arg: usize| arg as *const c_char;
    let first = At::cwd(text(args[0]));
    let second = At { dir: args[0] as c_int, path: text(args[1]) };
    let third = At { dir: args[2] as c_int, path: text(args[3]) };
    // SAFETY: the program's own arguments, read as the call would read them.
    unsafe {
        match number {
            libc::SYS_openat => ahead::open(trace, second, args[2] as c_int),
            libc::SYS_openat2 => open2(trace, second, args[2]),
            libc::SYS_statx => looks(trace, second, args[2] as c_int),
            libc::SYS_newfstatat => looks(trace, second, args[3] as c_int),
            libc::SYS_faccessat | libc::SYS_faccessat2 => probes(trace, EventKind::Access, second),
            libc::SYS_readlinkat => probes(trace, EventKind::Readlink, second),
            libc::SYS_getdents64 => trace.descriptor(EventKind::List, args[0] as c_int),
            libc::SYS_mkdirat => ahead::make(trace, EventKind::Mkdir, second),
            libc::SYS_unlinkat => ahead::remove(trace, second, args[2] as c_int & libc::AT_REMOVEDIR != 0),
            libc::SYS_renameat => ahead::rename(trace, second, third, 0),
            libc::SYS_renameat2 => ahead::rename(trace, second, third, args[4] as u32),
            libc::SYS_linkat => ahead::link(trace, second, third, args[4] as c_int),
            libc::SYS_symlinkat => ahead::make(trace, EventKind::LinkTo, At { dir: args[1] as c_int, path: text(args[2]) }),
            libc::SYS_fchmodat => ahead::modify(trace, second, 0),
            libc::SYS_fchownat => ahead::modify(trace, second, args[4] as c_int),
            libc::SYS_utimensat => ahead::modify(trace, second, args[3] as c_int),
            libc::SYS_truncate => ahead::modify(trace, first, 0),
            libc::SYS_chdir => probes(trace, EventKind::Stat, first),
            libc::SYS_io_uring_setup => trace.untraced(Untraced::AsyncQueue, b""),
            libc::SYS_connect | libc::SYS_sendto | libc::SYS_bind => trace.untraced(Untraced::Network, b""),
            libc::SYS_execve => trace.append(EventKind::Exec, 0, 0, 0, &[crate::path::bytes(text(args[0]))]),
            _ => note_here(trace, number, args),
        }
    }
}

/// The calls that only older architectures have.
#[cfg(target_arch = "x86_64")]
unsafe fn note_here(trace: &Trace, number: c_long, args: [usize; 5]) {
    let first = At::cwd(args[0] as *const c_char);
    let second = At::cwd(args[1] as *const c_char);
    // SAFETY: the program's own arguments, read as the call would read them.
    unsafe {
        match number {
            libc::SYS_open => ahead::open(trace, first, args[1] as c_int),
            libc::SYS_creat => ahead::open(trace, first, libc::O_WRONLY | libc::O_CREAT | libc::O_TRUNC),
            libc::SYS_stat => looks(trace, first, 0),
            libc::SYS_lstat => looks(trace, first, libc::AT_SYMLINK_NOFOLLOW),
            libc::SYS_access => probes(trace, EventKind::Access, first),
            libc::SYS_readlink => probes(trace, EventKind::Readlink, first),
            libc::SYS_mkdir => ahead::make(trace, EventKind::Mkdir, first),
            libc::SYS_unlink => ahead::remove(trace, first, false),
            libc::SYS_rmdir => ahead::remove(trace, first, true),
            libc::SYS_rename => ahead::rename(trace, first, second, 0),
            libc::SYS_link => ahead::link(trace, first, second, 0),
            libc::SYS_symlink => ahead::make(trace, EventKind::LinkTo, second),
            libc::SYS_chmod | libc::SYS_chown | libc::SYS_utime | libc::SYS_utimes => ahead::modify(trace, first, 0),
            libc::SYS_lchown => ahead::modify(trace, first, libc::AT_SYMLINK_NOFOLLOW),
            _ => unknown(trace, number),
        }
    }
}

#[cfg(not(target_arch = "x86_64"))]
unsafe fn note_here(trace: &Trace, number: c_long, _args: [usize; 5]) {
    unknown(trace, number);
}

fn unknown(trace: &Trace, number: c_long) {
    // The number in words of one digit each would be of no use to a reader; its last three digits are.
    let digit = |n: c_long| b'0' + (n % 10) as u8;
    trace.untraced(Untraced::UnknownSyscall, &[digit(number / 100), digit(number / 10), digit(number)]);
}

unsafe fn open2(trace: &Trace, at: At, how: usize) {
    // `struct open_how`: flags, mode, resolve.
    // SAFETY: the kernel looks at the addresses.
    let (flags, resolve) = unsafe { (sys::word(how), sys::word(how.wrapping_add(16))) };
    // What cannot be read the call refuses.
    let Some((flags, resolve)) = flags.zip(resolve) else { return };
    if resolve & libc::RESOLVE_IN_ROOT != 0 {
        return trace.untraced(Untraced::LostPath, b"RESOLVE_IN_ROOT");
    }
    // SAFETY: the program's own path.
    unsafe { ahead::open(trace, at, flags as c_int) };
}

unsafe fn looks(trace: &Trace, at: At, flags: c_int) {
    // SAFETY: the program's own path.
    unsafe {
        if flags & libc::AT_EMPTY_PATH == 0 || !crate::path::bytes(at.path).is_empty() {
            probes(trace, if flags & libc::AT_SYMLINK_NOFOLLOW != 0 { EventKind::Lstat } else { EventKind::Stat }, at);
        }
    }
}

unsafe fn probes(trace: &Trace, kind: EventKind, at: At) {
    let follow = !matches!(kind, EventKind::Lstat | EventKind::Readlink);
    // SAFETY: the program's own path.
    unsafe { ahead::look(trace, kind, at, follow) };
}

#[unsafe(no_mangle)]
#[unsafe(naked)]
pub unsafe extern "C" fn syscall() {
    #[cfg(target_arch = "x86_64")]
    core::arch::naked_asm!(
        "push rdi", "push rsi", "push rdx", "push rcx", "push r8", "push r9", "sub rsp, 8",
        "call {note}",
        "add rsp, 8", "pop r9", "pop r8", "pop rcx", "pop rdx", "pop rsi", "pop rdi",
        "jmp qword ptr [rip + {target}]",
        note = sym note_syscall, target = sym TARGET_SYSCALL
    );
    #[cfg(target_arch = "aarch64")]
    core::arch::naked_asm!(
        "stp x29, x30, [sp, #-80]!", "stp x0, x1, [sp, #16]", "stp x2, x3, [sp, #32]", "stp x4, x5, [sp, #48]", "str x6, [sp, #64]",
        "bl {note}",
        "ldr x6, [sp, #64]", "ldp x4, x5, [sp, #48]", "ldp x2, x3, [sp, #32]", "ldp x0, x1, [sp, #16]", "ldp x29, x30, [sp], #80",
        "adrp x16, {target}", "ldr x16, [x16, :lo12:{target}]", "br x16",
        note = sym note_syscall, target = sym TARGET_SYSCALL
    );
}
