//! A person: comes, watches, leaves, comes back.

use std::collections::BTreeMap;

use restreamer_core::{Instant, Ticket};

use crate::decoder::Seen;
use crate::fanout::EndReason;
use crate::faults::{Fault, ViewerFault};
use crate::observer::Digest;
use crate::plan::{Plan, ViewerPlan};
use crate::report::ViewerReport;

/// A link that has healed carries this many times what the stream needs.
const HEALED_TIMES: u64 = 4;

pub(super) struct Client {
    pub(super) plan: ViewerPlan,
    /// How often he has come.
    pub(super) visits: u32,
    /// His place in the fan-out, while he is in.
    pub(super) place: Option<usize>,
    pub(super) ticket: Option<Ticket>,
    /// What becomes of his link, in order: from when, kilobits per second.
    pub(super) rates: Vec<(Instant, u64)>,
    /// When his link has healed, it carries the stream.
    pub(super) keeps_up: bool,
    pub(super) seen: Seen,
    pub(super) digest: Digest,
    pub(super) report: ViewerReport,
}

impl Client {
    /// `faults` are his own, with their times in milliseconds.
    pub(super) fn new(viewer: &ViewerPlan, plan: &Plan, faults: &[(u64, ViewerFault)]) -> Self {
        Client {
            rates: rates(viewer, plan, faults),
            keeps_up: keeps_up(viewer, plan),
            plan: viewer.clone(),
            visits: 0,
            place: None,
            ticket: None,
            seen: Seen::default(),
            digest: Digest::default(),
            report: ViewerReport { id: viewer.id, ..ViewerReport::default() },
        }
    }

    /// He was moved to another place.
    pub(super) fn move_to(&mut self, place: usize) {
        self.place = Some(place);
    }

    /// What one visit brought.
    pub(super) fn note_end(&mut self, reason: EndReason, seen: &Seen, digest: Digest) {
        self.seen.add(seen);
        self.digest.mix(digest.value());
        self.digest.mix(reason as u64);
        self.report.disconnects += u32::from(reason != EndReason::Left);
        self.report.last_end = Some(reason);
    }

    pub(super) fn into_report(self) -> ViewerReport {
        ViewerReport { visits: self.visits, seen: self.seen, digest: self.digest.value(), ..self.report }
    }
}

/// What happens to whom in `plan`, in order of time, milliseconds.
pub(super) fn faults_by_viewer(plan: &Plan) -> BTreeMap<u32, Vec<(u64, ViewerFault)>> {
    let mut faults = BTreeMap::<_, Vec<_>>::new();
    for event in &plan.events {
        if let Fault::Viewer { id, what } = event.fault {
            faults.entry(id).or_default().push((event.at_ms, what));
        }
    }
    faults.values_mut().for_each(|own| own.sort_by_key(|&(at_ms, _)| at_ms));
    faults
}

/// The rates of a viewer's link over time, as faults and their end make them.
fn rates(viewer: &ViewerPlan, plan: &Plan, faults: &[(u64, ViewerFault)]) -> Vec<(Instant, u64)> {
    let mut rates = Vec::new();
    let mut rate = viewer.link.kbps;
    let mut stalled_until = 0;
    for &(at_ms, what) in faults {
        if stalled_until <= at_ms && stalled_until > 0 {
            rates.push((stalled_until, rate));
            stalled_until = 0;
        }
        match what {
            ViewerFault::Stall { for_ms } => {
                rates.push((at_ms, 0));
                stalled_until = stalled_until.max(at_ms + for_ms);
            }
            ViewerFault::Rate { kbps } => {
                rate = kbps;
                if stalled_until == 0 {
                    rates.push((at_ms, rate));
                }
            }
            ViewerFault::Reset => {}
        }
    }
    if stalled_until > 0 {
        rates.push((stalled_until, rate));
    }
    if let Some(heal_ms) = plan.heal_ms {
        rates.retain(|&(at_ms, _)| at_ms < heal_ms);
        let needed = HEALED_TIMES * rate_of_stream(viewer, plan);
        let last = rates.last().map_or(viewer.link.kbps, |&(_, kbps)| kbps);
        if last < needed {
            rates.push((heal_ms, needed));
        }
    }
    rates.into_iter().map(|(at_ms, kbps)| (Instant::from_millis(at_ms), kbps)).collect()
}

fn rate_of_stream(viewer: &ViewerPlan, plan: &Plan) -> u64 {
    let sources = plan.streams.get(viewer.stream as usize).map_or(&[][..], |stream| &stream.sources);
    sources.iter().map(|source| source.kbps).max().unwrap_or(0)
}

/// Whether a buffer full at each look at the socket carries the stream, with something to spare.
fn keeps_up(viewer: &ViewerPlan, plan: &Plan) -> bool {
    let bytes_per_ms = rate_of_stream(viewer, plan).div_ceil(8);
    u64::from(viewer.link.buffer_bytes) >= HEALED_TIMES * bytes_per_ms * plan.wake.poll_ms.max(1)
}
