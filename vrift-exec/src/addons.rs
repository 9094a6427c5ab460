//! Whether a script's tools may call the kernel past libc.
//!
//! Bundlers in Rust come as a library that node loads, and such libraries often do (`rustix`). The shim would see a part of what they do,
//! and the run would not be stored. So where a project has packages of this kind, its scripts are watched through the kernel from the
//! start. By npm's custom such a package has the platform in its name (`@rolldown/binding-linux-x64-gnu`). One that has not is
//! found out by its first run.

use std::fs;
use std::path::Path;

use vrift_core::action::Tool;
use vrift_core::paths::Root;

use crate::command::Command;

/// What the names of packages for one platform have in them.
const PLATFORMS: [&str; 3] = ["linux-x64", "linux-arm64", "linux-64"];

/// Whether packages for this platform are installed for the script, in a `node_modules` on the way up to the project's root.
pub fn are_there(command: &Command) -> bool {
    if command.tool != Tool::Script {
        return false;
    }
    let Some(project) = command.roots.get(Root::Project) else { return false };
    let folders = command.cwd.as_path().ancestors().take_while(|folder| folder.starts_with(project.as_path()));
    folders.map(|folder| folder.join("node_modules")).any(|modules| holds_platform(&modules))
}

fn holds_platform(modules: &Path) -> bool {
    let Ok(entries) = fs::read_dir(modules) else { return false };
    entries.flatten().any(|entry| {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let is_platform = |name: &str| PLATFORMS.iter().any(|platform| name.contains(platform));
        is_platform(&name)
            || name.starts_with('@')
                && fs::read_dir(entry.path())
                    .is_ok_and(|scoped| scoped.flatten().any(|package| is_platform(&package.file_name().to_string_lossy())))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_for_a_platform_are_told_by_their_names() {
        let dir = tempfile::tempdir().expect("a folder");
        let modules = dir.path().join("node_modules");
        assert!(!holds_platform(&modules), "nothing is installed");
        fs::create_dir_all(modules.join("@babel/core")).expect("creates");
        fs::create_dir_all(modules.join("linux-os-info")).expect("creates");
        assert!(!holds_platform(&modules));
        fs::create_dir_all(modules.join("@rolldown/binding-linux-x64-gnu")).expect("creates");
        assert!(holds_platform(&modules));
    }
}
