//! The packages of an npm workspace, in the order in which they need each other.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use serde_json::Value;

use super::package::{Manifest, Package};
use crate::error::Error;

/// Folders in folders that are looked into for packages.
const DEEPEST: usize = 8;

/// A workspace.
#[derive(Debug)]
pub struct Workspace {
    /// Its root.
    pub root: PathBuf,
    /// Its packages, each behind those that it needs.
    pub packages: Vec<Package>,
}

impl Workspace {
    /// The workspace that `dir` is in: the nearest `package.json` with `workspaces` at or above it.
    ///
    /// # Errors
    /// There is none, a pattern is wrong, or packages need each other in a circle.
    pub fn find(dir: &Path) -> Result<Self, Error> {
        let root = dir.ancestors().filter_map(Package::read).find(|package| package.manifest.workspaces.is_some());
        let root = root.ok_or_else(|| Error::Usage("no package.json here or above has `workspaces`".into()))?;
        let patterns = patterns(&root.manifest);
        let (wanted, unwanted): (Vec<_>, Vec<_>) =
            patterns.iter().map(String::as_str).partition(|pattern| !pattern.starts_with('!'));
        let (wanted, unwanted) = (globs(&wanted)?, globs(&unwanted.iter().map(|p| &p[1..]).collect::<Vec<_>>())?);
        let mut folders = Vec::new();
        collect(&root.dir, Path::new(""), DEEPEST, &mut folders);
        let named = folders.iter().filter(|folder| wanted.is_match(folder) && !unwanted.is_match(folder));
        let packages = named.filter_map(|folder| Package::read(&root.dir.join(folder))).collect();
        Ok(Self { packages: in_order(packages)?, root: root.dir })
    }

    /// Those that are named, by name or folder below `cwd` or the root, or all; in order.
    ///
    /// # Errors
    /// A name fits none.
    pub fn choose(&self, names: &[String], all: bool, cwd: &Path) -> Result<Vec<&Package>, Error> {
        if all {
            return Ok(self.packages.iter().collect());
        }
        let mut chosen = BTreeSet::new();
        for name in names {
            let folders = [cwd.join(name), self.root.join(name)].map(|dir| dir.canonicalize().unwrap_or(dir));
            let fits = |package: &Package| {
                let dir = package.dir.canonicalize().unwrap_or_else(|_| package.dir.clone());
                package.manifest.name.as_ref() == Some(name) || folders.iter().any(|folder| dir.starts_with(folder))
            };
            let found: Vec<usize> = (0..self.packages.len()).filter(|at| fits(&self.packages[*at])).collect();
            if found.is_empty() {
                return Err(Error::Usage(format!("`{name}` is no package of the workspace `{}`", self.root.display())));
            }
            chosen.extend(found);
        }
        Ok(chosen.into_iter().map(|at| &self.packages[at]).collect())
    }
}

fn patterns(manifest: &Manifest) -> Vec<String> {
    let list = match &manifest.workspaces {
        Some(Value::Object(object)) => object.get("packages"),
        other => other.as_ref(),
    };
    let texts = list.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
    let clean = |text: &str| {
        let (not, text) = text.strip_prefix('!').map_or(("", text), |rest| ("!", rest));
        format!("{not}{}", text.trim_start_matches("./").trim_end_matches('/'))
    };
    texts.map(clean).collect()
}

fn globs(patterns: &[&str]) -> Result<GlobSet, Error> {
    let wrong = |e: globset::Error| Error::Usage(format!("package.json: {e}"));
    let mut set = GlobSetBuilder::new();
    for pattern in patterns {
        set.add(GlobBuilder::new(pattern).literal_separator(true).build().map_err(wrong)?);
    }
    set.build().map_err(wrong)
}

/// Folders below `root` that hold a `package.json`.
fn collect(root: &Path, below: &Path, deep: usize, into: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(root.join(below)) else { return };
    let mut names: Vec<_> =
        entries.flatten().filter(|e| e.file_type().is_ok_and(|kind| kind.is_dir())).map(|e| e.file_name()).collect();
    names.sort();
    for name in names.into_iter().filter(|name| name != "node_modules" && name != ".git" && name != ".vrift") {
        let folder = below.join(name);
        if root.join(&folder).join("package.json").is_file() {
            into.push(folder.clone());
        }
        if deep > 0 {
            collect(root, &folder, deep - 1, into);
        }
    }
}

/// Each behind those that it needs; otherwise as they came.
fn in_order(packages: Vec<Package>) -> Result<Vec<Package>, Error> {
    let names: BTreeMap<&str, usize> =
        packages.iter().enumerate().filter_map(|(at, p)| Some((p.manifest.name.as_deref()?, at))).collect();
    let needs = |manifest: &Manifest| -> Vec<usize> {
        let lists =
            [&manifest.dependencies, &manifest.dev_dependencies, &manifest.peer_dependencies, &manifest.optional_dependencies];
        lists.into_iter().flat_map(BTreeMap::keys).filter_map(|name| names.get(name.as_str()).copied()).collect()
    };
    let needs: Vec<Vec<usize>> = packages.iter().map(|package| needs(&package.manifest)).collect();
    let mut order: Vec<usize> = Vec::new();
    while order.len() < packages.len() {
        let ready = |at: &usize| !order.contains(at) && needs[*at].iter().all(|need| need == at || order.contains(need));
        let Some(next) = (0..packages.len()).find(ready) else {
            return Err(Error::Other("packages of this workspace need each other in a circle".into()));
        };
        order.push(next);
    }
    let mut packages: Vec<Option<Package>> = packages.into_iter().map(Some).collect();
    Ok(order.into_iter().filter_map(|at| packages[at].take()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_come_behind_what_they_need() {
        let tmp = tempfile::tempdir().expect("tempdir");
        let write = |path: &str, text: &str| {
            let path = tmp.path().join(path);
            fs::create_dir_all(path.parent().expect("has a parent")).expect("mkdir");
            fs::write(path, text).expect("write");
        };
        write("package.json", r#"{"workspaces": ["./packages/*", "!packages/old", "tools/**"]}"#);
        write("packages/app/package.json", r#"{"name": "app", "dependencies": {"core": "*", "left-pad": "1"}}"#);
        write("packages/core/package.json", r#"{"name": "core", "devDependencies": {"gen": "*"}}"#);
        write("packages/old/package.json", r#"{"name": "old"}"#);
        write("packages/app/deep/package.json", r#"{"name": "deep"}"#);
        write("tools/x/gen/package.json", r#"{"name": "gen"}"#);
        let names = |packages: &[&Package]| packages.iter().filter_map(|p| p.manifest.name.clone()).collect::<Vec<_>>();
        let workspace = Workspace::find(&tmp.path().join("packages/app")).expect("found");
        assert_eq!(names(&workspace.packages.iter().collect::<Vec<_>>()), ["gen", "core", "app"]);
        let choose = |list: &[&str]| {
            let list: Vec<String> = list.iter().map(|name| (*name).to_owned()).collect();
            workspace.choose(&list, false, tmp.path()).map(|chosen| names(&chosen))
        };
        assert_eq!(choose(&["app", "packages/core"]).expect("there"), ["core", "app"]);
        assert_eq!(choose(&["packages"]).expect("there"), ["core", "app"]);
        assert!(choose(&["old"]).is_err());
        write("packages/core/package.json", r#"{"name": "core", "dependencies": {"app": "*"}}"#);
        assert!(Workspace::find(tmp.path()).expect_err("a circle").to_string().contains("circle"));
    }
}
