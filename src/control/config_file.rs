//! Reading an operator's `shards.toml`: one bounded read that no kind of file can hang or blow up. And replacing it whole, for the
//! commands that edit it: nobody who reads it meets a half of it, and a crash leaves the old or the new one.

use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::os_reason;
use crate::topology::config::FILE_BYTES_MAX;
use crate::topology::{ConfigError, ShardsConfig, ShardsFile};

/// What one look at the file's path found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sight {
    /// Its bytes; one more than [`FILE_BYTES_MAX`] of a file that is too large.
    Bytes(Vec<u8>),
    /// No file.
    Missing,
    /// Something that cannot be read, and why.
    Unreadable(String),
}

/// Looks at the path once. Never waits for a writer and never reads more than a config may have.
pub fn look(path: &Path) -> Sight {
    read_bounded(path).unwrap_or_else(|error| match error.kind() {
        std::io::ErrorKind::NotFound => Sight::Missing,
        _ => Sight::Unreadable(os_reason(&error)),
    })
}

/// Reads and validates the file of a cluster.
///
/// # Errors
/// The one error of the file, or why it cannot be read, or that it is a file of Redis shards.
pub fn load(path: &Path) -> Result<ShardsConfig, ConfigError> {
    load_any(path)?.cluster(&path.display().to_string())
}

/// Reads and validates a file of either kind.
///
/// # Errors
/// The one error of the file, or why it cannot be read.
pub fn load_any(path: &Path) -> Result<ShardsFile, ConfigError> {
    let file = path.display().to_string();
    match look(path) {
        Sight::Bytes(bytes) => ShardsFile::parse_bytes(&bytes, &file),
        Sight::Missing => Err(ConfigError::unreadable(&file, "there is no such file")),
        Sight::Unreadable(reason) => Err(ConfigError::unreadable(&file, &reason)),
    }
}

/// Puts `text` in the place of the file, which says `known` still: durable when it returns. A link stays one.
///
/// # Errors
/// What the system says, or that somebody else has edited the file; it is as it was.
#[allow(
    clippy::disallowed_methods,
    reason = "the operator's file is no state of ours: it is written here and nowhere else"
)]
pub fn replace(path: &Path, known: &str, text: &str) -> Result<(), ConfigError> {
    let failed = |error: std::io::Error| ConfigError::unwritable(&path.display().to_string(), &os_reason(&error));
    if look(path) != Sight::Bytes(known.as_bytes().to_vec()) {
        return Err(ConfigError::unwritable(&path.display().to_string(), "somebody else has edited it meanwhile"));
    }
    let place = path.canonicalize().map_err(failed)?;
    let directory = place.parent().unwrap_or_else(|| Path::new("/"));
    let name = place.file_name().unwrap_or_default().to_string_lossy();
    let fresh = directory.join(format!(".{name}.{}", std::process::id()));
    let write = || {
        let mode = std::fs::metadata(&place)?.permissions();
        let mut file = std::fs::File::options().write(true).create_new(true).open(&fresh)?;
        file.write_all(text.as_bytes())?;
        file.set_permissions(mode)?;
        file.sync_all()?;
        std::fs::rename(&fresh, &place)?;
        std::fs::File::open(directory)?.sync_all()
    };
    write().map_err(|error| {
        let _ = std::fs::remove_file(&fresh);
        failed(error)
    })
}

#[allow(
    clippy::disallowed_methods,
    reason = "the operator's file is no state of ours: it is read here and nowhere else"
)]
fn read_bounded(path: &Path) -> std::io::Result<Sight> {
    // Without O_NONBLOCK, opening a pipe would wait for somebody to write to it.
    let file = std::fs::File::options().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
    let kind = file.metadata()?.file_type();
    if kind.is_dir() {
        return Ok(Sight::Unreadable("it is a directory".to_owned()));
    }
    if !kind.is_file() {
        return Ok(Sight::Unreadable("it is not a regular file".to_owned()));
    }
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX as u64 + 1).read_to_end(&mut bytes)?;
    Ok(Sight::Bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_whole_and_only_if_it_is_the_known_one() {
        let home = tempfile::tempdir().unwrap();
        let (file, link) = (home.path().join("real.toml"), home.path().join("shards.toml"));
        std::fs::write(&file, "one").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o640)).unwrap();
        replace(&link, "one", "two").unwrap();
        assert_eq!((look(&link), look(&file)), (Sight::Bytes(b"two".to_vec()), Sight::Bytes(b"two".to_vec())));
        assert!(link.is_symlink());
        let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&file).unwrap().permissions());
        assert_eq!(mode & 0o777, 0o640);
        let error = replace(&link, "one", "three").unwrap_err().to_string();
        assert_eq!(error, format!("{}: cannot be written: somebody else has edited it meanwhile", link.display()));
        let names: Vec<_> = std::fs::read_dir(home.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!((names.len(), look(&file)), (2, Sight::Bytes(b"two".to_vec())));
    }

    #[test]
    fn what_is_not_a_file_is_said_and_does_not_hang() {
        let home = tempfile::tempdir().unwrap();
        let at = |name: &str| home.path().join(name);
        std::os::unix::fs::symlink(at("loop"), at("loop")).unwrap();
        let pipe = std::ffi::CString::new(at("pipe").to_str().unwrap()).unwrap();
        // SAFETY: the path is a valid C string.
        assert_eq!(unsafe { libc::mkfifo(pipe.as_ptr(), 0o600) }, 0);
        for (path, reason) in [
            (at("missing"), "there is no such file"),
            (at("missing/shards.toml"), "there is no such file"),
            (home.path().to_owned(), "it is a directory"),
            (at("pipe"), "it is not a regular file"),
            ("/dev/zero".into(), "it is not a regular file"),
            (at("loop"), "too many levels of symbolic links"),
        ] {
            let error = load(&path).unwrap_err().to_string();
            assert_eq!(error, format!("{}: cannot be read: {reason}", path.display()));
        }
        std::fs::write(at("large"), vec![b'#'; 3 << 20]).unwrap();
        assert_eq!(look(&at("large")), Sight::Bytes(vec![b'#'; FILE_BYTES_MAX + 1]));
        assert!(load(&at("large")).unwrap_err().to_string().ends_with(":1:1: the file has more than 1048576 bytes"));
    }
}
