//! A server in front of the one under test: an upstream, or one that wants to be notified.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

/// Listens on the loopback interface; ends when dropped.
pub(crate) struct Origin {
    address: SocketAddr,
    requests: Arc<Mutex<Vec<String>>>,
    is_over: Arc<AtomicBool>,
}

impl Origin {
    /// Answers every connection with `script`, which gets the connection, on a thread of its own.
    pub(crate) fn raw(script: impl Fn(TcpStream) + Send + Sync + 'static) -> Origin {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (script, is_over) = (Arc::new(script), Arc::new(AtomicBool::new(false)));
        std::thread::spawn({
            let is_over = Arc::clone(&is_over);
            move || {
                for stream in listener.incoming() {
                    if is_over.load(Ordering::Relaxed) {
                        return;
                    }
                    let (script, stream) = (Arc::clone(&script), stream.unwrap());
                    std::thread::spawn(move || script(stream));
                }
            }
        });
        Origin { address, requests: Arc::default(), is_over }
    }

    /// Reads the head of a request first, and tells the script which one it is, from 1.
    pub(crate) fn http(script: impl Fn(TcpStream, usize) + Send + Sync + 'static) -> Origin {
        let requests = Arc::<Mutex<Vec<String>>>::default();
        let heard = Arc::clone(&requests);
        let mut origin = Origin::raw(move |mut stream| {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                if stream.read(&mut byte).unwrap_or(0) == 0 {
                    return;
                }
                head.push(byte[0]);
            }
            let number = {
                let mut heard = heard.lock().unwrap();
                heard.push(String::from_utf8(head).unwrap());
                heard.len()
            };
            script(stream, number);
        });
        origin.requests = requests;
        origin
    }

    /// Gives every request the same answer, and closes the connection.
    pub(crate) fn answering(answer: impl Into<Vec<u8>>) -> Origin {
        let answer = answer.into();
        Origin::http(move |mut stream, _| {
            // The other side may have seen enough.
            let _ = stream.write_all(&answer);
        })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// The heads of all requests so far.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(self.address);
    }
}
