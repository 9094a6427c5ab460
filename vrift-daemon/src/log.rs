//! The daemons' log files.
//!
//! Warnings go to `<state folder>/log/<name>.log`; `VRIFT_LOG` asks for more. A file that has grown over [`MAX_LOG`] starts
//! anew with its daemon. A daemon that cannot write its log runs without one.

use std::fs::{self, OpenOptions};
use std::path::Path;
use std::sync::Mutex;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::EnvFilter;

/// Bytes of a log file that a new daemon still adds to.
const MAX_LOG: u64 = 4 << 20;

/// Sends this process's log to `<folder>/<name>.log`.
pub fn start(folder: &Path, name: &str) {
    if crate::process::private_folder(folder).is_err() {
        return;
    }
    let path = folder.join(format!("{name}.log"));
    let grown = fs::metadata(&path).is_ok_and(|meta| meta.len() > MAX_LOG);
    let mut options = OpenOptions::new();
    options.create(true).append(true);
    if grown {
        let _ = fs::rename(&path, folder.join(format!("{name}.log.old")));
    }
    let Ok(file) = options.open(&path) else { return };
    let builder = tracing_subscriber::fmt().with_writer(Mutex::new(file)).with_ansi(false).with_target(false);
    // The filter's parser is worth its start-up time only where somebody asked for it.
    match std::env::var(vrift_core::env::LOG) {
        Ok(filter) => builder.with_env_filter(EnvFilter::new(filter)).init(),
        Err(_) => builder.with_max_level(LevelFilter::WARN).init(),
    }
}
