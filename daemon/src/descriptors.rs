//! How many file descriptors the process may have, and how many a configuration needs.

use std::io;

use crate::config::{Candidates, Config, ListenAddress, Listener};

/// The limits on open descriptors (`RLIMIT_NOFILE`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DescriptorLimit {
    /// What is in force.
    pub soft: u64,
    /// What it may be raised to without privileges.
    pub hard: u64,
}

/// Descriptors of one worker thread: epoll, its waker, and the receiver of signals.
const PER_THREAD: u64 = 4;
/// Descriptors of one source: its socket, or the pipes of a child process, and as many of the source that replaces it.
const PER_STREAM: u64 = 8;
/// Standard streams, the log, configuration and certificates while they are read, notifications, and clients that
/// ask for something else than a stream.
const SPARE: u64 = 128;

impl DescriptorLimit {
    /// The limits of this process.
    pub fn current() -> io::Result<DescriptorLimit> {
        let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: `limit` is a valid rlimit that outlives the call, which writes nothing else.
        let status = unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) };
        if status == 0 {
            Ok(DescriptorLimit { soft: limit.rlim_cur, hard: limit.rlim_max })
        } else {
            Err(io::Error::last_os_error())
        }
    }

    /// Raises what is in force to the hard limit, and answers what is in force now.
    pub fn raise() -> io::Result<DescriptorLimit> {
        let DescriptorLimit { hard, .. } = DescriptorLimit::current()?;
        let limit = libc::rlimit { rlim_cur: hard, rlim_max: hard };
        // SAFETY: `limit` is a valid rlimit that outlives the call, which only reads it.
        let status = unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) };
        if status == 0 { DescriptorLimit::current() } else { Err(io::Error::last_os_error()) }
    }
}

/// Descriptors that are needed while `maxconnections` viewers are connected; without that limit, those that are
/// needed before the first one.
pub fn needed(config: &Config) -> u64 {
    let threads = config.threads.get() as u64;
    let sockets: u64 = config.listeners.iter().map(|listener| sockets_of(listener, threads)).sum();
    sockets
        + threads * PER_THREAD
        + config.streams.len() as u64 * PER_STREAM
        + u64::from(config.connections_max)
        + SPARE
}

/// A TCP listener has a socket for each address on each thread, a Unix socket is shared by the threads.
fn sockets_of(listener: &Listener, threads: u64) -> u64 {
    match (&listener.address, listener.address.candidates()) {
        (ListenAddress::Unix(_), _) => 1,
        (_, Candidates::Addresses(addresses)) => addresses.len() as u64 * threads,
        (_, Candidates::Name(..)) => 2 * threads,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn viewers_listeners_and_streams_are_counted() {
        let read = |text: &str| needed(&Config::parse("x", text.as_bytes()).unwrap().0);
        let stream = r#""resources": [{ "type": "stream", "serve": "/a", "remote": "tcp://h:1" }]"#;
        let base = read(r#"{ "threads": 1, "listen": "127.0.0.1:1" }"#);
        let table = [
            (r#""threads": 1, "listen": "127.0.0.1:1", "maxconnections": 5000"#.to_owned(), 5000),
            (r#""threads": 2, "listen": "127.0.0.1:1""#.to_owned(), 1 + PER_THREAD),
            (r#""threads": 1, "listen": ":1""#.to_owned(), 1),
            (r#""threads": 1, "listen": ["127.0.0.1:1", "unix:/x"]"#.to_owned(), 1),
            (format!(r#""threads": 1, "listen": "127.0.0.1:1", {stream}"#), PER_STREAM),
        ];
        for (text, more) in table {
            assert_eq!(read(&format!("{{ {text} }}")), base + more, "{text}");
        }
    }

    #[test]
    fn the_limit_in_force_is_raised_to_the_hard_one() {
        let raised = DescriptorLimit::raise().unwrap();
        assert_eq!(raised.soft, raised.hard);
        assert_eq!(DescriptorLimit::current().unwrap(), raised);
    }
}
