//! The one place where the time is asked for.

use restreamer_core::Instant;

/// Turns the runtime's clock into the [`Instant`]s that core works with.
///
/// It reads tokio's clock, not the system's, so that it follows a paused or simulated runtime.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    origin: tokio::time::Instant,
}

impl Clock {
    /// A clock whose [`Instant::ORIGIN`] is this moment.
    pub fn start() -> Self {
        Clock { origin: tokio::time::Instant::now() }
    }

    /// This moment.
    pub fn now(&self) -> Instant {
        let since = tokio::time::Instant::now().saturating_duration_since(self.origin);
        Instant::ORIGIN + since
    }

    /// The runtime's name for `moment`, to sleep until it.
    ///
    /// A moment that the runtime's clock cannot express is cut to a century ahead.
    pub fn at(&self, moment: Instant) -> tokio::time::Instant {
        const CENTURY: std::time::Duration = std::time::Duration::from_secs(100 * 365 * 86_400);
        self.origin + moment.saturating_since(Instant::ORIGIN).min(CENTURY)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test(start_paused = true)]
    async fn the_clock_follows_the_runtime_and_back() {
        let clock = Clock::start();
        assert_eq!(clock.now(), Instant::ORIGIN);
        tokio::time::advance(Duration::from_millis(1500)).await;
        assert_eq!(clock.now(), Instant::from_millis(1500));
        assert_eq!(clock.at(clock.now()), tokio::time::Instant::now());
    }

    #[test]
    fn the_end_of_time_does_not_overflow() {
        let clock = Clock::start();
        assert!(clock.at(Instant::from_nanos(u64::MAX)) > clock.at(Instant::ORIGIN));
    }
}
