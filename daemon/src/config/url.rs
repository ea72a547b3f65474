//! A URL of the file: its scheme is known, its shape is right, and its credentials do not print.

use std::fmt;

use super::reader::unknown_word;

/// A checked URL. What prints it, leaves the user-info out.
#[derive(Clone, PartialEq, Eq)]
pub struct Url {
    scheme: Scheme,
    text: Box<str>,
}

/// The schemes that a configuration may name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)] // each is its own name
pub enum Scheme {
    Http,
    Https,
    File,
    Tcp,
    Udp,
    Rtp,
    Unix,
    Unixgram,
    Unixpacket,
    Fork,
}

impl Scheme {
    /// Every scheme a stream may have as its source.
    pub const SOURCES: [Scheme; 10] = [
        Scheme::Http,
        Scheme::Https,
        Scheme::File,
        Scheme::Tcp,
        Scheme::Udp,
        Scheme::Rtp,
        Scheme::Unix,
        Scheme::Unixgram,
        Scheme::Unixpacket,
        Scheme::Fork,
    ];

    /// The scheme as it stands in a URL, lower case.
    pub fn name(self) -> &'static str {
        match self {
            Scheme::Http => "http",
            Scheme::Https => "https",
            Scheme::File => "file",
            Scheme::Tcp => "tcp",
            Scheme::Udp => "udp",
            Scheme::Rtp => "rtp",
            Scheme::Unix => "unix",
            Scheme::Unixgram => "unixgram",
            Scheme::Unixpacket => "unixpacket",
            Scheme::Fork => "fork",
        }
    }
}

impl Url {
    /// Reads a URL whose scheme is one of `schemes`. The error says what is wrong, without credentials.
    pub fn parse(text: &str, schemes: &[Scheme]) -> Result<Url, String> {
        let shown = Redacted(text);
        let Some((name, rest)) = text.split_once("://") else {
            return Err(format!("{shown} is not a URL; write scheme://…"));
        };
        let scheme = name.to_ascii_lowercase();
        let Some(scheme) = schemes.iter().copied().find(|known| known.name() == scheme) else {
            let names: Vec<_> = schemes.iter().map(|scheme| scheme.name()).collect();
            return Err(format!("{shown}: scheme {}", unknown_word(name, names.into_iter())));
        };
        if text.chars().any(char::is_control) {
            return Err(format!("{shown}: control characters have no place in a URL"));
        }
        match check_shape(scheme, rest) {
            Ok(()) => Ok(Url { scheme, text: text.into() }),
            Err(wrong) => Err(format!("{shown}: {wrong}")),
        }
    }

    /// The scheme.
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// The URL as configured, with its credentials: for the one place that connects.
    pub fn reveal(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rest = &self.text[self.scheme.name().len() + "://".len()..];
        let (authority, path) = rest.split_at(authority_end(rest));
        let shown = match self.scheme {
            Scheme::Http | Scheme::Https | Scheme::Tcp => authority.rsplit('@').next().unwrap_or(authority),
            // What stands before the `@` of a multicast URL is the address of a source.
            _ => authority,
        };
        write!(f, "{}://{shown}{path}", self.scheme.name())
    }
}

impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.to_string())
    }
}

/// Text that was meant to be a URL, quoted for a message; everything before an `@` is left out, because nothing is
/// known about the rest.
struct Redacted<'t>(&'t str);

impl fmt::Display for Redacted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, rest) = match self.0.split_once("://") {
            Some((scheme, rest)) => (format!("{scheme}://"), rest),
            None => (String::new(), self.0),
        };
        let kept = rest.rsplit('@').next().unwrap_or(rest);
        write!(f, "{:?}", format!("{scheme}{kept}"))
    }
}

fn authority_end(rest: &str) -> usize {
    rest.find(['/', '?', '#']).unwrap_or(rest.len())
}

fn check_shape(scheme: Scheme, rest: &str) -> Result<(), String> {
    let (authority, path) = rest.split_at(authority_end(rest));
    match scheme {
        Scheme::Http | Scheme::Https => {
            let host_port = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
            let (host, port) = split_port(host_port)?;
            if host.is_empty() {
                return Err("the host is missing".to_owned());
            }
            if rest.contains(' ') {
                return Err("a space must be written as %20".to_owned());
            }
            // What looks like a port may be half a password with an unescaped slash in it.
            port.map_or(Ok(()), check_port).map_err(|error| {
                if path.contains('@') { "a / before the @ must be written as %2F".to_owned() } else { error }
            })
        }
        Scheme::Tcp => {
            let (host, port) = split_port(authority)?;
            if host.is_empty() {
                return Err("the host is missing".to_owned());
            }
            check_port(port.ok_or("the port is missing")?)
        }
        Scheme::Udp | Scheme::Rtp => {
            let (source, group) = authority.rsplit_once('@').unwrap_or(("", authority));
            if !source.is_empty() && source.trim_matches(['[', ']']).parse::<std::net::IpAddr>().is_err() {
                return Err("what stands before the @ is not an IP address".to_owned());
            }
            let (_, port) = split_port(group)?;
            check_port(port.ok_or("the port is missing")?)
        }
        Scheme::File | Scheme::Unix | Scheme::Unixgram | Scheme::Unixpacket => match authority {
            "" | "localhost" if path.len() > 1 => Ok(()),
            "" | "localhost" => Err("the path is missing".to_owned()),
            _ => Err(format!("a path begins with a third slash: {}:///{rest}", scheme.name())),
        },
        Scheme::Fork if authority.is_empty() && path.split('?').next().is_none_or(|path| path.len() <= 1) => {
            Err("the command is missing".to_owned())
        }
        Scheme::Fork => Ok(()),
    }
}

/// Splits `host:port`; an IPv6 address stands in brackets.
fn split_port(text: &str) -> Result<(&str, Option<&str>), String> {
    if let Some(inside) = text.strip_prefix('[') {
        let (address, port) = inside.split_once(']').ok_or("the bracket is not closed")?;
        let address_only = address.split('%').next().unwrap_or(address);
        if address_only.parse::<std::net::Ipv6Addr>().is_err() {
            return Err(format!("[{address}] is not an IPv6 address"));
        }
        return match port {
            "" => Ok((address, None)),
            _ => Ok((address, Some(port.strip_prefix(':').ok_or("only a port may follow the bracket")?))),
        };
    }
    match text.rsplit_once(':') {
        Some((host, _)) if host.contains(':') => Err("an IPv6 address stands in brackets".to_owned()),
        Some((host, port)) => Ok((host, Some(port))),
        None => Ok((text, None)),
    }
}

fn check_port(text: &str) -> Result<(), String> {
    match text.parse::<u16>() {
        Ok(port) if port > 0 && text.bytes().all(|b| b.is_ascii_digit()) => Ok(()),
        _ => Err(format!("{text:?} is not a port (1 to 65535)")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_scheme_is_read_in_each_of_its_forms() {
        let table = [
            "http://origin.example/news.ts",
            "HTTP://user:pass@[2001:db8::1]:8080/news.ts?x=1",
            "https://origin.example",
            "file:///srv/loop.ts",
            "file://localhost/srv/loop.ts",
            "tcp://origin.example:5000",
            "udp://239.1.1.1:5000",
            "udp://@239.1.1.1:5000",
            "udp://192.0.2.7@232.1.1.1:5000",
            "udp://:5000",
            "udp://[ff15::1]:5000",
            "rtp://@239.1.1.1:5000",
            "unix:///run/ts.sock",
            "unixgram:///run/ts.sock",
            "unixpacket:///run/ts.sock",
            "fork:///usr/bin/ffmpeg?-i+x%20y.ts",
            "fork://ffmpeg?-i+x.ts",
        ];
        for text in table {
            let url = Url::parse(text, &Scheme::SOURCES).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(url.reveal(), text);
        }
    }

    #[test]
    fn a_bad_url_says_what_is_wrong_and_keeps_the_password_to_itself() {
        let table = [
            ("", r#""" is not a URL; write scheme://…"#),
            ("/srv/x.ts", r#""/srv/x.ts" is not a URL; write scheme://…"#),
            ("user:hunter2@host/x", r#""host/x" is not a URL; write scheme://…"#),
            ("htpp://u:hunter2@host/x", r#""htpp://host/x": scheme unknown "htpp": did you mean http?"#),
            ("http://u:hunter2@:80/", r#""http://:80/": the host is missing"#),
            ("http://u:hun/ter2@host:x/", r#""http://host:x/": a / before the @ must be written as %2F"#),
            ("http://host:0/", r#""http://host:0/": "0" is not a port (1 to 65535)"#),
            ("http://a b/", r#""http://a b/": a space must be written as %20"#),
            ("tcp://host", r#""tcp://host": the port is missing"#),
            ("udp://239.1.1.1", r#""udp://239.1.1.1": the port is missing"#),
            ("udp://me@239.1.1.1:1", r#""udp://239.1.1.1:1": what stands before the @ is not an IP address"#),
            ("udp://ff15::1:5000", r#""udp://ff15::1:5000": an IPv6 address stands in brackets"#),
            ("udp://[ff15::g]:5000", r#""udp://[ff15::g]:5000": [ff15::g] is not an IPv6 address"#),
            ("file://srv/x.ts", r#""file://srv/x.ts": a path begins with a third slash: file:///srv/x.ts"#),
            ("file:///", r#""file:///": the path is missing"#),
            ("fork://?-i", r#""fork://?-i": the command is missing"#),
        ];
        for (text, message) in table {
            let error = Url::parse(text, &Scheme::SOURCES).unwrap_err();
            assert_eq!(error, message, "{text}");
            assert!(!error.contains("hun") && !error.contains("ter2"), "{error}");
        }
    }

    #[test]
    fn a_url_prints_without_its_credentials() {
        let table = [
            ("http://user:hunter2@host:80/a@b?c", "http://host:80/a@b?c"),
            ("http://user:hunter2@host:80/a?c", "http://host:80/a?c"),
            ("http://host/a", "http://host/a"),
            ("udp://192.0.2.7@232.1.1.1:5000", "udp://192.0.2.7@232.1.1.1:5000"),
        ];
        for (text, shown) in table {
            let url = Url::parse(text, &Scheme::SOURCES).unwrap();
            assert_eq!(url.to_string(), shown);
            assert_eq!(format!("{url:?}"), format!("{shown:?}"));
        }
    }
}
