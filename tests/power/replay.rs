//! What a disk holds after a power cut, made from the log that QEMU keeps of all writes and flushes (`blklogwrites`).
//!
//! A disk with a volatile cache promises one thing: what was written before a flush that has returned. So the disk at a
//! cut is the disk at the start, every write before the last flush, and of the writes after it any part, by sectors of
//! 512 bytes. Killing QEMU loses none of these writes, because the host has them; replaying does.
//!
//! QEMU puts a request into its log when the request is done, and before the machine hears of it. So whatever an
//! acknowledgement rests on lies in the part of the log that was there when it came.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;

use rand::Rng;
use rand::rngs::StdRng;

const SECTOR_BYTES: u64 = 512;
const MAGIC: u64 = 0x006a_7366_7773_6872;
const FLAG_FLUSH: u64 = 1;
const FLAG_FUA: u64 = 2;
const FLAG_DISCARD: u64 = 4;

/// A request of the machine to its disk.
#[derive(Clone, Copy, Debug)]
pub struct Request {
    /// The length of the log with it.
    pub end: u64,
    offset: u64,
    bytes: u64,
    data_at: u64,
    flags: u64,
}

/// The log, as far as it has no holes: requests that were under way at the end may have left some.
pub struct WriteLog {
    file: File,
    pub requests: Vec<Request>,
}

/// What happens to writes after the last flush.
#[derive(Clone, Copy, Debug)]
pub enum Loss {
    /// None is on disk.
    All,
    /// Some are, each whole.
    Requests,
    /// Some sectors of some are.
    Sectors,
}

impl WriteLog {
    pub fn read(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let (length, mut at, mut requests) = (file.metadata()?.len(), SECTOR_BYTES, Vec::new());
        // QEMU writes it with the first flush; a file system that never flushes leaves zeros.
        if length < SECTOR_BYTES || ![MAGIC, 0].contains(&numbers(&file, 0)?[0]) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, format!("{}: no log of writes", path.display())));
        }
        while at + SECTOR_BYTES <= length {
            let [sector, sectors, flags, _] = numbers(&file, at)?;
            let data = if flags & FLAG_DISCARD == 0 { sectors * SECTOR_BYTES } else { 0 };
            let (data_at, end) = (at + SECTOR_BYTES, at + SECTOR_BYTES + data);
            if (sectors == 0 && flags & FLAG_FLUSH == 0) || end > length {
                break;
            }
            requests.push(Request { end, offset: sector * SECTOR_BYTES, bytes: data, data_at, flags });
            at = end;
        }
        Ok(Self { file, requests })
    }

    /// How many of the first `count` requests are surely on disk, whatever happens to the others.
    fn flushed(&self, count: usize) -> usize {
        self.requests[..count].iter().rposition(|request| request.flags & FLAG_FLUSH != 0).unwrap_or(0)
    }

    /// Bytes that a cut behind the first `count` requests may take.
    pub fn at_stake(&self, count: usize) -> u64 {
        self.requests[self.flushed(count)..count].iter().map(|request| request.bytes).sum()
    }

    /// Makes in `to` the disk `base` after a cut behind the first `count` requests. Returns how many sectors were lost.
    pub fn replay(&self, base: &Path, to: &Path, count: usize, loss: Loss, random: &mut StdRng) -> io::Result<u64> {
        copy(base, to)?;
        let disk = OpenOptions::new().write(true).open(to)?;
        let (past, flushed) = (&self.requests[..count], self.flushed(count));
        let mut lost = 0;
        for (number, request) in past.iter().enumerate() {
            let mut data = vec![0; usize::try_from(request.bytes).expect("a request fits memory")];
            self.file.read_exact_at(&mut data, request.data_at)?;
            if number < flushed || request.flags & FLAG_FUA != 0 {
                disk.write_all_at(&data, request.offset)?;
                continue;
            }
            let whole = random.random_bool(0.5);
            for (sector, piece) in (0..).zip(data.chunks(SECTOR_BYTES as usize)) {
                let kept = match loss {
                    Loss::All => false,
                    Loss::Requests => whole,
                    Loss::Sectors => random.random_bool(0.5),
                };
                match kept {
                    true => disk.write_all_at(piece, request.offset + sector * SECTOR_BYTES)?,
                    false => lost += 1,
                }
            }
        }
        Ok(lost)
    }
}

fn numbers(file: &File, at: u64) -> io::Result<[u64; 4]> {
    let mut bytes = [0; 32];
    file.read_exact_at(&mut bytes, at)?;
    Ok(std::array::from_fn(|i| u64::from_le_bytes(bytes[8 * i..][..8].try_into().expect("eight bytes"))))
}

/// Copies an image with its holes.
pub fn copy(from: &Path, to: &Path) -> io::Result<()> {
    let done = Command::new("cp").args(["--sparse=always", "--reflink=auto"]).arg(from).arg(to).status()?;
    if done.success() {
        Ok(())
    } else {
        Err(io::Error::other(format!("cp {} {}: {done}", from.display(), to.display())))
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    /// A log of writes (sector, sectors, fill) and flushes (`None`).
    fn log_of(path: &Path, requests: &[Option<(u64, u64, u8)>]) {
        let mut bytes = MAGIC.to_le_bytes().to_vec();
        bytes.resize(SECTOR_BYTES as usize, 0);
        for request in requests {
            let (sector, sectors, fill) = request.unwrap_or_default();
            let flags = if request.is_none() { FLAG_FLUSH } else { 0 };
            let start = bytes.len();
            [sector, sectors, flags, 0].iter().for_each(|number| bytes.extend(number.to_le_bytes()));
            bytes.resize(start + SECTOR_BYTES as usize, 0);
            bytes.resize(bytes.len() + (sectors * SECTOR_BYTES) as usize, fill);
        }
        std::fs::write(path, bytes).unwrap();
    }

    /// The first byte of each sector of the disk.
    fn replayed(dir: &Path, count: usize, loss: Loss, seed: u64) -> Vec<u8> {
        let log = WriteLog::read(&dir.join("log")).unwrap();
        let mut random = StdRng::seed_from_u64(seed);
        log.replay(&dir.join("base"), &dir.join("disk"), count, loss, &mut random).unwrap();
        let disk = std::fs::read(dir.join("disk")).unwrap();
        disk.chunks(SECTOR_BYTES as usize).map(|sector| sector[0]).collect()
    }

    #[test]
    fn what_was_flushed_stays_and_of_the_rest_any_part() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        std::fs::write(dir.join("base"), vec![b'.'; 6 * SECTOR_BYTES as usize]).unwrap();
        log_of(&dir.join("log"), &[Some((0, 1, b'a')), None, Some((0, 2, b'b')), Some((3, 3, b'c')), None]);
        let log = WriteLog::read(&dir.join("log")).unwrap();
        assert_eq!([1, 2, 3, 4, 5].map(|count| log.at_stake(count) / SECTOR_BYTES), [1, 0, 2, 5, 0]);
        assert_eq!(replayed(dir, 5, Loss::All, 1), *b"bb.ccc");
        assert_eq!(replayed(dir, 4, Loss::All, 1), *b"a.....");
        assert_eq!(replayed(dir, 1, Loss::All, 1), *b"......");
        let some: std::collections::BTreeSet<_> = (0..40).map(|seed| replayed(dir, 4, Loss::Requests, seed)).collect();
        let whole = [b"a.....", b"bb....", b"a..ccc", b"bb.ccc"];
        assert_eq!(some, whole.map(|disk| disk.to_vec()).into());
        let torn: std::collections::BTreeSet<_> = (0..400).map(|seed| replayed(dir, 4, Loss::Sectors, seed)).collect();
        assert_eq!(torn.len(), 32);
    }

    #[test]
    fn a_log_ends_at_its_first_hole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        log_of(&path, &[Some((0, 1, b'a')), None, Some((5, 1, b'b')), None]);
        assert_eq!(WriteLog::read(&path).unwrap().requests.len(), 4);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[4 * 512..5 * 512].fill(0);
        std::fs::write(&path, &bytes).unwrap();
        let requests = WriteLog::read(&path).unwrap().requests;
        assert_eq!((requests.len(), requests[1].end), (2, 4 * 512));
        std::fs::write(&path, b"").unwrap();
        assert!(WriteLog::read(&path).is_err());
    }
}
