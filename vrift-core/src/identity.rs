//! Who a project is.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::digest::hex;
use crate::paths::AbsPath;

/// The project id: the first 16 bytes of BLAKE3 over the canonical root, or over root, NUL and branch where a branch is set.
///
/// The same root always gives the same id; 2⁶⁴ projects are needed for an even chance of one collision.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ProjectId([u8; 16]);

impl ProjectId {
    /// The id of the project at `root`, a canonical path.
    pub fn new(root: &AbsPath, branch: Option<&str>) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(root.as_bytes());
        if let Some(branch) = branch {
            hasher.update(&[0]);
            hasher.update(branch.as_bytes());
        }
        let mut id = [0; 16];
        id.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
        Self(id)
    }

    /// All 32 hex digits.
    pub fn to_hex(self) -> String {
        hex(&self.0)
    }

    /// The name of this project's VDir file in `/dev/shm`: `vrift_vdir_` and the first 16 hex digits.
    pub fn vdir_name(self) -> String {
        format!("vrift_vdir_{}", hex(&self.0[..8]))
    }

    /// The name for people: `<name>-<first 8 hex digits>`. Characters that are awkward in a shell become `-`.
    pub fn slug(self, name: &str) -> String {
        let clean: String =
            name.chars().map(|c| if c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-') { c } else { '-' }).collect();
        let clean = clean.trim_matches('-');
        format!("{}-{}", if clean.is_empty() { "project" } else { clean }, hex(&self.0[..4]))
    }
}

impl fmt::Display for ProjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_hex())
    }
}

impl fmt::Debug for ProjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ProjectId({})", self.to_hex())
    }
}

impl Serialize for ProjectId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.to_hex())
    }
}

impl<'de> Deserialize<'de> for ProjectId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        crate::digest::unhex(&text)
            .and_then(|bytes| bytes.try_into().ok())
            .map(Self)
            .ok_or_else(|| serde::de::Error::custom(format!("`{text}` is not a project id: expected 32 hex digits")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_stable_and_branches_differ() {
        let root = AbsPath::new(b"/home/user/my-rust-app").expect("absolute");
        let id = ProjectId::new(&root, None);
        assert_eq!(id.to_hex(), hex(&blake3::hash(b"/home/user/my-rust-app").as_bytes()[..16]));
        assert_ne!(id, ProjectId::new(&root, Some("main")));
        assert_eq!(id.vdir_name().len(), "vrift_vdir_".len() + 16);
        assert_eq!(id.slug("@scope/app"), format!("scope-app-{}", &id.to_hex()[..8]));
        let json = serde_json::to_string(&id).expect("serializes");
        assert_eq!(serde_json::from_str::<ProjectId>(&json).expect("parses"), id);
    }
}
