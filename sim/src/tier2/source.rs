//! The programme, and the hosts that broadcast it.
//!
//! A programme goes on whether anybody listens or not: a connection gets what is due from its start on, and what
//! was due while there was none is lost.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use restreamer_core::testing::{Content, Mark, StreamSpec, SyntheticStream};
use restreamer_core::ts::PACKET_BYTES;
use restreamer_core::{Instant, Rng};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use turmoil::net::TcpListener;
use turmoil::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

use super::plan::{Plan, SourcePlan};
use super::stage::{Stage, now};

/// Where every source listens.
pub(super) const SOURCE_PORT: u16 = 5000;

/// Numbers of marks that belong to one source.
const MARKS_PER_SOURCE: u64 = 1 << 40;

/// All packets of a source so far: the truth.
pub(super) struct Programme {
    stream: SyntheticStream,
    packets: Vec<(Content, [u8; PACKET_BYTES])>,
    /// The place of each marked packet, by its number.
    places: Vec<usize>,
    psi: BTreeMap<[u8; PACKET_BYTES], Content>,
    /// Places from which on a connection was served: packets before them may be lost.
    pub(super) starts: Vec<Start>,
}

/// A place from which on a connection was served.
#[derive(Clone, Copy, Debug)]
pub(super) struct Start {
    pub(super) place: usize,
    /// It is the same connection as before, after a silence.
    pub(super) is_tear: bool,
}

/// One packet of one programme.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) source: usize,
    pub(super) index: usize,
}

impl Programme {
    pub(super) fn new(seed: u64, source: usize, plan: &SourcePlan) -> Self {
        let mut spec = StreamSpec::new(seed ^ source as u64, plan.bitrate);
        spec.sequence_start = source as u64 * MARKS_PER_SOURCE;
        if let Some(video) = &mut spec.video {
            video.gop_frames = plan.gop_frames;
        }
        Programme {
            stream: SyntheticStream::new(spec),
            packets: Vec::new(),
            places: Vec::new(),
            psi: BTreeMap::new(),
            starts: Vec::new(),
        }
    }

    /// Makes it last until `until`.
    pub(super) fn go_on(&mut self, until: Duration) {
        let until = Instant::ORIGIN + until;
        while self.stream.next_at() <= until {
            let packet = self.stream.next_packet();
            match packet.content {
                Content::Pat | Content::Pmt => {
                    self.psi.insert(packet.bytes, packet.content);
                }
                Content::Pcr => {}
                _ => self.places.push(self.packets.len()),
            }
            self.packets.push((packet.content, packet.bytes));
        }
    }

    pub(super) fn len(&self) -> usize {
        self.packets.len()
    }

    pub(super) fn packet(&self, index: usize) -> Option<&(Content, [u8; PACKET_BYTES])> {
        self.packets.get(index)
    }

    /// Whether this is one of its PAT or PMT packets, and which.
    pub(super) fn psi(&self, packet: &[u8; PACKET_BYTES]) -> Option<Content> {
        self.psi.get(packet).copied()
    }

    /// Where a connection was served from on, after `from` and not after `to`.
    pub(super) fn start_between(&self, from: usize, to: usize) -> Option<Start> {
        let is_between = |start: &&Start| start.place > from && start.place <= to;
        let mut starts = self.starts.iter().filter(is_between);
        let first = starts.next().copied();
        starts.find(|start| start.is_tear).copied().or(first)
    }

    /// The bytes from a place on.
    fn bytes_from(&self, place: usize) -> Vec<u8> {
        self.packets[place..].iter().flat_map(|(_, bytes)| bytes).copied().collect()
    }
}

/// Finds the packet that a mark names.
pub(super) fn place_of(programmes: &[Programme], mark: Mark) -> Option<Place> {
    let source = usize::try_from(mark.sequence / MARKS_PER_SOURCE).ok()?;
    let number = usize::try_from(mark.sequence % MARKS_PER_SOURCE).ok()?;
    let index = *programmes.get(source)?.places.get(number)?;
    Some(Place { source, index })
}

/// The host of one source.
pub(super) async fn host(stage: Rc<RefCell<Stage>>, plan: Rc<Plan>, source: usize) -> turmoil::Result {
    let listener = TcpListener::bind(("0.0.0.0", SOURCE_PORT)).await?;
    let mut connections = 0;
    loop {
        let (stream, _) = listener.accept().await?;
        connections += 1;
        let broadcast = Broadcast {
            stage: Rc::clone(&stage),
            plan: plan.sources[source].clone(),
            source,
            rng: Rng::from_seed(plan.seed ^ (source as u64) << 48 ^ connections),
        };
        let (from, to) = stream.into_split();
        tokio::task::spawn_local(broadcast.run(from, to));
    }
}

/// One connection of the proxy to a source.
struct Broadcast {
    stage: Rc<RefCell<Stage>>,
    plan: SourcePlan,
    source: usize,
    rng: Rng,
}

/// What a source has to do next.
enum Next {
    Send(Vec<u8>),
    Nothing,
    HangUp,
    HalfClose,
}

impl Broadcast {
    async fn run(mut self, mut from: OwnedReadHalf, mut to: OwnedWriteHalf) {
        if self.plan.is_http && self.answer(&mut from, &mut to).await.is_none() {
            return;
        }
        let switches = self.stage.borrow().switches(self.source);
        let mut place = None;
        loop {
            match self.next(&mut place, switches) {
                Next::Send(bytes) => {
                    if self.send(&mut to, &bytes).await.is_none() {
                        return;
                    }
                }
                Next::Nothing => {}
                Next::HangUp => {
                    let torn = self.torn_packet(place);
                    let _ = to.write_all(&torn).await;
                    return;
                }
                Next::HalfClose => {
                    let _ = to.shutdown().await;
                    let _ = tokio::io::copy(&mut from, &mut tokio::io::sink()).await;
                    return;
                }
            }
            let mut scratch = [0; 64];
            tokio::select! {
                biased;
                read = from.read(&mut scratch) => if !matches!(read, Ok(1..)) { return },
                () = tokio::time::sleep(Duration::from_millis(self.plan.flush_ms)) => {}
            }
        }
    }

    /// Reads the request and sends the head of the answer.
    async fn answer(&self, from: &mut OwnedReadHalf, to: &mut OwnedWriteHalf) -> Option<()> {
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            request.push(from.read_u8().await.ok()?);
        }
        to.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: video/mp2t\r\nConnection: close\r\n\r\n").await.ok()
    }

    fn next(&self, place: &mut Option<usize>, switches: [u64; 2]) -> Next {
        let mut stage = self.stage.borrow_mut();
        let [hang_ups, half_closes] = stage.switches(self.source);
        if hang_ups != switches[0] {
            return Next::HangUp;
        }
        if half_closes != switches[1] {
            return Next::HalfClose;
        }
        let is_silent = stage.silent[self.source];
        let programme = &mut stage.programmes[self.source];
        programme.go_on(now());
        let end = programme.len();
        if is_silent {
            // What is due meanwhile is not sent later either.
            *place = Some(usize::MAX);
            return Next::Nothing;
        }
        let begin = match *place {
            Some(place) if place != usize::MAX => place,
            other => {
                programme.starts.push(Start { place: end, is_tear: other.is_some() });
                end
            }
        };
        *place = Some(end);
        Next::Send(programme.bytes_from(begin))
    }

    async fn send(&mut self, to: &mut OwnedWriteHalf, mut bytes: &[u8]) -> Option<()> {
        while !bytes.is_empty() {
            let length = self.rng.between(1, self.plan.piece_bytes) as usize;
            let (piece, rest) = bytes.split_at(length.min(bytes.len()));
            to.write_all(piece).await.ok()?;
            bytes = rest;
        }
        Some(())
    }

    fn torn_packet(&mut self, place: Option<usize>) -> Vec<u8> {
        let mut stage = self.stage.borrow_mut();
        let programme = &mut stage.programmes[self.source];
        programme.go_on(now());
        let packet = place.and_then(|place| programme.packet(place));
        let length = self.rng.below(PACKET_BYTES as u64) as usize;
        packet.map(|(_, bytes)| bytes[..length].to_vec()).unwrap_or_default()
    }
}
