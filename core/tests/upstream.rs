//! Attempts, availability and what is forgotten: stories for each promise.

mod channel;

use restreamer_core::Duration;

use channel::{Channel, config, synthetic};

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
