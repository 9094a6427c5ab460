//! Writing a trace for people: one file an action, one line an event.

use std::fs;
use std::io::Write;
use std::path::Path;

use vrift_core::arena::Trace;

/// Writes `<pid>.trace` into `dir`: `<pid> <kind> <errno> <path>` a line. Failing is no fault of the build.
pub fn dump(dir: &Path, label: &str, trace: &Trace) {
    let _ = try_dump(dir, label, trace);
}

fn try_dump(dir: &Path, label: &str, trace: &Trace) -> std::io::Result<()> {
    fs::create_dir_all(dir)?;
    let mut text = Vec::new();
    writeln!(text, "# {label}")?;
    for event in &trace.events {
        writeln!(text, "{} {:?} {} {}", event.pid, event.kind, event.errno, String::from_utf8_lossy(&event.path))?;
    }
    fs::write(dir.join(format!("{}.trace", std::process::id())), text)
}
