//! Long scenarios: steps share what they built, and each reports for itself, so that one failure does not hide the next.

use crate::Result;

/// Collects the failures of a scenario.
#[derive(Debug, Default)]
pub struct Steps {
    failures: Vec<String>,
}

impl Steps {
    /// Runs a step.
    pub fn step(&mut self, name: &str, body: impl FnOnce() -> Result) {
        if let Err(e) = body() {
            self.failures.push(format!("{name}: {e:#}"));
        }
    }

    /// Ends the scenario.
    ///
    /// # Errors
    /// A step failed: all that did, with their reasons.
    pub fn finish(self) -> Result {
        anyhow::ensure!(self.failures.is_empty(), "{} step(s) failed\n\n{}", self.failures.len(), self.failures.join("\n\n"));
        Ok(())
    }
}
