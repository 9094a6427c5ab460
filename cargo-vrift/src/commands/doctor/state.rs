//! Checks of what vrift keeps: its folder, its store, its daemons.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::Path;

use nix::sys::statvfs::statvfs;
use nix::unistd::{AccessFlags, access, geteuid};
use vrift_core::home::Home;
use vrift_core::root::Project;
use vrift_core::wire::{CoordinatorStatus, method};
use vrift_store::manifest::{BaseReader, ManifestError};

use super::super::status::SharedMap;
use super::{Check, shown};
use crate::{daemon, say};

/// Below so many free bytes a build is likely to fill the disk.
const LITTLE_SPACE: u64 = 2 << 30;

/// The state folder: there, ours, closed to others.
pub fn home(home: &Home) -> Check {
    const NAME: &str = "home";
    let dir = home.dir();
    let meta = match fs::metadata(dir) {
        Ok(meta) => meta,
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            return Check::ok(NAME, format!("{} will be made on first use", shown(dir)));
        }
        Err(e) => {
            return Check::fail(NAME, format!("cannot read {}: {e}", shown(dir)), "set VRIFT_HOME to a folder that you own");
        }
    };
    if !meta.is_dir() || meta.uid() != geteuid().as_raw() {
        return Check::fail(NAME, format!("{} is not a folder of yours", shown(dir)), "set VRIFT_HOME to a folder that you own");
    }
    if let Err(e) = access(dir, AccessFlags::W_OK | AccessFlags::X_OK) {
        return Check::fail(
            NAME,
            format!("cannot write to {}: {e}", shown(dir)),
            "make it writable, or set VRIFT_HOME elsewhere",
        );
    }
    if meta.mode() & 0o077 != 0 {
        return Check::warn(NAME, format!("{} is open to others", shown(dir)), format!("chmod 700 {}", dir.display()));
    }
    Check::ok(NAME, shown(dir))
}

/// Free space where the store is.
pub fn disk(home: &Home) -> Check {
    const NAME: &str = "disk";
    let source = home.the_source();
    let existing = source.ancestors().find(|dir| dir.exists()).unwrap_or(source);
    match statvfs(existing) {
        Ok(fs) => {
            let free = fs.blocks_available() * fs.fragment_size();
            let text = format!("{} free for {}", say::size(free), shown(source));
            if free < LITTLE_SPACE {
                return Check::warn(NAME, text, "make room, or move the store: vrift config set storage.the_source <folder>");
            }
            Check::ok(NAME, text)
        }
        Err(e) => Check::warn(NAME, format!("cannot look at {}: {e}", shown(existing)), "repair that file system"),
    }
}

/// How a result gets from the store into the project: shared, or copied.
pub fn links(home: &Home, project: &Path) -> Check {
    const NAME: &str = "links";
    match try_links(home.the_source(), project) {
        Ok((true, true)) => Check::ok(NAME, "store and project share blocks (reflinks) and inodes (hard links)"),
        Ok((true, false)) => Check::ok(NAME, "store and project share blocks (reflinks)"),
        Ok((false, true)) => Check::ok(NAME, "store and project share inodes (hard links)"),
        Ok((false, false)) => Check::warn(
            NAME,
            "results are copied: store and project are on different file systems",
            "put the store on the project's: vrift config set storage.the_source <folder>",
        ),
        Err(e) => Check::warn(NAME, format!("cannot try {}: {e}", shown(project)), "make the project's folder writable"),
    }
}

/// Whether (reflinks, hard links) from one folder to the other work. Leaves nothing behind.
fn try_links(store: &Path, project: &Path) -> io::Result<(bool, bool)> {
    let name = |dir: &Path, n: u8| dir.join(format!(".vrift-doctor-{}-{n}.tmp", std::process::id()));
    let tmp = vrift_store::Cas::open(store).tmp_dir();
    DirBuilder::new().recursive(true).mode(0o700).create(&tmp)?;
    let (from, clone, link) = (name(&tmp, 0), name(project, 1), name(project, 2));
    let result = (|| {
        fs::write(&from, "vrift")?;
        let target = File::create_new(&clone)?;
        let cloned = rustix::fs::ioctl_ficlone(&target, File::open(&from)?).is_ok();
        Ok((cloned, fs::hard_link(&from, &link).is_ok()))
    })();
    for file in [from, clone, link] {
        let _ = fs::remove_file(file);
    }
    result
}

/// Starts both daemons.
pub fn daemons(home: &Home, project: &Project) -> Check {
    const NAME: &str = "daemons";
    let status = daemon::worker(home, project).and_then(|_| {
        let status: CoordinatorStatus = daemon::coordinator(home)?.call(method::STATUS, &serde_json::json!({}))?;
        Ok(status)
    });
    match status {
        Ok(status) if status.notices.is_empty() => {
            Check::ok(NAME, format!("vriftd (pid {}) and the worker of {} answer", status.pid, project.slug()))
        }
        Ok(status) => Check::warn(NAME, status.notices.join("; "), "the checks of the home and the manifest say what to do"),
        Err(e) => {
            Check::fail(NAME, e.to_string(), format!("see the logs in {}; `vrift stop --all` and try again", shown(&home.log())))
        }
    }
}

/// The base manifest and its schema.
pub fn manifest(home: &Home) -> Check {
    const NAME: &str = "manifest";
    match BaseReader::open(home).and_then(|reader| reader.counts()) {
        Ok(counts) => Check::ok(NAME, format!("{} in {}", say::count(counts.actions, "action"), shown(&home.manifest()))),
        Err(ManifestError::Missing { .. }) => Check::ok(NAME, "not made yet"),
        Err(e) if e.is_corrupt() => Check::fail(NAME, e.to_string(), "`vrift fsck --repair` moves it aside and makes a new one"),
        Err(e @ ManifestError::Newer { .. }) => {
            Check::fail(NAME, e.to_string(), "install that vrift, or set VRIFT_HOME elsewhere")
        }
        Err(e) => Check::fail(NAME, e.to_string(), "`vrift fsck` tells more"),
    }
}

/// The map of the trees that all projects share. Without it the kernel answers.
pub fn shared_trees(home: &Home) -> Check {
    match SharedMap::of(home) {
        Some(map) => Check::ok("shared trees", format!("a map of {}, {}", say::count(map.entries, "file"), say::size(map.bytes))),
        None => Check::ok("shared trees", "no map; it comes with the daemons, where settings and kernel allow it"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::doctor::State;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_home_is_judged_by_owner_and_mode() {
        let tmp = tempfile::tempdir().expect("tempdir");
        let at = |name: &str| Home::at(tmp.path().join(name));
        assert_eq!(home(&at("none")).state, State::Ok);
        fs::write(tmp.path().join("file"), "").expect("write");
        assert_eq!(home(&at("file")).state, State::Fail);
        fs::create_dir(tmp.path().join("open")).expect("mkdir");
        fs::set_permissions(tmp.path().join("open"), fs::Permissions::from_mode(0o755)).expect("chmod");
        assert_eq!(home(&at("open")).state, State::Warn);
    }

    #[test]
    fn links_are_tried_without_a_trace() {
        let tmp = tempfile::tempdir().expect("tempdir");
        let project = tmp.path().join("p");
        fs::create_dir(&project).expect("mkdir");
        let (_, linked) = try_links(&tmp.path().join("store"), &project).expect("tries");
        assert!(linked, "one file system has hard links");
        assert_eq!(fs::read_dir(&project).expect("list").count(), 0);
        assert!(try_links(&tmp.path().join("store"), &tmp.path().join("missing")).is_err());
    }
}
