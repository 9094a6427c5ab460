//! `instances.json`: the workers that live, so that a coordinator that was killed is followed by one that finds them.

use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};
use vrift_core::bytes::ByteText;
use vrift_core::identity::ProjectId;
use vrift_core::paths::AbsPath;

use crate::atomic;

/// One live worker.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Instance {
    /// The project.
    pub id: ProjectId,
    /// Its name for people.
    pub slug: String,
    /// Its root.
    pub root: AbsPath,
    /// The branch, where one is set.
    #[serde(default)]
    pub branch: Option<String>,
    /// The worker's process.
    pub pid: u32,
    /// The worker's socket.
    pub socket: ByteText,
    /// When it started, seconds since 1970.
    pub started_s: u64,
}

#[derive(Default, Serialize, Deserialize)]
struct Registry {
    instances: Vec<Instance>,
}

/// What the registry at `path` lists. A registry that is absent or damaged lists nothing: sockets are probed anyway.
pub fn read(path: &Path) -> Vec<Instance> {
    let Ok(json) = fs::read(path) else { return Vec::new() };
    match serde_json::from_slice::<Registry>(&json) {
        Ok(registry) => registry.instances,
        Err(e) => {
            tracing::warn!("{} is damaged, live workers are looked for by their sockets: {e}", path.display());
            Vec::new()
        }
    }
}

/// Replaces the registry at `path`.
pub fn write(path: &Path, instances: Vec<Instance>) {
    let written =
        serde_json::to_vec_pretty(&Registry { instances }).map_err(Into::into).and_then(|json| atomic::write(path, &json));
    if let Err(e) = written {
        tracing::warn!("cannot write {}: {e}", path.display());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trip_and_damage() {
        let dir = tempfile::tempdir().expect("tempdir");
        let path = dir.path().join("instances.json");
        let root = AbsPath::new(b"/w/a").expect("absolute");
        let instance = Instance {
            id: ProjectId::new(&root, None),
            slug: "a-1".to_owned(),
            root,
            branch: None,
            pid: 1,
            socket: ByteText::from("/s"),
            started_s: 2,
        };
        assert!(read(&path).is_empty());
        write(&path, vec![instance.clone()]);
        assert_eq!(read(&path), [instance]);
        fs::write(&path, "{").expect("writes");
        assert!(read(&path).is_empty());
    }
}
