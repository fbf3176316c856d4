//! A transaction on its way from a client's connection to its shard, and in that shard's log: which keys were watched at
//! which versions, then the requests.
//!
//! Little endian: `u32 watched keys`, for each `u64 version | u32 length | key`; then the requests as canonical RESP
//! arrays, one after the other, to the end.
//!
//! Invariant: what [`split`] returns is well-formed to the last byte, so that nobody finds a mistake half-way.

use super::request::{Span, parse_first};

/// Bytes that are no transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed transaction")]
pub struct Malformed;

/// A well-formed transaction.
#[derive(Clone, Copy, Debug)]
pub struct Transaction<'a> {
    watched: &'a [u8],
    requests: &'a [u8],
    count: usize,
}

/// Appends a transaction; `requests` are canonical requests, one after the other.
pub fn put<'a>(out: &mut Vec<u8>, watched: impl ExactSizeIterator<Item = (&'a [u8], u64)>, requests: &[u8]) {
    out.extend_from_slice(&(watched.len() as u32).to_le_bytes());
    for (key, version) in watched {
        out.extend_from_slice(&version.to_le_bytes());
        out.extend_from_slice(&(key.len() as u32).to_le_bytes());
        out.extend_from_slice(key);
    }
    out.extend_from_slice(requests);
}

/// Reads a transaction that fills `bytes`. `spans` is room to work in.
///
/// # Errors
/// It is none.
pub fn split<'a>(bytes: &'a [u8], spans: &mut Vec<Span>) -> Result<Transaction<'a>, Malformed> {
    let (watched_count, rest) = bytes.split_first_chunk().ok_or(Malformed)?;
    let mut requests = rest;
    for _ in 0..u32::from_le_bytes(*watched_count) {
        (_, requests) = split_watched(requests).ok_or(Malformed)?;
    }
    let watched = &rest[..rest.len() - requests.len()];
    let (mut unread, mut count) = (requests, 0);
    while !unread.is_empty() {
        let end = parse_first(unread, spans).map_err(|_| Malformed)?;
        unread = &unread[end..];
        count += 1;
    }
    Ok(Transaction { watched, requests, count })
}

impl<'a> Transaction<'a> {
    /// The watched keys and their versions.
    pub fn watched(&self) -> impl Iterator<Item = (&'a [u8], u64)> + use<'a> {
        let mut rest = self.watched;
        std::iter::from_fn(move || {
            let (watched, after) = split_watched(rest)?;
            rest = after;
            Some(watched)
        })
    }

    /// How many requests there are.
    pub const fn count(&self) -> usize {
        self.count
    }

    /// The requests, to be read with [`next_request`].
    pub const fn requests(&self) -> &'a [u8] {
        self.requests
    }
}

/// Cuts the first request off `rest` and replaces `spans` by where its arguments lie in it.
pub fn next_request<'a>(rest: &mut &'a [u8], spans: &mut Vec<Span>) -> Option<&'a [u8]> {
    let end = if rest.is_empty() { None } else { parse_first(rest, spans).ok() }?;
    let (request, after) = rest.split_at(end);
    *rest = after;
    Some(request)
}

type Watched<'a> = (&'a [u8], u64);

fn split_watched(bytes: &[u8]) -> Option<(Watched<'_>, &[u8])> {
    let (version, rest) = bytes.split_first_chunk()?;
    let (length, rest) = rest.split_first_chunk()?;
    let (key, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
    Some(((key, u64::from_le_bytes(*version)), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GET: &[u8] = b"*2\r\n$3\r\nGET\r\n$1\r\na\r\n";
    const PING: &[u8] = b"*1\r\n$4\r\nPING\r\n";

    fn example() -> Vec<u8> {
        let mut bytes = Vec::new();
        put(&mut bytes, [(&b"a"[..], 7), (b"", u64::MAX)].into_iter(), &[GET, PING].concat());
        bytes
    }

    #[test]
    fn a_transaction_reads_back_what_was_written() {
        let (bytes, mut spans) = (example(), Vec::new());
        let transaction = split(&bytes, &mut spans).unwrap();
        assert_eq!(transaction.watched().collect::<Vec<_>>(), [(&b"a"[..], 7), (b"", u64::MAX)]);
        assert_eq!(transaction.count(), 2);
        let mut rest = transaction.requests();
        assert_eq!(next_request(&mut rest, &mut spans), Some(GET));
        assert_eq!(spans.len(), 2);
        assert_eq!(next_request(&mut rest, &mut spans), Some(PING));
        assert_eq!(next_request(&mut rest, &mut spans), None);
        assert_eq!(split(&[0; 4], &mut spans).unwrap().count(), 0);
    }

    #[test]
    fn what_is_cut_or_goes_on_is_no_transaction() {
        let (bytes, mut spans) = (example(), Vec::new());
        let whole_without_ping = bytes.len() - PING.len();
        let whole_without_requests = whole_without_ping - GET.len();
        for cut in 0..bytes.len() {
            let is_whole = cut == whole_without_ping || cut == whole_without_requests;
            assert_eq!(split(&bytes[..cut], &mut spans).is_ok(), is_whole, "cut at {cut}");
        }
        assert_eq!(split(&[&bytes[..], b"x"].concat(), &mut spans).err(), Some(Malformed));
        assert_eq!(split(&[0xff; 12], &mut spans).err(), Some(Malformed));
    }
}
