//! Is this socket still moving?

use crate::time::{Duration, Instant};

/// The most time that a socket has to take the rest of a packet when its response ends.
pub const ENDING_TIME_MAX: Duration = Duration::from_secs(5);

/// Notices a socket that takes nothing at all. One per viewer; the limit is the stream's and is passed in.
#[derive(Clone, Copy, Debug, Default)]
pub struct StallTimer {
    blocked_since: Option<Instant>,
    is_ending: bool,
}

impl StallTimer {
    /// A timer for a socket that moves.
    pub const fn new() -> Self {
        StallTimer { blocked_since: None, is_ending: false }
    }

    /// The socket took at least one byte, or there is nothing for it to take.
    pub fn handle_progress(&mut self) {
        self.blocked_since = None;
    }

    /// The socket took nothing although there was something to take.
    pub fn handle_blocked(&mut self, now: Instant) {
        self.blocked_since.get_or_insert(now);
    }

    /// The response ends: from now on the socket has [`ENDING_TIME_MAX`], however long it had been full.
    pub fn handle_end(&mut self, now: Instant) {
        self.is_ending = true;
        self.blocked_since = self.blocked_since.map(|_| now);
    }

    /// When the socket counts as stalled unless it moves before; `None` while it moves or without a limit.
    pub fn poll_timeout(&self, limit: Option<Duration>) -> Option<Instant> {
        let limit = match self.is_ending {
            true => Some(limit.unwrap_or(ENDING_TIME_MAX).min(ENDING_TIME_MAX)),
            false => limit,
        };
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
    fn an_end_gives_the_socket_its_time_and_no_more() {
        for limit in [LIMIT, None] {
            let mut timer = StallTimer::new();
            timer.handle_blocked(Instant::from_millis(1_000));
            timer.handle_end(Instant::from_millis(21_000));
            assert_eq!(timer.poll_timeout(limit), Some(Instant::from_millis(26_000)));
            timer.handle_progress();
            timer.handle_blocked(Instant::from_millis(22_000));
            assert_eq!(timer.poll_timeout(limit), Some(Instant::from_millis(27_000)));
        }
    }

    #[test]
    fn without_a_limit_nothing_stalls() {
        let mut timer = StallTimer::new();
        timer.handle_blocked(Instant::ORIGIN);
        assert!(!timer.is_stalled(Instant::from_nanos(u64::MAX), None));
    }
}
