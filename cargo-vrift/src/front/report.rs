//! What happened in a run, for programs: the file of `vrift run --report`.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde::Serialize;

use super::summary::Told;
use crate::error::Error;
use crate::say;

/// The file's content. Times are microseconds.
#[derive(Serialize, Debug, Default)]
struct Report<'a> {
    /// Why vrift had no part in it; the numbers say nothing then.
    off: Option<String>,
    hits: u64,
    misses: u64,
    uncached: u64,
    /// Reasons, and how many actions each kept from being stored.
    uncached_reasons: BTreeMap<&'a str, u64>,
    saved_cpu_us: u64,
    notices: &'a [String],
}

/// Writes it. A run is as it was without its report: where it cannot be written, one line says so.
pub fn write(path: &Path, told: &Result<Told, Error>) {
    let text = serde_json::to_vec(&report(told)).map_err(std::io::Error::from);
    if let Err(source) = text.and_then(|text| fs::write(path, text)) {
        say::error(&Error::File { action: "write", path: path.to_owned(), source });
    }
}

fn report(told: &Result<Told, Error>) -> Report<'_> {
    match told {
        Ok(Told { summary, notices }) => Report {
            off: None,
            hits: summary.hits,
            misses: summary.misses,
            uncached: summary.uncached,
            uncached_reasons: summary.uncached_reasons.iter().map(|(reason, n)| (reason.as_str(), *n)).collect(),
            saved_cpu_us: summary.saved_cpu_us,
            notices,
        },
        Err(e) => Report { off: Some(e.to_string()), ..Report::default() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vrift_core::wire::SessionSummary;

    #[test]
    fn numbers_and_reasons_are_there_and_so_is_their_absence() {
        let tmp = tempfile::tempdir().expect("tempdir");
        let read = |told| -> serde_json::Value {
            let path = tmp.path().join("report");
            write(&path, &told);
            serde_json::from_slice(&fs::read(&path).expect("read")).expect("JSON")
        };
        let mut summary = SessionSummary { hits: 2, uncached: 1, saved_cpu_us: 7, ..SessionSummary::default() };
        summary.uncached_reasons.insert("it used the network".into(), 1);
        let found = read(Ok(Told { summary, notices: vec!["the store is full".into()] }));
        assert_eq!((&found["hits"], &found["misses"], &found["saved_cpu_us"]), (&2.into(), &0.into(), &7.into()));
        assert_eq!(found["uncached_reasons"]["it used the network"], 1);
        assert!(found["off"].is_null() && found["notices"][0] == "the store is full");
        assert_eq!(read(Err(Error::Daemon("gone".into())))["off"], "gone");
    }
}
