//! A thin, safe `epoll(7)`.
//!
//! Tokens are the caller's. A closed file leaves the set by itself, but an event for it may still be in the
//! batch that [`Epoll::wait`] returned: callers treat every event as a hint and never as a fact.

use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

use restreamer_core::time::{Duration, Instant};

use crate::machine;

/// Most events that one [`Epoll::wait`] returns.
const EVENTS_MAX: usize = 1024;

/// What to be told about a file.
#[derive(Clone, Copy)]
pub enum Interest {
    /// Something can be read, or the other side has hung up; told again and again until it has been read.
    Readable,
    /// Any change: something came to read, room came to write, the other side hung up. Told once per change.
    Edges,
    /// Only that the other side has hung up, once.
    HangUp,
    /// Room to write: how the end of a connect shows itself.
    Writable,
}

impl Interest {
    fn flags(self) -> u32 {
        let flags = match self {
            Interest::Readable => libc::EPOLLIN | libc::EPOLLRDHUP,
            Interest::Edges => libc::EPOLLIN | libc::EPOLLOUT | libc::EPOLLRDHUP | libc::EPOLLET,
            Interest::HangUp => libc::EPOLLRDHUP | libc::EPOLLET,
            Interest::Writable => libc::EPOLLOUT,
        };
        flags as u32
    }
}

/// One event: the token of the file and what may be done with it.
#[derive(Clone, Copy, Debug)]
pub struct Ready {
    /// The token given to [`Epoll::add`].
    pub token: u64,
    /// A read will not block (it may return the end or an error).
    pub readable: bool,
    /// A write may get further.
    pub writable: bool,
    /// The other side closed or the connection broke.
    pub hung_up: bool,
}

/// A set of files and the events of the last wait.
pub struct Epoll {
    fd: OwnedFd,
    events: Vec<libc::epoll_event>,
}

impl Epoll {
    /// An empty set.
    pub fn new() -> io::Result<Epoll> {
        // SAFETY: the call takes no pointers.
        let fd = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: `fd` is a new descriptor that nobody else owns.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(Epoll { fd, events: Vec::with_capacity(EVENTS_MAX) })
    }

    /// Waits until something happens or `until` is reached, and keeps the events for [`Epoll::ready`]. A moment
    /// that is past polls without sleeping; `None` waits for ever. A signal ends the wait with no events.
    pub fn wait(&mut self, until: Option<Instant>) -> io::Result<usize> {
        let timeout = until.map(|until| timespec(until.saturating_since(machine::now())));
        let timeout = timeout.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
        self.events.clear();
        // SAFETY: the buffer has room for EVENTS_MAX events, `timeout` is null or points to a live timespec, and
        // a null signal mask leaves the mask alone.
        let count = unsafe {
            libc::epoll_pwait2(
                self.fd.as_raw_fd(),
                self.events.as_mut_ptr(),
                EVENTS_MAX as libc::c_int,
                timeout,
                std::ptr::null(),
            )
        };
        if count < 0 {
            let error = io::Error::last_os_error();
            return if error.kind() == io::ErrorKind::Interrupted { Ok(0) } else { Err(error) };
        }
        // SAFETY: the kernel has filled in `count` events, which is not more than the capacity.
        unsafe { self.events.set_len(count as usize) };
        Ok(count as usize)
    }

    /// Event number `index` of the last wait.
    pub fn ready(&self, index: usize) -> Ready {
        let event = self.events[index];
        let has = |flags: libc::c_int| event.events & flags as u32 != 0;
        Ready {
            token: event.u64,
            readable: has(libc::EPOLLIN | libc::EPOLLRDHUP | libc::EPOLLHUP | libc::EPOLLERR),
            writable: has(libc::EPOLLOUT | libc::EPOLLHUP | libc::EPOLLERR),
            hung_up: has(libc::EPOLLRDHUP | libc::EPOLLHUP | libc::EPOLLERR),
        }
    }

    /// Adds `file` under `token`.
    pub fn add(&self, file: &impl AsFd, token: u64, interest: Interest) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_ADD, file, token, interest.flags())
    }

    /// Changes what is told about `file`.
    pub fn change(&self, file: &impl AsFd, token: u64, interest: Interest) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_MOD, file, token, interest.flags())
    }

    /// Takes `file` out of the set.
    pub fn remove(&self, file: &impl AsFd) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_DEL, file, 0, 0)
    }

    fn control(&self, operation: libc::c_int, file: &impl AsFd, token: u64, flags: u32) -> io::Result<()> {
        let mut event = libc::epoll_event { events: flags, u64: token };
        let file = file.as_fd().as_raw_fd();
        // SAFETY: both descriptors are open for the length of the call and `event` is valid.
        let result = unsafe { libc::epoll_ctl(self.fd.as_raw_fd(), operation, file, &raw mut event) };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}

fn timespec(duration: Duration) -> libc::timespec {
    libc::timespec {
        tv_sec: duration.as_secs().min(1 << 30) as libc::time_t,
        tv_nsec: libc::c_long::from(duration.subsec_nanos() as i32),
    }
}
