//! Results for people and for files.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use serde_json::{Value, json};

use crate::host::Stamp;
use crate::{Result, host};

/// The results of one benchmark.
#[derive(Debug)]
pub struct Report {
    name: String,
    title: String,
    command: String,
    rows: Vec<[String; 3]>,
    data: serde_json::Map<String, Value>,
}

impl Report {
    /// An empty one; `name` is the benchmark's, `title` says what was measured with what.
    pub fn new(name: &str, title: impl Into<String>) -> Self {
        let args: Vec<_> = std::env::args().skip(1).filter(|arg| arg != "--save").collect();
        let mut command = format!("cargo run --release -p integration --bin {name}");
        // A file of its own for each choice of options.
        let mut name = name.to_owned();
        if !args.is_empty() {
            command += &format!(" -- {}", args.join(" "));
            args.iter().for_each(|arg| name += &format!("-{}", arg.trim_start_matches('-')));
        }
        Self { name, title: title.into(), command, rows: Vec::new(), data: serde_json::Map::new() }
    }

    /// Adds a line: what, how much, and what to compare it with or to know of it.
    pub fn row(&mut self, what: impl Into<String>, value: impl Into<String>, note: impl Into<String>) -> &mut Self {
        self.rows.push([what.into(), value.into(), note.into()]);
        self
    }

    /// Adds numbers for programs.
    pub fn data(&mut self, key: &str, value: impl Into<Value>) -> &mut Self {
        self.data.insert(key.to_owned(), value.into());
        self
    }

    /// Prints the table, and keeps it where `save` says so.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn finish(self, save: bool) -> Result {
        let stamp = Stamp::now();
        let text = self.text(&stamp);
        println!("{text}");
        if save {
            let dir = host::repository().join("integration/benches/results");
            std::fs::create_dir_all(&dir)?;
            let at = |ext: &str| -> PathBuf { dir.join(format!("{}-{}.{ext}", stamp.date, self.name)) };
            std::fs::write(at("md"), format!("{text}\n")).with_context(|| format!("cannot write `{}`", at("md").display()))?;
            let json =
                json!({ "benchmark": self.name, "title": self.title, "command": self.command, "host": stamp, "data": self.data });
            std::fs::write(at("json"), serde_json::to_string_pretty(&json)? + "\n")?;
        }
        Ok(())
    }

    fn text(&self, stamp: &Stamp) -> String {
        let width = |column: usize| self.rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let (first, second, third) = (width(0), width(1), width(2));
        let mut lines = vec![format!("# {}", self.title), String::new()];
        let line = |row: &[String; 3]| format!("| {:first$} | {:>second$} | {:third$} |", row[0], row[1], row[2]);
        lines.push(line(&["".to_owned(), "".to_owned(), "".to_owned()]));
        lines.push(format!("|{:-<1$}|{2:->3$}|{4:-<5$}|", "", first + 2, ":", second + 2, "", third + 2));
        lines.extend(self.rows.iter().map(line));
        lines.push(String::new());
        lines.push(format!("`{}`", self.command));
        lines.push(String::new());
        lines.push(format!(
            "{}, commit {}, {} with {} processors, load {}, Linux {}, {}, {}, {}",
            stamp.date, stamp.commit, stamp.cpu, stamp.cpus, stamp.load, stamp.kernel, stamp.filesystem, stamp.rustc, stamp.cargo
        ));
        lines.join("\n")
    }
}

/// `12.3 ms`.
pub fn millis(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1e3)
}

/// `1.23 s`.
pub fn seconds(time: Duration) -> String {
    format!("{:.2} s", time.as_secs_f64())
}

/// `1.23 ×`.
pub fn ratio(time: Duration, of: Duration) -> String {
    format!("{:.3} ×", time.as_secs_f64() / of.as_secs_f64().max(1e-9))
}

/// `12.3 MiB`.
pub fn bytes(count: u64) -> String {
    format!("{:.1} MiB", count as f64 / f64::from(1 << 20))
}
