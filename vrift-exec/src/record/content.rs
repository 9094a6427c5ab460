//! What is in a file that a run left, without holding all of it in memory.
//!
//! Memory that a process touches for the first time costs more than reading and hashing do, and each action has a process of
//! its own: so all files go through one buffer.

use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;

use vrift_core::digest::Digest;
use vrift_core::paths::{AbsPath, Roots};
use vrift_core::wire::Stamp;
use vrift_store::cas::file_stamp;

use super::Reason;

/// A file larger than this is not stored: hashing it would hold up the build.
const LARGEST_FILE: u64 = 2 << 30;

/// Bytes that are read at a time.
const PIECE: usize = 256 * 1024;

/// What reading a file showed.
pub struct Content {
    /// Of all of it.
    pub digest: Digest,
    /// The file's, before and after.
    pub stamp: Stamp,
    /// It holds the path of one of the roots.
    pub names_root: bool,
    /// It holds no NUL.
    pub is_text: bool,
}

/// Reads files, one after the other.
pub struct Reader {
    roots: Roots,
    /// How much of what was read may be the beginning of a root that goes on in the next piece.
    carried: usize,
    buffer: Vec<u8>,
}

impl Reader {
    /// A reader that looks for these roots.
    pub fn new(roots: Roots) -> Self {
        let longest = roots.iter().map(|(_, path)| path.as_bytes().len()).max().unwrap_or(0);
        Self { roots, carried: longest.saturating_sub(1), buffer: Vec::new() }
    }

    /// The roots that it looks for.
    pub fn roots(&self) -> &Roots {
        &self.roots
    }

    /// Reads the file at `path`.
    pub fn read(&mut self, path: &AbsPath) -> Result<Content, Reason> {
        let fail = |e: io::Error| format!("`{path}` could not be read: {e}");
        let mut file = fs::File::open(path.as_path()).map_err(fail)?;
        let before = file.metadata().map_err(fail)?;
        if before.size() > LARGEST_FILE {
            return Err(format!("`{path}` is too large to store"));
        }
        // No larger than it has to be: most outputs are small, and so is what is touched for them.
        let wanted = self.carried + usize::try_from(before.size()).unwrap_or(PIECE).clamp(1, PIECE);
        if self.buffer.len() < wanted {
            self.buffer.resize(wanted, 0);
        }
        let (mut hasher, mut size) = (blake3::Hasher::new(), 0);
        let (mut names_root, mut is_text) = (false, true);
        // `buffer[start..self.carried]` is what the last piece left.
        let mut start = self.carried;
        loop {
            let len = match file.read(&mut self.buffer[self.carried..]) {
                Ok(0) => break,
                Ok(len) => len,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(fail(e)),
            };
            let piece = &self.buffer[self.carried..self.carried + len];
            hasher.update(piece);
            size += len as u64;
            is_text = is_text && memchr::memchr(0, piece).is_none();
            names_root = names_root || self.roots.occur_in(&self.buffer[start..self.carried + len]);
            let kept = self.carried.min(self.carried - start + len);
            let end = self.carried + len;
            self.buffer.copy_within(end - kept..end, self.carried - kept);
            start = self.carried - kept;
        }
        let (before, after) = (file_stamp(&before), file_stamp(&file.metadata().map_err(fail)?));
        if before != after || before.size != size {
            return Err(format!("`{path}` was still being written"));
        }
        Ok(Content { digest: Digest::from_bytes(*hasher.finalize().as_bytes()), stamp: before, names_root, is_text })
    }
}

#[cfg(test)]
mod tests {
    use vrift_core::paths::Root;

    use super::*;

    fn abs(path: &str) -> AbsPath {
        AbsPath::new(path.as_bytes()).expect("absolute")
    }

    #[test]
    fn a_root_is_found_wherever_pieces_end() {
        let dir = tempfile::tempdir().expect("tempdir");
        let path = dir.path().join("file");
        let at = AbsPath::try_from(path.as_path()).expect("absolute");
        let mut reader = Reader::new(Roots::new([(Root::Project, abs("/work/checkout")), (Root::Target, abs("/t"))]));
        let root = b"/work/checkout";
        for from in (PIECE - root.len() - 2..PIECE + 3).chain([0, 3, 2 * PIECE - 5, 3 * PIECE]) {
            let mut content = vec![b'x'; from];
            content.extend_from_slice(root);
            content.extend_from_slice(&[b'y'; 7]);
            fs::write(&path, &content).expect("writes");
            let read = reader.read(&at).expect("reads");
            assert!(read.names_root && read.is_text, "{from}");
            assert_eq!(read.digest, Digest::of(&content), "{from}");
            content[from + 1] = 0;
            fs::write(&path, &content).expect("writes");
            let read = reader.read(&at).expect("reads");
            assert!(!read.names_root && !read.is_text, "{from}");
        }
        fs::write(&path, "").expect("writes");
        let read = reader.read(&at).expect("reads");
        assert!(!read.names_root && read.is_text && read.stamp.size == 0);
    }

    #[test]
    fn what_one_file_ends_with_does_not_begin_the_next() {
        let dir = tempfile::tempdir().expect("tempdir");
        let at = |name: &str| AbsPath::try_from(dir.path().join(name).as_path()).expect("absolute");
        let mut reader = Reader::new(Roots::new([(Root::Project, abs("/work/checkout"))]));
        fs::write(at("a").as_path(), "/work/che").expect("writes");
        fs::write(at("b").as_path(), "ckout").expect("writes");
        assert!(!reader.read(&at("a")).expect("reads").names_root);
        assert!(!reader.read(&at("b")).expect("reads").names_root);
    }
}
