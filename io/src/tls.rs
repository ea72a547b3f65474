//! The certificate of a listener, read from PEM files and read again when they change.

use std::fmt;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use rustls::ServerConfig;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio::time::{MissedTickBehavior, interval};
use tokio_rustls::TlsAcceptor;

/// How often the files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// Who a listener is: a certificate chain and its key.
#[derive(Debug)]
pub struct Identity {
    cert: PathBuf,
    key: PathBuf,
    provider: Arc<CryptoProvider>,
    current: RwLock<Arc<CertifiedKey>>,
    loaded: [Option<Fingerprint>; 2],
}

/// What changes when a file is written or replaced: device, inode, time in seconds and nanoseconds, length.
type Fingerprint = (u64, u64, i64, i64, u64);

/// Why an identity cannot be used. The fault is the operator's.
#[derive(Debug)]
pub enum IdentityError {
    /// A file cannot be read.
    Unreadable(PathBuf, io::Error),
    /// The file holds no certificate in PEM form.
    NoCertificate(PathBuf),
    /// The file holds no private key in PEM form.
    NoKey(PathBuf),
    /// The key does not belong to the certificate, or is of a kind that cannot be used.
    Mismatch(rustls::Error),
}

impl fmt::Display for IdentityError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            IdentityError::Unreadable(path, error) => write!(f, "cannot read {}: {error}", path.display()),
            IdentityError::NoCertificate(path) => {
                write!(f, "no PEM certificate in {}", path.display())
            }
            IdentityError::NoKey(path) => write!(f, "no PEM private key in {}", path.display()),
            IdentityError::Mismatch(error) => write!(f, "the key does not fit the certificate: {error}"),
        }
    }
}

impl std::error::Error for IdentityError {}

impl Identity {
    /// Reads a chain (the server's own certificate first) and the key of its first certificate.
    pub fn load(cert: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Result<Arc<Self>, IdentityError> {
        let (cert, key) = (cert.into(), key.into());
        let provider = Arc::new(ring::default_provider());
        // Before the files are read, so that no change in between is missed.
        let loaded = [&cert, &key].map(|path| fingerprint(path));
        let current = RwLock::new(read(&cert, &key, &provider)?);
        Ok(Arc::new(Identity { cert, key, provider, current, loaded }))
    }

    /// What speaks TLS as this identity. Connections begun after a change have the new certificate.
    pub fn acceptor(self: &Arc<Self>) -> TlsAcceptor {
        let mut config = ServerConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_safe_default_protocol_versions()
            .expect("the provider supports the default versions")
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(self) as Arc<dyn ResolvesServerCert>);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        TlsAcceptor::from(Arc::new(config))
    }

    /// Looks at the files from time to time and reads them again when they have changed, for as long as it is
    /// polled. Files that cannot be used change nothing: the identity stays what it was.
    pub async fn watch(self: Arc<Self>) {
        let mut looks = interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut seen = self.loaded;
        loop {
            looks.tick().await;
            let this = Arc::clone(&self);
            let looking = tokio::task::spawn_blocking(move || {
                let now = [&this.cert, &this.key].map(|path| fingerprint(path));
                ((seen != now).then(|| this.reload()), now)
            });
            let Ok((reloaded, now)) = looking.await else { continue };
            seen = now;
            match reloaded {
                None => {}
                Some(Ok(())) => tracing::info!(
                    module = "main",
                    event = "certificate_reloaded",
                    cert = %self.cert.display(),
                    "new connections get the changed certificate"
                ),
                Some(Err(error)) => tracing::error!(
                    module = "main",
                    event = "certificate_unusable",
                    cert = %self.cert.display(),
                    error = %error,
                    "the changed certificate is not used, the one before goes on"
                ),
            }
        }
    }

    /// Reads the files again now.
    pub fn reload(&self) -> Result<(), IdentityError> {
        let fresh = read(&self.cert, &self.key, &self.provider)?;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = fresh;
        Ok(())
    }
}

impl ResolvesServerCert for Identity {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner)))
    }
}

fn read(cert: &Path, key: &Path, provider: &CryptoProvider) -> Result<Arc<CertifiedKey>, IdentityError> {
    let text =
        |path: &Path| std::fs::read(path).map_err(|error| IdentityError::Unreadable(path.to_owned(), error));
    let chain: Result<Vec<_>, pem::Error> = CertificateDer::pem_slice_iter(&text(cert)?).collect();
    let chain = chain.ok().filter(|chain| !chain.is_empty());
    let chain = chain.ok_or_else(|| IdentityError::NoCertificate(cert.to_owned()))?;
    let private = PrivateKeyDer::from_pem_slice(&text(key)?);
    let private = private.map_err(|_| IdentityError::NoKey(key.to_owned()))?;
    CertifiedKey::from_der(chain, private, provider).map(Arc::new).map_err(IdentityError::Mismatch)
}

/// `None` while there is no such file.
fn fingerprint(path: &Path) -> Option<Fingerprint> {
    let metadata = std::fs::metadata(path).ok()?;
    let (mtime, nanos) = (metadata.mtime(), metadata.mtime_nsec());
    Some((metadata.dev(), metadata.ino(), mtime, nanos, metadata.len()))
}
