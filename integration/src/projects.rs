//! The real projects that vrift is measured with.

use std::path::PathBuf;

use toml_edit::{Array, DocumentMut, Item, Table, value};

use crate::{Result, crates_io, host};

/// A project with its lock file; its downloads are in Cargo's cache.
#[derive(Clone, Debug)]
pub struct Project {
    /// For people.
    pub name: String,
    /// The sources: copy them, never build in them.
    pub sources: PathBuf,
    /// The final program.
    pub program: &'static str,
    /// The source file of the final program's own crate, for edits.
    pub main: &'static str,
}

/// ripgrep, as published, with its lock file: 54 packages.
///
/// # Errors
/// It cannot be fetched.
pub fn ripgrep() -> Result<Project> {
    published("ripgrep", "15.1.0", "rg", "crates/core/main.rs")
}

/// bat, as published, with its lock file: C code, and many build scripts.
///
/// # Errors
/// It cannot be fetched.
pub fn bat() -> Result<Project> {
    published("bat", "0.26.1", "bat", "src/bin/bat/main.rs")
}

fn published(name: &str, version: &str, program: &'static str, main: &'static str) -> Result<Project> {
    let sources = crates_io::sources(name, version)?;
    crates_io::fetch_locked(&sources)?;
    Ok(Project { name: format!("{name} {version}"), sources, program, main })
}

/// The crates of [`regex_workspace`], dependencies first.
pub const REGEX_CRATES: [(&str, &str); 5] = [
    ("memchr", "2.7.6"),
    ("aho-corasick", "1.1.3"),
    ("regex-syntax", "0.8.8"),
    ("regex-automata", "0.4.13"),
    ("regex", "1.12.2"),
];

/// A workspace of several crates. crates.io publishes single crates, so this one is put together from published ones that
/// belong together, each a member that finds the others by path, with a small program on top. Nothing else is needed:
/// dependencies for tests and benchmarks are left out.
///
/// # Errors
/// A crate cannot be fetched.
pub fn regex_workspace() -> Result<Project> {
    let dir = host::cache()?.join("crates/regex-workspace-1");
    if !dir.join("Cargo.lock").is_file() {
        let sources: Vec<_> =
            REGEX_CRATES.iter().map(|(name, version)| crates_io::sources(name, version)).collect::<Result<_>>()?;
        crates_io::publish(&dir, |temp| {
            for ((name, _), from) in REGEX_CRATES.iter().zip(&sources) {
                crate::user::copy_tree(from, &temp.join(name))?;
                let manifest = temp.join(name).join("Cargo.toml");
                std::fs::write(&manifest, member(&std::fs::read_to_string(&manifest)?)?)?;
                let _ = std::fs::remove_file(temp.join(name).join("Cargo.lock"));
            }
            std::fs::create_dir_all(temp.join("lines/src"))?;
            std::fs::write(temp.join("lines/Cargo.toml"), LINES_MANIFEST)?;
            std::fs::write(temp.join("lines/src/main.rs"), LINES_MAIN)?;
            let members: Vec<_> = REGEX_CRATES.iter().map(|(name, _)| format!("{name:?}")).collect();
            let root = format!("[workspace]\nresolver = \"2\"\nmembers = [{}, \"lines\"]\n", members.join(", "));
            std::fs::write(temp.join("Cargo.toml"), root)?;
            host::line_of(crates_io::cargo(temp).args(["generate-lockfile", "--offline"])).map(|_| ())
        })?;
    }
    Ok(Project { name: "regex workspace".to_owned(), sources: dir, program: "lines", main: "lines/src/main.rs" })
}

const LINES_MANIFEST: &str =
    "[package]\nname = \"lines\"\nversion = \"0.1.0\"\nedition = \"2024\"\n\n[dependencies]\nregex = { path = \"../regex\" }\n";

const LINES_MAIN: &str = r#"//! Prints the lines of standard input that match the first argument.

fn main() {
    let pattern = std::env::args().nth(1).unwrap_or_else(|| "needle".to_owned());
    let regex = regex::Regex::new(&pattern).expect("a regular expression");
    let lines = std::io::stdin().lines().map_while(Result::ok);
    let found: Vec<_> = lines.filter(|line| regex.is_match(line)).collect();
    println!("{} lines match {pattern}", found.len());
    found.iter().for_each(|line| println!("{line}"));
}
"#;

/// A published manifest as that of a member: siblings by path; no tests, benchmarks or what only those need; none of the
/// optional dependencies that are no members, so that the lock file names members alone.
fn member(manifest: &str) -> Result<String> {
    let mut doc: DocumentMut = manifest.parse()?;
    for key in ["dev-dependencies", "bench", "test", "example", "profile"] {
        doc.remove(key);
    }
    let strangers = doc.get_mut("dependencies").and_then(Item::as_table_mut).map(by_path).unwrap_or_default();
    if let Some(features) = doc.get_mut("features").and_then(Item::as_table_mut) {
        for (_, values) in features.iter_mut() {
            if let Some(values) = values.as_array_mut() {
                forget(values, &strangers);
            }
        }
    }
    if let Some(package) = doc.get_mut("package").and_then(Item::as_table_mut) {
        for key in ["autotests", "autobenches", "autoexamples"] {
            package.insert(key, value(false));
        }
    }
    Ok(doc.to_string())
}

/// Makes members path dependencies, and removes the others; returns the names of those.
fn by_path(dependencies: &mut Table) -> Vec<String> {
    let names: Vec<_> = dependencies.iter().map(|(name, _)| name.to_owned()).collect();
    let (members, strangers): (Vec<_>, Vec<_>) =
        names.into_iter().partition(|name| REGEX_CRATES.iter().any(|(member, _)| member == name));
    for name in &members {
        if let Some(table) = dependencies.get_mut(name).and_then(Item::as_table_like_mut) {
            table.insert("path", value(format!("../{name}")));
        }
    }
    strangers.iter().for_each(|name| {
        dependencies.remove(name);
    });
    strangers
}

/// Removes the mentions of dependencies from a feature: `dep:log`, `log`, `log/std`, `log?/std`.
fn forget(values: &mut Array, names: &[String]) {
    values.retain(|value| {
        let text = value.as_str().unwrap_or_default();
        let word = text.strip_prefix("dep:").unwrap_or(text);
        let word = word.split(['?', '/']).next().unwrap_or_default();
        !names.iter().any(|name| name == word)
    });
}
