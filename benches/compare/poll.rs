//! Sockets that are ready, and a wait that is exact to the microsecond: what tokio's timers, in steps of 1 ms, cannot give a
//! load of 20,000 requests a second.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::Duration;

const EVENTS_MAX: usize = 256;

pub struct Poll {
    epoll: OwnedFd,
    events: Vec<libc::epoll_event>,
}

/// What happened to the socket of this number.
#[derive(Clone, Copy)]
pub struct Ready {
    pub token: usize,
    pub writable: bool,
}

impl Poll {
    pub fn new() -> io::Result<Self> {
        // SAFETY: takes no memory of ours; the descriptor is nobody else's.
        let epoll = unsafe {
            match libc::epoll_create1(libc::EPOLL_CLOEXEC) {
                -1 => return Err(io::Error::last_os_error()),
                fd => OwnedFd::from_raw_fd(fd),
            }
        };
        Ok(Self { epoll, events: vec![libc::epoll_event { events: 0, u64: 0 }; EVENTS_MAX] })
    }

    pub fn add(&self, socket: &impl AsRawFd, token: usize) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_ADD, socket, token, libc::EPOLLIN)
    }

    /// Whether it is also to be told when the socket takes more.
    pub fn want_writable(&self, socket: &impl AsRawFd, token: usize, wanted: bool) -> io::Result<()> {
        let events = if wanted { libc::EPOLLIN | libc::EPOLLOUT } else { libc::EPOLLIN };
        self.control(libc::EPOLL_CTL_MOD, socket, token, events)
    }

    fn control(&self, what: i32, socket: &impl AsRawFd, token: usize, events: i32) -> io::Result<()> {
        let mut event = libc::epoll_event { events: events as u32, u64: token as u64 };
        // SAFETY: the event lives through the call, and the kernel checks the descriptors.
        let result = unsafe { libc::epoll_ctl(self.epoll.as_raw_fd(), what, socket.as_raw_fd(), &raw mut event) };
        if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    /// Waits for sockets that are ready, so long at most; replaces `ready`.
    pub fn wait(&mut self, at_most: Duration, ready: &mut Vec<Ready>) -> io::Result<()> {
        ready.clear();
        let time = libc::timespec { tv_sec: at_most.as_secs() as i64, tv_nsec: i64::from(at_most.subsec_nanos()) };
        let no_signals: *const libc::sigset_t = std::ptr::null();
        // SAFETY: `events` has room for as many as it says, `time` lives through the call.
        let count = unsafe {
            libc::syscall(
                libc::SYS_epoll_pwait2,
                self.epoll.as_raw_fd(),
                self.events.as_mut_ptr(),
                EVENTS_MAX,
                &raw const time,
                no_signals,
                0_usize,
            )
        };
        let Ok(count) = usize::try_from(count) else {
            let error = io::Error::last_os_error();
            return if error.kind() == io::ErrorKind::Interrupted { Ok(()) } else { Err(error) };
        };
        ready.extend(
            self.events[..count]
                .iter()
                .map(|event| Ready { token: event.u64 as usize, writable: event.events & libc::EPOLLOUT as u32 != 0 }),
        );
        Ok(())
    }
}
