//! What is known of a socket's readable side, and one read of it: the same for clients and nodes.
//!
//! Sockets are told once when they become readable, so it is remembered until a read found nothing more. A read that brought less than
//! there was room for brought all there was, unless the end is behind it. Invariant: who found nothing knows of nothing, the
//! end included; what was told of a socket that is closed by now would else stick to the next one in its place.

use std::io::{Error, ErrorKind};
use std::os::fd::AsRawFd;

use crate::net::readiness::{Ready, receive};

/// Whether there is something to read.
#[derive(Debug, Default)]
pub struct Inflow {
    /// There may be bytes, or the end.
    readable: bool,
    /// The end is there to be read.
    ended: bool,
}

/// What a read found.
#[derive(Debug)]
pub enum Inflowing {
    /// So many bytes.
    Bytes(usize),
    /// Nothing now.
    Nothing,
    /// Nothing ever again.
    End,
    /// The connection broke.
    Broken(Error),
}

impl Inflow {
    /// Notes what was told of the socket, that it is readable among it.
    #[inline]
    pub const fn told(&mut self, ready: Ready) {
        self.readable = true;
        self.ended |= ready.ended;
    }

    /// Whether a read may find something.
    #[inline]
    pub const fn is_readable(&self) -> bool {
        self.readable
    }

    /// Reads once.
    #[inline]
    pub fn read(&mut self, socket: &impl AsRawFd, buffer: &mut [u8]) -> Inflowing {
        loop {
            return match receive(socket, buffer) {
                Ok(0) => {
                    self.readable = false;
                    Inflowing::End
                }
                Ok(count) => {
                    self.readable = count == buffer.len() || self.ended;
                    Inflowing::Bytes(count)
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    *self = Self::default();
                    Inflowing::Nothing
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => Inflowing::Broken(error),
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::net::UnixStream;

    use super::*;

    const READABLE: Ready = Ready { token: 0, readable: true, writable: false, ended: false };
    const ENDED: Ready = Ready { ended: true, ..READABLE };

    fn pair() -> (UnixStream, UnixStream) {
        let (here, there) = UnixStream::pair().unwrap();
        here.set_nonblocking(true).unwrap();
        (here, there)
    }

    #[test]
    fn a_short_read_was_the_last_one_unless_the_end_is_there() {
        let (here, mut there) = pair();
        let (mut inflow, mut buffer) = (Inflow::default(), [0; 8]);
        there.write_all(b"12345678abc").unwrap();
        inflow.told(READABLE);
        assert!(matches!(inflow.read(&here, &mut buffer), Inflowing::Bytes(8)));
        assert!(inflow.is_readable());
        assert!(matches!(inflow.read(&here, &mut buffer), Inflowing::Bytes(3)));
        assert!(!inflow.is_readable());
        there.write_all(b"x").unwrap();
        drop(there);
        inflow.told(ENDED);
        assert!(matches!(inflow.read(&here, &mut buffer), Inflowing::Bytes(1)));
        assert!(inflow.is_readable(), "the end is told once, and was told already");
        assert!(matches!(inflow.read(&here, &mut buffer), Inflowing::End));
        assert!(!inflow.is_readable());
    }

    #[test]
    fn the_end_of_a_socket_that_had_this_place_before_is_forgotten() {
        let (here, mut there) = pair();
        let (mut inflow, mut buffer) = (Inflow::default(), [0; 8]);
        inflow.told(ENDED);
        assert!(matches!(inflow.read(&here, &mut buffer), Inflowing::Nothing));
        there.write_all(b"abc").unwrap();
        inflow.told(READABLE);
        assert!(matches!(inflow.read(&here, &mut buffer), Inflowing::Bytes(3)));
        assert!(!inflow.is_readable(), "else every read would be followed by one that finds nothing");
    }
}
