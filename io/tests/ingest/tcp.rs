use restreamer_core::CloseKind;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::recorder::{Running, within};

async fn listener() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("tcp://{}", listener.local_addr().unwrap());
    (listener, url)
}

#[tokio::test]
async fn bytes_come_as_sent_and_the_end_is_the_end() {
    let (listener, url) = listener().await;
    let mut running = Running::start(&url);
    let (mut peer, _) = within(listener.accept()).await.unwrap();
    running.connected().await;
    peer.write_all(&[0x47; 1000]).await.unwrap();
    assert_eq!(running.bytes(1000).await, [0x47; 1000]);
    drop(peer);
    let (rest, cause) = running.end().await;
    assert!(rest.is_empty());
    assert_eq!(cause.kind, CloseKind::Ended);
}

#[tokio::test]
async fn a_reset_is_told_from_an_end() {
    let (listener, url) = listener().await;
    let mut running = Running::start(&url);
    let (peer, _) = within(listener.accept()).await.unwrap();
    running.connected().await;
    peer.set_zero_linger().unwrap();
    drop(peer);
    assert_eq!(running.end().await.1.kind, CloseKind::Io);
}

#[tokio::test]
async fn nobody_there_is_unreachable() {
    let (listener, url) = listener().await;
    drop(listener);
    let (_, cause) = Running::start(&url).end().await;
    assert_eq!(cause.kind, CloseKind::Unreachable);
    assert!(cause.detail.starts_with("cannot connect to 127.0.0.1:"), "{cause}");
}

#[tokio::test]
async fn dropping_the_source_closes_the_connection() {
    let (listener, url) = listener().await;
    let mut running = Running::start(&url);
    let (mut peer, _) = within(listener.accept()).await.unwrap();
    running.connected().await;
    drop(running);
    assert_eq!(within(peer.read(&mut [0; 1])).await.unwrap(), 0);
}
