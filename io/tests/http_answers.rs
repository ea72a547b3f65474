//! Every answer of the HTTP side, byte by byte on raw sockets (without the `Date` line).

mod stage;

use bytes::Bytes;
use hyper::StatusCode;
use hyper::header::HeaderValue;
use restreamer_core::admission::{AdmissionLimits, LimitEvent};
use restreamer_core::stream::{Availability, Operator};
use restreamer_io::answer::{Framing, StreamFace};
use restreamer_io::api::Api;
use restreamer_io::auth::{Access, Credentials};
use restreamer_io::gate::Refused;
use restreamer_io::route::StreamId;
use restreamer_io::service::{Cors, Resource};
use stage::{Stage, api, read_to_end, stream, until};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const STREAM_HEADERS: &str = "Content-Type: video/mpeg\r\n\
    Cache-Control: no-cache,no-store,no-transform\r\n\
    Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT\r\n\
    Accept-Ranges: none\r\n\
    Accept-Range: none\r\n\
    X-Accel-Buffering: no\r\n\
    Connection: close\r\n";

const NOT_FOUND: &str = "HTTP/1.1 404 Not Found\r\n\
    Content-Type: text/plain; charset=utf-8\r\n\
    X-Content-Type-Options: nosniff\r\n\
    Connection: close\r\n\
    Content-Length: 19\r\n\
    \r\n\
    404 page not found\n";

fn resources() -> Vec<Resource> {
    vec![
        stream("/live.ts", 0, StreamFace::default()),
        stream("/never.ts", 2, StreamFace::default()),
        api("/health", Api::Health),
        api("/statistics", Api::Statistics),
        api("/check", Api::Check(StreamId(0))),
        api("/check/never", Api::Check(StreamId(2))),
        api("/control", Api::Control(StreamId(0))),
        api("/metrics", Api::Prometheus),
        api("/tree/", Api::Health),
    ]
}

async fn stage() -> Stage {
    Stage::open(AdmissionLimits::default(), resources()).await
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: tv.example\r\nConnection: close\r\n\r\n")
}

fn head(path: &str) -> String {
    format!("HEAD {path} HTTP/1.1\r\nHost: tv.example\r\nConnection: close\r\n\r\n")
}

/// The answer's status line and body, for where the headers are the business of another test.
fn status_and_body(answer: &str) -> (&str, &str) {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no head in {answer:?}"));
    (head.split("\r\n").next().unwrap(), body)
}

#[tokio::test]
async fn a_stream_is_answered_with_its_headers_and_live_packets() {
    let stage = stage().await;
    assert_eq!(stage.ask(&get("/live.ts")).await, format!("HTTP/1.1 200 OK\r\n{STREAM_HEADERS}\r\n[packet]"));
    assert_eq!(
        stage.ask("GET /live.ts HTTP/1.0\r\n\r\n").await,
        format!("HTTP/1.0 200 OK\r\n{STREAM_HEADERS}\r\n[packet]")
    );
    // What players add changes nothing.
    assert_eq!(
        stage
            .ask(
                "GET /live.ts?token=1 HTTP/1.1\r\nhost: tv.example\r\nRange: bytes=0-\r\nIcy-MetaData: 1\r\n\
                 User-Agent: Lavf/61\r\nConnection: keep-alive\r\n\r\n"
            )
            .await,
        format!("HTTP/1.1 200 OK\r\n{STREAM_HEADERS}\r\n[packet]")
    );
    assert_eq!(*stage.fanout.agents.lock().unwrap(), ["", "", "Lavf/61"]);
    until("all seats free", || stage.gate.viewers() == 0).await;
}

#[tokio::test]
async fn head_of_a_stream_takes_no_seat() {
    let stage = Stage::open(AdmissionLimits { soft: 1, ..Default::default() }, resources()).await;
    assert_eq!(stage.ask(&head("/live.ts")).await, format!("HTTP/1.1 200 OK\r\n{STREAM_HEADERS}\r\n"));
    assert_eq!(
        stage.ask("HEAD /live.ts HTTP/1.0\r\n\r\n").await,
        format!("HTTP/1.0 200 OK\r\n{STREAM_HEADERS}\r\n")
    );
    assert_eq!(
        stage.ask(&head("/never.ts")).await,
        format!("HTTP/1.1 404 Not Found\r\n{STREAM_HEADERS}Content-Length: 0\r\n\r\n")
    );
    assert_eq!(*stage.limit_events.lock().unwrap(), []);
}

#[tokio::test]
async fn content_type_preamble_and_framing_are_the_stream_s_own() {
    let face = StreamFace {
        content_type: HeaderValue::from_static("video/mp2t"),
        framing: Framing::Chunked,
        preamble: Bytes::from_static(b"PREAMBLE"),
        ..Default::default()
    };
    let plain = StreamFace { framing: Framing::Close, ..face.clone() };
    let stage = Stage::open(
        AdmissionLimits::default(),
        vec![stream("/chunked.ts", 0, face), stream("/plain.ts", 1, plain)],
    )
    .await;
    let headers = STREAM_HEADERS.replace("video/mpeg", "video/mp2t");
    assert_eq!(
        stage.ask(&get("/chunked.ts")).await,
        format!(
            "HTTP/1.1 200 OK\r\n{headers}Transfer-Encoding: chunked\r\n\r\n8\r\nPREAMBLE\r\nbc\r\n[packet]\r\n0\r\n\r\n"
        )
    );
    assert_eq!(stage.ask(&head("/chunked.ts")).await, format!("HTTP/1.1 200 OK\r\n{headers}\r\n"));
    assert_eq!(
        stage.ask("HEAD /chunked.ts HTTP/1.0\r\n\r\n").await,
        format!("HTTP/1.0 200 OK\r\n{headers}\r\n")
    );
    assert_eq!(
        stage.ask("GET /chunked.ts HTTP/1.0\r\n\r\n").await,
        format!("HTTP/1.0 200 OK\r\n{headers}\r\nPREAMBLE[packet]")
    );
    assert_eq!(
        stage.ask(&get("/plain.ts")).await,
        format!("HTTP/1.1 200 OK\r\n{headers}\r\nPREAMBLE[packet]")
    );
}

#[tokio::test]
async fn every_refusal_of_a_stream_is_404_with_its_headers_and_no_body() {
    let stage = Stage::open(AdmissionLimits { hard: 1, ..Default::default() }, resources()).await;
    let refused = format!("HTTP/1.1 404 Not Found\r\n{STREAM_HEADERS}Content-Length: 0\r\n\r\n");
    assert_eq!(stage.ask(&get("/never.ts")).await, refused);
    for availability in [Availability::Offline, Availability::Lost] {
        stage.channels.availability.lock().unwrap()[0] = availability;
        assert_eq!(stage.ask(&get("/live.ts")).await, refused, "{availability:?}");
    }
    stage.channels.availability.lock().unwrap()[0] = Availability::Grace;
    *stage.fanout.holds.lock().unwrap() = true;
    let mut viewer = stage.connect().await;
    viewer.write_all(get("/live.ts").as_bytes()).await.unwrap();
    until("the viewer is in", || stage.gate.viewers() == 1).await;
    assert_eq!(stage.ask(&get("/live.ts")).await, refused);
    assert_eq!(stage.ask(&head("/live.ts")).await, refused);
    stage.fanout.held.lock().unwrap().clear();
    until("the viewer is out", || stage.gate.viewers() == 0).await;
    *stage.fanout.holds.lock().unwrap() = false;
    assert!(stage.ask(&get("/live.ts")).await.starts_with("HTTP/1.1 200 OK\r\n"));
    let counters = stage.observe.stream(StreamId(0));
    let by_reason = Refused::ALL.map(|reason| (reason.name(), counters.refused(reason).now()));
    let expected = [("offline", 1), ("no_upstream", 1), ("full", 1), ("stream_full", 0), ("peer_full", 0)];
    assert_eq!(by_reason, expected);
}

#[tokio::test]
async fn the_status_of_a_refusal_can_be_chosen() {
    let face = StreamFace { refuse_status: StatusCode::SERVICE_UNAVAILABLE, ..Default::default() };
    let stage = Stage::open(AdmissionLimits::default(), vec![stream("/never.ts", 2, face)]).await;
    assert_eq!(
        stage.ask("GET /never.ts HTTP/1.0\r\n\r\n").await,
        format!("HTTP/1.0 503 Service Unavailable\r\n{STREAM_HEADERS}Content-Length: 0\r\n\r\n")
    );
}

#[tokio::test]
async fn an_unknown_path_is_404() {
    let stage = stage().await;
    assert_eq!(stage.ask(&get("/nothing")).await, NOT_FOUND);
    assert_eq!(stage.ask(&head("/nothing")).await, NOT_FOUND.strip_suffix("404 page not found\n").unwrap());
    assert_eq!(
        stage.ask("GET / HTTP/1.0\r\n\r\n").await,
        NOT_FOUND.replace("HTTP/1.1", "HTTP/1.0").replace("Connection: close\r\n", "")
    );
    assert_eq!(stage.ask(&get("/live.ts/")).await, NOT_FOUND);
    assert_eq!(stage.ask("POST /nothing HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await, NOT_FOUND);
}

#[tokio::test]
async fn an_unclean_path_is_redirected_with_its_query() {
    let stage = stage().await;
    assert_eq!(
        stage.ask(&get("/x/..//live.ts?a=1&b=%2F")).await,
        "HTTP/1.1 301 Moved Permanently\r\n\
         Content-Type: text/plain; charset=utf-8\r\n\
         X-Content-Type-Options: nosniff\r\n\
         Location: /live.ts?a=1&b=%2F\r\n\
         Connection: close\r\n\
         Content-Length: 22\r\n\
         \r\n\
         301 moved permanently\n"
    );
    assert!(stage.ask(&get("/tree")).await.contains("\r\nLocation: /tree/\r\n"));
    assert!(stage.ask(&get("//evil.example/%2e%2e/x")).await.contains("\r\nLocation: /x\r\n"));
    assert!(stage.ask(&get("/%6Cive.ts")).await.starts_with("HTTP/1.1 200 OK\r\n"));
}

#[tokio::test]
async fn other_methods_than_get_and_head_are_405() {
    let stage = stage().await;
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "PROPFIND"] {
        let request = format!("{method} /live.ts HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        assert_eq!(
            stage.ask(&request).await,
            "HTTP/1.1 405 Method Not Allowed\r\n\
             Content-Type: text/plain; charset=utf-8\r\n\
             X-Content-Type-Options: nosniff\r\n\
             Allow: GET, HEAD\r\n\
             Connection: close\r\n\
             Content-Length: 23\r\n\
             \r\n\
             405 method not allowed\n",
            "{method}"
        );
    }
    let connect =
        stage.ask("CONNECT tv.example:80 HTTP/1.1\r\nHost: tv.example:80\r\nConnection: close\r\n\r\n").await;
    assert_eq!(status_and_body(&connect).0, "HTTP/1.1 400 Bad Request");
}

#[tokio::test]
async fn bad_requests_are_400() {
    let stage = stage().await;
    for request in [
        "GET /live.ts HTTP/1.1\r\nConnection: close\r\n\r\n",
        "GET /live.ts HTTP/1.1\r\nHost: a\r\nHost: b\r\nConnection: close\r\n\r\n",
        "GET /live.ts HTTP/1.1\r\nHost: a/b\r\nConnection: close\r\n\r\n",
        "GET /%zz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        "GET /live.ts HTTP/1.1\r\nbad header\r\n\r\n",
        "\x16\x03\x01\x02\r\n\r\n",
    ] {
        let answer = stage.ask(request).await;
        assert_eq!(status_and_body(&answer).0, "HTTP/1.1 400 Bad Request", "{request:?}");
    }
    let long = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(20_000));
    let answer = stage.ask(&long).await;
    assert_eq!(status_and_body(&answer).0, "HTTP/1.1 431 Request Header Fields Too Large");
    assert_eq!(stage.gate.viewers(), 0);
}

#[tokio::test]
async fn the_target_may_be_in_absolute_form() {
    let mut resources = resources();
    resources.push(api("other.example/live.ts", Api::Health));
    let stage = Stage::open(AdmissionLimits::default(), resources).await;
    let ask = async |target: &str, host: &str| {
        let request = format!("GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        stage.ask(&request).await.contains("application/json")
    };
    assert!(!ask("/live.ts", "tv.example").await);
    assert!(ask("/live.ts", "Other.example:8000").await);
    assert!(ask("http://other.example/live.ts", "tv.example").await);
    assert!(!ask("http://tv.example/live.ts", "other.example").await);
}

#[tokio::test]
async fn health_says_how_many_viewers_there_are() {
    let stage = Stage::open(AdmissionLimits { soft: 1, hard: 3, ..Default::default() }, resources()).await;
    assert_eq!(
        stage.ask(&get("/health")).await,
        "HTTP/1.1 200 OK\r\n\
         Content-Type: application/json\r\n\
         Cache-Control: no-store\r\n\
         Connection: close\r\n\
         Content-Length: 58\r\n\
         \r\n\
         {\"status\":\"ok\",\"viewer\":0,\"limit\":1,\"max\":3,\"bandwidth\":0}"
    );
    *stage.fanout.holds.lock().unwrap() = true;
    let mut viewer = stage.connect().await;
    viewer.write_all(get("/live.ts").as_bytes()).await.unwrap();
    until("the viewer is in", || stage.gate.viewers() == 1).await;
    let full = "{\"status\":\"full\",\"viewer\":1,\"limit\":1,\"max\":3,\"bandwidth\":0}";
    assert_eq!(status_and_body(&stage.ask(&get("/health")).await), ("HTTP/1.1 200 OK", full));
    assert_eq!(status_and_body(&stage.ask(&head("/health")).await), ("HTTP/1.1 200 OK", ""));
    stage.fanout.held.lock().unwrap().clear();
    assert_eq!(*stage.limit_events.lock().unwrap(), [LimitEvent::Hit, LimitEvent::Miss]);
}

#[tokio::test]
async fn statistics_has_all_its_keys() {
    let stage = Stage::open(AdmissionLimits { soft: 1, hard: 1, ..Default::default() }, resources()).await;
    let counters = stage.observe.stream(StreamId(1));
    counters.packets_sent.add(2);
    counters.bytes_sent.add(376);
    counters.packets_dropped.add(1);
    counters.bytes_dropped.add(188);
    counters.sources[0].packets_received.add(4);
    counters.sources[0].bytes_received.add(752);
    counters.duration_ns.add(9);
    *stage.fanout.holds.lock().unwrap() = true;
    let mut viewer = stage.connect().await;
    viewer.write_all(get("/live.ts").as_bytes()).await.unwrap();
    until("the viewer is in", || stage.gate.viewers() == 1).await;
    assert_eq!(
        status_and_body(&stage.ask(&get("/statistics")).await).1,
        "{\"status\":\"overload\",\"connections\":1,\"max_connections\":1,\"full_connections\":1,\
         \"total_packets_received\":4,\"total_packets_sent\":2,\"total_packets_dropped\":1,\
         \"total_bytes_received\":752,\"total_bytes_sent\":376,\"total_bytes_dropped\":188,\
         \"total_stream_time_ns\":9,\"packets_per_second_received\":0,\"packets_per_second_sent\":0,\
         \"packets_per_second_dropped\":0,\"bytes_per_second_received\":0,\"bytes_per_second_sent\":0,\
         \"bytes_per_second_dropped\":0}"
    );
}

#[tokio::test]
async fn check_says_whether_a_stream_is_connected() {
    let stage = stage().await;
    let check = async |path: &str| stage.ask(&get(path)).await;
    assert_eq!(
        check("/check").await,
        "HTTP/1.1 200 OK\r\n\
         Content-Type: text/plain; charset=utf-8\r\n\
         X-Content-Type-Options: nosniff\r\n\
         Cache-Control: no-store\r\n\
         Connection: close\r\n\
         Content-Length: 6\r\n\
         \r\n\
         200 ok"
    );
    let not_found = ("HTTP/1.1 404 Not Found", "404 not found");
    assert_eq!(status_and_body(&check("/check/never").await), not_found);
    *stage.channels.silent.lock().unwrap() = true;
    assert_eq!(status_and_body(&check("/check").await), not_found);
    *stage.channels.silent.lock().unwrap() = false;
    stage.ask(&get("/control?offline")).await;
    assert_eq!(status_and_body(&check("/check").await), not_found);
}

#[tokio::test]
async fn control_takes_a_stream_offline_and_online() {
    let stage = stage().await;
    let accepted = ("HTTP/1.1 202 Accepted", "202 accepted");
    let bad = ("HTTP/1.1 400 Bad Request", "400 bad request");
    for (query, expected) in [
        ("?offline", accepted),
        ("?online", accepted),
        ("?online&offline", accepted),
        ("?x=1&online=", accepted),
        ("?offline=1", accepted),
        ("", bad),
        ("?", bad),
        ("?offliner&x=online", bad),
    ] {
        let answer = stage.ask(&get(&format!("/control{query}"))).await;
        assert_eq!(status_and_body(&answer), expected, "{query}");
    }
    use Operator::{Offline, Online};
    let orders: Vec<Operator> = stage.channels.orders.lock().unwrap().iter().map(|order| order.1).collect();
    assert_eq!(orders, [Offline, Online, Offline, Online, Offline]);
    let post = "POST /control?online HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    assert_eq!(status_and_body(&stage.ask(post).await), accepted);
}

#[tokio::test]
async fn metrics_are_what_the_renderer_says() {
    let stage = stage().await;
    assert_eq!(
        stage.ask(&get("/metrics")).await,
        "HTTP/1.1 200 OK\r\n\
         Content-Type: text/plain; version=0.0.4\r\n\
         Cache-Control: no-store\r\n\
         Connection: close\r\n\
         Content-Length: 24\r\n\
         \r\n\
         streaming_connections 0\n"
    );
}

#[tokio::test]
async fn basic_authentication_answers_401_with_a_challenge() {
    let alice = [Credentials::new("alice", "secret")];
    let mut protected = stream("/live.ts", 0, StreamFace::default());
    protected.access = Access::basic("a \"realm\"", &alice);
    let stage = Stage::open(AdmissionLimits::default(), vec![protected]).await;
    let unauthorized = "HTTP/1.1 401 Unauthorized\r\n\
         Content-Type: text/plain; charset=utf-8\r\n\
         X-Content-Type-Options: nosniff\r\n\
         Www-Authenticate: Basic realm=\"a \\\"realm\\\"\", charset=\"UTF-8\"\r\n\
         Connection: close\r\n\
         Content-Length: 17\r\n\
         \r\n\
         401 unauthorized\n";
    let ask = async |authorization: &str| {
        let request = format!("GET /live.ts HTTP/1.1\r\nHost: a\r\n{authorization}Connection: close\r\n\r\n");
        stage.ask(&request).await
    };
    assert_eq!(ask("").await, unauthorized);
    assert_eq!(ask("Authorization: Basic YWxpY2U6d3Jvbmc=\r\n").await, unauthorized);
    assert_eq!(ask("Authorization: Bearer secret\r\n").await, unauthorized);
    let granted = format!("HTTP/1.1 200 OK\r\n{STREAM_HEADERS}\r\n[packet]");
    assert_eq!(ask("Authorization: Basic YWxpY2U6c2VjcmV0\r\n").await, granted);
    assert_eq!(ask("authorization: basic YWxpY2U6c2VjcmV0\r\n").await, granted);
    assert_eq!(
        stage.ask("HEAD /live.ts HTTP/1.0\r\n\r\n").await,
        unauthorized
            .replace("HTTP/1.1", "HTTP/1.0")
            .replace("Connection: close\r\n", "")
            .replace("401 unauthorized\n", "")
    );
}

#[tokio::test]
async fn bearer_authentication_answers_403() {
    let mut protected = api("/health", Api::Health);
    protected.access = Access::bearer(&[Credentials::new("alice", "c2VjcmV0")]);
    let stage = Stage::open(AdmissionLimits::default(), vec![protected]).await;
    let ask = async |authorization: &str| {
        let request = format!("GET /health HTTP/1.1\r\nHost: a\r\n{authorization}Connection: close\r\n\r\n");
        stage.ask(&request).await
    };
    let forbidden = "HTTP/1.1 403 Forbidden\r\n\
         Content-Type: text/plain; charset=utf-8\r\n\
         X-Content-Type-Options: nosniff\r\n\
         Connection: close\r\n\
         Content-Length: 14\r\n\
         \r\n\
         403 forbidden\n";
    assert_eq!(ask("").await, forbidden);
    assert_eq!(ask("Authorization: Bearer secret\r\n").await, forbidden);
    assert_eq!(ask("Authorization: Basic YWxpY2U6YzJWamNtVjA=\r\n").await, forbidden);
    assert!(ask("Authorization: Bearer c2VjcmV0\r\n").await.starts_with("HTTP/1.1 200 OK\r\n"));
}

#[tokio::test]
async fn cors_and_further_headers_are_on_every_answer_of_the_resource() {
    let mut any = stream("/any.ts", 0, StreamFace::default());
    any.cors = Cors::Any;
    any.headers.insert("x-served-by", HeaderValue::from_static("edge-1"));
    any.headers.insert("cache-control", HeaderValue::from_static("no-store"));
    any.headers.insert("transfer-encoding", HeaderValue::from_static("bogus"));
    let mut listed = api("/health", Api::Health);
    listed.cors = Cors::Origins(vec![HeaderValue::from_static("https://tv.example")]);
    listed.access = Access::basic("tv", &[]);
    let stage = Stage::open(AdmissionLimits::default(), vec![any, listed]).await;

    assert_eq!(
        stage.ask(&get("/any.ts")).await,
        format!(
            "HTTP/1.1 200 OK\r\n{}X-Served-By: edge-1\r\nAccess-Control-Allow-Origin: *\r\n\r\n[packet]",
            STREAM_HEADERS.replace("no-cache,no-store,no-transform", "no-store")
        )
    );
    stage.channels.availability.lock().unwrap()[0] = Availability::Lost;
    assert!(stage.ask(&get("/any.ts")).await.contains("\r\nAccess-Control-Allow-Origin: *\r\n"));

    let preflight = async |origin: &str| {
        let request = format!(
            "OPTIONS /health HTTP/1.1\r\nHost: a\r\nOrigin: {origin}\r\nConnection: close\r\n\
             Access-Control-Request-Method: GET\r\nAccess-Control-Request-Headers: authorization\r\n\r\n"
        );
        stage.ask(&request).await
    };
    assert_eq!(
        preflight("https://tv.example").await,
        "HTTP/1.1 204 No Content\r\n\
         Allow: GET, HEAD, OPTIONS\r\n\
         Access-Control-Allow-Methods: GET, HEAD, OPTIONS\r\n\
         Access-Control-Allow-Headers: authorization\r\n\
         Access-Control-Max-Age: 86400\r\n\
         Vary: Origin\r\n\
         Access-Control-Allow-Origin: https://tv.example\r\n\
         Connection: close\r\n\
         \r\n"
    );
    assert!(!preflight("https://evil.example").await.contains("Access-Control-Allow-Origin"));
    // A page may read that it is not authorized.
    let request = "GET /health HTTP/1.0\r\nOrigin: https://tv.example\r\n\r\n";
    let denied = stage.ask(request).await;
    assert!(denied.starts_with("HTTP/1.0 401 Unauthorized\r\n"), "{denied}");
    assert!(denied.contains("\r\nAccess-Control-Allow-Origin: https://tv.example\r\n"), "{denied}");
    assert!(
        stage
            .ask("OPTIONS * HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            .await
            .starts_with("HTTP/1.1 204 No Content\r\n")
    );
}

#[tokio::test]
async fn a_connection_is_kept_for_further_requests_and_the_last_may_be_for_a_stream() {
    let stage = stage().await;
    let mut socket = stage.connect().await;
    for _ in 0..3 {
        socket.write_all(b"GET /check HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"200 ok") {
            assert_ne!(socket.read_buf(&mut answer).await.unwrap(), 0, "closed after {answer:?}");
        }
    }
    socket.write_all(b"GET /live.ts HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    assert_eq!(read_to_end(&mut socket).await, format!("HTTP/1.1 200 OK\r\n{STREAM_HEADERS}\r\n[packet]"));
}

#[tokio::test]
async fn a_stream_after_pipelined_requests_follows_their_answers_and_swallows_what_comes_after() {
    let stage = stage().await;
    let check = "GET /check HTTP/1.1\r\nHost: a\r\n\r\n";
    let stream = "GET /live.ts HTTP/1.1\r\nHost: a\r\n\r\n";
    let answer = stage.ask(&format!("{check}{check}{stream}{check}{stream}")).await;
    let parts: Vec<&str> = answer.split("200 ok").collect();
    assert_eq!(parts.len(), 3, "{answer}");
    assert_eq!(parts[2], format!("HTTP/1.1 200 OK\r\n{STREAM_HEADERS}\r\n[packet]"));
}

#[tokio::test]
async fn a_client_that_has_finished_sending_still_gets_its_answer() {
    let stage = stage().await;
    for _ in 0..20 {
        let mut socket = stage.connect().await;
        socket.write_all(b"GET /check HTTP/1.0\r\n\r\n").await.unwrap();
        socket.shutdown().await.unwrap();
        assert!(read_to_end(&mut socket).await.ends_with("200 ok"));
    }
}
