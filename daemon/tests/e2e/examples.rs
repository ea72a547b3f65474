//! The example configurations, with sources of ours in the places of other machines.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use crate::kit::{self, Server, Viewer, http};

/// The test stream at a port of its own.
fn encoder(port: u16) -> Server {
    let mut command = Server::command();
    command.args(["--demo", "--listen", &format!("127.0.0.1:{port}")]);
    Server::launch(&mut command, tempfile::tempdir().unwrap())
}

/// The status of a request with these headers.
fn status(server: &Server, method: &str, path: &str, headers: &str) -> u16 {
    let request = format!("{method} {path} HTTP/1.1\r\nHost: test\r\n{headers}\r\n");
    http::open(server.address(), &request).unwrap().0.status
}

#[test]
fn minimal_plays() {
    let origin = Server::demo();
    let places = [("http://origin.example/news.ts", &*origin.url("/demo.ts"))];
    let server = Server::example(&mut Server::command(), "minimal.json", &places);
    let viewer = server.view("/news.ts");
    viewer.wait_for(500);
    viewer.recording().assert_begins_at_access_point();
    viewer.recording().assert_continuous();
    assert_eq!(server.health()["viewer"], 1);
}

/// The best source goes and returns, and the same viewer sees all of it.
#[test]
fn failover_goes_to_the_next_source_and_back() {
    let (best, second) = (kit::free_port(), kit::free_port());
    let url = |port: u16| format!("http://127.0.0.1:{port}/demo.ts");
    let places = [
        ("http://encoder-a.example:8080/news.ts", &*url(best)),
        ("http://encoder-b.example:8080/news.ts", &*url(second)),
        ("239.255.1.1", "127.0.0.1"),
        (":5000", &*format!(":{}", kit::free_port())),
        ("udp://@", "udp://"),
    ];
    let (encoder_a, _encoder_b) = (encoder(best), encoder(second));
    encoder_a.view("/demo.ts");
    let server = Server::example(&mut Server::command(), "failover.json", &places);
    let connected = |count: usize| server.wait_for_events("connected", count).pop().unwrap()["url"].clone();
    assert_eq!(connected(1), url(best));
    let viewer = server.view("/news.ts");
    viewer.wait_for_more(100);
    drop(encoder_a);
    assert_eq!(connected(2), url(second));
    viewer.wait_for_more(300);
    assert_eq!(server.get("/check/news").head.status, 200);

    let _encoder_a = encoder(best);
    server.wait_for_event("returned");
    viewer.wait_for_more(300);
    viewer.recording().assert_continuous();
    assert_eq!(server.metric("streaming_source_connected", &url(best)), 1.0);
    assert_eq!(server.metric("streaming_source_connected", &url(second)), 0.0);
    assert!(server.events("viewer_end").is_empty(), "nobody had to connect again");
}

/// An edge in front of two origins, one of them with TLS, which both ask for a password; one of them fails.
#[test]
fn tiered_survives_an_origin() {
    let ports = [kit::free_port(), kit::free_port()];
    let certificate = tempfile::tempdir().unwrap();
    kit::certify(certificate.path());
    let tls = ["cert", "key"].map(|file| certificate.path().join(format!("{file}.pem")));
    let origin = |listen: serde_json::Value| {
        let remote = format!("file://{}", kit::clip().display());
        let server = Server::start(json!({
            "listen": ["127.0.0.1:0", listen], "userlist": { "edge": { "password": "change-me" } },
            "resources": [{ "type": "stream", "serve": "/news.ts", "remote": remote, "loop": true,
                            "authentication": { "type": "basic", "user": "edge" } }],
        }));
        server.wait_for_event("connected");
        Some(server)
    };
    let mut origins = [
        origin(
            json!({ "address": format!("127.0.0.1:{}", ports[0]), "tls": { "cert": tls[0], "key": tls[1] } }),
        ),
        origin(json!(format!("127.0.0.1:{}", ports[1]))),
    ];
    let places = [
        (
            "http://edge:change-me@origin-a.example:8000",
            &*format!("https://edge:change-me@localhost:{}", ports[0]),
        ),
        (
            "http://edge:change-me@origin-b.example:8000",
            &*format!("http://edge:change-me@127.0.0.1:{}", ports[1]),
        ),
    ];
    let mut command = Server::command();
    command.env("SSL_CERT_FILE", &tls[0]).env_remove("SSL_CERT_DIR");
    let edge = Server::example(&mut command, "tiered.json", &places);
    let viewers: Vec<Viewer> = (0..5).map(|_| edge.view("/news.ts")).collect();
    viewers.iter().for_each(|viewer| viewer.wait_for(500));

    let used = edge.wait_for_event("connected")["url"].as_str().unwrap().to_owned();
    let failing = usize::from(!used.starts_with("https://"));
    drop(origins[failing].take());
    let other = edge.wait_for_events("connected", 2).remove(1)["url"].as_str().unwrap().to_owned();
    assert_ne!(other.starts_with("https://"), used.starts_with("https://"), "{used}, then {other}");
    for viewer in &viewers {
        viewer.wait_for_more(500);
        viewer.recording().assert_begins_at_access_point();
        viewer.recording().assert_continuous();
    }
    assert_eq!(origins[1 - failing].as_ref().unwrap().health()["viewer"], 1, "an origin sees the edge alone");

    let token = "Authorization: Bearer change-me-too\r\n";
    assert_eq!(status(&edge, "GET", "/control/news?offline", ""), 403);
    assert_eq!(status(&edge, "GET", "/control/news?offline", token), 202);
    viewers.iter().for_each(|viewer| drop(viewer.wait_for_end()));
    assert_eq!(Viewer::join(edge.address(), "/news.ts").err(), Some(404));
}

#[test]
fn multicast_joins_its_groups() {
    let server = Server::example(&mut Server::command(), "multicast.json", &[("eth1", "lo")]);
    assert_eq!(server.get("/health").head.status, 200);
    for path in ["/one.ts", "/two.ts", "/three.ts", "/four.ts"] {
        assert_eq!(server.get(path).head.status, 404, "nothing is sent there");
    }
}

#[test]
fn documented_answers_everywhere() {
    let places = [
        ("http://origin.example/news.ts", "http://127.0.0.1:1/news.ts"),
        ("\"udp://@239.255.1.1:5000\"", "\"tcp://127.0.0.1:1\""),
        ("http://monitoring.example/alive", "http://127.0.0.1:1/alive"),
    ];
    let server = Server::example(&mut Server::command(), "documented.json", &places);
    let anna = format!("Authorization: Basic {}\r\n", STANDARD.encode("anna:change-me"));
    let monitoring = "Authorization: Bearer change-me-too\r\n";
    for (method, path, headers, expected) in [
        ("GET", "/news.ts", "", 401),
        ("GET", "/news.ts", &*anna, 503),
        ("HEAD", "/news.ts", &*anna, 503),
        ("OPTIONS", "/news.ts", "Origin: https://tv.example\r\n", 204),
        ("GET", "/logo.png", "", 404),
        ("GET", "/health", "", 200),
        ("GET", "/statistics", "", 200),
        ("GET", "/metrics", "", 200),
        ("GET", "/check/news", "", 404),
        ("GET", "/control/news", "", 403),
        ("GET", "/control/news?offline", monitoring, 202),
        ("GET", "/control/news?online", monitoring, 202),
        ("POST", "/health", "", 405),
        ("GET", "/", "", 404),
    ] {
        assert_eq!(status(&server, method, path, headers), expected, "{method} {path} {headers}");
    }
}
