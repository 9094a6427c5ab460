//! Laying spare copies by, when there is nothing else to do: see [`vrift_store::Cas::lay_by`].

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

use vrift_core::action::{ActionRecord, OutputState, Place};
use vrift_store::{Blob, Cas};

use crate::server::Activity;
use crate::sync::lock;

/// Blobs that wait; of more, the oldest are given up.
const MAX_WAITING: usize = 16;

/// Nobody connected for so long: nothing is going on.
const QUIET: Duration = Duration::from_millis(100);

/// After so many looks at something going on, the copy is made all the same.
const PATIENCE: usize = 50;

/// Blobs of which a spare copy is wanted.
#[derive(Default)]
pub struct Spares {
    waiting: Mutex<VecDeque<Blob>>,
    come: Condvar,
}

impl Spares {
    /// Starts the thread. Without one, no spares are made.
    pub fn start(cas: Arc<Cas>, activity: Arc<Activity>) -> Arc<Self> {
        let spares = Arc::new(Self::default());
        let own = Arc::clone(&spares);
        let started = thread::Builder::new().name("spares".to_owned()).spawn(move || own.serve(&cas, &activity));
        if let Err(e) = started {
            tracing::warn!("no thread for spare copies: {e}");
        }
        spares
    }

    /// The outputs of an action were handed out, or have just come in: they may be wanted again.
    pub fn want(&self, record: &ActionRecord, cas: &Cas) {
        let copies = record
            .outputs
            .iter()
            .filter(|output| !output.optional && matches!(output.state, OutputState::File { place: Place::Copy, .. }));
        for blob in copies.filter_map(Blob::of_output).filter(|blob| cas.wants_spare(blob)) {
            let mut waiting = lock(&self.waiting);
            if !waiting.contains(&blob) {
                if waiting.len() >= MAX_WAITING {
                    waiting.pop_front();
                }
                waiting.push_back(blob);
                self.come.notify_one();
            }
        }
    }

    fn serve(&self, cas: &Cas, activity: &Activity) {
        // Linux gives each thread a priority of its own.
        let _ = rustix::process::setpriority_process(None, 19);
        loop {
            let blob = self.next();
            for _ in 0..PATIENCE {
                let before = activity.accepted();
                thread::sleep(QUIET);
                if activity.accepted() == before {
                    break;
                }
            }
            if let Err(e) = cas.lay_by(&blob) {
                tracing::debug!("no spare copy: {e}");
            }
        }
    }

    fn next(&self) -> Blob {
        let mut waiting = lock(&self.waiting);
        loop {
            match waiting.pop_front() {
                Some(blob) => return blob,
                None => waiting = self.come.wait(waiting).unwrap_or_else(std::sync::PoisonError::into_inner),
            }
        }
    }
}
