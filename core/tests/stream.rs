//! The upstream side of a channel, driven by hand: what goes in, what is published, what is ordered.

mod channel;

use restreamer_core::ts::Packet;
use restreamer_core::{
    Availability, CloseCause, CloseKind, Duration, Input, Instant, Operator, Order, Stream, StreamEvent,
};

use channel::{Channel, config, synthetic, with_sources};

#[test]
fn what_is_published_is_the_stream_from_its_first_access_point_on() {
    let mut channel = Channel::new(config());
    let sent = channel.play(&mut synthetic(1), 5_000);
    channel.say(Input::Stop);
    let published = channel.published();
    assert!(published.len() > 4_900 * 188, "only {} packets published", published.len() / 188);
    assert!(sent.ends_with(&published));
    assert!(channel.segments[0].access.is_some());
}

#[test]
fn access_points_begin_segments_and_carry_the_tables_before_them() {
    let mut channel = Channel::new(config());
    channel.play(&mut synthetic(1), 20_000);
    let access: Vec<_> = channel.segments.iter().filter(|segment| segment.access.is_some()).collect();
    assert!(access.len() >= 5, "{} access points", access.len());
    for segment in access {
        let psi: Vec<_> = Packet::all(&segment.psi).map(|packet| packet.pid().value()).collect();
        assert_eq!(psi.first(), Some(&0), "PAT first");
        assert!(psi.len() >= 2, "PMT behind it");
        let first = Packet::all(&segment.data).next().unwrap();
        assert!(first.payload_unit_start() && first.adaptation().unwrap().random_access());
    }
}

#[test]
fn no_byte_waits_longer_than_the_flush_interval() {
    let mut channel = Channel::new(config());
    let mut source = synthetic(1);
    channel.play(&mut source, 2_000);
    let before = channel.segments.len();
    let conn = channel.last_conn();
    channel.say(Input::Data(conn, &source.take_bytes(3)));
    channel.wait(Duration::from_millis(20));
    assert!(channel.segments.len() > before);
}

#[test]
fn bytes_that_waited_to_be_read_do_not_wait_for_an_interval_more() {
    let mut channel = Channel::new(config());
    let mut source = synthetic(1);
    channel.play(&mut source, 2_000);
    channel.close(CloseKind::Ended);
    channel.wait(Duration::from_secs(10));
    channel.play(&mut source, 2_000);
    channel.wait(Duration::from_millis(100));
    let (before, read_at) = (channel.segments.len(), channel.now);
    let ago = |millis: u64| Instant::from_nanos(read_at.as_nanos() - millis * 1_000_000);
    channel.data(&source.take_bytes(3));
    channel.say(Input::Waited(channel.connects[0].0, ago(50)));
    channel.say(Input::Waited(channel.last_conn(), ago(19)));
    assert_eq!(channel.segments.len(), before, "19 ms, and another connection");
    channel.wait(Duration::from_millis(1));
    assert_eq!(channel.segments.len(), before + 1);
    channel.data(&source.take_bytes(3));
    channel.say(Input::Waited(channel.last_conn(), ago(20)));
    assert_eq!(channel.segments.len(), before + 2, "at once");
}

#[test]
fn bytes_wait_shorter_where_a_flush_costs_little() {
    for (cost, waits_ms) in [(Some(0), 5), (Some(100), 10), (Some(9_000), 20), (None, 20)] {
        let mut channel = Channel::new(config());
        let mut source = synthetic(1);
        channel.play(&mut source, 2_000);
        channel.wait(Duration::from_millis(100));
        channel.stream.set_flush_cost(cost.map(Duration::from_micros));
        let (before, conn) = (channel.segments.len(), channel.last_conn());
        channel.say(Input::Data(conn, &source.take_bytes(3)));
        channel.wait(Duration::from_millis(waits_ms - 1));
        assert_eq!(channel.segments.len(), before, "{cost:?} µs");
        channel.wait(Duration::from_millis(1));
        assert_eq!(channel.segments.len(), before + 1, "{cost:?} µs");
    }
}

#[test]
fn a_stream_is_live_with_its_first_packet_and_not_with_its_connection() {
    let mut channel = Channel::new(config());
    channel.say(Input::Connected(channel.last_conn()));
    assert_eq!(channel.stream.availability(), Availability::Never);
    channel.data(&synthetic(1).take_bytes(20));
    assert_eq!(channel.stream.availability(), Availability::Live);
    assert_eq!(channel.events.last(), Some(&StreamEvent::Connected { source: 0 }));
}

#[test]
fn attempts_on_one_source_start_a_reconnect_interval_apart() {
    let mut channel = Channel::new(config());
    channel.wait(Duration::from_secs(3));
    channel.close(CloseKind::Refused);
    channel.wait(Duration::from_secs(30));
    assert_eq!(channel.connects[1].2, Instant::from_millis(10_000));
}

#[test]
fn a_connection_that_lasted_is_replaced_at_once() {
    let mut channel = Channel::new(config());
    channel.wait(Duration::from_secs(11));
    channel.close(CloseKind::Ended);
    assert_eq!(channel.connects[1].2, Instant::from_millis(11_000));
}

#[test]
fn the_next_source_is_tried_at_once_and_the_first_again_after_its_interval() {
    let mut channel = Channel::new(with_sources(3));
    for _ in 0..3 {
        channel.close(CloseKind::Unreachable);
    }
    let tried: Vec<_> = channel.connects.iter().map(|&(_, source, at)| (source, at)).collect();
    assert_eq!(tried, [(0, Instant::ORIGIN), (1, Instant::ORIGIN), (2, Instant::ORIGIN)]);
    channel.wait(Duration::from_secs(10));
    assert_eq!(channel.connects[3].1, 0);
    assert_eq!(channel.connects[3].2, Instant::from_millis(10_000));
}

#[test]
fn without_reconnect_each_source_is_tried_once() {
    let mut config = with_sources(2);
    config.upstream.reconnect = None;
    let mut channel = Channel::new(config);
    channel.close(CloseKind::Ended);
    channel.close(CloseKind::Ended);
    channel.wait(Duration::from_secs(100));
    assert_eq!(channel.connects.len(), 2);
    assert_eq!(channel.events.last(), Some(&StreamEvent::Exhausted));
}

#[test]
fn a_shuffled_order_is_a_function_of_the_seed() {
    let order = |seed| {
        let mut config = with_sources(6);
        config.upstream.order = Order::Shuffle;
        config.upstream.reconnect = None;
        let mut channel = Channel { stream: Stream::new(config, seed), ..Channel::new(config) };
        channel.connects.clear();
        channel.say(Input::Start);
        (1..6).for_each(|_| channel.close(CloseKind::Ended));
        channel.connects.iter().map(|&(_, source, _)| source).collect::<Vec<_>>()
    };
    assert_eq!(order(3), order(3));
    let mut orders: Vec<_> = (0..10).map(order).collect();
    orders.sort();
    orders.dedup();
    assert!(orders.len() > 5, "{orders:?}");
}

#[test]
fn silence_longer_than_readtimeout_ends_a_connection() {
    let mut config = with_sources(2);
    config.upstream.read_timeout = Some(Duration::from_secs(4));
    let mut channel = Channel::new(config);
    let first = channel.last_conn();
    channel.data(&synthetic(1).take_bytes(50));
    channel.wait(Duration::from_millis(3_999));
    assert_eq!(channel.hung_up, []);
    channel.wait(Duration::from_millis(1));
    assert_eq!(channel.hung_up, [first]);
    assert_eq!(channel.connects[1].1, 1);
}

#[test]
fn a_page_of_text_never_becomes_a_stream() {
    let mut channel = Channel::new(config());
    let page = b"<html>GGGGG not found</html>\n".repeat(1_000);
    for _ in 0..60 {
        channel.data(&page);
    }
    assert_eq!(channel.stream.availability(), Availability::Never);
    assert_eq!(channel.hung_up.len(), 1);
    let told = channel.events.iter().any(
        |event| matches!(event, StreamEvent::Closed { cause, .. } if cause.kind == CloseKind::NotAStream),
    );
    assert!(told, "{:?}", channel.events);
}

#[test]
fn viewers_are_held_for_the_grace_time_and_no_longer() {
    let mut channel = Channel::new(config());
    channel.data(&synthetic(1).take_bytes(50));
    channel.wait(Duration::from_secs(12));
    channel.close(CloseKind::Ended);
    assert_eq!(channel.stream.availability(), Availability::Grace);
    channel.wait(Duration::from_millis(14_999));
    assert_eq!(channel.stream.availability(), Availability::Grace);
    channel.wait(Duration::from_millis(1));
    assert_eq!(channel.stream.availability(), Availability::Lost);
    assert_eq!(channel.forgotten, 1);
}

#[test]
fn offline_outlives_a_reconnect() {
    let mut channel = Channel::new(config());
    channel.data(&synthetic(1).take_bytes(50));
    channel.say(Input::Operator(Operator::Offline));
    channel.wait(Duration::from_secs(11));
    channel.close(CloseKind::Ended);
    channel.data(&synthetic(2).take_bytes(50));
    assert_eq!(channel.stream.availability(), Availability::Offline);
    channel.say(Input::Operator(Operator::Online));
    assert_eq!(channel.stream.availability(), Availability::Live);
}

#[test]
fn a_new_source_goes_on_at_an_access_point_behind_its_own_tables_and_a_mark() {
    let mut channel = Channel::new(with_sources(2));
    channel.play(&mut synthetic(1), 3_000);
    channel.close(CloseKind::Ended);
    let before = channel.segments.len();
    channel.play(&mut synthetic(2), 6_000);
    let seam = &channel.segments[before];
    assert!(seam.seam && seam.access.is_some());
    let packets: Vec<_> = Packet::all(&seam.data).collect();
    let is_mark = |packet: &Packet<'_>| packet.adaptation().is_some_and(|field| field.discontinuity());
    assert!(is_mark(&packets[0]) && packets[0].pid().value() == 0, "the PAT's PID is told first");
    assert_eq!(packets[1].pid().value(), 0);
    let first_picture =
        packets.iter().position(|packet| packet.adaptation().is_some_and(|f| f.random_access()));
    let first_picture = first_picture.unwrap();
    assert!(is_mark(&packets[first_picture - 1]));
    assert_eq!(packets[first_picture - 1].pid(), packets[first_picture].pid());
    assert!(channel.segments[before + 1..].iter().all(|segment| !segment.seam));
}

#[test]
fn a_better_source_is_used_again_when_it_has_been_healthy_for_long_enough() {
    let mut channel = Channel::new(with_sources(2));
    channel.close(CloseKind::Unreachable);
    let second = channel.last_conn();
    let mut worse = synthetic(2);
    channel.data(&worse.take_bytes(50));
    channel.wait(Duration::from_secs(10));
    let (first, source, _) = *channel.connects.last().unwrap();
    assert_eq!(source, 0, "the better one is tried beside the one in use");
    let mut better = synthetic(1);
    for _ in 0..100 {
        channel.say(Input::Data(first, &better.take_bytes(30)));
        channel.say(Input::Data(second, &worse.take_bytes(30)));
        assert_eq!(channel.hung_up, []);
        channel.wait(Duration::from_millis(100));
    }
    channel.wait(Duration::from_millis(1));
    assert_eq!(channel.hung_up, [second]);
    assert!(channel.events.contains(&StreamEvent::Returned { source: 0 }));
}

#[test]
fn what_comes_from_a_connection_that_was_given_up_is_nobodys() {
    let mut config = with_sources(2);
    config.upstream.read_timeout = Some(Duration::from_secs(1));
    let mut channel = Channel::new(config);
    let given_up = channel.last_conn();
    channel.data(&synthetic(1).take_bytes(50));
    channel.wait(Duration::from_secs(2));
    let packets = channel.stream.stats().framing.packets;
    channel.say(Input::Data(given_up, &synthetic(1).take_bytes(500)));
    channel.say(Input::Closed(given_up, CloseCause::new(CloseKind::Ended, "")));
    assert_eq!(channel.stream.stats().framing.packets, packets);
    assert_eq!(channel.connects.len(), 2);
}
