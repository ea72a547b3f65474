//! Where the program listens: `host:port` as people write it, or a socket in the file system.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

use super::json::Value;
use super::reader::{Field, Section};

/// One place to listen at, and whether it speaks TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Where.
    pub address: ListenAddress,
    /// The certificate to present; `None` for plain HTTP.
    pub tls: Option<Tls>,
}

/// A certificate chain and its key, as PEM files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// The chain, the server's own certificate first.
    pub cert: PathBuf,
    /// The private key of the first certificate.
    pub key: PathBuf,
}

impl Listener {
    /// Reads `listen` and `tls` of the top.
    ///
    /// `listen` is one address or a list; an element is an address or `{ "address", "tls" }`. The `tls` of the top
    /// is for every TCP address that does not bring its own.
    pub(super) fn read(top: &mut Section<'_>) -> Vec<Listener> {
        let tls = top.section("tls").and_then(Tls::read);
        let Some(field) = top.take("listen") else {
            return vec![Listener::new(ListenAddress::standard(), None, tls.as_ref())];
        };
        let fields = match field.value() {
            Value::List(list) if list.is_empty() => {
                field.fails::<()>("is an empty list; name an address");
                return Vec::new();
            }
            Value::List(_) => field.list(),
            _ => vec![field],
        };
        let mut listeners: Vec<Listener> = Vec::new();
        for field in fields {
            let path = field.path().to_owned();
            let Some(listener) = Listener::read_one(field, tls.as_ref()) else { continue };
            if listeners.iter().any(|earlier| earlier.address == listener.address) {
                top.error(&path, format!("\"{}\" is listed twice", listener.address));
            }
            listeners.push(listener);
        }
        listeners
    }

    fn read_one(field: Field<'_>, shared: Option<&Tls>) -> Option<Listener> {
        if let Value::Text(text) = field.value() {
            return match text.parse() {
                Ok(address) => Some(Listener::new(address, None, shared)),
                Err(error) => field.fails(ListenError::to_string(&error)),
            };
        }
        if !matches!(field.value(), Value::Object(_)) {
            return field.wrong_type("an address like \":8000\", or an object with address and tls");
        }
        let mut section = field.section()?;
        let address = section.take("address");
        let own = section.section("tls").and_then(Tls::read);
        if address.is_none() {
            section.error("address", "is missing");
        }
        section.finish();
        let address = address?;
        match address.text()?.parse() {
            Ok(address) => Some(Listener::new(address, own, shared)),
            Err(error) => address.fails(ListenError::to_string(&error)),
        }
    }

    fn new(address: ListenAddress, own: Option<Tls>, shared: Option<&Tls>) -> Listener {
        let shared = shared.filter(|_| matches!(address, ListenAddress::Tcp { .. }));
        Listener { tls: own.or_else(|| shared.cloned()), address }
    }
}

impl Tls {
    fn read(mut section: Section<'_>) -> Option<Tls> {
        let [cert, key] = ["cert", "key"].map(|name| {
            let file = section.text(name);
            if file.is_none() {
                section.error(name, "is missing; it names a PEM file");
            }
            file
        });
        section.finish();
        Some(Tls { cert: cert?.into(), key: key?.into() })
    }
}

/// Where to listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListenAddress {
    /// TCP.
    Tcp {
        /// The local addresses.
        host: ListenHost,
        /// The port; 0 lets the system choose.
        port: u16,
    },
    /// A Unix domain stream socket at this path.
    Unix(PathBuf),
}

/// The local addresses that a listener takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListenHost {
    /// All of them, IPv4 and IPv6 (`:8000`).
    Any,
    /// 127.0.0.1 and, where the machine has IPv6, ::1 (`localhost:8000`).
    Localhost,
    /// This one.
    Address(IpAddr),
    /// Those that this name resolves to at start.
    Name(String),
}

/// Why a text is no place to listen at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListenError {
    /// There is no `:port`.
    NoPort(String),
    /// The port is neither a number up to 65535 nor a service that this machine knows.
    UnknownPort(String),
    /// An IPv6 address without brackets, or brackets around something else.
    BadBrackets(String),
    /// `unix:` without a path.
    NoPath,
}

impl ListenAddress {
    /// Where to listen when nothing is said: `localhost:http`.
    pub fn standard() -> ListenAddress {
        ListenAddress::Tcp { host: ListenHost::Localhost, port: HTTP_PORT }
    }

    /// Loopback, IPv4 only.
    pub fn loopback(port: u16) -> ListenAddress {
        ListenAddress::Tcp { host: ListenHost::Address(Ipv4Addr::LOCALHOST.into()), port }
    }

    /// The socket addresses to bind, or the name and port to resolve into them. Empty for a Unix socket.
    ///
    /// Of [`ListenHost::Any`] and [`ListenHost::Localhost`] the IPv6 address may be missing on a machine without
    /// IPv6; then the IPv4 address is enough.
    pub fn candidates(&self) -> Candidates<'_> {
        let pair = |v4: Ipv4Addr, v6: Ipv6Addr, port: u16| {
            Candidates::Addresses(vec![SocketAddr::new(v4.into(), port), SocketAddr::new(v6.into(), port)])
        };
        match self {
            ListenAddress::Unix(_) => Candidates::Addresses(Vec::new()),
            ListenAddress::Tcp { host: ListenHost::Any, port } => {
                pair(Ipv4Addr::UNSPECIFIED, Ipv6Addr::UNSPECIFIED, *port)
            }
            ListenAddress::Tcp { host: ListenHost::Localhost, port } => {
                pair(Ipv4Addr::LOCALHOST, Ipv6Addr::LOCALHOST, *port)
            }
            ListenAddress::Tcp { host: ListenHost::Address(ip), port } => {
                Candidates::Addresses(vec![SocketAddr::new(*ip, *port)])
            }
            ListenAddress::Tcp { host: ListenHost::Name(name), port } => Candidates::Name(name, *port),
        }
    }
}

/// What a listener binds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Candidates<'a> {
    /// These addresses.
    Addresses(Vec<SocketAddr>),
    /// What this name resolves to, with this port.
    Name(&'a str, u16),
}

impl FromStr for ListenAddress {
    type Err = ListenError;

    /// Accepts `host:port`, `:port`, `[v6]:port` and `unix:/path`; a port may be a service name. The empty text
    /// means all interfaces at the HTTP port.
    fn from_str(text: &str) -> Result<ListenAddress, ListenError> {
        if let Some(path) = text.strip_prefix("unix:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            return if path.is_empty() {
                Err(ListenError::NoPath)
            } else {
                Ok(ListenAddress::Unix(path.into()))
            };
        }
        if text.is_empty() {
            return Ok(ListenAddress::Tcp { host: ListenHost::Any, port: HTTP_PORT });
        }
        let (host, port) = text.rsplit_once(':').ok_or_else(|| ListenError::NoPort(text.to_owned()))?;
        let host = host_of(host).ok_or_else(|| ListenError::BadBrackets(text.to_owned()))?;
        let port = port_of(port).ok_or_else(|| ListenError::UnknownPort(port.to_owned()))?;
        Ok(ListenAddress::Tcp { host, port })
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ListenAddress::Unix(path) => write!(f, "unix:{}", path.display()),
            ListenAddress::Tcp { host, port } => match host {
                ListenHost::Any => write!(f, ":{port}"),
                ListenHost::Localhost => write!(f, "localhost:{port}"),
                ListenHost::Address(ip) => SocketAddr::new(*ip, *port).fmt(f),
                ListenHost::Name(name) => write!(f, "{name}:{port}"),
            },
        }
    }
}

impl fmt::Display for ListenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ListenError::NoPort(text) if text.bytes().all(|b| b.is_ascii_digit()) => {
                write!(
                    f,
                    "{text:?} has no host; write \":{text}\" for all interfaces or \"localhost:{text}\""
                )
            }
            ListenError::NoPort(text) => write!(f, "{text:?} has no port; write host:port"),
            ListenError::UnknownPort(port) => {
                write!(f, "{port:?} is neither a port (0 to 65535) nor a service name known here")
            }
            ListenError::BadBrackets(text) => {
                write!(f, "{text:?} is not host:port; an IPv6 address stands in brackets: \"[::1]:8000\"")
            }
            ListenError::NoPath => f.write_str("unix: needs the path of the socket"),
        }
    }
}

impl std::error::Error for ListenError {}

const HTTP_PORT: u16 = 80;

fn host_of(text: &str) -> Option<ListenHost> {
    if let Some(inside) = text.strip_prefix('[') {
        let address: Ipv6Addr = inside.strip_suffix(']')?.parse().ok()?;
        return Some(ListenHost::Address(address.into()));
    }
    if text.contains([':', '[', ']', '/', '@']) {
        return None;
    }
    Some(match text {
        "" => ListenHost::Any,
        _ if text.eq_ignore_ascii_case("localhost") => ListenHost::Localhost,
        _ => match text.parse::<Ipv4Addr>() {
            Ok(address) => ListenHost::Address(address.into()),
            Err(_) => ListenHost::Name(text.to_owned()),
        },
    })
}

/// A number or a service name; the common names are known even where there is no `/etc/services`.
fn port_of(text: &str) -> Option<u16> {
    if text.bytes().all(|b| b.is_ascii_digit()) {
        return text.parse().ok();
    }
    match text.to_ascii_lowercase().as_str() {
        "http" => Some(HTTP_PORT),
        "https" => Some(443),
        "http-alt" => Some(8080),
        name => service_port(&std::fs::read_to_string("/etc/services").unwrap_or_default(), name),
    }
}

/// Looks a TCP service up in text of the form of services(5).
fn service_port(services: &str, name: &str) -> Option<u16> {
    services.lines().find_map(|line| {
        let mut words = line.split('#').next()?.split_whitespace();
        let official = words.next()?;
        let port = words.next()?.strip_suffix("/tcp")?;
        let known = official == name || words.any(|alias| alias == name);
        if known { port.parse().ok() } else { None }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(host: ListenHost, port: u16) -> ListenAddress {
        ListenAddress::Tcp { host, port }
    }

    #[test]
    fn an_address_is_read_as_people_write_it() {
        let v6: IpAddr = "2001:db8::1".parse().unwrap();
        let table = [
            ("localhost:http", tcp(ListenHost::Localhost, 80)),
            ("Localhost:8000", tcp(ListenHost::Localhost, 8000)),
            (":8000", tcp(ListenHost::Any, 8000)),
            (":https", tcp(ListenHost::Any, 443)),
            ("", tcp(ListenHost::Any, 80)),
            ("0.0.0.0:0", tcp(ListenHost::Address(Ipv4Addr::UNSPECIFIED.into()), 0)),
            ("[2001:db8::1]:80", tcp(ListenHost::Address(v6), 80)),
            ("edge1.example:8080", tcp(ListenHost::Name("edge1.example".into()), 8080)),
            ("unix:/run/restreamer.sock", ListenAddress::Unix("/run/restreamer.sock".into())),
            ("unix:///run/restreamer.sock", ListenAddress::Unix("/run/restreamer.sock".into())),
        ];
        for (text, address) in table {
            assert_eq!(text.parse(), Ok(address), "{text}");
        }
    }

    #[test]
    fn a_bad_address_says_what_to_write() {
        let table = [
            ("8000", r#""8000" has no host; write ":8000" for all interfaces or "localhost:8000""#),
            ("localhost", r#""localhost" has no port; write host:port"#),
            ("localhost:htpp", r#""htpp" is neither a port (0 to 65535) nor a service name known here"#),
            (":65536", r#""65536" is neither a port (0 to 65535) nor a service name known here"#),
            ("::1", r#""::1" is not host:port; an IPv6 address stands in brackets: "[::1]:8000""#),
            (
                "http://:80",
                r#""http://:80" is not host:port; an IPv6 address stands in brackets: "[::1]:8000""#,
            ),
            ("unix:", "unix: needs the path of the socket"),
        ];
        for (text, message) in table {
            assert_eq!(text.parse::<ListenAddress>().unwrap_err().to_string(), message, "{text}");
        }
    }

    #[test]
    fn an_address_prints_as_it_can_be_read_again() {
        for text in ["localhost:80", ":8000", "[::1]:1", "127.0.0.1:8000", "edge:80", "unix:/run/x"] {
            assert_eq!(text.parse::<ListenAddress>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn localhost_and_the_empty_host_are_both_families() {
        let addresses = |text: &str| match text.parse::<ListenAddress>().unwrap().candidates() {
            Candidates::Addresses(list) => list.iter().map(ToString::to_string).collect::<Vec<_>>(),
            Candidates::Name(name, port) => vec![format!("{name}?{port}")],
        };
        assert_eq!(addresses("localhost:1"), ["127.0.0.1:1", "[::1]:1"]);
        assert_eq!(addresses(":1"), ["0.0.0.0:1", "[::]:1"]);
        assert_eq!(addresses("edge:1"), ["edge?1"]);
    }

    #[test]
    fn a_service_is_found_by_its_name_and_by_its_alias() {
        let services = "# comment\nfoo 7/udp\nfoo 8/tcp bar baz # note\nhttp 80/tcp www\n";
        assert_eq!(service_port(services, "foo"), Some(8));
        assert_eq!(service_port(services, "baz"), Some(8));
        assert_eq!(service_port(services, "www"), Some(80));
        assert_eq!(service_port(services, "note"), None);
    }
}
