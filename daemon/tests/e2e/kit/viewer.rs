//! One client of a stream.

use std::io::{ErrorKind, Read};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::{Arc, Condvar, Mutex};

use restreamer_core::ts::PACKET_BYTES;

use super::http::{self, Head};
use super::{PATIENCE, Recording};

/// A connection that plays a stream, with a thread that takes all it gets as soon as it comes.
pub(crate) struct Viewer {
    stream: TcpStream,
    pub(crate) head: Head,
    tape: Arc<Tape>,
}

#[derive(Default)]
struct Tape {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    bytes: Vec<u8>,
    end: Option<End>,
}

/// How a response ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// As a response without a length ends.
    Closed,
    /// The connection broke.
    Broken(ErrorKind),
}

impl Viewer {
    /// Asks for the stream at `path`; `Err` is the status of a refusal.
    pub(crate) fn join(address: SocketAddr, path: &str) -> Result<Viewer, u16> {
        Viewer::ask(address, &format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n"))
    }

    /// The same, in these words.
    pub(crate) fn ask(address: SocketAddr, text: &str) -> Result<Viewer, u16> {
        let (head, bytes, stream) = http::open(address, text).unwrap();
        if head.status != 200 {
            return Err(head.status);
        }
        let tape = Arc::new(Tape { state: Mutex::new(State { bytes, end: None }), changed: Condvar::new() });
        let reading = stream.try_clone().unwrap();
        reading.set_read_timeout(None).unwrap();
        std::thread::spawn({
            let tape = Arc::clone(&tape);
            move || tape.record(reading)
        });
        Ok(Viewer { stream, head, tape })
    }

    /// What it got so far, in whole packets.
    pub(crate) fn recording(&self) -> Recording {
        let state = self.tape.state.lock().unwrap();
        let whole = state.bytes.len() - state.bytes.len() % PACKET_BYTES;
        Recording::new(state.bytes[..whole].to_vec())
    }

    /// Packets that it got so far.
    pub(crate) fn packets(&self) -> usize {
        self.tape.state.lock().unwrap().bytes.len() / PACKET_BYTES
    }

    /// Waits until it got `packets` more than now.
    pub(crate) fn wait_for_more(&self, packets: usize) {
        self.wait_for(self.packets() + packets);
    }

    /// Waits until it got `packets` in all.
    pub(crate) fn wait_for(&self, packets: usize) {
        let has_them = |state: &State| state.bytes.len() >= packets * PACKET_BYTES;
        let (got, end) = self.wait_until(has_them);
        assert!(got >= packets, "{got} of {packets} packets, then {end:?}");
    }

    /// Waits for the end of the response. All that it got is whole packets.
    pub(crate) fn wait_for_end(&self) -> Recording {
        let (packets, end) = self.wait_until(|_| false);
        assert_eq!(end, Some(End::Closed), "after {packets} packets");
        Recording::new(self.tape.state.lock().unwrap().bytes.clone())
    }

    /// Waits for a condition or the end; the packets it got, and how it ended.
    fn wait_until(&self, is_met: impl Fn(&State) -> bool) -> (usize, Option<End>) {
        let state = self.tape.state.lock().unwrap();
        let goes_on = |state: &mut State| !is_met(state) && state.end.is_none();
        let state = self.tape.changed.wait_timeout_while(state, PATIENCE, goes_on).unwrap().0;
        (state.bytes.len() / PACKET_BYTES, state.end)
    }
}

impl Drop for Viewer {
    fn drop(&mut self) {
        let _ = self.stream.shutdown(Shutdown::Both);
    }
}

impl Tape {
    fn record(&self, mut stream: TcpStream) {
        let mut buffer = [0; 16 << 10];
        loop {
            let got = stream.read(&mut buffer);
            let mut state = self.state.lock().unwrap();
            match got {
                Ok(0) => state.end = Some(End::Closed),
                Ok(n) => state.bytes.extend_from_slice(&buffer[..n]),
                Err(error) => state.end = Some(End::Broken(error.kind())),
            }
            self.changed.notify_all();
            if state.end.is_some() {
                return;
            }
        }
    }
}
