//! Streams that nobody watches: their sources are read now and then, and nothing is left behind.

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

/// Sends a stream in bursts through `write`, and then nothing more.
fn send(mut write: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
    let mut stream = SyntheticStream::new(StreamSpec::new(1, 4_000_000));
    let bytes = stream.take_bytes(BYTES.div_ceil(PACKET_BYTES));
    let mut rest = &bytes[..BYTES];
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
fn every_byte_of_a_source_is_taken_over_every_kind_of_connection() {
    let tcp = Origin::raw(|mut peer| send(|piece| peer.write_all(piece)).unwrap());
    let http = Origin::http(|mut peer, _| {
        peer.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: video/mp2t\r\n\r\n").unwrap();
        send(|piece| peer.write_all(piece)).unwrap();
    });
    let chunked = Origin::http(|peer, _| send_chunked(&peer).unwrap());
    let remotes = [format!("tcp://{}", tcp.address()), http.url("/plain"), chunked.url("/chunked")];
    let streams = remotes.iter().enumerate().map(
        |(number, remote)| json!({ "type": "stream", "serve": format!("/{number}.ts"), "remote": remote }),
    );
    let server = Server::start(json!({ "resources": streams.collect::<Vec<_>>() }));
    for remote in &remotes {
        kit::wait_until(&format!("all of {remote} has been taken"), || {
            server.metric("streaming_bytes_received", remote) as usize == BYTES
        });
    }
}
