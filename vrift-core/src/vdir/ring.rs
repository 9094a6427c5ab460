//! The io_uring whose flags tell readers that a notice waits; see [`super`] for what it is good for, and io_uring_setup(2),
//! linux/io_uring.h for the numbers. Linux 6.5 or later; where it is not allowed there is no VDir, and the kernel answers.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicU32, Ordering};

use super::Mem;
use super::layout::RING;

/// `IORING_SETUP_NO_MMAP`: the rings lie in memory of ours.
const SETUP_NO_MMAP: u32 = 1 << 14;
/// `IORING_SETUP_TASKRUN_FLAG`: tell in the flags that completions wait.
const SETUP_TASKRUN_FLAG: u32 = 1 << 9;
/// `IORING_SETUP_SINGLE_ISSUER`, which the next one needs.
const SETUP_SINGLE_ISSUER: u32 = 1 << 12;
/// `IORING_SETUP_DEFER_TASKRUN`: completions are made when we ask, and not before.
const SETUP_DEFER_TASKRUN: u32 = 1 << 13;
/// `IORING_ENTER_GETEVENTS`.
const ENTER_GETEVENTS: usize = 1;
/// `IORING_OP_POLL_ADD`.
const OP_POLL_ADD: u8 = 6;
/// `IORING_POLL_ADD_MULTI`: until further notice.
const POLL_ADD_MULTI: u32 = 1;
/// `IORING_CQE_F_MORE`: the poll goes on.
const CQE_MORE: u32 = 1 << 1;

/// Submission entries; there are twice as many completions. All of it fits into the page.
const SLOTS: u32 = 8;

/// `struct io_uring_params`, with the two offset tables as words.
#[repr(C)]
#[derive(Default)]
struct Params {
    sq_entries: u32,
    cq_entries: u32,
    flags: u32,
    sq_thread: [u32; 2],
    features: u32,
    wq_fd: u32,
    reserved: [u32; 3],
    /// head, tail, ring_mask, ring_entries, flags, dropped, array, reserved
    sq: [u32; 8],
    sq_memory: u64,
    /// head, tail, ring_mask, ring_entries, overflow, cqes, flags, reserved
    cq: [u32; 8],
    cq_memory: u64,
}

/// `struct io_uring_sqe`, as far as a poll needs it.
#[repr(C)]
struct Submission {
    opcode: u8,
    flags: u8,
    priority: u16,
    fd: i32,
    offset: u64,
    address: u64,
    len: u32,
    events: u32,
    user: u64,
    rest: [u64; 3],
}

const _: () = assert!(size_of::<Params>() == 120 && size_of::<Submission>() == 64);

/// A ring in the second page of a mapped VDir file. To be used by the thread that made it alone.
pub struct Ring {
    fd: OwnedFd,
    /// A page for submissions, of our own.
    slots: *mut Submission,
    offsets: Offsets,
    polled: Vec<(i32, u32)>,
}

/// Where readers find the ring's words in the VDir file.
#[derive(Clone, Copy, Debug)]
pub struct Offsets {
    /// The flags.
    pub flags: u32,
    /// The completions' head, and their tail.
    pub head: u32,
    /// See [`Self::head`].
    pub tail: u32,
    sq_tail: u32,
    completions: u32,
    mask: u32,
}

impl Ring {
    /// A ring in `map`, which must be writable, that polls each of `polled` for these events (of poll(2)). The descriptors
    /// must stay open for as long as the ring lives.
    ///
    /// # Errors
    /// The kernel does not know such rings (`EINVAL`), or does not allow them (`EPERM`, `ENOSYS`).
    pub fn new(map: &Mem, polled: &[(BorrowedFd<'_>, i16)]) -> io::Result<Self> {
        assert!(polled.len() <= SLOTS as usize);
        if map.u64(super::layout::REGIONS).is_none() {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_POPULATE;
        // SAFETY: a fresh mapping touches no existing memory.
        let slots = unsafe { libc::mmap(std::ptr::null_mut(), super::layout::PAGE, protection, flags, -1, 0) };
        if slots == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let mut params = Params {
            flags: SETUP_NO_MMAP | SETUP_TASKRUN_FLAG | SETUP_SINGLE_ISSUER | SETUP_DEFER_TASKRUN,
            sq_memory: slots as u64,
            cq_memory: map.address(RING),
            ..Params::default()
        };
        // SAFETY: the kernel reads and fills in `params`; both memories are mapped, page-aligned, a page long, and are kept:
        // the kernel pins them for as long as the descriptor is open.
        let fd = unsafe { libc::syscall(libc::SYS_io_uring_setup, SLOTS, &raw mut params) };
        if fd < 0 {
            let error = io::Error::last_os_error();
            // SAFETY: the mapping made above, of which nobody knows.
            unsafe { libc::munmap(slots, super::layout::PAGE) };
            return Err(error);
        }
        // SAFETY: a descriptor that the kernel has just given to us.
        let fd = unsafe { OwnedFd::from_raw_fd(fd as i32) };
        let ring = RING as u32;
        let offsets = Offsets {
            flags: ring + params.sq[4],
            head: ring + params.cq[0],
            tail: ring + params.cq[1],
            sq_tail: ring + params.sq[1],
            completions: ring + params.cq[5],
            mask: params.cq_entries.saturating_sub(1),
        };
        let polled: Vec<_> = polled.iter().map(|(fd, events)| (fd.as_raw_fd(), *events as u16 as u32)).collect();
        // The array of indices is filled in once: the slot of each number is that number.
        for slot in 0..SLOTS {
            if let Some(word) = map.u32((ring + params.sq[6] + 4 * slot) as usize) {
                word.store(slot, Ordering::Relaxed);
            }
        }
        let this = Self { fd, slots: slots.cast(), offsets, polled };
        for which in 0..this.polled.len() {
            this.poll(map, which)?;
        }
        Ok(this)
    }

    /// Where readers find it.
    pub fn offsets(&self) -> Offsets {
        self.offsets
    }

    /// Lets the kernel make the completions that wait, which clears the flag. From here on notices must be read; they were
    /// queued before, or set the flag again. Whether one of the polls ended is seen, and it is begun again.
    ///
    /// # Errors
    /// The ring does not work: the VDir is of no use any more.
    pub fn collect(&self, map: &Mem) -> io::Result<()> {
        self.enter(0)?;
        let head = self.word(map, self.offsets.head)?.load(Ordering::Relaxed);
        let tail = self.word(map, self.offsets.tail)?.load(Ordering::Acquire);
        let mut ended = Vec::new();
        for at in (0..tail.wrapping_sub(head)).map(|n| head.wrapping_add(n)) {
            // `struct io_uring_cqe`: user data, result, flags.
            let offset = self.offsets.completions as usize + 16 * (at & self.offsets.mask) as usize;
            let user = map.u64(offset).ok_or(io::ErrorKind::InvalidData)?.load(Ordering::Relaxed);
            let flags = map.u32(offset + 12).ok_or(io::ErrorKind::InvalidData)?.load(Ordering::Relaxed);
            if flags & CQE_MORE == 0 {
                ended.push(user as usize);
            }
        }
        for which in ended {
            self.poll(map, which)?;
        }
        Ok(())
    }

    /// Takes all completions: readers may trust the map again, once the number is even.
    pub fn release(&self, map: &Mem) -> io::Result<()> {
        let tail = self.word(map, self.offsets.tail)?.load(Ordering::Acquire);
        self.word(map, self.offsets.head)?.store(tail, Ordering::Release);
        Ok(())
    }

    /// Submits a poll of the descriptor with this number.
    fn poll(&self, map: &Mem, which: usize) -> io::Result<()> {
        let (fd, events) = *self.polled.get(which).ok_or(io::ErrorKind::InvalidData)?;
        let tail = self.word(map, self.offsets.sq_tail)?;
        let at = tail.load(Ordering::Relaxed);
        let submission = Submission {
            opcode: OP_POLL_ADD,
            flags: 0,
            priority: 0,
            fd,
            offset: 0,
            address: 0,
            len: POLL_ADD_MULTI,
            events,
            user: which as u64,
            rest: [0; 3],
        };
        // SAFETY: a slot of our page, which holds `SLOTS` of them (512 bytes); the kernel reads it in `enter` alone.
        unsafe { self.slots.add((at % SLOTS) as usize).write(submission) };
        tail.store(at.wrapping_add(1), Ordering::Release);
        self.enter(1)
    }

    fn enter(&self, submit: usize) -> io::Result<()> {
        loop {
            // SAFETY: numbers, and a descriptor of ours; no signal mask.
            let done = unsafe {
                libc::syscall(libc::SYS_io_uring_enter, self.fd.as_raw_fd(), submit, 0_usize, ENTER_GETEVENTS, 0_usize, 0_usize)
            };
            if done >= 0 {
                return if done as usize == submit { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) };
            }
            let error = io::Error::last_os_error();
            if error.kind() != io::ErrorKind::Interrupted {
                return Err(error);
            }
        }
    }

    fn word<'m>(&self, map: &'m Mem, offset: u32) -> io::Result<&'m AtomicU32> {
        map.u32(offset as usize).ok_or_else(|| io::ErrorKind::InvalidData.into())
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        // SAFETY: the page that `new` mapped. The kernel has pinned it for itself where it still needs it.
        unsafe { libc::munmap(self.slots.cast(), super::layout::PAGE) };
    }
}
