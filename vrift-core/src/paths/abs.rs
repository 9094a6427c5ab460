//! Absolute and project-relative paths.

use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::bytes::ByteText;

/// What is wrong with a path.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum PathError {
    /// An absolute path was needed.
    #[error("`{0}` is not an absolute path")]
    NotAbsolute(String),
    /// A path inside the project was needed.
    #[error("`{0}` leaves its project")]
    Escapes(String),
    /// The kernel takes no path with a NUL byte.
    #[error("`{0}` holds a NUL byte")]
    Nul(String),
}

/// An absolute path without `.`, `..`, doubled or trailing slashes.
///
/// Cleaning is lexical: `a/../b` becomes `b`, which is the kernel's reading only where `a` is no symlink. Callers that
/// need the kernel's reading canonicalise first.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "ByteText", into = "ByteText")]
pub struct AbsPath(ByteText);

impl AbsPath {
    /// The folder `/`.
    pub fn root() -> Self {
        Self(ByteText::from(&b"/"[..]))
    }

    /// Takes an absolute path and cleans it.
    ///
    /// # Errors
    /// [`PathError::NotAbsolute`] and [`PathError::Nul`].
    pub fn new(path: &[u8]) -> Result<Self, PathError> {
        if !path.starts_with(b"/") {
            return Err(PathError::NotAbsolute(String::from_utf8_lossy(path).into_owned()));
        }
        if path.contains(&0) {
            return Err(PathError::Nul(String::from_utf8_lossy(path).into_owned()));
        }
        Ok(Self(ByteText(clean(path))))
    }

    /// `path` as seen from the folder `base`; an absolute `path` stands for itself.
    ///
    /// # Errors
    /// As [`AbsPath::new`].
    pub fn resolve(base: &Self, path: &[u8]) -> Result<Self, PathError> {
        if path.starts_with(b"/") {
            return Self::new(path);
        }
        let mut joined = base.0.0.clone();
        joined.push(b'/');
        joined.extend_from_slice(path);
        Self::new(&joined)
    }

    /// A child of this folder.
    ///
    /// # Errors
    /// As [`AbsPath::new`].
    pub fn join(&self, child: &str) -> Result<Self, PathError> {
        Self::resolve(self, child.as_bytes())
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// For calls into the standard library.
    pub fn as_path(&self) -> &Path {
        Path::new(OsStr::from_bytes(&self.0))
    }

    /// The last component; empty for `/`.
    pub fn file_name(&self) -> &[u8] {
        match self.0.iter().rposition(|c| *c == b'/') {
            Some(at) => &self.0[at + 1..],
            None => &self.0,
        }
    }

    /// The folder that holds this path; `None` for `/`.
    pub fn parent(&self) -> Option<Self> {
        match self.0.iter().rposition(|c| *c == b'/') {
            Some(0) if self.0.len() == 1 => None,
            Some(0) => Some(Self(ByteText::from("/"))),
            Some(at) => Some(Self(ByteText::from(&self.0[..at]))),
            None => None,
        }
    }

    /// What follows `base` and a slash; empty where the two are equal, `None` where this path is not below `base`.
    pub fn below(&self, base: &Self) -> Option<&[u8]> {
        strip_root(&self.0, base.as_bytes())
    }
}

impl TryFrom<ByteText> for AbsPath {
    type Error = PathError;

    fn try_from(text: ByteText) -> Result<Self, PathError> {
        Self::new(&text)
    }
}

impl TryFrom<&Path> for AbsPath {
    type Error = PathError;

    fn try_from(path: &Path) -> Result<Self, PathError> {
        Self::new(path.as_os_str().as_bytes())
    }
}

impl From<AbsPath> for ByteText {
    fn from(path: AbsPath) -> Self {
        path.0
    }
}

impl fmt::Display for AbsPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.display())
    }
}

impl fmt::Debug for AbsPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// A path inside a project, relative to its root; the root itself is empty.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct ProjectPath(ByteText);

impl ProjectPath {
    /// Where `path` is inside the project at `root`.
    ///
    /// # Errors
    /// [`PathError::Escapes`] where it is not inside.
    pub fn new(root: &AbsPath, path: &AbsPath) -> Result<Self, PathError> {
        match path.below(root) {
            Some(rest) => Ok(Self(ByteText::from(rest))),
            None => Err(PathError::Escapes(path.to_string())),
        }
    }

    /// The bytes, without a leading slash.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Where this path is for the project at `root`.
    pub fn under(&self, root: &AbsPath) -> AbsPath {
        let mut joined = root.as_bytes().to_vec();
        joined.push(b'/');
        joined.extend_from_slice(&self.0);
        AbsPath(ByteText(clean(&joined)))
    }
}

/// The rest of `path` behind `root` at a component boundary, without the slash.
pub(super) fn strip_root<'a>(path: &'a [u8], root: &[u8]) -> Option<&'a [u8]> {
    if root == b"/" {
        return path.strip_prefix(b"/");
    }
    match path.strip_prefix(root)? {
        [] => Some(&[]),
        [b'/', rest @ ..] => Some(rest),
        _ => None,
    }
}

/// Lexical cleaning of an absolute path.
fn clean(path: &[u8]) -> Vec<u8> {
    let mut out: Vec<u8> = Vec::with_capacity(path.len());
    for part in path.split(|c| *c == b'/') {
        match part {
            b"" | b"." => {}
            b".." => {
                let cut = out.iter().rposition(|c| *c == b'/').unwrap_or(0);
                out.truncate(cut);
            }
            name => {
                out.push(b'/');
                out.extend_from_slice(name);
            }
        }
    }
    if out.is_empty() {
        out.push(b'/');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn abs(text: &str) -> AbsPath {
        AbsPath::new(text.as_bytes()).expect("absolute")
    }

    #[test]
    fn cleans_lexically() {
        for (given, want) in [("/", "/"), ("//a//b/", "/a/b"), ("/a/./b/../c", "/a/c"), ("/../..", "/")] {
            assert_eq!(abs(given).to_string(), want);
        }
        assert!(AbsPath::new(b"a/b").is_err());
        assert!(AbsPath::new(b"/a\0b").is_err());
    }

    #[test]
    fn resolves_and_splits() {
        let base = abs("/w/a");
        assert_eq!(AbsPath::resolve(&base, b"../b/c").expect("resolves"), abs("/w/b/c"));
        assert_eq!(abs("/w/a/b").below(&base), Some(&b"b"[..]));
        assert_eq!(abs("/w/ab").below(&base), None);
        assert_eq!(base.parent(), Some(abs("/w")));
        assert_eq!(abs("/w").parent(), Some(abs("/")));
        assert_eq!(abs("/").parent(), None);
        assert_eq!(base.file_name(), b"a");
    }

    #[test]
    fn project_paths_stay_inside() {
        let root = abs("/w/a");
        let path = ProjectPath::new(&root, &abs("/w/a/src/lib.rs")).expect("inside");
        assert_eq!(path.under(&abs("/v")), abs("/v/src/lib.rs"));
        assert!(ProjectPath::new(&root, &abs("/w/b")).is_err());
    }
}
