//! Under which path a resource is served.

use std::fmt;

/// The `serve` of a resource: a path that is exact or, when it ends in `/`, stands for everything below it; on one
/// host or on all.
///
/// The path is as it reads after percent-decoding and is clean: no `//`, no `.` or `..` segments.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Serve {
    host: Option<Box<str>>,
    path: Box<str>,
}

impl Serve {
    /// Reads `/path` or `host/path`. The error says what to write.
    pub fn parse(text: &str) -> Result<Serve, String> {
        let Some(slash) = text.find('/') else {
            return Err(format!("{text:?} is not a path; write \"/{text}\""));
        };
        let (host, path) = text.split_at(slash);
        if text.chars().any(char::is_control) {
            return Err(format!("{text:?}: control characters have no place in a path"));
        }
        if host.rsplit(']').next().is_some_and(|end| end.contains(':')) {
            return Err(format!("{text:?}: the host stands without a port"));
        }
        if host.chars().any(|c| c.is_whitespace() || matches!(c, '?' | '#' | '@')) {
            return Err(format!("{host:?} before the first / is not a host"));
        }
        let clean = clean(path);
        if clean != path {
            return Err(format!("no request reaches {text:?}; write \"{host}{clean}\""));
        }
        let host = if host.is_empty() { None } else { Some(host.to_ascii_lowercase().into_boxed_str()) };
        Ok(Serve { host, path: path.into() })
    }

    /// A path of our own, on all hosts; it is taken as it is.
    pub(super) fn exact(path: &'static str) -> Serve {
        Serve { host: None, path: path.into() }
    }

    /// The `Host` that it is bound to, in lower case and without a port; `None` for all.
    pub fn host(&self) -> Option<&str> {
        self.host.as_deref()
    }

    /// The path, which begins with `/`.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Whether everything below the path belongs to it.
    pub fn is_subtree(&self) -> bool {
        self.path.ends_with('/')
    }
}

impl fmt::Display for Serve {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.host().unwrap_or(""), self.path)
    }
}

/// The path without empty, `.` and `..` segments; a final `/` stays.
fn clean(path: &str) -> String {
    let mut segments = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => {
                segments.pop();
            }
            _ => segments.push(segment),
        }
    }
    let directory = matches!(path.rsplit('/').next(), Some("" | "." | ".."));
    let mut clean = String::with_capacity(path.len());
    for segment in segments {
        clean.push('/');
        clean.push_str(segment);
    }
    if directory || clean.is_empty() {
        clean.push('/');
    }
    clean
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_exact_or_a_subtree_on_one_host_or_on_all() {
        let table = [
            ("/news.ts", None, "/news.ts", false),
            ("/", None, "/", true),
            ("/logos/", None, "/logos/", true),
            ("TV.example/news.ts", Some("tv.example"), "/news.ts", false),
            ("[::1]/x", Some("[::1]"), "/x", false),
            ("/grüße.ts", None, "/grüße.ts", false),
        ];
        for (text, host, path, subtree) in table {
            let serve = Serve::parse(text).unwrap();
            assert_eq!((serve.host(), serve.path(), serve.is_subtree()), (host, path, subtree), "{text}");
        }
    }

    #[test]
    fn a_path_that_no_request_can_reach_is_an_error() {
        let table = [
            ("news.ts", r#""news.ts" is not a path; write "/news.ts""#),
            ("//news.ts", r#"no request reaches "//news.ts"; write "/news.ts""#),
            ("/a/../news.ts", r#"no request reaches "/a/../news.ts"; write "/news.ts""#),
            ("tv/a/./", r#"no request reaches "tv/a/./"; write "tv/a/""#),
            ("tv:80/a", r#""tv:80/a": the host stands without a port"#),
            ("http://tv/a", r#""http://tv/a": the host stands without a port"#),
            ("a b/c", r#""a b" before the first / is not a host"#),
        ];
        for (text, message) in table {
            assert_eq!(Serve::parse(text).unwrap_err(), message, "{text}");
        }
    }
}
