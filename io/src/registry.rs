//! All streams of the process, as the HTTP side sees them.

use std::sync::Arc;
use std::time::Duration;

use restreamer_core::{Availability, Operator, RingLimits, StreamConfig};
use tokio::sync::mpsc;

use crate::clock::Clock;
use crate::fanout::ViewerConfig;
use crate::gate::Channels;
use crate::ingest::Source;
use crate::published::Published;
use crate::route::StreamId;

/// Orders of the operator that may wait for a stream; further ones wait at the API.
const ORDERS_MAX: usize = 16;

/// One stream as it was configured.
#[derive(Clone, Debug)]
pub struct StreamPlan {
    /// Where its packets come from, as listed.
    pub sources: Arc<[Source]>,
    /// How its sources are used.
    pub config: StreamConfig,
    /// What its ring holds.
    pub ring: RingLimits,
    /// How its viewers are treated.
    pub viewers: ViewerConfig,
    /// Decides about everything that is left to chance.
    pub seed: u64,
}

/// The streams by number, what they publish, and a line to each of them.
#[derive(Debug)]
pub struct Registry {
    clock: Clock,
    streams: Vec<Entry>,
}

#[derive(Debug)]
struct Entry {
    plan: StreamPlan,
    published: Arc<Published>,
    operator: mpsc::Sender<Operator>,
}

impl Registry {
    /// Streams that do not run yet; the receivers are for their channels, in the same order.
    pub fn new(clock: Clock, plans: Vec<StreamPlan>) -> (Arc<Self>, Vec<mpsc::Receiver<Operator>>) {
        let (streams, receivers) = plans
            .into_iter()
            .map(|plan| {
                let (operator, receiver) = mpsc::channel(ORDERS_MAX);
                let published = Arc::new(Published::new(plan.ring));
                (Entry { plan, published, operator }, receiver)
            })
            .unzip();
        (Arc::new(Registry { clock, streams }), receivers)
    }

    /// The numbers of all streams.
    pub fn ids(&self) -> impl Iterator<Item = StreamId> + use<> {
        (0..self.streams.len() as u32).map(StreamId)
    }

    /// How a stream was configured.
    ///
    /// # Panics
    /// When there is no such stream; so do the others.
    pub fn plan(&self, stream: StreamId) -> &StreamPlan {
        &self.entry(stream).plan
    }

    /// What a stream publishes.
    pub fn published(&self, stream: StreamId) -> &Arc<Published> {
        &self.entry(stream).published
    }

    fn entry(&self, stream: StreamId) -> &Entry {
        &self.streams[stream.0 as usize]
    }
}

impl Channels for Registry {
    fn availability(&self, stream: StreamId) -> Availability {
        self.published(stream).availability()
    }

    fn connected_within(&self, stream: StreamId, time: Duration) -> bool {
        let last = self.published(stream).last_packet();
        last.is_some_and(|last| self.clock.now().saturating_since(last) <= time)
    }

    fn operator(&self, stream: StreamId, order: Operator) {
        let operator = &self.entry(stream).operator;
        if let Err(mpsc::error::TrySendError::Full(order)) = operator.try_send(order) {
            // The stream is busy: its last word must not be lost, and the caller must not wait.
            let operator = operator.clone();
            tokio::spawn(async move { operator.send(order).await });
        }
    }
}
