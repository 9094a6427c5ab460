//! What is off, for people: one line each, each line once.

use std::sync::Mutex;

use crate::sync::lock;

/// Lines kept.
const MAX_NOTICES: usize = 16;

/// See the module.
#[derive(Default)]
pub struct Notices {
    lines: Mutex<Vec<String>>,
}

impl Notices {
    /// Adds a line, unless it is there.
    pub fn add(&self, line: String) {
        let mut lines = lock(&self.lines);
        if lines.len() < MAX_NOTICES && !lines.contains(&line) {
            lines.push(line);
        }
    }

    /// All lines, oldest first.
    pub fn all(&self) -> Vec<String> {
        lock(&self.lines).clone()
    }
}
