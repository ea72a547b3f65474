//! Attempts, availability and what is forgotten: stories for each promise, and models beside random histories.

mod channel;

use proptest::collection::vec;
use proptest::prelude::*;
use restreamer_core::fuzz::channel::{Channel as Model, Step};
use restreamer_core::fuzz::program::Piece;
use restreamer_core::{
    Availability, CloseKind, Duration, Input, Operator, Order, StreamConfig, StreamEvent, UpstreamConfig,
};

use channel::{Channel, config, synthetic};

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
