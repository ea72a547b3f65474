//! One connection to one source, from its start to its end.
//!
//! A [`Source`] is a parsed upstream URL; [`run`] connects to it and hands every byte to a [`Sink`] until the
//! connection ends, and says why. Nothing here reconnects, fails over, waits for silence to end or keeps
//! packets: that is core's. Dropping the future of `run` ends the connection and frees everything that belongs
//! to it: sockets, group memberships, socket files, child processes.
//!
//! Each scheme has a file. They share the rule that `data` is called with borrowed bytes as they come off the
//! system; core copies them once.

mod datagram;
mod file;
mod fork;
mod http;
mod multicast;
mod recording;
mod resting;
mod tcp;
mod udp;
mod unix;

use std::fmt;
use std::future::Future;
use std::time::Duration;

use restreamer_core::rtp::Expect;
use restreamer_core::{CloseCause, Patience};

use crate::client::{Proxies, Tls};
use crate::net::Net;
use crate::url::{self, UrlError};

#[cfg(test)]
pub(crate) use self::resting::testing;
pub(crate) use self::resting::{Rest, RestingNet};
pub use crate::url::UrlError as SourceError;

/// Bytes that are read from a byte stream at once.
const READ_BYTES: usize = 64 * 1024;

/// What a source's URL does not say.
#[derive(Clone, Debug)]
pub struct SourceOptions {
    /// Name of the interface on which multicast groups are joined; `None` lets the system choose.
    pub interface: Option<String>,
    /// Largest datagram that is read whole, bytes.
    pub mru: usize,
    /// Kernel buffer of a datagram socket, bytes; the system may grant less.
    pub receive_buffer: usize,
    /// A regular file starts again at its end, without a jump in time.
    pub looped: bool,
    /// Limit for connecting, the TLS handshake and the header section, each.
    pub connect_timeout: Option<Duration>,
    /// Proxies for HTTP; none by default, see [`Proxies::from_environment`].
    pub proxies: Proxies,
    /// Certificates that HTTPS servers may show.
    pub tls: Tls,
}

impl Default for SourceOptions {
    fn default() -> Self {
        SourceOptions {
            interface: None,
            mru: 1500,
            receive_buffer: 1000 * 188,
            looped: false,
            connect_timeout: None,
            proxies: Proxies::default(),
            tls: Tls::default(),
        }
    }
}

/// Where a stream comes from: one parsed upstream URL.
#[derive(Clone)]
pub struct Source {
    label: Box<str>,
    place: Place,
}

#[derive(Clone)]
enum Place {
    Http(Box<http::Place>),
    Tcp(tcp::Place),
    Udp(udp::Place),
    Unix(unix::Place),
    File(file::Place),
    Fork(fork::Place),
    Recording(recording::Place),
}

/// Takes what a source delivers. All calls come from within [`run`], in order.
pub trait Sink {
    /// The connection stands; data may follow. Called at most once.
    fn connected(&mut self);
    /// Bytes as they came, in pieces of any size.
    fn data(&mut self, chunk: &[u8]);
    /// Something to count or to tell the operator.
    fn note(&mut self, note: Note);
    /// Waits until bytes are wanted: to be awaited before each read.
    fn ready(&mut self, _patience: Patience) -> impl Future<Output = ()> + Send {
        std::future::ready(())
    }
    /// Whether the connection's socket has given all that had come. It may wake nobody then: [`Sink::ready`] with
    /// [`Patience::Waits`] is to be awaited before it is read again.
    fn is_drained(&self) -> bool {
        false
    }
}

/// What a source observed beside its data.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Note {
    /// This happened so many more times.
    Counted(Oddity, u64),
    /// The kernel gave a smaller buffer (bytes) than configured; `net.core.rmem_max` limits it.
    ReceiveBuffer {
        /// What the configuration asks for.
        wanted: usize,
        /// What the system grants.
        granted: usize,
    },
}

/// Things that datagrams and devices do and that are worth a counter.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Oddity {
    /// RTP packets that did not come in time.
    RtpLost,
    /// RTP packets that came when they had been given up.
    RtpLate,
    /// RTP packets that came again.
    RtpDuplicate,
    /// RTP packets that came after a later one, and were put in order.
    RtpReordered,
    /// Another RTP sender, or another sequence of the same one.
    RtpRestart,
    /// Datagrams on an `rtp://` port that are neither RTP nor a transport stream.
    Foreign,
    /// Datagrams that the kernel dropped, as its buffer was full.
    KernelDropped,
    /// Datagrams longer than the configured `mru`, which were cut.
    Truncated,
    /// Times that a device dropped data, as nobody had read it in time.
    DeviceOverrun,
}

impl Oddity {
    /// All of them, in the order of their counters.
    pub const ALL: [Oddity; 9] = [
        Oddity::RtpLost,
        Oddity::RtpLate,
        Oddity::RtpDuplicate,
        Oddity::RtpReordered,
        Oddity::RtpRestart,
        Oddity::Foreign,
        Oddity::KernelDropped,
        Oddity::Truncated,
        Oddity::DeviceOverrun,
    ];

    /// The name in metrics and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Oddity::RtpLost => "rtp_lost",
            Oddity::RtpLate => "rtp_late",
            Oddity::RtpDuplicate => "rtp_duplicate",
            Oddity::RtpReordered => "rtp_reordered",
            Oddity::RtpRestart => "rtp_restart",
            Oddity::Foreign => "foreign",
            Oddity::KernelDropped => "kernel_dropped",
            Oddity::Truncated => "truncated",
            Oddity::DeviceOverrun => "device_overrun",
        }
    }
}

impl Source {
    /// Takes the URL of an upstream apart.
    pub fn parse(url: &str, options: &SourceOptions) -> Result<Self, SourceError> {
        let url = url.trim();
        if url.chars().any(char::is_control) {
            return Err(UrlError::ControlCharacter);
        }
        let (scheme, rest) = url::split_scheme(url)?;
        let place = match scheme.as_str() {
            "http" | "https" => Place::Http(Box::new(http::Place::parse(url, options)?)),
            "tcp" => Place::Tcp(tcp::Place::parse(rest, options)?),
            "udp" => Place::Udp(udp::Place::parse(Expect::Either, rest, options)?),
            "rtp" => Place::Udp(udp::Place::parse(Expect::Rtp, rest, options)?),
            "unix" => Place::Unix(unix::Place::parse(unix::Kind::Unknown, &scheme, rest, options)?),
            "unixgram" => Place::Unix(unix::Place::parse(unix::Kind::Datagram, &scheme, rest, options)?),
            "unixpacket" => Place::Unix(unix::Place::parse(unix::Kind::Packet, &scheme, rest, options)?),
            "file" => Place::File(file::Place::parse(&scheme, rest, options)?),
            "fork" => Place::Fork(fork::Place::parse(rest)?),
            _ => return Err(UrlError::UnknownScheme(scheme.into())),
        };
        let label = match &place {
            Place::Udp(place) if place.names_sender() => url.into(),
            Place::Fork(_) => fork::label(rest).into(),
            _ => url::redact(url).into(),
        };
        Ok(Source { label, place })
    }

    /// A recording in memory that is played in real time and begins again at its end, without a jump in time.
    pub fn recording(label: &str, bytes: &'static [u8]) -> Self {
        Source { label: label.into(), place: Place::Recording(recording::Place(bytes)) }
    }

    /// Whether nothing tells when its sender is gone: datagrams just stop.
    pub fn ends_in_silence(&self) -> bool {
        match &self.place {
            Place::Udp(_) => true,
            Place::Unix(place) => place.binds(),
            Place::Http(_) | Place::Tcp(_) | Place::File(_) | Place::Fork(_) | Place::Recording(_) => false,
        }
    }

    /// Whether it takes an address of this machine that no other source can have at the same time.
    pub fn is_exclusive(&self) -> bool {
        match &self.place {
            Place::Udp(place) => !place.is_group(),
            Place::Unix(place) => place.binds(),
            Place::Http(_) | Place::Tcp(_) | Place::File(_) | Place::Fork(_) | Place::Recording(_) => false,
        }
    }

    /// What this machine has not got that it needs, as far as that can be seen without connecting.
    pub fn missing(&self) -> Option<String> {
        match &self.place {
            Place::File(place) => place.missing(),
            Place::Fork(place) => place.missing(),
            Place::Http(_) | Place::Tcp(_) | Place::Udp(_) | Place::Unix(_) | Place::Recording(_) => None,
        }
    }

    /// The URL as configured, without user and password: for logs, metrics and pages.
    pub fn label(&self) -> &str {
        &self.label
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.label)
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Source({})", self.label)
    }
}

/// Connects to `source` and feeds `sink` until the connection ends.
///
/// There is no time limit once it is connected. Drop the future to end the connection at any time.
pub async fn run<N: Net, S: Sink>(net: &N, source: &Source, sink: &mut S) -> CloseCause {
    match &source.place {
        Place::Http(place) => place.run(net, sink).await,
        Place::Tcp(place) => place.run(net, sink).await,
        Place::Udp(place) => place.run(sink).await,
        Place::Unix(place) => place.run(sink).await,
        Place::File(place) => place.run(sink).await,
        Place::Recording(place) => place.run(sink).await,
        Place::Fork(place) => place.run(&source.label, sink).await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_oddity_has_its_own_place_and_name() {
        for (index, what) in Oddity::ALL.into_iter().enumerate() {
            assert_eq!(what as usize, index);
        }
        let mut names = Oddity::ALL.map(Oddity::as_str);
        names.sort();
        assert!(names.windows(2).all(|pair| pair[0] != pair[1]));
    }

    #[test]
    fn a_label_is_the_url_without_its_secrets() {
        for (url, label) in [
            ("http://us%40er:pass@h:81/a?b=c", "http://h:81/a?b=c"),
            ("udp://@239.1.1.1:5000", "udp://@239.1.1.1:5000"),
            ("udp://192.0.2.1@232.1.1.1:5000", "udp://192.0.2.1@232.1.1.1:5000"),
            (" tcp://h:1 ", "tcp://h:1"),
            ("fork://cmd?http://u:p@h/", "fork://cmd?http://h/"),
            ("fork://cmd?http://u:p@h/%0d%0a+b", "fork://cmd?http://h/%0D%0A+b"),
            ("unixgram:///run/a%20b", "unixgram:///run/a%20b"),
        ] {
            let source = Source::parse(url, &SourceOptions::default()).unwrap();
            assert_eq!(source.label(), label);
            assert_eq!(format!("{source} {source:?}"), format!("{label} Source({label})"));
        }
    }

    #[test]
    fn no_error_repeats_the_url() {
        for url in ["tcp://user:secret@h:1", "http://user:secret@:1", "udp://secret@h:1", "http://h:secret/"]
        {
            let error = Source::parse(url, &SourceOptions::default()).unwrap_err().to_string();
            assert!(!error.contains("secret"), "{error}");
        }
    }
}
