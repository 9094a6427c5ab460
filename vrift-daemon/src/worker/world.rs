//! What a client would see: files, folders and variables as they are now.

use std::cell::RefCell;
use std::ffi::OsStr;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use vrift_core::action::{EnvInput, FileKind, InputState, Tool};
use vrift_core::bytes::ByteText;
use vrift_core::digest::Digest;
use vrift_core::paths::{Root, Roots, TemplatePath};

use super::digests::{Digests, is_volatile};
use super::key::split;

/// One client's surroundings.
pub struct World<'a> {
    /// What is known about files.
    pub digests: &'a Digests,
    /// Where the known roots are.
    pub roots: &'a Roots,
    /// The kind of program.
    pub tool: Tool,
    /// Sorted by name.
    env: Vec<(&'a [u8], &'a [u8])>,
    /// Of the values in `env`, as far as they were needed.
    env_digests: RefCell<Vec<Option<Digest>>>,
}

/// How an input compares with what was recorded.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is as it was.
    Same,
    /// It is not; this is what it is now.
    Differs(String),
    /// Its content has to be read to tell.
    Unread,
}

impl<'a> World<'a> {
    /// The surroundings of a client with these variables and roots.
    pub fn new(digests: &'a Digests, roots: &'a Roots, tool: Tool, env: &'a [ByteText]) -> Self {
        let mut env: Vec<_> = env.iter().filter_map(split).collect();
        // Where a name occurs twice, `getenv` finds the first.
        env.sort_by_key(|(name, _)| *name);
        env.dedup_by_key(|(name, _)| *name);
        let env_digests = RefCell::new(vec![None; env.len()]);
        Self { digests, roots, tool, env, env_digests }
    }

    /// All variables, by name.
    pub fn vars(&self) -> &[(&'a [u8], &'a [u8])] {
        &self.env
    }

    /// The value of a variable.
    pub fn var(&self, name: &[u8]) -> Option<&'a [u8]> {
        self.env.binary_search_by_key(&name, |(n, _)| *n).ok().map(|at| self.env[at].1)
    }

    /// Whether a variable is as it was: unset and empty are two things.
    pub fn env_holds(&self, input: &EnvInput) -> bool {
        match (self.env.binary_search_by_key(&&input.name[..], |(n, _)| *n), input.value) {
            (Err(_), None) => true,
            (Ok(at), Some(wanted)) => {
                let mut digests = self.env_digests.borrow_mut();
                *digests[at].get_or_insert_with(|| value_digest(self.roots, self.env[at].1)) == wanted
            }
            _ => false,
        }
    }

    /// Puts the path that a template stands for here into `buffer`; `None` where its root is not known here.
    pub fn expand<'b>(&self, path: &TemplatePath, buffer: &'b mut Vec<u8>) -> Option<&'b [u8]> {
        buffer.clear();
        match path.as_bytes() {
            [0, letter, rest @ ..] => {
                let root = self.roots.get(Root::from_letter(*letter)?)?;
                buffer.extend_from_slice(root.as_bytes());
                buffer.extend_from_slice(rest);
            }
            plain => buffer.extend_from_slice(plain),
        }
        Some(buffer)
    }

    /// Compares the input at `path` with what was recorded of it. A content that is not known is read only if `read` says so.
    pub fn compare(&self, path: &[u8], recorded: &InputState, read: bool) -> Verdict {
        match recorded {
            InputState::Absent => match fs::metadata(as_path(path)) {
                Err(e) if is_absent(&e) => Verdict::Same,
                Ok(meta) => Verdict::Differs(kind_name(kind_of(&meta)).to_owned()),
                Err(e) => Verdict::Differs(e.to_string()),
            },
            InputState::Kind(kind) => same_kind(fs::metadata(as_path(path)), *kind),
            InputState::Itself(kind) => same_kind(fs::symlink_metadata(as_path(path)), *kind),
            InputState::Link(wanted) => match fs::read_link(as_path(path)) {
                Ok(target) if link_digest(self.roots, target.as_os_str().as_bytes()) == *wanted => Verdict::Same,
                Ok(target) => Verdict::Differs(format!("a link to {}", target.display())),
                Err(e) if is_absent(&e) => Verdict::Differs("absent".to_owned()),
                Err(_) => Verdict::Differs("no link".to_owned()),
            },
            InputState::Listing(wanted) => self.compare_listing(path, wanted),
            InputState::Content(wanted) => self.compare_content(path, wanted, read),
        }
    }

    fn compare_listing(&self, path: &[u8], wanted: &Digest) -> Verdict {
        match fs::metadata(as_path(path)).and_then(|meta| self.digests.listing(path, &meta)) {
            Ok((_, known)) if known.digest == *wanted => Verdict::Same,
            Ok((_, known)) => Verdict::Differs(format!("entries {}", known.digest.short())),
            Err(e) if is_absent(&e) => Verdict::Differs("absent".to_owned()),
            Err(e) => Verdict::Differs(e.to_string()),
        }
    }

    fn compare_content(&self, path: &[u8], wanted: &Digest, read: bool) -> Verdict {
        let meta = match fs::metadata(as_path(path)) {
            Ok(meta) if meta.is_file() => meta,
            Ok(meta) => return Verdict::Differs(kind_name(kind_of(&meta)).to_owned()),
            Err(e) if is_absent(&e) => return Verdict::Differs("absent".to_owned()),
            Err(e) => return Verdict::Differs(e.to_string()),
        };
        let known = match is_volatile(path) {
            true => None,
            false => self.digests.peek(path, &meta, Some(*wanted)),
        };
        let digest = match known {
            Some(known) => known.digest,
            None if !read => return Verdict::Unread,
            None => match self.digests.content(path, &meta, Some(*wanted)) {
                Ok((_, known)) => known.digest,
                Err(e) => return Verdict::Differs(e.to_string()),
            },
        };
        if digest == *wanted { Verdict::Same } else { Verdict::Differs(digest.short()) }
    }
}

fn same_kind(found: io::Result<Metadata>, wanted: FileKind) -> Verdict {
    match found {
        Ok(meta) if kind_of(&meta) == wanted => Verdict::Same,
        Ok(meta) => Verdict::Differs(kind_name(kind_of(&meta)).to_owned()),
        Err(e) if is_absent(&e) => Verdict::Differs("absent".to_owned()),
        Err(e) => Verdict::Differs(e.to_string()),
    }
}

/// The digest that stands for a variable's value: of its bytes with known roots replaced.
pub fn value_digest(roots: &Roots, value: &[u8]) -> Digest {
    Digest::of(&roots.template_text(value).bytes)
}

/// The digest that stands for a symbolic link's target: of its bytes with known roots replaced.
pub fn link_digest(roots: &Roots, target: &[u8]) -> Digest {
    Digest::of(&roots.template_text(target).bytes)
}

/// Whether an error means that nothing is there.
pub fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// The kind of what `meta` describes.
pub fn kind_of(meta: &Metadata) -> FileKind {
    let kind = meta.file_type();
    if kind.is_file() {
        FileKind::File
    } else if kind.is_dir() {
        FileKind::Dir
    } else if kind.is_symlink() {
        FileKind::Symlink
    } else {
        debug_assert!(kind.is_fifo() || kind.is_socket() || kind.is_block_device() || kind.is_char_device());
        FileKind::Other
    }
}

/// A kind, for messages.
pub fn kind_name(kind: FileKind) -> &'static str {
    match kind {
        FileKind::File => "a file",
        FileKind::Dir => "a folder",
        FileKind::Symlink => "a link",
        FileKind::Other => "no file or folder",
    }
}

/// Bytes as a path.
pub fn as_path(path: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(path))
}
