//! Calls that make an action one that is not stored: those that reach somebody else, and those behind which nothing can be seen.

use libc::c_long;
use vrift_core::event::{EventKind, Untraced};

use super::filter::NAMESPACES;
use super::report::{Call, Event};
use super::tracee::{self, Read};

impl Call<'_> {
    /// Whether the call is one of these; it is reported then.
    pub fn others(&mut self, number: c_long) -> bool {
        let args = self.args;
        match number {
            libc::SYS_connect | libc::SYS_bind => self.address(args[1], args[2], number == libc::SYS_bind),
            // The C library asks the kernel for the network's interfaces when a program does: of the machine, as what `/proc` says.
            libc::SYS_sendto if self.dumps(args[1], args[2]) => {}
            libc::SYS_sendto => self.address(args[4], args[5], false),
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

    /// The shim's rule: whoever names another end of a socket, of whatever family, uses the network. Not so what the C library does
    /// when it is asked for `localhost` or the network's interfaces, which the shim does not see.
    fn address(&mut self, address: u64, len: u64, binds: bool) {
        let mut room = [0; size_of::<libc::sockaddr_un>()];
        let len = usize::try_from(len).unwrap_or(usize::MAX).min(room.len());
        if address == 0 || len < 2 {
            return;
        }
        match self.tracee.bytes(address, &mut room[..len]) {
            Read::Got(()) => {}
            Read::Denied => return self.untraced(Untraced::Network, b""),
            Read::Bad => return,
        }
        let other = &room[2..len];
        match i32::from(u16::from_ne_bytes([room[0], room[1]])) {
            libc::AF_UNSPEC => {}
            // A name for answers to come to, without any news that nobody asked for.
            libc::AF_NETLINK if binds && other.len() == 10 && other[6..] == [0; 4] => {}
            libc::AF_INET | libc::AF_INET6 if !binds && reaches_nobody(&room[..len]) => {}
            libc::AF_UNIX if !binds && self.is_missing(other) => {}
            _ => self.untraced(Untraced::Network, b""),
        }
    }

    /// Whether there is no such socket: then the call fails, and that it is not there is what was seen.
    fn is_missing(&mut self, name: &[u8]) -> bool {
        let name = name.split(|c| *c == 0).next().unwrap_or_default();
        if name.is_empty() {
            return false;
        }
        let Some(path) = self.absolute(libc::AT_FDCWD, name.to_vec()) else { return false };
        let Err(errno) = tracee::look(&path, true) else { return false };
        self.events.push(Event::of(EventKind::Access, errno, path));
        true
    }

    /// Whether a message does nothing but ask the kernel for a list. Source: netlink(7), rtnetlink(7).
    fn dumps(&mut self, message: u64, len: u64) -> bool {
        const HEADER: usize = size_of::<libc::nlmsghdr>();
        let mut room = [0; HEADER + 4];
        if len != room.len() as u64 || !matches!(self.tracee.bytes(message, &mut room), Read::Got(())) {
            return false;
        }
        let half = |at: usize| u16::from_ne_bytes([room[at], room[at + 1]]);
        let asks = [libc::RTM_GETLINK, libc::RTM_GETADDR].contains(&half(4));
        asks && half(6) == (libc::NLM_F_REQUEST | libc::NLM_F_DUMP) as u16 && room[..4] == (room.len() as u32).to_ne_bytes()
    }

    fn message(&mut self, header: u64) {
        // The first fields of `struct msghdr`: the address and its length.
        let mut head = [0; 12];
        match self.tracee.bytes(header, &mut head) {
            Read::Got(()) => {
                let number = |bytes: &[u8]| bytes.iter().rev().fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte));
                self.address(number(&head[..8]), number(&head[8..]), false);
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

/// Whether the address is this machine's own with port 0, which nobody can have: the C library connects to it to learn which of its
/// own addresses it would use.
fn reaches_nobody(address: &[u8]) -> bool {
    let family = address.first_chunk().map_or(0, |family| i32::from(u16::from_ne_bytes(*family)));
    let port = address.get(2..4).is_some_and(|port| port == [0; 2]);
    let own = match family {
        libc::AF_INET => address.get(4) == Some(&127),
        libc::AF_INET6 => address.get(8..24).is_some_and(|host| host[..15] == [0; 15] && host[15] == 1),
        _ => false,
    };
    port && own
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_addresses_without_a_port_reach_nobody() {
        let of = |family: i32, port: u16, rest: &[u8]| [&(family as u16).to_ne_bytes()[..], &port.to_be_bytes(), rest].concat();
        let six = |last: u8| [&[0; 19][..], &[last, 0, 0, 0, 0]].concat();
        assert!(reaches_nobody(&of(libc::AF_INET, 0, &[127, 0, 0, 1])));
        assert!(reaches_nobody(&of(libc::AF_INET6, 0, &six(1))));
        assert!(!reaches_nobody(&of(libc::AF_INET, 53, &[127, 0, 0, 1])));
        assert!(!reaches_nobody(&of(libc::AF_INET, 0, &[10, 0, 0, 1])));
        assert!(!reaches_nobody(&of(libc::AF_INET6, 0, &six(2))));
        assert!(!reaches_nobody(&of(libc::AF_UNIX, 0, &[127])) && !reaches_nobody(&[2]));
    }
}
