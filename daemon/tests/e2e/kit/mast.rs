//! A synthetic source, every packet of which is known.

use std::collections::HashSet;
use std::io::Write;
use std::net::TcpStream;
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use restreamer_core::testing::{Damage, Form, StreamSpec, SyntheticStream, Wire};
use restreamer_core::ts::PACKET_BYTES;

use super::Origin;

type Packet = [u8; PACKET_BYTES];

/// Sends one stream in real time to whoever connects over TCP, over and over from its start.
pub(crate) struct Mast {
    origin: Origin,
    air: Arc<Air>,
}

#[derive(Default)]
struct Air {
    is_on: Mutex<bool>,
    changed: Condvar,
    sent: Mutex<HashSet<Packet>>,
}

impl Mast {
    /// Accepts connections and sends nothing so far; damage comes at places that a seed decides.
    pub(crate) fn silent(bits_per_second: u64, damage: Damage) -> Mast {
        let air = Arc::<Air>::default();
        let sending = Arc::clone(&air);
        let origin = Origin::raw(move |stream| {
            sending.send(stream, bits_per_second, damage);
        });
        Mast { origin, air }
    }

    pub(crate) fn go_on_air(&self) {
        *self.air.is_on.lock().unwrap() = true;
        self.air.changed.notify_all();
    }

    /// From here on it sends nothing, and closes nothing.
    pub(crate) fn fall_silent(&self) {
        *self.air.is_on.lock().unwrap() = false;
    }

    pub(crate) fn url(&self) -> String {
        format!("tcp://{}", self.origin.address())
    }

    /// Whether all these packets are whole ones that it has sent.
    pub(crate) fn has_sent<'a>(&self, mut packets: impl Iterator<Item = &'a Packet>) -> bool {
        let sent = self.air.sent.lock().unwrap();
        packets.all(|packet| sent.contains(packet))
    }
}

impl Air {
    /// Until the other side hangs up.
    fn send(&self, mut stream: TcpStream, bits_per_second: u64, damage: Damage) {
        /// Some 10 ms of a stream of several Mbit/s.
        const AT_ONCE: usize = 25;
        let synthetic = SyntheticStream::new(StreamSpec::new(1, bits_per_second));
        let mut wire = Wire::new(synthetic, Form::Plain, damage, 2);
        let start = Instant::now();
        loop {
            drop(self.changed.wait_while(self.is_on.lock().unwrap(), |is_on| !*is_on).unwrap());
            let mut bytes = Vec::new();
            let mut due = Duration::ZERO;
            for _ in 0..AT_ONCE {
                let (packet, is_whole) = wire.append(&mut bytes);
                due = Duration::from_nanos(packet.at.as_nanos());
                if is_whole {
                    self.sent.lock().unwrap().insert(packet.bytes);
                }
            }
            std::thread::sleep(due.saturating_sub(start.elapsed()));
            if stream.write_all(&bytes).is_err() {
                return;
            }
        }
    }
}
