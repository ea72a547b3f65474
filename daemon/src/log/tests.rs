//! Lines as they arrive in a file or a pipe.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Instant;

use serde_json::Value;
use tracing::subscriber::with_default;

use super::*;

const PATIENCE: Duration = Duration::from_secs(20);

/// Runs `work` with a log to `file`, and waits for its lines.
fn logged(file: &Path, work: impl FnOnce(&LogHandle)) {
    let log = Log::open(&LogTarget::File(file.to_owned())).unwrap();
    with_default(tracing_subscriber::registry().with(log.layer()), || work(&log.handle()));
    assert!(log.handle().flush(PATIENCE));
}

/// The objects of a log file, without the prefix of the lines.
fn objects(file: &Path) -> Vec<Value> {
    fs::read_to_string(file)
        .unwrap()
        .lines()
        .map(|line| {
            let (time, json) = line.strip_prefix('[').and_then(|line| line.split_once("] ")).unwrap();
            let object: Value = serde_json::from_str(json).unwrap_or_else(|error| panic!("{error}: {line}"));
            assert_eq!(object["time"], time, "the prefix is the time of the line");
            object
        })
        .collect()
}

/// A log whose sink is the writing end of a pipe, and its reading end.
fn log_to_pipe() -> (LogHandle, File) {
    let (reader, writer) = io::pipe().unwrap();
    let mut sink = Sink::to(File::from(OwnedFd::from(writer)));
    let queue = Arc::new(Queue::default());
    let handle = LogHandle { queue: Arc::clone(&queue), is_file: false };
    thread::spawn(move || sink.drain(&queue));
    (handle, File::from(OwnedFd::from(reader)))
}

#[test]
fn a_line_is_one_object_with_its_keys_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("log");
    logged(&file, |_| {
        tracing::info!(
            module = "streaming", event = "left", stream = "/news.ts", zeta = 1.5, bytes = 188_u64, lag = -1,
            live = true, duration = Duration::from_secs(2).as_nanos(), remote = %"192.0.2.1:9", reason = ?Some(3),
            "viewer left"
        );
    });
    let text = fs::read_to_string(&file).unwrap();
    let (_, line) = text.split_once("] ").unwrap();
    let (line, time) = line.split_once(r#""time":"#).unwrap();
    assert_eq!(
        line,
        concat!(
            r#"{"bytes":188,"duration":2000000000,"event":"left","lag":-1,"level":"info","live":true,"#,
            r#""message":"viewer left","module":"streaming","reason":"Some(3)","remote":"192.0.2.1:9","#,
            r#""stream":"/news.ts","#
        )
    );
    assert!(time.ends_with("Z\",\"zeta\":1.5}\n"), "{time}");
}

#[test]
fn an_event_without_names_gets_them_from_where_it_stands() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("log");
    logged(&file, |_| tracing::warn!(target: "restreamer_io::ingest::udp", time = "never", "odd"));
    let object = objects(&file).remove(0);
    assert_eq!(object["module"], "protocol");
    assert_eq!(object["event"], "warn");
    assert_ne!(object["time"], "never");
}

#[test]
fn what_comes_from_outside_cannot_forge_or_flood_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("log");
    let evil = "\"}\n{\"forged\":\"\u{7f}\u{9b}31m\u{1b}[0m";
    let long = "ä".repeat(VALUE_BYTES_MAX);
    logged(&file, |_| tracing::info!(agent = evil, long = long, debug = ?evil, display = %evil, "x"));
    let text = fs::read_to_string(&file).unwrap();
    assert_eq!(text.lines().count(), 1);
    assert!(!text.trim_end_matches('\n').contains(char::is_control));
    let object = objects(&file).remove(0);
    assert_eq!(object["agent"], evil);
    assert_eq!(object["display"], evil);
    let long = object["long"].as_str().unwrap();
    assert!(long.len() <= VALUE_BYTES_MAX + 3 && long.ends_with('…'), "{}", long.len());
}

#[test]
fn rotation_under_load_loses_no_line() {
    const LINES: u64 = 20_000;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("log");
    let rotated = |number: u64| dir.path().join(format!("log.{number}"));
    logged(&file, |handle| {
        for number in 0..LINES {
            tracing::info!(number, "line");
            if number % 1000 == 999 {
                // What logrotate does; at most this much is queued, so that no line is dropped for another reason.
                handle.flush(PATIENCE);
                fs::rename(&file, rotated(number)).unwrap();
                handle.reopen();
            }
        }
        assert_eq!(handle.lines_dropped(), 0);
    });
    let mut numbers = Vec::new();
    for file in (0..LINES).filter(|number| number % 1000 == 999).map(rotated).chain([file.clone()]) {
        numbers.extend(objects(&file).iter().map(|object| object["number"].as_u64().unwrap()));
    }
    assert_eq!(numbers, (0..LINES).collect::<Vec<_>>());
}

#[test]
fn a_line_after_the_wish_to_reopen_is_in_the_new_file() {
    let dir = tempfile::tempdir().unwrap();
    let (file, old) = (dir.path().join("log"), dir.path().join("log.1"));
    logged(&file, |handle| {
        tracing::info!("before");
        handle.flush(PATIENCE);
        fs::rename(&file, &old).unwrap();
        handle.reopen();
        tracing::info!("after");
    });
    let messages = |file| objects(file).iter().map(|line| line["message"].clone()).collect::<Vec<_>>();
    assert_eq!(messages(&old), ["before"]);
    assert_eq!(messages(&file), ["after"]);
}

#[test]
fn when_the_file_cannot_be_reopened_the_old_one_stays_in_use() {
    let dir = tempfile::tempdir().unwrap();
    let (inner, moved) = (dir.path().join("a"), dir.path().join("b"));
    fs::create_dir(&inner).unwrap();
    let log = Log::open(&LogTarget::File(inner.join("log"))).unwrap();
    fs::rename(&inner, &moved).unwrap();
    with_default(tracing_subscriber::registry().with(log.layer()), || {
        log.handle().reopen();
        tracing::info!("still here");
    });
    assert!(log.handle().flush(PATIENCE));
    assert_eq!(objects(&moved.join("log")).last().unwrap()["message"], "still here");
}

#[test]
fn a_stalled_sink_costs_lines_and_not_time() {
    let (handle, reader) = log_to_pipe();
    let layer = JsonLayer::new(Arc::clone(&handle.queue));
    let filler = "x".repeat(1000);
    let lines: u64 = 20_000;
    let start = Instant::now();
    with_default(tracing_subscriber::registry().with(layer), || {
        for number in 0..lines {
            tracing::info!(number, filler, "line");
        }
    });
    assert!(start.elapsed() < PATIENCE, "nobody reads, and nobody waits");
    let dropped = handle.lines_dropped();
    assert!(dropped > lines / 2 && dropped < lines, "{dropped}");
    assert!(!handle.flush(Duration::from_millis(1)), "lines are waiting");

    // The reader comes back: what was kept arrives in order, and what was not is told in number.
    let (mut kept, mut reported) = (Vec::new(), 0);
    for line in BufReader::new(reader).lines() {
        let object: Value = serde_json::from_str(&line.unwrap()).unwrap();
        match object["number"].as_u64() {
            Some(number) => kept.push(number),
            None => reported += object["lines"].as_u64().unwrap(),
        }
        if kept.len() as u64 + reported == lines {
            break;
        }
    }
    assert!(kept.is_sorted());
    assert_eq!(reported, dropped);
}

#[test]
fn a_full_disk_costs_lines_and_counts_them() {
    let full = Path::new("/dev/full");
    let log = Log::open(&LogTarget::File(full.to_owned())).unwrap();
    with_default(tracing_subscriber::registry().with(log.layer()), || {
        for _ in 0..3 {
            tracing::info!("lost");
        }
    });
    assert!(log.handle().flush(PATIENCE));
    assert_eq!(log.handle().lines_dropped(), 3);
}

/// Opening it for writing alone waits for a reader, for ever.
#[test]
fn a_fifo_that_nobody_reads_is_opened_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let fifo = dir.path().join("log");
    let name = std::ffi::CString::new(fifo.to_str().unwrap()).unwrap();
    // SAFETY: the name is a C string that outlives the call.
    assert_eq!(unsafe { libc::mkfifo(name.as_ptr(), 0o600) }, 0);
    logged(&fifo, |_| tracing::info!("first"));
    let mut lines = BufReader::new(File::open(&fifo).unwrap()).lines();
    assert!(lines.next().unwrap().unwrap().contains("first"));
}

#[test]
fn a_file_that_cannot_be_opened_is_an_error_at_once() {
    let error = Log::open(&LogTarget::File("/nonexistent/log".into())).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::NotFound);
}
