//! The current folder as a path below the VDir's root, remembered: asking the kernel for it would cost more than is saved.
//!
//! (Processes that share one by a bare `clone(CLONE_FS)`, which nothing but containers do, must not change it behind each other.)
//! It is asked for again when the program changed it, and when any folder of the project was moved ([`Reader::turn`]).

use core::mem::MaybeUninit;
use core::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering, fence};

use vrift_core::vdir::Reader;

use crate::path;
use crate::sys;

/// The longest that is remembered.
const LONGEST: usize = 1024;

/// Odd while it is being written.
static NUMBER: AtomicU32 = AtomicU32::new(0);
/// Which map, which turn of it, and how many changes it was found for; all ones where it is not known.
static FOUND_FOR: [AtomicU64; 3] = [const { AtomicU64::new(u64::MAX) }; 3];
/// Times that the program began or ended to change it.
static CHANGES: AtomicU64 = AtomicU64::new(0);
static LEN: AtomicU32 = AtomicU32::new(0);
static BYTES: [AtomicU8; LONGEST] = [const { AtomicU8::new(0) }; LONGEST];

/// The process whose current folder it is: a `vfork` child has one of its own in its parent's memory.
static OWNER: AtomicU32 = AtomicU32::new(0);
/// It cannot be followed.
static LOST: AtomicBool = AtomicBool::new(false);

/// This process has begun, or is a forked child.
pub fn begin() {
    OWNER.store(sys::getpid(), Ordering::Relaxed);
}

/// The program is about to change its current folder, or has done so; to be told both.
pub fn changes() {
    if OWNER.load(Ordering::Relaxed) != sys::getpid() {
        // A child that shares this memory, or a fork that was not seen.
        lose();
    }
    CHANGES.fetch_add(1, Ordering::SeqCst);
}

/// The current folder changes in ways that are not seen, or differs between threads.
pub fn lose() {
    LOST.store(true, Ordering::SeqCst);
}

/// What of an absolute path is below the root.
#[inline]
pub fn below_root<'a>(reader: &Reader, path: &'a [u8]) -> Option<&'a [u8]> {
    let rest = path.strip_prefix(reader.root())?;
    match rest.first() {
        None => Some(rest),
        Some(b'/') => Some(&rest[1..]),
        Some(_) => None,
    }
}

/// Writes the current folder to the start of `room`; its length. `None` where it is not below the root, or not known.
pub fn copy(reader: &Reader, room: &mut [MaybeUninit<u8>; path::ROOM], now: u64) -> Option<usize> {
    recall(reader, room).or_else(|| find(reader, room, now))
}

fn recall(reader: &Reader, room: &mut [MaybeUninit<u8>; path::ROOM]) -> Option<usize> {
    let number = NUMBER.load(Ordering::Acquire);
    let found_for = [&FOUND_FOR[0], &FOUND_FOR[1], &FOUND_FOR[2]].map(|word| word.load(Ordering::Acquire));
    let known = found_for == [reader.generation, reader.turn(), CHANGES.load(Ordering::SeqCst)];
    if !known || !number.is_multiple_of(2) || LOST.load(Ordering::SeqCst) {
        return None;
    }
    let len = (LEN.load(Ordering::Relaxed) as usize).min(LONGEST);
    for (to, from) in room.iter_mut().zip(&BYTES[..len]) {
        to.write(from.load(Ordering::Relaxed));
    }
    fence(Ordering::Acquire);
    (NUMBER.load(Ordering::Relaxed) == number).then_some(len)
}

#[cold]
fn find(reader: &Reader, room: &mut [MaybeUninit<u8>; path::ROOM], now: u64) -> Option<usize> {
    if LOST.load(Ordering::SeqCst) || OWNER.load(Ordering::Relaxed) != sys::getpid() {
        return None;
    }
    let number = NUMBER.load(Ordering::Relaxed);
    if !number.is_multiple_of(2) || NUMBER.compare_exchange(number, number + 1, Ordering::AcqRel, Ordering::Relaxed).is_err() {
        return None;
    }
    FOUND_FOR[0].store(u64::MAX, Ordering::Release);
    let len = fill(reader, room, now);
    NUMBER.store(number + 2, Ordering::Release);
    len
}

fn fill(reader: &Reader, room: &mut [MaybeUninit<u8>; path::ROOM], now: u64) -> Option<usize> {
    // The turn comes first: a folder that moves after it makes the path void.
    let (changes, turn, mark) = (CHANGES.load(Ordering::SeqCst), reader.turn(), reader.mark(now)?);
    let mut buffer = [0; path::ROOM];
    let path = sys::getcwd(&mut buffer)?;
    let below = below_root(reader, path).filter(|below| below.len() <= LONGEST)?;
    for ((to, keep), from) in room.iter_mut().zip(&BYTES).zip(below) {
        to.write(*from);
        keep.store(*from, Ordering::Relaxed);
    }
    LEN.store(below.len() as u32, Ordering::Relaxed);
    FOUND_FOR[1].store(turn, Ordering::Release);
    FOUND_FOR[2].store(changes, Ordering::Release);
    // While it was asked for nothing moved; what moves from here on is another turn.
    if reader.holds(mark, now) && reader.turn() == turn {
        FOUND_FOR[0].store(reader.generation, Ordering::Release);
        return Some(below.len());
    }
    None
}
