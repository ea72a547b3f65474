//! An operator who takes a stream off the air and puts it back on, over and over, under people who come and go.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::kit::{self, Crowd, Server, Viewer, http};

/// How long it goes on, and how often an order comes.
const TIME: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(50);
/// People, of whom so many may watch at once.
const PEOPLE: usize = 100;
const PLACES: usize = 60;

/// A stream that loops, and its controls.
fn server() -> Server {
    let remote = format!("file://{}", kit::clip().display());
    Server::start(json!({ "maxconnections": PLACES, "fullconnections": PLACES / 2, "resources": [
        { "type": "stream", "serve": "/live.ts", "remote": remote, "loop": true },
        { "type": "api", "api": "control", "serve": "/control", "remote": "/live.ts" },
        { "type": "api", "api": "check", "serve": "/check", "remote": "/live.ts" },
    ] }))
}

fn order(server: &Server, order: &str) {
    let answer = server.get(&format!("/control?{order}"));
    assert_eq!((answer.head.status, answer.text()), (202, "202 accepted"));
}

#[test]
fn orders_without_end_lose_no_place() {
    let server = server();
    server.view("/live.ts");
    let refused = || server.metric("restreamer_refusals_total", "/live.ts") as u64;
    let refused_before = refused();
    let crowd = Crowd::gather(server.address(), "/live.ts", PEOPLE);
    let start = Instant::now();
    while start.elapsed() < TIME {
        order(&server, "offline");
        std::thread::sleep(PAUSE);
        order(&server, "online");
        std::thread::sleep(PAUSE);
    }
    let tally = crowd.disperse();

    // One viewer was there before the crowd.
    let ended = || server.metric("restreamer_viewer_ends_total", "/live.ts");
    kit::wait_until("everybody is counted out", || ended() == (tally.let_in + 1) as f64);
    assert_eq!(server.metric("streaming_connections", "/live.ts"), 0.0);
    assert_eq!(refused() - refused_before, tally.refused);
    let health = server.health();
    assert_eq!((&health["viewer"], &health["status"]), (&json!(0), &json!("ok")), "{health}");
    kit::wait_until("everybody is in the log", || {
        server.events("viewer_end").len() as u64 == tally.let_in + 1
    });
    assert!(tally.let_in > 0 && tally.refused > 0 && tally.sent_away > 0, "{tally:?}");
    assert!(!server.errors().contains("panicked"), "{}", server.errors());

    // As many places are free as there were.
    let viewers: Vec<_> = (0..PLACES).map(|_| server.view("/live.ts")).collect();
    assert_eq!(Viewer::join(server.address(), "/live.ts").err(), Some(404));
    for viewer in &viewers {
        viewer.wait_for_more(20);
        viewer.recording().assert_begins_at_access_point();
    }
    order(&server, "offline");
    for viewer in &viewers {
        viewer.wait_for_end().assert_continuous();
    }
    assert_eq!(server.get("/check").head.status, 404);
    assert_eq!(http::get(server.address(), "/live.ts").head.status, 404);
    order(&server, "online");
    server.view("/live.ts").wait_for(100);
    assert_eq!(server.get("/check").head.status, 200);
}
