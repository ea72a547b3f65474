//! The upstream side of one channel: bytes of its sources in, segments and orders out.
//!
//! The driver's rule: after every [`Stream::handle`] take [`Stream::poll_output`] until it answers `None`, then
//! sleep until [`Stream::poll_timeout`] and say [`Input::Timeout`], or until there is something else to say. It
//! never sees a viewer.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use crate::access::AccessCounts;
use crate::assembly::Assembly;
use crate::cause::CloseCause;
use crate::event::StreamEvent;
use crate::flush::flush_interval;
use crate::framer::FramerStats;
use crate::quality::QualityCounts;
use crate::segment::Segment;
use crate::time::{Duration, Instant};
use crate::upstream::{ConnId, Role, Upstream, UpstreamConfig};

/// How one channel treats its sources and its packets.
#[derive(Clone, Copy, Debug)]
pub struct StreamConfig {
    /// Its sources and how they are tried.
    pub upstream: UpstreamConfig,
    /// How long viewers are held after the loss of the upstream.
    pub grace: Duration,
    /// How long a byte may wait to be sent together with others; less where that costs little, see
    /// [`Stream::set_flush_cost`].
    pub latency: Duration,
}

/// What the driver tells a stream.
#[derive(Debug)]
pub enum Input<'a> {
    /// Begin to look for a source.
    Start,
    /// A connection is open; it need not have delivered anything.
    Connected(ConnId),
    /// A connection delivered these bytes.
    Data(ConnId, &'a [u8]),
    /// All that came on a connection has been delivered; what was delivered last may have waited to be read since
    /// then. See [`Intake::handle_drained`](crate::Intake::handle_drained).
    Waited(ConnId, Instant),
    /// A connection ended, or could not be opened.
    Closed(ConnId, CloseCause),
    /// The moment that [`Stream::poll_timeout`] named has come.
    Timeout,
    /// The operator takes the stream off the air, or puts it back.
    Operator(Operator),
    /// Give up all connections and publish what there is.
    Stop,
}

/// What an operator can say to a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    /// Viewers are let in as far as there is something to see.
    Online,
    /// All viewers end, and none is let in, whatever the sources do.
    Offline,
}

/// What a stream tells the driver.
#[derive(Debug)]
pub enum Output {
    /// Open a connection to this source.
    Connect {
        /// The number under which to report about it.
        conn: ConnId,
        /// Number of the source, as listed.
        source: usize,
    },
    /// Close this connection; nothing it delivers is wanted any more.
    HangUp {
        /// Its number.
        conn: ConnId,
    },
    /// Push this segment into the ring and wake its readers.
    Publish(Segment),
    /// Clear the ring: what it holds is too old to be shown to anybody.
    Forget,
    /// Whether viewers are let in and held has changed.
    Availability(Availability),
    /// Tell the operator.
    Event(StreamEvent),
}

/// Whether a stream can be watched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Availability {
    /// No packet has arrived since the start.
    #[default]
    Never,
    /// Packets arrive.
    Live,
    /// The upstream was lost a moment ago; viewers are held and let in while another source is sought.
    Grace,
    /// The upstream was lost and the grace time is over.
    Lost,
    /// The operator took it off the air.
    Offline,
}

impl Availability {
    /// Whether viewers are let in.
    pub fn lets_in(self) -> bool {
        matches!(self, Availability::Live | Availability::Grace)
    }
}

/// What a stream has seen since its start; counts only grow.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StreamStats {
    /// All connections in use together, spares not counted.
    pub framing: FramerStats,
    /// By source, as listed; spares counted.
    pub sources: Vec<SourceStats>,
    /// When the last packet of the connection in use arrived.
    pub last_packet: Option<Instant>,
    /// Segments published.
    pub segments: u64,
    /// Packets published, those that a seam adds included.
    pub packets_published: u64,
}

/// What one source delivered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SourceStats {
    /// Packets found.
    pub packets: u64,
    /// Bytes taken in.
    pub bytes: u64,
    /// Connections asked for.
    pub connections: u64,
    /// Whether a connection to it delivers packets now.
    pub is_connected: bool,
}

/// The upstream side of one channel.
#[derive(Debug)]
pub struct Stream {
    grace: Duration,
    latency: Duration,
    upstream: Upstream,
    assembly: Assembly,
    /// The connection whose packets the assembly holds.
    assembled: Option<ConnId>,
    operator: Operator,
    availability: Availability,
    /// When packets stopped to flow; `None` while they flow and before they ever did.
    lost_at: Option<Instant>,
    /// The grace time after that is over, and what was published is forgotten.
    is_over: bool,
    is_exhausted: bool,
    /// Segments published before the ring was last cleared.
    segments_forgotten: u64,
    outputs: VecDeque<Output>,
    stats: StreamStats,
}

impl Stream {
    /// A stream that has not begun; `seed` decides about everything that is left to chance.
    pub fn new(config: StreamConfig, seed: u64) -> Self {
        Stream {
            grace: config.grace,
            latency: config.latency,
            upstream: Upstream::new(config.upstream, seed),
            assembly: Assembly::new(config.latency),
            assembled: None,
            operator: Operator::Online,
            availability: Availability::Never,
            lost_at: None,
            is_over: false,
            is_exhausted: false,
            segments_forgotten: 0,
            outputs: VecDeque::new(),
            stats: StreamStats {
                sources: alloc::vec![SourceStats::default(); config.upstream.sources],
                ..StreamStats::default()
            },
        }
    }

    /// Takes an input; what follows from it waits in [`Stream::poll_output`].
    pub fn handle(&mut self, now: Instant, input: Input<'_>) {
        if self.grace_ends_at().is_some_and(|at| at <= now) {
            // The driver is late: what is too old is forgotten before anything new comes.
            self.update_availability(now);
        }
        let is_end = matches!(input, Input::Stop);
        match input {
            Input::Start => self.upstream.start(now, &mut self.outputs),
            Input::Connected(conn) => self.upstream.handle_connected(now, conn),
            Input::Data(conn, bytes) => self.handle_data(now, conn, bytes),
            Input::Waited(conn, since) if self.assembled == Some(conn) => {
                self.assembly.note_waited(since);
                self.flush_if_due(now);
            }
            Input::Waited(..) => {}
            Input::Closed(conn, cause) => {
                self.finish_framer(now, conn);
                self.upstream.handle_closed(now, conn, cause, &mut self.outputs);
            }
            Input::Timeout => {
                self.flush_if_due(now);
                self.upstream.handle_timeout(now, &mut self.outputs);
            }
            Input::Operator(operator) => self.operator = operator,
            Input::Stop => {
                if let Some(conn) = self.assembled {
                    self.finish_framer(now, conn);
                }
                self.upstream.stop(&mut self.outputs);
            }
        }
        if self.assembled.is_some_and(|conn| !self.upstream.is_used(conn)) {
            self.assembled = None;
            self.assembly.end_connection(&mut publish_to(&mut self.outputs, &mut self.stats));
        }
        for (number, source) in self.stats.sources.iter_mut().enumerate() {
            source.is_connected = self.upstream.is_flowing_from(number);
        }
        if !is_end {
            // The driver ends everything: what becomes of the viewers is no news any more.
            self.update_availability(now);
        }
    }

    /// Writing to everybody once costs so much, on the busiest of those who write; `None`: nobody watches. To be said
    /// before [`Stream::handle`]; without it, bytes wait as long as they may.
    pub fn set_flush_cost(&mut self, cost: Option<Duration>) {
        let interval = cost.map_or(self.latency, |cost| flush_interval(self.latency, cost));
        self.assembly.set_flush_interval(interval);
    }

    /// The next order to the driver; they must be carried out in this order.
    pub fn poll_output(&mut self) -> Option<Output> {
        let output = self.outputs.pop_front();
        if let Some(Output::Connect { source, .. }) = output {
            self.stats.sources[source].connections += 1;
        }
        output
    }

    /// When [`Input::Timeout`] is due, which may be at once; changes only in [`Stream::handle`].
    pub fn poll_timeout(&self) -> Option<Instant> {
        let timeouts = [self.assembly.poll_timeout(), self.upstream.poll_timeout(), self.grace_ends_at()];
        timeouts.into_iter().flatten().min()
    }

    /// Whether the stream can be watched.
    pub fn availability(&self) -> Availability {
        self.availability
    }

    /// What it has seen so far.
    pub fn stats(&self) -> &StreamStats {
        &self.stats
    }

    /// What a measuring receiver would complain about so far.
    pub fn quality(&self) -> QualityCounts {
        self.assembly.quality()
    }

    /// Access points found so far.
    pub fn access_counts(&self) -> AccessCounts {
        self.assembly.access_counts()
    }

    fn handle_data(&mut self, now: Instant, conn: ConnId, bytes: &[u8]) {
        let Some((connection, role)) = self.upstream.find(conn) else { return };
        let before = connection.framer.stats();
        match role {
            Role::Spare => connection.framer.push(bytes, &mut |_| {}),
            Role::Used => {
                let mut publish = publish_to(&mut self.outputs, &mut self.stats);
                if self.assembled.replace(conn) != Some(conn) {
                    self.assembly.begin_connection(&mut publish);
                }
                let assembly = &mut self.assembly;
                connection.framer.push(bytes, &mut |packet| assembly.push(now, packet, &mut publish));
            }
        }
        let seen = since(connection.framer.stats(), before);
        let source = connection.source;
        let is_first_packet = connection.handle_progress(now, bytes.len(), seen.packets);
        self.count(now, source, role, seen);
        if is_first_packet && role == Role::Used {
            self.outputs.push_back(Output::Event(StreamEvent::Connected { source }));
        }
        self.upstream.check_garbage(now, conn, &mut self.outputs);
    }

    /// Not with every piece of data: what is read together is sent together.
    fn flush_if_due(&mut self, now: Instant) {
        self.assembly.flush_if_due(now, &mut publish_to(&mut self.outputs, &mut self.stats));
    }

    fn finish_framer(&mut self, now: Instant, conn: ConnId) {
        let Some((connection, role)) = self.upstream.find(conn) else { return };
        let before = connection.framer.stats();
        if role == Role::Used && self.assembled == Some(conn) {
            let mut publish = publish_to(&mut self.outputs, &mut self.stats);
            let assembly = &mut self.assembly;
            connection.framer.finish(&mut |packet| assembly.push(now, packet, &mut publish));
        }
        let seen = since(connection.framer.stats(), before);
        let source = connection.source;
        self.count(now, source, role, seen);
    }

    fn count(&mut self, now: Instant, source: usize, role: Role, seen: FramerStats) {
        let of_source = &mut self.stats.sources[source];
        of_source.packets += seen.packets;
        of_source.bytes += seen.bytes;
        if role == Role::Used {
            let all = &mut self.stats.framing;
            all.bytes += seen.bytes;
            all.packets += seen.packets;
            all.skipped_bytes += seen.skipped_bytes;
            all.sync_losses += seen.sync_losses;
            all.sync_byte_errors += seen.sync_byte_errors;
            if seen.packets > 0 {
                self.stats.last_packet = Some(now);
            }
        }
    }

    /// When viewers are held no longer, unless packets flow before.
    fn grace_ends_at(&self) -> Option<Instant> {
        self.lost_at.filter(|_| !self.is_over).map(|at| at + self.grace)
    }

    fn update_availability(&mut self, now: Instant) {
        let has_hope = self.upstream.has_hope();
        let is_exhausted = self.upstream.is_running() && !has_hope;
        if is_exhausted && !self.is_exhausted {
            self.outputs.push_back(Output::Event(StreamEvent::Exhausted));
        }
        self.is_exhausted = is_exhausted;

        let is_flowing = self.upstream.is_flowing();
        let had_packets = self.stats.framing.packets > 0;
        self.lost_at = if is_flowing || !had_packets { None } else { self.lost_at.or(Some(now)) };
        let is_over = self.lost_at.is_some_and(|at| !has_hope || at + self.grace <= now);
        if is_over && !self.is_over {
            self.outputs.push_back(Output::Event(StreamEvent::GraceOver));
        }
        // Also what a connection left that ended with its first packets, after the grace time.
        if is_over && (!self.is_over || self.stats.segments > self.segments_forgotten) {
            self.segments_forgotten = self.stats.segments;
            self.outputs.push_back(Output::Forget);
        }
        self.is_over = is_over;

        let availability = match self.operator {
            Operator::Offline => Availability::Offline,
            Operator::Online if is_flowing => Availability::Live,
            Operator::Online if !had_packets => Availability::Never,
            Operator::Online if is_over => Availability::Lost,
            Operator::Online => Availability::Grace,
        };
        if availability != self.availability {
            self.availability = availability;
            self.outputs.push_back(Output::Availability(availability));
        }
    }
}

fn publish_to(outputs: &mut VecDeque<Output>, stats: &mut StreamStats) -> impl FnMut(Segment) {
    |segment: Segment| {
        stats.segments += 1;
        stats.packets_published += segment.packets();
        outputs.push_back(Output::Publish(segment));
    }
}

/// What was counted between two looks at the same framer.
fn since(now: FramerStats, before: FramerStats) -> FramerStats {
    FramerStats {
        bytes: now.bytes - before.bytes,
        packets: now.packets - before.packets,
        skipped_bytes: now.skipped_bytes - before.skipped_bytes,
        sync_losses: now.sync_losses - before.sync_losses,
        sync_byte_errors: now.sync_byte_errors - before.sync_byte_errors,
    }
}
