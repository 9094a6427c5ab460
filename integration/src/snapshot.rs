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
        /// Of what must be the same where the content may vary in a known way; see [`Compare`].
        loose: blake3::Hash,
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
            Some(Entry::File { digest, size, executable, .. }) => {
                format!("{size} bytes {}{}", &digest.to_hex()[..8], if *executable { " x" } else { "" })
            }
        };
        write!(f, "{}: {} / {}", self.path.display(), show(&self.left), show(&self.right))
    }
}

impl Snapshot {
    /// Of everything below `dir`; of nothing where that does not exist. What vrift itself keeps in a project is left out: daemons write there
    /// at any time.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn of(dir: &Path) -> Result<Self> {
        let mut all = BTreeMap::new();
        if !dir.exists() {
            return Ok(Self(all));
        }
        let all_but_ours = |entry: &walkdir::DirEntry| entry.depth() == 0 || entry.file_name() != ".vrift";
        for entry in walkdir::WalkDir::new(dir).min_depth(1).into_iter().filter_entry(all_but_ours) {
            let entry = entry?;
            let kind = entry.file_type();
            let found = if kind.is_dir() {
                Entry::Dir
            } else if kind.is_symlink() {
                Entry::Symlink(std::fs::read_link(entry.path())?)
            } else {
                let content = std::fs::read(entry.path()).with_context(|| format!("cannot read `{}`", entry.path().display()))?;
                let executable = entry.metadata()?.permissions().mode() & 0o111 != 0;
                let digest = blake3::hash(&content);
                let loose = loose(entry.path(), &content, digest);
                Entry::File { digest, size: content.len() as u64, loose, executable }
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
        let differences: Vec<_> = self.differences(other).into_iter().filter(|d| !exceptions.allow(d)).collect();
        let lines: Vec<_> = differences.iter().take(40).map(ToString::to_string).collect();
        ensure!(differences.is_empty(), "{} paths differ:\n{}", differences.len(), lines.join("\n"));
        Ok(())
    }
}

/// Of what must be the same, whatever else varies: an archive's members; of a small file the bytes without their order.
fn loose(path: &Path, content: &[u8], digest: blake3::Hash) -> blake3::Hash {
    // Files whose order may vary are short lists; sorting large ones would take longer than the builds.
    const SMALL: usize = 1 << 16;
    if path.extension().is_some_and(|ext| ext == "rlib") {
        return crate::archive::loose_digest(content).unwrap_or(digest);
    }
    if content.len() > SMALL {
        return digest;
    }
    let mut counts = [0_u32; 256];
    for byte in content {
        counts[usize::from(*byte)] += 1;
    }
    let mut hasher = blake3::Hasher::new();
    counts.iter().for_each(|count| {
        hasher.update(&count.to_le_bytes());
    });
    hasher.finalize()
}

/// How two files are compared that need not be the same byte for byte.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Compare {
    /// Archives: by their members, see [`crate::archive`].
    Members,
    /// The same bytes in any order.
    Bytes,
    /// Not at all.
    Never,
}

/// Paths in a target folder that differ between two plain builds of the same sources at the same place.
#[derive(Clone, Debug)]
pub struct Exceptions(Vec<(globset::GlobMatcher, Varies)>);

#[derive(Deserialize)]
struct ExceptionsFile {
    varies: Vec<Varies>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Varies {
    path: String,
    compare: Compare,
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
            ensure!(!varies.reason.trim().is_empty(), "`{}` has no reason", varies.path);
            let glob = globset::GlobBuilder::new(&varies.path).literal_separator(true).build()?;
            Ok((glob.compile_matcher(), varies))
        };
        Ok(Self(file.varies.into_iter().map(compile).collect::<Result<_>>()?))
    }

    /// How a path is compared, if it may vary.
    pub fn compare(&self, path: &Path) -> Option<Compare> {
        self.0.iter().find(|(glob, _)| glob.is_match(path)).map(|(_, varies)| varies.compare)
    }

    /// Whether a difference is one that two plain builds have too.
    pub fn allow(&self, difference: &Difference) -> bool {
        match (self.compare(&difference.path), &difference.left, &difference.right) {
            (Some(Compare::Never), ..) => true,
            (Some(_), Some(Entry::File { loose: left, .. }), Some(Entry::File { loose: right, .. })) => left == right,
            _ => false,
        }
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
    fn exceptions_allow_what_they_say() -> Result {
        let exceptions = Exceptions::load()?;
        let entry = |content: &[u8], path: &str| {
            let digest = blake3::hash(content);
            let loose = loose(Path::new(path), content, digest);
            Some(Entry::File { digest, size: content.len() as u64, loose, executable: false })
        };
        let allowed = |path: &str, left: &[u8], right: &[u8]| {
            let (left, right) = (entry(left, path), entry(right, path));
            exceptions.allow(&Difference { path: path.into(), left, right })
        };
        assert!(allowed("debug/.fingerprint/x-1/dep-lib-x", b"ab", b"ba"));
        assert!(!allowed("debug/.fingerprint/x-1/dep-lib-x", b"ab", b"bb"));
        assert!(!allowed("debug/deps/x-1.d", b"ab", b"ba"));
        assert!(allowed("debug/incremental/x-1/s-1/y", b"1", b"2"));
        Ok(())
    }
}
