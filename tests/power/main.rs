//! Power cuts: a virtual machine runs three nodes and a proxy on one disk, clients outside write, the power fails, and every
//! write that was acknowledged must be there. Only a virtual machine shows a missing fsync: what a killed process wrote
//! is still in the kernel's memory.
//!
//! `cargo test --release --test power -- --ignored --nocapture power_cuts` makes 20 cuts and 50 replayed ones;
//! `a_lying_disk_is_seen` shows that the check can fail. It needs Debian, the packages that `ground.sh` names when they are
//! missing, and apt's access to the kernel's package; neither root nor /dev/kvm. `PONTOON_CUTS`, `PONTOON_REPLAYS`
//! (for each cut) and `PONTOON_SEED` change the plan, `PONTOON_ACCEL=kvm` makes it faster where that works, and
//! `PONTOON_KEEP=DIRECTORY` keeps the disks of a run that failed.
//!
//! There are two kinds of cuts. The machine is killed at a random moment of writing: what was in its memory is gone.
//! And the disk's cache is lost too (`replay.rs`): from the log of the disk's writes come disks of other moments, where of
//! the writes since the last flush some sectors are missing. Half the time the next start is from such a disk, so
//! that recoveries come on top of recoveries.

#![allow(clippy::disallowed_methods, reason = "black-box tests live in real time and on a real disk")]

mod machine;
mod replay;
#[path = "../campaign/resp.rs"]
mod resp;
mod revival;
mod workload;

#[path = "../checkers"]
mod checkers {
    #![allow(dead_code, reason = "of the checkers only the form of replies is needed")]
    pub mod history;
}

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use machine::{Lie, Machine, Setting};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use replay::{Loss, WriteLog};
use resp::Connection;
use revival::Revival;
use workload::{Client, Moment};

const CLIENTS: usize = 6;
/// How long the clients may take to be answered at all.
const FIRST_ANSWER_PATIENCE: Duration = Duration::from_secs(60);
/// After so many cuts a new disk is begun: with other limits, and so that states stay small.
const CUTS_PER_DISK: u64 = 5;
/// Lengths of log segments, by turns: some are made many times a second, some are zeroed in pieces while they are used.
const SEGMENTS_BYTES: [u64; 2] = [100_000, 1_500_000];
/// Of so many random moments the one with the most in the disk's cache is replayed.
const MOMENTS: usize = 4;
/// What a node logs when it cuts off a torn write.
const TORN: &str = "the last write before a crash was cut off";

/// What the cuts came to.
#[derive(Debug, Default)]
struct Tally {
    cuts: u64,
    replays: u64,
    lost_sectors: u64,
    acknowledged: u64,
    /// Summed over all starts, as is what follows.
    missing: u64,
    doubled: u64,
    torn: u64,
    refused: u64,
    half_snapshots: u64,
    segments: u64,
    other: Vec<String>,
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "| cuts | replayed cuts | sectors lost | half-written snapshots | log segments begun | torn ends cut off |"
        )?;
        writeln!(f, "| --- | --- | --- | --- | --- | --- |")?;
        let Self { cuts, replays, lost_sectors, half_snapshots, segments, torn, .. } = self;
        writeln!(f, "| {cuts} | {replays} | {lost_sectors} | {half_snapshots} | {segments} | {torn} |\n")?;
        writeln!(f, "| writes acknowledged | missing | doubled | otherwise wrong | refused starts |")?;
        writeln!(f, "| --- | --- | --- | --- | --- |")?;
        let Self { acknowledged, missing, doubled, refused, other, .. } = self;
        write!(f, "| {acknowledged} | {missing} | {doubled} | {} | {refused} |", other.len())
    }
}

impl Tally {
    fn is_clean(&self) -> bool {
        self.missing + self.doubled + self.refused == 0 && self.other.is_empty()
    }
}

/// A disk between two lives of the machine, and what must be on it.
struct Run {
    dir: tempfile::TempDir,
    setting: Setting,
    clients: Vec<Client>,
    /// How much of the log of writes the disk has seen.
    log_length: u64,
    random: StdRng,
    tally: Tally,
}

impl Run {
    fn new(ground: &Path, seed: u64, lie: Option<Lie>) -> Self {
        let setting = Setting { ground: ground.to_owned(), ports: machine::free_ports(), segment_bytes: 0, lie };
        let random = StdRng::seed_from_u64(seed);
        let dir = tempfile::tempdir_in(ground).unwrap();
        Self { dir, setting, clients: Vec::new(), log_length: 0, random, tally: Tally::default() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn begin_disk(&mut self, number: u64) {
        self.setting.segment_bytes = SEGMENTS_BYTES[number as usize % SEGMENTS_BYTES.len()];
        self.clients = (0..CLIENTS).map(Client::new).collect();
        revival::make_disk(&self.path("disk"));
    }

    /// Boots, checks what is there unless the disk is new, writes, and cuts the power. None: the check failed.
    fn live(&mut self, is_new: bool) -> Option<()> {
        let (disk, base, log) = (self.path("disk"), self.path("base"), self.path("writes"));
        replay::copy(&disk, &base).unwrap();
        let mut machine = Machine::boot(&self.setting, &disk, &log, is_new);
        let answers = machine.await_answers();
        let verified = if is_new || answers.is_err() { Ok(()) } else { machine.verify() };
        self.check(answers, verified, &machine.console(), self.log_length, !is_new)?;
        let moment = Moment::default();
        let (address, log, moment) = (machine.address.clone(), log.as_path(), &moment);
        let address = address.as_str();
        let wrong: Vec<String> = std::thread::scope(|scope| {
            let clients = self.clients.iter_mut();
            let writers: Vec<_> =
                clients.map(|client| scope.spawn(move || client.write(address, log, moment))).collect();
            let began = Instant::now();
            while moment.answers.load(Ordering::Relaxed) == 0 && began.elapsed() < FIRST_ANSWER_PATIENCE {
                std::thread::sleep(Duration::from_millis(10));
            }
            std::thread::sleep(Duration::from_millis(self.random.random_range(1_000..6_000)));
            moment.is_cut.store(true, Ordering::SeqCst);
            machine.cut();
            writers.into_iter().filter_map(|writer| writer.join().unwrap().err()).collect()
        });
        self.tally.other.extend(wrong);
        self.tally.cuts += 1;
        self.tally.acknowledged += self.clients.iter().map(Client::acknowledged).sum::<u64>();
        self.log_length = u64::MAX;
        let begun = generations(&revival::files(&disk)).saturating_sub(generations(&revival::files(&base)));
        self.tally.segments += begun;
        Some(())
    }

    /// Judges a start; `is_kept`: its disk is gone on with. None: it was not as it must be.
    fn check(
        &mut self,
        answers: Result<Connection, String>,
        verified: Result<(), String>,
        console: &str,
        log_length: u64,
        is_kept: bool,
    ) -> Option<()> {
        self.tally.torn += console.matches(TORN).count() as u64;
        let mut connection = match answers {
            Ok(connection) => connection,
            Err(why) => {
                println!("a start was refused: {why}");
                self.tally.refused += 1;
                return None;
            }
        };
        let before = self.tally.missing + self.tally.doubled + self.tally.other.len() as u64;
        self.tally.other.extend(verified.err());
        for client in &mut self.clients {
            let found = match client.look(&mut connection) {
                Ok(found) => found,
                Err(why) => {
                    self.tally.other.push(why);
                    continue;
                }
            };
            let verdict = client.judge(&found, log_length);
            self.tally.missing += verdict.missing;
            self.tally.doubled += verdict.doubled;
            self.tally.other.extend(verdict.wrong);
            if is_kept {
                client.go_on(found);
            }
        }
        let now = self.tally.missing + self.tally.doubled + self.tally.other.len() as u64;
        (now == before).then_some(())
    }

    /// Makes a disk of a random moment since the clients began to write. Returns the log's length there.
    fn replay(&mut self, log: &WriteLog, to: &Path, began: u64) -> u64 {
        let first = log.requests.partition_point(|request| request.end < began);
        let moments = first.min(log.requests.len() - 1) + 1..=log.requests.len();
        // Most moments have next to nothing in the disk's cache; those that have much are worth more.
        let moments: Vec<usize> = (0..MOMENTS).map(|_| self.random.random_range(moments.clone())).collect();
        let count = moments.into_iter().max_by_key(|count| log.at_stake(*count)).expect("some moments");
        let loss = [Loss::All, Loss::Requests, Loss::Sectors][self.random.random_range(0..3)];
        let lost = log.replay(&self.path("base"), to, count, loss, &mut self.random).unwrap();
        self.tally.lost_sectors += lost;
        self.tally.replays += 1;
        log.requests[count - 1].end
    }

    /// Starts what is on a disk and judges it. The disk itself is left as it is.
    fn revive(&mut self, disk: &Path, log_length: u64) -> Option<()> {
        let (image, dir) = (self.path("revived"), self.path("nodes"));
        if disk != image {
            replay::copy(disk, &image).unwrap();
        }
        let mut revival = match Revival::start(&self.setting, &image, &dir) {
            Ok(revival) => revival,
            Err(why) => return self.check(Err(why), Ok(()), "", log_length, false),
        };
        let names = revival::files(&image);
        self.tally.half_snapshots += names.iter().filter(|name| name.ends_with(".snapshot.tmp")).count() as u64;
        let answers = revival.await_answers();
        let verified = if answers.is_err() { Ok(()) } else { revival.verify() };
        self.check(answers, verified, &revival.console(), log_length, false)
    }

    /// Looks at the disk of the cut and at some of other moments; one of them is the next disk.
    fn look_back(&mut self, replays: u64) -> Option<()> {
        let (disk, image) = (self.path("disk"), self.path("revived"));
        let log = WriteLog::read(&self.path("writes")).unwrap();
        let began = self.clients.iter().filter_map(Client::first_acknowledged).min().unwrap_or(0);
        self.revive(&disk, u64::MAX)?;
        for _ in 0..replays {
            let length = self.replay(&log, &image, began);
            self.revive(&image, length)?;
        }
        if self.random.random_bool(0.5) {
            self.log_length = self.replay(&log, &disk, began);
        }
        Some(())
    }
}

/// How many log segments the nodes of a disk have begun: the highest number of each node.
fn generations(files: &[String]) -> u64 {
    let generation = |name: &String| u64::from_str_radix(name.rsplit('/').next()?.strip_suffix(".log")?, 16).ok();
    let highest = |node: &str| files.iter().filter(|name| name.starts_with(node)).filter_map(generation).max();
    ["n1", "n2", "n3"].into_iter().filter_map(highest).sum()
}

/// Cuts until all are made or something is wrong.
fn cut_often(cuts: u64, replays: u64, seed: u64, lie: Option<Lie>) -> Tally {
    let mut run = Run::new(ground(), seed, lie);
    for number in 0..cuts {
        let (began, is_new) = (Instant::now(), number % CUTS_PER_DISK == 0);
        if is_new {
            run.begin_disk(number / CUTS_PER_DISK + u64::from(lie.is_some()));
        }
        if run.live(is_new).and_then(|()| run.look_back(replays)).is_none() {
            keep(run.dir.path());
            break;
        }
        let Tally { acknowledged, torn, lost_sectors, .. } = run.tally;
        println!(
            "{}/{cuts}: {acknowledged} writes, {lost_sectors} sectors lost, {torn} torn ends, {:.0?}",
            number + 1,
            began.elapsed()
        );
    }
    run.tally.other.iter().for_each(|wrong| println!("{wrong}"));
    println!("{}", run.tally);
    run.tally
}

/// Kernel and initramfs in the build's directory, made once for all tests of this process.
fn ground() -> &'static Path {
    static GROUND: OnceLock<PathBuf> = OnceLock::new();
    GROUND.get_or_init(make_ground)
}

fn make_ground() -> PathBuf {
    let ground = Path::new(env!("CARGO_TARGET_TMPDIR")).join("power");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/power/ground.sh");
    let done = Command::new("bash").arg(script).arg(&ground).arg(env!("CARGO_BIN_EXE_pontoon")).status().unwrap();
    assert!(done.success(), "the ground for the machine could not be made");
    ground
}

/// Copies what a run left where somebody can look at it.
fn keep(dir: &Path) {
    if let Some(place) = std::env::var_os("PONTOON_KEEP") {
        let done = Command::new("cp").args(["-a", "--sparse=always"]).arg(dir).arg(&place).status();
        println!("kept in {}: {done:?}", Path::new(&place).display());
    }
}

fn number(name: &str, otherwise: u64) -> u64 {
    let Ok(text) = std::env::var(name) else { return otherwise };
    text.parse().unwrap_or_else(|_| panic!("{name}={text}: not a number"))
}

#[test]
#[ignore = "boots virtual machines for many minutes"]
fn power_cuts() {
    let (cuts, replays) = (number("PONTOON_CUTS", 20), number("PONTOON_REPLAYS", 2));
    let tally = cut_often(cuts, replays, number("PONTOON_SEED", 1), None);
    assert!(tally.is_clean() && tally.cuts == cuts, "acknowledged writes did not survive");
    assert!(tally.acknowledged > 0 && tally.lost_sectors > 0, "nothing was at stake");
}

#[test]
#[ignore = "boots virtual machines for some minutes"]
fn a_lying_disk_is_seen() {
    for lie in [Lie::NoSync, Lie::NoBarriers] {
        println!("{lie:?}");
        let tally = cut_often(CUTS_PER_DISK, 3, number("PONTOON_SEED", 1), Some(lie));
        assert!(tally.missing + tally.refused > 0, "{lie:?} was not seen");
    }
}
