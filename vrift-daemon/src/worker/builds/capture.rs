//! Making the plan of a build that has ended well.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use vrift_core::action::{OutputState, Place, Tool};
use vrift_core::bytes::ByteText;
use vrift_core::paths::{AbsPath, Root, Roots, TemplatePath};
use vrift_core::wire::{BuildOpenParams, LookupParams};
use vrift_store::cas::BLOB_MTIME;

use super::plan::{Command, File, Plan, Unit};
use super::{Build, Done, by_name};
use crate::worker::key::split;
use crate::worker::world::value_digest;

/// A file of Cargo's that is larger is kept by nobody.
const LARGEST: u64 = 4 << 20;

/// Cargo's files about a whole target folder.
const WHOLE: [&str; 2] = ["CACHEDIR.TAG", ".rustc_info.json"];

/// Where Cargo keeps what belongs to an action.
struct Home {
    /// `target/debug`, say.
    profile: PathBuf,
    /// The end of the names of its folders: Cargo's hash of the unit.
    hash: String,
}

/// The plan; `None` where nothing would come of it.
pub fn capture(build: &Build) -> Option<Plan> {
    let roots = &build.params.roots;
    let mut plan = Plan::new();
    let mut found = Vec::new();
    let mut homes: HashMap<(PathBuf, String), usize> = HashMap::new();
    for done in &build.done {
        let Some(place) = place_of(&done.command) else { continue };
        *homes.entry((place.profile.clone(), place.hash.clone())).or_default() += 1;
        found.push((place, done));
    }
    // A unit with several actions is not understood.
    found.retain(|(place, _)| homes.get(&(place.profile.clone(), place.hash.clone())) == Some(&1));
    let profiles: BTreeSet<PathBuf> = found.iter().map(|(place, _)| place.profile.clone()).collect();
    let fingerprints: HashMap<&Path, Fingerprints> =
        profiles.iter().map(|profile| (profile.as_path(), Fingerprints::read(profile))).collect();
    plan.left = found.len();
    let base = by_name(&build.params.env);
    let mut changed = BTreeSet::new();
    for (place, done) in sorted(&found) {
        let Some(fingerprints) = fingerprints.get(place.profile.as_path()) else { continue };
        let Some(unit) = unit(place, done, fingerprints, &base, roots) else { continue };
        changed.extend(unit.command.env.iter().map(|(name, _)| name.clone()));
        plan.units.push(unit);
    }
    plan.left -= plan.units.len();
    plan.base = changed
        .into_iter()
        .map(|name| {
            let value = base.get(&name[..]).map(|value| value_digest(roots, value));
            (name, value)
        })
        .collect();
    plan.folders = profiles.iter().flat_map(|profile| folders(profile)).filter_map(|dir| template(&dir, roots)).collect();
    plan.profiles = profiles.iter().filter_map(|profile| template(profile, roots)).collect();
    plan.files = whole_files(&build.params);
    (!plan.units.is_empty()).then_some(plan)
}

/// Which unit of Cargo's an action is, told by the folders that it was given.
fn place_of(command: &LookupParams) -> Option<Home> {
    let cut = |path: &[u8]| AbsPath::resolve(&command.cwd, path).ok().map(|path| path.as_path().to_owned());
    match command.tool {
        Tool::BuildScript => {
            let env = by_name(&command.env);
            // target/debug/build/name-hash/out
            let home = cut(env.get(&b"OUT_DIR"[..])?)?.parent()?.to_owned();
            let hash = hash_of(home.file_name()?.to_str()?)?.to_owned();
            Some(Home { profile: home.parent()?.parent()?.to_owned(), hash })
        }
        Tool::Rustc | Tool::Clippy => {
            let mut args = command.argv.iter();
            let (mut hash, mut out) = (None, None);
            while let Some(arg) = args.next() {
                match &arg[..] {
                    b"--out-dir" => out = cut(args.next()?),
                    b"-C" => hash = args.next()?.strip_prefix(b"extra-filename=-").or(hash),
                    other => hash = other.strip_prefix(b"-Cextra-filename=-").or(hash),
                }
            }
            let (out, hash) = (out?, std::str::from_utf8(hash?).ok()?.to_owned());
            // target/debug/deps, target/debug/examples or target/debug/build/name-hash
            let parent = out.parent()?;
            let profile = if parent.file_name()? == "build" { parent.parent()? } else { parent };
            Some(Home { profile: profile.to_owned(), hash })
        }
        _ => None,
    }
}

/// `hash` of `name-hash`.
fn hash_of(name: &str) -> Option<&str> {
    name.rsplit_once('-').map(|(_, hash)| hash)
}

/// Cargo's fingerprints of one profile.
struct Fingerprints {
    /// The folders, by hash.
    dirs: HashMap<String, Vec<PathBuf>>,
    /// Hashes of units that hold times of this checkout's files, or depend on one that does: Cargo will never take them for
    /// done elsewhere.
    local: HashSet<String>,
}

impl Fingerprints {
    fn read(profile: &Path) -> Self {
        let mut dirs: HashMap<String, Vec<PathBuf>> = HashMap::new();
        for entry in fs::read_dir(profile.join(".fingerprint")).into_iter().flatten().flatten() {
            let name = entry.file_name();
            if let Some(hash) = name.to_str().and_then(hash_of) {
                dirs.entry(hash.to_owned()).or_default().push(entry.path());
            }
        }
        let mut units: Vec<(String, Described)> = Vec::new();
        for (hash, dirs) in &dirs {
            units.extend(dirs.iter().flat_map(|dir| described(dir)).map(|described| (hash.clone(), described)));
        }
        let mut local: HashSet<String> = HashSet::new();
        let mut numbers: HashSet<u64> = HashSet::new();
        loop {
            let before = local.len();
            for (hash, unit) in &units {
                if unit.local || unit.deps.iter().any(|dep| numbers.contains(dep)) {
                    local.insert(hash.clone());
                    numbers.extend(unit.number);
                }
            }
            if local.len() == before {
                return Self { dirs, local };
            }
        }
    }
}

/// A fingerprint: Cargo's file `<name>.json`, and the number in the file `<name>`. Source: `Fingerprint` in Cargo's
/// `core/compiler/fingerprint`.
struct Described {
    number: Option<u64>,
    deps: Vec<u64>,
    local: bool,
}

fn described(dir: &Path) -> Vec<Described> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path());
    let json = entries.filter(|path| path.extension().is_some_and(|ext| ext == "json"));
    json.map(|path| {
        let number = fs::read_to_string(path.with_extension("")).ok().and_then(|hex| number(&hex));
        let parsed = fs::read(&path).ok().and_then(|text| serde_json::from_slice::<serde_json::Value>(&text).ok());
        let Some(value) = parsed else { return Described { number, deps: Vec::new(), local: true } };
        let list = |name: &str| value.get(name).and_then(serde_json::Value::as_array).cloned();
        let deps = list("deps").unwrap_or_default();
        let deps = deps.iter().filter_map(|dep| dep.as_array()?.last()?.as_u64()).collect();
        // Anything but these two says something of this checkout.
        let portable = |item: &serde_json::Value| {
            item.as_object().is_some_and(|item| {
                item.keys().all(|key| matches!(key.as_str(), "CheckDepInfo" | "RerunIfChanged" | "RerunIfEnvChanged"))
            })
        };
        let local = list("local").is_none_or(|items| !items.iter().all(portable));
        Described { number, deps, local }
    })
    .collect()
}

/// Cargo writes the number's bytes, the lowest first.
fn number(hex: &str) -> Option<u64> {
    u64::from_str_radix(hex.trim(), 16).ok().map(u64::swap_bytes)
}

fn unit(place: &Home, done: &Done, fingerprints: &Fingerprints, base: &HashMap<&[u8], &[u8]>, roots: &Roots) -> Option<Unit> {
    let [dir] = fingerprints.dirs.get(&place.hash)?.as_slice() else { return None };
    if fingerprints.local.contains(&place.hash) {
        return None;
    }
    let command = command(&done.command, base, roots)?;
    let mut files = Vec::new();
    let home = place.profile.join("build").join(dir.file_name()?);
    let mut dirs = Vec::new();
    if done.command.tool == Tool::BuildScript {
        dirs.push(template(&home.join("out"), roots)?);
        for name in ["invoked.timestamp", "stderr", "root-output", "output"] {
            files.extend(file(&home.join(name), roots)?);
        }
    }
    let mut names: Vec<PathBuf> = fs::read_dir(dir).ok()?.flatten().map(|entry| entry.path()).collect();
    // The file with the number says that all is done.
    names.sort_by_key(|path| (is_number(path), path.clone()));
    for name in names {
        files.push(file(&name, roots)??);
    }
    let mut dated = Vec::new();
    let mut inodes: BTreeMap<(u64, u64), TemplatePath> = BTreeMap::new();
    for output in &done.result.record.outputs {
        let OutputState::File { place, .. } = output.state else { continue };
        let Some(meta) = roots.expand_path(&output.path).and_then(|path| fs::symlink_metadata(path.as_path()).ok()) else {
            // Somebody removed it: there is nothing to go by.
            return output.optional.then_some(()).and(None);
        };
        inodes.insert((meta.dev(), meta.ino()), output.path.clone());
        if place == Place::Link && !output.optional && !is_old(&meta) {
            dated.push(output.path.clone());
        }
    }
    let mut links = Vec::new();
    for entry in fs::read_dir(&home).into_iter().flatten().flatten() {
        let (path, Ok(meta)) = (entry.path(), entry.metadata()) else { continue };
        let name = template(&path, roots)?;
        match inodes.get(&(meta.dev(), meta.ino())) {
            Some(of) if *of != name => links.push((name, of.clone())),
            _ => {}
        }
    }
    Some(Unit { command, dirs, dated, links, files })
}

/// Whether a file of a fingerprint's folder is the one with the number: it has a `.json` beside it.
fn is_number(path: &Path) -> bool {
    path.extension().is_none() && path.with_extension("json").exists()
}

/// A file, if it is there; the outer `None` where it cannot be kept.
fn file(path: &Path, roots: &Roots) -> Option<Option<File>> {
    let Ok(meta) = fs::symlink_metadata(path) else { return Some(None) };
    if !meta.is_file() || meta.len() > LARGEST {
        return None;
    }
    let content = fs::read(path).ok()?;
    let template_path = template(path, roots)?;
    let own = roots.per_checkout();
    let (content, is_template) = match own.occur_in(&content) {
        false => (content, false),
        true if content.contains(&0) => return None,
        true => {
            let text = own.template_text(&content);
            if text.doubtful {
                return None;
            }
            (text.bytes.0, true)
        }
    };
    Some(Some(File { path: template_path, content: ByteText(content), template: is_template, old: is_old(&meta) }))
}

fn is_old(meta: &fs::Metadata) -> bool {
    (meta.mtime(), meta.mtime_nsec()) == (BLOB_MTIME, 0)
}

fn command(done: &LookupParams, base: &HashMap<&[u8], &[u8]>, roots: &Roots) -> Option<Command> {
    let text = |text: &[u8]| Some(roots.template_text(text)).filter(|text| !text.doubtful).map(|text| text.bytes);
    let mut env = Vec::new();
    let now = by_name(&done.env);
    for (name, value) in done.env.iter().filter_map(split) {
        if base.get(name) != Some(&value) {
            env.push((ByteText::from(name), Some(text(value)?)));
        }
    }
    env.extend(base.keys().filter(|name| !now.contains_key(**name)).map(|name| (ByteText::from(*name), None)));
    Some(Command {
        tool: done.tool,
        program: roots.template_path(&done.program),
        argv: done.argv.iter().map(|arg| text(arg)).collect::<Option<_>>()?,
        cwd: roots.template_path(&done.cwd),
        env,
    })
}

/// Dependencies first. With pipelining, an action may end after one that needed its metadata alone.
fn sorted<'a>(found: &'a [(Home, &'a Done)]) -> Vec<(&'a Home, &'a Done)> {
    let mut maker: HashMap<&TemplatePath, usize> = HashMap::new();
    for (index, (_, done)) in found.iter().enumerate() {
        maker.extend(done.result.record.outputs.iter().map(|output| (&output.path, index)));
    }
    let needs = |index: usize| {
        let inputs = found[index].1.result.record.inputs.iter();
        inputs.filter_map(|input| maker.get(&input.path).copied()).filter(move |need| *need != index)
    };
    let mut order = Vec::with_capacity(found.len());
    let mut seen = vec![false; found.len()];
    let mut stack: Vec<(usize, Vec<usize>)> = Vec::new();
    for first in 0..found.len() {
        if !std::mem::replace(&mut seen[first], true) {
            stack.push((first, needs(first).collect()));
        }
        while let Some((index, open)) = stack.last_mut() {
            match open.pop() {
                Some(need) if !std::mem::replace(&mut seen[need], true) => stack.push((need, needs(need).collect())),
                Some(_) => {}
                None => {
                    order.push(*index);
                    stack.pop();
                }
            }
        }
    }
    order.into_iter().map(|index| (&found[index].0, found[index].1)).collect()
}

/// The folders of a profile that programs may look for; not those of incremental compilation.
fn folders(profile: &Path) -> Vec<PathBuf> {
    let mut dirs = Vec::new();
    let mut list = |dir: &Path| {
        let entries = fs::read_dir(dir).into_iter().flatten().flatten();
        let found: Vec<PathBuf> =
            entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).map(|entry| entry.path()).collect();
        dirs.extend(found.iter().cloned());
        found
    };
    list(profile);
    for home in list(&profile.join("build")) {
        list(&home);
    }
    dirs
}

fn whole_files(params: &BuildOpenParams) -> Vec<File> {
    let roots = &params.roots;
    let target = match (roots.get(Root::Target), roots.get(Root::Project)) {
        (Some(target), _) => target.as_path().to_owned(),
        (None, Some(project)) => project.as_path().join("target"),
        (None, None) => return Vec::new(),
    };
    WHOLE.iter().filter_map(|name| file(&target.join(name), roots).flatten()).collect()
}

fn template(path: &Path, roots: &Roots) -> Option<TemplatePath> {
    AbsPath::new(path.as_os_str().as_bytes()).ok().map(|path| roots.template_path(&path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_cargo_writes_them() {
        assert_eq!(number("0100000000000000"), Some(1));
        assert_eq!(number("ffffffffffffff7f"), Some(0x7fff_ffff_ffff_ffff));
        assert_eq!(number("zz"), None);
    }

    #[test]
    fn a_unit_depends_on_its_place_in_the_tree() {
        let dir = tempfile::tempdir().expect("tempdir");
        let write = |unit: &str, name: &str, number: u64, json: &str| {
            let folder = dir.path().join(".fingerprint").join(unit);
            fs::create_dir_all(&folder).expect("creates");
            fs::write(folder.join(name), format!("{:016x}", number.swap_bytes())).expect("writes");
            fs::write(folder.join(name).with_extension("json"), json).expect("writes");
        };
        write("a-1", "run-build-script", 11, r#"{"deps":[],"local":[{"Precalculated":"1.5s (src/a)"}]}"#);
        write("b-2", "lib-b", 12, r#"{"deps":[[7,"a",false,11]],"local":[{"CheckDepInfo":{}}]}"#);
        write("c-3", "bin-c", 13, r#"{"deps":[[8,"b",false,12]],"local":[{"CheckDepInfo":{}}]}"#);
        write("d-4", "lib-d", 14, r#"{"deps":[[9,"x",false,99]],"local":[{"CheckDepInfo":{}}]}"#);
        let read = Fingerprints::read(dir.path());
        let mut local: Vec<_> = read.local.into_iter().collect();
        local.sort();
        assert_eq!(local, ["1", "2", "3"]);
        assert_eq!(read.dirs.len(), 4);
    }
}
