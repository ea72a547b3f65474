//! Many people who come and go.

use std::io::Read;
use std::net::{Shutdown, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use super::http;

/// More than what a new viewer of the clip gets at once.
const STAY_PACKETS: usize = 512;

/// People who join a stream, stay for some packets and leave, over and over, each on a thread of its own.
pub(crate) struct Crowd {
    is_over: Arc<AtomicBool>,
    people: Vec<JoinHandle<Tally>>,
}

/// What became of their requests.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    /// Answered with the stream.
    pub(crate) let_in: u64,
    /// Refused with 404.
    pub(crate) refused: u64,
    /// Let in, and the server ended the response before they left.
    pub(crate) sent_away: u64,
}

impl Crowd {
    pub(crate) fn gather(address: SocketAddr, path: &str, people: usize) -> Crowd {
        let is_over = Arc::new(AtomicBool::new(false));
        let live = |person: usize| {
            let (is_over, path) = (Arc::clone(&is_over), path.to_owned());
            std::thread::spawn(move || {
                let mut tally = Tally::default();
                for visit in 0.. {
                    if is_over.load(Ordering::Relaxed) {
                        break;
                    }
                    visit_once(address, &path, (person * 37 + visit * 11) % STAY_PACKETS, &mut tally);
                }
                tally
            })
        };
        let people = (0..people).map(live).collect();
        Crowd { is_over, people }
    }

    /// Waits until nobody is left.
    pub(crate) fn disperse(self) -> Tally {
        self.is_over.store(true, Ordering::Relaxed);
        let tallies = self.people.into_iter().map(|person| person.join().unwrap());
        tallies.fold(Tally::default(), |sum, tally| Tally {
            let_in: sum.let_in + tally.let_in,
            refused: sum.refused + tally.refused,
            sent_away: sum.sent_away + tally.sent_away,
        })
    }
}

/// Joins, stays for at least `packets`, and leaves in one of two ways.
fn visit_once(address: SocketAddr, path: &str, packets: usize, tally: &mut Tally) {
    let request = format!("GET {path} HTTP/1.1\r\nHost: test\r\nUser-Agent: crowd\r\n\r\n");
    let (head, mut body, mut stream) = http::open(address, &request).unwrap();
    match head.status {
        200 => tally.let_in += 1,
        404 => {
            tally.refused += 1;
            // Nobody asks again at once.
            std::thread::sleep(Duration::from_millis(25));
            return;
        }
        status => panic!("status {status}"),
    }
    let mut buffer = [0; 8192];
    while body.len() < packets * 188 {
        match stream.read(&mut buffer) {
            Ok(0) => {
                assert_eq!(body.len() % 188, 0, "a response ends with a whole packet");
                tally.sent_away += 1;
                return;
            }
            Ok(n) => body.extend_from_slice(&buffer[..n]),
            Err(error) => panic!("{error} after {} bytes", body.len()),
        }
    }
    if packets.is_multiple_of(2) {
        // Without it, what was not read makes the kernel reset the connection.
        let _ = stream.shutdown(Shutdown::Both);
    }
}
