//! The map of shared trees as look-ups use it. The coordinator keeps it; see [`super::tree`].

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use nix::unistd::geteuid;
use vrift_core::vdir::{self, Reader};

use super::View;
use crate::sync::lock;

/// Between two attempts to find a map that serves.
const AGAIN: Duration = Duration::from_secs(1);

/// The map, wherever it is at the time.
pub struct Trees {
    place: PathBuf,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    reader: Option<Arc<Reader>>,
    tried: Option<Instant>,
}

impl Trees {
    /// That of the state folder `home`.
    pub fn of(home: &Path) -> Self {
        Self { place: vdir::base_place(home, geteuid().as_raw()), state: Mutex::default() }
    }

    /// The map, for one look-up; `None` where there is none that says anything now.
    pub fn view(&self) -> Option<View> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?.as_secs();
        let mut state = lock(&self.state);
        let serves = |reader: &Arc<Reader>| !reader.has_ended() && reader.mark(now).is_some();
        if !state.reader.as_ref().is_some_and(serves) {
            // Silent for a moment, or for good: a coordinator that was killed cannot say that its map has ended.
            if state.tried.is_none_or(|tried| tried.elapsed() >= AGAIN) {
                state.tried = Some(Instant::now());
                state.reader = open(&self.place).map(Arc::new);
            }
            if !state.reader.as_ref().is_some_and(serves) {
                return None;
            }
        }
        let reader = state.reader.clone()?;
        Some(View::of_others(reader, now))
    }
}

/// Maps it, if it shows what this process would see.
fn open(place: &Path) -> Option<Reader> {
    let reader = vdir::open(place, geteuid().as_raw()).ok()?;
    let namespace = |name: &str| -> io::Result<u64> { Ok(fs::metadata(format!("/proc/self/ns/{name}"))?.ino()) };
    let here = [namespace("mnt").ok()?, namespace("user").ok()?];
    (reader.is_on_demand() && reader.namespaces == here && reader.uid == geteuid().as_raw()).then_some(reader)
}
