//! Cleaning the paths of a trace as the kernel reads them.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use vrift_core::paths::AbsPath;

/// Cleans paths. `..` behind a symbolic link leaves the folder that the link leads to, which only the file system knows.
#[derive(Default)]
pub struct Resolver {
    /// Folders that were followed by `..`, and where they really are; `None` where they are not there.
    folders: HashMap<Vec<u8>, Option<Vec<u8>>>,
    /// Folders that are reached through symbolic links, or not: where they really are, and the links on the way.
    ways: HashMap<AbsPath, Way>,
}

/// Where a path really leads, as the file system is now.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Way {
    /// The path without symbolic links.
    pub real: AbsPath,
    /// The symbolic links that it was named through, each by its own real path.
    pub links: Vec<AbsPath>,
}

/// Links in links, as many as the kernel follows.
const MOST_LINKS: usize = 40;

impl Resolver {
    /// The clean form of an absolute path. Where a folder before a `..` is missing, the path of that folder: its absence is
    /// why the call failed.
    pub fn clean(&mut self, path: &[u8]) -> Option<AbsPath> {
        if !has_parent_part(path) {
            return AbsPath::new(path).ok();
        }
        let mut out: Vec<u8> = Vec::with_capacity(path.len());
        for part in path.split(|c| *c == b'/') {
            match part {
                b"" | b"." => {}
                b".." => match self.real(&out) {
                    Some(real) => {
                        out = real;
                        out.truncate(out.iter().rposition(|c| *c == b'/').unwrap_or(0));
                    }
                    None => return AbsPath::new(&out).ok(),
                },
                name => {
                    out.push(b'/');
                    out.extend_from_slice(name);
                }
            }
        }
        AbsPath::new(if out.is_empty() { b"/" } else { &out }).ok()
    }

    /// Where `path` leads; its last part is followed where `follow` says so. What is missing is taken for no link.
    pub fn way(&mut self, path: &AbsPath, follow: bool) -> Way {
        self.way_within(path, follow, MOST_LINKS)
    }

    fn way_within(&mut self, path: &AbsPath, follow: bool, links_left: usize) -> Way {
        let own = || Way { real: path.clone(), links: Vec::new() };
        let Some(parent) = path.parent() else { return own() };
        let mut way = self.folder(&parent, links_left);
        let Ok(at) = AbsPath::resolve(&way.real, path.file_name()) else { return own() };
        match fs::read_link(at.as_path()) {
            Ok(target) if follow && links_left > 0 => {
                way.links.push(at);
                let target = target.as_os_str().as_bytes().to_vec();
                let Some(next) = AbsPath::resolve(&way.real, &target).ok() else { return own() };
                let rest = self.way_within(&next, true, links_left - 1);
                way.links.extend(rest.links);
                Way { real: rest.real, links: way.links }
            }
            _ => Way { real: at, links: way.links },
        }
    }

    fn folder(&mut self, folder: &AbsPath, links_left: usize) -> Way {
        if let Some(known) = self.ways.get(folder) {
            return known.clone();
        }
        // Before the look: a link that leads to itself ends here.
        self.ways.insert(folder.clone(), Way { real: folder.clone(), links: Vec::new() });
        let way = self.way_within(folder, true, links_left);
        self.ways.insert(folder.clone(), way.clone());
        way
    }

    fn real(&mut self, folder: &[u8]) -> Option<Vec<u8>> {
        if folder.is_empty() {
            return Some(b"/".to_vec());
        }
        let find =
            || fs::canonicalize(Path::new(OsStr::from_bytes(folder))).ok().map(|path| path.into_os_string().as_bytes().to_vec());
        self.folders.entry(folder.to_vec()).or_insert_with(find).clone()
    }
}

fn has_parent_part(path: &[u8]) -> bool {
    path.split(|c| *c == b'/').any(|part| part == b"..")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dots_behind_a_link_leave_its_target() {
        let tmp = tempfile::tempdir().expect("tempdir");
        let root = fs::canonicalize(tmp.path()).expect("canonical");
        fs::create_dir_all(root.join("real/deep")).expect("mkdir");
        std::os::unix::fs::symlink("real/deep", root.join("link")).expect("symlink");
        let mut resolver = Resolver::default();
        let mut clean = |path: &str| resolver.clean(root.join(path).as_os_str().as_bytes()).map(|p| p.as_path().to_owned());
        assert_eq!(clean("link/../x"), Some(root.join("real/x")));
        assert_eq!(clean("real/deep/../../y"), Some(root.join("y")));
        assert_eq!(clean("none/../y"), Some(root.join("none")));
        assert_eq!(clean("./real//x"), Some(root.join("real/x")));
    }
    #[test]
    fn links_on_the_way_are_told() {
        let tmp = tempfile::tempdir().expect("tempdir");
        let root = fs::canonicalize(tmp.path()).expect("canonical");
        fs::create_dir_all(root.join("packages/core")).expect("mkdir");
        fs::create_dir_all(root.join("modules")).expect("mkdir");
        for (target, link) in [("../packages/core", "modules/core"), ("loop", "loop"), ("modules", "short")] {
            std::os::unix::fs::symlink(target, root.join(link)).expect("symlink");
        }
        let mut resolver = Resolver::default();
        let mut way = |path: &str, follow| {
            let way = resolver.way(&AbsPath::try_from(root.join(path).as_path()).expect("absolute"), follow);
            let rest = |path: &AbsPath| path.as_path().strip_prefix(&root).expect("inside").display().to_string();
            (rest(&way.real), way.links.iter().map(rest).collect::<Vec<_>>())
        };
        let link = || vec!["modules/core".to_owned()];
        assert_eq!(way("modules/core/dist/x", true), ("packages/core/dist/x".into(), link()));
        assert_eq!(way("modules/core", true), ("packages/core".into(), link()));
        assert_eq!(way("modules/core", false), ("modules/core".into(), vec![]));
        assert_eq!(way("short/core/x", false), ("packages/core/x".into(), vec!["short".into(), "modules/core".into()]));
        assert_eq!(way("none/x", true), ("none/x".into(), vec![]));
        way("loop/x", true);
    }
}
