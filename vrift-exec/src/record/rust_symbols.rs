//! Can a Rust program list its environment?
//!
//! `std::env::vars` and `vars_os` read the list itself, which no shim sees. The linker drops functions that nobody refers to, so
//! a program without `vars_os` cannot list. But `std::process::Command` refers to it too, to hand the list on to a child, and
//! most build scripts run some command. So what refers to it is looked for: where that is `Command` alone, the program still
//! asks by name.
//!
//! Everything that is not understood (another architecture, no symbols, a reference from elsewhere) counts as listing. A
//! program that reads C's `environ` without std is not noticed.

use std::collections::BTreeSet;

use object::{Object, ObjectSection, ObjectSymbol, RelocationTarget, SectionKind};

/// What the listing function is called, in either mangling.
const LISTING: [&str; 2] = ["3std3env7vars_os", "3env7vars_os17h"];

/// What hands the list on without looking at it: `Command::capture_env` and `CommandEnv::capture`, in either mangling.
const HANDING_ON: [&str; 3] = ["11capture_env", "10CommandEnv7capture", "10CommandEnv18capture_if_changed"];

/// Whether the program or library with this content may list its environment.
pub fn may_list_variables(content: &[u8]) -> bool {
    lists(content).unwrap_or(true)
}

fn lists(content: &[u8]) -> Option<bool> {
    let file = object::File::parse(content).ok()?;
    let has = |name: &str, parts: &[&str]| parts.iter().any(|part| name.contains(part));
    let mut functions: Vec<(u64, u64, &str)> =
        file.symbols().filter(|s| s.is_definition()).filter_map(|s| Some((s.address(), s.size(), s.name().ok()?))).collect();
    if !functions.iter().any(|(_, _, name)| name.contains("3std")) {
        // Stripped, or std is elsewhere: then its function is called by a dynamic symbol.
        let imports = file.dynamic_symbols().filter(|s| s.is_undefined()).filter_map(|s| s.name().ok());
        let mut imports = imports.filter(|name| name.contains("3std")).peekable();
        return imports.peek().is_some().then(|| imports.any(|name| has(name, &LISTING)));
    }
    let listing: BTreeSet<u64> = functions.iter().filter(|(_, _, name)| has(name, &LISTING)).map(|(at, ..)| *at).collect();
    if listing.is_empty() {
        return Some(false);
    }
    if file.architecture() != object::Architecture::X86_64 {
        return None;
    }
    functions.sort_unstable();
    let owner = |at: u64| {
        let next = functions.partition_point(|(start, ..)| *start <= at);
        functions[..next].iter().rev().take(8).find(|(start, size, _)| at - start < *size).map(|(_, _, name)| *name)
    };
    // Calls go through a table whose entries the loader fills in.
    let mut targets = listing;
    for (at, relocation) in file.dynamic_relocations()? {
        if relocation.target() == RelocationTarget::Absolute && targets.contains(&(relocation.addend() as u64)) {
            targets.insert(at);
        }
    }
    let (lowest, highest) = (targets.first().copied()?, targets.last().copied()?);
    for section in file.sections().filter(|section| section.kind() == SectionKind::Text) {
        let (start, code) = (section.address(), section.data().ok()?);
        for (offset, bytes) in code.windows(4).enumerate() {
            let distance = i32::from_le_bytes(bytes.try_into().ok()?);
            let behind = start + offset as u64 + 4;
            let target = behind.wrapping_add_signed(i64::from(distance));
            // Any four bytes that would be the distance to a target count, whatever instruction they belong to.
            if (lowest..=highest).contains(&target) && targets.contains(&target) {
                let name = owner(behind)?;
                if !has(name, &HANDING_ON) && !has(name, &LISTING) {
                    return Some(true);
                }
            }
        }
    }
    Some(false)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::process::Command;

    use super::*;

    fn compiled(body: &str) -> bool {
        let tmp = tempfile::tempdir().expect("tempdir");
        let (source, program) = (tmp.path().join("x.rs"), tmp.path().join("x"));
        fs::write(&source, format!("fn main() {{ {body} }}")).expect("write");
        let done = Command::new("rustc").arg(&source).arg("-o").arg(&program).status().expect("rustc runs");
        assert!(done.success());
        may_list_variables(&fs::read(&program).expect("read"))
    }

    #[test]
    fn programs_that_list_are_told_from_those_that_do_not() {
        assert!(!compiled(r#"println!("{:?}", std::env::var("HOME"));"#));
        assert!(compiled(r#"for (name, _) in std::env::vars() { println!("{name}"); }"#));
        assert!(compiled(r#"println!("{}", std::env::vars_os().count());"#));
        assert!(may_list_variables(b"no program"));
    }

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn running_a_command_is_not_listing() {
        assert!(!compiled(r#"let _ = std::process::Command::new("true").env("A", "b").output();"#));
        assert!(compiled(r#"let _ = std::process::Command::new("true").envs(std::env::vars()).output();"#));
    }
}
