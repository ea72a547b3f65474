//! Where a stream is: `http://host:port/path`, `tcp://host:port` or `udp://group:port`.

use std::fmt;
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream, ToSocketAddrs};
use std::str::FromStr;

use socket2::{Domain, Socket, Type};

/// A parsed and resolved address of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Where to connect.
    pub address: SocketAddr,
    host: String,
    /// Path and query of an HTTP URL; `None` for bare TCP.
    path: Option<String>,
}

/// Something that can be read without anybody watching.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A connection.
    Connection(Target),
    /// Datagrams that come to this address, which may be a multicast group on the loopback interface.
    Datagrams(SocketAddr),
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

    /// A connection on which the stream has been asked for; reading it does not wait.
    pub fn open(&self) -> io::Result<TcpStream> {
        let mut socket = TcpStream::connect(self.address)?;
        socket.write_all(&self.request())?;
        socket.set_nonblocking(true)?;
        Ok(socket)
    }

    /// Path and query of an HTTP URL; empty over bare TCP.
    pub fn path(&self) -> &str {
        self.path.as_deref().unwrap_or_default()
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

impl Origin {
    /// A socket of its own for the stream; reading it does not wait.
    pub fn open(&self) -> io::Result<Socket> {
        let address = match self {
            Origin::Connection(target) => return Ok(target.open()?.into()),
            Origin::Datagrams(address) => address,
        };
        let socket = Socket::new(Domain::for_address(*address), Type::DGRAM, None)?;
        socket.set_reuse_address(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&(*address).into())?;
        if let IpAddr::V4(group) = address.ip()
            && group.is_multicast()
        {
            socket.join_multicast_v4(&group, &Ipv4Addr::LOCALHOST)?;
        }
        Ok(socket)
    }
}

impl FromStr for Origin {
    type Err = String;

    fn from_str(url: &str) -> Result<Origin, String> {
        match url.strip_prefix("udp://") {
            None => Ok(Origin::Connection(url.parse()?)),
            Some(address) => resolve(address.strip_prefix('@').unwrap_or(address))
                .map(Origin::Datagrams)
                .map_err(|error| format!("{url}: {error}")),
        }
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
    fn an_origin_is_a_connection_or_where_datagrams_come() {
        let group = "239.255.1.1:5000".parse().unwrap();
        assert_eq!("udp://@239.255.1.1:5000".parse(), Ok(Origin::Datagrams(group)));
        let target: Target = "tcp://127.0.0.1:9000".parse().unwrap();
        assert_eq!("tcp://127.0.0.1:9000".parse(), Ok(Origin::Connection(target)));
        assert!("udp://127.0.0.1".parse::<Origin>().unwrap_err().contains("udp://127.0.0.1"));
    }

    #[test]
    fn anything_else_is_refused() {
        for url in ["", "127.0.0.1:80", "https://127.0.0.1/", "tcp://127.0.0.1:9000/x", "tcp://127.0.0.1"] {
            assert!(url.parse::<Target>().is_err(), "{url}");
        }
    }
}
