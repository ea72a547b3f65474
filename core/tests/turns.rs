//! A source that rests and a stream that flushes, together, as a driver whose timers are late lets them run.

mod channel;

use std::collections::VecDeque;

use channel::{Channel, config, synthetic};
use restreamer_core::testing::Mark;
use restreamer_core::ts::Packet;
use restreamer_core::{
    Demand, Duration, Input, Instant, Intake, Patience, Pause, Ring, RingLimits, StreamConfig,
};

const STEP: Duration = Duration::from_micros(100);
/// Timers are so coarse, and late by a part of that.
const TICK_NANOS: u64 = 1_000_000;

/// What came of ten seconds, when the rate is known.
#[derive(Default)]
struct Outcome {
    reads: usize,
    flushes: usize,
    /// Of any packet, from its arrival until it was published.
    longest_wait: Duration,
}

/// As much is handed on at once of what was read: chunked coding and TLS give pieces.
const PIECE: usize = 4_000;

/// When a timer for `due` goes off.
fn rings(due: Instant) -> Instant {
    Instant::from_nanos(due.as_nanos().div_ceil(TICK_NANOS) * TICK_NANOS)
}

fn run(latency: Duration, flush_cost: Duration, seed: u64) -> Outcome {
    let ring = Ring::new(RingLimits::default());
    let demand = Demand::Viewers { wanted: None, flush_cost };
    let (mut source, mut intake) = (synthetic(1), Intake::new(latency, seed));
    let mut channel = Channel::new(StreamConfig { latency, ..config() });
    channel.stream.set_flush_cost(Some(flush_cost));
    let conn = channel.last_conn();
    let (start, mut next) = (source.next_at(), source.next_packet());
    let mut waiting = VecDeque::new();
    let mut arrivals = VecDeque::new();
    let mut turn = None;
    let mut outcome = Outcome::default();
    while channel.now < Instant::from_millis(11_000) {
        channel.now += STEP;
        if channel.now == Instant::from_millis(1_000) {
            outcome = Outcome::default();
        }
        while Instant::ORIGIN + next.at.saturating_since(start) <= channel.now {
            waiting.extend(next.bytes);
            arrivals.extend(Mark::read(&next.bytes).map(|mark| (mark.sequence, channel.now)));
            next = source.next_packet();
        }
        if turn.is_none_or(|turn| rings(turn) <= channel.now) && !waiting.is_empty() {
            outcome.reads += 1;
            let bytes = waiting.split_off(0);
            for piece in Vec::from(bytes).chunks(PIECE) {
                channel.say(Input::Data(conn, piece));
                intake.handle_read(channel.now, piece.len());
            }
            if let Some(since) = intake.handle_drained(channel.now, true) {
                channel.say(Input::Waited(conn, since));
            }
            turn = intake.rest(channel.now, &ring, demand, Patience::Waits).map(Pause::until);
            intake.begin_turn(turn);
        }
        if channel.stream.poll_timeout().is_some_and(|due| rings(due) <= channel.now) {
            channel.say(Input::Timeout);
        }
        outcome.flushes += usize::from(!channel.segments.is_empty());
        for packet in channel.segments.drain(..).flat_map(|segment| Vec::from_iter(sequences(&segment.data)))
        {
            while let Some((sequence, at)) = arrivals.pop_front() {
                if sequence == packet {
                    outcome.longest_wait = outcome.longest_wait.max(channel.now.saturating_since(at));
                    break;
                }
            }
        }
    }
    outcome
}

fn sequences(data: &[u8]) -> impl Iterator<Item = u64> {
    Packet::all(data).filter_map(|packet| Some(Mark::read(packet.bytes())?.sequence))
}

#[test]
fn a_source_that_rests_costs_no_byte_more_time_and_no_flush_more() {
    // Latency and the cost of a flush; how long bytes wait, and how often the source is read, milliseconds.
    for (latency, cost, interval, turns) in [
        (20, 0, 5_000, 5_000),
        (20, 30, 20_000, 20_000),
        (50, 0, 12_500, 12_500),
        (50, 30, 50_000, 25_000),
        (100, 30, 100_000, 25_000),
    ] {
        for seed in [0, 1_234_567, 987_654_321] {
            let outcome = run(Duration::from_millis(latency), Duration::from_millis(cost), seed);
            let case = format!("{latency} ms, a flush of {cost} ms, seed {seed}");
            let (flushes, reads) = (10_000_000 / interval, 10_000_000 / turns);
            assert!(outcome.flushes.abs_diff(flushes) <= 1, "{case}: {} flushes", outcome.flushes);
            assert!(outcome.reads.abs_diff(reads) <= 1, "{case}: {} reads", outcome.reads);
            let bound = Duration::from_micros(interval as u64) + Duration::from_nanos(TICK_NANOS) + STEP;
            assert!(outcome.longest_wait <= bound, "{case}: {:?}", outcome.longest_wait);
        }
    }
}
