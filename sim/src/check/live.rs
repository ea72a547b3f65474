//! **Live.** When the troubles end, what should work works again: every stream that still has a source to try is on
//! the air, and everybody who is connected gets what is published, with no more lag than his policy allows.

use restreamer_core::{Availability, Duration};

use super::{Checker, Verdict};
use crate::plan::{JoinPlan, StreamPlan};

/// How far behind live a viewer on a good link may be at the end, beyond what he asked for, what his policy allows and
/// what the ring holds: a GOP to join at, a burst of the source, and a flush.
const LAG_MAX: Duration = Duration::from_secs(6);

/// A stream at the end of a run that has healed.
pub fn check_stream(stream: usize, availability: Availability, is_exhausted: bool) -> Verdict {
    let is_fine = availability == Availability::Live || is_exhausted;
    Checker::Live
        .demand(is_fine, || format!("stream {stream} is {availability:?} long after the troubles ended"))
}

/// A viewer at the end of a run that has healed, who has been there for a while. `place_ns` and `live_ns` are playing
/// times: of what he was sent, and of what was published. Where key frames are further apart than six seconds, he may
/// have waited for one all the time, and nothing is asked.
pub fn check_viewer(stream: &StreamPlan, place_ns: Option<u64>, live_ns: u64) -> Verdict {
    if stream.sources.iter().any(|source| source.key_frame_interval() > LAG_MAX) {
        return Ok(());
    }
    let Some(place_ns) = place_ns else {
        return Checker::Live.breach("nothing was ever sent to a viewer whose link works");
    };
    let policy = stream.policy;
    let asked_ms = match policy.join {
        JoinPlan::BehindMs(delay_ms) => delay_ms,
        JoinPlan::Keyframe | JoinPlan::Live => 0,
    };
    let allowed_ms = policy.lag_max_ms.unwrap_or(0) + asked_ms + stream.ring.span_min_ms;
    let allowed = Duration::from_millis(allowed_ms) + LAG_MAX;
    let lag = Duration::from_nanos(live_ns.saturating_sub(place_ns));
    Checker::Live.demand(lag <= allowed, || format!("a viewer whose link works is {lag:?} behind live"))
}
