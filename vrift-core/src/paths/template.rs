//! Text and paths with placeholders in place of known roots.
//!
//! A placeholder is two bytes: NUL and the root's letter. No path, argument, environment value or text file holds a NUL,
//! so no escaping is needed. For people it is shown as `{project}`.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::roots::Root;
use crate::bytes::ByteText;

/// A path in which a leading known root is a placeholder.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct TemplatePath(pub(super) ByteText);

impl TemplatePath {
    /// The stored bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Takes bytes that [`TemplatePath::as_bytes`] gave.
    pub fn from_stored(bytes: &[u8]) -> Self {
        Self(ByteText::from(bytes))
    }

    /// The root that the path starts with, if it is a known one.
    pub fn root(&self) -> Option<Root> {
        match self.as_bytes() {
            [0, letter, ..] => Root::from_letter(*letter),
            _ => None,
        }
    }
}

impl fmt::Display for TemplatePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&show(&self.0))
    }
}

impl fmt::Debug for TemplatePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&show(&self.0), f)
    }
}

/// Text in which known roots are placeholders.
#[derive(Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct TemplateText {
    /// The text, placeholders included.
    pub bytes: ByteText,
    /// How many placeholders it holds.
    pub placeholders: u32,
    /// A root's bytes occur where it is unclear whether they name that root (`/x/w/a` for the root `/w/a`).
    /// Such text must not be taken for portable.
    pub doubtful: bool,
}

impl fmt::Debug for TemplateText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&show(&self.bytes), f)
    }
}

/// `bytes` for people: placeholders by name, invalid UTF-8 replaced.
pub(super) fn show(bytes: &[u8]) -> String {
    let mut out = String::new();
    let mut rest = bytes;
    while let Some(at) = memchr::memchr(0, rest) {
        out.push_str(&String::from_utf8_lossy(&rest[..at]));
        match rest.get(at + 1).copied().and_then(Root::from_letter) {
            Some(root) => {
                out.push('{');
                out.push_str(root.name());
                out.push('}');
                rest = &rest[at + 2..];
            }
            None => rest = &rest[at + 1..],
        }
    }
    out.push_str(&String::from_utf8_lossy(rest));
    out
}
