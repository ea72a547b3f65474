//! Admission beside a plain list of who is in.

use proptest::collection::vec;
use proptest::prelude::*;
use restreamer_core::{Admission, AdmissionLimits, LimitEvent, Peer, Refusal, Ticket};

const STREAMS: u32 = 3;

/// Who is in: stream, peer and ticket.
type In = Vec<(u32, Peer, Ticket)>;

#[derive(Clone, Debug)]
enum Step {
    Enter {
        stream: u32,
        peer: Peer,
    },
    /// Somebody leaves: the one with this number, modulo how many are in.
    Leave(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0..STREAMS, 0..4u128).prop_map(|(stream, peer)| Step::Enter { stream, peer: Peer(peer) }),
        2 => any::<usize>().prop_map(Step::Leave),
    ]
}

fn limits() -> impl Strategy<Value = AdmissionLimits> {
    (0..9u32, 0..9u32, 0..5u32, 0..4u32).prop_map(|(hard, soft, per_stream, per_peer)| AdmissionLimits {
        hard,
        soft,
        per_stream,
        per_peer,
    })
}

/// What the list says to somebody who wants in.
fn verdict(limits: &AdmissionLimits, inside: &In, stream: u32, peer: Peer) -> Option<Refusal> {
    let is_full = |limit: u32, count: usize| limit != 0 && count as u32 >= limit;
    let of_stream = inside.iter().filter(|other| other.0 == stream).count();
    let of_peer = inside.iter().filter(|other| other.1 == peer).count();
    if is_full(limits.hard, inside.len()) {
        Some(Refusal::Full)
    } else if is_full(limits.per_stream, of_stream) {
        Some(Refusal::StreamFull)
    } else {
        is_full(limits.per_peer, of_peer).then_some(Refusal::PeerFull)
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, ..ProptestConfig::default() })]

    #[test]
    fn who_is_let_in_and_counted_is_what_the_list_says(limits in limits(), steps in vec(step(), 1..80)) {
        let mut admission = Admission::new(limits, STREAMS);
        let fresh = format!("{admission:?}");
        let mut inside = In::new();
        for step in steps {
            let before = inside.len() as u32;
            let event = match step {
                Step::Enter { stream, peer } => {
                    let refusal = verdict(&limits, &inside, stream, peer);
                    match admission.enter(stream, peer) {
                        Ok((ticket, event)) => {
                            prop_assert_eq!(refusal, None);
                            inside.push((stream, peer, ticket));
                            event
                        }
                        Err(reason) => {
                            prop_assert_eq!(refusal, Some(reason));
                            None
                        }
                    }
                }
                Step::Leave(_) if inside.is_empty() => None,
                Step::Leave(index) => {
                    let (_, _, ticket) = inside.swap_remove(index % inside.len());
                    admission.leave(ticket)
                }
            };
            let after = inside.len() as u32;
            let was_full = limits.soft != 0 && before >= limits.soft;
            let is_full = limits.soft != 0 && after >= limits.soft;
            let crossed = match (was_full, is_full) {
                (false, true) => Some(LimitEvent::Hit),
                (true, false) => Some(LimitEvent::Miss),
                _ => None,
            };
            prop_assert_eq!(event, crossed);
            prop_assert_eq!(admission.viewers(), after);
            for stream in 0..STREAMS {
                let of_stream = inside.iter().filter(|other| other.0 == stream).count();
                prop_assert_eq!(admission.viewers_of(stream), of_stream as u32);
            }
        }
        for (_, _, ticket) in inside {
            admission.leave(ticket);
        }
        // Not even an empty entry is left behind.
        prop_assert_eq!(format!("{admission:?}"), fresh);
    }
}

#[test]
#[should_panic(expected = "index out of bounds")]
fn a_stream_that_does_not_exist_is_found_out() {
    let _ = Admission::new(AdmissionLimits::default(), STREAMS).enter(STREAMS, Peer(0));
}

#[test]
fn nobody_is_in_a_stream_that_does_not_exist() {
    assert_eq!(Admission::new(AdmissionLimits::default(), STREAMS).viewers_of(STREAMS), 0);
}
