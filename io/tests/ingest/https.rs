use std::sync::Arc;

use rcgen::{CertifiedKey, generate_simple_self_signed};
use restreamer_core::CloseKind;
use restreamer_io::client::{Proxies, Tls};
use restreamer_io::ingest::SourceOptions;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{RootCertStore, ServerConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::http::read_head;
use crate::recorder::{Running, within};

/// A server with a certificate of its own making.
struct Server {
    listener: TcpListener,
    port: u16,
    certificate: CertificateDer<'static>,
    acceptor: TlsAcceptor,
}

impl Server {
    async fn start(names: &[&str]) -> Self {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let CertifiedKey { cert, signing_key } = generate_simple_self_signed(names).unwrap();
        let certificate = cert.der().clone();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![certificate.clone()],
                PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap(),
            )
            .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        Server { listener, port, certificate, acceptor: TlsAcceptor::from(Arc::new(config)) }
    }

    fn believed(&self) -> SourceOptions {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).unwrap();
        SourceOptions { tls: Tls::trusting(roots), ..SourceOptions::default() }
    }

    /// Answers one request on `peer`, and ends the session properly.
    async fn serve(&self, peer: TcpStream) -> String {
        let mut session = self.acceptor.accept(peer).await.unwrap();
        let head = read_head(&mut session).await;
        session.write_all(b"HTTP/1.1 200 OK\r\n\r\nGab").await.unwrap();
        session.shutdown().await.unwrap();
        // Until the client closes as well.
        session.read_to_end(&mut Vec::new()).await.ok();
        head
    }
}

#[tokio::test]
async fn a_believed_server_streams() {
    let server = Server::start(&["localhost"]).await;
    let running = Running::with(&format!("https://localhost:{}/live", server.port), &server.believed());
    let head = within(async {
        let (peer, _) = server.listener.accept().await.unwrap();
        server.serve(peer).await
    });
    let (head, (bytes, cause)) = tokio::join!(head, running.end());
    assert!(head.starts_with("GET /live HTTP/1.1\r\n"), "{head}");
    assert_eq!(bytes, b"Gab");
    assert_eq!(cause.kind, CloseKind::Ended, "{cause}");
}

#[tokio::test]
async fn a_certificate_for_another_name_or_of_an_unknown_issuer_is_refused() {
    let server = Server::start(&["other.test"]).await;
    for options in [server.believed(), SourceOptions::default()] {
        let running = Running::with(&format!("https://127.0.0.1:{}/", server.port), &options);
        let (peer, _) = within(server.listener.accept()).await.unwrap();
        let (session, (bytes, cause)) = tokio::join!(server.acceptor.accept(peer), running.end());
        assert!(session.is_err());
        assert!(bytes.is_empty());
        assert_eq!(cause.kind, CloseKind::Refused, "{cause}");
        assert!(cause.detail.starts_with("the certificate of 127.0.0.1 is not valid: "), "{cause}");
    }
}

#[tokio::test]
async fn a_tunnel_through_a_proxy_ends_at_the_server_and_not_at_the_proxy() {
    let server = Server::start(&["stream.test"]).await;
    let proxy = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let environment = format!("http://pro:xy@{}", proxy.local_addr().unwrap());
    let proxies = Proxies::from_variables(|name| (name == "https_proxy").then(|| environment.clone()));
    let options = SourceOptions { proxies, ..server.believed() };
    let running = Running::with("https://user:pass@stream.test/live", &options);

    let heads = within(async {
        let (mut peer, _) = proxy.accept().await.unwrap();
        let connect = read_head(&mut peer).await;
        peer.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await.unwrap();
        // From here on the proxy would copy bytes; the server takes its place.
        (connect, server.serve(peer).await)
    });
    let ((connect, get), (bytes, cause)) = tokio::join!(heads, running.end());
    assert!(connect.starts_with("CONNECT stream.test:443 HTTP/1.1\r\n"), "{connect}");
    let lower = connect.to_ascii_lowercase();
    assert!(lower.contains("proxy-authorization: basic ") && !lower.contains("\nauthorization"), "{connect}");
    assert!(get.starts_with("GET /live HTTP/1.1\r\n"), "{get}");
    let lower = get.to_ascii_lowercase();
    assert!(lower.contains("\nauthorization: basic ") && !lower.contains("proxy-"), "{get}");
    assert_eq!((&bytes[..], cause.kind), (&b"Gab"[..], CloseKind::Ended), "{cause}");
}
