//! Where a stream is: `http://host:port/path` or `tcp://host:port`.

use std::fmt;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::str::FromStr;

/// A parsed and resolved address of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Where to connect.
    pub address: SocketAddr,
    host: String,
    /// Path and query of an HTTP URL; `None` for bare TCP.
    path: Option<String>,
}

impl Target {
    /// The target `http://address/path`.
    pub fn http(address: SocketAddr, path: &str) -> Target {
        Target { address, host: address.to_string(), path: Some(path.to_owned()) }
    }

    /// The target `tcp://address`.
    pub fn tcp(address: SocketAddr) -> Target {
        Target { address, host: address.to_string(), path: None }
    }

    /// What to send first; nothing over bare TCP.
    pub fn request(&self) -> Vec<u8> {
        let Some(path) = &self.path else { return Vec::new() };
        let host = &self.host;
        format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: restreamer-load\r\nAccept: */*\r\n\r\n")
            .into()
    }

    /// Whether an answer with a head is to be expected.
    pub fn is_http(&self) -> bool {
        self.path.is_some()
    }
}

impl FromStr for Target {
    type Err = String;

    fn from_str(url: &str) -> Result<Target, String> {
        let wrong = || format!("{url}: neither http://host:port/path nor tcp://host:port");
        let (scheme, rest) = url.split_once("://").ok_or_else(wrong)?;
        let (host, path) = match (scheme, rest.find('/')) {
            ("http", Some(slash)) => (&rest[..slash], Some(rest[slash..].to_owned())),
            ("http", None) => (rest, Some("/".to_owned())),
            ("tcp", None) => (rest, None),
            _ => return Err(wrong()),
        };
        let has_port = host.rsplit(']').next().is_some_and(|port| port.contains(':'));
        let with_port = if scheme == "http" && !has_port { format!("{host}:80") } else { host.to_owned() };
        let address = resolve(&with_port).map_err(|error| format!("{url}: {error}"))?;
        Ok(Target { address, host: host.to_owned(), path })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.path {
            Some(path) => write!(f, "http://{}{path}", self.host),
            None => write!(f, "tcp://{}", self.host),
        }
    }
}

fn resolve(host: &str) -> io::Result<SocketAddr> {
    host.to_socket_addrs()?.next().ok_or_else(|| io::ErrorKind::AddrNotAvailable.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_both_kinds_are_read_and_shown_again() {
        for (url, port, path) in [
            ("http://127.0.0.1:8000/s.ts?a=b", 8000, Some("/s.ts?a=b")),
            ("http://127.0.0.1", 80, Some("/")),
            ("http://[::1]:81/", 81, Some("/")),
            ("tcp://127.0.0.1:9000", 9000, None),
        ] {
            let target: Target = url.parse().unwrap();
            assert_eq!((target.address.port(), target.path.as_deref()), (port, path), "{url}");
            assert!(target.to_string().starts_with(url));
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for url in ["", "127.0.0.1:80", "https://127.0.0.1/", "tcp://127.0.0.1:9000/x", "tcp://127.0.0.1"] {
            assert!(url.parse::<Target>().is_err(), "{url}");
        }
    }
}
