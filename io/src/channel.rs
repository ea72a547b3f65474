//! Drives one core [`Stream`]: carries out its orders, feeds it bytes and time, publishes what it gives.
//!
//! One task per stream. The connections to its sources are polled within that task, so that a chunk of bytes
//! goes from the socket into the open segment without a queue in between.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use restreamer_core::{
    Availability, CloseCause, ConnId, Duration, Input, Instant, Intake, Operator, Output, Patience, Stream,
    StreamConfig, StreamEvent,
};
use tokio::sync::mpsc;
use tokio::time::Sleep;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::ingest::{self, Note, Rest, RestingNet, Sink, Source};
use crate::journal::Event;
use crate::net::Net;
use crate::observe::{Analysis, Observe, StreamCounters};
use crate::published::Published;
use crate::route::StreamId;

/// Everything that one channel needs to run.
pub struct Channel {
    /// Its number, under which it is counted.
    pub id: StreamId,
    /// Its sources, as listed.
    pub sources: Arc<[Source]>,
    /// How they are used.
    pub config: StreamConfig,
    /// Decides about the order of attempts.
    pub seed: u64,
    /// Where its segments go.
    pub published: Arc<Published>,
    /// Where its numbers go.
    pub observe: Arc<Observe>,
    /// The process's clock.
    pub clock: Clock,
}

type Connection = Pin<Box<dyn Future<Output = CloseCause> + Send>>;

impl Channel {
    /// Runs until `shutdown`, then publishes what has been read and closes the connections.
    pub async fn run<N: Net>(
        self,
        net: N,
        mut operator: mpsc::Receiver<Operator>,
        shutdown: CancellationToken,
    ) {
        let sources = Arc::clone(&self.sources);
        let core = Arc::new(Core::new(self));
        let mut connections: Vec<(ConnId, Connection)> = Vec::new();
        let mut timer = pin!(tokio::time::sleep(std::time::Duration::ZERO));
        let mut shut_down = pin!(shutdown.cancelled_owned());
        core.handle(Input::Start);
        poll_fn(|cx| {
            while core.carry_out(&net, &sources, &mut connections)
                | poll_connections(&core, &mut connections, cx)
                | poll_operator(&core, &mut operator, cx)
                | poll_timer(&core, timer.as_mut(), cx)
            {}
            shut_down.as_mut().poll(cx)
        })
        .await;
        core.handle(Input::Stop);
    }
}

/// Answers whether a connection ended.
fn poll_connections(core: &Core, connections: &mut Vec<(ConnId, Connection)>, cx: &mut Context<'_>) -> bool {
    let polled = connections.iter_mut().enumerate().find_map(|(index, (conn, connection))| match connection
        .as_mut()
        .poll(cx)
    {
        Poll::Ready(cause) => Some((index, *conn, cause)),
        Poll::Pending => None,
    });
    let Some((index, conn, cause)) = polled else { return false };
    drop(connections.swap_remove(index));
    core.handle(Input::Closed(conn, cause));
    true
}

/// Answers whether the operator said something.
fn poll_operator(core: &Core, operator: &mut mpsc::Receiver<Operator>, cx: &mut Context<'_>) -> bool {
    match operator.poll_recv(cx) {
        Poll::Ready(Some(order)) => {
            core.handle(Input::Operator(order));
            true
        }
        Poll::Ready(None) | Poll::Pending => false,
    }
}

/// Answers whether a timeout was due.
fn poll_timer(core: &Core, mut timer: Pin<&mut Sleep>, cx: &mut Context<'_>) -> bool {
    let Some(due) = core.lock().stream.poll_timeout() else { return false };
    let is_due = due <= core.clock.now() || {
        let due = core.clock.at(due);
        if timer.deadline() != due {
            timer.as_mut().reset(due);
        }
        timer.poll(cx).is_ready()
    };
    if is_due {
        core.handle(Input::Timeout);
    }
    is_due
}

/// The stream and what its outputs are carried out with.
struct Core {
    inner: Mutex<Inner>,
    clock: Clock,
    published: Arc<Published>,
    observe: Arc<Observe>,
    id: StreamId,
    latency: Duration,
    seed: u64,
}

struct Inner {
    stream: Stream,
    /// Orders that need the task: connections are opened and closed there.
    orders: Vec<Output>,
}

/// Feeds one connection's bytes to the stream. The lock is never contended: all connections are polled by the
/// stream's task.
struct Tap {
    conn: ConnId,
    source: usize,
    intake: Intake,
    rest: Arc<Rest>,
    core: Arc<Core>,
}

impl Sink for Tap {
    fn connected(&mut self) {
        self.core.handle(Input::Connected(self.conn));
    }

    fn data(&mut self, chunk: &[u8]) {
        let now = self.core.handle(Input::Data(self.conn, chunk));
        self.intake.handle_read(now, chunk.len());
    }

    async fn ready(&mut self, patience: Patience) {
        if patience == Patience::Waits
            && let Some(since) = self.intake.handle_drained(self.core.clock.now(), self.rest.is_resting())
        {
            self.core.handle(Input::Waited(self.conn, since));
        }
        let turn = self.core.published.rest(self.core.clock, &self.intake, patience).await;
        // A turn goes on for as long as something is left.
        if patience != Patience::Backlog {
            self.intake.begin_turn(turn);
            self.rest.begin_turn(turn.is_some());
        }
    }

    fn is_drained(&self) -> bool {
        self.rest.is_drained()
    }

    fn note(&mut self, note: Note) {
        let counters = self.core.counters();
        let source = &counters.sources[self.source];
        match note {
            Note::Counted(what, n) => source.odd(what).add(n),
            Note::ReceiveBuffer { wanted, granted } => tracing::warn!(
                module = "streaming",
                event = "receive_buffer",
                stream = &*counters.label,
                url = &*source.label,
                "the system grants a receive buffer of {granted} bytes instead of {wanted}: \
                 raise net.core.rmem_max"
            ),
        }
    }
}

impl Core {
    fn new(channel: Channel) -> Self {
        Core {
            inner: Mutex::new(Inner {
                stream: Stream::new(channel.config, channel.seed),
                orders: Vec::new(),
            }),
            clock: channel.clock,
            published: channel.published,
            observe: channel.observe,
            id: channel.id,
            latency: channel.config.latency,
            seed: channel.seed,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn counters(&self) -> &StreamCounters {
        self.observe.stream(self.id)
    }

    /// One input, and every output that does not need the task; answers the time of it.
    fn handle(&self, input: Input<'_>) -> Instant {
        let now = self.clock.now();
        let mut inner = self.lock();
        if let Some(journal) = self.observe.journal() {
            match &input {
                Input::Data(_, bytes) => journal.note_received(now, self.id, bytes.len() as u64),
                Input::Operator(order) => journal.note(now, self.id, Event::Operator(*order)),
                _ => {}
            }
        }
        inner.stream.set_flush_cost(self.published.flush_cost());
        inner.stream.handle(now, input);
        let mut is_news = false;
        while let Some(output) = inner.stream.poll_output() {
            if let (Some(journal), Some(event)) = (self.observe.journal(), Event::of(&output)) {
                journal.note(now, self.id, event);
            }
            match output {
                Output::Publish(segment) => {
                    let ring_bytes = self.published.push(segment);
                    self.counters().ring_bytes.set(ring_bytes as u64);
                    is_news = true;
                }
                Output::Forget => {
                    self.published.forget();
                    self.counters().ring_bytes.set(0);
                }
                Output::Availability(availability) => {
                    self.published.set_availability(availability);
                    is_news = true;
                    self.log_availability(availability);
                }
                Output::Event(event) => self.log(event),
                order @ (Output::Connect { .. } | Output::HangUp { .. }) => inner.orders.push(order),
            }
        }
        self.count(&inner.stream, now);
        if is_news {
            self.counters().set_analysis(Analysis {
                framing: inner.stream.stats().framing,
                quality: inner.stream.quality(),
                access: inner.stream.access_counts(),
            });
        }
        drop(inner);
        if is_news {
            self.published.announce();
        }
        now
    }

    /// Opens and closes connections as ordered; answers whether there was an order.
    fn carry_out<N: Net>(
        self: &Arc<Self>,
        net: &N,
        sources: &Arc<[Source]>,
        connections: &mut Vec<(ConnId, Connection)>,
    ) -> bool {
        let orders = std::mem::take(&mut self.lock().orders);
        let had_orders = !orders.is_empty();
        for order in orders {
            match order {
                Output::Connect { conn, source } => {
                    let (rest, sources) = (Arc::<Rest>::default(), Arc::clone(sources));
                    let net = RestingNet::new(net.clone(), Arc::clone(&rest));
                    let intake = Intake::new(self.latency, self.seed);
                    let mut tap = Tap { conn, source, intake, rest, core: Arc::clone(self) };
                    let connection = async move { ingest::run(&net, &sources[source], &mut tap).await };
                    connections.push((conn, Box::pin(connection)));
                }
                Output::HangUp { conn } => connections.retain(|(other, _)| *other != conn),
                Output::Publish(_) | Output::Forget | Output::Availability(_) | Output::Event(_) => {}
            }
        }
        had_orders
    }

    fn count(&self, stream: &Stream, now: Instant) {
        let stats = stream.stats();
        for (counters, source) in self.counters().sources.iter().zip(&stats.sources) {
            counters.connected.set(u64::from(source.is_connected));
            counters.packets_received.add(source.packets - counters.packets_received.now());
            counters.bytes_received.add(source.bytes - counters.bytes_received.now());
        }
        if stats.last_packet == Some(now) {
            self.published.set_last_packet(now);
        }
    }

    fn log_availability(&self, availability: Availability) {
        let stream = &*self.counters().label;
        let (event, message) = match availability {
            Availability::Never => return,
            Availability::Live => ("stream_live", "packets arrive"),
            Availability::Grace => ("stream_grace", "upstream lost, viewers are held"),
            Availability::Lost => ("stream_lost", "upstream lost, viewers are turned away"),
            Availability::Offline => ("stream_offline", "taken off the air by the operator"),
        };
        tracing::info!(module = "streaming", event, stream, "{message}");
    }

    fn log(&self, event: StreamEvent) {
        let counters = self.counters();
        let stream = &*counters.label;
        let url = |source: usize| &*counters.sources[source].label;
        match event {
            StreamEvent::Connecting { source } => {
                let url = url(source);
                tracing::debug!(
                    module = "streaming",
                    event = "connecting",
                    stream,
                    url,
                    "connecting to upstream"
                );
            }
            StreamEvent::Connected { source } => {
                let url = url(source);
                tracing::info!(
                    module = "streaming",
                    event = "connected",
                    stream,
                    url,
                    "upstream delivers packets"
                );
            }
            StreamEvent::Closed { source, cause } => {
                let (url, kind) = (url(source), cause.kind.as_str());
                tracing::warn!(
                    module = "streaming",
                    event = "closed",
                    stream,
                    url,
                    kind,
                    "upstream closed: {cause}"
                );
            }
            StreamEvent::Returned { source } => {
                let url = url(source);
                tracing::info!(
                    module = "streaming",
                    event = "returned",
                    stream,
                    url,
                    "better upstream is healthy again"
                );
            }
            StreamEvent::Exhausted => {
                let message = "every upstream was tried and reconnect is 0: the stream stays offline";
                tracing::error!(module = "streaming", event = "exhausted", stream, "{message}");
            }
            StreamEvent::GraceOver => {
                tracing::warn!(
                    module = "streaming",
                    event = "grace_over",
                    stream,
                    "no upstream came back in time"
                );
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::collections::VecDeque;

    use restreamer_core::testing::{Mark, StreamSpec, SyntheticStream};
    use restreamer_core::ts::Packet;
    use restreamer_core::{Order, RingLimits, UpstreamConfig};
    use tokio::io::AsyncWriteExt;
    use tokio::sync::Notify;

    use super::*;
    use crate::ingest::SourceOptions;
    use crate::ingest::testing::OneServer;

    const LATENCY: Duration = Duration::from_millis(50);

    fn channel(published: &Arc<Published>, clock: Clock) -> Channel {
        let url = "tcp://h:1";
        Channel {
            id: StreamId(0),
            sources: Arc::new([Source::parse(url, &SourceOptions::default()).unwrap()]),
            config: StreamConfig {
                upstream: UpstreamConfig {
                    sources: 1,
                    order: Order::Priority,
                    reconnect: None,
                    read_timeout: None,
                },
                grace: Duration::ZERO,
                latency: LATENCY,
            },
            seed: 7_654_321,
            published: Arc::clone(published),
            observe: Observe::new([("/s.ts", [url])]),
            clock,
        }
    }

    /// The clock is the test's, and timers are as coarse as they always are.
    #[tokio::test(start_paused = true)]
    async fn what_waits_to_be_read_is_sent_on_with_a_turn_when_its_interval_ends() {
        let (net, mut server) = OneServer::new();
        let clock = Clock::start();
        let published = Arc::new(Published::new(RingLimits::default()));
        let bell = Arc::new(Notify::new());
        let reader = published.subscribe(Arc::clone(&bell));
        published.set_flush_cost(&reader, LATENCY);
        let shutdown = CancellationToken::new();
        let (_operator, orders) = mpsc::channel(1);
        let running = channel(&published, clock).run(net, orders, shutdown.clone());

        let under_way = RefCell::new(VecDeque::new());
        let source = async {
            let mut stream = SyntheticStream::new(StreamSpec::new(1, 4_000_000));
            let mut next = stream.next_packet();
            for ms in 0..3_000 {
                tokio::time::sleep_until(clock.at(Instant::from_millis(ms))).await;
                let now = clock.now();
                while next.at <= now {
                    server.write_all(&next.bytes).await.unwrap();
                    under_way.borrow_mut().extend(Mark::read(&next.bytes).map(|mark| (mark.sequence, now)));
                    next = stream.next_packet();
                }
            }
            shutdown.cancel();
        };

        let (mut flushes, mut longest) = (0, Duration::ZERO);
        let watching = async {
            let mut ring = published.new_copy();
            while !shutdown.is_cancelled() {
                bell.notified().await;
                let (known, now) = (ring.next(), clock.now());
                published.catch_up(&mut ring);
                if now < Instant::from_millis(1_000) {
                    // The rate is not known yet.
                    under_way.borrow_mut().clear();
                    continue;
                }
                flushes += u32::from(ring.next() > known);
                for segment in (known..ring.next()).filter_map(|number| ring.get(number)) {
                    let marks = Packet::all(&segment.data).filter_map(|packet| Mark::read(packet.bytes()));
                    for mark in marks {
                        let mut under_way = under_way.borrow_mut();
                        let is_here = |(sequence, _): &&(u64, Instant)| *sequence <= mark.sequence;
                        while let Some(&(_, at)) = under_way.front().filter(is_here) {
                            under_way.pop_front();
                            longest = longest.max(now.saturating_since(at));
                        }
                    }
                }
            }
        };
        tokio::join!(running, source, watching);
        assert!((39..=41).contains(&flushes), "{flushes} flushes in two seconds");
        assert!(longest <= LATENCY + Duration::from_millis(2), "{longest:?}");
    }
}
