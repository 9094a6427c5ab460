//! No test file is forgotten, and the torture list and its tests agree.

use std::collections::BTreeSet;
use std::path::Path;

use integration::Result;

/// The test sources, with their text.
fn sources() -> Result<Vec<(String, String)>> {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let mut all = Vec::new();
    for entry in walkdir::WalkDir::new(&tests) {
        let entry = entry?;
        if entry.path().extension().is_some_and(|ext| ext == "rs") {
            let name = entry.path().strip_prefix(&tests)?.to_string_lossy().into_owned();
            all.push((name, std::fs::read_to_string(entry.path())?));
        }
    }
    Ok(all)
}

#[test]
fn every_test_file_is_a_module() -> Result {
    let sources = sources()?;
    for (name, _) in &sources {
        let path = Path::new(name);
        let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
        let folder = path.parent().unwrap_or(Path::new(""));
        let (parent, module) = match stem {
            "runner" => continue,
            "mod" => ("runner.rs".to_owned(), folder.to_string_lossy().into_owned()),
            _ => (folder.join("mod.rs").to_string_lossy().into_owned(), stem.to_owned()),
        };
        let text = sources.iter().find(|(n, _)| *n == parent).map_or("", |(_, text)| text);
        assert!(text.contains(&format!("mod {module};")), "{parent} does not name {name}");
    }
    Ok(())
}

#[test]
fn every_line_of_the_torture_list_has_its_tests() -> Result {
    let list = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("TORTURE.md"))?;
    let tests: BTreeSet<String> = sources()?
        .into_iter()
        .filter_map(|(name, text)| Some((name.strip_prefix("torture/")?.strip_suffix(".rs")?.to_owned(), text)))
        .flat_map(|(module, text)| {
            let names = text.split("#[test]").skip(1).filter_map(|after| {
                let name = after.split("fn ").nth(1)?.split('(').next()?;
                Some(format!("{module}::{name}"))
            });
            // Tests that a table makes have their names in it.
            let table = text.split("steered! {").nth(1).and_then(|table| table.split("\n}").next()).unwrap_or_default();
            let rows = table.lines().filter_map(|line| {
                let name = line.strip_prefix("    ")?.split(':').next()?;
                let is_name = !name.is_empty() && name.bytes().all(|c| c.is_ascii_lowercase() || c == b'_');
                is_name.then(|| format!("{module}::{name}"))
            });
            names.filter(|name| !name.ends_with("$name")).chain(rows).collect::<Vec<_>>()
        })
        .collect();
    let named: BTreeSet<String> =
        list.split('`').skip(1).step_by(2).filter(|word| word.contains("::") && !word.contains(' ')).map(str::to_owned).collect();
    let unknown: Vec<_> = named.difference(&tests).collect();
    assert!(unknown.is_empty(), "TORTURE.md names tests that do not exist: {unknown:?}");
    let unnamed: Vec<_> = tests.difference(&named).collect();
    assert!(unnamed.is_empty(), "TORTURE.md does not name: {unnamed:?}");
    Ok(())
}
