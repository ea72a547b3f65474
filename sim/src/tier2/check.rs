//! What one session of one person has to be: judged by the bytes that arrived and by the truth about the sources.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use restreamer_core::testing::{Content, Mark, PMT_PID};
use restreamer_core::ts::{PACKET_BYTES, Packet, Pid};

use super::plan::{Plan, SlowPlan};
use super::source::{Place, Programme, place_of};
use super::stage::Promise;

/// One request of one person, from its beginning to its end and beyond.
pub(super) struct Session {
    pub(super) person: usize,
    pub(super) home: usize,
    /// The near end of its connection.
    pub(super) address: Option<SocketAddr>,
    pub(super) phase: Phase,
    /// When the present phase began.
    pub(super) since: Duration,
    /// Since when the person has been waiting for bytes; `None` while he does not want any.
    pub(super) waiting_since: Option<Duration>,
    /// The network, the proxy or the person broke it: nothing is promised any more but legal bytes.
    pub(super) is_broken: bool,
    /// The proxy was told to end: so may the response, but with a whole packet.
    pub(super) may_end: bool,
    /// The person or his line was slow: the drop policy may have acted.
    pub(super) may_lag: bool,
    /// Until then nothing is demanded in time.
    pub(super) excused_until: Duration,
    /// How often the stream had turned its viewers away when this one asked.
    pub(super) dismissals: u64,
    /// Packets that arrived, PSI and the marks of seams included.
    pub(super) packets: u64,
    pub(super) seams: u64,
    pub(super) skips: u64,
    preamble: Bytes,
    partial: Vec<u8>,
    place: Option<Place>,
    /// The last place in each source.
    last: Vec<Option<usize>>,
    has_pat: bool,
    has_pmt: bool,
    rules: Rules,
}

/// Where a session is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// No connection yet.
    Connecting,
    /// The request is under way; the whole of it is sent from `since` on, if the person ever sends it.
    Asking,
    /// The request is sent.
    Asked,
    /// The answer is a stream.
    Watching,
    /// It is over.
    Over,
}

/// What the configuration promises.
#[derive(Clone, Copy, Debug)]
struct Rules {
    joins_at_access: bool,
    slow: SlowPlan,
}

/// How a promise was broken.
pub(super) type Breach = (Promise, String);

impl Session {
    pub(super) fn new(plan: &Plan, person: usize, now: Duration, preamble: Bytes) -> Self {
        Session {
            person,
            home: plan.people[person].home,
            address: None,
            phase: Phase::Connecting,
            since: now,
            waiting_since: None,
            is_broken: false,
            may_end: false,
            may_lag: false,
            excused_until: Duration::ZERO,
            dismissals: 0,
            packets: 0,
            seams: 0,
            skips: 0,
            preamble,
            partial: Vec::new(),
            place: None,
            last: vec![None; plan.sources.len()],
            has_pat: false,
            has_pmt: false,
            rules: Rules { joins_at_access: plan.proxy.join_behind_ms.is_some(), slow: plan.proxy.slow },
        }
    }

    pub(super) fn enter(&mut self, phase: Phase, now: Duration) {
        self.phase = phase;
        self.since = now;
    }

    /// Nothing is demanded of it in time until then, and the drop policy may act.
    pub(super) fn excuse(&mut self, until: Duration) {
        self.may_lag = true;
        self.excused_until = self.excused_until.max(until);
    }

    /// Whether it is watching and has been sent a packet of the stream.
    pub(super) fn has_picture(&self) -> bool {
        self.phase == Phase::Watching && self.place.is_some()
    }

    /// Whether this packet, or a later one of the same source, has arrived.
    pub(super) fn has(&self, place: Place) -> bool {
        self.last[place.source].is_some_and(|last| last >= place.index)
    }

    /// Whether the bytes so far end with a packet.
    pub(super) fn is_whole(&self) -> bool {
        self.partial.is_empty()
    }

    /// How far it is.
    pub(super) fn describe(&self) -> String {
        let place = self.place.map(|place| format!("packet {} of source {}", place.index, place.source));
        let place = place.unwrap_or_else(|| "nothing".into());
        format!("the session of {:?} is at {place}, waiting since {:?}", self.since, self.waiting_since)
    }

    /// Takes bytes of the body.
    pub(super) fn take(&mut self, programmes: &[Programme], mut bytes: &[u8]) -> Result<(), Breach> {
        let preamble = self.preamble.split_to(self.preamble.len().min(bytes.len()));
        if bytes[..preamble.len()] != preamble {
            return Err((Promise::Whole, "the first bytes are not the preamble".into()));
        }
        bytes = &bytes[preamble.len()..];
        self.partial.extend_from_slice(bytes);
        let partial = std::mem::take(&mut self.partial);
        let (packets, rest) = partial.as_chunks::<PACKET_BYTES>();
        for packet in packets {
            self.take_packet(programmes, packet)?;
        }
        self.partial = rest.to_vec();
        Ok(())
    }

    fn take_packet(&mut self, programmes: &[Programme], bytes: &[u8; PACKET_BYTES]) -> Result<(), Breach> {
        self.packets += 1;
        if bytes[0] != 0x47 {
            return Err((Promise::Whole, format!("packet {} does not begin with 0x47", self.packets)));
        }
        if let Some(place) = self.place {
            let next = Place { index: place.index + 1, ..place };
            if programmes[next.source].packet(next.index).is_some_and(|(_, expected)| expected == bytes) {
                self.move_to(next, programmes);
                return Ok(());
            }
        }
        if let Some(content) = programmes.iter().find_map(|programme| programme.psi(bytes)) {
            self.note_psi(content);
            return Ok(());
        }
        if is_seam_mark(bytes) {
            return Ok(());
        }
        let place = Mark::read(bytes).and_then(|mark| place_of(programmes, mark));
        let genuine = place.filter(|place| {
            programmes[place.source].packet(place.index).is_some_and(|(_, expected)| expected == bytes)
        });
        match genuine {
            Some(place) => self.jump_to(place, programmes),
            None => Err((Promise::Legal, format!("packet {} is one that no source has sent", self.packets))),
        }
    }

    /// Judges a packet that is not the one after the packet before.
    fn jump_to(&mut self, to: Place, programmes: &[Programme]) -> Result<(), Breach> {
        if let Some(last) = self.last[to.source]
            && last >= to.index
        {
            let message = format!("packet {} of source {} after packet {last}", to.index, to.source);
            return Err((Promise::Legal, message));
        }
        let content = programmes[to.source].packet(to.index).map(|(content, _)| *content);
        let is_fresh = content == Some(Content::Key) && self.has_pat && self.has_pmt;
        match self.place {
            None if self.rules.joins_at_access && !is_fresh => {
                return Err((
                    Promise::Fresh,
                    format!("the first packet is {content:?}, {}", self.psi_text()),
                ));
            }
            None => {}
            Some(from) => self.judge_gap(from, to, is_fresh, programmes)?,
        }
        self.move_to(to, programmes);
        Ok(())
    }

    fn judge_gap(
        &mut self,
        from: Place,
        to: Place,
        is_fresh: bool,
        programmes: &[Programme],
    ) -> Result<(), Breach> {
        let start = match from.source == to.source {
            true => programmes[to.source].start_between(from.index, to.index),
            false => programmes[to.source].start_between(0, to.index).map(|mut start| {
                start.is_tear = false;
                start
            }),
        };
        match start {
            Some(start) => {
                self.seams += 1;
                if is_fresh || start.is_tear || self.may_land_anywhere() {
                    return Ok(());
                }
            }
            None if !self.may_lag => {
                let message = format!("{from:?} is followed by {to:?} although nobody was slow");
                return Err((Promise::Legal, message));
            }
            None => {
                self.skips += 1;
                let may_land_here = match self.rules.slow {
                    SlowPlan::Keyframe => is_fresh,
                    SlowPlan::Oldest | SlowPlan::Live => true,
                    SlowPlan::Disconnect => false,
                };
                if may_land_here {
                    return Ok(());
                }
            }
        }
        let message = format!("goes on from {from:?} at {to:?}, no access point, {}", self.psi_text());
        Err((Promise::Fresh, message))
    }

    fn may_land_anywhere(&self) -> bool {
        self.may_lag && matches!(self.rules.slow, SlowPlan::Oldest | SlowPlan::Live)
    }

    fn move_to(&mut self, place: Place, programmes: &[Programme]) {
        self.place = Some(place);
        self.last[place.source] = Some(place.index);
        match programmes[place.source].packet(place.index) {
            Some(&(content @ (Content::Pat | Content::Pmt), _)) => self.note_psi(content),
            _ => (self.has_pat, self.has_pmt) = (false, false),
        }
    }

    fn note_psi(&mut self, content: Content) {
        self.has_pat |= content == Content::Pat;
        self.has_pmt |= content == Content::Pmt;
    }

    fn psi_text(&self) -> String {
        format!("PAT before it: {}, PMT before it: {}", self.has_pat, self.has_pmt)
    }
}

/// Whether this is a packet without payload that tells of a discontinuity.
fn is_seam_mark(bytes: &[u8; PACKET_BYTES]) -> bool {
    let packet = Packet::new(bytes);
    let is_known = [Pid::PAT, PMT_PID, Pid::new(0x100), Pid::new(0x101)].contains(&packet.pid());
    is_known && bytes[3] & 0x30 == 0x20 && bytes[4..6] == [183, 0x80]
}

/// Takes the chunks of a body apart (RFC 9112 §7.1).
#[derive(Debug, Default)]
pub(super) struct Dechunker {
    line: Vec<u8>,
    left: usize,
    is_over: bool,
}

impl Dechunker {
    /// Appends the data of `bytes` to `out`; `None` when they are not chunks.
    pub(super) fn take(&mut self, mut bytes: &[u8], out: &mut Vec<u8>) -> Option<()> {
        while let Some((&byte, rest)) = bytes.split_first() {
            if self.left > 0 {
                let data = &bytes[..self.left.min(bytes.len())];
                out.extend_from_slice(data);
                self.left -= data.len();
                bytes = &bytes[data.len()..];
                continue;
            }
            bytes = rest;
            self.line.push(byte);
            if let Some(line) = self.line.strip_suffix(b"\r\n")
                && !line.is_empty()
            {
                let text = std::str::from_utf8(line).ok()?;
                self.left = usize::from_str_radix(text, 16).ok().filter(|_| !self.is_over)?;
                self.is_over = self.left == 0;
                self.line.clear();
            } else if self.line == b"\r\n" {
                self.line.clear();
            } else if self.line.len() > 20 {
                return None;
            }
        }
        Some(())
    }
}
