//! The command line of `restreamer-load`.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::audience::AudienceOptions;
use crate::scenario::{Scenario, Transport};
use crate::target::{Origin, Target};
use restreamer_core::time::Duration;

/// Receive buffer of the viewers whose memory is measured: what their end holds is not in the way of what ours does.
const SLOW_RECEIVE_BUFFER: usize = 16 << 10;

/// Plays a live transport stream through a server to many viewers and measures what it costs.
#[derive(Debug, Parser)]
#[command(version)]
pub struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// A paced source of a synthetic stream with a number and a time in its packets
    Source(SourceArguments),
    /// The bare loop: the same chunks to every socket, once per flush interval
    Reference(ReferenceArguments),
    /// Viewers of any URL that gives a transport stream over HTTP
    Viewers(ViewersArguments),
    /// Source, server and viewers together, measured
    Run(RunArguments),
    /// Server and reference in turns, with ratios and the machine's own noise
    Compare(CompareArguments),
    /// What viewers cost: a grid of bit rates, viewers and flush intervals, and memory with several send buffers
    Table(TableArguments),
}

/// `restreamer-load source`
#[derive(Debug, Args)]
pub struct SourceArguments {
    #[command(flatten)]
    pub(crate) outlet: OutletArguments,
    /// Bits per second (k, M, G), at least 400k
    #[arg(long, default_value = "8M", value_parser = bits)]
    pub(crate) bitrate: u64,
    /// Milliseconds between two writes; 0: as fast as the clients take it
    #[arg(long, default_value_t = 5)]
    pub(crate) step: u64,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct OutletArguments {
    /// Listen here for HTTP requests
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) http: Option<SocketAddr>,
    /// Listen here for TCP connections
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) tcp: Option<SocketAddr>,
    /// Connect to this address
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) connect: Option<SocketAddr>,
    /// Send datagrams of seven packets to this address or multicast group (loopback interface)
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) udp: Option<SocketAddr>,
}

/// `restreamer-load reference`
#[derive(Debug, Args)]
pub struct ReferenceArguments {
    /// Where to listen
    #[arg(long, default_value = "127.0.0.1:0")]
    pub(crate) listen: SocketAddr,
    /// The source: http://…, tcp://… or, for --drain, udp://…; without it the loop makes the chunks itself
    #[arg(long, value_name = "URL")]
    pub(crate) from: Option<Origin>,
    /// Bits per second of the stream that it makes itself
    #[arg(long, default_value = "8M", value_parser = bits)]
    pub(crate) bitrate: u64,
    /// Milliseconds between two chunks
    #[arg(long, default_value_t = 20)]
    pub(crate) flush: u64,
    /// Serve nobody: read the source on so many sockets and throw the bytes away
    #[arg(long, value_name = "SOCKETS", requires = "from")]
    pub(crate) drain: Option<usize>,
}

/// `restreamer-load viewers`
#[derive(Debug, Args)]
pub struct ViewersArguments {
    /// What they watch
    pub(crate) url: Target,
    /// Viewers that come and stay
    #[arg(long, default_value_t = 100)]
    pub(crate) viewers: usize,
    /// Seconds, counted from when everybody is in
    #[arg(long, default_value_t = 10)]
    pub(crate) duration: u64,
    #[command(flatten)]
    pub(crate) audience: AudienceArguments,
    #[command(flatten)]
    pub(crate) output: OutputArguments,
}

/// `restreamer-load run`
#[derive(Debug, Args)]
pub struct RunArguments {
    /// Bits per second (k, M, G), at least 400k
    #[arg(long, default_value = "8M", value_parser = bits)]
    pub(crate) bitrate: u64,
    /// The server's flush interval (`latency`), milliseconds
    #[arg(long, default_value_t = 20)]
    pub(crate) flush: u64,
    /// Viewers that come and stay
    #[arg(long, default_value_t = 300)]
    pub(crate) viewers: usize,
    /// Measure the reference loop and no server
    #[arg(long, conflicts_with = "server")]
    pub(crate) reference: bool,
    #[command(flatten)]
    pub(crate) server: ServerArguments,
    #[command(flatten)]
    pub(crate) load: LoadArguments,
    #[command(flatten)]
    pub(crate) output: OutputArguments,
}

/// `restreamer-load compare`
#[derive(Debug, Args)]
pub struct CompareArguments {
    /// Bits per second (k, M, G), one or several with commas
    #[arg(long, default_value = "8M", value_parser = bits, value_delimiter = ',')]
    pub(crate) bitrate: Vec<u64>,
    /// Flush intervals (`latency`), milliseconds
    #[arg(long, default_value = "20", value_delimiter = ',')]
    pub(crate) flush: Vec<u64>,
    /// Numbers of viewers
    #[arg(long, default_value = "300", value_delimiter = ',')]
    pub(crate) viewers: Vec<usize>,
    /// Leave out combinations that need more than this many bits per second altogether
    #[arg(long, value_parser = bits)]
    pub(crate) total_max: Option<u64>,
    /// Rounds: each is a run of the server and one of the reference
    #[arg(long, default_value_t = 5)]
    pub(crate) rounds: usize,
    #[command(flatten)]
    pub(crate) server: ServerArguments,
    #[command(flatten)]
    pub(crate) load: LoadArguments,
    #[command(flatten)]
    pub(crate) output: OutputArguments,
}

/// `restreamer-load table`
#[derive(Debug, Args)]
pub struct TableArguments {
    /// Bits per second (k, M, G), one or several with commas
    #[arg(long, default_value = "2M,8M,20M", value_parser = bits, value_delimiter = ',')]
    pub(crate) bitrate: Vec<u64>,
    /// Flush intervals (`latency`), milliseconds
    #[arg(long, default_value = "5,20,50", value_delimiter = ',')]
    pub(crate) flush: Vec<u64>,
    /// Numbers of viewers; none for the memory alone
    #[arg(long, default_value = "10,100,300,1000,5000", value_delimiter = ',', num_args = 0..)]
    pub(crate) viewers: Vec<usize>,
    /// Leave out combinations that need more than this many bits per second altogether
    #[arg(long, default_value = "10G", value_parser = bits)]
    pub(crate) total_max: u64,
    /// Viewers whose memory is measured; 0: none
    #[arg(long, default_value_t = 1000)]
    pub(crate) memory_viewers: usize,
    /// Bits per second of what they watch
    #[arg(long, default_value = "2M", value_parser = bits)]
    pub(crate) memory_bitrate: u64,
    /// Send buffers (`sendbuffer`) to measure it with beside the default, bytes; 0: automatic
    #[arg(long, default_value = "65536,1048576,0", value_delimiter = ',')]
    pub(crate) send_buffers: Vec<usize>,
    /// Rounds of everything; the tables have their medians
    #[arg(long, default_value_t = 5)]
    pub(crate) rounds: usize,
    #[command(flatten)]
    pub(crate) server: ServerArguments,
    #[command(flatten)]
    pub(crate) load: LoadArguments,
    #[command(flatten)]
    pub(crate) output: OutputArguments,
}

#[derive(Debug, Args)]
pub(crate) struct ServerArguments {
    /// The command that starts the server. {config}: a restreamer.json written for it; for other servers
    /// {listen} (address:port), {port} and {remote} (URL of the source)
    #[arg(long, value_name = "COMMAND")]
    pub(crate) server: Option<String>,
    /// The path of the stream on the server
    #[arg(long, default_value = "/s.ts")]
    pub(crate) path: String,
}

#[derive(Debug, Args)]
pub(crate) struct LoadArguments {
    /// Seconds that are measured
    #[arg(long, default_value_t = 10)]
    pub(crate) duration: u64,
    /// Seconds between the first byte and the first viewer: enough for the server's ring to be full, so that what
    /// memory grows by later is the viewers'
    #[arg(long, default_value_t = 6)]
    pub(crate) warm_up: u64,
    /// Seconds between the last join and the measurement
    #[arg(long, default_value_t = 2)]
    pub(crate) settle: u64,
    /// How the server gets the stream
    #[arg(long, value_enum, default_value = "tcp")]
    pub(crate) transport: Transport,
    /// Milliseconds between two writes of the source; 0: as fast as the server takes it
    #[arg(long, default_value_t = 5)]
    pub(crate) step: u64,
    /// Streams of the server, each fed by a connection of its own; viewers are spread evenly over them
    #[arg(long, default_value_t = 1)]
    pub(crate) streams: usize,
    /// The server's send buffer for each viewer (`sendbuffer`), bytes; 0: automatic
    #[arg(long, value_name = "BYTES")]
    pub(crate) send_buffer: Option<usize>,
    /// Count system calls too (perf stat; costs the program a little)
    #[arg(long)]
    pub(crate) count_system_calls: bool,
    #[command(flatten)]
    pub(crate) audience: AudienceArguments,
}

#[derive(Debug, Args)]
pub(crate) struct AudienceArguments {
    /// Viewers that check every packet
    #[arg(long, default_value_t = 10)]
    checking: usize,
    /// Percent of the others that read slowly
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=100))]
    slow_percent: u8,
    /// How slowly, bits per second
    #[arg(long, default_value = "500k", value_parser = bits)]
    slow_bitrate: u64,
    /// Percent of the others that read nothing
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=100))]
    stuck_percent: u8,
    /// Receive buffer of slow and stuck viewers, bytes; without it, it adapts itself
    #[arg(long, value_name = "BYTES")]
    slow_receive_buffer: Option<usize>,
    /// Joins per second; 0: all at once
    #[arg(long, default_value_t = 500)]
    joins_per_second: u32,
    /// Guests per second: they come, wait for the first access point and go, and measure that
    #[arg(long, default_value_t = 5)]
    guests_per_second: u32,
    /// Milliseconds between two reads of a viewer that does not check; 0: whenever something comes
    #[arg(long, default_value_t = 50)]
    sweep: u64,
}

#[derive(Debug, Args)]
pub(crate) struct OutputArguments {
    /// Write everything that was measured into this file
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// No progress on standard error
    #[arg(long)]
    pub(crate) quiet: bool,
}

impl AudienceArguments {
    pub(crate) fn options(&self, viewers: usize) -> AudienceOptions {
        AudienceOptions {
            viewers,
            checking: self.checking.min(viewers),
            slow_percent: self.slow_percent,
            slow_rate: self.slow_bitrate / 8,
            stuck_percent: self.stuck_percent,
            slow_receive_buffer: self.slow_receive_buffer,
            joins_per_second: self.joins_per_second,
            guests_per_second: self.guests_per_second,
            sweep: Duration::from_millis(self.sweep),
        }
    }
}

impl LoadArguments {
    fn combinations(
        &self,
        bitrates: &[u64],
        viewers: &[usize],
        flushes: &[u64],
        total_max: u64,
    ) -> Vec<Scenario> {
        let mut scenarios = Vec::new();
        for &bitrate in bitrates {
            for &viewers in viewers {
                for &flush in flushes {
                    if bitrate * viewers as u64 <= total_max {
                        scenarios.push(self.scenario(bitrate, flush, viewers));
                    }
                }
            }
        }
        scenarios
    }

    pub(crate) fn scenario(&self, bitrate: u64, flush_ms: u64, viewers: usize) -> Scenario {
        let audience = &self.audience;
        Scenario {
            bitrate,
            flush_ms,
            viewers,
            checking: audience.checking.min(viewers),
            slow_percent: audience.slow_percent,
            slow_bitrate: audience.slow_bitrate,
            stuck_percent: audience.stuck_percent,
            slow_receive_buffer: audience.slow_receive_buffer,
            send_buffer: self.send_buffer,
            joins_per_second: audience.joins_per_second,
            guests_per_second: if viewers == 0 { 0 } else { audience.guests_per_second },
            sweep_ms: audience.sweep,
            transport: self.transport,
            step_ms: self.step,
            streams: self.streams,
            warm_up_s: self.warm_up,
            settle_s: self.settle,
            window_s: self.duration,
        }
    }
}

impl CompareArguments {
    /// Every combination of the lists that is not too much altogether.
    pub(crate) fn scenarios(&self) -> Vec<Scenario> {
        let total_max = self.total_max.unwrap_or(u64::MAX);
        self.load.combinations(&self.bitrate, &self.viewers, &self.flush, total_max)
    }
}

impl TableArguments {
    /// Every combination of the lists that is not too much altogether.
    pub(crate) fn grid(&self) -> Vec<Scenario> {
        self.load.combinations(&self.bitrate, &self.viewers, &self.flush, self.total_max)
    }

    /// With every send buffer: viewers who read all, at a quarter of the rate through a small receive buffer, and
    /// nothing.
    pub(crate) fn memory(&self) -> Vec<Scenario> {
        if self.memory_viewers == 0 {
            return Vec::new();
        }
        let buffers = std::iter::once(None).chain(self.send_buffers.iter().copied().map(Some));
        let shares = [(0, 0), (100, 0), (0, 100)];
        let base = self.load.scenario(self.memory_bitrate, 20, self.memory_viewers);
        let with = |send_buffer, (slow_percent, stuck_percent)| Scenario {
            send_buffer,
            slow_percent,
            stuck_percent,
            slow_bitrate: self.memory_bitrate / 4,
            slow_receive_buffer: Some(SLOW_RECEIVE_BUFFER),
            checking: 0,
            guests_per_second: 0,
            ..base.clone()
        };
        buffers.flat_map(|buffer| shares.map(|share| with(buffer, share))).collect()
    }
}

/// `2500k`, `8M`, `1.5G` or a plain number of bits per second.
fn bits(text: &str) -> Result<u64, String> {
    let (number, unit) = match text.as_bytes().last() {
        Some(b'k') => (&text[..text.len() - 1], 1e3),
        Some(b'M') => (&text[..text.len() - 1], 1e6),
        Some(b'G') => (&text[..text.len() - 1], 1e9),
        _ => (text, 1.0),
    };
    match number.parse::<f64>() {
        Ok(number) if number.is_finite() && number >= 0.0 => Ok((number * unit) as u64),
        _ => Err(format!("{text}: a number of bits per second, with k, M or G")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn bit_rates_have_units() {
        let read = [("800000", 800_000), ("2500k", 2_500_000), ("8M", 8_000_000), ("1.5G", 1_500_000_000)];
        for (text, expected) in read {
            assert_eq!(bits(text), Ok(expected));
        }
        for text in ["", "M", "8 M", "-1", "8m", "NaN"] {
            assert!(bits(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_table_has_every_kind_of_viewer_with_every_buffer() {
        let command = "load table --server x --viewers 10 --bitrate 2M --flush 20 --send-buffers 0";
        let Command::Table(table) = Arguments::parse_from(command.split(' ')).command else { panic!() };
        assert_eq!(table.grid().len(), 1);
        let memory = table.memory();
        assert_eq!(memory.len(), 6);
        assert_eq!((memory[2].send_buffer, memory[2].stuck_percent), (None, 100));
        assert_eq!((memory[4].send_buffer, memory[4].slow_bitrate), (Some(0), 500_000));
    }

    #[test]
    fn lists_are_combined_up_to_the_limit() {
        let command = "restreamer-load compare --server x --bitrate 2M,8M --viewers 10,100 --flush 5,20 --total-max 300M";
        let Command::Compare(compare) = Arguments::parse_from(command.split(' ')).command else { panic!() };
        let names: Vec<String> = compare.scenarios().iter().map(Scenario::name).collect();
        assert_eq!(names.len(), 6);
        assert_eq!(names[5], "10 × 8 Mbit/s, flush 20 ms");
    }
}
