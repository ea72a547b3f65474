//! **Live.** When the troubles end, what should work works again: every stream that still has a source to try is on
//! the air, and everybody who is connected gets what is published, with no more lag than his policy allows.

use restreamer_core::{Availability, Duration, Policy};

use super::{Checker, Verdict};

/// How far behind live a viewer on a good link may be at the end, beyond the delay that he asked for: a GOP to join
/// at, and a flush.
const LAG_MAX: Duration = Duration::from_secs(6);

/// A stream at the end of a run that has healed.
pub fn check_stream(stream: usize, availability: Availability, is_exhausted: bool) -> Verdict {
    let is_fine = availability == Availability::Live || is_exhausted;
    Checker::Live
        .demand(is_fine, || format!("stream {stream} is {availability:?} long after the troubles ended"))
}

/// A viewer at the end of a run that has healed, who has been there for a while. `place` and `live` are playing
/// times: of what he was sent, and of what was published.
pub fn check_viewer(policy: &Policy, place_ns: Option<u64>, live_ns: u64) -> Verdict {
    let Some(place_ns) = place_ns else {
        return Checker::Live.breach("nothing was ever sent to a viewer whose link works");
    };
    let asked = match policy.join {
        restreamer_core::Join::Behind(delay) => delay,
        restreamer_core::Join::Keyframe | restreamer_core::Join::Live => Duration::ZERO,
    };
    let lag = Duration::from_nanos(live_ns.saturating_sub(place_ns));
    let allowed = policy.lag_max.unwrap_or(Duration::ZERO) + asked + LAG_MAX;
    Checker::Live.demand(lag <= allowed, || format!("a viewer whose link works is {lag:?} behind live"))
}
