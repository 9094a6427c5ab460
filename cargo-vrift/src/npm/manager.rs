//! Which package manager runs a project's scripts.

use std::path::Path;

use super::package::Package;

/// A package manager.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Manager {
    /// Its steps are known one by one, and are actions each.
    Npm,
    /// `pnpm run` is one action.
    Pnpm,
    /// `yarn run`, of any version, is one action.
    Yarn,
    /// `bun run` is one action.
    Bun,
}

/// The files that tell.
const LOCKS: [(&str, Manager); 7] = [
    ("package-lock.json", Manager::Npm),
    ("npm-shrinkwrap.json", Manager::Npm),
    ("pnpm-lock.yaml", Manager::Pnpm),
    ("pnpm-workspace.yaml", Manager::Pnpm),
    ("yarn.lock", Manager::Yarn),
    ("bun.lock", Manager::Bun),
    ("bun.lockb", Manager::Bun),
];

impl Manager {
    /// The one of the package in `dir`: the nearest `packageManager` or lock file at or above it decides.
    pub fn of(dir: &Path) -> Self {
        dir.ancestors().find_map(Self::of_folder).unwrap_or(Self::Npm)
    }

    fn of_folder(dir: &Path) -> Option<Self> {
        let named = || Package::read(dir)?.manifest.package_manager.as_deref().and_then(Self::from_field);
        named().or_else(|| LOCKS.iter().find(|(lock, _)| dir.join(lock).is_file()).map(|(_, manager)| *manager))
    }

    fn from_field(field: &str) -> Option<Self> {
        let name = field.split('@').next()?;
        [Self::Npm, Self::Pnpm, Self::Yarn, Self::Bun].into_iter().find(|manager| manager.program() == name)
    }

    /// Its program.
    pub const fn program(self) -> &'static str {
        match self {
            Self::Npm => "npm",
            Self::Pnpm => "pnpm",
            Self::Yarn => "yarn",
            Self::Bun => "bun",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_mark_decides() {
        let tmp = tempfile::tempdir().expect("tempdir");
        let write = |path: &str, text: &str| {
            let path = tmp.path().join(path);
            std::fs::create_dir_all(path.parent().expect("has a parent")).expect("mkdir");
            std::fs::write(path, text).expect("write");
        };
        write("yarn.lock", "");
        write("a/package.json", "{}");
        write("b/package.json", r#"{"packageManager": "pnpm@9.1.0+sha512.x"}"#);
        write("b/yarn.lock", "");
        write("c/bun.lockb", "");
        write("d/package-lock.json", "{}");
        let of = |dir: &str| Manager::of(&tmp.path().join(dir));
        assert_eq!(of("a/deep"), Manager::Yarn);
        assert_eq!(of("b"), Manager::Pnpm);
        assert_eq!(of("c"), Manager::Bun);
        assert_eq!(of("d"), Manager::Npm);
    }
}
