//! The one error of a file: `FILE:LINE:COLUMN: rule`, as `pontoon check` prints it and logs carry it.

use std::fmt;

/// A place in a text. Columns count characters; both start at 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The line.
    pub line: usize,
    /// The character in the line.
    pub column: usize,
}

impl Place {
    /// The place of the byte at `offset`. A byte order mark at the start has no column of its own.
    pub fn of(text: &str, offset: usize) -> Self {
        let mut end = offset.min(text.len());
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        let before = &text[..end];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let line = before.bytes().filter(|b| *b == b'\n').count() + 1;
        let column = before[line_start..].trim_start_matches('\u{feff}').chars().count() + 1;
        Self { line, column }
    }
}

/// The first rule that a file breaks.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct ConfigError {
    /// The file as it was named.
    pub file: String,
    /// Where; none when there was no text to look at.
    pub place: Option<Place>,
    /// The rule that it breaks.
    pub rule: String,
}

impl ConfigError {
    /// A broken rule at a place of the file.
    pub fn at(file: &str, place: Place, rule: String) -> Self {
        Self { file: file.to_owned(), place: Some(place), rule }
    }

    /// A file that could not be read.
    pub fn unreadable(file: &str, reason: &str) -> Self {
        Self { file: file.to_owned(), place: None, rule: format!("cannot be read: {reason}") }
    }

    /// A file that could not be replaced.
    pub fn unwritable(file: &str, reason: &str) -> Self {
        Self { file: file.to_owned(), place: None, rule: format!("cannot be written: {reason}") }
    }

    /// A file that is too large to be one.
    pub fn too_large(file: &str) -> Self {
        let rule = format!("the file has more than {} bytes", super::FILE_BYTES_MAX);
        Self::at(file, Place { line: 1, column: 1 }, rule)
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.place {
            Some(Place { line, column }) => write!(f, "{}:{line}:{column}: {}", self.file, self.rule),
            None => write!(f, "{}: {}", self.file, self.rule),
        }
    }
}
