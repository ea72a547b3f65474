//! Where an HTTP request goes.

use std::fmt;
use std::net::IpAddr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hyper::header::HeaderValue;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

use crate::url::{self, Authority, UrlError};

/// Characters that operators put into URLs although they have to be escaped there.
const ESCAPED: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'<')
    .add(b'>')
    .add(b'\\')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');

/// An `http://` or `https://` URL, taken apart. Neither `Display` nor `Debug` shows its credentials.
#[derive(Clone)]
pub struct Target {
    security: Security,
    host: Box<str>,
    port: u16,
    path: Box<str>,
    authorization: Option<HeaderValue>,
}

/// With or without TLS.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Security {
    Plain,
    Tls,
}

impl Target {
    /// Takes a URL apart. A name and password in it become Basic credentials, a fragment is dropped.
    pub fn parse(url: &str) -> Result<Self, UrlError> {
        let (scheme, rest) = url::split_scheme(url)?;
        let security = match scheme.as_str() {
            "http" => Security::Plain,
            "https" => Security::Tls,
            _ => return Err(UrlError::UnknownScheme(scheme.into())),
        };
        Self::parse_rest(security, rest)
    }

    fn parse_rest(security: Security, rest: &str) -> Result<Self, UrlError> {
        let (authority, tail) = Authority::parse(rest)?;
        if authority.host.is_empty() {
            return Err(UrlError::NoHost);
        }
        Ok(Target {
            security,
            host: authority.host.to_ascii_lowercase().into(),
            port: authority.port.unwrap_or(security.usual_port()),
            path: path_and_query(tail)?,
            authorization: authority.user_info.map(authorization).transpose()?.flatten(),
        })
    }

    /// Where a `Location` header of this target's answer points (RFC 3986 §5.2).
    ///
    /// Credentials go along only to the same host and port, and not from TLS to plain text.
    pub(crate) fn resolve(&self, location: &str) -> Result<Self, UrlError> {
        let location = location.trim();
        let mut next = if let Some(rest) = location.strip_prefix("//") {
            Self::parse_rest(self.security, rest)?
        } else if url::split_scheme(location).is_ok() {
            Self::parse(location)?
        } else {
            Target { path: self.resolve_path(location)?, authorization: None, ..self.clone() }
        };
        if next.authorization.is_none() && self.same_origin(&next) {
            next.authorization = self.authorization.clone();
        }
        Ok(next)
    }

    fn resolve_path(&self, location: &str) -> Result<Box<str>, UrlError> {
        let path = self.path.split_once('?').map_or(&*self.path, |(path, _)| path);
        match location.bytes().next() {
            None | Some(b'#') => Ok(self.path.clone()),
            Some(b'?') => path_and_query(&format!("{path}{location}")),
            Some(b'/') => path_and_query(location),
            Some(_) => {
                let folder = path.rfind('/').map_or("", |slash| &path[..slash]);
                path_and_query(&format!("{folder}/{location}"))
            }
        }
    }

    pub(crate) fn security(&self) -> Security {
        self.security
    }

    /// A name or address, without brackets.
    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Path and query as they go into a request to the server itself.
    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    /// Whether requests to `other` may carry what was meant for this target.
    pub(crate) fn same_origin(&self, other: &Target) -> bool {
        (self.security, self.port, &self.host) == (other.security, other.port, &other.host)
    }

    pub(crate) fn authorization(&self) -> Option<HeaderValue> {
        self.authorization.clone()
    }

    /// `host:port`, with brackets where needed.
    pub(crate) fn authority(&self) -> String {
        format!("{}:{}", Bracketed(&self.host), self.port)
    }

    /// The `Host` header: the port only where it is not the scheme's own (RFC 9110 §7.2).
    pub(crate) fn host_header(&self) -> String {
        match self.port == self.security.usual_port() {
            true => Bracketed(&self.host).to_string(),
            false => self.authority(),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.security {
            Security::Plain => "http",
            Security::Tls => "https",
        };
        write!(f, "{scheme}://{}{}", self.host_header(), self.path)
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Target({self})")
    }
}

impl Security {
    fn usual_port(self) -> u16 {
        match self {
            Security::Plain => 80,
            Security::Tls => 443,
        }
    }
}

struct Bracketed<'a>(&'a str);

impl fmt::Display for Bracketed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.parse() {
            Ok(IpAddr::V6(_)) => write!(f, "[{}]", self.0),
            _ => f.write_str(self.0),
        }
    }
}

/// The header for `name:password`, escaped (RFC 7617 §2); nothing at all (`@host`) is no credentials.
fn authorization(user_info: &str) -> Result<Option<HeaderValue>, UrlError> {
    if user_info.is_empty() {
        return Ok(None);
    }
    let (user, password) = user_info.split_once(':').unwrap_or((user_info, ""));
    let pair = [&url::decode(user)?[..], b":", &url::decode(password)?].concat();
    let value = HeaderValue::try_from(format!("Basic {}", STANDARD.encode(pair)));
    let mut value = value.expect("base64 is visible ASCII");
    value.set_sensitive(true);
    Ok(Some(value))
}

/// Path and query for a request line: escaped where needed, without fragment and dot segments, never empty.
fn path_and_query(tail: &str) -> Result<Box<str>, UrlError> {
    if tail.chars().any(char::is_control) {
        return Err(UrlError::ControlCharacter);
    }
    let tail = tail.split_once('#').map_or(tail, |(before, _)| before);
    let (path, query) = match tail.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (tail, None),
    };
    let mut text = utf8_percent_encode(&remove_dot_segments(path), ESCAPED).to_string();
    if let Some(query) = query {
        text.push('?');
        text.extend(utf8_percent_encode(query, ESCAPED));
    }
    Ok(text.into())
}

/// RFC 3986 §5.2.4, for a path that is empty or begins with a slash.
fn remove_dot_segments(path: &str) -> String {
    let mut segments = Vec::new();
    for segment in path.split('/').skip(1) {
        match segment {
            "." => {}
            ".." => drop(segments.pop()),
            segment => segments.push(segment),
        }
    }
    let mut clean: String = segments.iter().flat_map(|segment| ["/", segment]).collect();
    if clean.is_empty() || path.ends_with("/.") || path.ends_with("/..") {
        clean.push('/');
    }
    clean
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_become_request_parts() {
        let cases = [
            ("http://h", "h", 80, "/"),
            ("HTTPS://H:444/a/b?c=d#e", "h", 444, "/a/b?c=d"),
            ("http://h?x", "h", 80, "/?x"),
            ("http://[::1]:8000/a b/ü%20", "::1", 8000, "/a%20b/%C3%BC%20"),
            ("http://h/a/./b/../c/..", "h", 80, "/a/"),
            ("http://h/../../x?../y", "h", 80, "/x?../y"),
        ];
        for (url, host, port, path) in cases {
            let target = Target::parse(url).unwrap();
            assert_eq!((target.host(), target.port(), target.path()), (host, port, path), "{url}");
        }
        assert_eq!(Target::parse("http:///x").unwrap_err(), UrlError::NoHost);
        assert_eq!(Target::parse("ftp://x").unwrap_err(), UrlError::UnknownScheme("ftp".into()));
        assert_eq!(Target::parse("http://h/a\r\nb").unwrap_err(), UrlError::ControlCharacter);
    }

    #[test]
    fn the_host_header_has_no_usual_port() {
        let host = |url| Target::parse(url).unwrap().host_header();
        assert_eq!(host("http://h:80/"), "h");
        assert_eq!(host("https://h:80/"), "h:80");
        assert_eq!(host("https://[::1]/"), "[::1]");
    }

    #[test]
    fn credentials_are_decoded_and_never_shown() {
        let target = Target::parse("http://us%40er:p%3Ass:w@h:81/x").unwrap();
        // `us@er:p:ss:w`
        assert_eq!(target.authorization().unwrap(), "Basic dXNAZXI6cDpzczp3");
        assert_eq!(format!("{target} {target:?}"), "http://h:81/x Target(http://h:81/x)");
        assert!(Target::parse("http://@h/").unwrap().authorization().is_none());
        assert_eq!(Target::parse("http://a%zz@h").unwrap_err(), UrlError::BadEscape);
    }

    #[test]
    fn locations_are_relative_to_the_target() {
        let from = Target::parse("http://u:p@h:81/a/b/c?q").unwrap();
        let cases = [
            ("http://x/y", "http://x/y"),
            ("//x/y", "http://x/y"),
            ("/y?z#f", "http://h:81/y?z"),
            ("y", "http://h:81/a/b/y"),
            ("../y", "http://h:81/a/y"),
            ("?z", "http://h:81/a/b/c?z"),
            ("", "http://h:81/a/b/c?q"),
            ("y?u=http://x", "http://h:81/a/b/y?u=http://x"),
        ];
        for (location, url) in cases {
            assert_eq!(from.resolve(location).unwrap().to_string(), url, "{location}");
        }
        assert!(from.resolve("ftp://x").is_err());
    }

    #[test]
    fn credentials_stay_with_their_host() {
        let from = Target::parse("https://u:p@h/a").unwrap();
        for (location, sent) in [
            ("/b", true),
            ("https://h:443/b", true),
            ("https://v:w@x/b", true),
            ("http://h/b", false),
            ("https://h:444/b", false),
            ("https://x/b", false),
        ] {
            assert_eq!(from.resolve(location).unwrap().authorization().is_some(), sent, "{location}");
        }
    }
}
