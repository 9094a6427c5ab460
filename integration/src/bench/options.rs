//! The arguments that all benchmarks share.

use anyhow::bail;
use lexopt::prelude::*;

use crate::Result;
use crate::projects::{self, Project};

/// What was asked for.
#[derive(Clone, Debug)]
pub struct Options {
    /// Which project; `None` takes the benchmark's own choice.
    pub project: Option<String>,
    /// How often; `None` takes the benchmark's own choice.
    pub runs: Option<usize>,
    /// Whether to keep the results.
    pub save: bool,
}

impl Options {
    /// Reads the command line.
    ///
    /// # Errors
    /// It has something else on it.
    pub fn from_args() -> Result<Self> {
        let mut options = Self { project: None, runs: None, save: false };
        let mut parser = lexopt::Parser::from_env();
        while let Some(arg) = parser.next()? {
            match arg {
                Long("project") => options.project = Some(parser.value()?.string()?),
                Long("runs") => options.runs = Some(parser.value()?.parse()?),
                Long("save") => options.save = true,
                Long("help") | Short('h') => {
                    println!(
                        "options: --project ripgrep|bat|workspace (of bench-c-builds: zlib|lua|gawk|yaml-cpp), --runs N, --save"
                    );
                    std::process::exit(0);
                }
                other => return Err(other.unexpected().into()),
            }
        }
        Ok(options)
    }

    /// The project to measure.
    ///
    /// # Errors
    /// There is none of that name, or it cannot be fetched.
    pub fn project(&self, default: &str) -> Result<Project> {
        match self.project.as_deref().unwrap_or(default) {
            "ripgrep" => projects::ripgrep(),
            "bat" => projects::bat(),
            "workspace" => projects::regex_workspace(),
            other => bail!("no project `{other}`; there are ripgrep, bat and workspace"),
        }
    }
}
