//! What happens next.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use restreamer_core::{ConnId, Instant};

/// Something that is due. Viewers who are there have none: they are swept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Event {
    Start { stream: u32 },
    Open { stream: u32, conn: ConnId },
    Receive { stream: u32, conn: ConnId },
    Sweep { stream: u32, runtime: u32 },
    Poll { stream: u32, runtime: u32 },
    Arrive { client: u32 },
    Leave { client: u32, visit: u32 },
    Fault { index: u32 },
    Heal,
    Inspect,
}

/// Events in order of time, and of their arrival in the queue.
#[derive(Debug, Default)]
pub(super) struct Queue {
    heap: BinaryHeap<Reverse<(Instant, u64, Event)>>,
    pushed: u64,
}

impl Queue {
    pub(super) fn push(&mut self, at: Instant, event: Event) {
        self.heap.push(Reverse((at, self.pushed, event)));
        self.pushed += 1;
    }

    pub(super) fn next_at(&self) -> Option<Instant> {
        self.heap.peek().map(|Reverse((at, ..))| *at)
    }

    pub(super) fn pop(&mut self) -> Option<Event> {
        self.heap.pop().map(|Reverse((.., event))| event)
    }
}
