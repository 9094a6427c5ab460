//! `vrift daemon log`: the last lines of what all daemons of a state folder wrote.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use vrift_core::home::Home;

use crate::error::Error;
use crate::say;

/// Bytes that are read from the end of each file.
const TAIL: u64 = 256 << 10;

/// Prints the last `count` lines, oldest first, each behind the name of its daemon.
///
/// # Errors
/// Where the folder cannot be read.
pub fn print(home: &Home, count: usize) -> Result<(), Error> {
    let folder = home.log();
    let lines = last_lines(&folder, count).map_err(|source| Error::File { action: "read", path: folder.clone(), source })?;
    if lines.is_empty() {
        say::line(format_args!("nothing in {}: daemons write down what is off", folder.display()));
    }
    say::out(&lines.concat());
    Ok(())
}

fn last_lines(folder: &Path, count: usize) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(folder) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other?,
    };
    let mut lines = Vec::new();
    for path in entries.flatten().map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|ext| ext == "log")) {
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        // A line that does not begin with its time, as of a message with several lines, stays with the one before.
        let mut time = String::new();
        for line in tail(&path)?.lines().filter(|line| !line.trim().is_empty()) {
            if let Some(first) = line.split_whitespace().next().filter(|word| word.starts_with("20")) {
                time = first.to_owned();
            }
            lines.push((time.clone(), format!("{name}: {line}\n")));
        }
    }
    lines.sort_by(|a, b| a.0.cmp(&b.0));
    let from = lines.len().saturating_sub(count);
    Ok(lines.split_off(from).into_iter().map(|(_, line)| line).collect())
}

/// Whole lines from the end of a file.
fn tail(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let skipped = file.metadata()?.len().saturating_sub(TAIL);
    file.seek(SeekFrom::Start(skipped))?;
    let mut bytes = Vec::new();
    file.take(TAIL).read_to_end(&mut bytes)?;
    let whole = if skipped > 0 { bytes.iter().position(|c| *c == b'\n').map_or(0, |at| at + 1) } else { 0 };
    Ok(String::from_utf8_lossy(&bytes[whole..]).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_all_daemons_are_in_order() {
        let tmp = tempfile::tempdir().expect("tempdir");
        assert!(last_lines(&tmp.path().join("none"), 5).expect("nothing there").is_empty());
        let write = |name: &str, text: &str| fs::write(tmp.path().join(name), text).expect("writes");
        write("vriftd.log", "2026-01-01T00:00:01Z WARN a\n2026-01-01T00:00:03Z WARN c\nmore of c\n");
        write("vdir_d-1.log", "2026-01-01T00:00:02Z WARN b\n");
        write("vriftd.log.old", "2025-01-01T00:00:02Z WARN old\n");
        let lines = last_lines(tmp.path(), 3).expect("reads");
        assert_eq!(
            lines.concat(),
            "vdir_d-1: 2026-01-01T00:00:02Z WARN b\nvriftd: 2026-01-01T00:00:03Z WARN c\nvriftd: more of c\n"
        );
        write("vriftd.log", &format!("cut {}\n2026-01-01T00:00:04Z WARN d\n", "x".repeat(TAIL as usize)));
        assert_eq!(last_lines(tmp.path(), 1).expect("reads").concat(), "vriftd: 2026-01-01T00:00:04Z WARN d\n");
    }
}
