use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use restreamer_core::CloseKind;
use restreamer_io::ingest::{Source, SourceOptions};
use tempfile::TempDir;

use crate::recorder::Running;

/// Four seconds of MPEG-2 with a PCR.
const RECORDING: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../core/testdata/mpeg2_mp2.ts");

fn fifo() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("fifo");
    make_fifo(&path);
    (folder, path)
}

fn make_fifo(path: &Path) {
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
}

/// Opens the writing end as other programs do: it waits for a reader.
async fn writer(path: &Path) -> File {
    let path = path.to_owned();
    tokio::task::spawn_blocking(move || OpenOptions::new().write(true).open(path).unwrap()).await.unwrap()
}

fn url(path: &Path) -> String {
    format!("file://{}", path.display())
}

#[tokio::test]
async fn a_fifo_without_a_writer_blocks_nobody() {
    let (_folder, path) = fifo();
    let mut running = Running::start(&url(&path));
    running.connected().await;
    assert!(running.is_silent());
    writer(&path).await.write_all(b"Gabc").unwrap();
    assert_eq!(running.bytes(4).await, b"Gabc");
}

#[tokio::test]
async fn a_writer_may_leave_and_return() {
    let (_folder, path) = fifo();
    let mut running = Running::start(&url(&path));
    running.connected().await;
    for n in 0..20u8 {
        let mut writer = writer(&path).await;
        writer.write_all(&[n; 100]).unwrap();
        // Every other time it leaves before anything has been read.
        if n % 2 == 0 {
            drop(writer);
            assert_eq!(running.bytes(100).await, [n; 100]);
        } else {
            assert_eq!(running.bytes(100).await, [n; 100]);
        }
    }
}

#[tokio::test]
async fn a_fifo_that_takes_the_place_of_another_is_found() {
    let (_folder, path) = fifo();
    let mut running = Running::start(&url(&path));
    running.connected().await;
    let other = path.with_extension("new");
    make_fifo(&other);
    std::fs::rename(&other, &path).unwrap();
    writer(&path).await.write_all(b"Gabc").unwrap();
    assert_eq!(running.bytes(4).await, b"Gabc");
}

#[tokio::test]
async fn a_fifo_that_is_removed_ends() {
    let (_folder, path) = fifo();
    let mut running = Running::start(&url(&path));
    running.connected().await;
    std::fs::remove_file(&path).unwrap();
    assert_eq!(running.end().await.1.kind, CloseKind::Unreachable);
}

#[tokio::test]
async fn devices_are_read_as_they_come() {
    // The first cannot be waited for, the second can.
    for device in ["/dev/zero", "/dev/random"] {
        let mut running = Running::start(&format!("file://{device}"));
        running.connected().await;
        assert!(!running.chunk().await.is_empty());
    }
    let (bytes, cause) = Running::start("file:///dev/null").end().await;
    assert!(bytes.is_empty());
    assert_eq!(cause.kind, CloseKind::Ended);
}

#[tokio::test]
async fn what_cannot_be_read_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("socket");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let text = folder.path().join("text");
    std::fs::write(&text, "this is no transport stream\n".repeat(100)).unwrap();
    for (path, kind) in [
        (folder.path().join("none"), CloseKind::Unreachable),
        (folder.path().to_owned(), CloseKind::Config),
        (socket, CloseKind::Config),
        (text, CloseKind::NotAStream),
    ] {
        let (bytes, cause) = Running::start(&url(&path)).end().await;
        assert!(bytes.is_empty());
        assert_eq!(cause.kind, kind, "{cause}");
    }
}

#[tokio::test]
async fn a_recording_is_played_in_its_own_time() {
    let recording = std::fs::read(RECORDING).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a recording.ts");
    // A second of it.
    let part = &recording[..recording.len() / 4 / 188 * 188];
    std::fs::write(&path, part).unwrap();
    let start = Instant::now();
    let (bytes, cause) =
        Running::start(&format!("file://{}/a%20recording.ts", folder.path().display())).end().await;
    let took = start.elapsed();
    assert_eq!(bytes, part);
    assert_eq!((cause.kind, &*cause.detail), (CloseKind::Ended, "end of the recording"));
    assert!(took > Duration::from_millis(500), "too fast: {took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_recording_in_memory_goes_on_for_ever() {
    let recording = std::fs::read(RECORDING).unwrap();
    let size = recording.len();
    let source = Source::recording("demo", recording.leak());
    assert_eq!(source.label(), "demo");
    let mut running = Running::of(source);
    running.connected().await;
    let start = tokio::time::Instant::now();
    let mut played = 0;
    while played < 5 * size {
        played += running.chunk().await.len();
    }
    let took = start.elapsed();
    assert!((Duration::from_secs(17)..Duration::from_secs(21)).contains(&took), "{took:?}");
}

#[tokio::test]
async fn a_looped_file_starts_again() {
    let recording = std::fs::read(RECORDING).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("loop.ts");
    let part = &recording[..recording.len() / 16 / 188 * 188];
    std::fs::write(&path, part).unwrap();
    let options = SourceOptions { looped: true, ..SourceOptions::default() };
    let mut running = Running::with(&url(&path), &options);
    let mut played = 0;
    while played < 3 * part.len() {
        played += running.chunk().await.len();
    }
}
