//! Whole folders, compared byte for byte.

use std::collections::BTreeMap;
use std::fmt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use serde::Deserialize;

use crate::{Result, host};

/// What is at a path.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Entry {
    /// A regular file.
    File {
        /// Of its content.
        digest: blake3::Hash,
        /// Bytes.
        size: u64,
        /// Whether anybody may execute it. Other permission bits say who owns the disk space, not what was built.
        executable: bool,
    },
    /// A folder.
    Dir,
    /// A symbolic link.
    Symlink(PathBuf),
}

/// Everything below a folder.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Snapshot(pub BTreeMap<PathBuf, Entry>);

/// A path at which two folders differ.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Difference {
    /// Below both folders.
    pub path: PathBuf,
    /// There in the one.
    pub left: Option<Entry>,
    /// There in the other.
    pub right: Option<Entry>,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let show = |entry: &Option<Entry>| match entry {
            None => "nothing".to_owned(),
            Some(Entry::Dir) => "folder".to_owned(),
            Some(Entry::Symlink(to)) => format!("link to {}", to.display()),
            Some(Entry::File { digest, size, executable }) => {
                format!("{size} bytes {}{}", &digest.to_hex()[..8], if *executable { " x" } else { "" })
            }
        };
        write!(f, "{}: {} / {}", self.path.display(), show(&self.left), show(&self.right))
    }
}

impl Snapshot {
    /// Of everything below `dir`; of nothing where that does not exist.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn of(dir: &Path) -> Result<Self> {
        let mut all = BTreeMap::new();
        if !dir.exists() {
            return Ok(Self(all));
        }
        for entry in walkdir::WalkDir::new(dir).min_depth(1) {
            let entry = entry?;
            let kind = entry.file_type();
            let found = if kind.is_dir() {
                Entry::Dir
            } else if kind.is_symlink() {
                Entry::Symlink(std::fs::read_link(entry.path())?)
            } else {
                let content = std::fs::read(entry.path()).with_context(|| format!("cannot read `{}`", entry.path().display()))?;
                let executable = entry.metadata()?.permissions().mode() & 0o111 != 0;
                Entry::File { digest: blake3::hash(&content), size: content.len() as u64, executable }
            };
            all.insert(entry.path().strip_prefix(dir)?.to_owned(), found);
        }
        Ok(Self(all))
    }

    /// Where the two differ.
    pub fn differences(&self, other: &Self) -> Vec<Difference> {
        let mut paths: Vec<_> = self.0.keys().chain(other.0.keys()).collect();
        paths.sort();
        paths.dedup();
        let differ = |path: &&PathBuf| self.0.get(*path) != other.0.get(*path);
        let both = |path: &PathBuf| Difference {
            path: path.clone(),
            left: self.0.get(path).cloned(),
            right: other.0.get(path).cloned(),
        };
        paths.into_iter().filter(differ).map(both).collect()
    }

    /// Fails where the two differ, apart from what differs between any two builds.
    ///
    /// # Errors
    /// Says where.
    pub fn same_as(&self, other: &Self, exceptions: &Exceptions) -> Result {
        let differences: Vec<_> = self.differences(other).into_iter().filter(|d| exceptions.reason(&d.path).is_none()).collect();
        let lines: Vec<_> = differences.iter().take(40).map(ToString::to_string).collect();
        ensure!(differences.is_empty(), "{} paths differ:\n{}", differences.len(), lines.join("\n"));
        Ok(())
    }
}

/// Paths in a target folder that differ between two plain builds of the same sources at the same place.
#[derive(Clone, Debug)]
pub struct Exceptions(Vec<(globset::GlobMatcher, String)>);

#[derive(Deserialize)]
struct ExceptionsFile {
    varies: Vec<Varies>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Varies {
    path: String,
    reason: String,
}

impl Exceptions {
    /// None at all.
    pub fn none() -> Self {
        Self(Vec::new())
    }

    /// Those of `data/varies.toml`.
    ///
    /// # Errors
    /// The file is not as it should be.
    pub fn load() -> Result<Self> {
        let path = host::data("varies.toml");
        let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read `{}`", path.display()))?;
        let file: ExceptionsFile = toml::from_str(&text).with_context(|| format!("`{}`", path.display()))?;
        let compile = |varies: Varies| -> Result<_> {
            let glob = globset::GlobBuilder::new(&varies.path).literal_separator(true).build()?;
            Ok((glob.compile_matcher(), varies.reason))
        };
        Ok(Self(file.varies.into_iter().map(compile).collect::<Result<_>>()?))
    }

    /// Why a path may differ, if it may.
    pub fn reason(&self, path: &Path) -> Option<&str> {
        self.0.iter().find(|(glob, _)| glob.is_match(path)).map(|(_, reason)| reason.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_difference_is_seen() -> Result {
        let tmp = tempfile::tempdir()?;
        let (a, b) = (tmp.path().join("a"), tmp.path().join("b"));
        for dir in [&a, &b] {
            std::fs::create_dir_all(dir.join("d"))?;
            std::fs::write(dir.join("d/same"), "x")?;
            std::fs::write(dir.join("d/mode"), "x")?;
        }
        assert!(Snapshot::of(&a)?.differences(&Snapshot::of(&b)?).is_empty());
        std::fs::write(b.join("d/content"), "1")?;
        std::fs::write(a.join("d/content"), "2")?;
        std::fs::set_permissions(b.join("d/mode"), std::fs::Permissions::from_mode(0o755))?;
        std::os::unix::fs::symlink("x", a.join("link"))?;
        std::os::unix::fs::symlink("y", b.join("link"))?;
        std::fs::create_dir(a.join("empty"))?;
        let paths: Vec<_> = Snapshot::of(&a)?.differences(&Snapshot::of(&b)?).into_iter().map(|d| d.path).collect();
        assert_eq!(paths, ["d/content", "d/mode", "empty", "link"].map(PathBuf::from));
        Ok(())
    }

    #[test]
    fn exceptions_have_reasons() -> Result {
        assert!(Exceptions::load()?.0.iter().all(|(_, reason)| !reason.trim().is_empty()));
        Ok(())
    }
}
