//! Watches an operator's `shards.toml`, however it is edited: in place, by rename, through a symlink that is swapped (as
//! Kubernetes does), deleted and brought back.
//!
//! A thread looks at the file when its directory says that something happened, and every second in any case, since
//! network file systems and lost watches say nothing. Every look reads the bytes: time stamps have no part in the
//! decision. What was found counts only once two looks in a row, [`QUIET`] apart, agree, so that a file caught half-written
//! is neither used nor complained about. [`Judge`] decides that, without IO.
//!
//! Invariants: each distinct content is reported once; nothing is reported that was not on disk; a file that is gone or
//! broken changes nothing, it is only told.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use notify::event::{AccessKind, AccessMode, EventKind};
use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc;

use super::config_file::{Sight, look};
use crate::topology::{ConfigError, ShardsFile};

/// How long the file must stay as it is before it counts.
pub const QUIET: Duration = Duration::from_millis(100);
/// How often the file is looked at when nothing says that it changed.
pub const POLL: Duration = Duration::from_secs(1);
/// After so many looks that all differ a valid file counts as it is: somebody writes without a pause.
const LOOKS_MAX: u32 = 10;
/// Events that wait for a slow receiver; the watcher waits when there are more.
const EVENTS_MAX: usize = 16;

/// What happened to the file.
#[derive(Clone, Debug)]
pub enum WatchEvent {
    /// It has another content, and a valid one. Whether that is a newer version is for the catalog to say.
    Changed(Box<ShardsFile>),
    /// It has another content that is not valid, or it cannot be read.
    Rejected(ConfigError),
    /// It is not there any more.
    Gone,
    /// It is there again; a `Changed` or `Rejected` follows when its content is another one.
    Back,
}

/// The events of one watched file. Dropping it ends the watching.
#[derive(Debug)]
pub struct ConfigWatcher {
    events: mpsc::Receiver<WatchEvent>,
}

impl ConfigWatcher {
    /// Watches `path`. `known` is the text that the caller has already read, which is not reported.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn start(path: &Path, known: Option<&str>) -> std::io::Result<Self> {
        let (sender, events) = mpsc::channel(EVENTS_MAX);
        let judge = Judge::new(&path.display().to_string(), known);
        let path = path.to_owned();
        std::thread::Builder::new().name("pontoon-watch".to_owned()).spawn(move || watch(&path, judge, &sender))?;
        Ok(Self { events })
    }

    /// The next event; none once the watching ended, which only a broken thread does.
    pub async fn next(&mut self) -> Option<WatchEvent> {
        self.events.recv().await
    }
}

/// What follows from a look.
#[derive(Debug)]
pub enum Verdict {
    /// Nothing new.
    Nothing,
    /// Something new that must prove to last: look again after [`QUIET`].
    LookAgain,
    /// It lasted.
    Report(Vec<WatchEvent>),
}

/// Decides what a sequence of looks means.
#[derive(Debug)]
pub struct Judge {
    file: String,
    /// What was reported last.
    settled: Option<Sight>,
    /// The bytes that were reported last.
    text: Option<Vec<u8>>,
    /// What was seen since and did not last yet, and for how many looks.
    unsettled: Option<(Sight, u32)>,
}

impl Judge {
    /// Knows the file's name for messages, and its text where the caller has read it.
    pub fn new(file: &str, known: Option<&str>) -> Self {
        let text = known.map(|text| text.as_bytes().to_vec());
        Self { file: file.to_owned(), settled: text.clone().map(Sight::Bytes), text, unsettled: None }
    }

    /// Takes what a look found.
    pub fn judge(&mut self, sight: Sight) -> Verdict {
        if self.settled.as_ref() == Some(&sight) {
            self.unsettled = None;
            return Verdict::Nothing;
        }
        let (lasted, looks) = match &self.unsettled {
            Some((before, looks)) => (*before == sight, looks + 1),
            None => (false, 1),
        };
        if lasted || looks > LOOKS_MAX && self.is_valid(&sight) {
            self.unsettled = None;
            return Verdict::Report(self.settle(sight));
        }
        self.unsettled = Some((sight, looks));
        Verdict::LookAgain
    }

    fn is_valid(&self, sight: &Sight) -> bool {
        matches!(sight, Sight::Bytes(bytes) if ShardsFile::parse_bytes(bytes, &self.file).is_ok())
    }

    fn settle(&mut self, sight: Sight) -> Vec<WatchEvent> {
        let was_absent = matches!(self.settled, Some(Sight::Missing | Sight::Unreadable(_)));
        let mut events = Vec::new();
        match &sight {
            Sight::Missing => events.push(WatchEvent::Gone),
            Sight::Unreadable(reason) => {
                events.push(WatchEvent::Rejected(ConfigError::unreadable(&self.file, reason)));
            }
            Sight::Bytes(bytes) => {
                if was_absent {
                    events.push(WatchEvent::Back);
                }
                if self.text.as_ref() != Some(bytes) {
                    events.push(match ShardsFile::parse_bytes(bytes, &self.file) {
                        Ok(config) => WatchEvent::Changed(Box::new(config)),
                        Err(error) => WatchEvent::Rejected(error),
                    });
                }
                self.text = Some(bytes.clone());
            }
        }
        self.settled = Some(sight);
        events
    }
}

/// The thread: looks, and sends what the judge reports, until nobody listens.
fn watch(path: &Path, mut judge: Judge, events: &mpsc::Sender<WatchEvent>) {
    let (wake, woken) = sync_channel(1);
    let mut watches = Watches::new(path, wake);
    while !events.is_closed() {
        watches.renew();
        let pause = match judge.judge(look(path)) {
            Verdict::Report(report) => {
                for event in report {
                    if events.blocking_send(event).is_err() {
                        return;
                    }
                }
                continue;
            }
            Verdict::LookAgain => {
                // Whatever wakes us now belongs to the same edit.
                std::thread::sleep(QUIET);
                continue;
            }
            Verdict::Nothing => POLL,
        };
        if wait(&woken, pause) == Err(RecvTimeoutError::Disconnected) {
            return;
        }
    }
}

fn wait(woken: &Receiver<()>, pause: Duration) -> Result<(), RecvTimeoutError> {
    match woken.recv_timeout(pause) {
        Err(RecvTimeoutError::Timeout) => Ok(()),
        other => other,
    }
}

/// The watched directories: the one that names the file and, behind symlinks, the one that has it.
struct Watches {
    path: PathBuf,
    wake: SyncSender<()>,
    /// None where the operating system gives no events; then there is only polling.
    watcher: Option<RecommendedWatcher>,
    /// Directories by inode, so that one that was made anew is watched anew.
    watched: BTreeSet<(PathBuf, u64)>,
}

impl Watches {
    fn new(path: &Path, wake: SyncSender<()>) -> Self {
        Self { path: path.to_owned(), wake, watcher: None, watched: BTreeSet::new() }
    }

    /// Watches the directories that matter now, where they are others than before.
    fn renew(&mut self) {
        let wanted = self.wanted();
        if wanted == self.watched {
            return;
        }
        self.watcher = self.watcher_of(&wanted);
        if self.watcher.is_none() {
            tracing::info!(file = %self.path.display(), "no file events here: looking every {POLL:?} instead");
        }
        self.watched = wanted;
    }

    fn wanted(&self) -> BTreeSet<(PathBuf, u64)> {
        let named = std::fs::canonicalize(parent(&self.path)).ok();
        let real = std::fs::canonicalize(&self.path).ok().map(|real| parent(&real));
        let directories = [named, real].into_iter().flatten();
        directories.filter_map(|dir| std::fs::metadata(&dir).ok().map(|seen| (dir, seen.ino()))).collect()
    }

    fn watcher_of(&self, directories: &BTreeSet<(PathBuf, u64)>) -> Option<RecommendedWatcher> {
        let wake = self.wake.clone();
        let on_event = move |event: notify::Result<notify::Event>| {
            if event.is_err() || event.is_ok_and(|event| is_change(event.kind)) {
                // Full: the thread has yet to wake for an earlier event.
                let _ = wake.try_send(());
            }
        };
        let mut watcher = notify::recommended_watcher(on_event).ok()?;
        for (directory, _) in directories {
            watcher.watch(directory, RecursiveMode::NonRecursive).ok()?;
        }
        Some(watcher)
    }
}

/// Our own reading makes events too; looking at those would never end.
const fn is_change(kind: EventKind) -> bool {
    match kind {
        EventKind::Access(access) => matches!(access, AccessKind::Close(AccessMode::Write)),
        _ => true,
    }
}

fn parent(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "[[node]]\nname = \"n1\"\naddr = \"h:1\"\n[[shard]]\nname = \"a\"\nnodes = [\"n1\"]\n";

    fn bytes(version: u64) -> Sight {
        Sight::Bytes(format!("version = {version}\n{FILE}").into_bytes())
    }

    fn told(judge: &mut Judge, sight: Sight) -> String {
        match judge.judge(sight) {
            Verdict::Nothing => "nothing".to_owned(),
            Verdict::LookAgain => "look again".to_owned(),
            Verdict::Report(events) => {
                let words = events.iter().map(|event| match event {
                    WatchEvent::Changed(file) => format!("changed to {}", file.version()),
                    WatchEvent::Rejected(error) => format!("rejected {error}"),
                    WatchEvent::Gone => "gone".to_owned(),
                    WatchEvent::Back => "back".to_owned(),
                });
                words.collect::<Vec<_>>().join(", ")
            }
        }
    }

    #[test]
    fn a_change_counts_once_it_lasted() {
        let known = format!("version = 1\n{FILE}");
        let mut judge = Judge::new("f", Some(&known));
        let half = || Sight::Bytes(b"version = 2\n[[no".to_vec());
        for (sight, expected) in [
            (bytes(1), "nothing"),
            (half(), "look again"),
            (bytes(2), "look again"),
            (bytes(2), "changed to 2"),
            (bytes(2), "nothing"),
            (half(), "look again"),
            (bytes(2), "nothing"),
            (half(), "look again"),
            (half(), "rejected f:2:5: not TOML: unclosed array table, expected `]]`"),
            (half(), "nothing"),
            (bytes(2), "look again"),
            (bytes(2), "changed to 2"),
        ] {
            assert_eq!(told(&mut judge, sight), expected);
        }
    }

    #[test]
    fn a_file_that_goes_and_returns_is_told_and_changes_nothing() {
        let mut judge = Judge::new("f", None);
        let unreadable = || Sight::Unreadable("permission denied".to_owned());
        for (sight, expected) in [
            (bytes(1), "look again"),
            (bytes(1), "changed to 1"),
            (Sight::Missing, "look again"),
            (bytes(1), "nothing"),
            (Sight::Missing, "look again"),
            (Sight::Missing, "gone"),
            (Sight::Missing, "nothing"),
            (bytes(1), "look again"),
            (bytes(1), "back"),
            (unreadable(), "look again"),
            (unreadable(), "rejected f: cannot be read: permission denied"),
            (bytes(2), "look again"),
            (bytes(2), "back, changed to 2"),
        ] {
            assert_eq!(told(&mut judge, sight), expected);
        }
    }

    #[test]
    fn a_file_that_never_rests_is_taken_as_it_is_when_it_is_valid() {
        let mut judge = Judge::new("f", None);
        for version in 1..=u64::from(LOOKS_MAX) {
            assert_eq!(told(&mut judge, bytes(version)), "look again");
        }
        let broken = |i: u8| Sight::Bytes(vec![b'x', i]);
        assert_eq!(told(&mut judge, broken(1)), "look again", "a broken one never counts before it rests");
        assert_eq!(told(&mut judge, bytes(99)), "changed to 99");
    }
}
