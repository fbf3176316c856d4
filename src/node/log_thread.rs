//! The thread that writes the log, so that reads and messages go on while the disk works.
//!
//! One batch at a time; what gathers meanwhile is the next batch (group commit that adapts to the disk). A failed write
//! or sync ends the node: what was promised to be durable may not be, and trying again would hide it (RELIABILITY.md, B11).

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use super::figures::Figures;
use crate::net::Clock;
use crate::storage::{SegmentLog, StorageError, WriteBatch};

/// The upper bounds of the buckets of [`SyncTimes`].
pub const SYNC_BUCKETS: [Duration; 10] = [
    Duration::from_micros(100),
    Duration::from_micros(250),
    Duration::from_micros(500),
    Duration::from_millis(1),
    Duration::from_micros(2500),
    Duration::from_millis(5),
    Duration::from_millis(10),
    Duration::from_millis(50),
    Duration::from_millis(250),
    Duration::from_secs(1),
];

/// How long writing and syncing batches took.
#[derive(Debug, Default)]
pub struct SyncTimes {
    /// Batches per bucket; the last one holds those above all bounds.
    pub buckets: [AtomicU64; SYNC_BUCKETS.len() + 1],
    /// All times together, in microseconds.
    pub sum_us: AtomicU64,
}

impl SyncTimes {
    fn add(&self, took: Duration) {
        let bucket = SYNC_BUCKETS.iter().position(|bound| took <= *bound).unwrap_or(SYNC_BUCKETS.len());
        self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        self.sum_us.fetch_add(u64::try_from(took.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}

/// A batch that came back.
pub struct Written {
    /// The batch, to be used again.
    pub batch: WriteBatch,
    /// Whether it is on disk.
    pub result: Result<(), StorageError>,
    /// Groups that keep old segments from being used again: time for a snapshot of each.
    pub pinned_by: Vec<u64>,
}

/// Starts the thread. It ends when the sender is dropped; `done` is called on it after each batch.
pub fn start(
    name: &str,
    mut log: SegmentLog,
    clock: Clock,
    figures: Arc<Figures>,
    done: impl Fn(Written) + Send + 'static,
) -> (mpsc::Sender<WriteBatch>, thread::JoinHandle<()>) {
    let (sender, batches) = mpsc::channel::<WriteBatch>();
    let work = move || {
        while let Ok(mut batch) = batches.recv() {
            let began = clock.now();
            let result = log.write(&mut batch).and_then(|()| log.sync());
            figures.sync_times.add(clock.now().since(began));
            let pinned_by = log.pinned_by(NEEDED_SEGMENTS_MAX);
            done(Written { batch, result, pinned_by });
        }
    };
    let thread = thread::Builder::new().name(format!("log-{name}")).spawn(work);
    (sender, thread.expect("the operating system starts a thread"))
}

/// Needed segments above which the groups that need the oldest are asked for a snapshot.
const NEEDED_SEGMENTS_MAX: u64 = 4;
