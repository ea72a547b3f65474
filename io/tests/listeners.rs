//! The same answers over domain sockets and over TLS, and certificates that change under way.

mod stage;

use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use restreamer_core::AdmissionLimits;
use restreamer_io::answer::StreamFace;
use restreamer_io::net::{ListenOptions, Net, TokioNet};
use restreamer_io::server::Listener;
use restreamer_io::tls::{Identity, IdentityError};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use stage::{Stage, read_to_end, stream};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

const GET: &[u8] = b"GET /live.ts HTTP/1.1\r\nHost: a\r\n\r\n";

fn open(listener: Listener<TokioNet>, address: std::net::SocketAddr) -> Stage {
    let resources = vec![stream("/live.ts", 0, StreamFace::default())];
    Stage::open_on(TokioNet, listener, address, AdmissionLimits::default(), resources)
}

async fn open_secure(identity: &Arc<Identity>) -> Stage {
    let tcp = TokioNet.listen(([127, 0, 0, 1], 0).into(), ListenOptions::default()).await.unwrap();
    let address = TokioNet.local_addr(&tcp).unwrap();
    open(Listener::Secure(Box::new(Listener::Tcp(tcp)), identity.acceptor()), address)
}

/// Writes a new certificate and its key, and returns the certificate.
fn write_identity(folder: &Path) -> CertificateDer<'static> {
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    std::fs::write(folder.join("cert.pem"), pem("CERTIFICATE", cert.der())).unwrap();
    std::fs::write(folder.join("key.pem"), pem("PRIVATE KEY", &signing_key.serialize_der())).unwrap();
    cert.der().clone()
}

fn pem(label: &str, der: &[u8]) -> String {
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", STANDARD.encode(der))
}

fn load(folder: &Path) -> Result<Arc<Identity>, IdentityError> {
    Identity::load(folder.join("cert.pem"), folder.join("key.pem"))
}

async fn connect<S: AsyncRead + AsyncWrite + Unpin>(
    transport: S,
    trusted: &CertificateDer<'static>,
) -> std::io::Result<TlsStream<S>> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("localhost").unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, transport).await
}

fn assert_streams(answer: &str) {
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\nContent-Type: video/mpeg\r\n"), "{answer}");
    assert!(answer.ends_with("\r\n\r\n[packet]"), "{answer}");
}

#[tokio::test]
async fn a_stream_is_served_over_tls() {
    let folder = tempfile::tempdir().unwrap();
    let certificate = write_identity(folder.path());
    let stage = open_secure(&load(folder.path()).unwrap()).await;
    let transport = TcpStream::connect(stage.address).await.unwrap();
    let mut session = connect(transport, &certificate).await.unwrap();
    session.write_all(GET).await.unwrap();
    assert_streams(&read_to_end(&mut session).await);
}

#[tokio::test]
async fn plain_http_on_a_tls_listener_gets_nothing_and_disturbs_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let certificate = write_identity(folder.path());
    let stage = open_secure(&load(folder.path()).unwrap()).await;
    let _silent = stage.connect().await;
    let mut plain = stage.connect().await;
    plain.write_all(GET).await.unwrap();
    let mut answer = Vec::new();
    let _ = tokio::io::copy(&mut plain, &mut answer).await;
    assert!(!answer.starts_with(b"HTTP"));
    let transport = TcpStream::connect(stage.address).await.unwrap();
    connect(transport, &certificate).await.unwrap();
}

#[tokio::test]
async fn a_changed_certificate_is_used_and_a_broken_one_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let first = write_identity(folder.path());
    let identity = load(folder.path()).unwrap();
    let stage = open_secure(&identity).await;
    let believes = async |certificate: &CertificateDer<'static>| {
        let transport = TcpStream::connect(stage.address).await.unwrap();
        connect(transport, certificate).await.is_ok()
    };
    let second = write_identity(folder.path());
    assert!(believes(&first).await && !believes(&second).await);
    identity.reload().unwrap();
    assert!(!believes(&first).await && believes(&second).await);
    let key = std::fs::read(folder.path().join("key.pem")).unwrap();
    write_identity(folder.path());
    std::fs::write(folder.path().join("key.pem"), key).unwrap();
    assert!(matches!(identity.reload(), Err(IdentityError::Mismatch(_))));
    assert!(believes(&second).await);
}

#[tokio::test(start_paused = true)]
async fn the_files_are_watched() {
    let folder = tempfile::tempdir().unwrap();
    write_identity(folder.path());
    let identity = load(folder.path()).unwrap();
    tokio::spawn(Arc::clone(&identity).watch());
    let stage = open_secure(&identity).await;
    let second = write_identity(folder.path());
    let believes = async || {
        let transport = TcpStream::connect(stage.address).await.unwrap();
        connect(transport, &second).await.is_ok()
    };
    // Virtual time: each turn is a look at the files.
    for _ in 0..100 {
        if believes().await {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_secs(10)).await;
    }
    panic!("the new certificate was never used");
}

#[test]
fn an_identity_says_what_is_wrong_with_it() {
    let folder = tempfile::tempdir().unwrap();
    assert!(matches!(load(folder.path()), Err(IdentityError::Unreadable(..))));
    write_identity(folder.path());
    std::fs::write(folder.path().join("key.pem"), "no key").unwrap();
    let error = load(folder.path()).unwrap_err();
    assert!(error.to_string().starts_with("no PEM private key in /"), "{error}");
    std::fs::write(folder.path().join("cert.pem"), "").unwrap();
    assert!(matches!(load(folder.path()), Err(IdentityError::NoCertificate(_))));
}

#[tokio::test]
async fn a_stream_is_served_over_a_domain_socket() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    // What a process that was killed leaves behind.
    drop(UnixListener::bind(&path).unwrap());
    let _stage = open(Listener::bind_unix(&path).unwrap(), ([0, 0, 0, 0], 0).into());
    let mut client = UnixStream::connect(&path).await.unwrap();
    client.write_all(GET).await.unwrap();
    assert_streams(&read_to_end(&mut client).await);
    let again = Listener::<TokioNet>::bind_unix(&path).map(drop).unwrap_err();
    assert_eq!(again.kind(), std::io::ErrorKind::AddrInUse);
}

#[tokio::test]
async fn tls_works_over_a_domain_socket_and_a_plain_file_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let certificate = write_identity(folder.path());
    let file = folder.path().join("cert.pem");
    assert!(Listener::<TokioNet>::bind_unix(&file).is_err() && file.exists());
    let path = folder.path().join("socket");
    let unix = Box::new(Listener::bind_unix(&path).unwrap());
    let acceptor = load(folder.path()).unwrap().acceptor();
    let _stage = open(Listener::Secure(unix, acceptor), ([0, 0, 0, 0], 0).into());
    let mut session = connect(UnixStream::connect(&path).await.unwrap(), &certificate).await.unwrap();
    session.write_all(GET).await.unwrap();
    assert_streams(&read_to_end(&mut session).await);
}
