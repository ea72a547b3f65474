//! What stuck and crawling viewers do to the others, and to memory: nothing.

use std::io::Read;
use std::net::TcpStream;
use std::os::fd::AsRawFd;

use restreamer::config::Config;
use restreamer::memory::MemoryWorstCase;
use restreamer_core::testing::{Damage, Probe};
use restreamer_core::ts::PACKET_BYTES;
use serde_json::json;

use crate::kit::{self, Mast, Recording, Server, http};

const STUCK: usize = 150;
const CRAWLING: usize = 50;
const HEALTHY: usize = 10;
const BITS_PER_SECOND: u64 = 4_000_000;
/// What a healthy viewer gets before we look: twice what the ring holds, at least.
const PACKETS: usize = 25_000;

/// Asks for the stream and reads the head. The kernel buffers little for this client.
fn join(server: &Server) -> (TcpStream, Vec<u8>) {
    static RECEIVE_BUFFER: libc::c_int = 16 << 10;
    let (head, body, stream) =
        http::open(server.address(), "GET /live.ts HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
    assert_eq!(head.status, 200);
    let (buffer, size) = (&raw const RECEIVE_BUFFER, size_of_val(&RECEIVE_BUFFER) as libc::socklen_t);
    // SAFETY: the option takes an int, which lives as long as the program.
    let set = unsafe {
        libc::setsockopt(stream.as_raw_fd(), libc::SOL_SOCKET, libc::SO_RCVBUF, buffer.cast(), size)
    };
    assert_eq!(set, 0);
    (stream, body)
}

/// Viewers who take some bytes now and then, until each has missed packets; what they got.
fn crawl(mut viewers: Vec<(TcpStream, Vec<u8>)>) -> Vec<Recording> {
    let (mut rounds, mut recordings) = (0, Vec::new());
    kit::wait_until("those who crawl skip", || {
        for (stream, got) in &mut viewers {
            let mut buffer = [0; 500];
            let n = stream.read(&mut buffer).unwrap();
            got.extend_from_slice(&buffer[..n]);
        }
        // A look at all of them at each turn would make them crawl too much.
        rounds += 1;
        if rounds % 100 == 0 {
            recordings = viewers.iter().map(|(_, got)| whole_packets(got)).collect();
        }
        !recordings.is_empty() && recordings.iter().all(|recording| probe(recording).lost > 0)
    });
    recordings
}

fn whole_packets(bytes: &[u8]) -> Recording {
    Recording::new(bytes[..bytes.len() / PACKET_BYTES * PACKET_BYTES].to_vec())
}

/// The account of a recording's numbered packets.
fn probe(recording: &Recording) -> Probe {
    let mut probe = Probe::new();
    recording.packets().for_each(|packet| probe.observe(0, packet.bytes()));
    probe
}

#[test]
fn stuck_and_crawling_viewers_cost_nobody_a_packet_and_no_memory() {
    let mast = Mast::silent(BITS_PER_SECOND, Damage::default());
    let server = Server::start(json!({
        "threads": 2, "maxconnections": STUCK + CRAWLING + HEALTHY,
        "resources": [{ "type": "stream", "serve": "/live.ts", "remote": mast.url(),
                        "ringlimit": 4 << 20, "sendbuffer": 64 << 10, "stalltimeout": 0 }],
    }));
    assert_eq!(server.get("/live.ts").head.status, 404);
    let at_rest = server.memory("VmHWM");
    mast.go_on_air();
    let healthy: Vec<_> = (0..HEALTHY).map(|_| server.view("/live.ts")).collect();
    let _stuck: Vec<_> = (0..STUCK).map(|_| join(&server)).collect();
    let crawling: Vec<_> = (0..CRAWLING).map(|_| join(&server)).collect();
    let crawling = std::thread::spawn(move || crawl(crawling));
    for viewer in &healthy {
        viewer.wait_for(PACKETS);
    }
    let crawled = crawling.join().unwrap();
    assert!(server.metric("restreamer_skips_total", "/live.ts") >= CRAWLING as f64);
    for viewer in &healthy {
        let probe = probe(&viewer.recording());
        assert!(probe.is_clean(), "{probe:?}");
        assert!(probe.marked > PACKETS as u64 * 9 / 10, "{probe:?}");
    }
    // Those who crawl have left by now; those who are stuck are still there.
    kit::wait_until("nobody else has left", || server.health()["viewer"] == STUCK + HEALTHY);

    let (config, _) = Config::load(&server.directory().join("restreamer.json")).unwrap();
    let worst = MemoryWorstCase::of(&config);
    // What the kernel holds for viewers is no memory of the process.
    let viewers = (STUCK + CRAWLING + HEALTHY) as u64 * worst.viewer_user;
    let most = server.memory("VmHWM");
    assert!(most <= at_rest + worst.rings + viewers, "{most} bytes, {at_rest} of them at rest");

    // Those who crawl miss packets, but get whole ones, in order.
    for recording in crawled {
        assert!(mast.has_sent(recording.packets().map(|packet| packet.bytes())));
        let probe = probe(&recording);
        assert_eq!(probe.backwards, 0, "{probe:?}");
    }
}
