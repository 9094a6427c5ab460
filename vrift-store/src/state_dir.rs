//! The state folder of a project: `<project>/.vrift`, or a folder in the user's state where the project cannot be written.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use vrift_core::home::Home;
use vrift_core::identity::ProjectId;
use vrift_core::paths::AbsPath;

use crate::fsio;

/// The folder's name in a project's root.
pub const NAME: &str = ".vrift";

/// What the folder's own `.gitignore` says: nothing in here is to be committed, itself included.
const GITIGNORE: &[u8] = b"*\n";

/// Neither the project's folder nor the one in the user's state can be used.
#[derive(Debug, thiserror::Error)]
#[error("no state folder for the project: cannot use `{path}`: {source}")]
pub struct StateDirError {
    /// The folder in the user's state.
    pub path: PathBuf,
    /// The file system's answer.
    pub source: io::Error,
}

/// Makes the folder in the project at `root` where it is missing, and nothing in it. [`prepare`] does the rest, takes its time, and says
/// what is wrong; but a folder that comes while a program lists the root is a change of the root.
pub fn make_early(root: &AbsPath) {
    let _ = make(&root.as_path().join(NAME));
}

/// The state folder of the project `id` at `root`, created (0700) where it is missing.
///
/// `<root>/.vrift` is used only where it is a real folder that belongs to this user: a checkout may bring a link along, and
/// what it points to is not ours to write to.
///
/// # Errors
/// [`StateDirError`] where the fallback in the user's state fails too.
pub fn prepare(home: &Home, id: ProjectId, root: &AbsPath) -> Result<PathBuf, StateDirError> {
    let own = root.as_path().join(NAME);
    if prepare_at(&own).is_ok() {
        return Ok(own);
    }
    let path = home.project_fallback(id);
    match fsio::create_private_dir(&path).and_then(|()| prepare_at(&path)) {
        Ok(()) => Ok(path),
        Err(source) => Err(StateDirError { path, source }),
    }
}

fn make(dir: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    match fs::DirBuilder::new().mode(0o700).create(dir) {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => Err(e),
        _ => Ok(()),
    }
}

fn prepare_at(dir: &Path) -> io::Result<()> {
    make(dir)?;
    let meta = fs::symlink_metadata(dir)?;
    if !meta.is_dir() || meta.uid() != rustix::process::geteuid().as_raw() {
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, "not a folder of this user"));
    }
    if meta.mode() & 0o7777 != 0o700 {
        fsio::chmod_path(dir, 0o700)?;
    }
    let ignore = dir.join(".gitignore");
    if fs::symlink_metadata(&ignore).is_err() {
        fsio::write_atomically(&ignore, GITIGNORE, 0o600)?;
    }
    // A folder that is there may still be on a file system that is read-only by now.
    drop(fsio::Temp::create(dir)?);
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::testing::{NOBODY, dir_of, inner, is_root, mode, names, passes_alone};

    fn prepared(tmp: &Path) -> PathBuf {
        let root = AbsPath::try_from(tmp.join("project").as_path()).expect("absolute");
        prepare(&Home::at(tmp.join("home")), ProjectId::new(&root, None), &root).expect("prepares")
    }

    #[test]
    fn the_folder_is_private_and_ignored_by_git() {
        let tmp = tempfile::tempdir().expect("tempdir");
        fs::create_dir(tmp.path().join("project")).expect("mkdir");
        for _ in 0..2 {
            let dir = prepared(tmp.path());
            assert_eq!(dir, tmp.path().join("project/.vrift"));
            assert_eq!(mode(&dir), 0o700);
            assert_eq!(names(&dir), [".gitignore"]);
            assert_eq!(fs::read(dir.join(".gitignore")).expect("read"), b"*\n");
            // As git leaves it that checked the folder out.
            fs::set_permissions(&dir, fs::Permissions::from_mode(0o755)).expect("chmod");
        }
        assert!(!tmp.path().join("home").exists());
    }

    #[test]
    fn a_link_that_came_with_the_checkout_is_not_followed() {
        let tmp = tempfile::tempdir().expect("tempdir");
        fs::create_dir_all(tmp.path().join("project")).expect("mkdir");
        fs::create_dir(tmp.path().join("victim")).expect("mkdir");
        std::os::unix::fs::symlink("../victim", tmp.path().join("project/.vrift")).expect("symlink");
        let dir = prepared(tmp.path());
        assert!(dir.starts_with(tmp.path().join("home/projects")));
        assert_eq!(mode(&dir), 0o700);
        assert!(names(&tmp.path().join("victim")).is_empty());
    }

    #[test]
    fn a_project_that_cannot_be_written_has_its_state_elsewhere() {
        if let Some(dir) = inner() {
            fs::set_permissions(dir.join("project"), fs::Permissions::from_mode(0o555)).expect("chmod");
            assert!(prepared(&dir).starts_with(dir.join("home/projects")));
            fs::set_permissions(dir.join("home"), fs::Permissions::from_mode(0o000)).expect("chmod");
            let root = AbsPath::try_from(dir.join("project").as_path()).expect("absolute");
            let error = prepare(&Home::at(dir.join("home")), ProjectId::new(&root, None), &root).expect_err("nowhere");
            assert!(error.to_string().contains("home/projects"), "{error}");
            fs::set_permissions(dir.join("home"), fs::Permissions::from_mode(0o700)).expect("chmod");
            return;
        }
        if is_root() {
            let tmp = dir_of(NOBODY);
            fs::create_dir(tmp.path().join("project")).expect("mkdir");
            std::os::unix::fs::chown(tmp.path().join("project"), Some(NOBODY), Some(NOBODY)).expect("chown");
            passes_alone("state_dir::tests::a_project_that_cannot_be_written_has_its_state_elsewhere", tmp.path(), Some(NOBODY));
        }
    }
}
