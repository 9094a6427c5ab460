//! `vrift doctor`: tests every part on this machine, and says what to do where one does not work.
//!
//! A failure means that builds run uncached; a warning, that something is slower or smaller than it could be.

mod state;
mod system;
mod tools;

use std::fmt::Write;
use std::path::Path;
use std::process::ExitCode;

use serde::Serialize;
use vrift_core::home::Home;
use vrift_core::root::Project;
use vrift_core::settings::Settings;

use crate::args::Output;
use crate::error::Error;
use crate::{front, parts, say};

/// How a check ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum State {
    Ok,
    Warn,
    Fail,
}

/// One line of the report.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub(super) struct Check {
    name: &'static str,
    state: State,
    /// What was found.
    text: String,
    /// What to do; empty where all is well.
    #[serde(skip_serializing_if = "String::is_empty")]
    advice: String,
}

impl Check {
    fn ok(name: &'static str, text: impl Into<String>) -> Self {
        Self { name, state: State::Ok, text: text.into(), advice: String::new() }
    }

    fn warn(name: &'static str, text: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { name, state: State::Warn, text: text.into(), advice: advice.into() }
    }

    fn fail(name: &'static str, text: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { name, state: State::Fail, text: text.into(), advice: advice.into() }
    }
}

/// Tests and prints. Status 1 where something failed.
///
/// # Errors
/// Where JSON cannot be written.
pub fn run(output: Output) -> Result<ExitCode, Error> {
    let checks = check_all();
    if output.json {
        say::json(&checks)?;
    } else {
        say::out(&text(&checks));
    }
    Ok(ExitCode::from(u8::from(checks.iter().any(|check| check.state == State::Fail))))
}

fn check_all() -> Vec<Check> {
    let mut checks = vec![system::kernel(), system::proc(), system::shared_memory(), system::switched_off()];
    checks.extend(tools::checks());
    let cwd = match std::env::current_dir() {
        Ok(cwd) => cwd,
        Err(e) => {
            checks.push(Check::fail("folder", format!("no working folder: {e}"), "go to a folder that exists"));
            return checks;
        }
    };
    let project = Project::find(&cwd);
    let (home, settings) = match front::load(&cwd, project.as_ref().ok()) {
        Ok(found) => found,
        Err(e) => {
            checks.push(Check::fail("settings", e.to_string(), e.hint().unwrap_or_default()));
            return checks;
        }
    };
    checks.push(Check::ok("settings", settings_text(&home, &settings)));
    checks.push(state::home(&home));
    checks.extend(project_checks(&home, project));
    checks
}

/// Where the settings are from, and the size that they give the store.
fn settings_text(home: &Home, settings: &Settings) -> String {
    let cap = settings.max_size.map_or_else(|| "by default".to_owned(), say::size);
    format!("`{}`, store size {cap}", home.config().display())
}

fn project_checks(home: &Home, project: Result<Project, vrift_core::root::RootError>) -> Vec<Check> {
    let mut checks = Vec::new();
    match parts::unpack(home) {
        Ok(parts) => checks.extend([tools::shim(&parts), tools::exec(&parts)]),
        Err(e) => checks.push(Check::fail("parts", e.to_string(), "make the state folder writable, or set VRIFT_HOME")),
    }
    checks.push(state::disk(home));
    match project {
        Ok(project) => checks.extend([state::links(home, project.root.as_path()), state::daemons(home, &project)]),
        Err(e) => checks.push(Check::fail("project", e.to_string(), "go to a folder that exists")),
    }
    // Behind the daemons, which create the manifest on first use.
    checks.push(state::manifest(home));
    checks.push(state::shared_trees(home));
    checks
}

fn text(checks: &[Check]) -> String {
    let width = checks.iter().map(|check| check.name.len()).max().unwrap_or(0);
    let mut out = String::new();
    for Check { name, state, text, advice } in checks {
        let state = match state {
            State::Ok => "ok  ",
            State::Warn => "warn",
            State::Fail => "FAIL",
        };
        let _ = writeln!(out, "{state}  {name:width$}  {text}");
        if !advice.is_empty() {
            let _ = writeln!(out, "      {:width$}  -> {advice}", "");
        }
    }
    out
}

/// A folder or file for messages.
fn shown(path: &Path) -> String {
    format!("`{}`", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_says_what_to_do() {
        let checks = [Check::ok("kernel", "6.1"), Check::fail("cargo", "not found", "install Rust")];
        assert_eq!(text(&checks), "ok    kernel  6.1\nFAIL  cargo   not found\n              -> install Rust\n");
        let json = serde_json::to_string(&checks).expect("serialises");
        assert!(json.contains(r#""state":"fail""#) && json.matches("advice").count() == 1, "{json}");
    }
}
