//! Any bytes in the place of a VDir: readers answer or do not, and never read beyond it, hang or panic.
//!
//! The first byte of an input says how the rest is taken: as a whole file, or as changes of a sound VDir (four bytes of offset, one
//! of value, little endian). With another bit the header's checksum is made to fit afterwards, with a third one those of the entries,
//! so that what lies behind these checks is reached too.

use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::OnceLock;

use vrift_core::vdir::layout::{self, ENTRY_LEN, ENTRY_WORDS, entry, flag, state};
use vrift_core::vdir::ring::Ring;
use vrift_core::vdir::{Answer, Capacity, EntryData, Identity, Mem, ROOT_ROOM, Reader, Stat, Writer, hash};

/// Bits of the first byte.
const WHOLE: u8 = 1;
const FIT_HEADER: u8 = 2;
const FIT_ENTRIES: u8 = 4;

const NOW: u64 = 1_000;

const PATHS: [&str; 9] = ["", "src", "src/a.rs", "src/deep", "src/deep/b", "link", "none", "src/none/deeper", "src/a.rs/x"];

fn fill(writer: &mut Writer) {
    let dir = EntryData { flags: flag::DIR | flag::LISTED, ino: 1, stat: None };
    let stat = Stat { dev: 9, mode: 0o100_644, nlink: 1, size: 7, ..Stat::default() };
    let file = EntryData { flags: flag::FILE | flag::STAT, ino: 2, stat: Some(stat) };
    let link = EntryData { flags: flag::LINK | flag::STAT, ino: 3, stat: Some(Stat { mode: 0o120_777, size: 5, ..stat }) };
    let mut set = |path: &str, data: &EntryData| writer.set_entry(path.as_bytes(), data).expect("room");
    let (root, src, a, deep, b, link) = (
        set("", &dir),
        set("src", &dir),
        set("src/a.rs", &file),
        set("src/deep", &dir),
        set("src/deep/b", &file),
        set("link", &link),
    );
    writer.set_order(root, &[src, link]);
    writer.set_order(src, &[deep, a]);
    writer.set_order(deep, &[b]);
    writer.set_target(link, b"src/x").expect("room");
    writer.set_digest(a, &[7; layout::DIGEST_LEN]).expect("room");
}

/// A sound VDir, as it lies in its file.
fn sound() -> &'static [u8] {
    static SOUND: OnceLock<Vec<u8>> = OnceLock::new();
    SOUND.get_or_init(|| {
        let dir = tempfile::tempdir_in("/dev/shm").expect("a folder");
        let path = dir.path().join("vdir");
        let file = File::options().read(true).write(true).create_new(true).open(&path).expect("creates");
        let root = b"/work/project".to_vec();
        let identity = Identity { project: 1, generation: 2, namespaces: [3, 4], uid: 5, key: [6, 7], root };
        let mut writer = Writer::create(&file, Capacity::of(16), &identity).expect("creates");
        let (poll, _pipe) = std::io::pipe().expect("a pipe");
        let ring = Ring::new(writer.map(), &[(poll.as_fd(), libc::POLLIN)]).expect("this kernel has io_uring");
        fill(&mut writer);
        writer.seal(ring.offsets());
        writer.set_valid_until(NOW + 1);
        writer.set_state(state::SERVING);
        writer.end();
        std::fs::read(&path).expect("reads")
    })
}

fn word(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..at + 8).and_then(|word| word.try_into().ok()).map_or(0, u64::from_le_bytes)
}

fn set_word(bytes: &mut [u8], at: usize, value: u64) {
    if let Some(word) = bytes.get_mut(at..at + 8) {
        word.copy_from_slice(&value.to_le_bytes());
    }
}

/// What an input stands for.
fn bytes_of(input: &[u8]) -> Vec<u8> {
    let Some((how, rest)) = input.split_first() else { return Vec::new() };
    let mut bytes = if how & WHOLE == 0 { sound().to_vec() } else { rest.to_vec() };
    if how & WHOLE == 0 {
        for change in rest.chunks_exact(5) {
            let at = u32::from_le_bytes([change[0], change[1], change[2], change[3]]) as usize % bytes.len();
            bytes[at] = change[4];
        }
    }
    if how & FIT_ENTRIES != 0 {
        let first = word(sound(), layout::ENTRIES) as usize;
        for number in 0..word(sound(), layout::ENTRIES_CAP) {
            let at = first + number as usize * ENTRY_LEN;
            let words = (0..ENTRY_WORDS - 1).map(|n| word(&bytes, at + n * 8));
            let check = hash::words(words, number);
            set_word(&mut bytes, at + entry::CHECKSUM * 8, check);
        }
    }
    if how & FIT_HEADER != 0 {
        let fixed = (layout::FILE_LEN..layout::IMMUTABLE_END).step_by(8).map(|at| word(&bytes, at));
        let check = hash::words(fixed, 0);
        set_word(&mut bytes, layout::CHECKSUM, check);
    }
    bytes
}

/// Whether readers take the VDir that an input stands for, and how many of some paths they answer for.
pub fn any_vdir(input: &[u8]) -> Option<usize> {
    let bytes = bytes_of(input);
    if bytes.is_empty() {
        return None;
    }
    let mut file = tempfile::tempfile_in("/dev/shm").expect("a file");
    file.write_all(&bytes).expect("writes");
    let map = Mem::new(file.as_raw_fd(), bytes.len(), false).expect("maps");
    let reader = Reader::new(map, None, bytes.len() as u64).ok()?;
    let mut room = [0; ROOT_ROOM];
    let mut answers = 0;
    assert!(reader.root().len() <= ROOT_ROOM);
    for path in PATHS {
        match reader.look(path.as_bytes(), NOW) {
            Answer::Unknown => continue,
            Answer::Fails(errno) => assert!(errno == libc::ENOENT || errno == libc::ENOTDIR),
            Answer::Found(found) => {
                let _ = (reader.target(&found, &mut room, NOW), reader.digest(&found, NOW));
                let mut names = reader.names(&found, NOW);
                while let Some(Ok(Some(name))) = names.as_mut().map(|names| names.next(&mut room)) {
                    assert!(name.len <= room.len());
                }
            }
        }
        answers += 1;
    }
    let _ = (reader.has_ended(), reader.turn(), reader.mark(NOW).is_some_and(|mark| reader.holds(mark, NOW)));
    Some(answers)
}
