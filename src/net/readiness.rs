//! Which sockets are ready: the kernel's epoll, for a thread that is one loop over many sockets, and the two calls such a loop
//! makes for every request.
//!
//! A runtime with a task per connection costs more than what is done between reading and writing (`ARCHITECTURE.md`, "What was
//! tried for speed"). Invariant of whoever uses this: a socket is told once when it becomes ready (edge-triggered), so it
//! is remembered as readable until a read found nothing more, and as blocked until it is told writable.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::Duration;

/// As many sockets are told at once.
const EVENTS_MAX: usize = 1024;

/// What happened to a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ready {
    /// What the socket is called.
    pub token: u64,
    /// There may be something to read, or its end.
    pub readable: bool,
    /// It takes bytes again, or for the first time.
    pub writable: bool,
    /// The other side sends nothing more, or the connection broke: there is an end to be read.
    pub ended: bool,
}

/// The sockets that one thread waits for.
pub struct Readiness {
    epoll: OwnedFd,
    events: Vec<libc::epoll_event>,
}

impl Readiness {
    /// Waits for nothing yet.
    ///
    /// # Errors
    /// The system has no descriptor to give.
    pub fn new() -> io::Result<Self> {
        // SAFETY: takes no memory; the descriptor is nobody else's.
        let epoll = unsafe {
            match libc::epoll_create1(libc::EPOLL_CLOEXEC) {
                -1 => return Err(io::Error::last_os_error()),
                fd => OwnedFd::from_raw_fd(fd),
            }
        };
        Ok(Self { epoll, events: Vec::with_capacity(EVENTS_MAX) })
    }

    /// Waits for this socket too, until it is closed.
    ///
    /// # Errors
    /// The system refuses.
    pub fn watch(&self, socket: &impl AsRawFd, token: u64) -> io::Result<()> {
        let interest = libc::EPOLLIN | libc::EPOLLOUT | libc::EPOLLRDHUP | libc::EPOLLET;
        let mut event = libc::epoll_event { events: interest as u32, u64: token };
        // SAFETY: the event lives through the call, and the kernel checks the descriptors.
        let result =
            unsafe { libc::epoll_ctl(self.epoll.as_raw_fd(), libc::EPOLL_CTL_ADD, socket.as_raw_fd(), &raw mut event) };
        if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    /// Waits until something is ready, so long at most, in steps of a millisecond; returns how many [`Self::ready`] there are.
    ///
    /// # Errors
    /// Only if the descriptor is none of ours.
    pub fn wait(&mut self, at_most: Duration) -> io::Result<usize> {
        let milliseconds = at_most.as_micros().div_ceil(1000).min(i32::MAX as u128) as i32;
        self.events.clear();
        // SAFETY: the vector has room for as many events as it says, and as many as are returned were written.
        unsafe {
            let (epoll, room) = (self.epoll.as_raw_fd(), self.events.capacity() as i32);
            let count = libc::epoll_wait(epoll, self.events.as_mut_ptr(), room, milliseconds);
            let Ok(count) = usize::try_from(count) else {
                let error = io::Error::last_os_error();
                return if error.kind() == io::ErrorKind::Interrupted { Ok(0) } else { Err(error) };
            };
            self.events.set_len(count);
        }
        Ok(self.events.len())
    }

    /// One of those that the last wait found.
    #[inline]
    pub fn ready(&self, at: usize) -> Ready {
        let libc::epoll_event { events, u64: token } = self.events[at];
        let ended = events & (libc::EPOLLRDHUP | libc::EPOLLHUP | libc::EPOLLERR) as u32 != 0;
        let readable = ended || events & libc::EPOLLIN as u32 != 0;
        let writable = ended || events & libc::EPOLLOUT as u32 != 0;
        Ready { token, readable, writable, ended }
    }
}

/// Ends the wait of another thread.
#[derive(Debug)]
pub struct Bell(OwnedFd);

impl Bell {
    /// A bell that has not been rung.
    ///
    /// # Errors
    /// The system has no descriptor to give.
    pub fn new() -> io::Result<Self> {
        // SAFETY: takes no memory; the descriptor is nobody else's.
        unsafe {
            match libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) {
                -1 => Err(io::Error::last_os_error()),
                fd => Ok(Self(OwnedFd::from_raw_fd(fd))),
            }
        }
    }

    /// Rings. Each ring is told, so nothing has to be read.
    pub fn ring(&self) {
        let once = 1_u64;
        // SAFETY: eight bytes are read from a number that lives through the call. It fails after 2^64 rings.
        unsafe { libc::write(self.0.as_raw_fd(), (&raw const once).cast(), size_of::<u64>()) };
    }
}

impl AsRawFd for Bell {
    fn as_raw_fd(&self) -> i32 {
        self.0.as_raw_fd()
    }
}

fn counted(result: libc::c_long) -> io::Result<usize> {
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}

/// Reads what a socket has. By the kernel's own number, without what the C library does at each call so that a thread could be cancelled
/// in it.
///
/// # Errors
/// Those of `recv(2)`.
#[inline]
pub fn receive(socket: &impl AsRawFd, buffer: &mut [u8]) -> io::Result<usize> {
    let nobody = std::ptr::null::<libc::c_void>();
    // SAFETY: the kernel writes at most as many bytes as the buffer has.
    counted(unsafe {
        libc::syscall(libc::SYS_recvfrom, socket.as_raw_fd(), buffer.as_mut_ptr(), buffer.len(), 0, nobody, nobody)
    })
}

/// Sends what a socket takes, without a signal if the other side is gone. As [`receive`].
///
/// # Errors
/// Those of `send(2)`.
#[inline]
pub fn send(socket: &impl AsRawFd, bytes: &[u8]) -> io::Result<usize> {
    let nobody = std::ptr::null::<libc::c_void>();
    // SAFETY: the kernel reads at most as many bytes as the slice has.
    counted(unsafe {
        libc::syscall(
            libc::SYS_sendto,
            socket.as_raw_fd(),
            bytes.as_ptr(),
            bytes.len(),
            libc::MSG_NOSIGNAL,
            nobody,
            0_usize,
        )
    })
}

#[cfg(test)]
mod tests {
    use std::io::{ErrorKind, Read, Write};
    use std::net::{TcpListener, TcpStream};

    use super::*;

    const LONG: Duration = Duration::from_secs(20);

    fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let here = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let there = listener.accept().unwrap().0;
        here.set_nonblocking(true).unwrap();
        (here, there)
    }

    #[test]
    fn bytes_and_the_end_are_told_once() {
        let (here, mut there) = pair();
        let mut readiness = Readiness::new().unwrap();
        readiness.watch(&here, 7).unwrap();
        assert_eq!(readiness.wait(LONG).unwrap(), 1, "it takes bytes");
        assert_eq!(readiness.ready(0), Ready { token: 7, readable: false, writable: true, ended: false });
        there.write_all(b"abc").unwrap();
        assert_eq!(readiness.wait(LONG).unwrap(), 1);
        assert!(readiness.ready(0).readable && !readiness.ready(0).ended);
        assert_eq!(readiness.wait(Duration::ZERO).unwrap(), 0, "nothing new");
        let mut buffer = [0; 8];
        assert_eq!(receive(&here, &mut buffer).unwrap(), 3);
        assert_eq!(receive(&here, &mut buffer).unwrap_err().kind(), ErrorKind::WouldBlock);
        drop(there);
        assert_eq!(readiness.wait(LONG).unwrap(), 1);
        assert!(readiness.ready(0).ended);
        assert_eq!(receive(&here, &mut buffer).unwrap(), 0);
    }

    #[test]
    fn a_socket_that_was_full_is_told_when_it_takes_more() {
        let (here, mut there) = pair();
        let mut readiness = Readiness::new().unwrap();
        readiness.watch(&here, 1).unwrap();
        readiness.wait(LONG).unwrap();
        let piece = vec![b'x'; 1 << 20];
        let mut sent = 0;
        while let Ok(count) = send(&here, &piece) {
            sent += count;
            if count < piece.len() {
                break;
            }
        }
        assert_eq!(readiness.wait(Duration::ZERO).unwrap(), 0);
        let reader = std::thread::spawn(move || {
            std::io::copy(&mut Read::by_ref(&mut there).take(sent as u64), &mut std::io::sink())
        });
        assert_eq!(readiness.wait(LONG).unwrap(), 1);
        assert!(readiness.ready(0).writable);
        assert_eq!(reader.join().unwrap().unwrap(), sent as u64);
    }

    #[test]
    fn each_ring_of_a_bell_ends_a_wait() {
        let bell = std::sync::Arc::new(Bell::new().unwrap());
        let mut readiness = Readiness::new().unwrap();
        readiness.watch(&*bell, 3).unwrap();
        // It can always be rung, which is told at first.
        readiness.wait(Duration::ZERO).unwrap();
        for _ in 0..2 {
            assert_eq!(readiness.wait(Duration::ZERO).unwrap(), 0);
            let other = bell.clone();
            let ringer = std::thread::spawn(move || other.ring());
            assert_eq!(readiness.wait(LONG).unwrap(), 1);
            assert!(readiness.ready(0).readable);
            ringer.join().unwrap();
        }
    }

    #[test]
    fn a_broken_connection_is_an_error_and_no_signal() {
        let (here, there) = pair();
        drop(there);
        let broken = (0..1000).find_map(|_| {
            std::thread::yield_now();
            send(&here, b"x").err()
        });
        assert!(matches!(broken.map(|error| error.kind()), Some(ErrorKind::BrokenPipe | ErrorKind::ConnectionReset)));
    }
}
