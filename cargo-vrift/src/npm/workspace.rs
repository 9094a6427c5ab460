//! The packages of a workspace, in the order in which they need each other.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use serde_json::Value;
use yaml_rust2::{Yaml, YamlLoader};

use super::manager::Manager;
use super::package::{Manifest, Package};
use crate::error::Error;

/// Folders in folders that are looked into for packages.
const DEEPEST: usize = 8;

/// The file that makes a folder the root of a workspace of pnpm's.
const PNPM: &str = "pnpm-workspace.yaml";

/// A workspace.
#[derive(Debug)]
pub struct Workspace {
    /// Its root.
    pub root: PathBuf,
    /// Its packages, each behind those that it needs.
    pub packages: Vec<Package>,
    /// Of each, all that it needs, by their places; those that they need among them.
    needs: Vec<BTreeSet<usize>>,
}

impl Workspace {
    /// The workspace that `dir` is in: the nearest `package.json` with `workspaces` at or above it, or pnpm's own file.
    ///
    /// # Errors
    /// There is none, a pattern is wrong, or packages need each other in a circle.
    pub fn find(dir: &Path, manager: Manager) -> Result<Self, Error> {
        let patterns_at = |dir: &Path| -> Option<Result<Vec<String>, Error>> {
            if manager == Manager::Pnpm {
                let file = dir.join(PNPM);
                return file.is_file().then(|| pnpm_patterns(&file));
            }
            Package::read(dir)
                .filter(|package| package.manifest.workspaces.is_some())
                .map(|package| Ok(patterns(&package.manifest)))
        };
        let found = dir.ancestors().find_map(|dir| Some((dir, patterns_at(dir)?)));
        let (root, patterns) = found.ok_or_else(|| {
            let file = if manager == Manager::Pnpm { PNPM } else { "package.json with `workspaces`" };
            Error::Usage(format!("there is no {file} here or above"))
        })?;
        let patterns = patterns?;
        let (wanted, unwanted): (Vec<_>, Vec<_>) =
            patterns.iter().map(String::as_str).partition(|pattern| !pattern.starts_with('!'));
        let (wanted, unwanted) = (globs(&wanted)?, globs(&unwanted.iter().map(|p| &p[1..]).collect::<Vec<_>>())?);
        let mut folders = Vec::new();
        collect(root, Path::new(""), DEEPEST, &mut folders);
        let named = folders.iter().filter(|folder| wanted.is_match(folder) && !unwanted.is_match(folder));
        let packages = named.filter_map(|folder| Package::read(&root.join(folder))).collect();
        let (packages, needs) = in_order(packages)?;
        Ok(Self { packages, needs, root: root.to_owned() })
    }

    /// Of each of these packages, which of them it needs, by their places among these.
    pub fn needs_among(&self, chosen: &[usize]) -> Vec<BTreeSet<usize>> {
        let among = |needs: &BTreeSet<usize>| (0..chosen.len()).filter(|at| needs.contains(&chosen[*at])).collect();
        chosen.iter().map(|at| among(&self.needs[*at])).collect()
    }

    /// The places of those that are named, by name or folder below `cwd` or the root, or of all; in order.
    ///
    /// # Errors
    /// A name fits none.
    pub fn choose(&self, names: &[String], all: bool, cwd: &Path) -> Result<Vec<usize>, Error> {
        if all {
            return Ok((0..self.packages.len()).collect());
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
        Ok(chosen.into_iter().collect())
    }
}

fn patterns(manifest: &Manifest) -> Vec<String> {
    let list = match &manifest.workspaces {
        Some(Value::Object(object)) => object.get("packages"),
        other => other.as_ref(),
    };
    list.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).map(clean).collect()
}

fn clean(pattern: &str) -> String {
    let (not, text) = pattern.strip_prefix('!').map_or(("", pattern), |rest| ("!", rest));
    format!("{not}{}", text.trim_start_matches("./").trim_end_matches('/'))
}

fn pnpm_patterns(file: &Path) -> Result<Vec<String>, Error> {
    let text = fs::read_to_string(file).map_err(|source| Error::File { action: "read", path: file.to_owned(), source })?;
    let wrong = |e| Error::Usage(format!("{}: {e}", file.display()));
    let parsed = YamlLoader::load_from_str(&text).map_err(wrong)?;
    let list = parsed.first().and_then(|whole| whole["packages"].as_vec());
    Ok(list.into_iter().flatten().filter_map(Yaml::as_str).map(clean).collect())
}

fn globs(patterns: &[&str]) -> Result<GlobSet, Error> {
    let wrong = |e: globset::Error| Error::Usage(format!("a pattern of packages is wrong: {e}"));
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

/// Each behind those that it needs, otherwise as they came; and all that each needs.
fn in_order(packages: Vec<Package>) -> Result<(Vec<Package>, Vec<BTreeSet<usize>>), Error> {
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
    let mut all: Vec<BTreeSet<usize>> = Vec::new();
    for at in &order {
        let direct = needs[*at].iter().filter(|need| *need != at).filter_map(|need| order.iter().position(|other| other == need));
        let direct: Vec<usize> = direct.collect();
        all.push(direct.iter().flat_map(|need| all[*need].iter().copied()).chain(direct.iter().copied()).collect());
    }
    let mut packages: Vec<Option<Package>> = packages.into_iter().map(Some).collect();
    Ok((order.into_iter().filter_map(|at| packages[at].take()).collect(), all))
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
        let find = |manager| Workspace::find(&tmp.path().join("packages/app"), manager);
        let workspace = find(Manager::Npm).expect("found");
        let names =
            |chosen: &[usize]| chosen.iter().filter_map(|at| workspace.packages[*at].manifest.name.clone()).collect::<Vec<_>>();
        assert_eq!(names(&[0, 1, 2]), ["gen", "core", "app"]);
        assert_eq!(workspace.needs_among(&[0, 2]), [BTreeSet::new(), BTreeSet::from([0])], "through one that is not chosen");
        let choose = |list: &[&str]| {
            let list: Vec<String> = list.iter().map(|name| (*name).to_owned()).collect();
            workspace.choose(&list, false, tmp.path()).map(|chosen| names(&chosen))
        };
        assert_eq!(choose(&["app", "packages/core"]).expect("there"), ["core", "app"]);
        assert_eq!(choose(&["packages"]).expect("there"), ["core", "app"]);
        assert!(choose(&["old"]).is_err());
        write("packages/core/package.json", r#"{"name": "core", "dependencies": {"app": "*"}}"#);
        assert!(find(Manager::Npm).expect_err("a circle").to_string().contains("circle"));
        assert!(find(Manager::Pnpm).is_err());
        write(
            "pnpm-workspace.yaml",
            "packages: # ours\n  - './tools/**'\n  - packages/*\n  - '!packages/app'\n  - \"!packages/core\"\n",
        );
        let of_pnpm = find(Manager::Pnpm).expect("found");
        let found: Vec<_> = of_pnpm.packages.iter().filter_map(|package| package.manifest.name.as_deref()).collect();
        assert_eq!(found, ["old", "gen"]);
    }
}
