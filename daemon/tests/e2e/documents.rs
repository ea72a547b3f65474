//! Static resources: documents of other servers, held for a while.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Condvar, Mutex};

use serde_json::json;

use crate::kit::{self, Origin, Server, http};

const BYTES: usize = 5 << 20;
const CLIENTS: usize = 100;

/// What the upstream has: large, and different each time.
fn document(version: usize) -> Vec<u8> {
    (0..BYTES).map(|index| (index / 251 * (version + 6) + index) as u8).collect()
}

/// Asks and does not wait for the answer.
fn ask(address: SocketAddr, method: &str) -> TcpStream {
    let mut stream = http::connect(address).unwrap();
    write!(stream, "{method} /doc HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").unwrap();
    stream
}

fn body(mut stream: TcpStream) -> Vec<u8> {
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
    let head = String::from_utf8(answer[..end].to_vec()).unwrap();
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert!(head.contains(&format!("\r\nContent-Length: {BYTES}\r\n")), "{head}");
    answer.split_off(end)
}

/// Connections to this port whose requests have been read (proc_net(5)).
fn heard(address: SocketAddr) -> usize {
    const ESTABLISHED: &str = "01";
    let table = fs::read_to_string("/proc/net/tcp").unwrap();
    let local = format!(":{:04X}", address.port());
    let is_heard = |row: &&str| {
        let fields: Vec<_> = row.split_whitespace().collect();
        fields[1].ends_with(&local) && fields[3] == ESTABLISHED && fields[4].ends_with(":00000000")
    };
    table.lines().skip(1).filter(is_heard).count()
}

/// An upstream that says neither how long its document is nor anything in one piece: what a hundred clients ask for at
/// once, when it is stale, is fetched once and arrives whole.
#[test]
fn a_large_document_without_a_length_is_fetched_once_for_a_hundred_clients() {
    let permits = Arc::new((Mutex::new(1), Condvar::new()));
    let origin = Origin::http({
        let permits = Arc::clone(&permits);
        move |mut stream, number| {
            let (given, changed) = &*permits;
            drop(changed.wait_while(given.lock().unwrap(), |given| *given < number).unwrap());
            stream.write_all(b"HTTP/1.0 200 OK\r\nContent-Type: image/x-large\r\n\r\n").unwrap();
            document(number).chunks(10_007).for_each(|piece| stream.write_all(piece).unwrap());
        }
    });
    let server = Server::start(json!({ "resources": [
        { "type": "static", "serve": "/doc", "remote": origin.url("/large"), "cache": 1 },
    ] }));
    let address = server.address();
    let descriptors = server.descriptors();
    assert!(body(ask(address, "GET")) == document(1), "the first one gets it whole");
    assert_eq!(origin.requests().len(), 1);

    // Once it is stale, a question becomes a fetch, which the upstream lets wait until all have asked.
    let mut first = ask(address, "HEAD");
    kit::wait_until("it is stale", || {
        if is_answered(&first) {
            first = ask(address, "HEAD");
        }
        origin.requests().len() == 2
    });
    let clients: Vec<_> = (0..CLIENTS).map(|_| ask(address, "GET")).collect();
    kit::wait_until("all have been heard", || heard(address) == 1 + CLIENTS);
    *permits.0.lock().unwrap() = 2;
    permits.1.notify_all();
    for client in clients {
        assert!(body(client) == document(2), "everybody gets the new one whole");
    }
    assert_eq!(origin.requests().len(), 2, "one fetch for all of them");
    drop(first);
    kit::wait_until("nothing is left open", || server.descriptors() == descriptors);
}

/// Whether there is something to read; nothing is taken.
fn is_answered(stream: &TcpStream) -> bool {
    stream.set_nonblocking(true).unwrap();
    let answered = stream.peek(&mut [0]).is_ok();
    stream.set_nonblocking(false).unwrap();
    answered
}
