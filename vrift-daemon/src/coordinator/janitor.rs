//! What the coordinator does when nobody asks: garbage collection when the store outgrows its cap, the durability mark, and
//! the removal of what killed processes left.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use vrift_core::home::Home;
use vrift_core::wire::GcParams;
use vrift_store::Cas;
use vrift_store::gc::{DEAD_TEMP, sweep_dead};

use super::writer::Writer;
use crate::sync::lock;

/// How often the store's size is compared with its cap.
const GC_EVERY: Duration = Duration::from_secs(300);

/// After the start, collecting waits for the build that started the coordinator to get going.
const GC_FIRST: Duration = Duration::from_secs(20);

/// How often what came in is made durable.
const SYNC_EVERY: Duration = Duration::from_secs(60);

/// See the module.
pub struct Janitor {
    home: Home,
    writer: Arc<Writer>,
    due: Mutex<Due>,
    collecting: Arc<AtomicBool>,
}

struct Due {
    gc: Instant,
    sync: Instant,
    /// Bytes stored when the mark was last set.
    synced_bytes: u64,
}

impl Janitor {
    /// A janitor whose first round is due soon.
    pub fn new(home: Home, writer: Arc<Writer>) -> Self {
        let now = Instant::now();
        let due = Due { gc: now + GC_FIRST, sync: now + SYNC_EVERY, synced_bytes: 0 };
        Self { home, writer, due: Mutex::new(due), collecting: Arc::default() }
    }

    /// Does what is due. Never waits for a collection.
    pub fn tick(&self) {
        sweep_dead(&Cas::open(self.home.the_source()), DEAD_TEMP);
        let now = Instant::now();
        let mut due = lock(&self.due);
        if now >= due.sync {
            due.sync = now + SYNC_EVERY;
            let bytes = self.writer.stored_bytes();
            if bytes != due.synced_bytes {
                due.synced_bytes = bytes;
                self.sync();
            }
        }
        if now >= due.gc {
            due.gc = now + GC_EVERY;
            self.collect();
        }
    }

    /// The last mark, so that nothing is suspect after a clean end.
    pub fn finish(&self) {
        self.sync();
    }

    fn sync(&self) {
        if !self.home.the_source().exists() {
            return;
        }
        if let Err(e) = Cas::open(self.home.the_source()).sync_mark() {
            tracing::warn!("{e}");
        }
    }

    fn collect(&self) {
        if self.collecting.swap(true, Ordering::SeqCst) {
            return;
        }
        let (writer, collecting) = (Arc::clone(&self.writer), Arc::clone(&self.collecting));
        let collector = thread::Builder::new().name("gc".to_owned()).spawn(move || {
            match writer.gc(&GcParams { max_bytes: None, dry_run: false }) {
                Ok(done) if done.blobs_removed > 0 => {
                    tracing::info!("collected {} blobs, {} bytes left", done.blobs_removed, done.bytes_after);
                }
                Ok(_) => {}
                Err(e) => tracing::warn!("garbage collection: {e}"),
            }
            collecting.store(false, Ordering::SeqCst);
        });
        if collector.is_err() {
            self.collecting.store(false, Ordering::SeqCst);
        }
    }
}
