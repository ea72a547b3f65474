//! `udp://` and `rtp://`: datagrams, to this host or to a multicast group.
//!
//! A group's socket is bound to the group's address and told to take only what it joined itself
//! (`IP_MULTICAST_ALL` off): otherwise Linux hands every datagram for the port to every socket on it, whichever
//! group any process on the machine has joined.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::os::fd::AsFd;

use restreamer_core::rtp::{Expect, RtpReceiver, RtpStats};
use restreamer_core::{CloseCause, CloseKind, Patience};
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::io::Interest;
use tokio::net::UdpSocket;
use tokio::task::coop::consume_budget;

use super::datagram::{self, BATCH, Batch};
use super::{Note, Oddity, Sink, SourceOptions, multicast};
use crate::clock::Clock;
use crate::url::{Authority, UrlError};

/// Kernel buffer that is asked for at least: 0.4 s of 20 Mbit/s.
const RECEIVE_BUFFER_MIN: usize = 1024 * 1024;
/// Longer ones cannot be sent (RFC 768).
const DATAGRAM_BYTES_MAX: usize = 65_535;

#[derive(Clone)]
pub(super) struct Place {
    host: Host,
    port: u16,
    /// Receive only what this address sends to the group.
    sender: Option<IpAddr>,
    interface: Option<String>,
    expect: Expect,
    mru: usize,
    receive_buffer: usize,
}

#[derive(Clone)]
enum Host {
    Any,
    Address(IpAddr),
    Name(Box<str>),
}

impl Place {
    pub(super) fn parse(expect: Expect, rest: &str, options: &SourceOptions) -> Result<Self, UrlError> {
        let (authority, _) = Authority::parse(rest)?;
        let host = match authority.host {
            "" => Host::Any,
            host => host.parse().map_or_else(|_| Host::Name(host.into()), Host::Address),
        };
        let sender = match authority.user_info.unwrap_or("") {
            "" => None,
            text => match &host {
                Host::Address(group) if group.is_multicast() => Some(sender(text, group)?),
                _ => return Err(UrlError::SenderWithoutGroup),
            },
        };
        Ok(Place {
            host,
            port: authority.port.ok_or(UrlError::NoPort)?,
            sender,
            interface: options.interface.clone(),
            expect,
            mru: options.mru.min(DATAGRAM_BYTES_MAX),
            receive_buffer: options.receive_buffer,
        })
    }

    /// Whether what stands before the `@` is an address and no secret.
    pub(super) fn names_sender(&self) -> bool {
        self.sender.is_some()
    }

    /// Whether it joins a group, which others may join too.
    pub(super) fn is_group(&self) -> bool {
        matches!(self.host, Host::Address(address) if address.is_multicast())
    }

    pub(super) async fn run(&self, sink: &mut impl Sink) -> CloseCause {
        let socket = match self.open(sink).await {
            Ok(socket) => socket,
            Err(cause) => return cause,
        };
        sink.connected();
        let error = self.receive(&socket, sink).await;
        CloseCause::new(CloseKind::Io, &format!("cannot receive: {error}"))
    }

    async fn open(&self, sink: &mut impl Sink) -> Result<UdpSocket, CloseCause> {
        let address = self.address().await?;
        let opened =
            if address.ip().is_multicast() { self.open_group(address) } else { self.open_host(address) };
        let socket = opened?;
        let adopted = self.size_buffer(&socket, sink).and_then(|()| {
            datagram::count_drops(socket.as_fd())?;
            socket.set_nonblocking(true)?;
            UdpSocket::from_std(socket.into())
        });
        adopted.map_err(|error| CloseCause::new(CloseKind::Io, &format!("cannot set up the socket: {error}")))
    }

    async fn address(&self) -> Result<SocketAddr, CloseCause> {
        match &self.host {
            Host::Any => Ok((Ipv6Addr::UNSPECIFIED, self.port).into()),
            Host::Address(address) => Ok((*address, self.port).into()),
            Host::Name(name) => {
                let found = tokio::net::lookup_host((&**name, self.port)).await;
                let first =
                    found.and_then(|mut all| all.next().ok_or_else(|| io::ErrorKind::NotFound.into()));
                first.map_err(|error| {
                    CloseCause::new(CloseKind::Unreachable, &format!("cannot find {name}: {error}"))
                })
            }
        }
    }

    fn open_host(&self, address: SocketAddr) -> Result<Socket, CloseCause> {
        let bind = |address: SocketAddr| {
            let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
            if address.is_ipv6() {
                socket.set_only_v6(!address.ip().is_unspecified())?;
            }
            socket.bind(&address.into())?;
            io::Result::Ok(socket)
        };
        let socket = match bind(address) {
            // A machine without IPv6 still has all its IPv4 addresses.
            Err(_) if matches!(self.host, Host::Any) => bind((Ipv4Addr::UNSPECIFIED, self.port).into()),
            bound => bound,
        };
        socket.map_err(|error| {
            let hint = match error.kind() {
                io::ErrorKind::AddrInUse => ": another stream or program receives there",
                io::ErrorKind::AddrNotAvailable => ": it is no address of this machine",
                io::ErrorKind::PermissionDenied => ": ports below 1024 need the right to bind them",
                _ => "",
            };
            CloseCause::new(CloseKind::Config, &format!("cannot bind {address}: {error}{hint}"))
        })
    }

    fn open_group(&self, group: SocketAddr) -> Result<Socket, CloseCause> {
        let failed = |what: &str, error: io::Error| {
            CloseCause::new(CloseKind::Config, &format!("cannot {what}: {error}"))
        };
        let index = match &self.interface {
            None => 0,
            Some(name) => multicast::interface_index(name)
                .map_err(|error| failed(&format!("find the interface {name}"), error))?,
        };
        let bind = || {
            let socket = Socket::new(Domain::for_address(group), Type::DGRAM, Some(Protocol::UDP))?;
            // Several programs may receive the same group.
            socket.set_reuse_address(true)?;
            match group {
                SocketAddr::V4(_) => {
                    socket.set_multicast_all_v4(false)?;
                    socket.bind(&group.into())?;
                }
                SocketAddr::V6(group) => {
                    socket.set_multicast_all_v6(false)?;
                    socket.bind(&SocketAddrV6::new(*group.ip(), group.port(), 0, index).into())?;
                }
            }
            io::Result::Ok(socket)
        };
        let socket = bind().map_err(|error| failed(&format!("bind {group}"), error))?;
        let joined = match self.sender {
            None => multicast::join(&socket, group.ip(), index),
            Some(sender) => multicast::join_sender(&socket, group.ip(), sender, index),
        };
        joined.map_err(|error| {
            let hint = match &self.interface {
                None => ": name the interface to join on (clientinterface)".to_owned(),
                Some(name) => format!(" on interface {name}"),
            };
            failed(&format!("join {}{hint}", group.ip()), error)
        })?;
        Ok(socket)
    }

    fn size_buffer(&self, socket: &Socket, sink: &mut impl Sink) -> io::Result<()> {
        socket.set_recv_buffer_size(self.receive_buffer.max(RECEIVE_BUFFER_MIN))?;
        // Linux reports twice what it grants, as it counts its own bookkeeping.
        let granted = socket.recv_buffer_size()? / 2;
        if granted < self.receive_buffer {
            sink.note(Note::ReceiveBuffer { wanted: self.receive_buffer, granted });
        }
        Ok(())
    }

    /// Receives until the socket fails.
    async fn receive(&self, socket: &UdpSocket, sink: &mut impl Sink) -> io::Error {
        let clock = Clock::start();
        let mut batch = Batch::new(self.mru, BATCH);
        let mut receiver = RtpReceiver::new(self.expect);
        let mut told = RtpStats::default();
        // Linux reports twice what it grants.
        let buffer = SockRef::from(socket).recv_buffer_size().map_or(self.receive_buffer, |bytes| bytes / 2);
        let patience = Patience::Buffered(buffer);
        loop {
            // A socket that always has something would otherwise never let others have a turn.
            consume_budget().await;
            if !batch.is_full() {
                sink.ready(patience).await;
            }
            let due = receiver.poll_timeout();
            let gap = async {
                match due {
                    Some(due) => tokio::time::sleep_until(clock.at(due)).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                ready = socket.readable() => if let Err(error) = ready { return error },
                () = gap => {}
            }
            let received = socket.try_io(Interest::READABLE, || batch.receive(socket.as_fd()));
            let now = clock.now();
            match received {
                Ok(()) => {
                    for datagram in batch.datagrams() {
                        receiver.push(now, datagram, &mut |payload| sink.data(payload));
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return error,
            }
            receiver.handle_timeout(now, &mut |payload| sink.data(payload));
            count(Oddity::Truncated, batch.take_truncated(), sink);
            count(Oddity::KernelDropped, batch.take_dropped(), sink);
            tell(&mut told, receiver.stats(), sink);
        }
    }
}

fn count(what: Oddity, n: u64, sink: &mut impl Sink) {
    if n > 0 {
        sink.note(Note::Counted(what, n));
    }
}

/// Notes what has been added to `told`.
fn tell(told: &mut RtpStats, stats: &RtpStats, sink: &mut impl Sink) {
    if told == stats {
        return;
    }
    count(Oddity::RtpLost, stats.lost - told.lost, sink);
    count(Oddity::RtpLate, stats.late - told.late, sink);
    count(Oddity::RtpDuplicate, stats.duplicates - told.duplicates, sink);
    count(Oddity::RtpReordered, stats.reordered - told.reordered, sink);
    count(Oddity::RtpRestart, stats.restarts - told.restarts, sink);
    count(Oddity::Foreign, stats.foreign - told.foreign, sink);
    *told = *stats;
}

/// The address before the `@`: of the group's family, brackets allowed.
fn sender(text: &str, group: &IpAddr) -> Result<IpAddr, UrlError> {
    let text = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    match text.parse::<IpAddr>() {
        Ok(sender) if sender.is_ipv4() == group.is_ipv4() && !sender.is_multicast() => Ok(sender),
        _ => Err(UrlError::BadSender),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(rest: &str) -> Result<Place, UrlError> {
        Place::parse(Expect::Either, rest, &SourceOptions::default())
    }

    #[test]
    fn addresses_groups_and_senders() {
        assert!(matches!(parse(":5000").unwrap().host, Host::Any));
        assert!(matches!(parse("@:5000").unwrap().host, Host::Any));
        assert!(matches!(parse("example.test:5000").unwrap().host, Host::Name(_)));
        assert!(matches!(parse("@239.1.1.1:5000/?pkt_size=1316").unwrap().host, Host::Address(_)));
        let place = parse("192.0.2.1@232.1.1.1:5000").unwrap();
        assert_eq!(place.sender, Some("192.0.2.1".parse().unwrap()));
        let place = parse("[fd00::1]@[ff3e::1]:5000").unwrap();
        assert_eq!(place.sender, Some("fd00::1".parse().unwrap()));
    }

    #[test]
    fn wrong_places_say_what_is_wrong() {
        for (rest, error) in [
            ("239.1.1.1", UrlError::NoPort),
            ("user@232.1.1.1:5000", UrlError::BadSender),
            ("fd00::1@232.1.1.1:5000", UrlError::BadSender),
            ("232.1.1.2@232.1.1.1:5000", UrlError::BadSender),
            ("192.0.2.1@192.0.2.2:5000", UrlError::SenderWithoutGroup),
            ("user:pass@example.test:5000", UrlError::SenderWithoutGroup),
        ] {
            assert_eq!(parse(rest).err(), Some(error), "{rest}");
        }
    }
}
