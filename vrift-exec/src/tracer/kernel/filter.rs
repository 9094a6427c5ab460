//! The filter: a program of the kernel's packet filter machine that says of each call whether it is reported.
//!
//! What it lets go whatever the arguments, the kernel knows from a bitmap without running the filter (since Linux 5.11). Few
//! calls are judged by their arguments; a filter sees numbers alone, nothing that a pointer leads to.

use libc::{c_long, sock_filter};

use super::calls;

/// What the kernel calls this architecture. Source: `linux/audit.h`.
#[cfg(target_arch = "x86_64")]
pub const ARCH: u32 = 0xc000_003e;
/// What the kernel calls this architecture. Source: `linux/audit.h`.
#[cfg(target_arch = "aarch64")]
pub const ARCH: u32 = 0xc000_00b7;

/// `clone` flags for which a child sees other files, users or processes.
pub const NAMESPACES: u32 = (libc::CLONE_NEWNS
    | libc::CLONE_NEWCGROUP
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUSER
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET) as u32;

/// Offsets in `struct seccomp_data`.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;

/// Where the lower half of an argument is; the upper half follows.
const fn argument(index: u32) -> u32 {
    16 + 8 * index
}

const LOAD: u32 = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
const RETURN: u32 = libc::BPF_RET | libc::BPF_K;
const IF_EQUAL: u32 = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
const IF_AT_LEAST: u32 = libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K;
const IF_ABOVE: u32 = libc::BPF_JMP | libc::BPF_JGT | libc::BPF_K;
const IF_ANY: u32 = libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K;

const ALLOW: sock_filter = plain(RETURN, libc::SECCOMP_RET_ALLOW);
const NOTIFY: sock_filter = plain(RETURN, libc::SECCOMP_RET_USER_NOTIF);

const fn plain(code: u32, k: u32) -> sock_filter {
    sock_filter { code: code as u16, jt: 0, jf: 0, k }
}

/// Goes on, or passes over `otherwise` instructions.
const fn unless(code: u32, k: u32, otherwise: u8) -> sock_filter {
    sock_filter { code: code as u16, jt: 0, jf: otherwise, k }
}

/// The calls that are reported most: found first.
const FREQUENT: &[c_long] =
    &[libc::SYS_openat, libc::SYS_newfstatat, libc::SYS_statx, libc::SYS_readlinkat, libc::SYS_getdents64];

/// The whole filter.
pub fn program() -> Vec<sock_filter> {
    let number = |call: c_long| u32::try_from(call).unwrap_or(u32::MAX);
    // Of another architecture every call is reported: its numbers mean something else.
    let mut program =
        vec![plain(LOAD, ARCHITECTURE), sock_filter { jt: 1, ..unless(IF_EQUAL, ARCH, 0) }, NOTIFY, plain(LOAD, NUMBER)];
    for call in FREQUENT {
        program.extend([unless(IF_EQUAL, number(*call), 1), NOTIFY]);
    }
    // Without an address the data go where the socket is connected to, which was seen.
    program.extend([
        unless(IF_EQUAL, number(libc::SYS_sendto), 6),
        plain(LOAD, argument(4)),
        unless(IF_EQUAL, 0, 3),
        plain(LOAD, argument(4) + 4),
        unless(IF_EQUAL, 0, 1),
        ALLOW,
        NOTIFY,
    ]);
    program.extend([
        unless(IF_EQUAL, number(libc::SYS_clone), 4),
        plain(LOAD, argument(0)),
        unless(IF_ANY, NAMESPACES, 1),
        NOTIFY,
        ALLOW,
    ]);
    for (first, last) in ranges(&calls::harmless()) {
        // At or behind the first, and not behind the last.
        program.extend([unless(IF_AT_LEAST, first, 2), sock_filter { jt: 1, ..unless(IF_ABOVE, last, 0) }, ALLOW]);
    }
    program.push(NOTIFY);
    program
}

/// Runs of numbers without a gap.
fn ranges(sorted: &[u32]) -> Vec<(u32, u32)> {
    let mut ranges: Vec<(u32, u32)> = Vec::new();
    for number in sorted {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == *number => *last = *number,
            _ => ranges.push((*number, *number)),
        }
    }
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the kernel's machine makes of a call.
    fn is_reported(arch: u32, number: u32, args: [u64; 6]) -> bool {
        let mut data = number.to_le_bytes().to_vec();
        data.extend_from_slice(&arch.to_le_bytes());
        data.extend_from_slice(&[0; 8]);
        args.iter().for_each(|arg| data.extend_from_slice(&arg.to_le_bytes()));
        let program = program();
        let (mut at, mut accumulator) = (0, 0_u32);
        loop {
            let step = program[at];
            let (code, k) = (u32::from(step.code), step.k);
            at += 1;
            let jump = |holds: bool| usize::from(if holds { step.jt } else { step.jf });
            match code {
                LOAD => {
                    let from = k as usize;
                    accumulator = u32::from_le_bytes(data[from..from + 4].try_into().expect("four bytes"));
                }
                RETURN => return k == libc::SECCOMP_RET_USER_NOTIF,
                IF_EQUAL => at += jump(accumulator == k),
                IF_AT_LEAST => at += jump(accumulator >= k),
                IF_ABOVE => at += jump(accumulator > k),
                IF_ANY => at += jump(accumulator & k != 0),
                other => panic!("an instruction that is not used: {other:#x}"),
            }
        }
    }

    fn reports(call: c_long, args: [u64; 6]) -> bool {
        is_reported(ARCH, u32::try_from(call).expect("a number"), args)
    }

    #[test]
    fn exactly_the_harmless_calls_go_unseen() {
        let harmless = calls::harmless();
        for number in 0..1024 {
            let by_arguments = [libc::SYS_sendto, libc::SYS_clone].contains(&c_long::from(number));
            if !by_arguments {
                assert_eq!(is_reported(ARCH, number, [0; 6]), !harmless.contains(&number), "call {number}");
            }
        }
        for call in [libc::SYS_openat, libc::SYS_execve, libc::SYS_renameat2, libc::SYS_io_uring_setup, libc::SYS_ptrace] {
            assert!(reports(call, [0; 6]), "call {call}");
        }
    }

    #[test]
    fn arguments_count_where_they_must() {
        assert!(!reports(libc::SYS_sendto, [3, 1, 1, 0, 0, 0]));
        assert!(reports(libc::SYS_sendto, [3, 1, 1, 0, 0x7fff_0000_0000, 16]));
        assert!(reports(libc::SYS_sendto, [3, 1, 1, 0, 0x10, 16]));
        assert!(!reports(libc::SYS_clone, [libc::CLONE_VM as u64 | libc::SIGCHLD as u64, 0, 0, 0, 0, 0]));
        assert!(reports(libc::SYS_clone, [libc::CLONE_NEWNS as u64, 0, 0, 0, 0, 0]));
    }

    #[test]
    fn other_architectures_are_reported() {
        let read = u32::try_from(libc::SYS_read).expect("a number");
        assert!(is_reported(0x4000_0003, read, [0; 6]), "i386");
        assert!(is_reported(ARCH, read | 0x4000_0000, [0; 6]), "x32");
    }

    #[test]
    fn the_kernel_takes_it() {
        assert!(program().len() < 4096);
    }
}
