//! Where batches are written to the log: on a thread of its own, so that reads and messages go on while the disk works; but a
//! small batch on a quick disk, while little else is asked for or processors are short, at once, which saves two switches
//! between threads.
//!
//! One batch at a time; what gathers meanwhile is the next batch (group commit that adapts to the disk). A failed write
//! or sync ends the node: what was promised to be durable may not be, and trying again would hide it (RELIABILITY.md, B11).

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, mpsc};
use std::thread;
use std::time::Duration;

use super::crowding::{self, Crowding};
use super::figures::Figures;
use crate::net::{Clock, Moment};
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
    /// How long it took.
    took: Duration,
}

/// The log, and who measures it.
struct Pen {
    log: SegmentLog,
    clock: Clock,
    figures: Arc<Figures>,
}

impl Pen {
    fn write(&mut self, mut batch: WriteBatch) -> Written {
        let began = self.clock.now();
        let result = self.log.write(&mut batch).and_then(|()| self.log.sync());
        let took = self.clock.now().since(began);
        self.figures.sync_times.add(took);
        let pinned_by = self.log.pinned_by(NEEDED_SEGMENTS_MAX);
        Written { batch, result, pinned_by, took }
    }
}

/// Where batches are written: by the log's thread, or here and now while the disk is quick and there is little else to do, or no
/// processor to do it. Handing a batch over and taking it back costs about as much processor time as a small batch itself.
pub struct LogWriter {
    pen: Arc<Mutex<Pen>>,
    thread: mpsc::Sender<WriteBatch>,
    disk: Trust,
    crowding: Crowding,
}

/// Whether the disk is quick, by the last batches.
#[derive(Debug)]
struct Trust {
    /// Quick batches that are still to be seen before one is written here.
    wanting: u32,
}

impl Default for Trust {
    fn default() -> Self {
        Self { wanting: QUICK_AT_FIRST }
    }
}

impl Trust {
    /// A batch took so long; where processors are short, waiting for one was a part of it.
    fn note(&mut self, took: Duration, is_crowded: bool) {
        if took >= if is_crowded { SLOW_CROWDED } else { SLOW } {
            self.wanting = QUICK_AFTER_SLOW;
        } else if took < QUICK {
            self.wanting = self.wanting.saturating_sub(1);
        }
    }

    const fn holds(&self) -> bool {
        self.wanting == 0
    }
}

impl LogWriter {
    /// Starts the thread. It ends when this is dropped; `done` is called on it after each batch that it wrote.
    pub fn start(
        name: &str,
        log: SegmentLog,
        clock: Clock,
        figures: Arc<Figures>,
        done: impl Fn(Written) + Send + 'static,
    ) -> Self {
        let (thread, batches) = mpsc::channel::<WriteBatch>();
        let pen = Arc::new(Mutex::new(Pen { log, clock, figures }));
        let theirs = Arc::clone(&pen);
        let work = move || {
            while let Ok(batch) = batches.recv() {
                let written = lock(&theirs).write(batch);
                done(written);
            }
        };
        let spawned = thread::Builder::new().name(format!("log-{name}")).spawn(work);
        spawned.expect("the operating system starts a thread");
        Self { pen, thread, disk: Trust::default(), crowding: Crowding::default() }
    }

    /// Whether this batch may hold up the caller, to whom so many requests came since the last one. None may be with the thread.
    pub fn is_quick_for(&self, batch: &WriteBatch, requests: usize) -> bool {
        let (bytes_max, requests_max) = match self.crowding.is_short() {
            true => (BYTES_CROWDED_MAX, usize::MAX),
            false => (BYTES_HERE_MAX, REQUESTS_HERE_MAX),
        };
        let is_small = batch.len() <= bytes_max && requests <= requests_max;
        is_small && self.disk.holds() && lock(&self.pen).log.has_room_for(batch)
    }

    /// Looks whether processors are short; to be called now and then, by the caller of [`Self::write`].
    pub fn look_around(&mut self, now: Moment) {
        self.crowding.look(now, crowding::waited());
    }

    /// Whether processors are short.
    pub const fn is_crowded(&self) -> bool {
        self.crowding.is_short()
    }

    /// Writes a batch and syncs it. None may be with the thread.
    pub fn write(&self, batch: WriteBatch) -> Written {
        lock(&self.pen).write(batch)
    }

    /// Gives a batch to the thread. `false`: it has ended.
    pub fn hand_over(&self, batch: WriteBatch) -> bool {
        self.thread.send(batch).is_ok()
    }

    /// Learns from a batch that came back how quick the disk is.
    pub fn note(&mut self, written: &Written) {
        self.disk.note(written.took, self.crowding.is_short());
    }
}

fn lock(pen: &Mutex<Pen>) -> MutexGuard<'_, Pen> {
    // What is half written by who panicked with it must not be gone on with.
    pen.lock().expect("nobody panics while writing")
}

/// Needed segments above which the groups that need the oldest are asked for a snapshot.
const NEEDED_SEGMENTS_MAX: u64 = 4;
/// A batch longer than that goes to the thread.
const BYTES_HERE_MAX: usize = 16 * 1024;
/// The same where processors are short, however many requests come meanwhile: others have the processor then.
const BYTES_CROWDED_MAX: usize = 64 * 1024;
/// So does one with more requests than this: as many will come while it is written, and could be looked at.
const REQUESTS_HERE_MAX: usize = 4;
/// A batch that takes less is quick, one that takes as long as [`SLOW`] is slow.
const QUICK: Duration = Duration::from_millis(1);
const SLOW: Duration = Duration::from_millis(5);
/// The same where processors are short: the thread that wrote had to wait for one, which says nothing of the disk.
const SLOW_CROWDED: Duration = Duration::from_millis(20);
/// Quick batches before the first is written here, and after a slow one: a disk that stalls now and then holds up what needs no
/// disk once in so many batches at most.
const QUICK_AT_FIRST: u32 = 16;
const QUICK_AFTER_SLOW: u32 = 1000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_is_trusted_after_some_quick_batches_and_after_a_stall_for_long_not() {
        let mut disk = Trust::default();
        let quick_until_trusted = |disk: &mut Trust| {
            (1..).find(|_| {
                disk.note(QUICK / 2, false);
                disk.holds()
            })
        };
        assert_eq!(quick_until_trusted(&mut disk), Some(QUICK_AT_FIRST));
        disk.note(QUICK, false);
        assert!(disk.holds(), "neither quick nor a stall: what it takes to make space");
        disk.note(SLOW, true);
        assert!(disk.holds(), "it waited for a processor");
        disk.note(SLOW, false);
        assert!(!disk.holds());
        assert_eq!(quick_until_trusted(&mut disk), Some(QUICK_AFTER_SLOW));
        disk.note(SLOW_CROWDED, true);
        assert!(!disk.holds());
    }
}
