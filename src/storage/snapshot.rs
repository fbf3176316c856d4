//! Snapshot files: for each group one file that replaces the head of its log.
//!
//! A file is a header (whose it is, up to which position of the log), the caller's description, pieces in the order in
//! which they were pushed, and an end mark that counts them; all under checksums. It gets its name only when it is whole
//! and durable, and only then the older ones of its group are removed; so the newest name is the snapshot, and damage in
//! it is an error, never a reason to take an older one: the log before it is gone.
//!
//! A file that is not needed loses its name before its content, which goes a little at a time: see [`Disk::remove_piecemeal`].
//!
//! Deliberately absent: what pieces mean, compression, partial reads.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use crc32fast::Hasher;

use super::disk::{Disk, DiskFile};
use super::error::StorageError;
use super::log::Position;

/// The version that this release writes and reads.
const FORMAT_VERSION: u32 = 1;
const MAGIC: [u8; 8] = *b"PONTSNP\n";
const HEADER_BYTES: usize = 48;
const BLOCK_HEADER_BYTES: usize = 16;
/// A piece or a description may not be longer than this.
pub const PIECE_LIMIT_BYTES: usize = 1 << 30;
/// Small pieces are gathered to this before they are written.
const BUFFER_BYTES: usize = 1 << 20;
/// Written bytes are made durable in portions of this, so that the last sync has little to do and the log's syncs wait
/// behind little.
const SYNC_BYTES: u64 = 2 << 20;

/// What the name of a snapshot ends in that is being removed.
const OLD: &str = ".old";

const DESCRIPTION: u32 = 1;
const PIECE: u32 = 2;
const END: u32 = 3;

/// Makes the directory if need be, and removes what a crash left of unfinished snapshots and of unneeded ones. Once, before any
/// is written.
pub fn open_directory(disk: &Disk, dir: &Path) -> Result<(), StorageError> {
    disk.create_dir(dir)?;
    for name in disk.list_dir(dir)?.unwrap_or_default() {
        if name.ends_with(".tmp") || name.ends_with(OLD) {
            disk.remove(&dir.join(name))?;
        }
    }
    Ok(())
}

/// Removes all snapshots of a group that was destroyed; of large ones it takes its time.
pub fn remove_all(disk: &Disk, dir: &Path, group: u64) -> Result<(), StorageError> {
    remove_below(disk, dir, group, None)
}

/// What a new snapshot has replaced, and is still there. Left there, it goes with the next.
#[must_use]
#[derive(Debug)]
pub struct Replaced {
    disk: Disk,
    dir: PathBuf,
    group: u64,
    below: u64,
}

impl Replaced {
    /// Removes it; of large files it takes its time.
    pub fn remove(self) -> Result<(), StorageError> {
        remove_below(&self.disk, &self.dir, self.group, Some(self.below))
    }
}

/// Writes one snapshot. Dropped before [`SnapshotWriter::finish`], it leaves nothing.
#[derive(Debug)]
pub struct SnapshotWriter {
    disk: Disk,
    dir: PathBuf,
    group: u64,
    index: u64,
    file: DiskFile,
    buffer: Vec<u8>,
    written: u64,
    synced: u64,
    blocks: u64,
    finished: bool,
}

impl SnapshotWriter {
    /// Begins the snapshot of a group up to a position of its log. One at a time for each group and index.
    pub fn create(
        disk: &Disk,
        dir: &Path,
        group: u64,
        index: u64,
        term: u64,
        description: &[u8],
    ) -> Result<Self, StorageError> {
        let path = dir.join(format!("{}.tmp", name_of(group, index)));
        let mut writer = Self {
            disk: disk.clone(),
            dir: dir.to_path_buf(),
            group,
            index,
            file: disk.create(&path)?,
            buffer: encode_header(group, index, term).to_vec(),
            written: 0,
            synced: 0,
            blocks: 0,
            finished: false,
        };
        writer.block(DESCRIPTION, description)?;
        Ok(writer)
    }

    /// Adds a piece; the reader gets the same pieces in the same order.
    pub fn push(&mut self, piece: &[u8]) -> Result<(), StorageError> {
        self.block(PIECE, piece)
    }

    /// Makes the snapshot durable under its name. Returns its length in bytes, and what it replaces.
    pub fn finish(mut self) -> Result<(u64, Replaced), StorageError> {
        self.block(END, &[])?;
        self.flush()?;
        self.file.sync_from(self.synced)?;
        self.file.rename(&self.disk, &self.dir.join(name_of(self.group, self.index)))?;
        self.finished = true;
        self.disk.sync_dir(&self.dir)?;
        let (disk, dir) = (self.disk.clone(), self.dir.clone());
        Ok((self.written, Replaced { disk, dir, group: self.group, below: self.index }))
    }

    fn block(&mut self, kind: u32, content: &[u8]) -> Result<(), StorageError> {
        if content.len() > PIECE_LIMIT_BYTES {
            let what = format!("a piece of {} bytes, more than {PIECE_LIMIT_BYTES}", content.len());
            return Err(StorageError::refused(self.group, what));
        }
        self.buffer.extend_from_slice(&encode_block(kind, self.blocks, content));
        self.blocks += 1;
        if self.buffer.len() + content.len() <= BUFFER_BYTES {
            self.buffer.extend_from_slice(content);
            return Ok(());
        }
        self.flush()?;
        self.file.write_at(self.written, content)?;
        self.written += content.len() as u64;
        if self.written - self.synced >= SYNC_BYTES {
            self.file.sync_from(self.synced)?;
            self.synced = self.written;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), StorageError> {
        self.file.write_at(self.written, &self.buffer)?;
        self.written += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }
}

impl Drop for SnapshotWriter {
    fn drop(&mut self) {
        if !self.finished {
            // What stays is removed when the directory is opened again.
            let _ = self.disk.remove(self.file.path());
        }
    }
}

/// Reads one snapshot, which is not to be removed meanwhile.
#[derive(Debug)]
pub struct SnapshotReader {
    file: DiskFile,
    length: u64,
    position: Position,
    description: Bytes,
    offset: u64,
    blocks: u64,
    ended: bool,
}

impl SnapshotReader {
    /// Opens the newest snapshot of a group; `None` where there is none.
    pub fn open_newest(disk: &Disk, dir: &Path, group: u64) -> Result<Option<Self>, StorageError> {
        let indexes = indexes_of(disk, dir, group)?;
        let Some(index) = indexes.last() else { return Ok(None) };
        match disk.open(&dir.join(name_of(group, *index)))? {
            Some(file) => Self::open(file, group, *index).map(Some),
            None => Ok(None),
        }
    }

    /// The last position of the log that the snapshot covers.
    pub fn position(&self) -> Position {
        self.position
    }

    /// The description that the writer was given.
    pub fn description(&self) -> &Bytes {
        &self.description
    }

    /// The file.
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// The length of the file in bytes.
    pub fn file_bytes(&self) -> u64 {
        self.length
    }

    /// The next piece; `None` after the last one. A snapshot that ends early is damaged.
    pub fn next_piece(&mut self) -> Result<Option<Bytes>, StorageError> {
        if self.ended {
            return Ok(None);
        }
        let (kind, content) = self.block()?;
        match kind {
            PIECE => Ok(Some(content)),
            END if self.offset == self.length => {
                self.ended = true;
                Ok(None)
            }
            _ => Err(self.damaged("a block of an unexpected kind")),
        }
    }

    fn open(file: DiskFile, group: u64, index: u64) -> Result<Self, StorageError> {
        let mut header = [0; HEADER_BYTES];
        file.read_at(0, &mut header)?;
        let term = decode_header(&header, file.path(), group, index)?;
        let (length, position) = (file.len()?, Position { index, term });
        let (description, offset) = (Bytes::new(), HEADER_BYTES as u64);
        let mut reader = Self { file, length, position, description, offset, blocks: 0, ended: false };
        match reader.block()? {
            (DESCRIPTION, description) => reader.description = description,
            _ => return Err(reader.damaged("no description")),
        }
        Ok(reader)
    }

    fn block(&mut self) -> Result<(u32, Bytes), StorageError> {
        let mut header = [0; BLOCK_HEADER_BYTES];
        self.file.read_at(self.offset, &mut header)?;
        let [kind, len, ..] = numbers(&header);
        let start = self.offset + BLOCK_HEADER_BYTES as u64;
        // A damaged length may claim anything: memory follows what the file has.
        if u64::from(len) > self.length.saturating_sub(start) {
            return Err(self.damaged("a block longer than the file"));
        }
        let mut content = vec![0; len as usize];
        self.file.read_at(start, &mut content)?;
        if header != encode_block(kind, self.blocks, &content) {
            return Err(self.damaged("the checksum of a block"));
        }
        self.offset = start + u64::from(len);
        self.blocks += 1;
        Ok((kind, content.into()))
    }

    fn damaged(&self, what: &str) -> StorageError {
        StorageError::damaged(self.file.path(), self.offset, what)
    }
}

impl Iterator for SnapshotReader {
    type Item = Result<Bytes, StorageError>;

    fn next(&mut self) -> Option<Self::Item> {
        let piece = self.next_piece().transpose();
        self.ended |= matches!(piece, Some(Err(_)));
        piece
    }
}

fn name_of(group: u64, index: u64) -> String {
    format!("{group:016x}-{index:016x}.snapshot")
}

/// The group and index of a snapshot's name.
fn parse_name(name: &str) -> Option<(u64, u64)> {
    let (group, index) = name.strip_suffix(".snapshot")?.split_once('-')?;
    Some((u64::from_str_radix(group, 16).ok()?, u64::from_str_radix(index, 16).ok()?))
}

/// The groups that have snapshots.
pub fn groups(disk: &Disk, dir: &Path) -> Result<BTreeSet<u64>, StorageError> {
    let names = disk.list_dir(dir)?.unwrap_or_default();
    Ok(names.iter().filter_map(|name| parse_name(name)).map(|(group, _)| group).collect())
}

/// The indexes of a group's snapshots, rising.
fn indexes_of(disk: &Disk, dir: &Path, group: u64) -> Result<Vec<u64>, StorageError> {
    let names = disk.list_dir(dir)?.unwrap_or_default();
    let of_group = names.iter().filter_map(|name| parse_name(name)).filter(|(of, _)| *of == group);
    let mut indexes: Vec<u64> = of_group.map(|(_, index)| index).collect();
    indexes.sort_unstable();
    Ok(indexes)
}

/// Removes a group's snapshots below an index, or all, and what a removal that ended early has left. First their names, durably:
/// nobody may ever take the rest of one for a damaged snapshot.
fn remove_below(disk: &Disk, dir: &Path, group: u64, below: Option<u64>) -> Result<(), StorageError> {
    for index in indexes_of(disk, dir, group)? {
        if below.is_none_or(|below| index < below) {
            let name = name_of(group, index);
            // One that lost its name meanwhile was another removal's, and so may what that has left be.
            disk.rename_if_there(&dir.join(&name), &dir.join(name + OLD))?;
        }
    }
    disk.sync_dir(dir)?;
    let names = disk.list_dir(dir)?.unwrap_or_default();
    let is_left = |name: &String| name.strip_suffix(OLD).and_then(parse_name).is_some_and(|(of, _)| of == group);
    names.iter().filter(|name| is_left(name)).try_for_each(|name| disk.remove_piecemeal(&dir.join(name)))
}

fn encode_header(group: u64, index: u64, term: u64) -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    header[..8].copy_from_slice(&MAGIC);
    header[8..12].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
    for (place, number) in [(16, group), (24, index), (32, term)] {
        header[place..place + 8].copy_from_slice(&number.to_le_bytes());
    }
    let checksum = header_checksum(&header);
    header[12..16].copy_from_slice(&checksum.to_le_bytes());
    header
}

/// The term in the header of a snapshot of this group and index.
fn decode_header(header: &[u8; HEADER_BYTES], path: &Path, group: u64, index: u64) -> Result<u64, StorageError> {
    let [.., version, checksum] = numbers(header.first_chunk().expect("shorter than the header"));
    if header[..8] != MAGIC || checksum != header_checksum(header) {
        return Err(StorageError::damaged(path, 0, "the header of the snapshot"));
    }
    if version != FORMAT_VERSION {
        return Err(StorageError::Version { path: path.to_path_buf(), found: version, known: FORMAT_VERSION });
    }
    let term = u64::from_le_bytes(header[32..40].try_into().expect("eight bytes"));
    if *header != encode_header(group, index, term) {
        return Err(StorageError::damaged(path, 16, "the header of another snapshot"));
    }
    Ok(term)
}

fn header_checksum(header: &[u8; HEADER_BYTES]) -> u32 {
    let mut hasher = Hasher::new();
    hasher.update(&header[..12]);
    hasher.update(&header[16..]);
    hasher.finalize()
}

/// The header of a block: kind, length, checksum over both, the block's number and the content.
fn encode_block(kind: u32, number: u64, content: &[u8]) -> [u8; BLOCK_HEADER_BYTES] {
    let len = u32::try_from(content.len()).expect("within the limit of a piece");
    let mut hasher = Hasher::new();
    hasher.update(&kind.to_le_bytes());
    hasher.update(&len.to_le_bytes());
    hasher.update(&number.to_le_bytes());
    hasher.update(content);
    let mut header = [0; BLOCK_HEADER_BYTES];
    for (place, number) in [(0, kind), (4, len), (8, hasher.finalize())] {
        header[place..place + 4].copy_from_slice(&number.to_le_bytes());
    }
    header
}

fn numbers(bytes: &[u8; 16]) -> [u32; 4] {
    let at = |place: usize| u32::from_le_bytes(bytes[place..place + 4].try_into().expect("four bytes"));
    [at(0), at(4), at(8), at(12)]
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;
    use crate::storage::disk::FREED_BYTES;
    use crate::storage::simulated::SimulatedDisk;

    const DIR: &str = "/snapshots";
    const GROUP: u64 = 0xab;

    fn write(disk: &Disk, index: u64, pieces: &[Vec<u8>]) -> Result<u64, StorageError> {
        let mut writer = SnapshotWriter::create(disk, Path::new(DIR), GROUP, index, 3, b"description")?;
        for piece in pieces {
            writer.push(piece)?;
        }
        let (bytes, replaced) = writer.finish()?;
        replaced.remove()?;
        Ok(bytes)
    }

    /// Index and pieces of the newest snapshot.
    fn read(disk: &Disk) -> Result<Option<(u64, Vec<Bytes>)>, StorageError> {
        let Some(reader) = SnapshotReader::open_newest(disk, Path::new(DIR), GROUP)? else { return Ok(None) };
        assert_eq!((reader.position().term, &reader.description()[..]), (3, &b"description"[..]));
        let index = reader.position().index;
        Ok(Some((index, reader.collect::<Result<_, _>>()?)))
    }

    fn names(disk: &Disk) -> Vec<String> {
        disk.list_dir(Path::new(DIR)).unwrap().unwrap()
    }

    fn pieces_of(fill: u8) -> Vec<Vec<u8>> {
        [0, 1, 700, 3000].map(|len| vec![fill; len]).to_vec()
    }

    #[test]
    fn pieces_come_back_as_they_were_pushed() {
        let machine = SimulatedDisk::new(1);
        let disk = machine.disk();
        open_directory(&disk, Path::new(DIR)).unwrap();
        assert!(read(&disk).unwrap().is_none());
        let pieces = [vec![], vec![1; BUFFER_BYTES + 1], vec![2; 10], vec![3; BUFFER_BYTES - 100], vec![4; 200]];
        let len = write(&disk, 9, &pieces).unwrap();
        machine.crash();
        let disk = machine.disk();
        assert_eq!(read(&disk).unwrap(), Some((9, pieces.iter().map(|piece| piece.clone().into()).collect())));
        let reader = SnapshotReader::open_newest(&disk, Path::new(DIR), GROUP).unwrap().unwrap();
        assert_eq!(reader.file_bytes(), len);
        assert!(SnapshotReader::open_newest(&disk, Path::new(DIR), GROUP + 1).unwrap().is_none());
    }

    #[test]
    fn a_crash_at_any_step_leaves_the_old_snapshot_or_the_new_whole() {
        let mut seen = [0, 0];
        for seed in 0..600 {
            let machine = SimulatedDisk::new(seed);
            let disk = machine.disk();
            open_directory(&disk, Path::new(DIR)).unwrap();
            write(&disk, 10, &pieces_of(1)).unwrap();
            machine.stop(1 + seed % 8);
            let outcome = write(&disk, 11, &pieces_of(2));
            machine.crash();
            open_directory(&disk, Path::new(DIR)).unwrap();
            let (index, pieces) = read(&disk).unwrap().unwrap();
            assert!(index == 11 || (index == 10 && outcome.is_err()), "seed {seed}: {index} {outcome:?}");
            assert_eq!(pieces, pieces_of(u8::try_from(index).unwrap() - 9), "seed {seed}");
            seen[usize::try_from(index).unwrap() - 10] += 1;
            assert!(names(&disk).iter().all(|name| name.ends_with(".snapshot")), "seed {seed}");
            write(&disk, 12, &pieces_of(3)).unwrap();
            assert_eq!(names(&disk).len(), 1, "seed {seed}");
        }
        assert!(seen[0] > 50 && seen[1] > 50, "{seen:?}");
    }

    #[test]
    fn large_snapshots_go_in_pieces_and_no_crash_leaves_half_of_one_under_its_name() {
        let large = |fill| [vec![fill; 3 * FREED_BYTES as usize]];
        for stops_at in 1.. {
            let machine = SimulatedDisk::new(stops_at);
            let disk = machine.disk();
            open_directory(&disk, Path::new(DIR)).unwrap();
            write(&disk, 1, &large(1)).unwrap();
            machine.stop(stops_at);
            let replaced = write(&disk, 2, &large(2)).is_ok();
            let removed = replaced && remove_all(&disk, Path::new(DIR), GROUP).is_ok();
            machine.crash();
            open_directory(&disk, Path::new(DIR)).unwrap();
            assert!(names(&disk).iter().all(|name| name.ends_with(".snapshot")), "{:?}", names(&disk));
            match read(&disk).unwrap() {
                Some((2, pieces)) => assert_eq!(pieces, large(2)),
                found => assert!(
                    (found.is_none() && replaced)
                        || (found == Some((1, large(1).map(Bytes::from).to_vec())) && !replaced)
                ),
            }
            if removed {
                return assert!(stops_at > 10 && names(&disk).is_empty());
            }
        }
    }

    #[test]
    fn every_flip_and_every_cut_is_damage_with_its_place() {
        let machine = SimulatedDisk::new(1);
        let disk = machine.disk();
        open_directory(&disk, Path::new(DIR)).unwrap();
        let len = write(&disk, 1, &pieces_of(7)).unwrap();
        let path = Path::new(DIR).join(name_of(GROUP, 1));
        let content = disk.open(&path).unwrap().unwrap().read_all().unwrap();
        let named = |error: StorageError, at: u64| match error {
            StorageError::Damaged { path: named, offset, .. } => assert!(named == path && offset <= at, "{at}"),
            error => panic!("byte {at}: {error}"),
        };
        for offset in 0..len {
            let machine = machine.fork();
            machine.flip(&path, offset, 1 << (offset % 8));
            // A block is read as a whole: the place named is its start, or 16 for a header that is another's.
            named(read(&machine.disk()).unwrap_err(), offset.max(16));
            let cut = &content[..usize::try_from(offset).unwrap()];
            machine.disk().create(&path).unwrap().write_at(0, cut).unwrap();
            named(read(&machine.disk()).unwrap_err(), offset);
        }
        // What follows the end mark is damage too.
        machine.disk().open(&path).unwrap().unwrap().write_at(len, b"x").unwrap();
        named(read(&disk).unwrap_err(), len);
    }

    #[test]
    fn an_unfinished_snapshot_leaves_nothing_and_one_that_is_not_needed_neither() {
        let machine = SimulatedDisk::new(1);
        let disk = machine.disk();
        open_directory(&disk, Path::new(DIR)).unwrap();
        let mut writer = SnapshotWriter::create(&disk, Path::new(DIR), GROUP, 1, 1, b"").unwrap();
        writer.push(b"piece").unwrap();
        drop(writer);
        assert!(names(&disk).is_empty());

        write(&disk, 1, &pieces_of(1)).unwrap();
        write(&disk, 2, &pieces_of(2)).unwrap();
        assert_eq!(names(&disk), [name_of(GROUP, 2)]);
        remove_all(&disk, Path::new(DIR), GROUP).unwrap();
        assert!(read(&disk).unwrap().is_none());
    }

    #[test]
    fn removals_of_one_groups_snapshots_at_the_same_time_all_succeed() {
        for seed in 0..200 {
            let machine = SimulatedDisk::new(seed);
            let disk = machine.disk();
            open_directory(&disk, Path::new(DIR)).unwrap();
            for index in 1..10 {
                let writer = SnapshotWriter::create(&disk, Path::new(DIR), GROUP, index, 3, b"").unwrap();
                let (_, _left_there) = writer.finish().unwrap();
            }
            thread::scope(|scope| {
                let removals = [(); 3].map(|()| scope.spawn(|| remove_all(&disk, Path::new(DIR), GROUP)));
                for removal in removals {
                    removal.join().unwrap().unwrap();
                }
            });
            assert!(names(&disk).is_empty(), "{:?}", names(&disk));
        }
    }

    #[test]
    fn what_a_removal_has_left_goes_with_the_next_of_its_group() {
        let disk = SimulatedDisk::new(1).disk();
        let path = |name: String| Path::new(DIR).join(name);
        open_directory(&disk, Path::new(DIR)).unwrap();
        write(&disk, 1, &pieces_of(1)).unwrap();
        disk.rename(&path(name_of(GROUP, 1)), &path(name_of(GROUP, 1) + OLD)).unwrap();
        disk.create(&path(name_of(GROUP + 1, 1) + OLD)).unwrap();
        write(&disk, 2, &pieces_of(2)).unwrap();
        assert_eq!(names(&disk), [name_of(GROUP, 2), name_of(GROUP + 1, 1) + OLD]);
        remove_all(&disk, Path::new(DIR), GROUP + 1).unwrap();
        assert_eq!(names(&disk), [name_of(GROUP, 2)]);
    }

    #[test]
    fn a_failed_sync_is_an_error_and_the_old_snapshot_stays() {
        let machine = SimulatedDisk::new(1);
        let disk = machine.disk();
        open_directory(&disk, Path::new(DIR)).unwrap();
        write(&disk, 1, &pieces_of(1)).unwrap();
        machine.fail_sync(1);
        let error = write(&disk, 2, &pieces_of(2)).unwrap_err().to_string();
        assert!(error.contains("0000000000000002.snapshot.tmp: cannot sync at byte 0"), "{error}");
        machine.limit_bytes(Some(5_000));
        let error = write(&disk, 2, &pieces_of(2)).unwrap_err().to_string();
        assert!(error.contains("0000000000000002.snapshot.tmp: cannot write at byte 0: No space left"), "{error}");
        assert_eq!(read(&disk).unwrap().unwrap().0, 1);
        assert_eq!(names(&disk).len(), 1);
    }
}
