//! The map of questions: how readers tell the writer what they would have liked to know.
//!
//! A second file, beside the VDir's, that readers may write. A lost or made-up question costs nothing but time, so that nothing
//! in it is believed. The one thing in it that readers heed as well are doubts: they, too, only cost time.

use core::sync::atomic::Ordering;

use super::Mem;

/// Bytes of the file.
pub const LEN: usize = 64 << 10;

/// What the VDir file's name is followed by.
pub const SUFFIX: &str = ".asked";

/// Questions since the writer looked last.
const COUNT: usize = 0;
/// Something was found damaged.
const DAMAGED: usize = 8;
/// Changes that the kernel gives no fitting notice of.
const DOUBTS: usize = 16;
/// Where the bits start: one for each entry, by its number modulo [`BITS`].
const FIRST: usize = 64;
/// How many bits there are.
const BITS: usize = (LEN - FIRST) * 8;

/// An entry's `stat` (or a folder's listing) was asked for and is not there.
pub fn ask(map: &Mem, entry: u32) {
    let (word, bit) = place(entry);
    let Some(word) = map.u64(word) else { return };
    if word.load(Ordering::Relaxed) & bit == 0 {
        word.fetch_or(bit, Ordering::Relaxed);
        if let Some(count) = map.u64(COUNT) {
            count.fetch_add(1, Ordering::Release);
        }
    }
}

/// A check failed.
pub fn report_damage(map: &Mem) {
    if let Some(word) = map.u64(DAMAGED) {
        word.store(1, Ordering::Release);
    }
}

/// Something was changed of which the kernel gives no fitting notice. From here on no reader believes the map, until the writer
/// has forgotten what may be wrong.
pub fn doubt(map: &Mem) {
    if let Some(count) = map.u64(DOUBTS) {
        count.fetch_add(1, Ordering::SeqCst);
    }
}

/// How many doubts there were.
#[inline]
pub fn doubts(map: &Mem) -> u64 {
    map.u64(DOUBTS).map_or(0, |count| count.load(Ordering::Acquire))
}

/// Whether there are questions; there are none afterwards until the next.
pub fn any(map: &Mem) -> bool {
    map.u64(COUNT).is_some_and(|count| count.load(Ordering::Relaxed) != 0 && count.swap(0, Ordering::Acquire) != 0)
}

/// Whether damage was reported; it is not afterwards.
pub fn take_damage(map: &Mem) -> bool {
    map.u64(DAMAGED).is_some_and(|word| word.load(Ordering::Relaxed) != 0 && word.swap(0, Ordering::Acquire) != 0)
}

/// A question is answered.
pub fn answered(map: &Mem, entry: u32) {
    let (word, bit) = place(entry);
    if let Some(word) = map.u64(word) {
        word.fetch_and(!bit, Ordering::Relaxed);
    }
}

/// The entries below `used` that are asked for.
#[cfg(feature = "std")]
pub fn all(map: &Mem, used: u32) -> Vec<u32> {
    let words = (BITS / 64).min((used as usize).div_ceil(64));
    let asked = (0..words).flat_map(|n| {
        let bits = map.u64(FIRST + 8 * n).map_or(0, |word| word.load(Ordering::Relaxed));
        (0..64_usize).filter(move |bit| bits & (1 << bit) != 0).map(move |bit| n * 64 + bit)
    });
    asked.flat_map(|first| (first..used as usize).step_by(BITS)).map(|entry| entry as u32).collect()
}

fn place(entry: u32) -> (usize, u64) {
    let bit = entry as usize % BITS;
    (FIRST + bit / 64 * 8, 1 << (bit % 64))
}
