//! Finding the project that a command is run for.

mod make;

use std::fs;
use std::path::{Path, PathBuf};

use crate::env;
use crate::identity::ProjectId;
use crate::paths::AbsPath;

/// What made a folder the root of a project.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RootKind {
    /// `VRIFT_PROJECT_ROOT` named it.
    Explicit,
    /// A Cargo workspace, or a package outside any.
    Cargo,
    /// The outermost `package.json` with `workspaces`, else the nearest one.
    Npm,
    /// The folder of the Makefile, or of what other native build tools read; see [`make`].
    Make,
    /// The work tree of a git repository.
    Git,
    /// Nothing was found: the current folder.
    Cwd,
}

/// A found project.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Project {
    /// Its canonical root.
    pub root: AbsPath,
    /// What made it the root.
    pub kind: RootKind,
    /// `VRIFT_PROJECT_BRANCH`, where set: another branch is another project.
    pub branch: Option<String>,
    /// From Cargo.toml, package.json or the folder.
    pub name: String,
}

/// Why no project could be named.
#[derive(Debug, thiserror::Error)]
#[error("cannot use `{path}` as the project root: {source}")]
pub struct RootError {
    path: PathBuf,
    source: std::io::Error,
}

impl Project {
    /// The project of `cwd`, [`env::PROJECT_ROOT`] and [`env::PROJECT_BRANCH`] heeded.
    ///
    /// # Errors
    /// Where the folder cannot be canonicalised.
    pub fn find(cwd: &Path) -> Result<Self, RootError> {
        let branch = std::env::var(env::PROJECT_BRANCH).ok().filter(|b| !b.is_empty());
        let (root, kind) = match std::env::var_os(env::PROJECT_ROOT).filter(|r| !r.is_empty()) {
            Some(root) => (cwd.join(root), RootKind::Explicit),
            None => detect(cwd),
        };
        Self::at(&root, kind, branch)
    }

    /// The project whose root is known to be `root`.
    ///
    /// # Errors
    /// Where the folder cannot be canonicalised.
    pub fn at(root: &Path, kind: RootKind, branch: Option<String>) -> Result<Self, RootError> {
        let fail = |source| RootError { path: root.to_owned(), source };
        let canonical = fs::canonicalize(root).map_err(fail)?;
        let root = AbsPath::try_from(canonical.as_path()).map_err(|e| fail(std::io::Error::other(e)))?;
        let name = name_of(&canonical);
        Ok(Self { root, kind, branch, name })
    }

    /// Its id.
    pub fn id(&self) -> ProjectId {
        ProjectId::new(&self.root, self.branch.as_deref())
    }

    /// Its name for people.
    pub fn slug(&self) -> String {
        self.id().slug(&self.name)
    }
}

/// The folder that owns the build of `cwd`. The innermost marker decides the ecosystem, so that a crate below a node
/// project is a crate; the ecosystem's own rule then finds the root.
fn detect(cwd: &Path) -> (PathBuf, RootKind) {
    let here = fs::canonicalize(cwd).unwrap_or_else(|_| cwd.to_owned());
    for dir in here.ancestors() {
        if dir.join("Cargo.toml").is_file() {
            return (cargo_root(dir), RootKind::Cargo);
        }
        if dir.join("package.json").is_file() {
            return (npm_root(dir), RootKind::Npm);
        }
        if make::is_marked(dir) {
            return (make::root(dir), RootKind::Make);
        }
    }
    match here.ancestors().find(|dir| dir.join(".git").exists()) {
        Some(dir) => (dir.to_owned(), RootKind::Git),
        None => (here, RootKind::Cwd),
    }
}

/// The workspace root of the package in `dir`, by Cargo's rules: `package.workspace`, else the nearest ancestor with a
/// `[workspace]` table that does not exclude the package, else the package itself.
/// Source: the Cargo Book, "The workspace section".
fn cargo_root(dir: &Path) -> PathBuf {
    let manifest = read_toml(&dir.join("Cargo.toml"));
    if manifest.as_ref().is_some_and(|m| m.contains_key("workspace")) {
        return dir.to_owned();
    }
    if let Some(root) = manifest.as_ref().and_then(|m| m.get("package")?.get("workspace")?.as_str()) {
        return dir.join(root);
    }
    let owner = dir
        .ancestors()
        .skip(1)
        .find(|up| read_toml(&up.join("Cargo.toml")).is_some_and(|m| m.get("workspace").is_some_and(|w| !excludes(w, up, dir))));
    owner.unwrap_or(dir).to_owned()
}

fn excludes(workspace: &toml::Value, root: &Path, package: &Path) -> bool {
    let list = workspace.get("exclude").and_then(toml::Value::as_array);
    list.is_some_and(|list| list.iter().filter_map(toml::Value::as_str).any(|entry| package.starts_with(root.join(entry))))
}

/// The outermost folder at or above `dir` whose `package.json` has `workspaces`, else `dir`.
fn npm_root(dir: &Path) -> PathBuf {
    let outermost =
        dir.ancestors().filter(|up| read_json(&up.join("package.json")).is_some_and(|p| p.get("workspaces").is_some())).last();
    outermost.unwrap_or(dir).to_owned()
}

fn name_of(root: &Path) -> String {
    let cargo = || read_toml(&root.join("Cargo.toml"))?.get("package")?.get("name")?.as_str().map(str::to_owned);
    let npm = || read_json(&root.join("package.json"))?.get("name")?.as_str().map(str::to_owned);
    let folder = || root.file_name().map(|n| n.to_string_lossy().into_owned());
    cargo().or_else(npm).or_else(folder).unwrap_or_else(|| "root".to_owned())
}

fn read_toml(path: &Path) -> Option<toml::Table> {
    fs::read_to_string(path).ok()?.parse().ok()
}

fn read_json(path: &Path) -> Option<serde_json::Value> {
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(root: &Path, files: &[(&str, &str)]) {
        for (path, text) in files {
            let path = root.join(path);
            fs::create_dir_all(path.parent().expect("has a parent")).expect("mkdir");
            fs::write(path, text).expect("write");
        }
    }

    fn found(root: &Path, cwd: &str) -> (String, RootKind) {
        let (dir, kind) = detect(&root.join(cwd));
        let root = fs::canonicalize(root).expect("canonical");
        (dir.strip_prefix(&root).map(|p| p.display().to_string()).unwrap_or_default(), kind)
    }

    #[test]
    fn each_ecosystem_has_its_rule() {
        let tmp = tempfile::tempdir().expect("tempdir");
        write(
            tmp.path(),
            &[
                ("ws/Cargo.toml", "[workspace]\nmembers=['a']\nexclude=['out']"),
                ("ws/a/Cargo.toml", "[package]\nname='a'"),
                ("ws/a/src/lib.rs", ""),
                ("ws/out/Cargo.toml", "[package]\nname='out'"),
                ("far/Cargo.toml", "[package]\nname='far'\nworkspace='../ws'"),
                ("js/package.json", r#"{"name":"@s/js","workspaces":["p/*"]}"#),
                ("js/p/one/package.json", r#"{"name":"one"}"#),
                ("js/p/one/native/Cargo.toml", "[package]\nname='native'"),
                ("c/Makefile", "all:"),
                ("c/sub/x.c", ""),
                ("git/.git/HEAD", ""),
                ("git/deep/x", ""),
            ],
        );
        let at = |cwd| found(tmp.path(), cwd);
        assert_eq!(at("ws/a/src"), ("ws".into(), RootKind::Cargo));
        assert_eq!(at("ws/out"), ("ws/out".into(), RootKind::Cargo));
        assert_eq!(at("far"), ("far/../ws".into(), RootKind::Cargo));
        assert_eq!(at("js/p/one"), ("js".into(), RootKind::Npm));
        assert_eq!(at("js/p/one/native"), ("js/p/one/native".into(), RootKind::Cargo));
        assert_eq!(at("c/sub"), ("c".into(), RootKind::Make));
        assert_eq!(at("git/deep"), ("git".into(), RootKind::Git));
    }

    #[test]
    fn symlinks_and_dots_give_one_id() {
        let tmp = tempfile::tempdir().expect("tempdir");
        write(tmp.path(), &[("p/Cargo.toml", "[package]\nname='p'")]);
        std::os::unix::fs::symlink(tmp.path().join("p"), tmp.path().join("link")).expect("symlink");
        let id = |path: &str| Project::at(&tmp.path().join(path), RootKind::Cargo, None).expect("found").id();
        assert_eq!(id("p"), id("link"));
        assert_eq!(id("p"), id("p/../p/."));
        assert_eq!(Project::at(&tmp.path().join("p"), RootKind::Cargo, None).expect("found").name, "p");
    }
}
