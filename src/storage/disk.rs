//! The file seam: storage asks a [`Disk`] for files, so that the same code runs on a real file system and on a
//! simulated one that loses what was not synced ([`super::simulated`]).
//!
//! It holds just what the log, snapshots and the data directory need. Contract of a [`Volume`]: content is durable after
//! the file's `sync`, a name (created, renamed or removed) after `sync_dir` of its directory; before that a crash may
//! keep any part of it. Deliberately absent: appending, seeking, memory maps.

use std::fmt;
use std::io;
use std::ops::{Deref, DerefMut};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use super::error::StorageError;

/// A file system. Its methods answer as the operating system does; [`Disk`] adds the names.
pub trait Volume: Send + Sync {
    /// Makes one directory, readable by its owner alone. `AlreadyExists` where the name is taken.
    fn create_dir(&self, path: &Path) -> io::Result<()>;
    /// The names in a directory.
    fn list_dir(&self, path: &Path) -> io::Result<Vec<String>>;
    /// Makes an empty file, or empties the one that is there.
    fn create(&self, path: &Path) -> io::Result<Box<dyn VolumeFile>>;
    /// Opens a file for reading and writing.
    fn open(&self, path: &Path) -> io::Result<Box<dyn VolumeFile>>;
    /// Gives a file another name in the same directory, replacing what had it.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file's name.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Makes the names in a directory durable.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;
    /// Takes the exclusive lock of a file, made if absent; `WouldBlock` where another holder has it.
    fn lock(&self, path: &Path) -> io::Result<Box<dyn Send + Sync>>;
}

/// An open file of a [`Volume`].
#[allow(clippy::len_without_is_empty, reason = "nobody asks whether a file is empty")]
pub trait VolumeFile: Send + Sync {
    /// Reads what is there, up to the buffer's length; fewer bytes only at the end of the file.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize>;
    /// Writes all bytes.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;
    /// Makes content and length durable (fdatasync).
    fn sync(&self) -> io::Result<()>;
    /// From now on writes go past the operating system's cache. `false`: they can't, and nothing has changed. After `true` only whole
    /// blocks are written ([`BLOCK_BYTES`]), from a [`BlockBuffer`] or as aligned a place, at offsets that are multiples of a block.
    fn bypass_cache(&self) -> io::Result<bool>;
    /// The length in bytes.
    fn len(&self) -> io::Result<u64>;
    /// Reserves space for this many bytes and makes that the length, so that later writes within cannot run out of it.
    fn allocate(&self, len: u64) -> io::Result<()>;
    /// Gives up what is behind this length; a file that is not longer stays as it is.
    fn shrink(&self, len: u64) -> io::Result<()>;
}

/// So much of a file's space is freed at once. What a file system frees it may tell the disk there and then (ext4 with `discard`
/// does), and until the disk has heard it, nobody's sync ends: with 130 MB 25 to 60 ms.
pub const FREED_BYTES: u64 = 1 << 20;
/// Between two such pieces the disk is the others'.
const FREEING_PAUSE: Duration = Duration::from_millis(2);

/// What a file is written in that bypasses the cache: no disk in use has larger sectors.
pub const BLOCK_BYTES: usize = 4096;

/// Memory of whole blocks that begins at a multiple of one.
#[derive(Debug)]
pub struct BlockBuffer {
    memory: Box<[u8]>,
    start: usize,
}

impl BlockBuffer {
    /// So many blocks, of zeros.
    pub fn new(blocks: usize) -> Self {
        let memory = vec![0; (blocks + 1) * BLOCK_BYTES].into_boxed_slice();
        let start = memory.as_ptr().align_offset(BLOCK_BYTES);
        Self { memory, start }
    }
}

impl Deref for BlockBuffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.memory[self.start..][..self.memory.len() - BLOCK_BYTES]
    }
}

impl DerefMut for BlockBuffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        let len = self.memory.len() - BLOCK_BYTES;
        &mut self.memory[self.start..][..len]
    }
}

/// A handle to a file system. Cheap to clone.
#[derive(Clone)]
pub struct Disk(Arc<dyn Volume>);

/// An exclusive lock, given back when dropped or when the process ends.
pub struct DiskLock {
    _held: Box<dyn Send + Sync>,
}

/// An open file that knows its name.
pub struct DiskFile {
    path: PathBuf,
    file: Box<dyn VolumeFile>,
}

impl Disk {
    /// The operating system's file system.
    pub fn system() -> Self {
        Self(Arc::new(System))
    }

    /// A file system of another making.
    pub fn of(volume: Arc<dyn Volume>) -> Self {
        Self(volume)
    }

    /// Makes a directory and those above it, durably. One that is there already is left as it is.
    pub fn create_dir(&self, path: &Path) -> Result<(), StorageError> {
        match self.0.create_dir(path) {
            Ok(()) => self.sync_dir(parent(path)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound && parent(path) != path => {
                self.create_dir(parent(path))?;
                self.0.create_dir(path).map_err(failed("create the directory", path))?;
                self.sync_dir(parent(path))
            }
            Err(error) => Err(failed("create the directory", path)(error)),
        }
    }

    /// The names in a directory, sorted; `None` where there is no such directory.
    pub fn list_dir(&self, path: &Path) -> Result<Option<Vec<String>>, StorageError> {
        match self.0.list_dir(path) {
            Ok(mut names) => {
                names.sort_unstable();
                Ok(Some(names))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed("list the directory", path)(error)),
        }
    }

    /// Makes an empty file, or empties the one that is there.
    pub fn create(&self, path: &Path) -> Result<DiskFile, StorageError> {
        let file = self.0.create(path).map_err(failed("create the file", path))?;
        Ok(DiskFile { path: path.to_path_buf(), file })
    }

    /// Opens a file for reading and writing; `None` where there is none.
    pub fn open(&self, path: &Path) -> Result<Option<DiskFile>, StorageError> {
        match self.0.open(path) {
            Ok(file) => Ok(Some(DiskFile { path: path.to_path_buf(), file })),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed("open the file", path)(error)),
        }
    }

    /// Gives a file another name in the same directory, replacing what had it.
    pub fn rename(&self, from: &Path, to: &Path) -> Result<(), StorageError> {
        self.0.rename(from, to).map_err(failed("rename the file", from))
    }

    /// Like [`Disk::rename`], but a file that is gone is fine; tells whether it was there.
    pub fn rename_if_there(&self, from: &Path, to: &Path) -> Result<bool, StorageError> {
        match self.0.rename(from, to) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            renamed => renamed.map(|()| true).map_err(failed("rename the file", from)),
        }
    }

    /// Removes a file.
    pub fn remove(&self, path: &Path) -> Result<(), StorageError> {
        self.0.remove(path).map_err(failed("remove the file", path))
    }

    /// Removes a file that may be large, in pieces of [`FREED_BYTES`], so that the syncs of others wait behind little. Takes
    /// about 3 ms for each. One that is gone already is fine.
    pub fn remove_piecemeal(&self, path: &Path) -> Result<(), StorageError> {
        let Some(file) = self.open(path)? else { return Ok(()) };
        let mut left = file.len()?;
        while left > FREED_BYTES {
            left -= FREED_BYTES;
            file.shrink(left)?;
            thread::sleep(FREEING_PAUSE);
        }
        match self.0.remove(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("remove the file", path)(error)),
            _ => Ok(()),
        }
    }

    /// Makes the names in a directory durable.
    pub fn sync_dir(&self, path: &Path) -> Result<(), StorageError> {
        self.0.sync_dir(path).map_err(failed("sync the directory", path))
    }

    /// Takes the exclusive lock of a file, made if absent.
    pub fn lock(&self, path: &Path) -> Result<DiskLock, StorageError> {
        match self.0.lock(path) {
            Ok(held) => Ok(DiskLock { _held: held }),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                Err(StorageError::InUse { path: path.to_path_buf() })
            }
            Err(error) => Err(failed("lock the file", path)(error)),
        }
    }
}

impl fmt::Debug for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Disk")
    }
}

impl fmt::Debug for DiskLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DiskLock")
    }
}

impl fmt::Debug for DiskFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DiskFile({})", self.path.display())
    }
}

impl DiskFile {
    /// The name under which the file was opened, or the one given since by [`DiskFile::rename`].
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Gives the file another name in the same directory, replacing what had it.
    pub fn rename(&mut self, disk: &Disk, to: &Path) -> Result<(), StorageError> {
        disk.rename(&self.path, to)?;
        self.path = to.to_path_buf();
        Ok(())
    }

    /// The length in bytes.
    #[allow(clippy::len_without_is_empty, reason = "nobody asks whether a file is empty")]
    pub fn len(&self) -> Result<u64, StorageError> {
        self.file.len().map_err(failed("measure the file", &self.path))
    }

    /// Fills the buffer from this offset; an end of file before that is damage.
    pub fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), StorageError> {
        let read = self.file.read_at(offset, buffer).map_err(|error| self.failed_at("read", offset, error))?;
        if read < buffer.len() {
            return Err(StorageError::damaged(&self.path, offset + read as u64, "the file ends here"));
        }
        Ok(())
    }

    /// The whole content.
    pub fn read_all(&self) -> Result<Vec<u8>, StorageError> {
        let len = self.len()?;
        let mut content = vec![0; usize::try_from(len).unwrap_or(usize::MAX)];
        self.read_at(0, &mut content)?;
        Ok(content)
    }

    /// Writes all bytes from this offset on.
    pub fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), StorageError> {
        self.file.write_at(offset, bytes).map_err(|error| self.failed_at("write", offset, error))
    }

    /// Makes content and length durable; `from` is where what was not durable begins, for the error.
    pub fn sync_from(&self, from: u64) -> Result<(), StorageError> {
        self.file.sync().map_err(|error| self.failed_at("sync", from, error))
    }

    /// Makes content and length of a new file durable.
    pub fn sync(&self) -> Result<(), StorageError> {
        self.sync_from(0)
    }

    /// From now on writes go past the operating system's cache where that can be, and are whole blocks: see
    /// [`VolumeFile::bypass_cache`]. A write and its sync take a fifth less time then, and a quarter less of the processor's.
    pub fn bypass_cache(&self) -> Result<bool, StorageError> {
        self.file.bypass_cache().map_err(failed("open past the cache the file", &self.path))
    }

    /// Reserves space for this many bytes and makes that the length.
    pub fn allocate(&self, len: u64) -> Result<(), StorageError> {
        self.file.allocate(len).map_err(failed("reserve space for the file", &self.path))
    }

    /// Gives up what is behind this length; a file that is not longer stays as it is.
    pub fn shrink(&self, len: u64) -> Result<(), StorageError> {
        self.file.shrink(len).map_err(|error| self.failed_at("free the space", len, error))
    }

    fn failed_at(&self, action: &'static str, offset: u64, source: io::Error) -> StorageError {
        StorageError::Io { action, path: self.path.clone(), offset: Some(offset), source: Arc::new(source) }
    }
}

/// The directory that holds a path's last name.
pub(super) fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => path,
    }
}

fn failed<'a>(action: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> StorageError + 'a {
    move |source| StorageError::Io { action, path: path.to_path_buf(), offset: None, source: Arc::new(source) }
}

/// The one place that uses `std::fs`.
struct System;

#[allow(clippy::disallowed_methods, reason = "this is the seam")]
mod system {
    use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
    use std::io;
    use std::os::fd::AsRawFd;
    use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
    use std::path::Path;

    use super::{BlockBuffer, System, Volume, VolumeFile};

    const DIRECTORY_MODE: u32 = 0o700;
    const FILE_MODE: u32 = 0o600;

    impl Volume for System {
        fn create_dir(&self, path: &Path) -> io::Result<()> {
            DirBuilder::new().mode(DIRECTORY_MODE).create(path)
        }

        fn list_dir(&self, path: &Path) -> io::Result<Vec<String>> {
            fs::read_dir(path)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
        }

        fn create(&self, path: &Path) -> io::Result<Box<dyn VolumeFile>> {
            let mut options = OpenOptions::new();
            let file = options.read(true).write(true).create(true).truncate(true).mode(FILE_MODE).open(path)?;
            Ok(Box::new(file))
        }

        fn open(&self, path: &Path) -> io::Result<Box<dyn VolumeFile>> {
            Ok(Box::new(OpenOptions::new().read(true).write(true).open(path)?))
        }

        fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
            fs::rename(from, to)
        }

        fn remove(&self, path: &Path) -> io::Result<()> {
            fs::remove_file(path)
        }

        fn sync_dir(&self, path: &Path) -> io::Result<()> {
            File::open(path)?.sync_all()
        }

        fn lock(&self, path: &Path) -> io::Result<Box<dyn Send + Sync>> {
            let mut options = OpenOptions::new();
            let file = options.write(true).create(true).truncate(false).mode(FILE_MODE).open(path)?;
            match file.try_lock() {
                Ok(()) => Ok(Box::new(file)),
                Err(TryLockError::WouldBlock) => Err(io::ErrorKind::WouldBlock.into()),
                Err(TryLockError::Error(error)) => Err(error),
            }
        }
    }

    fn go_past_cache(file: &File, past: bool) -> io::Result<()> {
        // SAFETY: the descriptor is open for as long as `file`, and the call touches no memory of ours.
        let flags = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_GETFL) };
        if flags == -1 {
            return Err(io::Error::last_os_error());
        }
        let flags = if past { flags | libc::O_DIRECT } else { flags & !libc::O_DIRECT };
        // SAFETY: as above.
        match unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETFL, flags) } {
            -1 => Err(io::Error::last_os_error()),
            _ => Ok(()),
        }
    }

    impl VolumeFile for File {
        fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
            let mut filled = 0;
            while filled < buffer.len() {
                match FileExt::read_at(self, &mut buffer[filled..], offset + filled as u64) {
                    Ok(0) => break,
                    Ok(read) => filled += read,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(error),
                }
            }
            Ok(filled)
        }

        fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
            self.write_all_at(bytes, offset)
        }

        fn sync(&self) -> io::Result<()> {
            self.sync_data()
        }

        fn bypass_cache(&self) -> io::Result<bool> {
            // Some file systems refuse the flag, some take it and refuse what is asked for under it.
            let read = || VolumeFile::read_at(self, 0, &mut BlockBuffer::new(1));
            match go_past_cache(self, true).and_then(|()| read()) {
                Ok(_) => Ok(true),
                Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
                    go_past_cache(self, false)?;
                    Ok(false)
                }
                Err(error) => Err(error),
            }
        }

        fn len(&self) -> io::Result<u64> {
            Ok(self.metadata()?.len())
        }

        fn shrink(&self, len: u64) -> io::Result<()> {
            if VolumeFile::len(self)? > len { self.set_len(len) } else { Ok(()) }
        }

        fn allocate(&self, len: u64) -> io::Result<()> {
            let signed = libc::off_t::try_from(len).map_err(|_| io::ErrorKind::FileTooLarge)?;
            loop {
                // SAFETY: the descriptor is open for as long as `self`, and the call touches no memory of ours.
                if unsafe { libc::fallocate(self.as_raw_fd(), 0, 0, signed) } == 0 {
                    return Ok(());
                }
                let error = io::Error::last_os_error();
                match error.raw_os_error() {
                    Some(libc::EINTR) => {}
                    // The file system cannot reserve: the length alone, and running out of space shows when writing.
                    Some(libc::EOPNOTSUPP) => return self.set_len(len),
                    _ => return Err(error),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_real_disk_keeps_its_contract() {
        let temporary = tempfile::tempdir().unwrap();
        let disk = Disk::system();
        let dir = temporary.path().join("a/b");
        assert_eq!(disk.list_dir(&dir).unwrap(), None);
        disk.create_dir(&dir).unwrap();
        disk.create_dir(&dir).unwrap();

        let mut file = disk.create(&dir.join("x")).unwrap();
        file.allocate(8192).unwrap();
        file.write_at(4096, b"pontoon").unwrap();
        file.sync().unwrap();
        file.rename(&disk, &dir.join("y")).unwrap();
        disk.sync_dir(&dir).unwrap();
        assert_eq!(disk.list_dir(&dir).unwrap(), Some(vec!["y".to_owned()]));
        assert!(disk.open(&dir.join("x")).unwrap().is_none());

        let content = disk.open(&dir.join("y")).unwrap().unwrap().read_all().unwrap();
        assert_eq!((content.len(), &content[4096..4103]), (8192, &b"pontoon"[..]));
        let error = file.read_at(8190, &mut [0; 4]).unwrap_err();
        assert!(error.to_string().contains("y: damaged at byte 8192"), "{error}");
    }

    #[test]
    fn what_is_written_past_the_cache_is_read_through_it() {
        let temporary = tempfile::tempdir().unwrap();
        let (disk, path) = (Disk::system(), temporary.path().join("x"));
        let file = disk.create(&path).unwrap();
        file.allocate(4 * BLOCK_BYTES as u64).unwrap();
        file.write_at(0, &[1; 4 * BLOCK_BYTES]).unwrap();
        let bypasses = file.bypass_cache().unwrap();
        let mut blocks = BlockBuffer::new(2);
        blocks.fill(2);
        assert_eq!((blocks.len(), blocks.as_ptr().addr() % BLOCK_BYTES), (2 * BLOCK_BYTES, 0));
        file.write_at(BLOCK_BYTES as u64, &blocks).unwrap();
        file.sync().unwrap();
        let content = disk.open(&path).unwrap().unwrap().read_all().unwrap();
        let firsts: Vec<u8> = content.iter().step_by(BLOCK_BYTES).copied().collect();
        assert_eq!(firsts, [1, 2, 2, 1]);
        // What half a block says depends on the file system; that it is told apart does not.
        assert!(!bypasses || file.write_at(1, &blocks[..100]).is_err());
    }

    #[test]
    fn a_file_of_any_size_can_be_removed_a_little_at_a_time() {
        let temporary = tempfile::tempdir().unwrap();
        let (disk, path) = (Disk::system(), temporary.path().join("x"));
        disk.remove_piecemeal(&path).unwrap();
        for len in [0, 1, FREED_BYTES, 3 * FREED_BYTES + 1] {
            disk.create(&path).unwrap().write_at(0, &vec![7; usize::try_from(len).unwrap()]).unwrap();
            disk.remove_piecemeal(&path).unwrap();
            assert!(disk.open(&path).unwrap().is_none(), "{len}");
        }
        let file = disk.create(&path).unwrap();
        file.write_at(0, b"pontoon").unwrap();
        file.shrink(9).unwrap();
        file.shrink(4).unwrap();
        assert_eq!(file.read_all().unwrap(), b"pont");
    }

    #[test]
    fn a_lock_has_one_holder() {
        let temporary = tempfile::tempdir().unwrap();
        let path = temporary.path().join("LOCK");
        let held = Disk::system().lock(&path).unwrap();
        assert!(matches!(Disk::system().lock(&path), Err(StorageError::InUse { .. })));
        drop(held);
        Disk::system().lock(&path).unwrap();
    }
}
