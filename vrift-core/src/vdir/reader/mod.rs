//! Looking things up: wait-free, without a system call, in a few cache lines. One attempt; in doubt no answer.

mod found;
mod names;

use core::sync::atomic::{AtomicU64, Ordering, fence};

use super::layout::{self, ENTRY_LEN, ENTRY_WORDS, LINE_WORDS, SHAPE_WORDS, SLOTS, entry, flag, shape, state};
use super::{Mem, asked, hash};
pub use found::Found;
use found::Raw;
pub use names::{Name, Names};

/// `IORING_SQ_TASKRUN`, linux/io_uring.h: completions wait to be collected.
const TASKRUN: u32 = 1 << 2;

/// The longest path of a root. A project that is deeper has no VDir.
pub const ROOT_ROOM: usize = 1024;

/// A mapped VDir.
pub struct Reader {
    map: Mem,
    asked: Option<Mem>,
    key: [u64; 2],
    entries: usize,
    entries_cap: u32,
    index: usize,
    index_lines: u64,
    names: usize,
    names_len: usize,
    shapes: usize,
    shapes_cap: usize,
    digests: usize,
    digests_cap: u32,
    root: [u8; ROOT_ROOM],
    root_len: usize,
    ring: [usize; 3],
    /// Inodes of the namespaces in which its answers hold: mounts, users.
    pub namespaces: [u64; 2],
    /// Whose it is.
    pub uid: u32,
    /// Tells it from other VDirs of the project.
    pub generation: u64,
}

/// Why a file is not used as a VDir.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refused {
    /// It is none, or one of another version.
    Foreign,
    /// Its header is damaged, or its size is not what the header says.
    Damaged,
}

/// What a look-up says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Answer<T> {
    /// It is there.
    Found(T),
    /// The call fails with this number: ENOENT or ENOTDIR.
    Fails(i32),
    /// Ask the kernel.
    Unknown,
}

/// Nothing can be said.
struct Doubt;

impl Reader {
    /// A reader of a mapped file of `file_len` bytes; `asked` takes its questions.
    ///
    /// # Errors
    /// It is no sound VDir.
    pub fn new(map: Mem, asked: Option<Mem>, file_len: u64) -> Result<Self, Refused> {
        let word = |offset: usize| map.u64(offset).map_or(0, |word| word.load(Ordering::Acquire));
        if word(layout::ID) != u64::from(layout::MAGIC) | u64::from(layout::VERSION) << 32 {
            return Err(Refused::Foreign);
        }
        let fixed = (layout::FILE_LEN..layout::IMMUTABLE_END).step_by(8).map(word);
        let whole = word(layout::FILE_LEN) == file_len && map.len() as u64 == file_len;
        if !whole || hash::words(fixed, 0) != word(layout::CHECKSUM) {
            return Err(Refused::Damaged);
        }
        let halves = |offset: usize| (word(offset) as u32 as usize, (word(offset) >> 32) as usize);
        let (flags, head) = halves(layout::RING_FLAGS);
        let (uid, root_len) = halves(layout::OWNER);
        let lines = word(layout::INDEX_LINES);
        let regions = [
            (layout::ENTRIES, word(layout::ENTRIES_CAP), ENTRY_LEN),
            (layout::INDEX, lines, LINE_WORDS * 8),
            (layout::NAMES, word(layout::NAMES_LEN), 1),
            (layout::SHAPES, word(layout::SHAPES_CAP), SHAPE_WORDS * 8),
            (layout::DIGESTS, word(layout::DIGESTS_CAP), layout::DIGEST_LEN),
        ];
        // A checksum is no signature. With this, no offset below can overflow.
        let inside = |offset: usize, count: u64, size: usize| {
            let end = count.checked_mul(size as u64).and_then(|len| len.checked_add(word(offset)));
            end.is_some_and(|end| end <= file_len)
        };
        let fit = regions.iter().all(|(offset, count, size)| inside(*offset, *count, *size));
        if lines == 0
            || word(layout::ENTRIES_CAP) > u64::from(u32::MAX)
            || word(layout::DIGESTS_CAP) > u64::from(u32::MAX)
            || !fit
        {
            return Err(Refused::Damaged);
        }
        let mut reader = Self {
            key: [word(layout::KEY), word(layout::KEY + 8)],
            entries: word(layout::ENTRIES) as usize,
            entries_cap: word(layout::ENTRIES_CAP) as u32,
            index: word(layout::INDEX) as usize,
            index_lines: lines,
            names: word(layout::NAMES) as usize,
            names_len: word(layout::NAMES_LEN) as usize,
            shapes: word(layout::SHAPES) as usize,
            shapes_cap: word(layout::SHAPES_CAP) as usize,
            digests: word(layout::DIGESTS) as usize,
            digests_cap: word(layout::DIGESTS_CAP) as u32,
            root: [0; ROOT_ROOM],
            root_len,
            ring: [flags, head, word(layout::RING_TAIL) as usize],
            namespaces: [word(layout::MOUNTS), word(layout::USERS)],
            uid: uid as u32,
            generation: word(layout::GENERATION),
            map,
            asked,
        };
        let mut root = [0; ROOT_ROOM];
        let raw = reader.entry(0).map_err(|Doubt| Refused::Damaged)?;
        let name = raw.0[entry::NAME];
        reader.text(name as u32 as usize, root_len, (name >> 32) as u32, &mut root).map_err(|Doubt| Refused::Damaged)?;
        reader.root = root;
        Ok(reader)
    }

    /// The root's absolute path.
    #[inline]
    pub fn root(&self) -> &[u8] {
        self.root.get(..self.root_len).unwrap_or(b"")
    }

    /// Whether this is the map of shared trees: its root is that of all, and a folder is listed in it once it was asked for.
    #[inline]
    pub fn is_on_demand(&self) -> bool {
        self.root_len == 0
    }

    /// Whether this map is to be looked for anew: another file has taken its place, or it is no longer kept.
    pub fn has_ended(&self) -> bool {
        matches!(self.word(layout::STATE), state::MOVED | state::ENDED)
    }

    /// Entries in use.
    pub fn entries(&self) -> u64 {
        self.word(layout::ENTRIES_LIVE)
    }

    /// See [`layout::TURN`].
    pub fn turn(&self) -> u64 {
        self.word(layout::TURN)
    }

    /// Whether answers may be taken now, at `now`, seconds since 1970: the number to compare with later.
    #[inline]
    fn begin(&self, now: u64) -> Option<u64> {
        let generation = self.map.u64(layout::GEN)?.load(Ordering::Acquire);
        if !generation.is_multiple_of(2) || self.word(layout::STATE) != state::SERVING || self.word(layout::VALID_UNTIL) <= now {
            return None;
        }
        if self.asked.as_ref().is_some_and(|asked| asked::doubts(asked) != self.word(layout::DOUBTS_SEEN)) {
            return None;
        }
        let [flags, head, tail] = self.ring;
        let clear = self.map.u32(flags)?.load(Ordering::Acquire) & TASKRUN == 0;
        let same = self.map.u32(head)?.load(Ordering::Acquire) == self.map.u32(tail)?.load(Ordering::Acquire);
        // The feature is for the control of the differential test, which must notice that the rule is gone.
        (clear && same || cfg!(feature = "incoherent")).then_some(generation)
    }

    #[inline]
    fn unchanged(&self, generation: u64) -> bool {
        fence(Ordering::Acquire);
        self.word_relaxed(layout::GEN) == generation
    }

    /// Looks up a path below the root (without a slash at either end, `""` for the root itself; plainly spelt), links not
    /// followed. `now` is in seconds since 1970.
    pub fn look(&self, path: &[u8], now: u64) -> Answer<Found> {
        let Some(generation) = self.begin(now) else { return Answer::Unknown };
        let answer = match self.find(path) {
            Ok(Some((number, raw))) => self.found(number, &raw).map_or(Answer::Unknown, Answer::Found),
            Ok(None) => self.missing(path),
            Err(Doubt) => self.damaged(generation),
        };
        if self.unchanged(generation) { answer } else { Answer::Unknown }
    }

    /// Whether all that was answered since `begun` (a number that [`Self::mark`] gave) still holds.
    pub fn holds(&self, begun: u64, now: u64) -> bool {
        self.begin(now) == Some(begun)
    }

    /// A number that stays the same for as long as nothing changes; `None` while something does.
    pub fn mark(&self, now: u64) -> Option<u64> {
        self.begin(now)
    }

    /// Copies the target of the symbolic link that was found.
    pub fn target<'a>(&self, found: &Found, room: &'a mut [u8], now: u64) -> Option<&'a [u8]> {
        let generation = self.begin(now)?;
        if found.kind() != flag::LINK {
            return None;
        }
        let len = usize::try_from(found.size).ok().filter(|len| *len <= room.len())?;
        let text = self.text(found.link as usize, len, found.link_check, room).ok()?;
        self.unchanged(generation).then_some(text)
    }

    /// The digest of the file that was found.
    pub fn digest(&self, found: &Found, now: u64) -> Option<[u8; layout::DIGEST_LEN]> {
        let generation = self.begin(now)?;
        if found.kind() != flag::FILE || found.flags & flag::DIGEST == 0 || found.link >= self.digests_cap {
            return None;
        }
        let words = self.map.words::<4>(self.digests + found.link as usize * layout::DIGEST_LEN)?;
        let mut digest = [0; layout::DIGEST_LEN];
        for (to, word) in digest.chunks_exact_mut(8).zip(words) {
            to.copy_from_slice(&word.load(Ordering::Relaxed).to_le_bytes());
        }
        (hash::name(&digest) == found.link_check && self.unchanged(generation)).then_some(digest)
    }

    /// The entries of a folder that was found, in the kernel's order; `None` where these are not known.
    pub fn names(&self, found: &Found, now: u64) -> Option<Names<'_>> {
        let generation = self.begin(now)?;
        let complete = flag::ORDERED | flag::LISTED;
        // Entries of a map that somebody forged may follow each other in a circle.
        let possible = found.link_check <= self.entries_cap;
        (found.kind() == flag::DIR && found.flags & complete == complete && possible).then_some(Names {
            reader: self,
            generation,
            next: found.link,
            left: found.link_check,
        })
    }

    /// Tells the writer that more about an entry is wanted.
    pub fn ask(&self, number: u32) {
        if let Some(asked) = &self.asked {
            asked::ask(asked, number);
        }
    }

    #[cold]
    fn damaged<T>(&self, generation: u64) -> Answer<T> {
        // What changed while it was read is not damaged.
        if self.unchanged(generation)
            && let Some(asked) = &self.asked
        {
            asked::report_damage(asked);
        }
        Answer::Unknown
    }

    /// Why nothing is at `path`: the deepest folder on the way that there is an entry for tells.
    fn missing(&self, path: &[u8]) -> Answer<Found> {
        let whole = path;
        let mut path = path;
        loop {
            let Some(end) = path.iter().rposition(|c| *c == b'/') else {
                return if path.is_empty() { Answer::Unknown } else { self.below(b"") };
            };
            let is_first = path.len() == whole.len();
            path = &path[..end];
            match self.find(path) {
                Ok(Some((number, raw))) => return self.fails_below(number, &raw),
                // Of most folders below the root of all the map of shared trees knows nothing.
                Ok(None) if is_first && self.is_on_demand() && !self.knows_first_of(path) => return Answer::Unknown,
                Ok(None) => {}
                Err(Doubt) => return Answer::Unknown,
            }
        }
    }

    /// Whether there is an entry for the first folder on the way.
    fn knows_first_of(&self, path: &[u8]) -> bool {
        let end = path.iter().position(|c| *c == b'/').unwrap_or(path.len());
        matches!(self.find(&path[..end]), Ok(Some(_)))
    }

    fn below(&self, path: &[u8]) -> Answer<Found> {
        match self.find(path) {
            Ok(Some((number, raw))) => self.fails_below(number, &raw),
            _ => Answer::Unknown,
        }
    }

    fn fails_below(&self, number: u32, raw: &Raw) -> Answer<Found> {
        match raw.kind() {
            flag::DIR if raw.flags() & flag::LISTED != 0 => Answer::Fails(libc::ENOENT),
            flag::DIR if self.is_on_demand() => {
                self.ask(number);
                Answer::Unknown
            }
            flag::FILE => Answer::Fails(libc::ENOTDIR),
            _ => Answer::Unknown,
        }
    }

    /// The entry of a path; `None` where there is none.
    #[inline]
    fn find(&self, path: &[u8]) -> Result<Option<(u32, Raw)>, Doubt> {
        let hash = hash::path(self.key, path);
        let tag = hash[1] >> 32;
        for probe in 0..layout::PROBES as u64 {
            let number = hash::line(hash[0], probe, self.index_lines) as usize;
            let line = self.map.words::<LINE_WORDS>(self.index + number * LINE_WORDS * 8).ok_or(Doubt)?;
            let line: [u64; LINE_WORDS] = core::array::from_fn(|n| line[n].load(Ordering::Relaxed));
            if hash::words(line[..SLOTS].iter().copied(), number as u64) != line[SLOTS] {
                return Err(Doubt);
            }
            let mut full = true;
            for slot in &line[..SLOTS] {
                if *slot == 0 {
                    full = false;
                } else if slot >> 32 == tag && *slot as u32 != 0 {
                    let number = (*slot as u32).wrapping_sub(1);
                    let raw = self.entry(number)?;
                    if raw.0[entry::HASH] == hash[0] {
                        return self.is_named(&raw, number, path).then_some(Some((number, raw))).ok_or(Doubt);
                    }
                }
            }
            if !full {
                return Ok(None);
            }
        }
        Err(Doubt)
    }

    /// Whether the last name of `path` is the entry's: two hashes have said so already.
    #[inline]
    fn is_named(&self, raw: &Raw, number: u32, path: &[u8]) -> bool {
        if number == 0 {
            return path.is_empty();
        }
        let len = raw.name_len();
        match path.len().checked_sub(len).and_then(|at| path.get(at..)) {
            Some(name) => path.len() == len || path[path.len() - len - 1] == b'/' && !name.contains(&b'/'),
            None => false,
        }
    }

    #[inline]
    fn entry(&self, number: u32) -> Result<Raw, Doubt> {
        if number >= self.entries_cap {
            return Err(Doubt);
        }
        let words = self.map.words::<ENTRY_WORDS>(self.entries + number as usize * ENTRY_LEN).ok_or(Doubt)?;
        let words: [u64; ENTRY_WORDS] = core::array::from_fn(|n| words[n].load(Ordering::Relaxed));
        let raw = Raw(words);
        let sound = raw.flags() & flag::USED != 0
            && hash::words(words[..entry::CHECKSUM].iter().copied(), number.into()) == words[entry::CHECKSUM];
        if sound { Ok(raw) } else { Err(Doubt) }
    }

    #[inline]
    fn found(&self, number: u32, raw: &Raw) -> Option<Found> {
        let words = &raw.0;
        let mut found = Found {
            number,
            flags: raw.flags(),
            nlink: (words[entry::HEAD] >> 32) as u16,
            ino: words[entry::INO],
            size: words[entry::SIZE],
            times: [words[entry::ATIME], words[entry::MTIME], words[entry::CTIME], words[entry::BTIME]].map(|ns| ns as i64),
            blocks: words[entry::BLOCKS] as u32,
            link: raw.link(),
            link_check: raw.link_check(),
            ..Found::default()
        };
        let number = (words[entry::HEAD] >> 16) as u16 as usize;
        if number >= self.shapes_cap {
            return None;
        }
        let shape = self.map.words::<SHAPE_WORDS>(self.shapes + number * SHAPE_WORDS * 8)?;
        let shape: [u64; SHAPE_WORDS] = core::array::from_fn(|n| shape[n].load(Ordering::Relaxed));
        if hash::words(shape[..shape::CHECKSUM].iter().copied(), number as u64) != shape[shape::CHECKSUM] {
            return None;
        }
        found.dev = shape[shape::DEV];
        (found.mode, found.uid) = (shape[shape::MODE] as u32, (shape[shape::MODE] >> 32) as u32);
        (found.gid, found.blksize) = (shape[shape::GROUP] as u32, (shape[shape::GROUP] >> 32) as u32);
        found.statx = [shape[shape::ATTRIBUTES], shape[shape::ATTRIBUTES_MASK], shape[shape::MOUNT], shape[shape::MASK]];
        Some(found)
    }

    /// Copies `len` bytes of the names.
    fn text<'a>(&self, at: usize, len: usize, check: u32, room: &'a mut [u8]) -> Result<&'a [u8], Doubt> {
        let start = at * 8;
        let to = room.get_mut(..len).ok_or(Doubt)?;
        if start + len > self.names_len {
            return Err(Doubt);
        }
        for (n, to) in to.chunks_mut(8).enumerate() {
            let word = self.map.u64(self.names + start + n * 8).ok_or(Doubt)?.load(Ordering::Relaxed).to_le_bytes();
            to.copy_from_slice(&word[..to.len()]);
        }
        if hash::name(to) == check { Ok(to) } else { Err(Doubt) }
    }

    #[inline]
    fn word(&self, offset: usize) -> u64 {
        self.map.u64(offset).map_or(0, |word| word.load(Ordering::Acquire))
    }

    #[inline]
    fn word_relaxed(&self, offset: usize) -> u64 {
        self.map.u64(offset).map_or(0, |word: &AtomicU64| word.load(Ordering::Relaxed))
    }
}
