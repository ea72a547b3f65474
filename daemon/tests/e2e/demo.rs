//! `restreamer --demo`, as somebody meets it who tries the program.

use std::time::Instant;

use crate::kit::{self, Server};

#[test]
fn ffprobe_names_picture_and_sound() {
    if !kit::has("demo::ffprobe", &["ffprobe"]) {
        return;
    }
    let server = Server::demo();
    let url = server.url("/demo.ts");
    let entries = "stream=codec_type,codec_name";
    let output = kit::run("ffprobe", ["-v", "warning", "-show_entries", entries, "-of", "compact", &url]);
    assert!(output.status.success(), "{}", output.stderr);
    assert_eq!(output.stderr, "");
    for stream in ["stream|codec_name=h264|codec_type=video", "stream|codec_name=aac|codec_type=audio"] {
        assert!(output.stdout.lines().any(|line| line == stream), "{}", output.stdout);
    }
}

/// Three passes of the recording; at each seam every time stamp and counter has to go on.
#[test]
fn ffmpeg_decodes_several_loops_without_a_warning() {
    if !kit::has("demo::ffmpeg", &["ffmpeg"]) {
        return;
    }
    let server = Server::demo();
    let url = server.url("/demo.ts");
    let output = kit::run("ffmpeg", ["-nostdin", "-v", "warning", "-t", "20", "-i", &url, "-f", "null", "-"]);
    assert!(output.status.success(), "{}", output.stderr);
    assert_eq!(output.stderr, "");
}

#[test]
fn a_viewer_begins_at_a_picture_and_misses_nothing() {
    let server = Server::demo();
    let viewer = server.view("/demo.ts");
    let start = Instant::now();
    viewer.wait_for(3_000);
    let seconds = start.elapsed().as_secs_f64();
    let recording = viewer.recording();
    recording.assert_begins_at_access_point();
    recording.assert_continuous();
    // It is a stream of 318 packets a second, whose last 0.8 s are there at once.
    assert!((7.0..20.0).contains(&seconds), "3,000 packets in {seconds} s");
}

#[test]
fn it_says_where_to_look_and_answers_there() {
    let server = Server::demo();
    let port = server.address().port();
    kit::wait_until("it greets", || server.errors().contains("Ctrl-C"));
    let greeting = server.errors();
    for part in [
        format!("vlc http://localhost:{port}/demo.ts\n"),
        format!("http://localhost:{port}/health"),
        format!("http://localhost:{port}/metrics"),
    ] {
        assert!(greeting.contains(&part), "{greeting}");
    }

    let _viewer = server.view("/demo.ts");
    let health = server.health();
    assert_eq!((&health["status"], &health["viewer"]), (&"ok".into(), &1.into()), "{health}");
    let metrics = server.get("/metrics");
    assert_eq!(metrics.head.status, 200);
    for row in [
        "streaming_connections{stream=\"/demo.ts\"} 1",
        "streaming_source_connected{stream=\"/demo.ts\",url=\"demo\"} 1",
        "process_resident_memory_bytes ",
    ] {
        assert!(metrics.text().lines().any(|line| line.starts_with(row)), "{row}\n{}", metrics.text());
    }
}
