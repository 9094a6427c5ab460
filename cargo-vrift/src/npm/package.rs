//! `package.json`, as far as running scripts needs it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;

/// The largest file that is read, bytes.
const MAX_FILE: u64 = 16 << 20;

/// A package.
#[derive(Clone, Debug, Default)]
pub struct Package {
    /// Its folder.
    pub dir: PathBuf,
    /// What is of interest in its file.
    pub manifest: Manifest,
}

/// What is of interest in a `package.json`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Manifest {
    /// `name`.
    pub name: Option<String>,
    /// `scripts`; what is no text is no script.
    pub scripts: BTreeMap<String, Value>,
    /// `packageManager`, such as `pnpm@9.1.0`.
    pub package_manager: Option<String>,
    /// `workspaces`: a list of patterns, or an object with one in `packages`.
    pub workspaces: Option<Value>,
    /// Packages that it needs, by the field that names them.
    pub dependencies: BTreeMap<String, Value>,
    /// As above.
    pub dev_dependencies: BTreeMap<String, Value>,
    /// As above.
    pub peer_dependencies: BTreeMap<String, Value>,
    /// As above.
    pub optional_dependencies: BTreeMap<String, Value>,
}

impl Package {
    /// The package in `dir`; `None` where there is none that can be read.
    pub fn read(dir: &Path) -> Option<Self> {
        let path = dir.join("package.json");
        let meta = fs::metadata(&path).ok().filter(|meta| meta.is_file() && meta.len() <= MAX_FILE)?;
        let text = fs::read(&path).ok().filter(|text| text.len() as u64 == meta.len())?;
        let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&text);
        Some(Self { dir: dir.to_owned(), manifest: serde_json::from_slice(text).ok()? })
    }

    /// The nearest package at or above `dir`.
    pub fn nearest(dir: &Path) -> Option<Self> {
        dir.ancestors().find(|dir| dir.join("package.json").is_file()).and_then(Self::read)
    }

    /// Whether it has that script.
    pub fn has_script(&self, name: &str) -> bool {
        self.manifest.scripts.get(name).is_some_and(Value::is_string)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_package_has_the_scripts() {
        let tmp = tempfile::tempdir().expect("tempdir");
        let write = |path: &str, text: &str| {
            let path = tmp.path().join(path);
            fs::create_dir_all(path.parent().expect("has a parent")).expect("mkdir");
            fs::write(path, text).expect("write");
        };
        write("package.json", "\u{feff}{\"scripts\": {\"build\": \"x\", \"odd\": 1}, \"packageManager\": \"pnpm@9.0.0\"}");
        write("a/b/c", "");
        let package = Package::nearest(&tmp.path().join("a/b")).expect("found");
        assert!(package.has_script("build") && !package.has_script("odd") && !package.has_script("test"));
        assert_eq!(package.dir, tmp.path());
        write("a/package.json", "{");
        assert!(Package::nearest(&tmp.path().join("a/b")).is_none(), "npm would not go past it either");
    }
}
