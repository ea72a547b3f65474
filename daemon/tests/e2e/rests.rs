//! Sources that are read now and then: nothing is left behind.

use std::io::{self, Write};
use std::net::TcpStream;
use std::time::Duration;

use restreamer_core::testing::{StreamSpec, SyntheticStream};
use restreamer_core::ts::PACKET_BYTES;
use serde_json::json;

use crate::kit::{self, Origin, Server};

const BURSTS: usize = 25;
/// What comes first of a burst, and a moment later: as much as one read takes, which then does not tell that it was
/// all.
const PIECES: [usize; 2] = [PACKET_BYTES, 64 * 1024];
const BYTES: usize = BURSTS * (PIECES[0] + PIECES[1]);

/// All that a source sends.
fn stream() -> Vec<u8> {
    let mut bytes =
        SyntheticStream::new(StreamSpec::new(1, 4_000_000)).take_bytes(BYTES.div_ceil(PACKET_BYTES));
    bytes.truncate(BYTES);
    bytes
}

/// Sends the stream in bursts through `write`, and then nothing more.
fn send(mut write: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
    let bytes = stream();
    let mut rest = &bytes[..];
    for size in PIECES.repeat(BURSTS) {
        let (piece, later) = rest.split_at(size);
        write(piece)?;
        rest = later;
        std::thread::sleep(Duration::from_millis(if size == PIECES[0] { 2 } else { 100 }));
    }
    std::thread::park();
    Ok(())
}

/// An answer in chunks of odd sizes, many of which come at once.
fn send_chunked(mut peer: &TcpStream) -> io::Result<()> {
    peer.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: video/mp2t\r\nTransfer-Encoding: chunked\r\n\r\n")?;
    send(|piece| {
        let mut coded = Vec::new();
        for chunk in piece.chunks(777) {
            write!(coded, "{:x}\r\n", chunk.len())?;
            coded.extend([chunk, b"\r\n"].concat());
        }
        peer.write_all(&coded)
    })
}

#[test]
fn every_byte_of_a_source_is_taken_over_every_kind_of_connection_while_nobody_watches() {
    take_all(false);
}

#[test]
fn every_byte_of_a_source_is_taken_over_every_kind_of_connection_and_sent_on_to_those_who_watch() {
    take_all(true);
}

fn take_all(is_watched: bool) {
    let tcp = Origin::raw(|mut peer| send(|piece| peer.write_all(piece)).unwrap());
    let http = Origin::http(|mut peer, _| {
        peer.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: video/mp2t\r\n\r\n").unwrap();
        send(|piece| peer.write_all(piece)).unwrap();
    });
    let chunked = Origin::http(|peer, _| send_chunked(&peer).unwrap());
    let remotes = [format!("tcp://{}", tcp.address()), http.url("/plain"), chunked.url("/chunked")];
    let path = |number: usize| format!("/{number}.ts");
    let streams = remotes
        .iter()
        .enumerate()
        .map(|(number, remote)| json!({ "type": "stream", "serve": path(number), "remote": remote }));
    let server = Server::start(json!({ "resources": streams.collect::<Vec<_>>() }));
    let viewers: Vec<_> =
        (0..remotes.len()).filter(|_| is_watched).map(|number| server.view(&path(number))).collect();
    for remote in &remotes {
        kit::wait_until(&format!("all of {remote} has been taken"), || {
            server.metric("streaming_bytes_received", remote) as usize == BYTES
        });
    }
    let stream = stream();
    let last = stream.chunks_exact(PACKET_BYTES).next_back().unwrap();
    for (remote, viewer) in remotes.iter().zip(&viewers) {
        kit::wait_until(&format!("the viewer of {remote} has the last packet"), || {
            viewer.recording().bytes().ends_with(last)
        });
    }
}
