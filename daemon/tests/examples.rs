//! The example configurations are read as they stand.

use std::fs;
use std::path::{Path, PathBuf};

use restreamer::config::{Config, Report, StreamResource, Tuning};

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples")
}

fn read(name: &str) -> (Config, Report) {
    Config::load(&examples().join(name)).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn every_example_is_read_without_a_warning() {
    let mut names: Vec<String> = fs::read_dir(examples())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".json"))
        .collect();
    names.sort();
    assert_eq!(names, ["documented.json", "failover.json", "minimal.json", "multicast.json", "tiered.json"]);
    for name in names {
        let (config, report) = read(&name);
        assert_eq!(report, Report::default(), "{name}");
        assert!(!config.streams.is_empty(), "{name}");
    }
}

#[test]
fn the_documented_values_of_the_top_are_the_defaults() {
    let (documented, _) = read("documented.json");
    let (default, _) = Config::parse("empty", b"{}").unwrap();
    assert_eq!(documented.listeners, default.listeners);
    assert_eq!(documented.threads, default.threads);
    assert_eq!(documented.log, default.log);
    assert_eq!(documented.profile, default.profile);
    assert_eq!(documented.connections_max, default.connections_max);
    assert_eq!(documented.connections_full, default.connections_full);

    // A stream that says nothing itself, once with the documented top and once without.
    let stream = r#""resources": [{ "type": "stream", "serve": "/a", "remote": "tcp://h:1" }] }"#;
    let text = fs::read_to_string(examples().join("documented.json")).unwrap();
    let end = text.trim_end().strip_suffix('}').unwrap();
    let (documented, _) = Config::parse("documented", format!("{end}, {stream}").as_bytes()).unwrap();
    let (default, _) = Config::parse("empty", format!("{{ {stream}").as_bytes()).unwrap();
    let (documented, default) = (&documented.streams[0], &default.streams[0]);
    let options = |stream: &StreamResource| format!("{:?}", stream.options);
    assert_eq!(options(documented), options(default));
    assert_eq!((documented.reconnect, documented.read_timeout), (default.reconnect, default.read_timeout));
    assert_eq!(documented.ring_packets_min, default.ring_packets_min);
    assert_eq!(documented.ring_bytes_max, default.ring_bytes_max);
    assert_eq!(documented.lag_packets_min, default.lag_packets_min);
    let mut tuning = documented.tuning.clone();
    assert_eq!(tuning.ring_bytes_max.take().map(u64::from), Some(default.ring_bytes_max));
    assert_eq!(tuning, default.tuning);
    assert_eq!(tuning, Tuning::default());
}
