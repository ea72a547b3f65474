//! One viewer's connection: its socket, its place in the stream, and what it still has to be told.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use bytes::Bytes;
use restreamer_core::ts::PACKET_BYTES;
use restreamer_core::{Instant, Read, Ring, StallTimer, Viewer, ViewerEnd, ViewerStats};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::answer::Framing;
use crate::chunked::Chunks;
use crate::fanout::{Outlet, Ready, Visit};
use crate::gate::Seat;
use crate::observe::EndReason;
use crate::server::NewViewer;
use crate::service::Visitor;

/// Pieces handed to the kernel at once.
const SLICES_MAX: usize = 32;
/// No further piece is added to a write that is this long.
const WRITE_BYTES_MAX: usize = 256 << 10;
/// Writes to one viewer before the others get their turn.
const WRITES_MAX: usize = 4;
/// Reads from one viewer, who has nothing to say, before the others get their turn.
const READS_MAX: usize = 4;

/// How a look at a player ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// It has everything there is.
    CaughtUp,
    /// Its socket is full and will wake it.
    Blocked,
    /// There is more to do, but it is another one's turn.
    More,
    /// It is gone, or has to go.
    Ended(EndReason),
}

/// A viewer and its socket.
pub(crate) struct Player<S> {
    io: S,
    viewer: Viewer,
    /// Response head and preamble, until they are sent.
    greeting: Option<Box<Greeting>>,
    chunks: Option<Box<Chunks>>,
    stall: StallTimer,
    signal: Arc<Signal>,
    waker: Waker,
    ending: Option<EndReason>,
    is_blocked: bool,
    pub(crate) since: Instant,
    /// Its number in the journal; 0 when none is kept.
    pub(crate) number: u64,
    pub(crate) visitor: Box<Visitor>,
    /// Gives the place back when the player is dropped.
    _seat: Seat,
}

struct Greeting {
    head: Bytes,
    preamble: Bytes,
}

/// Wakes the fan-out task and says for whom.
struct Signal {
    key: u32,
    is_set: AtomicBool,
    ready: Arc<Ready>,
}

impl Wake for Signal {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.is_set.swap(true, Ordering::AcqRel) {
            self.ready.push(self.key);
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Player<S> {
    /// A player that has been sent nothing; it will ask to be looked at under `key`.
    pub(crate) fn new(now: Instant, new: NewViewer<S>, key: u32, ready: Arc<Ready>) -> Self {
        let NewViewer { io, head, preamble, framing, seat, visitor } = new;
        let (chunks, preamble) = match framing {
            Framing::Close => (None, preamble),
            Framing::Chunked => (Some(Box::default()), Chunks::whole(&preamble)),
        };
        let signal = Arc::new(Signal { key, is_set: AtomicBool::new(false), ready });
        Player {
            io,
            viewer: Viewer::new(),
            greeting: Some(Box::new(Greeting { head, preamble })),
            chunks,
            stall: StallTimer::new(),
            waker: Waker::from(Arc::clone(&signal)),
            signal,
            ending: None,
            is_blocked: false,
            since: now,
            number: 0,
            visitor,
            _seat: seat,
        }
    }

    /// Whether it waits for its socket.
    pub(crate) fn is_blocked(&self) -> bool {
        self.is_blocked
    }

    /// How far it is behind the newest segment.
    pub(crate) fn lag(&self, ring: &Ring) -> Duration {
        self.viewer.lag(ring)
    }

    /// The oldest segment that it has not taken, if it keeps up.
    pub(crate) fn wanted(&self) -> Option<u64> {
        self.viewer.wanted()
    }

    /// What it got so far.
    pub(crate) fn stats(&self) -> ViewerStats {
        self.viewer.stats()
    }

    /// Its response ends, after the packet that was begun. Asks to be looked at.
    pub(crate) fn end(&mut self, now: Instant, reason: EndReason) {
        if self.ending.is_none() {
            self.ending = Some(reason);
            self.viewer.end();
            self.stall.handle_end(now);
            self.waker.wake_by_ref();
        }
    }

    /// Why it has to go when it counts as stalled.
    pub(crate) fn stall_reason(&self) -> EndReason {
        self.ending.unwrap_or(EndReason::Stalled)
    }

    /// When it counts as stalled unless its socket moves before.
    pub(crate) fn stalls_at(&self, limit: Option<Duration>) -> Option<Instant> {
        self.stall.poll_timeout(limit)
    }

    /// Looks at a player whose socket has something to say: that it may write again, or that it is gone.
    pub(crate) fn handle_signal(&mut self, visit: &mut Visit<'_, S>) -> Progress {
        self.signal.is_set.store(false, Ordering::Release);
        match self.read_away() {
            Progress::CaughtUp => self.send(visit),
            Progress::More => {
                self.waker.wake_by_ref();
                self.send(visit)
            }
            other => other,
        }
    }

    /// Sends what there is, as far as the socket takes it.
    pub(crate) fn send(&mut self, visit: &mut Visit<'_, S>) -> Progress {
        let before = self.viewer.stats();
        let progress = self.write(visit);
        let (now, tally) = (visit.now, &mut *visit.tally);
        self.is_blocked = progress == Progress::Blocked;
        let after = self.viewer.stats();
        let has_moved = after.bytes_sent != before.bytes_sent;
        if has_moved && before.bytes_sent == 0 {
            tally.joins += 1;
            tally.join_wait_ns += now.saturating_since(self.since).as_nanos() as u64;
        }
        if has_moved || progress == Progress::CaughtUp {
            self.stall.handle_progress();
        }
        if self.is_blocked {
            self.stall.handle_blocked(now);
        }
        let packets = |bytes: u64| bytes / PACKET_BYTES as u64;
        tally.bytes_sent += after.bytes_sent - before.bytes_sent;
        tally.packets_sent += packets(after.bytes_sent) - packets(before.bytes_sent);
        tally.packets_skipped += after.packets_skipped - before.packets_skipped;
        tally.skips += u64::from(after.skips - before.skips);
        progress
    }

    fn write(&mut self, visit: &mut Visit<'_, S>) -> Progress {
        // A socket that may be full is not worth a system call: the runtime knows whether it still is.
        let mut may_be_full = self.is_blocked;
        for _ in 0..WRITES_MAX {
            let has_packets = match self.viewer.read(visit.ring, visit.policy) {
                Read::Ready => true,
                Read::Idle => false,
                Read::Ended(ViewerEnd::TooSlow) => return self.finish(EndReason::TooSlow, visit.outlet),
                Read::Ended(ViewerEnd::Asked) => {
                    return self.finish(self.ending.unwrap_or(EndReason::Shutdown), visit.outlet);
                }
            };
            if !has_packets && self.greeting.is_none() {
                // A layer between us and the socket may hold something back.
                let cx = &mut Context::from_waker(&self.waker);
                return match Pin::new(&mut self.io).poll_flush(cx) {
                    Poll::Ready(Err(error)) => Progress::Ended(end_of(&error)),
                    Poll::Ready(Ok(())) | Poll::Pending => Progress::CaughtUp,
                };
            }
            let outlet = (!may_be_full).then_some(visit.outlet);
            may_be_full = true;
            match self.write_once(visit.ring, has_packets, outlet) {
                Poll::Pending => return Progress::Blocked,
                Poll::Ready(Ok(0)) => return Progress::Ended(EndReason::ClientLost),
                Poll::Ready(Ok(_)) => visit.tally.writes += 1,
                Poll::Ready(Err(error)) => return Progress::Ended(end_of(&error)),
            }
        }
        self.waker.wake_by_ref();
        Progress::More
    }

    /// Writes once, without asking the runtime if there is an `outlet`.
    fn write_once(
        &mut self,
        ring: &Ring,
        has_packets: bool,
        outlet: Option<&dyn Outlet<S>>,
    ) -> Poll<io::Result<usize>> {
        let mut batch = Batch { slices: [IoSlice::new(&[]); SLICES_MAX], count: 0, bytes: 0 };
        if let Some(greeting) = &self.greeting {
            batch.push(&greeting.head);
            batch.push(&greeting.preamble);
        }
        if has_packets {
            match &mut self.chunks {
                None => self.viewer.pieces(ring).take_while(|piece| batch.push(piece)).for_each(drop),
                Some(chunks) => {
                    let offered = || self.viewer.pieces(ring).take(SLICES_MAX - 4);
                    chunks.begin(|| offered().map(<[u8]>::len).sum());
                    let (overhead, mut left) = (chunks.overhead(), chunks.left());
                    batch.push(overhead);
                    for piece in offered() {
                        let piece = &piece[..piece.len().min(left)];
                        left -= piece.len();
                        if piece.is_empty() || !batch.push(piece) {
                            break;
                        }
                    }
                }
            }
        }
        let cx = &mut Context::from_waker(&self.waker);
        let pieces = &batch.slices[..batch.count];
        let written = write_pieces(&mut self.io, pieces, outlet, cx);
        if let Poll::Ready(Ok(taken)) = written {
            self.advance(taken, ring);
        }
        written
    }

    fn advance(&mut self, mut taken: usize, ring: &Ring) {
        if let Some(greeting) = &mut self.greeting {
            for part in [&mut greeting.head, &mut greeting.preamble] {
                taken -= part.split_to(taken.min(part.len())).len();
            }
            if greeting.head.is_empty() && greeting.preamble.is_empty() {
                self.greeting = None;
            }
        }
        if let Some(chunks) = &mut self.chunks {
            taken = chunks.advance(taken);
        }
        self.viewer.advance(taken, ring);
    }

    /// The last bytes of the response. What does not fit into the socket now is left out: the client sees an
    /// end all the same.
    fn finish(&mut self, reason: EndReason, outlet: &dyn Outlet<S>) -> Progress {
        if self.greeting.is_none()
            && let Some(end) = self.chunks.as_deref().and_then(Chunks::end)
        {
            let cx = &mut Context::from_waker(&self.waker);
            let _ = write_pieces(&mut self.io, &[IoSlice::new(end)], Some(outlet), cx);
        }
        Progress::Ended(reason)
    }

    /// Reads what the client sends, which nobody asked for, to see when it is gone.
    pub(crate) fn read_away(&mut self) -> Progress {
        let cx = &mut Context::from_waker(&self.waker);
        for _ in 0..READS_MAX {
            let mut scratch = [0; 512];
            let mut buffer = ReadBuf::new(&mut scratch);
            match Pin::new(&mut self.io).poll_read(cx, &mut buffer) {
                Poll::Pending => return Progress::CaughtUp,
                Poll::Ready(Ok(())) if buffer.filled().is_empty() => {
                    return Progress::Ended(EndReason::ClientLeft);
                }
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => return Progress::Ended(end_of(&error)),
            }
        }
        Progress::More
    }
}

fn write_pieces<S: AsyncWrite + Unpin>(
    io: &mut S,
    pieces: &[IoSlice<'_>],
    outlet: Option<&dyn Outlet<S>>,
    cx: &mut Context<'_>,
) -> Poll<io::Result<usize>> {
    match outlet.map(|outlet| outlet.send(io, pieces)) {
        Some(Err(error))
            if !matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Unsupported) =>
        {
            Poll::Ready(Err(error))
        }
        Some(Ok(taken)) => Poll::Ready(Ok(taken)),
        Some(Err(_)) | None => Pin::new(io).poll_write_vectored(cx, pieces),
    }
}

/// What goes to the kernel in one call.
struct Batch<'a> {
    slices: [IoSlice<'a>; SLICES_MAX],
    count: usize,
    bytes: usize,
}

impl<'a> Batch<'a> {
    /// Adds a piece; answers whether there is room for another one. A piece that finds no room is left out.
    fn push(&mut self, piece: &'a [u8]) -> bool {
        if !piece.is_empty() && self.count < SLICES_MAX {
            self.slices[self.count] = IoSlice::new(piece);
            self.count += 1;
            self.bytes += piece.len();
        }
        self.count < SLICES_MAX && self.bytes < WRITE_BYTES_MAX
    }
}

fn end_of(error: &io::Error) -> EndReason {
    match error.kind() {
        io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted => {
            EndReason::ClientLeft
        }
        _ => EndReason::ClientLost,
    }
}
