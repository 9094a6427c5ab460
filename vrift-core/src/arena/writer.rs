//! Appending events. Async-signal-safe: no allocation, no lock, no system call but `getpid`.

use core::sync::atomic::Ordering;

use super::layout::{HEADER_LEN, Header, MAGIC, MAX_PATH, PENDING, RECORD_HEADER_LEN, RecordHeader, record_len};
use super::shared::SharedMap;
use crate::PROTOCOL_VERSION;
use crate::event::EventKind;

/// Appends to an arena.
pub struct Writer {
    map: SharedMap,
}

/// The memory is no arena of this version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WriterError;

/// A path given in pieces, so that callers need no buffer to join them.
pub type Pieces<'a> = &'a [&'a [u8]];

impl Writer {
    /// Writes into `map`, whose header is checked.
    ///
    /// # Errors
    /// Where magic, version or capacity are off.
    pub fn new(map: SharedMap) -> Result<Self, WriterError> {
        if map.len() < HEADER_LEN {
            return Err(WriterError);
        }
        let header = map.header();
        let sound = header.magic == MAGIC && header.version == PROTOCOL_VERSION && header.capacity == map.len() as u64;
        if sound { Ok(Self { map }) } else { Err(WriterError) }
    }

    /// Appends one event; returns whether it is in. An event that does not fit sets the overflow flag.
    pub fn append(&self, pid: u32, kind: EventKind, flags: u8, errno: u16, aux: u64, path: Pieces<'_>) -> bool {
        let path_len: usize = path.iter().map(|p| p.len()).sum();
        if path_len > MAX_PATH {
            self.header().overflow.store(1, Ordering::Release);
            return false;
        }
        let len = record_len(path_len);
        let Some(record) = self.claim(len) else {
            self.header().overflow.store(1, Ordering::Release);
            return false;
        };
        // SAFETY: `claim` gave this writer `len` bytes at `record`, inside the map and 8-aligned, which nobody else writes
        // and which readers leave alone while the state is pending. The header's fields behind `state` and the path fit
        // in `len` by `record_len`.
        unsafe {
            (&raw mut (*record).pid).write(pid);
            (&raw mut (*record).kind).write(kind as u8);
            (&raw mut (*record).flags).write(flags);
            (&raw mut (*record).errno).write(errno);
            (&raw mut (*record).path_len).write(path_len as u32);
            (&raw mut (*record).aux).write(aux);
            let mut at = record.cast::<u8>().add(RECORD_HEADER_LEN);
            for piece in path {
                at.copy_from_nonoverlapping(piece.as_ptr(), piece.len());
                at = at.add(piece.len());
            }
            (*record).state.store(len as u32, Ordering::Release);
        }
        true
    }

    /// Claims `len` bytes at the tail.
    fn claim(&self, len: usize) -> Option<*mut RecordHeader> {
        let header = self.header();
        loop {
            let tail = header.tail.load(Ordering::Acquire);
            let at = usize::try_from(tail).ok()?;
            if !at.is_multiple_of(8) || at < HEADER_LEN || at.checked_add(len)? > self.map.len() {
                return None;
            }
            // SAFETY: `at` is 8-aligned and a record header fits behind it, both just checked.
            let record = unsafe { self.map.base().as_ptr().add(at).cast::<RecordHeader>() };
            // SAFETY: as above; `state` is an atomic, reached only as such by every process.
            let state = unsafe { &(*record).state };
            match state.compare_exchange(0, PENDING | len as u32, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => {
                    // A failure means that another writer has moved the tail for us.
                    let _ = header.tail.compare_exchange(tail, tail + len as u64, Ordering::AcqRel, Ordering::Acquire);
                    return Some(record);
                }
                Err(claimed) => {
                    let other = u64::from(claimed & !PENDING);
                    if other == 0 || !other.is_multiple_of(8) {
                        return None;
                    }
                    let _ = header.tail.compare_exchange(tail, tail + other, Ordering::AcqRel, Ordering::Acquire);
                }
            }
        }
    }

    fn header(&self) -> &Header {
        self.map.header()
    }
}
