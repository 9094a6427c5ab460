//! Making the plan of a build that has ended well.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use vrift_core::action::Tool;
use vrift_core::bytes::ByteText;
use vrift_core::digest::Digest;
use vrift_core::paths::{AbsPath, Root, Roots, TemplatePath};
use vrift_core::wire::LookupParams;
use vrift_store::cas::BLOB_MTIME;

use super::plan::{Command, File, Plan, Unit, outcome};
use super::{Build, Done, by_name, dates};
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

/// An action and what Cargo says of it.
struct Found<'a> {
    home: Home,
    /// Cargo's folder about it.
    dir: PathBuf,
    fingerprint: Fingerprint,
    done: &'a Done,
}

/// The plan; `None` where nothing would come of it.
pub fn capture(build: &Build) -> Option<Plan> {
    let roots = &build.params.roots;
    let base = by_name(&build.params.env);
    let mut plan = Plan::new();
    let found = found(build);
    let order = portable(&found.iter().map(|found| &found.fingerprint).collect::<Vec<_>>());
    plan.left = build.done.len() - order.len();
    // Where each of the units came to stand in the plan.
    let mut places: Vec<Option<usize>> = vec![None; found.len()];
    // Which units are newer than the store's blobs, to Cargo.
    let mut recent: Vec<bool> = Vec::new();
    let mut changed = BTreeSet::new();
    let mut manifests = BTreeSet::new();
    for (index, deps) in order {
        let deps: Option<Vec<usize>> = deps.iter().map(|dep| places[*dep]).collect();
        let unit = deps.and_then(|deps| unit(&found[index], deps, &base, build));
        let Some(unit) = unit else {
            plan.left += 1;
            continue;
        };
        changed.extend(unit.command.env.iter().map(|(name, _)| name.clone()));
        manifests.extend(manifest(&found[index].done.command));
        let record = &found[index].done.result.record;
        let dated = if unit.deps.iter().any(|dep| recent[*dep]) { dates::to_date(record) } else { Vec::new() };
        recent.push(!dated.is_empty() || dates::is_recent(record, &unit));
        places[index] = Some(plan.units.len());
        plan.units.push(Unit { dated, ..unit });
    }
    plan.manifests = manifests.iter().map(|path| Some((roots.template_path(path), file_digest(path)?))).collect::<Option<_>>()?;
    let value = |name: &ByteText| base.get(&name[..]).map(|value| value_digest(roots, value));
    plan.base = changed.into_iter().map(|name| (name.clone(), value(&name))).collect();
    let profiles: BTreeSet<&Path> = found.iter().map(|found| found.home.profile.as_path()).collect();
    plan.folders = profiles.iter().flat_map(|profile| folders(profile)).filter_map(|dir| template(&dir, roots)).collect();
    plan.profiles = profiles.iter().filter_map(|profile| template(profile, roots)).collect();
    plan.files = whole_files(build);
    (!plan.units.is_empty()).then_some(plan)
}

/// The actions that Cargo has one fingerprint about.
fn found(build: &Build) -> Vec<Found<'_>> {
    let mut profiles: HashMap<PathBuf, HashMap<String, Vec<PathBuf>>> = HashMap::new();
    let mut found = Vec::new();
    let mut met: HashMap<PathBuf, usize> = HashMap::new();
    for done in &build.done {
        let Some(home) = home_of(&done.command) else { continue };
        let dirs = profiles.entry(home.profile.clone()).or_insert_with(|| fingerprint_dirs(&home.profile));
        let Some([dir]) = dirs.get(&home.hash).map(Vec::as_slice) else { continue };
        let Some(fingerprint) = fingerprint(dir) else { continue };
        *met.entry(dir.clone()).or_default() += 1;
        found.push(Found { home, dir: dir.clone(), fingerprint, done });
    }
    // A unit with several actions is not understood.
    found.retain(|found| met.get(&found.dir) == Some(&1));
    found
}

/// Cargo's folders about units, by the unit's hash.
fn fingerprint_dirs(profile: &Path) -> HashMap<String, Vec<PathBuf>> {
    let mut dirs: HashMap<String, Vec<PathBuf>> = HashMap::new();
    for entry in fs::read_dir(profile.join(".fingerprint")).into_iter().flatten().flatten() {
        let name = entry.file_name();
        if let Some(hash) = name.to_str().and_then(hash_of) {
            dirs.entry(hash.to_owned()).or_default().push(entry.path());
        }
    }
    dirs
}

/// Which unit of Cargo's an action is, told by the folders that it was given.
fn home_of(command: &LookupParams) -> Option<Home> {
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

/// A fingerprint: Cargo's file `<name>.json`, and the number in the file `<name>`. Source: `Fingerprint` in Cargo's
/// `core/compiler/fingerprint`.
struct Fingerprint {
    number: u64,
    /// The numbers of the units that it depends on.
    deps: Vec<u64>,
    /// It says something of this checkout, such as the time of its newest file: elsewhere, Cargo will have another one.
    local: bool,
}

/// The one fingerprint in a folder.
fn fingerprint(dir: &Path) -> Option<Fingerprint> {
    let entries = fs::read_dir(dir).ok()?.flatten().map(|entry| entry.path());
    let json: Vec<PathBuf> = entries.filter(|path| path.extension().is_some_and(|ext| ext == "json")).collect();
    let [json] = json.as_slice() else { return None };
    let number = number(&fs::read_to_string(json.with_extension("")).ok()?)?;
    let value: serde_json::Value = serde_json::from_slice(&fs::read(json).ok()?).ok()?;
    let deps = value.get("deps")?.as_array()?;
    let deps = deps.iter().map(|dep| dep.as_array()?.last()?.as_u64()).collect::<Option<_>>()?;
    let portable = |item: &serde_json::Value| {
        let known = ["CheckDepInfo", "RerunIfChanged", "RerunIfEnvChanged"];
        item.as_object().is_some_and(|item| item.keys().all(|key| known.contains(&key.as_str())))
    };
    let local = !value.get("local")?.as_array()?.iter().all(portable);
    Some(Fingerprint { number, deps, local })
}

/// The units that can be what they are in another checkout, dependencies first, each with what it depends on: neither they nor
/// anything that they depend on is local, or unknown.
///
/// A build script's run shows in the commands of others by what it said. So a unit is never in place without all of these.
fn portable(units: &[&Fingerprint]) -> Vec<(usize, Vec<usize>)> {
    let by_number: HashMap<u64, usize> = units.iter().enumerate().map(|(index, unit)| (unit.number, index)).collect();
    let deps: Vec<Option<Vec<usize>>> =
        units.iter().map(|unit| unit.deps.iter().map(|dep| by_number.get(dep).copied()).collect()).collect();
    let mut placed = vec![false; units.len()];
    let mut order = Vec::with_capacity(units.len());
    loop {
        let before = order.len();
        for (index, unit) in units.iter().enumerate() {
            if let Some(deps) = &deps[index]
                && !placed[index]
                && !unit.local
                && deps.iter().all(|dep| placed[*dep])
            {
                placed[index] = true;
                order.push((index, deps.clone()));
            }
        }
        if order.len() == before {
            return order;
        }
    }
}

/// Cargo writes the number's bytes, the lowest first.
fn number(hex: &str) -> Option<u64> {
    u64::from_str_radix(hex.trim(), 16).ok().map(u64::swap_bytes)
}

fn unit(found: &Found<'_>, deps: Vec<usize>, base: &HashMap<&[u8], &[u8]>, build: &Build) -> Option<Unit> {
    let (roots, until) = (&build.params.roots, build.ended_ns);
    let Found { home, dir, done, .. } = found;
    let command = command(&done.command, base, roots)?;
    let mut files = Vec::new();
    let home = home.profile.join("build").join(dir.file_name()?);
    let mut dirs = Vec::new();
    if done.command.tool == Tool::BuildScript {
        dirs.push(template(&home.join("out"), roots)?);
        for name in ["invoked.timestamp", "stderr", "root-output", "output"] {
            files.extend(file(&home.join(name), roots, until)?);
        }
    }
    let mut names: Vec<PathBuf> = fs::read_dir(dir).ok()?.flatten().map(|entry| entry.path()).collect();
    // The file with the number says that all is done.
    names.sort_by_key(|path| (is_number(path), path.clone()));
    for name in names {
        files.push(file(&name, roots, until)??);
    }
    let mut inodes: BTreeMap<(u64, u64), TemplatePath> = BTreeMap::new();
    for output in done.result.record.outputs.iter().filter(|output| !output.optional) {
        // What somebody has removed since is nothing to go by.
        let meta = fs::symlink_metadata(roots.expand_path(&output.path)?.as_path()).ok()?;
        inodes.insert((meta.dev(), meta.ino()), output.path.clone());
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
    let outcome = outcome(&done.result.record);
    Some(Unit { command, outcome, deps, dirs, dated: Vec::new(), links, files })
}

/// Whether a file of a fingerprint's folder is the one with the number: it has a `.json` beside it.
fn is_number(path: &Path) -> bool {
    path.extension().is_none() && path.with_extension("json").exists()
}

/// A file, if it is there; the outer `None` where it cannot be kept: somebody changed it after `until`, when Cargo had ended, so
/// that it may tell of another run.
fn file(path: &Path, roots: &Roots, until: i64) -> Option<Option<File>> {
    let Ok(meta) = fs::symlink_metadata(path) else { return Some(None) };
    if !meta.is_file() || meta.len() > LARGEST {
        return None;
    }
    let content = fs::read(path).ok()?;
    let now = fs::symlink_metadata(path).ok()?;
    if now.ctime().saturating_mul(1_000_000_000).saturating_add(now.ctime_nsec()) > until {
        return None;
    }
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

/// The manifest of an action's package, where the package is part of the project.
fn manifest(command: &LookupParams) -> Option<AbsPath> {
    let path = AbsPath::new(by_name(&command.env).get(&b"CARGO_MANIFEST_PATH"[..])?).ok()?;
    path.below(command.roots.get(Root::Project)?)?;
    Some(path)
}

/// The digest of a file, as it is now.
pub fn file_digest(path: &AbsPath) -> Option<Digest> {
    fs::read(path.as_path()).ok().map(|content| Digest::of(&content))
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

fn whole_files(build: &Build) -> Vec<File> {
    let roots = &build.params.roots;
    let target = match (roots.get(Root::Target), roots.get(Root::Project)) {
        (Some(target), _) => target.as_path().to_owned(),
        (None, Some(project)) => project.as_path().join("target"),
        (None, None) => return Vec::new(),
    };
    WHOLE.iter().filter_map(|name| file(&target.join(name), roots, build.ended_ns).flatten()).collect()
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
    fn a_unit_takes_what_it_depends_on_along() {
        let unit = |number, deps: &[u64], local| Fingerprint { number, deps: deps.to_vec(), local };
        let units = [
            unit(15, &[14, 12], false),
            unit(11, &[], true),
            unit(12, &[11], false),
            unit(13, &[12], false),
            unit(14, &[16], false),
            unit(16, &[], false),
            unit(17, &[99], false),
        ];
        assert_eq!(portable(&units.iter().collect::<Vec<_>>()), [(5, vec![]), (4, vec![5])]);
    }

    #[test]
    fn fingerprints_are_read() {
        let dir = tempfile::tempdir().expect("tempdir");
        let write = |name: &str, text: &str| fs::write(dir.path().join(name), text).expect("writes");
        write("lib-a", "0b00000000000000");
        write("lib-a.json", r#"{"deps":[[7,"b",false,12]],"local":[{"CheckDepInfo":{}},{"RerunIfChanged":{}}]}"#);
        let read = fingerprint(dir.path()).expect("is one");
        assert_eq!((read.number, read.deps, read.local), (11, vec![12], false));
        write("lib-a.json", r#"{"deps":[],"local":[{"Precalculated":"1.5s (src/a)"}]}"#);
        assert!(fingerprint(dir.path()).expect("is one").local);
        write("test-a.json", "{}");
        assert!(fingerprint(dir.path()).is_none());
    }
}
