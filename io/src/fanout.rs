//! Gives one stream to the viewers of one runtime.
//!
//! One task per runtime and stream, alive while it has viewers. It keeps a copy of the ring (by reference), so it
//! takes the stream's lock once per flush, however many viewers it has. Per flush it sweeps them: pieces, one
//! vectored write, advance. A viewer whose socket is full leaves the sweep until its socket wakes it; nothing is
//! queued for it, so everything unsent is still the drop policy's to drop.

use std::io::{self, IoSlice};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use restreamer_core::ts::PACKET_BYTES;
use restreamer_core::{Availability, Instant, Policy, Ring, flush, intake};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::task::coop::unconstrained;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::clock::Clock;
use crate::journal::Event;
use crate::net::Uprooted;
use crate::observe::{EndReason, Observe, StreamCounters};
use crate::player::{Player, Progress};
use crate::published::{Published, Reader};
use crate::route::StreamId;
use crate::server::NewViewer;

/// How often it is looked at how far behind the viewers are.
const DELAY_INTERVAL: Duration = Duration::from_secs(1);

/// How a stream treats its viewers.
#[derive(Clone, Copy, Debug)]
pub struct ViewerConfig {
    /// Where they join and what happens to slow ones.
    pub policy: Policy,
    /// A viewer that takes nothing at all for this long is disconnected; `None`: never.
    pub stall_timeout: Option<Duration>,
    /// What the kernel holds for one of them at most, bytes; `None`: what the kernel thinks best.
    pub send_buffer: Option<usize>,
}

/// What can be done with a viewer's socket beside reading and writing.
pub trait Outlet<S>: Send + Sync {
    /// Sets up the socket of a new viewer.
    fn tune(&self, socket: &S, config: &ViewerConfig);

    /// Sends what the socket has room for without asking the runtime first, as most sockets have room most of the
    /// time. Fails where that cannot be done, and where there is none.
    fn send(&self, socket: &S, pieces: &[IoSlice<'_>]) -> io::Result<usize>;

    /// Takes a socket off its runtime; gives it back where that cannot be done.
    fn uproot(&self, socket: S) -> Result<Uprooted<S>, S>;
}

/// The fan-outs of one runtime.
pub struct FanOuts<S> {
    streams: Vec<Arc<Shared<S>>>,
    shutdown: CancellationToken,
    tasks: TaskTracker,
}

/// What a fan-out task shares with those who call on it.
struct Shared<S> {
    id: StreamId,
    config: ViewerConfig,
    latency: Duration,
    published: Arc<Published>,
    outlet: Arc<dyn Outlet<S>>,
    observe: Arc<Observe>,
    clock: Clock,
    /// Wakes the task, whatever for.
    bell: Arc<Notify>,
    inbox: Mutex<Inbox<S>>,
    /// Viewers whose sockets have something to say.
    ready: Arc<Ready>,
    /// What all fan-outs of this runtime cost.
    load: Arc<Load>,
}

/// What it costs one runtime to write once to every viewer of every stream, nanoseconds: the sum of each fan-out's
/// last sweep.
#[derive(Debug, Default)]
struct Load(AtomicU64);

impl Load {
    /// Replaces one fan-out's part.
    fn replace(&self, before: u64, now: u64) {
        self.0.fetch_add(now.wrapping_sub(before), Ordering::Relaxed);
    }

    fn sum(&self) -> Duration {
        Duration::from_nanos(self.0.load(Ordering::Relaxed))
    }
}

struct Inbox<S> {
    arrivals: Vec<NewViewer<S>>,
    is_running: bool,
}

/// Numbers of the viewers to look at, filled by their wakers.
pub(crate) struct Ready {
    keys: Mutex<Vec<u32>>,
    bell: Arc<Notify>,
}

impl Ready {
    /// The viewer with this number wants to be looked at.
    pub(crate) fn push(&self, key: u32) {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner).push(key);
        self.bell.notify_one();
    }

    fn take(&self, keys: &mut Vec<u32>) {
        std::mem::swap(keys, &mut self.keys.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> FanOuts<S> {
    /// Fan-outs for these streams, in the order of their numbers, to be used within one runtime. The bytes of each
    /// may wait for so long to be sent together.
    pub fn new(
        streams: impl IntoIterator<Item = (ViewerConfig, Duration, Arc<Published>)>,
        observe: &Arc<Observe>,
        clock: Clock,
        shutdown: CancellationToken,
        outlet: impl Outlet<S> + 'static,
    ) -> Arc<Self> {
        let outlet: Arc<dyn Outlet<S>> = Arc::new(outlet);
        let load = Arc::<Load>::default();
        let streams = (0..).map(StreamId).zip(streams).map(|(id, (config, latency, published))| {
            let bell = Arc::new(Notify::new());
            Arc::new(Shared {
                id,
                config,
                latency,
                published,
                outlet: Arc::clone(&outlet),
                observe: Arc::clone(observe),
                clock,
                bell: Arc::clone(&bell),
                inbox: Mutex::new(Inbox { arrivals: Vec::new(), is_running: false }),
                ready: Arc::new(Ready { keys: Mutex::default(), bell }),
                load: Arc::clone(&load),
            })
        });
        Arc::new(FanOuts { streams: streams.collect(), shutdown, tasks: TaskTracker::new() })
    }

    /// Waits until the last viewer is gone; to be called after the shutdown.
    pub async fn join(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// Whether this runtime has time for more viewers of `stream`.
    pub(crate) fn has_time_for(&self, stream: StreamId) -> bool {
        let shared = &self.streams[stream.0 as usize];
        !self.shutdown.is_cancelled() && flush::has_time(shared.latency, shared.load.sum())
    }

    /// Brings somebody here; [`FanOuts::join`] waits for him.
    pub(crate) fn spawn_on(&self, runtime: &Handle, arrival: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn_on(arrival, runtime);
    }

    /// The socket of `viewer` did not survive its way here.
    pub(crate) fn note_lost(&self, stream: StreamId, viewer: &NewViewer<()>, error: &io::Error) {
        tracing::warn!(
            module = "streaming",
            event = "viewer_lost",
            stream = &*self.streams[stream.0 as usize].counters().label,
            remote = %viewer.visitor.peer,
            error = %error,
            "a connection could not be moved to another thread"
        );
    }

    /// See [`Outlet::uproot`].
    pub(crate) fn uproot(&self, stream: StreamId, socket: S) -> Result<Uprooted<S>, S> {
        self.streams[stream.0 as usize].outlet.uproot(socket)
    }

    /// Serves `viewer` from here on, on the current runtime.
    pub(crate) fn take(&self, stream: StreamId, viewer: NewViewer<S>) {
        let shared = &self.streams[stream.0 as usize];
        shared.outlet.tune(&viewer.io, &shared.config);
        let mut inbox = shared.lock_inbox();
        inbox.arrivals.push(viewer);
        if inbox.is_running {
            shared.bell.notify_one();
        } else {
            inbox.is_running = true;
            let task = FanOut::new(Arc::clone(shared)).run(self.shutdown.clone());
            // A sweep polls every socket once: a budget per task would end it in the middle.
            self.tasks.spawn(unconstrained(task));
        }
    }
}

impl<S> Shared<S> {
    fn lock_inbox(&self) -> MutexGuard<'_, Inbox<S>> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn counters(&self) -> &StreamCounters {
        self.observe.stream(self.id)
    }
}

/// The task: one stream, the viewers of one runtime.
struct FanOut<S> {
    shared: Arc<Shared<S>>,
    ring: Ring,
    /// Viewers by number; a number is used again when its viewer is gone.
    players: Vec<Option<Player<S>>>,
    free: Vec<u32>,
    /// The earliest moment at which a socket may count as stalled.
    stall_check: Option<Instant>,
    /// How often the published stream has turned all its viewers away.
    dismissals: u64,
    /// What the last sweep took, nanoseconds.
    sweep_ns: u64,
    /// How far behind the viewers were when somebody last looked.
    delay: Delay,
    tally: Tally,
}

/// The lag of all viewers of one task, as it stands in the shared gauges.
#[derive(Clone, Copy, Debug, Default)]
struct Delay {
    blocked: u64,
    lag_ns: u64,
    /// When it is looked at again.
    due: Instant,
}

/// What a player needs when it is looked at.
pub(crate) struct Visit<'a, S> {
    pub(crate) now: Instant,
    pub(crate) ring: &'a Ring,
    pub(crate) policy: &'a Policy,
    pub(crate) outlet: &'a dyn Outlet<S>,
    pub(crate) tally: &'a mut Tally,
}

/// What one round did, added to the shared counters at its end.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) packets_sent: u64,
    pub(crate) bytes_sent: u64,
    pub(crate) packets_skipped: u64,
    pub(crate) skips: u64,
    pub(crate) writes: u64,
    pub(crate) joins: u64,
    pub(crate) join_wait_ns: u64,
}

impl<S: AsyncRead + AsyncWrite + Unpin> FanOut<S> {
    fn new(shared: Arc<Shared<S>>) -> Self {
        FanOut {
            ring: shared.published.new_copy(),
            dismissals: shared.published.dismissals(),
            shared,
            players: Vec::new(),
            free: Vec::new(),
            stall_check: None,
            sweep_ns: 0,
            delay: Delay::default(),
            tally: Tally::default(),
        }
    }

    /// Serves viewers until there are none.
    async fn run(mut self, shutdown: CancellationToken) {
        let bell = Arc::clone(&self.shared.bell);
        let reader = self.shared.published.subscribe(Arc::clone(&bell));
        let mut keys = Vec::new();
        loop {
            self.round(&mut keys, shutdown.is_cancelled());
            self.shared.published.set_wanted(&reader, self.wanted());
            self.shared.published.set_flush_cost(&reader, self.shared.load.sum());
            if self.players.len() == self.free.len() && self.leave_if_empty(&reader) {
                break;
            }
            if bell.notified().now_or_never().is_some() {
                // There is work already, but others on this runtime have some too.
                tokio::task::yield_now().await;
                continue;
            }
            let check_due = self.check_due().map(|due| self.shared.clock.at(due));
            let check = async {
                match check_due {
                    Some(due) => tokio::time::sleep_until(due).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = bell.notified() => {}
                () = shutdown.cancelled(), if !shutdown.is_cancelled() => {}
                () = check => {}
            }
        }
    }

    /// When a socket may count as stalled, or viewers who were behind may have caught up without a word.
    fn check_due(&self) -> Option<Instant> {
        let is_behind = self.delay.blocked > 0 || self.delay.lag_ns > 0;
        self.stall_check.into_iter().chain(is_behind.then_some(self.delay.due)).min()
    }

    /// Everything there is to do now.
    fn round(&mut self, keys: &mut Vec<u32>, is_shutdown: bool) {
        let now = self.shared.clock.now();
        let newest = self.ring.next();
        self.shared.published.catch_up(&mut self.ring);
        self.let_in(now);
        self.dismiss(now, is_shutdown);
        if self.ring.next() != newest {
            let begun = self.shared.clock.now();
            for key in 0..self.players.len() {
                self.visit(key, now, |player| !player.is_blocked(), Player::send);
            }
            self.note_sweep(self.shared.clock.now().saturating_since(begun));
        }
        self.shared.ready.take(keys);
        for key in keys.drain(..) {
            self.visit(key as usize, now, |_| true, Player::handle_signal);
        }
        if self.stall_check.is_some_and(|due| due <= now) {
            self.end_stalled(now);
        }
        if self.delay.due <= now || self.players.len() == self.free.len() {
            self.note_delay(now);
        }
        self.count();
    }

    fn note_sweep(&mut self, took: Duration) {
        let sweep_ns = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.shared.load.replace(std::mem::replace(&mut self.sweep_ns, sweep_ns), sweep_ns);
    }

    /// Replaces this task's part of the gauges.
    fn note_delay(&mut self, now: Instant) {
        let players = || self.players.iter().flatten();
        let lag: Duration = players().map(|player| player.lag(&self.ring)).sum();
        let delay = Delay {
            blocked: players().filter(|player| player.is_blocked()).count() as u64,
            lag_ns: u64::try_from(lag.as_nanos()).unwrap_or(u64::MAX),
            due: now + DELAY_INTERVAL,
        };
        let before = std::mem::replace(&mut self.delay, delay);
        let counters = self.shared.counters();
        counters.blocked.add(delay.blocked);
        counters.blocked.sub(before.blocked);
        counters.lag_ns.add(delay.lag_ns);
        counters.lag_ns.sub(before.lag_ns);
    }

    /// Gives the new viewers a place and their first bytes.
    fn let_in(&mut self, now: Instant) {
        let arrivals = std::mem::take(&mut self.shared.lock_inbox().arrivals);
        for arrival in arrivals {
            let key = self.free.pop().unwrap_or_else(|| {
                self.players.push(None);
                (self.players.len() - 1) as u32
            });
            let ready = Arc::clone(&self.shared.ready);
            let mut player = Player::new(now, arrival, key, ready);
            if let Some(journal) = self.shared.observe.journal() {
                player.number = journal.note_viewer(now, self.shared.id);
            }
            self.players[key as usize] = Some(player);
            self.visit(key as usize, now, |_| true, Player::handle_signal);
        }
    }

    /// Looks at one player, if it is there and `wants` it.
    fn visit(
        &mut self,
        key: usize,
        now: Instant,
        wants: impl FnOnce(&Player<S>) -> bool,
        look: impl FnOnce(&mut Player<S>, &mut Visit<'_, S>) -> Progress,
    ) {
        // A signal may outlive its viewer, and even the task that served him.
        let player = self.players.get_mut(key).and_then(Option::as_mut);
        let Some(player) = player.filter(|player| wants(player)) else { return };
        let mut visit = Visit {
            now,
            ring: &self.ring,
            policy: &self.shared.config.policy,
            outlet: &*self.shared.outlet,
            tally: &mut self.tally,
        };
        match look(player, &mut visit) {
            Progress::CaughtUp | Progress::More => {}
            Progress::Blocked => {
                let due = player.stalls_at(self.shared.config.stall_timeout);
                self.stall_check = self.stall_check.into_iter().chain(due).min();
            }
            Progress::Ended(reason) => self.remove(key, now, reason),
        }
    }

    /// Ends all responses when the stream went off the air, or the process ends.
    fn dismiss(&mut self, now: Instant, is_shutdown: bool) {
        let dismissals = self.shared.published.dismissals();
        let was_dismissed = std::mem::replace(&mut self.dismissals, dismissals) != dismissals;
        let reason = match self.shared.published.availability() {
            _ if is_shutdown => EndReason::Shutdown,
            Availability::Offline => EndReason::Offline,
            Availability::Lost => EndReason::UpstreamLost,
            _ if was_dismissed => EndReason::Offline,
            _ => return,
        };
        self.players.iter_mut().flatten().for_each(|player| player.end(now, reason));
    }

    fn end_stalled(&mut self, now: Instant) {
        self.stall_check = None;
        for key in 0..self.players.len() {
            let Some(player) = &self.players[key] else { continue };
            match player.stalls_at(self.shared.config.stall_timeout) {
                Some(due) if due <= now => self.remove(key, now, player.stall_reason()),
                due => self.stall_check = self.stall_check.into_iter().chain(due).min(),
            }
        }
    }

    fn remove(&mut self, key: usize, now: Instant, reason: EndReason) {
        let Some(player) = self.players[key].take() else { return };
        self.free.push(key as u32);
        let duration = now.saturating_since(player.since);
        let duration_ns = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        let counters = self.shared.counters();
        counters.duration_ns.add(duration_ns);
        counters.ended(reason).add(1);
        let stats = player.stats();
        if let Some(journal) = self.shared.observe.journal() {
            let (viewer, bytes, skipped_packets) = (player.number, stats.bytes_sent, stats.packets_skipped);
            journal.note(now, self.shared.id, Event::Left { viewer, bytes, skipped_packets, reason });
        }
        tracing::info!(
            module = "streaming",
            event = "viewer_end",
            stream = &*counters.label,
            remote = %player.visitor.peer,
            user_agent = &*player.visitor.user_agent,
            bytes = stats.bytes_sent,
            duration = duration_ns,
            skipped_packets = stats.packets_skipped,
            reason = reason.name(),
            "viewer ended"
        );
    }

    /// Adds what was done to the stream's counters.
    fn count(&mut self) {
        let tally = std::mem::take(&mut self.tally);
        if tally.writes == 0 && tally.skips == 0 {
            return;
        }
        let counters = self.shared.counters();
        counters.bytes_sent.add(tally.bytes_sent);
        counters.packets_sent.add(tally.packets_sent);
        counters.packets_dropped.add(tally.packets_skipped);
        counters.bytes_dropped.add(tally.packets_skipped * PACKET_BYTES as u64);
        counters.skips.add(tally.skips);
        counters.flushes.add(tally.writes);
        counters.joins.add(tally.joins);
        counters.join_wait_ns.add(tally.join_wait_ns);
    }

    /// The oldest segment that a viewer who keeps up has not taken; not looked for where a source has no reason to
    /// wait for it.
    fn wanted(&self) -> Option<u64> {
        if !intake::is_rushed(&self.ring) {
            return None;
        }
        let wanted = self.players.iter().flatten().filter_map(Player::wanted);
        wanted.filter(|&wanted| wanted >= self.ring.first()).min()
    }

    /// Answers whether the task may end: whoever arrives from now on starts a new one.
    fn leave_if_empty(&mut self, reader: &Arc<Reader>) -> bool {
        let mut inbox = self.shared.lock_inbox();
        if inbox.arrivals.is_empty() {
            inbox.is_running = false;
            self.shared.load.replace(self.sweep_ns, 0);
            self.shared.published.unsubscribe(reader);
        }
        !inbox.is_running
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::Gate;
    use crate::server::testing::viewer;
    use bytes::Bytes;
    use restreamer_core::stall::ENDING_TIME_MAX;
    use restreamer_core::testing::Reel;
    use restreamer_core::{AdmissionLimits, Join, RingLimits};
    use std::pin::Pin;
    use std::sync::atomic::AtomicUsize;
    use std::task::{Context, Poll};
    use tokio::io::ReadBuf;

    /// A socket that takes so many bytes more, and never says anything.
    struct Socket {
        room: Arc<AtomicUsize>,
        /// Whether the runtime has heard that there is room.
        is_known: bool,
    }

    impl Socket {
        fn take(&self, bytes: usize) -> usize {
            let room = self.room.load(Ordering::Relaxed);
            let taken = bytes.min(room);
            self.room.store(room - taken, Ordering::Relaxed);
            taken
        }
    }

    impl AsyncRead for Socket {
        fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
            Poll::Pending
        }
    }

    impl AsyncWrite for Socket {
        fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
            self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
        }

        fn poll_write_vectored(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            slices: &[IoSlice<'_>],
        ) -> Poll<io::Result<usize>> {
            if !self.is_known {
                return Poll::Pending;
            }
            let taken = self.take(slices.iter().map(|slice| slice.len()).sum());
            if taken == 0 { Poll::Pending } else { Poll::Ready(Ok(taken)) }
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    /// What the sockets answer to who does not ask first.
    #[derive(Clone, Copy)]
    enum Unasked {
        Send,
        Fail(io::ErrorKind),
    }

    impl Outlet<Socket> for Unasked {
        fn tune(&self, _: &Socket, _: &ViewerConfig) {}

        fn send(&self, socket: &Socket, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
            match *self {
                Unasked::Send if socket.room.load(Ordering::Relaxed) == 0 => {
                    Err(io::ErrorKind::WouldBlock.into())
                }
                Unasked::Send => Ok(socket.take(pieces.iter().map(|piece| piece.len()).sum())),
                Unasked::Fail(kind) => Err(kind.into()),
            }
        }

        fn uproot(&self, socket: Socket) -> Result<Uprooted<Socket>, Socket> {
            Err(socket)
        }
    }

    /// The task of one stream, with so many viewers, who join live.
    fn task_with(viewers: usize) -> FanOut<Socket> {
        task_with_sockets(viewers, &Arc::new(AtomicUsize::new(usize::MAX)), Unasked::Send)
    }

    fn task_with_sockets(viewers: usize, room: &Arc<AtomicUsize>, unasked: Unasked) -> FanOut<Socket> {
        let observe = Observe::new([("/s.ts", ["tcp://source:1"])]);
        let gate = Gate::new(AdmissionLimits::default(), Arc::clone(&observe), Box::new(|_| ()));
        let policy = Policy { join: Join::Live, ..Policy::default() };
        let config = ViewerConfig { policy, stall_timeout: None, send_buffer: None };
        let published = Arc::new(Published::new(RingLimits::default()));
        let streams = [(config, Duration::from_millis(20), published)];
        let (clock, shutdown) = (Clock::start(), CancellationToken::new());
        let fan_outs = FanOuts::new(streams, &observe, clock, shutdown, unasked);
        let task = FanOut::new(Arc::clone(&fan_outs.streams[0]));
        task.shared.published.set_availability(Availability::Live);
        let viewer = || viewer(&gate, Socket { room: Arc::clone(room), is_known: true });
        task.shared.lock_inbox().arrivals.extend((0..viewers).map(|_| viewer()));
        task
    }

    /// A client that sends a lot and leaves signals once more while it is removed. As the last one it ends the
    /// task, and the next task, with fewer viewers, found its number: it panicked, and the stream was dead.
    #[tokio::test]
    async fn a_signal_of_a_viewer_who_is_gone_is_no_signal() {
        let mut task = task_with(0);
        task.shared.ready.push(4);
        task.round(&mut Vec::new(), false);
        assert!(task.players.is_empty());
    }

    #[tokio::test]
    async fn what_came_during_a_long_sweep_goes_to_each_viewer_with_one_write() {
        let (mut task, mut reel) = (task_with(3), Reel::new());
        task.round(&mut Vec::new(), false);
        let observe = Arc::clone(&task.shared.observe);
        let counters = observe.stream(StreamId(0));
        let writes = counters.flushes.now();
        for (round, segments) in [1, 5, 20].into_iter().enumerate() {
            let sent = counters.bytes_sent.now();
            for _ in 0..segments {
                task.shared.published.push(reel.segment(Instant::ORIGIN, 10, false));
            }
            task.round(&mut Vec::new(), false);
            assert_eq!(
                task.shared.observe.stream(StreamId(0)).flushes.now(),
                writes + 3 * (round as u64 + 1)
            );
            assert!(counters.bytes_sent.now() - sent >= 3 * segments * 10 * PACKET_BYTES as u64);
        }
    }

    #[tokio::test]
    async fn a_socket_gets_all_that_it_has_room_for_however_it_answers() {
        for unasked in [Unasked::Send, Unasked::Fail(io::ErrorKind::Unsupported)] {
            let room = Arc::new(AtomicUsize::new(usize::MAX));
            let (mut task, mut reel) = (task_with_sockets(1, &room, unasked), Reel::new());
            task.round(&mut Vec::new(), false);
            let observe = Arc::clone(&task.shared.observe);
            let counters = observe.stream(StreamId(0));
            let joined_with = counters.bytes_sent.now();
            room.store(5 * PACKET_BYTES + 1, Ordering::Relaxed);
            task.shared.published.push(reel.segment(Instant::ORIGIN, 10, false));
            task.round(&mut Vec::new(), false);
            assert_eq!(counters.bytes_sent.now() - joined_with, 5 * PACKET_BYTES as u64 + 1);
            assert!(task.players[0].as_ref().unwrap().is_blocked());
            room.store(usize::MAX, Ordering::Relaxed);
            task.shared.ready.push(0);
            task.round(&mut Vec::new(), false);
            assert_eq!(counters.bytes_sent.now() - joined_with, 10 * PACKET_BYTES as u64);
        }
    }

    /// A socket that had moved to its runtime a moment ago was closed without an answer.
    #[tokio::test]
    async fn whoever_is_let_in_gets_the_head_however_soon_the_stream_goes_off_the_air() {
        let mut task = task_with(1);
        let room = Arc::new(AtomicUsize::new(1_000));
        for arrival in &mut task.shared.lock_inbox().arrivals {
            arrival.io = Socket { room: Arc::clone(&room), is_known: false };
            arrival.preamble = Bytes::from_static(b"preamble");
        }
        task.shared.published.set_availability(Availability::Offline);
        task.round(&mut Vec::new(), false);
        assert_eq!(room.load(Ordering::Relaxed), 1_000 - b"headpreamble".len());
        assert_eq!(task.shared.counters().ended(EndReason::Offline).now(), 1);
    }

    #[tokio::test]
    async fn a_socket_that_fails_ends_its_response_with_the_reason() {
        let room = Arc::new(AtomicUsize::new(usize::MAX));
        for (kind, reason) in [
            (io::ErrorKind::ConnectionReset, EndReason::ClientLeft),
            (io::ErrorKind::TimedOut, EndReason::ClientLost),
        ] {
            let mut task = task_with_sockets(1, &room, Unasked::Fail(kind));
            task.shared.published.push(Reel::new().segment(Instant::ORIGIN, 10, false));
            task.round(&mut Vec::new(), false);
            assert_eq!(task.shared.counters().ended(reason).now(), 1, "{kind}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_gauges_say_how_far_viewers_are_behind() {
        let room = Arc::new(AtomicUsize::new(usize::MAX));
        let (mut task, mut reel) = (task_with_sockets(3, &room, Unasked::Send), Reel::new());
        let mut publish = |task: &mut FanOut<Socket>, ms| {
            task.shared.published.push(reel.segment(Instant::from_millis(ms), 10, false));
            task.round(&mut Vec::new(), false);
        };
        let gauges = |task: &FanOut<Socket>| {
            let counters = task.shared.counters();
            (counters.blocked.now(), Duration::from_nanos(counters.lag_ns.now()))
        };
        task.round(&mut Vec::new(), false);
        publish(&mut task, 0);
        room.store(0, Ordering::Relaxed);
        publish(&mut task, 100);
        assert_eq!(gauges(&task), (0, Duration::ZERO), "nobody has looked yet");
        tokio::time::advance(Duration::from_secs(1)).await;
        publish(&mut task, 1_100);
        assert_eq!(gauges(&task), (3, Duration::from_secs(3)), "three viewers, a second each");

        (0..3).for_each(|key| task.remove(key, Instant::from_millis(1_100), EndReason::ClientLeft));
        task.round(&mut Vec::new(), false);
        assert_eq!(gauges(&task), (0, Duration::ZERO));
    }

    /// One who had taken nothing for longer than a response may take to end was cut off at once, as stalled.
    #[tokio::test(start_paused = true)]
    async fn a_slow_viewer_has_time_for_the_rest_of_his_packet_when_the_process_ends() {
        let room = Arc::new(AtomicUsize::new(usize::MAX));
        let (mut task, mut reel) = (task_with_sockets(1, &room, Unasked::Send), Reel::new());
        task.round(&mut Vec::new(), false);
        room.store(PACKET_BYTES / 2, Ordering::Relaxed);
        task.shared.published.push(reel.segment(Instant::ORIGIN, 10, false));
        task.round(&mut Vec::new(), false);
        tokio::time::advance(2 * ENDING_TIME_MAX).await;
        task.round(&mut Vec::new(), true);
        tokio::time::advance(ENDING_TIME_MAX - Duration::from_millis(1)).await;
        task.round(&mut Vec::new(), true);
        assert_eq!(task.players.iter().flatten().count(), 1);
        tokio::time::advance(Duration::from_millis(1)).await;
        task.round(&mut Vec::new(), true);
        assert_eq!(task.shared.counters().ended(EndReason::Shutdown).now(), 1);
    }

    #[test]
    fn the_cost_of_a_flush_is_that_of_all_streams_of_the_runtime() {
        let load = Load::default();
        for (before, now, sum) in [(0, 70, 70), (0, 30, 100), (70, 20, 50), (30, 0, 20)] {
            load.replace(before, now);
            assert_eq!(load.sum(), Duration::from_nanos(sum));
        }
    }
}
