//! The VDir: a shared map through which any process of a project learns about a file without asking the kernel.
//!
//! One file in `/dev/shm` for each project, written by its worker, `vdir_d`, and mapped read-only by whoever runs under the
//! shim: path → full `struct stat`, kind, symlink target, names in a folder, "does not exist". Bytes: docs/formats.md.
//!
//! # Coherence
//! An answer must be what the kernel would have answered. Nobody has to report what he changes: the kernel does. `vdir_d`
//! watches each folder (and each file whose `stat` is served) by inotify, and has an io_uring poll on the inotify descriptor,
//! whose ring lies in the second page of the VDir file ([`ring`]). When a change is queued as a notice, the kernel, still inside
//! the system call that changes the file, wakes the poll and sets `IORING_SQ_TASKRUN` in that page. So whoever looks after the
//! change has returned sees the bit, without a system call, and asks the kernel instead, until `vdir_d` has brought the map up
//! to date. That holds for all programs of the machine, traced or not, static or not.
//!
//! `vdir_d` works in phases: it makes [`layout::GEN`] odd, collects the ring's completions (which clears the bit), reads all
//! notices, applies them, moves the ring's head to its tail, and makes the number even again. A reader takes an answer only if
//! the number was even, the bit clear and head equal to tail before it read, and the number is the same after it.
//!
//! *Why that is enough.* Let a change be complete before a reader begins. Its notice was queued before that, and the bit set
//! behind it. Either the notice was read in a phase that has ended: then the map shows the change. Or it is read in a phase that
//! has not: then the number is odd, or becomes so before the reader ends. Or it is not read yet: the bit was set after the
//! notice was queued, and only a phase that collects completions afterwards, and therefore reads the notice, clears it. A
//! notice that is merged with an equal one in the queue needs no bit of its own: the one before it is still unread.
//!
//! *When the worker dies*, the kernel cancels the poll, which leaves a completion in the ring that nobody takes: tail and head
//! differ for ever, and no reader answers from the map any more. A worker that is stopped (SIGSTOP) does no harm either.
//!
//! Some parts of a `stat` change without a notice. `atime`: by the rules of `relatime` it does not change for a day once it is
//! later than the other times, so that only such files are served, until [`layout::VALID_UNTIL`]. `st_blocks` of a file whose
//! blocks are not allocated yet: only settled files are served. A store through a shared mapping may show in `mtime` as late as
//! when the file is closed, which POSIX allows before msync(2); so does a change of file attributes by chattr(1) in `ctime`.
//! utimensat(2) with only one of the times, the other left as it is: its notice is that of a read (`atime` alone) or of a write
//! (`mtime` alone), and reads are not watched for, nor are writes to folders, since a watch of a folder would tell of those to
//! all that is in it. The shim counts such calls as doubts ([`asked::doubt`]), which silence the map until `vdir_d` has forgotten
//! all that it told; of programs that run without the shim this is not noticed. Doubts go to the map of questions that has the name
//! now, be there a VDir beside it or not: it is made before the first file is looked at, so that a keeper that does not hear of a
//! doubt looks behind the change.
//!
//! # Damage
//! Immutable parts of the header have a checksum and are copied by each reader when it maps the file; each entry, line of the
//! index, name and target has one that is verified whenever it is read. Whatever is off is no answer, and is reported to
//! `vdir_d` through the map of questions ([`asked`]).

pub mod asked;
pub mod hash;
pub mod layout;
mod mem;
#[cfg(feature = "std")]
mod open;
mod reader;
#[cfg(feature = "std")]
pub mod ring;
#[cfg(all(test, feature = "std"))]
mod tests;
#[cfg(feature = "std")]
mod writer;

pub use mem::Mem;
#[cfg(feature = "std")]
pub use open::{base_id, base_place, open, place, questions_place, remove};
pub use reader::{Answer, Found, Name, Names, ROOT_ROOM, Reader, Refused};
#[cfg(feature = "std")]
pub use writer::{Capacity, EntryData, Full, Identity, Stat, Writer};
