//! What happens next.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use restreamer_core::{ConnId, Instant};

/// Something that is due, in the order in which they happen when they are due at the same time. Viewers who are there
/// have none: they are swept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Event {
    Start { stream: u32 },
    Heal,
    Fault { index: u32 },
    Open { stream: u32, conn: ConnId },
    Receive { stream: u32, conn: ConnId },
    Sweep { stream: u32, runtime: u32 },
    Poll { stream: u32, runtime: u32 },
    Leave { client: u32, visit: u32 },
    Arrive { client: u32 },
    Inspect,
}

/// Events in order of time. The order does not depend on when they were pushed: what one part of a run plans early or
/// late must not move the others.
#[derive(Debug, Default)]
pub(super) struct Queue {
    heap: BinaryHeap<Reverse<(Instant, Event)>>,
}

impl Queue {
    pub(super) fn push(&mut self, at: Instant, event: Event) {
        self.heap.push(Reverse((at, event)));
    }

    pub(super) fn next_at(&self) -> Option<Instant> {
        self.heap.peek().map(|Reverse((at, _))| *at)
    }

    pub(super) fn pop(&mut self) -> Option<Event> {
        self.heap.pop().map(|Reverse((_, event))| event)
    }
}
