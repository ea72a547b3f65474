use std::time::Duration;

use restreamer_core::CloseKind;
use restreamer_io::client::Proxies;
use restreamer_io::ingest::SourceOptions;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::recorder::{Running, within};

/// A server that answers one request per connection with bytes from the test.
struct Server {
    listener: TcpListener,
    port: u16,
}

impl Server {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        Server { listener, port }
    }

    fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// The head of the next request, after `answer` has been sent.
    async fn answer(&self, answer: &str) -> (String, TcpStream) {
        within(async {
            let (mut peer, _) = self.listener.accept().await.unwrap();
            let head = read_head(&mut peer).await;
            peer.write_all(answer.as_bytes()).await.unwrap();
            (head, peer)
        })
        .await
    }
}

/// Everything up to the empty line.
pub(crate) async fn read_head(peer: &mut (impl AsyncReadExt + Unpin)) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(peer.read_u8().await.unwrap());
    }
    String::from_utf8(head).unwrap()
}

#[tokio::test]
async fn the_body_is_the_stream() {
    let server = Server::start().await;
    let mut running = Running::start(&server.url("/live.ts?a=b").replace("//", "//us%40er:pass@"));
    let (head, mut peer) = server.answer("HTTP/1.0 200 OK\r\nContent-Type: video/mpeg\r\n\r\n").await;
    running.connected().await;
    peer.write_all(&[0x47; 188]).await.unwrap();
    assert_eq!(running.bytes(188).await, [0x47; 188]);
    drop(peer);
    assert_eq!(running.end().await.1.kind, CloseKind::Ended);

    assert!(head.starts_with("GET /live.ts?a=b HTTP/1.1\r\n"), "{head}");
    let lower = head.to_ascii_lowercase();
    assert!(lower.contains(&format!("host: 127.0.0.1:{}\r\n", server.port)), "{head}");
    assert!(lower.contains("accept-encoding: identity\r\n"), "{head}");
    assert!(lower.contains(concat!("user-agent: restreamer/", env!("CARGO_PKG_VERSION"), "\r\n")), "{head}");
    assert!(head.contains("Basic dXNAZXI6cGFzcw==\r\n"), "{head}");
}

#[tokio::test]
async fn chunks_come_without_their_framing_and_a_torn_body_is_an_error() {
    let server = Server::start().await;
    let mut running = Running::start(&server.url("/"));
    let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nGab\r\n2;x=y\r\ncd\r\n";
    let (_, peer) = server.answer(head).await;
    assert_eq!(running.bytes(5).await, b"Gabcd");
    drop(peer);
    assert_eq!(running.end().await.1.kind, CloseKind::Io);
}

#[tokio::test]
async fn a_404_page_is_no_stream() {
    let server = Server::start().await;
    let running = Running::start(&server.url("/"));
    let _peer = server.answer("HTTP/1.1 404 Not Found\r\nContent-Length: 3\r\n\r\nGGG").await;
    let (bytes, cause) = running.end().await;
    assert!(bytes.is_empty());
    assert_eq!(cause.kind, CloseKind::Refused);
    assert_eq!(cause.to_string(), "the server answered 404 Not Found");
}

#[tokio::test]
async fn a_web_page_with_status_200_is_no_stream() {
    let server = Server::start().await;
    let running = Running::start(&server.url("/"));
    let _peer = server.answer("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n<html>").await;
    let (bytes, cause) = running.end().await;
    assert!(bytes.is_empty());
    assert_eq!(cause.kind, CloseKind::NotAStream);
}

#[tokio::test]
async fn a_redirect_is_followed_and_credentials_stay_behind() {
    let (first, second) = (Server::start().await, Server::start().await);
    let mut running = Running::start(&first.url("/a/b").replace("//", "//user:pass@"));
    let (head, _) = first.answer("HTTP/1.1 302 Found\r\nLocation: c?d\r\nContent-Length: 0\r\n\r\n").await;
    assert!(head.contains("Basic "), "{head}");
    let away = format!("HTTP/1.1 307 Temporary Redirect\r\nLocation: {}\r\n\r\n", second.url("/live"));
    let (head, _) = first.answer(&away).await;
    assert!(head.starts_with("GET /a/c?d ") && head.contains("Basic "), "{head}");
    let (head, _peer) = second.answer("HTTP/1.1 200 OK\r\n\r\nG").await;
    assert!(head.starts_with("GET /live ") && !head.contains("Basic "), "{head}");
    assert_eq!(running.bytes(1).await, b"G");
}

#[tokio::test]
async fn a_redirect_loop_ends() {
    let server = Server::start().await;
    let running = Running::start(&server.url("/"));
    for _ in 0..=restreamer_io::client::REDIRECTS_MAX {
        server.answer("HTTP/1.1 301 Moved\r\nLocation: /\r\nContent-Length: 0\r\n\r\n").await;
    }
    let cause = running.end().await.1;
    assert_eq!((cause.kind, &*cause.detail), (CloseKind::Refused, "more than 10 redirects"));
}

#[tokio::test]
async fn a_server_that_never_answers_meets_the_timeout() {
    let server = Server::start().await;
    let options =
        SourceOptions { connect_timeout: Some(Duration::from_millis(50)), ..SourceOptions::default() };
    let running = Running::with(&server.url("/"), &options);
    let (_peer, _) = within(server.listener.accept()).await.unwrap();
    let cause = running.end().await.1;
    assert_eq!(cause.kind, CloseKind::Timeout);
    assert_eq!(cause.to_string(), format!("waited 50ms for 127.0.0.1:{} to answer", server.port));
}

#[tokio::test]
async fn a_proxy_gets_the_whole_url_and_its_own_credentials() {
    let proxy = Server::start().await;
    let environment = format!("http://pro:xy@127.0.0.1:{}", proxy.port);
    let proxies = Proxies::from_variables(|name| (name == "http_proxy").then(|| environment.clone()));
    let options = SourceOptions { proxies, ..SourceOptions::default() };
    let mut running = Running::with("http://stream.test:8080/live?x", &options);
    let (head, _peer) = proxy.answer("HTTP/1.1 200 OK\r\n\r\nG").await;
    assert!(head.starts_with("GET http://stream.test:8080/live?x HTTP/1.1\r\n"), "{head}");
    assert!(head.to_ascii_lowercase().contains("host: stream.test:8080\r\n"), "{head}");
    assert!(head.to_ascii_lowercase().contains("proxy-authorization: basic "), "{head}");
    assert_eq!(running.bytes(1).await, b"G");
}

#[tokio::test]
async fn a_proxy_that_refuses_a_tunnel_is_named() {
    let proxy = Server::start().await;
    let environment = format!("pro:xy@127.0.0.1:{}", proxy.port);
    let proxies = Proxies::from_variables(|name| (name == "HTTPS_PROXY").then(|| environment.clone()));
    let options = SourceOptions { proxies, ..SourceOptions::default() };
    let running = Running::with("https://stream.test/live", &options);
    let (head, _peer) = proxy.answer("HTTP/1.1 403 Forbidden\r\n\r\n").await;
    assert!(head.starts_with("CONNECT stream.test:443 HTTP/1.1\r\n"), "{head}");
    let cause = running.end().await.1;
    assert_eq!(cause.kind, CloseKind::Refused);
    let text = format!("the proxy 127.0.0.1:{} answered status 403 to CONNECT", proxy.port);
    assert_eq!(cause.to_string(), text);
}
