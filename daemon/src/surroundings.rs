//! The files, interfaces, commands and addresses that a configuration names: reading it does not look at them.

use std::collections::BTreeMap;
use std::fs::File;
use std::net::ToSocketAddrs;
use std::path::Path;

use restreamer_io::ingest::Source;
use restreamer_io::tls::Identity;

use crate::check::counted;
use crate::config::{Candidates, Config, Document, LogTarget, Problem, Report, StreamResource};

/// What of that is not there. Errors are what would keep the server from starting.
pub fn look(config: &Config) -> Report {
    let mut report = Report::default();
    for listener in &config.listeners {
        if let Candidates::Name(host, port) = listener.address.candidates()
            && let Err(error) = (host, port).to_socket_addrs()
        {
            report.errors.push(Problem::new(format!("listen {host}"), error.to_string()));
        }
        if let Some(tls) = &listener.tls
            && let Err(error) = Identity::load(&tls.cert, &tls.key)
        {
            let key = format!("certificate of {}", listener.address);
            report.errors.push(Problem::new(key, error.to_string()));
        }
    }
    if let LogTarget::File(path) = &config.log {
        let directory = path.parent().filter(|directory| !directory.as_os_str().is_empty());
        if directory.is_some_and(|directory| !directory.is_dir()) {
            report
                .errors
                .push(Problem::new("log", format!("{}: there is no such directory", path.display())));
        }
    }
    for stream in &config.streams {
        let name = stream.endpoint.serve.label();
        if let Some(path) = &stream.preamble {
            unless_readable(&mut report, &format!("preamble of {name}"), path);
        }
        if let Some(interface) = &stream.options.interface
            && !Path::new("/sys/class/net").join(interface).exists()
        {
            let text = format!("there is no interface {interface:?} now");
            report.warnings.push(Problem::new(format!("clientinterface of {name}"), text));
        }
        for source in stream.sources.iter() {
            if let Some(missing) = source.missing() {
                let text = format!("{source}: {missing}");
                report.warnings.push(Problem::new(format!("remote of {name}"), text));
            }
        }
    }
    for resource in &config.statics {
        if let Document::File(path) = &resource.remote
            && path.is_dir()
        {
            let text = format!("{} is a directory; a static resource is one file", path.display());
            report
                .warnings
                .push(Problem::new(format!("remote of {}", resource.endpoint.serve.label()), text));
        }
    }
    report.warnings.extend(received_twice(&config.streams));
    report.warnings.extend(never_given_up(&config.streams));
    report
}

/// Sources that only one of several streams can have.
fn received_twice(streams: &[StreamResource]) -> Vec<Problem> {
    let mut first = BTreeMap::new();
    let mut problems = Vec::new();
    for stream in streams {
        let name = stream.endpoint.serve.label();
        for source in stream.sources.iter().filter(|source| source.is_exclusive()) {
            let owner = *first.entry(source.label()).or_insert(name);
            if owner != name {
                let text = format!(
                    "{source} is received by {owner}, and only one can: let this stream have \
                     {owner} of this server as its remote"
                );
                problems.push(Problem::new(format!("remote of {name}"), text));
            }
        }
    }
    problems
}

/// Streams whose viewers would wait for ever for a sender that is gone.
fn never_given_up(streams: &[StreamResource]) -> Option<Problem> {
    let waits = |stream: &&StreamResource| {
        stream.read_timeout.is_none() && stream.sources.iter().any(Source::ends_in_silence)
    };
    let mut waiting = streams.iter().filter(waits);
    let name = waiting.next()?.endpoint.serve.label();
    let others = match waiting.count() {
        0 => String::new(),
        others => format!(" and {}", counted(others, "other stream")),
    };
    let text = format!(
        "0 means that datagrams that stop coming to {name}{others} are waited for, for ever: no other remote is \
         tried, and viewers are held beyond grace; 5 would do"
    );
    Some(Problem::new("readtimeout", text))
}

fn unless_readable(report: &mut Report, key: &str, path: &Path) {
    let readable = File::open(path).and_then(|file| file.metadata());
    let wrong = match readable {
        Ok(metadata) if metadata.is_dir() => "is a directory".to_owned(),
        Ok(_) => return,
        Err(error) => error.to_string(),
    };
    report.errors.push(Problem::new(key, format!("{}: {wrong}", path.display())));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(problems: &[Problem]) -> Vec<String> {
        problems.iter().map(ToString::to_string).collect()
    }

    fn report(text: &str) -> Report {
        let (config, _) = Config::parse("x", text.as_bytes()).unwrap();
        look(&config)
    }

    #[test]
    fn files_that_are_not_there_are_errors_before_the_start() {
        let dir = tempfile::tempdir().unwrap();
        let text = format!(
            r#"{{ "readtimeout": 5, "tls": {{ "cert": "/nonexistent/cert", "key": "/nonexistent/key" }}, "log": "/nonexistent/log", "listen": ":1",
                "resources": [{{ "type": "stream", "serve": "/a", "remote": "udp://@239.1.1.1:1", "preamble": {dir:?},
                    "clientinterface": "nonexistent7" }}] }}"#,
            dir = dir.path()
        );
        let report = report(&text);
        assert_eq!(
            lines(&report.errors),
            [
                "certificate of :1: cannot read /nonexistent/cert: No such file or directory (os error 2)"
                    .to_owned(),
                "log: /nonexistent/log: there is no such directory".to_owned(),
                format!("preamble of /a: {}: is a directory", dir.path().display()),
            ]
        );
        assert_eq!(
            lines(&report.warnings),
            ["clientinterface of /a: there is no interface \"nonexistent7\" now"]
        );
    }

    #[test]
    fn what_a_source_needs_and_has_not_got_is_a_warning() {
        let text = r#"{ "readtimeout": 5, "resources": [
            { "type": "stream", "serve": "/a", "remotes": ["file:///nonexistent.ts", "file:///tmp", "file:///dev/null"] },
            { "type": "stream", "serve": "/b", "remotes": ["fork:///nonexistent/cmd", "fork://nonexistent7?x", "fork://sh"] },
            { "type": "static", "serve": "/c/", "remote": "file:///tmp/" }
        ] }"#;
        assert_eq!(
            lines(&report(text).warnings),
            [
                "remote of /a: file:///nonexistent.ts: No such file or directory (os error 2)",
                "remote of /a: file:///tmp: it is a directory: name a file in it",
                "remote of /b: fork:///nonexistent/cmd: there is no command /nonexistent/cmd",
                "remote of /b: fork://nonexistent7?x: there is no command nonexistent7",
                "remote of /c/: /tmp/ is a directory; a static resource is one file",
            ]
        );
    }

    #[test]
    fn an_address_to_listen_at_that_cannot_be_found_is_an_error() {
        let errors =
            lines(&report(r#"{ "listen": ["127.0.0.1:80", "256.1.1.1:80"], "resources": [] }"#).errors);
        assert_eq!(errors.len(), 1);
        assert!(errors[0].starts_with("listen 256.1.1.1: "), "{}", errors[0]);
    }

    #[test]
    fn one_port_cannot_feed_two_streams_but_one_group_can() {
        let text = r#"{ "readtimeout": 5, "resources": [
            { "type": "stream", "serve": "/a", "remotes": ["udp://127.0.0.1:5301", "udp://@239.1.1.1:5000"] },
            { "type": "stream", "serve": "/b", "remotes": ["udp://127.0.0.1:5301", "udp://@239.1.1.1:5000"] }
        ] }"#;
        let expected = "remote of /b: udp://127.0.0.1:5301 is received by /a, and only one can: \
                        let this stream have /a of this server as its remote";
        assert_eq!(lines(&report(text).warnings), [expected]);
    }

    #[test]
    fn datagrams_without_a_read_timeout_are_a_warning() {
        let resources = r#""resources": [
            { "type": "stream", "serve": "/a", "remote": "tcp://h:1" },
            { "type": "stream", "serve": "/b", "remote": "udp://@239.1.1.1:5000" },
            { "type": "stream", "serve": "/c", "remotes": ["http://h/", "unixgram:///run/c"] }
        ]"#;
        let warnings = lines(&report(&format!("{{ {resources} }}")).warnings);
        assert_eq!(warnings.len(), 1);
        assert!(warnings[0].starts_with("readtimeout: 0 means"), "{}", warnings[0]);
        assert!(warnings[0].contains("/b and 1 other stream are"), "{}", warnings[0]);
        assert_eq!(lines(&report(&format!(r#"{{ "readtimeout": 5, {resources} }}"#)).warnings), [""; 0]);
    }
}
