//! What is played to a server in one run.

use std::iter;
use std::net::{Ipv4Addr, SocketAddr};

use restreamer_core::time::Duration;
use serde::Serialize;
use serde_json::{Value, json};

use crate::audience::AudienceOptions;
use crate::source::{Outlet, Pace, SourceOptions};
use crate::target::Target;

/// Where several streams receive the same datagrams; it stays on the loopback interface.
const GROUP: Ipv4Addr = Ipv4Addr::new(239, 255, 76, 68);

/// One load: a source, a server between, viewers.
#[derive(Clone, Debug, Serialize)]
pub struct Scenario {
    /// Bits per second of the stream.
    pub bitrate: u64,
    /// The server's flush interval, milliseconds; its configuration calls it `latency`.
    pub flush_ms: u64,
    /// Viewers that come and stay.
    pub viewers: usize,
    /// How many of them check every packet.
    pub checking: usize,
    /// Percent of the others that read slowly.
    pub slow_percent: u8,
    /// How slowly, bits per second.
    pub slow_bitrate: u64,
    /// Percent of the others that read nothing.
    pub stuck_percent: u8,
    /// Receive buffer of slow and stuck viewers, bytes.
    pub slow_receive_buffer: Option<usize>,
    /// The server's send buffer for each viewer (`sendbuffer`), bytes; 0: automatic; `None`: its default.
    pub send_buffer: Option<usize>,
    /// Viewers that join per second; 0: all at once.
    pub joins_per_second: u32,
    /// Guests per second, who measure joining under the load.
    pub guests_per_second: u32,
    /// Milliseconds between two reads of a viewer that does not check; 0: as it comes.
    pub sweep_ms: u64,
    /// How the server gets the stream.
    pub transport: Transport,
    /// Milliseconds between two writes of the source; 0: no pace at all, as fast as the server takes it.
    pub step_ms: u64,
    /// Streams of the server, each with a connection of its own to the source; the viewers are spread over them.
    pub streams: usize,
    /// Seconds between the first byte and the first viewer: the memory that viewers need is counted from here, so
    /// a server's ring should be full by then.
    pub warm_up_s: u64,
    /// Seconds between the last join and the beginning of the window.
    pub settle_s: u64,
    /// Seconds of the window.
    pub window_s: u64,
}

/// How a server gets the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// It sends a GET.
    Http,
    /// It connects.
    Tcp,
    /// It receives datagrams.
    Udp,
}

impl Scenario {
    /// The source. Over UDP it sends to `port`, for several streams to a multicast group; otherwise the system picks a
    /// port.
    pub fn source(&self, port: u16) -> SourceOptions {
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        SourceOptions {
            outlet: match self.transport {
                Transport::Http => Outlet::Http(any),
                Transport::Tcp => Outlet::Tcp(any),
                Transport::Udp if self.uses_group() => Outlet::Udp((GROUP, port).into()),
                Transport::Udp => Outlet::Udp((Ipv4Addr::LOCALHOST, port).into()),
            },
            bitrate: self.bitrate,
            pace: match self.step_ms {
                0 => Pace::Unpaced,
                step => Pace::Steps(Duration::from_millis(step)),
            },
        }
    }

    /// The viewers.
    pub fn audience(&self) -> AudienceOptions {
        AudienceOptions {
            viewers: self.viewers,
            checking: self.checking,
            slow_percent: self.slow_percent,
            slow_rate: self.slow_bitrate / 8,
            stuck_percent: self.stuck_percent,
            slow_receive_buffer: self.slow_receive_buffer,
            joins_per_second: self.joins_per_second,
            guests_per_second: self.guests_per_second,
            sweep: Duration::from_millis(self.sweep_ms),
        }
    }

    /// The URL of the source, as a server's configuration wants it.
    pub fn remote(&self, source: SocketAddr) -> String {
        match self.transport {
            Transport::Http => format!("http://{source}/"),
            Transport::Tcp => format!("tcp://{source}"),
            Transport::Udp => format!("udp://@{source}"),
        }
    }

    /// A configuration of restreamer for this load.
    pub fn configuration(&self, listen: SocketAddr, remote: &str) -> Value {
        let streams = (0..self.streams).map(|stream| {
            let mut resource = json!({ "type": "stream", "serve": Scenario::path(stream), "remote": remote });
            if self.uses_group() {
                resource["clientinterface"] = "lo".into();
            }
            resource
        });
        let mut configuration = json!({
            "listen": listen.to_string(),
            "latency": self.flush_ms,
            "resources": streams.collect::<Vec<_>>(),
        });
        if let Some(bytes) = self.send_buffer {
            configuration["sendbuffer"] = bytes.into();
        }
        configuration
    }

    /// The path of a stream in that configuration.
    pub fn path(stream: usize) -> String {
        match stream {
            0 => "/s.ts".to_owned(),
            other => format!("/s{other}.ts"),
        }
    }

    /// All streams of a server, of which `first` is the first.
    pub fn targets(&self, first: &Target) -> Vec<Target> {
        let others = (1..self.streams).map(|stream| Target::http(first.address, &Scenario::path(stream)));
        iter::once(first.clone()).chain(others).collect()
    }

    /// Whether the streams receive the same datagrams, from a multicast group.
    fn uses_group(&self) -> bool {
        self.transport == Transport::Udp && self.streams > 1
    }

    /// The load in a few words: a row's name in a table.
    pub fn name(&self) -> String {
        let mbit = self.bitrate as f64 / 1e6;
        let flush = self.flush_ms;
        let mut name = match (self.viewers, self.streams) {
            (0, streams) => format!("{streams} idle × {mbit} Mbit/s"),
            (viewers, 1) => format!("{viewers} × {mbit} Mbit/s, flush {flush} ms"),
            (viewers, streams) => format!("{viewers} × {mbit} Mbit/s, flush {flush} ms, {streams} streams"),
        };
        if self.step_ms == 0 {
            name.push_str(", unpaced");
        }
        for (percent, what) in [(self.slow_percent, "slow"), (self.stuck_percent, "stuck")] {
            if percent > 0 {
                name.push_str(&format!(", {percent} % {what}"));
            }
        }
        name
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn scenario() -> Scenario {
        Scenario {
            bitrate: 8_000_000,
            flush_ms: 20,
            viewers: 300,
            checking: 10,
            slow_percent: 0,
            slow_bitrate: 2_000_000,
            stuck_percent: 0,
            slow_receive_buffer: None,
            send_buffer: None,
            joins_per_second: 0,
            guests_per_second: 0,
            sweep_ms: 50,
            transport: Transport::Tcp,
            step_ms: 5,
            streams: 1,
            warm_up_s: 0,
            settle_s: 0,
            window_s: 1,
        }
    }

    #[test]
    fn a_configuration_names_every_stream_once() {
        let two = Scenario { streams: 2, ..scenario() };
        let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 8000));
        let remote = "tcp://127.0.0.1:9000";
        let configuration = two.configuration(listen, remote);
        let expected = json!({
            "listen": "127.0.0.1:8000",
            "latency": 20,
            "resources": [
                { "type": "stream", "serve": "/s.ts", "remote": remote },
                { "type": "stream", "serve": "/s1.ts", "remote": remote },
            ],
        });
        assert_eq!(configuration, expected);
    }

    /// Elsewhere the key has no effect, and the server warns of it.
    #[test]
    fn an_interface_is_named_where_streams_join_a_multicast_group() {
        for (transport, streams, interface) in [
            (Transport::Http, 2, None),
            (Transport::Tcp, 2, None),
            (Transport::Udp, 1, None),
            (Transport::Udp, 2, Some("lo")),
        ] {
            let scenario = Scenario { transport, streams, ..scenario() };
            let to_group = matches!(scenario.source(5000).outlet, Outlet::Udp(to) if to.ip().is_multicast());
            assert_eq!(to_group, interface.is_some(), "{transport:?} {streams}");
            let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 8000));
            for resource in scenario.configuration(listen, "")["resources"].as_array().unwrap() {
                let named = resource.get("clientinterface").and_then(Value::as_str);
                assert_eq!(named, interface, "{transport:?} {streams}");
            }
        }
    }

    #[test]
    fn a_name_says_what_differs() {
        assert_eq!(scenario().name(), "300 × 8 Mbit/s, flush 20 ms");
        let stuck = Scenario { stuck_percent: 10, bitrate: 500_000, ..scenario() };
        assert_eq!(stuck.name(), "300 × 0.5 Mbit/s, flush 20 ms, 10 % stuck");
        let idle = Scenario { viewers: 0, streams: 200, ..scenario() };
        assert_eq!(idle.name(), "200 idle × 8 Mbit/s");
    }
}
