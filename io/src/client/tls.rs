//! TLS towards servers, checked against the system's roots.

use std::io;
use std::sync::Arc;

use restreamer_core::{CloseCause, CloseKind};
use rustls::crypto::ring;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::OnceCell;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// The system's roots, read once per process when they are first needed.
static SYSTEM: OnceCell<Arc<ClientConfig>> = OnceCell::const_new();

/// Whose certificates are believed: by default those that the system trusts.
#[derive(Clone, Debug, Default)]
pub struct Tls {
    config: Option<Arc<ClientConfig>>,
}

impl Tls {
    /// Believes exactly the certificates that `roots` vouch for.
    pub fn trusting(roots: RootCertStore) -> Self {
        Tls { config: Some(config(roots)) }
    }

    /// A TLS session with the server called `host` over `stream`.
    pub(crate) async fn connect<S>(&self, host: &str, stream: S) -> Result<TlsStream<S>, CloseCause>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let config = match &self.config {
            Some(config) => config,
            None => SYSTEM.get_or_try_init(load_system).await?,
        };
        let name = ServerName::try_from(host.to_owned())
            .map_err(|_| CloseCause::new(CloseKind::Config, &format!("{host} cannot have a certificate")))?;
        let session = TlsConnector::from(Arc::clone(config)).connect(name, stream).await;
        session.map_err(|error| failure(host, &error))
    }
}

async fn load_system() -> Result<Arc<ClientConfig>, CloseCause> {
    // Some hundred small files.
    let loaded = tokio::task::spawn_blocking(rustls_native_certs::load_native_certs).await;
    let found = loaded.map_err(|error| CloseCause::new(CloseKind::Io, &error.to_string()))?;
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        let detail = "the system has no trusted certificates: install them (package ca-certificates) or set SSL_CERT_FILE";
        return Err(CloseCause::new(CloseKind::Config, detail));
    }
    Ok(config(roots))
}

fn config(roots: RootCertStore) -> Arc<ClientConfig> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.expect("ring supports the default protocol versions");
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Arc::new(config)
}

fn failure(host: &str, error: &io::Error) -> CloseCause {
    let cause = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match cause {
        Some(rustls::Error::InvalidCertificate(reason)) => {
            let detail = format!("the certificate of {host} is not valid: {reason}");
            CloseCause::new(CloseKind::Refused, &detail)
        }
        _ => CloseCause::new(CloseKind::Io, &format!("no TLS session with {host}: {error}")),
    }
}
