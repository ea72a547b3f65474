//! Who a server with TLS is.

use std::fs;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rcgen::{CertifiedKey, generate_simple_self_signed};

/// Writes a new certificate for localhost and its key: `cert.pem` and `key.pem` in `directory`.
pub(crate) fn certify(directory: &Path) {
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let pem = |label: &str, der: &[u8]| {
        format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", STANDARD.encode(der))
    };
    fs::write(directory.join("key.pem"), pem("PRIVATE KEY", &signing_key.serialize_der())).unwrap();
    fs::write(directory.join("cert.pem"), pem("CERTIFICATE", cert.der())).unwrap();
}
