//! Attempts, availability and what is forgotten: stories for each promise, and models beside random histories.

mod channel;

use proptest::collection::vec;
use proptest::prelude::*;
use restreamer_core::fuzz::channel::{Channel as Model, Step};
use restreamer_core::fuzz::program::Piece;
use restreamer_core::{
    Availability, CloseCause, CloseKind, ConnId, Duration, Input, Operator, Order, StreamConfig, StreamEvent,
    UpstreamConfig,
};

use channel::{Channel, config, synthetic, with_sources};

const GRACE: Duration = Duration::from_secs(15);

#[test]
fn a_stop_is_no_exhaustion() {
    let mut channel = Channel::new(config());
    channel.say(Input::Stop);
    assert_eq!(channel.events, [StreamEvent::Connecting { source: 0 }]);
}

#[test]
fn what_is_older_than_the_grace_time_is_forgotten_off_the_air_too() {
    // Put back on the air when the upstream had just returned, the stream showed what was hours old.
    let mut channel = Channel::new(config());
    channel.play(&mut synthetic(1), 1_000);
    channel.say(Input::Operator(Operator::Offline));
    channel.close(CloseKind::Ended);
    channel.wait(GRACE);
    assert_eq!(channel.forgotten, 1);
    channel.data(&synthetic(2).take_bytes(50));
    channel.say(Input::Operator(Operator::Online));
    assert_eq!(channel.stream.availability(), Availability::Live);
}

#[test]
fn a_driver_that_is_late_forgets_before_it_goes_on() {
    let mut channel = Channel::new(config());
    channel.play(&mut synthetic(1), 1_000);
    channel.close(CloseKind::Ended);
    channel.wait(GRACE - Duration::from_millis(1));
    channel.now += Duration::from_millis(2);
    channel.data(&synthetic(2).take_bytes(50));
    assert_eq!(channel.forgotten, 1);
    assert_eq!(channel.stream.availability(), Availability::Live);
}

#[test]
fn what_a_connection_left_is_published_when_it_is_hung_up() {
    // It came a flush interval later, behind the order to forget.
    let mut config = config();
    config.grace = Duration::ZERO;
    config.latency = Duration::from_secs(5);
    config.upstream.read_timeout = Some(Duration::from_secs(1));
    let mut channel = Channel::new(config);
    channel.data(&synthetic(1).take_bytes(50));
    channel.wait(Duration::from_secs(1));
    assert_eq!(channel.hung_up.len(), 1);
    assert_eq!((channel.segments.len(), channel.forgotten), (1, 1));
    channel.wait(Duration::from_secs(5));
    assert_eq!(channel.segments.len(), 1);
}

/// Two or more sources in order of preference, and a read timeout as long as the interval between attempts.
fn preferred(sources: usize) -> StreamConfig {
    let mut config = with_sources(sources);
    config.upstream.read_timeout = config.upstream.reconnect;
    config
}

#[test]
fn a_source_that_fails_slowly_does_not_keep_the_others_from_being_tried() {
    // By the time it had failed it could be tried again, and the order said it comes first: nobody else had a turn.
    let mut channel = Channel::new(preferred(3));
    for _ in 0..6 {
        channel.say(Input::Connected(channel.last_conn()));
        channel.wait(Duration::from_secs(10));
    }
    let tried: Vec<_> = channel.connects.iter().map(|&(_, source, _)| source).collect();
    assert_eq!(tried, [0, 1, 2, 0, 1, 2, 0]);
}

#[test]
fn a_source_that_works_for_a_moment_only_does_not_keep_the_others_from_being_tried() {
    // It was the first to be tried again each time, because it had worked.
    let mut channel = Channel::new(preferred(2));
    channel.wait(Duration::from_secs(9));
    channel.data(&synthetic(1).take_bytes(50));
    channel.wait(Duration::from_secs(2));
    channel.close(CloseKind::Ended);
    let tried: Vec<_> = channel.connects.iter().map(|&(_, source, _)| source).collect();
    assert_eq!(tried, [0, 1]);
}

#[test]
fn a_source_that_worked_is_the_first_to_be_tried_again() {
    let mut channel = Channel::new(preferred(3));
    channel.close(CloseKind::Unreachable);
    channel.data(&synthetic(1).take_bytes(50));
    channel.wait(Duration::from_secs(10));
    let tried: Vec<_> = channel.connects.iter().map(|&(_, source, _)| source).collect();
    assert_eq!(tried, [0, 1, 0], "the better one first");
}

#[test]
fn a_spare_that_delivers_nothing_does_not_keep_the_other_better_sources_from_being_tried() {
    let mut channel = Channel::new(with_sources(3));
    channel.close(CloseKind::Unreachable);
    channel.close(CloseKind::Unreachable);
    let used = channel.last_conn();
    let mut source = synthetic(1);
    for _ in 0..50 {
        channel.say(Input::Data(used, &source.take_bytes(50)));
        channel.wait(Duration::from_secs(1));
    }
    let tried: Vec<_> =
        channel.connects.iter().map(|&(_, source, at)| (source, at.as_nanos() / 1_000_000_000)).collect();
    assert_eq!(tried, [(0, 0), (1, 0), (2, 0), (0, 10), (1, 20), (0, 30), (1, 40), (0, 50)]);
    assert!(!channel.hung_up.contains(&used));
}

#[test]
fn a_spare_that_delivers_takes_over_when_the_one_in_use_ends() {
    let mut channel = Channel::new(with_sources(2));
    channel.close(CloseKind::Unreachable);
    let used = channel.last_conn();
    channel.data(&synthetic(1).take_bytes(50));
    channel.wait(Duration::from_secs(10));
    channel.data(&synthetic(2).take_bytes(50));
    channel.say(Input::Closed(used, CloseCause::new(CloseKind::Ended, "")));
    assert_eq!(channel.events.last(), Some(&StreamEvent::Returned { source: 0 }));
    assert_eq!(channel.availabilities, [Availability::Live]);
    assert_eq!(channel.connects.len(), 3);
}

#[test]
fn a_better_source_that_sends_no_packets_any_more_is_not_healthy() {
    // Any byte counted.
    let mut channel = Channel::new(with_sources(2));
    channel.close(CloseKind::Unreachable);
    let used = channel.last_conn();
    channel.data(&synthetic(1).take_bytes(50));
    channel.wait(Duration::from_secs(10));
    let spare = channel.last_conn();
    channel.data(&synthetic(2).take_bytes(50));
    for _ in 0..10 {
        channel.wait(Duration::from_secs(1));
        channel.say(Input::Data(used, &synthetic(1).take_bytes(50)));
        channel.say(Input::Data(spare, b"busy, try later"));
    }
    assert_eq!(channel.hung_up, [spare]);
}

#[test]
fn in_shuffled_order_the_next_source_has_its_turn_when_one_that_worked_ends() {
    let mut config = with_sources(3);
    config.upstream.order = Order::Shuffle;
    let mut channel = Channel::new(config);
    for _ in 0..5 {
        channel.data(&synthetic(1).take_bytes(50));
        channel.wait(Duration::from_secs(100));
        channel.close(CloseKind::Ended);
    }
    let tried: Vec<_> = channel.connects.iter().map(|&(_, source, _)| source).collect();
    assert_eq!(tried[3..], tried[..3], "round-robin");
    let mut all = tried[..3].to_vec();
    all.sort_unstable();
    assert_eq!(all, [0, 1, 2]);
}

#[test]
fn the_read_timeout_begins_with_the_connection() {
    let mut channel = Channel::new(preferred(1));
    channel.wait(Duration::from_secs(100));
    assert_eq!(channel.hung_up, [], "connecting takes as long as it takes");
    channel.say(Input::Connected(channel.last_conn()));
    channel.wait(Duration::from_millis(9_999));
    assert_eq!(channel.hung_up, []);
    channel.wait(Duration::from_millis(1));
    assert_eq!(channel.hung_up.len(), 1);
}

/// Two sources, the second one in use, and the first one tried as a spare since now.
fn on_trial() -> (Channel, ConnId) {
    let mut channel = Channel::new(with_sources(2));
    channel.close(CloseKind::Unreachable);
    let used = channel.last_conn();
    channel.data(&synthetic(1).take_bytes(50));
    channel.wait(Duration::from_secs(10));
    (channel, used)
}

#[test]
fn a_pause_of_more_than_two_seconds_begins_the_trial_of_a_better_source_again() {
    for (pause_ms, returns_after_ms) in [(2_000, 10_000), (2_001, 17_001)] {
        let (mut channel, used) = on_trial();
        let begin = channel.now;
        let mut source = synthetic(2);
        let beats = [0, 1_000, 2_000, 3_000, 4_000, 5_000, 5_000 + pause_ms];
        let later = (1..20).map(|beat| 5_000 + pause_ms + beat * 1_000);
        for at in beats.into_iter().chain(later) {
            channel.wait((begin + Duration::from_millis(at)).saturating_since(channel.now));
            let spare = channel.last_conn();
            channel.say(Input::Data(spare, &source.take_bytes(50)));
            if channel.hung_up.contains(&used) {
                break;
            }
        }
        let took = channel.now.saturating_since(begin);
        assert_eq!(took, Duration::from_millis(returns_after_ms), "after a pause of {pause_ms} ms");
    }
}

#[test]
fn a_better_source_that_is_silent_at_the_end_of_its_trial_is_given_up() {
    for (silent_ms, is_used) in [(2_000, true), (2_001, false)] {
        let (mut channel, used) = on_trial();
        let spare = channel.last_conn();
        let mut source = synthetic(2);
        channel.data(&source.take_bytes(50));
        for _ in 0..7 {
            channel.wait(Duration::from_millis(1_000));
            channel.data(&source.take_bytes(50));
        }
        channel.wait(Duration::from_millis(3_000 - silent_ms));
        channel.data(&source.take_bytes(50));
        channel.wait(Duration::from_millis(silent_ms));
        assert_eq!(channel.hung_up, [if is_used { used } else { spare }], "{silent_ms} ms");
    }
}

fn millis(range: std::ops::Range<u64>) -> impl Strategy<Value = Duration> {
    range.prop_map(Duration::from_millis)
}

fn any_config() -> impl Strategy<Value = StreamConfig> {
    let order = prop_oneof![Just(Order::Shuffle), Just(Order::Priority)];
    let upstream = (
        0..4usize,
        order,
        prop::option::weighted(0.8, millis(0..20_000)),
        prop::option::of(millis(1..9_000)),
    )
        .prop_map(|(sources, order, reconnect, read_timeout)| UpstreamConfig {
            sources,
            order,
            reconnect,
            read_timeout,
        });
    let latency = prop_oneof![millis(0..100), millis(0..2_000)];
    (upstream, millis(0..20_000), latency).prop_map(|(upstream, grace, latency)| StreamConfig {
        upstream,
        grace,
        latency,
    })
}

fn pieces() -> impl Strategy<Value = Vec<Piece>> {
    use Piece::*;
    let piece = prop_oneof![
        3 => prop::sample::select(&Piece::ALL),
        1 => (1..188u8).prop_map(Torn),
        1 => any::<u8>().prop_map(Garbage),
    ];
    let usual = |key: Piece| vec![Pat, Pmt, key, Rest, Rest, Audio, Picture, Rest, Rest, Null];
    prop_oneof![
        2 => vec(piece, 0..30),
        2 => Just(usual(Key)),
        1 => Just(usual(PlainKey)),
        1 => Just(vec![Pat, Pmt, Unknown, Rest, Audio, RestOfKey, Rest]),
        1 => (1..400usize).prop_map(|count| vec![Rest; count]),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let wait = || prop_oneof![millis(0..300), millis(0..3_000), millis(0..30_000)];
    prop_oneof![
        1 => Just(Step::Start),
        1 => Just(Step::Stop),
        1 => (0..2usize).prop_map(Step::Connected),
        12 => (0..2usize, pieces(), any::<bool>())
            .prop_map(|(conn, pieces, at_once)| Step::Data { conn, pieces, at_once }),
        4 => (0..2usize).prop_map(Step::Closed),
        1 => Just(Step::Stale),
        8 => wait().prop_map(Step::Wait),
        1 => wait().prop_map(Step::Oversleep),
        1 => prop_oneof![Just(Operator::Online), Just(Operator::Offline)].prop_map(Step::Operator),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn a_stream_keeps_its_promises_whatever_happens(config in any_config(), seed in 0..9u64, steps in vec(step(), 1..60)) {
        let mut channel = Model::new(config, seed);
        channel.step(Step::Start);
        steps.into_iter().for_each(|step| channel.step(step));
        channel.step(Step::Stop);
    }
}
