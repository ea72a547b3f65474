//! URLs of upstreams: taken apart once, when the configuration is read.

use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;

use percent_encoding::percent_decode_str;

/// Schemes that a source may have.
pub(crate) const SCHEMES: &str = "http, https, tcp, udp, rtp, file, unix, unixgram, unixpacket or fork";

/// What is wrong with a URL. It is always the operator's to mend. No message repeats the URL, as a mistyped one may show
/// its password anywhere.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum UrlError {
    /// There is no `scheme://` at the beginning.
    NoScheme,
    /// The scheme is none that can be read from.
    UnknownScheme(Box<str>),
    /// A scheme that needs a host has none.
    NoHost,
    /// The host is not a name or address.
    BadHost,
    /// A scheme without a usual port needs one.
    NoPort,
    /// The port is not a number from 1 to 65535.
    BadPort,
    /// `%` is not followed by two hexadecimal digits.
    BadEscape,
    /// A character that cannot be in a URL, a file name or a header.
    ControlCharacter,
    /// There is something before an `@` where no name and password can be used.
    UserInfo,
    /// A path is missing.
    NoPath,
    /// A path does not begin with a slash; holds the scheme.
    RelativePath(Box<str>),
    /// The path of a socket has more bytes than the system takes.
    LongPath(usize),
    /// No command is named.
    NoCommand,
    /// What stands before the `@` is not the address of a sender, or of the other family than the group.
    BadSender,
    /// A sender is named, but the address is not that of a group.
    SenderWithoutGroup,
}

impl fmt::Display for UrlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            UrlError::NoScheme => write!(f, "no scheme: begin with {SCHEMES}, followed by ://"),
            UrlError::UnknownScheme(scheme) => {
                write!(f, "unknown scheme {scheme:?}: use {SCHEMES}")
            }
            UrlError::NoHost => f.write_str("no host: write scheme://host:port"),
            UrlError::BadHost => {
                f.write_str("no usable host: write a name, an IPv4 address, or an IPv6 address in brackets")
            }
            UrlError::NoPort => f.write_str("no port: write scheme://host:port"),
            UrlError::BadPort => f.write_str("no usable port: write a number from 1 to 65535"),
            UrlError::BadEscape => {
                f.write_str("% without two hexadecimal digits: write %25 for a percent sign")
            }
            UrlError::ControlCharacter => f.write_str("a control character: remove it"),
            UrlError::UserInfo => {
                f.write_str("a user or password, which this scheme cannot use: remove everything up to the @")
            }
            UrlError::NoPath => f.write_str("no path: write scheme:///path, with three slashes"),
            UrlError::RelativePath(scheme) => {
                write!(f, "a relative path: write {scheme}:///path, with three slashes")
            }
            UrlError::LongPath(bytes) => write!(
                f,
                "a socket path of {bytes} bytes: {SOCKET_PATH_BYTES_MAX} are possible, use a shorter one"
            ),
            UrlError::NoCommand => f.write_str("no command: write fork:///path/to/command?argument+argument"),
            UrlError::BadSender => f.write_str(
                "what stands before the @ is not the address of a sender of the group's family: \
                 write udp://sender@group:port or udp://@group:port",
            ),
            UrlError::SenderWithoutGroup => f.write_str(
                "a sender can only be chosen for a multicast group: remove everything up to the @",
            ),
        }
    }
}

impl std::error::Error for UrlError {}

/// Bytes of a domain socket's path: `sun_path` without its final zero.
pub(crate) const SOCKET_PATH_BYTES_MAX: usize = 107;

/// `scheme://rest`, the scheme in lower case.
pub(crate) fn split_scheme(url: &str) -> Result<(String, &str), UrlError> {
    let (scheme, rest) = url.trim().split_once("://").ok_or(UrlError::NoScheme)?;
    let named = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'));
    if named { Ok((scheme.to_ascii_lowercase(), rest)) } else { Err(UrlError::NoScheme) }
}

/// What stands between `://` and the path, and where it points.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Authority<'a> {
    /// Everything before the last `@`, still escaped.
    pub(crate) user_info: Option<&'a str>,
    /// A name or address, without brackets; may be empty.
    pub(crate) host: &'a str,
    /// From 1.
    pub(crate) port: Option<u16>,
}

impl<'a> Authority<'a> {
    /// Takes the authority off the front of `rest`; what is left begins with `/`, `?` or `#`, or is empty.
    pub(crate) fn parse(rest: &'a str) -> Result<(Self, &'a str), UrlError> {
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, tail) = rest.split_at(end);
        let (user_info, place) = match authority.rsplit_once('@') {
            Some((user_info, place)) => (Some(user_info), place),
            None => (None, authority),
        };
        let (host, port) = split_port(place)?;
        Ok((Authority { user_info, host, port }, tail))
    }
}

/// `host:port`, `[v6]:port`, either without its port.
fn split_port(place: &str) -> Result<(&str, Option<u16>), UrlError> {
    let (host, port) = match place.strip_prefix('[') {
        Some(bracketed) => {
            let (host, after) = bracketed.split_once(']').ok_or(UrlError::BadHost)?;
            if !matches!(host.parse(), Ok(IpAddr::V6(_))) {
                return Err(UrlError::BadHost);
            }
            let port = match after.strip_prefix(':') {
                Some(port) => port,
                None if after.is_empty() => "",
                None => return Err(UrlError::BadHost),
            };
            (host, port)
        }
        None => {
            let (host, port) = place.split_once(':').unwrap_or((place, ""));
            if port.contains(':') || !host.bytes().all(is_host_byte) {
                return Err(UrlError::BadHost);
            }
            (host, port)
        }
    };
    if port.is_empty() {
        return Ok((host, None));
    }
    // `parse` would also take a sign.
    let number = port.bytes().all(|b| b.is_ascii_digit()).then(|| port.parse().ok()).flatten();
    match number {
        Some(port) if port > 0 => Ok((host, Some(port))),
        _ => Err(UrlError::BadPort),
    }
}

fn is_host_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_')
}

/// `text` with its `%xx` decoded, which need not be UTF-8.
pub(crate) fn decode(text: &str) -> Result<Vec<u8>, UrlError> {
    let mut rest = text.as_bytes();
    while let Some(at) = rest.iter().position(|&b| b == b'%') {
        match rest.get(at + 1..at + 3) {
            Some(digits) if digits.iter().all(u8::is_ascii_hexdigit) => rest = &rest[at + 3..],
            _ => return Err(UrlError::BadEscape),
        }
    }
    let decoded: Vec<u8> = percent_decode_str(text).collect();
    if decoded.contains(&0) { Err(UrlError::ControlCharacter) } else { Ok(decoded) }
}

/// The path of `scheme:///path`: decoded, without query and fragment.
pub(crate) fn decode_path(scheme: &str, rest: &str) -> Result<std::path::PathBuf, UrlError> {
    use std::os::unix::ffi::OsStringExt;
    let end = rest.find(['?', '#']).unwrap_or(rest.len());
    let path = rest[..end].strip_prefix("localhost").unwrap_or(&rest[..end]);
    if path.is_empty() {
        return Err(UrlError::NoPath);
    }
    if !path.starts_with('/') {
        return Err(UrlError::RelativePath(scheme.into()));
    }
    Ok(std::ffi::OsString::from_vec(decode(path)?).into())
}

/// `text` without the user and password of any URL in it. An `@` with nothing before it hides nothing and stays.
///
/// For labels, for what a command writes to its standard error, and for messages that quote a peer.
pub(crate) fn redact(text: &str) -> Cow<'_, str> {
    let mut clean = String::new();
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + 3);
        let end = after.find(|c: char| "/?#'\"<>".contains(c) || c.is_whitespace()).unwrap_or(after.len());
        clean.push_str(before);
        rest = match after[..end].rfind('@') {
            Some(at) if at > 0 => &after[at + 1..],
            _ => after,
        };
    }
    if clean.is_empty() || clean.len() + rest.len() == text.len() {
        return Cow::Borrowed(text);
    }
    clean.push_str(rest);
    Cow::Owned(clean)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn authorities_come_apart() {
        let cases = [
            ("host", (None, "host", None, "")),
            ("host:80/a?b", (None, "host", Some(80), "/a?b")),
            ("host?b", (None, "host", None, "?b")),
            ("user:p@ss@host:1/", (Some("user:p@ss"), "host", Some(1), "/")),
            ("@239.1.2.3:5000", (Some(""), "239.1.2.3", Some(5000), "")),
            ("[ff02::1]:5000", (None, "ff02::1", Some(5000), "")),
            ("[::1]/x", (None, "::1", None, "/x")),
            (":5000", (None, "", Some(5000), "")),
            ("host:/", (None, "host", None, "/")),
        ];
        for (text, parts) in cases {
            let (found, tail) = Authority::parse(text).unwrap();
            assert_eq!((found.user_info, found.host, found.port, tail), parts, "{text}");
        }
    }

    #[test]
    fn wrong_authorities_say_what_is_wrong() {
        for text in ["::1:80", "[::1", "[::1]80", "[host]:80", "a b:80", "hö:80"] {
            assert_eq!(Authority::parse(text), Err(UrlError::BadHost), "{text}");
        }
        for text in ["host:0", "host:65536", "host:http", "host:+80", "[::1]:x"] {
            assert_eq!(Authority::parse(text), Err(UrlError::BadPort), "{text}");
        }
    }

    #[test]
    fn only_whole_escapes_decode() {
        assert_eq!(decode("a%20b%c3%A4").unwrap(), "a bä".as_bytes());
        for text in ["%", "%2", "a%zz", "%%20"] {
            assert_eq!(decode(text), Err(UrlError::BadEscape), "{text}");
        }
        assert_eq!(decode("a%00b"), Err(UrlError::ControlCharacter));
    }

    #[test]
    fn paths_need_three_slashes() {
        assert_eq!(decode_path("file", "/a%20b?x#y").unwrap().to_str(), Some("/a b"));
        assert_eq!(decode_path("file", "localhost/a").unwrap().to_str(), Some("/a"));
        assert_eq!(decode_path("file", "a/b"), Err(UrlError::RelativePath("file".into())));
        assert_eq!(decode_path("file", ""), Err(UrlError::NoPath));
    }

    #[test]
    fn every_user_info_in_a_text_is_removed() {
        let cases = [
            ("http://a.b/c@d", "http://a.b/c@d"),
            ("http://u:p@a.b/c", "http://a.b/c"),
            ("from 'rtsp://u:p@cam/1' to udp://@239.0.0.1:1", "from 'rtsp://cam/1' to udp://@239.0.0.1:1"),
            ("x://@p@h x://@", "x://h x://@"),
            ("x://u:p@ss@h", "x://h"),
            ("mail a@b", "mail a@b"),
            ("://", "://"),
        ];
        for (text, clean) in cases {
            assert_eq!(redact(text), clean);
        }
    }

    #[test]
    fn a_scheme_is_a_word_before_two_slashes() {
        assert_eq!(split_scheme(" HTTP://x").unwrap(), ("http".to_owned(), "x"));
        for url in ["", "host:80", "/path", "://x", "1a://x", "a b://x"] {
            assert_eq!(split_scheme(url), Err(UrlError::NoScheme), "{url}");
        }
    }
}
