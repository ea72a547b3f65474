use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::Path;

use restreamer_core::CloseKind;
use socket2::{Domain, SockAddr, Socket, Type};
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;

use crate::recorder::{Running, within};

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

fn url(scheme: &str, path: &Path) -> String {
    format!("{scheme}://{}", path.display())
}

fn packet_listener(path: &Path) -> Socket {
    let listener = Socket::new(Domain::UNIX, Type::SEQPACKET, None).unwrap();
    listener.bind(&SockAddr::unix(path).unwrap()).unwrap();
    listener.listen(1).unwrap();
    listener
}

#[tokio::test]
async fn a_stream_socket_is_connected_to() {
    let folder = folder();
    let path = folder.path().join("a socket");
    let listener = tokio::net::UnixListener::bind(&path).unwrap();
    let mut running = Running::start(&url("unix", &folder.path().join("a%20socket")));
    let (mut peer, _) = within(listener.accept()).await.unwrap();
    running.connected().await;
    peer.write_all(b"Gabc").await.unwrap();
    assert_eq!(running.bytes(4).await, b"Gabc");
    drop(peer);
    assert_eq!(running.end().await.1.kind, CloseKind::Ended);
}

#[tokio::test]
async fn messages_of_a_packet_socket_arrive_whole() {
    let folder = folder();
    for scheme in ["unixpacket", "unix"] {
        let path = folder.path().join(scheme);
        let listener = packet_listener(&path);
        let mut running = Running::start(&url(scheme, &path));
        running.connected().await;
        let (peer, _) = listener.accept().unwrap();
        for n in 0..3 {
            peer.send(&[n; 1316]).unwrap();
            peer.send(b"").unwrap();
        }
        for n in 0..3 {
            assert_eq!(running.chunk().await, [n; 1316]);
        }
        peer.send(b"Glast").unwrap();
        drop(peer);
        let (bytes, cause) = running.end().await;
        assert_eq!(bytes, b"Glast");
        assert_eq!(cause.kind, CloseKind::Ended);
    }
}

#[tokio::test]
async fn datagrams_are_received_and_the_path_goes_with_the_source() {
    let folder = folder();
    let path = folder.path().join("in");
    // What a process leaves that was killed.
    drop(UnixDatagram::bind(&path).unwrap());
    assert!(path.exists());
    let mut running = Running::start(&url("unixgram", &path));
    running.connected().await;
    let sender = UnixDatagram::unbound().unwrap();
    for datagram in [&[b'G'; 1316][..], b"", &[b'H'; 1316]] {
        sender.send_to(datagram, &path).unwrap();
    }
    assert_eq!(running.chunk().await, [b'G'; 1316]);
    assert_eq!(running.chunk().await, [b'H'; 1316]);

    running.stop().await;
    assert!(!path.exists());
}

#[tokio::test]
async fn a_path_that_is_in_use_is_left_alone() {
    let folder = folder();
    let path = folder.path().join("in");
    let owner = UnixDatagram::bind(&path).unwrap();
    let cause = Running::start(&url("unixgram", &path)).end().await.1;
    assert_eq!(cause.kind, CloseKind::Config, "{cause}");
    drop(owner);
    assert!(path.exists());

    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, "data").unwrap();
    let cause = Running::start(&url("unixgram", &path)).end().await.1;
    assert_eq!(cause.kind, CloseKind::Config, "{cause}");
    assert_eq!(std::fs::read(&path).unwrap(), b"data");
}

#[tokio::test]
async fn wrong_sockets_are_named() {
    let folder = folder();
    let (stream, datagram) = (folder.path().join("stream"), folder.path().join("datagram"));
    let _listener = UnixListener::bind(&stream).unwrap();
    let _owner = UnixDatagram::bind(&datagram).unwrap();
    for (scheme, path, kind) in [
        ("unixpacket", &stream, CloseKind::Config),
        ("unix", &datagram, CloseKind::Config),
        ("unix", &folder.path().join("none"), CloseKind::Unreachable),
        ("unixpacket", &folder.path().join("none"), CloseKind::Unreachable),
        ("unixgram", &folder.path().join("no/folder"), CloseKind::Config),
    ] {
        let cause = Running::start(&url(scheme, path)).end().await.1;
        assert_eq!(cause.kind, kind, "{scheme} {cause}");
    }
}
