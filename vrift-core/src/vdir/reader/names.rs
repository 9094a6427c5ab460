//! The names in a folder.

use super::{Doubt, Reader};
use crate::vdir::layout::{NONE, entry};

/// The entries of a folder, one after the other. Each is right only if the map has not changed since the first.
pub struct Names<'a> {
    pub(super) reader: &'a Reader,
    pub(super) generation: u64,
    pub(super) next: u32,
    pub(super) left: u32,
}

/// An entry of a folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Name {
    /// Bytes of the name, which is at the start of the caller's room.
    pub len: usize,
    /// Inode.
    pub ino: u64,
    /// See [`flag::KIND`].
    pub kind: u16,
}

impl Names<'_> {
    /// The number of entries to come.
    pub fn left(&self) -> u32 {
        self.left
    }

    /// Copies the next name to the start of `room`; `Ok(None)` at the end.
    ///
    /// # Errors
    /// The map changed, or is damaged: what came so far is void.
    #[allow(clippy::result_unit_err)]
    pub fn next(&mut self, room: &mut [u8]) -> Result<Option<Name>, ()> {
        if self.left == 0 {
            return if self.next == NONE && self.reader.unchanged(self.generation) { Ok(None) } else { Err(()) };
        }
        let raw = self.reader.entry(self.next).map_err(|Doubt| ())?;
        let word = raw.0[entry::NAME];
        let len = self.reader.text((word as u32) as usize, raw.name_len(), (word >> 32) as u32, room).map_err(|Doubt| ())?.len();
        (self.next, self.left) = (raw.next(), self.left - 1);
        Ok(Some(Name { len, ino: raw.0[entry::INO], kind: raw.kind() }))
    }

    /// Whether all entries that came are right.
    pub fn hold(&self) -> bool {
        self.reader.unchanged(self.generation)
    }
}
