//! The line after a build.

use std::env;
use std::process::ExitStatus;

use vrift_core::wire::SessionSummary;

use super::opening::Opening;
use super::setup::Setup;
use super::{Job, name_of};
use crate::cargo::Class;
use crate::error::Error;
use crate::{daemon, say};

/// What the worker says of a run.
#[derive(Debug)]
pub struct Told {
    /// What happened.
    pub summary: SessionSummary,
    /// What a person should see, one line each.
    pub notices: Vec<String>,
}

/// Asks the worker what happened.
///
/// # Errors
/// It is not there, or does not answer: then everything ran uncached.
pub fn ask(setup: &Setup, opening: Opening) -> Result<Told, Error> {
    let opened = opening.finish()?;
    let summary = daemon::summary(opened.worker.socket.as_path(), &setup.session)?;
    let mut notices: Vec<String> = summary.notice.iter().cloned().collect();
    if opened.fresh {
        let news = daemon::notices(&setup.home).unwrap_or_default();
        notices.extend(news.into_iter().filter(|notice| Some(notice) != summary.notice.as_ref()));
    }
    Ok(Told { summary, notices })
}

/// Says it in one line on stderr; one more where something is off.
pub fn print(job: &Job, setup: &Setup, told: &Result<Told, Error>, status: ExitStatus) {
    let quiet = job.low.quiet || env::var_os("CARGO_TERM_QUIET").is_some_and(|value| value == "true");
    let told = match told {
        Ok(told) => told,
        Err(e) => {
            say::line(format_args!("off: {e}; everything ran uncached"));
            return;
        }
    };
    told.notices.iter().for_each(say::line);
    if quiet || !setup.settings.summary {
        return;
    }
    match one_line(&told.summary) {
        Some(line) => say::line(line),
        None if setup.static_program && job.class != Class::Plain => {
            say::line(format_args!("{} is a static program: vrift did not see what it ran", name_of(&job.program)));
        }
        None if job.class == Class::Build && status.success() => say::line("nothing to compile"),
        None => {}
    }
}

/// `52 hits, 3 misses, 1 uncached, saved 18.2 s of compile time`; `None` where nothing happened.
fn one_line(summary: &SessionSummary) -> Option<String> {
    if summary.hits + summary.misses + summary.uncached == 0 {
        return None;
    }
    let mut line = format!("{}, {}", say::count(summary.hits, "hit"), say::count(summary.misses, "miss"));
    if summary.uncached > 0 {
        line += &format!(", {} uncached", summary.uncached);
    }
    if summary.saved_cpu_us > 0 {
        line += &format!(", saved {} of compile time", say::time(summary.saved_cpu_us));
    }
    Some(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_says_what_happened() {
        let mut summary = SessionSummary::default();
        assert_eq!(one_line(&summary), None);
        summary.misses = 1;
        assert_eq!(one_line(&summary).as_deref(), Some("0 hits, 1 miss"));
        (summary.hits, summary.misses, summary.uncached, summary.saved_cpu_us) = (52, 3, 1, 18_200_000);
        assert_eq!(one_line(&summary).as_deref(), Some("52 hits, 3 misses, 1 uncached, saved 18.2 s of compile time"));
    }
}
