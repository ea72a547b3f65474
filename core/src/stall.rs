//! Is this socket still moving?

use crate::time::{Duration, Instant};

/// Notices a socket that takes nothing at all. One per viewer; the limit is the stream's and is passed in.
#[derive(Clone, Copy, Debug, Default)]
pub struct StallTimer {
    blocked_since: Option<Instant>,
}

impl StallTimer {
    /// A timer for a socket that moves.
    pub const fn new() -> Self {
        StallTimer { blocked_since: None }
    }

    /// The socket took at least one byte, or there is nothing for it to take.
    pub fn handle_progress(&mut self) {
        self.blocked_since = None;
    }

    /// The socket took nothing although there was something to take.
    pub fn handle_blocked(&mut self, now: Instant) {
        self.blocked_since.get_or_insert(now);
    }

    /// When the socket counts as stalled unless it moves before; `None` while it moves or without a limit.
    pub fn poll_timeout(&self, limit: Option<Duration>) -> Option<Instant> {
        Some(self.blocked_since? + limit?)
    }

    /// Whether the socket has taken nothing for `limit`.
    pub fn is_stalled(&self, now: Instant, limit: Option<Duration>) -> bool {
        self.poll_timeout(limit).is_some_and(|deadline| deadline <= now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Option<Duration> = Some(Duration::from_secs(30));

    #[test]
    fn a_socket_that_takes_nothing_stalls_when_the_limit_is_over() {
        let mut timer = StallTimer::new();
        timer.handle_blocked(Instant::from_millis(1_000));
        timer.handle_blocked(Instant::from_millis(20_000));
        assert!(!timer.is_stalled(Instant::from_millis(30_999), LIMIT));
        assert!(timer.is_stalled(Instant::from_millis(31_000), LIMIT));
    }

    #[test]
    fn a_single_byte_starts_the_wait_again() {
        let mut timer = StallTimer::new();
        timer.handle_blocked(Instant::from_millis(0));
        timer.handle_progress();
        assert_eq!(timer.poll_timeout(LIMIT), None);
        timer.handle_blocked(Instant::from_millis(29_000));
        assert!(!timer.is_stalled(Instant::from_millis(31_000), LIMIT));
    }

    #[test]
    fn without_a_limit_nothing_stalls() {
        let mut timer = StallTimer::new();
        timer.handle_blocked(Instant::ORIGIN);
        assert!(!timer.is_stalled(Instant::from_nanos(u64::MAX), None));
    }
}
