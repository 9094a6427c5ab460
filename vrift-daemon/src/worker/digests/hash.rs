//! Hashing files and folders.

use std::cell::RefCell;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use nix::libc::{O_NOCTTY, O_NONBLOCK};
use vrift_core::digest::{Digest, FieldHasher};
use vrift_core::wire::Stamp;
use vrift_store::cas::file_stamp;

use crate::server::pulse;

/// Bytes read at a time; a smaller file is hashed in one go.
const CHUNK: usize = 256 << 10;

/// How often a file that changes under the reader is read again.
const TRIES: usize = 3;

/// Entries of a folder that is still hashed.
pub const MAX_ENTRIES: usize = 1_000_000;

/// The digest of the regular file at `path`, and the stamp that it had before and after it was read.
///
/// # Errors
/// What the file system gives; `ResourceBusy` where the file does not stop changing, `InvalidInput` where it is no file.
pub fn file(path: &Path) -> io::Result<(Stamp, Digest)> {
    // Neither a FIFO nor a terminal that took the file's place may hold the worker up.
    let mut file = OpenOptions::new().read(true).custom_flags(O_NONBLOCK | O_NOCTTY).open(path)?;
    for _ in 0..TRIES {
        let meta = file.metadata()?;
        if !meta.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "no regular file"));
        }
        let before = file_stamp(&meta);
        let digest = read_all(&mut file)?;
        if file_stamp(&file.metadata()?) == before {
            return Ok((before, digest));
        }
        io::Seek::rewind(&mut file)?;
    }
    Err(io::Error::new(io::ErrorKind::ResourceBusy, "it keeps changing"))
}

/// The digest of what `file` still gives, at most `limit` bytes, for files that are no regular ones or say nothing of
/// their size.
///
/// # Errors
/// What the file system gives; `FileTooLarge` beyond the limit.
pub fn stream(path: &Path, limit: u64) -> io::Result<Digest> {
    let mut content = Vec::new();
    let file = OpenOptions::new().read(true).custom_flags(O_NONBLOCK | O_NOCTTY).open(path)?;
    file.take(limit + 1).read_to_end(&mut content)?;
    if content.len() as u64 > limit {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    Ok(Digest::of(&content))
}

fn read_all(file: &mut File) -> io::Result<Digest> {
    thread_local! {
        static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    }
    BUFFER.with_borrow_mut(|buffer| {
        if buffer.is_empty() {
            // As it comes from the system: small files touch no more of it than they need.
            *buffer = vec![0; CHUNK];
        }
        let mut first = 0;
        // As much as one buffer holds, however it comes; a file that ends here needs no hasher of its own.
        while first < CHUNK {
            match read(file, &mut buffer[first..])? {
                0 => return Ok(Digest::of(&buffer[..first])),
                n => first += n,
            }
        }
        let mut hasher = blake3::Hasher::new();
        hasher.update(buffer);
        loop {
            pulse::beat();
            match read(file, buffer)? {
                0 => return Ok(Digest::from_bytes(*hasher.finalize().as_bytes())),
                n => hasher.update(&buffer[..n]),
            };
        }
    })
}

fn read(file: &mut File, into: &mut [u8]) -> io::Result<usize> {
    loop {
        match file.read(into) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

/// The digest of the names in the folder at `path`, sorted, and the folder's stamp before and after.
///
/// vrift's own entries are left out: the state folder of a project and files on their way to a name.
///
/// # Errors
/// As [`file`].
pub fn listing(path: &Path) -> io::Result<(Stamp, Digest)> {
    for _ in 0..TRIES {
        let before = file_stamp(&fs::metadata(path)?);
        let mut names = Vec::new();
        for entry in fs::read_dir(path)? {
            let name = entry?.file_name().into_vec();
            if !is_own_entry(&name) {
                names.push(name);
            }
            if names.len() > MAX_ENTRIES {
                return Err(io::Error::new(io::ErrorKind::FileTooLarge, "too many entries"));
            }
        }
        names.sort_unstable();
        let mut hasher = FieldHasher::new("vrift-listing-1");
        for name in &names {
            hasher.field(name);
        }
        if file_stamp(&fs::metadata(path)?) == before {
            return Ok((before, hasher.finish()));
        }
    }
    Err(io::Error::new(io::ErrorKind::ResourceBusy, "it keeps changing"))
}

/// Whether the name is vrift's own: a project's state folder, a file on its way to a name.
pub fn is_own_entry(name: &[u8]) -> bool {
    name == vrift_store::state_dir::NAME.as_bytes() || (name.starts_with(b".vrift-") && name.ends_with(b".tmp"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_every_length_hash_as_their_content() {
        let dir = tempfile::tempdir().expect("tempdir");
        let path = dir.path().join("f");
        for len in [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK + 7] {
            let content: Vec<u8> = (0..len).map(|i| (i % 251) as u8).collect();
            fs::write(&path, &content).expect("writes");
            let (stamp, digest) = file(&path).expect("hashes");
            assert_eq!((stamp.size, digest), (len as u64, Digest::of(&content)));
        }
        assert_eq!(file(dir.path()).expect_err("a folder").kind(), io::ErrorKind::InvalidInput);
        assert_eq!(stream(&path, 10).expect_err("too long").kind(), io::ErrorKind::FileTooLarge);
    }

    #[test]
    fn listings_know_names_and_nothing_else() {
        let dir = tempfile::tempdir().expect("tempdir");
        let digest = || listing(dir.path()).expect("lists").1;
        let empty = digest();
        fs::write(dir.path().join("a"), "1").expect("writes");
        let one = digest();
        assert_ne!(empty, one);
        fs::write(dir.path().join("a"), "22").expect("writes");
        fs::create_dir(dir.path().join(".vrift")).expect("creates");
        fs::write(dir.path().join(".vrift-1-2.tmp"), "").expect("writes");
        assert_eq!(digest(), one);
        fs::rename(dir.path().join("a"), dir.path().join("b")).expect("renames");
        assert_ne!(digest(), one);
    }
}
