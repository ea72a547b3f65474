//! The bounded queue between those who log and the thread that writes.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Bytes of text that wait to be written at most; as much again may be in the writer's hands.
pub const QUEUE_BYTES_MAX: usize = 4 * 1024 * 1024;

/// One line, without its end.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) time: String,
    pub(super) json: String,
}

/// What the writer does next.
#[derive(Debug)]
pub(super) struct Work {
    /// Lines to write, in order.
    pub(super) lines: VecDeque<Line>,
    /// Open the file again after them.
    pub(super) reopen: bool,
}

#[derive(Debug, Default)]
pub(super) struct Queue {
    state: Mutex<State>,
    /// Signalled when there is work.
    work: Condvar,
    /// Signalled when work is done.
    done: Condvar,
}

#[derive(Debug, Default)]
struct State {
    lines: VecDeque<Line>,
    bytes: usize,
    /// Open the file again when this many of the queued lines have been written.
    reopen_after: Option<usize>,
    dropped: u64,
    /// How often work has been asked for, and how much of that is done.
    asked: u64,
    finished: u64,
    taken: u64,
}

impl Queue {
    /// Queues a line, or drops and counts it when the queue is full.
    pub(super) fn push(&self, line: Line) {
        let mut state = self.lock();
        let bytes = line.json.len();
        if state.bytes + bytes > QUEUE_BYTES_MAX {
            state.dropped += 1;
            return;
        }
        state.bytes += bytes;
        state.asked += 1;
        state.lines.push_back(line);
        self.work.notify_one();
    }

    pub(super) fn reopen(&self) {
        let mut state = self.lock();
        state.reopen_after = Some(state.lines.len());
        state.asked += 1;
        self.work.notify_one();
    }

    pub(super) fn lines_dropped(&self) -> u64 {
        self.lock().dropped
    }

    /// Counts a line that the sink did not take.
    pub(super) fn count_dropped(&self) {
        self.lock().dropped += 1;
    }

    /// Waits for work, after what was taken before is done.
    pub(super) fn take(&self) -> Work {
        let mut state = self.lock();
        state.finished = state.taken;
        self.done.notify_all();
        while state.asked == state.finished {
            state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        let lines = match state.reopen_after.take() {
            // What was queued after the wish to reopen belongs into the new file.
            Some(lines) => {
                let later = state.lines.split_off(lines);
                let lines = std::mem::replace(&mut state.lines, later);
                state.taken += 1 + lines.len() as u64;
                state.bytes -= lines.iter().map(|line| line.json.len()).sum::<usize>();
                return Work { lines, reopen: true };
            }
            None => std::mem::take(&mut state.lines),
        };
        state.taken = state.asked;
        state.bytes = 0;
        Work { lines, reopen: false }
    }

    /// Waits until everything that was asked for by now is done. Whether it is.
    pub(super) fn flush(&self, limit: Duration) -> bool {
        let deadline = Instant::now() + limit;
        let mut state = self.lock();
        let asked = state.asked;
        while state.finished < asked {
            let Some(left) = deadline.checked_duration_since(Instant::now()) else { return false };
            state = self.done.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing under this lock can panic half-way, so that its data is whole even then.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
