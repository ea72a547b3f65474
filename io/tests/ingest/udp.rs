use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use restreamer_core::CloseKind;
use restreamer_io::ingest::{Note, Oddity, SourceOptions};
use socket2::{Domain, InterfaceIndexOrAddress, Protocol, Socket, Type};

use crate::recorder::Running;

/// A port that nobody uses at the moment.
fn free_port() -> u16 {
    UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn rtp(number: u16, payload: &[u8]) -> Vec<u8> {
    let [s1, s0] = number.to_be_bytes();
    [&[0x80, 33, s1, s0, 0, 0, 0, 0, 1, 2, 3, 4], payload].concat()
}

fn on_loopback() -> SourceOptions {
    SourceOptions { interface: Some("lo".to_owned()), ..SourceOptions::default() }
}

struct InterfaceV6 {
    name: String,
    index: u32,
    address: Ipv6Addr,
}

/// The interfaces with a global IPv6 address, as the kernel lists them.
fn interfaces_v6() -> Vec<InterfaceV6> {
    let list = std::fs::read_to_string("/proc/net/if_inet6").unwrap_or_default();
    let interface = |line: &str| match line.split_whitespace().collect::<Vec<_>>()[..] {
        // Address, index, bits of the prefix, scope (0 is global), flags, name; all numbers hexadecimal.
        [address, index, _, "00", _, name] => Some(InterfaceV6 {
            name: name.to_owned(),
            index: u32::from_str_radix(index, 16).ok()?,
            address: u128::from_str_radix(address, 16).ok()?.into(),
        }),
        _ => None,
    };
    list.lines().filter_map(interface).collect()
}

/// A socket that sends to groups: over IPv4 on the loopback interface, over IPv6 on that with the address.
fn group_sender(from: IpAddr) -> Socket {
    let domain = Domain::for_address(SocketAddr::new(from, 0));
    let socket = Socket::new(domain, Type::DGRAM, Some(Protocol::UDP)).unwrap();
    match from {
        IpAddr::V4(_) => {
            socket.set_multicast_if_v4(&Ipv4Addr::LOCALHOST).unwrap();
            socket.set_multicast_loop_v4(true).unwrap();
        }
        IpAddr::V6(address) => {
            let interface =
                interfaces_v6().into_iter().find(|interface| interface.address == address).unwrap();
            socket.set_multicast_if_v6(interface.index).unwrap();
        }
    }
    socket.bind(&SocketAddr::new(from, 0).into()).unwrap();
    socket
}

/// Whether a datagram for a group comes back over the loopback interface of this machine.
fn multicast_works() -> bool {
    let receiver = UdpSocket::bind("0.0.0.0:0").unwrap();
    let group = Ipv4Addr::new(239, 255, 77, 1);
    let joined =
        socket2::SockRef::from(&receiver).join_multicast_v4_n(&group, &InterfaceIndexOrAddress::Index(1));
    receiver.set_read_timeout(Some(std::time::Duration::from_secs(1))).unwrap();
    let to = SocketAddr::new(group.into(), receiver.local_addr().unwrap().port());
    let sent = group_sender(Ipv4Addr::LOCALHOST.into()).send_to(b"?", &to.into());
    let works = joined.is_ok() && sent.is_ok() && receiver.recv(&mut [0]).is_ok();
    if !works {
        eprintln!("SKIPPED: multicast does not work on the loopback interface of this machine");
    }
    works
}

#[tokio::test]
async fn datagrams_come_whole_and_an_empty_one_ends_nothing() {
    let port = free_port();
    let mut running = Running::start(&format!("udp://127.0.0.1:{port}"));
    running.connected().await;
    let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
    for datagram in [&b"Gabc"[..], b"", b"Gdef"] {
        sender.send_to(datagram, ("127.0.0.1", port)).unwrap();
    }
    assert_eq!(running.chunk().await, b"Gabc");
    assert_eq!(running.chunk().await, b"Gdef");
}

#[tokio::test]
async fn any_address_takes_both_families() {
    let port = free_port();
    let mut running = Running::start(&format!("udp://:{port}"));
    running.connected().await;
    let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
    sender.send_to(b"G4", ("127.0.0.1", port)).unwrap();
    assert_eq!(running.chunk().await, b"G4");
    let sender = UdpSocket::bind("[::1]:0").unwrap();
    sender.send_to(b"G6", ("::1", port)).unwrap();
    assert_eq!(running.chunk().await, b"G6");
}

#[tokio::test]
async fn rtp_is_recognised_and_put_in_order() {
    for scheme in ["udp", "rtp"] {
        let port = free_port();
        let mut running = Running::start(&format!("{scheme}://127.0.0.1:{port}"));
        running.connected().await;
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        for number in [65_534, 0, 65_535, 0, 1] {
            sender.send_to(&rtp(number, &[b'G', number as u8]), ("127.0.0.1", port)).unwrap();
        }
        assert_eq!(running.bytes(8).await, [b'G', 254, b'G', 255, b'G', 0, b'G', 1]);
        let notes = running.notes(2).await;
        assert_eq!(notes, [Note::Counted(Oddity::RtpDuplicate, 1), Note::Counted(Oddity::RtpReordered, 1)]);
    }
}

#[tokio::test]
async fn a_gap_is_passed_when_nothing_more_comes() {
    let port = free_port();
    let mut running = Running::start(&format!("rtp://127.0.0.1:{port}"));
    running.connected().await;
    let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
    for number in [1, 3] {
        sender.send_to(&rtp(number, b"G"), ("127.0.0.1", port)).unwrap();
    }
    assert_eq!(running.bytes(2).await, b"GG");
    assert_eq!(running.notes(1).await, [Note::Counted(Oddity::RtpLost, 1)]);
}

#[tokio::test]
async fn a_datagram_longer_than_mru_is_cut_and_counted() {
    let port = free_port();
    let options = SourceOptions { mru: 188, ..SourceOptions::default() };
    let mut running = Running::with(&format!("udp://127.0.0.1:{port}"), &options);
    running.connected().await;
    let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
    sender.send_to(&[b'G'; 200], ("127.0.0.1", port)).unwrap();
    assert_eq!(running.chunk().await.len(), 188);
    assert_eq!(running.notes(1).await, [Note::Counted(Oddity::Truncated, 1)]);
}

#[tokio::test]
async fn a_buffer_that_the_system_caps_is_noted() {
    let options = SourceOptions { receive_buffer: 1 << 30, ..SourceOptions::default() };
    let mut running = Running::with(&format!("udp://127.0.0.1:{}", free_port()), &options);
    let notes = running.notes(1).await;
    assert!(
        matches!(notes[..], [Note::ReceiveBuffer { wanted, granted }] if wanted == 1 << 30 && granted < wanted)
    );
}

#[tokio::test]
async fn a_port_that_is_taken_and_a_foreign_address_are_the_operators() {
    let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
    let url = format!("udp://{}", taken.local_addr().unwrap());
    for url in [url.as_str(), "udp://192.0.2.99:5000"] {
        let cause = Running::start(url).end().await.1;
        assert_eq!(cause.kind, CloseKind::Config, "{cause}");
    }
}

#[tokio::test]
async fn two_groups_on_one_port_do_not_mix() {
    if !multicast_works() {
        return;
    }
    let port = free_port();
    let groups = ["239.255.77.2", "239.255.77.3"];
    let mut first = Running::with(&format!("udp://@{}:{port}", groups[0]), &on_loopback());
    let mut second = Running::with(&format!("udp://{}:{port}", groups[1]), &on_loopback());
    first.connected().await;
    second.connected().await;
    let sender = group_sender(Ipv4Addr::LOCALHOST.into());
    for round in 0..10u8 {
        for (n, group) in groups.iter().enumerate() {
            let to = SocketAddr::new(group.parse().unwrap(), port);
            sender.send_to(&[b'G', n as u8, round], &to.into()).unwrap();
        }
    }
    for round in 0..10 {
        assert_eq!(first.chunk().await, [b'G', 0, round]);
        assert_eq!(second.chunk().await, [b'G', 1, round]);
    }
}

#[tokio::test]
async fn only_the_chosen_sender_is_heard() {
    if !multicast_works() {
        return;
    }
    let port = free_port();
    let mut running = Running::with(&format!("udp://127.0.0.2@232.255.77.4:{port}"), &on_loopback());
    running.connected().await;
    let to = SocketAddr::new("232.255.77.4".parse().unwrap(), port);
    group_sender("127.0.0.1".parse().unwrap()).send_to(b"Gwrong", &to.into()).unwrap();
    group_sender("127.0.0.2".parse().unwrap()).send_to(b"Gright", &to.into()).unwrap();
    assert_eq!(running.chunk().await, b"Gright");
}

/// The groups have interface-local scope (RFC 4291 §2.7): nothing leaves this machine.
#[tokio::test]
async fn v6_groups_do_not_mix_either() {
    let Some(interface) = interfaces_v6().into_iter().next() else {
        eprintln!("SKIPPED: no interface has an IPv6 address apart from the loopback interface");
        return;
    };
    let options = SourceOptions { interface: Some(interface.name), ..SourceOptions::default() };
    let port = free_port();
    let mut first = Running::with(&format!("udp://[ff11::4d01]:{port}"), &options);
    let from_us = format!("udp://[{}]@[ff31::4d02]:{port}", interface.address);
    let mut second = Running::with(&from_us, &options);
    let from_others = format!("udp://[2001:db8::1]@[ff31::4d03]:{port}");
    let mut third = Running::with(&from_others, &options);
    for running in [&mut first, &mut second, &mut third] {
        running.connected().await;
    }
    let sender = group_sender(interface.address.into());
    for (group, payload) in
        [("ff31::4d02", b"G2"), ("ff31::4d03", b"G4"), ("ff11::4d01", b"G1"), ("ff31::4d02", b"G3")]
    {
        let to = SocketAddr::new(group.parse().unwrap(), port);
        sender.send_to(payload, &to.into()).unwrap();
    }
    assert_eq!(first.chunk().await, b"G1");
    assert_eq!(second.bytes(4).await, b"G2G3");
    assert!(third.is_silent());
}

#[tokio::test]
async fn an_interface_that_does_not_exist_is_named() {
    let options = SourceOptions { interface: Some("nowhere0".to_owned()), ..SourceOptions::default() };
    let cause = Running::with("udp://239.255.77.5:5000", &options).end().await.1;
    assert_eq!(cause.kind, CloseKind::Config);
    assert!(cause.detail.starts_with("cannot find the interface nowhere0: "), "{cause}");
}
