//! Which resource a request is for.
//!
//! A serve path is exact (`/news.ts`), or it ends in a slash and covers everything below it, or it begins with
//! a host (`tv.example/news.ts`). The longest match wins, and a route that names the host wins over one that
//! does not. Request paths are compared after percent-decoding; a path that is not in its normal form is never
//! matched, it is redirected.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;

use hyper::http::uri::Authority;
use percent_encoding::{AsciiSet, CONTROLS, percent_decode, percent_decode_str, percent_encode};

/// One stream of this process: its place in the list of streams, the same everywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(pub u32);

/// The bytes of a decoded path that must be escaped again in a `Location` header (RFC 3986 §3.3).
const ESCAPED_IN_PATH: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'%')
    .add(b'<')
    .add(b'>')
    .add(b'?')
    .add(b'[')
    .add(b'\\')
    .add(b']')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');

/// Where a resource is served: a path, and perhaps the only host name it answers to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Serve {
    host: Option<Box<str>>,
    path: Box<[u8]>,
    label: Box<str>,
}

impl Serve {
    /// Reads a serve path as it stands in the configuration: `/path`, `/tree/` or `host/path`.
    ///
    /// Percent-escapes are decoded, so that a path can be written as it stands in a URL. A port after the host
    /// is ignored.
    pub fn parse(text: &str) -> Result<Self, ServeError> {
        let Some(slash) = text.find('/') else {
            return Err(ServeError::NoPath);
        };
        let (host, path) = text.split_at(slash);
        let host = match host {
            "" => None,
            host => Some(host_name(host).ok_or(ServeError::BadHost)?),
        };
        let path: Cow<'_, [u8]> = percent_decode_str(path).into();
        if let Cow::Owned(clean) = clean(&path) {
            return Err(ServeError::Unclean { clean: escape(&clean) });
        }
        Ok(Serve { host, path: path.into(), label: text.into() })
    }

    /// The path as it was written, which is also the name of the resource in metrics and logs.
    pub fn label(&self) -> &str {
        &self.label
    }

    /// Whether both claim the same place, however it is written.
    pub fn same_place(&self, other: &Serve) -> bool {
        (&self.host, &self.path) == (&other.host, &other.path)
    }

    /// Whether everything below the path is covered too.
    pub fn is_tree(&self) -> bool {
        self.path.ends_with(b"/")
    }
}

/// Why a text is no serve path. The fault is the operator's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServeError {
    /// There is no slash in it.
    NoPath,
    /// What stands before the first slash is no host name.
    BadHost,
    /// It can never match, because requests for it are redirected to its clean form.
    Unclean {
        /// The path that would match.
        clean: String,
    },
}

impl fmt::Display for ServeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ServeError::NoPath => f.write_str("a serve path begins with / or with host/"),
            ServeError::BadHost => f.write_str("what stands before the first / is not a host name"),
            ServeError::Unclean { clean } => write!(f, "this path can never be requested, use {clean}"),
        }
    }
}

impl std::error::Error for ServeError {}

/// What a request target leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// The resource with this index.
    Resource(usize),
    /// The same request belongs to this path (escaped, without the query).
    Elsewhere(String),
    /// No resource is served there.
    Nothing,
    /// The path is not validly percent-encoded.
    Malformed,
}

/// The table of all serve paths.
///
/// A lookup costs one map search per path component.
#[derive(Clone, Debug, Default)]
pub struct Routes {
    any_host: Paths,
    hosts: BTreeMap<Box<str>, Paths>,
}

type Paths = BTreeMap<Box<[u8]>, usize>;

/// Two resources claim the same place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Duplicate {
    /// The index of the resource that had it.
    pub first: usize,
    /// The index of the one that claims it again.
    pub second: usize,
}

impl fmt::Display for Duplicate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "resources {} and {} have the same serve path", self.first, self.second)
    }
}

impl std::error::Error for Duplicate {}

impl Routes {
    /// Builds the table; a resource is known by its index in `serves`.
    pub fn new<'a>(serves: impl IntoIterator<Item = &'a Serve>) -> Result<Self, Duplicate> {
        let mut routes = Routes::default();
        for (index, serve) in serves.into_iter().enumerate() {
            let paths = match &serve.host {
                None => &mut routes.any_host,
                Some(host) => routes.hosts.entry(host.clone()).or_default(),
            };
            match paths.entry(serve.path.clone()) {
                Entry::Vacant(free) => free.insert(index),
                Entry::Occupied(taken) => return Err(Duplicate { first: *taken.get(), second: index }),
            };
        }
        Ok(routes)
    }

    /// Finds the resource for the path of a request (as received, without the query).
    pub fn find(&self, host: Option<&Authority>, path: &str) -> Found {
        if !is_well_escaped(path.as_bytes()) {
            return Found::Malformed;
        }
        let path: Cow<'_, [u8]> = percent_decode(path.as_bytes()).into();
        if !path.starts_with(b"/") {
            return Found::Malformed;
        }
        if let Cow::Owned(clean) = clean(&path) {
            return Found::Elsewhere(escape(&clean));
        }
        let host = host.and_then(|host| self.hosts.get(host_name(host.as_str())?.as_ref()));
        let tables = || host.into_iter().chain([&self.any_host]);
        if let Some(index) = tables().find_map(|paths| longest(paths, &path)) {
            return Found::Resource(index);
        }
        let mut tree = path.into_owned();
        tree.push(b'/');
        match tables().any(|paths| paths.contains_key(tree.as_slice())) {
            true => Found::Elsewhere(escape(&tree)),
            false => Found::Nothing,
        }
    }
}

/// The longest entry that covers `path`: itself, or one of the trees it lies in.
fn longest(paths: &Paths, path: &[u8]) -> Option<usize> {
    let trees = (0..path.len()).rev().filter(|&at| path[at] == b'/').map(|at| &path[..=at]);
    std::iter::once(path).chain(trees).find_map(|prefix| paths.get(prefix).copied())
}

/// A host name without its port, in lower case and without the final dot of an absolute name.
fn host_name(authority: &str) -> Option<Box<str>> {
    let authority: Authority = authority.parse().ok()?;
    let host = authority.host();
    let host = host.strip_suffix('.').unwrap_or(host);
    (!host.is_empty()).then(|| host.to_ascii_lowercase().into())
}

/// The path without empty, `.` and `..` components (RFC 3986 §5.2.4, and runs of slashes are one).
///
/// Borrowed when it was clean already.
fn clean(path: &[u8]) -> Cow<'_, [u8]> {
    let components = || path.split(|&byte| byte == b'/').skip(1);
    let last = components().count().saturating_sub(1);
    let is_clean = components().enumerate().all(|(index, component)| match component {
        b"" => index == last,
        b"." | b".." => false,
        _ => true,
    });
    if is_clean {
        return Cow::Borrowed(path);
    }
    let mut clean: Vec<u8> = Vec::with_capacity(path.len());
    for component in components() {
        match component {
            b"" | b"." => {}
            b".." => clean.truncate(clean.iter().rposition(|&byte| byte == b'/').unwrap_or(0)),
            component => {
                clean.push(b'/');
                clean.extend_from_slice(component);
            }
        }
    }
    if clean.is_empty() || matches!(components().last(), Some(b"" | b"." | b"..")) {
        clean.push(b'/');
    }
    Cow::Owned(clean)
}

/// Whether every `%` is followed by two hexadecimal digits (RFC 3986 §2.1).
fn is_well_escaped(path: &[u8]) -> bool {
    path.iter().enumerate().filter(|&(_, &byte)| byte == b'%').all(|(at, _)| {
        path.get(at + 1..at + 3).is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    })
}

fn escape(path: &[u8]) -> String {
    percent_encode(path, ESCAPED_IN_PATH).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn routes(serves: &[&str]) -> Routes {
        let serves: Vec<Serve> = serves.iter().map(|text| Serve::parse(text).unwrap()).collect();
        Routes::new(&serves).unwrap()
    }

    #[test]
    fn the_longest_match_wins() {
        let routes = routes(&["/", "/live/", "/live/news.ts", "/live/a/b/"]);
        for (path, index) in [
            ("/", 0),
            ("/other", 0),
            ("/live/", 1),
            ("/live/sport.ts", 1),
            ("/live/a/x", 1),
            ("/live/news.ts", 2),
            ("/live/a/b/", 3),
            ("/live/a/b/c/d", 3),
        ] {
            assert_eq!(routes.find(None, path), Found::Resource(index), "{path}");
        }
    }

    #[test]
    fn a_route_that_names_the_host_wins_over_one_that_does_not() {
        let routes = routes(&["/a.ts", "tv.example/", "TV2.example:8000/a.ts"]);
        for (host, path, found) in [
            (None, "/a.ts", Found::Resource(0)),
            (Some("other.example"), "/a.ts", Found::Resource(0)),
            (Some("tv.example"), "/a.ts", Found::Resource(1)),
            (Some("TV.Example.:8080"), "/b.ts", Found::Resource(1)),
            (Some("tv2.example"), "/a.ts", Found::Resource(2)),
            (Some("tv2.example"), "/b.ts", Found::Nothing),
        ] {
            let host = host.map(|host| host.parse().unwrap());
            assert_eq!(routes.find(host.as_ref(), path), found, "{host:?} {path}");
        }
    }

    #[test]
    fn paths_match_after_percent_decoding() {
        let routes = routes(&["/n\u{e4}chste.ts", "/with%20space"]);
        assert_eq!(routes.find(None, "/n%C3%A4chste.ts"), Found::Resource(0));
        assert_eq!(routes.find(None, "/%6e%c3%a4chste%2Ets"), Found::Resource(0));
        assert_eq!(routes.find(None, "/with%20space"), Found::Resource(1));
        for bad in ["/%", "/%4", "/%zz", "/a%2", "*", ""] {
            assert_eq!(routes.find(None, bad), Found::Malformed, "{bad}");
        }
    }

    #[test]
    fn an_unclean_path_leads_to_its_clean_form() {
        let routes = routes(&["/a"]);
        for (path, clean) in [
            ("//a", "/a"),
            ("/b/../a", "/a"),
            ("/./a", "/a"),
            ("/../../a", "/a"),
            ("/a//", "/a/"),
            ("/a/.", "/a/"),
            ("/a/b/..", "/a/"),
            ("/..", "/"),
            ("//", "/"),
            ("/%2e%2e/a", "/a"),
            ("/x%2F%2Fy%20z", "/x/y%20z"),
            ("//evil.example%5c/%0d%0aX", "/evil.example%5C/%0D%0AX"),
        ] {
            assert_eq!(routes.find(None, path), Found::Elsewhere(clean.to_owned()), "{path}");
        }
    }

    #[test]
    fn a_tree_without_its_slash_leads_to_the_tree() {
        let routes = routes(&["/tree/", "/both", "/both/"]);
        assert_eq!(routes.find(None, "/tree"), Found::Elsewhere("/tree/".to_owned()));
        assert_eq!(routes.find(None, "/both"), Found::Resource(1));
        assert_eq!(routes.find(None, "/tre"), Found::Nothing);
    }

    #[test]
    fn bad_and_duplicate_serve_paths_are_refused() {
        assert_eq!(Serve::parse("news.ts"), Err(ServeError::NoPath));
        assert_eq!(Serve::parse(""), Err(ServeError::NoPath));
        assert_eq!(Serve::parse("bad host/x"), Err(ServeError::BadHost));
        assert_eq!(Serve::parse("/a/../b"), Err(ServeError::Unclean { clean: "/b".to_owned() }));
        let serves = ["/a", "/b", "/%61"].map(|text| Serve::parse(text).unwrap());
        assert_eq!(Routes::new(&serves).unwrap_err(), Duplicate { first: 0, second: 2 });
    }
}
