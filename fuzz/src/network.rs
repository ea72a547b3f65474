//! Targets for what `io` reads from configurations and requests.

use restreamer_io::ingest::{Source, SourceOptions};
use restreamer_io::route::{Found, Routes, Serve};

/// A password that no other part of a URL has.
const SECRET: &str = "s3cr3t%41";

/// The URL of a source, with and without a password in it: whatever comes of it, nobody gets to see the password.
pub fn source_url(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let options = SourceOptions::default();
    if let Ok(source) = Source::parse(&text, &options) {
        assert!(!source.label().chars().any(char::is_control), "{:?}", source.label());
    }
    let Some((scheme, rest)) = text.split_once("://") else { return };
    // A fork's address is a command line, and an address of UDP may name a sender: neither has a password.
    let scheme = scheme.trim().to_ascii_lowercase();
    if !matches!(scheme.as_str(), "http" | "https" | "tcp") || rest.contains('@') {
        return;
    }
    let shown = match Source::parse(&format!("{scheme}://user:{SECRET}@{rest}"), &options) {
        Ok(source) => format!("{source} {source:?} {}", source.label()),
        Err(error) => format!("{error} {error:?}"),
    };
    assert!(!shown.contains(SECRET), "{shown}");
}

/// A serve path a line, and then the path of a request: a redirection leads to something that is not one again, and
/// whoever asks for what was configured finds it.
pub fn route(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let mut lines: Vec<_> = text.lines().take(20).collect();
    let Some(request) = lines.pop() else { return };
    let serves: Vec<_> = lines.into_iter().filter_map(|line| Serve::parse(line).ok()).collect();
    let Ok(routes) = Routes::new(&serves) else { return };
    for host in [None, Some("tv.example")] {
        let host = host.and_then(|host| host.parse().ok());
        let find = |path: &str| routes.find(host.as_ref(), path);
        if let Found::Elsewhere(path) = find(request) {
            let there = find(&path);
            // A path without its final slash may lead to a tree, after it was cleaned.
            let there = if let Found::Elsewhere(tree) = &there { find(tree) } else { there };
            assert!(
                !matches!(there, Found::Elsewhere(_) | Found::Malformed),
                "{request} to {path}: {there:?}"
            );
        }
    }
    for (index, serve) in serves.iter().enumerate().filter(|(_, serve)| serve.label().starts_with('/')) {
        let found = routes.find(None, serve.label());
        // What is written with a bare percent sign is no path of a request.
        let is_no_request = matches!(found, Found::Malformed) && serve.label().contains('%');
        assert!(is_no_request || found == Found::Resource(index), "{serve:?}: {found:?}");
    }
}
