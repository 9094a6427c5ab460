//! Calls that make an action one that is not stored: those that reach somebody else, and those behind which nothing can be seen.

use libc::c_long;
use vrift_core::event::Untraced;

use super::filter::NAMESPACES;
use super::report::{Call, Event};
use super::tracee::Read;

impl Call<'_> {
    /// Whether the call is one of these; it is reported then.
    pub fn others(&mut self, number: c_long) -> bool {
        let args = self.args;
        match number {
            libc::SYS_connect | libc::SYS_bind => self.address(args[1], args[2]),
            libc::SYS_sendto => self.address(args[4], args[5]),
            libc::SYS_sendmsg => self.message(args[1]),
            libc::SYS_sendmmsg => self.untraced(Untraced::Network, b""),
            libc::SYS_io_uring_setup | libc::SYS_io_uring_enter | libc::SYS_io_uring_register => {
                self.untraced(Untraced::AsyncQueue, b"")
            }
            libc::SYS_clone => self.untraced(Untraced::OtherRoot, b"clone"),
            libc::SYS_unshare if args[0] as u32 & NAMESPACES == 0 => {}
            libc::SYS_clone3 => self.clone3(args[0]),
            libc::SYS_unshare
            | libc::SYS_setns
            | libc::SYS_chroot
            | libc::SYS_pivot_root
            | libc::SYS_mount
            | libc::SYS_umount2
            | libc::SYS_move_mount
            | libc::SYS_fsmount
            | libc::SYS_open_tree
            | libc::SYS_mount_setattr => self.untraced(Untraced::OtherRoot, b""),
            _ => return false,
        }
        true
    }

    fn untraced(&mut self, reason: Untraced, detail: &[u8]) {
        self.events.push(Event::untraced(reason, detail));
    }

    /// The shim's rule: whoever names another end of a socket, of whatever family, uses the network.
    fn address(&mut self, address: u64, len: u64) {
        let mut family = [0; 2];
        if address == 0 || len < 2 {
            return;
        }
        match self.tracee.bytes(address, &mut family) {
            Read::Got(()) if i32::from(u16::from_ne_bytes(family)) == libc::AF_UNSPEC => {}
            Read::Got(()) | Read::Denied => self.untraced(Untraced::Network, b""),
            Read::Bad => {}
        }
    }

    fn message(&mut self, header: u64) {
        // The first fields of `struct msghdr`: the address and its length.
        let mut head = [0; 12];
        match self.tracee.bytes(header, &mut head) {
            Read::Got(()) => {
                let number = |bytes: &[u8]| bytes.iter().rev().fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte));
                self.address(number(&head[..8]), number(&head[8..]));
            }
            Read::Bad => {}
            Read::Denied => self.untraced(Untraced::Network, b""),
        }
    }

    fn clone3(&mut self, args: u64) {
        /// A child in another time namespace; `clone` takes no such flag.
        const NEWTIME: u64 = 0x80;
        let mut flags = [0; 8];
        match self.tracee.bytes(args, &mut flags) {
            Read::Got(()) if u64::from_le_bytes(flags) & (u64::from(NAMESPACES) | NEWTIME) == 0 => {}
            Read::Got(()) | Read::Denied => self.untraced(Untraced::OtherRoot, b"clone3"),
            Read::Bad => {}
        }
    }
}
