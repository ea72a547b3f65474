//! Servers that are told what happens here, and do not all listen.

use std::net::Shutdown;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};

use serde_json::{Value, json};

use crate::kit::{self, Origin, Server, http};

/// Each crosses the soft limit twice.
const VISITS: usize = 3000;
/// Notifications that may wait for one server, as the README says.
const WAITING_MAX: u64 = 64;
/// What thousands of visits may add to the memory of the process: less than a connection for each of them would.
const GROWTH_MAX: u64 = 8 << 20;

/// A server that accepts connections, reads nothing and answers nothing, until it is told to hang up.
struct Deaf {
    origin: Origin,
    connections: Arc<AtomicU64>,
    is_over: Arc<(Mutex<bool>, Condvar)>,
}

impl Deaf {
    fn start() -> Deaf {
        let connections = Arc::<AtomicU64>::default();
        let is_over = Arc::<(Mutex<bool>, Condvar)>::default();
        let origin = Origin::raw({
            let (connections, is_over) = (Arc::clone(&connections), Arc::clone(&is_over));
            move |stream| {
                connections.fetch_add(1, Ordering::Relaxed);
                let (over, changed) = &*is_over;
                drop(changed.wait_while(over.lock().unwrap(), |over| !*over).unwrap());
                drop(stream);
            }
        });
        Deaf { origin, connections, is_over }
    }

    fn connections(&self) -> u64 {
        self.connections.load(Ordering::Relaxed)
    }

    fn hang_up(&self) {
        *self.is_over.0.lock().unwrap() = true;
        self.is_over.1.notify_all();
    }
}

fn notification(event: &str, origin: &Origin) -> Value {
    json!({ "event": event, "type": "url", "url": origin.url(&format!("/{event}")) })
}

/// Comes, sees the beginning of the stream, and leaves.
fn visit(server: &Server) {
    let request = "GET /live.ts HTTP/1.1\r\nHost: test\r\n\r\n";
    let (head, _, stream) = http::open(server.address(), request).unwrap();
    assert_eq!(head.status, 200);
    stream.shutdown(Shutdown::Both).unwrap();
}

#[test]
fn a_server_that_never_answers_delays_nobody_and_costs_no_memory() {
    let deaf = Deaf::start();
    let polite = Origin::answering("HTTP/1.1 204 No Content\r\n\r\n");
    let remote = format!("file://{}", kit::clip().display());
    let server = Server::start(json!({
        "fullconnections": 1,
        "notifications": [
            notification("limit_hit", &deaf.origin), notification("limit_miss", &deaf.origin),
            notification("limit_hit", &polite), notification("limit_miss", &polite),
        ],
        "resources": [{ "type": "stream", "serve": "/live.ts", "remote": remote, "loop": true }],
    }));
    drop(server.view("/live.ts"));
    (0..VISITS / 10).for_each(|_| visit(&server));
    kit::wait_until("it is asked for the first time", || deaf.connections() > 0);
    let (memory, descriptors) = (server.memory("VmRSS"), server.descriptors());
    let asked = deaf.connections();
    (0..VISITS).for_each(|_| visit(&server));
    kit::wait_until("everybody is out", || server.health()["viewer"] == 0);

    // Had a single viewer waited for an answer, there would have been about as many questions as viewers.
    let asked = deaf.connections() - asked;
    assert!(asked <= VISITS as u64 / 100, "{asked} questions during {VISITS} visits");
    let growth = server.memory("VmRSS").saturating_sub(memory);
    assert!(growth <= GROWTH_MAX, "{growth} bytes for {VISITS} visits");
    kit::wait_until("no descriptor is left open", || server.descriptors() <= descriptors);

    // What the deaf server did not hear has been dropped, but for the last few.
    let told = || (server.events("limit_hit").len() + server.events("limit_miss").len()) as u64;
    kit::wait_until("every visit is in the log", || server.events("viewer_end").len() > VISITS + VISITS / 10);
    let dropped = || server.metric("restreamer_notifications_dropped_total", "") as u64;
    assert!(dropped() + WAITING_MAX + deaf.connections() >= told(), "{} of {} dropped", dropped(), told());
    // The other one is told meanwhile, and the deaf one as soon as it hangs up.
    let heard = || polite.requests().len() as u64;
    assert!(heard() > 0);
    deaf.hang_up();
    kit::wait_until("everything is heard or dropped", || {
        deaf.connections() + heard() + dropped() == 2 * told()
    });
}
