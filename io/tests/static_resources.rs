//! Static resources end to end: our server in front of a scripted one, and in front of files.

mod stage;

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use restreamer_core::AdmissionLimits;
use restreamer_io::client::{ClientOptions, Target};
use restreamer_io::net::TokioNet;
use restreamer_io::proxy::{DOCUMENT_BYTES_MAX, Static};
use restreamer_io::service::{Kind, Resource};
use stage::origin::{Origin, Reply};
use stage::{Stage, resource, until};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Notify;

const LONG: Duration = Duration::from_secs(3600);

fn remote(url: &str, cache: Duration) -> Resource {
    let target = Target::parse(url).unwrap();
    resource("/doc", Kind::Static(Static::remote(TokioNet, target, ClientOptions::default(), cache)))
}

fn file(serve: &str, path: impl AsRef<Path>, cache: Duration) -> Resource {
    resource(serve, Kind::Static(Static::file(path.as_ref().to_owned(), cache)))
}

async fn stage(resources: Vec<Resource>) -> Stage {
    Stage::open(AdmissionLimits::default(), resources).await
}

fn get(path: &str, headers: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: a\r\n{headers}Connection: close\r\n\r\n")
}

fn hello(extra: &str) -> Reply {
    Reply::text(format!("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n{extra}\r\nhello"))
}

const HELLO_ETAG: &str = "\"2cf24dba5fb0a30e26e83b2ac5b9e29e\"";

#[tokio::test]
async fn a_document_is_served_with_tag_length_and_cache_time() {
    let origin = Origin::start(|_, _| hello("Content-Type: text/x-hello\r\nX-Other: dropped\r\n")).await;
    let stage = stage(vec![remote(&origin.url("/a?b=1"), LONG)]).await;
    let head = format!(
        "HTTP/1.1 200 OK\r\n\
         Content-Type: text/x-hello\r\n\
         Etag: {HELLO_ETAG}\r\n\
         Cache-Control: max-age=3600\r\n\
         Connection: close\r\n\
         Content-Length: 5\r\n\
         \r\n"
    );
    assert_eq!(stage.ask(&get("/doc", "")).await, format!("{head}hello"));
    assert_eq!(stage.ask(&get("/doc", "").replace("GET", "HEAD")).await, head);
    for known in [HELLO_ETAG.to_owned(), format!("W/\"x\", {HELLO_ETAG}"), "*".to_owned()] {
        assert_eq!(
            stage.ask(&get("/doc", &format!("If-None-Match: {known}\r\n"))).await,
            format!(
                "HTTP/1.1 304 Not Modified\r\nEtag: {HELLO_ETAG}\r\n\
                 Cache-Control: max-age=3600\r\nConnection: close\r\n\r\n"
            )
        );
    }
    assert!(stage.ask(&get("/doc", "If-None-Match: \"other\"\r\n")).await.ends_with("hello"));
    assert!(stage.ask(&get("/doc", "").replace("GET", "POST")).await.starts_with("HTTP/1.1 405 "));
    assert_eq!(origin.lines(), ["GET /a?b=1"]);
}

#[tokio::test]
async fn without_a_cache_time_it_is_fetched_every_time_on_condition() {
    let origin = Origin::start(|request, number| match number {
        0 => hello("ETag: \"up-1\"\r\nLast-Modified: Sun, 06 Nov 1994 08:49:37 GMT\r\n"),
        _ if request.to_ascii_lowercase().contains("if-none-match: \"up-1\"\r\n") => {
            Reply::text("HTTP/1.1 304 Not Modified\r\n\r\n")
        }
        _ => Reply::text("HTTP/1.1 500 Internal Server Error\r\n\r\n"),
    })
    .await;
    let stage = stage(vec![remote(&origin.url("/hello.html"), Duration::ZERO)]).await;
    for _ in 0..3 {
        let answer = stage.ask(&get("/doc", "")).await;
        assert!(answer.ends_with("\r\n\r\nhello"), "{answer}");
        assert!(answer.contains("\r\nCache-Control: max-age=0\r\n"), "{answer}");
        assert!(answer.contains("\r\nContent-Type: text/html; charset=utf-8\r\n"), "{answer}");
    }
    let requests = origin.requests();
    assert_eq!(requests.len(), 3);
    let second = requests[1].to_ascii_lowercase();
    assert!(second.contains("if-modified-since: sun, 06 nov 1994 08:49:37 gmt\r\n"), "{second}");
    assert!(!requests[0].to_ascii_lowercase().contains("if-none-match"));
}

#[tokio::test]
async fn a_hundred_requests_for_a_stale_document_cause_one_fetch() {
    let permit = Arc::new(Notify::new());
    let body = vec![b'x'; 5 * 1024 * 1024];
    let expected = body.len();
    // No Content-Length, and the body in many pieces: it ends with the connection.
    let mut pieces = vec![b"HTTP/1.0 200 OK\r\n\r\n".to_vec()];
    pieces.extend(body.chunks(100_000).map(<[u8]>::to_vec));
    let held = Arc::clone(&permit);
    let origin = Origin::start(move |_, _| Reply::After(Arc::clone(&held), pieces.clone())).await;
    let stage = stage(vec![remote(&origin.url("/big"), LONG)]).await;
    let mut waiting = Vec::new();
    for _ in 0..100 {
        let mut socket = stage.connect().await;
        socket.write_all(get("/doc", "").as_bytes()).await.unwrap();
        waiting.push(socket);
    }
    until("the fetch has begun", || origin.requests().len() == 1).await;
    permit.notify_one();
    for mut socket in waiting {
        let mut answer = Vec::new();
        socket.read_to_end(&mut answer).await.unwrap();
        let head_end = answer.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
        assert!(answer.starts_with(b"HTTP/1.1 200 OK\r\n"));
        assert_eq!(answer.len() - head_end, expected);
    }
    assert_eq!(origin.requests().len(), 1);
}

#[tokio::test]
async fn a_fetch_goes_on_when_the_client_that_caused_it_leaves() {
    let permit = Arc::new(Notify::new());
    let held = Arc::clone(&permit);
    let hello = b"HTTP/1.0 200 OK\r\n\r\nhello";
    let origin = Origin::start(move |_, _| Reply::After(Arc::clone(&held), vec![hello.to_vec()])).await;
    let stage = stage(vec![remote(&origin.url("/x"), LONG)]).await;
    let mut first = stage.connect().await;
    first.write_all(get("/doc", "").as_bytes()).await.unwrap();
    until("the fetch has begun", || origin.requests().len() == 1).await;
    drop(first);
    let mut second = stage.connect().await;
    second.write_all(get("/doc", "").as_bytes()).await.unwrap();
    permit.notify_one();
    assert!(stage::read_to_end(&mut second).await.ends_with("hello"));
    assert_eq!(origin.requests().len(), 1);
}

#[tokio::test]
async fn upstream_errors_are_passed_on_or_become_502_and_are_never_held() {
    let origin = Origin::start(|request, number| match number {
        0 => Reply::text(
            "HTTP/1.1 404 Not Found\r\nContent-Type: text/x-gone\r\nContent-Length: 4\r\n\r\ngone",
        ),
        1 => Reply::text("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 4\r\n\r\nbusy"),
        2 => Reply::text("HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\ncut"),
        3 => Reply::text("not HTTP at all\r\n\r\n"),
        4 => Reply::text("HTTP/1.1 304 Not Modified\r\n\r\n"),
        5 => Reply::text(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", DOCUMENT_BYTES_MAX + 1)),
        6 => Reply::text([&b"HTTP/1.0 200 OK\r\n\r\n"[..], &vec![0; DOCUMENT_BYTES_MAX + 1]].concat()),
        7 => Reply::text("HTTP/1.1 302 Found\r\nLocation: /moved\r\nContent-Length: 0\r\n\r\n"),
        _ => {
            assert!(request.starts_with("GET /moved "));
            hello("")
        }
    })
    .await;
    let stage = stage(vec![remote(&origin.url("/x"), LONG)]).await;
    assert_eq!(
        stage.ask(&get("/doc", "")).await,
        "HTTP/1.1 404 Not Found\r\nContent-Type: text/x-gone\r\nConnection: close\r\nContent-Length: 4\r\n\r\ngone"
    );
    for number in 1..=6 {
        assert_eq!(
            stage.ask(&get("/doc", "")).await,
            "HTTP/1.1 502 Bad Gateway\r\n\
             Content-Type: text/plain; charset=utf-8\r\n\
             X-Content-Type-Options: nosniff\r\n\
             Connection: close\r\n\
             Content-Length: 16\r\n\
             \r\n\
             502 bad gateway\n",
            "answer {number}"
        );
    }
    assert!(stage.ask(&get("/doc", "")).await.ends_with("hello"));
    assert_eq!(origin.requests().len(), 9);
}

#[tokio::test]
async fn a_document_of_exactly_the_largest_size_is_served() {
    let origin = Origin::start(|_, _| {
        Reply::text([&b"HTTP/1.0 200 OK\r\n\r\n"[..], &vec![b'a'; DOCUMENT_BYTES_MAX]].concat())
    })
    .await;
    let stage = stage(vec![remote(&origin.url("/x"), LONG)]).await;
    let answer = stage.ask(&get("/doc", "")).await;
    assert!(answer.contains("\r\nContent-Length: 10485760\r\n"));
    assert!(answer.len() > DOCUMENT_BYTES_MAX);
}

#[tokio::test]
async fn an_upstream_that_cannot_be_reached_is_502_and_its_return_is_noticed() {
    let origin = Origin::start(|_, _| hello("")).await;
    let (url, address) = (origin.url("/x"), origin.address);
    drop(origin);
    let stage = stage(vec![remote(&url, Duration::ZERO)]).await;
    until("the port is closed", || std::net::TcpStream::connect(address).is_err()).await;
    assert!(stage.ask(&get("/doc", "")).await.starts_with("HTTP/1.1 502 "));
    let listener = tokio::net::TcpListener::bind(address).await.unwrap();
    let serving = tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        socket.write_all(b"HTTP/1.0 200 OK\r\n\r\nback").await.unwrap();
        socket.shutdown().await.unwrap();
        let _ = socket.read_to_end(&mut Vec::new()).await;
    });
    assert!(stage.ask(&get("/doc", "")).await.ends_with("back"));
    serving.await.unwrap();
}

#[tokio::test]
async fn files_are_served_and_read_again_when_stale() {
    let folder = tempfile::tempdir().unwrap();
    let page = folder.path().join("page.html");
    std::fs::write(&page, "hello").unwrap();
    let stage = stage(vec![file("/page", &page, Duration::ZERO), file("/held/", &page, LONG)]).await;
    assert_eq!(
        stage.ask(&get("/page", "")).await,
        format!(
            "HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\nEtag: {HELLO_ETAG}\r\n\
             Cache-Control: max-age=0\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello"
        )
    );
    assert!(stage.ask(&get("/held/", "")).await.ends_with("hello"));
    std::fs::write(&page, "").unwrap();
    assert!(stage.ask(&get("/page", "")).await.contains("\r\nContent-Length: 0\r\n"));
    // A tree serves the one file, whatever the path below it.
    assert!(stage.ask(&get("/held/any/path.txt", "")).await.ends_with("hello"));
    std::fs::remove_file(&page).unwrap();
    let answer = stage.ask(&get("/page", "")).await;
    assert!(answer.starts_with("HTTP/1.1 404 Not Found\r\n") && answer.ends_with("404 page not found\n"));
    assert!(stage.ask(&get("/held/", "")).await.ends_with("hello"));
}

#[tokio::test]
async fn only_a_readable_regular_file_is_a_document() {
    let folder = tempfile::tempdir().unwrap();
    let fifo = folder.path().join("fifo");
    let name = std::ffi::CString::new(fifo.to_str().unwrap()).unwrap();
    // SAFETY: the name is a C string that outlives the call.
    assert_eq!(unsafe { libc::mkfifo(name.as_ptr(), 0o600) }, 0);
    let secret = folder.path().join("secret");
    std::fs::write(&secret, "x").unwrap();
    std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o000)).unwrap();
    let large = folder.path().join("large");
    std::fs::File::create(&large).unwrap().set_len(DOCUMENT_BYTES_MAX as u64 + 1).unwrap();
    let stage = stage(vec![
        file("/folder", folder.path(), LONG),
        file("/fifo", &fifo, LONG),
        file("/below", secret.join("x"), LONG),
        file("/secret", &secret, LONG),
        file("/large", &large, LONG),
    ])
    .await;
    for path in ["/folder", "/fifo", "/below"] {
        assert!(stage.ask(&get(path, "")).await.starts_with("HTTP/1.1 404 "), "{path}");
    }
    assert!(stage.ask(&get("/large", "")).await.starts_with("HTTP/1.1 502 "));
    // The superuser may read everything.
    if std::fs::read(&secret).is_err() {
        assert!(stage.ask(&get("/secret", "")).await.starts_with("HTTP/1.1 403 "));
    }
}

#[tokio::test]
async fn a_client_that_has_finished_sending_still_gets_its_document() {
    let origin = Origin::start(|_, _| hello("")).await;
    let stage = stage(vec![remote(&origin.url("/x"), Duration::ZERO)]).await;
    for _ in 0..5 {
        let mut socket = stage.connect().await;
        socket.write_all(get("/doc", "").as_bytes()).await.unwrap();
        socket.shutdown().await.unwrap();
        assert!(stage::read_to_end(&mut socket).await.ends_with("hello"));
    }
}
