//! Small JSON documents that are replaced whole: after a crash either the old one is there or the new one.
//!
//! The last line holds a checksum of all before it, so that a damaged document is an error and never half believed. An
//! operator can read one; who edits one must mean it.

use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::disk::{Disk, parent};
use super::error::StorageError;

const CHECKSUM_LABEL: &str = "crc32 ";

/// The document of this name; `None` where there is none.
pub fn read_document<T: DeserializeOwned>(disk: &Disk, path: &Path) -> Result<Option<T>, StorageError> {
    let Some(file) = disk.open(path)? else { return Ok(None) };
    let content = file.read_all()?;
    let json = checked(&content).ok_or_else(|| StorageError::damaged(path, 0, "the checksum of the document"))?;
    let value = serde_json::from_slice(json);
    Ok(Some(value.map_err(|error| StorageError::damaged(path, 0, error.to_string()))?))
}

/// Replaces the document of this name, durably.
///
/// # Panics
/// If the value has no form in JSON (a map whose keys are not texts).
pub fn write_document<T: Serialize>(disk: &Disk, path: &Path, value: &T) -> Result<(), StorageError> {
    let mut content = serde_json::to_vec_pretty(value).expect("documents have a form in JSON");
    content.push(b'\n');
    let last_line = format!("{CHECKSUM_LABEL}{:08x}\n", crc32fast::hash(&content));
    content.extend_from_slice(last_line.as_bytes());
    let mut file = disk.create(&temporary_path(path))?;
    file.write_at(0, &content)?;
    file.sync()?;
    file.rename(disk, path)?;
    disk.sync_dir(parent(path))
}

/// The name of a document while it is written.
pub(super) fn temporary_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".tmp");
    name.into()
}

/// The content without its last line, if that holds its checksum.
fn checked(content: &[u8]) -> Option<&[u8]> {
    let last_line = content.len().checked_sub(CHECKSUM_LABEL.len() + 8 + 1)?;
    let (json, last_line) = content.split_at(last_line);
    let expected = format!("{CHECKSUM_LABEL}{:08x}\n", crc32fast::hash(json));
    (last_line == expected.as_bytes()).then_some(json)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::simulated::SimulatedDisk;

    const PATH: &str = "/note";

    #[test]
    fn a_crash_at_any_step_leaves_the_old_document_or_the_new() {
        let mut seen = [0, 0];
        for seed in 0..300 {
            let machine = SimulatedDisk::new(seed);
            let (disk, path) = (machine.disk(), Path::new(PATH));
            write_document(&disk, path, &vec!["old"]).unwrap();
            machine.stop(1 + seed % 6);
            let outcome = write_document(&disk, path, &vec!["new"]);
            machine.crash();
            let found: Vec<String> = read_document(&disk, path).unwrap().unwrap();
            assert!(found == ["new"] || (found == ["old"] && outcome.is_err()), "seed {seed}: {found:?}");
            seen[usize::from(found == ["new"])] += 1;
        }
        assert!(seen[0] > 20 && seen[1] > 20, "{seen:?}");
    }

    #[test]
    fn every_flip_is_damage() {
        let machine = SimulatedDisk::new(1);
        let (disk, path) = (machine.disk(), Path::new(PATH));
        assert_eq!(read_document::<Vec<u8>>(&disk, path).unwrap(), None);
        write_document(&disk, path, &vec![1, 2, 3]).unwrap();
        for offset in 0..disk.open(path).unwrap().unwrap().len().unwrap() {
            machine.flip(path, offset, 1);
            let error = read_document::<Vec<u8>>(&disk, path).unwrap_err();
            assert!(error.to_string().starts_with("/note: damaged at byte 0"), "{error}");
            machine.flip(path, offset, 1);
        }
        assert_eq!(read_document(&disk, path).unwrap(), Some(vec![1, 2, 3]));
    }
}
