//! The other end of an upstream connection: packets at their pace, and everything that can be wrong with them.

mod reel;

use std::ops::RangeInclusive;

use restreamer_core::testing::{Change, Codec, Form};
use restreamer_core::{Duration, Instant, Rng};
use serde::{Deserialize, Serialize};

use self::reel::Reel;
pub use self::reel::{CAPTURES, ReelPacket};
use crate::faults::SourceFault;
use crate::ledger::Ledger;

/// Rates that questions about television can ask for, kilobits per second.
pub const KBPS: RangeInclusive<u64> = 400..=1_000_000;
/// The longest GOP that they can ask for: ten minutes at 25 frames per second.
pub const GOP_FRAMES_MAX: u32 = 15_000;
/// Bytes of seven packets: what fits into a datagram.
const DATAGRAM_BYTES: usize = 7 * 188;
/// A page of text is sent in pieces of this many bytes.
const PAGE_BYTES: usize = 8 << 10;
const NANOS_PER_MS: u64 = 1_000_000;
/// Synthetic television has 25 frames per second.
const FRAME_MS: u64 = 40;

/// One source, as planned.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourcePlan {
    /// What it plays.
    pub content: Content,
    /// Kilobits per second of the whole multiplex; captures have their own.
    pub kbps: u64,
    /// How packets stand in the byte stream: 188, 192 or 204 bytes each.
    #[serde(default = "plain_form")]
    pub packet_bytes: u32,
    /// How its bytes are cut on their way.
    #[serde(default)]
    pub cut: Cut,
    /// It sends this often what has become due: small for a steady source, large for one that sends in bursts.
    pub every_ms: u64,
    /// From the wish to the connection.
    #[serde(default)]
    pub connect_ms: u64,
    /// It plays whether or not somebody is connected; otherwise from the beginning for each connection.
    #[serde(default = "yes")]
    pub keeps_running: bool,
    /// What answers at its address.
    #[serde(default)]
    pub answers: Answers,
}

/// What a source plays.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Content {
    /// Synthetic television at 25 frames per second.
    Television {
        /// How the video is coded.
        codec: Coding,
        /// Frames from one key frame to the next.
        gop_frames: u32,
        /// Key frames carry the `random_access_indicator`.
        indicator: bool,
        /// Key frames are IDR pictures; otherwise a recovery point or a CRA picture.
        idr: bool,
    },
    /// Synthetic radio.
    Radio,
    /// A real encoder's four seconds, again and again; its name is the file's in `core/testdata`.
    Capture(String),
}

/// How a video is coded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Coding {
    /// ISO/IEC 13818-2.
    Mpeg2,
    /// ISO/IEC 14496-10.
    H264,
    /// ISO/IEC 23008-2.
    H265,
}

/// How bytes are cut on their way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Cut {
    /// As they were sent.
    #[default]
    Whole,
    /// Seven packets at a time.
    Datagrams,
    /// Anywhere.
    Anywhere {
        /// The longest piece.
        bytes_max: u32,
    },
}

/// What answers at a source's address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answers {
    /// The source.
    #[default]
    Stream,
    /// A page of text, and then it closes.
    Page,
    /// Nobody.
    Nobody,
}

fn plain_form() -> u32 {
    188
}

fn yes() -> bool {
    true
}

impl SourcePlan {
    /// From one place where a decoder can begin to the next.
    pub(crate) fn key_frame_interval(&self) -> Duration {
        match self.content {
            Content::Television { gop_frames, .. } => Duration::from_millis(u64::from(gop_frames) * FRAME_MS),
            // Captures have one at least each time they begin.
            Content::Radio | Content::Capture(_) => Duration::from_secs(4),
        }
    }

    /// Good television: H.264, a key frame per second.
    pub fn television(kbps: u64) -> Self {
        SourcePlan {
            content: Content::Television { codec: Coding::H264, gop_frames: 25, indicator: true, idr: true },
            kbps,
            packet_bytes: 188,
            cut: Cut::Whole,
            every_ms: 5,
            connect_ms: 10,
            keeps_running: true,
            answers: Answers::Stream,
        }
    }

    /// So many frames from one key frame to the next, where there are any.
    pub fn set_gop_frames(&mut self, frames: u32) {
        if let Content::Television { gop_frames, .. } = &mut self.content {
            *gop_frames = frames;
        }
    }
}

impl From<Coding> for Codec {
    fn from(coding: Coding) -> Codec {
        match coding {
            Coding::Mpeg2 => Codec::Mpeg2,
            Coding::H264 => Codec::H264,
            Coding::H265 => Codec::H265,
        }
    }
}

/// What a source does when somebody connects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Welcome {
    /// It plays.
    Stream,
    /// It sends a page of text and closes.
    Page,
    /// It refuses.
    Refused,
    /// There is nobody.
    Unreachable,
}

/// Bytes on their way, and how they are cut.
#[derive(Debug, Default)]
pub struct Pieces {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Pieces {
    /// The pieces, in order.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let begins = std::iter::once(0).chain(self.ends.iter().copied());
        begins.zip(&self.ends).map(|(begin, &end)| &self.bytes[begin..end]).filter(|piece| !piece.is_empty())
    }

    /// Makes room for others.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }
}

/// One source at work.
pub struct Source {
    plan: SourcePlan,
    form: Form,
    seed: u64,
    rng: Rng,
    reel: Option<Reel>,
    /// How often its encoder has started.
    starts: u64,
    /// When the reel's time 0 was.
    reel_begin: Instant,
    refuses_until: Instant,
    pages_until: Instant,
    silent_until: Instant,
    held_until: Instant,
    garbage: Option<(u32, bool)>,
    torn: Option<u32>,
    to_lose: u32,
    /// Packets were lost before the next one.
    has_lost: bool,
    /// Made and not yet sent.
    unsent: Vec<u8>,
}

impl Source {
    /// A source that has not begun; `seed` is its own.
    pub fn new(plan: &SourcePlan, seed: u64) -> Self {
        let form = match plan.packet_bytes {
            192 => Form::Prefixed192,
            204 => Form::Suffixed204,
            _ => Form::Plain,
        };
        Source {
            plan: plan.clone(),
            form,
            seed,
            rng: Rng::from_seed(seed),
            reel: None,
            starts: 0,
            reel_begin: Instant::ORIGIN,
            refuses_until: Instant::ORIGIN,
            pages_until: Instant::ORIGIN,
            silent_until: Instant::ORIGIN,
            held_until: Instant::ORIGIN,
            garbage: None,
            torn: None,
            to_lose: 0,
            has_lost: false,
            unsent: Vec::new(),
        }
    }

    /// What happens to a connection that is asked for now.
    pub fn welcome(&self, now: Instant) -> Welcome {
        match self.plan.answers {
            Answers::Nobody => Welcome::Unreachable,
            _ if now < self.refuses_until => Welcome::Refused,
            Answers::Page => Welcome::Page,
            Answers::Stream if now < self.pages_until => Welcome::Page,
            Answers::Stream => Welcome::Stream,
        }
    }

    /// A connection begins: what was left of the one before is gone.
    pub fn open(&mut self, now: Instant) {
        self.unsent.clear();
        if self.reel.is_none() || !self.plan.keeps_running {
            self.start(now, self.plan.keeps_running);
        }
        if let Some(reel) = &mut self.reel {
            reel.skip_to(now.saturating_since(self.reel_begin).as_nanos() as u64);
        }
    }

    /// How long until there is something to send again, milliseconds.
    pub fn every_ms(&self) -> u64 {
        self.plan.every_ms.max(1)
    }

    /// How long a connection takes, milliseconds.
    pub fn connect_ms(&self) -> u64 {
        self.plan.connect_ms
    }

    /// Everything that is due, with what is wrong with it, in the pieces in which it arrives. The ledger is told
    /// the truth about it.
    pub fn send(&mut self, now: Instant, ledger: &mut Ledger, out: &mut Pieces) {
        if now < self.held_until {
            return;
        }
        self.make(now, ledger);
        let length = self.unsent.len();
        match self.plan.cut {
            Cut::Whole => out.ends.push(length),
            Cut::Datagrams => {
                out.ends.extend((DATAGRAM_BYTES..length).step_by(DATAGRAM_BYTES));
                out.ends.push(length);
            }
            Cut::Anywhere { bytes_max } => {
                let mut end = 0;
                loop {
                    end += self.rng.between(1, u64::from(bytes_max.max(1))) as usize;
                    if end > length && !out.ends.is_empty() {
                        // The rest goes with what follows, but never all of it.
                        break;
                    }
                    out.ends.push(end.min(length));
                }
            }
        }
        out.bytes.extend(self.unsent.drain(..out.ends.last().copied().unwrap_or(0)));
    }

    /// How long its page of text is: some never end.
    pub fn page_bytes(&self) -> u64 {
        if self.seed.is_multiple_of(2) { 2 * PAGE_BYTES as u64 } else { u64::MAX }
    }

    /// A piece of a page of text.
    pub fn page(ledger: &mut Ledger, out: &mut Pieces) {
        // Lines of different lengths: nothing comes back at the distance of packets.
        let lines = (0..PAGE_BYTES as u64)
            .map(|number| format!("<p>GONE. {:x}</p>\n", number.pow(number as u32 % 5)));
        out.bytes.extend(lines.flat_map(String::into_bytes).take(PAGE_BYTES));
        out.ends.push(PAGE_BYTES);
        ledger.note_garbage(&out.bytes);
    }

    /// Something happens to it. Closing the connection that it has is the caller's part.
    pub fn suffer(&mut self, now: Instant, fault: SourceFault) {
        let until = |ms: u64| now + restreamer_core::Duration::from_millis(ms);
        match fault {
            SourceFault::Close => {}
            SourceFault::Refuse { for_ms } => self.refuses_until = until(for_ms),
            SourceFault::Page { for_ms } => self.pages_until = until(for_ms),
            SourceFault::Silence { for_ms } => self.silent_until = until(for_ms),
            SourceFault::Hold { for_ms } => self.held_until = until(for_ms),
            SourceFault::Garbage { bytes, of_sync_bytes } => self.garbage = Some((bytes, of_sync_bytes)),
            SourceFault::Torn { kept } => self.torn = Some(kept.clamp(1, 187)),
            SourceFault::Lose { packets } => self.to_lose = packets,
            SourceFault::PsiVersion => self.change(Change::PsiVersion),
            SourceFault::VideoPid { pid } => {
                self.change(Change::VideoPid(restreamer_core::ts::Pid::new(pid)));
            }
            SourceFault::ClockJump { ticks, flagged } => self.change(Change::ClockJump { ticks, flagged }),
            SourceFault::Restart => self.start(now, true),
        }
    }

    /// From now on nothing is wrong with it.
    pub fn heal(&mut self, now: Instant) {
        for until in
            [&mut self.refuses_until, &mut self.pages_until, &mut self.silent_until, &mut self.held_until]
        {
            *until = now.min(*until);
        }
        (self.garbage, self.torn, self.to_lose) = (None, None, 0);
    }

    fn change(&mut self, change: Change) {
        if let Some(Reel::Synthetic(stream)) = &mut self.reel {
            stream.change(change);
        }
    }

    /// The encoder starts. `warm`: clocks and counters do not begin at zero.
    fn start(&mut self, now: Instant, warm: bool) {
        self.reel = Some(Reel::new(&self.plan, self.seed, self.starts, warm));
        self.starts += 1;
        self.reel_begin = now;
    }

    /// Makes the bytes of all packets that are due.
    fn make(&mut self, now: Instant, ledger: &mut Ledger) {
        let Some(reel) = &mut self.reel else { return };
        let due_ns = now.saturating_since(self.reel_begin).as_nanos() as u64;
        if now < self.silent_until {
            self.has_lost |= reel.skip_to(due_ns);
            return;
        }
        while reel.next_ns() <= due_ns {
            let packet = reel.next();
            if self.to_lose > 0 {
                self.to_lose -= 1;
                self.has_lost = true;
                continue;
            }
            if let Some((bytes, of_sync_bytes)) = self.garbage.take() {
                let from = self.unsent.len();
                for _ in 0..bytes {
                    self.unsent.push(if of_sync_bytes { 0x47 } else { self.rng.next_u64() as u8 });
                }
                ledger.note_garbage(&self.unsent[from..]);
            }
            let at = self.reel_begin.as_nanos() + packet.at_ns;
            let from = self.unsent.len();
            if self.form == Form::Prefixed192 {
                let stamp = (at / NANOS_PER_MS * 27_000) as u32 & 0x3FFF_FFFF;
                self.unsent.extend_from_slice(&stamp.to_be_bytes());
            }
            if let Some(kept) = self.torn.take() {
                self.unsent.extend_from_slice(&packet.bytes[..kept as usize]);
                ledger.note_garbage(&self.unsent[from..]);
                self.has_lost = true;
                continue;
            }
            let begin = self.unsent.len() - from;
            self.unsent.extend_from_slice(&packet.bytes);
            if self.form == Form::Suffixed204 {
                self.unsent.extend_from_slice(&[0xEE; 16]);
            }
            let after_loss = std::mem::take(&mut self.has_lost);
            ledger.note_packet(&self.unsent[from..], begin, at, packet.is_key, after_loss);
        }
    }
}
