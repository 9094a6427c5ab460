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
}

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
}
