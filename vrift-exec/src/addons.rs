//! Whether a script's program or tools may call the kernel past libc.
//!
//! Bundlers in Rust come as a library that node loads, and such libraries often do (`rustix`). The shim would see a part of what they do,
//! and the run would not be stored. So where a project has one of them, its scripts are watched through the kernel from the start. By
//! npm's custom its package has the platform in its name (`@rolldown/binding-linux-x64-gnu`). One that has not is found out by
//! its first run. Bun, which runs its projects' scripts itself, is such a program.

use std::fs;
use std::path::{Path, PathBuf};

use vrift_core::action::Tool;
use vrift_core::paths::Root;

use crate::command::Command;
use crate::record::{direct, programs};

/// What the names of packages for one platform have in them.
const PLATFORMS: [&str; 3] = ["linux-x64", "linux-arm64", "linux-64"];

/// Whether its program is one, or such a library is installed for it, in a `node_modules` on the way up to the project's root.
pub fn are_there(command: &Command) -> bool {
    if command.tool != Tool::Script {
        return false;
    }
    if programs::is_direct(command) {
        return true;
    }
    let Some(project) = command.roots.get(Root::Project) else { return false };
    let folders = command.cwd.as_path().ancestors().take_while(|folder| folder.starts_with(project.as_path()));
    folders.map(|folder| folder.join("node_modules")).any(|modules| packages(&modules).iter().any(|package| is_direct(package)))
}

/// The packages for a platform.
fn packages(modules: &Path) -> Vec<PathBuf> {
    let is_platform = |path: &Path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        PLATFORMS.iter().any(|platform| name.contains(platform))
    };
    let (scopes, mut all): (Vec<_>, Vec<_>) =
        entries(modules).partition(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('@')));
    all.extend(scopes.iter().flat_map(|scope| entries(scope)));
    all.retain(|path| is_platform(path));
    all
}

fn entries(folder: &Path) -> impl Iterator<Item = PathBuf> {
    fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path())
}

/// Whether the package has a library for node that calls the kernel by itself.
fn is_direct(package: &Path) -> bool {
    let libraries = entries(package).filter(|path| path.extension().is_some_and(|extension| extension == "node"));
    libraries.filter_map(|library| fs::read(library).ok()).any(|content| direct::calls_kernel(&content, true))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_for_a_platform_are_told_by_their_names() {
        let dir = tempfile::tempdir().expect("a folder");
        let modules = dir.path().join("node_modules");
        assert!(packages(&modules).is_empty(), "nothing is installed");
        for name in ["@babel/core", "linux-os-info", "@rolldown/binding-linux-x64-gnu", "lightningcss-linux-x64-gnu"] {
            fs::create_dir_all(modules.join(name)).expect("creates");
        }
        let mut found: Vec<_> =
            packages(&modules).iter().map(|path| path.strip_prefix(&modules).expect("inside").to_owned()).collect();
        found.sort();
        assert_eq!(found, [Path::new("@rolldown/binding-linux-x64-gnu"), Path::new("lightningcss-linux-x64-gnu")]);
    }

    #[test]
    fn libraries_are_looked_into() {
        let dir = tempfile::tempdir().expect("a folder");
        fs::write(dir.path().join("x.node"), "no library").expect("writes");
        assert!(!is_direct(dir.path()));
        // Nothing calls the kernel like libc itself.
        let libc = ["/lib/x86_64-linux-gnu/libc.so.6", "/lib/aarch64-linux-gnu/libc.so.6", "/lib64/libc.so.6"];
        let libc = libc.iter().find(|path| Path::new(path).exists()).expect("glibc");
        fs::copy(libc, dir.path().join("y.node")).expect("copies");
        assert!(is_direct(dir.path()));
    }
}
