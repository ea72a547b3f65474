//! Sources that send something else than a stream, or something else between its packets.

use std::io::Write;
use std::net::TcpStream;

use restreamer_core::Rng;
use restreamer_core::testing::{Damage, Probe};
use serde_json::json;

use crate::kit::{self, Mast, Origin, Server, Viewer};

/// Bytes of any value, for as long as somebody takes them. Several sync bytes in their places are unlikely.
fn babble(mut stream: TcpStream) {
    let mut rng = Rng::from_seed(7);
    loop {
        let bytes: Vec<u8> = (0..10_000).map(|_| rng.below(256) as u8).collect();
        if stream.write_all(&bytes).is_err() {
            return;
        }
    }
}

/// An answer with this status and type, and a body.
fn answer(status: &str, content_type: &str, body: &[u8]) -> Origin {
    let head = format!("HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nConnection: close\r\n\r\n");
    Origin::answering([head.as_bytes(), body].concat())
}

#[test]
fn what_is_no_stream_never_becomes_one() {
    let clip = std::fs::read(kit::clip()).unwrap();
    let page = b"<!doctype html><title>Gone</title><p>GGGGGGGG Go to the Guide.\n".repeat(5000);
    let origins = [
        answer("404 Not Found", "text/html", &page),
        answer("404 Not Found", "video/mpeg", &clip),
        answer("500 Internal Server Error", "video/mp2t", &clip),
        answer("204 No Content", "video/mpeg", &clip),
        answer("200 OK", "text/html; charset=utf-8", &page),
        answer("200 OK", "application/octet-stream", &page),
        answer("302 Found", "video/mpeg", &clip),
        Origin::answering("SSH-2.0-OpenSSH_9.6\r\n"),
        Origin::http(|mut stream, _| {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: video/mpeg\r\n\r\n");
            babble(stream);
        }),
    ];
    let babbling = Origin::raw(babble);
    let mut remotes: Vec<_> = origins.iter().map(|origin| origin.url("/live.ts")).collect();
    remotes.push(format!("tcp://{}", babbling.address()));
    let streams = remotes.iter().enumerate().map(
        |(number, remote)| json!({ "type": "stream", "serve": format!("/{number}.ts"), "remote": remote }),
    );
    let server = Server::start(json!({ "reconnect": 1, "resources": streams.collect::<Vec<_>>() }));

    // Each is tried three times, and somebody asks all the while.
    let ends = |remote: &String| {
        let closed = server.events("closed");
        closed.iter().filter(|line| line["url"] == remote.as_str()).count()
    };
    kit::wait_until("each has failed three times", || {
        for (number, remote) in remotes.iter().enumerate() {
            let joined = Viewer::join(server.address(), &format!("/{number}.ts"));
            assert_eq!(joined.err(), Some(404), "{remote}");
        }
        remotes.iter().all(|remote| ends(remote) >= 3)
    });
    assert_eq!(server.events("connected").len(), 0);
    assert_eq!(server.metric("streaming_packets_received", ""), 0.0);
    assert_eq!(server.metric("streaming_source_connected", ""), 0.0);
    assert_eq!(server.metric("restreamer_joins_total", ""), 0.0);
}

#[test]
fn garbage_between_packets_reaches_nobody() {
    let damage = Damage { garbage_every: 100, garbage_bytes_max: 3000, ..Damage::default() };
    let mast = Mast::silent(4_000_000, damage);
    mast.go_on_air();
    let server = Server::start(json!({
        "resources": [{ "type": "stream", "serve": "/live.ts", "remote": mast.url() }],
    }));
    let viewer = server.view("/live.ts");
    viewer.wait_for(10_000);
    let recording = viewer.recording();
    recording.assert_begins_at_access_point();
    assert!(mast.has_sent(recording.packets().map(|packet| packet.bytes())), "only what was sent, and whole");
    let mut probe = Probe::new();
    recording.packets().for_each(|packet| probe.observe(0, packet.bytes()));
    // Where garbage has a sync byte in the wrong place, packets beside it may go with it.
    assert!(probe.backwards == 0 && probe.lost * 100 < probe.marked, "{probe:?}");
    assert!(server.metric("restreamer_skipped_bytes_total", "/live.ts") > 0.0);
    assert_eq!(server.events("closed").len(), 0, "the source is kept");
}
