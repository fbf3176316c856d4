//! A file system in memory that does to its files what a power cut, a full or a dying disk does to real ones, the same
//! for the same seed.
//!
//! What it models: content is durable only after the file's sync, and at a [`SimulatedDisk::crash`] each 512-byte
//! sector that has unsynced writes keeps some prefix of them (sectors tear apart from each other, never within); names
//! are durable only after the directory's sync, and a crash keeps a prefix of a directory's changes, each whole; a sync
//! that failed has lost its writes for good although reads still show them, as Linux does. Deliberately absent:
//! permissions, symbolic links, and directories that vanish (making one is durable at once).

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use super::disk::{BLOCK_BYTES, Disk, Volume, VolumeFile, parent};

/// The unit in which a disk keeps or loses a write.
const SECTOR_BYTES: u64 = 512;

/// The simulated machine's disk: hands out [`Disk`]s, and takes the faults that a test wants.
#[derive(Clone)]
pub struct SimulatedDisk(Arc<Mutex<State>>);

#[derive(Clone, Default)]
struct State {
    random: u64,
    /// Raised by a crash or a kill: handles of an older life fail.
    life: u64,
    inodes: Vec<Inode>,
    dirs: BTreeSet<PathBuf>,
    names: BTreeMap<PathBuf, usize>,
    durable_names: BTreeMap<PathBuf, usize>,
    /// Changes of names since the last sync of their directory, in order.
    unsynced_names: Vec<NameChange>,
    locks: BTreeMap<PathBuf, u64>,
    faults: Faults,
    operations: u64,
}

#[derive(Clone, Default)]
struct Inode {
    content: Vec<u8>,
    durable: Vec<u8>,
    unsynced: Vec<Change>,
}

#[derive(Clone)]
enum Change {
    Write { offset: u64, bytes: Vec<u8> },
    Extend { len: u64 },
    Shrink { len: u64 },
}

#[derive(Clone)]
enum NameChange {
    Link { path: PathBuf, inode: usize },
    Unlink { path: PathBuf },
    Rename { from: PathBuf, to: PathBuf },
}

/// Faults to come; a countdown of one strikes the next operation.
#[derive(Clone, Default)]
struct Faults {
    write_fails_in: Option<u64>,
    sync_fails_in: Option<u64>,
    stops_in: Option<u64>,
    stopped: bool,
    budget_bytes: Option<u64>,
}

impl SimulatedDisk {
    /// An empty disk whose crashes follow the seed.
    pub fn new(seed: u64) -> Self {
        let dirs = [PathBuf::from("/"), PathBuf::from(".")].into();
        Self(Arc::new(Mutex::new(State { random: seed, dirs, ..State::default() })))
    }

    /// A handle for the storage under test.
    pub fn disk(&self) -> Disk {
        Disk::of(Arc::new(self.clone()))
    }

    /// Another disk with the same content and the same fate, but for what is done to it from now on.
    #[must_use]
    pub fn fork(&self) -> Self {
        Self(Arc::new(Mutex::new(self.state().clone())))
    }

    /// The power goes: what was not synced is lost in part or whole, and every open handle is dead.
    pub fn crash(&self) {
        let mut state = self.state();
        state.lose_names();
        state.lose_content();
        state.end_life();
    }

    /// The process dies and the machine lives: nothing is lost yet, and every open handle is dead.
    pub fn kill(&self) {
        self.state().end_life();
    }

    /// The nth write from now (1: the next) fails with EIO, having written a part.
    pub fn fail_write(&self, nth: u64) {
        self.state().faults.write_fails_in = Some(nth);
    }

    /// The nth sync of a file from now (1: the next) fails with EIO, and what it should have kept is lost.
    pub fn fail_sync(&self, nth: u64) {
        self.state().faults.sync_fails_in = Some(nth);
    }

    /// The nth operation that changes the disk from now, and all after it, fail until [`Self::crash`] or [`Self::kill`].
    pub fn stop(&self, nth: u64) {
        self.state().faults.stops_in = Some(nth);
    }

    /// Files may take this many bytes together; `None`: any.
    pub fn limit_bytes(&self, budget: Option<u64>) {
        self.state().faults.budget_bytes = budget;
    }

    /// How many bytes the files take together.
    pub fn used_bytes(&self) -> u64 {
        let state = self.state();
        state.names.values().map(|inode| state.inodes[*inode].content.len() as u64).sum()
    }

    /// Takes back every fault that is still to come.
    pub fn mend(&self) {
        let mut state = self.state();
        if !state.faults.stopped {
            state.faults = Faults::default();
        }
    }

    /// Flips the bits of `mask` in one durable byte of a file.
    ///
    /// # Panics
    /// If there is no such byte: the test is wrong.
    pub fn flip(&self, path: &Path, offset: u64, mask: u8) {
        let mut state = self.state();
        let inode = *state.names.get(path).expect("a file of this name");
        let place = usize::try_from(offset).expect("an offset in memory");
        state.inodes[inode].content[place] ^= mask;
        if let Some(byte) = state.inodes[inode].durable.get_mut(place) {
            *byte ^= mask;
        }
    }

    /// How many operations have changed the disk, so that a test can stop before each of them.
    pub fn operations(&self) -> u64 {
        self.state().operations
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("no panic while holding the lock")
    }
}

impl State {
    /// SplitMix64 (Steele et al. 2014).
    fn draw(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn draw_below(&mut self, bound: usize) -> usize {
        usize::try_from(self.draw() % bound as u64).expect("below a usize")
    }

    fn end_life(&mut self) {
        self.life += 1;
        self.locks.clear();
        self.faults = Faults { budget_bytes: self.faults.budget_bytes, ..Faults::default() };
    }

    /// Counts an operation that changes the disk; an error once the machine has stopped. True: this one stops it.
    fn step(&mut self) -> io::Result<bool> {
        if self.faults.stopped {
            return Err(io::Error::other("the machine has stopped"));
        }
        self.operations += 1;
        self.faults.stopped = struck(&mut self.faults.stops_in);
        Ok(self.faults.stopped)
    }

    fn change_name(&mut self, change: NameChange) -> io::Result<()> {
        let stops = self.step()?;
        change.apply(&mut self.names);
        self.unsynced_names.push(change);
        if stops { Err(io::Error::other("the machine has stopped")) } else { Ok(()) }
    }

    fn lose_names(&mut self) {
        let changes = std::mem::take(&mut self.unsynced_names);
        let mut kept: BTreeMap<PathBuf, usize> = BTreeMap::new();
        for change in &changes {
            *kept.entry(change.dir().to_path_buf()).or_default() += 1;
        }
        for count in kept.values_mut() {
            *count = self.draw_below(*count + 1);
        }
        for change in changes {
            let left = kept.get_mut(change.dir()).expect("counted above");
            if *left > 0 {
                *left -= 1;
                change.apply(&mut self.durable_names);
            }
        }
        self.names = self.durable_names.clone();
    }

    fn lose_content(&mut self) {
        for inode in 0..self.inodes.len() {
            let changes = std::mem::take(&mut self.inodes[inode].unsynced);
            let kept = match self.draw() % 4 {
                0 => Vec::new(),
                1 => changes,
                2 => {
                    let whole = self.draw_below(changes.len() + 1);
                    let mut kept = changes[..whole].to_vec();
                    kept.extend(self.tear(&changes[whole..changes.len().min(whole + 1)]));
                    kept
                }
                _ => self.tear(&changes),
            };
            let durable = &mut self.inodes[inode].durable;
            kept.iter().for_each(|change| change.apply(durable));
            self.inodes[inode].content = self.inodes[inode].durable.clone();
        }
    }

    /// Keeps, of each sector, some prefix of the changes to it.
    fn tear(&mut self, changes: &[Change]) -> Vec<Change> {
        let pieces: Vec<(u64, Change)> = changes.iter().flat_map(Change::by_sector).collect();
        let mut left: BTreeMap<u64, usize> = BTreeMap::new();
        for (sector, _) in &pieces {
            *left.entry(*sector).or_default() += 1;
        }
        for count in left.values_mut() {
            *count = self.draw_below(*count + 1);
        }
        let mut kept = Vec::new();
        for (sector, piece) in pieces {
            let left = left.get_mut(&sector).expect("counted above");
            if *left > 0 {
                *left -= 1;
                kept.push(piece);
            }
        }
        kept
    }

    fn reserve(&self, inode: usize, len: u64) -> io::Result<()> {
        let Some(budget) = self.faults.budget_bytes else { return Ok(()) };
        let used: usize = self.names.values().map(|inode| self.inodes[*inode].content.len()).sum();
        let growth = len.saturating_sub(self.inodes[inode].content.len() as u64);
        if growth > 0 && used as u64 + growth > budget {
            return Err(io::Error::from_raw_os_error(libc::ENOSPC));
        }
        Ok(())
    }

    fn change_content(&mut self, inode: usize, change: Change) {
        let inode = &mut self.inodes[inode];
        change.apply(&mut inode.content);
        inode.unsynced.push(change);
    }
}

/// Counts down; true when it strikes.
fn struck(countdown: &mut Option<u64>) -> bool {
    match countdown {
        Some(1) => {
            *countdown = None;
            true
        }
        Some(left) => {
            *left -= 1;
            false
        }
        None => false,
    }
}

impl Change {
    fn apply(&self, content: &mut Vec<u8>) {
        match self {
            Self::Extend { len } => {
                let len = usize::try_from(*len).expect("a length in memory");
                content.resize(len.max(content.len()), 0);
            }
            Self::Shrink { len } => content.truncate(usize::try_from(*len).expect("a length in memory")),
            Self::Write { offset, bytes } => {
                let start = usize::try_from(*offset).expect("an offset in memory");
                let end = start + bytes.len();
                content.resize(end.max(content.len()), 0);
                content[start..end].copy_from_slice(bytes);
            }
        }
    }

    /// The change in pieces that are kept or lost apart from each other.
    fn by_sector(&self) -> Vec<(u64, Self)> {
        let Self::Write { offset, bytes } = self else { return vec![(u64::MAX, self.clone())] };
        let mut pieces = Vec::new();
        let (mut offset, mut rest) = (*offset, bytes.as_slice());
        while !rest.is_empty() {
            let room = usize::try_from(SECTOR_BYTES - offset % SECTOR_BYTES).expect("a small number");
            let (piece, after) = rest.split_at(room.min(rest.len()));
            pieces.push((offset / SECTOR_BYTES, Self::Write { offset, bytes: piece.to_vec() }));
            offset += piece.len() as u64;
            rest = after;
        }
        pieces
    }
}

impl NameChange {
    fn dir(&self) -> &Path {
        let (Self::Link { path, .. } | Self::Unlink { path } | Self::Rename { from: path, .. }) = self;
        parent(path)
    }

    fn apply(&self, names: &mut BTreeMap<PathBuf, usize>) {
        match self {
            Self::Link { path, inode } => {
                names.insert(path.clone(), *inode);
            }
            Self::Unlink { path } => {
                names.remove(path);
            }
            Self::Rename { from, to } => {
                if let Some(inode) = names.remove(from) {
                    names.insert(to.clone(), inode);
                }
            }
        }
    }
}

impl Volume for SimulatedDisk {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        if state.dirs.contains(path) || state.names.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        if !state.dirs.contains(parent(path)) {
            return Err(io::ErrorKind::NotFound.into());
        }
        state.dirs.insert(path.to_path_buf());
        Ok(())
    }

    fn list_dir(&self, path: &Path) -> io::Result<Vec<String>> {
        let state = self.state();
        if !state.dirs.contains(path) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let entries = state.names.keys().chain(&state.dirs).filter(|entry| *entry != path && parent(entry) == path);
        Ok(entries.filter_map(|entry| Some(entry.file_name()?.to_string_lossy().into_owned())).collect())
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn VolumeFile>> {
        let mut state = self.state();
        if !state.dirs.contains(parent(path)) {
            return Err(io::ErrorKind::NotFound.into());
        }
        // Emptying a file is not modelled as such: the name goes over to a new one.
        let inode = state.inodes.len();
        state.inodes.push(Inode::default());
        state.change_name(NameChange::Link { path: path.to_path_buf(), inode })?;
        Ok(Box::new(OpenFile { disk: self.clone(), inode, life: state.life, blocks_only: AtomicBool::default() }))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn VolumeFile>> {
        let state = self.state();
        let inode = *state.names.get(path).ok_or(io::ErrorKind::NotFound)?;
        Ok(Box::new(OpenFile { disk: self.clone(), inode, life: state.life, blocks_only: AtomicBool::default() }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state();
        if !state.names.contains_key(from) || parent(from) != parent(to) {
            return Err(io::ErrorKind::NotFound.into());
        }
        state.change_name(NameChange::Rename { from: from.to_path_buf(), to: to.to_path_buf() })
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        if !state.names.contains_key(path) {
            return Err(io::ErrorKind::NotFound.into());
        }
        state.change_name(NameChange::Unlink { path: path.to_path_buf() })
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        if state.step()? {
            return Err(io::Error::other("the machine has stopped"));
        }
        let (here, elsewhere): (Vec<_>, Vec<_>) =
            std::mem::take(&mut state.unsynced_names).into_iter().partition(|change| change.dir() == path);
        state.unsynced_names = elsewhere;
        here.iter().for_each(|change| change.apply(&mut state.durable_names));
        Ok(())
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Send + Sync>> {
        if !self.state().names.contains_key(path) {
            self.create(path)?;
        }
        let mut state = self.state();
        if state.locks.contains_key(path) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let life = state.life;
        state.locks.insert(path.to_path_buf(), life);
        Ok(Box::new(Held { disk: self.clone(), path: path.to_path_buf(), life }))
    }
}

struct Held {
    disk: SimulatedDisk,
    path: PathBuf,
    life: u64,
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut state = self.disk.state();
        if state.locks.get(&self.path) == Some(&self.life) {
            state.locks.remove(&self.path);
        }
    }
}

struct OpenFile {
    disk: SimulatedDisk,
    inode: usize,
    life: u64,
    /// As a file is that bypasses the cache.
    blocks_only: AtomicBool,
}

impl OpenFile {
    fn state(&self) -> io::Result<MutexGuard<'_, State>> {
        let state = self.disk.state();
        if state.life != self.life {
            return Err(io::Error::other("the process of this handle has died"));
        }
        Ok(state)
    }
}

impl VolumeFile for OpenFile {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let state = self.state()?;
        let content = &state.inodes[self.inode].content;
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(content.len());
        let read = buffer.len().min(content.len() - start);
        buffer[..read].copy_from_slice(&content[start..start + read]);
        Ok(read)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.state()?;
        let is_aligned = |number: usize| number.is_multiple_of(BLOCK_BYTES);
        let are_blocks = is_aligned(bytes.len()) && is_aligned(bytes.as_ptr().addr()) && is_aligned(offset as usize);
        if !are_blocks && self.blocks_only.load(Ordering::Relaxed) {
            return Err(io::Error::from_raw_os_error(libc::EINVAL));
        }
        let stops = state.step()?;
        state.reserve(self.inode, offset + bytes.len() as u64)?;
        let fails = struck(&mut state.faults.write_fails_in);
        let written = if fails { &bytes[..bytes.len() / 2] } else { bytes };
        state.change_content(self.inode, Change::Write { offset, bytes: written.to_vec() });
        if stops || fails { Err(io::Error::from_raw_os_error(libc::EIO)) } else { Ok(()) }
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.state()?;
        let stops = state.step()?;
        if stops || struck(&mut state.faults.sync_fails_in) {
            if !stops {
                state.inodes[self.inode].unsynced.clear();
            }
            return Err(io::Error::from_raw_os_error(libc::EIO));
        }
        let inode = &mut state.inodes[self.inode];
        let changes = std::mem::take(&mut inode.unsynced);
        changes.iter().for_each(|change| change.apply(&mut inode.durable));
        Ok(())
    }

    fn bypass_cache(&self) -> io::Result<bool> {
        self.blocks_only.store(true, Ordering::Relaxed);
        Ok(true)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.state()?.inodes[self.inode].content.len() as u64)
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        let mut state = self.state()?;
        let stops = state.step()?;
        state.reserve(self.inode, len)?;
        state.change_content(self.inode, Change::Extend { len });
        if stops { Err(io::Error::other("the machine has stopped")) } else { Ok(()) }
    }

    fn shrink(&self, len: u64) -> io::Result<()> {
        let mut state = self.state()?;
        let stops = state.step()?;
        state.change_content(self.inode, Change::Shrink { len });
        if stops { Err(io::Error::other("the machine has stopped")) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crash_keeps_what_was_synced_and_tears_the_rest_by_sectors() {
        let (mut torn, mut kept, mut lost) = (0, 0, 0);
        for seed in 0..200 {
            let machine = SimulatedDisk::new(seed);
            let disk = machine.disk();
            let path = Path::new("/file");
            let file = disk.create(path).unwrap();
            file.write_at(0, &[1; 1024]).unwrap();
            file.sync().unwrap();
            disk.sync_dir(Path::new("/")).unwrap();
            file.write_at(256, &[2; 768]).unwrap();
            machine.crash();
            assert!(file.len().is_err(), "a handle of the former life");
            let content = disk.open(path).unwrap().unwrap().read_all().unwrap();
            assert_eq!(content[..256], [1; 256], "seed {seed}");
            for piece in [&content[256..512], &content[512..]] {
                assert!(piece.iter().all(|byte| *byte == piece[0]), "seed {seed}: torn within a sector");
            }
            match (content[256], content[512]) {
                (1, 1) => lost += 1,
                (2, 2) => kept += 1,
                _ => torn += 1,
            }
        }
        assert!(torn > 10 && kept > 10 && lost > 10, "torn {torn} kept {kept} lost {lost}");
    }

    #[test]
    fn a_name_is_durable_after_the_sync_of_its_directory() {
        let outcomes: BTreeSet<Vec<String>> = (0..100)
            .map(|seed| {
                let machine = SimulatedDisk::new(seed);
                let disk = machine.disk();
                disk.create(Path::new("/old")).unwrap();
                disk.sync_dir(Path::new("/")).unwrap();
                disk.create(Path::new("/new")).unwrap();
                disk.rename(Path::new("/new"), Path::new("/old")).unwrap();
                machine.crash();
                disk.list_dir(Path::new("/")).unwrap().unwrap()
            })
            .collect();
        let expected = [vec!["new".to_owned(), "old".to_owned()], vec!["old".to_owned()]];
        assert_eq!(outcomes, expected.into());
    }

    #[test]
    fn faults_strike_when_told() {
        let machine = SimulatedDisk::new(7);
        let disk = machine.disk();
        let file = disk.create(Path::new("/file")).unwrap();
        machine.limit_bytes(Some(100));
        let error = file.allocate(101).unwrap_err();
        assert!(error.to_string().starts_with("/file: cannot reserve space for the file: No space left"), "{error}");
        machine.fail_write(2);
        file.write_at(0, b"fine").unwrap();
        let error = file.write_at(4, b"not").unwrap_err();
        assert!(error.to_string().starts_with("/file: cannot write at byte 4: Input/output error"), "{error}");
        machine.fail_sync(1);
        file.sync().unwrap_err();
        file.sync().unwrap();
        disk.sync_dir(Path::new("/")).unwrap();
        machine.crash();
        assert_eq!(disk.open(Path::new("/file")).unwrap().unwrap().len().unwrap(), 0, "the failed sync lost it all");
    }
}
