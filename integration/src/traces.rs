//! vrift's own traces: one text file for each action that really ran.

use std::path::Path;

use anyhow::{Context, bail};
use vrift_core::event::EventKind;

use crate::Result;

/// The trace of one action.
#[derive(Clone, Debug)]
pub struct Trace {
    /// The file's name without `.trace`: `<pid>-<n>`.
    pub name: String,
    /// The process that the file is named after.
    pub pid: u32,
    /// What its processes did.
    pub events: Vec<Event>,
}

/// One line of a trace.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Event {
    /// The process.
    pub pid: u32,
    /// What it did.
    pub kind: EventKind,
    /// The call's error, 0 for none.
    pub errno: i32,
    /// To which path.
    pub path: String,
}

/// All traces in a folder, by name.
///
/// # Errors
/// A file is not as it should be.
pub fn read_all(dir: &Path) -> Result<Vec<Trace>> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(dir).with_context(|| format!("cannot list `{}`", dir.display()))? {
        let path = entry?.path();
        if path.extension().is_some_and(|ext| ext == "trace") {
            let text = std::fs::read(&path).with_context(|| format!("cannot read `{}`", path.display()))?;
            let name = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
            all.push(parse(name, &String::from_utf8_lossy(&text)).with_context(|| format!("`{}`", path.display()))?);
        }
    }
    all.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(all)
}

fn parse(name: &str, text: &str) -> Result<Trace> {
    let pid = name.split('-').next().and_then(|pid| pid.parse().ok()).context("the name does not start with a process")?;
    let mut events = Vec::new();
    for line in text.lines() {
        if line.starts_with('#') || line.is_empty() {
            continue;
        }
        let mut words = line.splitn(4, ' ');
        let mut word = || words.next().with_context(|| format!("too few words: {line}"));
        let (pid, kind, errno) = (word()?.parse()?, word()?, word()?.parse()?);
        let path = words.next().unwrap_or_default().to_owned();
        let Some(kind) = EventKind::ALL.into_iter().find(|k| format!("{k:?}") == kind) else {
            bail!("unknown event: {line}");
        };
        events.push(Event { pid, kind, errno, path });
    }
    Ok(Trace { name: name.to_owned(), pid, events })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn traces_are_read() -> Result {
        let trace = parse("31-2", "31 OpenRead 0 /a b/c\n32 Stat 2 /no\n32 SignIn 0 /bin/x\n")?;
        assert_eq!(trace.pid, 31);
        assert_eq!(trace.events[0], Event { pid: 31, kind: EventKind::OpenRead, errno: 0, path: "/a b/c".to_owned() });
        assert!(parse("31-2", "31 Sneeze 0 /a").is_err());
        Ok(())
    }
}
