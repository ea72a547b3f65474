//! **Balanced.** Everybody who was let in holds one ticket, nobody else does, and every ticket comes back: what the
//! admission counts is who is there, at any time.

use restreamer_core::Admission;

use super::{Checker, Verdict};

/// `viewers` are there, by stream.
pub fn check(admission: &Admission, viewers: &[usize]) -> Verdict {
    let all: usize = viewers.iter().sum();
    let counted = admission.viewers();
    Checker::Balanced
        .demand(counted as usize == all, || format!("{counted} tickets are out, {all} viewers are in"))?;
    for (stream, &there) in (0..).zip(viewers) {
        let counted = admission.viewers_of(stream);
        Checker::Balanced.demand(counted as usize == there, || {
            format!("{counted} tickets of stream {stream} are out, {there} of its viewers are in")
        })?;
    }
    Ok(())
}
