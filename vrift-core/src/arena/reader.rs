//! Reading a trace back.

use std::sync::atomic::Ordering;

use super::layout::{HEADER_LEN, PENDING, RECORD_HEADER_LEN, RecordHeader};
use super::shared::SharedMap;
use crate::event::EventKind;

/// One event.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Event {
    /// The process that reported it.
    pub pid: u32,
    /// What it did.
    pub kind: EventKind,
    /// Bits of [`crate::event::flag`].
    pub flags: u8,
    /// `errno` of the call, 0 for success.
    pub errno: u16,
    /// Depends on the kind.
    pub aux: u64,
    /// The absolute path or, for [`EventKind::Env`], the variable's name.
    pub path: Vec<u8>,
}

/// All events of an arena, in the order in which they were claimed.
#[derive(Default, Debug)]
pub struct Trace {
    /// The events.
    pub events: Vec<Event>,
    /// Records whose writer died before they were whole.
    pub torn: usize,
    /// Events were dropped for want of space.
    pub overflow: bool,
}

/// The arena's bytes make no sense.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("the trace is damaged at byte {0}")]
pub struct TraceError(pub usize);

/// Reads all records. Writers may still be running; their unfinished records count as torn.
///
/// # Errors
/// Where a length or a kind is none that a writer makes.
pub fn read_trace(map: &SharedMap) -> Result<Trace, TraceError> {
    let header = map.header();
    let mut trace = Trace { overflow: header.overflow.load(Ordering::Acquire) != 0, ..Trace::default() };
    let mut at = HEADER_LEN;
    while at + RECORD_HEADER_LEN <= map.len() {
        // SAFETY: `at` starts 8-aligned and grows by multiples of 8, and a record header fits behind it.
        let record = unsafe { map.base().as_ptr().add(at).cast::<RecordHeader>() };
        // SAFETY: `state` is an atomic for every process.
        let state = unsafe { (*record).state.load(Ordering::Acquire) };
        let len = (state & !PENDING) as usize;
        if len == 0 {
            break;
        }
        if !len.is_multiple_of(8) || len < RECORD_HEADER_LEN || at + len > map.len() {
            return Err(TraceError(at));
        }
        if state & PENDING != 0 {
            trace.torn += 1;
        } else {
            // SAFETY: the state says that the record's writer is done with it: its bytes no longer change.
            trace.events.push(unsafe { decode(record, len) }.ok_or(TraceError(at))?);
        }
        at += len;
    }
    Ok(trace)
}

/// # Safety
/// `record` must be a finished record of `len` bytes.
unsafe fn decode(record: *const RecordHeader, len: usize) -> Option<Event> {
    // SAFETY: the caller vouches for the header's bytes.
    let header = unsafe { &*record };
    let path_len = header.path_len as usize;
    if path_len > len - RECORD_HEADER_LEN {
        return None;
    }
    // SAFETY: the path lies inside the record's `len` bytes, just checked.
    let path = unsafe { std::slice::from_raw_parts(record.cast::<u8>().add(RECORD_HEADER_LEN), path_len) };
    Some(Event {
        pid: header.pid,
        kind: EventKind::from_u8(header.kind)?,
        flags: header.flags,
        errno: header.errno,
        aux: header.aux,
        path: path.to_vec(),
    })
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;

    use super::super::{ArenaFile, Writer};
    use super::*;

    fn writer(arena: &ArenaFile) -> Writer {
        let file = std::fs::OpenOptions::new().read(true).write(true).open(arena.path()).expect("opens by its path");
        let map = SharedMap::new(file.as_raw_fd(), arena.map().len()).expect("maps");
        Writer::new(map).expect("sound header")
    }

    #[test]
    fn events_come_back_in_order() {
        let arena = ArenaFile::create(1 << 16).expect("creates");
        let writer = writer(&arena);
        assert!(writer.append(7, EventKind::Stat, 0, 2, 0, &[b"/a", b"/", b"b"]));
        assert!(writer.append(8, EventKind::Env, 0, 0, 99, &[b"HOME"]));
        let trace = read_trace(arena.map()).expect("reads");
        assert_eq!(trace.events.len(), 2);
        assert_eq!(trace.events[0], Event { pid: 7, kind: EventKind::Stat, flags: 0, errno: 2, aux: 0, path: b"/a/b".to_vec() });
        assert_eq!(trace.events[1].aux, 99);
    }

    #[test]
    fn many_writers_lose_nothing() {
        const THREADS: u32 = 8;
        const EACH: u64 = 2_000;
        let arena = ArenaFile::create(8 << 20).expect("creates");
        std::thread::scope(|scope| {
            for pid in 0..THREADS {
                let writer = writer(&arena);
                scope.spawn(move || {
                    (0..EACH).for_each(|n| {
                        assert!(writer.append(pid, EventKind::Stat, 0, 0, n, &[b"/x", &[b'y'; 13][..(n % 13) as usize]]))
                    })
                });
            }
        });
        let trace = read_trace(arena.map()).expect("reads");
        assert_eq!(trace.torn, 0);
        for pid in 0..THREADS {
            let seen: Vec<u64> = trace.events.iter().filter(|e| e.pid == pid).map(|e| e.aux).collect();
            assert_eq!(seen, (0..EACH).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_full_arena_says_so() {
        let arena = ArenaFile::create(4096).expect("creates");
        let writer = writer(&arena);
        let fits = (0..1000).take_while(|_| writer.append(1, EventKind::Stat, 0, 0, 0, &[b"/some/path"])).count();
        let trace = read_trace(arena.map()).expect("reads");
        assert_eq!(trace.events.len(), fits);
        assert!(trace.overflow);
    }

    #[test]
    fn damage_is_an_error() {
        let arena = ArenaFile::create(4096).expect("creates");
        assert!(writer(&arena).append(1, EventKind::Stat, 0, 0, 0, &[b"/x"]));
        let file = std::fs::OpenOptions::new().write(true).open(arena.path()).expect("opens");
        std::os::unix::fs::FileExt::write_all_at(&file, &7_u32.to_le_bytes(), HEADER_LEN as u64).expect("writes");
        assert_eq!(read_trace(arena.map()).expect_err("damaged"), TraceError(HEADER_LEN));
    }
}
